#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "harness/compare.h"
#include "harness/json_writer.h"

static const char *const method_names[] = {
	[RATIO_NONE] = "none",
	[RATIO_SINGLE] = "single",
	[RATIO_BLOCKS] = "blocks",
	[RATIO_MEDIANS] = "medians",
};

/* --- JSON --- */

static void write_comparison(struct json_writer *json, const struct metric *metric,
			     const struct compare_cell *cell)
{
	const struct comparison *comparison = &cell->comparison;
	json_text(json, "method", method_names[comparison->method]);
	json_count(json, "blocks", comparison->blocks);
	json_real(json, "ratio", comparison->ratio);
	json_real(json, "low", comparison->interval.low);
	json_real(json, "high", comparison->interval.high);
	json_real(json, "ratio_of_medians", comparison->ratio_of_medians);
	json_real(json, "ratio_of_medians_low", comparison->medians_interval.low);
	json_real(json, "ratio_of_medians_high", comparison->medians_interval.high);
	json_real(json, "p_mann_whitney", comparison->p);
	json_real(json, "p_holm", cell->p_holm);
	json_real(json, "cliffs_delta", comparison->delta);
	json_real(json, "hodges_lehmann", comparison->shift);
	json_text(json, "verdict",
		  comparison->verdict != VERDICT_NONE ? metric_verdict(metric, comparison->verdict) : NULL);
}

static void write_cell(struct json_writer *json, const struct compare *compare, size_t phase, size_t metric,
		       size_t configuration)
{
	const struct compare_cell *cell = compare_at(compare, phase, metric, configuration);
	const struct run_configuration *what = &compare->data->configurations[configuration];
	json_object_begin(json, NULL);
	json_text(json, "name", what->name);
	json_text(json, "hash", compare_hash(compare, phase, configuration));
	json_boolean(json, "baseline", configuration == compare->baseline);
	json_count(json, "n", cell->count);
	json_real(json, "median", cell->spread.median);
	json_real(json, "least", cell->spread.least);
	json_real(json, "most", cell->spread.most);
	json_array_begin(json, "values");
	for (size_t i = 0; i < cell->count; i++)
		json_real(json, NULL, cell->samples[i].value);
	json_array_end(json);
	if (configuration != compare->baseline)
		write_comparison(json, &compare->metrics[metric], cell);
	json_object_end(json);
}

static void write_metric(struct json_writer *json, const struct compare *compare, size_t phase, size_t metric)
{
	json_object_begin(json, NULL);
	json_text(json, "path", compare->metrics[metric].path);
	json_text(json, "name", compare->metrics[metric].name);
	json_text(json, "better", compare->metrics[metric].more_is_better ? "more" : "less");
	json_array_begin(json, "configurations");
	for (size_t i = 0; i < compare->data->configuration_count; i++) {
		if (compare_at(compare, phase, metric, i)->count > 0)
			write_cell(json, compare, phase, metric, i);
	}
	json_array_end(json);
	json_object_end(json);
}

static void write_runs(struct json_writer *json, const struct run_data *data)
{
	json_array_begin(json, "runs");
	for (size_t i = 0; i < data->run_count; i++) {
		json_object_begin(json, NULL);
		json_text(json, "name", data->runs[i].name);
		json_text(json, "directory", data->runs[i].directory);
		json_object_end(json);
	}
	json_array_end(json);
}

void compare_write_json(const struct compare *compare, FILE *file)
{
	const struct run_data *data = compare->data;
	struct json_writer json = { .file = file, .pretty = true };
	json_object_begin(&json, NULL);
	json_count(&json, "schema_version", 1);
	json_text(&json, "experiment", data->experiment);
	write_runs(&json, data);
	json_text(&json, "baseline", data->configurations[compare->baseline].name);
	json_real(&json, "noise_floor", compare->noise_floor);
	json_count(&json, "records_left_out", compare->invalid);
	json_array_begin(&json, "phases");
	for (size_t phase = 0; phase < data->phase_count; phase++) {
		json_object_begin(&json, NULL);
		json_text(&json, "name", data->phases[phase].name);
		json_text(&json, "workload",
			  data->mode == RUN_DATA_BY_WORKLOAD ? data->phases[phase].workload : NULL);
		json_text(&json, "workload_label", data->phases[phase].workload_label);
		json_array_begin(&json, "metrics");
		for (size_t metric = 0; metric < compare->metric_count; metric++)
			write_metric(&json, compare, phase, metric);
		json_array_end(&json);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_begin(&json, "overall");
	for (size_t i = 0; i < data->configuration_count; i++)
		json_real(&json, data->configurations[i].name, compare_overall(compare, i));
	json_object_end(&json);
	json_object_end(&json);
	(void)fputc('\n', file);
}

/* --- CSV --- */

#define CSV_COLUMNS                                                                                   \
	"experiment,phase,workload,workload_label,configuration,label,clients_as,metric,n,median,"    \
	"least,most,low,high,baseline,ratio,ratio_low,ratio_high,method,p_mann_whitney,cliffs_delta," \
	"verdict"

/* Quotes where a comma, a quote or a line's end asks for them. */
static void csv_text(FILE *file, const char *text)
{
	bool quoted = strpbrk(text, ",\"\n") != NULL;
	if (quoted)
		(void)fputc('"', file);
	for (; *text != '\0'; text++) {
		if (*text == '"')
			(void)fputc('"', file);
		(void)fputc(*text, file);
	}
	(void)fputs(quoted ? "\"," : ",", file);
}

static void csv_real(FILE *file, double real)
{
	if (isfinite(real))
		(void)fprintf(file, "%.9g", real);
	(void)fputc(',', file);
}

static void write_row(const struct compare *compare, size_t phase, size_t metric, size_t configuration,
		      FILE *file)
{
	const struct run_data *data = compare->data;
	const struct run_configuration *what = &data->configurations[configuration];
	const struct compare_cell *cell = compare_at(compare, phase, metric, configuration);
	const struct comparison *comparison = &cell->comparison;
	bool baseline = configuration == compare->baseline;
	csv_text(file, data->experiment);
	csv_text(file, data->phases[phase].name);
	csv_text(file, data->phases[phase].workload);
	csv_text(file, data->phases[phase].workload_label);
	csv_text(file, compare_hash(compare, phase, configuration));
	csv_text(file, what->name);
	csv_text(file, what->clients_as);
	csv_text(file, compare->metrics[metric].path);
	(void)fprintf(file, "%zu,", cell->count);
	csv_real(file, cell->spread.median);
	csv_real(file, cell->spread.least);
	csv_real(file, cell->spread.most);
	csv_real(file, cell->interval.low);
	csv_real(file, cell->interval.high);
	csv_text(file, data->configurations[compare->baseline].name);
	csv_real(file, baseline ? 1 : comparison->ratio);
	csv_real(file, comparison->interval.low);
	csv_real(file, comparison->interval.high);
	csv_text(file, baseline ? "baseline" : method_names[comparison->method]);
	csv_real(file, comparison->p);
	csv_real(file, comparison->delta);
	(void)fprintf(file, "%s\n", metric_verdict(&compare->metrics[metric], comparison->verdict));
}

void compare_write_csv(const struct compare *compare, FILE *file)
{
	(void)fputs(CSV_COLUMNS "\n", file);
	for (size_t phase = 0; phase < compare->data->phase_count; phase++) {
		for (size_t metric = 0; metric < compare->metric_count; metric++) {
			for (size_t i = 0; i < compare->data->configuration_count; i++) {
				if (compare_at(compare, phase, metric, i)->count > 0)
					write_row(compare, phase, metric, i, file);
			}
		}
	}
}
