/*
 * campaign.h: many seeds, one after the other, in a child process that may fail, and what to do when it does.
 */
#ifndef CASCADE_SIM_CAMPAIGN_H
#define CASCADE_SIM_CAMPAIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/failure.h"
#include "sim/plan.h"
#include "sim/tally.h"

struct campaign {
	const char *program; /* for the command that reproduces */
	uint64_t from, seeds;
	struct plan_limits limits;
	const char *state;    /* file that carries the tally from stretch to stretch; NULL: none */
	bool keep_going;      /* after a failure, with the next seed */
	bool shrink;	      /* a failure to the smallest plan that still fails */
	bool hash;	      /* print each seed's trace */
	bool quiet;	      /* no progress, no table */
	unsigned seconds_max; /* stops before a seed when they are over; 0: no limit */
};

enum {
	CAMPAIGN_MISSING_SEEDS = 500, /* so many seeds together, and everything must have happened */
	CAMPAIGN_HANG_SECONDS = 100,  /* for one seed */
};

/* Returns how many seeds failed, plus one if something never happened that should have. `tally`: what this
 * stretch and those before it saw. */
uint64_t campaign_run(const struct campaign *campaign, struct tally *tally);

/* Runs one seed in a child. True: it failed, and `text` (of SIM_FAILURE_BYTES) says how. */
bool campaign_fails(uint64_t seed, const struct plan_limits *limits, char *text);

/* The command that runs this seed with these limits, in `text`. */
void campaign_command(const char *program, uint64_t seed, const struct plan_limits *limits, char *text,
		      size_t size);

/* Makes the limits as tight as they get while the seed still fails. Tells of its steps on stderr. */
void campaign_shrink(uint64_t seed, struct plan_limits *limits);

#endif
