/*
 * manifest_state.h: the sum of edits in memory. Pure data structures; nothing here suspends.
 */
#ifndef CASCADE_MANIFEST_MANIFEST_STATE_H
#define CASCADE_MANIFEST_MANIFEST_STATE_H

#include "manifest/manifest.h"

/* A state with an edit added to it, not yet adopted. */
struct manifest_change {
	struct manifest_state next; /* shares the keys of the tables that stay */
	size_t kept;		    /* next.tables[kept ..] are new, with keys of their own */
	uint64_t *removed;	    /* their numbers, ascending */
	size_t removed_count;
};

/*
 * Works out what the edit makes of the state; changes neither. STATUS_INVALID (with the reason): it removes
 * what is not there, adds what is there already, or goes back; STATUS_NO_MEMORY.
 */
MUST_CHECK struct status manifest_change_prepare(const struct manifest_state *state,
						 const struct manifest_edit *edit,
						 struct manifest_change *change);
/* Makes it the state; frees what is gone. */
void manifest_change_adopt(struct manifest_change *change, struct manifest_state *state);
/* Forgets it. */
void manifest_change_drop(struct manifest_change *change);

void manifest_state_free(struct manifest_state *state);

/* The one edit that makes this state out of an empty one; borrows from it. */
struct manifest_edit manifest_state_edit(const struct manifest_state *state);

bool manifest_state_equal(const struct manifest_state *a, const struct manifest_state *b);

#endif
