/*
 * The conformance suite of compaction policies, over every row of the registry: a tree of tables of small
 * entries is flushed into at random, picks are merged (several at a time, finishing in any order), and
 * after each step every key's versions must lie newest first on the way that a read takes.
 */
#include <string.h>

#include "components/compaction/policy.h"
#include "test.h"

enum {
	ENTRY_BYTES = 100,
	KEYS_MAX = 4096,
	KEY_SIZE = 12,
	RUNNING_MAX = 4,
	LEVEL_TABLES_MAX = 8192,
};

struct sim_entry {
	uint64_t key;
	uint64_t sequence;
	bool is_delete;
};

struct sim_table {
	uint64_t number;
	size_t count;
	struct sim_entry *entries;
	uint8_t smallest[KEY_SIZE];
	uint8_t largest[KEY_SIZE];
	bool busy;
};

struct sim_level {
	struct sim_table *tables[LEVEL_TABLES_MAX];
	size_t count;
};

struct sim_merge {
	struct policy_pick pick;
	struct sim_table *inputs[PICK_TABLES_MAX];
};

struct sim {
	const struct policy_ops *ops;
	void *options;
	struct sim_level levels[LEVELS_MAX];
	struct policy_table *view_tables;
	struct policy_view view;
	uint64_t cursor[LEVELS_MAX];
	struct sim_merge *running[RUNNING_MAX];
	size_t running_count;
	uint64_t next_number;
	uint64_t next_sequence;
	uint64_t truth[KEYS_MAX]; /* the newest sequence of each key, 0: none */
	uint64_t seen[KEYS_MAX];
	size_t memtable_entries;
	size_t table_entries;
	bool keep_versions; /* merges drop nothing, and outputs are cut between versions of one key too */
	uint64_t flushed_entries;
	uint64_t merged_entries;
	size_t level0_most;
};

/* --- building and showing the tree --- */

static void key_encode(uint64_t key, uint8_t bytes[KEY_SIZE])
{
	memcpy(bytes, "user", 4);
	for (unsigned i = 0; i < 8; i++)
		bytes[4 + i] = (uint8_t)(key >> (56 - 8 * i));
}

static struct sim *sim_create(const struct policy_ops *ops, size_t memtable_entries, size_t table_entries)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	assert_non_null(sim);
	sim->ops = ops;
	sim->options = calloc(1, ops->component.options_size + 1);
	sim->view_tables = calloc((size_t)LEVELS_MAX * LEVEL_TABLES_MAX, sizeof(*sim->view_tables));
	assert_non_null(sim->options);
	assert_non_null(sim->view_tables);
	component_default_options(&ops->component, sim->options);
	sim->memtable_entries = memtable_entries;
	sim->table_entries = table_entries;
	sim->next_sequence = 1;
	return sim;
}

static void sim_table_destroy(struct sim_table *table)
{
	free(table->entries);
	free(table);
}

static void sim_destroy(struct sim *sim)
{
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		for (size_t i = 0; i < sim->levels[l].count; i++)
			sim_table_destroy(sim->levels[l].tables[i]);
	}
	for (size_t i = 0; i < sim->running_count; i++)
		free(sim->running[i]);
	free(sim->view_tables);
	free(sim->options);
	free(sim);
}

static struct sim_table *sim_table_create(struct sim *sim, const struct sim_entry *entries, size_t count)
{
	struct sim_table *table = calloc(1, sizeof(*table));
	assert_non_null(table);
	assert_true(count > 0);
	table->number = ++sim->next_number;
	table->count = count;
	table->entries = malloc(count * sizeof(*entries));
	assert_non_null(table->entries);
	memcpy(table->entries, entries, count * sizeof(*entries));
	key_encode(entries[0].key, table->smallest);
	key_encode(entries[count - 1].key, table->largest);
	return table;
}

static void level_insert(struct sim_level *level, size_t at, struct sim_table *table)
{
	assert_true(level->count < LEVEL_TABLES_MAX);
	memmove(&level->tables[at + 1], &level->tables[at], (level->count - at) * sizeof(level->tables[0]));
	level->tables[at] = table;
	level->count++;
}

static void level_remove(struct sim_level *level, const struct sim_table *table)
{
	for (size_t i = 0; i < level->count; i++) {
		if (level->tables[i] != table)
			continue;
		level->count--;
		memmove(&level->tables[i], &level->tables[i + 1],
			(level->count - i) * sizeof(level->tables[0]));
		return;
	}
	fail_msg("table %llu is not where the pick said", (unsigned long long)table->number);
}

static const struct policy_view *sim_view(struct sim *sim)
{
	struct policy_table *next = sim->view_tables;
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		const struct sim_level *level = &sim->levels[l];
		sim->view.levels[l].tables = next;
		sim->view.levels[l].count = level->count;
		for (size_t i = 0; i < level->count; i++, next++) {
			const struct sim_table *table = level->tables[i];
			*next = (struct policy_table) { .number = table->number,
							.bytes = table->count * ENTRY_BYTES,
							.entries = table->count,
							.smallest = slice_make(table->smallest, KEY_SIZE),
							.largest = slice_make(table->largest, KEY_SIZE),
							.busy = table->busy };
			for (size_t j = 0; j < table->count; j++)
				next->deletes += table->entries[j].is_delete;
		}
	}
	sim->view.memtable_bytes = sim->memtable_entries * ENTRY_BYTES;
	sim->view.table_bytes = sim->table_entries * ENTRY_BYTES;
	return &sim->view;
}

static uint64_t sim_debt(struct sim *sim)
{
	return sim->ops->debt(sim->options, sim_view(sim));
}

/* --- flushes --- */

static int entry_order(const void *a, const void *b)
{
	const struct sim_entry *left = a;
	const struct sim_entry *right = b;
	if (left->key != right->key)
		return left->key < right->key ? -1 : 1;
	return left->sequence > right->sequence ? -1 : left->sequence < right->sequence;
}

/* Gives the entries their sequences and makes them the newest table of level 0. */
static void sim_flush(struct sim *sim, struct sim_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		entries[i].sequence = sim->next_sequence++;
		if (entries[i].key < KEYS_MAX)
			sim->truth[entries[i].key] = entries[i].sequence;
	}
	qsort(entries, count, sizeof(*entries), entry_order);
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		if (sim->keep_versions || kept == 0 || entries[kept - 1].key != entries[i].key)
			entries[kept++] = entries[i];
	}
	level_insert(&sim->levels[0], 0, sim_table_create(sim, entries, kept));
	sim->flushed_entries += kept;
	if (sim->levels[0].count > sim->level0_most)
		sim->level0_most = sim->levels[0].count;
}

/* --- merges --- */

static bool keys_overlap(const struct sim_table *a, const struct sim_table *b)
{
	return memcmp(a->smallest, b->largest, KEY_SIZE) <= 0 &&
	       memcmp(b->smallest, a->largest, KEY_SIZE) <= 0;
}

static void check_move(const struct sim *sim, const struct policy_pick *pick, const struct sim_table *table)
{
	assert_int_equal(pick->count, 1);
	assert_true(pick->inputs[0].level < pick->output_level);
	for (unsigned l = pick->inputs[0].level; l <= pick->output_level; l++) {
		for (size_t i = 0; i < sim->levels[l].count; i++) {
			const struct sim_table *other = sim->levels[l].tables[i];
			if (other != table)
				assert_false(keys_overlap(other, table));
		}
	}
}

/* Asks for a pick and marks its tables; false: nothing is due. */
static bool sim_start(struct sim *sim)
{
	assert_true(sim->running_count < RUNNING_MAX);
	struct sim_merge *merge = malloc(sizeof(*merge));
	assert_non_null(merge);
	memset(&merge->pick, 0xa5, sizeof(merge->pick));
	struct policy_pick *pick = &merge->pick;
	if (!sim->ops->pick(sim->options, sim_view(sim), sim->cursor, pick)) {
		free(merge);
		return false;
	}
	assert_in_range(pick->count, 1, PICK_TABLES_MAX);
	assert_in_range(pick->output_level, 1, LEVELS_MAX - 1);
	assert_true(pick->input_level <= pick->output_level);
	bool from_input_level = false;
	for (size_t i = 0; i < pick->count; i++) {
		unsigned l = pick->inputs[i].level;
		assert_true(l <= pick->output_level);
		assert_true(pick->inputs[i].index < sim->levels[l].count);
		from_input_level |= l == pick->input_level;
		merge->inputs[i] = sim->levels[l].tables[pick->inputs[i].index];
		/* Also catches a table that is picked twice. */
		assert_false(merge->inputs[i]->busy);
		merge->inputs[i]->busy = true;
	}
	assert_true(from_input_level);
	if (pick->move_only)
		check_move(sim, pick, merge->inputs[0]);
	sim->running[sim->running_count++] = merge;
	return true;
}

/* A sorted level takes the table; its neighbours must lie clear of it. */
static void level_insert_sorted(struct sim *sim, unsigned l, struct sim_table *table)
{
	struct sim_level *level = &sim->levels[l];
	size_t at = 0;
	while (at < level->count && entry_order(&level->tables[at]->entries[0], &table->entries[0]) < 0)
		at++;
	level_insert(level, at, table);
	for (size_t i = at > 0 ? at - 1 : 0; i < at + 1 && i + 1 < level->count; i++) {
		const struct sim_table *left = level->tables[i];
		const struct sim_table *right = level->tables[i + 1];
		assert_true(entry_order(&left->entries[left->count - 1], &right->entries[0]) < 0);
		if (!sim->keep_versions)
			assert_true(left->entries[left->count - 1].key < right->entries[0].key);
	}
}

/* The bytes of tables of the level that lie wholly before `key`. */
static uint64_t bytes_before(const struct sim_level *level, uint64_t key)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < level->count; i++) {
		const struct sim_table *table = level->tables[i];
		if (table->entries[table->count - 1].key < key)
			bytes += table->count * ENTRY_BYTES;
	}
	return bytes;
}

static void install_outputs(struct sim *sim, const struct policy_pick *pick, const struct sim_entry *entries,
			    size_t count)
{
	size_t from = 0;
	uint64_t before = 0;
	bool limited = pick->overlap_bytes_max > 0 && pick->output_level + 1 < LEVELS_MAX;
	const struct sim_level *below = limited ? &sim->levels[pick->output_level + 1] : NULL;
	if (limited && count > 0)
		before = bytes_before(below, entries[0].key);
	for (size_t i = 1; i <= count; i++) {
		bool cut = i == count || i - from >= sim->table_entries;
		bool same_key = i < count && entries[i].key == entries[i - 1].key;
		if (!cut && limited && !same_key)
			cut = bytes_before(below, entries[i].key) - before > pick->overlap_bytes_max;
		if (!cut || (same_key && !sim->keep_versions))
			continue;
		level_insert_sorted(sim, pick->output_level, sim_table_create(sim, &entries[from], i - from));
		from = i;
		if (limited && i < count)
			before = bytes_before(below, entries[i].key);
	}
}

static void sim_finish(struct sim *sim, size_t which)
{
	struct sim_merge *merge = sim->running[which];
	const struct policy_pick *pick = &merge->pick;
	sim->running[which] = sim->running[--sim->running_count];
	size_t total = 0;
	for (size_t i = 0; i < pick->count; i++) {
		level_remove(&sim->levels[pick->inputs[i].level], merge->inputs[i]);
		total += merge->inputs[i]->count;
	}
	if (pick->move_only) {
		merge->inputs[0]->busy = false;
		level_insert_sorted(sim, pick->output_level, merge->inputs[0]);
		free(merge);
		return;
	}
	struct sim_entry *entries = malloc(total * sizeof(*entries));
	assert_non_null(entries);
	size_t count = 0;
	for (size_t i = 0; i < pick->count; i++) {
		const struct sim_table *table = merge->inputs[i];
		memcpy(&entries[count], table->entries, table->count * sizeof(*entries));
		count += table->count;
		sim_table_destroy(merge->inputs[i]);
	}
	qsort(entries, count, sizeof(*entries), entry_order);
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		if (!sim->keep_versions && kept > 0 && entries[kept - 1].key == entries[i].key)
			continue;
		entries[kept++] = entries[i];
	}
	sim->merged_entries += kept;
	install_outputs(sim, pick, entries, kept);
	free(entries);
	free(merge);
}

/* Merges until nothing is due. */
static void sim_settle(struct sim *sim)
{
	for (unsigned merges = 0;; merges++) {
		assert_true(merges < 100000);
		while (sim->running_count > 0)
			sim_finish(sim, 0);
		if (!sim_start(sim))
			break;
	}
	assert_int_equal(sim_debt(sim), 0);
}

/* On the way of a read every key's versions must come newest first, the truth first of all. */
static void sim_check(struct sim *sim)
{
	memset(sim->seen, 0, sizeof(sim->seen));
	size_t found = 0;
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		for (size_t i = 0; i < sim->levels[l].count; i++) {
			const struct sim_table *table = sim->levels[l].tables[i];
			for (size_t j = 0; j < table->count; j++) {
				const struct sim_entry *entry = &table->entries[j];
				uint64_t *seen = &sim->seen[entry->key];
				if (*seen == 0) {
					assert_int_equal(entry->sequence, sim->truth[entry->key]);
					found++;
				} else {
					assert_true(entry->sequence < *seen);
				}
				*seen = entry->sequence;
			}
		}
	}
	for (size_t key = 0; key < KEYS_MAX; key++)
		found -= sim->truth[key] != 0;
	assert_int_equal(found, 0);
}

/* --- the suite --- */

static const struct policy_ops *ops_of(const struct component *component)
{
	return (const struct policy_ops *)component;
}

/* Runs a test over every row; the row's name comes with a failure's message. */
static void each_policy(void (*test)(const struct policy_ops *ops, uint64_t seed), uint64_t seed)
{
	const struct component *const *row = component_list(COMPONENT_COMPACTION);
	for (; *row != NULL; row++) {
		print_message("%s, seed %llu\n", (*row)->name, (unsigned long long)seed);
		test(ops_of(*row), seed);
	}
}

static void random_options(struct sim *sim, struct random *random)
{
	for (const struct option *option = sim->ops->component.options;
	     option != NULL && option->name != NULL; option++) {
		double most = option->maximum < 2 * option->default_value ? option->maximum
									  : 2 * option->default_value;
		if (random_below(random, 2) == 0)
			continue;
		double value = option->minimum +
			       (double)random_below(random, (uint64_t)(most - option->minimum) + 1);
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

static void test_random_trees(void **state)
{
	(void)state;
	uint64_t seed = test_seed(1);
	for (uint64_t i = 0; i < 60; i++)
		each_policy(run_random_tree, seed + i);
}

/* One step of merging after each flush: level 0 must not grow for ever, and in the end nothing is owed. */
static void run_steady_load(const struct policy_ops *ops, uint64_t seed)
{
	struct random random = random_stream(seed);
	struct sim *sim = sim_create(ops, 200, 50);
	struct sim_entry entries[200];
	uint32_t slow;
	uint32_t stop;
	ops->level0_limits(sim->options, &slow, &stop);
	for (unsigned flush = 0; flush < 120; flush++) {
		for (size_t i = 0; i < 200; i++)
			entries[i] = (struct sim_entry) { .key = random_below(&random, KEYS_MAX) };
		sim_flush(sim, entries, 200);
		for (unsigned merge = 0; merge < 4 && sim_start(sim); merge++)
			sim_finish(sim, 0);
		assert_true(sim->levels[0].count < stop);
	}
	sim_settle(sim);
	sim_check(sim);
	assert_true(sim->levels[0].count < slow);
	sim_destroy(sim);
}

static void test_steady_load(void **state)
{
	(void)state;
	each_policy(run_steady_load, test_seed(2));
}

static void run_no_merge_needed(const struct policy_ops *ops, uint64_t seed)
{
	(void)seed;
	struct sim *sim = sim_create(ops, 16, 16);
	assert_false(sim_start(sim));
	assert_int_equal(sim_debt(sim), 0);
	sim_destroy(sim);
}

static void test_empty_tree(void **state)
{
	(void)state;
	each_policy(run_no_merge_needed, 0);
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
	each_policy(run_all_busy, test_seed(3));
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
	each_policy(run_gap, test_seed(10));
}

/* Far more tables than one pick may have: picks stay within bounds, and the tree still converges. */
static void run_many_tables(const struct policy_ops *ops, uint64_t seed)
{
	struct random random = random_stream(seed);
	struct sim *sim = sim_create(ops, 2000, 2);
	struct sim_entry *entries = calloc(2000, sizeof(*entries));
	assert_non_null(entries);
	for (unsigned flush = 0; flush < 10; flush++) {
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
	each_policy(run_many_tables, test_seed(4));
}

/* As after a long time without merges: more tables in level 0 than a pick may have. */
static void run_crowded_level0(const struct policy_ops *ops, uint64_t seed)
{
	struct random random = random_stream(seed);
	struct sim *sim = sim_create(ops, 32, 2);
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
	each_policy(run_crowded_level0, test_seed(11));
}

static void run_limits(const struct policy_ops *ops, uint64_t seed)
{
	struct random random = random_stream(seed);
	for (unsigned i = 0; i < 200; i++) {
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
	each_policy(run_limits, test_seed(5));
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
	return cmocka_run_group_tests(tests, NULL, NULL);
}
