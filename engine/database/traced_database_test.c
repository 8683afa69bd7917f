/*
 * A database that records what reaches its parts: all of it, only when asked to, and without a difference to
 * whoever uses it. Takes about a second.
 */
#include "database/database_test.h"
#include "trace/trace_reader.h"

enum { SEED = 31337, KEYS = 3000, WRITES = 12000, READS = 12000, SCANS = 20, ROWS = 100 };

static int descriptor = -1;

static struct status read_at(void *context, uint64_t offset, void *to, size_t size, size_t *got)
{
	(void)context;
	ssize_t done = pread(descriptor, to, size, (off_t)offset);
	CHECK(done >= 0);
	*got = (size_t)done;
	return status_ok();
}

static void open_trace(struct trace_file *file, const char *path)
{
	descriptor = open(path, O_RDONLY);
	CHECK(descriptor >= 0);
	assert_ok(trace_file_open(file, (struct trace_source) { .read = read_at }));
}

static void close_trace(struct trace_file *file)
{
	trace_file_close(file);
	(void)close(descriptor);
}

/* What the trace has, over all shards. */
struct contents {
	uint64_t records[TRACE_TYPE_COUNT];
	uint64_t pages_found, pages_missed;
	uint64_t open_memtables, open_iterators;
	uint64_t gets_found;
};

static void count_record(struct contents *contents, const struct trace_record *record)
{
	contents->records[record->type]++;
	contents->gets_found += record->type == TRACE_GET && record->answer != 0;
	contents->open_memtables += record->type == TRACE_MEMTABLE_BEGIN;
	contents->open_memtables -= record->type == TRACE_MEMTABLE_END;
	contents->open_iterators += record->type == TRACE_ITERATOR_BEGIN;
	contents->open_iterators -= record->type == TRACE_ITERATOR_END;
	if (record->type != TRACE_PAGE)
		return;
	if (record->answer == TRACE_HIT || record->answer == TRACE_JOINED)
		contents->pages_found += record->count;
	if (record->answer == TRACE_MISS || record->answer == TRACE_PAST)
		contents->pages_missed += record->count;
}

static struct contents read_trace(const char *path)
{
	struct contents contents = { .open_memtables = 0 };
	struct trace_file file;
	open_trace(&file, path);
	assert_string_equal(file.problem, "");
	for (uint32_t shard = 0; shard < file.header.shards; shard++) {
		struct trace_reader reader;
		struct trace_record record;
		struct status status;
		assert_ok(trace_reader_open(&reader, &file, shard));
		while (status_is_ok(status = trace_reader_next(&reader, &record)))
			count_record(&contents, &record);
		assert_status(status, STATUS_NOT_FOUND);
		trace_reader_close(&reader);
	}
	close_trace(&file);
	return contents;
}

/* --- work --- */

static void key_of(char key[32], uint64_t number)
{
	(void)snprintf(key, 32, "key%016llx", (unsigned long long)random_mix(number));
}

static void write_some(cascade *db, struct random *dice)
{
	char key[32];
	uint64_t value[50];
	for (unsigned i = 0; i < WRITES; i++) {
		key_of(key, random_below(dice, KEYS));
		for (unsigned word = 0; word < 50; word++)
			value[word] = random_next(dice);
		cascade_slice bytes = cascade_bytes(value, random_below(dice, sizeof(value)));
		if (random_below(dice, 10) == 0)
			CHECK_OK(cascade_delete(db, cascade_string(key), NULL));
		else
			CHECK_OK(cascade_put(db, cascade_string(key), bytes, NULL));
	}
}

static void read_some(cascade *db, struct random *dice)
{
	char key[32];
	for (unsigned i = 0; i < READS; i++) {
		cascade_value value;
		key_of(key, random_below(dice, 2 * KEYS));
		cascade_status status = cascade_get(db, cascade_string(key), NULL, &value);
		CHECK(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
		if (status == CASCADE_OK)
			cascade_value_release(&value);
	}
}

static void scan_some(cascade *db, struct random *dice)
{
	char key[32];
	for (unsigned i = 0; i < SCANS; i++) {
		cascade_iterator *iterator;
		CHECK_OK(cascade_iterator_create(db, NULL, &iterator));
		key_of(key, random_below(dice, KEYS));
		CHECK_OK(cascade_iterator_seek(iterator, cascade_string(key)));
		for (unsigned row = 0; row < ROWS && cascade_iterator_valid(iterator); row++)
			CHECK_OK(cascade_iterator_next(iterator));
		cascade_iterator_destroy(iterator);
	}
}

/* Opens a database with these options of the trace, works with it and closes it. */
static void work(const char *path, const char *trace, const char *kinds, uint64_t *hits, uint64_t *misses)
{
	struct setup setup = { .shards = 2 };
	struct random dice = random_stream(seed = test_seed(SEED));
	cascade *db;
	cascade_options *options = small_options(&setup);
	if (trace != NULL)
		CHECK_OK(cascade_options_set(options, "trace.path", trace));
	if (kinds != NULL)
		CHECK_OK(cascade_options_set(options, "trace.kinds", kinds));
	CHECK_OK(cascade_open(path, options, &db));
	cascade_options_destroy(options);
	write_some(db, &dice);
	read_some(db, &dice);
	scan_some(db, &dice);
	CHECK_OK(cascade_flush(db));
	CHECK_OK(cascade_wait_idle(db));
	read_some(db, &dice);
	*hits = stat_of(db, "cache.hits");
	*misses = stat_of(db, "cache.misses");
	CHECK_OK(cascade_close(db));
}

static void paths(char path[PATH_BYTES + 16], char trace[PATH_BYTES + 16])
{
	(void)snprintf(path, PATH_BYTES + 16, "%s/db", place);
	(void)snprintf(trace, PATH_BYTES + 16, "%s/a.trace", place);
}

static void test_everything_is_recorded(void **state)
{
	(void)state;
	char path[PATH_BYTES + 16], trace[PATH_BYTES + 16];
	uint64_t hits, misses;
	paths(path, trace);
	work(path, trace, NULL, &hits, &misses);
	struct contents contents = read_trace(trace);
	const uint64_t *records = contents.records;
	assert_int_equal(records[TRACE_INSERT], WRITES);
	/* A read that no memtable answers may ask several. */
	assert_true(records[TRACE_GET] >= 2 * READS);
	assert_true(contents.gets_found > 0 && contents.gets_found < records[TRACE_GET]);
	assert_true(records[TRACE_SEEK] > 0 && records[TRACE_STEPS] > 0);
	assert_true(records[TRACE_MEMTABLE_BEGIN] > 4);
	assert_int_equal(contents.open_memtables, 0);
	assert_int_equal(contents.open_iterators, 0);
	/* One of each kind on each shard. */
	assert_int_equal(records[TRACE_VARIANT], 3 * 2);
	assert_int_equal(records[TRACE_POOL], 2);
	assert_true(misses > 100);
	assert_int_equal(contents.pages_found, hits);
	assert_int_equal(contents.pages_missed, misses);
	assert_true(records[TRACE_FORGET] > 0 && records[TRACE_TABLE_END] == records[TRACE_FORGET]);
	assert_true(records[TRACE_ASK] > 0);
	assert_true(records[TRACE_TRUTH] > 0);
}

static void test_only_some_kinds(void **state)
{
	(void)state;
	char path[PATH_BYTES + 16], trace[PATH_BYTES + 16];
	uint64_t hits, misses;
	paths(path, trace);
	work(path, trace, "filter memtable", &hits, &misses);
	struct contents contents = read_trace(trace);
	assert_int_equal(contents.records[TRACE_INSERT], WRITES);
	assert_true(contents.records[TRACE_ASK] > 0);
	assert_int_equal(contents.records[TRACE_POOL], 0);
	assert_int_equal(contents.records[TRACE_PAGE], 0);
	assert_int_equal(contents.records[TRACE_FORGET], 0);
	/* The same database again, and the trace is another: what was in the log is put in and recorded. */
	work(path, trace, "cache", &hits, &misses);
	contents = read_trace(trace);
	assert_int_equal(contents.records[TRACE_INSERT], 0);
	assert_int_equal(contents.records[TRACE_ASK], 0);
	assert_int_equal(contents.records[TRACE_CANARY], 0);
	assert_int_equal(contents.pages_found, hits);
}

/* No file, and no difference. */
static void test_off(void **state)
{
	(void)state;
	char path[PATH_BYTES + 16], trace[PATH_BYTES + 16];
	struct stat info;
	uint64_t hits, misses;
	paths(path, trace);
	work(path, NULL, NULL, &hits, &misses);
	assert_int_not_equal(stat(trace, &info), 0);
	assert_int_not_equal(stat("off", &info), 0);
	work(path, "off", "memtable", &hits, &misses);
	assert_int_not_equal(stat("off", &info), 0);
}

/* What is no trace is not overwritten, and the database opens without one. */
static void test_path_that_is_taken(void **state)
{
	(void)state;
	char path[PATH_BYTES + 16], trace[PATH_BYTES + 16];
	paths(path, trace);
	struct setup setup = { .shards = 1, .extra = { { "trace.path", trace } } };
	cascade *db;
	FILE *stream = fopen(trace, "wb");
	CHECK(stream != NULL && fputs("a letter", stream) >= 0 && fclose(stream) == 0);
	CHECK_STATUS(open_small(path, &setup, &db), CASCADE_INVALID);
	assert_non_null(strstr(cascade_error_message(), "no trace"));
	setup.extra[0][1] = "off";
	CHECK_OK(open_small(path, &setup, &db));
	put(db, "a", "1");
	CHECK_OK(cascade_close(db));
	setup.extra[0][1] = "/nowhere/at/all/a.trace";
	CHECK_STATUS(open_small(path, &setup, &db), CASCADE_NOT_FOUND);
	struct stat info;
	assert_int_equal(stat(trace, &info), 0);
	assert_int_equal(info.st_size, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_everything_is_recorded),
		TEST(test_only_some_kinds),
		TEST(test_off),
		TEST(test_path_that_is_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
