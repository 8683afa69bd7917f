/*
 * child.h: work in child processes, which may fail as failure.h has it, crash or hang without taking the test
 * along.
 */
#ifndef CASCADE_SIM_CHILD_H
#define CASCADE_SIM_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "sim/failure.h"

struct child {
	pid_t process;
	char *failure; /* of SIM_FAILURE_BYTES, shared */
};

/* Zeroed memory that children started later share with this process, until both end. */
void *child_share(size_t bytes);

/* Runs work(context) in a child. */
void child_start(struct child *child, void (*work)(void *context), void *context);

/* In a child, again and again: it is killed when it has not come here again after so many seconds. */
void child_alive(unsigned seconds);

/* Waits for its end. False: it failed, and child->failure says how. */
bool child_wait(struct child *child);

#endif
