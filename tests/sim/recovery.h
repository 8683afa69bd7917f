/*
 * recovery.h: images of a disk at moments of a run, what opening them must find, and images of that in turn.
 */
#ifndef CASCADE_SIM_RECOVERY_H
#define CASCADE_SIM_RECOVERY_H

#include "base/random.h"
#include "sim/machine.h"
#include "sim/model.h"

struct image {
	struct simulated_world *disk; /* NULL: it was handed on */
	enum simulated_crash_kind kind;
	uint64_t moment; /* as the model counts */
	uint64_t number; /* of the run, from 1 */
	uint64_t seed;
	bool creating; /* the database was still being made */
};

enum { IMAGES_MAX = 16 };

/* Takes images at I/O events, few of many: each event has the same chance to be among them, but that where
 * names or syncs are concerned it has a greater one. */
struct camera {
	struct machine *machine;
	struct model *model;
	struct random random;
	uint64_t *numbers; /* of images, of the whole run */
	uint32_t wanted;
	uint64_t weight; /* of all events so far */
	uint64_t events;
	bool creating;
	struct image images[IMAGES_MAX];
	uint32_t count;
};

void camera_start(struct camera *camera, struct machine *machine, struct model *model, uint64_t seed,
		  uint32_t wanted, uint64_t *numbers);
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
