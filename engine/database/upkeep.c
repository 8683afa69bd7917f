#include "base/assert.h"
#include "base/memory.h"
#include "database/database_internal.h"
#include "database/root.h"

#include "base/poison.h"

/* One of the store's functions that take no arguments, for one shard. */
struct upkeep_call {
	struct database_shard *shard;
	MAY_SUSPEND struct status (*function)(struct task *self, struct store *store);
	struct status status;
	struct request request; /* of a thread that is no shard's */
};

static void run_upkeep(struct task *self, void *argument)
{
	struct upkeep_call *call = argument;
	call->status = status_make(STATUS_CLOSED);
	if (!database_enter(call->shard))
		return;
	call->status = call->function(self, call->shard->store);
	database_leave(call->shard);
}

/* On all shards, side by side where the caller is no task; the first error counts. */
static struct status upkeep_each(cascade *db,
				 MAY_SUSPEND struct status (*function)(struct task *, struct store *))
{
	struct upkeep_call *calls = memory_allocate_zeroed(db->shard_count, sizeof(*calls));
	if (calls == NULL)
		return status_make(STATUS_NO_MEMORY);
	bool outside = database_task(db) == NULL;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		struct upkeep_call *call = &calls[i];
		call->shard = &db->shards[i];
		call->function = function;
		request_init(&call->request, run_upkeep, call);
		if (!outside || !status_is_ok(runtime_submit(db->runtime, i, &call->request))) {
			database_call(db, i, run_upkeep, call);
			future_complete(&call->request.future);
		}
	}
	struct status status = status_ok();
	for (uint32_t i = 0; i < db->shard_count; i++) {
		if (outside)
			future_wait(&calls[i].request.future);
		status_keep_first(&status, calls[i].status);
	}
	memory_free(calls);
	return status;
}

static struct status upkeep_all(cascade *db,
				MAY_SUSPEND struct status (*function)(struct task *, struct store *))
{
	if (db == NULL)
		return status_error(STATUS_INVALID, "db must be given");
	atomic_fetch_add(&db->visitors, 1);
	struct status status = upkeep_each(db, function);
	atomic_fetch_sub(&db->visitors, 1);
	return status;
}

cascade_status cascade_flush(cascade *db)
{
	return database_report(upkeep_all(db, db != NULL ? db->store_ops->flush : NULL));
}

cascade_status cascade_wait_idle(cascade *db)
{
	return database_report(upkeep_all(db, db != NULL ? db->store_ops->wait_idle : NULL));
}

cascade_status cascade_verify(cascade *db)
{
	return database_report(upkeep_all(db, db != NULL ? db->store_ops->verify : NULL));
}

/* --- stats --- */

struct stats_call {
	struct database_shard *shard;
	struct store_stat stats[STORE_STATS_MAX];
	size_t count;
};

static void run_stats(struct task *self, void *argument)
{
	(void)self;
	struct stats_call *call = argument;
	call->count = 0;
	if (call->shard->closing)
		return;
	call->count = call->shard->store->ops->stats(call->shard->store, call->stats);
}

struct open_sums {
	uint64_t commits, bytes, ring, trimmed;
};

static void add_open_stats(const cascade *db, cascade_stat *stats, size_t *count)
{
	struct open_sums sums = { 0 };
	for (uint32_t i = 0; i < db->shard_count; i++) {
		const struct store_open_report *report = &db->shards[i].report;
		sums.commits += report->replayed_commits;
		sums.bytes += report->replayed_bytes;
		sums.ring += report->ring_bytes;
		sums.trimmed += report->trimmed_bytes;
	}
	stats[(*count)++] = (cascade_stat) { "open.replayed_commits", sums.commits, true };
	stats[(*count)++] = (cascade_stat) { "open.replayed_bytes", sums.bytes, true };
	stats[(*count)++] = (cascade_stat) { "open.ring_bytes", sums.ring, true };
	stats[(*count)++] = (cascade_stat) { "open.trimmed_bytes", sums.trimmed, true };
	stats[(*count)++] = (cascade_stat) { "memory.budget", db->options.memory, true };
	stats[(*count)++] = (cascade_stat) { "shards", db->shard_count, true };
}

enum { DATABASE_STATS = 6 };

static struct status collect_stats(cascade *db, cascade_stat **result, size_t *count)
{
	struct stats_call *call = memory_allocate(sizeof(*call));
	cascade_stat *stats = memory_allocate_zeroed(STORE_STATS_MAX + DATABASE_STATS, sizeof(cascade_stat));
	if (call == NULL || stats == NULL) {
		memory_free(call);
		memory_free(stats);
		return status_make(STATUS_NO_MEMORY);
	}
	*count = 0;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		call->shard = &db->shards[i];
		database_call(db, i, run_stats, call);
		for (size_t s = 0; s < call->count; s++) {
			stats[s].name = call->stats[s].name;
			stats[s].value += call->stats[s].value;
			stats[s].is_gauge = call->stats[s].is_gauge;
		}
		*count = call->count;
	}
	add_open_stats(db, stats, count);
	memory_free(call);
	*result = stats;
	return status_ok();
}

cascade_status cascade_stats(cascade *db, cascade_stat **stats, size_t *count)
{
	if (db == NULL || stats == NULL || count == NULL)
		return database_report(status_error(STATUS_INVALID, "db, stats and count must be given"));
	atomic_fetch_add(&db->visitors, 1);
	struct status status = collect_stats(db, stats, count);
	atomic_fetch_sub(&db->visitors, 1);
	return database_report(status);
}

void cascade_stats_free(cascade_stat *stats)
{
	memory_free(stats);
}
