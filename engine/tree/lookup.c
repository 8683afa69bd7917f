#include <string.h>

#include "base/assert.h"
#include "base/planted.h"
#include "tree/tree_internal.h"

#include "base/poison.h"

/* Where a lookup stands in the tables: level by level, newest first. */
struct tree_lookup {
	struct slice key;
	uint64_t hash;
	uint64_t sequence;
	struct version *version;
	uint64_t rotations; /* of memtables when it began */
	unsigned level;
	size_t index;		 /* of the next table to try, in level 0 */
	struct live_table *live; /* the table being asked */
	struct table_lookup lookup;
};

static bool memtable_find(struct tree *tree, struct slice key, uint64_t sequence, struct entry *entry,
			  struct memtable_slot **slot)
{
	const struct memtable_ops *ops = tree->options.memtable;
	*slot = tree->active;
	if (ops->get(tree->active->memtable, key, sequence, entry))
		return true;
	for (struct list *at = tree->immutables.previous; at != &tree->immutables; at = at->previous) {
		*slot = CONTAINER_OF(at, struct memtable_slot, link);
		if (ops->get((*slot)->memtable, key, sequence, entry))
			return true;
	}
	return false;
}

static bool table_covers(const struct live_table *live, struct slice key)
{
	const struct manifest_table *meta = &live->table->meta;
	return slice_compare(key, meta->smallest) >= 0 && slice_compare(key, meta->largest) <= 0;
}

/* The next table that may hold the key; NULL: none is left. */
static struct live_table *lookup_next_table(struct tree_lookup *lookup)
{
	const struct version_level *level = &lookup->version->levels[0];
	while (lookup->level == 0 && lookup->index < level->count) {
		struct live_table *live = level->tables[lookup->index++];
		if (table_covers(live, lookup->key))
			return live;
	}
	while (++lookup->level < LEVELS_MAX) {
		level = &lookup->version->levels[lookup->level];
		if (level->count == 0)
			continue;
		size_t at = version_level_find(level, lookup->key);
		if (at < level->count && table_covers(level->tables[at], lookup->key))
			return level->tables[at];
	}
	return NULL;
}

/*
 * Goes on until the answer is known or bytes are missing. Never suspends: TABLE_NEEDS means that
 * table_load(lookup->live->table, &lookup->lookup) must come before the next call.
 */
static enum table_answer lookup_step(struct tree *tree, struct tree_lookup *lookup)
{
	for (;;) {
		if (lookup->live == NULL) {
			lookup->live = lookup_next_table(lookup);
			if (lookup->live == NULL)
				return TABLE_ABSENT;
			tree->counters.tables_probed++;
		}
		struct table *table = lookup->live->table;
		enum table_answer answer =
			table_get(table, lookup->key, lookup->hash, lookup->sequence, &lookup->lookup);
		if (answer != TABLE_ABSENT)
			return answer;
		tree->counters.tables_filtered += lookup->lookup.filtered;
		table_lookup_end(table, &lookup->lookup);
		lookup->lookup = (struct table_lookup) { 0 };
		lookup->live = NULL;
	}
}

/* Copied out: the ring moves on. */
static bool get_from_records(struct tree *tree, struct slice key, uint64_t hash, uint64_t sequence,
			     struct store_value *value)
{
	uint64_t at;
	struct slice found;
	if (tree->records == NULL || !record_cache_get(tree->records, key, hash, &at, &found) ||
	    at > sequence)
		return false;
	uint8_t *copy;
	if (!status_is_ok(buffer_slot(tree->pool, found.size + 1, &value->view, &copy)))
		return false;
	memcpy(copy, found.data, found.size);
	value->value = slice_make(copy, found.size);
	tree->counters.reads_found++;
	return true;
}

/*
 * What is read a second time from the tables, and is the newest version of its key: no memtable has another.
 * A memtable that had one and is gone was rotated since the lookup began.
 */
static void offer_record(struct tree *tree, const struct tree_lookup *lookup)
{
	const struct entry *found = &lookup->lookup.entry;
	struct entry newer;
	struct memtable_slot *slot;
	if (tree->records == NULL || lookup->sequence != SEQUENCE_MAX ||
	    !record_cache_wants(tree->records, lookup->key, lookup->hash, found->value))
		return;
	if ((lookup->rotations == tree->rotations || PLANTED(N16)) &&
	    !memtable_find(tree, lookup->key, SEQUENCE_MAX, &newer, &slot))
		record_cache_put(tree->records, lookup->key, lookup->hash, found->sequence, found->value);
}

/* What an answer other than TABLE_NEEDS means; a value found is pinned. */
static struct status lookup_result(struct tree *tree, struct tree_lookup *lookup, enum table_answer answer,
				   struct store_value *value)
{
	if (answer == TABLE_FAILED)
		return lookup->lookup.status;
	if (answer == TABLE_ABSENT || lookup->lookup.entry.kind == ENTRY_DELETE)
		return status_make(STATUS_NOT_FOUND);
	offer_record(tree, lookup);
	value->value = lookup->lookup.entry.value;
	value->view = lookup->lookup.view;
	value->table = lookup->live;
	live_table_reference(lookup->live);
	/* The view is the value's now. */
	lookup->lookup.view = (struct buffer_view) { .frame = CACHE_NO_FRAME };
	tree->counters.reads_table++;
	return status_ok();
}

/* False: no memtable has a version of the key that the sequence sees. */
static bool get_from_memtables(struct tree *tree, struct slice key, uint64_t sequence,
			       struct store_value *value, struct status *status)
{
	io_be_gentle(shard_io(tree->options.shard));
	struct entry entry;
	struct memtable_slot *slot;
	*value = (struct store_value) { .view = { .frame = CACHE_NO_FRAME } };
	tree->counters.reads++;
	if (!memtable_find(tree, key, sequence, &entry, &slot))
		return false;
	if (entry.kind == ENTRY_DELETE) {
		*status = status_make(STATUS_NOT_FOUND);
		return true;
	}
	memtable_slot_reference(slot);
	value->value = entry.value;
	value->memtable = slot;
	tree->counters.reads_memtable++;
	tree->counters.reads_found++;
	*status = status_ok();
	return true;
}

static struct tree_lookup lookup_begin(struct tree *tree, struct slice key, uint64_t hash, uint64_t sequence)
{
	if (!PLANTED(N3))
		version_reference(tree->versions.current);
	return (struct tree_lookup) { .key = key,
				      .hash = hash,
				      .sequence = sequence,
				      .version = tree->versions.current,
				      .rotations = tree->rotations };
}

static void lookup_end(struct tree *tree, struct tree_lookup *lookup)
{
	if (lookup->live != NULL)
		table_lookup_end(lookup->live->table, &lookup->lookup);
	if (!PLANTED(N3))
		version_release(&tree->versions, lookup->version);
	if (!list_is_empty(&tree->versions.dead))
		tree_schedule(tree);
}

/* A get by a task: what it does between two waits runs on the thread's stack, for components may go deep. */
struct tree_get {
	struct tree *tree;
	struct tree_lookup lookup; /* key, hash and sequence are the caller's */
	struct store_value *value;
	struct status status;
	bool in_tables;
	bool has_ended;
};

/* Until it has ended, or table_load must come before the next step; get->status: how that went. */
static void get_step(void *argument)
{
	struct tree_get *get = argument;
	struct tree *tree = get->tree;
	struct tree_lookup *lookup = &get->lookup;
	if (!get->in_tables) {
		get->has_ended =
			get_from_memtables(tree, lookup->key, lookup->sequence, get->value, &get->status) ||
			get_from_records(tree, lookup->key, lookup->hash, lookup->sequence, get->value);
		if (get->has_ended)
			return;
		*lookup = lookup_begin(tree, lookup->key, lookup->hash, lookup->sequence);
		get->in_tables = true;
	}
	if (status_is_ok(get->status)) {
		enum table_answer answer = lookup_step(tree, lookup);
		if (answer == TABLE_NEEDS)
			return;
		get->status = lookup_result(tree, lookup, answer, get->value);
	}
	lookup_end(tree, lookup);
	tree->counters.reads_found += status_is_ok(get->status);
	get->has_ended = true;
}

MAY_SUSPEND struct status tree_get(struct task *self, struct store *store, struct slice key, uint64_t hash,
				   uint64_t sequence, struct store_value *value)
{
	struct tree_get get = { .tree = tree_of(store), .value = value };
	get.lookup.key = key;
	get.lookup.hash = hash;
	get.lookup.sequence = sequence;
	call_on_thread_stack(get_step, &get);
	while (!get.has_ended) {
		get.status = table_load(self, get.lookup.live->table, &get.lookup.lookup);
		call_on_thread_stack(get_step, &get);
	}
	return get.status;
}

/* A get without a task while it waits for a read. */
struct tree_try {
	struct tree_lookup lookup;
	struct buffer_load *load; /* NULL: the get begins */
};

_Static_assert(sizeof(struct tree_try) <= sizeof(((struct store_get *)NULL)->state), "there is room");

/* From memory, or with one more read. */
static enum store_answer try_tables(struct tree *tree, struct store_get *get, struct tree_try *try)
{
	struct tree_lookup *lookup = &try->lookup;
	enum table_answer answer = lookup_step(tree, lookup);
	if (answer == TABLE_NEEDS) {
		if (get->memory_only)
			return STORE_TASK;
		try->load = table_load_begin(lookup->live->table, &lookup->lookup);
		if (try->load == NULL)
			return STORE_TASK;
		get->read = buffer_load_request(try->load);
		return STORE_READ;
	}
	get->status = lookup_result(tree, lookup, answer, &get->value);
	return STORE_DONE;
}

enum store_answer tree_try_get(struct store *store, struct store_get *get)
{
	struct tree *tree = tree_of(store);
	struct tree_try *try = (struct tree_try *)(void *)get->state;
	get->status = status_ok();
	if (try->load == NULL) {
		if (get_from_memtables(tree, get->key, get->sequence, &get->value, &get->status))
			return STORE_DONE;
		if (get_from_records(tree, get->key, get->hash, get->sequence, &get->value))
			return STORE_DONE;
		try->lookup = lookup_begin(tree, get->key, get->hash, get->sequence);
	} else {
		get->status = table_load_end(try->lookup.live->table, try->load);
		try->load = NULL;
	}
	enum store_answer answer = STORE_DONE;
	if (status_is_ok(get->status))
		answer = try_tables(tree, get, try);
	if (answer == STORE_READ)
		return answer;
	lookup_end(tree, &try->lookup);
	if (answer == STORE_TASK)
		tree->counters.reads--; /* the task counts it */
	tree->counters.reads_found += answer == STORE_DONE && status_is_ok(get->status);
	return answer;
}

MAY_SUSPEND struct status tree_torn_get(struct task *self, struct store *store, struct slice key,
					uint64_t hash, uint64_t sequence, struct store_value *value)
{
	(void)self, (void)key, (void)hash, (void)sequence, (void)value;
	return tree_of(store)->failure;
}

enum store_answer tree_torn_try_get(struct store *store, struct store_get *get)
{
	const struct tree_try *try = (const struct tree_try *)(const void *)get->state;
	/* One that began before has passed the memtables, and holds what has to be let go. */
	if (try->load != NULL)
		return tree_try_get(store, get);
	get->status = tree_of(store)->failure;
	return STORE_DONE;
}

void tree_value_release(struct store *store, struct store_value *value)
{
	struct tree *tree = tree_of(store);
	if (value->memtable != NULL)
		memtable_slot_release(value->memtable);
	buffer_release(tree->pool, &value->view);
	if (value->table != NULL) {
		live_table_release(&tree->versions, value->table);
		if (!list_is_empty(&tree->versions.dead))
			tree_schedule(tree);
	}
	*value = (struct store_value) { .view = { .frame = CACHE_NO_FRAME } };
}
