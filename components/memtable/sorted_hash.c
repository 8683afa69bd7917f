/*
 * sorted_hash.c: a memtable that is a hash table, and a vector of records which is sorted when somebody wants
 * an order: for a flush, or for a scan (order_internal.h). So puts and gets cost a hash and one or two cache
 * misses, however many keys there are; it is for workloads that rarely scan what they have just written.
 *
 * The table is extendible (Fagin, Nievergelt, Pippenger, Strong 1979, "Extendible hashing"): a directory of
 * segments of 4 KiB, each of which splits in two when it is full, so that growth never moves more than one
 * segment. Within a segment a key goes to a bucket of one cache line, or to the next one that has room.
 *
 * Segments would all fill up at the same time, and memory would go up and down by half with the number of
 * keys. So hashes are spread over the directory unevenly, twice as densely at its beginning as at its end
 * (Martin 1979, "Spiral storage"): at any time some segments are full and some have just split.
 *
 * INV-SORTED-HASH-1: a segment's records are those whose spread hash begins with its `depth` bits. Each
 * record lies in the first bucket from its home on that had room, and buckets passed on the way say so: a
 * search ends at the first bucket that was not passed. Nothing is ever taken out. INV-SORTED-HASH-2: each key
 * is in the table once and in the order once.
 *
 * Versions of a key hang on its record (record_internal.h).
 */
#include "components/memtable/memtable.h"
#include "components/memtable/order_internal.h"
#include "components/memtable/record_internal.h"

#include <string.h>

#include "base/assert.h"
#include "base/hash.h"

#include "base/poison.h"

enum {
	BUCKET_SLOTS = 7,
	SEGMENT_BUCKETS = 64,
	FIRST_BUCKETS = 8, /* of the only segment; it doubles until it is a whole one */
	HOME_BITS = 6,
	/* Of the bits that segments split by, a record's word has the next ones at hand. */
	WINDOW_BITS = 10,
	MARK_SHIFT = 64 - HOME_BITS - WINDOW_BITS,
	SPREAD_BITS = 32,
	DEPTH_MAX = 28,
	DEPTH_MASK = 63,
	/* Lookups of a batch that wait for memory at the same time. */
	GROUP = 16,
};

_Static_assert(1 << HOME_BITS == SEGMENT_BUCKETS, "a home is a bucket of a segment");

/* One cache line. The head: a byte of the hash for each slot, 0 where it is free, and on top whether a record
 * has passed. Slots fill from the first one on. A word: the record's address, and above it its mark. */
struct bucket {
	uint64_t head;
	uint64_t words[BUCKET_SLOTS];
};

#define BUCKET_PASSED (1ull << 56)
#define EACH_SLOT     0x0001010101010101ull /* times a byte: that byte for each slot */
#define RECORD_MASK   ((1ull << MARK_SHIFT) - 1)

struct segment {
	_Alignas(64) uint32_t count;
	/* Where a full one cannot split: more of the same. All buckets of this one have been passed then. */
	struct segment *overflow;
	_Alignas(64) struct bucket buckets[];
};

struct sorted_hash {
	struct memtable base;
	uint64_t *directory;   /* segments; in the lowest bits, which are free, their depth */
	unsigned depth;	       /* of the directory: 2^depth places */
	unsigned buckets;      /* of a segment */
	uint64_t count;	       /* versions that an iterator visits */
	struct segment *spare; /* the one that a split has emptied */
	struct order order;
};

struct sorted_hash_iterator {
	struct memtable_iterator base;
	struct record *record;
	struct version *version; /* NULL: at the record's first version */
	struct order_cursor cursor;
};

_Static_assert(sizeof(struct sorted_hash_iterator) <= MEMTABLE_ITERATOR_BYTES, "the caller's room suffices");
_Static_assert(sizeof(struct bucket) == 64, "a bucket is a cache line");
_Static_assert(DEPTH_MAX <= 3 * WINDOW_BITS && DEPTH_MAX < SPREAD_BITS, "all splits have their bit");

extern const struct memtable_ops memtable_sorted_hash;

/* --- what a hash is good for --- */

/* Tag, home and spread come from different bits. */
static inline uint64_t hash_tag(uint64_t hash)
{
	uint64_t tag = hash >> 32 & 0xff;
	return tag + (tag == 0);
}

static inline unsigned hash_home(uint64_t hash)
{
	return hash >> 40 & (SEGMENT_BUCKETS - 1);
}

/* x (2 + x) / 3 for the hash as x in [0, 1): its slope goes from 2/3 to 4/3. */
static inline uint64_t hash_spread(uint64_t hash)
{
	uint64_t x = hash & 0x7fffffff;
	return x * ((1ull << 32) + x) / 3 >> 30;
}

/* What a record's word says above the address, in a segment of that depth: home, and the bits of the spread
 * hash that the next splits go by. */
static inline uint64_t hash_mark(uint64_t hash, uint64_t spread, unsigned depth)
{
	uint64_t window = spread >> (SPREAD_BITS - WINDOW_BITS - WINDOW_BITS * (depth / WINDOW_BITS));
	return hash_home(hash) | (window & ((1u << WINDOW_BITS) - 1)) << HOME_BITS;
}

/* By the mark, into which half of a segment of that depth it goes. */
static inline unsigned mark_half(uint64_t mark, unsigned depth)
{
	return mark >> (HOME_BITS + WINDOW_BITS - 1 - depth % WINDOW_BITS) & 1;
}

static inline unsigned mark_home(uint64_t mark)
{
	return mark & (SEGMENT_BUCKETS - 1);
}

/* --- buckets --- */

/* The top bit of each slot's byte whose byte in the head is `tag`. */
static inline uint64_t head_match(uint64_t head, uint64_t tag)
{
	uint64_t difference = (head ^ tag * EACH_SLOT) & 0xff * EACH_SLOT;
	uint64_t low = (difference & 0x7f * EACH_SLOT) + 0x7f * EACH_SLOT;
	return ~(low | difference) & 0x80 * EACH_SLOT;
}

static inline unsigned match_slot(uint64_t match)
{
	return (unsigned)__builtin_ctzll(match) / 8;
}

static inline struct record *word_record(uint64_t word)
{
	return (struct record *)(uintptr_t)(word & RECORD_MASK);
}

static inline bool record_has_key(const struct record *record, struct slice key)
{
	struct slice own = record_key(record);
	return own.size == key.size && key_compare_bytes(own, key) == 0;
}

/* --- segments --- */

static inline struct segment *place_segment(uint64_t place)
{
	return (struct segment *)(uintptr_t)(place & ~(uint64_t)DEPTH_MASK);
}

static inline unsigned place_depth(uint64_t place)
{
	return place & DEPTH_MASK;
}

static inline uint64_t *table_place(const struct sorted_hash *table, uint64_t spread)
{
	return &table->directory[spread >> (SPREAD_BITS - table->depth)];
}

static size_t segment_bytes(unsigned buckets)
{
	return sizeof(struct segment) + buckets * sizeof(struct bucket);
}

static struct segment *segment_create(struct sorted_hash *table, unsigned buckets)
{
	struct segment *segment = arena_allocate(table->base.arena, segment_bytes(buckets), 64);
	if (segment != NULL)
		memset(segment, 0, segment_bytes(buckets));
	return segment;
}

/* Records of a segment when it is full: nine in ten slots. */
static inline uint32_t segment_limit(const struct sorted_hash *table)
{
	return table->buckets * BUCKET_SLOTS * 9 / 10;
}

/* Pre: there is a free slot. */
static inline void segment_put(const struct sorted_hash *table, struct segment *segment, uint64_t tag,
			       uint64_t mark, const struct record *record)
{
	struct bucket *bucket;
	uint64_t free_slots;
	for (unsigned at = mark_home(mark);; at++) {
		bucket = &segment->buckets[at & (table->buckets - 1)];
		free_slots = head_match(bucket->head, 0);
		if (free_slots != 0)
			break;
		bucket->head |= BUCKET_PASSED;
	}
	unsigned slot = match_slot(free_slots);
	bucket->head |= tag << (8 * slot);
	bucket->words[slot] = mark << MARK_SHIFT | (uintptr_t)record;
	segment->count++;
}

/* --- searching --- */

static inline struct record *bucket_find(const struct bucket *bucket, struct slice key, uint64_t tag,
					 uint64_t mark)
{
	for (uint64_t match = head_match(bucket->head, tag); match != 0; match &= match - 1) {
		uint64_t word = bucket->words[match_slot(match)];
		if (word >> MARK_SHIFT == mark && record_has_key(word_record(word), key))
			return word_record(word);
	}
	return NULL;
}

static inline struct record *table_find(const struct sorted_hash *table, struct slice key, uint64_t hash)
{
	uint64_t spread = hash_spread(hash);
	uint64_t place = *table_place(table, spread);
	uint64_t tag = hash_tag(hash);
	uint64_t mark = hash_mark(hash, spread, place_depth(place));
	const struct segment *segment = place_segment(place);
	do {
		for (unsigned i = 0; i < table->buckets; i++) {
			const struct bucket *bucket =
				&segment->buckets[(mark_home(mark) + i) & (table->buckets - 1)];
			struct record *record = bucket_find(bucket, key, tag, mark);
			if (record != NULL || (bucket->head & BUCKET_PASSED) == 0)
				return record;
		}
		segment = segment->overflow;
	} while (segment != NULL);
	return NULL;
}

/* --- growing --- */

/* The first segment, while it is the only one: all records to one with twice as many buckets. */
static bool table_enlarge(struct sorted_hash *table)
{
	const struct segment *old = place_segment(table->directory[0]);
	unsigned buckets = table->buckets;
	struct segment *larger = segment_create(table, 2 * buckets);
	if (larger == NULL)
		return false;
	table->buckets = 2 * buckets;
	for (unsigned b = 0; b < buckets; b++) {
		const struct bucket *bucket = &old->buckets[b];
		for (unsigned i = 0; i < BUCKET_SLOTS && bucket->head >> (8 * i) & 0xff; i++)
			segment_put(table, larger, bucket->head >> (8 * i) & 0xff,
				    bucket->words[i] >> MARK_SHIFT, word_record(bucket->words[i]));
	}
	table->directory[0] = (uintptr_t)larger;
	return true;
}

static bool directory_double(struct sorted_hash *table)
{
	size_t places = (size_t)1 << table->depth;
	uint64_t *directory = arena_allocate(table->base.arena, 2 * places * sizeof(*directory), 64);
	if (directory == NULL)
		return false;
	for (size_t i = 0; i < places; i++)
		directory[2 * i] = directory[2 * i + 1] = table->directory[i];
	table->directory = directory;
	table->depth++;
	return true;
}

/* The records of a segment go to two that are empty, by the next bit of their spread hash. */
static void segment_deal(const struct sorted_hash *table, const struct segment *segment, unsigned depth,
			 struct segment *halves[2])
{
	bool next_window = (depth + 1) % WINDOW_BITS == 0;
	for (unsigned b = 0; b < SEGMENT_BUCKETS; b++) {
		const struct bucket *bucket = &segment->buckets[b];
		const struct bucket *ahead = &segment->buckets[(b + 2) % SEGMENT_BUCKETS];
		for (unsigned i = 0; next_window && i < BUCKET_SLOTS; i++)
			__builtin_prefetch(word_record(ahead->words[i]));
		for (unsigned i = 0; i < BUCKET_SLOTS && bucket->head >> (8 * i) & 0xff; i++) {
			const struct record *record = word_record(bucket->words[i]);
			uint64_t mark = bucket->words[i] >> MARK_SHIFT;
			struct segment *half = halves[mark_half(mark, depth)];
			if (next_window) {
				uint64_t hash = hash_key(record_key(record));
				mark = hash_mark(hash, hash_spread(hash), depth + 1);
			}
			segment_put(table, half, bucket->head >> (8 * i) & 0xff, mark, record);
		}
	}
}

static bool segment_split(struct sorted_hash *table, uint64_t spread)
{
	uint64_t place = *table_place(table, spread);
	unsigned depth = place_depth(place);
	if (table->spare == NULL)
		table->spare = segment_create(table, SEGMENT_BUCKETS);
	if (table->spare == NULL)
		return false;
	struct segment *other = segment_create(table, SEGMENT_BUCKETS);
	if (other == NULL)
		return false;
	struct segment *halves[2] = { table->spare, other };
	table->spare = place_segment(place);
	memset(halves[0], 0, segment_bytes(SEGMENT_BUCKETS));
	segment_deal(table, table->spare, depth, halves);
	size_t span = (size_t)1 << (table->depth - depth);
	uint64_t *places = &table->directory[(spread >> (SPREAD_BITS - depth)) * span];
	for (size_t i = 0; i < span; i++)
		places[i] = (uintptr_t)halves[i >= span / 2] | (depth + 1);
	return true;
}

/*
 * A full segment splits, as long as the directory is in proportion to what there is. It would not be if many
 * keys had hashes that begin alike, as somebody may choose them: then searches take long, and memory does not
 * run out.
 */
static bool may_split(const struct sorted_hash *table, const struct segment *segment, unsigned depth)
{
	if (segment->overflow != NULL || depth >= DEPTH_MAX)
		return false;
	return depth < table->depth || 2ull << table->depth <= 8 + table->order.count / 32;
}

/* The end of a segment's chain, with room for one more; NULL: no memory. */
static struct segment *segment_extend(struct sorted_hash *table, struct segment *segment)
{
	while (segment->overflow != NULL)
		segment = segment->overflow;
	if (segment->count < segment_limit(table))
		return segment;
	segment->overflow = segment_create(table, SEGMENT_BUCKETS);
	for (unsigned b = 0; segment->overflow != NULL && b < SEGMENT_BUCKETS; b++)
		segment->buckets[b].head |= BUCKET_PASSED;
	return segment->overflow;
}

/* The segment that a key with that hash goes to, with room for it; NULL: no memory. */
static inline struct segment *table_make_room(struct sorted_hash *table, uint64_t spread)
{
	for (;;) {
		uint64_t place = *table_place(table, spread);
		struct segment *segment = place_segment(place);
		if (__builtin_expect(segment->count < segment_limit(table), 1))
			return segment;
		if (table->buckets < SEGMENT_BUCKETS) {
			if (!table_enlarge(table))
				return NULL;
			continue;
		}
		if (!may_split(table, segment, place_depth(place)))
			return segment_extend(table, segment);
		if (place_depth(place) == table->depth && !directory_double(table))
			return NULL;
		if (!segment_split(table, spread))
			return NULL;
	}
}

/* --- the contract's functions --- */

static struct memtable *sorted_hash_create(struct arena *arena, const void *options)
{
	(void)options;
	struct sorted_hash *table = arena_allocate(arena, sizeof(*table), 64);
	if (table == NULL)
		return NULL;
	memset(table, 0, sizeof(*table));
	table->base.ops = &memtable_sorted_hash;
	table->base.arena = arena;
	table->buckets = FIRST_BUCKETS;
	order_init(&table->order, arena);
	table->directory = arena_allocate(arena, sizeof(*table->directory), 8);
	struct segment *segment = segment_create(table, FIRST_BUCKETS);
	if (table->directory == NULL || segment == NULL)
		return NULL;
	table->directory[0] = (uintptr_t)segment;
	return &table->base;
}

static struct status sorted_hash_insert(struct memtable *memtable, const struct entry *entry,
					uint64_t oldest_needed)
{
	struct sorted_hash *table = (struct sorted_hash *)memtable;
	ASSERT(entry->key.size <= KEY_BYTES_MAX);
	ASSERT(entry->value.size <= UINT32_MAX);
	ASSERT(entry->sequence <= SEQUENCE_MAX);
	uint64_t hash = hash_key(entry->key);
	uint64_t spread = hash_spread(hash);
	/* Its count, which a new key changes. */
	__builtin_prefetch(place_segment(*table_place(table, spread)));
	struct record *record = table_find(table, entry->key, hash);
	if (record != NULL) {
		struct held held = held_make(record);
		return held_add_version(&held, memtable->arena, entry, oldest_needed, &table->count);
	}
	struct segment *segment = table_make_room(table, spread);
	if (segment == NULL || !order_reserve(&table->order))
		return status_make(STATUS_NO_MEMORY);
	void *memory = arena_allocate(memtable->arena, record_bytes(entry), 1);
	if (memory == NULL)
		return status_make(STATUS_NO_MEMORY);
	ASSERT((uintptr_t)memory >> MARK_SHIFT == 0);
	record = record_fill(memory, entry);
	unsigned depth = place_depth(*table_place(table, spread));
	segment_put(table, segment, hash_tag(hash), hash_mark(hash, spread, depth), record);
	order_append(&table->order, entry->key, record);
	table->count++;
	return status_ok();
}

static inline bool get_with_hash(const struct sorted_hash *table, struct slice key, uint64_t hash,
				 uint64_t sequence, struct entry *entry)
{
	struct record *record = table_find(table, key, hash);
	struct version *version;
	if (record == NULL || !held_find(held_make(record), sequence, &version))
		return false;
	entry_fill(entry, record, version);
	return true;
}

static bool sorted_hash_get(struct memtable *memtable, struct slice key, uint64_t sequence,
			    struct entry *entry)
{
	return get_with_hash((struct sorted_hash *)memtable, key, hash_key(key), sequence, entry);
}

/* Loads the bucket where the key is at home. */
static inline const struct bucket *prefetch_bucket(const struct sorted_hash *table, uint64_t hash)
{
	const struct segment *segment = place_segment(*table_place(table, hash_spread(hash)));
	const struct bucket *bucket = &segment->buckets[hash_home(hash) & (table->buckets - 1)];
	__builtin_prefetch(bucket);
	return bucket;
}

/* In three rounds, each of which loads what the next one looks at: buckets, records, and then the search
 * itself. Few records are elsewhere than the first slot of the bucket with their byte says. */
static void sorted_hash_get_many(struct memtable *memtable, struct memtable_probe *probes, size_t count)
{
	const struct sorted_hash *table = (struct sorted_hash *)memtable;
	const struct bucket *buckets[GROUP];
	uint64_t hashes[GROUP];
	while (count > 0) {
		size_t group = count < GROUP ? count : GROUP;
		for (size_t i = 0; i < group; i++) {
			hashes[i] = hash_key(probes[i].key);
			buckets[i] = prefetch_bucket(table, hashes[i]);
		}
		for (size_t i = 0; i < group; i++) {
			uint64_t match = head_match(buckets[i]->head, hash_tag(hashes[i]));
			if (match != 0)
				record_prefetch(word_record(buckets[i]->words[match_slot(match)]));
		}
		for (size_t i = 0; i < group; i++)
			probes[i].found = get_with_hash(table, probes[i].key, hashes[i], probes[i].sequence,
							&probes[i].entry);
		probes += group;
		count -= group;
	}
}

static uint64_t sorted_hash_count(const struct memtable *memtable)
{
	return ((const struct sorted_hash *)memtable)->count;
}

/* --- iterating --- */

static void sorted_hash_iterator_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	struct sorted_hash_iterator *cursor = (struct sorted_hash_iterator *)iterator;
	memset(cursor, 0, sizeof(*cursor));
	cursor->base.memtable = memtable;
}

static void iterator_place(struct sorted_hash_iterator *cursor, struct record *record,
			   struct version *version)
{
	cursor->record = record;
	cursor->version = version;
	cursor->base.valid = true;
	entry_fill(&cursor->base.entry, record, version);
}

/* Onto a record that was reached from the one before it; NULL: there is none. */
static inline void iterator_enter(struct sorted_hash_iterator *cursor, struct record *record)
{
	cursor->base.valid = record != NULL;
	if (record != NULL)
		iterator_place(cursor, record, held_newest(held_make(record)));
}

/* And from the one behind it. */
static inline void iterator_enter_back(struct sorted_hash_iterator *cursor, struct record *record)
{
	struct version *version;
	cursor->base.valid = record != NULL;
	if (record == NULL)
		return;
	held_oldest(held_make(record), &version);
	iterator_place(cursor, record, version);
}

static inline struct order *order_of(struct memtable_iterator *iterator)
{
	return &((struct sorted_hash *)iterator->memtable)->order;
}

static void sorted_hash_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct sorted_hash_iterator *cursor = (struct sorted_hash_iterator *)iterator;
	struct order *order = order_of(iterator);
	bool found;
	struct version *version;
	order_prepare(order);
	struct record *record = order_seek(order, &cursor->cursor, key, &found);
	if (!found)
		iterator_enter(cursor, record);
	else if (held_find(held_make(record), sequence, &version))
		iterator_place(cursor, record, version);
	else
		iterator_enter(cursor, order_next(order, &cursor->cursor, record));
}

static void sorted_hash_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct sorted_hash_iterator *cursor = (struct sorted_hash_iterator *)iterator;
	struct order *order = order_of(iterator);
	bool found;
	struct version *version;
	order_prepare(order);
	struct record *record = order_seek(order, &cursor->cursor, key, &found);
	if (found && held_find_back(held_make(record), sequence, &version))
		iterator_place(cursor, record, version);
	else
		iterator_enter_back(cursor, order_prev(order, &cursor->cursor, record));
}

static void sorted_hash_seek_last(struct memtable_iterator *iterator)
{
	struct sorted_hash_iterator *cursor = (struct sorted_hash_iterator *)iterator;
	struct order *order = order_of(iterator);
	order_prepare(order);
	order_seek_end(order, &cursor->cursor);
	iterator_enter_back(cursor, order_prev(order, &cursor->cursor, NULL));
}

static void sorted_hash_next(struct memtable_iterator *iterator)
{
	struct sorted_hash_iterator *cursor = (struct sorted_hash_iterator *)iterator;
	DASSERT(iterator->valid);
	if (held_older(held_make(cursor->record), &cursor->version))
		entry_fill(&iterator->entry, cursor->record, cursor->version);
	else
		iterator_enter(cursor, order_next(order_of(iterator), &cursor->cursor, cursor->record));
}

static void sorted_hash_prev(struct memtable_iterator *iterator)
{
	struct sorted_hash_iterator *cursor = (struct sorted_hash_iterator *)iterator;
	DASSERT(iterator->valid);
	if (held_newer(held_make(cursor->record), &cursor->version))
		entry_fill(&iterator->entry, cursor->record, cursor->version);
	else
		iterator_enter_back(cursor, order_prev(order_of(iterator), &cursor->cursor, cursor->record));
}

const struct memtable_ops memtable_sorted_hash = {
	.component = {
		.name = "sorted_hash",
		.summary = "hash table, sorted for a flush and for scans: for puts and gets",
		.abi = COMPONENT_ABI,
	},
	.create = sorted_hash_create,
	.insert = sorted_hash_insert,
	.get = sorted_hash_get,
	.get_many = sorted_hash_get_many,
	.count = sorted_hash_count,
	.iterator_init = sorted_hash_iterator_init,
	.seek = sorted_hash_seek,
	.seek_back = sorted_hash_seek_back,
	.seek_last = sorted_hash_seek_last,
	.next = sorted_hash_next,
	.prev = sorted_hash_prev,
};
