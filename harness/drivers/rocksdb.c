/*
 * rocksdb.c: RocksDB through its C API, as a fair user of it would: values pinned instead of copied, a fresh
 * iterator for each scan, statistics off unless asked for.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "harness/drivers/rocksdb_internal.h"

enum {
	LOOK_PAUSE_NS = 2000000,
	QUIET_LOOKS = 5,       /* at rest for that many looks: 10 ms */
	UNSTARTED_LOOKS = 500, /* work is due, and in that many looks nobody began it: a second */
	NOTICE_BYTES = 160,
	NAME_BYTES = 64,
	LEVELS_MAX = 7,
};

struct rocksdb_instance {
	struct driver driver;
	rocksdb_t *db;
	rocksdb_options_t *options; /* statistics are read through them */
	rocksdb_readoptions_t *read_options;
	rocksdb_writeoptions_t *write_options;
	bool statistics;
	char notice[NOTICE_BYTES];
};

struct driver_client {
	rocksdb_t *db;
	const rocksdb_readoptions_t *read_options;
	const rocksdb_writeoptions_t *write_options;
	rocksdb_pinnableslice_t *pinned; /* of the last read; released by the next call */
};

extern const struct driver_ops rocksdb_driver;

static struct rocksdb_instance *instance_of(struct driver *driver)
{
	return (struct rocksdb_instance *)driver;
}

/* --- statuses --- */

/* RocksDB's messages begin with the class of the error; what is finer stands somewhere behind it. */
static enum status_code code_of(const char *error)
{
	static const struct {
		const char *text;
		bool anywhere;
		enum status_code code;
	} classes[] = {
		{ "No space left", true, STATUS_NO_SPACE },
		{ "Space limit reached", true, STATUS_NO_SPACE },
		{ "lock hold by current process", true, STATUS_LOCKED },
		{ "While lock file", true, STATUS_LOCKED },
		{ "NotFound", false, STATUS_NOT_FOUND },
		{ "Corruption", false, STATUS_CORRUPT },
		{ "Not implemented", false, STATUS_UNSUPPORTED },
		{ "Invalid argument", false, STATUS_INVALID },
		{ "Shutdown in progress", false, STATUS_CLOSED },
		{ "Resource busy", false, STATUS_BUSY },
		{ "Operation timed out", false, STATUS_BUSY },
	};
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		const char *found = strstr(error, classes[i].text);
		if (found == error || (found != NULL && classes[i].anywhere))
			return classes[i].code;
	}
	return STATUS_IO;
}

/* Takes the message over. */
static struct status status_of_error(char *error) __attribute__((cold));

static struct status status_of_error(char *error)
{
	struct status status = status_error(code_of(error), "RocksDB: %s", error);
	rocksdb_free(error);
	return status;
}

static inline struct status status_of(char *error)
{
	return __builtin_expect(error == NULL, 1) ? status_ok() : status_of_error(error);
}

/* --- open and close --- */

static void apply_durability(struct rocksdb_instance *instance, const struct rocksdb_settings *settings)
{
	enum rocksdb_durability durability = (enum rocksdb_durability)settings->values[ROCKSDB_DURABILITY];
	rocksdb_writeoptions_disable_WAL(instance->write_options, durability == ROCKSDB_MEMORY);
	rocksdb_writeoptions_set_sync(instance->write_options, durability == ROCKSDB_POWER);
}

static void free_instance(struct rocksdb_instance *instance)
{
	rocksdb_readoptions_destroy(instance->read_options);
	rocksdb_writeoptions_destroy(instance->write_options);
	rocksdb_options_destroy(instance->options);
	memory_free(instance);
}

/* A file system that refuses O_DIRECT is measured through the page cache, and every record says so. */
static struct status open_files(struct rocksdb_instance *instance, const char *path)
{
	char *error = NULL;
	instance->db = rocksdb_open(instance->options, path, &error);
	if (error != NULL && strstr(error, "Direct I/O is not supported") != NULL) {
		rocksdb_free(error);
		error = NULL;
		rocksdb_options_set_use_direct_reads(instance->options, 0);
		rocksdb_options_set_use_direct_io_for_flush_and_compaction(instance->options, 0);
		(void)snprintf(instance->notice, sizeof(instance->notice),
			       "the file system refuses direct I/O: RocksDB goes through the page cache");
		instance->db = rocksdb_open(instance->options, path, &error);
	}
	return status_of(error);
}

static struct status open_database(const struct driver_config *config, struct driver **driver)
{
	struct rocksdb_settings settings;
	size_t bad;
	TRY(rocksdb_settings_read(config, &settings, &bad));
	struct rocksdb_instance *instance = memory_allocate_zeroed(1, sizeof(*instance));
	if (instance == NULL)
		return status_make(STATUS_NO_MEMORY);
	instance->driver.ops = &rocksdb_driver;
	instance->options = rocksdb_settings_apply(&settings);
	instance->read_options = rocksdb_readoptions_create();
	instance->write_options = rocksdb_writeoptions_create();
	instance->statistics = settings.values[ROCKSDB_STATISTICS] != 0;
	if (instance->statistics)
		rocksdb_options_enable_statistics(instance->options);
	apply_durability(instance, &settings);
	uint64_t calls = rocksdb_crc32c_calls();
	struct status status = open_files(instance, config->path);
	if (!status_is_ok(status)) {
		free_instance(instance);
		return status;
	}
	/* An open writes to the manifest, and each of its records has a checksum. */
	if (rocksdb_crc32c_calls() == calls)
		(void)snprintf(instance->notice, sizeof(instance->notice),
			       "RocksDB computes CRC32C by itself, perhaps slowly: its library was bound "
			       "without this program's");
	*driver = &instance->driver;
	return status_ok();
}

static struct status close_database(struct driver *driver)
{
	struct rocksdb_instance *instance = instance_of(driver);
	rocksdb_close(instance->db);
	free_instance(instance);
	return status_ok();
}

/* --- clients --- */

static struct status client_open(struct driver *driver, struct driver_client **client)
{
	struct rocksdb_instance *instance = instance_of(driver);
	*client = memory_allocate_zeroed(1, sizeof(**client));
	if (*client == NULL)
		return status_make(STATUS_NO_MEMORY);
	(*client)->db = instance->db;
	(*client)->read_options = instance->read_options;
	(*client)->write_options = instance->write_options;
	return status_ok();
}

static inline void release(struct driver_client *client)
{
	if (client->pinned != NULL)
		rocksdb_pinnableslice_destroy(client->pinned);
	client->pinned = NULL;
}

static void client_close(struct driver_client *client)
{
	release(client);
	memory_free(client);
}

static struct status put(struct driver_client *client, struct slice key, struct slice value)
{
	char *error = NULL;
	release(client);
	rocksdb_put(client->db, client->write_options, (const char *)key.data, key.size,
		    (const char *)value.data, value.size, &error);
	return status_of(error);
}

static struct status get(struct driver_client *client, struct slice key, struct slice *value)
{
	char *error = NULL;
	size_t size;
	release(client);
	client->pinned = rocksdb_get_pinned(client->db, client->read_options, (const char *)key.data,
					    key.size, &error);
	if (client->pinned == NULL)
		return error == NULL ? status_make(STATUS_NOT_FOUND) : status_of_error(error);
	const char *data = rocksdb_pinnableslice_value(client->pinned, &size);
	*value = slice_make(data, size);
	return status_ok();
}

static struct status remove_key(struct driver_client *client, struct slice key)
{
	char *error = NULL;
	release(client);
	rocksdb_delete(client->db, client->write_options, (const char *)key.data, key.size, &error);
	return status_of(error);
}

static struct status scan(struct driver_client *client, struct slice key, uint64_t count,
			  bool (*each)(void *context, struct slice key, struct slice value), void *context)
{
	char *error = NULL;
	release(client);
	rocksdb_iterator_t *iterator = rocksdb_create_iterator(client->db, client->read_options);
	bool go_on = count > 0;
	if (go_on)
		rocksdb_iter_seek(iterator, (const char *)key.data, key.size);
	for (uint64_t row = 0; go_on && rocksdb_iter_valid(iterator);) {
		size_t key_size, value_size;
		const char *found = rocksdb_iter_key(iterator, &key_size);
		const char *value = rocksdb_iter_value(iterator, &value_size);
		go_on = each(context, slice_make(found, key_size), slice_make(value, value_size)) &&
			++row < count;
		if (go_on)
			rocksdb_iter_next(iterator);
	}
	rocksdb_iter_get_error(iterator, &error);
	rocksdb_iter_destroy(iterator);
	return status_of(error);
}

/* --- waiting --- */

/* 0 if this version does not know it. */
static uint64_t property(rocksdb_t *db, const char *name)
{
	uint64_t value = 0;
	return rocksdb_property_int(db, name, &value) == 0 ? value : 0;
}

static bool works(rocksdb_t *db)
{
	return property(db, "rocksdb.num-running-flushes") > 0 ||
	       property(db, "rocksdb.num-running-compactions") > 0;
}

static bool has_work(rocksdb_t *db)
{
	return property(db, "rocksdb.mem-table-flush-pending") > 0 ||
	       property(db, "rocksdb.compaction-pending") > 0;
}

/*
 * As the engine `cascade` does, it waits for flushes and merges that are due, and does not force a memtable
 * that is still being filled out to tables.
 */
static struct status wait_idle(struct driver *driver)
{
	rocksdb_t *db = instance_of(driver)->db;
	const struct timespec pause = { .tv_nsec = LOOK_PAUSE_NS };
	int quiet = 0, unstarted = 0;
	while (quiet < QUIET_LOOKS && unstarted < UNSTARTED_LOOKS) {
		uint64_t errors = property(db, "rocksdb.background-errors");
		if (errors > 0)
			return status_error(STATUS_IO,
					    "RocksDB: %" PRIu64 " errors in flushes and merges: its file LOG "
					    "names them",
					    errors);
		if (works(db)) {
			quiet = 0;
			unstarted = 0;
		} else if (has_work(db)) {
			quiet = 0;
			unstarted++;
		} else {
			quiet++;
		}
		(void)nanosleep(&pause, NULL);
	}
	return status_ok();
}

/* --- counters --- */

struct counter_list {
	struct driver_counter *counters;
	size_t count, capacity;
};

static void add_counter(struct counter_list *list, const char *name, uint64_t value, bool is_gauge)
{
	if (list->count == list->capacity)
		return;
	struct driver_counter *counter = &list->counters[list->count++];
	(void)snprintf(counter->name, sizeof(counter->name), "%s", name);
	counter->value = value;
	counter->is_gauge = is_gauge;
}

static void add_properties(struct counter_list *list, rocksdb_t *db)
{
	static const struct {
		const char *property, *name;
	} gauges[] = {
		{ "rocksdb.cur-size-all-mem-tables", "memory.memtables" },
		{ "rocksdb.block-cache-usage", "memory.cache" },
		{ "rocksdb.estimate-table-readers-mem", "memory.index_and_filters" },
		{ "rocksdb.num-immutable-mem-table", "memtables.immutable" },
		{ "rocksdb.live-sst-files-size", "tables.bytes" },
		{ "rocksdb.estimate-pending-compaction-bytes", "compaction.pending_bytes" },
		{ "rocksdb.actual-delayed-write-rate", "write.delayed_bytes_s" },
		{ "rocksdb.is-write-stopped", "write.stopped" },
		{ "rocksdb.background-errors", "background.errors" },
	};
	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
		add_counter(list, gauges[i].name, property(db, gauges[i].property), true);
	for (int level = 0; level < LEVELS_MAX; level++) {
		char name[NAME_BYTES];
		(void)snprintf(name, sizeof(name), "rocksdb.num-files-at-level%d", level);
		char *text = rocksdb_property_value(db, name);
		(void)snprintf(name, sizeof(name), "level.%d.tables", level);
		if (text != NULL)
			add_counter(list, name, strtoull(text, NULL, 10), true);
		rocksdb_free(text);
	}
}

/* The library prints its tickers as lines "NAME COUNT : NUMBER"; histograms have other lines. */
static void add_tickers(struct counter_list *list, rocksdb_options_t *options)
{
	static const char *const tickers[] = {
		"block.cache.hit",
		"block.cache.miss",
		"bloom.filter.useful",
		"memtable.hit",
		"memtable.miss",
		"l0.hit",
		"l1.hit",
		"l2andup.hit",
		"number.keys.written",
		"number.keys.read",
		"bytes.written",
		"bytes.read",
		"stall.micros",
		"wal.synced",
		"wal.bytes",
		"write.self",
		"write.other",
		"flush.write.bytes",
		"compact.read.bytes",
		"compact.write.bytes",
		"no.file.opens",
	};
	char *text = rocksdb_options_statistics_get_string(options);
	for (size_t i = 0; text != NULL && i < sizeof(tickers) / sizeof(tickers[0]); i++) {
		char wanted[NAME_BYTES];
		(void)snprintf(wanted, sizeof(wanted), "rocksdb.%s COUNT : ", tickers[i]);
		const char *found = strstr(text, wanted);
		if (found != NULL)
			add_counter(list, tickers[i], strtoull(found + strlen(wanted), NULL, 10), false);
	}
	rocksdb_free(text);
}

static size_t counters(struct driver *driver, struct driver_counter *out, size_t capacity)
{
	struct rocksdb_instance *instance = instance_of(driver);
	struct counter_list list = { .counters = out, .capacity = capacity };
	add_counter(&list, "crc32c.calls", rocksdb_crc32c_calls(), false);
	add_properties(&list, instance->db);
	if (instance->statistics)
		add_tickers(&list, instance->options);
	return list.count;
}

static const char *notice(struct driver *driver)
{
	return instance_of(driver)->notice;
}

const struct driver_ops rocksdb_driver = {
	.name = "rocksdb",
	.summary = "RocksDB through its C API, with its defaults or tuned",
	.capabilities = DRIVER_SCANS,
	.library_version = CASCADE_ROCKSDB_VERSION,
	.check = rocksdb_options_check,
	.describe = rocksdb_options_describe,
	.open = open_database,
	.close = close_database,
	.client_open = client_open,
	.client_close = client_close,
	.insert = put,
	.update = put,
	.read = get,
	.remove = remove_key,
	.scan = scan,
	.wait_idle = wait_idle,
	.counters = counters,
	.notice = notice,
	.memory_budget = rocksdb_options_budget,
	.parity = rocksdb_options_parity,
};
