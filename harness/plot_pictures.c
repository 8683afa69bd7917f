#include "harness/plot_pictures.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "harness/histogram.h"

enum {
	PATH_BYTES = 4096,
	STEPS_PER_DECADE = 20,	/* points of a percentile curve */
	SAMPLES_TO_TRUST = 100, /* a percentile with fewer samples above it is drawn dotted */
	PANELS_MAX = 9,
	PANEL_COLUMNS = 3,
	CURVE_STEPS_MAX = 20 * STEPS_PER_DECADE,
	COLOURS = 8,
	BANDS_MAX = 4, /* configurations up to which ranges stay legible */
};

/* Okabe and Ito's palette, told apart by all kinds of colour vision; yellow last, for it is faint. */
static const char *const palette[COLOURS] = { "#0072B2", "#D55E00", "#009E73", "#CC79A7",
					      "#56B4E9", "#E69F00", "#000000", "#F0E442" };

struct picture {
	const struct plot_data *data;
	char name[PICTURE_NAME_BYTES];
	FILE *script;
	FILE *dat;
	size_t blocks; /* data blocks written so far */
};

/* --- small helpers --- */

/* Text for a script, in double quotes; `as_format`: gnuplot will take it for a number's format. */
static void put_text(FILE *file, const char *text, bool as_format)
{
	fputc('"', file);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', file);
		if (*text == '%' && as_format)
			fputc('%', file);
		fputc((unsigned char)*text < ' ' ? ' ' : *text, file);
	}
	fputc('"', file);
}

static void put_quoted(FILE *file, const char *text)
{
	put_text(file, text, false);
}

static void append_name(char name[PICTURE_NAME_BYTES], const char *part)
{
	size_t used = strlen(name);
	for (; *part != '\0' && used + 1 < PICTURE_NAME_BYTES; part++)
		name[used++] = isalnum((unsigned char)*part) || *part == '-' ? *part : '_';
	name[used] = '\0';
}

static int by_number(const void *left, const void *right)
{
	double a = *(const double *)left;
	double b = *(const double *)right;
	return a < b ? -1 : a > b;
}

struct spread {
	double median, least, most;
	size_t count;
};

/* Of the numbers that are known; sorts them. */
static struct spread spread_of(double *numbers, size_t count)
{
	size_t known = 0;
	for (size_t i = 0; i < count; i++) {
		if (!isnan(numbers[i]))
			numbers[known++] = numbers[i];
	}
	if (known == 0)
		return (struct spread) { NAN, NAN, NAN, 0 };
	qsort(numbers, known, sizeof(*numbers), by_number);
	double median =
		known % 2 == 1 ? numbers[known / 2] : (numbers[known / 2 - 1] + numbers[known / 2]) / 2;
	return (struct spread) { median, numbers[0], numbers[known - 1], known };
}

/* Whole decades around the numbers; the slack keeps the outermost tics from falling out by rounding. */
struct range {
	double least, most;
};

static void range_add(struct range *range, double number)
{
	if (!isnan(number) && number > 0 && !(number >= range->least))
		range->least = number;
	if (!isnan(number) && number > 0 && !(number <= range->most))
		range->most = number;
}

/* --- opening and the common style --- */

static struct status picture_open(struct picture *picture, const struct plot_data *data, const char *folder)
{
	char path[PATH_BYTES];
	picture->data = data;
	picture->blocks = 0;
	picture->dat = NULL;
	snprintf(path, sizeof(path), "%s/%s.gp", folder, picture->name);
	picture->script = fopen(path, "w");
	if (picture->script == NULL)
		return status_from_errno(errno, "cannot create", path);
	snprintf(path, sizeof(path), "%s/%s.dat", folder, picture->name);
	picture->dat = fopen(path, "w");
	if (picture->dat == NULL) {
		struct status status = status_from_errno(errno, "cannot create", path);
		fclose(picture->script);
		return status;
	}
	return status_ok();
}

static struct status picture_close(struct picture *picture, const char *folder)
{
	bool failed = ferror(picture->script) != 0;
	failed = ferror(picture->dat) != 0 || failed;
	failed = fclose(picture->script) != 0 || failed;
	failed = fclose(picture->dat) != 0 || failed;
	return failed ? status_from_errno(errno, "cannot write the plots in", folder) : status_ok();
}

/* Terminal, output and line styles; `width` and `height` in points at the size of an article's column. */
static void put_style(const struct picture *picture, int width, int height)
{
	FILE *file = picture->script;
	fprintf(file,
		"# Draws %s.svg, .png or .pdf, in this directory: gnuplot -e \"format='svg'\" %s.gp\n"
		"if (!exists(\"format\")) format = \"svg\"\n"
		"if (format eq \"svg\") set terminal svg size %d,%d background \"white\" "
		"font \"Helvetica,Arial,sans-serif,13\" noenhanced\n"
		"if (format eq \"png\") set terminal pngcairo size %d,%d background \"white\" font "
		"\"sans,11\" "
		"fontscale 2 linewidth 2 pointscale 2 noenhanced\n"
		"if (format eq \"pdf\") set terminal pdfcairo size %.1fcm,%.1fcm font \"Helvetica,9\" "
		"linewidth 1.2 noenhanced\n"
		"set encoding utf8\n"
		"set output \"%s.\" . format\n",
		picture->name, picture->name, width, height, 2 * width, 2 * height, width / 50.0,
		height / 50.0, picture->name);
	fputs("set border 3 linecolor rgb \"#555555\"\n"
	      "set tics nomirror out scale 0.5 textcolor rgb \"#333333\"\n"
	      "set grid linecolor rgb \"#e0e0e0\" linewidth 0.8 linetype 1, linecolor rgb \"#e0e0e0\" "
	      "linewidth 0.4 linetype 1\n"
	      "set samples 500\n",
	      file);
	for (int i = 0; i < COLOURS; i++)
		fprintf(file, "set linetype %d linecolor rgb \"%s\" linewidth 1.8 pointtype 7\n", i + 1,
			palette[i]);
	fprintf(file, "set linetype cycle %d\n", COLOURS);
}

/* A heading at the left, and a line in small print below it. */
static void put_title(const struct picture *picture, const char *small_print, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void put_title(const struct picture *picture, const char *small_print, const char *format, ...)
{
	char text[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	fputs("set label 1 ", picture->script);
	put_quoted(picture->script, text);
	fputs(" at character 2, screen 1 offset 0, character -1.1 left font \",15\"\nset label 2 ",
	      picture->script);
	put_quoted(picture->script, small_print);
	fputs(" at character 2, screen 1 offset 0, character -2.5 left textcolor rgb \"#666666\"\n",
	      picture->script);
}

/* "median and range of 5 repetitions; 32 clients" */
static void describe_runs(const struct picture *picture, size_t phase, const char *many, char *text,
			  size_t size)
{
	double clients = NAN;
	for (size_t i = 0; i < picture->data->record_count; i++) {
		if (picture->data->records[i].phase == phase)
			clients = picture->data->records[i].clients;
	}
	int used = picture->data->repetitions > 1
			   ? snprintf(text, size, "%s of %u repetitions", many, picture->data->repetitions)
			   : snprintf(text, size, "one repetition");
	if (!isnan(clients))
		snprintf(text + used, size - (size_t)used, "; %.0f client%s", clients,
			 clients == 1 ? "" : "s");
}

/* Blocks of data are parted by two empty lines; returns the number of the new one. */
static size_t begin_block(struct picture *picture, const char *comment)
{
	fprintf(picture->dat, "%s# %s\n", picture->blocks > 0 ? "\n\n" : "", comment);
	return picture->blocks++;
}

/* Where the palette begins anew, dashes tell the lines apart. */
static const char *dashes_of(size_t configuration)
{
	static const char *const dashes[] = { "", "dashtype 2 ", "dashtype 4 ", "dashtype 5 " };
	return dashes[configuration / COLOURS % 4];
}

static const char *label_of(const struct picture *picture, size_t configuration)
{
	return picture->data->configurations[configuration].label;
}

/* --- latency over percentile --- */

/* The rows of one histogram, or none. */
struct curve {
	struct hgrm_row *rows;
	size_t count;
	double samples;
};

/* The value that the share 1 - 1/x does not exceed; NaN beyond the last sample. */
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

static struct status read_curve(const struct plot_data *data, const struct plot_latency *latency,
				struct curve *curve)
{
	char path[PATH_BYTES];
	*curve = (struct curve) { .rows = NULL };
	if (latency->hgrm == NULL || strchr(latency->hgrm, '/') != NULL)
		return status_ok();
	snprintf(path, sizeof(path), "%s/%s", data->directory, latency->hgrm);
	struct status status = hgrm_read(path, &curve->rows, &curve->count);
	if (status_is(status, STATUS_NOT_FOUND))
		return status_ok();
	if (status_is_ok(status) && curve->count > 0)
		curve->samples = curve->rows[curve->count - 1].total_count;
	return status;
}

struct curves {
	struct curve *list;
	double *values; /* one for each curve */
	size_t count;
};

static void curves_free(struct curves *curves)
{
	for (size_t i = 0; i < curves->count; i++)
		memory_free(curves->list[i].rows);
	memory_free(curves->list);
	memory_free(curves->values);
}

/* The histograms of all repetitions of a configuration. */
static struct status curves_read(const struct plot_data *data, size_t configuration, size_t phase,
				 int operation, struct curves *curves)
{
	*curves = (struct curves) { .list = memory_allocate_zeroed(data->record_count, sizeof(struct curve)),
				    .values = memory_allocate_zeroed(data->record_count, sizeof(double)) };
	if (curves->list == NULL || curves->values == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (size_t i = 0; i < data->record_count; i++) {
		const struct plot_record *record = &data->records[i];
		const struct plot_latency *latency = &record->latency[operation];
		if (record->configuration != configuration || record->phase != phase || !(latency->count > 0))
			continue;
		TRY(read_curve(data, latency, &curves->list[curves->count]));
		curves->count += curves->list[curves->count].count > 0;
	}
	return status_ok();
}

/*
 * One block: x = 1 / (1 - p), then median, least and most over the repetitions in us. *samples: of the
 * repetition with the fewest, to which the curve reaches. Percentiles of repetitions are not averaged.
 */
static size_t write_curve(struct picture *picture, size_t configuration, struct curves *curves,
			  double *samples, struct range *range)
{
	*samples = INFINITY;
	for (size_t i = 0; i < curves->count; i++) {
		if (curves->list[i].samples < *samples)
			*samples = curves->list[i].samples;
	}
	size_t block = begin_block(picture, label_of(picture, configuration));
	fprintf(picture->dat, "# 1/(1-percentile) median_us least_us most_us\n");
	for (int step = 0; step < CURVE_STEPS_MAX; step++) {
		double x = pow(10, (double)step / STEPS_PER_DECADE);
		if (x > *samples)
			break;
		for (size_t i = 0; i < curves->count; i++)
			curves->values[i] = curve_value(&curves->list[i], x);
		struct spread spread = spread_of(curves->values, curves->count);
		fprintf(picture->dat, "%.6g %.6g %.6g %.6g\n", x, spread.median / 1000, spread.least / 1000,
			spread.most / 1000);
		range_add(range, spread.least / 1000);
		range_add(range, spread.most / 1000);
	}
	return block;
}

/* Labelled by percentile: 0 % at 1, 90 % at 10, ... */
static void put_percentile_axis(FILE *file, double samples_most)
{
	/* Both 0 % and 50 % have room only where there are few decades. */
	fprintf(file, "set logscale x 10\nset xtics (%s\"50 %%%%\" 2, \"90 %%%%\" 10",
		samples_most <= 10000 ? "\"0 %%\" 1, " : "");
	double x = 100;
	for (int nines = 0; x <= samples_most * 1.0001 && nines < 12; nines++, x *= 10)
		fprintf(file, ", \"99%s%.*s %%%%\" %.0f", nines > 0 ? "." : "", nines, "999999999999", x);
	fprintf(file, ")\nset xrange [1:%.6g]\nset xlabel \"percentile\"\n",
		samples_most < 10 ? 10 : samples_most);
}

static void put_time_axis(FILE *file, const char *axis, const struct range *us)
{
	if (!isnan(us->least))
		fprintf(file, "set %srange [%.4g:%.4g]\n", axis, 0.999 * pow(10, floor(log10(us->least))),
			1.001 * pow(10, ceil(log10(us->most))));
	fprintf(file,
		"set logscale %s 10\nset ylabel \"service time (µs)\"\n"
		"set %stics (\"0.01\" 0.01, \"0.1\" 0.1, \"1\" 1, \"10\" 10, \"100\" 100, \"1 000\" 1e3, "
		"\"10 000\" 1e4, "
		"\"100 000\" 1e5, \"10⁶\" 1e6, \"10⁷\" 1e7)\nset m%stics 10\n",
		axis, axis, axis);
}

/* What is drawn of one configuration. */
struct drawn {
	size_t block, configuration, repetitions;
	double samples;
};

static void put_curve_plot(struct picture *picture, const struct drawn *drawn, size_t count)
{
	FILE *file = picture->script;
	fputs("plot ", file);
	for (size_t i = 0; i < count; i++) {
		const struct drawn *one = &drawn[i];
		double trusted = one->samples / SAMPLES_TO_TRUST;
		int line = (int)(one->configuration % COLOURS) + 1;
		if (one->repetitions > 1 && count <= BANDS_MAX)
			fprintf(file,
				"\"%s.dat\" index %zu using 1:3:4 with filledcurves linetype %d "
				"fillstyle transparent solid 0.15 noborder notitle, \\\n     ",
				picture->name, one->block, line);
		fprintf(file,
			"\"%s.dat\" index %zu using 1:($1 > %.6g ? NaN : $2) with lines linetype %d %stitle ",
			picture->name, one->block, trusted < 1 ? 1 : trusted * 1.13, line,
			dashes_of(one->configuration));
		put_quoted(file, label_of(picture, one->configuration));
		fprintf(file,
			", \\\n     \"%s.dat\" index %zu using 1:($1 < %.6g ? NaN : $2) with lines linetype "
			"%d "
			"dashtype 3 notitle%s",
			picture->name, one->block, trusted, line, i + 1 < count ? ", \\\n     " : "\n");
	}
}

static struct status write_curves(struct picture *picture, size_t phase, int operation, struct drawn *drawn)
{
	const struct plot_data *data = picture->data;
	size_t count = 0;
	double samples_most = 0;
	struct range range = { NAN, NAN };
	for (size_t i = 0; i < data->configuration_count; i++) {
		struct curves curves;
		struct status status = curves_read(data, i, phase, operation, &curves);
		if (status_is_ok(status) && curves.count > 0) {
			struct drawn *one = &drawn[count++];
			*one = (struct drawn) { .configuration = i, .repetitions = curves.count };
			one->block = write_curve(picture, i, &curves, &one->samples, &range);
			if (one->samples > samples_most)
				samples_most = one->samples;
		}
		curves_free(&curves);
		TRY(status);
	}
	char small_print[256];
	describe_runs(picture, phase, count > BANDS_MAX ? "median" : "median and range", small_print,
		      sizeof(small_print));
	size_t used = strlen(small_print);
	snprintf(small_print + used, sizeof(small_print) - used,
		 "; dotted: fewer than %d samples above the percentile", SAMPLES_TO_TRUST);
	/* Many names stand below the picture, fewer in its empty corner. */
	bool below = count > BANDS_MAX;
	put_style(picture, 800, 480 + (below ? 20 + 17 * (int)count : 0));
	put_title(picture, small_print, "%s, %s: latency of %s", data->experiment, data->phases[phase],
		  operation_names[operation]);
	FILE *file = picture->script;
	fprintf(file, "set tmargin 4.5\nset rmargin 4\nset key %s reverse Left samplen 2 spacing 1.1\n",
		below ? "below left vertical maxcolumns 2" : "top left");
	put_percentile_axis(file, samples_most);
	put_time_axis(file, "y", &range);
	if (count > 0)
		put_curve_plot(picture, drawn, count);
	return status_ok();
}

static bool operation_happened(const struct plot_data *data, size_t phase, int operation)
{
	for (size_t i = 0; i < data->record_count; i++) {
		if (data->records[i].phase == phase && data->records[i].latency[operation].count > 0 &&
		    data->records[i].latency[operation].hgrm != NULL)
			return true;
	}
	return false;
}

static struct status latency_picture(const struct plot_data *data, const char *folder, size_t phase,
				     int operation, struct picture *picture)
{
	snprintf(picture->name, sizeof(picture->name), "latency-");
	append_name(picture->name, data->phases[phase]);
	append_name(picture->name, "-");
	append_name(picture->name, operation_names[operation]);
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

/* --- over time --- */

/* A block for each repetition: time, rate, p50, p99 and maximum in us. */
struct series {
	size_t block, configuration;
	uint32_t repetition;
};

static void write_second(FILE *file, const struct plot_second *second)
{
	fprintf(file, "%.3f %.6g", second->middle_s, second->ops_s);
	const double latencies[] = { second->p50_ns, second->p99_ns, second->max_ns };
	for (int i = 0; i < 3; i++) {
		if (isnan(latencies[i]))
			fputs(" ?", file); /* nothing ended in that second */
		else
			fprintf(file, " %.6g", latencies[i] / 1000);
	}
	fputc('\n', file);
}

/* Seconds of one repetition follow each other in the file. Returns the number of series. */
static size_t write_series(struct picture *picture, size_t phase, struct series *series, double *highest,
			   struct range *us)
{
	const struct plot_data *data = picture->data;
	size_t count = 0;
	const struct series *last = NULL;
	*highest = 0;
	for (size_t i = 0; i < data->second_count; i++) {
		const struct plot_second *second = &data->seconds[i];
		if (second->phase != phase)
			continue;
		if (last == NULL || last->configuration != second->configuration ||
		    last->repetition != second->repetition) {
			series[count] = (struct series) { .configuration = second->configuration,
							  .repetition = second->repetition };
			series[count].block = begin_block(picture, label_of(picture, second->configuration));
			fprintf(picture->dat,
				"# repetition %u: middle_of_the_second operations/s p50_us p99_us max_us\n",
				second->repetition);
			last = &series[count++];
		}
		write_second(picture->dat, second);
		if (second->ops_s > *highest)
			*highest = second->ops_s;
		bool alone = data->configuration_count == 1; /* then there are lines for all three */
		range_add(us, second->p99_ns / 1000);
		range_add(us, alone ? second->p50_ns / 1000 : NAN);
		range_add(us, alone ? second->max_ns / 1000 : NAN);
	}
	return count;
}

static int by_configuration(const void *left, const void *right)
{
	const struct series *a = left;
	const struct series *b = right;
	if (a->configuration != b->configuration)
		return a->configuration < b->configuration ? -1 : 1;
	return a->repetition < b->repetition ? -1 : a->repetition > b->repetition;
}

/* One line for each series; only the first of a configuration has an entry in the key. */
static void put_series(struct picture *picture, const struct series *series, size_t count,
		       const char *columns, int style, const char *title)
{
	FILE *file = picture->script;
	bool several = picture->data->repetitions > 1;
	for (size_t i = 0; i < count; i++) {
		bool first = true;
		for (size_t k = 0; k < i; k++)
			first = first && series[k].configuration != series[i].configuration;
		int line = style >= 0 ? style : (int)(series[i].configuration % COLOURS);
		fprintf(file,
			"\"%s.dat\" index %zu using %s with lines linecolor rgb \"#%s%s\" linewidth %s %s",
			picture->name, series[i].block, columns, several ? "60" : "00", palette[line] + 1,
			several ? "1.2" : "1.8", style >= 0 ? "" : dashes_of(series[i].configuration));
		if (first && title != NULL) {
			fputs("title ", file);
			put_quoted(file,
				   title[0] != '\0' ? title : label_of(picture, series[i].configuration));
		} else {
			fputs("notitle", file);
		}
		fputs(i + 1 < count ? ", \\\n     " : "", file);
	}
}

/* A unit for numbers up to `highest`: "", "thousand " or "million ". */
static const char *scale_name(double highest, double *divisor)
{
	*divisor = highest >= 2e6 ? 1e6 : highest >= 2e3 ? 1e3 : 1;
	return *divisor == 1e6 ? "million " : *divisor == 1e3 ? "thousand " : "";
}

static void put_timeline(struct picture *picture, size_t phase, const struct series *series, size_t count,
			 double highest, const struct range *us)
{
	FILE *file = picture->script;
	bool alone = picture->data->configuration_count == 1;
	char small_print[256], columns[64];
	double divisor;
	const char *unit = scale_name(highest, &divisor);
	describe_runs(picture, phase, "one line for each", small_print, sizeof(small_print));
	/* The key stands at the top right, beside the heading, which it may outgrow. */
	size_t entries = picture->data->configuration_count;
	int height = 600 + (entries > 4 ? (int)(entries - 4) * 17 : 0);
	double top = 1 - (double)(height - 520) / height, middle = 0.07 + (top - 0.1) / 2;
	put_style(picture, 800, height);
	put_title(picture, small_print, "%s, %s: each second", picture->data->experiment,
		  picture->data->phases[phase]);
	fprintf(file,
		"set datafile missing \"?\"\nset multiplot\nset lmargin 12\nset rmargin 3\n"
		"set xrange [0:*]\nset yrange [0:*]\nset format x \"\"\n"
		"set tmargin at screen %.4f\nset bmargin at screen %.4f\n"
		"set ylabel \"%soperations/s\"\nset key outside top right horizontal samplen 2\nplot ",
		top, middle + 0.075, unit);
	snprintf(columns, sizeof(columns), "1:($2 / %g)", divisor);
	put_series(picture, series, count, columns, -1, alone ? NULL : "");
	fprintf(file,
		"\nunset label 1\nunset label 2\nset format x \"%%g\"\nset yrange [*:*]\n"
		"set tmargin at screen %.4f\nset bmargin at screen 0.1\n"
		"set xlabel \"seconds since the phase began\"\n"
		"set key at screen 0.97,%.4f right center horizontal samplen 2\n",
		middle, middle + 0.03);
	put_time_axis(file, "y", us);
	fprintf(file, "set ylabel \"%slatency (µs)\"\nplot ", alone ? "" : "p99 ");
	if (alone) {
		put_series(picture, series, count, "1:5", 1, "maximum");
		fputs(", \\\n     ", file);
		put_series(picture, series, count, "1:4", 5, "p99");
		fputs(", \\\n     ", file);
		put_series(picture, series, count, "1:3", 0, "p50");
	} else {
		put_series(picture, series, count, "1:4", -1, NULL);
	}
	fputs("\nunset multiplot\n", file);
}

static struct status timeline_picture(const struct plot_data *data, const char *folder, size_t phase,
				      struct picture *picture, bool *written)
{
	*written = false;
	snprintf(picture->name, sizeof(picture->name), "timeline-");
	append_name(picture->name, data->phases[phase]);
	size_t seconds = 0;
	for (size_t i = 0; i < data->second_count; i++)
		seconds += data->seconds[i].phase == phase;
	if (seconds < 2)
		return status_ok(); /* a line needs two points */
	struct series *series = memory_allocate_zeroed(data->second_count, sizeof(*series));
	if (series == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = picture_open(picture, data, folder);
	if (status_is_ok(status)) {
		double highest;
		struct range us = { NAN, NAN };
		size_t count = write_series(picture, phase, series, &highest, &us);
		qsort(series, count, sizeof(*series), by_configuration);
		put_timeline(picture, phase, series, count, highest, &us);
		*written = true;
		status_keep_first(&status, picture_close(picture, folder));
	}
	memory_free(series);
	return status;
}

/* --- configurations side by side --- */

/* One number of a record, as a panel shows it. */
struct panel {
	char title[64];
	double divisor;
	int operation; /* of latencies; -1 otherwise */
	double (*number)(const struct plot_record *record, int operation);
};

static double number_throughput(const struct plot_record *record, int operation)
{
	(void)operation;
	return record->ops_s;
}

static double number_p99(const struct plot_record *record, int operation)
{
	return record->latency[operation].count > 0 ? record->latency[operation].p99 : NAN;
}

static double number_cpu(const struct plot_record *record, int operation)
{
	(void)operation;
	return record->cpu_us_per_op;
}

static double number_write(const struct plot_record *record, int operation)
{
	(void)operation;
	return record->write_amplification;
}

static double number_space(const struct plot_record *record, int operation)
{
	(void)operation;
	return record->space_amplification;
}

/* Adds a panel if any record of the phase has the number. */
static void add_panel(const struct plot_data *data, size_t phase, struct panel *panels, size_t *count,
		      struct panel panel)
{
	double highest = NAN;
	for (size_t i = 0; i < data->record_count; i++) {
		double number = panel.number(&data->records[i], panel.operation);
		if (data->records[i].phase == phase && !isnan(number) && !(number <= highest))
			highest = number;
	}
	if (isnan(highest) || highest == 0 || *count == PANELS_MAX)
		return;
	if (panel.number == number_throughput)
		snprintf(panel.title, sizeof(panel.title), "throughput (%sops/s)",
			 scale_name(highest, &panel.divisor));
	panels[(*count)++] = panel;
}

static size_t choose_panels(const struct plot_data *data, size_t phase, struct panel panels[PANELS_MAX])
{
	size_t count = 0;
	add_panel(data, phase, panels, &count,
		  (struct panel) { .divisor = 1, .operation = -1, .number = number_throughput });
	for (int operation = 0; operation < OPERATION_KINDS; operation++) {
		struct panel panel = { .divisor = 1e3, .operation = operation, .number = number_p99 };
		snprintf(panel.title, sizeof(panel.title), "%s p99 (µs)", operation_names[operation]);
		add_panel(data, phase, panels, &count, panel);
	}
	add_panel(data, phase, panels, &count, (struct panel) { "CPU time (µs/op)", 1, -1, number_cpu });
	add_panel(data, phase, panels, &count, (struct panel) { "write amplification", 1, -1, number_write });
	add_panel(data, phase, panels, &count, (struct panel) { "space amplification", 1, -1, number_space });
	return count;
}

/* Two blocks: row, median, least, most, text; then row and number of each repetition. */
static size_t write_panel(struct picture *picture, size_t phase, const struct panel *panel, double *numbers,
			  double *highest)
{
	const struct plot_data *data = picture->data;
	size_t block = begin_block(picture, panel->title);
	fprintf(picture->dat, "# row median least most text\n");
	*highest = 0;
	for (size_t row = 0; row < data->configuration_count; row++) {
		size_t count = 0;
		for (size_t i = 0; i < data->record_count; i++) {
			const struct plot_record *record = &data->records[i];
			if (record->phase == phase && record->configuration == row)
				numbers[count++] = panel->number(record, panel->operation) / panel->divisor;
		}
		struct spread spread = spread_of(numbers, count);
		if (spread.count == 0)
			continue;
		fprintf(picture->dat, "%zu %.6g %.6g %.6g ", row, spread.median, spread.least, spread.most);
		fprintf(picture->dat, spread.median >= 100 ? "%.0f\n" : "%#.3g\n", spread.median);
		if (spread.most > *highest)
			*highest = spread.most;
	}
	begin_block(picture, "each repetition: row number");
	for (size_t i = 0; i < data->record_count; i++) {
		const struct plot_record *record = &data->records[i];
		double number = panel->number(record, panel->operation) / panel->divisor;
		if (record->phase == phase && !isnan(number))
			fprintf(picture->dat, "%zu %.6g\n", record->configuration, number);
	}
	return block;
}

struct grid {
	size_t columns, rows;
	double label_share; /* of the width, for the configurations' names */
	int width, height;
};

static struct grid plan_grid(const struct plot_data *data, size_t panels)
{
	size_t longest = 0;
	for (size_t i = 0; i < data->configuration_count; i++) {
		size_t length = strlen(data->configurations[i].label);
		longest = length > longest ? length : longest;
	}
	struct grid grid = { .columns = panels < PANEL_COLUMNS ? panels : PANEL_COLUMNS, .width = 1000 };
	grid.rows = (panels + grid.columns - 1) / grid.columns;
	grid.label_share = 0.03 + (double)longest * 8.2 / grid.width;
	if (grid.label_share > 0.45)
		grid.label_share = 0.45;
	grid.height = 70 + (int)(grid.rows * (80 + 26 * data->configuration_count));
	return grid;
}

static void put_panel_place(FILE *file, const struct grid *grid, size_t number)
{
	double left = grid->label_share, width = (1 - left - 0.02) / (double)grid->columns;
	double top = 1 - 70.0 / grid->height, height = top / (double)grid->rows;
	double column = (double)(number % grid->columns), row = (double)(number / grid->columns);
	fprintf(file,
		"set lmargin at screen %.4f\nset rmargin at screen %.4f\n"
		"set tmargin at screen %.4f\nset bmargin at screen %.4f\n",
		left + column * width, left + (column + 1) * width - 0.045,
		top - row * height - 26.0 / grid->height, top - (row + 1) * height + 34.0 / grid->height);
}

/* About four steps of 1, 2 or 5 times a power of ten. */
static double tic_step(double highest)
{
	double power = pow(10, floor(log10(highest / 4)));
	double steps = highest / 4 / power;
	return power * (steps <= 1 ? 1 : steps <= 2 ? 2 : steps <= 5 ? 5 : 10);
}

static void put_panel(struct picture *picture, const struct panel *panel, size_t block, double highest)
{
	FILE *file = picture->script;
	fputs("set title ", file);
	put_quoted(file, panel->title);
	double end = highest * 1.38;
	fprintf(file, "\nset xrange [0:%.6g]\nset xtics %.6g\nplot ", end, tic_step(end));
	fprintf(file,
		"\"%s.dat\" index %zu using 2:1:(0):2:($1 - 0.36):($1 + 0.36):($1 + 1) with boxxyerror "
		"fillstyle solid 0.8 noborder linecolor variable notitle",
		picture->name, block);
	if (picture->data->repetitions > 1)
		fprintf(file,
			", \\\n     \"%s.dat\" index %zu using 2:1:3:4 with xerrorbars linecolor rgb "
			"\"#222222\" "
			"linewidth 1.2 pointtype 0 notitle, \\\n     \"%s.dat\" index %zu using 2:1 with "
			"points "
			"pointtype 7 pointsize 0.35 linecolor rgb \"#222222\" notitle",
			picture->name, block, picture->name, block + 1);
	fprintf(file, ", \\\n     \"%s.dat\" index %zu using 4:1:5 with labels left offset 0.7,0 notitle\n",
		picture->name, block);
}

static struct status write_panels(struct picture *picture, size_t phase, double *numbers)
{
	const struct plot_data *data = picture->data;
	struct panel panels[PANELS_MAX];
	size_t count = choose_panels(data, phase, panels);
	struct grid grid = plan_grid(data, count > 0 ? count : 1);
	char small_print[256];
	describe_runs(picture, phase, "bars: median; whiskers: range; dots: each", small_print,
		      sizeof(small_print));
	put_style(picture, grid.width, grid.height);
	put_title(picture, small_print, "%s, %s: configurations compared", data->experiment,
		  data->phases[phase]);
	FILE *file = picture->script;
	fprintf(file,
		"set multiplot\nset border 1\nset grid xtics noytics nomxtics nomytics\nunset key\nset "
		"yrange [%zu.5:-0.5]\n"
		"set title font \",12\" offset 0,-0.6\n",
		data->configuration_count - 1);
	for (size_t i = 0; i < count; i++) {
		fputs("set ytics scale 0 (", file);
		for (size_t row = 0; row < data->configuration_count; row++) {
			put_text(file, i % grid.columns == 0 ? label_of(picture, row) : "", true);
			fprintf(file, " %zu%s", row, row + 1 < data->configuration_count ? ", " : ")\n");
		}
		put_panel_place(file, &grid, i);
		double highest;
		size_t block = write_panel(picture, phase, &panels[i], numbers, &highest);
		put_panel(picture, &panels[i], block, highest);
		if (i == 0)
			fputs("unset label 1\nunset label 2\n", file);
	}
	fputs("unset multiplot\n", file);
	return status_ok();
}

static struct status compare_picture(const struct plot_data *data, const char *folder, size_t phase,
				     struct picture *picture)
{
	snprintf(picture->name, sizeof(picture->name), "compare-");
	append_name(picture->name, data->phases[phase]);
	double *numbers = memory_allocate_zeroed(data->record_count, sizeof(*numbers));
	if (numbers == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = picture_open(picture, data, folder);
	if (status_is_ok(status)) {
		status = write_panels(picture, phase, numbers);
		status_keep_first(&status, picture_close(picture, folder));
	}
	memory_free(numbers);
	return status;
}

/* --- all --- */

static struct status write_phase(const struct plot_data *data, const char *folder, size_t phase,
				 picture_function *each, void *context)
{
	struct picture picture;
	for (int operation = 0; operation < OPERATION_KINDS; operation++) {
		if (!operation_happened(data, phase, operation))
			continue;
		TRY(latency_picture(data, folder, phase, operation, &picture));
		TRY(each(context, picture.name));
	}
	bool written;
	TRY(timeline_picture(data, folder, phase, &picture, &written));
	if (written)
		TRY(each(context, picture.name));
	if (data->configuration_count > 1) {
		TRY(compare_picture(data, folder, phase, &picture));
		TRY(each(context, picture.name));
	}
	return status_ok();
}

struct status plot_pictures_write(const struct plot_data *data, const char *folder, picture_function *each,
				  void *context)
{
	for (size_t phase = 0; phase < data->phase_count; phase++)
		TRY(write_phase(data, folder, phase, each, context));
	return status_ok();
}
