/*
 * bench_compaction_tree.h: a tree without files, for compaction policies alone. A flush is a list of keys; a
 * pick is merged at once, and as well as any merge can: of each key the newest version stays. What that costs
 * a device is counted in entries, so a tree of terabytes takes seconds and some megabytes.
 *
 * A key is a number. Tables show the policy eight bytes of it (big-endian), and the bytes that their entries
 * stand for.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_COMPACTION_TREE_H
#define CASCADE_HARNESS_BENCH_BENCH_COMPACTION_TREE_H

#include "components/compaction/policy.h"

struct simulated_entry {
	uint32_t key;
	uint32_t sequence; /* larger is newer */
};

struct simulated_table;

struct simulated_level {
	struct simulated_table **tables; /* level 0: newest first; others: by smallest key */
	size_t count, capacity;
	bool disjoint; /* each table ends before the next begins */
};

/* What has happened since simulated_tree_start_counting. */
struct simulated_counts {
	uint64_t put;	    /* entries that were written by the user */
	uint64_t flushed;   /* entries of tables that came to level 0 */
	uint64_t merged;    /* entries that merges wrote */
	uint64_t largest;   /* entries that the largest merge read */
	uint64_t held_most; /* entries in all tables at any time: a merge keeps what it reads to its end */
	uint64_t picks;	    /* calls of the policy's pick */
	uint64_t pick_ns;   /* in all of them */
	uint64_t runs_most; /* sorted runs in the tree at any time that a read might have met */
};

struct simulated_tree {
	const struct policy_ops *ops;
	const void *options;
	uint64_t entry_bytes;
	size_t table_entries; /* at which an output is cut */
	struct simulated_level levels[LEVELS_MAX];
	struct policy_table *shown;
	size_t shown_capacity;
	struct policy_view view;
	uint64_t cursor[LEVELS_MAX];
	uint64_t next_number;
	uint64_t entries; /* in all tables */
	struct simulated_entry *merge_from, *merge_to;
	size_t merge_capacity;
	struct simulated_counts counts;
};

/* An empty tree. `options` are borrowed for as long as it lives. */
void simulated_tree_init(struct simulated_tree *tree, const struct policy_ops *ops, const void *options,
			 uint64_t entry_bytes, size_t memtable_entries, size_t table_entries);
void simulated_tree_free(struct simulated_tree *tree);

void simulated_tree_start_counting(struct simulated_tree *tree);

/* Makes a table of level 0 from entries that are sorted by key, each key once; count > 0. `put`: how many
 * the user wrote to get them. */
void simulated_tree_flush(struct simulated_tree *tree, const struct simulated_entry *entries, size_t count,
			  size_t put);

/* Merges whatever the policy picks until it picks nothing. Errors: CORRUPT: a pick that no tree allows, or
 * no end of them. */
MUST_CHECK struct status simulated_tree_settle(struct simulated_tree *tree);

/*
 * Looks for a key as a get does: level 0 from the newest on, then level by level, until it is found. *met is
 * how many sorted runs had to be asked, that is, had the key within their range; *sequence that of what was
 * found, 0: nothing.
 */
void simulated_tree_get(const struct simulated_tree *tree, uint32_t key, unsigned *met, uint32_t *sequence);

#endif
