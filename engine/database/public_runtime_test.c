/*
 * public_runtime_test.c: cascade_runtime.h, used as an embedder uses it, and misused. Takes well under a
 * second.
 */
#include <sched.h>
#include <stdatomic.h>

#include "database/database_test.h"

#include "cascade_runtime.h"

#define HOUR ((uint64_t)3600 * 1000 * 1000 * 1000)

static cascade_runtime *create(uint32_t shards)
{
	const cascade_runtime_options options = { .shards = shards, .inbox_entries = 8 };
	cascade_runtime *runtime;
	CHECK_OK(cascade_runtime_create(&options, &runtime));
	CHECK(cascade_runtime_shard_count(runtime) == shards);
	return runtime;
}

/* --- requests and futures --- */

static void double_it(cascade_runtime_task *self, void *argument)
{
	*(unsigned *)argument *= 2;
	cascade_runtime_yield(self);
}

static void fail_it(cascade_runtime_task *self, void *argument)
{
	(void)argument;
	cascade_runtime_set_status(self, CASCADE_NO_SPACE);
}

static void sleep_long(cascade_runtime_task *self, void *argument)
{
	CHECK(!cascade_runtime_canceled(self));
	atomic_store((atomic_bool *)argument, true);
	CHECK_STATUS(cascade_runtime_sleep(self, HOUR), CASCADE_CANCELED);
	CHECK(cascade_runtime_canceled(self));
	cascade_runtime_shield(self);
	CHECK_OK(cascade_runtime_sleep(self, 1000));
	cascade_runtime_unshield(self);
	cascade_runtime_set_status(self, CASCADE_CANCELED);
}

static void take_in_callback(void *context)
{
	cascade_runtime_future **future = context;
	CHECK(cascade_runtime_future_done(*future));
	CHECK_OK(cascade_runtime_future_wait(*future));
	__atomic_store_n(future, NULL, __ATOMIC_SEQ_CST);
}

static void test_requests(void **state)
{
	(void)state;
	cascade_runtime *runtime = create(2);
	unsigned value = 21;
	CHECK_OK(cascade_runtime_run(runtime, 1, double_it, &value));
	CHECK(value == 42);
	CHECK_STATUS(cascade_runtime_run(runtime, 0, fail_it, NULL), CASCADE_NO_SPACE);
	cascade_runtime_future *future, *taken;
	CHECK_OK(cascade_runtime_submit(runtime, 0, double_it, &value, &future));
	CHECK_STATUS(cascade_runtime_destroy(runtime), CASCADE_BUSY);
	CHECK_OK(cascade_runtime_future_wait(future));
	CHECK(value == 84);
	atomic_bool begun = false;
	CHECK_OK(cascade_runtime_submit(runtime, 1, sleep_long, &begun, &future));
	while (!atomic_load(&begun))
		sched_yield();
	CHECK(!cascade_runtime_future_done(future));
	cascade_runtime_future_cancel(future);
	CHECK_STATUS(cascade_runtime_future_wait(future), CASCADE_CANCELED);
	CHECK_OK(cascade_runtime_submit(runtime, 1, double_it, &value, &taken));
	CHECK_OK(cascade_runtime_future_on_done(taken, take_in_callback, &taken));
	while (__atomic_load_n(&taken, __ATOMIC_SEQ_CST) != NULL)
		sched_yield();
	CHECK_OK(cascade_runtime_destroy(runtime));
}

struct gate {
	atomic_bool closed, open;
};

static void stand(cascade_runtime_task *self, void *argument)
{
	struct gate *gate = argument;
	(void)self;
	atomic_store(&gate->closed, true);
	while (!atomic_load(&gate->open))
		sched_yield();
}

static void test_full_inbox(void **state)
{
	(void)state;
	enum { TRIES = 100 };
	cascade_runtime *runtime = create(1);
	struct gate gate = { .open = false };
	cascade_runtime_future *futures[TRIES], *blocker;
	unsigned value = 1, started = 0;
	CHECK_OK(cascade_runtime_submit(runtime, 0, stand, &gate, &blocker));
	while (!atomic_load(&gate.closed))
		sched_yield();
	cascade_status status = CASCADE_OK;
	while (started < TRIES && status == CASCADE_OK) {
		status = cascade_runtime_submit(runtime, 0, double_it, &value, &futures[started]);
		started += status == CASCADE_OK;
	}
	CHECK_STATUS(status, CASCADE_BUSY);
	CHECK(started == 8);
	atomic_store(&gate.open, true);
	CHECK_OK(cascade_runtime_future_wait(blocker));
	for (unsigned i = 0; i < started; i++)
		CHECK_OK(cascade_runtime_future_wait(futures[i]));
	CHECK(value == 256);
	CHECK_OK(cascade_runtime_destroy(runtime));
}

/* --- tasks --- */

static const cascade_runtime_type double_type = { "double", double_it, 16384 };
static const cascade_runtime_type fail_type = { "fail", fail_it, 16384 };
static const cascade_runtime_type sleep_type = { "sleep", sleep_long, 16384 };

static void use_joins(cascade_runtime_task *self, void *argument)
{
	(void)argument;
	cascade_runtime_join join, naps[2];
	unsigned values[4] = { 1, 2, 3, 4 };
	uint32_t errors;
	cascade_runtime_join_init(&join);
	for (unsigned i = 0; i < 4; i++)
		CHECK_OK(cascade_runtime_spawn(
			self, &double_type, &values[i],
			i % 2 == 0 ? CASCADE_RUNTIME_FOREGROUND : CASCADE_RUNTIME_BACKGROUND, &join));
	CHECK_OK(cascade_runtime_spawn(self, &fail_type, NULL, CASCADE_RUNTIME_FOREGROUND, &join));
	CHECK_STATUS(cascade_runtime_wait(self, &join, &errors), CASCADE_NO_SPACE);
	CHECK(errors == 1 && values[0] == 2 && values[3] == 8);
	CHECK_OK(cascade_runtime_wait(self, &join, NULL));
	cascade_runtime_join *const both[2] = { &naps[0], &naps[1] };
	cascade_runtime_handle handles[2];
	atomic_bool begun[2] = { false, false };
	for (unsigned i = 0; i < 2; i++) {
		cascade_runtime_join_init(&naps[i]);
		CHECK_OK(cascade_runtime_spawn_handle(self, &sleep_type, &begun[i],
						      CASCADE_RUNTIME_FOREGROUND, &handles[i], &naps[i]));
		while (!atomic_load(&begun[i]))
			cascade_runtime_yield(self);
	}
	cascade_runtime_handle_cancel(&handles[1]);
	CHECK(cascade_runtime_wait_any(self, both, 2) == 1);
	cascade_runtime_handle_cancel(&handles[0]);
	CHECK_STATUS(cascade_runtime_wait(self, &naps[0], NULL), CASCADE_CANCELED);
	CHECK_STATUS(cascade_runtime_wait(self, &naps[1], NULL), CASCADE_CANCELED);
	CHECK(cascade_runtime_wait_any(self, both, 0) == 0);
}

static void use_cancels(cascade_runtime_task *self, void *argument)
{
	(void)argument;
	cascade_runtime_join join;
	cascade_runtime_handle handles[2];
	atomic_bool begun[2] = { false, false };
	cascade_runtime_join_init(&join);
	CHECK_OK(cascade_runtime_spawn_handle(self, &sleep_type, &begun[0], CASCADE_RUNTIME_FOREGROUND,
					      &handles[0], &join));
	while (!atomic_load(&begun[0]))
		cascade_runtime_breathe(self), cascade_runtime_yield(self);
	CHECK_OK(cascade_runtime_spawn_handle(self, &sleep_type, &begun[1], CASCADE_RUNTIME_FOREGROUND,
					      &handles[1], &join));
	cascade_runtime_handle_cancel(&handles[0]);
	cascade_runtime_handle_cancel(&handles[1]);
	uint32_t errors;
	CHECK_STATUS(cascade_runtime_wait(self, &join, &errors), CASCADE_CANCELED);
	CHECK(errors == 2 && !atomic_load(&begun[1]));
	CHECK_STATUS(cascade_runtime_handle_status(&handles[0]), CASCADE_CANCELED);
	CHECK_STATUS(cascade_runtime_handle_status(&handles[1]), CASCADE_CANCELED);
	cascade_runtime_handle_cancel(&handles[0]);
}

/* A function that was called makes no call. */
static void call_on(cascade_runtime_task *self, void *argument)
{
	CHECK_STATUS(cascade_runtime_call(self, 0, &double_type, argument), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_post(self, 0, &double_type, argument, NULL), CASCADE_INVALID);
	CHECK(strlen(cascade_error_message()) > 0);
}

static void use_calls(cascade_runtime_task *self, void *argument)
{
	static const cascade_runtime_type call_type = { "call on", call_on, 32768 };
	static const cascade_runtime_type large = { "large", double_it, 65537 };
	static const cascade_runtime_type nothing = { "nothing", NULL, 1024 };
	(void)argument;
	unsigned value = 1;
	CHECK(cascade_runtime_shard(self) == 0);
	for (uint32_t shard = 0; shard < 2; shard++) {
		CHECK_OK(cascade_runtime_call(self, shard, &double_type, &value));
		CHECK_OK(cascade_runtime_call_cancelable(self, shard, &double_type, &value));
		CHECK_STATUS(cascade_runtime_call(self, shard, &fail_type, NULL), CASCADE_NO_SPACE);
		CHECK_OK(cascade_runtime_call(self, shard, &call_type, &value));
	}
	CHECK(value == 16);
	cascade_runtime_join join;
	uint32_t errors;
	cascade_runtime_join_init(&join);
	for (unsigned i = 0; i < 100; i++)
		CHECK_OK(cascade_runtime_post(self, i % 2, &fail_type, NULL, &join));
	CHECK_STATUS(cascade_runtime_wait(self, &join, &errors), CASCADE_NO_SPACE);
	CHECK(errors == 100);
	CHECK_OK(cascade_runtime_post(self, 1, &fail_type, NULL, NULL));
	CHECK_STATUS(cascade_runtime_call(self, 2, &double_type, &value), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_post(self, 0, &large, &value, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_spawn(self, &nothing, NULL, CASCADE_RUNTIME_FOREGROUND, NULL),
		     CASCADE_INVALID);
}

static void use_files(cascade_runtime_task *self, void *argument)
{
	enum { PAGES = 8, PAGE = 4096 };
	static _Alignas(4096) char pages[PAGES][PAGE], back[PAGES][PAGE];
	const char *path = argument;
	cascade_runtime_file *file;
	cascade_runtime_transfer transfers[PAGES];
	CHECK_STATUS(cascade_runtime_open(self, path, 0, &file), CASCADE_NOT_FOUND);
	CHECK_OK(cascade_runtime_open(self, path, CASCADE_RUNTIME_WRITE | CASCADE_RUNTIME_CREATE, &file));
	memset(transfers, 0, sizeof(transfers));
	for (unsigned i = 0; i < PAGES; i++) {
		memset(pages[i], 'a' + (int)i, PAGE);
		transfers[i].file = file;
		transfers[i].buffer = pages[i];
		transfers[i].length = PAGE;
		transfers[i].offset = i * PAGE;
		transfers[i].is_write = true;
	}
	CHECK_OK(cascade_runtime_transfers(self, transfers, PAGES));
	CHECK_OK(cascade_runtime_sync(self, file));
	for (unsigned i = 0; i < PAGES; i++) {
		transfers[i].buffer = back[i];
		transfers[i].is_write = false;
	}
	transfers[0].offset = 1000 * PAGE; /* behind the end */
	CHECK_OK(cascade_runtime_transfers(self, transfers, PAGES));
	CHECK(transfers[0].transferred == 0 && transfers[1].transferred == PAGE);
	CHECK(memcmp(pages[1], back[1], sizeof(pages) - PAGE) == 0);
	transfers[2].buffer = NULL;
	CHECK_STATUS(cascade_runtime_transfers(self, transfers, PAGES), CASCADE_INVALID);
	CHECK_OK(cascade_runtime_close(self, file));
	CHECK_OK(cascade_runtime_open(self, path, CASCADE_RUNTIME_BUFFERED, &file));
	CHECK_OK(cascade_runtime_close(self, file));
	CHECK_OK(cascade_runtime_remove(self, path));
	CHECK_STATUS(cascade_runtime_remove(self, path), CASCADE_NOT_FOUND);
	CHECK_STATUS(cascade_runtime_open(self, path, 64, &file), CASCADE_INVALID);
}

static void test_tasks(void **state)
{
	(void)state;
	char path[PATH_BYTES + 8];
	(void)snprintf(path, sizeof(path), "%s/file", place);
	cascade_runtime *runtime = create(2);
	CHECK_OK(cascade_runtime_run(runtime, 0, use_joins, NULL));
	CHECK_OK(cascade_runtime_run(runtime, 0, use_cancels, NULL));
	CHECK_OK(cascade_runtime_run(runtime, 0, use_calls, NULL));
	CHECK_OK(cascade_runtime_run(runtime, 1, use_files, path));
	cascade_runtime_counters counters;
	CHECK_OK(cascade_runtime_count(runtime, 0, &counters));
	CHECK(counters.posts_sent == 101 && counters.cancels == 4);
	CHECK(counters.calls_sent == 4 && counters.background_runs > 0);
	CHECK(counters.foreground_runs > counters.background_runs);
	CHECK(counters.tasks > 10 && counters.switches > counters.tasks);
	CHECK_OK(cascade_runtime_destroy(runtime));
}

/* --- the end, and misuse --- */

static void plant(cascade_runtime_task *self, void *argument)
{
	CHECK_OK(cascade_runtime_spawn(self, &sleep_type, argument, CASCADE_RUNTIME_FOREGROUND, NULL));
}

static void test_end_in_good_order(void **state)
{
	(void)state;
	cascade_runtime *runtime = create(2);
	atomic_bool begun = false;
	CHECK_OK(cascade_runtime_run(runtime, 1, plant, &begun));
	while (!atomic_load(&begun))
		sched_yield();
	cascade_runtime_cancel_all(runtime);
	CHECK_STATUS(cascade_runtime_run(runtime, 1, plant, &begun), CASCADE_CANCELED);
	CHECK_OK(cascade_runtime_destroy(runtime));
	CHECK_OK(cascade_runtime_destroy(NULL));
}

struct misuse {
	cascade_runtime *runtime;
	cascade_runtime_future *future;
};

/* On a shard's thread nothing blocks. */
static void block_in_task(cascade_runtime_task *self, void *argument)
{
	struct misuse *misuse = argument;
	cascade_runtime_counters counters;
	(void)self;
	CHECK_STATUS(cascade_runtime_run(misuse->runtime, 0, double_it, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_count(misuse->runtime, 0, &counters), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_destroy(misuse->runtime), CASCADE_INVALID);
	if (!cascade_runtime_future_done(misuse->future))
		CHECK_STATUS(cascade_runtime_future_wait(misuse->future), CASCADE_INVALID);
}

static void test_misuse(void **state)
{
	(void)state;
	cascade_runtime *runtime;
	const cascade_runtime_options many = { .shards = 65 }, odd = { .shards = 1, .io = "abacus" };
	CHECK_STATUS(cascade_runtime_create(&many, &runtime), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_create(&odd, &runtime), CASCADE_NOT_FOUND);
	CHECK_STATUS(cascade_runtime_create(NULL, NULL), CASCADE_INVALID);
	CHECK_OK(cascade_runtime_create(NULL, &runtime));
	CHECK(cascade_runtime_shard_count(runtime) >= 1 && cascade_runtime_shard_count(NULL) == 0);
	uint32_t shards = cascade_runtime_shard_count(runtime);
	atomic_bool begun = false;
	struct misuse misuse = { .runtime = runtime };
	CHECK_STATUS(cascade_runtime_run(runtime, shards, double_it, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_run(NULL, 0, double_it, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_run(runtime, 0, NULL, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_submit(runtime, 0, double_it, NULL, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_future_wait(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_runtime_count(runtime, shards, NULL), CASCADE_INVALID);
	CHECK(!cascade_runtime_future_done(NULL));
	cascade_runtime_future_cancel(NULL);
	cascade_runtime_cancel_all(NULL);
	CHECK_OK(cascade_runtime_submit(runtime, 0, sleep_long, &begun, &misuse.future));
	CHECK_OK(cascade_runtime_run(runtime, 0, block_in_task, &misuse));
	CHECK_STATUS(cascade_runtime_future_on_done(misuse.future, NULL, NULL), CASCADE_INVALID);
	while (!atomic_load(&begun))
		sched_yield();
	cascade_runtime_future_cancel(misuse.future);
	CHECK_STATUS(cascade_runtime_future_wait(misuse.future), CASCADE_CANCELED);
	CHECK_OK(cascade_runtime_destroy(runtime));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_requests), TEST(test_full_inbox),	   TEST(test_tasks),
		TEST(test_misuse),   TEST(test_end_in_good_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
