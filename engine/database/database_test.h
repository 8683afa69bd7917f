/*
 * database_test.h: what the tests of the whole engine share: checks that also work in threads and tasks,
 * directories to work in, and databases so small that flushes and merges happen all the time.
 */
#ifndef CASCADE_DATABASE_DATABASE_TEST_H
#define CASCADE_DATABASE_DATABASE_TEST_H

#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#include "base/sanitizer.h"
#include "cascade.h"

static uint64_t seed; /* of the running test, for messages */

/* A failed check ends the program at once: cmocka can unwind neither a task's stack nor another thread's. */
#define CHECK(expression)                                                                                \
	do {                                                                                             \
		if (!(expression)) {                                                                     \
			(void)fprintf(stderr, "%s:%d: failed: %s (seed %llu; %s)\n", __FILE__, __LINE__, \
				      #expression, (unsigned long long)seed, cascade_error_message());   \
			abort();                                                                         \
		}                                                                                        \
	} while (0)

#define CHECK_STATUS(expression, expected)                                                               \
	do {                                                                                             \
		cascade_status got_ = (expression);                                                      \
		if (got_ != (expected)) {                                                                \
			(void)fprintf(stderr, "%s:%d: %s: %s (%s), expected %s (seed %llu)\n", __FILE__, \
				      __LINE__, #expression, cascade_strerror(got_),                     \
				      cascade_error_message(), cascade_strerror(expected),               \
				      (unsigned long long)seed);                                         \
			abort();                                                                         \
		}                                                                                        \
	} while (0)

#define CHECK_OK(expression) CHECK_STATUS(expression, CASCADE_OK)

/* --- directories --- */

enum { PATH_BYTES = 512 };

/* Makes an empty directory of its own. */
static inline void make_place(char place[PATH_BYTES])
{
	const char *root = getenv("TMPDIR");
	(void)snprintf(place, PATH_BYTES, "%s/cascade_test.XXXXXX", root != NULL ? root : "/tmp");
	CHECK(mkdtemp(place) != NULL);
}

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
	(void)info;
	(void)kind;
	(void)place;
	return remove(path);
}

static inline void remove_place(const char *place)
{
	CHECK(nftw(place, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static inline void copy_file(const char *from, const char *to)
{
	static char buffer[1 << 16];
	int in = open(from, O_RDONLY);
	int out = open(to, O_CREAT | O_WRONLY | O_TRUNC, 0644);
	CHECK(in >= 0 && out >= 0);
	ssize_t got;
	while ((got = read(in, buffer, sizeof(buffer))) > 0)
		CHECK(write(out, buffer, (size_t)got) == got);
	CHECK(got == 0 && close(in) == 0 && close(out) == 0);
}

static const char *copy_from, *copy_to;

static inline int copy_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)info;
	(void)at;
	char to[PATH_BYTES * 2];
	(void)snprintf(to, sizeof(to), "%s%s", copy_to, path + strlen(copy_from));
	if (kind == FTW_D)
		CHECK(mkdir(to, 0755) == 0);
	else
		copy_file(path, to);
	return 0;
}

/* What the files of a directory say now: what would be there if the process ended at this moment. */
static inline void copy_tree(const char *from, const char *to)
{
	copy_from = from;
	copy_to = to;
	CHECK(nftw(from, copy_one, 16, FTW_PHYS) == 0);
}

static char place[PATH_BYTES] __attribute__((unused)); /* of the running test */

static inline int set_up(void **state)
{
	(void)state;
	seed = 0;
	make_place(place);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	remove_place(place);
	return 0;
}

static inline uint64_t now_ns(void)
{
	struct timespec time;
	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* --- databases --- */

struct setup {
	unsigned shards;
	const char *io;
	const char *durability; /* NULL: the default */
	const char *extra[8][2];
};

/* The smallest budgets that there are, and two tables in level 0 make a merge. */
static inline cascade_options *small_options(const struct setup *setup)
{
	cascade_options *options;
	char text[32];
	CHECK_OK(cascade_options_create(&options));
	(void)snprintf(text, sizeof(text), "%u", setup->shards);
	CHECK_OK(cascade_options_set(options, "shards", text));
	(void)snprintf(text, sizeof(text), "%u KiB", 256 * setup->shards);
	CHECK_OK(cascade_options_set(options, "memtable.size", text));
	(void)snprintf(text, sizeof(text), "%u KiB", 320 * setup->shards);
	CHECK_OK(cascade_options_set(options, "cache.size", text));
	CHECK_OK(cascade_options_set(options, "cache.record_share", "0.2"));
	CHECK_OK(cascade_options_set(options, "table.size", "64 KiB"));
	CHECK_OK(cascade_options_set(options, "compaction.level0_tables", "2"));
	CHECK_OK(cascade_options_set(options, "compaction.size_ratio", "4"));
	if (setup->io != NULL)
		CHECK_OK(cascade_options_set(options, "io.kind", setup->io));
	if (setup->durability != NULL)
		CHECK_OK(cascade_options_set(options, "durability", setup->durability));
	for (unsigned i = 0; i < 8 && setup->extra[i][0] != NULL; i++)
		CHECK_OK(cascade_options_set(options, setup->extra[i][0], setup->extra[i][1]));
	return options;
}

static inline cascade_status open_small(const char *path, const struct setup *setup, cascade **db)
{
	cascade_options *options = small_options(setup);
	cascade_status status = cascade_open(path, options, db);
	cascade_options_destroy(options);
	return status;
}

static inline uint64_t stat_of(cascade *db, const char *name)
{
	cascade_stat *stats;
	size_t count;
	CHECK_OK(cascade_stats(db, &stats, &count));
	for (size_t i = 0; i < count; i++) {
		if (strcmp(stats[i].name, name) == 0) {
			uint64_t value = stats[i].value;
			cascade_stats_free(stats);
			return value;
		}
	}
	(void)fprintf(stderr, "no stat '%s'\n", name);
	abort();
}

/* The key has this value. */
static inline void check_value(cascade *db, const char *key, const char *expected)
{
	cascade_value value;
	CHECK_OK(cascade_get(db, cascade_string(key), NULL, &value));
	CHECK(value.size == strlen(expected));
	CHECK(memcmp(value.data, expected, value.size) == 0);
	cascade_value_release(&value);
}

static inline void check_absent(cascade *db, const char *key)
{
	cascade_value value;
	CHECK_STATUS(cascade_get(db, cascade_string(key), NULL, &value), CASCADE_NOT_FOUND);
}

static inline void put(cascade *db, const char *key, const char *value)
{
	CHECK_OK(cascade_put(db, cascade_string(key), cascade_string(value), NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
