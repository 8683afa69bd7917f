/*
 * Variants from shared objects: what is refused, and with which words; what is loaded is listed, has its
 * options checked, and is used by a database, whose files only a program that has loaded it again can read.
 * The shared objects are beside this program (cmake/variants.cmake).
 */
#include "database/database_test.h"

#include <sys/wait.h>

#include "components/component.h"
#include "database/options_internal.h"
#include "modules/idle_policy.h"

enum { KEYS = 20000, VALUE_BYTES = 100 };

static const char *const skeletons[] = { "skeleton_memtable.so", "skeleton_filter.so", "skeleton_cache.so",
					 "skeleton_codec.so", "skeleton_compaction.so" };
static const char *const kinds[] = { "memtable", "filter", "cache", "codec", "compaction" };

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void assert_load(const char *path, cascade_status expected, const char *words)
{
	cascade_status status = cascade_component_load(path);
	if (status != expected || strstr(cascade_error_message(), words) == NULL)
		fail_msg("%s: %s: '%s', expected %s: '%s'", path != NULL ? path : "NULL",
			 cascade_strerror(status), cascade_error_message(), cascade_strerror(expected),
			 words);
}

static size_t count_components(void)
{
	const cascade_component_info *list;
	return cascade_component_list(&list);
}

static const cascade_component_info *find(const char *kind, const char *name)
{
	const cascade_component_info *list;
	size_t count = cascade_component_list(&list);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(list[i].kind, kind) == 0 && strcmp(list[i].name, name) == 0)
			return &list[i];
	}
	return NULL;
}

static void test_refused(void **state)
{
	char text_file[PATH_BYTES + 16], abi[64], long_path[5000];
	(void)state;
	size_t before = count_components();
	assert_load(NULL, CASCADE_INVALID, "the path of a shared object must be given");
	assert_load("", CASCADE_INVALID, "the path of a shared object must be given");
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	assert_load(long_path, CASCADE_INVALID, "must be given");
	assert_load("not_there.so", CASCADE_NOT_FOUND, "not_there.so: there is no such file");
	assert_load(place, CASCADE_INVALID, "it is no file, expected a shared object");
	(void)snprintf(text_file, sizeof(text_file), "%s/text.so", place);
	FILE *file = fopen(text_file, "w");
	assert_non_null(file);
	for (int i = 0; i < 1000; i++)
		assert_true(fputs("this is no shared object\n", file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_load(text_file, CASCADE_INVALID, "text.so: invalid ELF header");
	assert_load("refused_empty.so", CASCADE_INVALID,
		    "refused_empty.so: it has no variants: it does not define cascade_components");
	(void)snprintf(abi, sizeof(abi), "it is of component ABI 1, but this program takes %d",
		       COMPONENT_ABI);
	assert_load("refused_abi.so", CASCADE_INVALID, abi);
	assert_load("refused_symbol.so", CASCADE_INVALID, "undefined symbol: clock_now_ns");
	assert_load("refused_option.so", CASCADE_INVALID,
		    "its option \"merges\" would be compaction.merges, which is the engine's");
	/* All or nothing: the first of its two would do. */
	assert_load("refused_second.so", CASCADE_INVALID,
		    "compaction leveled: there is a variant of that name already");
	assert_null(find("compaction", "idle"));
	assert_int_equal(count_components(), before);
}

/* --- a database of nothing but variants from elsewhere --- */

static void load_skeletons(void)
{
	for (size_t i = 0; i < KINDS; i++)
		CHECK_OK(cascade_component_load(skeletons[i]));
}

static cascade_options *skeleton_options(void)
{
	static const char *const small[][2] = {
		{ "shards", "2" },	    { "memtable.size", "512 KiB" }, { "cache.size", "640 KiB" },
		{ "table.size", "64 KiB" }, { "io.kind", "posix" },
	};
	cascade_options *options;
	CHECK_OK(cascade_options_create(&options));
	for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++)
		CHECK_OK(cascade_options_set(options, small[i][0], small[i][1]));
	for (size_t i = 0; i < KINDS; i++) {
		char name[64];
		(void)snprintf(name, sizeof(name), "%s.kind", kinds[i]);
		CHECK_OK(cascade_options_set(options, name, "skeleton"));
	}
	CHECK_OK(cascade_options_set(options, "memtable.first_capacity", "2"));
	CHECK_OK(cascade_options_set(options, "compaction.level0_tables", "2"));
	return options;
}

static cascade_slice key_of(unsigned number, char text[static 32])
{
	return cascade_bytes(text, (size_t)snprintf(text, 32, "key%08u", number * 2654435761u));
}

static cascade_slice value_of(unsigned number, char text[static VALUE_BYTES])
{
	memset(text, 'a' + (int)(number % 26), VALUE_BYTES);
	(void)snprintf(text, VALUE_BYTES, "%u", number);
	return cascade_bytes(text, VALUE_BYTES);
}

static void write_all(cascade *db)
{
	char key[32], value[VALUE_BYTES];
	for (unsigned i = 0; i < KEYS; i++)
		CHECK_OK(cascade_put(db, key_of(i, key), value_of(i, value), NULL));
	for (unsigned i = 0; i < KEYS; i += 7)
		CHECK_OK(cascade_delete(db, key_of(i, key), NULL));
}

static void read_all(cascade *db)
{
	char key[32], value[VALUE_BYTES];
	for (unsigned i = 0; i < KEYS; i++) {
		cascade_value got;
		cascade_status expected = i % 7 == 0 ? CASCADE_NOT_FOUND : CASCADE_OK;
		CHECK_STATUS(cascade_get(db, key_of(i, key), NULL, &got), expected);
		if (expected != CASCADE_OK)
			continue;
		CHECK(got.size == VALUE_BYTES);
		CHECK(memcmp(got.data, value_of(i, value).data, VALUE_BYTES) == 0);
		cascade_value_release(&got);
	}
}

static void create_database(void)
{
	cascade *db;
	load_skeletons();
	cascade_options *options = skeleton_options();
	CHECK_OK(cascade_open(place, options, &db));
	write_all(db);
	CHECK_OK(cascade_flush(db));
	read_all(db);
	CHECK_OK(cascade_close(db));
	cascade_options_destroy(options);
}

static void test_loaded(void **state)
{
	cascade *db;
	int ending = 0;
	(void)state;
	/* In a process of its own, so that this one has loaded nothing when it sees the files. */
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		create_database();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &ending, 0), child);
	assert_true(WIFEXITED(ending) && WEXITSTATUS(ending) == 0);

	assert_null(find("codec", "skeleton"));
	CHECK_STATUS(cascade_open(place, NULL, &db), CASCADE_FORMAT);
	assert_non_null(strstr(cascade_error_message(), "is neither of this build nor loaded"));

	size_t before = count_components();
	load_skeletons();
	assert_int_equal(count_components(), before + KINDS);
	cascade_options *options = skeleton_options();
	CHECK_OK(cascade_open(place, options, &db));
	read_all(db);
	CHECK_OK(cascade_verify(db));
	CHECK_OK(cascade_close(db));
	cascade_options_destroy(options);
	/* With the variants loaded, any others may take over. */
	CHECK_OK(cascade_open(place, NULL, &db));
	read_all(db);
	CHECK_OK(cascade_close(db));
}

/* --- options and lists, when all is loaded --- */

static void test_options(void **state)
{
	const cascade_option_info *list;
	cascade_options *options;
	bool found = false;
	(void)state;
	load_skeletons();
	size_t before = count_components();
	load_skeletons();
	assert_int_equal(count_components(), before);
	for (size_t i = 0; i < KINDS; i++) {
		const cascade_component_info *info = find(kinds[i], "skeleton");
		assert_non_null(info);
		assert_false(info->is_default);
	}
	assert_int_equal(find("memtable", "skeleton")->option_count, 1);
	size_t count = cascade_option_list(&list);
	for (size_t i = 0; i < count; i++)
		found = found || (strcmp(list[i].name, "codec.kind") == 0 &&
				  strstr(list[i].choices, " skeleton") != NULL);
	assert_true(found);
	CHECK_OK(cascade_options_create(&options));
	CHECK_OK(cascade_options_set(options, "memtable.first_capacity", "100"));
	/* It is the default's option only if the default is chosen. */
	CHECK_STATUS(cascade_options_resolve(options), CASCADE_INVALID);
	CHECK_OK(cascade_options_set(options, "memtable.kind", "skeleton"));
	CHECK_OK(cascade_options_resolve(options));
	CHECK_OK(cascade_options_set(options, "memtable.first_capacity", "0"));
	CHECK_STATUS(cascade_options_resolve(options), CASCADE_INVALID);
	assert_non_null(strstr(cascade_error_message(), "takes 1 to 1048576"));
	CHECK_STATUS(cascade_options_set(options, "memtable.kind", "skeletn"), CASCADE_INVALID);
	assert_non_null(strstr(cascade_error_message(), "did you mean 'skeleton'?"));
	cascade_options_destroy(options);
}

/* Which variant takes an option is known when it is chosen; until then the value may be any of theirs. */
static void test_options_of_one_name(void **state)
{
	static const struct option ratio_option[] = {
		{ "size_ratio", "whether there is one", OPTION_BOOLEAN, 0, 1, 0, 1 },
		{ .name = NULL },
	};
	static const struct policy_ops policy_other =
		IDLE_POLICY("other", .options = ratio_option, .options_size = sizeof(bool));
	cascade_options *options;
	(void)state;
	CHECK_OK(cascade_options_create(&options));
	CHECK_STATUS(cascade_options_set(options, "compaction.size_ratio", "true"), CASCADE_INVALID);
	assert_ok(component_register(COMPONENT_COMPACTION, &policy_other.component));
	CHECK_OK(cascade_options_set(options, "compaction.size_ratio", "true"));
	CHECK_STATUS(cascade_options_set(options, "compaction.size_ratio", "nonsense"), CASCADE_INVALID);
	CHECK_STATUS(cascade_options_resolve(options), CASCADE_INVALID);
	CHECK_OK(cascade_options_set(options, "compaction.kind", "other"));
	CHECK_OK(cascade_options_resolve(options));
	cascade_options_destroy(options);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_loaded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_options, set_up, tear_down),
		cmocka_unit_test(test_options_of_one_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
