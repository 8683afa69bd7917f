/*
 * Every row of the registry says what it must about itself, and options and names are handled alike.
 */
#include <math.h>
#include <string.h>

#include "components/codec/codec.h"
#include "components/component.h"
#include "components/filters/filter.h"
#include "test.h"

static void check_options(const struct component *component)
{
	if (component->options == NULL) {
		assert_int_equal(component->options_size, 0);
		return;
	}
	const size_t sizes[] = { [OPTION_INTEGER] = sizeof(uint64_t),
				 [OPTION_SIZE] = sizeof(uint64_t),
				 [OPTION_REAL] = sizeof(double),
				 [OPTION_BOOLEAN] = sizeof(bool) };
	for (const struct option *option = component->options; option->name != NULL; option++) {
		assert_true(strlen(option->name) > 0);
		assert_non_null(option->help);
		assert_true(strlen(option->help) > 0);
		assert_in_range(option->type, OPTION_INTEGER, OPTION_BOOLEAN);
		assert_true(option->offset + sizes[option->type] <= component->options_size);
		assert_true(option->minimum <= option->default_value);
		assert_true(option->default_value <= option->maximum);
		/* Beyond 2^53 a double would not hold every whole number. */
		assert_true(option->maximum <= 0x1p53);
		for (const struct option *other = component->options; other != option; other++)
			assert_string_not_equal(other->name, option->name);
	}
}

static void test_rows(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < COMPONENT_KIND_COUNT; kind++) {
		const struct component *const *list = component_list((enum component_kind)kind);
		assert_non_null(list[0]);
		for (size_t i = 0; list[i] != NULL; i++) {
			assert_int_equal(list[i]->abi, COMPONENT_ABI);
			assert_true(strlen(list[i]->name) > 0);
			assert_int_equal(strspn(list[i]->name, "abcdefghijklmnopqrstuvwxyz0123456789_"),
					 strlen(list[i]->name));
			assert_non_null(list[i]->summary);
			assert_null(strchr(list[i]->summary, '\n'));
			assert_in_range(strlen(list[i]->summary), 1, 80);
			assert_ptr_equal(component_find((enum component_kind)kind, list[i]->name), list[i]);
			assert_string_equal(component_nearest((enum component_kind)kind, list[i]->name),
					    list[i]->name);
			check_options(list[i]);
			for (size_t j = 0; j < i; j++)
				assert_string_not_equal(list[i]->name, list[j]->name);
		}
	}
}

static void test_kind_names(void **state)
{
	(void)state;
	const char *const expected[] = { "memtable", "filter", "cache", "codec", "compaction" };
	for (unsigned kind = 0; kind < COMPONENT_KIND_COUNT; kind++)
		assert_string_equal(component_kind_name((enum component_kind)kind), expected[kind]);
}

/* These numbers are on disk. */
static void test_format_ids(void **state)
{
	(void)state;
	unsigned seen_codecs = 0;
	bool seen_filters[256] = { false };
	for (const struct component *const *row = component_list(COMPONENT_CODEC); *row != NULL; row++) {
		uint8_t id = ((const struct codec_ops *)*row)->format_id;
		assert_in_range(id, 1, 15);
		assert_false(seen_codecs >> id & 1);
		seen_codecs |= 1u << id;
	}
	for (const struct component *const *row = component_list(COMPONENT_FILTER); *row != NULL; row++) {
		uint8_t id = ((const struct filter_ops *)*row)->format_id;
		assert_in_range(id, 1, 255);
		assert_false(seen_filters[id]);
		seen_filters[id] = true;
	}
	const struct codec_ops *lz4 = (const struct codec_ops *)component_find(COMPONENT_CODEC, "lz4");
	assert_int_equal(lz4->format_id, 2);
	const struct filter_ops *cacheline =
		(const struct filter_ops *)component_find(COMPONENT_FILTER, "cacheline");
	assert_int_equal(cacheline->format_id, 1);
	const struct codec_ops *zstd = (const struct codec_ops *)component_find(COMPONENT_CODEC, "zstd");
	assert_int_equal(zstd->format_id, 3);
	const struct filter_ops *block = (const struct filter_ops *)component_find(COMPONENT_FILTER, "block");
	assert_int_equal(block->format_id, 3);
}

static void test_find_and_nearest(void **state)
{
	(void)state;
	char long_name[300];
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_null(component_find(COMPONENT_MEMTABLE, "btreee"));
	assert_null(component_find(COMPONENT_CODEC, "LZ4"));
	assert_null(component_find(COMPONENT_CODEC, ""));
	assert_null(component_find(COMPONENT_CODEC, "btree"));
	assert_string_equal(component_nearest(COMPONENT_CODEC, "lz"), "lz4");
	assert_string_equal(component_nearest(COMPONENT_CODEC, "zl4"), "lz4");
	assert_string_equal(component_nearest(COMPONENT_CODEC, "LZ4"), "lz4");
	assert_string_equal(component_nearest(COMPONENT_CODEC, "noen"), "none");
	assert_string_equal(component_nearest(COMPONENT_MEMTABLE, "b-tree"), "btree");
	assert_non_null(component_nearest(COMPONENT_CACHE, ""));
	assert_non_null(component_nearest(COMPONENT_CACHE, long_name));
}

/* --- options, on a component made for it --- */

struct options {
	uint64_t count;
	uint64_t size;
	double share;
	bool enabled;
};

static const struct option option_rows[] = {
	{ "count", "c", OPTION_INTEGER, offsetof(struct options, count), 3, 1, 9 },
	{ "size", "s", OPTION_SIZE, offsetof(struct options, size), 4096, 0, 0x1p53 },
	{ "share", "r", OPTION_REAL, offsetof(struct options, share), 0.5, -1, 1 },
	{ "enabled", "e", OPTION_BOOLEAN, offsetof(struct options, enabled), 1, 0, 1 },
	{ .name = NULL },
};

static const struct component sample = { .name = "sample",
					 .summary = "for this test",
					 .abi = COMPONENT_ABI,
					 .options = option_rows,
					 .options_size = sizeof(struct options) };

static const struct option confusing_rows[] = {
	{ "zzzzz", "z", OPTION_INTEGER, 0, 1, 1, 9 },
	{ "tires", "t", OPTION_INTEGER, 0, 1, 1, 9 },
	{ "tries", "t", OPTION_INTEGER, 0, 1, 1, 9 },
	{ .name = NULL },
};

static const struct component confusing = { .name = "confusing",
					    .summary = "for this test",
					    .abi = COMPONENT_ABI,
					    .options = confusing_rows,
					    .options_size = sizeof(struct options) };

static void assert_message(struct status status, enum status_code code, const char *expected)
{
	char text[256];
	status_describe(status, text, sizeof(text));
	assert_int_equal(status.code, code);
	assert_string_equal(text, expected);
}

static void test_options(void **state)
{
	(void)state;
	struct options options;
	memset(&options, 0xee, sizeof(options));
	component_default_options(&sample, &options);
	assert_int_equal(options.count, 3);
	assert_int_equal(options.size, 4096);
	assert_true(options.share == 0.5);
	assert_true(options.enabled);

	assert_ok(component_set_option(&sample, &options, "count", 9));
	assert_ok(component_set_option(&sample, &options, "size", 0x1p53));
	assert_ok(component_set_option(&sample, &options, "share", -0.25));
	assert_ok(component_set_option(&sample, &options, "enabled", 0));
	assert_int_equal(options.count, 9);
	assert_int_equal(options.size, 1ull << 53);
	assert_true(options.share == -0.25);
	assert_false(options.enabled);

	const struct options before = options;
	const struct {
		const char *name;
		double value;
	} wrong[] = { { "count", 0 },	     { "count", 10 },	{ "count", 2.5 },    { "count", NAN },
		      { "count", INFINITY }, { "size", -1 },	{ "share", 1.0001 }, { "share", NAN },
		      { "enabled", 2 },	     { "enabled", 0.5 } };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_status(component_set_option(&sample, &options, wrong[i].name, wrong[i].value),
			      STATUS_INVALID);
	assert_status(component_set_option(&sample, &options, "cuont", 2), STATUS_NOT_FOUND);
	assert_true(options.count == before.count && options.size == before.size &&
		    options.share == before.share && options.enabled == before.enabled);
}

static void test_messages(void **state)
{
	(void)state;
	const struct component *filter = component_find(COMPONENT_FILTER, "cacheline");
	const struct component *none = component_find(COMPONENT_CODEC, "none");
	double bits_per_key = 0;
	component_default_options(filter, &bits_per_key);
	assert_true(bits_per_key == 10);
	assert_message(component_set_option(filter, &bits_per_key, "bits_per_key", 40), STATUS_INVALID,
		       "filter cacheline: option \"bits_per_key\" is 40, but takes 1 to 32");
	assert_message(component_set_option(filter, &bits_per_key, "bits_per_kye", 10), STATUS_NOT_FOUND,
		       "filter cacheline has no option \"bits_per_kye\"; the nearest is \"bits_per_key\"");
	assert_message(component_set_option(none, NULL, "level", 1), STATUS_NOT_FOUND,
		       "codec none has no options, so no \"level\"");
	struct options options;
	component_default_options(&sample, &options);
	assert_message(component_set_option(&sample, &options, "count", 2.5), STATUS_INVALID,
		       "component sample: option \"count\" is 2.5, but takes whole numbers, 1 to 9");
	/* A swap of neighbours is one slip, not two, and case is none. */
	assert_message(component_set_option(&confusing, &options, "treis", 1), STATUS_NOT_FOUND,
		       "component confusing has no option \"treis\"; the nearest is \"tries\"");
	assert_message(component_set_option(&confusing, &options, "TIRES", 1), STATUS_NOT_FOUND,
		       "component confusing has no option \"TIRES\"; the nearest is \"tires\"");
	/* Nothing to set and nothing to write to. */
	component_default_options(none, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),	   cmocka_unit_test(test_kind_names),
		cmocka_unit_test(test_format_ids), cmocka_unit_test(test_find_and_nearest),
		cmocka_unit_test(test_options),	   cmocka_unit_test(test_messages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
