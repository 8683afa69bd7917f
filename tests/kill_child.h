/*
 * kill_child.h: the process that is killed: it opens the database, holds what it finds against the expected
 * state, and writes until it is stopped or killed. Only the public header of the engine is used.
 */
#ifndef CASCADE_TESTS_KILL_CHILD_H
#define CASCADE_TESTS_KILL_CHILD_H

#include <stdint.h>

#include "expected_state.h"

enum kill_child_work {
	KILL_CHILD_CHECKS,	  /* and closes */
	KILL_CHILD_CHECKS_CLOSED, /* the last process closed: nothing may be replayed, no file be left over */
	KILL_CHILD_LOADS,	  /* after the check, until it is told to stop, then closes */
	KILL_CHILD_LOADS_A_LITTLE, /* after the check, a few writes one after the other; then kills itself */
};

struct kill_child {
	const char *path; /* of the database */
	const char *durability;
	struct expected_state *state;
	uint64_t load_seed; /* which units are written when */
	enum kill_child_work work;
};

/*
 * Never returns: exit code 0 after a close; 1 after a
 * failure, whose message is in the state then.
 */
_Noreturn void kill_child_run(const struct kill_child *child);

#endif
