/*
 * arena_test.c: arenas and the heap door below them: alignment, no overlap, accounting, exhaustion.
 * (Milliseconds.)
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
		assert_true(arena.reserved_bytes >= used);
		assert_int_equal(arena.reserved_bytes % 4096, 0);
		arena_free(&arena);
		assert_int_equal(arena.reserved_bytes, 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_are_aligned_and_apart), cmocka_unit_test(small_pieces_share_a_chunk),
		cmocka_unit_test(an_empty_piece_is_a_place),	cmocka_unit_test(exhaustion_is_null),
		cmocka_unit_test(the_switch_fails_the_nth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
