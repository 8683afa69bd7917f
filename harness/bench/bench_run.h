/*
 * bench_run.h: runs the measures of a kind, interleaved, and keeps every number.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_RUN_H
#define CASCADE_HARNESS_BENCH_BENCH_RUN_H

#include <stddef.h>

#include "harness/bench/bench.h"

enum { BENCH_REPEATS_DEFAULT = 9, BENCH_REPEATS_MAX = 1000, BENCH_ONLY_MAX = 32 };

struct bench_options {
	const struct bench_kind *kind;
	const char *only[BENCH_ONLY_MAX]; /* names of measures; none: all */
	size_t only_count;
	const char *variants[BENCH_ONLY_MAX]; /* none: all */
	size_t variant_count;
	uint64_t sizes[BENCH_SIZES_MAX]; /* of measures that have any; none: all */
	size_t size_count;
	const char *baseline; /* of the variants; NULL: the first that is measured */
	uint32_t repeats;     /* 0: BENCH_REPEATS_DEFAULT, or fewer of measures and sizes that ask for it */
	bool quick;
	bool quiet; /* no progress on stderr */
	uint64_t seed;
	uint64_t file_bytes;
	const char *kept;	  /* folder, made where missing; holds what outlives runs */
	const char *scratch;	  /* folder, made where missing and removed at the end */
	const volatile int *stop; /* turns nonzero: end early with what there is; may be NULL */
};

/* One side of one variant at one size in one repetition. */
struct bench_sample {
	const struct bench_measure *measure;
	const char *variant; /* NULL: none */
	uint64_t size;	     /* 0: none */
	unsigned side;
	uint32_t repetition; /* from 1 */
	uint32_t order;	     /* from 1: the place among all that was run */
	double seconds;	     /* of the whole process */
	double numbers[BENCH_NUMBERS_MAX];
};

/* A line of text about a measure: why a side has no numbers, or what its numbers suffer from. */
struct bench_remark {
	const struct bench_measure *measure;
	const char *variant;
	uint64_t size;
	unsigned side;
	bool is_failure;     /* and not only a notice, or something that cannot be had here */
	bool is_unsupported; /* the side has no numbers, and that is no failure */
	char text[BENCH_TEXT_BYTES];
};

struct bench_results {
	const struct bench_options *options;
	struct bench_sample *samples;
	size_t sample_count, sample_capacity;
	struct bench_remark *remarks; /* each once */
	size_t remark_count, remark_capacity;
	bool failed; /* some side failed or died */
	bool stopped;
};

/* While the process has one thread. The results are the caller's in any case. Errors: IO (folders). */
MUST_CHECK struct status bench_run(const struct bench_options *options, struct bench_results *results);
void bench_results_free(struct bench_results *results);

bool bench_is_chosen(const struct bench_options *options, const struct bench_measure *measure);
uint32_t bench_repeats(const struct bench_options *options, const struct bench_measure *measure);

/* The variants to measure, at most BENCH_VARIANTS_MAX; { NULL } and 1 for a kind without any. */
size_t bench_variants(const struct bench_options *options, const char *variants[BENCH_VARIANTS_MAX]);

/* Its name says that it is a plain form of another variant; NULL is none. */
bool bench_is_plain(const char *variant);

/* Of them, those that the measure is made of. */
size_t bench_variants_of(const struct bench_options *options, const struct bench_measure *measure,
			 const char *variants[BENCH_VARIANTS_MAX]);

/* The variant that others are compared with; NULL: there are none. */
const char *bench_baseline(const struct bench_options *options);

/* The sizes to measure at, at most BENCH_SIZES_MAX; { 0 } and 1 for a measure that has none. */
size_t bench_sizes_of(const struct bench_options *options, const struct bench_measure *measure,
		      uint64_t sizes[BENCH_SIZES_MAX]);

/* The measure's size of that index in this run; sizes that were not chosen included. */
uint64_t bench_size_at(const struct bench_options *options, const struct bench_measure *measure,
		       unsigned index);

/* The side is made for each variant, where the kind has any. */
bool bench_side_has_variants(const struct bench_options *options, const struct bench_measure *measure,
			     unsigned side);

/*
 * Runs a side, or (side NULL) the measure's preparation, in a process of its own and waits for it, for five
 * minutes at most. What the process said of its failure is the status's message.
 */
MUST_CHECK struct status bench_child_run(const struct bench_measure *measure, const struct bench_side *side,
					 struct bench_job *job, double numbers[BENCH_NUMBERS_MAX]);

#endif
