/*
 * database_test.c: cascade.h: limits and bad input, tasks, iterators, opening and closing, stats. The model
 * is in model_test.c, durability in durability_test.c, damaged files in damage_test.c. Takes about 8 s.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "database/database_test.h"

/* --- tasks --- */

struct nest {
	unsigned depth;
	unsigned reached;
	char key[32];
};

/* Each level runs the next on the shard of another key, and waits for it. */
static void nested(cascade *db, void *argument)
{
	struct nest *nest = argument;
	char key[32];
	(void)snprintf(key, sizeof(key), "nest%u", nest->depth);
	put(db, key, "here");
	nest->reached++;
	if (nest->depth == 0)
		return;
	nest->depth--;
	(void)snprintf(nest->key, sizeof(nest->key), "nest%u", nest->depth);
	CHECK_OK(cascade_run(db, cascade_string(nest->key), nested, nest));
	check_value(db, key, "here");
	check_value(db, "nest0", "here");
}

static void test_nested_runs(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 4 };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	struct nest nest = { .depth = 20 };
	CHECK_OK(cascade_run(db, cascade_string("nest20"), nested, &nest));
	CHECK(nest.reached == 21);
	CHECK_OK(cascade_close(db));
}

struct fan {
	_Atomic unsigned count;
};

static void fan_leaf(cascade *db, void *argument)
{
	struct fan *fan = argument;
	cascade_yield(db);
	cascade_sleep(db, 1000);
	fan->count++;
}

static void fan_out(cascade *db, void *argument)
{
	enum { LEAVES = 40 };
	cascade_future *futures[LEAVES];
	for (unsigned i = 0; i < LEAVES; i++)
		CHECK_OK(cascade_run_async(db, i % cascade_shard_count(db), fan_leaf, argument, &futures[i]));
	for (unsigned i = 0; i < LEAVES; i++) {
		CHECK_OK(cascade_future_wait(futures[i]));
	}
	struct fan *fan = argument;
	CHECK(fan->count >= LEAVES);
}

static void test_futures(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2 };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	struct fan fan = { 0 };
	CHECK_OK(cascade_run(db, cascade_string("x"), fan_out, &fan));
	CHECK(fan.count == 40);
	fan_out(db, &fan);
	CHECK(fan.count == 80);
	/* By polling. */
	cascade_future *future;
	CHECK_OK(cascade_run_async(db, 1, fan_leaf, &fan, &future));
	while (!cascade_future_done(future))
		cascade_sleep(db, 1000);
	CHECK_OK(cascade_future_wait(future));
	CHECK(fan.count == 81);
	CHECK_STATUS(cascade_run_async(db, 2, fan_leaf, &fan, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_run_async(db, 0, NULL, &fan, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_run_async(db, 0, fan_leaf, &fan, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_run(NULL, cascade_string("x"), fan_leaf, &fan), CASCADE_INVALID);
	CHECK_STATUS(cascade_run(db, cascade_bytes(NULL, 5), fan_leaf, &fan), CASCADE_INVALID);
	CHECK_STATUS(cascade_future_wait(NULL), CASCADE_INVALID);
	CHECK_OK(cascade_close(db));
}

struct handover {
	cascade_future *future;
	struct fan fan;
};

static void start_leaf(cascade *db, void *argument)
{
	struct handover *handover = argument;
	CHECK_OK(cascade_run_async(db, 0, fan_leaf, &handover->fan, &handover->future));
}

static void wait_for_it(cascade *db, void *argument)
{
	(void)db;
	struct handover *handover = argument;
	CHECK_OK(cascade_future_wait(handover->future));
}

/* A thread's future may be waited for by a task. A task's only by tasks of its shard: others are told. */
static void test_futures_handed_over(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	struct handover handover = { 0 };
	start_leaf(db, &handover);
	CHECK_OK(cascade_run(db, cascade_string("x"), wait_for_it, &handover));
	CHECK(handover.fan.count == 1);
	CHECK_OK(cascade_run(db, cascade_string("x"), start_leaf, &handover));
	CHECK_STATUS(cascade_future_wait(handover.future), CASCADE_INVALID);
	CHECK_OK(cascade_run(db, cascade_string("x"), wait_for_it, &handover));
	CHECK(handover.fan.count == 2);
	CHECK_OK(cascade_close(db));
}

/* Far more values than the pool has frames, held at the same time by one task. */
static void hold_many(cascade *db, void *argument)
{
	enum { MANY = 300 };
	cascade_value *values = argument;
	char key[32];
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(key, sizeof(key), "pin%04u", i);
		CHECK_OK(cascade_get(db, cascade_string(key), NULL, &values[i]));
	}
	for (unsigned i = 0; i < MANY; i++) {
		CHECK(values[i].size == 3000);
		for (unsigned b = 0; b < 3000; b++)
			CHECK(((const uint8_t *)values[i].data)[b] == (uint8_t)(i * 7 + b / 250));
		cascade_value_release(&values[i]);
	}
}

static void test_many_pins_of_one_task(void **state)
{
	(void)state;
	/* Raw blocks are pinned in their frames. */
	const struct setup setup = { .shards = 1, .extra = { { "codec.kind", "none" } } };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	for (unsigned i = 0; i < 300; i++) {
		char key[32];
		uint8_t value[3000];
		(void)snprintf(key, sizeof(key), "pin%04u", i);
		for (unsigned b = 0; b < 3000; b++)
			value[b] = (uint8_t)(i * 7 + b / 250);
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, sizeof(value)), NULL));
	}
	CHECK_OK(cascade_flush(db));
	cascade_value *values = calloc(300, sizeof(*values));
	CHECK_OK(cascade_run(db, cascade_string("x"), hold_many, values));
	free(values);
	CHECK(stat_of(db, "cache.frames_pinned") == 0);
	CHECK_OK(cascade_close(db));
}

/* Seeking to where it stands: the key handed in lies in a chunk that is fetched anew, before other shards
 * have looked at it. */
static void seek_in_place(cascade *db, void *argument)
{
	(void)argument;
	cascade_iterator *iterator;
	char key[40];
	CHECK_OK(cascade_iterator_create(db, NULL, &iterator));
	CHECK_OK(cascade_iterator_seek_first(iterator));
	for (unsigned row = 0; row < 3000; row++) {
		(void)snprintf(key, sizeof(key), "row%06u", row);
		if (row % 50 == 49)
			CHECK_OK(cascade_iterator_seek(iterator, cascade_iterator_key(iterator)));
		CHECK(cascade_iterator_valid(iterator));
		CHECK(memcmp(cascade_iterator_key(iterator).data, key, strlen(key)) == 0);
		CHECK_OK(cascade_iterator_next(iterator));
	}
	CHECK(!cascade_iterator_valid(iterator));
	cascade_iterator_destroy(iterator);
}

/* More iterators than could all pin their place in the pool, open at the same time in one thread. */
static void test_many_open_iterators(void **state)
{
	(void)state;
	enum { MANY = 100 };
	const struct setup setup = { .shards = 2, .extra = { { "codec.kind", "none" } } };
	cascade *db;
	cascade_iterator *iterators[MANY];
	char key[40];
	char value[600];
	CHECK_OK(open_small(place, &setup, &db));
	memset(value, 'v', sizeof(value));
	for (unsigned i = 0; i < 3000; i++) {
		(void)snprintf(key, sizeof(key), "row%06u", i);
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, sizeof(value)), NULL));
	}
	CHECK_OK(cascade_flush(db));
	for (unsigned i = 0; i < MANY; i++) {
		CHECK_OK(cascade_iterator_create(db, NULL, &iterators[i]));
		(void)snprintf(key, sizeof(key), "row%06u", 20 * i);
		CHECK_OK(cascade_iterator_seek(iterators[i], cascade_string(key)));
	}
	for (unsigned step = 0; step < 200; step++) {
		for (unsigned i = 0; i < MANY; i++) {
			(void)snprintf(key, sizeof(key), "row%06u", 20 * i + step);
			CHECK(cascade_iterator_valid(iterators[i]));
			CHECK(memcmp(cascade_iterator_key(iterators[i]).data, key, strlen(key)) == 0);
			CHECK_OK(cascade_iterator_next(iterators[i]));
		}
	}
	for (unsigned i = 0; i < MANY; i++)
		cascade_iterator_destroy(iterators[i]);
	seek_in_place(db, NULL);
	CHECK_OK(cascade_run(db, cascade_string("x"), seek_in_place, NULL));
	CHECK(stat_of(db, "cache.frames_pinned") == 0);
	CHECK_OK(cascade_close(db));
}

/* --- limits and bad input --- */

static void test_limits(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	cascade_value value;
	CHECK_OK(open_small(place, &setup, &db));
	uint8_t *bytes = malloc(CASCADE_VALUE_BYTES_MAX + 1);
	for (unsigned i = 0; i <= CASCADE_VALUE_BYTES_MAX; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 24);

	put(db, "", "empty key");
	check_value(db, "", "empty key");
	CHECK_OK(cascade_put(db, cascade_string("empty value"), cascade_bytes(NULL, 0), NULL));
	check_value(db, "empty value", "");
	CHECK_OK(cascade_put(db, cascade_bytes(NULL, 0), cascade_string("null, zero"), NULL));
	check_value(db, "", "null, zero");

	cascade_slice longest = cascade_bytes(bytes, CASCADE_KEY_BYTES_MAX);
	cascade_slice largest = cascade_bytes(bytes, CASCADE_VALUE_BYTES_MAX);
	CHECK_OK(cascade_put(db, longest, largest, NULL));
	CHECK_STATUS(
		cascade_put(db, cascade_bytes(bytes, CASCADE_KEY_BYTES_MAX + 1), cascade_string("v"), NULL),
		CASCADE_INVALID);
	CHECK(strstr(cascade_error_message(), "65536") != NULL);
	CHECK_STATUS(
		cascade_put(db, cascade_string("k"), cascade_bytes(bytes, CASCADE_VALUE_BYTES_MAX + 1), NULL),
		CASCADE_INVALID);
	CHECK(strstr(cascade_error_message(), "1048577") != NULL);
	CHECK_STATUS(cascade_get(db, cascade_bytes(bytes, CASCADE_KEY_BYTES_MAX + 1), NULL, &value),
		     CASCADE_INVALID);
	CHECK_STATUS(cascade_delete(db, cascade_bytes(bytes, CASCADE_KEY_BYTES_MAX + 1), NULL),
		     CASCADE_INVALID);

	/* In memory, in a table, and after a reopening. */
	for (unsigned i = 0; i < 3; i++) {
		CHECK_OK(cascade_get(db, longest, NULL, &value));
		CHECK(value.size == largest.size && memcmp(value.data, bytes, value.size) == 0);
		cascade_value_release(&value);
		cascade_iterator *iterator;
		CHECK_OK(cascade_iterator_create(db, NULL, &iterator));
		CHECK_OK(cascade_iterator_seek(iterator, longest));
		CHECK(cascade_iterator_valid(iterator));
		CHECK(cascade_iterator_key(iterator).size == longest.size);
		CHECK(cascade_iterator_value(iterator).size == largest.size);
		cascade_iterator_destroy(iterator);
		CHECK_OK(i == 0 ? cascade_flush(db) : cascade_verify(db));
		if (i == 1) {
			CHECK_OK(cascade_close(db));
			CHECK_OK(open_small(place, &setup, &db));
		}
	}
	check_absent(db, "k");
	check_value(db, "", "null, zero");

	/* A batch of one of the largest, and one that would pass the bound. */
	cascade_batch *batch;
	CHECK_OK(cascade_batch_create(&batch));
	CHECK_OK(cascade_batch_put(batch, longest, largest));
	CHECK_STATUS(cascade_batch_put(batch, cascade_string("more"), cascade_bytes(bytes, 100)),
		     CASCADE_INVALID);
	CHECK(cascade_batch_count(batch) == 1);
	CHECK_OK(cascade_write(db, batch, NULL));
	cascade_batch_clear(batch);
	CHECK(cascade_batch_count(batch) == 0);
	CHECK_OK(cascade_write(db, batch, NULL));
	/* The same key again and again counts once. */
	for (unsigned i = 0; i < 50; i++)
		CHECK_OK(cascade_batch_put(batch, cascade_string("again"), cascade_bytes(bytes, 1 << 19)));
	CHECK(cascade_batch_count(batch) == 1);
	CHECK_OK(cascade_write(db, batch, NULL));
	cascade_batch_destroy(batch);
	free(bytes);
	CHECK_OK(cascade_close(db));
}

/* Many small operations in a batch take time in proportion, not squared. */
static void test_large_batch_of_small_operations(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	cascade_batch *batch;
	char key[32];
	enum { COUNT = 60000 };
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_OK(cascade_batch_create(&batch));
	uint64_t begin_ns = now_ns();
	for (unsigned i = 0; i < COUNT; i++) {
		(void)snprintf(key, sizeof(key), "%08x", i * 2654435761u);
		CHECK_OK(cascade_batch_put(batch, cascade_string(key), cascade_string("v")));
	}
	CHECK(cascade_batch_count(batch) == COUNT);
	CHECK_OK(cascade_write(db, batch, NULL));
	CHECK(now_ns() - begin_ns < (SANITIZED ? 20 : 4) * 1000000000ull);
	cascade_batch_destroy(batch);
	for (unsigned i = 0; i < COUNT; i += 997) {
		(void)snprintf(key, sizeof(key), "%08x", i * 2654435761u);
		check_value(db, key, "v");
	}
	CHECK_OK(cascade_close(db));
}

static void test_null_arguments(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	cascade_slice key = cascade_string("k");
	cascade_slice nothing = cascade_bytes(NULL, 3);
	cascade_value value;
	cascade_snapshot *snapshot;
	cascade_iterator *iterator;
	cascade_batch *batch;
	cascade_stat *stats;
	size_t count;
	CHECK_STATUS(cascade_open(NULL, NULL, &db), CASCADE_INVALID);
	CHECK_STATUS(cascade_open("", NULL, &db), CASCADE_INVALID);
	CHECK_STATUS(cascade_open(place, NULL, NULL), CASCADE_INVALID);
	char *long_path = malloc(5000);
	memset(long_path, 'x', 4999);
	long_path[4999] = '\0';
	CHECK_STATUS(cascade_open(long_path, NULL, &db), CASCADE_INVALID);
	free(long_path);
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_STATUS(cascade_put(NULL, key, key, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_put(db, nothing, key, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_put(db, key, nothing, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_delete(NULL, key, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_delete(db, nothing, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_get(NULL, key, NULL, &value), CASCADE_INVALID);
	CHECK_STATUS(cascade_get(db, nothing, NULL, &value), CASCADE_INVALID);
	CHECK_STATUS(cascade_get(db, key, NULL, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_write(db, NULL, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_batch_create(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_batch_put(NULL, key, key), CASCADE_INVALID);
	CHECK_STATUS(cascade_batch_delete(NULL, key), CASCADE_INVALID);
	CHECK_OK(cascade_batch_create(&batch));
	CHECK_STATUS(cascade_batch_put(batch, nothing, key), CASCADE_INVALID);
	CHECK_STATUS(cascade_batch_delete(batch, nothing), CASCADE_INVALID);
	CHECK_STATUS(cascade_write(NULL, batch, NULL), CASCADE_INVALID);
	cascade_batch_destroy(batch);
	cascade_batch_destroy(NULL);
	cascade_batch_clear(NULL);
	CHECK(cascade_batch_count(NULL) == 0);
	CHECK_STATUS(cascade_snapshot_create(NULL, &snapshot), CASCADE_INVALID);
	CHECK_STATUS(cascade_snapshot_create(db, NULL), CASCADE_INVALID);
	cascade_snapshot_release(NULL);
	CHECK_STATUS(cascade_iterator_create(NULL, NULL, &iterator), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_create(db, NULL, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_create(db, &(cascade_iterator_options) { .lower = nothing }, &iterator),
		     CASCADE_INVALID);
	CHECK_STATUS(
		cascade_iterator_create(
			db, &(cascade_iterator_options) { .upper = nothing, .has_upper = true }, &iterator),
		CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_seek(NULL, key), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_next(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_status(NULL), CASCADE_INVALID);
	CHECK(!cascade_iterator_valid(NULL));
	cascade_iterator_destroy(NULL);
	CHECK_OK(cascade_iterator_create(db, NULL, &iterator));
	CHECK_STATUS(cascade_iterator_seek(iterator, nothing), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_next(iterator), CASCADE_INVALID);
	CHECK(cascade_iterator_key(iterator).size == 0);
	CHECK(cascade_iterator_value(iterator).size == 0);
	cascade_iterator_destroy(iterator);
	CHECK_STATUS(cascade_flush(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_wait_idle(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_verify(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_stats(NULL, &stats, &count), CASCADE_INVALID);
	CHECK_STATUS(cascade_stats(db, NULL, &count), CASCADE_INVALID);
	CHECK_STATUS(cascade_stats(db, &stats, NULL), CASCADE_INVALID);
	cascade_stats_free(NULL);
	cascade_value_release(NULL);
	CHECK_STATUS(cascade_put(db, key, key, &(cascade_write_options) { (cascade_durability)9 }),
		     CASCADE_INVALID);
	CHECK(cascade_notice(db) != NULL);
	CHECK_OK(cascade_close(db));
	CHECK_OK(cascade_close(NULL));
}

/* --- snapshots --- */

/* A snapshot of nothing stays one of nothing, also when the first commits reach the last level. */
static void test_snapshot_before_the_first_write(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	cascade_snapshot *snapshot;
	cascade_value value;
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_OK(cascade_snapshot_create(db, &snapshot));
	cascade_read_options options = { .snapshot = snapshot };
	put(db, "first", "1");
	for (unsigned i = 0; i < 6; i++) {
		put(db, i % 2 == 0 ? "a" : "z", "x");
		CHECK_OK(cascade_flush(db));
		CHECK_OK(cascade_wait_idle(db));
		CHECK_STATUS(cascade_get(db, cascade_string("first"), &options, &value), CASCADE_NOT_FOUND);
	}
	CHECK(stat_of(db, "merges") > 0);
	cascade_snapshot_release(snapshot);
	CHECK_OK(cascade_close(db));
}

/* --- opening and closing --- */

static void test_close_with_handles(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2 };
	cascade *db;
	cascade_iterator *iterator;
	cascade_snapshot *snapshot;
	CHECK_OK(open_small(place, &setup, &db));
	put(db, "k", "v");
	CHECK_OK(cascade_iterator_create(db, NULL, &iterator));
	CHECK_OK(cascade_iterator_seek_first(iterator));
	CHECK_STATUS(cascade_close(db), CASCADE_BUSY);
	check_value(db, "k", "v");
	cascade_iterator_destroy(iterator);
	CHECK_OK(cascade_snapshot_create(db, &snapshot));
	CHECK_STATUS(cascade_close(db), CASCADE_BUSY);
	cascade_snapshot_release(snapshot);
	CHECK_OK(cascade_close(db));
}

struct held {
	_Atomic int stage;
	cascade_value value;
};

static void hold_a_pin(cascade *db, void *argument)
{
	struct held *held = argument;
	CHECK_OK(cascade_get(db, cascade_string("k"), NULL, &held->value));
	held->stage = 1;
	while (held->stage != 2)
		cascade_sleep(db, 100000);
	cascade_value_release(&held->value);
}

static void close_inside(cascade *db, void *argument)
{
	*(cascade_status *)argument = cascade_close(db);
}

static void test_close_with_tasks(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2 };
	cascade *db;
	cascade_future *future;
	struct held held = { 0 };
	cascade_status inside = CASCADE_OK;
	CHECK_OK(open_small(place, &setup, &db));
	put(db, "k", "v");
	CHECK_OK(
		cascade_run_async(db, cascade_shard_of(db, cascade_string("k")), hold_a_pin, &held, &future));
	while (held.stage != 1)
		cascade_sleep(db, 100000);
	CHECK_STATUS(cascade_close(db), CASCADE_BUSY);
	held.stage = 2;
	CHECK_OK(cascade_future_wait(future));
	CHECK_OK(cascade_run(db, cascade_string("k"), close_inside, &inside));
	CHECK_STATUS(inside, CASCADE_BUSY);
	CHECK_OK(cascade_close(db));
}

struct late {
	cascade *db;
	cascade_status status;
};

static void *verify_slowly(void *argument)
{
	struct late *late = argument;
	late->status = cascade_verify(late->db);
	return NULL;
}

static uint64_t device_reads(cascade *db)
{
	cascade_stat *stats;
	size_t count;
	uint64_t reads = 0;
	CHECK_OK(cascade_stats(db, &stats, &count));
	for (size_t i = 0; i < count; i++)
		reads += strcmp(stats[i].name, "io.reads") == 0 ? stats[i].value : 0;
	cascade_stats_free(stats);
	return reads;
}

/* Calls under way end before the database goes. */
static void test_close_waits_for_calls(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .io = "posix", .extra = { { "codec.kind", "none" } } };
	struct late late = { 0 };
	char key[32];
	static char value[3000];
	CHECK_OK(open_small(place, &setup, &late.db));
	for (unsigned i = 0; i < 1000; i++) {
		(void)snprintf(key, sizeof(key), "key%u", i);
		CHECK_OK(
			cascade_put(late.db, cascade_string(key), cascade_bytes(value, sizeof(value)), NULL));
	}
	for (unsigned i = 0; i < 20; i++) {
		pthread_t thread;
		CHECK_OK(cascade_wait_idle(late.db)); /* so that nobody else reads */
		uint64_t before = device_reads(late.db);
		CHECK(pthread_create(&thread, NULL, verify_slowly, &late) == 0);
		/* Until the call has arrived, which its first reads show; a call that comes later than the
		 * close is the caller's mistake. */
		while (device_reads(late.db) == before)
			cascade_sleep(late.db, 10000);
		cascade_sleep(late.db, 30000 * i);
		CHECK_OK(cascade_close(late.db));
		CHECK(pthread_join(thread, NULL) == 0);
		CHECK_OK(late.status);
		CHECK_OK(open_small(place, &setup, &late.db));
	}
	CHECK_OK(cascade_close(late.db));
}

static void test_locked(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db, *second = NULL;
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_STATUS(open_small(place, &setup, &second), CASCADE_LOCKED);
	CHECK(second == NULL);
	put(db, "k", "v");
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(place, &setup, &db));
	check_value(db, "k", "v");
	CHECK_OK(cascade_close(db));
}

static void test_create_false(void **state)
{
	(void)state;
	const struct setup without = { .shards = 1, .extra = { { "create", "false" } } };
	const struct setup with = { .shards = 1 };
	char path[PATH_BYTES + 16];
	cascade *db;
	CHECK_STATUS(open_small(place, &without, &db), CASCADE_NOT_FOUND);
	(void)snprintf(path, sizeof(path), "%s/nowhere", place);
	CHECK_STATUS(open_small(path, &without, &db), CASCADE_NOT_FOUND);
	CHECK(access(path, F_OK) != 0);
	CHECK_OK(open_small(path, &with, &db));
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(path, &without, &db));
	CHECK_OK(cascade_close(db));
	/* One level only, and a file is no directory. */
	(void)snprintf(path, sizeof(path), "%s/no/where", place);
	CHECK_STATUS(open_small(path, &with, &db), CASCADE_NOT_FOUND);
	(void)snprintf(path, sizeof(path), "%s/file", place);
	int file = open(path, O_CREAT | O_WRONLY, 0644);
	CHECK(file >= 0 && close(file) == 0);
	CHECK(open_small(path, &with, &db) != CASCADE_OK);
}

static void test_shards_are_fixed(void **state)
{
	(void)state;
	const struct setup two = { .shards = 2 };
	const struct setup three = { .shards = 3 };
	cascade *db;
	cascade_options *options;
	CHECK_OK(open_small(place, &two, &db));
	put(db, "k", "v");
	CHECK(cascade_shard_count(db) == 2);
	CHECK_OK(cascade_close(db));
	CHECK_STATUS(open_small(place, &three, &db), CASCADE_INVALID);
	CHECK(strstr(cascade_error_message(), "shards") != NULL);
	CHECK_OK(cascade_options_create(&options));
	CHECK_OK(cascade_options_set(options, "memory", "64 MiB"));
	CHECK_OK(cascade_open(place, options, &db));
	CHECK(cascade_shard_count(db) == 2);
	check_value(db, "k", "v");
	CHECK_OK(cascade_close(db));
	cascade_options_destroy(options);
}

/* Everything but shards may change from open to open. */
static void test_other_options_at_each_open(void **state)
{
	(void)state;
	static const struct setup setups[] = {
		{ .shards = 2, .io = "uring" },
		{ .shards = 2, .io = "posix", .extra = { { "codec.kind", "none" } } },
		{ .shards = 2, .durability = "memory", .extra = { { "table.block_size", "32 KiB" } } },
		{ .shards = 2,
		  .durability = "power",
		  .extra = { { "wal.segment_size", "3 MiB" }, { "memtable.size", "2 MiB" } } },
		{ .shards = 2, .extra = { { "table.size", "1 MiB" }, { "compaction.merges", "1" } } },
		{ .shards = 2, .extra = { { "io.direct", "false" }, { "filter.bits_per_key", "4" } } },
	};
	enum { SETUPS = sizeof(setups) / sizeof(setups[0]), ROWS = 800 };
	cascade *db;
	char key[32], value[300];
	for (unsigned i = 0; i < 2 * SETUPS; i++) {
		CHECK_OK(open_small(place, &setups[i % SETUPS], &db));
		for (unsigned row = 0; row < ROWS; row++) {
			(void)snprintf(key, sizeof(key), "key%05u", row);
			(void)snprintf(value, sizeof(value), "%u-%u-%0200u", i, row, row);
			if (i > 0) {
				char before[300];
				(void)snprintf(before, sizeof(before), "%u-%u-%0200u", i - 1, row, row);
				check_value(db, key, before);
			}
			put(db, key, value);
		}
		CHECK_OK(cascade_verify(db));
		CHECK_OK(cascade_close(db));
	}
}

/* --- what can be seen from outside --- */

static void test_stats(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2 };
	cascade *db;
	char key[32];
	static const char *const names[] = { "reads",
					     "reads.found",
					     "reads.memtable",
					     "reads.table",
					     "tables.probed",
					     "tables.filtered",
					     "writes",
					     "writes.bytes",
					     "cursors",
					     "flushes",
					     "flush.bytes_in",
					     "flush.bytes_out",
					     "merges",
					     "merge.debt",
					     "background.errors",
					     "pacing.pressure",
					     "wal.commits",
					     "wal.groups",
					     "wal.syncs",
					     "wal.bytes",
					     "wal.segments",
					     "wal.live_bytes",
					     "cache.hits",
					     "cache.misses",
					     "cache.frames",
					     "io.reads",
					     "io.writes",
					     "io.syncs",
					     "io.read_bytes",
					     "io.write_bytes",
					     "runtime.turns",
					     "runtime.tasks",
					     "level.0.tables",
					     "level.7.bytes",
					     "memory.memtables",
					     "memory.tables",
					     "memory.log",
					     "memory.budget",
					     "open.replayed_commits",
					     "open.replayed_bytes",
					     "open.ring_bytes",
					     "open.trimmed_bytes",
					     "shards" };
	CHECK_OK(open_small(place, &setup, &db));
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)stat_of(db, names[i]);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(key, sizeof(key), "key%u", i);
		put(db, key, "0123456789");
	}
	for (unsigned i = 0; i < 200; i++) {
		cascade_value value;
		(void)snprintf(key, sizeof(key), "key%u", i);
		CHECK((cascade_get(db, cascade_string(key), NULL, &value) == CASCADE_OK) == (i < 100));
		cascade_value_release(&value);
	}
	CHECK(stat_of(db, "writes") == 100);
	CHECK(stat_of(db, "writes.bytes") == 10 * 4 + 90 * 5 + 100 * 10);
	CHECK(stat_of(db, "wal.commits") == 100);
	CHECK(stat_of(db, "wal.bytes") > 1490);
	CHECK(stat_of(db, "reads") == 200);
	CHECK(stat_of(db, "reads.found") == 100);
	CHECK(stat_of(db, "reads.memtable") == 100);
	CHECK(stat_of(db, "reads.table") == 0);
	CHECK_OK(cascade_flush(db));
	check_value(db, "key5", "0123456789");
	CHECK(stat_of(db, "reads.table") == 1);
	CHECK(stat_of(db, "flushes") == 2);
	CHECK(stat_of(db, "flush.bytes_in") == 10 * 4 + 90 * 5 + 100 * 10);
	uint64_t tables = 0, bytes = 0;
	for (unsigned level = 0; level < 8; level++) {
		(void)snprintf(key, sizeof(key), "level.%u.tables", level);
		tables += stat_of(db, key);
		(void)snprintf(key, sizeof(key), "level.%u.bytes", level);
		bytes += stat_of(db, key);
	}
	CHECK(tables == 2);
	CHECK(bytes == stat_of(db, "flush.bytes_out"));
	CHECK(stat_of(db, "io.write_bytes") >= bytes + stat_of(db, "wal.bytes"));
	CHECK(stat_of(db, "memory.budget") > 1 << 20);
	CHECK(stat_of(db, "shards") == 2);
	CHECK(stat_of(db, "background.errors") == 0);
	CHECK_OK(cascade_close(db));
}

static uint64_t cpu_ns(void)
{
	struct rusage usage;
	CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

static void check_idle(const char *io)
{
	const struct setup setup = { .shards = 4, .io = io };
	cascade *db;
	char key[32];
	CHECK_OK(open_small(place, &setup, &db));
	for (unsigned i = 0; i < 2000; i++) {
		(void)snprintf(key, sizeof(key), "key%u", i);
		put(db, key, "some value that fills the memtables a little");
	}
	CHECK_OK(cascade_wait_idle(db));
	/* What was set in motion comes to rest: segments that are readied, tables that are unlinked. */
	cascade_sleep(db, 200000000);
	uint64_t before_ns = cpu_ns();
	cascade_sleep(db, 500000000);
	uint64_t used_ns = cpu_ns() - before_ns;
	if (used_ns >= 10000000)
		print_message("%s: %llu us of CPU in 500 ms\n", io, (unsigned long long)used_ns / 1000);
	/* Sanitizers have threads of their own. */
	CHECK(SANITIZED || used_ns < 10000000);
	CHECK_OK(cascade_close(db));
}

static void test_idle_uses_no_cpu(void **state)
{
	(void)state;
	check_idle("uring");
	check_idle("posix");
}

/* The message of a failed call is that call's, also in tasks. */
static void fail_in_task(cascade *db, void *argument)
{
	cascade_value value;
	(void)argument;
	CHECK_STATUS(cascade_get(db, cascade_bytes("x", 70000), NULL, &value), CASCADE_INVALID);
	CHECK(strstr(cascade_error_message(), "70000") != NULL);
}

static void test_messages(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_STATUS(cascade_put(db, cascade_bytes("x", 66000), cascade_string(""), NULL), CASCADE_INVALID);
	CHECK(strstr(cascade_error_message(), "66000") != NULL);
	CHECK_OK(cascade_run(db, cascade_string("x"), fail_in_task, NULL));
	CHECK(strstr(cascade_error_message(), "66000") != NULL);
	CHECK_OK(cascade_close(db));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nested_runs),
		TEST(test_futures),
		TEST(test_futures_handed_over),
		TEST(test_many_pins_of_one_task),
		TEST(test_many_open_iterators),
		TEST(test_limits),
		TEST(test_large_batch_of_small_operations),
		TEST(test_null_arguments),
		TEST(test_snapshot_before_the_first_write),
		TEST(test_close_with_handles),
		TEST(test_close_with_tasks),
		TEST(test_close_waits_for_calls),
		TEST(test_locked),
		TEST(test_create_false),
		TEST(test_shards_are_fixed),
		TEST(test_other_options_at_each_open),
		TEST(test_stats),
		TEST(test_idle_uses_no_cpu),
		TEST(test_messages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
