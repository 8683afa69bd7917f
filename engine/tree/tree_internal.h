/*
 * tree_internal.h: the tree's parts, for the files of tree/ and their tests.
 *
 * Life of an entry: wal_append makes it durable and calls tree_apply, which puts it into the active memtable
 * (memtables.c). A full memtable becomes immutable; the flush task turns the oldest one into a level-0 table,
 * and merge tasks move tables down (upkeep.c). Lookups go the same way, newest first (lookup.c, cursor.c).
 */
#ifndef CASCADE_TREE_TREE_INTERNAL_H
#define CASCADE_TREE_TREE_INTERNAL_H

#include "compaction/pacing.h"
#include "manifest/manifest.h"
#include "trace/traced_memtable.h"
#include "tree/record_cache.h"
#include "tree/store.h"
#include "tree/version.h"
#include "wal/wal.h"

/* --- memtables.c --- */

/* One memtable with the arena it lives in. Referenced by the tree, by cursors and by pinned values. */
struct memtable_slot {
	uint32_t references;
	struct arena arena;
	struct memtable *memtable;
	uint64_t last_log_number; /* of the newest commit in it */
	uint64_t last_sequence;
	uint64_t inserts; /* entries put in: a memtable that forgets counts none */
	uint64_t user_bytes;
	uint64_t flushed_bytes; /* of user_bytes, while it is being flushed */
	struct list link;	/* in tree.immutables, oldest first */
};

/* A full memtable's chunks are kept for the next one. The pool has to outlive all slots. */
void memtable_chunks_init(struct arena_pool *chunks, const struct store_options *options);
struct memtable_slot *memtable_slot_create(const struct store_options *options, struct arena_pool *chunks);
void memtable_slot_reference(struct memtable_slot *slot);
void memtable_slot_release(struct memtable_slot *slot);
/* Whether nothing was put in: then there is nothing to flush, and no commit that waits for it. */
bool memtable_slot_is_empty(const struct memtable_slot *slot);

/* A memtable as an iterator (table/iterator.h); holds a reference on the slot. */
MUST_CHECK struct status memtable_slot_iterator(struct memtable_slot *slot, struct iterator **iterator);

/* --- the tree --- */

struct tree_counters {
	uint64_t reads, reads_found, reads_memtable, reads_table;
	uint64_t tables_probed, tables_filtered;
	uint64_t writes, write_bytes, write_waits, write_timeouts;
	uint64_t flushes, flush_bytes_in, flush_bytes_out;
	uint64_t merges, merge_moves, merge_bytes_in, merge_bytes_out;
	uint64_t merge_entries_in, merge_entries_dropped;
	uint64_t background_errors;
	uint64_t cursors;
};

struct tree {
	struct store store;
	struct store_options options;
	struct buffer_pool *pool;
	struct record_cache *records; /* NULL: none */
	struct manifest *manifest;
	struct wal *wal;
	struct table_options table_options; /* without the level */
	struct trace_recorder *recorder;    /* NULL: nothing is recorded */
	struct traced_memtables traced;	    /* where memtables are: these are options.memtable then */

	struct arena_pool chunks; /* of the memtables */
	struct memtable_slot *active;
	struct list immutables; /* of memtable_slot.link, oldest first */
	uint32_t immutable_count;
	uint64_t rotations; /* memtables that became immutable so far */

	struct version_set versions;
	uint64_t next_number;
	uint64_t policy_cursor[LEVELS_MAX];

	struct pacer pacer;
	uint64_t merging_level0; /* level-0 tables that are inputs of a merge under way */

	bool logging; /* false: durability `memory`, and during replay */
	bool replaying;
	bool closing;
	bool cancelled; /* merges end early */
	bool flush_running;
	uint32_t merges_running;
	bool reaper_running;
	bool edit_running; /* of the manifest */
	struct wait_list edit_turn;
	uint32_t flush_requests; /* callers that want the active memtable flushed too */
	struct join background;
	struct wait_list progress; /* woken at the end of every background job and on failures */
	struct status failure;	   /* for good: writes are refused */
	uint64_t unapplied_from;   /* memory had no room for the commit of that sequence: none after it is
				    * visible.   UINT64_MAX: there was room for all */
	struct status trouble;	   /* the last background error; OK again after a success */

	struct tree_counters counters;
};

static inline struct tree *tree_of(struct store *store)
{
	return CONTAINER_OF(store, struct tree, store);
}

/* Whether there are commits in the log that memory had no room for. */
static inline bool tree_lacks_commits(const struct tree *tree)
{
	return tree->unapplied_from < UINT64_MAX;
}

/* --- write.c --- */

MAY_SUSPEND struct status tree_write(struct task *self, struct store *store, const struct slice *pieces,
				     size_t count, size_t user_bytes, enum wal_durability durability);
bool tree_try_write(struct store *store, const struct slice *pieces, size_t count, size_t user_bytes,
		    enum wal_durability durability, struct status *status);
/* wal_options.apply and .replay. */
void tree_apply(void *context, const struct wal_commit *commit);
MAY_SUSPEND struct status tree_replay(struct task *self, void *context, const struct wal_commit *commit);
/* Tells the pacer how full everything is. After every change of memtables, tables or log. */
void tree_update_pacing(struct tree *tree);
/* Makes the active memtable immutable and a new one active. NO_MEMORY: nothing happened. */
MUST_CHECK struct status tree_rotate(struct tree *tree);
/* Rotates when the active memtable, or the log, has had its share and no flush is behind; starts the flush.
 */
void tree_rotate_if_due(struct tree *tree);

/* --- lookup.c --- */

MAY_SUSPEND struct status tree_get(struct task *self, struct store *store, struct slice key, uint64_t hash,
				   uint64_t sequence, struct store_value *value);
enum store_answer tree_try_get(struct store *store, struct store_get *get);
void tree_value_release(struct store *store, struct store_value *value);

/*
 * The store once part of a batch is in the memtable and memory has no room for the rest: as before, but that
 * nothing is read or written any more, for what would be seen is half of it. Opened again it is whole.
 */
extern const struct store_ops tree_torn_store;
MAY_SUSPEND struct status tree_torn_get(struct task *self, struct store *store, struct slice key,
					uint64_t hash, uint64_t sequence, struct store_value *value);
enum store_answer tree_torn_try_get(struct store *store, struct store_get *get);

/* --- cursor.c --- */

MAY_SUSPEND struct status tree_cursor_create(struct task *self, struct store *store, uint64_t sequence,
					     struct slice lower, struct slice upper, bool has_upper,
					     uint64_t rows, struct iterator **cursor);
MAY_SUSPEND struct status tree_torn_cursor_create(struct task *self, struct store *store, uint64_t sequence,
						  struct slice lower, struct slice upper, bool has_upper,
						  uint64_t rows, struct iterator **cursor);

/* --- upkeep.c --- */

/* Starts the background work that is due. */
void tree_schedule(struct tree *tree);
/* Flushes the oldest immutable memtable in the calling task. */
MAY_SUSPEND MUST_CHECK struct status tree_flush_oldest(struct task *self, struct tree *tree);
MAY_SUSPEND struct status tree_flush(struct task *self, struct store *store);
MAY_SUSPEND struct status tree_wait_idle(struct task *self, struct store *store);
/* Closes and unlinks tables that nobody refers to any more. */
MAY_SUSPEND void tree_reap(struct task *self, struct tree *tree);
/* Bytes that merges still owe. */
uint64_t tree_debt(struct tree *tree);

#endif
