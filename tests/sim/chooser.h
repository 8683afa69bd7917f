/*
 * chooser.h: every sequence of answers to questions of "which of so many", one sequence after the other:
 * whoever asks is run again and again, and is told something else each time until all has been told. The
 * number of questions and their bounds may depend on the answers before. (TigerBeetle's exhaustigen.)
 */
#ifndef CASCADE_SIM_CHOOSER_H
#define CASCADE_SIM_CHOOSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHOOSER_DEPTH_MAX = 64 };

struct chooser {
	uint32_t counts[CHOOSER_DEPTH_MAX];
	uint32_t taken[CHOOSER_DEPTH_MAX];
	uint32_t depth; /* so many answers are given in advance */
	uint32_t at;	/* so many questions were asked of this sequence */
	uint64_t product;
};

/* The first sequence: all answers are 0. */
void chooser_begin(struct chooser *chooser);

/* An answer below `count`, which is at least 1; `chooser` is a struct chooser. To be handed to
 * simulated_crash as it is. Beyond CHOOSER_DEPTH_MAX questions the answer is 0, and chooser_width says that
 * they were too many.
 */
uint32_t chooser_choose(void *chooser, uint32_t count);

/* After a sequence: as many sequences as there would be if the questions were the same in all of them.
 * UINT64_MAX: too many to tell. */
uint64_t chooser_width(const struct chooser *chooser);

/* The next sequence. False: that was the last. */
bool chooser_next(struct chooser *chooser);

/* The answers so far, as digits; cut where the text is full. */
void chooser_describe(const struct chooser *chooser, char *text, size_t size);

#endif
