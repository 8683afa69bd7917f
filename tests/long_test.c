/*
 * A database of ten million small records (workloads/d1-a.yaml): how long an open takes after a clean close,
 * what an open database costs while nobody uses it, and that replay reads no more than the log's ring after a
 * kill under full load. Takes a minute or two and 3 GiB of disk, so it is skipped unless CASCADE_LONG=1 asks
 * for it, or CASCADE_TEST_LONG=1, which `make test-long` sets. CASCADE_LONG_RECORDS=200000: so many records.
 */
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "cascade.h"
#include "test.h"

/* Speed is looked at, so only an optimised build without sanitizers is meant. */
#ifdef __OPTIMIZE__
#define IS_MEANT (!SANITIZED)
#else
#define IS_MEANT 0
#endif

enum {
	RECORDS = 10 * 1000 * 1000,
	VALUE_BYTES = 100,
	KEY_BYTES = 32,
	CLIENTS = 32,
	PATH_BYTES = 256,
	FAILURE_BYTES = 512,
	OPEN_MS_MAX = 1000,
	IDLE_S = 2,
	IDLE_CPU_MS_MAX = 20,
	LOOK_NS = 10 * 1000 * 1000,
	LOAD_LOOKS_MIN = 500, /* five seconds of load before the kill */
	LOAD_LOOKS_MAX = 1500
};

static const uint64_t fixed_seed = 1001;

/* What the children tell; the engine runs in them only. */
struct report {
	char failure[FAILURE_BYTES];
	double load_s, open_ms, open_and_get_ms, idle_cpu_ms;
	uint64_t replayed_bytes, replayed_commits, ring_bytes;
	_Atomic uint64_t live_bytes; /* of the log, under load */
};

static struct {
	char root[PATH_BYTES];
	char database[PATH_BYTES];
	struct report *report;
	uint64_t records;
	uint64_t seed;
	cascade *db; /* in a child */
} place;

/* --- in a child --- */

static double now_ms(clockid_t clock)
{
	struct timespec now;
	(void)clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec time = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
	(void)nanosleep(&time, NULL);
}

static void expect_ok(cascade_status status, const char *what)
{
	if (status == CASCADE_OK)
		return;
	(void)snprintf(place.report->failure, FAILURE_BYTES, "%s: %s: %s", what, cascade_strerror(status),
		       cascade_error_message());
	_exit(1);
}

static void expect(bool condition, const char *what)
{
	if (condition)
		return;
	(void)snprintf(place.report->failure, FAILURE_BYTES, "%s", what);
	_exit(1);
}

static void open_database(void)
{
	cascade_options *options;
	expect_ok(cascade_options_create(&options), "options");
	expect_ok(cascade_options_set(options, "cache.size", "128 MiB"), "cache.size");
	expect_ok(cascade_open(place.database, options, &place.db), "open");
	cascade_options_destroy(options);
}

static uint64_t stat_of(const char *name)
{
	cascade_stat *stats;
	size_t count;
	uint64_t value = UINT64_MAX;
	expect_ok(cascade_stats(place.db, &stats, &count), "stats");
	for (size_t i = 0; i < count; i++) {
		if (strcmp(stats[i].name, name) == 0)
			value = stats[i].value;
	}
	cascade_stats_free(stats);
	expect(value != UINT64_MAX, name);
	return value;
}

/* Records come in no order of their keys. */
static cascade_slice make_key(uint64_t record, char key[KEY_BYTES])
{
	int size = snprintf(key, KEY_BYTES, "user%016llx",
			    (unsigned long long)random_at(place.seed, record) & ~0xffffull);
	return cascade_bytes(key, (size_t)size);
}

/* Bytes that do not compress, the same ones for every version of a record. */
static cascade_slice make_value(uint64_t record, uint64_t value[VALUE_BYTES / 8 + 1])
{
	for (unsigned i = 0; i <= VALUE_BYTES / 8; i++)
		value[i] = random_at(place.seed + record, i);
	return cascade_bytes(value, VALUE_BYTES);
}

static void put_record(cascade *db, uint64_t record)
{
	char key[KEY_BYTES];
	uint64_t value[VALUE_BYTES / 8 + 1];
	expect_ok(cascade_put(db, make_key(record, key), make_value(record, value), NULL), "put");
}

static void get_record(uint64_t record)
{
	char key[KEY_BYTES];
	uint64_t expected[VALUE_BYTES / 8 + 1];
	cascade_value value;
	expect_ok(cascade_get(place.db, make_key(record, key), NULL, &value), "get");
	cascade_slice wanted = make_value(record, expected);
	expect(value.size == wanted.size && memcmp(value.data, wanted.data, wanted.size) == 0,
	       "a value is wrong");
	cascade_value_release(&value);
}

static void run_fill(cascade *db, void *argument)
{
	for (uint64_t record = (uintptr_t)argument; record < place.records; record += CLIENTS)
		put_record(db, record);
}

static void run_updates(cascade *db, void *argument)
{
	struct random random = random_stream(place.seed + 7 + (uintptr_t)argument);
	for (;;)
		put_record(db, random_below(&random, place.records));
}

static void run_clients(cascade_task_function *function)
{
	cascade_future *futures[CLIENTS];
	for (uintptr_t i = 0; i < CLIENTS; i++)
		expect_ok(cascade_run_async(place.db, (uint32_t)i % cascade_shard_count(place.db), function,
					    (void *)i, &futures[i]),
			  "run_async");
	if (function == run_updates) {
		for (;;) {
			atomic_store(&place.report->live_bytes, stat_of("wal.live_bytes"));
			sleep_ns(LOOK_NS);
		}
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		expect_ok(cascade_future_wait(futures[i]), "task");
}

static void child_fills(void)
{
	double begin = now_ms(CLOCK_MONOTONIC);
	open_database();
	run_clients(run_fill);
	place.report->load_s = (now_ms(CLOCK_MONOTONIC) - begin) / 1e3;
	expect_ok(cascade_close(place.db), "close");
}

static void child_measures_open(void)
{
	double begin = now_ms(CLOCK_MONOTONIC);
	open_database();
	place.report->open_ms = now_ms(CLOCK_MONOTONIC) - begin;
	get_record(place.records / 2);
	place.report->open_and_get_ms = now_ms(CLOCK_MONOTONIC) - begin;
	place.report->replayed_bytes = stat_of("open.replayed_bytes");
	place.report->replayed_commits = stat_of("open.replayed_commits");
	place.report->ring_bytes = stat_of("open.ring_bytes");
	/* Merges that the close has cut off go on at first. */
	expect_ok(cascade_wait_idle(place.db), "wait_idle");
	double cpu = now_ms(CLOCK_PROCESS_CPUTIME_ID);
	sleep_ns(IDLE_S * 1000000000ull);
	place.report->idle_cpu_ms = now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	struct random random = random_stream(place.seed);
	for (unsigned i = 0; i < 1000; i++)
		get_record(random_below(&random, place.records));
	expect_ok(cascade_close(place.db), "close");
}

static void child_updates(void)
{
	open_database();
	run_clients(run_updates);
}

/* --- in the parent --- */

static pid_t start(void (*function)(void))
{
	(void)fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		function();
		_exit(0);
	}
	return pid;
}

static void run(void (*function)(void))
{
	int status = 0;
	pid_t pid = start(function);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("%s (status %#x, seed %llu, %s is kept)", place.report->failure, (unsigned)status,
			 (unsigned long long)place.seed, place.root);
}

/* After a clean close: nothing to replay, an open and a first get in less than a second, no CPU when idle. */
static void test_open_after_close(void **state)
{
	(void)state;
	if (place.root[0] == '\0')
		skip();
	run(child_fills);
	const struct report *report = place.report;
	print_message("%llu records loaded in %.1f s\n", (unsigned long long)place.records, report->load_s);
	run(child_measures_open);
	print_message("open %.1f ms, with the first get %.1f ms; idle: %.2f ms of CPU in %d s\n",
		      report->open_ms, report->open_and_get_ms, report->idle_cpu_ms, IDLE_S);
	assert_true(report->open_and_get_ms < OPEN_MS_MAX);
	assert_true(report->idle_cpu_ms < IDLE_CPU_MS_MAX);
	assert_int_equal(report->replayed_commits, 0);
}

/* Killed when the log holds about as much as it ever does. */
static void kill_with_full_log(pid_t pid)
{
	uint64_t highest = 0;
	int status = 0;
	for (unsigned looks = 0; looks < LOAD_LOOKS_MAX; looks++) {
		assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
		uint64_t live = atomic_load(&place.report->live_bytes);
		highest = live > highest ? live : highest;
		if (looks >= LOAD_LOOKS_MIN && live >= highest / 10 * 9)
			break;
		sleep_ns(LOOK_NS);
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_replay_of_full_ring(void **state)
{
	(void)state;
	if (place.root[0] == '\0')
		skip();
	kill_with_full_log(start(child_updates));
	run(child_measures_open);
	const struct report *report = place.report;
	print_message(
		"killed with %.1f MiB in the log: open %.1f ms, %llu commits replayed, %.1f MiB read of a "
		"ring of %.1f MiB; idle: %.2f ms of CPU in %d s\n",
		(double)report->live_bytes / (1 << 20), report->open_ms,
		(unsigned long long)report->replayed_commits, (double)report->replayed_bytes / (1 << 20),
		(double)report->ring_bytes / (1 << 20), report->idle_cpu_ms, IDLE_S);
	assert_true(report->replayed_commits > 0);
	assert_true(report->replayed_bytes <= report->ring_bytes);
	assert_true(report->idle_cpu_ms < IDLE_CPU_MS_MAX);
}

static bool is_set(const char *name)
{
	const char *text = getenv(name);
	return text != NULL && text[0] != '\0' && strcmp(text, "0") != 0;
}

static int make_place(void **state)
{
	(void)state;
	const char *folder = getenv("TMPDIR");
	const char *records = getenv("CASCADE_LONG_RECORDS");
	if (!IS_MEANT || (!is_set("CASCADE_LONG") && !is_set("CASCADE_TEST_LONG")))
		return 0;
	place.records = records != NULL ? strtoull(records, NULL, 10) : RECORDS;
	place.seed = test_seed(fixed_seed);
	(void)snprintf(place.root, sizeof(place.root), "%.100s/cascade-long-XXXXXX",
		       folder != NULL ? folder : "/var/tmp");
	if (mkdtemp(place.root) == NULL)
		return -1;
	(void)snprintf(place.database, sizeof(place.database), "%.200s/database", place.root);
	place.report =
		mmap(NULL, sizeof(*place.report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return place.report != MAP_FAILED ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)info;
	(void)kind;
	(void)at;
	return remove(path);
}

static int remove_place(void **state)
{
	(void)state;
	if (place.root[0] == '\0')
		return 0;
	return nftw(place.root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_after_close),
		cmocka_unit_test(test_replay_of_full_ring),
	};
	return cmocka_run_group_tests(tests, make_place, remove_place);
}
