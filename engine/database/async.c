/*
 * The calls of cascade.h that return a future. Those of one key go to the shard that owns it; the others are
 * done by a task, as the blocking forms do them. Arguments are checked before anything starts.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "database/database_internal.h"

#include "base/poison.h"

/* Where a task does what belongs to no shard. */
static uint32_t any_shard(const cascade_future *future, const void *object)
{
	if (future->from_task)
		return future->origin;
	return (uint32_t)(((uintptr_t)object >> 6) % future->db->shard_count);
}

/* Hands the started future to the caller; if it could not be started, frees it. */
static struct status started(cascade_future *future, struct status status, cascade_future **result)
{
	if (status_is_ok(status))
		*result = future;
	else
		future_free(future);
	return status;
}

static struct status check_result(const cascade *db, cascade_future *const *result)
{
	if (db == NULL || result == NULL)
		return status_error(STATUS_INVALID, "db and future must be given");
	return status_ok();
}

/* --- writes --- */

static struct status start_write(cascade_future *future)
{
	uint32_t shard = (uint32_t)(future->write.shard - future->db->shards);
	return future_start(future, shard, &write_call_type, &future->write, write_call_attempt,
			    &future->write.status);
}

static struct status write_one(cascade *db, enum entry_kind kind, cascade_slice key, cascade_slice value,
			       const cascade_write_options *options, cascade_future **result)
{
	cascade_future *future;
	TRY(check_result(db, result));
	TRY(future_make(db, &future));
	struct status status = write_call_single(&future->write, db, kind, key, value, options);
	if (status_is_ok(status))
		status = start_write(future);
	return started(future, status, result);
}

cascade_status cascade_put_async(cascade *db, cascade_slice key, cascade_slice value,
				 const cascade_write_options *options, cascade_future **future)
{
	return database_report(write_one(db, ENTRY_PUT, key, value, options, future));
}

cascade_status cascade_delete_async(cascade *db, cascade_slice key, const cascade_write_options *options,
				    cascade_future **future)
{
	return database_report(write_one(db, ENTRY_DELETE, key, cascade_bytes(NULL, 0), options, future));
}

static struct status write_batch(cascade *db, const cascade_batch *batch,
				 const cascade_write_options *options, cascade_future **result)
{
	cascade_future *future;
	TRY(check_result(db, result));
	TRY(future_make(db, &future));
	struct status status = write_call_batch(&future->write, db, batch, options);
	if (status_is_ok(status) && cascade_batch_count(batch) > 0) {
		status = start_write(future);
	} else if (status_is_ok(status)) {
		future->write.status = status_ok();
		future_end_at_once(future, &future->write.status);
	}
	return started(future, status, result);
}

cascade_status cascade_write_async(cascade *db, const cascade_batch *batch,
				   const cascade_write_options *options, cascade_future **future)
{
	return database_report(write_batch(db, batch, options, future));
}

/* --- reads --- */

static struct status get_value(cascade *db, cascade_slice key, const cascade_read_options *options,
			       cascade_value *value, cascade_future **result)
{
	cascade_future *future;
	TRY(check_result(db, result));
	TRY(future_make(db, &future));
	struct get_call *call = &future->get;
	struct status status = get_call_make(call, db, key, options, value);
	if (status_is_ok(status))
		status = future_start(future, (uint32_t)(call->shard - db->shards), &get_call_type, call,
				      get_call_attempt, &call->status);
	return started(future, status, result);
}

cascade_status cascade_get_async(cascade *db, cascade_slice key, const cascade_read_options *options,
				 cascade_value *value, cascade_future **future)
{
	return database_report(get_value(db, key, options, value, future));
}

static void run_iterator(struct task *self, void *argument)
{
	(void)self;
	struct iterator_work *work = argument;
	work->status =
		work->is_seek ? iterator_seek_to(work->iterator, work->key) : iterator_step(work->iterator);
}

static const struct task_type iterator_async_type = {
	.name = "iterate",
	.run = run_iterator,
	.stack_bytes = 3072,
};

static struct status move_iterator(const struct iterator_work *work, cascade_future **result)
{
	cascade_future *future;
	if (work->iterator == NULL || (work->key.data == NULL && work->key.size > 0) || result == NULL)
		return status_error(STATUS_INVALID, "iterator, key and future must be given");
	TRY(future_make(iterator_database(work->iterator), &future));
	future->iterator = *work;
	future->iterator.status = status_make(STATUS_CANCELED);
	const struct status *status = &future->iterator.status;
	if (!work->is_seek && iterator_step_is_short(work->iterator)) {
		future->iterator.status = iterator_step(work->iterator);
		future_end_at_once(future, status);
		return started(future, status_ok(), result);
	}
	return started(future,
		       future_start(future, any_shard(future, work->iterator), &iterator_async_type,
				    &future->iterator, NULL, status),
		       result);
}

cascade_status cascade_iterator_seek_async(cascade_iterator *iterator, cascade_slice key,
					   cascade_future **future)
{
	const struct iterator_work work = { .iterator = iterator, .key = key, .is_seek = true };
	return database_report(move_iterator(&work, future));
}

cascade_status cascade_iterator_next_async(cascade_iterator *iterator, cascade_future **future)
{
	const struct iterator_work work = { .iterator = iterator };
	return database_report(move_iterator(&work, future));
}

/* --- upkeep --- */

static void run_upkeep(struct task *self, void *argument)
{
	(void)self;
	struct upkeep_work *work = argument;
	work->status = upkeep_all(work->db, work->function);
}

static const struct task_type upkeep_async_type = {
	.name = "upkeep of all",
	.run = run_upkeep,
	.stack_bytes = 3072,
};

static struct status keep_up(cascade *db,
			     MAY_SUSPEND struct status (*function)(struct task *, struct store *),
			     cascade_future **result)
{
	cascade_future *future;
	TRY(check_result(db, result));
	TRY(future_make(db, &future));
	struct upkeep_work *work = &future->upkeep;
	*work = (struct upkeep_work) { .db = db,
				       .function = function,
				       .status = status_make(STATUS_CANCELED) };
	struct status status = future_start(future, any_shard(future, future), &upkeep_async_type, work, NULL,
					    &work->status);
	return started(future, status, result);
}

cascade_status cascade_flush_async(cascade *db, cascade_future **future)
{
	return database_report(keep_up(db, db != NULL ? db->store_ops->flush : NULL, future));
}

cascade_status cascade_wait_idle_async(cascade *db, cascade_future **future)
{
	return database_report(keep_up(db, db != NULL ? db->store_ops->wait_idle : NULL, future));
}

cascade_status cascade_verify_async(cascade *db, cascade_future **future)
{
	return database_report(keep_up(db, db != NULL ? db->store_ops->verify : NULL, future));
}

static void run_stats(struct task *self, void *argument)
{
	(void)self;
	struct stats_work *work = argument;
	work->status = stats_collect(work->db, work->stats, work->count);
}

static const struct task_type stats_async_type = {
	.name = "stats of all",
	.run = run_stats,
	.stack_bytes = 3584,
};

static struct status get_stats(cascade *db, cascade_stat **stats, size_t *count, cascade_future **result)
{
	cascade_future *future;
	TRY(check_result(db, result));
	if (stats == NULL || count == NULL)
		return status_error(STATUS_INVALID, "stats and count must be given");
	TRY(future_make(db, &future));
	struct stats_work *work = &future->stats;
	*work = (struct stats_work) {
		.db = db, .stats = stats, .count = count, .status = status_make(STATUS_CANCELED)
	};
	struct status status =
		future_start(future, any_shard(future, future), &stats_async_type, work, NULL, &work->status);
	return started(future, status, result);
}

cascade_status cascade_stats_async(cascade *db, cascade_stat **stats, size_t *count, cascade_future **future)
{
	return database_report(get_stats(db, stats, count, future));
}
