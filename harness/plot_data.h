/*
 * plot_data.h: what a run has left behind, read back for drawing: record.jsonl, timeline.csv, and the names
 * of the histograms. Everything lives in the arena.
 */
#ifndef CASCADE_HARNESS_PLOT_DATA_H
#define CASCADE_HARNESS_PLOT_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "harness/workload.h"

/* Latencies of one operation in one phase of one repetition, in ns; count 0: it did not happen. */
struct plot_latency {
	double count;
	double p50, p99, p999, max;
	const char *hgrm; /* file name in the run's directory; NULL: none */
};

/* One line of record.jsonl. What was not measured is NaN. */
struct plot_record {
	size_t configuration, phase;
	uint32_t repetition;
	double clients;
	double operations, seconds, ops_s, cpu_us_per_op, write_amplification, space_amplification;
	struct plot_latency latency[OPERATION_KINDS];
};

/* One line of timeline.csv. */
struct plot_second {
	size_t configuration, phase;
	uint32_t repetition;
	double t_s;	 /* the end of that second */
	double middle_s; /* between the point before and this one */
	double ops_s;	 /* over the time between them */
	double p50_ns, p99_ns, max_ns;
};

struct plot_configuration {
	const char *hash;
	const char *label;
};

struct plot_data {
	struct arena arena;
	const char *directory;
	const char *experiment;
	struct plot_configuration *configurations; /* by label, numbers in it by size */
	size_t configuration_count;
	const char **phases; /* names, in order */
	size_t phase_count;
	struct plot_record *records;
	size_t record_count;
	struct plot_second *seconds;
	size_t second_count;
	uint32_t repetitions; /* the most of any configuration */
};

/*
 * Reads a run's directory. A last line of record.jsonl that was cut off is left out; a missing
 * timeline.csv is an empty one. Errors: NOT_FOUND (no record.jsonl, or no record in it), CORRUPT (file and
 * line), IO, NO_MEMORY. plot_data_free in any case.
 */
MUST_CHECK struct status plot_data_read(struct plot_data *data, const char *directory);
void plot_data_free(struct plot_data *data);

#endif
