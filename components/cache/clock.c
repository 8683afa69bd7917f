/*
 * clock.c: CLOCK with a small reference counter per frame (generalized CLOCK).
 *
 * One byte a frame: 0 is free, n + 1 is resident with n references left. A hand goes round; a frame with
 * references loses one and is passed, a frame without is given up. A page starts without references, so a
 * scan that reads each page once leaves at the hand's first pass and pages that are used again stay.
 *
 * A plain sweep may have to pass every frame max_count times before it finds a victim, which at high hit
 * rates makes one eviction cost milliseconds. So after SWEEP_CANDIDATES resident frames the sweep settles
 * for the one with the fewest references that it met.
 */
#include "components/cache/cache.h"

#include <string.h>

#include "base/assert.h"

#include "base/poison.h"

enum {
	FREE = 0,
	RESIDENT = 1,
	SWEEP_CANDIDATES = 64,
	MAX_COUNT_LIMIT = 15,
};

struct clock_options {
	uint64_t max_count;
};

static const struct option clock_options[] = {
	{ .name = "max_count",
	  .help = "uses that the counter of a page remembers: more passes of the hand that a hot page "
		  "survives",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct clock_options, max_count),
	  .default_value = 3,
	  .minimum = 1,
	  .maximum = MAX_COUNT_LIMIT },
	{ .name = NULL },
};

struct clock {
	struct cache_strategy base;
	uint32_t frames;
	uint32_t resident;
	uint32_t hand;
	uint8_t state_max; /* RESIDENT + max_count */
	uint8_t states[];
};

static size_t clock_memory_size(const void *options, uint32_t frames)
{
	(void)options;
	return sizeof(struct clock) + frames;
}

extern const struct cache_ops cache_clock;

static struct cache_strategy *clock_create(const void *options, uint32_t frames, void *memory)
{
	const struct clock_options *chosen = options;
	struct clock *clock = memory;
	ASSERT(chosen->max_count >= 1);
	ASSERT(chosen->max_count <= MAX_COUNT_LIMIT);
	ASSERT(frames < CACHE_NO_FRAME);
	clock->base.ops = &cache_clock;
	clock->frames = frames;
	clock->resident = 0;
	clock->hand = 0;
	clock->state_max = (uint8_t)(RESIDENT + chosen->max_count);
	memset(clock->states, FREE, frames);
	return &clock->base;
}

static void clock_insert(struct cache_strategy *strategy, uint32_t frame, uint64_t page)
{
	struct clock *clock = (struct clock *)strategy;
	(void)page;
	ASSERT(frame < clock->frames);
	ASSERT(clock->states[frame] == FREE);
	clock->states[frame] = RESIDENT;
	clock->resident++;
}

static void clock_touch(struct cache_strategy *strategy, uint32_t frame)
{
	struct clock *clock = (struct clock *)strategy;
	DASSERT(frame < clock->frames);
	DASSERT(clock->states[frame] != FREE);
	uint8_t state = clock->states[frame];
	clock->states[frame] = (uint8_t)(state + (state < clock->state_max));
}

static void clock_release(struct clock *clock, uint32_t frame)
{
	clock->states[frame] = FREE;
	clock->resident--;
}

static uint32_t clock_evict(struct cache_strategy *strategy, cache_evictable *evictable, void *context)
{
	struct clock *clock = (struct clock *)strategy;
	uint32_t best = CACHE_NO_FRAME;
	uint8_t best_state = UINT8_MAX;
	unsigned candidates = 0;
	/* One turn of the hand meets every frame; whatever can be given up is found within it. */
	for (uint32_t step = 0; step < clock->frames; step++) {
		uint32_t frame = clock->hand;
		clock->hand = frame + 1 == clock->frames ? 0 : frame + 1;
		uint8_t state = clock->states[frame];
		if (state == FREE)
			continue;
		if (state > RESIDENT)
			clock->states[frame] = (uint8_t)(state - 1);
		if (state < best_state && evictable(context, frame)) {
			best = frame;
			best_state = state;
		}
		if (best_state == RESIDENT || (++candidates >= SWEEP_CANDIDATES && best != CACHE_NO_FRAME))
			break;
	}
	if (best != CACHE_NO_FRAME)
		clock_release(clock, best);
	return best;
}

static void clock_remove(struct cache_strategy *strategy, uint32_t frame)
{
	struct clock *clock = (struct clock *)strategy;
	ASSERT(frame < clock->frames);
	ASSERT(clock->states[frame] != FREE);
	clock_release(clock, frame);
}

static uint32_t clock_resident(const struct cache_strategy *strategy)
{
	return ((const struct clock *)strategy)->resident;
}

const struct cache_ops cache_clock = {
	.component = {
		.name = "clock",
		.summary = "CLOCK with a reference counter: one byte a frame, bounded sweeps",
		.abi = COMPONENT_ABI,
		.options = clock_options,
		.options_size = sizeof(struct clock_options),
	},
	.memory_size = clock_memory_size,
	.create = clock_create,
	.insert = clock_insert,
	.touch = clock_touch,
	.evict = clock_evict,
	.remove = clock_remove,
	.resident = clock_resident,
};
