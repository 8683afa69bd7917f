/*
 * bench_reads.h: reading one file at random, 4 KiB at a time and past the page cache, in ways that share no
 * code: a bare loop over the kernel's rings, and fio. All give two numbers: reads a second, and nanoseconds
 * of processor time a read.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_READS_H
#define CASCADE_HARNESS_BENCH_BENCH_READS_H

#include "harness/bench/bench.h"

enum {
	BENCH_READ_BYTES = 4096,
	BENCH_READS_DEPTH = 32, /* under way at once */
	BENCH_READS_RAMP_MS = 50,
};

enum { BENCH_PATH_BYTES = 4096 };

/* How long reads are counted. */
static inline uint64_t bench_reads_ms(const struct bench_job *job)
{
	return job->quick ? 50 : 800;
}

/* The file's name; returns buffer. */
const char *bench_reads_path(const struct bench_job *job, char buffer[static BENCH_PATH_BYTES]);

/* Makes the file, job->file_bytes of noise, unless it is there. Errors: IO, NO_SPACE. */
MUST_CHECK struct status bench_reads_prepare(struct bench_job *job);

/* Opens it past the page cache; where that is refused, through it, and says so in job->notice. */
MUST_CHECK struct status bench_reads_open(struct bench_job *job, int *fd);

/* Errors: UNSUPPORTED (no io_uring here), IO. */
MUST_CHECK struct status bench_reads_bare(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX]);

/* Errors: UNSUPPORTED (fio is not installed, or has no io_uring), IO. */
MUST_CHECK struct status bench_reads_fio(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX]);

#endif
