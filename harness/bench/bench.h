/*
 * bench.h: what `cascade bench KIND` measures, and against what.
 *
 * A kind is a list of measures. A measure has sides: functions that do one piece of work for a while, ours in
 * some of them and a reference in the others, and give the same numbers. A claim sets one number of our side
 * beside that of a reference and says what their ratio may be.
 *
 * Each repetition of a measure runs all its sides once, in an order of its own, each in a fresh process. So a
 * side is a replicate as docs/statistics.md wants it, what drifts with time meets all sides alike, a crash
 * costs one number, and no side inherits another's memory or threads. References share no code with the
 * engine.
 *
 * A kind is added with a file and a row of bench_kinds; a measure with a file and a row of its kind.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_H
#define CASCADE_HARNESS_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { BENCH_NUMBERS_MAX = 4, BENCH_SIDES_MAX = 16, BENCH_TEXT_BYTES = 256 };

enum bench_unit {
	BENCH_NANOSECONDS,
	BENCH_PER_SECOND,
	BENCH_BYTES,
	BENCH_COUNT, /* of things; for the record */
};

struct bench_number {
	const char *name; /* "time_ns": with its unit, as it stands in records; NULL: there is none */
	enum bench_unit unit;
};

/* What a side is told. */
struct bench_job {
	const char
		*scratch; /* the measure's own folder: exists, empty before `prepare`, removed at the end */
	const char *kept; /* a folder that outlives runs, for what is costly to make; exists */
	const char *variant; /* of the kind; NULL where it has none */
	uint64_t seed;	     /* the same for all sides of a repetition */
	uint64_t file_bytes; /* of files that are read at random */
	uint64_t parameter;  /* the side's own: how many threads, and the like */
	bool quick;	     /* as short as it can be: somebody looks whether it works, not how fast */
	char notice[BENCH_TEXT_BYTES]; /* out: a line that a reader of the numbers has to know, or "" */
};

/*
 * Works for some ten to some hundred milliseconds, and fills in the numbers; NaN where there is none. It runs
 * in a process of its own with one thread, and whatever it leaves behind there goes with the process.
 * UNSUPPORTED with a message: it cannot be measured here, which is no failure. Anything else fails the run.
 */
typedef struct status bench_function(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX]);

struct bench_side {
	const char *name; /* "bare swap" */
	bench_function *run;
	uint64_t parameter;
};

enum bench_bound {
	BENCH_NO_BOUND,	      /* for the reader's sake */
	BENCH_RATIO_AT_MOST,  /* ours / reference <= limit */
	BENCH_RATIO_AT_LEAST, /* ours / reference >= limit */
	BENCH_MORE_AT_MOST,   /* ours <= reference + limit, in the number's unit */
	BENCH_VALUE_AT_MOST,  /* ours <= limit, in the number's unit; the reference is for comparison */
};

struct bench_claim {
	const char *name;	  /* its measure's, with more behind a dot where that has several claims */
	const char *what;	  /* one line */
	unsigned ours, reference; /* sides */
	unsigned number;
	enum bench_bound bound;
	double limit;
};

struct bench_measure {
	const char *name; /* lower case and hyphens */
	const char *summary;
	bool once; /* too costly to repeat, and steady: one repetition unless more are asked for */
	struct bench_number numbers[BENCH_NUMBERS_MAX];
	const struct bench_side *sides;
	unsigned side_count;
	const struct bench_claim *claims;
	unsigned claim_count;
	/* Makes what all repetitions use in job->scratch or job->kept, in a process of its own; may be NULL.
	 */
	MUST_CHECK struct status (*prepare)(struct bench_job *job);
};

struct bench_kind {
	const char *name;
	const char *summary;
	const struct bench_measure *const *measures; /* ended by NULL */
	/* It is a kind of component: every measure is made for each of its variants, which are those that
	 * cascade_component_list names, and --variant chooses among them. */
	bool has_variants;
};

/* Ended by NULL. */
extern const struct bench_kind *const bench_kinds[];

extern const struct bench_kind bench_runtime;

/* `cascade bench`: argv[0] is "bench". Returns the process's exit code. */
int bench_command(int argc, char **argv);

#endif
