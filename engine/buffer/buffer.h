/*
 * buffer.h: one shard's buffer pool: a fixed set of 4 KiB frames that hold pages of immutable files, with
 * pins, single-flight loads, and a replaceable strategy (components/cache).
 *
 * A caller sees runs of bytes ("views"), never frames. A view inside one page points into its frame and
 * pins it; one that crosses pages is copied into a slot of its own, so its bytes are contiguous either way;
 * one of more than BUFFER_POOLED_PAGES pages is read past the pool, straight into its slot. Files are never
 * modified while known here, and file ids are never used twice, so a resident page is never stale.
 *
 * All functions on the shard's own thread.
 */
#ifndef CASCADE_BUFFER_BUFFER_H
#define CASCADE_BUFFER_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "components/cache/cache.h"
#include "runtime/shard.h"
#include "trace/trace.h"

enum { BUFFER_POOLED_PAGES = 16 };

struct buffer_pool;
struct buffer_load;

struct buffer_pool_options {
	uint64_t bytes; /* of frames, strategy, page map and idle slots together; at least 64 pages */
	const struct cache_ops *strategy;
	const void *strategy_options;	 /* borrowed until destroy; NULL: defaults */
	struct trace_recorder *recorder; /* of the pages that are looked up; NULL: nothing is recorded */
};

/* A file as the pool knows it. The owner keeps it alive and open while views or loads of it exist. */
struct buffer_file {
	struct io_file *file;
	uint64_t id;	  /* unique in this pool for ever */
	const char *path; /* for messages; borrowed */
};

struct buffer_view {
	const uint8_t *data;
	size_t size;
	/* Of the frame that the view points into: a word that users may set bits in (say, one for each block
	 * whose checksum was verified); all zero when the page was loaded. NULL for copied views. */
	uint64_t *marks;
	uint32_t frame; /* CACHE_NO_FRAME: a slot */
	void *slot;
};

MUST_CHECK struct status buffer_pool_create(struct shard *shard, const struct buffer_pool_options *options,
					    struct buffer_pool **pool);
/* No views exist any more, and no loads (buffer_drain). */
void buffer_pool_destroy(struct buffer_pool *pool);

/* The view if all its pages are resident: never suspends, never does I/O. False: use buffer_view. */
bool buffer_try_view(struct buffer_pool *pool, const struct buffer_file *file, uint64_t offset, size_t size,
		     struct buffer_view *view);

/*
 * The view of `size` > 0 bytes at `offset`, loading what is missing: adjacent missing pages in one request,
 * and a page that somebody else is loading is waited for, not read again. Fails with STATUS_IO, with
 * STATUS_CORRUPT where the file ends too early, or STATUS_NO_MEMORY; then there is nothing to release.
 */
MAY_SUSPEND MUST_CHECK struct status buffer_view(struct task *self, struct buffer_pool *pool,
						 const struct buffer_file *file, uint64_t offset, size_t size,
						 struct buffer_view *view);

/*
 * A load for a caller without a task, who carries the read out itself: NULL if that cannot be (somebody else
 * is loading some of it, no frame is free, it is too large). buffer_load_request is for io_carry_out, without
 * the shard; buffer_load_end comes afterwards in any case and says how it went. Then buffer_try_view has the
 * bytes, as long as nothing else is done first. Others who want the pages meanwhile wait for them.
 */
MUST_CHECK struct buffer_load *buffer_load_begin(struct buffer_pool *pool, const struct buffer_file *file,
						 uint64_t offset, size_t size);
struct io_request *buffer_load_request(struct buffer_load *load);
MUST_CHECK struct status buffer_load_end(struct buffer_pool *pool, struct buffer_load *load);

/* Starts loading the pages of a range without waiting, if frames are free enough; a hint. */
void buffer_prefetch(struct buffer_pool *pool, const struct buffer_file *file, uint64_t offset, size_t size);

/* Ends the pin or frees the slot; wakes who waits for a frame. Clears the view: a second release, and
 * that of a zeroed view, do nothing. */
void buffer_release(struct buffer_pool *pool, struct buffer_view *view);

/* A slot of `size` bytes for decoded data, as a view; released like any other. Slots in use beyond a
 * 64th of the pool come on top of `bytes` (counters: slot_bytes), so whoever admits operations
 * bounds them. */
MUST_CHECK struct status buffer_slot(struct buffer_pool *pool, size_t size, struct buffer_view *view,
				     uint8_t **bytes);

/*
 * Grants `views` views (of up to BUFFER_POOLED_PAGES pages each) at once to an operation that holds
 * several: waits until they fit beside the grants of others, so that holders never wait for each other in a
 * circle. Operations that hold at most one view at a time and let go of it before they ask for the next
 * need none. `pages`: the frames that may be pinned at once; more than half the pool is granted as half.
 */
MAY_SUSPEND uint32_t buffer_reserve(struct task *self, struct buffer_pool *pool, uint32_t pages);
void buffer_unreserve(struct buffer_pool *pool, uint32_t pages);

/* Waits until no load of the file is under way: prefetches may outlive whoever asked for them. */
MAY_SUSPEND void buffer_drain(struct task *self, struct buffer_pool *pool, uint64_t file_id);

/* Forgets all pages of a file that is going away. No views or loads of it exist (buffer_drain). */
void buffer_forget(struct buffer_pool *pool, uint64_t file_id);

/* Starts loading the cache line of the page map that a view at `offset` will touch first. */
void buffer_warm(const struct buffer_pool *pool, const struct buffer_file *file, uint64_t offset);

/* The recorder for what reads through the pool; NULL: there is none. */
struct trace_recorder *buffer_recorder(const struct buffer_pool *pool);

/* Room for what the table layer shares between the open tables of a pool: the codecs' contexts. */
void buffer_set_local(struct buffer_pool *pool, void *local);
void *buffer_local(const struct buffer_pool *pool);

struct buffer_counters {
	uint64_t hits, misses; /* pages looked up by views */
	uint64_t loads, load_bytes;
	uint64_t joined; /* waited for somebody else's load */
	uint64_t evictions;
	uint64_t frames, frames_used, frames_pinned; /* gauges */
	uint64_t slot_bytes, slot_bytes_peak;	     /* gauges: in use and idle */
};

const struct buffer_counters *buffer_counters(const struct buffer_pool *pool);

#endif
