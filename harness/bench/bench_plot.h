/*
 * bench_plot.h: what the pictures of `cascade bench` share.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_PLOT_H
#define CASCADE_HARNESS_BENCH_BENCH_PLOT_H

#include "harness/bench/bench_report.h"
#include "harness/plot.h"
#include "harness/plot_picture.h"

/* Two lines at the top: what is shown, and in small print what the marks mean. */
void bench_put_heading(const struct picture *picture, const char *title, const char *subtitle);

/*
 * For each measure with sizes, each of its sides that has variants, and each number: the number against the
 * size, with a line for each variant and each shared side. A plain form has the colour of what it is a form
 * of. Errors: as plot_draw; after UNSUPPORTED all scripts and data are there.
 */
MUST_CHECK struct status bench_plot_sizes(const struct bench_report *report, const char *folder);

#endif
