/*
 * forgetting_test.c: the engine around a memtable that forgets. Writes pass through log and pacing, nothing
 * is found again, and what the log no longer needs is freed all the same; nothing that another memtable had
 * to keep is lost by mistake. (Less than a second.)
 */
#include "database/database_test.h"

enum { KEYS = 500, VALUE_BYTES = 2000, WRITES = 15000 };

static const struct setup forgetful = { .shards = 1, .extra = { { "memtable.kind", "null" } } };

static void write_many(cascade *db, unsigned count)
{
	static char value[VALUE_BYTES];
	char key[32];
	for (unsigned i = 0; i < count; i++) {
		(void)snprintf(key, sizeof(key), "key%u", i % KEYS);
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, sizeof(value)), NULL));
	}
}

static void check_nothing(cascade *db)
{
	cascade_value value;
	cascade_iterator *iterator;
	char key[32];
	for (unsigned i = 0; i < KEYS; i++) {
		(void)snprintf(key, sizeof(key), "key%u", i);
		CHECK_STATUS(cascade_get(db, cascade_string(key), NULL, &value), CASCADE_NOT_FOUND);
	}
	CHECK_OK(cascade_iterator_create(db, NULL, &iterator));
	CHECK_OK(cascade_iterator_seek(iterator, cascade_string("")));
	CHECK(!cascade_iterator_valid(iterator));
	cascade_iterator_destroy(iterator);
}

/* Several times what the log has room for: only flushes of memtables that have nothing free it. */
static void test_log_is_freed(void **state)
{
	(void)state;
	cascade *db;
	CHECK_OK(open_small(place, &forgetful, &db));
	CHECK(strstr(cascade_notice(db), "memtable.kind null forgets") != NULL);
	write_many(db, WRITES);
	CHECK_OK(cascade_delete(db, cascade_string("key1"), NULL));
	check_nothing(db);
	CHECK(stat_of(db, "flushes") > 3);
	CHECK(stat_of(db, "writes.timeouts") == 0);
	CHECK(stat_of(db, "wal.bytes") > 2 * stat_of(db, "wal.segments") * (2 << 20));
	CHECK(stat_of(db, "wal.laps") > 0);
	CHECK_OK(cascade_flush(db));
	CHECK_OK(cascade_wait_idle(db));
	CHECK_OK(cascade_verify(db));
	CHECK(stat_of(db, "level.0.tables") == 0);
	CHECK(stat_of(db, "flush.bytes_out") == 0);
	check_nothing(db);
	CHECK_OK(cascade_close(db));
}

/* Closing leaves nothing in the log, so that it opens again. */
static void test_close_and_open(void **state)
{
	(void)state;
	const struct setup keeping = { .shards = 1 };
	cascade *db;
	for (unsigned round = 0; round < 3; round++) {
		CHECK_OK(open_small(place, &forgetful, &db));
		check_nothing(db);
		write_many(db, 30 * round);
		CHECK_OK(cascade_close(db));
	}
	CHECK_OK(open_small(place, &keeping, &db));
	CHECK(cascade_notice(db)[0] == '\0' || strstr(cascade_notice(db), "forgets") == NULL);
	check_nothing(db);
	CHECK_OK(cascade_put(db, cascade_string("kept"), cascade_string("1"), NULL));
	CHECK_OK(cascade_close(db));
	/* What is in tables stays there. */
	CHECK_OK(open_small(place, &forgetful, &db));
	check_value(db, "kept", "1");
	CHECK_OK(cascade_close(db));
}

/* A log that was left behind is not forgotten. */
static void test_commits_of_others_are_refused(void **state)
{
	(void)state;
	const struct setup keeping = { .shards = 1 };
	char live[PATH_BYTES + 8];
	char copy[PATH_BYTES + 8];
	cascade *db;
	(void)snprintf(live, sizeof(live), "%s/live", place);
	(void)snprintf(copy, sizeof(copy), "%s/copy", place);
	CHECK_OK(open_small(live, &keeping, &db));
	CHECK_OK(cascade_put(db, cascade_string("kept"), cascade_string("1"), NULL));
	copy_tree(live, copy);
	CHECK_OK(cascade_close(db));
	for (unsigned round = 0; round < 2; round++) {
		CHECK_STATUS(open_small(copy, &forgetful, &db), CASCADE_UNSUPPORTED);
		CHECK(strstr(cascade_error_message(), "null would forget") != NULL);
	}
	CHECK_OK(open_small(copy, &keeping, &db));
	check_value(db, "kept", "1");
	CHECK_OK(cascade_close(db));
}

static void test_without_a_log(void **state)
{
	(void)state;
	struct setup setup = { .shards = 2,
			       .durability = "memory",
			       .extra = { { "memtable.kind", "null" } } };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	write_many(db, 3000);
	check_nothing(db);
	CHECK(stat_of(db, "memory.memtables") <= 512 << 10);
	CHECK_OK(cascade_close(db));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_log_is_freed),
		TEST(test_close_and_open),
		TEST(test_commits_of_others_are_refused),
		TEST(test_without_a_log),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
