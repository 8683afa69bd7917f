/*
 * cascade.h: Cascade, an embedded key-value store. The only header that an embedder includes.
 *
 *	cascade *db;
 *	if (cascade_open("data", NULL, &db) != CASCADE_OK)
 *		fail(cascade_error_message());
 *	cascade_put(db, cascade_string("k"), cascade_string("v"), NULL);
 *	cascade_close(db);
 *
 * Keys are 0 to 65,535 bytes of any value, ordered by memcmp. Values are up to CASCADE_VALUE_BYTES_MAX
 * bytes. Every call may be made from any thread at any time between open and close, and each call is
 * atomic. Functions that return a cascade_status return CASCADE_OK or the reason for which nothing
 * happened; cascade_error_message() then explains it. Nothing here prints, exits, or aborts on bad input.
 *
 * Inside a function run by cascade_run (a task of the database's) the same calls suspend the task instead
 * of blocking a thread. And each call that waits, but open and close, has a form that does not, and returns a
 * future: see cascade_future.
 */
#ifndef CASCADE_H
#define CASCADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CASCADE_VERSION_MAJOR 0
#define CASCADE_VERSION_MINOR 1
#define CASCADE_VERSION_PATCH 0

#define CASCADE_KEY_BYTES_MAX	65535
#define CASCADE_VALUE_BYTES_MAX (1 << 20)

#define CASCADE_API __attribute__((visibility("default")))

/* --- status --- */

typedef enum cascade_status {
	CASCADE_OK = 0,
	CASCADE_NOT_FOUND = 1,	 /* no such key */
	CASCADE_INVALID = 2,	 /* an argument or option is wrong */
	CASCADE_BUSY = 3,	 /* no progress within write_timeout, or a queue is full: try again */
	CASCADE_NO_SPACE = 4,	 /* the device is full; reads go on, writes resume when there is room */
	CASCADE_IO = 5,		 /* the device failed a request */
	CASCADE_CORRUPT = 6,	 /* stored bytes are damaged; the message names file and offset */
	CASCADE_NO_MEMORY = 7,	 /* an allocation failed */
	CASCADE_LOCKED = 8,	 /* another process has the database open */
	CASCADE_UNSUPPORTED = 9, /* not in this version, e.g. a batch whose keys lie in several shards */
	CASCADE_FORMAT = 10,	 /* written by a version with another on-disk format; left untouched */
	CASCADE_READ_ONLY = 11,	 /* a sync failed earlier: this shard takes no more writes until reopened */
	CASCADE_CLOSED = 12,	 /* the database is being closed */
	CASCADE_CANCELED = 13	 /* cascade_future_cancel came before it was done, and it did not happen */
} cascade_status;

/* The name of a status, static. */
CASCADE_API const char *cascade_strerror(cascade_status status);

/*
 * What the last failed call on this thread (or in this task) had to say. Never NULL. Valid until the next
 * call on this thread; in a task, until the task's next call.
 */
CASCADE_API const char *cascade_error_message(void);

/* "0.1.0" */
CASCADE_API const char *cascade_version(void);

/* --- bytes --- */

/* Borrowed bytes; data may be NULL when size is 0. */
typedef struct cascade_slice {
	const void *data;
	size_t size;
} cascade_slice;

static inline cascade_slice cascade_bytes(const void *data, size_t size)
{
	cascade_slice slice;
	slice.data = data;
	slice.size = size;
	return slice;
}

static inline cascade_slice cascade_string(const char *text)
{
	return cascade_bytes(text, strlen(text));
}

/* --- options --- */

/*
 * Options are named as in workload files, dots between levels, values as text: "memory" = "256 MiB",
 * "durability" = "power", "memtable.kind" = "btree". cascade_option_list() tells all of them.
 */
typedef struct cascade_options cascade_options;

/* All defaults. CASCADE_NO_MEMORY, or OK and the caller owns *options. */
CASCADE_API cascade_status cascade_options_create(cascade_options **options);
CASCADE_API void cascade_options_destroy(cascade_options *options); /* NULL is allowed */

/* CASCADE_INVALID: no such name, or not a value that it takes; the message says which and what is. */
CASCADE_API cascade_status cascade_options_set(cascade_options *options, const char *name, const char *value);

/* The value in effect as text, NULL for an unknown name. Owned by `options`; valid until its next set. */
CASCADE_API const char *cascade_options_get(const cascade_options *options, const char *name);

/*
 * Whether the options go together ("memory" large enough for its parts, a codec that exists, ...), and
 * splits "memory" among the parts left at "auto": what cascade_open does first.
 */
CASCADE_API cascade_status cascade_options_resolve(cascade_options *options);

typedef struct cascade_option_info {
	const char *name;	   /* "cache.size" */
	const char *type;	   /* "integer", "size", "time", "real", "boolean", "choice", "choices",
				    * "path" */
	const char *default_value; /* as text */
	const char *choices;	   /* "memory process power" for one choice or several, else NULL */
	const char *help;
} cascade_option_info;

/* The engine's options; returns their number. Static storage. */
CASCADE_API size_t cascade_option_list(const cascade_option_info **options);

typedef struct cascade_component_option {
	const char *name; /* set as KIND.NAME */
	const char *type; /* "integer", "size", "real", "boolean" */
	const char *help;
	double default_value, minimum, maximum;
} cascade_component_option;

typedef struct cascade_component_info {
	const char *kind;    /* "memtable", "filter", "cache", "codec", "compaction", "io" */
	const char *name;    /* "btree" */
	const char *summary; /* one line */
	const cascade_component_option *options;
	size_t option_count;
	bool is_default;
	bool forgets; /* what is written is not found again: benches only */
} cascade_component_info;

/* Every variant of every kind in this build; returns their number. Static storage. */
CASCADE_API size_t cascade_component_list(const cascade_component_info **components);

/*
 * Adds the variants in the shared object `path` (docs/add-a-component.md) for the rest of the process, to be
 * chosen by name like any other. Before a database is opened, and beside no other call: what
 * cascade_option_list and cascade_component_list returned before is no longer valid. Loading a file again
 * changes nothing. NOT_FOUND: no such file. INVALID: it cannot be loaded, has no variants, or its variants
 * were compiled for another ABI, have names that are taken, or are not as the contract wants them; nothing
 * of it was added. UNSUPPORTED: the program is linked statically.
 */
CASCADE_API cascade_status cascade_component_load(const char *path);

/* --- open and close --- */

typedef struct cascade cascade;

/*
 * Opens the database in the directory `path`, creating it (one level) unless "create" is "false".
 * `options` may be NULL (all defaults), is not kept, and need not be resolved. From any thread.
 * "shards" and the format are fixed at creation; a later open takes the stored number, and a different
 * explicit number is CASCADE_INVALID. Replays the log: everything acknowledged at the level "process" or
 * "power" is there again. Errors: INVALID, LOCKED, FORMAT, CORRUPT, IO, NO_SPACE, NO_MEMORY, NOT_FOUND
 * (no database there and create is false).
 */
CASCADE_API cascade_status cascade_open(const char *path, const cascade_options *options, cascade **db);

/*
 * Waits for calls under way (one that comes later is the caller's mistake, and gets CASCADE_CLOSED at best),
 * writes what memory holds so that the next open replays nothing, and frees everything. Iterators, snapshots
 * and pinned values must have been released, and futures waited for: CASCADE_BUSY otherwise, and the database
 * stays open. With any other status the database is closed all the same; what failed is recovered from the
 * log at the next open.
 */
CASCADE_API cascade_status cascade_close(cascade *db);

/* One line that says what the environment refused (io_uring, direct I/O), or that what is written is not kept
 * (cascade_component_info.forgets), or "" ; valid until close. */
CASCADE_API const char *cascade_notice(const cascade *db);

/* --- writing --- */

typedef enum cascade_durability {
	CASCADE_DURABILITY_DEFAULT = 0, /* the database's "durability" */
	CASCADE_DURABILITY_MEMORY = 1,	/* nothing promised */
	CASCADE_DURABILITY_PROCESS = 2, /* an acknowledged write survives the end of the process */
	CASCADE_DURABILITY_POWER = 3	/* ... and the loss of power */
} cascade_durability;

/* A database opened with durability "memory" keeps no log: a write that asks it for more is UNSUPPORTED. */
typedef struct cascade_write_options {
	cascade_durability durability;
} cascade_write_options;

/* Sets the key's value. Returns when it is durable at its level and visible. `options` may be NULL. */
CASCADE_API cascade_status cascade_put(cascade *db, cascade_slice key, cascade_slice value,
				       const cascade_write_options *options);

/* Removes the key; OK also if it was not there. */
CASCADE_API cascade_status cascade_delete(cascade *db, cascade_slice key,
					  const cascade_write_options *options);

/* Several puts and deletes that happen together or not at all; later ones win over earlier ones. */
typedef struct cascade_batch cascade_batch;

CASCADE_API cascade_status cascade_batch_create(cascade_batch **batch);
CASCADE_API void cascade_batch_destroy(cascade_batch *batch); /* NULL is allowed */
CASCADE_API void cascade_batch_clear(cascade_batch *batch);
CASCADE_API cascade_status cascade_batch_put(cascade_batch *batch, cascade_slice key,
					     cascade_slice value); /* copies */
CASCADE_API cascade_status cascade_batch_delete(cascade_batch *batch, cascade_slice key);
CASCADE_API size_t cascade_batch_count(const cascade_batch *batch);

/*
 * Applies the batch; it is unchanged and may be used again. All keys must belong to one shard
 * (cascade_shard_of): CASCADE_UNSUPPORTED otherwise. In all at most 1 MiB + 64 KiB.
 */
CASCADE_API cascade_status cascade_write(cascade *db, const cascade_batch *batch,
					 const cascade_write_options *options);

/* --- reading --- */

/*
 * A pinned value: `data` and `size` are the caller's to read until it is released. For a task of the key's
 * shard it lies in the engine's own memory, unless the task holds very many; for all others it is a copy.
 */
typedef struct cascade_value {
	const void *data;
	size_t size;
	void *pin[4]; /* private */
} cascade_value;

typedef struct cascade_snapshot cascade_snapshot;

typedef struct cascade_read_options {
	const cascade_snapshot *snapshot; /* NULL: the newest state */
} cascade_read_options;

/* CASCADE_NOT_FOUND if the key is not there; on OK the caller releases *value. `options` may be NULL. */
CASCADE_API cascade_status cascade_get(cascade *db, cascade_slice key, const cascade_read_options *options,
				       cascade_value *value);

/* Ends the pin, on any thread; a task's pin ends before its function returns. Idempotent. */
CASCADE_API void cascade_value_release(cascade_value *value);

/* The state of all shards at one moment: what was acknowledged before is in it, what starts later is not. */
CASCADE_API cascade_status cascade_snapshot_create(cascade *db, cascade_snapshot **snapshot);
CASCADE_API void cascade_snapshot_release(cascade_snapshot *snapshot);

/* --- iterating --- */

typedef struct cascade_iterator cascade_iterator;

typedef struct cascade_iterator_options {
	const cascade_snapshot *snapshot; /* NULL: the state when the iterator is created */
	cascade_slice lower;		  /* first key that may be seen; empty: from the start. Copied */
	cascade_slice upper;		  /* all keys are below it */
	bool has_upper;			  /* false: no upper bound */
	uint64_t rows_hint;		  /* how many rows the caller expects to read; 0: unknown */
} cascade_iterator_options;

/*
 * Keys in order over all shards, each with its newest value in the snapshot. Not positioned at first.
 * An iterator is used by one thread (or task) at a time. `options` may be NULL.
 */
CASCADE_API cascade_status cascade_iterator_create(cascade *db, const cascade_iterator_options *options,
						   cascade_iterator **iterator);
CASCADE_API void cascade_iterator_destroy(cascade_iterator *iterator); /* NULL is allowed */

/* To the first key >= `key` (and >= lower). Clears an earlier error. */
CASCADE_API cascade_status cascade_iterator_seek(cascade_iterator *iterator, cascade_slice key);
CASCADE_API cascade_status cascade_iterator_seek_first(cascade_iterator *iterator);

/* To the next key. Only while valid. */
CASCADE_API cascade_status cascade_iterator_next(cascade_iterator *iterator);

/* Whether it stands on a key. False past the end, and after an error (then status tells). */
CASCADE_API bool cascade_iterator_valid(const cascade_iterator *iterator);
CASCADE_API cascade_status cascade_iterator_status(const cascade_iterator *iterator);

/* Of the current row; valid until the iterator moves. */
CASCADE_API cascade_slice cascade_iterator_key(const cascade_iterator *iterator);
CASCADE_API cascade_slice cascade_iterator_value(const cascade_iterator *iterator);

/* --- tasks --- */

typedef void cascade_task_function(cascade *db, void *argument);

/* The shard that a key belongs to: 0 .. cascade_shard_count - 1, fixed for the database's life. */
CASCADE_API uint32_t cascade_shard_of(const cascade *db, cascade_slice key);
CASCADE_API uint32_t cascade_shard_count(const cascade *db);

/*
 * Runs function(db, argument) as a task on the shard that owns the key, on a guarded stack of 64 KiB (calls
 * of this header take 16 KiB of it at most), and returns when it has ended. From any thread; from a task it
 * suspends the task. The function must not block its thread: only calls of this header wait.
 */
CASCADE_API cascade_status cascade_run(cascade *db, cascade_slice key, cascade_task_function *function,
				       void *argument);

/* In a task: lets other tasks of the shard go first. Elsewhere: nothing. */
CASCADE_API void cascade_yield(cascade *db);
/* In a task: suspends it for at least that long, or until a cancel ends the sleep. Elsewhere: sleeps. */
CASCADE_API void cascade_sleep(cascade *db, uint64_t nanoseconds);

/* --- futures: calls that do not wait --- */

/*
 * Work that was started. Each future is waited for once, by cascade_future_wait, which frees it, before the
 * database is closed (CASCADE_BUSY otherwise). What a task started belongs to the tasks of its shard:
 * elsewhere all of these return CASCADE_INVALID. What a thread started may be used by anybody, one at a time.
 */
typedef struct cascade_future cascade_future;

/* Waits until it is done and frees it; the status of the operation. */
CASCADE_API cascade_status cascade_future_wait(cascade_future *future);

/* Whether it is done, so that cascade_future_wait returns at once. */
CASCADE_API bool cascade_future_done(const cascade_future *future);

/*
 * Asks that it be not done, and returns. Work that has not begun is not done at all: CASCADE_CANCELED is what
 * cascade_future_wait then says. A write that waits for room gives up with the same status, and nothing has
 * happened; other work that has begun is finished. A function that was started by cascade_run_async may ask
 * cascade_canceled. For such a function this call may wait for its shard.
 */
CASCADE_API cascade_status cascade_future_cancel(cascade_future *future);

/*
 * Has callback(context) called once when it is done: at once if it is, else soon after, by a thread of the
 * database's. The callback must not wait: it may start work, and call cascade_future_wait for this future.
 * Once for each future (CASCADE_INVALID else), and not while somebody else may wait for it.
 */
typedef void cascade_callback(void *context);
CASCADE_API cascade_status cascade_future_on_done(cascade_future *future, cascade_callback *callback,
						  void *context);

/*
 * Each starts what the call of the same name without _async does. CASCADE_OK: the caller owns *future, and
 * all that is given by pointer or slice stays as it is until it is done, results included. Any other status:
 * nothing was started; CASCADE_BUSY: the shard has as many requests as it takes (1024 in its inbox). Work
 * that needs no wait and meets an idle shard is done at once. Writes that are started one after the other may
 * become visible in another order, unless each is waited for.
 */
CASCADE_API cascade_status cascade_put_async(cascade *db, cascade_slice key, cascade_slice value,
					     const cascade_write_options *options, cascade_future **future);
CASCADE_API cascade_status cascade_delete_async(cascade *db, cascade_slice key,
						const cascade_write_options *options,
						cascade_future **future);
CASCADE_API cascade_status cascade_write_async(cascade *db, const cascade_batch *batch,
					       const cascade_write_options *options, cascade_future **future);

/* The value is a copy; the caller releases it when the future has said CASCADE_OK. */
CASCADE_API cascade_status cascade_get_async(cascade *db, cascade_slice key,
					     const cascade_read_options *options, cascade_value *value,
					     cascade_future **future);

/* The iterator is not used otherwise until it is done. */
CASCADE_API cascade_status cascade_iterator_seek_async(cascade_iterator *iterator, cascade_slice key,
						       cascade_future **future);
CASCADE_API cascade_status cascade_iterator_next_async(cascade_iterator *iterator, cascade_future **future);

/* Starts function(db, argument) as a task, as cascade_run does, on a shard given by number. Any number of
 * them run at the same time. */
CASCADE_API cascade_status cascade_run_async(cascade *db, uint32_t shard, cascade_task_function *function,
					     void *argument, cascade_future **future);

/* In a task that cascade_run_async started: whether somebody has asked it to end. */
CASCADE_API bool cascade_canceled(cascade *db);

/* --- upkeep --- */

/* Writes all memtables to tables; what was acknowledged before is durable afterwards at any level. */
CASCADE_API cascade_status cascade_flush(cascade *db);

/* Waits until no flush or merge is under way or due. */
CASCADE_API cascade_status cascade_wait_idle(cascade *db);

/*
 * Reads every live byte and checks every checksum, order, reference and count. CASCADE_CORRUPT on the
 * first damage, whose message names file and offset.
 */
CASCADE_API cascade_status cascade_verify(cascade *db);

/* One counter or gauge: e.g. "reads", "wal.bytes", "level.1.tables", "memory.cache". */
typedef struct cascade_stat {
	const char *name;
	uint64_t value;
	bool is_gauge; /* false: counts up since open */
} cascade_stat;

/* All of them, summed over the shards; the caller frees the array with cascade_stats_free. */
CASCADE_API cascade_status cascade_stats(cascade *db, cascade_stat **stats, size_t *count);
CASCADE_API void cascade_stats_free(cascade_stat *stats);

/* As in the section on futures. */
CASCADE_API cascade_status cascade_flush_async(cascade *db, cascade_future **future);
CASCADE_API cascade_status cascade_wait_idle_async(cascade *db, cascade_future **future);
CASCADE_API cascade_status cascade_verify_async(cascade *db, cascade_future **future);
CASCADE_API cascade_status cascade_stats_async(cascade *db, cascade_stat **stats, size_t *count,
					       cascade_future **future);

#ifdef __cplusplus
}
#endif

#endif
