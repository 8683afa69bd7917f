/*
 * plain_sorted_hash.c: a hash table with chains (Knuth, The Art of Computer Programming, volume 3, 6.4),
 * doubled when there are as many entries as buckets, beside an array of all entries that a scan sorts: what
 * has come since the last scan is sorted by merging and merged into the rest. Each version is an entry of its
 * own.
 */
#include <string.h>

#include "base/hash.h"
#include "plain/plain.h"

#include "base/poison.h"

enum { BUCKETS_MIN = 1024, FEW = 12 };

/* Key, then value. */
struct item {
	struct item *next; /* in its chain: a key's versions follow from the newest on */
	uint64_t hash;
	uint64_t sequence;
	uint32_t value_size;
	uint16_t key_size;
	uint8_t kind;
	uint8_t bytes[];
};

struct table {
	struct memtable base;
	struct item **buckets;
	uint64_t bucket_count; /* a power of two */
	struct item **items;
	struct item **spare; /* half as many places: what a merge puts aside */
	size_t count, room;
	size_t sorted;	/* so many items stand in order, those behind them do not */
	uint64_t sorts; /* an iterator that has seen fewer looks for its place anew */
};

struct cursor {
	struct memtable_iterator base;
	size_t index;
	uint64_t sorts;
};

_Static_assert(sizeof(struct cursor) <= MEMTABLE_ITERATOR_BYTES, "the caller's room suffices");

static struct slice item_key(const struct item *item)
{
	return slice_make(item->bytes, item->key_size);
}

static void item_show(const struct item *item, struct entry *entry)
{
	entry->key = item_key(item);
	entry->value = slice_make(item->bytes + item->key_size, item->value_size);
	entry->sequence = item->sequence;
	entry->kind = (enum entry_kind)item->kind;
}

static bool is_before(const struct item *item, struct slice key, uint64_t sequence)
{
	return entry_compare(item_key(item), item->sequence, key, sequence) < 0;
}

static bool items_in_order(const struct item *left, const struct item *right)
{
	return is_before(left, item_key(right), right->sequence);
}

/* --- the table --- */

static struct item **allocate_items(struct arena *arena, size_t count)
{
	return arena_allocate(arena, count * sizeof(struct item *), _Alignof(struct item *));
}

static struct memtable *table_create(struct arena *arena, const void *options)
{
	(void)options;
	struct table *table = arena_allocate(arena, sizeof(*table), _Alignof(struct table));
	struct item **buckets = table != NULL ? allocate_items(arena, BUCKETS_MIN) : NULL;
	struct item **items = buckets != NULL ? allocate_items(arena, BUCKETS_MIN) : NULL;
	struct item **spare = items != NULL ? allocate_items(arena, BUCKETS_MIN / 2) : NULL;
	if (spare == NULL)
		return NULL;
	memset(buckets, 0, BUCKETS_MIN * sizeof(*buckets));
	*table = (struct table) { .base = { .ops = &plain_sorted_hash, .arena = arena },
				  .buckets = buckets,
				  .bucket_count = BUCKETS_MIN,
				  .items = items,
				  .spare = spare,
				  .room = BUCKETS_MIN };
	return &table->base;
}

/* Twice the buckets; each chain is divided into two without changing its order. Without memory the chains go
 * on growing. */
static void grow_buckets(struct table *table)
{
	uint64_t count = table->bucket_count;
	struct item **grown = allocate_items(table->base.arena, 2 * count);
	if (grown == NULL)
		return;
	for (uint64_t bucket = 0; bucket < count; bucket++) {
		struct item **low = &grown[bucket];
		struct item **high = &grown[bucket + count];
		for (struct item *item = table->buckets[bucket]; item != NULL; item = item->next) {
			struct item ***end = (item->hash & count) == 0 ? &low : &high;
			**end = item;
			*end = &item->next;
		}
		*low = NULL;
		*high = NULL;
	}
	table->buckets = grown;
	table->bucket_count = 2 * count;
}

/* Twice the places in the array; the old one becomes what merges put aside. */
static bool grow_items(struct table *table)
{
	struct item **grown = allocate_items(table->base.arena, 2 * table->room);
	if (grown == NULL)
		return false;
	memcpy(grown, table->items, table->count * sizeof(*grown));
	table->spare = table->items;
	table->items = grown;
	table->room *= 2;
	return true;
}

static struct status table_insert(struct memtable *memtable, const struct entry *entry,
				  uint64_t oldest_needed)
{
	struct table *table = (struct table *)memtable;
	(void)oldest_needed;
	if (table->count == table->room && !grow_items(table))
		return status_make(STATUS_NO_MEMORY);
	struct item *item = arena_allocate(
		memtable->arena, sizeof(*item) + entry->key.size + entry->value.size, _Alignof(struct item));
	if (item == NULL)
		return status_make(STATUS_NO_MEMORY);
	item->hash = hash_key(entry->key);
	item->sequence = entry->sequence;
	item->value_size = (uint32_t)entry->value.size;
	item->key_size = (uint16_t)entry->key.size;
	item->kind = (uint8_t)entry->kind;
	if (entry->key.size > 0)
		memcpy(item->bytes, entry->key.data, entry->key.size);
	if (entry->value.size > 0)
		memcpy(item->bytes + entry->key.size, entry->value.data, entry->value.size);
	if (table->count >= table->bucket_count)
		grow_buckets(table);
	struct item **bucket = &table->buckets[item->hash & (table->bucket_count - 1)];
	item->next = *bucket;
	*bucket = item;
	table->items[table->count++] = item;
	return status_ok();
}

static bool table_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	const struct table *table = (const struct table *)memtable;
	uint64_t hash = hash_key(key);
	const struct item *item = table->buckets[hash & (table->bucket_count - 1)];
	for (; item != NULL; item = item->next) {
		if (item->hash == hash && item->sequence <= sequence && slice_equal(item_key(item), key)) {
			item_show(item, entry);
			return true;
		}
	}
	return false;
}

static uint64_t table_count(const struct memtable *memtable)
{
	return ((const struct table *)memtable)->count;
}

/* --- sorting --- */

static void sort_few(struct item **items, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		struct item *item = items[i];
		size_t at = i;
		for (; at > 0 && items_in_order(item, items[at - 1]); at--)
			items[at] = items[at - 1];
		items[at] = item;
	}
}

/* `spare` has room for half of them. */
static void sort_items(struct item **items, size_t count, struct item **spare)
{
	if (count <= FEW) {
		sort_few(items, count);
		return;
	}
	size_t half = count / 2;
	sort_items(items, half, spare);
	sort_items(items + half, count - half, spare);
	if (items_in_order(items[half - 1], items[half]))
		return;
	memcpy(spare, items, half * sizeof(*spare));
	size_t left = 0;
	size_t right = half;
	for (size_t to = 0; left < half; to++) {
		if (right == count || items_in_order(spare[left], items[right]))
			items[to] = spare[left++];
		else
			items[to] = items[right++];
	}
}

/* How many of the first `count` items are < (key, sequence). */
static size_t count_before(const struct table *table, size_t count, struct slice key, uint64_t sequence)
{
	size_t low = 0;
	size_t high = count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (is_before(table->items[middle], key, sequence))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Puts what has come since the last time among the sorted items, from the last place on. */
static void merge_new(struct table *table)
{
	size_t old = table->sorted;
	size_t new = table->count - old;
	memcpy(table->spare, table->items + old, new * sizeof(*table->spare));
	while (new > 0) {
		struct item *item = table->spare[new - 1];
		size_t at = count_before(table, old, item_key(item), item->sequence);
		memmove(&table->items[at + new], &table->items[at], (old - at) * sizeof(*table->items));
		table->items[at + new - 1] = item;
		old = at;
		new --;
	}
}

static void table_sort(struct table *table)
{
	size_t new = table->count - table->sorted;
	if (new == 0)
		return;
	if (new <= table->room / 2) {
		sort_items(table->items + table->sorted, new, table->spare);
		merge_new(table);
	} else {
		sort_items(table->items, table->count, table->spare);
	}
	table->sorted = table->count;
	table->sorts++;
}

/* --- iterating --- */

static void cursor_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	*(struct cursor *)iterator = (struct cursor) { .base.memtable = memtable };
}

static void cursor_place(struct memtable_iterator *iterator, size_t index)
{
	const struct table *table = (const struct table *)iterator->memtable;
	struct cursor *cursor = (struct cursor *)iterator;
	iterator->valid = index < table->sorted;
	if (!iterator->valid)
		return;
	cursor->index = index;
	cursor->sorts = table->sorts;
	item_show(table->items[index], &iterator->entry);
}

/* Sorts, and returns how many items are < (key, sequence). */
static size_t find_sorted(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct table *table = (struct table *)iterator->memtable;
	table_sort(table);
	return count_before(table, table->sorted, key, sequence);
}

static void cursor_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	cursor_place(iterator, find_sorted(iterator, key, sequence));
}

static void cursor_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	const struct table *table = (const struct table *)iterator->memtable;
	size_t at = find_sorted(iterator, key, sequence);
	bool is_there = at < table->sorted && table->items[at]->sequence == sequence &&
			slice_equal(item_key(table->items[at]), key);
	cursor_place(iterator, is_there ? at : at - 1);
}

static void cursor_seek_last(struct memtable_iterator *iterator)
{
	struct table *table = (struct table *)iterator->memtable;
	table_sort(table);
	cursor_place(iterator, table->sorted - 1);
}

/* Another iterator's sort moves items: the cursor goes where its own is now. */
static size_t cursor_index(const struct memtable_iterator *iterator)
{
	const struct table *table = (const struct table *)iterator->memtable;
	const struct cursor *cursor = (const struct cursor *)iterator;
	if (cursor->sorts == table->sorts)
		return cursor->index;
	return count_before(table, table->sorted, iterator->entry.key, iterator->entry.sequence);
}

static void cursor_next(struct memtable_iterator *iterator)
{
	cursor_place(iterator, cursor_index(iterator) + 1);
}

/* Below the first index lies the largest one, which is nowhere. */
static void cursor_prev(struct memtable_iterator *iterator)
{
	cursor_place(iterator, cursor_index(iterator) - 1);
}

const struct memtable_ops plain_sorted_hash = {
	.component = {
		.name = "plain_sorted_hash",
		.summary = "hash table with chains beside an array that the first scan sorts",
		.abi = COMPONENT_ABI,
	},
	.create = table_create,
	.insert = table_insert,
	.get = table_get,
	.count = table_count,
	.iterator_init = cursor_init,
	.seek = cursor_seek,
	.seek_back = cursor_seek_back,
	.seek_last = cursor_seek_last,
	.next = cursor_next,
	.prev = cursor_prev,
};
