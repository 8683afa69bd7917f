/*
 * The conformance suite of cache strategies, over every row of the registry: a pool of frames that loads,
 * uses, pins, invalidates and gives up pages at random, and knows itself where each page is; two instances
 * that must always choose alike; hit ratios; what each strategy promises alone.
 */
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/sanitizer.h"
#include "components/cache/cache.h"
#include "components/component_test.h"

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
	f->ops = (const struct cache_ops *)(const void *)component;
	f->options = component_test_options(component);
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

static void each_strategy(component_test *test, uint64_t seed)
{
	component_test_each(COMPONENT_CACHE, test, seed);
}

/* --- a pool --- */

enum {
	STEPS = SANITIZED ? 4000 : 20000, /* of each seed and number of frames */
	NO_PAGE = UINT32_MAX,
};

/* What may be given up: asked about resident frames only. */
struct pins {
	const bool *resident; /* NULL: any may be asked about */
	bool *pinned;
	uint64_t asked;
};

static bool not_pinned(void *context, uint32_t frame)
{
	struct pins *pins = context;
	pins->asked++;
	if (pins->resident != NULL)
		assert_true(pins->resident[frame]);
	return !pins->pinned[frame];
}

struct pool {
	struct fixture f;
	struct fixture twin; /* is told the same, and must choose the same */
	struct random random;
	uint32_t frames, pages;
	uint32_t *page_of;  /* of each frame; NO_PAGE */
	uint32_t *frame_of; /* of each page; CACHE_NO_FRAME */
	bool *resident;
	struct pins pins;
	uint32_t count; /* of resident frames */
	uint32_t scan;
};

static void pool_open(struct pool *pool, const struct component *component, uint32_t frames, uint64_t seed)
{
	memset(pool, 0, sizeof(*pool));
	fixture_open(&pool->f, component, frames);
	fixture_open(&pool->twin, component, frames);
	pool->random = random_stream(seed + frames);
	pool->frames = frames;
	pool->pages = 4 * frames + 10;
	pool->page_of = malloc(frames * sizeof(*pool->page_of));
	pool->frame_of = malloc(pool->pages * sizeof(*pool->frame_of));
	pool->resident = calloc(frames, sizeof(*pool->resident));
	pool->pins = (struct pins) { .resident = pool->resident, .pinned = calloc(frames, sizeof(bool)) };
	assert_non_null(pool->page_of);
	assert_non_null(pool->frame_of);
	assert_non_null(pool->resident);
	assert_non_null(pool->pins.pinned);
	memset(pool->page_of, 0xff, frames * sizeof(*pool->page_of));
	memset(pool->frame_of, 0xff, pool->pages * sizeof(*pool->frame_of));
}

static void pool_close(struct pool *pool)
{
	free(pool->page_of);
	free(pool->frame_of);
	free(pool->resident);
	free(pool->pins.pinned);
	fixture_close(&pool->f);
	fixture_close(&pool->twin);
}

static void pool_forget(struct pool *pool, uint32_t frame)
{
	pool->frame_of[pool->page_of[frame]] = CACHE_NO_FRAME;
	pool->page_of[frame] = NO_PAGE;
	pool->resident[frame] = false;
	pool->count--;
}

/* The victim, which is free now; CACHE_NO_FRAME if all are pinned. */
static uint32_t pool_evict(struct pool *pool)
{
	bool possible = false;
	for (uint32_t i = 0; i < pool->frames; i++)
		possible |= pool->resident[i] && !pool->pins.pinned[i];
	pool->pins.asked = 0;
	uint32_t frame = pool->f.ops->evict(pool->f.strategy, not_pinned, &pool->pins);
	/* A few sweeps at most. */
	assert_true(pool->pins.asked <= 8 * (uint64_t)pool->frames + 8);
	assert_int_equal(frame != CACHE_NO_FRAME, possible);
	assert_int_equal(pool->twin.ops->evict(pool->twin.strategy, not_pinned, &pool->pins), frame);
	if (frame == CACHE_NO_FRAME)
		return frame;
	assert_true(frame < pool->frames);
	assert_true(pool->resident[frame]);
	assert_false(pool->pins.pinned[frame]);
	pool_forget(pool, frame);
	return frame;
}

static uint32_t pool_find_free(struct pool *pool)
{
	uint32_t start = (uint32_t)random_below(&pool->random, pool->frames);
	for (uint32_t i = 0; i < pool->frames; i++) {
		uint32_t frame = (start + i) % pool->frames;
		if (!pool->resident[frame])
			return frame;
	}
	return CACHE_NO_FRAME;
}

static void pool_access(struct pool *pool, uint32_t page)
{
	uint32_t frame = pool->frame_of[page];
	if (frame != CACHE_NO_FRAME) {
		pool->f.ops->touch(pool->f.strategy, frame);
		pool->twin.ops->touch(pool->twin.strategy, frame);
		return;
	}
	frame = pool_find_free(pool);
	if (frame == CACHE_NO_FRAME)
		frame = pool_evict(pool);
	if (frame == CACHE_NO_FRAME)
		return;
	pool->f.ops->insert(pool->f.strategy, frame, hash_mix(page));
	pool->twin.ops->insert(pool->twin.strategy, frame, hash_mix(page));
	pool->page_of[frame] = page;
	pool->frame_of[page] = frame;
	pool->resident[frame] = true;
	pool->count++;
}

/* Some pages are hot, some come by in a row, the rest are any. */
static uint32_t pool_page(struct pool *pool)
{
	uint64_t dice = random_below(&pool->random, 10);
	if (dice < 5)
		return (uint32_t)random_below(&pool->random, pool->pages / 8 + 1);
	if (dice < 8)
		return (uint32_t)random_below(&pool->random, pool->pages);
	return pool->scan++ % pool->pages;
}

static void pool_remove(struct pool *pool)
{
	uint32_t frame = (uint32_t)random_below(&pool->random, pool->frames);
	if (!pool->resident[frame])
		return;
	pool->f.ops->remove(pool->f.strategy, frame);
	pool->twin.ops->remove(pool->twin.strategy, frame);
	pool_forget(pool, frame);
}

/* None, some, or now and then all. */
static void pool_pin(struct pool *pool)
{
	uint64_t mood = random_below(&pool->random, 20);
	for (uint32_t i = 0; i < pool->frames; i++)
		pool->pins.pinned[i] = mood == 0 || (mood < 12 && random_below(&pool->random, 4) == 0);
}

static void run_pool(const struct component *component, uint64_t seed)
{
	for (uint32_t frames = 1; frames <= 400; frames = frames * 3 + 1) {
		struct pool pool;
		pool_open(&pool, component, frames, seed);
		for (unsigned step = 0; step < STEPS; step++) {
			uint64_t dice = random_below(&pool.random, 1000);
			if (dice < 880)
				pool_access(&pool, pool_page(&pool));
			else if (dice < 930)
				pool_remove(&pool);
			else if (dice < 990)
				(void)pool_evict(&pool);
			else
				pool_pin(&pool);
			assert_int_equal(pool.f.ops->resident(pool.f.strategy), pool.count);
		}
		/* Whatever came before, all of it can be got back. */
		memset(pool.pins.pinned, 0, frames * sizeof(*pool.pins.pinned));
		while (pool.count > 0)
			(void)pool_evict(&pool);
		assert_int_equal(pool_evict(&pool), CACHE_NO_FRAME);
		pool_close(&pool);
	}
}

static void test_pool(void **state)
{
	(void)state;
	each_strategy(run_pool, 1);
}

/* However hot it was: a page that is not used any more goes. */
static void run_forgotten(const struct component *component, uint64_t seed)
{
	enum { FRAMES = 200, ACCESSES_MAX = 400000 };
	struct pool pool;
	pool_open(&pool, component, FRAMES, seed);
	const uint32_t forgotten = pool.pages - 1;
	for (unsigned uses = 0; uses < 100; uses++)
		pool_access(&pool, forgotten);
	unsigned accesses = 0;
	for (; pool.frame_of[forgotten] != CACHE_NO_FRAME; accesses++) {
		assert_true(accesses < ACCESSES_MAX);
		/* Half of them to pages that fit, half to all others. */
		uint64_t any = random_below(&pool.random, pool.pages - 1);
		pool_access(&pool, (uint32_t)(accesses % 2 == 0 ? any : any % (FRAMES / 2)));
	}
	pool_close(&pool);
}

static void test_forgotten(void **state)
{
	(void)state;
	each_strategy(run_forgotten, 3);
}

static void run_one_evictable(const struct component *component)
{
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
	component_test_once(COMPONENT_CACHE, run_one_evictable);
}

/* --- hit ratios --- */

enum { PAGES = 20000, CACHED = 2000, ACCESSES = SANITIZED ? 200000 : 400000 };

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
	each_strategy(run_hit_ratio, 2);
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
static void run_options(const struct component *component)
{
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
	component_test_once(COMPONENT_CACHE, run_options);
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
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_one_evictable),
		cmocka_unit_test(test_hit_ratio),
		cmocka_unit_test(test_clock_sweep_is_bounded),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_lru_order),
		cmocka_unit_test(test_s3fifo_queues),
		cmocka_unit_test(test_s3fifo_ghosts_die),
		cmocka_unit_test(test_s3fifo_sweep_is_bounded),
	};
	return cmocka_run_group_tests(tests, component_test_setup, NULL);
}
