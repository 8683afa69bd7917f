/*
 * bench_cache_pool.h: a pool without contents around a cache strategy: the map from page to frame and back,
 * and the calls that a pool makes of its strategy.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_CACHE_POOL_H
#define CASCADE_HARNESS_BENCH_BENCH_CACHE_POOL_H

#include "components/cache/cache.h"
#include "harness/bench/bench_cache_trace.h"

/* Least recently used, as textbooks have it: a list of nodes that point at each other. */
extern const struct cache_ops bench_cache_plain;

struct cache_pool {
	const struct cache_ops *ops;
	void *memory; /* the strategy's */
	size_t memory_bytes;
	struct cache_strategy *strategy;
	uint32_t frames, used;
	uint32_t pages;
	uint32_t *frame_of; /* of each page; CACHE_NO_FRAME: of none */
	uint32_t *page_of;  /* of each frame in use */
};

/* With the strategy's default options. Errors: NO_MEMORY; the pool is to be freed all the same. */
MUST_CHECK struct status cache_pool_init(struct cache_pool *pool, const struct cache_ops *ops,
					 uint32_t frames, uint32_t pages);
void cache_pool_free(struct cache_pool *pool);

/* Reads a page. Errors: CORRUPT: the strategy gives up what it does not have. */
MUST_CHECK struct status cache_pool_access(struct cache_pool *pool, uint32_t page, bool *missed);

/* A whole trace. */
MUST_CHECK struct status cache_pool_replay(struct cache_pool *pool, const struct cache_trace *trace,
					   struct cache_misses *misses);

struct cache_costs {
	double hit_ns;	/* of one touch */
	double miss_ns; /* of one evict and insert */
};

/*
 * What hits and misses cost in a pool that is warm. Accesses come in stretches: those of pages that are
 * resident when a stretch begins are its hits, the other pages its misses, once each; each of the two is
 * timed as a whole, without the pool's own map, and the median over the stretches counts. `stretches` of
 * CACHE_STRETCH pages each.
 */
enum { CACHE_STRETCH = 4096, CACHE_STRETCHES_MAX = 512 };

MUST_CHECK struct status cache_pool_time(struct cache_pool *pool, const uint32_t *accesses,
					 unsigned stretches, struct cache_costs *costs);

#endif
