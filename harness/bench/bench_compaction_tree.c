#include "harness/bench/bench_compaction_tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/ticks.h"

enum {
	KEY_BYTES = 8,
	SETTLE_PICKS_MAX = 1000 * 1000, /* after one flush: more is a policy that goes round in circles */
};

struct simulated_table {
	uint64_t number;
	size_t count;
	struct simulated_entry *entries;
	uint8_t smallest[KEY_BYTES], largest[KEY_BYTES];
	bool leaves; /* it is an input of the merge under way */
};

/* --- tables and levels --- */

static void key_store(uint32_t key, uint8_t bytes[KEY_BYTES])
{
	uint64_t big_endian = __builtin_bswap64(key);
	memcpy(bytes, &big_endian, KEY_BYTES);
}

static uint32_t first_key(const struct simulated_table *table)
{
	return table->entries[0].key;
}

static uint32_t last_key(const struct simulated_table *table)
{
	return table->entries[table->count - 1].key;
}

static struct simulated_table *table_create(struct simulated_tree *tree,
					    const struct simulated_entry *entries, size_t count)
{
	struct simulated_table *table = allocate_zeroed(1, sizeof(*table));
	table->number = ++tree->next_number;
	table->count = count;
	table->entries = allocate_zeroed(count, sizeof(*entries));
	memcpy(table->entries, entries, count * sizeof(*entries));
	key_store(first_key(table), table->smallest);
	key_store(last_key(table), table->largest);
	tree->entries += count;
	return table;
}

static void table_destroy(struct simulated_tree *tree, struct simulated_table *table)
{
	tree->entries -= table->count;
	memory_free(table->entries);
	memory_free(table);
}

static void level_insert(struct simulated_level *level, size_t at, struct simulated_table *table)
{
	if (level->count == level->capacity) {
		level->capacity = 2 * level->capacity + 64;
		level->tables = allocate_resize(level->tables, level->capacity * sizeof(*level->tables));
	}
	memmove(&level->tables[at + 1], &level->tables[at], (level->count - at) * sizeof(level->tables[0]));
	level->tables[at] = table;
	level->count++;
}

static void level_insert_sorted(struct simulated_level *level, struct simulated_table *table)
{
	size_t low = 0, high = level->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (first_key(level->tables[middle]) < first_key(table))
			low = middle + 1;
		else
			high = middle;
	}
	level_insert(level, low, table);
}

static void level_look(struct simulated_level *level)
{
	level->disjoint = true;
	for (size_t i = 0; i + 1 < level->count; i++)
		level->disjoint =
			level->disjoint && last_key(level->tables[i]) < first_key(level->tables[i + 1]);
}

/* Takes out what leaves, and frees it unless it is `kept`. */
static void level_drop_inputs(struct simulated_tree *tree, unsigned number,
			      const struct simulated_table *kept)
{
	struct simulated_level *level = &tree->levels[number];
	size_t count = 0;
	for (size_t i = 0; i < level->count; i++) {
		struct simulated_table *table = level->tables[i];
		if (!table->leaves)
			level->tables[count++] = table;
		else if (table != kept)
			table_destroy(tree, table);
	}
	level->count = count;
}

/* --- the tree --- */

void simulated_tree_init(struct simulated_tree *tree, const struct policy_ops *ops, const void *options,
			 uint64_t entry_bytes, size_t memtable_entries, size_t table_entries)
{
	*tree = (struct simulated_tree) {
		.ops = ops,
		.options = options,
		.entry_bytes = entry_bytes,
		.table_entries = table_entries,
		.view = { .memtable_bytes = memtable_entries * entry_bytes,
			  .table_bytes = table_entries * entry_bytes },
	};
	for (unsigned i = 0; i < LEVELS_MAX; i++)
		tree->levels[i].disjoint = true;
}

void simulated_tree_free(struct simulated_tree *tree)
{
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		for (size_t i = 0; i < tree->levels[l].count; i++)
			table_destroy(tree, tree->levels[l].tables[i]);
		memory_free(tree->levels[l].tables);
	}
	memory_free(tree->shown);
	memory_free(tree->merge_from);
	memory_free(tree->merge_to);
}

/* Sorted runs: each table of level 0 is one, and each other level with any table, if those are disjoint. */
static uint64_t count_runs(const struct simulated_tree *tree)
{
	uint64_t runs = tree->levels[0].count;
	for (unsigned l = 1; l < LEVELS_MAX; l++) {
		const struct simulated_level *level = &tree->levels[l];
		runs += level->disjoint ? level->count > 0 : level->count;
	}
	return runs;
}

static void note_most(struct simulated_tree *tree, uint64_t held)
{
	uint64_t runs = count_runs(tree);
	if (runs > tree->counts.runs_most)
		tree->counts.runs_most = runs;
	if (held > tree->counts.held_most)
		tree->counts.held_most = held;
}

void simulated_tree_start_counting(struct simulated_tree *tree)
{
	tree->counts = (struct simulated_counts) { 0 };
	note_most(tree, tree->entries);
}

void simulated_tree_flush(struct simulated_tree *tree, const struct simulated_entry *entries, size_t count,
			  size_t put)
{
	level_insert(&tree->levels[0], 0, table_create(tree, entries, count));
	tree->counts.flushed += count;
	tree->counts.put += put;
	note_most(tree, tree->entries);
}

static size_t count_tables(const struct simulated_tree *tree)
{
	size_t count = 0;
	for (unsigned l = 0; l < LEVELS_MAX; l++)
		count += tree->levels[l].count;
	return count;
}

static void show(struct simulated_tree *tree)
{
	size_t count = count_tables(tree);
	if (count > tree->shown_capacity) {
		tree->shown_capacity = 2 * count;
		tree->shown = allocate_resize(tree->shown, tree->shown_capacity * sizeof(*tree->shown));
	}
	struct policy_table *next = tree->shown;
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		const struct simulated_level *level = &tree->levels[l];
		tree->view.levels[l] = (struct policy_level) { .tables = next, .count = level->count };
		for (size_t i = 0; i < level->count; i++) {
			const struct simulated_table *table = level->tables[i];
			*next++ = (struct policy_table) {
				.number = table->number,
				.bytes = table->count * tree->entry_bytes,
				.entries = table->count,
				.smallest = slice_make(table->smallest, KEY_BYTES),
				.largest = slice_make(table->largest, KEY_BYTES),
			};
		}
	}
}

/* --- merging --- */

/* A run of sorted entries within the buffer that is merged from. */
struct stream {
	size_t begin, end;
};

/* Of equal keys the newer one stays. Returns the end of what was written. */
static size_t merge_two(const struct simulated_entry *from, struct stream left, struct stream right,
			struct simulated_entry *to, size_t at)
{
	size_t a = left.begin, b = right.begin;
	while (a < left.end && b < right.end) {
		uint32_t key_a = from[a].key, key_b = from[b].key;
		bool take_a = key_a < key_b || (key_a == key_b && from[a].sequence > from[b].sequence);
		to[at++] = from[take_a ? a : b];
		a += key_a <= key_b;
		b += key_b <= key_a;
	}
	memcpy(&to[at], &from[a], (left.end - a) * sizeof(*to));
	at += left.end - a;
	memcpy(&to[at], &from[b], (right.end - b) * sizeof(*to));
	return at + right.end - b;
}

/* Merges neighbours until one stream is left, whose entries lie in merge_from; returns their number. */
static size_t merge_streams(struct simulated_tree *tree, struct stream *streams, size_t count)
{
	while (count > 1) {
		size_t at = 0, kept = 0;
		for (size_t i = 0; i < count; i += 2) {
			const struct stream none = { 0, 0 };
			size_t begin = at;
			at = merge_two(tree->merge_from, streams[i], i + 1 < count ? streams[i + 1] : none,
				       tree->merge_to, at);
			streams[kept++] = (struct stream) { begin, at };
		}
		struct simulated_entry *merged = tree->merge_to;
		tree->merge_to = tree->merge_from;
		tree->merge_from = merged;
		count = kept;
	}
	return streams[0].end;
}

struct input {
	unsigned level;
	size_t index;
};

static int by_place(const void *left, const void *right)
{
	const struct input *a = left, *b = right;
	if (a->level != b->level)
		return a->level < b->level ? -1 : 1;
	return (a->index > b->index) - (a->index < b->index);
}

static void reserve_merge(struct simulated_tree *tree, size_t entries)
{
	if (entries <= tree->merge_capacity)
		return;
	tree->merge_capacity = 2 * entries;
	tree->merge_from =
		allocate_resize(tree->merge_from, tree->merge_capacity * sizeof(*tree->merge_from));
	tree->merge_to = allocate_resize(tree->merge_to, tree->merge_capacity * sizeof(*tree->merge_to));
}

/* Copies the inputs into merge_from; tables of one level that follow each other become one stream. */
static size_t gather(struct simulated_tree *tree, const struct input *inputs, size_t count,
		     struct stream *streams)
{
	size_t used = 0, at = 0;
	for (size_t i = 0; i < count; i++) {
		const struct simulated_table *table = tree->levels[inputs[i].level].tables[inputs[i].index];
		bool follows = i > 0 && inputs[i].level > 0 && inputs[i - 1].level == inputs[i].level &&
			       tree->merge_from[at - 1].key < first_key(table);
		memcpy(&tree->merge_from[at], table->entries, table->count * sizeof(*table->entries));
		if (!follows)
			streams[used++].begin = at;
		at += table->count;
		streams[used - 1].end = at;
	}
	return used;
}

/* How much of the level below the output an output overlaps, while its keys ascend. */
struct overlap {
	const struct simulated_level *below; /* NULL: it does not matter */
	size_t passed;			     /* tables wholly before the last key */
	uint64_t entries;		     /* in those */
	uint64_t at_start;		     /* `entries` when the output began */
	uint64_t limit;
};

static void overlap_pass(struct overlap *overlap, uint32_t key)
{
	if (overlap->below == NULL)
		return;
	while (overlap->passed < overlap->below->count &&
	       last_key(overlap->below->tables[overlap->passed]) < key)
		overlap->entries += overlap->below->tables[overlap->passed++]->count;
}

static void install(struct simulated_tree *tree, const struct policy_pick *pick, size_t count)
{
	const struct simulated_entry *entries = tree->merge_from;
	struct simulated_level *level = &tree->levels[pick->output_level];
	struct overlap overlap = { .limit = pick->overlap_bytes_max / tree->entry_bytes };
	size_t from = 0;
	if (pick->overlap_bytes_max > 0 && pick->output_level + 1 < LEVELS_MAX)
		overlap.below = &tree->levels[pick->output_level + 1];
	overlap_pass(&overlap, entries[0].key);
	overlap.at_start = overlap.entries;
	for (size_t i = 1; i <= count; i++) {
		if (i < count)
			overlap_pass(&overlap, entries[i].key);
		if (i < count && i - from < tree->table_entries &&
		    overlap.entries - overlap.at_start <= overlap.limit)
			continue;
		level_insert_sorted(level, table_create(tree, &entries[from], i - from));
		from = i;
		overlap.at_start = overlap.entries;
	}
}

/* --- picks --- */

static struct status check_pick(struct simulated_tree *tree, const struct policy_pick *pick)
{
	const char *name = tree->ops->component.name;
	if (pick->count < 1 || pick->count > PICK_TABLES_MAX)
		return status_error(STATUS_CORRUPT, "%s picks %zu tables", name, pick->count);
	if (pick->output_level < 1 || pick->output_level >= LEVELS_MAX)
		return status_error(STATUS_CORRUPT, "%s picks an output level of %u", name,
				    pick->output_level);
	if (pick->move_only && pick->count != 1)
		return status_error(STATUS_CORRUPT, "%s moves %zu tables at once", name, pick->count);
	for (size_t i = 0; i < pick->count; i++) {
		unsigned level = pick->inputs[i].level;
		if (level >= LEVELS_MAX || pick->inputs[i].index >= tree->levels[level].count)
			return status_error(STATUS_CORRUPT, "%s picks a table that does not exist", name);
		struct simulated_table *table = tree->levels[level].tables[pick->inputs[i].index];
		if (table->leaves)
			return status_error(STATUS_CORRUPT, "%s picks a table twice", name);
		table->leaves = true;
	}
	return status_ok();
}

static void move(struct simulated_tree *tree, const struct policy_pick *pick)
{
	struct simulated_table *table = tree->levels[pick->inputs[0].level].tables[pick->inputs[0].index];
	level_drop_inputs(tree, pick->inputs[0].level, table);
	table->leaves = false;
	level_insert_sorted(&tree->levels[pick->output_level], table);
}

static void merge(struct simulated_tree *tree, const struct policy_pick *pick)
{
	struct input *inputs = allocate_zeroed(pick->count, sizeof(*inputs));
	struct stream *streams = allocate_zeroed(pick->count, sizeof(*streams));
	size_t entries = 0;
	for (size_t i = 0; i < pick->count; i++) {
		inputs[i] = (struct input) { pick->inputs[i].level, pick->inputs[i].index };
		entries += tree->levels[inputs[i].level].tables[inputs[i].index]->count;
	}
	qsort(inputs, pick->count, sizeof(inputs[0]), by_place);
	reserve_merge(tree, entries);
	size_t count = merge_streams(tree, streams, gather(tree, inputs, pick->count, streams));
	note_most(tree, tree->entries + count);
	for (unsigned l = 0; l < LEVELS_MAX; l++)
		level_drop_inputs(tree, l, NULL);
	install(tree, pick, count);
	tree->counts.merged += count;
	if (entries > tree->counts.largest)
		tree->counts.largest = entries;
	memory_free(streams);
	memory_free(inputs);
}

struct status simulated_tree_settle(struct simulated_tree *tree)
{
	struct policy_pick *pick = allocate_zeroed(1, sizeof(*pick));
	struct status status = status_ok();
	for (unsigned picks = 0; status_is_ok(status); picks++) {
		show(tree);
		uint64_t start = ticks_now();
		bool due = tree->ops->pick(tree->options, &tree->view, tree->cursor, pick);
		tree->counts.pick_ns += ticks_to_ns(ticks_now() - start);
		tree->counts.picks++;
		if (!due)
			break;
		status = picks < SETTLE_PICKS_MAX ? check_pick(tree, pick)
						  : status_error(STATUS_CORRUPT,
								 "%s has picked %u times and "
								 "still finds something to merge",
								 tree->ops->component.name, picks);
		if (!status_is_ok(status))
			break;
		if (pick->move_only)
			move(tree, pick);
		else
			merge(tree, pick);
		for (unsigned l = 1; l < LEVELS_MAX; l++)
			level_look(&tree->levels[l]);
		note_most(tree, tree->entries);
	}
	memory_free(pick);
	return status;
}

/* --- gets --- */

static bool table_covers(const struct simulated_table *table, uint32_t key)
{
	return first_key(table) <= key && key <= last_key(table);
}

static uint32_t table_find(const struct simulated_table *table, uint32_t key)
{
	size_t low = 0, high = table->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (table->entries[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < table->count && table->entries[low].key == key ? table->entries[low].sequence : 0;
}

/* The first table of a disjoint level that does not end before the key. */
static size_t level_find(const struct simulated_level *level, uint32_t key)
{
	size_t low = 0, high = level->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (last_key(level->tables[middle]) < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void simulated_tree_get(const struct simulated_tree *tree, uint32_t key, unsigned *met, uint32_t *sequence)
{
	*met = 0;
	*sequence = 0;
	for (unsigned l = 0; l < LEVELS_MAX && *sequence == 0; l++) {
		const struct simulated_level *level = &tree->levels[l];
		bool sorted = l > 0 && level->disjoint;
		size_t begin = sorted ? level_find(level, key) : 0;
		size_t end = sorted && begin < level->count ? begin + 1 : level->count;
		for (size_t i = begin; i < end && *sequence == 0; i++) {
			if (!table_covers(level->tables[i], key))
				continue;
			(*met)++;
			*sequence = table_find(level->tables[i], key);
		}
	}
}
