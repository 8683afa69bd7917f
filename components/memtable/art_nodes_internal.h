/*
 * art_nodes_internal.h: the inner nodes of the adaptive radix tree (art.c): their layout, searching them,
 * adding to them, and the memory that they come from.
 *
 * A node tells the keys below it apart by one symbol: a byte, or the end of the key, which comes before all
 * bytes. It takes one of five forms. As in the paper the small ones keep sorted arrays, Node48 an index of
 * its children by byte, and Node256 one place for each byte; but the small ones are made to fill half a
 * cache line, one, and two, which with references of six bytes makes 3, 8 and 16 children.
 *
 * References, the content of every child slot and of the root, are numbers of 48 bits: 0 for nothing, the
 * address of a record, which art.c keeps even, or an inner node's address + 1. The low five bits of the
 * latter tell the node's form, so that a search knows what to do before the node has come from memory:
 *
 *	FORM      LOW BITS  BYTES  ALIGNMENT  THE NODE'S ADDRESS FROM ITS START
 *	Node3           7      32         32   6
 *	Node8           9      64         64   8
 *	Node16         25     128         64  24
 *	Node48          1     608         64   0
 *	Node256        17    1600         64  16
 *
 * The address lies inside of the node. From there on (before it in sorted nodes: the symbols, backwards, so
 * that one load of 16 bytes ends with them whatever the form; what it takes in beyond them is masked out):
 *
 *	OFFSET  SIZE   DESCRIPTION
 *	-1 - i     1   sorted nodes: byte of child i, 0 for the one at a key's end
 *	 0         2   prefix size: bytes that all keys below have in common here
 *	 2         1   children; of Node48 without the one at a key's end; not kept in Node256
 *	 3         1   1: child 0 of a sorted node is the one at a key's end
 *	 4         4   the prefix's first bytes
 *	 8 + 6i    6   sorted nodes: child i
 *	 8         6   Node48, Node256: the child at a key's end
 *	16        32   Node48, Node256: a bit for each byte that has a child
 *	64       256   Node48: 1 + number of the child for each byte; 0: none
 *	320 + 6i   6   Node48: child i
 *	48 + 6i    6   Node256: the child for byte i
 */
#ifndef CASCADE_COMPONENTS_MEMTABLE_ART_NODES_INTERNAL_H
#define CASCADE_COMPONENTS_MEMTABLE_ART_NODES_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/arena.h"
#include "base/assert.h"

enum node_form { NODE3, NODE8, NODE16, NODE48, NODE256, NODE_FORMS };

enum {
	REFERENCE_BYTES = 6,
	REFERENCE_BITS = 48,
	REFERENCE_FORM = 31, /* the bits of a reference that tell the form */
	REFERENCE_NODE3 = 7,
	REFERENCE_NODE8 = 9,
	REFERENCE_NODE16 = 25,
	REFERENCE_NODE48 = 1,
	REFERENCE_NODE256 = 17,
	REFERENCE_SORTED = 14, /* any of these bits: a sorted node */

	PREFIX_INLINE = 4,
	NODE3_MAX = 3,
	NODE8_MAX = 8,
	SORTED_MAX = 16,
	NODE48_MAX = 48,
	SYMBOL_END = -1,     /* the end of a key; other symbols are bytes */
	POSITION_NONE = -1,  /* before the first */
	POSITIONS_BIG = 257, /* of Node48 and Node256: 0 is the end of a key, 1 + byte a byte */

	SORTED_CHILDREN = 8,
	BIG_END = 8,
	BIG_PRESENT = 16,
	NODE48_INDEX = 64,
	NODE48_CHILDREN = 320,
	NODE256_CHILDREN = 48,

	LINE_BYTES = 64,
	REGION_BYTES_MIN = 2048, /* a Node256 fits */
	REGION_BYTES_MAX = 8192,
};

/* What every node has at its address. */
struct node {
	uint16_t prefix_size;
	uint8_t count;
	uint8_t has_end;
	uint8_t prefix[PREFIX_INLINE];
};

_Static_assert(sizeof(struct node) == SORTED_CHILDREN, "children follow the head");
_Static_assert(sizeof(uintptr_t) == sizeof(uint64_t), "references are addresses");

struct node_layout {
	uint16_t bytes;
	uint8_t alignment;
	uint8_t address; /* from the start of the memory to the node's address */
	uint8_t capacity;
};

static const struct node_layout node_layouts[NODE_FORMS] = {
	[NODE3] = { .bytes = 32, .alignment = 32, .address = 6, .capacity = NODE3_MAX },
	[NODE8] = { .bytes = 64, .alignment = 64, .address = 8, .capacity = NODE8_MAX },
	[NODE16] = { .bytes = 128, .alignment = 64, .address = 24, .capacity = SORTED_MAX },
	[NODE48] = { .bytes = 608, .alignment = 64, .address = 0, .capacity = NODE48_MAX },
	[NODE256] = { .bytes = 1600, .alignment = 64, .address = 16, .capacity = 0 },
};

/*
 * Of functions that only load something into the cache: gcc takes them for functions without an effect and
 * leaves calls of them out, unless they are inlined before it looks.
 */
#define PREFETCHES inline __attribute__((always_inline))

/* --- references --- */

/* `slot`: two bytes of the same node, or of what the slot is a part of, lie before it. */
static inline uint64_t reference_load(const uint8_t *slot)
{
	uint64_t word;
	memcpy(&word, slot - (sizeof(word) - REFERENCE_BYTES), sizeof(word));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return word >> (64 - REFERENCE_BITS);
#else
	return word & UINT64_MAX >> (64 - REFERENCE_BITS);
#endif
}

static inline void reference_store(uint8_t *slot, uint64_t reference)
{
	DASSERT(reference >> REFERENCE_BITS == 0);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	memcpy(slot, &reference, REFERENCE_BYTES);
#else
	memcpy(slot, (const uint8_t *)&reference + sizeof(reference) - REFERENCE_BYTES, REFERENCE_BYTES);
#endif
}

static inline bool reference_is_node(uint64_t reference)
{
	return (reference & 1) != 0;
}

/* Whether it is the reference of a Node48 or a Node256. */
static inline bool reference_is_big(uint64_t reference)
{
	return (reference & (REFERENCE_SORTED | 1)) == 1;
}

/* Of a node's reference: whether its form is a sorted one. */
static inline bool reference_is_sorted(uint64_t reference)
{
	return (reference & REFERENCE_SORTED) != 0;
}

/* By a table: which form a node has on the way of an insert is nothing that branches could foresee. */
static inline enum node_form reference_form(uint64_t reference)
{
	static const uint8_t forms[REFERENCE_FORM + 1] = {
		[REFERENCE_NODE3] = NODE3,   [REFERENCE_NODE8] = NODE8,	    [REFERENCE_NODE16] = NODE16,
		[REFERENCE_NODE48] = NODE48, [REFERENCE_NODE256] = NODE256,
	};
	return (enum node_form)forms[reference & REFERENCE_FORM];
}

static inline struct node *reference_node(uint64_t reference)
{
	return (struct node *)(uintptr_t)(reference - 1);
}

static inline uint64_t reference_make(enum node_form form, const uint8_t *memory)
{
	uint64_t reference = (uintptr_t)memory + node_layouts[form].address + 1;
	DASSERT(reference_form(reference) == form);
	return reference;
}

/* The start of the node's memory. */
static inline uint8_t *reference_memory(uint64_t reference)
{
	return (uint8_t *)reference_node(reference) - node_layouts[reference_form(reference)].address;
}

/* Loads the children of a node that is about to be searched, where they do not lie with its bytes. */
static PREFETCHES void reference_prefetch_children(uint64_t reference)
{
	if ((reference & REFERENCE_FORM) == REFERENCE_NODE16)
		__builtin_prefetch((const uint8_t *)reference_node(reference) + LINE_BYTES, 0, 3);
}

/*
 * Loads what a reference refers to into the cache: a sorted node, the head of another, the start of a record.
 * Two lines of Node16 and of records; where one is enough it is asked for twice, which is cheaper than to
 * branch.
 */
static PREFETCHES void reference_prefetch(uint64_t reference)
{
	/* A number, since it may be 0. */
	uintptr_t at = (uintptr_t)(reference & ~1ull);
	bool one_line = (reference & 1) != 0 && (reference & REFERENCE_FORM) != REFERENCE_NODE16;
	__builtin_prefetch((const void *)at, 0, 3);
	__builtin_prefetch((const void *)(at + (one_line ? 0 : LINE_BYTES)), 0, 3);
}

/* --- searching in sorted nodes --- */

/* Masks of 16 bits, the highest for child 0. The bits of children that are not there mean nothing. */

static inline unsigned sorted_equal_portable(const struct node *node, uint8_t byte)
{
	const uint8_t *bytes = (const uint8_t *)node - SORTED_MAX;
	unsigned mask = 0;
	for (unsigned i = 0; i < SORTED_MAX; i++)
		mask |= (unsigned)(bytes[i] == byte) << i;
	return mask;
}

static inline unsigned sorted_at_most_portable(const struct node *node, uint8_t byte)
{
	const uint8_t *bytes = (const uint8_t *)node - SORTED_MAX;
	unsigned mask = 0;
	for (unsigned i = 0; i < SORTED_MAX; i++)
		mask |= (unsigned)(bytes[i] <= byte) << i;
	return mask;
}

#ifdef __SSE2__
static inline __m128i sorted_bytes(const struct node *node)
{
	return _mm_loadu_si128((const __m128i *)(const void *)((const uint8_t *)node - SORTED_MAX));
}

static inline unsigned sorted_equal(const struct node *node, uint8_t byte)
{
	__m128i equal = _mm_cmpeq_epi8(sorted_bytes(node), _mm_set1_epi8((char)byte));
	return (unsigned)_mm_movemask_epi8(equal);
}

static inline unsigned sorted_at_most(const struct node *node, uint8_t byte)
{
	__m128i bytes = sorted_bytes(node);
	__m128i at_most = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8((char)byte)), bytes);
	return (unsigned)_mm_movemask_epi8(at_most);
}
#else
static inline unsigned sorted_equal(const struct node *node, uint8_t byte)
{
	return sorted_equal_portable(node, byte);
}

static inline unsigned sorted_at_most(const struct node *node, uint8_t byte)
{
	return sorted_at_most_portable(node, byte);
}
#endif

/* The number of the child for `byte`, POSITION_NONE if there is none. */
static inline int sorted_find(const struct node *node, uint8_t byte)
{
	unsigned children = 0xffff0000u >> node->count & 0xffffu >> node->has_end;
	unsigned mask = sorted_equal(node, byte) & children;
	/* Less 16, but of one instruction with what counts zeros. */
	return mask == 0 ? POSITION_NONE : __builtin_clz(mask) ^ 16;
}

/* How many children come before or at `byte`, the one at a key's end among them. */
static inline int sorted_rank(const struct node *node, uint8_t byte)
{
	unsigned mask = sorted_at_most(node, byte) & 0xffff0000u >> node->count;
	return __builtin_clz(~(mask << 16));
}

/* --- searching in any node --- */

/* A position is the number of a child in a sorted node, else 0 for the end of a key and 1 + byte. */

static inline bool big_has(const struct node *node, uint8_t byte)
{
	const uint64_t *present = (const uint64_t *)(const void *)((const uint8_t *)node + BIG_PRESENT);
	return (present[byte / 64] >> byte % 64 & 1) != 0;
}

/* The slot of the child at a position that has one. */
static inline uint8_t *node_slot(uint64_t reference, int position)
{
	uint8_t *node = (uint8_t *)reference_node(reference);
	if (__builtin_expect(reference_is_sorted(reference), 1))
		return node + SORTED_CHILDREN + (size_t)position * REFERENCE_BYTES;
	if (position == 0)
		return node + BIG_END;
	size_t byte = (size_t)position - 1;
	if ((reference & REFERENCE_FORM) == REFERENCE_NODE256)
		return node + NODE256_CHILDREN + byte * REFERENCE_BYTES;
	return node + NODE48_CHILDREN + (node[NODE48_INDEX + byte] - 1u) * REFERENCE_BYTES;
}

/* The position of the child for `symbol`, POSITION_NONE if there is none. */
static inline int node_find(uint64_t reference, int symbol)
{
	const struct node *node = reference_node(reference);
	bool sorted = reference_is_sorted(reference);
	if (__builtin_expect(symbol == SYMBOL_END, 0)) {
		bool has_end =
			sorted ? node->has_end != 0 : reference_load((const uint8_t *)node + BIG_END) != 0;
		return has_end ? 0 : POSITION_NONE;
	}
	if (__builtin_expect(sorted, 1))
		return sorted_find(node, (uint8_t)symbol);
	return big_has(node, (uint8_t)symbol) ? 1 + symbol : POSITION_NONE;
}

/* The child for `symbol`, 0 if there is none: node_find, node_slot and reference_load in one. */
static inline uint64_t node_child(uint64_t reference, int symbol)
{
	const uint8_t *node = (const uint8_t *)reference_node(reference);
	if (__builtin_expect(symbol == SYMBOL_END || !reference_is_sorted(reference), 0)) {
		int position = node_find(reference, symbol);
		return position == POSITION_NONE ? 0 : reference_load(node_slot(reference, position));
	}
	int position = sorted_find((const struct node *)(const void *)node, (uint8_t)symbol);
	if (position == POSITION_NONE)
		return 0;
	return reference_load(node + SORTED_CHILDREN + (size_t)position * REFERENCE_BYTES);
}

/* --- going through a node's children in order --- */

/* The first byte >= `from` (up to 256) that has a child, 256 if none has. */
static inline int big_next(const struct node *node, int from)
{
	const uint64_t *present = (const uint64_t *)(const void *)((const uint8_t *)node + BIG_PRESENT);
	for (; from < 256; from = (from | 63) + 1) {
		uint64_t word = present[from / 64] >> from % 64;
		if (word != 0)
			return from + __builtin_ctzll(word);
	}
	return 256;
}

/* The last byte <= `from` (down to -1) that has a child, -1 if none has. */
static inline int big_previous(const struct node *node, int from)
{
	const uint64_t *present = (const uint64_t *)(const void *)((const uint8_t *)node + BIG_PRESENT);
	for (; from >= 0; from = (from & ~63) - 1) {
		uint64_t word = present[from / 64] << (63 - from % 64);
		if (word != 0)
			return from - __builtin_clzll(word);
	}
	return -1;
}

/* One behind the last position. */
static inline int node_positions(uint64_t reference)
{
	return reference_is_sorted(reference) ? reference_node(reference)->count : POSITIONS_BIG;
}

/*
 * The next position with a child behind `position` (POSITION_NONE: the first), or, going down, the next one
 * before it (node_positions: the last). POSITION_NONE if there is none.
 */
static inline int node_step(uint64_t reference, int position, bool up)
{
	const struct node *node = reference_node(reference);
	if (__builtin_expect(reference_is_sorted(reference), 1)) {
		if (!up)
			return position - 1;
		return position + 1 < node->count ? position + 1 : POSITION_NONE;
	}
	bool has_end = reference_load((const uint8_t *)node + BIG_END) != 0;
	if (up) {
		if (position == POSITION_NONE && has_end)
			return 0;
		int byte = big_next(node, position == POSITION_NONE ? 0 : position);
		return byte < 256 ? 1 + byte : POSITION_NONE;
	}
	if (position == 0)
		return POSITION_NONE;
	int byte = big_previous(node, position - 2);
	return byte >= 0 ? 1 + byte : has_end ? 0 : POSITION_NONE;
}

/* For a symbol that has no child: the position from which node_step comes to its neighbour. */
static inline int node_gap(uint64_t reference, int symbol, bool up)
{
	if (symbol == SYMBOL_END)
		return up ? POSITION_NONE : 0;
	if (!reference_is_sorted(reference))
		return 1 + symbol;
	return sorted_rank(reference_node(reference), (uint8_t)symbol) - (up ? 1 : 0);
}

/* One of a node's children, a record if that is easily seen. */
static inline uint64_t node_nearest_child(uint64_t reference)
{
	int first = node_step(reference, POSITION_NONE, true);
	uint64_t child = reference_load(node_slot(reference, first));
	if (!reference_is_sorted(reference))
		return child;
	for (int i = 1; reference_is_node(child) && i < reference_node(reference)->count; i++)
		child = reference_load(node_slot(reference, i));
	return child;
}

/* Loads what lies below a sorted node, where a scan is about to come, into the cache: a line of each. */
static PREFETCHES void node_prefetch_children(uint64_t reference)
{
	const struct node *node = reference_node(reference);
	if (!reference_is_sorted(reference))
		return;
	for (int i = 0; i < node->count; i++)
		__builtin_prefetch((const void *)(uintptr_t)reference_load(node_slot(reference, i)), 0, 3);
}

/* Loads what a search for a byte looks at in a Node48 or a Node256, beside its head. */
static PREFETCHES void big_prefetch(uint64_t reference, uint8_t byte)
{
	const uint8_t *node = (const uint8_t *)reference_node(reference);
	bool indexed = (reference & REFERENCE_FORM) == REFERENCE_NODE48;
	__builtin_prefetch(node + (indexed ? NODE48_INDEX + byte : NODE256_CHILDREN + byte * REFERENCE_BYTES),
			   0, 3);
}

/* --- adding --- */

/* A node without children and with an empty prefix. */
static inline uint64_t node_create(enum node_form form, uint8_t *memory)
{
	uint64_t reference = reference_make(form, memory);
	uint8_t *node = (uint8_t *)reference_node(reference);
	if (form >= NODE48)
		memset(node, 0, node_layouts[form].bytes - node_layouts[form].address);
	else
		memset(node, 0, sizeof(struct node));
	return reference;
}

/* Whether the node has to grow before it takes a child for `symbol`, which it does not have. */
static inline bool node_is_full(uint64_t reference, int symbol)
{
	enum node_form form = reference_form(reference);
	if (form >= NODE48 && symbol == SYMBOL_END)
		return false;
	return form != NODE256 && reference_node(reference)->count == node_layouts[form].capacity;
}

static inline void sorted_add(struct node *node, int symbol, uint64_t child)
{
	uint8_t *bytes = (uint8_t *)node - 1;
	uint8_t *children = (uint8_t *)node + SORTED_CHILDREN;
	int at = symbol == SYMBOL_END ? 0 : sorted_rank(node, (uint8_t)symbol);
	for (int i = node->count; i > at; i--) {
		bytes[-i] = bytes[1 - i];
		reference_store(children + i * REFERENCE_BYTES,
				reference_load(children + (i - 1) * REFERENCE_BYTES));
	}
	bytes[-at] = symbol == SYMBOL_END ? 0 : (uint8_t)symbol;
	reference_store(children + at * REFERENCE_BYTES, child);
	node->count++;
	if (symbol == SYMBOL_END)
		node->has_end = 1;
}

/* Adds a child for a symbol that has none, to a node that is not full. */
static inline void node_add(uint64_t reference, int symbol, uint64_t child)
{
	struct node *node = reference_node(reference);
	uint8_t *at = (uint8_t *)node;
	DASSERT(!node_is_full(reference, symbol));
	if (reference_is_sorted(reference)) {
		sorted_add(node, symbol, child);
		return;
	}
	if (symbol == SYMBOL_END) {
		reference_store(at + BIG_END, child);
		return;
	}
	uint64_t *present = (uint64_t *)(void *)(at + BIG_PRESENT);
	present[symbol / 64] |= 1ull << symbol % 64;
	if ((reference & REFERENCE_FORM) == REFERENCE_NODE48)
		at[NODE48_INDEX + symbol] = ++node->count;
	reference_store(node_slot(reference, 1 + symbol), child);
}

/* A Node3 with two children, whose symbols differ, and an empty prefix. */
static inline uint64_t node_create_pair(uint8_t *memory, const int symbols[2], const uint64_t children[2])
{
	uint64_t reference = reference_make(NODE3, memory);
	struct node *node = reference_node(reference);
	uint8_t *bytes = (uint8_t *)node - 1;
	uint8_t *slots = (uint8_t *)node + SORTED_CHILDREN;
	size_t first = symbols[0] < symbols[1] ? 0 : 1;
	bool has_end = symbols[first] == SYMBOL_END;
	*node = (struct node) { .count = 2, .has_end = has_end ? 1 : 0 };
	bytes[0] = has_end ? 0 : (uint8_t)symbols[first];
	bytes[-1] = (uint8_t)symbols[1 - first];
	reference_store(slots, children[first]);
	reference_store(slots + REFERENCE_BYTES, children[1 - first]);
	return reference;
}

/* The byte of the child at a position that is not the end of a key. */
static inline int node_symbol(uint64_t reference, int position)
{
	const struct node *node = reference_node(reference);
	if (!reference_is_sorted(reference))
		return position - 1;
	return position == 0 && node->has_end != 0 ? SYMBOL_END : ((const uint8_t *)node)[-1 - position];
}

/* A full node in the next larger form, in `memory`. The old one is no longer needed. */
static inline uint64_t node_grow(uint64_t reference, uint8_t *memory)
{
	const struct node *node = reference_node(reference);
	enum node_form form = reference_form(reference) + 1;
	ASSERT(form < NODE_FORMS);
	uint64_t larger = node_create(form, memory);
	struct node *to = reference_node(larger);
	if (form == NODE8) {
		memcpy((uint8_t *)to - NODE3_MAX, (const uint8_t *)node - NODE3_MAX, NODE3_MAX);
		memcpy(to, node, SORTED_CHILDREN + NODE3_MAX * REFERENCE_BYTES);
		return larger;
	}
	if (form == NODE16) {
		memcpy((uint8_t *)to - NODE8_MAX, (const uint8_t *)node - NODE8_MAX, NODE8_MAX);
		memcpy(to, node, SORTED_CHILDREN + NODE8_MAX * REFERENCE_BYTES);
		return larger;
	}
	to->prefix_size = node->prefix_size;
	memcpy(to->prefix, node->prefix, PREFIX_INLINE);
	for (int i = node_step(reference, POSITION_NONE, true); i != POSITION_NONE;
	     i = node_step(reference, i, true)) {
		int symbol = reference_is_sorted(reference) ? node_symbol(reference, i) : i - 1;
		node_add(larger, symbol, reference_load(node_slot(reference, i)));
	}
	return larger;
}

/* --- the nodes' memory --- */

/*
 * Nodes lie side by side in regions of the arena, apart from the records: so they fill cache lines, and are
 * few pages. What was outgrown is taken again, halves of it too.
 */
struct node_memory {
	struct arena *arena;
	uint8_t *next; /* the rest of the newest region */
	uint8_t *end;
	size_t taken;		    /* bytes of all regions */
	uint8_t *spare[NODE_FORMS]; /* each links to the next in its first bytes */
};

static inline void node_memory_put(struct node_memory *nodes, enum node_form form, uint8_t *memory)
{
	uint8_t **link = (uint8_t **)(void *)memory;
	*link = nodes->spare[form];
	nodes->spare[form] = memory;
}

static inline uint8_t *node_memory_take_spare(struct node_memory *nodes, enum node_form form)
{
	uint8_t *memory = nodes->spare[form];
	if (memory != NULL)
		nodes->spare[form] = *(uint8_t **)(void *)memory;
	return memory;
}

/* A spare node, or half of one that is twice as large. */
static inline uint8_t *node_memory_reuse(struct node_memory *nodes, enum node_form form)
{
	uint8_t *memory = node_memory_take_spare(nodes, form);
	if (memory != NULL || form > NODE8)
		return memory;
	memory = node_memory_take_spare(nodes, form + 1);
	if (memory != NULL)
		node_memory_put(nodes, form, memory + node_layouts[form].bytes);
	return memory;
}

/* Gives bytes up to `to` that are too few for another node to the smallest ones. */
static inline void node_memory_skip(struct node_memory *nodes, const uint8_t *to)
{
	for (; (size_t)(to - nodes->next) >= node_layouts[NODE3].bytes;
	     nodes->next += node_layouts[NODE3].bytes)
		node_memory_put(nodes, NODE3, nodes->next);
}

static inline bool node_memory_extend(struct node_memory *nodes)
{
	size_t bytes = nodes->taken / 8 & ~(size_t)(LINE_BYTES - 1);
	if (bytes < REGION_BYTES_MIN)
		bytes = REGION_BYTES_MIN;
	if (bytes > REGION_BYTES_MAX)
		bytes = REGION_BYTES_MAX;
	uint8_t *region = arena_allocate(nodes->arena, bytes, LINE_BYTES);
	if (region == NULL)
		return false;
	ASSERT((uintptr_t)region >> REFERENCE_BITS == 0);
	node_memory_skip(nodes, nodes->end);
	nodes->taken += bytes;
	/* A search in the first node takes in bytes before it. */
	nodes->next = region + node_layouts[NODE3].alignment;
	nodes->end = region + bytes;
	return true;
}

/* Memory for a node of that form, NULL if there is none. */
static inline uint8_t *node_memory_take(struct node_memory *nodes, enum node_form form)
{
	const struct node_layout *layout = &node_layouts[form];
	uint8_t *memory = node_memory_reuse(nodes, form);
	if (memory != NULL)
		return memory;
	for (;;) {
		size_t gap = -(uintptr_t)nodes->next & (layout->alignment - 1u);
		if ((size_t)(nodes->end - nodes->next) >= gap + layout->bytes) {
			node_memory_skip(nodes, nodes->next + gap);
			memory = nodes->next;
			nodes->next += layout->bytes;
			return memory;
		}
		if (!node_memory_extend(nodes))
			return NULL;
	}
}

#endif
