/*
 * plan.h: what a seed stands for: the database's configuration, the storage it stands on, who does how much,
 * and what goes wrong. Each seed has only some of the faults and variants switched on (swarm testing: what is
 * always on hides what needs its absence). Every number is drawn for itself, so that taking something away,
 * as the shrinker does, leaves the rest as it was.
 */
#ifndef CASCADE_SIM_PLAN_H
#define CASCADE_SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cascade.h"
#include "runtime/stepped.h"

/* What can go wrong. The first ones are on all the time; of the others a round has one, or none. */
enum sim_fault {
	/* Nothing that anybody should notice. */
	SIM_SHORT,
	SIM_AGAIN,
	SIM_INTERRUPTED,
	SIM_STALL,
	SIM_QUIET_COUNT,
	/* Errors: reported, and nothing but the request is lost. */
	SIM_READ_ERROR = SIM_QUIET_COUNT,
	SIM_WRITE_ERROR,
	SIM_WRITE_ERROR_DONE, /* the bytes are there all the same */
	SIM_CANCELED,
	SIM_NAME_ERROR, /* open, rename, unlink, sync of a directory */
	SIM_ALLOCATE_ERROR,
	SIM_FULL_DISK,
	SIM_FULL_WRITES, /* ENOSPC for single writes and allocations */
	/* Syncs that fail, as kernels do it. */
	SIM_SYNC_CLEAN_NEW,
	SIM_SYNC_CLEAN_OLD,
	SIM_SYNC_LATE,
	SIM_SYNC_PARTLY,
	SIM_SYNC_KEPT,
	/* Wrong bytes, of tables: found, never believed. */
	SIM_FLIP,
	SIM_ZERO,
	SIM_MISDIRECT,
	SIM_LOSE,
	SIM_FAULT_COUNT
};

const char *sim_fault_name(enum sim_fault fault);
/* SIM_FAULT_COUNT: no such name. */
enum sim_fault sim_fault_find(const char *name);

/* What single writes ask for in place of the database's level. */
enum plan_mix {
	PLAN_MIX_SOME, /* every third write another level */
	PLAN_MIX_HALF, /* `power` and `process` in turn: syncs of one with writes of the other behind them */
	PLAN_MIX_NONE,
	PLAN_MIX_COUNT
};

/* What is taken away from a seed's plan; all zero: nothing. */
struct plan_limits {
	uint32_t operations; /* at most; 0: as drawn */
	uint32_t clients;
	uint32_t rounds;
	uint32_t images_only; /* this image alone is checked, counted from 1; 0: all */
	uint32_t images;      /* of a round; 0: as drawn */
	uint32_t without;     /* bits of enum sim_fault that are switched off */
	bool no_images;
};

struct plan {
	uint64_t seed;
	struct plan_limits limits;
	uint32_t faults; /* bits of enum sim_fault that may happen */

	uint32_t operations; /* of all rounds and clients together */
	uint32_t rounds;
	uint32_t clients;
	uint32_t keys;
	uint32_t value_bytes_max;
	uint32_t images;	     /* of a round, at any moment */
	uint32_t images_of_names;    /* ... and while names change */
	uint32_t images_after_fault; /* ... and shortly after something went wrong */
	bool image_at_end;	     /* ... and when all is said, with nothing that is not durable */
	uint32_t lives;		     /* so many short ones at most follow an image, each ended by a crash */
	uint32_t damaged;	     /* so many copies of a closed database's disk get one bad sector each */
	bool unflushed;		     /* some closes find that no table can be written */
	uint32_t pause;		     /* one operation in so many is a wait */

	uint32_t shards;
	const char *memtable, *filter, *cache, *codec, *wal;
	const char *durability;
	cascade_durability level; /* the same */
	enum plan_mix mix;
	uint32_t memtable_bytes;  /* of a shard */
	uint32_t cache_bytes;	  /* of a shard */
	const char *record_share; /* of the cache */
	uint32_t segment_bytes, table_bytes, block_bytes;
	uint32_t level0_tables, size_ratio, merges;
	bool direct;

	uint32_t unit_bytes;
	bool ordered;
	enum stepped_policy policy;
	uint32_t borrows_in_256; /* how often a caller gets the shard that it asks for */
	uint64_t write_timeout_ns;
};

void plan_draw(struct plan *plan, uint64_t seed, const struct plan_limits *limits);

/* In one paragraph, for people. */
void plan_print(const struct plan *plan, FILE *to);

/* Options for cascade_open; the caller's. */
cascade_options *plan_options(const struct plan *plan);

#endif
