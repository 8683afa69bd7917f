/*
 * closing.h: a close as a run meets it: at times no table can be written any more, so that what memory holds
 * stays in the log alone; the machine may crash in the middle of it; and afterwards, with nobody at work, the
 * disk may lose its power, or one sector of what it holds.
 */
#ifndef CASCADE_SIM_CLOSING_H
#define CASCADE_SIM_CLOSING_H

#include "sim/machine.h"
#include "sim/model.h"
#include "sim/recovery.h"

struct closing {
	const struct plan *plan;
	struct machine *machine;
	struct model *model;
	struct random random;
	struct camera camera;
	bool whole;	/* all is well: what the close promises can be asked of the disk */
	bool unflushed; /* tables cannot be written */
};

/* What comes before the close. `whole`: nothing has gone wrong before that is still to be seen. */
void closing_begin(struct closing *closing, const struct plan *plan, struct machine *machine,
		   struct model *model, uint64_t seed, bool whole, uint64_t *numbers);

/*
 * The database is closed, with that status: opens copies of the disk. The machine is entered again; what was
 * wrong is over. The images that were taken are in `camera`, to be checked and freed.
 */
void closing_end(struct closing *closing, cascade_status status, uint64_t *trace);

#endif
