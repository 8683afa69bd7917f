#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "harness/histogram.h"
#include "harness/plot_picture.h"

enum {
	PATH_BYTES = 4096,
	STEPS_PER_DECADE = 20,	/* points of a percentile curve */
	SAMPLES_TO_TRUST = 100, /* a percentile with fewer samples above it is drawn dotted */
	CURVE_STEPS_MAX = 20 * STEPS_PER_DECADE,
	HALVINGS = 60, /* of the values between which a percentile lies */
};

/* The rows of one histogram, or none. */
struct curve {
	struct hgrm_row *rows;
	size_t count;
	double samples;
};

/* The histograms of all repetitions of a configuration. */
struct curves {
	struct curve *list;
	size_t count;
	double samples, fewest; /* of all together, of the one with the fewest */
};

static void curves_free(struct curves *curves)
{
	for (size_t i = 0; i < curves->count; i++)
		memory_free(curves->list[i].rows);
	memory_free(curves->list);
}

static struct status read_curve(const struct run_data *data, const struct run_record *record,
				const char *hgrm, struct curve *curve)
{
	char path[PATH_BYTES];
	*curve = (struct curve) { .rows = NULL };
	if (hgrm == NULL || strchr(hgrm, '/') != NULL)
		return status_ok();
	snprintf(path, sizeof(path), "%s/%s", data->runs[record->run].directory, hgrm);
	struct status status = hgrm_read(path, &curve->rows, &curve->count);
	if (status_is(status, STATUS_NOT_FOUND))
		return status_ok();
	if (status_is_ok(status) && curve->count > 0)
		curve->samples = curve->rows[curve->count - 1].total_count;
	return status;
}

/* Of an operation, or of hiccups (operation -1); configuration SIZE_MAX: of all. */
static struct status curves_read(const struct run_data *data, size_t configuration, size_t phase,
				 int operation, struct curves *curves)
{
	*curves = (struct curves) { .list = memory_allocate_zeroed(data->record_count, sizeof(struct curve)),
				    .fewest = INFINITY };
	if (curves->list == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (size_t i = 0; i < data->record_count; i++) {
		const struct run_record *record = &data->records[i];
		const char *hgrm = operation < 0			  ? record->hiccup_hgrm
				   : record->latency[operation].count > 0 ? record->latency[operation].hgrm
									  : NULL;
		if (record->phase != phase || record->invalid || hgrm == NULL ||
		    (configuration != SIZE_MAX && record->configuration != configuration))
			continue;
		struct curve *curve = &curves->list[curves->count];
		TRY(read_curve(data, record, hgrm, curve));
		if (curve->count == 0)
			continue;
		curves->count++;
		curves->samples += curve->samples;
		if (curve->samples < curves->fewest)
			curves->fewest = curve->samples;
	}
	return status_ok();
}

/* --- percentiles --- */

/* The value that the share 1 - 1/x of one repetition does not exceed; NaN beyond its last sample. */
static double curve_value(const struct curve *curve, double x)
{
	if (curve->count == 0 || x > curve->samples)
		return NAN;
	double share = 1 - 1 / x;
	size_t low = 0, high = curve->count - 1;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (curve->rows[middle].percentile >= share - 1e-12)
			high = middle;
		else
			low = middle + 1;
	}
	/* Between two rows, along a straight line over the logarithm of x, as these plots are drawn. */
	const struct hgrm_row *row = &curve->rows[low];
	if (low == 0 || row->percentile <= share + 1e-12 || row->percentile >= 1)
		return row->value;
	double from = -log1p(-row[-1].percentile), to = -log1p(-row->percentile);
	return row[-1].value + (row->value - row[-1].value) * (log(x) - from) / (to - from);
}

/* How many samples do not exceed a value: exact at the rows, on a line between them. */
static double curve_count(const struct curve *curve, double value)
{
	const struct hgrm_row *rows = curve->rows;
	size_t low = 0, high = curve->count; /* rows below `low` do not exceed it, rows from `high` on do */
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (rows[middle].value <= value)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return 0;
	if (low == curve->count)
		return curve->samples;
	double width = rows[low].value - rows[low - 1].value;
	double part = width > 0 ? (value - rows[low - 1].value) / width : 0;
	return rows[low - 1].total_count + part * (rows[low].total_count - rows[low - 1].total_count);
}

/* The same of all repetitions put together: percentiles are not averaged. */
static double merged_value(const struct curves *curves, double x)
{
	double wanted = (1 - 1 / x) * curves->samples;
	double low = INFINITY, high = 0;
	for (size_t i = 0; i < curves->count; i++) {
		const struct curve *curve = &curves->list[i];
		double least = curve->rows[0].value, most = curve->rows[curve->count - 1].value;
		low = least < low ? least : low;
		high = most > high ? most : high;
	}
	for (int i = 0; i < HALVINGS && high - low > 1e-6 * high; i++) {
		double middle = (low + high) / 2, count = 0;
		for (size_t k = 0; k < curves->count; k++)
			count += curve_count(&curves->list[k], middle);
		if (count >= wanted)
			high = middle;
		else
			low = middle;
	}
	return high;
}

/*
 * One block: x = 1 / (1 - p), then the value of all repetitions merged, and the least and most of a
 * repetition as far as all of them reach, in us.
 */
static size_t write_curve(struct picture *picture, const char *label, const struct curves *curves,
			  struct range *range)
{
	size_t block = picture_begin_block(picture, label);
	fprintf(picture->dat, "# 1/(1-percentile) merged_us least_us most_us\n");
	for (int step = 0; step < CURVE_STEPS_MAX; step++) {
		double x = pow(10, (double)step / STEPS_PER_DECADE);
		if (x > curves->samples)
			break;
		double merged = merged_value(curves, x), least = NAN, most = NAN;
		for (size_t i = 0; i < curves->count && x <= curves->fewest; i++) {
			double value = curve_value(&curves->list[i], x);
			least = value >= least ? least : value;
			most = value <= most ? most : value;
		}
		fprintf(picture->dat, "%.6g %.6g ", x, merged / 1000);
		fprintf(picture->dat, isnan(least) ? "NaN NaN\n" : "%.6g %.6g\n", least / 1000, most / 1000);
		range_add(range, merged / 1000);
		range_add(range, least / 1000);
		range_add(range, most / 1000);
	}
	return block;
}

/* --- the script --- */

/* Labelled by percentile: 0 at 1, 90 at 10, ... */
static void put_percentile_axis(FILE *file, double samples_most)
{
	/* Both 0 and 50 have room only where there are few decades. */
	fprintf(file, "set logscale x 10\nset xtics (%s\"50\" 2, \"90\" 10",
		samples_most <= 10000 ? "\"0\" 1, " : "");
	double x = 100;
	for (int nines = 0; x <= samples_most * 1.0001 && nines < 12; nines++, x *= 10)
		fprintf(file, ", \"99%s%.*s\" %.0f", nines > 0 ? "." : "", nines, "999999999999", x);
	fprintf(file, ")\nset xrange [1:%.6g]\nset xlabel \"percentile (%%)\"\n",
		samples_most < 10 ? 10 : samples_most);
}

/* What is drawn of one configuration. */
struct drawn {
	size_t block, configuration, repetitions;
	double samples;
};

static void put_curve(struct picture *picture, const struct drawn *one, bool band)
{
	FILE *file = picture->script;
	double trusted = one->samples / SAMPLES_TO_TRUST;
	int line = (int)(one->configuration % PICTURE_COLOURS) + 1;
	if (band)
		fprintf(file,
			"\"%s.dat\" index %zu using 1:3:4 with filledcurves linetype %d "
			"fillstyle transparent solid 0.15 noborder notitle, \\\n     ",
			picture->name, one->block, line);
	fprintf(file, "\"%s.dat\" index %zu using 1:($1 > %.6g ? NaN : $2) with lines linetype %d %stitle ",
		picture->name, one->block, trusted < 1 ? 1 : trusted * 1.13, line,
		picture_dashes(one->configuration));
	picture_put_text(file, picture_label(picture, one->configuration), false);
	fprintf(file,
		", \\\n     \"%s.dat\" index %zu using 1:($1 < %.6g ? NaN : $2) with lines linetype "
		"%d dashtype 3 notitle",
		picture->name, one->block, trusted, line);
}

static void put_script(struct picture *picture, size_t phase, int operation, const struct drawn *drawn,
		       size_t count, const struct drawn *hiccups, const struct range *range)
{
	const struct run_data *data = picture->data;
	FILE *file = picture->script;
	double samples_most = 0;
	size_t lines;
	bool bands = count <= PICTURE_BANDS_MAX && data->repetitions > 1;
	size_t columns = picture_key_columns(picture, hiccups->samples > 0, 800, &lines);
	int key = (int)lines * PICTURE_KEY_HEIGHT, height = 520 + key;
	for (size_t i = 0; i < count; i++)
		samples_most = drawn[i].samples > samples_most ? drawn[i].samples : samples_most;
	picture_put_style(picture, 800, height);
	picture_put_heading(picture, phase, 800,
			    bands ? "lines: all repetitions merged; bands: range of repetitions; dotted: "
				    "fewer than 100 samples above"
				  : "all repetitions merged; dotted: fewer than 100 samples above",
			    "%s, %s: latency of %s", data->experiment, data->phases[phase].title,
			    operation_names[operation]);
	fprintf(file,
		"set tmargin at screen %.4f\nset bmargin at screen %.4f\nset rmargin 6\n"
		"set key at screen 0.5,%.4f top center reverse Left horizontal maxcolumns %zu "
		"samplen 3 spacing 1.1\n",
		1 - (double)PICTURE_HEAD_HEIGHT / height, (double)(key + 78) / height,
		(double)(key + 10) / height, columns);
	put_percentile_axis(file, samples_most);
	picture_put_time_axis(file, range);
	fputs("plot ", file);
	for (size_t i = 0; i < count; i++) {
		put_curve(picture, &drawn[i], bands && drawn[i].repetitions > 1);
		fputs(i + 1 < count ? ", \\\n     " : "", file);
	}
	if (hiccups->samples > 0)
		fprintf(file,
			", \\\n     \"%s.dat\" index %zu using 1:2 with lines linecolor rgb \"#888888\" "
			"linewidth 1.2 title \"hiccups of the machine\"",
			picture->name, hiccups->block);
	fputc('\n', file);
}

/* --- the picture --- */

static struct status write_curves(struct picture *picture, size_t phase, int operation, struct drawn *drawn)
{
	const struct run_data *data = picture->data;
	struct drawn hiccups = { .samples = 0 };
	struct range range = { NAN, NAN };
	size_t count = 0;
	for (size_t i = 0; i <= data->configuration_count; i++) {
		bool of_hiccups = i == data->configuration_count;
		struct curves curves;
		struct status status = curves_read(data, of_hiccups ? SIZE_MAX : i, phase,
						   of_hiccups ? -1 : operation, &curves);
		if (status_is_ok(status) && curves.count > 0) {
			struct drawn *one = of_hiccups ? &hiccups : &drawn[count++];
			*one = (struct drawn) { .configuration = i,
						.repetitions = curves.count,
						.samples = curves.samples };
			one->block = write_curve(picture, of_hiccups ? "hiccups" : picture_label(picture, i),
						 &curves, &range);
		}
		curves_free(&curves);
		TRY(status);
	}
	if (count > 0)
		put_script(picture, phase, operation, drawn, count, &hiccups, &range);
	return status_ok();
}

static bool happened(const struct run_data *data, size_t phase, int operation)
{
	for (size_t i = 0; i < data->record_count; i++) {
		const struct run_record *record = &data->records[i];
		if (record->phase == phase && !record->invalid && record->latency[operation].count > 0 &&
		    record->latency[operation].hgrm != NULL)
			return true;
	}
	return false;
}

struct status plot_latency(const struct run_data *data, const char *folder, size_t phase, int operation,
			   struct picture *picture, bool *written)
{
	*written = happened(data, phase, operation);
	if (!*written)
		return status_ok();
	snprintf(picture->name, sizeof(picture->name), "latency-");
	picture_append_name(picture, data->phases[phase].title);
	picture_append_name(picture, "-");
	picture_append_name(picture, operation_names[operation]);
	struct drawn *drawn = memory_allocate_zeroed(data->configuration_count, sizeof(*drawn));
	if (drawn == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = picture_open(picture, data, folder);
	if (status_is_ok(status)) {
		status = write_curves(picture, phase, operation, drawn);
		status_keep_first(&status, picture_close(picture, folder));
	}
	memory_free(drawn);
	return status;
}
