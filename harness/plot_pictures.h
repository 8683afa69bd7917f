/*
 * plot_pictures.h: writes the data (.dat) and the gnuplot script (.gp) of each picture of runs.
 */
#ifndef CASCADE_HARNESS_PLOT_PICTURES_H
#define CASCADE_HARNESS_PLOT_PICTURES_H

#include <stdbool.h>

#include "harness/run_data.h"

enum { PICTURE_NAME_BYTES = 128 };

/* Told of each picture once its two files are there: `name` without an ending. */
typedef struct status picture_function(void *context, const char *name);

/*
 * Writes into `folder` (which exists), PHASE with the workload before it where workloads vary ("d1-load"):
 * - latency-PHASE-OP: service time over percentile, a curve for each configuration (the histograms of its
 *   repetitions merged), and the machine's hiccups;
 * - timeline-PHASE: throughput and latency over time;
 * - compare-PHASE: medians with 95 % intervals side by side, if there are several configurations;
 * - throughput, or throughput-WORKLOAD: the throughput of all phases in that form, likewise;
 * - ratios: of throughput to the baseline, with 95 % intervals, all phases, likewise;
 * and calls `each` after each. Records of phases that failed are left out. Stops at the first error.
 */
MUST_CHECK struct status plot_pictures_write(const struct run_data *data, const char *folder,
					     picture_function *each, void *context);

#endif
