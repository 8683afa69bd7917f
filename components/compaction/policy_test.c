/*
 * The conformance suite of compaction policies, over every row of the registry: a tree of tables of small
 * entries is flushed into at random, picks are merged (several at a time, finishing in any order), and
 * after each step every key's versions must lie newest first on the way that a read takes.
 */
#include <string.h>

#include "base/sanitizer.h"
#include "components/component_test.h"

#define SIM_CHECK(expression) assert_true(expression)
#include "components/compaction/policy_sim_test.h"

/* --- the suite --- */

static const struct policy_ops *ops_of(const struct component *component)
{
	return (const struct policy_ops *)(const void *)component;
}

typedef void policy_test(const struct policy_ops *ops, uint64_t seed);

static policy_test *running;

static void run_policy(const struct component *component, uint64_t seed)
{
	running(ops_of(component), seed);
}

static void each_policy(policy_test *test, uint64_t seed)
{
	running = test;
	component_test_each(COMPONENT_COMPACTION, run_policy, seed);
}

/* Some options stay, some are near their defaults, some at an end. */
static void random_options(struct sim *sim, struct random *random)
{
	for (size_t i = 0; i < component_test_option_count(&sim->ops->component); i++) {
		const struct option *option = &sim->ops->component.options[i];
		double most = option->maximum < 2 * option->default_value ? option->maximum
									  : 2 * option->default_value;
		uint64_t dice = random_below(random, 8);
		if (dice < 4)
			continue;
		double value = option->minimum +
			       (double)random_below(random, (uint64_t)(most - option->minimum) + 1);
		if (dice == 4)
			value = random_below(random, 2) == 0 ? option->minimum : option->maximum;
		assert_ok(component_set_option(&sim->ops->component, sim->options, option->name, value));
	}
}

static void random_flush(struct sim *sim, struct random *random, size_t keys)
{
	struct sim_entry entries[64];
	size_t count = 1 + (size_t)random_below(random, sim->memtable_entries);
	/* Some flushes cover all keys, some a corner, so that tables of level 0 overlap in part. */
	size_t span = random_below(random, 2) == 0 ? keys : 1 + (size_t)random_below(random, keys);
	size_t first = (size_t)random_below(random, keys - span + 1);
	for (size_t i = 0; i < count; i++)
		entries[i] = (struct sim_entry) { .key = first + random_below(random, span),
						  .is_delete = random_below(random, 8) == 0 };
	sim_flush(sim, entries, count);
}

/* As if the database had been opened with other options: no merge is under way, the tree is as it was. */
static void sim_reopen(struct sim *sim, struct random *random)
{
	while (sim->running_count > 0)
		sim_finish(sim, 0);
	sim->memtable_entries = 8 + (size_t)random_below(random, 56);
	sim->table_entries = 4 + (size_t)random_below(random, 60);
	random_options(sim, random);
}

static void run_random_tree(const struct policy_ops *ops, uint64_t seed)
{
	struct random random = random_stream(seed);
	struct sim *sim =
		sim_create(ops, 8 + (size_t)random_below(&random, 56), 4 + (size_t)random_below(&random, 60));
	size_t keys = 16 + (size_t)random_below(&random, KEYS_MAX - 16);
	sim->keep_versions = random_below(&random, 2) == 0;
	/* From tables of a few bytes to as many as 64 bits can add up. */
	sim->entry_bytes = (const uint64_t[]) { 100, 1, 3000, 1ull << 40 }[random_below(&random, 4)];
	random_options(sim, &random);
	for (unsigned step = 0; step < 400; step++) {
		uint64_t dice = random_below(&random, 100);
		if (dice < 35)
			random_flush(sim, &random, keys);
		else if (dice < 70 && sim->running_count < RUNNING_MAX)
			(void)sim_start(sim);
		else if (sim->running_count > 0)
			sim_finish(sim, (size_t)random_below(&random, sim->running_count));
		if (dice == 99)
			sim_reopen(sim, &random);
		sim_check(sim);
	}
	sim_settle(sim);
	sim_check(sim);
	sim_destroy(sim);
}

static void run_random_trees(const struct policy_ops *ops, uint64_t seed)
{
	enum { TREES = SANITIZED ? 3 : 12 };
	for (uint64_t i = 0; i < TREES; i++)
		run_random_tree(ops, seed * TREES + i);
}

static void test_random_trees(void **state)
{
	(void)state;
	each_policy(run_random_trees, 1);
}

/*
 * A few steps of merging after each flush: level 0 does not grow for ever, no table of it is left behind, the
 * work for each byte is bounded, and in the end nothing is owed.
 */
static void run_steady_load(const struct policy_ops *ops, uint64_t seed)
{
	enum { FLUSHES = 120, ENTRIES = 200, AMPLIFICATION_MAX = 60 };
	struct random random = random_stream(seed);
	struct sim *sim = sim_create(ops, ENTRIES, 50);
	struct sim_entry entries[ENTRIES];
	uint32_t slow;
	uint32_t stop;
	ops->level0_limits(sim->options, &slow, &stop);
	for (unsigned flush = 0; flush < FLUSHES; flush++) {
		for (size_t i = 0; i < ENTRIES; i++)
			entries[i] = (struct sim_entry) { .key = random_below(&random, KEYS_MAX) };
		sim_flush(sim, entries, ENTRIES);
		for (unsigned merge = 0; merge < 4 && sim_start(sim); merge++)
			sim_finish(sim, 0);
		assert_true(sim->levels[0].count < stop);
		for (size_t i = 0; i < sim->levels[0].count; i++)
			assert_true(sim->levels[0].tables[i]->born + 2 * stop > sim->flushes);
	}
	sim_settle(sim);
	sim_check(sim);
	assert_true(sim->levels[0].count < slow);
	assert_true(sim->merged_entries < AMPLIFICATION_MAX * sim->flushed_entries);
	sim_destroy(sim);
}

static void test_steady_load(void **state)
{
	(void)state;
	each_policy(run_steady_load, 2);
}

static void run_no_merge_needed(const struct component *component)
{
	struct sim *sim = sim_create(ops_of(component), 16, 16);
	assert_false(sim_start(sim));
	assert_int_equal(sim_debt(sim), 0);
	sim_destroy(sim);
}

static void test_empty_tree(void **state)
{
	(void)state;
	component_test_once(COMPONENT_COMPACTION, run_no_merge_needed);
}

/* What a merge under way holds is out of reach, however much is due. */
static void run_all_busy(const struct policy_ops *ops, uint64_t seed)
{
	struct random random = random_stream(seed);
	struct sim *sim = sim_create(ops, 32, 8);
	for (unsigned i = 0; i < 100; i++)
		random_flush(sim, &random, 500);
	for (unsigned i = 0; i < 3 && sim_start(sim); i++)
		sim_finish(sim, 0);
	for (unsigned i = 0; i < 50; i++)
		random_flush(sim, &random, 500);
	assert_true(sim_debt(sim) > 0);
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		for (size_t i = 0; i < sim->levels[l].count; i++)
			sim->levels[l].tables[i]->busy = true;
	}
	assert_false(sim_start(sim));
	assert_true(sim_debt(sim) > 0);
	sim_destroy(sim);
}

static void test_all_busy(void **state)
{
	(void)state;
	each_policy(run_all_busy, 3);
}

/*
 * A merge of tables at both ends of the key space may write a table that spans the middle. What comes into
 * the middle meanwhile must not be merged into the same level beside it.
 */
static void run_gap(const struct policy_ops *ops, uint64_t seed)
{
	struct random random = random_stream(seed);
	struct sim *sim = sim_create(ops, 8, 1000);
	while (!sim_start(sim)) {
		struct sim_entry low[4] = { { .key = 1 }, { .key = 2 }, { .key = 3 }, { .key = 4 } };
		struct sim_entry high[4] = { { .key = 91 }, { .key = 92 }, { .key = 93 }, { .key = 94 } };
		sim_flush(sim, low, 4);
		sim_flush(sim, high, 4);
	}
	for (unsigned i = 0; i < 40; i++) {
		struct sim_entry middle[2] = { { .key = 40 + random_below(&random, 5) },
					       { .key = 45 + random_below(&random, 5) } };
		sim_flush(sim, middle, 2);
		if (sim->running_count < RUNNING_MAX && sim_start(sim))
			sim_finish(sim, sim->running_count - 1);
		sim_check(sim);
	}
	sim_settle(sim);
	sim_check(sim);
	sim_destroy(sim);
}

static void test_gap(void **state)
{
	(void)state;
	each_policy(run_gap, 10);
}

/* Far more tables than one pick may have: picks stay within bounds, and the tree still converges. */
static void run_many_tables(const struct policy_ops *ops, uint64_t seed)
{
	struct random random = random_stream(seed);
	struct sim *sim = sim_create(ops, 2000, 2);
	struct sim_entry *entries = calloc(2000, sizeof(*entries));
	assert_non_null(entries);
	for (unsigned flush = 0; flush < 5; flush++) {
		for (size_t i = 0; i < 2000; i++)
			entries[i] = (struct sim_entry) { .key = random_below(&random, KEYS_MAX) };
		sim_flush(sim, entries, 2000);
		while (sim_start(sim))
			sim_finish(sim, 0);
	}
	sim_settle(sim);
	sim_check(sim);
	free(entries);
	sim_destroy(sim);
}

static void test_many_tables(void **state)
{
	(void)state;
	each_policy(run_many_tables, 4);
}

/* As after a long time without merges: more tables in level 0 than a pick may have. */
static void run_crowded_level0(const struct component *component)
{
	struct random random = random_stream(test_seed(11));
	struct sim *sim = sim_create(ops_of(component), 32, 2);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 700; i++)
			random_flush(sim, &random, KEYS_MAX);
		sim_check(sim);
		sim_settle(sim);
		sim_check(sim);
	}
	sim_destroy(sim);
}

static void test_crowded_level0(void **state)
{
	(void)state;
	component_test_once(COMPONENT_COMPACTION, run_crowded_level0);
}

static void run_limits(const struct policy_ops *ops, uint64_t seed)
{
	struct random random = random_stream(seed);
	for (unsigned i = 0; i < 40; i++) {
		struct sim *sim = sim_create(ops, 16, 16);
		uint32_t slow = 0;
		uint32_t stop = 0;
		random_options(sim, &random);
		ops->level0_limits(sim->options, &slow, &stop);
		assert_true(slow > 0);
		assert_true(stop > slow);
		/* At the stop a merge must be due, or writers would wait for ever. */
		while (sim->levels[0].count < stop)
			random_flush(sim, &random, 100);
		assert_true(sim_start(sim));
		sim_destroy(sim);
	}
}

static void test_limits(void **state)
{
	(void)state;
	each_policy(run_limits, 5);
}

/* --- what only the leveled policy promises --- */

static const struct policy_ops *leveled(void)
{
	const struct component *component = component_find(COMPONENT_COMPACTION, "leveled");
	assert_non_null(component);
	return ops_of(component);
}

static void load(struct sim *sim, struct random *random, unsigned flushes, bool ascending)
{
	static uint64_t next;
	struct sim_entry entries[256];
	assert_true(sim->memtable_entries <= 256);
	for (unsigned flush = 0; flush < flushes; flush++) {
		for (size_t i = 0; i < sim->memtable_entries; i++)
			entries[i] =
				(struct sim_entry) { .key = KEYS_MAX +
							    (ascending ? next++ : random_next(random) >> 8) };
		sim_flush(sim, entries, sim->memtable_entries);
		sim_settle(sim);
	}
}

static size_t level_entries(const struct sim *sim, unsigned l)
{
	size_t count = 0;
	for (size_t i = 0; i < sim->levels[l].count; i++)
		count += sim->levels[l].tables[i]->count;
	return count;
}

static void test_leveled_small_tree_has_one_level(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(6));
	struct sim *sim = sim_create(leveled(), 200, 50);
	load(sim, &random, 14, false);
	for (unsigned l = 1; l < LEVELS_MAX - 1; l++)
		assert_int_equal(sim->levels[l].count, 0);
	assert_true(sim->levels[LEVELS_MAX - 1].count > 0);
	sim_destroy(sim);
}

/* Levels open one after the other, and stay within their share. */
static void test_leveled_levels_open(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(7));
	struct sim *sim = sim_create(leveled(), 100, 25);
	load(sim, &random, 120, false);
	size_t last = level_entries(sim, LEVELS_MAX - 1);
	size_t above = level_entries(sim, LEVELS_MAX - 2);
	assert_true(above > 0);
	assert_true(above <= last / 5);
	/* Random keys: about 8 at 80 memtables. Twice that is a policy that has lost its way. */
	double amplification = (double)sim->merged_entries / (double)sim->flushed_entries + 1;
	assert_true(amplification < 9);
	sim_destroy(sim);
}

/* Ascending keys overlap nothing: tables move and are never rewritten. */
static void test_leveled_ascending_load_moves(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(8));
	struct sim *sim = sim_create(leveled(), 200, 200);
	load(sim, &random, 60, true);
	assert_int_equal(sim->merged_entries, 0);
	assert_true(sim->levels[0].count < 4);
	sim_destroy(sim);
}

/* Flushes of a few ascending keys must not leave a table each for ever. */
static void test_leveled_small_tables_gather(void **state)
{
	(void)state;
	struct sim *sim = sim_create(leveled(), 200, 200);
	for (uint64_t flush = 0; flush < 2000; flush++) {
		struct sim_entry entries[2] = { { .key = KEYS_MAX + 2 * flush },
						{ .key = KEYS_MAX + 2 * flush + 1 } };
		sim_flush(sim, entries, 2);
		sim_settle(sim);
	}
	size_t tables = 0;
	for (unsigned l = 1; l < LEVELS_MAX; l++)
		tables += sim->levels[l].count;
	assert_true(tables <= 4000 / 50 + 8);
	double amplification = (double)sim->merged_entries / (double)sim->flushed_entries + 1;
	assert_true(amplification < 10);
	sim_destroy(sim);
}

/* A tree that deletes have made small gives its upper levels up again. */
static void test_leveled_levels_close(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(9));
	struct sim *sim = sim_create(leveled(), 100, 25);
	load(sim, &random, 60, false);
	assert_true(sim->levels[LEVELS_MAX - 2].count > 0);
	/* As if merges had dropped nearly all of it. */
	struct sim_level *last = &sim->levels[LEVELS_MAX - 1];
	while (last->count > 8) {
		struct sim_table *table = last->tables[last->count - 1];
		level_remove(last, table);
		sim_table_destroy(table);
	}
	struct sim_level *upper = &sim->levels[LEVELS_MAX - 2];
	while (upper->count > 4) {
		struct sim_table *table = upper->tables[upper->count - 1];
		level_remove(upper, table);
		sim_table_destroy(table);
	}
	sim_settle(sim);
	assert_int_equal(upper->count, 0);
	sim_destroy(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_tree),
		cmocka_unit_test(test_random_trees),
		cmocka_unit_test(test_steady_load),
		cmocka_unit_test(test_all_busy),
		cmocka_unit_test(test_gap),
		cmocka_unit_test(test_many_tables),
		cmocka_unit_test(test_crowded_level0),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_leveled_small_tree_has_one_level),
		cmocka_unit_test(test_leveled_levels_open),
		cmocka_unit_test(test_leveled_ascending_load_moves),
		cmocka_unit_test(test_leveled_small_tables_gather),
		cmocka_unit_test(test_leveled_levels_close),
	};
	return cmocka_run_group_tests(tests, component_test_setup, NULL);
}
