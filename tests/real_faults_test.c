/*
 * real_faults_test.c: errors of the device under a database as it runs in production: shards on threads of
 * their own, files in a real directory, requests through the kernel, of which the backend "faulty" makes
 * chosen ones fail. A full disk, syncs that fail in each way that kernels know, and reads that fail: what is
 * heard, what goes on, and what is there afterwards. For durability `process` and `power`, over io_uring, and
 * once over the thread pool. Takes about 10 s.
 */
#include <errno.h>

#include "database/database_test.h"
#include "io/faulty.h"

enum {
	ROWS_MAX = 20000,
	TABLE_ROWS = 700, /* more than the cache holds */
	VALUE_BYTES = 900,
	TRIES = 1000,
	TRY_NS = 10 * 1000 * 1000,
	ALWAYS = 1000 * 1000, /* in a million */
};

static const char *inner;
static const char *durability;

/* --- a database with rows --- */

enum row_state {
	ROW_ABSENT, /* never written, or refused */
	ROW_THERE,  /* acknowledged */
	ROW_UNSURE, /* failed: not visible, but a recovery may find it */
};

static struct {
	struct faulty *plan;
	cascade *db;
	uint8_t rows[ROWS_MAX];
	unsigned count;
} run;

static cascade_slice key_of(unsigned row, char key[16])
{
	(void)snprintf(key, 16, "row%06u", row);
	return cascade_string(key);
}

static size_t make_value(unsigned row, char value[VALUE_BYTES])
{
	size_t size = (size_t)snprintf(value, VALUE_BYTES, "value of row %u ", row);
	for (; size < VALUE_BYTES - row % 300; size++)
		value[size] = (char)random_at(row, size / 8);
	return size;
}

static const struct setup *setup_of(unsigned shards)
{
	static struct setup setup;
	setup = (struct setup) { .shards = shards,
				 .io = strcmp(inner, "posix") == 0 ? "posix" : NULL,
				 .durability = durability,
				 .extra = { { "write_timeout", "2 s" } } };
	return &setup;
}

static void begin(unsigned shards)
{
	seed = test_seed(20250702);
	run.count = 0;
	run.plan = faulty_create(seed);
	faulty_install(run.plan, inner);
	io_set_stand_in("faulty");
	CHECK_OK(open_small(place, setup_of(shards), &run.db));
}

/* From now on nothing fails; the database is opened again. */
static void open_healthy(unsigned shards)
{
	io_set_stand_in(NULL);
	faulty_destroy(run.plan);
	run.plan = NULL;
	CHECK_OK(open_small(place, setup_of(shards), &run.db));
}

static cascade_status write_row(unsigned row, cascade_durability level)
{
	char key[16];
	char value[VALUE_BYTES];
	cascade_write_options options = { .durability = level };
	CHECK(row < ROWS_MAX);
	run.count = row < run.count ? run.count : row + 1;
	cascade_status status =
		cascade_put(run.db, key_of(row, key), cascade_bytes(value, make_value(row, value)), &options);
	run.rows[row] = status == CASCADE_OK				      ? ROW_THERE
			: status == CASCADE_IO || status == CASCADE_READ_ONLY ? ROW_UNSURE
									      : ROW_ABSENT;
	return status;
}

static void write_rows(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		CHECK_OK(write_row(run.count,
				   i % 32 == 0 ? CASCADE_DURABILITY_POWER : CASCADE_DURABILITY_PROCESS));
}

static bool check_value_of(unsigned row, cascade_slice found)
{
	char value[VALUE_BYTES];
	size_t size = make_value(row, value);
	return found.size == size && memcmp(found.data, value, size) == 0;
}

static cascade_status read_row(unsigned row)
{
	char key[16];
	cascade_value value;
	cascade_status status = cascade_get(run.db, key_of(row, key), NULL, &value);
	if (status != CASCADE_OK)
		return status;
	CHECK(check_value_of(row, cascade_bytes(value.data, value.size)));
	cascade_value_release(&value);
	return status;
}

/* What was acknowledged is there, by gets and by a scan; what was refused is not. */
static void check_rows(bool recovered)
{
	for (unsigned row = 0; row < run.count; row++) {
		cascade_status status = read_row(row);
		if (recovered && run.rows[row] == ROW_UNSURE && status == CASCADE_OK)
			run.rows[row] = ROW_THERE;
		CHECK_STATUS(status, run.rows[row] == ROW_THERE ? CASCADE_OK : CASCADE_NOT_FOUND);
	}
	cascade_iterator *iterator;
	CHECK_OK(cascade_iterator_create(run.db, NULL, &iterator));
	CHECK_OK(cascade_iterator_seek_first(iterator));
	for (unsigned row = 0; row < run.count; row++) {
		char key[16];
		if (run.rows[row] != ROW_THERE)
			continue;
		CHECK(cascade_iterator_valid(iterator));
		cascade_slice found = cascade_iterator_key(iterator);
		cascade_slice expected = key_of(row, key);
		CHECK(found.size == expected.size && memcmp(found.data, expected.data, found.size) == 0);
		CHECK(check_value_of(row, cascade_iterator_value(iterator)));
		CHECK_OK(cascade_iterator_next(iterator));
	}
	CHECK(!cascade_iterator_valid(iterator));
	cascade_iterator_destroy(iterator);
}

static void check_opened_again(unsigned shards)
{
	open_healthy(shards);
	check_rows(true);
	write_rows(50);
	CHECK_OK(cascade_flush(run.db));
	check_rows(false);
	CHECK_OK(cascade_verify(run.db));
	CHECK_OK(cascade_close(run.db));
}

/* --- a full disk --- */

/* What is preallocated can be written; or, as where a file system moves what it rewrites, nothing can. */
static void fill_disk(bool wholly, unsigned rules[2])
{
	const struct faulty_rule allocate = { .kind = FAULTY_ERROR,
					      .operations = FAULTY_OPERATION(IO_ALLOCATE),
					      .error = ENOSPC,
					      .in_million = ALWAYS };
	const struct faulty_rule tables = { .kind = FAULTY_SPACE, .file = "*.table", .bytes = 50000 };
	const struct faulty_rule all = { .kind = FAULTY_ERROR,
					 .operations = FAULTY_OPERATION(IO_WRITE),
					 .error = ENOSPC,
					 .in_million = ALWAYS };
	rules[0] = faulty_add(run.plan, &allocate);
	rules[1] = faulty_add(run.plan, wholly ? &all : &tables);
}

/* Returns when writes are refused. */
static void write_until_full(void)
{
	cascade_status status;
	unsigned refused = 0;
	do {
		status = write_row(run.count, CASCADE_DURABILITY_PROCESS);
		if (status == CASCADE_OK)
			continue;
		CHECK_STATUS(status, CASCADE_NO_SPACE);
		CHECK(strlen(cascade_error_message()) > 0);
		refused++;
	} while (refused < 3);
}

static void write_until_taken(void)
{
	cascade_status status = CASCADE_BUSY;
	for (unsigned i = 0; i < TRIES && status != CASCADE_OK; i++) {
		status = write_row(run.count, CASCADE_DURABILITY_POWER);
		if (status == CASCADE_OK)
			break;
		if (status != CASCADE_BUSY)
			CHECK_STATUS(status, CASCADE_NO_SPACE);
		cascade_sleep(run.db, TRY_NS);
	}
	CHECK_OK(status);
}

static void full_disk(bool wholly)
{
	unsigned rules[2];
	begin(1);
	write_rows(300);
	for (unsigned round = 0; round < 2; round++) {
		fill_disk(wholly, rules);
		write_until_full();
		check_rows(false);
		CHECK(faulty_fired(run.plan, rules[1]) > 0);
		faulty_clear(run.plan);
		write_until_taken();
		write_rows(200);
		CHECK_OK(cascade_flush(run.db));
		check_rows(false);
		CHECK_OK(cascade_verify(run.db));
	}
	/* Closed while it is full: what could not be flushed is in the log. */
	write_rows(20);
	fill_disk(wholly, rules);
	cascade_status closed = cascade_close(run.db);
	if (closed != CASCADE_OK)
		CHECK_STATUS(closed, CASCADE_NO_SPACE);
	faulty_clear(run.plan);
	check_opened_again(1);
}

static void a_full_disk_refuses_writes_only(void **state)
{
	(void)state;
	full_disk(false);
}

static void a_disk_that_takes_nothing_refuses_writes_only(void **state)
{
	(void)state;
	full_disk(true);
}

/* --- syncs that fail --- */

static const enum faulty_kind sync_kinds[] = { FAULTY_SYNC_CLEAN_NEW, FAULTY_SYNC_CLEAN_OLD, FAULTY_SYNC_LATE,
					       FAULTY_SYNC_PARTLY, FAULTY_SYNC_KEPT };

enum { SYNC_KINDS = sizeof(sync_kinds) / sizeof(sync_kinds[0]) };

static unsigned fail_next_sync(enum faulty_kind kind, const char *file)
{
	const struct faulty_rule rule = { .kind = kind, .file = file, .nth = 1 };
	return faulty_add(run.plan, &rule);
}

static bool is_of_first_shard(unsigned row)
{
	char key[16];
	return cascade_shard_of(run.db, key_of(row, key)) == 0;
}

/* By turns of both levels, so that syncs are of both forms: of their own, and with the write. */
static cascade_durability level_of(unsigned row)
{
	return row % 3 == 0 ? CASCADE_DURABILITY_PROCESS : CASCADE_DURABILITY_POWER;
}

/* The first shard takes no more writes; the second one goes on, and both are read. */
static void check_read_only(cascade_status flushed)
{
	for (unsigned i = 0; i < 40; i++) {
		unsigned row = run.count;
		cascade_status status = write_row(row, level_of(row));
		CHECK_STATUS(status, is_of_first_shard(row) ? CASCADE_READ_ONLY : CASCADE_OK);
	}
	check_rows(false);
	CHECK_STATUS(cascade_flush(run.db), flushed);
	check_rows(false);
	(void)cascade_close(run.db);
	check_opened_again(2);
}

static void log_sync_fails(enum faulty_kind kind)
{
	begin(2);
	write_rows(100);
	unsigned rule = fail_next_sync(kind, "*/shard-0000/wal-*");
	cascade_status status = CASCADE_OK;
	for (unsigned i = 0; i < TRIES && status == CASCADE_OK; i++)
		status = write_row(run.count, level_of(run.count));
	CHECK(status == CASCADE_IO || status == CASCADE_READ_ONLY);
	CHECK(is_of_first_shard(run.count - 1));
	CHECK(faulty_fired(run.plan, rule) == 1);
	/* Tables take what memory holds all the same. */
	check_read_only(CASCADE_OK);
}

static void a_failed_sync_of_the_log_ends_writing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SYNC_KINDS; i++) {
		log_sync_fails(sync_kinds[i]);
		remove_place(place);
	}
	CHECK(mkdir(place, 0755) == 0);
}

static void manifest_sync_fails(enum faulty_kind kind)
{
	begin(2);
	write_rows(100);
	CHECK_OK(cascade_flush(run.db));
	unsigned rule = fail_next_sync(kind, "*/shard-0000/manifest*");
	cascade_status status = CASCADE_OK;
	for (unsigned i = 0; i < TRIES && status == CASCADE_OK; i++) {
		status = write_row(run.count, level_of(run.count));
		if (status == CASCADE_OK && i % 20 == 19)
			status = cascade_flush(run.db);
	}
	CHECK_STATUS(status, CASCADE_READ_ONLY);
	CHECK(faulty_fired(run.plan, rule) == 1);
	check_read_only(CASCADE_READ_ONLY);
}

static void a_failed_sync_of_the_manifest_ends_writing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SYNC_KINDS; i++) {
		manifest_sync_fails(sync_kinds[i]);
		remove_place(place);
	}
	CHECK(mkdir(place, 0755) == 0);
}

/* Nothing refers to that table yet: it is thrown away, and another one is made from the memtable. */
static void table_sync_fails(enum faulty_kind kind)
{
	begin(2);
	write_rows(100);
	unsigned rule = fail_next_sync(kind, "*.table");
	cascade_status status = cascade_flush(run.db);
	for (unsigned i = 0; i < TRIES && status != CASCADE_OK; i++) {
		CHECK_STATUS(status, CASCADE_IO);
		cascade_sleep(run.db, TRY_NS);
		status = cascade_flush(run.db);
	}
	CHECK_OK(status);
	CHECK(faulty_fired(run.plan, rule) == 1);
	write_rows(100);
	CHECK_OK(cascade_flush(run.db));
	CHECK_OK(cascade_wait_idle(run.db));
	check_rows(false);
	CHECK_OK(cascade_verify(run.db));
	CHECK_OK(cascade_close(run.db));
	check_opened_again(2);
}

static void a_failed_sync_of_a_table_is_made_good(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SYNC_KINDS; i++) {
		table_sync_fails(sync_kinds[i]);
		remove_place(place);
	}
	CHECK(mkdir(place, 0755) == 0);
}

/* --- reads that fail --- */

/* Rows in tables, and nothing of them in the cache. */
static void begin_cold(void)
{
	begin(1);
	write_rows(TABLE_ROWS);
	CHECK_OK(cascade_flush(run.db));
	CHECK_OK(cascade_wait_idle(run.db));
	CHECK_OK(cascade_close(run.db));
	CHECK_OK(open_small(place, setup_of(1), &run.db));
}

/* The kernel's own calls give it, so that the message is the one of production. */
static struct faulty_rule read_error(uint64_t nth)
{
	return (struct faulty_rule) { .kind = FAULTY_PASSING,
				      .operations = FAULTY_OPERATION(IO_READ),
				      .file = "*.table",
				      .error = EIO,
				      .nth = nth,
				      .in_million = nth == 0 ? ALWAYS : 0 };
}

static void check_read_failed(cascade_status status)
{
	CHECK_STATUS(status, CASCADE_IO);
	CHECK(strstr(cascade_error_message(), ".table") != NULL);
	CHECK(strstr(cascade_error_message(), " bytes at ") != NULL);
}

static void a_failed_read_fails_that_read_only(void **state)
{
	(void)state;
	begin_cold();
	for (unsigned row = 0; row < TABLE_ROWS; row += 100) {
		struct faulty_rule error = read_error(1);
		unsigned rule = faulty_add(run.plan, &error);
		cascade_status status = read_row(row);
		if (faulty_fired(run.plan, rule) == 0) {
			CHECK_OK(status); /* its page had been read for another row */
		} else {
			check_read_failed(status);
			CHECK_OK(read_row(row));
		}
		CHECK_OK(read_row(row + 50));
		faulty_remove(run.plan, rule);
	}
	CHECK(faulty_count(run.plan, FAULTY_PASSING) > 3);
	check_rows(false);
	CHECK_OK(cascade_verify(run.db));
	CHECK_OK(cascade_close(run.db));
	check_opened_again(1);
}

static void check_scan_fails(void)
{
	cascade_iterator *iterator;
	cascade_status status = cascade_iterator_create(run.db, NULL, &iterator);
	if (status == CASCADE_OK) {
		status = cascade_iterator_seek_first(iterator);
		while (status == CASCADE_OK && cascade_iterator_valid(iterator))
			status = cascade_iterator_next(iterator);
		check_read_failed(status);
		CHECK(!cascade_iterator_valid(iterator));
		CHECK_STATUS(cascade_iterator_status(iterator), CASCADE_IO);
		cascade_iterator_destroy(iterator);
	} else {
		check_read_failed(status);
	}
}

static void reads_that_fail_for_long_leave_memory_and_writes_alone(void **state)
{
	(void)state;
	begin_cold();
	struct faulty_rule error = read_error(0);
	unsigned rule = faulty_add(run.plan, &error);
	unsigned failed = 0;
	for (unsigned row = 0; row < TABLE_ROWS; row += 20) {
		cascade_status status = read_row(row);
		if (status == CASCADE_OK)
			continue;
		check_read_failed(status);
		failed++;
	}
	CHECK(failed > 10);
	check_scan_fails();
	check_read_failed(cascade_verify(run.db));
	write_rows(30);
	for (unsigned row = TABLE_ROWS; row < run.count; row++)
		CHECK_OK(read_row(row));
	CHECK(faulty_fired(run.plan, rule) > failed);
	faulty_clear(run.plan);
	check_rows(false);
	write_rows(100);
	CHECK_OK(cascade_flush(run.db));
	CHECK_OK(cascade_verify(run.db));
	CHECK_OK(cascade_close(run.db));
	check_opened_again(1);
}

/* A table that cannot be read back after it was written does not become live. */
static void merges_that_cannot_read_are_made_up_for(void **state)
{
	(void)state;
	begin_cold();
	struct faulty_rule error = read_error(0);
	unsigned rule = faulty_add(run.plan, &error);
	write_rows(50);
	CHECK_STATUS(cascade_flush(run.db), CASCADE_IO);
	CHECK(faulty_fired(run.plan, rule) > 0);
	faulty_clear(run.plan);
	cascade_status status = CASCADE_IO;
	for (unsigned i = 0; i < TRIES && status != CASCADE_OK; i++) {
		status = cascade_flush(run.db);
		if (status != CASCADE_OK)
			cascade_sleep(run.db, TRY_NS);
	}
	CHECK_OK(status);
	write_rows(400);
	CHECK_OK(cascade_flush(run.db));
	CHECK_OK(cascade_wait_idle(run.db));
	check_rows(false);
	CHECK_OK(cascade_close(run.db));
	check_opened_again(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_full_disk_refuses_writes_only),
		TEST(a_disk_that_takes_nothing_refuses_writes_only),
		TEST(a_failed_sync_of_the_log_ends_writing),
		TEST(a_failed_sync_of_the_manifest_ends_writing),
		TEST(a_failed_sync_of_a_table_is_made_good),
		TEST(a_failed_read_fails_that_read_only),
		TEST(reads_that_fail_for_long_leave_memory_and_writes_alone),
		TEST(merges_that_cannot_read_are_made_up_for),
	};
	static const char *const setups[][2] = { { "uring", "process" },
						 { "uring", "power" },
						 { "posix", "power" } };
	int failed = 0;
	for (unsigned i = 0; i < sizeof(setups) / sizeof(setups[0]); i++) {
		char name[32];
		inner = setups[i][0];
		durability = setups[i][1];
		(void)snprintf(name, sizeof(name), "%s, %s", inner, durability);
		failed += cmocka_run_group_tests_name(name, tests, NULL, NULL);
	}
	return failed;
}
