/*
 * life.h: what comes after a recovery: the database is used for a little while, crashes, recovers, is used
 * again. Nothing that one recovery left undone has the time to be covered up by flushes before the next one
 * stumbles over it.
 */
#ifndef CASCADE_SIM_LIFE_H
#define CASCADE_SIM_LIFE_H

#include "sim/machine.h"
#include "sim/model.h"

/*
 * `machine`, which is entered and open, holds the state `found`, whole and durable; `model` says which keys
 * there are and is left as it was. Returns the machine of the last life, entered and open; the others are
 * gone. `number` is the image's, for messages; `trace` is mixed into.
 */
struct machine *lives_run(struct machine *machine, const struct model *model, const uint32_t *found,
			  uint64_t seed, uint64_t number, uint64_t *trace);

#endif
