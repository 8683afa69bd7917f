#include <stdio.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "database/database_internal.h"
#include "database/root.h"
#include "tree/tree.h"

#include "base/poison.h"

enum {
	RING_FACTOR = 2, /* the log's ring holds this many times the memtables */
	PINS_SHARE = 8,	 /* tasks may pin as many values as an eighth of the pool's frames */
	SUBMIT_AGAIN_NS = 100 * 1000,
	LOCK_AGAIN_NS = 5 * 1000 * 1000,
	LOCK_TRIES = 400, /* two seconds */
};

/* --- a directory that holds no finished database --- */

/* What a listing found. */
struct directory_contents {
	bool root;
	bool root_new;
	uint32_t shards; /* directories named as shards are */
};

static bool is_shard_name(const char *name)
{
	return strncmp(name, "shard-", 6) == 0;
}

static void note_name(void *context, const char *name)
{
	struct directory_contents *contents = context;
	contents->root |= strcmp(name, "ROOT") == 0;
	contents->root_new |= strcmp(name, "ROOT.new") == 0;
	contents->shards += is_shard_name(name);
}

static struct status unlink_file(struct io *io, const char *directory, const char *name)
{
	char *path = root_join(directory, name);
	if (path == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = io_unlink(io, path);
	memory_free(path);
	return status;
}

struct sweep {
	struct io *io;
	const char *directory;
	struct status status;
};

/* Removes one file of an unfinished shard. */
static void sweep_file(void *context, const char *name)
{
	struct sweep *sweep = context;
	status_keep_first(&sweep->status, unlink_file(sweep->io, sweep->directory, name));
}

static void sweep_shard(void *context, const char *name)
{
	struct sweep *outer = context;
	if (!is_shard_name(name))
		return;
	char *directory = root_join(outer->directory, name);
	if (directory == NULL) {
		status_keep_first(&outer->status, status_make(STATUS_NO_MEMORY));
		return;
	}
	struct sweep inner = { .io = outer->io, .directory = directory };
	struct status status = io_list(outer->io, directory, sweep_file, &inner);
	status_keep_first(&outer->status, status);
	status_keep_first(&outer->status, inner.status);
	memory_free(directory);
}

/* A creation that never ended: ROOT.new stands, ROOT does not. Nothing in it was ever acknowledged. ROOT.new
 * stays until there is a ROOT: shards without either are a database that has lost it. */
static struct status sweep_unfinished(struct io *io, const char *path)
{
	struct sweep sweep = { .io = io, .directory = path };
	TRY(io_list(io, path, sweep_shard, &sweep));
	return sweep.status;
}

/* The database's directory is one more name that is not durable by itself. */
static struct status sync_parent(struct io *io, const char *path)
{
	char *parent = memory_copy_string(path);
	if (parent == NULL)
		return status_make(STATUS_NO_MEMORY);
	size_t length = strlen(parent);
	while (length > 1 && parent[length - 1] == '/')
		length--;
	while (length > 0 && parent[length - 1] != '/')
		length--;
	while (length > 1 && parent[length - 1] == '/')
		length--;
	if (length == 0)
		parent[length++] = '.';
	parent[length] = '\0';
	struct status status = io_sync_directory(io, parent);
	memory_free(parent);
	return status;
}

/* Decides between open and create, and leaves *root filled either way. */
static struct status find_or_begin(cascade *db, struct root *root, bool *create)
{
	struct directory_contents contents = { 0 };
	TRY(io_list(db->io, db->path, note_name, &contents));
	*create = !contents.root;
	if (contents.root) {
		TRY(root_read(db->io, db->path, root));
		return contents.root_new ? unlink_file(db->io, db->path, "ROOT.new") : status_ok();
	}
	if (contents.shards > 0 && !contents.root_new)
		return status_error(STATUS_CORRUPT, "%s/ROOT: missing, though shards are there", db->path);
	if (!db->options.create)
		return status_error(STATUS_NOT_FOUND, "%s: no database here, and create is false", db->path);
	if (contents.root_new)
		TRY(sweep_unfinished(db->io, db->path));
	TRY(sync_parent(db->io, db->path));
	*root = (struct root) { .id = { random_entropy(), random_entropy() },
				.shards = db->options.shards,
				.created_ns = clock_wall_ns() };
	return root_begin(db->io, db->path, root);
}

static struct status make_directory(struct io *io, const char *path)
{
	struct io_request request = { .operation = IO_MAKE_DIRECTORY, .path = path };
	return io_execute(io, &request);
}

/* --- shards --- */

static uint64_t next_sequence(void *context)
{
	return snapshots_next_sequence(&((cascade *)context)->snapshots);
}

static uint64_t oldest_snapshot(void *context)
{
	return snapshots_oldest(&((cascade *)context)->snapshots);
}

static size_t list_snapshots(void *context, uint64_t *sequences, size_t capacity)
{
	return snapshots_list(&((cascade *)context)->snapshots, sequences, capacity);
}

static void fill_components(const struct resolved_options *from, struct store_options *to)
{
	to->memtable = (const void *)from->components[COMPONENT_MEMTABLE];
	to->filter = (const void *)from->components[COMPONENT_FILTER];
	to->cache = (const void *)from->components[COMPONENT_CACHE];
	to->codec = (const void *)from->components[COMPONENT_CODEC];
	to->policy = (const void *)from->components[COMPONENT_COMPACTION];
	to->memtable_options = from->component_options[COMPONENT_MEMTABLE];
	to->filter_options = from->component_options[COMPONENT_FILTER];
	to->cache_options = from->component_options[COMPONENT_CACHE];
	to->codec_options = from->component_options[COMPONENT_CODEC];
	to->policy_options = from->component_options[COMPONENT_COMPACTION];
}

static void fill_store_options(cascade *db, uint32_t index, bool create)
{
	const struct resolved_options *from = &db->options;
	struct database_shard *shard = &db->shards[index];
	uint64_t memtables = from->memtable_bytes / db->shard_count;
	uint64_t segments = RING_FACTOR * memtables / from->segment_bytes + 2;
	shard->options = (struct store_options) { .shard = runtime_shard(db->runtime, index),
						  .directory = shard->directory,
						  .database_id = { db->id[0], db->id[1] },
						  .create = create,
						  .durability = from->durability,
						  .write_timeout_ns = from->write_timeout_ns,
						  .memtable_bytes = memtables,
						  .cache_bytes = (from->cache_bytes - from->record_bytes) /
								 db->shard_count,
						  .record_bytes = from->record_bytes / db->shard_count,
						  .table_bytes = from->table_bytes,
						  .wal_buffered = from->wal_buffered,
						  .segment_bytes = from->segment_bytes,
						  .segments_max = (uint32_t)segments,
						  .group_bytes = 256 << 10,
						  .block_bytes = (uint32_t)from->block_bytes,
						  .merges_max = from->merges_max,
						  .next_sequence = next_sequence,
						  .oldest_snapshot = oldest_snapshot,
						  .snapshots = list_snapshots,
						  .context = db,
						  .trace = db->trace };
	fill_components(from, &shard->options);
}

static struct status make_shard_directories(cascade *db, bool create)
{
	for (uint32_t i = 0; i < db->shard_count; i++) {
		char name[32];
		(void)snprintf(name, sizeof(name), "shard-%04u", i);
		db->shards[i].db = db;
		db->shards[i].pins_max = (db->options.cache_bytes - db->options.record_bytes) /
					 db->shard_count / IO_PAGE_BYTES / PINS_SHARE;
		db->shards[i].directory = root_join(db->path, name);
		if (db->shards[i].directory == NULL)
			return status_make(STATUS_NO_MEMORY);
		if (create)
			TRY(make_directory(db->io, db->shards[i].directory));
		fill_store_options(db, i, create);
	}
	if (!create)
		return status_ok();
	return io_sync_directory(db->io, db->path);
}

static void run_open(struct task *self, void *argument)
{
	struct database_shard *shard = argument;
	io_hold(shard_io(task_shard(self)), shard->db->lock);
	shard->status = shard->db->store_ops->open(self, &shard->options, &shard->store, &shard->report);
}

static void run_close(struct task *self, void *argument)
{
	struct database_shard *shard = argument;
	shard->status = status_ok();
	shard->closing = true;
	while (shard->calls > 0)
		wait_list_wait(self, &shard->no_calls);
	if (shard->store != NULL)
		shard->status = shard->store->ops->close(self, shard->store);
	shard->store = NULL;
	while (shard->free_pins != NULL) {
		struct value_pin *pin = shard->free_pins;
		shard->free_pins = pin->next_free;
		memory_free(pin);
	}
}

static const struct task_type open_request = {
	.name = "open",
	.run = run_open,
	.stack_bytes = 8192,
};

static const struct task_type close_request = {
	.name = "close",
	.run = run_close,
	.stack_bytes = 8192,
};

/* On all shards at the same time; the first shard's error counts. */
static struct status on_all_shards(cascade *db, const struct task_type *type)
{
	for (uint32_t i = 0; i < db->shard_count; i++) {
		request_init_type(&db->shards[i].request, type, &db->shards[i]);
		/* The inbox may be full of calls under way. */
		while (!status_is_ok(runtime_submit(db->runtime, i, &db->shards[i].request)))
			clock_sleep_ns(SUBMIT_AGAIN_NS);
	}
	struct status status = status_ok();
	for (uint32_t i = 0; i < db->shard_count; i++) {
		future_wait(&db->shards[i].request.future);
		status_keep_first(&status, db->shards[i].status);
	}
	return status;
}

static struct status start_runtime(cascade *db)
{
	struct runtime_options options = { .shards = db->shard_count,
					   .io_backend = db->options.io_backend,
					   .stacks_ahead = true,
					   .io = { .direct = db->options.direct } };
	return runtime_create(&options, &db->runtime, db->notice, sizeof(db->notice));
}

/* --- open --- */

/* Nobody should come to think that this is a database. */
static void notice_forgetting(cascade *db)
{
	const struct component *memtable = db->options.components[COMPONENT_MEMTABLE];
	size_t used = strlen(db->notice);
	if ((memtable->capabilities & MEMTABLE_FORGETS) != 0)
		(void)snprintf(db->notice + used, sizeof(db->notice) - used,
			       "%smemtable.kind %s forgets what is written: nothing is found again",
			       used > 0 ? "; " : "", memtable->name);
}

static struct status open_shards(cascade *db, bool create)
{
	db->shards = memory_allocate_aligned(64, db->shard_count * sizeof(*db->shards));
	if (db->shards == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset(db->shards, 0, db->shard_count * sizeof(*db->shards));
	for (uint32_t i = 0; i < db->shard_count; i++)
		wait_list_init(&db->shards[i].no_calls);
	TRY(start_runtime(db));
	TRY(make_shard_directories(db, create));
	TRY(on_all_shards(db, &open_request));
	uint64_t last = 0;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		uint64_t sequence = db->shards[i].report.last_sequence;
		last = sequence > last ? sequence : last;
	}
	atomic_store(&db->snapshots.sequence, last);
	notice_forgetting(db);
	return create ? root_commit(db->io, db->path) : status_ok();
}

static struct status lock_directory(cascade *db)
{
	char *path = root_join(db->path, "LOCK");
	if (path == NULL)
		return status_make(STATUS_NO_MEMORY);
	/* A process that was killed leaves the lock behind until the kernel has ended its requests. */
	struct status status = io_lock(db->io, path, &db->lock);
	for (unsigned tries = 0; status_is(status, STATUS_LOCKED) && tries < LOCK_TRIES; tries++) {
		clock_sleep_ns(LOCK_AGAIN_NS);
		status = io_lock(db->io, path, &db->lock);
	}
	memory_free(path);
	return status;
}

static struct status check_shards(const cascade *db, const struct root *root)
{
	if (!db->options.shards_given || db->options.shards == root->shards)
		return status_ok();
	return status_error(STATUS_INVALID,
			    "shards: the database has %u, fixed at its creation; %u were asked for",
			    root->shards, db->options.shards);
}

static struct status open_steps(cascade *db, const cascade_options *options)
{
	struct io_options io_options = { .depth = 8, .direct = false };
	char ignored[NOTICE_BYTES];
	TRY(io_create("posix", &io_options, &db->io, ignored, sizeof(ignored)));
	if (db->options.create)
		TRY(make_directory(db->io, db->path));
	TRY(lock_directory(db));
	struct root root;
	bool create;
	TRY(find_or_begin(db, &root, &create));
	TRY(check_shards(db, &root));
	if (!create)
		TRY(root_renew(db->io, db->path, &root));
	TRY(options_resolve(options, root.shards, &db->options));
	db->shard_count = root.shards;
	db->id[0] = root.id[0];
	db->id[1] = root.id[1];
	if (db->options.trace_path[0] != '\0')
		TRY(trace_create(db->io, db->options.trace_path, db->options.trace_kinds, db->shard_count,
				 &db->trace));
	return open_shards(db, create);
}

/* Closes what is open; the first error counts. */
static struct status database_free(cascade *db)
{
	struct status status = status_ok();
	if (db->runtime != NULL) {
		status = on_all_shards(db, &close_request);
		while (atomic_load(&db->visitors) > 0)
			clock_sleep_ns(SUBMIT_AGAIN_NS);
		runtime_destroy(db->runtime);
	}
	for (uint32_t i = 0; db->shards != NULL && i < db->shard_count; i++)
		memory_free(db->shards[i].directory);
	memory_free(db->shards);
	trace_finish(db->trace, db->io);
	if (db->lock >= 0)
		io_unlock(db->io, db->lock);
	if (db->io != NULL)
		io_destroy(db->io);
	memory_free(db->path);
	memory_free(db);
	return status;
}

cascade_status cascade_open(const char *path, const cascade_options *options, cascade **result)
{
	if (path == NULL || path[0] == '\0' || result == NULL)
		return database_report(status_error(STATUS_INVALID, "path and db must be given"));
	if (strlen(path) > IO_PATH_MAX - 64)
		return database_report(status_error(STATUS_INVALID, "the path is too long"));
	cascade *db = memory_allocate_aligned(64, sizeof(*db));
	if (db == NULL)
		return database_report(status_make(STATUS_NO_MEMORY));
	memset(db, 0, sizeof(*db));
	db->lock = -1;
	db->store_ops = &tree_store;
	snapshots_init(&db->snapshots, 0);
	db->path = memory_copy_string(path);
	struct status status = status_make(STATUS_NO_MEMORY);
	if (db->path != NULL)
		status = options_resolve(options, 0, &db->options);
	if (status_is_ok(status))
		status = open_steps(db, options);
	if (!status_is_ok(status)) {
		struct status ignored = database_free(db);
		(void)ignored;
		return database_report(status);
	}
	*result = db;
	return CASCADE_OK;
}

static void run_count_pins(struct task *self, void *argument)
{
	(void)self;
	struct database_shard *shard = argument;
	shard->status = shard->pins == 0 ? status_ok()
					 : status_error(STATUS_BUSY, "%llu values are still pinned",
							(unsigned long long)shard->pins);
}

static const struct task_type pins_request = {
	.name = "pins",
	.run = run_count_pins,
	.stack_bytes = 1024,
};

cascade_status cascade_close(cascade *db)
{
	if (db == NULL)
		return CASCADE_OK;
	uint64_t handles = atomic_load(&db->handles);
	if (handles > 0)
		return database_report(status_error(STATUS_BUSY,
						    "%llu iterators, snapshots or futures are still there",
						    (unsigned long long)handles));
	struct status status = on_all_shards(db, &pins_request);
	if (!status_is_ok(status))
		return database_report(status);
	return database_report(database_free(db));
}

const char *cascade_notice(const cascade *db)
{
	return db->notice;
}
