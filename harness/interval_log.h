/*
 * interval_log.h: run.hlog, histograms over time in HdrHistogram's interval log, version 1.3, which its own
 * tools read: one line for each kind of operation and second of a phase,
 *
 *	Tag=TAG.PHASE.OP.service.rREPETITION,START,LENGTH,MAX,HISTOGRAM
 *
 * with the tag of record.h's histograms, START in seconds since 1970, LENGTH in seconds, MAX in milliseconds
 * and the histogram of nanoseconds as base64 of the compressed V2 encoding. Its zlib stream is one stored
 * block: valid for every reader, and made without zlib.
 */
#ifndef CASCADE_HARNESS_INTERVAL_LOG_H
#define CASCADE_HARNESS_INTERVAL_LOG_H

#include <stdint.h>
#include <stdio.h>

#include "harness/histogram.h"

/* What a log begins with; `start_unix_ns`: when the run began. */
void interval_log_write_head(FILE *file, uint64_t start_unix_ns);

/* The last field of a line; the caller frees it with memory_free. NULL: out of memory. */
char *interval_log_encode(const struct histogram *histogram);

/* One line. `tag` has no comma, space or line end. `encoded`: of interval_log_encode. */
void interval_log_write_line(FILE *file, const char *tag, uint64_t start_unix_ns, double seconds,
			     uint64_t max_ns, const char *encoded);

#endif
