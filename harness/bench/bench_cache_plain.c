/*
 * bench_cache_plain.c: least recently used as textbooks have it: a list of nodes with two pointers each, the
 * node used last in front. It shares no code with components/.
 */
#include "harness/bench/bench_cache_pool.h"

#include "base/assert.h"

struct node {
	struct node *newer, *older; /* NULL: the frame is free */
};

struct plain_lru {
	struct cache_strategy base;
	uint32_t resident;
	struct node ends; /* its `older` is the newest, its `newer` the oldest */
	struct node nodes[];
};

static size_t plain_memory_size(const void *options, uint32_t frames)
{
	(void)options;
	return sizeof(struct plain_lru) + frames * sizeof(struct node);
}

static struct cache_strategy *plain_create(const void *options, uint32_t frames, void *memory)
{
	struct plain_lru *lru = memory;
	(void)options;
	(void)frames;
	lru->base.ops = &bench_cache_plain;
	lru->ends = (struct node) { &lru->ends, &lru->ends };
	return &lru->base;
}

static void put_first(struct plain_lru *lru, struct node *node)
{
	*node = (struct node) { .newer = &lru->ends, .older = lru->ends.older };
	lru->ends.older->newer = node;
	lru->ends.older = node;
}

static void take_out(struct node *node)
{
	node->newer->older = node->older;
	node->older->newer = node->newer;
}

static void plain_insert(struct cache_strategy *strategy, uint32_t frame, uint64_t page)
{
	struct plain_lru *lru = (struct plain_lru *)strategy;
	(void)page;
	ASSERT(lru->nodes[frame].newer == NULL);
	put_first(lru, &lru->nodes[frame]);
	lru->resident++;
}

static void plain_touch(struct cache_strategy *strategy, uint32_t frame)
{
	struct plain_lru *lru = (struct plain_lru *)strategy;
	take_out(&lru->nodes[frame]);
	put_first(lru, &lru->nodes[frame]);
}

static void plain_remove(struct cache_strategy *strategy, uint32_t frame)
{
	struct plain_lru *lru = (struct plain_lru *)strategy;
	ASSERT(lru->nodes[frame].newer != NULL);
	take_out(&lru->nodes[frame]);
	lru->nodes[frame] = (struct node) { NULL, NULL };
	lru->resident--;
}

static uint32_t plain_evict(struct cache_strategy *strategy, cache_evictable *evictable, void *context)
{
	struct plain_lru *lru = (struct plain_lru *)strategy;
	for (struct node *node = lru->ends.newer; node != &lru->ends; node = node->newer) {
		uint32_t frame = (uint32_t)(node - lru->nodes);
		if (!evictable(context, frame))
			continue;
		plain_remove(strategy, frame);
		return frame;
	}
	return CACHE_NO_FRAME;
}

static uint32_t plain_resident(const struct cache_strategy *strategy)
{
	return ((const struct plain_lru *)strategy)->resident;
}

const struct cache_ops bench_cache_plain = {
	.component = {
		.name = "textbook",
		.summary = "least recently used, as a list of pointers",
		.abi = COMPONENT_ABI,
	},
	.memory_size = plain_memory_size,
	.create = plain_create,
	.insert = plain_insert,
	.touch = plain_touch,
	.evict = plain_evict,
	.remove = plain_remove,
	.resident = plain_resident,
};
