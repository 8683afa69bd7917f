/*
 * parity.h: what a comparison has to hold equal to be one of the engines: memory, durability, compression and
 * the like, side by side. A driver says its part (driver_ops.parity), the bench adds the rest; a record keeps
 * it as parity.NAME, so that records can be compared that were made on another day.
 */
#ifndef CASCADE_HARNESS_PARITY_H
#define CASCADE_HARNESS_PARITY_H

#include <stdio.h>

#include "harness/experiment.h"
#include "harness/json_reader.h"
#include "harness/json_writer.h"

enum { PARITY_ROWS_MAX = 32, PARITY_NAME_BYTES = 32, PARITY_TEXT_BYTES = 64 };

struct parity_row {
	char name[PARITY_NAME_BYTES];
	char text[PARITY_TEXT_BYTES];
};

/* One configuration; each name is there at most once. Plain data. */
struct parity {
	struct parity_row rows[PARITY_ROWS_MAX];
	size_t count;
};

struct parity_column {
	const char *label;    /* of the configuration; borrowed */
	const char *workload; /* what it is set beside the others for, NULL or "": all the same; borrowed */
	struct parity parity;
};

/* A row more; a second one of the same name replaces the first. Long texts are cut. */
void parity_add(struct parity *parity, const char *name, const char *text);

/* The text of a row, NULL if there is none of that name. */
const char *parity_get(const struct parity *parity, const char *name);

/* Of a configuration that this process is about to run, or has run. */
void parity_of_cell(const struct cell *cell, struct parity *parity);

/* Of a line of record.jsonl. Older records have none: the count is 0 then. */
void parity_of_record(const struct json *record, struct parity *parity);

/* The member `parity` of a record. */
void parity_write(struct json_writer *json, const struct cell *cell);

/*
 * A row for each name and a column for each configuration. Rows that are not the same everywhere begin with
 * '*'. Where configurations get other things with another workload (a larger cache), there is a table for
 * each workload. Prints nothing for less than two columns, or if no column has a row.
 */
void parity_print(const struct parity_column *columns, size_t count, FILE *file);

/* The same in Markdown. */
void parity_print_markdown(const struct parity_column *columns, size_t count, FILE *file);

/* parity_print for all configurations of an experiment. */
void parity_print_experiment(const struct experiment *experiment, FILE *file);

#endif
