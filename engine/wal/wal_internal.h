/*
 * wal_internal.h: what the files of the log share: the state, and who may touch which part of it.
 *
 * Two tasks live as long as the log. The *writer* (foreground) seals groups, writes and syncs them and
 * settles them; it alone moves `current`, positions and log numbers. The *keeper* (background) turns
 * released segments into ready ones and makes new ones; it alone draws laps. Everything is on one shard.
 */
#ifndef CASCADE_WAL_WAL_INTERNAL_H
#define CASCADE_WAL_WAL_INTERNAL_H

#include "base/list.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

enum {
	WAL_PAYLOAD_BYTES_MAX = (1 << 20) + (128 << 10),
	WAL_GROUP_BUFFERS = 2,
	WAL_AT_ONCE_BYTES_MAX = 128 << 10,
	WAL_STREAM_CHUNK_BYTES = 1 << 20,
	WAL_SEGMENTS_LIMIT = 4096, /* more files than that in a directory are not a ring of ours */
};

enum wal_segment_state {
	WAL_SEGMENT_FOUND,   /* during open: not yet judged */
	WAL_SEGMENT_LIVE,    /* full; holds commits that no table covers yet */
	WAL_SEGMENT_CURRENT, /* groups are written to it */
	WAL_SEGMENT_DIRTY,   /* released; waits for the header of its next lap */
	WAL_SEGMENT_READY,   /* that header is durable: may become current */
};

struct wal_segment {
	struct list node; /* in live, dirty or ready; each in the order of laps */
	struct io_file *file;
	uint32_t number;
	enum wal_segment_state state;
	uint64_t lap;
	uint64_t seed;	   /* of its groups' checksums in this lap */
	uint64_t position; /* where the next group goes; all before is written */
	uint64_t last_log; /* the highest log number in it this lap, 0: none */
	bool unsynced;	   /* something written to it is not known to be durable */
	bool torn;	   /* replay has passed over torn groups, of commits that tables cover */

	struct wal_segment_header header; /* the one on disk */

	/* During open only. */
	bool header_valid;
	bool trimmed; /* holds groups that this replay discards */
};

/* A task in wal_append or wal_sync that waits for a group; on its own stack. */
struct wal_waiter {
	struct wal_waiter *next;
	struct task *task;
	struct status status;
	bool done;
};

struct wal_waiters {
	struct wal_waiter *first;
	struct wal_waiter *last; /* undefined when empty */
};

/* A task in wal_append that waits for room in a group; on its own stack. */
struct wal_joiner {
	struct list node;
	struct task *task;
	uint64_t deadline_ns; /* looked at only while the writer waits for a segment */
	struct status status;
	bool awake;   /* resumed, has not looked yet */
	bool refused; /* off the list; `status` says why */
};

struct wal_group {
	struct list node; /* in wal.queue or wal.unused */
	uint8_t *buffer;  /* page-aligned; the group stands at buffer + start */
	size_t buffer_bytes;
	size_t limit; /* of `length` */
	size_t start; /* below 4096: where in a page the group will begin, as far as is known */
	size_t length;
	uint32_t count;
	bool power;  /* a member asks for a sync */
	bool closed; /* takes no more commits */
	bool single; /* a buffer of its own for one large commit */
	uint64_t first_sequence;
	uint64_t deadline_ns; /* for waiting for a segment */
	uint64_t first_log;   /* once it is written */
	struct wal_waiters waiters;
	struct wal_waiters sync_waiters;
};

struct wal {
	struct wal_options options; /* `directory` is a copy of ours */
	struct shard *shard;
	uint64_t segment_bytes; /* of the ring as it was made; options.segment_bytes is for a new one */
	size_t group_limit;	/* of a shared group's length */
	size_t payload_max;
	size_t group_bytes_max;	  /* of any group's length, with one large commit too */
	uint32_t group_alignment; /* of group starts: 8, or 4096 where the storage may tear any unit */
	struct status health;
	bool closing;

	/* Segments. */
	struct wal_segment **segments; /* by number */
	uint32_t segment_count;
	uint32_t segment_capacity;
	struct wal_segment *current; /* NULL: the next group opens a ready one */
	struct list live;
	struct list dirty;
	struct list ready;
	uint64_t next_lap;
	uint64_t incarnation_lap;
	uint64_t cut;
	uint64_t released; /* the highest log number given to wal_release */
	bool recovering;   /* wal_open is not done: segments are not judged yet */

	/* Log numbers. */
	uint64_t next_log;    /* of the next group that is written */
	uint64_t durable_log; /* everything up to it is synced */
	uint64_t applied_log; /* everything up to it is applied */

	/* Groups. */
	struct list queue;	     /* not yet sealed, in order; only the last may take commits */
	struct list unused;	     /* free shared groups */
	struct wal_group *in_flight; /* sealed, not yet settled */
	bool single_in_use;
	struct list joiners;		 /* first come first */
	struct wal_waiters sync_waiters; /* everything appended before them is sealed or settled */
	struct wait_list published;
	size_t start_predicted;
	uint64_t queued_bytes;
	uint8_t *tail; /* the part-filled last page of the current segment, as it is on disk */

	/* The writer. */
	struct task *writer;
	bool writer_idle;
	struct join tasks;
	uint32_t probes; /* power groups measured so far */
	uint64_t probe_ns[2];
	bool prefers_durable_write;
	uint64_t power_ns; /* what writing and syncing a group takes, on average */

	/* Groups that wait for more commits: gather in wal_writer.c. */
	uint32_t gather_count;	  /* commits there were when the last group was written */
	uint32_t gather_failures; /* waits that were in vain, one after the other */
	uint32_t gather_skips;	  /* so many groups do not wait */

	/* The keeper. */
	struct task *keeper;
	bool keeper_idle;
	uint8_t *keeper_page;
	char *path; /* two buffers of IO_PATH_MAX; the keeper's, or the opener's before it starts */
	char *path_to;
	struct status grow_status; /* of the last attempt */
	uint64_t grow_again_ns;	   /* not before */

	struct wal_counters counters;
};

static inline uint64_t wal_round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

static inline unsigned wal_open_flags(const struct wal *wal)
{
	return wal->options.buffered ? IO_OPEN_BUFFERED : 0;
}

/*
 * Whether a group of that length is copied into the page cache by the shard itself. The ring would hand a
 * buffered write to another thread, and waiting for that takes many times as long as copying a small group
 * does.
 */
static inline bool wal_writes_at_once(const struct wal *wal, size_t length, bool power)
{
	return wal->options.buffered && !power && length <= WAL_AT_ONCE_BYTES_MAX &&
	       io_can_carry_out(shard_io(wal->shard));
}

/* No later commit is acknowledged: remembers why and wakes whoever has to learn it. */
void wal_fail(struct wal *wal, struct status cause, const char *what);
void wal_wake_writer(struct wal *wal);
void wal_update_gauges(struct wal *wal);

/* Derives what depends on the size of the ring's segments. */
void wal_set_segment_bytes(struct wal *wal, uint64_t segment_bytes);

/* --- wal_segment.c --- */

/* The segments' files that the directory holds. */
struct wal_names {
	uint32_t count;
	uint32_t number_max; /* of those */
	bool unfinished;     /* there is a file whose making was cut off */
};

MUST_CHECK struct status wal_segment_list(const struct wal *wal, struct wal_names *names);

/* DIRECTORY/wal-NUMBER.log or .new */
void wal_segment_path(const struct wal *wal, uint32_t number, const char *suffix, char path[IO_PATH_MAX]);

MUST_CHECK struct status wal_segment_allocate(struct wal *wal, uint32_t number, struct wal_segment **segment);

/*
 * Adds one segment to the ring: filled with zeros under another name, headed with the next lap, synced,
 * renamed, the directory synced, put at the end of `ready`. On an error the ring is as before.
 */
MAY_SUSPEND MUST_CHECK struct status wal_segment_create(struct task *self, struct wal *wal);

/* Gives the first dirty segment its next lap, durably, and moves it to the end of `ready`. */
MAY_SUSPEND MUST_CHECK struct status wal_segment_renew(struct task *self, struct wal *wal);

/* `is_short`: it has one group to cover, and commits wait for it. */
MAY_SUSPEND MUST_CHECK struct status wal_segment_sync(struct task *self, struct wal_segment *segment,
						      bool is_short);
MAY_SUSPEND MUST_CHECK struct status wal_file_close(struct task *self, struct io_file *file);

/* Moves every live segment whose commits are all released to `dirty`. */
void wal_reclaim(struct wal *wal);

/* Whether another segment may be made now. */
bool wal_may_grow(const struct wal *wal);
void wal_wake_keeper(struct wal *wal);
extern const struct task_type wal_keeper_type;

/* --- wal_writer.c --- */

extern const struct task_type wal_writer_type;

/* Writes the group, the only one, and settles it, all without a task: wal_writes_at_once holds, and the
 * current segment has the room. */
MUST_CHECK struct status wal_commit_at_once(struct wal *wal, struct wal_group *group);

/* Syncs every segment that needs it; then everything written is durable. `is_short`: see wal_segment_sync. */
MAY_SUSPEND MUST_CHECK struct status wal_sync_segments(struct task *self, struct wal *wal, bool is_short);

/* Writes a group without commits that says that everything before it is durable, and syncs it. For close:
 * the writer has ended. */
MAY_SUSPEND MUST_CHECK struct status wal_write_marker(struct task *self, struct wal *wal);

/* --- wal_stream.c --- */

/* Reads one segment from front to back, each byte once, one chunk ahead of the reader. */
struct wal_stream {
	struct shard *shard;
	struct wal_segment *segment;
	uint8_t *buffer; /* page-aligned */
	size_t capacity;
	uint64_t base;	/* offset in the segment of buffer[0]; a multiple of 4096 */
	size_t filled;	/* bytes behind it that are there */
	uint64_t limit; /* offset behind the last byte wanted; a multiple of 4096 */
	uint64_t bytes_read;
	bool reading;
	struct io_batch batch;
	struct io_request request;
};

/* `group_bytes_max`: the longest group that will be asked for. */
MUST_CHECK struct status wal_stream_init(struct wal_stream *stream, struct shard *shard,
					 size_t group_bytes_max);
void wal_stream_free(struct wal_stream *stream);
void wal_stream_begin(struct wal_stream *stream, struct wal_segment *segment, uint64_t from, uint64_t limit);

/* Waits for the read that is under way. Must be called before the stream begins anew or is freed. */
MAY_SUSPEND void wal_stream_end(struct task *self, struct wal_stream *stream);

/*
 * Makes [offset, offset + size) available at *at, until the next call. Offsets never go back. The size is at
 * most group_bytes_max.
 */
MAY_SUSPEND MUST_CHECK struct status wal_stream_need(struct task *self, struct wal_stream *stream,
						     uint64_t offset, size_t size, const uint8_t **at);

/* Finds whether a whole, right group of lap `lap` (0: of any lap) stands at `offset`. *bytes: the group,
 * until the next call on the stream. */
MAY_SUSPEND MUST_CHECK struct status wal_stream_group(struct task *self, const struct wal *wal,
						      struct wal_stream *stream, uint64_t lap,
						      uint64_t offset, struct wal_group_header *header,
						      const uint8_t **bytes, bool *found);

/* The next offset >= `offset` where a right group of lap `lap` (0: any) begins; *found false: none. */
MAY_SUSPEND MUST_CHECK struct status wal_stream_search(struct task *self, const struct wal *wal,
						       struct wal_stream *stream, uint64_t lap,
						       uint64_t *offset, struct wal_group_header *header,
						       bool *found);

/* --- wal_replay.c --- */

/*
 * Finds the segments, reads them, hands commits to options.replay, judges what is missing, and leaves the
 * ring in order: live and dirty filled, next_lap, next_log and the incarnation set.
 */
MAY_SUSPEND MUST_CHECK struct status wal_recover(struct task *self, struct wal *wal,
						 uint64_t flushed_log_number,
						 struct wal_replay_report *report);

#endif
