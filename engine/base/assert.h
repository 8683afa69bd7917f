/*
 * assert.h: ASSERT stays on in every build; DASSERT only in debug and sanitizer builds.
 *
 * An assertion states what no input, no device and no other process can break. A failing one means
 * that memory or the code is wrong, and stops the process before wrong bytes reach the device. Bad
 * input and bad devices are statuses, never assertions.
 */
#ifndef CASCADE_BASE_ASSERT_H
#define CASCADE_BASE_ASSERT_H

#include "base/exported.h"

_Noreturn void assert_failed(const char *file, int line, const char *function, const char *expression)
	EXPORTED(assert_failed) __attribute__((cold));

#define ASSERT(expression)                                                        \
	do {                                                                      \
		if (__builtin_expect(!(expression), 0))                           \
			assert_failed(__FILE__, __LINE__, __func__, #expression); \
	} while (0)

#ifdef CASCADE_DEBUG
#define DASSERT(expression) ASSERT(expression)
#else
#define DASSERT(expression)                 \
	do {                                \
		if (0)                      \
			(void)(expression); \
	} while (0)
#endif

#endif
