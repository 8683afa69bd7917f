/*
 * bench_cache_trace.h: sequences of page accesses for cache strategies, and the fewest misses that any
 * strategy could have in one.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_CACHE_TRACE_H
#define CASCADE_HARNESS_BENCH_BENCH_CACHE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cache_trace_kind {
	CACHE_TRACE_ZIPFIAN, /* Zipf(0.99) over all pages, scattered */
	CACHE_TRACE_SCANS, /* the same, and each fourth access is that of somebody who reads runs of pages, a
			    * fiftieth of all of them each, from places at random */
	CACHE_TRACE_LOOP,  /* a tenth more pages than there are frames, round and round */
	CACHE_TRACE_SHIFT, /* Zipf(0.99); ten times on the way what was hot goes cold, and other pages hot */
};

struct cache_trace {
	uint32_t *pages; /* below footprint */
	size_t count;
	uint32_t footprint;
	size_t warm;	     /* accesses before anything is counted */
	unsigned scan_every; /* each so many-th access is a scan's; 0: none is */
};

/* A function of its arguments. `pages`: how many there are, but of the loop, which goes by `frames`. */
void cache_trace_make(struct cache_trace *trace, enum cache_trace_kind kind, uint32_t pages, uint32_t frames,
		      size_t count, uint64_t seed);
void cache_trace_free(struct cache_trace *trace);

static inline bool cache_trace_is_scan(const struct cache_trace *trace, size_t access)
{
	return trace->scan_every > 0 && access % trace->scan_every == trace->scan_every - 1;
}

struct cache_misses {
	uint64_t counted, misses;
	uint64_t points, point_misses; /* of those, what is not a scan's */
};

void cache_misses_count(struct cache_misses *misses, const struct cache_trace *trace, size_t access,
			bool missed);

/*
 * Misses of a cache of so many frames that gives up, each time, the page that is needed again last: none that
 * has to take in what it reads can have fewer (Belady 1966).
 */
struct cache_misses cache_trace_optimum(const struct cache_trace *trace, uint32_t frames);

#endif
