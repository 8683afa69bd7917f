/*
 * treap.c: a memtable as a treap (Aragon, Seidel, "Randomized search trees", 1989), outside of Cascade's
 * tree.
 *
 * A binary search tree over versions, by key and then from the newest on, that is a heap over random
 * priorities as well: it has the shape of a tree that was filled in random order, whatever the order was. A
 * version is one node, which never moves; an iterator is a pointer to one. The first eight bytes of a key are
 * in its node as a number, so that most comparisons touch nothing else. A batch of lookups goes down eight
 * paths by turns: while one waits for memory, the others go on.
 */
#include <string.h>

#include "base/hash.h"
#include "components/memtable/memtable.h"

enum { PATHS = 8 };

struct node {
	struct node *left, *right, *parent;
	uint64_t head;	   /* of the key */
	uint64_t sequence; /* of one key the larger ones come first */
	uint32_t priority; /* at most the parent's */
	uint32_t value_size;
	uint16_t key_size;
	uint8_t kind;
	uint8_t bytes[]; /* key, value */
};

struct treap {
	struct memtable base; /* first */
	struct node *root;
	uint64_t count;
};

struct treap_iterator {
	struct memtable_iterator base; /* first */
	struct node *node;
};

_Static_assert(sizeof(struct treap_iterator) <= MEMTABLE_ITERATOR_BYTES, "callers hold iterators");

extern const struct memtable_ops memtable_treap;

static struct memtable *treap_create(struct arena *arena, const void *options)
{
	struct treap *treap = arena_allocate(arena, sizeof(*treap), _Alignof(struct treap));
	(void)options;
	if (treap == NULL)
		return NULL;
	*treap = (struct treap) { .base = { .ops = &memtable_treap, .arena = arena } };
	return &treap->base;
}

static struct slice node_key(const struct node *node)
{
	return slice_make(node->bytes, node->key_size);
}

static void node_entry(const struct node *node, struct entry *entry)
{
	*entry = (struct entry) { .key = node_key(node),
				  .value = slice_make(node->bytes + node->key_size, node->value_size),
				  .sequence = node->sequence,
				  .kind = (enum entry_kind)node->kind };
}

/* What is looked for: a version of a key. */
struct place {
	struct slice key;
	uint64_t head, sequence;
};

static struct place place_make(struct slice key, uint64_t sequence)
{
	return (struct place) { .key = key, .head = slice_head(key, 0), .sequence = sequence };
}

/* Whether the node comes before the place, in entry order. */
static bool is_before(const struct node *node, const struct place *place)
{
	if (node->head != place->head)
		return node->head < place->head;
	return entry_compare(node_key(node), node->sequence, place->key, place->sequence) < 0;
}

static struct node *node_make(struct arena *arena, const struct entry *entry, uint64_t number)
{
	size_t size = sizeof(struct node) + entry->key.size + entry->value.size;
	struct node *node = arena_allocate(arena, size, _Alignof(struct node));
	if (node == NULL)
		return NULL;
	*node = (struct node) { .head = slice_head(entry->key, 0),
				.sequence = entry->sequence,
				.priority = (uint32_t)hash_mix(number + 1),
				.value_size = (uint32_t)entry->value.size,
				.key_size = (uint16_t)entry->key.size,
				.kind = (uint8_t)entry->kind };
	if (entry->key.size > 0)
		memcpy(node->bytes, entry->key.data, entry->key.size);
	if (entry->value.size > 0)
		memcpy(node->bytes + entry->key.size, entry->value.data, entry->value.size);
	return node;
}

/* Puts `by` where `node` was, below the same parent. */
static void replace_child(struct treap *treap, const struct node *node, struct node *by)
{
	struct node *parent = node->parent;
	if (parent == NULL)
		treap->root = by;
	else if (parent->left == node)
		parent->left = by;
	else
		parent->right = by;
	by->parent = parent;
}

/* The node and its parent change places: the order of all stays. */
static void rotate_up(struct treap *treap, struct node *node)
{
	struct node *parent = node->parent;
	bool is_left = parent->left == node;
	struct node **inner = is_left ? &node->right : &node->left, *between = *inner;
	replace_child(treap, parent, node);
	*inner = parent;
	*(is_left ? &parent->left : &parent->right) = between;
	parent->parent = node;
	if (between != NULL)
		between->parent = parent;
}

static struct status treap_insert(struct memtable *memtable, const struct entry *entry,
				  uint64_t oldest_needed)
{
	struct treap *treap = (struct treap *)memtable;
	struct place place = place_make(entry->key, entry->sequence);
	struct node **at = &treap->root, *parent = NULL;
	(void)oldest_needed; /* versions that nobody needs stay: what reads the order skips them */
	struct node *node = node_make(memtable->arena, entry, treap->count);
	if (node == NULL)
		return status_make(STATUS_NO_MEMORY);
	while (*at != NULL) {
		parent = *at;
		at = is_before(parent, &place) ? &parent->right : &parent->left;
	}
	*at = node;
	node->parent = parent;
	while (node->parent != NULL && node->parent->priority < node->priority)
		rotate_up(treap, node);
	treap->count++;
	return status_ok();
}

/* The first node that is not before the place, NULL if all are. */
static struct node *find(const struct treap *treap, const struct place *place)
{
	struct node *found = NULL;
	for (struct node *node = treap->root; node != NULL;) {
		bool before = is_before(node, place);
		found = before ? found : node;
		node = before ? node->right : node->left;
	}
	return found;
}

static bool take(const struct node *found, struct slice key, struct entry *entry)
{
	if (found == NULL || !slice_equal(node_key(found), key))
		return false;
	node_entry(found, entry);
	return true;
}

static bool treap_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	struct place place = place_make(key, sequence);
	return take(find((const struct treap *)memtable, &place), key, entry);
}

/* One step of each path in turn; the next node of each is on its way meanwhile. */
static void get_some(const struct treap *treap, struct memtable_probe *probes, size_t count)
{
	struct place places[PATHS];
	const struct node *at[PATHS], *found[PATHS] = { NULL };
	bool going = true;
	for (size_t i = 0; i < count; i++) {
		places[i] = place_make(probes[i].key, probes[i].sequence);
		at[i] = treap->root;
	}
	while (going) {
		going = false;
		for (size_t i = 0; i < count; i++) {
			if (at[i] == NULL)
				continue;
			bool before = is_before(at[i], &places[i]);
			found[i] = before ? found[i] : at[i];
			at[i] = before ? at[i]->right : at[i]->left;
			__builtin_prefetch(at[i]);
			going = true;
		}
	}
	for (size_t i = 0; i < count; i++)
		probes[i].found = take(found[i], probes[i].key, &probes[i].entry);
}

static void treap_get_many(struct memtable *memtable, struct memtable_probe *probes, size_t count)
{
	for (size_t i = 0; i < count; i += PATHS)
		get_some((const struct treap *)memtable, probes + i, count - i < PATHS ? count - i : PATHS);
}

static uint64_t treap_count(const struct memtable *memtable)
{
	return ((const struct treap *)memtable)->count;
}

/* --- iterators: nodes never move, so inserts do not disturb them --- */

static void treap_iterator_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	*(struct treap_iterator *)iterator = (struct treap_iterator) { .base.memtable = memtable };
}

static void point_at(struct memtable_iterator *iterator, struct node *node)
{
	((struct treap_iterator *)iterator)->node = node;
	iterator->valid = node != NULL;
	if (node != NULL)
		node_entry(node, &iterator->entry);
}

/* The neighbour in order: the first node below on that side, or else the first above on it. */
static struct node *neighbour(struct node *node, bool forward)
{
	struct node *next = forward ? node->right : node->left;
	if (next != NULL) {
		for (struct node *below = next; below != NULL; below = forward ? next->left : next->right)
			next = below;
		return next;
	}
	for (next = node->parent; next != NULL && node == (forward ? next->right : next->left);
	     next = node->parent)
		node = next;
	return next;
}

static void treap_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct place place = place_make(key, sequence);
	point_at(iterator, find((const struct treap *)iterator->memtable, &place));
}

static void treap_seek_last(struct memtable_iterator *iterator)
{
	struct node *last = ((const struct treap *)iterator->memtable)->root;
	while (last != NULL && last->right != NULL)
		last = last->right;
	point_at(iterator, last);
}

static void treap_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct place place = place_make(key, sequence);
	struct node *found = find((const struct treap *)iterator->memtable, &place);
	if (found == NULL)
		treap_seek_last(iterator);
	else if (found->sequence == sequence && slice_equal(node_key(found), key))
		point_at(iterator, found);
	else
		point_at(iterator, neighbour(found, false));
}

static void treap_next(struct memtable_iterator *iterator)
{
	point_at(iterator, neighbour(((struct treap_iterator *)iterator)->node, true));
}

static void treap_prev(struct memtable_iterator *iterator)
{
	point_at(iterator, neighbour(((struct treap_iterator *)iterator)->node, false));
}

const struct memtable_ops memtable_treap = {
	.component = {
		.name = "treap",
		.summary = "treap of versions with 8-byte heads; batches go down eight paths by turns",
		.abi = COMPONENT_ABI,
	},
	.create = treap_create,
	.insert = treap_insert,
	.get = treap_get,
	.get_many = treap_get_many,
	.count = treap_count,
	.iterator_init = treap_iterator_init,
	.seek = treap_seek,
	.seek_back = treap_seek_back,
	.seek_last = treap_seek_last,
	.next = treap_next,
	.prev = treap_prev,
};

COMPONENT_MODULE({ COMPONENT_MEMTABLE, &memtable_treap.component });
