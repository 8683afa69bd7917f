/*
 * modules.h: variants of components from shared objects, as workload files (`components: [PATH.so, ...]`) and
 * commands (--load PATH.so) name them. A path counts from the working directory. A shared object is loaded
 * once for the process and stays; the processes that repetitions run in are forks, and have it too.
 */
#ifndef CASCADE_HARNESS_MODULES_H
#define CASCADE_HARNESS_MODULES_H

#include <stddef.h>

#include "harness/json_writer.h"
#include "harness/problem.h"
#include "harness/yaml_tree.h"

enum { MODULES_MAX = 64, MODULE_HASH_BYTES = 17, MODULE_VARIANTS_MAX = 64 };

/* Lives as long as the process. */
struct module {
	const char *path;	      /* as given */
	char hash[MODULE_HASH_BYTES]; /* XXH3-64 of the file's bytes: tells one build of it from another */
	struct module_variant {
		const char *kind, *name;
	} variants[MODULE_VARIANTS_MAX]; /* that came with it */
	size_t variant_count;
};

/* The modules that a workload file names, in its order. */
struct module_list {
	const struct module **modules; /* in the arena */
	size_t count;
};

/*
 * Checks the key `components` of a document and loads what it names, so that names of variants in the rest of
 * it have their meaning. Without the key the list is empty.
 */
MUST_CHECK struct status modules_load(struct arena *arena, const struct yaml_node *root,
				      struct module_list *list, struct problem *problem);

/*
 * Whether a variant is of this build or of a module in the list. Files of one run share the process, and what
 * another of them has loaded does not count: its record would not say where the variant is from. NULL: it
 * is; else the module that has to be named too.
 */
const struct module *modules_missing(const struct module_list *list, const char *kind, const char *name);

/* The option --load of a command: an exit code; what is wrong goes to stderr, after the command's name. */
int modules_load_option(const char *command, const char *path);

/* Writes the array `components` of {path, hash}: of a list, or, with NULL, all that were loaded. */
void modules_write(struct json_writer *json, const struct module_list *list);

#endif
