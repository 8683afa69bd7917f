/*
 * text_table.h: rows of text in aligned columns, for the terminal and for what is pasted from it.
 */
#ifndef CASCADE_HARNESS_TEXT_TABLE_H
#define CASCADE_HARNESS_TEXT_TABLE_H

#include <stdio.h>

struct text_table {
	size_t columns;
	size_t cells; /* so far; row after row */
	size_t capacity;
	char **texts;
};

/* `headers` are the first row. */
void text_table_init(struct text_table *table, const char *const *headers, size_t columns);

/* The next cell, row by row; NULL is printed as "-", "" as nothing. */
void text_table_add(struct text_table *table, const char *text);
void text_table_add_format(struct text_table *table, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same as a table in Markdown, its columns aligned in the source, too. */
void text_table_print_markdown(const struct text_table *table, FILE *file);

/* Columns whose texts below the header are all numbers (or "-") are set to the right. */
void text_table_print(const struct text_table *table, FILE *file);
void text_table_free(struct text_table *table);

#endif
