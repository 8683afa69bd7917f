/*
 * stepped_test.c: shards, tasks and clients on one thread: the same seed gives the same run, other seeds
 * other orders, and what can never end is reported. Takes about a second.
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_or_abort.h"

#include "base/clock.h"
#include "base/memory.h"
#include "io/faulty.h"
#include "io/simulated.h"
#include "runtime/internal.h"
#include "runtime/stepped.h"

#define SEED 20250610

enum {
	SHARDS = 3,
	PARENTS = 8,  /* tasks that spawn, on each shard */
	CHILDREN = 3, /* of each */
	CLIENTS = 4,
	CLIENT_CALLS = 12, /* of each */
	STEPS_MAX = 1000 * 1000,
};

/* --- a world, a scheduler, a runtime --- */

static struct simulated_world *world;
static struct stepped *stepped;
static struct runtime *runtime;

static void begin(const struct stepped_options *options)
{
	world = simulated_create(&(struct simulated_options) { .seed = options->seed });
	stepped = stepped_create(options, world);
	stepped_install(stepped, "simulated");
}

static struct runtime *create(struct runtime_options options)
{
	struct runtime *created;
	char notice[200];
	options.io_backend = "posix"; /* the world's disk stands in */
	CHECK_OK(runtime_create(&options, &created, notice, sizeof(notice)));
	return created;
}

static void begin_runtime(const struct stepped_options *options, uint32_t shards)
{
	begin(options);
	/* So small that senders and callers have to wait for room. */
	runtime = create(
		(struct runtime_options) { .shards = shards, .inbox_entries = 2, .mailbox_entries = 2 });
}

static uint64_t end(void)
{
	if (runtime != NULL)
		runtime_destroy(runtime);
	runtime = NULL;
	uint64_t trace = stepped_trace(stepped);
	stepped_destroy(stepped);
	simulated_destroy(world);
	return trace;
}

static const struct stepped_options plain = { .seed = SEED,
					      .policy = STEPPED_RANDOM,
					      .steps_max = STEPS_MAX };

/* --- a mixed workload --- */

/* Of one shard, touched there alone. */
struct local {
	uint64_t calls;
	uint64_t children;
	uint64_t breaths;
	uint64_t bytes;
	struct wait_list waiting;
	bool opened;
};

static struct local locals[SHARDS];

static void count_call(struct task *self, void *argument)
{
	struct local *local = &locals[shard_index(task_shard(self))];
	local->calls++;
	uint64_t *result = argument;
	*result = local->calls;
	stepped_trace_mix(stepped, result, sizeof(*result));
}

static void use_file(struct task *self, unsigned number)
{
	static _Alignas(IO_PAGE_BYTES) uint8_t pages[SHARDS * PARENTS * CHILDREN * 4][IO_PAGE_BYTES];
	uint8_t *page = pages[number];
	char path[32];
	(void)snprintf(path, sizeof(path), "/file%u", number);
	struct io_request open = { .operation = IO_OPEN,
				   .flags = IO_OPEN_WRITE | IO_OPEN_CREATE,
				   .path = path };
	CHECK_OK(task_io(self, &open));
	memset(page, (int)number, IO_PAGE_BYTES);
	struct io_request write = {
		.operation = IO_WRITE, .file = open.opened, .buffer = page, .length = IO_PAGE_BYTES
	};
	CHECK_OK(task_io(self, &write));
	struct io_request sync = { .operation = IO_SYNC, .file = open.opened };
	CHECK_OK(task_io(self, &sync));
	memset(page, 0, IO_PAGE_BYTES);
	struct io_request read = {
		.operation = IO_READ, .file = open.opened, .buffer = page, .length = IO_PAGE_BYTES
	};
	CHECK_OK(task_io(self, &read));
	CHECK(page[0] == (uint8_t)number && page[IO_PAGE_BYTES - 1] == (uint8_t)number);
	struct io_request close = { .operation = IO_CLOSE, .file = open.opened };
	CHECK_OK(task_io(self, &close));
	locals[shard_index(task_shard(self))].bytes += IO_PAGE_BYTES;
}

static void child_run(struct task *self, void *argument)
{
	unsigned number = *(const unsigned *)argument;
	uint32_t here = shard_index(task_shard(self));
	struct local *local = &locals[here];
	uint64_t result = 0;
	switch (number % 3) {
	case 0:
		shard_call(self, (here + 1) % SHARDS, count_call, &result);
		CHECK(result > 0);
		break;
	case 1:
		task_sleep(self, 1000 * (1 + number % 7));
		break;
	default:
		if (!local->opened)
			wait_list_wait(self, &local->waiting);
		CHECK(local->opened);
	}
	use_file(self, number);
	local->children++;
}

/* Long work, in the background. */
static void breather_run(struct task *self, void *argument)
{
	struct local *local = argument;
	for (unsigned i = 0; i < 20000; i++) {
		local->breaths++;
		task_breathe(self);
	}
}

static void parent_run(struct task *self, void *argument)
{
	static const struct task_type child = { "child", child_run, 16 << 10 };
	static const struct task_type breather = { "breather", breather_run, 16 << 10 };
	unsigned number = *(const unsigned *)argument;
	struct shard *shard = task_shard(self);
	struct local *local = &locals[shard_index(shard)];
	unsigned numbers[CHILDREN];
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < CHILDREN; i++) {
		numbers[i] = number * CHILDREN + i;
		CHECK_OK(task_spawn(shard, &child, &numbers[i], TASK_FOREGROUND, &join));
	}
	if (number % PARENTS == 0)
		CHECK_OK(task_spawn(shard, &breather, local, TASK_BACKGROUND, &join));
	task_yield(self);
	local->opened = true;
	wait_list_wake_all(&local->waiting);
	join_wait(self, &join);
}

struct visitor {
	unsigned number;
	uint64_t last[SHARDS];
};

/* As a thread that is no shard's. */
static void visit(void *argument)
{
	struct visitor *visitor = argument;
	CHECK(shard_current() == NULL && task_current() == NULL);
	for (unsigned i = 0; i < CLIENT_CALLS; i++) {
		uint32_t shard = (visitor->number + i) % SHARDS;
		uint64_t result = 0;
		if (i % 4 == 3)
			clock_sleep_ns(20 * 1000);
		if (runtime_borrow(runtime, shard)) {
			CHECK(shard_current() == runtime_shard(runtime, shard));
			result = ++locals[shard].calls;
			runtime_return(runtime, shard);
		} else {
			runtime_run(runtime, shard, count_call, &result);
		}
		CHECK(shard_current() == NULL);
		CHECK(result > visitor->last[shard]);
		visitor->last[shard] = result;
	}
}

static void run_mixed(const struct stepped_options *options)
{
	unsigned numbers[SHARDS * PARENTS];
	struct request requests[SHARDS * PARENTS];
	struct visitor visitors[CLIENTS];
	begin_runtime(options, SHARDS);
	for (unsigned i = 0; i < SHARDS; i++) {
		locals[i] = (struct local) { 0 };
		wait_list_init(&locals[i].waiting);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		visitors[i] = (struct visitor) { .number = i };
		stepped_start(stepped, "visitor", visit, &visitors[i]);
	}
	for (unsigned i = 0; i < SHARDS * PARENTS; i++) {
		numbers[i] = i;
		request_init(&requests[i], parent_run, &numbers[i]);
		while (!status_is_ok(runtime_submit(runtime, i / PARENTS, &requests[i])))
			clock_sleep_ns(1000);
	}
	for (unsigned i = 0; i < SHARDS * PARENTS; i++)
		future_wait(&requests[i].future);
	stepped_wait_clients(stepped);
	uint64_t calls = 0;
	for (unsigned i = 0; i < SHARDS; i++) {
		CHECK(locals[i].children == PARENTS * CHILDREN);
		CHECK(locals[i].bytes == PARENTS * CHILDREN * IO_PAGE_BYTES);
		CHECK(locals[i].breaths == 20000);
		calls += locals[i].calls;
	}
	CHECK(calls == SHARDS * PARENTS * CHILDREN / 3 + CLIENTS * CLIENT_CALLS);
}

static void check_counts(enum stepped_policy policy)
{
	bool is_fifo = policy == STEPPED_FIFO;
	assert_true(stepped_count(stepped, STEPPED_TASKS) > 100);
	assert_true(stepped_count(stepped, STEPPED_CLIENTS) > CLIENTS);
	assert_true(stepped_count(stepped, STEPPED_ADVANCES) > 0);
	assert_true(stepped_count(stepped, STEPPED_BORROWED) > 0);
	assert_true(stepped_count(stepped, STEPPED_REFUSED) > 0);
	assert_true(is_fifo || stepped_count(stepped, STEPPED_MESSAGES) > 0);
	assert_true(is_fifo || stepped_count(stepped, STEPPED_TIMERS) > 0);
	assert_true(is_fifo || stepped_count(stepped, STEPPED_POLLS) > 0);
	assert_true(is_fifo || stepped_count(stepped, STEPPED_LEAPS) > 0);
	assert_true(policy != STEPPED_PCT || stepped_count(stepped, STEPPED_CHANGES) > 0);
}

static void test_a_seed_is_a_run(void **state)
{
	(void)state;
	for (int policy = 0; policy < STEPPED_POLICY_COUNT; policy++) {
		uint64_t traces[4];
		for (unsigned i = 0; i < 4; i++) {
			struct stepped_options options = plain;
			options.seed = test_seed(SEED) + i / 2;
			options.policy = (enum stepped_policy)policy;
			run_mixed(&options);
			check_counts(options.policy);
			traces[i] = end();
		}
		assert_int_equal(traces[0], traces[1]);
		assert_int_equal(traces[2], traces[3]);
		assert_int_not_equal(traces[0], traces[2]);
		(void)printf("%s: %016llx\n", stepped_policy_name((enum stepped_policy)policy),
			     (unsigned long long)traces[0]);
	}
}

static void test_many_seeds(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		struct stepped_options options = plain;
		options.seed = test_seed(SEED) + 100 + i;
		options.policy = (enum stepped_policy)(i % STEPPED_POLICY_COUNT);
		run_mixed(&options);
		(void)end();
	}
}

static void test_what_is_mixed_in_counts(void **state)
{
	(void)state;
	uint64_t traces[3];
	for (unsigned i = 0; i < 3; i++) {
		begin(&plain);
		uint64_t word = i / 2;
		stepped_trace_mix(stepped, &word, sizeof(word));
		traces[i] = end();
	}
	assert_int_equal(traces[0], traces[1]);
	assert_int_not_equal(traces[0], traces[2]);
}

/* --- orders --- */

/* Each suspends between reading and writing; so many increments are lost, depending on the order. */
static void careless_run(struct task *self, void *argument)
{
	uint64_t *count = argument;
	for (unsigned i = 0; i < 10; i++) {
		uint64_t seen = *count;
		task_yield(self);
		*count = seen + 1;
	}
}

static void careless_parent(struct task *self, void *argument)
{
	static const struct task_type careless = { "careless", careless_run, 16 << 10 };
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < 3; i++)
		CHECK_OK(task_spawn(task_shard(self), &careless, argument, TASK_FOREGROUND, &join));
	join_wait(self, &join);
}

static void test_seeds_give_different_orders(void **state)
{
	(void)state;
	for (int policy = 0; policy < STEPPED_POLICY_COUNT; policy++) {
		unsigned outcomes[31] = { 0 };
		unsigned different = 0;
		for (unsigned i = 0; i < 50; i++) {
			struct stepped_options options = plain;
			options.seed = test_seed(SEED) + i;
			options.policy = (enum stepped_policy)policy;
			options.pct_window = 40;
			begin_runtime(&options, 1);
			uint64_t count = 0;
			runtime_run(runtime, 0, careless_parent, &count);
			(void)end();
			assert_in_range(count, 1, 30);
			different += outcomes[count]++ == 0;
		}
		/* In turn, all three always read the same number. */
		if (policy == STEPPED_FIFO)
			assert_int_equal(outcomes[10], 50);
		else
			assert_in_range(different, 5, 31);
	}
}

/* --- time --- */

static unsigned woken[3];
static unsigned woken_count;

static void sleep_hours(void *argument)
{
	const unsigned *hours = argument;
	clock_sleep_ns((uint64_t)*hours * 3600 * 1000000000);
	woken[woken_count++] = *hours;
}

static void nap_run(struct task *self, void *argument)
{
	const unsigned *hours = argument;
	task_sleep(self, (uint64_t)*hours * 3600 * 1000000000);
	woken[woken_count++] = *hours;
}

static void test_time_is_the_worlds(void **state)
{
	(void)state;
	unsigned hours[3] = { 3, 1, 2 };
	begin_runtime(&plain, 2);
	woken_count = 0;
	uint64_t start = clock_now_ns();
	struct request request;
	request_init(&request, nap_run, &hours[2]);
	assert_ok(runtime_submit(runtime, 1, &request));
	stepped_start(stepped, "sleeper", sleep_hours, &hours[0]);
	stepped_start(stepped, "sleeper", sleep_hours, &hours[1]);
	clock_sleep_ns((uint64_t)2 * 3600 * 1000000000 + 1000000000);
	assert_int_equal(woken_count, 2);
	assert_true(future_poll(&request.future));
	stepped_wait_clients(stepped);
	assert_int_equal(woken_count, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(woken[i], i + 1);
	uint64_t took = clock_now_ns() - start;
	assert_in_range(took, (uint64_t)3 * 3600 * 1000000000, (uint64_t)3 * 3600 * 1000000000 + 1000000);
	(void)end();
}

/* --- being stuck --- */

static struct wait_list lost;
static char first_line[128];
static bool report_names_all;
static unsigned reports;
static bool give_up;

static void wait_run(struct task *self, void *argument)
{
	(void)argument;
	wait_list_wait(self, &lost);
}

static void wake_run(struct task *self, void *argument)
{
	(void)self;
	(void)argument;
	wait_list_wake_all(&lost);
}

static void wait_for_lost(void *argument)
{
	runtime_run(runtime, 1, wait_run, argument);
}

static struct request rescue;

static void note_report(void *context, const char *report)
{
	(void)context;
	reports++;
	(void)snprintf(first_line, sizeof(first_line), "%s", report);
	report_names_all = strstr(report, "shard 1: 1 tasks, 0 requests of I/O") != NULL &&
			   strstr(report, "\"request\" waits in a list at ") != NULL &&
			   strstr(report, "client 1 \"stray\" waits") != NULL &&
			   strstr(report, "the thread waits") != NULL;
	give_up = true;
	request_init(&rescue, wake_run, NULL);
	CHECK_OK(runtime_submit(runtime, 1, &rescue));
}

static void test_a_deadlock_is_reported(void **state)
{
	(void)state;
	struct stepped_options options = plain;
	options.stuck = note_report;
	begin_runtime(&options, 2);
	wait_list_init(&lost);
	reports = 0;
	stepped_start(stepped, "stray", wait_for_lost, NULL);
	stepped_wait_clients(stepped);
	assert_int_equal(reports, 1);
	assert_non_null(strstr(first_line, "nothing can run and nothing is to come"));
	assert_true(report_names_all);
	(void)end();
}

/* Runs it in a process of its own, which has to abort, and tells whether it says `words`. */
static bool aborts_with(void (*function)(void), const char *words)
{
	int ends[2];
	char text[4096];
	size_t size = 0;
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		(void)dup2(ends[1], STDERR_FILENO);
		(void)signal(SIGABRT, SIG_DFL);
		function();
		_exit(0);
	}
	(void)close(ends[1]);
	ssize_t got;
	while (size < sizeof(text) - 1 && (got = read(ends[0], text + size, sizeof(text) - 1 - size)) > 0)
		size += (size_t)got;
	text[size] = '\0';
	(void)close(ends[0]);
	int how;
	assert_int_equal(waitpid(child, &how, 0), child);
	assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT);
	return strstr(text, words) != NULL;
}

static void hang(void)
{
	begin_runtime(&plain, 2);
	wait_list_init(&lost);
	wait_for_lost(NULL);
}

static void note_nothing(void *context, const char *report)
{
	(void)context;
	(void)report;
}

static void hang_on(void)
{
	struct stepped_options options = plain;
	options.stuck = note_nothing;
	begin_runtime(&options, 2);
	wait_list_init(&lost);
	wait_for_lost(NULL);
}

static void test_a_deadlock_aborts(void **state)
{
	(void)state;
	assert_true(aborts_with(hang, "nothing can run and nothing is to come"));
	assert_true(aborts_with(hang_on, "nothing can run and nothing is to come"));
}

static void spin_run(struct task *self, void *argument)
{
	(void)argument;
	while (!give_up)
		task_yield(self);
}

static void test_a_run_without_an_end_is_reported(void **state)
{
	(void)state;
	struct stepped_options options = plain;
	options.steps_max = 5000;
	options.stuck = note_report;
	begin_runtime(&options, 2);
	wait_list_init(&lost);
	reports = 0;
	give_up = false;
	runtime_run(runtime, 0, spin_run, NULL);
	assert_int_equal(reports, 1);
	assert_non_null(strstr(first_line, "no end after so many steps"));
	(void)end();
}

/* Priorities are drawn anew, so whoever never gives way for good starves nobody for ever. */
static void stop_spinning(void *argument)
{
	(void)argument;
	clock_sleep_ns(1000);
	give_up = true;
}

static void test_nobody_starves(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct stepped_options options = plain;
		options.seed = test_seed(SEED) + i;
		options.policy = STEPPED_PCT;
		options.steps_max = 20000;
		begin_runtime(&options, 2);
		give_up = false;
		stepped_start(stepped, "stop", stop_spinning, NULL);
		runtime_run(runtime, 0, spin_run, NULL);
		(void)end();
	}
}

/* --- runtimes come and go --- */

static void live_and_die(void *argument)
{
	uint64_t *results = argument;
	for (unsigned i = 0; i < 3; i++) {
		struct runtime *own = create((struct runtime_options) { .shards = 2 });
		/* Left to themselves: the end of the runtime waits for them. */
		struct request requests[2];
		unsigned hours = 1;
		for (unsigned j = 0; j < 2; j++) {
			request_init(&requests[j], nap_run, &hours);
			CHECK_OK(runtime_submit(own, j, &requests[j]));
		}
		woken_count = 0;
		runtime_destroy(own);
		CHECK(future_poll(&requests[0].future) && future_poll(&requests[1].future));
		*results += woken_count;
	}
}

static void test_a_client_has_a_runtime_of_its_own(void **state)
{
	(void)state;
	uint64_t results = 0;
	begin(&plain);
	stepped_start(stepped, "owner", live_and_die, &results);
	stepped_wait_clients(stepped);
	assert_int_equal(results, 6);
	(void)end();
}

static void test_a_runtime_without_io_comes_to_nothing(void **state)
{
	(void)state;
	begin(&plain);
	faulty_install(NULL, "simulated");
	stepped_install(stepped, "faulty");
	struct runtime_options options = { .shards = 2, .io_backend = "uring" };
	struct runtime *none;
	char notice[64];
	assert_status(runtime_create(&options, &none, notice, sizeof(notice)), STATUS_NOT_FOUND);
	assert_null(none);
	(void)end();
}

/* --- another world between two steps --- */

struct inner {
	uint64_t every;
	uint64_t seen;
	uint64_t runs;
};

static void nothing_run(struct task *self, void *argument)
{
	task_sleep(self, 1000);
	++*(uint64_t *)argument;
}

static void look_elsewhere(void *context)
{
	struct inner *inner = context;
	if (++inner->seen % inner->every != 0)
		return;
	struct simulated_crash crash = { .kind = SIMULATED_POWER, .seed = inner->seen };
	struct simulated_world *image = simulated_crash(world, &crash);
	struct stepped_options options = { .seed = inner->seen, .policy = STEPPED_RANDOM };
	struct stepped *other = stepped_create(&options, image);
	stepped_install(other, "simulated");
	struct runtime *short_lived = create((struct runtime_options) { .shards = 2 });
	runtime_run(short_lived, 1, nothing_run, &inner->runs);
	runtime_destroy(short_lived);
	stepped_destroy(other);
	simulated_destroy(image);
	stepped_install(stepped, "simulated");
}

static void test_another_world_between_two_steps(void **state)
{
	(void)state;
	uint64_t traces[2];
	for (unsigned i = 0; i < 2; i++) {
		struct inner inner = { .every = 100 };
		struct stepped_options options = plain;
		options.each = i == 0 ? NULL : look_elsewhere;
		options.context = &inner;
		run_mixed(&options);
		traces[i] = end();
		assert_true(i == 0 || inner.runs > 3);
	}
	/* The run that stands still meanwhile is none the wiser. */
	assert_int_equal(traces[0], traces[1]);
}

/* --- no memory --- */

static void test_a_task_waits_for_memory(void **state)
{
	(void)state;
	for (int policy = 0; policy < STEPPED_POLICY_COUNT; policy++) {
		struct stepped_options options = plain;
		options.policy = (enum stepped_policy)policy;
		begin_runtime(&options, 1);
		uint64_t runs = 0;
		uint64_t start = clock_now_ns();
		memory_fail_at(1, 0);
		runtime_run(runtime, 0, nothing_run, &runs);
		assert_int_equal(memory_failures_fired(), 1);
		memory_fail_at(0, 0);
		assert_int_equal(runs, 1);
		assert_true(clock_now_ns() - start >= 1000 * 1000); /* the next try came later */
		(void)end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_seed_is_a_run),
		cmocka_unit_test(test_many_seeds),
		cmocka_unit_test(test_what_is_mixed_in_counts),
		cmocka_unit_test(test_seeds_give_different_orders),
		cmocka_unit_test(test_time_is_the_worlds),
		cmocka_unit_test(test_a_deadlock_is_reported),
		cmocka_unit_test(test_a_deadlock_aborts),
		cmocka_unit_test(test_a_run_without_an_end_is_reported),
		cmocka_unit_test(test_nobody_starves),
		cmocka_unit_test(test_a_client_has_a_runtime_of_its_own),
		cmocka_unit_test(test_a_runtime_without_io_comes_to_nothing),
		cmocka_unit_test(test_another_world_between_two_steps),
		cmocka_unit_test(test_a_task_waits_for_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
