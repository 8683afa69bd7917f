/*
 * cacheline_internal.h: the query of the cacheline filter in each form that this machine can run, so that
 * the tests hold them against one another. Nobody else includes this.
 */
#ifndef CASCADE_COMPONENTS_FILTERS_CACHELINE_INTERNAL_H
#define CASCADE_COMPONENTS_FILTERS_CACHELINE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether all `probes` bits (1 .. 16) that `seed` names are set in the 64 bytes at `block`. */
typedef bool cacheline_query(const uint8_t *block, uint32_t seed, unsigned probes);

struct cacheline_form {
	const char *name;
	cacheline_query *query;
};

enum { CACHELINE_FORMS_MAX = 3 };

/* Fills `forms` with those that the processor runs, the portable one first; returns their number. */
size_t cacheline_list_forms(struct cacheline_form forms[CACHELINE_FORMS_MAX]);

#endif
