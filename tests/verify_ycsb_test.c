/*
 * YCSB's workloads one after the other on one small database of the real engine, every value and every row
 * verified: with the engine as it stands, then with each variant of each component. About five seconds;
 * scripts/verify-ycsb.sh is the long form.
 */
#include <stdlib.h>
#include <string.h>

#include "cascade.h"
#include "harness/folder.h"
#include "harness/phase.h"
#include "test.h"

enum { RECORDS = 4000, OPERATIONS = 800, VALUE_BYTES = 400, OPTIONS_MAX = 8 };

static const struct {
	const char *name;
	double mix[OPERATION_KINDS]; /* read, update, insert, scan, rmw, delete */
	enum distribution distribution;
} ycsb[] = {
	{ "c", { 1 }, DISTRIBUTION_ZIPFIAN },
	{ "a", { 0.5, 0.5 }, DISTRIBUTION_ZIPFIAN },
	{ "b", { 0.95, 0.05 }, DISTRIBUTION_ZIPFIAN },
	{ "f", { [OPERATION_READ] = 0.5, [OPERATION_RMW] = 0.5 }, DISTRIBUTION_ZIPFIAN },
	{ "d", { [OPERATION_READ] = 0.95, [OPERATION_INSERT] = 0.05 }, DISTRIBUTION_LATEST },
	{ "e", { [OPERATION_SCAN] = 0.95, [OPERATION_INSERT] = 0.05 }, DISTRIBUTION_ZIPFIAN },
	/* Not YCSB's: what is removed must stay so, in scans too. */
	{ "removing", { 0.3, 0.1, 0.1, 0.2, 0, 0.3 }, DISTRIBUTION_UNIFORM },
};

struct bench {
	char folder[64];
	const char *what;
	struct workload workload;
	struct driver *driver;
	struct phase_context context;
};

static void run_phase(struct bench *bench, const struct phase *phase)
{
	struct phase_result result;
	char text[256];
	assert_ok(phase_run(&bench->context, phase, &result));
	if (result.failed > 0) {
		status_describe(result.first_failure, text, sizeof(text));
		fail_msg("%s: %s: %s", bench->what, phase->name, text);
	}
	if (result.verify_mismatches > 0)
		fail_msg("%s: %s: %s", bench->what, phase->name, result.first_mismatch);
	if (phase->kind == PHASE_RUN)
		assert_true(result.verify_checked > OPERATIONS / 4);
	phase_result_free(&result);
}

static void run_workloads(struct bench *bench)
{
	struct phase load = { .name = "load", .kind = PHASE_LOAD, .clients = 8 };
	run_phase(bench, &load);
	assert_int_equal(bench->context.inserted, RECORDS);
	for (size_t i = 0; i < sizeof(ycsb) / sizeof(ycsb[0]); i++) {
		struct phase phase = {
			.name = (char *)ycsb[i].name,
			.kind = PHASE_RUN,
			.distribution = ycsb[i].distribution,
			.clients = 8,
			.operations = OPERATIONS,
			.scan_min = 1,
			.scan_max = 100,
		};
		memcpy(phase.mix, ycsb[i].mix, sizeof(phase.mix));
		run_phase(bench, &phase);
	}
	assert_true(bench->context.inserted > RECORDS);
}

/* Without a flush the data would have been in memtables all the time. */
static void assert_flushed(struct driver *driver)
{
	struct driver_counter counters[128];
	memset(counters, 0, sizeof(counters));
	size_t count = driver->ops->counters(driver, counters, 128);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(counters[i].name, "flushes") == 0) {
			assert_true(counters[i].value > 0);
			return;
		}
	}
	fail_msg("the engine counts no flushes");
}

/* Small memory, so that data passes through flushes and evictions; `name` NULL: no more options. */
static void verify_engine(const char *name, const char *value, bool tasks)
{
	const struct driver_ops *ops = driver_find("cascade");
	struct driver_option options[OPTIONS_MAX] = {
		{ .name = "shards", .value = "2" },
		{ .name = "memtable.size", .value = "512 KiB" },
		{ .name = "cache.size", .value = "1 MiB" },
		{ .name = name, .value = value },
	};
	struct bench bench = {
		.folder = "/tmp/cascade-verify-XXXXXX",
		.what = name == NULL ? "as it stands" : value,
		.workload = { .records = RECORDS,
			      .value_size = VALUE_BYTES,
			      .compressibility = 0.5,
			      .seed = test_seed(42),
			      .clients_as_tasks = tasks },
	};
	assert_non_null(mkdtemp(bench.folder));
	struct driver_config config = {
		.path = bench.folder,
		.options = options,
		.option_count = name == NULL ? 3 : 4,
		.expected_records = RECORDS,
	};
	struct status status = ops->open(&config, &bench.driver);
	if (status_is(status, STATUS_UNSUPPORTED)) {
		print_message("%s = %s: not on this machine\n", name, value);
	} else {
		assert_ok(status);
		bench.context =
			(struct phase_context) { .workload = &bench.workload, .driver = bench.driver };
		assert_ok(verifier_create(&bench.workload, &bench.context.verifier));
		run_workloads(&bench);
		assert_flushed(bench.driver);
		verifier_destroy(bench.context.verifier);
		assert_ok(ops->close(bench.driver));
	}
	assert_int_equal(folder_remove(bench.folder), 0);
}

static void the_engine_as_it_stands(void **state)
{
	(void)state;
	verify_engine(NULL, NULL, true);
	verify_engine(NULL, NULL, false);
	verify_engine("io.direct", "false", true);
	verify_engine("durability", "memory", true);
}

static void each_variant_of_each_component(void **state)
{
	(void)state;
	const cascade_component_info *components;
	size_t count = cascade_component_list(&components);
	assert_true(count > 0);
	for (size_t i = 0; i < count; i++) {
		char name[64];
		if (components[i].forgets)
			continue;
		(void)snprintf(name, sizeof(name), "%s.kind", components[i].kind);
		verify_engine(name, components[i].name, true);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_engine_as_it_stands),
		cmocka_unit_test(each_variant_of_each_component),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
