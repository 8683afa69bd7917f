/*
 * Every row of the registry says what it must about itself, and options and names are handled alike.
 */
#include <math.h>
#include <string.h>

#include "components/cache/cache.h"
#include "components/codec/codec.h"
#include "components/compaction/policy.h"
#include "components/component.h"
#include "components/filters/filter.h"
#include "components/memtable/memtable.h"
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
	/* From there on they are for variants of other people's. */
	assert_int_equal(seen_codecs >> COMPONENT_CODEC_ID_OTHERS, 0);
	for (unsigned id = COMPONENT_FILTER_ID_OTHERS; id < 256; id++)
		assert_false(seen_filters[id]);
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

/* --- variants from elsewhere: each is one of the tree's under another name --- */

static const struct component *last_of(enum component_kind kind, size_t *count)
{
	const struct component *const *list = component_list(kind);
	for (*count = 0; list[*count] != NULL;)
		(*count)++;
	return list[*count - 1];
}

static struct codec_ops codec_named(const char *name, uint8_t format_id)
{
	struct codec_ops ops =
		*(const struct codec_ops *)(const void *)component_find(COMPONENT_CODEC, "none");
	ops.component.name = name;
	ops.format_id = format_id;
	return ops;
}

static struct memtable_ops memtable_named(const char *name)
{
	struct memtable_ops ops =
		*(const struct memtable_ops *)(const void *)component_find(COMPONENT_MEMTABLE, "btree");
	ops.component.name = name;
	return ops;
}

static void test_register(void **state)
{
	static struct codec_ops ops;
	size_t before, after;
	(void)state;
	const struct component *first = component_list(COMPONENT_CODEC)[0];
	(void)last_of(COMPONENT_CODEC, &before);
	ops = codec_named("from_elsewhere", COMPONENT_CODEC_ID_OTHERS);
	ops.component.options = option_rows;
	ops.component.options_size = sizeof(struct options);
	assert_ok(component_register(COMPONENT_CODEC, &ops.component));
	assert_ptr_equal(last_of(COMPONENT_CODEC, &after), &ops.component);
	assert_int_equal(after, before + 1);
	assert_ptr_equal(component_list(COMPONENT_CODEC)[0], first);
	assert_ptr_equal(component_find(COMPONENT_CODEC, "from_elsewhere"), &ops.component);
	assert_null(component_find(COMPONENT_FILTER, "from_elsewhere"));
	assert_string_equal(component_nearest(COMPONENT_CODEC, "from_elswhere"), "from_elsewhere");
	struct options options;
	component_default_options(&ops.component, &options);
	assert_message(component_set_option(&ops.component, &options, "cuont", 1), STATUS_NOT_FOUND,
		       "codec from_elsewhere has no option \"cuont\"; the nearest is \"count\"");
	/* Once is enough, whoever comes second. */
	assert_message(component_register(COMPONENT_CODEC, &ops.component), STATUS_INVALID,
		       "codec from_elsewhere: there is a variant of that name already");
	/* The same name may be there for another kind. */
	static struct memtable_ops memtable;
	memtable = memtable_named("from_elsewhere");
	assert_ok(component_register(COMPONENT_MEMTABLE, &memtable.component));
}

/* The refusal of a component that differs from a good one as `change` says. */
static void assert_refused(void (*change)(struct codec_ops *ops), const char *expected)
{
	size_t before, after;
	struct codec_ops ops = codec_named("refused", COMPONENT_CODEC_ID_OTHERS + 1);
	const struct component *last = last_of(COMPONENT_CODEC, &before);
	change(&ops);
	assert_message(component_register(COMPONENT_CODEC, &ops.component), STATUS_INVALID, expected);
	assert_ptr_equal(last_of(COMPONENT_CODEC, &after), last);
	assert_int_equal(after, before);
}

static void set_abi(struct codec_ops *ops)
{
	ops->component.abi = COMPONENT_ABI + 1;
}

static void set_no_name(struct codec_ops *ops)
{
	ops->component.name = NULL;
}

static void set_bad_name(struct codec_ops *ops)
{
	ops->component.name = "My-Codec";
}

static void set_long_name(struct codec_ops *ops)
{
	ops->component.name = "abcdefghijklmnopqrstuvwxyz012345";
}

static void set_taken_name(struct codec_ops *ops)
{
	ops->component.name = "lz4";
}

static void set_no_summary(struct codec_ops *ops)
{
	ops->component.summary = NULL;
}

static void set_two_lines(struct codec_ops *ops)
{
	ops->component.summary = "one\ntwo";
}

static void set_taken_id(struct codec_ops *ops)
{
	ops->format_id = 2;
}

static void set_large_id(struct codec_ops *ops)
{
	ops->format_id = 16;
}

static void set_no_compress(struct codec_ops *ops)
{
	ops->compress = NULL;
}

static void set_size_alone(struct codec_ops *ops)
{
	ops->component.options_size = 8;
}

static void test_refused_variants(void **state)
{
	char abi[256];
	(void)state;
	(void)snprintf(abi, sizeof(abi),
		       "a codec is of component ABI %d, but this program takes %d: compile it with this "
		       "program's headers (and address sanitizer)",
		       COMPONENT_ABI + 1, COMPONENT_ABI);
	assert_refused(set_abi, abi);
	assert_refused(set_no_name, "codec: the name \"\" is not 1 to 31 of a-z, 0-9 and _");
	assert_refused(set_bad_name, "codec: the name \"My-Codec\" is not 1 to 31 of a-z, 0-9 and _");
	assert_refused(set_long_name,
		       "codec: the name \"abcdefghijklmnopqrstuvwxyz012345\" is not 1 to 31 of "
		       "a-z, 0-9 and _");
	assert_refused(set_taken_name, "codec lz4: there is a variant of that name already");
	assert_refused(set_no_summary, "codec refused: its summary is not one line of 1 to 80 letters");
	assert_refused(set_two_lines, "codec refused: its summary is not one line of 1 to 80 letters");
	assert_refused(set_taken_id, "codec refused: its format_id, 2, is that of lz4");
	assert_refused(set_large_id, "codec refused: its format_id is 16, but has to be 1 to 15");
	assert_refused(set_no_compress, "codec refused lacks the function compress");
	assert_refused(set_size_alone, "codec refused: options_size is 8 without an option");
	assert_message(component_register(COMPONENT_KIND_COUNT, &sample), STATUS_INVALID,
		       "there is no component kind 5");
	assert_message(component_register(COMPONENT_CODEC, NULL), STATUS_INVALID,
		       "codec: a row without a component");
}

/* The refusal of a codec with these options, the first of which has the fault. */
static void assert_options_refused(const struct option *options, size_t size, const char *expected)
{
	struct codec_ops ops = codec_named("refused", COMPONENT_CODEC_ID_OTHERS + 1);
	char text[300];
	ops.component.options = options;
	ops.component.options_size = size;
	(void)snprintf(text, sizeof(text), "codec refused: %s", expected);
	assert_message(component_register(COMPONENT_CODEC, &ops.component), STATUS_INVALID, text);
}

static void test_refused_options(void **state)
{
	static const struct {
		struct option option;
		const char *fault;
	} faults[] = {
		{ { "Level", "h", OPTION_INTEGER, 0, 1, 1, 9 },
		  "option \"Level\": its name is not 1 to 31 of a-z, 0-9 and _" },
		{ { "level", NULL, OPTION_INTEGER, 0, 1, 1, 9 }, "option \"level\": it has no help text" },
		{ { "level", "h", (enum option_type)9, 0, 1, 1, 9 },
		  "option \"level\": its type is unknown" },
		{ { "level", "h", OPTION_INTEGER, 9, 1, 1, 9 },
		  "option \"level\": it lies outside the options struct (options_size)" },
		{ { "level", "h", OPTION_INTEGER, SIZE_MAX, 1, 1, 9 },
		  "option \"level\": it lies outside the options struct (options_size)" },
		{ { "level", "h", OPTION_INTEGER, 0, 10, 1, 9 },
		  "option \"level\": its default is not within its minimum and maximum" },
		{ { "level", "h", OPTION_REAL, 0, NAN, 1, 9 },
		  "option \"level\": its default is not within its minimum and maximum" },
		{ { "level", "h", OPTION_REAL, 0, 1, 1, INFINITY },
		  "option \"level\": its minimum or maximum is infinite" },
		{ { "level", "h", OPTION_SIZE, 0, 1, 1, 0x1p60 },
		  "option \"level\": its minimum or maximum is not of its type" },
		{ { "level", "h", OPTION_INTEGER, 0, 1, -1, 9 },
		  "option \"level\": its minimum or maximum is not of its type" },
		{ { "level", "h", OPTION_BOOLEAN, 0, 1, 0, 2 },
		  "option \"level\": its minimum or maximum is not of its type" },
		{ { "level", "h", OPTION_INTEGER, 0, 1.5, 1, 9 },
		  "option \"level\": its default is not whole" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const struct option rows[] = { faults[i].option, { .name = NULL } };
		assert_options_refused(rows, 16, faults[i].fault);
	}
	const struct option twice[] = { { "level", "h", OPTION_INTEGER, 0, 1, 1, 9 },
					{ "level", "h", OPTION_INTEGER, 8, 1, 1, 9 },
					{ .name = NULL } };
	assert_options_refused(twice, 16, "option \"level\": it is there twice");
	assert_options_refused(twice, 257, "options_size is 257, at most 256 is allowed");
	struct option many[COMPONENT_OPTIONS_MAX + 2] = { { .name = NULL } };
	char names[COMPONENT_OPTIONS_MAX + 1][8];
	for (size_t i = 0; i <= COMPONENT_OPTIONS_MAX; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "o%zu", i);
		many[i] = twice[0];
		many[i].name = names[i];
	}
	assert_options_refused(many, 16, "more than 16 options");
}

/* What a kind requires is looked at one function after the other. */
static void test_required_functions(void **state)
{
	(void)state;
	struct filter_ops filter =
		*(const struct filter_ops *)(const void *)component_find(COMPONENT_FILTER, "cacheline");
	filter.component.name = "refused";
	filter.may_contain = NULL;
	assert_message(component_register(COMPONENT_FILTER, &filter.component), STATUS_INVALID,
		       "filter refused lacks the function may_contain");
	struct cache_ops cache =
		*(const struct cache_ops *)(const void *)component_find(COMPONENT_CACHE, "lru");
	cache.component.name = "refused";
	cache.resident = NULL;
	assert_message(component_register(COMPONENT_CACHE, &cache.component), STATUS_INVALID,
		       "cache refused lacks the function resident");
	struct policy_ops policy =
		*(const struct policy_ops *)(const void *)component_find(COMPONENT_COMPACTION, "leveled");
	policy.component.name = "refused";
	policy.level0_limits = NULL;
	assert_message(component_register(COMPONENT_COMPACTION, &policy.component), STATUS_INVALID,
		       "compaction refused lacks the function level0_limits");
	/* get_many alone may be missing. */
	struct memtable_ops memtable = memtable_named("refused");
	memtable.get_many = NULL;
	memtable.prev = NULL;
	assert_message(component_register(COMPONENT_MEMTABLE, &memtable.component), STATUS_INVALID,
		       "memtable refused lacks the function prev");
}

static void test_modules(void **state)
{
	static struct codec_ops codec;
	static struct memtable_ops memtable;
	size_t codecs, memtables, now;
	(void)state;
	codec = codec_named("of_module", COMPONENT_CODEC_ID_OTHERS + 2);
	memtable = memtable_named("of_module");
	struct component_row rows[] = { { COMPONENT_CODEC, &codec.component },
					{ COMPONENT_MEMTABLE, &memtable.component },
					{ COMPONENT_CODEC, &codec.component } };
	struct component_module module = { .abi = COMPONENT_ABI, .count = 3, .rows = rows };
	(void)last_of(COMPONENT_CODEC, &codecs);
	(void)last_of(COMPONENT_MEMTABLE, &memtables);

	/* The third row is the first once more: none is taken. */
	assert_message(component_register_module(&module), STATUS_INVALID,
		       "codec of_module: there is a variant of that name already");
	(void)last_of(COMPONENT_CODEC, &now);
	assert_int_equal(now, codecs);
	(void)last_of(COMPONENT_MEMTABLE, &now);
	assert_int_equal(now, memtables);

	module.count = 2;
	assert_ok(component_register_module(&module));
	assert_ptr_equal(last_of(COMPONENT_CODEC, &now), &codec.component);
	assert_ptr_equal(last_of(COMPONENT_MEMTABLE, &now), &memtable.component);
	/* Loaded again, as by a second workload file. */
	assert_ok(component_register_module(&module));
	(void)last_of(COMPONENT_CODEC, &now);
	assert_int_equal(now, codecs + 1);

	/* Of another ABI nothing but the number may be read. */
	const struct component_module foreign = { .abi = 1, .count = 7, .rows = (const void *)8 };
	assert_status(component_register_module(&foreign), STATUS_INVALID);
	const struct component_module empty = { .abi = COMPONENT_ABI };
	assert_message(component_register_module(&empty), STATUS_INVALID, "it has no variants");
}

/* Last: no room is left. */
static void test_full_list(void **state)
{
	static struct memtable_ops variants[COMPONENT_VARIANTS_MAX];
	static char names[COMPONENT_VARIANTS_MAX][16];
	size_t count, i = 0;
	(void)state;
	(void)last_of(COMPONENT_MEMTABLE, &count);
	for (; count < COMPONENT_VARIANTS_MAX; count++, i++) {
		(void)snprintf(names[i], sizeof(names[i]), "variant_%zu", i);
		variants[i] = memtable_named(names[i]);
		assert_ok(component_register(COMPONENT_MEMTABLE, &variants[i].component));
	}
	variants[i] = memtable_named("one_too_many");
	assert_message(component_register(COMPONENT_MEMTABLE, &variants[i].component), STATUS_NO_SPACE,
		       "memtable one_too_many: there are 32 variants of the kind, and no room");
	assert_null(component_list(COMPONENT_MEMTABLE)[COMPONENT_VARIANTS_MAX]);
	test_rows(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_kind_names),
		cmocka_unit_test(test_format_ids),
		cmocka_unit_test(test_find_and_nearest),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_register),
		cmocka_unit_test(test_refused_variants),
		cmocka_unit_test(test_refused_options),
		cmocka_unit_test(test_required_functions),
		cmocka_unit_test(test_modules),
		cmocka_unit_test(test_full_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
