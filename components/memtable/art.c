/*
 * art.c: a memtable that is an adaptive radix tree (Leis, Kemper and Neumann 2013, "The adaptive radix tree:
 * ARTful indexing for main-memory databases").
 *
 * A trie over the bytes of keys whose inner nodes (art_nodes_internal.h) are as large as their children are
 * many. A node with one child is never made: its byte goes into the prefix of the node below (path
 * compression), and below the last byte that tells a key from all others there is its record (lazy
 * expansion). So a search reads of each key byte at most once, compares one whole key in the end, and its
 * cost depends on how keys spread, not on how many there are.
 *
 * Keys may be prefixes of one another and contain any bytes: the end of a key is a symbol of its own that
 * comes before all bytes.
 *
 * INV-ART-1: a node with prefix size p, reached by d bytes of a key, has only keys below it that agree in
 * their first d + p bytes. `get` therefore only jumps over prefixes: the record in the end tells. Whoever
 * needs to know where a key would lie compares the bytes that nodes hold of their prefixes, and where these
 * are longer, in the end the key of any one record below: if that says that an earlier byte differs, the
 * search goes once more, to that byte (tree_locate). Only the root's prefix, which may well be long, is
 * always compared at once, with the first record of all.
 * INV-ART-2: every node has at least two children, so that a prefix is as long as it can be and a tree has
 * fewer nodes than keys.
 * INV-ART-3: records never move and stay in the tree; nodes move when they grow, and their memory becomes
 * another node's. Iterators therefore know their place by its record, and their path only as long as
 * `changes` is what it was.
 *
 * Versions of a key hang on its record (record_internal.h).
 */
#include "components/memtable/memtable.h"
#include "components/memtable/record_internal.h"
#include "components/memtable/art_nodes_internal.h"

#include <string.h>

#include "base/assert.h"

#include "base/poison.h"

enum {
	ROOT_ROOM = 8,	  /* a slot and what lies before it */
	PATH_FRAMES = 16, /* nodes of a path that an iterator remembers */
	AHEAD_MAX = 8,	  /* records that an iterator has found and not yet come to */
	AHEAD_STEP = 2,	  /* how many it finds at most in one step */
	LANES = 32,	  /* searches of get_many under way at the same time */
	ALWAYS_EVEN = 2,  /* alignment of records: an odd reference is a node's */
};

struct art {
	struct memtable base;
	uint64_t count;	      /* versions that an iterator visits */
	uint64_t changes;     /* of nodes: keys added */
	struct record *first; /* the first record of all: has the root's prefix. NULL: the tree is empty */
	uint8_t root[ROOT_ROOM];
	struct node_memory nodes;
};

/* The nodes from the root to a place, the latest of them with the position that was taken in each. */
struct path {
	uint64_t frames[PATH_FRAMES]; /* of level i in i % PATH_FRAMES: 1 + position above the reference */
	uint32_t levels;
	uint32_t lost; /* levels from the root that have no frame any more */
};

struct art_iterator {
	struct memtable_iterator base;
	struct record *record;
	struct version *version; /* NULL: at the record's first version */
	/* The path leads to `edge`: the last of `ahead`, or `record` if none is left there. */
	uint64_t changes;
	struct path path;
	struct record *edge; /* NULL: the path leads to where `sought` would be */
	struct slice sought; /* only during a seek */
	struct record *ahead[AHEAD_MAX];
	uint8_t ahead_first;
	uint8_t ahead_count;
	bool up; /* which way the path goes */
};

_Static_assert(sizeof(struct art_iterator) <= MEMTABLE_ITERATOR_BYTES, "the caller's room suffices");

enum place_kind {
	PLACE_NOWHERE, /* the tree is empty */
	PLACE_FOUND,   /* the slot has the key's record */
	PLACE_RECORD,  /* the slot has another key's record */
	PLACE_PREFIX,  /* the slot's node has a prefix that the key does not have */
	PLACE_NODE,    /* the slot's node has no child for the key's symbol */
};

/* Where a search for a key ends. */
struct place {
	enum place_kind kind;
	uint8_t *slot;
	uint64_t reference; /* what it holds */
	size_t depth;	    /* bytes of the key that lead to the slot; PLACE_NODE: and through the prefix */
	size_t common;	    /* PLACE_RECORD, PLACE_PREFIX: bytes that the key and all below the slot share */
	struct record *below; /* a record below the slot, if one was looked at, else NULL */
};

extern const struct memtable_ops memtable_art;

/* --- paths --- */

static inline uint64_t frame_make(uint64_t reference, int position)
{
	return reference | (uint64_t)(position + 1) << REFERENCE_BITS;
}

static inline void path_clear(struct path *path)
{
	path->levels = 0;
	path->lost = 0;
}

static inline void path_push(struct path *path, uint64_t reference, int position)
{
	path->frames[path->levels % PATH_FRAMES] = frame_make(reference, position);
	path->levels++;
	if (path->levels - path->lost > PATH_FRAMES)
		path->lost++;
}

static inline uint64_t *path_top(struct path *path)
{
	DASSERT(path->levels > path->lost);
	return &path->frames[(path->levels - 1) % PATH_FRAMES];
}

static inline uint64_t frame_reference(uint64_t frame)
{
	return frame & UINT64_MAX >> (64 - REFERENCE_BITS);
}

static inline int frame_position(uint64_t frame)
{
	return (int)(frame >> REFERENCE_BITS) - 1;
}

/* --- searching --- */

static inline struct record *reference_record(uint64_t reference)
{
	DASSERT(!reference_is_node(reference));
	return (struct record *)(uintptr_t)reference;
}

static inline uint8_t *tree_root(const struct art *tree)
{
	return (uint8_t *)(uintptr_t)tree->root + ROOT_ROOM - REFERENCE_BYTES;
}

static inline int key_symbol(struct slice key, size_t depth)
{
	DASSERT(depth <= key.size);
	return __builtin_expect(depth < key.size, 1) ? key.data[depth] : SYMBOL_END;
}

static struct record *any_record(uint64_t reference)
{
	while (reference_is_node(reference))
		reference = node_nearest_child(reference);
	return reference_record(reference);
}

/* The record at the end of the only way that a key can go, NULL if that ends before. Prefixes are not
 * compared. */
static inline struct record *tree_reach(const struct art *tree, struct slice key)
{
	uint64_t reference = reference_load(tree_root(tree));
	size_t depth = 0;
	while (reference_is_node(reference)) {
		const struct node *node = reference_node(reference);
		reference_prefetch_children(reference);
		if (__builtin_expect(node->prefix_size != 0, 0)) {
			depth += node->prefix_size;
			if (depth > key.size)
				return NULL;
		}
		reference = node_child(reference, key_symbol(key, depth));
		depth++;
	}
	return reference_record(reference);
}

/* How many of the `limit` bytes of a node's prefix, at most those that it holds, the key goes on with. */
static inline size_t node_prefix_same(const struct node *node, struct slice key, size_t depth, size_t limit)
{
	size_t same = 0;
	DASSERT(limit <= PREFIX_INLINE);
	while (same < limit && node->prefix[same] == key.data[depth + same])
		same++;
	return same;
}

/*
 * How many bytes of a node's prefix the key goes on with, as far as can be told. *doubt: the bytes that the
 * node does not hold were taken to be the same.
 */
static inline size_t tree_prefix_same(const struct art *tree, const struct node *node, struct slice key,
				      size_t depth, bool *doubt)
{
	size_t size = node->prefix_size;
	size_t left = key.size - depth;
	size_t limit = size < left ? size : left;
	if (limit <= PREFIX_INLINE)
		return node_prefix_same(node, key, depth, limit);
	if (depth == 0)
		return key_common_prefix(slice_make(key.data, limit), record_key(tree->first));
	size_t same = node_prefix_same(node, key, depth, PREFIX_INLINE);
	if (same < PREFIX_INLINE)
		return same;
	*doubt = true;
	return limit;
}

/* tree_locate as far as it goes without a look at records: true if these may tell otherwise. */
static inline __attribute__((always_inline)) bool tree_descend(const struct art *tree, struct slice key,
							       struct place *place, struct path *path)
{
	uint8_t *slot = tree_root(tree);
	uint64_t reference;
	size_t depth = 0;
	bool doubt = false;
	place->kind = PLACE_RECORD;
	place->below = NULL;
	while (reference_is_node(reference = reference_load(slot))) {
		const struct node *node = reference_node(reference);
		reference_prefetch_children(reference);
		if (__builtin_expect(node->prefix_size != 0, 0)) {
			size_t same = tree_prefix_same(tree, node, key, depth, &doubt);
			if (same < node->prefix_size) {
				place->kind = PLACE_PREFIX;
				place->common = depth + same;
				break;
			}
			depth += same;
		}
		int position = node_find(reference, key_symbol(key, depth));
		if (path != NULL)
			path_push(path, reference, position);
		if (position == POSITION_NONE) {
			place->kind = PLACE_NODE;
			break;
		}
		slot = node_slot(reference, position);
		depth++;
	}
	place->slot = slot;
	place->reference = reference;
	place->depth = depth;
	return doubt;
}

/* The node whose prefix has the byte in which the key is the first time not that of its records. */
static void tree_descend_again(const struct art *tree, struct slice key, size_t common, struct place *place,
			       struct path *path)
{
	uint8_t *slot = tree_root(tree);
	size_t depth = 0;
	if (path != NULL)
		path_clear(path);
	for (;;) {
		uint64_t reference = reference_load(slot);
		ASSERT(reference_is_node(reference));
		size_t end = depth + reference_node(reference)->prefix_size;
		if (end > common) {
			place->kind = PLACE_PREFIX;
			place->slot = slot;
			place->reference = reference;
			place->depth = depth;
			place->common = common;
			return;
		}
		int position = node_find(reference, key_symbol(key, end));
		ASSERT(position != POSITION_NONE);
		if (path != NULL)
			path_push(path, reference, position);
		slot = node_slot(reference, position);
		depth = end + 1;
	}
}

/* Finds the place of a key. `path`, empty or NULL: comes to lead to the place's slot, and for PLACE_NODE to
 * the node in it. */
static inline __attribute__((always_inline)) void tree_locate(const struct art *tree, struct slice key,
							      struct place *place, struct path *path)
{
	bool doubt = tree_descend(tree, key, place, path);
	if (place->kind == PLACE_RECORD) {
		place->below = reference_record(place->reference);
		if (place->below == NULL) {
			place->kind = PLACE_NOWHERE;
			return;
		}
		struct slice other = record_key(place->below);
		place->common = key_common_prefix(key, other);
		if (place->common == key.size && place->common == other.size)
			place->kind = PLACE_FOUND;
		else if (place->common < place->depth)
			tree_descend_again(tree, key, place->common, place, path);
	} else if (__builtin_expect(doubt, 0)) {
		place->below = any_record(place->reference);
		size_t common = key_common_prefix(key, record_key(place->below));
		if (common < place->depth)
			tree_descend_again(tree, key, common, place, path);
		else if (place->kind == PLACE_PREFIX)
			place->common = common;
	}
}

/* The key of a record below the slot. */
static struct slice place_key_below(const struct place *place)
{
	return record_key(place->below != NULL ? place->below : any_record(place->reference));
}

/* Of PLACE_PREFIX: the byte that the prefix has where the key is another. */
static uint8_t place_prefix_byte(const struct place *place)
{
	size_t at = place->common - place->depth;
	if (at < PREFIX_INLINE)
		return reference_node(place->reference)->prefix[at];
	return place_key_below(place).data[place->common];
}

/* Of PLACE_RECORD and PLACE_PREFIX: whether the key comes before all that is below the slot. */
static bool place_is_before(const struct place *place, struct slice key)
{
	if (place->common == key.size)
		return true;
	if (place->kind == PLACE_PREFIX)
		return key.data[place->common] < place_prefix_byte(place);
	struct slice other = place_key_below(place);
	return place->common < other.size && key.data[place->common] < other.data[place->common];
}

/* --- inserting --- */

/* Fills in a node's prefix: `size` bytes that begin with those at `bytes`. */
static inline void node_set_prefix(struct node *node, const uint8_t *bytes, size_t size)
{
	node->prefix_size = (uint16_t)size;
	memmove(node->prefix, bytes, size < PREFIX_INLINE ? size : PREFIX_INLINE);
}

/* Above a record another of the same beginning. */
static void place_split_record(const struct place *place, struct slice key, uint8_t *memory,
			       struct record *record)
{
	struct slice other = record_key(place->below);
	int symbols[] = { key_symbol(other, place->common), key_symbol(key, place->common) };
	uint64_t children[] = { place->reference, (uintptr_t)record };
	uint64_t above = node_create_pair(memory, symbols, children);
	node_set_prefix(reference_node(above), other.data + place->depth, place->common - place->depth);
	reference_store(place->slot, above);
}

/* Above a node another that takes the beginning of its prefix. */
static void place_split_prefix(const struct place *place, struct slice key, uint8_t *memory,
			       struct record *record)
{
	struct node *node = reference_node(place->reference);
	int symbols[] = { place_prefix_byte(place), key_symbol(key, place->common) };
	uint64_t children[] = { place->reference, (uintptr_t)record };
	uint64_t above = node_create_pair(memory, symbols, children);
	size_t before = place->common - place->depth;
	size_t behind = node->prefix_size - before - 1;
	node_set_prefix(reference_node(above), node->prefix, before);
	if (node->prefix_size <= PREFIX_INLINE)
		node_set_prefix(node, node->prefix + before + 1, behind);
	else
		node_set_prefix(node, place_key_below(place).data + place->common + 1, behind);
	reference_store(place->slot, above);
}

/* To a node a child; `memory`, unless NULL, is of the next larger form. */
static void place_add_child(struct art *tree, const struct place *place, int symbol, uint8_t *memory,
			    struct record *record)
{
	uint64_t reference = place->reference;
	if (memory != NULL) {
		reference = node_grow(reference, memory);
		reference_store(place->slot, reference);
		node_memory_put(&tree->nodes, reference_form(place->reference),
				reference_memory(place->reference));
	}
	node_add(reference, symbol, (uintptr_t)record);
}

static struct record *record_create(struct art *tree, const struct entry *entry)
{
	void *memory = arena_allocate(tree->base.arena, record_bytes(entry), ALWAYS_EVEN);
	if (memory == NULL)
		return NULL;
	ASSERT((uintptr_t)memory >> REFERENCE_BITS == 0);
	return record_fill(memory, entry);
}

/* Adds the record of a new key at its place. What that needs is taken before anything changes. */
static struct status tree_add(struct art *tree, const struct place *place, const struct entry *entry)
{
	struct slice key = entry->key;
	uint8_t *memory = NULL;
	enum node_form form = NODE3;
	bool needs_node = place->kind == PLACE_RECORD || place->kind == PLACE_PREFIX;
	if (place->kind == PLACE_NODE && node_is_full(place->reference, key_symbol(key, place->depth))) {
		needs_node = true;
		form = reference_form(place->reference) + 1;
	}
	if (needs_node) {
		memory = node_memory_take(&tree->nodes, form);
		if (memory == NULL)
			return status_make(STATUS_NO_MEMORY);
	}
	struct record *record = record_create(tree, entry);
	if (record == NULL) {
		if (memory != NULL)
			node_memory_put(&tree->nodes, form, memory);
		return status_make(STATUS_NO_MEMORY);
	}
	if (place->kind == PLACE_NODE) {
		place_add_child(tree, place, key_symbol(key, place->depth), memory, record);
	} else if (place->kind == PLACE_RECORD) {
		place_split_record(place, key, memory, record);
	} else if (place->kind == PLACE_PREFIX) {
		place_split_prefix(place, key, memory, record);
	} else {
		reference_store(place->slot, (uintptr_t)record);
		tree->first = record;
	}
	tree->count++;
	tree->changes++;
	return status_ok();
}

static struct memtable *art_create(struct arena *arena, const void *options)
{
	(void)options;
	struct art *tree = arena_allocate(arena, sizeof(*tree), _Alignof(struct art));
	if (tree == NULL)
		return NULL;
	memset(tree, 0, sizeof(*tree));
	tree->base.ops = &memtable_art;
	tree->base.arena = arena;
	tree->nodes.arena = arena;
	return &tree->base;
}

static struct status art_insert(struct memtable *memtable, const struct entry *entry, uint64_t oldest_needed)
{
	struct art *tree = (struct art *)memtable;
	struct place place;
	ASSERT(entry->key.size <= KEY_BYTES_MAX);
	ASSERT(entry->value.size <= UINT32_MAX);
	ASSERT(entry->sequence <= SEQUENCE_MAX);
	tree_locate(tree, entry->key, &place, NULL);
	if (place.kind != PLACE_FOUND)
		return tree_add(tree, &place, entry);
	struct held held = held_make(place.below);
	return held_add_version(&held, tree->base.arena, entry, oldest_needed, &tree->count);
}

static uint64_t art_count(const struct memtable *memtable)
{
	return ((const struct art *)memtable)->count;
}

/* --- getting --- */

/* The end of a search: `record` has the key, or no record has it. */
static inline bool record_get(struct record *record, struct slice key, uint64_t sequence, struct entry *entry)
{
	struct version *version;
	if (record == NULL || key_compare(key, record) != 0)
		return false;
	if (!held_find(held_make(record), sequence, &version))
		return false;
	entry_fill(entry, record, version);
	return true;
}

static bool art_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	return record_get(tree_reach((const struct art *)memtable, key), key, sequence, entry);
}

/* One search of a batch, which waits for what `reference` refers to. */
struct lane {
	uint64_t reference;
	size_t depth;
	struct memtable_probe *probe;
};

/* Loads what the next step of a lane looks at. */
static PREFETCHES void lane_prefetch(const struct lane *lane, struct slice key)
{
	uint64_t reference = lane->reference;
	reference_prefetch(reference);
	if (__builtin_expect(reference_is_big(reference) && lane->depth < key.size, 0))
		/* As if the node had no prefix; most of the large ones have none. */
		big_prefetch(reference, key.data[lane->depth]);
}

/* One node further. */
static inline void lane_step(struct lane *lane)
{
	struct slice key = lane->probe->key;
	const struct node *node = reference_node(lane->reference);
	if (__builtin_expect(node->prefix_size != 0, 0)) {
		lane->depth += node->prefix_size;
		if (lane->depth > key.size) {
			lane->reference = 0;
			return;
		}
	}
	lane->reference = node_child(lane->reference, key_symbol(key, lane->depth));
	lane->depth++;
	lane_prefetch(lane, key);
}

static void art_get_many(struct memtable *memtable, struct memtable_probe *probes, size_t count)
{
	const struct art *tree = (const struct art *)memtable;
	uint64_t root = reference_load(tree_root(tree));
	struct lane lanes[LANES];
	size_t started = 0;
	size_t active = 0;
	while (active < LANES && started < count)
		lanes[active++] = (struct lane) { .reference = root, .probe = &probes[started++] };
	while (active > 0) {
		for (size_t i = 0; i < active; i++) {
			struct lane *lane = &lanes[i];
			if (reference_is_node(lane->reference)) {
				lane_step(lane);
				continue;
			}
			struct memtable_probe *probe = lane->probe;
			probe->found = record_get(reference_record(lane->reference), probe->key,
						  probe->sequence, &probe->entry);
			if (started < count)
				*lane = (struct lane) { .reference = root, .probe = &probes[started++] };
			else
				*lane = lanes[--active];
		}
	}
}

/* --- moving a path --- */

/* Into a node, before the first of its children as seen from where the path goes. */
static inline void path_enter(struct path *path, uint64_t reference, bool up)
{
	path_push(path, reference, up ? POSITION_NONE : node_positions(reference));
	node_prefetch_children(reference);
}

/* Finds the frames of the path's levels again, whose keys are in the tree. */
static void iterator_find_frames(struct art_iterator *cursor)
{
	const struct art *tree = (const struct art *)cursor->base.memtable;
	struct slice key = cursor->edge != NULL ? record_key(cursor->edge) : cursor->sought;
	uint32_t levels = cursor->path.levels;
	uint64_t reference = reference_load(tree_root(tree));
	size_t depth = 0;
	path_clear(&cursor->path);
	while (cursor->path.levels < levels) {
		ASSERT(reference_is_node(reference));
		depth += reference_node(reference)->prefix_size;
		int position = node_find(reference, key_symbol(key, depth));
		ASSERT(position != POSITION_NONE);
		path_push(&cursor->path, reference, position);
		reference = reference_load(node_slot(reference, position));
		depth++;
	}
}

/*
 * Goes on to the next records, `want` of them or as many as there are: how many. Not after a change of the
 * tree.
 */
static unsigned iterator_fill(struct art_iterator *cursor, struct record **records, unsigned want)
{
	struct path *path = &cursor->path;
	const bool up = cursor->up;
	unsigned found = 0;
	while (path->levels > 0) {
		if (path->levels == path->lost)
			iterator_find_frames(cursor);
		uint64_t *frame = path_top(path);
		uint64_t reference = frame_reference(*frame);
		int position = node_step(reference, frame_position(*frame), up);
		uint64_t child = 0;
		for (; position != POSITION_NONE; position = node_step(reference, position, up)) {
			child = reference_load(node_slot(reference, position));
			if (reference_is_node(child))
				break;
			reference_prefetch(child);
			cursor->edge = reference_record(child);
			records[found++] = cursor->edge;
			if (found == want)
				break;
		}
		*frame = frame_make(reference, position);
		if (position == POSITION_NONE)
			path->levels--;
		else if (found == want)
			break;
		else
			path_enter(path, child, up);
	}
	return found;
}

static struct record *iterator_advance(struct art_iterator *cursor)
{
	struct record *record;
	return iterator_fill(cursor, &record, 1) == 1 ? record : NULL;
}

/* To the first record below a reference that the path leads to, as seen from where it goes. */
static struct record *iterator_descend(struct art_iterator *cursor, uint64_t reference)
{
	if (reference_is_node(reference)) {
		path_enter(&cursor->path, reference, cursor->up);
		return iterator_advance(cursor);
	}
	cursor->edge = reference_record(reference);
	return cursor->edge;
}

/*
 * Makes the path lead to the first record >= key, or, going down, to the last one <= key. *exact: it is the
 * key's. NULL: there is none.
 */
static struct record *iterator_find(struct art_iterator *cursor, struct slice key, bool up, bool *exact)
{
	const struct art *tree = (const struct art *)cursor->base.memtable;
	struct place place;
	cursor->changes = tree->changes;
	path_clear(&cursor->path);
	cursor->edge = NULL;
	cursor->sought = key;
	cursor->up = up;
	tree_locate(tree, key, &place, &cursor->path);
	*exact = place.kind == PLACE_FOUND;
	if (place.kind == PLACE_NOWHERE)
		return NULL;
	if (place.kind == PLACE_NODE) {
		int gap = node_gap(place.reference, key_symbol(key, place.depth), up);
		*path_top(&cursor->path) = frame_make(place.reference, gap);
		return iterator_advance(cursor);
	}
	if (place.kind == PLACE_FOUND || place_is_before(&place, key) == up)
		return iterator_descend(cursor, place.reference);
	return iterator_advance(cursor);
}

/* --- iterating --- */

static void art_iterator_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	struct art_iterator *cursor = (struct art_iterator *)iterator;
	memset(cursor, 0, sizeof(*cursor));
	cursor->base.memtable = memtable;
}

static inline void iterator_stand(struct art_iterator *cursor, struct record *record, struct version *version)
{
	cursor->record = record;
	cursor->version = version;
	entry_fill(&cursor->base.entry, record, version);
	cursor->base.valid = true;
}

/* Onto the record's first version on the way; NULL: off the end. */
static inline void iterator_enter(struct art_iterator *cursor, struct record *record)
{
	struct version *version;
	cursor->base.valid = record != NULL;
	if (record == NULL)
		return;
	if (cursor->up)
		version = held_newest(held_make(record));
	else
		held_oldest(held_make(record), &version);
	iterator_stand(cursor, record, version);
}

/*
 * To the next record on the way. Some of those behind it are found ahead of time, so that they have come from
 * memory when their turn is; none in a seek, which may be all that anybody wants, and one more with each
 * step. What was found stays what follows, whatever has been inserted since.
 */
static void iterator_leave(struct art_iterator *cursor, bool up)
{
	const struct art *tree = (const struct art *)cursor->base.memtable;
	struct record *found[AHEAD_STEP];
	unsigned first = 0;
	if (cursor->up != up || (cursor->ahead_count == 0 && cursor->changes != tree->changes)) {
		bool exact;
		(void)iterator_find(cursor, record_key(cursor->record), up, &exact);
		ASSERT(exact);
		cursor->ahead_count = 0;
	}
	unsigned count = 0;
	if (cursor->changes == tree->changes)
		count = iterator_fill(cursor, found, cursor->ahead_count < AHEAD_MAX ? AHEAD_STEP : 1);
	struct record *record;
	if (cursor->ahead_count > 0) {
		record = cursor->ahead[cursor->ahead_first];
		cursor->ahead_first = (uint8_t)((cursor->ahead_first + 1) % AHEAD_MAX);
		cursor->ahead_count--;
	} else {
		record = count > 0 ? found[0] : NULL;
		first = 1;
	}
	for (unsigned i = first; i < count; i++) {
		cursor->ahead[(cursor->ahead_first + cursor->ahead_count) % AHEAD_MAX] = found[i];
		cursor->ahead_count++;
	}
	iterator_enter(cursor, record);
}

/* Before a seek. */
static inline void iterator_forget_ahead(struct art_iterator *cursor)
{
	cursor->ahead_first = 0;
	cursor->ahead_count = 0;
}

static void art_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct art_iterator *cursor = (struct art_iterator *)iterator;
	struct version *version;
	bool exact;
	iterator_forget_ahead(cursor);
	struct record *record = iterator_find(cursor, key, true, &exact);
	if (exact && held_find(held_make(record), sequence, &version))
		iterator_stand(cursor, record, version);
	else
		iterator_enter(cursor, exact ? iterator_advance(cursor) : record);
}

static void art_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct art_iterator *cursor = (struct art_iterator *)iterator;
	struct version *version;
	bool exact;
	iterator_forget_ahead(cursor);
	struct record *record = iterator_find(cursor, key, false, &exact);
	if (exact && held_find_back(held_make(record), sequence, &version))
		iterator_stand(cursor, record, version);
	else
		iterator_enter(cursor, exact ? iterator_advance(cursor) : record);
}

static void art_seek_last(struct memtable_iterator *iterator)
{
	struct art_iterator *cursor = (struct art_iterator *)iterator;
	const struct art *tree = (const struct art *)iterator->memtable;
	cursor->changes = tree->changes;
	path_clear(&cursor->path);
	cursor->up = false;
	iterator_forget_ahead(cursor);
	iterator_enter(cursor, iterator_descend(cursor, reference_load(tree_root(tree))));
}

static void art_next(struct memtable_iterator *iterator)
{
	struct art_iterator *cursor = (struct art_iterator *)iterator;
	DASSERT(iterator->valid);
	if (held_older(held_make(cursor->record), &cursor->version))
		entry_fill(&iterator->entry, cursor->record, cursor->version);
	else
		iterator_leave(cursor, true);
}

static void art_prev(struct memtable_iterator *iterator)
{
	struct art_iterator *cursor = (struct art_iterator *)iterator;
	DASSERT(iterator->valid);
	if (held_newer(held_make(cursor->record), &cursor->version))
		entry_fill(&iterator->entry, cursor->record, cursor->version);
	else
		iterator_leave(cursor, false);
}

const struct memtable_ops memtable_art = {
	.component = {
		.name = "art",
		.summary = "adaptive radix tree: the fewer the bytes that tell keys apart, the faster",
		.abi = COMPONENT_ABI,
	},
	.create = art_create,
	.insert = art_insert,
	.get = art_get,
	.get_many = art_get_many,
	.count = art_count,
	.iterator_init = art_iterator_init,
	.seek = art_seek,
	.seek_back = art_seek_back,
	.seek_last = art_seek_last,
	.next = art_next,
	.prev = art_prev,
};
