/*
 * check_or_abort.h: checks inside tasks and threads of a test, which end the program at once: cmocka cannot
 * unwind a task's stack. Who draws by a seed defines CHECK_SEED before, so that a failure tells it.
 */
#ifndef CASCADE_TESTS_CHECK_OR_ABORT_H
#define CASCADE_TESTS_CHECK_OR_ABORT_H

#include "test.h"

#ifndef CHECK_SEED
#define CHECK_SEED 0
#endif

/* `why`: NULL where there is nothing to add. */
static inline _Noreturn void end_check(const char *file, int line, const char *what, const char *why,
				       uint64_t seed)
{
	(void)fprintf(stderr, "%s:%d: failed: %s", file, line, what);
	if (why != NULL)
		(void)fprintf(stderr, ": %s", why);
	if (seed != 0)
		(void)fprintf(stderr, " (seed %llu)", (unsigned long long)seed);
	(void)fputc('\n', stderr);
	abort();
}

#define CHECK(expression)                                                             \
	do {                                                                          \
		if (!(expression))                                                    \
			end_check(__FILE__, __LINE__, #expression, NULL, CHECK_SEED); \
	} while (0)

#define CHECK_OK(expression)                                                           \
	do {                                                                           \
		struct status check_ = (expression);                                   \
		if (!status_is_ok(check_)) {                                           \
			char text_[256];                                               \
			status_describe(check_, text_, sizeof(text_));                 \
			end_check(__FILE__, __LINE__, #expression, text_, CHECK_SEED); \
		}                                                                      \
	} while (0)

#endif
