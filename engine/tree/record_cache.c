#include "tree/record_cache.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#include "base/poison.h"

enum {
	UNIT = 8,		  /* places in the ring are counted in this */
	BUCKET_SLOTS = 10,	  /* a cache line */
	RECORD_BYTES_GUESS = 128, /* by which the index is sized */
	USES_MAX = 3,
	MOVES_MAX = 8,	/* records that one insertion may carry to the front */
	SHARE_MAX = 16, /* a record takes at most this part of the ring */
	PLACE_NONE = 0,
};

/* In the ring, before key and value. A record that was replaced or removed lies there until the hand comes.
 */
struct record {
	uint64_t sequence;
	uint64_t hash;
	uint32_t value_size;
	uint16_t key_size;
	uint16_t padding; /* not a record: the rest of the ring is unused */
};

_Static_assert(sizeof(struct record) % UNIT == 0, "records begin at units");

/* Records of one range of hashes. places[i] == PLACE_NONE: empty. */
struct bucket {
	uint32_t places[BUCKET_SLOTS]; /* units from the ring's start, plus one */
	uint8_t tags[BUCKET_SLOTS];
	uint8_t uses[BUCKET_SLOTS];
	uint8_t hand; /* for the case that all slots are taken */
};

_Static_assert(sizeof(struct bucket) <= 64, "one cache line");

struct record_cache {
	struct bucket *buckets;
	uint64_t bucket_count;
	uint16_t *seen; /* marks of keys that came lately */
	uint64_t seen_count;
	uint8_t *ring;
	uint64_t size; /* of the ring */
	uint64_t head; /* where the next record goes; counts on for ever */
	uint64_t tail; /* the oldest record; head - tail <= size */
	void *memory;
	size_t memory_bytes;
	struct record_cache_counters counters;
};

/* --- places --- */

static inline struct bucket *bucket_of(const struct record_cache *cache, uint64_t hash)
{
	/* The shard was chosen by the mixed hash, and filters use its low bits: multiply for others. */
	return &cache->buckets[((hash * 0x9e3779b97f4a7c15ull) >> 32) * cache->bucket_count >> 32];
}

static inline uint8_t tag_of(uint64_t hash)
{
	return (uint8_t)(hash >> 40);
}

static inline struct record *record_at(const struct record_cache *cache, uint64_t position)
{
	return (struct record *)(void *)(cache->ring + position % cache->size);
}

static inline uint32_t place_of(const struct record_cache *cache, uint64_t position)
{
	return (uint32_t)(position % cache->size / UNIT) + 1;
}

static inline uint64_t record_bytes(uint64_t key_size, uint64_t value_size)
{
	return (sizeof(struct record) + key_size + value_size + UNIT - 1) & ~(uint64_t)(UNIT - 1);
}

static inline struct record *record_in(const struct record_cache *cache, const struct bucket *bucket,
				       unsigned slot)
{
	return (struct record *)(void *)(cache->ring + (uint64_t)(bucket->places[slot] - 1) * UNIT);
}

/* The key's slot, or BUCKET_SLOTS. */
static inline unsigned find(const struct record_cache *cache, const struct bucket *bucket, struct slice key,
			    uint64_t hash)
{
	uint8_t tag = tag_of(hash);
	for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
		if (bucket->tags[i] != tag || bucket->places[i] == PLACE_NONE)
			continue;
		const struct record *record = record_in(cache, bucket, i);
		if (record->hash == hash && record->key_size == key.size &&
		    (key.size == 0 || memcmp(record + 1, key.data, key.size) == 0))
			return i;
	}
	return BUCKET_SLOTS;
}

static void slot_free(struct record_cache *cache, struct bucket *bucket, unsigned slot)
{
	bucket->places[slot] = PLACE_NONE;
	cache->counters.records--;
}

/* A free slot of the bucket; the hand of a full one passes over slots that were used. */
static unsigned slot_take(struct record_cache *cache, struct bucket *bucket)
{
	for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
		if (bucket->places[i] == PLACE_NONE)
			return i;
	}
	while (bucket->uses[bucket->hand] > 0) {
		bucket->uses[bucket->hand]--;
		bucket->hand = (uint8_t)((bucket->hand + 1) % BUCKET_SLOTS);
	}
	unsigned slot = bucket->hand;
	bucket->hand = (uint8_t)((slot + 1) % BUCKET_SLOTS);
	slot_free(cache, bucket, slot);
	cache->counters.evictions++;
	return slot;
}

/* --- the ring --- */

/* Where a record of `bytes` goes, behind the head: records do not wrap. */
static uint64_t next_position(const struct record_cache *cache, uint64_t bytes)
{
	uint64_t rest = cache->size - cache->head % cache->size;
	return rest < bytes ? cache->head + rest : cache->head;
}

static inline bool is_padding(const struct record_cache *cache, uint64_t position)
{
	return cache->size - position % cache->size < sizeof(struct record) ||
	       record_at(cache, position)->padding != 0;
}

/* The slot that still refers to the record at `position`, or BUCKET_SLOTS. */
static unsigned slot_at(const struct record_cache *cache, const struct bucket *bucket, uint64_t position)
{
	uint32_t place = place_of(cache, position);
	unsigned slot = 0;
	while (slot < BUCKET_SLOTS && bucket->places[slot] != place)
		slot++;
	return slot;
}

/* Marks what is left between the head and the end of the ring, and puts the head behind it. */
static void skip_to(struct record_cache *cache, uint64_t position)
{
	if (position - cache->head >= sizeof(struct record))
		*record_at(cache, cache->head) = (struct record) { .padding = 1 };
	cache->head = position;
}

static bool has_room(const struct record_cache *cache, uint64_t bytes)
{
	return next_position(cache, bytes) + bytes - cache->tail <= cache->size;
}

/*
 * Takes the oldest record off the ring. One that was used goes to the front, if the room that it leaves and
 * what is free allow it; its bytes are copied before they are written over.
 */
static bool hand_move(struct record_cache *cache, bool may_keep)
{
	uint64_t position = cache->tail;
	if (is_padding(cache, position)) {
		cache->tail += cache->size - position % cache->size;
		return false;
	}
	struct record *record = record_at(cache, position);
	uint64_t bytes = record_bytes(record->key_size, record->value_size);
	struct bucket *bucket = bucket_of(cache, record->hash);
	unsigned slot = slot_at(cache, bucket, position);
	cache->tail += bytes;
	if (slot == BUCKET_SLOTS)
		return false;
	if (!may_keep || bucket->uses[slot] == 0 || !has_room(cache, bytes)) {
		slot_free(cache, bucket, slot);
		cache->counters.evictions++;
		return false;
	}
	skip_to(cache, next_position(cache, bytes));
	/* The room may be the very one that it leaves. */
	memmove(record_at(cache, cache->head), record, bytes);
	bucket->places[slot] = place_of(cache, cache->head);
	bucket->uses[slot]--;
	cache->head += bytes;
	return true;
}

static void make_room(struct record_cache *cache, uint64_t bytes)
{
	unsigned moves = 0;
	while (!has_room(cache, bytes))
		moves += hand_move(cache, moves < MOVES_MAX);
}

/* --- what others call --- */

struct record_cache *record_cache_create(uint64_t bytes)
{
	ASSERT(bytes >= RECORD_CACHE_BYTES_MIN);
	uint64_t records = bytes / RECORD_BYTES_GUESS;
	uint64_t bucket_count = records / (BUCKET_SLOTS - 3) + 1;
	uint64_t seen_count = records + 1;
	size_t index_bytes = (size_t)(bucket_count * sizeof(struct bucket));
	size_t seen_bytes = (size_t)((seen_count * sizeof(uint16_t) + 63) & ~(uint64_t)63);
	struct record_cache *cache = memory_allocate_zeroed(1, sizeof(*cache));
	if (cache == NULL)
		return NULL;
	cache->memory_bytes = (size_t)((bytes + 4095) & ~(uint64_t)4095);
	cache->memory = memory_map(cache->memory_bytes);
	if (cache->memory == NULL) {
		memory_free(cache);
		return NULL;
	}
	uint8_t *at = cache->memory;
	cache->buckets = (struct bucket *)(void *)at;
	cache->bucket_count = bucket_count;
	cache->seen = (uint16_t *)(void *)(at + index_bytes);
	cache->seen_count = seen_count;
	cache->ring = at + index_bytes + seen_bytes;
	cache->size = (cache->memory_bytes - index_bytes - seen_bytes) & ~(uint64_t)(UNIT - 1);
	return cache;
}

void record_cache_destroy(struct record_cache *cache)
{
	if (cache == NULL)
		return;
	memory_unmap(cache->memory, cache->memory_bytes);
	memory_free(cache);
}

bool record_cache_get(struct record_cache *cache, struct slice key, uint64_t hash, uint64_t *sequence,
		      struct slice *value)
{
	struct bucket *bucket = bucket_of(cache, hash);
	unsigned slot = find(cache, bucket, key, hash);
	if (slot == BUCKET_SLOTS) {
		cache->counters.misses++;
		return false;
	}
	const struct record *record = record_in(cache, bucket, slot);
	if (bucket->uses[slot] < USES_MAX)
		bucket->uses[slot]++;
	*sequence = record->sequence;
	*value = slice_make((const uint8_t *)(record + 1) + record->key_size, record->value_size);
	cache->counters.hits++;
	return true;
}

bool record_cache_wants(struct record_cache *cache, struct slice key, uint64_t hash, struct slice value)
{
	if (key.size > UINT16_MAX || value.size > cache->size / SHARE_MAX ||
	    record_bytes(key.size, value.size) > cache->size / SHARE_MAX)
		return false;
	uint16_t *mark = &cache->seen[(
		uint64_t)(((unsigned __int128)(hash * 0xd6e8feb86659fd93ull) * cache->seen_count) >> 64)];
	uint16_t wanted = (uint16_t)(hash | 1);
	bool came_before = *mark == wanted;
	*mark = wanted;
	/* As long as nothing has to go for it, anything is welcome. */
	return came_before || cache->head + record_bytes(key.size, value.size) <= cache->size;
}

void record_cache_put(struct record_cache *cache, struct slice key, uint64_t hash, uint64_t sequence,
		      struct slice value)
{
	uint64_t bytes = record_bytes(key.size, value.size);
	ASSERT(bytes <= cache->size / SHARE_MAX && key.size <= UINT16_MAX);
	struct bucket *bucket = bucket_of(cache, hash);
	unsigned slot = find(cache, bucket, key, hash);
	if (slot < BUCKET_SLOTS)
		slot_free(cache, bucket, slot);
	make_room(cache, bytes);
	skip_to(cache, next_position(cache, bytes));
	slot = slot_take(cache, bucket);
	struct record *record = record_at(cache, cache->head);
	*record = (struct record) { .sequence = sequence,
				    .hash = hash,
				    .value_size = (uint32_t)value.size,
				    .key_size = (uint16_t)key.size };
	uint8_t *to = (uint8_t *)(record + 1);
	if (key.size > 0)
		memcpy(to, key.data, key.size);
	if (value.size > 0)
		memcpy(to + key.size, value.data, value.size);
	bucket->places[slot] = place_of(cache, cache->head);
	bucket->tags[slot] = tag_of(hash);
	bucket->uses[slot] = 0;
	cache->head += bytes;
	cache->counters.records++;
	cache->counters.inserts++;
}

void record_cache_remove(struct record_cache *cache, struct slice key, uint64_t hash)
{
	struct bucket *bucket = bucket_of(cache, hash);
	unsigned slot = find(cache, bucket, key, hash);
	if (slot == BUCKET_SLOTS)
		return;
	slot_free(cache, bucket, slot);
	cache->counters.removals++;
}

bool record_cache_is_empty(const struct record_cache *cache)
{
	return cache->counters.records == 0;
}

const struct record_cache_counters *record_cache_counters(const struct record_cache *cache)
{
	return &cache->counters;
}
