/*
 * skeleton.c: the least that is a compaction policy, to start from (docs/add-a-component.md): a level that is
 * full is merged into the next one, all of it, or, where that is more than one merge may take, as much of it
 * as fits. One merge at a time. policy.h has the contract, in full.
 */
#include "components/compaction/policy.h"

#include "base/poison.h"

enum { LEVEL_LAST = LEVELS_MAX - 1, OVERLAP_TABLES = 32 };

struct skeleton_options {
	uint64_t level0_tables;
	uint64_t ratio;
};

static const struct option skeleton_options[] = {
	{ .name = "level0_tables",
	  .help = "tables in level 0 from which on they are merged",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct skeleton_options, level0_tables),
	  .default_value = 4,
	  .minimum = 1,
	  .maximum = 64 },
	{ .name = "ratio",
	  .help = "how much larger each level may be than the one before",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct skeleton_options, ratio),
	  .default_value = 10,
	  .minimum = 2,
	  .maximum = 100 },
	{ .name = NULL },
};

/* Tables `first` to `end` - 1 of a level. */
struct run {
	size_t first, end;
};

static uint64_t level_bytes(const struct policy_level *level)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < level->count; i++)
		bytes += level->tables[i].bytes;
	return bytes;
}

/* How many bytes of a level are too many: what must go down. */
static uint64_t excess(const struct skeleton_options *options, const struct policy_view *view, unsigned level)
{
	uint64_t bytes = level_bytes(&view->levels[level]);
	if (level == 0)
		return view->levels[0].count >= options->level0_tables ? bytes : 0;
	if (level == LEVEL_LAST)
		return 0;
	uint64_t target = view->memtable_bytes * options->level0_tables;
	for (unsigned i = 1; i < level && target < UINT64_MAX / options->ratio; i++)
		target *= options->ratio;
	return bytes > target ? bytes - target : 0;
}

/* The tables of a level, but level 0, whose keys overlap those of some tables of the level above. */
static struct run overlap(const struct policy_level *below, const struct policy_level *level, struct run run)
{
	struct slice low = level->tables[run.first].smallest, high = level->tables[run.first].largest;
	for (size_t i = run.first; i < run.end; i++) {
		const struct policy_table *table = &level->tables[i];
		low = slice_compare(table->smallest, low) < 0 ? table->smallest : low;
		high = slice_compare(table->largest, high) > 0 ? table->largest : high;
	}
	struct run found = { .first = 0 };
	while (found.first < below->count && slice_compare(below->tables[found.first].largest, low) < 0)
		found.first++;
	found.end = found.first;
	while (found.end < below->count && slice_compare(below->tables[found.end].smallest, high) <= 0)
		found.end++;
	return found;
}

/*
 * A run may go down alone if nothing that it leaves behind is older than what it takes: of level 0, whose
 * newest table comes first, it has the last ones; of others it ends where no key goes on in the next table.
 */
static bool is_closed(const struct policy_level *level, unsigned number, struct run run)
{
	if (number == 0 || run.end == level->count)
		return true;
	return slice_compare(level->tables[run.end - 1].largest, level->tables[run.end].smallest) < 0;
}

static void take(struct policy_pick *pick, unsigned level, struct run run)
{
	for (size_t i = run.first; i < run.end; i++) {
		pick->inputs[pick->count].level = level;
		pick->inputs[pick->count].index = i;
		pick->count++;
	}
}

/* As many tables of the level as fit, with all that they overlap below; false: not even the least do. */
static bool pick_level(const struct policy_view *view, unsigned number, struct policy_pick *pick)
{
	const struct policy_level *level = &view->levels[number], *below = &view->levels[number + 1];
	size_t most = level->count < PICK_TABLES_MAX ? level->count : PICK_TABLES_MAX;
	for (size_t count = most; count > 0; count--) {
		struct run run = { .first = number == 0 ? level->count - count : 0 };
		run.end = run.first + count;
		struct run lower = overlap(below, level, run);
		if (count + lower.end - lower.first > PICK_TABLES_MAX || !is_closed(level, number, run))
			continue;
		pick->input_level = number;
		pick->output_level = number + 1;
		pick->move_only = false;
		pick->count = 0;
		/* So that each output can go down again later with what it overlaps. */
		pick->overlap_bytes_max = OVERLAP_TABLES * view->table_bytes;
		take(pick, number, run);
		take(pick, number + 1, lower);
		return true;
	}
	return false;
}

static bool any_busy(const struct policy_view *view)
{
	for (unsigned level = 0; level < LEVELS_MAX; level++) {
		for (size_t i = 0; i < view->levels[level].count; i++) {
			if (view->levels[level].tables[i].busy)
				return true;
		}
	}
	return false;
}

/* The most urgent merge that has no busy table; false: none is due. `cursor`: words of its own to keep. */
static bool skeleton_pick(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
			  struct policy_pick *pick)
{
	unsigned level = 0;
	(void)cursor;
	while (level < LEVEL_LAST && excess(options, view, level) == 0)
		level++;
	if (any_busy(view))
		return false;
	/* Where the next level has more tables than fit, some of those go down first. */
	while (level < LEVEL_LAST && !pick_level(view, level, pick))
		level++;
	return level < LEVEL_LAST;
}

/* Bytes that are still to be merged: 0 if and only if nothing is due. Writers are slowed in proportion. */
static uint64_t skeleton_debt(const void *options, const struct policy_view *view)
{
	uint64_t debt = 0;
	for (unsigned level = 0; level < LEVEL_LAST; level++)
		debt += excess(options, view, level);
	return debt;
}

/* Tables in level 0 from which on writers are slowed, and have to wait. At `stop` a merge must be due. */
static void skeleton_level0_limits(const void *options, uint32_t *slow, uint32_t *stop)
{
	uint64_t tables = ((const struct skeleton_options *)options)->level0_tables;
	*slow = (uint32_t)(2 * tables + 4);
	*stop = (uint32_t)(4 * tables + 8);
}

const struct policy_ops policy_skeleton = {
	.component = {
		.name = "skeleton",
		.summary = "merges a full level into the next, all of it",
		.abi = COMPONENT_ABI,
		.options = skeleton_options,
		.options_size = sizeof(struct skeleton_options),
	},
	.pick = skeleton_pick,
	.debt = skeleton_debt,
	.level0_limits = skeleton_level0_limits,
};

COMPONENT_MODULE({ COMPONENT_COMPACTION, &policy_skeleton.component });
