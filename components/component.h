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

#include "base/sanitizer.h"
#include "base/status.h"

/*
 * Raised when any contract changes in a way that old variants do not compile into correctness. What an
 * address sanitizer watches only takes variants that were compiled for it too: they tell it what they take of
 * an arena.
 */
enum { COMPONENT_ABI = 2 + (ADDRESS_SANITIZER ? 1000 : 0) };

/* What a variant may say of itself at most; component_register holds it to that. */
enum {
	COMPONENT_VARIANTS_MAX = 32, /* of one kind */
	COMPONENT_NAME_MAX = 31,     /* letters of a variant's or an option's name */
	COMPONENT_SUMMARY_MAX = 80,
	COMPONENT_OPTIONS_MAX = 16,	  /* of one variant */
	COMPONENT_OPTIONS_SIZE_MAX = 256, /* bytes of an options struct */
};

/*
 * Numbers in files that say which variant wrote something (codec_ops.format_id, filter_ops.format_id): from
 * these on they are free for variants of other people's; the tree itself never takes them.
 */
enum { COMPONENT_CODEC_ID_OTHERS = 12, COMPONENT_FILTER_ID_OTHERS = 192 };

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
	const char *name;	      /* as written in workload files: [a-z0-9_]+, unique in its kind */
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

/* --- variants from elsewhere --- */

struct component_row {
	enum component_kind kind;
	const struct component *component; /* the first member of the kind's ops struct */
};

/* What a shared object with variants says first. `abi` and `count` stay where they are in every ABI. */
struct component_module {
	uint32_t abi;	/* COMPONENT_ABI of the headers that it was compiled with */
	uint32_t count; /* of rows */
	const struct component_row *rows;
};

/*
 * The one symbol that a shared object with variants exports. Whoever loads one (cascade_component_load) never
 * lets go of it: ops, names and options of a variant have to last as long as the process.
 */
extern const struct component_module cascade_components __attribute__((visibility("default")));

/*
 * Defines it, at the end of a variant's file:
 *
 *	COMPONENT_MODULE({ COMPONENT_MEMTABLE, &memtable_treap.component });
 *
 * In the tree itself, where rows of registry.c say the same, it defines nothing.
 */
#ifdef CASCADE_IN_TREE
#define COMPONENT_MODULE(...) _Static_assert(1, "a row of registry.c says it")
#else
#define COMPONENT_MODULE(...)                                                              \
	static const struct component_row component_module_rows[] = { __VA_ARGS__ };       \
	const struct component_module cascade_components = {                               \
		.abi = COMPONENT_ABI,                                                      \
		.count = sizeof(component_module_rows) / sizeof(component_module_rows[0]), \
		.rows = component_module_rows,                                             \
	}
#endif

/*
 * Appends a variant to the list of its kind. STATUS_INVALID, and nothing changed: it was compiled with
 * another ABI, its name or its format_id is taken, its name, summary or options table is not as this header
 * says, or a required function is missing; the message says which. STATUS_NO_SPACE: the kind is full.
 *
 * Not thread-safe, neither beside itself nor beside any other function of the registry: call it before a
 * database is opened. What component_list returned before has the new variant at its end.
 */
MUST_CHECK struct status component_register(enum component_kind kind, const struct component *component);

/*
 * All rows of a module, or none. As component_register; a module that is registered already, to the same
 * address, is STATUS_OK and changes nothing.
 */
MUST_CHECK struct status component_register_module(const struct component_module *module);

#endif
