/*
 * skiplist.c: a memtable that is a skip list (Pugh 1990, "Skip lists: a probabilistic alternative to balanced
 * trees"), with p = 1/2.
 *
 * A node is one allocation: its links, the highest first, and then its record, which the pointer to a node
 * points at. A link holds 8 bytes of the following key beside the pointer to it, the head: those after what
 * all keys of the list begin with. So a search touches only the nodes that it goes to, and not those that
 * make it go down a level. That is also why p is not the usual 1/4: going down costs next to nothing, and of
 * nodes gone to there are log2(n) with 1/2 against 3 log4(n), a third less, for 11 bytes more a node.
 *
 * Heights are drawn from a stream of numbers that begins alike in every instance: the same inserts make the
 * same list.
 *
 * INV-SKIPLIST-1: nodes never move, and links only ever come to point at nodes in between. So an iterator
 * stands on its node, whatever is inserted.
 * INV-SKIPLIST-2: all keys begin with the first `skip` bytes of `sample`. A search for a key that does not
 * finds a wrong place but no wrong record, because equal heads decide nothing without the whole keys;
 * `insert`, `seek` and `seek_back` look at these bytes first.
 */
#include "components/memtable/memtable.h"
#include "components/memtable/record_internal.h"

#include <string.h>

#include "base/assert.h"
#include "base/random.h"

#include "base/poison.h"

enum {
	HEIGHT_MAX = 32,     /* enough for 2^32 keys */
	HEIGHT_SEED = 11939, /* any number would do */
	/* Up to so many versions `skip` may shrink at any time, which computes all heads anew. */
	SHRINK_FREELY = 1024,
	/* Lookups that get_many has under way at once: as many as keep the memory busy. */
	GROUP = 12,
	/* So many of a list's levels have so few nodes that the caches hold them: nothing to wait for. */
	NEAR_LEVELS = 11,
};

struct link {
	uint64_t head; /* of the following key; UINT64_MAX where there is none */
	struct record *next;
};

/* Where a search went down: the link of each level that leads to the first node >= the key. */
struct trace {
	struct link *links[HEIGHT_MAX];
};

struct skiplist {
	struct memtable base;
	unsigned height; /* levels in use */
	uint64_t count;	 /* versions that an iterator visits */
	size_t skip;
	const struct record *sample; /* NULL: the list is empty */
	uint64_t count_at_shrink;
	struct random random;
	/* The node of the last insert, NULL before the first and after heads have changed. The trace leads
	 * past it: a key between it and the node behind it needs no search. */
	const struct record *finger;
	uint64_t finger_head;
	struct trace trace;
	/* What stands before the first node: links like a node's. */
	struct link first[HEIGHT_MAX];
};

struct skiplist_iterator {
	struct memtable_iterator base;
	struct record *record;
	struct version *version; /* NULL: at the record's first version */
	/* From the last step back: the node of each level, and below `levels`, that lies before the record.
	 * They stay before it when it goes on, and a step back finds its way from the nearest of them. */
	unsigned levels;
	void *before[HEIGHT_MAX];
};

_Static_assert(sizeof(struct skiplist_iterator) <= MEMTABLE_ITERATOR_BYTES, "the caller's room suffices");

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
	bits |= 1ull << (HEIGHT_MAX - 1);
	return 1 + (unsigned)__builtin_ctzll(bits);
}

static struct record *node_create(struct skiplist *list, const struct entry *entry, unsigned height)
{
	size_t links = height * sizeof(struct link);
	uint8_t *node = arena_allocate(list->base.arena, links + record_bytes(entry), _Alignof(struct link));
	return node == NULL ? NULL : record_fill(node + links, entry);
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

/* Whether the link leads to a node < key. */
static inline bool link_is_below(const struct link *link, struct slice key, uint64_t head)
{
	if (link->head != head)
		return link->head < head;
	return link->next != NULL && key_compare(key, link->next) > 0;
}

/* From `at`, a node < key or the list's start, on a level and those below it: the last node < key, or the
 * start. Leaves the last of each level in `before`. */
static void *list_descend_before(struct skiplist *list, struct slice key, void *at, unsigned levels,
				 void **before)
{
	uint64_t head = key_head(key, list->skip);
	for (unsigned level = levels; level-- > 0;) {
		while (link_is_below(link_at(at, level), key, head))
			at = link_at(at, level)->next;
		before[level] = at;
	}
	return at;
}

/* --- what all keys begin with --- */

static struct slice list_prefix(const struct skiplist *list)
{
	return slice_make(record_key(list->sample).data, list->skip);
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
	list->skip = key_common_prefix(key, list_prefix(list));
	if (list->count > SHRINK_FREELY && list->count / 2 < list->count_at_shrink)
		list->skip = 0;
	list->count_at_shrink = list->count;
	list->finger = NULL;
	for (unsigned level = 0; level < list->height; level++) {
		struct link *link = link_at(list_start(list), level);
		for (; link->next != NULL; link = link_at(link->next, level))
			link->head = key_head(record_key(link->next), list->skip);
	}
}

/* --- inserting and getting --- */

/* Whether the key lies right behind the last insert's, as keys that ascend do. */
static inline bool finger_covers(const struct skiplist *list, struct slice key, uint64_t head)
{
	const struct link *behind = list->trace.links[0];
	/* One branch, which keys in no order hardly ever take. */
	if ((list->finger == NULL) | (head < list->finger_head) | (head > behind->head))
		return false;
	return key_compare(key, list->finger) > 0 &&
	       (behind->next == NULL || key_compare(key, behind->next) < 0);
}

static void list_link(struct skiplist *list, struct record *record, unsigned height, uint64_t head)
{
	if (list->height < height)
		list->height = height;
	for (unsigned level = 0; level < height; level++) {
		struct link *link = link_at(record, level);
		*link = *list->trace.links[level];
		*list->trace.links[level] = (struct link) { .head = head, .next = record };
		list->trace.links[level] = link;
	}
	list->finger = record;
	list->finger_head = head;
}

static struct status skiplist_insert(struct memtable *memtable, const struct entry *entry,
				     uint64_t oldest_needed)
{
	struct skiplist *list = (struct skiplist *)memtable;
	ASSERT(entry->key.size <= KEY_BYTES_MAX);
	ASSERT(entry->value.size <= UINT32_MAX);
	ASSERT(entry->sequence <= SEQUENCE_MAX);
	if (list->sample != NULL && list_outside(list, entry->key) != 0)
		list_shrink_skip(list, entry->key);
	uint64_t head = key_head(entry->key, list->skip);
	if (!finger_covers(list, entry->key, head)) {
		bool found;
		list->finger = NULL;
		struct record *there = list_find(list, entry->key, &list->trace, &found);
		if (found) {
			struct held held = held_make(there);
			return held_add_version(&held, list->base.arena, entry, oldest_needed, &list->count);
		}
	}
	unsigned height = draw_height(list);
	struct record *record = node_create(list, entry, height);
	if (record == NULL)
		return status_make(STATUS_NO_MEMORY);
	if (list->sample == NULL) {
		list->sample = record;
		list->skip = entry->key.size;
		head = 0;
	}
	list_link(list, record, height, head);
	list->count++;
	return status_ok();
}

/* The version of a found record that a get asks for. */
static inline bool get_version(struct record *record, uint64_t sequence, struct entry *entry)
{
	struct version *version;
	if (!held_find(held_make(record), sequence, &version))
		return false;
	entry_fill(entry, record, version);
	return true;
}

static bool skiplist_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	bool found;
	struct record *record = list_find((struct skiplist *)memtable, key, NULL, &found);
	return found && get_version(record, sequence, entry);
}

/* A lookup under way. */
struct walk {
	struct memtable_probe *probe;
	void *at;
	struct record *beyond;
	uint64_t head;
	unsigned level;
	bool loaded; /* the following record has been asked for, to compare its key */
};

static void walk_start(struct walk *walk, struct skiplist *list, struct memtable_probe *probe)
{
	*walk = (struct walk) {
		.probe = probe,
		.at = list_start(list),
		.head = key_head(probe->key, list->skip),
		.level = list->height,
	};
	probe->found = false;
	walk->level--;
}

/* Goes on with a lookup as list_find does, until it needs memory that it has to ask for: false; or is done:
 * true. From level `near` on nothing has to be asked for. */
static inline bool walk_on(struct walk *walk, unsigned near)
{
	struct memtable_probe *probe = walk->probe;
	for (;;) {
		struct link *link = link_at(walk->at, walk->level);
		if (link->head < walk->head) {
			walk->at = link->next;
			if (walk->level >= near)
				continue;
			__builtin_prefetch(link_at(walk->at, walk->level), 0, 3);
			return false;
		}
		if (link->head == walk->head && link->next != NULL && link->next != walk->beyond) {
			if (!walk->loaded && walk->level < near) {
				record_prefetch(link->next);
				walk->loaded = true;
				return false;
			}
			walk->loaded = false;
			int order = key_compare(probe->key, link->next);
			if (order == 0) {
				probe->found = get_version(link->next, probe->sequence, &probe->entry);
				return true;
			}
			if (order > 0) {
				walk->at = link->next;
				continue;
			}
		}
		walk->beyond = link->next;
		if (walk->level == 0)
			return true;
		walk->level--;
	}
}

/* Several lookups side by side (Kocberber, Falsafi, Grot 2015, "Asynchronous memory access chaining"): each
 * goes on until it waits for memory, and where one is done the next begins. */
static void skiplist_get_many(struct memtable *memtable, struct memtable_probe *probes, size_t count)
{
	struct skiplist *list = (struct skiplist *)memtable;
	unsigned near = list->height > NEAR_LEVELS ? list->height - NEAR_LEVELS : 0;
	struct walk walks[GROUP];
	size_t active = 0;
	size_t begun = 0;
	while (active < GROUP && begun < count)
		walk_start(&walks[active++], list, &probes[begun++]);
	while (active > 0) {
		for (size_t i = 0; i < active;) {
			if (!walk_on(&walks[i], near))
				i++;
			else if (begun < count)
				walk_start(&walks[i], list, &probes[begun++]);
			else
				walks[i] = walks[--active];
		}
	}
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

static inline void iterator_stand(struct skiplist_iterator *cursor, struct record *record,
				  struct version *version)
{
	cursor->record = record;
	cursor->version = version;
	entry_fill(&cursor->base.entry, record, version);
	cursor->base.valid = true;
}

/* Onto the record's newest version; NULL: behind the last record. */
static void iterator_place(struct skiplist_iterator *cursor, struct record *record)
{
	cursor->base.valid = record != NULL;
	if (record == NULL)
		return;
	record_prefetch(link_at(record, 0)->next);
	cursor->record = record;
	cursor->version = entry_fill_newest(&cursor->base.entry, record);
}

/* Onto the oldest version of the last record before `key`, which may be that of the iterator's record: then
 * the nodes found by the last step back are near. */
static void iterator_place_before(struct skiplist_iterator *cursor, struct slice key)
{
	struct skiplist *list = (struct skiplist *)cursor->base.memtable;
	uint64_t head = key_head(key, list->skip);
	unsigned level = 0;
	/* Up to the first level on which nothing lies between. */
	while (level < cursor->levels && (cursor->before[level] == cursor->record ||
					  link_is_below(link_at(cursor->before[level], level), key, head)))
		level++;
	void *at = list_start(list);
	if (level < cursor->levels) {
		at = cursor->before[level];
		level++;
	} else {
		level = list->height;
		cursor->levels = level;
	}
	at = list_descend_before(list, key, at, level, cursor->before);
	cursor->base.valid = at != list_start(list);
	if (!cursor->base.valid)
		return;
	cursor->record = at;
	cursor->version = entry_fill_oldest(&cursor->base.entry, cursor->record);
}

static void skiplist_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct skiplist_iterator *cursor = (struct skiplist_iterator *)iterator;
	struct skiplist *list = (struct skiplist *)iterator->memtable;
	cursor->levels = 0;
	int outside = list->sample == NULL ? 1 : list_outside(list, key);
	if (outside != 0) {
		iterator_place(cursor, outside > 0 ? NULL : link_at(list_start(list), 0)->next);
		return;
	}
	bool found;
	struct version *version;
	struct record *record = list_find(list, key, NULL, &found);
	if (!found)
		iterator_place(cursor, record);
	else if (held_find(held_make(record), sequence, &version))
		iterator_stand(cursor, record, version);
	else
		iterator_place(cursor, link_at(record, 0)->next);
}

static void skiplist_seek_last(struct memtable_iterator *iterator)
{
	struct skiplist_iterator *cursor = (struct skiplist_iterator *)iterator;
	struct skiplist *list = (struct skiplist *)iterator->memtable;
	void *at = list_start(list);
	for (unsigned level = list->height; level-- > 0;) {
		while (link_at(at, level)->next != NULL)
			at = link_at(at, level)->next;
	}
	cursor->levels = 0;
	iterator->valid = at != list_start(list);
	if (!iterator->valid)
		return;
	cursor->record = at;
	cursor->version = entry_fill_oldest(&cursor->base.entry, cursor->record);
}

static void skiplist_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct skiplist_iterator *cursor = (struct skiplist_iterator *)iterator;
	struct skiplist *list = (struct skiplist *)iterator->memtable;
	int outside = list->sample == NULL ? -1 : list_outside(list, key);
	iterator->valid = false;
	cursor->levels = 0;
	if (outside > 0)
		skiplist_seek_last(iterator);
	if (outside != 0)
		return;
	bool found;
	struct version *version;
	struct record *record = list_find(list, key, NULL, &found);
	if (found && held_find_back(held_make(record), sequence, &version))
		iterator_stand(cursor, record, version);
	else
		iterator_place_before(cursor, key);
}

static void skiplist_next(struct memtable_iterator *iterator)
{
	struct skiplist_iterator *cursor = (struct skiplist_iterator *)iterator;
	DASSERT(iterator->valid);
	if (held_older(held_make(cursor->record), &cursor->version))
		entry_fill(&iterator->entry, cursor->record, cursor->version);
	else
		iterator_place(cursor, link_at(cursor->record, 0)->next);
}

static void skiplist_prev(struct memtable_iterator *iterator)
{
	struct skiplist_iterator *cursor = (struct skiplist_iterator *)iterator;
	DASSERT(iterator->valid);
	if (held_newer(held_make(cursor->record), &cursor->version))
		entry_fill(&iterator->entry, cursor->record, cursor->version);
	else
		iterator_place_before(cursor, record_key(cursor->record));
}

/* --- creating --- */

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
	for (unsigned level = 0; level < HEIGHT_MAX; level++) {
		list->first[level].head = UINT64_MAX;
		list->trace.links[level] = link_at(list_start(list), level);
	}
	return &list->base;
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
	.get_many = skiplist_get_many,
	.count = skiplist_count,
	.iterator_init = skiplist_iterator_init,
	.seek = skiplist_seek,
	.seek_back = skiplist_seek_back,
	.seek_last = skiplist_seek_last,
	.next = skiplist_next,
	.prev = skiplist_prev,
};
