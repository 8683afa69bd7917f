/*
 * vary.h: the list `vary` of a workload file. Each entry sets one path, or several together, to one of its
 * values; the combinations of all entries' values are the cells of the experiment.
 */
#ifndef CASCADE_HARNESS_VARY_H
#define CASCADE_HARNESS_VARY_H

#include <stddef.h>

#include "base/arena.h"
#include "harness/problem.h"
#include "harness/yaml_tree.h"

enum { COMBINATIONS_MAX = 1000 };

/* What a combination sets differently from the file. */
struct variation {
	const char *path;
	const char *value; /* a scalar, or a mapping in braces */
};

/* One of the combinations. The texts are for people, and "" where nothing varies. */
struct combination {
	const struct variation *variations; /* in the order in which they are set; each path once */
	size_t variation_count;
	const char *label; /* "memtable.kind=btree records=1000" */
	/* Its two parts: of entries that set the engine and its clients only, and of all others. */
	const char *name, *workload_label;
};

/*
 * Every entry has a path, or a list of paths with a name for each of its values, and a list of values that
 * is not empty. NULL or an empty list is fine.
 */
MUST_CHECK struct status vary_check(const struct yaml_node *vary, struct problem *problem);

/* How many combinations there are, at least 1. `vary` is checked. INVALID: more than COMBINATIONS_MAX. */
MUST_CHECK struct status vary_count(const struct yaml_node *vary, size_t *count, struct problem *problem);

/*
 * Puts combination `index` into the document, entry after entry; the last entry turns fastest. `vary` is
 * checked. INVALID: a path that does not exist.
 */
MUST_CHECK struct status vary_apply(struct arena *arena, struct yaml_node *root, const struct yaml_node *vary,
				    size_t index, struct combination *combination, struct problem *problem);

#endif
