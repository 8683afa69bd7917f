/*
 * What W-TinyLFU promises beyond the conformance suite: who stays, who is remembered and for how long, and
 * that the shadows find the better memory. Takes about 1 s.
 */
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "components/cache/cache.h"
#include "test.h"

struct fixture {
	const struct cache_ops *ops;
	struct cache_strategy *strategy;
	void *memory;
	uint32_t frames;
};

struct setting {
	const char *name;
	double value;
};

static void fixture_open(struct fixture *f, uint32_t frames, const struct setting *settings, size_t count)
{
	const struct component *component = component_find(COMPONENT_CACHE, "tinylfu");
	assert_non_null(component);
	void *options = calloc(1, component->options_size);
	assert_non_null(options);
	component_default_options(component, options);
	for (size_t i = 0; i < count; i++)
		assert_ok(component_set_option(component, options, settings[i].name, settings[i].value));
	f->ops = (const struct cache_ops *)(const void *)component;
	f->frames = frames;
	size_t size = (f->ops->memory_size(options, frames) + 63) / 64 * 64;
	f->memory = aligned_alloc(64, size);
	assert_non_null(f->memory);
	memset(f->memory, 0, size);
	f->strategy = f->ops->create(options, frames, f->memory);
	free(options);
}

static void fixture_close(struct fixture *f)
{
	free(f->memory);
}

static bool always(void *context, uint32_t frame)
{
	(void)frame;
	if (context != NULL)
		(*(uint64_t *)context)++;
	return true;
}

static uint32_t replace(struct fixture *f, uint32_t page)
{
	uint32_t frame = f->ops->evict(f->strategy, always, NULL);
	assert_true(frame < f->frames);
	f->ops->insert(f->strategy, frame, hash_mix(page));
	return frame;
}

static void fill(struct fixture *f, unsigned uses)
{
	for (uint32_t i = 0; i < f->frames; i++)
		f->ops->insert(f->strategy, i, hash_mix(i));
	for (unsigned n = 0; n < uses; n++) {
		for (uint32_t i = 0; i < f->frames; i++)
			f->ops->touch(f->strategy, i);
	}
}

/* --- single pages --- */

enum { FRAMES = 100, IN_WINDOW = 10 };

static const struct setting steady[] = {
	{ "window", IN_WINDOW },
	{ "sample", 1024 },
	{ "sample_short", 1024 },
};

/* The window holds the ten pages that came last; strangers go through it and through nothing else. */
static void test_scan_stays_in_the_window(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f, FRAMES, steady, 3);
	fill(&f, 0);
	for (uint32_t i = 0; i < FRAMES - IN_WINDOW; i++)
		f.ops->touch(f.strategy, i);
	for (uint32_t page = FRAMES; page < 3 * FRAMES; page++)
		assert_true(replace(&f, page) >= FRAMES - IN_WINDOW);
	fixture_close(&f);
}

/* A page that was used in the window often enough takes the place of the least frequent one that it meets. */
static void test_frequent_page_enters(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f, FRAMES, steady, 3);
	fill(&f, 2);
	uint32_t frame = replace(&f, 1000);
	for (unsigned i = 0; i < 6; i++)
		f.ops->touch(f.strategy, frame);
	/* Once round the window for its uses; then a page of the main region goes for it. */
	uint32_t in_main = 0;
	for (uint32_t page = 1001; page < 1001 + 10 * IN_WINDOW; page++) {
		uint32_t replaced = replace(&f, page);
		assert_true(replaced != frame);
		in_main += replaced < FRAMES - IN_WINDOW;
	}
	assert_true(in_main >= 1);
	fixture_close(&f);
}

/* Given up again and again, a page that keeps coming is remembered in the sketch until it may stay. */
static void test_sketch_remembers(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f, FRAMES, steady, 3);
	fill(&f, 3);
	uint32_t stranger = 5000;
	unsigned visits = 0;
	bool stays = false;
	while (!stays && visits < 10) {
		uint32_t frame = replace(&f, 1000);
		visits++;
		stays = true;
		for (unsigned i = 0; stays && i < 3 * IN_WINDOW; i++)
			stays = replace(&f, stranger++) != frame;
	}
	/* The pages there have four uses each: its insert and three. */
	assert_true(stays);
	assert_int_equal(visits, 5);
	fixture_close(&f);
}

/* What was hot is given up when counts were halved often enough, with the uses of others. */
static void test_counts_age(void **state)
{
	(void)state;
	const struct setting settings[] = { { "window", IN_WINDOW }, { "sample", 4 }, { "sample_short", 4 } };
	for (unsigned ages = 0; ages < 2; ages++) {
		struct fixture f;
		fixture_open(&f, FRAMES, ages ? settings : steady, 3);
		fill(&f, 20);
		/* Pages used twice each against pages at the counters' end. */
		uint32_t entered = 0;
		for (uint32_t page = 1000; page < 2000; page++) {
			uint32_t frame = replace(&f, page);
			entered += frame < FRAMES - IN_WINDOW;
			f.ops->touch(f.strategy, frame);
			f.ops->touch(f.strategy, frame);
		}
		if (ages)
			assert_true(entered > FRAMES);
		else
			assert_int_equal(entered, 0);
		fixture_close(&f);
	}
}

/*
 * Even with every frame as hot as can be, an eviction looks at few. With the window emptied each victim comes
 * from the main region; a hand that had gone all the way round would be back at the next frame.
 */
static void test_eviction_is_bounded(void **state)
{
	(void)state;
	enum { MANY = 100000, IN_MAIN = MANY - MANY / 20 };
	struct fixture f;
	uint64_t asked = 0;
	fixture_open(&f, MANY, NULL, 0);
	fill(&f, 20);
	for (uint32_t i = IN_MAIN; i < MANY; i++)
		f.ops->remove(f.strategy, i);
	uint32_t last = f.ops->evict(f.strategy, always, &asked);
	for (unsigned i = 0; i < 1000; i++) {
		uint32_t frame = f.ops->evict(f.strategy, always, &asked);
		assert_in_range(frame, last + 2, last + 32);
		last = frame;
	}
	assert_true(asked <= 1001 * 8);
	fixture_close(&f);
}

static void test_memory(void **state)
{
	(void)state;
	const struct component *component = component_find(COMPONENT_CACHE, "tinylfu");
	const struct cache_ops *ops = (const struct cache_ops *)(const void *)component;
	uint64_t options[8];
	assert_true(component->options_size <= sizeof(options));
	component_default_options(component, options);
	/* Less than one percent of the 4 KiB page in each frame. */
	assert_in_range(ops->memory_size(options, 13000), 16 * 13000, 36 * 13000);
	assert_in_range(ops->memory_size(options, 1000000), 16 * 1000000, 36 * 1000000);
}

/* --- the memory's length --- */

enum { PAGES = 40000, CACHED = 4000, ACCESSES = 800000 };

enum shape { STEADY, MOVING };

/* Zipfian over pages; moving: the hottest page is another one every ten accesses. */
static uint32_t *trace_create(enum shape shape, uint64_t seed)
{
	struct random random = random_stream(seed);
	double *below = malloc(PAGES * sizeof(*below));
	uint32_t *trace = malloc(ACCESSES * sizeof(*trace));
	assert_non_null(below);
	assert_non_null(trace);
	double sum = 0;
	for (size_t i = 0; i < PAGES; i++) {
		sum += pow((double)(i + 1), -0.9);
		below[i] = sum;
	}
	for (uint32_t i = 0; i < ACCESSES; i++) {
		double at = random_unit(&random) * sum;
		uint32_t low = 0;
		uint32_t high = PAGES - 1;
		while (low < high) {
			uint32_t middle = (low + high) / 2;
			if (below[middle] < at)
				low = middle + 1;
			else
				high = middle;
		}
		trace[i] = shape == MOVING ? PAGES + i / 10 - low : low;
	}
	free(below);
	return trace;
}

static double miss_ratio(const uint32_t *trace, const struct setting *settings, size_t count)
{
	enum { ALL_PAGES = PAGES + ACCESSES / 10 + 1 };
	struct fixture f;
	uint32_t page_of[CACHED];
	uint32_t *frame_of = malloc(ALL_PAGES * sizeof(*frame_of));
	uint32_t used = 0;
	uint64_t misses = 0;
	assert_non_null(frame_of);
	memset(frame_of, 0xff, ALL_PAGES * sizeof(*frame_of));
	fixture_open(&f, CACHED, settings, count);
	for (uint32_t i = 0; i < ACCESSES; i++) {
		uint32_t page = trace[i];
		if (frame_of[page] != CACHE_NO_FRAME) {
			f.ops->touch(f.strategy, frame_of[page]);
			continue;
		}
		misses += i >= ACCESSES / 2;
		uint32_t frame = used;
		if (used < CACHED) {
			used++;
		} else {
			frame = f.ops->evict(f.strategy, always, NULL);
			assert_true(frame < CACHED);
			frame_of[page_of[frame]] = CACHE_NO_FRAME;
		}
		page_of[frame] = page;
		frame_of[page] = frame;
		f.ops->insert(f.strategy, frame, hash_mix(page));
	}
	fixture_close(&f);
	free(frame_of);
	return (double)misses / (ACCESSES / 2);
}

/* Each fixed memory is bad at one of the two; the one that adapts is about as good as the better one at both.
 */
static void test_memory_adapts(void **state)
{
	(void)state;
	const struct setting only_long[] = { { "sample_short", 64 } };
	const struct setting only_short[] = { { "sample", 4 } };
	for (enum shape shape = STEADY; shape <= MOVING; shape++) {
		uint64_t seed = test_seed(3);
		uint32_t *trace = trace_create(shape, seed);
		double with_long = miss_ratio(trace, only_long, 1);
		double with_short = miss_ratio(trace, only_short, 1);
		double adapted = miss_ratio(trace, NULL, 0);
		print_message("%s, seed %llu: misses %.3f, with a long memory %.3f, with a short one %.3f\n",
			      shape == STEADY ? "steady" : "moving", (unsigned long long)seed, adapted,
			      with_long, with_short);
		if (shape == STEADY) {
			assert_true(with_long < with_short - 0.02);
			assert_true(adapted < with_long + 0.005);
		} else {
			assert_true(with_short < with_long - 0.04);
			assert_true(adapted < with_short + 0.01);
		}
		/* The same uses have the same outcome. */
		assert_true(miss_ratio(trace, NULL, 0) == adapted);
		free(trace);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_stays_in_the_window),
		cmocka_unit_test(test_frequent_page_enters),
		cmocka_unit_test(test_sketch_remembers),
		cmocka_unit_test(test_counts_age),
		cmocka_unit_test(test_eviction_is_bounded),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_memory_adapts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
