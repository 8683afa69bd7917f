#include "manifest/manifest_state.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/poison.h"

/* --- tables --- */

struct status manifest_table_copy(struct manifest_table *to, const struct manifest_table *from)
{
	*to = *from;
	/* One block for both keys, begun by the smallest; never empty, so that it can be told from failure.
	 */
	uint8_t *keys = memory_allocate(from->smallest.size + from->largest.size + 1);
	if (keys == NULL) {
		to->smallest = to->largest = slice_make(NULL, 0);
		return status_make(STATUS_NO_MEMORY);
	}
	if (from->smallest.size > 0)
		memcpy(keys, from->smallest.data, from->smallest.size);
	if (from->largest.size > 0)
		memcpy(keys + from->smallest.size, from->largest.data, from->largest.size);
	to->smallest = slice_make(keys, from->smallest.size);
	to->largest = slice_make(keys + from->smallest.size, from->largest.size);
	return status_ok();
}

void manifest_table_free(struct manifest_table *table)
{
	memory_free((void *)(uintptr_t)table->smallest.data);
	table->smallest = table->largest = slice_make(NULL, 0);
}

/* --- sorted numbers --- */

static void sift_down(uint64_t *numbers, size_t root, size_t count)
{
	for (size_t child; (child = 2 * root + 1) < count; root = child) {
		if (child + 1 < count && numbers[child + 1] > numbers[child])
			child++;
		if (numbers[root] >= numbers[child])
			return;
		uint64_t swap = numbers[root];
		numbers[root] = numbers[child];
		numbers[child] = swap;
	}
}

/* Heap sort: no stack, no memory, the same order everywhere. */
static void sort_numbers(uint64_t *numbers, size_t count)
{
	for (size_t root = count / 2; root-- > 0;)
		sift_down(numbers, root, count);
	for (size_t end = count; end > 1; end--) {
		uint64_t largest = numbers[0];
		numbers[0] = numbers[end - 1];
		numbers[end - 1] = largest;
		sift_down(numbers, 0, end - 1);
	}
}

static bool has_duplicates(const uint64_t *sorted, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (sorted[i] == sorted[i - 1])
			return true;
	return false;
}

static bool contains(const uint64_t *sorted, size_t count, uint64_t number)
{
	size_t low = 0;
	size_t high = count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (sorted[middle] == number)
			return true;
		if (sorted[middle] < number)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* --- changes --- */

static struct status check_numbers(const struct manifest_state *state, const struct manifest_edit *edit)
{
	if (edit->flushed_log_number != 0 && edit->flushed_log_number < state->flushed_log_number)
		return status_error(STATUS_INVALID, "the flushed log number goes back");
	if (edit->last_sequence != 0 && edit->last_sequence < state->last_sequence)
		return status_error(STATUS_INVALID, "the last sequence goes back");
	if (edit->next_number != 0 && edit->next_number < state->next_number)
		return status_error(STATUS_INVALID, "the next file number goes back");
	for (size_t i = 0; i < edit->add_count; i++) {
		const struct manifest_table *table = &edit->add[i];
		if (table->level >= MANIFEST_LEVELS_MAX)
			return status_error(STATUS_INVALID, "table %llu: no such level",
					    (unsigned long long)table->number);
		if (table->number == UINT64_MAX)
			return status_error(STATUS_INVALID, "table %llu: no number follows",
					    (unsigned long long)table->number);
		if (slice_compare(table->smallest, table->largest) > 0)
			return status_error(STATUS_INVALID, "table %llu: its keys are in disorder",
					    (unsigned long long)table->number);
	}
	return status_ok();
}

static struct status sort_removed(const struct manifest_edit *edit, struct manifest_change *change)
{
	change->removed = memory_allocate((edit->remove_count + 1) * sizeof(uint64_t));
	if (change->removed == NULL)
		return status_make(STATUS_NO_MEMORY);
	if (edit->remove_count > 0)
		memcpy(change->removed, edit->remove, edit->remove_count * sizeof(uint64_t));
	change->removed_count = edit->remove_count;
	sort_numbers(change->removed, change->removed_count);
	if (has_duplicates(change->removed, change->removed_count))
		return status_error(STATUS_INVALID, "a table is removed twice");
	return status_ok();
}

static struct status keep_tables(const struct manifest_state *state, struct manifest_change *change)
{
	for (size_t i = 0; i < state->table_count; i++)
		if (!contains(change->removed, change->removed_count, state->tables[i].number))
			change->next.tables[change->next.table_count++] = state->tables[i];
	change->kept = change->next.table_count;
	if (state->table_count - change->kept != change->removed_count)
		return status_error(STATUS_INVALID, "a table is removed that is not there");
	return status_ok();
}

static struct status add_tables(const struct manifest_edit *edit, struct manifest_change *change)
{
	struct manifest_state *next = &change->next;
	for (size_t i = 0; i < edit->add_count; i++) {
		TRY(manifest_table_copy(&next->tables[next->table_count], &edit->add[i]));
		next->table_count++;
		if (edit->add[i].number >= next->next_number)
			next->next_number = edit->add[i].number + 1;
	}
	return status_ok();
}

static struct status check_unique(const struct manifest_state *state)
{
	uint64_t *numbers = memory_allocate((state->table_count + 1) * sizeof(uint64_t));
	if (numbers == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (size_t i = 0; i < state->table_count; i++)
		numbers[i] = state->tables[i].number;
	sort_numbers(numbers, state->table_count);
	bool twice = has_duplicates(numbers, state->table_count);
	memory_free(numbers);
	return twice ? status_error(STATUS_INVALID, "a table is added that is there already") : status_ok();
}

static uint64_t later(uint64_t now, uint64_t edited)
{
	return edited > now ? edited : now;
}

struct status manifest_change_prepare(const struct manifest_state *state, const struct manifest_edit *edit,
				      struct manifest_change *change)
{
	*change = (struct manifest_change) { 0 };
	TRY(check_numbers(state, edit));
	struct manifest_state *next = &change->next;
	next->flushed_log_number = later(state->flushed_log_number, edit->flushed_log_number);
	next->last_sequence = later(state->last_sequence, edit->last_sequence);
	next->next_number = later(state->next_number, edit->next_number);
	next->tables = memory_allocate((state->table_count + edit->add_count + 1) * sizeof(*next->tables));
	if (next->tables == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status;
	TRY_GOTO(sort_removed(edit, change), out);
	TRY_GOTO(keep_tables(state, change), out);
	TRY_GOTO(add_tables(edit, change), out);
	TRY_GOTO(check_unique(next), out);
	return status_ok();
out:
	manifest_change_drop(change);
	return status;
}

void manifest_change_adopt(struct manifest_change *change, struct manifest_state *state)
{
	for (size_t i = 0; i < state->table_count; i++)
		if (contains(change->removed, change->removed_count, state->tables[i].number))
			manifest_table_free(&state->tables[i]);
	memory_free(state->tables);
	memory_free(change->removed);
	*state = change->next;
	*change = (struct manifest_change) { 0 };
}

void manifest_change_drop(struct manifest_change *change)
{
	for (size_t i = change->kept; i < change->next.table_count; i++)
		manifest_table_free(&change->next.tables[i]);
	memory_free(change->next.tables);
	memory_free(change->removed);
	*change = (struct manifest_change) { 0 };
}

/* --- states --- */

void manifest_state_free(struct manifest_state *state)
{
	for (size_t i = 0; i < state->table_count; i++)
		manifest_table_free(&state->tables[i]);
	memory_free(state->tables);
	*state = (struct manifest_state) { 0 };
}

struct manifest_edit manifest_state_edit(const struct manifest_state *state)
{
	return (struct manifest_edit) {
		.add = state->tables,
		.add_count = state->table_count,
		.flushed_log_number = state->flushed_log_number,
		.last_sequence = state->last_sequence,
		.next_number = state->next_number,
	};
}

static bool table_equal(const struct manifest_table *a, const struct manifest_table *b)
{
	return a->number == b->number && a->bytes == b->bytes && a->entries == b->entries &&
	       a->deletes == b->deletes && a->sequence_min == b->sequence_min &&
	       a->sequence_max == b->sequence_max && a->raw_bytes == b->raw_bytes &&
	       a->checksum == b->checksum && a->level == b->level && slice_equal(a->smallest, b->smallest) &&
	       slice_equal(a->largest, b->largest);
}

bool manifest_state_equal(const struct manifest_state *a, const struct manifest_state *b)
{
	if (a->table_count != b->table_count || a->flushed_log_number != b->flushed_log_number ||
	    a->last_sequence != b->last_sequence || a->next_number != b->next_number)
		return false;
	for (size_t i = 0; i < a->table_count; i++)
		if (!table_equal(&a->tables[i], &b->tables[i]))
			return false;
	return true;
}
