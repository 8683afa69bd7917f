/*
 * yaml_tree.h: a YAML document as a tree that knows where each key and value was written.
 *
 * libyaml parses; the tree is what workload files need and no more: scalars, mappings with text keys, and
 * sequences. Refused with a message: several documents, aliases, tags, keys that are not text, duplicate
 * keys, and documents beyond the bounds below. An anchor without an alias means nothing and is ignored.
 *
 * Nodes live in the caller's arena and are plain data: the functions below are all there is to it. The
 * depth bound holds for every tree, so recursion over one is bounded.
 */
#ifndef CASCADE_HARNESS_YAML_TREE_H
#define CASCADE_HARNESS_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/arena.h"
#include "harness/problem.h"

enum {
	YAML_FILE_BYTES_MAX = 1 << 20,
	YAML_DEPTH_MAX = 16,	 /* of what is parsed; --set can hang that below a path, so 32 in all */
	YAML_NODES_MAX = 100000, /* of what is parsed */
	YAML_NAME_BYTES_MAX = 200,
};

enum yaml_kind { YAML_SCALAR, YAML_MAPPING, YAML_SEQUENCE };

struct yaml_node {
	enum yaml_kind kind;
	struct place place;
	const char *text; /* scalar */
	bool quoted;	  /* scalar in quotes or a block: text even if it reads "~" or is empty */
	struct yaml_item *items;
	size_t count, capacity;
};

struct yaml_item {
	const char *key;    /* NULL in a sequence */
	struct place place; /* of the key */
	struct yaml_node *value;
};

/* Reads a file. Errors: INVALID or what reading it gave; the problem says all. An empty one is INVALID. */
MUST_CHECK struct status yaml_read(struct arena *arena, const char *path, struct yaml_node **root,
				   struct problem *problem);

/*
 * Parses text. `origin` is kept as the place of all nodes, with line numbers if `lines`. *root is NULL for
 * an empty document.
 */
MUST_CHECK struct status yaml_parse(struct arena *arena, const char *text, size_t size, const char *origin,
				    bool lines, struct yaml_node **root, struct problem *problem);

struct yaml_node *yaml_scalar(struct arena *arena, const char *text, struct place place);
struct yaml_node *yaml_collection(struct arena *arena, enum yaml_kind kind, struct place place);

/* The value of a key, NULL if it is not there or the node is no mapping. */
struct yaml_node *yaml_get(const struct yaml_node *node, const char *key);
struct yaml_item *yaml_get_item(const struct yaml_node *node, const char *key);

/* Adds the key at the end, or replaces its value and place. `key` is kept. */
void yaml_put(struct arena *arena, struct yaml_node *mapping, const char *key, struct place place,
	      struct yaml_node *value);

/* Appends to a sequence. */
void yaml_append(struct arena *arena, struct yaml_node *sequence, struct yaml_node *value);

/* Takes the key off if it is there. */
void yaml_remove(struct yaml_node *mapping, const char *key);

struct yaml_node *yaml_copy(struct arena *arena, const struct yaml_node *node);

/* A scalar without a value: empty or ~, and not quoted. The word null is text: an engine has that name. */
bool yaml_is_null(const struct yaml_node *node);

/* "a value", "a mapping" or "a list". */
const char *yaml_kind_text(const struct yaml_node *node);

/* Writes the node as block YAML that parses to an equal tree; a mapping in braces with `flow`. */
void yaml_print(FILE *file, const struct yaml_node *node);
void yaml_print_flow(FILE *file, const struct yaml_node *node);

/* yaml_print or yaml_print_flow into the arena. */
char *yaml_text(struct arena *arena, const struct yaml_node *node, bool flow);

#endif
