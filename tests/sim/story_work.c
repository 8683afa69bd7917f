/*
 * story_work.c: what the histories of a sweep do: everything that a database can, in little.
 */
#include <stdlib.h>
#include <string.h>

#include "sim/failure.h"
#include "sim/story.h"

enum {
	BATCH_KEYS = 5,
	CROWD_PUTS = 6,
	REFUSED_MAX = 4, /* in a row: whoever hears that so often stops writing */
};

/* --- writes --- */

static cascade_slice key_bytes(const struct model *model, uint32_t key)
{
	return cascade_bytes(model->keys[key].bytes, model->keys[key].size);
}

static bool has_given_up(const struct story *story)
{
	return story->refused >= REFUSED_MAX;
}

/* Some ask for more than the database gives by itself. */
static cascade_write_options next_level(struct story *story, cascade_durability *level)
{
	cascade_write_options options = { .durability = CASCADE_DURABILITY_DEFAULT };
	*level = story->plan.level;
	if (++story->writes % 4 == 0) {
		options.durability = CASCADE_DURABILITY_POWER;
		*level = CASCADE_DURABILITY_POWER;
	} else if (story->writes % 4 == 2) {
		options.durability = CASCADE_DURABILITY_PROCESS;
		*level = CASCADE_DURABILITY_PROCESS;
	}
	return options;
}

/* A write for which memory ran out may be in the log all the same, as after an error of the device. */
static void settle(struct story *story, const char *what, uint32_t write, cascade_status status)
{
	model_settle(&story->model, write, status == CASCADE_NO_MEMORY ? CASCADE_IO : status);
	story->refused = status == CASCADE_OK ? 0 : story->refused + 1;
	story_hear(story, what, status, story->it->fault->changes);
}

static void put_key(struct story *story, uint32_t key)
{
	if (has_given_up(story))
		return;
	struct model *model = &story->model;
	uint8_t *buffer = malloc(STORY_VALUE_BYTES_MAX);
	SIM_CHECK(buffer != NULL);
	cascade_durability level;
	cascade_write_options options = next_level(story, &level);
	uint32_t value = model_draw_value(model);
	size_t size = model_fill_value(model, key, value, buffer);
	uint32_t write = model_issue(model, model->keys[key].client, model->keys[key].shard, level);
	model_add_op(model, write, key, value);
	cascade_status status =
		cascade_put(story->machine->db, key_bytes(model, key), cascade_bytes(buffer, size), &options);
	free(buffer);
	settle(story, "put", write, status);
}

static void delete_key(struct story *story, uint32_t key)
{
	if (has_given_up(story))
		return;
	struct model *model = &story->model;
	cascade_durability level;
	cascade_write_options options = next_level(story, &level);
	uint32_t write = model_issue(model, model->keys[key].client, model->keys[key].shard, level);
	model_add_op(model, write, key, MODEL_ABSENT);
	settle(story, "delete", write, cascade_delete(story->machine->db, key_bytes(model, key), &options));
}

/* Keys that go into a batch with `first`: of the same client and shard. */
static uint32_t choose_batch(const struct story *story, uint32_t first, uint32_t keys[BATCH_KEYS])
{
	const struct model *model = &story->model;
	uint32_t count = 0;
	for (uint32_t i = 0; i < STORY_KEYS && count < BATCH_KEYS; i++) {
		uint32_t key = (first + i) % STORY_KEYS;
		if (model->keys[key].client == model->keys[first].client &&
		    model->keys[key].shard == model->keys[first].shard)
			keys[count++] = key;
	}
	return count;
}

static bool fill_batch(struct story *story, cascade_batch *batch, uint32_t write, uint32_t first)
{
	struct model *model = &story->model;
	uint32_t keys[BATCH_KEYS];
	uint32_t count = choose_batch(story, first, keys);
	uint32_t room = STORY_VALUE_BYTES_MAX; /* it has to fit into a segment of the log */
	uint8_t buffer[STORY_VALUE_BYTES_MAX];
	for (uint32_t i = 0; i < count; i++) {
		uint32_t value = i % 3 == 2 ? MODEL_ABSENT : model_draw_value(model);
		size_t size = value == MODEL_ABSENT ? 0 : model_fill_value(model, keys[i], value, buffer);
		if (size + model->keys[keys[i]].size > room)
			continue;
		room -= (uint32_t)(size + model->keys[keys[i]].size);
		cascade_slice key = key_bytes(model, keys[i]);
		cascade_status status = value == MODEL_ABSENT
						? cascade_batch_delete(batch, key)
						: cascade_batch_put(batch, key, cascade_bytes(buffer, size));
		story_hear(story, "batch", status, story->it->fault->changes);
		if (status != CASCADE_OK)
			return false;
		model_add_op(model, write, keys[i], value);
	}
	return true;
}

static void write_batch(struct story *story, uint32_t first)
{
	struct model *model = &story->model;
	cascade_batch *batch;
	if (has_given_up(story))
		return;
	cascade_status status = cascade_batch_create(&batch);
	story_hear(story, "batch", status, story->it->fault->changes);
	if (status != CASCADE_OK)
		return;
	cascade_durability level;
	cascade_write_options options = next_level(story, &level);
	uint32_t write = model_issue(model, model->keys[first].client, model->keys[first].shard, level);
	if (fill_batch(story, batch, write, first))
		settle(story, "batch", write, cascade_write(story->machine->db, batch, &options));
	else
		model_settle(model, write, CASCADE_BUSY); /* never sent */
	cascade_batch_destroy(batch);
}

/* --- reads --- */

static void read_key(struct story *story, uint32_t key, bool old)
{
	const cascade_snapshot *snapshot = old ? story->snapshot : NULL;
	if (old && snapshot == NULL)
		return;
	uint32_t found;
	uint64_t began = old ? story->snapshot_began : model_moment(&story->model);
	cascade_status status = client_get(story->machine, &story->model, key, snapshot, &found);
	uint64_t ended = old ? story->snapshot_ended : model_moment(&story->model);
	story_hear(story, "get", status, story->it->fault->reads);
	model_check_read(&story->model, key, found, began, ended);
}

static void read_all(struct story *story, bool old)
{
	for (uint32_t key = 0; key < STORY_KEYS; key++)
		read_key(story, key, old);
}

void story_scan(struct story *story, bool old)
{
	const cascade_snapshot *snapshot = old ? story->snapshot : NULL;
	if (old && snapshot == NULL)
		return;
	struct model_question question = { .found = story->found, .one_moment = true };
	question.promised_until = old ? story->snapshot_began : model_moment(&story->model);
	cascade_status status = client_scan(story->machine, &story->model, snapshot, story->found);
	question.issued_until = old ? story->snapshot_ended : model_moment(&story->model);
	story_hear(story, "scan", status, story->it->fault->reads);
	model_check_state(&story->model, &question);
}

/* Some rows from the middle. */
static void seek(struct story *story, uint32_t key)
{
	struct model *model = &story->model;
	cascade_iterator_options options = { .lower = key_bytes(model, key), .rows_hint = 4 };
	cascade_iterator *iterator;
	uint64_t began = model_moment(model);
	cascade_status status = cascade_iterator_create(story->machine->db, &options, &iterator);
	story_hear(story, "iterator", status, story->it->fault->reads);
	if (status != CASCADE_OK)
		return;
	uint64_t ended = model_moment(model);
	status = cascade_iterator_seek(iterator, key_bytes(model, key));
	for (unsigned rows = 0; rows < 4 && status == CASCADE_OK && cascade_iterator_valid(iterator);
	     rows++) {
		cascade_slice at = cascade_iterator_key(iterator);
		cascade_slice value = cascade_iterator_value(iterator);
		uint32_t found = model_find_key(model, at.data, at.size);
		model_check_read(model, found, model_identify(model, found, value.data, value.size), began,
				 ended);
		status = cascade_iterator_next(iterator);
	}
	story_hear(story, "rows", status, story->it->fault->reads);
	cascade_iterator_destroy(iterator);
}

static void take_snapshot(struct story *story)
{
	story->snapshot_began = model_moment(&story->model);
	cascade_status status = cascade_snapshot_create(story->machine->db, &story->snapshot);
	story->snapshot_ended = model_moment(&story->model);
	story_hear(story, "snapshot", status, story->it->fault->reads);
	if (status != CASCADE_OK)
		story->snapshot = NULL;
}

static void drop_snapshot(struct story *story)
{
	cascade_snapshot_release(story->snapshot);
	story->snapshot = NULL;
}

/* --- upkeep --- */

static void flush(struct story *story)
{
	uint64_t began = model_moment(&story->model);
	cascade_status status = cascade_flush(story->machine->db);
	story_hear(story, "flush", status, story->it->fault->changes);
	if (status == CASCADE_OK)
		model_flushed(&story->model, began);
}

static void verify(struct story *story)
{
	story_hear(story, "wait_idle", cascade_wait_idle(story->machine->db), story->it->fault->changes);
	story_hear(story, "verify", cascade_verify(story->machine->db), story->it->fault->changes);
}

void story_note_stats(struct story *story)
{
	struct sweep_outcome *outcome = story->outcome;
	const struct {
		const char *name;
		uint64_t *to;
	} counters[] = { { "flushes", &outcome->flushes },
			 { "merges", &outcome->merges },
			 { "wal.laps", &outcome->laps },
			 { "open.replayed_commits", &outcome->replayed } };
	cascade_stat *stats;
	size_t count;
	cascade_status status = cascade_stats(story->machine->db, &stats, &count);
	story_hear(story, "stats", status, story->it->fault->reads);
	if (status != CASCADE_OK)
		return;
	for (size_t i = 0; i < count; i++)
		for (unsigned c = 0; c < sizeof(counters) / sizeof(counters[0]); c++)
			if (strcmp(stats[i].name, counters[c].name) == 0)
				*counters[c].to += stats[i].value;
	cascade_stats_free(stats);
}

/* --- several at the same time --- */

struct crowd_client {
	struct story *story;
	uint32_t index;
};

/* Groups of several commits, of several levels, with reads among them. */
static void crowd_client_run(void *argument)
{
	struct crowd_client *client = argument;
	struct story *story = client->story;
	uint32_t puts = 0;
	for (uint32_t key = 0; key < STORY_KEYS && puts < CROWD_PUTS; key++) {
		if (story->model.keys[key].client != client->index)
			continue;
		put_key(story, key);
		if (++puts % 3 == 0)
			read_key(story, (key + 7) % STORY_KEYS, false);
	}
}

static void idle_client_run(void *argument)
{
	(void)argument;
}

static void crowd(struct story *story)
{
	struct crowd_client clients[STORY_CLIENTS];
	for (uint32_t i = 0; i < STORY_CLIENTS; i++)
		clients[i] = (struct crowd_client) { story, i };
	stepped_run_clients(story->machine->stepped, "crowd", crowd_client_run, clients, sizeof(clients[0]),
			    STORY_CLIENTS);
}

/* The scheduler's own memory is not what is to run out. */
void story_make_stacks(struct machine *machine)
{
	char nothing[STORY_CLIENTS];
	stepped_run_clients(machine->stepped, "idle", idle_client_run, nothing, 1, STORY_CLIENTS);
}

/* Inside the database, where values are pinned and not copied. */
static void task_run(cascade *db, void *argument)
{
	struct story *story = argument;
	(void)db;
	for (uint32_t key = 0; key < STORY_KEYS; key += 5)
		read_key(story, key, false);
	put_key(story, 3);
	cascade_yield(db);
	read_key(story, 3, false);
	seek(story, 11);
}

static void run_task(struct story *story)
{
	cascade_status status = cascade_run(story->machine->db, key_bytes(&story->model, 3), task_run, story);
	story_hear(story, "run", status, story->it->fault->reads);
}

/* --- the histories --- */

void story_work_after_creation(struct story *story)
{
	for (uint32_t key = 0; key < STORY_KEYS; key++)
		put_key(story, key);
	for (uint32_t key = 0; key < STORY_KEYS; key += 7)
		delete_key(story, key);
	write_batch(story, 1);
	take_snapshot(story);
	for (uint32_t key = 0; key < STORY_KEYS; key += 2)
		put_key(story, key);
	flush(story);
	read_all(story, true);
	write_batch(story, 12);
	crowd(story);
	for (uint32_t round = 0; round < 2; round++)
		for (uint32_t key = 0; key < STORY_KEYS; key++)
			put_key(story, (key * 11 + round) % STORY_KEYS);
	story_scan(story, true);
	drop_snapshot(story);
	flush(story);
	for (uint32_t key = 0; key < STORY_KEYS; key += 4)
		delete_key(story, key);
	run_task(story);
	for (uint32_t key = 0; key < STORY_KEYS; key++)
		put_key(story, key * 7 % STORY_KEYS);
	verify(story);
	story_scan(story, false);
	read_all(story, false);
	/* So that there is something to replay. */
	for (uint32_t key = 1; key < STORY_KEYS; key += 3)
		put_key(story, key);
	write_batch(story, 23);
}

void story_work_after_recovery(struct story *story)
{
	story_scan(story, false);
	for (uint32_t key = 0; key < STORY_KEYS; key++)
		put_key(story, key);
	write_batch(story, 7);
	flush(story);
	crowd(story);
	for (uint32_t key = 0; key < STORY_KEYS; key += 3)
		delete_key(story, key);
	read_all(story, false);
	verify(story);
	for (uint32_t key = 0; key < STORY_KEYS; key += 5)
		put_key(story, key);
}
