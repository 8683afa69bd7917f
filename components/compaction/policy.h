/*
 * policy.h: the contract of compaction policies: given the shape of the tree, which tables to merge next.
 * A policy only picks; the engine merges. All arithmetic is in integers.
 */
#ifndef CASCADE_COMPONENTS_COMPACTION_POLICY_H
#define CASCADE_COMPONENTS_COMPACTION_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "components/component.h"

enum { LEVELS_MAX = 8, PICK_TABLES_MAX = 512 };

/* What a policy may know of a table. */
struct policy_table {
	uint64_t number;
	uint64_t bytes;
	uint64_t entries;
	uint64_t deletes;      /* entries that are ENTRY_DELETE */
	struct slice smallest; /* inclusive, borrowed */
	struct slice largest;  /* inclusive, borrowed */
	bool busy;	       /* part of a merge under way */
};

/* Level 0: newest first, ranges may overlap. Others: by key, disjoint (tiered policies may not be). */
struct policy_level {
	const struct policy_table *tables;
	size_t count;
};

struct policy_view {
	struct policy_level levels[LEVELS_MAX];
	uint64_t memtable_bytes; /* size of one flushed memtable */
	uint64_t table_bytes;	 /* size at which a merge starts a new output table */
};

struct policy_pick {
	unsigned input_level;
	unsigned output_level; /* where the merged tables go; all of the pick's tables leave */
	bool move_only;	       /* one table without overlap below: change its level, rewrite nothing */
	size_t count;	       /* of inputs */
	struct {
		unsigned level;
		size_t index; /* in view->levels[level].tables */
	} inputs[PICK_TABLES_MAX];
	/* Outputs are cut so that each overlaps at most this much of output_level + 1; 0: no limit. */
	uint64_t overlap_bytes_max;
};

struct policy_ops {
	struct component component;

	/*
	 * The most urgent merge that touches no busy table; false: nothing needs merging. `cursor` is one
	 * word for each level that the policy may use to go round the key space; the engine keeps it.
	 */
	bool (*pick)(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
		     struct policy_pick *pick);

	/*
	 * Merge debt: bytes that must still be merged until the tree has the shape that the policy wants;
	 * pacing slows writers in proportion.
	 */
	uint64_t (*debt)(const void *options, const struct policy_view *view);

	/* Number of level-0 tables at which writers must wait, and from which they are slowed. */
	void (*level0_limits)(const void *options, uint32_t *slow, uint32_t *stop);
};

#endif
