/*
 * Implements cascade_runtime.h: the runtime's own functions under public names, with arguments checked where
 * the engine asserts. The public structs are the runtime's with their members hidden, and the opaque types
 * are the runtime's structs themselves.
 */
#include "cascade_runtime.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "database/database_internal.h"

#include "base/poison.h"

enum {
	IO_DEPTH = 256,
	FLAGS_ALL = CASCADE_RUNTIME_WRITE | CASCADE_RUNTIME_CREATE | CASCADE_RUNTIME_BUFFERED
};

struct cascade_runtime {
	struct runtime *runtime;
	_Atomic uint64_t futures; /* that have not been waited for */
};

struct cascade_runtime_future {
	cascade_runtime *owner;
	uint32_t shard;
	atomic_bool has_callback;
	struct request request;
};

_Static_assert(sizeof(struct cascade_runtime_join) == sizeof(struct join), "the same, hidden");
_Static_assert(sizeof(struct cascade_runtime_handle) == sizeof(struct task_handle), "the same, hidden");
_Static_assert(_Alignof(struct cascade_runtime_join) >= _Alignof(struct join), "the same, hidden");
_Static_assert(_Alignof(struct cascade_runtime_handle) >= _Alignof(struct task_handle), "the same, hidden");
_Static_assert(sizeof(((cascade_runtime_transfer *)NULL)->words) >= sizeof(struct io_request),
	       "there is room");
_Static_assert(sizeof(struct cascade_runtime_type) == sizeof(struct task_type), "the same");
_Static_assert(offsetof(struct cascade_runtime_type, run) == offsetof(struct task_type, run), "the same");
_Static_assert(offsetof(struct cascade_runtime_type, stack_bytes) == offsetof(struct task_type, stack_bytes),
	       "the same");
_Static_assert((int)CASCADE_RUNTIME_FOREGROUND == (int)TASK_FOREGROUND, "one set of numbers");
_Static_assert((int)CASCADE_RUNTIME_BACKGROUND == (int)TASK_BACKGROUND, "one set of numbers");

/* --- the same things under two names --- */

static struct task *task_of(const cascade_runtime_task *self)
{
	return (struct task *)(uintptr_t)self;
}

static struct join *join_of(const cascade_runtime_join *join)
{
	return (struct join *)(uintptr_t)join;
}

static struct task_handle *handle_of(const cascade_runtime_handle *handle)
{
	return (struct task_handle *)(uintptr_t)handle;
}

static struct io_file *file_of(const cascade_runtime_file *file)
{
	return (struct io_file *)(uintptr_t)file;
}

/* A function gets the pointer that it expects, by another name: a task. */
static task_function *run_of(cascade_runtime_function *function)
{
	return (task_function *)(void (*)(void))function;
}

static const struct task_type *type_of(const cascade_runtime_type *type)
{
	return (const struct task_type *)(const void *)type;
}

/* A status without a message of its own; what is no status becomes INVALID. */
static struct status status_from(cascade_status status)
{
	if ((int)status < 0 || (int)status >= (int)STATUS_CODE_COUNT)
		return status_make(STATUS_INVALID);
	return status_make((enum status_code)status);
}

static struct status check_type(const cascade_runtime_type *type)
{
	if (type == NULL || type->name == NULL || type->run == NULL)
		return status_error(STATUS_INVALID, "a type with name and run must be given");
	if (type->stack_bytes > TASK_STACK_BYTES_MAX)
		return status_error(STATUS_INVALID, "stack_bytes is %u, at most %d are possible",
				    type->stack_bytes, (int)TASK_STACK_BYTES_MAX);
	return status_ok();
}

/* --- create and destroy --- */

static struct status create(const cascade_runtime_options *given, cascade_runtime **result)
{
	static const cascade_runtime_options defaults = { 0 };
	if (result == NULL)
		return status_error(STATUS_INVALID, "runtime must be given");
	const cascade_runtime_options *options = given != NULL ? given : &defaults;
	const struct runtime_options inner = {
		.shards = options->shards != 0 ? options->shards : options_default_shards(),
		.io_backend = options->io != NULL ? options->io : "uring",
		.io = { .depth = IO_DEPTH, .direct = true },
		.inbox_entries = options->inbox_entries,
		.mailbox_entries = options->mailbox_entries,
		.poll_ns_max = options->poll_ns,
	};
	cascade_runtime *runtime = memory_allocate_zeroed(1, sizeof(*runtime));
	if (runtime == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = runtime_create(&inner, &runtime->runtime, NULL, 0);
	if (status_is_ok(status))
		*result = runtime;
	else
		memory_free(runtime);
	return status;
}

cascade_status cascade_runtime_create(const cascade_runtime_options *options, cascade_runtime **runtime)
{
	return database_report(create(options, runtime));
}

static struct status destroy(cascade_runtime *runtime)
{
	if (runtime == NULL)
		return status_ok();
	if (shard_current() != NULL)
		return status_error(STATUS_INVALID, "a shard cannot wait for its own end");
	uint64_t futures = atomic_load(&runtime->futures);
	if (futures > 0)
		return status_error(STATUS_BUSY, "%llu futures have not been waited for",
				    (unsigned long long)futures);
	runtime_destroy(runtime->runtime);
	memory_free(runtime);
	return status_ok();
}

cascade_status cascade_runtime_destroy(cascade_runtime *runtime)
{
	return database_report(destroy(runtime));
}

void cascade_runtime_cancel_all(cascade_runtime *runtime)
{
	if (runtime != NULL)
		runtime_cancel_all(runtime->runtime);
}

uint32_t cascade_runtime_shard_count(const cascade_runtime *runtime)
{
	return runtime != NULL ? runtime_shard_count(runtime->runtime) : 0;
}

/* --- from threads --- */

static struct status check_request(const cascade_runtime *runtime, uint32_t shard,
				   cascade_runtime_function *function)
{
	if (runtime == NULL || function == NULL)
		return status_error(STATUS_INVALID, "runtime and function must be given");
	uint32_t count = runtime_shard_count(runtime->runtime);
	if (shard >= count)
		return status_error(STATUS_INVALID, "shard %u: there are %u", shard, count);
	return status_ok();
}

static struct status run(cascade_runtime *runtime, uint32_t shard, cascade_runtime_function *function,
			 void *argument)
{
	TRY(check_request(runtime, shard, function));
	if (shard_current() != NULL)
		return status_error(STATUS_INVALID, "a shard's thread cannot wait for a request");
	return runtime_run(runtime->runtime, shard, run_of(function), argument);
}

cascade_status cascade_runtime_run(cascade_runtime *runtime, uint32_t shard,
				   cascade_runtime_function *function, void *argument)
{
	return database_report(run(runtime, shard, function, argument));
}

static struct status submit(cascade_runtime *runtime, uint32_t shard, cascade_runtime_function *function,
			    void *argument, cascade_runtime_future **result)
{
	TRY(check_request(runtime, shard, function));
	if (result == NULL)
		return status_error(STATUS_INVALID, "future must be given");
	cascade_runtime_future *future = memory_allocate_zeroed(1, sizeof(*future));
	if (future == NULL)
		return status_make(STATUS_NO_MEMORY);
	future->owner = runtime;
	future->shard = shard;
	request_init(&future->request, run_of(function), argument);
	atomic_fetch_add(&runtime->futures, 1);
	struct status status = runtime_submit(runtime->runtime, shard, &future->request);
	if (status_is_ok(status)) {
		*result = future;
		return status;
	}
	atomic_fetch_sub(&runtime->futures, 1);
	memory_free(future);
	return status_error(STATUS_BUSY, "shard %u has as many requests as it keeps", shard);
}

cascade_status cascade_runtime_submit(cascade_runtime *runtime, uint32_t shard,
				      cascade_runtime_function *function, void *argument,
				      cascade_runtime_future **future)
{
	return database_report(submit(runtime, shard, function, argument, future));
}

static struct status wait_for(cascade_runtime_future *future)
{
	if (future == NULL)
		return status_error(STATUS_INVALID, "future must be given");
	if (shard_current() != NULL && !future_poll(&future->request.future))
		return status_error(STATUS_INVALID, "a shard's thread cannot wait for a future");
	future_wait(&future->request.future);
	struct status status = future->request.status;
	atomic_fetch_sub(&future->owner->futures, 1);
	memory_free(future);
	return status;
}

cascade_status cascade_runtime_future_wait(cascade_runtime_future *future)
{
	return database_report(wait_for(future));
}

bool cascade_runtime_future_done(const cascade_runtime_future *future)
{
	return future != NULL && future_poll(&future->request.future);
}

void cascade_runtime_future_cancel(cascade_runtime_future *future)
{
	if (future != NULL)
		runtime_cancel(future->owner->runtime, future->shard, &future->request);
}

static struct status on_done(cascade_runtime_future *future, cascade_callback *callback, void *context)
{
	if (future == NULL || callback == NULL)
		return status_error(STATUS_INVALID, "future and callback must be given");
	if (atomic_exchange(&future->has_callback, true))
		return status_error(STATUS_INVALID, "the future has a callback");
	future_on_done(&future->request.future, callback, context);
	return status_ok();
}

cascade_status cascade_runtime_future_on_done(cascade_runtime_future *future, cascade_callback *callback,
					      void *context)
{
	return database_report(on_done(future, callback, context));
}

/* --- tasks --- */

uint32_t cascade_runtime_shard(const cascade_runtime_task *self)
{
	return shard_index(task_shard(task_of(self)));
}

void cascade_runtime_set_status(cascade_runtime_task *self, cascade_status status)
{
	task_set_status(task_of(self), status_from(status));
}

void cascade_runtime_yield(cascade_runtime_task *self)
{
	task_yield(task_of(self));
}

void cascade_runtime_breathe(cascade_runtime_task *self)
{
	task_breathe(task_of(self));
}

cascade_status cascade_runtime_sleep(cascade_runtime_task *self, uint64_t nanoseconds)
{
	return database_report(task_sleep_cancelable(task_of(self), nanoseconds));
}

void cascade_runtime_on_thread_stack(void (*function)(void *argument), void *argument)
{
	call_on_thread_stack(function, argument);
}

void cascade_runtime_join_init(cascade_runtime_join *join)
{
	join_init(join_of(join));
}

static struct status check_spawn(const cascade_runtime_type *type, enum cascade_runtime_queue queue)
{
	TRY(check_type(type));
	if (queue != CASCADE_RUNTIME_FOREGROUND && queue != CASCADE_RUNTIME_BACKGROUND)
		return status_error(STATUS_INVALID, "no such queue");
	return status_ok();
}

static struct status spawn(cascade_runtime_task *self, const cascade_runtime_type *type, void *argument,
			   enum cascade_runtime_queue queue, cascade_runtime_join *join)
{
	TRY(check_spawn(type, queue));
	return task_spawn(task_shard(task_of(self)), type_of(type), argument, (enum task_queue)queue,
			  join_of(join));
}

cascade_status cascade_runtime_spawn(cascade_runtime_task *self, const cascade_runtime_type *type,
				     void *argument, enum cascade_runtime_queue queue,
				     cascade_runtime_join *join)
{
	return database_report(spawn(self, type, argument, queue, join));
}

cascade_status cascade_runtime_wait(cascade_runtime_task *self, cascade_runtime_join *join, uint32_t *errors)
{
	return database_report(join_barrier(task_of(self), join_of(join), errors));
}

size_t cascade_runtime_wait_any(cascade_runtime_task *self, cascade_runtime_join *const *joins, size_t count)
{
	if (count == 0)
		return 0;
	return join_wait_any(task_of(self), (struct join *const *)(const void *)joins, count);
}

/* --- cancels --- */

static struct status spawn_handle(cascade_runtime_task *self, const cascade_runtime_type *type,
				  void *argument, enum cascade_runtime_queue queue,
				  cascade_runtime_handle *handle, cascade_runtime_join *join)
{
	TRY(check_spawn(type, queue));
	if (handle == NULL)
		return status_error(STATUS_INVALID, "handle must be given");
	return task_spawn_handle(task_shard(task_of(self)), type_of(type), argument, (enum task_queue)queue,
				 handle_of(handle), join_of(join));
}

cascade_status cascade_runtime_spawn_handle(cascade_runtime_task *self, const cascade_runtime_type *type,
					    void *argument, enum cascade_runtime_queue queue,
					    cascade_runtime_handle *handle, cascade_runtime_join *join)
{
	return database_report(spawn_handle(self, type, argument, queue, handle, join));
}

void cascade_runtime_handle_cancel(cascade_runtime_handle *handle)
{
	task_handle_cancel(handle_of(handle));
}

cascade_status cascade_runtime_handle_status(const cascade_runtime_handle *handle)
{
	return database_report(handle_of(handle)->status);
}

bool cascade_runtime_canceled(const cascade_runtime_task *self)
{
	return task_is_canceled(task_of(self));
}

void cascade_runtime_shield(cascade_runtime_task *self)
{
	task_shield(task_of(self));
}

void cascade_runtime_unshield(cascade_runtime_task *self)
{
	task_unshield(task_of(self));
}

/* --- calls --- */

static struct status check_call(const cascade_runtime_task *self, uint32_t shard,
				const cascade_runtime_type *type)
{
	TRY(check_type(type));
	uint32_t count = runtime_shard_count(shard_runtime(task_shard(task_of(self))));
	if (shard >= count)
		return status_error(STATUS_INVALID, "shard %u: there are %u", shard, count);
	if (task_is_serving(task_of(self)))
		return status_error(STATUS_INVALID,
				    "a function that runs for another shard makes no call itself");
	return status_ok();
}

static struct status call(cascade_runtime_task *self, uint32_t shard, const cascade_runtime_type *type,
			  void *argument)
{
	TRY(check_call(self, shard, type));
	return shard_call_type(task_of(self), shard, type_of(type), argument);
}

cascade_status cascade_runtime_call(cascade_runtime_task *self, uint32_t shard,
				    const cascade_runtime_type *type, void *argument)
{
	return database_report(call(self, shard, type, argument));
}

static struct status call_cancelable(cascade_runtime_task *self, uint32_t shard,
				     const cascade_runtime_type *type, void *argument)
{
	TRY(check_call(self, shard, type));
	return shard_call_cancelable(task_of(self), shard, type_of(type), argument);
}

cascade_status cascade_runtime_call_cancelable(cascade_runtime_task *self, uint32_t shard,
					       const cascade_runtime_type *type, void *argument)
{
	return database_report(call_cancelable(self, shard, type, argument));
}

static struct status post(cascade_runtime_task *self, uint32_t shard, const cascade_runtime_type *type,
			  void *argument, cascade_runtime_join *join)
{
	TRY(check_call(self, shard, type));
	shard_post(task_of(self), shard, type_of(type), argument, join_of(join));
	return status_ok();
}

cascade_status cascade_runtime_post(cascade_runtime_task *self, uint32_t shard,
				    const cascade_runtime_type *type, void *argument,
				    cascade_runtime_join *join)
{
	return database_report(post(self, shard, type, argument, join));
}

/* --- files --- */

static struct status open_file(cascade_runtime_task *self, const char *path, unsigned flags,
			       cascade_runtime_file **file)
{
	if (path == NULL || file == NULL || (flags & ~(unsigned)FLAGS_ALL) != 0)
		return status_error(STATUS_INVALID, "path, flags and file must be given");
	struct io_request request = { .operation = IO_OPEN, .path = path };
	if ((flags & CASCADE_RUNTIME_WRITE) != 0)
		request.flags |= IO_OPEN_WRITE;
	if ((flags & CASCADE_RUNTIME_CREATE) != 0)
		request.flags |= IO_OPEN_CREATE;
	if ((flags & CASCADE_RUNTIME_BUFFERED) != 0)
		request.flags |= IO_OPEN_BUFFERED;
	TRY(task_io(task_of(self), &request));
	*file = (cascade_runtime_file *)request.opened;
	return status_ok();
}

cascade_status cascade_runtime_open(cascade_runtime_task *self, const char *path, unsigned flags,
				    cascade_runtime_file **file)
{
	return database_report(open_file(self, path, flags, file));
}

static struct status on_file(cascade_runtime_task *self, enum io_operation operation,
			     cascade_runtime_file *file)
{
	if (file == NULL)
		return status_error(STATUS_INVALID, "file must be given");
	struct io_request request = { .operation = operation, .file = file_of(file) };
	return task_io(task_of(self), &request);
}

cascade_status cascade_runtime_close(cascade_runtime_task *self, cascade_runtime_file *file)
{
	return database_report(on_file(self, IO_CLOSE, file));
}

cascade_status cascade_runtime_sync(cascade_runtime_task *self, cascade_runtime_file *file)
{
	return database_report(on_file(self, IO_SYNC, file));
}

static struct status remove_file(cascade_runtime_task *self, const char *path)
{
	if (path == NULL)
		return status_error(STATUS_INVALID, "path must be given");
	struct io_request request = { .operation = IO_UNLINK, .path = path };
	return task_io(task_of(self), &request);
}

cascade_status cascade_runtime_remove(cascade_runtime_task *self, const char *path)
{
	return database_report(remove_file(self, path));
}

static struct status transfer_all(cascade_runtime_task *self, cascade_runtime_transfer *transfers,
				  size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (transfers[i].file == NULL || transfers[i].buffer == NULL)
			return status_error(STATUS_INVALID, "file and buffer must be given");
	}
	struct task *task = task_of(self);
	struct io_batch batch;
	io_batch_init(&batch);
	for (size_t i = 0; i < count; i++) {
		cascade_runtime_transfer *transfer = &transfers[i];
		struct io_request *request = (struct io_request *)(void *)transfer->words;
		*request = (struct io_request) { .operation = transfer->is_write ? IO_WRITE : IO_READ,
						 .file = file_of(transfer->file),
						 .buffer = transfer->buffer,
						 .length = transfer->length,
						 .offset = transfer->offset };
		io_batch_start(task_shard(task), &batch, request);
	}
	struct status status = io_batch_wait(task, &batch);
	for (size_t i = 0; i < count; i++) {
		const struct io_request *request = (const struct io_request *)(void *)transfers[i].words;
		transfers[i].status = (cascade_status)request->status.code;
		transfers[i].transferred = request->transferred;
	}
	return status;
}

cascade_status cascade_runtime_transfers(cascade_runtime_task *self, cascade_runtime_transfer *transfers,
					 size_t count)
{
	return database_report(transfer_all(self, transfers, count));
}

/* --- what a shard did --- */

static void run_count(struct task *self, void *argument)
{
	const struct shard_counters *from = shard_counters(task_shard(self));
	const struct shard_queue_counters *front = &from->queues[TASK_FOREGROUND];
	const struct shard_queue_counters *back = &from->queues[TASK_BACKGROUND];
	*(cascade_runtime_counters *)argument = (cascade_runtime_counters) {
		.turns = from->turns,
		.switches = from->switches,
		.tasks = from->tasks_spawned,
		.calls_sent = from->calls_sent,
		.calls_received = from->calls_received,
		.posts_sent = from->posts_sent,
		.post_errors = from->post_errors,
		.mailbox_waits = from->mailbox_waits,
		.cancels = from->cancels,
		.sleeps = from->sleeps,
		.foreground_runs = front->runs,
		.foreground_ns = front->run_ns,
		.foreground_wait_ns = front->wait_ns,
		.background_runs = back->runs,
		.background_ns = back->run_ns,
		.background_wait_ns = back->wait_ns,
		.overruns = from->slice_overruns,
		.overrun_name = from->slice_overrun_name,
	};
}

static const struct task_type count_request = {
	.name = "count",
	.run = run_count,
	.stack_bytes = 1024,
};

static struct status count(cascade_runtime *runtime, uint32_t shard, cascade_runtime_counters *counters)
{
	if (runtime == NULL || counters == NULL || shard >= runtime_shard_count(runtime->runtime))
		return status_error(STATUS_INVALID, "runtime, a shard of it and counters must be given");
	if (shard_current() != NULL)
		return status_error(STATUS_INVALID, "a shard's thread cannot wait for a request");
	return runtime_run_type(runtime->runtime, shard, &count_request, counters);
}

cascade_status cascade_runtime_count(cascade_runtime *runtime, uint32_t shard,
				     cascade_runtime_counters *counters)
{
	return database_report(count(runtime, shard, counters));
}
