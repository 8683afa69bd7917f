/*
 * model.h: what a database may hold: every write that was begun, when it was begun and when its caller heard
 * how it had ended, and the question whether something found is explained by them.
 *
 * Each key belongs to one client, and each client has one write under way at a time. So the order of the
 * commits on one key is known, and of all commits of a client on a shard (a *stream*). Between streams it is
 * known where one write had ended before another began. A state that is found must be: for each stream the
 * effect of its first so many writes, such that no write is missing that had ended before one began that is
 * there. That is a prefix of the shard's order of commits, as far as anybody outside can tell.
 *
 * A value is identified by a number that is drawn once in a run and never again, and its bytes follow from
 * the number: a value found says by itself what it is.
 *
 * Writes are counted from the last *base*: a state that was found whole and durable.
 */
#ifndef CASCADE_SIM_MODEL_H
#define CASCADE_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cascade.h"

enum {
	MODEL_KEY_BYTES_MAX = 320,
	MODEL_KEYS_MAX = 512,
	MODEL_CLIENTS_MAX = 8,
	MODEL_SHARDS_MAX = 4,
	MODEL_VALUE_BYTES_MIN = 8,
	/* Instead of the number of a value. */
	MODEL_ABSENT = 0,
	MODEL_UNKNOWN = UINT32_MAX, /* could not be read: explained by anything */
};

enum model_outcome {
	MODEL_PENDING,
	MODEL_DONE,	 /* acknowledged */
	MODEL_REFUSED,	 /* it has not happened and never will */
	MODEL_UNCERTAIN, /* not visible, but a recovery may find it */
};

struct model_key {
	uint8_t bytes[MODEL_KEY_BYTES_MAX];
	uint32_t size;
	uint32_t client;
	uint32_t shard;
	uint32_t base;	  /* its value then */
	uint32_t last_op; /* since; index + 1, 0: none */
};

/* One key of a write. */
struct model_op {
	uint32_t key;
	uint32_t value;	   /* MODEL_ABSENT: a delete */
	uint32_t previous; /* on the same key, index + 1; 0: none */
	uint32_t write;
};

struct model_write {
	uint32_t client, shard;
	cascade_durability level; /* never DEFAULT */
	enum model_outcome outcome;
	uint32_t first_op, op_count;
	/* Readings of model.now. */
	uint64_t issued;
	uint64_t settled; /* 0: pending */
	uint64_t flushed; /* when a flush that covers it had ended; 0: never */
};

struct model {
	uint64_t seed;
	unsigned clients, shards;
	uint32_t value_bytes_max;
	struct model_key keys[MODEL_KEYS_MAX]; /* in order of their bytes */
	uint32_t key_count;
	struct model_op *ops;
	size_t op_count, op_capacity;
	struct model_write *writes;
	size_t write_count, write_capacity;
	uint32_t next_value;
	uint64_t now; /* counts what is told to the model */
	/* From then on syncs may have lied: acknowledgements of the level `power` promise nothing. 0: not. */
	uint64_t lied;
	bool dropped; /* a failed sync took contents out of the cache: only `power` promises anything */
	bool broken;  /* contents were damaged: anything may be unreadable, and nothing wrong */
};

/* `key_count` keys of all kinds, each its client's. The shards come when there is a database. */
void model_init(struct model *model, uint64_t seed, unsigned clients, uint32_t key_count,
		uint32_t value_bytes_max);
void model_free(struct model *model);
/* Another one of the same keys, on `found` as its base, to be freed as well and with free. */
struct model *model_fork(const struct model *model, const uint32_t *found);
void model_assign_shards(struct model *model, const cascade *db);

/* --- values --- */

uint32_t model_draw_value(struct model *model);
/* Writes the value's bytes, at most value_bytes_max; returns their number. */
size_t model_fill_value(const struct model *model, uint32_t key, uint32_t value, uint8_t *to);
/* Which value these bytes are; fails the run if they are none of this key. */
uint32_t model_identify(const struct model *model, uint32_t key, const void *bytes, size_t size);
/* The key of these bytes; fails the run if there is none. */
uint32_t model_find_key(const struct model *model, const void *bytes, size_t size);

/* --- writes --- */

/* A write begins. Its operations are added before anything else is told. Returns its number. */
uint32_t model_issue(struct model *model, uint32_t client, uint32_t shard, cascade_durability level);
void model_add_op(struct model *model, uint32_t write, uint32_t key, uint32_t value);
/* Its caller has heard the status. */
void model_settle(struct model *model, uint32_t write, cascade_status status);

/* A moment, to be given to the questions below. */
static inline uint64_t model_moment(struct model *model)
{
	return ++model->now;
}

/* A flush that began at that moment has ended well. */
void model_flushed(struct model *model, uint64_t began);

/* --- questions --- */

/* A read of the newest state, or of a snapshot, taken between two moments: fails the run if the value found
 * cannot be. MODEL_UNKNOWN always can. */
void model_check_read(const struct model *model, uint32_t key, uint32_t found, uint64_t began,
		      uint64_t ended);

enum model_promise {
	MODEL_ACKNOWLEDGED, /* to readers of the same run */
	MODEL_PROCESS,	    /* to whoever opens it after a kill */
	MODEL_POWER,	    /* ... after a loss of power */
	MODEL_NOTHING,
};

struct model_question {
	const uint32_t *found; /* by key */
	enum model_promise promise;
	uint64_t promised_until; /* what had been acknowledged at this moment must be there as promised */
	uint64_t issued_until;	 /* what began later cannot be there */
	bool one_moment;	 /* of all shards together: a snapshot */
};

/* Fails the run if there is no explanation. */
void model_check_state(const struct model *model, const struct model_question *question);

/* The state found becomes the base; writes so far are forgotten. */
void model_rebase(struct model *model, const uint32_t *found);

#endif
