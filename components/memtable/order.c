#include "components/memtable/order_internal.h"

#include <string.h>

#include "base/assert.h"

#include "base/poison.h"

enum {
	HINT_BITS = 16,
	HINT_BYTES = 2,
	HINT_SHIFT = 64 - HINT_BITS,
	/* A run is at least so many times as long as the one behind it. */
	RUN_RATIO = 16,
	/* Two runs that have no more than this together are sorted together. */
	RUN_SMALL = 64,
	/* So few are sorted by their heads side by side in local memory. */
	SORT_SMALL = 48,
	/* From so many on a pass over all values of a byte pays. */
	SORT_RADIX = 1024,
	/* Parts that wait while a smaller one is sorted: each is at least as long as all in front of it, and
	 * one mark of where hints have to be written again. */
	SORT_STACK = 34,
	/* Up to so many records `skip` may shrink at any time, which computes all hints anew. */
	SHRINK_FREELY = 1024,
	/* How far ahead records are loaded that are about to be looked at. */
	LOOK_AHEAD = 8,
};

#define RECORD_MASK ((1ull << HINT_SHIFT) - 1)

/* --- words --- */

static inline struct record *word_record(uint64_t word)
{
	return (struct record *)(uintptr_t)(word & RECORD_MASK);
}

static inline struct record *record_at(const struct order *order, uint32_t index)
{
	return word_record(*order_word(order, index));
}

static inline int word_compare(uint64_t a, uint64_t b)
{
	uint64_t hint_a = a >> HINT_SHIFT;
	uint64_t hint_b = b >> HINT_SHIFT;
	if (hint_a != hint_b)
		return hint_a < hint_b ? -1 : 1;
	return key_compare(record_key(word_record(a)), word_record(b));
}

/* Loads an entry of usual size, for whoever is going to read its value too. */
static inline void entry_prefetch(const struct record *record)
{
	record_prefetch(record);
	__builtin_prefetch((const uint8_t *)record + 128);
}

/* Loads the record at a place, if there is one before `to`. */
static inline void prefetch_at(const struct order *order, uint32_t index, uint32_t to)
{
	if (index < to)
		record_prefetch(record_at(order, index));
}

/* --- appending --- */

void order_init(struct order *order, struct arena *arena)
{
	*order = (struct order) { .arena = arena };
}

static bool pages_grow(struct order *order)
{
	uint32_t room = order->page_room > 0 ? 2 * order->page_room : 8;
	uint64_t **pages = arena_allocate(order->arena, room * sizeof(*pages), sizeof(*pages));
	if (pages == NULL)
		return false;
	if (order->page_count > 0)
		memcpy(pages, order->pages, order->page_count * sizeof(*pages));
	order->pages = pages;
	order->page_room = room;
	return true;
}

bool order_reserve_slow(struct order *order)
{
	if (order->count >= ORDER_RECORDS_MAX)
		return false;
	if (order->page_count == order->page_room && !pages_grow(order))
		return false;
	uint64_t *page = arena_allocate(order->arena, ORDER_PAGE_WORDS * sizeof(*page), 64);
	if (page == NULL)
		return false;
	order->pages[order->page_count++] = page;
	return true;
}

/*
 * Before a key may be appended that begins otherwise: takes the hints from further left. That looks at all
 * records, so it must not happen often: once there are many either they have doubled since the last time, or
 * this is the last time.
 */
void order_shrink_skip(struct order *order, struct slice key)
{
	order->skip = key_common_prefix(key, slice_make(record_key(order->sample).data, order->skip));
	if (order->count > SHRINK_FREELY && order->count / 2 < order->count_at_shrink)
		order->skip = 0;
	order->count_at_shrink = order->count;
	for (uint32_t i = 0; i < order->count; i++) {
		prefetch_at(order, i + LOOK_AHEAD, order->count);
		struct record *record = record_at(order, i);
		*order_word(order, i) =
			order_hint(order, record_key(record)) << HINT_SHIFT | (uintptr_t)record;
	}
}

/* --- sorting --- */

/* The hint of a word as it stands, which may be of further right in the key while its part is sorted. */
static inline void word_set_hint(uint64_t *word, uint64_t hint)
{
	*word = hint << HINT_SHIFT | (*word & RECORD_MASK);
}

static inline void words_swap(uint64_t *a, uint64_t *b)
{
	uint64_t word = *a;
	*a = *b;
	*b = word;
}

/* Sorts a few by what their keys have from `offset` on: up to there they are the same. Leaves hints alone. */
static void sort_small(const struct order *order, uint32_t from, uint32_t to, size_t offset)
{
	struct {
		uint64_t head;
		uint64_t word;
	} sorted[SORT_SMALL], one;
	for (uint32_t i = from; i < to; i++)
		__builtin_prefetch(record_at(order, i));
	uint32_t count = to - from;
	for (uint32_t i = 0; i < count; i++) {
		one.word = *order_word(order, from + i);
		struct slice key = record_key(word_record(one.word));
		one.head = key_head(key, offset);
		uint32_t place = i;
		for (; place > 0; place--) {
			uint64_t before = sorted[place - 1].head;
			if (before < one.head ||
			    (before == one.head && key_compare(key, word_record(sorted[place - 1].word)) > 0))
				break;
			sorted[place] = sorted[place - 1];
		}
		sorted[place] = one;
	}
	for (uint32_t i = 0; i < count; i++)
		*order_word(order, from + i) = sorted[i].word;
}

/* One pass of American flag sort (McIlroy, Bostic, McIlroy 1993): by the byte at `shift`, in place. */
static void sort_by_byte(const struct order *order, uint32_t from, uint32_t to, unsigned shift)
{
	uint32_t next[256] = { 0 };
	uint32_t ends[256];
	for (uint32_t i = from; i < to; i++)
		next[*order_word(order, i) >> shift & 0xff]++;
	uint32_t place = from;
	for (unsigned value = 0; value < 256; value++) {
		uint32_t count = next[value];
		next[value] = place;
		place += count;
		ends[value] = place;
	}
	for (unsigned value = 0; value < 256; value++) {
		while (next[value] < ends[value]) {
			uint64_t word = *order_word(order, next[value]);
			unsigned target;
			while ((target = word >> shift & 0xff) != value) {
				uint64_t *other = order_word(order, next[target]++);
				words_swap(&word, other);
			}
			*order_word(order, next[value]++) = word;
		}
	}
}

/* One step of radix exchange sort: those without the bit in front; where the others begin. */
static uint32_t sort_by_bit(const struct order *order, uint32_t from, uint32_t to, unsigned bit)
{
	for (;;) {
		while (from < to && (*order_word(order, from) >> bit & 1) == 0)
			from++;
		while (from < to && (*order_word(order, to - 1) >> bit & 1) != 0)
			to--;
		if (from == to)
			return from;
		words_swap(order_word(order, from++), order_word(order, --to));
	}
}

/* Gives the words of a part the hints at `offset`. Where their keys' heads there differ, and the longest key.
 */
static uint64_t set_hints(const struct order *order, uint32_t from, uint32_t to, size_t offset,
			  size_t *longest)
{
	uint64_t first = key_head(record_key(record_at(order, from)), offset);
	uint64_t difference = 0;
	*longest = 0;
	for (uint32_t i = from; i < to; i++) {
		prefetch_at(order, i + LOOK_AHEAD, to);
		struct slice key = record_key(record_at(order, i));
		uint64_t head = key_head(key, offset);
		difference |= head ^ first;
		*longest = key.size > *longest ? key.size : *longest;
		word_set_hint(order_word(order, i), head >> HINT_SHIFT);
	}
	return difference;
}

/*
 * Gives the words of a part hints that differ: from `offset` on, up to which their keys are the same, or
 * further right. Returns where they are from. Keys that differ only in how many zeros they end with have
 * nothing but their lengths to tell them apart, and get these.
 */
static size_t load_hints(const struct order *order, uint32_t from, uint32_t to, size_t offset)
{
	_Static_assert(KEY_BYTES_MAX < 1 << HINT_BITS, "a length fits a hint");
	for (;;) {
		size_t longest;
		uint64_t difference = set_hints(order, from, to, offset, &longest);
		if (difference >> HINT_SHIFT != 0)
			return offset;
		if (difference != 0)
			offset += (size_t)__builtin_clzll(difference) / 8;
		else if (longest > offset + HEAD_BYTES)
			offset += HEAD_BYTES;
		else
			break;
	}
	for (uint32_t i = from; i < to; i++)
		word_set_hint(order_word(order, i), record_key(record_at(order, i)).size);
	return offset;
}

/* Words whose hints, taken at `offset`, differ in the `bits` lowest at most. */
struct part {
	uint32_t from, to;
	size_t offset;
	unsigned bits;
	bool is_mark; /* these are sorted now; what their hints were is in `offset` */
};

/* The part gets its hints back as soon as it is sorted: pushed below everything that is in it. */
static struct part mark_of(const struct order *order, struct part part)
{
	part.is_mark = true;
	part.offset = *order_word(order, part.from) >> HINT_SHIFT;
	return part;
}

static void restore_hints(const struct order *order, struct part mark)
{
	for (uint32_t i = mark.from; i < mark.to; i++)
		word_set_hint(order_word(order, i), mark.offset);
}

/*
 * Radix exchange sort over the bits of keys (Hildebrandt and Isbitz 1959), a hint at a time: each record is
 * looked at once for every two bytes that do not decide, and once more in the end, with the few that are
 * still together then. Takes time in proportion to the bits that tell the keys apart, in any order.
 */
static void sort_part(const struct order *order, struct part part)
{
	struct part stack[SORT_STACK];
	unsigned depth = 0;
	stack[depth++] = part;
	while (depth > 0) {
		part = stack[--depth];
		if (part.is_mark) {
			restore_hints(order, part);
			continue;
		}
		while (part.to - part.from > SORT_SMALL) {
			if (part.bits == 0) {
				if (part.offset == order->skip)
					stack[depth++] = mark_of(order, part);
				part.offset = load_hints(order, part.from, part.to, part.offset + HINT_BYTES);
				part.bits = HINT_BITS;
			}
			struct part other = part;
			uint32_t middle = sort_by_bit(order, part.from, part.to, HINT_SHIFT + --part.bits);
			other.bits = part.bits;
			other.from = part.to = middle;
			/* First the smaller one, so that few have to wait. */
			if (part.to - part.from > other.to - other.from) {
				struct part smaller = other;
				other = part;
				part = smaller;
			}
			ASSERT(depth < SORT_STACK);
			stack[depth++] = other;
		}
		sort_small(order, part.from, part.to, part.offset);
	}
}

/* The end of the words that have the first one's bits from `shift` on. */
static uint32_t group_end(const struct order *order, uint32_t from, uint32_t to, unsigned shift)
{
	uint64_t value = *order_word(order, from) >> shift;
	do
		from++;
	while (from < to && *order_word(order, from) >> shift == value);
	return from;
}

static bool is_sorted(const struct order *order, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i + 1 < to; i++) {
		if (word_compare(*order_word(order, i), *order_word(order, i + 1)) > 0)
			return false;
	}
	return true;
}

/* Sorts words whose hints are those of the order. */
static void sort_words(const struct order *order, uint32_t from, uint32_t to)
{
	enum { BYTE_BITS = 8 };
	struct part part = { .from = from, .to = to, .offset = order->skip, .bits = HINT_BITS };
	if (is_sorted(order, from, to))
		return;
	if (to - from < SORT_RADIX) {
		sort_part(order, part);
		return;
	}
	sort_by_byte(order, from, to, HINT_SHIFT + BYTE_BITS);
	while (from < to) {
		uint32_t end = group_end(order, from, to, HINT_SHIFT + BYTE_BITS);
		part.bits = BYTE_BITS;
		if (end - from >= SORT_RADIX) {
			sort_by_byte(order, from, end, HINT_SHIFT);
			part.bits = 0;
		}
		while (from < end) {
			part.from = from;
			part.to = part.bits > 0 ? end : group_end(order, from, end, HINT_SHIFT);
			sort_part(order, part);
			from = part.to;
		}
	}
}

/* --- runs --- */

/* In a sorted stretch the place behind the last word before `word`, looked for from the end. */
static uint32_t place_from_end(const struct order *order, uint32_t from, uint32_t to, uint64_t word)
{
	uint32_t step = 1;
	while (to - from >= step && word_compare(*order_word(order, to - step), word) > 0) {
		to -= step;
		step *= 2;
	}
	uint32_t low = to - from >= step ? to - step + 1 : from;
	while (low < to) {
		uint32_t middle = low + (to - low) / 2;
		if (word_compare(*order_word(order, middle), word) > 0)
			to = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Two runs side by side become one, from the end on; the second one steps into the room behind it for that.
 */
static void merge_runs(const struct order *order, uint32_t from, uint32_t middle, uint32_t to)
{
	uint32_t count = to - middle;
	for (uint32_t i = 0; i < count; i++)
		*order_word(order, to + i) = *order_word(order, middle + i);
	uint32_t left = middle; /* end of what the first one still has at its place */
	uint32_t out = to;
	for (uint32_t i = to + count; i > to; i--) {
		uint64_t word = *order_word(order, i - 1);
		uint32_t place = place_from_end(order, from, left, word);
		while (left > place)
			*order_word(order, --out) = *order_word(order, --left);
		*order_word(order, --out) = word;
	}
	ASSERT(out == left);
}

/* Words behind the last one that a merge may use. */
static uint64_t room_behind(const struct order *order)
{
	return (uint64_t)order->page_count * ORDER_PAGE_WORDS - order->count;
}

/* Whether the words from `middle` on are better sorted together with the run before them than by themselves:
 * they are few, or the room does not suffice for a merge, and then they are many. */
static bool sorts_together(const struct order *order, uint32_t from, uint32_t middle)
{
	return order->count - from <= RUN_SMALL || order->count - middle > room_behind(order);
}

void order_prepare(struct order *order)
{
	uint32_t *starts = order->starts;
	uint32_t from = starts[order->run_count];
	if (from == order->count)
		return;
	order->generation++;
	while (order->run_count > 0 && sorts_together(order, starts[order->run_count - 1], from))
		from = starts[--order->run_count];
	sort_words(order, from, order->count);
	starts[++order->run_count] = order->count;
	while (order->run_count > 1) {
		uint32_t middle = starts[order->run_count - 1];
		from = starts[order->run_count - 2];
		if ((middle - from) / RUN_RATIO >= order->count - middle)
			break;
		if (order->count - middle > room_behind(order))
			sort_words(order, from, order->count);
		else
			merge_runs(order, from, middle, order->count);
		starts[--order->run_count] = order->count;
	}
	ASSERT(order->run_count < ORDER_RUNS_MAX);
}

/* --- cursors --- */

static uint32_t run_search(const struct order *order, unsigned run, struct slice key, bool *found)
{
	uint64_t hint = order_hint(order, key);
	uint32_t low = order->starts[run];
	uint32_t high = order->starts[run + 1];
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		uint64_t word = *order_word(order, middle);
		int after = hint > word >> HINT_SHIFT; /* the key after the word's */
		if (hint == word >> HINT_SHIFT) {
			after = key_compare(key, word_record(word));
			if (after == 0) {
				*found = true;
				return middle;
			}
		}
		if (after > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool cursor_search(const struct order *order, struct order_cursor *cursor, struct slice key)
{
	int outside = order->sample != NULL ? order_outside(order, key) : 0;
	bool found = false;
	cursor->generation = order->generation;
	for (unsigned run = 0; run < order->run_count; run++) {
		if (outside == 0)
			cursor->places[run] = run_search(order, run, key, &found);
		else
			cursor->places[run] = order->starts[outside < 0 ? run : run + 1];
	}
	return found;
}

/* Whether a run has a record that way, and its word. */
static inline bool run_has_more(const struct order *order, const struct order_cursor *cursor, unsigned run)
{
	if (cursor->is_forward)
		return cursor->places[run] < order->starts[run + 1];
	return cursor->places[run] > order->starts[run];
}

static inline bool run_is_nearer(const struct order *order, const struct order_cursor *cursor, unsigned a,
				 unsigned b)
{
	uint32_t back = cursor->is_forward ? 0 : 1;
	int compared = word_compare(*order_word(order, cursor->places[a] - back),
				    *order_word(order, cursor->places[b] - back));
	return cursor->is_forward ? compared < 0 : compared > 0;
}

/* Puts all runs that have more that way into `ranks`. */
static void cursor_rank(const struct order *order, struct order_cursor *cursor, bool forward)
{
	cursor->is_forward = forward;
	cursor->rank_count = 0;
	for (unsigned run = 0; run < order->run_count; run++) {
		if (!run_has_more(order, cursor, run))
			continue;
		unsigned place = cursor->rank_count++;
		for (; place > 0 && run_is_nearer(order, cursor, run, cursor->ranks[place - 1]); place--)
			cursor->ranks[place] = cursor->ranks[place - 1];
		cursor->ranks[place] = (uint8_t)run;
	}
}

/* The nearest run has made a step: finds its rank. */
static inline void cursor_rank_first(const struct order *order, struct order_cursor *cursor)
{
	uint8_t run = cursor->ranks[0];
	bool has_more = run_has_more(order, cursor, run);
	unsigned place = 0;
	for (; place + 1 < cursor->rank_count; place++) {
		if (has_more && run_is_nearer(order, cursor, run, cursor->ranks[place + 1]))
			break;
		cursor->ranks[place] = cursor->ranks[place + 1];
	}
	if (has_more)
		cursor->ranks[place] = run;
	else
		cursor->rank_count--;
}

/* Makes `ranks` look that way, and if places have changed, finds the cursor's. */
static inline void cursor_turn(const struct order *order, struct order_cursor *cursor,
			       const struct record *record, bool forward)
{
	bool moved = cursor->generation != order->generation;
	if (__builtin_expect(!moved && cursor->is_forward == forward, 1))
		return;
	if (moved) {
		ASSERT(record != NULL);
		bool found = cursor_search(order, cursor, record_key(record));
		ASSERT(found);
	}
	cursor_rank(order, cursor, forward);
}

struct record *order_seek(const struct order *order, struct order_cursor *cursor, struct slice key,
			  bool *found)
{
	*found = cursor_search(order, cursor, key);
	cursor_rank(order, cursor, true);
	if (cursor->rank_count == 0)
		return NULL;
	unsigned run = cursor->ranks[0];
	prefetch_at(order, cursor->places[run] + 1, order->starts[run + 1]);
	return record_at(order, cursor->places[run]);
}

void order_seek_end(const struct order *order, struct order_cursor *cursor)
{
	cursor->generation = order->generation;
	for (unsigned run = 0; run < order->run_count; run++)
		cursor->places[run] = order->starts[run + 1];
	cursor_rank(order, cursor, false);
}

struct record *order_next(const struct order *order, struct order_cursor *cursor, const struct record *record)
{
	cursor_turn(order, cursor, record, true);
	DASSERT(record_at(order, cursor->places[cursor->ranks[0]]) == record);
	unsigned run = cursor->ranks[0];
	cursor->places[run]++;
	if (cursor->places[run] + LOOK_AHEAD < order->starts[run + 1])
		entry_prefetch(record_at(order, cursor->places[run] + LOOK_AHEAD));
	cursor_rank_first(order, cursor);
	if (cursor->rank_count == 0)
		return NULL;
	return record_at(order, cursor->places[cursor->ranks[0]]);
}

struct record *order_prev(const struct order *order, struct order_cursor *cursor, const struct record *record)
{
	cursor_turn(order, cursor, record, false);
	if (cursor->rank_count == 0)
		return NULL;
	unsigned run = cursor->ranks[0];
	uint32_t place = --cursor->places[run];
	if (place >= order->starts[run] + LOOK_AHEAD)
		entry_prefetch(record_at(order, place - LOOK_AHEAD));
	cursor_rank_first(order, cursor);
	return record_at(order, place);
}
