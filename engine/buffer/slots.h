/*
 * slots.h: memory for views that do not lie in one frame: page-aligned runs of bytes in size classes, kept
 * on bounded free lists.
 */
#ifndef CASCADE_BUFFER_SLOTS_H
#define CASCADE_BUFFER_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SLOT_CLASSES = 32 };

struct slot {
	struct slot *next; /* on its free list */
	uint8_t *bytes;	   /* page-aligned */
	size_t capacity;
	uint32_t size_class; /* SLOT_CLASSES: too large for any, never kept */
};

struct slot_pool {
	struct slot *idle[SLOT_CLASSES];
	size_t limit; /* idle slots are kept while all slots together stay below it */
	size_t bytes; /* of all slots, in use and idle */
	size_t bytes_peak;
	size_t in_use; /* slots */
};

void slot_pool_init(struct slot_pool *pool, size_t limit);
/* No slot is in use. */
void slot_pool_free(struct slot_pool *pool);

/* A slot of at least `size` bytes; NULL when the heap is exhausted. Its bytes are not cleared. */
struct slot *slot_take(struct slot_pool *pool, size_t size);
void slot_give(struct slot_pool *pool, struct slot *slot);

#endif
