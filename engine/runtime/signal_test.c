/*
 * signal_test.c: no signal's frame ever lands on a task's stack. The program around the runtime handles
 * signals and asks for no stack of its own for that; timers and threads send it all sorts, to the process and
 * to the residents themselves, while tasks run on stacks that a single frame would overrun (3 KiB and more).
 * Signals that the C library keeps to itself and that cannot be blocked come, too: any thread that changes
 * its group interrupts all others. Takes about 2 s.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#include "base/clock.h"
#include "runtime/internal.h"
#include "runtime/runtime.h"

enum {
	SHARDS = 2,
	TASKS = 300,	      /* of each kind on each shard */
	DELIVERIES_MIN = 300, /* of each signal, before the storm may end */
	GROUP_CHANGES_MIN = 100,
};

#define STORM_NS     1000000000u  /* at least */
#define STORM_NS_MAX 60000000000u /* then too few were delivered */

/* A failed check ends the program at once: cmocka can unwind neither a task's stack nor another thread. */
#define CHECK(expression)                                                                              \
	do {                                                                                           \
		if (!(expression)) {                                                                   \
			(void)fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #expression); \
			abort();                                                                       \
		}                                                                                      \
	} while (0)

static const int storm_signals[] = { SIGUSR1, SIGUSR2, SIGALRM, SIGCHLD, SIGURG, SIGWINCH };
enum { SIGNALS = sizeof(storm_signals) / sizeof(storm_signals[0]) };

static _Atomic uint64_t deliveries[SIGNALS];
static _Atomic uint64_t on_residents;
static _Atomic uint64_t group_changes;
static _Atomic bool is_over;

/* --- the program's handlers --- */

static void handler(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (shard_current() != NULL)
		atomic_fetch_add(&on_residents, 1);
	for (unsigned i = 0; i < SIGNALS; i++)
		if (storm_signals[i] == number)
			atomic_fetch_add(&deliveries[i], 1);
}

static void handle_all(struct sigaction before[SIGNALS])
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	for (unsigned i = 0; i < SIGNALS; i++)
		assert_int_equal(sigaction(storm_signals[i], &action, &before[i]), 0);
}

/* --- the storm --- */

static bool all_were_delivered(void)
{
	for (unsigned i = 0; i < SIGNALS; i++)
		if (atomic_load(&deliveries[i]) < DELIVERIES_MIN)
			return false;
	return atomic_load(&group_changes) >= GROUP_CHANGES_MIN;
}

/* To the process, and to each resident by name; the latter wait there for ever. */
static void *send_signals(void *argument)
{
	struct runtime *runtime = argument;
	for (unsigned round = 0; !atomic_load(&is_over); round++) {
		int number = storm_signals[round % SIGNALS];
		CHECK(kill(getpid(), number) == 0);
		CHECK(pthread_kill(runtime_shard(runtime, round % SHARDS)->thread, number) == 0);
	}
	return NULL;
}

/* The C library has every thread of the process make the same system call, by a signal of its own. */
static void *change_groups(void *argument)
{
	(void)argument;
	while (!atomic_load(&is_over)) {
		CHECK(setgid(getgid()) == 0);
		atomic_fetch_add(&group_changes, 1);
	}
	return NULL;
}

static void set_timer(long microseconds)
{
	struct itimerval timer = { .it_interval = { .tv_usec = microseconds },
				   .it_value = { .tv_usec = microseconds } };
	assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

/* --- the tasks --- */

/* Computes on the stack, so that what is overwritten there shows. */
static void work(struct task *self, void *argument)
{
	volatile uint64_t words[8];
	_Atomic uint64_t *rounds = argument;
	for (uint64_t round = 0; !atomic_load_explicit(&is_over, memory_order_relaxed); round++) {
		for (unsigned i = 0; i < 8; i++)
			words[i] = round * 0x9e3779b97f4a7c15u + i;
		task_yield(self);
		for (unsigned i = 0; i < 8; i++)
			CHECK(words[i] == round * 0x9e3779b97f4a7c15u + i);
		atomic_fetch_add_explicit(rounds, 1, memory_order_relaxed);
	}
}

static const struct task_type tiny_type = { .name = "tiny", .run = work, .stack_bytes = 512 };
static const struct task_type small_type = { .name = "small", .run = work, .stack_bytes = 1024 };

struct crowd {
	_Atomic uint64_t rounds;
};

static bool all_have_run(const struct crowd crowds[SHARDS])
{
	for (unsigned i = 0; i < SHARDS; i++)
		if (atomic_load(&crowds[i].rounds) < 2 * TASKS)
			return false;
	return true;
}

static void spawn_crowd(struct task *self, void *argument)
{
	struct crowd *crowd = argument;
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < TASKS; i++) {
		CHECK(status_is_ok(
			task_spawn(task_shard(self), &tiny_type, &crowd->rounds, TASK_FOREGROUND, &join)));
		CHECK(status_is_ok(
			task_spawn(task_shard(self), &small_type, &crowd->rounds, TASK_BACKGROUND, &join)));
	}
	join_wait(self, &join);
}

static void check_marks(void)
{
	struct stack_mark marks[16];
	size_t count = stack_marks_end(marks, 16);
	unsigned found = 0;
	for (size_t i = 0; i < count && i < 16; i++) {
		if (marks[i].type != &tiny_type && marks[i].type != &small_type)
			continue;
		found++;
		assert_int_equal(marks[i].tasks, TASKS * SHARDS);
		/* Overrun stacks are written down to their last byte. */
		assert_true(marks[i].used_bytes <
			    stack_class_bytes(stack_class_of(marks[i].type->stack_bytes)));
	}
	assert_int_equal(found, 2);
}

static void sleep_a_little(void)
{
	struct timespec time = { .tv_nsec = 1000 * 1000 };
	(void)nanosleep(&time, NULL);
}

static void test_storm_of_signals(void **state)
{
	(void)state;
	struct sigaction before[SIGNALS];
	struct runtime_options options = { .shards = SHARDS, .io_backend = "posix", .io = { .depth = 8 } };
	struct runtime *runtime;
	char notice[200];
	stack_marks_begin();
	handle_all(before);
	assert_ok(runtime_create(&options, &runtime, notice, sizeof(notice)));
	static struct crowd crowds[SHARDS];
	struct request requests[SHARDS];
	for (uint32_t i = 0; i < SHARDS; i++) {
		request_init(&requests[i], spawn_crowd, &crowds[i]);
		assert_ok(runtime_submit(runtime, i, &requests[i]));
	}
	pthread_t sender, changer;
	assert_int_equal(pthread_create(&sender, NULL, send_signals, runtime), 0);
	assert_int_equal(pthread_create(&changer, NULL, change_groups, NULL), 0);
	set_timer(100);
	uint64_t start = clock_now_ns();
	while (clock_now_ns() - start < STORM_NS ||
	       (!(all_were_delivered() && all_have_run(crowds)) && clock_now_ns() - start < STORM_NS_MAX))
		sleep_a_little();
	set_timer(0);
	atomic_store(&is_over, true);
	assert_int_equal(pthread_join(sender, NULL), 0);
	assert_int_equal(pthread_join(changer, NULL), 0);
	for (uint32_t i = 0; i < SHARDS; i++)
		future_wait(&requests[i].future);
	runtime_destroy(runtime);
	for (unsigned i = 0; i < SIGNALS; i++)
		assert_int_equal(sigaction(storm_signals[i], &before[i], NULL), 0);

	assert_true(all_were_delivered());
	assert_true(all_have_run(crowds));
	assert_int_equal(atomic_load(&on_residents), 0);
	check_marks();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_storm_of_signals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
