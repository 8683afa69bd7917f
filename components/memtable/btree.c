/*
 * btree.c: a memtable that is a B+-tree of pointers to records, searched by key heads.
 *
 * A node is an array of heads, then arrays of pointers, each of whole cache lines. A head is the number in
 * the bytes of a key after the node's `skip`, so a search in a node is a few vector instructions over
 * adjacent numbers (heads_internal.h); whole keys, which lie elsewhere in memory, are compared only where
 * heads are equal. Leaves, which are many, have heads of 4 bytes, so that a slot takes 12; inner nodes, which
 * are few and whose keys lie far apart from one another, have heads of 8, so that a search hardly ever looks
 * at a key before it has come to a leaf.
 *
 * INV-BTREE-1: all keys of a node's range share their first `skip` bytes. A node's range lies between two
 * separators, or, at the edges, the smallest and the largest key of the tree; whatever the two ends have in
 * common, all keys between them have. So a search key needs no comparison with the common prefix, as long as
 * it lies within [smallest, largest]. A key outside finds a wrong place but never a wrong record: `get`
 * compares whole keys in the end; `insert`, `seek` and `seek_back` look at both ends first.
 * INV-BTREE-2: heads behind `count` are the largest number, so that a search needs no count: it always looks
 * at the whole array.
 * INV-BTREE-3: nodes and records are never freed nor moved, and a record stays in exactly one leaf slot. An
 * iterator's place is right as long as the slot holds its record, else it is looked up anew.
 * INV-BTREE-4: leaves are linked both ways in the order of their keys, and none but that of an empty tree is
 * empty.
 *
 * Versions of a key hang on its record (record_internal.h).
 */
#include "components/memtable/memtable.h"
#include "components/memtable/heads_internal.h"
#include "components/memtable/record_internal.h"

#include <string.h>

#include "base/assert.h"

#include "base/poison.h"

enum {
	LEAF_SLOTS = NARROW_HEADS,
	INNER_SLOTS = WIDE_HEADS,
	HEIGHT_MAX = 16,
	CACHE_LINE = 64,
	/* Inserts one behind the other in a leaf before it is taken for a run of ascending keys. */
	RUN_MIN = 6,
	/* How far ahead an iterator loads the records that it will come to. */
	LOOK_AHEAD = 12,
	/* Lookups that get_many has under way at once: as many as keep the memory busy, and no more nodes
	 * than the nearest cache holds. */
	GROUP = 16,
	/* Nodes are taken from the arena several at a time, so that they lie together and not among the
	 * records: one for so many that are there, up to so many. */
	SLAB_SHARE = 8,
	SLAB_NODES_MAX = 16,
};

struct leaf {
	int32_t heads[LEAF_SLOTS];
	uint16_t count;
	uint16_t skip;
	uint16_t last; /* where the last record was put */
	uint16_t run;  /* how many were put behind one another */
	struct record *records[LEAF_SLOTS];
	struct leaf *next, *previous;
};

/* separators[i] is the smallest key that children[i + 1] has had; the children of the lowest inner nodes are
 * leaves. */
struct inner {
	int64_t heads[INNER_SLOTS];
	uint16_t count;
	uint16_t skip;
	void *children[INNER_SLOTS + 1];
	struct record *separators[INNER_SLOTS];
	struct inner *next_spare;
};

_Static_assert(offsetof(struct leaf, records) == 4 * CACHE_LINE, "heads fill whole cache lines");
_Static_assert(sizeof(struct leaf) == 12 * CACHE_LINE, "leaves fill whole cache lines");
_Static_assert(offsetof(struct inner, children) == 8 * CACHE_LINE, "heads fill whole cache lines");
_Static_assert(sizeof(struct inner) == 24 * CACHE_LINE, "inner nodes fill whole cache lines");

/* The way from the root to a leaf: nodes[0] is the root, indices[i] the child taken in nodes[i]. */
struct path {
	struct inner *nodes[HEIGHT_MAX];
	unsigned indices[HEIGHT_MAX];
};

struct btree {
	struct memtable base;
	void *root;
	unsigned height; /* inner levels above the leaves */
	uint64_t count;	 /* versions that an iterator visits */
	struct record *smallest, *largest;
	struct leaf *first_leaf, *last_leaf;
	/* The way to the leaf of the last insert. */
	struct path path;
	struct leaf *path_leaf;
	/* Where the next insert is looked for first, because inserts ascend: in path_leaf, if its key lies
	 * between these two. */
	const struct record *finger_lower; /* NULL: nowhere */
	const struct record *finger_upper; /* NULL: no end */
	/* Memory taken ahead, so that a split cannot fail half-way. Linked by `next` and `next_spare`. */
	struct leaf *spare_leaves;
	struct inner *spare_inners;
	unsigned spare_inner_count;
	size_t leaf_count, inner_count;
};

struct btree_iterator {
	struct memtable_iterator base;
	struct leaf *leaf;
	unsigned index;
	struct record *record;
	struct version *version; /* NULL: at the record's first version */
};

_Static_assert(sizeof(struct btree_iterator) <= MEMTABLE_ITERATOR_BYTES, "the caller's room suffices");

extern const struct memtable_ops memtable_btree;

/* --- searching --- */

/* Among the records from `low` up to `high`: the first >= key, and whether it is the key's. */
static unsigned search_equal(struct record *const *records, unsigned low, unsigned high, struct slice key,
			     bool *found)
{
	*found = false;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		/* Whichever way it goes on, that key is then under way already. */
		record_prefetch(records[(low + middle) / 2]);
		record_prefetch(records[(middle + high) / 2]);
		int order = key_compare(key, records[middle]);
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

/* The same from a slot on whose head is `head`, the key's: mostly it is the only one. */
static unsigned leaf_search_equal(const struct leaf *leaf, unsigned index, struct slice key, int32_t head,
				  bool *found)
{
	record_prefetch(leaf->records[index]);
	int order = key_compare(key, leaf->records[index]);
	*found = order == 0;
	if (order <= 0)
		return index;
	unsigned high = head == NARROW_HEAD_MAX ? leaf->count : narrow_below(leaf->heads, head + 1);
	return search_equal(leaf->records, index + 1, high, key, found);
}

/* The slot of the first record >= key, `count` if there is none; whether it is the key's. */
static inline unsigned leaf_search(const struct leaf *leaf, struct slice key, bool *found)
{
	int32_t head = narrow_head(key, leaf->skip);
	unsigned index = narrow_below(leaf->heads, head);
	*found = false;
	if (index < leaf->count && leaf->heads[index] == head)
		return leaf_search_equal(leaf, index, key, head, found);
	return index;
}

static unsigned inner_search_equal(const struct inner *inner, unsigned index, struct slice key, int64_t head)
{
	unsigned high = head == WIDE_HEAD_MAX ? inner->count : wide_below(inner->heads, head + 1);
	bool found;
	index = search_equal(inner->separators, index, high, key, &found);
	return index + (found ? 1 : 0);
}

/* The child that the key belongs to: as many separators are <= key. */
static inline unsigned inner_child(const struct inner *inner, struct slice key)
{
	int64_t head = wide_head(key, inner->skip);
	unsigned index = wide_below(inner->heads, head);
	if (__builtin_expect(index < inner->count && inner->heads[index] == head, 0))
		return inner_search_equal(inner, index, key, head);
	return index;
}

/* Loads what a search in the node looks at, of an inner node the heads. `leaf_bytes`: of a leaf so much. */
static inline void node_prefetch(const void *node, bool is_leaf, size_t leaf_bytes)
{
	size_t bytes = is_leaf ? leaf_bytes : offsetof(struct inner, children);
	for (size_t line = 0; line < bytes; line += CACHE_LINE)
		__builtin_prefetch((const uint8_t *)node + line, 0, 3);
}

static struct leaf *leaf_find(const struct btree *tree, struct slice key)
{
	void *node = tree->root;
	for (unsigned level = tree->height; level > 0; level--) {
		const struct inner *inner = node;
		node = inner->children[inner_child(inner, key)];
		node_prefetch(node, level == 1, sizeof(struct leaf));
	}
	return node;
}

/* The same, and leaves the way in the tree. */
static struct leaf *leaf_find_path(struct btree *tree, struct slice key)
{
	struct path *path = &tree->path;
	void *node = tree->root;
	for (unsigned level = 0; level < tree->height; level++) {
		struct inner *inner = node;
		unsigned index = inner_child(inner, key);
		path->nodes[level] = inner;
		path->indices[level] = index;
		node = inner->children[index];
		node_prefetch(node, level + 1 == tree->height, sizeof(struct leaf));
	}
	return node;
}

static struct record *record_create(struct btree *tree, const struct entry *entry)
{
	void *memory = arena_allocate(tree->base.arena, record_bytes(entry), 1);
	return memory == NULL ? NULL : record_fill(memory, entry);
}

/* --- leaves --- */

static void leaf_clear(struct leaf *leaf, unsigned skip)
{
	memset(leaf, 0, sizeof(*leaf));
	leaf->skip = (uint16_t)skip;
	for (unsigned i = 0; i < LEAF_SLOTS; i++)
		leaf->heads[i] = NARROW_HEAD_MAX;
}

/* Loads what heads after `skip` come from: the sizes, and the key from there on. */
static void records_prefetch(struct record *const *records, unsigned count, size_t skip)
{
	for (unsigned i = 0; i < count; i++) {
		__builtin_prefetch(records[i], 0, 3);
		__builtin_prefetch((const uint8_t *)records[i] + 16 + skip, 0, 3);
	}
}

static void leaf_set_skip(struct leaf *leaf, size_t skip)
{
	records_prefetch(leaf->records, leaf->count, skip);
	for (unsigned i = 0; i < leaf->count; i++)
		leaf->heads[i] = narrow_head(record_key(leaf->records[i]), skip);
	leaf->skip = (uint16_t)skip;
}

static void leaf_put(struct leaf *leaf, unsigned index, struct slice key, struct record *record)
{
	unsigned moved = leaf->count - index;
	DASSERT(leaf->count < LEAF_SLOTS);
	DASSERT(index <= leaf->count);
	memmove(&leaf->heads[index + 1], &leaf->heads[index], moved * sizeof(leaf->heads[0]));
	memmove(&leaf->records[index + 1], &leaf->records[index], moved * sizeof(leaf->records[0]));
	leaf->heads[index] = narrow_head(key, leaf->skip);
	leaf->records[index] = record;
	leaf->count++;
	if (index != leaf->last + 1u)
		leaf->run = 0;
	else if (leaf->run < UINT16_MAX)
		leaf->run++;
	leaf->last = (uint16_t)index;
}

/* Moves the slots from `from` on into the empty leaf `to`. */
static void leaf_move_tail(struct leaf *leaf, unsigned from, struct leaf *to)
{
	unsigned moved = leaf->count - from;
	to->skip = leaf->skip;
	memcpy(to->heads, &leaf->heads[from], moved * sizeof(leaf->heads[0]));
	memcpy(to->records, &leaf->records[from], moved * sizeof(leaf->records[0]));
	to->count = (uint16_t)moved;
	leaf->count = (uint16_t)from;
	for (unsigned i = from; i < from + moved; i++)
		leaf->heads[i] = NARROW_HEAD_MAX;
}

/* Heads that do not tell keys apart are taken further right, if the leaf's range allows that. */
static void leaf_sharpen(struct leaf *leaf, const struct record *lower, const struct record *upper)
{
	bool equal = false;
	for (unsigned i = 1; i < leaf->count; i++)
		equal |= leaf->heads[i - 1] == leaf->heads[i];
	if (!equal)
		return;
	size_t common = key_common_prefix(record_key(lower), record_key(upper));
	if (common > leaf->skip)
		leaf_set_skip(leaf, common);
}

/* --- inner nodes --- */

static void inner_clear(struct inner *inner, unsigned skip)
{
	memset(inner, 0, sizeof(*inner));
	inner->skip = (uint16_t)skip;
	for (unsigned i = 0; i < INNER_SLOTS; i++)
		inner->heads[i] = WIDE_HEAD_MAX;
}

static void inner_set_skip(struct inner *inner, size_t skip)
{
	records_prefetch(inner->separators, inner->count, skip);
	for (unsigned i = 0; i < inner->count; i++)
		inner->heads[i] = wide_head(record_key(inner->separators[i]), skip);
	inner->skip = (uint16_t)skip;
}

static void inner_put(struct inner *inner, unsigned index, struct record *separator, void *right)
{
	unsigned moved = inner->count - index;
	DASSERT(inner->count < INNER_SLOTS);
	DASSERT(index <= inner->count);
	memmove(&inner->heads[index + 1], &inner->heads[index], moved * sizeof(inner->heads[0]));
	memmove(&inner->separators[index + 1], &inner->separators[index],
		moved * sizeof(inner->separators[0]));
	memmove(&inner->children[index + 2], &inner->children[index + 1], moved * sizeof(inner->children[0]));
	inner->heads[index] = wide_head(record_key(separator), inner->skip);
	inner->separators[index] = separator;
	inner->children[index + 1] = right;
	inner->count++;
}

/* Moves what lies behind the separator `middle`, which goes up, into the empty node `to`. */
static void inner_move_tail(struct inner *inner, unsigned middle, struct inner *to)
{
	unsigned from = middle + 1;
	unsigned moved = inner->count - from;
	to->skip = inner->skip;
	memcpy(to->heads, &inner->heads[from], moved * sizeof(inner->heads[0]));
	memcpy(to->separators, &inner->separators[from], moved * sizeof(inner->separators[0]));
	memcpy(to->children, &inner->children[from], (moved + 1) * sizeof(inner->children[0]));
	to->count = (uint16_t)moved;
	for (unsigned i = middle; i < inner->count; i++)
		inner->heads[i] = WIDE_HEAD_MAX;
	inner->count = (uint16_t)middle;
}

static void inner_sharpen(struct inner *inner, const struct record *lower, const struct record *upper)
{
	bool equal = false;
	for (unsigned i = 1; i < inner->count; i++)
		equal |= inner->heads[i - 1] == inner->heads[i];
	if (!equal)
		return;
	size_t common = key_common_prefix(record_key(lower), record_key(upper));
	if (common > inner->skip)
		inner_set_skip(inner, common);
}

/* --- memory for nodes --- */

/* How many nodes to take at once when so many are there: no more than the current chunk has room for, if it
 * has room for any. */
static size_t slab_nodes(const struct arena *arena, size_t there, size_t node_bytes)
{
	size_t nodes = 1 + there / SLAB_SHARE;
	size_t room = (size_t)(arena->end - arena->next);
	size_t fitting = room < CACHE_LINE ? 0 : (room - (CACHE_LINE - 1)) / node_bytes;
	if (nodes > SLAB_NODES_MAX)
		nodes = SLAB_NODES_MAX;
	return fitting > 0 && fitting < nodes ? fitting : nodes;
}

static bool spare_leaves_add(struct btree *tree)
{
	size_t count = slab_nodes(tree->base.arena, tree->leaf_count, sizeof(struct leaf));
	struct leaf *slab = arena_allocate(tree->base.arena, count * sizeof(*slab), CACHE_LINE);
	if (slab == NULL)
		return false;
	tree->leaf_count += count;
	for (size_t i = count; i-- > 0;) {
		slab[i].next = tree->spare_leaves;
		tree->spare_leaves = &slab[i];
	}
	return true;
}

static bool spare_inners_add(struct btree *tree)
{
	size_t count = slab_nodes(tree->base.arena, tree->inner_count, sizeof(struct inner));
	struct inner *slab = arena_allocate(tree->base.arena, count * sizeof(*slab), CACHE_LINE);
	if (slab == NULL)
		return false;
	tree->inner_count += count;
	tree->spare_inner_count += (unsigned)count;
	for (size_t i = count; i-- > 0;) {
		slab[i].next_spare = tree->spare_inners;
		tree->spare_inners = &slab[i];
	}
	return true;
}

/* Takes the memory that splitting the full leaf at the path's end needs. */
static bool split_reserve(struct btree *tree)
{
	unsigned inners = 1;
	for (unsigned level = tree->height; level > 0; level--, inners++) {
		if (tree->path.nodes[level - 1]->count < INNER_SLOTS) {
			inners--;
			break;
		}
	}
	if (tree->spare_leaves == NULL && !spare_leaves_add(tree))
		return false;
	while (tree->spare_inner_count < inners) {
		if (!spare_inners_add(tree))
			return false;
	}
	return true;
}

static struct leaf *spare_leaf_take(struct btree *tree, unsigned skip)
{
	struct leaf *leaf = tree->spare_leaves;
	ASSERT(leaf != NULL);
	tree->spare_leaves = leaf->next;
	leaf_clear(leaf, skip);
	return leaf;
}

static struct inner *spare_inner_take(struct btree *tree, unsigned skip)
{
	struct inner *inner = tree->spare_inners;
	ASSERT(tree->spare_inner_count > 0);
	tree->spare_inners = inner->next_spare;
	tree->spare_inner_count--;
	inner_clear(inner, skip);
	return inner;
}

/* --- splitting --- */

/* The separators around the node at `level` of the path (`level` = height: the leaf); NULL: the tree's ends.
 */
static void path_range(const struct btree *tree, unsigned level, const struct record **lower,
		       const struct record **upper)
{
	*lower = NULL;
	*upper = NULL;
	while (level-- > 0 && (*lower == NULL || *upper == NULL)) {
		const struct inner *inner = tree->path.nodes[level];
		unsigned index = tree->path.indices[level];
		if (*lower == NULL && index > 0)
			*lower = inner->separators[index - 1];
		if (*upper == NULL && index < inner->count)
			*upper = inner->separators[index];
	}
}

/* The same with the keys at the tree's ends. */
static void path_range_closed(const struct btree *tree, unsigned level, const struct record **lower,
			      const struct record **upper)
{
	path_range(tree, level, lower, upper);
	if (*lower == NULL)
		*lower = tree->smallest;
	if (*upper == NULL)
		*upper = tree->largest;
}

/*
 * Splits a full inner node on the path, whose child at `index` is about to get the right neighbour `child`,
 * and puts that in. Returns the new right half and its separator. At the right edge of the tree the left
 * node stays full, as ascending keys never come back to it.
 */
static struct inner *inner_split(struct btree *tree, unsigned level, struct record **separator, void *child,
				 bool at_edge)
{
	struct inner *left = tree->path.nodes[level];
	unsigned index = tree->path.indices[level];
	const struct record *lower, *upper;
	path_range_closed(tree, level, &lower, &upper);
	struct inner *right = spare_inner_take(tree, left->skip);
	if (at_edge && index == INNER_SLOTS) {
		right->children[0] = child;
		return right;
	}
	unsigned middle = INNER_SLOTS / 2;
	struct record *raised = left->separators[middle];
	inner_move_tail(left, middle, right);
	if (index <= middle)
		inner_put(left, index, *separator, child);
	else
		inner_put(right, index - middle - 1, *separator, child);
	*separator = raised;
	inner_sharpen(left, lower, raised);
	inner_sharpen(right, raised, upper);
	return right;
}

/* Makes `right` known to the levels above the leaf as the neighbour of the path's leaf. */
static void path_add(struct btree *tree, struct record *separator, struct leaf *right)
{
	bool at_edge = right->next == NULL;
	void *child = right;
	for (unsigned level = tree->height; level > 0; level--) {
		struct inner *inner = tree->path.nodes[level - 1];
		if (inner->count < INNER_SLOTS) {
			inner_put(inner, tree->path.indices[level - 1], separator, child);
			return;
		}
		child = inner_split(tree, level - 1, &separator, child, at_edge);
	}
	ASSERT(tree->height < HEIGHT_MAX);
	size_t common = key_common_prefix(record_key(tree->smallest), record_key(tree->largest));
	struct inner *root = spare_inner_take(tree, (unsigned)common);
	root->children[0] = tree->root;
	inner_put(root, 0, separator, child);
	tree->root = root;
	tree->height++;
}

/* Where a full leaf is cut when `index` is the place of the new record: all before the cut stay. */
static unsigned leaf_cut(const struct leaf *leaf, unsigned index)
{
	/* Ascending keys: what lies before them is complete and may stay full. */
	if (index == LEAF_SLOTS && leaf->next == NULL)
		return LEAF_SLOTS;
	if (leaf->run >= RUN_MIN && index == leaf->last + 1u)
		return index;
	return LEAF_SLOTS / 2 + 1;
}

/* Puts the record into the full leaf at the path's end. The memory has been reserved; nothing here fails. */
static void leaf_split(struct btree *tree, struct leaf *left, unsigned index, struct slice key,
		       struct record *record)
{
	const struct record *lower, *upper;
	path_range_closed(tree, tree->height, &lower, &upper);
	struct leaf *right = spare_leaf_take(tree, left->skip);
	unsigned cut = leaf_cut(left, index);
	leaf_move_tail(left, cut, right);
	right->next = left->next;
	right->previous = left;
	left->next = right;
	if (right->next != NULL)
		right->next->previous = right;
	else
		tree->last_leaf = right;
	if (index < cut || (index == cut && cut < LEAF_SLOTS))
		leaf_put(left, index, key, record);
	else
		leaf_put(right, index - cut, key, record);
	struct record *separator = right->records[0];
	leaf_sharpen(left, lower, separator);
	leaf_sharpen(right, separator, upper);
	path_add(tree, separator, right);
}

/* --- the ends of the tree --- */

/* Whether the key lies outside of what the tree holds, and where: -1 below, 1 above, 0 within. */
static inline int tree_outside(const struct btree *tree, struct slice key)
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
	size_t common = key_common_prefix(key, record_key(end));
	void *node = tree->root;
	for (unsigned level = tree->height; level > 0; level--) {
		struct inner *inner = node;
		if (inner->skip > common)
			inner_set_skip(inner, common);
		node = inner->children[side < 0 ? 0 : inner->count];
	}
	struct leaf *leaf = node;
	if (leaf->skip > common)
		leaf_set_skip(leaf, common);
}

/* --- inserting --- */

/* Whether the key belongs to the leaf of the last insert, as keys that ascend do: then no search for the leaf
 * is needed. */
static inline bool finger_covers(const struct btree *tree, struct slice key)
{
	return tree->finger_lower != NULL && key_compare(key, tree->finger_lower) > 0 &&
	       (tree->finger_upper == NULL || key_compare(key, tree->finger_upper) < 0);
}

/* After an insert that has split nothing: looks whether inserts ascend. */
static void finger_set(struct btree *tree, struct leaf *leaf, const struct record *record)
{
	if (leaf != tree->path_leaf || leaf->run == 0) {
		tree->path_leaf = leaf;
		tree->finger_lower = NULL;
		return;
	}
	if (tree->finger_lower == NULL) {
		const struct record *lower;
		path_range(tree, tree->height, &lower, &tree->finger_upper);
	}
	tree->finger_lower = record;
}

/* The leaf that the key belongs to, with the way to it in the tree. *outside: as of tree_outside. */
static struct leaf *insert_find(struct btree *tree, struct slice key, int *outside)
{
	*outside = 0;
	if (tree->smallest == NULL)
		return tree->root;
	bool finger = finger_covers(tree, key);
	/* In the last leaf the finger covers what lies behind the last key too. */
	if (!finger || tree->finger_upper == NULL) {
		*outside = tree_outside(tree, key);
		if (*outside != 0)
			tree_widen(tree, key, *outside);
	}
	if (finger)
		return tree->path_leaf;
	tree->finger_lower = NULL;
	return leaf_find_path(tree, key);
}

static struct status btree_insert(struct memtable *memtable, const struct entry *entry,
				  uint64_t oldest_needed)
{
	struct btree *tree = (struct btree *)memtable;
	ASSERT(entry->key.size <= KEY_BYTES_MAX);
	ASSERT(entry->value.size <= UINT32_MAX);
	ASSERT(entry->sequence <= SEQUENCE_MAX);
	int outside;
	bool found;
	struct leaf *leaf = insert_find(tree, entry->key, &outside);
	unsigned index = leaf_search(leaf, entry->key, &found);
	if (found) {
		struct held held = held_make(leaf->records[index]);
		return held_add_version(&held, tree->base.arena, entry, oldest_needed, &tree->count);
	}
	bool full = leaf->count == LEAF_SLOTS;
	if (full && !split_reserve(tree))
		return status_make(STATUS_NO_MEMORY);
	struct record *record = record_create(tree, entry);
	if (record == NULL)
		return status_make(STATUS_NO_MEMORY);
	if (tree->smallest == NULL) {
		leaf->skip = (uint16_t)entry->key.size;
		tree->smallest = record;
		tree->largest = record;
	} else if (outside < 0) {
		tree->smallest = record;
	} else if (outside > 0) {
		tree->largest = record;
	}
	if (full) {
		leaf_split(tree, leaf, index, entry->key, record);
		tree->path_leaf = NULL;
		tree->finger_lower = NULL;
	} else {
		leaf_put(leaf, index, entry->key, record);
		finger_set(tree, leaf, record);
	}
	tree->count++;
	return status_ok();
}

/* --- getting --- */

static bool btree_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	const struct btree *tree = (const struct btree *)memtable;
	const struct leaf *leaf = leaf_find(tree, key);
	int32_t head = narrow_head(key, leaf->skip);
	unsigned index = narrow_below(leaf->heads, head);
	if (index >= leaf->count || leaf->heads[index] != head)
		return false;
	bool found;
	index = leaf_search_equal(leaf, index, key, head, &found);
	struct version *version;
	if (!found || !held_find(held_make(leaf->records[index]), sequence, &version))
		return false;
	entry_fill(entry, leaf->records[index], version);
	return true;
}

/* One lookup of a group. */
struct probe_state {
	const void *node; /* on the way down, then the leaf */
	int32_t head;
	unsigned index;
};

/* A leaf with a key in it that was found, for the keys that follow. */
struct get_finger {
	const struct leaf *leaf; /* NULL: none yet */
	struct slice key;
};

/*
 * Whether the key surely belongs to the finger's leaf: it begins as all keys of the leaf do, and lies between
 * two of them.
 */
static inline bool get_finger_covers(const struct get_finger *finger, struct slice key)
{
	const struct leaf *leaf = finger->leaf;
	if (leaf == NULL || key_common_prefix(key, finger->key) < leaf->skip)
		return false;
	int32_t head = narrow_head(key, leaf->skip);
	return leaf->heads[0] < head && head < leaf->heads[leaf->count - 1];
}

/* Takes all lookups of a group down to their leaves, level by level. */
static void group_descend(const struct btree *tree, const struct memtable_probe *probes,
			  struct probe_state *states, size_t count, const struct get_finger *finger)
{
	size_t from_root = 0;
	unsigned char order[GROUP];
	for (size_t i = 0; i < count; i++) {
		if (get_finger_covers(finger, probes[i].key)) {
			states[i].node = finger->leaf;
		} else {
			states[i].node = tree->root;
			order[from_root++] = (unsigned char)i;
		}
	}
	for (unsigned level = tree->height; level > 0; level--) {
		for (size_t i = 0; i < from_root; i++) {
			struct probe_state *state = &states[order[i]];
			const struct inner *inner = state->node;
			state->node = inner->children[inner_child(inner, probes[order[i]].key)];
			node_prefetch(state->node, level == 1, offsetof(struct leaf, records));
		}
	}
}

static void group_get(const struct btree *tree, struct memtable_probe *probes, size_t count,
		      struct get_finger *finger)
{
	struct probe_state states[GROUP];
	group_descend(tree, probes, states, count, finger);
	for (size_t i = 0; i < count; i++) {
		const struct leaf *leaf = states[i].node;
		int32_t head = narrow_head(probes[i].key, leaf->skip);
		unsigned index = narrow_below(leaf->heads, head);
		states[i].head = head;
		states[i].index = index;
		probes[i].found = index < leaf->count && leaf->heads[index] == head;
		if (probes[i].found)
			__builtin_prefetch(&leaf->records[index], 0, 3);
	}
	for (size_t i = 0; i < count; i++) {
		const struct leaf *leaf = states[i].node;
		if (probes[i].found)
			record_prefetch(leaf->records[states[i].index]);
	}
	for (size_t i = 0; i < count; i++) {
		struct memtable_probe *probe = &probes[i];
		const struct leaf *leaf = states[i].node;
		if (!probe->found)
			continue;
		unsigned index =
			leaf_search_equal(leaf, states[i].index, probe->key, states[i].head, &probe->found);
		if (!probe->found)
			continue;
		finger->leaf = leaf;
		finger->key = probe->key;
		struct version *version;
		probe->found = held_find(held_make(leaf->records[index]), probe->sequence, &version);
		if (probe->found)
			entry_fill(&probe->entry, leaf->records[index], version);
	}
}

static void btree_get_many(struct memtable *memtable, struct memtable_probe *probes, size_t count)
{
	struct get_finger finger = { .leaf = NULL };
	for (; count > GROUP; probes += GROUP, count -= GROUP)
		group_get((const struct btree *)memtable, probes, GROUP, &finger);
	group_get((const struct btree *)memtable, probes, count, &finger);
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

/* Loads the pointers of the leaf that the steps after this leaf's go to. */
static void neighbour_prefetch(const struct leaf *leaf)
{
	if (leaf == NULL)
		return;
	__builtin_prefetch(&leaf->count, 0, 3);
	for (size_t line = offsetof(struct leaf, records); line < sizeof(*leaf); line += CACHE_LINE)
		__builtin_prefetch((const uint8_t *)leaf + line, 0, 3);
}

/* Onto a version of the record in the slot. */
static inline void iterator_stand(struct btree_iterator *cursor, struct leaf *leaf, unsigned index,
				  struct version *version)
{
	cursor->leaf = leaf;
	cursor->index = index;
	cursor->record = leaf->records[index];
	cursor->version = version;
	entry_fill(&cursor->base.entry, cursor->record, version);
	cursor->base.valid = true;
}

/* Onto the newest version of the record in the slot, or of the first record behind the leaf. */
static inline void iterator_place(struct btree_iterator *cursor, struct leaf *leaf, unsigned index)
{
	if (__builtin_expect(index == leaf->count, 0)) {
		leaf = leaf->next;
		index = 0;
		cursor->base.valid = leaf != NULL;
		if (leaf == NULL)
			return;
		neighbour_prefetch(leaf->next);
	}
	const struct leaf *next = leaf->next;
	if (index + LOOK_AHEAD < leaf->count)
		record_prefetch(leaf->records[index + LOOK_AHEAD]);
	else if (next != NULL && index + LOOK_AHEAD - leaf->count < next->count)
		record_prefetch(next->records[index + LOOK_AHEAD - leaf->count]);
	cursor->leaf = leaf;
	cursor->index = index;
	cursor->record = leaf->records[index];
	cursor->version = entry_fill_newest(&cursor->base.entry, cursor->record);
	cursor->base.valid = true;
}

/* Onto the oldest version of the record before the slot, or of the last record before the leaf. */
static inline void iterator_place_back(struct btree_iterator *cursor, struct leaf *leaf, unsigned index)
{
	if (__builtin_expect(index == 0, 0)) {
		leaf = leaf->previous;
		cursor->base.valid = leaf != NULL;
		if (leaf == NULL)
			return;
		index = leaf->count;
		neighbour_prefetch(leaf->previous);
	}
	index--;
	const struct leaf *previous = leaf->previous;
	if (index >= LOOK_AHEAD)
		record_prefetch(leaf->records[index - LOOK_AHEAD]);
	else if (previous != NULL && previous->count + index >= LOOK_AHEAD)
		record_prefetch(previous->records[previous->count + index - LOOK_AHEAD]);
	cursor->leaf = leaf;
	cursor->index = index;
	cursor->record = leaf->records[index];
	cursor->version = entry_fill_oldest(&cursor->base.entry, cursor->record);
	cursor->base.valid = true;
}

/* Inserts have moved the iterator's record to another slot: looks for it. */
static void iterator_find(struct btree_iterator *cursor)
{
	bool found;
	struct slice key = record_key(cursor->record);
	cursor->leaf = leaf_find((const struct btree *)cursor->base.memtable, key);
	cursor->index = leaf_search(cursor->leaf, key, &found);
	ASSERT(found);
}

/* Makes sure that the place is the record's slot. */
static inline void iterator_settle(struct btree_iterator *cursor)
{
	if (cursor->index >= cursor->leaf->count || cursor->leaf->records[cursor->index] != cursor->record)
		iterator_find(cursor);
}

static void btree_seek_last(struct memtable_iterator *iterator)
{
	const struct btree *tree = (const struct btree *)iterator->memtable;
	iterator->valid = false;
	if (tree->smallest != NULL)
		iterator_place_back((struct btree_iterator *)iterator, tree->last_leaf,
				    tree->last_leaf->count);
}

static void btree_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct btree_iterator *cursor = (struct btree_iterator *)iterator;
	const struct btree *tree = (const struct btree *)iterator->memtable;
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
	struct leaf *leaf = leaf_find(tree, key);
	bool found;
	unsigned index = leaf_search(leaf, key, &found);
	struct version *version;
	if (found && held_find(held_make(leaf->records[index]), sequence, &version))
		iterator_stand(cursor, leaf, index, version);
	else
		iterator_place(cursor, leaf, found ? index + 1 : index);
}

static void btree_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct btree_iterator *cursor = (struct btree_iterator *)iterator;
	const struct btree *tree = (const struct btree *)iterator->memtable;
	iterator->valid = false;
	if (tree->smallest == NULL)
		return;
	int outside = tree_outside(tree, key);
	if (outside < 0)
		return;
	if (outside > 0) {
		btree_seek_last(iterator);
		return;
	}
	struct leaf *leaf = leaf_find(tree, key);
	bool found;
	unsigned index = leaf_search(leaf, key, &found);
	struct version *version;
	if (found && held_find_back(held_make(leaf->records[index]), sequence, &version))
		iterator_stand(cursor, leaf, index, version);
	else
		iterator_place_back(cursor, leaf, index);
}

static void btree_next(struct memtable_iterator *iterator)
{
	struct btree_iterator *cursor = (struct btree_iterator *)iterator;
	DASSERT(iterator->valid);
	if (held_older(held_make(cursor->record), &cursor->version)) {
		entry_fill(&iterator->entry, cursor->record, cursor->version);
		return;
	}
	iterator_settle(cursor);
	iterator_place(cursor, cursor->leaf, cursor->index + 1);
}

static void btree_prev(struct memtable_iterator *iterator)
{
	struct btree_iterator *cursor = (struct btree_iterator *)iterator;
	DASSERT(iterator->valid);
	if (held_newer(held_make(cursor->record), &cursor->version)) {
		entry_fill(&iterator->entry, cursor->record, cursor->version);
		return;
	}
	iterator_settle(cursor);
	iterator_place_back(cursor, cursor->leaf, cursor->index);
}

/* --- the rest of the contract --- */

static struct memtable *btree_create(struct arena *arena, const void *options)
{
	(void)options;
	struct btree *tree = arena_allocate(arena, sizeof(*tree), CACHE_LINE);
	struct leaf *leaf = tree == NULL ? NULL : arena_allocate(arena, sizeof(*leaf), CACHE_LINE);
	if (leaf == NULL)
		return NULL;
	memset(tree, 0, sizeof(*tree));
	leaf_clear(leaf, 0);
	tree->base.ops = &memtable_btree;
	tree->base.arena = arena;
	tree->root = leaf;
	tree->first_leaf = leaf;
	tree->last_leaf = leaf;
	tree->leaf_count = 1;
	return &tree->base;
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
	.get_many = btree_get_many,
	.count = btree_count,
	.iterator_init = btree_iterator_init,
	.seek = btree_seek,
	.seek_back = btree_seek_back,
	.seek_last = btree_seek_last,
	.next = btree_next,
	.prev = btree_prev,
};
