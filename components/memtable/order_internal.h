/*
 * order_internal.h: records that are appended as they come, and brought into the order of their keys when
 * somebody asks for it. Each key is there once; versions are not its business.
 *
 * A record's place is one word: 16 bits of its key, the hint, above the record's address. Most comparisons
 * need no more than hints; they are the bytes after what all keys begin with, so that they do tell keys
 * apart.
 *
 * The words are sorted runs, each more than RUN_RATIO times as long as the one behind it, and a tail as it
 * was appended. order_prepare makes a run of the tail, and merges it with those before that are not long
 * enough: so each word is moved a number of times that grows with the logarithm of how many there are, and a
 * cursor has a handful of runs to look at. Many words that come between two calls, as before a flush, are
 * sorted at once.
 *
 * Nothing but order_reserve takes memory; it takes in advance what order_prepare needs for a merge.
 */
#ifndef CASCADE_COMPONENTS_MEMTABLE_ORDER_INTERNAL_H
#define CASCADE_COMPONENTS_MEMTABLE_ORDER_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"
#include "components/memtable/record_internal.h"

enum {
	ORDER_PAGE_WORDS = 128,
	ORDER_RUNS_MAX = 12,
};

#define ORDER_RECORDS_MAX (3u << 30)

struct order {
	struct arena *arena;
	uint64_t **pages;
	uint32_t page_count;
	uint32_t page_room; /* of `pages` */
	uint32_t count;	    /* words */
	uint32_t run_count;
	uint32_t starts[ORDER_RUNS_MAX + 1]; /* of the runs; behind them, of the tail */
	uint32_t generation;		     /* changes when words change their places */
	uint32_t count_at_shrink;
	size_t skip;		     /* bytes that all keys begin with */
	const struct record *sample; /* one that does; NULL: there are none */
};

/* Allocates nothing. */
void order_init(struct order *order, struct arena *arena);

/* Makes sure that the next append has room. False: no memory, and nothing has changed. */
bool order_reserve_slow(struct order *order);
void order_shrink_skip(struct order *order, struct slice key);

static inline uint64_t *order_word(const struct order *order, uint32_t index)
{
	return &order->pages[index / ORDER_PAGE_WORDS][index % ORDER_PAGE_WORDS];
}

/* Behind the words there is room for an eighth of them, for order_prepare. */
static inline bool order_reserve(struct order *order)
{
	uint64_t need = (uint64_t)order->count + order->count / 8 + 1;
	if (__builtin_expect(need <= (uint64_t)order->page_count * ORDER_PAGE_WORDS, 1))
		return true;
	return order_reserve_slow(order);
}

/* How the key's beginning stands to that of all keys: 0 if it is the same. Not without records. */
static inline int order_outside(const struct order *order, struct slice key)
{
	if (order->skip == 0)
		return 0;
	struct slice begin = slice_make(key.data, key.size < order->skip ? key.size : order->skip);
	return slice_compare(begin, slice_make(record_key(order->sample).data, order->skip));
}

static inline uint64_t order_hint(const struct order *order, struct slice key)
{
	return key_head(key, order->skip) >> 48;
}

/* Pre: order_reserve, and a key that is not there yet. The key's bytes may be those of the record. */
static inline void order_append(struct order *order, struct slice key, struct record *record)
{
	if (__builtin_expect(order->sample == NULL, 0)) {
		order->sample = record;
		order->skip = key.size;
	} else if (order_outside(order, key) != 0) {
		order_shrink_skip(order, key);
	}
	*order_word(order, order->count++) = order_hint(order, key) << 48 | (uintptr_t)record;
}

/* Brings all records into runs. */
void order_prepare(struct order *order);

/*
 * A place between two records, or before one. It stays right whatever is appended, without what was: and when
 * order_prepare changes places, it is looked up anew by the record that it is at.
 */
struct order_cursor {
	uint32_t generation;
	bool is_forward;		 /* which way `ranks` looks */
	uint8_t rank_count;		 /* runs that have a record that way */
	uint8_t ranks[ORDER_RUNS_MAX];	 /* the one with the nearest first */
	uint32_t places[ORDER_RUNS_MAX]; /* of each run: its first record that is not before the cursor */
};

/* To the first record with a key >= `key`, which is the result; NULL: behind the last one. Pre:
 * order_prepare; `found`: whether it has that key. */
struct record *order_seek(const struct order *order, struct order_cursor *cursor, struct slice key,
			  bool *found);

/* Behind the last record. Pre: order_prepare. */
void order_seek_end(const struct order *order, struct order_cursor *cursor);

/* From the record that the cursor is at to the following one; NULL: there is none. */
struct record *order_next(const struct order *order, struct order_cursor *cursor,
			  const struct record *record);

/* To the last record before the cursor; NULL: there is none. `record`: what the cursor is at, or NULL when it
 * was positioned just before, with no order_prepare since. */
struct record *order_prev(const struct order *order, struct order_cursor *cursor,
			  const struct record *record);

#endif
