/*
 * bench_trace_filter.c: the questions that a shard asked its filters, asked of each variant's.
 *
 * A trace has the questions and how many keys each filter was made of, not the keys. So a filter is made here
 * of the keys that were found when its answer was "maybe", and of random hashes for the rest: which is what
 * hashes of keys are. A variant that has a filter for each block gets the keys spread over as many blocks.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "components/filters/filter.h"
#include "harness/allocate.h"
#include "harness/bench/bench_trace.h"
#include "trace/canary.h"

enum {
	NUMBER_FALSE_POSITIVES,
	NUMBER_ASK,
	NUMBER_BITS,
	NUMBER_QUESTIONS,
	NUMBER_ABSENT,
	NUMBER_FILTERS,
};

enum side { SIDE_PREDICTED, SIDE_OBSERVED };

enum { REPEATS = 5, KEYS_MAX = 1 << 26, BLOCKS_MAX = 1 << 20, LINE = 64 };

struct tally {
	uint64_t questions;
	uint64_t absent; /* of these, about keys that were not there */
	uint64_t false_positives;
	uint64_t filters, keys;
	double filter_bytes;
	double ticks; /* of all questions, without what the clock costs */
};

/* --- the filters of a shard --- */

struct traced_filter {
	uint64_t table, partition;
	uint64_t *present; /* hashes that were there; once sorted, each once */
	size_t present_count, present_capacity;
	bool is_sorted;
	bool is_counted;
	/* Built: the bytes of all blocks' filters, or of one; where each begins, and the end. */
	uint8_t *bytes;
	size_t *starts;
	uint32_t parts; /* 0: not built */
};

/* Open addressing; nothing is ever removed. */
struct filters {
	struct traced_filter **slots;
	size_t slot_count, count;
};

static size_t slot_of(const struct filters *filters, uint64_t table, uint64_t partition)
{
	size_t at = hash_mix(hash_mix(table + 1) + partition) & (filters->slot_count - 1);
	while (filters->slots[at] != NULL &&
	       (filters->slots[at]->table != table || filters->slots[at]->partition != partition))
		at = (at + 1) & (filters->slot_count - 1);
	return at;
}

static void grow(struct filters *filters)
{
	struct filters larger = { .slot_count = filters->slot_count > 0 ? 2 * filters->slot_count : 256,
				  .count = filters->count };
	larger.slots = allocate_zeroed(larger.slot_count, sizeof(struct traced_filter *));
	for (size_t i = 0; i < filters->slot_count; i++) {
		struct traced_filter *filter = filters->slots[i];
		if (filter != NULL)
			larger.slots[slot_of(&larger, filter->table, filter->partition)] = filter;
	}
	memory_free(filters->slots);
	*filters = larger;
}

static struct traced_filter *filter_of(struct filters *filters, uint64_t table, uint64_t partition)
{
	if (2 * (filters->count + 1) > filters->slot_count)
		grow(filters);
	size_t slot = slot_of(filters, table, partition);
	if (filters->slots[slot] == NULL) {
		struct traced_filter *filter = allocate_zeroed(1, sizeof(*filter));
		filter->table = table;
		filter->partition = partition;
		filters->slots[slot] = filter;
		filters->count++;
	}
	return filters->slots[slot];
}

static void forget_built(struct traced_filter *filter)
{
	memory_free(filter->bytes);
	memory_free(filter->starts);
	filter->bytes = NULL;
	filter->starts = NULL;
	filter->parts = 0;
}

static void filters_free(struct filters *filters)
{
	for (size_t i = 0; i < filters->slot_count; i++) {
		if (filters->slots[i] == NULL)
			continue;
		forget_built(filters->slots[i]);
		memory_free(filters->slots[i]->present);
		memory_free(filters->slots[i]);
	}
	memory_free(filters->slots);
}

static void add_present(struct traced_filter *filter, uint64_t hash)
{
	if (filter->present_count == filter->present_capacity) {
		filter->present_capacity = 2 * filter->present_capacity + 16;
		filter->present =
			allocate_resize(filter->present, filter->present_capacity * sizeof(*filter->present));
	}
	filter->present[filter->present_count++] = hash;
}

static int by_number(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return (a > b) - (a < b);
}

static void sort_present(struct traced_filter *filter)
{
	size_t kept = 0;
	if (filter->is_sorted)
		return;
	if (filter->present_count > 1)
		qsort(filter->present, filter->present_count, sizeof(*filter->present), by_number);
	for (size_t i = 0; i < filter->present_count; i++) {
		if (i == 0 || filter->present[i] != filter->present[i - 1])
			filter->present[kept++] = filter->present[i];
	}
	filter->present_count = kept;
	filter->is_sorted = true;
}

static bool is_present(struct traced_filter *filter, uint64_t hash)
{
	sort_present(filter);
	return filter->present_count > 0 &&
	       bsearch(&hash, filter->present, filter->present_count, sizeof(hash), by_number) != NULL;
}

/* --- a shard's replay --- */

struct replay {
	const struct filter_ops *ops; /* NULL: what was recorded is added up */
	const void *options;
	struct random random;
	struct filters filters;
	struct tally *tally;
	double clock_cost;
	bool counts;
};

static bool is_per_block(const struct replay *replay)
{
	return (replay->ops->component.capabilities & FILTER_PER_BLOCK) != 0;
}

static uint32_t part_of(uint64_t hash, uint32_t parts)
{
	return (uint32_t)hash_range(hash_mix(hash ^ 0x9e3779b97f4a7c15ull), parts);
}

/* The hashes of the keys, those of one part behind those of another. */
static uint64_t *make_hashes(struct replay *replay, struct traced_filter *filter, size_t count,
			     uint32_t parts, size_t *ends)
{
	uint64_t *hashes = allocate_zeroed(count + 1, sizeof(*hashes));
	uint64_t *sorted = allocate_zeroed(count + 1, sizeof(*sorted));
	for (size_t i = 0; i < count; i++) {
		hashes[i] = i < filter->present_count ? filter->present[i] : random_next(&replay->random);
		ends[part_of(hashes[i], parts)]++;
	}
	size_t sum = 0;
	for (uint32_t part = 0; part < parts; part++) {
		size_t begins = sum;
		sum += ends[part];
		ends[part] = begins;
	}
	for (size_t i = 0; i < count; i++)
		sorted[ends[part_of(hashes[i], parts)]++] = hashes[i];
	memory_free(hashes);
	return sorted;
}

static struct status build_part(struct replay *replay, uint64_t *hashes, size_t count, uint8_t *out,
				size_t room, size_t *used)
{
	const struct filter_ops *ops = replay->ops;
	size_t scratch_size = ops->scratch_size != NULL ? ops->scratch_size(replay->options, count) : 0;
	void *scratch = memory_allocate_aligned(LINE, (scratch_size / LINE + 1) * LINE);
	*used = 0;
	if (scratch == NULL)
		return status_make(STATUS_NO_MEMORY);
	if (count > 0 && room > 0)
		*used = ops->build(replay->options, hashes, count, out, scratch);
	memory_free(scratch);
	return *used <= room ? status_ok()
			     : status_error(STATUS_CORRUPT, "a filter takes more bytes than it said");
}

static struct status build(struct replay *replay, struct traced_filter *filter,
			   const struct trace_record *record)
{
	if (record->count > KEYS_MAX || record->sequence > BLOCKS_MAX)
		return status_error(STATUS_CORRUPT, "a filter of %llu keys in %llu blocks",
				    (unsigned long long)record->count, (unsigned long long)record->sequence);
	sort_present(filter);
	uint32_t parts = is_per_block(replay) && record->sequence > 0 ? (uint32_t)record->sequence : 1;
	size_t count = record->count > filter->present_count ? (size_t)record->count : filter->present_count;
	size_t *ends = allocate_zeroed(parts, sizeof(*ends));
	uint64_t *hashes = make_hashes(replay, filter, count, parts, ends);
	size_t room = 0;
	for (uint32_t part = 0; part < parts; part++)
		room += replay->ops->size(replay->options, ends[part] - (part > 0 ? ends[part - 1] : 0));
	filter->bytes = memory_allocate_aligned(LINE, (room / LINE + 1) * LINE);
	filter->starts = allocate_zeroed((size_t)parts + 1, sizeof(*filter->starts));
	filter->parts = parts;
	struct status status = status_make(filter->bytes != NULL ? STATUS_OK : STATUS_NO_MEMORY);
	for (uint32_t part = 0; part < parts && status_is_ok(status); part++) {
		size_t from = part > 0 ? ends[part - 1] : 0, used;
		status = build_part(replay, hashes + from, ends[part] - from,
				    filter->bytes + filter->starts[part], room - filter->starts[part], &used);
		filter->starts[part + 1] = filter->starts[part] + used;
	}
	memory_free(ends);
	memory_free(hashes);
	if (!filter->is_counted) {
		replay->tally->filters++;
		replay->tally->keys += count;
		replay->tally->filter_bytes += (double)filter->starts[parts];
	}
	filter->is_counted = true;
	return status;
}

static struct status ask(struct replay *replay, const struct trace_record *record)
{
	struct traced_filter *filter = filter_of(&replay->filters, record->object, record->part);
	struct tally *tally = replay->tally;
	if (filter->parts == 0)
		TRY(build(replay, filter, record));
	uint32_t part = part_of(record->hash, filter->parts);
	struct slice bytes = slice_make(filter->bytes + filter->starts[part],
					filter->starts[part + 1] - filter->starts[part]);
	uint64_t begin = canary_clock(replay->counts);
	bool maybe = replay->ops->may_contain(bytes, record->hash);
	double ticks = (double)(canary_clock(replay->counts) - begin) - replay->clock_cost;
	bool present = is_present(filter, record->hash);
	tally->questions++;
	tally->ticks += ticks > 0 ? ticks : 0;
	tally->absent += !present;
	tally->false_positives += !present && maybe;
	if (present && !maybe)
		return status_error(STATUS_CORRUPT, "%s says that a key is not there which is",
				    replay->ops->component.name);
	return status_ok();
}

static void add_up(struct replay *replay, const struct trace_record *record)
{
	struct traced_filter *filter = filter_of(&replay->filters, record->object, record->part);
	struct tally *tally = replay->tally;
	bool present = is_present(filter, record->hash);
	double ticks = (double)record->duration - replay->clock_cost;
	tally->questions++;
	tally->ticks += ticks > 0 ? ticks : 0;
	tally->absent += !present;
	tally->false_positives += !present && record->answer != 0;
	if (filter->is_counted)
		return;
	filter->is_counted = true;
	tally->filters++;
	tally->keys += record->count;
	/* Where each block has one, those of the others are taken to be as large. */
	tally->filter_bytes += (double)record->size * (record->other > 0 ? (double)record->sequence : 1);
}

static struct status replay_record(struct replay *replay, const struct trace_record *record)
{
	if (record->type == TRACE_ASK) {
		if (replay->ops != NULL)
			return ask(replay, record);
		add_up(replay, record);
	}
	/* The table's filters go with it; a table's number is never used again. */
	if (record->type == TRACE_TABLE_END) {
		for (size_t i = 0; i < replay->filters.slot_count; i++) {
			struct traced_filter *filter = replay->filters.slots[i];
			if (filter != NULL && filter->table == record->object)
				forget_built(filter);
		}
	}
	return status_ok();
}

/* The first time round only which keys were there: a filter has to be made of them before it is asked. */
static struct status read_shard(struct replay *replay, const struct bench_trace *trace, uint32_t shard,
				bool first)
{
	struct trace_reader reader;
	struct trace_record record;
	TRY(trace_reader_open(&reader, &trace->file, shard));
	struct status status;
	while (status_is_ok(status = trace_reader_next(&reader, &record))) {
		if (first && record.type == TRACE_TRUTH && record.answer != 0)
			add_present(filter_of(&replay->filters, record.object, record.part), record.hash);
		if (!first)
			status = replay_record(replay, &record);
		if (!status_is_ok(status))
			break;
	}
	trace_reader_close(&reader);
	return status_is(status, STATUS_NOT_FOUND) ? status_ok() : status;
}

static struct status replay_all(struct replay *replay, const struct bench_trace *trace)
{
	struct status status = status_ok();
	for (uint32_t i = 0; i < trace->file.header.shards && status_is_ok(status); i++) {
		replay->filters = (struct filters) { .count = 0 };
		status = read_shard(replay, trace, i, true);
		if (status_is_ok(status))
			status = read_shard(replay, trace, i, false);
		filters_free(&replay->filters);
	}
	return status;
}

static struct status run_side(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	_Alignas(16) uint8_t options[BENCH_TRACE_OPTIONS_BYTES];
	struct bench_trace trace;
	struct tally tally = { .questions = 0 };
	struct replay replay = { .options = options,
				 .random = random_stream(job->seed),
				 .tally = &tally,
				 .counts = canary_clock_counts() };
	TRY(bench_trace_open(&trace));
	struct status status = bench_trace_check(&trace, true, job);
	if (job->parameter == SIDE_OBSERVED) {
		replay.clock_cost = (double)trace.file.header.clock_cost / 256;
	} else {
		const struct component *component = component_find(COMPONENT_FILTER, job->variant);
		if (component == NULL)
			status_keep_first(&status, status_error(STATUS_NOT_FOUND, "there is no filter %s",
								job->variant));
		else
			bench_trace_options(&trace, component, options);
		replay.ops = (const void *)component;
		replay.clock_cost = (double)canary_clock_cost(replay.counts) / 256;
	}
	double ns_per_tick = trace.file.ns_per_tick;
	if (status_is_ok(status))
		status = replay_all(&replay, &trace);
	bench_trace_close(&trace);
	TRY(status);
	numbers[NUMBER_FALSE_POSITIVES] =
		tally.absent > 0 ? (double)tally.false_positives / (double)tally.absent : NAN;
	numbers[NUMBER_ASK] = tally.questions > 0 ? tally.ticks * ns_per_tick / (double)tally.questions : NAN;
	numbers[NUMBER_BITS] = tally.keys > 0 ? 8 * tally.filter_bytes / (double)tally.keys : NAN;
	numbers[NUMBER_QUESTIONS] = (double)tally.questions;
	numbers[NUMBER_ABSENT] = (double)tally.absent;
	numbers[NUMBER_FILTERS] = (double)tally.filters;
	return status_ok();
}

/* --- the measure --- */

static const struct bench_side sides[] = {
	[SIDE_PREDICTED] = { "predicted", run_side, SIDE_PREDICTED },
	[SIDE_OBSERVED] = { "observed in the engine", run_side, SIDE_OBSERVED },
};

static const struct bench_claim claims[] = {
	{ "trace.false-positives", "predicted share of false positives, of that observed", SIDE_PREDICTED,
	  SIDE_OBSERVED, NUMBER_FALSE_POSITIVES, BENCH_NO_BOUND, 0 },
	{ "trace.ask", "predicted time of a question, of that observed", SIDE_PREDICTED, SIDE_OBSERVED,
	  NUMBER_ASK, BENCH_NO_BOUND, 0 },
};

const struct bench_measure bench_trace_filter = {
	.name = "trace",
	.summary = "what the engine asked its filters, asked of each variant alone",
	.repeats = REPEATS,
	.numbers = { [NUMBER_FALSE_POSITIVES] = { "false_positive_share", BENCH_SHARE },
		     [NUMBER_ASK] = { "ask_ns", BENCH_NANOSECONDS },
		     [NUMBER_BITS] = { "bits_per_key", BENCH_FACTOR },
		     [NUMBER_QUESTIONS] = { "questions", BENCH_COUNT },
		     [NUMBER_ABSENT] = { "questions_about_absent_keys", BENCH_COUNT },
		     [NUMBER_FILTERS] = { "filters", BENCH_COUNT } },
	.sides = sides,
	.side_count = sizeof(sides) / sizeof(sides[0]),
	.claims = claims,
	.claim_count = sizeof(claims) / sizeof(claims[0]),
	.shared_sides = 1,
	.compared_numbers = 3,
};
