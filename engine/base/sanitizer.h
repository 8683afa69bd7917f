/*
 * sanitizer.h: which sanitizers this build has, the same for gcc and clang: each is 1 or 0. For what a
 * sanitizer has to be told, and for tests that try less because everything takes several times as long.
 */
#ifndef CASCADE_BASE_SANITIZER_H
#define CASCADE_BASE_SANITIZER_H

#ifdef __has_feature
#define SANITIZER_FEATURE(feature) __has_feature(feature)
#else
#define SANITIZER_FEATURE(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || SANITIZER_FEATURE(address_sanitizer)
#define ADDRESS_SANITIZER 1
#else
#define ADDRESS_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__) || SANITIZER_FEATURE(thread_sanitizer)
#define THREAD_SANITIZER 1
#else
#define THREAD_SANITIZER 0
#endif

#define SANITIZED (ADDRESS_SANITIZER || THREAD_SANITIZER)

#endif
