/*
 * caller.h: callers of the database, several at the same time. Each draws its operations from a stream of its
 * own, tells the model of every write, and checks what it reads. Some make their calls as threads do, some
 * inside a task of the database's.
 */
#ifndef CASCADE_SIM_CALLER_H
#define CASCADE_SIM_CALLER_H

#include "base/random.h"
#include "sim/machine.h"
#include "sim/model.h"

/* What may be heard besides success while something goes wrong. */
struct allowed {
	uint32_t reads;	 /* bits of cascade_status */
	uint32_t writes; /* ... of writes, flushes and what else changes something */
};

static inline bool is_allowed(uint32_t statuses, cascade_status status)
{
	return (statuses >> (unsigned)status & 1) != 0;
}

enum { CLIENT_SNAPSHOTS = 3, CLIENT_FOUND_BYTES = MODEL_KEYS_MAX * 4 };

struct client_snapshot {
	cascade_snapshot *handle; /* NULL: none */
	uint64_t began, ended;	  /* of its creation, as the model counts */
	/* By key: what was read of it; whatever happens, it stays so. MODEL_UNKNOWN: nothing yet. */
	uint32_t seen[MODEL_KEYS_MAX];
};

struct client {
	struct machine *machine;
	struct model *model;
	struct tally *tally;
	struct allowed allowed;
	uint32_t index;
	uint32_t operations; /* to do */
	uint32_t shard;	     /* where its task runs */
	bool is_task;
	struct random random;
	uint64_t saw;	  /* a hash of all statuses and values */
	uint32_t refused; /* writes that somebody may try again */
	struct client_snapshot snapshots[CLIENT_SNAPSHOTS];
	uint32_t keys[MODEL_KEYS_MAX]; /* its own */
	uint32_t key_count;
	uint32_t found[MODEL_KEYS_MAX];
	uint8_t value[1 << 15];
};

/* Draws and keeps what the client is; the database is open. */
void client_init(struct client *client, uint32_t index, struct machine *machine, struct model *model,
		 uint64_t seed);

/* What stepped_run_clients calls: does all its operations. */
void client_run(void *client);

/* --- what checks use as well --- */

/* Reads everything by one iterator: values by key into `found`, MODEL_UNKNOWN beyond an error. */
cascade_status client_scan(struct machine *machine, const struct model *model,
			   const cascade_snapshot *snapshot, uint32_t *found);

/* Reads one key; MODEL_UNKNOWN with a status other than OK and NOT_FOUND. */
cascade_status client_get(struct machine *machine, const struct model *model, uint32_t key,
			  const cascade_snapshot *snapshot, uint32_t *found);

/* Writes a value of one key, and tells the model. */
cascade_status client_put(struct machine *machine, struct model *model, uint32_t key,
			  cascade_durability level);

#endif
