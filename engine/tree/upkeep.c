#include "base/assert.h"
#include "base/memory.h"
#include "base/planted.h"
#include "compaction/chain.h"
#include "compaction/compaction.h"
#include "compaction/merge.h"
#include "tree/tree_internal.h"

#include "base/poison.h"

enum {
	RETRY_NS_FIRST = 50 * 1000 * 1000, /* after a background error; doubles up to the next */
	RETRY_NS_LAST = 1000 * 1000 * 1000,
};

/* --- what flush and merge share --- */

static uint64_t next_number(struct tree *tree)
{
	return tree->next_number++;
}

static void note_result(struct tree *tree, struct status status)
{
	if (status_is_ok(status) || status_is(status, STATUS_CLOSED)) {
		tree->trouble = status_ok();
	} else {
		/* A file or directory that is gone: for a writer, "not found" would say something else. */
		if (status_is(status, STATUS_NOT_FOUND))
			status.code = STATUS_IO;
		tree->trouble = status;
		tree->counters.background_errors++;
		/* A failed sync of the manifest is for good: what is live on disk is not known any more. */
		if (status_is(status, STATUS_READ_ONLY) && status_is_ok(tree->failure))
			tree->failure = status;
	}
	tree_update_pacing(tree);
	wait_list_wake_all(&tree->progress);
}

/* Waits before another try; returns false when there should be none. */
MAY_SUSPEND static bool retry_later(struct task *self, struct tree *tree, uint64_t *delay_ns)
{
	if (tree->cancelled || tree->closing || !status_is_ok(tree->failure))
		return false;
	task_sleep(self, *delay_ns);
	*delay_ns = *delay_ns * 2 > RETRY_NS_LAST ? RETRY_NS_LAST : *delay_ns * 2;
	return !tree->cancelled && !tree->closing;
}

/* The snapshots that live now, in an array of the caller's to free. */
MAY_SUSPEND static struct status take_snapshots(struct task *self, struct tree *tree, uint64_t **sequences,
						size_t *count)
{
	size_t capacity = 16;
	for (;;) {
		*sequences = memory_allocate(capacity * sizeof(**sequences));
		if (*sequences == NULL)
			return status_make(STATUS_NO_MEMORY);
		size_t live = tree->options.snapshots(tree->options.context, *sequences, capacity);
		if (live <= capacity) {
			*count = live;
			return status_ok();
		}
		memory_free(*sequences);
		if (live == SIZE_MAX)
			task_yield(self);
		else
			capacity = 2 * live;
	}
}

/* Opens the outputs of a compaction and wraps them; on an error nothing is left open. */
MAY_SUSPEND static struct status open_outputs(struct task *self, struct tree *tree,
					      const struct compaction *job, struct live_table **opened)
{
	struct status status = status_ok();
	size_t done = 0;
	for (; done < job->output_count; done++) {
		struct table *table;
		TRY_GOTO(table_open(self, tree->pool, tree->options.directory, tree->options.database_id,
				    shard_index(tree->options.shard), &job->outputs[done], &table),
			 failed);
		opened[done] = live_table_create(&tree->versions, table);
		if (opened[done] == NULL) {
			table_close(self, table, false);
			status = status_make(STATUS_NO_MEMORY);
			goto failed;
		}
	}
	return status_ok();
failed:
	while (done > 0) {
		table_close(self, opened[--done]->table, false);
		memory_free(opened[done]);
		tree->versions.table_count--;
	}
	return status;
}

/* Closes outputs that did not become live. Their files stay: see discard_unless_recorded. */
MAY_SUSPEND static void close_outputs(struct task *self, struct tree *tree, struct live_table **opened,
				      size_t count)
{
	for (size_t i = 0; i < count; i++) {
		table_close(self, opened[i]->table, false);
		memory_free(opened[i]);
		tree->versions.table_count--;
	}
}

/*
 * After a switch that failed: the outputs' files go, so that tries in vain do not fill the device, unless the
 * manifest names them, or may name them: after a failed sync of the edit, and after one that became durable.
 */
MAY_SUSPEND static void discard_unless_recorded(struct task *self, struct tree *tree, struct status status,
						struct compaction *job)
{
	if (!status_is_ok(tree->failure) || status_is(status, STATUS_READ_ONLY))
		compaction_free_outputs(job);
	else
		compaction_discard_outputs(self, job);
}

/*
 * Makes an edit durable. The numbers in it must not be lower than those of the edit before, whichever that
 * will be: so edits wait for each other here, and the numbers are filled in when it is an edit's turn.
 */
MAY_SUSPEND static struct status apply_edit(struct task *self, struct tree *tree, struct manifest_edit *edit)
{
	while (tree->edit_running)
		wait_list_wait(self, &tree->edit_turn);
	tree->edit_running = true;
	uint64_t last_sequence = manifest_state(tree->manifest)->last_sequence;
	for (size_t i = 0; i < edit->add_count; i++) {
		if (edit->add[i].sequence_max > last_sequence)
			last_sequence = edit->add[i].sequence_max;
	}
	edit->last_sequence = last_sequence;
	edit->next_number = tree->next_number;
	struct status status = manifest_apply(self, tree->manifest, edit);
	tree->edit_running = false;
	wait_list_wake_one(&tree->edit_turn);
	return status;
}

/*
 * The switch: a durable manifest edit, then the new version in memory. `opened` become live, `removed` become
 * obsolete. Versions are made before the edit, so that nothing can fail after it; but the current version may
 * change during the edit, so it is made again then, which can only fail for lack of memory: that is final.
 */
MAY_SUSPEND static struct status switch_version(struct task *self, struct tree *tree,
						struct manifest_edit *edit, struct live_table **opened,
						size_t opened_count, struct live_table **removed,
						size_t removed_count)
{
	struct version *version;
	TRY(version_create(tree->versions.current, opened, opened_count, removed, removed_count, &version));
	/* Referenced, so that no later version can come to lie at its address. */
	struct version *base = tree->versions.current;
	version_reference(base);
	struct status status = apply_edit(self, tree, edit);
	bool outdated = base != tree->versions.current && !PLANTED(M16);
	version_release(&tree->versions, base);
	if (!status_is_ok(status) || outdated) {
		/* Not installed, or made from a version that is no longer the current one. */
		for (size_t i = 0; i < opened_count; i++)
			opened[i]->references++;
		version_release(&tree->versions, version);
		for (size_t i = 0; i < opened_count; i++)
			opened[i]->references--;
		if (!status_is_ok(status))
			return status;
		status = version_create(tree->versions.current, opened, opened_count, removed, removed_count,
					&version);
		if (!status_is_ok(status)) {
			tree->failure = status;
			return status;
		}
	}
	for (size_t i = 0; i < removed_count; i++)
		removed[i]->obsolete = true;
	version_install(&tree->versions, version);
	return status_ok();
}

/* --- reaping --- */

MAY_SUSPEND void tree_reap(struct task *self, struct tree *tree)
{
	struct list *node;
	while ((node = list_take_first(&tree->versions.dead)) != NULL) {
		struct live_table *live = CONTAINER_OF(node, struct live_table, dead);
		table_close(self, live->table, live->obsolete);
		memory_free(live);
		tree->versions.table_count--;
	}
}

static void run_reaper(struct task *self, void *argument)
{
	struct tree *tree = argument;
	tree_reap(self, tree);
	tree->reaper_running = false;
	wait_list_wake_all(&tree->progress);
}

/* --- flush --- */

struct flush_context {
	struct tree *tree;
	struct memtable_slot *slot;
	unsigned level; /* of the output */
};

static uint64_t flush_next_number(void *context)
{
	return next_number(((struct flush_context *)context)->tree);
}

static void flush_progress(void *context, uint64_t bytes)
{
	struct flush_context *flush = context;
	struct tree *tree = flush->tree;
	flush->slot->flushed_bytes += bytes;
	pacer_drained(&tree->pacer, PACING_MEMTABLES, bytes, shard_now_ns(tree->options.shard));
	tree_update_pacing(tree);
}

/* Writes a memtable into level 0; `job` holds the outputs afterwards. */
MAY_SUSPEND static struct status flush_write(struct task *self, struct flush_context *flush,
					     struct compaction *job)
{
	struct tree *tree = flush->tree;
	uint64_t *snapshots;
	size_t snapshot_count;
	TRY(take_snapshots(self, tree, &snapshots, &snapshot_count));
	struct table_options table_options = tree->table_options;
	table_options.level = 0;
	*job = (struct compaction) { .directory = tree->options.directory,
				     .table_options = &table_options,
				     .table_bytes = UINT64_MAX,
				     .next_number = flush_next_number,
				     .snapshots = snapshots,
				     .snapshot_count = snapshot_count,
				     .progress = flush_progress,
				     .context = flush };
	struct status status = memtable_slot_iterator(flush->slot, &job->input);
	if (status_is_ok(status)) {
		flush->slot->flushed_bytes = 0;
		pacer_drain_begin(&tree->pacer, PACING_MEMTABLES, shard_now_ns(tree->options.shard));
		status = compaction_run(self, job);
	}
	memory_free(snapshots);
	return status;
}

MAY_SUSPEND static struct status flush_install(struct task *self, struct tree *tree,
					       const struct memtable_slot *slot, const struct compaction *job)
{
	struct live_table *opened[1];
	ASSERT(job->output_count <= 1);
	TRY(open_outputs(self, tree, job, opened));
	struct manifest_edit edit = { .add = job->outputs,
				      .add_count = job->output_count,
				      .flushed_log_number = slot->last_log_number };
	if (PLANTED(N1) && !tree->replaying)
		edit.flushed_log_number = wal_last_applied(tree->wal);
	struct status status = switch_version(self, tree, &edit, opened, job->output_count, NULL, 0);
	if (!status_is_ok(status))
		close_outputs(self, tree, opened, job->output_count);
	return status;
}

MAY_SUSPEND struct status tree_flush_oldest(struct task *self, struct tree *tree)
{
	ASSERT(tree->immutable_count > 0);
	struct memtable_slot *slot = CONTAINER_OF(tree->immutables.next, struct memtable_slot, link);
	struct flush_context flush = { .tree = tree, .slot = slot };
	struct compaction job;
	TRY(flush_write(self, &flush, &job));
	if (PLANTED(M5))
		wal_release(tree->wal, slot->last_log_number);
	struct status status = flush_install(self, tree, slot, &job);
	if (status_is_ok(status)) {
		tree->counters.flushes++;
		tree->counters.flush_bytes_in += slot->user_bytes;
		tree->counters.flush_bytes_out += job.bytes_out;
		list_remove(&slot->link);
		tree->immutable_count--;
		if (tree->wal != NULL)
			wal_release(tree->wal, slot->last_log_number);
		memtable_slot_release(slot);
		compaction_free_outputs(&job);
	} else {
		discard_unless_recorded(self, tree, status, &job);
	}
	return status;
}

static void run_flush(struct task *self, void *argument)
{
	struct tree *tree = argument;
	uint64_t delay_ns = RETRY_NS_FIRST;
	while (tree->immutable_count > 0) {
		struct status status = tree_flush_oldest(self, tree);
		note_result(tree, status);
		if (status_is_ok(status)) {
			delay_ns = RETRY_NS_FIRST;
			/* The active memtable may be over its half already, and no write comes to look. */
			tree_rotate_if_due(tree);
			tree_schedule(tree);
		} else if (!retry_later(self, tree, &delay_ns)) {
			break;
		}
	}
	tree->flush_running = false;
	wait_list_wake_all(&tree->progress);
}

/* --- merge --- */

/* The shape of the tree as the policy sees it. */
struct tree_view {
	struct policy_view view;
	struct policy_table *tables;
};

static struct status view_create(const struct tree *tree, struct tree_view *view)
{
	const struct version *version = tree->versions.current;
	size_t count = 0;
	for (unsigned l = 0; l < LEVELS_MAX; l++)
		count += version->levels[l].count;
	*view = (struct tree_view) { .view = { .memtable_bytes = tree->options.memtable_bytes / 2,
					       .table_bytes = tree->options.table_bytes } };
	view->tables = memory_allocate((count + 1) * sizeof(*view->tables));
	if (view->tables == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct policy_table *next = view->tables;
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		const struct version_level *level = &version->levels[l];
		view->view.levels[l].tables = next;
		view->view.levels[l].count = level->count;
		for (size_t i = 0; i < level->count; i++) {
			const struct manifest_table *meta = &level->tables[i]->table->meta;
			*next++ = (struct policy_table) { .number = meta->number,
							  .bytes = meta->bytes,
							  .entries = meta->entries,
							  .deletes = meta->deletes,
							  .smallest = meta->smallest,
							  .largest = meta->largest,
							  .busy = level->tables[i]->busy };
		}
	}
	return status_ok();
}

static void view_free(struct tree_view *view)
{
	memory_free(view->tables);
}

uint64_t tree_debt(struct tree *tree)
{
	struct tree_view view;
	if (!status_is_ok(view_create(tree, &view)))
		return 0;
	uint64_t debt = tree->options.policy->debt(tree->options.policy_options, &view.view);
	view_free(&view);
	return debt;
}

struct merge {
	struct tree *tree;
	struct live_table **inputs; /* owned; each busy */
	size_t input_count;
	struct version *version; /* as when the merge began; referenced */
	unsigned output_level;
	bool move_only;
	uint64_t overlap_bytes_max;
	size_t level0_inputs;
	/* Positions for ascending questions. */
	size_t bottom_at[LEVELS_MAX];
	size_t grandparent_at;
	uint64_t grandparent_bytes;
	bool grandparent_started;
};

/* Asked for as each output begins, whatever ended the one before: its overlap is counted from here. */
static uint64_t merge_next_number(void *context)
{
	struct merge *merge = context;
	merge->grandparent_bytes = 0;
	return next_number(merge->tree);
}

/* Whether no level below the output has a table that covers the key. */
static bool merge_is_bottom(void *context, struct slice key)
{
	struct merge *merge = context;
	for (unsigned l = merge->output_level + 1 + PLANTED(M13); l < LEVELS_MAX; l++) {
		const struct version_level *level = &merge->version->levels[l];
		size_t *at = &merge->bottom_at[l];
		while (*at < level->count && slice_compare(level->tables[*at]->table->meta.largest, key) < 0)
			(*at)++;
		if (*at < level->count && slice_compare(level->tables[*at]->table->meta.smallest, key) <= 0)
			return false;
	}
	return true;
}

static bool merge_should_cut(void *context, struct slice key)
{
	struct merge *merge = context;
	if (merge->overlap_bytes_max == 0 || merge->output_level + 1 >= LEVELS_MAX)
		return false;
	const struct version_level *level = &merge->version->levels[merge->output_level + 1];
	while (merge->grandparent_at < level->count) {
		const struct manifest_table *meta = &level->tables[merge->grandparent_at]->table->meta;
		if (slice_compare(key, meta->largest) <= 0)
			break;
		if (merge->grandparent_started)
			merge->grandparent_bytes += meta->bytes;
		merge->grandparent_at++;
	}
	merge->grandparent_started = true;
	return merge->grandparent_bytes > merge->overlap_bytes_max;
}

static void merge_progress(void *context, uint64_t bytes)
{
	struct merge *merge = context;
	struct tree *tree = merge->tree;
	if (merge->level0_inputs > 0)
		pacer_drained(&tree->pacer, PACING_LEVEL0, bytes, shard_now_ns(tree->options.shard));
}

static void merge_free(struct merge *merge)
{
	struct tree *tree = merge->tree;
	for (size_t i = 0; i < merge->input_count; i++)
		merge->inputs[i]->busy = false;
	if (merge->version != NULL)
		version_release(&tree->versions, merge->version);
	memory_free(merge->inputs);
	memory_free(merge);
}

/* Turns a pick into a merge: from here on its inputs are busy. */
static struct status merge_create(struct tree *tree, const struct policy_pick *pick, struct merge **result)
{
	struct merge *merge = memory_allocate_zeroed(1, sizeof(*merge));
	if (merge == NULL)
		return status_make(STATUS_NO_MEMORY);
	merge->tree = tree;
	merge->inputs = memory_allocate(pick->count * sizeof(struct live_table *));
	if (merge->inputs == NULL) {
		memory_free(merge);
		return status_make(STATUS_NO_MEMORY);
	}
	merge->version = tree->versions.current;
	version_reference(merge->version);
	merge->output_level = pick->output_level;
	merge->move_only = pick->move_only;
	merge->overlap_bytes_max = pick->overlap_bytes_max;
	for (size_t i = 0; i < pick->count; i++) {
		const struct version_level *level = &merge->version->levels[pick->inputs[i].level];
		ASSERT(pick->inputs[i].index < level->count);
		struct live_table *live = level->tables[pick->inputs[i].index];
		ASSERT(!live->busy);
		live->busy = true;
		merge->inputs[merge->input_count++] = live;
		merge->level0_inputs += pick->inputs[i].level == 0;
	}
	*result = merge;
	return status_ok();
}

/* Adds one iterator for each level-0 input and one chain for the inputs of each other level. */
static struct status merge_collect(struct merge *merge, struct iterator **iterators, size_t *count)
{
	struct table **chain = memory_allocate(merge->input_count * sizeof(*chain));
	if (chain == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = status_ok();
	for (unsigned l = 0; l < LEVELS_MAX && status_is_ok(status); l++) {
		const struct version_level *level = &merge->version->levels[l];
		size_t chained = 0;
		/* In the level's order, which for l > 0 is that of keys. */
		for (size_t i = 0; i < level->count && status_is_ok(status); i++) {
			bool is_input = false;
			for (size_t j = 0; j < merge->input_count; j++)
				is_input |= merge->inputs[j] == level->tables[i];
			if (!is_input)
				continue;
			if (l > 0) {
				chain[chained++] = level->tables[i]->table;
				continue;
			}
			status = table_stream_create(level->tables[i]->table, &iterators[*count]);
			*count += status_is_ok(status);
		}
		if (chained > 0 && status_is_ok(status)) {
			status = chain_iterator_create(chain, chained, CHAIN_STREAMED, false,
						       &iterators[*count]);
			*count += status_is_ok(status);
		}
	}
	memory_free(chain);
	return status;
}

static struct status merge_open_input(struct merge *merge, struct iterator **merged)
{
	struct iterator **iterators = memory_allocate(merge->input_count * sizeof(*iterators));
	if (iterators == NULL)
		return status_make(STATUS_NO_MEMORY);
	size_t count = 0;
	struct status status = merge_collect(merge, iterators, &count);
	if (status_is_ok(status)) {
		status = merge_iterator_create(iterators, count, merged);
	} else {
		for (size_t i = 0; i < count; i++)
			iterator_destroy(iterators[i]);
	}
	memory_free(iterators);
	return status;
}

MAY_SUSPEND static struct status merge_install(struct task *self, struct merge *merge,
					       const struct compaction *job)
{
	struct tree *tree = merge->tree;
	struct live_table **opened = memory_allocate((job->output_count + 1) * sizeof(*opened));
	uint64_t *numbers = memory_allocate(merge->input_count * sizeof(*numbers));
	struct status status = status_make(STATUS_NO_MEMORY);
	if (opened == NULL || numbers == NULL)
		goto out;
	for (size_t i = 0; i < merge->input_count; i++)
		numbers[i] = merge->inputs[i]->table->meta.number;
	TRY_GOTO(open_outputs(self, tree, job, opened), out);
	struct manifest_edit edit = { .add = job->outputs,
				      .add_count = job->output_count,
				      .remove = numbers,
				      .remove_count = merge->input_count };
	status = switch_version(self, tree, &edit, opened, job->output_count, merge->inputs,
				merge->input_count);
	if (!status_is_ok(status))
		close_outputs(self, tree, opened, job->output_count);
out:
	memory_free(opened);
	memory_free(numbers);
	return status;
}

static uint64_t merge_input_bytes(const struct merge *merge)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < merge->input_count; i++)
		bytes += merge->inputs[i]->table->meta.bytes;
	return bytes;
}

MAY_SUSPEND static struct status merge_rewrite(struct task *self, struct merge *merge)
{
	struct tree *tree = merge->tree;
	uint64_t *snapshots;
	size_t snapshot_count;
	TRY(take_snapshots(self, tree, &snapshots, &snapshot_count));
	struct table_options table_options = tree->table_options;
	table_options.level = merge->output_level;
	struct compaction job = { .directory = tree->options.directory,
				  .table_options = &table_options,
				  .table_bytes = tree->options.table_bytes,
				  .next_number = merge_next_number,
				  .snapshots = snapshots,
				  .snapshot_count = snapshot_count,
				  .is_bottom = merge_is_bottom,
				  .should_cut = merge_should_cut,
				  .progress = merge_progress,
				  .cancelled = &tree->cancelled,
				  .context = merge };
	struct status status = merge_open_input(merge, &job.input);
	if (status_is_ok(status)) {
		if (merge->level0_inputs > 0)
			pacer_drain_begin(&tree->pacer, PACING_LEVEL0, shard_now_ns(tree->options.shard));
		status = compaction_run(self, &job);
	}
	if (status_is_ok(status))
		status = merge_install(self, merge, &job);
	if (status_is_ok(status)) {
		tree->counters.merges++;
		tree->counters.merge_bytes_in += merge_input_bytes(merge);
		tree->counters.merge_bytes_out += job.bytes_out;
		tree->counters.merge_entries_in += job.entries_in;
		tree->counters.merge_entries_dropped += job.entries_dropped;
		compaction_free_outputs(&job);
	} else {
		discard_unless_recorded(self, tree, status, &job);
	}
	memory_free(snapshots);
	return status;
}

/* A table without overlap below only changes its level: one edit, nothing rewritten. */
MAY_SUSPEND static struct status merge_move(struct task *self, struct merge *merge)
{
	struct tree *tree = merge->tree;
	ASSERT(merge->input_count == 1);
	struct live_table *live = merge->inputs[0];
	struct manifest_table moved = live->table->meta;
	moved.level = merge->output_level;
	struct manifest_edit edit = {
		.add = &moved, .add_count = 1, .remove = &moved.number, .remove_count = 1
	};
	TRY(apply_edit(self, tree, &edit));
	/* Nothing suspends from here on. Its level is read only when versions are made. */
	live->table->meta.level = merge->output_level;
	struct version *version;
	struct status status = version_create(tree->versions.current, &live, 1, &live, 1, &version);
	if (!status_is_ok(status)) {
		tree->failure = status;
		return status;
	}
	version_install(&tree->versions, version);
	tree->counters.merge_moves++;
	return status_ok();
}

static void run_merge(struct task *self, void *argument)
{
	struct merge *merge = argument;
	struct tree *tree = merge->tree;
	struct status status = merge->move_only ? merge_move(self, merge) : merge_rewrite(self, merge);
	merge_free(merge);
	note_result(tree, status);
	uint64_t delay_ns = RETRY_NS_FIRST;
	if (!status_is_ok(status) && !status_is(status, STATUS_CLOSED))
		(void)retry_later(self, tree, &delay_ns);
	tree->merges_running--;
	tree_schedule(tree);
	wait_list_wake_all(&tree->progress);
}

/* --- scheduling --- */

static const struct task_type flush_task = {
	.name = "flush",
	.run = run_flush,
	.stack_bytes = 3072,
};

static const struct task_type merge_task = {
	.name = "merge",
	.run = run_merge,
	.stack_bytes = 3584,
};

static const struct task_type reaper_task = {
	.name = "reap",
	.run = run_reaper,
	.stack_bytes = 1024,
};

/* Starts the most urgent merge; false: none is due (or none can start now). */
static bool schedule_merge(struct tree *tree)
{
	struct policy_pick *pick = memory_allocate(sizeof(*pick));
	struct tree_view view;
	struct merge *merge = NULL;
	bool started = false;
	if (pick == NULL || !status_is_ok(view_create(tree, &view)))
		goto out;
	bool due = tree->options.policy->pick(tree->options.policy_options, &view.view, tree->policy_cursor,
					      pick);
	view_free(&view);
	if (!due || !status_is_ok(merge_create(tree, pick, &merge)))
		goto out;
	tree->merges_running++;
	if (status_is_ok(task_spawn(tree->options.shard, &merge_task, merge, TASK_BACKGROUND,
				    &tree->background))) {
		started = true;
	} else {
		tree->merges_running--;
		merge_free(merge);
	}
out:
	memory_free(pick);
	return started;
}

/* On the thread's stack: a policy may go deep. */
static void schedule(void *argument)
{
	struct tree *tree = argument;
	struct shard *shard = tree->options.shard;
	bool healthy = status_is_ok(tree->failure);
	if (tree->immutable_count > 0 && !tree->flush_running && healthy) {
		tree->flush_running = true;
		if (!status_is_ok(task_spawn(shard, &flush_task, tree, TASK_BACKGROUND, &tree->background)))
			tree->flush_running = false;
	}
	while (healthy && !tree->cancelled && !tree->closing &&
	       tree->merges_running < tree->options.merges_max && schedule_merge(tree))
		;
	if (!list_is_empty(&tree->versions.dead) && !tree->reaper_running) {
		tree->reaper_running = true;
		if (!status_is_ok(task_spawn(shard, &reaper_task, tree, TASK_BACKGROUND, &tree->background)))
			tree->reaper_running = false;
	}
}

void tree_schedule(struct tree *tree)
{
	if (!tree->replaying)
		call_on_thread_stack(schedule, tree);
}

MAY_SUSPEND struct status tree_flush(struct task *self, struct store *store)
{
	struct tree *tree = tree_of(store);
	TRY(tree->failure);
	if (!memtable_slot_is_empty(tree->active))
		TRY(tree_rotate(tree));
	/* The memtables to wait for are those that are immutable now; later ones are not ours to wait for. */
	struct memtable_slot *newest =
		list_is_empty(&tree->immutables)
			? NULL
			: CONTAINER_OF(tree->immutables.previous, struct memtable_slot, link);
	if (newest == NULL)
		return status_ok();
	memtable_slot_reference(newest);
	struct status status = status_ok();
	while (!list_is_empty(&newest->link)) {
		tree_schedule(tree);
		/* Without the flush there would be nobody to wait for. */
		if (!tree->flush_running) {
			status = status_make(STATUS_NO_MEMORY);
			break;
		}
		wait_list_wait(self, &tree->progress);
		status = status_is_ok(tree->failure) ? tree->trouble : tree->failure;
		if (!status_is_ok(status))
			break;
	}
	memtable_slot_release(newest);
	return status;
}

MAY_SUSPEND struct status tree_wait_idle(struct task *self, struct store *store)
{
	struct tree *tree = tree_of(store);
	for (;;) {
		TRY(tree->failure);
		tree_schedule(tree);
		if (tree->immutable_count == 0 && tree->merges_running == 0 && !tree->flush_running &&
		    !tree->reaper_running)
			return status_ok();
		/* The flush that is due could not be started, and nothing else would wake us. */
		if (tree->merges_running == 0 && !tree->flush_running && !tree->reaper_running)
			return status_make(STATUS_NO_MEMORY);
		wait_list_wait(self, &tree->progress);
		TRY(tree->trouble);
	}
}
