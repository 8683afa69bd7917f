/*
 * record.h: what a phase leaves behind, in four forms that other tools read. All of them are written by
 * `cascade run` into the run's directory, results/NAME/UTC-HASH/ (and results/NAME/latest links to it):
 *
 * record.jsonl		One JSON object a line for each phase of each repetition of each configuration:
 *	schema_version (1), experiment, run (the directory's name),
 *	configuration {hash, label, name (the part of the label that is not the workload's), index (place
 *	among the run's configurations), baseline (others are compared with it), variation {PATH:
 *	VALUE...}}, workload {hash, label (what varies of it, ""), records, value_size, ...},
 *	engine {kind, and the options in effect as nested objects}, parity {NAME: text, parity.h}, clients_as,
 *	phase {name, index, kind, clients, distribution, theta, update_mode, mix {OP: share}, start_unix_ns,
 *	ended_by}, repetition (from 1), run_order (from 1),
 *	operations, failed, seconds, idle_wait_seconds, throughput {ops_s},
 *	latency {OP: {service: {count, mean_ns, p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns, max_ns, hgrm}}},
 *	cpu {seconds, us_per_op}, per_op {cpu_us, device_reads, device_writes, device_read_bytes,
 *	device_write_bytes}, hiccup {count, p50_ns, p99_ns, p999_ns, max_ns, hgrm} (hiccup.h), device
 *{read_bytes, write_bytes, reads, writes, reads_per_op}, amplification {write, space}, memory
 *{rss_peak_bytes, budget_bytes}, user {bytes_written, bytes_stored}, counters {NAME: number, as the engine
 *names them: "reads.found"}, realised {top1_share, top1pct_share, top10pct_share}, verify {checked,
 *mismatches}, validity {verdict: valid | suspect | invalid, reasons [text...]}. OP = read, update, insert,
 *scan, rmw, delete; only those that happened are there. What was not measured is null or absent, never 0.
 *
 * repetitions.csv	The same numbers, one row for each phase and operation: REPETITION_COLUMNS.
 *
 * summary.csv		What they say together, written when a run ends: medians, intervals, and ratios to the
 *			baseline (compare_summary.h).
 *
 * timeline.csv		One row for each second of each phase; columns in TIMELINE_COLUMNS. `operations` are
 *those that ended in that second; cpu_seconds and bytes were spent in it.
 *
 * run.hlog		The same histograms, second by second (interval_log.h).
 *
 * TAG.PHASE.OP.service.rREPETITION.ns.hgrm	The histogram of one operation (HdrHistogram's percentile
 *			text, nanoseconds), named by the record's latency.OP.service.hgrm. TAG is the
 *			start of configuration.hash, and of workload.hash too where configurations
 *			differ in the workload alone.
 */
#ifndef CASCADE_HARNESS_RECORD_H
#define CASCADE_HARNESS_RECORD_H

#include <stdio.h>

#include "harness/experiment.h"
#include "harness/phase.h"
#include "harness/validity.h"

enum { RECORD_SCHEMA_VERSION = 1, HGRM_NAME_BYTES = 160 };

#define REPETITION_COLUMNS                                                                                 \
	"experiment,configuration,label,workload,engine,clients_as,phase,repetition,run_order,clients,"    \
	"operations,seconds,ops_s,cpu_us_per_op,reads_per_op,read_bytes,write_bytes,write_amplification,"  \
	"space_amplification,rss_peak_bytes,hiccup_p999_ns,hiccup_max_ns,verdict,operation,count,mean_ns," \
	"p50_ns,p90_ns,p99_ns,"                                                                            \
	"p999_ns,p9999_ns,max_ns"

#define TIMELINE_COLUMNS                                                                                \
	"configuration,label,repetition,phase,t_s,operations,p50_ns,p99_ns,p999_ns,max_ns,cpu_seconds," \
	"rss_bytes,read_bytes,write_bytes"

/* One phase that was run, and all that a record says about it besides the phase's own result. */
struct record {
	const char *run; /* the name of the run's directory */
	const char *experiment;
	const struct cell *cell;
	const struct phase *phase;
	size_t phase_index;
	uint32_t repetition, run_order; /* from 1 */
	const struct phase_result *result;
	const struct validity *validity;
	bool verified;
	uint64_t space_bytes;	/* of the database's files; UINT64_MAX: unknown */
	uint64_t logical_bytes; /* of the keys and values in it; UINT64_MAX: unknown */
	uint64_t budget_bytes;	/* memory that the engine was granted; 0: unknown */
};

/* Latency of one kind of operation, as the table on the terminal needs it. */
struct latency_summary {
	uint64_t count, p50_ns, p99_ns, p999_ns, max_ns;
};

/* What `cascade run` keeps of a phase to print medians: plain data, sent through a pipe. */
struct phase_summary {
	uint32_t phase_index;
	uint32_t verdict; /* 0 valid, 1 suspect, 2 invalid */
	double ops_s;
	double cpu_us_per_op; /* NaN: unknown, as below */
	double reads_per_op;
	double write_amplification;
	double space_amplification;
	double rss_peak_bytes;
	struct latency_summary latency[OPERATION_KINDS]; /* count 0: none of that kind */
};

void record_summarize(const struct record *record, struct phase_summary *summary);

/* The record's line, its end included. */
void record_write_json(const struct record *record, FILE *file);

/* Rows of repetitions.csv and timeline.csv, without the header. */
void record_write_repetition(const struct record *record, FILE *file);
void record_write_timeline(const struct record *record, FILE *file);

/* Lines of run.hlog, without its head. */
void record_write_intervals(const struct record *record, FILE *file);

/* The file name of the histogram of hiccups, and of an operation's. Returns buffer. */
const char *record_hiccup_name(const struct record *record, char buffer[static HGRM_NAME_BYTES]);
const char *record_hgrm_name(const struct record *record, enum operation_kind kind,
			     char buffer[static HGRM_NAME_BYTES]);

#endif
