#include "sim/caller.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "sim/failure.h"

enum { BATCH_KEYS_MAX = 12, SNAPSHOT_KEYS = 4, REFUSED_MAX = 8, PAUSE_NS_MAX = 20 * 1000 * 1000 };

static cascade_slice key_bytes(const struct model *model, uint32_t key)
{
	return cascade_bytes(model->keys[key].bytes, model->keys[key].size);
}

static uint32_t any(struct client *client, uint64_t bound)
{
	return (uint32_t)random_below(&client->random, bound);
}

/* Makes what was heard part of the run's trace. */
static void note(struct client *client, uint64_t what)
{
	client->saw = random_mix(client->saw ^ what);
}

static void expect(struct client *client, const char *what, cascade_status status, uint32_t allowed)
{
	note(client, (uint64_t)status);
	if (status == CASCADE_OK)
		return;
	if (!is_allowed(allowed, status))
		sim_fail("%s by client %u: %s (%s), with nothing injected that explains it", what,
			 client->index, cascade_strerror(status), cascade_error_message());
	uint64_t *events = client->tally->events;
	events[TALLY_FULL] += status == CASCADE_NO_SPACE;
	client->refused += allowed == client->allowed.writes && status != CASCADE_READ_ONLY;
	events[TALLY_CORRUPT] += status == CASCADE_CORRUPT;
	events[TALLY_READ_ERRORS] += status == CASCADE_IO && allowed == client->allowed.reads;
}

/* --- reading --- */

cascade_status client_get(struct machine *machine, const struct model *model, uint32_t key,
			  const cascade_snapshot *snapshot, uint32_t *found)
{
	cascade_read_options options = { .snapshot = snapshot };
	cascade_value value;
	cascade_status status = cascade_get(machine->db, key_bytes(model, key), &options, &value);
	*found = status == CASCADE_NOT_FOUND ? MODEL_ABSENT : MODEL_UNKNOWN;
	if (status != CASCADE_OK)
		return status == CASCADE_NOT_FOUND ? CASCADE_OK : status;
	*found = model_identify(model, key, value.data, value.size);
	cascade_value_release(&value);
	return CASCADE_OK;
}

/* Takes rows until the iterator ends or fails; keys that it passed without a row are absent. */
static cascade_status take_rows(cascade_iterator *iterator, const struct model *model, uint32_t *found)
{
	uint32_t next = 0;
	cascade_status status = cascade_iterator_seek_first(iterator);
	while (status == CASCADE_OK && cascade_iterator_valid(iterator)) {
		cascade_slice key = cascade_iterator_key(iterator);
		cascade_slice value = cascade_iterator_value(iterator);
		uint32_t at = model_find_key(model, key.data, key.size);
		if (at < next)
			sim_fail("a scan came to key %u behind key %u", at, next - 1);
		for (; next < at; next++)
			found[next] = MODEL_ABSENT;
		found[next++] = model_identify(model, at, value.data, value.size);
		status = cascade_iterator_next(iterator);
	}
	if (status == CASCADE_OK)
		status = cascade_iterator_status(iterator);
	for (; next < model->key_count; next++)
		found[next] = status == CASCADE_OK ? MODEL_ABSENT : MODEL_UNKNOWN;
	return status;
}

cascade_status client_scan(struct machine *machine, const struct model *model,
			   const cascade_snapshot *snapshot, uint32_t *found)
{
	cascade_iterator_options options = { .snapshot = snapshot };
	cascade_iterator *iterator;
	for (uint32_t k = 0; k < model->key_count; k++)
		found[k] = MODEL_UNKNOWN;
	cascade_status status = cascade_iterator_create(machine->db, &options, &iterator);
	if (status != CASCADE_OK)
		return status;
	status = take_rows(iterator, model, found);
	cascade_iterator_destroy(iterator);
	return status;
}

/* A snapshot shows a key as it has shown it before. */
static void check_same(const struct client *client, struct client_snapshot *snapshot, uint32_t key,
		       uint32_t found)
{
	uint32_t *seen = &snapshot->seen[key];
	if (found == MODEL_UNKNOWN)
		return;
	if (*seen == MODEL_UNKNOWN)
		*seen = found;
	if (*seen != found)
		sim_fail("client %u: key %u was value %u at a snapshot, and is value %u there now",
			 client->index, key, *seen, found);
}

static void get_at(struct client *client, struct client_snapshot *snapshot, uint32_t key)
{
	struct model *model = client->model;
	uint32_t found;
	uint64_t began = snapshot != NULL ? snapshot->began : model_moment(model);
	cascade_status status =
		client_get(client->machine, model, key, snapshot != NULL ? snapshot->handle : NULL, &found);
	uint64_t ended = snapshot != NULL ? snapshot->ended : model_moment(model);
	expect(client, "get", status, client->allowed.reads);
	note(client, found);
	model_check_read(model, key, found, began, ended);
	if (snapshot != NULL)
		check_same(client, snapshot, key, found);
}

static void step_get(struct client *client)
{
	struct client_snapshot *snapshot = &client->snapshots[any(client, CLIENT_SNAPSHOTS)];
	bool old = snapshot->handle != NULL && any(client, 2) == 0;
	uint32_t key = any(client, 2) == 0 && client->key_count > 0
			       ? client->keys[any(client, client->key_count)]
			       : any(client, client->model->key_count);
	get_at(client, old ? snapshot : NULL, key);
	/* What was true when the first one began may be so no longer, and nothing may have kept it. */
	if (any(client, 2) == 0)
		get_at(client, NULL, key);
}

/* A key that nobody writes. */
static void step_get_absent(struct client *client)
{
	char key[32];
	cascade_value value;
	int size = snprintf(key, sizeof(key), "user%08ux", any(client, 100000));
	cascade_status status =
		cascade_get(client->machine->db, cascade_bytes(key, (size_t)size), NULL, &value);
	if (status == CASCADE_OK)
		sim_fail("a key that nobody wrote was found");
	if (status != CASCADE_NOT_FOUND)
		expect(client, "get of an absent key", status, client->allowed.reads);
}

static void step_scan(struct client *client)
{
	struct model *model = client->model;
	struct client_snapshot *snapshot = &client->snapshots[any(client, CLIENT_SNAPSHOTS)];
	bool old = snapshot->handle != NULL && any(client, 2) == 0;
	struct model_question question = { .found = client->found, .one_moment = true };
	question.promised_until = old ? snapshot->began : model_moment(model);
	cascade_status status =
		client_scan(client->machine, model, old ? snapshot->handle : NULL, client->found);
	question.issued_until = old ? snapshot->ended : model_moment(model);
	expect(client, "scan", status, client->allowed.reads);
	model_check_state(model, &question);
	for (uint32_t k = 0; old && k < model->key_count; k++)
		check_same(client, snapshot, k, client->found[k]);
	client->tally->events[TALLY_SCANS] += status == CASCADE_OK;
}

/* Some rows from somewhere, within bounds. */
static void step_rows(struct client *client)
{
	struct model *model = client->model;
	uint32_t at = any(client, model->key_count);
	uint32_t end = at + any(client, model->key_count - at + 1);
	cascade_iterator_options options = { .lower = key_bytes(model, at), .rows_hint = any(client, 40) };
	options.has_upper = end < model->key_count;
	if (options.has_upper)
		options.upper = key_bytes(model, end);
	uint64_t began = model_moment(model);
	cascade_iterator *iterator;
	cascade_status status = cascade_iterator_create(client->machine->db, &options, &iterator);
	expect(client, "iterator", status, client->allowed.reads);
	if (status != CASCADE_OK)
		return;
	uint64_t ended = model_moment(model);
	uint32_t rows = any(client, 60);
	status = cascade_iterator_seek_first(iterator);
	for (; status == CASCADE_OK && rows > 0 && cascade_iterator_valid(iterator); rows--) {
		cascade_slice key = cascade_iterator_key(iterator);
		cascade_slice value = cascade_iterator_value(iterator);
		uint32_t next = model_find_key(model, key.data, key.size);
		if (next < at || next >= end)
			sim_fail("a scan of keys %u to %u came to key %u", at, end, next);
		for (; at < next; at++)
			model_check_read(model, at, MODEL_ABSENT, began, ended);
		model_check_read(model, at, model_identify(model, at, value.data, value.size), began, ended);
		at++;
		status = cascade_iterator_next(iterator);
	}
	if (status == CASCADE_OK && !cascade_iterator_valid(iterator)) {
		status = cascade_iterator_status(iterator);
		for (; status == CASCADE_OK && at < end; at++)
			model_check_read(model, at, MODEL_ABSENT, began, ended);
	}
	expect(client, "rows", status, client->allowed.reads);
	cascade_iterator_destroy(iterator);
}

static void step_snapshot(struct client *client)
{
	struct client_snapshot *snapshot = &client->snapshots[any(client, CLIENT_SNAPSHOTS)];
	if (snapshot->handle != NULL) {
		cascade_snapshot_release(snapshot->handle);
		snapshot->handle = NULL;
		return;
	}
	snapshot->began = model_moment(client->model);
	SIM_CHECK_OK(cascade_snapshot_create(client->machine->db, &snapshot->handle));
	snapshot->ended = model_moment(client->model);
	client->tally->events[TALLY_SNAPSHOTS]++;
	for (uint32_t k = 0; k < client->model->key_count; k++)
		snapshot->seen[k] = MODEL_UNKNOWN;
	/* At once, while what was drawn before it may still be on its way; and the same again, later. */
	if (any(client, 2) == 0)
		return;
	uint32_t keys[SNAPSHOT_KEYS];
	for (unsigned i = 0; i < SNAPSHOT_KEYS; i++) {
		keys[i] = any(client, client->model->key_count);
		get_at(client, snapshot, keys[i]);
	}
	cascade_yield(client->machine->db);
	for (unsigned i = 0; i < SNAPSHOT_KEYS; i++)
		get_at(client, snapshot, keys[i]);
}

/* --- writing --- */

/* What the write asks for, and what that is when it leaves it to the database. */
static cascade_write_options draw_level(struct client *client, cascade_durability *level)
{
	cascade_durability own = client->machine->plan->level;
	cascade_write_options options = { .durability = CASCADE_DURABILITY_DEFAULT };
	/* Of 16, each with those before it; the rest ask for what the database has. */
	static const struct {
		uint32_t power, process, memory;
	} of_mix[PLAN_MIX_COUNT] = { [PLAN_MIX_SOME] = { 3, 6, 8 }, [PLAN_MIX_HALF] = { 7, 15, 16 } };
	enum plan_mix mix = client->machine->plan->mix;
	uint32_t draw = any(client, 16);
	if (own != CASCADE_DURABILITY_MEMORY && draw < of_mix[mix].power)
		options.durability = CASCADE_DURABILITY_POWER;
	else if (own != CASCADE_DURABILITY_MEMORY && draw < of_mix[mix].process)
		options.durability = CASCADE_DURABILITY_PROCESS;
	else if (draw < of_mix[mix].memory)
		options.durability = CASCADE_DURABILITY_MEMORY;
	*level = options.durability != CASCADE_DURABILITY_DEFAULT ? options.durability : own;
	return options;
}

static cascade_status put_bytes(struct machine *machine, struct model *model, uint32_t key, uint8_t *buffer,
				const cascade_write_options *options, uint32_t write)
{
	uint32_t value = model_draw_value(model);
	size_t size = model_fill_value(model, key, value, buffer);
	model_add_op(model, write, key, value);
	cascade_status status =
		cascade_put(machine->db, key_bytes(model, key), cascade_bytes(buffer, size), options);
	model_settle(model, write, status);
	return status;
}

cascade_status client_put(struct machine *machine, struct model *model, uint32_t key,
			  cascade_durability level)
{
	static uint8_t buffer[1 << 16];
	const struct model_key *it = &model->keys[key];
	cascade_write_options options = { .durability = level };
	uint32_t write = model_issue(model, it->client, it->shard, level);
	return put_bytes(machine, model, key, buffer, &options, write);
}

static void step_put(struct client *client)
{
	uint32_t key = client->keys[any(client, client->key_count)];
	cascade_durability level;
	cascade_write_options options = draw_level(client, &level);
	uint32_t write = model_issue(client->model, client->index, client->model->keys[key].shard, level);
	expect(client, "put", put_bytes(client->machine, client->model, key, client->value, &options, write),
	       client->allowed.writes);
}

static void step_delete(struct client *client)
{
	struct model *model = client->model;
	uint32_t from = any(client, client->key_count);
	/* At times a whole stretch of keys. */
	uint32_t count = any(client, 20) == 0 ? 16 : 1;
	for (uint32_t i = from; i < from + count && i < client->key_count; i++) {
		uint32_t key = client->keys[i];
		cascade_durability level;
		cascade_write_options options = draw_level(client, &level);
		uint32_t write = model_issue(model, client->index, model->keys[key].shard, level);
		model_add_op(model, write, key, MODEL_ABSENT);
		cascade_status status = cascade_delete(client->machine->db, key_bytes(model, key), &options);
		model_settle(model, write, status);
		expect(client, "delete", status, client->allowed.writes);
	}
}

/* Own keys of one shard, each once. */
static uint32_t draw_batch_keys(struct client *client, uint32_t keys[BATCH_KEYS_MAX])
{
	uint32_t count = 0;
	uint32_t most = 1 + any(client, BATCH_KEYS_MAX);
	uint32_t first = any(client, client->key_count);
	uint32_t shard = client->model->keys[client->keys[first]].shard;
	for (uint32_t i = 0; i < client->key_count && count < most; i++) {
		uint32_t key = client->keys[(first + i) % client->key_count];
		if (client->model->keys[key].shard == shard)
			keys[count++] = key;
	}
	return count;
}

static void step_batch(struct client *client)
{
	struct model *model = client->model;
	uint32_t keys[BATCH_KEYS_MAX];
	uint32_t count = draw_batch_keys(client, keys);
	uint32_t room = model->value_bytes_max; /* all of it must fit into a segment of the log */
	cascade_durability level;
	cascade_write_options options = draw_level(client, &level);
	cascade_batch *batch;
	SIM_CHECK_OK(cascade_batch_create(&batch));
	uint32_t write = model_issue(model, client->index, model->keys[keys[0]].shard, level);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t value = any(client, 4) == 0 ? MODEL_ABSENT : model_draw_value(model);
		cascade_slice key = key_bytes(model, keys[i]);
		size_t size =
			value != MODEL_ABSENT ? model_fill_value(model, keys[i], value, client->value) : 0;
		if (key.size + size > room && i > 0)
			continue;
		room -= key.size + size < room ? (uint32_t)(key.size + size) : room;
		model_add_op(model, write, keys[i], value);
		if (value == MODEL_ABSENT)
			SIM_CHECK_OK(cascade_batch_delete(batch, key));
		else
			SIM_CHECK_OK(cascade_batch_put(batch, key, cascade_bytes(client->value, size)));
	}
	cascade_status status = cascade_write(client->machine->db, batch, &options);
	model_settle(model, write, status);
	expect(client, "batch", status, client->allowed.writes);
	cascade_batch_destroy(batch);
	client->tally->events[TALLY_BATCHES]++;
}

/* --- upkeep --- */

static void step_flush(struct client *client)
{
	uint64_t began = model_moment(client->model);
	cascade_status status = cascade_flush(client->machine->db);
	expect(client, "flush", status, client->allowed.writes);
	if (status == CASCADE_OK)
		model_flushed(client->model, began);
}

static void step_upkeep(struct client *client)
{
	cascade *db = client->machine->db;
	switch (any(client, 8)) {
	case 0:
		expect(client, "verify", cascade_verify(db), client->allowed.reads | client->allowed.writes);
		break;
	case 1:
		expect(client, "wait_idle", cascade_wait_idle(db),
		       client->allowed.reads | client->allowed.writes);
		break;
	case 2:
		(void)machine_stat(client->machine, "writes");
		break;
	default:
		step_flush(client);
	}
}

static void pause_some(struct client *client)
{
	if (any(client, 2) == 0)
		cascade_yield(client->machine->db);
	else
		cascade_sleep(client->machine->db, any(client, PAUSE_NS_MAX));
}

static void step(struct client *client)
{
	uint32_t draw = any(client, 1000);
	client->tally->operations++;
	if (any(client, client->machine->plan->pause) == 0)
		pause_some(client);
	if (client->key_count == 0)
		draw = 700 + draw % 300; /* it can only look */
	if (draw < 430)
		step_put(client);
	else if (draw < 530)
		step_delete(client);
	else if (draw < 700)
		step_batch(client);
	else if (draw < 880)
		step_get(client);
	else if (draw < 910)
		step_get_absent(client);
	else if (draw < 950)
		step_snapshot(client);
	else if (draw < 970)
		step_rows(client);
	else if (draw < 982)
		step_scan(client);
	else if (draw < 992)
		step_upkeep(client);
	else
		step_delete(client);
}

static void do_all(cascade *db, void *argument)
{
	struct client *client = argument;
	(void)db;
	/* Each refusal takes the seconds that writes wait for room, and the next one is like it. */
	for (; client->operations > 0 && client->refused < REFUSED_MAX; client->operations--)
		step(client);
	for (unsigned i = 0; i < CLIENT_SNAPSHOTS; i++) {
		if (client->snapshots[i].handle != NULL)
			cascade_snapshot_release(client->snapshots[i].handle);
		client->snapshots[i].handle = NULL;
	}
	stepped_trace_mix(client->machine->stepped, &client->saw, sizeof(client->saw));
}

void client_run(void *argument)
{
	struct client *client = argument;
	cascade *db = client->machine->db;
	if (!client->is_task) {
		do_all(db, client);
		return;
	}
	cascade_future *future;
	SIM_CHECK_OK(cascade_run_async(db, client->shard, do_all, client, &future));
	SIM_CHECK_OK(cascade_future_wait(future));
}

void client_init(struct client *client, uint32_t index, struct machine *machine, struct model *model,
		 uint64_t seed)
{
	memset(client, 0, sizeof(*client));
	client->machine = machine;
	client->model = model;
	client->tally = machine->tally;
	client->index = index;
	client->random = random_stream(random_mix(seed + index));
	client->is_task = any(client, 2) == 0;
	client->shard = any(client, model->shards);
	for (uint32_t k = 0; k < model->key_count; k++)
		if (model->keys[k].client == index)
			client->keys[client->key_count++] = k;
}
