/*
 * skeleton.c: the least that is a cache strategy, to start from (docs/add-a-component.md): first in, first
 * out, whatever is used in between. cache.h has the contract, in full.
 */
#include "components/cache/cache.h"

#include "base/assert.h"

#include "base/poison.h"

/* A frame's neighbours in the queue; a free one's `before` is itself. */
struct skeleton_node {
	uint32_t before, after;
};

/* An instance, in the memory that create is handed. */
struct skeleton {
	struct cache_strategy base; /* first */
	uint32_t frames; /* also the number of the queue's own node, the last: its ends meet there */
	uint32_t resident;
	struct skeleton_node nodes[];
};

extern const struct cache_ops cache_skeleton;

/* Bytes that create needs: all that the strategy ever has. */
static size_t skeleton_memory_size(const void *options, uint32_t frames)
{
	(void)options;
	return sizeof(struct skeleton) + ((size_t)frames + 1) * sizeof(struct skeleton_node);
}

/* Builds it in `memory`, which is zeroed and the caller's to free. Every frame is free. */
static struct cache_strategy *skeleton_create(const void *options, uint32_t frames, void *memory)
{
	struct skeleton *queue = memory;
	(void)options;
	queue->base.ops = &cache_skeleton;
	queue->frames = frames;
	for (uint32_t i = 0; i <= frames; i++)
		queue->nodes[i] = (struct skeleton_node) { .before = i, .after = i };
	return &queue->base;
}

/* The free frame holds a page now. `page`: its hash, by which a strategy may know it again. */
static void skeleton_insert(struct cache_strategy *strategy, uint32_t frame, uint64_t page)
{
	struct skeleton *queue = (struct skeleton *)strategy;
	struct skeleton_node *ends = &queue->nodes[queue->frames];
	(void)page;
	ASSERT(frame < queue->frames && queue->nodes[frame].before == frame);
	queue->nodes[frame] = (struct skeleton_node) { .before = ends->before, .after = queue->frames };
	queue->nodes[ends->before].after = frame;
	ends->before = frame;
	queue->resident++;
}

/* The page in the frame was used. The hottest call of all: a few instructions. */
static void skeleton_touch(struct cache_strategy *strategy, uint32_t frame)
{
	(void)strategy;
	(void)frame;
}

/* The page is gone, and the frame is free. */
static void skeleton_remove(struct cache_strategy *strategy, uint32_t frame)
{
	struct skeleton *queue = (struct skeleton *)strategy;
	ASSERT(frame < queue->frames && queue->nodes[frame].before != frame);
	struct skeleton_node node = queue->nodes[frame];
	queue->nodes[node.before].after = node.after;
	queue->nodes[node.after].before = node.before;
	queue->nodes[frame].before = frame;
	queue->resident--;
}

/*
 * Frees a resident frame for which evictable(context, frame) holds, and returns it; CACHE_NO_FRAME: there is
 * none. Looks at each frame a few times at most.
 */
static uint32_t skeleton_evict(struct cache_strategy *strategy, cache_evictable *evictable, void *context)
{
	struct skeleton *queue = (struct skeleton *)strategy;
	uint32_t frame = queue->nodes[queue->frames].after;
	while (frame != queue->frames && !evictable(context, frame))
		frame = queue->nodes[frame].after;
	if (frame == queue->frames)
		return CACHE_NO_FRAME;
	skeleton_remove(strategy, frame);
	return frame;
}

/* Frames that hold pages. */
static uint32_t skeleton_resident(const struct cache_strategy *strategy)
{
	return ((const struct skeleton *)strategy)->resident;
}

const struct cache_ops cache_skeleton = {
	.component = {
		.name = "skeleton",
		.summary = "first in, first out",
		.abi = COMPONENT_ABI,
	},
	.memory_size = skeleton_memory_size,
	.create = skeleton_create,
	.insert = skeleton_insert,
	.touch = skeleton_touch,
	.evict = skeleton_evict,
	.remove = skeleton_remove,
	.resident = skeleton_resident,
};

COMPONENT_MODULE({ COMPONENT_CACHE, &cache_skeleton.component });
