/*
 * The conformance suite of cache strategies, over every row of the registry.
 */
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "components/cache/cache.h"
#include "test.h"

struct fixture {
	const struct cache_ops *ops;
	void *options;
	uint8_t *memory;
	size_t size;
	struct cache_strategy *strategy;
	uint32_t frames;
};

enum { GUARD = 64 };

/* With one option set; NULL: the defaults. */
static void fixture_open_with(struct fixture *f, const struct component *component, uint32_t frames,
			      const char *name, double value)
{
	f->ops = (const struct cache_ops *)component;
	f->options = calloc(1, component->options_size + 1);
	assert_non_null(f->options);
	component_default_options(component, f->options);
	if (name != NULL)
		assert_ok(component_set_option(component, f->options, name, value));
	f->frames = frames;
	f->size = f->ops->memory_size(f->options, frames);
	f->memory = aligned_alloc(64, (f->size + GUARD + 63) / 64 * 64);
	assert_non_null(f->memory);
	memset(f->memory, 0, f->size);
	memset(f->memory + f->size, 0xa5, GUARD);
	f->strategy = f->ops->create(f->options, frames, f->memory);
	assert_non_null(f->strategy);
	assert_ptr_equal(f->strategy->ops, f->ops);
	/* Options are borrowed for the call only. */
	memset(f->options, 0xee, component->options_size);
	assert_int_equal(f->ops->resident(f->strategy), 0);
}

static void fixture_open(struct fixture *f, const struct component *component, uint32_t frames)
{
	fixture_open_with(f, component, frames, NULL, 0);
}

static void fixture_close(struct fixture *f)
{
	for (size_t i = 0; i < GUARD; i++)
		assert_int_equal(f->memory[f->size + i], 0xa5);
	free(f->memory);
	free(f->options);
}

static void each_strategy(void (*test)(const struct component *component, uint64_t seed), uint64_t seed)
{
	for (const struct component *const *row = component_list(COMPONENT_CACHE); *row != NULL; row++) {
		print_message("%s, seed %llu\n", (*row)->name, (unsigned long long)seed);
		test(*row, seed);
	}
}

/* --- states of frames --- */

struct pins {
	bool *pinned;
	uint64_t asked;
};

static bool not_pinned(void *context, uint32_t frame)
{
	struct pins *pins = context;
	pins->asked++;
	return !pins->pinned[frame];
}

static uint32_t pick_state(struct random *random, const bool *resident, uint32_t frames, bool wanted)
{
	uint32_t start = (uint32_t)random_below(random, frames);
	for (uint32_t i = 0; i < frames; i++) {
		uint32_t frame = (start + i) % frames;
		if (resident[frame] == wanted)
			return frame;
	}
	return CACHE_NO_FRAME;
}

static void evict_checked(struct fixture *f, bool *resident, uint32_t *count, struct pins *pins)
{
	bool possible = false;
	for (uint32_t i = 0; i < f->frames; i++)
		possible |= resident[i] && !pins->pinned[i];
	pins->asked = 0;
	uint32_t frame = f->ops->evict(f->strategy, not_pinned, pins);
	/* A few sweeps at most. */
	assert_true(pins->asked <= 8 * (uint64_t)f->frames + 8);
	assert_int_equal(frame != CACHE_NO_FRAME, possible);
	if (frame == CACHE_NO_FRAME)
		return;
	assert_true(frame < f->frames);
	assert_true(resident[frame]);
	assert_false(pins->pinned[frame]);
	resident[frame] = false;
	(*count)--;
}

static void run_states(const struct component *component, uint64_t seed)
{
	for (uint32_t frames = 1; frames <= 400; frames = frames * 3 + 1) {
		struct random random = random_stream(seed + frames);
		struct fixture f;
		fixture_open(&f, component, frames);
		bool *resident = calloc(frames, sizeof(*resident));
		struct pins pins = { .pinned = calloc(frames, sizeof(*pins.pinned)) };
		uint32_t count = 0;
		assert_non_null(resident);
		assert_non_null(pins.pinned);
		for (unsigned step = 0; step < 20000; step++) {
			uint64_t dice = random_below(&random, 100);
			uint32_t used = pick_state(&random, resident, frames, true);
			uint32_t unused = pick_state(&random, resident, frames, false);
			if (dice < 40 && used != CACHE_NO_FRAME) {
				f.ops->touch(f.strategy, used);
			} else if (dice < 65 && unused != CACHE_NO_FRAME) {
				f.ops->insert(f.strategy, unused, hash_mix(random_below(&random, 1000)));
				resident[unused] = true;
				count++;
			} else if (dice < 70 && used != CACHE_NO_FRAME) {
				f.ops->remove(f.strategy, used);
				resident[used] = false;
				count--;
			} else if (dice < 85) {
				evict_checked(&f, resident, &count, &pins);
			} else {
				bool all = random_below(&random, 20) == 0;
				for (uint32_t i = 0; i < frames; i++)
					pins.pinned[i] = all || random_below(&random, 4) == 0;
			}
			assert_int_equal(f.ops->resident(f.strategy), count);
		}
		/* Whatever came before, all of it can be got back. */
		memset(pins.pinned, 0, frames * sizeof(*pins.pinned));
		while (count > 0)
			evict_checked(&f, resident, &count, &pins);
		assert_int_equal(f.ops->evict(f.strategy, not_pinned, &pins), CACHE_NO_FRAME);
		free(resident);
		free(pins.pinned);
		fixture_close(&f);
	}
}

static void test_states(void **state)
{
	(void)state;
	each_strategy(run_states, test_seed(1));
}

static void run_one_evictable(const struct component *component, uint64_t seed)
{
	(void)seed;
	enum { FRAMES = 1000 };
	struct fixture f;
	bool pinned[FRAMES];
	struct pins pins = { .pinned = pinned };
	fixture_open(&f, component, FRAMES);
	memset(pinned, true, sizeof(pinned));
	for (uint32_t i = 0; i < FRAMES; i++) {
		f.ops->insert(f.strategy, i, hash_mix(i));
		for (unsigned uses = 0; uses < 20; uses++)
			f.ops->touch(f.strategy, i);
	}
	for (uint32_t i = 0; i < FRAMES; i += 37) {
		pinned[i] = false;
		assert_int_equal(f.ops->evict(f.strategy, not_pinned, &pins), i);
		assert_int_equal(f.ops->evict(f.strategy, not_pinned, &pins), CACHE_NO_FRAME);
		pinned[i] = true;
		f.ops->insert(f.strategy, i, hash_mix(i));
	}
	fixture_close(&f);
}

/* All others pinned and hot: the one that can go is found. */
static void test_one_evictable(void **state)
{
	(void)state;
	each_strategy(run_one_evictable, 0);
}

/* --- hit ratios --- */

enum { PAGES = 20000, CACHED = 2000, ACCESSES = 400000 };

struct zipf {
	double below[PAGES];
};

static struct zipf *zipf_create(double theta)
{
	struct zipf *zipf = malloc(sizeof(*zipf));
	assert_non_null(zipf);
	double sum = 0;
	for (size_t i = 0; i < PAGES; i++) {
		sum += pow((double)(i + 1), -theta);
		zipf->below[i] = sum;
	}
	return zipf;
}

static uint32_t zipf_next(const struct zipf *zipf, struct random *random)
{
	double at = random_unit(random) * zipf->below[PAGES - 1];
	size_t low = 0;
	size_t high = PAGES - 1;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (zipf->below[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return (uint32_t)low;
}

static bool always(void *context, uint32_t frame)
{
	(void)context;
	(void)frame;
	return true;
}

/* The share of hits in the second half of the accesses; NULL: evict at random. One in `scan_every` accesses
 * belongs to a scan and is not counted; 0: no scan. */
static double hit_ratio(const struct component *component, const struct zipf *zipf, uint64_t seed,
			unsigned scan_every)
{
	struct random random = random_stream(seed);
	struct fixture f;
	uint32_t *frame_of = malloc((PAGES + ACCESSES) * sizeof(*frame_of));
	uint32_t page_of[CACHED];
	uint32_t used = 0;
	uint32_t scanned = 0;
	uint64_t hits = 0;
	uint64_t counted = 0;
	assert_non_null(frame_of);
	memset(frame_of, 0xff, (PAGES + ACCESSES) * sizeof(*frame_of));
	if (component != NULL)
		fixture_open(&f, component, CACHED);
	for (unsigned i = 0; i < ACCESSES; i++) {
		bool scan = scan_every > 0 && i % scan_every == 0;
		uint32_t page = scan ? PAGES + scanned++ : zipf_next(zipf, &random);
		bool count = !scan && i >= ACCESSES / 2;
		counted += count;
		if (frame_of[page] != CACHE_NO_FRAME) {
			hits += count;
			if (component != NULL)
				f.ops->touch(f.strategy, frame_of[page]);
			continue;
		}
		bool full = used == CACHED;
		uint32_t frame = used;
		if (!full)
			used++;
		else if (component != NULL)
			frame = f.ops->evict(f.strategy, always, NULL);
		else
			frame = (uint32_t)random_below(&random, CACHED);
		assert_true(frame < CACHED);
		if (full)
			frame_of[page_of[frame]] = CACHE_NO_FRAME;
		page_of[frame] = page;
		frame_of[page] = frame;
		if (component != NULL)
			f.ops->insert(f.strategy, frame, hash_mix(page));
	}
	if (component != NULL)
		fixture_close(&f);
	free(frame_of);
	return (double)hits / (double)counted;
}

static void run_hit_ratio(const struct component *component, uint64_t seed)
{
	struct zipf *zipf = zipf_create(0.99);
	double random_ratio = hit_ratio(NULL, zipf, seed, 0);
	double ratio = hit_ratio(component, zipf, seed, 0);
	/* The best that one fixed set of pages could do. */
	double best = zipf->below[CACHED - 1] / zipf->below[PAGES - 1];
	double scanned = hit_ratio(component, zipf, seed, 4);
	print_message("%s: %.3f, with a scan %.3f (random %.3f, best %.3f)\n", component->name, ratio,
		      scanned, random_ratio, best);
	assert_true(ratio <= best + 0.01);
	if (strcmp(component->name, "clock") == 0) {
		assert_true(ratio > random_ratio + 0.03);
		/* A scan that takes a quarter of all accesses costs a few percent, not the cache. */
		assert_true(scanned > ratio - 0.06);
	} else if (strcmp(component->name, "s3fifo") == 0) {
		assert_true(ratio > random_ratio + 0.05);
		assert_true(scanned > ratio - 0.03);
	} else {
		assert_true(ratio > random_ratio - 0.01);
	}
	free(zipf);
}

static void test_hit_ratio(void **state)
{
	(void)state;
	each_strategy(run_hit_ratio, test_seed(2));
}

/* --- what only the clock promises --- */

static bool count_asked(void *context, uint32_t frame)
{
	(void)frame;
	(*(uint64_t *)context)++;
	return true;
}

/* Even with every frame as hot as can be, an eviction looks at few. */
static void test_clock_sweep_is_bounded(void **state)
{
	(void)state;
	enum { FRAMES = 100000 };
	struct fixture f;
	fixture_open(&f, component_find(COMPONENT_CACHE, "clock"), FRAMES);
	for (uint32_t i = 0; i < FRAMES; i++) {
		f.ops->insert(f.strategy, i, hash_mix(i));
		for (unsigned uses = 0; uses < 20; uses++)
			f.ops->touch(f.strategy, i);
	}
	uint64_t asked = 0;
	/* Frame 5 goes cold, behind the hand's first steps but within reach of one eviction. */
	f.ops->remove(f.strategy, 5);
	f.ops->insert(f.strategy, 5, hash_mix(5));
	assert_int_equal(f.ops->evict(f.strategy, count_asked, &asked), 5);
	/* Where a whole turn of the hand would come back to the next frame, it has moved on by a few. */
	uint32_t last = 5;
	for (unsigned i = 0; i < 500; i++) {
		uint32_t frame = f.ops->evict(f.strategy, count_asked, &asked);
		assert_in_range(frame, last + 1, last + 256);
		assert_true(i == 0 || frame > last + 16);
		last = frame;
	}
	assert_true(asked <= 1001 * 5);
	fixture_close(&f);
}

/* --- options --- */

/* Each option at both ends: nothing is written past the memory, and every frame comes back. */
static void run_options(const struct component *component, uint64_t seed)
{
	(void)seed;
	const uint32_t counts[] = { 0, 1, 2, 9, 10, 11, 1000 };
	for (const struct option *option = component->options; option != NULL && option->name != NULL;
	     option++) {
		for (size_t i = 0; i < 2 * sizeof(counts) / sizeof(counts[0]); i++) {
			struct fixture f;
			uint32_t frames = counts[i / 2];
			fixture_open_with(&f, component, frames, option->name,
					  i % 2 == 0 ? option->minimum : option->maximum);
			for (uint32_t page = 0; page < 4 * frames; page++) {
				uint32_t frame =
					page < frames ? page : f.ops->evict(f.strategy, always, NULL);
				assert_true(frame < frames);
				f.ops->insert(f.strategy, frame, hash_mix(page % 3 == 0 ? page / 2 : page));
				f.ops->touch(f.strategy, frame);
			}
			for (uint32_t n = 0; n < frames; n++)
				assert_true(f.ops->evict(f.strategy, always, NULL) < frames);
			assert_int_equal(f.ops->evict(f.strategy, always, NULL), CACHE_NO_FRAME);
			fixture_close(&f);
		}
	}
}

static void test_options(void **state)
{
	(void)state;
	each_strategy(run_options, 0);
}

/* --- what only LRU promises --- */

static void test_lru_order(void **state)
{
	(void)state;
	enum { FRAMES = 8 };
	struct fixture f;
	bool pinned[FRAMES] = { false };
	struct pins pins = { .pinned = pinned };
	fixture_open(&f, component_find(COMPONENT_CACHE, "lru"), FRAMES);
	for (uint32_t i = 0; i < FRAMES; i++)
		f.ops->insert(f.strategy, i, hash_mix(i));
	f.ops->touch(f.strategy, 0);
	f.ops->touch(f.strategy, 3);
	f.ops->touch(f.strategy, 3);
	f.ops->remove(f.strategy, 4);
	pinned[1] = true;
	/* 1 keeps its place while it is pinned. */
	const uint32_t expected[] = { 2, 5, 1, 6, 7, 0, 3 };
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		if (i == 2)
			pinned[1] = false;
		assert_int_equal(f.ops->evict(f.strategy, not_pinned, &pins), expected[i]);
	}
	fixture_close(&f);
}

/* --- what only S3-FIFO promises --- */

static uint32_t replace(struct fixture *f, uint32_t page)
{
	uint32_t frame = f->ops->evict(f->strategy, always, NULL);
	assert_true(frame < f->frames);
	f->ops->insert(f->strategy, frame, hash_mix(page));
	return frame;
}

/* 20 frames: 2 in the small queue, 18 in the main one, 18 ghosts. */
static void test_s3fifo_queues(void **state)
{
	(void)state;
	enum { FRAMES = 20 };
	struct fixture f;
	fixture_open(&f, component_find(COMPONENT_CACHE, "s3fifo"), FRAMES);
	/* Pages 0 and 1 fill the small queue, the others enter the main one. */
	for (uint32_t i = 0; i < FRAMES; i++)
		f.ops->insert(f.strategy, i, hash_mix(i));
	/* One use is not enough to stay: page 0 goes, though all of the main queue was not used at all. */
	f.ops->touch(f.strategy, 0);
	assert_int_equal(replace(&f, 100), 0);
	/* Two are: page 1 goes on to the main queue, and page 100 is given up. */
	f.ops->touch(f.strategy, 1);
	f.ops->touch(f.strategy, 1);
	assert_int_equal(replace(&f, 101), 0);
	/* The main queue is above its share, so its oldest page goes: that of frame 2. */
	assert_int_equal(replace(&f, 102), 2);
	/* The ghost remembers page 100: it enters the main queue, whose next ones go for it. */
	assert_int_equal(replace(&f, 100), 0);
	assert_int_equal(replace(&f, 103), 3);
	/* A page of the main queue that was used takes another round. */
	f.ops->touch(f.strategy, 0);
	for (uint32_t i = 4; i < FRAMES; i++)
		assert_true(replace(&f, 200 + i) != 0);
	fixture_close(&f);
}

/* A page that comes back too late is a stranger again. */
static void test_s3fifo_ghosts_die(void **state)
{
	(void)state;
	enum { FRAMES = 1000, GHOSTS = 900 };
	for (unsigned late = 0; late < 2; late++) {
		struct fixture f;
		uint32_t page = 0;
		fixture_open(&f, component_find(COMPONENT_CACHE, "s3fifo"), FRAMES);
		for (; page < FRAMES; page++)
			f.ops->insert(f.strategy, page, hash_mix(page));
		/* Page 0 becomes a ghost first, and as many follow as there is room for. */
		for (; page < FRAMES + (late ? 2 * GHOSTS : GHOSTS / 2); page++)
			(void)replace(&f, page);
		uint32_t frame = replace(&f, 0);
		/* In the small queue it would be gone after as many pages as that has. */
		bool gone = false;
		for (unsigned i = 0; i < 150; i++)
			gone |= replace(&f, ++page) == frame;
		assert_int_equal(gone, late);
		fixture_close(&f);
	}
}

/* Even with every frame as hot as can be, an eviction looks at few. */
static void test_s3fifo_sweep_is_bounded(void **state)
{
	(void)state;
	enum { FRAMES = 100000 };
	struct fixture f;
	fixture_open(&f, component_find(COMPONENT_CACHE, "s3fifo"), FRAMES);
	for (uint32_t i = 0; i < FRAMES; i++) {
		f.ops->insert(f.strategy, i, hash_mix(i));
		for (unsigned uses = 0; uses < (i < FRAMES / 10 ? 0 : 20); uses++)
			f.ops->touch(f.strategy, i);
	}
	/* Give up all of the small queue; each eviction after that has only hot pages to choose from. */
	for (uint32_t i = 0; i < FRAMES / 10; i++)
		assert_true(f.ops->evict(f.strategy, always, NULL) < FRAMES / 10);
	uint64_t asked = 0;
	for (unsigned i = 0; i < 100; i++)
		assert_true(f.ops->evict(f.strategy, count_asked, &asked) >= FRAMES / 10);
	assert_true(asked <= 100 * 4);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_one_evictable),
		cmocka_unit_test(test_hit_ratio),
		cmocka_unit_test(test_clock_sweep_is_bounded),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_lru_order),
		cmocka_unit_test(test_s3fifo_queues),
		cmocka_unit_test(test_s3fifo_ghosts_die),
		cmocka_unit_test(test_s3fifo_sweep_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
