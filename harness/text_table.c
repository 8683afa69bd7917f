#include "harness/text_table.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "harness/allocate.h"

enum { GAP = 2, TEXT_BYTES = 512 };

void text_table_init(struct text_table *table, const char *const *headers, size_t columns)
{
	*table = (struct text_table) { .columns = columns };
	for (size_t i = 0; i < columns; i++)
		text_table_add(table, headers[i]);
}

void text_table_add(struct text_table *table, const char *text)
{
	if (table->cells == table->capacity) {
		table->capacity = 2 * table->capacity + 64;
		table->texts = allocate_resize(table->texts, table->capacity * sizeof(*table->texts));
	}
	table->texts[table->cells++] = allocate_string(text != NULL ? text : "-");
}

void text_table_add_format(struct text_table *table, const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	text_table_add(table, text);
}

static bool is_number(const char *text)
{
	return text[0] == '\0' || strcmp(text, "-") == 0 ||
	       (isdigit((unsigned char)text[0]) && strspn(text, "0123456789.,e-+") == strlen(text));
}

static bool column_is_numeric(const struct text_table *table, size_t column)
{
	bool any = false;
	for (size_t i = table->columns + column; i < table->cells; i += table->columns) {
		if (!is_number(table->texts[i]))
			return false;
		any = any || table->texts[i][0] != '\0';
	}
	return any;
}

/* Characters of UTF-8, each taken to be one column wide. */
static size_t text_columns(const char *text)
{
	size_t count = 0;
	for (; *text != '\0'; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}

static int column_width(const struct text_table *table, size_t column)
{
	size_t width = 0;
	for (size_t i = column; i < table->cells; i += table->columns) {
		size_t length = text_columns(table->texts[i]);
		width = length > width ? length : width;
	}
	return (int)width;
}

void text_table_print(const struct text_table *table, FILE *file)
{
	for (size_t row = 0; row * table->columns < table->cells; row++) {
		int pending = 0; /* blanks owed: none are printed at the end of a line */
		for (size_t column = 0; column < table->columns; column++) {
			const char *text = table->texts[row * table->columns + column];
			int width = column_width(table, column);
			int fill = width - (int)text_columns(text);
			bool right = column_is_numeric(table, column);
			pending += (column > 0 ? GAP : 0) + (right ? fill : 0);
			if (text[0] != '\0') {
				(void)fprintf(file, "%*s%s", pending, "", text);
				pending = 0;
			}
			pending += right ? 0 : fill;
		}
		(void)fputc('\n', file);
	}
}

/* The line below the headers needs three characters. */
static int markdown_width(const struct text_table *table, size_t column)
{
	int width = column_width(table, column);
	return width < 3 ? 3 : width;
}

static void print_dashes(size_t count, bool right, FILE *file)
{
	(void)fputs("| ", file);
	for (size_t i = right ? 1 : 0; i < count; i++)
		(void)fputc('-', file);
	(void)fputs(right ? ": " : " ", file);
}

/* '|' ends a cell of Markdown: within one it is escaped. */
static void print_cell(const char *text, int width, bool right, FILE *file)
{
	int fill = width - (int)text_columns(text);
	(void)fprintf(file, "| %*s", right ? fill : 0, "");
	for (; *text != '\0'; text++) {
		if (*text == '|')
			(void)fputc('\\', file);
		(void)fputc(*text, file);
	}
	(void)fprintf(file, "%*s ", right ? 0 : fill, "");
}

void text_table_print_markdown(const struct text_table *table, FILE *file)
{
	for (size_t row = 0; row * table->columns < table->cells; row++) {
		for (size_t column = 0; column < table->columns; column++)
			print_cell(table->texts[row * table->columns + column], markdown_width(table, column),
				   column_is_numeric(table, column), file);
		(void)fputs("|\n", file);
		for (size_t column = 0; row == 0 && column < table->columns; column++)
			print_dashes((size_t)markdown_width(table, column), column_is_numeric(table, column),
				     file);
		if (row == 0)
			(void)fputs("|\n", file);
	}
}

void text_table_free(struct text_table *table)
{
	for (size_t i = 0; i < table->cells; i++)
		memory_free(table->texts[i]);
	memory_free(table->texts);
	*table = (struct text_table) { .columns = 0 };
}
