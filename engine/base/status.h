/*
 * status.h: what every fallible function returns.
 *
 * A status is eight bytes passed by value: a code that callers branch on and, for errors worth
 * explaining, a ticket into a process-wide ring of recent messages (`status_describe`). The message
 * therefore travels with the value between tasks, shards and threads without ownership questions;
 * a ticket whose slot was overwritten by 1024 later errors degrades to the text of its code.
 *
 * Thread-safe. Nothing here suspends.
 */
#ifndef CASCADE_BASE_STATUS_H
#define CASCADE_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/exported.h"

/* The values equal those of `cascade_status` in cascade.h; database/ asserts it. */
enum status_code {
	STATUS_OK = 0,
	STATUS_NOT_FOUND = 1,	/* no such key, file or component */
	STATUS_INVALID = 2,	/* the caller's arguments or options are wrong */
	STATUS_BUSY = 3,	/* try again later: a queue or a budget is full */
	STATUS_NO_SPACE = 4,	/* the device or a quota is full */
	STATUS_IO = 5,		/* the device or the kernel failed a request */
	STATUS_CORRUPT = 6,	/* stored bytes are not what was written */
	STATUS_NO_MEMORY = 7,	/* an allocation failed */
	STATUS_LOCKED = 8,	/* another process has the database open */
	STATUS_UNSUPPORTED = 9, /* valid, but this build or configuration cannot do it */
	STATUS_FORMAT = 10,	/* an on-disk format version this build does not know */
	STATUS_READ_ONLY = 11,	/* a sync failed earlier: reads go on, writes are refused */
	STATUS_CLOSED = 12,	/* the object is closed or shutting down */
	STATUS_CANCELED = 13,	/* whoever asked for it asked to stop it, and it was not done */
	STATUS_CODE_COUNT
};

struct status {
	int32_t code;	 /* enum status_code */
	uint32_t detail; /* 0: no message */
};

#define MUST_CHECK __attribute__((warn_unused_result))

static inline bool status_is_ok(struct status status)
{
	return status.code == STATUS_OK;
}

static inline bool status_is(struct status status, enum status_code code)
{
	return status.code == (int32_t)code;
}

static inline struct status status_ok(void)
{
	return (struct status) { .code = STATUS_OK, .detail = 0 };
}

/* A status without a message. */
static inline struct status status_make(enum status_code code)
{
	return (struct status) { .code = (int32_t)code, .detail = 0 };
}

/* A status with a message (at most 255 bytes are kept). Any stack: it is formatted on the thread's. */
struct status status_error(enum status_code code, const char *format, ...) EXPORTED(status_error)
	__attribute__((format(printf, 2, 3), cold));

/* The code that an errno value stands for, with `what` and strerror as the message. */
struct status status_from_errno(int error, const char *what, const char *path) __attribute__((cold));

/* The name of a code, e.g. "not found". Static storage. */
const char *status_code_text(int32_t code) EXPORTED(status_code_text);

/* Writes the message, or the code's text when there is none, always terminated. */
void status_describe(struct status status, char *buffer, size_t size) EXPORTED(status_describe);

#define TRY(expression)                                              \
	do {                                                         \
		struct status try_status_ = (expression);            \
		if (__builtin_expect(!status_is_ok(try_status_), 0)) \
			return try_status_;                          \
	} while (0)

/* Needs a `struct status status` in scope. */
#define TRY_GOTO(expression, label)                             \
	do {                                                    \
		status = (expression);                          \
		if (__builtin_expect(!status_is_ok(status), 0)) \
			goto label;                             \
	} while (0)

/* Clean-up keeps the first error. */
static inline void status_keep_first(struct status *kept, struct status later)
{
	if (status_is_ok(*kept))
		*kept = later;
}

#endif
