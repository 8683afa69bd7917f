/*
 * kill_child.h: the process that is killed: it opens the database, holds what it finds against the expected
 * state, and writes until it is stopped or killed. Only the public header of the engine is used.
 */
#ifndef CASCADE_TESTS_KILL_CHILD_H
#define CASCADE_TESTS_KILL_CHILD_H

#include <stdint.h>

#include "expected_state.h"

struct kill_child {
	const char *path; /* of the database */
	const char *durability;
	struct expected_state *state;
	uint64_t load_seed; /* which units are written when */
	bool load;	    /* false: only checked, then closed */
	bool was_closed;    /* the last process closed it: nothing may be replayed, no file be left over */
};

/*
 * Never returns: exit code 0 after a close that state->stop asked for, or after the check alone; 1 after a
 * failure, whose message is in the state then.
 */
_Noreturn void kill_child_run(const struct kill_child *child);

#endif
