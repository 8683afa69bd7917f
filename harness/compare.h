/*
 * compare.h: sets configurations beside each other, phase by phase and metric by metric, with the ratio to a
 * baseline, its 95 % interval, and a verdict (statistics.h says how and why).
 */
#ifndef CASCADE_HARNESS_COMPARE_H
#define CASCADE_HARNESS_COMPARE_H

#include "harness/compare_metric.h"

/* The difference below which nothing is claimed unless the user says otherwise. */
#define COMPARE_NOISE_FLOOR 0.01

struct compare_options {
	const char *baseline;	    /* name or label; NULL: the one that the runs say, or the first */
	const char *const *metrics; /* names; none: the standard ones */
	size_t metric_count;
	double noise_floor; /* 0.01: 1 % */
};

/* One configuration, phase and metric. */
struct compare_cell {
	struct sample *samples; /* of repetitions that are valid and have the number, in the record's unit */
	size_t count;
	struct spread spread;
	struct interval interval;     /* of the configuration's own numbers (of their geometric mean) */
	struct comparison comparison; /* method RATIO_NONE in the baseline's own cells */
	double p_holm; /* comparison.p, with all configurations of the phase and metric in mind */
};

struct compare {
	const struct run_data *data; /* borrowed */
	struct metric *metrics;
	size_t metric_count;
	size_t baseline; /* configuration */
	double noise_floor;
	struct compare_cell *cells;
	size_t invalid; /* records left out */
};

/*
 * Works everything out; the data must outlive it. Errors: INVALID (an unknown baseline or metric), with the
 * problem. compare_free in any case.
 */
MUST_CHECK struct status compare_make(struct compare *compare, const struct run_data *data,
				      const struct compare_options *options, struct problem *problem);
void compare_free(struct compare *compare);

const struct compare_cell *compare_at(const struct compare *compare, size_t phase, size_t metric,
				      size_t configuration);

/* The hash that a configuration has in a phase: its options may follow the workload. */
const char *compare_hash(const struct compare *compare, size_t phase, size_t configuration);

/*
 * Whether there is anything to compare: a phase with two configurations. Otherwise the problem says why not:
 * runs of different workloads, or a single configuration.
 */
bool compare_is_possible(const struct run_data *data, struct problem *problem);

/* The geometric mean over all phases of the ratios of the first metric; NaN if a phase has none. */
double compare_overall(const struct compare *compare, size_t configuration);

/* "cascade compare": tables in Markdown, aligned. */
void compare_print(const struct compare *compare, FILE *file);

/* The same as one JSON document. */
void compare_write_json(const struct compare *compare, FILE *file);

/* One row for each phase, metric and configuration, with a line of names on top; numbers in the record's
 * units. */
void compare_write_csv(const struct compare *compare, FILE *file);

/* summary.csv of the run in that directory: the text of compare_write_csv. Errors as run_data_read. */
MUST_CHECK struct status compare_summarize_run(const char *directory, FILE *file);

/* `cascade compare RUN...`: argv[0] is "compare". Returns the process's exit code. */
int compare_command(int argc, char **argv);

#endif
