/*
 * expected_state.h: what a database must hold after its process was killed: a file of versions that several
 * processes map and that outlives all of them.
 *
 * The unit of writing is a key alone, or the keys of one batch. Units are written in versions 1, 2, 3, ...,
 * by one writer at a time, and what a version puts under each key (or that it deletes it) is a pure function
 * of (seed, unit, slot, version): a value found says by itself what it is. Version 0: never written.
 *
 * A writer stores `issued` before it writes and `settled` when the write is acknowledged, so whoever looks
 * after a crash may find the settled version, or one issued later by the writer that was killed. What it
 * finds is settled then: an issued version that was not there must not come to life at a later recovery. All
 * is kept by plain atomic stores to a shared mapping, which a SIGKILL does not take back.
 */
#ifndef CASCADE_TESTS_EXPECTED_STATE_H
#define CASCADE_TESTS_EXPECTED_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	EXPECTED_SINGLES = 1200, /* units of one key */
	EXPECTED_BATCHES = 48,	 /* units of EXPECTED_BATCH_KEYS keys, all of one shard */
	EXPECTED_BATCH_KEYS = 6,
	EXPECTED_UNITS = EXPECTED_SINGLES + EXPECTED_BATCHES,
	EXPECTED_KEYS = EXPECTED_SINGLES + EXPECTED_BATCHES * EXPECTED_BATCH_KEYS,
	EXPECTED_KEY_BYTES_MAX = 2048,
	EXPECTED_VALUE_BYTES_MAX = 20 << 10,
	EXPECTED_FAILURE_BYTES = 1024
};

enum expected_phase {
	EXPECTED_OPENING, /* replay and what else open does */
	EXPECTED_CHECKING,
	EXPECTED_LOADING,
	EXPECTED_CLOSED
};

struct expected_unit {
	_Atomic uint32_t issued;
	/* The version that is certain in the high half; in the low half the newest one that is known to be
	 * no candidate beside it. One word, so that a kill cannot tear it. */
	_Atomic uint64_t settled;
};

struct expected_state {
	uint64_t seed;
	/* Of the process that has the database open. */
	_Atomic uint32_t phase;
	_Atomic uint32_t stop; /* asks it to close */
	/* Sums over all processes so far. */
	_Atomic uint64_t acknowledged;
	_Atomic uint64_t flushes, merges, laps;
	_Atomic uint64_t opens, checked, replayed_commits;
	/* Units whose newest version nobody had acknowledged: whether a crash had left it or not. */
	_Atomic uint64_t unacknowledged_found, unacknowledged_absent;
	/* The first failure, for whoever waits. */
	_Atomic uint32_t failed;
	char failure[EXPECTED_FAILURE_BYTES];
	struct expected_unit units[EXPECTED_UNITS];
};

/* Maps the file, making it if it is not there. NULL with errno. */
struct expected_state *expected_state_map(const char *path);
void expected_state_unmap(struct expected_state *state);

/* --- units --- */

static inline uint32_t expected_slots(uint32_t unit)
{
	return unit < EXPECTED_SINGLES ? 1 : EXPECTED_BATCH_KEYS;
}

/* The number of a key: units in order, their slots in order. */
static inline uint32_t expected_key_index(uint32_t unit, uint32_t slot)
{
	if (unit < EXPECTED_SINGLES)
		return unit;
	return EXPECTED_SINGLES + (unit - EXPECTED_SINGLES) * EXPECTED_BATCH_KEYS + slot;
}

/* One key after the other differs from the first bytes on. `salt` makes another key of the same place, for a
 * caller that looks for one of a certain shard. Returns its size. */
size_t expected_key(const struct expected_state *state, uint32_t unit, uint32_t slot, uint32_t salt,
		    char key[EXPECTED_KEY_BYTES_MAX]);

/* --- versions --- */

struct expected_content {
	bool present; /* false: never written or deleted */
	uint32_t size;
	uint64_t stream; /* of the value's bytes */
};

struct expected_content expected_content(const struct expected_state *state, uint32_t unit, uint32_t slot,
					 uint32_t version);

/* Writes content.size bytes; the first ones tell unit, slot and version to whoever finds them elsewhere. */
void expected_fill(const struct expected_content *content, uint32_t unit, uint32_t slot, uint32_t version,
		   uint8_t value[EXPECTED_VALUE_BYTES_MAX]);

/* What a value found says that it is, for a message. */
void expected_describe(const void *value, size_t size, char *text, size_t capacity);

/* The writer's part: a new version, then its acknowledgement. */
uint32_t expected_issue(struct expected_state *state, uint32_t unit);
void expected_acknowledge(struct expected_state *state, uint32_t unit, uint32_t version);

/* The versions that may be found, at most two: [0] is certain unless [1] is there. Returns their number. */
uint32_t expected_candidates(const struct expected_state *state, uint32_t unit, uint32_t versions[2]);

/* Found after a crash: from now on it is the only one. */
void expected_settle(struct expected_state *state, uint32_t unit, uint32_t version);

#endif
