/*
 * run.h: runs an experiment: every repetition of every configuration in a process of its own, one after the
 * other, and writes what they send into the results.
 */
#ifndef CASCADE_HARNESS_RUN_H
#define CASCADE_HARNESS_RUN_H

#include "harness/experiment.h"

struct run_options {
	const char *out;
	bool quiet; /* no progress */
	bool plots;
};

/*
 * Prints progress and what goes wrong on stderr, the table of medians and the path of the results on
 * stdout. Returns the exit code. SIGINT and SIGTERM end the run early with what there is; a second one ends
 * it at once. *interrupted says that one came.
 */
int run_experiment(const struct experiment *experiment, const struct run_options *options, bool *interrupted);

#endif
