#include <string.h>

#include "harness/drivers/driver.h"

/* The build defines CASCADE_HAVE_X for each peer whose library and header it has found. */
extern const struct driver_ops cascade_driver;
extern const struct driver_ops rocksdb_driver;
extern const struct driver_ops leveldb_driver;
extern const struct driver_ops lmdb_driver;
extern const struct driver_ops wiredtiger_driver;
extern const struct driver_ops null_driver;

#define LACKS(name, package)                                                                                \
	"this build has no " name ": its library was not found when it was built; install " package " and " \
	"build again"

const struct driver_ops *const drivers[] = {
	&cascade_driver,
#ifdef CASCADE_HAVE_ROCKSDB
	&rocksdb_driver,
#endif
#ifdef CASCADE_HAVE_LEVELDB
	&leveldb_driver,
#endif
#ifdef CASCADE_HAVE_LMDB
	&lmdb_driver,
#endif
#ifdef CASCADE_HAVE_WIREDTIGER
	&wiredtiger_driver,
#endif
	&null_driver,	    NULL,
};

/* The build defines CASCADE_LACKS_X for each peer that has a driver here but whose library it has not found.
 */
static const struct absent {
	const char *name;
	const char *why;
} absents[] = {
#ifdef CASCADE_LACKS_ROCKSDB
	{ "rocksdb", LACKS("rocksdb", "librocksdb-dev") },
#elif !defined(CASCADE_HAVE_ROCKSDB)
	{ "rocksdb", "rocksdb is not part of this build" },
#endif
#ifdef CASCADE_LACKS_LEVELDB
	{ "leveldb", LACKS("leveldb", "libleveldb-dev") },
#elif !defined(CASCADE_HAVE_LEVELDB)
	{ "leveldb", "leveldb is not part of this build" },
#endif
#ifdef CASCADE_LACKS_LMDB
	{ "lmdb", LACKS("lmdb", "liblmdb-dev") },
#elif !defined(CASCADE_HAVE_LMDB)
	{ "lmdb", "lmdb is not part of this build" },
#endif
#ifdef CASCADE_LACKS_WIREDTIGER
	{ "wiredtiger", LACKS("wiredtiger", "libwiredtiger-dev") },
#elif !defined(CASCADE_HAVE_WIREDTIGER)
	{ "wiredtiger", "wiredtiger is not part of this build" },
#endif
	{ NULL, NULL },
};

const char *driver_absence(const char *name)
{
	for (const struct absent *absent = absents; absent->name != NULL; absent++) {
		if (strcmp(absent->name, name) == 0)
			return absent->why;
	}
	return NULL;
}

/*
 * The libraries of other engines are not instrumented: the thread sanitizer sees their memory being used and
 * not what orders it. It is told to look away inside them, and in the C++ library, which nobody else here
 * uses.
 */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
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
