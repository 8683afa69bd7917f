/*
 * small_scope.h: short strings of operations, and what every crash inside the last one leaves.
 *
 * Most crash bugs of storage show with three operations or fewer (Mohan, Martinez, Ponnapalli, Raju,
 * Chidambaram, "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018). So all of
 * the short ones are tried, each from a *start*: one client on a simulated machine does them one by one. At
 * each I/O event of the last one that changes what is on the disk or in the cache above it (the earlier ones
 * were the last of another string), and once more when it has returned, the process may be killed or power
 * be lost. Of what such a crash can leave behind, every combination is an image where there are few, and
 * some are where there are many. Each image is recovered: it must hold what was promised, and then nothing
 * or the whole of what was under way, and must be whole in itself (check.h). Power may be lost right after
 * the recovery, and some are written to and crash again.
 *
 * Operations are letters:
 *	P  put of a small value		L  put of one that takes several units of the log, pages of a table
 *	D  delete			B  batch of two puts and a delete
 *	F  flush			W  wait until no flush or merge is under way
 *	R  close and open		K  a crash that tears a large put, and the recovery
 */
#ifndef CASCADE_SIM_SMALL_SCOPE_H
#define CASCADE_SIM_SMALL_SCOPE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cascade.h"
#include "io/simulated.h"

#define SCOPE_LETTERS "PLDBFWRK"

enum {
	SCOPE_LETTER_COUNT = 8,
	SCOPE_LENGTH_MAX = 8,
	SCOPE_SETTING_COUNT = 5,
	SCOPE_WHERE_BYTES = 96,
};

/* Where strings start, and what writes ask for. */
struct scope_setting {
	const char *name;
	cascade_durability level;
	bool mixed; /* every other write asks for `power` */
	/* Tables of flushes and merges, and a log that has come round; the segment in use is nearly full.
	 * Else: nothing at all, and the database is created. */
	bool worn;
	enum simulated_crash_kind crash; /* what K does */
};

extern const struct scope_setting scope_settings[SCOPE_SETTING_COUNT];

/* NULL: there is none of that name. */
const struct scope_setting *scope_find_setting(const char *name);

/* Counts only, so that they can be added. */
struct scope_counts {
	uint64_t strings;
	uint64_t operations;
	uint64_t boundaries;
	uint64_t enumerated; /* crashes at boundaries, by kind, of which all images were taken */
	uint64_t sampled;    /* ... and of which some were */
	uint64_t images_process, images_power;
	uint64_t duplicates; /* of these, whose disk had been recovered before, from the same start */
	uint64_t recovered;
	uint64_t again;	     /* recoveries after a loss of power right after a recovery */
	uint64_t used;	     /* ... after a crash right after a write to a recovered database */
	uint64_t exact;	     /* images that hold what was acknowledged, and nothing else */
	uint64_t more;	     /* ... and also what was under way */
	uint64_t less;	     /* ... or less, as far as that is allowed */
	uint64_t torn_tails; /* recoveries that cut one off */
	uint64_t flushes, merges, laps;
};

void scope_counts_add(struct scope_counts *to, const struct scope_counts *from);
void scope_counts_print(const struct scope_counts *counts, FILE *to);

struct scope_limits {
	uint32_t boundary; /* of the last operation; 0: all */
	uint32_t image;	   /* of the boundary; 0: all */
};

struct scope;

/* Makes the start. `counts` is added to; `where`, of SCOPE_WHERE_BYTES, says what is being checked at any
 * time, as scope_run takes it: SETTING/STRING/BOUNDARY/IMAGE. */
struct scope *scope_create(const struct scope_setting *setting, uint64_t seed, struct scope_counts *counts,
			   char *where);
void scope_destroy(struct scope *scope);

/* One string; "" is what comes before the first operation: the creation or the open. What is wrong ends the
 * process (failure.h). Returns a hash of what happened on the machine: taking images changes nothing there.
 */
uint64_t scope_run(struct scope *scope, const char *string, const struct scope_limits *limits);

#endif
