/*
 * json_writer.h: writes JSON to a stream, value by value; the writer puts commas, quotes and escapes.
 *
 * Keys are NULL inside arrays. Text that is not UTF-8 is written with U+FFFD in place of what is wrong, so
 * that the output is always valid. What was not measured is null: NaN, infinities, and UINT64_MAX where the
 * function says so. Errors stay in the stream (ferror).
 */
#ifndef CASCADE_HARNESS_JSON_WRITER_H
#define CASCADE_HARNESS_JSON_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "harness/yaml_tree.h"

struct json_writer {
	FILE *file;
	bool pretty; /* one value a line, indented; set before the first value */
	bool comma;  /* the next value of this level is not the first */
	int depth;
};

void json_object_begin(struct json_writer *json, const char *key);
void json_object_end(struct json_writer *json);
void json_array_begin(struct json_writer *json, const char *key);
void json_array_end(struct json_writer *json);

void json_text(struct json_writer *json, const char *key, const char *text); /* NULL: null */
void json_count(struct json_writer *json, const char *key, uint64_t count);
void json_known(struct json_writer *json, const char *key, uint64_t count); /* UINT64_MAX: null */
void json_real(struct json_writer *json, const char *key, double real);
void json_boolean(struct json_writer *json, const char *key, bool boolean);

/* A tree as objects and arrays; scalars that read as whole numbers, decimals or true/false become such. */
void json_yaml(struct json_writer *json, const char *key, const struct yaml_node *node);

#endif
