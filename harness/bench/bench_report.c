#include "harness/bench/bench_report.h"

#include <math.h>
#include <string.h>

#include "harness/build_info.h"
#include "harness/json_writer.h"
#include "harness/text_table.h"

enum { SCHEMA_VERSION = 1 };

/* --- the table --- */

static void add_number(struct text_table *table, const struct bench_row *row, double number)
{
	char text[64];
	text_table_add(table, bench_format_number(row->measure->numbers[row->claim->number].unit, number,
						  text, sizeof(text)));
}

static void add_ratio(struct text_table *table, const struct bench_row *row)
{
	if (isnan(row->ratio))
		text_table_add(table, NULL);
	else
		text_table_add_format(table, "%.3g", row->ratio);
	if (isnan(row->interval.low) || isnan(row->interval.high))
		text_table_add(table, NULL);
	else
		text_table_add_format(table, "%.3g..%.3g", row->interval.low, row->interval.high);
}

static void print_rows(const struct bench_report *report, bool variants, FILE *file)
{
	static const char *const headers[] = { "measure", "variant", "ours",  "reference", "against",
					       "ratio",	  "95 %",    "bound", "verdict" };
	struct text_table table;
	char bound[64];
	/* The second column is that of variants. */
	const char *shown[sizeof(headers) / sizeof(headers[0])];
	size_t columns = 0;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		if (i != 1 || variants)
			shown[columns++] = headers[i];
	}
	text_table_init(&table, shown, columns);
	for (size_t i = 0; i < report->row_count; i++) {
		const struct bench_row *row = &report->rows[i];
		text_table_add(&table, row->claim->name);
		if (variants)
			text_table_add(&table, row->variant);
		add_number(&table, row, row->ours.median);
		add_number(&table, row, row->reference.median);
		text_table_add(&table, row->measure->sides[row->claim->reference].name);
		add_ratio(&table, row);
		text_table_add(&table, bench_format_bound(row, bound, sizeof(bound)));
		text_table_add(&table, bench_verdict_text(row->verdict));
	}
	text_table_print(&table, file);
	text_table_free(&table);
}

static void print_remarks(const struct bench_report *report, FILE *file)
{
	const struct bench_results *results = report->results;
	for (size_t i = 0; i < results->remark_count; i++) {
		const struct bench_remark *remark = &results->remarks[i];
		const char *side = remark->measure->sides[remark->side].name;
		(void)fprintf(file, "%s%s, %s: %s%s\n", i == 0 ? "\n" : "", remark->measure->name, side,
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
		bounds += report->rows[i].claim->bound != BENCH_NO_BOUND;
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
	print_rows(report, report->results->options->kind->has_variants, file);
	print_remarks(report, file);
	print_legend(report, file);
}

/* --- JSON --- */

static const char *unit_text(enum bench_unit unit)
{
	static const char *const texts[] = { "ns", "1/s", "B", "1" };
	return texts[unit];
}

static void write_side(struct json_writer *json, const char *key, const struct bench_row *row, unsigned side,
		       const struct spread *spread)
{
	json_object_begin(json, key);
	json_text(json, "side", row->measure->sides[side].name);
	json_count(json, "count", spread->count);
	json_real(json, "median", spread->median);
	json_real(json, "least", spread->least);
	json_real(json, "most", spread->most);
	json_object_end(json);
}

static void write_bound(struct json_writer *json, const struct bench_claim *claim)
{
	static const char *const kinds[] = { NULL, "ratio_at_most", "ratio_at_least", "more_at_most",
					     "value_at_most" };
	if (claim->bound == BENCH_NO_BOUND) {
		json_text(json, "bound", NULL);
		return;
	}
	json_object_begin(json, "bound");
	json_text(json, "kind", kinds[claim->bound]);
	json_real(json, "limit", claim->limit);
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
	const struct bench_claim *claim = row->claim;
	json_object_begin(json, NULL);
	json_text(json, "name", claim->name);
	json_text(json, "what", claim->what);
	json_text(json, "measure", row->measure->name);
	json_text(json, "variant", row->variant);
	json_text(json, "number", row->measure->numbers[claim->number].name);
	json_text(json, "unit", unit_text(row->measure->numbers[claim->number].unit));
	write_side(json, "ours", row, claim->ours, &row->ours);
	write_side(json, "reference", row, claim->reference, &row->reference);
	json_real(json, "ratio", row->ratio);
	write_interval(json, &row->interval);
	write_bound(json, claim);
	json_text(json, "verdict", verdicts[row->verdict]);
	json_text(json, "missing", row->missing);
	json_object_end(json);
}

static void write_remarks(struct json_writer *json, const struct bench_results *results)
{
	json_array_begin(json, "remarks");
	for (size_t i = 0; i < results->remark_count; i++) {
		const struct bench_remark *remark = &results->remarks[i];
		json_object_begin(json, NULL);
		json_text(json, "measure", remark->measure->name);
		json_text(json, "variant", remark->variant);
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
	json_array_begin(&json, "claims");
	for (size_t i = 0; i < report->row_count; i++)
		write_row(&json, &report->rows[i]);
	json_array_end(&json);
	write_remarks(&json, report->results);
	json_object_end(&json);
	(void)fputc('\n', file);
}
