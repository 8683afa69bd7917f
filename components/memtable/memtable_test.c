/*
 * The conformance suite of memtables, over every row of the registry: random operations against a sorted
 * array that keeps everything, for many shapes of keys, with readers in the past, iterators that walk both
 * ways through inserts, and memory that runs out. Variants that forget are held to what is left. Takes some
 * seconds.
 */
#include <string.h>

#include "base/arena.h"
#include "base/memory.h"
#include "base/sanitizer.h"
#include "components/component_test.h"
#include "components/memtable/memtable.h"

enum {
	OPERATIONS = SANITIZED ? 5000 : 20000,
	STRETCH_MAX = 150, /* operations of one mix */
	CURSORS = 8,
	BATCH_MAX = 24,
	KEPT = 256,
	CHUNK_BYTES = 1 << 16,
	POOL_CHUNKS = 16,
	LONG_PREFIX = 300,
	NESTED_MAX = 200,
	GUARD = 64,
};

enum key_shape {
	KEYS_USER,	/* "user" and 19 digits, as the workloads have them */
	KEYS_TINY,	/* 0 to 3 bytes of 0, 1 and 255: prefixes of one another, the empty key */
	KEYS_LONG,	/* the same hundreds of bytes first */
	KEYS_ASCENDING, /* each larger than all before */
	KEYS_DESCENDING,
	KEYS_STREAMS, /* several ascending runs side by side */
	KEYS_BINARY,  /* any bytes, 0 to 40 of them */
	KEYS_FAN,     /* 1 to 3 bytes, of which the later ones take all values */
	KEYS_NESTED,  /* long chains in which each is the beginning of the next */
	KEYS_LARGE,   /* now and then as large as keys may be */
	KEY_SHAPES
};

static const char *const shape_names[KEY_SHAPES] = {
	"user", "tiny", "long", "ascending", "descending", "streams", "binary", "fan", "nested", "large",
};

/* What a stretch of operations is made of, in percent; the rest are steps of iterators. */
static const struct mix {
	unsigned inserts, gets, batches, seeks;
} mixes[] = {
	{ 45, 15, 2, 5 }, { 45, 15, 2, 5 }, { 96, 2, 0, 1 },
	{ 5, 5, 2, 8 },	  { 0, 0, 0, 10 },  { 10, 60, 8, 0 },
};

/* One version that the memtable was given, with copies of its key and value behind it. */
struct version {
	struct entry entry;
	bool droppable; /* the memtable may have taken it out of its order */
	uint8_t bytes[];
};

struct cursor {
	_Alignas(64) uint8_t memory[MEMTABLE_ITERATOR_BYTES];
	uint8_t guard[GUARD]; /* of its memory */
	uint64_t since;	      /* the newest sequence when it was positioned */
	bool positioned;
	bool back; /* the way that it goes, mostly */
};

/* What get or an iterator handed out, to be there as long as the memtable. */
struct kept {
	struct entry entry;
	const struct version *version;
};

struct fixture {
	const struct memtable_ops *ops;
	struct arena_pool pool;
	struct arena arena;
	size_t used_bytes; /* of the arena, after the last insert */
	struct memtable *memtable;
	struct version **model; /* in entry order */
	size_t count;
	uint64_t sequence;
	uint64_t oldest_needed;
	uint64_t counter;
	enum key_shape shape;
	struct random random;
	struct cursor cursors[CURSORS];
	struct kept kept[KEPT];
	uint8_t *key;
	uint8_t value[512];
};

static const struct memtable_ops *ops_of(const struct component *component)
{
	return (const struct memtable_ops *)(const void *)component;
}

static bool forgets(const struct component *component)
{
	return (component->capabilities & MEMTABLE_FORGETS) != 0;
}

static struct memtable_iterator *iterator_of(struct cursor *cursor)
{
	return (struct memtable_iterator *)(void *)cursor->memory;
}

/* With the variant's defaults. */
static struct memtable *memtable_make(const struct memtable_ops *ops, struct arena *arena)
{
	void *options = component_test_options(&ops->component);
	struct memtable *memtable = ops->create(arena, ops->component.options_size > 0 ? options : NULL);
	free(options);
	assert_non_null(memtable);
	return memtable;
}

/* --- the fixture --- */

/* Chunks that come from a pool hold what was there before. */
static void pool_soil(struct arena_pool *pool)
{
	struct arena arena;
	arena_init_pooled(&arena, pool);
	for (size_t i = 0; i < POOL_CHUNKS; i++) {
		void *bytes = arena_allocate(&arena, CHUNK_BYTES / 2 + 4096, 1);
		assert_non_null(bytes);
		memset(bytes, 0xe5, CHUNK_BYTES / 2 + 4096);
	}
	arena_free(&arena);
}

/* `chunk_bytes` 0: an arena of a pool. `options` NULL: the defaults. */
static struct fixture *fixture_open(const struct memtable_ops *ops, size_t chunk_bytes, size_t model_max,
				    enum key_shape shape, uint64_t seed, const void *options)
{
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) / 64 * 64);
	assert_non_null(f);
	memset(f, 0, sizeof(*f));
	f->ops = ops;
	f->shape = shape;
	f->random = random_stream(seed);
	f->key = malloc(KEY_BYTES_MAX);
	f->model = calloc(model_max, sizeof(*f->model));
	assert_non_null(f->key);
	assert_non_null(f->model);
	arena_pool_init(&f->pool, CHUNK_BYTES, POOL_CHUNKS * CHUNK_BYTES);
	if (chunk_bytes > 0) {
		arena_init(&f->arena, chunk_bytes);
	} else {
		pool_soil(&f->pool);
		arena_init_pooled(&f->arena, &f->pool);
	}
	void *borrowed = component_test_options(&ops->component);
	if (options != NULL)
		memcpy(borrowed, options, ops->component.options_size);
	f->memtable = ops->create(&f->arena, ops->component.options_size > 0 ? borrowed : NULL);
	assert_non_null(f->memtable);
	assert_ptr_equal(f->memtable->ops, ops);
	assert_ptr_equal(f->memtable->arena, &f->arena);
	/* Options are borrowed for the call only. */
	memset(borrowed, 0xee, ops->component.options_size);
	free(borrowed);
	f->used_bytes = arena_used_bytes(&f->arena);
	return f;
}

static void fixture_close(struct fixture *f)
{
	arena_free(&f->arena);
	arena_pool_free(&f->pool);
	for (size_t i = 0; i < f->count; i++)
		free(f->model[i]);
	free(f->model);
	free(f->key);
	free(f);
}

static size_t text_key(struct fixture *f, const char *prefix, uint64_t number)
{
	return (size_t)snprintf((char *)f->key, 64, "%s%019llu", prefix,
				(unsigned long long)(number % 10000000000000000000ull));
}

/* What many keys begin with: no run of bytes of it is like another. */
static void fill_common(uint8_t *key, size_t size)
{
	for (size_t i = 0; i < size; i++)
		key[i] = (uint8_t)('b' + random_at(3, i) % 24);
}

static size_t long_key(struct fixture *f)
{
	size_t shared = LONG_PREFIX - (random_below(&f->random, 50) == 0 ? random_below(&f->random, 300) : 0);
	fill_common(f->key, shared);
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

static size_t tiny_key(struct fixture *f)
{
	size_t size = random_below(&f->random, 4);
	for (size_t i = 0; i < size; i++)
		f->key[i] = (const uint8_t[]) { 0, 1, 255 }[random_below(&f->random, 3)];
	return size;
}

static size_t fan_key(struct fixture *f)
{
	size_t size = any_bytes(f, 1 + random_below(&f->random, 3));
	f->key[0] = (uint8_t)("\x00\x61\x62\xff"[f->key[0] % 4]);
	return size;
}

static size_t nested_key(struct fixture *f)
{
	size_t size = random_below(&f->random, NESTED_MAX);
	fill_common(f->key, size);
	if (size > 0 && random_below(&f->random, 3) == 0)
		f->key[random_below(&f->random, size)] = (uint8_t)("\x00\x61z\xff"[size % 4]);
	return size;
}

static size_t large_key(struct fixture *f, uint64_t number)
{
	size_t size = text_key(f, "", number % 500);
	if (random_below(&f->random, 100) != 0)
		return size;
	memset(f->key + size, (int)(number % 3), KEY_BYTES_MAX - size);
	return KEY_BYTES_MAX - number % 2;
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
		size = tiny_key(f);
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
		size = text_key(f, (const char *[]) { "a:row:", "b:", "", "zone of one:" }[pick % 4],
				pick / 4);
		break;
	case KEYS_BINARY:
		size = any_bytes(f, random_below(&f->random, 41));
		break;
	case KEYS_FAN:
		size = fan_key(f);
		break;
	case KEYS_NESTED:
		size = nested_key(f);
		break;
	case KEYS_LARGE:
		size = large_key(f, number);
		break;
	case KEY_SHAPES:
		break;
	}
	return slice_make(f->key, size);
}

static uint64_t random_sequence(struct fixture *f)
{
	return random_below(&f->random, 2) == 0 ? SEQUENCE_MAX : random_below(&f->random, f->sequence + 1);
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

static bool model_is(const struct fixture *f, size_t at, struct slice key)
{
	return at < f->count && slice_equal(f->model[at]->entry.key, key);
}

static void model_insert(struct fixture *f, const struct entry *entry)
{
	struct version *version = malloc(sizeof(*version) + entry->key.size + entry->value.size);
	assert_non_null(version);
	version->entry = *entry;
	version->droppable = false;
	version->entry.key.data = version->bytes;
	version->entry.value.data = version->bytes + entry->key.size;
	if (entry->key.size > 0)
		memcpy(version->bytes, entry->key.data, entry->key.size);
	if (entry->value.size > 0)
		memcpy(version->bytes + entry->key.size, entry->value.data, entry->value.size);
	size_t at = model_find(f, entry->key, entry->sequence);
	memmove(&f->model[at + 1], &f->model[at], (f->count - at) * sizeof(f->model[0]));
	f->model[at] = version;
	f->count++;
	/* Behind the newest version that the oldest reader sees, nobody needs one. */
	bool seen = false;
	for (size_t i = at; model_is(f, i, entry->key); i++) {
		/* Nor did anybody need those behind one that was there before. */
		if (f->model[i]->droppable)
			break;
		f->model[i]->droppable = seen;
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

/* --- what was handed out --- */

static void keep(struct fixture *f, const struct entry *entry, const struct version *version)
{
	f->kept[random_below(&f->random, KEPT)] = (struct kept) { *entry, version };
}

static void check_kept(const struct fixture *f)
{
	for (size_t i = 0; i < KEPT; i++) {
		if (f->kept[i].version != NULL)
			assert_same(&f->kept[i].entry, &f->kept[i].version->entry);
	}
}

/* --- inserts --- */

static struct entry random_entry(struct fixture *f, struct slice key)
{
	struct entry entry = { .key = key,
			       .sequence = f->sequence + 1 + random_below(&f->random, 3),
			       .kind = random_below(&f->random, 5) == 0 ? ENTRY_DELETE : ENTRY_PUT };
	f->sequence = entry.sequence;
	if (entry.kind == ENTRY_PUT) {
		size_t size = random_below(&f->random, random_below(&f->random, 20) == 0 ? 400 : 40);
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
	/* What it took is in the arena: the key if it is new, and the value. */
	bool is_new = !model_is(f, model_find(f, entry.key, SEQUENCE_MAX), entry.key);
	size_t used = arena_used_bytes(&f->arena);
	assert_true(used >= f->used_bytes + entry.value.size + (is_new ? entry.key.size : 0));
	f->used_bytes = used;
	model_insert(f, &entry);
	/* The memtable has its own copies. */
	memset(f->value, 0xdd, sizeof(f->value));
}

/* --- lookups --- */

/* What a lookup answered against the model. */
static void check_found(struct fixture *f, struct slice key, uint64_t sequence, bool found,
			const struct entry *got)
{
	size_t at = model_find(f, key, sequence);
	if (model_is(f, at, key) && !f->model[at]->droppable) {
		assert_true(found);
		assert_same(got, &f->model[at]->entry);
		keep(f, got, f->model[at]);
	} else if (found) {
		/* A reader that must not be: any older version or none may come, but none that is newer. */
		assert_true(got->sequence <= sequence);
		at = model_find(f, key, got->sequence);
		assert_true(model_is(f, at, key));
		assert_same(got, &f->model[at]->entry);
	}
}

static void check_get(struct fixture *f, struct slice key, uint64_t sequence)
{
	struct entry got;
	bool found = f->ops->get(f->memtable, key, sequence, &got);
	check_found(f, key, sequence, found, &got);
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

static int probe_order(const void *a, const void *b)
{
	const struct memtable_probe *left = a;
	const struct memtable_probe *right = b;
	return entry_compare(left->key, left->sequence, right->key, right->sequence);
}

/* Keys that are there, some after others of the model's order, and keys that may not be; some twice. */
static size_t random_probes(struct fixture *f, struct memtable_probe *probes, uint8_t **copies)
{
	size_t count = random_below(&f->random, BATCH_MAX + 1);
	size_t near = f->count > 0 ? random_below(&f->random, f->count) : 0;
	for (size_t i = 0; i < count; i++) {
		copies[i] = NULL;
		uint64_t dice = random_below(&f->random, 4);
		struct slice key;
		if (f->count > 0 && dice < 3) {
			size_t at = dice == 0 ? random_below(&f->random, f->count)
					      : (near + random_below(&f->random, 50)) % f->count;
			key = f->model[at]->entry.key;
		} else {
			key = random_key(f);
			copies[i] = malloc(key.size + 1);
			assert_non_null(copies[i]);
			memcpy(copies[i], key.data, key.size);
			key.data = copies[i];
		}
		probes[i] = (struct memtable_probe) { .key = key, .sequence = random_sequence(f) };
	}
	if (count > 0 && random_below(&f->random, 2) == 0)
		qsort(probes, count, sizeof(*probes), probe_order);
	return count;
}

/* A batch answers what single lookups answer. */
static void step_batch(struct fixture *f)
{
	struct memtable_probe probes[BATCH_MAX];
	struct memtable_probe before[BATCH_MAX];
	uint8_t *copies[BATCH_MAX];
	size_t count = random_probes(f, probes, copies);
	memcpy(before, probes, count * sizeof(*probes));
	memtable_get_many(f->memtable, probes, count);
	for (size_t i = 0; i < count; i++) {
		struct entry got;
		assert_ptr_equal(probes[i].key.data, before[i].key.data);
		assert_int_equal(probes[i].key.size, before[i].key.size);
		assert_int_equal(probes[i].sequence, before[i].sequence);
		bool found = f->ops->get(f->memtable, probes[i].key, probes[i].sequence, &got);
		assert_int_equal(probes[i].found, found);
		if (found)
			assert_same(&probes[i].entry, &got);
		check_found(f, probes[i].key, probes[i].sequence, probes[i].found, &probes[i].entry);
	}
	for (size_t i = 0; i < count; i++)
		free(copies[i]);
}

/* --- iterators --- */

static bool iterator_is_at(const struct memtable_iterator *iterator, const struct version *version)
{
	return iterator->valid && version->entry.sequence == iterator->entry.sequence &&
	       slice_equal(version->entry.key, iterator->entry.key);
}

/* What an iterator that was positioned at the sequence `since` may leave out. */
static bool may_be_left_out(const struct version *version, uint64_t since)
{
	return version->droppable || version->entry.sequence > since;
}

/* The iterator has come to `got` from the model's place `at`: it left out only what it may. */
static size_t check_arrival(const struct fixture *f, size_t at, uint64_t since,
			    const struct memtable_iterator *iterator)
{
	for (; at < f->count; at++) {
		if (iterator_is_at(iterator, f->model[at])) {
			assert_same(&iterator->entry, &f->model[at]->entry);
			return at;
		}
		assert_true(may_be_left_out(f->model[at], since));
	}
	assert_false(iterator->valid);
	return at;
}

/* The same backwards, among the `before` first versions; SIZE_MAX: the iterator is at none. */
static size_t check_arrival_back(const struct fixture *f, size_t before, uint64_t since,
				 const struct memtable_iterator *iterator)
{
	while (before-- > 0) {
		if (iterator_is_at(iterator, f->model[before])) {
			assert_same(&iterator->entry, &f->model[before]->entry);
			return before;
		}
		assert_true(may_be_left_out(f->model[before], since));
	}
	assert_false(iterator->valid);
	return SIZE_MAX;
}

static void cursor_init(struct fixture *f, struct cursor *cursor)
{
	memset(cursor->memory, 0xcc, sizeof(cursor->memory));
	memset(cursor->guard, 0x5a, sizeof(cursor->guard));
	f->ops->iterator_init(f->memtable, iterator_of(cursor));
}

static void cursor_check(const struct cursor *cursor)
{
	for (size_t i = 0; i < GUARD; i++)
		assert_int_equal(cursor->guard[i], 0x5a);
}

/* Everything, from the first to the last and back. */
static void check_all(struct fixture *f)
{
	struct cursor cursor;
	struct memtable_iterator *iterator = iterator_of(&cursor);
	uint64_t visited = 0;
	cursor_init(f, &cursor);
	f->ops->seek(iterator, slice_make(NULL, 0), SEQUENCE_MAX);
	size_t at = check_arrival(f, 0, f->sequence, iterator);
	for (; iterator->valid; at = check_arrival(f, at + 1, f->sequence, iterator)) {
		visited++;
		f->ops->next(iterator);
	}
	assert_int_equal(visited, f->ops->count(f->memtable));
	f->ops->seek_last(iterator);
	at = check_arrival_back(f, f->count, f->sequence, iterator);
	for (; iterator->valid; at = check_arrival_back(f, at, f->sequence, iterator)) {
		visited--;
		f->ops->prev(iterator);
	}
	assert_int_equal(visited, 0);
	cursor_check(&cursor);
}

static void step_seek(struct fixture *f)
{
	struct cursor *cursor = &f->cursors[random_below(&f->random, CURSORS)];
	struct memtable_iterator *iterator = iterator_of(cursor);
	struct slice key = random_key(f);
	uint64_t sequence = random_sequence(f);
	uint64_t dice = random_below(&f->random, 8);
	if (dice >= 6 && f->count > 0) {
		/* A version that is there, to the byte. */
		const struct entry *entry = &f->model[random_below(&f->random, f->count)]->entry;
		key = entry->key;
		sequence = entry->sequence;
	}
	/* An iterator may be positioned again, or be made anew. */
	if (!cursor->positioned || random_below(&f->random, 2) == 0)
		cursor_init(f, cursor);
	cursor->since = f->sequence;
	cursor->back = dice % 2 == 1;
	size_t at = model_find(f, key, sequence);
	if (dice == 0) {
		f->ops->seek_last(iterator);
		(void)check_arrival_back(f, f->count, cursor->since, iterator);
	} else if (cursor->back) {
		f->ops->seek_back(iterator, key, sequence);
		bool is_there = model_is(f, at, key) && f->model[at]->entry.sequence == sequence;
		(void)check_arrival_back(f, at + is_there, cursor->since, iterator);
	} else {
		f->ops->seek(iterator, key, sequence);
		(void)check_arrival(f, at, cursor->since, iterator);
	}
	cursor->positioned = iterator->valid;
}

static void step_cursor(struct fixture *f)
{
	struct cursor *cursor = &f->cursors[random_below(&f->random, CURSORS)];
	struct memtable_iterator *iterator = iterator_of(cursor);
	if (!cursor->positioned)
		return;
	size_t at = model_find(f, iterator->entry.key, iterator->entry.sequence);
	assert_true(at < f->count);
	/* What was handed out stays valid over any insert. */
	assert_same(&iterator->entry, &f->model[at]->entry);
	keep(f, &iterator->entry, f->model[at]);
	if (random_below(&f->random, 10) == 0)
		cursor->back = !cursor->back;
	if (cursor->back) {
		f->ops->prev(iterator);
		(void)check_arrival_back(f, at, cursor->since, iterator);
	} else {
		f->ops->next(iterator);
		(void)check_arrival(f, at + 1, cursor->since, iterator);
	}
	cursor->positioned = iterator->valid;
	cursor_check(cursor);
}

/* --- random operations --- */

static void step(struct fixture *f, const struct mix *mix)
{
	uint64_t dice = random_below(&f->random, 100);
	if (dice < mix->inserts) {
		step_insert(f);
		return;
	}
	if (dice < mix->inserts + mix->gets)
		step_get(f);
	else if (dice < mix->inserts + mix->gets + mix->batches)
		step_batch(f);
	else if (dice < mix->inserts + mix->gets + mix->batches + mix->seeks)
		step_seek(f);
	else
		step_cursor(f);
	/* To read takes nothing. */
	assert_int_equal(arena_used_bytes(&f->arena), f->used_bytes);
}

static void run_shape(const struct memtable_ops *ops, enum key_shape shape, uint64_t seed,
		      const void *options)
{
	size_t operations = shape == KEYS_LARGE ? OPERATIONS / 10 : OPERATIONS;
	struct fixture *f = fixture_open(ops, 0, operations, shape, seed, options);
	const struct mix *mix = &mixes[0];
	for (size_t i = 0, next_mix = 0; i < operations; i++) {
		if (i == next_mix) {
			mix = &mixes[random_below(&f->random, sizeof(mixes) / sizeof(mixes[0]))];
			next_mix += 1 + random_below(&f->random, STRETCH_MAX);
		}
		step(f, mix);
		if (i % 4000 == 0 || (i < 500 && i % 5 == 0))
			check_all(f);
	}
	for (size_t i = 0; i < f->count; i++)
		check_get(f, f->model[i]->entry.key, SEQUENCE_MAX);
	check_all(f);
	check_kept(f);
	fixture_close(f);
}

static void run_model(const struct component *component, uint64_t seed)
{
	for (unsigned shape = 0; shape < KEY_SHAPES && !forgets(component); shape++) {
		print_message("  keys: %s\n", shape_names[shape]);
		(void)fflush(stdout);
		run_shape(ops_of(component), (enum key_shape)shape, seed, NULL);
	}
}

static void test_model(void **state)
{
	(void)state;
	component_test_each(COMPONENT_MEMTABLE, run_model, 1);
}

/* Each option at its least and its most. */
static void run_options(const struct component *component)
{
	void *options = component_test_options(component);
	for (size_t i = 0; component_test_extreme(component, options, i); i++) {
		if (!forgets(component))
			run_shape(ops_of(component), (enum key_shape)(i % KEY_SHAPES), 11, options);
		component_default_options(component, options);
	}
	free(options);
}

static void test_options(void **state)
{
	(void)state;
	component_test_once(COMPONENT_MEMTABLE, run_options);
}

/* --- memory --- */

/*
 * Memory runs out at each place in turn: the insert fails, nothing has changed, an iterator goes on from
 * where it was, and the insert works afterwards.
 */
static void insert_in_need(struct fixture *f, const struct entry *entry, unsigned *failures)
{
	for (unsigned attempt = 0; attempt < 3; attempt++) {
		uint64_t count = f->ops->count(f->memtable);
		memory_fail_at(1 + random_below(&f->random, 3), 1);
		struct status status = f->ops->insert(f->memtable, entry, 0);
		bool fired = memory_failures_fired() > 0;
		memory_fail_at(0, 0);
		if (status_is_ok(status))
			return;
		assert_true(fired);
		assert_status(status, STATUS_NO_MEMORY);
		assert_int_equal(f->ops->count(f->memtable), count);
		check_get(f, entry->key, SEQUENCE_MAX);
		step_cursor(f);
		if ((*failures)++ % 4 == 0)
			check_all(f);
	}
	assert_ok(f->ops->insert(f->memtable, entry, 0));
}

static void run_out_of_memory(const struct component *component, uint64_t seed)
{
	static const enum key_shape shapes[] = { KEYS_USER, KEYS_ASCENDING, KEYS_LONG, KEYS_FAN,
						 KEYS_NESTED };
	const size_t inserts = OPERATIONS / 4;
	enum key_shape shape = shapes[seed % (sizeof(shapes) / sizeof(shapes[0]))];
	if (forgets(component))
		return;
	struct fixture *f = fixture_open(ops_of(component), 4096, inserts, shape, seed, NULL);
	unsigned failures = 0;
	for (size_t i = 0; i < inserts; i++) {
		struct entry entry = random_entry(f, random_key(f));
		insert_in_need(f, &entry, &failures);
		model_insert(f, &entry);
		check_get(f, entry.key, SEQUENCE_MAX);
		if (i % 20 == 0)
			step_seek(f);
	}
	assert_true(failures > 0);
	check_all(f);
	fixture_close(f);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	component_test_each(COMPONENT_MEMTABLE, run_out_of_memory, 100);
}

static void run_create_out_of_memory(const struct component *component)
{
	void *options = component_test_options(component);
	bool fired = true;
	for (uint64_t n = 1; fired; n++) {
		struct arena arena;
		arena_init(&arena, 4096);
		assert_true(n < 1000);
		memory_fail_at(n, 1);
		struct memtable *memtable =
			ops_of(component)->create(&arena, component->options_size > 0 ? options : NULL);
		fired = memory_failures_fired() > 0;
		memory_fail_at(0, 0);
		assert_true(fired || memtable != NULL);
		arena_free(&arena);
	}
	free(options);
}

static void test_create_out_of_memory(void **state)
{
	(void)state;
	component_test_once(COMPONENT_MEMTABLE, run_create_out_of_memory);
}

/* The same inserts take the same memory and give the same order, whatever is read in between. */
static void run_determinism(const struct component *component, uint64_t seed)
{
	const size_t inserts = OPERATIONS / 4;
	enum key_shape shape = (enum key_shape)(seed % KEYS_LARGE);
	if (forgets(component))
		return;
	struct fixture *f = fixture_open(ops_of(component), CHUNK_BYTES, inserts, shape, seed, NULL);
	struct fixture *read = fixture_open(ops_of(component), 0, inserts, shape, seed, NULL);
	read->random.seed = ~seed;
	for (size_t i = 0; i < inserts; i++) {
		struct entry entry = random_entry(f, random_key(f));
		f->oldest_needed = f->sequence - f->sequence % 500;
		assert_ok(f->ops->insert(f->memtable, &entry, f->oldest_needed));
		assert_ok(read->ops->insert(read->memtable, &entry, f->oldest_needed));
		read->sequence = f->sequence;
		read->oldest_needed = f->oldest_needed;
		read->counter = f->counter;
		model_insert(read, &entry);
		for (uint64_t reads = random_below(&read->random, 3); reads > 0; reads--)
			step_cursor(read);
		if (i % 16 == 0)
			step_seek(read);
		if (i % 8 == 0)
			step_batch(read);
		assert_int_equal(arena_used_bytes(&f->arena), arena_used_bytes(&read->arena));
		assert_int_equal(f->ops->count(f->memtable), f->ops->count(read->memtable));
	}
	struct cursor left, right;
	cursor_init(f, &left);
	cursor_init(read, &right);
	f->ops->seek_last(iterator_of(&left));
	f->ops->seek_last(iterator_of(&right));
	while (iterator_of(&left)->valid) {
		assert_true(iterator_of(&right)->valid);
		assert_same(&iterator_of(&left)->entry, &iterator_of(&right)->entry);
		f->ops->prev(iterator_of(&left));
		f->ops->prev(iterator_of(&right));
	}
	assert_false(iterator_of(&right)->valid);
	fixture_close(f);
	fixture_close(read);
}

static void test_determinism(void **state)
{
	(void)state;
	component_test_each(COMPONENT_MEMTABLE, run_determinism, 200);
}

/* With an arena that has room for all of it, nobody asks for memory any more. */
static void run_arena_alone(const struct component *component, uint64_t seed)
{
	const size_t operations = OPERATIONS / 4;
	if (forgets(component))
		return;
	struct fixture *f = fixture_open(ops_of(component), 64 << 20, operations, KEYS_USER, seed, NULL);
	size_t reserved = f->arena.reserved_bytes;
	memory_fail_at(UINT64_MAX, 0);
	for (size_t i = 0; i < operations; i++)
		step(f, &mixes[0]);
	check_all(f);
	assert_int_equal(memory_allocations_passed(), 0);
	memory_fail_at(0, 0);
	assert_int_equal(f->arena.reserved_bytes, reserved);
	fixture_close(f);
}

static void test_arena_alone(void **state)
{
	(void)state;
	component_test_each(COMPONENT_MEMTABLE, run_arena_alone, 300);
}

/* --- one key with very many versions --- */

enum { VERSIONS = SANITIZED ? 20000 : 100000 };
static const uint64_t hot_first = SEQUENCE_MAX - 2 * VERSIONS - 2;

static void put(struct memtable *memtable, const char *key, uint64_t number, uint64_t sequence,
		uint64_t oldest_needed)
{
	struct entry entry = { .key = slice_from_string(key),
			       .value = slice_make(&number, sizeof(number)),
			       .sequence = sequence,
			       .kind = ENTRY_PUT };
	assert_ok(memtable->ops->insert(memtable, &entry, oldest_needed));
}

static void assert_at(const struct memtable_iterator *iterator, const char *key, uint64_t number)
{
	assert_true(iterator->valid);
	assert_true(slice_equal(iterator->entry.key, slice_from_string(key)));
	assert_int_equal(iterator->entry.value.size, sizeof(number));
	assert_memory_equal(iterator->entry.value.data, &number, sizeof(number));
}

/* From end to end and back: no step may look for its place among all versions. */
static void walk_hot_key(struct memtable *memtable, struct memtable_iterator *iterator)
{
	const struct memtable_ops *ops = memtable->ops;
	ops->iterator_init(memtable, iterator);
	ops->seek(iterator, slice_make(NULL, 0), SEQUENCE_MAX);
	assert_at(iterator, "cold", 1);
	for (uint64_t i = VERSIONS; i-- > 0;) {
		ops->next(iterator);
		assert_at(iterator, "hot", i);
	}
	ops->next(iterator);
	assert_at(iterator, "warm", 2);
	for (uint64_t i = 0; i < VERSIONS; i++) {
		ops->prev(iterator);
		assert_at(iterator, "hot", i);
	}
	ops->prev(iterator);
	assert_at(iterator, "cold", 1);
	ops->prev(iterator);
	assert_false(iterator->valid);
}

static void read_hot_key(struct memtable *memtable, struct memtable_iterator *iterator, uint64_t seed)
{
	const struct memtable_ops *ops = memtable->ops;
	struct slice hot = slice_from_string("hot");
	struct random random = random_stream(seed);
	for (unsigned n = 0; n < 1000; n++) {
		uint64_t i = 1 + random_below(&random, VERSIONS - 2);
		struct entry got;
		assert_true(ops->get(memtable, hot, hot_first + 2 * i + 1, &got));
		assert_int_equal(got.sequence, hot_first + 2 * i);
		assert_memory_equal(got.value.data, &i, sizeof(i));
		ops->seek(iterator, hot, hot_first + 2 * i + 1);
		assert_at(iterator, "hot", i);
		ops->prev(iterator);
		assert_at(iterator, "hot", i + 1);
		ops->seek_back(iterator, hot, hot_first + 2 * i - 1);
		assert_at(iterator, "hot", i);
		ops->next(iterator);
		assert_at(iterator, "hot", i - 1);
	}
}

/* The versions that both stand among have gone, or not: each finds its way to an end. */
static void leave_hot_key(struct memtable_iterator *forward, struct memtable_iterator *back)
{
	const struct memtable_ops *ops = forward->memtable->ops;
	const struct slice hot = slice_from_string("hot");
	uint64_t sequence;
	do {
		sequence = forward->entry.sequence;
		ops->next(forward);
		assert_true(forward->valid);
	} while (slice_equal(forward->entry.key, hot) && forward->entry.sequence < sequence);
	assert_at(forward, "warm", 2);
	do {
		sequence = back->entry.sequence;
		ops->prev(back);
		assert_true(back->valid);
	} while (slice_equal(back->entry.key, hot) && back->entry.sequence > sequence);
	assert_at(back, "cold", 1);
}

/* Variants of the tree that drop what nobody needs. */
static bool drops(const struct component *component)
{
	static const char *const names[] = { "btree", "skiplist", "art", "sorted_hash" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(component->name, names[i]) == 0)
			return true;
	}
	return false;
}

/* A hot key with a reader far in the past: every version stays readable, until the reader has gone. */
static void run_hot_key(const struct component *component)
{
	const struct memtable_ops *ops = ops_of(component);
	struct cursor cursors[2];
	struct memtable_iterator *iterator = iterator_of(&cursors[0]);
	struct memtable_iterator *other = iterator_of(&cursors[1]);
	struct arena arena;
	struct entry got;
	struct slice hot = slice_from_string("hot");
	if (forgets(component))
		return;
	arena_init(&arena, CHUNK_BYTES);
	struct memtable *memtable = memtable_make(ops, &arena);
	put(memtable, "cold", 1, 1, 0);
	put(memtable, "warm", 2, 2, 0);
	for (uint64_t i = 0; i < VERSIONS; i++)
		put(memtable, "hot", i, hot_first + 2 * i, hot_first);
	assert_int_equal(ops->count(memtable), VERSIONS + 2);
	assert_false(ops->get(memtable, hot, hot_first - 1, &got));
	walk_hot_key(memtable, iterator);
	read_hot_key(memtable, iterator, test_seed(7));
	/* The reader has gone: what a memtable drops, it stops counting; the newest stays. */
	ops->iterator_init(memtable, other);
	ops->seek(iterator, hot, hot_first + VERSIONS);
	ops->seek_back(other, hot, hot_first + VERSIONS);
	assert_at(iterator, "hot", VERSIONS / 2);
	assert_at(other, "hot", VERSIONS / 2);
	struct entry last = { .key = hot, .sequence = SEQUENCE_MAX, .kind = ENTRY_DELETE };
	assert_ok(ops->insert(memtable, &last, SEQUENCE_MAX));
	assert_true(ops->get(memtable, hot, SEQUENCE_MAX, &got));
	assert_int_equal(got.kind, ENTRY_DELETE);
	assert_int_equal(got.value.size, 0);
	assert_in_range(ops->count(memtable), 3, VERSIONS + 3);
	if (drops(component))
		assert_int_equal(ops->count(memtable), 3);
	leave_hot_key(iterator, other);
	arena_free(&arena);
}

static void test_hot_key(void **state)
{
	(void)state;
	component_test_once(COMPONENT_MEMTABLE, run_hot_key);
}

/* --- nothing in it, and variants that keep it so --- */

static void check_empty(struct memtable *memtable)
{
	const struct memtable_ops *ops = memtable->ops;
	struct cursor cursor;
	struct memtable_iterator *iterator = iterator_of(&cursor);
	struct memtable_probe probes[2] = { { .sequence = SEQUENCE_MAX, .found = true },
					    { .key = slice_from_string("user"), .found = true } };
	struct entry got;
	assert_int_equal(ops->count(memtable), 0);
	assert_false(ops->get(memtable, slice_make(NULL, 0), SEQUENCE_MAX, &got));
	assert_false(ops->get(memtable, slice_from_string("user"), SEQUENCE_MAX, &got));
	memtable_get_many(memtable, probes, 0);
	assert_true(probes[0].found);
	memtable_get_many(memtable, probes, 2);
	assert_false(probes[0].found);
	assert_false(probes[1].found);
	memset(&cursor, 0xcc, sizeof(cursor));
	ops->iterator_init(memtable, iterator);
	ops->seek(iterator, slice_make(NULL, 0), SEQUENCE_MAX);
	assert_false(iterator->valid);
	ops->seek(iterator, slice_from_string("x"), 0);
	assert_false(iterator->valid);
	ops->seek_back(iterator, slice_make(NULL, 0), SEQUENCE_MAX);
	assert_false(iterator->valid);
	ops->seek_back(iterator, slice_from_string("x"), 0);
	assert_false(iterator->valid);
	ops->seek_last(iterator);
	assert_false(iterator->valid);
}

static void run_empty(const struct component *component)
{
	struct fixture *f = fixture_open(ops_of(component), 0, 1, KEYS_USER, 1, NULL);
	check_empty(f->memtable);
	for (unsigned i = 0; i < 1000 && forgets(component); i++) {
		struct entry entry = random_entry(f, random_key(f));
		assert_ok(f->ops->insert(f->memtable, &entry, 0));
		if (i % 100 == 0)
			check_empty(f->memtable);
	}
	fixture_close(f);
}

static void test_empty(void **state)
{
	(void)state;
	component_test_once(COMPONENT_MEMTABLE, run_empty);
}

/* --- many keys --- */

enum { MANY = SANITIZED ? 20000 : 100000, MANY_KEY = 24, MANY_BATCH = 64 };

static struct slice many_key(char key[MANY_KEY + 1], uint64_t number)
{
	(void)snprintf(key, MANY_KEY + 1, "user%020llu", (unsigned long long)number);
	return slice_make(key, MANY_KEY);
}

static int number_order(const void *a, const void *b)
{
	const uint64_t *left = a;
	const uint64_t *right = b;
	return *left < *right ? -1 : *left > *right;
}

static void assert_number(const struct entry *entry, uint64_t number)
{
	char key[MANY_KEY + 1];
	assert_true(slice_equal(entry->key, many_key(key, number)));
	assert_int_equal(entry->value.size, sizeof(number));
	assert_memory_equal(entry->value.data, &number, sizeof(number));
}

static void scan_many(struct memtable *memtable, const uint64_t *sorted)
{
	struct cursor cursor;
	struct memtable_iterator *iterator = iterator_of(&cursor);
	memtable->ops->iterator_init(memtable, iterator);
	memtable->ops->seek(iterator, slice_from_string("user"), SEQUENCE_MAX);
	for (size_t i = 0; i < MANY; i++) {
		assert_true(iterator->valid);
		assert_number(&iterator->entry, sorted[i]);
		memtable->ops->next(iterator);
	}
	assert_false(iterator->valid);
	memtable->ops->seek_back(iterator, slice_from_string("user~"), SEQUENCE_MAX);
	for (size_t i = MANY; i-- > 0;) {
		assert_true(iterator->valid);
		assert_number(&iterator->entry, sorted[i]);
		memtable->ops->prev(iterator);
	}
	assert_false(iterator->valid);
}

/* In batches, each of neighbours or of numbers from all over, as `numbers` has them. */
static void get_many_numbers(struct memtable *memtable, const uint64_t *numbers)
{
	struct memtable_probe probes[MANY_BATCH];
	char keys[MANY_BATCH][MANY_KEY + 1];
	for (size_t first = 0; first + MANY_BATCH <= MANY; first += MANY_BATCH) {
		for (size_t i = 0; i < MANY_BATCH; i++)
			probes[i] = (struct memtable_probe) { .key = many_key(keys[i], numbers[first + i]),
							      .sequence = SEQUENCE_MAX };
		memtable_get_many(memtable, probes, MANY_BATCH);
		for (size_t i = 0; i < MANY_BATCH; i++) {
			assert_true(probes[i].found);
			assert_number(&probes[i].entry, numbers[first + i]);
		}
	}
}

/* `step` 0: numbers from all over, else so far apart, one after the other. */
static void check_many(const struct memtable_ops *ops, uint64_t seed, uint64_t step)
{
	struct arena arena;
	char key[MANY_KEY + 1];
	uint64_t *numbers = malloc(MANY * sizeof(*numbers));
	assert_non_null(numbers);
	/* Large chunks, as the engine has them. */
	arena_init(&arena, 1 << 20);
	struct memtable *memtable = memtable_make(ops, &arena);
	for (uint64_t i = 0; i < MANY; i++) {
		numbers[i] = step > 0 ? 1 + i * step : random_at(seed, i);
		struct entry entry = { .key = many_key(key, numbers[i]),
				       .value = slice_make(&numbers[i], sizeof(numbers[i])),
				       .sequence = i + 1,
				       .kind = ENTRY_PUT };
		assert_ok(ops->insert(memtable, &entry, i));
	}
	assert_int_equal(ops->count(memtable), MANY);
	get_many_numbers(memtable, numbers);
	for (size_t i = 0; i < MANY; i++) {
		struct entry got;
		assert_true(ops->get(memtable, many_key(key, numbers[i]), SEQUENCE_MAX, &got));
		assert_number(&got, numbers[i]);
		assert_false(ops->get(memtable, many_key(key, numbers[i] + 1), SEQUENCE_MAX, &got));
	}
	qsort(numbers, MANY, sizeof(*numbers), number_order);
	get_many_numbers(memtable, numbers);
	scan_many(memtable, numbers);
	arena_free(&arena);
	free(numbers);
}

static void run_many(const struct component *component)
{
	if (forgets(component))
		return;
	check_many(ops_of(component), test_seed(9), 0);
	check_many(ops_of(component), 0, 7);
}

static void test_many(void **state)
{
	(void)state;
	component_test_once(COMPONENT_MEMTABLE, run_many);
}

/* --- what all keys begin with --- */

static void store_number(uint8_t *to, uint64_t number)
{
	memcpy(to, &number, sizeof(number));
}

/*
 * Keys that have ever less in common, in a memtable that is already large: what variants take to be the
 * beginning of all keys gets shorter, at first one byte at a time, at last to nothing.
 */
static void check_narrowing(const struct memtable_ops *ops, uint64_t per_step)
{
	enum { COMMON = 40 };
	struct arena arena;
	uint8_t key[COMMON + 8];
	uint64_t sequence = 0;
	arena_init(&arena, CHUNK_BYTES);
	struct memtable *memtable = memtable_make(ops, &arena);
	for (size_t step = 0; step <= COMMON; step++) {
		for (uint64_t i = 0; i < per_step; i++) {
			fill_common(key, sizeof(key));
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
			fill_common(key, sizeof(key));
			if (step > 0)
				key[COMMON - step] = step % 2 == 0 ? 'a' : 'z';
			store_number(key + COMMON, random_at(step, i));
			assert_true(ops->get(memtable, slice_make(key, sizeof(key)), SEQUENCE_MAX, &got));
			assert_memory_equal(got.value.data, &i, sizeof(i));
		}
	}
	arena_free(&arena);
}

static void run_narrowing(const struct component *component)
{
	if (forgets(component))
		return;
	check_narrowing(ops_of(component), 1);
	check_narrowing(ops_of(component), 700);
}

static void test_narrowing(void **state)
{
	(void)state;
	component_test_once(COMPONENT_MEMTABLE, run_narrowing);
}

/* --- what only the B+-tree promises --- */

/* Bytes that an entry takes beside key and value. `prefixes` NULL: keys from all over. */
static double btree_bytes(const char *const *prefixes, uint64_t streams)
{
	enum { ENTRIES = 100000, KEY = 24, VALUE = 100 };
	const struct memtable_ops *ops = ops_of(component_find(COMPONENT_MEMTABLE, "btree"));
	struct arena arena;
	char key[KEY + 1];
	uint8_t value[VALUE] = { 0 };
	arena_init(&arena, CHUNK_BYTES);
	struct memtable *memtable = memtable_make(ops, &arena);
	for (uint64_t i = 0; i < ENTRIES; i++) {
		uint64_t number = prefixes != NULL ? i / streams : random_at(5, i);
		(void)snprintf(key, sizeof(key), "%s%020llu",
			       prefixes != NULL ? prefixes[i % streams] : "user", (unsigned long long)number);
		struct entry entry = { .key = slice_make(key, KEY),
				       .value = slice_make(value, VALUE),
				       .sequence = i + 1,
				       .kind = ENTRY_PUT };
		assert_ok(ops->insert(memtable, &entry, i));
	}
	assert_int_equal(ops->count(memtable), ENTRIES);
	double bytes = (double)arena_used_bytes(&arena) / ENTRIES - KEY - VALUE;
	arena_free(&arena);
	return bytes;
}

/* Ascending keys, be it in several runs side by side, fill nodes to the brim. */
static void test_btree_is_dense(void **state)
{
	(void)state;
	const char *const prefixes[] = { "user", "cart", "item", "zone" };
	double any = btree_bytes(NULL, 0);
	double one = btree_bytes(prefixes, 1);
	double four = btree_bytes(prefixes, 4);
	print_message("bytes per entry beside key and value: %.1f at random, %.1f and %.1f ascending\n", any,
		      one, four);
	assert_true(any <= 32);
	/* Ten of the record's own, a head and a pointer, and a fortieth or so of that above. */
	assert_true(one <= 28);
	assert_true(four <= 28);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_create_out_of_memory),
		cmocka_unit_test(test_determinism),
		cmocka_unit_test(test_arena_alone),
		cmocka_unit_test(test_hot_key),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_narrowing),
		cmocka_unit_test(test_btree_is_dense),
	};
	return cmocka_run_group_tests(tests, component_test_setup, NULL);
}
