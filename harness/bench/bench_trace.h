/*
 * bench_trace.h: what an engine recorded, given to the parts alone: `cascade bench KIND --trace FILE`.
 *
 * The measure has each variant do what the recorded one did in the engine, and sets what comes of it
 * (predicted) beside what was recorded (observed). Predictions are bound to 20 % only for the variant that
 * the engine ran: for the others nothing was observed, and the ratio says by how much the engine's share of
 * that part would change. docs/traces.md says what is modelled, and how.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_TRACE_H
#define CASCADE_HARNESS_BENCH_BENCH_TRACE_H

#include "components/component.h"
#include "harness/bench/bench.h"
#include "trace/trace_reader.h"

enum { BENCH_TRACE_NAME_BYTES = 64, BENCH_TRACE_OPTIONS_BYTES = COMPONENT_OPTIONS_SIZE_MAX };

/* Which variant the engine ran, and its options as they are written in the trace. */
struct bench_traced_variant {
	char name[BENCH_TRACE_NAME_BYTES];
	char options[1024]; /* "bits_per_key=10 ..." */
};

/* A trace that is open. */
struct bench_trace {
	int fd;
	struct trace_file file;
	enum component_kind kind;
	struct bench_traced_variant variant;
};

/* The one that bench_trace_kind was given. */
MUST_CHECK struct status bench_trace_open(struct bench_trace *trace);
/* Another one. */
MUST_CHECK struct status bench_trace_open_file(struct bench_trace *trace, enum component_kind kind,
					       const char *path);
void bench_trace_close(struct bench_trace *trace);

/* The variant's options: as they were recorded if it is the one that was, else the defaults. Fills
 * BENCH_TRACE_OPTIONS_BYTES bytes. */
void bench_trace_options(const struct bench_trace *trace, const struct component *component, void *options);

/*
 * Puts into job->notice what a reader of the numbers has to know. Whether a trace with gaps can be used at
 * all, the measure says: UNSUPPORTED, with the reason, if not.
 */
MUST_CHECK struct status bench_trace_check(const struct bench_trace *trace, bool may_have_gaps,
					   struct bench_job *job);

extern const struct bench_measure bench_trace_memtable;
extern const struct bench_measure bench_trace_cache;
extern const struct bench_measure bench_trace_filter;

#endif
