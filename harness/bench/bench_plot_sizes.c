/*
 * bench_plot_sizes.c: pictures of numbers against sizes, of those numbers that are compared.
 */
#include <math.h>
#include <string.h>

#include "harness/bench/bench_plot.h"
#include "harness/build_info.h"

enum { WIDTH = 860, HEIGHT = 540, LINES_MAX = BENCH_VARIANTS_MAX + BENCH_SIDES_MAX, TEXT_BYTES = 512 };

/* A linear axis shows small differences better; over a wider range than that a logarithmic one. */
#define LINEAR_RANGE 4.0
#define WIDE_RANGE   1000.0

/* One line: a variant, or a shared side. */
struct line {
	const char *title;
	size_t colour;
	bool is_plain;
};

struct graph {
	const struct bench_report *report;
	const struct bench_measure *measure;
	const char *folder;
	unsigned side, number;
	struct line lines[LINES_MAX];
	size_t line_count;
	struct range range; /* of the medians and their spread */
	struct range sizes;
	bool has_low; /* some number is zero or less: no logarithm */
};

/* --- data --- */

static void write_point(struct graph *graph, struct picture *picture, uint64_t size,
			const struct spread *spread)
{
	if (isnan(spread->median))
		return;
	(void)fprintf(picture->dat, "%llu %.6g %.6g %.6g\n", (unsigned long long)size, spread->median,
		      spread->least, spread->most);
	graph->has_low = graph->has_low || spread->least <= 0;
	range_add(&graph->range, spread->least);
	range_add(&graph->range, spread->most);
	range_add(&graph->sizes, (double)size);
}

/* A block of all that the judged rows say of the place; false: nothing. */
static bool write_variant(struct graph *graph, struct picture *picture, const char *variant)
{
	bool any = false;
	for (size_t i = 0; i < graph->report->row_count; i++) {
		const struct bench_row *row = &graph->report->rows[i];
		if (row->measure != graph->measure || row->kind != BENCH_ROW_VALUE ||
		    row->number != graph->number || row->ours_at.side != graph->side ||
		    strcmp(row->ours_at.variant, variant) != 0 || row->ours.count == 0)
			continue;
		if (!any)
			(void)picture_begin_block(picture, variant);
		any = true;
		write_point(graph, picture, row->ours_at.size, &row->ours);
	}
	return any;
}

/* Shared sides are in the samples alone. */
static bool write_shared(struct graph *graph, struct picture *picture, unsigned side)
{
	const struct bench_results *results = graph->report->results;
	uint64_t sizes[BENCH_SIZES_MAX];
	size_t count = bench_sizes_of(results->options, graph->measure, sizes);
	bool any = false;
	for (size_t i = 0; i < count; i++) {
		struct spread spread = bench_spread_of(results, graph->measure, graph->number,
						       &(struct bench_place) { side, NULL, sizes[i] });
		if (spread.count == 0)
			continue;
		if (!any)
			(void)picture_begin_block(picture, graph->measure->sides[side].name);
		any = true;
		write_point(graph, picture, sizes[i], &spread);
	}
	return any;
}

/* The place of X among the variants, for plain_X too. */
static size_t colour_of(const char *const *variants, size_t count, size_t index)
{
	if (!bench_is_plain(variants[index]))
		return index;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(variants[index] + strlen(BENCH_PLAIN_PREFIX), variants[i]) == 0)
			return i;
	}
	return index;
}

static void write_data(struct graph *graph, struct picture *picture)
{
	const struct bench_options *options = graph->report->results->options;
	const char *variants[BENCH_VARIANTS_MAX];
	size_t count = bench_variants_of(options, graph->measure, variants);
	(void)fputs("# size median least most\n", picture->dat);
	for (size_t i = 0; i < count; i++) {
		if (write_variant(graph, picture, variants[i]))
			graph->lines[graph->line_count++] =
				(struct line) { variants[i], colour_of(variants, count, i),
						bench_is_plain(variants[i]) };
	}
	for (unsigned side = 0; side < graph->measure->side_count; side++) {
		if (!bench_side_has_variants(options, graph->measure, side) &&
		    write_shared(graph, picture, side))
			graph->lines[graph->line_count++] =
				(struct line) { graph->measure->sides[side].name, count + side, false };
	}
}

/* --- script --- */

static void put_heading(const struct graph *graph, const struct picture *picture)
{
	const struct bench_options *options = graph->report->results->options;
	char title[TEXT_BYTES], subtitle[TEXT_BYTES];
	bool several = graph->measure->side_count > graph->measure->shared_sides + 1;
	(void)snprintf(title, sizeof(title), "cascade bench %s: %s%s%s, %s", options->kind->name,
		       graph->measure->name, several ? ", " : "",
		       several ? graph->measure->sides[graph->side].name : "",
		       graph->measure->numbers[graph->number].name);
	(void)snprintf(subtitle, sizeof(subtitle),
		       "medians of repetitions, each in a fresh process; whiskers: least and most%s%s%s",
		       options->quick ? "; a quick look" : "", build_is_debug() ? "; build type " : "",
		       build_is_debug() ? build_type() : "");
	bench_put_heading(picture, title, subtitle);
}

static void put_size_axis(const struct graph *graph, FILE *file)
{
	uint64_t sizes[BENCH_SIZES_MAX];
	char label[64];
	size_t count = bench_sizes_of(graph->report->results->options, graph->measure, sizes);
	(void)fputs("set logscale x 10\nset mxtics 1\nset xtics (", file);
	for (size_t i = 0; i < count; i++) {
		(void)bench_format_size(graph->measure, sizes[i], label, sizeof(label));
		(void)fprintf(file, "\"%s\" %llu%s", label, (unsigned long long)sizes[i],
			      i + 1 < count ? ", " : ")\n");
	}
	(void)fprintf(file, "set xrange [%.6g:%.6g]\nset xlabel ", graph->sizes.least * 0.8,
		      graph->sizes.most * 1.25);
	picture_put_text(file, graph->measure->size_name, false);
	(void)fputc('\n', file);
}

static const char *axis_text(enum bench_unit unit)
{
	static const char *const texts[] = { "ns", "1/s", "bytes", "", "bytes/s", "share", "" };
	return texts[unit];
}

/* 1, 2, 5, 10, ...; over a wide range only the powers of ten bear their numbers. */
static void put_number_tics(const struct range *range, FILE *file)
{
	int first = (int)floor(log10(range->least)), last = (int)ceil(log10(range->most));
	bool wide = range->most / range->least > WIDE_RANGE;
	(void)fputs("set mytics 1\nset ytics (", file);
	for (int power = first; power <= last; power++) {
		double one = pow(10, power);
		if (wide)
			(void)fprintf(file, "\"%g\" %g, \"\" %g, \"\" %g", one, one, 2 * one, 5 * one);
		else
			(void)fprintf(file, "\"%g\" %g, \"%g\" %g, \"%g\" %g", one, one, 2 * one, 2 * one,
				      5 * one, 5 * one);
		(void)fputs(power < last ? ", " : ")\n", file);
	}
}

static void put_number_axis(const struct graph *graph, FILE *file)
{
	const struct range *range = &graph->range;
	if (!graph->has_low && range->most > LINEAR_RANGE * range->least) {
		(void)fprintf(file, "set logscale y 10\nset yrange [%.6g:%.6g]\n", range->least * 0.8,
			      range->most * 1.25);
		put_number_tics(range, file);
	} else {
		(void)fputs("set yrange [0:*]\nset format y \"%g\"\n", file);
	}
	(void)fputs("set ylabel ", file);
	picture_put_text(file, axis_text(graph->measure->numbers[graph->number].unit), false);
	(void)fputc('\n', file);
}

static void put_lines(const struct graph *graph, const struct picture *picture)
{
	FILE *file = picture->script;
	(void)fputs("plot ", file);
	for (size_t i = 0; i < graph->line_count; i++) {
		const struct line *line = &graph->lines[i];
		(void)fprintf(file,
			      "\"%s.dat\" index %zu using 1:2:3:4 with yerrorlines linetype %zu %spointsize "
			      "0.6 title ",
			      picture->name, i, line->colour % PICTURE_COLOURS + 1,
			      line->is_plain || line->colour >= PICTURE_COLOURS ? picture_dashes(1) : "");
		picture_put_text(file, line->title, false);
		(void)fputs(i + 1 < graph->line_count ? ", \\\n     " : "\n", file);
	}
}

static void put_script(const struct graph *graph, const struct picture *picture)
{
	FILE *file = picture->script;
	picture_put_style(picture, WIDTH, HEIGHT);
	put_heading(graph, picture);
	(void)fputs("set tmargin 5\nset key outside right top reverse Left samplen 2\n", file);
	put_size_axis(graph, file);
	put_number_axis(graph, file);
	put_lines(graph, picture);
}

/* --- all of them --- */

static struct status plot_graph(struct graph *graph)
{
	const struct bench_measure *measure = graph->measure;
	struct picture picture = { .data = NULL };
	(void)snprintf(picture.name, sizeof(picture.name), "bench-%s-%s",
		       graph->report->results->options->kind->name, measure->name);
	if (measure->side_count > measure->shared_sides + 1) {
		picture_append_name(&picture, "-");
		picture_append_name(&picture, measure->sides[graph->side].name);
	}
	picture_append_name(&picture, "-");
	picture_append_name(&picture, measure->numbers[graph->number].name);
	TRY(picture_open(&picture, NULL, graph->folder));
	write_data(graph, &picture);
	if (graph->line_count > 0)
		put_script(graph, &picture);
	TRY(picture_close(&picture, graph->folder));
	return graph->line_count > 0 ? plot_draw(graph->folder, picture.name, PLOT_DEFAULT, NULL)
				     : status_ok();
}

/* Keeps the first error, but goes on after UNSUPPORTED, which comes after the files were written. */
static struct status plot_side(const struct bench_report *report, const struct bench_measure *measure,
			       const char *folder, unsigned side)
{
	struct status status = status_ok();
	for (unsigned number = 0; number < BENCH_NUMBERS_MAX; number++) {
		struct graph graph = { .report = report,
				       .measure = measure,
				       .folder = folder,
				       .side = side,
				       .number = number,
				       .range = { NAN, NAN },
				       .sizes = { NAN, NAN } };
		if (measure->numbers[number].name == NULL || !bench_is_compared(measure, number))
			break;
		status_keep_first(&status, plot_graph(&graph));
		if (!status_is_ok(status) && !status_is(status, STATUS_UNSUPPORTED))
			break;
	}
	return status;
}

struct status bench_plot_sizes(const struct bench_report *report, const char *folder)
{
	const struct bench_options *options = report->results->options;
	struct status status = status_ok();
	for (size_t i = 0; options->kind->measures[i] != NULL; i++) {
		const struct bench_measure *measure = options->kind->measures[i];
		if (!bench_is_chosen(options, measure) || measure->size_count == 0)
			continue;
		for (unsigned side = 0; side < measure->side_count; side++) {
			if (bench_side_has_variants(options, measure, side))
				status_keep_first(&status, plot_side(report, measure, folder, side));
		}
	}
	return status;
}
