#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "harness/plot_picture.h"
#include "harness/statistics.h"

enum { WIDTH = 800, PLOTS_HEIGHT = 520 };

/* A block: time, rate, p50, p99 and maximum in us; of one repetition, or the medians of all. */
struct series {
	size_t block, configuration;
	uint32_t repetition; /* 0: the medians */
	size_t first;	     /* of its seconds, which follow each other */
	size_t count;
};

struct timeline {
	struct picture *picture;
	size_t phase;
	struct series *series; /* by configuration, repetitions before the medians */
	size_t count;
	double highest; /* rate */
	struct range us;
	bool alone; /* one configuration: then there are lines for p50, p99 and the maximum */
};

static void write_point(struct timeline *timeline, double middle_s, double ops_s, const double latencies[3])
{
	FILE *file = timeline->picture->dat;
	fprintf(file, "%.3f %.6g", middle_s, ops_s);
	for (int i = 0; i < 3; i++) {
		if (isnan(latencies[i]))
			fputs(" ?", file); /* nothing ended in that second */
		else
			fprintf(file, " %.6g", latencies[i] / 1000);
		if (i == 1 || timeline->alone)
			range_add(&timeline->us, latencies[i] / 1000);
	}
	fputc('\n', file);
	if (ops_s > timeline->highest)
		timeline->highest = ops_s;
}

/* Seconds of one repetition follow each other in the file. */
static void find_series(struct timeline *timeline)
{
	const struct run_data *data = timeline->picture->data;
	struct series *last = NULL;
	for (size_t i = 0; i < data->second_count; i++) {
		const struct run_second *second = &data->seconds[i];
		if (second->phase != timeline->phase)
			continue;
		if (last == NULL || last->configuration != second->configuration ||
		    last->repetition != second->repetition) {
			last = &timeline->series[timeline->count++];
			*last = (struct series) { .configuration = second->configuration,
						  .repetition = second->repetition,
						  .first = i };
		}
		last->count++;
	}
}

static int by_configuration(const void *left, const void *right)
{
	const struct series *a = left, *b = right;
	if (a->configuration != b->configuration)
		return a->configuration < b->configuration ? -1 : 1;
	return a->repetition < b->repetition ? -1 : a->repetition > b->repetition;
}

static void write_repetition(struct timeline *timeline, struct series *series)
{
	struct picture *picture = timeline->picture;
	const struct run_second *seconds = &picture->data->seconds[series->first];
	series->block = picture_begin_block(picture, picture_label(picture, series->configuration));
	fputs("# middle_of_the_second operations/s p50_us p99_us max_us\n", picture->dat);
	for (size_t i = 0; i < series->count; i++) {
		const double latencies[] = { seconds[i].p50_ns, seconds[i].p99_ns, seconds[i].max_ns };
		write_point(timeline, seconds[i].middle_s, seconds[i].ops_s, latencies);
	}
}

/* The median over those repetitions that have such a second: of `numbers` of each, one for each column. */
static double median_of_column(double *column, size_t count)
{
	size_t known = 0;
	for (size_t i = 0; i < count; i++) {
		if (!isnan(column[i]))
			column[known++] = column[i];
	}
	return statistics_median(column, known);
}

/* Second by second, as far as at least half of the repetitions go. */
static struct status write_medians(struct timeline *timeline, const struct series *repetitions, size_t count,
				   struct series *medians)
{
	struct picture *picture = timeline->picture;
	const struct run_second *seconds = picture->data->seconds;
	double *columns = memory_allocate_zeroed(5 * count, sizeof(*columns));
	if (columns == NULL)
		return status_make(STATUS_NO_MEMORY);
	medians->configuration = repetitions->configuration;
	medians->block = picture_begin_block(picture, picture_label(picture, medians->configuration));
	fputs("# medians: middle_of_the_second operations/s p50_us p99_us max_us\n", picture->dat);
	for (size_t at = 0;; at++) {
		size_t known = 0;
		for (size_t i = 0; i < count; i++) {
			if (at >= repetitions[i].count)
				continue;
			const struct run_second *second = &seconds[repetitions[i].first + at];
			const double numbers[] = { second->middle_s, second->ops_s, second->p50_ns,
						   second->p99_ns, second->max_ns };
			for (size_t k = 0; k < 5; k++)
				columns[k * count + known] = numbers[k];
			known++;
		}
		if (2 * known < count || known == 0)
			break;
		double numbers[5];
		for (size_t k = 0; k < 5; k++)
			numbers[k] = median_of_column(&columns[k * count], known);
		write_point(timeline, numbers[0], numbers[1], &numbers[2]);
	}
	memory_free(columns);
	return status_ok();
}

/* --- the script --- */

/* Repetitions thin and pale, medians (or the one repetition) as they are and in the key. */
static void put_series(const struct timeline *timeline, const char *columns, int style, const char *title)
{
	const struct picture *picture = timeline->picture;
	FILE *file = picture->script;
	bool several = picture->data->repetitions > 1;
	for (size_t i = 0; i < timeline->count; i++) {
		const struct series *one = &timeline->series[i];
		bool pale = several && one->repetition != 0;
		size_t number = style >= 0 ? (size_t)style : one->configuration;
		fprintf(file,
			"%s\"%s.dat\" index %zu using %s with lines linecolor rgb \"#%s%s\" linewidth %s %s",
			i > 0 ? ", \\\n     " : "", picture->name, one->block, columns, pale ? "a0" : "00",
			picture_palette[number % PICTURE_COLOURS], pale ? "0.8" : "2",
			picture_dashes(number));
		if (title == NULL || pale) {
			fputs("notitle", file);
			continue;
		}
		fputs("title ", file);
		picture_put_text(file, title[0] != '\0' ? title : picture_label(picture, one->configuration),
				 false);
	}
}

static void put_latencies(const struct timeline *timeline)
{
	static const struct {
		const char *columns, *title;
		int style;
	} lines[] = { { "1:5", "maximum", 1 }, { "1:4", "p99", 2 }, { "1:3", "p50", 0 } };
	FILE *file = timeline->picture->script;
	fprintf(file, "set ylabel \"%slatency (µs)\"\nplot ", timeline->alone ? "" : "p99 ");
	if (!timeline->alone) {
		put_series(timeline, "1:4", -1, "");
		return;
	}
	for (size_t i = 0; i < 3; i++) {
		put_series(timeline, lines[i].columns, lines[i].style, lines[i].title);
		fputs(i < 2 ? ", \\\n     " : "", file);
	}
}

static void put_script(const struct timeline *timeline)
{
	const struct picture *picture = timeline->picture;
	const struct run_data *data = picture->data;
	FILE *file = picture->script;
	char columns[64];
	double divisor;
	size_t lines = 1, across = 3;
	const char *unit = picture_scale(timeline->highest, &divisor);
	if (!timeline->alone)
		across = picture_key_columns(picture, 0, WIDTH, &lines);
	int key = (int)lines * PICTURE_KEY_HEIGHT, height = PICTURE_HEAD_HEIGHT + PLOTS_HEIGHT + key;
	double top = 1 - (double)PICTURE_HEAD_HEIGHT / height, bottom = (double)(key + 78) / height;
	double middle = (top + bottom) / 2;
	picture_put_style(picture, WIDTH, height);
	picture_put_heading(picture, timeline->phase, WIDTH,
			    data->repetitions > 1 ? "bold: median over repetitions; thin: each of them" : "",
			    "%s, %s: each second", data->experiment, data->phases[timeline->phase].title);
	fprintf(file,
		"set datafile missing \"?\"\nset multiplot\nset lmargin 12\nset rmargin 3\n"
		"set xrange [0:*]\nset yrange [0:*]\nset format x \"\"\nunset key\n"
		"set tmargin at screen %.4f\nset bmargin at screen %.4f\nset ylabel "
		"\"%soperations/s\"\nplot ",
		top, middle + 0.025, unit);
	snprintf(columns, sizeof(columns), "1:($2 / %g)", divisor);
	put_series(timeline, columns, -1, NULL);
	fputs("\nunset label\nset format x \"%g\"\nset yrange [*:*]\n", file);
	fprintf(file,
		"set tmargin at screen %.4f\nset bmargin at screen %.4f\n"
		"set xlabel \"seconds since the phase began\"\n"
		"set key at screen 0.5,%.4f top center reverse Left horizontal maxcolumns %zu samplen 3 "
		"spacing 1.1\n",
		middle - 0.025, bottom, (double)(key + 10) / height, across);
	picture_put_time_axis(file, &timeline->us);
	put_latencies(timeline);
	fputs("\nunset multiplot\n", file);
}

/* --- the picture --- */

static struct status write_series(struct timeline *timeline)
{
	size_t repetitions = timeline->count;
	qsort(timeline->series, timeline->count, sizeof(*timeline->series), by_configuration);
	for (size_t i = 0; i < repetitions; i++)
		write_repetition(timeline, &timeline->series[i]);
	for (size_t first = 0, end; first < repetitions && timeline->picture->data->repetitions > 1;
	     first = end) {
		for (end = first + 1; end < repetitions && timeline->series[end].configuration ==
								   timeline->series[first].configuration;
		     end++)
			;
		TRY(write_medians(timeline, &timeline->series[first], end - first,
				  &timeline->series[timeline->count++]));
	}
	return status_ok();
}

struct status plot_timeline(const struct run_data *data, const char *folder, size_t phase,
			    struct picture *picture, bool *written)
{
	struct timeline timeline = { .picture = picture,
				     .phase = phase,
				     .us = { NAN, NAN },
				     .alone = data->configuration_count == 1 };
	struct status status = status_ok();
	*written = false;
	snprintf(picture->name, sizeof(picture->name), "timeline-");
	picture_append_name(picture, data->phases[phase].title);
	picture->data = data;
	timeline.series = memory_allocate_zeroed(2 * data->second_count + 1, sizeof(*timeline.series));
	if (timeline.series == NULL)
		return status_make(STATUS_NO_MEMORY);
	find_series(&timeline);
	for (size_t i = 0; i < timeline.count; i++)
		*written = *written || timeline.series[i].count >= 2; /* a line needs two points */
	if (*written)
		status = picture_open(picture, data, folder);
	if (*written && status_is_ok(status)) {
		status = write_series(&timeline);
		if (status_is_ok(status))
			put_script(&timeline);
		status_keep_first(&status, picture_close(picture, folder));
	}
	memory_free(timeline.series);
	return status;
}
