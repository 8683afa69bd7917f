/*
 * bench_trace_cache.c: the pages that a shard looked up in its pool, looked up in a pool of the same size
 * under each strategy. The pool has no contents, and no page of it is pinned or on its way: in the engine
 * some are for a moment, and a page that is on its way counts as found there as here.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "components/cache/cache.h"
#include "harness/allocate.h"
#include "harness/bench/bench_trace.h"

enum { NUMBER_MISSES_SHARE, NUMBER_LOOKUPS, NUMBER_MISSES, NUMBER_FRAMES };

enum side { SIDE_PREDICTED, SIDE_OBSERVED };

enum { FRAMES_MAX = 1 << 28, ALIGNMENT = 64 };

struct tally {
	uint64_t lookups, misses, frames;
};

/* --- a pool --- */

struct frame {
	uint64_t file;
	uint32_t page;
	uint32_t next; /* of its bucket, or of the free frames; CACHE_NO_FRAME: the last */
	bool is_held;
};

struct pool {
	const struct cache_ops *ops;
	const void *options;
	void *memory; /* the strategy's */
	struct cache_strategy *strategy;
	struct frame *frames;
	uint32_t *buckets;
	uint32_t frame_count, bucket_mask;
	uint32_t fresh; /* frames from here on were never used */
	uint32_t unused;
};

static void pool_free(struct pool *pool)
{
	memory_free(pool->memory);
	memory_free(pool->frames);
	memory_free(pool->buckets);
	pool->memory = NULL;
	pool->frames = NULL;
	pool->buckets = NULL;
}

static struct status pool_init(struct pool *pool, uint64_t frames)
{
	pool_free(pool);
	if (frames > FRAMES_MAX)
		return status_error(STATUS_CORRUPT, "a pool of %llu pages", (unsigned long long)frames);
	uint32_t buckets = 64;
	while (buckets < frames)
		buckets *= 2;
	size_t bytes = pool->ops->memory_size(pool->options, (uint32_t)frames);
	bytes = (bytes / ALIGNMENT + 1) * ALIGNMENT;
	pool->memory = memory_allocate_aligned(ALIGNMENT, bytes);
	if (pool->memory == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset(pool->memory, 0, bytes);
	pool->frames = allocate_zeroed(frames, sizeof(*pool->frames));
	pool->buckets = allocate_zeroed(buckets, sizeof(*pool->buckets));
	memset(pool->buckets, 0xff, buckets * sizeof(*pool->buckets));
	pool->frame_count = (uint32_t)frames;
	pool->bucket_mask = buckets - 1;
	pool->fresh = 0;
	pool->unused = CACHE_NO_FRAME;
	pool->strategy = pool->ops->create(pool->options, pool->frame_count, pool->memory);
	return status_ok();
}

static uint64_t hash_of(uint64_t file, uint32_t page)
{
	return hash_mix(hash_mix(file + 1) + page);
}

static uint32_t *bucket_of(struct pool *pool, uint64_t file, uint32_t page)
{
	return &pool->buckets[hash_of(file, page) & pool->bucket_mask];
}

static uint32_t find(struct pool *pool, uint64_t file, uint32_t page)
{
	uint32_t at = *bucket_of(pool, file, page);
	while (at != CACHE_NO_FRAME && (pool->frames[at].file != file || pool->frames[at].page != page))
		at = pool->frames[at].next;
	return at;
}

/* The frame holds its page no more. */
static void detach(struct pool *pool, uint32_t index)
{
	struct frame *frame = &pool->frames[index];
	uint32_t *at = bucket_of(pool, frame->file, frame->page);
	while (*at != index)
		at = &pool->frames[*at].next;
	*at = frame->next;
	frame->is_held = false;
}

static bool always(void *context, uint32_t frame)
{
	(void)context;
	(void)frame;
	return true;
}

static struct status load(struct pool *pool, uint64_t file, uint32_t page)
{
	uint32_t index = pool->unused;
	if (index != CACHE_NO_FRAME) {
		pool->unused = pool->frames[index].next;
	} else if (pool->fresh < pool->frame_count) {
		index = pool->fresh++;
	} else {
		index = pool->ops->evict(pool->strategy, always, NULL);
		if (index >= pool->frame_count || !pool->frames[index].is_held)
			return status_error(STATUS_CORRUPT, "%s gives up frame %u, which holds no page",
					    pool->ops->component.name, index);
		detach(pool, index);
	}
	uint32_t *bucket = bucket_of(pool, file, page);
	pool->frames[index] = (struct frame) { .file = file, .page = page, .next = *bucket, .is_held = true };
	*bucket = index;
	pool->ops->insert(pool->strategy, index, hash_of(file, page));
	return status_ok();
}

/* Files are seldom forgotten: a sweep will do. */
static void forget(struct pool *pool, uint64_t file)
{
	for (uint32_t i = 0; i < pool->fresh; i++) {
		if (!pool->frames[i].is_held || pool->frames[i].file != file)
			continue;
		pool->ops->remove(pool->strategy, i);
		detach(pool, i);
		pool->frames[i].next = pool->unused;
		pool->unused = i;
	}
}

/* --- records --- */

static struct status look_up(struct pool *pool, const struct trace_record *record, struct tally *tally)
{
	for (uint64_t i = 0; i < record->count; i++) {
		uint32_t page = (uint32_t)(record->part + i);
		if (record->answer == TRACE_PAST) {
			tally->lookups++;
			tally->misses++;
			continue;
		}
		uint32_t index = find(pool, record->object, page);
		bool is_lookup = record->answer != TRACE_AHEAD;
		tally->lookups += is_lookup;
		if (index == CACHE_NO_FRAME) {
			tally->misses += is_lookup;
			TRY(load(pool, record->object, page));
		} else if (is_lookup) {
			pool->ops->touch(pool->strategy, index);
		}
	}
	return status_ok();
}

static struct status replay_record(struct pool *pool, const struct trace_record *record, struct tally *tally)
{
	if (record->type == TRACE_POOL) {
		tally->frames += record->count;
		return pool_init(pool, record->count);
	}
	if (record->type != TRACE_PAGE && record->type != TRACE_FORGET)
		return status_ok();
	if (pool->frames == NULL)
		return status_error(STATUS_CORRUPT, "pages are looked up before there is a pool");
	if (record->type == TRACE_PAGE)
		return look_up(pool, record, tally);
	forget(pool, record->object);
	return status_ok();
}

static void add_up(const struct trace_record *record, struct tally *tally)
{
	if (record->type == TRACE_POOL)
		tally->frames += record->count;
	if (record->type != TRACE_PAGE || record->answer == TRACE_AHEAD)
		return;
	tally->lookups += record->count;
	if (record->answer == TRACE_MISS || record->answer == TRACE_PAST)
		tally->misses += record->count;
}

/* `pool` NULL: what was recorded is added up. */
static struct status replay_shard(const struct bench_trace *trace, uint32_t shard, struct pool *pool,
				  struct tally *tally)
{
	struct trace_reader reader;
	struct trace_record record;
	TRY(trace_reader_open(&reader, &trace->file, shard));
	struct status status;
	while (status_is_ok(status = trace_reader_next(&reader, &record))) {
		if (pool == NULL)
			add_up(&record, tally);
		else
			status = replay_record(pool, &record, tally);
		if (!status_is_ok(status))
			break;
	}
	trace_reader_close(&reader);
	return status_is(status, STATUS_NOT_FOUND) ? status_ok() : status;
}

static struct status replay_all(const struct bench_trace *trace, const struct bench_job *job,
				struct tally *tally)
{
	_Alignas(16) uint8_t options[BENCH_TRACE_OPTIONS_BYTES];
	struct pool pool = { .options = options };
	bool observed = job->parameter == SIDE_OBSERVED;
	if (!observed) {
		const struct component *component = component_find(COMPONENT_CACHE, job->variant);
		if (component == NULL)
			return status_error(STATUS_NOT_FOUND, "there is no strategy %s", job->variant);
		bench_trace_options(trace, component, options);
		pool.ops = (const void *)component;
	}
	struct status status = status_ok();
	for (uint32_t i = 0; i < trace->file.header.shards && status_is_ok(status); i++) {
		status = replay_shard(trace, i, observed ? NULL : &pool, tally);
		pool_free(&pool);
	}
	return status;
}

static struct status run_side(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct bench_trace trace;
	struct tally tally = { .lookups = 0 };
	TRY(bench_trace_open(&trace));
	struct status status = bench_trace_check(&trace, true, job);
	if (status_is_ok(status))
		status = replay_all(&trace, job, &tally);
	bench_trace_close(&trace);
	TRY(status);
	numbers[NUMBER_MISSES_SHARE] = tally.lookups > 0 ? (double)tally.misses / (double)tally.lookups : NAN;
	numbers[NUMBER_LOOKUPS] = (double)tally.lookups;
	numbers[NUMBER_MISSES] = (double)tally.misses;
	numbers[NUMBER_FRAMES] = (double)tally.frames;
	return status_ok();
}

/* --- the measure --- */

static const struct bench_side sides[] = {
	[SIDE_PREDICTED] = { "predicted", run_side, SIDE_PREDICTED },
	[SIDE_OBSERVED] = { "observed in the engine", run_side, SIDE_OBSERVED },
};

static const struct bench_claim claims[] = {
	{ "trace.at-least", "predicted share of misses, of that observed", SIDE_PREDICTED, SIDE_OBSERVED,
	  NUMBER_MISSES_SHARE, BENCH_RATIO_AT_LEAST, 0.9 },
	{ "trace.at-most", "predicted share of misses, of that observed", SIDE_PREDICTED, SIDE_OBSERVED,
	  NUMBER_MISSES_SHARE, BENCH_RATIO_AT_MOST, 1.1 },
};

const struct bench_measure bench_trace_cache = {
	.name = "trace",
	.summary = "the pages that the engine looked up, under each strategy alone",
	.once = true,
	.numbers = { [NUMBER_MISSES_SHARE] = { "miss_share", BENCH_SHARE },
		     [NUMBER_LOOKUPS] = { "lookups", BENCH_COUNT },
		     [NUMBER_MISSES] = { "misses", BENCH_COUNT },
		     [NUMBER_FRAMES] = { "frames", BENCH_COUNT } },
	.sides = sides,
	.side_count = sizeof(sides) / sizeof(sides[0]),
	.claims = claims,
	.claim_count = sizeof(claims) / sizeof(claims[0]),
	.shared_sides = 1,
	.compared_numbers = 1,
};
