/*
 * plain_art.c: an adaptive radix tree after its paper (Leis, Kemper, Neumann, "The adaptive radix tree:
 * ARTful indexing for main-memory databases", ICDE 2013): nodes of 4, 16, 48 and 256 children, path
 * compression with up to 8 bytes of a prefix in the node and the rest in any leaf below, leaves as high up as
 * they can be. A key that ends at an inner node has its leaf there. A leaf has its versions in a list.
 *
 * An iterator remembers the way down to its leaf; after an insert, or where that is longer than it has room
 * for, it goes down from the root again.
 */
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "plain/plain.h"

#include "base/poison.h"

enum { PREFIX_BYTES = 8, WAY_MAX = 24, BYTES = 256, NO_CHILD = 0xff };

enum node_type { NODE4, NODE16, NODE48, NODE256, NODE_TYPES };

struct version {
	struct version *older, *newer;
	uint64_t sequence;
	uint32_t value_size;
	uint8_t kind;
	uint8_t value[];
};

struct leaf {
	struct version *newest, *oldest;
	uint32_t key_size;
	uint8_t key[];
};

/* An inner node or, with the lowest bit set, a leaf. */
typedef uintptr_t place;

struct node {
	uint8_t type;
	uint16_t count; /* of children */
	uint32_t prefix_size;
	uint8_t prefix[PREFIX_BYTES]; /* its first bytes */
	struct leaf *ended;	      /* of the key that ends here */
};

struct node4 {
	struct node node;
	uint8_t bytes[4]; /* sorted */
	place children[4];
};

struct node16 {
	struct node node;
	uint8_t bytes[16]; /* sorted */
	place children[16];
};

struct node48 {
	struct node node;
	uint8_t index[BYTES]; /* NO_CHILD, or where in children */
	place children[48];
};

struct node256 {
	struct node node;
	place children[BYTES];
};

static const size_t node_bytes[NODE_TYPES] = {
	[NODE4] = sizeof(struct node4),
	[NODE16] = sizeof(struct node16),
	[NODE48] = sizeof(struct node48),
	[NODE256] = sizeof(struct node256),
};

static const unsigned node_room[NODE_TYPES] = { 4, 16, 48, BYTES };

/* A node that a larger one has replaced. */
struct unused {
	struct unused *next;
};

struct art {
	struct memtable base;
	uint64_t count;
	uint64_t changes; /* new keys: a way that was found before may be wrong */
	place root;	  /* 0: the tree is empty */
	struct unused *unused[NODE_TYPES];
};

/* A node on the way to a leaf, and the byte of the child that was taken; -1: `ended`. */
struct turn {
	struct node *node;
	int byte;
};

struct cursor {
	struct memtable_iterator base;
	struct leaf *leaf;
	struct version *version;
	uint64_t changes; /* of the tree when the way was right */
	unsigned turns;
	bool knows_way;
	struct turn way[WAY_MAX];
};

_Static_assert(sizeof(struct cursor) <= MEMTABLE_ITERATOR_BYTES, "the caller's room suffices");

static bool is_leaf(place at)
{
	return (at & 1) != 0;
}

static struct leaf *as_leaf(place at)
{
	return (struct leaf *)(at & ~(place)1);
}

static struct node *as_node(place at)
{
	return (struct node *)at;
}

static place leaf_place(const struct leaf *leaf)
{
	return (place)leaf | 1;
}

static struct slice leaf_key(const struct leaf *leaf)
{
	return slice_make(leaf->key, leaf->key_size);
}

static struct memtable *art_create(struct arena *arena, const void *options)
{
	(void)options;
	struct art *art = arena_allocate(arena, sizeof(*art), _Alignof(struct art));
	if (art == NULL)
		return NULL;
	*art = (struct art) { .base = { .ops = &plain_art, .arena = arena } };
	return &art->base;
}

/* --- children --- */

static unsigned find_byte16(const struct node16 *node, uint8_t byte)
{
#if defined(__x86_64__)
	__m128i equal = _mm_cmpeq_epi8(_mm_set1_epi8((char)byte),
				       _mm_loadu_si128((const __m128i *)(const void *)node->bytes));
	unsigned mask = (unsigned)_mm_movemask_epi8(equal) & ((1u << node->node.count) - 1);
	return mask != 0 ? (unsigned)__builtin_ctz(mask) : node->node.count;
#else
	unsigned i = 0;
	while (i < node->node.count && node->bytes[i] != byte)
		i++;
	return i;
#endif
}

/* Where the child of that byte hangs; NULL: there is none. */
static place *find_child(struct node *node, uint8_t byte)
{
	switch (node->type) {
	case NODE4: {
		struct node4 *of4 = (struct node4 *)node;
		for (unsigned i = 0; i < node->count; i++) {
			if (of4->bytes[i] == byte)
				return &of4->children[i];
		}
		return NULL;
	}
	case NODE16: {
		struct node16 *of16 = (struct node16 *)node;
		unsigned i = find_byte16(of16, byte);
		return i < node->count ? &of16->children[i] : NULL;
	}
	case NODE48: {
		struct node48 *of48 = (struct node48 *)node;
		return of48->index[byte] != NO_CHILD ? &of48->children[of48->index[byte]] : NULL;
	}
	default: {
		struct node256 *of256 = (struct node256 *)node;
		return of256->children[byte] != 0 ? &of256->children[byte] : NULL;
	}
	}
}

/* The bytes of a small node, sorted; NULL for the others. */
static const uint8_t *sorted_bytes(const struct node *node)
{
	if (node->type == NODE4)
		return ((const struct node4 *)node)->bytes;
	return node->type == NODE16 ? ((const struct node16 *)node)->bytes : NULL;
}

static bool has_child(const struct node *node, unsigned byte)
{
	return node->type == NODE48 ? ((const struct node48 *)node)->index[byte] != NO_CHILD
				    : ((const struct node256 *)node)->children[byte] != 0;
}

/* The smallest byte of a child that is >= `byte`; -1: there is none. */
static int byte_from(const struct node *node, int byte)
{
	const uint8_t *bytes = sorted_bytes(node);
	if (bytes != NULL) {
		for (unsigned i = 0; i < node->count; i++) {
			if (bytes[i] >= byte)
				return bytes[i];
		}
		return -1;
	}
	for (; byte < BYTES; byte++) {
		if (has_child(node, (unsigned)byte))
			return byte;
	}
	return -1;
}

/* The largest byte of a child that is <= `byte`; -1: there is none. */
static int byte_until(const struct node *node, int byte)
{
	const uint8_t *bytes = sorted_bytes(node);
	if (bytes != NULL) {
		for (unsigned i = node->count; i-- > 0;) {
			if (bytes[i] <= byte)
				return bytes[i];
		}
		return -1;
	}
	for (; byte >= 0; byte--) {
		if (has_child(node, (unsigned)byte))
			return byte;
	}
	return -1;
}

static place child_at(const struct node *node, int byte)
{
	return byte < 0 ? leaf_place(node->ended) : *find_child((struct node *)node, (uint8_t)byte);
}

/* The byte of a node's first or last child, where -1 is `ended`. */
static int edge_byte(const struct node *node, bool last)
{
	if (last)
		return byte_until(node, BYTES - 1);
	return node->ended != NULL ? -1 : byte_from(node, 0);
}

/* --- the ends of a subtree --- */

static struct leaf *edge_leaf(place at, bool last)
{
	if (at == 0)
		return NULL;
	while (!is_leaf(at)) {
		const struct node *node = as_node(at);
		at = child_at(node, edge_byte(node, last));
	}
	return as_leaf(at);
}

/* All of a node's prefix: in the node, or, where it is longer, in a leaf below. */
static const uint8_t *whole_prefix(const struct node *node, size_t depth)
{
	if (node->prefix_size <= PREFIX_BYTES)
		return node->prefix;
	return edge_leaf((place)node, false)->key + depth;
}

/* How many bytes of the node's prefix the key has from `depth` on. */
static size_t match_prefix(const struct node *node, const uint8_t *prefix, struct slice key, size_t depth)
{
	return slice_common_prefix(slice_make(prefix, node->prefix_size), slice_skip(key, depth));
}

/* --- inserting --- */

static struct node *node_create(struct art *art, enum node_type type)
{
	struct unused *unused = art->unused[type];
	struct node *node;
	if (unused != NULL) {
		art->unused[type] = unused->next;
		node = (struct node *)unused;
	} else {
		node = arena_allocate(art->base.arena, node_bytes[type], 64);
	}
	if (node == NULL)
		return NULL;
	memset(node, 0, node_bytes[type]);
	node->type = (uint8_t)type;
	if (type == NODE48)
		memset(((struct node48 *)node)->index, NO_CHILD, BYTES);
	return node;
}

static void node_retire(struct art *art, struct node *node)
{
	enum node_type type = (enum node_type)node->type;
	struct unused *unused = (struct unused *)node;
	unused->next = art->unused[type];
	art->unused[type] = unused;
}

static void put_sorted(uint8_t *bytes, place *children, unsigned count, uint8_t byte, place child)
{
	unsigned at = 0;
	while (at < count && bytes[at] < byte)
		at++;
	memmove(&bytes[at + 1], &bytes[at], count - at);
	memmove(&children[at + 1], &children[at], (count - at) * sizeof(children[0]));
	bytes[at] = byte;
	children[at] = child;
}

/* The node has room, and no child of that byte. */
static void put_child(struct node *node, uint8_t byte, place child)
{
	if (node->type == NODE4) {
		struct node4 *of4 = (struct node4 *)node;
		put_sorted(of4->bytes, of4->children, node->count, byte, child);
	} else if (node->type == NODE16) {
		struct node16 *of16 = (struct node16 *)node;
		put_sorted(of16->bytes, of16->children, node->count, byte, child);
	} else if (node->type == NODE48) {
		struct node48 *of48 = (struct node48 *)node;
		of48->index[byte] = (uint8_t)node->count;
		of48->children[node->count] = child;
	} else {
		((struct node256 *)node)->children[byte] = child;
	}
	node->count++;
}

/* A node of the next larger type with the same children; NULL: no memory. */
static struct node *node_grow(struct art *art, struct node *node)
{
	struct node *grown = node_create(art, (enum node_type)(node->type + 1));
	if (grown == NULL)
		return NULL;
	grown->prefix_size = node->prefix_size;
	memcpy(grown->prefix, node->prefix, PREFIX_BYTES);
	grown->ended = node->ended;
	for (int byte = byte_from(node, 0); byte >= 0; byte = byte_from(node, byte + 1))
		put_child(grown, (uint8_t)byte, child_at(node, byte));
	return grown;
}

static struct version *version_create(struct art *art, const struct entry *entry)
{
	struct version *version = arena_allocate(art->base.arena, sizeof(*version) + entry->value.size,
						 _Alignof(struct version));
	if (version == NULL)
		return NULL;
	version->older = NULL;
	version->newer = NULL;
	version->sequence = entry->sequence;
	version->value_size = (uint32_t)entry->value.size;
	version->kind = (uint8_t)entry->kind;
	if (entry->value.size > 0)
		memcpy(version->value, entry->value.data, entry->value.size);
	return version;
}

static void leaf_add(struct leaf *leaf, struct version *version)
{
	version->older = leaf->newest;
	leaf->newest->newer = version;
	leaf->newest = version;
}

static struct leaf *leaf_create(struct art *art, struct slice key, struct version *version)
{
	struct leaf *leaf = arena_allocate(art->base.arena, sizeof(*leaf) + key.size, _Alignof(struct leaf));
	if (leaf == NULL)
		return NULL;
	leaf->newest = version;
	leaf->oldest = version;
	leaf->key_size = (uint32_t)key.size;
	if (key.size > 0)
		memcpy(leaf->key, key.data, key.size);
	return leaf;
}

static void put_leaf(struct node *node, struct leaf *leaf, size_t depth)
{
	if (leaf->key_size == depth)
		node->ended = leaf;
	else
		put_child(node, leaf->key[depth], leaf_place(leaf));
}

static void set_prefix(struct node *node, const uint8_t *prefix, size_t size)
{
	node->prefix_size = (uint32_t)size;
	memmove(node->prefix, prefix, size < PREFIX_BYTES ? size : PREFIX_BYTES);
}

/* A leaf stands where a second key belongs: both get a node that has what they share as its prefix. */
static bool split_leaf(struct art *art, place *at, struct leaf *leaf, size_t depth)
{
	struct leaf *other = as_leaf(*at);
	struct node *node = node_create(art, NODE4);
	if (node == NULL)
		return false;
	size_t shared =
		slice_common_prefix(slice_skip(leaf_key(leaf), depth), slice_skip(leaf_key(other), depth));
	set_prefix(node, leaf->key + depth, shared);
	put_leaf(node, other, depth + shared);
	put_leaf(node, leaf, depth + shared);
	*at = (place)node;
	return true;
}

/* The key leaves a node's prefix after `matched` bytes: a node for the common part goes above it. */
static bool split_prefix(struct art *art, place *at, const uint8_t *prefix, struct leaf *leaf, size_t depth,
			 size_t matched)
{
	struct node *below = as_node(*at);
	struct node *above = node_create(art, NODE4);
	if (above == NULL)
		return false;
	set_prefix(above, prefix, matched);
	put_child(above, prefix[matched], *at);
	put_leaf(above, leaf, depth + matched);
	set_prefix(below, prefix + matched + 1, below->prefix_size - matched - 1);
	*at = (place)above;
	return true;
}

static bool add_leaf(struct art *art, place *at, struct leaf *leaf, size_t depth)
{
	struct node *node = as_node(*at);
	if (leaf->key_size > depth && node->count == node_room[node->type]) {
		struct node *grown = node_grow(art, node);
		if (grown == NULL)
			return false;
		*at = (place)grown;
		node_retire(art, node);
		node = grown;
	}
	put_leaf(node, leaf, depth);
	return true;
}

/* The key is new, and `at` is where it leaves the tree. */
static bool insert_leaf(struct art *art, place *at, size_t depth, struct slice key, struct version *version)
{
	struct leaf *leaf = leaf_create(art, key, version);
	if (leaf == NULL)
		return false;
	if (*at == 0) {
		*at = leaf_place(leaf);
		return true;
	}
	if (is_leaf(*at))
		return split_leaf(art, at, leaf, depth);
	const struct node *node = as_node(*at);
	const uint8_t *prefix = whole_prefix(node, depth);
	size_t matched = match_prefix(node, prefix, key, depth);
	if (matched < node->prefix_size)
		return split_prefix(art, at, prefix, leaf, depth, matched);
	return add_leaf(art, at, leaf, depth + node->prefix_size);
}

/* The key's leaf; NULL: it has none, and *at and *depth say where it leaves the tree. */
static struct leaf *find_place(struct art *art, struct slice key, place **at, size_t *depth)
{
	*at = &art->root;
	*depth = 0;
	while (**at != 0 && !is_leaf(**at)) {
		struct node *node = as_node(**at);
		size_t matched = match_prefix(node, whole_prefix(node, *depth), key, *depth);
		if (matched < node->prefix_size)
			return NULL;
		if (*depth + matched == key.size)
			return node->ended;
		place *child = find_child(node, key.data[*depth + matched]);
		if (child == NULL)
			return NULL;
		*at = child;
		*depth += matched + 1;
	}
	if (**at == 0 || !slice_equal(leaf_key(as_leaf(**at)), key))
		return NULL;
	return as_leaf(**at);
}

static struct status art_insert(struct memtable *memtable, const struct entry *entry, uint64_t oldest_needed)
{
	struct art *art = (struct art *)memtable;
	place *at;
	size_t depth;
	(void)oldest_needed;
	struct version *version = version_create(art, entry);
	if (version == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct leaf *leaf = find_place(art, entry->key, &at, &depth);
	if (leaf != NULL) {
		leaf_add(leaf, version);
	} else {
		if (!insert_leaf(art, at, depth, entry->key, version))
			return status_make(STATUS_NO_MEMORY);
		art->changes++;
	}
	art->count++;
	return status_ok();
}

/* --- reading --- */

/* The newest version with sequence <= `sequence`. */
static struct version *version_at(const struct leaf *leaf, uint64_t sequence)
{
	struct version *version = leaf->newest;
	while (version != NULL && version->sequence > sequence)
		version = version->older;
	return version;
}

static void version_show(const struct leaf *leaf, const struct version *version, struct entry *entry)
{
	entry->key = leaf_key(leaf);
	entry->value = slice_make(version->value, version->value_size);
	entry->sequence = version->sequence;
	entry->kind = (enum entry_kind)version->kind;
}

/* Optimistic, as the paper has it: bytes of a prefix that are not in the node are compared at the leaf. */
static struct leaf *find_leaf(const struct art *art, struct slice key)
{
	place at = art->root;
	size_t depth = 0;
	while (at != 0 && !is_leaf(at)) {
		struct node *node = as_node(at);
		if (key.size - depth < node->prefix_size)
			return NULL;
		size_t here = node->prefix_size < PREFIX_BYTES ? node->prefix_size : PREFIX_BYTES;
		for (size_t i = 0; i < here; i++) {
			if (node->prefix[i] != key.data[depth + i])
				return NULL;
		}
		depth += node->prefix_size;
		if (depth == key.size) {
			at = node->ended != NULL ? leaf_place(node->ended) : 0;
			break;
		}
		const place *child = find_child(node, key.data[depth++]);
		at = child != NULL ? *child : 0;
	}
	if (at == 0 || !slice_equal(leaf_key(as_leaf(at)), key))
		return NULL;
	return as_leaf(at);
}

static bool art_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	const struct leaf *leaf = find_leaf((const struct art *)memtable, key);
	const struct version *version = leaf != NULL ? version_at(leaf, sequence) : NULL;
	if (version == NULL)
		return false;
	version_show(leaf, version, entry);
	return true;
}

static uint64_t art_count(const struct memtable *memtable)
{
	return ((const struct art *)memtable)->count;
}

/* The leaf of the first key >= `key`; NULL: there is none. */
static struct leaf *find_not_before(const struct art *art, struct slice key)
{
	place beyond = 0; /* the nearest subtree behind the key */
	place at = art->root;
	size_t depth = 0;
	while (at != 0 && !is_leaf(at)) {
		struct node *node = as_node(at);
		const uint8_t *prefix = whole_prefix(node, depth);
		size_t matched = match_prefix(node, prefix, key, depth);
		if (matched < node->prefix_size && depth + matched < key.size &&
		    key.data[depth + matched] > prefix[matched]) {
			at = 0;
			break;
		}
		depth += matched;
		if (matched < node->prefix_size || depth == key.size)
			return edge_leaf(at, false);
		int next = byte_from(node, key.data[depth] + 1);
		if (next >= 0)
			beyond = child_at(node, next);
		const place *child = find_child(node, key.data[depth++]);
		at = child != NULL ? *child : 0;
	}
	if (at != 0 && slice_compare(leaf_key(as_leaf(at)), key) >= 0)
		return as_leaf(at);
	return edge_leaf(beyond, false);
}

/* --- iterating --- */

static void cursor_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	*(struct cursor *)iterator = (struct cursor) { .base.memtable = memtable };
}

static void cursor_place(struct cursor *cursor, struct leaf *leaf, struct version *version)
{
	cursor->base.valid = true;
	cursor->leaf = leaf;
	cursor->version = version;
	version_show(leaf, version, &cursor->base.entry);
}

/* At the newest version of a leaf, or at the oldest; leaf NULL: nowhere. */
static void cursor_enter(struct cursor *cursor, struct leaf *leaf, bool at_oldest)
{
	if (leaf == NULL)
		cursor->base.valid = false;
	else
		cursor_place(cursor, leaf, at_oldest ? leaf->oldest : leaf->newest);
}

/* The byte beside `byte` in a node, in that direction, where -1 is `ended`; -2: there is none. */
static int byte_beside(const struct node *node, int byte, bool back)
{
	if (!back) {
		int next = byte_from(node, byte + 1);
		return next >= 0 ? next : -2;
	}
	int before = byte > 0 ? byte_until(node, byte - 1) : -1;
	if (before >= 0)
		return before;
	return byte >= 0 && node->ended != NULL ? -1 : -2;
}

/* The byte that the key takes at a node behind `depth` bytes. */
static int key_byte(const struct leaf *leaf, size_t depth)
{
	return depth == leaf->key_size ? -1 : leaf->key[depth];
}

static void way_add(struct cursor *cursor, struct node *node, int byte)
{
	cursor->knows_way &= cursor->turns < WAY_MAX;
	if (cursor->knows_way)
		cursor->way[cursor->turns++] = (struct turn) { node, byte };
}

/* Goes down to the cursor's leaf; returns the nearest subtree beside the way, 0: there is none. */
static place way_find(struct cursor *cursor, bool back)
{
	const struct art *art = (const struct art *)cursor->base.memtable;
	place beside = 0;
	size_t depth = 0;
	cursor->turns = 0;
	cursor->knows_way = true;
	cursor->changes = art->changes;
	for (place at = art->root; !is_leaf(at);) {
		struct node *node = as_node(at);
		depth += node->prefix_size;
		int byte = key_byte(cursor->leaf, depth++);
		way_add(cursor, node, byte);
		int next = byte_beside(node, byte, back);
		if (next > -2)
			beside = child_at(node, next);
		at = child_at(node, byte);
	}
	return beside;
}

/* To the leaf beside the cursor's. */
static struct leaf *cursor_step(struct cursor *cursor, bool back)
{
	if (!cursor->knows_way || cursor->changes != ((const struct art *)cursor->base.memtable)->changes) {
		place beside = way_find(cursor, back);
		if (!cursor->knows_way)
			return edge_leaf(beside, back);
	}
	while (cursor->turns > 0) {
		struct turn *turn = &cursor->way[cursor->turns - 1];
		int byte = byte_beside(turn->node, turn->byte, back);
		if (byte == -2) {
			cursor->turns--;
			continue;
		}
		turn->byte = byte;
		place at = child_at(turn->node, byte);
		while (!is_leaf(at)) {
			struct node *node = as_node(at);
			int edge = edge_byte(node, back);
			way_add(cursor, node, edge);
			at = child_at(node, edge);
		}
		return as_leaf(at);
	}
	return NULL;
}

static void cursor_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct cursor *cursor = (struct cursor *)iterator;
	cursor->knows_way = false;
	struct leaf *leaf = find_not_before((const struct art *)iterator->memtable, key);
	if (leaf != NULL && slice_equal(leaf_key(leaf), key)) {
		struct version *version = version_at(leaf, sequence);
		if (version != NULL) {
			cursor_place(cursor, leaf, version);
			return;
		}
		cursor->leaf = leaf;
		leaf = cursor_step(cursor, false);
	}
	cursor_enter(cursor, leaf, false);
}

static void cursor_seek_last(struct memtable_iterator *iterator)
{
	struct cursor *cursor = (struct cursor *)iterator;
	cursor->knows_way = false;
	cursor_enter(cursor, edge_leaf(((const struct art *)iterator->memtable)->root, true), true);
}

static void cursor_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct cursor *cursor = (struct cursor *)iterator;
	cursor->knows_way = false;
	struct leaf *leaf = find_not_before((const struct art *)iterator->memtable, key);
	if (leaf == NULL) {
		cursor_seek_last(iterator);
		return;
	}
	if (slice_equal(leaf_key(leaf), key) && leaf->newest->sequence >= sequence) {
		struct version *version = leaf->newest;
		while (version->older != NULL && version->older->sequence >= sequence)
			version = version->older;
		cursor_place(cursor, leaf, version);
		return;
	}
	cursor->leaf = leaf;
	cursor_enter(cursor, cursor_step(cursor, true), true);
}

static void cursor_next(struct memtable_iterator *iterator)
{
	struct cursor *cursor = (struct cursor *)iterator;
	if (cursor->version->older != NULL)
		cursor_place(cursor, cursor->leaf, cursor->version->older);
	else
		cursor_enter(cursor, cursor_step(cursor, false), false);
}

static void cursor_prev(struct memtable_iterator *iterator)
{
	struct cursor *cursor = (struct cursor *)iterator;
	if (cursor->version->newer != NULL)
		cursor_place(cursor, cursor->leaf, cursor->version->newer);
	else
		cursor_enter(cursor, cursor_step(cursor, true), true);
}

const struct memtable_ops plain_art = {
	.component = {
		.name = "plain_art",
		.summary = "adaptive radix tree as in its paper, versions in a list at the leaf",
		.abi = COMPONENT_ABI,
	},
	.create = art_create,
	.insert = art_insert,
	.get = art_get,
	.count = art_count,
	.iterator_init = cursor_init,
	.seek = cursor_seek,
	.seek_back = cursor_seek_back,
	.seek_last = cursor_seek_last,
	.next = cursor_next,
	.prev = cursor_prev,
};
