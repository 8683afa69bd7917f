/*
 * bench_cache.c: the kind `cache`: how often strategies miss, and what their hits and misses cost.
 */
#include "harness/bench/bench.h"
#include "harness/bench/bench_cache_pool.h"

enum {
	PAGES = 100 * 1000, /* of which the caches hold 1, 3, 10 and 30 % */
	PAGES_QUICK = 5000,
	ACCESSES_PER_PAGE = 10,
	TIMED_PAGES_PER_FRAME = 10,
	STRETCHES = 200,
	STRETCHES_QUICK = 10,
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { MISSES, POINT_MISSES };	 /* the numbers of replays, */
enum { HIT, MISS, FRAME_BYTES }; /* and of costs */

static const struct cache_ops *ops_of(const struct bench_job *job)
{
	/* A shared side knows no variant: it is the textbook's. */
	if (job->variant == NULL)
		return &bench_cache_plain;
	return (const struct cache_ops *)component_find(COMPONENT_CACHE, job->variant);
}

/* --- misses --- */

static void make_trace(const struct bench_job *job, struct cache_trace *trace)
{
	uint32_t pages = job->quick ? PAGES_QUICK : PAGES;
	cache_trace_make(trace, (enum cache_trace_kind)job->parameter, pages, (uint32_t)job->size,
			 (size_t)pages * ACCESSES_PER_PAGE, job->seed);
}

static void say(const struct cache_misses *misses, double numbers[BENCH_NUMBERS_MAX])
{
	numbers[MISSES] = (double)misses->misses / (double)misses->counted;
	numbers[POINT_MISSES] = (double)misses->point_misses / (double)misses->points;
}

static struct status run_replay(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct cache_trace trace;
	struct cache_pool pool;
	struct cache_misses misses;
	make_trace(job, &trace);
	struct status status = cache_pool_init(&pool, ops_of(job), (uint32_t)job->size, trace.footprint);
	if (status_is_ok(status))
		status = cache_pool_replay(&pool, &trace, &misses);
	if (status_is_ok(status))
		say(&misses, numbers);
	cache_pool_free(&pool);
	cache_trace_free(&trace);
	return status;
}

static struct status run_optimum(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct cache_trace trace;
	make_trace(job, &trace);
	struct cache_misses misses = cache_trace_optimum(&trace, (uint32_t)job->size);
	say(&misses, numbers);
	cache_trace_free(&trace);
	return status_ok();
}

/* --- costs --- */

/* The first accesses, as many as there are pages, warm the pool; the rest are timed. */
static struct status time_pool(struct cache_pool *pool, const struct cache_trace *trace, unsigned stretches,
			       double numbers[BENCH_NUMBERS_MAX])
{
	struct cache_costs costs;
	for (size_t i = 0; i < trace->footprint; i++) {
		bool missed;
		TRY(cache_pool_access(pool, trace->pages[i], &missed));
	}
	TRY(cache_pool_time(pool, &trace->pages[trace->footprint], stretches, &costs));
	numbers[HIT] = costs.hit_ns;
	numbers[MISS] = costs.miss_ns;
	numbers[FRAME_BYTES] = (double)pool->memory_bytes / pool->frames;
	return status_ok();
}

static struct status run_costs(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct cache_trace trace;
	struct cache_pool pool;
	uint32_t pages = (uint32_t)job->size * TIMED_PAGES_PER_FRAME;
	unsigned stretches = job->quick ? STRETCHES_QUICK : STRETCHES;
	cache_trace_make(&trace, CACHE_TRACE_ZIPFIAN, pages, (uint32_t)job->size,
			 pages + (size_t)stretches * CACHE_STRETCH, job->seed);
	struct status status = cache_pool_init(&pool, ops_of(job), (uint32_t)job->size, pages);
	if (status_is_ok(status))
		status = time_pool(&pool, &trace, stretches, numbers);
	cache_pool_free(&pool);
	cache_trace_free(&trace);
	return status;
}

/* --- the measures --- */

static const struct bench_size shares[] = {
	{ .size = 1000, .quick = 50 },
	{ .size = 3000, .quick = 150 },
	{ .size = 10000, .quick = 500 },
	{ .size = 30000, .quick = 1500 },
};

enum { STRATEGY, LRU, OPTIMUM }; /* the sides */

#define CLAIM(name, what, reference, number)                               \
	{                                                                  \
		name, what, STRATEGY, reference, number, BENCH_NO_BOUND, 0 \
	}

/* A measure `symbol` that has the same name. In a million accesses chance has little to do, so few
 * repetitions show what it does. */
#define MEASURE(symbol, trace, bound, about)                                                               \
	static const struct bench_side symbol##_sides[] = {                                                \
		[STRATEGY] = { "strategy", run_replay, trace },                                            \
		[LRU] = { "textbook lru", run_replay, trace },                                             \
		[OPTIMUM] = { "optimum", run_optimum, trace },                                             \
	};                                                                                                 \
	static const struct bench_claim symbol##_claims[] = {                                              \
		{ #symbol ".lru", "misses, beside those of least recently used", STRATEGY, LRU, MISSES,    \
		  bound, 1 },                                                                              \
		CLAIM(#symbol ".optimum", "misses, beside the fewest that are possible", OPTIMUM, MISSES), \
	};                                                                                                 \
	static const struct bench_measure symbol = {                                                       \
		.name = #symbol,                                                                           \
		.summary = about,                                                                          \
		.repeats = 5,                                                                              \
		.numbers = { [MISSES] = { "miss_ratio", BENCH_SHARE },                                     \
			     [POINT_MISSES] = { "point_miss_ratio", BENCH_SHARE } },                       \
		.sides = symbol##_sides,                                                                   \
		.side_count = COUNT_OF(symbol##_sides),                                                    \
		.claims = symbol##_claims,                                                                 \
		.claim_count = COUNT_OF(symbol##_claims),                                                  \
		.bounds_of = "s3fifo",                                                                     \
		.shared_sides = 2,                                                                         \
		.compared_numbers = MISSES + 1,                                                            \
		.size_name = "frames",                                                                     \
		.size_unit = BENCH_COUNT,                                                                  \
		.sizes = shares,                                                                           \
		.size_count = COUNT_OF(shares),                                                            \
	};

MEASURE(zipfian, CACHE_TRACE_ZIPFIAN, BENCH_RATIO_AT_MOST,
	"misses where accesses are Zipf(0.99) over 100,000 pages")
MEASURE(scans, CACHE_TRACE_SCANS, BENCH_RATIO_AT_MOST,
	"misses where each fourth of such accesses is one of a scan over 2000 pages")
MEASURE(loop, CACHE_TRACE_LOOP, BENCH_RATIO_AT_MOST,
	"misses of a loop over a tenth more pages than there are frames")
MEASURE(shift, CACHE_TRACE_SHIFT, BENCH_NO_BOUND,
	"misses of Zipf(0.99) where other pages become the hot ones, ten times")

static const struct bench_size frames[] = {
	{ .size = 1000, .quick = 1000 },
	{ .size = 32 * 1000, .quick = 2000 },
	{ .size = 1000 * 1000, .quick = 4000, .repeats = 5 },
};
static const struct bench_side cost_sides[] = {
	[STRATEGY] = { "strategy", run_costs, 0 },
	[LRU] = { "textbook lru", run_costs, 0 },
};
static const struct bench_claim cost_claims[] = {
	CLAIM("cost.hit", "a hit, beside that of a list of pointers", LRU, HIT),
	CLAIM("cost.miss", "a miss, beside that of a list of pointers", LRU, MISS),
	CLAIM("cost.memory", "bytes for each frame, beside those of a list of pointers", LRU, FRAME_BYTES),
};

static const struct bench_measure cost = {
	.name = "cost",
	.summary = "a hit and a miss in a warm pool, and memory for each frame; against a list of pointers",
	.numbers = { [HIT] = { "hit_ns", BENCH_NANOSECONDS },
		     [MISS] = { "miss_ns", BENCH_NANOSECONDS },
		     [FRAME_BYTES] = { "frame_bytes", BENCH_BYTES } },
	.sides = cost_sides,
	.side_count = COUNT_OF(cost_sides),
	.claims = cost_claims,
	.claim_count = COUNT_OF(cost_claims),
	.shared_sides = 1,
	.size_name = "frames",
	.size_unit = BENCH_COUNT,
	.sizes = frames,
	.size_count = COUNT_OF(frames),
};

static const struct bench_measure *const measures[] = { &zipfian, &scans, &loop, &shift, &cost, NULL };

const struct bench_kind bench_cache = {
	.name = "cache",
	.summary = "strategies alone: how often they miss, and what hits and misses cost",
	.measures = measures,
	.has_variants = true,
};
