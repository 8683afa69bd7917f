/*
 * plain.h: straightforward memtables, as textbooks and papers have them, written against the same contract as
 * the engine's (components/memtable/memtable.h) and sharing no code with them. They are what `cascade bench
 * memtable` holds the engine's variants against, and a second implementation for the conformance suite.
 *
 * All keep every version (none drops by oldest_needed), and none has get_many. They are built into one
 * module, libplain.so, and loaded through the same door as anybody's variants.
 */
#ifndef CASCADE_TESTS_PLAIN_PLAIN_H
#define CASCADE_TESTS_PLAIN_PLAIN_H

#include "components/memtable/memtable.h"

extern const struct memtable_ops plain_skiplist;
extern const struct memtable_ops plain_btree;
extern const struct memtable_ops plain_art;
extern const struct memtable_ops plain_sorted_hash;

#endif
