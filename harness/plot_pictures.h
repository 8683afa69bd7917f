/*
 * plot_pictures.h: writes the data (.dat) and the gnuplot script (.gp) of each picture of a run.
 */
#ifndef CASCADE_HARNESS_PLOT_PICTURES_H
#define CASCADE_HARNESS_PLOT_PICTURES_H

#include "harness/plot_data.h"

enum { PICTURE_NAME_BYTES = 128 };

/* Told of each picture once its two files are there: `name` without an ending. */
typedef struct status picture_function(void *context, const char *name);

/*
 * Writes into `folder` (which exists):
 *	latency-PHASE-OP	service time over percentile, a curve for each configuration
 *	timeline-PHASE		throughput and latency over time
 *	compare-PHASE		medians and ranges side by side, if there are several configurations
 * and calls `each` after each. Stops at the first error.
 */
MUST_CHECK struct status plot_pictures_write(const struct plot_data *data, const char *folder,
					     picture_function *each, void *context);

#endif
