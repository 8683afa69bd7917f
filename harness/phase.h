/*
 * phase.h: runs one phase of a workload against an open driver and measures it.
 */
#ifndef CASCADE_HARNESS_PHASE_H
#define CASCADE_HARNESS_PHASE_H

#include "harness/histogram.h"
#include "harness/verify.h"
#include "harness/workload.h"

/* One second of a phase. */
struct timeline_point {
	double seconds; /* since the phase began */
	uint64_t operations;
	uint64_t p50_ns, p99_ns, p999_ns, max_ns; /* of all operations that ended in it */
	double cpu_seconds;
	uint64_t rss_bytes;
	uint64_t device_read_bytes, device_write_bytes;
};

/* What ended of one kind of operation in a second of a phase. A read-modify-write is there three times. */
struct phase_interval {
	enum operation_kind kind;
	double start, seconds; /* since the phase began; how long */
	uint64_t max_ns;
	char *histogram; /* as interval_log_encode made it; owned */
};

/* What all phases of one repetition share. */
struct phase_context {
	const struct workload *workload;
	struct driver *driver;
	struct verifier *verifier; /* NULL: values are not verified */
	uint64_t inserted;	   /* key numbers 0 .. inserted - 1 are acknowledged; grows */
	/* Called about ten times a second from the thread that called phase_run; total 0: unknown. */
	void (*progress)(void *context, const struct phase *phase, double seconds, uint64_t operations,
			 uint64_t total);
	void *progress_context;
	const volatile int *stop; /* not 0: end the phase early (Ctrl-C) */
	/* A file or directory on the device whose requests are counted when the driver does not count its
	 * own; NULL: unknown then. */
	const char *data_path;
};

struct phase_result {
	uint64_t start_unix_ns;
	double seconds;		  /* measured time, warm-up excluded, waiting for idle included if asked */
	double idle_wait_seconds; /* the part of it after the last operation */
	uint64_t operations;
	uint64_t failed; /* operations that ended with an error; the first one's status below */
	struct status first_failure;
	struct histogram *service[OPERATION_KINDS]; /* NULL: none of that kind; owned by the result */
	double cpu_seconds;
	uint64_t device_reads, device_writes, device_read_bytes, device_write_bytes; /* UINT64_MAX: unknown */
	uint64_t rss_peak_bytes;
	uint64_t user_bytes_written; /* keys and values handed to the engine */
	uint64_t verify_checked, verify_mismatches;
	char first_mismatch[256];
	/*
	 * Shares of the phase's key draws that went to the most drawn key, 1 % and 10 % of the keys; NaN when
	 * not a random phase. What was drawn, not what was asked for: with few draws for each key, chance
	 * alone makes some keys look hot.
	 */
	double top1_share, top1pct_share, top10pct_share;
	struct histogram *hiccups; /* how late threads woke meanwhile (hiccup.h); NULL: not watched; owned */
	bool stopped_early;
	struct timeline_point *timeline;
	size_t timeline_count;
	struct phase_interval *intervals;
	size_t interval_count;
	struct driver_counter counters[128]; /* the driver's, differences over the phase */
	size_t counter_count;
};

/* An error only if the phase could not be run at all; failures of operations are in the result. */
MUST_CHECK struct status phase_run(struct phase_context *context, const struct phase *phase,
				   struct phase_result *result);
void phase_result_free(struct phase_result *result);

#endif
