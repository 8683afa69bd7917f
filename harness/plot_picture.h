/*
 * plot_picture.h: what all pictures have in common: the two files of each, its style, its heading, and the
 * colours and dashes that tell configurations apart, in colour, in print, and to all kinds of colour vision.
 */
#ifndef CASCADE_HARNESS_PLOT_PICTURE_H
#define CASCADE_HARNESS_PLOT_PICTURE_H

#include <stdio.h>

#include "harness/plot_pictures.h"

enum {
	PICTURE_COLOURS = 8,
	PICTURE_BANDS_MAX = 4, /* configurations up to which ranges stay legible */
	PICTURE_LINES = 4,     /* of small print below the heading */
	PICTURE_LINE_BYTES = 512,
	PICTURE_HEAD_HEIGHT = 127, /* of the heading and its small print */
	PICTURE_KEY_HEIGHT = 20,   /* of a line of the key */
};

/* Without the number sign; number_of_configuration % PICTURE_COLOURS. */
extern const char *const picture_palette[PICTURE_COLOURS];

struct picture {
	const struct run_data *data;
	const char *workload; /* hash: the heading of all phases is of those of that one; NULL: of all */
	char name[PICTURE_NAME_BYTES];
	FILE *script;
	FILE *dat;
	size_t blocks; /* data blocks written so far */
};

/* Adds to the name what of `part` a file's name can hold. */
void picture_append_name(struct picture *picture, const char *part);

/* Creates NAME.gp and NAME.dat, and closes them. Errors: IO. */
MUST_CHECK struct status picture_open(struct picture *picture, const struct run_data *data,
				      const char *folder);
MUST_CHECK struct status picture_close(struct picture *picture, const char *folder);

/* Terminal, output and line styles; in points at the size of an article's column. */
void picture_put_style(const struct picture *picture, int width, int height);

/*
 * The heading, and in small print: what was done in the phase, what the configurations were granted, on what
 * machine with which libraries, and `legend`: what the marks mean. What is too long for the picture's width
 * is cut. `phase` SIZE_MAX: of all phases.
 */
void picture_put_heading(const struct picture *picture, size_t phase, int width, const char *legend,
			 const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Text for a script, in double quotes; `as_format`: gnuplot will take it for a number's format. */
void picture_put_text(FILE *file, const char *text, bool as_format);

/* Blocks of data are parted by two empty lines; returns the number of the new one. */
size_t picture_begin_block(struct picture *picture, const char *comment);

/* "dashtype 2 ": neighbours differ; the dots stay for what is uncertain. */
const char *picture_dashes(size_t configuration);

const char *picture_label(const struct picture *picture, size_t configuration);

/* Columns and lines of a key for the configurations and `more` entries, at that width. */
size_t picture_key_columns(const struct picture *picture, size_t more, int width, size_t *lines);

/* The least and the most of positive numbers; NaN before the first. */
struct range {
	double least, most;
};

void range_add(struct range *range, double number);

/* A logarithmic axis of microseconds over whole decades. */
void picture_put_time_axis(FILE *file, const struct range *us);

/* A unit for numbers up to `highest`: "", "thousand " or "million ". */
const char *picture_scale(double highest, double *divisor);

/* The pictures; *written: false if there is nothing to draw. */
MUST_CHECK struct status plot_latency(const struct run_data *data, const char *folder, size_t phase,
				      int operation, struct picture *picture, bool *written);
MUST_CHECK struct status plot_timeline(const struct run_data *data, const char *folder, size_t phase,
				       struct picture *picture, bool *written);
MUST_CHECK struct status plot_bars(const struct run_data *data, const char *folder, size_t phase,
				   struct picture *picture, bool *written);
/* Of all phases that did the same workload as `phase`; not written but for the first of them. */
MUST_CHECK struct status plot_throughput(const struct run_data *data, const char *folder, size_t phase,
					 struct picture *picture, bool *written);
MUST_CHECK struct status plot_ratios(const struct run_data *data, const char *folder, struct picture *picture,
				     bool *written);

#endif
