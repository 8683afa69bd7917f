#include "harness/allocate.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static void *checked(void *memory)
{
	if (memory == NULL) {
		(void)fputs("cascade: out of memory\n", stderr);
		exit(1);
	}
	return memory;
}

void *allocate_zeroed(size_t count, size_t size)
{
	return checked(memory_allocate_zeroed(count > 0 ? count : 1, size));
}

void *allocate_resize(void *memory, size_t size)
{
	return checked(memory_resize(memory, size));
}

char *allocate_string(const char *text)
{
	return checked(memory_copy_string(text));
}

void *arena_zeroed(struct arena *arena, size_t size)
{
	return memset(checked(arena_allocate(arena, size > 0 ? size : 1, 16)), 0, size);
}

char *arena_string(struct arena *arena, const char *text, size_t length)
{
	char *copy = checked(arena_allocate(arena, length + 1, 1));
	memcpy(copy, text, length);
	copy[length] = '\0';
	return copy;
}

char *arena_format(struct arena *arena, const char *format, ...)
{
	va_list arguments, again;
	va_start(arguments, format);
	va_copy(again, arguments);
	int length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	size_t size = length > 0 ? (size_t)length + 1 : 1;
	char *text = checked(arena_allocate(arena, size, 1));
	text[0] = '\0';
	(void)vsnprintf(text, size, format, again);
	va_end(again);
	return text;
}
