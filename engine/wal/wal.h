/*
 * wal.h: one shard's write-ahead log: a ring of recycled segments, group commit, and replay.
 *
 * Commits are numbered densely (log numbers 1, 2, 3, ...). They are appended to the group being filled; when
 * the previous group is durable the group is sealed, written, synced if a member asks for it, and then its
 * commits are applied in order (`wal_options.apply`, which makes them visible) and their tasks go on. A
 * joiner after the seal belongs to the next group. See docs/file-formats.md for the bytes.
 *
 * INV-WAL-1  A commit is applied only after its group is as durable as its level asks.
 * INV-WAL-2  A segment is reused only when a durable manifest covers all its commits (wal_release).
 * INV-WAL-3  Nothing is ever appended after a torn tail: after replay, writing begins in a fresh segment.
 * INV-WAL-4  After a failed write or sync no later commit is acknowledged (STATUS_READ_ONLY, or NO_SPACE
 *            where space alone was short), and none is retried after a failed sync.
 *
 * All functions on the shard's own thread.
 */
#ifndef CASCADE_WAL_WAL_H
#define CASCADE_WAL_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "runtime/shard.h"

enum wal_durability {
	WAL_MEMORY = 1,	 /* nothing is promised; waits as WAL_PROCESS does, so that it reads its own write */
	WAL_PROCESS = 2, /* after the group is written */
	WAL_POWER = 3,	 /* after the group is synced; then all members of the group wait for that */
};

/* One commit as the log keeps it. */
struct wal_commit {
	uint64_t log_number;
	uint64_t sequence;
	struct slice payload; /* opaque here; borrowed for the call */
};

struct wal_options {
	const char *directory;	 /* holds the segments; exists */
	uint64_t database_id[2]; /* bound into every checksum */
	uint32_t shard;
	uint64_t segment_bytes; /* multiple of 4096, at least 16 KiB; an existing ring keeps what it has */
	uint32_t segments_max;	/* at least 2; the ring starts with two and grows up to it */
	size_t group_bytes; /* of one group buffer; two are allocated. Larger commits get one of their own */
	bool buffered; /* segments are written through the page cache: WAL_PROCESS then waits for no device */
	uint64_t wait_ns_max; /* how long an append may wait for a free segment; then STATUS_BUSY */

	/* Draws the next commit sequence; called in log order, at the moment the commit joins its group. */
	uint64_t (*next_sequence)(void *context);
	/* Makes a durable commit visible. Must not fail and must not suspend. */
	void (*apply)(void *context, const struct wal_commit *commit);
	/* During open only: takes over one replayed commit; may suspend. An error ends the open. */
	MAY_SUSPEND struct status (*replay)(struct task *self, void *context,
					    const struct wal_commit *commit);
	void *context;
};

struct wal_replay_report {
	uint64_t commits;    /* replayed */
	uint64_t bytes_read; /* from segments */
	uint64_t ring_bytes; /* of all segments found */
	uint64_t trimmed;    /* bytes of torn or left-out groups behind the last commit */
	uint64_t last_log_number;
	uint64_t last_sequence;
};

struct wal;

/*
 * Opens or creates the ring; replays every commit with log number > `flushed_log_number`, each once and in
 * order, reading each segment at most once. STATUS_CORRUPT where a commit that was durable is damaged or
 * missing (the message names file and offset), as opposed to a torn tail, which is trimmed; STATUS_FORMAT for
 * a version that is not known. `create`: no segment may exist (STATUS_INVALID); otherwise at least one must
 * (STATUS_CORRUPT). *wal is set before the first commit is replayed, so that `replay` may call wal_release;
 * nothing else may be called before the open has returned. What was replayed is durable when it returns.
 */
MAY_SUSPEND MUST_CHECK struct status wal_open(struct task *self, const struct wal_options *options,
					      bool create, uint64_t flushed_log_number, struct wal **wal,
					      struct wal_replay_report *report);

/*
 * Waits for groups under way, makes everything durable and marks the log as closed, so that the next open
 * tells any damage from a torn tail; then frees, whatever the status. Segments stay. No append may be begun.
 */
MAY_SUSPEND MUST_CHECK struct status wal_close(struct task *self, struct wal *wal);

/*
 * Commits one payload, given in `count` pieces, and waits until it is as durable as `durability` asks and
 * applied. STATUS_INVALID: larger than wal_payload_max. STATUS_BUSY, or why the ring could not grow, as
 * STATUS_NO_SPACE: no segment became free in time. On any error nothing of it is visible, and a replay
 * finds it only if the error was STATUS_IO or STATUS_READ_ONLY. *sequence (NULL: not asked for): the one that
 * the commit got; set with STATUS_OK.
 */
MAY_SUSPEND MUST_CHECK struct status wal_append(struct task *self, struct wal *wal,
						const struct slice *pieces, size_t count,
						enum wal_durability durability, uint64_t *sequence);

/*
 * The same without a task, where it needs no wait: nobody else's commit is under way, and the page cache
 * takes the write. True: *status is what wal_append would have returned. False: nothing happened.
 */
MUST_CHECK bool wal_try_append(struct wal *wal, const struct slice *pieces, size_t count,
			       enum wal_durability durability, struct status *status);

size_t wal_payload_max(const struct wal *wal);

/* Everything appended so far becomes durable against power loss; what a flush does before it trusts it. */
MAY_SUSPEND MUST_CHECK struct status wal_sync(struct task *self, struct wal *wal);

/* The last applied log number, 0 if none. */
uint64_t wal_last_applied(const struct wal *wal);

/* The lowest sequence drawn here that is not yet applied or refused; UINT64_MAX: none. */
uint64_t wal_first_pending_sequence(const struct wal *wal);

/* Waits until every sequence <= `sequence` drawn here is applied or refused. */
MAY_SUSPEND void wal_wait_published(struct task *self, struct wal *wal, uint64_t sequence);

/* A durable manifest says that every commit up to `log_number` is in tables: frees segments. */
void wal_release(struct wal *wal, uint64_t log_number);

/* STATUS_OK, or why writes are refused. */
struct status wal_health(const struct wal *wal);

/* Bytes that can still be appended before the ring is full, counting segments it may still add. */
uint64_t wal_room(const struct wal *wal);

struct wal_counters {
	uint64_t commits, groups, syncs;
	uint64_t payload_bytes, written_bytes;
	uint64_t laps;		/* segments put to use again */
	uint64_t segment_waits; /* appends that had to wait for a free segment */
	uint64_t segments;	/* gauge */
	uint64_t segments_free; /* gauge: ready for use */
	uint64_t live_bytes;	/* gauge: in segments not yet released */
	uint64_t memory_bytes;	/* gauge: group buffers */
};

const struct wal_counters *wal_counters(const struct wal *wal);

/* Reads all segments and checks what can be checked while the log is in use. */
MAY_SUSPEND MUST_CHECK struct status wal_verify(struct task *self, struct wal *wal);

#endif
