/*
 * verify_index.h: the keys that were ever written, in the order of their texts, so that a scan can be asked
 * for the rows that it left out.
 *
 * A key's text is "user" and a decimal number without leading zeros (generator.h), so two texts compare as
 * the numbers do once both are filled up with zeros on the right; of two that are then equal the shorter
 * comes first. That is a place, 16 bytes a key.
 *
 * What was written before a phase is a sorted array, built once when the phase begins: 10 million keys take
 * 160 MB, twice that while they are sorted, and about 2 s. What is written meanwhile goes to a skip list that
 * only grows. Any number of threads may add and walk; nobody waits.
 */
#ifndef CASCADE_HARNESS_VERIFY_INDEX_H
#define CASCADE_HARNESS_VERIFY_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"
#include "harness/workload.h"

struct verify_place {
	uint64_t order; /* the number, its first digit moved to the place of 10^18 */
	uint64_t rest;	/* the number of digits in the high 16 bits; below, the key number */
};

struct verify_place verify_place_of(enum insert_order insert_order, uint64_t key_number);

/* Of a text, with key number 0; false if it is no key's. */
bool verify_place_of_text(struct slice key, struct verify_place *place);

static inline uint64_t verify_place_number(struct verify_place place)
{
	return place.rest & ((1ull << 48) - 1);
}

/* As the texts compare. */
static inline int verify_place_compare(struct verify_place left, struct verify_place right)
{
	if (left.order != right.order)
		return left.order < right.order ? -1 : 1;
	uint64_t left_digits = left.rest >> 48, right_digits = right.rest >> 48;
	return left_digits < right_digits ? -1 : left_digits > right_digits;
}

struct verify_index;

/* Empty, with room for `keys` keys. NO_MEMORY. */
MUST_CHECK struct status verify_index_create(enum insert_order insert_order, uint64_t keys,
					     struct verify_index **index);
void verify_index_destroy(struct verify_index *index); /* NULL is allowed */

/*
 * Before the index is shared: puts a key (at most as many as there is room for), and at last sorts them.
 * NO_MEMORY: they are not sorted, and the index can only be destroyed.
 */
void verify_index_put(struct verify_index *index, uint64_t key_number);
MUST_CHECK struct status verify_index_sort(struct verify_index *index);

/* Adds a key that is not in it. When it has returned, each walk that begins finds the key. NO_MEMORY. */
MUST_CHECK struct status verify_index_add(struct verify_index *index, uint64_t key_number);

/* A walk from a place on. What is added after it began may be met or not. */
struct verify_walk {
	const struct verify_place *next, *end;
	const struct verify_node *added;
};

void verify_walk_begin(struct verify_index *index, struct verify_place from, struct verify_walk *walk);
bool verify_walk_next(struct verify_walk *walk, struct verify_place *place);

#endif
