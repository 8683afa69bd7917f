/*
 * simulated.h: a disk in memory that loses what was not synced, with a clock of its own; for tests.
 *
 * A world is a disk, its names and its clock. Any number of I/O instances (one for each shard) stand on one
 * world; io_create makes them by the name "simulated" once the world is installed. Everything runs on one
 * thread, and nothing ever sleeps: a request that is submitted gets a time at which it completes, drawn from
 * the world's seed, and waiting moves the clock to the next such time. (A world under a runtime with threads
 * of its own also works as long as one thread alone owns instances: a wait without limit, with nothing under
 * way, then really waits for io_wake. Time is then no longer a function of the seed.) The same seed and the
 * same calls give the same completions, times and bytes: simulated_trace tells two runs apart.
 *
 * What the disk does, unit by unit (512 or 4096 bytes; a unit is never torn):
 *
 * - A write is under way from the poll that enters it until it completes. A read that meets it sees, unit by
 *   unit, what was there before or what is being written. Afterwards reads see it. It is *pending*: durable
 *   only by a sync.
 * - A sync of a file makes durable what was written by writes that had completed when the sync was
 *   *submitted*, and the size that they gave the file. A write with IO_DURABLE makes itself durable, and
 *   nothing that was written before.
 * - Creations, renames, unlinks and made directories are pending until their directory is synced; syncing
 *   the file does not help its name. A rename is one step. Contents follow the file, not its name.
 * - What was allocated and never written reads as zeros. With a capacity, units that were never written or
 *   allocated take room; a write is cut at a page where the room ends, and one that gets none is refused.
 * - Closing a file syncs nothing.
 *
 * A request that its caller carries out itself (io_carry_out) has been done when the call returns: the clock
 * moves to that moment, and what is due before it happens before it.
 *
 * simulated_crash makes another world out of what a crash at this moment could leave, and leaves this one
 * running. The requests themselves go through transfer.h, as over a kernel, so that the handling of short
 * transfers and passing errors is under test too. The world's own memory comes from the C library and not
 * through memory.h: an injected failure hits the engine only.
 */
#ifndef CASCADE_IO_SIMULATED_H
#define CASCADE_IO_SIMULATED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "io/io.h"

struct simulated_world;

/* "simulated"; its instances belong to the world that is installed when they are created. */
extern const struct io_backend io_backend_simulated;

/* All zero is a good choice. */
struct simulated_options {
	uint64_t seed;
	uint32_t unit_bytes;	    /* 512 or 4096; 0: 512 */
	uint64_t capacity_bytes;    /* 0: without limit */
	uint64_t start_ns;	    /* the first reading of the clock; 0: one second */
	uint32_t poll_ns;	    /* time that an io_poll takes; 0: 200 */
	uint32_t clock_ns;	    /* time that a look at the clock takes; 0: 20 */
	uint32_t stalls_in_million; /* so many requests in a million take up to stall_ns_max longer */
	uint64_t stall_ns_max;	    /* 0: 5 s */
};

/* A world with an empty root directory. Aborts where there is no memory, as everything here. */
struct simulated_world *simulated_create(const struct simulated_options *options);

/* No instance stands on it any more. Files may be open. An installed world is taken away. */
void simulated_destroy(struct simulated_world *world);

/*
 * From now on io_create("simulated") makes instances of this world, and it is the process's clock and source
 * of entropy. NULL gives clock and entropy back to the machine. Instances stay with their world, whichever is
 * installed: so a crash image can be opened and checked while the run that it was taken from stands still.
 */
void simulated_install(struct simulated_world *world);

/* The world that an instance of "simulated" stands on. */
struct simulated_world *simulated_world_of(const struct io *io);

/* --- time, for a scheduler that runs all shards on one thread --- */

/*
 * The order of a step: io_poll(io, 0) on the instances, in any order; run what became runnable; when no
 * instance has anything left, simulated_advance. A timer of the runtime's own that is due earlier is reached
 * by simulated_advance_to.
 */
uint64_t simulated_now_ns(const struct simulated_world *world);

/* When the next request completes or the next alarm rings; UINT64_MAX: nothing is under way. */
uint64_t simulated_next_event_ns(const struct simulated_world *world);

/* Moves the clock to the next event and has everything happen that is due then. False: there is none. */
bool simulated_advance(struct simulated_world *world);

/* Moves the clock forward to `ns`; events until then happen at their time. A time that has passed: nothing.
 */
void simulated_advance_to(struct simulated_world *world, uint64_t ns);

/* Whether io_poll(io, 0) has something to do: enter requests, run completions, or report a wake. */
bool simulated_is_ready(const struct io *io);

/* Ends a wait of this instance at that time, as io_wake would; for wrappers that hold requests back. */
void simulated_alarm(struct io *io, uint64_t at_ns);

/* --- seeing what happens --- */

enum simulated_stage {
	SIMULATED_ENTERED,  /* the request is under way */
	SIMULATED_COMPLETED /* it has had its effect, and `complete` has not run yet */
};

/* One kernel call of a request; a short transfer makes several. */
struct simulated_event {
	enum simulated_stage stage;
	enum io_operation operation;
	unsigned instance; /* in order of creation, from 0 */
	uint64_t number;   /* of all events of the world, from 1 */
	uint64_t now_ns;
	const char *path;
	const char *path_to; /* IO_RENAME; else NULL */
	unsigned flags;
	uint64_t offset;
	size_t length;
	int result; /* COMPLETED: as a kernel gives it: bytes, 0 or -errno */
};

/*
 * Called at each event: each is a boundary at which a crash differs from one at the boundary before. The
 * function may take crash images; it must not submit or poll. NULL ends it.
 */
void simulated_observe(struct simulated_world *world,
		       void (*each)(void *context, const struct simulated_event *event), void *context);

/* A hash over all events so far, their times and the bytes written. */
uint64_t simulated_trace(const struct simulated_world *world);

/* What can happen to requests and contents by chance; a test asserts that it did. */
enum simulated_class {
	/* Of a run. */
	SIMULATED_READ_TORN,	/* a read met a write under way and got units from before and after */
	SIMULATED_SYNC_PARTIAL, /* a sync left out a write that had completed, but after its submission */
	SIMULATED_OVERTAKEN,	/* a request completed before one that was entered earlier */
	SIMULATED_STALLED,
	SIMULATED_NO_ROOM,     /* a write or allocation met the capacity */
	SIMULATED_SYNC_FAILED, /* as a wrapper asked */
	/* Of the crash that made this world. */
	SIMULATED_UNIT_OLD,	/* a unit with pending contents fell back to the durable one */
	SIMULATED_UNIT_BETWEEN, /* ... or to one that had been written over already */
	SIMULATED_UNIT_NEWEST,	/* ... or came through */
	SIMULATED_UNIT_GARBAGE,
	SIMULATED_WRITE_TORN, /* a write of which some units came through and some did not */
	SIMULATED_WRITE_UNDER_WAY_KEPT,
	SIMULATED_WRITE_UNDER_WAY_LOST,
	SIMULATED_SIZE_OLD,
	SIMULATED_SIZE_NEW,
	SIMULATED_CREATE_KEPT,
	SIMULATED_CREATE_LOST,
	SIMULATED_RENAME_KEPT,
	SIMULATED_RENAME_LOST,
	SIMULATED_UNLINK_KEPT,
	SIMULATED_UNLINK_LOST,
	SIMULATED_DIRECTORY_KEPT,
	SIMULATED_DIRECTORY_LOST,
	SIMULATED_CLASS_COUNT
};

uint64_t simulated_count(const struct simulated_world *world, enum simulated_class class);
const char *simulated_class_name(enum simulated_class class);

/* --- crashes --- */

enum simulated_crash_kind {
	/*
	 * Power loss. Each unit has its durable content or one of the newer ones, from writes under way too;
	 * each pending size, creation, rename and unlink happened or did not. All of that is durable in the
	 * new world.
	 */
	SIMULATED_POWER,
	/*
	 * The process was killed. What completed is there, and what is pending stays pending: a later loss of
	 * power may take it, though recovery has read it. What was under way happened, did not, or in part.
	 */
	SIMULATED_PROCESS,
};

/* How much of what is pending comes through. */
enum simulated_keep {
	SIMULATED_KEEP_DRAWN, /* one of the others by seed, mostly SOME */
	SIMULATED_KEEP_NONE,
	SIMULATED_KEEP_ALL, /* the newest of everything */
	SIMULATED_KEEP_SOME /* each by itself, with a likelihood that is drawn once for contents, once for
			       names */
};

struct simulated_crash {
	enum simulated_crash_kind kind;
	enum simulated_keep keep;
	uint64_t seed;
	bool ordered; /* writes reach each file, and changes of names the disk, in the order of completion */
	bool garbage; /* POWER: a unit with a write under way may also hold neither old nor new bytes */
	/*
	 * Decides in place of the seed, one thing after the other: which of `count` possibilities, always two
	 * or more, has come about, 0 being the oldest content or size, or that it did not happen. What makes
	 * no difference is not asked: contents that are the same count once. `ordered` and `garbage` are
	 * false then, `keep` says nothing, and what is under way reaches the storage in the order of entry.
	 * So all crashes at a moment can be gone through. NULL: the seed decides.
	 */
	uint32_t (*choose)(void *context, uint32_t count);
	void *context;
};

/*
 * What such a crash, now, leaves behind. The world goes on untouched. The new world has the same clock
 * reading, no instances, no locks, no trace; options as before, seed from the crash's. The caller's.
 */
struct simulated_world *simulated_crash(const struct simulated_world *world,
					const struct simulated_crash *crash);

/* --- from outside: preparing, checking, damaging. Takes no time and leaves no trace. --- */

/* Makes the directory and those above it, durably. */
void simulated_make_path(struct simulated_world *world, const char *path);

/* Makes everything durable that has completed. */
void simulated_settle(struct simulated_world *world);

/* False: no such file. `got`: bytes, less at the end of the file. */
bool simulated_read(const struct simulated_world *world, const char *path, uint64_t offset, void *buffer,
		    size_t length, size_t *got);
bool simulated_size(const struct simulated_world *world, const char *path, uint64_t *size);

/* Calls `each` for every file, directories in order of name. */
void simulated_list_files(const struct simulated_world *world,
			  void (*each)(void *context, const char *path, uint64_t size), void *context);

/* Puts bytes there at rest, pending and durable contents alike, within the file's size: what a bad disk does.
 */
bool simulated_damage(struct simulated_world *world, const char *path, uint64_t offset, const void *bytes,
		      size_t length);

/* A hash of all names, sizes and contents as a reader sees them. */
uint64_t simulated_image(const struct simulated_world *world);

/* Writes the tree below `path` into a real, existing directory, to be opened by a real backend. */
MUST_CHECK struct status simulated_export(const struct simulated_world *world, const char *path,
					  const char *directory);

void simulated_set_capacity(struct simulated_world *world, uint64_t bytes); /* 0: without limit */
uint64_t simulated_used_bytes(const struct simulated_world *world);

/* --- failing syncs, for wrappers --- */

/* What a kernel does when a sync fails. In the flags of IO_SYNC, IO_SYNC_DIRECTORY and durable writes. */
enum simulated_sync_failure {
	/* EIO; what was to be synced counts as clean: readers see it, and no later sync makes it durable. */
	SIMULATED_SYNC_CLEAN_NEW = 1 << 16,
	/* EIO; what was to be synced is gone from the cache too: readers see the durable content again. */
	SIMULATED_SYNC_CLEAN_OLD = 2 << 16,
	/* Reports success, as CLEAN_NEW otherwise; the file's next sync reports EIO, once. */
	SIMULATED_SYNC_LATE = 3 << 16,
	/* EIO; some of it is durable, the rest is as with CLEAN_NEW. */
	SIMULATED_SYNC_PARTLY = 4 << 16,
	/* EIO; everything stays pending, and a sync that succeeds later makes it durable. */
	SIMULATED_SYNC_KEPT = 5 << 16,
	SIMULATED_SYNC_MASK = 7 << 16
};

#endif
