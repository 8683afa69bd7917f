/*
 * call_graph.h: the call graph of a build as gcc writes it with -fcallgraph-info=su, one .ci file for each
 * object: which function calls which, and how much stack each takes for itself.
 *
 * Names are gcc's: "wal_append" for what all objects see, "engine/wal/wal.c:join_group" for what one file has
 * for itself, with endings like ".part.0" where gcc has split or specialized a function. Paths begin at the
 * root of the tree. Single-threaded; memory that runs out ends the process.
 */
#ifndef CASCADE_TESTS_STACKS_CALL_GRAPH_H
#define CASCADE_TESTS_STACKS_CALL_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CALL_BY_POINTER = UINT32_MAX }; /* as a callee: nobody knows which */

struct call_edge {
	uint32_t callee;
	const char *file; /* where the call is written; NULL: the compiler made it */
	unsigned line;
};

struct call_node {
	char *name;
	char *file;	  /* where it is defined */
	long frame_bytes; /* -1: no file of the build defines it */
	bool is_unbounded;
	struct call_edge *edges;
	size_t edge_count;
};

struct call_graph {
	struct call_node *nodes;
	size_t count;
	uint32_t *table; /* of places in `nodes` plus one, by the hash of the name */
	size_t table_size;
	char **units; /* the source files, one for each .ci */
	size_t unit_count;
};

/* Adds the text of one .ci file. `root`: the tree, as its paths in the text begin; false: not such a text. */
bool call_graph_add(struct call_graph *graph, const char *text, const char *root);
/* The same with a file; false: it cannot be read, or is none. The reason is printed. */
bool call_graph_read(struct call_graph *graph, const char *path, const char *root);
void call_graph_free(struct call_graph *graph);

/* The place of the node; UINT32_MAX: there is none. */
uint32_t call_graph_find(const struct call_graph *graph, const char *name);

/* The function that a file refers to by this name: its own or, failing that, one of all. */
uint32_t call_graph_find_from(const struct call_graph *graph, const char *file, const char *function);

#endif
