#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "harness/compare.h"
#include "harness/plot_picture.h"

enum {
	PANELS_MAX = 9,
	PANEL_COLUMNS = 3,
	WIDTH = 1000,
	ROW_HEIGHT = 26,
	INTERVAL_LEAST = 3, /* repetitions; of two it is wider than any picture */
};

static const char *const panel_metrics[] = { "throughput",	    "p99",   "cpu", "write_amplification",
					     "space_amplification", "memory" };

enum { PANEL_METRICS = sizeof(panel_metrics) / sizeof(panel_metrics[0]) };

/* --- which numbers --- */

/* Those of the panels' metrics that a record has, throughput first. */
static struct status make_compare(const struct run_data *data, size_t metric_count, struct compare *compare)
{
	struct problem problem;
	const char *names[PANEL_METRICS];
	size_t count = 0;
	for (size_t i = 0; i < metric_count; i++) {
		struct metric *metrics = NULL;
		size_t found = 0;
		struct status status = metrics_choose(data, &panel_metrics[i], 1, &metrics, &found, &problem);
		memory_free(metrics);
		if (status_is_ok(status))
			names[count++] = panel_metrics[i];
	}
	struct compare_options options = { .noise_floor = COMPARE_NOISE_FLOOR,
					   .metrics = names,
					   .metric_count = count };
	*compare = (struct compare) { .data = NULL };
	if (count == 0)
		return status_ok();
	return compare_make(compare, data, &options, &problem);
}

static bool is_shown(const struct compare *compare, size_t phase, size_t metric)
{
	for (size_t i = 0; i < compare->data->configuration_count; i++) {
		const struct compare_cell *cell = compare_at(compare, phase, metric, i);
		if (cell->count > 0 && cell->spread.most > 0)
			return true;
	}
	return false;
}

/* --- panels --- */

/* The bars of one metric in one phase, and what is said of them. */
struct panel {
	size_t phase, metric;
	const char *name;
};

struct grid {
	size_t columns, rows;
	double label_share; /* of the width, for the configurations' names */
	int height;
};

static struct grid plan_grid(const struct run_data *data, size_t panels)
{
	size_t longest = 0;
	for (size_t i = 0; i < data->configuration_count; i++) {
		size_t length = strlen(data->configurations[i].name);
		longest = length > longest ? length : longest;
	}
	struct grid grid = { .columns = panels < PANEL_COLUMNS ? panels : PANEL_COLUMNS };
	grid.rows = (panels + grid.columns - 1) / grid.columns;
	grid.label_share = 0.03 + (double)longest * 8.2 / WIDTH;
	if (grid.label_share > 0.45)
		grid.label_share = 0.45;
	grid.height = PICTURE_HEAD_HEIGHT + (int)(grid.rows * (80 + ROW_HEIGHT * data->configuration_count));
	return grid;
}

static void put_panel_place(FILE *file, const struct grid *grid, size_t number)
{
	double left = grid->label_share, width = (1 - left - 0.02) / (double)grid->columns;
	double top = 1 - (double)PICTURE_HEAD_HEIGHT / grid->height, height = top / (double)grid->rows;
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

/* Of what a panel has to show. A very wide interval is cut rather than that it flattens all bars. */
static double highest_of(const struct compare *compare, size_t phase, size_t metric)
{
	double highest = 0, most = 0;
	for (size_t i = 0; i < compare->data->configuration_count; i++) {
		const struct compare_cell *cell = compare_at(compare, phase, metric, i);
		if (cell->count > 0 && cell->spread.most > most)
			most = cell->spread.most;
		if (cell->count >= INTERVAL_LEAST && cell->interval.high > highest)
			highest = cell->interval.high;
	}
	highest = highest > 1.6 * most ? 1.6 * most : highest;
	return highest > most ? highest : most;
}

/* Three blocks: row, median, text's place, text; row, median, low, high; row and number of each repetition.
 */
static size_t write_panel(struct picture *picture, const struct compare *compare, const struct panel *panel,
			  double divisor, double highest)
{
	FILE *dat = picture->dat;
	size_t count = compare->data->configuration_count, phase = panel->phase, metric = panel->metric;
	size_t block = picture_begin_block(picture, panel->name);
	fprintf(dat, "# row median place_of_text text\n");
	for (size_t row = 0; row < count; row++) {
		const struct compare_cell *cell = compare_at(compare, phase, metric, row);
		if (cell->count == 0)
			continue;
		double end = cell->spread.most;
		if (cell->count >= INTERVAL_LEAST && cell->interval.high > end)
			end = cell->interval.high < highest ? cell->interval.high : highest;
		double median = cell->spread.median / divisor;
		fprintf(dat, "%zu %.6g %.6g ", row, median, end / divisor);
		fprintf(dat, median >= 100 ? "%.0f\n" : "%#.3g\n", median);
	}
	picture_begin_block(picture, "95 % intervals: row median low high");
	for (size_t row = 0; row < count; row++) {
		const struct compare_cell *cell = compare_at(compare, phase, metric, row);
		if (cell->count >= INTERVAL_LEAST && !isnan(cell->interval.low))
			fprintf(dat, "%zu %.6g %.6g %.6g\n", row, cell->spread.median / divisor,
				cell->interval.low / divisor,
				(cell->interval.high < highest ? cell->interval.high : highest) / divisor);
		else
			fprintf(dat, "%zu NaN NaN NaN\n", row);
	}
	picture_begin_block(picture, "each repetition: row number");
	for (size_t row = 0; row < count; row++) {
		const struct compare_cell *cell = compare_at(compare, phase, metric, row);
		for (size_t i = 0; i < cell->count; i++)
			fprintf(dat, "%zu %.6g\n", row, cell->samples[i].value / divisor);
	}
	return block;
}

static void put_panel(struct picture *picture, const char *title, size_t block, double highest)
{
	FILE *file = picture->script;
	double end = highest * 1.36;
	const char *name = picture->name;
	fputs("set title ", file);
	picture_put_text(file, title, false);
	fprintf(file,
		"\nset xrange [0:%.6g]\nset xtics %.6g\n"
		"plot \"%s.dat\" index %zu using 2:1:(0):2:($1 - 0.36):($1 + 0.36):(int($1) %% %d + 1) with "
		"boxxyerror fillstyle solid 0.6 noborder linecolor variable notitle",
		end, tic_step(end), name, block, PICTURE_COLOURS);
	if (picture->data->repetitions > 1)
		fprintf(file,
			", \\\n     \"%s.dat\" index %zu using 2:1:3:4 with xerrorbars linecolor rgb "
			"\"#222222\" linewidth 1.2 pointtype 0 notitle, \\\n     \"%s.dat\" index %zu using "
			"2:1 with points pointtype 7 pointsize 0.35 linecolor rgb \"#222222\" notitle",
			name, block + 1, name, block + 2);
	fprintf(file, ", \\\n     \"%s.dat\" index %zu using 3:1:4 with labels left offset 0.7,0 notitle\n",
		name, block);
}

static void put_row_names(const struct picture *picture, bool shown)
{
	size_t count = picture->data->configuration_count;
	fputs("set ytics scale 0 (", picture->script);
	for (size_t row = 0; row < count; row++) {
		picture_put_text(picture->script, shown ? picture_label(picture, row) : "", true);
		fprintf(picture->script, " %zu%s", row, row + 1 < count ? ", " : ")\n");
	}
}

/* The heading is the experiment's name and `what`; `phase` SIZE_MAX: it speaks of all. */
static void write_panels(struct picture *picture, const struct compare *compare, size_t phase,
			 const char *what, const struct panel *panels, size_t count)
{
	const struct run_data *data = picture->data;
	FILE *file = picture->script;
	struct grid grid = plan_grid(data, count);
	picture_put_style(picture, WIDTH, grid.height);
	picture_put_heading(picture, phase, WIDTH,
			    data->repetitions >= INTERVAL_LEAST
				    ? "bars: medians; whiskers: 95 % intervals; dots: each repetition"
				    : "bars: medians; dots: each repetition (too few for intervals)",
			    "%s%s", data->experiment, what);
	fprintf(file,
		"set multiplot\nset border 1\nset grid xtics noytics nomxtics nomytics\nunset key\n"
		"set yrange [%zu.5:-0.5]\nset title font \",12\" offset 0,-0.6\n",
		data->configuration_count - 1);
	for (size_t i = 0; i < count; i++) {
		const struct panel *panel = &panels[i];
		const struct metric *metric = &compare->metrics[panel->metric];
		double highest = highest_of(compare, panel->phase, panel->metric), divisor = metric->divisor,
		       scale = 1;
		char title[2 * METRIC_TEXT_BYTES];
		const char *unit = strcmp(metric->unit, "us") == 0	? "µs"
				   : strcmp(metric->unit, "us/op") == 0 ? "µs/op"
									: metric->unit;
		const char *thousand = metric->more_is_better ? picture_scale(highest / divisor, &scale) : "";
		snprintf(title, sizeof(title), unit[0] != '\0' ? "%s (%s%s)" : "%s", panel->name, thousand,
			 unit);
		put_row_names(picture, i % grid.columns == 0);
		put_panel_place(file, &grid, i);
		size_t block = write_panel(picture, compare, panel, divisor * scale, highest);
		put_panel(picture, title, block, highest / divisor / scale);
		if (i == 0)
			fputs("unset label\n", file);
	}
	fputs("unset multiplot\n", file);
}

struct status plot_bars(const struct run_data *data, const char *folder, size_t phase,
			struct picture *picture, bool *written)
{
	struct compare compare;
	struct panel panels[PANELS_MAX];
	size_t count = 0;
	*written = false;
	if (data->configuration_count < 2)
		return status_ok();
	struct status status = make_compare(data, PANEL_METRICS, &compare);
	for (size_t i = 0; status_is_ok(status) && i < compare.metric_count && count < PANELS_MAX; i++) {
		if (is_shown(&compare, phase, i))
			panels[count++] = (struct panel) { phase, i, compare.metrics[i].name };
	}
	if (status_is_ok(status) && count > 0) {
		snprintf(picture->name, sizeof(picture->name), "compare-");
		picture_append_name(picture, data->phases[phase].title);
		status = picture_open(picture, data, folder);
		*written = status_is_ok(status);
		if (*written) {
			char what[PICTURE_NAME_BYTES];
			snprintf(what, sizeof(what), ", %s: configurations compared",
				 data->phases[phase].title);
			write_panels(picture, &compare, phase, what, panels, count);
			status = picture_close(picture, folder);
		}
	}
	compare_free(&compare);
	return status;
}

/* --- throughput of all phases of a workload --- */

static bool same_workload(const struct run_data *data, size_t phase, size_t other)
{
	return strcmp(data->phases[phase].workload, data->phases[other].workload) == 0;
}

/* Panels for the phases of the workload that `phase` begins; 0 for one, which has a picture of its own. */
static size_t plan_throughput(const struct compare *compare, size_t phase, struct panel *panels)
{
	const struct run_data *data = compare->data;
	size_t count = 0;
	for (size_t i = 0; i < data->phase_count; i++) {
		if (!same_workload(data, phase, i))
			continue;
		if (i < phase)
			return 0;
		if (is_shown(compare, i, 0))
			panels[count++] = (struct panel) { i, 0, data->phases[i].name };
	}
	return count > 1 ? count : 0;
}

struct status plot_throughput(const struct run_data *data, const char *folder, size_t phase,
			      struct picture *picture, bool *written)
{
	struct compare compare;
	*written = false;
	if (data->configuration_count < 2 || data->mode != RUN_DATA_BY_WORKLOAD)
		return status_ok();
	struct panel *panels = memory_allocate_zeroed(data->phase_count, sizeof(*panels));
	if (panels == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = make_compare(data, 1, &compare);
	size_t count = 0;
	if (status_is_ok(status) && compare.metric_count > 0)
		count = plan_throughput(&compare, phase, panels);
	if (count > 0) {
		const char *label = data->phases[phase].workload_label;
		snprintf(picture->name, sizeof(picture->name),
			 label[0] != '\0' ? "throughput-" : "throughput");
		picture_append_name(picture, label);
		status = picture_open(picture, data, folder);
		*written = status_is_ok(status);
	}
	if (*written) {
		char what[PICTURE_NAME_BYTES];
		const char *label = data->phases[phase].workload_label;
		snprintf(what, sizeof(what), "%s%s: throughput", label[0] != '\0' ? ", " : "", label);
		picture->workload = data->phases[phase].workload;
		write_panels(picture, &compare, SIZE_MAX, what, panels, count);
		status = picture_close(picture, folder);
	}
	compare_free(&compare);
	memory_free(panels);
	return status;
}

/* --- ratios of all phases --- */

/* Rows: a phase after the other, in each the configurations that are not the baseline. */
static size_t write_ratios(struct picture *picture, const struct compare *compare, struct range *range)
{
	const struct run_data *data = picture->data;
	size_t rows = 0;
	for (size_t i = 0; i < data->configuration_count; i++) {
		if (i == compare->baseline)
			continue;
		picture_begin_block(picture, picture_label(picture, i));
		fputs("# row ratio low high\n", picture->dat);
		for (size_t phase = 0; phase < data->phase_count; phase++) {
			const struct comparison *comparison = &compare_at(compare, phase, 0, i)->comparison;
			size_t place = i - (i > compare->baseline);
			size_t row = phase * data->configuration_count + place;
			struct interval interval = comparison->interval;
			bool has =
				comparison->blocks >= INTERVAL_LEAST || comparison->method == RATIO_MEDIANS;
			if (!has)
				interval = (struct interval) { comparison->ratio, comparison->ratio };
			if (isnan(comparison->ratio) || isnan(interval.low))
				continue;
			fprintf(picture->dat, "%zu %.6g %.6g %.6g\n", row, comparison->ratio, interval.low,
				interval.high);
			range_add(range, interval.low);
			range_add(range, interval.high);
			range_add(range, 1);
			rows++;
		}
		fputs("-10 NaN NaN NaN\n", picture->dat); /* a block is never empty */
	}
	return rows;
}

/* Rows are drawn from the top; a phase's name stands beside the middle of its rows. */
static double middle_of(const struct run_data *data, size_t phase)
{
	return (double)(phase * data->configuration_count) + (double)(data->configuration_count - 2) / 2;
}

/* Twice as fast and half as fast are as far from 1: a logarithmic axis, unless it would have no tics. */
static void put_ratio_axis(const struct picture *picture, const struct range *range)
{
	FILE *file = picture->script;
	const struct run_data *data = picture->data;
	double low = range->least * 0.9, high = range->most * 1.1;
	if (high / low > 4) {
		fputs("set logscale x 10\nset mxtics 1\nset xtics (", file);
		for (int power = -3; power <= 3; power++)
			fprintf(file, "\"%g\" %g, \"%g\" %g, \"%g\" %g%s", pow(10, power), pow(10, power),
				2 * pow(10, power), 2 * pow(10, power), 5 * pow(10, power),
				5 * pow(10, power), power < 3 ? ", " : ")\n");
	} else {
		double step = tic_step(high - low);
		low = floor(low / step) * step;
		high = ceil(high / step) * step;
		fprintf(file, "set xtics %.6g\n", step);
	}
	fprintf(file, "set xrange [%.6g:%.6g]\nset yrange [%zu:-1]\n", low, high,
		data->phase_count * data->configuration_count);
	fputs("set ytics scale 0 (", file);
	for (size_t phase = 0; phase < data->phase_count; phase++) {
		picture_put_text(file, data->phases[phase].title, true);
		fprintf(file, " %.2f%s", middle_of(data, phase),
			phase + 1 < data->phase_count ? ", " : ")\n");
	}
}

/* The numbers themselves, at the right, and a line where another workload begins. */
static void put_ratio_labels(const struct picture *picture, const struct compare *compare)
{
	const struct run_data *data = picture->data;
	FILE *file = picture->script;
	for (size_t phase = 0; phase < data->phase_count; phase++) {
		double first = (double)(phase * data->configuration_count);
		if (phase > 0 && strcmp(data->phases[phase].workload, data->phases[phase - 1].workload) != 0)
			fprintf(file,
				"set arrow from graph 0, first %.2f to graph 1, first %.2f nohead linecolor "
				"rgb \"#bbbbbb\" linewidth 0.8\n",
				first - 1, first - 1);
		for (size_t i = 0; i < data->configuration_count; i++) {
			double ratio = compare_at(compare, phase, 0, i)->comparison.ratio;
			if (i == compare->baseline || isnan(ratio))
				continue;
			fprintf(file,
				"set label \"%.*f\" at graph 1.02, first %.0f left font \",10\" "
				"textcolor rgb \"#%s\"\n",
				ratio < 10 ? 2 : 1, ratio, first + (double)(i - (i > compare->baseline)),
				picture_palette[i % PICTURE_COLOURS]);
		}
	}
}

static void put_ratios(struct picture *picture, const struct compare *compare, const struct range *range)
{
	const struct run_data *data = picture->data;
	FILE *file = picture->script;
	const char *baseline = picture_label(picture, compare->baseline);
	size_t lines, count = data->configuration_count;
	size_t columns = picture_key_columns(picture, 0, 800, &lines);
	int key = (int)lines * PICTURE_KEY_HEIGHT;
	int height = PICTURE_HEAD_HEIGHT + key + 100 + (int)(data->phase_count * count * 18);
	picture_put_style(picture, 800, height);
	picture_put_heading(picture, SIZE_MAX, 800,
			    "points, numbers: ratio; whiskers: 95 % interval; more is better",
			    "%s: throughput relative to %s", data->experiment, baseline);
	fprintf(file,
		"set tmargin at screen %.4f\nset bmargin at screen %.4f\nset rmargin 8\nset border 1\n"
		"set grid xtics noytics nomxtics nomytics\nset xlabel \"times the throughput of \" . ",
		1 - (double)PICTURE_HEAD_HEIGHT / height, (double)(key + 74) / height);
	picture_put_text(file, baseline, false);
	fprintf(file,
		"\nset key at screen 0.5,%.4f top center reverse Left horizontal maxcolumns %zu samplen 2 "
		"spacing 1.1\nset arrow from first 1, graph 0 to first 1, graph 1 nohead linecolor rgb "
		"\"#555555\" linewidth 1.2\n",
		(double)(key + 8) / height, columns);
	put_ratio_axis(picture, range);
	put_ratio_labels(picture, compare);
	fputs("plot ", file);
	static const int points[] = { 7, 5, 9, 11, 13, 6, 4, 8 };
	for (size_t i = 0, block = 0; i < count; i++) {
		if (i == compare->baseline)
			continue;
		fprintf(file,
			"%s\"%s.dat\" index %zu using 2:1:3:4 with xerrorbars linetype %zu linewidth 1.8 "
			"pointtype %d pointsize 0.8 title ",
			block > 0 ? ", \\\n     " : "", picture->name, block, i % PICTURE_COLOURS + 1,
			points[i % 8]);
		picture_put_text(file, picture_label(picture, i), false);
		block++;
	}
	fputc('\n', file);
}

struct status plot_ratios(const struct run_data *data, const char *folder, struct picture *picture,
			  bool *written)
{
	struct compare compare;
	struct range range = { NAN, NAN };
	*written = false;
	if (data->configuration_count < 2)
		return status_ok();
	struct status status = make_compare(data, 1, &compare);
	if (status_is_ok(status) && compare.metric_count > 0) {
		snprintf(picture->name, sizeof(picture->name), "ratios");
		status = picture_open(picture, data, folder);
		if (status_is_ok(status)) {
			*written = write_ratios(picture, &compare, &range) > 0;
			if (*written)
				put_ratios(picture, &compare, &range);
			status = picture_close(picture, folder);
		}
	}
	compare_free(&compare);
	return status;
}
