/*
 * bench_runtime_merge.c: how long gets take while the shards merge. What is measured ends when the merge
 * does; the quiet side reads the same tree with the merge put off.
 *
 * Threads: the time of the call. Tasks, with cached gets: how much later than it was due a task that slept
 * has its answer, for a get that suspends nowhere shows nothing of who else wants the processor; with
 * uncached ones: the time of the call, for which the task waits.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/bench/bench_backlog.h"
#include "harness/bench/bench_runtime.h"
#include "harness/bench/bench_store.h"
#include "harness/bench/bench_timing.h"
#include "harness/ticks.h"

enum {
	RECORDS_HOT = 500, /* of cached gets */
	WARM_TIMES = 3,	   /* the second time a record is read shows that it is worth keeping */
	CLIENTS_MAX = 8,
	TIMES_MAX = 200 * 1000, /* of one client */
	TIMES_LEAST = 500,	/* of all together, else a p99 says nothing */
	PAUSE_NS = 100 * 1000,	/* between two cached gets */
	QUIET_NS = 700 * 1000 * 1000,
	QUIET_QUICK_NS = 20 * 1000 * 1000,
	LIMIT_NS = 1500 * 1000 * 1000,
	LOOK_NS = 1000 * 1000,
};

/* What a side's parameter says. */
enum { AS_TASKS = 1, BUSY = 2 };

struct crowd {
	struct bench_backlog backlog;
	bool as_tasks, cached, busy;
	uint64_t seed;
	uint64_t window_ns;
	_Atomic int stop;
};

struct getter {
	struct crowd *crowd;
	unsigned index;
	struct random random;
	uint64_t *times;
	size_t count;
	pthread_t thread;
	cascade_future *future;
	struct status status; /* the first failure */
};

/* --- gets --- */

static struct status get(cascade *db, uint64_t number)
{
	uint8_t bytes[BENCH_KEY_BYTES];
	cascade_value value;
	struct slice key = bench_key(number, bytes);
	cascade_status status = cascade_get(db, cascade_bytes(key.data, key.size), NULL, &value);
	if (__builtin_expect(status != CASCADE_OK, 0))
		return bench_status_of(status);
	bool good = bench_value_is(slice_make(value.data, value.size), number, BENCH_BACKLOG_VALUE_BYTES);
	cascade_value_release(&value);
	return good ? status_ok() : status_error(STATUS_CORRUPT, "a get gave another record's value");
}

/* A cached get of a task is of its own shard: where it goes to another, it waits for that one as well. */
static uint64_t draw(struct getter *getter)
{
	const struct crowd *crowd = getter->crowd;
	uint64_t records = crowd->cached ? RECORDS_HOT : crowd->backlog.records;
	uint32_t shards = cascade_shard_count(crowd->backlog.db);
	for (;;) {
		uint8_t bytes[BENCH_KEY_BYTES];
		uint64_t number = random_below(&getter->random, records);
		struct slice key = bench_key(number, bytes);
		if (!crowd->cached || !crowd->as_tasks ||
		    cascade_shard_of(crowd->backlog.db, cascade_bytes(key.data, key.size)) ==
			    getter->index % shards)
			return number;
	}
}

static void get_once(struct getter *getter)
{
	const struct crowd *crowd = getter->crowd;
	cascade *db = crowd->backlog.db;
	uint64_t number = draw(getter), due_ns = 0;
	if (crowd->cached && !crowd->as_tasks)
		clock_sleep_ns(PAUSE_NS);
	uint64_t start = ticks_now();
	if (crowd->cached && crowd->as_tasks) {
		due_ns = PAUSE_NS;
		cascade_sleep(db, PAUSE_NS);
	}
	getter->status = get(db, number);
	uint64_t ns = ticks_to_ns(ticks_now() - start);
	getter->times[getter->count++] = ns > due_ns ? ns - due_ns : 0;
}

static void run_gets(struct getter *getter)
{
	do
		get_once(getter);
	while (atomic_load_explicit(&getter->crowd->stop, memory_order_relaxed) == 0 &&
	       getter->count < TIMES_MAX && status_is_ok(getter->status));
}

static void run_task(cascade *db, void *argument)
{
	(void)db;
	run_gets(argument);
}

static void *run_thread(void *argument)
{
	run_gets(argument);
	return NULL;
}

static struct status warm(const struct bench_backlog *backlog)
{
	for (int time = 0; time < WARM_TIMES; time++) {
		for (uint64_t i = 0; i < RECORDS_HOT; i++)
			TRY(get(backlog->db, i));
	}
	return status_ok();
}

/* --- all clients at once --- */

static struct status start(struct getter *getter)
{
	cascade *db = getter->crowd->backlog.db;
	if (getter->crowd->as_tasks)
		return bench_status_of(cascade_run_async(db, getter->index % cascade_shard_count(db),
							 run_task, getter, &getter->future));
	if (pthread_create(&getter->thread, NULL, run_thread, getter) != 0)
		return status_error(STATUS_BUSY, "no thread can be had");
	return status_ok();
}

static struct status finish(struct getter *getter)
{
	if (getter->crowd->as_tasks)
		status_keep_first(&getter->status, bench_status_of(cascade_future_wait(getter->future)));
	else
		(void)pthread_join(getter->thread, NULL);
	return getter->status;
}

/* Ends the measurement when its time is over. */
static void *run_watch(void *argument)
{
	struct crowd *crowd = argument;
	uint64_t end = clock_now_ns() + crowd->window_ns;
	while (clock_now_ns() < end && atomic_load(&crowd->stop) == 0)
		clock_sleep_ns(LOOK_NS);
	atomic_store(&crowd->stop, 1);
	return NULL;
}

/* Until nothing is merged any more, or its time is over. */
static struct status wait_for_end(struct crowd *crowd)
{
	pthread_t watch;
	struct status status = status_ok();
	if (pthread_create(&watch, NULL, run_watch, crowd) != 0)
		return status_error(STATUS_BUSY, "no thread can be had");
	if (crowd->busy) {
		status = bench_status_of(cascade_wait_idle(crowd->backlog.db));
		atomic_store(&crowd->stop, 1);
	}
	(void)pthread_join(watch, NULL);
	return status;
}

static struct status run_all(struct crowd *crowd, struct getter *getters, unsigned count)
{
	unsigned started = 0;
	struct status status = bench_backlog_add(&crowd->backlog);
	for (; started < count && status_is_ok(status); started++)
		status = start(&getters[started]);
	started -= started > 0 && !status_is_ok(status);
	if (status_is_ok(status))
		status = wait_for_end(crowd);
	atomic_store(&crowd->stop, 1);
	for (unsigned i = 0; i < started; i++)
		status_keep_first(&status, finish(&getters[i]));
	return status;
}

/* --- a side --- */

static struct status summarize(const struct bench_job *job, struct getter *getters, unsigned count,
			       double *numbers)
{
	size_t total = 0, used = 0;
	for (unsigned i = 0; i < count; i++)
		total += getters[i].count;
	if (total < (size_t)(job->quick ? 1 : TIMES_LEAST))
		return status_error(STATUS_BUSY, "only %zu gets while it was measured", total);
	uint64_t *times = allocate_zeroed(total, sizeof(*times));
	for (unsigned i = 0; i < count; i++) {
		memcpy(times + used, getters[i].times, getters[i].count * sizeof(*times));
		used += getters[i].count;
	}
	numbers[0] = bench_quantile(times, total, 0.99);
	numbers[1] = bench_quantile(times, total, 0.5);
	numbers[2] = (double)total;
	memory_free(times);
	return status_ok();
}

static struct status measure(struct bench_job *job, struct crowd *crowd, double *numbers)
{
	unsigned count = crowd->cached ? 1 : CLIENTS_MAX;
	struct getter *getters = allocate_zeroed(CLIENTS_MAX, sizeof(*getters));
	for (unsigned i = 0; i < count; i++) {
		getters[i] = (struct getter) {
			.crowd = crowd,
			.index = i,
			.random = random_stream(random_at(crowd->seed, i)),
			.times = allocate_zeroed(TIMES_MAX, sizeof(uint64_t)),
			.status = status_ok(),
		};
	}
	uint64_t start = ticks_now();
	struct status status = run_all(crowd, getters, count);
	numbers[3] = (double)ticks_to_ns(ticks_now() - start);
	if (status_is_ok(status))
		status = summarize(job, getters, count, numbers);
	if (status_is_ok(status) && crowd->busy && bench_backlog_merged_bytes(&crowd->backlog) == 0)
		status = status_error(STATUS_BUSY, "nothing was merged while it was measured");
	for (unsigned i = 0; i < count; i++)
		memory_free(getters[i].times);
	memory_free(getters);
	return status;
}

static struct status run_side(struct bench_job *job, bool cached, double *numbers)
{
	struct crowd crowd = {
		.as_tasks = (job->parameter & AS_TASKS) != 0,
		.cached = cached,
		.busy = (job->parameter & BUSY) != 0,
		.seed = job->seed,
	};
	crowd.window_ns = crowd.busy ? LIMIT_NS : job->quick ? QUIET_QUICK_NS : QUIET_NS;
	TRY(bench_backlog_open(&crowd.backlog, job, crowd.busy, cached ? "64 MiB" : "8 MiB",
			       cached ? "0.125" : "0"));
	struct status status = cached ? warm(&crowd.backlog) : status_ok();
	if (status_is_ok(status))
		status = measure(job, &crowd, numbers);
	status_keep_first(&status, bench_backlog_close(&crowd.backlog));
	return status;
}

static struct status cached_side(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return run_side(job, true, numbers);
}

static struct status uncached_side(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return run_side(job, false, numbers);
}

/* --- the measures --- */

enum { THREAD_QUIET, THREAD_BUSY, TASK_QUIET, TASK_BUSY };

#define LATENCY_NUMBERS                                                                                    \
	{                                                                                                  \
		{ "p99_ns", BENCH_NANOSECONDS }, { "p50_ns", BENCH_NANOSECONDS }, { "gets", BENCH_COUNT }, \
		{                                                                                          \
			"measured_ns", BENCH_NANOSECONDS                                                   \
		}                                                                                          \
	}
#define MORE_NS (250 * 1000)

static const struct bench_side cached_sides[] = {
	[THREAD_QUIET] = { "quiet", cached_side, 0 },
	[THREAD_BUSY] = { "beside a merge", cached_side, BUSY },
	[TASK_QUIET] = { "task, quiet", cached_side, AS_TASKS },
	[TASK_BUSY] = { "task, beside a merge", cached_side, AS_TASKS | BUSY },
};
static const struct bench_claim cached_claims[] = {
	{ "merge-cached.thread", "p99 of cached gets of a thread beside a merge", THREAD_BUSY, THREAD_QUIET,
	  0, BENCH_MORE_AT_MOST, MORE_NS },
	{ "merge-cached.task", "p99 of cached gets of a task beside a merge", TASK_BUSY, TASK_QUIET, 0,
	  BENCH_MORE_AT_MOST, MORE_NS },
};

const struct bench_measure bench_runtime_merge_cached = {
	.name = "merge-cached",
	.summary = "p99 of cached gets beside a running merge; against the same when all is quiet",
	.numbers = LATENCY_NUMBERS,
	.sides = cached_sides,
	.side_count = 4,
	.claims = cached_claims,
	.claim_count = 2,
	.prepare = bench_backlog_prepare,
};

static const struct bench_side uncached_sides[] = {
	[THREAD_QUIET] = { "quiet", uncached_side, 0 },
	[THREAD_BUSY] = { "beside a merge", uncached_side, BUSY },
	[TASK_QUIET] = { "tasks, quiet", uncached_side, AS_TASKS },
	[TASK_BUSY] = { "tasks, beside a merge", uncached_side, AS_TASKS | BUSY },
};
static const struct bench_claim uncached_claims[] = {
	{ "merge-uncached.thread", "p99 of uncached gets of 8 threads beside a merge", THREAD_BUSY,
	  THREAD_QUIET, 0, BENCH_RATIO_AT_MOST, 2 },
	{ "merge-uncached.task", "p99 of uncached gets of 8 tasks beside a merge", TASK_BUSY, TASK_QUIET, 0,
	  BENCH_RATIO_AT_MOST, 2 },
};

const struct bench_measure bench_runtime_merge_uncached = {
	.name = "merge-uncached",
	.summary = "p99 of uncached gets beside a running merge, 8 under way; against the same in quiet",
	.numbers = LATENCY_NUMBERS,
	.sides = uncached_sides,
	.side_count = 4,
	.claims = uncached_claims,
	.claim_count = 2,
	.prepare = bench_backlog_prepare,
};
