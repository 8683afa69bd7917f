/*
 * record_cache.h: single records that are read often, kept without the blocks around them. Private to tree/.
 *
 * A block that holds one hot record among thirty cold ones costs a page of the pool for each hot record; here
 * the record costs little more than its bytes. The cache stands behind the memtables and before the tables.
 *
 * Who uses it keeps one rule: a record in it is the newest version of its key anywhere. So a write removes
 * its key when it enters the memtable, and a read puts in what it found in a table only if no memtable has
 * the key and none was rotated since the read began.
 *
 * Records lie in a ring in the order in which they came; a hand goes round, drops those that were not used
 * since it last passed, and moves the others to the front (CLOCK over records of any size). A record is taken
 * in when its key comes a second time within about as many keys as the cache holds, so that what is read once
 * passes by; until the ring is full for the first time, at once.
 */
#ifndef CASCADE_TREE_RECORD_CACHE_H
#define CASCADE_TREE_RECORD_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum { RECORD_CACHE_BYTES_MIN = 8 << 10 };

struct record_cache;

struct record_cache_counters {
	uint64_t hits, misses;
	uint64_t inserts, removals; /* removals: by writes */
	uint64_t evictions;
	uint64_t records; /* gauge */
};

/* `bytes`: for everything, at least RECORD_CACHE_BYTES_MIN. NULL: no memory. */
struct record_cache *record_cache_create(uint64_t bytes);
void record_cache_destroy(struct record_cache *cache);

/* The record, if it is there; *value stays until the next call that inserts. `hash` is hash_key(key). */
bool record_cache_get(struct record_cache *cache, struct slice key, uint64_t hash, uint64_t *sequence,
		      struct slice *value);

/* Whether a key that was just read from a table, and is not here, should be put in. To be asked once a read.
 */
bool record_cache_wants(struct record_cache *cache, struct slice key, uint64_t hash, struct slice value);

/* Puts the record in, in place of what is there of the key. */
void record_cache_put(struct record_cache *cache, struct slice key, uint64_t hash, uint64_t sequence,
		      struct slice value);

/* The key is written: what is here of it is old. */
void record_cache_remove(struct record_cache *cache, struct slice key, uint64_t hash);

/* Whether record_cache_remove could find anything: spares hashing the key. */
bool record_cache_is_empty(const struct record_cache *cache);

const struct record_cache_counters *record_cache_counters(const struct record_cache *cache);

#endif
