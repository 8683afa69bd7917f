/*
 * bench_compaction_plain.c: leveled compaction as textbooks have it, and LevelDB: four tables of level 0
 * start a merge into level 1; each level may be ten times as large as the one above it, the first as large as
 * what comes down at once; of a level that is too large the next table in the order of keys goes down,
 * together with what it overlaps there. It shares no code with components/, and knows of no other merge under
 * way.
 */
#include "harness/bench/bench_compaction.h"

#include "base/bytes.h"

enum { LEVEL0_TABLES = 4, SIZE_RATIO = 10, LEVEL_LAST = LEVELS_MAX - 1 };

struct keys {
	struct slice smallest, largest;
};

static struct keys keys_of(const struct policy_table *table)
{
	return (struct keys) { table->smallest, table->largest };
}

static bool overlap(const struct keys *keys, const struct policy_table *table)
{
	return slice_compare(keys->smallest, table->largest) <= 0 &&
	       slice_compare(table->smallest, keys->largest) <= 0;
}

static void widen(struct keys *keys, const struct policy_table *table)
{
	if (slice_compare(table->smallest, keys->smallest) < 0)
		keys->smallest = table->smallest;
	if (slice_compare(table->largest, keys->largest) > 0)
		keys->largest = table->largest;
}

static bool add(struct policy_pick *pick, unsigned level, size_t index)
{
	if (pick->count == PICK_TABLES_MAX)
		return false;
	pick->inputs[pick->count].level = level;
	pick->inputs[pick->count].index = index;
	pick->count++;
	return true;
}

static uint64_t bytes_of(const struct policy_level *level)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < level->count; i++)
		bytes += level->tables[i].bytes;
	return bytes;
}

/* How many times as full as it may be. */
static double score_of(const struct policy_view *view, unsigned level)
{
	double may = (double)view->memtable_bytes * LEVEL0_TABLES;
	if (level == 0)
		return (double)view->levels[0].count / LEVEL0_TABLES;
	for (unsigned i = 1; i < level; i++)
		may *= SIZE_RATIO;
	return (double)bytes_of(&view->levels[level]) / may;
}

/* The oldest table of level 0, and whatever overlaps it there, directly or by way of another. */
static bool take_level0(const struct policy_view *view, struct policy_pick *pick, struct keys *keys)
{
	const struct policy_level *level = &view->levels[0];
	bool taken[PICK_TABLES_MAX] = { false };
	bool grown = true;
	if (level->count > PICK_TABLES_MAX)
		return false;
	*keys = keys_of(&level->tables[level->count - 1]);
	while (grown) {
		grown = false;
		for (size_t i = 0; i < level->count; i++) {
			if (taken[i] || !overlap(keys, &level->tables[i]))
				continue;
			taken[i] = grown = true;
			widen(keys, &level->tables[i]);
			if (!add(pick, 0, i))
				return false;
		}
	}
	return true;
}

/* The first table behind the one that went down last, and from the start again after the last. */
static bool take_next(const struct policy_view *view, unsigned number, uint64_t *cursor,
		      struct policy_pick *pick, struct keys *keys)
{
	const struct policy_level *level = &view->levels[number];
	size_t next = 0;
	while (next < level->count && slice_head(level->tables[next].smallest, 0) <= *cursor)
		next++;
	next = next < level->count ? next : 0;
	*cursor = slice_head(level->tables[next].largest, 0);
	*keys = keys_of(&level->tables[next]);
	return add(pick, number, next);
}

static bool take_below(const struct policy_view *view, struct policy_pick *pick, const struct keys *keys)
{
	const struct policy_level *below = &view->levels[pick->output_level];
	for (size_t i = 0; i < below->count; i++) {
		if (overlap(keys, &below->tables[i]) && !add(pick, pick->output_level, i))
			return false;
	}
	return true;
}

static bool plain_pick(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
		       struct policy_pick *pick)
{
	unsigned most = 0;
	struct keys keys;
	(void)options;
	for (unsigned level = 1; level < LEVEL_LAST; level++) {
		if (score_of(view, level) > score_of(view, most))
			most = level;
	}
	if (score_of(view, most) < 1)
		return false;
	pick->input_level = most;
	pick->output_level = most + 1;
	pick->count = 0;
	pick->overlap_bytes_max = SIZE_RATIO * view->table_bytes;
	if (!(most == 0 ? take_level0(view, pick, &keys)
			: take_next(view, most, &cursor[most], pick, &keys)) ||
	    !take_below(view, pick, &keys))
		return false;
	pick->move_only = pick->count == 1;
	return true;
}

static uint64_t plain_debt(const void *options, const struct policy_view *view)
{
	uint64_t debt = 0;
	(void)options;
	for (unsigned level = 0; level < LEVEL_LAST; level++)
		debt += score_of(view, level) >= 1 ? bytes_of(&view->levels[level]) : 0;
	return debt;
}

static void plain_level0_limits(const void *options, uint32_t *slow, uint32_t *stop)
{
	(void)options;
	*slow = 2 * LEVEL0_TABLES;
	*stop = 3 * LEVEL0_TABLES;
}

const struct policy_ops bench_compaction_plain = {
	.component = {
		.name = "textbook",
		.summary = "leveled compaction as LevelDB has it",
		.abi = COMPONENT_ABI,
	},
	.pick = plain_pick,
	.debt = plain_debt,
	.level0_limits = plain_level0_limits,
};
