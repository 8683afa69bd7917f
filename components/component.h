/*
 * component.h: what every swappable part declares about itself.
 *
 * A component is a pure data structure: no I/O, no tasks, no locks, no globals, no clock, and nothing in
 * it suspends. Its ops struct is `static const`, lives as long as the process, and begins with a
 * `struct component`, so that the registry can list, document and check any kind alike.
 */
#ifndef CASCADE_COMPONENTS_COMPONENT_H
#define CASCADE_COMPONENTS_COMPONENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Raised when any contract changes in a way that old variants do not compile into correctness. */
enum { COMPONENT_ABI = 1 };

enum component_kind {
	COMPONENT_MEMTABLE,
	COMPONENT_FILTER,
	COMPONENT_CACHE,
	COMPONENT_CODEC,
	COMPONENT_COMPACTION,
	COMPONENT_KIND_COUNT
};

enum option_type {
	OPTION_INTEGER, /* uint64_t */
	OPTION_SIZE,	/* uint64_t bytes; written "64 MiB" */
	OPTION_REAL,	/* double */
	OPTION_BOOLEAN, /* bool */
};

/* One option of a variant: where it lies in the variant's options struct and what it may be. */
struct option {
	const char *name;
	const char *help;
	enum option_type type;
	size_t offset;
	double default_value;
	double minimum;
	double maximum;
};

struct component {
	const char *name;	      /* as written in workload files: [a-z0-9_]+ */
	const char *summary;	      /* one line */
	uint32_t abi;		      /* COMPONENT_ABI */
	uint32_t capabilities;	      /* bits that the kind's header defines */
	const struct option *options; /* ended by a NULL name; may be NULL */
	size_t options_size;	      /* bytes of the options struct; 0 without options */
};

/* --- the registry (registry.c): the one list of variants --- */

/* The kind's name as used in workload files ("memtable", "filter", "cache", "codec", "compaction"). */
const char *component_kind_name(enum component_kind kind);

/* All variants of a kind, ended by NULL; the first is the default. */
const struct component *const *component_list(enum component_kind kind);

/* The variant of that name, NULL if there is none. */
const struct component *component_find(enum component_kind kind, const char *name);

/* The registered name nearest to a misspelt one (edit distance), never NULL. */
const char *component_nearest(enum component_kind kind, const char *name);

/* Fills an options struct of `component->options_size` bytes with the defaults. */
void component_default_options(const struct component *component, void *options);

/* Sets one option by name; STATUS_NOT_FOUND for an unknown name, STATUS_INVALID out of range. */
MUST_CHECK struct status component_set_option(const struct component *component, void *options,
					      const char *name, double value);

#endif
