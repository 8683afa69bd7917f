/*
 * stack_rules.h: what a call graph cannot say by itself, as engine/runtime/stacks.txt has it, one rule a
 * line:
 *
 *   entry FUNCTION BYTES                    every task begins there; BYTES stand above and below its frames
 *   limit BYTES FUNCTION...                 no more of their caller's stack do these take, with all that they
 * call outside NAME BYTES                      a library function that may be called on a task's stack call
 * FILE:FUNCTION [in FILE] = TARGET...  what a call by pointer that is written there may reach; `in`: only
 *                                           where it was inlined into a function of that file
 *
 * Targets:
 *   FILE:FUNCTION, FUNCTION                 a function; of FUNCTION, * and ? stand for more
 *   -FUNCTION                               not that one of the others
 *   STRUCT.FIELD, STRUCT.FIELD@TABLE,...    what all tables of that struct, or those tables, have there
 *   types:PATTERN                           what all task types run whose variable matches
 *   run                                     the function of the task type that is looked at
 *   thread                                  whatever it is runs on the thread's own stack
 *   never                                   nothing, in a release
 *   +BYTES                                  beside all others: code of the embedder, at most as deep
 */
#ifndef CASCADE_TESTS_STACKS_STACK_RULES_H
#define CASCADE_TESTS_STACKS_STACK_RULES_H

#include "source_tree.h"

struct call_rule {
	char *file;
	char *function;
	char *in; /* NULL: anywhere */
	char **targets;
	size_t target_count;
	unsigned line;
	bool is_used;
};

struct limit_rule {
	long bytes;
	char **patterns;
	size_t pattern_count;
	unsigned line;
	long deepest_bytes; /* found by the check */
	const char *deepest;
};

struct outside_rule {
	char *name;
	long bytes;
	unsigned line;
	bool is_used;
};

struct stack_rules {
	const char *path;
	char *entry; /* "file:function"; NULL: there is none */
	long entry_bytes;
	struct call_rule *calls;
	size_t call_count;
	struct outside_rule *outside;
	size_t outside_count;
	struct limit_rule *limits;
	size_t limit_count;
};

/* Reads them; what is wrong becomes a finding. `file` is borrowed for the life of the rules. */
void stack_rules_read(struct stack_rules *rules, const struct source_file *file, struct findings *findings);
void stack_rules_free(struct stack_rules *rules);

#endif
