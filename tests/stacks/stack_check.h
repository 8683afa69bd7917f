/*
 * stack_check.h: whether the stack that each task type declares has room for the deepest way through the call
 * graph. A cycle, a call by pointer without a rule, a library function that is not listed, a frame whose size
 * is known only when it runs: each is a finding, as is a bound that is too small, and a rule that says
 * nothing.
 */
#ifndef CASCADE_TESTS_STACKS_STACK_CHECK_H
#define CASCADE_TESTS_STACKS_STACK_CHECK_H

#include "stacks/call_graph.h"
#include "stacks/source_tables.h"
#include "stacks/stack_rules.h"

struct stack_type {
	const char *file;
	unsigned line;
	const char *variable;
	const char *name; /* as written, in quotes */
	long bound_bytes;
	long need_bytes;
	char *way; /* the deepest, one function a line; NULL: not wanted */
};

struct stack_check {
	const struct call_graph *graph;
	const struct source_tree *tree;
	const struct source_tables *tables;
	struct stack_rules *rules;
	struct findings *findings;
	bool wants_ways;

	/* What it finds. */
	struct stack_type *types;
	size_t type_count;
};

void stack_check_run(struct stack_check *check);
void stack_check_free(struct stack_check *check);

#endif
