#include <string.h>

#include "base/sanitizer.h"
#include "harness/drivers/driver.h"

/*
 * The engines, one line for each, in the order in which they are listed. NAME is that of NAME_driver in
 * NAME.c. A library may be absent: it is looked for in cmake/libraries.cmake, which has a line for it, too;
 * the name in capitals is that of the build's CASCADE_HAVE_NAME (it takes part) and CASCADE_LACKS_NAME (it
 * would, but its library was not found), and the last word is the package to install.
 */
// clang-format off
#define ENGINES                                                                                              \
	ENGINE(cascade)                                                                                      \
	LIBRARY(rocksdb, ROCKSDB, "librocksdb-dev")                                                          \
	LIBRARY(leveldb, LEVELDB, "libleveldb-dev")                                                          \
	LIBRARY(lmdb, LMDB, "liblmdb-dev")                                                                   \
	LIBRARY(wiredtiger, WIREDTIGER, "libwiredtiger-dev")                                                 \
	ENGINE(null)
// clang-format on

/* 1 where the build defines the macro (as 1, as -D does), else 0. */
#define IS_DEFINED(macro)	   IS_DEFINED_VALUE(macro)
#define IS_DEFINED_VALUE(value)	   IS_DEFINED_PLACE(ONE_MORE_PLACE_##value)
#define IS_DEFINED_PLACE(place)	   SECOND(place 1, 0, )
#define ONE_MORE_PLACE_1	   0,
#define SECOND(first, second, ...) second

/* What follows the condition, or nothing. */
#define WHEN(condition, ...)	   WHEN_VALUE(condition, __VA_ARGS__)
#define WHEN_VALUE(condition, ...) WHEN_##condition(__VA_ARGS__)
#define WHEN_1(...)		   __VA_ARGS__
#define WHEN_0(...)

#define ENGINE(name)			 extern const struct driver_ops name##_driver;
#define LIBRARY(name, capitals, package) extern const struct driver_ops name##_driver;
ENGINES
#undef ENGINE
#undef LIBRARY

#define ENGINE(name)			 &name##_driver,
#define LIBRARY(name, capitals, package) WHEN(IS_DEFINED(CASCADE_HAVE_##capitals), &name##_driver, )
const struct driver_ops *const drivers[] = { ENGINES NULL };
#undef ENGINE
#undef LIBRARY

static const struct library {
	const char *name;
	const char *absence; /* what to say where it is not in the build */
} libraries[] = {
#define ENGINE(name)
#define LIBRARY(name, capitals, package)                                                     \
	{ #name, IS_DEFINED(CASCADE_LACKS_##capitals)                                        \
			 ? "this build has no " #name                                        \
			   ": its library was not found when it was built; install " package \
			   " and build again"                                                \
			 : #name " is not part of this build" },
	ENGINES
#undef ENGINE
#undef LIBRARY
};

const char *driver_absence(const char *name)
{
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
		if (strcmp(libraries[i].name, name) == 0)
			return driver_find(name) == NULL ? libraries[i].absence : NULL;
	}
	return NULL;
}

/*
 * The libraries of other engines are not instrumented: the thread sanitizer sees their memory being used and
 * not what orders it. It is told to look away inside them, and in the C++ library, which nobody else here
 * uses.
 */
#if THREAD_SANITIZER
const char *__tsan_default_suppressions(void) __attribute__((visibility("default")));

const char *__tsan_default_suppressions(void)
{
	return "called_from_lib:librocksdb.so\n"
	       "called_from_lib:libleveldb.so\n"
	       "called_from_lib:liblmdb.so\n"
	       "called_from_lib:libwiredtiger.so\n"
	       "called_from_lib:libstdc++.so\n";
}
#endif

const struct driver_ops *driver_find(const char *name)
{
	for (size_t i = 0; drivers[i] != NULL; i++) {
		if (strcmp(drivers[i]->name, name) == 0)
			return drivers[i];
	}
	return NULL;
}
