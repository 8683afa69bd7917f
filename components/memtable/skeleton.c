/*
 * skeleton.c: the least that is a memtable, to start from (docs/add-a-component.md): pointers to entries, in
 * order, in one array. A lookup is a binary search; an insert moves what comes after by one place, which is
 * quick for thousands of entries and slow for millions. memtable.h has the contract, in full.
 */
#include "components/memtable/memtable.h"

#include <string.h>

#include "base/poison.h"

struct skeleton_options {
	uint64_t first_capacity;
};

static const struct option skeleton_options[] = {
	{ .name = "first_capacity",
	  .help = "entries that the array has room for at first",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct skeleton_options, first_capacity),
	  .default_value = 1024,
	  .minimum = 1,
	  .maximum = 1 << 20 },
	{ .name = NULL },
};

/* An instance. All of its memory is the arena's, and goes with it: there is no destroy. */
struct skeleton {
	struct memtable base;	/* first */
	struct entry **entries; /* in entry order: by key, of one key the newest first */
	size_t count, capacity;
};

extern const struct memtable_ops memtable_skeleton;

/* Takes memory from the arena only. NULL: there is none. `options` is what skeleton_options describes. */
static struct memtable *skeleton_create(struct arena *arena, const void *options)
{
	struct skeleton *table = arena_allocate(arena, sizeof(*table), _Alignof(struct skeleton));
	if (table == NULL)
		return NULL;
	size_t capacity = (size_t)((const struct skeleton_options *)options)->first_capacity;
	table->base = (struct memtable) { .ops = &memtable_skeleton, .arena = arena };
	table->entries = arena_allocate(arena, capacity * sizeof(struct entry *), _Alignof(struct entry *));
	table->count = 0;
	table->capacity = capacity;
	return table->entries != NULL ? &table->base : NULL;
}

/* The place of the first entry >= (key, sequence); count: there is none. */
static size_t find(const struct skeleton *table, struct slice key, uint64_t sequence)
{
	size_t low = 0, high = table->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct entry *entry = table->entries[middle];
		if (entry_compare(entry->key, entry->sequence, key, sequence) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Doubles the array. The old one stays behind in the arena. */
static bool grow(struct skeleton *table)
{
	struct entry **larger = arena_allocate(
		table->base.arena, 2 * table->capacity * sizeof(struct entry *), _Alignof(struct entry *));
	if (larger == NULL)
		return false;
	memcpy(larger, table->entries, table->count * sizeof(struct entry *));
	table->entries = larger;
	table->capacity *= 2;
	return true;
}

/* A copy of the entry with its key and value: they never move, so slices of them stay valid. */
static struct entry *copy_entry(struct arena *arena, const struct entry *entry)
{
	size_t key_size = entry->key.size, value_size = entry->value.size;
	struct entry *copy =
		arena_allocate(arena, sizeof(*copy) + key_size + value_size, _Alignof(struct entry));
	if (copy == NULL)
		return NULL;
	uint8_t *bytes = (uint8_t *)(copy + 1);
	*copy = *entry;
	copy->key = slice_make(bytes, key_size);
	copy->value = slice_make(bytes + key_size, value_size);
	if (key_size > 0)
		memcpy(bytes, entry->key.data, key_size);
	if (value_size > 0)
		memcpy(bytes + key_size, entry->value.data, value_size);
	return copy;
}

/* Adds a version. Older ones of the key that nobody needs may be dropped (`oldest_needed`); these stay. */
static struct status skeleton_insert(struct memtable *memtable, const struct entry *entry,
				     uint64_t oldest_needed)
{
	struct skeleton *table = (struct skeleton *)memtable;
	(void)oldest_needed;
	if (table->count == table->capacity && !grow(table))
		return status_make(STATUS_NO_MEMORY);
	struct entry *copy = copy_entry(memtable->arena, entry);
	if (copy == NULL)
		return status_make(STATUS_NO_MEMORY);
	size_t at = find(table, entry->key, entry->sequence);
	memmove(&table->entries[at + 1], &table->entries[at], (table->count - at) * sizeof(struct entry *));
	table->entries[at] = copy;
	table->count++;
	return status_ok();
}

/* The newest version of the key that is no newer than `sequence`. */
static bool skeleton_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	const struct skeleton *table = (const struct skeleton *)memtable;
	size_t at = find(table, key, sequence);
	if (at == table->count || !slice_equal(table->entries[at]->key, key))
		return false;
	*entry = *table->entries[at];
	return true;
}

/* Versions that an iterator would visit. */
static uint64_t skeleton_count(const struct memtable *memtable)
{
	return ((const struct skeleton *)memtable)->count;
}

/* --- iterators: places move as entries come, so each step looks for the entry where the iterator is --- */

static void place(struct memtable_iterator *iterator, size_t at)
{
	const struct skeleton *table = (const struct skeleton *)iterator->memtable;
	iterator->valid = at < table->count;
	if (iterator->valid)
		iterator->entry = *table->entries[at];
}

/* In memory of the caller's, MEMTABLE_ITERATOR_BYTES of it; owns nothing. */
static void skeleton_iterator_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	*iterator = (struct memtable_iterator) { .memtable = memtable };
}

/* To the first entry >= (key, sequence). */
static void skeleton_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	place(iterator, find((const struct skeleton *)iterator->memtable, key, sequence));
}

/* To the last entry <= (key, sequence). */
static void skeleton_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	const struct skeleton *table = (const struct skeleton *)iterator->memtable;
	size_t at = find(table, key, sequence);
	bool here = at < table->count &&
		    entry_compare(table->entries[at]->key, table->entries[at]->sequence, key, sequence) == 0;
	place(iterator, here ? at : at - 1); /* before the first there is SIZE_MAX, which is no place */
}

/* To the last entry of all. */
static void skeleton_seek_last(struct memtable_iterator *iterator)
{
	place(iterator, ((const struct skeleton *)iterator->memtable)->count - 1);
}

static size_t place_of(const struct memtable_iterator *iterator)
{
	return find((const struct skeleton *)iterator->memtable, iterator->entry.key,
		    iterator->entry.sequence);
}

/* Never misses or repeats an entry that was there when the iterator was positioned. */
static void skeleton_next(struct memtable_iterator *iterator)
{
	place(iterator, place_of(iterator) + 1);
}

static void skeleton_prev(struct memtable_iterator *iterator)
{
	place(iterator, place_of(iterator) - 1);
}

const struct memtable_ops memtable_skeleton = {
	.component = {
		.name = "skeleton",
		.summary = "sorted array of pointers to entries",
		.abi = COMPONENT_ABI,
		.options = skeleton_options,
		.options_size = sizeof(struct skeleton_options),
	},
	.create = skeleton_create,
	.insert = skeleton_insert,
	.get = skeleton_get,
	.count = skeleton_count,
	.iterator_init = skeleton_iterator_init,
	.seek = skeleton_seek,
	.seek_back = skeleton_seek_back,
	.seek_last = skeleton_seek_last,
	.next = skeleton_next,
	.prev = skeleton_prev,
};

COMPONENT_MODULE({ COMPONENT_MEMTABLE, &memtable_skeleton.component });
