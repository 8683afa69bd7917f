/*
 * What an engine recorded, replayed: into every memtable with the same answers, into every strategy and every
 * filter; and what is wrong is said. Takes a few seconds.
 */
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#include "base/memory.h"
#include "cascade.h"
#include "harness/bench/bench_trace_replay.h"
#include "harness/ticks.h"

enum { SEED = 555, KEYS = 4000, OPERATIONS = 40000, PATH_BYTES = 300 };

static char place[64];
static char trace_path[PATH_BYTES];

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)info;
	(void)kind;
	(void)at;
	return remove(path);
}

static void set(cascade_options *options, const char *name, const char *value)
{
	if (cascade_options_set(options, name, value) != CASCADE_OK)
		fail_msg("%s: %s", name, cascade_error_message());
}

static cascade *open_database(const char *kinds)
{
	char path[PATH_BYTES];
	cascade_options *options;
	cascade *db;
	(void)snprintf(path, sizeof(path), "%s/db", place);
	assert_int_equal(cascade_options_create(&options), CASCADE_OK);
	set(options, "shards", "2");
	set(options, "memtable.size", "1 MiB");
	set(options, "cache.size", "1 MiB");
	set(options, "cache.record_share", "0");
	set(options, "table.size", "256 KiB");
	set(options, "memtable.kind", "btree");
	set(options, "filter.bits_per_key", "5");
	set(options, "trace.path", trace_path);
	set(options, "trace.kinds", kinds);
	if (cascade_open(path, options, &db) != CASCADE_OK)
		fail_msg("%s", cascade_error_message());
	cascade_options_destroy(options);
	return db;
}

static void scan(cascade *db, const char *key)
{
	cascade_iterator *iterator;
	assert_int_equal(cascade_iterator_create(db, NULL, &iterator), CASCADE_OK);
	assert_int_equal(cascade_iterator_seek(iterator, cascade_string(key)), CASCADE_OK);
	for (unsigned row = 0; row < 50 && cascade_iterator_valid(iterator); row++)
		assert_int_equal(cascade_iterator_next(iterator), CASCADE_OK);
	cascade_iterator_destroy(iterator);
}

static void work(cascade *db)
{
	struct random dice = random_stream(test_seed(SEED));
	uint64_t value[40];
	for (unsigned i = 0; i < OPERATIONS; i++) {
		char key[40];
		cascade_value found;
		uint64_t number = random_below(&dice, 2 * KEYS);
		unsigned what = (unsigned)random_below(&dice, 100);
		(void)snprintf(key, sizeof(key), "user%020llu", (unsigned long long)random_mix(number));
		if (what < 45 && cascade_get(db, cascade_string(key), NULL, &found) == CASCADE_OK)
			cascade_value_release(&found);
		if (what < 45)
			continue;
		for (unsigned word = 0; word < 40; word++)
			value[word] = random_next(&dice);
		/* Half of the keys that are read are never written. */
		(void)snprintf(key, sizeof(key), "user%020llu",
			       (unsigned long long)random_mix(number % KEYS));
		if (what < 95)
			assert_int_equal(cascade_put(db, cascade_string(key),
						     cascade_bytes(value, random_below(&dice, 320)), NULL),
					 CASCADE_OK);
		else if (what < 99)
			assert_int_equal(cascade_delete(db, cascade_string(key), NULL), CASCADE_OK);
		else if (i % 4 == 0)
			scan(db, key);
	}
}

/* Once for all tests: they only read it. */
static int record(void **state)
{
	(void)state;
	ticks_calibrate();
	(void)snprintf(place, sizeof(place), "/tmp/bench_trace_test.XXXXXX");
	if (mkdtemp(place) == NULL)
		return -1;
	(void)snprintf(trace_path, sizeof(trace_path), "%s/a.trace", place);
	cascade *db = open_database("all");
	work(db);
	assert_int_equal(cascade_close(db), CASCADE_OK);
	return 0;
}

static int clean(void **state)
{
	(void)state;
	return nftw(place, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- memtables --- */

static void replay_into(const struct bench_trace *trace, const struct memtable_ops *ops, bool surrounded,
			struct replay_tally *sum)
{
	_Alignas(16) uint8_t options[BENCH_TRACE_OPTIONS_BYTES];
	if (ops != NULL)
		bench_trace_options(trace, &ops->component, options);
	*sum = (struct replay_tally) { .checked = 0 };
	for (uint32_t shard = 0; shard < trace->file.header.shards; shard++) {
		struct surroundings surroundings = { .memory = NULL };
		struct replay_tally tally;
		if (surrounded)
			assert_ok(surroundings_init(&surroundings));
		struct replay_options replay = { .file = &trace->file,
						 .shard = shard,
						 .operations_max = UINT64_MAX,
						 .ops = ops,
						 .options = options,
						 .surroundings = surrounded ? &surroundings : NULL,
						 .ns_per_tick = trace->file.ns_per_tick };
		assert_ok(replay_shard(&replay, &tally));
		surroundings_free(&surroundings);
		for (unsigned i = 0; i < REPLAY_OPERATIONS; i++) {
			sum->count[i] += tally.count[i];
			sum->ticks[i] += tally.ticks[i];
		}
		sum->checked += tally.checked;
		if (sum->mismatches == 0)
			memcpy(sum->mismatch, tally.mismatch, sizeof(sum->mismatch));
		sum->mismatches += tally.mismatches;
	}
}

static struct bench_trace open_trace(enum component_kind kind)
{
	struct bench_trace trace;
	assert_ok(bench_trace_open_file(&trace, kind, trace_path));
	assert_string_equal(trace.file.problem, "");
	return trace;
}

/* Each gives every answer that the engine's has given, and does as much. */
static void test_every_memtable(void **state)
{
	(void)state;
	struct bench_trace trace = open_trace(COMPONENT_MEMTABLE);
	struct replay_tally recorded, replayed;
	assert_string_equal(trace.variant.name, "btree");
	replay_into(&trace, NULL, false, &recorded);
	assert_true(recorded.count[REPLAY_INSERT] > OPERATIONS / 3);
	assert_true(recorded.count[REPLAY_GET] > OPERATIONS / 3);
	assert_true(recorded.count[REPLAY_SEEK] > 0 && recorded.count[REPLAY_STEP] > KEYS);
	const struct component *const *list = component_list(COMPONENT_MEMTABLE);
	for (size_t i = 0; list[i] != NULL; i++) {
		bool forgets = (list[i]->capabilities & MEMTABLE_FORGETS) != 0;
		replay_into(&trace, (const void *)list[i], i % 2 == 0, &replayed);
		if (replayed.mismatches > 0)
			fail_msg("%s: %llu mismatches: %s", list[i]->name,
				 (unsigned long long)replayed.mismatches, replayed.mismatch);
		assert_int_equal(replayed.checked > recorded.count[REPLAY_GET], !forgets);
		for (unsigned operation = 0; operation < REPLAY_OPERATIONS; operation++) {
			assert_int_equal(replayed.count[operation], recorded.count[operation]);
			assert_true(replayed.ticks[operation] > 0 || forgets);
		}
	}
	bench_trace_close(&trace);
}

/* --- a memtable that loses what it is given now and then --- */

static const struct memtable_ops *honest;
static struct memtable_ops forgetful;
static uint64_t gets;

static struct memtable *create_forgetful(struct arena *arena, const void *options)
{
	struct memtable *memtable = honest->create(arena, options);
	if (memtable != NULL)
		memtable->ops = &forgetful;
	return memtable;
}

static bool get_sometimes(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	return honest->get(memtable, key, sequence, entry) && ++gets % 100 != 0;
}

static void test_wrong_answers_are_found(void **state)
{
	(void)state;
	struct bench_trace trace = open_trace(COMPONENT_MEMTABLE);
	struct replay_tally tally;
	honest = (const void *)component_find(COMPONENT_MEMTABLE, "btree");
	forgetful = *honest;
	forgetful.create = create_forgetful;
	forgetful.get = get_sometimes;
	replay_into(&trace, &forgetful, false, &tally);
	assert_true(gets > 200);
	assert_int_equal(tally.mismatches, gets / 100);
	assert_non_null(strstr(tally.mismatch, "a get"));
	bench_trace_close(&trace);
}

/* --- measures, as the bench makes them --- */

static void run_measure(const char *kind_name, const char *variant, unsigned side,
			double numbers[BENCH_NUMBERS_MAX])
{
	struct bench_kind kind = { .name = kind_name, .has_variants = true }, traced;
	assert_ok(bench_trace_kind(&kind, trace_path, &traced));
	const struct bench_measure *measure = traced.measures[0];
	assert_null(traced.measures[1]);
	assert_string_equal(measure->bounds_of, bench_trace_variant());
	struct bench_job job = { .variant = variant,
				 .seed = test_seed(SEED),
				 .parameter = measure->sides[side].parameter };
	for (unsigned i = 0; i < BENCH_NUMBERS_MAX; i++)
		numbers[i] = NAN;
	assert_ok(measure->sides[side].run(&job, numbers));
}

static void test_memtable_measure(void **state)
{
	(void)state;
	double observed[BENCH_NUMBERS_MAX], numbers[BENCH_NUMBERS_MAX];
	run_measure("memtable", NULL, 2, observed);
	assert_true(observed[0] > 0);
	const struct component *const *list = component_list(COMPONENT_MEMTABLE);
	for (size_t i = 0; list[i] != NULL; i++) {
		run_measure("memtable", list[i]->name, 1, numbers);
		assert_true(numbers[0] > 0);
	}
	run_measure("memtable", "btree", 0, numbers);
	assert_true(numbers[0] > 0 && numbers[1] > 0 && numbers[2] > 0);
}

/* The engine's own strategy misses as often as it did, but for pages that are pinned or on their way. */
static void test_cache_measure(void **state)
{
	(void)state;
	double observed[BENCH_NUMBERS_MAX], numbers[BENCH_NUMBERS_MAX];
	run_measure("cache", NULL, 1, observed);
	assert_true(observed[0] > 0.01 && observed[0] < 0.99);
	const struct component *const *list = component_list(COMPONENT_CACHE);
	for (size_t i = 0; list[i] != NULL; i++) {
		run_measure("cache", list[i]->name, 0, numbers);
		assert_true(numbers[0] > 0 && numbers[0] < 1);
		assert_true(numbers[1] == observed[1] && numbers[3] == observed[3]);
		if (strcmp(list[i]->name, bench_trace_variant()) == 0)
			assert_true(fabs(numbers[0] / observed[0] - 1) < 0.1);
	}
}

/* As often wrong as it was, within what chance does to some hundred errors; other options, other numbers. */
static void test_filter_measure(void **state)
{
	(void)state;
	double observed[BENCH_NUMBERS_MAX], numbers[BENCH_NUMBERS_MAX];
	run_measure("filter", NULL, 1, observed);
	assert_true(observed[4] > 1000 && observed[4] < observed[3]);
	assert_true(observed[0] > 0.01 && observed[0] < 0.5);
	double errors = observed[0] * observed[4];
	const struct component *const *list = component_list(COMPONENT_FILTER);
	for (size_t i = 0; list[i] != NULL; i++) {
		run_measure("filter", list[i]->name, 0, numbers);
		assert_true(numbers[3] == observed[3]);
		if (strcmp(list[i]->name, bench_trace_variant()) != 0)
			continue;
		assert_true(numbers[4] == observed[4]);
		assert_true(fabs(numbers[2] / observed[2] - 1) < 0.15);
		assert_true(fabs(numbers[0] - observed[0]) * observed[4] < 8 * sqrt(errors));
	}
}

/* --- what cannot be replayed --- */

static void assert_refused(const char *kind_name, const char *path, const char *what)
{
	struct bench_kind kind = { .name = kind_name, .has_variants = true }, traced;
	char text[256];
	struct status status = bench_trace_kind(&kind, path, &traced);
	assert_false(status_is_ok(status));
	status_describe(status, text, sizeof(text));
	if (strstr(text, what) == NULL)
		fail_msg("'%s' does not say '%s'", text, what);
}

static void test_refusals(void **state)
{
	(void)state;
	char path[PATH_BYTES], kept[PATH_BYTES];
	assert_refused("codec", trace_path, "no kind that is recorded");
	assert_refused("memtable", "/nowhere", "cannot open");
	(void)snprintf(path, sizeof(path), "%s/letter", place);
	FILE *stream = fopen(path, "wb");
	assert_true(fputs("a letter that is a little longer", stream) >= 0 && fclose(stream) == 0);
	assert_refused("memtable", path, "no trace");
	/* A trace of filters alone has no memtables. */
	(void)snprintf(kept, sizeof(kept), "%s", trace_path);
	(void)snprintf(trace_path, sizeof(trace_path), "%s/b.trace", place);
	cascade *db = open_database("filter");
	assert_int_equal(cascade_close(db), CASCADE_OK);
	assert_refused("memtable", trace_path, "does not say which memtable");
	(void)snprintf(trace_path, sizeof(trace_path), "%s", kept);
}

static void copy_with(const char *to, off_t offset, const void *bytes, size_t size)
{
	static char buffer[1 << 16];
	int in = open(trace_path, O_RDONLY), out = open(to, O_CREAT | O_TRUNC | O_RDWR, 0644);
	assert_true(in >= 0 && out >= 0);
	ssize_t got;
	while ((got = read(in, buffer, sizeof(buffer))) > 0)
		assert_true(write(out, buffer, (size_t)got) == got);
	assert_true(pwrite(out, bytes, size, offset) == (ssize_t)size);
	assert_true(close(in) == 0 && close(out) == 0);
}

/* With a hole memtables are not replayed; of the others it is said. */
static void test_gaps(void **state)
{
	(void)state;
	static const char zeros[TRACE_BLOCK_HEADER_BYTES];
	char path[PATH_BYTES];
	struct bench_trace trace;
	struct bench_job job = { .seed = 1 };
	(void)snprintf(path, sizeof(path), "%s/c.trace", place);
	copy_with(path, TRACE_HEADER_BYTES + 2 * TRACE_BLOCK_BYTES, zeros, sizeof(zeros));
	assert_ok(bench_trace_open_file(&trace, COMPONENT_MEMTABLE, path));
	assert_true(trace.file.has_gaps);
	assert_status(bench_trace_check(&trace, false, &job), STATUS_UNSUPPORTED);
	assert_ok(bench_trace_check(&trace, true, &job));
	assert_non_null(strstr(job.notice, "NOT COMPLETE"));
	bench_trace_close(&trace);
}

/* --- what stands in for the engine --- */

/* More is touched as long as the engine's caches were colder, and less when they were warmer. */
static void test_surroundings_follow_the_canaries(void **state)
{
	(void)state;
	struct surroundings surroundings;
	const struct canary_reading cold = {
		.near = 200, .code = 200, .middle = 300, .far = 400, .nothing = 50
	};
	const struct canary_reading warm = { .near = 60, .code = 60, .middle = 70, .far = 90, .nothing = 50 };
	assert_ok(surroundings_init(&surroundings));
	const struct surroundings_amount before = surroundings.amounts[CANARY_POINT];
	for (unsigned i = 0; i < 1000; i++) {
		surroundings_pass(&surroundings, CANARY_POINT, 100 + i % 2000);
		surroundings_want(&surroundings, CANARY_POINT, &cold);
		surroundings_have(&surroundings, CANARY_POINT, &warm);
	}
	const struct surroundings_amount colder = surroundings.amounts[CANARY_POINT];
	assert_true(colder.lines > before.lines && colder.code_lines > before.code_lines);
	assert_true(colder.region_bytes > before.region_bytes);
	for (unsigned i = 0; i < 3000; i++) {
		surroundings_want(&surroundings, CANARY_POINT, &warm);
		surroundings_have(&surroundings, CANARY_POINT, &cold);
	}
	const struct surroundings_amount warmer = surroundings.amounts[CANARY_POINT];
	assert_true(warmer.lines < before.lines && warmer.code_lines < before.code_lines);
	assert_true(warmer.region_bytes < before.region_bytes);
	/* The other class is not touched by it. */
	assert_true(surroundings.amounts[CANARY_STEP].lines == before.lines);
	surroundings_run_code(0);
	surroundings_run_code(1);
	surroundings_run_code(SURROUNDINGS_CODE_LINES);
	surroundings_run_code(UINT64_MAX);
	surroundings_free(&surroundings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_memtable),
		cmocka_unit_test(test_wrong_answers_are_found),
		cmocka_unit_test(test_memtable_measure),
		cmocka_unit_test(test_cache_measure),
		cmocka_unit_test(test_filter_measure),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_surroundings_follow_the_canaries),
	};
	return cmocka_run_group_tests(tests, record, clean);
}
