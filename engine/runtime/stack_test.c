/*
 * stack_test.c: the stacks of tasks: their classes and where they lie, the guard of the large ones, the way
 * from a small one to the thread's own, and how deep they were used. Takes well under a second.
 */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "base/memory.h"
#include "runtime/internal.h"
#include "runtime/runtime.h"

/* Builds whose frames are not those that were counted give every task the largest stack. */
#if defined(CASCADE_DEBUG) || defined(FIBER_ASAN) || defined(FIBER_TSAN) || defined(CASCADE_UCONTEXT) || \
	defined(CASCADE_PLANTED)
enum { HAS_SMALL_STACKS = 0 };
#else
enum { HAS_SMALL_STACKS = 1 };
#endif

/* A failed check ends the program at once: cmocka can unwind neither a task's stack nor another thread. */
#define CHECK(expression)                                                                              \
	do {                                                                                           \
		if (!(expression)) {                                                                   \
			(void)fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #expression); \
			abort();                                                                       \
		}                                                                                      \
	} while (0)

static struct runtime *create(void)
{
	struct runtime_options options = { .shards = 1, .io_backend = "posix", .io = { .depth = 8 } };
	struct runtime *runtime;
	char notice[200];
	assert_ok(runtime_create(&options, &runtime, notice, sizeof(notice)));
	return runtime;
}

/* --- classes --- */

static void test_stacks_come_in_classes(void **state)
{
	(void)state;
	static const size_t sizes[] = { 0,    1,    512,  513,	1024, 1025,  2048,  3584,
					4096, 4097, 5000, 8192, 8193, 16384, 40000, 65536 };
	struct stack_pool pool;
	stack_pool_init(&pool);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct task *task = stack_pool_take(&pool, sizes[i]);
		assert_non_null(task);
		assert_true(task->fiber.stack_size >= sizes[i]);
		assert_true(stack_class_bytes(task->stack_class) >= sizes[i]);
		assert_int_equal(task->stack_class, stack_class_of(sizes[i]));
		uint8_t *low = task->fiber.stack_low;
		assert_ptr_equal(low + task->fiber.stack_size, task);
		assert_int_equal((uintptr_t)task % CACHE_LINE_BYTES, 0);
		memset(low, 0xa5, task->fiber.stack_size);
		stack_pool_give(&pool, task);
		assert_ptr_equal(stack_pool_take(&pool, sizes[i]), task);
	}
	stack_pool_destroy(&pool);
}

/* What is asked for is what is given, to the next 512 bytes, and the task struct is all that comes with it.
 */
static void test_small_stacks_are_small(void **state)
{
	(void)state;
	if (!HAS_SMALL_STACKS)
		skip();
	for (size_t bytes = 1; bytes < STACK_BYTES_GUARDED; bytes += 101) {
		struct stack_pool pool;
		stack_pool_init(&pool);
		size_t rounded = (bytes + 511) / 512 * 512;
		const uint8_t *before = NULL;
		for (unsigned i = 0; i < 100; i++) {
			struct task *task = stack_pool_take(&pool, bytes);
			assert_int_equal(task->fiber.stack_size, rounded);
			const uint8_t *low = task->fiber.stack_low;
			if (before != NULL)
				assert_int_equal(low - before, rounded + sizeof(struct task));
			before = low;
		}
		stack_pool_destroy(&pool);
	}
}

/* No two stacks overlap, whatever the class. */
static void test_stacks_are_disjoint(void **state)
{
	(void)state;
	enum { COUNT = 1500, MARK = 256 };
	static struct task *tasks[COUNT];
	struct stack_pool pool;
	stack_pool_init(&pool);
	for (unsigned i = 0; i < COUNT; i++) {
		tasks[i] = stack_pool_take(&pool, (size_t)512 * (1 + i % 10));
		assert_non_null(tasks[i]);
		memset(tasks[i]->fiber.stack_low, (int)(i % 251), MARK);
		memset((uint8_t *)tasks[i] - MARK, (int)(i % 251), MARK);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		const uint8_t *low = tasks[i]->fiber.stack_low;
		const uint8_t *high = (const uint8_t *)tasks[i];
		for (unsigned at = 0; at < MARK; at++) {
			assert_int_equal(low[at], i % 251);
			assert_int_equal(high[-1 - (int)at], i % 251);
		}
	}
	stack_pool_destroy(&pool);
}

/* Tasks that end in any order leave room in which the next batch lies side by side again. */
static void test_batches_stay_together(void **state)
{
	(void)state;
	enum { COUNT = 3000, BATCH = 200 };
	static struct task *tasks[COUNT];
	struct random random = random_stream(test_seed(21));
	struct stack_pool pool;
	stack_pool_init(&pool);
	if (!HAS_SMALL_STACKS)
		skip();
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < COUNT; i++)
			tasks[i] = stack_pool_take(&pool, 1024);
		for (unsigned i = COUNT; i > 0; i--) {
			unsigned other = (unsigned)random_below(&random, i);
			struct task *task = tasks[other];
			tasks[other] = tasks[i - 1];
			stack_pool_give(&pool, task);
		}
		uintptr_t lowest = UINTPTR_MAX, highest = 0;
		for (unsigned i = 0; i < BATCH; i++) {
			tasks[i] = stack_pool_take(&pool, 1024);
			uintptr_t at = (uintptr_t)tasks[i];
			lowest = at < lowest ? at : lowest;
			highest = at > highest ? at : highest;
		}
		assert_true(highest - lowest < BATCH * (1024 + 2 * sizeof(struct task)));
		for (unsigned i = 0; i < BATCH; i++)
			stack_pool_give(&pool, tasks[i]);
	}
	stack_pool_destroy(&pool);
}

/* --- memory --- */

static void test_stack_pool_survives_no_memory(void **state)
{
	(void)state;
	struct stack_pool pool;
	stack_pool_init(&pool);
	for (uint64_t n = 1;; n++) {
		memory_fail_at(n, 0);
		struct task *task = stack_pool_take(&pool, STACK_BYTES_GUARDED);
		bool fired = memory_failures_fired() > 0;
		memory_fail_at(0, 0);
		assert_int_equal(fired, task == NULL);
		if (!fired)
			break;
	}
	stack_pool_destroy(&pool);
}

static void idle_task(struct task *self, void *argument)
{
	task_yield(self);
	++*(unsigned *)argument;
}

static const struct task_type idle_type = { .name = "idle", .run = idle_task, .stack_bytes = 512 };
static const struct task_type large_type = { .name = "large", .run = idle_task, .stack_bytes = 16384 };

static void spawn_in_rounds(struct task *self, void *argument)
{
	enum { ROUNDS = 5, COUNT = 500, LARGE = 10 };
	unsigned *count = argument;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct join join;
		join_init(&join);
		/* From the second round on nothing may be asked of the allocator. */
		memory_fail_at(round > 0, 1);
		for (unsigned i = 0; i < COUNT; i++)
			CHECK(status_is_ok(task_spawn(task_shard(self), i < LARGE ? &large_type : &idle_type,
						      count, TASK_FOREGROUND, &join)));
		join_wait(self, &join);
		CHECK(memory_failures_fired() == 0);
		memory_fail_at(0, 0);
	}
	CHECK(*count == ROUNDS * COUNT);
}

static void test_warm_spawns_allocate_nothing(void **state)
{
	(void)state;
	struct runtime *runtime = create();
	unsigned count = 0;
	runtime_run(runtime, 0, spawn_in_rounds, &count);
	runtime_destroy(runtime);
}

/* --- the guard --- */

/* Uses more stack than any class has; `volatile` keeps the frames. */
__attribute__((noinline)) static unsigned dig(unsigned depth)
{
	volatile uint8_t frame[1024];
	frame[0] = (uint8_t)depth;
	frame[1023] = 1;
	if (depth == 0)
		return frame[0];
	return dig(depth - 1) + frame[1023];
}

static void overflow_task(struct task *self, void *argument)
{
	(void)self;
	*(volatile unsigned *)argument = dig(1024 * 1024);
}

/* Runs function(argument) in a child process and returns how it ended. */
static int status_of_child(void (*function)(uint32_t argument), uint32_t argument)
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit none = { 0, 0 };
		(void)setrlimit(RLIMIT_CORE, &none);
		(void)signal(SIGSEGV, SIG_DFL);
		(void)signal(SIGBUS, SIG_DFL);
		(void)signal(SIGABRT, SIG_DFL);
		(void)close(STDERR_FILENO);
		function(argument);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* The signal that ends it, 0 if none does. */
static int fatal_signal(void (*function)(uint32_t argument), uint32_t argument)
{
	int status = status_of_child(function, argument);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void overflow_in_runtime(uint32_t argument)
{
	(void)argument;
	unsigned result = 0;
	runtime_run(create(), 0, overflow_task, &result);
}

static void touch_below_stack(uint32_t distance)
{
	struct stack_pool pool;
	stack_pool_init(&pool);
	for (unsigned i = 0; i < 3; i++) {
		struct task *task = stack_pool_take(&pool, STACK_BYTES_GUARDED);
		volatile uint8_t *low = task->fiber.stack_low;
		low[0] = 1;
		if (i == 2)
			*(low - distance) = 1;
	}
}

static void test_overflow_hits_the_guard(void **state)
{
	(void)state;
	assert_int_equal(fatal_signal(touch_below_stack, 0), 0);
	assert_int_equal(fatal_signal(touch_below_stack, 1), SIGSEGV);
	assert_int_equal(fatal_signal(touch_below_stack, 8192), SIGSEGV);
#ifdef FIBER_TSAN
	skip(); /* TSan's own stack of calls would end first */
#endif
	assert_int_equal(fatal_signal(overflow_in_runtime, 0), SIGSEGV);
}

/* --- marks --- */

static void test_paint_shows_what_was_used(void **state)
{
	(void)state;
	_Alignas(64) static uint8_t stack[4096];
	stack_paint(stack, sizeof(stack));
	assert_int_equal(stack_used(stack, sizeof(stack)), 0);
	stack[4095] = 1;
	assert_int_equal(stack_used(stack, sizeof(stack)), 8);
	stack[1000] = 1;
	assert_int_equal(stack_used(stack, sizeof(stack)), 4096 - 1000);
	stack[0] = 1;
	assert_int_equal(stack_used(stack, sizeof(stack)), 4096);
}

__attribute__((noinline)) static void use_bytes(unsigned bytes)
{
	uint8_t *frame = __builtin_alloca(bytes);
	memset(frame, 1, bytes);
	__asm__ volatile("" ::"r"(frame) : "memory");
}

static void shallow_task(struct task *self, void *argument)
{
	(void)argument;
	use_bytes(2000);
	task_yield(self);
}

static void deep_task(struct task *self, void *argument)
{
	(void)argument;
	task_yield(self);
	use_bytes(10000);
}

static const struct task_type shallow_type = { .name = "shallow", .run = shallow_task, .stack_bytes = 16384 };
static const struct task_type deep_type = { .name = "deep", .run = deep_task, .stack_bytes = 16384 };

/* Both use the same stacks again and again; each has its own mark all the same. */
static void alternate(struct task *self, void *argument)
{
	(void)argument;
	for (unsigned round = 0; round < 20; round++) {
		struct join join;
		join_init(&join);
		CHECK(status_is_ok(task_spawn(task_shard(self), round % 2 == 0 ? &deep_type : &shallow_type,
					      NULL, TASK_FOREGROUND, &join)));
		join_wait(self, &join);
	}
}

static const struct stack_mark *mark_of(const struct stack_mark *marks, size_t count,
					const struct task_type *type)
{
	for (size_t i = 0; i < count; i++)
		if (marks[i].type == type)
			return &marks[i];
	return NULL;
}

static void test_marks_are_kept_by_type(void **state)
{
	(void)state;
	stack_marks_begin();
	struct runtime *runtime = create();
	runtime_run(runtime, 0, alternate, NULL);
	runtime_destroy(runtime);
	struct stack_mark marks[8];
	size_t count = stack_marks_end(marks, 8);
	const struct stack_mark *deep = mark_of(marks, count, &deep_type);
	const struct stack_mark *shallow = mark_of(marks, count, &shallow_type);
	assert_non_null(deep);
	assert_non_null(shallow);
	assert_int_equal(deep->tasks, 10);
	assert_int_equal(shallow->tasks, 10);
	assert_true(deep->used_bytes >= 10000);
	assert_true(shallow->used_bytes >= 2000);
	if (HAS_SMALL_STACKS) {
		assert_true(deep->used_bytes < 10000 + 600);
		assert_true(shallow->used_bytes < 2000 + 600);
	}
	/* And no more. */
	runtime = create();
	runtime_run(runtime, 0, alternate, NULL);
	runtime_destroy(runtime);
	assert_int_equal(stack_marks_end(marks, 8), count);
}

/* --- the door --- */

struct visit {
	struct task *self;
	const uint8_t *inside;
	unsigned calls;
};

static void nested_visit(void *argument)
{
	struct visit *visit = argument;
	visit->calls++;
}

static void deep_visit(void *argument)
{
	struct visit *visit = argument;
	uint8_t here = 0;
	visit->inside = &here;
	use_bytes(256 * 1024);
	CHECK((uintptr_t)__builtin_frame_address(0) % 16 == 0);
	CHECK(task_current() == visit->self);
	visit->calls++;
	call_on_thread_stack(nested_visit, visit);
}

/* Everything that may be called on a small stack and is deep goes through the door by itself. */
static void small_task(struct task *self, void *argument)
{
	struct visit *visit = argument;
	visit->self = self;
	for (unsigned i = 0; i < 3; i++) {
		call_on_thread_stack(deep_visit, visit);
		const uint8_t *low = self->fiber.stack_low;
		CHECK(visit->inside < low || visit->inside >= low + self->fiber.stack_size);
		struct status status = status_error(STATUS_CORRUPT, "%s: %.3f, %d", "a message", 0.5, 77);
		CHECK(status_is(status, STATUS_CORRUPT));
		CHECK(status_is(status_from_errno(2, "open", "file"), STATUS_NOT_FOUND));
		void *memory = memory_resize(memory_allocate(100000), 300000);
		CHECK(memory != NULL);
		memory_free(memory);
		task_yield(self);
	}
}

static const struct task_type small_type = { .name = "small", .run = small_task, .stack_bytes = 1024 };

static void spawn_small(struct task *self, void *argument)
{
	struct join join;
	join_init(&join);
	CHECK(status_is_ok(task_spawn(task_shard(self), &small_type, argument, TASK_FOREGROUND, &join)));
	join_wait(self, &join);
}

static void test_deep_calls_leave_the_stack(void **state)
{
	(void)state;
	struct visit visit = { .calls = 0 };
	stack_marks_begin();
	struct runtime *runtime = create();
	runtime_run(runtime, 0, spawn_small, &visit);
	runtime_destroy(runtime);
	assert_int_equal(visit.calls, 6);
	struct stack_mark marks[8];
	size_t count = stack_marks_end(marks, 8);
	const struct stack_mark *small = mark_of(marks, count, &small_type);
	assert_non_null(small);
	if (HAS_SMALL_STACKS)
		assert_true(small->used_bytes <= 1024 * 3 / 4);
	/* From outside of tasks it is a plain call. */
	visit.self = NULL;
	call_on_thread_stack(deep_visit, &visit);
	assert_int_equal(visit.calls, 8);
}

/* --- assertions that fail --- */

static const uint8_t *volatile failing_low;
static const uint8_t *volatile failing_high;

/* The embedding program's: it asks for no stack of its own. */
static void abort_handler(int number)
{
	(void)number;
	const uint8_t *here = __builtin_frame_address(0);
	_exit(here >= failing_low && here < failing_high ? 1 : 42);
}

static void fail_on_purpose(struct task *self, void *argument)
{
	failing_low = self->fiber.stack_low;
	failing_high = failing_low + self->fiber.stack_size;
	ASSERT(argument != NULL);
}

static const struct task_type failing_type = { .name = "failing",
					       .run = fail_on_purpose,
					       .stack_bytes = 512 };

static void spawn_failing(struct task *self, void *argument)
{
	struct join join;
	join_init(&join);
	CHECK(status_is_ok(task_spawn(task_shard(self), &failing_type, argument, TASK_FOREGROUND, &join)));
	join_wait(self, &join);
}

static void fail_in_runtime(uint32_t argument)
{
	(void)argument;
	(void)signal(SIGABRT, abort_handler);
	runtime_run(create(), 0, spawn_failing, NULL);
}

static void test_assertions_fail_on_the_thread_stack(void **state)
{
	(void)state;
	int status = status_of_child(fail_in_runtime, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
}

/* Last, because it cannot be undone. */
static void test_uncounted_frames_get_guarded_stacks(void **state)
{
	(void)state;
	struct stack_pool pool;
	runtime_expect_uncounted_frames();
	stack_pool_init(&pool);
	for (size_t bytes = 0; bytes <= STACK_BYTES_MAX; bytes += 3000) {
		struct task *task = stack_pool_take(&pool, bytes);
		assert_non_null(task);
		assert_true(stack_class_of(bytes) >= STACK_SMALL_CLASSES);
		assert_true(task->fiber.stack_size >= STACK_BYTES_MAX / 2);
		assert_true(task->fiber.stack_size >= bytes);
		stack_pool_give(&pool, task);
	}
	stack_pool_destroy(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stacks_come_in_classes),
		cmocka_unit_test(test_small_stacks_are_small),
		cmocka_unit_test(test_stacks_are_disjoint),
		cmocka_unit_test(test_batches_stay_together),
		cmocka_unit_test(test_stack_pool_survives_no_memory),
		cmocka_unit_test(test_warm_spawns_allocate_nothing),
		cmocka_unit_test(test_overflow_hits_the_guard),
		cmocka_unit_test(test_paint_shows_what_was_used),
		cmocka_unit_test(test_marks_are_kept_by_type),
		cmocka_unit_test(test_deep_calls_leave_the_stack),
		cmocka_unit_test(test_assertions_fail_on_the_thread_stack),
		cmocka_unit_test(test_uncounted_frames_get_guarded_stacks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
