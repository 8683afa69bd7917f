#include "stacks/stack_check.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The depth of a function is its frame and the deepest of what it calls, found depth first and once for each.
 * One that is asked for while it is being found lies on a cycle.
 */
enum depth_state { DEPTH_UNKNOWN, DEPTH_ASKED, DEPTH_KNOWN };

enum { WAY_MAX = 1024, NO_NODE = UINT32_MAX };

#define LARGEST_STACK "65536"

struct depth {
	enum depth_state state;
	long bytes;
	uint32_t next; /* on the deepest way; NO_NODE: it ends here */
};

struct walk {
	struct stack_check *check;
	struct depth *depths; /* by node */
	uint32_t run;	      /* what the task type runs that is looked at */
	uint32_t way[WAY_MAX];
	size_t way_length;
};

/* What a call by pointer adds to its caller. */
struct reach {
	long bytes;
	long embedder_bytes;
	uint32_t deepest;
};

static long depth_of(struct walk *walk, uint32_t node);

/* --- words --- */

static const struct call_node *node_at(const struct walk *walk, uint32_t node)
{
	return &walk->check->graph->nodes[node];
}

/* The file whose own function this is, or the one where a function of all is defined. */
static bool is_of_file(const struct call_node *node, const char *file)
{
	const char *colon = strrchr(node->name, ':');
	if (colon == NULL)
		return node->file != NULL && strcmp(node->file, file) == 0;
	return strlen(file) == (size_t)(colon - node->name) &&
	       memcmp(file, node->name, (size_t)(colon - node->name)) == 0;
}

/* "a <- b <- c": what led to what is being asked for. */
static void way_text(const struct walk *walk, char *text, size_t room)
{
	size_t size = 0;
	text[0] = '\0';
	for (size_t i = walk->way_length; i > 0 && size < room; i--)
		size += (size_t)snprintf(text + size, room - size, "%s%s", i < walk->way_length ? " <- " : "",
					 node_at(walk, walk->way[i - 1])->name);
}

static void complain(struct walk *walk, const char *path, unsigned line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void complain(struct walk *walk, const char *path, unsigned line, const char *format, ...)
{
	char what[300];
	char way[400];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	way_text(walk, way, sizeof(way));
	findings_add(walk->check->findings, path, line, "%s: %s", what, way);
}

/* --- calls by pointer --- */

static void reach_node(struct walk *walk, struct reach *reach, uint32_t node)
{
	long bytes = depth_of(walk, node);
	if (bytes > reach->bytes) {
		reach->bytes = bytes;
		reach->deepest = node;
	}
}

/* What a table has in a field: a function, or nothing. */
static void reach_entry(struct walk *walk, struct reach *reach, const struct table_entry *entry,
			const struct call_rule *rule)
{
	const char *value = entry->value[0] == '&' ? entry->value + 1 : entry->value;
	if (strcmp(value, "NULL") == 0)
		return;
	uint32_t node = call_graph_find_from(walk->check->graph, entry->file, value);
	if (node == NO_NODE || node_at(walk, node)->frame_bytes < 0)
		findings_add(walk->check->findings, walk->check->rules->path, rule->line,
			     "%s of %s in %s is no function of the build", value, entry->variable,
			     entry->file);
	else
		reach_node(walk, reach, node);
}

static bool is_unit(const struct call_graph *graph, const char *file)
{
	for (size_t i = 0; i < graph->unit_count; i++)
		if (strcmp(graph->units[i], file) == 0)
			return true;
	return false;
}

/* Whether the list "a,b,c" has the name. */
static bool is_in_list(const char *list, const char *name)
{
	size_t size = strlen(name);
	for (;;) {
		const char *end = strchrnul(list, ',');
		if ((size_t)(end - list) == size && memcmp(list, name, size) == 0)
			return true;
		if (*end == '\0')
			return false;
		list = end + 1;
	}
}

/* Files that are no part of the build have tables, too: of tests. */
static bool reach_tables(struct walk *walk, struct reach *reach, const struct call_rule *rule,
			 const char *structure, size_t structure_size, const char *field, const char *table)
{
	size_t field_size = table != NULL ? (size_t)(table - field) : strlen(field);
	bool found = false;
	const struct source_tables *tables = walk->check->tables;
	for (size_t i = 0; i < tables->count; i++) {
		const struct table_entry *entry = &tables->entries[i];
		if (strlen(entry->structure) != structure_size ||
		    memcmp(entry->structure, structure, structure_size) != 0 ||
		    strlen(entry->field) != field_size || memcmp(entry->field, field, field_size) != 0 ||
		    (table != NULL && !is_in_list(table + 1, entry->variable)) ||
		    !is_unit(walk->check->graph, entry->file))
			continue;
		found = true;
		reach_entry(walk, reach, entry, rule);
	}
	return found;
}

static bool reach_types(struct walk *walk, struct reach *reach, const struct call_rule *rule,
			const char *pattern)
{
	bool found = false;
	const struct source_tables *tables = walk->check->tables;
	for (size_t i = 0; i < tables->count; i++) {
		const struct table_entry *entry = &tables->entries[i];
		if (strcmp(entry->structure, "task_type") != 0 || strcmp(entry->field, "run") != 0 ||
		    fnmatch(pattern, entry->variable, 0) != 0 || !is_unit(walk->check->graph, entry->file))
			continue;
		found = true;
		reach_entry(walk, reach, entry, rule);
	}
	return found;
}

static bool is_excluded(char *const *patterns, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (patterns[i][0] == '-' && fnmatch(patterns[i] + 1, name, 0) == 0)
			return true;
	return false;
}

static bool reach_functions(struct walk *walk, struct reach *reach, const struct call_rule *rule,
			    const char *pattern)
{
	bool found = false;
	for (uint32_t i = 0; i < walk->check->graph->count; i++) {
		const struct call_node *node = node_at(walk, i);
		if (node->frame_bytes < 0 || fnmatch(pattern, node->name, 0) != 0 ||
		    is_excluded(rule->targets, rule->target_count, node->name))
			continue;
		found = true;
		reach_node(walk, reach, i);
	}
	return found;
}

static void reach_target(struct walk *walk, struct reach *reach, const struct call_rule *rule,
			 const char *target)
{
	const char *dot = strchr(target, '.');
	const char *colon = strchr(target, ':');
	bool found = true;
	if (strcmp(target, "thread") == 0 || strcmp(target, "never") == 0 || target[0] == '-')
		return;
	if (target[0] == '+')
		reach->embedder_bytes = strtol(target + 1, NULL, 10);
	else if (strcmp(target, "run") == 0)
		reach_node(walk, reach, walk->run);
	else if (strncmp(target, "types:", 6) == 0)
		found = reach_types(walk, reach, rule, target + 6);
	else if (dot != NULL && colon == NULL)
		found = reach_tables(walk, reach, rule, target, (size_t)(dot - target), dot + 1,
				     strchr(dot, '@'));
	else
		found = reach_functions(walk, reach, rule, target);
	if (!found)
		findings_add(walk->check->findings, walk->check->rules->path, rule->line,
			     "%s: there is no such thing in the build", target);
}

/* The rules for this place; those for the file that it was inlined into stand before the general ones. */
static void reach_by_pointer(struct walk *walk, uint32_t caller, const struct call_edge *edge,
			     struct reach *reach)
{
	struct stack_rules *rules = walk->check->rules;
	char function[200];
	const struct source_file *file =
		edge->file != NULL ? source_tree_find(walk->check->tree, edge->file) : NULL;
	if (file == NULL || !source_function_at(file, edge->line, function, sizeof(function))) {
		complain(walk, edge->file != NULL ? edge->file : "?", edge->line,
			 "a call by pointer that stands in no function");
		return;
	}
	bool found = false;
	for (unsigned general = 0; general < 2 && !found; general++) {
		for (size_t i = 0; i < rules->call_count; i++) {
			struct call_rule *rule = &rules->calls[i];
			if (strcmp(rule->function, function) != 0 || strcmp(rule->file, edge->file) != 0 ||
			    (rule->in == NULL) != (general == 1) ||
			    (rule->in != NULL && !is_of_file(node_at(walk, caller), rule->in)))
				continue;
			found = true;
			rule->is_used = true;
			for (size_t j = 0; j < rule->target_count; j++)
				reach_target(walk, reach, rule, rule->targets[j]);
		}
	}
	if (!found)
		complain(walk, edge->file, edge->line, "a call by pointer in %s without a rule in %s",
			 function, rules->path);
}

/* --- depths --- */

static long outside_depth(struct walk *walk, uint32_t node, const struct call_edge *edge)
{
	struct stack_rules *rules = walk->check->rules;
	const char *name = node_at(walk, node)->name;
	for (size_t i = 0; i < rules->outside_count; i++) {
		if (strcmp(rules->outside[i].name, name) != 0)
			continue;
		rules->outside[i].is_used = true;
		return rules->outside[i].bytes;
	}
	complain(walk, edge->file != NULL ? edge->file : "?", edge->line,
		 "%s is called on a task's stack, and no `outside` function", name);
	return 0;
}

static long edge_depth(struct walk *walk, uint32_t caller, const struct call_edge *edge, uint32_t *next)
{
	*next = edge->callee;
	if (edge->callee == CALL_BY_POINTER) {
		struct reach reach = { .deepest = NO_NODE };
		reach_by_pointer(walk, caller, edge, &reach);
		*next = reach.deepest;
		return reach.bytes + reach.embedder_bytes;
	}
	if (node_at(walk, edge->callee)->frame_bytes < 0)
		return outside_depth(walk, edge->callee, edge);
	return depth_of(walk, edge->callee);
}

static long depth_of(struct walk *walk, uint32_t node)
{
	struct depth *depth = &walk->depths[node];
	const struct call_node *called = node_at(walk, node);
	if (depth->state == DEPTH_KNOWN)
		return depth->bytes;
	if (depth->state == DEPTH_ASKED || walk->way_length == WAY_MAX) {
		complain(walk, called->file, 1, "a cycle through %s", called->name);
		return 0;
	}
	depth->state = DEPTH_ASKED;
	walk->way[walk->way_length++] = node;
	if (called->is_unbounded)
		complain(walk, called->file, 1, "a frame whose size is known only when it runs");
	long deepest = 0;
	depth->next = NO_NODE;
	for (size_t i = 0; i < called->edge_count; i++) {
		uint32_t next;
		long bytes = edge_depth(walk, node, &called->edges[i], &next);
		if (bytes > deepest) {
			deepest = bytes;
			depth->next = next;
		}
	}
	walk->way_length--;
	depth->state = DEPTH_KNOWN;
	depth->bytes = called->frame_bytes + deepest;
	return depth->bytes;
}

/* --- task types --- */

static const struct table_entry *entry_of(const struct source_tables *tables, size_t first, const char *field)
{
	const struct table_entry *begin = &tables->entries[first];
	for (size_t i = first; i < tables->count; i++) {
		const struct table_entry *entry = &tables->entries[i];
		if (entry->line != begin->line || strcmp(entry->file, begin->file) != 0 ||
		    strcmp(entry->variable, begin->variable) != 0)
			return NULL;
		if (strcmp(entry->field, field) == 0)
			return entry;
	}
	return NULL;
}

static char *way_of(const struct walk *walk, uint32_t node)
{
	size_t size = 0;
	char *text = NULL;
	for (; node != NO_NODE; node = walk->depths[node].next) {
		const struct call_node *called = node_at(walk, node);
		size_t room = strlen(called->name) + 40;
		text = realloc(text, size + room);
		if (text == NULL)
			abort();
		size += (size_t)snprintf(text + size, room, "    %8ld  %s\n",
					 called->frame_bytes < 0 ? 0 : called->frame_bytes, called->name);
	}
	return text;
}

/* A type without a function of its own gets one with each task. Nobody can say how deep that is. */
static bool is_for_any_function(const struct table_entry *run, const struct table_entry *bound)
{
	return run == NULL && bound != NULL && strcmp(bound->value, LARGEST_STACK) == 0;
}

static void check_type(struct walk *walk, size_t first, uint32_t entry_node)
{
	struct stack_check *check = walk->check;
	const struct table_entry *begin = &check->tables->entries[first];
	const struct table_entry *name = entry_of(check->tables, first, "name");
	const struct table_entry *run = entry_of(check->tables, first, "run");
	const struct table_entry *bound = entry_of(check->tables, first, "stack_bytes");
	char *end = NULL;
	struct stack_type type = { .file = begin->file, .line = begin->line, .variable = begin->variable };
	if (is_for_any_function(run, bound))
		return;
	if (name == NULL || run == NULL || bound == NULL ||
	    (type.bound_bytes = strtol(bound->value, &end, 10), *end != '\0')) {
		findings_add(check->findings, begin->file, begin->line,
			     "%s: a task type names .name, .run and .stack_bytes, in digits",
			     begin->variable);
		return;
	}
	type.name = name->value;
	walk->run = call_graph_find_from(check->graph, run->file, run->value);
	if (walk->run == NO_NODE || node_at(walk, walk->run)->frame_bytes < 0) {
		findings_add(check->findings, begin->file, begin->line, "%s: %s is no function of the build",
			     begin->variable, run->value);
		return;
	}
	walk->depths[entry_node] = (struct depth) { .state = DEPTH_UNKNOWN, .next = NO_NODE };
	type.need_bytes = check->rules->entry_bytes + depth_of(walk, entry_node);
	if (type.bound_bytes < type.need_bytes)
		findings_add(check->findings, type.file, type.line,
			     "%s declares %ld bytes of stack and needs %ld", type.variable, type.bound_bytes,
			     type.need_bytes);
	if (check->wants_ways)
		type.way = way_of(walk, entry_node);
	check->types = realloc(check->types, (check->type_count + 1) * sizeof(*check->types));
	if (check->types == NULL)
		abort();
	check->types[check->type_count++] = type;
}

static void check_types(struct walk *walk, uint32_t entry_node)
{
	const struct source_tables *tables = walk->check->tables;
	for (size_t i = 0; i < tables->count; i++) {
		const struct table_entry *entry = &tables->entries[i];
		bool is_first =
			i == 0 || entry[-1].line != entry->line || strcmp(entry[-1].file, entry->file) != 0;
		if (is_first && strcmp(entry->structure, "task_type") == 0 &&
		    is_unit(walk->check->graph, entry->file))
			check_type(walk, i, entry_node);
	}
	if (walk->check->type_count == 0)
		findings_add(walk->check->findings, walk->check->rules->path, 1, "no task type was found");
}

/* With the bytes around a task's frames, as for a task type. */
static void check_limit(struct walk *walk, struct limit_rule *rule, const char *pattern)
{
	struct stack_check *check = walk->check;
	bool found = false;
	for (uint32_t i = 0; i < check->graph->count; i++) {
		const struct call_node *node = node_at(walk, i);
		if (node->frame_bytes < 0 || fnmatch(pattern, node->name, 0) != 0 ||
		    is_excluded(rule->patterns, rule->pattern_count, node->name))
			continue;
		found = true;
		long bytes = check->rules->entry_bytes + depth_of(walk, i);
		if (bytes > rule->deepest_bytes) {
			rule->deepest_bytes = bytes;
			rule->deepest = node->name;
		}
		if (bytes > rule->bytes)
			findings_add(check->findings, check->rules->path, rule->line,
				     "%s takes %ld bytes of its caller's stack, at most %ld are allowed",
				     node->name, bytes, rule->bytes);
	}
	if (!found)
		findings_add(check->findings, check->rules->path, rule->line,
			     "%s: there is no such thing in the build", pattern);
}

static void check_limits(struct walk *walk)
{
	struct stack_rules *rules = walk->check->rules;
	for (size_t i = 0; i < rules->limit_count; i++)
		for (size_t j = 0; j < rules->limits[i].pattern_count; j++)
			if (rules->limits[i].patterns[j][0] != '-')
				check_limit(walk, &rules->limits[i], rules->limits[i].patterns[j]);
}

static void check_rules_are_used(struct stack_check *check)
{
	struct stack_rules *rules = check->rules;
	for (size_t i = 0; i < rules->call_count; i++)
		if (!rules->calls[i].is_used)
			findings_add(check->findings, rules->path, rules->calls[i].line,
				     "no task makes a call by pointer in %s:%s", rules->calls[i].file,
				     rules->calls[i].function);
	for (size_t i = 0; i < rules->outside_count; i++)
		if (!rules->outside[i].is_used)
			findings_add(check->findings, rules->path, rules->outside[i].line, "no task calls %s",
				     rules->outside[i].name);
}

void stack_check_run(struct stack_check *check)
{
	if (check->rules->entry == NULL)
		return;
	uint32_t entry_node = call_graph_find(check->graph, check->rules->entry);
	if (entry_node == NO_NODE) {
		findings_add(check->findings, check->rules->path, 1, "%s: there is no such function",
			     check->rules->entry);
		return;
	}
	struct walk walk = { .check = check };
	walk.depths = calloc(check->graph->count, sizeof(*walk.depths));
	if (walk.depths == NULL)
		abort();
	for (size_t i = 0; i < check->graph->count; i++)
		walk.depths[i].next = NO_NODE;
	check_types(&walk, entry_node);
	check_limits(&walk);
	check_rules_are_used(check);
	free(walk.depths);
}

void stack_check_free(struct stack_check *check)
{
	for (size_t i = 0; i < check->type_count; i++)
		free(check->types[i].way);
	free(check->types);
	check->types = NULL;
	check->type_count = 0;
}
