/*
 * An iterator over all shards: rows are fetched from each in chunks of copies, and the smallest of the
 * current keys is where the iterator stands. Rows travel, so no shard touches another's memory.
 *
 * Between fetches an iterator holds nothing on the shards: no frames of the pool, no memtable, no tables. Its
 * snapshot alone lets the next fetch find what the last one left off at. So any number of iterators may stand
 * open for any time and neither block each other nor keep memory or files from being freed.
 */
#include "base/assert.h"
#include "base/bytes.h"
#include "base/memory.h"
#include "database/database_internal.h"

#include "base/poison.h"

enum {
	ROW_HEADER_BYTES = 8, /* key size, value size */
	/* Chunks double from fetch to fetch: a short scan reads little too much, a long one seeks seldom. */
	CHUNK_BYTES_FIRST = 16 << 10,
	CHUNK_BYTES_LAST = 256 << 10,
	CHUNK_ROWS_FIRST = 8,
	CHUNK_ROWS_LAST = 4096,
	ROWS_PER_BREATH = 32,
};

struct shard_cursor;

struct key_buffer {
	uint8_t *bytes;
	size_t size;
	size_t capacity;
};

/* What a shard is asked for: to fill a chunk with the rows from a key on. */
struct fetch {
	cascade_iterator *iterator;
	struct shard_cursor *cursor;
	struct slice key;
	struct status status;
	bool is_remote;		/* a task of its own asks the shard */
	struct request request; /* of a thread that is no shard's */
};

/* One shard's part. */
struct shard_cursor {
	struct fetch fetch;
	struct database_shard *shard;
	uint8_t *chunk;
	size_t capacity;
	size_t size; /* bytes filled */
	size_t next; /* of the row after the current one */
	bool has_row;
	bool ended; /* the shard has no rows behind the chunk */
	struct slice key, value;
	struct key_buffer resume; /* the first key behind the chunk, unless ended */
};

struct cascade_iterator {
	cascade *db;
	uint64_t sequence;
	uint32_t slot; /* of the iterator's own snapshot; SNAPSHOTS_MAX: a given one */
	struct slice lower, upper;
	bool has_upper;
	struct key_buffer
		target;	     /* of a seek: the caller's key may lie in a chunk that the seek fills anew */
	uint64_t chunk_rows; /* of the next chunk, at most */
	uint64_t rows_left;  /* that the caller said it will still read; 0: unknown */
	size_t chunk_bytes;
	struct shard_cursor *current; /* NULL: not valid */
	struct status status;
	struct shard_cursor cursors[];
};

/* Gives the chunk, which is empty, room for at least `bytes`. */
static struct status chunk_grow(struct shard_cursor *cursor, size_t bytes)
{
	if (bytes <= cursor->capacity)
		return status_ok();
	uint8_t *chunk = memory_allocate(bytes);
	if (chunk == NULL)
		return status_make(STATUS_NO_MEMORY);
	memory_free(cursor->chunk);
	cursor->chunk = chunk;
	cursor->capacity = bytes;
	return status_ok();
}

static struct status key_buffer_set(struct key_buffer *buffer, struct slice key)
{
	if (key.size > buffer->capacity) {
		size_t capacity = key.size < 64 ? 64 : 2 * key.size;
		uint8_t *bytes = memory_resize(buffer->bytes, capacity);
		if (bytes == NULL)
			return status_make(STATUS_NO_MEMORY);
		buffer->bytes = bytes;
		buffer->capacity = capacity;
	}
	if (key.size > 0)
		memcpy(buffer->bytes, key.data, key.size);
	buffer->size = key.size;
	return status_ok();
}

static struct slice key_buffer_slice(const struct key_buffer *buffer)
{
	return slice_make(buffer->bytes, buffer->size);
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

/* Room for the chunk's rows if they are about as large as the first one, within the chunk's bound. */
static size_t chunk_bytes_for(const cascade_iterator *iterator, size_t row_bytes)
{
	uint64_t bytes = (row_bytes + row_bytes / 8) * iterator->chunk_rows;
	if (bytes > iterator->chunk_bytes)
		bytes = iterator->chunk_bytes;
	return bytes > row_bytes ? (size_t)bytes : row_bytes;
}

/* Fills the chunk from where `rows` stands: with one row at least, however large. */
MAY_SUSPEND static struct status fill_chunk(struct task *self, struct shard_cursor *cursor,
					    struct iterator *rows)
{
	const cascade_iterator *iterator = cursor->fetch.iterator;
	for (uint64_t i = 0; i < iterator->chunk_rows && rows->valid; i++) {
		const struct entry *entry = &rows->entry;
		size_t bytes = ROW_HEADER_BYTES + entry->key.size + entry->value.size;
		if (i == 0)
			TRY(chunk_grow(cursor, chunk_bytes_for(iterator, bytes)));
		if (cursor->size + bytes > cursor->capacity)
			break;
		chunk_add(cursor, entry);
		TRY(iterator_next(self, rows));
		if (i % ROWS_PER_BREATH == ROWS_PER_BREATH - 1)
			task_breathe(self);
	}
	if (rows->valid)
		TRY(key_buffer_set(&cursor->resume, rows->entry.key));
	cursor->ended = !rows->valid;
	return status_ok();
}

MAY_SUSPEND static struct status fetch_rows(struct task *self, struct fetch *fetch)
{
	struct shard_cursor *cursor = fetch->cursor;
	const cascade_iterator *iterator = fetch->iterator;
	struct store *store = cursor->shard->store;
	struct iterator *rows;
	cursor->size = 0;
	cursor->next = 0;
	cursor->ended = true;
	store->ops->wait_published(self, store, iterator->sequence);
	TRY(store->ops->cursor_create(self, store, iterator->sequence, iterator->lower, iterator->upper,
				      iterator->has_upper, iterator->chunk_rows, &rows));
	struct status status = iterator_seek(self, rows, fetch->key, SEQUENCE_MAX);
	if (status_is_ok(status))
		status = fill_chunk(self, cursor, rows);
	iterator_destroy(rows);
	return status;
}

static void run_fetch(struct task *self, void *argument)
{
	struct fetch *fetch = argument;
	fetch->status = status_make(STATUS_CLOSED);
	if (!database_enter(fetch->cursor->shard))
		return;
	fetch->status = fetch_rows(self, fetch);
	database_leave(fetch->cursor->shard);
}

static const struct task_type fetch_call_type = {
	.name = "fetch",
	.run = run_fetch,
	.stack_bytes = 2560,
};

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

/*
 * A known number of rows spreads over the shards at random: the mean of a share and about one deviation. Rows
 * that are fetched and never asked for cost reads; a second fetch costs a seek.
 */
static uint64_t share_of_rows(const cascade *db, uint64_t rows)
{
	if (db->shard_count == 1)
		return rows;
	uint64_t share = rows / db->shard_count;
	if (share >= CHUNK_ROWS_LAST)
		return CHUNK_ROWS_LAST;
	uint64_t deviation = 1;
	while (deviation * deviation < share)
		deviation++;
	return share + deviation;
}

static void grow_chunks(cascade_iterator *iterator)
{
	iterator->chunk_rows *= 2;
	if (iterator->chunk_rows > CHUNK_ROWS_LAST)
		iterator->chunk_rows = CHUNK_ROWS_LAST;
	if (iterator->rows_left > 0) {
		uint64_t share = share_of_rows(iterator->db, iterator->rows_left);
		if (iterator->chunk_rows > share)
			iterator->chunk_rows = share;
	}
	iterator->chunk_bytes *= 2;
	if (iterator->chunk_bytes > CHUNK_BYTES_LAST)
		iterator->chunk_bytes = CHUNK_BYTES_LAST;
}

/* From a thread that is no shard: all shards at once. */
static void fetch_from_outside(cascade_iterator *iterator)
{
	cascade *db = iterator->db;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		struct fetch *fetch = &iterator->cursors[i].fetch;
		request_init_type(&fetch->request, &fetch_call_type, fetch);
		if (!status_is_ok(runtime_submit(db->runtime, i, &fetch->request))) {
			runtime_run_type(db->runtime, i, &fetch_call_type, fetch);
			future_complete(&fetch->request.future);
		}
	}
	for (uint32_t i = 0; i < db->shard_count; i++)
		future_wait(&iterator->cursors[i].fetch.request.future);
}

static void run_remote_fetch(struct task *self, void *argument)
{
	struct fetch *fetch = argument;
	shard_call_type(self, (uint32_t)(fetch->cursor->shard - fetch->iterator->db->shards),
			&fetch_call_type, fetch);
}

/* From a task: the other shards are asked by tasks of their own, so that all work at the same time. */
static void fetch_from_task(struct task *self, cascade_iterator *iterator)
{
	static const struct task_type remote_type = {
		.name = "remote fetch",
		.run = run_remote_fetch,
		.stack_bytes = 1024,
	};
	cascade *db = iterator->db;
	uint32_t here = shard_index(task_shard(self));
	struct join join;
	join_init(&join);
	for (uint32_t i = 0; i < db->shard_count; i++) {
		struct fetch *fetch = &iterator->cursors[i].fetch;
		fetch->is_remote = i != here && status_is_ok(task_spawn(task_shard(self), &remote_type, fetch,
									TASK_FOREGROUND, &join));
	}
	for (uint32_t i = 0; i < db->shard_count; i++) {
		if (!iterator->cursors[i].fetch.is_remote)
			database_call(db, i, &fetch_call_type, &iterator->cursors[i].fetch);
	}
	join_wait(self, &join);
}

static struct status iterator_seek_all(cascade_iterator *iterator, struct slice key)
{
	cascade *db = iterator->db;
	TRY(key_buffer_set(&iterator->target, key));
	iterator->current = NULL;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		struct shard_cursor *cursor = &iterator->cursors[i];
		cursor->has_row = false;
		cursor->fetch = (struct fetch) { .iterator = iterator,
						 .cursor = cursor,
						 .key = key_buffer_slice(&iterator->target) };
	}
	struct task *self = database_task(db);
	if (self == NULL)
		fetch_from_outside(iterator);
	else
		fetch_from_task(self, iterator);
	for (uint32_t i = 0; i < db->shard_count; i++) {
		TRY(iterator->cursors[i].fetch.status);
		take_row(&iterator->cursors[i]);
	}
	grow_chunks(iterator);
	choose_current(iterator);
	return status_ok();
}

static struct status iterator_note(cascade_iterator *iterator, struct status status)
{
	iterator->status = status;
	if (!status_is_ok(status))
		iterator->current = NULL;
	return status;
}

struct status iterator_seek_to(cascade_iterator *iterator, cascade_slice key)
{
	return iterator_note(iterator, iterator_seek_all(iterator, slice_of(key)));
}

cascade_status cascade_iterator_seek(cascade_iterator *iterator, cascade_slice key)
{
	if (iterator == NULL || (key.data == NULL && key.size > 0))
		return database_report(status_error(STATUS_INVALID, "iterator and key must be given"));
	return database_report(iterator_seek_to(iterator, key));
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
	if (iterator->rows_left > 0)
		iterator->rows_left--;
	if (!take_row(cursor) && !cursor->ended) {
		cursor->fetch = (struct fetch) { .iterator = iterator,
						 .cursor = cursor,
						 .key = key_buffer_slice(&cursor->resume) };
		database_call(iterator->db, (uint32_t)(cursor->shard - iterator->db->shards),
			      &fetch_call_type, &cursor->fetch);
		TRY(cursor->fetch.status);
		grow_chunks(iterator);
		take_row(cursor);
	}
	choose_current(iterator);
	return status_ok();
}

struct status iterator_step(cascade_iterator *iterator)
{
	return iterator_note(iterator, iterator_advance(iterator));
}

cascade_status cascade_iterator_next(cascade_iterator *iterator)
{
	if (iterator == NULL)
		return database_report(status_error(STATUS_INVALID, "iterator must be given"));
	return database_report(iterator_step(iterator));
}

bool iterator_step_is_short(const cascade_iterator *iterator)
{
	const struct shard_cursor *cursor = iterator->current;
	return cursor == NULL || cursor->next < cursor->size || cursor->ended;
}

cascade *iterator_database(const cascade_iterator *iterator)
{
	return iterator->db;
}

bool cascade_iterator_valid(const cascade_iterator *iterator)
{
	return iterator != NULL && iterator->current != NULL;
}

cascade_status cascade_iterator_status(const cascade_iterator *iterator)
{
	return iterator != NULL ? (cascade_status)iterator->status.code : CASCADE_INVALID;
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
	if (options != NULL &&
	    ((options->lower.data == NULL && options->lower.size > 0) ||
	     (options->has_upper && options->upper.data == NULL && options->upper.size > 0)))
		return status_error(STATUS_INVALID, "a bound is NULL");
	cascade_iterator *iterator =
		memory_allocate_zeroed(1, sizeof(*iterator) + db->shard_count * sizeof(iterator->cursors[0]));
	if (iterator == NULL)
		return status_make(STATUS_NO_MEMORY);
	iterator->db = db;
	for (uint32_t i = 0; i < db->shard_count; i++)
		iterator->cursors[i].shard = &db->shards[i];
	iterator->rows_left = options != NULL ? options->rows_hint : 0;
	iterator->chunk_rows =
		iterator->rows_left > 0 ? share_of_rows(db, iterator->rows_left) : CHUNK_ROWS_FIRST;
	iterator->chunk_bytes = iterator->rows_left > 0 ? CHUNK_BYTES_LAST : CHUNK_BYTES_FIRST;
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
		memory_free(iterator->cursors[i].chunk);
		memory_free(iterator->cursors[i].resume.bytes);
	}
	if (iterator->slot != SNAPSHOTS_MAX)
		snapshots_leave(&db->snapshots, iterator->slot);
	memory_free(iterator->target.bytes);
	memory_free((void *)(uintptr_t)iterator->lower.data);
	memory_free((void *)(uintptr_t)iterator->upper.data);
	memory_free(iterator);
	atomic_fetch_sub(&db->handles, 1);
}
