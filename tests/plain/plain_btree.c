/*
 * plain_btree.c: a B+-tree as in textbooks (Knuth, The Art of Computer Programming, volume 3, 6.2.4): nodes
 * of up to 64 sorted pointers, searched by halves with whole keys compared, leaves linked both ways, full
 * nodes split in the middle. Each version is an entry of its own, ordered by key, then by sequence from the
 * newest.
 */
#include <string.h>

#include "plain/plain.h"

#include "base/poison.h"

enum { ORDER = 64, HEIGHT_MAX = 16 };

/* Key, then value. */
struct item {
	uint64_t sequence;
	uint32_t value_size;
	uint16_t key_size;
	uint8_t kind;
	uint8_t bytes[];
};

struct node {
	unsigned count;
	const struct item *items[ORDER];
};

struct leaf {
	struct node node;
	struct leaf *next, *previous;
};

/* items[i] is the smallest of children[i + 1]. */
struct inner {
	struct node node;
	struct node *children[ORDER + 1];
};

struct tree {
	struct memtable base;
	uint64_t count;
	uint64_t changes; /* an iterator that has seen fewer looks for its place anew */
	unsigned height;  /* inner levels */
	struct node *root;
	struct leaf *first, *last;
	/* Taken before a split begins, so that none fails half-way. */
	struct leaf *spare_leaf;
	struct inner *spares[HEIGHT_MAX];
	unsigned spare_count;
};

struct cursor {
	struct memtable_iterator base;
	const struct leaf *leaf;
	unsigned index;
	uint64_t changes;
};

_Static_assert(sizeof(struct cursor) <= MEMTABLE_ITERATOR_BYTES, "the caller's room suffices");

/* The way down to a leaf: inner nodes, the root first, and which child was taken. */
struct path {
	struct inner *inners[HEIGHT_MAX];
	unsigned taken[HEIGHT_MAX];
};

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

static struct memtable *tree_create(struct arena *arena, const void *options)
{
	(void)options;
	struct tree *tree = arena_allocate(arena, sizeof(*tree), _Alignof(struct tree));
	struct leaf *leaf = tree != NULL ? arena_allocate(arena, sizeof(*leaf), 64) : NULL;
	if (leaf == NULL)
		return NULL;
	memset(leaf, 0, sizeof(*leaf));
	*tree = (struct tree) { .base = { .ops = &plain_btree, .arena = arena },
				.root = &leaf->node,
				.first = leaf,
				.last = leaf };
	return &tree->base;
}

/* --- searching --- */

/* How many of a node's items are < (key, sequence). */
static unsigned count_before(const struct node *node, struct slice key, uint64_t sequence)
{
	unsigned low = 0;
	unsigned high = node->count;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct item *item = node->items[middle];
		if (entry_compare(item_key(item), item->sequence, key, sequence) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool item_is(const struct item *item, struct slice key, uint64_t sequence)
{
	return item->sequence == sequence && slice_equal(item_key(item), key);
}

/* The leaf in which (key, sequence) is or would be. `path` may be NULL. */
static struct leaf *find_leaf(const struct tree *tree, struct slice key, uint64_t sequence, struct path *path)
{
	struct node *node = tree->root;
	for (unsigned level = 0; level < tree->height; level++) {
		struct inner *inner = (struct inner *)node;
		unsigned child = count_before(node, key, sequence);
		/* An item that equals its separator lies to the right of it. */
		if (child < node->count && item_is(node->items[child], key, sequence))
			child++;
		if (path != NULL) {
			path->inners[level] = inner;
			path->taken[level] = child;
		}
		node = inner->children[child];
	}
	return (struct leaf *)node;
}

/* --- inserting --- */

/* Takes what splits along the path will need. */
static bool take_spares(struct tree *tree, const struct leaf *leaf, const struct path *path)
{
	if (leaf->node.count < ORDER)
		return true;
	struct arena *arena = tree->base.arena;
	if (tree->spare_leaf == NULL)
		tree->spare_leaf = arena_allocate(arena, sizeof(struct leaf), 64);
	unsigned full = 0;
	while (full < tree->height && path->inners[tree->height - 1 - full]->node.count == ORDER)
		full++;
	unsigned needed = full + (full == tree->height);
	while (tree->spare_leaf != NULL && tree->spare_count < needed) {
		struct inner *inner = arena_allocate(arena, sizeof(*inner), 64);
		if (inner == NULL)
			return false;
		tree->spares[tree->spare_count++] = inner;
	}
	return tree->spare_leaf != NULL;
}

static void node_put(struct node *node, unsigned at, const struct item *item)
{
	memmove(&node->items[at + 1], &node->items[at], (node->count - at) * sizeof(node->items[0]));
	node->items[at] = item;
	node->count++;
}

/* Moves the upper half of a full leaf to a new one. */
static struct leaf *split_leaf(struct tree *tree, struct leaf *left)
{
	struct leaf *right = tree->spare_leaf;
	tree->spare_leaf = NULL;
	right->node.count = ORDER / 2;
	memcpy(right->node.items, &left->node.items[ORDER / 2], (ORDER / 2) * sizeof(left->node.items[0]));
	left->node.count = ORDER / 2;
	right->next = left->next;
	right->previous = left;
	*(left->next != NULL ? &left->next->previous : &tree->last) = right;
	left->next = right;
	return right;
}

static void inner_put(struct inner *inner, unsigned at, const struct item *item, struct node *child)
{
	memmove(&inner->children[at + 2], &inner->children[at + 1],
		(inner->node.count - at) * sizeof(inner->children[0]));
	inner->children[at + 1] = child;
	node_put(&inner->node, at, item);
}

/* Splits a full inner node; *middle is the item between the two. */
static struct inner *split_inner(struct tree *tree, struct inner *left, const struct item **middle)
{
	struct inner *right = tree->spares[--tree->spare_count];
	unsigned half = ORDER / 2;
	right->node.count = ORDER - half - 1;
	memcpy(right->node.items, &left->node.items[half + 1],
	       right->node.count * sizeof(left->node.items[0]));
	memcpy(right->children, &left->children[half + 1],
	       (right->node.count + 1) * sizeof(left->children[0]));
	left->node.count = half;
	*middle = left->node.items[half];
	return right;
}

/* A node below has got a right neighbour: puts it into the inner nodes of the path, from the lowest up. */
static void put_upwards(struct tree *tree, struct path *path, const struct item *item, struct node *right)
{
	for (unsigned level = tree->height; level-- > 0;) {
		struct inner *inner = path->inners[level];
		unsigned at = path->taken[level];
		if (inner->node.count < ORDER) {
			inner_put(inner, at, item, right);
			return;
		}
		const struct item *middle;
		struct inner *beside = split_inner(tree, inner, &middle);
		if (at <= inner->node.count)
			inner_put(inner, at, item, right);
		else
			inner_put(beside, at - inner->node.count - 1, item, right);
		item = middle;
		right = &beside->node;
	}
	struct inner *root = tree->spares[--tree->spare_count];
	root->node.count = 1;
	root->node.items[0] = item;
	root->children[0] = tree->root;
	root->children[1] = right;
	tree->root = &root->node;
	tree->height++;
}

static struct item *item_create(struct arena *arena, const struct entry *entry)
{
	struct item *item = arena_allocate(arena, sizeof(*item) + entry->key.size + entry->value.size,
					   _Alignof(struct item));
	if (item == NULL)
		return NULL;
	item->sequence = entry->sequence;
	item->value_size = (uint32_t)entry->value.size;
	item->key_size = (uint16_t)entry->key.size;
	item->kind = (uint8_t)entry->kind;
	if (entry->key.size > 0)
		memcpy(item->bytes, entry->key.data, entry->key.size);
	if (entry->value.size > 0)
		memcpy(item->bytes + entry->key.size, entry->value.data, entry->value.size);
	return item;
}

static struct status tree_insert(struct memtable *memtable, const struct entry *entry, uint64_t oldest_needed)
{
	struct tree *tree = (struct tree *)memtable;
	struct path path;
	(void)oldest_needed;
	struct leaf *leaf = find_leaf(tree, entry->key, entry->sequence, &path);
	if (!take_spares(tree, leaf, &path))
		return status_make(STATUS_NO_MEMORY);
	const struct item *item = item_create(memtable->arena, entry);
	if (item == NULL)
		return status_make(STATUS_NO_MEMORY);
	unsigned at = count_before(&leaf->node, entry->key, entry->sequence);
	if (leaf->node.count == ORDER) {
		struct leaf *right = split_leaf(tree, leaf);
		if (at > ORDER / 2)
			node_put(&right->node, at - ORDER / 2, item);
		else
			node_put(&leaf->node, at, item);
		put_upwards(tree, &path, right->node.items[0], &right->node);
	} else {
		node_put(&leaf->node, at, item);
	}
	tree->changes++;
	tree->count++;
	return status_ok();
}

/* --- reading --- */

/* The first item >= (key, sequence), NULL if there is none; *leaf and *index say where it is. */
static const struct item *find_item(const struct tree *tree, struct slice key, uint64_t sequence,
				    const struct leaf **leaf, unsigned *index)
{
	*leaf = find_leaf(tree, key, sequence, NULL);
	*index = count_before(&(*leaf)->node, key, sequence);
	if (*index == (*leaf)->node.count && (*leaf)->next != NULL) {
		*leaf = (*leaf)->next;
		*index = 0;
	}
	return *index < (*leaf)->node.count ? (*leaf)->node.items[*index] : NULL;
}

static bool tree_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	const struct leaf *leaf;
	unsigned index;
	const struct item *item = find_item((const struct tree *)memtable, key, sequence, &leaf, &index);
	if (item == NULL || !slice_equal(item_key(item), key))
		return false;
	item_show(item, entry);
	return true;
}

static uint64_t tree_count(const struct memtable *memtable)
{
	return ((const struct tree *)memtable)->count;
}

/* --- iterating --- */

static void cursor_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	*(struct cursor *)iterator = (struct cursor) { .base.memtable = memtable };
}

static void cursor_place(struct cursor *cursor, const struct leaf *leaf, unsigned index)
{
	cursor->leaf = leaf;
	cursor->index = index;
	cursor->changes = ((const struct tree *)cursor->base.memtable)->changes;
	cursor->base.valid = true;
	item_show(leaf->node.items[index], &cursor->base.entry);
}

/* Only an empty tree has an empty leaf. */
static void cursor_place_last(struct cursor *cursor, const struct leaf *leaf)
{
	if (leaf == NULL || leaf->node.count == 0)
		cursor->base.valid = false;
	else
		cursor_place(cursor, leaf, leaf->node.count - 1);
}

static void cursor_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	const struct leaf *leaf;
	unsigned index;
	iterator->valid =
		find_item((const struct tree *)iterator->memtable, key, sequence, &leaf, &index) != NULL;
	if (iterator->valid)
		cursor_place((struct cursor *)iterator, leaf, index);
}

static void cursor_seek_last(struct memtable_iterator *iterator)
{
	cursor_place_last((struct cursor *)iterator, ((const struct tree *)iterator->memtable)->last);
}

static void cursor_step_back(struct cursor *cursor, const struct leaf *leaf, unsigned index)
{
	if (index > 0)
		cursor_place(cursor, leaf, index - 1);
	else
		cursor_place_last(cursor, leaf->previous);
}

static void cursor_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct cursor *cursor = (struct cursor *)iterator;
	const struct leaf *leaf;
	unsigned index;
	const struct item *item =
		find_item((const struct tree *)iterator->memtable, key, sequence, &leaf, &index);
	if (item != NULL && item_is(item, key, sequence))
		cursor_place(cursor, leaf, index);
	else
		cursor_step_back(cursor, leaf, index);
}

/* Inserts move items: the cursor goes where its own is now. */
static void cursor_refresh(struct cursor *cursor)
{
	const struct tree *tree = (const struct tree *)cursor->base.memtable;
	if (cursor->changes != tree->changes)
		(void)find_item(tree, cursor->base.entry.key, cursor->base.entry.sequence, &cursor->leaf,
				&cursor->index);
}

static void cursor_next(struct memtable_iterator *iterator)
{
	struct cursor *cursor = (struct cursor *)iterator;
	cursor_refresh(cursor);
	if (cursor->index + 1 < cursor->leaf->node.count)
		cursor_place(cursor, cursor->leaf, cursor->index + 1);
	else if (cursor->leaf->next != NULL)
		cursor_place(cursor, cursor->leaf->next, 0);
	else
		iterator->valid = false;
}

static void cursor_prev(struct memtable_iterator *iterator)
{
	struct cursor *cursor = (struct cursor *)iterator;
	cursor_refresh(cursor);
	cursor_step_back(cursor, cursor->leaf, cursor->index);
}

const struct memtable_ops plain_btree = {
	.component = {
		.name = "plain_btree",
		.summary = "B+-tree of sorted pointers, searched by halves with whole keys compared",
		.abi = COMPONENT_ABI,
	},
	.create = tree_create,
	.insert = tree_insert,
	.get = tree_get,
	.count = tree_count,
	.iterator_init = cursor_init,
	.seek = cursor_seek,
	.seek_back = cursor_seek_back,
	.seek_last = cursor_seek_last,
	.next = cursor_next,
	.prev = cursor_prev,
};
