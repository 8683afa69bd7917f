/*
 * simulated_close_test.c: a log that was closed cleanly and whose disk then lost a page or a sector: whatever
 * is missing afterwards is told, the last commit too. (Below a second.)
 */
#include "test.h"

#include <string.h>

#include "base/hash.h"
#include "io/simulated.h"
#include "runtime/runtime.h"
#include "wal/wal.h"

enum { COMMITS = 25, SEGMENT_BYTES = 32 << 10, UNIT_BYTES = 512 };

#define SEED	20250911
#define SEGMENT "/wal/wal-000000.log"

struct run {
	struct simulated_world *world;
	struct runtime *runtime;
	struct wal_options options;
	struct random random;
	uint64_t sequence;
	uint64_t truth[COMMITS]; /* checksum of the payload, by log number - 1 */
	uint64_t applied;
	uint64_t replayed;
	struct status status;
};

static uint64_t next_sequence(void *context)
{
	return ++((struct run *)context)->sequence;
}

static void apply(void *context, const struct wal_commit *commit)
{
	struct run *run = context;
	run->truth[run->applied++] = checksum64(commit->payload.data, commit->payload.size, 1);
}

static struct status replay(struct task *self, void *context, const struct wal_commit *commit)
{
	struct run *run = context;
	(void)self;
	assert_int_equal(commit->log_number, ++run->replayed);
	assert_true(run->replayed <= run->applied);
	assert_int_equal(checksum64(commit->payload.data, commit->payload.size, 1),
			 run->truth[run->replayed - 1]);
	return status_ok();
}

static void fill_and_close(struct task *self, void *argument)
{
	struct run *run = argument;
	struct wal_replay_report report;
	struct wal *wal;
	assert_ok(wal_open(self, &run->options, true, 0, &wal, &report));
	for (unsigned i = 0; i < COMMITS; i++) {
		uint8_t payload[600];
		memset(payload, (int)i + 1, sizeof(payload));
		struct slice piece = slice_make(payload, (size_t)random_below(&run->random, sizeof(payload)));
		assert_ok(wal_append(self, wal, &piece, 1, WAL_PROCESS));
	}
	assert_ok(wal_close(self, wal));
}

static void open_again(struct task *self, void *argument)
{
	struct run *run = argument;
	struct wal_replay_report report;
	struct wal *wal;
	run->replayed = 0;
	run->status = wal_open(self, &run->options, false, 0, &wal, &report);
	if (status_is_ok(run->status))
		assert_ok(wal_close(self, wal));
}

static void do_in(struct run *run, struct simulated_world *world, void (*function)(struct task *, void *))
{
	struct runtime_options options = { .shards = 1, .io_backend = "simulated", .io = { .direct = true } };
	simulated_install(world);
	assert_ok(runtime_create(&options, &run->runtime, NULL, 0));
	runtime_run(run->runtime, 0, function, run);
	runtime_destroy(run->runtime);
}

/* Zeros `size` bytes at `at` of a copy of the disk, and opens that. True: it was refused. */
static bool is_told(struct run *run, uint64_t at, size_t size)
{
	static const uint8_t zeros[4096];
	struct simulated_crash crash = { .kind = SIMULATED_POWER, .keep = SIMULATED_KEEP_ALL };
	struct simulated_world *copy = simulated_crash(run->world, &crash);
	assert_true(simulated_damage(copy, SEGMENT, at, zeros, size));
	do_in(run, copy, open_again);
	simulated_destroy(copy);
	if (status_is_ok(run->status)) {
		if (run->replayed != COMMITS)
			fail_msg(
				"seed %llu: %zu bytes at %llu are gone, and with them %llu commits, silently",
				(unsigned long long)test_seed(SEED), size, (unsigned long long)at,
				(unsigned long long)(COMMITS - run->replayed));
		return false;
	}
	assert_int_equal(run->status.code, STATUS_CORRUPT);
	return true;
}

static void what_is_lost_after_a_close_is_told(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 8; round++) {
		struct run run = { .random = random_stream(test_seed(SEED) + round) };
		run.options = (struct wal_options) {
			.directory = "/wal",
			.database_id = { 7, 8 },
			.segment_bytes = SEGMENT_BYTES,
			.segments_max = 4,
			.group_bytes = 8192,
			.wait_ns_max = 2000000000,
			.next_sequence = next_sequence,
			.apply = apply,
			.replay = replay,
			.context = &run,
		};
		run.world = simulated_create(&(struct simulated_options) { .seed = round });
		simulated_make_path(run.world, "/wal");
		do_in(&run, run.world, fill_and_close);
		assert_int_equal(run.applied, COMMITS);
		unsigned told = 0;
		for (uint64_t at = 0; at < SEGMENT_BYTES; at += 4096)
			told += is_told(&run, at, 4096);
		for (uint64_t at = 0; at < SEGMENT_BYTES; at += UNIT_BYTES)
			told += is_told(&run, at, UNIT_BYTES);
		assert_true(told > 10);
		simulated_install(NULL);
		simulated_destroy(run.world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_lost_after_a_close_is_told) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
