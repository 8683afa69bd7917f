/*
 * bench_report.h: what `cascade bench` prints and leaves behind in OUT/bench-KIND/UTC-HASH/ (and a link
 * OUT/bench-KIND/latest):
 *
 * bench.jsonl		One JSON object a line for each side of each repetition: schema_version (1), kind, run
 *			(the directory's name), measure, variant (null: none), side, parameter, repetition,
 *			run_order, seconds, quick, numbers {NAME: number or null}.
 * claims.json		What they say: claims [{name, what, measure, variant, number, unit, ours {side, count,
 *			median, least, most}, reference {the same}, ratio, interval [low, high] or null, bound
 *			{kind, limit} or null, verdict: holds | broken | unclear | null, missing: text or
 *null}], remarks [{measure, side, failure, text}]. provenance.json	Where the numbers come from
 *(provenance.h).
 * plots/		The ratios with their intervals and bounds, with the script and data of the picture.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_REPORT_H
#define CASCADE_HARNESS_BENCH_BENCH_REPORT_H

#include <stdio.h>

#include "harness/bench/bench_judge.h"

struct bench_report {
	const struct bench_results *results;
	const struct bench_row *rows;
	size_t row_count;
	const char *directory; /* of the run; exists */
	const char *run;       /* its name */
};

/* The table, and the remarks below it. */
void bench_print_table(const struct bench_report *report, FILE *file);

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

/* Draws plots/bench-KIND. Errors: as plot_draw. */
MUST_CHECK struct status bench_plot(const struct bench_report *report);

#endif
