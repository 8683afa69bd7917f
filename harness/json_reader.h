/*
 * json_reader.h: a document in JSON (RFC 8259) as a tree in an arena, strict: no comments, no trailing
 * commas, nothing after the document. Nesting is bounded at 64.
 */
#ifndef CASCADE_HARNESS_JSON_READER_H
#define CASCADE_HARNESS_JSON_READER_H

#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
	enum json_kind kind;
	const char *name;   /* of a member of an object, else NULL */
	const char *text;   /* of a string, ended by NUL; a NUL inside is refused, UTF-8 is not checked */
	double number;	    /* of a number */
	struct json *first; /* of an array or object: its first member */
	struct json *next;  /* the next member of the same parent */
};

/* Errors: CORRUPT with the byte's place, NO_MEMORY. The tree lives as long as the arena. */
MUST_CHECK struct status json_parse(struct arena *arena, const char *text, size_t size, struct json **root);

/*
 * The member at a path of names with dots between ("throughput.ops_s"); a name that itself has dots is
 * found as well. NULL: not there.
 */
const struct json *json_find(const struct json *json, const char *path);

/* The number there, or `otherwise` if there is none (absent, null, another kind). */
double json_number_at(const struct json *json, const char *path, double otherwise);

/* The string there, or `otherwise`. */
const char *json_text_at(const struct json *json, const char *path, const char *otherwise);

#endif
