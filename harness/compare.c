#include "harness/compare.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "harness/allocate.h"

static struct compare_cell *cell_at(const struct compare *compare, size_t phase, size_t metric,
				    size_t configuration)
{
	return &compare->cells[(phase * compare->metric_count + metric) * compare->data->configuration_count +
			       configuration];
}

const struct compare_cell *compare_at(const struct compare *compare, size_t phase, size_t metric,
				      size_t configuration)
{
	return cell_at(compare, phase, metric, configuration);
}

static bool has_record(const struct run_data *data, size_t phase, size_t configuration)
{
	for (size_t i = 0; i < data->record_count; i++) {
		if (data->records[i].phase == phase && data->records[i].configuration == configuration)
			return true;
	}
	return false;
}

const char *compare_hash(const struct compare *compare, size_t phase, size_t configuration)
{
	const struct run_data *data = compare->data;
	for (size_t i = 0; i < data->record_count; i++) {
		const struct run_record *record = &data->records[i];
		if (record->phase == phase && record->configuration == configuration)
			return json_text_at(record->json, "configuration.hash", "");
	}
	return data->configurations[configuration].hash;
}

/* --- what is compared --- */

static struct status choose_baseline(struct compare *compare, const char *wanted, struct problem *problem)
{
	const struct run_data *data = compare->data;
	const char **names = allocate_zeroed(data->configuration_count + 1, sizeof(*names));
	char hint[128];
	size_t found = SIZE_MAX;
	for (size_t i = 0; i < data->configuration_count; i++) {
		const struct run_configuration *one = &data->configurations[i];
		names[i] = one->name;
		if (found != SIZE_MAX)
			continue;
		if (wanted == NULL ? one->baseline
				   : strcmp(one->name, wanted) == 0 || strcmp(one->label, wanted) == 0)
			found = i;
	}
	/* Runs of before a run said which is its baseline. */
	if (found == SIZE_MAX && wanted == NULL)
		found = 0;
	compare->baseline = found;
	struct status status = status_ok();
	if (found == SIZE_MAX)
		status = problem_set(
			problem, STATUS_INVALID,
			"--baseline: no configuration is called '%.80s', expected one such as '%s'%s", wanted,
			names[0], nearest_hint(wanted, names, data->configuration_count, hint, sizeof(hint)));
	memory_free(names);
	return status;
}

static void collect(struct compare *compare, size_t phase, size_t metric, size_t configuration)
{
	const struct run_data *data = compare->data;
	struct compare_cell *cell = cell_at(compare, phase, metric, configuration);
	cell->samples = allocate_zeroed(data->record_count + 1, sizeof(*cell->samples));
	double *values = allocate_zeroed(data->record_count + 1, sizeof(*values));
	for (size_t i = 0; i < data->record_count; i++) {
		const struct run_record *record = &data->records[i];
		if (record->phase != phase || record->configuration != configuration || record->invalid)
			continue;
		double value = metric_value(&compare->metrics[metric], record->json);
		if (isnan(value))
			continue;
		values[cell->count] = value;
		cell->samples[cell->count++] = (struct sample) { value, record->block };
	}
	cell->spread = statistics_spread(values, cell->count);
	cell->interval = statistics_mean_interval(values, cell->count);
	memory_free(values);
}

/* All configurations of a phase and metric with the baseline. */
static void compare_with_baseline(struct compare *compare, size_t phase, size_t metric)
{
	size_t count = compare->data->configuration_count;
	double *p = allocate_zeroed(count + 1, sizeof(*p));
	const struct compare_cell *baseline = cell_at(compare, phase, metric, compare->baseline);
	for (size_t i = 0; i < count; i++) {
		struct compare_cell *cell = cell_at(compare, phase, metric, i);
		bool itself = i == compare->baseline;
		cell->comparison = statistics_compare(baseline->samples, itself ? 0 : baseline->count,
						      cell->samples, cell->count, compare->noise_floor,
						      compare->metrics[metric].more_is_better);
		p[i] = cell->comparison.p;
	}
	statistics_holm(p, count);
	for (size_t i = 0; i < count; i++)
		cell_at(compare, phase, metric, i)->p_holm = p[i];
	memory_free(p);
}

struct status compare_make(struct compare *compare, const struct run_data *data,
			   const struct compare_options *options, struct problem *problem)
{
	*compare = (struct compare) { .data = data, .noise_floor = options->noise_floor };
	TRY(choose_baseline(compare, options->baseline, problem));
	TRY(metrics_choose(data, options->metrics, options->metric_count, &compare->metrics,
			   &compare->metric_count, problem));
	for (size_t i = 0; i < data->record_count; i++)
		compare->invalid += data->records[i].invalid;
	size_t cells = data->phase_count * compare->metric_count * data->configuration_count;
	compare->cells = allocate_zeroed(cells + 1, sizeof(*compare->cells));
	for (size_t phase = 0; phase < data->phase_count; phase++) {
		for (size_t metric = 0; metric < compare->metric_count; metric++) {
			for (size_t i = 0; i < data->configuration_count; i++)
				collect(compare, phase, metric, i);
			compare_with_baseline(compare, phase, metric);
		}
	}
	return status_ok();
}

void compare_free(struct compare *compare)
{
	size_t cells = compare->cells == NULL ? 0
					      : compare->data->phase_count * compare->metric_count *
							compare->data->configuration_count;
	for (size_t i = 0; i < cells; i++)
		memory_free(compare->cells[i].samples);
	memory_free(compare->cells);
	memory_free(compare->metrics);
	*compare = (struct compare) { .data = NULL };
}

double compare_overall(const struct compare *compare, size_t configuration)
{
	size_t phases = compare->data->phase_count;
	double *ratios = allocate_zeroed(phases + 1, sizeof(*ratios));
	for (size_t phase = 0; phase < phases; phase++)
		ratios[phase] = configuration == compare->baseline
					? 1
					: cell_at(compare, phase, 0, configuration)->comparison.ratio;
	double mean = statistics_geometric_mean(ratios, phases);
	memory_free(ratios);
	return mean;
}

/* --- whether it makes sense --- */

static size_t configurations_of(const struct run_data *data, size_t phase)
{
	size_t count = 0;
	for (size_t i = 0; i < data->configuration_count; i++)
		count += has_record(data, phase, i);
	return count;
}

static const char *workload_of_run(const struct run_data *data, size_t run)
{
	for (size_t i = 0; i < data->record_count; i++) {
		if (data->records[i].run == run)
			return json_text_at(data->records[i].json, "workload.hash", "?");
	}
	return "?";
}

/* Whether the run shares a phase with another one. */
static bool meets_another(const struct run_data *data, size_t run)
{
	for (size_t i = 0; i < data->record_count; i++) {
		for (size_t k = 0; k < data->record_count && data->records[i].run == run; k++) {
			if (data->records[k].run != run && data->records[k].phase == data->records[i].phase)
				return true;
		}
	}
	return false;
}

bool compare_is_possible(const struct run_data *data, struct problem *problem)
{
	for (size_t run = 0; run < data->run_count && data->run_count > 1; run++) {
		if (meets_another(data, run))
			continue;
		size_t other = run == 0 ? 1 : 0;
		(void)problem_set(
			problem, STATUS_INVALID,
			"%s and %s ran different workloads (%.8s and %.8s): their numbers cannot be compared "
			"(--force does it all the same)",
			data->runs[other].name, data->runs[run].name, workload_of_run(data, other),
			workload_of_run(data, run));
		return false;
	}
	for (size_t phase = 0; phase < data->phase_count; phase++) {
		if (configurations_of(data, phase) > 1)
			return true;
	}
	(void)problem_set(problem, STATUS_INVALID,
			  data->configuration_count > 1 || data->mode == RUN_DATA_BY_LABEL ||
					  data->phase_count == 1
				  ? "nothing to compare: no phase was run by two configurations"
				  : "nothing to compare: there is one configuration, '%s' (--force compares "
				    "workloads that vary)",
			  data->configurations[0].name);
	return false;
}

struct status compare_summarize_run(const char *directory, FILE *file)
{
	struct run_data data;
	struct compare compare = { .data = NULL };
	struct problem problem;
	struct run_source source = { .directory = directory };
	struct compare_options options = { .noise_floor = COMPARE_NOISE_FLOOR };
	struct status status = run_data_read(&data, &source, 1, RUN_DATA_BY_WORKLOAD);
	if (status_is_ok(status))
		status = compare_make(&compare, &data, &options, &problem);
	if (status_is_ok(status))
		compare_write_csv(&compare, file);
	compare_free(&compare);
	run_data_free(&data);
	return status;
}
