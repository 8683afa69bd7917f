#include "harness/bench/bench_report.h"

#include <math.h>
#include <string.h>

#include "harness/build_info.h"
#include "harness/json_writer.h"
#include "harness/text_table.h"

enum { SCHEMA_VERSION = 1 };

/* --- the table of claims --- */

static void add_number(struct text_table *table, const struct bench_row *row, double number)
{
	char text[64];
	text_table_add(table, bench_format_number(row->measure->numbers[row->number].unit, number, text,
						  sizeof(text)));
}

void bench_add_ratio(struct text_table *table, double ratio)
{
	if (isnan(ratio))
		text_table_add(table, NULL);
	else
		text_table_add_format(table, "%.3g", ratio);
}

void bench_add_interval(struct text_table *table, const struct interval *interval)
{
	if (isnan(interval->low) || isnan(interval->high))
		text_table_add(table, NULL);
	else
		text_table_add_format(table, "%.3g..%.3g", interval->low, interval->high);
}

static void add_against(struct text_table *table, const struct bench_row *row)
{
	char size[64];
	if (!row->has_reference)
		text_table_add(table, NULL);
	else if (row->kind == BENCH_ROW_GROWTH)
		text_table_add_format(
			table, "at %s",
			bench_format_size(row->measure, row->reference_at.size, size, sizeof(size)));
	else
		text_table_add(table, row->measure->sides[row->reference_at.side].name);
}

static bool is_claim(const struct bench_row *row)
{
	return row->kind == BENCH_ROW_CLAIM || row->kind == BENCH_ROW_GROWTH;
}

static void add_row(struct text_table *table, const struct bench_row *row, bool variants, bool sizes)
{
	char text[64];
	text_table_add(table, row->name);
	if (variants)
		text_table_add(table, row->ours_at.variant);
	if (sizes)
		text_table_add(table, bench_format_size(row->measure, row->ours_at.size, text, sizeof(text)));
	add_number(table, row, row->ours.median);
	add_number(table, row, row->reference.median);
	add_against(table, row);
	bench_add_ratio(table, row->ratio);
	bench_add_interval(table, &row->interval);
	text_table_add(table, bench_format_bound(row, text, sizeof(text)));
	text_table_add(table, bench_verdict_text(row->verdict));
}

enum { VARIANT_COLUMN = 1, SIZE_COLUMN = 2 };

static void print_claims(const struct bench_report *report, FILE *file)
{
	static const char *const headers[] = { "measure", "variant", "at",   "ours",  "reference",
					       "against", "ratio",   "95 %", "bound", "verdict" };
	struct text_table table;
	const char *shown[sizeof(headers) / sizeof(headers[0])];
	bool variants = report->results->options->kind->has_variants, sizes = false;
	size_t columns = 0, claims = 0;
	for (size_t i = 0; i < report->row_count; i++) {
		claims += is_claim(&report->rows[i]);
		sizes = sizes || (is_claim(&report->rows[i]) && report->rows[i].ours_at.size > 0);
	}
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		if ((i != VARIANT_COLUMN || variants) && (i != SIZE_COLUMN || sizes))
			shown[columns++] = headers[i];
	}
	if (claims == 0)
		return;
	text_table_init(&table, shown, columns);
	for (size_t i = 0; i < report->row_count; i++) {
		if (is_claim(&report->rows[i]))
			add_row(&table, &report->rows[i], variants, sizes);
	}
	text_table_print(&table, file);
	text_table_free(&table);
}

/* --- below it --- */

/* The same of the same side was said before, of another variant or size. */
static bool is_said(const struct bench_results *results, size_t index)
{
	const struct bench_remark *remark = &results->remarks[index];
	for (size_t i = 0; i < index; i++) {
		const struct bench_remark *other = &results->remarks[i];
		if (other->measure == remark->measure && other->side == remark->side &&
		    other->is_failure == remark->is_failure && strcmp(other->text, remark->text) == 0)
			return true;
	}
	return false;
}

static void print_remarks(const struct bench_report *report, FILE *file)
{
	const struct bench_results *results = report->results;
	for (size_t i = 0; i < results->remark_count; i++) {
		const struct bench_remark *remark = &results->remarks[i];
		char size[64];
		if (is_said(results, i))
			continue;
		(void)bench_format_size(remark->measure, remark->size, size, sizeof(size));
		(void)fprintf(file, "%s%s, %s%s%s%s%s: %s%s\n", i == 0 ? "\n" : "", remark->measure->name,
			      remark->measure->sides[remark->side].name, remark->variant != NULL ? ", " : "",
			      remark->variant != NULL ? remark->variant : "", size[0] != '\0' ? " at " : "",
			      size,
			      remark->is_failure       ? "FAILED: "
			      : remark->is_unsupported ? "not measured: "
						       : "",
			      remark->text);
	}
}

static void print_legend(const struct bench_report *report, FILE *file)
{
	const struct bench_options *options = report->results->options;
	size_t holds = 0, broken = 0, bounds = 0;
	for (size_t i = 0; i < report->row_count; i++) {
		bounds += report->rows[i].bound != BENCH_NO_BOUND;
		holds += report->rows[i].verdict == BENCH_HOLDS;
		broken += report->rows[i].verdict == BENCH_BROKEN;
	}
	(void)fprintf(file,
		      "\nmedians of repetitions, each side in a fresh process; ratio: ours / reference, "
		      "with its 95 %% bootstrap interval\n");
	if (options->quick)
		(void)fprintf(file, "a quick look: too short to judge by\n");
	else
		(void)fprintf(file, "%zu of %zu bounds hold, %zu are broken\n", holds, bounds, broken);
	if (build_is_debug())
		(void)fprintf(file, "this is a build of the type '%s': its numbers say little\n",
			      build_type());
}

void bench_print_table(const struct bench_report *report, FILE *file)
{
	if (report->results->options->kind->has_variants)
		bench_print_variants(report, file);
	print_claims(report, file);
	print_remarks(report, file);
	print_legend(report, file);
}

/* --- JSON --- */

static const char *unit_text(enum bench_unit unit)
{
	static const char *const texts[] = { "ns", "1/s", "B", "1", "B/s", "1", "1" };
	return texts[unit];
}

static void write_side(struct json_writer *json, const char *key, const struct bench_row *row,
		       const struct bench_place *place, const struct spread *spread)
{
	json_object_begin(json, key);
	json_text(json, "side", row->measure->sides[place->side].name);
	if (place->variant != NULL)
		json_text(json, "variant", place->variant);
	if (place->size > 0)
		json_count(json, "size", place->size);
	json_count(json, "count", spread->count);
	json_real(json, "median", spread->median);
	json_real(json, "least", spread->least);
	json_real(json, "most", spread->most);
	json_object_end(json);
}

static void write_bound(struct json_writer *json, const struct bench_row *row)
{
	static const char *const kinds[] = { NULL,	     "ratio_at_most", "ratio_at_least",
					     "more_at_most", "value_at_most", "value_at_least" };
	if (row->bound == BENCH_NO_BOUND) {
		json_text(json, "bound", NULL);
		return;
	}
	json_object_begin(json, "bound");
	json_text(json, "kind", kinds[row->bound]);
	json_real(json, "limit", row->limit);
	json_object_end(json);
}

static void write_interval(struct json_writer *json, const struct interval *interval)
{
	if (isnan(interval->low) || isnan(interval->high)) {
		json_text(json, "interval", NULL);
		return;
	}
	json_array_begin(json, "interval");
	json_real(json, NULL, interval->low);
	json_real(json, NULL, interval->high);
	json_array_end(json);
}

static void write_row(struct json_writer *json, const struct bench_row *row)
{
	static const char *const verdicts[] = { NULL, "holds", "broken", "unclear" };
	static const char *const kinds[] = { "claim", "growth", "value", "plain" };
	json_object_begin(json, NULL);
	json_text(json, "kind", kinds[row->kind]);
	json_text(json, "name", row->name);
	json_text(json, "what", row->what);
	json_text(json, "measure", row->measure->name);
	json_text(json, "variant", row->ours_at.variant);
	json_known(json, "size", row->ours_at.size > 0 ? row->ours_at.size : UINT64_MAX);
	json_text(json, "number", row->measure->numbers[row->number].name);
	json_text(json, "unit", unit_text(row->measure->numbers[row->number].unit));
	write_side(json, "ours", row, &row->ours_at, &row->ours);
	if (row->has_reference)
		write_side(json, "reference", row, &row->reference_at, &row->reference);
	else
		json_text(json, "reference", NULL);
	json_real(json, "ratio", row->ratio);
	write_interval(json, &row->interval);
	write_bound(json, row);
	json_text(json, "verdict", verdicts[row->verdict]);
	json_text(json, "missing", row->missing);
	json_object_end(json);
}

static void write_rows(struct json_writer *json, const struct bench_report *report, const char *key,
		       bool values)
{
	json_array_begin(json, key);
	for (size_t i = 0; i < report->row_count; i++) {
		if ((report->rows[i].kind == BENCH_ROW_VALUE) == values)
			write_row(json, &report->rows[i]);
	}
	json_array_end(json);
}

static void write_remarks(struct json_writer *json, const struct bench_results *results)
{
	json_array_begin(json, "remarks");
	for (size_t i = 0; i < results->remark_count; i++) {
		const struct bench_remark *remark = &results->remarks[i];
		json_object_begin(json, NULL);
		json_text(json, "measure", remark->measure->name);
		json_text(json, "variant", remark->variant);
		json_known(json, "size", remark->size > 0 ? remark->size : UINT64_MAX);
		json_text(json, "side", remark->measure->sides[remark->side].name);
		json_boolean(json, "failure", remark->is_failure);
		json_text(json, "text", remark->text);
		json_object_end(json);
	}
	json_array_end(json);
}

void bench_print_json(const struct bench_report *report, FILE *file)
{
	struct json_writer json = { .file = file, .pretty = true };
	const struct bench_options *options = report->results->options;
	json_object_begin(&json, NULL);
	json_count(&json, "schema_version", SCHEMA_VERSION);
	json_text(&json, "kind", options->kind->name);
	json_text(&json, "run", report->run);
	json_text(&json, "build_type", build_type());
	json_boolean(&json, "quick", options->quick);
	json_boolean(&json, "failed", report->results->failed);
	json_boolean(&json, "stopped", report->results->stopped);
	if (options->kind->has_variants)
		json_text(&json, "baseline", bench_baseline(options));
	write_rows(&json, report, "claims", false);
	if (options->kind->has_variants)
		write_rows(&json, report, "values", true);
	write_remarks(&json, report->results);
	json_object_end(&json);
	(void)fputc('\n', file);
}
