/*
 * cell_run.h: one repetition of one configuration, in a process of its own: opens the engine, runs the
 * phases, and sends what they leave behind to the process that writes results.
 */
#ifndef CASCADE_HARNESS_CELL_RUN_H
#define CASCADE_HARNESS_CELL_RUN_H

#include <signal.h>
#include <sys/types.h>

#include "harness/experiment.h"

struct cell_job {
	const struct experiment *experiment;
	const struct cell *cell;
	const char *run; /* the name of the run's directory */
	uint32_t repetition, run_order;
	const char *database; /* directory; exists */
};

/*
 * Starts the process; *fd is where its messages are read (channel.h). SIGTERM asks it to end early but
 * whole; SIGINT, which a terminal sends to it as well, it ignores; it does not outlive its parent. Returns
 * -1 with errno. Call while the process has one thread.
 */
pid_t cell_start(const struct cell_job *job, int *fd);

#endif
