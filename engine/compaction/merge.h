/*
 * merge.h: many sorted inputs as one: a loser tree over 8-byte key heads (Knuth, TAOCP 3, 5.4.1).
 *
 * The inputs' heads are taken after the prefix that all inputs share at the moment, so comparing two inputs
 * costs one integer comparison unless 8 bytes are equal. Entries come out in entry order with all versions;
 * no two inputs hold the same key and sequence.
 */
#ifndef CASCADE_COMPACTION_MERGE_H
#define CASCADE_COMPACTION_MERGE_H

#include <stddef.h>

#include "base/status.h"
#include "table/iterator.h"

/* Takes over the inputs (also on failure, where it destroys them); the array stays the caller's. */
MUST_CHECK struct status merge_iterator_create(struct iterator *const *inputs, size_t count,
					       struct iterator **merged);

#endif
