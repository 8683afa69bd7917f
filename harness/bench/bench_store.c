#include "harness/bench/bench_store.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/folder.h"
#include "harness/ticks.h"

/* --- open and close --- */

struct status bench_store_open(struct bench_store *store, struct bench_job *job,
			       const struct bench_engine *engine, const char *folder)
{
	struct driver_option options[BENCH_STORE_OPTIONS_MAX];
	struct driver_config config = { .path = folder, .options = options };
	store->ops = driver_find(engine->name);
	if (store->ops == NULL)
		return status_error(STATUS_UNSUPPORTED, "%s", driver_absence(engine->name));
	for (; config.option_count < BENCH_STORE_OPTIONS_MAX &&
	       engine->settings[config.option_count].name != NULL;
	     config.option_count++)
		options[config.option_count] = (struct driver_option) {
			.name = engine->settings[config.option_count].name,
			.value = engine->settings[config.option_count].value,
		};
	config.expected_records = store->records;
	int error = folder_make(folder);
	if (error != 0)
		return status_from_errno(error, "cannot create", folder);
	TRY(store->ops->open(&config, &store->driver));
	const char *notice = store->ops->notice(store->driver);
	if (notice[0] != '\0')
		(void)snprintf(job->notice, sizeof(job->notice), "%s", notice);
	return status_ok();
}

struct status bench_store_close(struct bench_store *store)
{
	return store->ops->close(store->driver);
}

/* --- operations --- */

void bench_client_init(struct bench_client *client, struct bench_store *store, struct driver_client *handle,
		       uint64_t records, uint64_t seed)
{
	client->store = store;
	client->handle = handle;
	client->random = random_stream(seed);
	client->records = records;
	client->status = status_ok();
	for (size_t i = 0; i < sizeof(client->value); i += sizeof(uint64_t)) {
		uint64_t word = random_at(seed, i);
		memcpy(client->value + i, &word, sizeof(word));
	}
}

static inline void get(struct bench_client *client, uint64_t number)
{
	uint8_t key[BENCH_KEY_BYTES];
	struct slice value;
	struct status status = client->store->ops->read(client->handle, bench_key(number, key), &value);
	if (status_is_ok(status) && !bench_value_is(value, number, client->store->value_bytes))
		status = status_error(STATUS_CORRUPT, "a get gave another record's value");
	if (__builtin_expect(!status_is_ok(status), 0))
		status_keep_first(&client->status, status);
}

static inline void put(struct bench_client *client, uint64_t number)
{
	uint8_t key[BENCH_KEY_BYTES];
	memcpy(client->value, &number, sizeof(number));
	struct status status =
		client->store->ops->update(client->handle, bench_key(number, key),
					   slice_make(client->value, client->store->value_bytes));
	if (__builtin_expect(!status_is_ok(status), 0))
		status_keep_first(&client->status, status);
}

void bench_client_get(struct bench_client *client)
{
	get(client, random_below(&client->random, client->records));
}

void bench_client_put(struct bench_client *client)
{
	put(client, random_below(&client->random, client->records));
}

/* --- by one thread --- */

/* The operation on each record in turn. */
static struct status for_all(struct bench_store *store, uint64_t records, unsigned times,
			     void (*operation)(struct bench_client *client, uint64_t number))
{
	struct driver_client *handle;
	TRY(store->ops->client_open(store->driver, &handle));
	struct bench_client *client = allocate_zeroed(1, sizeof(*client));
	bench_client_init(client, store, handle, records, records);
	for (unsigned time = 0; time < times; time++) {
		for (uint64_t i = 0; i < records && status_is_ok(client->status); i++)
			operation(client, i);
	}
	struct status status = client->status;
	store->ops->client_close(handle);
	memory_free(client);
	return status;
}

struct status bench_store_load(struct bench_store *store)
{
	return for_all(store, store->records, 1, put);
}

struct status bench_store_warm(struct bench_store *store, uint64_t records, unsigned times)
{
	return for_all(store, records, times, get);
}

/* --- by many threads --- */

struct crowd {
	struct bench_store *store;
	bench_operation *operation;
	uint64_t seed;
	_Atomic uint32_t ready;
	_Alignas(64) _Atomic uint32_t go, stop;
	_Atomic uint32_t counts; /* what was done before is not counted */
};

struct worker {
	_Alignas(64) struct crowd *crowd;
	pthread_t thread;
	uint32_t index;
	uint64_t done;
	struct status status;
};

static void work(struct worker *worker, struct driver_client *handle)
{
	struct crowd *crowd = worker->crowd;
	struct bench_client *client = allocate_zeroed(1, sizeof(*client));
	bench_client_init(client, crowd->store, handle, crowd->store->records,
			  random_at(crowd->seed, worker->index));
	atomic_fetch_add(&crowd->ready, 1);
	while (atomic_load(&crowd->go) == 0)
		(void)sched_yield();
	uint64_t done = 0;
	bool counts = false;
	while (atomic_load_explicit(&crowd->stop, memory_order_relaxed) == 0 &&
	       status_is_ok(client->status)) {
		crowd->operation(client);
		done++;
		if (!counts && atomic_load_explicit(&crowd->counts, memory_order_relaxed) != 0) {
			counts = true;
			done = 0;
		}
	}
	worker->done = done;
	worker->status = client->status;
	memory_free(client);
}

static void *run_worker(void *argument)
{
	struct worker *worker = argument;
	struct crowd *crowd = worker->crowd;
	struct driver_client *handle;
	worker->status = crowd->store->ops->client_open(crowd->store->driver, &handle);
	if (!status_is_ok(worker->status)) {
		atomic_fetch_add(&crowd->ready, 1);
		return NULL;
	}
	work(worker, handle);
	crowd->store->ops->client_close(handle);
	return NULL;
}

static unsigned start_workers(struct crowd *crowd, struct worker *workers, unsigned threads)
{
	unsigned started = 0;
	for (; started < threads; started++) {
		workers[started].crowd = crowd;
		workers[started].index = started;
		if (pthread_create(&workers[started].thread, NULL, run_worker, &workers[started]) != 0)
			break;
	}
	return started;
}

struct status bench_store_threads(struct bench_store *store, unsigned threads, uint64_t ms, uint64_t seed,
				  bench_operation *operation, double *rate)
{
	struct crowd crowd = { .store = store, .operation = operation, .seed = seed };
	struct worker *workers = memory_allocate_aligned(64, threads * sizeof(*workers));
	if (workers == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset(workers, 0, threads * sizeof(*workers));
	unsigned started = start_workers(&crowd, workers, threads);
	struct status status =
		started == threads ? status_ok() : status_error(STATUS_BUSY, "no thread can be had");
	while (atomic_load(&crowd.ready) < started)
		(void)sched_yield();
	atomic_store(&crowd.go, 1);
	clock_sleep_ns(ms / 2 * 1000000u);
	uint64_t start = ticks_now(), done = 0;
	atomic_store(&crowd.counts, 1);
	clock_sleep_ns(ms * 1000000u);
	atomic_store(&crowd.stop, 1);
	uint64_t ns = ticks_to_ns(ticks_now() - start);
	for (unsigned i = 0; i < started; i++) {
		(void)pthread_join(workers[i].thread, NULL);
		status_keep_first(&status, workers[i].status);
		done += workers[i].done;
	}
	memory_free(workers);
	*rate = (double)done * 1e9 / (double)ns;
	return status;
}
