#include "compaction/compaction.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/planted.h"
#include "runtime/shard.h"

#include "base/poison.h"

enum {
	/* Between two looks at the clock: some 5 us of work, for small entries and for large ones. */
	ENTRIES_PER_BREATH = 16,
	BYTES_PER_BREATH = 16 << 10,
};

/* What is known of the key that the merge stands on. */
struct key_state {
	uint8_t *bytes; /* a copy: the input's bytes go when it moves */
	size_t size;
	size_t capacity;
	bool any;    /* some key was seen */
	bool bottom; /* asked once for each key */
	bool asked;
	uint64_t newer; /* sequence of the next newer version of the key; UINT64_MAX: none */
};

struct work {
	struct task *self;
	struct compaction *job;
	struct table_builder *builder;
	size_t output_capacity;
	struct key_state key;
};

static struct status key_remember(struct key_state *state, struct slice key)
{
	if (key.size > state->capacity) {
		size_t capacity = key.size < 256 ? 256 : 2 * key.size;
		uint8_t *bytes = memory_resize(state->bytes, capacity);
		if (bytes == NULL)
			return status_make(STATUS_NO_MEMORY);
		state->bytes = bytes;
		state->capacity = capacity;
	}
	if (key.size > 0)
		memcpy(state->bytes, key.data, key.size);
	state->size = key.size;
	state->any = true;
	state->asked = false;
	state->newer = UINT64_MAX;
	return status_ok();
}

static bool key_is_same(const struct key_state *state, struct slice key)
{
	return state->any && slice_equal(slice_make(state->bytes, state->size), key);
}

/* Whether some live snapshot sees the version `sequence` although `newer` exists. */
static bool snapshot_between(const struct compaction *job, uint64_t sequence, uint64_t newer)
{
	for (size_t i = 0; i < job->snapshot_count; i++) {
		if (job->snapshots[i] >= sequence + PLANTED(N12))
			return job->snapshots[i] < newer;
	}
	return false;
}

static bool at_bottom(struct work *work)
{
	struct key_state *key = &work->key;
	struct compaction *job = work->job;
	if (!key->asked) {
		key->bottom = job->is_bottom != NULL &&
			      job->is_bottom(job->context, slice_make(key->bytes, key->size));
		key->asked = true;
	}
	return key->bottom;
}

/*
 * INV-MERGE-1  The newest version of a key stays, and every version that a live snapshot sees.
 * INV-MERGE-2  A tombstone goes only where no older version of its key can be: nothing below the output, and
 *              no snapshot that keeps an older version beside it.
 */
static bool entry_is_needed(struct work *work, const struct entry *entry)
{
	const struct compaction *job = work->job;
	uint64_t newer = work->key.newer;
	if (newer != UINT64_MAX && !snapshot_between(job, entry->sequence, newer))
		return false;
	if (entry->kind != ENTRY_DELETE)
		return true;
	bool seen_by_all = job->snapshot_count == 0 || entry->sequence <= job->snapshots[0];
	return !(seen_by_all && at_bottom(work));
}

/* At the bottom, a value that every snapshot sees needs no sequence: one byte instead of five. */
static uint64_t output_sequence(struct work *work, const struct entry *entry)
{
	const struct compaction *job = work->job;
	bool seen_by_all = job->snapshot_count == 0 || entry->sequence <= job->snapshots[0];
	if (entry->kind == ENTRY_PUT && seen_by_all && at_bottom(work))
		return 0;
	return entry->sequence;
}

static struct status output_finish(struct work *work)
{
	struct compaction *job = work->job;
	if (job->output_count == work->output_capacity) {
		size_t capacity = work->output_capacity == 0 ? 8 : 2 * work->output_capacity;
		struct manifest_table *outputs =
			memory_resize(job->outputs, capacity * sizeof(*job->outputs));
		if (outputs == NULL)
			return status_make(STATUS_NO_MEMORY);
		job->outputs = outputs;
		work->output_capacity = capacity;
	}
	struct table_builder *builder = work->builder;
	work->builder = NULL;
	struct manifest_table *meta = &job->outputs[job->output_count];
	TRY(table_builder_finish(work->self, builder, meta));
	job->output_count++;
	job->bytes_out += meta->bytes;
	return status_ok();
}

static struct status output_add(struct work *work, const struct entry *entry)
{
	struct compaction *job = work->job;
	if (work->builder == NULL)
		TRY(table_builder_create(work->self, job->table_options, job->directory,
					 job->next_number(job->context), &work->builder));
	return table_builder_add(work->self, work->builder, entry);
}

/* Between two keys: whether the current output ends here. */
static struct status output_cut_if_full(struct work *work, struct slice next_key)
{
	struct compaction *job = work->job;
	if (work->builder == NULL)
		return status_ok();
	bool cut = table_builder_bytes(work->builder) >= job->table_bytes;
	if (job->should_cut != NULL && job->should_cut(job->context, next_key))
		cut = true;
	return cut ? output_finish(work) : status_ok();
}

static struct status entry_process(struct work *work, const struct entry *input)
{
	struct compaction *job = work->job;
	struct key_state *key = &work->key;
	if (!key_is_same(key, input->key)) {
		TRY(output_cut_if_full(work, input->key));
		TRY(key_remember(key, input->key));
	}
	job->entries_in++;
	bool needed = entry_is_needed(work, input);
	struct entry output = *input;
	if (needed)
		output.sequence = output_sequence(work, input);
	key->newer = input->sequence;
	if (!needed) {
		job->entries_dropped++;
		return status_ok();
	}
	return output_add(work, &output);
}

static struct status work_through(struct work *work)
{
	struct compaction *job = work->job;
	struct iterator *input = job->input;
	uint64_t bytes = 0; /* since the last report of progress */
	size_t breath_bytes = 0;
	unsigned breath_entries = 0;
	TRY(iterator_seek_first(work->self, input));
	while (input->valid) {
		size_t size = input->entry.key.size + input->entry.value.size;
		bytes += size;
		breath_bytes += size;
		TRY(entry_process(work, &input->entry));
		if (++breath_entries == ENTRIES_PER_BREATH || breath_bytes >= BYTES_PER_BREATH) {
			breath_entries = 0;
			breath_bytes = 0;
			if (job->cancelled != NULL && *job->cancelled)
				return status_make(STATUS_CLOSED);
			if (task_slice_spent(work->self)) {
				if (job->progress != NULL)
					job->progress(job->context, bytes);
				bytes = 0;
				task_yield(work->self);
			}
		}
		TRY(iterator_next(work->self, input));
	}
	if (job->progress != NULL)
		job->progress(job->context, bytes);
	return work->builder != NULL ? output_finish(work) : status_ok();
}

void compaction_discard_outputs(struct task *self, struct compaction *job)
{
	/* A file that stays, for whatever reason, is an orphan: the next open removes it. */
	char *path = memory_allocate(TABLE_PATH_BYTES);
	for (size_t i = 0; i < job->output_count && path != NULL; i++) {
		table_path(path, job->directory, job->outputs[i].number);
		struct status ignored = task_unlink(self, path);
		(void)ignored;
	}
	memory_free(path);
	compaction_free_outputs(job);
}

struct status compaction_run(struct task *self, struct compaction *compaction)
{
	struct work work = { .self = self, .job = compaction };
	compaction->outputs = NULL;
	compaction->output_count = 0;
	struct status status = work_through(&work);
	if (status_is_ok(status) && compaction->output_count > 0 && !PLANTED(M3))
		status = task_sync_directory(self, compaction->directory);
	if (!status_is_ok(status)) {
		if (work.builder != NULL)
			table_builder_abandon(self, work.builder);
		compaction_discard_outputs(self, compaction);
	}
	memory_free(work.key.bytes);
	iterator_destroy(compaction->input);
	compaction->input = NULL;
	return status;
}

void compaction_free_outputs(struct compaction *compaction)
{
	for (size_t i = 0; i < compaction->output_count; i++)
		manifest_table_free(&compaction->outputs[i]);
	memory_free(compaction->outputs);
	compaction->outputs = NULL;
	compaction->output_count = 0;
}
