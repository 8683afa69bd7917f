/*
 * bench_trace_surroundings.h: what stands in for the rest of the engine between two operations of a replay.
 *
 * It touches memory and runs code that nobody needs: so many lines of memory between two operations,
 * somewhere in a region of that size, and so many lines of code. How much of each, no formula knows. It
 * follows from canaries (trace/canary.h): the trace has their readings in the engine, the replay takes its
 * own, and each of the three amounts is raised or lowered until the two agree: lines by what was touched
 * lately (near and middle), the region by what was touched long ago (far), code by the code that was called
 * last (code). The time that memtables took in the engine has no part in it.
 *
 * Owned by one thread.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_TRACE_SURROUNDINGS_H
#define CASCADE_HARNESS_BENCH_BENCH_TRACE_SURROUNDINGS_H

#include <stdbool.h>

#include "base/status.h"
#include "trace/canary.h"

/* Sums of readings; what the clock costs is in each. */
struct surroundings_sum {
	double near, code, middle, far, nothing;
	uint64_t count;
};

/* Of one class of operations. */
struct surroundings_amount {
	double lines; /* touched in 1000 ticks of the engine's */
	double region_bytes;
	double code_lines; /* run in 1000 ticks */
	double lines_due;  /* what is still owed */
	double code_due;
	uint64_t least;			     /* ticks between two operations: what recording takes */
	struct surroundings_sum wanted, had; /* since they were last compared */
};

struct surroundings {
	uint8_t *memory;
	uint64_t random;
	struct surroundings_amount amounts[CANARY_CLASSES];
	/* All readings, for the record. */
	struct surroundings_sum all_wanted[CANARY_CLASSES], all_had[CANARY_CLASSES];
};

MUST_CHECK struct status surroundings_init(struct surroundings *surroundings);
void surroundings_free(struct surroundings *surroundings);

/* Before an operation: in the engine so many ticks went by since the one before. */
void surroundings_pass(struct surroundings *surroundings, enum canary_class class, uint64_t ticks);

/* A reading of the engine's, and one of the replay's own. */
void surroundings_want(struct surroundings *surroundings, enum canary_class class,
		       const struct canary_reading *reading);
void surroundings_have(struct surroundings *surroundings, enum canary_class class,
		       const struct canary_reading *reading);

/* Runs that many lines of code (at most SURROUNDINGS_CODE_LINES); for tests, too. */
enum { SURROUNDINGS_CODE_LINES = 1024 };
void surroundings_run_code(uint64_t lines);

#endif
