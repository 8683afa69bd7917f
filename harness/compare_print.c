#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/units.h"
#include "harness/allocate.h"
#include "harness/compare.h"
#include "harness/parity.h"
#include "harness/text_table.h"

enum {
	NUMBER_BYTES = 64,
	LINE_BYTES = 512,
	REASONS_MAX = 8,
	SPAN_MAX = 1000,	 /* of an interval that is printed */
	HEADER_COLUMNS_MAX = 26, /* configurations with longer names are numbered */
};

/* Three or four digits of any number. */
static const char *number_text(double number, char buffer[static NUMBER_BYTES])
{
	char count[UNITS_TEXT_BYTES];
	if (isnan(number))
		(void)snprintf(buffer, NUMBER_BYTES, "-");
	else if (number == 0)
		(void)snprintf(buffer, NUMBER_BYTES, "0");
	else if (number >= 1000 && number < 1e18)
		(void)snprintf(buffer, NUMBER_BYTES, "%s",
			       units_print_count((uint64_t)llround(number), count));
	else if (number >= 10)
		(void)snprintf(buffer, NUMBER_BYTES, "%.1f", number);
	else if (number >= 0.1)
		(void)snprintf(buffer, NUMBER_BYTES, "%.3f", number);
	else
		(void)snprintf(buffer, NUMBER_BYTES, "%.3g", number);
	return buffer;
}

static const char *ratio_text(double ratio, char buffer[static NUMBER_BYTES])
{
	if (isnan(ratio))
		(void)snprintf(buffer, NUMBER_BYTES, "-");
	else if (ratio == 0)
		(void)snprintf(buffer, NUMBER_BYTES, "0");
	else if (ratio >= 100)
		(void)snprintf(buffer, NUMBER_BYTES, "%.0f", ratio);
	else if (ratio >= 10)
		(void)snprintf(buffer, NUMBER_BYTES, "%.1f", ratio);
	else
		(void)snprintf(buffer, NUMBER_BYTES, "%.3f", ratio);
	return buffer;
}

static const char *interval_text(struct interval interval, char buffer[static NUMBER_BYTES])
{
	char low[NUMBER_BYTES], high[NUMBER_BYTES];
	if (isnan(interval.low))
		return "-";
	if (interval.high > SPAN_MAX * interval.low)
		return "very wide"; /* of two repetitions: it says nothing, at length */
	(void)snprintf(buffer, NUMBER_BYTES, "%.28s .. %.28s", ratio_text(interval.low, low),
		       ratio_text(interval.high, high));
	return buffer;
}

/* --- a phase --- */

static void print_mix(const struct json *record, FILE *file)
{
	const struct json *mix = json_find(record, "phase.mix");
	for (const struct json *part = mix != NULL ? mix->first : NULL; part != NULL; part = part->next)
		(void)fprintf(file, ", %s %.3g %%", part->name, 100 * part->number);
}

/* "### run: 1,000,000 records of 1000 B, zipfian, read 50 %, 32 clients (workload 407e9dbc)" */
static void print_phase_heading(const struct compare *compare, size_t phase, FILE *file)
{
	const struct run_data *data = compare->data;
	const struct json *record = NULL;
	char count[UNITS_TEXT_BYTES];
	for (size_t i = 0; i < data->record_count && record == NULL; i++)
		record = data->records[i].phase == phase ? data->records[i].json : NULL;
	const struct run_phase *row = &data->phases[phase];
	(void)fprintf(file, "\n### %s: %s records of %.0f B", row->title,
		      units_print_count((uint64_t)json_number_at(record, "workload.records", 0), count),
		      json_number_at(record, "workload.value_size", 0));
	const char *distribution = json_text_at(record, "phase.distribution", NULL);
	if (distribution != NULL)
		(void)fprintf(file, ", %s", distribution);
	print_mix(record, file);
	(void)fprintf(file, ", %.0f clients", json_number_at(record, "phase.clients", 0));
	if (data->mode == RUN_DATA_BY_WORKLOAD)
		(void)fprintf(file, " (workload %.8s)", row->workload);
	(void)fputs("\n\n", file);
}

static void add_cell(struct text_table *text, const struct compare *compare, size_t phase, size_t metric,
		     size_t configuration, bool first)
{
	const struct compare_cell *cell = compare_at(compare, phase, metric, configuration);
	const struct metric *what = &compare->metrics[metric];
	char low[NUMBER_BYTES], high[NUMBER_BYTES], line[LINE_BYTES];
	(void)snprintf(line, sizeof(line), "%s%s%s", what->name, what->unit[0] != '\0' ? ", " : "",
		       what->unit);
	text_table_add(text, first ? line : "");
	text_table_add(text, compare->data->configurations[configuration].name);
	text_table_add_format(text, "%zu", cell->count);
	text_table_add(text, number_text(cell->spread.median / what->divisor, low));
	(void)snprintf(line, sizeof(line), "%s .. %s", number_text(cell->spread.least / what->divisor, low),
		       number_text(cell->spread.most / what->divisor, high));
	text_table_add(text, cell->count > 1 ? line : NULL);
	if (configuration == compare->baseline) {
		text_table_add(text, "1");
		text_table_add(text, "");
		text_table_add(text, "baseline");
		return;
	}
	text_table_add(text, ratio_text(cell->comparison.ratio, low));
	text_table_add(text, interval_text(cell->comparison.interval, high));
	text_table_add(text, metric_verdict(what, cell->comparison.verdict));
}

static void print_phase(const struct compare *compare, size_t phase, FILE *file)
{
	static const char *const headers[] = { "metric", "configuration", "n",	    "median", "least .. most",
					       "ratio",	 "95 % interval", "verdict" };
	struct text_table text;
	text_table_init(&text, headers, sizeof(headers) / sizeof(headers[0]));
	for (size_t metric = 0; metric < compare->metric_count; metric++) {
		bool first = true;
		for (size_t i = 0; i < compare->data->configuration_count; i++) {
			if (compare_at(compare, phase, metric, i)->count == 0)
				continue;
			add_cell(&text, compare, phase, metric, i, first);
			first = false;
		}
	}
	print_phase_heading(compare, phase, file);
	text_table_print_markdown(&text, file);
	text_table_free(&text);
}

/* --- what qualifies the numbers of a phase --- */

static void print_hiccups(const struct compare *compare, size_t phase, FILE *file)
{
	const struct run_data *data = compare->data;
	const struct run_record *worst = NULL;
	double *p999 = allocate_zeroed(data->record_count + 1, sizeof(*p999));
	size_t count = 0;
	double most = 0;
	for (size_t i = 0; i < data->record_count; i++) {
		const struct run_record *record = &data->records[i];
		double max_ns = json_number_at(record->json, "hiccup.max_ns", NAN);
		if (record->phase != phase || isnan(max_ns))
			continue;
		p999[count++] = json_number_at(record->json, "hiccup.p999_ns", NAN);
		if (worst == NULL || max_ns > most) {
			worst = record;
			most = max_ns;
		}
	}
	if (worst != NULL)
		(void)fprintf(
			file,
			"\nhiccups (how late a thread woke that only slept): p99.9 %.2f ms (median), %.2f ms "
			"at most (%s, repetition %u)\n",
			statistics_median(p999, count) * 1e-6, most * 1e-6,
			data->configurations[worst->configuration].name, worst->repetition);
	memory_free(p999);
}

/* Each reason for doubt once, with how many records have one like it; numbers in them differ. */
static void print_doubts(const struct compare *compare, size_t phase, FILE *file)
{
	const struct run_data *data = compare->data;
	struct {
		const char *text;
		size_t length, count;
	} reasons[REASONS_MAX];
	size_t known = 0, suspect = 0, all = 0;
	for (size_t i = 0; i < data->record_count; i++) {
		const struct json *record = data->records[i].json;
		if (data->records[i].phase != phase)
			continue;
		const char *verdict = json_text_at(record, "validity.verdict", "valid");
		const struct json *list = json_find(record, "validity.reasons");
		all++;
		suspect += strcmp(verdict, "suspect") == 0;
		for (const struct json *reason = list != NULL ? list->first : NULL; reason != NULL;
		     reason = reason->next) {
			size_t length = strcspn(reason->text, ":="), at = 0;
			while (at < known && (reasons[at].length != length ||
					      strncmp(reasons[at].text, reason->text, length) != 0))
				at++;
			if (at == REASONS_MAX)
				continue;
			if (at == known) {
				reasons[known].text = reason->text;
				reasons[known].length = length;
				reasons[known++].count = 0;
			}
			reasons[at].count++;
		}
	}
	if (suspect > 0)
		(void)fprintf(file, "\nsuspect: %zu of %zu records\n", suspect, all);
	for (size_t i = 0; i < known; i++)
		(void)fprintf(file, "- %zu x %s\n", reasons[i].count, reasons[i].text);
}

/* --- around the phases --- */

static const char *method_text(const struct compare *compare)
{
	bool blocks = false, medians = false, single = false;
	for (size_t phase = 0; phase < compare->data->phase_count; phase++) {
		for (size_t i = 0; i < compare->data->configuration_count * compare->metric_count; i++) {
			enum ratio_method method = compare->cells[phase * compare->metric_count *
									  compare->data->configuration_count +
								  i]
							   .comparison.method;
			blocks = blocks || method == RATIO_BLOCKS;
			medians = medians || method == RATIO_MEDIANS;
			single = single || method == RATIO_SINGLE;
		}
	}
	if (blocks && medians && compare->data->run_count > 1)
		return "Ratios within one run: geometric mean of the ratios within each block, Student's t "
		       "interval; between runs: ratio of medians, bootstrap interval.";
	if (blocks)
		return "Ratios: geometric mean of the ratios within each block of the interleaved run, with "
		       "Student's t interval on their logarithms.";
	if (medians)
		return "Ratios: of medians, with a bootstrap interval (10,000 resamples); the configurations "
		       "were not interleaved, so what drifted between them counts as a difference.";
	if (single)
		return "One repetition: ratios without intervals say nothing about chance. Repeat (--repeats "
		       "5).";
	return "No ratios.";
}

static void print_heading(const struct compare *compare, FILE *file)
{
	const struct run_data *data = compare->data;
	(void)fprintf(file, "## %s: %zu configurations, compared with %s\n\n", data->experiment,
		      data->configuration_count, data->configurations[compare->baseline].name);
	for (size_t i = 0; i < data->run_count; i++) {
		const struct json *provenance = data->runs[i].provenance;
		if (provenance == NULL)
			(void)fprintf(file, "- %s: no provenance.json\n", data->runs[i].name);
		else
			(void)fprintf(file, "- %s: %s, %.0f cores; cascade %s, commit %.12s\n",
				      data->runs[i].name,
				      json_text_at(provenance, "machine.cpu_model", "unknown CPU"),
				      json_number_at(provenance, "machine.cores_online", 0),
				      json_text_at(provenance, "build.version", "?"),
				      json_text_at(provenance, "build.commit", "unknown"));
	}
	(void)fprintf(file, "\n%s\nNoise floor %.3g %%: a verdict needs the whole interval beyond it.\n",
		      method_text(compare), 100 * compare->noise_floor);
	if (data->mode == RUN_DATA_BY_LABEL)
		(void)fputs("Forced: phases of the same name are compared whatever their workload.\n", file);
	if (compare->invalid > 0)
		(void)fprintf(file, "Left out: %zu records of phases that failed or were stopped early.\n",
			      compare->invalid);
}

/* "1.144 [1.12 .. 1.17] +" */
static void add_summary_cell(struct text_table *text, const struct compare *compare, size_t phase,
			     size_t configuration)
{
	static const char *const marks[] = { [VERDICT_NONE] = "",
					     [VERDICT_BETTER] = " +",
					     [VERDICT_WORSE] = " -",
					     [VERDICT_INDISTINGUISHABLE] = " =",
					     [VERDICT_INCONCLUSIVE] = " ?" };
	const struct compare_cell *cell = compare_at(compare, phase, 0, configuration);
	const struct comparison *comparison = &cell->comparison;
	char ratio[NUMBER_BYTES], interval[NUMBER_BYTES];
	if (configuration == compare->baseline) {
		text_table_add_format(text, "%s %s",
				      number_text(cell->spread.median / compare->metrics[0].divisor, ratio),
				      compare->metrics[0].unit);
		return;
	}
	if (isnan(comparison->ratio)) {
		text_table_add(text, NULL);
		return;
	}
	if (isnan(comparison->interval.low))
		text_table_add(text, ratio_text(comparison->ratio, ratio));
	else
		text_table_add_format(text, "%s [%s]%s", ratio_text(comparison->ratio, ratio),
				      interval_text(comparison->interval, interval),
				      marks[comparison->verdict]);
}

struct header_number {
	char text[24];
};

/* The configurations' names, or numbers with a list of what they stand for. */
static void name_headers(const struct run_data *data, const size_t *order, struct header_number *numbers,
			 const char **headers, FILE *file)
{
	size_t longest = 0;
	for (size_t i = 0; i < data->configuration_count; i++) {
		headers[i] = data->configurations[order[i]].name;
		longest = strlen(headers[i]) > longest ? strlen(headers[i]) : longest;
	}
	if (longest <= HEADER_COLUMNS_MAX)
		return;
	for (size_t i = 0; i < data->configuration_count; i++) {
		(void)snprintf(numbers[i].text, sizeof(numbers[i].text), "(%zu)", i + 1);
		(void)fprintf(file, "- %s %s\n", numbers[i].text, headers[i]);
		headers[i] = numbers[i].text;
	}
	(void)fputc('\n', file);
}

/* Baseline first: then a row reads "so much, and the others so many times that". */
static void print_summary(const struct compare *compare, FILE *file)
{
	const struct run_data *data = compare->data;
	size_t count = data->configuration_count;
	const char **headers = allocate_zeroed(count + 1, sizeof(*headers));
	size_t *order = allocate_zeroed(count, sizeof(*order)), used = 1;
	struct header_number *numbers = allocate_zeroed(count, sizeof(*numbers));
	struct text_table text;
	order[0] = compare->baseline;
	for (size_t i = 0; i < count; i++) {
		if (i != compare->baseline)
			order[used++] = i;
	}
	(void)fprintf(file, "\n### %s, ratio to %s [95 %% interval]\n\n", compare->metrics[0].name,
		      data->configurations[compare->baseline].name);
	headers[0] = "phase";
	name_headers(data, order, numbers, headers + 1, file);
	text_table_init(&text, headers, count + 1);
	for (size_t phase = 0; phase < data->phase_count; phase++) {
		text_table_add(&text, data->phases[phase].title);
		for (size_t i = 0; i < count; i++)
			add_summary_cell(&text, compare, phase, order[i]);
	}
	if (data->phase_count > 1) {
		char ratio[NUMBER_BYTES];
		text_table_add(&text, "geometric mean");
		for (size_t i = 0; i < count; i++)
			text_table_add(&text, ratio_text(compare_overall(compare, order[i]), ratio));
	}
	text_table_print_markdown(&text, file);
	(void)fprintf(file, "\n+ %s, - %s, = indistinguishable (within %.3g %%), ? inconclusive\n",
		      metric_verdict(&compare->metrics[0], VERDICT_BETTER),
		      metric_verdict(&compare->metrics[0], VERDICT_WORSE), 100 * compare->noise_floor);
	text_table_free(&text);
	memory_free(order);
	memory_free(numbers);
	memory_free(headers);
}

/* The first record of a configuration with that workload, NULL if there is none. */
static const struct json *record_of(const struct run_data *data, const char *workload, size_t configuration)
{
	for (size_t i = 0; i < data->record_count; i++) {
		const struct run_record *record = &data->records[i];
		if (record->configuration == configuration &&
		    strcmp(data->phases[record->phase].workload_label, workload) == 0)
			return record->json;
	}
	return NULL;
}

/* What each configuration was granted for each workload, as its records say. */
static void print_parity(const struct compare *compare, FILE *file)
{
	const struct run_data *data = compare->data;
	size_t count = 0;
	struct parity_column *columns =
		allocate_zeroed(data->configuration_count * data->phase_count + 1, sizeof(*columns));
	for (size_t phase = 0; phase < data->phase_count; phase++) {
		const char *workload = data->phases[phase].workload_label;
		bool again = false;
		for (size_t i = 0; i < phase; i++)
			again = again || strcmp(data->phases[i].workload_label, workload) == 0;
		for (size_t i = 0; i < data->configuration_count && !again; i++) {
			const struct json *record = record_of(data, workload, i);
			if (record == NULL)
				continue;
			columns[count].label = data->configurations[i].name;
			columns[count].workload = workload;
			parity_of_record(record, &columns[count++].parity);
		}
	}
	(void)fputc('\n', file);
	parity_print_markdown(columns, count, file);
	memory_free(columns);
}

void compare_print(const struct compare *compare, FILE *file)
{
	print_heading(compare, file);
	for (size_t phase = 0; phase < compare->data->phase_count; phase++) {
		print_phase(compare, phase, file);
		print_hiccups(compare, phase, file);
		print_doubts(compare, phase, file);
	}
	print_parity(compare, file);
	print_summary(compare, file);
}
