#include "base/assert.h"
#include "base/batch.h"
#include "base/hash.h"
#include "base/planted.h"
#include "tree/tree_internal.h"

#include "base/poison.h"

enum {
	STOPPED_LOOK_NS = 500 * 1000,	   /* how often a stopped writer looks again */
	DELAYED_LOOK_NS = 2 * 1000 * 1000, /* and a delayed one: it may go earlier than it was told */
};

/* --- room: when a write may go --- */

static uint64_t memtable_bytes_held(const struct tree *tree)
{
	uint64_t bytes = tree->active->arena.reserved_bytes;
	for (const struct list *at = tree->immutables.next; at != &tree->immutables; at = at->next)
		bytes += CONTAINER_OF(at, struct memtable_slot, link)->arena.reserved_bytes;
	return bytes;
}

/* What the flush under way has already put into its table counts as drained, so that delay follows its
 * progress instead of jumping at its end. */
static uint64_t memtable_bytes_drained(const struct tree *tree)
{
	if (list_is_empty(&tree->immutables))
		return 0;
	const struct memtable_slot *oldest = CONTAINER_OF(tree->immutables.next, struct memtable_slot, link);
	if (oldest->user_bytes == 0)
		return 0;
	uint64_t flushed =
		oldest->flushed_bytes < oldest->user_bytes ? oldest->flushed_bytes : oldest->user_bytes;
	return oldest->arena.reserved_bytes / 1024 * (flushed * 1024 / oldest->user_bytes);
}

static void update_level0_fill(struct tree *tree)
{
	uint32_t slow;
	uint32_t stop;
	tree->options.policy->level0_limits(tree->options.policy_options, &slow, &stop);
	uint64_t count = tree->versions.current->levels[0].count;
	ASSERT(slow > 0 && stop > slow);
	if (count < slow)
		pacer_set_fill(&tree->pacer, PACING_LEVEL0, count, 2 * (uint64_t)slow);
	else
		pacer_set_fill(&tree->pacer, PACING_LEVEL0, stop - slow + (count - slow),
			       2 * (uint64_t)(stop - slow));
}

void tree_update_pacing(struct tree *tree)
{
	uint64_t held = memtable_bytes_held(tree);
	uint64_t budget = tree->options.memtable_bytes;
	uint64_t used = held >= budget ? budget : held - memtable_bytes_drained(tree);
	pacer_set_fill(&tree->pacer, PACING_MEMTABLES, used, budget);
	update_level0_fill(tree);
	if (tree->wal != NULL && tree->logging) {
		uint64_t live = wal_counters(tree->wal)->live_bytes;
		pacer_set_fill(&tree->pacer, PACING_LOG, live, live + wal_room(tree->wal) + 1);
	}
	/* The more is owed, the more of a turn the background gets, from a quarter to nearly all, and the
	 * less it gives way to reads: not at all where writers would be delayed next. */
	uint32_t pressure = pacer_pressure(&tree->pacer);
	uint32_t share = 64 + pressure * 176 / PACING_FULL;
	shard_set_background_share(tree->options.shard, share);
	io_set_haste(shard_io(tree->options.shard), pressure * IO_HASTE_MAX / PACING_FREE);
}

static struct status write_refusal(const struct tree *tree)
{
	if (tree->closing)
		return status_make(STATUS_CLOSED);
	if (!status_is_ok(tree->failure))
		return tree->failure;
	return wal_health(tree->wal);
}

/* What a writer is told that waited in vain: the trouble that kept the background from draining. */
static struct status write_timeout(struct tree *tree)
{
	tree->counters.write_timeouts++;
	if (!status_is_ok(tree->trouble))
		return tree->trouble;
	return status_error(STATUS_BUSY, "no room for the write within write_timeout");
}

MAY_SUSPEND static struct status write_wait_for_room(struct task *self, struct tree *tree, size_t bytes)
{
	struct shard *shard = tree->options.shard;
	uint64_t begin = shard_now_ns(shard);
	uint64_t place = 0;
	bool has_place = false;
	for (;;) {
		TRY(write_refusal(tree));
		uint64_t now = shard_now_ns(shard);
		uint64_t at = has_place ? pacer_again(&tree->pacer, place, now)
					: pacer_admit(&tree->pacer, bytes, now, &place);
		if (at <= now)
			return status_ok();
		has_place |= at != UINT64_MAX;
		/* A full device is told at once: the caller may make room. */
		if (at == UINT64_MAX && status_is(tree->trouble, STATUS_NO_SPACE))
			return tree->trouble;
		if (now - begin >= tree->options.write_timeout_ns)
			return write_timeout(tree);
		tree->counters.write_waits++;
		if (at == UINT64_MAX) {
			TRY(task_sleep_cancelable(self, STOPPED_LOOK_NS));
			tree_rotate_if_due(tree);
			tree_schedule(tree);
		} else {
			uint64_t wait_ns = at - now < DELAYED_LOOK_NS ? at - now : DELAYED_LOOK_NS;
			TRY(task_sleep_cancelable(self, wait_ns));
		}
		tree_update_pacing(tree);
	}
}

/* --- apply: into the memtable --- */

/* The commit of that sequence, and none after it, comes into memory: it is in the log, and found at the next
 * open. */
static void tree_fail(struct tree *tree, struct status status, uint64_t sequence)
{
	if (status_is_ok(tree->failure))
		tree->failure = status;
	if (tree->unapplied_from > sequence)
		tree->unapplied_from = sequence;
	wait_list_wake_all(&tree->progress);
}

/* No reader needs versions of a key older than the newest one at or below this. */
static uint64_t oldest_needed(const struct tree *tree, uint64_t sequence)
{
	uint64_t oldest = tree->options.oldest_snapshot(tree->options.context);
	return oldest < sequence ? oldest : sequence;
}

struct status tree_rotate(struct tree *tree)
{
	struct memtable_slot *fresh = memtable_slot_create(&tree->options, &tree->chunks);
	if (fresh == NULL)
		return status_make(STATUS_NO_MEMORY);
	fresh->last_log_number = tree->active->last_log_number;
	fresh->last_sequence = tree->active->last_sequence;
	list_add_last(&tree->immutables, &tree->active->link);
	tree->immutable_count++;
	tree->rotations++;
	tree->active = fresh;
	return status_ok();
}

/* A log that fills up faster than the memtable (small segments, commits that leave much of them unused) can
 * only be freed by a flush. */
static bool log_needs_flush(const struct tree *tree)
{
	return tree->logging && !tree->replaying &&
	       tree->pacer.fill[PACING_LOG] > (PACING_FREE + PACING_FULL) / 2 &&
	       !memtable_slot_is_empty(tree->active);
}

void tree_rotate_if_due(struct tree *tree)
{
	/* No table gets half of a batch. */
	if (tree_lacks_commits(tree))
		return;
	if (tree->active->arena.reserved_bytes < tree->options.memtable_bytes / 2 && !log_needs_flush(tree))
		return;
	/* With a flush behind schedule the active memtable goes on: the budget is for all of them, and two
	 * halves are all it has. Pacing stops writers before the second half is full, and the end of the
	 * flush looks again. */
	if (tree->immutable_count > 0 && !tree->replaying)
		return;
	if (status_is_ok(tree_rotate(tree)) && !tree->replaying)
		tree_schedule(tree);
}

/* What the record cache has of the key is older than what the memtable is about to get. */
static inline void forget_record(struct tree *tree, struct slice key)
{
	if (tree->records != NULL && !record_cache_is_empty(tree->records) && !PLANTED(N15))
		record_cache_remove(tree->records, key, hash_key(key));
}

/* What has been put in of this batch cannot be taken out again. */
static void tree_tear(struct tree *tree, struct status status, uint64_t sequence)
{
	tree_fail(tree, status, sequence);
	tree->store.ops = &tree_torn_store;
}

static struct status apply_payload(struct tree *tree, uint64_t sequence, struct slice payload)
{
	const struct memtable_ops *ops = tree->options.memtable;
	struct memtable_slot *slot = tree->active;
	uint64_t needed = oldest_needed(tree, sequence);
	struct slice rest = payload;
	struct entry entry;
	while (rest.size > 0) {
		bool is_first = rest.size == payload.size;
		if (!batch_decode(&rest, &entry))
			return status_make(STATUS_CORRUPT);
		entry.sequence = sequence;
		forget_record(tree, entry.key);
		struct status status = ops->insert(slot->memtable, &entry, needed);
		if (!status_is_ok(status)) {
			if (!is_first)
				tree_tear(tree, status, sequence);
			return status;
		}
		slot->inserts++;
		slot->user_bytes += entry.key.size + entry.value.size;
	}
	slot->last_sequence = sequence;
	return status_ok();
}

void tree_apply(void *context, const struct wal_commit *commit)
{
	struct tree *tree = context;
	if (tree_lacks_commits(tree))
		return;
	struct status status = apply_payload(tree, commit->sequence, commit->payload);
	if (!status_is_ok(status)) {
		tree_fail(tree, status, commit->sequence);
		return;
	}
	tree->active->last_log_number = commit->log_number;
	tree_rotate_if_due(tree);
}

MAY_SUSPEND struct status tree_replay(struct task *self, void *context, const struct wal_commit *commit)
{
	struct tree *tree = context;
	const struct component *memtable = &tree->options.memtable->component;
	/* What another memtable was to keep is not lost by mistake. */
	if ((memtable->capabilities & MEMTABLE_FORGETS) != 0)
		return status_error(STATUS_UNSUPPORTED,
				    "%s: the log has commits that are in no table, and memtable.kind %s "
				    "would forget them",
				    tree->options.directory, memtable->name);
	struct status status = apply_payload(tree, commit->sequence, commit->payload);
	if (status_is(status, STATUS_CORRUPT))
		return status_error(STATUS_CORRUPT, "%s: commit %llu of the log is not a batch",
				    tree->options.directory, (unsigned long long)commit->log_number);
	TRY(status);
	tree->active->last_log_number = commit->log_number;
	tree_rotate_if_due(tree);
	/* A ring may hold more than memory does: what is full goes to a table before more is read. */
	while (tree->immutable_count > 0)
		TRY(tree_flush_oldest(self, tree));
	return status_ok();
}

/* --- write --- */

/* Durability `memory` for the whole database: no log at all. */
static struct status apply_unlogged(struct tree *tree, const struct slice *pieces, size_t count)
{
	uint64_t sequence = tree->options.next_sequence(tree->options.context);
	const struct memtable_ops *ops = tree->options.memtable;
	struct memtable_slot *slot = tree->active;
	/* A put comes in three pieces (header, key, value); a batch in one. */
	if (count == 1) {
		TRY(apply_payload(tree, sequence, pieces[0]));
	} else {
		ASSERT(count == 3);
		struct entry entry = { .key = pieces[1],
				       .value = pieces[2],
				       .sequence = sequence,
				       .kind = (enum entry_kind)pieces[0].data[0] };
		forget_record(tree, entry.key);
		TRY(ops->insert(slot->memtable, &entry, oldest_needed(tree, sequence)));
		slot->inserts++;
		slot->user_bytes += entry.key.size + entry.value.size;
		slot->last_sequence = sequence;
	}
	tree_rotate_if_due(tree);
	return status_ok();
}

struct unlogged_call {
	struct tree *tree;
	const struct slice *pieces;
	size_t count;
	struct status status;
};

static void apply_on_thread_stack(void *argument)
{
	struct unlogged_call *call = argument;
	call->status = apply_unlogged(call->tree, call->pieces, call->count);
}

static struct status write_unlogged(struct tree *tree, const struct slice *pieces, size_t count)
{
	struct unlogged_call call = { .tree = tree, .pieces = pieces, .count = count };
	call_on_thread_stack(apply_on_thread_stack, &call);
	return call.status;
}

MAY_SUSPEND struct status tree_write(struct task *self, struct store *store, const struct slice *pieces,
				     size_t count, size_t user_bytes, enum wal_durability durability)
{
	struct tree *tree = tree_of(store);
	/* A promise that nothing could keep is refused rather than broken. */
	if (!tree->logging && durability > WAL_MEMORY)
		return status_error(STATUS_UNSUPPORTED,
				    "the database was opened with durability 'memory', without a log: a "
				    "single write cannot be more durable");
	tree_update_pacing(tree);
	/* Nobody else may come to look: after a crash the ring can be full of segments with a few commits
	 * each, and then all writers wait for a segment that only a flush of the active memtable frees. */
	tree_rotate_if_due(tree);
	TRY(write_wait_for_room(self, tree, user_bytes));
	if (tree->logging) {
		if (durability == 0)
			durability = tree->options.durability;
		uint64_t sequence;
		TRY(wal_append(self, tree->wal, pieces, count, durability, &sequence));
		/* Durable but not visible is possible only when memory ran out, for this commit or one before
		 * it. Any other failure since, as of a flush, takes nothing away from what it was promised.
		 */
		if (sequence >= tree->unapplied_from)
			return tree->failure;
	} else {
		TRY(write_unlogged(tree, pieces, count));
	}
	tree->counters.writes++;
	tree->counters.write_bytes += user_bytes;
	return status_ok();
}

bool tree_try_write(struct store *store, const struct slice *pieces, size_t count, size_t user_bytes,
		    enum wal_durability durability, struct status *status)
{
	struct tree *tree = tree_of(store);
	tree_update_pacing(tree);
	tree_rotate_if_due(tree);
	/* What would have to wait, or to be refused, is for a task to say. */
	if (pacer_pressure(&tree->pacer) >= PACING_FREE || !status_is_ok(write_refusal(tree)) ||
	    (!tree->logging && durability > WAL_MEMORY))
		return false;
	if (durability == 0)
		durability = tree->options.durability;
	if (!tree->logging)
		*status = write_unlogged(tree, pieces, count);
	else if (!wal_try_append(tree->wal, pieces, count, durability, status))
		return false;
	if (status_is_ok(*status) && tree_lacks_commits(tree))
		*status = tree->failure;
	if (status_is_ok(*status)) {
		tree->counters.writes++;
		tree->counters.write_bytes += user_bytes;
	}
	return true;
}
