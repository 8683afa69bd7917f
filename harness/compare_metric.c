#include "harness/compare_metric.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "harness/allocate.h"

enum { OPERATIONS_BEYOND_MIN = 100, CANDIDATES_MAX = 64 };

/* Metrics that are there once in a record. */
static const struct {
	const char *name; /* as the user says it */
	const char *title;
	const char *path;
	const char *unit;
	double divisor;
	bool more_is_better;
	enum metric_kind kind;
} singles[] = {
	{ "throughput", "throughput", "throughput.ops_s", "ops/s", 1, true, METRIC_SPEED },
	{ "cpu", "CPU time", "per_op.cpu_us", "us/op", 1, false, METRIC_AMOUNT },
	{ "reads", "device reads", "per_op.device_reads", "/op", 1, false, METRIC_AMOUNT },
	{ "writes", "device writes", "per_op.device_writes", "/op", 1, false, METRIC_AMOUNT },
	{ "read_bytes", "device bytes read", "per_op.device_read_bytes", "B/op", 1, false, METRIC_AMOUNT },
	{ "write_bytes", "device bytes written", "per_op.device_write_bytes", "B/op", 1, false,
	  METRIC_AMOUNT },
	{ "write_amplification", "write amplification", "amplification.write", "", 1, false, METRIC_AMOUNT },
	{ "space_amplification", "space amplification", "amplification.space", "", 1, false, METRIC_AMOUNT },
	{ "memory", "peak memory", "memory.rss_peak_bytes", "MiB", 1 << 20, false, METRIC_AMOUNT },
};

enum { SINGLES = sizeof(singles) / sizeof(singles[0]) };

static const struct {
	const char *name;
	const char *path;
	double beyond;
	bool by_default;
} percentiles[] = {
	{ "p50", "p50_ns", 0.5, true },		{ "p90", "p90_ns", 0.1, false },
	{ "p99", "p99_ns", 0.01, true },	{ "p999", "p999_ns", 0.001, true },
	{ "p9999", "p9999_ns", 0.0001, false },
};

enum { PERCENTILES = sizeof(percentiles) / sizeof(percentiles[0]) };

/* service: from the call to its return. response: from the time at which it was due. */
static const char *const clocks[] = { "service", "response" };

enum { CLOCKS = sizeof(clocks) / sizeof(clocks[0]) };

static double per_operation(const struct json *record, const char *path)
{
	return json_number_at(record, path, NAN) / json_number_at(record, "operations", NAN);
}

/* What records had before they had `per_op`. */
static double older_value(const struct metric *metric, const struct json *record)
{
	static const char *const older[][2] = {
		{ "per_op.device_reads", "device.reads" },
		{ "per_op.device_writes", "device.writes" },
		{ "per_op.device_read_bytes", "device.read_bytes" },
		{ "per_op.device_write_bytes", "device.write_bytes" },
	};
	if (strcmp(metric->path, "per_op.cpu_us") == 0)
		return json_number_at(record, "cpu.us_per_op", NAN);
	for (size_t i = 0; i < sizeof(older) / sizeof(older[0]); i++) {
		if (strcmp(metric->path, older[i][0]) == 0)
			return per_operation(record, older[i][1]);
	}
	return NAN;
}

double metric_value(const struct metric *metric, const struct json *record)
{
	double value = json_number_at(record, metric->path, NAN);
	if (isnan(value))
		value = older_value(metric, record);
	if (isnan(value) || metric->beyond == 0)
		return isfinite(value) ? value : NAN;
	char path[METRIC_TEXT_BYTES + 8];
	const char *dot = strrchr(metric->path, '.');
	(void)snprintf(path, sizeof(path), "%.*s.count", (int)(dot - metric->path), metric->path);
	return json_number_at(record, path, 0) * metric->beyond >= OPERATIONS_BEYOND_MIN ? value : NAN;
}

const char *metric_verdict(const struct metric *metric, enum verdict verdict)
{
	static const char *const better[] = { "faster", "less", "lower" };
	static const char *const worse[] = { "slower", "more", "higher" };
	switch (verdict) {
	case VERDICT_NONE:
		return "";
	case VERDICT_BETTER:
		return better[metric->kind];
	case VERDICT_WORSE:
		return worse[metric->kind];
	case VERDICT_INDISTINGUISHABLE:
		return "indistinguishable";
	case VERDICT_INCONCLUSIVE:
		return "inconclusive";
	}
	return "";
}

/* --- choosing --- */

struct choice {
	const struct run_data *data;
	struct metric *metrics;
	size_t count, capacity;
};

static bool is_known(const struct run_data *data, const struct metric *metric)
{
	for (size_t i = 0; i < data->record_count; i++) {
		if (!isnan(metric_value(metric, data->records[i].json)))
			return true;
	}
	return false;
}

/* Adds a metric that a record knows, once. Returns whether one does. */
static bool add_metric(struct choice *choice, const struct metric *metric)
{
	if (!is_known(choice->data, metric))
		return false;
	for (size_t i = 0; i < choice->count; i++) {
		if (strcmp(choice->metrics[i].path, metric->path) == 0)
			return true;
	}
	if (choice->count == choice->capacity) {
		choice->capacity = 2 * choice->capacity + 16;
		choice->metrics =
			allocate_resize(choice->metrics, choice->capacity * sizeof(*choice->metrics));
	}
	choice->metrics[choice->count++] = *metric;
	return true;
}

static bool add_single(struct choice *choice, size_t index)
{
	struct metric metric = {
		.unit = singles[index].unit,
		.divisor = singles[index].divisor,
		.more_is_better = singles[index].more_is_better,
		.kind = singles[index].kind,
	};
	(void)snprintf(metric.path, sizeof(metric.path), "%s", singles[index].path);
	(void)snprintf(metric.name, sizeof(metric.name), "%s", singles[index].title);
	return add_metric(choice, &metric);
}

static bool add_latency(struct choice *choice, int operation, int clock, size_t index)
{
	struct metric metric = {
		.unit = "us", .divisor = 1e3, .kind = METRIC_SPEED, .beyond = percentiles[index].beyond
	};
	(void)snprintf(metric.path, sizeof(metric.path), "latency.%s.%s.%s", operation_names[operation],
		       clocks[clock], percentiles[index].path);
	(void)snprintf(metric.name, sizeof(metric.name), "%s %s%s", operation_names[operation],
		       percentiles[index].name, clock > 0 ? " response" : "");
	return add_metric(choice, &metric);
}

/* "p99" of all operations or, with an operation, of that one. */
static bool add_percentile(struct choice *choice, int only, size_t index)
{
	bool added = false;
	for (int operation = 0; operation < OPERATION_KINDS; operation++) {
		for (int clock = 0; clock < CLOCKS && (only < 0 || only == operation); clock++)
			added = add_latency(choice, operation, clock, index) || added;
	}
	return added;
}

static void add_standard(struct choice *choice)
{
	(void)add_single(choice, 0);
	for (int operation = 0; operation < OPERATION_KINDS; operation++) {
		for (int clock = 0; clock < CLOCKS; clock++) {
			for (size_t i = 0; i < PERCENTILES; i++) {
				if (percentiles[i].by_default)
					(void)add_latency(choice, operation, clock, i);
			}
		}
	}
	for (size_t i = 1; i < SINGLES; i++)
		(void)add_single(choice, i);
}

/* "p99", "read.p99". SIZE_MAX: no percentile. */
static size_t parse_percentile(const char *name, int *operation)
{
	*operation = -1;
	for (int i = 0; i < OPERATION_KINDS; i++) {
		size_t length = strlen(operation_names[i]);
		if (strncmp(name, operation_names[i], length) == 0 && name[length] == '.') {
			*operation = i;
			name += length + 1;
			break;
		}
	}
	for (size_t i = 0; i < PERCENTILES; i++) {
		if (strcmp(name, percentiles[i].name) == 0)
			return i;
	}
	return SIZE_MAX;
}

/* Whether it is the path of a standard metric too. */
static bool add_known_path(struct choice *choice, const char *path)
{
	for (size_t i = 0; i < SINGLES; i++) {
		if (strcmp(singles[i].path, path) == 0)
			return add_single(choice, i);
	}
	for (int operation = 0; operation < OPERATION_KINDS; operation++) {
		for (int clock = 0; clock < CLOCKS; clock++) {
			for (size_t i = 0; i < PERCENTILES; i++) {
				char known[METRIC_TEXT_BYTES];
				(void)snprintf(known, sizeof(known), "latency.%s.%s.%s",
					       operation_names[operation], clocks[clock],
					       percentiles[i].path);
				if (strcmp(known, path) == 0)
					return add_latency(choice, operation, clock, i);
			}
		}
	}
	return false;
}

static bool add_named(struct choice *choice, const char *name)
{
	int operation;
	for (size_t i = 0; i < SINGLES; i++) {
		if (strcmp(name, singles[i].name) == 0)
			return add_single(choice, i);
	}
	size_t percentile = parse_percentile(name, &operation);
	if (percentile != SIZE_MAX)
		return add_percentile(choice, operation, percentile);
	if (strlen(name) >= METRIC_TEXT_BYTES)
		return false;
	if (add_known_path(choice, name))
		return true;
	struct metric metric = { .unit = "", .divisor = 1, .kind = METRIC_OTHER };
	(void)snprintf(metric.path, sizeof(metric.path), "%s", name);
	(void)snprintf(metric.name, sizeof(metric.name), "%s", name);
	return add_metric(choice, &metric);
}

static struct status unknown_metric(const char *name, struct problem *problem)
{
	const char *names[CANDIDATES_MAX];
	size_t count = 0;
	char hint[128];
	for (size_t i = 0; i < SINGLES; i++)
		names[count++] = singles[i].name;
	for (size_t i = 0; i < PERCENTILES; i++)
		names[count++] = percentiles[i].name;
	return problem_set(
		problem, STATUS_INVALID,
		"--metric: no record has a number '%.80s', expected throughput, p99, cpu or a path "
		"such as counters.NAME%s",
		name, nearest_hint(name, names, count, hint, sizeof(hint)));
}

struct status metrics_choose(const struct run_data *data, const char *const *names, size_t count,
			     struct metric **metrics, size_t *metric_count, struct problem *problem)
{
	struct choice choice = { .data = data };
	struct status status = status_ok();
	if (count == 0)
		add_standard(&choice);
	for (size_t i = 0; i < count && status_is_ok(status); i++) {
		if (!add_named(&choice, names[i]))
			status = unknown_metric(names[i], problem);
	}
	*metrics = choice.metrics;
	*metric_count = choice.count;
	return status;
}

void metrics_list(FILE *file)
{
	(void)fputs("                    ", file);
	for (size_t i = 0; i < SINGLES; i++)
		(void)fprintf(file, "%s%s", singles[i].name, i == 4 ? ",\n                    " : ", ");
	(void)fputs("\n                    ", file);
	for (size_t i = 0; i < PERCENTILES; i++)
		(void)fprintf(file, "%s%s", percentiles[i].name, i + 1 < PERCENTILES ? ", " : "");
	(void)fputs(" (of every operation; read.p99: of reads),\n"
		    "                    or the path of a number in record.jsonl, as counters.wal.syncs\n",
		    file);
}
