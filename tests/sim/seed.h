/*
 * seed.h: one seed from its first operation to its last check.
 */
#ifndef CASCADE_SIM_SEED_H
#define CASCADE_SIM_SEED_H

#include <stdint.h>

#include "sim/plan.h"
#include "sim/tally.h"

/* Runs it and adds to the tally; whatever is wrong ends the process (failure.h). Returns a hash of all that
 * happened: the same for the same seed and limits, whichever compiler built it. */
uint64_t run_seed(uint64_t seed, const struct plan_limits *limits, struct tally *tally);

#endif
