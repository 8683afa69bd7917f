#include "stacks/call_graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char by_pointer[] = "__indirect_call";

static void *grown(void *memory, size_t size)
{
	void *larger = realloc(memory, size);
	if (larger == NULL)
		abort();
	return larger;
}

static char *copy_of(const char *text, size_t size)
{
	char *copy = grown(NULL, size + 1);
	memcpy(copy, text, size);
	copy[size] = '\0';
	return copy;
}

/* --- nodes by name --- */

static size_t hash_of(const char *name)
{
	size_t hash = 5381;
	for (; *name != '\0'; name++)
		hash = hash * 33 ^ (unsigned char)*name;
	return hash;
}

static size_t place_of(const struct call_graph *graph, const char *name)
{
	size_t place = hash_of(name) % graph->table_size;
	while (graph->table[place] != 0 && strcmp(graph->nodes[graph->table[place] - 1].name, name) != 0)
		place = (place + 1) % graph->table_size;
	return place;
}

uint32_t call_graph_find(const struct call_graph *graph, const char *name)
{
	if (graph->table_size == 0)
		return UINT32_MAX;
	uint32_t found = graph->table[place_of(graph, name)];
	return found == 0 ? UINT32_MAX : found - 1;
}

uint32_t call_graph_find_from(const struct call_graph *graph, const char *file, const char *function)
{
	char name[512];
	(void)snprintf(name, sizeof(name), "%s:%s", file, function);
	uint32_t found = call_graph_find(graph, name);
	return found != UINT32_MAX ? found : call_graph_find(graph, function);
}

static void grow_table(struct call_graph *graph)
{
	graph->table_size = graph->table_size == 0 ? 1024 : 2 * graph->table_size;
	graph->table = grown(graph->table, graph->table_size * sizeof(*graph->table));
	memset(graph->table, 0, graph->table_size * sizeof(*graph->table));
	for (size_t i = 0; i < graph->count; i++)
		graph->table[place_of(graph, graph->nodes[i].name)] = (uint32_t)i + 1;
}

static uint32_t node_of(struct call_graph *graph, const char *name)
{
	if (2 * (graph->count + 1) > graph->table_size)
		grow_table(graph);
	size_t place = place_of(graph, name);
	if (graph->table[place] == 0) {
		graph->nodes = grown(graph->nodes, (graph->count + 1) * sizeof(*graph->nodes));
		graph->nodes[graph->count] =
			(struct call_node) { .name = copy_of(name, strlen(name)), .frame_bytes = -1 };
		graph->table[place] = (uint32_t)++graph->count;
	}
	return graph->table[place] - 1;
}

/* --- the text --- */

static const char *without_root(const char *path, const char *root)
{
	size_t size = strlen(root);
	return strncmp(path, root, size) == 0 && path[size] == '/' ? path + size + 1 : path;
}

/* The name in the source: gcc writes a star and the linker's name where that is another (base/exported.h). */
static const char *name_of(const char *title, const char *root)
{
	static const char exported[] = "*cascade_base_";
	size_t size = sizeof(exported) - 1;
	return strncmp(title, exported, size) == 0 ? title + size : without_root(title, root);
}

/* What stands in quotes behind `key: ` in the line, into `value`; false: it is not there. */
static bool field_of(const char *line, size_t size, const char *key, char *value, size_t room)
{
	char begin[40];
	int begin_size = snprintf(begin, sizeof(begin), "%s: \"", key);
	const char *at = memmem(line, size, begin, (size_t)begin_size);
	if (at == NULL)
		return false;
	at += begin_size;
	const char *end = memchr(at, '"', (size_t)(line + size - at));
	if (end == NULL || (size_t)(end - at) >= room)
		return false;
	memcpy(value, at, (size_t)(end - at));
	value[end - at] = '\0';
	return true;
}

/* Cuts "path:line:column" after the path; returns the line, 0: there is none. */
static unsigned cut_place(char *place)
{
	char *column = strrchr(place, ':');
	if (column == NULL)
		return 0;
	*column = '\0';
	char *line = strrchr(place, ':');
	if (line == NULL)
		return 0;
	*line = '\0';
	return (unsigned)strtoul(line + 1, NULL, 10);
}

/* The label has lines of its own: the name, the place, and for what is defined here the size of the frame. */
static void take_node(struct call_graph *graph, const char *title, char *label, const char *root)
{
	if (strcmp(title, by_pointer) == 0)
		return;
	uint32_t at = node_of(graph, name_of(title, root));
	char *place = strstr(label, "\\n");
	char *frame = place != NULL ? strstr(place + 2, "\\n") : NULL;
	if (frame == NULL)
		return;
	*frame = '\0';
	frame += 2;
	struct call_node *node = &graph->nodes[at];
	node->frame_bytes = strtol(frame, NULL, 10);
	node->is_unbounded = strstr(frame, "(dynamic)") != NULL;
	(void)cut_place(place + 2);
	const char *file = without_root(place + 2, root);
	free(node->file);
	node->file = copy_of(file, strlen(file));
}

static void take_edge(struct call_graph *graph, const char *from, const char *to, char *place,
		      const char *root)
{
	uint32_t caller = node_of(graph, name_of(from, root));
	uint32_t callee = strcmp(to, by_pointer) == 0 ? CALL_BY_POINTER : node_of(graph, name_of(to, root));
	struct call_node *node = &graph->nodes[caller];
	node->edges = grown(node->edges, (node->edge_count + 1) * sizeof(*node->edges));
	struct call_edge *edge = &node->edges[node->edge_count++];
	*edge = (struct call_edge) { .callee = callee };
	if (place == NULL)
		return;
	edge->line = cut_place(place);
	const char *file = without_root(place, root);
	edge->file = copy_of(file, strlen(file));
}

static bool take_line(struct call_graph *graph, const char *line, size_t size, const char *root)
{
	char title[1024];
	char other[1024];
	char label[2048];
	bool has_label = field_of(line, size, "label", label, sizeof(label));
	if (size > 6 && memcmp(line, "node: ", 6) == 0) {
		if (!has_label || !field_of(line, size, "title", title, sizeof(title)))
			return false;
		take_node(graph, title, label, root);
	} else if (size > 6 && memcmp(line, "edge: ", 6) == 0) {
		if (!field_of(line, size, "sourcename", title, sizeof(title)) ||
		    !field_of(line, size, "targetname", other, sizeof(other)))
			return false;
		take_edge(graph, title, other, has_label ? label : NULL, root);
	}
	return true;
}

bool call_graph_add(struct call_graph *graph, const char *text, const char *root)
{
	char unit[1024];
	const char *end = strchr(text, '\n');
	if (strncmp(text, "graph: ", 7) != 0 || end == NULL ||
	    !field_of(text, (size_t)(end - text), "title", unit, sizeof(unit)))
		return false;
	const char *path = without_root(unit, root);
	graph->units = grown(graph->units, (graph->unit_count + 1) * sizeof(*graph->units));
	graph->units[graph->unit_count++] = copy_of(path, strlen(path));
	while (*end != '\0') {
		const char *line = end + 1;
		end = strchr(line, '\n');
		if (end == NULL)
			end = line + strlen(line);
		if (!take_line(graph, line, (size_t)(end - line), root))
			return false;
	}
	return true;
}

bool call_graph_read(struct call_graph *graph, const char *path, const char *root)
{
	FILE *stream = fopen(path, "rb");
	if (stream == NULL) {
		fprintf(stderr, "%s: cannot be read: was it compiled with -fcallgraph-info=su?\n", path);
		return false;
	}
	char *text = NULL;
	size_t size = 0;
	size_t got;
	do {
		text = grown(text, size + 65536 + 1);
		got = fread(text + size, 1, 65536, stream);
		size += got;
	} while (got > 0);
	text[size] = '\0';
	(void)fclose(stream);
	bool good = call_graph_add(graph, text, root);
	if (!good)
		fprintf(stderr, "%s: is no call graph of gcc's\n", path);
	free(text);
	return good;
}

void call_graph_free(struct call_graph *graph)
{
	for (size_t i = 0; i < graph->count; i++) {
		struct call_node *node = &graph->nodes[i];
		for (size_t j = 0; j < node->edge_count; j++)
			free((char *)(uintptr_t)node->edges[j].file);
		free(node->edges);
		free(node->name);
		free(node->file);
	}
	for (size_t i = 0; i < graph->unit_count; i++)
		free(graph->units[i]);
	free(graph->nodes);
	free(graph->table);
	free(graph->units);
	*graph = (struct call_graph) { 0 };
}
