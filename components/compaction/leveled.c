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
	/* Tables below 1 / SMALL_PART of the usual size are merged with neighbours where that is cheap. */
	SMALL_PART = 4,
	/*
	 * A level opens above one that holds this many merges' worth out of level 0. Simulated loads of 5 to
	 * 80 memtables at random keys write least from 4 to 5; below, going through one more level costs more
	 * than the larger merges that it saves.
	 */
	OPEN_AT = 4,
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
	  .help = "how many times larger a level is than the one above it: more takes less space and more "
		  "work",
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

static size_t run_count(const struct run *run)
{
	return run->end - run->first;
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
	for (size_t i = run.first; i < run.end; i++)
		run.bytes += level->tables[i].bytes;
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
	uint64_t size = data;
	while (base > 1 && size >= unit * OPEN_AT) {
		size = size / options->size_ratio > unit ? size / options->size_ratio : unit;
		shape->target[--base] = size;
	}
	if (base > 1 && size >= unit * OPEN_AT / 2)
		shape->target[base - 1] = unit;
	/* What lies above the levels that have a target drains, one level after the other. */
	shape->base = base < first ? base : first;
}

/* --- picks --- */

struct picker {
	const struct leveled_options *options;
	const struct policy_view *view;
	struct shape shape;
	struct range busy; /* what merges into the output that is aimed at may cover */
	struct policy_pick *pick;
};

static void pick_add(struct policy_pick *pick, unsigned level, size_t index)
{
	ASSERT(pick->count < PICK_TABLES_MAX);
	pick->inputs[pick->count].level = level;
	pick->inputs[pick->count].index = index;
	pick->count++;
}

static void pick_add_run(struct policy_pick *pick, unsigned level, const struct run *run)
{
	for (size_t i = run->first; i < run->end; i++)
		pick_add(pick, level, i);
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
 * INV-LEVELED-5. Merges under way that write into `output` read from that level, and from the level above it
 * or level 0. A range that is clear of theirs also holds no table that any of them reads. To be called before
 * anything is asked about that output.
 */
static void picker_aim(struct picker *picker, unsigned output)
{
	picker->busy.some = false;
	range_add_busy(&picker->busy, &picker->view->levels[0]);
	if (output > 1)
		range_add_busy(&picker->busy, &picker->view->levels[output - 1]);
	range_add_busy(&picker->busy, &picker->view->levels[output]);
}

static bool range_is_clear(const struct picker *picker, const struct range *range)
{
	return !ranges_overlap(range, &picker->busy);
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
	return range_is_clear(picker, &range);
}

/*
 * Takes small neighbours in the output level along, as long as each is no larger than the merge so far:
 * otherwise small merges next to each other would leave ever more small tables. The range grows only by
 * tables of the output level, between which and the range nothing of that level lies. At most `run_max`
 * tables are in the run then.
 */
static void absorb_small(const struct picker *picker, unsigned output, struct run *run, struct range *range,
			 uint64_t bytes, size_t run_max)
{
	const struct policy_level *level = &picker->view->levels[output];
	uint64_t small = picker->view->table_bytes / SMALL_PART;
	for (unsigned side = 0; side < 2; side++) {
		while (side == 0 ? run->first > 0 : run->end < level->count) {
			const struct policy_table *table =
				&level->tables[side == 0 ? run->first - 1 : run->end];
			struct range wider = *range;
			range_add(&wider, table);
			if (table->bytes > small || table->bytes > bytes || run_count(run) >= run_max ||
			    !range_is_clear(picker, &wider))
				break;
			*range = wider;
			bytes += table->bytes;
			run->bytes += table->bytes;
			run->first -= side == 0;
			run->end += side == 1;
		}
	}
}

/* --- out of level 0 --- */

/*
 * INV-LEVELED-1: from the oldest table to the newest, takes each that overlaps no older table left behind.
 * What lies in the range of a merge under way, and so what it reads, is left behind.
 */
static struct range level0_choose(const struct picker *picker, uint64_t *bytes)
{
	const struct policy_level *level = &picker->view->levels[0];
	struct policy_pick *pick = picker->pick;
	uint64_t taken[PICK_TABLES_MAX / 64] = { 0 };
	struct range range = { 0 };
	size_t oldest = level->count - 1;
	*bytes = 0;
	for (size_t age = 0; age < level->count && age < PICK_TABLES_MAX; age++) {
		const struct policy_table *table = &level->tables[oldest - age];
		struct range own = range_of(table);
		bool takeable = range_is_clear(picker, &own);
		for (size_t older = 0; older < age && takeable; older++) {
			if ((taken[older / 64] >> older % 64 & 1) == 0)
				takeable = !tables_overlap(table, &level->tables[oldest - older]);
		}
		if (!takeable)
			continue;
		taken[age / 64] |= 1ull << age % 64;
		pick_add(pick, 0, oldest - age);
		range_add(&range, table);
		*bytes += table->bytes;
	}
	return range;
}

/* The oldest table of level 0 that overlaps nothing in its way down may move. */
static bool level0_move(const struct picker *picker)
{
	const struct policy_level *level = &picker->view->levels[0];
	unsigned output = picker->shape.base;
	for (size_t i = level->count; i-- > 0;) {
		const struct policy_table *table = &level->tables[i];
		bool alone = true;
		for (size_t j = 0; j < level->count && alone; j++)
			alone = j == i || !tables_overlap(table, &level->tables[j]);
		struct range range = range_of(table);
		struct run run = level_overlap(&picker->view->levels[output], &range);
		if (!alone || run.first < run.end || !may_move(picker, table, output))
			continue;
		picker->pick->output_level = output;
		picker->pick->move_only = true;
		pick_add(picker->pick, 0, i);
		return true;
	}
	return false;
}

static bool pick_level0(struct picker *picker)
{
	struct policy_pick *pick = picker->pick;
	if (picker->view->levels[0].count == 0)
		return false;
	unsigned output = picker->shape.base;
	picker_aim(picker, output);
	if (level0_move(picker))
		return true;
	uint64_t bytes;
	struct range range = level0_choose(picker, &bytes);
	struct run run = level_overlap(&picker->view->levels[output], &range);
	if (pick->count + run_count(&run) > PICK_TABLES_MAX && output > 1) {
		/* More tables than one merge may have: the empty level above takes it (INV-LEVELED-2). */
		picker_aim(picker, --output);
		run = level_overlap(&picker->view->levels[output], &range);
	}
	if (run_count(&run) >= PICK_TABLES_MAX)
		return false;
	/* The oldest came first, so leaving the last ones out leaves no older one behind. */
	if (pick->count > PICK_TABLES_MAX - run_count(&run))
		pick->count = PICK_TABLES_MAX - run_count(&run);
	for (size_t i = run.first; i < run.end; i++)
		range_add(&range, &picker->view->levels[output].tables[i]);
	if (pick->count == 0 || !range_is_clear(picker, &range))
		return false;
	absorb_small(picker, output, &run, &range, bytes + run.bytes, PICK_TABLES_MAX - pick->count);
	pick->output_level = output;
	pick->overlap_bytes_max = overlap_limit(picker, output);
	pick_add_run(pick, output, &run);
	return true;
}

/* --- from level to level --- */

/* Some neighbours of one level and what they overlap in the next. */
struct candidate {
	struct run upper;
	struct run lower;
	struct range range; /* of both */
};

static struct candidate candidate_make(const struct picker *picker, unsigned input, struct run upper)
{
	struct candidate candidate = { .upper = upper };
	const struct policy_level *below = &picker->view->levels[input + 1];
	candidate.range = run_range(&picker->view->levels[input], &upper);
	candidate.lower = level_overlap(below, &candidate.range);
	for (size_t i = candidate.lower.first; i < candidate.lower.end; i++)
		range_add(&candidate.range, &below->tables[i]);
	return candidate;
}

static bool candidate_feasible(const struct picker *picker, const struct candidate *candidate)
{
	size_t count = run_count(&candidate->upper) + run_count(&candidate->lower);
	return count <= PICK_TABLES_MAX && range_is_clear(picker, &candidate->range);
}

/* What a merge rewrites below for each byte that it brings down, in thousandths. Tombstones brought down
 * free space, so they count twice. */
static uint64_t candidate_cost(const struct picker *picker, unsigned input, const struct candidate *candidate)
{
	const struct policy_level *level = &picker->view->levels[input];
	uint64_t gain = 0;
	for (size_t i = candidate->upper.first; i < candidate->upper.end; i++) {
		const struct policy_table *table = &level->tables[i];
		gain += table->bytes;
		if (table->entries > 0)
			gain += scale(table->bytes, table->deletes, table->entries);
	}
	return scale(candidate->lower.bytes, SCORE_FULL, gain > 0 ? gain : 1);
}

static bool candidate_choose(const struct picker *picker, unsigned input, struct candidate *best)
{
	const struct policy_level *level = &picker->view->levels[input];
	uint64_t least = UINT64_MAX;
	bool found = false;
	for (size_t i = 0; i < level->count;) {
		struct candidate candidate = candidate_make(picker, input, level_unit(level, i));
		i = candidate.upper.end;
		uint64_t cost = candidate_cost(picker, input, &candidate);
		if ((found && cost >= least) || !candidate_feasible(picker, &candidate))
			continue;
		found = true;
		least = cost;
		*best = candidate;
	}
	return found;
}

static bool pick_level(struct picker *picker, unsigned input)
{
	struct policy_pick *pick = picker->pick;
	struct candidate chosen;
	picker_aim(picker, input + 1);
	if (!candidate_choose(picker, input, &chosen))
		return false;
	const struct policy_table *table = &picker->view->levels[input].tables[chosen.upper.first];
	pick->input_level = input;
	pick->output_level = input + 1;
	if (run_count(&chosen.upper) == 1 && run_count(&chosen.lower) == 0 &&
	    may_move(picker, table, input + 1)) {
		pick->move_only = true;
		pick_add(pick, input, chosen.upper.first);
		return true;
	}
	absorb_small(picker, input + 1, &chosen.lower, &chosen.range, chosen.upper.bytes + chosen.lower.bytes,
		     PICK_TABLES_MAX - run_count(&chosen.upper));
	pick->overlap_bytes_max = overlap_limit(picker, input + 1);
	pick_add_run(pick, input, &chosen.upper);
	pick_add_run(pick, input + 1, &chosen.lower);
	return true;
}

/* --- the contract's functions --- */

/* How full a level is: from SCORE_FULL on it is due. */
static uint64_t level_score(const struct picker *picker, unsigned level)
{
	const struct shape *shape = &picker->shape;
	const struct leveled_options *options = picker->options;
	if (level == 0) {
		if (picker->view->levels[0].count >= options->level0_slow && shape->level0_idle > 0)
			return UINT64_MAX;
		return scale(shape->level0_idle, SCORE_FULL, options->level0_tables);
	}
	if (shape->idle_bytes[level] == 0 || shape->idle_bytes[level] <= shape->target[level])
		return 0;
	if (shape->target[level] == 0)
		return UINT64_MAX - 1;
	return scale(shape->idle_bytes[level], SCORE_FULL, shape->target[level]);
}

static bool leveled_pick(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
			 struct policy_pick *pick)
{
	/* The table that costs least is also the one that has had longest to fill up: no need to go round. */
	(void)cursor;
	struct picker picker = { .options = options, .view = view, .pick = pick };
	uint64_t scores[LEVELS_MAX] = { 0 };
	shape_measure(options, view, &picker.shape);
	for (unsigned level = 0; level < LEVEL_LAST; level++)
		scores[level] = level_score(&picker, level);
	for (;;) {
		unsigned most = 0;
		for (unsigned level = 1; level < LEVEL_LAST; level++) {
			if (scores[level] > scores[most])
				most = level;
		}
		if (scores[most] < SCORE_FULL)
			return false;
		pick->input_level = most;
		pick->output_level = most;
		pick->move_only = false;
		pick->count = 0;
		pick->overlap_bytes_max = 0;
		if (most == 0 ? pick_level0(&picker) : pick_level(&picker, most))
			return true;
		scores[most] = 0;
	}
}

/*
 * What is due at each level, as if merges brought down just the excess: it is read and written together with
 * what it overlaps below, and adds to the next level's excess.
 */
static uint64_t leveled_debt(const void *options, const struct policy_view *view)
{
	const struct leveled_options *chosen = options;
	struct shape shape;
	shape_measure(chosen, view, &shape);
	uint64_t debt = 0;
	uint64_t arriving = 0;
	if (view->levels[0].count >= chosen->level0_tables) {
		arriving = shape.bytes[0];
		debt = arriving + shape.bytes[shape.base];
	}
	for (unsigned level = 1; level < LEVEL_LAST; level++) {
		uint64_t bytes = shape.bytes[level] + (level == shape.base ? arriving : 0);
		if (bytes <= shape.target[level])
			continue;
		uint64_t excess = bytes - shape.target[level];
		debt += excess + scale(shape.bytes[level + 1], excess, bytes);
		shape.bytes[level + 1] += excess;
	}
	return debt;
}

static void leveled_level0_limits(const void *options, uint32_t *slow, uint32_t *stop)
{
	const struct leveled_options *chosen = options;
	/* Each option has its own range; whatever they are together, tables < slow < stop must hold, or
	 * writers would wait for a merge that is not due. */
	uint64_t tables = chosen->level0_tables;
	uint64_t least = chosen->level0_slow > tables ? chosen->level0_slow : tables + 1;
	*slow = (uint32_t)least;
	*stop = (uint32_t)(chosen->level0_stop > least ? chosen->level0_stop : least + 1);
}

const struct policy_ops policy_leveled = {
	.component = {
		.name = "leveled",
		.summary = "one sorted run a level, filled from the last level upwards",
		.abi = COMPONENT_ABI,
		.options = leveled_options,
		.options_size = sizeof(struct leveled_options),
	},
	.pick = leveled_pick,
	.debt = leveled_debt,
	.level0_limits = leveled_level0_limits,
};
