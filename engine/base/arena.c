#include "base/arena.h"

#include "base/assert.h"
#include "base/memory.h"

#include "base/poison.h"

struct arena_chunk {
	struct arena_chunk *older;
	size_t bytes; /* of the whole mapping */
};

enum { CHUNK_HEADER = 64, PAGE = 4096 };

_Static_assert(sizeof(struct arena_chunk) <= CHUNK_HEADER, "the header leaves data 64-byte aligned");

void arena_init(struct arena *arena, size_t chunk_bytes)
{
	ASSERT(chunk_bytes >= PAGE);
	*arena = (struct arena) { .chunk_bytes = (chunk_bytes + PAGE - 1) & ~(size_t)(PAGE - 1) };
}

void arena_free(struct arena *arena)
{
	struct arena_chunk *chunk = arena->chunks;
	while (chunk != NULL) {
		struct arena_chunk *older = chunk->older;
		memory_unmap(chunk, chunk->bytes);
		chunk = older;
	}
	arena_init(arena, arena->chunk_bytes);
}

void *arena_allocate_slow(struct arena *arena, size_t size, size_t alignment)
{
	ASSERT(alignment <= CHUNK_HEADER);
	if (size > SIZE_MAX - CHUNK_HEADER - PAGE)
		return NULL;
	size_t need = (size + CHUNK_HEADER + PAGE - 1) & ~(size_t)(PAGE - 1);
	size_t bytes = need > arena->chunk_bytes ? need : arena->chunk_bytes;
	struct arena_chunk *chunk = memory_map(bytes);
	if (chunk == NULL)
		return NULL;
	chunk->bytes = bytes;
	chunk->older = arena->chunks;
	arena->chunks = chunk;
	arena->reserved_bytes += bytes;
	uint8_t *data = (uint8_t *)chunk + CHUNK_HEADER;
	/* An outsized piece gets a chunk of its own; the current chunk stays in use if it has more room. */
	size_t left_new = bytes - CHUNK_HEADER - size;
	size_t left_old = (size_t)(arena->end - arena->next);
	if (arena->next == NULL || left_new > left_old) {
		arena->next = data + size;
		arena->end = (uint8_t *)chunk + bytes;
	}
	return data;
}
