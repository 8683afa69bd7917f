/*
 * single_fault_test.c: one request fails, or one allocation, wherever there is one: the n-th, for each n and
 * each kind of failure, once or for good (sim/sweep.h). What a run of a build's tests has time for is every
 * so many n, from where the seed says; with CASCADE_TEST_LONG set every n. A case by itself, and every case
 * of a history:
 *
 *     build/release/single_fault_test create-power write-error 17 lasting
 *     build/release/single_fault_test recover-process
 *
 * Takes about 20 s.
 */
#include "test.h"

#include <string.h>

#include "base/sanitizer.h"
#include "sim/sweep.h"

#define SEED 20250701

#ifdef __OPTIMIZE__
#define OPTIMIZED 1
#else
#define OPTIMIZED 0
#endif

enum {
	ONE_IN = SANITIZED ? 60 : 12,
	ONE_IN_LASTING = SANITIZED ? 120 : 30,
	/* Of a long run: all, in a build that is made for it. */
	LONG_ONE_IN = SANITIZED	  ? 8
		      : OPTIMIZED ? 1
				  : 3,
	LONG_ONE_IN_LASTING = SANITIZED	  ? 20
			      : OPTIMIZED ? 1
					  : 6,
	LEAST = SANITIZED ? 1 : 4,
	CREATION_SYNCS = SANITIZED ? 7 : 14,
};

static const char *program;

static void every_history_does_everything(void **state)
{
	(void)state;
	static const struct sweep_fault nothing = { .name = "nothing", .of_memory = true };
	for (unsigned history = 0; history < SWEEP_HISTORY_COUNT; history++) {
		struct sweep_case it = { .history = (enum sweep_history)history,
					 .fault = &nothing,
					 .n = UINT64_MAX };
		struct sweep_outcome outcome, again;
		sweep_run_case(&it, &outcome);
		assert_true(outcome.flushes >= 3);
		assert_true(outcome.merges >= 1);
		assert_true(outcome.laps >= 1);
		bool recovers = history == SWEEP_RECOVER_POWER || history == SWEEP_RECOVER_PROCESS;
		assert_int_equal(outcome.replayed > 5, recovers);
		sweep_run_case(&it, &again);
		assert_int_equal(outcome.trace, again.trace);
	}
}

/* What a creation writes is tried again, by the next open: each of its syncs fails in each way. */
static void creations_are_tried_again(void **state)
{
	(void)state;
	unsigned runs = 0;
	for (const struct sweep_fault *fault = sweep_faults; fault->name != NULL; fault++) {
		if (strncmp(fault->name, "sync-", 5) != 0)
			continue;
		for (uint64_t n = 1; n <= CREATION_SYNCS; n++, runs++) {
			struct sweep_case it = { .history = SWEEP_CREATE_POWER, .fault = fault, .n = n };
			struct sweep_outcome outcome;
			sweep_run_case(&it, &outcome);
			assert_int_equal(outcome.fired, 1);
		}
	}
	assert_true(runs > 0);
}

static void whatever_fails_is_survived(void **state)
{
	(void)state;
	bool is_long = getenv("CASCADE_TEST_LONG") != NULL;
	struct sweep sweep = { .program = program,
			       .seed = test_seed(SEED),
			       .least = LEAST,
			       .one_in = is_long ? LONG_ONE_IN : ONE_IN,
			       .one_in_lasting = is_long ? LONG_ONE_IN_LASTING : ONE_IN_LASTING };
	assert_int_equal(sweep_run(&sweep), 0);
}

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_history_does_everything),
		cmocka_unit_test(creations_are_tried_again),
		cmocka_unit_test(whatever_fails_is_survived),
	};
	program = arguments[0];
	if (count > 1)
		return sweep_reproduce(program, count - 1, arguments + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
