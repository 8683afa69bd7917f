/*
 * bench_judge.h: what the repetitions say of each claim: medians, the ratio with its 95 % interval, and
 * whether the bound holds.
 *
 * The ratio is that of the medians, and its interval the percentile bootstrap over the repetitions
 * (statistics.h). A bound holds if the whole interval lies on its right side, and is broken if the whole
 * interval lies on the other; where it lies across, more repetitions are needed, and the verdict says so.
 * With one repetition there is no interval, and no verdict unless the measure is one that is made once.
 *
 * Of a kind that has variants there are more rows than its claims: see enum bench_row_kind.
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

enum bench_row_kind {
	BENCH_ROW_CLAIM,  /* one of the measure's claims, for a variant at a size */
	BENCH_ROW_GROWTH, /* a variant at one size, beside itself at another */
	BENCH_ROW_VALUE, /* a number of a variant at a size; beside the baseline variant's, where that has one
			  * and the number is one that is compared */
	BENCH_ROW_PLAIN, /* X beside plain_X: at least as fast */
};

/* Where a number comes from. */
struct bench_place {
	unsigned side;
	const char *variant; /* NULL: none */
	uint64_t size;	     /* 0: none */
};

struct bench_row {
	const struct bench_measure *measure;
	enum bench_row_kind kind;
	const char *name; /* the claim's or growth's; of others the number's */
	const char *what; /* NULL: there is nothing to say */
	unsigned number;
	enum bench_bound bound;
	double limit;
	bool has_reference;
	struct bench_place ours_at, reference_at;
	struct spread ours, reference; /* count 0: not measured, or no reference */
	double ratio;		       /* of the medians; NaN: unknown */
	struct interval interval;
	enum bench_verdict verdict;
	const char *missing; /* why a side has no numbers; NULL: it has, or nobody knows */
};

/*
 * The rows of each measure that was chosen, in the order of the kind: its claims (at each size, of each
 * variant), what grows, values, and plain forms. The caller frees *rows with memory_free.
 */
void bench_judge(const struct bench_results *results, struct bench_row **rows, size_t *count);

/* The number is compared between variants. */
bool bench_is_compared(const struct bench_measure *measure, unsigned number);

/* Of a number at a place, over the repetitions. */
struct spread bench_spread_of(const struct bench_results *results, const struct bench_measure *measure,
			      unsigned number, const struct bench_place *place);

/* "holds", "BROKEN", "unclear", "-" */
const char *bench_verdict_text(enum bench_verdict verdict);

/* "10.4 ns", "44.1 us", "1.23 M/s", "1.2 GiB", "1.23 %"; "-" if it is NaN. */
const char *bench_format_number(enum bench_unit unit, double number, char *buffer, size_t size);

/* One of the measure's sizes: "10 k", "64 MiB"; "" for none. */
const char *bench_format_size(const struct bench_measure *measure, uint64_t value, char *buffer, size_t size);

/* "<= 1.2", ">= 2", "<= +250 us", "<= 1.2 GiB"; "" without a bound. */
const char *bench_format_bound(const struct bench_row *row, char *buffer, size_t size);

/* Where the bound lies on the axis of the ratio; NaN if there is none, or it is not one of the ratio. */
double bench_ratio_bound(const struct bench_row *row);

#endif
