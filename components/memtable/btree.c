/*
 * btree.c: a memtable that is a B+-tree of pointers to records, searched by key heads.
 *
 * A node is an array of 8-byte heads, then an array of pointers. The head of a key is the big-endian number
 * in its 8 bytes after the node's `skip`, so a search in a node is a branch-free binary search over
 * adjacent numbers; whole keys, which lie elsewhere in memory, are compared only where heads are equal.
 *
 * INV-BTREE-1: all keys of a node's range share their first `skip` bytes. A node's range lies between two
 * separators, or, at the edges, the smallest and the largest key of the tree; whatever the two ends have in
 * common, all keys between them have. So a search key needs no comparison with the common prefix, as long as
 * it lies within [smallest, largest]. A key outside finds a wrong place but never a wrong record: `get`
 * compares whole keys in the end; `insert` and `seek` look at both ends first.
 * INV-BTREE-2: heads behind `count` are UINT64_MAX, so that a search needs no count: its number of steps is
 * fixed and the compiler unrolls it.
 * INV-BTREE-3: nodes and records are never freed nor moved, and a record stays in exactly one leaf slot. An
 * iterator's place is right as long as the slot holds its record, else it is looked up anew.
 *
 * Versions of a key hang on its record (record_internal.h).
 */
#include "components/memtable/memtable.h"
#include "components/memtable/record_internal.h"

#include <string.h>

#include "base/assert.h"

#include "base/poison.h"

enum {
	SLOTS = 63, /* with the 8 bytes before the heads: whole cache lines, and 6 search steps */
	HEIGHT_MAX = 16,
	CACHE_LINE = 64,
	/* Inserts one behind the other in a leaf before it is taken for a run of ascending keys. */
	RUN_MIN = 6,
	/* How far ahead `next` loads the records that it will come to. */
	LOOK_AHEAD = 4,
};

_Static_assert(SLOTS == 63, "node_lower_bound halves 64 places");

/* The head of any node. In an inner node records[i] separates children[i] and children[i + 1]. */
struct node {
	uint16_t count;
	uint16_t skip;
	uint16_t last; /* leaves: where the last record was put */
	uint16_t run;  /* leaves: how many were put behind one another */
	uint64_t heads[SLOTS];
	struct record *records[SLOTS];
	struct node *next; /* leaves: the following leaf */
};

struct inner {
	struct node node;
	struct node *children[SLOTS + 1];
};

_Static_assert(offsetof(struct node, records) % CACHE_LINE == 0, "heads fill whole cache lines");
_Static_assert(sizeof(struct node) % CACHE_LINE == 0, "nodes fill whole cache lines");

struct btree {
	struct memtable base;
	struct node *root;
	unsigned height; /* inner levels above the leaves */
	uint64_t count;	 /* versions that an iterator visits */
	struct record *smallest, *largest;
	struct node *first_leaf;
	/* Memory taken ahead, so that a split cannot fail half-way. Linked by `next`. */
	struct node *spare_leaf;
	struct inner *spare_inners;
	unsigned spare_inner_count;
};

struct btree_iterator {
	struct memtable_iterator base;
	struct node *leaf;
	unsigned index;
	struct record *record;
	struct version *version; /* NULL: at the record's first version */
};

_Static_assert(sizeof(struct btree_iterator) <= MEMTABLE_ITERATOR_BYTES, "the caller's room suffices");

/* The way from the root to a leaf: nodes[0] is the root, indices[i] the child taken in nodes[i]. */
struct path {
	struct inner *nodes[HEIGHT_MAX];
	unsigned indices[HEIGHT_MAX];
};

extern const struct memtable_ops memtable_btree;

/* --- searching --- */

/* The number of heads below `head`: six halvings without a branch. */
static inline unsigned node_lower_bound(const struct node *node, uint64_t head)
{
	const uint64_t *from = node->heads;
	/* Written out, because gcc does not unroll the loop at -O2. */
	from += (size_t)(from[31] < head) << 5;
	from += (size_t)(from[15] < head) << 4;
	from += (size_t)(from[7] < head) << 3;
	from += (size_t)(from[3] < head) << 2;
	from += (size_t)(from[1] < head) << 1;
	from += (size_t)(from[0] < head);
	return (unsigned)(from - node->heads);
}

/* Among the slots from `low` on whose head equals the key's: the first record >= key. */
static unsigned node_search_equal(const struct node *node, unsigned low, struct slice key, uint64_t head,
				  bool *found)
{
	int order = key_compare(key, node->records[low]);
	*found = order == 0;
	if (order <= 0)
		return low;
	low++;
	unsigned high = head == UINT64_MAX ? node->count : node_lower_bound(node, head + 1);
	while (low < high) {
		unsigned middle = (low + high) / 2;
		order = key_compare(key, node->records[middle]);
		if (order == 0) {
			*found = true;
			return middle;
		}
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* The slot of the first record >= key, `count` if there is none; whether it is the key's. */
static inline unsigned node_search(const struct node *node, struct slice key, bool *found)
{
	uint64_t head = key_head(key, node->skip);
	unsigned index = node_lower_bound(node, head);
	*found = false;
	if (index < node->count && node->heads[index] == head)
		return node_search_equal(node, index, key, head, found);
	return index;
}

static inline void node_prefetch_heads(const struct node *node)
{
	for (size_t line = 0; line < offsetof(struct node, records); line += CACHE_LINE)
		__builtin_prefetch((const uint8_t *)node + line, 0, 3);
}

static inline void record_prefetch(const struct record *record)
{
	__builtin_prefetch(record, 0, 3);
	__builtin_prefetch((const uint8_t *)record + CACHE_LINE, 0, 3);
}

static inline unsigned inner_child(const struct inner *inner, struct slice key)
{
	bool found;
	unsigned index = node_search(&inner->node, key, &found);
	return index + (found ? 1 : 0);
}

static struct node *leaf_find(const struct btree *tree, struct slice key)
{
	struct node *node = tree->root;
	for (unsigned level = 0; level < tree->height; level++) {
		const struct inner *inner = (const struct inner *)node;
		node = inner->children[inner_child(inner, key)];
		node_prefetch_heads(node);
	}
	return node;
}

static struct node *leaf_find_path(const struct btree *tree, struct slice key, struct path *path)
{
	struct node *node = tree->root;
	for (unsigned level = 0; level < tree->height; level++) {
		struct inner *inner = (struct inner *)node;
		unsigned index = inner_child(inner, key);
		path->nodes[level] = inner;
		path->indices[level] = index;
		node = inner->children[index];
		node_prefetch_heads(node);
	}
	return node;
}

static struct record *record_create(struct btree *tree, const struct entry *entry)
{
	struct record *record =
		arena_allocate(tree->base.arena, record_bytes(entry), _Alignof(struct record));
	if (record == NULL)
		return NULL;
	record_fill(record, entry);
	return record;
}

/* --- nodes --- */

static void node_clear(struct node *node, unsigned skip)
{
	node->count = 0;
	node->skip = (uint16_t)skip;
	node->last = 0;
	node->run = 0;
	node->next = NULL;
	memset(node->heads, 0xff, sizeof(node->heads));
}

static void node_set_skip(struct node *node, size_t skip)
{
	for (unsigned i = 0; i < node->count; i++)
		__builtin_prefetch(node->records[i]->bytes + skip, 0, 3);
	for (unsigned i = 0; i < node->count; i++)
		node->heads[i] = key_head(record_key(node->records[i]), skip);
	node->skip = (uint16_t)skip;
}

static void node_put(struct node *node, unsigned index, struct record *record)
{
	unsigned moved = node->count - index;
	DASSERT(node->count < SLOTS);
	DASSERT(index <= node->count);
	memmove(&node->heads[index + 1], &node->heads[index], moved * sizeof(node->heads[0]));
	memmove(&node->records[index + 1], &node->records[index], moved * sizeof(node->records[0]));
	node->heads[index] = key_head(record_key(record), node->skip);
	node->records[index] = record;
	node->count++;
}

/* Moves the slots from `from` on into the empty node `to`. */
static void node_move_tail(struct node *node, unsigned from, struct node *to)
{
	unsigned moved = node->count - from;
	to->skip = node->skip;
	memcpy(to->heads, &node->heads[from], moved * sizeof(node->heads[0]));
	memcpy(to->records, &node->records[from], moved * sizeof(node->records[0]));
	to->count = (uint16_t)moved;
	node->count = (uint16_t)from;
	memset(&node->heads[from], 0xff, moved * sizeof(node->heads[0]));
}

static bool node_has_equal_heads(const struct node *node)
{
	for (unsigned i = 1; i < node->count; i++) {
		if (node->heads[i - 1] == node->heads[i])
			return true;
	}
	return false;
}

/* Heads that do not tell keys apart are taken further right, if the node's range allows that. */
static void node_sharpen(struct node *node, const struct record *lower, const struct record *upper)
{
	if (!node_has_equal_heads(node))
		return;
	size_t common = slice_common_prefix(record_key(lower), record_key(upper));
	if (common > node->skip)
		node_set_skip(node, common);
}

/* --- splitting --- */

/* The ends of the range of the node at `level` of the path (`level` = height: the leaf). */
static void path_range(const struct btree *tree, const struct path *path, unsigned level,
		       const struct record **lower, const struct record **upper)
{
	*lower = NULL;
	*upper = NULL;
	while (level-- > 0) {
		const struct node *node = &path->nodes[level]->node;
		unsigned index = path->indices[level];
		if (*lower == NULL && index > 0)
			*lower = node->records[index - 1];
		if (*upper == NULL && index < node->count)
			*upper = node->records[index];
	}
	if (*lower == NULL)
		*lower = tree->smallest;
	if (*upper == NULL)
		*upper = tree->largest;
}

/* Takes the memory that splitting a full leaf on this path needs. */
static bool split_reserve(struct btree *tree, const struct path *path)
{
	unsigned inners = 1;
	for (unsigned level = tree->height; level > 0; level--, inners++) {
		if (path->nodes[level - 1]->node.count < SLOTS) {
			inners--;
			break;
		}
	}
	if (tree->spare_leaf == NULL)
		tree->spare_leaf = arena_allocate(tree->base.arena, sizeof(struct node), CACHE_LINE);
	if (tree->spare_leaf == NULL)
		return false;
	while (tree->spare_inner_count < inners) {
		struct inner *inner = arena_allocate(tree->base.arena, sizeof(struct inner), CACHE_LINE);
		if (inner == NULL)
			return false;
		inner->node.next = (struct node *)tree->spare_inners;
		tree->spare_inners = inner;
		tree->spare_inner_count++;
	}
	return true;
}

static struct inner *spare_take(struct btree *tree)
{
	struct inner *inner = tree->spare_inners;
	ASSERT(tree->spare_inner_count > 0);
	tree->spare_inners = (struct inner *)inner->node.next;
	tree->spare_inner_count--;
	return inner;
}

static void inner_put(struct inner *inner, unsigned index, struct record *separator, struct node *right)
{
	unsigned moved = inner->node.count - index;
	memmove(&inner->children[index + 2], &inner->children[index + 1], moved * sizeof(inner->children[0]));
	inner->children[index + 1] = right;
	node_put(&inner->node, index, separator);
}

/*
 * Splits a full inner node on the path, whose child at `index` is about to get the right neighbour `child`,
 * and puts that in. Returns the new right half and its separator. At the right edge of the tree the left
 * node stays full, as ascending keys never come back to it.
 */
static struct inner *inner_split(struct btree *tree, const struct path *path, unsigned level,
				 struct record **separator, struct node *child, bool at_edge)
{
	struct inner *left = path->nodes[level];
	unsigned index = path->indices[level];
	struct inner *right = spare_take(tree);
	const struct record *lower, *upper;
	path_range(tree, path, level, &lower, &upper);
	node_clear(&right->node, left->node.skip);
	if (at_edge && index == SLOTS) {
		right->children[0] = child;
		return right;
	}
	unsigned middle = SLOTS / 2;
	struct record *raised = left->node.records[middle];
	memcpy(right->children, &left->children[middle + 1], (SLOTS - middle) * sizeof(left->children[0]));
	node_move_tail(&left->node, middle + 1, &right->node);
	left->node.count = (uint16_t)middle;
	left->node.heads[middle] = UINT64_MAX;
	if (index <= middle)
		inner_put(left, index, *separator, child);
	else
		inner_put(right, index - middle - 1, *separator, child);
	*separator = raised;
	node_sharpen(&left->node, lower, raised);
	node_sharpen(&right->node, raised, upper);
	return right;
}

/* Makes `right` known to the levels above the leaf as the neighbour of the path's leaf. */
static void path_add(struct btree *tree, const struct path *path, struct record *separator,
		     struct node *right)
{
	bool at_edge = right->next == NULL;
	for (unsigned level = tree->height; level > 0; level--) {
		struct inner *inner = path->nodes[level - 1];
		if (inner->node.count < SLOTS) {
			inner_put(inner, path->indices[level - 1], separator, right);
			return;
		}
		right = &inner_split(tree, path, level - 1, &separator, right, at_edge)->node;
	}
	struct inner *root = spare_take(tree);
	ASSERT(tree->height < HEIGHT_MAX);
	size_t common = slice_common_prefix(record_key(tree->smallest), record_key(tree->largest));
	node_clear(&root->node, (unsigned)common);
	root->children[0] = tree->root;
	root->children[1] = right;
	node_put(&root->node, 0, separator);
	tree->root = &root->node;
	tree->height++;
}

/* Where a full leaf is cut when `index` is the place of the new record: all before the cut stay. */
static unsigned leaf_cut(const struct node *leaf, unsigned index)
{
	/* Ascending keys: what lies before them is complete and may stay full. */
	if (index == SLOTS && leaf->next == NULL)
		return SLOTS;
	if (leaf->run >= RUN_MIN && index == leaf->last + 1u)
		return index;
	return SLOTS / 2 + 1;
}

static void leaf_put(struct node *leaf, unsigned index, struct record *record)
{
	leaf->run =
		index == leaf->last + 1u ? (uint16_t)(leaf->run < UINT16_MAX ? leaf->run + 1 : leaf->run) : 0;
	leaf->last = (uint16_t)index;
	node_put(leaf, index, record);
}

/* Puts the record into a full leaf. The memory has been reserved; nothing here fails. */
static void leaf_split(struct btree *tree, const struct path *path, struct node *left, unsigned index,
		       struct record *record)
{
	struct node *right = tree->spare_leaf;
	const struct record *lower, *upper;
	path_range(tree, path, tree->height, &lower, &upper);
	tree->spare_leaf = NULL;
	node_clear(right, left->skip);
	unsigned cut = leaf_cut(left, index);
	node_move_tail(left, cut, right);
	right->next = left->next;
	left->next = right;
	if (index < cut || (index == cut && cut < SLOTS))
		leaf_put(left, index, record);
	else
		leaf_put(right, index - cut, record);
	struct record *separator = right->records[0];
	node_sharpen(left, lower, separator);
	node_sharpen(right, separator, upper);
	path_add(tree, path, separator, right);
}

/* --- the ends of the tree --- */

/* Whether the key lies outside of what the tree holds, and where: -1 below, 1 above, 0 within. */
static int tree_outside(const struct btree *tree, struct slice key)
{
	if (key_compare(key, tree->smallest) < 0)
		return -1;
	return key_compare(key, tree->largest) > 0 ? 1 : 0;
}

/*
 * Before a key outside of the tree's range may be searched for: the nodes along that edge must not skip more
 * than the key has in common with what was the end so far. Heads change, nothing else.
 */
static void tree_widen(struct btree *tree, struct slice key, int side)
{
	const struct record *end = side < 0 ? tree->smallest : tree->largest;
	size_t common = slice_common_prefix(key, record_key(end));
	struct node *node = tree->root;
	for (unsigned level = 0;; level++) {
		if (node->skip > common)
			node_set_skip(node, common);
		if (level == tree->height)
			return;
		const struct inner *inner = (const struct inner *)node;
		node = inner->children[side < 0 ? 0 : node->count];
	}
}

/* --- the contract's functions --- */

static struct memtable *btree_create(struct arena *arena, const void *options)
{
	(void)options;
	struct btree *tree = arena_allocate(arena, sizeof(*tree), CACHE_LINE);
	struct node *leaf = tree == NULL ? NULL : arena_allocate(arena, sizeof(*leaf), CACHE_LINE);
	if (leaf == NULL)
		return NULL;
	memset(tree, 0, sizeof(*tree));
	node_clear(leaf, 0);
	tree->base.ops = &memtable_btree;
	tree->base.arena = arena;
	tree->root = leaf;
	tree->first_leaf = leaf;
	return &tree->base;
}

static struct status btree_insert(struct memtable *memtable, const struct entry *entry,
				  uint64_t oldest_needed)
{
	struct btree *tree = (struct btree *)memtable;
	struct path path;
	ASSERT(entry->key.size <= KEY_BYTES_MAX);
	ASSERT(entry->value.size <= UINT32_MAX);
	ASSERT(entry->sequence <= SEQUENCE_MAX);
	int outside = tree->smallest == NULL ? 0 : tree_outside(tree, entry->key);
	if (outside != 0)
		tree_widen(tree, entry->key, outside);
	struct node *leaf = leaf_find_path(tree, entry->key, &path);
	bool found;
	unsigned index = node_search(leaf, entry->key, &found);
	if (found)
		return record_add_version(leaf->records[index], tree->base.arena, entry, oldest_needed,
					  &tree->count);
	bool full = leaf->count == SLOTS;
	if (full && !split_reserve(tree, &path))
		return status_make(STATUS_NO_MEMORY);
	struct record *record = record_create(tree, entry);
	if (record == NULL)
		return status_make(STATUS_NO_MEMORY);
	if (tree->smallest == NULL) {
		leaf->skip = record->key_size;
		tree->smallest = record;
		tree->largest = record;
	} else if (outside < 0) {
		tree->smallest = record;
	} else if (outside > 0) {
		tree->largest = record;
	}
	if (full)
		leaf_split(tree, &path, leaf, index, record);
	else
		leaf_put(leaf, index, record);
	tree->count++;
	return status_ok();
}

static bool btree_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	const struct btree *tree = (const struct btree *)memtable;
	const struct node *leaf = leaf_find(tree, key);
	uint64_t head = key_head(key, leaf->skip);
	unsigned index = node_lower_bound(leaf, head);
	if (index == leaf->count || leaf->heads[index] != head)
		return false;
	record_prefetch(leaf->records[index]);
	bool found;
	index = node_search_equal(leaf, index, key, head, &found);
	struct version *version;
	if (!found || !record_find(leaf->records[index], sequence, &version))
		return false;
	entry_fill(entry, leaf->records[index], version);
	return true;
}

static uint64_t btree_count(const struct memtable *memtable)
{
	return ((const struct btree *)memtable)->count;
}

/* --- iterating --- */

static void btree_iterator_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	struct btree_iterator *cursor = (struct btree_iterator *)iterator;
	memset(cursor, 0, sizeof(*cursor));
	cursor->base.memtable = memtable;
}

/* Loads ahead what the next steps touch. Crossing into the next leaf its pointers come first. */
static inline void iterator_prefetch(const struct node *leaf, unsigned index)
{
	if (index + LOOK_AHEAD < leaf->count)
		record_prefetch(leaf->records[index + LOOK_AHEAD]);
	else if (leaf->next != NULL && index + LOOK_AHEAD - leaf->count < leaf->next->count)
		record_prefetch(leaf->next->records[index + LOOK_AHEAD - leaf->count]);
}

/* Onto the newest version of the record in the slot, or of the first record behind it. */
static void iterator_place(struct btree_iterator *cursor, struct node *leaf, unsigned index)
{
	while (leaf != NULL && index == leaf->count) {
		leaf = leaf->next;
		index = 0;
	}
	cursor->base.valid = leaf != NULL;
	if (leaf == NULL)
		return;
	iterator_prefetch(leaf, index);
	cursor->leaf = leaf;
	cursor->index = index;
	cursor->record = leaf->records[index];
	cursor->version = cursor->record->newest;
	entry_fill(&cursor->base.entry, cursor->record, cursor->version);
}

static void btree_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct btree_iterator *cursor = (struct btree_iterator *)iterator;
	struct btree *tree = (struct btree *)iterator->memtable;
	iterator->valid = false;
	if (tree->smallest == NULL)
		return;
	int outside = tree_outside(tree, key);
	if (outside > 0)
		return;
	if (outside < 0) {
		iterator_place(cursor, tree->first_leaf, 0);
		return;
	}
	struct node *leaf = leaf_find(tree, key);
	bool found;
	unsigned index = node_search(leaf, key, &found);
	if (found && record_find(leaf->records[index], sequence, &cursor->version)) {
		cursor->leaf = leaf;
		cursor->index = index;
		cursor->record = leaf->records[index];
		entry_fill(&iterator->entry, cursor->record, cursor->version);
		iterator->valid = true;
		return;
	}
	iterator_place(cursor, leaf, found ? index + 1 : index);
}

static void btree_next(struct memtable_iterator *iterator)
{
	struct btree_iterator *cursor = (struct btree_iterator *)iterator;
	const struct btree *tree = (const struct btree *)iterator->memtable;
	struct record *record = cursor->record;
	DASSERT(iterator->valid);
	if (record_older(record, &cursor->version)) {
		entry_fill(&iterator->entry, record, cursor->version);
		return;
	}
	struct node *leaf = cursor->leaf;
	unsigned index = cursor->index;
	if (index >= leaf->count || leaf->records[index] != record) {
		/* Inserts have moved the record to another slot. */
		bool found;
		leaf = leaf_find(tree, record_key(record));
		index = node_search(leaf, record_key(record), &found);
		ASSERT(found);
	}
	iterator_place(cursor, leaf, index + 1);
}

const struct memtable_ops memtable_btree = {
	.component = {
		.name = "btree",
		.summary = "B+-tree with key heads in its nodes: fast in every operation",
		.abi = COMPONENT_ABI,
	},
	.create = btree_create,
	.insert = btree_insert,
	.get = btree_get,
	.count = btree_count,
	.iterator_init = btree_iterator_init,
	.seek = btree_seek,
	.next = btree_next,
};
