/*
 * lru.c: least recently used: one list of all resident frames, the one used last in front. Each use moves its
 * frame there, which costs some six writes to four cache lines; a scan that reads many pages once pushes out
 * everything else. The yardstick that the other strategies are held to.
 */
#include "components/cache/cache.h"

#include "base/assert.h"

#include "base/poison.h"

/* A frame's neighbours in the list; a free one's `newer` is itself. */
struct lru_node {
	uint32_t newer, older;
};

struct lru {
	struct cache_strategy base;
	uint32_t frames; /* also the number of the list's own node, the last: its ends meet there */
	uint32_t resident;
	struct lru_node nodes[];
};

extern const struct cache_ops cache_lru;

static size_t lru_memory_size(const void *options, uint32_t frames)
{
	(void)options;
	return sizeof(struct lru) + ((size_t)frames + 1) * sizeof(struct lru_node);
}

static struct cache_strategy *lru_create(const void *options, uint32_t frames, void *memory)
{
	struct lru *lru = memory;
	(void)options;
	ASSERT(frames < CACHE_NO_FRAME);
	lru->base.ops = &cache_lru;
	lru->frames = frames;
	for (uint32_t i = 0; i <= frames; i++)
		lru->nodes[i] = (struct lru_node) { .newer = i, .older = i };
	return &lru->base;
}

/* --- the list --- */

static inline void list_put_first(struct lru *lru, uint32_t frame)
{
	struct lru_node *ends = &lru->nodes[lru->frames];
	lru->nodes[frame] = (struct lru_node) { .newer = lru->frames, .older = ends->older };
	lru->nodes[ends->older].newer = frame;
	ends->older = frame;
}

static inline void list_take(struct lru *lru, uint32_t frame)
{
	struct lru_node node = lru->nodes[frame];
	lru->nodes[node.newer].older = node.older;
	lru->nodes[node.older].newer = node.newer;
}

static void lru_release(struct lru *lru, uint32_t frame)
{
	list_take(lru, frame);
	lru->nodes[frame].newer = frame;
	lru->resident--;
}

/* --- the contract's functions --- */

static void lru_insert(struct cache_strategy *strategy, uint32_t frame, uint64_t page)
{
	struct lru *lru = (struct lru *)strategy;
	(void)page;
	ASSERT(frame < lru->frames);
	ASSERT(lru->nodes[frame].newer == frame);
	list_put_first(lru, frame);
	lru->resident++;
}

static void lru_touch(struct cache_strategy *strategy, uint32_t frame)
{
	struct lru *lru = (struct lru *)strategy;
	DASSERT(frame < lru->frames);
	DASSERT(lru->nodes[frame].newer != frame);
	if (lru->nodes[frame].newer == lru->frames)
		return;
	list_take(lru, frame);
	list_put_first(lru, frame);
}

static uint32_t lru_evict(struct cache_strategy *strategy, cache_evictable *evictable, void *context)
{
	struct lru *lru = (struct lru *)strategy;
	uint32_t frame = lru->nodes[lru->frames].newer;
	while (frame != lru->frames && !evictable(context, frame))
		frame = lru->nodes[frame].newer;
	if (frame == lru->frames)
		return CACHE_NO_FRAME;
	lru_release(lru, frame);
	return frame;
}

static void lru_remove(struct cache_strategy *strategy, uint32_t frame)
{
	struct lru *lru = (struct lru *)strategy;
	ASSERT(frame < lru->frames);
	ASSERT(lru->nodes[frame].newer != frame);
	lru_release(lru, frame);
}

static uint32_t lru_resident(const struct cache_strategy *strategy)
{
	return ((const struct lru *)strategy)->resident;
}

const struct cache_ops cache_lru = {
	.component = {
		.name = "lru",
		.summary = "least recently used: exact order, eight bytes a frame",
		.abi = COMPONENT_ABI,
	},
	.memory_size = lru_memory_size,
	.create = lru_create,
	.insert = lru_insert,
	.touch = lru_touch,
	.evict = lru_evict,
	.remove = lru_remove,
	.resident = lru_resident,
};
