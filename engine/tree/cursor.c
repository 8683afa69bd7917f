#include "base/assert.h"
#include "base/memory.h"
#include "base/planted.h"
#include "compaction/chain.h"
#include "compaction/merge.h"
#include "tree/tree_internal.h"

#include "base/poison.h"

/* Frames that a cursor may pin at once for each table that it reads at the same time. */
enum { PAGES_PER_INPUT = 2 };

/* The keys of the tree as of one sequence: the merge of everything, newest visible version of each key. */
struct tree_cursor {
	struct iterator base;
	struct tree *tree;
	struct version *version;
	struct iterator *merged;
	uint64_t sequence;
	uint32_t pages; /* reserved in the pool */
	uint64_t rows;	/* that will be read after a seek; 0: unknown */
	bool has_upper;
	uint8_t *lower;
	size_t lower_size;
	uint8_t *upper;
	size_t upper_size;
	uint8_t *key; /* a copy of the current key, to skip its older versions */
	size_t key_size;
	size_t key_capacity;
};

static struct tree_cursor *cursor_of(struct iterator *iterator)
{
	return CONTAINER_OF(iterator, struct tree_cursor, base);
}

static struct status cursor_remember(struct tree_cursor *cursor, struct slice key)
{
	if (key.size > cursor->key_capacity) {
		size_t capacity = key.size < 256 ? 256 : 2 * key.size;
		uint8_t *bytes = memory_resize(cursor->key, capacity);
		if (bytes == NULL)
			return status_make(STATUS_NO_MEMORY);
		cursor->key = bytes;
		cursor->key_capacity = capacity;
	}
	if (key.size > 0)
		memcpy(cursor->key, key.data, key.size);
	cursor->key_size = key.size;
	return status_ok();
}

static bool cursor_is_past_upper(const struct tree_cursor *cursor, struct slice key)
{
	return cursor->has_upper && slice_compare(key, slice_make(cursor->upper, cursor->upper_size)) >= 0;
}

/*
 * From wherever the merge stands to the next key with a visible value. `skipping`: the versions of
 * cursor->key are behind us.
 */
MAY_SUSPEND static struct status cursor_settle(struct task *self, struct tree_cursor *cursor, bool skipping)
{
	struct iterator *merged = cursor->merged;
	cursor->base.valid = false;
	unsigned passed = 0;
	while (merged->valid) {
		const struct entry *entry = &merged->entry;
		if (cursor_is_past_upper(cursor, entry->key))
			return status_ok();
		if (PLANTED(N10) && entry->sequence > cursor->sequence) {
			TRY(cursor_remember(cursor, entry->key));
			skipping = true;
		}
		bool known = skipping && slice_equal(entry->key, slice_make(cursor->key, cursor->key_size));
		if (!known && entry->sequence <= cursor->sequence) {
			TRY(cursor_remember(cursor, entry->key));
			skipping = true;
			if (entry->kind == ENTRY_PUT) {
				cursor->base.entry = *entry;
				cursor->base.valid = true;
				return status_ok();
			}
		}
		if ((++passed & 63) == 0)
			task_breathe(self);
		TRY(iterator_next(self, merged));
	}
	return status_ok();
}

static uint64_t level_entries(const struct version_level *level)
{
	uint64_t entries = 0;
	for (size_t i = 0; i < level->count; i++)
		entries += level->tables[i]->table->meta.entries;
	return entries;
}

/*
 * Asks for the blocks of all tables at once that a scan of known length will read, so that it waits for the
 * slowest of them instead of for one after the other. Rows come from tables as these share the entries.
 */
static void cursor_prefetch(const struct tree_cursor *cursor, struct slice key)
{
	const struct version *version = cursor->version;
	uint64_t entries[LEVELS_MAX];
	uint64_t total = 1;
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		entries[l] = level_entries(&version->levels[l]);
		total += entries[l];
	}
	for (size_t i = 0; i < version->levels[0].count; i++) {
		struct table *table = version->levels[0].tables[i]->table;
		table_prefetch_scan(table, key, cursor->rows * table->meta.entries / total);
	}
	for (unsigned l = 1; l < LEVELS_MAX; l++) {
		const struct version_level *level = &version->levels[l];
		size_t at = version_level_find(level, key);
		if (at < level->count)
			table_prefetch_scan(level->tables[at]->table, key, cursor->rows * entries[l] / total);
	}
}

MAY_SUSPEND static struct status cursor_seek(struct task *self, struct iterator *iterator, struct slice key,
					     uint64_t sequence)
{
	(void)sequence;
	struct tree_cursor *cursor = cursor_of(iterator);
	struct slice lower = slice_make(cursor->lower, cursor->lower_size);
	struct slice from = slice_compare(key, lower) < 0 ? lower : key;
	cursor->base.valid = false;
	if (cursor->rows > 0)
		cursor_prefetch(cursor, from);
	TRY(iterator_seek(self, cursor->merged, from, SEQUENCE_MAX));
	return cursor_settle(self, cursor, false);
}

MAY_SUSPEND static struct status cursor_next(struct task *self, struct iterator *iterator)
{
	struct tree_cursor *cursor = cursor_of(iterator);
	cursor->base.valid = false;
	TRY(iterator_next(self, cursor->merged));
	return cursor_settle(self, cursor, true);
}

static void cursor_destroy(struct iterator *iterator)
{
	struct tree_cursor *cursor = cursor_of(iterator);
	struct tree *tree = cursor->tree;
	iterator_destroy(cursor->merged);
	if (cursor->pages > 0)
		buffer_unreserve(tree->pool, cursor->pages);
	if (cursor->version != NULL)
		version_release(&tree->versions, cursor->version);
	memory_free(cursor->lower);
	memory_free(cursor->upper);
	memory_free(cursor->key);
	memory_free(cursor);
	if (!list_is_empty(&tree->versions.dead))
		tree_schedule(tree);
}

static const struct iterator_ops cursor_ops = {
	.seek = cursor_seek,
	.next = cursor_next,
	.destroy = cursor_destroy,
};

/* Collects the inputs of a merge; on failure the caller destroys what is there. */
struct inputs {
	struct iterator **list;
	size_t count;
};

static struct status inputs_add_memtables(struct inputs *inputs, struct tree *tree)
{
	TRY(memtable_slot_iterator(tree->active, &inputs->list[inputs->count]));
	inputs->count++;
	for (struct list *at = tree->immutables.next; at != &tree->immutables; at = at->next) {
		struct memtable_slot *slot = CONTAINER_OF(at, struct memtable_slot, link);
		TRY(memtable_slot_iterator(slot, &inputs->list[inputs->count]));
		inputs->count++;
	}
	return status_ok();
}

static bool table_in_bounds(const struct tree_cursor *cursor, const struct live_table *live)
{
	const struct manifest_table *meta = &live->table->meta;
	return slice_compare(meta->largest, slice_make(cursor->lower, cursor->lower_size)) >= 0 &&
	       !cursor_is_past_upper(cursor, meta->smallest);
}

static struct status inputs_add_chain(struct inputs *inputs, const struct version_level *level,
				      bool readahead)
{
	struct table **tables = memory_allocate(level->count * sizeof(*tables));
	if (tables == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (size_t i = 0; i < level->count; i++)
		tables[i] = level->tables[i]->table;
	struct status status = chain_iterator_create(tables, level->count, CHAIN_POOLED, readahead,
						     &inputs->list[inputs->count]);
	memory_free(tables);
	inputs->count += status_is_ok(status);
	return status;
}

static struct status inputs_add_tables(struct inputs *inputs, const struct tree_cursor *cursor)
{
	const struct version *version = cursor->version;
	/* Who says how far the scan goes has asked for all of it beforehand, and for nothing behind it. */
	bool readahead = cursor->rows == 0;
	for (size_t i = 0; i < version->levels[0].count; i++) {
		struct live_table *live = version->levels[0].tables[i];
		if (!table_in_bounds(cursor, live))
			continue;
		TRY(table_iterator_create(live->table, readahead, &inputs->list[inputs->count]));
		inputs->count++;
	}
	for (unsigned l = 1; l < LEVELS_MAX; l++) {
		if (version->levels[l].count > 0)
			TRY(inputs_add_chain(inputs, &version->levels[l], readahead));
	}
	return status_ok();
}

static struct status cursor_collect(struct tree_cursor *cursor)
{
	struct tree *tree = cursor->tree;
	size_t capacity = 1 + tree->immutable_count + cursor->version->levels[0].count + LEVELS_MAX;
	struct inputs inputs = { .list = memory_allocate(capacity * sizeof(struct iterator *)) };
	if (inputs.list == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = inputs_add_memtables(&inputs, tree);
	if (status_is_ok(status))
		status = inputs_add_tables(&inputs, cursor);
	if (status_is_ok(status)) {
		status = merge_iterator_create(inputs.list, inputs.count, &cursor->merged);
	} else {
		for (size_t i = 0; i < inputs.count; i++)
			iterator_destroy(inputs.list[i]);
	}
	memory_free(inputs.list);
	return status;
}

static struct status copy_bound(struct slice bound, uint8_t **copy, size_t *size)
{
	*copy = memory_allocate(bound.size + 1);
	if (*copy == NULL)
		return status_make(STATUS_NO_MEMORY);
	if (bound.size > 0)
		memcpy(*copy, bound.data, bound.size);
	*size = bound.size;
	return status_ok();
}

MAY_SUSPEND static struct status cursor_fill(struct task *self, struct tree_cursor *cursor,
					     struct slice lower, struct slice upper)
{
	struct tree *tree = cursor->tree;
	TRY(copy_bound(lower, &cursor->lower, &cursor->lower_size));
	TRY(copy_bound(upper, &cursor->upper, &cursor->upper_size));
	/* The reservation may suspend, so it comes before memtables and version are taken together. */
	uint32_t inputs = (uint32_t)tree->versions.current->levels[0].count + LEVELS_MAX;
	cursor->pages = buffer_reserve(self, tree->pool, inputs * PAGES_PER_INPUT);
	cursor->version = tree->versions.current;
	version_reference(cursor->version);
	return cursor_collect(cursor);
}

MAY_SUSPEND struct status tree_cursor_create(struct task *self, struct store *store, uint64_t sequence,
					     struct slice lower, struct slice upper, bool has_upper,
					     uint64_t rows, struct iterator **result)
{
	struct tree *tree = tree_of(store);
	struct tree_cursor *cursor = memory_allocate_zeroed(1, sizeof(*cursor));
	if (cursor == NULL)
		return status_make(STATUS_NO_MEMORY);
	cursor->base.ops = &cursor_ops;
	cursor->tree = tree;
	cursor->sequence = sequence;
	cursor->has_upper = has_upper;
	cursor->rows = rows;
	tree->counters.cursors++;
	struct status status = cursor_fill(self, cursor, lower, upper);
	if (!status_is_ok(status)) {
		cursor_destroy(&cursor->base);
		return status;
	}
	*result = &cursor->base;
	return status_ok();
}

MAY_SUSPEND struct status tree_torn_cursor_create(struct task *self, struct store *store, uint64_t sequence,
						  struct slice lower, struct slice upper, bool has_upper,
						  uint64_t rows, struct iterator **result)
{
	(void)self, (void)sequence, (void)lower, (void)upper, (void)has_upper, (void)rows, (void)result;
	return tree_of(store)->failure;
}
