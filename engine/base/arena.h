/*
 * arena.h: bump allocation that is freed all at once. Owned by one thread at a time.
 *
 * An arena takes memory in chunks, from the kernel or from an arena_pool, which keeps the chunks of arenas
 * that were freed for the next one: it need not map them, fault them in and have them zeroed again. A chunk
 * of whole huge pages is mapped as such (memory_map_huge).
 *
 * In builds with an address sanitizer only what was handed out may be touched: neither the rest of a chunk
 * nor what a freed arena has handed out, though its chunk may be in use again.
 */
#ifndef CASCADE_BASE_ARENA_H
#define CASCADE_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/exported.h"
#include "base/sanitizer.h"

#if ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

struct arena_chunk;

/* Chunks for the arenas of one owner, all in the same thread. */
struct arena_pool {
	struct arena_chunk *spare;
	size_t chunk_bytes;
	size_t keep_bytes;
	size_t spare_bytes;    /* in `spare` */
	size_t reserved_bytes; /* of the pool's arenas and in `spare`: what it has from the kernel */
};

struct arena {
	uint8_t *next;		    /* first free byte of the current chunk */
	uint8_t *end;		    /* one past its last byte */
	struct arena_chunk *chunks; /* newest first */
	struct arena_pool *pool;    /* NULL: none */
	size_t chunk_bytes;
	size_t reserved_bytes; /* memory taken from the kernel or the pool: what budgets count */
	size_t data_bytes;     /* of that, all but the headers of chunks */
};

/*
 * `chunk_bytes`: as for arena_init; `keep_bytes`: how much may lie spare. Allocates nothing yet.
 *
 * Chunks are mapped only while none is spare, and for an outsized piece as much of them is given back as it
 * takes: so the pool never holds more than its arenas have held at once.
 */
void arena_pool_init(struct arena_pool *pool, size_t chunk_bytes, size_t keep_bytes);

/* Gives the spare chunks back. Pre: no arena of the pool holds any. The pool may be used again. */
void arena_pool_free(struct arena_pool *pool);

/* `chunk_bytes`: how much is taken from the kernel at once (at least 4096). Allocates nothing yet. */
void arena_init(struct arena *arena, size_t chunk_bytes);

/* The same with chunks from a pool, which has to outlive the arena's memory. */
void arena_init_pooled(struct arena *arena, struct arena_pool *pool);

/* Frees everything that was allocated from it. The arena may be used again. */
void arena_free(struct arena *arena);

void *arena_allocate_slow(struct arena *arena, size_t size, size_t alignment) EXPORTED(arena_allocate_slow);

/* Tells the sanitizer that this may be touched from now on. */
static inline void arena_hand_out(void *memory, size_t size)
{
#if ADDRESS_SANITIZER
	__asan_unpoison_memory_region(memory, size);
#else
	(void)memory;
	(void)size;
#endif
}

/* `alignment`: a power of two, at most 64. NULL when the heap is exhausted. Not zeroed. */
static inline void *arena_allocate(struct arena *arena, size_t size, size_t alignment)
{
	uintptr_t at = ((uintptr_t)arena->next + alignment - 1) & ~(uintptr_t)(alignment - 1);
	if (__builtin_expect(at + size <= (uintptr_t)arena->end && arena->next != NULL, 1)) {
		arena->next = (uint8_t *)(at + size);
		arena_hand_out((void *)at, size);
		return (void *)at;
	}
	return arena_allocate_slow(arena, size, alignment);
}

/*
 * What was handed out, to the byte: with what alignment and the ends of chunks that a piece did not fit into
 * have cost, without the headers of chunks and what the current one has left.
 */
static inline size_t arena_used_bytes(const struct arena *arena)
{
	return arena->data_bytes - (size_t)(arena->end - arena->next);
}

#endif
