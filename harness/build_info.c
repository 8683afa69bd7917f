#include "harness/build_info.h"

#include <stddef.h>
#include <string.h>

#include "base/sanitizer.h"

const char *build_type(void)
{
#if ADDRESS_SANITIZER
	return "address sanitizer";
#elif THREAD_SANITIZER
	return "thread sanitizer";
#elif defined(CASCADE_DEBUG)
	return "debug";
#elif !defined(__OPTIMIZE__)
	return "unoptimized";
#else
	return "release";
#endif
}

bool build_is_debug(void)
{
	return strcmp(build_type(), "release") != 0;
}

const char *build_compiler(void)
{
#ifdef __clang__
	return "clang " __clang_version__;
#else
	return "gcc " __VERSION__;
#endif
}

const char *build_flags(void)
{
#ifdef CASCADE_BUILD_FLAGS
	return CASCADE_BUILD_FLAGS;
#else
	return NULL;
#endif
}
