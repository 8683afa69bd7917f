/*
 * workload_schema.h: from a resolved workload document to structs, through libcyaml's schema.
 */
#ifndef CASCADE_HARNESS_WORKLOAD_SCHEMA_H
#define CASCADE_HARNESS_WORKLOAD_SCHEMA_H

#include "harness/workload.h"
#include "harness/yaml_tree.h"

/*
 * The engine's own options (all but kind and path) as a list of {name, value, line}, names joined by dots:
 * memtable: {kind: btree} becomes {name: memtable.kind, value: btree}. The items keep their places. INVALID:
 * an option has no value, is a list, or is there twice (memtable.kind as well as memtable: {kind: ...}).
 */
MUST_CHECK struct status workload_flatten_engine(struct arena *arena, const struct yaml_node *engine,
						 struct yaml_node **options, struct problem *problem);

/*
 * Fills *workload from the tree that workload_check made and the options above. Everything is copied into
 * the arena. Names, types and bounds were checked before: an error here means that table and schema
 * disagree.
 */
MUST_CHECK struct status workload_from_tree(struct arena *arena, const struct yaml_node *resolved,
					    const struct yaml_node *options, struct workload *workload,
					    struct problem *problem);

#endif
