/*
 * cascade_sim_test.c: a bounded part of the simulation for every build, and that it is repeatable. (About
 * half a minute optimised; sanitizer builds run fewer seeds.) More: make sim.
 */
#include "test.h"

#include "base/random.h"
#include "base/sanitizer.h"
#include "sim/campaign.h"
#include "sim/seed.h"

enum { SEEDS = SANITIZED ? 8 : 60, REPEATED = SANITIZED ? 1 : 6, TOLD = 20 };

#define SEED	  1
#define HASH_FILE "cascade_sim_test.hash"

static void every_image_recovers(void **state)
{
	(void)state;
	struct campaign campaign = { .program = "cascade-sim", .from = test_seed(SEED), .seeds = SEEDS };
	struct tally tally;
	assert_int_equal(campaign_run(&campaign, &tally), 0);
	assert_int_equal(tally.seeds, SEEDS);
	assert_true(tally.images_power > 2 * SEEDS);
	assert_true(tally.images_process > SEEDS);
	assert_true(tally.images_again > 0);
	assert_true(tally.events[TALLY_FLUSHES] > 10 * SEEDS);
	assert_true(tally.events[TALLY_MERGES] > SEEDS);
	assert_true(tally.events[TALLY_LAPS] > SEEDS);
	assert_true(tally.events[TALLY_LIVES] > SEEDS);
	assert_true(tally.events[TALLY_DAMAGED] > 0);
}

static void the_same_seed_is_the_same_run(void **state)
{
	(void)state;
	for (uint64_t seed = test_seed(SEED); seed < test_seed(SEED) + REPEATED; seed++) {
		struct plan_limits limits = { .operations = 400 };
		struct tally first = { 0 };
		struct tally second = { 0 };
		uint64_t trace = run_seed(seed, &limits, &first);
		assert_int_equal(run_seed(seed, &limits, &second), trace);
		assert_memory_equal(&first, &second, sizeof(first));
	}
}

/* What a seed stands for must not depend on the compiler: scripts/test.sh compares what the builds have left.
 */
static void the_hash_is_told(void **state)
{
	(void)state;
	uint64_t hash = 0;
	struct tally tally = { 0 };
	for (uint64_t seed = 1; seed <= TOLD; seed++)
		hash = random_mix(hash ^ run_seed(seed, &(struct plan_limits) { .operations = 300 }, &tally));
	FILE *file = fopen(HASH_FILE, "w");
	assert_non_null(file);
	assert_true(fprintf(file, "seeds 1 to %d: %016llx\n", TOLD, (unsigned long long)hash) > 0);
	assert_int_equal(fclose(file), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_image_recovers),
		cmocka_unit_test(the_same_seed_is_the_same_run),
		cmocka_unit_test(the_hash_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
