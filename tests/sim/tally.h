/*
 * tally.h: what has happened in all seeds of a campaign: numbers only, so that a child process can leave them
 * in shared memory and a file can carry them from one stretch to the next.
 */
#ifndef CASCADE_SIM_TALLY_H
#define CASCADE_SIM_TALLY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "io/simulated.h"
#include "sim/plan.h"

/* Events that the campaign is for: one that never happens is not tested. */
enum tally_event {
	TALLY_FLUSHES,
	TALLY_MERGES,
	TALLY_MOVES,
	TALLY_LAPS,	      /* segments of the log put to use again */
	TALLY_REPLAYED,	      /* commits */
	TALLY_TRIMMED,	      /* recoveries that cut a torn tail */
	TALLY_CREATIONS,      /* images of a database that was still being made */
	TALLY_RECOVERY_FAULT, /* recoveries that failed by an injected error, and then did not */
	TALLY_SHARD_FAILED,   /* shards that refused writes after an error until they were opened again */
	TALLY_FULL,	      /* writes refused for want of space */
	TALLY_CORRUPT,	      /* reads that reported damage */
	TALLY_READ_ERRORS,    /* reads that reported an error of the device */
	TALLY_UNACKNOWLEDGED, /* images that hold a write that nobody had been told of */
	TALLY_LOST,	      /* ... that lack one which had been acknowledged, without that promise */
	TALLY_SNAPSHOTS,
	TALLY_SCANS,
	TALLY_BATCHES,
	TALLY_ADOPTED,	   /* images that the run went on with */
	TALLY_RECORD_HITS, /* gets that the cache of single records answered */
	TALLY_AFTER_FAULT, /* images of the moments after an error */
	TALLY_LIVES,	   /* short ones after a recovery, ended by a crash */
	TALLY_UNFLUSHED,   /* closes that could write no table */
	TALLY_DAMAGED,	   /* disks with one bad sector, opened */
	TALLY_DAMAGE_TOLD, /* ... of which the open, or a read, said so */
	TALLY_EVENT_COUNT
};

const char *tally_event_name(enum tally_event event);

struct tally {
	uint64_t seeds;
	uint64_t operations;
	uint64_t virtual_ns;
	uint64_t events_of_io;
	uint64_t images_power, images_process;
	uint64_t images_again; /* crashed inside their recovery and recovered once more */
	uint64_t images_after; /* power lost right after a recovery */
	uint64_t images_used;  /* written to, closed and opened again */
	uint64_t real_ns;
	uint64_t events[TALLY_EVENT_COUNT];
	uint64_t faults[SIM_FAULT_COUNT];
	uint64_t disk[SIMULATED_CLASS_COUNT];
};

void tally_add(struct tally *to, const struct tally *from);
void tally_print(const struct tally *tally, FILE *to);

/* Names what never happened, one line each; returns how many. */
unsigned tally_missing(const struct tally *tally, FILE *to);

/* False: no such file (tally untouched), or it cannot be written. A file of another form ends the process. */
bool tally_load(struct tally *tally, const char *path);
bool tally_save(const struct tally *tally, const char *path);

#endif
