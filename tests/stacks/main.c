/*
 * check-stacks: holds the stack that each task type of the engine declares against the call graph of the
 * build (engine/runtime/stacks.txt has the rules). See scripts/check-stacks.sh.
 *
 * usage: check-stacks [--ways] ROOT OBJECTS     ROOT: the tree; OBJECTS: a file that names the objects
 *
 * Prints a line for each task type: its bound, what it needs, its name. --ways: and the deepest way. Exit 0:
 * all is well; 1: it is not, with the findings on stderr; 2: it could not be looked at.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stacks/stack_check.h"

static const char rules_path[] = "engine/runtime/stacks.txt";

static bool read_graph(struct call_graph *graph, const char *objects, const char *root)
{
	FILE *stream = fopen(objects, "r");
	if (stream == NULL) {
		fprintf(stderr, "%s: cannot be read\n", objects);
		return false;
	}
	bool good = true;
	char path[4096];
	while (good && fgets(path, sizeof(path) - 1, stream) != NULL) {
		path[strcspn(path, "\n")] = '\0';
		if (!source_path_ends(path, ".c.o"))
			continue; /* assembly */
		memcpy(path + strlen(path) - 1, "ci", 3);
		good = call_graph_read(graph, path, root);
	}
	(void)fclose(stream);
	return good && graph->count > 0;
}

static void print_types(const struct stack_check *check)
{
	printf("%8s %8s  %s\n", "bound", "needs", "task type");
	for (size_t i = 0; i < check->type_count; i++) {
		const struct stack_type *type = &check->types[i];
		printf("%8ld %8ld  %s (%s:%u)\n", type->bound_bytes, type->need_bytes, type->name, type->file,
		       type->line);
		if (type->way != NULL)
			printf("%s", type->way);
	}
	for (size_t i = 0; i < check->rules->limit_count; i++) {
		const struct limit_rule *rule = &check->rules->limits[i];
		printf("%8ld %8ld  %s, the deepest of its line\n", rule->bytes, rule->deepest_bytes,
		       rule->deepest);
	}
}

static int check_all(const char *root, const char *objects, bool wants_ways)
{
	struct source_tree tree;
	struct call_graph graph = { 0 };
	struct source_tables tables = { 0 };
	struct stack_rules rules = { 0 };
	struct findings findings = { 0 };
	int result = 2;
	if (!source_tree_read(root, &tree))
		return result;
	const struct source_file *rules_file = source_tree_find(&tree, rules_path);
	if (rules_file == NULL) {
		fprintf(stderr, "%s: there is none\n", rules_path);
	} else if (read_graph(&graph, objects, root)) {
		stack_rules_read(&rules, rules_file, &findings);
		for (size_t i = 0; i < tree.count; i++)
			if (source_path_ends(tree.files[i].path, ".c"))
				source_tables_add(&tables, &tree.files[i]);
		struct stack_check check = { .graph = &graph,
					     .tree = &tree,
					     .tables = &tables,
					     .rules = &rules,
					     .findings = &findings,
					     .wants_ways = wants_ways };
		stack_check_run(&check);
		print_types(&check);
		stack_check_free(&check);
		if (findings.count > 0)
			fprintf(stderr, "%s", findings.text);
		result = findings.count > 0;
	}
	findings_free(&findings);
	stack_rules_free(&rules);
	source_tables_free(&tables);
	call_graph_free(&graph);
	source_tree_free(&tree);
	return result;
}

int main(int argc, char **argv)
{
	bool wants_ways = argc > 1 && strcmp(argv[1], "--ways") == 0;
	argc -= wants_ways;
	argv += wants_ways;
	if (argc != 3) {
		fprintf(stderr, "usage: check-stacks [--ways] ROOT OBJECTS\n");
		return 2;
	}
	return check_all(argv[1], argv[2], wants_ways);
}
