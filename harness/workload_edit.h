/*
 * workload_edit.h: puts a value at a path of a workload file's tree: what --set and vary do.
 *
 * A path is made of names between dots: engine.memtable.size. In a list a name is an index from 0 or the
 * `name` of an item: phases.run.clients or phases.1.clients. Mappings on the way that are not there are
 * made; whether their names mean anything is checked later, with the rest of the file.
 */
#ifndef CASCADE_HARNESS_WORKLOAD_EDIT_H
#define CASCADE_HARNESS_WORKLOAD_EDIT_H

#include "harness/yaml_tree.h"

/* Puts a copy of the value there, in place of what was. `place` is where the path was written. */
MUST_CHECK struct status workload_put(struct arena *arena, struct yaml_node *root, const char *path,
				      struct place place, const struct yaml_node *value,
				      struct problem *problem);

/* Applies one --set: "PATH=VALUE", the value in YAML (a scalar, or a mapping or list in brackets). */
MUST_CHECK struct status workload_set(struct arena *arena, struct yaml_node *root, const char *assignment,
				      struct problem *problem);

#endif
