/*
 * sorted_hash_test.c: what only this memtable has to show: a table that grows in small steps, at any size
 * about as much memory for each key, and hashes that somebody has chosen. All else is in memtable_test.c. (A
 * second.)
 */
#include "test.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/sanitizer.h"
#include "components/memtable/memtable.h"

enum { CHUNK_BYTES = 1 << 20, KEY = 16 };

extern const struct memtable_ops memtable_sorted_hash;

static struct slice key_of(uint8_t bytes[KEY], uint64_t number)
{
	memcpy(bytes, &(uint64_t) { random_at(7, number) }, 8);
	memcpy(bytes + 8, &number, 8);
	return slice_make(bytes, KEY);
}

static struct status put(struct memtable *memtable, struct slice key, uint64_t sequence)
{
	struct entry entry = { .key = key, .sequence = sequence, .kind = ENTRY_PUT };
	return memtable->ops->insert(memtable, &entry, 0);
}

/* All keys below `count` are there, and those from there on are not. */
static void check_keys(struct memtable *memtable, uint64_t count, uint64_t step)
{
	uint8_t bytes[KEY];
	struct entry entry;
	for (uint64_t i = 0; i < count; i += step) {
		if (!memtable->ops->get(memtable, key_of(bytes, i), SEQUENCE_MAX, &entry) ||
		    entry.sequence != i + 1)
			fail_msg("key %lu of %lu", (unsigned long)i, (unsigned long)count);
		assert_false(memtable->ops->get(memtable, key_of(bytes, count + i), SEQUENCE_MAX, &entry));
	}
}

/* Past 1024 segments they split by bits that no record has at hand. */
static void growth_is_even(void **state)
{
	(void)state;
	enum { COUNT = SANITIZED ? 450000 : 1000000 };
	const struct memtable_ops *ops = &memtable_sorted_hash;
	struct arena arena;
	uint8_t bytes[KEY];
	arena_init(&arena, CHUNK_BYTES);
	struct memtable *memtable = ops->create(&arena, NULL);
	assert_non_null(memtable);
	assert_true(arena_used_bytes(&arena) < 1024);
	size_t before = arena_used_bytes(&arena);
	uint64_t next_check = 100;
	for (uint64_t i = 0; i < COUNT; i++) {
		assert_ok(put(memtable, key_of(bytes, i), i + 1));
		size_t used = arena_used_bytes(&arena);
		/* The directory of the table, or that of the order, is the largest that is taken at once: a
		 * byte or so a key; and as much again may be lost at the end of a chunk. */
		if (used - before > 2 * 4224 + 1024 + KEY + 64 + i / 3)
			fail_msg("%zu bytes for key %lu", used - before, (unsigned long)i);
		before = used;
		if (i < next_check)
			continue;
		next_check += next_check / 4;
		check_keys(memtable, i + 1, i / 1000 + 1);
		/* Beside the key: 10 for the record, 9 for the order, 10 to 21 for the table. */
		double each = (double)used / (double)(i + 1) - KEY;
		if (i > 10000 && !(each > 31 && each < 36))
			fail_msg("%.1f bytes for each of %lu keys", each, (unsigned long)i);
	}
	check_keys(memtable, COUNT, 1);
	assert_int_equal(ops->count(memtable), COUNT);
	arena_free(&arena);
}

/* Keys whose hashes have the bits in common that segments split by: the directory must not grow for them. */
static void chosen_hashes_cost_time_not_memory(void **state)
{
	(void)state;
	enum { COUNT = 3000, BITS = 10 };
	const struct memtable_ops *ops = &memtable_sorted_hash;
	struct arena arena;
	uint8_t bytes[KEY];
	struct entry entry;
	static uint64_t chosen[COUNT];
	arena_init(&arena, CHUNK_BYTES);
	struct memtable *memtable = ops->create(&arena, NULL);
	unsigned count = 0;
	for (uint64_t i = 0; count < COUNT; i++) {
		if ((hash_key(key_of(bytes, i)) & 0x7fffffff) >> (31 - BITS) == 5)
			chosen[count++] = i;
	}
	for (unsigned i = 0; i < COUNT; i++) {
		assert_ok(put(memtable, key_of(bytes, chosen[i]), i + 1));
		for (unsigned j = i; j < COUNT; j += COUNT / 3)
			assert_true(ops->get(memtable, key_of(bytes, chosen[j]), SEQUENCE_MAX, &entry) ==
				    (j == i));
	}
	assert_true(arena_used_bytes(&arena) < COUNT * 60);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_true(ops->get(memtable, key_of(bytes, chosen[i]), SEQUENCE_MAX, &entry));
		assert_int_equal(entry.sequence, i + 1);
	}
	/* Others that come along do not suffer. */
	for (uint64_t i = 1ull << 32; i < (1ull << 32) + 20000; i++)
		assert_ok(put(memtable, key_of(bytes, i), i));
	for (unsigned i = 0; i < COUNT; i++)
		assert_true(ops->get(memtable, key_of(bytes, chosen[i]), SEQUENCE_MAX, &entry));
	assert_int_equal(ops->count(memtable), COUNT + 20000);
	arena_free(&arena);
}

/* Every allocation that growth takes fails once: the put is refused, all else is as it was, and then it goes.
 */
static void growth_without_memory(void **state)
{
	(void)state;
	enum { COUNT = 20000 };
	const struct memtable_ops *ops = &memtable_sorted_hash;
	struct arena arena;
	uint8_t bytes[KEY];
	arena_init(&arena, 4096);
	struct memtable *memtable = ops->create(&arena, NULL);
	unsigned refused = 0;
	for (uint64_t i = 0; i < COUNT; i++) {
		struct slice key = key_of(bytes, i);
		for (unsigned nth = 1;; nth++) {
			memory_fail_at(nth, 1);
			struct status status = put(memtable, key, i + 1);
			uint64_t fired = memory_failures_fired();
			memory_fail_at(0, 0);
			if (status_is_ok(status))
				break;
			struct entry entry;
			assert_true(fired > 0);
			assert_status(status, STATUS_NO_MEMORY);
			assert_int_equal(ops->count(memtable), i);
			assert_false(ops->get(memtable, key, SEQUENCE_MAX, &entry));
			refused++;
		}
		assert_int_equal(ops->count(memtable), i + 1);
		if (i % 1000 == 0)
			check_keys(memtable, i + 1, 1);
	}
	assert_true(refused > 100);
	check_keys(memtable, COUNT, 1);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(growth_is_even),
		cmocka_unit_test(chosen_hashes_cost_time_not_memory),
		cmocka_unit_test(growth_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
