/*
 * Records: the line is JSON, the names are there, what was not measured is null, and the tables have a value
 * for each of their columns.
 */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "harness/json_writer.h"
#include "harness/record.h"
#include "harness/run_table.h"
#include "harness/text_table.h"
#include "test.h"

/* --- a reader of JSON, strict, for the checks only --- */

struct reader {
	const char *at;
	const char *wanted; /* path of the value to note, "a.b.0" */
	char path[256];
	char found[256]; /* its text as written, without quotes */
	int depth;
};

static bool read_value(struct reader *reader);

static bool read_string(struct reader *reader, char *text, size_t size)
{
	size_t length = 0;
	if (*reader->at++ != '"')
		return false;
	for (; *reader->at != '"'; reader->at++) {
		if ((unsigned char)*reader->at < 0x20)
			return false;
		if (*reader->at == '\\') {
			reader->at++;
			if (strchr("\"\\/bfnrtu", *reader->at) == NULL)
				return false;
		}
		if (length + 1 < size)
			text[length++] = *reader->at;
	}
	text[length] = '\0';
	reader->at++;
	return true;
}

static void skip_blanks(struct reader *reader)
{
	reader->at += strspn(reader->at, " \n");
}

static bool read_items(struct reader *reader, char close)
{
	size_t length = strlen(reader->path);
	char key[128];
	reader->at++;
	skip_blanks(reader);
	for (int i = 0; *reader->at != close; i++) {
		if (i > 0 && *reader->at++ != ',')
			return false;
		skip_blanks(reader);
		(void)snprintf(key, sizeof(key), "%d", i);
		if (close == '}' && (!read_string(reader, key, sizeof(key)) || *reader->at++ != ':'))
			return false;
		(void)snprintf(reader->path + length, sizeof(reader->path) - length, "%s%s",
			       length > 0 ? "." : "", key);
		if (!read_value(reader))
			return false;
		reader->path[length] = '\0';
		skip_blanks(reader);
	}
	reader->at++;
	return true;
}

static bool read_scalar(struct reader *reader, char *text, size_t size)
{
	static const char *const words[] = { "true", "false", "null" };
	if (*reader->at == '"')
		return read_string(reader, text, size);
	for (size_t i = 0; i < 3; i++) {
		if (strncmp(reader->at, words[i], strlen(words[i])) == 0) {
			(void)snprintf(text, size, "%s", words[i]);
			reader->at += strlen(words[i]);
			return true;
		}
	}
	size_t length = strspn(reader->at, "0123456789+-.eE");
	char *end = NULL;
	(void)strtod(reader->at, &end);
	if (length == 0 || end != reader->at + length ||
	    (reader->at[0] == '0' && isdigit((unsigned char)reader->at[1])))
		return false;
	(void)snprintf(text, size, "%.*s", (int)length, reader->at);
	reader->at += length;
	return true;
}

static bool read_value(struct reader *reader)
{
	char text[256];
	skip_blanks(reader);
	if (++reader->depth > 32)
		return false;
	bool good;
	if (*reader->at == '{' || *reader->at == '[') {
		(void)snprintf(text, sizeof(text), "%c", *reader->at);
		good = read_items(reader, *reader->at == '{' ? '}' : ']');
	} else {
		good = read_scalar(reader, text, sizeof(text));
	}
	reader->depth--;
	if (good && reader->wanted != NULL && strcmp(reader->path, reader->wanted) == 0)
		(void)snprintf(reader->found, sizeof(reader->found), "%s", text);
	return good;
}

static void assert_json(const char *json)
{
	struct reader reader = { .at = json };
	bool good = read_value(&reader);
	skip_blanks(&reader);
	if (!good || *reader.at != '\0')
		fail_msg("not JSON from here: %.40s", reader.at);
}

static void assert_json_value(const char *json, const char *path, const char *value)
{
	struct reader reader = { .at = json, .wanted = path, .found = "absent" };
	assert_true(read_value(&reader));
	if (strcmp(reader.found, value) != 0)
		fail_msg("%s is %s, expected %s", path, reader.found, value);
}

/* --- a record --- */

struct sample {
	struct record record;
	struct phase phase;
	struct phase_result result;
	struct validity validity;
	struct cell cell;
	struct arena arena;
	struct timeline_point timeline[2];
};

static struct sample sample;

static void make_result(struct phase_result *result)
{
	*result = (struct phase_result) {
		.start_unix_ns = 1234567890123456789,
		.seconds = 2,
		.operations = 1000,
		.cpu_seconds = 0.5,
		.device_reads = 250,
		.device_writes = UINT64_MAX,
		.device_read_bytes = 1 << 20,
		.device_write_bytes = 3000,
		.rss_peak_bytes = 10 << 20,
		.user_bytes_written = 1000,
		.top1_share = 0.04,
		.top1pct_share = NAN,
		.top10pct_share = NAN,
		.timeline = sample.timeline,
		.timeline_count = 2,
		.counters = { { .name = "wal.bytes", .value = 7 },
			      { .name = "wal", .value = 8 },
			      { .name = "level.0.tables", .value = 9 },
			      { .name = "reads", .value = 1 } },
		.counter_count = 4,
	};
	sample.timeline[0] = (struct timeline_point) {
		.seconds = 1, .operations = 600, .p50_ns = 100, .device_write_bytes = UINT64_MAX
	};
	sample.timeline[1] = (struct timeline_point) { .seconds = 2 };
	result->service[OPERATION_READ] = histogram_create();
	assert_non_null(result->service[OPERATION_READ]);
	result->hiccups = histogram_create();
	assert_non_null(result->hiccups);
	histogram_record(result->hiccups, 60000);
	histogram_record(result->hiccups, 5000000);
	for (uint64_t i = 1; i <= 1000; i++)
		histogram_record(result->service[OPERATION_READ], i * 1000);
}

static int set_up(void **state)
{
	(void)state;
	static const struct variation variations[] = { { "engine.memtable.kind", "b\"tree" } };
	struct problem problem;
	struct yaml_node *engine = NULL;
	static const char text[] =
		"{kind: cascade, memtable: {kind: btree, size: 64 MiB}, shards: 2, on: true, r: 0.5}";
	arena_init(&sample.arena, 1 << 16);
	assert_ok(yaml_parse(&sample.arena, text, strlen(text), "test", false, &engine, &problem));
	sample.cell = (struct cell) {
		.workload = { .name = "x",
			      .engine_kind = "cascade",
			      .records = 5,
			      .value_size = 6,
			      .compressibility = 0.5,
			      .seed = UINT64_MAX,
			      .clients_as_tasks = true },
		.combination = { .variations = variations, .variation_count = 1 },
		.index = 4,
		.label = "memtable.kind=b\"tree, with a comma",
		.name = "b\"tree",
		.workload_label = "with a comma",
		.is_baseline = true,
		.configuration_hash = "0123456789abcdef",
		.workload_hash = "fedcba9876543210",
		.tag = "01234567",
		.engine = engine,
		.driver = driver_find("cascade"),
	};
	sample.phase = (struct phase) { .name = "run",
					.kind = PHASE_RUN,
					.clients = 3,
					.duration_ns = 1,
					.mix = { [OPERATION_READ] = 3, [OPERATION_SCAN] = 1 } };
	make_result(&sample.result);
	sample.validity = (struct validity) { .reason_count = 2, .reasons = { "a", "b \"c\"\n\xff" } };
	sample.record = (struct record) {
		.run = "20260101T000000Z-01234567",
		.experiment = "x",
		.cell = &sample.cell,
		.phase = &sample.phase,
		.phase_index = 1,
		.repetition = 2,
		.run_order = 3,
		.result = &sample.result,
		.validity = &sample.validity,
		.space_bytes = 2000,
		.logical_bytes = 1000,
		.budget_bytes = 0,
	};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	histogram_free(sample.result.service[OPERATION_READ]);
	histogram_free(sample.result.hiccups);
	arena_free(&sample.arena);
	return 0;
}

static char *written(void (*writer)(const struct record *record, FILE *file))
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	assert_non_null(file);
	writer(&sample.record, file);
	assert_int_equal(fclose(file), 0);
	return text;
}

static void test_names_and_values(void **state)
{
	(void)state;
	static const char *const expected[][2] = {
		{ "schema_version", "1" },
		{ "experiment", "x" },
		{ "configuration.hash", "0123456789abcdef" },
		{ "configuration.name", "b\"tree" },
		{ "configuration.index", "4" },
		{ "configuration.baseline", "true" },
		{ "workload.hash", "fedcba9876543210" },
		{ "workload.label", "with a comma" },
		{ "workload.seed", "18446744073709551615" },
		{ "engine.kind", "cascade" },
		{ "engine.memtable.kind", "btree" },
		{ "engine.memtable.size", "64 MiB" },
		{ "engine.shards", "2" },
		{ "engine.on", "true" },
		{ "engine.r", "0.5" },
		{ "clients_as", "tasks" },
		{ "parity.durability", "process" },
		{ "phase.name", "run" },
		{ "phase.kind", "run" },
		{ "phase.mix.read", "0.75" },
		{ "phase.mix.update", "absent" },
		{ "phase.start_unix_ns", "1234567890123456789" },
		{ "repetition", "2" },
		{ "run_order", "3" },
		{ "operations", "1000" },
		{ "seconds", "2" },
		{ "idle_wait_seconds", "null" },
		{ "throughput.ops_s", "500" },
		{ "latency.read.service.count", "1000" },
		{ "latency.read.service.mean_ns", "500500" },
		{ "latency.read.service.max_ns", "1000000" },
		{ "latency.read.service.hgrm", "01234567.run.read.service.r2.ns.hgrm" },
		{ "latency.scan", "absent" },
		{ "cpu.seconds", "0.5" },
		{ "cpu.us_per_op", "500" },
		{ "device.read_bytes", "1048576" },
		{ "device.write_bytes", "3000" },
		{ "device.reads", "250" },
		{ "device.writes", "null" },
		{ "device.reads_per_op", "0.25" },
		{ "per_op.cpu_us", "500" },
		{ "per_op.device_reads", "0.25" },
		{ "per_op.device_writes", "null" },
		{ "per_op.device_read_bytes", "1048.576" },
		{ "per_op.device_write_bytes", "3" },
		{ "hiccup.count", "2" },
		{ "hiccup.max_ns", "5000000" },
		{ "hiccup.hgrm", "01234567.run.hiccup.r2.ns.hgrm" },
		{ "amplification.write", "3" },
		{ "amplification.space", "2" },
		{ "memory.rss_peak_bytes", "10485760" },
		{ "memory.budget_bytes", "null" },
		{ "counters.wal.bytes", "7" },
		{ "counters.wal", "8" },
		{ "counters.level.0.tables", "9" },
		{ "counters.reads", "1" },
		{ "realised.top1_share", "0.04" },
		{ "realised.top1pct_share", "null" },
		{ "verify.checked", "null" },
		{ "verify.mismatches", "null" },
		{ "validity.verdict", "suspect" },
		{ "validity.reasons.0", "a" },
	};
	char *json = written(record_write_json);
	assert_json(json);
	/* One line. */
	assert_ptr_equal(strchr(json, '\n'), json + strlen(json) - 1);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_json_value(json, expected[i][0], expected[i][1]);
	static const char *const percentiles[] = { "p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns" };
	for (size_t i = 0; i < 5; i++) {
		char path[64];
		struct reader reader = { .at = json, .wanted = path, .found = "absent" };
		(void)snprintf(path, sizeof(path), "latency.read.service.%s", percentiles[i]);
		assert_true(read_value(&reader));
		assert_true(strtod(reader.found, NULL) >= 500000);
	}
	memory_free(json);
}

/* A phase that nobody watched has no hiccups, rather than none of any length. */
static void test_without_hiccups(void **state)
{
	(void)state;
	struct histogram *kept = sample.result.hiccups;
	sample.result.hiccups = NULL;
	char *json = written(record_write_json);
	assert_json_value(json, "hiccup", "absent");
	memory_free(json);
	sample.result.hiccups = kept;
}

static void test_verified_and_invalid(void **state)
{
	(void)state;
	sample.record.verified = true;
	sample.validity.invalid = true;
	sample.result.verify_checked = 10;
	sample.result.verify_mismatches = 1;
	char *json = written(record_write_json);
	assert_json_value(json, "verify.checked", "10");
	assert_json_value(json, "verify.mismatches", "1");
	assert_json_value(json, "validity.verdict", "invalid");
	memory_free(json);
	sample.record.verified = false;
	sample.validity.invalid = false;
}

/* The number of fields of a line, quotes minded. */
static size_t count_fields(const char *line)
{
	size_t fields = 1;
	bool quoted = false;
	for (; *line != '\0' && *line != '\n'; line++) {
		if (*line == '"')
			quoted = !quoted;
		fields += *line == ',' && !quoted;
	}
	return fields;
}

static void test_tables_have_all_columns(void **state)
{
	(void)state;
	char *text = written(record_write_repetition);
	assert_int_equal(count_fields(text), count_fields(REPETITION_COLUMNS));
	assert_non_null(strstr(text, ",\"memtable.kind=b\"\"tree, with a comma\","));
	assert_non_null(strstr(text, ",read,1000,500500,"));
	memory_free(text);
	struct histogram *kept = sample.result.service[OPERATION_READ];
	sample.result.service[OPERATION_READ] = NULL;
	text = written(record_write_repetition);
	assert_int_equal(count_fields(text), count_fields(REPETITION_COLUMNS));
	memory_free(text);
	sample.result.service[OPERATION_READ] = kept;
	text = written(record_write_timeline);
	const char *second = strchr(text, '\n') + 1;
	assert_int_equal(count_fields(text), count_fields(TIMELINE_COLUMNS));
	assert_int_equal(count_fields(second), count_fields(TIMELINE_COLUMNS));
	/* In the second in which nothing ended there are no percentiles. */
	assert_non_null(strstr(second, ",run,2.000,0,,,,,"));
	memory_free(text);
}

static void test_summary_struct(void **state)
{
	(void)state;
	struct phase_summary summary;
	record_summarize(&sample.record, &summary);
	assert_int_equal(summary.verdict, 1);
	assert_true(summary.ops_s == 500);
	assert_true(summary.write_amplification == 3);
	assert_int_equal(summary.latency[OPERATION_READ].count, 1000);
	assert_int_equal(summary.latency[OPERATION_SCAN].count, 0);
	sample.result.device_reads = UINT64_MAX;
	record_summarize(&sample.record, &summary);
	assert_true(isnan(summary.reads_per_op));
	sample.result.device_reads = 250;
}

static void test_json_text(void **state)
{
	(void)state;
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	struct json_writer json = { .file = file };
	json_object_begin(&json, NULL);
	json_text(&json, "a\"b", "\x01\x1f\\\t\xc3\xa4\xff\xc3(\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80");
	json_real(&json, "n", NAN);
	json_real(&json, "i", INFINITY);
	json_known(&json, "u", UINT64_MAX);
	json_array_begin(&json, "e");
	json_array_end(&json);
	json_object_end(&json);
	assert_int_equal(fclose(file), 0);
	assert_json(text);
	assert_string_equal(
		text,
		"{\"a\\\"b\":\"\\u0001\\u001f\\\\\\u0009\xc3\xa4\\ufffd\\ufffd(\\ufffd\\ufffd\\ufffd"
		"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\",\"n\":null,\"i\":null,\"u\":null,\"e\":[]}");
	memory_free(text);
}

static void test_medians(void **state)
{
	(void)state;
	double odd[] = { 3, NAN, 1, 2 };
	double even[] = { 4, 1, 3, 2 };
	double none[] = { NAN };
	assert_true(median_of(odd, 4) == 2);
	assert_true(median_of(even, 4) == 2.5);
	assert_true(isnan(median_of(none, 1)));
}

static void test_text_table(void **state)
{
	(void)state;
	static const char *const headers[] = { "name", "n", "help" };
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	struct text_table table;
	text_table_init(&table, headers, 3);
	static const char *const cells[] = { "a", "1,000", "x y", "bcdef", "7", "" };
	for (size_t i = 0; i < 6; i++)
		text_table_add(&table, cells[i]);
	text_table_print(&table, file);
	text_table_free(&table);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(text, "name       n  help\na      1,000  x y\nbcdef      7\n");
	memory_free(text);

	file = open_memstream(&text, &size);
	text_table_init(&table, headers, 3);
	static const char *const marked[] = { "a|b", "1.5", "µs", "c", "-", "" };
	for (size_t i = 0; i < 6; i++)
		text_table_add(&table, marked[i]);
	text_table_print_markdown(&table, file);
	text_table_free(&table);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(text, "| name |   n | help |\n| ---- | --: | ---- |\n"
				  "| a\\|b  | 1.5 | µs   |\n| c    |   - |      |\n");
	memory_free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_values),
		cmocka_unit_test(test_without_hiccups),
		cmocka_unit_test(test_verified_and_invalid),
		cmocka_unit_test(test_tables_have_all_columns),
		cmocka_unit_test(test_summary_struct),
		cmocka_unit_test(test_json_text),
		cmocka_unit_test(test_medians),
		cmocka_unit_test(test_text_table),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
