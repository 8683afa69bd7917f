/*
 * arena_test.c: arenas, the pools that keep their chunks, and the heap door below them: alignment, no
 * overlap, accounting to the byte, exhaustion. (Milliseconds.)
 */
#include "test.h"

#include <string.h>

#include "base/arena.h"
#include "base/memory.h"

enum { CHUNK = 64 << 10 };

/* Every piece is filled with its own byte; an overlap would change an earlier one. */
static void pieces_are_aligned_and_apart(void **state)
{
	(void)state;
	enum { COUNT = 3000 };
	static struct {
		uint8_t *data;
		size_t size;
	} pieces[COUNT];
	uint64_t seed = test_seed(3);
	struct random random = random_stream(seed);
	struct arena arena;
	arena_init(&arena, CHUNK);
	for (int round = 0; round < 2; round++) {
		size_t used = 0;
		for (unsigned i = 0; i < COUNT; i++) {
			size_t alignment = (size_t)1 << random_below(&random, 7);
			size_t size = random_below(&random, i % 100 == 0 ? 3 * CHUNK : 300);
			uint8_t *data = arena_allocate(&arena, size, alignment);
			if (data == NULL || (uintptr_t)data % alignment != 0)
				fail_msg("seed %#lx piece %u", (unsigned long)seed, i);
			memset(data, (int)i, size);
			pieces[i].data = data;
			pieces[i].size = size;
			used += size;
		}
		for (unsigned i = 0; i < COUNT; i++)
			for (size_t at = 0; at < pieces[i].size; at++)
				if (pieces[i].data[at] != (uint8_t)i)
					fail_msg("seed %#lx piece %u overlaps", (unsigned long)seed, i);
		assert_true(arena.reserved_bytes >= arena_used_bytes(&arena));
		assert_true(arena_used_bytes(&arena) >= used);
		assert_int_equal(arena.reserved_bytes % 4096, 0);
		arena_free(&arena);
		assert_int_equal(arena.reserved_bytes, 0);
		assert_int_equal(arena_used_bytes(&arena), 0);
		assert_null(arena.chunks);
	}
}

static void small_pieces_share_a_chunk(void **state)
{
	(void)state;
	struct arena arena;
	arena_init(&arena, 5000); /* rounded to whole pages */
	assert_int_equal(arena.reserved_bytes, 0);
	for (int i = 0; i < 100; i++)
		assert_non_null(arena_allocate(&arena, 64, 8));
	assert_int_equal(arena.reserved_bytes, 8192);
	/* An outsized piece must not waste what the current chunk has left. */
	assert_non_null(arena_allocate(&arena, 100000, 8));
	size_t reserved = arena.reserved_bytes;
	for (int i = 0; i < 20; i++)
		assert_non_null(arena_allocate(&arena, 64, 8));
	assert_int_equal(arena.reserved_bytes, reserved);
	arena_free(&arena);
}

static void an_empty_piece_is_a_place(void **state)
{
	(void)state;
	struct arena arena;
	arena_init(&arena, 4096);
	assert_non_null(arena_allocate(&arena, 0, 1));
	assert_non_null(arena_allocate(&arena, 0, 64));
	arena_free(&arena);
}

static void exhaustion_is_null(void **state)
{
	(void)state;
	struct arena arena;
	arena_init(&arena, CHUNK);
	assert_null(arena_allocate(&arena, SIZE_MAX - 100, 1));
	memory_fail_at(1, 0);
	assert_null(arena_allocate(&arena, 10, 1));
	assert_int_equal(memory_failures_fired(), 1);
	assert_non_null(arena_allocate(&arena, 10, 1)); /* and it is still usable */
	memory_fail_at(0, 0);
	arena_free(&arena);
}

static void the_switch_fails_the_nth(void **state)
{
	(void)state;
	memory_fail_at(3, 0);
	for (int i = 1; i <= 5; i++) {
		void *memory = memory_allocate(16);
		assert_true((memory == NULL) == (i == 3));
		memory_free(memory);
	}
	assert_int_equal(memory_failures_fired(), 1);
	memory_fail_at(2, 1);
	void *first = memory_allocate_zeroed(4, 4);
	assert_non_null(first);
	assert_null(memory_allocate(1));
	assert_null(memory_allocate_zeroed(1, 1));
	assert_null(memory_allocate_aligned(64, 64));
	assert_null(memory_copy_string("x"));
	assert_null(memory_map(4096));
	assert_null(memory_resize(first, 100)); /* which leaves the old one */
	assert_int_equal(memory_failures_fired(), 6);
	memory_fail_at(0, 0);
	memory_free(first);
	char *copy = memory_copy_string("text");
	assert_string_equal(copy, "text");
	memory_free(copy);
	void *aligned = memory_allocate_aligned(4096, 5000);
	assert_int_equal((uintptr_t)aligned % 4096, 0);
	memory_free(aligned);
	memory_unmap(NULL, 4096);
}

static void take(struct arena *arena, size_t size, size_t alignment, size_t used)
{
	assert_non_null(arena_allocate(arena, size, alignment));
	assert_int_equal(arena_used_bytes(arena), used);
}

static void used_bytes_are_exact(void **state)
{
	(void)state;
	enum { SMALL = 8192, DATA = SMALL - 64 };
	struct arena arena;
	arena_init(&arena, SMALL);
	assert_int_equal(arena_used_bytes(&arena), 0);
	take(&arena, 10, 1, 10);
	take(&arena, 8, 8, 24); /* six bytes lost for alignment */
	take(&arena, 0, 1, 24);
	take(&arena, 1, 64, 65);
	/* In a chunk of its own; what is left of that counts, and the current one stays. */
	size_t own = (100000 + 64 + 4095) / 4096 * 4096 - 64;
	take(&arena, 100000, 8, 65 + own);
	take(&arena, 5, 1, 70 + own);
	take(&arena, DATA - 70, 1, DATA + own);
	take(&arena, 100, 1, DATA + own + 100);
	/* Another with a chunk of its own; the current one has more left. */
	take(&arena, DATA - 50, 1, 2 * DATA + own + 100);
	/* And one that does not fit, but the new chunk has more left: the end of the old one counts. */
	take(&arena, DATA - 200, 1, 3 * DATA + own - 100);
	take(&arena, 200, 1, 3 * DATA + own + 200);
	assert_int_equal(arena.reserved_bytes, 4 * SMALL + own + 64);
	arena_free(&arena);
	assert_int_equal(arena_used_bytes(&arena), 0);
	take(&arena, 10, 1, 10);
	arena_free(&arena);
}

/* Takes `chunks` chunks of a pool of CHUNK bytes each, whole; false: there was no memory. */
static bool take_chunks(struct arena *arena, unsigned chunks)
{
	for (unsigned i = 0; i < chunks; i++) {
		uint8_t *data = arena_allocate(arena, CHUNK - 64, 8);
		if (data == NULL)
			return false;
		memset(data, 0x5a, CHUNK - 64);
	}
	return true;
}

static void a_pool_keeps_chunks(void **state)
{
	(void)state;
	struct arena_pool pool;
	arena_pool_init(&pool, CHUNK - 100, 3 * CHUNK + 1); /* rounded to whole pages */
	struct arena first;
	struct arena second;
	arena_init_pooled(&first, &pool);
	arena_init_pooled(&second, &pool);
	assert_int_equal(pool.reserved_bytes, 0);
	assert_true(take_chunks(&first, 5));
	assert_int_equal(first.reserved_bytes, 5 * CHUNK);
	assert_int_equal(pool.reserved_bytes, 5 * CHUNK);
	assert_int_equal(pool.spare_bytes, 0);
	arena_free(&first);
	assert_int_equal(first.reserved_bytes, 0);
	assert_int_equal(pool.spare_bytes, 3 * CHUNK);
	assert_int_equal(pool.reserved_bytes, 3 * CHUNK);
	/* Three chunks need nobody; a fourth has to be mapped. */
	memory_fail_at(1, 1);
	assert_true(take_chunks(&second, 2));
	assert_true(take_chunks(&first, 1));
	assert_int_equal(pool.spare_bytes, 0);
	assert_int_equal(memory_failures_fired(), 0);
	assert_false(take_chunks(&second, 1));
	memory_fail_at(0, 0);
	assert_int_equal(second.reserved_bytes, 2 * CHUNK);
	assert_int_equal(pool.reserved_bytes, 3 * CHUNK);
	arena_free(&second);
	arena_free(&first);
	assert_int_equal(pool.spare_bytes, 3 * CHUNK);
	arena_pool_free(&pool);
	assert_int_equal(pool.reserved_bytes, 0);
	/* And again. */
	assert_true(take_chunks(&first, 1));
	arena_free(&first);
	assert_int_equal(pool.spare_bytes, CHUNK);
	arena_pool_free(&pool);
}

static void an_outsized_piece_takes_from_the_free(void **state)
{
	(void)state;
	struct arena_pool pool;
	arena_pool_init(&pool, CHUNK, 4 * CHUNK);
	struct arena arena;
	arena_init_pooled(&arena, &pool);
	assert_true(take_chunks(&arena, 4));
	arena_free(&arena);
	assert_non_null(arena_allocate(&arena, 2 * CHUNK - 64, 8));
	assert_int_equal(pool.spare_bytes, 2 * CHUNK);
	assert_int_equal(pool.reserved_bytes, 4 * CHUNK);
	assert_non_null(arena_allocate(&arena, 9 * CHUNK, 8));
	assert_int_equal(pool.spare_bytes, 0);
	assert_int_equal(pool.reserved_bytes, arena.reserved_bytes);
	/* And is not kept: nobody else has a use for it. */
	arena_free(&arena);
	assert_int_equal(pool.reserved_bytes, 0);
	arena_pool_free(&pool);
}

/* Arenas that come and go: the pool never has more than they had at once. */
static void a_pool_never_has_more_than_was_in_use(void **state)
{
	(void)state;
	enum { ARENAS = 3 };
	uint64_t seed = test_seed(4);
	struct random random = random_stream(seed);
	struct arena_pool pool;
	arena_pool_init(&pool, CHUNK, 16 * CHUNK);
	struct arena arenas[ARENAS];
	for (unsigned i = 0; i < ARENAS; i++)
		arena_init_pooled(&arenas[i], &pool);
	size_t most = 0;
	for (unsigned step = 0; step < 3000; step++) {
		struct arena *arena = &arenas[random_below(&random, ARENAS)];
		if (random_below(&random, 40) == 0) {
			arena_free(arena);
		} else {
			size_t size =
				random_below(&random, random_below(&random, 8) == 0 ? 4 * CHUNK : CHUNK);
			uint8_t *data = arena_allocate(arena, size, 8);
			assert_non_null(data);
			if (size > 0)
				data[0] = data[size - 1] = 1;
		}
		size_t held = 0;
		for (unsigned i = 0; i < ARENAS; i++)
			held += arenas[i].reserved_bytes;
		most = held > most ? held : most;
		if (pool.reserved_bytes != held + pool.spare_bytes || pool.reserved_bytes > most ||
		    pool.spare_bytes > 16 * CHUNK)
			fail_msg("seed %#lx step %u: %zu reserved, %zu free, %zu held, %zu at most",
				 (unsigned long)seed, step, pool.reserved_bytes, pool.spare_bytes, held,
				 most);
	}
	for (unsigned i = 0; i < ARENAS; i++)
		arena_free(&arenas[i]);
	arena_pool_free(&pool);
}

static void chunks_of_huge_pages_are_aligned(void **state)
{
	(void)state;
	struct arena arena;
	arena_init(&arena, MEMORY_HUGE_PAGE);
	uint8_t *first = arena_allocate(&arena, 100, 8);
	uint8_t *second = arena_allocate(&arena, 2 * (size_t)MEMORY_HUGE_PAGE - 64, 8);
	assert_non_null(first);
	assert_non_null(second);
	assert_int_equal(((uintptr_t)first - 64) % MEMORY_HUGE_PAGE, 0);
	assert_int_equal(((uintptr_t)second - 64) % MEMORY_HUGE_PAGE, 0);
	memset(second, 1, 2 * (size_t)MEMORY_HUGE_PAGE - 64);
	assert_int_equal(arena.reserved_bytes, 3 * (size_t)MEMORY_HUGE_PAGE);
	assert_non_null(arena_allocate(&arena, MEMORY_HUGE_PAGE - 64 - 104, 8));
	assert_int_equal(arena.reserved_bytes, 3 * (size_t)MEMORY_HUGE_PAGE);
	memory_fail_at(1, 0);
	assert_null(memory_map_huge(MEMORY_HUGE_PAGE));
	memory_fail_at(0, 0);
	arena_free(&arena);
}

/* In builds that can tell. */
static void what_is_not_handed_out_is_poisoned(void **state)
{
	(void)state;
#if ADDRESS_SANITIZER
	struct arena_pool pool;
	arena_pool_init(&pool, CHUNK, 4 * CHUNK);
	struct arena arena;
	arena_init_pooled(&arena, &pool);
	uint8_t *kept = arena_allocate(&arena, 1000, 8);
	assert_false(__asan_address_is_poisoned(kept + 999));
	assert_true(__asan_address_is_poisoned(kept + 1000));
	arena_free(&arena);
	assert_true(__asan_address_is_poisoned(kept));
	/* The chunk is in use again, but not yet what the pointer from before points at. */
	uint8_t *again = arena_allocate(&arena, 100, 8);
	assert_ptr_equal(again, kept);
	assert_false(__asan_address_is_poisoned(kept + 99));
	assert_true(__asan_address_is_poisoned(kept + 104));
	arena_free(&arena);
	arena_pool_free(&pool);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_are_aligned_and_apart),
		cmocka_unit_test(small_pieces_share_a_chunk),
		cmocka_unit_test(an_empty_piece_is_a_place),
		cmocka_unit_test(exhaustion_is_null),
		cmocka_unit_test(the_switch_fails_the_nth),
		cmocka_unit_test(used_bytes_are_exact),
		cmocka_unit_test(a_pool_keeps_chunks),
		cmocka_unit_test(an_outsized_piece_takes_from_the_free),
		cmocka_unit_test(a_pool_never_has_more_than_was_in_use),
		cmocka_unit_test(chunks_of_huge_pages_are_aligned),
		cmocka_unit_test(what_is_not_handed_out_is_poisoned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
