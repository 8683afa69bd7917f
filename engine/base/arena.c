#include "base/arena.h"

#include "base/assert.h"
#include "base/memory.h"

#include "base/poison.h"

struct arena_chunk {
	struct arena_chunk *older; /* in an arena; in a pool: the next one */
	size_t bytes;		   /* of the whole mapping */
};

enum { CHUNK_HEADER = 64, PAGE = 4096 };

_Static_assert(sizeof(struct arena_chunk) <= CHUNK_HEADER, "the header leaves data 64-byte aligned");

static size_t round_to_pages(size_t bytes)
{
	return (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* --- chunks --- */

static uint8_t *chunk_data(struct arena_chunk *chunk)
{
	return (uint8_t *)chunk + CHUNK_HEADER;
}

/* From here on touching the chunk's data is an error, until it is handed out. */
static void chunk_close(struct arena_chunk *chunk)
{
#if ADDRESS_SANITIZER
	__asan_poison_memory_region(chunk_data(chunk), chunk->bytes - CHUNK_HEADER);
#else
	(void)chunk;
#endif
}

static struct arena_chunk *chunk_map(size_t bytes)
{
	struct arena_chunk *chunk =
		bytes % MEMORY_HUGE_PAGE == 0 ? memory_map_huge(bytes) : memory_map(bytes);
	if (chunk == NULL)
		return NULL;
	chunk->bytes = bytes;
	chunk_close(chunk);
	return chunk;
}

static void chunk_unmap(struct arena_chunk *chunk)
{
	/* Whatever is mapped here next knows nothing of poison. */
	arena_hand_out(chunk_data(chunk), chunk->bytes - CHUNK_HEADER);
	memory_unmap(chunk, chunk->bytes);
}

/* --- pools --- */

void arena_pool_init(struct arena_pool *pool, size_t chunk_bytes, size_t keep_bytes)
{
	ASSERT(chunk_bytes >= PAGE);
	*pool = (struct arena_pool) { .chunk_bytes = round_to_pages(chunk_bytes), .keep_bytes = keep_bytes };
}

static struct arena_chunk *pool_take(struct arena_pool *pool)
{
	struct arena_chunk *chunk = pool->spare;
	if (chunk == NULL)
		return NULL;
	pool->spare = chunk->older;
	pool->spare_bytes -= chunk->bytes;
	return chunk;
}

/* Unmaps free chunks until that many bytes are gone, or there are none. */
static void pool_shrink(struct arena_pool *pool, size_t bytes)
{
	size_t gone = 0;
	while (gone < bytes && pool->spare != NULL) {
		struct arena_chunk *chunk = pool_take(pool);
		gone += chunk->bytes;
		pool->reserved_bytes -= chunk->bytes;
		chunk_unmap(chunk);
	}
}

void arena_pool_free(struct arena_pool *pool)
{
	ASSERT(pool->reserved_bytes == pool->spare_bytes);
	pool_shrink(pool, SIZE_MAX);
}

static struct arena_chunk *pool_chunk(struct arena_pool *pool, size_t bytes)
{
	if (bytes == pool->chunk_bytes && pool->spare != NULL)
		return pool_take(pool);
	pool_shrink(pool, bytes);
	struct arena_chunk *chunk = chunk_map(bytes);
	if (chunk != NULL)
		pool->reserved_bytes += bytes;
	return chunk;
}

/* Keeps a chunk that its arena is done with, or unmaps it. */
static void pool_give(struct arena_pool *pool, struct arena_chunk *chunk)
{
	if (chunk->bytes != pool->chunk_bytes || pool->spare_bytes + chunk->bytes > pool->keep_bytes) {
		pool->reserved_bytes -= chunk->bytes;
		chunk_unmap(chunk);
		return;
	}
	/* At either end; but what looks for errors wants it to stay untouched for as long as possible. */
	struct arena_chunk **place = &pool->spare;
	while (ADDRESS_SANITIZER && *place != NULL)
		place = &(*place)->older;
	chunk_close(chunk);
	chunk->older = *place;
	*place = chunk;
	pool->spare_bytes += chunk->bytes;
}

/* --- arenas --- */

void arena_init(struct arena *arena, size_t chunk_bytes)
{
	ASSERT(chunk_bytes >= PAGE);
	*arena = (struct arena) { .chunk_bytes = round_to_pages(chunk_bytes) };
}

void arena_init_pooled(struct arena *arena, struct arena_pool *pool)
{
	*arena = (struct arena) { .chunk_bytes = pool->chunk_bytes, .pool = pool };
}

void arena_free(struct arena *arena)
{
	struct arena_chunk *chunk = arena->chunks;
	while (chunk != NULL) {
		struct arena_chunk *older = chunk->older;
		if (arena->pool != NULL)
			pool_give(arena->pool, chunk);
		else
			chunk_unmap(chunk);
		chunk = older;
	}
	*arena = (struct arena) { .chunk_bytes = arena->chunk_bytes, .pool = arena->pool };
}

void *arena_allocate_slow(struct arena *arena, size_t size, size_t alignment)
{
	ASSERT(alignment <= CHUNK_HEADER);
	if (size > SIZE_MAX - CHUNK_HEADER - PAGE)
		return NULL;
	size_t need = round_to_pages(size + CHUNK_HEADER);
	size_t bytes = need > arena->chunk_bytes ? need : arena->chunk_bytes;
	struct arena_chunk *chunk = arena->pool != NULL ? pool_chunk(arena->pool, bytes) : chunk_map(bytes);
	if (chunk == NULL)
		return NULL;
	chunk->older = arena->chunks;
	arena->chunks = chunk;
	arena->reserved_bytes += bytes;
	arena->data_bytes += bytes - CHUNK_HEADER;
	uint8_t *data = chunk_data(chunk);
	arena_hand_out(data, size);
	/* An outsized piece gets a chunk of its own; the current chunk stays in use if it has more room. */
	size_t left_new = bytes - CHUNK_HEADER - size;
	size_t left_old = (size_t)(arena->end - arena->next);
	if (arena->next == NULL || left_new > left_old) {
		arena->next = data + size;
		arena->end = (uint8_t *)chunk + bytes;
	}
	return data;
}
