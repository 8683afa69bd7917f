/*
 * bench_report.h: what `cascade bench` prints and leaves behind in OUT/bench-KIND/UTC-HASH/ (and a link
 * OUT/bench-KIND/latest):
 *
 * bench.jsonl: one JSON object a line for each side of each variant at each size in each repetition:
 * schema_version (1), kind, run (the directory's name), measure, variant (null: none), size (null: none),
 * side, parameter, repetition, run_order, seconds, quick, numbers {NAME: number or null}.
 *
 * claims.json: what they say. `claims` is all that has a bound or a reference: [{kind: claim | growth |
 * plain, name, what, measure, variant, size, number, unit, ours {side, variant and size (where there are
 * any), count, median, least, most}, reference {the same} or null, ratio, interval [low, high] or null, bound
 * {kind, limit} or null, verdict: holds | broken | unclear | null, missing: text or null}]. Of a kind that
 * has variants: `baseline`, and `values`, the same objects with kind `value`: each number of each variant,
 * with the baseline's as reference. `remarks` [{measure, variant, size, side, failure, text}].
 *
 * provenance.json: where the numbers come from (provenance.h).
 *
 * plots/: bench-KIND has the ratios with their intervals and bounds, bench-KIND-MEASURE-NUMBER a number
 * against the size, a line for each variant. Each with its script and data.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_REPORT_H
#define CASCADE_HARNESS_BENCH_BENCH_REPORT_H

#include <stdio.h>

#include "harness/bench/bench_judge.h"
#include "harness/text_table.h"

struct bench_report {
	const struct bench_results *results;
	const struct bench_row *rows;
	size_t row_count;
	const char *directory; /* of the run; exists */
	const char *run;       /* its name */
};

/* The tables, and the remarks below them. */
void bench_print_table(const struct bench_report *report, FILE *file);

/*
 * Of them, those of variants: for each number of each measure a table with a line for each variant, and for
 * each size its median and its ratio to the baseline; and for each measure what X makes of it beside plain_X.
 */
void bench_print_variants(const struct bench_report *report, FILE *file);

/* Cells of these tables. */
void bench_add_ratio(struct text_table *table, double ratio);
void bench_add_interval(struct text_table *table, const struct interval *interval);

/* The object of claims.json, with the name of the run's directory. */
void bench_print_json(const struct bench_report *report, FILE *file);

/*
 * Makes OUT/bench-KIND/UTC-HASH and points the link at it; *directory and *run are the caller's
 * (memory_free). Errors: IO.
 */
MUST_CHECK struct status bench_make_directory(const struct bench_options *options, const char *out,
					      char **directory, char **run);

/* Writes bench.jsonl, claims.json and provenance.json. Errors: IO, NO_SPACE. */
MUST_CHECK struct status bench_write_files(const struct bench_report *report);

/* Draws plots/: the ratios, and what there is against sizes. Errors: as plot_draw. */
MUST_CHECK struct status bench_plot(const struct bench_report *report);

#endif
