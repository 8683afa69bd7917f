/*
 * borrow_test.c: calls that threads make on their own stacks, on a shard that they borrow, among tasks that
 * do the same: reads that the thread carries out itself, writes without a task; and scans of a known length.
 * Takes about 3 s.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "database/database_internal.h"
#include "runtime/shard.h"

#include "database/database_test.h"

/* --- a barrier in front of what threads read themselves --- */

static struct {
	const struct io_backend *inner;
	struct io_backend outer;
	atomic_bool closed; /* requests wait */
	atomic_bool fails;  /* requests fail with STATUS_IO */
	_Atomic unsigned waiting;
	_Atomic unsigned passed;
} barrier;

static void barrier_carry_out(const struct io *io, struct io_request *request)
{
	if (request->operation != IO_READ) {
		barrier.inner->carry_out(io, request);
		return;
	}
	barrier.waiting++;
	while (atomic_load(&barrier.closed))
		sched_yield();
	barrier.passed++;
	if (atomic_load(&barrier.fails))
		request->status = status_error(STATUS_IO, "the barrier says no");
	else
		barrier.inner->carry_out(io, request);
}

/* In front of all shards, and only of what does not go through a ring or another thread. */
static void barrier_put_up(cascade *db, bool closed)
{
	memset(&barrier, 0, sizeof(barrier));
	barrier.closed = closed;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		runtime_borrow_again(db->runtime, i);
		struct io *io = shard_io(runtime_shard(db->runtime, i));
		if (i == 0) { /* the other shards have the same one, and this one uses it from now on */
			barrier.inner = io->backend;
			barrier.outer = *io->backend;
			barrier.outer.carry_out = barrier_carry_out;
		}
		io->backend = &barrier.outer;
		runtime_return(db->runtime, i);
	}
}

static uint64_t borrows_of(cascade *db)
{
	uint64_t borrows = 0;
	for (uint32_t i = 0; i < db->shard_count; i++) {
		runtime_borrow_again(db->runtime, i);
		borrows += shard_counters(runtime_shard(db->runtime, i))->borrows;
		runtime_return(db->runtime, i);
	}
	return borrows;
}

/* A database with one key in a table, and nothing in memory. */
static cascade *open_cold(const char *io)
{
	const struct setup setup = { .shards = 1, .io = io };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	put(db, "key", "value");
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(place, &setup, &db));
	return db;
}

struct reader {
	cascade *db;
	cascade_status status;
	atomic_bool done;
	pthread_t thread;
};

static void *read_key(void *argument)
{
	struct reader *reader = argument;
	cascade_value value;
	reader->status = cascade_get(reader->db, cascade_string("key"), NULL, &value);
	if (reader->status == CASCADE_OK)
		CHECK(value.size == 5 && memcmp(value.data, "value", 5) == 0);
	else
		CHECK(strstr(cascade_error_message(), "the barrier says no") != NULL);
	cascade_value_release(&value);
	atomic_store(&reader->done, true);
	return NULL;
}

static void read_key_in_task(cascade *db, void *argument)
{
	struct reader *reader = argument;
	reader->db = db;
	(void)read_key(reader);
}

/* A cold database, and a thread that stands at the barrier. Where the resident was busy just then, a task has
 * read the key, and all begins anew. */
static cascade *open_with_reader(const char *io, struct reader *reader)
{
	for (;;) {
		cascade *db = open_cold(io);
		barrier_put_up(db, true);
		while (!runtime_borrow(db->runtime, 0))
			sched_yield();
		runtime_return(db->runtime, 0);
		*reader = (struct reader) { .db = db };
		CHECK(pthread_create(&reader->thread, NULL, read_key, reader) == 0);
		while (atomic_load(&barrier.waiting) == 0 && !atomic_load(&reader->done))
			sched_yield();
		if (atomic_load(&barrier.waiting) > 0)
			return db;
		CHECK(pthread_join(reader->thread, NULL) == 0);
		CHECK_OK(cascade_close(db));
	}
}

static cascade_status end_reader(struct reader *reader)
{
	CHECK(pthread_join(reader->thread, NULL) == 0);
	return reader->status;
}

struct closer {
	cascade *db;
	cascade_status status;
	atomic_bool closed;
};

static void *close_database(void *argument)
{
	struct closer *closer = argument;
	closer->status = cascade_close(closer->db);
	atomic_store(&closer->closed, true);
	return NULL;
}

static bool is_closing(cascade *db)
{
	runtime_borrow_again(db->runtime, 0);
	bool closing = db->shards[0].closing;
	runtime_return(db->runtime, 0);
	return closing;
}

/* Nobody holds the shard while a thread reads; what it reads into, and from, stays until it has. */
static void close_waits(const char *io)
{
	struct reader reader;
	cascade *db = open_with_reader(io, &reader);
	struct closer closer = { .db = db };
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, close_database, &closer) == 0);
	while (!is_closing(db))
		sched_yield();
	/* Others are told at once, or wait for the close like anybody who is late. */
	for (unsigned i = 0; i < 100; i++) {
		CHECK(is_closing(db));
		CHECK(!atomic_load(&closer.closed));
	}
	atomic_store(&barrier.closed, false);
	CHECK_OK(end_reader(&reader));
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK_OK(closer.status);
	remove_place(place);
	make_place(place);
}

static void test_close_waits_for_reads(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		close_waits("uring");
		close_waits("posix");
	}
}

static void test_tasks_join_the_read(void **state)
{
	(void)state;
	struct reader reader;
	cascade *db = open_with_reader("uring", &reader);
	uint64_t reads = stat_of(db, "io.reads");
	enum { TASKS = 20 };
	struct reader in_tasks[TASKS];
	cascade_future *futures[TASKS];
	for (unsigned i = 0; i < TASKS; i++)
		CHECK_OK(cascade_run_async(db, 0, read_key_in_task, &in_tasks[i], &futures[i]));
	for (unsigned i = 0; i < TASKS; i++)
		CHECK(!cascade_future_done(futures[i]));
	atomic_store(&barrier.closed, false);
	for (unsigned i = 0; i < TASKS; i++) {
		CHECK_OK(cascade_future_wait(futures[i]));
		CHECK_OK(in_tasks[i].status);
	}
	CHECK_OK(end_reader(&reader));
	/* What follows the first page the thread may leave to others, but nothing is read twice. */
	CHECK(stat_of(db, "io.reads") <= reads + 2);
	CHECK_OK(cascade_close(db));
}

static void test_a_read_fails(void **state)
{
	(void)state;
	struct reader reader;
	struct reader in_task;
	cascade_future *future;
	cascade *db = open_with_reader("uring", &reader);
	atomic_store(&barrier.fails, true);
	CHECK_OK(cascade_run_async(db, 0, read_key_in_task, &in_task, &future));
	while (stat_of(db, "cache.joined") == 0)
		sched_yield();
	atomic_store(&barrier.closed, false);
	CHECK_STATUS(end_reader(&reader), CASCADE_IO);
	CHECK_OK(cascade_future_wait(future));
	CHECK_STATUS(in_task.status, CASCADE_IO);
	CHECK(barrier.passed > 0);
	atomic_store(&barrier.fails, false);
	check_value(db, "key", "value");
	CHECK_OK(cascade_close(db));
}

/* --- versions: what a read may see --- */

enum { KEYS = 1200, HOT_KEYS = 16, ACTORS = 5, FOREIGN_ACTORS = 3, OPERATIONS = SANITIZED ? 3000 : 12000 };

/* A key has one writer. What was acknowledged, or seen by anybody, is the least that a read that begins
 * later may see; the most is what was begun before it ended. */
static struct {
	_Atomic uint64_t begun, least;
} keys[KEYS];

struct actor {
	cascade *db;
	unsigned number;
	uint64_t seed;
	uint64_t writes;
	union {
		pthread_t thread;
		cascade_future *future;
	};
};

static void raise_to(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t now = atomic_load(word);
	while (now < value && !atomic_compare_exchange_weak(word, &now, value))
		;
}

static cascade_slice name_of(unsigned key, char name[16])
{
	(void)snprintf(name, 16, "key%06u", key);
	return cascade_string(name);
}

static void write_version(struct actor *actor, unsigned key, struct random *random)
{
	static const uint8_t filler[1500];
	uint8_t value[8 + sizeof(filler)] = { 0 };
	char name[16];
	uint64_t version = atomic_load(&keys[key].begun) + 1;
	memcpy(value, &version, 8);
	size_t size = 8 + (size_t)random_below(random, sizeof(filler));
	atomic_store(&keys[key].begun, version);
	CHECK_OK(cascade_put(actor->db, name_of(key, name), cascade_bytes(value, size), NULL));
	raise_to(&keys[key].least, version);
	actor->writes++;
}

static void read_version(struct actor *actor, unsigned key)
{
	char name[16];
	cascade_value value;
	uint64_t version = 0;
	uint64_t least = atomic_load(&keys[key].least);
	cascade_status status = cascade_get(actor->db, name_of(key, name), NULL, &value);
	if (status != CASCADE_NOT_FOUND) {
		CHECK_OK(status);
		memcpy(&version, value.data, 8);
	}
	cascade_value_release(&value);
	CHECK(version >= least);
	CHECK(version <= atomic_load(&keys[key].begun));
	raise_to(&keys[key].least, version);
}

static void act(struct actor *actor)
{
	struct random random = random_stream(actor->seed);
	for (unsigned i = 0; i < OPERATIONS; i++) {
		bool hot = random_below(&random, 2) == 0;
		unsigned key = (unsigned)random_below(&random, hot ? HOT_KEYS : KEYS);
		if (key % ACTORS == actor->number && random_below(&random, 4) > 0)
			write_version(actor, key, &random);
		else
			read_version(actor, key);
	}
}

static void *act_in_thread(void *argument)
{
	act(argument);
	return NULL;
}

static void act_in_task(cascade *db, void *argument)
{
	(void)db;
	act(argument);
}

static void start_actor(struct actor *actor)
{
	if (actor->number < FOREIGN_ACTORS)
		CHECK(pthread_create(&actor->thread, NULL, act_in_thread, actor) == 0);
	else
		CHECK_OK(cascade_run_async(actor->db, actor->number % cascade_shard_count(actor->db),
					   act_in_task, actor, &actor->future));
}

static void check_versions(const char *io, unsigned shards)
{
	const struct setup setup = { .shards = shards, .io = io };
	cascade *db;
	memset(keys, 0, sizeof(keys));
	seed = test_seed(8100);
	CHECK_OK(open_small(place, &setup, &db));
	barrier_put_up(db, false);
	struct actor actors[ACTORS];
	for (unsigned i = 0; i < ACTORS; i++) {
		actors[i] = (struct actor) { .db = db, .number = i, .seed = seed + i };
		start_actor(&actors[i]);
	}
	uint64_t writes = 0;
	for (unsigned i = 0; i < ACTORS; i++) {
		if (i < FOREIGN_ACTORS)
			CHECK(pthread_join(actors[i].thread, NULL) == 0);
		else
			CHECK_OK(cascade_future_wait(actors[i].future));
		writes += actors[i].writes;
	}
	/* It was what it says: writes filled memtables, which were flushed and merged. */
	CHECK(stat_of(db, "writes") == writes);
	CHECK(stat_of(db, "flushes") > 1);
	CHECK(stat_of(db, "merges") > 0);
	struct actor again = { .db = db };
	for (unsigned key = 0; key < KEYS; key++)
		read_version(&again, key);
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(place, &setup, &db));
	barrier_put_up(db, false);
	again.db = db;
	for (unsigned key = 0; key < KEYS; key++) {
		CHECK(keys[key].least == keys[key].begun);
		read_version(&again, key);
	}
	/* From shards that are idle, into an empty pool: now at the latest this thread has read by itself. */
	CHECK(borrows_of(db) > 2 * shards && barrier.passed > 0);
	CHECK_OK(cascade_close(db));
	remove_place(place);
	make_place(place);
}

static void test_reads_see_what_was_acknowledged(void **state)
{
	(void)state;
	check_versions("uring", 1);
	check_versions("uring", 2);
	check_versions("posix", 2);
}

/* --- scans of a known length --- */

enum { ROWS = 700, ROW_STEP = 3 };

static cascade_slice row_name(unsigned row, char name[16])
{
	(void)snprintf(name, 16, "row%05u", row * ROW_STEP);
	return cascade_string(name);
}

/* Rows in tables of several levels and in the memtable. */
static void fill_rows(cascade *db)
{
	static uint8_t value[900];
	char name[16];
	for (unsigned pass = 0; pass < 3; pass++) {
		for (unsigned row = pass; row < ROWS; row += 1 + pass) {
			memcpy(value, &row, sizeof(row));
			size_t size = sizeof(row) + row * 7 % 800;
			CHECK_OK(cascade_put(db, row_name(row, name), cascade_bytes(value, size), NULL));
		}
		if (pass < 2)
			CHECK_OK(cascade_flush(db));
	}
}

static void check_rows(cascade_iterator *iterator, unsigned from, unsigned count)
{
	char name[16];
	CHECK_OK(cascade_iterator_seek(iterator, row_name(from, name)));
	for (unsigned row = from; row < ROWS && row - from < count; row++) {
		CHECK(cascade_iterator_valid(iterator));
		cascade_slice expected = row_name(row, name);
		cascade_slice key = cascade_iterator_key(iterator);
		cascade_slice value = cascade_iterator_value(iterator);
		CHECK(key.size == expected.size && memcmp(key.data, expected.data, key.size) == 0);
		CHECK(value.size == sizeof(row) + row * 7 % 800);
		CHECK(memcmp(value.data, &row, sizeof(row)) == 0);
		CHECK_OK(cascade_iterator_next(iterator));
	}
	if (count >= ROWS - from)
		CHECK(!cascade_iterator_valid(iterator));
	CHECK_OK(cascade_iterator_status(iterator));
}

/* As many rows as were announced, fewer, and on to the end; then more seeks, with the hint used up. */
static void scan_with_hint(cascade *db, uint64_t hint)
{
	const cascade_iterator_options options = { .rows_hint = hint };
	const unsigned starts[] = { 0, 1, ROWS / 3, ROWS - 5 };
	unsigned announced = hint < ROWS ? (unsigned)hint : ROWS;
	for (unsigned i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		cascade_iterator *iterator;
		CHECK_OK(cascade_iterator_create(db, &options, &iterator));
		check_rows(iterator, starts[i], announced);
		check_rows(iterator, starts[i], announced / 2);
		check_rows(iterator, 0, ROWS);
		check_rows(iterator, starts[i], 3);
		cascade_iterator_destroy(iterator);
	}
}

static const uint64_t hints[] = {
	0, 1, 2, 3, 5, 8, ROWS, ROWS + 1, 1 << 20, UINT64_MAX / 2, UINT64_MAX, 20, 50, 99, 150, 200, ROWS - 1
};

static void scan_with_hints(cascade *db, void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		scan_with_hint(db, hints[i]);
}

static void test_scans_of_a_known_length(void **state)
{
	(void)state;
	for (unsigned shards = 1; shards <= 5; shards += 2) {
		const struct setup setup = { .shards = shards };
		cascade *db;
		CHECK_OK(open_small(place, &setup, &db));
		fill_rows(db);
		scan_with_hints(db, NULL);
		CHECK_OK(cascade_close(db));
		CHECK_OK(open_small(place, &setup, &db)); /* nothing in memory */
		CHECK_OK(cascade_run(db, cascade_string("row"), scan_with_hints, NULL));
		scan_with_hints(db, NULL);
		CHECK_OK(cascade_close(db));
		remove_place(place);
		make_place(place);
	}
}

static void read_rows(cascade *db, unsigned from, unsigned count)
{
	char name[16];
	cascade_value value;
	for (unsigned row = from; row < from + count; row++) {
		CHECK_OK(cascade_get(db, row_name(row, name), NULL, &value));
		cascade_value_release(&value);
	}
}

/* How often a page of the cache was filled, or will be. */
static uint64_t pages_taken(cascade *db)
{
	return stat_of(db, "cache.frames_used") + stat_of(db, "cache.evictions");
}

/* A scan asks for the blocks that it will read and for few others: counted when they are asked for, because
 * the iterator does not wait for those that it has no more use for. */
static void test_a_hint_spares_reads(void **state)
{
	(void)state;
	uint64_t pages[2];
	/* One table a shard, whose partition is read for the first rows already. */
	const struct setup setup = { .shards = 2,
				     .extra = { { "table.size", "4 MiB" }, { "codec.kind", "none" } } };
	for (unsigned i = 0; i < 2; i++) {
		cascade *db;
		CHECK_OK(open_small(place, &setup, &db));
		if (i == 0)
			fill_rows(db);
		CHECK_OK(cascade_close(db));
		CHECK_OK(open_small(place, &setup, &db));
		CHECK_OK(cascade_wait_idle(db)); /* a merge gives pages back */
		read_rows(db, 0, 10); /* without partitions nobody knows the blocks of a scan ahead */
		cascade_iterator *iterator;
		const cascade_iterator_options options = { .rows_hint = i == 0 ? 300 : 6 };
		uint64_t before = pages_taken(db);
		CHECK_OK(cascade_iterator_create(db, &options, &iterator));
		check_rows(iterator, 300, 5);
		cascade_iterator_destroy(iterator);
		pages[i] = pages_taken(db) - before;
		CHECK_OK(cascade_close(db));
	}
	CHECK(pages[1] > 0 && pages[1] < pages[0] / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_close_waits_for_reads),
		TEST(test_tasks_join_the_read),
		TEST(test_a_read_fails),
		TEST(test_reads_see_what_was_acknowledged),
		TEST(test_scans_of_a_known_length),
		TEST(test_a_hint_spares_reads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
