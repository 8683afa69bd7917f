/*
 * machine.h: a simulated machine with a database on it: its disk, what goes wrong there, and the scheduler
 * that runs all its shards and clients on this thread. Several machines exist at the same time; only one at a
 * time runs, the one that was entered last.
 */
#ifndef CASCADE_SIM_MACHINE_H
#define CASCADE_SIM_MACHINE_H

#include "cascade.h"
#include "io/faulty.h"
#include "io/simulated.h"
#include "runtime/stepped.h"
#include "sim/plan.h"
#include "sim/tally.h"

/* The database makes the directory itself. */
#define MACHINE_PATH "/data/db"

struct machine {
	const struct plan *plan;
	struct tally *tally;
	struct simulated_world *disk;
	struct faulty *faults;
	struct stepped *stepped;
	cascade *db; /* NULL: not open */
	/* The rules of an episode. */
	unsigned rules[8];
	enum sim_fault rule_faults[8];
	unsigned rule_count;
	uint64_t start_ns;
	bool had_errors;  /* since it was opened: files that could not be unlinked stay until the next open */
	uint64_t no_room; /* writes that met a full disk, up to the last episode */
};

/* `disk` NULL: an empty one. A given one is the machine's from now on. The machine is entered. */
struct machine *machine_create(const struct plan *plan, struct tally *tally, struct simulated_world *disk,
			       uint64_t seed);

/* The database is closed. Returns the trace of all that happened there. */
uint64_t machine_destroy(struct machine *machine);

/* From now on this machine runs: clock, randomness, storage and order are its own. */
void machine_enter(struct machine *machine);

cascade_status machine_open(struct machine *machine);
/* The same again, some times, while it fails as with errors of syncs that were `late`. */
cascade_status machine_open_late(struct machine *machine, bool late);
/* The database is closed afterwards whatever the status; BUSY, with something still held, fails the run. */
cascade_status machine_close(struct machine *machine);

/* --- faults --- */

/* Begins what goes wrong beside what always does. */
void machine_fault(struct machine *machine, enum sim_fault fault, uint64_t seed);
/* No table can be written, for one reason or another; all else goes well. */
void machine_block_tables(struct machine *machine, uint64_t seed);
/* How often it has happened since it began; the full disk apart. */
uint64_t machine_fired(const struct machine *machine);
/* Ends it. Returns how often it has happened. */
uint64_t machine_heal(struct machine *machine);

/* Stats of the open database by name. */
uint64_t machine_stat(struct machine *machine, const char *name);
void machine_stats(struct machine *machine, const char *const *names, uint64_t *values, unsigned count);

#endif
