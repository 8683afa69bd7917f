/*
 * statistics.h: what a few repetitions allow to be said.
 *
 * The unit of replication is a repetition: a process of its own on a fresh database. Operations inside one
 * are far from independent and never count as samples here. So n is small, often 3 to 5, and the methods
 * are chosen for that:
 *
 * - **Ratios within blocks.** A run goes through all configurations once, in shuffled order, before it goes
 *   through them again: each repetition is a block that meets the same state of the machine. Where two
 *   configurations share at least two blocks, the ratio is the geometric mean of the ratios within the
 *   blocks, and its 95 % interval is Student's t on their logarithms. What drifts from block to block
 *   cancels out. At n = 3 this covers 95 % where the percentile bootstrap of the same data covers 75 %
 *   (a resample of three numbers cannot leave their range). The test next to this file simulates it.
 * - **Ratios of medians** otherwise (runs at different times): the percentile bootstrap with 10,000
 *   resamples from a fixed seed, so that the same records always give the same interval. With fewer than
 *   five repetitions it is widened, on a logarithmic scale, by the factors that the simulation shows to be
 *   needed.
 * - n = 1 has no interval, and no verdict.
 *
 * Numbers that are not known (NaN) must be left out by the caller. No function keeps state; none fails
 * except by NaN in its answer.
 */
#ifndef CASCADE_HARNESS_STATISTICS_H
#define CASCADE_HARNESS_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STATISTICS_RESAMPLES = 10000 };

#define STATISTICS_SEED 0x63617363616465ull

struct spread {
	double median, least, most; /* NaN if count is 0 */
	size_t count;
};

/* An interval that covers the true value in 95 % of cases; NaN, NaN: there is none. */
struct interval {
	double low, high;
};

/* NaN if there is none. Values stay as they are. */
double statistics_median(const double *values, size_t count);
struct spread statistics_spread(const double *values, size_t count);

/* Of positive numbers; NaN if there is none or one is not positive. */
double statistics_geometric_mean(const double *values, size_t count);

/* The 97.5 % quantile of Student's distribution with that many degrees of freedom (at least 1). */
double statistics_student(size_t freedom);

/* Of the geometric mean, from Student's t on logarithms. None with fewer than two or with what is not
 * positive. */
struct interval statistics_mean_interval(const double *values, size_t count);

/*
 * Percentile bootstrap of median(b) / median(a), both resampled, widened below five repetitions as said
 * above. None with fewer than two of either or where a resampled median is not positive.
 */
struct interval statistics_bootstrap_ratio(const double *a, size_t a_count, const double *b, size_t b_count,
					   size_t resamples, uint64_t seed);

/*
 * Two-sided p of the Mann-Whitney test that a and b are alike: exact for up to 60 numbers in all (ties
 * included, as a permutation of their mean ranks), else by the normal approximation. The least p that n
 * repetitions of each can give is 2 / C(2n, n): 0.1 for 3, 0.029 for 4, 0.008 for 5. NaN if either is empty.
 */
double statistics_mann_whitney(const double *a, size_t a_count, const double *b, size_t b_count);

/* Hodges and Lehmann's estimate of the shift: the median of all differences b - a. */
double statistics_hodges_lehmann(const double *a, size_t a_count, const double *b, size_t b_count);

/* How far b lies above a: the share of pairs with b > a less that with b < a, -1 .. 1. */
double statistics_cliffs_delta(const double *a, size_t a_count, const double *b, size_t b_count);

/* Replaces p values of one family of comparisons by Holm's, which hold for all of them together. NaN stays.
 */
void statistics_holm(double *p, size_t count);

/* --- two configurations --- */

/* One repetition's number; `block` tells which repetitions met the same conditions. */
struct sample {
	double value;
	uint32_t block;
};

enum ratio_method {
	RATIO_NONE,    /* one of them has no repetition, or is not positive where that is needed */
	RATIO_SINGLE,  /* no interval: one repetition of either */
	RATIO_BLOCKS,  /* within blocks */
	RATIO_MEDIANS, /* of medians */
};

/* In the direction that is better: "slower" is a throughput that is lower, and a latency that is higher. */
enum verdict {
	VERDICT_NONE,		   /* no interval */
	VERDICT_BETTER,		   /* the interval lies beyond the noise floor */
	VERDICT_WORSE,		   /* likewise, on the other side */
	VERDICT_INDISTINGUISHABLE, /* the interval lies within the noise floor */
	VERDICT_INCONCLUSIVE,	   /* neither: more repetitions are needed */
};

struct comparison {
	enum ratio_method method;
	size_t blocks; /* that both have */
	double ratio;  /* of the configuration to the baseline; NaN: unknown */
	struct interval interval;
	double ratio_of_medians;
	struct interval medians_interval; /* bootstrap */
	double p;			  /* Mann-Whitney */
	double delta;			  /* Cliff's */
	double shift;			  /* Hodges and Lehmann's, in the metric's unit */
	enum verdict verdict;
};

/*
 * Compares a configuration with its baseline. `noise_floor` (0.01: 1 %) is the difference below which
 * nothing is claimed.
 */
struct comparison statistics_compare(const struct sample *baseline, size_t baseline_count,
				     const struct sample *other, size_t other_count, double noise_floor,
				     bool more_is_better);

/* What an interval of a ratio says against the floor. */
enum verdict statistics_verdict(struct interval interval, double noise_floor, bool more_is_better);

#endif
