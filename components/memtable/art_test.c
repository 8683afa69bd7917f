/*
 * art_test.c: what the conformance suite does not see of the adaptive radix tree: its nodes, its memory, and
 * keys that make paths and prefixes long. Takes less than a second.
 */
#include <string.h>

#include "base/arena.h"
#include "base/memory.h"
#include "components/memtable/art_nodes_internal.h"
#include "components/memtable/memtable.h"
#include "test.h"

extern const struct memtable_ops memtable_art;

enum {
	CHUNK_BYTES = 1 << 16,
	SYMBOLS = 257,
	KEY_MAX = 8000,
	BATCH = 100,
};

/* --- nodes --- */

struct node_fixture {
	struct arena arena;
	struct node_memory memory;
	uint64_t children[SYMBOLS]; /* of symbol i - 1; 0: none */
	int count;
};

static void node_fixture_open(struct node_fixture *f)
{
	memset(f, 0, sizeof(*f));
	arena_init(&f->arena, CHUNK_BYTES);
	f->memory.arena = &f->arena;
}

static uint8_t *take(struct node_fixture *f, enum node_form form)
{
	uint8_t *memory = node_memory_take(&f->memory, form);
	assert_non_null(memory);
	assert_int_equal((uintptr_t)memory % node_layouts[form].alignment, 0);
	return memory;
}

/* Both forms of the search see the same, whatever lies in and before the node. */
static void check_masks(const struct node *node)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		assert_int_equal(sorted_equal(node, (uint8_t)byte),
				 sorted_equal_portable(node, (uint8_t)byte));
		assert_int_equal(sorted_at_most(node, (uint8_t)byte),
				 sorted_at_most_portable(node, (uint8_t)byte));
	}
}

static void check_node(const struct node_fixture *f, uint64_t reference)
{
	int before = -2; /* the greatest symbol with a child so far */
	int position = POSITION_NONE;
	for (int symbol = SYMBOL_END; symbol < 256; symbol++) {
		uint64_t child = f->children[symbol + 1];
		assert_int_equal(node_child(reference, symbol), child);
		if (child == 0) {
			assert_int_equal(node_find(reference, symbol), POSITION_NONE);
			int gap = node_gap(reference, symbol, false);
			assert_int_equal(node_step(reference, gap, false), position);
			continue;
		}
		int found = node_find(reference, symbol);
		assert_int_not_equal(found, POSITION_NONE);
		assert_int_equal(reference_load(node_slot(reference, found)), child);
		assert_int_equal(node_symbol(reference, found), symbol);
		assert_int_equal(node_step(reference, position, true), found);
		assert_int_equal(node_step(reference, found, false), position);
		/* From every symbol in between the gap leads to both neighbours. */
		for (int absent = before + 1; absent < symbol; absent++) {
			if (absent < SYMBOL_END)
				continue;
			assert_int_equal(node_step(reference, node_gap(reference, absent, true), true),
					 found);
		}
		before = symbol;
		position = found;
	}
	assert_int_equal(node_step(reference, position, true), POSITION_NONE);
	assert_int_equal(node_step(reference, node_positions(reference), false), position);
}

static void run_node(struct random *random, struct node_fixture *f)
{
	int order[SYMBOLS];
	for (int i = 0; i < SYMBOLS; i++) {
		int other = (int)random_below(random, (uint64_t)i + 1);
		order[i] = order[other];
		order[other] = i - 1;
	}
	memset(f->children, 0, sizeof(f->children));
	uint64_t reference = node_create(NODE3, take(f, NODE3));
	struct node *node = reference_node(reference);
	node->prefix_size = 300;
	memcpy(node->prefix, "abcd", PREFIX_INLINE);
	for (int i = 0; i < SYMBOLS; i++) {
		if (node_is_full(reference, order[i])) {
			uint64_t larger = node_grow(reference, take(f, reference_form(reference) + 1));
			assert_int_equal(reference_form(larger), reference_form(reference) + 1);
			node_memory_put(&f->memory, reference_form(reference), reference_memory(reference));
			reference = larger;
		}
		uint64_t child = random_next(random) >> (64 - REFERENCE_BITS) | 1;
		node_add(reference, order[i], child);
		f->children[order[i] + 1] = child;
		node = reference_node(reference);
		assert_int_equal(node->prefix_size, 300);
		assert_memory_equal(node->prefix, "abcd", PREFIX_INLINE);
		if (reference_is_sorted(reference))
			check_masks(node);
		if (i < 20 || i % 16 == 0 || (i > NODE48_MAX - 2 && i < NODE48_MAX + 3))
			check_node(f, reference);
	}
	check_node(f, reference);
	assert_int_equal(reference_form(reference), NODE256);
}

static void test_nodes(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(1));
	struct node_fixture f;
	node_fixture_open(&f);
	for (int i = 0; i < 20; i++)
		run_node(&random, &f);
	arena_free(&f.arena);
}

/* What was given back is taken again, in halves where nothing smaller is there, before the arena is asked. */
static void test_node_memory(void **state)
{
	(void)state;
	enum { COUNT = 1000 };
	static uint8_t *nodes[4 * COUNT];
	struct node_fixture f;
	node_fixture_open(&f);
	for (int i = 0; i < COUNT; i++)
		nodes[i] = take(&f, NODE16);
	for (int i = 0; i < COUNT; i++)
		node_memory_put(&f.memory, NODE16, nodes[i]);
	size_t reserved = f.arena.reserved_bytes;
	size_t taken = f.memory.taken;
	for (int i = 0; i < 2 * COUNT; i++)
		nodes[i] = take(&f, NODE8);
	for (int i = 0; i < 2 * COUNT; i++)
		node_memory_put(&f.memory, NODE8, nodes[i]);
	for (int i = 0; i < 4 * COUNT; i++) {
		nodes[i] = take(&f, NODE3);
		memset(nodes[i], i, node_layouts[NODE3].bytes);
	}
	assert_int_equal(f.memory.taken, taken);
	assert_int_equal(f.arena.reserved_bytes, reserved);
	/* No two of them overlap. */
	for (int i = 0; i < 4 * COUNT; i++) {
		for (int at = 0; at < node_layouts[NODE3].bytes; at++)
			assert_int_equal(nodes[i][at], (uint8_t)i);
	}
	arena_free(&f.arena);
}

/* --- trees against a sorted array --- */

struct tree_fixture {
	struct random random;
	struct arena arena;
	struct memtable *memtable;
	uint64_t sequence;
	struct slice *keys; /* ascending; owned */
	size_t count;
	size_t (*make)(struct tree_fixture *f, uint8_t *key);
};

struct cursor {
	_Alignas(64) uint8_t memory[MEMTABLE_ITERATOR_BYTES];
};

static struct memtable_iterator *iterator_open(struct tree_fixture *f, struct cursor *cursor)
{
	struct memtable_iterator *iterator = (struct memtable_iterator *)(void *)cursor->memory;
	memset(cursor, 0xcc, sizeof(*cursor));
	f->memtable->ops->iterator_init(f->memtable, iterator);
	return iterator;
}

/* Keys before `key` in the model. */
static size_t model_rank(const struct tree_fixture *f, struct slice key)
{
	size_t low = 0;
	size_t high = f->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (slice_compare(f->keys[middle], key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool model_has(const struct tree_fixture *f, size_t rank, struct slice key)
{
	return rank < f->count && slice_equal(f->keys[rank], key);
}

static void model_insert(struct tree_fixture *f, struct slice key)
{
	size_t rank = model_rank(f, key);
	if (model_has(f, rank, key))
		return;
	uint8_t *copy = malloc(key.size + 1);
	assert_non_null(copy);
	if (key.size > 0)
		memcpy(copy, key.data, key.size);
	memmove(&f->keys[rank + 1], &f->keys[rank], (f->count - rank) * sizeof(*f->keys));
	f->keys[rank] = slice_make(copy, key.size);
	f->count++;
}

/* Nobody needs older versions, so there is one entry for each key. */
static struct status tree_try_insert(struct tree_fixture *f, struct slice key)
{
	uint64_t sequence = ++f->sequence;
	struct entry entry = { .key = key,
			       .value = slice_make(&sequence, sizeof(sequence)),
			       .sequence = sequence,
			       .kind = ENTRY_PUT };
	return f->memtable->ops->insert(f->memtable, &entry, sequence);
}

static void tree_insert(struct tree_fixture *f, struct slice key)
{
	assert_ok(tree_try_insert(f, key));
	model_insert(f, key);
}

/* The iterator stands at the key of that rank, which may be one off either end. */
static void check_stands(const struct tree_fixture *f, const struct memtable_iterator *iterator, size_t rank)
{
	assert_int_equal(iterator->valid, rank < f->count);
	if (iterator->valid)
		assert_true(slice_equal(iterator->entry.key, f->keys[rank]));
}

static void check_seeks(struct tree_fixture *f, struct slice key)
{
	const struct memtable_ops *ops = f->memtable->ops;
	struct cursor cursor;
	struct memtable_iterator *iterator = iterator_open(f, &cursor);
	size_t rank = model_rank(f, key);
	bool has = model_has(f, rank, key);
	size_t steps = random_below(&f->random, 30);
	struct entry entry;
	assert_int_equal(ops->get(f->memtable, key, SEQUENCE_MAX, &entry), has);
	ops->seek(iterator, key, SEQUENCE_MAX);
	check_stands(f, iterator, rank);
	for (size_t i = 1; i <= steps && iterator->valid; i++) {
		ops->next(iterator);
		check_stands(f, iterator, rank + i);
	}
	/* Before the first: SIZE_MAX. */
	rank = has ? rank : rank - 1;
	ops->seek_back(iterator, key, 0);
	check_stands(f, iterator, rank);
	for (size_t i = 1; i <= steps && iterator->valid; i++) {
		ops->prev(iterator);
		check_stands(f, iterator, rank - i);
	}
	/* To and fro. */
	ops->seek(iterator, key, SEQUENCE_MAX);
	for (rank = model_rank(f, key); iterator->valid && steps > 0; steps--) {
		bool up = random_below(&f->random, 2) == 0;
		rank = up ? rank + 1 : rank - 1;
		(up ? ops->next : ops->prev)(iterator);
		check_stands(f, iterator, rank);
	}
}

static void check_scans(struct tree_fixture *f)
{
	const struct memtable_ops *ops = f->memtable->ops;
	struct cursor cursor;
	struct memtable_iterator *iterator = iterator_open(f, &cursor);
	size_t rank = 0;
	ops->seek(iterator, slice_make(NULL, 0), SEQUENCE_MAX);
	for (; iterator->valid; ops->next(iterator))
		check_stands(f, iterator, rank++);
	assert_int_equal(rank, f->count);
	ops->seek_last(iterator);
	for (; iterator->valid; ops->prev(iterator))
		check_stands(f, iterator, --rank);
	assert_int_equal(rank, 0);
	assert_int_equal(ops->count(f->memtable), f->count);
}

static void check_many(struct tree_fixture *f)
{
	static uint8_t keys[BATCH][KEY_MAX];
	struct memtable_probe probes[BATCH];
	size_t count = random_below(&f->random, BATCH + 1);
	for (size_t i = 0; i < count; i++) {
		size_t size = f->make(f, keys[i]);
		probes[i] = (struct memtable_probe) { .key = slice_make(keys[i], size),
						      .sequence = SEQUENCE_MAX,
						      .found = i % 2 == 0 };
	}
	memtable_get_many(f->memtable, probes, count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(probes[i].found, model_has(f, model_rank(f, probes[i].key), probes[i].key));
		if (probes[i].found)
			assert_true(slice_equal(probes[i].entry.key, probes[i].key));
	}
}

static void fixture_open(struct tree_fixture *f, uint64_t seed, size_t keys_max)
{
	memset(f, 0, sizeof(*f));
	f->random = random_stream(seed);
	f->keys = calloc(keys_max, sizeof(*f->keys));
	assert_non_null(f->keys);
	arena_init(&f->arena, CHUNK_BYTES);
	f->memtable = memtable_art.create(&f->arena, NULL);
	assert_non_null(f->memtable);
}

static void fixture_close(struct tree_fixture *f)
{
	arena_free(&f->arena);
	for (size_t i = 0; i < f->count; i++)
		free((void *)f->keys[i].data);
	free(f->keys);
}

/* A few parts of all lengths around what a node holds of its prefix: prefixes are split everywhere, and where
 * a key differs is often known only from a record. */
static size_t make_parts(struct tree_fixture *f, uint8_t *key)
{
	size_t size = 0;
	for (uint64_t parts = random_below(&f->random, 6); parts > 0; parts--) {
		size_t bytes = random_below(&f->random, 4) == 0 ? random_below(&f->random, 40)
								: random_below(&f->random, 8);
		memset(key + size, 'a' + (int)random_below(&f->random, 2), bytes);
		size += bytes;
		if (random_below(&f->random, 20) == 0)
			key[size++] = (uint8_t)random_next(&f->random);
	}
	return size;
}

/* Prefixes of one another, now and then with another last byte: paths as deep as keys are long. */
static size_t make_nested(struct tree_fixture *f, uint8_t *key)
{
	size_t size = random_below(&f->random, 2000);
	memset(key, 'n', size);
	if (size > 0 && random_below(&f->random, 3) == 0)
		key[size - 1] = (uint8_t)('m' + random_below(&f->random, 3));
	return size;
}

/* Hundreds of bytes that most keys have in common, in groups that have more in common. */
static size_t make_long(struct tree_fixture *f, uint8_t *key)
{
	size_t size = 0;
	for (int part = 0; part < 3; part++) {
		memset(key + size, 'p', 300);
		size += random_below(&f->random, 200) == 0 ? random_below(&f->random, 300) : 300;
		key[size++] = (uint8_t)random_below(&f->random, 12);
	}
	return size;
}

/* All nodes are large, and some have a key that ends at them. */
static size_t make_wide(struct tree_fixture *f, uint8_t *key)
{
	size_t size = random_below(&f->random, 3);
	for (size_t i = 0; i < size; i++)
		key[i] = (uint8_t)random_next(&f->random);
	return size;
}

static void run_tree(size_t (*make)(struct tree_fixture *, uint8_t *), uint64_t seed, size_t inserts)
{
	static uint8_t key[KEY_MAX];
	struct tree_fixture f;
	fixture_open(&f, seed, inserts);
	f.make = make;
	check_many(&f);
	for (size_t i = 1; i <= inserts; i++) {
		tree_insert(&f, slice_make(key, make(&f, key)));
		if (i < 100 || i % 8 == 0)
			check_seeks(&f, slice_make(key, make(&f, key)));
		if (i < 50 || i % 500 == 0) {
			check_scans(&f);
			check_many(&f);
		}
	}
	check_scans(&f);
	fixture_close(&f);
}

static void test_trees(void **state)
{
	(void)state;
	uint64_t seed = test_seed(2);
	for (uint64_t i = 0; i < 5; i++) {
		print_message("seed %llu\n", (unsigned long long)(seed + i));
		run_tree(make_parts, seed + i, 3000);
		run_tree(make_nested, seed + i, 1000);
		run_tree(make_long, seed + i, 2000);
		run_tree(make_wide, seed + i, 3000);
	}
}

/* Iterators that are under way while keys come in miss and repeat none of those that were there. */
static void run_changing(size_t (*make)(struct tree_fixture *, uint8_t *), uint64_t seed, bool up)
{
	enum { FIRST = 1500, LATER = 1500 };
	static uint8_t key[KEY_MAX];
	struct tree_fixture f;
	struct cursor cursor;
	fixture_open(&f, seed, FIRST + LATER);
	f.make = make;
	const struct memtable_ops *ops = f.memtable->ops;
	for (size_t i = 0; i < FIRST; i++)
		tree_insert(&f, slice_make(key, make(&f, key)));
	size_t there = f.count;
	struct slice *keys = malloc(there * sizeof(*keys));
	assert_non_null(keys);
	memcpy(keys, f.keys, there * sizeof(*keys));
	struct memtable_iterator *iterator = iterator_open(&f, &cursor);
	struct slice before = slice_make(NULL, 0);
	size_t met = 0;
	size_t visited = 0;
	size_t later = 0;
	if (up)
		ops->seek(iterator, slice_make(NULL, 0), SEQUENCE_MAX);
	else
		ops->seek_last(iterator);
	for (; iterator->valid; (up ? ops->next : ops->prev)(iterator)) {
		struct slice at = iterator->entry.key;
		if (visited++ > 0)
			assert_int_equal(slice_compare(before, at) < 0, up);
		before = at;
		met += met < there && slice_equal(at, keys[up ? met : there - 1 - met]);
		for (; later < LATER && random_below(&f.random, 3) == 0; later++)
			tree_insert(&f, slice_make(key, make(&f, key)));
	}
	assert_int_equal(met, there);
	free(keys);
	fixture_close(&f);
}

static void test_changing(void **state)
{
	(void)state;
	uint64_t seed = test_seed(3);
	for (uint64_t i = 0; i < 3; i++) {
		for (int up = 0; up < 2; up++) {
			run_changing(make_parts, seed + i, up != 0);
			run_changing(make_nested, seed + i, up != 0);
			run_changing(make_wide, seed + i, up != 0);
		}
	}
}

/* The longest keys there are, and paths much longer than what an iterator remembers of them. */
static void test_deepest(void **state)
{
	(void)state;
	enum { STEP = 97 };
	struct tree_fixture f;
	uint8_t *key = malloc(KEY_BYTES_MAX);
	assert_non_null(key);
	memset(key, 0, KEY_BYTES_MAX);
	fixture_open(&f, 1, KEY_BYTES_MAX / STEP + 2);
	for (size_t size = KEY_BYTES_MAX; size < KEY_BYTES_MAX + 1u; size -= STEP)
		tree_insert(&f, slice_make(key, size));
	check_scans(&f);
	for (size_t rank = 0; rank < f.count; rank += 50)
		check_seeks(&f, f.keys[rank]);
	key[KEY_BYTES_MAX - 1] = 1;
	check_seeks(&f, slice_make(key, KEY_BYTES_MAX));
	key[40000] = 1;
	check_seeks(&f, slice_make(key, KEY_BYTES_MAX));
	fixture_close(&f);
	free(key);
}

/* --- memory --- */

/* Bytes that an entry takes beside its key and its value, for keys as the workloads have them. */
static void test_bytes_per_entry(void **state)
{
	(void)state;
	enum { ENTRIES = 200000, KEY = 24, VALUE = 100, BESIDE = 30 };
	static const uint8_t value[VALUE];
	struct arena arena;
	char key[KEY + 1];
	arena_init(&arena, 1 << 20);
	struct memtable *memtable = memtable_art.create(&arena, NULL);
	assert_non_null(memtable);
	for (uint64_t i = 0; i < ENTRIES; i++) {
		(void)snprintf(key, sizeof(key), "user%020llu", (unsigned long long)random_at(5, i));
		struct entry entry = { .key = slice_make(key, KEY),
				       .value = slice_make(value, VALUE),
				       .sequence = i + 1,
				       .kind = ENTRY_PUT };
		assert_ok(memtable->ops->insert(memtable, &entry, i));
	}
	size_t used = arena_used_bytes(&arena);
	print_message("%.1f bytes\n", (double)used / ENTRIES - KEY - VALUE);
	assert_true(used < (size_t)ENTRIES * (KEY + VALUE + BESIDE));
	arena_free(&arena);
}

/* An insert that fails changes nothing, and succeeds when there is memory again. */
static void test_no_memory(void **state)
{
	(void)state;
	enum { INSERTS = 3000 };
	static uint8_t key[KEY_MAX];
	struct tree_fixture f;
	uint64_t failures = 0;
	fixture_open(&f, test_seed(4), INSERTS);
	arena_free(&f.arena);
	arena_init(&f.arena, 4096);
	f.memtable = memtable_art.create(&f.arena, NULL);
	assert_non_null(f.memtable);
	for (size_t i = 0; i < INSERTS; i++) {
		struct slice new = slice_make(key, (i % 2 == 0 ? make_parts : make_wide)(&f, key));
		uint64_t count = f.memtable->ops->count(f.memtable);
		memory_fail_at(1 + random_below(&f.random, 2), 1);
		struct status status = tree_try_insert(&f, new);
		memory_fail_at(0, 0);
		if (!status_is_ok(status)) {
			failures++;
			assert_status(status, STATUS_NO_MEMORY);
			assert_int_equal(f.memtable->ops->count(f.memtable), count);
			check_seeks(&f, new);
			assert_ok(tree_try_insert(&f, new));
		}
		model_insert(&f, new);
	}
	check_scans(&f);
	assert_true(failures > 10);
	fixture_close(&f);
}

/* What an insert took for a node before it failed is there for the next one. */
static void test_no_memory_kept(void **state)
{
	(void)state;
	enum { VALUE = 100000 };
	struct tree_fixture f;
	uint8_t *value = calloc(1, VALUE);
	assert_non_null(value);
	fixture_open(&f, 1, 2);
	tree_insert(&f, slice_from_string("abc"));
	struct entry entry = { .key = slice_from_string("abd"),
			       .value = slice_make(value, VALUE),
			       .sequence = 2,
			       .kind = ENTRY_PUT };
	size_t used = 0;
	for (int i = 0; i < 1000; i++) {
		memory_fail_at(1, 1);
		assert_status(f.memtable->ops->insert(f.memtable, &entry, 0), STATUS_NO_MEMORY);
		memory_fail_at(0, 0);
		if (i > 0)
			assert_int_equal(arena_used_bytes(&f.arena), used);
		used = arena_used_bytes(&f.arena);
	}
	check_scans(&f);
	free(value);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nodes),	  cmocka_unit_test(test_node_memory),
		cmocka_unit_test(test_trees),	  cmocka_unit_test(test_changing),
		cmocka_unit_test(test_deepest),	  cmocka_unit_test(test_bytes_per_entry),
		cmocka_unit_test(test_no_memory), cmocka_unit_test(test_no_memory_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
