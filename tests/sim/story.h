/*
 * story.h: one run of a history: the machine with its database, the fault that is to happen, and what is
 * known of both. For the files of the sweep.
 */
#ifndef CASCADE_SIM_STORY_H
#define CASCADE_SIM_STORY_H

#include "sim/caller.h"
#include "sim/sweep.h"

enum {
	STORY_SEED = 20250630,
	STORY_SECOND_NS = 1000 * 1000 * 1000,
	STORY_KEYS = 40,
	STORY_CLIENTS = 3,
	STORY_VALUE_BYTES_MAX = 6 << 10,
	STORY_OPEN_TRIES = 4,
};

/* On a machine's disk. */
struct seen {
	int64_t files; /* open ones */
	/* Directories that were made and whose names are not synced; a sync of those that failed. */
	bool directories_pending, directories_lost;
};

struct story {
	const struct sweep_case *it;
	struct sweep_outcome *outcome;
	struct plan plan;
	struct tally tally;
	struct model model;
	struct machine *machine;
	cascade_options *options;
	struct seen seen;
	bool opened; /* once at least */
	/* The fault. */
	unsigned rule;
	bool armed;
	uint64_t fired;
	/* Of the work. */
	uint32_t refused; /* writes in a row */
	uint32_t writes;
	cascade_snapshot *snapshot;
	uint64_t snapshot_began, snapshot_ended;
	uint32_t found[MODEL_KEYS_MAX];
};

static inline bool story_has(const struct story *story, enum sweep_trait trait)
{
	return (story->it->fault->traits & (unsigned)trait) != 0;
}

/* --- story.c --- */

bool story_is_recovery(enum sweep_history history);
bool story_is_power(enum sweep_history history);

/* What the case stands for; without model and machine. Zeroes the outcome. */
void story_init(struct story *story, const struct sweep_case *it, struct sweep_outcome *outcome);
void story_free(struct story *story);

/* A machine on that disk (NULL: an empty one) whose events go to `seen`. */
struct machine *story_machine(struct story *story, struct simulated_world *disk, uint64_t seed,
			      struct seen *seen);

/* For messages of failure. */
void story_where(const struct story *story, const char *what);

/* From now on the fault happens at its place; until then. */
void story_arm(struct story *story);
void story_disarm(struct story *story);
/* How often it has. */
uint64_t story_fired(const struct story *story);

/* Fails the run unless the status is success, or one of `allowed` and the fault has happened. */
void story_hear(struct story *story, const char *what, cascade_status status, uint32_t allowed);

/* Tries again, as people do: what happened once is over then. False: it cannot be opened. */
bool story_open(struct story *story);
cascade_status story_close(struct story *story);

/* --- story_work.c --- */

/* The scheduler's own memory is not what is to run out: stacks for what works side by side. */
void story_make_stacks(struct machine *machine);

/* What the histories do between open and close. */
void story_work_after_creation(struct story *story);
void story_work_after_recovery(struct story *story);

/* Reads everything by one iterator, into story->found. */
void story_scan(struct story *story, bool of_snapshot);
void story_note_stats(struct story *story);

#endif
