/*
 * run_data.h: what runs have left behind, read back to be compared and drawn: record.jsonl, provenance.json,
 * timeline.csv, and the names of the histograms. Everything lives in the arena.
 *
 * Records are sorted into rows and columns. A column is a configuration, a row a phase; which of the two the
 * workload belongs to is the reader's choice: see enum run_data_mode.
 */
#ifndef CASCADE_HARNESS_RUN_DATA_H
#define CASCADE_HARNESS_RUN_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "harness/json_reader.h"
#include "harness/workload.h"

enum run_data_mode {
	/*
	 * A phase of another workload is another row: what lies in a row did the same work. Configurations
	 * of a run that bear the same name in different workloads are one column, even if their options
	 * (and hashes) follow the workload.
	 */
	RUN_DATA_BY_WORKLOAD,
	/* Another workload makes another column; phases of the same name share a row. */
	RUN_DATA_BY_LABEL,
};

/* A directory to read. */
struct run_source {
	const char *directory;
	const char *name; /* that the user gives it; NULL: the directory's */
};

struct run_folder {
	const char *directory;
	const char *name;
	const struct json *provenance; /* NULL: not there */
};

/* Latencies of one operation in one phase of one repetition, in ns; count 0: it did not happen. */
struct run_latency {
	double count;
	double p50, p99, p999, max;
	const char *hgrm; /* file name in the run's directory; NULL: none */
};

/* One line of record.jsonl. What was not measured is NaN. */
struct run_record {
	size_t run, configuration, phase;
	uint32_t repetition;
	uint32_t block; /* the same for what was run interleaved: one repetition of one run */
	bool invalid;	/* its numbers mean nothing: it failed or was stopped early */
	double clients;
	double operations, seconds, ops_s, cpu_us_per_op, write_amplification, space_amplification;
	struct run_latency latency[OPERATION_KINDS];
	const char *hiccup_hgrm; /* NULL: none */
	const struct json *json; /* all of it */
};

/* One line of timeline.csv. */
struct run_second {
	size_t configuration, phase;
	uint32_t repetition; /* counted on from run to run: unlike in all series */
	double t_s;	     /* the end of that second */
	double middle_s;     /* between the point before and this one */
	double ops_s;	     /* over the time between them */
	double p50_ns, p99_ns, max_ns;
};

/* A column. */
struct run_configuration {
	const char *hash, *label; /* as recorded, of the first workload; the label has the workload's part */
	const char *name;	  /* as shown; no two are alike */
	const char *engine, *clients_as;
	const char *workload; /* hash */
	size_t run;
	double index;  /* in its run; NaN in older records */
	bool baseline; /* its run says so */
};

/* A row. */
struct run_phase {
	const char *name;
	const char *workload;	    /* hash; of the first record in BY_LABEL */
	const char *workload_label; /* what varies of it, ""; always "" in BY_LABEL */
	const char *title;	    /* "d1 load": label and name; no two are alike */
};

struct run_data {
	struct arena arena;
	enum run_data_mode mode;
	const char *experiment;
	struct run_folder *runs;
	size_t run_count;
	struct run_configuration *configurations; /* in the order of runs and files */
	size_t configuration_count;
	struct run_phase *phases; /* workload after workload, in the files' order */
	size_t phase_count;
	struct run_record *records;
	size_t record_count;
	struct run_second *seconds;
	size_t second_count;
	uint32_t repetitions; /* the most of any configuration */
};

/*
 * Reads the directories of runs. A last line of record.jsonl that was cut off is left out; a missing
 * timeline.csv or provenance.json is an empty one. The same configuration in two runs is two columns.
 * Errors: NOT_FOUND (no record.jsonl, or no record in it), CORRUPT (file and line), IO, NO_MEMORY.
 * run_data_free in any case.
 */
MUST_CHECK struct status run_data_read(struct run_data *data, const struct run_source *sources, size_t count,
				       enum run_data_mode mode);
void run_data_free(struct run_data *data);

#endif
