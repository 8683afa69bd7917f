/*
 * policy_sim_test.h: a tree of tables of small entries for the tests of compaction policies: flushed into,
 * merged as the policy picks, several merges at a time, finished in any order. Whatever a policy must not do
 * shows as a table where it cannot be, or as a version that lies in front of a newer one on the way that a
 * read takes.
 *
 * Who includes it defines SIM_CHECK(expression) before, and, to have a smaller tree, SIM_KEYS_MAX and
 * SIM_LEVEL_TABLES_MAX.
 */
#ifndef CASCADE_COMPONENTS_COMPACTION_POLICY_SIM_TEST_H
#define CASCADE_COMPONENTS_COMPACTION_POLICY_SIM_TEST_H

#include <stdlib.h>
#include <string.h>

#include "components/compaction/policy.h"

#ifndef SIM_KEYS_MAX
#define SIM_KEYS_MAX	     4096
#define SIM_LEVEL_TABLES_MAX 8192
#endif

enum {
	KEYS_MAX = SIM_KEYS_MAX, /* keys from here on are only written, and not checked */
	LEVEL_TABLES_MAX = SIM_LEVEL_TABLES_MAX,
	KEY_SIZE = 12,
	RUNNING_MAX = 4,
	MERGES_MAX = 100000, /* until nothing is due */
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
	uint64_t born; /* how many flushes there were before its own; of merges 0 */
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
	uint64_t entry_bytes;
	uint64_t flushes;
	uint64_t flushed_entries;
	uint64_t merged_entries;
};

/* --- building and showing the tree --- */

static inline void key_encode(uint64_t key, uint8_t bytes[KEY_SIZE])
{
	memcpy(bytes, "user", 4);
	for (unsigned i = 0; i < 8; i++)
		bytes[4 + i] = (uint8_t)(key >> (56 - 8 * i));
}

static inline struct sim *sim_create(const struct policy_ops *ops, size_t memtable_entries,
				     size_t table_entries)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	SIM_CHECK(sim != NULL);
	sim->ops = ops;
	sim->options = calloc(1, ops->component.options_size + 1);
	sim->view_tables = calloc((size_t)LEVELS_MAX * LEVEL_TABLES_MAX, sizeof(*sim->view_tables));
	SIM_CHECK(sim->options != NULL);
	SIM_CHECK(sim->view_tables != NULL);
	component_default_options(&ops->component, sim->options);
	sim->memtable_entries = memtable_entries;
	sim->table_entries = table_entries;
	sim->next_sequence = 1;
	sim->entry_bytes = 100;
	return sim;
}

static inline void sim_table_destroy(struct sim_table *table)
{
	free(table->entries);
	free(table);
}

static inline void sim_destroy(struct sim *sim)
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

static inline struct sim_table *sim_table_create(struct sim *sim, const struct sim_entry *entries,
						 size_t count)
{
	struct sim_table *table = calloc(1, sizeof(*table));
	SIM_CHECK(table != NULL);
	SIM_CHECK(count > 0);
	table->number = ++sim->next_number;
	table->count = count;
	table->entries = malloc(count * sizeof(*entries));
	SIM_CHECK(table->entries != NULL);
	memcpy(table->entries, entries, count * sizeof(*entries));
	key_encode(entries[0].key, table->smallest);
	key_encode(entries[count - 1].key, table->largest);
	return table;
}

static inline void level_insert(struct sim_level *level, size_t at, struct sim_table *table)
{
	SIM_CHECK(level->count < LEVEL_TABLES_MAX);
	memmove(&level->tables[at + 1], &level->tables[at], (level->count - at) * sizeof(level->tables[0]));
	level->tables[at] = table;
	level->count++;
}

/* The table is where the pick said. */
static inline void level_remove(struct sim_level *level, const struct sim_table *table)
{
	size_t at = 0;
	while (at < level->count && level->tables[at] != table)
		at++;
	SIM_CHECK(at < level->count);
	level->count--;
	memmove(&level->tables[at], &level->tables[at + 1], (level->count - at) * sizeof(level->tables[0]));
}

static inline const struct policy_view *sim_view(struct sim *sim)
{
	struct policy_table *next = sim->view_tables;
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		const struct sim_level *level = &sim->levels[l];
		sim->view.levels[l].tables = next;
		sim->view.levels[l].count = level->count;
		for (size_t i = 0; i < level->count; i++, next++) {
			const struct sim_table *table = level->tables[i];
			*next = (struct policy_table) { .number = table->number,
							.bytes = table->count * sim->entry_bytes,
							.entries = table->count,
							.smallest = slice_make(table->smallest, KEY_SIZE),
							.largest = slice_make(table->largest, KEY_SIZE),
							.busy = table->busy };
			for (size_t j = 0; j < table->count; j++)
				next->deletes += table->entries[j].is_delete;
		}
	}
	sim->view.memtable_bytes = sim->memtable_entries * sim->entry_bytes;
	sim->view.table_bytes = sim->table_entries * sim->entry_bytes;
	return &sim->view;
}

static inline uint64_t sim_debt(struct sim *sim)
{
	return sim->ops->debt(sim->options, sim_view(sim));
}

/* --- flushes --- */

static inline int entry_order(const void *a, const void *b)
{
	const struct sim_entry *left = a;
	const struct sim_entry *right = b;
	if (left->key != right->key)
		return left->key < right->key ? -1 : 1;
	return left->sequence > right->sequence ? -1 : left->sequence < right->sequence;
}

/* Gives the entries their sequences and makes them the newest table of level 0. */
static inline void sim_flush(struct sim *sim, struct sim_entry *entries, size_t count)
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
	struct sim_table *table = sim_table_create(sim, entries, kept);
	table->born = sim->flushes++;
	level_insert(&sim->levels[0], 0, table);
	sim->flushed_entries += kept;
}

/* --- merges --- */

static inline bool keys_overlap(const struct sim_table *a, const struct sim_table *b)
{
	return memcmp(a->smallest, b->largest, KEY_SIZE) <= 0 &&
	       memcmp(b->smallest, a->largest, KEY_SIZE) <= 0;
}

static inline void check_move(const struct sim *sim, const struct policy_pick *pick,
			      const struct sim_table *table)
{
	SIM_CHECK(pick->count == 1);
	SIM_CHECK(pick->inputs[0].level < pick->output_level);
	for (unsigned l = pick->inputs[0].level; l <= pick->output_level; l++) {
		for (size_t i = 0; i < sim->levels[l].count; i++) {
			const struct sim_table *other = sim->levels[l].tables[i];
			if (other != table)
				SIM_CHECK(!keys_overlap(other, table));
		}
	}
}

/* Asks for a pick; asked once more, with the same cursors, the policy gives the same answer. */
static inline bool sim_pick(struct sim *sim, struct policy_pick *pick)
{
	static struct policy_pick again;
	uint64_t cursor[LEVELS_MAX];
	memcpy(cursor, sim->cursor, sizeof(cursor));
	memset(pick, 0xa5, sizeof(*pick));
	memset(&again, 0x5a, sizeof(again));
	bool due = sim->ops->pick(sim->options, sim_view(sim), sim->cursor, pick);
	SIM_CHECK(sim->ops->pick(sim->options, sim_view(sim), cursor, &again) == due);
	SIM_CHECK(memcmp(cursor, sim->cursor, sizeof(cursor)) == 0);
	if (!due)
		return false;
	SIM_CHECK(pick->count >= 1 && pick->count <= PICK_TABLES_MAX);
	SIM_CHECK(again.count == pick->count && again.input_level == pick->input_level &&
		  again.output_level == pick->output_level && again.move_only == pick->move_only &&
		  again.overlap_bytes_max == pick->overlap_bytes_max);
	for (size_t i = 0; i < pick->count; i++) {
		SIM_CHECK(again.inputs[i].level == pick->inputs[i].level);
		SIM_CHECK(again.inputs[i].index == pick->inputs[i].index);
	}
	return true;
}

/* Asks for a pick and marks its tables; false: nothing is due. */
static inline bool sim_start(struct sim *sim)
{
	SIM_CHECK(sim->running_count < RUNNING_MAX);
	struct sim_merge *merge = malloc(sizeof(*merge));
	SIM_CHECK(merge != NULL);
	struct policy_pick *pick = &merge->pick;
	if (!sim_pick(sim, pick)) {
		free(merge);
		return false;
	}
	SIM_CHECK(pick->output_level >= 1 && pick->output_level < LEVELS_MAX);
	SIM_CHECK(pick->input_level <= pick->output_level);
	bool from_input_level = false;
	for (size_t i = 0; i < pick->count; i++) {
		unsigned l = pick->inputs[i].level;
		SIM_CHECK(l <= pick->output_level);
		SIM_CHECK(pick->inputs[i].index < sim->levels[l].count);
		from_input_level |= l == pick->input_level;
		merge->inputs[i] = sim->levels[l].tables[pick->inputs[i].index];
		/* Also catches a table that is picked twice. */
		SIM_CHECK(!merge->inputs[i]->busy);
		merge->inputs[i]->busy = true;
	}
	SIM_CHECK(from_input_level);
	if (pick->move_only)
		check_move(sim, pick, merge->inputs[0]);
	sim->running[sim->running_count++] = merge;
	return true;
}

/* A sorted level takes the table; its neighbours must lie clear of it. */
static inline void level_insert_sorted(struct sim *sim, unsigned l, struct sim_table *table)
{
	struct sim_level *level = &sim->levels[l];
	size_t at = 0;
	while (at < level->count && entry_order(&level->tables[at]->entries[0], &table->entries[0]) < 0)
		at++;
	level_insert(level, at, table);
	for (size_t i = at > 0 ? at - 1 : 0; i < at + 1 && i + 1 < level->count; i++) {
		const struct sim_table *left = level->tables[i];
		const struct sim_table *right = level->tables[i + 1];
		SIM_CHECK(entry_order(&left->entries[left->count - 1], &right->entries[0]) < 0);
		if (!sim->keep_versions)
			SIM_CHECK(left->entries[left->count - 1].key < right->entries[0].key);
	}
}

/* The bytes of tables of the level that lie wholly before `key`. */
static inline uint64_t bytes_before(const struct sim *sim, const struct sim_level *level, uint64_t key)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < level->count; i++) {
		const struct sim_table *table = level->tables[i];
		if (table->entries[table->count - 1].key < key)
			bytes += table->count * sim->entry_bytes;
	}
	return bytes;
}

static inline void install_outputs(struct sim *sim, const struct policy_pick *pick,
				   const struct sim_entry *entries, size_t count)
{
	size_t from = 0;
	uint64_t before = 0;
	bool limited = pick->overlap_bytes_max > 0 && pick->output_level + 1 < LEVELS_MAX;
	const struct sim_level *below = limited ? &sim->levels[pick->output_level + 1] : NULL;
	if (limited && count > 0)
		before = bytes_before(sim, below, entries[0].key);
	for (size_t i = 1; i <= count; i++) {
		bool cut = i == count || i - from >= sim->table_entries;
		bool same_key = i < count && entries[i].key == entries[i - 1].key;
		if (!cut && limited && !same_key)
			cut = bytes_before(sim, below, entries[i].key) - before > pick->overlap_bytes_max;
		if (!cut || (same_key && !sim->keep_versions))
			continue;
		level_insert_sorted(sim, pick->output_level, sim_table_create(sim, &entries[from], i - from));
		from = i;
		if (limited && i < count)
			before = bytes_before(sim, below, entries[i].key);
	}
}

static inline void sim_finish(struct sim *sim, size_t which)
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
	SIM_CHECK(entries != NULL);
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
static inline void sim_settle(struct sim *sim)
{
	for (unsigned merges = 0;; merges++) {
		SIM_CHECK(merges < MERGES_MAX);
		while (sim->running_count > 0)
			sim_finish(sim, 0);
		if (!sim_start(sim))
			break;
	}
	SIM_CHECK(sim_debt(sim) == 0);
}

/* On the way of a read every key's versions must come newest first, the truth first of all. */
static inline void sim_check(struct sim *sim)
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
					SIM_CHECK(entry->sequence == sim->truth[entry->key]);
					found++;
				} else {
					SIM_CHECK(entry->sequence < *seen);
				}
				*seen = entry->sequence;
			}
		}
	}
	for (size_t key = 0; key < KEYS_MAX; key++)
		found -= sim->truth[key] != 0;
	SIM_CHECK(found == 0);
}

#endif
