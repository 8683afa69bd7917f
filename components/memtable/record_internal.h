/*
 * record_internal.h: a key with its versions, as the memtables of this folder hold them.
 *
 * A record is a key and its first version: header, key, value, in one piece. Later versions hang on it,
 * newest first, with a second link each that jumps further back (Myers 1983, "An applicative random-access
 * stack"), so that a reader with an old snapshot finds its version of a hot key in logarithmic time. Records
 * and versions never move, and what is taken out of the order stays in memory as it was, so that an iterator
 * may stand on it.
 */
#ifndef CASCADE_COMPONENTS_MEMTABLE_RECORD_INTERNAL_H
#define CASCADE_COMPONENTS_MEMTABLE_RECORD_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/entry.h"
#include "base/slice.h"
#include "base/status.h"

enum { HEAD_BYTES = 8 };

/* The kind's byte of a tag; the sequence lies above it. */
#define TAG_DROPPED 0x80u /* a record's first version that nobody needs any more */

/* Any but the first version of a key. The value follows. */
struct version {
	struct version *older; /* NULL: the record's first version is next */
	struct version *jump;  /* further back; itself for the first of the chain */
	uint64_t tag;
	uint32_t value_size;
	uint32_t depth;
	uint8_t value[];
};

/* A key and its first version; key, then value follow. */
struct record {
	struct version *newest; /* NULL: the first version is the only one */
	uint64_t tag;
	uint32_t value_size;
	uint16_t key_size;
	uint8_t bytes[];
};

/* --- keys and heads --- */

static inline struct slice record_key(const struct record *record)
{
	return slice_make(record->bytes, record->key_size);
}

static inline uint64_t load_big_endian(const uint8_t *from)
{
	uint64_t number;
	memcpy(&number, from, HEAD_BYTES);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	number = __builtin_bswap64(number);
#endif
	return number;
}

/* slice_head without its copy of variable length, unless the key is shorter than a head. */
static inline uint64_t key_head(struct slice key, size_t skip)
{
	if (__builtin_expect(skip + HEAD_BYTES <= key.size, 1))
		return load_big_endian(key.data + skip);
	if (key.size < HEAD_BYTES || skip >= key.size)
		return slice_head(key, skip);
	/* The key's last bytes: those before `skip` are shifted out, zeros come in behind. */
	return load_big_endian(key.data + key.size - HEAD_BYTES) << (8 * (skip + HEAD_BYTES - key.size));
}

static inline int key_compare(struct slice key, const struct record *record)
{
	return slice_compare(key, record_key(record));
}

/* --- versions --- */

static inline uint64_t tag_make(const struct entry *entry)
{
	return entry->sequence << 8 | (uint64_t)entry->kind;
}

static inline uint64_t tag_sequence(uint64_t tag)
{
	return tag >> 8;
}

/* Bytes that a record takes. */
static inline size_t record_bytes(const struct entry *entry)
{
	return sizeof(struct record) + entry->key.size + entry->value.size;
}

/* Writes the record of a key's first version to record_bytes(entry) bytes. */
static inline void record_fill(struct record *record, const struct entry *entry)
{
	record->newest = NULL;
	record->tag = tag_make(entry);
	record->value_size = (uint32_t)entry->value.size;
	record->key_size = (uint16_t)entry->key.size;
	if (entry->key.size > 0)
		memcpy(record->bytes, entry->key.data, entry->key.size);
	if (entry->value.size > 0)
		memcpy(record->bytes + entry->key.size, entry->value.data, entry->value.size);
}

/* `version` NULL: the record's first. */
static inline void entry_fill(struct entry *entry, const struct record *record, const struct version *version)
{
	uint64_t tag = version != NULL ? version->tag : record->tag;
	entry->key = record_key(record);
	entry->value = version != NULL ? slice_make(version->value, version->value_size)
				       : slice_make(record->bytes + record->key_size, record->value_size);
	entry->sequence = tag_sequence(tag);
	entry->kind = (enum entry_kind)(tag & 0x7f);
}

/* The newest of a chain with sequence <= `sequence`, NULL if none of it is. */
static inline struct version *version_find(struct version *version, uint64_t sequence)
{
	while (version != NULL && tag_sequence(version->tag) > sequence) {
		struct version *jump = version->jump;
		if (jump != version && tag_sequence(jump->tag) > sequence)
			version = jump;
		else
			version = version->older;
	}
	return version;
}

/*
 * The record's newest version with sequence <= `sequence`: false if it has none; *version is NULL if it is
 * the first one.
 */
static inline bool record_find(const struct record *record, uint64_t sequence, struct version **version)
{
	*version = version_find(record->newest, sequence);
	if (*version != NULL)
		return true;
	return tag_sequence(record->tag) <= sequence && (record->tag & TAG_DROPPED) == 0;
}

/* From one version, NULL the first, to the next older one; false: there is none. */
static inline bool record_older(const struct record *record, struct version **version)
{
	if (*version == NULL)
		return false;
	*version = (*version)->older;
	return *version != NULL || (record->tag & TAG_DROPPED) == 0;
}

/*
 * Adds a version to a record that is there: newer than all it has. Takes the versions behind the newest one
 * that `oldest_needed` can see out of the order. *count: versions in the order, kept up to date.
 * STATUS_NO_MEMORY: unchanged.
 */
MUST_CHECK struct status record_add_version(struct record *record, struct arena *arena,
					    const struct entry *entry, uint64_t oldest_needed,
					    uint64_t *count);

#endif
