/*
 * The RocksDB driver: its options reach the library, its promises hold, and the library computes its
 * checksums with the function of this program.
 */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "harness/drivers/rocksdb_internal.h"
#include "test.h"

enum { PATH_BYTES = 128, FILE_BYTES = 1 << 16, CRC_BYTES = 1 << 14 };

extern const struct driver_ops rocksdb_driver;

struct world {
	char path[PATH_BYTES];
	struct driver_config config;
	struct driver *driver;
	struct driver_client *client;
};

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

static void world_open(struct world *world)
{
	assert_ok(rocksdb_driver.open(&world->config, &world->driver));
	assert_ok(rocksdb_driver.client_open(world->driver, &world->client));
}

static void world_close(struct world *world)
{
	rocksdb_driver.client_close(world->client);
	assert_ok(rocksdb_driver.close(world->driver));
}

static void world_make(struct world *world, const struct driver_option *options, size_t count)
{
	(void)snprintf(world->path, sizeof(world->path), "rocksdb_test_XXXXXX");
	assert_non_null(mkdtemp(world->path));
	world->config = (struct driver_config) {
		.path = world->path, .options = options, .option_count = count, .expected_records = 1000
	};
	world_open(world);
}

static void world_free(struct world *world)
{
	world_close(world);
	remove_folder(world->path);
}

static void put(struct world *world, const char *key, const char *value)
{
	assert_ok(rocksdb_driver.insert(world->client, slice_from_string(key), slice_from_string(value)));
}

static void assert_value(struct world *world, const char *key, const char *expected)
{
	struct slice value;
	struct status status = rocksdb_driver.read(world->client, slice_from_string(key), &value);
	if (expected == NULL) {
		assert_status(status, STATUS_NOT_FOUND);
		return;
	}
	assert_ok(status);
	assert_int_equal(value.size, strlen(expected));
	assert_memory_equal(value.data, expected, value.size);
}

static uint64_t counter(struct world *world, const char *name)
{
	static struct driver_counter counters[128];
	memset(counters, 0, sizeof(counters));
	size_t count = rocksdb_driver.counters(world->driver, counters, 128);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(counters[i].name, name) == 0)
			return counters[i].value;
	}
	return UINT64_MAX;
}

/* --- checksums --- */

static uint32_t crc_by_bits(uint32_t crc, const char *data, size_t size)
{
	crc = ~crc;
	for (size_t i = 0; i < size; i++) {
		crc ^= (uint8_t)data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

typedef uint32_t crc_function(uint32_t crc, const char *data, size_t size);

static crc_function *const crc_functions[] = { rocksdb_crc32c_extend, rocksdb_crc32c_portable };

static void checksums_are_those_of_the_standard(void **state)
{
	(void)state;
	char zeros[32] = { 0 }, ones[32], rising[32];
	memset(ones, 0xff, sizeof(ones));
	for (int i = 0; i < 32; i++)
		rising[i] = (char)i;
	for (size_t i = 0; i < 2; i++) {
		crc_function *crc = crc_functions[i];
		assert_int_equal(crc(0, "123456789", 9), 0xe3069283);
		/* RFC 3720, B.4 */
		assert_int_equal(crc(0, zeros, 32), 0x8a9136aa);
		assert_int_equal(crc(0, ones, 32), 0x62a8ab43);
		assert_int_equal(crc(0, rising, 32), 0x46dd794e);
		assert_int_equal(crc(0, NULL, 0), 0);
		assert_int_equal(crc(0xe3069283, NULL, 0), 0xe3069283);
	}
}

/* Every size near the borders of lanes and words, at every alignment, and continued from what was before. */
static void checksums_agree_with_the_definition(void **state)
{
	(void)state;
	uint64_t seed = test_seed(20);
	struct random random = random_stream(seed);
	static char data[CRC_BYTES];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)random_next(&random);
	for (size_t round = 0; round < 3000; round++) {
		size_t size = round < 800 ? round : random_below(&random, 3 * 4096);
		size_t offset = random_below(&random, 64), cut = size > 0 ? random_below(&random, size) : 0;
		uint32_t begin = (uint32_t)random_next(&random);
		uint32_t expected = crc_by_bits(begin, data + offset, size);
		for (size_t i = 0; i < 2; i++) {
			crc_function *crc = crc_functions[i];
			uint32_t first = crc(begin, data + offset, cut);
			if (crc(begin, data + offset, size) != expected ||
			    crc(first, data + offset + cut, size - cut) != expected)
				fail_msg("seed %llu: %zu bytes at %zu, cut at %zu, function %zu",
					 (unsigned long long)seed, size, offset, cut, i);
		}
	}
}

static void the_library_uses_our_checksum(void **state)
{
	(void)state;
	struct world world;
	uint64_t before = rocksdb_crc32c_calls();
	world_make(&world, NULL, 0);
	assert_string_equal(rocksdb_driver.notice(world.driver), "");
	uint64_t opened = rocksdb_crc32c_calls();
	assert_true(opened > before);
	for (int i = 0; i < 100; i++)
		put(&world, "key", "value");
	/* Each is a record of the log, by one thread. */
	assert_true(rocksdb_crc32c_calls() >= opened + 100);
	assert_int_equal(counter(&world, "crc32c.calls"), rocksdb_crc32c_calls());
	/* What was written with it is read with it. */
	world_close(&world);
	world_open(&world);
	assert_value(&world, "key", "value");
	world_free(&world);
}

/* --- options --- */

struct wanted {
	const char *name, *value;
	bool found;
};

struct wanted_list {
	struct wanted *wanted;
	size_t count;
};

static void find_wanted(void *context, const char *name, const char *value)
{
	struct wanted_list *list = context;
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->wanted[i].name, name) == 0) {
			assert_string_equal(value, list->wanted[i].value);
			list->wanted[i].found = true;
		}
	}
}

static void assert_described(const struct driver_option *options, size_t count, struct wanted *wanted,
			     size_t wanted_count)
{
	struct driver_config config = { .path = "/nowhere", .options = options, .option_count = count };
	struct wanted_list list = { .wanted = wanted, .count = wanted_count };
	rocksdb_driver.describe(&config, find_wanted, &list);
	for (size_t i = 0; i < wanted_count; i++) {
		if (!wanted[i].found)
			fail_msg("%s is not described", wanted[i].name);
	}
}

static void profiles_are_what_they_say(void **state)
{
	(void)state;
	struct wanted tuned[] = {
		{ .name = "profile", .value = "tuned" },
		{ .name = "durability", .value = "process" },
		{ .name = "memtable.size", .value = "256 MiB" },
		{ .name = "memtable.count", .value = "4" },
		{ .name = "filter.bits_per_key", .value = "10" },
		{ .name = "cache.size", .value = "128 MiB" },
		{ .name = "cache.index_and_filters", .value = "false" },
		{ .name = "codec.kind", .value = "lz4" },
		{ .name = "compaction.dynamic_level_bytes", .value = "true" },
		{ .name = "background_jobs", .value = "2" },
		{ .name = "io.direct", .value = "true" },
		{ .name = "statistics", .value = "false" },
	};
	assert_described(NULL, 0, tuned, sizeof(tuned) / sizeof(tuned[0]));
	/* The library's own: two memtables of 64 MiB since it exists, no filter, through the page cache. */
	struct wanted defaults[] = {
		{ .name = "profile", .value = "defaults" },   { .name = "memtable.size", .value = "128 MiB" },
		{ .name = "memtable.count", .value = "2" },   { .name = "filter.bits_per_key", .value = "0" },
		{ .name = "cache.size", .value = "128 MiB" }, { .name = "io.direct", .value = "false" },
		{ .name = "background_jobs", .value = "2" },
	};
	static const struct driver_option plain[] = { { "profile", "defaults", 1 } };
	assert_described(plain, 1, defaults, sizeof(defaults) / sizeof(defaults[0]));
	/* An option stands over the profile, wherever it is written. */
	static const struct driver_option mixed[] = { { "codec.kind", "zstd", 1 },
						      { "profile", "defaults", 2 },
						      { "cache.size", "1 GiB", 3 } };
	struct wanted both[] = { { .name = "codec.kind", .value = "zstd" },
				 { .name = "cache.size", .value = "1 GiB" },
				 { .name = "memtable.size", .value = "128 MiB" } };
	assert_described(mixed, 3, both, 3);
	struct driver_config config = { .options = mixed, .option_count = 3 };
	assert_int_equal(rocksdb_driver.memory_budget(&config), (1 << 30) + (128 << 20));
}

static void wrong_options_are_refused_in_words(void **state)
{
	(void)state;
	static const struct {
		struct driver_option option;
		const char *words;
	} wrong[] = {
		{ { "memtable.sise", "1 GiB", 1 }, "did you mean 'memtable.size'?" },
		{ { "nonsense", "1", 1 }, "expected one of profile" },
		{ { "codec.kind", "lzo", 1 }, "expected one of none, lz4, zstd, snappy" },
		{ { "durability", "proces", 1 }, "did you mean 'process'?" },
		{ { "profile", "fast", 1 }, "expected one of defaults, tuned" },
		{ { "memtable.size", "1 KiB", 1 }, "expected 4 MiB to 1 TiB" },
		{ { "memtable.count", "1", 1 }, "expected 2 to 64" },
		{ { "filter.bits_per_key", "ten", 1 }, "is not a number" },
		{ { "cache.size", "-1", 1 }, "is not a size" },
		{ { "io.direct", "perhaps", 1 }, "neither true nor false" },
		{ { "background_jobs", "0", 1 }, "expected 1 to 1024" },
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct driver_option options[] = { { "cache.size", "0", 1 }, wrong[i].option };
		struct driver_config config = { .options = options, .option_count = 2 };
		size_t bad = 7;
		char text[256];
		struct status status = rocksdb_driver.check(&config, &bad);
		assert_status(status, STATUS_INVALID);
		assert_int_equal(bad, 1);
		status_describe(status, text, sizeof(text));
		if (strstr(text, wrong[i].words) == NULL)
			fail_msg("'%s' does not say '%s'", text, wrong[i].words);
	}
}

/* The library writes what it was given into a file OPTIONS-NUMBER. */
static void read_options_file(const char *path, char *text)
{
	DIR *directory = opendir(path);
	assert_non_null(directory);
	text[0] = '\0';
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		char name[1024];
		if (strncmp(entry->d_name, "OPTIONS-", 8) != 0)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		FILE *file = fopen(name, "r");
		assert_non_null(file);
		text[fread(text, 1, FILE_BYTES - 1, file)] = '\0';
		fclose(file);
	}
	closedir(directory);
}

static void assert_options_file(const struct driver_option *options, size_t count, const char *const *lines)
{
	static char text[FILE_BYTES];
	struct world world;
	world_make(&world, options, count);
	bool direct = rocksdb_driver.notice(world.driver)[0] == '\0';
	read_options_file(world.path, text);
	for (; *lines != NULL; lines++) {
		if (strstr(text, *lines) == NULL && (direct || strstr(*lines, "direct") == NULL))
			fail_msg("'%s' is not in the library's options", *lines);
	}
	world_free(&world);
}

static void options_reach_the_library(void **state)
{
	(void)state;
	static const char *const tuned[] = { "write_buffer_size=67108864",
					     "max_write_buffer_number=4",
					     "compression=kLZ4Compression",
					     "bottommost_compression=kDisableCompressionOption",
					     "filter_policy=bloomfilter",
					     "use_direct_reads=true",
					     "use_direct_io_for_flush_and_compaction=true",
					     "level_compaction_dynamic_level_bytes=true",
					     "max_background_jobs=2",
					     NULL };
	assert_options_file(NULL, 0, tuned);
	static const struct driver_option options[] = {
		{ "memtable.size", "24 MiB", 1 }, { "memtable.count", "3", 1 },
		{ "codec.kind", "none", 1 },	  { "filter.bits_per_key", "0", 1 },
		{ "io.direct", "false", 1 },	  { "compaction.dynamic_level_bytes", "false", 1 },
		{ "background_jobs", "4", 1 },	  { "cache.index_and_filters", "true", 1 },
	};
	static const char *const given[] = { "write_buffer_size=8388608",
					     "max_write_buffer_number=3",
					     "compression=kNoCompression",
					     "filter_policy=nullptr",
					     "use_direct_reads=false",
					     "use_direct_io_for_flush_and_compaction=false",
					     "level_compaction_dynamic_level_bytes=false",
					     "cache_index_and_filter_blocks=true",
					     "max_background_jobs=4",
					     NULL };
	assert_options_file(options, sizeof(options) / sizeof(options[0]), given);
}

/* The options file does not say how many bits the filters have; their size does. */
static uint64_t index_and_filter_bytes(const char *bits)
{
	struct driver_option options[] = { { "memtable.size", "4 MiB", 1 },
					   { "memtable.count", "2", 1 },
					   { "filter.bits_per_key", bits, 1 } };
	static const char value[100];
	struct world world;
	world_make(&world, options, 3);
	for (int i = 0; i < 40000; i++) {
		char key[32];
		snprintf(key, sizeof(key), "key%06d", i);
		assert_ok(rocksdb_driver.insert(world.client, slice_from_string(key),
						slice_make(value, sizeof(value))));
	}
	assert_ok(rocksdb_driver.wait_idle(world.driver));
	uint64_t bytes = counter(&world, "memory.index_and_filters");
	world_free(&world);
	return bytes;
}

static void filters_have_the_bits_asked_for(void **state)
{
	(void)state;
	uint64_t none = index_and_filter_bytes("0");
	uint64_t ten = index_and_filter_bytes("10");
	uint64_t fifty = index_and_filter_bytes("50");
	/* At least 10,000 of the 40,000 keys are in tables. */
	assert_true(ten > none + 10000 * 10 / 8 * 9 / 10);
	assert_true(fifty - none > 4 * (ten - none));
	assert_true(fifty - none < 6 * (ten - none));
}

/* --- promises --- */

static uint64_t log_bytes(const char *path)
{
	uint64_t bytes = 0;
	DIR *directory = opendir(path);
	assert_non_null(directory);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		char name[1024];
		struct stat information;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (strstr(entry->d_name, ".log") != NULL && stat(name, &information) == 0)
			bytes += (uint64_t)information.st_size;
	}
	closedir(directory);
	return bytes;
}

static void durability_is_the_logs(void **state)
{
	(void)state;
	static const char *const levels[] = { "memory", "process", "power" };
	for (size_t i = 0; i < 3; i++) {
		struct driver_option options[] = { { "durability", levels[i], 1 },
						   { "statistics", "true", 1 } };
		struct world world;
		world_make(&world, options, 2);
		for (int k = 0; k < 10; k++)
			put(&world, "key", "value");
		assert_int_equal(log_bytes(world.path) > 0, i > 0);
		assert_int_equal(counter(&world, "wal.synced"), i == 2 ? 10 : 0);
		world_free(&world);
	}
}

static void statistics_are_off_unless_asked_for(void **state)
{
	(void)state;
	struct world world;
	world_make(&world, NULL, 0);
	assert_int_equal(counter(&world, "bytes.written"), UINT64_MAX);
	assert_int_equal(counter(&world, "level.0.tables"), 0);
	world_free(&world);
	static const struct driver_option options[] = { { "statistics", "true", 1 } };
	world_make(&world, options, 1);
	put(&world, "key", "value");
	assert_int_equal(counter(&world, "number.keys.written"), 1);
	assert_true(counter(&world, "bytes.written") > 8);
	assert_true(counter(&world, "bytes.written") < 1000);
	world_free(&world);
}

/* Memtables of 2 MiB fill and are flushed; waiting ends with nothing under way, and forces nothing. */
static void waiting_ends_when_flushes_have(void **state)
{
	(void)state;
	static const struct driver_option options[] = { { "memtable.size", "4 MiB", 1 },
							{ "memtable.count", "2", 1 } };
	static char value[4000];
	struct world world;
	world_make(&world, options, 2);
	assert_ok(rocksdb_driver.wait_idle(world.driver));
	for (int i = 0; i < 5000; i++) {
		char key[32];
		snprintf(key, sizeof(key), "key%06d", i);
		assert_ok(rocksdb_driver.insert(world.client, slice_from_string(key),
						slice_make(value, sizeof(value))));
	}
	assert_ok(rocksdb_driver.wait_idle(world.driver));
	assert_int_equal(counter(&world, "memtables.immutable"), 0);
	assert_true(counter(&world, "tables.bytes") > 0);
	assert_true(counter(&world, "memory.memtables") > 0);
	world_free(&world);
}

static void a_value_stays_until_the_next_call(void **state)
{
	(void)state;
	struct world world;
	struct driver_client *other;
	struct slice value;
	world_make(&world, NULL, 0);
	put(&world, "key", "before");
	assert_ok(rocksdb_driver.client_open(world.driver, &other));
	assert_ok(rocksdb_driver.read(other, slice_from_string("key"), &value));
	put(&world, "key", "after");
	assert_ok(rocksdb_driver.remove(world.client, slice_from_string("key")));
	assert_int_equal(value.size, 6);
	assert_memory_equal(value.data, "before", 6);
	rocksdb_driver.client_close(other); /* with a value still pinned */
	assert_value(&world, "key", NULL);
	world_free(&world);
}

static void errors_have_codes_and_words(void **state)
{
	(void)state;
	struct world world;
	struct driver *second;
	char name[PATH_BYTES + 16], text[256];
	world_make(&world, NULL, 0);
	struct status status = rocksdb_driver.open(&world.config, &second);
	assert_status(status, STATUS_LOCKED);
	status_describe(status, text, sizeof(text));
	assert_non_null(strstr(text, "RocksDB: "));
	world_close(&world);
	snprintf(name, sizeof(name), "%s/CURRENT", world.path);
	FILE *file = fopen(name, "w");
	assert_non_null(file);
	fputs("damaged", file);
	fclose(file);
	assert_status(rocksdb_driver.open(&world.config, &second), STATUS_CORRUPT);
	remove_folder(world.path);
	struct driver_config nowhere = { .path = "/proc/nowhere" };
	assert_status(rocksdb_driver.open(&nowhere, &second), STATUS_IO);
}

/* --- parity --- */

static void parity_names_what_is_compared(void **state)
{
	(void)state;
	static const struct driver_option options[] = { { "durability", "power", 1 },
							{ "filter.bits_per_key", "9.5", 1 } };
	struct driver_config config = { .options = options, .option_count = 2 };
	struct wanted wanted[] = {
		{ .name = "cache", .value = "128 MiB" },	 { .name = "memtables", .value = "256 MiB" },
		{ .name = "durability", .value = "power" },	 { .name = "log", .value = "page cache" },
		{ .name = "sync", .value = "each write" },	 { .name = "compression", .value = "lz4" },
		{ .name = "filter", .value = "9.5 bits a key" }, { .name = "direct_io", .value = "yes" },
	};
	struct wanted_list list = { .wanted = wanted, .count = sizeof(wanted) / sizeof(wanted[0]) };
	rocksdb_driver.parity(&config, find_wanted, &list);
	for (size_t i = 0; i < list.count; i++)
		assert_true(wanted[i].found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksums_are_those_of_the_standard),
		cmocka_unit_test(checksums_agree_with_the_definition),
		cmocka_unit_test(the_library_uses_our_checksum),
		cmocka_unit_test(profiles_are_what_they_say),
		cmocka_unit_test(wrong_options_are_refused_in_words),
		cmocka_unit_test(options_reach_the_library),
		cmocka_unit_test(filters_have_the_bits_asked_for),
		cmocka_unit_test(durability_is_the_logs),
		cmocka_unit_test(statistics_are_off_unless_asked_for),
		cmocka_unit_test(waiting_ends_when_flushes_have),
		cmocka_unit_test(a_value_stays_until_the_next_call),
		cmocka_unit_test(errors_have_codes_and_words),
		cmocka_unit_test(parity_names_what_is_compared),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
