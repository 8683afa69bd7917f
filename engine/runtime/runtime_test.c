/*
 * What tasks, shards and the way in from foreign threads promise. Takes about 2 s.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#include "base/clock.h"
#include "base/memory.h"
#include "runtime/internal.h"
#include "runtime/runtime.h"

/* TSan keeps half a megabyte for each stack and allows 8128 of them. */
#ifdef FIBER_TSAN
enum { MANY_TASKS = 1000, STRESS_ROUNDS = 300 };
#else
enum { MANY_TASKS = 10000, STRESS_ROUNDS = 3000 };
#endif

static struct runtime *create_with(struct runtime_options options)
{
	char notice[200];
	struct runtime *runtime;
	if (options.io_backend == NULL)
		options.io_backend = "posix";
	options.io.depth = 32;
	assert_ok(runtime_create(&options, &runtime, notice, sizeof(notice)));
	return runtime;
}

static struct runtime *create(uint32_t shards)
{
	return create_with((struct runtime_options) { .shards = shards });
}

static void nap_ms(long ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	nanosleep(&time, NULL);
}

static uint64_t cpu_us(void)
{
	struct rusage usage;
	assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* --- the context alone --- */

static struct context main_context, other_context;
static uint64_t other_count;

static void other_entry(void *argument)
{
	assert_ptr_equal(argument, &other_count);
	for (;;) {
		other_count++;
		context_switch(&other_context, &main_context);
	}
}

/* Values that a compiler likes to keep in callee-saved registers, integer and floating, must survive. */
static void test_context_keeps_registers(void **state)
{
	(void)state;
#if defined(FIBER_ASAN) || defined(FIBER_TSAN)
	skip(); /* without the annotations of fiber.h the sanitizers would be lost */
#endif
	static _Alignas(64) uint8_t stack[64 * 1024];
	context_prepare(&other_context, stack, sizeof(stack), other_entry, &other_count);
	volatile uint64_t seed = test_seed(7);
	uint64_t a = seed, b = seed * 3, c = seed * 5, d = seed * 7, e = seed * 11, f = seed * 13;
	double x = (double)seed;
	for (uint64_t i = 1; i <= 1000; i++) {
		context_switch(&main_context, &other_context);
		a += i, b += a, c ^= b, d += c, e ^= d, f += e, x += 0.5;
		assert_int_equal(other_count, i);
	}
	uint64_t g = seed, h = seed * 3, k = seed * 5, l = seed * 7, m = seed * 11, n = seed * 13;
	for (uint64_t i = 1; i <= 1000; i++)
		g += i, h += g, k ^= h, l += k, m ^= l, n += m;
	assert_int_equal(a, g);
	assert_int_equal(b, h);
	assert_int_equal(c, k);
	assert_int_equal(d, l);
	assert_int_equal(e, m);
	assert_int_equal(f, n);
	assert_true(x == (double)seed + 500.0);
}

/* --- timers --- */

static void test_timer_heap_sorts(void **state)
{
	(void)state;
	enum { COUNT = 1000 };
	static struct task tasks[COUNT];
	struct random random = random_stream(test_seed(11));
	struct task *root = NULL;
	uint64_t latest = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		tasks[i].wake_ns = latest + random_below(&random, 100);
		tasks[i].wake_order = i;
		root = timer_heap_add(root, &tasks[i]);
		if (random_below(&random, 4) == 0) {
			latest = root->wake_ns;
			root = timer_heap_remove(root, root);
		}
	}
	const struct task *before = NULL;
	while (root != NULL) {
		if (before != NULL) {
			assert_true(before->wake_ns <= root->wake_ns);
			if (before->wake_ns == root->wake_ns)
				assert_true(before->wake_order < root->wake_order);
		}
		before = root;
		root = timer_heap_remove(root, root);
	}
}

/* --- children that fail --- */

/* Runs function(argument) in a child process and returns the signal that ends it, 0 if none does. */
static int fatal_signal(void (*function)(uint32_t argument), uint32_t argument)
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
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* --- spawn, join, yield --- */

static void add_one(struct task *self, void *argument)
{
	(void)self;
	++*(unsigned *)argument;
}

static const struct task_type add_one_type = { .name = "add one", .run = add_one, .stack_bytes = 1024 };

static void yield_then_add(struct task *self, void *argument)
{
	task_yield(self);
	++*(unsigned *)argument;
}

static const struct task_type yield_type = {
	.name = "yield",
	.run = yield_then_add,
	.stack_bytes = 4096,
};

static void fork_join_many(struct task *self, void *argument)
{
	unsigned *count = argument;
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < MANY_TASKS; i++)
		assert_ok(task_spawn(task_shard(self), &yield_type, count, i % 2, &join));
	assert_int_equal(*count, 0);
	join_wait(self, &join);
	assert_int_equal(*count, MANY_TASKS);
	join_wait(self, &join);
	for (unsigned i = 0; i < MANY_TASKS; i++) {
		assert_ok(task_spawn(task_shard(self), &add_one_type, count, TASK_FOREGROUND, &join));
		if (i % 64 == 63)
			join_wait(self, &join);
	}
	join_wait(self, &join);
}

static void test_fork_join(void **state)
{
	(void)state;
	struct runtime *runtime = create(1);
	unsigned count = 0;
	runtime_run(runtime, 0, fork_join_many, &count);
	assert_int_equal(count, 2 * MANY_TASKS);
	runtime_destroy(runtime);
}

/* Until memory is gone; the refused spawn leaves no trace in the join. */
static void spawn_without_memory(struct task *self, void *argument)
{
	unsigned *count = argument;
	unsigned spawned = 0;
	struct join join;
	join_init(&join);
	memory_fail_at(1, 1);
	while (status_is_ok(task_spawn(task_shard(self), &add_one_type, count, TASK_FOREGROUND, &join)))
		spawned++;
	memory_fail_at(0, 0);
	assert_int_equal(join.pending, spawned);
	join_wait(self, &join);
	assert_int_equal(*count, spawned);
	assert_ok(task_spawn(task_shard(self), &add_one_type, count, TASK_FOREGROUND, &join));
	join_wait(self, &join);
	assert_int_equal(*count, spawned + 1);
}

static void test_spawn_without_memory(void **state)
{
	(void)state;
	struct runtime *runtime = create(1);
	unsigned count = 0;
	runtime_run(runtime, 0, spawn_without_memory, &count);
	runtime_destroy(runtime);
}

struct order {
	char text[64];
	size_t length;
	struct join join;
};

static void order_add(struct order *order, char letter)
{
	order->text[order->length++] = letter;
}

static void order_first(struct task *self, void *argument)
{
	order_add(argument, 'a');
	task_yield(self);
	order_add(argument, 'b');
}

static void order_second(struct task *self, void *argument)
{
	order_add(argument, 'A');
	task_yield(self);
	order_add(argument, 'B');
	task_yield(self);
	order_add(argument, 'C');
}

static void order_parent(struct task *self, void *argument)
{
	static const struct task_type first = { "first", order_first, 1024 };
	static const struct task_type second = { "second", order_second, 1024 };
	struct order *order = argument;
	join_init(&order->join);
	assert_ok(task_spawn(task_shard(self), &first, order, TASK_FOREGROUND, &order->join));
	assert_ok(task_spawn(task_shard(self), &second, order, TASK_FOREGROUND, &order->join));
	order_add(order, '.');
	join_wait(self, &order->join);
}

static void test_tasks_run_in_turn(void **state)
{
	(void)state;
	struct runtime *runtime = create(1);
	struct order order = { .length = 0 };
	runtime_run(runtime, 0, order_parent, &order);
	assert_string_equal(order.text, ".aAbBC");
	runtime_destroy(runtime);
}

static void check_identity(struct task *self, void *argument)
{
	struct runtime *runtime = argument;
	struct shard *shard = task_shard(self);
	assert_ptr_equal(task_current(), self);
	assert_ptr_equal(shard_current(), shard);
	assert_ptr_equal(shard_runtime(shard), runtime);
	assert_ptr_equal(runtime_shard(runtime, shard_index(shard)), shard);
	assert_non_null(shard_io(shard));
	assert_string_equal(task_name(self), "request");
	assert_null(shard_local(shard));
	shard_set_local(shard, runtime);
	assert_ptr_equal(shard_local(shard), runtime);
	assert_true(shard_now_ns(shard) <= clock_now_ns());
	char name[16];
	assert_int_equal(pthread_getname_np(pthread_self(), name, sizeof(name)), 0);
	assert_int_equal(strncmp(name, "cascade-", 8), 0);
	sigset_t blocked;
	(void)pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	assert_true(sigismember(&blocked, SIGINT) == 1);
	assert_true(sigismember(&blocked, SIGUSR1) == 1);
}

static void test_identity(void **state)
{
	(void)state;
	struct runtime *runtime = create(2);
	assert_int_equal(runtime_shard_count(runtime), 2);
	assert_null(shard_current());
	assert_null(task_current());
	runtime_run(runtime, 0, check_identity, runtime);
	runtime_run(runtime, 1, check_identity, runtime);
	runtime_destroy(runtime);
}

/* --- sleep --- */

struct sleeper {
	struct order *order;
	uint64_t ns;
	char letter;
};

static void sleep_then_note(struct task *self, void *argument)
{
	struct sleeper *sleeper = argument;
	uint64_t start = clock_now_ns();
	task_sleep(self, sleeper->ns);
	assert_true(clock_now_ns() - start >= sleeper->ns);
	order_add(sleeper->order, sleeper->letter);
}

static void sleep_parent(struct task *self, void *argument)
{
	static const struct task_type type = { "sleeper", sleep_then_note, 1024 };
	struct order *order = argument;
	struct sleeper sleepers[] = {
		{ order, 30000000, 'd' }, { order, 10000000, 'b' }, { order, 20000000, 'c' },
		{ order, 0, 'a' },	  { order, 40000000, 'e' },
	};
	join_init(&order->join);
	for (unsigned i = 0; i < sizeof(sleepers) / sizeof(sleepers[0]); i++)
		assert_ok(task_spawn(task_shard(self), &type, &sleepers[i], TASK_FOREGROUND, &order->join));
	join_wait(self, &order->join);
}

static void test_sleepers_wake_in_time(void **state)
{
	(void)state;
	struct runtime *runtime = create(1);
	struct order order = { .length = 0 };
	uint64_t start = clock_now_ns();
	runtime_run(runtime, 0, sleep_parent, &order);
	assert_string_equal(order.text, "abcde");
	assert_true(clock_now_ns() - start >= 40000000);
	runtime_destroy(runtime);
}

/* --- suspend and resume --- */

struct handshake {
	struct task *waiter;
	unsigned resumes;
	bool resume_first;
};

static void resume_it(struct task *self, void *argument)
{
	struct handshake *handshake = argument;
	(void)self;
	handshake->resumes++;
	task_resume(handshake->waiter);
}

static void suspend_parent(struct task *self, void *argument)
{
	static const struct task_type type = { "resumer", resume_it, 1024 };
	struct handshake *handshake = argument;
	struct shard *shard = task_shard(self);
	handshake->waiter = self;
	assert_ok(task_spawn(shard, &type, handshake, TASK_FOREGROUND, NULL));
	task_suspend(self);
	assert_int_equal(handshake->resumes, 1);
	/* The resume comes first: by itself, ... */
	task_resume(self);
	uint64_t switches = shard_counters(shard)->switches;
	task_suspend(self);
	assert_int_equal(shard_counters(shard)->switches, switches);
	/* ... and while the task waits for something else, whose wait it must not end. */
	assert_ok(task_spawn(shard, &type, handshake, TASK_FOREGROUND, NULL));
	uint64_t start = clock_now_ns();
	task_sleep(self, 2000000);
	assert_true(clock_now_ns() - start >= 2000000);
	assert_int_equal(handshake->resumes, 2);
	task_suspend(self);
}

static void test_suspend_and_resume(void **state)
{
	(void)state;
	struct runtime *runtime = create(1);
	struct handshake handshake = { .resumes = 0 };
	runtime_run(runtime, 0, suspend_parent, &handshake);
	runtime_destroy(runtime);
}

struct queue_state {
	struct wait_list waiting;
	struct order order;
	char next;
};

static void wait_and_note(struct task *self, void *argument)
{
	struct queue_state *queue = argument;
	char letter = queue->next++;
	wait_list_wait(self, &queue->waiting);
	order_add(&queue->order, letter);
}

static void wait_list_parent(struct task *self, void *argument)
{
	static const struct task_type type = { "waiter", wait_and_note, 1024 };
	struct queue_state *queue = argument;
	struct join *join = &queue->order.join;
	wait_list_init(&queue->waiting);
	join_init(join);
	queue->next = 'a';
	wait_list_wake_one(&queue->waiting);
	for (unsigned i = 0; i < 5; i++)
		assert_ok(task_spawn(task_shard(self), &type, queue, TASK_FOREGROUND, join));
	task_yield(self);
	assert_false(wait_list_is_empty(&queue->waiting));
	wait_list_wake_one(&queue->waiting);
	wait_list_wake_one(&queue->waiting);
	task_yield(self);
	assert_string_equal(queue->order.text, "ab");
	wait_list_wake_all(&queue->waiting);
	assert_true(wait_list_is_empty(&queue->waiting));
	join_wait(self, join);
}

static void test_wait_list_is_first_come_first(void **state)
{
	(void)state;
	struct runtime *runtime = create(1);
	struct queue_state queue;
	memset(&queue, 0, sizeof(queue));
	runtime_run(runtime, 0, wait_list_parent, &queue);
	assert_string_equal(queue.order.text, "abcde");
	runtime_destroy(runtime);
}

/* --- the thread's stack --- */

struct door {
	struct task *self;
	const void *inside;
	unsigned calls;
};

static void nested_call(void *argument)
{
	struct door *door = argument;
	door->calls++;
}

static void thread_call(void *argument)
{
	struct door *door = argument;
	uint8_t here = 0;
	door->inside = &here;
	/* Deeper than any task's stack. */
	volatile uint8_t deep[512 * 1024];
	deep[0] = 1;
	deep[sizeof(deep) - 1] = 1;
	assert_ptr_equal(task_current(), door->self);
	door->calls++;
	call_on_thread_stack(nested_call, door);
}

static void door_task(struct task *self, void *argument)
{
	struct door *door = argument;
	door->self = self;
	for (unsigned i = 0; i < 3; i++) {
		call_on_thread_stack(thread_call, door);
		const uint8_t *low = self->fiber.stack_low;
		const uint8_t *inside = door->inside;
		assert_false(inside >= low && inside < low + self->fiber.stack_size);
		task_yield(self);
	}
}

static void test_call_on_thread_stack(void **state)
{
	(void)state;
	struct runtime *runtime = create(1);
	struct door door = { .calls = 0 };
	runtime_run(runtime, 0, door_task, &door);
	assert_int_equal(door.calls, 6);
	door.self = NULL;
	call_on_thread_stack(thread_call, &door);
	assert_int_equal(door.calls, 8);
	runtime_destroy(runtime);
}

/* --- I/O --- */

enum { FILE_PAGES = 64 };

struct file_job {
	const char *path;
	uint8_t *pages;
	uint8_t *back;
};

static struct io_file *open_file(struct task *self, const char *path, unsigned flags)
{
	struct io_request request = { .operation = IO_OPEN, .path = path, .flags = flags };
	assert_ok(task_io(self, &request));
	return request.opened;
}

static void close_file(struct task *self, struct io_file *file)
{
	struct io_request request = { .operation = IO_CLOSE, .file = file };
	assert_ok(task_io(self, &request));
}

static void transfer_pages(struct task *self, struct io_file *file, enum io_operation operation,
			   uint8_t *pages)
{
	struct io_request *requests = calloc(FILE_PAGES, sizeof(*requests));
	struct io_batch batch;
	io_batch_init(&batch);
	assert_non_null(requests);
	for (unsigned i = 0; i < FILE_PAGES; i++) {
		requests[i].operation = operation;
		requests[i].file = file;
		requests[i].buffer = pages + (size_t)i * IO_PAGE_BYTES;
		requests[i].length = IO_PAGE_BYTES;
		requests[i].offset = (uint64_t)i * IO_PAGE_BYTES;
		io_batch_start(task_shard(self), &batch, &requests[i]);
	}
	assert_ok(io_batch_wait(self, &batch));
	for (unsigned i = 0; i < FILE_PAGES; i++)
		assert_int_equal(requests[i].transferred, IO_PAGE_BYTES);
	free(requests);
}

static void file_task(struct task *self, void *argument)
{
	struct file_job *job = argument;
	struct io_file *file = open_file(self, job->path, IO_OPEN_WRITE | IO_OPEN_CREATE);
	transfer_pages(self, file, IO_WRITE, job->pages);
	struct io_request sync = { .operation = IO_SYNC, .file = file };
	assert_ok(task_io(self, &sync));
	close_file(self, file);
	file = open_file(self, job->path, IO_OPEN_READ);
	assert_int_equal(file->size_at_open, FILE_PAGES * IO_PAGE_BYTES);
	transfer_pages(self, file, IO_READ, job->back);
	close_file(self, file);
	struct io_request again = { .operation = IO_OPEN,
				    .path = job->path,
				    .flags = IO_OPEN_WRITE | IO_OPEN_CREATE };
	assert_false(status_is_ok(task_io(self, &again)));
	/* A batch keeps the failure although a later request succeeds. */
	struct io_batch batch;
	io_batch_init(&batch);
	struct io_request remove = { .operation = IO_UNLINK, .path = job->path };
	struct io_request missing = { .operation = IO_UNLINK, .path = "no/such/file" };
	io_batch_start(task_shard(self), &batch, &missing);
	io_batch_start(task_shard(self), &batch, &remove);
	assert_status(io_batch_wait(self, &batch), STATUS_NOT_FOUND);
	assert_ok(remove.status);
	/* The same batch once more, as after the first use. */
	io_batch_init(&batch);
	assert_ok(io_batch_wait(self, &batch));
	for (unsigned i = 0; i < 3; i++) {
		struct io_request sync_directory = { .operation = IO_SYNC_DIRECTORY, .path = "." };
		io_batch_start(task_shard(self), &batch, &sync_directory);
		assert_ok(io_batch_wait(self, &batch));
	}
}

static void test_io_through_tasks(void **state)
{
	const char *backend = *state;
	struct runtime *runtime =
		create_with((struct runtime_options) { .shards = 2, .io_backend = backend });
	char directory[] = "runtime_test.XXXXXX";
	assert_non_null(mkdtemp(directory));
	char path[64];
	(void)snprintf(path, sizeof(path), "%s/file", directory);
	struct file_job job = {
		.path = path,
		.pages = memory_map(FILE_PAGES * IO_PAGE_BYTES),
		.back = memory_map(FILE_PAGES * IO_PAGE_BYTES),
	};
	struct random random = random_stream(test_seed(5));
	for (size_t i = 0; i < FILE_PAGES * IO_PAGE_BYTES; i++)
		job.pages[i] = (uint8_t)random_next(&random);
	for (uint32_t shard = 0; shard < 2; shard++) {
		memset(job.back, 0, FILE_PAGES * IO_PAGE_BYTES);
		runtime_run(runtime, shard, file_task, &job);
		assert_memory_equal(job.pages, job.back, FILE_PAGES * IO_PAGE_BYTES);
	}
	memory_unmap(job.pages, FILE_PAGES * IO_PAGE_BYTES);
	memory_unmap(job.back, FILE_PAGES * IO_PAGE_BYTES);
	assert_int_equal(rmdir(directory), 0);
	runtime_destroy(runtime);
}

/* --- foreground and background --- */

static void burn(uint64_t ns)
{
	uint64_t start = clock_now_ns();
	while (clock_now_ns() - start < ns)
		;
}

/* A clock that only the tasks of the race advance, so that shares come out the same on a busy machine. */
static _Atomic uint64_t race_clock_ns = 1000000000;

static uint64_t read_race_clock(void *context)
{
	(void)context;
	return atomic_load(&race_clock_ns);
}

struct race {
	bool over;
	uint64_t turns[2];
};

static void race_run(struct task *self, struct race *race, unsigned lane)
{
	while (!race->over) {
		atomic_fetch_add(&race_clock_ns, 10000);
		race->turns[lane]++;
		task_yield(self);
	}
}

static void race_foreground(struct task *self, void *argument)
{
	race_run(self, argument, TASK_FOREGROUND);
}

static void race_background(struct task *self, void *argument)
{
	race_run(self, argument, TASK_BACKGROUND);
}

static void race_expect(struct task *self, uint32_t share_256)
{
	static const struct task_type foreground = { "foreground", race_foreground, 1024 };
	static const struct task_type background = { "background", race_background, 1024 };
	struct shard *shard = task_shard(self);
	struct race race = { .over = false };
	struct join join;
	join_init(&join);
	shard_set_background_share(shard, share_256);
	assert_ok(task_spawn(shard, &foreground, &race, TASK_FOREGROUND, &join));
	assert_ok(task_spawn(shard, &background, &race, TASK_BACKGROUND, &join));
	uint64_t foreground_before = shard_counters(shard)->queues[TASK_FOREGROUND].run_ns;
	uint64_t background_before = shard_counters(shard)->queues[TASK_BACKGROUND].run_ns;
	task_sleep(self, 50000000);
	double front = (double)(shard_counters(shard)->queues[TASK_FOREGROUND].run_ns - foreground_before);
	double back = (double)(shard_counters(shard)->queues[TASK_BACKGROUND].run_ns - background_before);
	race.over = true;
	join_wait(self, &join);
	double share = back / (front + back);
	double wanted = share_256 / 256.0;
	if (share < wanted - 0.05 || share > wanted + 0.05)
		fail_msg("share %u/256: the background had %.3f of the time", share_256, share);
}

static void race_parent(struct task *self, void *argument)
{
	static const struct task_type background = { "background", race_background, 1024 };
	struct shard *shard = task_shard(self);
	(void)argument;
	race_expect(self, 0);
	race_expect(self, 64);
	race_expect(self, 128);
	race_expect(self, 192);
	/* Alone, the background has everything, whatever its share. */
	struct race race = { .over = false };
	struct join join;
	join_init(&join);
	shard_set_background_share(shard, 0);
	assert_ok(task_spawn(shard, &background, &race, TASK_BACKGROUND, &join));
	task_sleep(self, 10000000);
	assert_true(race.turns[TASK_BACKGROUND] >= 1000);
	race.over = true;
	join_wait(self, &join);
}

static void test_background_has_its_share(void **state)
{
	(void)state;
	clock_set_source(read_race_clock, NULL);
	struct runtime *runtime = create(1);
	runtime_run(runtime, 0, race_parent, NULL);
	runtime_destroy(runtime);
	clock_set_source(NULL, NULL);
}

/* A background task that breathes lets a request in at once; one that never yields is counted. */
static void breathe_until(struct task *self, void *argument)
{
	struct race *race = argument;
	uint64_t turns = shard_counters(task_shard(self))->turns;
	while (!race->over)
		task_breathe(self);
	assert_true(shard_counters(task_shard(self))->turns > turns);
}

static void end_race(struct task *self, void *argument)
{
	struct race *race = argument;
	(void)self;
	race->over = true;
}

static void start_breathing(struct task *self, void *argument)
{
	static const struct task_type type = { "breathe", breathe_until, 1024 };
	assert_ok(task_spawn(task_shard(self), &type, argument, TASK_BACKGROUND, NULL));
}

static void overrun(struct task *self, void *argument)
{
	uint64_t *overruns = argument;
	uint64_t before = shard_counters(task_shard(self))->slice_overruns;
	burn(3000000);
	assert_true(task_slice_spent(self));
	task_yield(self);
	*overruns = shard_counters(task_shard(self))->slice_overruns - before;
	assert_string_equal(shard_counters(task_shard(self))->slice_overrun_name, "request");
}

static void test_slices(void **state)
{
	(void)state;
	struct runtime *runtime = create(1);
	struct race race = { .over = false };
	runtime_run(runtime, 0, start_breathing, &race);
	runtime_run(runtime, 0, end_race, &race);
	uint64_t overruns = 0;
	runtime_run(runtime, 0, overrun, &overruns);
	assert_true(overruns >= 1);
	runtime_destroy(runtime);
}

/* --- calls between shards --- */

struct ping {
	uint32_t target;
	uint64_t sum; /* of what came back */
	unsigned rounds;
};

struct number {
	uint64_t value;
	struct runtime *runtime;
	uint32_t shard;
};

static void double_it(struct task *self, void *argument)
{
	struct number *number = argument;
	assert_int_equal(shard_index(task_shard(self)), number->shard);
	if (number->value % 7 == 0)
		task_yield(self);
	number->value *= 2;
}

static void ping_task(struct task *self, void *argument)
{
	struct ping *ping = argument;
	for (unsigned i = 0; i < ping->rounds; i++) {
		struct number number = { .value = i, .shard = ping->target };
		shard_call(self, ping->target, double_it, &number);
		assert_int_equal(number.value, 2 * (uint64_t)i);
		ping->sum += number.value;
	}
}

enum { PINGERS = 40 };

static void ping_parent(struct task *self, void *argument)
{
	static const struct task_type type = { "ping", ping_task, 1024 };
	struct ping *pings = argument;
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < PINGERS; i++)
		assert_ok(task_spawn(task_shard(self), &type, &pings[i], TASK_FOREGROUND, &join));
	join_wait(self, &join);
}

/* Many more callers than the mailbox has entries, in both directions at once, and to the own shard. */
static void test_calls_with_full_mailboxes(void **state)
{
	(void)state;
	for (uint32_t entries = 1; entries <= 4; entries *= 4) {
		struct runtime *runtime =
			create_with((struct runtime_options) { .shards = 2, .mailbox_entries = entries });
		static struct ping pings[2][PINGERS];
		static struct request requests[2];
		for (uint32_t shard = 0; shard < 2; shard++) {
			for (unsigned i = 0; i < PINGERS; i++) {
				uint32_t target = i % 8 == 0 ? shard : 1 - shard;
				pings[shard][i] =
					(struct ping) { .target = target, .rounds = STRESS_ROUNDS / 20 };
			}
			request_init(&requests[shard], ping_parent, pings[shard]);
			assert_ok(runtime_submit(runtime, shard, &requests[shard]));
		}
		for (uint32_t shard = 0; shard < 2; shard++) {
			future_wait(&requests[shard].future);
			uint64_t rounds = STRESS_ROUNDS / 20;
			for (unsigned i = 0; i < PINGERS; i++)
				assert_int_equal(pings[shard][i].sum, rounds * (rounds - 1));
		}
		runtime_destroy(runtime);
	}
}

static void call_from_call(struct task *self, void *argument)
{
	struct number *number = argument;
	shard_call(self, 1 - number->shard, double_it, number);
}

static void nested_caller(struct task *self, void *argument)
{
	struct number *number = argument;
	shard_call(self, number->shard, call_from_call, number);
}

static void call_within_call(uint32_t target)
{
	struct number number = { .value = 1, .shard = target };
	runtime_run(create(2), 0, nested_caller, &number);
}

/* A function that runs for another shard must make no call of its own, also when the shard is the same. */
static void test_call_within_call_is_refused(void **state)
{
	(void)state;
	assert_int_equal(fatal_signal(call_within_call, 1), SIGABRT);
	assert_int_equal(fatal_signal(call_within_call, 0), SIGABRT);
}

static void grow_and_call(struct task *self, void *argument)
{
	struct number *number = argument;
	memory_fail_at(1, 1); /* until the shard below has tried and a foreign thread disarms it */
	shard_call(self, number->shard, double_it, number);
}

/* A call stays in the mailbox until there is memory for its stack, and so does a request. */
static void test_messages_wait_for_memory(void **state)
{
	(void)state;
	struct runtime *runtime = create(2);
	struct number number = { .value = 21, .shard = 1 };
	struct request request;
	request_init(&request, grow_and_call, &number);
	assert_ok(runtime_submit(runtime, 0, &request));
	while (memory_failures_fired() == 0)
		sched_yield();
	unsigned count = 0;
	struct request second;
	request_init(&second, add_one, &count);
	assert_ok(runtime_submit(runtime, 1, &second));
	nap_ms(5);
	assert_false(future_poll(&request.future));
	assert_false(future_poll(&second.future));
	memory_fail_at(0, 0);
	future_wait(&request.future);
	future_wait(&second.future);
	assert_int_equal(number.value, 42);
	assert_int_equal(count, 1);
	runtime_destroy(runtime);
}

/* With stacks ahead they do not, memory or not. */
static void test_stacks_ahead(void **state)
{
	(void)state;
	struct runtime *runtime = create_with((struct runtime_options) { .shards = 2, .stacks_ahead = true });
	unsigned count = 0;
	memory_fail_at(1, 1);
	for (uint32_t shard = 0; shard < 2; shard++)
		runtime_run(runtime, shard, add_one, &count);
	assert_int_equal(memory_failures_fired(), 0);
	memory_fail_at(0, 0);
	assert_int_equal(count, 2);
	runtime_destroy(runtime);
}

/* --- foreign threads --- */

struct gate_task {
	_Atomic bool entered;
	_Atomic bool open;
};

static void wait_for_gate(struct task *self, void *argument)
{
	struct gate_task *gate = argument;
	(void)self;
	atomic_store(&gate->entered, true);
	while (!atomic_load(&gate->open))
		sched_yield();
}

static void test_full_inbox_is_busy(void **state)
{
	(void)state;
	enum { ENTRIES = 4 };
	struct runtime *runtime =
		create_with((struct runtime_options) { .shards = 1, .inbox_entries = ENTRIES });
	struct gate_task gate = { .open = false };
	struct request blocker;
	request_init(&blocker, wait_for_gate, &gate);
	assert_ok(runtime_submit(runtime, 0, &blocker));
	while (!atomic_load(&gate.entered))
		sched_yield();
	struct request requests[2 * ENTRIES + 1];
	unsigned count = 0;
	unsigned accepted = 0;
	struct status status = status_ok();
	while (accepted < 2 * ENTRIES + 1) {
		request_init(&requests[accepted], add_one, &count);
		status = runtime_submit(runtime, 0, &requests[accepted]);
		if (!status_is_ok(status))
			break;
		accepted++;
	}
	assert_status(status, STATUS_BUSY);
	assert_int_equal(accepted, ENTRIES);
	atomic_store(&gate.open, true);
	for (unsigned i = 0; i < accepted; i++)
		future_wait(&requests[i].future);
	future_wait(&blocker.future);
	assert_int_equal(count, accepted);
	runtime_destroy(runtime);
}

static void sleep_behind_gate(struct task *self, void *argument)
{
	struct gate_task *gate = argument;
	while (!atomic_load(&gate->open))
		task_sleep(self, 10000000);
}

/*
 * Requests that were taken and have not ended count too: what a shard has under way is bounded. It does
 * not look at the rest again and again meanwhile.
 */
static void test_requests_under_way_are_bounded(void **state)
{
	(void)state;
	enum { ENTRIES = 4, TRIES = 3 * ENTRIES };
	struct runtime *runtime =
		create_with((struct runtime_options) { .shards = 1, .inbox_entries = ENTRIES });
	struct gate_task gate = { .open = false };
	struct request requests[TRIES];
	unsigned accepted = 0;
	unsigned refused = 0;
	uint64_t cpu_before = cpu_us();
	while (refused < 100 && accepted < TRIES) {
		request_init(&requests[accepted], sleep_behind_gate, &gate);
		if (status_is_ok(runtime_submit(runtime, 0, &requests[accepted]))) {
			accepted++;
			continue;
		}
		refused++;
		nap_ms(1);
	}
	assert_int_equal(accepted, 2 * ENTRIES);
	assert_true(cpu_us() - cpu_before < 50000);
	atomic_store(&gate.open, true);
	for (unsigned i = 0; i < accepted; i++)
		future_wait(&requests[i].future);
	runtime_destroy(runtime);
}

static void open_gate(void *context)
{
	atomic_fetch_add((_Atomic unsigned *)context, 1);
}

static void test_futures(void **state)
{
	(void)state;
	struct runtime *runtime = create(1);
	struct gate_task gate = { .open = false };
	_Atomic unsigned calls = 0;
	struct request request;
	request_init(&request, wait_for_gate, &gate);
	future_on_done(&request.future, open_gate, &calls);
	assert_ok(runtime_submit(runtime, 0, &request));
	nap_ms(2);
	assert_false(future_poll(&request.future));
	assert_int_equal(atomic_load(&calls), 0);
	atomic_store(&gate.open, true);
	future_wait(&request.future);
	assert_true(future_poll(&request.future));
	future_wait(&request.future);
	while (atomic_load(&calls) == 0)
		sched_yield();
	runtime_destroy(runtime);
	assert_int_equal(atomic_load(&calls), 1);
}

struct hammer {
	struct runtime *runtime;
	uint64_t seed;
	uint64_t done;
	uint64_t per_shard[2];
	pthread_t thread;
};

static uint64_t shard_sums[2]; /* each written on its own shard only */

static void hammer_task(struct task *self, void *argument)
{
	struct number *number = argument;
	uint32_t index = shard_index(task_shard(self));
	if (number->value % 5 == 0)
		task_yield(self);
	if (number->value % 11 == 0)
		task_sleep(self, 1000);
	if (number->value % 3 == 0) {
		struct number other = { .value = 1, .shard = 1 - index };
		shard_call(self, 1 - index, double_it, &other);
		assert_int_equal(other.value, 2);
	}
	shard_sums[index]++;
	number->value++;
}

static void *hammer_thread(void *argument)
{
	struct hammer *hammer = argument;
	struct random random = random_stream(hammer->seed);
	for (unsigned i = 0; i < STRESS_ROUNDS; i++) {
		uint32_t shard = (uint32_t)random_below(&random, 2);
		uint64_t value = random_below(&random, 1000);
		struct number number = { .value = value };
		runtime_run(hammer->runtime, shard, hammer_task, &number);
		if (number.value != value + 1)
			return NULL;
		hammer->done++;
		hammer->per_shard[shard]++;
	}
	return NULL;
}

/* With a tiny inbox the threads also wait for room. */
static void test_foreign_threads(void **state)
{
	(void)state;
	enum { THREADS = 6 };
	for (uint32_t entries = 2; entries <= 1024; entries *= 512) {
		struct runtime *runtime = create_with((struct runtime_options) {
			.shards = 2, .inbox_entries = entries, .io_backend = "uring" });
		struct hammer hammers[THREADS];
		memset(shard_sums, 0, sizeof(shard_sums));
		for (unsigned i = 0; i < THREADS; i++) {
			hammers[i] = (struct hammer) { .runtime = runtime, .seed = test_seed(100) + i };
			assert_int_equal(pthread_create(&hammers[i].thread, NULL, hammer_thread, &hammers[i]),
					 0);
		}
		uint64_t per_shard[2] = { 0, 0 };
		for (unsigned i = 0; i < THREADS; i++) {
			assert_int_equal(pthread_join(hammers[i].thread, NULL), 0);
			assert_int_equal(hammers[i].done, STRESS_ROUNDS);
			per_shard[0] += hammers[i].per_shard[0];
			per_shard[1] += hammers[i].per_shard[1];
		}
		runtime_destroy(runtime);
		assert_int_equal(shard_sums[0], per_shard[0]);
		assert_int_equal(shard_sums[1], per_shard[1]);
	}
}

/* --- sleeping and waking --- */

/* Pauses of about the time after which a shard goes to sleep, so that wake-ups meet announcements. */
static void test_no_wake_up_is_lost(void **state)
{
	const char *backend = *state;
	struct runtime *runtime = create_with(
		(struct runtime_options) { .shards = 2, .io_backend = backend, .poll_ns_max = 2000 });
	struct random random = random_stream(test_seed(42));
	for (unsigned i = 0; i < STRESS_ROUNDS; i++) {
		unsigned count = 0;
		struct ping ping = { .target = i % 2, .rounds = 1 };
		runtime_run(runtime, 0, add_one, &count);
		burn(random_below(&random, 6000));
		runtime_run(runtime, 1 - i % 2, ping_task, &ping);
		assert_int_equal(count, 1);
		burn(random_below(&random, 20000));
	}
	runtime_destroy(runtime);
}

static void test_idle_uses_no_cpu(void **state)
{
	const char *backend = *state;
	struct runtime *runtime =
		create_with((struct runtime_options) { .shards = 2, .io_backend = backend });
	unsigned count = 0;
	runtime_run(runtime, 0, add_one, &count);
	runtime_run(runtime, 1, add_one, &count);
	nap_ms(20);
	uint64_t before = cpu_us();
	nap_ms(300);
	uint64_t used = cpu_us() - before;
#if defined(FIBER_TSAN)
	used = used > 20000 ? used - 20000 : 0; /* TSan has a thread of its own */
#endif
	assert_true(used < 5000);
	runtime_destroy(runtime);
}

/* --- the end --- */

/* Long enough at first for the other shard to become quiet, if anything lets it. */
static void slow_end(struct task *self, void *argument)
{
	burn(2000000);
	task_sleep(self, 3000000);
	struct number number = { .value = 1, .shard = 1 - shard_index(task_shard(self)) };
	shard_call(self, number.shard, double_it, &number);
	++*(unsigned *)argument;
}

static void leave_task_behind(struct task *self, void *argument)
{
	static const struct task_type type = { "slow", slow_end, 4096 };
	assert_ok(task_spawn(task_shard(self), &type, argument, TASK_BACKGROUND, NULL));
}

static void call_and_leave(struct task *self, void *argument)
{
	task_sleep(self, 1000000);
	shard_call(self, 1, leave_task_behind, argument);
}

static void start_leaving(struct task *self, void *argument)
{
	static const struct task_type type = { "leave", call_and_leave, 4096 };
	assert_ok(task_spawn(task_shard(self), &type, argument, TASK_FOREGROUND, NULL));
}

/* The last shard that is busy makes a quiet one busy again: a call leaves a task behind there. */
static void test_destroy_waits_for_tasks(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct runtime *runtime = create_with((struct runtime_options) {
			.shards = 2, .io_backend = i % 2 == 0 ? "uring" : "posix" });
		unsigned counts[2] = { 0, 0 };
		runtime_run(runtime, 0, start_leaving, &counts[0]);
		if (i % 4 >= 2)
			runtime_run(runtime, 0, leave_task_behind, &counts[1]);
		runtime_destroy(runtime);
		assert_int_equal(counts[0], 1);
		assert_int_equal(counts[1], i % 4 >= 2);
	}
	runtime_destroy(NULL);
}

static void fire_and_forget(struct task *self, void *argument)
{
	static struct io_request request;
	request = (struct io_request) { .operation = IO_UNLINK, .path = argument };
	io_submit(shard_io(task_shard(self)), &request);
}

static void test_destroy_waits_for_io(void **state)
{
	const char *backend = *state;
	char path[] = "runtime_test.XXXXXX";
	int descriptor = mkstemp(path);
	assert_true(descriptor >= 0);
	(void)close(descriptor);
	struct runtime *runtime =
		create_with((struct runtime_options) { .shards = 1, .io_backend = backend });
	runtime_run(runtime, 0, fire_and_forget, path);
	runtime_destroy(runtime);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_create_refuses(void **state)
{
	(void)state;
	char notice[64];
	struct runtime *runtime;
	struct runtime_options options = { .shards = 0, .io_backend = "posix" };
	assert_status(runtime_create(&options, &runtime, notice, sizeof(notice)), STATUS_INVALID);
	options.shards = RUNTIME_SHARDS_MAX + 1;
	assert_status(runtime_create(&options, &runtime, notice, sizeof(notice)), STATUS_INVALID);
	options.shards = 2;
	options.io_backend = "abacus";
	assert_status(runtime_create(&options, &runtime, notice, sizeof(notice)), STATUS_NOT_FOUND);
	assert_null(runtime);
}

/* Fails every allocation of the creation in turn. */
static void test_create_survives_no_memory(void **state)
{
	(void)state;
	struct runtime_options options = { .shards = 2, .io_backend = "posix", .stacks_ahead = true };
	for (uint64_t n = 1;; n++) {
		struct runtime *runtime;
		memory_fail_at(n, 0);
		struct status status = runtime_create(&options, &runtime, NULL, 0);
		bool fired = memory_failures_fired() > 0;
		memory_fail_at(0, 0);
		if (!fired) {
			assert_ok(status);
			runtime_destroy(runtime);
			return;
		}
		assert_status(status, STATUS_NO_MEMORY);
	}
}

static void test_many_shards(void **state)
{
	(void)state;
	enum { SHARDS = 16 };
	struct runtime *runtime = create(SHARDS);
	for (uint32_t from = 0; from < SHARDS; from++) {
		for (uint32_t to = 0; to < SHARDS; to++) {
			struct ping ping = { .target = to, .rounds = 3 };
			runtime_run(runtime, from, ping_task, &ping);
			assert_int_equal(ping.sum, 6);
		}
	}
	runtime_destroy(runtime);
}

int main(void)
{
	static char uring[] = "uring";
	static char posix[] = "posix";
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_context_keeps_registers),
		cmocka_unit_test(test_timer_heap_sorts),
		cmocka_unit_test(test_fork_join),
		cmocka_unit_test(test_spawn_without_memory),
		cmocka_unit_test(test_tasks_run_in_turn),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_sleepers_wake_in_time),
		cmocka_unit_test(test_suspend_and_resume),
		cmocka_unit_test(test_wait_list_is_first_come_first),
		cmocka_unit_test(test_call_on_thread_stack),
		cmocka_unit_test_prestate(test_io_through_tasks, uring),
		cmocka_unit_test_prestate(test_io_through_tasks, posix),
		cmocka_unit_test(test_background_has_its_share),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_calls_with_full_mailboxes),
		cmocka_unit_test(test_call_within_call_is_refused),
		cmocka_unit_test(test_messages_wait_for_memory),
		cmocka_unit_test(test_stacks_ahead),
		cmocka_unit_test(test_full_inbox_is_busy),
		cmocka_unit_test(test_requests_under_way_are_bounded),
		cmocka_unit_test(test_futures),
		cmocka_unit_test(test_foreign_threads),
		cmocka_unit_test_prestate(test_no_wake_up_is_lost, uring),
		cmocka_unit_test_prestate(test_no_wake_up_is_lost, posix),
		cmocka_unit_test_prestate(test_idle_uses_no_cpu, uring),
		cmocka_unit_test_prestate(test_idle_uses_no_cpu, posix),
		cmocka_unit_test(test_destroy_waits_for_tasks),
		cmocka_unit_test_prestate(test_destroy_waits_for_io, uring),
		cmocka_unit_test_prestate(test_destroy_waits_for_io, posix),
		cmocka_unit_test(test_create_refuses),
		cmocka_unit_test(test_create_survives_no_memory),
		cmocka_unit_test(test_many_shards),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
