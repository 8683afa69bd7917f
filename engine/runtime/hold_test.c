/*
 * hold_test.c: the hold of a shard: threads that borrow it, and its resident. The protocol's own steps are
 * explored in hold_model_test.c. Takes about 2 s.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "check_or_abort.h"

#include "base/clock.h"
#include "runtime/internal.h"
#include "runtime/runtime.h"

#ifdef FIBER_TSAN
enum { ROUNDS = 1000 };
#else
enum { ROUNDS = 10000 };
#endif

static struct runtime *create(const char *backend, uint64_t poll_ns_max)
{
	struct runtime_options options = {
		.shards = 1, .io_backend = backend, .io = { .depth = 32 }, .poll_ns_max = poll_ns_max
	};
	struct runtime *runtime;
	char notice[200];
	assert_ok(runtime_create(&options, &runtime, notice, sizeof(notice)));
	return runtime;
}

static void burn(uint64_t ns)
{
	uint64_t start = clock_now_ns();
	while (clock_now_ns() - start < ns)
		;
}

static void start_thread(pthread_t *thread, void *(*function)(void *argument), void *argument)
{
	assert_int_equal(pthread_create(thread, NULL, function, argument), 0);
}

/* --- one at a time --- */

struct crowd {
	struct runtime *runtime;
	uint64_t count; /* plain, like the marks below: only the hold keeps them whole */
	bool inside;
	uint64_t by_tasks;
	bool stop;
};

struct member {
	struct crowd *crowd;
	uint64_t seed;
	uint64_t counted;
	uint64_t spawned;
	uint64_t borrowed;
	pthread_t thread;
};

static void enter_and_count(struct crowd *crowd)
{
	CHECK(!crowd->inside);
	crowd->inside = true;
	crowd->count++;
	crowd->inside = false;
}

static void count_as_task(struct task *self, void *argument)
{
	(void)self;
	struct crowd *crowd = argument;
	enter_and_count(crowd);
	crowd->by_tasks++;
}

static const struct task_type counter_type = { "counter", count_as_task, 1024 };

/* The resident's own: always ready, and then away for a while. */
static void count_for_ever(struct task *self, void *argument)
{
	struct crowd *crowd = argument;
	for (uint64_t i = 0; !crowd->stop; i++) {
		count_as_task(self, crowd);
		if (i % 64 < 8)
			task_sleep(self, 20000);
		else
			task_yield(self);
	}
}

static void stop_counting(struct task *self, void *argument)
{
	(void)self;
	((struct crowd *)argument)->stop = true;
}

static void borrowed_call(struct member *member, bool spawns)
{
	struct crowd *crowd = member->crowd;
	CHECK(shard_current() == runtime_shard(crowd->runtime, 0));
	CHECK(task_current() == NULL);
	enter_and_count(crowd);
	member->counted++;
	if (spawns) {
		struct status status =
			task_spawn(shard_current(), &counter_type, crowd, TASK_FOREGROUND, NULL);
		CHECK(status_is_ok(status));
		member->spawned++;
	}
	runtime_return(crowd->runtime, 0);
	CHECK(shard_current() == NULL);
}

static void *member_run(void *argument)
{
	struct member *member = argument;
	struct crowd *crowd = member->crowd;
	struct random random = random_stream(member->seed);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t dice = random_below(&random, 8);
		if (!runtime_borrow(crowd->runtime, 0)) {
			runtime_run(crowd->runtime, 0, count_as_task, crowd);
			member->spawned++;
			continue;
		}
		member->borrowed++;
		borrowed_call(member, dice == 0);
		if (dice == 1) {
			burn(random_below(&random, 3000));
			runtime_borrow_again(crowd->runtime, 0);
			borrowed_call(member, false);
		}
		if (dice == 2)
			burn(random_below(&random, 30000));
	}
	return NULL;
}

static void test_one_at_a_time(void **state)
{
	enum { MEMBERS = 4 };
	struct crowd crowd = { .runtime = create(*state, 10000) };
	struct member members[MEMBERS];
	struct request request;
	request_init(&request, count_for_ever, &crowd);
	assert_ok(runtime_submit(crowd.runtime, 0, &request));
	for (unsigned i = 0; i < MEMBERS; i++) {
		members[i] = (struct member) { .crowd = &crowd, .seed = test_seed(900) + i };
		start_thread(&members[i].thread, member_run, &members[i]);
	}
	uint64_t counted = 0, spawned = 0, borrowed = 0;
	for (unsigned i = 0; i < MEMBERS; i++) {
		assert_int_equal(pthread_join(members[i].thread, NULL), 0);
		counted += members[i].counted;
		spawned += members[i].spawned;
		borrowed += members[i].borrowed;
	}
	runtime_run(crowd.runtime, 0, stop_counting, &crowd);
	future_wait(&request.future);
	runtime_destroy(crowd.runtime);
	assert_true(borrowed > 0);
	assert_true(crowd.by_tasks > spawned);
	assert_int_equal(crowd.count, counted + crowd.by_tasks);
}

/* --- what a borrower leaves behind --- */

static void tell(struct task *self, void *argument)
{
	(void)self;
	future_complete(argument);
}

struct sleeper {
	struct task *task;
	bool stop;
	struct future *told;
};

static void sleep_and_tell(struct task *self, void *argument)
{
	struct sleeper *sleeper = argument;
	sleeper->task = self;
	for (;;) {
		task_suspend(self);
		if (sleeper->stop)
			return;
		future_complete(sleeper->told);
	}
}

static void end_sleeper(struct task *self, void *argument)
{
	(void)self;
	struct sleeper *sleeper = argument;
	sleeper->stop = true;
	task_resume(sleeper->task);
}

/* Pauses of about the time after which the resident goes to sleep: it must run what was left for it. */
static void test_no_wake_up_is_lost(void **state)
{
	static const struct task_type type = { "tell", tell, 1024 };
	struct runtime *runtime = create(*state, 2000);
	struct random random = random_stream(test_seed(901));
	struct sleeper sleeper = { 0 };
	struct request request;
	request_init(&request, sleep_and_tell, &sleeper);
	assert_ok(runtime_submit(runtime, 0, &request));
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		struct future told;
		future_init(&told);
		burn(random_below(&random, 6000));
		while (!runtime_borrow(runtime, 0))
			;
		if (i % 2 == 0 || sleeper.task == NULL) {
			CHECK(status_is_ok(task_spawn(shard_current(), &type, &told, TASK_BACKGROUND, NULL)));
		} else {
			sleeper.told = &told;
			task_resume(sleeper.task);
		}
		runtime_return(runtime, 0);
		future_wait(&told);
	}
	runtime_run(runtime, 0, end_sleeper, &sleeper);
	future_wait(&request.future);
	runtime_destroy(runtime);
}

struct last_call {
	struct runtime *runtime;
	struct future told;
	bool borrowed;
};

static void *call_last(void *argument)
{
	static const struct task_type type = { "tell", tell, 1024 };
	struct last_call *call = argument;
	while (!runtime_borrow(call->runtime, 0))
		;
	CHECK(status_is_ok(task_spawn(shard_current(), &type, &call->told, TASK_FOREGROUND, NULL)));
	runtime_return(call->runtime, 0);
	return NULL;
}

/* Whoever hears of a call's outcome may end the runtime, though the borrower has not quite returned. */
static void test_the_end_may_come_at_once(void **state)
{
	for (unsigned i = 0; i < 100; i++) {
		struct last_call call = { .runtime = create(*state, i % 2 == 0 ? 50000 : 1) };
		pthread_t thread;
		future_init(&call.told);
		start_thread(&thread, call_last, &call);
		future_wait(&call.told);
		runtime_destroy(call.runtime);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
}

/* --- who waits for whom --- */

struct turn {
	struct runtime *runtime;
	atomic_bool begun;
	atomic_bool may_end;
	bool seen; /* plain: kept by the hold */
	uint64_t yields;
};

static void stay(struct task *self, void *argument)
{
	(void)self;
	struct turn *turn = argument;
	atomic_store(&turn->begun, true);
	while (!atomic_load(&turn->may_end))
		sched_yield();
	turn->seen = true;
}

static void wait_until(atomic_bool *flag)
{
	while (!atomic_load(flag))
		sched_yield();
}

static void test_a_long_turn_is_not_waited_for(void **state)
{
	struct turn turn = { .runtime = create(*state, 0) };
	struct request request;
	request_init(&request, stay, &turn);
	assert_ok(runtime_submit(turn.runtime, 0, &request));
	wait_until(&turn.begun);
	for (unsigned i = 0; i < 100; i++)
		assert_false(runtime_borrow(turn.runtime, 0));
	assert_null(shard_current());
	atomic_store(&turn.may_end, true);
	runtime_borrow_again(turn.runtime, 0);
	assert_true(turn.seen);
	runtime_return(turn.runtime, 0);
	future_wait(&request.future);
	runtime_destroy(turn.runtime);
}

static void *borrow_after(void *argument)
{
	struct turn *turn = argument;
	atomic_store(&turn->begun, true);
	runtime_borrow_again(turn->runtime, 0);
	CHECK(turn->seen);
	runtime_return(turn->runtime, 0);
	return NULL;
}

static void note_end(struct task *self, void *argument)
{
	(void)self;
	struct turn *turn = argument;
	CHECK(turn->seen);
	atomic_store(&turn->may_end, true);
}

/* A borrower that lost its processor has the shard for long: the others wait for it and use none. */
static void test_a_borrower_may_take_long(void **state)
{
	for (unsigned i = 0; i < 20; i++) {
		struct turn turn = { .runtime = create(*state, i % 2 == 0 ? 0 : 50000) };
		struct shard *shard = runtime_shard(turn.runtime, 0);
		while (!runtime_borrow(turn.runtime, 0))
			sched_yield();
		uint32_t held = atomic_load(&shard->hold);
		pthread_t thread;
		struct request request;
		request_init(&request, note_end, &turn);
		if (i % 4 < 3)
			start_thread(&thread, borrow_after, &turn);
		if (i % 4 > 0)
			assert_ok(runtime_submit(turn.runtime, 0, &request));
		/* Somebody is about to sleep, and says so. */
		while (atomic_load(&shard->hold) == held)
			sched_yield();
		clock_sleep_ns(i * 50000);
		assert_false(atomic_load(&turn.may_end));
		turn.seen = true;
		runtime_return(turn.runtime, 0);
		if (i % 4 < 3)
			assert_int_equal(pthread_join(thread, NULL), 0);
		if (i % 4 > 0)
			future_wait(&request.future);
		runtime_destroy(turn.runtime);
	}
}

struct stream {
	struct runtime *runtime;
	atomic_bool stop;
	atomic_uint_least64_t borrowed;
	pthread_t thread;
};

static void *borrow_on_and_on(void *argument)
{
	struct stream *stream = argument;
	while (!atomic_load(&stream->stop)) {
		if (!runtime_borrow(stream->runtime, 0))
			continue;
		atomic_fetch_add(&stream->borrowed, 1);
		runtime_return(stream->runtime, 0);
	}
	return NULL;
}

/* Requests get through, however many borrow. */
static void test_the_resident_gets_in(void **state)
{
	enum { STREAMS = 3 };
	struct runtime *runtime = create(*state, 20000);
	struct stream streams[STREAMS];
	for (unsigned i = 0; i < STREAMS; i++) {
		streams[i] = (struct stream) { .runtime = runtime };
		start_thread(&streams[i].thread, borrow_on_and_on, &streams[i]);
	}
	for (unsigned i = 0; i < STREAMS; i++)
		while (atomic_load(&streams[i].borrowed) == 0)
			sched_yield(); /* it has not begun */
	struct crowd crowd = { .runtime = runtime };
	for (unsigned i = 0; i < 200; i++)
		runtime_run(runtime, 0, count_as_task, &crowd);
	for (unsigned i = 0; i < STREAMS; i++) {
		atomic_store(&streams[i].stop, true);
		assert_int_equal(pthread_join(streams[i].thread, NULL), 0);
	}
	assert_int_equal(crowd.count, 200);
	runtime_destroy(runtime);
}

/* --- a shard that is never idle --- */

static void yield_until_seen(struct task *self, void *argument)
{
	struct turn *turn = argument;
	atomic_store(&turn->begun, true);
	while (!turn->seen) {
		turn->yields++;
		task_yield(self);
	}
}

/* Tasks that are ready all the time end only when a borrower has been in. */
static void test_what_was_begun_goes_on(void **state)
{
	for (unsigned i = 0; i < 50; i++) {
		struct turn turn = { .runtime = create(*state, 0) };
		struct request requests[2];
		for (unsigned j = 0; j < 2; j++) {
			request_init(&requests[j], yield_until_seen, &turn);
			assert_ok(runtime_submit(turn.runtime, 0, &requests[j]));
		}
		wait_until(&turn.begun);
		runtime_borrow_again(turn.runtime, 0);
		assert_true(turn.yields > 0);
		turn.seen = true;
		runtime_return(turn.runtime, 0);
		future_wait(&requests[0].future);
		future_wait(&requests[1].future);
		runtime_destroy(turn.runtime);
	}
}

struct lodger {
	struct turn *turn;
	uint64_t *count; /* plain */
	pthread_t thread;
};

static void *lodge(void *argument)
{
	struct lodger *lodger = argument;
	for (unsigned i = 0; i < ROUNDS / 20; i++) {
		runtime_borrow_again(lodger->turn->runtime, 0);
		++*lodger->count;
		runtime_return(lodger->turn->runtime, 0);
	}
	return NULL;
}

static void test_many_are_let_in(void **state)
{
	enum { LODGERS = 4 };
	struct turn turn = { .runtime = create(*state, 0) };
	uint64_t count = 0;
	struct request request;
	request_init(&request, yield_until_seen, &turn);
	assert_ok(runtime_submit(turn.runtime, 0, &request));
	struct lodger lodgers[LODGERS];
	for (unsigned i = 0; i < LODGERS; i++) {
		lodgers[i] = (struct lodger) { .turn = &turn, .count = &count };
		start_thread(&lodgers[i].thread, lodge, &lodgers[i]);
	}
	for (unsigned i = 0; i < LODGERS; i++)
		assert_int_equal(pthread_join(lodgers[i].thread, NULL), 0);
	runtime_borrow_again(turn.runtime, 0);
	turn.seen = true;
	runtime_return(turn.runtime, 0);
	future_wait(&request.future);
	runtime_destroy(turn.runtime);
	assert_int_equal(count, LODGERS * (ROUNDS / 20));
}

int main(void)
{
	static char uring[] = "uring";
	static char posix[] = "posix";
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(test_one_at_a_time, uring),
		cmocka_unit_test_prestate(test_one_at_a_time, posix),
		cmocka_unit_test_prestate(test_no_wake_up_is_lost, uring),
		cmocka_unit_test_prestate(test_no_wake_up_is_lost, posix),
		cmocka_unit_test_prestate(test_the_end_may_come_at_once, uring),
		cmocka_unit_test_prestate(test_the_end_may_come_at_once, posix),
		cmocka_unit_test_prestate(test_a_long_turn_is_not_waited_for, uring),
		cmocka_unit_test_prestate(test_a_long_turn_is_not_waited_for, posix),
		cmocka_unit_test_prestate(test_a_borrower_may_take_long, uring),
		cmocka_unit_test_prestate(test_a_borrower_may_take_long, posix),
		cmocka_unit_test_prestate(test_the_resident_gets_in, uring),
		cmocka_unit_test_prestate(test_the_resident_gets_in, posix),
		cmocka_unit_test_prestate(test_what_was_begun_goes_on, uring),
		cmocka_unit_test_prestate(test_what_was_begun_goes_on, posix),
		cmocka_unit_test_prestate(test_many_are_let_in, uring),
		cmocka_unit_test_prestate(test_many_are_let_in, posix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
