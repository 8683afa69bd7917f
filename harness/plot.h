/*
 * plot.h: pictures of runs, drawn by gnuplot from the files that a run leaves behind.
 *
 * Next to every picture lie the script (.gp) and the data (.dat) that it was drawn from, in RUN/plots/, so
 * that anybody can redraw it without Cascade.
 */
#ifndef CASCADE_HARNESS_PLOT_H
#define CASCADE_HARNESS_PLOT_H

#include <stddef.h>

#include "harness/run_data.h"

enum plot_format {
	PLOT_SVG = 1 << 0,
	PLOT_PNG = 1 << 1,
	PLOT_PDF = 1 << 2,
	PLOT_DEFAULT = PLOT_SVG | PLOT_PNG,
};

/*
 * Draws all plots of a run's directory into its plots/; `formats` is a set of plot_format. *pictures
 * (may be NULL) is how many were drawn. UNSUPPORTED with a one-line message: gnuplot is not installed
 * (scripts and data are written all the same); NOT_FOUND: no record.jsonl there; CORRUPT; IO; NO_MEMORY.
 */
MUST_CHECK struct status plot_run(const char *run_directory, unsigned formats, size_t *pictures);

/* The same of several runs together, into `folder`, which is made. */
MUST_CHECK struct status plot_runs(const struct run_source *sources, size_t count, const char *folder,
				   unsigned formats, size_t *pictures);

/*
 * Draws one picture of which the script NAME.gp and the data NAME.dat lie in `folder`. *pictures (may be
 * NULL) is in how many formats. Errors: UNSUPPORTED (gnuplot is not installed), IO.
 */
MUST_CHECK struct status plot_draw(const char *folder, const char *name, unsigned formats, size_t *pictures);

/* `cascade plot RUN... [--format svg|png|pdf] [--out DIR]`: argv[0] is "plot". Returns the process's exit
 * code. */
int plot_command(int argc, char **argv);

#endif
