/*
 * bench_memtable_engine.c: memtables inside their engines: all records are put in random order by one thread,
 * through each engine's own put, without a log and with a write buffer that is never full; then each of them
 * is got once, in another order.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "harness/bench/bench_memtable.h"
#include "harness/bench/bench_store.h"
#include "harness/folder.h"
#include "harness/ticks.h"

enum {
	RECORDS = 2000 * 1000,
	RECORDS_QUICK = 2000,
	PATH_BYTES = 4096,
	/* A task gives way so often; a thread has nobody to give way to. */
	CALLS_A_TURN = 64,
};

enum { PUT_RATE, GET_RATE };

#define WRITE_BUFFERS "16 GiB" /* RocksDB: two of 8 GiB */

static const struct bench_engine rocksdb_engine = {
	"rocksdb",
	{ { "profile", "tuned" },
	  { "durability", "memory" },
	  { "memtable.size", WRITE_BUFFERS },
	  { "memtable.count", "2" },
	  { "cache.size", "64 MiB" } },
};

/* The records, and what is done with them. */
struct pass {
	struct bench_job *job;
	struct bench_store store;
	struct bench_keys puts, gets;
	bool is_task, forgets;
	struct status status;
	double put_ns, get_ns; /* all together */
};

static void make_keys(struct pass *pass)
{
	const struct bench_job *job = pass->job;
	uint64_t count = job->quick ? RECORDS_QUICK : RECORDS;
	struct random random = random_stream(job->seed);
	pass->puts = bench_keys_make(count);
	pass->gets = bench_keys_make(count);
	for (uint64_t i = 0; i < count; i++)
		bench_key_random(pass->puts.texts[i], job->seed, i);
	/* Shuffled while it is copied. */
	for (uint64_t i = 0; i < count; i++) {
		uint64_t other = random_below(&random, i + 1);
		memcpy(pass->gets.texts[i], pass->gets.texts[other], BENCH_RECORD_KEY_BYTES);
		memcpy(pass->gets.texts[other], pass->puts.texts[i], BENCH_RECORD_KEY_BYTES);
	}
}

static void give_way(const struct pass *pass, struct driver_client *client, uint64_t done)
{
	if (pass->is_task && done % CALLS_A_TURN == 0)
		pass->store.ops->task_yield(client);
}

static struct status put_all(struct pass *pass, struct driver_client *client)
{
	uint64_t start = ticks_now();
	for (uint64_t i = 0; i < pass->puts.count; i++) {
		TRY(pass->store.ops->insert(client, bench_keys_at(&pass->puts, i), bench_value(i)));
		give_way(pass, client, i);
	}
	pass->put_ns = (double)ticks_to_ns(ticks_now() - start);
	return status_ok();
}

static struct status get_all(struct pass *pass, struct driver_client *client)
{
	uint64_t start = ticks_now();
	for (uint64_t i = 0; i < pass->gets.count; i++) {
		struct slice value;
		struct status status = pass->store.ops->read(client, bench_keys_at(&pass->gets, i), &value);
		if (status_is(status, STATUS_NOT_FOUND) && pass->forgets)
			continue;
		TRY(status);
		if (value.size != BENCH_RECORD_VALUE_BYTES)
			return status_error(STATUS_CORRUPT, "a get gave %zu bytes", value.size);
		give_way(pass, client, i);
	}
	pass->get_ns = (double)ticks_to_ns(ticks_now() - start);
	return status_ok();
}

static void run_client(struct driver *driver, struct driver_client *client, void *argument)
{
	struct pass *pass = argument;
	(void)driver;
	pass->status = put_all(pass, client);
	if (status_is_ok(pass->status))
		pass->status = get_all(pass, client);
}

static struct status run_as(struct pass *pass)
{
	struct bench_store *store = &pass->store;
	struct driver_client *client;
	if (pass->is_task)
		return store->ops->run_tasks(store->driver, 1, run_client, (void *const[]) { pass });
	TRY(store->ops->client_open(store->driver, &client));
	run_client(store->driver, client, pass);
	store->ops->client_close(client);
	return status_ok();
}

static struct status measure(struct pass *pass, const struct bench_engine *engine)
{
	char path[PATH_BYTES];
	(void)snprintf(path, sizeof(path), "%s/%s-%s", pass->job->scratch, engine->name,
		       pass->job->variant != NULL ? pass->job->variant : "own");
	pass->store =
		(struct bench_store) { .records = pass->puts.count, .value_bytes = BENCH_RECORD_VALUE_BYTES };
	TRY(bench_store_open(&pass->store, pass->job, engine, path));
	struct status status = run_as(pass);
	status_keep_first(&status, pass->status);
	/* The process ends here, and with it what was never written: closing would flush it first. */
	return status;
}

static struct status run_engine(struct bench_job *job, const struct bench_engine *engine, bool is_task,
				double numbers[BENCH_NUMBERS_MAX])
{
	struct pass pass = { .job = job, .is_task = is_task };
	const struct component *component =
		job->variant != NULL ? component_find(COMPONENT_MEMTABLE, job->variant) : NULL;
	pass.forgets = component != NULL && (component->capabilities & MEMTABLE_FORGETS) != 0;
	make_keys(&pass);
	struct status status = measure(&pass, engine);
	numbers[PUT_RATE] = (double)pass.puts.count * 1e9 / pass.put_ns;
	numbers[GET_RATE] = (double)pass.gets.count * 1e9 / pass.get_ns;
	memory_free(pass.puts.texts);
	memory_free(pass.gets.texts);
	return status;
}

static struct status run_cascade(struct bench_job *job, bool is_task, double numbers[BENCH_NUMBERS_MAX])
{
	const struct bench_engine engine = {
		"cascade",
		{ { "shards", "1" },
		  { "durability", "memory" },
		  { "memtable.kind", job->variant },
		  { "memtable.size", WRITE_BUFFERS },
		  { "cache.size", "64 MiB" } },
	};
	return run_engine(job, &engine, is_task, numbers);
}

static struct status run_task(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return run_cascade(job, true, numbers);
}

static struct status run_thread(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return run_cascade(job, false, numbers);
}

static struct status run_rocksdb(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return run_engine(job, &rocksdb_engine, false, numbers);
}

enum { TASK, THREAD, ROCKSDB };

static const struct bench_side sides[] = {
	[TASK] = { "task", run_task, 0 },
	[THREAD] = { "thread", run_thread, 0 },
	[ROCKSDB] = { "rocksdb", run_rocksdb, 0 },
};

static const struct bench_claim claims[] = {
	{ "engine.put.task", "puts of a task, beside RocksDB's of a thread", TASK, ROCKSDB, PUT_RATE,
	  BENCH_RATIO_AT_LEAST, 4 },
	{ "engine.get.task", "gets of a task, beside RocksDB's of a thread", TASK, ROCKSDB, GET_RATE,
	  BENCH_RATIO_AT_LEAST, 4 },
	{ "engine.put.thread", "puts of a thread of the embedder, beside RocksDB's", THREAD, ROCKSDB,
	  PUT_RATE, BENCH_RATIO_AT_LEAST, 4 },
	{ "engine.get.thread", "gets of a thread of the embedder, beside RocksDB's", THREAD, ROCKSDB,
	  GET_RATE, BENCH_RATIO_AT_LEAST, 4 },
};

const struct bench_measure bench_memtable_engine = {
	.name = "engine",
	.summary = "in the engine: puts and gets of one task or thread, nothing logged or flushed; and "
		   "RocksDB's",
	.repeats = 3,
	.numbers = { [PUT_RATE] = { "puts_s", BENCH_PER_SECOND },
		     [GET_RATE] = { "gets_s", BENCH_PER_SECOND } },
	.sides = sides,
	.side_count = 3,
	.shared_sides = 1,
	.claims = claims,
	.claim_count = 4,
	.bounds_of = "btree",
	.skips_plain = true,
};
