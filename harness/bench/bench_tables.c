/*
 * bench_tables.c: what the measures say of variants, as tables: one for each number, with a line for each
 * variant and columns for each size.
 */
#include <math.h>
#include <string.h>

#include "harness/bench/bench_report.h"

enum { COLUMNS_MAX = 2 + 3 * BENCH_SIZES_MAX, LABEL_BYTES = 64 };

/* A measure in a run. */
struct sheet {
	const struct bench_report *report;
	const struct bench_measure *measure;
	const char *variants[BENCH_VARIANTS_MAX];
	size_t variant_count;
	uint64_t sizes[BENCH_SIZES_MAX];
	size_t size_count;
};

/* The row of that kind; NULL: there is none. */
static const struct bench_row *find_row(const struct sheet *sheet, enum bench_row_kind kind, unsigned side,
					unsigned number, const char *variant, uint64_t size)
{
	for (size_t i = 0; i < sheet->report->row_count; i++) {
		const struct bench_row *row = &sheet->report->rows[i];
		if (row->measure == sheet->measure && row->kind == kind && row->number == number &&
		    row->ours_at.side == side && row->ours_at.size == size &&
		    strcmp(row->ours_at.variant, variant) == 0)
			return row;
	}
	return NULL;
}

/* What the columns of a size hold beside the medians. */
struct columns {
	bool ratios, intervals;
};

static struct columns columns_of(const struct sheet *sheet, unsigned side, unsigned number, uint64_t size)
{
	struct columns columns = { false, false };
	for (size_t v = 0; v < sheet->variant_count; v++) {
		const struct bench_row *row =
			find_row(sheet, BENCH_ROW_VALUE, side, number, sheet->variants[v], size);
		columns.ratios = columns.ratios || (row != NULL && !isnan(row->ratio));
		columns.intervals = columns.intervals || (row != NULL && !isnan(row->interval.low));
	}
	return columns;
}

/* "random: insert_ns"; which side it is where there are several. */
static void print_title(const struct sheet *sheet, unsigned side, const char *what, FILE *file)
{
	const struct bench_measure *measure = sheet->measure;
	bool several = measure->side_count > measure->shared_sides + 1;
	(void)fprintf(file, "%s%s%s: %s", measure->name, several ? ", " : "",
		      several ? measure->sides[side].name : "", what);
}

static void add_value(struct text_table *table, const struct bench_row *row, struct columns columns)
{
	/* The baseline is not set beside itself. */
	bool alone = row == NULL || !row->has_reference;
	char text[LABEL_BYTES];
	if (row == NULL)
		text_table_add(table, NULL);
	else
		text_table_add(table, bench_format_number(row->measure->numbers[row->number].unit,
							  row->ours.median, text, sizeof(text)));
	if (columns.ratios && alone)
		text_table_add(table, "");
	else if (columns.ratios)
		bench_add_ratio(table, row->ratio);
	if (columns.intervals && alone)
		text_table_add(table, "");
	else if (columns.intervals)
		bench_add_interval(table, &row->interval);
}

static void add_values(struct text_table *table, const struct sheet *sheet, unsigned side, unsigned number,
		       const char *variant, const struct columns *columns)
{
	text_table_add(table, variant);
	for (size_t i = 0; i < sheet->size_count; i++) {
		const struct bench_row *row =
			find_row(sheet, BENCH_ROW_VALUE, side, number, variant, sheet->sizes[i]);
		add_value(table, row, columns[i]);
	}
}

static void print_number(const struct sheet *sheet, unsigned side, unsigned number, FILE *file)
{
	char labels[BENCH_SIZES_MAX][LABEL_BYTES];
	const char *headers[COLUMNS_MAX] = { "variant" };
	struct columns columns[BENCH_SIZES_MAX];
	struct text_table table;
	size_t count = 1;
	bool ratios = false;
	for (size_t i = 0; i < sheet->size_count; i++) {
		columns[i] = columns_of(sheet, side, number, sheet->sizes[i]);
		ratios = ratios || columns[i].ratios;
		(void)bench_format_size(sheet->measure, sheet->sizes[i], labels[i], LABEL_BYTES);
		headers[count++] = sheet->sizes[i] > 0 ? labels[i] : "median";
		if (columns[i].ratios)
			headers[count++] = "ratio";
		if (columns[i].intervals)
			headers[count++] = "95 %";
	}
	print_title(sheet, side, sheet->measure->numbers[number].name, file);
	if (ratios)
		(void)fprintf(file, ", and its ratio to that of %s",
			      bench_baseline(sheet->report->results->options));
	(void)fputc('\n', file);
	text_table_init(&table, headers, count);
	for (size_t v = 0; v < sheet->variant_count; v++)
		add_values(&table, sheet, side, number, sheet->variants[v], columns);
	text_table_print(&table, file);
	text_table_free(&table);
	(void)fputc('\n', file);
}

/* --- beside plain forms --- */

/* A line for a number of a variant, if it has a plain form with numbers; returns how many were added. */
static size_t add_plain(struct text_table *table, const struct sheet *sheet, unsigned side, unsigned number,
			const char *variant)
{
	bool any = false;
	for (size_t i = 0; i < sheet->size_count; i++) {
		const struct bench_row *row =
			find_row(sheet, BENCH_ROW_PLAIN, side, number, variant, sheet->sizes[i]);
		any = any || (row != NULL && !isnan(row->ratio));
	}
	if (!any)
		return 0;
	text_table_add(table, sheet->measure->numbers[number].name);
	text_table_add(table, variant);
	for (size_t i = 0; i < sheet->size_count; i++) {
		const struct bench_row *row =
			find_row(sheet, BENCH_ROW_PLAIN, side, number, variant, sheet->sizes[i]);
		bench_add_ratio(table, row != NULL ? row->ratio : NAN);
		text_table_add(table, bench_verdict_text(row != NULL ? row->verdict : BENCH_SAYS_NOTHING));
	}
	return 1;
}

static void print_plain(const struct sheet *sheet, unsigned side, FILE *file)
{
	char labels[BENCH_SIZES_MAX][LABEL_BYTES];
	const char *headers[COLUMNS_MAX] = { "number", "variant" };
	struct text_table table;
	size_t count = 2, lines = 0;
	for (size_t i = 0; i < sheet->size_count; i++) {
		(void)bench_format_size(sheet->measure, sheet->sizes[i], labels[i], LABEL_BYTES);
		headers[count++] = sheet->sizes[i] > 0 ? labels[i] : "ratio";
		headers[count++] = "verdict";
	}
	text_table_init(&table, headers, count);
	for (unsigned number = 0; number < BENCH_NUMBERS_MAX; number++) {
		if (sheet->measure->numbers[number].name == NULL)
			break;
		for (size_t v = 0; v < sheet->variant_count; v++)
			lines += add_plain(&table, sheet, side, number, sheet->variants[v]);
	}
	if (lines > 0) {
		print_title(sheet, side, "beside plain forms; times at most 1, rates at least 1\n", file);
		text_table_print(&table, file);
		(void)fputc('\n', file);
	}
	text_table_free(&table);
}

/* --- all of it --- */

static void print_measure(const struct sheet *sheet, FILE *file)
{
	const struct bench_options *options = sheet->report->results->options;
	for (unsigned side = 0; side < sheet->measure->side_count; side++) {
		if (!bench_side_has_variants(options, sheet->measure, side))
			continue;
		for (unsigned number = 0; number < BENCH_NUMBERS_MAX; number++) {
			if (sheet->measure->numbers[number].name == NULL)
				break;
			print_number(sheet, side, number, file);
		}
		print_plain(sheet, side, file);
	}
}

void bench_print_variants(const struct bench_report *report, FILE *file)
{
	const struct bench_options *options = report->results->options;
	for (size_t i = 0; options->kind->measures[i] != NULL; i++) {
		struct sheet sheet = { .report = report, .measure = options->kind->measures[i] };
		if (!bench_is_chosen(options, sheet.measure))
			continue;
		sheet.variant_count = bench_variants_of(options, sheet.measure, sheet.variants);
		sheet.size_count = bench_sizes_of(options, sheet.measure, sheet.sizes);
		print_measure(&sheet, file);
	}
}
