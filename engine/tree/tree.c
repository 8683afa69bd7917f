#include "tree/tree.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/planted.h"
#include "tree/tree_internal.h"

#include "base/poison.h"

/* --- open --- */

/* The table files of the directory. */
struct table_files {
	uint64_t *numbers;
	size_t count;
	size_t capacity;
	bool out_of_memory;
};

/* Reads NNNNNNNNNN.table, ten digits or more; false: it is no table's name. */
static bool parse_table_name(const char *name, uint64_t *number)
{
	size_t digits = 0;
	*number = 0;
	for (; name[digits] >= '0' && name[digits] <= '9'; digits++) {
		if (*number > (UINT64_MAX - 9) / 10)
			return false;
		*number = *number * 10 + (uint64_t)(name[digits] - '0');
	}
	return digits >= 10 && strcmp(name + digits, ".table") == 0;
}

static void note_table_file(void *context, const char *name)
{
	struct table_files *files = context;
	uint64_t number;
	if (!parse_table_name(name, &number))
		return;
	if (files->count == files->capacity) {
		size_t capacity = files->capacity == 0 ? 64 : 2 * files->capacity;
		uint64_t *numbers = memory_resize(files->numbers, capacity * sizeof(*numbers));
		if (numbers == NULL) {
			files->out_of_memory = true;
			return;
		}
		files->numbers = numbers;
		files->capacity = capacity;
	}
	files->numbers[files->count++] = number;
}

/* Numbers that a crash has left behind must not be given to a table that replay may have to write. */
static struct status list_tables(struct tree *tree, struct table_files *files)
{
	TRY(io_list(shard_io(tree->options.shard), tree->options.directory, note_table_file, files));
	if (files->out_of_memory)
		return status_make(STATUS_NO_MEMORY);
	for (size_t i = 0; i < files->count; i++) {
		if (files->numbers[i] >= tree->next_number && !PLANTED(N14))
			tree->next_number = files->numbers[i] + 1;
	}
	return status_ok();
}

static bool is_recorded(const struct manifest_state *state, uint64_t number)
{
	for (size_t i = 0; i < state->table_count; i++) {
		if (state->tables[i].number == number)
			return true;
	}
	return false;
}

/* Removes what a crash has left behind: files listed before replay that no manifest names. Only once the log
 * was found whole: a damaged manifest may have forgotten tables that are still needed. */
MAY_SUSPEND static struct status remove_orphans(struct task *self, struct tree *tree,
						const struct table_files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		if (is_recorded(manifest_state(tree->manifest), files->numbers[i]))
			continue;
		char *path = memory_allocate(TABLE_PATH_BYTES);
		if (path == NULL)
			return status_make(STATUS_NO_MEMORY);
		table_path(path, tree->options.directory, files->numbers[i]);
		struct status status = task_unlink(self, path);
		memory_free(path);
		TRY(status);
	}
	return status_ok();
}

/* Opens one recorded table and makes it live; on an error it stays closed. */
MAY_SUSPEND static struct status open_live(struct task *self, struct tree *tree,
					   const struct manifest_table *meta, struct live_table **live)
{
	struct table *table;
	struct status status =
		table_open(self, tree->pool, tree->options.directory, tree->options.database_id,
			   shard_index(tree->options.shard), meta, &table);
	if (status_is(status, STATUS_NOT_FOUND))
		return status_error(STATUS_CORRUPT,
				    "%s/%010llu.table: offset 0: missing, though the manifest names it",
				    tree->options.directory, (unsigned long long)meta->number);
	TRY(status);
	*live = live_table_create(&tree->versions, table);
	if (*live == NULL) {
		table_close(self, table, false);
		return status_make(STATUS_NO_MEMORY);
	}
	return status_ok();
}

MAY_SUSPEND static struct status open_tables(struct task *self, struct tree *tree,
					     const struct manifest_state *state)
{
	struct live_table **opened = memory_allocate((state->table_count + 1) * sizeof(*opened));
	if (opened == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = status_ok();
	size_t count = 0;
	while (count < state->table_count && status_is_ok(status)) {
		status = open_live(self, tree, &state->tables[count], &opened[count]);
		count += status_is_ok(status);
	}
	struct version *version = NULL;
	if (status_is_ok(status))
		status = version_create(NULL, opened, count, NULL, 0, &version);
	if (status_is_ok(status))
		version_install(&tree->versions, version);
	/* Without a version nobody refers to the tables: the reaper of the failed open closes them. */
	for (size_t i = 0; version == NULL && i < count; i++)
		list_add_last(&tree->versions.dead, &opened[i]->dead);
	memory_free(opened);
	TRY(status);
	return version_check(tree->versions.current);
}

MAY_SUSPEND static struct status open_manifest(struct task *self, struct tree *tree,
					       const struct manifest_state **state)
{
	struct manifest_options options = { .directory = tree->options.directory,
					    .database_id = { tree->options.database_id[0],
							     tree->options.database_id[1] },
					    .shard = shard_index(tree->options.shard) };
	struct status status = manifest_open(self, &options, tree->options.create, &tree->manifest, state);
	/* There is a root file, or a creation under way: a shard without its files is a damaged one. */
	if (status_is(status, STATUS_NOT_FOUND))
		return status_error(STATUS_CORRUPT, "%s/manifest: offset 0: missing", options.directory);
	return status;
}

static uint64_t draw_sequence(void *context)
{
	struct tree *tree = context;
	return tree->options.next_sequence(tree->options.context);
}

MAY_SUSPEND static struct status open_wal(struct task *self, struct tree *tree, uint64_t flushed,
					  struct wal_replay_report *report)
{
	const struct store_options *options = &tree->options;
	struct wal_options wal_options = { .directory = options->directory,
					   .database_id = { options->database_id[0],
							    options->database_id[1] },
					   .shard = shard_index(options->shard),
					   .buffered = options->wal_buffered,
					   .segment_bytes = options->segment_bytes,
					   .segments_max = options->segments_max,
					   .group_bytes = options->group_bytes,
					   .wait_ns_max = options->write_timeout_ns,
					   .next_sequence = draw_sequence,
					   .apply = tree_apply,
					   .replay = tree_replay,
					   .context = tree };
	struct status status = wal_open(self, &wal_options, options->create, flushed, &tree->wal, report);
	if (status_is(status, STATUS_NOT_FOUND))
		return status_error(STATUS_CORRUPT, "%s/wal-*.log: offset 0: missing", options->directory);
	return status;
}

MAY_SUSPEND static struct status open_pool(struct tree *tree)
{
	struct buffer_pool_options options = { .bytes = tree->options.cache_bytes,
					       .strategy = tree->options.cache,
					       .strategy_options = tree->options.cache_options,
					       .recorder = tree->recorder };
	TRY(buffer_pool_create(tree->options.shard, &options, &tree->pool));
	if (tree->options.record_bytes < RECORD_CACHE_BYTES_MIN)
		return status_ok();
	tree->records = record_cache_create(tree->options.record_bytes);
	return status_make(tree->records != NULL ? STATUS_OK : STATUS_NO_MEMORY);
}

/* From here on what is recorded takes the place of the variants' own functions. */
MAY_SUSPEND static struct status open_recorder(struct task *self, struct tree *tree)
{
	struct store_options *options = &tree->options;
	if (options->trace == NULL)
		return status_ok();
	TRY(trace_recorder_open(self, options->trace, &tree->recorder));
	if (trace_recorder_for(tree->recorder, TRACE_FILTER) != NULL)
		trace_variant(tree->recorder, COMPONENT_FILTER, &options->filter->component,
			      options->filter_options);
	if (trace_recorder_for(tree->recorder, TRACE_MEMTABLE) == NULL)
		return status_ok();
	trace_variant(tree->recorder, COMPONENT_MEMTABLE, &options->memtable->component,
		      options->memtable_options);
	traced_memtables_init(&tree->traced, tree->recorder, options->memtable, options->memtable_options);
	options->memtable = &tree->traced.ops;
	options->memtable_options = &tree->traced;
	return status_ok();
}

static void fill_table_options(struct tree *tree)
{
	const struct store_options *options = &tree->options;
	tree->table_options =
		(struct table_options) { .codec = options->codec,
					 .codec_options = options->codec_options,
					 .filter = options->filter,
					 .filter_options = options->filter_options,
					 .block_bytes = options->block_bytes,
					 .database_id = { options->database_id[0], options->database_id[1] },
					 .shard = shard_index(options->shard) };
}

/* Everything but the tables: what lies in the log goes to memory, and where it is too much, to tables. */
MAY_SUSPEND static struct status replay_log(struct task *self, struct tree *tree, uint64_t flushed,
					    struct store_open_report *report)
{
	struct wal_replay_report replay = { 0 };
	tree->active = memtable_slot_create(&tree->options, &tree->chunks);
	if (tree->active == NULL)
		return status_make(STATUS_NO_MEMORY);
	tree->active->last_log_number = flushed;
	tree->replaying = true;
	TRY(open_wal(self, tree, flushed, &replay));
	tree->replaying = false;
	wal_release(tree->wal, manifest_state(tree->manifest)->flushed_log_number);
	if (replay.last_sequence > report->last_sequence)
		report->last_sequence = replay.last_sequence;
	report->replayed_commits = replay.commits;
	report->replayed_bytes = replay.bytes_read;
	report->ring_bytes = replay.ring_bytes;
	report->trimmed_bytes = replay.trimmed;
	return status_ok();
}

MAY_SUSPEND static struct status open_parts(struct task *self, struct tree *tree,
					    struct store_open_report *report)
{
	const struct manifest_state *state;
	struct table_files files = { 0 };
	TRY(open_recorder(self, tree));
	TRY(open_pool(tree));
	TRY(open_manifest(self, tree, &state));
	tree->next_number = state->next_number > 0 ? state->next_number : 1;
	uint64_t flushed = state->flushed_log_number;
	report->last_sequence = state->last_sequence;
	TRY(open_tables(self, tree, state));
	struct status status = list_tables(tree, &files);
	if (status_is_ok(status))
		status = replay_log(self, tree, flushed, report);
	if (status_is_ok(status))
		status = remove_orphans(self, tree, &files);
	memory_free(files.numbers);
	return status;
}

/* Frees whatever is there; the first error is kept. */
MAY_SUSPEND static struct status tree_free(struct task *self, struct tree *tree)
{
	struct status status = status_ok();
	if (tree->wal != NULL)
		status_keep_first(&status, wal_close(self, tree->wal));
	struct list *node;
	while ((node = list_take_first(&tree->immutables)) != NULL)
		memtable_slot_release(CONTAINER_OF(node, struct memtable_slot, link));
	if (tree->active != NULL)
		memtable_slot_release(tree->active);
	if (tree->versions.current != NULL)
		version_release(&tree->versions, tree->versions.current);
	tree->versions.current = NULL;
	tree_reap(self, tree);
	if (tree->manifest != NULL)
		status_keep_first(&status, manifest_close(self, tree->manifest));
	if (tree->pool != NULL)
		buffer_pool_destroy(tree->pool);
	trace_recorder_close(self, tree->recorder);
	record_cache_destroy(tree->records);
	arena_pool_free(&tree->chunks);
	memory_free(tree);
	return status;
}

MAY_SUSPEND static struct status tree_open(struct task *self, const struct store_options *options,
					   struct store **store, struct store_open_report *report)
{
	struct tree *tree = memory_allocate_zeroed(1, sizeof(*tree));
	if (tree == NULL)
		return status_make(STATUS_NO_MEMORY);
	*report = (struct store_open_report) { 0 };
	tree->store.ops = &tree_store;
	tree->options = *options;
	tree->logging = options->durability != WAL_MEMORY;
	tree->unapplied_from = UINT64_MAX;
	list_init(&tree->immutables);
	version_set_init(&tree->versions);
	join_init(&tree->background);
	wait_list_init(&tree->progress);
	wait_list_init(&tree->edit_turn);
	fill_table_options(tree);
	memtable_chunks_init(&tree->chunks, &tree->options);
	struct status status = open_parts(self, tree, report);
	if (!status_is_ok(status)) {
		struct status ignored = tree_free(self, tree);
		(void)ignored;
		return status;
	}
	tree_update_pacing(tree);
	tree_schedule(tree);
	*store = &tree->store;
	return status_ok();
}

/* --- close --- */

MAY_SUSPEND static struct status tree_close(struct task *self, struct store *store)
{
	struct tree *tree = tree_of(store);
	tree->cancelled = true;
	struct status status = tree_flush(self, store);
	tree->closing = true;
	join_wait(self, &tree->background);
	status_keep_first(&status, tree_free(self, tree));
	return status;
}

/* --- verify --- */

MAY_SUSPEND static struct status verify_version(struct task *self, struct tree *tree,
						const struct version *version)
{
	TRY(version_check(version));
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		for (size_t i = 0; i < version->levels[l].count; i++)
			TRY(table_verify(self, version->levels[l].tables[i]->table));
	}
	return manifest_verify(self, tree->manifest);
}

MAY_SUSPEND static struct status tree_verify(struct task *self, struct store *store)
{
	struct tree *tree = tree_of(store);
	struct version *version = tree->versions.current;
	version_reference(version);
	struct status status = verify_version(self, tree, version);
	version_release(&tree->versions, version);
	if (status_is_ok(status))
		status = wal_verify(self, tree->wal);
	tree_schedule(tree);
	return status;
}

MAY_SUSPEND static void tree_wait_published(struct task *self, struct store *store, uint64_t sequence)
{
	struct tree *tree = tree_of(store);
	if (wal_first_pending_sequence(tree->wal) <= sequence && !PLANTED(N9))
		wal_wait_published(self, tree->wal, sequence);
}

/* --- stats --- */

struct stat_writer {
	struct store_stat *stats;
	size_t count;
};

static void put_stat(struct stat_writer *writer, const char *name, uint64_t value, bool is_gauge)
{
	ASSERT(writer->count < STORE_STATS_MAX);
	writer->stats[writer->count++] =
		(struct store_stat) { .name = name, .value = value, .is_gauge = is_gauge };
}

static void put_operations(struct stat_writer *writer, const struct tree_counters *c)
{
	put_stat(writer, "reads", c->reads, false);
	put_stat(writer, "reads.found", c->reads_found, false);
	put_stat(writer, "reads.memtable", c->reads_memtable, false);
	put_stat(writer, "reads.table", c->reads_table, false);
	put_stat(writer, "tables.probed", c->tables_probed, false);
	put_stat(writer, "tables.filtered", c->tables_filtered, false);
	put_stat(writer, "writes", c->writes, false);
	put_stat(writer, "writes.bytes", c->write_bytes, false);
	put_stat(writer, "writes.waits", c->write_waits, false);
	put_stat(writer, "writes.timeouts", c->write_timeouts, false);
	put_stat(writer, "cursors", c->cursors, false);
}

static void put_background(struct stat_writer *writer, struct tree *tree)
{
	const struct tree_counters *c = &tree->counters;
	put_stat(writer, "flushes", c->flushes, false);
	put_stat(writer, "flush.bytes_in", c->flush_bytes_in, false);
	put_stat(writer, "flush.bytes_out", c->flush_bytes_out, false);
	put_stat(writer, "merges", c->merges, false);
	put_stat(writer, "merge.moves", c->merge_moves, false);
	put_stat(writer, "merge.bytes_in", c->merge_bytes_in, false);
	put_stat(writer, "merge.bytes_out", c->merge_bytes_out, false);
	put_stat(writer, "merge.entries_in", c->merge_entries_in, false);
	put_stat(writer, "merge.entries_dropped", c->merge_entries_dropped, false);
	put_stat(writer, "merge.debt", tree_debt(tree), true);
	put_stat(writer, "background.errors", c->background_errors, false);
	put_stat(writer, "pacing.pressure", pacer_pressure(&tree->pacer), true);
	put_stat(writer, "pacing.delayed", tree->pacer.delayed_writes, false);
	put_stat(writer, "pacing.delayed_ns", tree->pacer.delayed_ns, false);
	put_stat(writer, "pacing.stopped", tree->pacer.stopped_writes, false);
}

static void put_log(struct stat_writer *writer, const struct wal_counters *c)
{
	put_stat(writer, "wal.commits", c->commits, false);
	put_stat(writer, "wal.groups", c->groups, false);
	put_stat(writer, "wal.syncs", c->syncs, false);
	put_stat(writer, "wal.payload_bytes", c->payload_bytes, false);
	put_stat(writer, "wal.bytes", c->written_bytes, false);
	put_stat(writer, "wal.laps", c->laps, false);
	put_stat(writer, "wal.segment_waits", c->segment_waits, false);
	put_stat(writer, "wal.segments", c->segments, true);
	put_stat(writer, "wal.live_bytes", c->live_bytes, true);
}

static void put_cache(struct stat_writer *writer, const struct buffer_counters *c)
{
	put_stat(writer, "cache.hits", c->hits, false);
	put_stat(writer, "cache.misses", c->misses, false);
	put_stat(writer, "cache.loads", c->loads, false);
	put_stat(writer, "cache.load_bytes", c->load_bytes, false);
	put_stat(writer, "cache.joined", c->joined, false);
	put_stat(writer, "cache.evictions", c->evictions, false);
	put_stat(writer, "cache.frames", c->frames, true);
	put_stat(writer, "cache.frames_used", c->frames_used, true);
	put_stat(writer, "cache.frames_pinned", c->frames_pinned, true);
	put_stat(writer, "cache.slot_bytes_peak", c->slot_bytes_peak, true);
}

static void put_io(struct stat_writer *writer, const struct io *io)
{
	put_stat(writer, "io.reads", io->counters.reads, false);
	put_stat(writer, "io.writes", io->counters.writes, false);
	put_stat(writer, "io.syncs", io->counters.syncs, false);
	put_stat(writer, "io.read_bytes", io->counters.read_bytes, false);
	put_stat(writer, "io.write_bytes", io->counters.write_bytes, false);
	put_stat(writer, "io.submits", io->counters.submits, false);
	put_stat(writer, "io.retries", io->counters.retries, false);
	put_stat(writer, "io.registered", io->memory_registered, true);
}

static void put_records(struct stat_writer *writer, const struct tree *tree)
{
	static const struct record_cache_counters none;
	const struct record_cache_counters *c =
		tree->records != NULL ? record_cache_counters(tree->records) : &none;
	put_stat(writer, "records.hits", c->hits, false);
	put_stat(writer, "records.misses", c->misses, false);
	put_stat(writer, "records.inserts", c->inserts, false);
	put_stat(writer, "records.removals", c->removals, false);
	put_stat(writer, "records.evictions", c->evictions, false);
	put_stat(writer, "records.held", c->records, true);
}

static void put_runtime(struct stat_writer *writer, const struct shard_counters *c)
{
	put_stat(writer, "runtime.turns", c->turns, false);
	put_stat(writer, "runtime.switches", c->switches, false);
	put_stat(writer, "runtime.tasks", c->tasks_spawned, false);
	put_stat(writer, "runtime.calls_sent", c->calls_sent, false);
	put_stat(writer, "runtime.calls_received", c->calls_received, false);
	put_stat(writer, "runtime.sleeps", c->sleeps, false);
	put_stat(writer, "runtime.wakes_sent", c->wakes_sent, false);
	put_stat(writer, "runtime.borrows", c->borrows, false);
	put_stat(writer, "runtime.slice_overruns", c->slice_overruns, false);
	put_stat(writer, "runtime.posts_sent", c->posts_sent, false);
	put_stat(writer, "runtime.post_errors", c->post_errors, false);
	put_stat(writer, "runtime.mailbox_waits", c->mailbox_waits, false);
	put_stat(writer, "runtime.cancels", c->cancels, false);
	const struct shard_queue_counters *front = &c->queues[TASK_FOREGROUND];
	put_stat(writer, "runtime.foreground_runs", front->runs, false);
	put_stat(writer, "runtime.foreground_ns", front->run_ns, false);
	put_stat(writer, "runtime.foreground_wait_ns", front->wait_ns, false);
	put_stat(writer, "runtime.foreground_waits_100us", front->waits[WAITS_OVER_100_US], false);
	put_stat(writer, "runtime.foreground_waits_1ms", front->waits[WAITS_OVER_1_MS], false);
	put_stat(writer, "runtime.foreground_waits_10ms", front->waits[WAITS_OVER_10_MS], false);
	const struct shard_queue_counters *back = &c->queues[TASK_BACKGROUND];
	put_stat(writer, "runtime.background_runs", back->runs, false);
	put_stat(writer, "runtime.background_ns", back->run_ns, false);
	put_stat(writer, "runtime.background_wait_ns", back->wait_ns, false);
	put_stat(writer, "runtime.background_waits_100us", back->waits[WAITS_OVER_100_US], false);
	put_stat(writer, "runtime.background_waits_1ms", back->waits[WAITS_OVER_1_MS], false);
	put_stat(writer, "runtime.background_waits_10ms", back->waits[WAITS_OVER_10_MS], false);
}

static void put_shape(struct stat_writer *writer, const struct tree *tree)
{
	static const char *const tables[LEVELS_MAX] = { "level.0.tables", "level.1.tables", "level.2.tables",
							"level.3.tables", "level.4.tables", "level.5.tables",
							"level.6.tables", "level.7.tables" };
	static const char *const bytes[LEVELS_MAX] = { "level.0.bytes", "level.1.bytes", "level.2.bytes",
						       "level.3.bytes", "level.4.bytes", "level.5.bytes",
						       "level.6.bytes", "level.7.bytes" };
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		put_stat(writer, tables[l], tree->versions.current->levels[l].count, true);
		put_stat(writer, bytes[l], tree->versions.current->levels[l].bytes, true);
	}
}

static void put_memory(struct stat_writer *writer, const struct tree *tree)
{
	uint64_t tables = 0;
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		const struct version_level *level = &tree->versions.current->levels[l];
		for (size_t i = 0; i < level->count; i++)
			tables += table_memory(level->tables[i]->table);
	}
	/* With those that only a cursor or a value still refers to, and what is kept for the next one. */
	put_stat(writer, "memory.memtables", tree->chunks.reserved_bytes, true);
	put_stat(writer, "memory.tables", tables, true);
	put_stat(writer, "memory.log", wal_counters(tree->wal)->memory_bytes, true);
}

static size_t tree_stats(struct store *store, struct store_stat *stats)
{
	struct tree *tree = tree_of(store);
	struct stat_writer writer = { .stats = stats };
	put_operations(&writer, &tree->counters);
	put_background(&writer, tree);
	put_log(&writer, wal_counters(tree->wal));
	put_cache(&writer, buffer_counters(tree->pool));
	put_io(&writer, shard_io(tree->options.shard));
	put_records(&writer, tree);
	put_runtime(&writer, shard_counters(tree->options.shard));
	put_shape(&writer, tree);
	put_memory(&writer, tree);
	return writer.count;
}

const struct store_ops tree_store = {
	.name = "tree",
	.open = tree_open,
	.close = tree_close,
	.write = tree_write,
	.try_write = tree_try_write,
	.wait_published = tree_wait_published,
	.value_release = tree_value_release,
	.flush = tree_flush,
	.wait_idle = tree_wait_idle,
	.verify = tree_verify,
	.stats = tree_stats,
	.get = tree_get,
	.try_get = tree_try_get,
	.cursor_create = tree_cursor_create,
};

const struct store_ops tree_torn_store = {
	.name = "tree",
	.open = tree_open,
	.close = tree_close,
	.write = tree_write,
	.try_write = tree_try_write,
	.wait_published = tree_wait_published,
	.value_release = tree_value_release,
	.flush = tree_flush,
	.wait_idle = tree_wait_idle,
	.verify = tree_verify,
	.stats = tree_stats,
	.get = tree_torn_get,
	.try_get = tree_torn_try_get,
	.cursor_create = tree_torn_cursor_create,
};
