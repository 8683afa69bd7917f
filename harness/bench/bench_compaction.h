/*
 * bench_compaction.h: what the files of the kind `compaction` share: loads of simulated trees, and what they
 * say of a policy.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_COMPACTION_H
#define CASCADE_HARNESS_BENCH_BENCH_COMPACTION_H

#include "components/compaction/policy.h"

extern const struct policy_ops bench_compaction_plain;

/* The order in which keys come. */
enum compaction_load {
	COMPACTION_FILL,      /* each key once, in random order */
	COMPACTION_ASCENDING, /* each key once, in order */
	COMPACTION_UNIFORM,   /* a tree that was filled, and then as many puts again, twice, of any keys */
	COMPACTION_ZIPFIAN,   /* the same with keys of Zipf(0.99) */
};

struct compaction_job {
	enum compaction_load load;
	uint64_t memtables; /* of which all keys are as many as there are */
	size_t memtable_entries, table_entries;
	uint64_t entry_bytes; /* that an entry stands for */
	uint64_t gets;	      /* while it is measured, about */
	uint64_t seed;
};

/* Over the measured part: all of it, or the puts after the tree was filled. */
struct compaction_numbers {
	double write_amplification; /* entries that flushes and merges wrote, for each that was put */
	double read_amplification;  /* sorted runs that a get of a present key asks, on average */
	double runs_most;	    /* that lay in the tree at any time */
	double space_amplification; /* entries in tables for each key, on average */
	double space_most;	    /* at any time: while a merge runs, what it reads is still there */
	double largest_merge_bytes; /* that the largest merge read */
	double pick_ns;		    /* of one call of pick, on average, whether it picks or not */
};

/* Errors: CORRUPT: the policy's picks lose the newest version of a key, or cannot be merged. */
MUST_CHECK struct status compaction_simulate(const struct policy_ops *ops, const void *options,
					     const struct compaction_job *job,
					     struct compaction_numbers *numbers);

#endif
