/*
 * store.h: what a shard's store can do, whatever its inside: the LSM tree implements it (tree.h), and a
 * second store will. The database layer routes calls here and knows nothing else of a store.
 *
 * All functions on the shard's own thread.
 */
#ifndef CASCADE_TREE_STORE_H
#define CASCADE_TREE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/entry.h"
#include "buffer/buffer.h"
#include "components/cache/cache.h"
#include "components/codec/codec.h"
#include "components/compaction/policy.h"
#include "components/filters/filter.h"
#include "components/memtable/memtable.h"
#include "runtime/shard.h"
#include "table/iterator.h"
#include "trace/trace.h"
#include "wal/wal.h"

struct store;

struct store_options {
	struct shard *shard;
	const char *directory; /* the shard's; exists; borrowed for the store's life */
	uint64_t database_id[2];
	bool create;

	enum wal_durability durability; /* of writes that name none; WAL_MEMORY: nothing is logged */
	uint64_t write_timeout_ns;

	/* Budgets of this shard, in bytes. */
	uint64_t memtable_bytes; /* active and immutable together */
	uint64_t cache_bytes;
	uint64_t record_bytes; /* of the record cache; too little for one: none */
	uint64_t table_bytes;  /* of a merge's output tables */
	bool wal_buffered;     /* the log goes through the page cache */
	uint64_t segment_bytes;
	uint32_t segments_max;
	size_t group_bytes;
	uint32_t block_bytes;
	uint32_t merges_max; /* at the same time */

	const struct memtable_ops *memtable;
	const struct filter_ops *filter;
	const struct cache_ops *cache;
	const struct codec_ops *codec;
	const struct policy_ops *policy;
	const void *memtable_options, *filter_options, *cache_options, *codec_options, *policy_options;
	struct trace *trace; /* records what reaches memtables, cache and filters; NULL: nothing does */

	/* Doors to what shards share: the commit sequence and the live snapshots. */
	uint64_t (*next_sequence)(void *context);
	/* A lower bound of all live snapshots' sequences, UINT64_MAX if there is none. */
	uint64_t (*oldest_snapshot)(void *context);
	/* Live snapshots, ascending, at most `capacity`; returns how many there are in all, SIZE_MAX: one is
	 * being taken at this moment, ask again. */
	size_t (*snapshots)(void *context, uint64_t *sequences, size_t capacity);
	void *context;
};

struct store_open_report {
	uint64_t last_sequence; /* the largest ever used here */
	uint64_t replayed_commits;
	uint64_t replayed_bytes; /* read from the log */
	uint64_t ring_bytes;	 /* of the log */
	uint64_t trimmed_bytes;
};

/* A value that a get found, pinned until store_value_release. */
struct store_value {
	struct slice value;
	/* The store's: what is pinned. */
	void *memtable;
	void *table;
	struct buffer_view view;
};

/* A get by a caller without a task; what is not named here is zero at first. */
enum { STORE_GET_WORDS = 40 };

struct store_get {
	struct slice key;
	uint64_t hash;
	uint64_t sequence;
	bool memory_only;     /* STORE_TASK instead of STORE_READ */
	struct status status; /* STORE_DONE */
	struct store_value value;
	struct io_request *read;	 /* STORE_READ */
	uint64_t state[STORE_GET_WORDS]; /* the store's own */
};

enum store_answer {
	STORE_DONE,
	STORE_READ, /* get->read is to be carried out, without the shard, and the store then asked again */
	STORE_TASK, /* nothing happened: do it as a task */
};

/* One number for stats: counters and gauges of one store. */
struct store_stat {
	const char *name; /* static */
	uint64_t value;
	bool is_gauge;
};

enum { STORE_STATS_MAX = 128 };

struct store_ops {
	const char *name;

	MAY_SUSPEND struct status (*open)(struct task *self, const struct store_options *options,
					  struct store **store, struct store_open_report *report);
	/* No calls are under way, no values pinned, no cursors open. Flushes; frees in any case. */
	MAY_SUSPEND struct status (*close)(struct task *self, struct store *store);

	/* Commits one batch (base/batch.h), given in pieces; `user_bytes`: keys and values in it.
	 * `durability` 0: the store's. */
	MAY_SUSPEND struct status (*write)(struct task *self, struct store *store, const struct slice *pieces,
					   size_t count, size_t user_bytes, enum wal_durability durability);

	/* The newest version of the key with sequence <= `sequence`. STATUS_NOT_FOUND: none, or deleted. */
	MAY_SUSPEND struct status (*get)(struct task *self, struct store *store, struct slice key,
					 uint64_t hash, uint64_t sequence, struct store_value *value);
	void (*value_release)(struct store *store, struct store_value *value);

	/*
	 * The same two for callers without a task. They take some microseconds at most. try_write: true, and
	 * *status as above, if it took no wait; false: nothing happened, do it as a task. try_get is asked
	 * again after each read that it wanted.
	 */
	bool (*try_write)(struct store *store, const struct slice *pieces, size_t count, size_t user_bytes,
			  enum wal_durability durability, struct status *status);
	enum store_answer (*try_get)(struct store *store, struct store_get *get);

	/* Returns when all that was drawn up to `sequence` on this shard is visible or refused. */
	MAY_SUSPEND void (*wait_published)(struct task *self, struct store *store, uint64_t sequence);

	/*
	 * A cursor over the keys as of `sequence`: yields one ENTRY_PUT a key, from lower (inclusive) to
	 * upper (exclusive when has_upper). The bounds are copied. Not positioned. `rows`: how many will be
	 * read after a seek, 0: unknown; a hint by which blocks are asked for together.
	 */
	MAY_SUSPEND struct status (*cursor_create)(struct task *self, struct store *store, uint64_t sequence,
						   struct slice lower, struct slice upper, bool has_upper,
						   uint64_t rows, struct iterator **cursor);

	/* Everything visible now is in durable tables afterwards. */
	MAY_SUSPEND struct status (*flush)(struct task *self, struct store *store);
	/* Until no background work is under way or due. */
	MAY_SUSPEND struct status (*wait_idle)(struct task *self, struct store *store);
	MAY_SUSPEND struct status (*verify)(struct task *self, struct store *store);

	/* Fills at most STORE_STATS_MAX; the same names in the same order at every call. */
	size_t (*stats)(struct store *store, struct store_stat *stats);
};

/* The first member of every store. */
struct store {
	const struct store_ops *ops;
};

#endif
