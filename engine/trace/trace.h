/*
 * trace.h: recording what reaches the components of a database into a file (trace_format.h), from its opening
 * to its closing, so that a component alone can be given the same again.
 *
 * A `struct trace` is the file; the database makes it. Each shard has a recorder. The layers that call a
 * component have a pointer to it, NULL where nothing is recorded, and call the functions below only behind a
 * test of that pointer; memtables are recorded by a table of functions of their own (traced_memtable.h), so
 * there the data path has no test at all. Components know nothing of it.
 *
 * A recorder fills blocks in memory. A full one is written by a background task of the shard, through
 * engine/io like all else: so who records makes no system call and waits for nothing, borrowers of the shard
 * may record as the resident does, and a simulated world sees these writes too. (A mapped file would spare
 * the copy of a 128 KiB block, but every new page of it costs a fault in the middle of an operation, and
 * stores into it pass the door by.) Memory is bounded: at most TRACE_BLOCKS_MAX blocks wait on a shard. Where
 * the device is slower than that, records are dropped, and counted: the file says that it is not complete.
 *
 * What is recorded takes memory on top of the engine's bound, and time: about 100 ns an operation.
 */
#ifndef CASCADE_TRACE_TRACE_H
#define CASCADE_TRACE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "components/component.h"
#include "components/filters/filter.h"
#include "io/io.h"
#include "runtime/task.h"
#include "trace/canary.h"
#include "trace/trace_format.h"

enum { TRACE_BLOCKS_MAX = 128 };

struct trace;
struct trace_recorder;

/* --- the file: on the thread that opens and closes the database, which `io` belongs to --- */

/*
 * Makes the file and writes its header. A trace that is there is replaced; any other file is left alone:
 * INVALID. `path` is copied.
 */
MUST_CHECK struct status trace_create(struct io *io, const char *path, uint32_t kinds, uint32_t shards,
				      struct trace **trace);

/*
 * After all recorders are closed: writes the header anew, with what there is in it now, and frees. NULL does
 * nothing. A failure is no reason not to close a database: the file then says that it was never closed.
 */
void trace_finish(struct trace *trace, struct io *io);

/* --- the recorder of a shard: on the shard --- */

MAY_SUSPEND MUST_CHECK struct status trace_recorder_open(struct task *self, struct trace *trace,
							 struct trace_recorder **recorder);

/* Writes what there is and frees. Nothing is recorded any more; NULL does nothing. */
MAY_SUSPEND void trace_recorder_close(struct task *self, struct trace_recorder *recorder);

/* The recorder if that kind is recorded (one of enum trace_kinds), else NULL. */
struct trace_recorder *trace_recorder_for(struct trace_recorder *recorder, uint32_t kind);

/* A number that the recorder has not given before. */
uint64_t trace_new_number(struct trace_recorder *recorder);

static inline uint64_t trace_clock(const struct canary *canary)
{
	return canary_clock(canary->counts);
}

/* The canaries of the shard. */
struct canary *trace_canary(struct trace_recorder *recorder);

/* Appends a record. Nothing else is between those of one thread; may be called wherever components may. */
void trace_put(struct trace_recorder *recorder, const struct trace_record *record);

/* --- records that layers put; none goes deep on the caller's stack --- */

/* Which variant of a kind runs. `options` as the variant's functions get them. */
void trace_variant(struct trace_recorder *recorder, enum component_kind kind,
		   const struct component *component, const void *options);

/* --- by the buffer pool --- */
void trace_pool(struct trace_recorder *recorder, uint32_t frames);
void trace_pages(struct trace_recorder *recorder, enum trace_access access, uint64_t file, uint32_t page,
		 uint64_t count);
void trace_forget(struct trace_recorder *recorder, uint64_t file);

/* --- by lookups in tables --- */

/* Which filter it is. */
struct trace_filter {
	uint64_t table;
	uint32_t partition;
	uint32_t block; /* 1 + the block; 0: it is for the whole partition */
	uint32_t keys;	/* of the partition */
	uint32_t blocks;
};

/* filter->may_contain(bytes, hash), recorded. */
bool trace_ask(struct trace_recorder *recorder, const struct filter_ops *filter, struct slice bytes,
	       uint64_t hash, const struct trace_filter *which);
/* What came out after a "maybe". */
void trace_truth(struct trace_recorder *recorder, uint64_t table, uint32_t partition, uint64_t hash,
		 bool is_there);
void trace_table_end(struct trace_recorder *recorder, uint64_t table);

#endif
