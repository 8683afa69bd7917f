/*
 * An iterator over all shards: one cursor on each, read ahead in chunks of copied rows, and the smallest of
 * their current keys. Rows travel, cursors stay: no shard touches another's memory.
 */
#include "base/assert.h"
#include "base/bytes.h"
#include "base/memory.h"
#include "database/database_internal.h"

#include "base/poison.h"

enum {
	ROW_HEADER_BYTES = 8, /* key size, value size */
	CHUNK_BYTES = 16 << 10,
	CHUNK_ROWS_FIRST = 8,
	CHUNK_ROWS_LAST = 256,
};

struct shard_cursor;

/* What a shard is asked for: to stand somewhere, and to fill a chunk from there. */
struct fetch {
	cascade_iterator *iterator;
	struct shard_cursor *cursor;
	bool seek; /* false: goes on behind the last chunk */
	struct slice key;
	uint64_t rows;
	struct status status;
	struct request request; /* of a thread that is no shard's */
};

/* One shard's part. The chunk belongs to the iterator; the cursor lives on the shard. */
struct shard_cursor {
	struct fetch fetch;
	struct database_shard *shard;
	struct iterator *cursor;
	uint8_t *chunk;
	size_t capacity;
	size_t size; /* bytes filled */
	size_t next; /* of the row after the current one */
	bool has_row;
	bool ended; /* the shard has no rows behind the chunk */
	struct slice key, value;
};

struct cascade_iterator {
	cascade *db;
	uint64_t sequence;
	uint32_t slot; /* of the iterator's own snapshot; SNAPSHOTS_MAX: a given one */
	struct slice lower, upper;
	bool has_upper;
	uint64_t chunk_rows;	      /* of the next chunk */
	struct shard_cursor *current; /* NULL: not valid */
	struct status status;
	struct shard_cursor cursors[];
};

/* Room for one more row; only the first row of a chunk may make it grow. */
static struct status chunk_reserve(struct shard_cursor *cursor, size_t bytes, bool *full)
{
	*full = false;
	if (cursor->size + bytes <= cursor->capacity)
		return status_ok();
	if (cursor->size > 0) {
		*full = true;
		return status_ok();
	}
	size_t capacity = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
	uint8_t *chunk = memory_allocate(capacity);
	if (chunk == NULL)
		return status_make(STATUS_NO_MEMORY);
	memory_free(cursor->chunk);
	cursor->chunk = chunk;
	cursor->capacity = capacity;
	return status_ok();
}

static void chunk_add(struct shard_cursor *cursor, const struct entry *entry)
{
	uint8_t *at = cursor->chunk + cursor->size;
	bytes_store32(at, (uint32_t)entry->key.size);
	bytes_store32(at + 4, (uint32_t)entry->value.size);
	at += ROW_HEADER_BYTES;
	if (entry->key.size > 0)
		memcpy(at, entry->key.data, entry->key.size);
	if (entry->value.size > 0)
		memcpy(at + entry->key.size, entry->value.data, entry->value.size);
	cursor->size += ROW_HEADER_BYTES + entry->key.size + entry->value.size;
}

/* Leaves the cursor on the first row that is not in the chunk. */
MAY_SUSPEND static struct status fill_chunk(struct task *self, struct shard_cursor *cursor, uint64_t rows)
{
	struct iterator *rows_of = cursor->cursor;
	cursor->size = 0;
	cursor->next = 0;
	for (uint64_t i = 0; i < rows && rows_of->valid; i++) {
		const struct entry *entry = &rows_of->entry;
		bool full;
		TRY(chunk_reserve(cursor, ROW_HEADER_BYTES + entry->key.size + entry->value.size, &full));
		if (full)
			break;
		chunk_add(cursor, entry);
		TRY(iterator_next(self, rows_of));
	}
	cursor->ended = !rows_of->valid;
	return status_ok();
}

MAY_SUSPEND static struct status fetch_rows(struct task *self, struct fetch *fetch)
{
	struct shard_cursor *cursor = fetch->cursor;
	cascade_iterator *iterator = fetch->iterator;
	struct store *store = cursor->shard->store;
	cursor->ended = true;
	if (cursor->cursor == NULL) {
		store->ops->wait_published(self, store, iterator->sequence);
		TRY(store->ops->cursor_create(self, store, iterator->sequence, iterator->lower,
					      iterator->upper, iterator->has_upper, &cursor->cursor));
	}
	if (fetch->seek)
		TRY(iterator_seek(self, cursor->cursor, fetch->key, SEQUENCE_MAX));
	return fill_chunk(self, cursor, fetch->rows);
}

static void run_fetch(struct task *self, void *argument)
{
	struct fetch *fetch = argument;
	fetch->status = fetch_rows(self, fetch);
}

static void run_destroy(struct task *self, void *argument)
{
	(void)self;
	struct shard_cursor *cursor = argument;
	iterator_destroy(cursor->cursor);
	cursor->cursor = NULL;
}

/* Makes the chunk's next row the current one; false: the chunk is used up. */
static bool take_row(struct shard_cursor *cursor)
{
	cursor->has_row = cursor->next < cursor->size;
	if (!cursor->has_row)
		return false;
	const uint8_t *at = cursor->chunk + cursor->next;
	cursor->key = slice_make(at + ROW_HEADER_BYTES, bytes_load32(at));
	cursor->value = slice_make(cursor->key.data + cursor->key.size, bytes_load32(at + 4));
	cursor->next += ROW_HEADER_BYTES + cursor->key.size + cursor->value.size;
	return true;
}

static void choose_current(cascade_iterator *iterator)
{
	iterator->current = NULL;
	for (uint32_t i = 0; i < iterator->db->shard_count; i++) {
		struct shard_cursor *cursor = &iterator->cursors[i];
		if (cursor->has_row &&
		    (iterator->current == NULL || slice_compare(cursor->key, iterator->current->key) < 0))
			iterator->current = cursor;
	}
}

static void grow_chunks(cascade_iterator *iterator)
{
	iterator->chunk_rows *= 2;
	if (iterator->chunk_rows > CHUNK_ROWS_LAST)
		iterator->chunk_rows = CHUNK_ROWS_LAST;
}

/* From a thread that is no shard: all shards at once. */
static void fetch_from_outside(cascade_iterator *iterator)
{
	cascade *db = iterator->db;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		struct fetch *fetch = &iterator->cursors[i].fetch;
		request_init(&fetch->request, run_fetch, fetch);
		if (!status_is_ok(runtime_submit(db->runtime, i, &fetch->request))) {
			runtime_run(db->runtime, i, run_fetch, fetch);
			future_complete(&fetch->request.future);
		}
	}
	for (uint32_t i = 0; i < db->shard_count; i++)
		future_wait(&iterator->cursors[i].fetch.request.future);
}

static struct status iterator_seek_all(cascade_iterator *iterator, struct slice key)
{
	cascade *db = iterator->db;
	iterator->current = NULL;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		struct shard_cursor *cursor = &iterator->cursors[i];
		cursor->fetch = (struct fetch) { .iterator = iterator,
						 .cursor = cursor,
						 .seek = true,
						 .key = key,
						 .rows = iterator->chunk_rows };
	}
	if (database_task(db) == NULL) {
		fetch_from_outside(iterator);
	} else {
		for (uint32_t i = 0; i < db->shard_count; i++)
			database_call(db, i, run_fetch, &iterator->cursors[i].fetch);
	}
	for (uint32_t i = 0; i < db->shard_count; i++) {
		TRY(iterator->cursors[i].fetch.status);
		take_row(&iterator->cursors[i]);
	}
	grow_chunks(iterator);
	choose_current(iterator);
	return status_ok();
}

static cascade_status iterator_report(cascade_iterator *iterator, struct status status)
{
	iterator->status = status;
	if (!status_is_ok(status))
		iterator->current = NULL;
	return database_report(status);
}

cascade_status cascade_iterator_seek(cascade_iterator *iterator, cascade_slice key)
{
	if (iterator == NULL)
		return database_report(status_error(STATUS_INVALID, "iterator must be given"));
	return iterator_report(iterator, iterator_seek_all(iterator, slice_of(key)));
}

cascade_status cascade_iterator_seek_first(cascade_iterator *iterator)
{
	return cascade_iterator_seek(iterator, cascade_bytes(NULL, 0));
}

static struct status iterator_advance(cascade_iterator *iterator)
{
	struct shard_cursor *cursor = iterator->current;
	if (cursor == NULL)
		return status_error(STATUS_INVALID, "the iterator stands on no key");
	if (!take_row(cursor) && !cursor->ended) {
		struct fetch fetch = { .iterator = iterator, .cursor = cursor, .rows = iterator->chunk_rows };
		database_call(iterator->db, (uint32_t)(cursor->shard - iterator->db->shards), run_fetch,
			      &fetch);
		TRY(fetch.status);
		grow_chunks(iterator);
		take_row(cursor);
	}
	choose_current(iterator);
	return status_ok();
}

cascade_status cascade_iterator_next(cascade_iterator *iterator)
{
	if (iterator == NULL)
		return database_report(status_error(STATUS_INVALID, "iterator must be given"));
	return iterator_report(iterator, iterator_advance(iterator));
}

bool cascade_iterator_valid(const cascade_iterator *iterator)
{
	return iterator != NULL && iterator->current != NULL;
}

cascade_status cascade_iterator_status(const cascade_iterator *iterator)
{
	return (cascade_status)iterator->status.code;
}

cascade_slice cascade_iterator_key(const cascade_iterator *iterator)
{
	return cascade_iterator_valid(iterator) ? slice_out(iterator->current->key) : cascade_bytes(NULL, 0);
}

cascade_slice cascade_iterator_value(const cascade_iterator *iterator)
{
	return cascade_iterator_valid(iterator) ? slice_out(iterator->current->value)
						: cascade_bytes(NULL, 0);
}

static struct status copy_slice(cascade_slice from, struct slice *to)
{
	uint8_t *copy = memory_allocate(from.size + 1);
	if (copy == NULL)
		return status_make(STATUS_NO_MEMORY);
	if (from.size > 0)
		memcpy(copy, from.data, from.size);
	*to = slice_make(copy, from.size);
	return status_ok();
}

static struct status iterator_bounds(cascade_iterator *iterator, const cascade_iterator_options *options)
{
	cascade_slice none = cascade_bytes("", 0);
	TRY(copy_slice(options != NULL ? options->lower : none, &iterator->lower));
	TRY(copy_slice(options != NULL && options->has_upper ? options->upper : none, &iterator->upper));
	iterator->has_upper = options != NULL && options->has_upper;
	return status_ok();
}

/* A known number of rows is spread over the shards, with some to spare for an uneven spread. */
static uint64_t first_chunk_rows(const cascade *db, const cascade_iterator_options *options)
{
	if (options == NULL || options->rows_hint == 0)
		return CHUNK_ROWS_FIRST;
	if (db->shard_count == 1)
		return options->rows_hint;
	uint64_t share = options->rows_hint / db->shard_count;
	return share + share / 4 + 4;
}

static struct status iterator_snapshot(cascade_iterator *iterator, const cascade_iterator_options *options)
{
	iterator->slot = SNAPSHOTS_MAX;
	if (options != NULL && options->snapshot != NULL) {
		iterator->sequence = options->snapshot->sequence;
		return status_ok();
	}
	iterator->slot = snapshots_enter(&iterator->db->snapshots, &iterator->sequence);
	if (iterator->slot == SNAPSHOTS_MAX)
		return status_error(STATUS_BUSY, "%d snapshots are live already", (int)SNAPSHOTS_MAX);
	return status_ok();
}

static struct status iterator_make(cascade *db, const cascade_iterator_options *options,
				   cascade_iterator **result)
{
	if (db == NULL || result == NULL)
		return status_error(STATUS_INVALID, "db and iterator must be given");
	cascade_iterator *iterator =
		memory_allocate_zeroed(1, sizeof(*iterator) + db->shard_count * sizeof(iterator->cursors[0]));
	if (iterator == NULL)
		return status_make(STATUS_NO_MEMORY);
	iterator->db = db;
	for (uint32_t i = 0; i < db->shard_count; i++)
		iterator->cursors[i].shard = &db->shards[i];
	iterator->chunk_rows = first_chunk_rows(db, options);
	iterator->slot = SNAPSHOTS_MAX;
	atomic_fetch_add(&db->handles, 1);
	struct status status = iterator_bounds(iterator, options);
	if (status_is_ok(status))
		status = iterator_snapshot(iterator, options);
	if (!status_is_ok(status)) {
		cascade_iterator_destroy(iterator);
		return status;
	}
	*result = iterator;
	return status_ok();
}

cascade_status cascade_iterator_create(cascade *db, const cascade_iterator_options *options,
				       cascade_iterator **iterator)
{
	return database_report(iterator_make(db, options, iterator));
}

void cascade_iterator_destroy(cascade_iterator *iterator)
{
	if (iterator == NULL)
		return;
	cascade *db = iterator->db;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		struct shard_cursor *cursor = &iterator->cursors[i];
		if (cursor->cursor != NULL)
			database_call(db, i, run_destroy, cursor);
		memory_free(cursor->chunk);
	}
	if (iterator->slot != SNAPSHOTS_MAX)
		snapshots_leave(&db->snapshots, iterator->slot);
	memory_free((void *)(uintptr_t)iterator->lower.data);
	memory_free((void *)(uintptr_t)iterator->upper.data);
	memory_free(iterator);
	atomic_fetch_sub(&db->handles, 1);
}
