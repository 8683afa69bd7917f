#include "harness/verify_index.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "harness/generator.h"

enum {
	HEIGHT_MAX = 12,
	/* The largest hash is 2^63, of 19 digits, and key numbers end at 2^48. */
	DIGITS_MAX = 19,
	DIGITS_SHIFT = 48,
	PREFIX_BYTES = 4,
	PAGE_BYTES = 4096,
	BUCKET_BITS = 16,
	BUCKETS = 1 << BUCKET_BITS,
};

struct verify_node {
	struct verify_place place;
	_Atomic(struct verify_node *) next[];
};

typedef _Atomic(struct verify_node *) node_link;

struct verify_index {
	enum insert_order insert_order;
	struct verify_place *places;
	uint64_t count, capacity;
	node_link first[HEIGHT_MAX];
};

/* --- places --- */

static const uint64_t powers[DIGITS_MAX] = {
	1ull,
	10ull,
	100ull,
	1000ull,
	10000ull,
	100000ull,
	1000000ull,
	10000000ull,
	100000000ull,
	1000000000ull,
	10000000000ull,
	100000000000ull,
	1000000000000ull,
	10000000000000ull,
	100000000000000ull,
	1000000000000000ull,
	10000000000000000ull,
	100000000000000000ull,
	1000000000000000000ull,
};

static struct verify_place place_of_number(uint64_t number)
{
	uint64_t digits = 1;
	while (digits < DIGITS_MAX && number >= powers[digits])
		digits++;
	return (struct verify_place) {
		.order = number * powers[DIGITS_MAX - digits],
		.rest = digits << DIGITS_SHIFT,
	};
}

struct verify_place verify_place_of(enum insert_order insert_order, uint64_t key_number)
{
	uint64_t number = insert_order == INSERT_HASHED ? fnv64_absolute(key_number) : key_number;
	struct verify_place place = place_of_number(number);
	place.rest |= key_number;
	return place;
}

bool verify_place_of_text(struct slice key, struct verify_place *place)
{
	uint64_t number = 0;
	if (key.size <= PREFIX_BYTES || key.size > PREFIX_BYTES + DIGITS_MAX ||
	    memcmp(key.data, "user", PREFIX_BYTES) != 0)
		return false;
	for (size_t i = PREFIX_BYTES; i < key.size; i++) {
		if (key.data[i] < '0' || key.data[i] > '9')
			return false;
		number = number * 10 + (uint64_t)(key.data[i] - '0');
	}
	*place = place_of_number(number);
	/* A leading zero makes a text longer than its number. */
	return place->rest >> DIGITS_SHIFT == key.size - PREFIX_BYTES;
}

/* --- life --- */

static size_t places_bytes(uint64_t count)
{
	return (count * sizeof(struct verify_place) / PAGE_BYTES + 1) * PAGE_BYTES;
}

struct status verify_index_create(enum insert_order insert_order, uint64_t keys, struct verify_index **index)
{
	struct verify_index *made = memory_allocate_zeroed(1, sizeof(*made));
	if (made == NULL)
		return status_make(STATUS_NO_MEMORY);
	made->insert_order = insert_order;
	made->capacity = keys;
	made->places = memory_map(places_bytes(keys));
	if (made->places == NULL) {
		memory_free(made);
		return status_make(STATUS_NO_MEMORY);
	}
	*index = made;
	return status_ok();
}

void verify_index_destroy(struct verify_index *index)
{
	if (index == NULL)
		return;
	struct verify_node *node = atomic_load_explicit(&index->first[0], memory_order_relaxed);
	while (node != NULL) {
		struct verify_node *next = atomic_load_explicit(&node->next[0], memory_order_relaxed);
		memory_free(node);
		node = next;
	}
	memory_unmap(index->places, places_bytes(index->capacity));
	memory_free(index);
}

/* --- the sorted array --- */

void verify_index_put(struct verify_index *index, uint64_t key_number)
{
	ASSERT(index->count < index->capacity);
	index->places[index->count++] = verify_place_of(index->insert_order, key_number);
}

static int compare_places(const void *left, const void *right)
{
	return verify_place_compare(*(const struct verify_place *)left, *(const struct verify_place *)right);
}

static uint64_t bucket_of(struct verify_place place)
{
	return place.order >> (64 - BUCKET_BITS);
}

/* Into buckets by the first bits, which keys spread over, and then each bucket by itself, which is small. */
static void sort_by_buckets(struct verify_index *index, struct verify_place *other, uint64_t *ends)
{
	for (uint64_t i = 0; i < index->count; i++)
		ends[bucket_of(index->places[i])]++;
	uint64_t sum = 0;
	for (uint64_t bucket = 0; bucket < BUCKETS; bucket++) {
		uint64_t begin = sum;
		sum += ends[bucket];
		ends[bucket] = begin;
	}
	for (uint64_t i = 0; i < index->count; i++)
		other[ends[bucket_of(index->places[i])]++] = index->places[i];
	for (uint64_t bucket = 0; bucket < BUCKETS; bucket++) {
		uint64_t begin = bucket == 0 ? 0 : ends[bucket - 1];
		if (ends[bucket] - begin > 1)
			qsort(other + begin, ends[bucket] - begin, sizeof(*other), compare_places);
	}
}

struct status verify_index_sort(struct verify_index *index)
{
	struct verify_place *other = memory_map(places_bytes(index->capacity));
	uint64_t *ends = memory_allocate_zeroed(BUCKETS, sizeof(*ends));
	bool made = other != NULL && ends != NULL;
	if (made) {
		sort_by_buckets(index, other, ends);
		memory_unmap(index->places, places_bytes(index->capacity));
		index->places = other;
	} else if (other != NULL) {
		memory_unmap(other, places_bytes(index->capacity));
	}
	memory_free(ends);
	return status_make(made ? STATUS_OK : STATUS_NO_MEMORY);
}

/* The first place that is not before `from`. */
static const struct verify_place *lower_bound(const struct verify_index *index, struct verify_place from)
{
	const struct verify_place *low = index->places;
	uint64_t count = index->count;
	while (count > 0) {
		uint64_t half = count / 2;
		if (verify_place_compare(low[half], from) < 0) {
			low += half + 1;
			count -= half + 1;
		} else {
			count = half;
		}
	}
	return low;
}

/* --- the skip list: nodes are added and never removed, so a link once read stays good --- */

/* `node` NULL: the list's own links. */
static node_link *link_of(struct verify_index *index, struct verify_node *node, uint32_t level)
{
	return node == NULL ? &index->first[level] : &node->next[level];
}

/* The last node of a level that lies before `place`, searched from `node` on; *after: the one after it. */
static struct verify_node *level_find(struct verify_index *index, struct verify_node *node, uint32_t level,
				      struct verify_place place, struct verify_node **after)
{
	for (;;) {
		*after = atomic_load_explicit(link_of(index, node, level), memory_order_acquire);
		if (*after == NULL || verify_place_compare((*after)->place, place) >= 0)
			return node;
		node = *after;
	}
}

/* Returns the first node that is not before `place`; befores[level] is the last that is. */
static struct verify_node *list_find(struct verify_index *index, struct verify_place place,
				     struct verify_node *befores[HEIGHT_MAX])
{
	struct verify_node *after = NULL;
	struct verify_node *node = NULL;
	for (uint32_t level = HEIGHT_MAX; level-- > 0;) {
		node = level_find(index, node, level, place, &after);
		befores[level] = node;
	}
	return after;
}

/* A quarter of the nodes reach each further level. */
static uint32_t height_of(struct verify_place place)
{
	uint64_t hash = hash_mix(place.order ^ place.rest);
	uint32_t height = 1 + (uint32_t)__builtin_ctzll(hash | 1ull << 62) / 2;
	return height < HEIGHT_MAX ? height : HEIGHT_MAX;
}

struct status verify_index_add(struct verify_index *index, uint64_t key_number)
{
	struct verify_place place = verify_place_of(index->insert_order, key_number);
	uint32_t height = height_of(place);
	struct verify_node *node = memory_allocate(sizeof(*node) + height * sizeof(node->next[0]));
	if (node == NULL)
		return status_make(STATUS_NO_MEMORY);
	node->place = place;
	struct verify_node *befores[HEIGHT_MAX];
	(void)list_find(index, place, befores);
	for (uint32_t level = 0; level < height; level++) {
		struct verify_node *before = befores[level];
		struct verify_node *after;
		do {
			before = level_find(index, before, level, place, &after);
			atomic_init(&node->next[level], after);
		} while (!atomic_compare_exchange_weak_explicit(link_of(index, before, level), &after, node,
								memory_order_release, memory_order_relaxed));
	}
	return status_ok();
}

/* --- walks: the array and the list merged --- */

void verify_walk_begin(struct verify_index *index, struct verify_place from, struct verify_walk *walk)
{
	walk->next = lower_bound(index, from);
	walk->end = index->places + index->count;
	struct verify_node *befores[HEIGHT_MAX];
	walk->added = list_find(index, from, befores);
}

bool verify_walk_next(struct verify_walk *walk, struct verify_place *place)
{
	const struct verify_node *added = walk->added;
	if (added == NULL && walk->next == walk->end)
		return false;
	if (added == NULL ||
	    (walk->next != walk->end && verify_place_compare(*walk->next, added->place) <= 0)) {
		*place = *walk->next++;
		return true;
	}
	*place = added->place;
	walk->added = atomic_load_explicit(&added->next[0], memory_order_acquire);
	return true;
}
