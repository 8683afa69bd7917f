/*
 * durability_test.c: what is there after the process ended, what happens to writers when the engine falls
 * behind, and a full disk. Takes about 10 s.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mount.h>

#include "database/database_test.h"

/* --- durability --- */

/* The process ends: what was acknowledged is in the log, is replayed once, and not beyond the ring. */
static void replay_after_end(const char *durability, unsigned writes)
{
	const struct setup setup = { .shards = 2, .durability = durability };
	char original[PATH_BYTES + 16], copy[PATH_BYTES + 16];
	char key[32], value[600];
	cascade *db, *after;
	(void)snprintf(original, sizeof(original), "%s/%s", place, durability);
	(void)snprintf(copy, sizeof(copy), "%s/%s.copy", place, durability);
	CHECK_OK(open_small(original, &setup, &db));
	memset(value, 'v', sizeof(value));
	for (unsigned i = 0; i < writes; i++) {
		(void)snprintf(key, sizeof(key), "key%05u", i * 7 % 500);
		(void)snprintf(value, sizeof(value), "%u", i);
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, i % 600 + 1), NULL));
	}
	CHECK_OK(cascade_wait_idle(db));
	copy_tree(original, copy);
	for (unsigned round = 0; round < 2; round++) {
		CHECK_OK(open_small(copy, &setup, &after));
		uint64_t commits = stat_of(after, "open.replayed_commits");
		CHECK((commits > 0) == (round == 0));
		CHECK(commits <= writes);
		CHECK(stat_of(after, "open.replayed_bytes") <= stat_of(after, "open.ring_bytes"));
		for (unsigned i = writes > 500 ? writes - 500 : 0; i < writes; i++) {
			cascade_value found;
			(void)snprintf(key, sizeof(key), "key%05u", i * 7 % 500);
			CHECK_OK(cascade_get(after, cascade_string(key), NULL, &found));
			CHECK(found.size == i % 600 + 1);
			CHECK(strtoul(found.data, NULL, 10) == i || found.size < 6);
			cascade_value_release(&found);
		}
		CHECK_OK(cascade_verify(after));
		CHECK_OK(cascade_close(after));
	}
	CHECK_OK(cascade_close(db));
}

static void test_replay_after_the_process_ended(void **state)
{
	(void)state;
	replay_after_end("process", 300);
	remove_place(place);
	CHECK(mkdir(place, 0755) == 0);
	replay_after_end("power", 2000);
}

/* Copies taken at any moment of much writing open, and hold at least what was acknowledged before. */
static void test_copies_taken_while_writing(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	char original[PATH_BYTES + 16], copy[PATH_BYTES + 16];
	char key[32];
	static char value[900];
	cascade *db, *after;
	(void)snprintf(original, sizeof(original), "%s/db", place);
	(void)snprintf(copy, sizeof(copy), "%s/copy", place);
	CHECK_OK(open_small(original, &setup, &db));
	memset(value, 'w', sizeof(value));
	unsigned written = 0;
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < 700; i++, written++) {
			(void)snprintf(key, sizeof(key), "key%08u", written);
			CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, sizeof(value)),
					     NULL));
		}
		/* No flush or merge may be replacing files while they are copied one after the other. */
		CHECK_OK(cascade_wait_idle(db));
		copy_tree(original, copy);
		CHECK_OK(open_small(copy, &setup, &after));
		for (unsigned i = 0; i < written; i += 13) {
			cascade_value found;
			(void)snprintf(key, sizeof(key), "key%08u", i);
			CHECK_OK(cascade_get(after, cascade_string(key), NULL, &found));
			CHECK(found.size == sizeof(value));
			cascade_value_release(&found);
		}
		CHECK_OK(cascade_close(after));
		remove_place(copy);
	}
	CHECK_OK(cascade_close(db));
}

/* Nothing is logged: a single write cannot be promised more, and a clean close keeps everything. */
static void test_durability_memory(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .durability = "memory" };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	for (int level = CASCADE_DURABILITY_PROCESS; level <= CASCADE_DURABILITY_POWER; level++) {
		cascade_write_options options = { .durability = (cascade_durability)level };
		CHECK_STATUS(cascade_put(db, cascade_string("k"), cascade_string("v"), &options),
			     CASCADE_UNSUPPORTED);
		CHECK_STATUS(cascade_delete(db, cascade_string("k"), &options), CASCADE_UNSUPPORTED);
	}
	check_absent(db, "k");
	put(db, "k", "v");
	CHECK(stat_of(db, "wal.commits") == 0);
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(place, &setup, &db));
	check_value(db, "k", "v");
	CHECK_OK(cascade_close(db));
}

static void test_open_after_close_replays_nothing(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2 };
	cascade *db;
	for (unsigned round = 0; round < 4; round++) {
		char key[32];
		CHECK_OK(open_small(place, &setup, &db));
		CHECK(stat_of(db, "open.replayed_commits") == 0);
		for (unsigned i = 0; i < 100 * round; i++) {
			(void)snprintf(key, sizeof(key), "key%u", i);
			put(db, key, "value");
		}
		CHECK_OK(cascade_close(db));
	}
}

/* --- pressure --- */

/* Values larger than all of a shard's memtables, many at once: each gets through in the end. */
struct large_writer {
	cascade *db;
	unsigned number;
	unsigned rounds;
	pthread_t thread;
};

static void *put_large(void *argument)
{
	struct large_writer *writer = argument;
	char key[32];
	char *value = malloc(CASCADE_VALUE_BYTES_MAX);
	memset(value, 'L', CASCADE_VALUE_BYTES_MAX);
	for (unsigned i = 0; i < writer->rounds; i++) {
		(void)snprintf(key, sizeof(key), "large%u-%u", writer->number, i % 4);
		CHECK_OK(cascade_put(writer->db, cascade_string(key),
				     cascade_bytes(value, CASCADE_VALUE_BYTES_MAX - i), NULL));
	}
	free(value);
	return NULL;
}

static void test_values_larger_than_the_memtables(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .extra = { { "write_timeout", "20 s" } } };
	struct large_writer writers[4];
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	for (unsigned i = 0; i < 4; i++) {
		writers[i] = (struct large_writer) { .db = db, .number = i, .rounds = 12 };
		CHECK(pthread_create(&writers[i].thread, NULL, put_large, &writers[i]) == 0);
	}
	for (unsigned i = 0; i < 4; i++)
		CHECK(pthread_join(writers[i].thread, NULL) == 0);
	CHECK(stat_of(db, "writes.timeouts") == 0);
	CHECK_OK(cascade_verify(db));
	CHECK_OK(cascade_close(db));
}

/* As fast as a task can without a log, into the smallest memtables: delayed, never refused, and memory stays
 * bounded. */
enum { FAST_BYTES = 4000 };

static void write_fast(cascade *db, void *argument)
{
	char key[32];
	char *value = argument;
	for (unsigned i = 0; i < (SANITIZED ? 1500 : 4000); i++) {
		(void)snprintf(key, sizeof(key), "key%u", i);
		for (unsigned b = 0; b < FAST_BYTES; b++)
			value[b] = (char)random_at(i, b / 8);
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, FAST_BYTES), NULL));
		if (i % 64 == 0)
			CHECK(stat_of(db, "memory.memtables") <= (256 << 10) + (128 << 10));
	}
}

static void test_writer_ahead_of_the_flush(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .durability = "memory" };
	cascade *db;
	static char value[FAST_BYTES];
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_OK(cascade_run(db, cascade_string("x"), write_fast, value));
	CHECK(stat_of(db, "pacing.delayed") + stat_of(db, "pacing.stopped") > 0);
	CHECK(stat_of(db, "writes.timeouts") == 0);
	CHECK_OK(cascade_close(db));
}

/* A small file system of our own; false where that is not allowed. */
static bool mount_small(const char *path, const char *size)
{
	char options[32];
	CHECK(mkdir(path, 0755) == 0);
	(void)snprintf(options, sizeof(options), "size=%s", size);
	if (mount("tmpfs", path, "tmpfs", 0, options) == 0)
		return true;
	print_message("not checked here: mounting a tmpfs: %s\n", strerror(errno));
	return false;
}

static void fill_up(const char *path, off_t leave)
{
	int file = open(path, O_CREAT | O_WRONLY, 0644);
	CHECK(file >= 0);
	static const char zeros[65536];
	off_t size = 0;
	ssize_t written;
	while ((written = write(file, zeros, sizeof(zeros))) > 0)
		size += written;
	CHECK(errno == ENOSPC);
	CHECK(ftruncate(file, size > leave ? size - leave : 0) == 0);
	CHECK(close(file) == 0);
}

/* A full disk: writes are refused, reads go on, and with room writes go on. */
static void test_full_disk(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .io = "posix", .extra = { { "write_timeout", "5 s" } } };
	char mounted[PATH_BYTES + 16], path[PATH_BYTES + 32], ballast[PATH_BYTES + 32];
	char key[32];
	static char value[2000];
	cascade *db;
	(void)snprintf(mounted, sizeof(mounted), "%s/mounted", place);
	(void)snprintf(path, sizeof(path), "%s/db", mounted);
	(void)snprintf(ballast, sizeof(ballast), "%s/ballast", mounted);
	if (!mount_small(mounted, "24m"))
		return;
	CHECK_OK(open_small(path, &setup, &db));
	for (unsigned b = 0; b < sizeof(value); b++)
		value[b] = (char)random_at(5, b);
	unsigned written = 0;
	for (unsigned round = 0; round < 3; round++) {
		fill_up(ballast, 300 << 10);
		cascade_status status = CASCADE_OK;
		uint64_t begin_ns = now_ns();
		for (; status == CASCADE_OK; written += status == CASCADE_OK) {
			(void)snprintf(key, sizeof(key), "key%06u", written);
			(void)snprintf(value, 32, "%u", written);
			status = cascade_put(db, cascade_string(key), cascade_bytes(value, sizeof(value)),
					     NULL);
			CHECK(written < 20000);
		}
		CHECK_STATUS(status, CASCADE_NO_SPACE);
		CHECK(strlen(cascade_error_message()) > 0);
		CHECK(now_ns() - begin_ns < 15000000000ull);
		for (unsigned i = 0; i < written; i += 7) {
			cascade_value found;
			(void)snprintf(key, sizeof(key), "key%06u", i);
			CHECK_OK(cascade_get(db, cascade_string(key), NULL, &found));
			CHECK(found.size == sizeof(value) && strtoul(found.data, NULL, 10) == i);
			cascade_value_release(&found);
		}
		/* What was refused is not there. */
		(void)snprintf(key, sizeof(key), "key%06u", written);
		check_absent(db, key);
		CHECK(unlink(ballast) == 0);
		begin_ns = now_ns();
		do {
			cascade_sleep(db, 10000000);
			status = cascade_put(db, cascade_string("again"), cascade_string("room"), NULL);
			CHECK(now_ns() - begin_ns < 10000000000ull);
		} while (status == CASCADE_NO_SPACE || status == CASCADE_BUSY);
		CHECK_OK(status);
	}
	CHECK_OK(cascade_flush(db));
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(path, &setup, &db));
	for (unsigned i = 0; i < written; i++) {
		cascade_value found;
		(void)snprintf(key, sizeof(key), "key%06u", i);
		CHECK_OK(cascade_get(db, cascade_string(key), NULL, &found));
		CHECK(found.size == sizeof(value) && strtoul(found.data, NULL, 10) == i);
		cascade_value_release(&found);
	}
	CHECK_OK(cascade_verify(db));
	/* And once more, closed while it is full: what could not be flushed is in the log. */
	fill_up(ballast, 0);
	put(db, "closed when full", "kept");
	cascade_status closed = cascade_close(db);
	CHECK(closed == CASCADE_OK || closed == CASCADE_NO_SPACE);
	CHECK(unlink(ballast) == 0);
	CHECK_OK(open_small(path, &setup, &db));
	check_value(db, "closed when full", "kept");
	CHECK_OK(cascade_close(db));
	CHECK(umount(mounted) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_replay_after_the_process_ended),
		TEST(test_copies_taken_while_writing),
		TEST(test_durability_memory),
		TEST(test_open_after_close_replays_nothing),
		TEST(test_values_larger_than_the_memtables),
		TEST(test_writer_ahead_of_the_flush),
		TEST(test_full_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
