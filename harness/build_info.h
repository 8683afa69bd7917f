/*
 * build_info.h: how this binary was built.
 */
#ifndef CASCADE_HARNESS_BUILD_INFO_H
#define CASCADE_HARNESS_BUILD_INFO_H

#include <stdbool.h>

/* "release", or what makes it slow: "debug", "address sanitizer", "thread sanitizer", "unoptimized". */
const char *build_type(void);

/* Whether numbers from this build say little about a release build. */
bool build_is_debug(void);

/* "gcc 12.2.0"; static. */
const char *build_compiler(void);

/* The compiler's flags if the build passed them on (CASCADE_BUILD_FLAGS), else NULL. */
const char *build_flags(void);

#endif
