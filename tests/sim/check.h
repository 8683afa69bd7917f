/*
 * check.h: whether a database that nobody else uses at the moment is right and whole.
 */
#ifndef CASCADE_SIM_CHECK_H
#define CASCADE_SIM_CHECK_H

#include "sim/machine.h"
#include "sim/model.h"

/*
 * Reads everything by a scan and by gets, which must agree, be explained by the model, and leave nothing
 * unread unless model->broken. `found` gets the state. `thorough`: and every checksum, and that the directory
 * holds the files that are referred to and no others.
 */
void check_database(struct machine *machine, const struct model *model, const struct model_question *question,
		    bool thorough, uint32_t *found);

/* Writes, reads it back, closes, opens, and finds everything: that the recovered database can be used.
 * `found` is the state before and after; the model hears of the values only. */
void check_usable(struct machine *machine, struct model *model, uint64_t seed, uint32_t *found);

#endif
