/*
 * source_tree.h: the text of the tree, for tests that hold rules over it (arrows_test, tidy_test).
 *
 * Reads every text file below a root but build outputs, results and git's own. Single-threaded; the texts
 * live until source_tree_free.
 */
#ifndef CASCADE_TESTS_SOURCE_TREE_H
#define CASCADE_TESTS_SOURCE_TREE_H

#include <stdbool.h>
#include <stddef.h>

struct source_file {
	char *path; /* from the root, "engine/base/slice.h" */
	char *text; /* NUL-terminated */
	size_t size;
};

struct source_tree {
	struct source_file *files; /* by path */
	size_t count;
};

/* False if something could not be read; the reason is printed. */
bool source_tree_read(const char *root, struct source_tree *tree);
void source_tree_free(struct source_tree *tree);

/* The file of that path, NULL if there is none. */
const struct source_file *source_tree_find(const struct source_tree *tree, const char *path);

/* One line at a time: zero-initialise, then next until false. `text` is without the newline. */
struct source_line {
	const char *text;
	size_t size;
	unsigned number; /* from 1 */
	const char *rest;
};

bool source_line_next(const struct source_file *file, struct source_line *line);

bool source_path_ends(const char *path, const char *end);
/* A C source or header. */
bool source_is_c(const char *path);

/*
 * If the line is an #include, copies what it names into `name` (of `size` bytes) and tells whether it was
 * written in quotes.
 */
bool source_line_include(const struct source_line *line, char *name, size_t size, bool *quoted);

/*
 * Resolves an include of `from` as the compiler does: beside the file, then from engine/, the root, tests/.
 * NULL: not a file of the tree.
 */
const struct source_file *source_tree_resolve(const struct source_tree *tree, const struct source_file *from,
					      const char *name, bool quoted);

/* What a check found: "path:line: message" each; grows without bound, so a run shows everything at once. */
struct findings {
	char *text;
	size_t size;
	unsigned count;
};

void findings_add(struct findings *findings, const char *path, unsigned line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void findings_free(struct findings *findings);

#endif
