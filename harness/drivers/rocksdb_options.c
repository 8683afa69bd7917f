/*
 * rocksdb_options.c: what may stand below `engine:` for RocksDB, and its two profiles. `defaults` asks the
 * library itself, so that it stays true with another version of it.
 */
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "harness/drivers/rocksdb_internal.h"
#include "harness/problem.h"

#define MIB 1048576.0
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

#define BETWEEN(low, high) .minimum = (low), .maximum = (high)

enum { CHOICES_MAX = 4, TEXT_BYTES = 200 };

enum value_type { VALUE_SIZE, VALUE_COUNT, VALUE_REAL, VALUE_BOOLEAN, VALUE_CHOICE };

struct option_row {
	const char *name;
	enum value_type type;
	double minimum, maximum;
	const char *choices[CHOICES_MAX];
};

/* Names and units are those of the engine `cascade` where both have the thing. */
static const struct option_row rows[ROCKSDB_OPTIONS] = {
	[ROCKSDB_PROFILE] = { "profile", VALUE_CHOICE, .choices = { "defaults", "tuned" } },
	[ROCKSDB_DURABILITY] = { "durability", VALUE_CHOICE, .choices = { "memory", "process", "power" } },
	/* All memtables together: write_buffer_size x max_write_buffer_number. */
	[ROCKSDB_MEMTABLE_SIZE] = { "memtable.size", VALUE_SIZE, BETWEEN(4 * MIB, TIB) },
	[ROCKSDB_MEMTABLE_COUNT] = { "memtable.count", VALUE_COUNT, BETWEEN(2, 64) },
	[ROCKSDB_FILTER_BITS] = { "filter.bits_per_key", VALUE_REAL, BETWEEN(0, 64) },
	[ROCKSDB_CACHE_SIZE] = { "cache.size", VALUE_SIZE, BETWEEN(0, TIB) },
	[ROCKSDB_CACHE_INDEX] = { "cache.index_and_filters", VALUE_BOOLEAN, BETWEEN(0, 1) },
	[ROCKSDB_CODEC] = { "codec.kind", VALUE_CHOICE, .choices = { "none", "lz4", "zstd", "snappy" } },
	[ROCKSDB_DYNAMIC_LEVELS] = { "compaction.dynamic_level_bytes", VALUE_BOOLEAN, BETWEEN(0, 1) },
	[ROCKSDB_BACKGROUND_JOBS] = { "background_jobs", VALUE_COUNT, BETWEEN(1, 1024) },
	[ROCKSDB_IO_DIRECT] = { "io.direct", VALUE_BOOLEAN, BETWEEN(0, 1) },
	[ROCKSDB_STATISTICS] = { "statistics", VALUE_BOOLEAN, BETWEEN(0, 1) },
};

/* In the order of the choices of codec.kind. */
static const int compressions[CHOICES_MAX] = {
	rocksdb_no_compression,
	rocksdb_lz4_compression,
	rocksdb_zstd_compression,
	rocksdb_snappy_compression,
};

/* --- profiles --- */

static const struct rocksdb_settings tuned = { {
	[ROCKSDB_PROFILE] = ROCKSDB_TUNED,
	[ROCKSDB_DURABILITY] = ROCKSDB_PROCESS,
	[ROCKSDB_MEMTABLE_SIZE] = 256 * MIB,
	[ROCKSDB_MEMTABLE_COUNT] = 4,
	[ROCKSDB_FILTER_BITS] = 10,
	[ROCKSDB_CACHE_SIZE] = 128 * MIB,
	[ROCKSDB_CACHE_INDEX] = false,
	[ROCKSDB_CODEC] = 1,
	[ROCKSDB_DYNAMIC_LEVELS] = true,
	[ROCKSDB_BACKGROUND_JOBS] = 2,
	[ROCKSDB_IO_DIRECT] = true,
	[ROCKSDB_STATISTICS] = false,
} };

static double codec_of(int compression)
{
	for (int i = 0; i < CHOICES_MAX; i++) {
		if (compressions[i] == compression)
			return i;
	}
	return 0;
}

/* What the library does when it is told nothing; filters are off then, and index and filters uncached. */
static void read_defaults(struct rocksdb_settings *settings)
{
	rocksdb_options_t *options = rocksdb_options_create();
	double memtables = rocksdb_options_get_max_write_buffer_number(options);
	double *values = settings->values;
	*settings = (struct rocksdb_settings) { { 0 } };
	values[ROCKSDB_PROFILE] = ROCKSDB_DEFAULTS;
	values[ROCKSDB_DURABILITY] = ROCKSDB_PROCESS;
	values[ROCKSDB_MEMTABLE_SIZE] = memtables * (double)rocksdb_options_get_write_buffer_size(options);
	values[ROCKSDB_MEMTABLE_COUNT] = memtables;
	values[ROCKSDB_CACHE_SIZE] = tuned.values[ROCKSDB_CACHE_SIZE];
	values[ROCKSDB_CODEC] = codec_of(rocksdb_options_get_compression(options));
	values[ROCKSDB_DYNAMIC_LEVELS] = rocksdb_options_get_level_compaction_dynamic_level_bytes(options);
	values[ROCKSDB_BACKGROUND_JOBS] = rocksdb_options_get_max_background_jobs(options);
	values[ROCKSDB_IO_DIRECT] = rocksdb_options_get_use_direct_reads(options);
	rocksdb_options_destroy(options);
}

/* --- reading --- */

static struct status unknown_option(const char *name)
{
	const char *names[ROCKSDB_OPTIONS];
	char hint[TEXT_BYTES];
	size_t used = 0;
	for (size_t i = 0; i < ROCKSDB_OPTIONS; i++)
		names[i] = rows[i].name;
	if (nearest_name(name, names, ROCKSDB_OPTIONS) != NULL)
		return status_error(STATUS_INVALID, "unknown option '%.64s'%s", name,
				    nearest_hint(name, names, ROCKSDB_OPTIONS, hint, sizeof(hint)));
	for (size_t i = 0; i < ROCKSDB_OPTIONS && used < sizeof(hint); i++)
		used += (size_t)snprintf(hint + used, sizeof(hint) - used, "%s%s", i > 0 ? ", " : "",
					 names[i]);
	return status_error(STATUS_INVALID, "unknown option '%.40s', expected one of %s", name, hint);
}

static struct status read_choice(const struct option_row *row, const char *text, double *value)
{
	char names[TEXT_BYTES], hint[TEXT_BYTES];
	size_t used = 0, count = 0;
	for (; count < CHOICES_MAX && row->choices[count] != NULL; count++) {
		if (strcmp(row->choices[count], text) == 0) {
			*value = (double)count;
			return status_ok();
		}
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", count > 0 ? ", " : "",
					 row->choices[count]);
	}
	return status_error(STATUS_INVALID, "%s: unknown '%.40s', expected one of %s%s", row->name, text,
			    names, nearest_hint(text, row->choices, count, hint, sizeof(hint)));
}

/* The text that a value of this option reads back from. */
static const char *value_text(enum rocksdb_option option, double value, char buffer[static UNITS_TEXT_BYTES])
{
	switch (rows[option].type) {
	case VALUE_SIZE:
		return units_format_size((uint64_t)value, buffer);
	case VALUE_COUNT:
	case VALUE_REAL:
		return units_format_real(value, buffer);
	case VALUE_BOOLEAN:
		return value != 0 ? "true" : "false";
	case VALUE_CHOICE:
		return rows[option].choices[(size_t)value];
	}
	return "";
}

static struct status read_value(enum rocksdb_option option, const char *text, double *value)
{
	const struct option_row *row = &rows[option];
	char low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
	uint64_t whole = 0;
	bool boolean = false;
	switch (row->type) {
	case VALUE_CHOICE:
		return read_choice(row, text, value);
	case VALUE_BOOLEAN:
		TRY(units_parse_boolean(text, &boolean));
		*value = boolean;
		return status_ok();
	case VALUE_REAL:
		TRY(units_parse_real(text, value));
		break;
	case VALUE_SIZE:
		TRY(units_parse_size(text, &whole));
		*value = (double)whole;
		break;
	case VALUE_COUNT:
		TRY(units_parse_count(text, &whole));
		*value = (double)whole;
		break;
	}
	if (*value >= row->minimum && *value <= row->maximum)
		return status_ok();
	return status_error(STATUS_INVALID, "%s: '%.40s' is out of range, expected %s to %s", row->name, text,
			    value_text(option, row->minimum, low), value_text(option, row->maximum, high));
}

static enum rocksdb_option find_option(const char *name)
{
	unsigned option = 0;
	while (option < ROCKSDB_OPTIONS && strcmp(rows[option].name, name) != 0)
		option++;
	return (enum rocksdb_option)option;
}

static struct status read_given(const struct driver_option *given, struct rocksdb_settings *settings)
{
	enum rocksdb_option option = find_option(given->name);
	if (option == ROCKSDB_OPTIONS)
		return unknown_option(given->name);
	return read_value(option, given->value, &settings->values[option]);
}

struct status rocksdb_settings_read(const struct driver_config *config, struct rocksdb_settings *settings,
				    size_t *bad)
{
	*settings = tuned;
	/* The profile first, wherever it stands: the other options stand over it. */
	for (size_t i = 0; i < config->option_count; i++) {
		*bad = i;
		if (find_option(config->options[i].name) == ROCKSDB_PROFILE)
			TRY(read_given(&config->options[i], settings));
	}
	if (settings->values[ROCKSDB_PROFILE] == ROCKSDB_DEFAULTS)
		read_defaults(settings);
	for (size_t i = 0; i < config->option_count; i++) {
		*bad = i;
		TRY(read_given(&config->options[i], settings));
	}
	*bad = SIZE_MAX;
	return status_ok();
}

/* --- applying --- */

static void apply_table_options(const struct rocksdb_settings *settings, rocksdb_options_t *options)
{
	const double *values = settings->values;
	rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
	rocksdb_cache_t *cache = rocksdb_cache_create_lru((size_t)values[ROCKSDB_CACHE_SIZE]);
	rocksdb_block_based_options_set_block_cache(table, cache);
	rocksdb_cache_destroy(cache); /* the table options hold it */
	rocksdb_block_based_options_set_cache_index_and_filter_blocks(table,
								      values[ROCKSDB_CACHE_INDEX] != 0);
	/* The table options take the policy over. */
	if (values[ROCKSDB_FILTER_BITS] > 0)
		rocksdb_block_based_options_set_filter_policy(
			table, rocksdb_filterpolicy_create_bloom_full(values[ROCKSDB_FILTER_BITS]));
	rocksdb_options_set_block_based_table_factory(options, table);
	rocksdb_block_based_options_destroy(table);
}

rocksdb_options_t *rocksdb_settings_apply(const struct rocksdb_settings *settings)
{
	const double *values = settings->values;
	rocksdb_options_t *options = rocksdb_options_create();
	bool direct = values[ROCKSDB_IO_DIRECT] != 0;
	rocksdb_options_set_create_if_missing(options, 1);
	rocksdb_options_set_write_buffer_size(
		options, (size_t)(values[ROCKSDB_MEMTABLE_SIZE] / values[ROCKSDB_MEMTABLE_COUNT]));
	rocksdb_options_set_max_write_buffer_number(options, (int)values[ROCKSDB_MEMTABLE_COUNT]);
	rocksdb_options_set_compression(options, compressions[(size_t)values[ROCKSDB_CODEC]]);
	rocksdb_options_set_level_compaction_dynamic_level_bytes(options,
								 values[ROCKSDB_DYNAMIC_LEVELS] != 0);
	rocksdb_options_set_max_background_jobs(options, (int)values[ROCKSDB_BACKGROUND_JOBS]);
	rocksdb_options_set_use_direct_reads(options, direct);
	rocksdb_options_set_use_direct_io_for_flush_and_compaction(options, direct);
	apply_table_options(settings, options);
	return options;
}

/* --- for the bench --- */

struct status rocksdb_options_check(const struct driver_config *config, size_t *bad)
{
	struct rocksdb_settings settings;
	return rocksdb_settings_read(config, &settings, bad);
}

void rocksdb_options_describe(const struct driver_config *config,
			      void (*each)(void *context, const char *name, const char *value), void *context)
{
	struct rocksdb_settings settings;
	size_t bad;
	if (!status_is_ok(rocksdb_settings_read(config, &settings, &bad)))
		return;
	for (unsigned i = 0; i < ROCKSDB_OPTIONS; i++) {
		char buffer[UNITS_TEXT_BYTES];
		each(context, rows[i].name, value_text((enum rocksdb_option)i, settings.values[i], buffer));
	}
}

uint64_t rocksdb_options_budget(const struct driver_config *config)
{
	struct rocksdb_settings settings;
	size_t bad;
	if (!status_is_ok(rocksdb_settings_read(config, &settings, &bad)))
		return 0;
	return (uint64_t)(settings.values[ROCKSDB_MEMTABLE_SIZE] + settings.values[ROCKSDB_CACHE_SIZE]);
}

void rocksdb_options_parity(const struct driver_config *config,
			    void (*each)(void *context, const char *name, const char *text), void *context)
{
	struct rocksdb_settings settings;
	size_t bad;
	char buffer[UNITS_TEXT_BYTES], text[UNITS_TEXT_BYTES + 16];
	if (!status_is_ok(rocksdb_settings_read(config, &settings, &bad)))
		return;
	const double *values = settings.values;
	bool logs = values[ROCKSDB_DURABILITY] != ROCKSDB_MEMORY;
	each(context, "version", "RocksDB " CASCADE_ROCKSDB_VERSION);
	each(context, "cache", value_text(ROCKSDB_CACHE_SIZE, values[ROCKSDB_CACHE_SIZE], buffer));
	each(context, "index_and_filters",
	     values[ROCKSDB_CACHE_INDEX] != 0 ? "in the cache" : "beside the cache");
	each(context, "memtables", value_text(ROCKSDB_MEMTABLE_SIZE, values[ROCKSDB_MEMTABLE_SIZE], buffer));
	each(context, "durability", value_text(ROCKSDB_DURABILITY, values[ROCKSDB_DURABILITY], buffer));
	/* RocksDB's log never bypasses the page cache. */
	each(context, "log", logs ? "page cache" : "off");
	each(context, "sync", values[ROCKSDB_DURABILITY] == ROCKSDB_POWER ? "each write" : "never");
	each(context, "compression", value_text(ROCKSDB_CODEC, values[ROCKSDB_CODEC], buffer));
	(void)snprintf(text, sizeof(text), "%s bits a key",
		       value_text(ROCKSDB_FILTER_BITS, values[ROCKSDB_FILTER_BITS], buffer));
	each(context, "filter", values[ROCKSDB_FILTER_BITS] > 0 ? text : "none");
	each(context, "direct_io", values[ROCKSDB_IO_DIRECT] != 0 ? "yes" : "no");
	(void)snprintf(text, sizeof(text), "%s, for flush and merge",
		       value_text(ROCKSDB_BACKGROUND_JOBS, values[ROCKSDB_BACKGROUND_JOBS], buffer));
	each(context, "threads", text);
}
