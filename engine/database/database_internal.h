/*
 * database_internal.h: many shards as one database: the struct behind `cascade` and how a call reaches the
 * shard that serves it. Private to database/.
 */
#ifndef CASCADE_DATABASE_DATABASE_INTERNAL_H
#define CASCADE_DATABASE_DATABASE_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/batch.h"
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
	bool closing;		/* no call begins any more */
	struct status status;	/* of open or close */
	struct request request; /* that opens or closes */
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
	struct trace *trace; /* NULL: nothing is recorded */
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

/* Runs the type's function on the shard and returns when it has ended: as a plain call when the calling
 * task is there already, as a WAIT call from a task elsewhere, and as a request from any other thread. */
void database_call(cascade *db, uint32_t shard, const struct task_type *type, void *argument);

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

/* --- operations.c: calls on their way to the shard that owns the key --- */

/*
 * Each is made by the caller, who gets its errors at once, and then run on call->shard: as a task, or
 * attempted by whoever may touch the shard's memory, outside of tasks; an attempt that says false has done
 * nothing. Until it has run, its status is CANCELED.
 */
struct write_call {
	struct database_shard *shard;
	const struct slice *pieces;
	size_t count;
	size_t user_bytes;
	enum wal_durability durability;
	struct status status;
	struct slice single[3]; /* the pieces of a single operation; or a batch, as the first */
	uint8_t header[BATCH_HEADER_BYTES_MAX];
};

MUST_CHECK struct status write_call_single(struct write_call *call, cascade *db, enum entry_kind kind,
					   cascade_slice key, cascade_slice value,
					   const cascade_write_options *options);
/* An empty batch is nothing to run. */
MUST_CHECK struct status write_call_batch(struct write_call *call, cascade *db, const cascade_batch *batch,
					  const cascade_write_options *options);
bool write_call_attempt(void *call);
extern const struct task_type write_call_type;

struct get_call {
	struct database_shard *shard;
	struct slice key;
	uint64_t hash;
	uint64_t sequence; /* SEQUENCE_MAX: the newest */
	bool pin_allowed;  /* the caller is a task of the shard: no copy */
	struct status status;
	cascade_value *value;
};

MUST_CHECK struct status get_call_make(struct get_call *call, cascade *db, cascade_slice key,
				       const cascade_read_options *options, cascade_value *value);
/* What is in memory: no snapshot's writes are waited for, and nothing is read. */
bool get_call_attempt(void *call);
extern const struct task_type get_call_type;

/* --- future.c --- */

/* What a future's work keeps. */
struct user_work {
	cascade_task_function *function;
	void *argument;
	struct status spawned; /* of getting it to run */
	struct status status;
};

struct upkeep_work {
	cascade *db;
	MAY_SUSPEND struct status (*function)(struct task *self, struct store *store);
	struct status status;
};

struct stats_work {
	cascade *db;
	cascade_stat **stats;
	size_t *count;
	struct status status;
};

struct iterator_work {
	cascade_iterator *iterator;
	cascade_slice key;
	bool is_seek;
	struct status status;
};

struct cascade_future {
	cascade *db;
	bool from_task; /* a task started it; else a thread */
	bool is_user;	/* a function of the embedder's, in a task of its own */
	bool has_callback;
	uint32_t shard;	 /* where its work is done */
	uint32_t origin; /* of a task's: its shard */
	const struct task_type *type;
	void *argument;
	const struct status *result; /* where the work leaves its status; CANCELED before */

	/* Where the task is that does the work, on its shard alone; not of a thread's request. */
	struct task *task; /* NULL: it has not begun, or has ended */
	bool canceled;	   /* before it began */

	/* Of a thread. A user's function needs the future in it only. */
	struct request request;

	/* Of a task, on `origin` alone. */
	bool told;
	struct task *waiter;
	void (*callback)(void *context);
	void *context;

	union {
		struct write_call write;
		struct get_call get;
		struct user_work user;
		struct upkeep_work upkeep;
		struct stats_work stats;
		struct iterator_work iterator;
	};
};

/* A future whose work has not been started. It counts as a handle until it is freed. */
MUST_CHECK struct status future_make(cascade *db, cascade_future **future);
void future_free(cascade_future *future);

/*
 * Starts it: type->run(task, argument) on the shard. `attempt` (NULL: none): see struct request. STATUS_BUSY,
 * NO_MEMORY: nothing happened.
 */
MUST_CHECK struct status future_start(cascade_future *future, uint32_t shard, const struct task_type *type,
				      void *argument, bool (*attempt)(void *argument),
				      const struct status *result);

/* It is done already, by whoever made it. */
void future_end_at_once(cascade_future *future, const struct status *result);

/* The work of a task's future has ended. By a task on future->origin. It may be gone afterwards. */
void future_tell(cascade_future *future);

/* --- the blocking forms, for tasks that do them for a future --- */

MAY_SUSPEND MUST_CHECK struct status upkeep_all(cascade *db,
						MAY_SUSPEND struct status (*function)(struct task *self,
										      struct store *store));
MAY_SUSPEND MUST_CHECK struct status stats_collect(cascade *db, cascade_stat **stats, size_t *count);
MAY_SUSPEND MUST_CHECK struct status iterator_seek_to(cascade_iterator *iterator, cascade_slice key);
MAY_SUSPEND MUST_CHECK struct status iterator_step(cascade_iterator *iterator);
/* Whether the next step is one from a row to the next of those that were fetched, or fails. */
bool iterator_step_is_short(const cascade_iterator *iterator);
cascade *iterator_database(const cascade_iterator *iterator);

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
