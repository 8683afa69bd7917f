/*
 * options_test.c: options as text: setting, getting, defaults, wrong values, and how memory is split.
 */
#include <string.h>

#include "test.h"

#include "base/memory.h"
#include "base/units.h"
#include "database/options_internal.h"
#include "runtime/runtime.h"
#include "trace/trace_format.h"

static cascade_options *create(void)
{
	cascade_options *options = NULL;
	assert_int_equal(cascade_options_create(&options), CASCADE_OK);
	assert_non_null(options);
	return options;
}

static void set(cascade_options *options, const char *name, const char *value)
{
	cascade_status status = cascade_options_set(options, name, value);
	if (status != CASCADE_OK)
		fail_msg("%s = %s: %s", name, value, cascade_error_message());
}

static void assert_value(const cascade_options *options, const char *name, const char *expected)
{
	const char *value = cascade_options_get(options, name);
	assert_non_null(value);
	if (strcmp(value, expected) != 0)
		fail_msg("%s is '%s', expected '%s'", name, value, expected);
}

/* The call failed with INVALID, and its message names the option and has all of `words` in it. */
static void assert_refused(cascade_status status, cascade_status expected, const char *const *words)
{
	if (status != expected)
		fail_msg("%s instead of %s", cascade_strerror(status), cascade_strerror(expected));
	const char *message = cascade_error_message();
	for (; *words != NULL; words++) {
		if (strstr(message, *words) == NULL)
			fail_msg("'%s' does not say '%s'", message, *words);
	}
}

#define assert_set_refused(options, name, value, ...)                              \
	assert_refused(cascade_options_set(options, name, value), CASCADE_INVALID, \
		       (const char *const[]) { name, __VA_ARGS__, NULL })

#define assert_resolve_refused(options, expected, ...)             \
	assert_refused(cascade_options_resolve(options), expected, \
		       (const char *const[]) { __VA_ARGS__, NULL })

static uint64_t size_value(const cascade_options *options, const char *name)
{
	uint64_t bytes = 0;
	assert_ok(units_parse_size(cascade_options_get(options, name), &bytes));
	return bytes;
}

/* Every option is listed with a type, a default that it takes, and help; setting the default changes
 * nothing. */
static void test_every_option(void **state)
{
	(void)state;
	const cascade_option_info *list;
	size_t count = cascade_option_list(&list);
	assert_true(count >= 21);
	cascade_options *options = create();
	for (size_t i = 0; i < count; i++) {
		const cascade_option_info *info = &list[i];
		static const char *const types[] = { "integer", "size",	  "time",    "real",
						     "boolean", "choice", "choices", "path" };
		bool known = false;
		for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
			known |= strcmp(types[t], info->type) == 0;
		if (!known)
			fail_msg("%s has the type '%s'", info->name, info->type);
		assert_true(strlen(info->help) > 10);
		assert_int_equal(strncmp(info->type, "choice", 6) == 0, info->choices != NULL);
		if (info->choices != NULL)
			assert_non_null(strstr(info->choices, info->default_value));
		assert_value(options, info->name, info->default_value);
		set(options, info->name, info->default_value);
		assert_value(options, info->name, info->default_value);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(list[j].name, info->name);
		/* No option takes this; a path may be called anything. */
		const char *nonsense = strcmp(info->type, "path") == 0 ? "" : "nonsense!";
		if (cascade_options_set(options, info->name, nonsense) != CASCADE_INVALID)
			fail_msg("%s takes nonsense", info->name);
		assert_non_null(strstr(cascade_error_message(), info->name));
		assert_value(options, info->name, info->default_value);
	}
	assert_int_equal(cascade_options_resolve(options), CASCADE_OK);
	cascade_options_destroy(options);
}

static void test_set_and_get(void **state)
{
	(void)state;
	static const char *const values[][2] = {
		{ "create", "false" },
		{ "shards", "3" },
		{ "memory", "512 MiB" },
		{ "durability", "power" },
		{ "write_timeout", "250 ms" },
		{ "memtable.kind", "btree" },
		{ "memtable.size", "32 MiB" },
		{ "filter.kind", "cacheline" },
		{ "cache.kind", "s3fifo" },
		{ "cache.size", "64 MiB" },
		{ "cache.record_share", "0.125" },
		{ "codec.kind", "none" },
		{ "compaction.kind", "leveled" },
		{ "compaction.merges", "4" },
		{ "table.size", "8 MiB" },
		{ "table.block_size", "16 KiB" },
		{ "wal.kind", "direct" },
		{ "wal.segment_size", "4 MiB" },
		{ "value_log.enabled", "false" },
		{ "value_log.threshold", "1 KiB" },
		{ "io.kind", "posix" },
		{ "io.direct", "no" },
		{ "trace.path", "a/path/that/is/longer/than/the/value/of/any/other/option.trace" },
		{ "trace.kinds", "memtable  filter" },
	};
	const cascade_option_info *list;
	enum { COUNT = sizeof(values) / sizeof(values[0]) };
	assert_int_equal(cascade_option_list(&list), COUNT);
	cascade_options *options = create();
	for (unsigned i = 0; i < COUNT; i++)
		set(options, values[i][0], values[i][1]);
	assert_int_equal(cascade_options_resolve(options), CASCADE_OK);
	for (unsigned i = 0; i < COUNT; i++)
		assert_value(options, values[i][0], values[i][1]);
	struct resolved_options resolved;
	assert_ok(options_resolve(options, 0, &resolved));
	assert_false(resolved.create);
	assert_false(resolved.direct);
	assert_int_equal(resolved.shards, 3);
	assert_true(resolved.shards_given);
	assert_int_equal(resolved.memory, 512 << 20);
	assert_int_equal(resolved.memtable_bytes, 32 << 20);
	assert_int_equal(resolved.cache_bytes, 64 << 20);
	assert_int_equal(resolved.table_bytes, 8 << 20);
	assert_int_equal(resolved.block_bytes, 16 << 10);
	assert_int_equal(resolved.segment_bytes, 4 << 20);
	assert_int_equal(resolved.merges_max, 4);
	assert_int_equal(resolved.write_timeout_ns, 250000000);
	assert_int_equal(resolved.durability, WAL_POWER);
	assert_string_equal(resolved.io_backend, "posix");
	assert_string_equal(resolved.trace_path,
			    "a/path/that/is/longer/than/the/value/of/any/other/option.trace");
	assert_int_equal(resolved.trace_kinds, TRACE_MEMTABLE | TRACE_FILTER);
	assert_string_equal(resolved.components[COMPONENT_CODEC]->name, "none");
	cascade_options_destroy(options);
}

static void test_durability_levels(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		enum wal_durability durability;
	} levels[] = { { "memory", WAL_MEMORY }, { "process", WAL_PROCESS }, { "power", WAL_POWER } };
	for (unsigned i = 0; i < 3; i++) {
		cascade_options *options = create();
		struct resolved_options resolved;
		set(options, "durability", levels[i].name);
		assert_ok(options_resolve(options, 0, &resolved));
		assert_int_equal(resolved.durability, levels[i].durability);
		cascade_options_destroy(options);
	}
	struct resolved_options resolved;
	assert_ok(options_resolve(NULL, 0, &resolved));
	assert_int_equal(resolved.durability, WAL_PROCESS);
}

static void test_wrong_values(void **state)
{
	(void)state;
	cascade_options *options = create();
	assert_set_refused(options, "memory", "lots", "lots", "size");
	assert_set_refused(options, "memory", "-5 MiB", "size");
	assert_set_refused(options, "write_timeout", "5", "time");
	assert_set_refused(options, "shards", "2.5", "2.5");
	assert_set_refused(options, "create", "maybe", "maybe");
	assert_set_refused(options, "durability", "diamond", "diamond", "memory process power");
	assert_set_refused(options, "durability", "", "memory process power");
	assert_set_refused(options, "durability", "memory process", "none of");
	assert_set_refused(options, "memtable.kind", "btre", "btre", "btree");
	assert_set_refused(options, "io.kind", "uring2", "uring posix");
	assert_set_refused(options, "cache.record_share", "half", "half");
	assert_set_refused(options, "compaction.size_ratio", "ten", "ten");
	/* Only where it is the default is "auto" a value. */
	assert_set_refused(options, "table.block_size", "auto", "auto");
	char long_value[200];
	memset(long_value, '1', sizeof(long_value) - 1);
	long_value[sizeof(long_value) - 1] = '\0';
	assert_set_refused(options, "memory", long_value, "long");
	/* Nothing of it stayed. */
	assert_value(options, "durability", "process");
	assert_int_equal(cascade_options_resolve(options), CASCADE_OK);
	cascade_options_destroy(options);
}

static void test_unknown_names(void **state)
{
	(void)state;
	cascade_options *options = create();
	static const char *const names[] = { "",
					     "memori",
					     "memtable",
					     "memtable.",
					     ".kind",
					     "Memory",
					     "filter.bits_pr_key",
					     "io.depth",
					     "nothing.x",
					     "memory.size",
					     "compaction.level0_table" };
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(cascade_options_set(options, names[i], "1"), CASCADE_INVALID);
		assert_non_null(strstr(cascade_error_message(), "unknown option"));
		assert_null(cascade_options_get(options, names[i]));
	}
	char long_name[300];
	memset(long_name, 'x', sizeof(long_name) - 1);
	memcpy(long_name, "filter.", 7);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(cascade_options_set(options, long_name, "1"), CASCADE_INVALID);
	assert_null(cascade_options_get(options, long_name));
	assert_int_equal(cascade_options_set(NULL, "memory", "1"), CASCADE_INVALID);
	assert_int_equal(cascade_options_set(options, NULL, "1"), CASCADE_INVALID);
	assert_int_equal(cascade_options_set(options, "memory", NULL), CASCADE_INVALID);
	assert_int_equal(cascade_options_resolve(NULL), CASCADE_INVALID);
	assert_int_equal(cascade_options_create(NULL), CASCADE_INVALID);
	assert_null(cascade_options_get(NULL, "memory"));
	assert_null(cascade_options_get(options, NULL));
	cascade_options_destroy(options);
	cascade_options_destroy(NULL);
}

static void test_out_of_range(void **state)
{
	(void)state;
	static const char *const values[][2] = {
		{ "shards", "0" },
		{ "shards", "65" },
		{ "compaction.merges", "0" },
		{ "compaction.merges", "9" },
		{ "table.block_size", "512 B" },
		{ "table.block_size", "128 KiB" },
		{ "table.size", "1 KiB" },
		{ "table.size", "5 GiB" },
		{ "memtable.size", "4 KiB" },
		{ "cache.size", "4 KiB" },
		{ "memtable.size", "2 TiB" },
		{ "cache.size", "18446744073709551615" },
		/* The largest batch must fit into one segment. */
		{ "wal.segment_size", "1 MiB" },
		{ "wal.segment_size", "2 GiB" },
		{ "compaction.size_ratio", "1" },
		{ "compaction.level0_tables", "1000" },
	};
	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		cascade_options *options = create();
		set(options, values[i][0], values[i][1]);
		if (cascade_options_resolve(options) != CASCADE_INVALID)
			fail_msg("%s = %s is taken", values[i][0], values[i][1]);
		const char *dot = strchr(values[i][0], '.');
		assert_non_null(strstr(cascade_error_message(), dot != NULL ? dot + 1 : values[i][0]));
		cascade_options_destroy(options);
	}
}

static void test_not_in_this_version(void **state)
{
	(void)state;
	cascade_options *options = create();
	set(options, "value_log.enabled", "true");
	assert_resolve_refused(options, CASCADE_UNSUPPORTED, "value_log.enabled");
	set(options, "value_log.enabled", "false");
	set(options, "cache.record_share", "0.9");
	assert_resolve_refused(options, CASCADE_INVALID, "cache.record_share");
	set(options, "cache.record_share", "-0.1");
	assert_resolve_refused(options, CASCADE_INVALID, "cache.record_share");
	cascade_options_destroy(options);
}

/* --- component options --- */

static void test_component_options(void **state)
{
	(void)state;
	const cascade_component_info *list;
	size_t count = cascade_component_list(&list);
	assert_true(count >= 7);
	cascade_options *options = create();
	unsigned defaults = 0;
	for (size_t i = 0; i < count; i++) {
		const cascade_component_info *info = &list[i];
		char name[128];
		assert_true(strlen(info->summary) > 5);
		defaults += info->is_default;
		(void)snprintf(name, sizeof(name), "%s.kind", info->kind);
		set(options, name, info->name);
		assert_value(options, name, info->name);
		for (size_t o = 0; o < info->option_count; o++) {
			const cascade_component_option *option = &info->options[o];
			char text[64];
			(void)snprintf(name, sizeof(name), "%s.%s", info->kind, option->name);
			assert_true(option->minimum <= option->default_value);
			assert_true(option->default_value <= option->maximum);
			assert_non_null(cascade_options_get(options, name));
			assert_int_equal(cascade_options_set(options, name, "nonsense!"), CASCADE_INVALID);
			assert_non_null(strstr(cascade_error_message(), name));
			(void)snprintf(text, sizeof(text), "%.0f", option->maximum);
			if (strcmp(option->type, "boolean") == 0)
				(void)snprintf(text, sizeof(text), "true");
			set(options, name, text);
			assert_value(options, name, text);
			assert_int_equal(cascade_options_resolve(options), CASCADE_OK);
		}
		cascade_options_destroy(options);
		options = create();
	}
	assert_int_equal(defaults, COMPONENT_KIND_COUNT + 1); /* and io */
	cascade_options_destroy(options);
}

/* An option of one variant is no option of another: known when the variants are. */
static void test_option_of_another_variant(void **state)
{
	(void)state;
	const cascade_component_info *list;
	size_t count = cascade_component_list(&list);
	unsigned tried = 0;
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < count; j++) {
			if (strcmp(list[i].kind, list[j].kind) != 0 || list[i].option_count == 0 ||
			    list[j].option_count > 0)
				continue;
			cascade_options *options = create();
			char name[128];
			(void)snprintf(name, sizeof(name), "%s.kind", list[j].kind);
			set(options, name, list[j].name);
			(void)snprintf(name, sizeof(name), "%s.%s", list[i].kind, list[i].options[0].name);
			char text[64];
			(void)snprintf(text, sizeof(text), "%.0f", list[i].options[0].minimum);
			if (strcmp(list[i].options[0].type, "boolean") == 0)
				(void)snprintf(text, sizeof(text), "true");
			set(options, name, text);
			assert_resolve_refused(options, CASCADE_INVALID, list[i].options[0].name,
					       list[j].name);
			cascade_options_destroy(options);
			tried++;
		}
	}
	print_message("%u pairs\n", tried);
}

/* --- memory --- */

/* What is asked for, in MiB, 0: auto. */
static void assert_split(uint64_t memory, uint64_t memtable, uint64_t cache, uint32_t shards)
{
	cascade_options *options = create();
	char text[40];
	const struct {
		const char *name;
		uint64_t mib;
	} sizes[] = { { "memory", memory }, { "memtable.size", memtable }, { "cache.size", cache } };
	for (unsigned i = 0; i < 3; i++) {
		(void)snprintf(text, sizeof(text), "%llu MiB", (unsigned long long)sizes[i].mib);
		if (sizes[i].mib > 0)
			set(options, sizes[i].name, text);
	}
	(void)snprintf(text, sizeof(text), "%u", shards);
	set(options, "shards", text);
	if (cascade_options_resolve(options) != CASCADE_OK)
		fail_msg("memory %llu, memtable %llu, cache %llu, shards %u: %s", (unsigned long long)memory,
			 (unsigned long long)memtable, (unsigned long long)cache, shards,
			 cascade_error_message());
	struct resolved_options resolved;
	assert_ok(options_resolve(options, 0, &resolved));
	/* "auto" is replaced by what it came to; the parts fit into the whole; what was given is kept. */
	assert_int_equal(size_value(options, "memory"), resolved.memory);
	assert_int_equal(size_value(options, "memtable.size"), resolved.memtable_bytes);
	assert_int_equal(size_value(options, "cache.size"), resolved.cache_bytes);
	assert_int_equal(size_value(options, "table.size"), resolved.table_bytes);
	assert_int_equal(size_value(options, "wal.segment_size"), resolved.segment_bytes);
	uint64_t sum =
		resolved.memtable_bytes + resolved.cache_bytes + shards * options_shard_overhead(&resolved);
	assert_true(sum <= resolved.memory);
	for (unsigned i = 0; i < 3; i++) {
		if (sizes[i].mib > 0)
			assert_int_equal(size_value(options, sizes[i].name), sizes[i].mib << 20);
	}
	assert_true(resolved.segment_bytes % 4096 == 0);
	cascade_options_destroy(options);
}

/* What a codec needs is part of the bound: once for reading, and once for each table being written. */
static void test_codec_contexts_count(void **state)
{
	(void)state;
	uint64_t overhead[3];
	const char *const levels[] = { NULL, "1", "22" };
	for (unsigned i = 0; i < 3; i++) {
		cascade_options *options = create();
		struct resolved_options resolved;
		set(options, "codec.kind", i == 0 ? "none" : "zstd");
		if (i > 0)
			set(options, "codec.level", levels[i]);
		assert_ok(options_resolve(options, 0, &resolved));
		overhead[i] = options_shard_overhead(&resolved);
		cascade_options_destroy(options);
	}
	assert_true(overhead[1] > overhead[0]);
	/* Level 22 takes some 2 MiB for each of a flush and two merges. */
	assert_true(overhead[2] > overhead[1] + (3 << 20));
}

static void test_memory_is_split(void **state)
{
	(void)state;
	assert_split(0, 0, 0, 1);
	assert_split(0, 0, 0, 64);
	assert_split(256, 0, 0, 1);
	assert_split(256, 0, 0, 8); /* the buffers of many shards leave less for the rest */
	assert_split(1024, 0, 0, 8);
	assert_split(256, 200, 0, 2);
	assert_split(256, 0, 200, 2);
	assert_split(256, 16, 16, 2);
	assert_split(0, 16, 16, 2);
	assert_split(0, 600, 0, 2);
	assert_split(0, 0, 600, 2);
	assert_split(13, 0, 0, 1);
	struct resolved_options resolved;
	assert_ok(options_resolve(NULL, 0, &resolved));
	assert_int_equal(resolved.memtable_bytes, 64 << 20);
	assert_int_equal(resolved.cache_bytes, 128 << 20);
	/* With the stored number of shards the split is theirs. */
	struct resolved_options stored;
	assert_ok(options_resolve(NULL, 16, &stored));
	assert_int_equal(stored.shards, 16);
	assert_true(stored.memory >= resolved.memory);
}

static void test_too_little_memory(void **state)
{
	(void)state;
	cascade_options *options = create();
	set(options, "shards", "2");
	set(options, "memory", "64 MiB");
	set(options, "memtable.size", "40 MiB");
	set(options, "cache.size", "40 MiB");
	assert_resolve_refused(options, CASCADE_INVALID, "memory", "too small", "40 MiB");
	/* What failed to resolve is still as it was set. */
	assert_value(options, "memory", "64 MiB");
	set(options, "memory", "1 MiB");
	assert_resolve_refused(options, CASCADE_INVALID, "memory");
	set(options, "memory", "200 MiB");
	assert_int_equal(cascade_options_resolve(options), CASCADE_OK);
	cascade_options_destroy(options);
}

static void test_no_memory_to_create(void **state)
{
	(void)state;
	cascade_options *options = NULL;
	memory_fail_at(1, 0);
	cascade_status status = cascade_options_create(&options);
	memory_fail_at(0, 0);
	assert_int_equal(status, CASCADE_NO_MEMORY);
	assert_null(options);
}

static void test_names_and_version(void **state)
{
	(void)state;
	char version[32];
	(void)snprintf(version, sizeof(version), "%d.%d.%d", CASCADE_VERSION_MAJOR, CASCADE_VERSION_MINOR,
		       CASCADE_VERSION_PATCH);
	assert_string_equal(cascade_version(), version);
	for (int i = 0; i <= CASCADE_CANCELED; i++)
		assert_true(strlen(cascade_strerror((cascade_status)i)) > 1);
	assert_non_null(cascade_strerror((cascade_status)99));
	assert_true(options_default_shards() >= 1 && options_default_shards() <= 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_option),
		cmocka_unit_test(test_set_and_get),
		cmocka_unit_test(test_durability_levels),
		cmocka_unit_test(test_wrong_values),
		cmocka_unit_test(test_unknown_names),
		cmocka_unit_test(test_out_of_range),
		cmocka_unit_test(test_not_in_this_version),
		cmocka_unit_test(test_component_options),
		cmocka_unit_test(test_option_of_another_variant),
		cmocka_unit_test(test_codec_contexts_count),
		cmocka_unit_test(test_memory_is_split),
		cmocka_unit_test(test_too_little_memory),
		cmocka_unit_test(test_no_memory_to_create),
		cmocka_unit_test(test_names_and_version),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
