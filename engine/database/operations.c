#include "base/assert.h"
#include "base/batch.h"
#include "base/memory.h"
#include "database/database_internal.h"

#include "base/poison.h"

/* --- writing --- */

static void run_write(struct task *self, void *argument)
{
	struct write_call *call = argument;
	struct store *store = call->shard->store;
	call->status = status_make(STATUS_CLOSED);
	if (!database_enter(call->shard))
		return;
	call->status =
		store->ops->write(self, store, call->pieces, call->count, call->user_bytes, call->durability);
	database_leave(call->shard);
}

const struct task_type write_call_type = {
	.name = "write",
	.run = run_write,
	.stack_bytes = 1536,
};

bool write_call_attempt(void *argument)
{
	struct write_call *call = argument;
	struct store *store = call->shard->store;
	struct status status = call->status; /* one that has not happened may still be canceled */
	if (call->shard->closing || !store->ops->try_write(store, call->pieces, call->count, call->user_bytes,
							   call->durability, &status))
		return false;
	call->status = status;
	return true;
}

/* By a thread that is no shard's, on its own stack. False: it takes a task. */
static bool write_at_once(cascade *db, uint32_t shard, struct write_call *call)
{
	if (database_task(db) != NULL || !runtime_borrow(db->runtime, shard))
		return false;
	bool done = write_call_attempt(call);
	runtime_return(db->runtime, shard);
	return done;
}

static struct status write_to_shard(cascade *db, struct write_call *call)
{
	uint32_t shard = (uint32_t)(call->shard - db->shards);
	if (!write_at_once(db, shard, call))
		database_call(db, shard, &write_call_type, call);
	return call->status;
}

static struct status check_key(cascade_slice key)
{
	if (key.size > CASCADE_KEY_BYTES_MAX)
		return status_error(STATUS_INVALID, "the key has %zu bytes, at most %d are allowed", key.size,
				    CASCADE_KEY_BYTES_MAX);
	if (key.data == NULL && key.size > 0)
		return status_error(STATUS_INVALID, "the key is NULL");
	return status_ok();
}

static struct status check_value(cascade_slice value)
{
	if (value.size > CASCADE_VALUE_BYTES_MAX)
		return status_error(STATUS_INVALID, "the value has %zu bytes, at most %d are allowed",
				    value.size, CASCADE_VALUE_BYTES_MAX);
	if (value.data == NULL && value.size > 0)
		return status_error(STATUS_INVALID, "the value is NULL");
	return status_ok();
}

static struct status check_durability(const cascade_write_options *options, enum wal_durability *durability)
{
	*durability = 0;
	if (options == NULL)
		return status_ok();
	if ((int)options->durability < 0 || options->durability > CASCADE_DURABILITY_POWER)
		return status_error(STATUS_INVALID, "no such durability");
	*durability = (enum wal_durability)options->durability;
	return status_ok();
}

/* One operation: its header is made here, key and value are copied only once, into the log's group. */
struct status write_call_single(struct write_call *call, cascade *db, enum entry_kind kind, cascade_slice key,
				cascade_slice value, const cascade_write_options *options)
{
	if (db == NULL)
		return status_error(STATUS_INVALID, "db must be given");
	TRY(check_key(key));
	TRY(check_value(value));
	TRY(check_durability(options, &call->durability));
	call->single[0] =
		slice_make(call->header, batch_encode_header(call->header, kind, key.size, value.size));
	call->single[1] = slice_of(key);
	call->single[2] = slice_of(value);
	call->pieces = call->single;
	call->count = 3;
	call->user_bytes = key.size + value.size;
	call->shard = &db->shards[database_route(db, hash_key(slice_of(key)))];
	call->status = status_make(STATUS_CANCELED);
	return status_ok();
}

static struct status write_one(cascade *db, enum entry_kind kind, cascade_slice key, cascade_slice value,
			       const cascade_write_options *options)
{
	struct write_call call;
	TRY(write_call_single(&call, db, kind, key, value, options));
	return write_to_shard(db, &call);
}

cascade_status cascade_put(cascade *db, cascade_slice key, cascade_slice value,
			   const cascade_write_options *options)
{
	return database_report(write_one(db, ENTRY_PUT, key, value, options));
}

cascade_status cascade_delete(cascade *db, cascade_slice key, const cascade_write_options *options)
{
	return database_report(write_one(db, ENTRY_DELETE, key, cascade_bytes(NULL, 0), options));
}

/* --- batches --- */

enum { BATCH_BYTES_MAX = (1 << 20) + (64 << 10) };

struct cascade_batch {
	uint8_t *bytes; /* as base/batch.h has it */
	size_t size;
	size_t capacity;
	size_t count;
	/* Where each key's operation begins, plus one; 0: empty. Open addressing by the key's hash, at most
	 * half full. */
	uint32_t *places;
	size_t place_count; /* a power of two, or 0 */
};

cascade_status cascade_batch_create(cascade_batch **batch)
{
	if (batch == NULL)
		return database_report(status_error(STATUS_INVALID, "batch must be given"));
	*batch = memory_allocate_zeroed(1, sizeof(**batch));
	return database_report(status_make(*batch != NULL ? STATUS_OK : STATUS_NO_MEMORY));
}

void cascade_batch_destroy(cascade_batch *batch)
{
	if (batch == NULL)
		return;
	memory_free(batch->places);
	memory_free(batch->bytes);
	memory_free(batch);
}

void cascade_batch_clear(cascade_batch *batch)
{
	if (batch == NULL)
		return;
	batch->size = 0;
	batch->count = 0;
	if (batch->place_count > 0)
		memset(batch->places, 0, batch->place_count * sizeof(*batch->places));
}

size_t cascade_batch_count(const cascade_batch *batch)
{
	return batch != NULL ? batch->count : 0;
}

/* The operation that begins at `offset`; returns where it ends. */
static size_t batch_operation(const cascade_batch *batch, size_t offset, struct entry *entry)
{
	struct slice rest = slice_make(batch->bytes + offset, batch->size - offset);
	bool decoded = batch_decode(&rest, entry);
	ASSERT(decoded);
	return batch->size - rest.size;
}

/* The place of the key's operation, or the empty one where it belongs. */
static uint32_t *batch_place(const cascade_batch *batch, struct slice key)
{
	size_t mask = batch->place_count - 1;
	for (size_t at = hash_key(key) & mask;; at = (at + 1) & mask) {
		struct entry entry;
		uint32_t *place = &batch->places[at];
		if (*place == 0)
			return place;
		(void)batch_operation(batch, *place - 1, &entry);
		if (slice_equal(entry.key, key))
			return place;
	}
}

/* Room for one more place. */
static struct status batch_grow_places(cascade_batch *batch)
{
	if (2 * (batch->count + 1) <= batch->place_count)
		return status_ok();
	size_t count = batch->place_count == 0 ? 32 : 2 * batch->place_count;
	uint32_t *places = memory_allocate_zeroed(count, sizeof(*places));
	if (places == NULL)
		return status_make(STATUS_NO_MEMORY);
	memory_free(batch->places);
	batch->places = places;
	batch->place_count = count;
	for (size_t at = 0; at < batch->size;) {
		struct entry entry;
		size_t end = batch_operation(batch, at, &entry);
		*batch_place(batch, entry.key) = (uint32_t)at + 1;
		at = end;
	}
	return status_ok();
}

/* Takes out the operation at `begin`: in a batch the last one on a key wins, and a memtable takes each key of
 * a commit once. */
static void batch_drop(cascade_batch *batch, size_t begin)
{
	struct entry entry;
	size_t end = batch_operation(batch, begin, &entry);
	memmove(batch->bytes + begin, batch->bytes + end, batch->size - end);
	batch->size -= end - begin;
	batch->count--;
	for (size_t i = 0; i < batch->place_count; i++) {
		if (batch->places[i] > begin + 1)
			batch->places[i] -= (uint32_t)(end - begin);
	}
}

static struct status batch_reserve(cascade_batch *batch, size_t more)
{
	if (batch->size + more <= batch->capacity)
		return status_ok();
	size_t capacity = batch->capacity == 0 ? 1024 : 2 * batch->capacity;
	while (capacity < batch->size + more)
		capacity *= 2;
	uint8_t *bytes = memory_resize(batch->bytes, capacity);
	if (bytes == NULL)
		return status_make(STATUS_NO_MEMORY);
	batch->bytes = bytes;
	batch->capacity = capacity;
	return status_ok();
}

static struct status batch_add(cascade_batch *batch, enum entry_kind kind, cascade_slice key,
			       cascade_slice value)
{
	if (batch == NULL)
		return status_error(STATUS_INVALID, "batch must be given");
	TRY(check_key(key));
	TRY(check_value(value));
	size_t more = BATCH_HEADER_BYTES_MAX + key.size + value.size;
	if (batch->size + more > BATCH_BYTES_MAX + BATCH_HEADER_BYTES_MAX)
		return status_error(STATUS_INVALID, "the batch would pass %d bytes", (int)BATCH_BYTES_MAX);
	TRY(batch_reserve(batch, more));
	TRY(batch_grow_places(batch));
	/* An earlier operation on the key goes, and leaves its place in the table to the new one. */
	uint32_t *place = batch_place(batch, slice_of(key));
	if (*place != 0)
		batch_drop(batch, *place - 1);
	*place = (uint32_t)batch->size + 1;
	uint8_t *at = batch->bytes + batch->size;
	at += batch_encode_header(at, kind, key.size, value.size);
	if (key.size > 0)
		memcpy(at, key.data, key.size);
	if (value.size > 0)
		memcpy(at + key.size, value.data, value.size);
	batch->size = (size_t)(at + key.size + value.size - batch->bytes);
	batch->count++;
	return status_ok();
}

cascade_status cascade_batch_put(cascade_batch *batch, cascade_slice key, cascade_slice value)
{
	return database_report(batch_add(batch, ENTRY_PUT, key, value));
}

cascade_status cascade_batch_delete(cascade_batch *batch, cascade_slice key)
{
	return database_report(batch_add(batch, ENTRY_DELETE, key, cascade_bytes(NULL, 0)));
}

/* The shard of all keys of the batch, or STATUS_UNSUPPORTED. */
static struct status batch_route(const cascade *db, const cascade_batch *batch, uint32_t *shard,
				 size_t *user_bytes)
{
	struct slice rest = slice_make(batch->bytes, batch->size);
	struct entry entry;
	bool first = true;
	*user_bytes = 0;
	while (rest.size > 0) {
		bool decoded = batch_decode(&rest, &entry);
		ASSERT(decoded);
		uint32_t here = database_route(db, hash_key(entry.key));
		if (!first && here != *shard)
			return status_error(
				STATUS_UNSUPPORTED,
				"the batch has keys of shards %u and %u: this version commits keys "
				"of one shard together",
				*shard, here);
		*shard = here;
		*user_bytes += entry.key.size + entry.value.size;
		first = false;
	}
	return status_ok();
}

struct status write_call_batch(struct write_call *call, cascade *db, const cascade_batch *batch,
			       const cascade_write_options *options)
{
	if (db == NULL || batch == NULL)
		return status_error(STATUS_INVALID, "db and batch must be given");
	uint32_t shard = 0;
	TRY(check_durability(options, &call->durability));
	TRY(batch_route(db, batch, &shard, &call->user_bytes));
	call->single[0] = slice_make(batch->bytes, batch->size);
	call->pieces = call->single;
	call->count = 1;
	call->shard = &db->shards[shard];
	call->status = status_make(STATUS_CANCELED);
	return status_ok();
}

static struct status write_batch(cascade *db, const cascade_batch *batch,
				 const cascade_write_options *options)
{
	struct write_call call;
	TRY(write_call_batch(&call, db, batch, options));
	return batch->count > 0 ? write_to_shard(db, &call) : status_ok();
}

cascade_status cascade_write(cascade *db, const cascade_batch *batch, const cascade_write_options *options)
{
	return database_report(write_batch(db, batch, options));
}

/* --- reading --- */

/* What cascade_value.pin holds: the shard and the pin, or a copy of the caller's own. */
enum { PIN_SHARD, PIN_PIN, PIN_COPY };

static struct value_pin *pin_take(struct database_shard *shard)
{
	struct value_pin *pin = shard->free_pins;
	if (pin != NULL)
		shard->free_pins = pin->next_free;
	else
		pin = memory_allocate(sizeof(*pin));
	return pin;
}

static void pin_put_back(struct database_shard *shard, struct value_pin *pin)
{
	pin->next_free = shard->free_pins;
	shard->free_pins = pin;
}

/* Another thread must not touch this shard's memory: it gets the bytes. */
static struct status copy_out(struct get_call *call, const struct slice *found)
{
	uint8_t *copy = memory_allocate(found->size + 1);
	if (copy == NULL)
		return status_make(STATUS_NO_MEMORY);
	if (found->size > 0)
		memcpy(copy, found->data, found->size);
	call->value->data = copy;
	call->value->size = found->size;
	call->value->pin[PIN_COPY] = copy;
	return status_ok();
}

MAY_SUSPEND static void get_pinned(struct task *self, struct get_call *call, struct value_pin *pin)
{
	struct database_shard *shard = call->shard;
	struct store *store = shard->store;
	if (call->sequence != SEQUENCE_MAX)
		store->ops->wait_published(self, store, call->sequence);
	call->status = store->ops->get(self, store, call->key, call->hash, call->sequence, &pin->value);
	if (!status_is_ok(call->status)) {
		pin_put_back(shard, pin);
		return;
	}
	/* Tasks that collected pins without end would take all frames of the pool, and then wait for each
	 * other, or for themselves: beyond a share of the pool they get copies. */
	if (call->pin_allowed && shard->pins < shard->pins_max) {
		call->value->data = pin->value.value.data;
		call->value->size = pin->value.value.size;
		call->value->pin[PIN_SHARD] = shard;
		call->value->pin[PIN_PIN] = pin;
		shard->pins++;
		return;
	}
	call->status = copy_out(call, &pin->value.value);
	store->ops->value_release(store, &pin->value);
	pin_put_back(shard, pin);
}

static void run_get(struct task *self, void *argument)
{
	struct get_call *call = argument;
	call->status = status_make(STATUS_CLOSED);
	if (!database_enter(call->shard))
		return;
	struct value_pin *pin = pin_take(call->shard);
	if (pin != NULL)
		get_pinned(self, call, pin);
	else
		call->status = status_make(STATUS_NO_MEMORY);
	database_leave(call->shard);
}

const struct task_type get_call_type = {
	.name = "get",
	.run = run_get,
	.stack_bytes = 2048,
};

/*
 * By a thread that is no shard's, on its own stack; what has to be read it reads itself, for being told of
 * the end of a read by the resident takes longer than many a read. False: it takes a task.
 */
static bool get_at_once(cascade *db, uint32_t index, struct get_call *call)
{
	struct database_shard *shard = call->shard;
	if (call->sequence != SEQUENCE_MAX || !runtime_borrow(db->runtime, index))
		return false;
	enum store_answer answer = STORE_TASK;
	if (database_enter(shard)) {
		struct store *store = shard->store;
		struct store_get get = { .key = call->key, .hash = call->hash, .sequence = call->sequence };
		while ((answer = store->ops->try_get(store, &get)) == STORE_READ) {
			runtime_return(db->runtime, index);
			io_carry_out(shard_io(runtime_shard(db->runtime, index)), get.read);
			runtime_borrow_again(db->runtime, index);
		}
		call->status = get.status;
		if (answer == STORE_DONE && status_is_ok(get.status)) {
			call->status = copy_out(call, &get.value.value);
			store->ops->value_release(store, &get.value);
		}
		database_leave(shard);
	}
	runtime_return(db->runtime, index);
	return answer == STORE_DONE;
}

bool get_call_attempt(void *argument)
{
	struct get_call *call = argument;
	struct database_shard *shard = call->shard;
	if (call->sequence != SEQUENCE_MAX || !database_enter(shard))
		return false;
	struct store *store = shard->store;
	struct store_get get = {
		.key = call->key, .hash = call->hash, .sequence = call->sequence, .memory_only = true
	};
	bool done = store->ops->try_get(store, &get) == STORE_DONE;
	if (done)
		call->status = get.status;
	if (done && status_is_ok(get.status)) {
		call->status = copy_out(call, &get.value.value);
		store->ops->value_release(store, &get.value);
	}
	database_leave(shard);
	return done;
}

struct status get_call_make(struct get_call *call, cascade *db, cascade_slice key,
			    const cascade_read_options *options, cascade_value *value)
{
	if (db == NULL || value == NULL)
		return status_error(STATUS_INVALID, "db and value must be given");
	*value = (cascade_value) { 0 };
	TRY(check_key(key));
	uint64_t hash = hash_key(slice_of(key));
	const cascade_snapshot *snapshot = options != NULL ? options->snapshot : NULL;
	*call = (struct get_call) { .shard = &db->shards[database_route(db, hash)],
				    .key = slice_of(key),
				    .hash = hash,
				    .sequence = snapshot != NULL ? snapshot->sequence : SEQUENCE_MAX,
				    .status = status_make(STATUS_CANCELED),
				    .value = value };
	return status_ok();
}

static struct status get_value(cascade *db, cascade_slice key, const cascade_read_options *options,
			       cascade_value *value)
{
	struct get_call call;
	TRY(get_call_make(&call, db, key, options, value));
	uint32_t shard = (uint32_t)(call.shard - db->shards);
	struct task *self = database_task(db);
	call.pin_allowed = self != NULL && shard_index(task_shard(self)) == shard;
	if (self != NULL || !get_at_once(db, shard, &call))
		database_call(db, shard, &get_call_type, &call);
	return call.status;
}

cascade_status cascade_get(cascade *db, cascade_slice key, const cascade_read_options *options,
			   cascade_value *value)
{
	return database_report(get_value(db, key, options, value));
}

struct release_call {
	struct database_shard *shard;
	struct value_pin *pin;
};

static void run_release(struct task *self, void *argument)
{
	(void)self;
	struct release_call *call = argument;
	struct store *store = call->shard->store;
	store->ops->value_release(store, &call->pin->value);
	pin_put_back(call->shard, call->pin);
	call->shard->pins--;
}

static const struct task_type release_call_type = {
	.name = "release",
	.run = run_release,
	.stack_bytes = 1024,
};

void cascade_value_release(cascade_value *value)
{
	if (value == NULL)
		return;
	memory_free(value->pin[PIN_COPY]);
	if (value->pin[PIN_PIN] != NULL) {
		struct release_call call = { .shard = value->pin[PIN_SHARD], .pin = value->pin[PIN_PIN] };
		cascade *db = call.shard->db;
		database_call(db, (uint32_t)(call.shard - db->shards), &release_call_type, &call);
	}
	*value = (cascade_value) { 0 };
}
