/*
 * The simulated tree of the kind `compaction`: policies whose cost can be worked out by hand, the textbook's
 * and every registered one under every load, and policies that would lose data. About two seconds.
 */
#include <math.h>
#include <string.h>

#include "harness/bench/bench_compaction.h"
#include "harness/bench/bench_compaction_tree.h"
#include "test.h"

enum { MEMTABLES = 12, MEMTABLE_ENTRIES = 500, ENTRY_BYTES = 1000 };

static const enum compaction_load loads[] = { COMPACTION_FILL, COMPACTION_ASCENDING, COMPACTION_UNIFORM,
					      COMPACTION_ZIPFIAN };

static struct compaction_job job_of(enum compaction_load load, uint64_t memtables, uint64_t seed)
{
	return (struct compaction_job) {
		.load = load,
		.memtables = memtables,
		.memtable_entries = MEMTABLE_ENTRIES,
		.table_entries = MEMTABLE_ENTRIES,
		.entry_bytes = ENTRY_BYTES,
		.gets = 2000,
		.seed = seed,
	};
}

static void assert_near(double got, double expected, double within)
{
	if (!(fabs(got - expected) <= within))
		fail_msg("%.9g, expected %.9g within %g", got, expected, within);
}

/* --- policies to work out by hand --- */

static bool pick_nothing(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
			 struct policy_pick *pick)
{
	(void)options;
	(void)view;
	(void)cursor;
	(void)pick;
	return false;
}

static void pick_add(struct policy_pick *pick, unsigned level, size_t index)
{
	pick->inputs[pick->count].level = level;
	pick->inputs[pick->count++].index = index;
}

/* All of level 0 and all of level 1 into level 1, whenever there is anything in level 0. */
static bool pick_all(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
		     struct policy_pick *pick)
{
	(void)options;
	(void)cursor;
	if (view->levels[0].count == 0)
		return false;
	*pick = (struct policy_pick) { .output_level = 1 };
	for (unsigned level = 0; level < 2; level++) {
		/* In an order that helps nobody. */
		for (size_t i = view->levels[level].count; i-- > 0;)
			pick_add(pick, level, i);
	}
	return true;
}

static struct policy_ops policy_of(bool (*pick)(const void *, const struct policy_view *, uint64_t *,
						struct policy_pick *))
{
	return (struct policy_ops) { .component = { .name = "by hand", .abi = COMPONENT_ABI }, .pick = pick };
}

static void test_without_merges(void **state)
{
	(void)state;
	const struct policy_ops never = policy_of(pick_nothing);
	struct compaction_numbers numbers;
	struct compaction_job job = job_of(COMPACTION_FILL, MEMTABLES, test_seed(1));
	assert_ok(compaction_simulate(&never, NULL, &job, &numbers));
	assert_near(numbers.write_amplification, 1, 0);
	assert_near(numbers.space_amplification, 1, 0);
	assert_near(numbers.space_most, 1, 0);
	assert_near(numbers.runs_most, MEMTABLES, 0);
	assert_near(numbers.largest_merge_bytes, 0, 0);
	/* With n tables a get of a present key asks (n + 1) / 2 of them; n goes from 1 to MEMTABLES. */
	assert_near(numbers.read_amplification, (MEMTABLES + 3) / 4.0, 0.3);
	/* In the order of keys no two tables have the same range, and each get asks one. */
	job = job_of(COMPACTION_ASCENDING, MEMTABLES, test_seed(1));
	assert_ok(compaction_simulate(&never, NULL, &job, &numbers));
	assert_near(numbers.read_amplification, 1, 0);
	/* Outdated versions stay: keys are put three times, and a memtable holds each but once. */
	job = job_of(COMPACTION_UNIFORM, MEMTABLES, test_seed(1));
	assert_ok(compaction_simulate(&never, NULL, &job, &numbers));
	assert_near(numbers.space_most, 3, 0.15);
	assert_near(numbers.space_amplification, 2, 0.15);
	assert_near(numbers.write_amplification, 1, 0.06);
}

static void test_one_run(void **state)
{
	(void)state;
	const struct policy_ops always = policy_of(pick_all);
	struct compaction_numbers numbers;
	struct compaction_job job = job_of(COMPACTION_FILL, MEMTABLES, test_seed(2));
	assert_ok(compaction_simulate(&always, NULL, &job, &numbers));
	/* Memtable i is flushed, and then i memtables are written: 1 + (M + 1) / 2. */
	assert_near(numbers.write_amplification, 1 + (MEMTABLES + 1) / 2.0, 1e-9);
	assert_near(numbers.read_amplification, 1, 0);
	assert_near(numbers.space_amplification, 1, 1e-9);
	/* The last merge has everything twice. */
	assert_near(numbers.space_most, 2, 1e-9);
	assert_near(numbers.largest_merge_bytes, MEMTABLES * MEMTABLE_ENTRIES * ENTRY_BYTES, 0);
	assert_near(numbers.runs_most, 2, 0);
	job = job_of(COMPACTION_UNIFORM, MEMTABLES, test_seed(2));
	assert_ok(compaction_simulate(&always, NULL, &job, &numbers));
	/* Each flush rewrites the tree, and nothing outdated is left. */
	assert_near(numbers.write_amplification, 1 + MEMTABLES, 0.1);
	assert_near(numbers.space_amplification, 1, 0);
}

/* --- policies to be used --- */

static void check_policy(const struct policy_ops *ops, const void *options)
{
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
		struct compaction_numbers numbers, again;
		struct compaction_job job = job_of(loads[i], 100, test_seed(3));
		assert_ok(compaction_simulate(ops, options, &job, &numbers));
		assert_ok(compaction_simulate(ops, options, &job, &again));
		/* All but time is a function of the seed. */
		numbers.pick_ns = again.pick_ns = 0;
		assert_memory_equal(&numbers, &again, sizeof(numbers));
		assert_true(numbers.write_amplification >= 0.9);
		assert_true(numbers.write_amplification < 30);
		assert_true(numbers.read_amplification >= 1);
		assert_true(numbers.space_amplification >= 1);
		assert_true(numbers.space_most >= numbers.space_amplification);
		print_message("%s, load %zu: writes %.2f, reads %.2f, space %.2f\n", ops->component.name, i,
			      numbers.write_amplification, numbers.read_amplification,
			      numbers.space_amplification);
	}
}

static void test_policies(void **state)
{
	(void)state;
	check_policy(&bench_compaction_plain, NULL);
	for (const struct component *const *row = component_list(COMPONENT_COMPACTION); *row != NULL; row++) {
		uint8_t options[COMPONENT_OPTIONS_SIZE_MAX];
		component_default_options(*row, options);
		check_policy((const struct policy_ops *)*row, options);
	}
}

/* What a textbook's policy is known for: each level ten times the one above, and nothing rewritten in order.
 */
static void test_textbook(void **state)
{
	(void)state;
	struct compaction_numbers numbers;
	struct compaction_job job = job_of(COMPACTION_ASCENDING, 200, test_seed(4));
	assert_ok(compaction_simulate(&bench_compaction_plain, NULL, &job, &numbers));
	assert_near(numbers.write_amplification, 1, 0);
	job = job_of(COMPACTION_UNIFORM, 200, test_seed(4));
	assert_ok(compaction_simulate(&bench_compaction_plain, NULL, &job, &numbers));
	assert_true(numbers.write_amplification > 5);
	assert_true(numbers.space_amplification < 1.4);
	assert_true(numbers.runs_most <= 4 + 4);
}

/* --- policies that break the contract --- */

/* The newest table of level 0 goes down below the older ones. */
static bool pick_newest(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
			struct policy_pick *pick)
{
	(void)options;
	(void)cursor;
	*pick = (struct policy_pick) { .output_level = 1 };
	if (view->levels[0].count < 2)
		return false;
	pick_add(pick, 0, 0);
	for (size_t i = 0; i < view->levels[1].count; i++)
		pick_add(pick, 1, i);
	return true;
}

static bool pick_twice(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
		       struct policy_pick *pick)
{
	(void)options;
	(void)view;
	(void)cursor;
	*pick = (struct policy_pick) { .output_level = 1 };
	pick_add(pick, 0, 0);
	pick_add(pick, 0, 0);
	return true;
}

static bool pick_absent(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
			struct policy_pick *pick)
{
	(void)options;
	(void)cursor;
	*pick = (struct policy_pick) { .output_level = 1 };
	pick_add(pick, 3, view->levels[3].count);
	return true;
}

static bool pick_upwards(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
			 struct policy_pick *pick)
{
	(void)options;
	(void)view;
	(void)cursor;
	*pick = (struct policy_pick) { .output_level = 0 };
	pick_add(pick, 0, 0);
	return true;
}

/* From level to level and back again. */
static bool pick_for_ever(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
			  struct policy_pick *pick)
{
	unsigned from = view->levels[1].count > 0 ? 1 : view->levels[2].count > 0 ? 2 : 0;
	(void)options;
	(void)cursor;
	*pick = (struct policy_pick) { .output_level = from == 1 ? 2 : 1, .move_only = true };
	pick_add(pick, from, 0);
	return true;
}

static void test_broken_policies(void **state)
{
	(void)state;
	bool (*const picks[])(const void *, const struct policy_view *, uint64_t *,
			      struct policy_pick *) = { pick_newest, pick_twice, pick_absent, pick_upwards,
							pick_for_ever };
	for (size_t i = 0; i < sizeof(picks) / sizeof(picks[0]); i++) {
		const struct policy_ops broken = policy_of(picks[i]);
		struct compaction_numbers numbers;
		struct compaction_job job = job_of(COMPACTION_UNIFORM, MEMTABLES, test_seed(5));
		assert_status(compaction_simulate(&broken, NULL, &job, &numbers), STATUS_CORRUPT);
	}
}

/* --- the tree --- */

/* Tables of a level that are not disjoint, as a tiered policy may leave them: each counts as a run. */
static bool pick_pile(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
		      struct policy_pick *pick)
{
	(void)options;
	(void)cursor;
	*pick = (struct policy_pick) { .output_level = 1, .move_only = true };
	if (view->levels[0].count == 0)
		return false;
	pick_add(pick, 0, 0);
	return true;
}

static void test_overlapping_level(void **state)
{
	(void)state;
	const struct policy_ops pile = policy_of(pick_pile);
	struct simulated_tree tree;
	unsigned met;
	uint32_t sequence;
	simulated_tree_init(&tree, &pile, NULL, ENTRY_BYTES, 2, 2);
	simulated_tree_start_counting(&tree);
	for (uint32_t i = 0; i < 4; i++) {
		const struct simulated_entry entries[] = { { i, i + 1 }, { 100 + i, i + 1 } };
		simulated_tree_flush(&tree, entries, 2, 2);
		assert_ok(simulated_tree_settle(&tree));
	}
	assert_int_equal(tree.levels[1].count, 4);
	assert_int_equal(tree.entries, 8);
	assert_int_equal(tree.counts.merged, 0);
	assert_int_equal(tree.counts.runs_most, 4);
	simulated_tree_get(&tree, 103, &met, &sequence);
	assert_int_equal(met, 1);
	assert_int_equal(sequence, 4);
	simulated_tree_get(&tree, 50, &met, &sequence);
	assert_int_equal(met, 4);
	assert_int_equal(sequence, 0);
	simulated_tree_free(&tree);
}

/* Outputs are cut where they would overlap too much of the level below. */
static bool pick_in_turn(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
			 struct policy_pick *pick)
{
	uint64_t turn = cursor[0];
	(void)options;
	if (view->levels[0].count == 0)
		return false;
	cursor[0]++;
	*pick = (struct policy_pick) { .output_level = turn == 0 ? 2 : 1,
				       .overlap_bytes_max = 2 * ENTRY_BYTES };
	pick_add(pick, 0, 0);
	return true;
}

static void test_outputs_are_cut(void **state)
{
	(void)state;
	const struct policy_ops policy = policy_of(pick_in_turn);
	struct simulated_entry entries[12];
	struct simulated_tree tree;
	simulated_tree_init(&tree, &policy, NULL, ENTRY_BYTES, 12, 4);
	for (uint32_t i = 0; i < 12; i++)
		entries[i] = (struct simulated_entry) { 10 * i, 1 };
	simulated_tree_flush(&tree, entries, 12, 12);
	assert_ok(simulated_tree_settle(&tree));
	/* Twelve entries in tables of four. */
	assert_int_equal(tree.levels[2].count, 3);
	const struct simulated_entry above[] = { { 1, 2 }, { 50, 2 }, { 115, 2 } };
	simulated_tree_flush(&tree, above, 3, 3);
	assert_ok(simulated_tree_settle(&tree));
	/* Each lies behind another table of four entries, and two is the limit. */
	assert_int_equal(tree.levels[1].count, 3);
	assert_true(tree.levels[1].disjoint);
	simulated_tree_free(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_merges),	cmocka_unit_test(test_one_run),
		cmocka_unit_test(test_policies),	cmocka_unit_test(test_textbook),
		cmocka_unit_test(test_broken_policies), cmocka_unit_test(test_overlapping_level),
		cmocka_unit_test(test_outputs_are_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
