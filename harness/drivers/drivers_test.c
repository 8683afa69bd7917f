#include "harness/drivers/driver.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "harness/phase.h"
#include "test.h"

enum { DESCRIBED_MAX = 128 };

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
		assert_true(ops->notice != NULL && ops->memory_budget != NULL && ops->parity != NULL);
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

/* --- the contract, over every driver of the build --- */

/* Small configurations, so that tables come into being. A driver without a row is run as it comes. */
static const struct small {
	const char *name;
	struct driver_option options[2];
} smalls[] = {
	{ "cascade", { { "shards", "2", 1 }, { "memory", "64 MiB", 2 } } },
	{ "rocksdb", { { "memtable.size", "4 MiB", 1 }, { "memtable.count", "2", 2 } } },
};

struct world {
	const struct driver_ops *ops;
	char path[64];
	struct driver_config config;
	struct driver *driver;
	struct driver_client *client;
};

static void world_open(struct world *world)
{
	assert_ok(world->ops->open(&world->config, &world->driver));
	assert_ok(world->ops->client_open(world->driver, &world->client));
}

static void world_close(struct world *world)
{
	world->ops->client_close(world->client);
	assert_ok(world->ops->close(world->driver));
}

static void world_make(struct world *world, const struct driver_ops *ops)
{
	*world = (struct world) { .ops = ops, .path = "drivers_test_XXXXXX" };
	assert_non_null(mkdtemp(world->path));
	world->config = (struct driver_config) { .path = world->path, .expected_records = 2000 };
	for (size_t i = 0; i < sizeof(smalls) / sizeof(smalls[0]); i++) {
		if (strcmp(smalls[i].name, ops->name) != 0)
			continue;
		world->config.options = smalls[i].options;
		world->config.option_count = 2;
	}
	world_open(world);
}

static void world_free(struct world *world)
{
	world_close(world);
	remove_folder(world->path);
}

static void put(struct world *world, struct slice key, struct slice value)
{
	assert_ok(world->ops->insert(world->client, key, value));
}

static void assert_value(struct world *world, struct slice key, struct slice expected)
{
	struct slice value = slice_make(NULL, 0);
	assert_ok(world->ops->read(world->client, key, &value));
	assert_int_equal(value.size, expected.size);
	if (value.size > 0)
		assert_memory_equal(value.data, expected.data, value.size);
}

static void assert_no_value(struct world *world, struct slice key)
{
	struct slice value;
	assert_status(world->ops->read(world->client, key, &value), STATUS_NOT_FOUND);
}

/* Keys and values are bytes, not text: zeros in them, nothing in a value, and many bytes. */
static void check_bytes(struct world *world)
{
	static uint8_t large[70000];
	struct slice zeros = slice_make("a\0b", 3), shorter = slice_make("a", 1), empty = slice_make("", 0);
	memset(large, 0xa5, sizeof(large));
	put(world, zeros, slice_make("\0\xff\0", 3));
	put(world, shorter, empty);
	put(world, slice_from_string("large"), slice_make(large, sizeof(large)));
	assert_value(world, zeros, slice_make("\0\xff\0", 3));
	assert_value(world, shorter, empty);
	assert_value(world, slice_from_string("large"), slice_make(large, sizeof(large)));
	assert_no_value(world, slice_make("a\0", 2));
	assert_ok(world->ops->update(world->client, zeros, slice_from_string("new")));
	assert_value(world, zeros, slice_from_string("new"));
	assert_ok(world->ops->remove(world->client, zeros));
	assert_no_value(world, zeros);
	assert_value(world, shorter, empty);
	assert_ok(world->ops->remove(world->client, slice_from_string("never there")));
	assert_ok(world->ops->remove(world->client, shorter));
	assert_ok(world->ops->remove(world->client, slice_from_string("large")));
}

/* What was read stays where it is while others write; the reader's own next call ends it. */
static void check_lifetime(struct world *world)
{
	struct driver_client *other;
	struct slice value = slice_make(NULL, 0), key = slice_from_string("lifetime");
	put(world, key, slice_from_string("before"));
	assert_ok(world->ops->client_open(world->driver, &other));
	assert_ok(world->ops->read(other, key, &value));
	put(world, key, slice_from_string("after!"));
	assert_ok(world->ops->remove(world->client, key));
	assert_int_equal(value.size, 6);
	assert_memory_equal(value.data, "before", 6);
	world->ops->client_close(other);
}

static struct slice row_key(unsigned number, char buffer[static 16])
{
	snprintf(buffer, 16, "row%05u", number);
	return slice_from_string(buffer);
}

struct walk {
	unsigned next, step; /* the number that the next row must have, and by how much they differ */
	unsigned seen, stop_after;
};

static bool walk_row(void *context, struct slice key, struct slice value)
{
	struct walk *walk = context;
	char buffer[16];
	struct slice expected = row_key(walk->next, buffer);
	assert_true(slice_equal(key, expected));
	assert_true(slice_equal(value, expected));
	walk->next += walk->step;
	walk->seen++;
	return walk->seen != walk->stop_after;
}

static unsigned walk_from(struct world *world, unsigned from, unsigned first, uint64_t count,
			  unsigned stop_after)
{
	char buffer[16];
	struct walk walk = { .next = first, .step = 2, .stop_after = stop_after };
	assert_ok(world->ops->scan(world->client, row_key(from, buffer), count, walk_row, &walk));
	return walk.seen;
}

/* Rows 0, 2, ... 1998 are there, and nothing behind them. */
static void check_scans(struct world *world)
{
	assert_int_equal(walk_from(world, 0, 0, 10, 0), 10);
	assert_int_equal(walk_from(world, 501, 502, 100, 0), 100);
	assert_int_equal(walk_from(world, 502, 502, 1, 0), 1);
	assert_int_equal(walk_from(world, 0, 0, 5000, 0), 1000);
	assert_int_equal(walk_from(world, 1990, 1990, 100, 0), 5);
	assert_int_equal(walk_from(world, 0, 0, 100, 3), 3);
	assert_int_equal(walk_from(world, 1999, 0, 100, 0), 0);
}

static void check_rows(struct world *world)
{
	char buffer[16];
	for (unsigned i = 0; i < 2000; i += 101) {
		if (i % 2 == 0)
			assert_value(world, row_key(i, buffer), row_key(i, buffer));
		else
			assert_no_value(world, row_key(i, buffer));
	}
	if ((world->ops->capabilities & DRIVER_SCANS) != 0)
		check_scans(world);
}

/* Written, waited for, closed and opened again: the same rows each time. */
static void each_driver_keeps_the_contract(void **state)
{
	(void)state;
	for (size_t i = 0; drivers[i] != NULL; i++) {
		char buffer[16];
		struct world world;
		if ((drivers[i]->capabilities & DRIVER_FORGETS) != 0)
			continue;
		world_make(&world, drivers[i]);
		check_bytes(&world);
		check_lifetime(&world);
		for (unsigned row = 0; row < 2000; row++)
			put(&world, row_key(row, buffer), row_key(row, buffer));
		for (unsigned row = 1; row < 2000; row += 2)
			assert_ok(world.ops->remove(world.client, row_key(row, buffer)));
		check_rows(&world);
		assert_ok(world.ops->wait_idle(world.driver));
		check_rows(&world);
		world_close(&world);
		world_open(&world);
		check_rows(&world);
		world_free(&world);
	}
}

static void fill_option(void *context, const char *name, const char *value)
{
	struct driver_config *config = context;
	struct driver_option *options = (struct driver_option *)config->options;
	assert_true(config->option_count < DESCRIBED_MAX);
	options[config->option_count++] =
		(struct driver_option) { .name = strdup(name), .value = strdup(value), .line = 1 };
}

struct comparison {
	const struct driver_config *expected;
	size_t next;
};

static void compare_option(void *context, const char *name, const char *value)
{
	struct comparison *comparison = context;
	assert_true(comparison->next < comparison->expected->option_count);
	const struct driver_option *expected = &comparison->expected->options[comparison->next++];
	assert_string_equal(name, expected->name);
	assert_string_equal(value, expected->value);
}

/* A resolved file is a file: what is described is accepted, and describes the same. */
static void descriptions_are_configurations(void **state)
{
	(void)state;
	for (size_t i = 0; drivers[i] != NULL; i++) {
		static struct driver_option options[DESCRIBED_MAX];
		struct driver_config plain = { .path = "/nowhere" };
		struct driver_config full = { .path = "/nowhere", .options = options };
		size_t bad;
		drivers[i]->describe(&plain, fill_option, &full);
		assert_ok(drivers[i]->check(&full, &bad));
		struct comparison comparison = { .expected = &full };
		drivers[i]->describe(&full, compare_option, &comparison);
		assert_int_equal(comparison.next, full.option_count);
		assert_int_equal(drivers[i]->memory_budget(&full), drivers[i]->memory_budget(&plain));
		for (size_t k = 0; k < full.option_count; k++) {
			free((char *)options[k].name);
			free((char *)options[k].value);
		}
	}
}

/* --- under a workload, every answer verified --- */

static void run_phase(struct phase_context *context, const struct phase *phase)
{
	struct phase_result result;
	assert_ok(phase_run(context, phase, &result));
	assert_string_equal(result.first_mismatch, "");
	assert_int_equal(result.verify_mismatches, 0);
	assert_int_equal(result.failed, 0);
	assert_int_equal(result.operations,
			 phase->kind == PHASE_LOAD ? context->workload->records : phase->operations);
	size_t gauges = 0;
	for (size_t i = 0; i < result.counter_count; i++)
		gauges += result.counters[i].is_gauge;
	/* Counters are nobody's duty, but those of ours have to arrive. */
	if (context->driver->ops == driver_find("cascade"))
		assert_true(gauges > 0 && result.counter_count > gauges);
	phase_result_free(&result);
}

static void run_workload(const struct driver_ops *ops, bool tasks)
{
	struct world world;
	world_make(&world, ops);
	struct workload workload = {
		.records = 2000, .value_size = 200, .seed = 7, .clients_as_tasks = tasks
	};
	struct phase_context context = { .workload = &workload, .driver = world.driver };
	assert_ok(verifier_create(&workload, &context.verifier));
	struct phase load = { .name = "load", .kind = PHASE_LOAD, .clients = 4, .wait_idle = true };
	run_phase(&context, &load);
	struct phase mixed = { .name = "run", .kind = PHASE_RUN, .clients = 6, .operations = 6000 };
	static const double mix[OPERATION_KINDS] = { 40, 30, 5, 5, 10, 10 };
	memcpy(mixed.mix, mix, sizeof(mix));
	if ((ops->capabilities & DRIVER_SCANS) == 0)
		mixed.mix[OPERATION_SCAN] = 0;
	mixed.distribution = DISTRIBUTION_ZIPFIAN;
	mixed.scan_max = 20;
	run_phase(&context, &mixed);
	assert_true(context.inserted > 2000);
	verifier_destroy(context.verifier);
	world_free(&world);
}

static void each_driver_is_driven_by_threads(void **state)
{
	(void)state;
	for (size_t i = 0; drivers[i] != NULL; i++) {
		if ((drivers[i]->capabilities & DRIVER_FORGETS) == 0)
			run_workload(drivers[i], false);
	}
}

static void each_driver_with_tasks_is_driven_by_tasks(void **state)
{
	(void)state;
	for (size_t i = 0; drivers[i] != NULL; i++) {
		if ((drivers[i]->capabilities & DRIVER_TASKS) != 0)
			run_workload(drivers[i], true);
	}
}

/* Every engine of the list is in the build, or says why not; nobody else says anything. */
static void absent_engines_say_why(void **state)
{
	(void)state;
	static const char *const peers[] = { "rocksdb", "leveldb", "lmdb", "wiredtiger" };
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		const char *why = driver_absence(peers[i]);
		assert_int_equal(why == NULL, driver_find(peers[i]) != NULL);
		assert_true(why == NULL || strstr(why, peers[i]) != NULL);
	}
	assert_null(driver_absence("cascade"));
	assert_null(driver_absence("null"));
	assert_null(driver_absence("nosuch"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_driver_is_whole),
		cmocka_unit_test(wrong_options_are_pointed_at),
		cmocka_unit_test(options_in_effect_are_described),
		cmocka_unit_test(absent_engines_say_why),
		cmocka_unit_test(descriptions_are_configurations),
		cmocka_unit_test(each_driver_keeps_the_contract),
		cmocka_unit_test(each_driver_is_driven_by_threads),
		cmocka_unit_test(each_driver_with_tasks_is_driven_by_tasks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
