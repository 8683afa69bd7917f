#include "stacks/source_tables.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static char *copy_of(const char *text, size_t size)
{
	char *copy = malloc(size + 1);
	if (copy == NULL)
		abort();
	memcpy(copy, text, size);
	copy[size] = '\0';
	return copy;
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* The text with blanks for comments, of the same length. */
static char *without_comments(const struct source_file *file)
{
	char *text = copy_of(file->text, file->size);
	char quote = '\0';
	for (size_t i = 0; i < file->size; i++) {
		if (quote != '\0') {
			if (text[i] == '\\')
				i++;
			else if (text[i] == quote)
				quote = '\0';
		} else if (text[i] == '"' || text[i] == '\'') {
			quote = text[i];
		} else if (text[i] == '/' && text[i + 1] == '*') {
			const char *end = strstr(text + i + 2, "*/");
			size_t stop = end != NULL ? (size_t)(end - text) + 2 : file->size;
			for (; i < stop; i++)
				text[i] = text[i] == '\n' ? '\n' : ' ';
			i--;
		}
	}
	return text;
}

static const char *skip_blanks(const char *at)
{
	while (isspace((unsigned char)*at))
		at++;
	return at;
}

/* The next word; NULL: something else stands there. */
static char *take_word(const char **at)
{
	const char *begin = skip_blanks(*at);
	const char *end = begin;
	while (is_word(*end))
		end++;
	*at = end;
	return end > begin ? copy_of(begin, (size_t)(end - begin)) : NULL;
}

/* Behind the comma that ends the value, or at the brace that ends the table. */
static const char *value_end(const char *at)
{
	char quote = '\0';
	for (unsigned depth = 0; *at != '\0'; at++) {
		if (quote != '\0') {
			if (*at == '\\' && at[1] != '\0')
				at++;
			else if (*at == quote)
				quote = '\0';
		} else if (*at == '"' || *at == '\'') {
			quote = *at;
		} else if (*at == '{' || *at == '(' || *at == '[') {
			depth++;
		} else if (depth > 0 && (*at == '}' || *at == ')' || *at == ']')) {
			depth--;
		} else if (depth == 0 && (*at == ',' || *at == '}')) {
			break;
		}
	}
	return at;
}

static void add_entry(struct source_tables *tables, struct table_entry entry)
{
	void *grown = realloc(tables->entries, (tables->count + 1) * sizeof(*tables->entries));
	if (grown == NULL)
		abort();
	tables->entries = grown;
	tables->entries[tables->count++] = entry;
}

/* From behind the opening brace. */
static const char *take_table(struct source_tables *tables, const char *at, const struct table_entry *table)
{
	for (;;) {
		at = skip_blanks(at);
		if (*at == '}' || *at == '\0')
			return at;
		char *field = NULL;
		const char *value = at;
		if (*at == '.') {
			at++;
			field = take_word(&at);
			at = skip_blanks(at);
			value = *at == '=' ? skip_blanks(at + 1) : at;
		}
		const char *end = value_end(value);
		at = *end == ',' ? end + 1 : end;
		while (end > value && isspace((unsigned char)end[-1]))
			end--;
		add_entry(tables, (struct table_entry) {
					  .file = copy_of(table->file, strlen(table->file)),
					  .line = table->line,
					  .structure = copy_of(table->structure, strlen(table->structure)),
					  .variable = copy_of(table->variable, strlen(table->variable)),
					  .field = field != NULL ? field : copy_of("", 0),
					  .value = copy_of(value, (size_t)(end - value)) });
	}
}

/* Behind "struct ": whether an initializer follows; *at is behind its opening brace then. */
static bool take_head(const char **at, struct table_entry *table)
{
	table->structure = take_word(at);
	const char *next = skip_blanks(*at);
	if (*next == ')') { /* a literal */
		table->variable = copy_of("", 0);
		next = skip_blanks(next + 1);
	} else {
		table->variable = take_word(at);
		next = skip_blanks(*at);
		if (table->variable == NULL || *next != '=')
			return false;
		next = skip_blanks(next + 1);
	}
	if (table->structure == NULL || *next != '{')
		return false;
	*at = next + 1;
	return true;
}

void source_tables_add(struct source_tables *tables, const struct source_file *file)
{
	static const char begin[] = "struct ";
	char *text = without_comments(file);
	unsigned line = 1;
	const char *counted = text;
	const char *at = text;
	while ((at = strstr(at, begin)) != NULL) {
		for (; counted < at; counted++)
			line += *counted == '\n';
		at += sizeof(begin) - 1;
		struct table_entry table = { .file = file->path, .line = line };
		const char *inside = at;
		if (take_head(&inside, &table))
			(void)take_table(tables, inside, &table); /* there may be more in it */
		free(table.structure);
		free(table.variable);
	}
	free(text);
}

void source_tables_free(struct source_tables *tables)
{
	for (size_t i = 0; i < tables->count; i++) {
		struct table_entry *entry = &tables->entries[i];
		free(entry->file);
		free(entry->structure);
		free(entry->variable);
		free(entry->field);
		free(entry->value);
	}
	free(tables->entries);
	*tables = (struct source_tables) { 0 };
}

/* --- the function around a line --- */

/* The word before the first parenthesis that is not one of an attribute. */
static bool name_in_head(const char *head, size_t size, char *name, size_t room)
{
	const char *end = head + size;
	for (const char *at = head; at < end; at++) {
		if (*at != '(')
			continue;
		const char *last = at;
		const char *first = last;
		while (first > head && is_word(first[-1]))
			first--;
		if (first == last)
			continue;
		if ((size_t)(last - first) == strlen("__attribute__") &&
		    memcmp(first, "__attribute__", (size_t)(last - first)) == 0) {
			unsigned depth = 1;
			for (at++; at < end && depth > 0; at++)
				depth += (unsigned)(*at == '(') - (unsigned)(*at == ')');
			at--;
			continue;
		}
		if ((size_t)(last - first) >= room)
			return false;
		memcpy(name, first, (size_t)(last - first));
		name[last - first] = '\0';
		return true;
	}
	return false;
}

/* A head begins with a letter in the first column and ends where its body begins. */
bool source_function_at(const struct source_file *file, unsigned line, char *name, size_t room)
{
	struct source_line at = { 0 };
	const char *head = NULL;
	size_t head_size = 0;
	bool in_body = false;
	bool found = false;
	while (!found && source_line_next(file, &at)) {
		char first = at.size > 0 ? at.text[0] : '\0';
		if (!in_body && first == '{') {
			in_body = true;
			head_size = head != NULL ? (size_t)(at.text - head) : 0;
		} else if (!in_body && (isalpha((unsigned char)first) || first == '_') &&
			   (head == NULL || at.text[at.size - 1] != ';')) {
			head = at.text;
		} else if (!in_body && (first == '\0' || first == '#' || first == '}')) {
			head = NULL;
		}
		found = in_body && at.number >= line;
		if (at.number >= line && !in_body && head == NULL)
			return false;
		if (in_body && first == '}') {
			in_body = false;
			if (!found)
				head = NULL;
		}
	}
	return found && head != NULL && name_in_head(head, head_size, name, room);
}
