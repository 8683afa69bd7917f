/*
 * arena.h: bump allocation that is freed all at once. Owned by one thread at a time.
 */
#ifndef CASCADE_BASE_ARENA_H
#define CASCADE_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena_chunk;

struct arena {
	uint8_t *next;		    /* first free byte of the current chunk */
	uint8_t *end;		    /* one past its last byte */
	struct arena_chunk *chunks; /* newest first */
	size_t chunk_bytes;
	size_t reserved_bytes; /* memory taken from the heap: what budgets count */
};

/* `chunk_bytes`: how much is taken from the heap at once (at least 4096). Allocates nothing yet. */
void arena_init(struct arena *arena, size_t chunk_bytes);

/* Frees everything that was allocated from it. The arena may be used again. */
void arena_free(struct arena *arena);

void *arena_allocate_slow(struct arena *arena, size_t size, size_t alignment);

/* `alignment`: a power of two, at most 64. NULL when the heap is exhausted. Not zeroed. */
static inline void *arena_allocate(struct arena *arena, size_t size, size_t alignment)
{
	uintptr_t at = ((uintptr_t)arena->next + alignment - 1) & ~(uintptr_t)(alignment - 1);
	if (__builtin_expect(at + size <= (uintptr_t)arena->end && arena->next != NULL, 1)) {
		arena->next = (uint8_t *)(at + size);
		return (void *)at;
	}
	return arena_allocate_slow(arena, size, alignment);
}

#endif
