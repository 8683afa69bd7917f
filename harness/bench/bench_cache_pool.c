#include "harness/bench/bench_cache_pool.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/statistics.h"
#include "harness/ticks.h"

enum {
	ALIGNMENT = 64,
	EXPECTED = CACHE_NO_FRAME - 1, /* of a page: a miss of this stretch */
	TIMED_MIN = 32,		       /* hits or misses of a stretch: fewer take too short to be timed */
};

struct status cache_pool_init(struct cache_pool *pool, const struct cache_ops *ops, uint32_t frames,
			      uint32_t pages)
{
	void *options = allocate_zeroed(1, ops->component.options_size + 1);
	component_default_options(&ops->component, options);
	*pool = (struct cache_pool) { .ops = ops, .frames = frames, .pages = pages };
	pool->memory_bytes = ops->memory_size(options, frames);
	pool->memory = memory_allocate_aligned(ALIGNMENT, (pool->memory_bytes / ALIGNMENT + 1) * ALIGNMENT);
	if (pool->memory != NULL) {
		memset(pool->memory, 0, pool->memory_bytes);
		pool->strategy = ops->create(options, frames, pool->memory);
	}
	pool->frame_of = allocate_zeroed(pages, sizeof(*pool->frame_of));
	memset(pool->frame_of, 0xff, pages * sizeof(*pool->frame_of));
	pool->page_of = allocate_zeroed(frames, sizeof(*pool->page_of));
	memory_free(options);
	return pool->memory != NULL ? status_ok() : status_make(STATUS_NO_MEMORY);
}

void cache_pool_free(struct cache_pool *pool)
{
	memory_free(pool->memory);
	memory_free(pool->frame_of);
	memory_free(pool->page_of);
}

/* --- accesses --- */

/* No frame is pinned. */
static bool always(void *context, uint32_t frame)
{
	(void)context;
	(void)frame;
	return true;
}

/* Page and frame belong together; the frame's former page is out. */
static void tie(struct cache_pool *pool, uint32_t frame, uint32_t page, bool is_new)
{
	if (!is_new)
		pool->frame_of[pool->page_of[frame]] = CACHE_NO_FRAME;
	pool->page_of[frame] = page;
	pool->frame_of[page] = frame;
}

static bool is_held(const struct cache_pool *pool, uint32_t frame)
{
	return frame < pool->used && pool->frame_of[pool->page_of[frame]] == frame;
}

static struct status complain(const struct cache_pool *pool, uint32_t frame)
{
	return status_error(STATUS_CORRUPT, "%s gives up frame %u, which holds no page",
			    pool->ops->component.name, frame);
}

struct status cache_pool_access(struct cache_pool *pool, uint32_t page, bool *missed)
{
	uint32_t frame = pool->frame_of[page];
	*missed = frame == CACHE_NO_FRAME;
	if (!*missed) {
		pool->ops->touch(pool->strategy, frame);
		return status_ok();
	}
	bool is_new = pool->used < pool->frames;
	frame = is_new ? pool->used : pool->ops->evict(pool->strategy, always, NULL);
	if (!is_new && !is_held(pool, frame))
		return complain(pool, frame);
	pool->used += is_new;
	tie(pool, frame, page, is_new);
	pool->ops->insert(pool->strategy, frame, hash_mix(page));
	return status_ok();
}

struct status cache_pool_replay(struct cache_pool *pool, const struct cache_trace *trace,
				struct cache_misses *misses)
{
	*misses = (struct cache_misses) { 0 };
	for (size_t i = 0; i < trace->count; i++) {
		bool missed;
		TRY(cache_pool_access(pool, trace->pages[i], &missed));
		cache_misses_count(misses, trace, i, missed);
	}
	return status_ok();
}

/* --- what they cost --- */

struct stretch {
	uint32_t frames[CACHE_STRETCH]; /* of hits */
	uint32_t pages[CACHE_STRETCH];	/* of misses, */
	uint64_t hashes[CACHE_STRETCH]; /* what the strategy knows them by, */
	uint32_t taken[CACHE_STRETCH];	/* and the frames that they get */
	size_t hits, misses;
};

static void sort_out(struct cache_pool *pool, struct stretch *stretch, const uint32_t *accesses)
{
	stretch->hits = stretch->misses = 0;
	for (size_t i = 0; i < CACHE_STRETCH; i++) {
		uint32_t *frame = &pool->frame_of[accesses[i]];
		if (*frame == EXPECTED)
			continue;
		if (*frame != CACHE_NO_FRAME) {
			stretch->frames[stretch->hits++] = *frame;
			continue;
		}
		*frame = EXPECTED;
		stretch->pages[stretch->misses] = accesses[i];
		stretch->hashes[stretch->misses++] = hash_mix(accesses[i]);
	}
}

static double time_hits(struct cache_pool *pool, const struct stretch *stretch)
{
	uint64_t start = ticks_now();
	for (size_t i = 0; i < stretch->hits; i++)
		pool->ops->touch(pool->strategy, stretch->frames[i]);
	return (double)ticks_to_ns(ticks_now() - start) / (double)stretch->hits;
}

static double time_misses(struct cache_pool *pool, struct stretch *stretch)
{
	uint64_t start = ticks_now();
	for (size_t i = 0; i < stretch->misses; i++) {
		uint32_t frame = pool->ops->evict(pool->strategy, always, NULL);
		stretch->taken[i] = frame;
		pool->ops->insert(pool->strategy, frame, stretch->hashes[i]);
	}
	return (double)ticks_to_ns(ticks_now() - start) / (double)stretch->misses;
}

static struct status tie_all(struct cache_pool *pool, const struct stretch *stretch)
{
	for (size_t i = 0; i < stretch->misses; i++) {
		if (!is_held(pool, stretch->taken[i]))
			return complain(pool, stretch->taken[i]);
		tie(pool, stretch->taken[i], stretch->pages[i], false);
	}
	return status_ok();
}

struct status cache_pool_time(struct cache_pool *pool, const uint32_t *accesses, unsigned stretches,
			      struct cache_costs *costs)
{
	struct stretch *stretch = allocate_zeroed(1, sizeof(*stretch));
	double *hits = allocate_zeroed(stretches, sizeof(*hits));
	double *misses = allocate_zeroed(stretches, sizeof(*misses));
	size_t hit_count = 0, miss_count = 0;
	struct status status = status_ok();
	if (pool->used < pool->frames)
		status = status_error(STATUS_INVALID, "%u of %u frames are in use: the pool is not warm",
				      pool->used, pool->frames);
	for (unsigned i = 0; i < stretches && status_is_ok(status); i++) {
		sort_out(pool, stretch, &accesses[(size_t)i * CACHE_STRETCH]);
		double hit = time_hits(pool, stretch), miss = time_misses(pool, stretch);
		if (stretch->hits >= TIMED_MIN)
			hits[hit_count++] = hit;
		if (stretch->misses >= TIMED_MIN)
			misses[miss_count++] = miss;
		status = tie_all(pool, stretch);
	}
	costs->hit_ns = statistics_median(hits, hit_count);
	costs->miss_ns = statistics_median(misses, miss_count);
	memory_free(stretch);
	memory_free(hits);
	memory_free(misses);
	return status;
}
