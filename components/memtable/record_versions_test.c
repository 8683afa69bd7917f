/*
 * A key with its versions against an array that keeps everything: sizes of all lengths, every way from one
 * version to another, versions that leave the order while somebody stands on them, memory that runs out; and
 * that a walk through a hot key takes no more than a few steps for each version.
 */
#include <string.h>

#include "base/memory.h"
#include "components/memtable/record_internal.h"
#include "test.h"

enum { VERSIONS_MAX = 600, CHUNK_BYTES = 4096 };

/* What one version should be. */
struct expected {
	uint64_t sequence;
	enum entry_kind kind;
	struct version *version; /* NULL: the record's first */
	bool in_order;
};

struct fixture {
	struct arena arena;
	struct held held;
	uint64_t count;			   /* as the memtable's */
	struct expected all[VERSIONS_MAX]; /* oldest first */
	size_t total;
	struct random random;
	uint8_t bytes[600];
};

static struct entry entry_make(struct fixture *f, const char *key, uint64_t sequence)
{
	struct entry entry = { .key = slice_from_string(key),
			       .sequence = sequence,
			       .kind = random_below(&f->random, 4) == 0 ? ENTRY_DELETE : ENTRY_PUT };
	if (entry.kind == ENTRY_PUT)
		entry.value = slice_make(f->bytes, random_below(&f->random, sizeof(f->bytes)));
	memset(f->bytes, (int)(sequence % 251), sizeof(f->bytes));
	return entry;
}

static struct record *record_make(struct arena *arena, const struct entry *entry)
{
	size_t bytes = record_bytes(entry);
	uint8_t *memory = arena_allocate(arena, bytes + 1, 1);
	assert_non_null(memory);
	memory[bytes] = 0xa7;
	struct record *record = record_fill(memory, entry);
	/* Not a byte more than it said. */
	assert_int_equal(memory[bytes], 0xa7);
	return record;
}

static void fixture_open(struct fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	f->random = random_stream(seed);
	arena_init(&f->arena, CHUNK_BYTES);
	struct entry entry = entry_make(f, "key", 1 + random_below(&f->random, 5));
	f->held = held_make(record_make(&f->arena, &entry));
	f->count = 1;
	f->total = 1;
	f->all[0] = (struct expected) { .sequence = entry.sequence, .kind = entry.kind, .in_order = true };
}

static uint64_t newest_sequence(const struct fixture *f)
{
	return f->all[f->total - 1].sequence;
}

static void add_version(struct fixture *f, uint64_t oldest_needed)
{
	struct entry entry = entry_make(f, "key", newest_sequence(f) + 1 + random_below(&f->random, 3));
	if (random_below(&f->random, 50) == 0) {
		/* A chunk's end comes now and then. */
		memory_fail_at(1, 1);
		struct held before = f->held;
		struct status status = held_add_version(&f->held, &f->arena, &entry, 0, &f->count);
		memory_fail_at(0, 0);
		assert_true(f->held.bits == before.bits);
		if (!status_is_ok(status)) {
			assert_status(status, STATUS_NO_MEMORY);
			assert_ok(held_add_version(&f->held, &f->arena, &entry, oldest_needed, &f->count));
		} else {
			oldest_needed = 0;
		}
	} else {
		assert_ok(held_add_version(&f->held, &f->arena, &entry, oldest_needed, &f->count));
	}
	f->all[f->total++] = (struct expected) { .sequence = entry.sequence,
						 .kind = entry.kind,
						 .version = held_newest(f->held),
						 .in_order = true };
	size_t keep = f->total;
	while (keep > 0 && !(f->all[keep - 1].in_order && f->all[keep - 1].sequence <= oldest_needed))
		keep--;
	for (size_t i = 0; i + 1 < keep; i++)
		f->all[i].in_order = false;
}

/* The place of what comes first from `from` on upwards (newer) or from `from` - 1 on downwards (older), of
 * those in the order; `total` if there is none. */
static size_t newer_from(const struct fixture *f, size_t from)
{
	while (from < f->total && !f->all[from].in_order)
		from++;
	return from;
}

static size_t older_from(const struct fixture *f, size_t from)
{
	while (from > 0) {
		if (f->all[--from].in_order)
			return from;
	}
	return f->total;
}

static void check_at(struct fixture *f, size_t at, bool found, const struct version *version)
{
	assert_int_equal(found, at < f->total);
	if (!found)
		return;
	const struct expected *expected = &f->all[at];
	struct entry entry;
	assert_ptr_equal(version, expected->version);
	entry_fill(&entry, held_record(f->held), version);
	assert_int_equal(entry.sequence, expected->sequence);
	assert_int_equal(entry.kind, expected->kind);
	assert_true(slice_equal(entry.key, slice_from_string("key")));
	for (size_t i = 0; i < entry.value.size; i++)
		assert_int_equal(entry.value.data[i], expected->sequence % 251);
}

/* Every question about every sequence and every version. */
static void check_everything(struct fixture *f)
{
	size_t in_order = 0;
	for (size_t i = 0; i < f->total; i++)
		in_order += f->all[i].in_order;
	assert_int_equal(f->count, in_order);
	struct version *version = held_newest(f->held);
	check_at(f, f->total - 1, true, version);
	held_oldest(f->held, &version);
	check_at(f, newer_from(f, 0), true, version);
	size_t upto = 0; /* versions with sequence <= `sequence` */
	for (uint64_t sequence = 0; sequence <= newest_sequence(f) + 2; sequence++) {
		size_t below = upto;
		while (upto < f->total && f->all[upto].sequence <= sequence)
			upto++;
		bool found = held_find(f->held, sequence, &version);
		check_at(f, older_from(f, upto), found, version);
		found = held_find_back(f->held, sequence, &version);
		check_at(f, newer_from(f, below), found, version);
	}
	for (size_t i = 0; i < f->total; i++) {
		version = f->all[i].version;
		bool found = held_newer(f->held, &version);
		check_at(f, newer_from(f, i + 1), found, version);
		if (!found)
			assert_ptr_equal(version, f->all[i].version);
		version = f->all[i].version;
		found = held_older(f->held, &version);
		if (f->all[i].in_order)
			check_at(f, older_from(f, i), found, version);
		else if (!found)
			assert_ptr_equal(version, f->all[i].version);
	}
}

static void test_versions(void **state)
{
	(void)state;
	struct fixture *f = malloc(sizeof(*f));
	assert_non_null(f);
	uint64_t seed = test_seed(41);
	for (uint64_t run = 0; run < 60; run++) {
		fixture_open(f, seed + run);
		uint64_t oldest_needed = 0;
		/* Readers that never go, that follow far behind, and that are always new. */
		uint64_t lag = run % 3 == 0 ? UINT64_MAX : run % 3 == 1 ? 60 : 3;
		size_t versions = 1 + random_below(&f->random, run % 10 == 0 ? VERSIONS_MAX - 1 : 80);
		for (size_t i = 1; i < versions; i++) {
			if (newest_sequence(f) > lag && random_below(&f->random, 8) == 0)
				oldest_needed = newest_sequence(f) - random_below(&f->random, lag);
			/* Now and then a reader comes that is older than all before. */
			add_version(f, random_below(&f->random, 30) == 0 ? oldest_needed / 2 : oldest_needed);
			if (i < 40 || i % 50 == 0)
				check_everything(f);
		}
		check_everything(f);
		arena_free(&f->arena);
	}
	free(f);
}

static void test_sizes(void **state)
{
	(void)state;
	const size_t keys[] = { 0, 1, 7, 8, 9, 127, 128, 129, 16383, 16384, 65535 };
	const size_t values[] = { 0, 1, 127, 128, 16383, 16384, 70000, 2097151, 2097152 };
	struct arena arena;
	uint8_t *bytes = malloc(3 << 20);
	assert_non_null(bytes);
	for (size_t i = 0; i < 3 << 20; i++)
		bytes[i] = (uint8_t)random_at(4, i / 8);
	arena_init(&arena, CHUNK_BYTES);
	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
		for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
			struct entry entry = { .key = slice_make(bytes, keys[k]),
					       .value = slice_make(bytes + keys[k], values[v]),
					       .sequence = SEQUENCE_MAX - k - v,
					       .kind = ENTRY_PUT };
			struct entry got;
			const struct record *record = record_make(&arena, &entry);
			entry_fill(&got, record, NULL);
			assert_true(slice_equal(got.key, entry.key));
			assert_true(slice_equal(got.value, entry.value));
			assert_true(slice_equal(record_key(record), entry.key));
			assert_int_equal(got.sequence, entry.sequence);
			assert_int_equal(got.kind, ENTRY_PUT);
			size_t least = keys[k] + values[v] + 10;
			assert_in_range(record_bytes(&entry), least, least + 5);
		}
		arena_free(&arena);
	}
	/* Of the usual sizes ten bytes beside key and value. */
	struct entry usual = { .key = slice_make(bytes, 24), .value = slice_make(bytes, 100) };
	assert_int_equal(record_bytes(&usual), 134);
	free(bytes);
}

/* Comparisons agree with those of slices, byte for byte, at every length. */
static void test_comparisons(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(42));
	uint8_t bytes[2][100];
	for (unsigned round = 0; round < 200000; round++) {
		struct slice keys[2];
		memset(bytes, (int)random_below(&random, 256), sizeof(bytes));
		size_t length = random_below(&random, random_below(&random, 2) == 0 ? 20 : sizeof(bytes[0]));
		for (unsigned i = 0; i < 2; i++) {
			bytes[i][random_below(&random, sizeof(bytes[0]))] = (uint8_t)random_next(&random);
			keys[i] = slice_make(bytes[i], length);
			if (length > 0 && random_below(&random, 3) == 0)
				keys[i].size -= random_below(&random, length);
		}
		int expected = slice_compare(keys[0], keys[1]);
		int got = key_compare_bytes(keys[0], keys[1]);
		assert_int_equal(got < 0, expected < 0);
		assert_int_equal(got > 0, expected > 0);
		assert_int_equal(key_common_prefix(keys[0], keys[1]), slice_common_prefix(keys[0], keys[1]));
		size_t skip = random_below(&random, sizeof(bytes[0]));
		assert_true(key_head(keys[0], skip) == slice_head(keys[0], skip));
	}
}

/* A walk back through a key with very many versions, and finding each of them: quadratic, it would not end.
 */
static void test_hot_key(void **state)
{
	(void)state;
	enum { HOT = 300000 };
	struct arena arena;
	uint64_t count = 1;
	arena_init(&arena, 1 << 20);
	struct entry entry = { .key = slice_from_string("hot"), .sequence = 1, .kind = ENTRY_PUT };
	struct held held = held_make(record_make(&arena, &entry));
	for (uint64_t i = 2; i <= HOT; i++) {
		entry.sequence = i;
		/* In the middle of it half of what there is leaves the order. */
		assert_ok(held_add_version(&held, &arena, &entry, i == HOT / 2 ? HOT / 4 : 0, &count));
	}
	assert_int_equal(count, HOT - HOT / 4 + 1);
	struct version *version;
	held_oldest(held, &version);
	uint64_t sequence = HOT / 4;
	do {
		struct version *found;
		entry_fill(&entry, held_record(held), version);
		assert_int_equal(entry.sequence, sequence);
		assert_true(held_find(held, sequence, &found));
		assert_ptr_equal(found, version);
		assert_true(held_find_back(held, sequence, &found));
		assert_ptr_equal(found, version);
		sequence++;
	} while (held_newer(held, &version));
	assert_int_equal(sequence, HOT + 1);
	while (held_older(held, &version))
		sequence--;
	assert_int_equal(sequence, HOT / 4 + 1);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_comparisons),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_hot_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
