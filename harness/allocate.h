/*
 * allocate.h: memory for the command itself. A bench that cannot get a few kilobytes for its own lists has
 * nothing left to measure, so these say so on stderr and exit with 1 rather than return NULL.
 */
#ifndef CASCADE_HARNESS_ALLOCATE_H
#define CASCADE_HARNESS_ALLOCATE_H

#include <stddef.h>

#include "base/arena.h"

/* Zeroed; freed with memory_free. */
void *allocate_zeroed(size_t count, size_t size);
void *allocate_resize(void *memory, size_t size);
char *allocate_string(const char *text);

/* From the arena, zeroed. */
void *arena_zeroed(struct arena *arena, size_t size);
char *arena_string(struct arena *arena, const char *text, size_t length);
char *arena_format(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
