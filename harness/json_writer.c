#include "harness/json_writer.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/units.h"

/* The length of the UTF-8 character at `text`, 0 if there is none (overlong, surrogate, cut off). */
static size_t utf8_length(const unsigned char *text)
{
	unsigned char c = text[0];
	size_t length = c < 0x80		? 1
			: c >= 0xc2 && c < 0xe0 ? 2
			: c >= 0xe0 && c < 0xf0 ? 3
			: c >= 0xf0 && c < 0xf5 ? 4
						: 0;
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] >= 0xa0) ||
	    (c == 0xf0 && text[1] < 0x90) || (c == 0xf4 && text[1] >= 0x90))
		return 0;
	return length;
}

static void write_string(FILE *file, const char *string)
{
	const unsigned char *text = (const unsigned char *)string;
	(void)fputc('"', file);
	while (*text != '\0') {
		size_t length = utf8_length(text);
		if (length == 0)
			(void)fputs("\\ufffd", file);
		else if (*text == '"' || *text == '\\')
			(void)fprintf(file, "\\%c", *text);
		else if (*text < 0x20)
			(void)fprintf(file, "\\u%04x", *text);
		else
			(void)fwrite(text, 1, length, file);
		text += length > 0 ? length : 1;
	}
	(void)fputc('"', file);
}

static void write_key(struct json_writer *json, const char *key)
{
	if (json->comma)
		(void)fputc(',', json->file);
	if (json->pretty && json->depth > 0)
		(void)fprintf(json->file, "\n%*s", 2 * json->depth, "");
	json->comma = true;
	if (key == NULL)
		return;
	write_string(json->file, key);
	(void)fputs(json->pretty ? ": " : ":", json->file);
}

static void begin(struct json_writer *json, const char *key, char bracket)
{
	write_key(json, key);
	(void)fputc(bracket, json->file);
	json->comma = false;
	json->depth++;
}

static void end(struct json_writer *json, char bracket)
{
	json->depth--;
	if (json->pretty && json->comma)
		(void)fprintf(json->file, "\n%*s", 2 * json->depth, "");
	(void)fputc(bracket, json->file);
	json->comma = true;
}

void json_object_begin(struct json_writer *json, const char *key)
{
	begin(json, key, '{');
}

void json_object_end(struct json_writer *json)
{
	end(json, '}');
}

void json_array_begin(struct json_writer *json, const char *key)
{
	begin(json, key, '[');
}

void json_array_end(struct json_writer *json)
{
	end(json, ']');
}

void json_text(struct json_writer *json, const char *key, const char *text)
{
	write_key(json, key);
	if (text == NULL)
		(void)fputs("null", json->file);
	else
		write_string(json->file, text);
}

void json_count(struct json_writer *json, const char *key, uint64_t count)
{
	write_key(json, key);
	(void)fprintf(json->file, "%" PRIu64, count);
}

void json_known(struct json_writer *json, const char *key, uint64_t count)
{
	if (count == UINT64_MAX)
		json_text(json, key, NULL);
	else
		json_count(json, key, count);
}

void json_real(struct json_writer *json, const char *key, double real)
{
	write_key(json, key);
	if (isfinite(real))
		(void)fprintf(json->file, "%.9g", real);
	else
		(void)fputs("null", json->file);
}

void json_boolean(struct json_writer *json, const char *key, bool boolean)
{
	write_key(json, key);
	(void)fputs(boolean ? "true" : "false", json->file);
}

static void write_scalar(struct json_writer *json, const char *key, const char *text)
{
	uint64_t count;
	double real;
	bool boolean = strcmp(text, "true") == 0;
	size_t digits = strspn(text, "0123456789");
	/* A leading zero would be octal to some readers: such text stays text. */
	bool plain = digits > 0 && (text[0] != '0' || digits == 1);
	if (plain && text[digits] == '\0' && status_is_ok(units_parse_count(text, &count)))
		json_count(json, key, count);
	else if (plain && text[digits] == '.' && status_is_ok(units_parse_real(text, &real)))
		json_real(json, key, real);
	else if (boolean || strcmp(text, "false") == 0)
		json_boolean(json, key, boolean);
	else
		json_text(json, key, text);
}

void json_yaml(struct json_writer *json, const char *key, const struct yaml_node *node)
{
	if (node->kind == YAML_SCALAR) {
		if (yaml_is_null(node))
			json_text(json, key, NULL);
		else
			write_scalar(json, key, node->text);
		return;
	}
	begin(json, key, node->kind == YAML_MAPPING ? '{' : '[');
	for (size_t i = 0; i < node->count; i++)
		json_yaml(json, node->items[i].key, node->items[i].value);
	end(json, node->kind == YAML_MAPPING ? '}' : ']');
}
