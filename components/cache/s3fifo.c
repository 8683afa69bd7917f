/*
 * s3fifo.c: S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction",
 * SOSP 2023).
 *
 * A new page enters the small queue. At its end it goes on to the main queue if it was used often enough
 * meanwhile; else it is given up, and the ghost queue remembers its hash. A page that the ghost remembers
 * enters the main queue at once. At the end of the main queue a page that was used goes round again and loses
 * a use; one that was not is given up. A use only counts (up to 3), so that a hit is as cheap as can be.
 *
 * What the paper leaves open is as in its authors' simulator (libCacheSim): as long as nothing was given up
 * yet, pages that the small queue has no room for enter the main queue; the main queue gives up a page when
 * it is above its share or the small one is empty; a page comes to the main queue without uses.
 *
 * What differs: a frame that must not go now takes another round in its queue. A plain round of the main
 * queue would pass every used page, which at high hit rates makes one eviction cost milliseconds; after
 * SWEEP_CANDIDATES the least used page among them goes.
 *
 * The ghost queue is a table of buckets with one cache line each. An entry is alive for as many entries as
 * the main queue has frames; in a full bucket the oldest makes room.
 */
#include "components/cache/cache.h"

#include "base/assert.h"

#include "base/poison.h"

enum {
	USES_MAX = 3,
	SWEEP_CANDIDATES = 256,
	GHOSTS_PER_BUCKET = 8,
	GHOST_LOAD_PERCENT = 80, /* so that few buckets overflow */
	CACHE_LINE = 64,
};

struct s3fifo_options {
	uint64_t small_share;
	uint64_t move_to_main_threshold;
};

static const struct option s3fifo_options[] = {
	{ .name = "small_share",
	  .help = "size of the small queue in percent of all frames",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct s3fifo_options, small_share),
	  .default_value = 10,
	  .minimum = 1,
	  .maximum = 90 },
	{ .name = "move_to_main_threshold",
	  .help = "uses in the small queue that take a page on to the main queue",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct s3fifo_options, move_to_main_threshold),
	  .default_value = 2,
	  .minimum = 1,
	  .maximum = USES_MAX },
	{ .name = NULL },
};

enum queue_name { FREE, SMALL, MAIN, QUEUES };

struct s3fifo_node {
	uint32_t newer, older; /* in its queue; CACHE_NO_FRAME at the ends */
	uint32_t page;	       /* a hash of it */
	uint8_t queue;
	uint8_t uses;
};

struct queue {
	uint32_t newest, oldest;
	uint32_t count;
	uint32_t target;
};

struct ghost {
	uint32_t page;
	uint32_t born; /* when `ghost_clock` said so */
};

struct s3fifo {
	struct cache_strategy base;
	struct queue queues[QUEUES];
	struct s3fifo_node *nodes;
	struct ghost *ghosts;
	uint32_t frames;
	uint32_t ghost_buckets;
	uint32_t ghost_clock; /* entries so far: an older one than the ghost's size is dead */
	uint8_t threshold;
	bool has_evicted;
};

extern const struct cache_ops cache_s3fifo;

/* --- sizes --- */

static uint32_t small_target(const struct s3fifo_options *options, uint32_t frames)
{
	uint64_t target = (uint64_t)frames * options->small_share / 100;
	return target == 0 ? 1 : (uint32_t)target;
}

static uint32_t main_target(const struct s3fifo_options *options, uint32_t frames)
{
	uint32_t small = small_target(options, frames);
	return frames > small ? frames - small : 0;
}

static uint32_t count_buckets(const struct s3fifo_options *options, uint32_t frames)
{
	uint64_t slots = (uint64_t)main_target(options, frames) * 100 / GHOST_LOAD_PERCENT;
	return (uint32_t)(slots / GHOSTS_PER_BUCKET) + 1;
}

static size_t align_up(size_t size)
{
	return (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

static size_t ghosts_bytes(uint32_t buckets)
{
	return (size_t)buckets * GHOSTS_PER_BUCKET * sizeof(struct ghost);
}

_Static_assert(GHOSTS_PER_BUCKET * sizeof(struct ghost) == CACHE_LINE, "a bucket is a cache line");

static size_t s3fifo_memory_size(const void *options, uint32_t frames)
{
	return align_up(sizeof(struct s3fifo)) + ghosts_bytes(count_buckets(options, frames)) +
	       (size_t)frames * sizeof(struct s3fifo_node);
}

static struct cache_strategy *s3fifo_create(const void *options, uint32_t frames, void *memory)
{
	const struct s3fifo_options *chosen = options;
	struct s3fifo *s = memory;
	ASSERT(chosen->small_share >= 1);
	ASSERT(chosen->small_share <= 90);
	ASSERT(chosen->move_to_main_threshold >= 1);
	ASSERT(chosen->move_to_main_threshold <= USES_MAX);
	ASSERT(frames < CACHE_NO_FRAME);
	s->base.ops = &cache_s3fifo;
	s->frames = frames;
	s->threshold = (uint8_t)chosen->move_to_main_threshold;
	s->ghost_buckets = count_buckets(chosen, frames);
	s->ghosts = (struct ghost *)(void *)((uint8_t *)memory + align_up(sizeof(*s)));
	s->nodes = (struct s3fifo_node *)(void *)((uint8_t *)s->ghosts + ghosts_bytes(s->ghost_buckets));
	s->queues[SMALL].target = small_target(chosen, frames);
	s->queues[MAIN].target = main_target(chosen, frames);
	for (unsigned i = 0; i < QUEUES; i++) {
		s->queues[i].newest = CACHE_NO_FRAME;
		s->queues[i].oldest = CACHE_NO_FRAME;
	}
	/* What the zeros in the table say was born is dead. */
	s->ghost_clock = s->queues[MAIN].target;
	return &s->base;
}

/* --- queues --- */

static void queue_put(struct s3fifo *s, enum queue_name name, uint32_t frame)
{
	struct queue *queue = &s->queues[name];
	struct s3fifo_node *node = &s->nodes[frame];
	node->queue = (uint8_t)name;
	node->newer = CACHE_NO_FRAME;
	node->older = queue->newest;
	if (queue->newest != CACHE_NO_FRAME)
		s->nodes[queue->newest].newer = frame;
	else
		queue->oldest = frame;
	queue->newest = frame;
	queue->count++;
}

static void queue_take(struct s3fifo *s, uint32_t frame)
{
	struct s3fifo_node *node = &s->nodes[frame];
	struct queue *queue = &s->queues[node->queue];
	if (node->newer != CACHE_NO_FRAME)
		s->nodes[node->newer].older = node->older;
	else
		queue->newest = node->older;
	if (node->older != CACHE_NO_FRAME)
		s->nodes[node->older].newer = node->newer;
	else
		queue->oldest = node->newer;
	queue->count--;
	node->queue = FREE;
}

static void queue_move(struct s3fifo *s, enum queue_name name, uint32_t frame)
{
	queue_take(s, frame);
	queue_put(s, name, frame);
}

/* --- ghosts --- */

static struct ghost *ghost_bucket(const struct s3fifo *s, uint32_t page)
{
	uint64_t bucket = ((uint64_t)page * s->ghost_buckets) >> 32;
	return &s->ghosts[bucket * GHOSTS_PER_BUCKET];
}

static inline bool ghost_is_alive(const struct s3fifo *s, const struct ghost *ghost)
{
	return s->ghost_clock - ghost->born < s->queues[MAIN].target;
}

static void ghost_add(struct s3fifo *s, uint32_t page)
{
	struct ghost *oldest = ghost_bucket(s, page);
	for (unsigned i = 1; i < GHOSTS_PER_BUCKET; i++) {
		struct ghost *ghost = ghost_bucket(s, page) + i;
		if (s->ghost_clock - ghost->born > s->ghost_clock - oldest->born)
			oldest = ghost;
	}
	*oldest = (struct ghost) { .page = page, .born = s->ghost_clock++ };
}

/* Whether the page was a ghost; it is none from now on. */
static bool ghost_take(struct s3fifo *s, uint32_t page)
{
	struct ghost *bucket = ghost_bucket(s, page);
	for (unsigned i = 0; i < GHOSTS_PER_BUCKET; i++) {
		if (bucket[i].page == page && ghost_is_alive(s, &bucket[i])) {
			bucket[i].born = s->ghost_clock - s->queues[MAIN].target;
			return true;
		}
	}
	return false;
}

/* --- the contract's functions --- */

static void s3fifo_insert(struct cache_strategy *strategy, uint32_t frame, uint64_t page)
{
	struct s3fifo *s = (struct s3fifo *)strategy;
	ASSERT(frame < s->frames);
	struct s3fifo_node *node = &s->nodes[frame];
	ASSERT(node->queue == FREE);
	node->page = (uint32_t)(page ^ page >> 32);
	node->uses = 0;
	bool small_is_full = s->queues[SMALL].count >= s->queues[SMALL].target;
	bool to_main = ghost_take(s, node->page) || (!s->has_evicted && small_is_full);
	queue_put(s, to_main ? MAIN : SMALL, frame);
}

static void s3fifo_touch(struct cache_strategy *strategy, uint32_t frame)
{
	struct s3fifo *s = (struct s3fifo *)strategy;
	DASSERT(frame < s->frames);
	DASSERT(s->nodes[frame].queue != FREE);
	uint8_t uses = s->nodes[frame].uses;
	/* A hot page's line is only read. */
	if (uses < USES_MAX)
		s->nodes[frame].uses = (uint8_t)(uses + 1);
}

static uint32_t evict_small(struct s3fifo *s, cache_evictable *evictable, void *context)
{
	for (uint32_t left = s->queues[SMALL].count; left > 0; left--) {
		uint32_t frame = s->queues[SMALL].oldest;
		struct s3fifo_node *node = &s->nodes[frame];
		if (node->uses >= s->threshold) {
			node->uses = 0;
			queue_move(s, MAIN, frame);
		} else if (evictable(context, frame)) {
			queue_take(s, frame);
			ghost_add(s, node->page);
			return frame;
		} else {
			queue_move(s, SMALL, frame);
		}
	}
	return CACHE_NO_FRAME;
}

static uint32_t evict_main(struct s3fifo *s, cache_evictable *evictable, void *context)
{
	uint32_t best = CACHE_NO_FRAME;
	uint8_t best_uses = UINT8_MAX;
	unsigned candidates = 0;
	for (uint32_t left = s->queues[MAIN].count; left > 0; left--) {
		uint32_t frame = s->queues[MAIN].oldest;
		struct s3fifo_node *node = &s->nodes[frame];
		uint8_t uses = node->uses;
		if (uses < best_uses && evictable(context, frame)) {
			best = frame;
			best_uses = uses;
		}
		if (best_uses == 0)
			break;
		node->uses = (uint8_t)(uses - (uses > 0));
		queue_move(s, MAIN, frame);
		if (++candidates >= SWEEP_CANDIDATES && best != CACHE_NO_FRAME)
			break;
	}
	if (best != CACHE_NO_FRAME)
		queue_take(s, best);
	return best;
}

static uint32_t s3fifo_evict(struct cache_strategy *strategy, cache_evictable *evictable, void *context)
{
	struct s3fifo *s = (struct s3fifo *)strategy;
	uint32_t frame = CACHE_NO_FRAME;
	s->has_evicted = true;
	if (s->queues[MAIN].count <= s->queues[MAIN].target)
		frame = evict_small(s, evictable, context);
	if (frame == CACHE_NO_FRAME)
		frame = evict_main(s, evictable, context);
	/* All of the main queue is pinned. What can go is in the small one, or comes from there. */
	if (frame == CACHE_NO_FRAME)
		frame = evict_small(s, evictable, context);
	if (frame == CACHE_NO_FRAME)
		frame = evict_main(s, evictable, context);
	return frame;
}

static void s3fifo_remove(struct cache_strategy *strategy, uint32_t frame)
{
	struct s3fifo *s = (struct s3fifo *)strategy;
	ASSERT(frame < s->frames);
	ASSERT(s->nodes[frame].queue != FREE);
	queue_take(s, frame);
}

static uint32_t s3fifo_resident(const struct cache_strategy *strategy)
{
	const struct s3fifo *s = (const struct s3fifo *)strategy;
	return s->queues[SMALL].count + s->queues[MAIN].count;
}

const struct cache_ops cache_s3fifo = {
	.component = {
		.name = "s3fifo",
		.summary = "S3-FIFO: a small, a main and a ghost queue; scans pass through the small one",
		.abi = COMPONENT_ABI,
		.options = s3fifo_options,
		.options_size = sizeof(struct s3fifo_options),
	},
	.memory_size = s3fifo_memory_size,
	.create = s3fifo_create,
	.insert = s3fifo_insert,
	.touch = s3fifo_touch,
	.evict = s3fifo_evict,
	.remove = s3fifo_remove,
	.resident = s3fifo_resident,
};
