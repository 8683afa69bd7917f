/*
 * results.h: the directory that a run leaves behind, OUT/NAME/UTC-HASH, and the link OUT/NAME/latest. Every
 * write is checked, and one that fails leaves the files as valid as they were: record.jsonl ends with a
 * whole line.
 */
#ifndef CASCADE_HARNESS_RESULTS_H
#define CASCADE_HARNESS_RESULTS_H

#include <stddef.h>
#include <stdint.h>

#include "harness/experiment.h"
#include "harness/problem.h"

enum results_file { RESULTS_RECORD, RESULTS_REPETITIONS, RESULTS_TIMELINE, RESULTS_INTERVALS, RESULTS_FILES };

struct results {
	char *path; /* OUT/NAME/UTC-HASH */
	char *run;  /* UTC-HASH */
	int files[RESULTS_FILES];
	uint64_t bytes[RESULTS_FILES];
};

/*
 * Makes the directory with its resolved configurations, provenance and empty tables, and points the link
 * at it. Errors: NO_SPACE (the device is full), INVALID (it cannot be written there for any other reason).
 */
MUST_CHECK struct status results_create(struct results *results, const char *out,
					const struct experiment *experiment, struct problem *problem);

/* Appends whole lines. Errors: NO_SPACE, IO; nothing of them is in the file then. */
MUST_CHECK struct status results_append(struct results *results, enum results_file file, const void *data,
					size_t size, struct problem *problem);

/* Writes a file of that name, which is removed again if that fails. */
MUST_CHECK struct status results_write(struct results *results, const char *name, const void *data,
				       size_t size, struct problem *problem);

/* Closes the files and checks that too. Idempotent; also after a failed create. */
MUST_CHECK struct status results_close(struct results *results, struct problem *problem);
void results_free(struct results *results);

#endif
