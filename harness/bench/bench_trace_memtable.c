/*
 * bench_trace_memtable.c: memtables replayed from a trace, shard by shard at the same time.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/bench/bench_timing.h"
#include "harness/bench/bench_trace_replay.h"

enum {
	OPERATIONS_MAX = 6 * 1000 * 1000, /* of a shard: the time of a side is bounded */
	QUICK_OPERATIONS = 50 * 1000,
	REPEATS = 3,
	RATE_NS_MIN = 50 * 1000 * 1000, /* what it takes to tell how fast the clock runs */
};

enum side { SIDE_PREDICTED, SIDE_ALONE, SIDE_OBSERVED };

enum number {
	NUMBER_OPERATION,
	NUMBER_INSERT,
	NUMBER_GET,
	NUMBER_SEEK,
	NUMBER_STEP,
	NUMBER_INTERRUPTED,
	NUMBER_NEAR,
	NUMBER_CODE,
	NUMBER_MIDDLE,
	NUMBER_FAR,
	NUMBER_CLOCK,
	NUMBER_OPERATIONS,
	NUMBER_CHECKED,
	NUMBERS,
};

/* One shard's part. */
struct part {
	struct replay_options options;
	struct replay_tally tally;
	struct surroundings surroundings;
	struct status status;
	pthread_t thread;
};

/* From there on a reader of the numbers has to know. */
#define CANARIES_DIFFER 0.25

struct replay_run {
	struct bench_trace trace;
	enum side side;
	struct part *parts;
	uint32_t part_count;
	double ns_per_tick; /* of the ticks that were counted: the trace's, or this machine's */
	_Alignas(16) uint8_t options[BENCH_TRACE_OPTIONS_BYTES];
};

static void *run_part(void *argument)
{
	struct part *part = argument;
	bench_pin_thread(part->options.shard);
	part->status = replay_shard(&part->options, &part->tally);
	return NULL;
}

/* Shards share nothing but the machine; they do so here as in the engine. */
static struct status run_parts(struct replay_run *run)
{
	struct status status = status_ok();
	uint32_t started = 0;
	for (; started < run->part_count && status_is_ok(status); started++) {
		struct part *part = &run->parts[started];
		int error = pthread_create(&part->thread, NULL, run_part, part);
		if (error != 0) {
			status = status_from_errno(error, "cannot start a thread", NULL);
			break;
		}
	}
	for (uint32_t i = 0; i < started; i++) {
		(void)pthread_join(run->parts[i].thread, NULL);
		status_keep_first(&status, run->parts[i].status);
	}
	return status;
}

static struct status make_parts(struct replay_run *run, const struct bench_job *job)
{
	const struct memtable_ops *ops = NULL;
	if (run->side != SIDE_OBSERVED) {
		const struct component *component = component_find(COMPONENT_MEMTABLE, job->variant);
		if (component == NULL)
			return status_error(STATUS_NOT_FOUND, "there is no memtable %s", job->variant);
		bench_trace_options(&run->trace, component, run->options);
		ops = (const void *)component;
	}
	run->part_count = run->trace.file.header.shards;
	run->parts = allocate_zeroed(run->part_count, sizeof(*run->parts));
	for (uint32_t i = 0; i < run->part_count; i++) {
		struct part *part = &run->parts[i];
		bool has_surroundings = run->side != SIDE_ALONE;
		if (has_surroundings)
			TRY(surroundings_init(&part->surroundings));
		part->options = (struct replay_options) {
			.file = &run->trace.file,
			.shard = i,
			.operations_max = job->quick ? QUICK_OPERATIONS : OPERATIONS_MAX,
			.ops = ops,
			.options = run->options,
			.surroundings = has_surroundings ? &part->surroundings : NULL,
			.ns_per_tick = run->trace.file.ns_per_tick,
		};
	}
	return status_ok();
}

static void run_free(struct replay_run *run)
{
	for (uint32_t i = 0; i < run->part_count; i++)
		surroundings_free(&run->parts[i].surroundings);
	memory_free(run->parts);
	bench_trace_close(&run->trace);
}

/* --- numbers --- */

static double per(double ticks, uint64_t count, double ns_per_tick)
{
	return count == 0 ? NAN : ticks * ns_per_tick / (double)count;
}

static void add_tally(struct replay_tally *sum, const struct replay_tally *tally)
{
	for (unsigned i = 0; i < REPLAY_OPERATIONS; i++) {
		sum->count[i] += tally->count[i];
		sum->ticks[i] += tally->ticks[i];
	}
	sum->interrupted_ticks += tally->interrupted_ticks;
	sum->checked += tally->checked;
	sum->mismatches += tally->mismatches;
	if (sum->mismatch[0] == '\0')
		memcpy(sum->mismatch, tally->mismatch, sizeof(sum->mismatch));
}

static void put_times(const struct replay_tally *sum, double ns_per_tick, double numbers[BENCH_NUMBERS_MAX])
{
	double ticks = 0;
	uint64_t count = 0;
	for (unsigned i = 0; i < REPLAY_OPERATIONS; i++) {
		ticks += sum->ticks[i];
		count += sum->count[i];
		numbers[NUMBER_INSERT + i] = per(sum->ticks[i], sum->count[i], ns_per_tick);
	}
	numbers[NUMBER_OPERATION] = per(ticks, count, ns_per_tick);
	numbers[NUMBER_INTERRUPTED] =
		ticks > 0 ? sum->interrupted_ticks / (ticks + sum->interrupted_ticks) : NAN;
	numbers[NUMBER_OPERATIONS] = (double)count;
	numbers[NUMBER_CHECKED] = (double)sum->checked;
}

/* What the caches were like between operations that come alone. */
static void put_canaries(const struct replay_run *run, double numbers[BENCH_NUMBERS_MAX])
{
	struct surroundings_sum sum = { .count = 0 };
	double ns = run->ns_per_tick;
	for (uint32_t i = 0; i < run->part_count; i++) {
		const struct surroundings *of = &run->parts[i].surroundings;
		const struct surroundings_sum *part = run->side == SIDE_OBSERVED
							      ? &of->all_wanted[CANARY_POINT]
							      : &of->all_had[CANARY_POINT];
		sum.near += part->near - part->nothing;
		sum.code += part->code - part->nothing;
		sum.middle += part->middle - part->nothing;
		sum.far += part->far - part->nothing;
		sum.nothing += part->nothing;
		sum.count += part->count;
	}
	numbers[NUMBER_NEAR] = per(sum.near, sum.count, ns);
	numbers[NUMBER_CODE] = per(sum.code, sum.count, ns);
	numbers[NUMBER_MIDDLE] = per(sum.middle, sum.count, ns);
	numbers[NUMBER_FAR] = per(sum.far, sum.count, ns);
	numbers[NUMBER_CLOCK] = per(sum.nothing, sum.count, ns);
}

static struct status put_numbers(const struct replay_run *run, double numbers[BENCH_NUMBERS_MAX])
{
	struct replay_tally sum = { .checked = 0 };
	for (uint32_t i = 0; i < run->part_count; i++)
		add_tally(&sum, &run->parts[i].tally);
	if (sum.mismatches > 0)
		return status_error(
			STATUS_CORRUPT, "%llu of %llu answers are not those of the engine; the first: %s",
			(unsigned long long)sum.mismatches, (unsigned long long)sum.checked, sum.mismatch);
	put_times(&sum, run->ns_per_tick, numbers);
	if (run->side != SIDE_ALONE)
		put_canaries(run, numbers);
	return status_ok();
}

/* Nanoseconds that loads of lines took that were touched long ago: recorded, or here. */
static double far_ns(const struct replay_run *run, bool recorded)
{
	struct surroundings_sum sum = { .count = 0 };
	for (uint32_t i = 0; i < run->part_count; i++) {
		const struct surroundings *of = &run->parts[i].surroundings;
		const struct surroundings_sum *part =
			recorded ? &of->all_wanted[CANARY_POINT] : &of->all_had[CANARY_POINT];
		sum.far += part->far - part->nothing;
		sum.count += part->count;
	}
	return per(sum.far, sum.count, run->ns_per_tick);
}

/* The model has its limits: what else ran on the machine at that time, it cannot bring back. */
static void describe(const struct replay_run *run, struct bench_job *job)
{
	double recorded = far_ns(run, true), own = far_ns(run, false);
	if (run->side != SIDE_PREDICTED || job->notice[0] != '\0' ||
	    strcmp(job->variant, run->trace.variant.name) != 0)
		return;
	if (fabs(own / recorded - 1) > CANARIES_DIFFER)
		(void)snprintf(job->notice, sizeof(job->notice),
			       "the caches were %s when it was recorded: a load of what was touched long ago "
			       "took %.0f ns there and %.0f ns here; predictions are that much too %s",
			       own < recorded ? "colder" : "warmer", recorded, own,
			       own < recorded ? "low" : "high");
}

/* Runs the parts, and measures what a tick is here. */
static struct status run_and_compare_clocks(struct replay_run *run, struct bench_job *job)
{
	bool counts = canary_clock_counts();
	uint64_t begin_ns = clock_now_ns(), begin = canary_clock(counts);
	TRY(run_parts(run));
	uint64_t ns = clock_now_ns() - begin_ns, ticks = canary_clock(counts) - begin;
	double recorded = run->trace.file.ns_per_tick, own = (double)ns / (double)ticks;
	run->ns_per_tick = recorded;
	if (run->side == SIDE_OBSERVED || ns < RATE_NS_MIN)
		return status_ok();
	run->ns_per_tick = own;
	if (fabs(own / recorded - 1) > 0.01)
		(void)snprintf(job->notice, sizeof(job->notice),
			       "the clock runs at another rate than where it was recorded: another machine, "
			       "of which this one says nothing");
	return status_ok();
}

static struct status run_side(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct replay_run run = { .side = (enum side)job->parameter };
	TRY(bench_trace_open(&run.trace));
	struct status status = bench_trace_check(&run.trace, false, job);
	if (status_is_ok(status))
		status = make_parts(&run, job);
	if (status_is_ok(status))
		status = run_and_compare_clocks(&run, job);
	if (status_is_ok(status))
		status = put_numbers(&run, numbers);
	if (status_is_ok(status) && !job->quick)
		describe(&run, job);
	run_free(&run);
	return status;
}

/* --- the measure --- */

static const struct bench_side sides[] = {
	[SIDE_PREDICTED] = { "predicted", run_side, SIDE_PREDICTED },
	[SIDE_ALONE] = { "with the caches to itself", run_side, SIDE_ALONE },
	[SIDE_OBSERVED] = { "observed in the engine", run_side, SIDE_OBSERVED },
};

static const struct bench_claim claims[] = {
	{ "trace.at-least", "predicted time of an operation, of that observed", SIDE_PREDICTED, SIDE_OBSERVED,
	  NUMBER_OPERATION, BENCH_RATIO_AT_LEAST, 0.8 },
	{ "trace.at-most", "predicted time of an operation, of that observed", SIDE_PREDICTED, SIDE_OBSERVED,
	  NUMBER_OPERATION, BENCH_RATIO_AT_MOST, 1.2 },
	{ "trace.insert", "the same of inserts", SIDE_PREDICTED, SIDE_OBSERVED, NUMBER_INSERT, BENCH_NO_BOUND,
	  0 },
	{ "trace.get", "the same of gets", SIDE_PREDICTED, SIDE_OBSERVED, NUMBER_GET, BENCH_NO_BOUND, 0 },
	{ "trace.seek", "the same of seeks", SIDE_PREDICTED, SIDE_OBSERVED, NUMBER_SEEK, BENCH_NO_BOUND, 0 },
	{ "trace.step", "the same of steps of iterators", SIDE_PREDICTED, SIDE_OBSERVED, NUMBER_STEP,
	  BENCH_NO_BOUND, 0 },
	{ "trace.alone", "an operation that has the caches to itself, of that observed", SIDE_ALONE,
	  SIDE_OBSERVED, NUMBER_OPERATION, BENCH_NO_BOUND, 0 },
};

const struct bench_measure bench_trace_memtable = {
	.name = "trace",
	.summary = "what the engine's memtables did, done by each variant alone",
	.repeats = REPEATS,
	.numbers = { [NUMBER_OPERATION] = { "operation_ns", BENCH_NANOSECONDS },
		     [NUMBER_INSERT] = { "insert_ns", BENCH_NANOSECONDS },
		     [NUMBER_GET] = { "get_ns", BENCH_NANOSECONDS },
		     [NUMBER_SEEK] = { "seek_ns", BENCH_NANOSECONDS },
		     [NUMBER_STEP] = { "step_ns", BENCH_NANOSECONDS },
		     [NUMBER_INTERRUPTED] = { "interrupted_share", BENCH_SHARE },
		     [NUMBER_NEAR] = { "canary_near_ns", BENCH_NANOSECONDS },
		     [NUMBER_CODE] = { "canary_code_ns", BENCH_NANOSECONDS },
		     [NUMBER_MIDDLE] = { "canary_middle_ns", BENCH_NANOSECONDS },
		     [NUMBER_FAR] = { "canary_far_ns", BENCH_NANOSECONDS },
		     [NUMBER_CLOCK] = { "clock_ns", BENCH_NANOSECONDS },
		     [NUMBER_OPERATIONS] = { "operations", BENCH_COUNT },
		     [NUMBER_CHECKED] = { "answers_checked", BENCH_COUNT } },
	.sides = sides,
	.side_count = sizeof(sides) / sizeof(sides[0]),
	.claims = claims,
	.claim_count = sizeof(claims) / sizeof(claims[0]),
	.shared_sides = 1,
	.compared_numbers = NUMBER_INTERRUPTED,
};

_Static_assert((int)NUMBERS <= (int)BENCH_NUMBERS_MAX, "they fit");
_Static_assert((int)NUMBER_INSERT + (int)REPLAY_STEP == (int)NUMBER_STEP, "one for each operation");
