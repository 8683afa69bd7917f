/*
 * bench_trace_replay.h: memtables that do what a shard's memtables did in the engine.
 *
 * They are as many at a time as there were, in arenas like the engine's, and get the same operations in the
 * same order. Every answer is compared with what was recorded: what a get finds, and where a seek comes to.
 * Only what the contract leaves open is not: what an iterator steps over, for a variant may or may not keep
 * versions that nobody needs, and may or may not see what was put in after its iterator was positioned.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_TRACE_REPLAY_H
#define CASCADE_HARNESS_BENCH_BENCH_TRACE_REPLAY_H

#include "components/memtable/memtable.h"
#include "harness/bench/bench_trace.h"
#include "harness/bench/bench_trace_surroundings.h"

enum replay_operation { REPLAY_INSERT, REPLAY_GET, REPLAY_SEEK, REPLAY_STEP, REPLAY_OPERATIONS };

/*
 * What some operations took, in ticks and without what the clock costs. An operation that took over 100 us
 * was interrupted, unless it is a seek, for which an order may have to be made first: such ones are counted,
 * but the time is not their own.
 */
struct replay_tally {
	uint64_t count[REPLAY_OPERATIONS];
	double ticks[REPLAY_OPERATIONS];
	uint64_t readings[REPLAY_OPERATIONS]; /* pairs of readings of the clock in them */
	double clock_cost;		      /* of such a pair, in ticks; has been taken off */
	double interrupted_ticks;
	uint64_t checked;
	uint64_t mismatches;
	char mismatch[128]; /* the first of them */
};

struct replay_options {
	const struct trace_file *file;
	uint32_t shard;
	uint64_t operations_max;	   /* so many are looked at */
	const struct memtable_ops *ops;	   /* NULL: nothing is replayed, but what was recorded is added up */
	const void *options;		   /* of the variant */
	struct surroundings *surroundings; /* NULL: the memtables have the caches to themselves */
	double ns_per_tick;
};

/* Errors: CORRUPT: the trace refers to what is not there. NO_MEMORY. A mismatch is none. */
MUST_CHECK struct status replay_shard(const struct replay_options *options, struct replay_tally *tally);

#endif
