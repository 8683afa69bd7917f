#include "harness/json_reader.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64, NUMBER_BYTES_MAX = 64 };

struct reader {
	struct arena *arena;
	const char *text;
	const char *at;
	const char *end;
};

static struct status corrupt(const struct reader *reader, const char *expected)
{
	return status_error(STATUS_CORRUPT, "not JSON at byte %zu, expected %s",
			    (size_t)(reader->at - reader->text), expected);
}

static void skip_blanks(struct reader *reader)
{
	while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) != NULL && *reader->at != '\0')
		reader->at++;
}

/* Consumes the character after blanks, if it is that one. */
static bool take(struct reader *reader, char wanted)
{
	skip_blanks(reader);
	if (reader->at == reader->end || *reader->at != wanted)
		return false;
	reader->at++;
	return true;
}

static bool hex_digits(const char *from, uint32_t *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++) {
		char c = from[i];
		uint32_t digit = c >= '0' && c <= '9'	? (uint32_t)(c - '0')
				 : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
				 : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
							: 16;
		if (digit > 15)
			return false;
		*code = *code << 4 | digit;
	}
	return true;
}

static char *put_utf8(char *to, uint32_t code)
{
	if (code < 0x80) {
		*to++ = (char)code;
	} else if (code < 0x800) {
		*to++ = (char)(0xc0 | code >> 6);
		*to++ = (char)(0x80 | (code & 0x3f));
	} else if (code < 0x10000) {
		*to++ = (char)(0xe0 | code >> 12);
		*to++ = (char)(0x80 | (code >> 6 & 0x3f));
		*to++ = (char)(0x80 | (code & 0x3f));
	} else {
		*to++ = (char)(0xf0 | code >> 18);
		*to++ = (char)(0x80 | (code >> 12 & 0x3f));
		*to++ = (char)(0x80 | (code >> 6 & 0x3f));
		*to++ = (char)(0x80 | (code & 0x3f));
	}
	return to;
}

/* What follows "\u", surrogate pairs included; 0: not valid. */
static uint32_t read_escape(struct reader *reader)
{
	uint32_t code, low;
	if (reader->end - reader->at < 4 || !hex_digits(reader->at, &code))
		return 0;
	reader->at += 4;
	if (code < 0xd800 || code > 0xdfff)
		return code;
	if (code > 0xdbff || reader->end - reader->at < 6 || reader->at[0] != '\\' || reader->at[1] != 'u' ||
	    !hex_digits(reader->at + 2, &low) || low < 0xdc00 || low > 0xdfff)
		return 0;
	reader->at += 6;
	return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

/* After the opening quote. Never longer than it is written. */
static struct status read_string(struct reader *reader, const char **text)
{
	static const char escapes[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	const char *close = reader->at;
	while (close < reader->end && *close != '"')
		close += *close == '\\' && close + 1 < reader->end ? 2 : 1;
	if (close >= reader->end)
		return corrupt(reader, "the string's end");
	char *to = arena_allocate(reader->arena, (size_t)(close - reader->at) + 1, 1);
	if (to == NULL)
		return status_make(STATUS_NO_MEMORY);
	*text = to;
	while (reader->at < close) {
		char c = *reader->at++;
		if ((unsigned char)c < 0x20)
			return corrupt(reader, "no control character");
		if (c != '\\') {
			*to++ = c;
			continue;
		}
		c = *reader->at++;
		const char *escape = c == '\0' ? NULL : strchr(escapes, c);
		uint32_t code = escape != NULL ? (uint32_t)meanings[escape - escapes]
				: c == 'u'     ? read_escape(reader)
					       : 0;
		if (code == 0)
			return corrupt(reader, "a valid escape");
		to = put_utf8(to, code);
	}
	*to = '\0';
	reader->at = close + 1;
	return status_ok();
}

/* Skips digits; returns how many. */
static size_t skip_digits(const char **at)
{
	size_t count = strspn(*at, "0123456789");
	*at += count;
	return count;
}

/* Whether all of the text is a number by the grammar of RFC 8259, which strtod does not keep to. */
static bool is_number(const char *text)
{
	text += *text == '-';
	const char *whole = text;
	size_t digits = skip_digits(&text);
	if (digits == 0 || (digits > 1 && *whole == '0'))
		return false;
	if (*text == '.') {
		text++;
		if (skip_digits(&text) == 0)
			return false;
	}
	if (*text == 'e' || *text == 'E') {
		text++;
		text += *text == '+' || *text == '-';
		if (skip_digits(&text) == 0)
			return false;
	}
	return *text == '\0';
}

static struct status read_number(struct reader *reader, struct json *json)
{
	char digits[NUMBER_BYTES_MAX + 1];
	size_t size = 0;
	while (size < NUMBER_BYTES_MAX && reader->at + size < reader->end && reader->at[size] != '\0' &&
	       strchr("+-.0123456789eE", reader->at[size]) != NULL) {
		digits[size] = reader->at[size];
		size++;
	}
	digits[size] = '\0';
	if (!is_number(digits))
		return corrupt(reader, "a value");
	json->kind = JSON_NUMBER;
	json->number = strtod(digits, NULL);
	if (!isfinite(json->number))
		return corrupt(reader, "a number that a double holds");
	reader->at += size;
	return status_ok();
}

static bool take_word(struct reader *reader, const char *word)
{
	size_t size = strlen(word);
	if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, word, size) != 0)
		return false;
	reader->at += size;
	return true;
}

static struct status read_value(struct reader *reader, const char *name, int depth, struct json **made);

/* Members up to the closing bracket; the opening one is taken. */
static struct status read_members(struct reader *reader, struct json *parent, int depth)
{
	bool is_object = parent->kind == JSON_OBJECT;
	char close = is_object ? '}' : ']';
	struct json **link = &parent->first;
	if (take(reader, close))
		return status_ok();
	do {
		const char *name = NULL;
		if (is_object) {
			if (!take(reader, '"'))
				return corrupt(reader, "a name in quotes");
			TRY(read_string(reader, &name));
			if (!take(reader, ':'))
				return corrupt(reader, "':'");
		}
		TRY(read_value(reader, name, depth, link));
		link = &(*link)->next;
	} while (take(reader, ','));
	if (!take(reader, close))
		return corrupt(reader, is_object ? "',' or '}'" : "',' or ']'");
	return status_ok();
}

static struct status read_value(struct reader *reader, const char *name, int depth, struct json **made)
{
	if (depth == DEPTH_MAX)
		return corrupt(reader, "less nesting");
	struct json *json = arena_allocate(reader->arena, sizeof(*json), _Alignof(struct json));
	if (json == NULL)
		return status_make(STATUS_NO_MEMORY);
	*json = (struct json) { .name = name };
	*made = json;
	skip_blanks(reader);
	if (take(reader, '{')) {
		json->kind = JSON_OBJECT;
		return read_members(reader, json, depth + 1);
	}
	if (take(reader, '[')) {
		json->kind = JSON_ARRAY;
		return read_members(reader, json, depth + 1);
	}
	if (take(reader, '"')) {
		json->kind = JSON_STRING;
		return read_string(reader, &json->text);
	}
	if (take_word(reader, "null"))
		return status_ok();
	if (take_word(reader, "true")) {
		json->kind = JSON_TRUE;
		return status_ok();
	}
	if (take_word(reader, "false")) {
		json->kind = JSON_FALSE;
		return status_ok();
	}
	return read_number(reader, json);
}

struct status json_parse(struct arena *arena, const char *text, size_t size, struct json **root)
{
	struct reader reader = { .arena = arena, .text = text, .at = text, .end = text + size };
	TRY(read_value(&reader, NULL, 0, root));
	skip_blanks(&reader);
	return reader.at == reader.end ? status_ok() : corrupt(&reader, "nothing more");
}

const struct json *json_find(const struct json *json, const char *path)
{
	while (json != NULL && *path != '\0') {
		const struct json *found = NULL;
		size_t longest = 0;
		for (const struct json *member = json->kind == JSON_OBJECT ? json->first : NULL;
		     member != NULL; member = member->next) {
			size_t size = strlen(member->name);
			if (strncmp(path, member->name, size) == 0 &&
			    (path[size] == '.' || path[size] == '\0') && (found == NULL || size > longest)) {
				found = member;
				longest = size;
			}
		}
		json = found;
		path += longest + (path[longest] == '.');
	}
	return json;
}

double json_number_at(const struct json *json, const char *path, double otherwise)
{
	const struct json *found = json_find(json, path);
	return found != NULL && found->kind == JSON_NUMBER ? found->number : otherwise;
}

const char *json_text_at(const struct json *json, const char *path, const char *otherwise)
{
	const struct json *found = json_find(json, path);
	return found != NULL && found->kind == JSON_STRING ? found->text : otherwise;
}
