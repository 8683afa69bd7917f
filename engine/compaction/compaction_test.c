/*
 * compaction_test.c: what a compaction keeps and drops against a brute-force model; where it cuts; that
 * nothing is left of one that failed. Takes about 4 s.
 */
#include "compaction/compaction.h"
#include "compaction/compaction_test.h"

enum { KEYS = 40, ROWS_MAX = 400, SNAPSHOTS_MAX = 6 };

/* One random case. */
struct scenario {
	struct world *world;
	struct random random;
	struct row rows[ROWS_MAX];
	size_t count;
	uint64_t snapshots[SNAPSHOTS_MAX];
	size_t snapshot_count;
	bool has_bottom;
	bool bottom[KEYS]; /* nothing of the key below the output */
	bool cuts_by_key;
	uint8_t last_asked[ROW_KEY_MAX];
	size_t last_asked_size;
	uint64_t progress;
	unsigned cuts_asked;
	bool cancelled;
	unsigned cancel_after; /* reports of progress; 0: never */
};

static unsigned key_number(struct slice key)
{
	return (unsigned)(key.data[key.size - 2] - 'a') * 8 + (unsigned)(key.data[key.size - 1] - '0');
}

static void make_rows(struct scenario *s, unsigned value_max)
{
	s->count = 0;
	uint64_t sequence = 1 + random_below(&s->random, 3);
	uint64_t rows = random_below(&s->random, ROWS_MAX);
	for (uint64_t i = 0; i < rows; i++) {
		struct row *row = &s->rows[s->count];
		unsigned key = (unsigned)random_below(&s->random, KEYS);
		*row = (struct row) { .sequence = sequence, .value = 1000 + i };
		row->key_size = (uint32_t)snprintf((char *)row->key, ROW_KEY_MAX, "the key %c%c",
						   (int)('a' + key / 8), (int)('0' + key % 8));
		row->kind = random_below(&s->random, 4) == 0 ? ENTRY_DELETE : ENTRY_PUT;
		if (row->kind == ENTRY_PUT)
			row->value_size = (uint32_t)random_below(&s->random, value_max);
		sequence += 1 + random_below(&s->random, 2);
		s->count++;
	}
	qsort(s->rows, s->count, sizeof(s->rows[0]), compare_rows);
}

static void make_scenario(struct scenario *s, unsigned value_max)
{
	make_rows(s, value_max);
	s->snapshot_count = random_below(&s->random, SNAPSHOTS_MAX + 1);
	uint64_t at = 0;
	for (size_t i = 0; i < s->snapshot_count; i++) {
		at += random_below(&s->random, 200); /* some are equal, some are 0 */
		s->snapshots[i] = at;
	}
	s->has_bottom = random_below(&s->random, 3) > 0;
	for (unsigned i = 0; i < KEYS; i++)
		s->bottom[i] = random_below(&s->random, 3) > 0;
	s->cuts_by_key = random_below(&s->random, 2) == 0;
	s->last_asked_size = 0;
	s->progress = 0;
	s->cuts_asked = 0;
	s->cancelled = false;
	s->cancel_after = 0;
}

/* --- the doors of a compaction --- */

static uint64_t next_number(void *context)
{
	struct scenario *s = context;
	return s->world->next_number++;
}

/* Keys are asked in ascending order, each once. */
static bool is_bottom(void *context, struct slice key)
{
	struct scenario *s = context;
	CHECK(slice_compare(slice_make(s->last_asked, s->last_asked_size), key) < 0);
	memcpy(s->last_asked, key.data, key.size);
	s->last_asked_size = key.size;
	return s->bottom[key_number(key)];
}

static bool should_cut(void *context, struct slice key)
{
	struct scenario *s = context;
	bool cut = key_number(key) % 9 == 4;
	s->cuts_asked += cut;
	return cut;
}

static void progress(void *context, uint64_t bytes)
{
	struct scenario *s = context;
	s->progress += bytes;
	if (s->cancel_after > 0 && --s->cancel_after == 0)
		s->cancelled = true;
}

static struct compaction make_job(struct scenario *s, uint64_t table_bytes)
{
	return (struct compaction) { .input = &row_iterator_create(s->rows, s->count)->base,
				     .directory = s->world->directory,
				     .table_options = &s->world->table_options,
				     .table_bytes = table_bytes,
				     .next_number = next_number,
				     .snapshots = s->snapshots,
				     .snapshot_count = s->snapshot_count,
				     .is_bottom = s->has_bottom ? is_bottom : NULL,
				     .should_cut = s->cuts_by_key ? should_cut : NULL,
				     .progress = progress,
				     .cancelled = &s->cancelled,
				     .context = s };
}

/* --- the model --- */

/* The row that a reader at `snapshot` gets of the key of rows[first]; NULL: none. */
static const struct row *visible(const struct row *rows, size_t first, size_t end, uint64_t snapshot)
{
	for (size_t i = first; i < end; i++) {
		if (rows[i].sequence <= snapshot)
			return &rows[i];
	}
	return NULL;
}

static size_t key_end(const struct row *rows, size_t count, size_t first)
{
	size_t end = first + 1;
	while (end < count && slice_equal(row_key(&rows[first]), row_key(&rows[end])))
		end++;
	return end;
}

static bool seen_by_all(const struct scenario *s, const struct row *row)
{
	return s->snapshot_count == 0 || row->sequence <= s->snapshots[0];
}

/* What must come out of the versions first .. end of one key. */
static size_t expect_key(const struct scenario *s, size_t first, size_t end, struct row *expected)
{
	bool bottom = s->has_bottom && s->bottom[key_number(row_key(&s->rows[first]))];
	size_t count = 0;
	for (size_t i = first; i < end; i++) {
		const struct row *row = &s->rows[i];
		bool needed = visible(s->rows, first, end, UINT64_MAX) == row;
		for (size_t j = 0; j < s->snapshot_count; j++)
			needed |= visible(s->rows, first, end, s->snapshots[j]) == row;
		if (row->kind == ENTRY_DELETE && bottom && seen_by_all(s, row))
			needed = false;
		if (!needed)
			continue;
		expected[count] = *row;
		if (row->kind == ENTRY_PUT && bottom && seen_by_all(s, row))
			expected[count].sequence = 0;
		count++;
	}
	return count;
}

/* Independently of how it was decided: every reader sees after what it saw before. */
static void check_views(const struct scenario *s, size_t first, size_t end, const struct row *after,
			size_t after_count)
{
	bool bottom = s->has_bottom && s->bottom[key_number(row_key(&s->rows[first]))];
	for (size_t j = 0; j <= s->snapshot_count; j++) {
		uint64_t snapshot = j < s->snapshot_count ? s->snapshots[j] : UINT64_MAX;
		const struct row *was = visible(s->rows, first, end, snapshot);
		const struct row *is = visible(after, 0, after_count, snapshot);
		if (was != NULL && was->kind == ENTRY_DELETE && bottom && is == NULL)
			continue; /* nothing below could shine through */
		CHECK((was == NULL) == (is == NULL));
		CHECK(was == NULL || (was->kind == is->kind && was->value == is->value));
	}
}

/* --- reading the outputs --- */

/* All entries of all outputs, checked for what the manifest is told of them. */
static void check_outputs(struct scenario *s, const struct compaction *job, const struct row *expected,
			  size_t expected_count, uint64_t table_bytes)
{
	struct world *world = s->world;
	size_t at = 0;
	uint64_t bytes = 0;
	unsigned short_ones = 0;
	for (size_t i = 0; i < job->output_count; i++) {
		const struct manifest_table *meta = &job->outputs[i];
		struct table *table = world_open(world, meta);
		struct iterator *stream;
		uint64_t entries = 0, deletes = 0;
		CHECK(meta->level == 3);
		CHECK(i == 0 || meta->number > job->outputs[i - 1].number);
		CHECK(i == 0 || slice_compare(job->outputs[i - 1].largest, meta->smallest) < 0);
		CHECK_OK(table_verify(world->self, table));
		CHECK_OK(table_stream_create(table, &stream));
		CHECK_OK(iterator_seek_first(world->self, stream));
		CHECK(stream->valid && slice_equal(stream->entry.key, meta->smallest));
		while (stream->valid) {
			CHECK(at < expected_count);
			CHECK(stream->entry.sequence == expected[at].sequence);
			CHECK(row_is(&expected[at], &stream->entry));
			entries++;
			deletes += stream->entry.kind == ENTRY_DELETE;
			at++;
			CHECK_OK(iterator_next(world->self, stream));
		}
		CHECK(slice_equal(row_key(&expected[at - 1]), meta->largest));
		CHECK(entries == meta->entries && deletes == meta->deletes);
		iterator_destroy(stream);
		table_close(world->self, table, true);
		bytes += meta->bytes;
		short_ones += meta->bytes < table_bytes;
	}
	CHECK(at == expected_count);
	CHECK(bytes == job->bytes_out);
	/* Nothing is cut for no reason. */
	CHECK(short_ones <= 1 + s->cuts_asked);
}

static void run_scenario(struct scenario *s, uint64_t table_bytes)
{
	static struct row expected[ROWS_MAX];
	size_t expected_count = 0;
	uint64_t input_bytes = 0;
	for (size_t first = 0; first < s->count;) {
		size_t end = key_end(s->rows, s->count, first);
		size_t count = expect_key(s, first, end, &expected[expected_count]);
		check_views(s, first, end, &expected[expected_count], count);
		expected_count += count;
		first = end;
	}
	for (size_t i = 0; i < s->count; i++)
		input_bytes += s->rows[i].key_size + s->rows[i].value_size;
	struct compaction job = make_job(s, table_bytes);
	CHECK_OK(compaction_run(s->world->self, &job));
	CHECK(job.input == NULL);
	CHECK(job.entries_in == s->count);
	CHECK(job.entries_dropped == s->count - expected_count);
	CHECK(s->progress == input_bytes);
	CHECK(count_files(s->world) == job.output_count);
	check_outputs(s, &job, expected, expected_count, table_bytes);
	compaction_free_outputs(&job);
	CHECK(count_files(s->world) == 0);
}

static void keep_and_drop(struct world *world)
{
	static struct scenario s;
	s = (struct scenario) { .world = world, .random = random_stream(seed) };
	for (unsigned round = 0; round < 200; round++) {
		make_scenario(&s, round % 10 == 0 ? 5000 : 100);
		/* With one byte every key is an output of its own, and every output is synced. */
		run_scenario(&s, round % 25 == 0 ? 1 : 16 << 10);
	}
}

static void test_keeps_what_is_needed_and_nothing_else(void **state)
{
	(void)state;
	seed = test_seed(501);
	in_world(keep_and_drop);
}

/* --- large entries --- */

struct watcher {
	_Atomic bool stop;
	unsigned turns;
};

static void watch(struct task *self, void *argument)
{
	struct watcher *watcher = argument;
	while (!watcher->stop) {
		watcher->turns++;
		task_yield(self);
	}
}

/* Large values do not hold up the foreground for as long as small ones would be let run. */
static void give_way(struct world *world)
{
	static const struct task_type type = { "watch", watch, 4096 };
	static struct scenario s;
	static struct watcher watcher;
	struct join join;
	s = (struct scenario) { .world = world, .random = random_stream(seed) };
	watcher = (struct watcher) { .turns = 0 };
	join_init(&join);
	for (s.count = 0; s.count < 300; s.count++) {
		s.rows[s.count] = (struct row) {
			.key_size = 4, .sequence = 9, .value_size = 60000, .value = s.count, .kind = ENTRY_PUT
		};
		bytes_store32(s.rows[s.count].key, __builtin_bswap32((uint32_t)s.count));
	}
	CHECK_OK(task_spawn(task_shard(world->self), &type, &watcher, TASK_FOREGROUND, &join));
	struct compaction job = make_job(&s, UINT64_MAX);
	/* Each row takes longer to make than the slice is; the input's end checks how many came at once. */
	CONTAINER_OF(job.input, struct row_iterator, base)->turns = &watcher.turns;
	CHECK_OK(compaction_run(world->self, &job));
	watcher.stop = true;
	join_wait(world->self, &join);
	CHECK(job.output_count == 1);
	compaction_discard_outputs(world->self, &job);
	CHECK(count_files(world) == 0);
}

static void test_gives_way_between_large_values(void **state)
{
	(void)state;
	seed = test_seed(502);
	in_world(give_way);
}

/* --- failures --- */

/* Whatever fails: an error, the input destroyed, no outputs, no files. */
static void check_failed(struct scenario *s, struct compaction *job, struct status status, bool destroyed)
{
	CHECK(!status_is_ok(status));
	CHECK(destroyed);
	CHECK(job->input == NULL);
	CHECK(job->output_count == 0 && job->outputs == NULL);
	CHECK(count_files(s->world) == 0);
}

static void fail_inputs(struct world *world)
{
	static struct scenario s;
	s = (struct scenario) { .world = world, .random = random_stream(seed) };
	unsigned failed = 0;
	for (unsigned round = 0; round < 150; round++) {
		make_scenario(&s, 300);
		bool destroyed = false;
		struct compaction job = make_job(&s, 8 << 10);
		struct row_iterator *input = CONTAINER_OF(job.input, struct row_iterator, base);
		input->destroyed = &destroyed;
		input->fail_at = random_below(&s.random, s.count + 2);
		bool fails = input->fail_at <= s.count;
		struct status status = compaction_run(world->self, &job);
		if (fails) {
			CHECK(status_is(status, STATUS_IO));
			check_failed(&s, &job, status, destroyed);
			failed++;
		} else {
			CHECK_OK(status);
			compaction_discard_outputs(world->self, &job);
		}
		CHECK(count_files(world) == 0);
	}
	CHECK(failed > 50);
}

static void test_a_failing_input_leaves_nothing(void **state)
{
	(void)state;
	seed = test_seed(503);
	in_world(fail_inputs);
}

static void fail_allocations(struct world *world)
{
	static struct scenario s;
	s = (struct scenario) { .world = world, .random = random_stream(seed) };
	do
		make_scenario(&s, 300);
	while (s.count < 200);
	unsigned failed = 0;
	for (uint64_t n = 1;; n++) {
		bool destroyed = false;
		s.last_asked_size = 0;
		s.cuts_asked = 0;
		struct compaction job = make_job(&s, 8 << 10);
		CONTAINER_OF(job.input, struct row_iterator, base)->destroyed = &destroyed;
		memory_fail_at(n, 0);
		struct status status = compaction_run(world->self, &job);
		bool fired = memory_failures_fired() > 0;
		memory_fail_at(0, 0);
		if (status_is_ok(status)) {
			compaction_discard_outputs(world->self, &job);
			CHECK(count_files(world) == 0);
			if (!fired)
				break;
			continue; /* it could do without */
		}
		check_failed(&s, &job, status, destroyed);
		failed++;
	}
	CHECK(failed > 5);
}

static void test_no_memory_leaves_nothing(void **state)
{
	(void)state;
	seed = test_seed(504);
	in_world(fail_allocations);
}

static void fail_directory(struct world *world)
{
	static struct scenario s;
	s = (struct scenario) { .world = world, .random = random_stream(seed) };
	do
		make_scenario(&s, 300);
	while (s.count < 100);
	bool destroyed = false;
	struct compaction job = make_job(&s, 8 << 10);
	job.directory = "/tmp/compaction_test.nowhere";
	CONTAINER_OF(job.input, struct row_iterator, base)->destroyed = &destroyed;
	struct status status = compaction_run(world->self, &job);
	CHECK(status_is(status, STATUS_NOT_FOUND));
	check_failed(&s, &job, status, destroyed);
}

static void test_a_missing_directory(void **state)
{
	(void)state;
	seed = test_seed(505);
	in_world(fail_directory);
}

/* Cancelled in the midst of it. */
static void cancel(struct world *world)
{
	static struct scenario s;
	s = (struct scenario) { .world = world, .random = random_stream(seed) };
	do
		make_scenario(&s, 5000);
	while (s.count < 300);
	bool destroyed = false;
	s.cancelled = true;
	struct compaction job = make_job(&s, 8 << 10);
	CONTAINER_OF(job.input, struct row_iterator, base)->destroyed = &destroyed;
	struct status status = compaction_run(world->self, &job);
	CHECK(status_is(status, STATUS_CLOSED));
	check_failed(&s, &job, status, destroyed);
}

static void test_cancelling_leaves_nothing(void **state)
{
	(void)state;
	seed = test_seed(506);
	in_world(cancel);
}

/* Nothing in, or nothing that stays: no table. */
static void nothing(struct world *world)
{
	static struct scenario s;
	s = (struct scenario) { .world = world, .random = random_stream(seed), .has_bottom = true };
	struct compaction job = make_job(&s, 8 << 10);
	CHECK_OK(compaction_run(world->self, &job));
	CHECK(job.output_count == 0);
	for (unsigned i = 0; i < KEYS; i++)
		s.bottom[i] = true;
	make_rows(&s, 10);
	for (size_t i = 0; i < s.count; i++)
		s.rows[i].kind = ENTRY_DELETE;
	for (size_t i = 0; i < s.count; i++)
		s.rows[i].value_size = 0;
	job = make_job(&s, 8 << 10);
	CHECK_OK(compaction_run(world->self, &job));
	CHECK(job.output_count == 0 && job.entries_dropped == s.count);
	compaction_free_outputs(&job);
	CHECK(count_files(world) == 0);
}

static void test_nothing_to_write(void **state)
{
	(void)state;
	seed = test_seed(507);
	in_world(nothing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeps_what_is_needed_and_nothing_else),
		cmocka_unit_test(test_gives_way_between_large_values),
		cmocka_unit_test(test_a_failing_input_leaves_nothing),
		cmocka_unit_test(test_no_memory_leaves_nothing),
		cmocka_unit_test(test_a_missing_directory),
		cmocka_unit_test(test_cancelling_leaves_nothing),
		cmocka_unit_test(test_nothing_to_write),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
