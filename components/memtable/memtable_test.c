/*
 * The conformance suite of memtables, over every row of the registry: random operations against a sorted
 * array that keeps everything, for many shapes of keys, with readers in the past, iterators that live
 * through inserts, and memory that runs out.
 */
#include <string.h>

#include "base/arena.h"
#include "base/memory.h"
#include "components/memtable/memtable.h"
#include "test.h"

enum {
	OPERATIONS = 20000,
	CURSORS = 4,
	CHUNK_BYTES = 1 << 16,
	LONG_PREFIX = 300,
};

enum key_shape {
	KEYS_USER,	/* "user" and 19 digits, as the workloads have them */
	KEYS_TINY,	/* 0 to 3 bytes of 0, 1 and 255: prefixes of one another, the empty key */
	KEYS_LONG,	/* hundreds of equal bytes first */
	KEYS_ASCENDING, /* each larger than all before */
	KEYS_DESCENDING,
	KEYS_STREAMS, /* several ascending runs side by side */
	KEYS_BINARY,  /* any bytes, 0 to 40 of them */
	KEYS_LARGE,   /* now and then as large as keys may be */
	KEY_SHAPES
};

/* One version that the memtable was given. */
struct version {
	struct entry entry; /* owns key and value */
	bool droppable;	    /* the memtable may have taken it out of its order */
};

struct cursor {
	_Alignas(64) uint8_t memory[MEMTABLE_ITERATOR_BYTES];
	uint64_t since; /* the newest sequence when it was positioned */
	bool positioned;
};

struct fixture {
	const struct memtable_ops *ops;
	struct arena arena;
	struct memtable *memtable;
	struct version **model; /* in entry order */
	size_t count;
	uint64_t sequence;
	uint64_t oldest_needed;
	uint64_t counter;
	enum key_shape shape;
	struct random random;
	struct cursor cursors[CURSORS];
	uint8_t *key;
	uint8_t value[512];
};

static const struct memtable_ops *ops_of(const struct component *component)
{
	return (const struct memtable_ops *)component;
}

/* --- the fixture --- */

static void fixture_open(struct fixture *f, const struct memtable_ops *ops, size_t chunk_bytes,
			 size_t model_max)
{
	void *options = calloc(1, ops->component.options_size + 1);
	assert_non_null(options);
	component_default_options(&ops->component, options);
	f->ops = ops;
	f->count = 0;
	f->sequence = 0;
	f->oldest_needed = 0;
	f->counter = 0;
	f->key = malloc(KEY_BYTES_MAX);
	f->model = calloc(model_max, sizeof(*f->model));
	assert_non_null(f->key);
	assert_non_null(f->model);
	arena_init(&f->arena, chunk_bytes);
	f->memtable = ops->create(&f->arena, ops->component.options_size > 0 ? options : NULL);
	assert_non_null(f->memtable);
	assert_ptr_equal(f->memtable->ops, ops);
	/* Options are borrowed for the call only. */
	memset(options, 0xee, ops->component.options_size);
	free(options);
	for (size_t i = 0; i < CURSORS; i++)
		f->cursors[i].positioned = false;
}

static void fixture_close(struct fixture *f)
{
	arena_free(&f->arena);
	for (size_t i = 0; i < f->count; i++) {
		free((void *)f->model[i]->entry.key.data);
		free((void *)f->model[i]->entry.value.data);
		free(f->model[i]);
	}
	free(f->model);
	free(f->key);
}

static size_t text_key(struct fixture *f, const char *prefix, uint64_t number)
{
	return (size_t)snprintf((char *)f->key, 64, "%s%019llu", prefix,
				(unsigned long long)(number % 10000000000000000000ull));
}

static size_t long_key(struct fixture *f)
{
	size_t shared = LONG_PREFIX - (random_below(&f->random, 50) == 0 ? random_below(&f->random, 300) : 0);
	memset(f->key, 'p', shared);
	for (size_t i = 0; i < 3; i++)
		f->key[shared + i] = (uint8_t)('a' + random_below(&f->random, 20));
	return shared + 3;
}

static size_t any_bytes(struct fixture *f, size_t size)
{
	for (size_t i = 0; i < size; i++)
		f->key[i] = (uint8_t)random_next(&f->random);
	return size;
}

/* Writes a key of the fixture's shape to f->key. About a third have been there before. */
static struct slice random_key(struct fixture *f)
{
	uint64_t again = random_below(&f->random, 3);
	uint64_t pick = again == 0 ? random_below(&f->random, f->counter + 1) : ++f->counter;
	uint64_t number = random_at(77, pick);
	size_t size = 0;
	switch (f->shape) {
	case KEYS_USER:
		size = text_key(f, "user", number);
		break;
	case KEYS_TINY:
		size = random_below(&f->random, 4);
		for (size_t i = 0; i < size; i++)
			f->key[i] = (const uint8_t[]) { 0, 1, 255 }[random_below(&f->random, 3)];
		break;
	case KEYS_LONG:
		size = long_key(f);
		break;
	case KEYS_ASCENDING:
		size = text_key(f, "user", pick);
		break;
	case KEYS_DESCENDING:
		size = text_key(f, "user", 1000000000 - pick);
		break;
	case KEYS_STREAMS:
		size = text_key(f, (const char *[]) { "a:row:", "b:", "", "zzzzzzzzzzzz" }[pick % 4],
				pick / 4);
		break;
	case KEYS_BINARY:
		size = any_bytes(f, random_below(&f->random, 41));
		break;
	case KEYS_LARGE:
		size = text_key(f, "", number % 500);
		if (random_below(&f->random, 100) == 0) {
			memset(f->key + size, (int)(number % 3), KEY_BYTES_MAX - size);
			size = KEY_BYTES_MAX - number % 2;
		}
		break;
	case KEY_SHAPES:
		break;
	}
	return slice_make(f->key, size);
}

/* --- the model --- */

/* The number of versions in the model that come before (key, sequence). */
static size_t model_find(const struct fixture *f, struct slice key, uint64_t sequence)
{
	size_t low = 0;
	size_t high = f->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct entry *entry = &f->model[middle]->entry;
		if (entry_compare(entry->key, entry->sequence, key, sequence) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct slice copy_of(struct slice from)
{
	uint8_t *copy = malloc(from.size + 1);
	assert_non_null(copy);
	if (from.size > 0)
		memcpy(copy, from.data, from.size);
	return slice_make(copy, from.size);
}

static void model_insert(struct fixture *f, const struct entry *entry)
{
	struct version *version = calloc(1, sizeof(*version));
	assert_non_null(version);
	version->entry = *entry;
	version->entry.key = copy_of(entry->key);
	version->entry.value = copy_of(entry->value);
	size_t at = model_find(f, entry->key, entry->sequence);
	memmove(&f->model[at + 1], &f->model[at], (f->count - at) * sizeof(f->model[0]));
	f->model[at] = version;
	f->count++;
	/* Behind the newest version that the oldest reader sees, nobody needs one. */
	bool seen = false;
	for (size_t i = at; i < f->count && slice_equal(f->model[i]->entry.key, entry->key); i++) {
		f->model[i]->droppable |= seen;
		seen |= f->model[i]->entry.sequence <= f->oldest_needed;
	}
}

static void assert_same(const struct entry *got, const struct entry *expected)
{
	assert_true(slice_equal(got->key, expected->key));
	assert_int_equal(got->sequence, expected->sequence);
	assert_int_equal(got->kind, expected->kind);
	assert_true(slice_equal(got->value, expected->value));
}

static struct entry random_entry(struct fixture *f, struct slice key)
{
	struct entry entry = { .key = key,
			       .sequence = f->sequence + 1 + random_below(&f->random, 3),
			       .kind = random_below(&f->random, 5) == 0 ? ENTRY_DELETE : ENTRY_PUT };
	f->sequence = entry.sequence;
	if (entry.kind == ENTRY_PUT) {
		size_t size = random_below(&f->random, 40);
		memset(f->value, (int)(entry.sequence & 0xff), size);
		entry.value = slice_make(f->value, size);
	}
	return entry;
}

static void step_insert(struct fixture *f)
{
	struct entry entry = random_entry(f, random_key(f));
	if (random_below(&f->random, 4) == 0 && f->sequence > f->oldest_needed)
		f->oldest_needed += random_below(&f->random, f->sequence - f->oldest_needed + 1);
	assert_ok(f->ops->insert(f->memtable, &entry, f->oldest_needed));
	model_insert(f, &entry);
	/* The memtable has its own copies. */
	memset(f->value, 0xdd, sizeof(f->value));
}

static void check_get(struct fixture *f, struct slice key, uint64_t sequence)
{
	struct entry got;
	bool found = f->ops->get(f->memtable, key, sequence, &got);
	size_t at = model_find(f, key, sequence);
	bool expected = at < f->count && slice_equal(f->model[at]->entry.key, key);
	if (expected && f->model[at]->droppable) {
		/* A reader that must not be: any older version or none may come, but none that is newer. */
		if (found)
			assert_true(got.sequence <= sequence);
		return;
	}
	assert_int_equal(found, expected);
	if (found)
		assert_same(&got, &f->model[at]->entry);
}

static void step_get(struct fixture *f)
{
	struct slice key = random_key(f);
	uint64_t sequence =
		random_below(&f->random, 2) == 0
			? SEQUENCE_MAX
			: f->oldest_needed + random_below(&f->random, f->sequence - f->oldest_needed + 1);
	check_get(f, key, sequence);
	check_get(f, key, random_below(&f->random, f->sequence + 1));
}

/* --- iterators --- */

/* The iterator has come to `got` from the model's place `at`: it left out only what it may. */
static size_t check_arrival(const struct fixture *f, size_t at, uint64_t since,
			    const struct memtable_iterator *iterator)
{
	while (at < f->count) {
		const struct version *version = f->model[at];
		if (iterator->valid && entry_compare(version->entry.key, version->entry.sequence,
						     iterator->entry.key, iterator->entry.sequence) == 0) {
			assert_same(&iterator->entry, &version->entry);
			return at;
		}
		assert_true(version->droppable || version->entry.sequence > since);
		at++;
	}
	assert_false(iterator->valid);
	return at;
}

static void check_all(struct fixture *f)
{
	struct cursor cursor;
	struct memtable_iterator *iterator = (struct memtable_iterator *)(void *)cursor.memory;
	uint64_t visited = 0;
	f->ops->iterator_init(f->memtable, iterator);
	f->ops->seek(iterator, slice_make(NULL, 0), SEQUENCE_MAX);
	size_t at = check_arrival(f, 0, f->sequence, iterator);
	for (; iterator->valid; at = check_arrival(f, at + 1, f->sequence, iterator)) {
		visited++;
		f->ops->next(iterator);
	}
	assert_int_equal(visited, f->ops->count(f->memtable));
}

static void step_seek(struct fixture *f)
{
	struct cursor *cursor = &f->cursors[random_below(&f->random, CURSORS)];
	struct memtable_iterator *iterator = (struct memtable_iterator *)(void *)cursor->memory;
	struct slice key = random_key(f);
	uint64_t sequence =
		random_below(&f->random, 2) == 0 ? SEQUENCE_MAX : random_below(&f->random, f->sequence + 1);
	memset(cursor->memory, 0xcc, sizeof(cursor->memory));
	f->ops->iterator_init(f->memtable, iterator);
	f->ops->seek(iterator, key, sequence);
	cursor->since = f->sequence;
	cursor->positioned = iterator->valid;
	(void)check_arrival(f, model_find(f, key, sequence), cursor->since, iterator);
}

static void step_next(struct fixture *f)
{
	struct cursor *cursor = &f->cursors[random_below(&f->random, CURSORS)];
	struct memtable_iterator *iterator = (struct memtable_iterator *)(void *)cursor->memory;
	if (!cursor->positioned)
		return;
	size_t at = model_find(f, iterator->entry.key, iterator->entry.sequence);
	assert_true(at < f->count);
	/* What was handed out stays valid over any insert. */
	assert_same(&iterator->entry, &f->model[at]->entry);
	f->ops->next(iterator);
	cursor->positioned = iterator->valid;
	(void)check_arrival(f, at + 1, cursor->since, iterator);
}

/* --- the suite --- */

static void run_shape(const struct memtable_ops *ops, enum key_shape shape, uint64_t seed)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	f->random = random_stream(seed);
	f->shape = shape;
	fixture_open(f, ops, CHUNK_BYTES, OPERATIONS);
	bool iterates = (ops->component.capabilities & MEMTABLE_NO_ITERATOR) == 0;
	size_t operations = shape == KEYS_LARGE ? OPERATIONS / 10 : OPERATIONS;
	for (size_t i = 0; i < operations; i++) {
		uint64_t dice = random_below(&f->random, 100);
		if (dice < 50)
			step_insert(f);
		else if (dice < 75)
			step_get(f);
		else if (iterates && dice < 80)
			step_seek(f);
		else if (iterates)
			step_next(f);
		if (iterates && (i < 200 || i % 2000 == 0))
			check_all(f);
	}
	for (size_t i = 0; i < f->count; i++)
		check_get(f, f->model[i]->entry.key, SEQUENCE_MAX);
	if (iterates)
		check_all(f);
	fixture_close(f);
	free(f);
}

static void test_model(void **state)
{
	(void)state;
	uint64_t seed = test_seed(1);
	for (const struct component *const *row = component_list(COMPONENT_MEMTABLE); *row != NULL; row++) {
		if ((*row)->capabilities & MEMTABLE_FORGETS)
			continue;
		for (unsigned shape = 0; shape < KEY_SHAPES; shape++) {
			for (uint64_t i = 0; i < 3; i++) {
				print_message("%s, keys %u, seed %llu\n", (*row)->name, shape,
					      (unsigned long long)(seed + i));
				run_shape(ops_of(*row), (enum key_shape)shape, seed + i);
			}
		}
	}
}

/* Memory runs out at each place in turn: the insert fails, nothing has changed, and it works afterwards. */
static void run_out_of_memory(const struct memtable_ops *ops, enum key_shape shape, uint64_t seed)
{
	const size_t inserts = 10000;
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	f->random = random_stream(seed);
	f->shape = shape;
	fixture_open(f, ops, 4096, inserts);
	bool iterates = (ops->component.capabilities & MEMTABLE_NO_ITERATOR) == 0;
	unsigned failures = 0;
	for (size_t i = 0; i < inserts; i++) {
		struct entry entry = random_entry(f, random_key(f));
		uint64_t count = ops->count(f->memtable);
		memory_fail_at(1 + random_below(&f->random, 3), 1);
		struct status status = ops->insert(f->memtable, &entry, 0);
		memory_fail_at(0, 0);
		if (!status_is_ok(status)) {
			failures++;
			assert_status(status, STATUS_NO_MEMORY);
			assert_int_equal(ops->count(f->memtable), count);
			check_get(f, entry.key, SEQUENCE_MAX);
			if (iterates)
				check_all(f);
			assert_ok(ops->insert(f->memtable, &entry, 0));
		}
		model_insert(f, &entry);
		check_get(f, entry.key, SEQUENCE_MAX);
	}
	assert_true(failures > 0);
	if (iterates)
		check_all(f);
	fixture_close(f);
	free(f);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	uint64_t seed = test_seed(2);
	for (const struct component *const *row = component_list(COMPONENT_MEMTABLE); *row != NULL; row++) {
		if ((*row)->capabilities & MEMTABLE_FORGETS)
			continue;
		run_out_of_memory(ops_of(*row), KEYS_USER, seed);
		run_out_of_memory(ops_of(*row), KEYS_ASCENDING, seed + 1);
		run_out_of_memory(ops_of(*row), KEYS_LONG, seed + 2);
		struct arena arena;
		arena_init(&arena, 4096);
		for (uint64_t n = 1; n <= 4; n++) {
			memory_fail_at(n, 1);
			struct memtable *memtable = ops_of(*row)->create(&arena, NULL);
			bool fired = memory_failures_fired() > 0;
			memory_fail_at(0, 0);
			assert_true(fired || memtable != NULL);
			arena_free(&arena);
		}
	}
}

/* A hot key with a reader far in the past: every version stays readable. */
static void run_hot_key(const struct memtable_ops *ops)
{
	enum { VERSIONS = 30000 };
	struct arena arena;
	arena_init(&arena, CHUNK_BYTES);
	struct memtable *memtable = ops->create(&arena, NULL);
	assert_non_null(memtable);
	uint64_t first = SEQUENCE_MAX - 2 * VERSIONS;
	for (uint64_t i = 0; i < VERSIONS; i++) {
		struct entry entry = { .key = slice_from_string("hot"),
				       .value = slice_make(&i, sizeof(i)),
				       .sequence = first + 2 * i,
				       .kind = ENTRY_PUT };
		assert_ok(ops->insert(memtable, &entry, first));
	}
	struct entry got;
	assert_false(ops->get(memtable, slice_from_string("hot"), first - 1, &got));
	for (uint64_t i = 0; i < VERSIONS; i++) {
		assert_true(ops->get(memtable, slice_from_string("hot"), first + 2 * i + 1, &got));
		assert_int_equal(got.sequence, first + 2 * i);
		assert_memory_equal(got.value.data, &i, sizeof(i));
	}
	assert_int_equal(ops->count(memtable), VERSIONS);
	/* The reader has gone: what a memtable drops, it stops counting; the newest stays. */
	struct entry last = { .key = slice_from_string("hot"),
			      .value = slice_make(NULL, 0),
			      .sequence = SEQUENCE_MAX,
			      .kind = ENTRY_DELETE };
	assert_ok(ops->insert(memtable, &last, SEQUENCE_MAX));
	assert_true(ops->get(memtable, slice_from_string("hot"), SEQUENCE_MAX, &got));
	assert_int_equal(got.kind, ENTRY_DELETE);
	assert_int_equal(got.value.size, 0);
	assert_in_range(ops->count(memtable), 1, VERSIONS + 1);
	/* Those of which a test knows that they drop. */
	if (strcmp(ops->component.name, "btree") == 0 || strcmp(ops->component.name, "skiplist") == 0)
		assert_int_equal(ops->count(memtable), 1);
	arena_free(&arena);
}

static void test_hot_key(void **state)
{
	(void)state;
	for (const struct component *const *row = component_list(COMPONENT_MEMTABLE); *row != NULL; row++) {
		if (((*row)->capabilities & MEMTABLE_FORGETS) == 0)
			run_hot_key(ops_of(*row));
	}
}

static void run_empty(const struct memtable_ops *ops)
{
	struct arena arena;
	arena_init(&arena, CHUNK_BYTES);
	struct memtable *memtable = ops->create(&arena, NULL);
	struct entry got;
	assert_non_null(memtable);
	assert_int_equal(ops->count(memtable), 0);
	assert_false(ops->get(memtable, slice_make(NULL, 0), SEQUENCE_MAX, &got));
	assert_false(ops->get(memtable, slice_from_string("user"), SEQUENCE_MAX, &got));
	if ((ops->component.capabilities & MEMTABLE_NO_ITERATOR) == 0) {
		struct cursor cursor;
		struct memtable_iterator *iterator = (struct memtable_iterator *)(void *)cursor.memory;
		ops->iterator_init(memtable, iterator);
		ops->seek(iterator, slice_make(NULL, 0), SEQUENCE_MAX);
		assert_false(iterator->valid);
		ops->seek(iterator, slice_from_string("x"), 0);
		assert_false(iterator->valid);
	}
	arena_free(&arena);
}

static void test_empty(void **state)
{
	(void)state;
	for (const struct component *const *row = component_list(COMPONENT_MEMTABLE); *row != NULL; row++)
		run_empty(ops_of(*row));
}

/* Ascending keys, be it in several runs side by side, fill nodes to the brim. */
static void check_dense(const char *const *prefixes, uint64_t streams)
{
	enum { ENTRIES = 100000, KEY = 23, VALUE = 100 };
	const struct memtable_ops *ops = ops_of(component_find(COMPONENT_MEMTABLE, "btree"));
	struct arena arena;
	char key[KEY + 1];
	uint8_t value[VALUE] = { 0 };
	arena_init(&arena, CHUNK_BYTES);
	struct memtable *memtable = ops->create(&arena, NULL);
	assert_non_null(memtable);
	for (uint64_t i = 0; i < ENTRIES; i++) {
		(void)snprintf(key, sizeof(key), "%s%019llu", prefixes[i % streams],
			       (unsigned long long)(i / streams));
		struct entry entry = { .key = slice_make(key, KEY),
				       .value = slice_make(value, VALUE),
				       .sequence = i + 1,
				       .kind = ENTRY_PUT };
		assert_ok(ops->insert(memtable, &entry, i));
	}
	assert_int_equal(ops->count(memtable), ENTRIES);
	/* 22 bytes of header and up to 7 of padding for each record, 17 for its slot and the levels above. */
	assert_true(arena.reserved_bytes < ENTRIES * (KEY + VALUE + 22 + 7 + 17) * 102ull / 100);
	arena_free(&arena);
}

static void test_btree_ascending_is_dense(void **state)
{
	(void)state;
	const char *const prefixes[] = { "user", "cart", "item", "zone" };
	check_dense(prefixes, 1);
	check_dense(prefixes, 4);
}

static void store_number(uint8_t *to, uint64_t number)
{
	memcpy(to, &number, sizeof(number));
}

/*
 * Keys that have ever less in common, in a list that is already large: what the skip list takes its heads
 * from moves left, at first one step at a time, at last to the start.
 */
static void run_narrowing(const struct memtable_ops *ops, uint64_t per_step)
{
	enum { COMMON = 40 };
	struct arena arena;
	uint8_t key[COMMON + 8];
	uint64_t sequence = 0;
	arena_init(&arena, CHUNK_BYTES);
	struct memtable *memtable = ops->create(&arena, NULL);
	assert_non_null(memtable);
	for (size_t step = 0; step <= COMMON; step++) {
		for (uint64_t i = 0; i < per_step; i++) {
			memset(key, 'm', sizeof(key));
			if (step > 0)
				key[COMMON - step] = step % 2 == 0 ? 'a' : 'z';
			store_number(key + COMMON, random_at(step, i));
			struct entry entry = { .key = slice_make(key, sizeof(key)),
					       .value = slice_make(&i, sizeof(i)),
					       .sequence = ++sequence,
					       .kind = ENTRY_PUT };
			assert_ok(ops->insert(memtable, &entry, 0));
		}
	}
	for (size_t step = 0; step <= COMMON; step++) {
		for (uint64_t i = 0; i < per_step; i++) {
			struct entry got;
			memset(key, 'm', sizeof(key));
			if (step > 0)
				key[COMMON - step] = step % 2 == 0 ? 'a' : 'z';
			store_number(key + COMMON, random_at(step, i));
			assert_true(ops->get(memtable, slice_make(key, sizeof(key)), SEQUENCE_MAX, &got));
			assert_memory_equal(got.value.data, &i, sizeof(i));
		}
	}
	arena_free(&arena);
}

static void test_narrowing(void **state)
{
	(void)state;
	for (const struct component *const *row = component_list(COMPONENT_MEMTABLE); *row != NULL; row++) {
		if ((*row)->capabilities & MEMTABLE_FORGETS)
			continue;
		run_narrowing(ops_of(*row), 1);
		run_narrowing(ops_of(*row), 700);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),	      cmocka_unit_test(test_model),
		cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_hot_key),
		cmocka_unit_test(test_narrowing),     cmocka_unit_test(test_btree_ascending_is_dense),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
