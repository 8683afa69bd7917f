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
 * A kind of component is measured for each of its variants: a repetition runs all variants, at all sizes that
 * the measure has, with its sides, in one random order, each in a fresh process. Beside the claims, three
 * kinds of rows come of it by themselves (bench_judge.h): every variant is set beside the baseline variant
 * (the kind's first, unless --baseline names another); a variant X beside plain_X wherever a variant of that
 * name is registered, with the bound that X is at least as fast; and a variant at one size beside itself at
 * another (bench_growth). Pictures show every number against the size, a line for each variant.
 *
 * A kind is added with a file and a row of bench_kinds; a measure with a file and a row of its kind.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_H
#define CASCADE_HARNESS_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum {
	BENCH_NUMBERS_MAX = 16,
	BENCH_SIDES_MAX = 16,
	BENCH_SIZES_MAX = 8,
	BENCH_VARIANTS_MAX = 64,
	BENCH_TEXT_BYTES = 256,
};

/* A variant of the name plain_X is a straightforward form of X, to compare X with. */
#define BENCH_PLAIN_PREFIX "plain_"

enum bench_unit {
	BENCH_NANOSECONDS,
	BENCH_PER_SECOND,
	BENCH_BYTES,
	BENCH_COUNT, /* of things; for the record */
	BENCH_BYTES_PER_SECOND,
	BENCH_SHARE,  /* 0.0123 is printed as 1.23 % */
	BENCH_FACTOR, /* a number without a unit that is no whole one */
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
	const char *variant; /* of the kind; NULL where it has none, for shared sides, and in `prepare` */
	uint64_t size;	     /* one of the measure's; 0: it has none, and in `prepare` */
	uint64_t seed;	     /* the same for all sides, variants and sizes of a repetition */
	uint64_t file_bytes; /* of files that are read at random */
	uint64_t parameter;  /* the side's own: how many threads, and the like */
	bool quick;	     /* as short as it can be: somebody looks whether it works, not how fast */
	char notice[BENCH_TEXT_BYTES]; /* out: a line that a reader of the numbers has to know, or "" */
};

/*
 * Works for some ten to some hundred milliseconds (longer at large sizes, five minutes at most), and fills in
 * the numbers; those that it leaves alone are NaN, which says that there is none. It runs in a process of its
 * own with one thread, and whatever it leaves behind there goes with the process. UNSUPPORTED with a message:
 * it cannot be measured here, which is no failure. Anything else fails the run.
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
	BENCH_VALUE_AT_LEAST, /* ours >= limit, likewise */
};

struct bench_claim {
	const char *name;	  /* its measure's, with more behind a dot where that has several claims */
	const char *what;	  /* one line */
	unsigned ours, reference; /* sides; the same twice: there is no reference, only a value */
	unsigned number;
	enum bench_bound bound;
	double limit;
};

/* One of the sizes at which a measure is made: how many entries there are, how large a cache is, ... */
struct bench_size {
	uint64_t size;
	uint64_t quick;	  /* instead, in a quick look; no two of a measure are the same */
	uint32_t repeats; /* at most so many repetitions unless more are asked for; 0: as many as others */
};

/*
 * What one number of a variant may grow by from one size to another: a row for each variant and each side
 * that is not shared. `limit_of`: what the variant's theory allows, as a factor; NaN: nothing is claimed of
 * it.
 */
struct bench_growth {
	const char *name; /* "MEASURE.growth.NUMBER" or the like */
	const char *what; /* one line */
	unsigned number;
	unsigned from, to; /* indices of the measure's sizes */
	double (*limit_of)(const char *variant);
};

struct bench_measure {
	const char *name; /* lower case and hyphens */
	const char *summary;
	bool once;	  /* too costly to repeat, and steady: one repetition unless more are asked for */
	uint32_t repeats; /* at most so many repetitions unless more are asked for; 0: the default */
	struct bench_number numbers[BENCH_NUMBERS_MAX];
	const struct bench_side *sides;
	unsigned side_count;
	const struct bench_claim *claims;
	unsigned claim_count;

	/* --- of kinds that have variants --- */

	/* The last so many sides are references that know no variants: they run once for all of them, at
	 * each size, and a claim sets every variant beside them. */
	unsigned shared_sides;
	/* Whose bounds those of `claims` are; the other variants' rows are for the reader's sake. NULL: of
	 * each variant. */
	const char *bounds_of;
	/* It says nothing of plain_X: they are left out. */
	bool skips_plain;
	/* The first so many numbers are compared between variants, and have pictures; 0: all. Of those, times
	 * and rates are what X must not do worse in than plain_X. */
	unsigned compared_numbers;

	/* --- of measures that are made at several sizes --- */

	const char *size_name;		/* "entries": on the axis of pictures; NULL: there are no sizes */
	enum bench_unit size_unit;	/* BENCH_COUNT or BENCH_BYTES */
	const struct bench_size *sizes; /* ascending */
	unsigned size_count;
	const struct bench_growth *growths;
	unsigned growth_count;

	/* Makes what all repetitions, variants and sizes use in job->scratch or job->kept, in a process of
	 * its own; may be NULL. */
	MUST_CHECK struct status (*prepare)(struct bench_job *job);
};

struct bench_kind {
	const char *name;
	const char *summary;
	const struct bench_measure *const *measures; /* ended by NULL */
	/* It is a kind of component, named as component_kind_name names it: every measure is made for each of
	 * its variants (component_list, loaded ones included), and --variant chooses among them. */
	bool has_variants;
};

/* Ended by NULL. */
extern const struct bench_kind *const bench_kinds[];

extern const struct bench_kind bench_runtime;
extern const struct bench_kind bench_memtable;
extern const struct bench_kind bench_filter;
extern const struct bench_kind bench_cache;
extern const struct bench_kind bench_codec;
extern const struct bench_kind bench_compaction;

/* --- kinds by a trace of what an engine did: docs/traces.md --- */

/*
 * Makes of `kind` the same kind measured by that trace. What it refers to lasts as long as the process; it is
 * called once. Errors: INVALID: no trace, or nothing of that kind was recorded; NOT_FOUND and the like: the
 * file cannot be read.
 */
MUST_CHECK struct status bench_trace_kind(const struct bench_kind *kind, const char *path,
					  struct bench_kind *traced);

/* The variant that the engine ran; it need not be one of this build's. */
const char *bench_trace_variant(void);

/* `cascade bench`: argv[0] is "bench". Returns the process's exit code. */
int bench_command(int argc, char **argv);

#endif
