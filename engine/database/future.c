/*
 * Futures: work that was started and may be waited for, canceled, or told about.
 *
 * What a thread starts is a request to a shard, or done at once on a shard that the thread can borrow. What a
 * task starts is a task of the same shard, which goes to another one if need be: so the task's shard alone
 * touches what waits for the end. A function of the embedder's (run.c) is a task of its own wherever it runs,
 * and its end travels back.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "database/database_internal.h"

#include "base/poison.h"

enum { FOREIGN_LOOK_NS = 20 * 1000 };

/* --- starting --- */

struct status future_make(cascade *db, cascade_future **result)
{
	cascade_future *future = memory_allocate_zeroed(1, sizeof(*future));
	if (future == NULL)
		return status_make(STATUS_NO_MEMORY);
	future->db = db;
	request_init(&future->request, NULL, NULL);
	struct task *self = database_task(db);
	future->from_task = self != NULL;
	if (self != NULL)
		future->origin = shard_index(task_shard(self));
	atomic_fetch_add(&db->handles, 1);
	*result = future;
	return status_ok();
}

void future_free(cascade_future *future)
{
	atomic_fetch_sub(&future->db->handles, 1);
	memory_free(future);
}

/* By a task of the shard where it was started. Whoever is told may free it. */
void future_tell(cascade_future *future)
{
	void (*callback)(void *context) = future->callback;
	void *context = future->context;
	future->told = true;
	if (future->waiter != NULL)
		task_resume(future->waiter);
	if (callback != NULL)
		call_on_thread_stack(callback, context);
}

static void run_async(struct task *self, void *argument)
{
	cascade_future *future = argument;
	future->task = self;
	if (future->canceled) {
		/* Its status says so. */
	} else if (future->shard == future->origin) {
		future->type->run(self, future->argument);
	} else {
		struct status status =
			shard_call_cancelable(self, future->shard, future->type, future->argument);
		(void)status; /* the work has its own */
	}
	future->task = NULL;
	future_tell(future);
}

static const struct task_type async_task = {
	.name = "async",
	.run = run_async,
	.stack_bytes = 3584,
};

/* On the thread's own stack. */
static bool attempt_here(cascade_future *future)
{
	struct runtime *runtime = future->db->runtime;
	if (future->request.attempt == NULL || shard_current() != NULL ||
	    !runtime_borrow(runtime, future->shard))
		return false;
	bool done = future->request.attempt(future->request.argument);
	runtime_return(runtime, future->shard);
	return done;
}

static struct status start_from_thread(cascade_future *future, bool (*attempt)(void *argument))
{
	request_init_type(&future->request, future->type, future->argument);
	future->request.attempt = attempt;
	if (attempt_here(future)) {
		future_complete(&future->request.future);
		return status_ok();
	}
	struct status status = runtime_submit(future->db->runtime, future->shard, &future->request);
	return status_is_ok(status) ? status
				    : status_error(STATUS_BUSY, "shard %u has as many requests as it takes",
						   future->shard);
}

struct status future_start(cascade_future *future, uint32_t shard, const struct task_type *type,
			   void *argument, bool (*attempt)(void *argument), const struct status *result)
{
	future->shard = shard;
	future->type = type;
	future->argument = argument;
	future->result = result;
	if (!future->from_task)
		return start_from_thread(future, attempt);
	if (attempt != NULL && shard == future->origin && attempt(argument)) {
		future->told = true;
		return status_ok();
	}
	return task_spawn(task_shard(task_current()), &async_task, future, TASK_FOREGROUND, NULL);
}

void future_end_at_once(cascade_future *future, const struct status *result)
{
	future->result = result;
	if (future->from_task)
		future->told = true;
	else
		future_complete(&future->request.future);
}

/* --- waiting and asking --- */

static struct status told_elsewhere(void)
{
	return status_error(STATUS_INVALID, "a future of a task is for tasks of the same shard only");
}

/* Whether the caller is where a task's future may be touched. */
static bool is_at_origin(const cascade_future *future)
{
	struct task *self = database_task(future->db);
	return self != NULL && shard_index(task_shard(self)) == future->origin;
}

static void wait_for_told(struct task *self, cascade_future *future)
{
	while (!future->told) {
		future->waiter = self;
		task_suspend(self);
	}
}

cascade_status cascade_future_wait(cascade_future *future)
{
	if (future == NULL)
		return database_report(status_error(STATUS_INVALID, "future must be given"));
	struct task *self = database_task(future->db);
	if (future->from_task) {
		if (!is_at_origin(future))
			return database_report(told_elsewhere());
		wait_for_told(self, future);
	} else if (self != NULL) {
		/* A thread's future, waited for by a task: its shard's thread must not block. */
		while (!future_poll(&future->request.future))
			task_sleep(self, FOREIGN_LOOK_NS);
	} else {
		future_wait(&future->request.future);
	}
	struct status status = *future->result;
	future_free(future);
	return database_report(status);
}

bool cascade_future_done(const cascade_future *future)
{
	if (future == NULL)
		return false;
	return future->from_task ? future->told : future_poll(&future->request.future);
}

static void run_cancel(struct task *self, void *argument)
{
	(void)self;
	cascade_future *future = argument;
	future->canceled = true;
	if (future->task != NULL)
		task_cancel(future->task);
}

static const struct task_type cancel_call_type = {
	.name = "cancel",
	.run = run_cancel,
	.stack_bytes = 1024,
};

static struct status future_cancel(cascade_future *future)
{
	if (future == NULL)
		return status_error(STATUS_INVALID, "future must be given");
	struct task *self = database_task(future->db);
	if (!future->is_user && !future->from_task)
		runtime_cancel(future->db->runtime, future->shard, &future->request);
	else if (self == NULL && shard_current() != NULL)
		return status_error(STATUS_INVALID, "a callback cannot wait, and so not cancel a task");
	else if (future->is_user)
		database_call(future->db, future->shard, &cancel_call_type, future);
	else if (!is_at_origin(future))
		return told_elsewhere();
	else
		run_cancel(self, future);
	return status_ok();
}

cascade_status cascade_future_cancel(cascade_future *future)
{
	return database_report(future_cancel(future));
}

static struct status future_then(cascade_future *future, cascade_callback *callback, void *context)
{
	if (future == NULL || callback == NULL)
		return status_error(STATUS_INVALID, "future and callback must be given");
	if (future->from_task && !is_at_origin(future))
		return told_elsewhere();
	if (future->has_callback)
		return status_error(STATUS_INVALID, "the future has a callback");
	future->has_callback = true;
	if (!future->from_task) {
		future_on_done(&future->request.future, callback, context);
	} else if (future->told) {
		call_on_thread_stack(callback, context);
	} else {
		future->callback = callback;
		future->context = context;
	}
	return status_ok();
}

cascade_status cascade_future_on_done(cascade_future *future, cascade_callback *callback, void *context)
{
	return database_report(future_then(future, callback, context));
}
