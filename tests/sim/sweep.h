/*
 * sweep.h: one thing goes wrong, once or from then on, wherever it can: a fixed history of a small database
 * on a simulated machine is run again and again, and the n-th request of a kind, or the n-th allocation,
 * fails, for n = 1, 2, 3 ... until nothing fails any more (the loop of SQLite's tests). After each run: only
 * what the fault explains was heard, what was acknowledged can be read, writes go on where they may, a crash
 * at that moment loses nothing that was promised, and the database opens, whole, when nothing is wrong.
 */
#ifndef CASCADE_SIM_SWEEP_H
#define CASCADE_SIM_SWEEP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "io/faulty.h"

/* --- what goes wrong --- */

enum sweep_trait {
	SWEEP_STOPS = 1,    /* a shard may take no more writes until it is opened again */
	SWEEP_LATE = 2,	    /* reported later than it happens: a sync has lied, and a later one says so */
	SWEEP_DROPS = 4,    /* contents that were not synced are gone from the cache */
	SWEEP_DAMAGES = 8,  /* wrong bytes, for good */
	SWEEP_LINGERS = 16, /* wrong bytes, in the database's cache until it is opened again */
	SWEEP_MAY_MISS = 32 /* there may be nothing to do at its n-th request */
};

struct sweep_fault {
	const char *name;
	struct faulty_rule rule; /* `nth` and `times` are the loop's */
	bool of_memory;		 /* allocations fail, and no requests */
	/* Bits of cascade_status that may be heard beside success. */
	uint32_t reads;
	uint32_t changes; /* by writes, upkeep, open and close */
	unsigned traits;
};

/* All there are; the last one has no name. */
extern const struct sweep_fault sweep_faults[];
unsigned sweep_fault_count(void);

/* --- when --- */

enum sweep_history {
	SWEEP_CREATE_POWER,   /* from the creation to the close; one shard, durability `power` */
	SWEEP_CREATE_PROCESS, /* two shards, durability `process` */
	SWEEP_RECOVER_POWER,  /* from the open after a kill over work, close and open to the close */
	SWEEP_RECOVER_PROCESS,
	SWEEP_HISTORY_COUNT
};

const char *sweep_history_name(enum sweep_history history);

struct sweep_case {
	enum sweep_history history;
	const struct sweep_fault *fault;
	uint64_t n; /* from 1; UINT64_MAX: it never comes to that */
	bool lasting;
};

struct sweep_outcome {
	uint64_t met; /* requests, or allocations, of the fault's kind while it was there */
	uint64_t fired;
	uint32_t heard;	  /* bits of cascade_status */
	uint32_t stopped; /* shards that took no more writes until they were opened again */
	uint32_t torn;	  /* 1: one of them took no reads either */
	uint64_t flushes, merges, laps, replayed;
	uint64_t trace;
};

/* Runs one case. What is wrong ends the process (sim/failure.h). */
void sweep_run_case(const struct sweep_case *it, struct sweep_outcome *outcome);

/* How many requests of each fault's kind, or allocations, the history makes when nothing goes wrong. */
void sweep_count(enum sweep_history history, uint64_t *counts);

/* --- the loop --- */

struct sweep {
	const char *program; /* for the command that reproduces */
	uint64_t seed;	     /* of where samples begin */
	uint32_t one_in;     /* every such n; 1: all */
	uint32_t one_in_lasting;
	uint32_t least;	    /* so many places of each fault in each history, if there are as many; 0: 1 */
	unsigned histories; /* bits of enum sweep_history; 0: all */
};

/* Runs the cases in child processes, prints what happened, and returns how many failed. */
unsigned sweep_run(const struct sweep *sweep);

/* `arguments`: HISTORY [FAULT N [lasting]]. Runs that case in this process, or every case of the history; the
 * program's exit status. */
int sweep_reproduce(const char *program, int count, char **arguments);

#endif
