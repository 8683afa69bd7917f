/*
 * watched.h: whether Valgrind runs the program. It runs one thread at a time, and its older versions let no
 * other run while one waits for an io_uring.
 */
#ifndef CASCADE_BASE_WATCHED_H
#define CASCADE_BASE_WATCHED_H

#include <stdbool.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif

static inline bool valgrind_watches(void)
{
#ifdef RUNNING_ON_VALGRIND
	return RUNNING_ON_VALGRIND != 0;
#else
	return false;
#endif
}

#endif
