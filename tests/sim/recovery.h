/*
 * recovery.h: images of a disk at moments of a run, what opening them must find, and images of that in turn.
 */
#ifndef CASCADE_SIM_RECOVERY_H
#define CASCADE_SIM_RECOVERY_H

#include "base/random.h"
#include "sim/machine.h"
#include "sim/model.h"

/* Which moments an image is one of. */
enum camera_roll {
	ROLL_ANY,   /* any, of those that matter more rather more */
	ROLL_NAMES, /* something is created, renamed, taken away or made durable by name */
	ROLL_FAULT, /* something has gone wrong a little while ago */
	ROLL_COUNT
};

struct image {
	struct simulated_world *disk; /* NULL: it was handed on */
	enum camera_roll roll;
	enum simulated_crash_kind kind;
	uint64_t moment; /* as the model counts */
	uint64_t number; /* of the run, from 1 */
	uint64_t seed;
	bool creating; /* the database was still being made */
};

enum { IMAGES_MAX = 16, CAMERA_KINDS = 64, CAMERA_WRITES = 16, CAMERA_PATH_BYTES = 64 };

/* A write that has completed. */
struct camera_write {
	char path[CAMERA_PATH_BYTES];
	uint64_t offset;
	uint64_t length;
};

/* Takes images at I/O events, few of many: each event has the same chance to be among those of a roll, but
 * that where names or syncs are concerned it has a greater one. */
struct camera {
	struct machine *machine;
	struct model *model;
	struct random random;
	uint64_t *numbers; /* of images, of the whole run */
	struct {
		uint32_t wanted;
		uint32_t count;
		uint64_t weight; /* of all its events so far */
	} rolls[ROLL_COUNT];
	/* Of ROLL_ANY, if its weight in the end is about known: at which weights; all zero: it is not. */
	uint64_t moments[IMAGES_MAX];
	uint64_t events;
	uint64_t fired;		     /* how often something has gone wrong */
	uint32_t hot;		     /* so many events from now on are shortly after it */
	uint32_t seen[CAMERA_KINDS]; /* events that concern names, by what they do to which kind of file */
	uint32_t last_kind;
	bool creating;
	struct image images[IMAGES_MAX];
	uint32_t count;
	bool keeps_writes; /* the latest ones are remembered */
	uint64_t write_count;
	struct camera_write writes[CAMERA_WRITES]; /* the n-th at n % CAMERA_WRITES */
};

/* With so many images of ROLL_ANY; more of others by camera_want. */
void camera_start(struct camera *camera, struct machine *machine, struct model *model, uint64_t seed,
		  uint32_t wanted, uint64_t *numbers);
void camera_want(struct camera *camera, enum camera_roll roll, uint32_t wanted);
/* All events of ROLL_ANY together will weigh about so much: images are then taken once and not again and
 * again in place of earlier ones. */
void camera_expect(struct camera *camera, uint64_t weight);
/* One of this moment: power is lost, and of what is not durable nothing comes through. */
void camera_take_worst(struct camera *camera);
void camera_stop(struct camera *camera);
/* Frees the images that are left. */
void camera_free(struct camera *camera);

/*
 * Opens an image on a machine of its own and checks it. With `adopt` that machine, entered, with the database
 * open, is returned and the state found is the model's new base; else it is used for further checks and gone
 * afterwards, the machine `back` is entered again, and NULL is returned. `trace` is mixed into.
 */
struct machine *recovery_check(const struct plan *plan, struct tally *tally, struct model *model,
			       struct image *image, bool adopt, struct machine *back, uint64_t *trace);

#endif
