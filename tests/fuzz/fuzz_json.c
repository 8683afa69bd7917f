/* JSON: a document that is read is written again, and reads as the same. */
#include <math.h>

#include "fuzz/fuzz.h"
#include "harness/json_reader.h"
#include "harness/json_writer.h"

enum { DEPTH_MAX = 64 };

static void check_value(const struct json *json, int depth)
{
	FUZZ_CHECK(depth < DEPTH_MAX);
	if (json->kind == JSON_NUMBER)
		FUZZ_CHECK(isfinite(json->number));
	if (json->kind == JSON_STRING)
		FUZZ_CHECK(json->text != NULL);
	for (const struct json *member = json->first; member != NULL; member = member->next) {
		FUZZ_CHECK((member->name != NULL) == (json->kind == JSON_OBJECT));
		check_value(member, depth + 1);
	}
}

static void write_value(struct json_writer *writer, const char *name, const struct json *json)
{
	switch (json->kind) {
	case JSON_NULL:
		json_text(writer, name, NULL);
		return;
	case JSON_FALSE:
	case JSON_TRUE:
		json_boolean(writer, name, json->kind == JSON_TRUE);
		return;
	case JSON_NUMBER:
		json_real(writer, name, json->number);
		return;
	case JSON_STRING:
		json_text(writer, name, json->text);
		return;
	case JSON_ARRAY:
		json_array_begin(writer, name);
		break;
	case JSON_OBJECT:
		json_object_begin(writer, name);
		break;
	}
	for (const struct json *member = json->first; member != NULL; member = member->next)
		write_value(writer, member->name, member);
	if (json->kind == JSON_ARRAY)
		json_array_end(writer);
	else
		json_object_end(writer);
}

static char *write_document(const struct json *json, size_t *size)
{
	char *text = NULL;
	FILE *file = open_memstream(&text, size);
	FUZZ_CHECK(file != NULL);
	struct json_writer writer = { .file = file };
	write_value(&writer, NULL, json);
	FUZZ_CHECK(fclose(file) == 0);
	return text;
}

/* What was written reads as it was meant: written once more, it is the same text. */
static void check_written(const struct json *json)
{
	struct arena arena;
	struct json *again;
	size_t size, again_size;
	char *text = write_document(json, &size);
	arena_init(&arena, 4096);
	FUZZ_CHECK(status_is_ok(json_parse(&arena, text, size, &again)));
	char *again_text = write_document(again, &again_size);
	/* What was not UTF-8 was written as an escape, and is UTF-8 from then on. */
	if (memmem(text, size, "\\ufffd", 6) == NULL)
		FUZZ_CHECK(size == again_size && memcmp(text, again_text, size) == 0);
	free(text);
	free(again_text);
	arena_free(&arena);
}

static void check_find(const struct json *root, const char *path)
{
	const struct json *found = json_find(root, path);
	(void)json_text_at(root, path, "");
	FUZZ_CHECK(path[0] != '\0' || found == root);
	double number = json_number_at(root, path, -1);
	FUZZ_CHECK(found == NULL || found->kind != JSON_NUMBER || number == found->number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct json *root;
	uint8_t *copy = fuzz_exact(data, size);
	arena_init(&arena, 4096);
	struct status status = json_parse(&arena, (const char *)copy, size, &root);
	FUZZ_CHECK(status_is_ok(status) || status_is(status, STATUS_CORRUPT));
	if (status_is_ok(status)) {
		check_value(root, 0);
		check_written(root);
		for (const struct json *member = root->first; member != NULL; member = member->next)
			if (member->name != NULL)
				check_find(root, member->name);
		check_find(root, "");
		check_find(root, "a.b..c.");
	}
	/* A tree takes a fixed multiple of its text. */
	FUZZ_CHECK(arena.reserved_bytes <= 128 * (size + 128));
	arena_free(&arena);
	free(copy);
	return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	static const char *const texts[] = {
		"null",
		"true",
		"false",
		"0",
		"-12.5e+3",
		"\"\"",
		"[]",
		"{}",
		"{\"throughput\":{\"ops_s\":12345.5,\"n\":[1,2,3]},\"a.b\":\"x\",\"\":null}",
		"[\"\\u00e9\\ud83d\\ude00\\n\\\"\\\\\", \"\\u0000\", \"\\ud800\"]",
		"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]",
		/* Numbers that RFC 8259 does not have, and one that no double holds. */
		"1e999",
		"[01]",
		"1.",
		"-.5",
		"1.e3",
		NULL,
	};
	return fuzz_text_seed(texts, index, to);
}
