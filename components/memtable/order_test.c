/*
 * order_test.c: records brought into the order of their keys: keys that are hard to tell apart, appends
 * between scans, and cursors that are under way meanwhile, checked against a sorted array. (About a second.)
 */
#include "test.h"

#include <string.h>

#include "base/memory.h"
#include "components/memtable/order_internal.h"

enum { CHUNK_BYTES = 64 << 10, CURSORS = 4 };

struct fixture {
	struct arena arena;
	struct order order;
	const struct record **model; /* sorted up to `sorted`, then as appended */
	size_t count, sorted;
	struct random random;
	uint64_t seed;
	uint8_t *key;
};

static struct fixture *fixture_open(size_t most, uint64_t seed)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	arena_init(&f->arena, CHUNK_BYTES);
	order_init(&f->order, &f->arena);
	f->model = calloc(most, sizeof(*f->model));
	f->key = calloc(1, KEY_BYTES_MAX);
	assert_non_null(f->model);
	assert_non_null(f->key);
	f->seed = seed;
	f->random = random_stream(seed);
	return f;
}

static void fixture_close(struct fixture *f)
{
	arena_free(&f->arena);
	free(f->model);
	free(f->key);
	free(f);
}

static int compare_records(const void *a, const void *b)
{
	return slice_compare(record_key(*(const struct record *const *)a),
			     record_key(*(const struct record *const *)b));
}

static void model_sort(struct fixture *f)
{
	qsort(f->model, f->count, sizeof(struct record *), compare_records);
	f->sorted = f->count;
}

/* The key must not be there. */
static void append(struct fixture *f, struct slice key)
{
	struct entry entry = { .key = key, .sequence = 1, .kind = ENTRY_PUT };
	assert_true(order_reserve(&f->order));
	void *memory = arena_allocate(&f->arena, record_bytes(&entry), 1);
	assert_non_null(memory);
	struct record *record = record_fill(memory, &entry);
	order_append(&f->order, key, record);
	f->model[f->count++] = record;
}

/* The runs, one after the other, are what the model says, and so is a walk in either direction. */
static void check_order(struct fixture *f)
{
	struct order_cursor cursor;
	bool found;
	size_t used = arena_used_bytes(&f->arena);
	model_sort(f);
	order_prepare(&f->order);
	assert_int_equal(arena_used_bytes(&f->arena), used);
	assert_int_equal(f->order.starts[f->order.run_count], f->count);
	struct record *record = order_seek(&f->order, &cursor, slice_make(NULL, 0), &found);
	for (size_t i = 0; i < f->count; i++) {
		if (record != f->model[i])
			fail_msg("seed %#lx: record %zu of %zu", (unsigned long)f->seed, i, f->count);
		record = order_next(&f->order, &cursor, record);
	}
	assert_null(record);
	order_seek_end(&f->order, &cursor);
	record = NULL;
	for (size_t i = f->count; i-- > 0;) {
		record = order_prev(&f->order, &cursor, record);
		if (record != f->model[i])
			fail_msg("seed %#lx: record %zu of %zu from the end", (unsigned long)f->seed, i,
				 f->count);
	}
	assert_null(order_prev(&f->order, &cursor, record));
}

/* Hints are those of the order again, whatever was sorted by. */
static void check_hints(const struct fixture *f)
{
	for (uint32_t i = 0; i < f->order.count; i++) {
		uint64_t word = *order_word(&f->order, i);
		const struct record *record = (const struct record *)(uintptr_t)(word << 16 >> 16);
		if (word >> 48 != order_hint(&f->order, record_key(record)))
			fail_msg("seed %#lx: hint of record %u", (unsigned long)f->seed, i);
	}
}

/* Each run is more than 16 times as long as the next. */
static void check_runs(const struct fixture *f)
{
	const uint32_t *starts = f->order.starts;
	for (unsigned run = 0; run + 1 < f->order.run_count; run++)
		assert_true((starts[run + 1] - starts[run]) / 16 >= starts[run + 2] - starts[run + 1]);
}

/* --- keys --- */

enum shape { RANDOM, DIGITS, LONG_PREFIX, ZEROS, NESTED, EQUAL_HEADS, SHAPES };

/* Another key for each number below 60000. */
static struct slice shaped_key(struct fixture *f, enum shape shape, unsigned number)
{
	size_t size = 0;
	switch (shape) {
	case RANDOM:
		for (unsigned i = 0; i < 3; i++)
			memcpy(f->key + 8 * i, &(uint64_t) { random_at(f->seed + i, number) }, 8);
		return slice_make(f->key, 24);
	case DIGITS:
		size = (size_t)snprintf((char *)f->key, 64, "user%019llu",
					(unsigned long long)random_at(f->seed, number));
		return slice_make(f->key, size);
	case LONG_PREFIX:
		memset(f->key, 'p', 300);
		size = 300 + (size_t)snprintf((char *)f->key + 300, 64, "%u", number * 7919 % 60013);
		return slice_make(f->key, size);
	case ZEROS: /* nothing but their lengths tells them apart */
		memset(f->key, 0, number);
		return slice_make(f->key, number);
	case NESTED: /* each begins with all before it */
		memset(f->key, 'a', number + 1);
		return slice_make(f->key, number + 1);
	case EQUAL_HEADS: /* a few values of two bytes each, far apart */
	case SHAPES:
		break;
	}
	memset(f->key, 'e', 40);
	for (unsigned i = 0; i < 5; i++, number /= 9)
		f->key[8 * i + 7] = (uint8_t)("\0\1\2\3\x7f\x80\x81\xfe\xff"[number % 9]);
	return slice_make(f->key, 40);
}

static void hard_keys_are_sorted(void **state)
{
	(void)state;
	for (enum shape shape = 0; shape < SHAPES; shape++) {
		/* Those with long keys cost time elsewhere. */
		unsigned count = shape == ZEROS || shape == NESTED ? 2500 : 40000;
		struct fixture *f = fixture_open(count, test_seed(20 + shape));
		for (unsigned i = 0; i < count; i++)
			append(f, shaped_key(f, shape, i * 7919u % count));
		check_order(f);
		check_hints(f);
		assert_int_equal(f->order.run_count, 1);
		fixture_close(f);
	}
}

/* A key that begins otherwise than all before: their hints move to the left. */
static void an_outsider_moves_the_hints(void **state)
{
	(void)state;
	enum { COUNT = 5000 };
	struct fixture *f = fixture_open(COUNT + 3, test_seed(31));
	for (unsigned i = 0; i < COUNT; i++) {
		append(f, shaped_key(f, LONG_PREFIX, i));
		if (i == COUNT / 2)
			check_order(f);
	}
	assert_int_equal(f->order.skip, 300);
	append(f, slice_from_string("pppq"));
	assert_int_equal(f->order.skip, 3);
	check_hints(f);
	check_order(f);
	/* And once more soon after: that was the last time. */
	append(f, slice_from_string("pq"));
	assert_int_equal(f->order.skip, 0);
	append(f, slice_make(NULL, 0));
	check_hints(f);
	check_order(f);
	check_hints(f);
	fixture_close(f);
}

/* --- appends between scans --- */

struct walker {
	struct order_cursor cursor;
	struct record *record; /* NULL: not under way */
	size_t seen;	       /* records of the model when it was positioned */
};

/* The nearest record of the first `seen` appended that is beyond `record`; the model is not sorted. */
static const struct record *nearest(const struct fixture *f, const struct record *record, size_t seen,
				    bool forward)
{
	const struct record *best = NULL;
	for (size_t i = 0; i < seen; i++) {
		int order = compare_records(&f->model[i], &record);
		if (order == 0 || (order > 0) != forward)
			continue;
		if (best == NULL || (compare_records(&f->model[i], &best) < 0) == forward)
			best = f->model[i];
	}
	return best;
}

static void walker_start(struct fixture *f, struct walker *walker)
{
	bool found;
	struct slice key = record_key(f->model[random_below(&f->random, f->count)]);
	order_prepare(&f->order);
	walker->record = order_seek(&f->order, &walker->cursor, key, &found);
	walker->seen = f->count;
	assert_true(found);
	assert_int_equal(slice_compare(record_key(walker->record), key), 0);
}

/* The next record may be one that came since, but none of those that were there is left out. */
static void walker_step(struct fixture *f, struct walker *walker)
{
	bool forward = random_below(&f->random, 4) != 0;
	const struct record *before = walker->record;
	const struct record *old = nearest(f, before, walker->seen, forward);
	walker->record = forward ? order_next(&f->order, &walker->cursor, before)
				 : order_prev(&f->order, &walker->cursor, before);
	if (walker->record == old)
		return;
	if (walker->record == NULL)
		fail_msg("seed %#lx: the walk ends early", (unsigned long)f->seed);
	const struct record *now = walker->record;
	if ((compare_records(&now, &before) > 0) != forward ||
	    (old != NULL && (compare_records(&now, &old) < 0) != forward))
		fail_msg("seed %#lx: the walk leaves its order", (unsigned long)f->seed);
}

static void walkers_stay_on_their_way(void **state)
{
	(void)state;
	enum { COUNT = 1500 };
	for (enum shape shape = 0; shape < SHAPES; shape++) {
		struct fixture *f = fixture_open(COUNT, test_seed(40 + shape));
		struct walker walkers[CURSORS] = { 0 };
		while (f->count < COUNT) {
			unsigned batch = (unsigned)random_below(&f->random, 3);
			if (random_below(&f->random, 100) == 0)
				batch = 200;
			for (unsigned i = 0; i < batch && f->count < COUNT; i++)
				append(f, shaped_key(f, shape, (unsigned)f->count * 7919u % COUNT));
			struct walker *walker = &walkers[random_below(&f->random, CURSORS)];
			if (f->count == 0)
				continue;
			if (walker->record == NULL || random_below(&f->random, 20) == 0)
				walker_start(f, walker);
			for (unsigned i = 0; i < 2 && walker->record != NULL; i++)
				walker_step(f, walker);
			check_runs(f);
		}
		check_order(f);
		check_hints(f);
		fixture_close(f);
	}
}

/* One record between two scans, over and over: few runs, and few of the words are moved. */
static void scans_between_appends(void **state)
{
	(void)state;
	enum { COUNT = 20000 };
	struct fixture *f = fixture_open(COUNT, test_seed(50));
	uint64_t moved = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		append(f, shaped_key(f, RANDOM, i));
		order_prepare(&f->order);
		uint32_t last = f->order.run_count - 1;
		moved += f->order.starts[last + 1] - f->order.starts[last];
		check_runs(f);
		assert_true(f->order.run_count <= 5);
	}
	/* What the last run has is what this call has made of it: a word is in it about 16 times for each of
	 * three lengths, and as often as 64 allow at the beginning. */
	assert_true(moved / COUNT < 64 + 3 * 16);
	check_order(f);
	check_hints(f);
	fixture_close(f);
}

static void without_memory_nothing_changes(void **state)
{
	(void)state;
	struct fixture *f = fixture_open(30000, test_seed(60));
	f->arena.chunk_bytes = 4096;
	unsigned failures = 0;
	for (unsigned i = 0; i < 30000; i++) {
		memory_fail_at(1, 1);
		bool reserved = order_reserve(&f->order);
		memory_fail_at(0, 0);
		failures += !reserved;
		append(f, shaped_key(f, RANDOM, i));
		if (i % 5000 == 0)
			check_order(f);
	}
	assert_true(failures > 20);
	check_order(f);
	fixture_close(f);
}

static void nothing_at_all(void **state)
{
	(void)state;
	struct fixture *f = fixture_open(1, 1);
	struct order_cursor cursor;
	bool found;
	check_order(f);
	assert_null(order_seek(&f->order, &cursor, slice_from_string("a"), &found));
	assert_false(found);
	assert_null(order_prev(&f->order, &cursor, NULL));
	append(f, slice_make(NULL, 0));
	check_order(f);
	assert_non_null(order_seek(&f->order, &cursor, slice_make(NULL, 0), &found));
	assert_true(found);
	assert_null(order_seek(&f->order, &cursor, slice_from_string("a"), &found));
	assert_non_null(order_prev(&f->order, &cursor, NULL));
	fixture_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hard_keys_are_sorted),
		cmocka_unit_test(an_outsider_moves_the_hints),
		cmocka_unit_test(walkers_stay_on_their_way),
		cmocka_unit_test(scans_between_appends),
		cmocka_unit_test(without_memory_nothing_changes),
		cmocka_unit_test(nothing_at_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
