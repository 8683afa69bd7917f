/*
 * compare_metric.h: what of a record is compared: a number at a path, how it is called, and which way is
 * better.
 */
#ifndef CASCADE_HARNESS_COMPARE_METRIC_H
#define CASCADE_HARNESS_COMPARE_METRIC_H

#include <stdbool.h>
#include <stdio.h>

#include "harness/problem.h"
#include "harness/run_data.h"
#include "harness/statistics.h"

enum metric_kind {
	METRIC_SPEED,  /* faster, slower */
	METRIC_AMOUNT, /* less, more */
	METRIC_OTHER,  /* lower, higher: nobody said which is better */
};

enum { METRIC_TEXT_BYTES = 96 };

struct metric {
	char path[METRIC_TEXT_BYTES]; /* in the record */
	char name[METRIC_TEXT_BYTES]; /* "read p99" */
	const char *unit;	      /* "us"; "" */
	double divisor;		      /* of the record's number, to have it in that unit */
	bool more_is_better;
	enum metric_kind kind;
	double beyond; /* of a percentile: the share of operations beyond it; else 0 */
};

/*
 * The number, in the record's unit. NaN: not measured, or a percentile with fewer than a hundred operations
 * beyond it. Numbers for each operation are worked out where an older record does not have them.
 */
double metric_value(const struct metric *metric, const struct json *record);

/*
 * The metrics to compare, each known to at least one record; the caller frees *metrics with memory_free.
 * Without names: throughput, percentiles of every operation, CPU time, device requests and bytes,
 * amplification, memory. A name is one of these ("throughput", "p99", "read.p99", "cpu"), or the path of any
 * number of a record ("counters.wal.syncs"). INVALID: a name that no record knows; the problem says so.
 */
MUST_CHECK struct status metrics_choose(const struct run_data *data, const char *const *names, size_t count,
					struct metric **metrics, size_t *metric_count,
					struct problem *problem);

/* "faster", "more", "indistinguishable", ...; "" for none. */
const char *metric_verdict(const struct metric *metric, enum verdict verdict);

/* The short names, for help: several lines, each ended. */
void metrics_list(FILE *file);

#endif
