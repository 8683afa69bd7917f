/*
 * source_tables.h: what the check of stacks has to know of the source text: the tables of functions that the
 * engine calls by pointer, and in which function a line stands. Both lean on the house style: tables are
 * `struct X name = { .field = value, ... }` or `(struct X) { ... }`, and a function's body begins and ends in
 * the first column.
 */
#ifndef CASCADE_TESTS_STACKS_SOURCE_TABLES_H
#define CASCADE_TESTS_STACKS_SOURCE_TABLES_H

#include "source_tree.h"

/* One `.field = value` of a table, or one value without a field. */
struct table_entry {
	char *file;
	unsigned line; /* where the table begins */
	char *structure;
	char *variable; /* empty: a literal has none */
	char *field;	/* empty: the value stands alone */
	char *value;	/* as it is written, without comments */
};

struct source_tables {
	struct table_entry *entries;
	size_t count;
};

/* Adds all tables of a file. */
void source_tables_add(struct source_tables *tables, const struct source_file *file);
void source_tables_free(struct source_tables *tables);

/* The name of the function in whose body, or head, the line stands; false: in none. */
bool source_function_at(const struct source_file *file, unsigned line, char *name, size_t room);

#endif
