/*
 * bench_runtime_call.c: calls of the database from threads of the embedder: what one call costs, beside the
 * same call in a task and beside RocksDB's, and how many 2, 8 and 32 threads make together.
 */
#include <stdio.h>

#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/bench/bench_runtime.h"
#include "harness/bench/bench_store.h"
#include "harness/bench/bench_timing.h"
#include "harness/folder.h"

enum {
	PATH_BYTES = 4096,
	RECORDS = 20 * 1000, /* of gets: all of them fit into any part of a cache */
	RECORDS_QUICK = 1000,
	RECORDS_OF_PUTS = 1000 * 1000,
	VALUE_BYTES = 100,
	WARM_TIMES = 3, /* the second time a record is read shows that it is worth keeping */
	CALLS = 1000,
	SLICES = 100,
	WINDOW_MS = 600,
	QUICK_CALLS = 100,
	QUICK_SLICES = 2,
	QUICK_MS = 50,
};

/* One shard where a task is compared: there, every key is its own shard's. */
static const struct bench_engine cascade_single = {
	"cascade",
	{ { "shards", "1" }, { "cache.size", "64 MiB" }, { "memtable.size", "64 MiB" } },
};
static const struct bench_engine cascade_cached = {
	"cascade",
	{ { "cache.size", "64 MiB" }, { "memtable.size", "64 MiB" } },
};
static const struct bench_engine rocksdb_cached = {
	"rocksdb",
	{ { "profile", "tuned" }, { "cache.size", "64 MiB" }, { "memtable.size", "64 MiB" } },
};
static const struct bench_engine cascade_process = {
	"cascade",
	{ { "cache.size", "64 MiB" }, { "memtable.size", "256 MiB" }, { "durability", "process" } },
};
static const struct bench_engine rocksdb_process = {
	"rocksdb",
	{ { "profile", "tuned" },
	  { "cache.size", "64 MiB" },
	  { "memtable.size", "256 MiB" },
	  { "durability", "process" } },
};
static const struct bench_engine cascade_power = {
	"cascade",
	{ { "cache.size", "64 MiB" }, { "memtable.size", "256 MiB" }, { "durability", "power" } },
};
static const struct bench_engine rocksdb_power = {
	"rocksdb",
	{ { "profile", "tuned" },
	  { "cache.size", "64 MiB" },
	  { "memtable.size", "256 MiB" },
	  { "durability", "power" } },
};

static uint64_t records_of(const struct bench_job *job)
{
	return job->quick ? RECORDS_QUICK : RECORDS;
}

static const char *folder_of(const struct bench_job *job, const struct bench_engine *engine,
			     char path[static PATH_BYTES])
{
	(void)snprintf(path, PATH_BYTES, "%s/%s", job->scratch, engine->name);
	return path;
}

/* --- gets: loaded once, opened again by every side, so that records come from tables --- */

static struct status load(struct bench_job *job, const struct bench_engine *engine)
{
	char path[PATH_BYTES];
	struct bench_store store = { .records = records_of(job), .value_bytes = VALUE_BYTES };
	if (driver_find(engine->name) == NULL)
		return status_ok(); /* its side says so */
	TRY(bench_store_open(&store, job, engine, folder_of(job, engine, path)));
	struct status status = bench_store_load(&store);
	status_keep_first(&status, bench_store_close(&store));
	return status;
}

static struct status open_warm(struct bench_store *store, struct bench_job *job,
			       const struct bench_engine *engine)
{
	char path[PATH_BYTES];
	*store = (struct bench_store) { .records = records_of(job), .value_bytes = VALUE_BYTES };
	TRY(bench_store_open(store, job, engine, folder_of(job, engine, path)));
	struct status status = store->ops->wait_idle(store->driver);
	if (status_is_ok(status))
		status = bench_store_warm(store, store->records, WARM_TIMES);
	if (!status_is_ok(status))
		status_keep_first(&status, bench_store_close(store));
	return status;
}

/* --- one call --- */

struct caller {
	struct bench_job *job;
	struct bench_client client;
	struct bench_store *store;
	bool is_task;
	double time_ns;
};

static void call_work(void *argument, uint64_t count)
{
	struct caller *caller = argument;
	/* A hit never suspends, so a task has to give way itself. */
	if (caller->is_task)
		caller->store->ops->task_yield(caller->client.handle);
	for (uint64_t i = 0; i < count; i++)
		bench_client_get(&caller->client);
}

static void run_caller(struct driver *driver, struct driver_client *handle, void *argument)
{
	struct caller *caller = argument;
	bool quick = caller->job->quick;
	(void)driver;
	bench_client_init(&caller->client, caller->store, handle, caller->store->records, caller->job->seed);
	caller->time_ns = bench_time_slices(call_work, caller, quick ? QUICK_CALLS : CALLS,
					    quick ? QUICK_SLICES : SLICES);
}

static struct status call_as(struct caller *caller)
{
	struct bench_store *store = caller->store;
	struct driver_client *handle;
	if (caller->is_task)
		return store->ops->run_tasks(store->driver, 1, run_caller, (void *const[]) { caller });
	TRY(store->ops->client_open(store->driver, &handle));
	run_caller(store->driver, handle, caller);
	store->ops->client_close(handle);
	return status_ok();
}

static struct status measure_call(struct bench_job *job, const struct bench_engine *engine, bool is_task,
				  double *number)
{
	struct bench_store store;
	TRY(open_warm(&store, job, engine));
	struct caller *caller = allocate_zeroed(1, sizeof(*caller));
	caller->job = job;
	caller->store = &store;
	caller->is_task = is_task;
	struct status status = call_as(caller);
	status_keep_first(&status, caller->client.status);
	status_keep_first(&status, bench_store_close(&store));
	*number = caller->time_ns;
	memory_free(caller);
	return status;
}

static struct status call_thread(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_call(job, &cascade_single, false, &numbers[0]);
}

static struct status call_task(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_call(job, &cascade_single, true, &numbers[0]);
}

static struct status call_rocksdb(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_call(job, &rocksdb_cached, false, &numbers[0]);
}

static struct status call_prepare(struct bench_job *job)
{
	TRY(load(job, &cascade_single));
	return load(job, &rocksdb_cached);
}

/* --- many threads --- */

static struct status measure_threads(struct bench_store *store, struct bench_job *job,
				     bench_operation *operation, double *number)
{
	struct status status =
		bench_store_threads(store, (unsigned)job->parameter, job->quick ? QUICK_MS : WINDOW_MS,
				    job->seed, operation, number);
	status_keep_first(&status, bench_store_close(store));
	return status;
}

static struct status measure_gets(struct bench_job *job, const struct bench_engine *engine, double *number)
{
	struct bench_store store;
	TRY(open_warm(&store, job, engine));
	return measure_threads(&store, job, bench_client_get, number);
}

/* Each into a fresh database, so that no repetition inherits another's debt. */
static struct status measure_puts(struct bench_job *job, const struct bench_engine *engine, double *number)
{
	char path[PATH_BYTES];
	struct bench_store store = { .records = RECORDS_OF_PUTS, .value_bytes = VALUE_BYTES };
	(void)folder_remove(folder_of(job, engine, path));
	TRY(bench_store_open(&store, job, engine, path));
	struct status status = measure_threads(&store, job, bench_client_put, number);
	int error = folder_remove(path);
	if (error != 0)
		status_keep_first(&status, status_from_errno(error, "cannot remove", path));
	return status;
}

static struct status gets_cascade(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_gets(job, &cascade_cached, &numbers[0]);
}

static struct status gets_rocksdb(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_gets(job, &rocksdb_cached, &numbers[0]);
}

static struct status gets_prepare(struct bench_job *job)
{
	TRY(load(job, &cascade_cached));
	return load(job, &rocksdb_cached);
}

static struct status puts_cascade(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_puts(job, &cascade_process, &numbers[0]);
}

static struct status puts_rocksdb(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_puts(job, &rocksdb_process, &numbers[0]);
}

static struct status power_cascade(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_puts(job, &cascade_power, &numbers[0]);
}

static struct status power_rocksdb(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_puts(job, &rocksdb_power, &numbers[0]);
}

/* --- the measures --- */

enum { THREAD, TASK, ROCKSDB };

static const struct bench_side call_sides[] = {
	[THREAD] = { "thread", call_thread, 0 },
	[TASK] = { "task", call_task, 0 },
	[ROCKSDB] = { "rocksdb", call_rocksdb, 0 },
};
static const struct bench_claim call_claims[] = {
	{ "call.task", "a cached get from a thread, beside the same in a task", THREAD, TASK, 0,
	  BENCH_RATIO_AT_MOST, 1.5 },
	{ "call.rocksdb", "a cached get from a thread, beside RocksDB's", THREAD, ROCKSDB, 0,
	  BENCH_RATIO_AT_MOST, 0.5 },
};

const struct bench_measure bench_runtime_call = {
	.name = "call",
	.summary = "a cached get from one thread; against the same in a task, and RocksDB's",
	.numbers = { { "time_ns", BENCH_NANOSECONDS } },
	.sides = call_sides,
	.side_count = 3,
	.claims = call_claims,
	.claim_count = 2,
	.prepare = call_prepare,
};

#define RATE_NUMBER                               \
	{                                         \
		{                                 \
			"ops_s", BENCH_PER_SECOND \
		}                                 \
	}

static const struct bench_side gets_sides[] = {
	{ "2 threads", gets_cascade, 2 },   { "rocksdb, 2 threads", gets_rocksdb, 2 },
	{ "8 threads", gets_cascade, 8 },   { "rocksdb, 8 threads", gets_rocksdb, 8 },
	{ "32 threads", gets_cascade, 32 }, { "rocksdb, 32 threads", gets_rocksdb, 32 },
};
static const struct bench_claim gets_claims[] = {
	{ "gets.2", "cached gets of 2 threads together", 0, 1, 0, BENCH_RATIO_AT_LEAST, 1.5 },
	{ "gets.8", "cached gets of 8 threads together", 2, 3, 0, BENCH_RATIO_AT_LEAST, 1.5 },
	{ "gets.32", "cached gets of 32 threads together", 4, 5, 0, BENCH_RATIO_AT_LEAST, 1.5 },
};

const struct bench_measure bench_runtime_gets = {
	.name = "gets",
	.summary = "cached gets of 2, 8 and 32 threads; against RocksDB's from its block cache",
	.numbers = RATE_NUMBER,
	.sides = gets_sides,
	.side_count = 6,
	.claims = gets_claims,
	.claim_count = 3,
	.prepare = gets_prepare,
};

static const struct bench_side puts_sides[] = {
	{ "2 threads", puts_cascade, 2 },   { "rocksdb, 2 threads", puts_rocksdb, 2 },
	{ "8 threads", puts_cascade, 8 },   { "rocksdb, 8 threads", puts_rocksdb, 8 },
	{ "32 threads", puts_cascade, 32 }, { "rocksdb, 32 threads", puts_rocksdb, 32 },
};
static const struct bench_claim puts_claims[] = {
	{ "puts.2", "puts of 2 threads together that survive the process", 0, 1, 0, BENCH_RATIO_AT_LEAST,
	  1.5 },
	{ "puts.8", "puts of 8 threads together that survive the process", 2, 3, 0, BENCH_RATIO_AT_LEAST,
	  1.5 },
	{ "puts.32", "puts of 32 threads together that survive the process", 4, 5, 0, BENCH_RATIO_AT_LEAST,
	  1.5 },
};

const struct bench_measure bench_runtime_puts = {
	.name = "puts",
	.summary = "puts of 2, 8 and 32 threads at `process`; against RocksDB's",
	.numbers = RATE_NUMBER,
	.sides = puts_sides,
	.side_count = 6,
	.claims = puts_claims,
	.claim_count = 3,
};

static const struct bench_side power_sides[] = {
	{ "8 threads", power_cascade, 8 },
	{ "rocksdb, 8 threads", power_rocksdb, 8 },
	{ "32 threads", power_cascade, 32 },
	{ "rocksdb, 32 threads", power_rocksdb, 32 },
};
static const struct bench_claim power_claims[] = {
	{ "puts-power.8", "puts of 8 threads together that survive power loss", 0, 1, 0, BENCH_RATIO_AT_LEAST,
	  2 },
	{ "puts-power.32", "puts of 32 threads together that survive power loss", 2, 3, 0,
	  BENCH_RATIO_AT_LEAST, 3 },
};

const struct bench_measure bench_runtime_puts_power = {
	.name = "puts-power",
	.summary = "puts of 8 and 32 threads at `power`; against RocksDB's",
	.numbers = RATE_NUMBER,
	.sides = power_sides,
	.side_count = 4,
	.claims = power_claims,
	.claim_count = 2,
};
