/*
 * test.h: what every test program includes: cmocka, and a seed that is fixed, printed on failure, and
 * replaced by the environment (CASCADE_TEST_SEED=123 build/release/x_test).
 */
#ifndef CASCADE_TESTS_TEST_H
#define CASCADE_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/status.h"

/* The seed of this run: the given one unless the environment names another. */
static inline uint64_t test_seed(uint64_t fixed)
{
	const char *text = getenv("CASCADE_TEST_SEED");
	return text != NULL ? strtoull(text, NULL, 0) : fixed;
}

#define assert_ok(expression)                                                    \
	do {                                                                     \
		struct status ok_status_ = (expression);                         \
		if (!status_is_ok(ok_status_)) {                                 \
			char ok_text_[256];                                      \
			status_describe(ok_status_, ok_text_, sizeof(ok_text_)); \
			fail_msg("%s: %s", #expression, ok_text_);               \
		}                                                                \
	} while (0)

#define assert_status(expression, expected)                                                                  \
	do {                                                                                                 \
		struct status got_status_ = (expression);                                                    \
		if (got_status_.code != (int32_t)(expected)) {                                               \
			char got_text_[256];                                                                 \
			status_describe(got_status_, got_text_, sizeof(got_text_));                          \
			fail_msg("%s: %s, expected %s", #expression, got_text_, status_code_text(expected)); \
		}                                                                                            \
	} while (0)

#endif
