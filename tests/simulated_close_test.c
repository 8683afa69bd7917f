/*
 * simulated_close_test.c: a log that was closed, and whose disk then lost a page or a sector: whatever is
 * missing afterwards is told, the last commit too; or one that ended because a sync had failed. (Below a
 * second.)
 */
#include "test.h"

#include <string.h>

#include "base/hash.h"
#include "io/faulty.h"
#include "io/simulated.h"
#include "runtime/runtime.h"
#include "wal/wal.h"

enum {
	COMMITS = 25,
	COMMITS_MAX = 300,
	SEGMENT_BYTES = 32 << 10,
	UNIT_BYTES = 512,
	PAGE_BYTES = 4096,
	PAYLOAD_BYTES = 600,
	/* Before the bytes of a payload of 128 to 16383 bytes that is alone in its group. */
	OVERHEAD_BYTES = 56 + 8 + 2,
};

/* Where the log ends at the close. */
enum end {
	END_MIDDLE,    /* of its segment */
	END_LAST_PAGE, /* and there is no next page */
	END_FULL,      /* and there is no room for a marker */
	END_COUNT
};

#define SEED	20250911
#define SEGMENT "/wal/wal-000000.log"

struct run {
	struct simulated_world *world;
	struct faulty *faults;
	struct runtime *runtime;
	struct wal_options options;
	struct random random;
	uint64_t sequence;
	enum end end;
	uint64_t truth[COMMITS_MAX]; /* checksum of the payload, by log number - 1 */
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

static void append(struct task *self, struct run *run, struct wal *wal, size_t size)
{
	static uint8_t payload[PAGE_BYTES];
	assert_true(size <= sizeof(payload));
	memset(payload, (int)run->applied + 1, size);
	struct slice piece = slice_make(payload, size);
	assert_ok(wal_append(self, wal, &piece, 1, WAL_PROCESS, NULL));
}

static void fill_and_close(struct task *self, void *argument)
{
	struct run *run = argument;
	struct wal_replay_report report;
	struct wal *wal;
	assert_ok(wal_open(self, &run->options, true, 0, &wal, &report));
	for (unsigned i = 0; i < COMMITS; i++)
		append(self, run, wal, (size_t)random_below(&run->random, PAYLOAD_BYTES));
	while (run->end != END_MIDDLE && wal_counters(wal)->live_bytes < SEGMENT_BYTES - PAGE_BYTES)
		append(self, run, wal, PAYLOAD_BYTES);
	if (run->end == END_FULL)
		append(self, run, wal, SEGMENT_BYTES - wal_counters(wal)->live_bytes - OVERHEAD_BYTES);
	assert_int_equal(wal_counters(wal)->live_bytes == SEGMENT_BYTES, run->end == END_FULL);
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
	struct runtime_options options = { .shards = 1, .io_backend = "faulty", .io = { .direct = true } };
	simulated_install(world);
	faulty_install(run->faults, "simulated");
	assert_ok(runtime_create(&options, &run->runtime, NULL, 0));
	runtime_run(run->runtime, 0, function, run);
	runtime_destroy(run->runtime);
}

/* Zeros `size` bytes at `at` of a copy of the disk, and opens that. True: it was refused. */
static bool is_told(struct run *run, uint64_t at, size_t size)
{
	static const uint8_t zeros[PAGE_BYTES];
	struct simulated_crash crash = { .kind = SIMULATED_POWER, .keep = SIMULATED_KEEP_ALL };
	struct simulated_world *copy = simulated_crash(run->world, &crash);
	assert_true(simulated_damage(copy, SEGMENT, at, zeros, size));
	do_in(run, copy, open_again);
	simulated_destroy(copy);
	if (status_is_ok(run->status)) {
		if (run->replayed != run->applied)
			fail_msg(
				"seed %llu: %zu bytes at %llu are gone, and with them %llu commits, silently",
				(unsigned long long)test_seed(SEED), size, (unsigned long long)at,
				(unsigned long long)(run->applied - run->replayed));
		return false;
	}
	assert_int_equal(run->status.code, STATUS_CORRUPT);
	return true;
}

static void begin(struct run *run, uint64_t seed)
{
	run->options = (struct wal_options) {
		.directory = "/wal",
		.database_id = { 7, 8 },
		.segment_bytes = SEGMENT_BYTES,
		.segments_max = 4,
		.group_bytes = 8192,
		.wait_ns_max = 2000000000,
		.next_sequence = next_sequence,
		.apply = apply,
		.replay = replay,
		.context = run,
	};
	run->world = simulated_create(&(struct simulated_options) { .seed = seed });
	run->faults = faulty_create(seed);
	simulated_make_path(run->world, "/wal");
}

static void end(struct run *run)
{
	simulated_install(NULL);
	simulated_destroy(run->world);
	faulty_destroy(run->faults);
}

static void what_is_lost_after_a_close_is_told(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 9; round++) {
		struct run run = { .random = random_stream(test_seed(SEED) + round),
				   .end = (enum end)(round % END_COUNT) };
		begin(&run, round);
		do_in(&run, run.world, fill_and_close);
		assert_true(run.applied >= COMMITS);
		unsigned told = 0;
		for (uint64_t at = 0; at < SEGMENT_BYTES; at += PAGE_BYTES)
			told += is_told(&run, at, PAGE_BYTES);
		for (uint64_t at = 0; at < SEGMENT_BYTES; at += UNIT_BYTES)
			told += is_told(&run, at, UNIT_BYTES);
		assert_true(told > 10);
		end(&run);
	}
}

/* The ring grows, and the name of the new segment cannot be made durable: that ends the log. */
static void fill_until_refused(struct task *self, void *argument)
{
	static uint8_t payload[PAYLOAD_BYTES];
	struct run *run = argument;
	struct wal_replay_report report;
	struct wal *wal;
	assert_ok(wal_open(self, &run->options, true, 0, &wal, &report));
	struct slice piece = slice_make(payload, sizeof(payload));
	do
		run->status = wal_append(self, wal, &piece, 1, WAL_PROCESS, NULL);
	while (status_is_ok(run->status) && run->applied < COMMITS_MAX);
	struct status closed = wal_close(self, wal);
	(void)closed; /* it says again what has failed */
}

static void open_and_append(struct task *self, void *argument)
{
	struct run *run = argument;
	struct wal_replay_report report;
	struct wal *wal;
	run->replayed = 0;
	assert_ok(wal_open(self, &run->options, false, 0, &wal, &report));
	static uint8_t payload[PAYLOAD_BYTES];
	struct slice piece = slice_make(payload, sizeof(payload));
	assert_ok(wal_append(self, wal, &piece, 1, WAL_POWER, NULL));
	assert_ok(wal_close(self, wal));
}

/* A later open must not rely on that segment: the failed sync may have given its name up for good. */
static void a_name_that_was_given_up_is_not_used(void **state)
{
	(void)state;
	struct run run = { .random = random_stream(test_seed(SEED)) };
	begin(&run, 1);
	struct faulty_rule rule = { .kind = FAULTY_SYNC_CLEAN_NEW,
				    .operations = FAULTY_OPERATION(IO_SYNC_DIRECTORY),
				    .nth = 3 }; /* two make the ring */
	unsigned number = faulty_add(run.faults, &rule);
	do_in(&run, run.world, fill_until_refused);
	assert_int_equal(faulty_fired(run.faults, number), 1);
	assert_true(status_is(run.status, STATUS_READ_ONLY));
	faulty_clear(run.faults);
	do_in(&run, run.world, open_and_append);
	struct simulated_crash crash = { .kind = SIMULATED_POWER, .keep = SIMULATED_KEEP_NONE };
	struct simulated_world *copy = simulated_crash(run.world, &crash);
	do_in(&run, copy, open_again);
	simulated_destroy(copy);
	assert_ok(run.status);
	assert_int_equal(run.replayed, run.applied);
	end(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_lost_after_a_close_is_told),
					    cmocka_unit_test(a_name_that_was_given_up_is_not_used) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
