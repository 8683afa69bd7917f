/*
 * problem.h: what is wrong with the user's input, as one line of text to print. A problem may be longer
 * than a status message keeps, and it names a place: a line of a file, or a --set.
 */
#ifndef CASCADE_HARNESS_PROBLEM_H
#define CASCADE_HARNESS_PROBLEM_H

#include <stddef.h>

#include "base/status.h"

/* Where a key or value was written. */
struct place {
	const char *origin; /* a file's name, "--set engine.kind", or "default"; outlives the place */
	int line;	    /* 0: the origin has no lines */
};

struct problem {
	char text[2048];
};

/*
 * Writes "PLACE: KEY: MESSAGE" and returns a status with that code. The key is left out when it is empty
 * or when the place says it already (--set engine.kind). An earlier text is overwritten.
 */
struct status problem_at(struct problem *problem, enum status_code code, struct place place, const char *key,
			 const char *format, ...) __attribute__((format(printf, 5, 6), cold));

/* Writes the message alone. */
struct status problem_set(struct problem *problem, enum status_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4), cold));

/*
 * The candidate nearest to `word` by edit distance, NULL if none is near enough to be what was meant:
 * at most one error in three letters.
 */
const char *nearest_name(const char *word, const char *const *candidates, size_t count);

/* Writes ", did you mean 'X'?" or, if nothing is near, "". Returns buffer. */
const char *nearest_hint(const char *word, const char *const *candidates, size_t count, char *buffer,
			 size_t size);

#endif
