/*
 * leveled.c: each level but 0 is one sorted run, and each is at most size_ratio times larger than the one
 * above it.
 *
 * Levels are filled from below. Data goes to the last level as long as the tree is small; once a level above
 * it, a size_ratio-th as large, would be worth at least one merge out of level 0, that level opens, and so
 * on upwards. The first level in use is the base: level 0 merges into it. Sizes thus follow the amount of
 * data (as RocksDB's level_compaction_dynamic_level_bytes has it): all levels above the last hold about
 * 1 / (size_ratio - 1) of the tree, which bounds the space that outdated versions take.
 *
 * What keeps a newer version above an older one of the same key:
 * INV-LEVELED-1: a table leaves level 0 only together with all older tables of level 0 that overlap it.
 * INV-LEVELED-2: level 0 merges into the first level that is not empty, or into an empty one above it.
 * INV-LEVELED-3: a merge into a level takes all tables of that level that overlap the range of the tables
 * from above.
 * INV-LEVELED-4: neighbours in a level that share a key at their boundary leave the level together.
 * INV-LEVELED-5: the whole range of a pick is clear of the whole range of every merge under way that may
 * write into the same level. Only marks on tables tell of those merges, so the range between the first and
 * the last marked table counts as theirs.
 */
#include "components/compaction/policy.h"

#include <string.h>

#include "base/assert.h"

#include "base/poison.h"

enum {
	LEVEL_LAST = LEVELS_MAX - 1,
	SCORE_FULL = 1000, /* scores are in thousandths of what a level should hold */
	/* An output may overlap this many times size_ratio output tables of the level below it. */
	OVERLAP_FACTOR = 2,
};

struct leveled_options {
	uint64_t level0_tables;
	uint64_t level0_slow;
	uint64_t level0_stop;
	uint64_t size_ratio;
};

static const struct option leveled_options[] = {
	{ .name = "level0_tables",
	  .help = "tables in level 0 that start a merge: more make merges cheaper and reads dearer",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct leveled_options, level0_tables),
	  .default_value = 4,
	  .minimum = 1,
	  .maximum = 64 },
	{ .name = "level0_slow",
	  .help = "tables in level 0 from which writers are slowed",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct leveled_options, level0_slow),
	  .default_value = 12,
	  .minimum = 2,
	  .maximum = 128 },
	{ .name = "level0_stop",
	  .help = "tables in level 0 at which writers wait",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct leveled_options, level0_stop),
	  .default_value = 20,
	  .minimum = 3,
	  .maximum = 256 },
	{ .name = "size_ratio",
	  .help = "how many times larger a level is than the one above it: more takes less space and more work",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct leveled_options, size_ratio),
	  .default_value = 10,
	  .minimum = 2,
	  .maximum = 100 },
	{ .name = NULL },
};

/* --- ranges of keys --- */

struct range {
	struct slice smallest;
	struct slice largest;
	bool some; /* false: empty */
};

static struct range range_of(const struct policy_table *table)
{
	return (struct range) { table->smallest, table->largest, true };
}

static void range_add(struct range *range, const struct policy_table *table)
{
	if (!range->some) {
		*range = range_of(table);
		return;
	}
	if (slice_compare(table->smallest, range->smallest) < 0)
		range->smallest = table->smallest;
	if (slice_compare(table->largest, range->largest) > 0)
		range->largest = table->largest;
}

static bool ranges_overlap(const struct range *a, const struct range *b)
{
	return a->some && b->some && slice_compare(a->smallest, b->largest) <= 0 &&
	       slice_compare(b->smallest, a->largest) <= 0;
}

static bool tables_overlap(const struct policy_table *a, const struct policy_table *b)
{
	return slice_compare(a->smallest, b->largest) <= 0 && slice_compare(b->smallest, a->largest) <= 0;
}

/* A run of neighbours in a level. */
struct run {
	size_t first;
	size_t end;
	uint64_t bytes;
	bool busy;
};

/* Finds the first table of a sorted level, from `from` on, whose largest key is >= `key`. */
static size_t level_find(const struct policy_level *level, size_t from, struct slice key)
{
	size_t low = from;
	size_t high = level->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (slice_compare(level->tables[middle].largest, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The tables of a sorted level that overlap the range. */
static struct run level_overlap(const struct policy_level *level, const struct range *range)
{
	struct run run = { 0 };
	if (!range->some)
		return run;
	run.first = level_find(level, 0, range->smallest);
	for (run.end = run.first; run.end < level->count; run.end++) {
		const struct policy_table *table = &level->tables[run.end];
		if (slice_compare(table->smallest, range->largest) > 0)
			break;
		run.bytes += table->bytes;
		run.busy |= table->busy;
	}
	return run;
}

static bool share_key(const struct policy_level *level, size_t left)
{
	return slice_equal(level->tables[left].largest, level->tables[left + 1].smallest);
}

/* The table and the neighbours that cannot be separated from it (INV-LEVELED-4). */
static struct run level_unit(const struct policy_level *level, size_t index)
{
	struct run run = { .first = index, .end = index + 1 };
	while (run.first > 0 && share_key(level, run.first - 1))
		run.first--;
	while (run.end < level->count && share_key(level, run.end - 1))
		run.end++;
	for (size_t i = run.first; i < run.end; i++) {
		run.bytes += level->tables[i].bytes;
		run.busy |= level->tables[i].busy;
	}
	return run;
}

static struct range run_range(const struct policy_level *level, const struct run *run)
{
	struct range range = { 0 };
	for (size_t i = run->first; i < run->end; i++)
		range_add(&range, &level->tables[i]);
	return range;
}

/* --- the shape of the tree --- */

struct shape {
	uint64_t bytes[LEVELS_MAX];
	uint64_t idle_bytes[LEVELS_MAX]; /* in tables that are not busy */
	size_t level0_idle;
	uint64_t target[LEVELS_MAX]; /* bytes from which a level is too large; the last has none */
	unsigned base;		     /* where level 0 merges to */
};

/* a * b / c without overflow, saturated. c > 0. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
	unsigned __int128 result = (unsigned __int128)a * b / c;
	return result > UINT64_MAX ? UINT64_MAX : (uint64_t)result;
}

static void shape_count(const struct policy_view *view, struct shape *shape)
{
	memset(shape, 0, sizeof(*shape));
	for (unsigned i = 0; i < LEVELS_MAX; i++) {
		const struct policy_level *level = &view->levels[i];
		for (size_t j = 0; j < level->count; j++) {
			shape->bytes[i] += level->tables[j].bytes;
			if (level->tables[j].busy)
				continue;
			shape->idle_bytes[i] += level->tables[j].bytes;
			shape->level0_idle += i == 0;
		}
	}
}

/*
 * Sets targets and base. A level opens when its share of the data is worth a merge out of level 0, and is
 * emptied again only at half of that, so that it does not come and go.
 */
static void shape_measure(const struct leveled_options *options, const struct policy_view *view,
			  struct shape *shape)
{
	shape_count(view, shape);
	uint64_t data = 0;
	unsigned first = LEVEL_LAST;
	for (unsigned i = LEVEL_LAST; i >= 1; i--) {
		data += shape->bytes[i];
		if (view->levels[i].count > 0)
			first = i;
	}
	uint64_t unit = view->memtable_bytes * options->level0_tables;
	unit = unit > 0 ? unit : 1;
	unsigned base = LEVEL_LAST;
	uint64_t share = data / options->size_ratio;
	for (; base > 1 && share >= unit; base--, share /= options->size_ratio)
		shape->target[base - 1] = share;
	if (base > 1 && share >= unit / 2)
		shape->target[base - 1] = unit;
	/* What lies above the levels that have a target drains, one level after the other. */
	shape->base = base < first ? base : first;
}

/* --- picks --- */

struct picker {
	const struct leveled_options *options;
	const struct policy_view *view;
	uint64_t *cursor;
	struct shape shape;
	struct policy_pick *pick;
};

static bool pick_add(struct policy_pick *pick, unsigned level, size_t index)
{
	if (pick->count == PICK_TABLES_MAX)
		return false;
	pick->inputs[pick->count].level = level;
	pick->inputs[pick->count].index = index;
	pick->count++;
	return true;
}

static bool pick_add_run(struct policy_pick *pick, unsigned level, const struct run *run)
{
	for (size_t i = run->first; i < run->end; i++) {
		if (!pick_add(pick, level, i))
			return false;
	}
	return true;
}

/* The range of everything in a level that a merge under way reads. */
static void range_add_busy(struct range *range, const struct policy_level *level)
{
	for (size_t i = 0; i < level->count; i++) {
		if (level->tables[i].busy)
			range_add(range, &level->tables[i]);
	}
}

/*
 * INV-LEVELED-5. Merges under way that write into `output` read from it, from the level above it, or from
 * level 0; those out of level 0 write to no level deeper than the base is now or, while levels between
 * drain, deeper than any of them, so all levels down to `output` count.
 */
static bool range_is_clear(const struct policy_view *view, const struct range *range, unsigned output)
{
	struct range busy = { 0 };
	for (unsigned i = 0; i <= output; i++)
		range_add_busy(&busy, &view->levels[i]);
	return !ranges_overlap(range, &busy);
}

static uint64_t overlap_limit(const struct picker *picker, unsigned output)
{
	if (output >= LEVEL_LAST)
		return 0;
	return picker->view->table_bytes * picker->options->size_ratio * OVERLAP_FACTOR;
}

/* Moving a table is free, but many small ones would remain for ever where nothing overlaps them. */
static bool worth_moving(const struct picker *picker, const struct policy_table *table)
{
	const struct policy_view *view = picker->view;
	uint64_t usual = view->table_bytes < view->memtable_bytes ? view->table_bytes : view->memtable_bytes;
	return table->bytes >= usual / 2;
}

/* Whether the table may change its level for `output` as it is. Nothing in `output` overlaps it. */
static bool may_move(const struct picker *picker, const struct policy_table *table, unsigned output)
{
	if (!worth_moving(picker, table))
		return false;
	struct range range = range_of(table);
	if (output < LEVEL_LAST) {
		struct run grandparents = level_overlap(&picker->view->levels[output + 1], &range);
		if (grandparents.bytes > overlap_limit(picker, output))
			return false;
	}
	return range_is_clear(picker->view, &range, output);
}

/*
 * Takes small neighbours in the output level along, as long as each is no larger than the merge so far:
 * otherwise small merges next to each other would leave ever more small tables. The range grows only by
 * tables of the output level, between which and the range nothing of that level lies.
 */
static void absorb_small(const struct picker *picker, unsigned output, struct run *run, struct range *range,
			 uint64_t input_bytes)
{
	const struct policy_level *level = &picker->view->levels[output];
	uint64_t small = picker->view->table_bytes / 2;
	uint64_t bytes = input_bytes + run->bytes;
	while (run->first > 0 || run->end < level->count) {
		bool left = run->first > 0;
		const struct policy_table *table = &level->tables[left ? run->first - 1 : run->end];
		if (left && (table->busy || table->bytes > small || table->bytes > bytes)) {
			if (run->end == level->count)
				return;
			left = false;
			table = &level->tables[run->end];
		}
		if (table->busy || table->bytes > small || table->bytes > bytes)
			return;
		struct range wider = *range;
		range_add(&wider, table);
		if (!range_is_clear(picker->view, &wider, output))
			return;
		*range = wider;
		bytes += table->bytes;
		run->bytes += table->bytes;
		if (left)
			run->first--;
		else
			run->end++;
	}
}
