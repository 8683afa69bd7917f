#include "harness/drivers/driver.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "harness/phase.h"
#include "test.h"

static void each_driver_is_whole(void **state)
{
	(void)state;
	for (size_t i = 0; drivers[i] != NULL; i++) {
		const struct driver_ops *ops = drivers[i];
		assert_ptr_equal(driver_find(ops->name), ops);
		assert_true(ops->summary[0] != '\0');
		assert_true(ops->check != NULL && ops->describe != NULL && ops->open != NULL);
		assert_true(ops->close != NULL && ops->client_open != NULL && ops->client_close != NULL);
		assert_true(ops->insert != NULL && ops->update != NULL && ops->read != NULL);
		assert_true(ops->remove != NULL && ops->wait_idle != NULL && ops->counters != NULL);
		assert_true(ops->notice != NULL && ops->memory_budget != NULL);
		assert_int_equal(ops->scan != NULL, (ops->capabilities & DRIVER_SCANS) != 0);
		bool tasks = (ops->capabilities & DRIVER_TASKS) != 0;
		assert_true(!tasks || (ops->run_tasks != NULL && ops->task_yield != NULL));
		assert_true(!tasks || ops->task_sleep != NULL);
	}
	assert_non_null(driver_find("cascade"));
	assert_non_null(driver_find("null"));
	assert_null(driver_find("nosuch"));
}

static void wrong_options_are_pointed_at(void **state)
{
	(void)state;
	static const struct driver_option unknown[] = { { "memory", "64 MiB", 3 }, { "memroy", "1", 4 } };
	static const struct driver_option wrong[] = { { "durability", "often", 3 } };
	struct driver_config config = { .path = "/nowhere", .options = unknown, .option_count = 2 };
	const struct driver_ops *cascade = driver_find("cascade");
	size_t bad;
	assert_status(cascade->check(&config, &bad), STATUS_INVALID);
	assert_int_equal(bad, 1);
	config.option_count = 1;
	assert_ok(cascade->check(&config, &bad));
	assert_int_equal(cascade->memory_budget(&config), 64 << 20);
	config.options = wrong;
	struct status status = cascade->check(&config, &bad);
	assert_status(status, STATUS_INVALID);
	assert_int_equal(bad, 0);
	char text[256];
	status_describe(status, text, sizeof(text));
	assert_non_null(strstr(text, "often"));
	assert_status(driver_find("null")->check(&config, &bad), STATUS_INVALID);
	assert_int_equal(bad, 0);
	config.option_count = 0;
	assert_ok(driver_find("null")->check(&config, &bad));
	assert_true(cascade->memory_budget(&config) > 0);
}

struct described {
	bool memory, kind, durability;
};

static void note_option(void *context, const char *name, const char *value)
{
	struct described *described = context;
	assert_non_null(value);
	described->memory = described->memory || strcmp(name, "memory") == 0;
	described->kind = described->kind || strcmp(name, "memtable.kind") == 0;
	if (strcmp(name, "durability") == 0) {
		assert_string_equal(value, "power");
		described->durability = true;
	}
}

static void options_in_effect_are_described(void **state)
{
	(void)state;
	static const struct driver_option options[] = { { "durability", "power", 1 } };
	struct driver_config config = { .path = "/nowhere", .options = options, .option_count = 1 };
	struct described described = { false, false, false };
	driver_find("cascade")->describe(&config, note_option, &described);
	assert_true(described.memory && described.kind && described.durability);
}

static void remove_folder(const char *path)
{
	DIR *directory = opendir(path);
	for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
		char name[1024];
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (unlink(name) != 0)
			remove_folder(name);
	}
	if (directory != NULL)
		closedir(directory);
	rmdir(path);
}

static void run_phase(struct phase_context *context, const struct phase *phase)
{
	struct phase_result result;
	assert_ok(phase_run(context, phase, &result));
	assert_string_equal(result.first_mismatch, "");
	assert_int_equal(result.verify_mismatches, 0);
	assert_int_equal(result.failed, 0);
	assert_int_equal(result.operations,
			 phase->kind == PHASE_LOAD ? context->workload->records : phase->operations);
	assert_true(result.counter_count > 0);
	size_t gauges = 0;
	for (size_t i = 0; i < result.counter_count; i++)
		gauges += result.counters[i].is_gauge;
	assert_true(gauges > 0);
	phase_result_free(&result);
}

/* All operations against the engine itself, every answer verified. */
static void run_cascade(bool tasks)
{
	char path[] = "drivers_test_XXXXXX";
	assert_non_null(mkdtemp(path));
	static const struct driver_option options[] = { { "shards", "2", 1 }, { "memory", "64 MiB", 2 } };
	struct driver_config config = { .path = path, .options = options, .option_count = 2 };
	const struct driver_ops *ops = driver_find("cascade");
	struct driver *driver;
	assert_ok(ops->open(&config, &driver));
	struct workload workload = {
		.records = 2000, .value_size = 200, .seed = 7, .clients_as_tasks = tasks
	};
	struct phase_context context = { .workload = &workload, .driver = driver };
	assert_ok(verifier_create(&workload, &context.verifier));
	struct phase load = { .name = "load", .kind = PHASE_LOAD, .clients = 4, .wait_idle = true };
	run_phase(&context, &load);
	struct phase mixed = { .name = "run", .kind = PHASE_RUN, .clients = 6, .operations = 6000 };
	static const double mix[OPERATION_KINDS] = { 40, 30, 5, 5, 10, 10 };
	memcpy(mixed.mix, mix, sizeof(mix));
	mixed.distribution = DISTRIBUTION_ZIPFIAN;
	mixed.scan_max = 20;
	run_phase(&context, &mixed);
	assert_true(context.inserted > 2000);
	verifier_destroy(context.verifier);
	assert_ok(ops->close(driver));
	remove_folder(path);
}

static void cascade_is_driven_by_threads(void **state)
{
	(void)state;
	run_cascade(false);
}

static void cascade_is_driven_by_tasks(void **state)
{
	(void)state;
	run_cascade(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_driver_is_whole),
		cmocka_unit_test(wrong_options_are_pointed_at),
		cmocka_unit_test(options_in_effect_are_described),
		cmocka_unit_test(cascade_is_driven_by_threads),
		cmocka_unit_test(cascade_is_driven_by_tasks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
