/*
 * linearizable_test.c: several callers at the same keys, in many orders: what each saw is explained by one
 * order of all (race.h). Some hundred schedules, in about 7 s; with CASCADE_TEST_LONG=1, which
 * `make test-long` sets, more and longer ones on all processors, with CASCADE_LONG=1 5,000, in a minute.
 * CASCADE_RACE=SEED: that one alone; CASCADE_RACE_COUNT=N: and those behind it.
 */
#include "test.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "sim/child.h"
#include "sim/race.h"

enum {
	SCHEDULES = SANITIZED ? 60 : 800,
	OPERATIONS = 120, /* of each caller */
	SCHEDULES_TEST_LONG = SANITIZED ? 300 : 2000,
	SCHEDULES_LONG = 5000,
	OPERATIONS_LONG = 200,
	REPEATED = SANITIZED ? 3 : 9,
	WORKERS_MAX = 16,
	SCHEDULE_SECONDS = 120,
};

#define SEED 1

/* What a worker leaves behind, however it ends. */
struct shared {
	struct race_counts counts;
	_Atomic uint64_t seed; /* under way */
	uint64_t trace;	       /* of all of them */
};

struct worker {
	struct child child;
	uint64_t from, count, stride;
	uint32_t operations;
	struct shared *shared;
};

static void run_worker(void *context)
{
	const struct worker *worker = context;
	struct shared *shared = worker->shared;
	struct race_limits limits = { .operations = worker->operations };
	child_alive(SCHEDULE_SECONDS);
	struct race *race = race_create(&shared->counts);
	for (uint64_t i = 0; i < worker->count; i++) {
		uint64_t seed = worker->from + i * worker->stride;
		shared->seed = seed;
		sim_failure_where("seed %" PRIu64 " with %u operations", seed, worker->operations);
		child_alive(SCHEDULE_SECONDS);
		shared->trace = random_mix(shared->trace ^ race_run(race, seed, &limits));
	}
	race_destroy(race);
}

static void start_worker(struct worker *worker)
{
	worker->shared = child_share(sizeof(*worker->shared));
	child_start(&worker->child, run_worker, worker);
}

static void wait_workers(struct worker *workers, unsigned count)
{
	const struct worker *failed = NULL;
	for (unsigned i = 0; i < count; i++)
		if (!child_wait(&workers[i].child))
			failed = &workers[i];
	if (failed != NULL)
		fail_msg("%s\nreproduce: CASCADE_RACE=%" PRIu64
			 " CASCADE_RACE_OPERATIONS=%u linearizable_test",
			 failed->child.failure, failed->shared->seed, failed->operations);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

/* --- the tests --- */

static void every_key_is_linearizable(void **state)
{
	(void)state;
	uint64_t schedules = number_of("CASCADE_LONG", 0) != 0	      ? SCHEDULES_LONG
			     : number_of("CASCADE_TEST_LONG", 0) != 0 ? SCHEDULES_TEST_LONG
								      : SCHEDULES;
	bool is_long = schedules != SCHEDULES;
	long processors = is_long ? sysconf(_SC_NPROCESSORS_ONLN) : 1;
	unsigned count = processors < 1 ? 1 : processors > WORKERS_MAX ? WORKERS_MAX : (unsigned)processors;
	struct worker workers[WORKERS_MAX];
	struct race_counts sum = { 0 };
	for (unsigned i = 0; i < count; i++) {
		workers[i] = (struct worker) { .from = test_seed(SEED) + i,
					       .count = (schedules + count - 1 - i) / count,
					       .stride = count,
					       .operations = is_long ? OPERATIONS_LONG : OPERATIONS };
		start_worker(&workers[i]);
	}
	wait_workers(workers, count);
	for (unsigned i = 0; i < count; i++)
		race_counts_add(&sum, &workers[i].shared->counts);
	race_counts_print(&sum, stdout);
	assert_int_equal(sum.schedules, schedules);
	for (unsigned policy = 0; policy < STEPPED_POLICY_COUNT; policy++)
		assert_true(sum.by_policy[policy] >= schedules / STEPPED_POLICY_COUNT);
	assert_true(sum.operations > 300 * schedules);
	assert_true(sum.overlapping > 50 * schedules);
	assert_true(sum.reads > 100 * schedules);
	assert_true(sum.writes > 20 * schedules);
	assert_true(sum.deletes > 5 * schedules);
	assert_true(sum.batches > 2 * schedules);
	assert_true(sum.snapshot_reads > 10 * schedules);
	assert_true(sum.scanned > 10 * schedules);
	assert_true(sum.states > 5 * schedules);
	assert_true(sum.record_hits > 5 * schedules);
	assert_true(sum.record_inserts > 5 * schedules);
	assert_true(sum.record_removals > schedules);
	assert_true(sum.record_evictions > schedules / 4);
	assert_true(sum.misses > 50 * schedules);
	assert_true(sum.joined > schedules / 4);
	assert_true(sum.flushes > 5 * schedules);
	assert_true(sum.merges > schedules);
	assert_true(sum.borrowed > 50 * schedules);
}

static void the_same_seed_is_the_same_schedule(void **state)
{
	(void)state;
	struct worker workers[2];
	for (unsigned i = 0; i < 2; i++) {
		workers[i] = (struct worker) {
			.from = test_seed(SEED), .count = REPEATED, .stride = 1, .operations = OPERATIONS
		};
		start_worker(&workers[i]);
	}
	wait_workers(workers, 2);
	assert_true(workers[0].shared->trace == workers[1].shared->trace);
	assert_memory_equal(&workers[0].shared->counts, &workers[1].shared->counts,
			    sizeof(struct race_counts));
}

static void the_one_that_was_asked_for(void **state)
{
	(void)state;
	struct worker worker = { .from = number_of("CASCADE_RACE", SEED),
				 .count = number_of("CASCADE_RACE_COUNT", 1),
				 .stride = 1,
				 .operations = (uint32_t)number_of("CASCADE_RACE_OPERATIONS", OPERATIONS) };
	start_worker(&worker);
	wait_workers(&worker, 1);
	race_counts_print(&worker.shared->counts, stdout);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_is_linearizable),
		cmocka_unit_test(the_same_seed_is_the_same_schedule),
	};
	const struct CMUnitTest one[] = {
		cmocka_unit_test(the_one_that_was_asked_for),
	};
	if (getenv("CASCADE_RACE") != NULL)
		return cmocka_run_group_tests(one, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
