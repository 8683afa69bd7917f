/*
 * validity.h: how far a measurement can be trusted, and why not further.
 *
 * "invalid": something went wrong, the numbers mean nothing. "suspect": they were taken, but the build, the
 * machine or the length of the phase makes them a poor basis for a claim. "valid": none of that was seen.
 */
#ifndef CASCADE_HARNESS_VALIDITY_H
#define CASCADE_HARNESS_VALIDITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "harness/phase.h"

enum { VALIDITY_REASONS_MAX = 24, VALIDITY_REASON_BYTES = 200 };

struct validity {
	bool invalid;
	size_t reason_count;
	char reasons[VALIDITY_REASONS_MAX][VALIDITY_REASON_BYTES];
};

/* "valid", "suspect" or "invalid". */
const char *validity_verdict(const struct validity *validity);

/* What the whole machine did until now; two of them bracket a phase. */
struct machine_sample {
	uint64_t wall_ns;
	uint64_t busy_ticks, steal_ticks, all_ticks; /* of all CPUs; all_ticks 0: unknown */
	uint64_t swap_pages;
	double own_cpu_seconds;
};

void machine_sample(struct machine_sample *sample);

struct validity_input {
	const struct phase *phase;
	const struct phase_result *result;
	const struct machine_sample *before, *after;
	const char *notice;	/* the driver's; "" */
	uint64_t dataset_bytes; /* logical size of what lies in the database; UINT64_MAX: unknown */
	uint64_t cache_bytes;	/* the engine's cache; UINT64_MAX: unknown */
};

void validity_judge(const struct validity_input *input, struct validity *validity);

#endif
