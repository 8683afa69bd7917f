/*
 * Every cache strategy. Input: 1 byte variant, 1 byte frames, 1 byte for each of up to 4 options, then steps
 * of a pool of so many frames: pages are used, pinned, invalidated and given up. The pool knows itself where
 * each page is, and asks a second instance the same.
 */
#include "base/hash.h"
#include "components/cache/cache.h"
#include "fuzz/fuzz.h"

enum {
	VARIANTS_MAX = 64,
	OPTIONS_MAX = 4,
	FRAMES_MAX = 96,
	PAGES = 256,
	STEPS_MAX = 4000,
	GUARD = 64,
};

struct instance {
	struct cache_strategy *strategy;
	uint8_t *memory;
	size_t size;
};

struct pool {
	const struct cache_ops *ops;
	struct instance one, two;
	uint32_t frames;
	uint32_t count;		  /* of resident frames */
	uint32_t frame_of[PAGES]; /* CACHE_NO_FRAME */
	uint32_t page_of[FRAMES_MAX];
	bool resident[FRAMES_MAX];
	bool pinned[FRAMES_MAX];
	uint64_t asked;
};

static const struct cache_ops *variants[VARIANTS_MAX];
static unsigned variant_count;

static void find_variants(void)
{
	const struct component *const *list = component_list(COMPONENT_CACHE);
	for (; list[variant_count] != NULL; variant_count++) {
		FUZZ_CHECK(variant_count < VARIANTS_MAX);
		variants[variant_count] = (const struct cache_ops *)(const void *)list[variant_count];
	}
}

static struct instance create(const struct pool *pool, const void *options)
{
	struct instance instance = { .size = pool->ops->memory_size(options, pool->frames) };
	instance.memory = aligned_alloc(64, (instance.size + GUARD + 63) / 64 * 64);
	FUZZ_CHECK(instance.memory != NULL);
	memset(instance.memory, 0, instance.size);
	memset(instance.memory + instance.size, 0xa5, GUARD);
	instance.strategy = pool->ops->create(options, pool->frames, instance.memory);
	FUZZ_CHECK(instance.strategy != NULL);
	return instance;
}

static void destroy(struct instance *instance)
{
	for (size_t i = 0; i < GUARD; i++)
		FUZZ_CHECK(instance->memory[instance->size + i] == 0xa5);
	free(instance->memory);
}

static void pool_open(struct pool *pool, struct fuzz_input *input)
{
	memset(pool, 0, sizeof(*pool));
	memset(pool->frame_of, 0xff, sizeof(pool->frame_of));
	pool->ops = variants[fuzz_number(input, 1) % variant_count];
	pool->frames = 1 + (uint32_t)fuzz_number(input, 1) % FRAMES_MAX;
	const struct component *component = &pool->ops->component;
	void *options = calloc(1, component->options_size + 1);
	FUZZ_CHECK(options != NULL);
	component_default_options(component, options);
	const struct option *option = component->options;
	for (unsigned i = 0; i < OPTIONS_MAX; i++) {
		uint64_t part = fuzz_number(input, 1);
		if (option == NULL || option->name == NULL)
			continue;
		double value = option->minimum +
			       (double)(uint64_t)((option->maximum - option->minimum) * (double)part / 255);
		if (part > 0)
			FUZZ_CHECK(
				status_is_ok(component_set_option(component, options, option->name, value)));
		option++;
	}
	pool->one = create(pool, options);
	pool->two = create(pool, options);
	free(options);
}

/* --- steps --- */

static bool evictable(void *context, uint32_t frame)
{
	struct pool *pool = context;
	FUZZ_CHECK(frame < pool->frames);
	FUZZ_CHECK(pool->resident[frame]);
	pool->asked++;
	return !pool->pinned[frame];
}

static void forget(struct pool *pool, uint32_t frame)
{
	pool->frame_of[pool->page_of[frame]] = CACHE_NO_FRAME;
	pool->resident[frame] = false;
	pool->count--;
}

static uint32_t evict(struct pool *pool)
{
	bool possible = false;
	for (uint32_t i = 0; i < pool->frames; i++)
		possible |= pool->resident[i] && !pool->pinned[i];
	pool->asked = 0;
	uint32_t frame = pool->ops->evict(pool->one.strategy, evictable, pool);
	FUZZ_CHECK(pool->asked <= 8 * (uint64_t)pool->frames + 8);
	FUZZ_CHECK(pool->ops->evict(pool->two.strategy, evictable, pool) == frame);
	FUZZ_CHECK(possible == (frame != CACHE_NO_FRAME));
	if (frame == CACHE_NO_FRAME)
		return frame;
	FUZZ_CHECK(frame < pool->frames && pool->resident[frame] && !pool->pinned[frame]);
	forget(pool, frame);
	return frame;
}

static void use(struct pool *pool, uint32_t page)
{
	uint32_t frame = pool->frame_of[page];
	if (frame != CACHE_NO_FRAME) {
		pool->ops->touch(pool->one.strategy, frame);
		pool->ops->touch(pool->two.strategy, frame);
		return;
	}
	for (frame = 0; frame < pool->frames && pool->resident[frame];)
		frame++;
	if (frame == pool->frames)
		frame = evict(pool);
	if (frame == CACHE_NO_FRAME)
		return;
	pool->ops->insert(pool->one.strategy, frame, hash_mix(page));
	pool->ops->insert(pool->two.strategy, frame, hash_mix(page));
	pool->frame_of[page] = frame;
	pool->page_of[frame] = page;
	pool->resident[frame] = true;
	pool->count++;
}

static void invalidate(struct pool *pool, uint32_t page)
{
	uint32_t frame = pool->frame_of[page];
	if (frame == CACHE_NO_FRAME)
		return;
	pool->ops->remove(pool->one.strategy, frame);
	pool->ops->remove(pool->two.strategy, frame);
	forget(pool, frame);
}

static void run_step(struct pool *pool, struct fuzz_input *input)
{
	unsigned step = (unsigned)fuzz_number(input, 1);
	uint32_t page = (uint32_t)fuzz_number(input, 1);
	switch (step % 8) {
	case 0:
		invalidate(pool, page);
		break;
	case 1:
		(void)evict(pool);
		break;
	case 2:
		pool->pinned[page % pool->frames] = step >= 128;
		break;
	case 3: /* a scan */
		for (unsigned i = 0; i < step / 8; i++)
			use(pool, (page + i) % PAGES);
		break;
	case 4: /* one page many times */
		for (unsigned i = 0; i < step / 8; i++)
			use(pool, page);
		break;
	default:
		use(pool, page);
	}
	FUZZ_CHECK(pool->ops->resident(pool->one.strategy) == pool->count);
	FUZZ_CHECK(pool->ops->resident(pool->two.strategy) == pool->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pool pool;
	struct fuzz_input input = { data, size };
	if (variant_count == 0)
		find_variants();
	pool_open(&pool, &input);
	for (unsigned i = 0; i < STEPS_MAX && input.left > 0; i++)
		run_step(&pool, &input);
	/* Whatever came before, all of it can be got back. */
	memset(pool.pinned, 0, sizeof(pool.pinned));
	while (pool.count > 0)
		(void)evict(&pool);
	FUZZ_CHECK(evict(&pool) == CACHE_NO_FRAME);
	destroy(&pool.one);
	destroy(&pool.two);
	return 0;
}

/* Each variant with a few frames and with many, with its defaults and with other options. */
size_t fuzz_seed(unsigned index, uint8_t *to)
{
	enum { SEEDS_EACH = 4, SEED_BYTES = 1200 };
	if (variant_count == 0)
		find_variants();
	if (index / SEEDS_EACH >= variant_count)
		return FUZZ_NO_SEED;
	size_t size = fuzz_put(to, 0, index / SEEDS_EACH, 1);
	size = fuzz_put(to, size, index % 2 == 0 ? 7 : FRAMES_MAX - 1, 1);
	size = fuzz_put(to, size, index % SEEDS_EACH < 2 ? 0 : 0x40e01080, OPTIONS_MAX);
	uint64_t number = index;
	while (size < SEED_BYTES) {
		number = number * 6364136223846793005u + 1442695040888963407u;
		/* Mostly uses, half of them of few pages. */
		uint64_t step = number >> 60 == 0 ? number >> 48 & 0xff : 5;
		uint64_t page = (number >> 40 & 1) != 0 ? number >> 32 & 0xf : number >> 32 & 0xff;
		size = fuzz_put(to, size, step | page << 8, 2);
	}
	return size;
}
