/*
 * run_table.h: the table that a run ends with: medians over the repetitions of each configuration.
 */
#ifndef CASCADE_HARNESS_RUN_TABLE_H
#define CASCADE_HARNESS_RUN_TABLE_H

#include <stdio.h>

#include "harness/record.h"

struct run_table_row {
	uint32_t cell, repetition;
	struct phase_summary summary;
};

struct run_table {
	struct run_table_row *rows;
	size_t count, capacity;
};

void run_table_init(struct run_table *table);
void run_table_add(struct run_table *table, uint32_t cell, uint32_t repetition,
		   const struct phase_summary *summary);

/*
 * One line for each configuration, phase and operation; with several configurations, the throughput's ratio
 * to the baseline of the same workload, and its 95 % interval (statistics.h). Prints nothing if no phase has
 * ended.
 */
void run_table_print(const struct run_table *table, const struct experiment *experiment, FILE *file);
void run_table_free(struct run_table *table);

/* The median of the numbers that are not NaN, NaN if there is none. Sorts the array. */
double median_of(double *values, size_t count);

#endif
