#include "harness/run_table.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/units.h"
#include "harness/allocate.h"
#include "harness/compare.h"
#include "harness/text_table.h"

/* A percentile is printed if at least this many operations lie beyond it. */
enum { BEYOND_MIN = 100 };

void run_table_init(struct run_table *table)
{
	*table = (struct run_table) { .count = 0 };
}

void run_table_free(struct run_table *table)
{
	memory_free(table->rows);
	run_table_init(table);
}

void run_table_add(struct run_table *table, uint32_t cell, uint32_t repetition,
		   const struct phase_summary *summary)
{
	if (table->count == table->capacity) {
		table->capacity = 2 * table->capacity + 16;
		table->rows = allocate_resize(table->rows, table->capacity * sizeof(*table->rows));
	}
	table->rows[table->count++] =
		(struct run_table_row) { .cell = cell, .repetition = repetition, .summary = *summary };
}

static int compare_reals(const void *a, const void *b)
{
	double first = *(const double *)a, second = *(const double *)b;
	return (first > second) - (first < second);
}

double median_of(double *values, size_t count)
{
	size_t known = 0;
	for (size_t i = 0; i < count; i++) {
		if (!isnan(values[i]))
			values[known++] = values[i];
	}
	if (known == 0)
		return NAN;
	qsort(values, known, sizeof(*values), compare_reals);
	return known % 2 == 1 ? values[known / 2] : (values[known / 2 - 1] + values[known / 2]) / 2;
}

/* --- what a column shows of a summary --- */

enum column {
	COLUMN_OPS,
	COLUMN_CPU,
	COLUMN_READS,
	COLUMN_RSS,
	COLUMN_COUNT,
	COLUMN_P50,
	COLUMN_P99,
	COLUMN_P999,
	COLUMN_MAX,
};

static double latency_us(const struct latency_summary *latency, uint64_t ns, double beyond)
{
	return (double)latency->count * beyond >= BEYOND_MIN ? (double)ns * 1e-3 : NAN;
}

static double column_of(const struct phase_summary *summary, enum column column, int kind)
{
	const struct latency_summary *latency = &summary->latency[kind];
	switch (column) {
	case COLUMN_OPS:
		return summary->ops_s;
	case COLUMN_CPU:
		return summary->cpu_us_per_op;
	case COLUMN_READS:
		return summary->reads_per_op;
	case COLUMN_RSS:
		return summary->rss_peak_bytes / (1 << 20);
	case COLUMN_COUNT:
		return (double)latency->count;
	case COLUMN_P50:
		return latency->count > 0 ? (double)latency->p50_ns * 1e-3 : NAN;
	case COLUMN_P99:
		return latency_us(latency, latency->p99_ns, 0.01);
	case COLUMN_P999:
		return latency_us(latency, latency->p999_ns, 0.001);
	case COLUMN_MAX:
		return latency->count > 0 ? (double)latency->max_ns * 1e-3 : NAN;
	}
	return NAN;
}

struct group {
	const struct run_table *table;
	const struct experiment *experiment;
	bool ratios;	/* are shown */
	double *values; /* room for all rows */
	uint32_t cell, phase;
};

static double median_in(const struct group *group, enum column column, int kind)
{
	size_t count = 0;
	for (size_t i = 0; i < group->table->count; i++) {
		const struct run_table_row *row = &group->table->rows[i];
		if (row->cell != group->cell || row->summary.phase_index != group->phase)
			continue;
		double value = column_of(&row->summary, column, kind);
		/* Of fewer repetitions than the p99 beside it, a p99.9 might be the lower one. */
		if (isnan(value) && column >= COLUMN_P50 && row->summary.latency[kind].count > 0)
			return NAN;
		group->values[count++] = value;
	}
	return median_of(group->values, count);
}

/* --- printing --- */

static void add_number(struct text_table *text, double number)
{
	if (isnan(number))
		text_table_add(text, NULL);
	else
		text_table_add_format(text, "%.*f", number < 10 ? 2 : number < 100 ? 1 : 0, number);
}

static void add_count(struct text_table *text, double number)
{
	char buffer[UNITS_TEXT_BYTES];
	text_table_add(text, isnan(number) ? NULL : units_print_count((uint64_t)llround(number), buffer));
}

/* --- ratios --- */

/* Whether any configuration has a baseline that is another one. */
static bool has_ratios(const struct experiment *experiment)
{
	for (size_t i = 0; i < experiment->cell_count; i++) {
		if (!experiment->cells[i].is_baseline)
			return true;
	}
	return false;
}

/* The baseline that did the same work; NULL: none, or it is the cell itself. */
static const struct cell *baseline_of(const struct experiment *experiment, const struct cell *cell)
{
	for (size_t i = 0; i < experiment->cell_count && !cell->is_baseline; i++) {
		const struct cell *other = &experiment->cells[i];
		if (other->is_baseline && strcmp(other->workload_hash, cell->workload_hash) == 0)
			return other;
	}
	return NULL;
}

static size_t throughputs(const struct run_table *table, size_t cell, uint32_t phase, struct sample *samples)
{
	size_t count = 0;
	for (size_t i = 0; i < table->count; i++) {
		const struct run_table_row *row = &table->rows[i];
		if (row->cell == cell && row->summary.phase_index == phase && row->summary.verdict != 2 &&
		    !isnan(row->summary.ops_s))
			samples[count++] = (struct sample) { row->summary.ops_s, row->repetition };
	}
	return count;
}

static void add_ratio(struct text_table *text, const struct group *group)
{
	const struct experiment *experiment = group->experiment;
	const struct cell *cell = &experiment->cells[group->cell];
	const struct cell *baseline = baseline_of(experiment, cell);
	if (baseline == NULL) {
		text_table_add(text, cell->is_baseline ? "1" : NULL);
		text_table_add(text, cell->is_baseline ? "baseline" : NULL);
		return;
	}
	size_t rows = group->table->count;
	struct sample *samples = allocate_zeroed(2 * rows, sizeof(*samples));
	size_t before = throughputs(group->table, baseline->index, group->phase, samples);
	size_t count = throughputs(group->table, group->cell, group->phase, samples + rows);
	struct comparison comparison =
		statistics_compare(samples, before, samples + rows, count, COMPARE_NOISE_FLOOR, true);
	if (isnan(comparison.ratio))
		text_table_add(text, NULL);
	else
		text_table_add_format(text, "%.3f", comparison.ratio);
	if (isnan(comparison.interval.low))
		text_table_add(text, NULL);
	else
		text_table_add_format(text, "%.3f .. %.3f", comparison.interval.low,
				      comparison.interval.high);
	memory_free(samples);
}

/* The phase's own numbers stand in the first of its lines. */
static void add_line(struct text_table *text, const struct group *group, const char *label, const char *phase,
		     int kind, bool first)
{
	if (label != NULL)
		text_table_add(text, first ? label : "");
	text_table_add(text, first ? phase : "");
	if (first)
		add_count(text, median_in(group, COLUMN_OPS, 0));
	else
		text_table_add(text, "");
	if (group->ratios && first)
		add_ratio(text, group);
	for (int i = 0; group->ratios && !first && i < 2; i++)
		text_table_add(text, "");
	bool any = kind < OPERATION_KINDS;
	text_table_add(text, any ? operation_names[kind] : NULL);
	static const enum column latencies[] = { COLUMN_P50, COLUMN_P99, COLUMN_P999, COLUMN_MAX };
	for (size_t i = 0; i < sizeof(latencies) / sizeof(latencies[0]); i++)
		add_number(text, any ? median_in(group, latencies[i], kind) : NAN);
	static const enum column resources[] = { COLUMN_CPU, COLUMN_READS, COLUMN_RSS };
	for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
		if (first)
			add_number(text, median_in(group, resources[i], 0));
		else
			text_table_add(text, "");
	}
}

static void add_group(struct text_table *text, const struct group *group, const char *label,
		      const char *phase)
{
	bool first = true;
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		if (!(median_in(group, COLUMN_COUNT, kind) > 0))
			continue;
		add_line(text, group, label, phase, kind, first);
		first = false;
	}
	if (first)
		add_line(text, group, label, phase, OPERATION_KINDS, true);
}

static void print_verdicts(const struct run_table *table, FILE *file)
{
	size_t suspect = 0, invalid = 0;
	for (size_t i = 0; i < table->count; i++) {
		suspect += table->rows[i].summary.verdict == 1;
		invalid += table->rows[i].summary.verdict == 2;
	}
	if (invalid > 0)
		(void)fprintf(file,
			      "invalid: %zu of %zu phases (validity.reasons in record.jsonl says why)\n",
			      invalid, table->count);
	if (suspect > 0)
		(void)fprintf(file,
			      "suspect: %zu of %zu phases (validity.reasons in record.jsonl says why)\n",
			      suspect, table->count);
}

static bool has_rows(const struct run_table *table, uint32_t cell, uint32_t phase)
{
	for (size_t i = 0; i < table->count; i++) {
		if (table->rows[i].cell == cell && table->rows[i].summary.phase_index == phase)
			return true;
	}
	return false;
}

void run_table_print(const struct run_table *table, const struct experiment *experiment, FILE *file)
{
	static const char *const headers[] = { "configuration", "phase",    "ops/s",	"operation",
					       "p50 us",	"p99 us",   "p99.9 us", "max us",
					       "CPU us/op",	"reads/op", "peak MiB" };
	static const char *const with_ratios[] = { "configuration", "phase",	 "ops/s",     "ratio",
						   "95 % interval", "operation", "p50 us",    "p99 us",
						   "p99.9 us",	    "max us",	 "CPU us/op", "reads/op",
						   "peak MiB" };
	size_t columns = sizeof(headers) / sizeof(headers[0]);
	bool labels = experiment->cell_count > 1, ratios = has_ratios(experiment);
	struct text_table text;
	if (table->count == 0)
		return;
	text_table_init(&text,
			ratios	 ? with_ratios
			: labels ? headers
				 : headers + 1,
			ratios	 ? columns + 2
			: labels ? columns
				 : columns - 1);
	struct group group = { .table = table,
			       .experiment = experiment,
			       .ratios = ratios,
			       .values = allocate_zeroed(table->count, sizeof(double)) };
	for (group.cell = 0; group.cell < experiment->cell_count; group.cell++) {
		const struct cell *cell = &experiment->cells[group.cell];
		for (group.phase = 0; group.phase < cell->workload.phase_count; group.phase++) {
			if (has_rows(table, group.cell, group.phase))
				add_group(&text, &group, labels ? cell->label : NULL,
					  cell->workload.phases[group.phase].name);
		}
	}
	if (experiment->repeats > 1)
		(void)fprintf(file, "medians of %u repetitions\n", experiment->repeats);
	text_table_print(&text, file);
	print_verdicts(table, file);
	text_table_free(&text);
	memory_free(group.values);
}
