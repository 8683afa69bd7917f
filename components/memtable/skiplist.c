/*
 * skiplist.c: a memtable that is a skip list (Pugh 1990, "Skip lists: a probabilistic alternative to balanced
 * trees"), with p = 1/4.
 *
 * A node is one allocation: its links, the highest first, and then its record, which the pointer to a node
 * points at. A link holds 8 bytes of the following key beside the pointer to it, the head: those after what
 * all keys of the list begin with. So a step along a level touches the following node only where heads are
 * equal.
 *
 * Heights are drawn from a stream of numbers that begins alike in every instance: the same inserts make the
 * same list.
 *
 * INV-SKIPLIST-1: nodes never move, and links only ever come to point at nodes in between. So an iterator
 * stands on its node, whatever is inserted.
 * INV-SKIPLIST-2: all keys begin with the first `skip` bytes of `sample`. A search for a key that does not
 * finds a wrong place but no wrong record, because equal heads decide nothing without the whole keys;
 * `insert` and `seek` look at these bytes first.
 */
#include "components/memtable/memtable.h"
#include "components/memtable/record_internal.h"

#include <string.h>

#include "base/assert.h"
#include "base/random.h"

#include "base/poison.h"

enum {
	HEIGHT_MAX = 16,     /* enough for 4^16 keys */
	BITS_PER_LEVEL = 2,  /* of a random number: one node in 4 goes a level higher */
	HEIGHT_SEED = 11939, /* any number would do */
	/* Up to so many versions `skip` may shrink at any time, which computes all heads anew. */
	SHRINK_FREELY = 1024,
};

struct link {
	uint64_t head; /* of the following key; UINT64_MAX where there is none */
	struct record *next;
};

struct skiplist {
	struct memtable base;
	unsigned height; /* levels in use */
	uint64_t count;	 /* versions that an iterator visits */
	size_t skip;
	const struct record *sample; /* NULL: the list is empty */
	uint64_t count_at_shrink;
	struct random random;
	/* What stands before the first node: links like a node's. */
	struct link first[HEIGHT_MAX];
};

struct skiplist_iterator {
	struct memtable_iterator base;
	struct record *record;
	struct version *version; /* NULL: at the record's first version */
};

_Static_assert(sizeof(struct skiplist_iterator) <= MEMTABLE_ITERATOR_BYTES, "the caller's room suffices");

/* Where a search went down: the link of each level that leads to the first node >= the key. */
struct trace {
	struct link *links[HEIGHT_MAX];
};

extern const struct memtable_ops memtable_skiplist;

/* --- nodes --- */

/* The link of level 0 lies right before the record; those of higher levels before it. A list's own links
 * lie so too: `at` is then the end of `first`. */
static inline struct link *link_at(void *at, unsigned level)
{
	return (struct link *)at - 1 - level;
}

static inline void *list_start(struct skiplist *list)
{
	return list->first + HEIGHT_MAX;
}

static unsigned draw_height(struct skiplist *list)
{
	uint64_t bits = random_next(&list->random);
	/* The guard ends the run of zeros at the greatest height. */
	bits |= 1ull << (BITS_PER_LEVEL * (HEIGHT_MAX - 1));
	return 1 + (unsigned)__builtin_ctzll(bits) / BITS_PER_LEVEL;
}

static struct record *node_create(struct skiplist *list, const struct entry *entry, unsigned height)
{
	size_t links = height * sizeof(struct link);
	uint8_t *node = arena_allocate(list->base.arena, links + record_bytes(entry), _Alignof(struct link));
	if (node == NULL)
		return NULL;
	struct record *record = (struct record *)(void *)(node + links);
	record_fill(record, entry);
	return record;
}

/* --- searching --- */

/*
 * The first node >= key, NULL if there is none, and whether it is the key's. With a trace the search goes
 * down to level 0; without one it ends at a node with the key wherever it meets it.
 */
static inline struct record *list_find(struct skiplist *list, struct slice key, struct trace *trace,
				       bool *found)
{
	uint64_t head = key_head(key, list->skip);
	void *at = list_start(list);
	struct record *beyond = NULL; /* met on a higher level: not below the key */
	bool equal = false;
	for (unsigned level = list->height; level-- > 0;) {
		struct link *link = link_at(at, level);
		while (link->head < head ||
		       (link->head == head && link->next != NULL && link->next != beyond)) {
			if (link->head == head) {
				int order = key_compare(key, link->next);
				if (order <= 0) {
					equal = order == 0;
					break;
				}
			}
			at = link->next;
			link = link_at(at, level);
		}
		beyond = link->next;
		if (trace != NULL)
			trace->links[level] = link;
		else if (equal)
			break;
	}
	*found = equal;
	return beyond;
}

/* --- what all keys begin with --- */

static struct slice list_prefix(const struct skiplist *list)
{
	return slice_make(list->sample->bytes, list->skip);
}

/* How the key's beginning stands to that of all keys: 0 if it is the same. Not of an empty list. */
static inline int list_outside(const struct skiplist *list, struct slice key)
{
	struct slice begin = slice_make(key.data, key.size < list->skip ? key.size : list->skip);
	return slice_compare(begin, list_prefix(list));
}

/*
 * Before a key may be inserted that begins otherwise: takes the heads from further left. That is a walk along
 * all links, so it must not happen often: once the list is large either it has doubled since the last time,
 * or this is the last time.
 */
static void list_shrink_skip(struct skiplist *list, struct slice key)
{
	list->skip = slice_common_prefix(key, list_prefix(list));
	if (list->count > SHRINK_FREELY && list->count / 2 < list->count_at_shrink)
		list->skip = 0;
	list->count_at_shrink = list->count;
	for (unsigned level = 0; level < list->height; level++) {
		struct link *link = link_at(list_start(list), level);
		for (; link->next != NULL; link = link_at(link->next, level))
			link->head = key_head(record_key(link->next), list->skip);
	}
}

/* --- the contract's functions --- */

static struct memtable *skiplist_create(struct arena *arena, const void *options)
{
	(void)options;
	struct skiplist *list = arena_allocate(arena, sizeof(*list), 64);
	if (list == NULL)
		return NULL;
	memset(list, 0, sizeof(*list));
	list->base.ops = &memtable_skiplist;
	list->base.arena = arena;
	list->height = 1;
	list->random = random_stream(HEIGHT_SEED);
	for (unsigned level = 0; level < HEIGHT_MAX; level++)
		list->first[level].head = UINT64_MAX;
	return &list->base;
}

static struct status skiplist_insert(struct memtable *memtable, const struct entry *entry,
				     uint64_t oldest_needed)
{
	struct skiplist *list = (struct skiplist *)memtable;
	struct trace trace;
	ASSERT(entry->key.size <= KEY_BYTES_MAX);
	ASSERT(entry->value.size <= UINT32_MAX);
	ASSERT(entry->sequence <= SEQUENCE_MAX);
	if (list->sample != NULL && list_outside(list, entry->key) != 0)
		list_shrink_skip(list, entry->key);
	bool found;
	struct record *record = list_find(list, entry->key, &trace, &found);
	if (found)
		return record_add_version(record, list->base.arena, entry, oldest_needed, &list->count);
	unsigned height = draw_height(list);
	record = node_create(list, entry, height);
	if (record == NULL)
		return status_make(STATUS_NO_MEMORY);
	while (list->height < height) {
		trace.links[list->height] = link_at(list_start(list), list->height);
		list->height++;
	}
	if (list->sample == NULL) {
		list->sample = record;
		list->skip = record->key_size;
	}
	uint64_t head = key_head(entry->key, list->skip);
	for (unsigned level = 0; level < height; level++) {
		*link_at(record, level) = *trace.links[level];
		*trace.links[level] = (struct link) { .head = head, .next = record };
	}
	list->count++;
	return status_ok();
}

static bool skiplist_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	bool found;
	const struct record *record = list_find((struct skiplist *)memtable, key, NULL, &found);
	struct version *version;
	if (!found || !record_find(record, sequence, &version))
		return false;
	entry_fill(entry, record, version);
	return true;
}

static uint64_t skiplist_count(const struct memtable *memtable)
{
	return ((const struct skiplist *)memtable)->count;
}

/* --- iterating --- */

static void skiplist_iterator_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	struct skiplist_iterator *cursor = (struct skiplist_iterator *)iterator;
	memset(cursor, 0, sizeof(*cursor));
	cursor->base.memtable = memtable;
}

/* Onto the record's newest version; NULL: behind the last record. */
static void iterator_place(struct skiplist_iterator *cursor, struct record *record)
{
	cursor->base.valid = record != NULL;
	if (record == NULL)
		return;
	__builtin_prefetch(link_at(record, 0)->next);
	cursor->record = record;
	cursor->version = record->newest;
	entry_fill(&cursor->base.entry, record, cursor->version);
}

static void skiplist_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct skiplist_iterator *cursor = (struct skiplist_iterator *)iterator;
	struct skiplist *list = (struct skiplist *)iterator->memtable;
	int outside = list->sample == NULL ? 1 : list_outside(list, key);
	if (outside != 0) {
		iterator_place(cursor, outside > 0 ? NULL : link_at(list_start(list), 0)->next);
		return;
	}
	bool found;
	struct record *record = list_find(list, key, NULL, &found);
	if (!found) {
		iterator_place(cursor, record);
	} else if (record_find(record, sequence, &cursor->version)) {
		cursor->record = record;
		entry_fill(&iterator->entry, record, cursor->version);
		iterator->valid = true;
	} else {
		iterator_place(cursor, link_at(record, 0)->next);
	}
}

static void skiplist_next(struct memtable_iterator *iterator)
{
	struct skiplist_iterator *cursor = (struct skiplist_iterator *)iterator;
	DASSERT(iterator->valid);
	if (record_older(cursor->record, &cursor->version))
		entry_fill(&iterator->entry, cursor->record, cursor->version);
	else
		iterator_place(cursor, link_at(cursor->record, 0)->next);
}

const struct memtable_ops memtable_skiplist = {
	.component = {
		.name = "skiplist",
		.summary = "skip list with key heads in its links: the textbook's memtable",
		.abi = COMPONENT_ABI,
	},
	.create = skiplist_create,
	.insert = skiplist_insert,
	.get = skiplist_get,
	.count = skiplist_count,
	.iterator_init = skiplist_iterator_init,
	.seek = skiplist_seek,
	.next = skiplist_next,
};
