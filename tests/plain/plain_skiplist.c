/*
 * plain_skiplist.c: a skip list as LevelDB's memtable has it (Pugh 1990; db/skiplist.h there): one node for
 * each version, ordered by key, then by sequence from the newest; heights by coin tosses with p = 1/4, 12 at
 * most. Every step compares whole keys. To go back it searches from the top, since nodes are linked forwards
 * only.
 */
#include <string.h>

#include "base/random.h"
#include "plain/plain.h"

#include "base/poison.h"

enum { HEIGHT_MAX = 12, BRANCHING = 4 };

/* Links, then key, then value. */
struct node {
	uint64_t sequence;
	uint32_t value_size;
	uint16_t key_size;
	uint8_t kind;
	uint8_t height;
	struct node *next[];
};

struct list {
	struct memtable base;
	uint64_t count;
	struct random random;
	unsigned height; /* levels in use */
	struct node *head;
};

struct cursor {
	struct memtable_iterator base;
	const struct node *node;
};

_Static_assert(sizeof(struct cursor) <= MEMTABLE_ITERATOR_BYTES, "the caller's room suffices");

static const uint8_t *node_bytes(const struct node *node)
{
	return (const uint8_t *)&node->next[node->height];
}

static struct slice node_key(const struct node *node)
{
	return slice_make(node_bytes(node), node->key_size);
}

static void node_show(const struct node *node, struct entry *entry)
{
	entry->key = node_key(node);
	entry->value = slice_make(node_bytes(node) + node->key_size, node->value_size);
	entry->sequence = node->sequence;
	entry->kind = (enum entry_kind)node->kind;
}

static struct node *node_allocate(struct arena *arena, unsigned height, size_t bytes)
{
	struct node *node = arena_allocate(arena, sizeof(*node) + height * sizeof(node->next[0]) + bytes,
					   _Alignof(struct node));
	if (node == NULL)
		return NULL;
	memset(node, 0, sizeof(*node) + height * sizeof(node->next[0]));
	node->height = (uint8_t)height;
	return node;
}

static struct memtable *list_create(struct arena *arena, const void *options)
{
	(void)options;
	struct list *list = arena_allocate(arena, sizeof(*list), _Alignof(struct list));
	struct node *head = list != NULL ? node_allocate(arena, HEIGHT_MAX, 0) : NULL;
	if (head == NULL)
		return NULL;
	*list = (struct list) { .base = { .ops = &plain_skiplist, .arena = arena },
				.random = random_stream(301),
				.height = 1,
				.head = head };
	return &list->base;
}

/* --- searching --- */

static bool is_before(const struct node *node, struct slice key, uint64_t sequence)
{
	return entry_compare(node_key(node), node->sequence, key, sequence) < 0;
}

/* The first node >= (key, sequence), NULL if there is none. `before` (may be NULL): the last smaller node of
 * each level. */
static struct node *find_not_before(const struct list *list, struct slice key, uint64_t sequence,
				    struct node *before[HEIGHT_MAX])
{
	struct node *node = list->head;
	for (unsigned level = list->height - 1;;) {
		struct node *next = node->next[level];
		if (next != NULL && is_before(next, key, sequence)) {
			node = next;
			continue;
		}
		if (before != NULL)
			before[level] = node;
		if (level == 0)
			return next;
		level--;
	}
}

/* The last node < (key, sequence), NULL if there is none. */
static const struct node *find_before(const struct list *list, struct slice key, uint64_t sequence)
{
	const struct node *node = list->head;
	for (unsigned level = list->height - 1;;) {
		const struct node *next = node->next[level];
		if (next != NULL && is_before(next, key, sequence))
			node = next;
		else if (level-- == 0)
			return node != list->head ? node : NULL;
	}
}

static const struct node *find_last(const struct list *list)
{
	const struct node *node = list->head;
	for (unsigned level = list->height - 1;;) {
		if (node->next[level] != NULL)
			node = node->next[level];
		else if (level-- == 0)
			return node != list->head ? node : NULL;
	}
}

/* --- entries --- */

static unsigned draw_height(struct list *list)
{
	unsigned height = 1;
	while (height < HEIGHT_MAX && random_below(&list->random, BRANCHING) == 0)
		height++;
	return height;
}

static struct status list_insert(struct memtable *memtable, const struct entry *entry, uint64_t oldest_needed)
{
	struct list *list = (struct list *)memtable;
	struct node *before[HEIGHT_MAX];
	(void)oldest_needed;
	(void)find_not_before(list, entry->key, entry->sequence, before);
	unsigned height = draw_height(list);
	struct node *node = node_allocate(memtable->arena, height, entry->key.size + entry->value.size);
	if (node == NULL)
		return status_make(STATUS_NO_MEMORY);
	node->sequence = entry->sequence;
	node->value_size = (uint32_t)entry->value.size;
	node->key_size = (uint16_t)entry->key.size;
	node->kind = (uint8_t)entry->kind;
	uint8_t *bytes = (uint8_t *)&node->next[height];
	if (entry->key.size > 0)
		memcpy(bytes, entry->key.data, entry->key.size);
	if (entry->value.size > 0)
		memcpy(bytes + entry->key.size, entry->value.data, entry->value.size);
	for (; list->height < height; list->height++)
		before[list->height] = list->head;
	for (unsigned level = 0; level < height; level++) {
		node->next[level] = before[level]->next[level];
		before[level]->next[level] = node;
	}
	list->count++;
	return status_ok();
}

static bool list_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	const struct node *node = find_not_before((const struct list *)memtable, key, sequence, NULL);
	if (node == NULL || !slice_equal(node_key(node), key))
		return false;
	node_show(node, entry);
	return true;
}

static uint64_t list_count(const struct memtable *memtable)
{
	return ((const struct list *)memtable)->count;
}

/* --- iterating --- */

static void cursor_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	*(struct cursor *)iterator = (struct cursor) { .base.memtable = memtable };
}

static void cursor_place(struct memtable_iterator *iterator, const struct node *node)
{
	((struct cursor *)iterator)->node = node;
	iterator->valid = node != NULL;
	if (node != NULL)
		node_show(node, &iterator->entry);
}

static void cursor_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	cursor_place(iterator, find_not_before((struct list *)iterator->memtable, key, sequence, NULL));
}

static void cursor_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	const struct list *list = (const struct list *)iterator->memtable;
	const struct node *node = find_not_before(list, key, sequence, NULL);
	if (node == NULL || node->sequence != sequence || !slice_equal(node_key(node), key))
		node = find_before(list, key, sequence);
	cursor_place(iterator, node);
}

static void cursor_seek_last(struct memtable_iterator *iterator)
{
	cursor_place(iterator, find_last((const struct list *)iterator->memtable));
}

static void cursor_next(struct memtable_iterator *iterator)
{
	cursor_place(iterator, ((struct cursor *)iterator)->node->next[0]);
}

static void cursor_prev(struct memtable_iterator *iterator)
{
	const struct node *node = ((struct cursor *)iterator)->node;
	cursor_place(iterator,
		     find_before((const struct list *)iterator->memtable, node_key(node), node->sequence));
}

const struct memtable_ops plain_skiplist = {
	.component = {
		.name = "plain_skiplist",
		.summary = "skip list as in LevelDB: a node for each version, whole keys compared",
		.abi = COMPONENT_ABI,
	},
	.create = list_create,
	.insert = list_insert,
	.get = list_get,
	.count = list_count,
	.iterator_init = cursor_init,
	.seek = cursor_seek,
	.seek_back = cursor_seek_back,
	.seek_last = cursor_seek_last,
	.next = cursor_next,
	.prev = cursor_prev,
};
