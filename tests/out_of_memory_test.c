/*
 * out_of_memory_test.c: memory that ends where a group of commits comes out of the log into the memtable. Who
 * hears that the write failed does not see it, who hears that it went well does, half of a batch is never
 * seen, and what is found in the log at the next open is whole. Each allocation of the group fails once, on
 * the simulated disk. Takes about a second.
 */
#include "test.h"

#include <string.h>

#include "base/memory.h"
#include "cascade.h"
#include "database/options_internal.h"
#include "io/simulated.h"
#include "runtime/stepped.h"

#define SEED 20250703

enum {
	WRITERS = 6,
	KEYS_EACH = 3,	    /* of a writer whose write is a batch; the others have one */
	VALUE_BYTES = 9000, /* a large value: it takes memory of its own */
	SMALL_BYTES = 100,
	STEPS_MAX = 1000 * 1000,
};

/* cmocka cannot unwind a client's stack: a failed check ends the program. */
#define CHECK(expression)                                                                             \
	do {                                                                                          \
		if (!(expression)) {                                                                  \
			(void)fprintf(stderr, "%s:%d: failed: %s (allocation %llu, seed %llu; %s)\n", \
				      __FILE__, __LINE__, #expression, (unsigned long long)run.n,     \
				      (unsigned long long)test_seed(SEED), cascade_error_message());  \
			abort();                                                                      \
		}                                                                                     \
	} while (0)

struct writer {
	unsigned number;
	cascade_status status;
};

static struct {
	struct simulated_world *world;
	struct stepped *stepped;
	cascade *db;
	uint64_t n;
	const char *durability;
	struct writer writers[WRITERS];
	unsigned refused, torn; /* so far: writes, and databases that served no reads */
} run;

/* Small, small, batch, large, small, batch. */
static bool is_batch(unsigned writer)
{
	return writer % 3 == 2;
}

static size_t size_of(unsigned writer)
{
	return is_batch(writer) || writer == 3 ? VALUE_BYTES : SMALL_BYTES;
}

static unsigned keys_of(unsigned writer)
{
	return is_batch(writer) ? KEYS_EACH : 1;
}

static cascade_slice key_of(unsigned writer, unsigned key, char text[32])
{
	(void)snprintf(text, 32, "key %u of %u", key, writer);
	return cascade_string(text);
}

static cascade_slice value_of(unsigned writer, unsigned key, bool is_new, char value[VALUE_BYTES])
{
	memset(value, (int)('a' + writer * KEYS_EACH + key), VALUE_BYTES);
	value[0] = is_new ? 'n' : 'o';
	return cascade_bytes(value, size_of(writer));
}

static void open_database(void)
{
	const char *const settings[][2] = {
		{ "shards", "1" },
		{ "durability", run.durability },
		{ "memtable.size", "64 KiB" },
		{ "cache.size", "256 KiB" },
		{ "cache.record_share", "0.125" },
		{ "table.size", "64 KiB" },
		{ "wal.segment_size", "128 KiB" },
		{ "write_timeout", "1 s" },
	};
	cascade_options *options;
	options_floors = (struct options_floors) { .memtable_bytes = 32 << 10,
						   .cache_bytes = 256 << 10,
						   .table_bytes = 8 << 10,
						   .segment_bytes = 16 << 10 };
	CHECK(cascade_options_create(&options) == CASCADE_OK);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		CHECK(cascade_options_set(options, settings[i][0], settings[i][1]) == CASCADE_OK);
	CHECK(cascade_open("/db", options, &run.db) == CASCADE_OK);
	cascade_options_destroy(options);
}

static cascade_status write_values(unsigned writer, bool is_new)
{
	/* So that they are in one group. */
	cascade_write_options options = { .durability = strcmp(run.durability, "memory") == 0
								? CASCADE_DURABILITY_DEFAULT
								: CASCADE_DURABILITY_POWER };
	char key[32];
	char value[VALUE_BYTES];
	if (!is_batch(writer))
		return cascade_put(run.db, key_of(writer, 0, key), value_of(writer, 0, is_new, value),
				   &options);
	cascade_batch *batch;
	cascade_status status = cascade_batch_create(&batch);
	if (status != CASCADE_OK)
		return status;
	for (unsigned i = 0; i < KEYS_EACH && status == CASCADE_OK; i++)
		status = cascade_batch_put(batch, key_of(writer, i, key), value_of(writer, i, is_new, value));
	if (status == CASCADE_OK)
		status = cascade_write(run.db, batch, &options);
	cascade_batch_destroy(batch);
	return status;
}

static void write_new(void *argument)
{
	struct writer *writer = argument;
	writer->status = write_values(writer->number, true);
}

/* 'n' or 'o' of the key; 0: the read was refused. */
static char read_one(unsigned writer, unsigned key)
{
	char name[32];
	char expected[VALUE_BYTES];
	cascade_value found;
	cascade_status status = cascade_get(run.db, key_of(writer, key, name), NULL, &found);
	CHECK(status == CASCADE_OK || status == CASCADE_NO_MEMORY);
	if (status != CASCADE_OK)
		return 0;
	char which = ((const char *)found.data)[0];
	(void)value_of(writer, key, which == 'n', expected);
	CHECK(found.size == size_of(writer) && memcmp(found.data, expected, found.size) == 0);
	cascade_value_release(&found);
	return which;
}

/* All keys of the writer say the same. */
static char read_writer(unsigned writer)
{
	char which = read_one(writer, 0);
	for (unsigned key = 1; key < keys_of(writer); key++)
		CHECK(read_one(writer, key) == which);
	return which;
}

static bool scan_is_refused(void)
{
	cascade_iterator *iterator;
	cascade_status status = cascade_iterator_create(run.db, NULL, &iterator);
	CHECK(status == CASCADE_OK || status == CASCADE_NO_MEMORY);
	if (status != CASCADE_OK)
		return true;
	status = cascade_iterator_seek_first(iterator);
	cascade_iterator_destroy(iterator);
	return status == CASCADE_NO_MEMORY;
}

static void check_visible(void)
{
	bool torn = read_one(0, 0) == 0;
	CHECK(scan_is_refused() == torn);
	run.torn += torn;
	for (unsigned i = 0; i < WRITERS; i++) {
		cascade_status status = run.writers[i].status;
		CHECK(status == CASCADE_OK || status == CASCADE_NO_MEMORY);
		run.refused += status != CASCADE_OK;
		CHECK(read_writer(i) == (torn ? 0 : status == CASCADE_OK ? 'n' : 'o'));
	}
}

/* Returns whether an allocation failed. */
static bool run_once(void)
{
	const struct stepped_options options = { .seed = test_seed(SEED) + run.n, .steps_max = STEPS_MAX };
	run.world = simulated_create(&(struct simulated_options) { .seed = test_seed(SEED) });
	run.stepped = stepped_create(&options, run.world);
	stepped_install(run.stepped, "simulated");
	open_database();
	for (unsigned i = 0; i < WRITERS; i++) {
		CHECK(write_values(i, false) == CASCADE_OK);
		run.writers[i].number = i;
	}
	CHECK(cascade_flush(run.db) == CASCADE_OK);
	/* Opened anew it has no memory of the flushed memtable's for the writes to come. */
	CHECK(cascade_close(run.db) == CASCADE_OK);
	open_database();
	for (unsigned i = 0; i < WRITERS; i++)
		stepped_start(run.stepped, "writer", write_new, &run.writers[i]);
	memory_fail_at(run.n, 0);
	stepped_wait_clients(run.stepped);
	bool fired = memory_failures_fired() > 0;
	memory_fail_at(0, 0);
	check_visible();
	bool logged = strcmp(run.durability, "memory") != 0;
	cascade_status closed = cascade_close(run.db);
	CHECK(closed == CASCADE_OK || (fired && closed == CASCADE_NO_MEMORY));
	open_database();
	for (unsigned i = 0; i < WRITERS; i++) {
		char found = read_writer(i);
		CHECK(found == 'n' || found == 'o');
		if (run.writers[i].status == CASCADE_OK && (logged || closed == CASCADE_OK))
			CHECK(found == 'n');
	}
	CHECK(cascade_verify(run.db) == CASCADE_OK);
	CHECK(cascade_close(run.db) == CASCADE_OK);
	stepped_destroy(run.stepped);
	simulated_destroy(run.world);
	return fired;
}

static void run_all(const char *durability)
{
	run.durability = durability;
	run.refused = 0;
	run.torn = 0;
	for (run.n = 1; run_once(); run.n++)
		;
	(void)printf(
		"durability %s: %llu allocations failed, %u writes were refused, %u times half a batch was "
		"in memory\n",
		durability, (unsigned long long)run.n - 1, run.refused, run.torn);
	assert_true(run.n > 10);
	assert_true(run.refused > 5);
	assert_true(run.torn > 0);
}

static void commits_for_which_memory_ends(void **state)
{
	(void)state;
	run_all("process");
}

static void commits_without_a_log_for_which_memory_ends(void **state)
{
	(void)state;
	run_all("memory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commits_for_which_memory_ends),
		cmocka_unit_test(commits_without_a_log_for_which_memory_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
