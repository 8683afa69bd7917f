#include "harness/client.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "harness/ticks.h"

enum { READY_POLL_NS = 50000 };

/* --- life --- */

static bool records_kind(const struct phase *phase, int kind)
{
	if (phase->kind == PHASE_LOAD)
		return kind == OPERATION_INSERT;
	if (kind == PART_RMW_READ || kind == PART_RMW_UPDATE)
		return phase->mix[OPERATION_RMW] > 0;
	return phase->mix[kind] > 0;
}

struct status client_init(struct client *client)
{
	const struct client_group *group = client->group;
	client->ops = group->driver->ops;
	client->quota = UINT64_MAX;
	client->first = UINT64_MAX;
	atomic_init(&group->inserting[client->index], UINT64_MAX);
	client->value = memory_allocate(group->workload->value_size + 1);
	if (client->value == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (int kind = 0; kind < CLIENT_HISTOGRAMS; kind++) {
		if (!records_kind(group->phase, kind))
			continue;
		client->service[kind] = histogram_create();
		if (client->service[kind] == NULL)
			return status_make(STATUS_NO_MEMORY);
	}
	if (group->phase->kind == PHASE_RUN)
		generator_client_init(&group->generator, &client->draw, client->index);
	return status_ok();
}

void client_free(struct client *client)
{
	memory_free(client->value);
	for (int kind = 0; kind < CLIENT_HISTOGRAMS; kind++)
		histogram_free(client->service[kind]);
}

void client_end(struct client *client)
{
	struct client_group *group = client->group;
	/* The descriptor outlives the group's last client: the phase closes it after it has joined all. */
	int wake_fd = group->wake_fd;
	if (atomic_fetch_sub(&group->running, 1) == 1) {
		uint64_t one = 1;
		ssize_t written = write(wake_fd, &one, sizeof(one));
		(void)written; /* an eventfd that already holds a count wakes as well */
	}
}

/* --- time and counts --- */

static inline uint64_t start_time(struct client *client)
{
	if (!client->now_is_fresh)
		client->now = ticks_now();
	return client->now;
}

static inline uint64_t end_time(struct client *client)
{
	client->now = ticks_now();
	client->now_is_fresh = true;
	return client->now;
}

static inline void record(struct client *client, int kind, uint64_t start, uint64_t end)
{
	if (client->measuring)
		histogram_record(client->service[kind], ticks_to_ns(end - start));
}

static void note_failure(struct client *client, struct status status)
{
	if (!client->measuring)
		return;
	if (client->failed++ == 0) {
		client->first_failure = status;
		client->failed_at = client->now;
	}
}

/* --- operations: each returns what the engine said --- */

static struct slice operation_key(const struct operation *operation)
{
	return slice_make(operation->key, operation->key_size);
}

static struct status do_read(struct client *client, const struct operation *operation, int kind)
{
	struct verifier *verifier = client->group->verifier;
	struct slice value = slice_make(NULL, 0);
	struct verify_read check;
	if (verifier != NULL)
		verify_read_begin(verifier, operation->key_number, &check);
	uint64_t start = start_time(client);
	struct status status = client->ops->read(client->handle, operation_key(operation), &value);
	uint64_t end = end_time(client);
	bool found = status_is_ok(status);
	if (!found && !status_is(status, STATUS_NOT_FOUND))
		return status;
	if (kind >= 0)
		record(client, kind, start, end);
	if (verifier != NULL) {
		client->now_is_fresh = false;
		if (found)
			verify_read_value(verifier, client->index, &check, value);
		else
			verify_read_missing(verifier, client->index, &check);
	}
	return status_ok();
}

typedef struct status write_function(struct driver_client *client, struct slice key, struct slice value);

/* Insert or update: a whole value. */
static struct status do_write(struct client *client, const struct operation *operation, write_function *write,
			      int kind)
{
	struct client_group *group = client->group;
	struct verify_write check;
	uint32_t version = (uint32_t)client->next % (1 << VALUE_VERSION_BITS);
	size_t size = group->workload->value_size;
	if (group->verifier != NULL)
		version = verify_write_begin(group->verifier, client->index, operation->key_number, false,
					     &check);
	value_make(group->maker, operation->key_number, version, client->value, size);
	client->now_is_fresh = false;
	uint64_t start = start_time(client);
	struct status status =
		write(client->handle, operation_key(operation), slice_make(client->value, size));
	uint64_t end = end_time(client);
	if (group->verifier != NULL) {
		verify_write_end(group->verifier, client->index, &check, status_is_ok(status));
		client->now_is_fresh = false;
	}
	if (client->measuring)
		client->bytes_written += operation->key_size + size;
	if (status_is_ok(status) && kind >= 0)
		record(client, kind, start, end);
	return status;
}

static struct status do_remove(struct client *client, const struct operation *operation)
{
	struct verifier *verifier = client->group->verifier;
	struct verify_write check;
	if (verifier != NULL) {
		verify_write_begin(verifier, client->index, operation->key_number, true, &check);
		client->now_is_fresh = false;
	}
	uint64_t start = start_time(client);
	struct status status = client->ops->remove(client->handle, operation_key(operation));
	uint64_t end = end_time(client);
	if (status_is(status, STATUS_NOT_FOUND))
		status = status_ok();
	if (verifier != NULL) {
		verify_write_end(verifier, client->index, &check, status_is_ok(status));
		client->now_is_fresh = false;
	}
	if (client->measuring)
		client->bytes_written += operation->key_size;
	if (status_is_ok(status))
		record(client, OPERATION_DELETE, start, end);
	return status;
}

/* A read and a write as one operation, whose time includes making the new value. */
static struct status do_read_and_write(struct client *client, const struct operation *operation, int kind,
				       int read_kind, int write_kind)
{
	uint64_t start = start_time(client);
	client->now_is_fresh = true;
	TRY(do_read(client, operation, read_kind));
	TRY(do_write(client, operation, client->ops->update, write_kind));
	record(client, kind, start, client->now);
	return status_ok();
}

struct scan_context {
	struct client *client;
	struct verify_scan check;
};

static bool visit_row(void *context, struct slice key, struct slice value)
{
	struct scan_context *scan = context;
	struct client *client = scan->client;
	if (client->group->verifier != NULL)
		verify_scan_row(client->group->verifier, client->index, &scan->check, key, value);
	return true;
}

/* Verifying rows happens while the driver walks over them, and so within the time of the scan. */
static struct status do_scan(struct client *client, const struct operation *operation)
{
	struct verifier *verifier = client->group->verifier;
	struct scan_context scan = { .client = client };
	if (verifier != NULL) {
		verify_scan_begin(verifier, client->index, operation->key_number, operation->scan_count,
				  &scan.check);
		client->now_is_fresh = false;
	}
	uint64_t start = start_time(client);
	struct status status = client->ops->scan(client->handle, operation_key(operation),
						 operation->scan_count, visit_row, &scan);
	uint64_t end = end_time(client);
	if (!status_is_ok(status))
		return status;
	record(client, OPERATION_SCAN, start, end);
	if (verifier != NULL) {
		verify_scan_end(verifier, client->index, &scan.check);
		client->now_is_fresh = false;
	}
	return status;
}

/* --- inserts and the acknowledged prefix --- */

static void advance_acknowledged(struct client_group *group)
{
	uint64_t prefix = atomic_load(&group->next_insert);
	for (uint32_t i = 0; i < group->count; i++) {
		uint64_t inserting = atomic_load(&group->inserting[i]);
		if (inserting < prefix)
			prefix = inserting;
	}
	uint64_t known = atomic_load_explicit(&group->acknowledged, memory_order_relaxed);
	while (known < prefix && !atomic_compare_exchange_weak(&group->acknowledged, &known, prefix))
		continue;
}

static struct status do_insert(struct client *client, struct operation *operation)
{
	struct client_group *group = client->group;
	_Atomic uint64_t *inserting = &group->inserting[client->index];
	if (group->track_inserts)
		atomic_store(inserting, atomic_load(&group->next_insert));
	operation->key_number = atomic_fetch_add(&group->next_insert, 1);
	if (group->track_inserts)
		atomic_store(inserting, operation->key_number);
	operation->key_size =
		(uint32_t)key_format(group->workload->insert_order, operation->key_number, operation->key);
	struct status status = do_write(client, operation, client->ops->insert, OPERATION_INSERT);
	if (group->track_inserts) {
		atomic_store(inserting, UINT64_MAX);
		advance_acknowledged(group);
		client->now_is_fresh = false;
	}
	return status;
}

/* --- the loop --- */

static struct status perform(struct client *client, struct operation *operation)
{
	switch (operation->kind) {
	case OPERATION_READ:
		return do_read(client, operation, OPERATION_READ);
	case OPERATION_UPDATE:
		if (client->group->phase->update_mode == UPDATE_RMW)
			return do_read_and_write(client, operation, OPERATION_UPDATE, -1, -1);
		return do_write(client, operation, client->ops->update, OPERATION_UPDATE);
	case OPERATION_INSERT:
		return do_insert(client, operation);
	case OPERATION_SCAN:
		return do_scan(client, operation);
	case OPERATION_RMW:
		return do_read_and_write(client, operation, OPERATION_RMW, PART_RMW_READ, PART_RMW_UPDATE);
	case OPERATION_DELETE:
		return do_remove(client, operation);
	case OPERATION_KINDS:
		break;
	}
	return status_make(STATUS_INVALID);
}

/* Draws the next operations, and asks for what they will touch. */
static void draw_batch(struct client *client)
{
	struct client_group *group = client->group;
	uint64_t acknowledged = atomic_load_explicit(&group->acknowledged, memory_order_acquire);
	generator_operations(&group->generator, &client->draw, client->next, GENERATOR_BATCH, acknowledged,
			     client->batch);
	for (uint32_t i = 0; i < GENERATOR_BATCH && group->verifier != NULL; i++)
		verify_prefetch(group->verifier, client->batch[i].key_number);
	client->batch_next = 0;
	client->batch_count = GENERATOR_BATCH;
	client->now_is_fresh = false;
}

static struct status run_step(struct client *client)
{
	if (client->batch_next == client->batch_count)
		draw_batch(client);
	if (client->measuring && client->first == UINT64_MAX)
		client->first = client->next;
	client->next++;
	return perform(client, &client->batch[client->batch_next++]);
}

/* Load: client c of C inserts the key numbers c, c + C, c + 2 C, ... */
static struct status load_step(struct client *client)
{
	struct client_group *group = client->group;
	struct operation *operation = &client->batch[0];
	operation->key_number = client->index + client->loaded * group->count;
	client->loaded++;
	client->next++;
	operation->key_size =
		(uint32_t)key_format(group->workload->insert_order, operation->key_number, operation->key);
	return do_write(client, operation, client->ops->insert, OPERATION_INSERT);
}

static void give_way(struct client *client)
{
	client->ops->task_yield(client->handle);
	client->now_is_fresh = false;
}

static void wait_for_start(struct client *client, bool is_task)
{
	struct client_group *group = client->group;
	atomic_fetch_add(&group->ready, 1);
	while (atomic_load_explicit(&group->stage, memory_order_acquire) == STAGE_PREPARING) {
		struct timespec pause = { .tv_nsec = READY_POLL_NS };
		if (is_task)
			client->ops->task_sleep(client->handle, READY_POLL_NS);
		else
			nanosleep(&pause, NULL);
	}
}

static void count_success(struct client *client)
{
	uint64_t before = atomic_load_explicit(&client->operations, memory_order_relaxed);
	atomic_store_explicit(&client->operations, before + 1, memory_order_relaxed);
}

void client_run(struct driver *driver, struct driver_client *handle, void *argument)
{
	struct client *client = argument;
	struct client_group *group = client->group;
	bool is_task = group->workload->clients_as_tasks && (driver->ops->capabilities & DRIVER_TASKS) != 0;
	bool loads = group->phase->kind == PHASE_LOAD;
	client->handle = handle;
	wait_for_start(client, is_task);
	for (uint32_t burst = 0;; burst++) {
		int stage = atomic_load_explicit(&group->stage, memory_order_acquire);
		client->measuring = stage == STAGE_MEASURING;
		if (stage == STAGE_STOPPING || client->attempted >= client->quota)
			break;
		struct status status = loads ? load_step(client) : run_step(client);
		if (client->measuring) {
			client->attempted++;
			client->end = client->now;
			if (status_is_ok(status))
				count_success(client);
		}
		if (!status_is_ok(status))
			note_failure(client, status);
		if (is_task && (burst % CLIENT_TASK_BURST == CLIENT_TASK_BURST - 1 || !status_is_ok(status)))
			give_way(client);
	}
	/* The stopwatch is good for intervals only, and this one is short. */
	if (client->attempted > 0)
		client->end_ns = clock_now_ns() - ticks_to_ns(ticks_now() - client->end);
	client_end(client);
}
