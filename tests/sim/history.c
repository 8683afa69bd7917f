#include "sim/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "sim/failure.h"

enum { TOLD_MAX = 4 };

/* One write that was given its place, and what that led to. */
struct choice {
	size_t operation;
	uint32_t before; /* the value that was there */
	size_t trail;	 /* so many operations had their place */
};

/* Which operations were done, and what was there: open addressing over rows of words. */
struct tried {
	uint64_t *rows;
	size_t words; /* of a row: the set, and the value plus one */
	size_t count, capacity;
};

struct search {
	const struct history_operation *operations;
	size_t count;
	uint64_t *done; /* a bit for each operation, then the row's last word */
	size_t words;
	size_t first;  /* all before it are done */
	size_t *trail; /* operations in the order found */
	size_t trail_count;
	struct choice *choices;
	size_t choice_count;
	uint32_t value;
	struct tried tried;
	/* For the message: the longest order found, and what then had to come and could not. */
	size_t *deepest;
	size_t deepest_count, blocked;
	uint32_t deepest_value;
};

static void *take(size_t count, size_t size)
{
	void *memory = calloc(count + 1, size);
	if (memory == NULL)
		abort();
	return memory;
}

/* --- what was tried --- */

static uint64_t *tried_place(const struct tried *tried, uint64_t *rows, size_t capacity, const uint64_t *row)
{
	size_t at = checksum64(row, tried->words * sizeof(*row), 0) & (capacity - 1);
	for (;; at = (at + 1) & (capacity - 1)) {
		uint64_t *place = &rows[at * tried->words];
		if (place[tried->words - 1] == 0 || memcmp(place, row, tried->words * sizeof(*row)) == 0)
			return place;
	}
}

static void tried_grow(struct tried *tried)
{
	size_t capacity = tried->capacity == 0 ? 256 : 2 * tried->capacity;
	uint64_t *rows = take(capacity * tried->words, sizeof(*rows));
	for (size_t i = 0; i < tried->capacity; i++) {
		const uint64_t *row = &tried->rows[i * tried->words];
		if (row[tried->words - 1] != 0)
			memcpy(tried_place(tried, rows, capacity, row), row, tried->words * sizeof(*row));
	}
	free(tried->rows);
	tried->rows = rows;
	tried->capacity = capacity;
}

/* False: it was there before. */
static bool tried_add(struct tried *tried, const uint64_t *row)
{
	if (2 * (tried->count + 1) > tried->capacity)
		tried_grow(tried);
	uint64_t *place = tried_place(tried, tried->rows, tried->capacity, row);
	if (place[tried->words - 1] != 0)
		return false;
	memcpy(place, row, tried->words * sizeof(*row));
	tried->count++;
	return true;
}

/* --- the search --- */

static bool is_done(const struct search *search, size_t i)
{
	return (search->done[i / 64] >> i % 64 & 1) != 0;
}

static void set_done(struct search *search, size_t i, bool done)
{
	uint64_t bit = UINT64_C(1) << i % 64;
	search->done[i / 64] = done ? search->done[i / 64] | bit : search->done[i / 64] & ~bit;
	if (!done && i < search->first)
		search->first = i;
	while (done && search->first < search->count && is_done(search, search->first))
		search->first++;
}

static void place(struct search *search, size_t i)
{
	set_done(search, i, true);
	search->trail[search->trail_count++] = i;
}

static void take_back_to(struct search *search, size_t trail)
{
	while (search->trail_count > trail)
		set_done(search, search->trail[--search->trail_count], false);
}

/* Whatever is called after the first return that is left must come after it. */
static uint64_t first_return(const struct search *search, size_t *operation)
{
	uint64_t first = UINT64_MAX;
	for (size_t i = search->first; i < search->count && search->operations[i].called < first; i++) {
		if (is_done(search, i) || search->operations[i].returned >= first)
			continue;
		first = search->operations[i].returned;
		*operation = i;
	}
	return first;
}

/* Gives all reads that fit their place. */
static void place_reads(struct search *search)
{
	bool changed = true;
	while (changed) {
		size_t operation;
		uint64_t end = first_return(search, &operation);
		changed = false;
		for (size_t i = search->first; i < search->count && search->operations[i].called < end; i++) {
			const struct history_operation *it = &search->operations[i];
			if (is_done(search, i) || it->kind != HISTORY_READ || it->value != search->value)
				continue;
			place(search, i);
			changed = true;
		}
	}
}

static void note_depth(struct search *search)
{
	if (search->trail_count < search->deepest_count)
		return;
	search->deepest_count = search->trail_count;
	memcpy(search->deepest, search->trail, search->trail_count * sizeof(*search->trail));
	search->deepest_value = search->value;
	(void)first_return(search, &search->blocked);
}

/* The next write from `from` on that may come now. */
static bool next_write(const struct search *search, size_t from, size_t *found)
{
	size_t operation;
	uint64_t end = first_return(search, &operation);
	for (size_t i = from > search->first ? from : search->first;
	     i < search->count && search->operations[i].called < end; i++) {
		if (is_done(search, i) || search->operations[i].kind != HISTORY_WRITE)
			continue;
		*found = i;
		return true;
	}
	return false;
}

static void choose(struct search *search, size_t operation)
{
	search->choices[search->choice_count++] = (struct choice) { .operation = operation,
								    .before = search->value,
								    .trail = search->trail_count };
	search->value = search->operations[operation].value;
	place(search, operation);
}

static bool was_tried(struct search *search)
{
	search->done[search->words - 1] = (uint64_t)search->value + 1;
	return !tried_add(&search->tried, search->done);
}

/* Back to the last choice that leaves another one. False: there is none. */
static bool choose_another(struct search *search)
{
	while (search->choice_count > 0) {
		struct choice last = search->choices[--search->choice_count];
		size_t next;
		take_back_to(search, last.trail);
		search->value = last.before;
		if (next_write(search, last.operation + 1, &next)) {
			choose(search, next);
			return true;
		}
	}
	return false;
}

static bool find_order(struct search *search)
{
	for (;;) {
		size_t next;
		place_reads(search);
		if (search->trail_count == search->count)
			return true;
		note_depth(search);
		if (!was_tried(search) && next_write(search, 0, &next))
			choose(search, next);
		else if (!choose_another(search))
			return false;
	}
}

/* --- the message --- */

static size_t describe(const struct history_operation *it, char *text, size_t size)
{
	int used = snprintf(text, size, "%s of %u by client %u (%llu to %llu)",
			    it->kind == HISTORY_READ ? "read" : "write", it->value, it->client,
			    (unsigned long long)it->called, (unsigned long long)it->returned);
	return used > 0 && (size_t)used < size ? (size_t)used : size - 1;
}

static void explain(const struct search *search, char *why, size_t size)
{
	size_t used = describe(&search->operations[search->blocked], why, size);
	used += (size_t)snprintf(why + used, size - used,
				 " fits nowhere; after %zu of %zu operations %u was there",
				 search->deepest_count, search->count, search->deepest_value);
	size_t from = search->deepest_count > TOLD_MAX ? search->deepest_count - TOLD_MAX : 0;
	for (size_t i = from; i < search->deepest_count && used + 1 < size; i++) {
		used += (size_t)snprintf(why + used, size - used, "%s", i == from ? ", by: " : ", ");
		if (used + 1 < size)
			used += describe(&search->operations[search->deepest[i]], why + used, size - used);
	}
}

static int compare_calls(const void *a, const void *b)
{
	uint64_t first = ((const struct history_operation *)a)->called;
	uint64_t second = ((const struct history_operation *)b)->called;
	return first < second ? -1 : first > second;
}

bool history_is_linearizable(struct history_operation *operations, size_t count, uint32_t initial, char *why,
			     size_t why_size)
{
	if (count > 0)
		qsort(operations, count, sizeof(*operations), compare_calls);
	for (size_t i = 0; i < count; i++)
		SIM_CHECK(operations[i].called < operations[i].returned);
	size_t words = (count + 63) / 64 + 1;
	struct search search = { .operations = operations,
				 .count = count,
				 .done = take(words, sizeof(uint64_t)),
				 .words = words,
				 .trail = take(count, sizeof(size_t)),
				 .choices = take(count, sizeof(struct choice)),
				 .value = initial,
				 .tried = { .words = words },
				 .deepest = take(count, sizeof(size_t)) };
	bool found = find_order(&search);
	if (!found && why != NULL)
		explain(&search, why, why_size);
	free(search.done);
	free(search.trail);
	free(search.choices);
	free(search.deepest);
	free(search.tried.rows);
	return found;
}

/* --- states of several registers --- */

/* The only write of the value; NULL: there is none, or more. */
static const struct history_operation *find_write(const struct history *history, uint32_t value)
{
	const struct history_operation *found = NULL;
	for (size_t i = 0; i < history->count; i++) {
		const struct history_operation *it = &history->operations[i];
		if (it->kind != HISTORY_WRITE || it->value != value)
			continue;
		if (found != NULL)
			return NULL;
		found = it;
	}
	return found;
}

/* When the last write began that is there. */
static uint64_t last_call(const struct history_operation *const *writes, size_t count)
{
	uint64_t last = 0;
	for (size_t k = 0; k < count; k++)
		if (writes[k] != NULL && writes[k]->called > last)
			last = writes[k]->called;
	return last;
}

/* Whether the write has to be there: it had returned when one that is there began, or is of the same batch.
 */
static bool must_be_there(const struct history_operation *write,
			  const struct history_operation *const *writes, size_t count, uint64_t last)
{
	bool must = write->returned < last;
	for (size_t k = 0; k < count && !must; k++)
		must = writes[k] != NULL && writes[k]->called == write->called;
	return must;
}

/* A write that has to be there and came behind the one that is. NULL: there is none. */
static const struct history_operation *find_missing(const struct history *history, size_t key,
						    const struct history_operation *const *writes,
						    size_t count, uint64_t last)
{
	for (size_t i = 0; i < history->count; i++) {
		const struct history_operation *it = &history->operations[i];
		if (it->kind == HISTORY_WRITE && it->called > writes[key]->returned &&
		    must_be_there(it, writes, count, last))
			return it;
	}
	return NULL;
}

bool history_is_one_state(const struct history *histories, size_t count, const uint32_t *found,
			  uint32_t unread, char *why, size_t why_size)
{
	const struct history_operation **writes = take(count, sizeof(struct history_operation *));
	const struct history_operation *missing = NULL;
	for (size_t k = 0; k < count; k++)
		if (found[k] != unread)
			writes[k] = find_write(&histories[k], found[k]);
	uint64_t last = last_call(writes, count);
	for (size_t k = 0; k < count && missing == NULL; k++) {
		if (writes[k] == NULL)
			continue;
		missing = find_missing(&histories[k], k, writes, count, last);
		if (missing == NULL || why == NULL)
			continue;
		size_t used = (size_t)snprintf(why, why_size, "register %zu has the ", k);
		used += describe(writes[k], why + used, why_size - used);
		if (used + 1 < why_size)
			used += (size_t)snprintf(why + used, why_size - used, " and lacks the ");
		if (used + 1 < why_size)
			used += describe(missing, why + used, why_size - used);
		if (used + 1 < why_size)
			(void)snprintf(why + used, why_size - used,
				       ", while a write is there that began at %llu",
				       (unsigned long long)last);
	}
	free(writes);
	return missing == NULL;
}
