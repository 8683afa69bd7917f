/*
 * experiment.h: a workload file, read, checked and expanded: one cell for each combination of what it
 * varies, each with its structs, its texts and its hashes, and the order in which they are run.
 */
#ifndef CASCADE_HARNESS_EXPERIMENT_H
#define CASCADE_HARNESS_EXPERIMENT_H

#include "base/arena.h"
#include "harness/modules.h"
#include "harness/problem.h"
#include "harness/vary.h"
#include "harness/workload.h"
#include "harness/yaml_tree.h"

enum { HASH_TEXT_BYTES = 17, HASH_SHORT_DIGITS = 8 };

/* One configuration of an experiment. */
struct cell {
	struct workload workload;
	const struct driver_ops *driver;
	struct combination combination; /* of what varies */
	size_t index;			/* place among the cells */
	const char *label;		/* "memtable.kind=btree", or the engine's name if nothing varies */
	/*
	 * The label's two parts: what varies of the configuration, and of the workload ("" if nothing). No
	 * two cells of one workload have the same name; cells of two workloads that do are one configuration,
	 * even if its options follow the workload (a cache of an eighth of the data) and its hashes so
	 * differ.
	 */
	const char *name, *workload_label;
	bool is_baseline; /* the others are compared with it: the first, or the one that `baseline` names */
	char configuration_hash[HASH_TEXT_BYTES]; /* XXH3-64 of the engine's options in effect, clients_as,
						   * and what is in the modules */
	char workload_hash[HASH_TEXT_BYTES];	  /* of the workload and its phases, without the engine */
	char tag[2 * HASH_SHORT_DIGITS + 2];	  /* tells it from the others in names of files */
	const struct yaml_node *engine;		  /* kind and all options in effect, nested */
	struct module_list modules;		  /* if the engine is made of components: those of the file */
	const char *resolved;			  /* every key, as a workload file of its own */
	bool threads_instead;			  /* tasks were asked for, and the engine has none */
	bool forgets; /* the engine, as it is configured, forgets what is written */
};

/* One process to start. */
struct cell_run {
	uint32_t cell;
	uint32_t repetition; /* from 1 */
};

struct experiment {
	struct arena arena; /* owns all of it */
	const char *file;
	const char *name;
	struct cell *cells;
	size_t cell_count;
	uint32_t repeats;
	struct module_list modules; /* variants from shared objects that the file names */
	struct cell_run *runs;	    /* cells x repeats, in order: blocks of all cells, each block shuffled */
	size_t run_count;
	const char *resolved;	    /* the file with its defaults, --set and vary: loadable again */
	char hash[HASH_TEXT_BYTES]; /* of `resolved`: names the run's folder */
};

/*
 * Reads and checks everything, engine options included (by the driver, without opening anything). Errors
 * leave a line in the problem: "FILE:LINE: KEY: WHAT, expected WHAT" or "--set PATH: ...". The experiment
 * may be freed in either case.
 */
MUST_CHECK struct status experiment_load(struct experiment *experiment, const char *file,
					 const char *const *sets, size_t set_count, struct problem *problem);

void experiment_free(struct experiment *experiment);

#endif
