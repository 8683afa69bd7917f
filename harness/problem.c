#include "harness/problem.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES_MAX = 64 };

/* Control characters of the input would garble the terminal. */
static void blank_controls(char *text)
{
	for (; *text != '\0'; text++) {
		if (iscntrl((unsigned char)*text))
			*text = ' ';
	}
}

static size_t place_print(char *buffer, size_t size, struct place place)
{
	int length;
	if (place.line > 0)
		length = snprintf(buffer, size, "%s:%d: ", place.origin, place.line);
	else
		length = snprintf(buffer, size, "%s: ", place.origin);
	return length < 0 ? 0 : (size_t)length < size ? (size_t)length : size - 1;
}

static bool place_says(struct place place, const char *key)
{
	const char *prefix = "--set ";
	return strncmp(place.origin, prefix, strlen(prefix)) == 0 &&
	       strcmp(place.origin + strlen(prefix), key) == 0;
}

struct status problem_at(struct problem *problem, enum status_code code, struct place place, const char *key,
			 const char *format, ...)
{
	size_t used = place_print(problem->text, sizeof(problem->text), place);
	if (key[0] != '\0' && !place_says(place, key)) {
		int length = snprintf(problem->text + used, sizeof(problem->text) - used, "%s: ", key);
		used += length > 0 ? (size_t)length : 0;
		used = used < sizeof(problem->text) ? used : sizeof(problem->text) - 1;
	}
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(problem->text + used, sizeof(problem->text) - used, format, arguments);
	va_end(arguments);
	blank_controls(problem->text);
	return status_make(code);
}

struct status problem_set(struct problem *problem, enum status_code code, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(problem->text, sizeof(problem->text), format, arguments);
	va_end(arguments);
	blank_controls(problem->text);
	return status_make(code);
}

static size_t minimum3(size_t a, size_t b, size_t c)
{
	size_t smaller = a < b ? a : b;
	return smaller < c ? smaller : c;
}

/* Optimal string alignment: insert, delete, replace, or swap two neighbours, each at the price of one. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t rows[3][NAME_BYTES_MAX + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2];
	for (size_t j = 0; j <= b_length; j++)
		above[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			size_t differs = tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]);
			row[j] = minimum3(above[j] + 1, row[j - 1] + 1, above[j - 1] + differs);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		size_t *oldest = before;
		before = above;
		above = row;
		row = oldest;
	}
	return above[b_length];
}

const char *nearest_name(const char *word, const char *const *candidates, size_t count)
{
	size_t length = strlen(word);
	const char *best = NULL;
	size_t best_distance = length / 3 > 0 ? length / 3 : 1;
	best_distance++;
	if (length == 0 || length > NAME_BYTES_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t candidate_length = strlen(candidates[i]);
		if (candidate_length > NAME_BYTES_MAX)
			continue;
		size_t distance = edit_distance(word, length, candidates[i], candidate_length);
		if (distance < best_distance) {
			best_distance = distance;
			best = candidates[i];
		}
	}
	return best;
}

const char *nearest_hint(const char *word, const char *const *candidates, size_t count, char *buffer,
			 size_t size)
{
	const char *nearest = nearest_name(word, candidates, count);
	if (nearest != NULL)
		(void)snprintf(buffer, size, ", did you mean '%s'?", nearest);
	else
		buffer[0] = '\0';
	return buffer;
}
