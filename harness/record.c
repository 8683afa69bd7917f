#include "harness/record.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "harness/interval_log.h"
#include "harness/json_writer.h"
#include "harness/parity.h"

static const char *const distribution_names[] = {
	[DISTRIBUTION_UNIFORM] = "uniform",
	[DISTRIBUTION_ZIPFIAN] = "zipfian",
	[DISTRIBUTION_ZIPFIAN_EXACT] = "zipfian_exact",
	[DISTRIBUTION_LATEST] = "latest",
	[DISTRIBUTION_SEQUENTIAL] = "sequential",
};

static bool happened(const struct phase_result *result, int kind)
{
	return result->service[kind] != NULL && result->service[kind]->count > 0;
}

/* --- derived numbers: NaN when a part is unknown --- */

static double known(uint64_t number)
{
	return number == UINT64_MAX ? NAN : (double)number;
}

static double share(double part, double whole)
{
	return whole > 0 ? part / whole : NAN;
}

static double ops_per_second(const struct phase_result *result)
{
	return share((double)result->operations, result->seconds);
}

static double cpu_us_per_op(const struct phase_result *result)
{
	return share(1e6 * result->cpu_seconds, (double)result->operations);
}

static double reads_per_op(const struct phase_result *result)
{
	return share(known(result->device_reads), (double)result->operations);
}

static double write_amplification(const struct phase_result *result)
{
	return share(known(result->device_write_bytes), (double)result->user_bytes_written);
}

static double space_amplification(const struct record *record)
{
	return share(known(record->space_bytes), known(record->logical_bytes));
}

static const char *clients_as(const struct record *record)
{
	return record->cell->workload.clients_as_tasks ? "tasks" : "threads";
}

void record_summarize(const struct record *record, struct phase_summary *summary)
{
	const struct phase_result *result = record->result;
	*summary = (struct phase_summary) {
		.phase_index = (uint32_t)record->phase_index,
		.verdict = record->validity->invalid ? 2 : record->validity->reason_count > 0,
		.ops_s = ops_per_second(result),
		.cpu_us_per_op = cpu_us_per_op(result),
		.reads_per_op = reads_per_op(result),
		.write_amplification = write_amplification(result),
		.space_amplification = space_amplification(record),
		.rss_peak_bytes = known(result->rss_peak_bytes),
	};
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		const struct histogram *histogram = result->service[kind];
		if (!happened(result, kind))
			continue;
		summary->latency[kind] = (struct latency_summary) {
			.count = histogram->count,
			.p50_ns = histogram_quantile(histogram, 0.5),
			.p99_ns = histogram_quantile(histogram, 0.99),
			.p999_ns = histogram_quantile(histogram, 0.999),
			.max_ns = histogram->max_ns,
		};
	}
}

const char *record_hiccup_name(const struct record *record, char buffer[static HGRM_NAME_BYTES])
{
	(void)snprintf(buffer, HGRM_NAME_BYTES, "%s.%s.hiccup.r%u.ns.hgrm", record->cell->tag,
		       record->phase->name, record->repetition);
	return buffer;
}

/* `ending`: of the name. */
static void name_histogram(const struct record *record, enum operation_kind kind, const char *ending,
			   char buffer[static HGRM_NAME_BYTES])
{
	(void)snprintf(buffer, HGRM_NAME_BYTES, "%s.%s.%s.service.r%u%s", record->cell->tag,
		       record->phase->name, operation_names[kind], record->repetition, ending);
}

const char *record_hgrm_name(const struct record *record, enum operation_kind kind,
			     char buffer[static HGRM_NAME_BYTES])
{
	name_histogram(record, kind, ".ns.hgrm", buffer);
	return buffer;
}

/* --- JSON --- */

static void write_configuration(struct json_writer *json, const struct cell *cell)
{
	json_object_begin(json, "configuration");
	json_text(json, "hash", cell->configuration_hash);
	json_text(json, "label", cell->label);
	json_text(json, "name", cell->name);
	json_count(json, "index", cell->index);
	json_boolean(json, "baseline", cell->is_baseline);
	json_object_begin(json, "variation");
	for (size_t i = 0; i < cell->combination.variation_count; i++)
		json_text(json, cell->combination.variations[i].path, cell->combination.variations[i].value);
	json_object_end(json);
	if (cell->modules.count > 0)
		modules_write(json, &cell->modules);
	json_object_end(json);
}

static void write_workload(struct json_writer *json, const struct cell *cell)
{
	const struct workload *workload = &cell->workload;
	json_object_begin(json, "workload");
	json_text(json, "hash", cell->workload_hash);
	json_text(json, "label", cell->workload_label);
	json_count(json, "records", workload->records);
	json_count(json, "value_size", workload->value_size);
	json_real(json, "compressibility", workload->compressibility);
	json_count(json, "seed", workload->seed);
	json_text(json, "insert_order", workload->insert_order == INSERT_HASHED ? "hashed" : "ordered");
	json_object_end(json);
}

static const char *ended_by(const struct record *record)
{
	const struct phase_result *result = record->result;
	if (result->failed > 0)
		return "error";
	if (result->stopped_early)
		return "stopped";
	return record->phase->kind == PHASE_RUN && record->phase->duration_ns > 0 ? "time" : "operations";
}

static void write_mix(struct json_writer *json, const struct phase *phase)
{
	double sum = 0;
	for (int kind = 0; kind < OPERATION_KINDS; kind++)
		sum += phase->mix[kind];
	json_object_begin(json, "mix");
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		if (phase->mix[kind] > 0)
			json_real(json, operation_names[kind], phase->mix[kind] / sum);
	}
	json_object_end(json);
}

static void write_phase(struct json_writer *json, const struct record *record)
{
	const struct phase *phase = record->phase;
	json_object_begin(json, "phase");
	json_text(json, "name", phase->name);
	json_count(json, "index", record->phase_index);
	json_text(json, "kind", phase->kind == PHASE_LOAD ? "load" : "run");
	json_count(json, "clients", phase->clients);
	if (phase->kind == PHASE_RUN) {
		json_text(json, "distribution", distribution_names[phase->distribution]);
		if (phase->distribution == DISTRIBUTION_ZIPFIAN_EXACT)
			json_real(json, "theta", phase->theta);
		json_text(json, "update_mode", phase->update_mode == UPDATE_BLIND ? "blind" : "rmw");
		json_real(json, "warmup_seconds", (double)phase->warmup_ns * 1e-9);
		write_mix(json, phase);
	}
	json_boolean(json, "wait_idle", phase->wait_idle);
	json_count(json, "start_unix_ns", record->result->start_unix_ns);
	json_text(json, "ended_by", ended_by(record));
	json_object_end(json);
}

static void write_service(struct json_writer *json, const struct record *record, enum operation_kind kind)
{
	const struct histogram *histogram = record->result->service[kind];
	char name[HGRM_NAME_BYTES];
	json_object_begin(json, operation_names[kind]);
	json_object_begin(json, "service");
	json_count(json, "count", histogram->count);
	json_real(json, "mean_ns", histogram_mean(histogram));
	json_count(json, "p50_ns", histogram_quantile(histogram, 0.5));
	json_count(json, "p90_ns", histogram_quantile(histogram, 0.9));
	json_count(json, "p99_ns", histogram_quantile(histogram, 0.99));
	json_count(json, "p999_ns", histogram_quantile(histogram, 0.999));
	json_count(json, "p9999_ns", histogram_quantile(histogram, 0.9999));
	json_count(json, "max_ns", histogram->max_ns);
	json_text(json, "hgrm", record_hgrm_name(record, kind, name));
	json_object_end(json);
	json_object_end(json);
}

static void write_latency(struct json_writer *json, const struct record *record)
{
	json_object_begin(json, "latency");
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		if (happened(record->result, kind))
			write_service(json, record, (enum operation_kind)kind);
	}
	json_object_end(json);
}

static void write_per_op(struct json_writer *json, const struct phase_result *result)
{
	double operations = (double)result->operations;
	json_object_begin(json, "per_op");
	json_real(json, "cpu_us", cpu_us_per_op(result));
	json_real(json, "device_reads", reads_per_op(result));
	json_real(json, "device_writes", share(known(result->device_writes), operations));
	json_real(json, "device_read_bytes", share(known(result->device_read_bytes), operations));
	json_real(json, "device_write_bytes", share(known(result->device_write_bytes), operations));
	json_object_end(json);
}

static void write_hiccup(struct json_writer *json, const struct record *record)
{
	const struct histogram *hiccups = record->result->hiccups;
	char name[HGRM_NAME_BYTES];
	if (hiccups == NULL || hiccups->count == 0)
		return;
	json_object_begin(json, "hiccup");
	json_count(json, "count", hiccups->count);
	json_count(json, "p50_ns", histogram_quantile(hiccups, 0.5));
	json_count(json, "p99_ns", histogram_quantile(hiccups, 0.99));
	json_count(json, "p999_ns", histogram_quantile(hiccups, 0.999));
	json_count(json, "max_ns", hiccups->max_ns);
	json_text(json, "hgrm", record_hiccup_name(record, name));
	json_object_end(json);
}

static void write_resources(struct json_writer *json, const struct record *record)
{
	const struct phase_result *result = record->result;
	json_object_begin(json, "cpu");
	json_real(json, "seconds", result->cpu_seconds);
	json_real(json, "us_per_op", cpu_us_per_op(result));
	json_object_end(json);
	write_per_op(json, result);
	write_hiccup(json, record);
	json_object_begin(json, "device");
	json_known(json, "read_bytes", result->device_read_bytes);
	json_known(json, "write_bytes", result->device_write_bytes);
	json_known(json, "reads", result->device_reads);
	json_known(json, "writes", result->device_writes);
	json_real(json, "reads_per_op", reads_per_op(result));
	json_object_end(json);
	json_object_begin(json, "amplification");
	json_real(json, "write", write_amplification(result));
	json_real(json, "space", space_amplification(record));
	json_object_end(json);
	json_object_begin(json, "memory");
	json_known(json, "rss_peak_bytes", result->rss_peak_bytes);
	json_known(json, "budget_bytes", record->budget_bytes > 0 ? record->budget_bytes : UINT64_MAX);
	json_object_end(json);
	json_object_begin(json, "user");
	json_count(json, "bytes_written", result->user_bytes_written);
	json_known(json, "bytes_stored", record->logical_bytes);
	json_object_end(json);
}

/* Names keep their dots: "reads" and "reads.found" cannot both be had by nesting. */
static void write_counters(struct json_writer *json, const struct phase_result *result)
{
	json_object_begin(json, "counters");
	for (size_t i = 0; i < result->counter_count; i++)
		json_count(json, result->counters[i].name, result->counters[i].value);
	json_object_end(json);
}

static void write_checks(struct json_writer *json, const struct record *record)
{
	const struct phase_result *result = record->result;
	json_object_begin(json, "realised");
	json_real(json, "top1_share", result->top1_share);
	json_real(json, "top1pct_share", result->top1pct_share);
	json_real(json, "top10pct_share", result->top10pct_share);
	json_object_end(json);
	json_object_begin(json, "verify");
	json_known(json, "checked", record->verified ? result->verify_checked : UINT64_MAX);
	json_known(json, "mismatches", record->verified ? result->verify_mismatches : UINT64_MAX);
	json_object_end(json);
	json_object_begin(json, "validity");
	json_text(json, "verdict", validity_verdict(record->validity));
	json_array_begin(json, "reasons");
	for (size_t i = 0; i < record->validity->reason_count; i++)
		json_text(json, NULL, record->validity->reasons[i]);
	json_array_end(json);
	json_object_end(json);
}

void record_write_json(const struct record *record, FILE *file)
{
	struct json_writer json = { .file = file };
	const struct phase_result *result = record->result;
	json_object_begin(&json, NULL);
	json_count(&json, "schema_version", RECORD_SCHEMA_VERSION);
	json_text(&json, "experiment", record->experiment);
	json_text(&json, "run", record->run);
	write_configuration(&json, record->cell);
	write_workload(&json, record->cell);
	json_yaml(&json, "engine", record->cell->engine);
	parity_write(&json, record->cell);
	json_text(&json, "clients_as", clients_as(record));
	write_phase(&json, record);
	json_count(&json, "repetition", record->repetition);
	json_count(&json, "run_order", record->run_order);
	json_count(&json, "operations", result->operations);
	json_count(&json, "failed", result->failed);
	json_real(&json, "seconds", result->seconds);
	json_real(&json, "idle_wait_seconds", record->phase->wait_idle ? result->idle_wait_seconds : NAN);
	json_object_begin(&json, "throughput");
	json_real(&json, "ops_s", ops_per_second(result));
	json_object_end(&json);
	write_latency(&json, record);
	write_resources(&json, record);
	write_counters(&json, result);
	write_checks(&json, record);
	json_text(&json, "provenance", "provenance.json");
	json_object_end(&json);
	(void)fputc('\n', file);
}

/* --- CSV --- */

/* A field that may hold commas or quotes. */
static void csv_text(FILE *file, const char *text)
{
	if (strpbrk(text, ",\"\n") == NULL) {
		(void)fprintf(file, "%s,", text);
		return;
	}
	(void)fputc('"', file);
	for (; *text != '\0'; text++) {
		if (*text == '"')
			(void)fputc('"', file);
		(void)fputc(*text, file);
	}
	(void)fputs("\",", file);
}

static void csv_count(FILE *file, uint64_t count)
{
	if (count != UINT64_MAX)
		(void)fprintf(file, "%" PRIu64, count);
	(void)fputc(',', file);
}

static void csv_real(FILE *file, double real)
{
	if (isfinite(real))
		(void)fprintf(file, "%.9g", real);
	(void)fputc(',', file);
}

static void write_summary_phase(const struct record *record, FILE *file)
{
	const struct phase_result *result = record->result;
	csv_text(file, record->experiment);
	csv_text(file, record->cell->configuration_hash);
	csv_text(file, record->cell->label);
	csv_text(file, record->cell->workload_hash);
	csv_text(file, record->cell->workload.engine_kind);
	csv_text(file, clients_as(record));
	csv_text(file, record->phase->name);
	csv_count(file, record->repetition);
	csv_count(file, record->run_order);
	csv_count(file, record->phase->clients);
	csv_count(file, result->operations);
	csv_real(file, result->seconds);
	csv_real(file, ops_per_second(result));
	csv_real(file, cpu_us_per_op(result));
	csv_real(file, reads_per_op(result));
	csv_count(file, result->device_read_bytes);
	csv_count(file, result->device_write_bytes);
	csv_real(file, write_amplification(result));
	csv_real(file, space_amplification(record));
	csv_count(file, result->rss_peak_bytes);
	bool hiccups = result->hiccups != NULL && result->hiccups->count > 0;
	csv_count(file, hiccups ? histogram_quantile(result->hiccups, 0.999) : UINT64_MAX);
	csv_count(file, hiccups ? result->hiccups->max_ns : UINT64_MAX);
	csv_text(file, validity_verdict(record->validity));
}

void record_write_repetition(const struct record *record, FILE *file)
{
	bool any = false;
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		const struct histogram *histogram = record->result->service[kind];
		if (!happened(record->result, kind))
			continue;
		any = true;
		write_summary_phase(record, file);
		csv_text(file, operation_names[kind]);
		csv_count(file, histogram->count);
		csv_real(file, histogram_mean(histogram));
		csv_count(file, histogram_quantile(histogram, 0.5));
		csv_count(file, histogram_quantile(histogram, 0.9));
		csv_count(file, histogram_quantile(histogram, 0.99));
		csv_count(file, histogram_quantile(histogram, 0.999));
		csv_count(file, histogram_quantile(histogram, 0.9999));
		(void)fprintf(file, "%" PRIu64 "\n", histogram->max_ns);
	}
	if (any)
		return;
	write_summary_phase(record, file);
	(void)fputs(",,,,,,,,\n", file);
}

void record_write_timeline(const struct record *record, FILE *file)
{
	for (size_t i = 0; i < record->result->timeline_count; i++) {
		const struct timeline_point *point = &record->result->timeline[i];
		csv_text(file, record->cell->configuration_hash);
		csv_text(file, record->cell->label);
		csv_count(file, record->repetition);
		csv_text(file, record->phase->name);
		(void)fprintf(file, "%.3f,", point->seconds);
		csv_count(file, point->operations);
		/* Nothing ended in a second of stall: its percentiles are unknown, not 0. */
		csv_count(file, point->operations > 0 ? point->p50_ns : UINT64_MAX);
		csv_count(file, point->operations > 0 ? point->p99_ns : UINT64_MAX);
		csv_count(file, point->operations > 0 ? point->p999_ns : UINT64_MAX);
		csv_count(file, point->operations > 0 ? point->max_ns : UINT64_MAX);
		csv_real(file, point->cpu_seconds);
		csv_count(file, point->rss_bytes);
		csv_count(file, point->device_read_bytes);
		if (point->device_write_bytes != UINT64_MAX)
			(void)fprintf(file, "%" PRIu64, point->device_write_bytes);
		(void)fputc('\n', file);
	}
}

void record_write_intervals(const struct record *record, FILE *file)
{
	const struct phase_result *result = record->result;
	char tag[HGRM_NAME_BYTES];
	for (size_t i = 0; i < result->interval_count; i++) {
		const struct phase_interval *interval = &result->intervals[i];
		name_histogram(record, interval->kind, "", tag);
		interval_log_write_line(file, tag, result->start_unix_ns + (uint64_t)(interval->start * 1e9),
					interval->seconds, interval->max_ns, interval->histogram);
	}
}
