/*
 * cache.h: the contract of cache strategies: which frame of a fixed set to give up next.
 *
 * The pool owns frames, their contents, the map from page to frame, and pins; a strategy only orders frame
 * numbers. Every frame is in one of two states for it: free (unknown to the strategy) or resident. All
 * memory is taken at create, from the allocation handed in.
 */
#ifndef CASCADE_COMPONENTS_CACHE_H
#define CASCADE_COMPONENTS_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "components/component.h"

enum { CACHE_NO_FRAME = UINT32_MAX };

/* The first member of every variant's instance. */
struct cache_strategy {
	const struct cache_ops *ops;
};

/* Whether a frame may be given up now (it is not pinned and not being loaded). */
typedef bool cache_evictable(void *context, uint32_t frame);

struct cache_ops {
	struct component component;

	/* Bytes that create needs for `frames` frames: charged to the cache's budget. */
	size_t (*memory_size)(const void *options, uint32_t frames);

	/* Builds the strategy in `memory` (64-aligned, zeroed, memory_size bytes, owned by the caller and
	 * freed by it afterwards: there is no destroy). Never fails. */
	struct cache_strategy *(*create)(const void *options, uint32_t frames, void *memory);

	/* A page with hash `page` (of file and page number) has been put into the free frame. */
	void (*insert)(struct cache_strategy *strategy, uint32_t frame, uint64_t page);

	/* The page in the frame was used again. The hottest call: a few instructions. */
	void (*touch)(struct cache_strategy *strategy, uint32_t frame);

	/*
	 * Picks a resident frame for which evictable(context, frame) holds, forgets it, and returns it (it is
	 * free now); CACHE_NO_FRAME if there is none. Bounded: at most a few sweeps over all frames.
	 */
	uint32_t (*evict)(struct cache_strategy *strategy, cache_evictable *evictable, void *context);

	/* The page was invalidated: the frame is free, and no ghost of it need be kept. */
	void (*remove)(struct cache_strategy *strategy, uint32_t frame);

	/* Resident frames. For checks. */
	uint32_t (*resident)(const struct cache_strategy *strategy);
};

#endif
