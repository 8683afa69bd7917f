/*
 * bench_plot.c: one picture of a kind: for each claim the ratio as a bar from 1, its 95 % interval as
 * whiskers, and its bound as a mark, on a logarithmic axis. Of measures without sizes the variants' ratios to
 * the baseline are there, too; what has sizes has pictures of its own (bench_plot_sizes.c).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/bench/bench_plot.h"
#include "harness/build_info.h"
#include "harness/folder.h"
#include "harness/plot.h"
#include "harness/plot_picture.h"

enum {
	PATH_BYTES = 4096,
	WIDTH = 1000,
	HEAD_HEIGHT = 76,
	FOOT_HEIGHT = 112,
	ROW_HEIGHT = 24,
	POWERS = 4, /* decades to either side of 1 that have tics */
};

/* Of each verdict: what the key says, and the number of a colour in the palette. */
static const struct {
	const char *title;
	int colour;
} looks[] = {
	[BENCH_SAYS_NOTHING] = { "no bound, or no verdict", 5 },
	[BENCH_HOLDS] = { "bound holds", 1 },
	[BENCH_BROKEN] = { "bound is broken", 2 },
	[BENCH_UNCLEAR] = { "unclear: repeat more often", 6 },
};

enum { VERDICTS = sizeof(looks) / sizeof(looks[0]) };

/* The rows that have a line in the picture. */
struct lines {
	const struct bench_report *report;
	const struct bench_row **rows;
	size_t count;
};

static bool is_shown(const struct bench_row *row)
{
	switch (row->kind) {
	case BENCH_ROW_CLAIM:
		return true;
	case BENCH_ROW_GROWTH:
		return !isnan(row->ratio);
	default:
		return row->measure->size_count == 0 && !isnan(row->ratio);
	}
}

static struct lines choose_lines(const struct bench_report *report)
{
	struct lines lines = { report, allocate_zeroed(report->row_count + 1, sizeof(*lines.rows)), 0 };
	for (size_t i = 0; i < report->row_count; i++) {
		if (is_shown(&report->rows[i]))
			lines.rows[lines.count++] = &report->rows[i];
	}
	return lines;
}

/* --- data --- */

static void write_row(struct picture *picture, const struct bench_row *row, size_t place, struct range *range)
{
	struct interval interval = row->interval;
	double bound = bench_ratio_bound(row);
	if (isnan(interval.low) || isnan(interval.high))
		interval = (struct interval) { row->ratio, row->ratio };
	(void)fprintf(picture->dat, "%zu %.6g %.6g %.6g %.6g\n", place, row->ratio, interval.low,
		      interval.high, bound);
	/* Of two or three repetitions the interval may be wider than anything that is worth looking at. */
	range_add(range, fmax(interval.low, row->ratio / 10));
	range_add(range, fmin(interval.high, row->ratio * 10));
	range_add(range, bound);
	range_add(range, 1);
}

/* A block for each verdict; returns how many rows there are in all. */
static size_t write_data(struct picture *picture, const struct lines *lines, struct range *range)
{
	size_t rows = 0;
	for (int verdict = 0; verdict < VERDICTS; verdict++) {
		(void)picture_begin_block(picture, looks[verdict].title);
		(void)fputs("# row ratio low high bound\n", picture->dat);
		for (size_t i = 0; i < lines->count; i++) {
			const struct bench_row *row = lines->rows[i];
			if ((int)row->verdict != verdict || !(row->ratio > 0))
				continue;
			write_row(picture, row, i, range);
			rows++;
		}
		(void)fputs("-10 NaN NaN NaN NaN\n", picture->dat); /* a block is never empty */
	}
	return rows;
}

/* --- script --- */

void bench_put_heading(const struct picture *picture, const char *title, const char *subtitle)
{
	FILE *file = picture->script;
	(void)fputs("set label 1 ", file);
	picture_put_text(file, title, false);
	(void)fputs(" at character 2, screen 1 offset 0, character -1.1 left font \",15\"\nset label 2 ",
		    file);
	picture_put_text(file, subtitle, false);
	(void)fputs(" at character 2, screen 1 offset 0, character -2.5 left font \",11\" textcolor rgb "
		    "\"#555555\"\n",
		    file);
}

static void put_heading(const struct picture *picture, const struct bench_report *report)
{
	char title[PATH_BYTES], subtitle[PATH_BYTES];
	(void)snprintf(title, sizeof(title),
		       "cascade bench %s: ours relative to the reference in the same run",
		       report->results->options->kind->name);
	(void)snprintf(subtitle, sizeof(subtitle),
		       "bars: ratio of medians; whiskers: 95 %% interval; black marks: bounds%s%s%s",
		       report->results->options->quick ? "; a quick look" : "",
		       build_is_debug() ? "; build type " : "", build_is_debug() ? build_type() : "");
	bench_put_heading(picture, title, subtitle);
}

/* 1, 2, 5, 10, ...; over a wide range only the powers of ten bear their numbers. */
static void put_ratio_tics(FILE *file, const struct range *range)
{
	bool wide = range->most / range->least > 300;
	(void)fputs("set logscale x 10\nset mxtics 1\nset xtics (", file);
	for (int power = -POWERS; power <= POWERS; power++) {
		double one = pow(10, power);
		if (wide)
			(void)fprintf(file, "\"%g\" %g, \"\" %g, \"\" %g", one, one, 2 * one, 5 * one);
		else
			(void)fprintf(file, "\"%g\" %g, \"%g\" %g, \"%g\" %g", one, one, 2 * one, 2 * one,
				      5 * one, 5 * one);
		(void)fputs(power < POWERS ? ", " : ")\n", file);
	}
}

/* "random.growth.get btree at 10 M  <= 2.8" */
static void put_label(const struct picture *picture, const struct bench_row *row)
{
	char text[PATH_BYTES], bound[64], size[64];
	const char *variant = row->ours_at.variant;
	(void)bench_format_size(row->measure, row->ours_at.size, size, sizeof(size));
	(void)snprintf(text, sizeof(text), "%s%s%s%s%s%s%s  %s",
		       row->kind == BENCH_ROW_VALUE || row->kind == BENCH_ROW_PLAIN ? row->measure->name : "",
		       row->kind == BENCH_ROW_VALUE || row->kind == BENCH_ROW_PLAIN ? "." : "", row->name,
		       variant != NULL ? " " : "", variant != NULL ? variant : "",
		       size[0] != '\0' ? " at " : "", size, bench_format_bound(row, bound, sizeof(bound)));
	picture_put_text(picture->script, text, true);
}

static void put_axes(const struct picture *picture, const struct lines *lines, const struct range *range)
{
	FILE *file = picture->script;
	put_ratio_tics(file, range);
	(void)fprintf(file, "set xrange [%.6g:%.6g]\nset yrange [%.1f:-0.5]\nset ytics scale 0 (",
		      range->least * 0.8, range->most * 1.25, (double)lines->count - 0.5);
	for (size_t i = 0; i < lines->count; i++) {
		put_label(picture, lines->rows[i]);
		(void)fprintf(file, " %zu%s", i, i + 1 < lines->count ? ", " : ")\n");
	}
}

static void put_numbers(const struct picture *picture, const struct lines *lines)
{
	for (size_t i = 0; i < lines->count; i++) {
		const struct bench_row *row = lines->rows[i];
		if (isnan(row->ratio))
			continue;
		(void)fprintf(picture->script,
			      "set label \"%.3g\" at graph 1.01, first %zu left font \",10\"\n", row->ratio,
			      i);
	}
}

static void put_plot(const struct picture *picture)
{
	FILE *file = picture->script;
	const char *name = picture->name;
	(void)fputs("plot ", file);
	for (int verdict = 0; verdict < VERDICTS; verdict++) {
		(void)fprintf(file,
			      "\"%s.dat\" index %d using (1):1:(1):2:($1-0.32):($1+0.32) with boxxyerror "
			      "fillstyle solid 0.35 noborder linetype %d title \"%s\", \\\n     "
			      "\"%s.dat\" index %d using 2:1:3:4 with xerrorbars linetype %d linewidth 1.8 "
			      "pointsize 0.4 notitle, \\\n     "
			      "\"%s.dat\" index %d using 5:($1-0.42):(0):(0.84) with vectors nohead "
			      "linecolor rgb \"#000000\" linewidth 2 notitle%s",
			      name, verdict, looks[verdict].colour, looks[verdict].title, name, verdict,
			      looks[verdict].colour, name, verdict,
			      verdict + 1 < VERDICTS ? ", \\\n     " : "\n");
	}
}

static void put_script(const struct picture *picture, const struct lines *lines, const struct range *range)
{
	int height = HEAD_HEIGHT + FOOT_HEIGHT + (int)lines->count * ROW_HEIGHT;
	picture_put_style(picture, WIDTH, height);
	put_heading(picture, lines->report);
	(void)fprintf(picture->script,
		      "set tmargin at screen %.4f\nset bmargin at screen %.4f\nset rmargin 8\nset border 1\n"
		      "set grid xtics noytics nomxtics nomytics\nset xlabel \"ours / reference\"\n"
		      "set key at screen 0.5,%.4f top center reverse Left horizontal maxcolumns 4 samplen 2\n"
		      "set arrow from first 1, graph 0 to first 1, graph 1 nohead linecolor rgb \"#555555\" "
		      "linewidth 1.2\n",
		      1 - (double)HEAD_HEIGHT / height, (double)FOOT_HEIGHT / height, 46.0 / height);
	put_axes(picture, lines, range);
	put_numbers(picture, lines);
	put_plot(picture);
}

static struct status plot_ratios_of(const struct lines *lines, const char *folder)
{
	struct picture picture = { .data = NULL };
	struct range range = { NAN, NAN };
	(void)snprintf(picture.name, sizeof(picture.name), "bench-%s",
		       lines->report->results->options->kind->name);
	TRY(picture_open(&picture, NULL, folder));
	size_t rows = write_data(&picture, lines, &range);
	if (rows > 0)
		put_script(&picture, lines, &range);
	TRY(picture_close(&picture, folder));
	return rows > 0 ? plot_draw(folder, picture.name, PLOT_DEFAULT, NULL) : status_ok();
}

struct status bench_plot(const struct bench_report *report)
{
	char folder[PATH_BYTES];
	if (snprintf(folder, sizeof(folder), "%s/plots", report->directory) >= (int)sizeof(folder))
		return status_error(STATUS_INVALID, "the path of the run is too long");
	int error = folder_make(folder);
	if (error != 0)
		return status_from_errno(error, "cannot create", folder);
	struct lines lines = choose_lines(report);
	struct status status = plot_ratios_of(&lines, folder);
	memory_free(lines.rows);
	/* Without gnuplot the scripts and data of all pictures are written all the same. */
	status_keep_first(&status, bench_plot_sizes(report, folder));
	return status;
}
