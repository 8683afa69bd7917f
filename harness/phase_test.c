/*
 * A phase against an engine small enough to be right by sight: a sorted array under a lock, which can be
 * told to fail, to lose and to lie.
 */
#include "harness/phase.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "harness/generator.h"
#include "test.h"

extern const struct driver_ops null_driver;

enum { ROWS_MAX = 20000, VALUE_BYTES = 64 };

struct row {
	uint8_t key[KEY_TEXT_MAX];
	uint8_t value[VALUE_BYTES];
	size_t key_size;
};

struct toy {
	struct driver driver;
	pthread_mutex_t lock;
	struct row *rows[ROWS_MAX];
	size_t count;
	uint64_t writes, calls;
	/* faults, each every n-th time; 0: never */
	uint64_t fail_writes, lose_writes, hide_reads, spoil_reads;
	uint64_t skip_rows, repeat_rows, swap_rows, cut_scans;
	uint64_t rows_shown, scans;
	uint64_t slow_ns;
	uint64_t idle_ns;
};

struct driver_client {
	struct toy *toy;
	uint8_t value[VALUE_BYTES];
};

static size_t toy_find(struct toy *toy, struct slice key, bool *found)
{
	size_t low = 0, high = toy->count;
	*found = false;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order =
			slice_compare(slice_make(toy->rows[middle]->key, toy->rows[middle]->key_size), key);
		if (order == 0) {
			*found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool every(uint64_t n, uint64_t number)
{
	return n != 0 && number % n == n - 1;
}

static void toy_pause(struct toy *toy)
{
	if (toy->slow_ns > 0)
		nanosleep(&(struct timespec) { .tv_nsec = (long)toy->slow_ns }, NULL);
}

static struct status toy_put(struct driver_client *client, struct slice key, struct slice value)
{
	struct toy *toy = client->toy;
	struct status status = status_ok();
	toy_pause(toy);
	pthread_mutex_lock(&toy->lock);
	uint64_t number = toy->writes++;
	bool found;
	size_t at = toy_find(toy, key, &found);
	if (every(toy->fail_writes, number)) {
		status = status_error(STATUS_IO, "the toy fails write %llu", (unsigned long long)number);
	} else if (!every(toy->lose_writes, number)) {
		if (!found) {
			assert_true(toy->count < ROWS_MAX);
			memmove(&toy->rows[at + 1], &toy->rows[at], (toy->count - at) * sizeof(toy->rows[0]));
			toy->rows[at] = malloc(sizeof(struct row)); /* not of the heap that is made to fail */
			toy->count++;
			memcpy(toy->rows[at]->key, key.data, key.size);
			toy->rows[at]->key_size = key.size;
		}
		memcpy(toy->rows[at]->value, value.data, VALUE_BYTES);
	}
	pthread_mutex_unlock(&toy->lock);
	return status;
}

static struct status toy_get(struct driver_client *client, struct slice key, struct slice *value)
{
	struct toy *toy = client->toy;
	toy_pause(toy);
	pthread_mutex_lock(&toy->lock);
	uint64_t number = toy->calls++;
	bool found;
	size_t at = toy_find(toy, key, &found);
	if (found)
		memcpy(client->value, toy->rows[at]->value, VALUE_BYTES);
	pthread_mutex_unlock(&toy->lock);
	if (!found || every(toy->hide_reads, number))
		return status_make(STATUS_NOT_FOUND);
	if (every(toy->spoil_reads, number))
		client->value[40] ^= 1;
	*value = slice_make(client->value, VALUE_BYTES);
	return status_ok();
}

static struct status toy_remove(struct driver_client *client, struct slice key)
{
	struct toy *toy = client->toy;
	pthread_mutex_lock(&toy->lock);
	bool found;
	size_t at = toy_find(toy, key, &found);
	if (found) {
		free(toy->rows[at]);
		toy->count--;
		memmove(&toy->rows[at], &toy->rows[at + 1], (toy->count - at) * sizeof(toy->rows[0]));
	}
	pthread_mutex_unlock(&toy->lock);
	return status_make(found ? STATUS_OK : STATUS_NOT_FOUND);
}

static bool toy_show(struct toy *toy, size_t at,
		     bool (*each)(void *context, struct slice key, struct slice value), void *context)
{
	struct row *row = toy->rows[at];
	return each(context, slice_make(row->key, row->key_size), slice_make(row->value, VALUE_BYTES));
}

static struct status toy_scan(struct driver_client *client, struct slice key, uint64_t count,
			      bool (*each)(void *context, struct slice key, struct slice value),
			      void *context)
{
	struct toy *toy = client->toy;
	pthread_mutex_lock(&toy->lock);
	bool found;
	size_t at = toy_find(toy, key, &found);
	if (every(toy->cut_scans, toy->scans++))
		count /= 2;
	for (uint64_t i = 0; i < count && at < toy->count; i++) {
		uint64_t number = toy->rows_shown++;
		if (every(toy->skip_rows, number) && ++at == toy->count)
			break;
		if (every(toy->repeat_rows, number) && ++i < count)
			(void)toy_show(toy, at, each, context);
		if (every(toy->swap_rows, number) && at + 1 < toy->count && ++i < count) {
			(void)toy_show(toy, at + 1, each, context);
			(void)toy_show(toy, at, each, context);
			at += 2;
			continue;
		}
		if (!toy_show(toy, at++, each, context))
			break;
	}
	pthread_mutex_unlock(&toy->lock);
	return status_ok();
}

static struct status toy_client_open(struct driver *driver, struct driver_client **client)
{
	*client = calloc(1, sizeof(**client));
	(*client)->toy = (struct toy *)driver;
	return status_ok();
}

static struct status toy_client_refused(struct driver *driver, struct driver_client **client)
{
	(void)driver;
	(void)client;
	return status_error(STATUS_NO_SPACE, "no more clients");
}

static void toy_client_close(struct driver_client *client)
{
	free(client);
}

static struct status toy_wait_idle(struct driver *driver)
{
	struct toy *toy = (struct toy *)driver;
	nanosleep(&(struct timespec) { .tv_nsec = (long)toy->idle_ns }, NULL);
	return status_ok();
}

static size_t toy_counters(struct driver *driver, struct driver_counter *counters, size_t capacity)
{
	struct toy *toy = (struct toy *)driver;
	assert_true(capacity >= 4);
	pthread_mutex_lock(&toy->lock);
	strcpy(counters[0].name, "toy.writes");
	counters[0].value = toy->writes;
	strcpy(counters[1].name, "toy.rows");
	counters[1].is_gauge = true;
	counters[1].value = toy->count;
	strcpy(counters[2].name, "io.writes");
	counters[2].value = toy->writes;
	strcpy(counters[3].name, "io.write_bytes"); /* what goes to the page cache again and again */
	counters[3].value = toy->writes << 40;
	pthread_mutex_unlock(&toy->lock);
	return 4;
}

/* "Tasks" are threads: what matters is that the phase treats them as tasks. */
struct toy_task {
	struct driver *driver;
	driver_client_body *body;
	void *argument;
};

static void *toy_task_main(void *argument)
{
	struct toy_task *task = argument;
	struct driver_client client = { .toy = (struct toy *)task->driver };
	task->body(task->driver, &client, task->argument);
	return NULL;
}

static struct status toy_run_tasks(struct driver *driver, uint32_t count, driver_client_body *body,
				   void *const *arguments)
{
	pthread_t threads[16];
	struct toy_task tasks[16];
	assert_true(count <= 16);
	for (uint32_t i = 0; i < count; i++) {
		tasks[i] = (struct toy_task) { driver, body, arguments[i] };
		assert_int_equal(pthread_create(&threads[i], NULL, toy_task_main, &tasks[i]), 0);
	}
	for (uint32_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return status_ok();
}

static void toy_yield(struct driver_client *client)
{
	(void)client;
	sched_yield();
}

static void toy_sleep(struct driver_client *client, uint64_t ns)
{
	(void)client;
	nanosleep(&(struct timespec) { .tv_nsec = (long)ns }, NULL);
}

static struct driver_ops toy_ops = {
	.name = "toy",
	.capabilities = DRIVER_TASKS | DRIVER_SCANS,
	.client_open = toy_client_open,
	.client_close = toy_client_close,
	.insert = toy_put,
	.update = toy_put,
	.read = toy_get,
	.remove = toy_remove,
	.scan = toy_scan,
	.run_tasks = toy_run_tasks,
	.task_yield = toy_yield,
	.task_sleep = toy_sleep,
	.wait_idle = toy_wait_idle,
	.counters = toy_counters,
};

struct bench {
	struct toy *toy;
	struct workload workload;
	struct phase_context context;
};

static void bench_open(struct bench *bench, bool tasks)
{
	*bench = (struct bench) { .toy = memory_allocate_zeroed(1, sizeof(struct toy)) };
	bench->toy->driver.ops = &toy_ops;
	pthread_mutex_init(&bench->toy->lock, NULL);
	bench->workload = (struct workload) {
		.records = 1000,
		.value_size = VALUE_BYTES,
		.seed = test_seed(42),
		.clients_as_tasks = tasks,
	};
	bench->context =
		(struct phase_context) { .workload = &bench->workload, .driver = &bench->toy->driver };
	assert_ok(verifier_create(&bench->workload, &bench->context.verifier));
}

static void bench_close(struct bench *bench)
{
	for (size_t i = 0; i < bench->toy->count; i++)
		free(bench->toy->rows[i]);
	pthread_mutex_destroy(&bench->toy->lock);
	memory_free(bench->toy);
	verifier_destroy(bench->context.verifier);
}

static void bench_load(struct bench *bench)
{
	struct phase load = { .name = "load", .kind = PHASE_LOAD, .clients = 3, .wait_idle = true };
	struct phase_result result;
	bench->toy->idle_ns = 30000000;
	assert_ok(phase_run(&bench->context, &load, &result));
	assert_int_equal(result.operations, 1000);
	assert_int_equal(result.failed, 0);
	assert_int_equal(bench->toy->count, 1000);
	assert_int_equal(bench->context.inserted, 1000);
	assert_non_null(result.service[OPERATION_INSERT]);
	assert_int_equal(result.service[OPERATION_INSERT]->count, 1000);
	assert_null(result.service[OPERATION_READ]);
	assert_true(result.idle_wait_seconds >= 0.029);
	assert_true(result.seconds >= result.idle_wait_seconds);
	assert_true(result.user_bytes_written > 1000 * (VALUE_BYTES + 15));
	assert_true(result.user_bytes_written < 1000 * (VALUE_BYTES + 24));
	assert_true(isnan(result.top1_share));
	assert_false(result.stopped_early);
	phase_result_free(&result);
}

static struct phase mixed_phase(void)
{
	struct phase phase = {
		.name = "run",
		.kind = PHASE_RUN,
		.distribution = DISTRIBUTION_ZIPFIAN,
		.clients = 4,
		.operations = 20000,
		.scan_min = 1,
		.scan_max = 20,
	};
	static const double mix[OPERATION_KINDS] = { 40, 30, 5, 5, 10, 10 };
	memcpy(phase.mix, mix, sizeof(mix));
	return phase;
}

static void check_mixed(const struct bench *bench, const struct phase_result *result, uint64_t writes_before)
{
	assert_string_equal(result->first_mismatch, "");
	assert_int_equal(result->verify_mismatches, 0);
	assert_int_equal(result->operations, 20000);
	assert_int_equal(result->failed, 0);
	uint64_t rmw = result->service[OPERATION_RMW]->count;
	uint64_t sum = 0, inserts = result->service[OPERATION_INSERT]->count;
	for (int kind = 0; kind < OPERATION_KINDS; kind++)
		sum += result->service[kind]->count;
	/* A read-modify-write is recorded as a read, an update and itself. */
	assert_int_equal(sum, 20000 + 2 * rmw);
	assert_in_range(rmw, 1700, 2300);
	assert_in_range(inserts, 800, 1200);
	assert_true(result->verify_checked > 8000);
	assert_int_equal(bench->context.inserted, 1000 + inserts);
	assert_int_equal(result->counter_count, 4);
	assert_string_equal(result->counters[0].name, "toy.writes");
	assert_int_equal(result->counters[0].value, bench->toy->writes - writes_before);
	assert_string_equal(result->counters[1].name, "toy.rows");
	assert_int_equal(result->counters[1].value, bench->toy->count);
	assert_int_equal(result->device_writes, bench->toy->writes - writes_before);
	assert_true(result->device_reads == UINT64_MAX);
	assert_true(result->device_write_bytes < 1ull << 40);
	assert_true(result->cpu_seconds > 0);
	assert_true(result->rss_peak_bytes > 1 << 20);
	assert_true(result->timeline_count >= 1);
	uint64_t timeline = 0;
	for (size_t i = 0; i < result->timeline_count; i++)
		timeline += result->timeline[i].operations;
	assert_int_equal(timeline, 20000);
	assert_true(result->interval_count >= OPERATION_KINDS);
	for (size_t i = 0; i < result->interval_count; i++) {
		const struct phase_interval *interval = &result->intervals[i];
		assert_non_null(result->service[interval->kind]);
		assert_true(interval->seconds >= 0 &&
			    interval->start + interval->seconds < result->seconds + 1);
		assert_memory_equal(interval->histogram, "HISTFAAA", 8);
	}
	assert_true(result->timeline[0].p50_ns > 0);
	assert_true(result->timeline[0].max_ns >= result->timeline[0].p999_ns);
	assert_true(result->top1_share > 0.02 && result->top1_share < 0.08);
	assert_true(result->top10pct_share > result->top1pct_share);
}

static void run_mixed(bool tasks)
{
	struct bench bench;
	bench_open(&bench, tasks);
	bench_load(&bench);
	struct phase phase = mixed_phase();
	struct phase_result result;
	uint64_t writes_before = bench.toy->writes;
	assert_ok(phase_run(&bench.context, &phase, &result));
	check_mixed(&bench, &result, writes_before);
	phase_result_free(&result);
	/* And again, on what the first phase has left, with other key choices. */
	phase.distribution = DISTRIBUTION_LATEST;
	assert_ok(phase_run(&bench.context, &phase, &result));
	assert_string_equal(result.first_mismatch, "");
	phase_result_free(&result);
	phase.distribution = DISTRIBUTION_SEQUENTIAL;
	phase.update_mode = UPDATE_RMW;
	assert_ok(phase_run(&bench.context, &phase, &result));
	assert_string_equal(result.first_mismatch, "");
	assert_true(isnan(result.top1_share));
	phase_result_free(&result);
	bench_close(&bench);
}

static void all_operations_by_threads(void **state)
{
	(void)state;
	run_mixed(false);
}

static void all_operations_by_tasks(void **state)
{
	(void)state;
	run_mixed(true);
}

static int progress_calls;

static void count_progress(void *context, const struct phase *phase, double seconds, uint64_t operations,
			   uint64_t total)
{
	(void)context;
	(void)phase;
	(void)operations;
	assert_int_equal(total, 0);
	assert_true(seconds >= 0);
	progress_calls++;
}

static void a_duration_is_kept_and_warm_up_not_counted(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, false);
	bench_load(&bench);
	bench.toy->slow_ns = 1000000;
	bench.context.progress = count_progress;
	struct phase phase = mixed_phase();
	phase.operations = 0;
	phase.duration_ns = 1300000000;
	phase.warmup_ns = 300000000;
	memset(phase.mix, 0, sizeof(phase.mix));
	phase.mix[OPERATION_READ] = 1;
	struct phase_result result;
	uint64_t start = clock_now_ns(), calls_before = bench.toy->calls;
	assert_ok(phase_run(&bench.context, &phase, &result));
	double total = (double)(clock_now_ns() - start) * 1e-9;
	/* Loose where a busy machine may hold a thread up. */
	assert_true(total >= 1.6);
	assert_true(result.seconds >= 0.8 && result.seconds <= total - 0.3);
	assert_true(result.operations < bench.toy->calls - calls_before);
	assert_int_equal(result.operations, result.service[OPERATION_READ]->count);
	assert_true(result.service[OPERATION_READ]->min_ns >= 1000000);
	assert_true(result.timeline_count >= 1);
	assert_true(result.timeline[0].seconds >= 0.8);
	assert_true(progress_calls >= 2);
	assert_false(result.stopped_early);
	phase_result_free(&result);
	bench_close(&bench);
}

/* A remainder too short for a point of its own once took its operations with it. */
static void no_operation_falls_out_of_the_timeline(void **state)
{
	(void)state;
	static const uint64_t durations_ns[] = { 1010000000, 1030000000, 1200000000 };
	struct bench bench;
	bench_open(&bench, false);
	bench_load(&bench);
	for (size_t i = 0; i < sizeof(durations_ns) / sizeof(durations_ns[0]); i++) {
		struct phase phase = mixed_phase();
		phase.operations = 0;
		phase.duration_ns = durations_ns[i];
		memset(phase.mix, 0, sizeof(phase.mix));
		phase.mix[OPERATION_READ] = 1;
		struct phase_result result;
		assert_ok(phase_run(&bench.context, &phase, &result));
		uint64_t sum = 0;
		double before = 0;
		for (size_t k = 0; k < result.timeline_count; k++) {
			sum += result.timeline[k].operations;
			assert_true(result.timeline[k].seconds > before);
			before = result.timeline[k].seconds;
		}
		assert_int_equal(sum, result.operations);
		phase_result_free(&result);
	}
	bench_close(&bench);
}

static volatile int stop_now;

static void *stop_soon(void *argument)
{
	(void)argument;
	nanosleep(&(struct timespec) { .tv_nsec = 200000000 }, NULL);
	__atomic_store_n(&stop_now, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void a_phase_can_be_stopped(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, false);
	bench.workload.records = 1000000;
	bench.toy->slow_ns = 1000000;
	bench.context.stop = &stop_now;
	struct phase load = { .name = "load", .kind = PHASE_LOAD, .clients = 3, .wait_idle = true };
	struct phase_result result;
	pthread_t thread;
	pthread_create(&thread, NULL, stop_soon, NULL);
	assert_ok(phase_run(&bench.context, &load, &result));
	pthread_join(thread, NULL);
	assert_true(result.stopped_early);
	assert_true(bench.context.inserted <= bench.toy->count);
	for (uint64_t number = 0; number < bench.context.inserted; number++) {
		uint8_t key[KEY_TEXT_MAX];
		bool found;
		toy_find(bench.toy, slice_make(key, key_format(INSERT_HASHED, number, key)), &found);
		assert_true(found);
	}
	phase_result_free(&result);
	bench_close(&bench);
	stop_now = 0;
}

static void failures_are_reported_and_accuse_nobody(void **state)
{
	(void)state;
	struct bench bench;
	bench_open(&bench, false);
	bench_load(&bench);
	bench.toy->fail_writes = 50;
	struct phase phase = mixed_phase();
	struct phase_result result;
	assert_ok(phase_run(&bench.context, &phase, &result));
	assert_in_range(result.failed, 100, 300);
	assert_int_equal(result.operations + result.failed, 20000);
	char text[256];
	status_describe(result.first_failure, text, sizeof(text));
	assert_non_null(strstr(text, "the toy fails write"));
	assert_string_equal(result.first_mismatch, "");
	phase_result_free(&result);
	bench_close(&bench);
}

static uint64_t mismatches_with(uint64_t lose, uint64_t hide, uint64_t spoil, char *text)
{
	struct bench bench;
	bench_open(&bench, false);
	bench_load(&bench);
	bench.toy->lose_writes = lose;
	bench.toy->hide_reads = hide;
	bench.toy->spoil_reads = spoil;
	struct phase phase = mixed_phase();
	phase.mix[OPERATION_DELETE] = 0;
	struct phase_result result;
	assert_ok(phase_run(&bench.context, &phase, &result));
	uint64_t mismatches = result.verify_mismatches;
	memcpy(text, result.first_mismatch, 256);
	phase_result_free(&result);
	bench_close(&bench);
	return mismatches;
}

static void lies_are_found_out(void **state)
{
	(void)state;
	char text[256];
	assert_int_equal(mismatches_with(0, 0, 0, text), 0);
	assert_true(mismatches_with(100, 0, 0, text) > 20);
	assert_non_null(strstr(text, "version"));
	assert_in_range(mismatches_with(0, 500, 0, text), 15, 25);
	assert_non_null(strstr(text, "not found"));
	assert_in_range(mismatches_with(0, 0, 500, text), 15, 25);
	assert_non_null(strstr(text, "damaged"));
}

/* --- YCSB's workloads --- */

static const struct {
	const char *name;
	double mix[OPERATION_KINDS]; /* read, update, insert, scan, rmw, delete */
	enum distribution distribution;
} ycsb[] = {
	{ "c", { 1 }, DISTRIBUTION_ZIPFIAN },
	{ "a", { 0.5, 0.5 }, DISTRIBUTION_ZIPFIAN },
	{ "b", { 0.95, 0.05 }, DISTRIBUTION_ZIPFIAN },
	{ "f", { [OPERATION_READ] = 0.5, [OPERATION_RMW] = 0.5 }, DISTRIBUTION_ZIPFIAN },
	{ "d", { [OPERATION_READ] = 0.95, [OPERATION_INSERT] = 0.05 }, DISTRIBUTION_LATEST },
	{ "e", { [OPERATION_SCAN] = 0.95, [OPERATION_INSERT] = 0.05 }, DISTRIBUTION_ZIPFIAN },
};

static struct phase ycsb_phase(size_t which, uint64_t operations)
{
	struct phase phase = {
		.name = (char *)ycsb[which].name,
		.kind = PHASE_RUN,
		.distribution = ycsb[which].distribution,
		.clients = 4,
		.operations = operations,
		.scan_min = 1,
		.scan_max = 100,
	};
	memcpy(phase.mix, ycsb[which].mix, sizeof(phase.mix));
	return phase;
}

static uint64_t count_of(const struct phase_result *result, enum operation_kind kind)
{
	return result->service[kind] == NULL ? 0 : result->service[kind]->count;
}

/* F: the reads of read-modify-writes count as reads, their writes as updates, as YCSB records them. */
static void check_counts(const struct phase_result *result, const char *name, uint64_t operations)
{
	uint64_t rmw = count_of(result, OPERATION_RMW);
	assert_int_equal(count_of(result, OPERATION_READ) + count_of(result, OPERATION_SCAN) +
				 count_of(result, OPERATION_UPDATE) + count_of(result, OPERATION_INSERT),
			 operations + rmw);
	if (strcmp(name, "f") == 0) {
		assert_int_equal(count_of(result, OPERATION_READ), operations);
		assert_int_equal(count_of(result, OPERATION_UPDATE), rmw);
		assert_true(rmw > operations / 3);
	}
}

/* All on one database: D goes on where the load ended, and E where D did. */
static void workloads_follow_each_other(void **state)
{
	(void)state;
	enum { OPERATIONS = 8000 };
	struct bench bench;
	bench_open(&bench, false);
	bench_load(&bench);
	uint64_t expected = 1000;
	for (size_t i = 0; i < sizeof(ycsb) / sizeof(ycsb[0]); i++) {
		struct phase phase = ycsb_phase(i, OPERATIONS);
		struct phase_result result;
		assert_ok(phase_run(&bench.context, &phase, &result));
		assert_string_equal(result.first_mismatch, "");
		assert_int_equal(result.operations, OPERATIONS);
		assert_int_equal(result.failed, 0);
		assert_true(result.verify_checked >= OPERATIONS / 3);
		check_counts(&result, phase.name, OPERATIONS);
		expected += count_of(&result, OPERATION_INSERT);
		assert_int_equal(bench.context.inserted, expected);
		assert_int_equal(bench.toy->count, expected);
		phase_result_free(&result);
	}
	assert_in_range(expected, 1000 + 2 * 300, 1000 + 2 * 500);
	for (uint64_t number = 0; number < expected; number++) {
		uint8_t key[KEY_TEXT_MAX];
		bool found;
		toy_find(bench.toy, slice_make(key, key_format(INSERT_HASHED, number, key)), &found);
		assert_true(found);
	}
	bench_close(&bench);
}

static void scans_that_lie_are_found_out(void **state)
{
	(void)state;
	static const char *const said[] = { "", "missing", "out of order", "missing", "missing" };
	for (int fault = 0; fault < 5; fault++) {
		struct bench bench;
		bench_open(&bench, fault % 2 == 0);
		bench_load(&bench);
		uint64_t *const faults[] = { NULL, &bench.toy->skip_rows, &bench.toy->repeat_rows,
					     &bench.toy->swap_rows, &bench.toy->cut_scans };
		if (fault > 0)
			*faults[fault] = fault == 4 ? 50 : 1000;
		struct phase phase = ycsb_phase(5, 2000);
		struct phase_result result;
		assert_ok(phase_run(&bench.context, &phase, &result));
		if (strstr(result.first_mismatch, said[fault]) == NULL)
			fail_msg("'%s' says nothing of '%s'", result.first_mismatch, said[fault]);
		if (fault == 0)
			assert_int_equal(result.verify_mismatches, 0);
		else
			assert_true(result.verify_mismatches >= 20);
		phase_result_free(&result);
		bench_close(&bench);
	}
}

static void what_cannot_run_is_refused(void **state)
{
	(void)state;
	struct bench bench;
	struct phase_result result;
	bench_open(&bench, false);
	struct phase phase = mixed_phase();
	assert_status(phase_run(&bench.context, &phase, &result), STATUS_INVALID); /* nothing is loaded */
	bench_load(&bench);
	phase.operations = 0;
	assert_status(phase_run(&bench.context, &phase, &result), STATUS_INVALID);
	phase = mixed_phase();
	phase.clients = 0;
	assert_status(phase_run(&bench.context, &phase, &result), STATUS_INVALID);
	phase = mixed_phase();
	toy_ops.capabilities = DRIVER_TASKS;
	assert_status(phase_run(&bench.context, &phase, &result), STATUS_UNSUPPORTED);
	toy_ops.capabilities = DRIVER_TASKS | DRIVER_SCANS;
	toy_ops.client_open = toy_client_refused;
	assert_status(phase_run(&bench.context, &phase, &result), STATUS_NO_SPACE);
	toy_ops.client_open = toy_client_open;
	for (uint64_t n = 1; n < 100; n += 3) {
		memory_fail_at(n, 1);
		struct status status = phase_run(&bench.context, &phase, &result);
		memory_fail_at(0, 0);
		if (status_is_ok(status)) {
			phase_result_free(&result);
			break;
		}
		assert_status(status, STATUS_NO_MEMORY);
	}
	bench_close(&bench);
}

/* What the bench itself costs for each operation of one client: printed; bounded very loosely. */
static void overhead_is_small(void **state)
{
	(void)state;
	struct driver driver = { .ops = &null_driver };
	struct workload workload = { .records = 1000000, .value_size = 100, .seed = 1 };
	struct phase_context context = { .workload = &workload, .driver = &driver, .inserted = 1000000 };
	static const char *const names[] = { "read", "update", "half reads, half updates" };
	for (int i = 0; i < 3; i++) {
		struct phase phase = mixed_phase();
		phase.clients = 1;
		phase.operations = 2000000;
		memset(phase.mix, 0, sizeof(phase.mix));
		phase.mix[OPERATION_READ] = i != 1;
		phase.mix[OPERATION_UPDATE] = i != 0;
		struct phase_result result;
		assert_ok(phase_run(&context, &phase, &result));
		double ns = result.cpu_seconds * 1e9 / (double)result.operations;
		print_message("null engine, %s: %.1f ns of CPU an operation\n", names[i], ns);
		assert_true(ns < 20000);
		phase_result_free(&result);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_operations_by_threads),
		cmocka_unit_test(all_operations_by_tasks),
		cmocka_unit_test(a_duration_is_kept_and_warm_up_not_counted),
		cmocka_unit_test(no_operation_falls_out_of_the_timeline),
		cmocka_unit_test(a_phase_can_be_stopped),
		cmocka_unit_test(failures_are_reported_and_accuse_nobody),
		cmocka_unit_test(lies_are_found_out),
		cmocka_unit_test(workloads_follow_each_other),
		cmocka_unit_test(scans_that_lie_are_found_out),
		cmocka_unit_test(what_cannot_run_is_refused),
		cmocka_unit_test(overhead_is_small),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
