/*
 * progress.h: how far a run is, on stderr: a bar with rate and time left, redrawn ten times a second, on a
 * terminal; a plain line every few seconds, and one for the end of each phase, elsewhere.
 */
#ifndef CASCADE_HARNESS_PROGRESS_H
#define CASCADE_HARNESS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "harness/workload.h"

struct progress {
	FILE *file;
	bool quiet, terminal;
	bool drawn; /* a bar stands on the current line */
	uint32_t run, runs;
	const char *label; /* of the configuration */
	/* of the phase under way */
	const struct phase *phase;
	uint64_t last_ns, last_operations, last_line_ns;
	double rate;
};

/* Looks whether `file` is a terminal. */
void progress_init(struct progress *progress, FILE *file, bool quiet);

/* A new repetition: number `run` of `runs`, from 1. `label` is kept. */
void progress_begin(struct progress *progress, uint32_t run, uint32_t runs, const char *label);

/* `now_ns`: clock_now_ns. `total`: operations of the whole phase, 0 if it ends by time. */
void progress_update(struct progress *progress, const struct phase *phase, double seconds,
		     uint64_t operations, uint64_t total, uint64_t now_ns);

/* The phase has ended. */
void progress_phase_done(struct progress *progress, const struct phase *phase, double ops_s);

/* Takes the bar away, so that other text can be printed. */
void progress_clear(struct progress *progress);

/* The share of a phase that is done, 0 .. 1, or less than 0 if it cannot be told. */
double progress_share(const struct phase *phase, double seconds, uint64_t operations, uint64_t total);

#endif
