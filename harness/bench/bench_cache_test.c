/*
 * What the kind `cache` measures with: traces, the optimum against every way there is on small ones, the
 * textbook's LRU against the component of that name, and strategies that break the contract. Two seconds.
 */
#include <math.h>
#include <string.h>

#include "harness/bench/bench_cache_pool.h"
#include "test.h"

enum { KINDS = 4 };

/* --- traces --- */

static void test_traces_are_functions_of_their_arguments(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		struct cache_trace first, again, other;
		cache_trace_make(&first, (enum cache_trace_kind)kind, 500, 50, 5000, test_seed(1));
		cache_trace_make(&again, (enum cache_trace_kind)kind, 500, 50, 5000, test_seed(1));
		cache_trace_make(&other, (enum cache_trace_kind)kind, 500, 50, 5000, test_seed(1) + 1);
		assert_int_equal(first.count, 5000);
		assert_int_equal(first.warm, 1250);
		assert_memory_equal(first.pages, again.pages, 5000 * sizeof(*first.pages));
		for (size_t i = 0; i < first.count; i++)
			assert_true(first.pages[i] < first.footprint);
		if (kind != CACHE_TRACE_LOOP)
			assert_memory_not_equal(first.pages, other.pages, 5000 * sizeof(*first.pages));
		cache_trace_free(&first);
		cache_trace_free(&again);
		cache_trace_free(&other);
	}
}

static uint32_t most_drawn(const struct cache_trace *trace, size_t from, size_t to, uint32_t *count)
{
	uint32_t *counts = calloc(trace->footprint, sizeof(*counts));
	uint32_t most = 0;
	assert_non_null(counts);
	for (size_t i = from; i < to; i++)
		counts[trace->pages[i]] += !cache_trace_is_scan(trace, i);
	for (uint32_t page = 0; page < trace->footprint; page++)
		most = counts[page] > counts[most] ? page : most;
	*count = counts[most];
	free(counts);
	return most;
}

static void test_zipfian_and_shift(void **state)
{
	(void)state;
	struct cache_trace zipfian, shift;
	uint32_t count, before, after;
	cache_trace_make(&zipfian, CACHE_TRACE_ZIPFIAN, 1000, 100, 100000, test_seed(2));
	cache_trace_make(&shift, CACHE_TRACE_SHIFT, 1000, 100, 100000, test_seed(2));
	/* The sum of i^-0.99 for 1 .. 1000 is 7.73. */
	before = most_drawn(&zipfian, 0, 50000, &count);
	assert_true(fabs(count / 50000.0 - 1 / 7.73) < 0.01);
	after = most_drawn(&zipfian, 50000, 100000, &count);
	assert_int_equal(before, after);
	for (size_t part = 0; part < 10; part++) {
		after = most_drawn(&shift, part * 10000, (part + 1) * 10000, &count);
		assert_true(fabs(count / 10000.0 - 1 / 7.73) < 0.02);
		assert_true(part == 0 || before != after);
		before = after;
	}
	cache_trace_free(&zipfian);
	cache_trace_free(&shift);
}

static void test_scans_and_loop(void **state)
{
	(void)state;
	struct cache_trace scans, loop;
	size_t breaks = 0;
	cache_trace_make(&scans, CACHE_TRACE_SCANS, 1000, 100, 40000, test_seed(3));
	for (size_t i = 7; i < scans.count; i += 4) {
		assert_true(cache_trace_is_scan(&scans, i));
		assert_false(cache_trace_is_scan(&scans, i - 1));
		breaks += scans.pages[i] != (scans.pages[i - 4] + 1) % 1000;
	}
	/* 10,000 accesses in runs of 21. */
	assert_true(fabs((double)breaks - 10000 / 21.0) < 5);
	cache_trace_make(&loop, CACHE_TRACE_LOOP, 1000, 200, 1000, test_seed(3));
	assert_int_equal(loop.footprint, 221);
	for (size_t i = 0; i < loop.count; i++)
		assert_int_equal(loop.pages[i], i % 221);
	cache_trace_free(&scans);
	cache_trace_free(&loop);
}

/* --- the optimum --- */

enum { SMALL_PAGES = 6, SMALL_ACCESSES = 14 };

/* The fewest misses from access `at` on with these pages (bits) resident, whatever is given up. */
static unsigned fewest(const uint32_t *pages, size_t at, unsigned resident, unsigned frames)
{
	if (at == SMALL_ACCESSES)
		return 0;
	unsigned wanted = 1u << pages[at];
	if (resident & wanted)
		return fewest(pages, at + 1, resident, frames);
	if ((unsigned)__builtin_popcount(resident) < frames)
		return 1 + fewest(pages, at + 1, resident | wanted, frames);
	unsigned best = SMALL_ACCESSES;
	for (unsigned page = 0; page < SMALL_PAGES; page++) {
		if ((resident & 1u << page) == 0)
			continue;
		unsigned misses = 1 + fewest(pages, at + 1, (resident & ~(1u << page)) | wanted, frames);
		best = misses < best ? misses : best;
	}
	return best;
}

static void test_optimum_is_the_best_way(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(4));
	for (unsigned i = 0; i < 300; i++) {
		uint32_t pages[SMALL_ACCESSES];
		unsigned frames = 1 + (unsigned)random_below(&random, 4);
		struct cache_trace trace = { .pages = pages,
					     .count = SMALL_ACCESSES,
					     .footprint = SMALL_PAGES };
		for (size_t at = 0; at < SMALL_ACCESSES; at++)
			pages[at] = (uint32_t)random_below(&random, SMALL_PAGES);
		struct cache_misses misses = cache_trace_optimum(&trace, frames);
		assert_int_equal(misses.counted, SMALL_ACCESSES);
		assert_int_equal(misses.misses, fewest(pages, 0, 0, frames));
	}
}

/* --- pools --- */

static struct cache_misses replay(const struct cache_ops *ops, const struct cache_trace *trace,
				  uint32_t frames)
{
	struct cache_pool pool;
	struct cache_misses misses;
	assert_ok(cache_pool_init(&pool, ops, frames, trace->footprint));
	assert_ok(cache_pool_replay(&pool, trace, &misses));
	assert_int_equal(ops->resident(pool.strategy), pool.used);
	cache_pool_free(&pool);
	return misses;
}

static void check_variants(const struct cache_trace *trace, uint32_t frames, bool is_loop)
{
	struct cache_misses optimum = cache_trace_optimum(trace, frames);
	struct cache_misses textbook = replay(&bench_cache_plain, trace, frames);
	for (const struct component *const *row = component_list(COMPONENT_CACHE); *row != NULL; row++) {
		struct cache_misses misses = replay((const struct cache_ops *)*row, trace, frames);
		assert_int_equal(misses.counted, optimum.counted);
		assert_int_equal(misses.points, optimum.points);
		assert_true(misses.misses >= optimum.misses);
		if (strcmp((*row)->name, "lru") == 0) {
			assert_int_equal(misses.misses, textbook.misses);
			assert_int_equal(misses.point_misses, textbook.point_misses);
		}
	}
	/* A loop is the worst that LRU can meet. */
	if (is_loop)
		assert_int_equal(textbook.misses, textbook.counted);
	else
		assert_true(textbook.misses < textbook.counted);
}

static void test_variants_lie_between(void **state)
{
	(void)state;
	const uint32_t frames[] = { 20, 200 };
	for (int kind = 0; kind < KINDS; kind++) {
		for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
			struct cache_trace trace;
			cache_trace_make(&trace, (enum cache_trace_kind)kind, 2000, frames[i], 20000,
					 test_seed(5));
			check_variants(&trace, frames[i], kind == CACHE_TRACE_LOOP);
			cache_trace_free(&trace);
		}
	}
}

/* After the stretches the pool's map still agrees with itself, and the strategy with the pool. */
static void test_times(void **state)
{
	(void)state;
	enum { FRAMES = 500, PAGES = 5000, STRETCHES = 3 };
	struct cache_trace trace;
	cache_trace_make(&trace, CACHE_TRACE_ZIPFIAN, PAGES, FRAMES, PAGES + STRETCHES * CACHE_STRETCH,
			 test_seed(6));
	for (const struct component *const *row = component_list(COMPONENT_CACHE); *row != NULL; row++) {
		struct cache_pool pool;
		struct cache_costs costs;
		size_t resident = 0;
		bool missed;
		assert_ok(cache_pool_init(&pool, (const struct cache_ops *)*row, FRAMES, PAGES));
		assert_status(cache_pool_time(&pool, trace.pages, 1, &costs), STATUS_INVALID);
		for (size_t i = 0; i < PAGES; i++)
			assert_ok(cache_pool_access(&pool, trace.pages[i], &missed));
		assert_ok(cache_pool_time(&pool, &trace.pages[PAGES], STRETCHES, &costs));
		assert_true(costs.hit_ns > 0);
		assert_true(costs.miss_ns > 0);
		for (uint32_t page = 0; page < PAGES; page++) {
			uint32_t frame = pool.frame_of[page];
			assert_true(frame == CACHE_NO_FRAME || pool.page_of[frame] == page);
			resident += frame != CACHE_NO_FRAME;
		}
		assert_int_equal(resident, FRAMES);
		assert_int_equal(pool.ops->resident(pool.strategy), FRAMES);
		cache_pool_free(&pool);
	}
	cache_trace_free(&trace);
}

static uint32_t evict_nothing(struct cache_strategy *strategy, cache_evictable *evictable, void *context)
{
	(void)strategy;
	(void)evictable;
	(void)context;
	return CACHE_NO_FRAME;
}

static void test_broken_strategy(void **state)
{
	(void)state;
	struct cache_trace trace;
	struct cache_pool pool;
	struct cache_misses misses;
	struct cache_ops broken = bench_cache_plain;
	broken.evict = evict_nothing;
	cache_trace_make(&trace, CACHE_TRACE_LOOP, 0, 10, 100, test_seed(7));
	assert_ok(cache_pool_init(&pool, &broken, 10, trace.footprint));
	assert_status(cache_pool_replay(&pool, &trace, &misses), STATUS_CORRUPT);
	cache_pool_free(&pool);
	cache_trace_free(&trace);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_traces_are_functions_of_their_arguments),
		cmocka_unit_test(test_zipfian_and_shift),
		cmocka_unit_test(test_scans_and_loop),
		cmocka_unit_test(test_optimum_is_the_best_way),
		cmocka_unit_test(test_variants_lie_between),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_broken_strategy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
