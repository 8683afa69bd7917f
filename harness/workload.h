/*
 * workload.h: a resolved workload file as structs: what `cascade run` was asked to do, every default filled
 * in. Made by workload_file.c from YAML; read by everything that runs phases and writes records.
 */
#ifndef CASCADE_HARNESS_WORKLOAD_H
#define CASCADE_HARNESS_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "harness/drivers/driver.h"

enum distribution {
	DISTRIBUTION_UNIFORM,
	DISTRIBUTION_ZIPFIAN,	    /* YCSB's scrambled zipfian: Zipf(0.99) over 10^10 ranks, hashed mod N */
	DISTRIBUTION_ZIPFIAN_EXACT, /* Zipf(theta) over the N records, permuted */
	DISTRIBUTION_LATEST,
	DISTRIBUTION_SEQUENTIAL,
};

enum update_mode {
	UPDATE_BLIND, /* an update writes the whole value */
	UPDATE_RMW,   /* an update reads first */
};

enum insert_order { INSERT_HASHED, INSERT_ORDERED };

enum phase_kind {
	PHASE_LOAD, /* inserts key numbers 0 .. records - 1, each once */
	PHASE_RUN,  /* draws operations from the mix */
};

/* The kinds of operation, in the order of YCSB's chooser; names as in records. */
enum operation_kind {
	OPERATION_READ,
	OPERATION_UPDATE,
	OPERATION_INSERT,
	OPERATION_SCAN,
	OPERATION_RMW,
	OPERATION_DELETE,
	OPERATION_KINDS
};

extern const char *const operation_names[OPERATION_KINDS];

struct phase {
	char *name;
	enum phase_kind kind;
	double mix[OPERATION_KINDS]; /* weights; normalised when drawn */
	enum distribution distribution;
	double theta; /* zipfian_exact, 0 < theta < 2, not 1 */
	enum update_mode update_mode;
	uint32_t clients;
	uint64_t duration_ns; /* 0: by operations */
	uint64_t operations;  /* of all clients; 0: by duration */
	uint64_t warmup_ns;   /* runs, unmeasured, before the duration starts */
	uint64_t scan_min, scan_max;
	bool wait_idle; /* the phase ends, and its time is taken, when the engine is quiet; load: true */
	int line;
};

struct workload {
	char *name;
	/* engine: the driver's name and the flattened rest, in file order */
	char *engine_kind;
	int engine_line;
	char *engine_path; /* "auto": a fresh directory under the run's, removed afterwards */
	struct driver_option *engine_options;
	size_t engine_option_count;
	/* workload: */
	uint64_t records;
	uint64_t value_size;
	double compressibility; /* share of a value's bytes that compress away, 0 .. 1 */
	uint64_t seed;
	enum insert_order insert_order;
	bool verify;
	bool clients_as_tasks;
	struct phase *phases;
	size_t phase_count;
	uint32_t repeats;
};

#endif
