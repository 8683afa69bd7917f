/*
 * race.h: several callers at the same few keys, in an order that a seed chooses, and whether what they saw
 * can have been: each key's history is linearizable (history.h), and what is read of a snapshot is one state.
 *
 * Behind the keys lies more data than the caches hold, so that reads miss and wait while others write, flush
 * and merge; a part of the cache is for single records. Some callers are threads, some tasks of the
 * database's.
 *
 * A read of a snapshot counts as made between the call that created it and its own return. For "what was
 * acknowledged before is in it" is about that call, while a write that was under way then may be in the
 * snapshot and be seen by others later. "What starts later is not in it" is asked apart, and that a key's
 * value in a snapshot stays the same.
 */
#ifndef CASCADE_SIM_RACE_H
#define CASCADE_SIM_RACE_H

#include <stdint.h>
#include <stdio.h>

#include "runtime/stepped.h"

enum { RACE_KEYS_MAX = 12, RACE_CALLERS_MAX = 8 };

/* Counts only, so that they can be added. */
struct race_counts {
	uint64_t schedules;
	uint64_t by_policy[STEPPED_POLICY_COUNT];
	uint64_t operations; /* in histories */
	uint64_t reads, writes, deletes, batches;
	uint64_t snapshot_reads, scanned;
	uint64_t states;      /* of snapshots and scans, looked at as a whole */
	uint64_t overlapping; /* operations that began while another one on the same key was under way */
	uint64_t record_hits, record_inserts, record_removals, record_evictions;
	uint64_t misses, joined; /* of pages; of those, waits for a load of somebody else's */
	uint64_t flushes, merges, borrowed;
};

void race_counts_add(struct race_counts *to, const struct race_counts *from);
void race_counts_print(const struct race_counts *counts, FILE *to);

struct race_limits {
	uint32_t operations; /* of each caller */
};

struct race;

/* Makes the database that all schedules begin with. */
struct race *race_create(struct race_counts *counts);
void race_destroy(struct race *race);

/* One schedule; what is wrong ends the process (failure.h). Returns a hash of all that happened. */
uint64_t race_run(struct race *race, uint64_t seed, const struct race_limits *limits);

#endif
