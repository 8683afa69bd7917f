#include <string.h>

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
	bool is_remote;		/* a task of its own asks the shard */
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

static const struct task_type upkeep_call_type = {
	.name = "upkeep",
	.run = run_upkeep,
	.stack_bytes = 2560,
};

static uint32_t shard_of(const struct upkeep_call *call)
{
	return (uint32_t)(call->shard - call->shard->db->shards);
}

static void run_remote_upkeep(struct task *self, void *argument)
{
	struct upkeep_call *call = argument;
	shard_call_type(self, shard_of(call), &upkeep_call_type, call);
}

static void upkeep_from_outside(cascade *db, struct upkeep_call *calls)
{
	for (uint32_t i = 0; i < db->shard_count; i++) {
		struct request *request = &calls[i].request;
		request_init_type(request, &upkeep_call_type, &calls[i]);
		if (!status_is_ok(runtime_submit(db->runtime, i, request))) {
			runtime_run_type(db->runtime, i, &upkeep_call_type, &calls[i]);
			future_complete(&request->future);
		}
	}
	for (uint32_t i = 0; i < db->shard_count; i++)
		future_wait(&calls[i].request.future);
}

/* The other shards are asked by tasks of their own, so that all work at the same time. */
MAY_SUSPEND static void upkeep_from_task(struct task *self, cascade *db, struct upkeep_call *calls)
{
	static const struct task_type remote_type = {
		.name = "remote upkeep",
		.run = run_remote_upkeep,
		.stack_bytes = 1024,
	};
	uint32_t here = shard_index(task_shard(self));
	struct join join;
	join_init(&join);
	for (uint32_t i = 0; i < db->shard_count; i++) {
		calls[i].is_remote = i != here && status_is_ok(task_spawn(task_shard(self), &remote_type,
									  &calls[i], TASK_FOREGROUND, &join));
	}
	for (uint32_t i = 0; i < db->shard_count; i++) {
		if (!calls[i].is_remote)
			database_call(db, i, &upkeep_call_type, &calls[i]);
	}
	join_wait(self, &join);
}

/* On all shards, side by side; the first error counts. */
static struct status upkeep_each(cascade *db,
				 MAY_SUSPEND struct status (*function)(struct task *, struct store *))
{
	struct upkeep_call *calls = memory_allocate_zeroed(db->shard_count, sizeof(*calls));
	if (calls == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (uint32_t i = 0; i < db->shard_count; i++) {
		calls[i].shard = &db->shards[i];
		calls[i].function = function;
	}
	struct task *self = database_task(db);
	if (self == NULL)
		upkeep_from_outside(db, calls);
	else
		upkeep_from_task(self, db, calls);
	struct status status = status_ok();
	for (uint32_t i = 0; i < db->shard_count; i++)
		status_keep_first(&status, calls[i].status);
	memory_free(calls);
	return status;
}

struct status upkeep_all(cascade *db, MAY_SUSPEND struct status (*function)(struct task *, struct store *))
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
	struct shard_overrun overruns[SHARD_OVERRUNS_MAX];
};

static void run_stats(struct task *self, void *argument)
{
	struct stats_call *call = argument;
	call->count = 0;
	memcpy(call->overruns, shard_counters(task_shard(self))->overruns, sizeof(call->overruns));
	if (call->shard->closing)
		return;
	call->count = call->shard->store->ops->stats(call->shard->store, call->stats);
}

static const struct task_type stats_call_type = {
	.name = "stats",
	.run = run_stats,
	.stack_bytes = 1536,
};

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

enum { DATABASE_STATS = 6, NAME_BYTES = 64 };

/* What the caller gets, as one piece of memory. The names of tasks that overran are made here. */
struct stats_result {
	cascade_stat stats[STORE_STATS_MAX + DATABASE_STATS + SHARD_OVERRUNS_MAX];
	char names[SHARD_OVERRUNS_MAX][NAME_BYTES];
};

static void name_overrun(char name[NAME_BYTES], const char *task)
{
	static const char prefix[] = "runtime.overruns.";
	size_t size = strnlen(task, NAME_BYTES - sizeof(prefix));
	memcpy(name, prefix, sizeof(prefix) - 1);
	memcpy(name + sizeof(prefix) - 1, task, size);
	name[sizeof(prefix) - 1 + size] = '\0';
}

/* Tasks that overran, by type, over all shards: "runtime.overruns.merge". */
static void add_overruns(const struct shard_overrun *sums, struct stats_result *result, size_t *count)
{
	for (unsigned i = 0; i < SHARD_OVERRUNS_MAX && sums[i].name != NULL; i++) {
		name_overrun(result->names[i], sums[i].name);
		result->stats[(*count)++] = (cascade_stat) { result->names[i], sums[i].count, false };
	}
}

/* On a task's stack: nothing of a library's that could be deep. */
static bool same_name(const char *a, const char *b)
{
	size_t size = strlen(a);
	return strlen(b) == size && memcmp(a, b, size) == 0;
}

static void sum_overruns(struct shard_overrun *sums, const struct shard_overrun *overruns)
{
	for (unsigned i = 0; i < SHARD_OVERRUNS_MAX && overruns[i].name != NULL; i++) {
		unsigned at = 0;
		while (at < SHARD_OVERRUNS_MAX && sums[at].name != NULL &&
		       !same_name(sums[at].name, overruns[i].name))
			at++;
		if (at == SHARD_OVERRUNS_MAX)
			continue;
		sums[at].name = overruns[i].name;
		sums[at].count += overruns[i].count;
	}
}

static void sum_stats(cascade *db, struct stats_call *call, struct stats_result *result, size_t *count)
{
	struct shard_overrun overruns[SHARD_OVERRUNS_MAX] = { 0 };
	cascade_stat *stats = result->stats;
	*count = 0;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		call->shard = &db->shards[i];
		database_call(db, i, &stats_call_type, call);
		sum_overruns(overruns, call->overruns);
		for (size_t s = 0; s < call->count; s++) {
			stats[s].name = call->stats[s].name;
			stats[s].value += call->stats[s].value;
			stats[s].is_gauge = call->stats[s].is_gauge;
		}
		*count = call->count;
	}
	add_open_stats(db, stats, count);
	add_overruns(overruns, result, count);
}

static struct status make_stats(cascade *db, cascade_stat **stats, size_t *count)
{
	struct stats_call *call = memory_allocate(sizeof(*call));
	struct stats_result *result = memory_allocate_zeroed(1, sizeof(*result));
	if (call == NULL || result == NULL) {
		memory_free(call);
		memory_free(result);
		return status_make(STATUS_NO_MEMORY);
	}
	sum_stats(db, call, result, count);
	memory_free(call);
	*stats = result->stats;
	return status_ok();
}

struct status stats_collect(cascade *db, cascade_stat **stats, size_t *count)
{
	if (db == NULL || stats == NULL || count == NULL)
		return status_error(STATUS_INVALID, "db, stats and count must be given");
	atomic_fetch_add(&db->visitors, 1);
	struct status status = make_stats(db, stats, count);
	atomic_fetch_sub(&db->visitors, 1);
	return status;
}

cascade_status cascade_stats(cascade *db, cascade_stat **stats, size_t *count)
{
	return database_report(stats_collect(db, stats, count));
}

void cascade_stats_free(cascade_stat *stats)
{
	memory_free(stats);
}
