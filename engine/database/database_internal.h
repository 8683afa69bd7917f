/*
 * database_internal.h: many shards as one database: the struct behind `cascade` and how a call reaches the
 * shard that serves it. Private to database/.
 */
#ifndef CASCADE_DATABASE_DATABASE_INTERNAL_H
#define CASCADE_DATABASE_DATABASE_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "cascade.h"
#include "database/options_internal.h"
#include "runtime/runtime.h"
#include "tree/store.h"

enum { SNAPSHOTS_MAX = 4096, NOTICE_BYTES = 256 };

/* Snapshots that live, process-wide: readers of any shard enter, merges of any shard look. */
struct snapshot_table {
	_Alignas(64) _Atomic uint64_t sequence; /* the last commit sequence drawn */
	_Alignas(64) _Atomic uint32_t live;
	_Atomic uint32_t high;		       /* slots ever used */
	_Atomic uint64_t slots[SNAPSHOTS_MAX]; /* 0: free; else a sequence, see snapshots.c */
};

/* Pinned values are taken from a free list of the shard's. */
struct value_pin {
	struct store_value value;
	struct value_pin *next_free;
};

/* What the database keeps on each shard; touched by that shard only. */
struct database_shard {
	struct cascade *db;
	struct store *store;
	struct store_open_report report;
	struct store_options options;
	char *directory;
	struct value_pin *free_pins;
	uint64_t pins;	   /* values that are pinned at the moment */
	uint64_t pins_max; /* further ones are copied */
	uint64_t calls;	   /* under way here; close waits for them */
	struct wait_list no_calls;
	bool closing;	      /* no call begins any more */
	struct status status; /* of open or close */
};

struct cascade {
	struct runtime *runtime;
	const struct store_ops *store_ops; /* what the shards' stores are */
	struct io *io;			   /* the opener's own, for the root file and the lock */
	int lock;
	char *path;
	uint64_t id[2];
	uint32_t shard_count;
	struct resolved_options options;
	struct database_shard *shards;
	struct snapshot_table snapshots;
	_Atomic uint64_t visitors; /* calls that touch this struct after a shard has answered them */
	_Atomic uint64_t handles;  /* iterators and snapshots that live */
	char notice[NOTICE_BYTES];
};

/* Turns a status into what the API returns, and keeps its message for cascade_error_message. */
cascade_status database_report(struct status status);

static inline struct slice slice_of(cascade_slice slice)
{
	return slice_make(slice.data, slice.size);
}

static inline cascade_slice slice_out(struct slice slice)
{
	return cascade_bytes(slice.data, slice.size);
}

/* The one routing function. Filters use the hash itself, so routing mixes it first: within a shard all bits
 * of the hash stay evenly spread. */
static inline uint32_t database_route(const cascade *db, uint64_t hash)
{
	return (uint32_t)hash_range(hash_mix(hash), db->shard_count);
}

/* Runs function(task, argument) on the shard and returns when it has ended: as a plain call when the calling
 * task is there already, as a WAIT call from a task elsewhere, and as a request from any other thread. */
void database_call(cascade *db, uint32_t shard, task_function *function, void *argument);

/* Around everything that uses the store for a caller. On the shard. False, and nothing to leave, once the
 * database is being closed: the caller hears STATUS_CLOSED. */
static inline bool database_enter(struct database_shard *shard)
{
	if (shard->closing)
		return false;
	shard->calls++;
	return true;
}

static inline void database_leave(struct database_shard *shard)
{
	if (--shard->calls == 0 && !wait_list_is_empty(&shard->no_calls))
		wait_list_wake_all(&shard->no_calls);
}

/* The calling task if it is one of this database's, else NULL. */
struct task *database_task(const cascade *db);

/* --- snapshots.c --- */

void snapshots_init(struct snapshot_table *table, uint64_t last_sequence);
uint64_t snapshots_next_sequence(struct snapshot_table *table);
/* Enters the table; the slot's number, or SNAPSHOTS_MAX when it is full. */
uint32_t snapshots_enter(struct snapshot_table *table, uint64_t *sequence);
void snapshots_leave(struct snapshot_table *table, uint32_t slot);
uint64_t snapshots_oldest(struct snapshot_table *table);
size_t snapshots_list(struct snapshot_table *table, uint64_t *sequences, size_t capacity);

struct cascade_snapshot {
	cascade *db;
	uint64_t sequence;
	uint32_t slot;
};

#endif
