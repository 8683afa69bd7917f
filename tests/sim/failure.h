/*
 * failure.h: how a simulation says that something is wrong: one message, and the end of the process. A check
 * may stand on a task's stack or inside a callback of the disk, from where nothing could be unwound; whoever
 * wants to go on runs the simulation in a child process (campaign.h).
 */
#ifndef CASCADE_SIM_FAILURE_H
#define CASCADE_SIM_FAILURE_H

#include <stddef.h>

#include "cascade.h"

enum { SIM_EXIT_FAILED = 3, SIM_FAILURE_BYTES = 2048 };

/* Where messages go beside stderr: a buffer that outlives the process, of SIM_FAILURE_BYTES. NULL: nowhere.
 */
void sim_failure_to(char *text);

/* Every sim_failure_where is printed as well. */
void sim_failure_verbose(void);

/* What is going on, for the message: "round 3", "image 7". Copied. */
void sim_failure_where(const char *format, ...) __attribute__((format(printf, 1, 2)));

_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define SIM_CHECK(expression)                                                           \
	do {                                                                            \
		if (!(expression))                                                      \
			sim_fail("%s:%d: failed: %s", __FILE__, __LINE__, #expression); \
	} while (0)

#define SIM_CHECK_OK(expression)                                                        \
	do {                                                                            \
		cascade_status got_ = (expression);                                     \
		if (got_ != CASCADE_OK)                                                 \
			sim_fail("%s:%d: %s: %s (%s)", __FILE__, __LINE__, #expression, \
				 cascade_strerror(got_), cascade_error_message());      \
	} while (0)

#endif
