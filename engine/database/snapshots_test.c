/*
 * snapshots_test.c: the process-wide table of live snapshots, alone and under threads (INV-SNAP-1). About 2
 * s.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "test.h"

#include "base/clock.h"
#include "database/database_internal.h"

static struct snapshot_table *table_create(uint64_t last_sequence)
{
	struct snapshot_table *table = aligned_alloc(64, (sizeof(*table) + 63) / 64 * 64);
	assert_non_null(table);
	snapshots_init(table, last_sequence);
	return table;
}

static void test_empty(void **state)
{
	(void)state;
	struct snapshot_table *table = table_create(41);
	uint64_t sequences[4];
	assert_true(snapshots_oldest(table) == UINT64_MAX);
	assert_int_equal(snapshots_list(table, sequences, 4), 0);
	assert_int_equal(snapshots_next_sequence(table), 42);
	assert_int_equal(snapshots_next_sequence(table), 43);
	free(table);
}

/* Before anything was written a snapshot is at 0, and nothing that is written later may look as if it were
 * in it: a list with 1 instead would let a merge forget the sequence of the first commit. */
static void test_before_the_first_write(void **state)
{
	(void)state;
	struct snapshot_table *table = table_create(0);
	uint64_t sequence = 99;
	uint64_t listed[2];
	uint32_t slot = snapshots_enter(table, &sequence);
	assert_int_equal(sequence, 0);
	assert_int_equal(snapshots_oldest(table), 0);
	assert_int_equal(snapshots_list(table, listed, 2), 1);
	assert_int_equal(listed[0], 0);
	snapshots_leave(table, slot);
	assert_int_equal(snapshots_list(table, listed, 2), 0);
	free(table);
}

static void test_list_is_sorted_and_counts_all(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(201));
	struct snapshot_table *table = table_create(1000);
	enum { COUNT = 300 };
	uint64_t live[COUNT] = { 0 };
	uint32_t slots[COUNT];
	bool used[COUNT] = { false };
	for (unsigned round = 0; round < 2000; round++) {
		unsigned i = (unsigned)random_below(&random, COUNT);
		if (random_below(&random, 3) > 0)
			(void)snapshots_next_sequence(table);
		if (used[i])
			snapshots_leave(table, slots[i]);
		else
			slots[i] = snapshots_enter(table, &live[i]);
		used[i] = !used[i];
		uint64_t listed[COUNT + 1];
		uint64_t oldest = UINT64_MAX;
		size_t expected = 0;
		for (unsigned j = 0; j < COUNT; j++) {
			expected += used[j];
			if (used[j] && live[j] < oldest)
				oldest = live[j];
		}
		assert_true(snapshots_oldest(table) == oldest);
		assert_int_equal(snapshots_list(table, listed, COUNT + 1), expected);
		for (size_t j = 0; j < expected; j++) {
			unsigned found = 0;
			for (unsigned k = 0; k < COUNT; k++)
				found += used[k] && live[k] == listed[j];
			assert_true(found > 0);
			assert_true(j == 0 || listed[j - 1] <= listed[j]);
		}
		/* A list that is too short still says how many there are. */
		if (expected > 0)
			assert_int_equal(snapshots_list(table, listed, expected - 1), expected);
	}
	free(table);
}

static void test_full(void **state)
{
	(void)state;
	struct snapshot_table *table = table_create(7);
	uint64_t sequence;
	for (unsigned i = 0; i < SNAPSHOTS_MAX; i++)
		assert_true(snapshots_enter(table, &sequence) < SNAPSHOTS_MAX);
	assert_int_equal(snapshots_enter(table, &sequence), SNAPSHOTS_MAX);
	snapshots_leave(table, 1234);
	assert_int_equal(snapshots_enter(table, &sequence), 1234);
	for (uint32_t i = 0; i < SNAPSHOTS_MAX; i++)
		snapshots_leave(table, i);
	assert_true(snapshots_oldest(table) == UINT64_MAX);
	assert_int_equal(atomic_load(&table->live), 0);
	free(table);
}

/*
 * INV-SNAP-1 under threads. Each writer owns a register: it draws X, publishes X in the register, and then
 * may clear what it knows of older versions, unless a snapshot below X is live. Readers take a snapshot S and
 * look: whatever S might need must not have been cleared. The record of clearing is the largest X for which a
 * writer saw no snapshot below it: a reader whose S is below that X, and which entered before, would have
 * lost its version.
 */
enum { WRITERS = 2, READERS = 2 };

struct contest {
	struct snapshot_table *table;
	_Atomic bool stop;
	/* The version that each writer's drop went up to: all older ones are gone. */
	_Alignas(64) _Atomic uint64_t dropped_below[WRITERS];
	_Atomic uint64_t lost;
	_Atomic uint64_t drops;
	_Atomic uint64_t reads;
};

struct player {
	struct contest *contest;
	unsigned number;
	pthread_t thread;
};

static void *write_and_drop(void *argument)
{
	struct player *player = argument;
	struct contest *contest = player->contest;
	uint64_t sequences[READERS + 1];
	while (!atomic_load(&contest->stop)) {
		uint64_t drawn = snapshots_next_sequence(contest->table);
		bool needed;
		if ((drawn & 1) != 0) {
			needed = snapshots_oldest(contest->table) < drawn;
		} else {
			size_t count;
			while ((count = snapshots_list(contest->table, sequences, READERS + 1)) == SIZE_MAX)
				;
			needed = count > 0 && sequences[0] < drawn;
		}
		if (!needed) {
			atomic_store(&contest->dropped_below[player->number], drawn);
			atomic_fetch_add(&contest->drops, 1);
		}
	}
	return NULL;
}

static void *take_snapshots(void *argument)
{
	struct player *player = argument;
	struct contest *contest = player->contest;
	while (!atomic_load(&contest->stop)) {
		uint64_t sequence;
		uint32_t slot = snapshots_enter(contest->table, &sequence);
		/* From here on nobody may drop what lies at or below `sequence` for something newer. */
		for (unsigned look = 0; look < 20; look++) {
			for (unsigned w = 0; w < WRITERS; w++) {
				if (atomic_load(&contest->dropped_below[w]) > sequence)
					atomic_fetch_add(&contest->lost, 1);
			}
		}
		snapshots_leave(contest->table, slot);
		atomic_fetch_add(&contest->reads, 1);
		if ((sequence & 7) == 0)
			sched_yield();
	}
	return NULL;
}

static void test_no_dropper_misses_a_snapshot(void **state)
{
	(void)state;
	struct contest *contest = aligned_alloc(64, (sizeof(*contest) + 63) / 64 * 64);
	memset(contest, 0, sizeof(*contest));
	contest->table = table_create(0);
	struct player players[WRITERS + READERS];
	for (unsigned i = 0; i < WRITERS + READERS; i++) {
		bool writes = i < WRITERS;
		players[i] = (struct player) { .contest = contest, .number = writes ? i : i - WRITERS };
		assert_int_equal(pthread_create(&players[i].thread, NULL,
						writes ? write_and_drop : take_snapshots, &players[i]),
				 0);
	}
	clock_sleep_ns(1500000000);
	atomic_store(&contest->stop, true);
	for (unsigned i = 0; i < WRITERS + READERS; i++)
		assert_int_equal(pthread_join(players[i].thread, NULL), 0);
	assert_int_equal(atomic_load(&contest->lost), 0);
	assert_true(atomic_load(&contest->drops) > 100);
	assert_true(atomic_load(&contest->reads) > 100);
	assert_true(snapshots_oldest(contest->table) == UINT64_MAX);
	free(contest->table);
	free(contest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_before_the_first_write),
		cmocka_unit_test(test_list_is_sorted_and_counts_all),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_no_dropper_misses_a_snapshot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
