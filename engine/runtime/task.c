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

/* A cancel that ends the wait takes the mark away; one that comes after the task was woken does not. */
struct status task_park_cancelable(struct task *self)
{
	self->cancelable = self->shields == 0;
	bool marked = self->cancelable;
	leave(self, TASK_PARKED);
	bool was_canceled = marked && !self->cancelable;
	self->cancelable = false;
	return was_canceled ? status_make(STATUS_CANCELED) : status_ok();
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
	struct shard *shard = self->shard;
	shard_tell_others(shard);
	bool is_wanted = shard->ready[TASK_FOREGROUND].count > 0 || shard_is_wanted(shard);
	uint64_t slice_ns = is_wanted ? SLICE_SHORT_NS : SLICE_NS;
	return clock_now_ns() - shard->run_start_ns >= slice_ns;
}

void task_publish(struct task *self)
{
	shard_tell_others(self->shard);
	shard_wake_threads(self->shard);
}

static void timer_start(struct task *self, uint64_t ns)
{
	struct shard *shard = self->shard;
	uint64_t now = clock_now_ns();
	self->wake_ns = ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
	self->wake_order = shard->timer_order++;
	self->wait = WAIT_TIME;
	shard->timers = timer_heap_add(shard->timers, self);
}

void task_sleep(struct task *self, uint64_t ns)
{
	if (ns == 0) {
		task_yield(self);
		return;
	}
	timer_start(self, ns);
	task_park(self);
}

struct status task_sleep_cancelable(struct task *self, uint64_t ns)
{
	if (task_is_canceled(self))
		return status_make(STATUS_CANCELED);
	if (ns == 0) {
		task_yield(self);
		return status_ok();
	}
	timer_start(self, ns);
	return task_park_cancelable(self);
}

/* --- spawning and ending --- */

/* A function that was called by who waits for it is a part of its caller, who has begun. */
static bool runs_in_any_case(const struct task *task)
{
	return task->origin == ORIGIN_CALL && call_runs_in_any_case(task->told);
}

void task_start(void *argument)
{
	fiber_started();
	struct task *self = argument;
	if (__builtin_expect(self->canceled, 0) && !runs_in_any_case(self))
		self->status = status_make(STATUS_CANCELED);
	else
		self->run(self, self->argument);
	self->state = TASK_ENDED;
	ASSERT(self->shard->current == self);
	/* The loop takes the stack back and tells whoever waits, on the thread's own stack. */
	fiber_end(&self->fiber, &self->shard->fiber);
}

struct birth {
	const struct task_type *type;
	task_function *run;
	void *argument;
	void *told;
	enum task_origin origin;
	enum task_queue queue;
};

static __attribute__((always_inline)) inline struct task *task_fill(struct shard *shard, struct task *task,
								    const struct birth *birth)
{
	task->shard = shard;
	task->type = birth->type;
	task->run = birth->run;
	task->argument = birth->argument;
	task->told = birth->told;
	task->queue = (uint8_t)birth->queue;
	task->resumed = false;
	task->serving = false;
	task->canceled = shard->cancels_all;
	task->cancelable = false;
	task->unused_bits = 0;
	task->origin = (uint8_t)birth->origin;
	task->origin_shard = 0;
	task->wait = 0;
	task->shields = 0;
	task->status = status_ok();
	fiber_prepare(&task->fiber, task_start, task);
	shard->live++;
	task->number = ++shard->counters.tasks_spawned;
	shard_make_ready(shard, task);
	return task;
}

/* With what it takes to get there: a new chunk of stacks, a look at the clock. */
static __attribute__((noinline)) struct task *create_slowly(struct shard *shard, const struct task_type *type,
							    task_function *run, void *argument,
							    enum task_queue queue)
{
	const struct birth birth = { .type = type, .run = run, .argument = argument, .queue = queue };
	ASSERT(type->stack_bytes <= STACK_BYTES_MAX);
	if (shard->now_is_old)
		shard_read_clock(shard);
	struct task *task = stack_pool_take(&shard->stacks, type->stack_bytes);
	return task != NULL ? task_fill(shard, task, &birth) : NULL;
}

/* The short way calls nothing, and so keeps everything in registers. */
static __attribute__((always_inline)) inline struct task *give_birth(struct shard *shard,
								     const struct birth *birth)
{
	struct task *task =
		shard->now_is_old ? NULL : stack_pool_take_short(&shard->stacks, birth->type->stack_bytes);
	if (__builtin_expect(task != NULL, 1))
		return task_fill(shard, task, birth);
	task = create_slowly(shard, birth->type, birth->run, birth->argument, birth->queue);
	if (task != NULL) {
		task->told = birth->told;
		task->origin = (uint8_t)birth->origin;
	}
	return task;
}

struct task *task_create(struct shard *shard, const struct task_type *type, task_function *run,
			 void *argument, enum task_queue queue)
{
	const struct birth birth = {
		.type = type, .run = run, .argument = argument, .origin = ORIGIN_SPAWN, .queue = queue
	};
	return give_birth(shard, &birth);
}

struct status task_spawn(struct shard *shard, const struct task_type *type, void *argument,
			 enum task_queue queue, struct join *join)
{
	DASSERT(shard == shard_current());
	const struct birth birth = { .type = type,
				     .run = type->run,
				     .argument = argument,
				     .told = join,
				     .origin = ORIGIN_SPAWN,
				     .queue = queue };
	if (give_birth(shard, &birth) == NULL)
		return status_make(STATUS_NO_MEMORY);
	if (join != NULL)
		join->pending++;
	return status_ok();
}

struct status task_spawn_handle(struct shard *shard, const struct task_type *type, void *argument,
				enum task_queue queue, struct task_handle *handle, struct join *join)
{
	DASSERT(shard == shard_current());
	const struct birth birth = { .type = type,
				     .run = type->run,
				     .argument = argument,
				     .told = handle,
				     .origin = ORIGIN_HANDLE,
				     .queue = queue };
	struct task *task = give_birth(shard, &birth);
	if (task == NULL)
		return status_make(STATUS_NO_MEMORY);
	*handle = (struct task_handle) { .task = task, .join = join };
	if (join != NULL)
		join->pending++;
	return status_ok();
}

void task_set_status(struct task *self, struct status status)
{
	DASSERT(self->shard->current == self);
	self->status = status;
}

/* --- joins --- */

static void join_await(struct task *self, struct join *join)
{
	ASSERT(join->waiter == NULL);
	join->waiter = self;
}

void join_wait(struct task *self, struct join *join)
{
	while (join->pending > 0) {
		join_await(self, join);
		NOTE_WAIT(self, WAIT_JOIN);
		task_park(self);
	}
}

struct status join_wait_cancelable(struct task *self, struct join *join)
{
	while (join->pending > 0) {
		if (task_is_canceled(self))
			return status_make(STATUS_CANCELED);
		join_await(self, join);
		NOTE_WAIT(self, WAIT_JOIN);
		if (!status_is_ok(task_park_cancelable(self)))
			join->waiter = NULL;
	}
	return status_ok();
}

struct status join_barrier(struct task *self, struct join *join, uint32_t *errors)
{
	join_wait(self, join);
	struct status status = join->status;
	if (errors != NULL)
		*errors = join->errors;
	join_init(join);
	return status;
}

/* `count`: none has. */
static size_t first_ended(struct join *const *joins, size_t count)
{
	size_t place = 0;
	while (place < count && joins[place]->pending > 0)
		place++;
	return place;
}

static void await_all(struct task *self, struct join *const *joins, size_t count)
{
	for (size_t i = 0; i < count; i++)
		join_await(self, joins[i]);
}

static void await_none(struct join *const *joins, size_t count)
{
	for (size_t i = 0; i < count; i++)
		joins[i]->waiter = NULL;
}

size_t join_wait_any(struct task *self, struct join *const *joins, size_t count)
{
	ASSERT(count > 0);
	size_t place;
	while ((place = first_ended(joins, count)) == count) {
		await_all(self, joins, count);
		NOTE_WAIT(self, WAIT_JOIN);
		task_park(self);
		await_none(joins, count);
	}
	return place;
}

struct status join_wait_any_cancelable(struct task *self, struct join *const *joins, size_t count,
				       size_t *place)
{
	ASSERT(count > 0);
	while ((*place = first_ended(joins, count)) == count) {
		if (task_is_canceled(self))
			return status_make(STATUS_CANCELED);
		await_all(self, joins, count);
		NOTE_WAIT(self, WAIT_JOIN);
		struct status status = task_park_cancelable(self);
		(void)status; /* it is looked at again */
		await_none(joins, count);
	}
	return status_ok();
}

/* --- cancellation --- */

bool task_is_canceled(const struct task *self)
{
	return self->canceled && self->shields == 0;
}

void task_shield(struct task *self)
{
	ASSERT(self->shields < UINT8_MAX);
	self->shields++;
}

void task_unshield(struct task *self)
{
	ASSERT(self->shields > 0);
	self->shields--;
}

void task_cancel(struct task *task)
{
	struct shard *shard = task->shard;
	DASSERT(shard == shard_current());
	ASSERT(task->state != TASK_ENDED);
	if (task->canceled)
		return;
	task->canceled = true;
	shard->counters.cancels++;
	if (!task->cancelable || task->state != TASK_PARKED)
		return;
	task->cancelable = false;
	switch ((enum task_wait)task->wait) {
	case WAIT_CALL:
		call_cancel(shard, task->call); /* its end will wake the task */
		return;
	case WAIT_TIME:
		shard->timers = timer_heap_remove(shard->timers, task);
		break;
	case WAIT_LIST:
		list_remove(&task->link);
		break;
	default:
		break; /* a join: the task takes its name off itself */
	}
	task_unpark(task);
}

void task_handle_cancel(struct task_handle *handle)
{
	if (handle->task != NULL)
		task_cancel(handle->task);
}

/* --- wait lists --- */

void wait_list_wait(struct task *self, struct wait_list *waiting)
{
	ASSERT(self->shard->current == self);
	list_add_last(&waiting->tasks, &self->link);
	NOTE_WAIT(self, WAIT_LIST);
	task_park(self);
}

struct status wait_list_wait_cancelable(struct task *self, struct wait_list *waiting)
{
	ASSERT(self->shard->current == self);
	if (task_is_canceled(self))
		return status_make(STATUS_CANCELED);
	list_add_last(&waiting->tasks, &self->link);
	NOTE_WAIT(self, WAIT_LIST);
	return task_park_cancelable(self);
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
	join_end(&batch->join, request->status);
}

void io_batch_start(struct shard *shard, struct io_batch *batch, struct io_request *request)
{
	request->complete = batch_complete;
	request->context = batch;
	batch->join.pending++;
	io_submit(shard->io, request);
}

/* The caller has noted the wait. */
static struct status batch_wait(struct task *self, struct io_batch *batch)
{
	struct shard *shard = self->shard;
	while (batch->join.pending > 0) {
		join_await(self, &batch->join);
		bool is_foreground = self->queue == TASK_FOREGROUND;
		shard->foreground_waits += is_foreground;
		task_park(self);
		shard->foreground_waits -= is_foreground;
	}
	return batch->join.status;
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

struct status task_unlink(struct task *self, const char *path)
{
	struct io_request request = { .operation = IO_UNLINK, .path = path };
	struct status status = task_io(self, &request);
	return status_is(status, STATUS_NOT_FOUND) ? status_ok() : status;
}

struct status task_sync_directory(struct task *self, const char *path)
{
	struct io_request request = { .operation = IO_SYNC_DIRECTORY, .path = path };
	return task_io(self, &request);
}

struct task *task_current(void)
{
	struct shard *shard = shard_current();
	return shard == NULL ? NULL : shard->current;
}

bool task_is_serving(const struct task *task)
{
	return task->serving;
}

struct shard *task_shard(const struct task *task)
{
	return task->shard;
}

const char *task_name(const struct task *task)
{
	return task->type->name;
}
