/*
 * submit_test.c: every way to hand work over and to hear of its end: joins of any, barriers, NOWAIT calls,
 * callbacks, cancels of tasks, calls and requests, and the end in good order. Takes about a second.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "check_or_abort.h"

#include "base/clock.h"
#include "base/memory.h"
#include "runtime/internal.h"

#define CHECK_CANCELED(expression) CHECK(status_is(expression, STATUS_CANCELED))
#define TYPE(run_function, its_name)                                       \
	{                                                                  \
		.name = its_name, .run = run_function, .stack_bytes = 4096 \
	}

/* So long that only a cancel ends it. */
#define FOR_EVER ((uint64_t)3600 * 1000 * 1000 * 1000)

static struct runtime *create_with(struct runtime_options options)
{
	char notice[200];
	struct runtime *runtime;
	options.io_backend = "posix";
	options.io.depth = 32;
	CHECK_OK(runtime_create(&options, &runtime, notice, sizeof(notice)));
	return runtime;
}

static struct runtime *create(uint32_t shards)
{
	return create_with((struct runtime_options) { .shards = shards });
}

static void burn(uint64_t ns)
{
	uint64_t start = clock_now_ns();
	while (clock_now_ns() - start < ns)
		;
}

/* Runs a function as a task of shard 0 of a runtime of its own. */
static void run_in_task(uint32_t shards, task_function *function)
{
	struct runtime *runtime = create(shards);
	runtime_run(runtime, 0, function, runtime);
	runtime_destroy(runtime);
}

/* --- timers --- */

static void test_timers_leave_the_heap(void **state)
{
	(void)state;
	enum { COUNT = 500 };
	static struct task tasks[COUNT];
	static bool is_in[COUNT];
	struct random random = random_stream(test_seed(3));
	struct task *root = NULL;
	unsigned held = 0;
	for (unsigned i = 0; i < 20000; i++) {
		unsigned at = (unsigned)random_below(&random, COUNT);
		held += is_in[at] ? -1u : 1u;
		if (is_in[at]) {
			root = timer_heap_remove(root, &tasks[at]);
		} else {
			tasks[at].wake_ns = random_below(&random, 300);
			tasks[at].wake_order = i;
			root = timer_heap_add(root, &tasks[at]);
		}
		is_in[at] = !is_in[at];
	}
	uint64_t latest = 0;
	for (; root != NULL; held--) {
		assert_true(root->wake_ns >= latest);
		latest = root->wake_ns;
		assert_true(is_in[root - tasks]);
		root = timer_heap_remove(root, root);
	}
	assert_int_equal(held, 0);
}

/* --- await any, barrier --- */

struct napper {
	uint64_t ns;
	struct status says;
	bool canceled;
	unsigned ran;
};

static void nap(struct task *self, void *argument)
{
	struct napper *napper = argument;
	napper->ran++;
	napper->canceled = !status_is_ok(task_sleep_cancelable(self, napper->ns));
	task_set_status(self, napper->canceled ? status_make(STATUS_CANCELED) : napper->says);
}

static const struct task_type nap_type = TYPE(nap, "nap");

static void wait_in_list(struct task *self, void *argument)
{
	wait_list_wait(self, argument);
}

static const struct task_type in_list_type = TYPE(wait_in_list, "in list");

static void check_any(struct task *self, void *argument)
{
	(void)argument;
	enum { COUNT = 4 };
	struct wait_list lists[COUNT];
	struct join joins[COUNT];
	struct join *all[COUNT];
	for (unsigned i = 0; i < COUNT; i++) {
		wait_list_init(&lists[i]);
		join_init(&joins[i]);
		all[i] = &joins[i];
		CHECK_OK(task_spawn(task_shard(self), &in_list_type, &lists[i], i % 2, &joins[i]));
		while (wait_list_is_empty(&lists[i]))
			task_yield(self);
	}
	static const unsigned order[COUNT] = { 3, 1, 2, 0 };
	unsigned left = COUNT;
	for (unsigned i = 0; i < COUNT; i++) {
		wait_list_wake_one(&lists[order[i]]);
		size_t place = join_wait_any(self, all, left);
		CHECK(all[place] == &joins[order[i]]);
		CHECK(all[place]->waiter == NULL);
		memmove(all + place, all + place + 1, (--left - place) * sizeof(all[0]));
	}
	/* What has ended needs no wait; of several the first in place. */
	for (unsigned i = 0; i < COUNT; i++)
		all[i] = &joins[i];
	CHECK(join_wait_any(self, all, COUNT) == 0);
}

static void test_await_any(void **state)
{
	(void)state;
	run_in_task(1, check_any);
}

static void end_all_at_once(struct task *self, void *argument)
{
	(void)self;
	wait_list_wake_all(argument);
}

/* Several end before the waiter runs: it is woken once. */
static void check_any_of_many(struct task *self, void *argument)
{
	(void)argument;
	static const struct task_type waker_type = TYPE(end_all_at_once, "waker");
	enum { COUNT = 5 };
	struct wait_list waiting;
	struct join joins[COUNT];
	struct join *all[COUNT];
	wait_list_init(&waiting);
	for (unsigned i = 0; i < COUNT; i++) {
		join_init(&joins[i]);
		all[i] = &joins[i];
		CHECK_OK(task_spawn(task_shard(self), &in_list_type, &waiting, TASK_FOREGROUND, &joins[i]));
	}
	task_yield(self);
	CHECK_OK(task_spawn(task_shard(self), &waker_type, &waiting, TASK_FOREGROUND, NULL));
	CHECK(join_wait_any(self, all, COUNT) == 0);
	for (unsigned i = 0; i < COUNT; i++)
		join_wait(self, &joins[i]);
}

static void test_await_any_of_many(void **state)
{
	(void)state;
	run_in_task(1, check_any_of_many);
}

static void check_errors(struct task *self, void *argument)
{
	(void)argument;
	struct napper nappers[3] = { { .ns = 2000000, .says = status_make(STATUS_IO) },
				     { .ns = 0, .says = status_make(STATUS_NO_SPACE) },
				     { .ns = 0 } };
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < 3; i++)
		CHECK_OK(task_spawn(task_shard(self), &nap_type, &nappers[i], TASK_FOREGROUND, &join));
	uint32_t errors = 0;
	CHECK(status_is(join_barrier(self, &join, &errors), STATUS_NO_SPACE));
	CHECK(errors == 2);
	CHECK_OK(join_barrier(self, &join, &errors));
	CHECK(errors == 0);
}

static void test_errors_surface_at_the_barrier(void **state)
{
	(void)state;
	run_in_task(1, check_errors);
}

/* --- cancels of tasks --- */

static void check_cancel_before_start(struct task *self, void *argument)
{
	(void)argument;
	struct napper napper = { .ns = 1 };
	struct task_handle handle;
	struct join join;
	join_init(&join);
	CHECK_OK(task_spawn_handle(task_shard(self), &nap_type, &napper, TASK_FOREGROUND, &handle, &join));
	task_handle_cancel(&handle);
	task_handle_cancel(&handle);
	CHECK(handle.task != NULL);
	uint32_t errors;
	CHECK_CANCELED(join_barrier(self, &join, &errors));
	CHECK(errors == 1);
	CHECK(handle.task == NULL);
	CHECK_CANCELED(handle.status);
	CHECK(napper.ran == 0);
	task_handle_cancel(&handle);
	CHECK(shard_counters(task_shard(self))->cancels == 1);
}

static void check_cancel_of_sleep(struct task *self, void *argument)
{
	(void)argument;
	struct napper nappers[3] = { { .ns = FOR_EVER }, { .ns = 2000000 }, { .ns = FOR_EVER } };
	struct task_handle handles[3];
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < 3; i++)
		CHECK_OK(task_spawn_handle(task_shard(self), &nap_type, &nappers[i], TASK_FOREGROUND,
					   &handles[i], &join));
	task_yield(self);
	task_handle_cancel(&handles[2]);
	task_handle_cancel(&handles[0]);
	join_wait(self, &join);
	CHECK(nappers[0].canceled && nappers[2].canceled && !nappers[1].canceled);
	CHECK_CANCELED(handles[0].status);
	CHECK_OK(handles[1].status);
}

static void test_cancel_of_tasks(void **state)
{
	(void)state;
	run_in_task(1, check_cancel_before_start);
	run_in_task(1, check_cancel_of_sleep);
}

struct waiter {
	struct wait_list waiting;
	struct join join;
	struct napper napper;
	struct task_handle napping;
	struct status first, second, shielded;
	bool was_canceled, was_shielded;
};

static void wait_in_all_ways(struct task *self, void *argument)
{
	struct waiter *waiter = argument;
	waiter->first = wait_list_wait_cancelable(self, &waiter->waiting);
	waiter->was_canceled = task_is_canceled(self);
	/* It stays canceled, but for what has to be done all the same. */
	waiter->second = join_wait_cancelable(self, &waiter->join);
	task_shield(self);
	waiter->was_shielded = !task_is_canceled(self);
	task_shield(self);
	waiter->shielded = task_sleep_cancelable(self, 1000);
	task_unshield(self);
	task_unshield(self);
	CHECK(task_is_canceled(self) == waiter->was_canceled);
	task_handle_cancel(&waiter->napping);
	join_wait(self, &waiter->join);
}

static const struct task_type waiter_type = TYPE(wait_in_all_ways, "waiter");

static void begin_waiter(struct task *self, struct waiter *waiter, struct task_handle *handle,
			 struct join *join)
{
	*waiter = (struct waiter) { .napper = { .ns = FOR_EVER } };
	wait_list_init(&waiter->waiting);
	join_init(&waiter->join);
	join_init(join);
	CHECK_OK(task_spawn_handle(task_shard(self), &nap_type, &waiter->napper, TASK_FOREGROUND,
				   &waiter->napping, &waiter->join));
	CHECK_OK(task_spawn_handle(task_shard(self), &waiter_type, waiter, TASK_FOREGROUND, handle, join));
	task_yield(self);
	CHECK(!wait_list_is_empty(&waiter->waiting));
}

static void check_cancel_of_waits(struct task *self, void *argument)
{
	(void)argument;
	struct waiter waiter;
	struct task_handle handle;
	struct join join;
	begin_waiter(self, &waiter, &handle, &join);
	task_handle_cancel(&handle);
	CHECK(wait_list_is_empty(&waiter.waiting));
	CHECK_OK(join_barrier(self, &join, NULL));
	CHECK_CANCELED(waiter.first);
	CHECK_CANCELED(waiter.second);
	CHECK(waiter.was_canceled && waiter.was_shielded);
	CHECK_OK(waiter.shielded);
	CHECK(waiter.napper.ran == 1 && waiter.join.waiter == NULL);
	/* Whoever was woken before has what it waited for. */
	begin_waiter(self, &waiter, &handle, &join);
	wait_list_wake_one(&waiter.waiting);
	task_handle_cancel(&handle);
	join_wait(self, &join);
	CHECK_OK(waiter.first);
	CHECK(waiter.was_canceled);
	CHECK_CANCELED(waiter.second);
}

static void wait_for_any(struct task *self, void *argument)
{
	struct join **joins = argument;
	size_t place = 99;
	task_set_status(self, join_wait_any_cancelable(self, joins, 2, &place));
	CHECK(joins[0]->waiter == NULL && joins[1]->waiter == NULL);
}

static void check_cancel_of_any(struct task *self, void *argument)
{
	(void)argument;
	static const struct task_type type = TYPE(wait_for_any, "any");
	struct napper nappers[2] = { { .ns = FOR_EVER }, { .ns = FOR_EVER } };
	struct task_handle naps[2], handle;
	struct join joins[2], join;
	struct join *both[2] = { &joins[0], &joins[1] };
	join_init(&join);
	for (unsigned i = 0; i < 2; i++) {
		join_init(&joins[i]);
		CHECK_OK(task_spawn_handle(task_shard(self), &nap_type, &nappers[i], TASK_FOREGROUND,
					   &naps[i], &joins[i]));
	}
	CHECK_OK(task_spawn_handle(task_shard(self), &type, both, TASK_FOREGROUND, &handle, &join));
	task_yield(self);
	CHECK(joins[0].waiter != NULL);
	task_handle_cancel(&handle);
	CHECK_CANCELED(join_barrier(self, &join, NULL));
	for (unsigned i = 0; i < 2; i++) {
		CHECK(joins[i].pending == 1);
		task_handle_cancel(&naps[i]);
		join_wait(self, &joins[i]);
	}
}

static void test_cancel_of_waits(void **state)
{
	(void)state;
	run_in_task(1, check_cancel_of_waits);
	run_in_task(1, check_cancel_of_any);
}

/* --- calls --- */

static void end_with_io_error(struct task *self, void *argument)
{
	++*(unsigned *)argument;
	task_set_status(self, status_make(STATUS_IO));
}

static void add_one(struct task *self, void *argument)
{
	(void)self;
	++*(unsigned *)argument;
}

static void check_call_status(struct task *self, void *argument)
{
	(void)argument;
	static const struct task_type type = TYPE(end_with_io_error, "error");
	for (uint32_t target = 0; target < 2; target++) {
		unsigned count = 0;
		CHECK(status_is(shard_call(self, target, end_with_io_error, &count), STATUS_IO));
		CHECK_OK(shard_call(self, target, add_one, &count));
		CHECK(status_is(shard_call_type(self, target, &type, &count), STATUS_IO));
		CHECK(status_is(shard_call_cancelable(self, target, &type, &count), STATUS_IO));
		CHECK(count == 4);
	}
}

static void test_calls_say_how_they_ended(void **state)
{
	(void)state;
	run_in_task(2, check_call_status);
}

struct remote {
	struct napper napper;
	_Atomic bool begun;
	struct status status;
	uint32_t target;
	bool plain;
};

static void nap_there(struct task *self, void *argument)
{
	struct remote *remote = argument;
	atomic_store(&remote->begun, true);
	nap(self, &remote->napper);
}

static void call_away(struct task *self, void *argument)
{
	static const struct task_type type = TYPE(nap_there, "nap there");
	struct remote *remote = argument;
	remote->status = remote->plain ? shard_call(self, remote->target, nap_there, remote)
				       : shard_call_cancelable(self, remote->target, &type, remote);
}

static const struct task_type call_away_type = TYPE(call_away, "call away");

static void check_cancel_of_call(struct task *self, void *argument)
{
	(void)argument;
	/* It has begun there, and is told. */
	for (uint32_t target = 0; target < 2; target++) {
		struct remote remote = { .napper = { .ns = FOR_EVER }, .target = target };
		struct task_handle handle;
		struct join join;
		join_init(&join);
		CHECK_OK(task_spawn_handle(task_shard(self), &call_away_type, &remote, TASK_FOREGROUND,
					   &handle, &join));
		while (!atomic_load(&remote.begun))
			task_yield(self);
		task_handle_cancel(&handle);
		join_wait(self, &join);
		CHECK(remote.napper.canceled);
		CHECK_CANCELED(remote.status);
	}
	/* A call that is none of the cancelable is not. */
	struct remote remote = { .napper = { .ns = 2000000 }, .target = 1, .plain = true };
	struct task_handle handle;
	struct join join;
	join_init(&join);
	CHECK_OK(task_spawn_handle(task_shard(self), &call_away_type, &remote, TASK_FOREGROUND, &handle,
				   &join));
	while (!atomic_load(&remote.begun))
		task_yield(self);
	task_handle_cancel(&handle);
	join_wait(self, &join);
	CHECK(!remote.napper.canceled);
	CHECK_OK(remote.status);
}

static void test_cancel_of_calls(void **state)
{
	(void)state;
	run_in_task(2, check_cancel_of_call);
}

/* Cancels that meet the reply on its way: mailboxes of one entry, so that a message too many would show. */
static void check_cancels_race(struct task *self, void *argument)
{
	(void)argument;
	enum { ROUNDS = 500, TASKS = 5 };
	struct random random = random_stream(test_seed(17));
	unsigned canceled = 0, ended = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct remote remotes[TASKS];
		struct task_handle handles[TASKS];
		struct join join;
		join_init(&join);
		for (unsigned i = 0; i < TASKS; i++) {
			remotes[i] = (struct remote) { .napper = { .ns = random_below(&random, 4) * 500 },
						       .target = 1 };
			CHECK_OK(task_spawn_handle(task_shard(self), &call_away_type, &remotes[i],
						   TASK_FOREGROUND, &handles[i], &join));
		}
		for (unsigned i = 0; i < TASKS; i++) {
			/* Long waits as well: how soon the other shard comes to it is the machine's business.
			 */
			uint64_t most = (uint64_t)1 << random_below(&random, 12);
			for (uint64_t n = random_below(&random, most); n > 0; n--)
				task_yield(self);
			if (round % 16 != 0)
				task_handle_cancel(&handles[i]);
		}
		join_wait(self, &join);
		for (unsigned i = 0; i < TASKS; i++) {
			bool ran = remotes[i].napper.ran == 1;
			if (!ran || remotes[i].napper.canceled)
				CHECK(!status_is_ok(remotes[i].status) || !status_is_ok(handles[i].status));
			else
				CHECK_OK(remotes[i].status);
			*(ran ? &ended : &canceled) += 1;
		}
	}
	CHECK(canceled > 0 && ended > 0);
}

static void test_cancels_race_with_replies(void **state)
{
	(void)state;
	for (uint32_t entries = 1; entries <= 4; entries *= 4) {
		struct runtime *runtime =
			create_with((struct runtime_options) { .shards = 2, .mailbox_entries = entries });
		runtime_run(runtime, 0, check_cancels_race, NULL);
		runtime_destroy(runtime);
	}
}

/* --- NOWAIT calls --- */

struct mail {
	unsigned number;
	uint64_t sleep_ns;
};

/* On the receivers. */
static unsigned arrived[4];
static unsigned last_number[4];

static void take_mail(struct task *self, void *argument)
{
	struct mail *mail = argument;
	uint32_t shard = shard_index(task_shard(self));
	CHECK(mail->number > last_number[shard]);
	last_number[shard] = mail->number;
	arrived[shard]++;
	if (mail->sleep_ns > 0)
		task_sleep(self, mail->sleep_ns);
	if (mail->number % 10 == 3)
		task_set_status(self, status_make(STATUS_NO_SPACE));
	memory_free(mail);
}

static const struct task_type mail_type = { .name = "mail", .run = take_mail, .stack_bytes = 16384 };

static struct mail *mail_make(unsigned number, uint64_t sleep_ns)
{
	struct mail *mail = memory_allocate(sizeof(*mail));
	CHECK(mail != NULL);
	*mail = (struct mail) { number, sleep_ns };
	return mail;
}

static void check_posts(struct task *self, void *argument)
{
	(void)argument;
	enum { POSTS = 200 };
	struct shard *shard = task_shard(self);
	memset(arrived, 0, sizeof(arrived));
	memset(last_number, 0, sizeof(last_number));
	struct join joins[3];
	for (unsigned i = 0; i < 3; i++)
		join_init(&joins[i]);
	for (unsigned n = 1; n <= POSTS; n++) {
		for (uint32_t target = 0; target < 3; target++)
			shard_post(self, target, &mail_type, mail_make(n, n % 16 == 0 ? 20000 : 0),
				   &joins[target]);
	}
	for (uint32_t target = 0; target < 3; target++) {
		uint32_t errors;
		CHECK(status_is(join_barrier(self, &joins[target], &errors), STATUS_NO_SPACE));
		CHECK(errors == POSTS / 10);
		CHECK(arrived[target] == POSTS);
		CHECK_OK(join_barrier(self, &joins[target], NULL));
	}
	CHECK(shard_counters(shard)->posts_sent == 3 * POSTS);
	CHECK(shard_counters(shard)->post_errors == 3 * POSTS / 10);
	CHECK(shard_counters(shard)->mailbox_waits > 0);
	CHECK(shard->posts == 0);
}

static void test_posts(void **state)
{
	(void)state;
	for (uint32_t entries = 1; entries <= 8; entries *= 8) {
		struct runtime *runtime =
			create_with((struct runtime_options) { .shards = 3, .mailbox_entries = entries });
		runtime_run(runtime, 0, check_posts, NULL);
		runtime_destroy(runtime);
	}
}

static void post_and_leave(struct task *self, void *argument)
{
	(void)argument;
	for (unsigned n = 1; n <= 100; n++)
		shard_post(self, n % 3, &mail_type, mail_make(n, 10000), NULL);
}

/* Nobody waits for them, but the end of the runtime does. */
static void test_destroy_waits_for_posts(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct runtime *runtime = create(3);
		memset(arrived, 0, sizeof(arrived));
		memset(last_number, 0, sizeof(last_number));
		runtime_run(runtime, 0, post_and_leave, NULL);
		runtime_destroy(runtime);
		assert_int_equal(arrived[0] + arrived[1] + arrived[2], 100);
	}
}

/* --- futures and requests of foreign threads --- */

static void count_call(void *context)
{
	atomic_fetch_add((_Atomic unsigned *)context, 1);
}

static void test_callbacks(void **state)
{
	(void)state;
	enum { ROUNDS = 500 };
	struct runtime *runtime = create(1);
	_Atomic unsigned calls = 0;
	unsigned count = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct request request;
		request_init(&request, add_one, &count);
		if (i % 3 == 0)
			future_on_done(&request.future, count_call, &calls);
		assert_ok(runtime_submit(runtime, 0, &request));
		if (i % 3 == 1)
			future_on_done(&request.future, count_call, &calls);
		future_wait(&request.future);
		if (i % 3 == 2)
			future_on_done(&request.future, count_call, &calls);
		assert_ok(request.status);
	}
	runtime_destroy(runtime);
	assert_int_equal(atomic_load(&calls), ROUNDS);
	assert_int_equal(count, ROUNDS);
}

struct gate {
	_Atomic bool entered, open, late;
};

static void stand_at_gate(struct task *self, void *argument)
{
	struct gate *gate = argument;
	(void)self;
	atomic_store(&gate->entered, true);
	while (!atomic_load(&gate->open))
		sched_yield();
}

/* A thread that sleeps for a request, whose task waits in the hall; awake it opens the gate. */
struct guest {
	struct runtime *runtime;
	struct wait_list *hall; /* NULL: no need to wait */
	struct gate *gate;
	struct request request;
};

static void pass_the_hall(struct task *self, void *argument)
{
	struct guest *guest = argument;
	if (guest->hall != NULL)
		wait_list_wait(self, guest->hall);
}

static const struct task_type guest_type = { .name = "guest", .run = pass_the_hall, .stack_bytes = 2048 };

static void *guest_thread(void *argument)
{
	struct guest *guest = argument;
	CHECK_OK(runtime_submit(guest->runtime, 0, &guest->request));
	future_wait(&guest->request.future);
	atomic_store(&guest->gate->open, true);
	return NULL;
}

/* Stands at the gate for some seconds at most. */
static void wait_at_gate(struct task *self, void *argument)
{
	struct gate *gate = argument;
	uint64_t start = clock_now_ns();
	(void)self;
	atomic_store(&gate->entered, true);
	while (!atomic_load(&gate->open) && clock_now_ns() - start < 5000000000ull)
		sched_yield();
	atomic_store(&gate->late, !atomic_load(&gate->open));
}

static void wake_hall_and_block(struct task *self, void *argument)
{
	static const struct task_type long_type = { .name = "long",
						    .run = wait_at_gate,
						    .stack_bytes = 2048 };
	struct guest *guest = argument;
	wait_list_wake_all(guest->hall);
	CHECK_OK(task_spawn(task_shard(self), &long_type, guest->gate, TASK_FOREGROUND, NULL));
}

/* Threads are woken together, but not later than before a run that nobody knows the length of. */
static void test_sleepers_hear_before_a_long_run(void **state)
{
	(void)state;
	for (int round = 0; round < 5; round++) {
		struct runtime *runtime = create(1);
		struct wait_list hall;
		struct gate gate = { .open = false };
		struct guest guest = { .runtime = runtime, .gate = &gate };
		pthread_t thread;
		wait_list_init(&hall);
		/* Its type is known for short runs. */
		for (int i = 0; i < 1000; i++)
			assert_ok(runtime_run_type(runtime, 0, &guest_type, &guest));
		guest.hall = &hall;
		request_init_type(&guest.request, &guest_type, &guest);
		assert_int_equal(pthread_create(&thread, NULL, guest_thread, &guest), 0);
		while ((atomic_load(&guest.request.future.state) & FUTURE_WAITED) == 0)
			sched_yield();
		assert_ok(runtime_run(runtime, 0, wake_hall_and_block, &guest));
		assert_int_equal(pthread_join(thread, NULL), 0);
		runtime_destroy(runtime);
		assert_true(atomic_load(&gate.entered));
		assert_false(atomic_load(&gate.late));
	}
}

static void test_cancel_of_requests(void **state)
{
	(void)state;
	struct runtime *runtime = create(1);
	struct gate gate = { .open = false };
	struct request blocker, waits, runs;
	struct napper never = { .ns = 0 }, sleeper = { .ns = FOR_EVER };
	_Atomic unsigned calls = 0;
	request_init(&runs, nap, &sleeper);
	assert_ok(runtime_submit(runtime, 0, &runs));
	request_init(&blocker, stand_at_gate, &gate);
	assert_ok(runtime_submit(runtime, 0, &blocker));
	while (!atomic_load(&gate.entered))
		sched_yield();
	/* One that is in the inbox, and one that sleeps. */
	request_init(&waits, nap, &never);
	future_on_done(&waits.future, count_call, &calls);
	assert_ok(runtime_submit(runtime, 0, &waits));
	runtime_cancel(runtime, 0, &waits);
	runtime_cancel(runtime, 0, &waits);
	runtime_cancel(runtime, 0, &runs);
	assert_false(future_poll(&waits.future));
	atomic_store(&gate.open, true);
	future_wait(&blocker.future);
	future_wait(&waits.future);
	future_wait(&runs.future);
	assert_status(waits.status, STATUS_CANCELED);
	assert_int_equal(never.ran, 0);
	assert_status(runs.status, STATUS_CANCELED);
	assert_true(sleeper.canceled);
	/* What is done is not canceled any more. */
	runtime_cancel(runtime, 0, &blocker);
	assert_ok(blocker.status);
	runtime_destroy(runtime);
	assert_int_equal(atomic_load(&calls), 1);
}

/* Cancels that meet every moment of a request's life. */
static void test_cancels_race_with_ends(void **state)
{
	(void)state;
	enum { ROUNDS = 4000, AT_ONCE = 4 };
	struct runtime *runtime = create_with(
		(struct runtime_options) { .shards = 1, .inbox_entries = 2, .poll_ns_max = 3000 });
	struct random random = random_stream(test_seed(23));
	unsigned canceled = 0, ran = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct request requests[AT_ONCE];
		struct napper nappers[AT_ONCE];
		for (unsigned r = 0; r < AT_ONCE; r++) {
			nappers[r] = (struct napper) { .ns = random_below(&random, 3) * 1000 };
			request_init(&requests[r], nap, &nappers[r]);
			while (!status_is_ok(runtime_submit(runtime, 0, &requests[r])))
				sched_yield();
			if (random_below(&random, 4) == 0)
				burn(random_below(&random, 3000));
		}
		for (unsigned r = 0; r < AT_ONCE; r++) {
			runtime_cancel(runtime, 0, &requests[r]);
			future_wait(&requests[r].future);
			bool was_canceled = nappers[r].ran == 0 || nappers[r].canceled;
			assert_int_equal(requests[r].status.code, was_canceled ? STATUS_CANCELED : STATUS_OK);
			*(was_canceled ? &canceled : &ran) += 1;
		}
	}
	runtime_destroy(runtime);
	assert_int_equal(canceled + ran, ROUNDS * AT_ONCE);
	assert_true(canceled > 0);
}

/* What is tried outside of tasks, before a task is made. */
struct trial {
	unsigned attempts, runs;
	unsigned fails; /* so many attempts */
};

static bool attempt_it(void *argument)
{
	struct trial *trial = argument;
	CHECK(shard_current() != NULL && task_current() == NULL);
	trial->attempts++;
	return trial->attempts > trial->fails;
}

static void run_it(struct task *self, void *argument)
{
	(void)self;
	((struct trial *)argument)->runs++;
}

static void test_attempts(void **state)
{
	(void)state;
	static const struct task_type type = TYPE(run_it, "trial");
	struct runtime *runtime = create(1);
	for (unsigned fails = 0; fails < 2; fails++) {
		struct trial trial = { .fails = fails };
		struct request request;
		request_init_type(&request, &type, &trial);
		request.attempt = attempt_it;
		assert_ok(runtime_submit(runtime, 0, &request));
		future_wait(&request.future);
		assert_ok(request.status);
		assert_int_equal(trial.attempts, 1);
		assert_int_equal(trial.runs, fails);
	}
	struct trial trial = { .fails = 0 };
	runtime_run_type(runtime, 0, &type, &trial);
	assert_int_equal(trial.runs, 1);
	runtime_destroy(runtime);
}

/* --- the end --- */

static _Atomic unsigned tree_tasks;

/* A tree of tasks that never ends by itself: each waits for children that sleep, spawn and call. */
static void grow(struct task *self, void *argument)
{
	static const struct task_type type = TYPE(grow, "grow");
	unsigned depth = (unsigned)(uintptr_t)argument;
	atomic_fetch_add(&tree_tasks, 1);
	struct join join;
	join_init(&join);
	for (unsigned i = 0; depth > 0 && i < 3; i++)
		CHECK_OK(task_spawn(task_shard(self), &type, (void *)(uintptr_t)(depth - 1), i % 2, &join));
	while (status_is_ok(task_sleep_cancelable(self, 1000000))) {
		unsigned count = 0;
		if (depth == 1)
			CHECK_OK(shard_call(self, 1, add_one, &count));
	}
	/* The call is a part of this task, and still runs. */
	unsigned count = 0;
	CHECK_OK(shard_call(self, 1, add_one, &count));
	CHECK(count == 1);
	join_wait(self, &join);
}

static void plant(struct task *self, void *argument)
{
	static const struct task_type type = TYPE(grow, "grow");
	(void)argument;
	for (unsigned i = 0; i < 3; i++)
		CHECK_OK(task_spawn(task_shard(self), &type, (void *)3, TASK_FOREGROUND, NULL));
}

static void test_shutdown_with_tasks_in_flight(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		struct runtime *runtime = create(2);
		atomic_store(&tree_tasks, 0);
		runtime_run(runtime, 0, plant, NULL);
		burn(i * 500000);
		runtime_cancel_all(runtime);
		unsigned count = 0;
		struct request late;
		request_init(&late, add_one, &count);
		assert_ok(runtime_submit(runtime, 0, &late));
		future_wait(&late.future);
		assert_status(late.status, STATUS_CANCELED);
		assert_int_equal(count, 0);
		runtime_destroy(runtime);
	}
}

/* --- what the counters say --- */

static void hog(struct task *self, void *argument)
{
	(void)self;
	(void)argument;
	burn(3000000);
}

static void check_counters(struct task *self, void *argument)
{
	(void)argument;
	static const struct task_type hog_type = TYPE(hog, "hog");
	struct shard *shard = task_shard(self);
	const struct shard_counters *counters = shard_counters(shard);
	struct napper napper = { .ns = 0 };
	struct join join;
	join_init(&join);
	const struct shard_queue_counters before = counters->queues[TASK_FOREGROUND];
	CHECK_OK(task_spawn(shard, &hog_type, NULL, TASK_FOREGROUND, &join));
	CHECK_OK(task_spawn(shard, &nap_type, &napper, TASK_FOREGROUND, &join));
	join_wait(self, &join);
	const struct shard_queue_counters *after = &counters->queues[TASK_FOREGROUND];
	CHECK(after->runs - before.runs >= 3);
	CHECK(after->run_ns - before.run_ns >= 3000000);
	CHECK(after->wait_ns - before.wait_ns >= 2900000);
	CHECK(after->waits[WAITS_OVER_1_MS] > before.waits[WAITS_OVER_1_MS]);
	CHECK(after->waits[WAITS_OVER_100_US] > before.waits[WAITS_OVER_100_US]);
	CHECK(counters->queues[TASK_BACKGROUND].runs == 0);
	/* Who took so long is named, though the clock is not read after each run. */
	const struct shard_overrun *overrun = counters->overruns;
	while (overrun->name != NULL && strcmp(overrun->name, "hog") != 0)
		overrun++;
	CHECK(overrun->name != NULL && overrun->count == 1 && overrun->longest_ns >= 2900000);
	CHECK(strcmp(counters->slice_overrun_name, "hog") == 0);
}

static void test_counters(void **state)
{
	(void)state;
	run_in_task(1, check_counters);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timers_leave_the_heap),
		cmocka_unit_test(test_await_any),
		cmocka_unit_test(test_await_any_of_many),
		cmocka_unit_test(test_errors_surface_at_the_barrier),
		cmocka_unit_test(test_cancel_of_tasks),
		cmocka_unit_test(test_cancel_of_waits),
		cmocka_unit_test(test_calls_say_how_they_ended),
		cmocka_unit_test(test_cancel_of_calls),
		cmocka_unit_test(test_cancels_race_with_replies),
		cmocka_unit_test(test_posts),
		cmocka_unit_test(test_destroy_waits_for_posts),
		cmocka_unit_test(test_callbacks),
		cmocka_unit_test(test_cancel_of_requests),
		cmocka_unit_test(test_sleepers_hear_before_a_long_run),
		cmocka_unit_test(test_cancels_race_with_ends),
		cmocka_unit_test(test_attempts),
		cmocka_unit_test(test_shutdown_with_tasks_in_flight),
		cmocka_unit_test(test_counters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
