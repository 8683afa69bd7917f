/*
 * workload_check.h: from what a workload file says to what it means: names and types are checked against
 * the table of workload_keys.h, defaults filled in, values brought to one spelling ("65536 KiB" becomes
 * "64 MiB"), and keys put in the table's order, so that equal workloads have equal texts.
 */
#ifndef CASCADE_HARNESS_WORKLOAD_CHECK_H
#define CASCADE_HARNESS_WORKLOAD_CHECK_H

#include "harness/yaml_tree.h"

/*
 * Checks the whole document except what `vary` holds and what the engine's own options are worth. The
 * result is a new tree in the arena, without `vary`; its values keep the places of the originals, or have
 * the origin "default". `name` is the default of the key of that name.
 */
MUST_CHECK struct status workload_check(struct arena *arena, const struct yaml_node *root, const char *name,
					struct yaml_node **resolved, struct problem *problem);

/* Checks one scalar key of the top level alone, for those that are needed before the rest: repeats. */
MUST_CHECK struct status workload_check_key(struct arena *arena, const struct yaml_node *root,
					    const char *key, const char **value, struct problem *problem);

#endif
