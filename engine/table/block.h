/*
 * block.h: the raw bytes of a logical block: how they are searched, walked through, and put together.
 *
 *	0	8	base sequence: the first entry's
 *	8	2	P: length of the common prefix of all keys
 *	10	P	the common prefix
 *	10+P	...	entries, in order
 *	end-3n	n	tags: 8 bits of each key's hash
 *	end-2n	2n	offsets of the entries, from the first
 *
 * An entry: 1 byte (low half: kind, high half: S), S bytes of sequence (zigzag difference to the base),
 * varint length of the key's rest, varint length of the value, the key's rest, the value.
 *
 * Readers trust nothing that they read: a damaged block answers BLOCK_DAMAGED, whatever its bytes are.
 *
 * Internal to table/.
 */
#ifndef CASCADE_TABLE_BLOCK_H
#define CASCADE_TABLE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/entry.h"
#include "base/status.h"

enum {
	BODY_HEADER_BYTES = 10,
	ENTRY_HEADER_MAX = 15, /* 1 + 8 bytes of sequence + two varints of 3 */
	ENTRY_TAIL_BYTES = 3,  /* tag and offset */
};

/* The bits of a key's hash that are kept beside its entry: others than filters use first. */
static inline uint8_t block_tag(uint64_t hash)
{
	return (uint8_t)(hash >> 20);
}

/* A raw block, as its bytes lie in somebody's view. */
struct block {
	const uint8_t *prefix;
	const uint8_t *entries;
	const uint8_t *tags; /* also the end of the entries */
	const uint8_t *offsets;
	const uint8_t *limit; /* end of the block */
	uint64_t base_sequence;
	uint32_t prefix_size;
	uint32_t count;
};

struct block_entry {
	const uint8_t *suffix;
	const uint8_t *value;
	uint32_t suffix_size;
	uint32_t value_size;
	uint64_t sequence;
	enum entry_kind kind;
};

/* False: the sizes cannot be. */
bool block_parse(struct block *block, const uint8_t *body, size_t size, uint32_t count);

/* The general form of block_entry_decode; no assumption about what lies around the entry. */
const uint8_t *block_entry_decode_slow(const struct block *block, const uint8_t *at,
				       struct block_entry *entry);

/* Reads the entry at `at` (inside the entries); its end, or NULL if it is damaged. */
static inline const uint8_t *block_entry_decode(const struct block *block, const uint8_t *at,
						struct block_entry *entry)
{
	if (__builtin_expect(block->limit - at < ENTRY_HEADER_MAX, 0))
		return block_entry_decode_slow(block, at, entry);
	uint32_t sequence_bytes = at[0] >> 4;
	const uint8_t *p = at + 1 + sequence_bytes;
	if (__builtin_expect(sequence_bytes > 7, 0) || __builtin_expect((p[0] | p[1]) >= 0x80, 0))
		return block_entry_decode_slow(block, at, entry);
	uint64_t delta = bytes_load64(at + 1) & ((1ull << (8 * sequence_bytes)) - 1);
	entry->kind = (enum entry_kind)(at[0] & 15);
	entry->sequence = block->base_sequence + ((delta >> 1) ^ (0 - (delta & 1)));
	entry->suffix_size = p[0];
	entry->value_size = p[1];
	entry->suffix = p + 2;
	entry->value = p + 2 + p[0];
	const uint8_t *end = entry->value + p[1];
	return __builtin_expect(end <= block->tags, 1) ? end : NULL;
}

/* Entry `index` by its stored offset; NULL if damaged. */
static inline const uint8_t *block_entry_at(const struct block *block, uint32_t index,
					    struct block_entry *entry)
{
	uint32_t offset = bytes_load16(block->offsets + (size_t)index * 2);
	if (__builtin_expect(offset >= (size_t)(block->tags - block->entries), 0))
		return NULL;
	return block_entry_decode(block, block->entries + offset, entry);
}

enum block_answer {
	BLOCK_ABSENT,
	BLOCK_FOUND,
	BLOCK_TOO_NEW, /* the block ends with a version of the key, and none here is old enough */
	BLOCK_DAMAGED,
};

/* The newest version of the key with a sequence <= `sequence`. */
enum block_answer block_get(const struct block *block, struct slice key, uint8_t tag, uint64_t sequence,
			    struct block_entry *entry);

/* The index of the first entry >= (key, sequence) in entry order, `count` if none; false: damaged. */
bool block_search(const struct block *block, struct slice key, uint64_t sequence, uint32_t *index);

/* --- walking --- */

/* Yields the entries of one block after another, with whole keys in a buffer of its own. */
struct block_cursor {
	struct block block;
	const uint8_t *next;
	uint32_t left;
	uint8_t *key;
	size_t key_capacity;
};

/* To the block's entry `index`. The cursor's key buffer is kept from block to block. */
MUST_CHECK struct status block_cursor_set(struct block_cursor *cursor, const struct block *block,
					  uint32_t index);
void block_cursor_free(struct block_cursor *cursor);

MUST_CHECK struct status block_cursor_long_key(struct block_cursor *cursor, const struct block_entry *found);

/* Takes the next entry; left > 0. STATUS_CORRUPT (no message) or STATUS_NO_MEMORY. */
MUST_CHECK static inline struct status block_cursor_take(struct block_cursor *cursor, struct entry *entry)
{
	struct block_entry found;
	const uint8_t *end = block_entry_decode(&cursor->block, cursor->next, &found);
	if (__builtin_expect(end == NULL, 0))
		return status_make(STATUS_CORRUPT);
	cursor->next = end;
	cursor->left--;
	/* Copying 32 bytes whatever the length is much cheaper than a call; the key buffer has the room. */
	if (__builtin_expect(found.suffix_size <= 32 && cursor->block.limit - found.suffix >= 32, 1))
		memcpy(cursor->key + cursor->block.prefix_size, found.suffix, 32);
	else
		TRY(block_cursor_long_key(cursor, &found));
	entry->key = slice_make(cursor->key, cursor->block.prefix_size + found.suffix_size);
	entry->value = slice_make(found.value, found.value_size);
	entry->sequence = found.sequence;
	entry->kind = found.kind;
	return status_ok();
}

/* --- building --- */

struct block_writer {
	uint8_t *bytes; /* room for a header, then the raw block, but for its own header, tags and offsets */
	uint8_t *spare; /* for writing it anew with a shorter prefix */
	uint8_t *first_key;
	uint8_t *tags;
	uint8_t *offsets;
	size_t capacity, spare_capacity, first_key_capacity;
	size_t entries_size;
	size_t first_key_size;
	size_t suffix_max;
	uint64_t base_sequence;
	uint32_t prefix_size;
	uint32_t prefix_hint; /* what the keys of the previous block had in common */
	uint32_t count, count_max;
};

/* For blocks of more than one entry up to `raw_bytes_max`. */
MUST_CHECK struct status block_writer_init(struct block_writer *writer, uint32_t raw_bytes_max);
void block_writer_free(struct block_writer *writer);

/*
 * Adds the entry if the raw block then takes at most `limit` bytes, or if it is the first; *added tells.
 * The caller keeps the order.
 */
MUST_CHECK struct status block_writer_add(struct block_writer *writer, const struct entry *entry, uint8_t tag,
					  size_t limit, bool *added);

/* Raw bytes so far. */
static inline size_t block_writer_size(const struct block_writer *writer)
{
	return BODY_HEADER_BYTES + writer->prefix_size + writer->entries_size +
	       (size_t)ENTRY_TAIL_BYTES * writer->count;
}

/*
 * Completes the block (at least one entry); valid until the writer is used again. The BLOCK_HEADER_BYTES
 * before it are the caller's to write a header to. The writer is empty afterwards.
 */
uint8_t *block_writer_finish(struct block_writer *writer, struct slice last_key, size_t *size);

#endif
