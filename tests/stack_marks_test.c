/*
 * stack_marks_test.c: how deep the engine's tasks really go. Databases of every variant are written, read,
 * scanned, flushed, merged, damaged and opened again, from threads and from tasks, on painted stacks; then
 * each task type must have left a quarter of what it declares. The call graph (the test `stacks`) says what
 * could happen; this is what did, with whatever compiler. Only in builds like what is shipped. Takes about 5
 * s.
 */
#include <pthread.h>

#include "database/database_test.h"
#include "runtime/internal.h"

#if defined(CASCADE_DEBUG) || defined(FIBER_ASAN) || defined(FIBER_TSAN) || defined(CASCADE_UCONTEXT) || \
	defined(CASCADE_PLANTED)
enum { IS_LIKE_A_RELEASE = 0 };
#else
enum { IS_LIKE_A_RELEASE = 1 };
#endif

enum {
	ROUNDS = 8, /* every variant of every kind has its turn */
	SHARDS = 2,
	THREADS = 2,
	OPERATIONS = 400, /* of each thread */
	KEYS = 1000,
	VALUE_BYTES_MAX = 40000,
	MARKS_MAX = 64,
};

static uint8_t value_bytes[VALUE_BYTES_MAX];

/* --- what threads and tasks do alike --- */

static void key_of(uint64_t number, char key[64])
{
	(void)snprintf(key, 64, "key-%08llu-%.*s", (unsigned long long)number, (int)(number % 30),
		       "abcdefghijklmnopqrstuvwxyzabcd");
}

static size_t value_size(struct random *random)
{
	uint64_t kind = random_below(random, 100);
	if (kind < 70)
		return (size_t)random_below(random, 300);
	return (size_t)random_below(random, kind < 98 ? 3000 : VALUE_BYTES_MAX);
}

static void do_batch(cascade *db, struct random *random)
{
	char key[64];
	cascade_batch *batch;
	CHECK_OK(cascade_batch_create(&batch));
	uint64_t first = random_below(random, KEYS);
	key_of(first, key);
	uint32_t shard = cascade_shard_of(db, cascade_string(key));
	for (uint64_t i = first; i < first + 20; i++) {
		key_of(i, key);
		if (cascade_shard_of(db, cascade_string(key)) == shard)
			CHECK_OK(cascade_batch_put(batch, cascade_string(key),
						   cascade_bytes(value_bytes, 50)));
	}
	CHECK_OK(cascade_write(db, batch, NULL));
	cascade_batch_destroy(batch);
}

static void do_scan(cascade *db, struct random *random, const cascade_snapshot *snapshot)
{
	char lower[64], upper[64];
	key_of(random_below(random, KEYS), lower);
	key_of(random_below(random, KEYS), upper);
	cascade_iterator_options options = { .snapshot = snapshot, .lower = cascade_string(lower) };
	if (strcmp(lower, upper) < 0)
		options.upper = cascade_string(upper);
	cascade_iterator *iterator;
	CHECK_OK(cascade_iterator_create(db, &options, &iterator));
	CHECK_OK(cascade_iterator_seek_first(iterator));
	for (unsigned i = 0; i < 150 && cascade_iterator_valid(iterator); i++)
		CHECK_OK(cascade_iterator_next(iterator));
	cascade_iterator_destroy(iterator);
}

static void do_get(cascade *db, uint64_t number, const cascade_snapshot *snapshot)
{
	char key[64];
	cascade_value value;
	cascade_read_options options = { .snapshot = snapshot };
	key_of(number, key);
	cascade_status status = cascade_get(db, cascade_string(key), &options, &value);
	CHECK(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
	if (status == CASCADE_OK)
		cascade_value_release(&value);
}

static void do_one(cascade *db, struct random *random)
{
	char key[64];
	uint64_t number = random_below(random, KEYS);
	key_of(number, key);
	uint64_t kind = random_below(random, 100);
	if (kind < 50) {
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value_bytes, value_size(random)),
				     NULL));
	} else if (kind < 60) {
		CHECK_OK(cascade_delete(db, cascade_string(key), NULL));
	} else if (kind < 92) {
		do_get(db, number, NULL);
	} else if (kind < 96) {
		do_batch(db, random);
	} else {
		cascade_snapshot *snapshot;
		CHECK_OK(cascade_snapshot_create(db, &snapshot));
		do_get(db, number, snapshot);
		do_scan(db, random, snapshot);
		cascade_snapshot_release(snapshot);
	}
}

/* --- tasks --- */

static void leaf_task(cascade *db, void *argument)
{
	(void)argument;
	do_get(db, 1, NULL);
	cascade_yield(db);
	cascade_sleep(db, 1000);
}

static void busy_task(cascade *db, void *argument)
{
	struct random random = random_stream(seed + *(const uint64_t *)argument);
	for (unsigned i = 0; i < 80; i++)
		do_one(db, &random);
	CHECK_OK(cascade_run(db, cascade_string("key"), leaf_task, NULL));
	cascade_future *future;
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		CHECK_OK(cascade_run_async(db, shard, leaf_task, NULL, &future));
		CHECK_OK(cascade_future_wait(future));
	}
	CHECK(stat_of(db, "shards") == SHARDS);
	CHECK_OK(cascade_flush(db));
	CHECK_OK(cascade_verify(db));
}

static void run_tasks(cascade *db)
{
	static const uint64_t numbers[SHARDS] = { 100, 101 };
	cascade_future *futures[SHARDS];
	for (uint32_t shard = 0; shard < SHARDS; shard++)
		CHECK_OK(cascade_run_async(db, shard, busy_task, (void *)(uintptr_t)&numbers[shard],
					   &futures[shard]));
	for (uint32_t shard = 0; shard < SHARDS; shard++)
		CHECK_OK(cascade_future_wait(futures[shard]));
}

/* --- threads --- */

struct client {
	cascade *db;
	uint64_t number;
};

static void *run_client(void *argument)
{
	const struct client *client = argument;
	struct random random = random_stream(seed + client->number);
	for (unsigned i = 0; i < OPERATIONS; i++)
		do_one(client->db, &random);
	return NULL;
}

static void run_threads(cascade *db)
{
	pthread_t threads[THREADS];
	struct client clients[THREADS];
	for (unsigned i = 0; i < THREADS; i++) {
		clients[i] = (struct client) { db, i };
		CHECK(pthread_create(&threads[i], NULL, run_client, &clients[i]) == 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

/* The same through futures: tasks do what threads else do by themselves. */
static void run_futures(cascade *db)
{
	char key[64];
	cascade_future *future;
	cascade_value value;
	for (uint64_t i = 0; i < 40; i++) {
		key_of(i, key);
		CHECK_OK(cascade_put_async(db, cascade_string(key), cascade_bytes(value_bytes, 500), NULL,
					   &future));
		CHECK_OK(cascade_future_wait(future));
		CHECK_OK(cascade_get_async(db, cascade_string(key), NULL, &value, &future));
		CHECK_OK(cascade_future_wait(future));
		cascade_value_release(&value);
	}
	CHECK_OK(cascade_flush_async(db, &future));
	CHECK_OK(cascade_future_wait(future));
	CHECK_OK(cascade_wait_idle_async(db, &future));
	CHECK_OK(cascade_future_wait(future));
}

/* --- damage --- */

static int damage_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)at;
	size_t size = strlen(path);
	if (kind != FTW_F || size < 6 || strcmp(path + size - 6, ".table") != 0 || info->st_size < 8192)
		return 0;
	int fd = open(path, O_WRONLY);
	CHECK(fd >= 0);
	CHECK(pwrite(fd, "damage", 6, 100) == 6);
	CHECK(close(fd) == 0);
	return 0;
}

static void read_damaged(const char *path, const struct setup *setup)
{
	cascade *db;
	CHECK(nftw(path, damage_one, 16, FTW_PHYS) == 0);
	if (open_small(path, setup, &db) != CASCADE_OK)
		return;
	char key[64];
	for (uint64_t i = 0; i < KEYS; i += 7) {
		cascade_value value;
		key_of(i, key);
		if (cascade_get(db, cascade_string(key), NULL, &value) == CASCADE_OK)
			cascade_value_release(&value);
	}
	(void)cascade_verify(db);
	(void)cascade_close(db);
}

/* --- rounds --- */

/* The variant of a kind whose turn it is. */
static const char *variant_of(const char *kind, unsigned round)
{
	const cascade_component_info *components;
	size_t count = cascade_component_list(&components);
	const char *names[32];
	unsigned found = 0;
	for (size_t i = 0; i < count && found < 32; i++)
		if (strcmp(components[i].kind, kind) == 0 && !components[i].forgets)
			names[found++] = components[i].name;
	CHECK(found > 0);
	return names[round % found];
}

static void run_round(unsigned round)
{
	static const char *const durabilities[] = { "process", "power", "memory" };
	char root[PATH_BYTES], live[PATH_BYTES + 8], copy[PATH_BYTES + 8];
	struct setup setup = {
		.shards = SHARDS,
		.io = round % 3 == 2 ? "posix" : "uring",
		.durability = durabilities[round % 3],
		.extra = { { "memtable.kind", variant_of("memtable", round) },
			   { "filter.kind", variant_of("filter", round) },
			   { "cache.kind", variant_of("cache", round) },
			   { "codec.kind", variant_of("codec", round) },
			   { "compaction.kind", variant_of("compaction", round) } },
	};
	cascade *db;
	make_place(root);
	(void)snprintf(live, sizeof(live), "%s/live", root);
	(void)snprintf(copy, sizeof(copy), "%s/copy", root);
	CHECK_OK(open_small(live, &setup, &db));
	run_threads(db);
	run_tasks(db);
	run_futures(db);
	CHECK_OK(cascade_flush(db));
	CHECK_OK(cascade_wait_idle(db));
	CHECK_OK(cascade_verify(db));
	/* Nothing goes on now but what the log is told. */
	struct random random = random_stream(seed + 1000 + round);
	for (unsigned i = 0; i < 40; i++) {
		char key[64];
		key_of(random_below(&random, KEYS), key);
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value_bytes, 200), NULL));
	}
	copy_tree(live, copy);
	CHECK_OK(cascade_close(db));
	/* As if the process had ended: the log is replayed. */
	if (open_small(copy, &setup, &db) == CASCADE_OK)
		CHECK_OK(cascade_close(db));
	read_damaged(copy, &setup);
	CHECK_OK(open_small(live, &setup, &db));
	run_threads(db);
	CHECK_OK(cascade_close(db));
	remove_place(root);
}

/* --- marks --- */

static bool was_seen(const struct stack_mark *marks, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(marks[i].type->name, name) == 0)
			return true;
	return false;
}

static void test_bounds_hold(void **state)
{
	(void)state;
	static const char *const expected[] = { "wal_keeper", "wal_writer", "flush", "merge", "reap", "user",
						"open",	      "close",	    "write", "get",   "fetch" };
	static struct stack_mark marks[MARKS_MAX];
	if (!IS_LIKE_A_RELEASE)
		skip();
	seed = test_seed(31);
	for (size_t i = 0; i < sizeof(value_bytes); i++)
		value_bytes[i] = (uint8_t)(i * 7 % 61);
	stack_marks_begin();
	for (unsigned round = 0; round < ROUNDS; round++)
		run_round(round);
	size_t count = stack_marks_end(marks, MARKS_MAX);
	assert_true(count <= MARKS_MAX);
	print_message("%8s %8s %10s  %s\n", "bound", "used", "tasks", "task type");
	for (size_t i = 0; i < count; i++)
		print_message("%8u %8zu %10llu  %s\n", marks[i].type->stack_bytes, marks[i].used_bytes,
			      (unsigned long long)marks[i].tasks, marks[i].type->name);
	for (size_t i = 0; i < count; i++) {
		if (4 * marks[i].used_bytes > 3 * (size_t)marks[i].type->stack_bytes)
			fail_msg("%s declares %u bytes of stack and used %zu: a quarter has to be left",
				 marks[i].type->name, marks[i].type->stack_bytes, marks[i].used_bytes);
	}
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		if (!was_seen(marks, count, expected[i]))
			fail_msg("no task of type %s ran", expected[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds_hold),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
