#include "harness/json_reader.h"

#include <string.h>

#include "base/memory.h"
#include "test.h"

static struct arena arena;

static struct status parse(const char *text, struct json **root)
{
	return json_parse(&arena, text, strlen(text), root);
}

static void documents_become_trees(void **state)
{
	(void)state;
	struct json *root;
	arena_init(&arena, 4096);
	assert_ok(parse(" {\"a\": 1.5e3, \"b\": {\"c\": [1, -2, true, false, null, \"x\"], \"d.e\": 7},"
			" \"empty\": {}, \"none\": [] , \"s\": \"q\\\"\\n\\u00e9\\ud83d\\ude00/\"} \n",
			&root));
	assert_true(json_number_at(root, "a", 0) == 1500);
	assert_true(json_number_at(root, "b.d.e", 0) == 7);
	assert_true(json_number_at(root, "b.c", -1) == -1);
	assert_true(json_number_at(root, "b.missing", -1) == -1);
	assert_string_equal(json_text_at(root, "s", ""), "q\"\n\xc3\xa9\xf0\x9f\x98\x80/");
	assert_string_equal(json_text_at(root, "a", "no text"), "no text");
	const struct json *list = json_find(root, "b.c");
	assert_int_equal(list->kind, JSON_ARRAY);
	int count = 0;
	for (const struct json *member = list->first; member != NULL; member = member->next)
		count++;
	assert_int_equal(count, 6);
	assert_true(list->first->next->number == -2);
	assert_null(json_find(root, "empty")->first);
	assert_null(json_find(root, "nothing"));
	arena_free(&arena);
}

static void what_is_no_json_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = { "",		"{",	       "[1,",	   "{\"a\":}",	  "{\"a\" 1}",
					   "{a: 1}",	"[1 2]",       "[1,]",	   "\"abc",	  "\"\\x\"",
					   "\"\\u12\"", "\"\\ud800\"", "\"a\nb\"", "nul",	  "1 2",
					   "+1",	".5",	       "--1",	   "\"\\u0000\"", "\\",
					   "01",	"1.",	       "-.5",	   "1.e3",	  "1e999" };
	struct json *root;
	arena_init(&arena, 4096);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (!status_is(parse(bad[i], &root), STATUS_CORRUPT))
			fail_msg("taken for JSON: %s", bad[i]);
	}
	char deep[200];
	memset(deep, '[', sizeof(deep));
	assert_status(json_parse(&arena, deep, sizeof(deep), &root), STATUS_CORRUPT);
	arena_free(&arena);
}

/* Cut or changed anywhere, it is read or refused, and nothing outside is touched (for the sanitizers). */
static void damaged_documents_do_no_harm(void **state)
{
	(void)state;
	static const char text[] = "{\"a\":[1,2.5,{\"b\":\"\\u00e9\\n\"}],\"c\":null,\"d\":{\"e\":true}}";
	struct random random = random_stream(test_seed(3));
	for (int i = 0; i < 20000; i++) {
		struct json *root;
		size_t size = 1 + random_below(&random, sizeof(text) - 1);
		char *copy = memory_allocate(size);
		memcpy(copy, text, size);
		copy[random_below(&random, size)] = (char)random_next(&random);
		arena_init(&arena, 4096);
		struct status status = json_parse(&arena, copy, size, &root);
		assert_true(status_is_ok(status) || status_is(status, STATUS_CORRUPT));
		arena_free(&arena);
		memory_free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_become_trees),
		cmocka_unit_test(what_is_no_json_is_refused),
		cmocka_unit_test(damaged_documents_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
