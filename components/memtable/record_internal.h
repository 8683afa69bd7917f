/*
 * record_internal.h: a key with its versions, as the memtables of this folder hold them.
 *
 * A record is a key and its first version in one piece, as small as it gets and without alignment:
 *
 *	SIZE    DESCRIPTION
 *	1 .. 3  size of the key, 7 bits a byte, the lowest first; the top bit says that another byte follows
 *	1 .. 5  size of the value, likewise
 *	8       tag of the first version (sequence << 8 | kind), or, once the key has had a second version,
 *the address of a `struct chain`, to which the tag has moved. Chains are aligned, so the lowest three bits
 *tell the two apart: no kind has 0 there. K       key V       value
 *
 * So a key that stays with one version pays ten bytes beside itself and its value (eleven from 128 bytes of
 * value on), and whatever place points at it. Later versions hang on the chain, newest first, with a second
 * link each that jumps further back (Myers 1983, "An applicative random-access stack"), so that a reader with
 * an old snapshot finds its version of a hot key in logarithmic time, and an iterator that walks backwards
 * finds the next newer one so too.
 *
 * Records, chains and versions never move. What is taken out of the order stays in memory, with a mark and
 * its links as they were, so that an iterator may stand on it.
 *
 * How a variant uses this: its place for a key (a leaf's slot, a hash bucket, a node of its own) keeps a
 * `struct held`, or the record itself, of which held_make makes the same held at any time. An iterator keeps
 * the record and a version (NULL: the record's first) and recognises its place by the record:
 *
 *	where a search lands     get, seek: held_find; seek_back: held_find_back
 *	from the key before      next: held_newest, or entry_fill_newest at once
 *	from the key behind      prev, seek_last: held_oldest, or entry_fill_oldest at once
 *	within the key           next: held_older; prev: held_newer
 *	in the end               entry_fill(&iterator->entry, held_record(held), version)
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

/* The lowest byte of a tag is the kind, with this mark; the sequence lies above it. */
#define TAG_DROPPED   0x80u /* a version that nobody needs any more: no longer in the order */
#define TAG_KIND      0x7fu
#define TAG_IS_NO_TAG 0x07u /* none of these bits set: the address of a chain */

/* Any but the first version of a key. The value follows. */
struct version {
	struct version *older; /* NULL: the record's first version is next */
	struct version *jump;  /* further back, maybe out of the order; itself for the first of the chain */
	uint64_t tag;
	uint32_t value_size;
	uint32_t depth;
	uint8_t value[];
};

/* What a record points to once its key has had a second version. */
struct chain {
	struct version *newest;
	uint64_t tag; /* of the record's first version */
};

/* A key and its first version: bytes as above, at any address, which is the record's name for ever. */
struct record;

/*
 * What a variant's place for a key holds: one word, the record's address. It stays what it is when versions
 * come. Addresses lie below 2^56 and may be odd, so a variant that wants marks of its own in the word puts
 * them at the top and takes them off again before it calls a function here.
 */
struct held {
	uintptr_t bits;
};

/* --- keys and heads --- */

static inline uint64_t load_word(const uint8_t *from)
{
	uint64_t number;
	memcpy(&number, from, sizeof(number));
	return number;
}

static inline uint64_t load_big_endian(const uint8_t *from)
{
	uint64_t number = load_word(from);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	number = __builtin_bswap64(number);
#endif
	return number;
}

/*
 * The 8 bytes of the key from `skip` on as a number, zeros behind the key's end: slice_head without its copy
 * of variable length, unless the key is shorter than a head. Heads compare as the bytes do; equal heads
 * decide nothing.
 */
static inline uint64_t key_head(struct slice key, size_t skip)
{
	if (__builtin_expect(skip + HEAD_BYTES <= key.size, 1))
		return load_big_endian(key.data + skip);
	if (key.size < HEAD_BYTES || skip >= key.size)
		return slice_head(key, skip);
	/* The key's last bytes: those before `skip` are shifted out, zeros come in behind. */
	return load_big_endian(key.data + key.size - HEAD_BYTES) << (8 * (skip + HEAD_BYTES - key.size));
}

/* slice_compare, made for keys that are short or differ early: word by word, without a call. */
static inline int key_compare_bytes(struct slice a, struct slice b)
{
	enum { WORDS_MAX = 64 }; /* bytes; beyond, the library is faster */
	size_t common = a.size < b.size ? a.size : b.size;
	if (__builtin_expect(common < HEAD_BYTES || common > WORDS_MAX, 0))
		return slice_compare(a, b);
	for (size_t at = 0;;
	     at = at + HEAD_BYTES < common - HEAD_BYTES ? at + HEAD_BYTES : common - HEAD_BYTES) {
		uint64_t of_a = load_big_endian(a.data + at);
		uint64_t of_b = load_big_endian(b.data + at);
		if (of_a != of_b)
			return of_a < of_b ? -1 : 1;
		if (at == common - HEAD_BYTES)
			break;
	}
	return a.size < b.size ? -1 : a.size > b.size;
}

/* Bytes that both begin with. */
static inline size_t key_common_prefix(struct slice a, struct slice b)
{
	size_t limit = a.size < b.size ? a.size : b.size;
	size_t length = 0;
	for (; length + HEAD_BYTES <= limit; length += HEAD_BYTES) {
		uint64_t difference = load_big_endian(a.data + length) ^ load_big_endian(b.data + length);
		if (difference != 0)
			return length + (size_t)__builtin_clzll(difference) / 8;
	}
	while (length < limit && a.data[length] == b.data[length])
		length++;
	return length;
}

/* --- tags --- */

static inline uint64_t tag_make(const struct entry *entry)
{
	DASSERT(((unsigned)entry->kind & TAG_IS_NO_TAG) != 0);
	DASSERT((unsigned)entry->kind <= TAG_KIND);
	return entry->sequence << 8 | (uint64_t)entry->kind;
}

static inline uint64_t tag_sequence(uint64_t tag)
{
	return tag >> 8;
}

static inline bool tag_is_dropped(uint64_t tag)
{
	return (tag & TAG_DROPPED) != 0;
}

/* --- records --- */

/* A record taken apart. */
struct record_parts {
	size_t key_size;
	size_t value_size;
	const uint8_t *tag; /* the 8 bytes; the key follows, then the value */
};

/* Records of other sizes than below 128: both numbers out of one word, without a branch. Of eight bytes they
 * take at most all. */
static inline struct record_parts record_parts_long(const uint8_t *bytes)
{
	uint64_t word = load_word(bytes);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	uint64_t ends = ~word & 0x8080808080808080u;
	uint64_t first = ends & (0 - ends);
	uint64_t second = (ends ^ first) & (0 - (ends ^ first));
	uint64_t key = word & (first - 1);
	unsigned shift = (unsigned)__builtin_ctzll(first) + 1;
	uint64_t value = (word & (second - 1)) >> shift;
	return (struct record_parts) {
		.key_size = (key & 0x7f) | (key >> 1 & 0x3f80) | (key >> 2 & 0x1fc000),
		.value_size = (value & 0x7f) | (value >> 1 & 0x3f80) | (value >> 2 & 0x1fc000) |
			      (value >> 3 & 0xfe00000) | (value >> 4 & 0x7f0000000),
		.tag = bytes + ((unsigned)__builtin_ctzll(second) + 1) / 8,
	};
}

static inline struct record_parts record_parts(const struct record *record)
{
	const uint8_t *bytes = (const uint8_t *)record;
	if (__builtin_expect(((bytes[0] | bytes[1]) & 0x80) == 0, 1))
		return (struct record_parts) { .key_size = bytes[0],
					       .value_size = bytes[1],
					       .tag = bytes + 2 };
	return record_parts_long(bytes);
}

/* The key: borrowed from the record. */
static inline struct slice record_key(const struct record *record)
{
	struct record_parts parts = record_parts(record);
	return slice_make(parts.tag + sizeof(uint64_t), parts.key_size);
}

/* How `key` stands to the record's key: <0, 0, >0. */
static inline int key_compare(struct slice key, const struct record *record)
{
	return key_compare_bytes(key, record_key(record));
}

/* Bytes that a size takes. */
static inline size_t size_bytes(size_t size)
{
	return 1 + (63 - (size_t)__builtin_clzll(size | 1)) / 7;
}

/* Bytes that the record of a key's first version takes. Any alignment will do. */
static inline size_t record_bytes(const struct entry *entry)
{
	return size_bytes(entry->key.size) + size_bytes(entry->value.size) + sizeof(uint64_t) +
	       entry->key.size + entry->value.size;
}

static inline uint8_t *size_store(uint8_t *to, size_t size)
{
	for (; size >= 0x80; size >>= 7)
		*to++ = (uint8_t)(size | 0x80);
	*to++ = (uint8_t)size;
	return to;
}

/* Writes the record of a key's first version to record_bytes(entry) bytes at `memory`. */
static inline struct record *record_fill(void *memory, const struct entry *entry)
{
	uint64_t tag = tag_make(entry);
	uint8_t *to = size_store(size_store(memory, entry->key.size), entry->value.size);
	memcpy(to, &tag, sizeof(tag));
	to += sizeof(tag);
	if (entry->key.size > 0)
		memcpy(to, entry->key.data, entry->key.size);
	if (entry->value.size > 0)
		memcpy(to + entry->key.size, entry->value.data, entry->value.size);
	return memory;
}

/* Loads what a comparison with the record and then its entry look at. NULL does no harm. */
static inline void record_prefetch(const struct record *record)
{
	__builtin_prefetch(record, 0, 3);
	__builtin_prefetch((const void *)((uintptr_t)record + 64), 0, 3);
}

/* --- what a place holds --- */

static inline struct held held_make(struct record *record)
{
	return (struct held) { .bits = (uintptr_t)record };
}

static inline struct record *held_record(struct held held)
{
	return (struct record *)held.bits;
}

/* --- versions --- */

/* The versions of a record: the chain's newest, NULL without a chain, and the tag of the first. */
struct record_versions {
	struct version *newest;
	uint64_t first_tag;
};

static inline struct record_versions record_versions(const struct record *record)
{
	uint64_t tag;
	memcpy(&tag, record_parts(record).tag, sizeof(tag));
	if (__builtin_expect((tag & TAG_IS_NO_TAG) != 0, 1))
		return (struct record_versions) { .newest = NULL, .first_tag = tag };
	const struct chain *chain = (const struct chain *)(uintptr_t)tag;
	return (struct record_versions) { .newest = chain->newest, .first_tag = chain->tag };
}

/* Fills an entry; key and value are borrowed from the record and the version. `version` NULL: the record's
 * first. */
static inline void entry_fill(struct entry *entry, const struct record *record, const struct version *version)
{
	struct record_parts parts = record_parts(record);
	const uint8_t *key = parts.tag + sizeof(uint64_t);
	uint64_t tag;
	entry->key = slice_make(key, parts.key_size);
	if (version != NULL) {
		tag = version->tag;
		entry->value = slice_make(version->value, version->value_size);
	} else {
		tag = record_versions(record).first_tag;
		entry->value = slice_make(key + parts.key_size, parts.value_size);
	}
	entry->sequence = tag_sequence(tag);
	entry->kind = (enum entry_kind)(tag & TAG_KIND);
}

/* The same with the first version of a record that has no other: false, and nothing filled, if there is a
 * chain. */
static inline bool entry_fill_single(struct entry *entry, const struct record *record)
{
	struct record_parts parts = record_parts(record);
	const uint8_t *key = parts.tag + sizeof(uint64_t);
	uint64_t tag = load_word(parts.tag);
	if (__builtin_expect((tag & TAG_IS_NO_TAG) == 0, 0))
		return false;
	entry->key = slice_make(key, parts.key_size);
	entry->value = slice_make(key + parts.key_size, parts.value_size);
	entry->sequence = tag_sequence(tag);
	entry->kind = (enum entry_kind)(tag & TAG_KIND);
	return true;
}

/* Whether a walk down a chain may take the jump: it goes somewhere, and not out of the order. */
static inline bool version_jumps(const struct version *version)
{
	return version->jump != version && !tag_is_dropped(version->jump->tag);
}

/* The newest of a chain with sequence <= `sequence`, NULL if none of it is. */
static inline struct version *version_find(struct version *version, uint64_t sequence)
{
	while (version != NULL && tag_sequence(version->tag) > sequence) {
		if (version_jumps(version) && tag_sequence(version->jump->tag) > sequence)
			version = version->jump;
		else
			version = version->older;
	}
	return version;
}

/* The oldest of a chain with sequence >= `sequence`, NULL if none of it is. */
static inline struct version *version_find_back(struct version *version, uint64_t sequence)
{
	if (version == NULL || tag_sequence(version->tag) < sequence)
		return NULL;
	for (;;) {
		if (version_jumps(version) && tag_sequence(version->jump->tag) >= sequence)
			version = version->jump;
		else if (version->older != NULL && tag_sequence(version->older->tag) >= sequence)
			version = version->older;
		else
			return version;
	}
}

/* The newest version of all: NULL, the record's first. */
static inline struct version *held_newest(struct held held)
{
	return record_versions(held_record(held)).newest;
}

/* The oldest version that is still in the order; NULL: the record's first. */
static inline void held_oldest(struct held held, struct version **version)
{
	struct record_versions versions = record_versions(held_record(held));
	*version = tag_is_dropped(versions.first_tag) ? version_find_back(versions.newest, 0) : NULL;
}

/* The newest version with sequence <= `sequence`: false if the order has none (*version is then
 * meaningless). This is where (key, sequence) lies in entry order, or the first behind it. */
static inline bool held_find(struct held held, uint64_t sequence, struct version **version)
{
	struct record_versions versions = record_versions(held_record(held));
	*version = version_find(versions.newest, sequence);
	if (*version != NULL)
		return true;
	return tag_sequence(versions.first_tag) <= sequence && !tag_is_dropped(versions.first_tag);
}

/* The oldest version with sequence >= `sequence`: false if the order has none (*version is then
 * meaningless). This is where (key, sequence) lies in entry order, or the last before it. */
static inline bool held_find_back(struct held held, uint64_t sequence, struct version **version)
{
	struct record_versions versions = record_versions(held_record(held));
	*version = NULL;
	if (tag_sequence(versions.first_tag) >= sequence && !tag_is_dropped(versions.first_tag))
		return true;
	*version = version_find_back(versions.newest, sequence);
	return *version != NULL;
}

/* From one version to the next older one; false and unchanged: there is none. `*version` may have left the
 * order since; then what had left it with it may follow. */
static inline bool held_older(struct held held, struct version **version)
{
	if (*version == NULL)
		return false;
	struct version *older = (*version)->older;
	if (older == NULL && tag_is_dropped(record_versions(held_record(held)).first_tag))
		return false;
	*version = older;
	return true;
}

/* From one version to the next newer one of the order, in logarithmic time; false and unchanged: there is
 * none. `*version` may have left the order since. */
static inline bool held_newer(struct held held, struct version **version)
{
	struct record_versions versions = record_versions(held_record(held));
	uint64_t tag = *version != NULL ? (*version)->tag : versions.first_tag;
	struct version *newer = version_find_back(versions.newest, tag_sequence(tag) + 1);
	if (newer == NULL)
		return false;
	*version = newer;
	return true;
}

/* How an iterator comes to a key: fills the entry with held_newest and returns that version. */
static inline struct version *entry_fill_newest(struct entry *entry, struct record *record)
{
	if (entry_fill_single(entry, record))
		return NULL;
	struct version *version = held_newest(held_make(record));
	entry_fill(entry, record, version);
	return version;
}

/* And from behind: with held_oldest. */
static inline struct version *entry_fill_oldest(struct entry *entry, struct record *record)
{
	if (entry_fill_single(entry, record))
		return NULL;
	struct version *version;
	held_oldest(held_make(record), &version);
	entry_fill(entry, record, version);
	return version;
}

/*
 * Adds a version to a key that is there: newer than all it has. Takes the versions behind the newest one that
 * `oldest_needed` can see out of the order. *count: versions in the order, kept up to date. The held in the
 * variant's place is handed in by its address and is to be written back where it is kept elsewhere.
 * STATUS_NO_MEMORY: unchanged.
 */
MUST_CHECK struct status held_add_version(struct held *held, struct arena *arena, const struct entry *entry,
					  uint64_t oldest_needed, uint64_t *count);

#endif
