/*
 * bench_judge.h: what the repetitions say of each claim: medians, the ratio with its 95 % interval, and
 * whether the bound holds.
 *
 * The ratio is that of the medians, and its interval the percentile bootstrap over the repetitions
 * (statistics.h). A bound holds if the whole interval lies on its right side, and is broken if the whole
 * interval lies on the other; where it lies across, more repetitions are needed, and the verdict says so.
 * With one repetition there is no interval, and no verdict unless the measure is one that is made once.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_JUDGE_H
#define CASCADE_HARNESS_BENCH_BENCH_JUDGE_H

#include "harness/bench/bench_run.h"
#include "harness/statistics.h"

enum bench_verdict {
	BENCH_SAYS_NOTHING, /* no bound, no numbers, or too few of them */
	BENCH_HOLDS,
	BENCH_BROKEN,
	BENCH_UNCLEAR,
};

struct bench_row {
	const struct bench_measure *measure;
	const struct bench_claim *claim;
	const char *variant;
	struct spread ours, reference; /* count 0: not measured */
	double ratio;		       /* of the medians; NaN: unknown */
	struct interval interval;
	enum bench_verdict verdict;
	const char *missing; /* why a side has no numbers; NULL: it has, or nobody knows */
};

/* One row for each claim of each measure that was chosen, in the order of the kind. The caller frees *rows
 * with memory_free. */
void bench_judge(const struct bench_results *results, struct bench_row **rows, size_t *count);

/* "holds", "BROKEN", "unclear", "-" */
const char *bench_verdict_text(enum bench_verdict verdict);

/* "10.4 ns", "44.1 us", "1.23 M/s", "1.2 GiB"; "-" if it is NaN. */
const char *bench_format_number(enum bench_unit unit, double number, char *buffer, size_t size);

/* "<= 1.2", ">= 2", "<= +250 us", "<= 1.2 GiB"; "" without a bound. */
const char *bench_format_bound(const struct bench_row *row, char *buffer, size_t size);

/* Where the bound lies on the axis of the ratio; NaN if there is none, or it is not one of the ratio. */
double bench_ratio_bound(const struct bench_row *row);

#endif
