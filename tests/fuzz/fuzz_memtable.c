/*
 * Every memtable. Input: 1 byte variant, 1 byte for each of up to 4 options, then operations, each a byte and
 * what it takes: inserts, some of them while there is no memory, lookups one by one and in batches, and two
 * iterators that go both ways, all against a sorted array that keeps everything.
 */
#include "base/arena.h"
#include "base/memory.h"
#include "components/memtable/memtable.h"
#include "fuzz/fuzz.h"

enum {
	VARIANTS_MAX = 64,
	OPTIONS_MAX = 4,
	VERSIONS_MAX = 600,
	OPERATIONS_MAX = 2000,
	KEY_SIZE_MAX = 300,
	CURSORS = 2,
	BATCH_MAX = 8,
};

/* The kinds of operations; the upper bits of their byte say more. */
enum operation {
	INSERT,
	INSERT_AGAIN, /* a key that is there */
	INSERT_IN_NEED,
	GET,
	GET_MANY,
	SEEK,
	SEEK_BACK,
	SEEK_LAST,
	NEXT,
	PREV,
	RELEASE, /* readers of old versions have gone */
	SCAN,
	OPERATION_KINDS
};

struct version {
	struct entry entry;
	bool droppable; /* the memtable may have taken it out of its order */
	uint8_t bytes[];
};

struct cursor {
	_Alignas(64) uint8_t memory[MEMTABLE_ITERATOR_BYTES];
	uint64_t since; /* the newest sequence when it was positioned */
	bool positioned;
};

struct world {
	const struct memtable_ops *ops;
	struct memtable *memtable;
	struct arena arena;
	struct version *model[VERSIONS_MAX]; /* in entry order */
	size_t count;
	uint64_t sequence, oldest_needed;
	uint8_t key[KEY_SIZE_MAX];
	uint8_t value[256];
	struct cursor cursors[CURSORS];
};

static const struct memtable_ops *variants[VARIANTS_MAX];
static unsigned variant_count;

static void find_variants(void)
{
	const struct component *const *list = component_list(COMPONENT_MEMTABLE);
	for (; *list != NULL; list++) {
		if (((*list)->capabilities & MEMTABLE_FORGETS) != 0)
			continue;
		FUZZ_CHECK(variant_count < VARIANTS_MAX);
		variants[variant_count++] = (const struct memtable_ops *)(const void *)*list;
	}
}

/* The first few options as the input says, the others as they are by default. */
static struct memtable *create(const struct memtable_ops *ops, struct arena *arena, struct fuzz_input *input)
{
	const struct component *component = &ops->component;
	void *options = calloc(1, component->options_size + 1);
	FUZZ_CHECK(options != NULL);
	component_default_options(component, options);
	const struct option *option = component->options;
	for (unsigned i = 0; i < OPTIONS_MAX; i++) {
		uint64_t part = fuzz_number(input, 1);
		if (option == NULL || option->name == NULL)
			continue;
		double value = option->minimum +
			       (double)(uint64_t)((option->maximum - option->minimum) * (double)part / 255);
		if (part > 0)
			FUZZ_CHECK(
				status_is_ok(component_set_option(component, options, option->name, value)));
		option++;
	}
	struct memtable *memtable = ops->create(arena, component->options_size > 0 ? options : NULL);
	FUZZ_CHECK(memtable != NULL);
	free(options);
	return memtable;
}

/* --- the model --- */

/* The number of versions in the model that come before (key, sequence). */
static size_t model_find(const struct world *w, struct slice key, uint64_t sequence)
{
	size_t low = 0;
	size_t high = w->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct entry *entry = &w->model[middle]->entry;
		if (entry_compare(entry->key, entry->sequence, key, sequence) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool model_is(const struct world *w, size_t at, struct slice key)
{
	return at < w->count && slice_equal(w->model[at]->entry.key, key);
}

static void model_insert(struct world *w, const struct entry *entry)
{
	struct version *version = malloc(sizeof(*version) + entry->key.size + entry->value.size);
	FUZZ_CHECK(version != NULL);
	*version = (struct version) { .entry = *entry };
	version->entry.key.data = version->bytes;
	version->entry.value.data = version->bytes + entry->key.size;
	if (entry->key.size > 0)
		memcpy(version->bytes, entry->key.data, entry->key.size);
	if (entry->value.size > 0)
		memcpy(version->bytes + entry->key.size, entry->value.data, entry->value.size);
	size_t at = model_find(w, entry->key, entry->sequence);
	memmove(&w->model[at + 1], &w->model[at], (w->count - at) * sizeof(w->model[0]));
	w->model[at] = version;
	w->count++;
	bool seen = false;
	for (size_t i = at; model_is(w, i, entry->key); i++) {
		w->model[i]->droppable |= seen;
		seen |= w->model[i]->entry.sequence <= w->oldest_needed;
	}
}

static bool same(const struct entry *got, const struct entry *expected)
{
	return slice_equal(got->key, expected->key) && got->sequence == expected->sequence &&
	       got->kind == expected->kind && slice_equal(got->value, expected->value);
}

/* --- operations --- */

/* A key of bytes of the input, or one that is there, cut short and with a few bytes of the input behind. */
static struct slice take_key(struct world *w, struct fuzz_input *input)
{
	unsigned how = (unsigned)fuzz_number(input, 1);
	size_t size = 0, taken;
	if (how >= 128 && w->count > 0) {
		const struct entry *entry = &w->model[fuzz_number(input, 2) % w->count]->entry;
		size_t cut = (size_t)fuzz_number(input, 1);
		size = cut < entry->key.size ? cut : entry->key.size;
		if (size > 0)
			memcpy(w->key, entry->key.data, size);
		how %= 8;
	}
	if (how >= 120) {
		/* A long run of one byte. */
		size_t run = (size_t)fuzz_number(input, 1);
		memset(w->key, (int)how, run);
		size = run;
		how %= 4;
	}
	size_t room = KEY_SIZE_MAX - size;
	const uint8_t *bytes = fuzz_bytes(input, how % 32 < room ? how % 32 : room, &taken);
	if (taken > 0)
		memcpy(w->key + size, bytes, taken);
	return slice_make(w->key, size + taken);
}

static uint64_t take_sequence(const struct world *w, struct fuzz_input *input)
{
	uint64_t number = fuzz_number(input, 1);
	return number == 0 ? SEQUENCE_MAX : number * (w->sequence + 1) / 255;
}

static void check_get(const struct world *w, struct slice key, uint64_t sequence, bool found,
		      const struct entry *got)
{
	size_t at = model_find(w, key, sequence);
	if (model_is(w, at, key) && !w->model[at]->droppable) {
		FUZZ_CHECK(found && same(got, &w->model[at]->entry));
	} else if (found) {
		FUZZ_CHECK(got->sequence <= sequence);
		at = model_find(w, key, got->sequence);
		FUZZ_CHECK(model_is(w, at, key) && same(got, &w->model[at]->entry));
	}
}

static void run_insert(struct world *w, struct fuzz_input *input, struct slice key, bool in_need)
{
	uint64_t shape = fuzz_number(input, 1);
	struct entry entry = { .key = key,
			       .sequence = w->sequence + 1 + shape % 3,
			       .kind = shape % 5 == 0 ? ENTRY_DELETE : ENTRY_PUT };
	struct entry got;
	if (w->count == VERSIONS_MAX)
		return;
	w->sequence = entry.sequence;
	if (entry.kind == ENTRY_PUT) {
		memset(w->value, (int)shape, sizeof(w->value));
		entry.value = slice_make(w->value, (size_t)shape);
	}
	if (in_need) {
		uint64_t count = w->ops->count(w->memtable);
		memory_fail_at(1 + shape % 2, 1);
		struct status status = w->ops->insert(w->memtable, &entry, w->oldest_needed);
		memory_fail_at(0, 0);
		if (status_is_ok(status)) {
			model_insert(w, &entry);
			return;
		}
		FUZZ_CHECK(status_is(status, STATUS_NO_MEMORY));
		FUZZ_CHECK(w->ops->count(w->memtable) == count);
	}
	FUZZ_CHECK(status_is_ok(w->ops->insert(w->memtable, &entry, w->oldest_needed)));
	model_insert(w, &entry);
	bool found = w->ops->get(w->memtable, key, SEQUENCE_MAX, &got);
	check_get(w, key, SEQUENCE_MAX, found, &got);
}

static void run_get(struct world *w, struct fuzz_input *input)
{
	struct entry got;
	struct slice key = take_key(w, input);
	uint64_t sequence = take_sequence(w, input);
	bool found = w->ops->get(w->memtable, key, sequence, &got);
	check_get(w, key, sequence, found, &got);
}

static void run_get_many(struct world *w, struct fuzz_input *input, unsigned more)
{
	struct memtable_probe probes[BATCH_MAX];
	uint8_t *keys[BATCH_MAX];
	size_t count = more % (BATCH_MAX + 1);
	for (size_t i = 0; i < count; i++) {
		struct slice key = take_key(w, input);
		keys[i] = fuzz_exact(key.data, key.size);
		probes[i] = (struct memtable_probe) { .key = slice_make(keys[i], key.size),
						      .sequence = take_sequence(w, input) };
	}
	memtable_get_many(w->memtable, probes, count);
	for (size_t i = 0; i < count; i++) {
		struct entry got;
		bool found = w->ops->get(w->memtable, probes[i].key, probes[i].sequence, &got);
		FUZZ_CHECK(found == probes[i].found && (!found || same(&got, &probes[i].entry)));
		check_get(w, probes[i].key, probes[i].sequence, found, &got);
		free(keys[i]);
	}
}

/* --- iterators --- */

static struct memtable_iterator *iterator_of(struct cursor *cursor)
{
	return (struct memtable_iterator *)(void *)cursor->memory;
}

static bool is_at(const struct memtable_iterator *iterator, const struct version *version)
{
	return iterator->valid && iterator->entry.sequence == version->entry.sequence &&
	       slice_equal(iterator->entry.key, version->entry.key);
}

/* The iterator has left out nothing of model[at] and behind, or of model[before - 1] and in front of it, that
 * was there at `since`. */
static void check_arrival(const struct world *w, size_t at, uint64_t since,
			  const struct memtable_iterator *iterator)
{
	while (at < w->count && !is_at(iterator, w->model[at])) {
		FUZZ_CHECK(w->model[at]->droppable || w->model[at]->entry.sequence > since);
		at++;
	}
	FUZZ_CHECK(iterator->valid == (at < w->count));
	FUZZ_CHECK(!iterator->valid || same(&iterator->entry, &w->model[at]->entry));
}

static void check_arrival_back(const struct world *w, size_t before, uint64_t since,
			       const struct memtable_iterator *iterator)
{
	while (before > 0 && !is_at(iterator, w->model[before - 1])) {
		FUZZ_CHECK(w->model[before - 1]->droppable || w->model[before - 1]->entry.sequence > since);
		before--;
	}
	FUZZ_CHECK(iterator->valid == (before > 0));
	FUZZ_CHECK(!iterator->valid || same(&iterator->entry, &w->model[before - 1]->entry));
}

static void run_seek(struct world *w, struct fuzz_input *input, enum operation kind, unsigned more)
{
	struct cursor *cursor = &w->cursors[more % CURSORS];
	struct memtable_iterator *iterator = iterator_of(cursor);
	if (!cursor->positioned || more >= CURSORS) {
		memset(cursor->memory, 0xcc, sizeof(cursor->memory));
		w->ops->iterator_init(w->memtable, iterator);
	}
	cursor->since = w->sequence;
	if (kind == SEEK_LAST) {
		w->ops->seek_last(iterator);
		check_arrival_back(w, w->count, w->sequence, iterator);
	} else {
		struct slice key = take_key(w, input);
		uint64_t sequence = take_sequence(w, input);
		size_t at = model_find(w, key, sequence);
		if (kind == SEEK) {
			w->ops->seek(iterator, key, sequence);
			check_arrival(w, at, w->sequence, iterator);
		} else {
			bool is_there = model_is(w, at, key) && w->model[at]->entry.sequence == sequence;
			w->ops->seek_back(iterator, key, sequence);
			check_arrival_back(w, at + is_there, w->sequence, iterator);
		}
	}
	cursor->positioned = iterator->valid;
}

static void run_steps(struct world *w, bool back, unsigned more)
{
	struct cursor *cursor = &w->cursors[more % CURSORS];
	struct memtable_iterator *iterator = iterator_of(cursor);
	for (unsigned steps = more; cursor->positioned; steps--) {
		size_t at = model_find(w, iterator->entry.key, iterator->entry.sequence);
		FUZZ_CHECK(at < w->count && same(&iterator->entry, &w->model[at]->entry));
		if (back) {
			w->ops->prev(iterator);
			check_arrival_back(w, at, cursor->since, iterator);
		} else {
			w->ops->next(iterator);
			check_arrival(w, at + 1, cursor->since, iterator);
		}
		cursor->positioned = iterator->valid;
		if (steps == 0)
			break;
	}
}

/* All of it, there and back. */
static void run_scan(struct world *w)
{
	struct cursor cursor;
	struct memtable_iterator *iterator = iterator_of(&cursor);
	uint64_t visited = 0;
	w->ops->iterator_init(w->memtable, iterator);
	w->ops->seek(iterator, slice_make(NULL, 0), SEQUENCE_MAX);
	check_arrival(w, 0, w->sequence, iterator);
	for (; iterator->valid; visited++) {
		size_t at = model_find(w, iterator->entry.key, iterator->entry.sequence);
		w->ops->next(iterator);
		check_arrival(w, at + 1, w->sequence, iterator);
	}
	FUZZ_CHECK(visited == w->ops->count(w->memtable));
	w->ops->seek_last(iterator);
	check_arrival_back(w, w->count, w->sequence, iterator);
	for (; iterator->valid; visited--) {
		size_t at = model_find(w, iterator->entry.key, iterator->entry.sequence);
		w->ops->prev(iterator);
		check_arrival_back(w, at, w->sequence, iterator);
	}
	FUZZ_CHECK(visited == 0);
}

/* --- the target --- */

static void run_operation(struct world *w, struct fuzz_input *input)
{
	unsigned byte = (unsigned)fuzz_number(input, 1);
	enum operation kind = (enum operation)(byte % OPERATION_KINDS);
	unsigned more = byte / OPERATION_KINDS;
	switch (kind) {
	case INSERT:
	case INSERT_IN_NEED:
		run_insert(w, input, take_key(w, input), kind == INSERT_IN_NEED);
		break;
	case INSERT_AGAIN:
		if (w->count > 0)
			run_insert(w, input, w->model[fuzz_number(input, 2) % w->count]->entry.key, false);
		break;
	case GET:
		run_get(w, input);
		break;
	case GET_MANY:
		run_get_many(w, input, more);
		break;
	case SEEK:
	case SEEK_BACK:
	case SEEK_LAST:
		run_seek(w, input, kind, more);
		break;
	case NEXT:
	case PREV:
		run_steps(w, kind == PREV, more);
		break;
	case RELEASE:
		w->oldest_needed += (w->sequence - w->oldest_needed) * (more + 1) / 22;
		break;
	case SCAN:
		run_scan(w);
		break;
	case OPERATION_KINDS:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	if (variant_count == 0)
		find_variants();
	struct world *w = aligned_alloc(64, (sizeof(*w) + 63) / 64 * 64);
	FUZZ_CHECK(w != NULL);
	memset(w, 0, sizeof(*w));
	w->ops = variants[fuzz_number(&input, 1) % variant_count];
	arena_init(&w->arena, 4096);
	w->memtable = create(w->ops, &w->arena, &input);
	for (unsigned i = 0; i < OPERATIONS_MAX && input.left > 0; i++)
		run_operation(w, &input);
	run_scan(w);
	arena_free(&w->arena);
	for (size_t i = 0; i < w->count; i++)
		free(w->model[i]);
	free(w);
	return 0;
}

/* Each variant: operations of all kinds at random; ascending keys; one key again and again; keys that begin
 * alike. */
size_t fuzz_seed(unsigned index, uint8_t *to)
{
	enum { SEEDS_EACH = 4, SEED_BYTES = 1500 };
	if (variant_count == 0)
		find_variants();
	if (index / SEEDS_EACH >= variant_count)
		return FUZZ_NO_SEED;
	size_t size = fuzz_put(to, 0, index / SEEDS_EACH, 1);
	size = fuzz_put(to, size, 0, OPTIONS_MAX);
	uint64_t number = 1;
	while (size < SEED_BYTES) {
		number = number * 6364136223846793005u + 1442695040888963407u;
		unsigned dice = (unsigned)(number >> 60);
		if (index % SEEDS_EACH == 0 || dice >= 12) {
			size = fuzz_put(to, size, number >> 24, 5);
		} else if (index % SEEDS_EACH == 1) {
			const uint8_t ascending[] = { INSERT, 3, (uint8_t)(size >> 8), (uint8_t)size, 7, 20 };
			size = fuzz_put_bytes(to, size, ascending, sizeof(ascending));
		} else if (index % SEEDS_EACH == 2) {
			const uint8_t again[] = { INSERT_AGAIN, 0, 0, (uint8_t)(number >> 32) };
			size = fuzz_put_bytes(to, size, again, sizeof(again));
		} else {
			const uint8_t alike[] = { INSERT,
						  122,
						  (uint8_t)(number >> 40),
						  (uint8_t)(number >> 32),
						  (uint8_t)(number >> 48),
						  9 };
			size = fuzz_put_bytes(to, size, alike, sizeof(alike));
		}
	}
	return size;
}
