/*
 * The caller's functions as tasks. Each gets a task of its own with a stack of 64 KiB, so that it may wait
 * for other shards; whoever waits for its end is told by a future (a thread) or by a call back (a task).
 */
#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "database/database_internal.h"

#include "base/poison.h"

enum { USER_STACK_BYTES = 64 << 10, FOREIGN_LOOK_NS = 20 * 1000 };

struct cascade_future {
	cascade *db;
	uint32_t shard; /* where the function runs */
	cascade_task_function *function;
	void *argument;
	struct status status; /* of getting it to run */
	struct future ended;  /* for a thread that waits */
	/* For a task: its shard, told by a call; touched there only. */
	bool from_task;
	uint32_t origin;
	bool told;
	struct task *waiter;
};

/* On the origin's shard: the end is known. */
static void run_tell(struct task *self, void *argument)
{
	(void)self;
	struct cascade_future *future = argument;
	future->told = true;
	if (future->waiter != NULL)
		task_resume(future->waiter);
}

static void tell_origin(struct task *self, struct cascade_future *future)
{
	if (!future->from_task) {
		future_complete(&future->ended);
		return;
	}
	if (shard_index(task_shard(self)) == future->origin)
		run_tell(self, future);
	else
		shard_call(self, future->origin, run_tell, future);
}

static void run_user(struct task *self, void *argument)
{
	struct cascade_future *future = argument;
	future->function(future->db, future->argument);
	/* Before the end is told: whoever hears of it may close the database. */
	atomic_fetch_sub(&future->db->handles, 1);
	tell_origin(self, future);
}

static const struct task_type user_task = { "user", run_user, USER_STACK_BYTES };

static void run_spawn(struct task *self, void *argument)
{
	struct cascade_future *future = argument;
	future->status = task_spawn(task_shard(self), &user_task, future, TASK_FOREGROUND, NULL);
	if (!status_is_ok(future->status))
		atomic_fetch_sub(&future->db->handles, 1);
}

static struct status start(cascade *db, uint32_t shard, cascade_task_function *function, void *argument,
			   cascade_future **result)
{
	if (db == NULL || function == NULL || result == NULL)
		return status_error(STATUS_INVALID, "db, function and future must be given");
	if (shard >= db->shard_count)
		return status_error(STATUS_INVALID, "shard %u: there are %u", shard, db->shard_count);
	cascade_future *future = memory_allocate_zeroed(1, sizeof(*future));
	if (future == NULL)
		return status_make(STATUS_NO_MEMORY);
	future->db = db;
	future->shard = shard;
	future->function = function;
	future->argument = argument;
	future_init(&future->ended);
	atomic_fetch_add(&db->handles, 1);
	struct task *self = database_task(db);
	future->from_task = self != NULL;
	if (self != NULL)
		future->origin = shard_index(task_shard(self));
	database_call(db, shard, run_spawn, future);
	struct status status = future->status;
	if (!status_is_ok(status)) {
		memory_free(future);
		return status;
	}
	*result = future;
	return status_ok();
}

cascade_status cascade_run_async(cascade *db, uint32_t shard, cascade_task_function *function, void *argument,
				 cascade_future **future)
{
	return database_report(start(db, shard, function, argument, future));
}

cascade_status cascade_future_wait(cascade_future *future)
{
	if (future == NULL)
		return database_report(status_error(STATUS_INVALID, "future must be given"));
	struct task *self = database_task(future->db);
	if (future->from_task) {
		/* Only where it was started is it known when it ended. */
		if (self == NULL || shard_index(task_shard(self)) != future->origin)
			return database_report(status_error(
				STATUS_INVALID,
				"a future of a task is waited for by tasks of the same shard only"));
		while (!future->told) {
			future->waiter = self;
			task_suspend(self);
		}
	} else if (self != NULL) {
		/* A thread's future, waited for by a task: its shard's thread must not block. */
		while (!future_poll(&future->ended))
			task_sleep(self, FOREIGN_LOOK_NS);
	} else {
		future_wait(&future->ended);
	}
	struct status status = future->status;
	memory_free(future);
	return database_report(status);
}

bool cascade_future_done(const cascade_future *future)
{
	if (future == NULL)
		return false;
	return future->from_task ? future->told : future_poll(&future->ended);
}

cascade_status cascade_run(cascade *db, cascade_slice key, cascade_task_function *function, void *argument)
{
	if (db == NULL || key.size > CASCADE_KEY_BYTES_MAX || (key.data == NULL && key.size > 0))
		return database_report(
			status_error(STATUS_INVALID, "db and a key of legal size must be given"));
	cascade_future *future;
	cascade_status status = cascade_run_async(db, database_route(db, hash_key(slice_of(key))), function,
						  argument, &future);
	return status == CASCADE_OK ? cascade_future_wait(future) : status;
}

void cascade_sleep(cascade *db, uint64_t nanoseconds)
{
	struct task *self = database_task(db);
	if (self != NULL)
		task_sleep(self, nanoseconds);
	else
		clock_sleep_ns(nanoseconds);
}

void cascade_yield(cascade *db)
{
	struct task *self = database_task(db);
	if (self != NULL)
		task_yield(self);
}
