/*
 * The caller's functions as tasks. Each gets a task of its own with a stack of 64 KiB, so that it may wait
 * for other shards. However many there are, they do not count as requests to their shard.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "database/database_internal.h"

#include "base/poison.h"

static void run_tell(struct task *self, void *argument)
{
	(void)self;
	future_tell(argument);
}

static const struct task_type tell_post = {
	.name = "tell",
	.run = run_tell,
	.stack_bytes = 1024,
};

static void run_user(struct task *self, void *argument)
{
	cascade_future *future = argument;
	future->task = self;
	if (!future->canceled) {
		task_publish(self); /* the function is the user's, and may take any time */
		future->user.function(future->db, future->user.argument);
		future->user.status = status_ok();
	}
	future->task = NULL;
	if (!future->from_task)
		future_complete(&future->request.future);
	else if (shard_index(task_shard(self)) == future->origin)
		future_tell(future);
	else
		shard_post(self, future->origin, &tell_post, future, NULL);
}

/* What cascade.h promises. */
static const struct task_type user_task = {
	.name = "user",
	.run = run_user,
	.stack_bytes = 65536,
};

static void run_spawn(struct task *self, void *argument)
{
	cascade_future *future = argument;
	future->user.spawned = task_spawn(task_shard(self), &user_task, future, TASK_FOREGROUND, NULL);
}

static const struct task_type spawn_call_type = {
	.name = "spawn",
	.run = run_spawn,
	.stack_bytes = 1024,
};

static struct status start(cascade *db, uint32_t shard, cascade_task_function *function, void *argument,
			   cascade_future **result)
{
	if (db == NULL || function == NULL || result == NULL)
		return status_error(STATUS_INVALID, "db, function and future must be given");
	if (shard >= db->shard_count)
		return status_error(STATUS_INVALID, "shard %u: there are %u", shard, db->shard_count);
	cascade_future *future;
	TRY(future_make(db, &future));
	future->is_user = true;
	future->shard = shard;
	future->user = (struct user_work) { .function = function, .argument = argument };
	future->user.status = status_make(STATUS_CANCELED);
	future->result = &future->user.status;
	database_call(db, shard, &spawn_call_type, future);
	struct status spawned = future->user.spawned;
	if (status_is_ok(spawned))
		*result = future;
	else
		future_free(future);
	return spawned;
}

cascade_status cascade_run_async(cascade *db, uint32_t shard, cascade_task_function *function, void *argument,
				 cascade_future **future)
{
	return database_report(start(db, shard, function, argument, future));
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

bool cascade_canceled(cascade *db)
{
	struct task *self = database_task(db);
	return self != NULL && task_is_canceled(self);
}

/* A cancel ends the sleep that it meets, and no later one: a loop of sleeps that never asks must not spin. */
void cascade_sleep(cascade *db, uint64_t nanoseconds)
{
	struct task *self = database_task(db);
	if (self == NULL) {
		clock_sleep_ns(nanoseconds);
	} else if (task_is_canceled(self)) {
		task_sleep(self, nanoseconds);
	} else {
		struct status status = task_sleep_cancelable(self, nanoseconds);
		(void)status;
	}
}

void cascade_yield(cascade *db)
{
	struct task *self = database_task(db);
	if (self != NULL)
		task_yield(self);
}
