/*
 * bench_backlog.h: a database in which a merge of everything waits for a sign, through cascade.h.
 *
 * It is loaded with merges put off, so that level 0 is full of tables. Each side of a measure works on a
 * copy, opened so that one more table in level 0 is what makes the merge due, or not even that. So a side can
 * first read into the cache what it wants to have there, in peace.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_BACKLOG_H
#define CASCADE_HARNESS_BENCH_BENCH_BACKLOG_H

#include "cascade.h"
#include "harness/bench/bench.h"

enum { BENCH_BACKLOG_VALUE_BYTES = 1000 };

struct bench_backlog {
	cascade *db;
	uint64_t records; /* numbered as bench_store.h does */
};

/* Loads it, in job->scratch. */
MUST_CHECK struct status bench_backlog_prepare(struct bench_job *job);

/* Opens a copy of it. `may_merge`: the next table that is added to level 0 makes the merge due. */
MUST_CHECK struct status bench_backlog_open(struct bench_backlog *backlog, struct bench_job *job,
					    bool may_merge, const char *cache_size, const char *record_share);

/* Adds a table to level 0 of each shard: the sign. */
MUST_CHECK struct status bench_backlog_add(struct bench_backlog *backlog);

/* Bytes that merges have read so far. */
uint64_t bench_backlog_merged_bytes(const struct bench_backlog *backlog);

MUST_CHECK struct status bench_backlog_close(struct bench_backlog *backlog);

/* What a status of the database's is here, with its message. */
struct status bench_status_of(cascade_status status);

#endif
