#include "harness/yaml_tree.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <yaml.h>

#include "base/assert.h"
#include "base/memory.h"
#include "harness/allocate.h"

/* --- building --- */

struct yaml_node *yaml_scalar(struct arena *arena, const char *text, struct place place)
{
	struct yaml_node *node = arena_zeroed(arena, sizeof(*node));
	node->kind = YAML_SCALAR;
	node->place = place;
	node->text = text;
	return node;
}

struct yaml_node *yaml_collection(struct arena *arena, enum yaml_kind kind, struct place place)
{
	struct yaml_node *node = arena_zeroed(arena, sizeof(*node));
	node->kind = kind;
	node->place = place;
	return node;
}

struct yaml_item *yaml_get_item(const struct yaml_node *node, const char *key)
{
	if (node == NULL || node->kind != YAML_MAPPING)
		return NULL;
	for (size_t i = 0; i < node->count; i++) {
		if (strcmp(node->items[i].key, key) == 0)
			return &node->items[i];
	}
	return NULL;
}

struct yaml_node *yaml_get(const struct yaml_node *node, const char *key)
{
	const struct yaml_item *item = yaml_get_item(node, key);
	return item != NULL ? item->value : NULL;
}

static struct yaml_item *add_item(struct arena *arena, struct yaml_node *node)
{
	ASSERT(node->kind != YAML_SCALAR);
	if (node->count == node->capacity) {
		size_t capacity = node->capacity > 0 ? node->capacity * 2 : 8;
		struct yaml_item *items = arena_zeroed(arena, capacity * sizeof(*items));
		if (node->count > 0)
			memcpy(items, node->items, node->count * sizeof(*items));
		node->items = items;
		node->capacity = capacity;
	}
	return &node->items[node->count++];
}

void yaml_put(struct arena *arena, struct yaml_node *mapping, const char *key, struct place place,
	      struct yaml_node *value)
{
	ASSERT(mapping->kind == YAML_MAPPING);
	struct yaml_item *item = yaml_get_item(mapping, key);
	if (item == NULL)
		item = add_item(arena, mapping);
	*item = (struct yaml_item) { .key = key, .place = place, .value = value };
}

void yaml_append(struct arena *arena, struct yaml_node *sequence, struct yaml_node *value)
{
	ASSERT(sequence->kind == YAML_SEQUENCE);
	*add_item(arena, sequence) = (struct yaml_item) { .place = value->place, .value = value };
}

void yaml_remove(struct yaml_node *mapping, const char *key)
{
	struct yaml_item *item = yaml_get_item(mapping, key);
	if (item == NULL)
		return;
	size_t after = mapping->count - (size_t)(item - mapping->items) - 1;
	memmove(item, item + 1, after * sizeof(*item));
	mapping->count--;
}

struct yaml_node *yaml_copy(struct arena *arena, const struct yaml_node *node)
{
	struct yaml_node *copy = arena_zeroed(arena, sizeof(*copy));
	*copy = *node;
	copy->items = node->count > 0 ? arena_zeroed(arena, node->count * sizeof(*copy->items)) : NULL;
	copy->capacity = node->count;
	for (size_t i = 0; i < node->count; i++) {
		copy->items[i] = node->items[i];
		copy->items[i].value = yaml_copy(arena, node->items[i].value);
	}
	return copy;
}

bool yaml_is_null(const struct yaml_node *node)
{
	if (node->kind != YAML_SCALAR || node->quoted)
		return false;
	return node->text[0] == '\0' || strcmp(node->text, "~") == 0;
}

const char *yaml_kind_text(const struct yaml_node *node)
{
	if (node->kind == YAML_SCALAR)
		return yaml_is_null(node) ? "nothing" : "a value";
	return node->kind == YAML_MAPPING ? "a mapping" : "a list";
}

/* --- parsing --- */

struct parse {
	yaml_parser_t parser;
	struct arena *arena;
	const char *origin;
	bool lines;
	struct problem *problem;
	struct yaml_node *root;
	struct yaml_node *open[YAML_DEPTH_MAX]; /* collections that have begun and not ended */
	size_t depth;
	const char *key; /* of the innermost mapping: read, and waiting for its value */
	struct place key_place;
	size_t nodes;
};

static struct place place_of(const struct parse *parse, yaml_mark_t mark)
{
	return (struct place) { .origin = parse->origin, .line = parse->lines ? (int)mark.line + 1 : 0 };
}

static bool expects_key(const struct parse *parse)
{
	return parse->depth > 0 && parse->open[parse->depth - 1]->kind == YAML_MAPPING && parse->key == NULL;
}

static struct status take_key(struct parse *parse, const yaml_event_t *event)
{
	struct place place = place_of(parse, event->start_mark);
	const struct yaml_node *mapping = parse->open[parse->depth - 1];
	if (event->type != YAML_SCALAR_EVENT)
		return problem_at(parse->problem, STATUS_INVALID, place, "",
				  "a key is not text, expected NAME: VALUE");
	const char *text = (const char *)event->data.scalar.value;
	size_t length = event->data.scalar.length;
	if (length == 0 || length > YAML_NAME_BYTES_MAX || strlen(text) != length)
		return problem_at(parse->problem, STATUS_INVALID, place, "",
				  "a key is empty or longer than %d bytes, expected NAME: VALUE",
				  YAML_NAME_BYTES_MAX);
	const struct yaml_item *earlier = yaml_get_item(mapping, text);
	if (earlier != NULL && parse->lines)
		return problem_at(parse->problem, STATUS_INVALID, place, text,
				  "duplicate key, expected it once (line %d has it)", earlier->place.line);
	if (earlier != NULL)
		return problem_at(parse->problem, STATUS_INVALID, place, text,
				  "duplicate key, expected it once");
	parse->key = arena_string(parse->arena, text, length);
	parse->key_place = place;
	return status_ok();
}

/* Hangs a finished scalar or a just begun collection where it belongs. */
static void attach(struct parse *parse, struct yaml_node *node)
{
	if (parse->depth == 0) {
		parse->root = node;
		return;
	}
	struct yaml_node *parent = parse->open[parse->depth - 1];
	if (parent->kind == YAML_SEQUENCE) {
		yaml_append(parse->arena, parent, node);
		return;
	}
	yaml_put(parse->arena, parent, parse->key, parse->key_place, node);
	parse->key = NULL;
}

static struct status take_scalar(struct parse *parse, const yaml_event_t *event)
{
	struct place place = place_of(parse, event->start_mark);
	const char *text = (const char *)event->data.scalar.value;
	size_t length = event->data.scalar.length;
	if (strlen(text) != length)
		return problem_at(parse->problem, STATUS_INVALID, place, "",
				  "a zero byte in a value, expected text");
	/* The place of an absent value is after the key's colon, maybe on the next line: the key's is meant.
	 */
	if (length == 0 && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && parse->key != NULL)
		place = parse->key_place;
	struct yaml_node *node = yaml_scalar(parse->arena, arena_string(parse->arena, text, length), place);
	node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	attach(parse, node);
	return status_ok();
}

static struct status begin_collection(struct parse *parse, const yaml_event_t *event, enum yaml_kind kind)
{
	struct place place = place_of(parse, event->start_mark);
	if (parse->depth == YAML_DEPTH_MAX)
		return problem_at(parse->problem, STATUS_INVALID, place, "",
				  "nested too deeply, expected at most %d levels", YAML_DEPTH_MAX);
	struct yaml_node *node = yaml_collection(parse->arena, kind, place);
	attach(parse, node);
	parse->open[parse->depth++] = node;
	return status_ok();
}

static bool has_tag(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.tag != NULL;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.tag != NULL;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.tag != NULL;
	default:
		return false;
	}
}

static struct status take_event(struct parse *parse, const yaml_event_t *event)
{
	struct place place = place_of(parse, event->start_mark);
	bool begins = event->type == YAML_SCALAR_EVENT || event->type == YAML_MAPPING_START_EVENT ||
		      event->type == YAML_SEQUENCE_START_EVENT;
	if (event->type == YAML_ALIAS_EVENT)
		return problem_at(parse->problem, STATUS_INVALID, place, "",
				  "alias '*%.64s', expected the value written out",
				  (const char *)event->data.alias.anchor);
	if (has_tag(event))
		return problem_at(parse->problem, STATUS_INVALID, place, "",
				  "a tag ('!'), expected a plain value");
	if (begins && ++parse->nodes > YAML_NODES_MAX)
		return problem_at(parse->problem, STATUS_INVALID, place, "",
				  "too many values, expected at most %d", YAML_NODES_MAX);
	if (begins && expects_key(parse))
		return take_key(parse, event);
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (parse->root != NULL)
			return problem_at(parse->problem, STATUS_INVALID, place, "",
					  "a second document ('---'), expected one");
		return status_ok();
	case YAML_SCALAR_EVENT:
		return take_scalar(parse, event);
	case YAML_MAPPING_START_EVENT:
		return begin_collection(parse, event, YAML_MAPPING);
	case YAML_SEQUENCE_START_EVENT:
		return begin_collection(parse, event, YAML_SEQUENCE);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		ASSERT(parse->depth > 0);
		parse->depth--;
		return status_ok();
	default:
		return status_ok();
	}
}

static struct status syntax_problem(struct parse *parse)
{
	const yaml_parser_t *parser = &parse->parser;
	if (parser->error == YAML_MEMORY_ERROR)
		return problem_set(parse->problem, STATUS_NO_MEMORY, "%s: out of memory", parse->origin);
	yaml_mark_t mark = parser->problem_mark;
	const char *what = parser->problem != NULL ? parser->problem : "unreadable";
	if (parser->error == YAML_READER_ERROR)
		return problem_at(parse->problem, STATUS_INVALID, (struct place) { .origin = parse->origin },
				  "", "not YAML: %s at byte %zu, expected UTF-8 text", what,
				  parser->problem_offset);
	const char *context = parser->context != NULL ? parser->context : "";
	return problem_at(parse->problem, STATUS_INVALID, place_of(parse, mark), "",
			  "not YAML: %s%s%s, expected valid syntax (column %zu)", context,
			  context[0] != '\0' ? ", " : "", what, mark.column + 1);
}

static struct status parse_events(struct parse *parse)
{
	for (;;) {
		yaml_event_t event;
		if (!yaml_parser_parse(&parse->parser, &event))
			return syntax_problem(parse);
		bool last = event.type == YAML_STREAM_END_EVENT;
		struct status status = take_event(parse, &event);
		yaml_event_delete(&event);
		if (last || !status_is_ok(status))
			return status;
	}
}

struct status yaml_parse(struct arena *arena, const char *text, size_t size, const char *origin, bool lines,
			 struct yaml_node **root, struct problem *problem)
{
	struct parse parse = { .arena = arena, .origin = origin, .lines = lines, .problem = problem };
	*root = NULL;
	if (!yaml_parser_initialize(&parse.parser))
		return problem_set(problem, STATUS_NO_MEMORY, "%s: out of memory", origin);
	yaml_parser_set_input_string(&parse.parser, (const unsigned char *)text, size);
	struct status status = parse_events(&parse);
	yaml_parser_delete(&parse.parser);
	if (status_is_ok(status))
		*root = parse.root;
	return status;
}

/* --- reading --- */

static struct status read_stream(FILE *file, const char *path, char *buffer, size_t *size,
				 struct problem *problem)
{
	struct stat about;
	if (fstat(fileno(file), &about) == 0 && S_ISDIR(about.st_mode))
		return problem_set(problem, STATUS_INVALID, "%s: is a directory, expected a workload file",
				   path);
	errno = 0;
	*size = fread(buffer, 1, YAML_FILE_BYTES_MAX + 1, file);
	if (ferror(file))
		return problem_set(problem, STATUS_IO, "%s: cannot be read: %s", path, strerror(errno));
	if (*size > YAML_FILE_BYTES_MAX)
		return problem_set(problem, STATUS_INVALID, "%s: larger than 1 MiB, expected a workload file",
				   path);
	return status_ok();
}

struct status yaml_read(struct arena *arena, const char *path, struct yaml_node **root,
			struct problem *problem)
{
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return problem_set(problem, STATUS_INVALID, "%s: cannot be opened: %s", path,
				   strerror(errno));
	char *buffer = allocate_zeroed(1, YAML_FILE_BYTES_MAX + 2);
	size_t size = 0;
	*root = NULL;
	struct status status = read_stream(file, path, buffer, &size, problem);
	(void)fclose(file);
	if (status_is_ok(status))
		status = yaml_parse(arena, buffer, size, arena_string(arena, path, strlen(path)), true, root,
				    problem);
	memory_free(buffer);
	if (status_is_ok(status) && (*root == NULL || yaml_is_null(*root)))
		return problem_at(problem, STATUS_INVALID, (struct place) { .origin = path, .line = 1 }, "",
				  "the file is empty, expected a workload: 'name: NAME' at least");
	return status;
}

/* --- printing --- */

/* Whether a scalar reads back as itself without quotes, in block and in flow context. */
static bool is_plain(const char *text)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-() %";
	size_t length = strlen(text);
	if (length == 0 || strspn(text, safe) != length)
		return false;
	if (strchr("-.%() ", text[0]) != NULL && !(text[0] == '.' && length > 1 && text[1] == '/'))
		return false;
	return text[length - 1] != ' ';
}

/*
 * Characters beyond ASCII that may not stand in a document as they are, or that end a line: C1 controls, the
 * separators of lines and paragraphs, the byte order mark, and what is no character. The length in UTF-8 of
 * the one at `text` and its code; 0: it is none of them.
 */
static size_t find_special(const unsigned char *text, unsigned *code)
{
	if (text[0] == 0xc2 && text[1] >= 0x80 && text[1] <= 0x9f) {
		*code = text[1];
		return 2;
	}
	if ((text[0] != 0xe2 && text[0] != 0xef) || text[1] < 0x80 || text[2] < 0x80)
		return 0;
	*code = (text[0] & 0xfu) << 12 | (text[1] & 0x3fu) << 6 | (text[2] & 0x3fu);
	bool is_special = *code == 0x2028 || *code == 0x2029 || *code == 0xfeff || *code >= 0xfffe;
	return is_special ? 3 : 0;
}

static void print_scalar(FILE *file, const char *text)
{
	(void)fputc('"', file);
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		unsigned code = 0;
		size_t special = find_special((const unsigned char *)text, &code);
		if (special > 0) {
			(void)fprintf(file, "\\u%04x", code);
			text += special - 1;
			continue;
		}
		if (c == '"' || c == '\\')
			(void)fprintf(file, "\\%c", c);
		else if (c == '\n')
			(void)fputs("\\n", file);
		else if (c < 0x20 || c == 0x7f)
			(void)fprintf(file, "\\x%02x", c);
		else
			(void)fputc(c, file);
	}
	(void)fputc('"', file);
}

static void print_value_text(FILE *file, const struct yaml_node *node)
{
	if (yaml_is_null(node))
		(void)fputc('~', file);
	else if (is_plain(node->text))
		(void)fputs(node->text, file);
	else
		print_scalar(file, node->text);
}

static void print_key(FILE *file, const char *key)
{
	if (is_plain(key))
		(void)fputs(key, file);
	else
		print_scalar(file, key);
	(void)fputc(':', file);
}

void yaml_print_flow(FILE *file, const struct yaml_node *node)
{
	if (node->kind == YAML_SCALAR) {
		print_value_text(file, node);
		return;
	}
	(void)fputc(node->kind == YAML_MAPPING ? '{' : '[', file);
	for (size_t i = 0; i < node->count; i++) {
		if (i > 0)
			(void)fputs(", ", file);
		if (node->kind == YAML_MAPPING) {
			print_key(file, node->items[i].key);
			(void)fputc(' ', file);
		}
		yaml_print_flow(file, node->items[i].value);
	}
	(void)fputc(node->kind == YAML_MAPPING ? '}' : ']', file);
}

static bool holds_scalars_only(const struct yaml_node *node)
{
	for (size_t i = 0; i < node->count; i++) {
		if (node->items[i].value->kind != YAML_SCALAR)
			return false;
	}
	return true;
}

static void print_block(FILE *file, const struct yaml_node *node, int indent, bool begun);

/* What follows "key:" or "-": on the same line if it is short, below otherwise. */
static void print_item_value(FILE *file, const struct yaml_node *value, int indent, bool in_sequence)
{
	bool list_of_scalars = value->kind == YAML_SEQUENCE && holds_scalars_only(value);
	if (value->kind == YAML_SCALAR || value->count == 0 || list_of_scalars) {
		(void)fputc(' ', file);
		yaml_print_flow(file, value);
		(void)fputc('\n', file);
		return;
	}
	bool inlined = in_sequence && value->kind == YAML_MAPPING;
	(void)fputc(inlined ? ' ' : '\n', file);
	print_block(file, value, indent + 2, inlined);
}

/* `begun`: the line of the first item is indented already, after a "-". */
static void print_block(FILE *file, const struct yaml_node *node, int indent, bool begun)
{
	for (size_t i = 0; i < node->count; i++) {
		(void)fprintf(file, "%*s", begun && i == 0 ? 0 : indent, "");
		if (node->kind == YAML_MAPPING)
			print_key(file, node->items[i].key);
		else
			(void)fputc('-', file);
		print_item_value(file, node->items[i].value, indent, node->kind == YAML_SEQUENCE);
	}
}

void yaml_print(FILE *file, const struct yaml_node *node)
{
	if (node->kind == YAML_SCALAR || node->count == 0) {
		yaml_print_flow(file, node);
		(void)fputc('\n', file);
		return;
	}
	print_block(file, node, 0, false);
}

char *yaml_text(struct arena *arena, const struct yaml_node *node, bool flow)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	if (file == NULL)
		return arena_string(arena, "", 0);
	if (flow)
		yaml_print_flow(file, node);
	else
		yaml_print(file, node);
	(void)fclose(file);
	char *copy = arena_string(arena, text, size);
	memory_free(text);
	return copy;
}
