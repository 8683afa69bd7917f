#include "runtime/task.h"

#include "base/clock.h"
#include "runtime/internal.h"

#include "base/poison.h"

/* --- suspending --- */

/* Back to the resident's loop; returns when the loop runs the task again. */
static void leave(struct task *self, enum task_state state)
{
	struct shard *shard = self->shard;
	ASSERT(shard->current == self);
	ASSERT(!shard->on_thread_stack);
	self->state = (uint8_t)state;
	fiber_switch(&self->fiber, &shard->fiber, 0);
	DASSERT(shard->current == self);
}

void task_park(struct task *self)
{
	leave(self, TASK_PARKED);
}

void task_unpark(struct task *task)
{
	ASSERT(task->state == TASK_PARKED);
	shard_make_ready(task->shard, task);
}

void task_suspend(struct task *self)
{
	if (self->resumed) {
		self->resumed = false;
		return;
	}
	NOTE_WAIT(self, WAIT_RESUME);
	leave(self, TASK_SUSPENDED);
}

/*
 * A task that waits for something of the runtime's own (I/O, a join) is not what the caller wants to
 * wake: the resume is kept for its next task_suspend.
 */
void task_resume(struct task *task)
{
	DASSERT(task->shard == shard_current());
	ASSERT(task->state != TASK_ENDED);
	if (task->state == TASK_SUSPENDED) {
		shard_make_ready(task->shard, task);
		return;
	}
	ASSERT(!task->resumed);
	task->resumed = true;
}

void task_yield(struct task *self)
{
	struct shard *shard = self->shard;
	ASSERT(shard->current == self);
	shard_make_ready(shard, self);
	leave(self, TASK_RUNNABLE);
}

bool task_slice_spent(struct task *self)
{
	const struct shard *shard = self->shard;
	bool foreground_waits = shard->foreground_waits > 0 || shard->ready_count[TASK_FOREGROUND] > 0;
	uint64_t slice_ns = foreground_waits ? SLICE_SHORT_NS : SLICE_NS;
	return clock_now_ns() - shard->run_start_ns >= slice_ns;
}

void task_sleep(struct task *self, uint64_t ns)
{
	struct shard *shard = self->shard;
	if (ns == 0) {
		task_yield(self);
		return;
	}
	uint64_t now = clock_now_ns();
	self->wake_ns = ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
	self->wake_order = shard->timer_order++;
	self->wait = WAIT_TIME;
	shard->timers = timer_heap_add(shard->timers, self);
	task_park(self);
}

/* --- spawning and ending --- */

static void task_start(void *argument)
{
	fiber_started();
	struct task *self = argument;
	self->run(self, self->argument);
	self->state = TASK_ENDED;
	ASSERT(self->shard->current == self);
	/* The loop takes the stack back and tells whoever waits, on the thread's own stack. */
	fiber_switch(&self->fiber, &self->shard->fiber, 1);
	__builtin_trap();
}

struct task *task_create(struct shard *shard, const struct task_type *type, task_function *run,
			 void *argument, enum task_queue queue)
{
	ASSERT(type->stack_bytes <= STACK_BYTES_MAX);
	size_t stack_bytes = type->stack_bytes < STACK_BYTES_MIN ? STACK_BYTES_MIN : type->stack_bytes;
	struct task *task = stack_pool_take(&shard->stacks, stack_bytes);
	if (task == NULL)
		return NULL;
	list_init(&task->link);
	task->shard = shard;
	task->type = type;
	task->run = run;
	task->argument = argument;
	task->join = NULL;
	task->origin = ORIGIN_SPAWN;
	task->queue = (uint8_t)queue;
	task->resumed = false;
	task->serving = false;
	context_prepare(&task->fiber.context, task->fiber.stack_low, task->fiber.stack_size, task_start,
			task);
	shard->live++;
	task->number = ++shard->counters.tasks_spawned;
	shard_make_ready(shard, task);
	return task;
}

struct status task_spawn(struct shard *shard, const struct task_type *type, void *argument,
			 enum task_queue queue, struct join *join)
{
	DASSERT(shard == shard_current());
	struct task *task = task_create(shard, type, type->run, argument, queue);
	if (task == NULL)
		return status_make(STATUS_NO_MEMORY);
	if (join != NULL) {
		task->join = join;
		join->pending++;
	}
	return status_ok();
}

void join_wait(struct task *self, struct join *join)
{
	while (join->pending > 0) {
		ASSERT(join->waiter == NULL);
		join->waiter = self;
		NOTE_WAIT(self, WAIT_JOIN);
		task_park(self);
	}
}

/* --- wait lists --- */

void wait_list_wait(struct task *self, struct wait_list *waiting)
{
	ASSERT(self->shard->current == self);
	list_add_last(&waiting->tasks, &self->link);
	NOTE_WAIT(self, WAIT_LIST);
	task_park(self);
}

void wait_list_wake_one(struct wait_list *waiting)
{
	struct list *node = list_take_first(&waiting->tasks);
	if (node != NULL)
		task_unpark(CONTAINER_OF(node, struct task, link));
}

void wait_list_wake_all(struct wait_list *waiting)
{
	while (!wait_list_is_empty(waiting))
		wait_list_wake_one(waiting);
}

/* --- I/O --- */

static void batch_complete(struct io_request *request)
{
	struct io_batch *batch = request->context;
	ASSERT(batch->pending > 0);
	status_keep_first(&batch->status, request->status);
	batch->pending--;
	if (batch->pending == 0 && batch->waiter != NULL) {
		struct task *waiter = batch->waiter;
		batch->waiter = NULL;
		task_unpark(waiter);
	}
}

void io_batch_start(struct shard *shard, struct io_batch *batch, struct io_request *request)
{
	request->complete = batch_complete;
	request->context = batch;
	batch->pending++;
	io_submit(shard->io, request);
}

/* The caller has noted the wait. */
static struct status batch_wait(struct task *self, struct io_batch *batch)
{
	struct shard *shard = self->shard;
	while (batch->pending > 0) {
		ASSERT(batch->waiter == NULL);
		batch->waiter = self;
		bool is_foreground = self->queue == TASK_FOREGROUND;
		shard->foreground_waits += is_foreground;
		task_park(self);
		shard->foreground_waits -= is_foreground;
	}
	return batch->status;
}

struct status io_batch_wait(struct task *self, struct io_batch *batch)
{
	NOTE_WAIT(self, WAIT_IO);
	return batch_wait(self, batch);
}

struct status task_io(struct task *self, struct io_request *request)
{
	struct io_batch batch;
	io_batch_init(&batch);
	io_batch_start(self->shard, &batch, request);
	NOTE_WAIT(self, WAIT_IO);
	return batch_wait(self, &batch);
}

/* --- the thread's own stack --- */

/*
 * The resident's loop, which waits on that stack for the task, runs the function and comes back: one
 * kind of switch for all machines and all sanitizers.
 */
void call_on_thread_stack(void (*function)(void *argument), void *argument)
{
	struct shard *shard = shard_current();
	if (shard == NULL || shard->current == NULL || shard->on_thread_stack) {
		function(argument);
		return;
	}
	struct task *self = shard->current;
	shard->thread_function = function;
	shard->thread_argument = argument;
	fiber_switch(&self->fiber, &shard->fiber, 0);
}

struct task *task_current(void)
{
	struct shard *shard = shard_current();
	return shard == NULL ? NULL : shard->current;
}

struct shard *task_shard(const struct task *task)
{
	return task->shard;
}

const char *task_name(const struct task *task)
{
	return task->type->name;
}
