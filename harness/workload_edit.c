#include "harness/workload_edit.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "harness/allocate.h"

/* Every step adds a level, which keeps the depth of a tree bounded. */
enum { PATH_STEPS_MAX = 8, NAMES_MAX = 32 };

struct edit {
	struct arena *arena;
	const char *path;
	struct place place;
	struct problem *problem;
};

static struct status no_such_item(struct edit *edit, const struct yaml_node *list, const char *step)
{
	const char *names[NAMES_MAX];
	size_t count = 0;
	char listing[512] = "", hint[128];
	size_t used = 0;
	for (size_t i = 0; i < list->count && count < NAMES_MAX; i++) {
		const struct yaml_node *name = yaml_get(list->items[i].value, "name");
		if (name == NULL || name->kind != YAML_SCALAR)
			continue;
		names[count] = name->text;
		int length = snprintf(listing + used, sizeof(listing) - used, "%s%.64s",
				      count > 0 ? ", " : "", name->text);
		used += length > 0 ? (size_t)length : 0;
		count++;
		if (used >= sizeof(listing))
			break;
	}
	nearest_hint(step, names, count, hint, sizeof(hint));
	return problem_at(edit->problem, STATUS_INVALID, edit->place, edit->path,
			  "no item '%.64s', expected %s%s%s%s", step, count > 0 ? "a name of " : "",
			  count > 0 ? listing : "an index", count > 0 ? " or an index" : "", hint);
}

/* The item of a list that a step names. */
static struct yaml_item *find_item(const struct yaml_node *list, const char *step)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct yaml_node *name = yaml_get(list->items[i].value, "name");
		if (name != NULL && name->kind == YAML_SCALAR && strcmp(name->text, step) == 0)
			return &list->items[i];
	}
	char *end = NULL;
	unsigned long long index = strtoull(step, &end, 10);
	if (!isdigit((unsigned char)step[0]) || *end != '\0' || index >= list->count)
		return NULL;
	return &list->items[index];
}

/* Where the value of a step stands, made if it is not there. */
static struct status find_step(struct edit *edit, struct yaml_node *node, const char *step,
			       struct yaml_item **result)
{
	if (node->kind == YAML_SCALAR)
		return problem_at(edit->problem, STATUS_INVALID, edit->place, edit->path,
				  "'%.64s' is below the value '%.64s', expected a path of keys", step,
				  node->text);
	if (node->kind == YAML_SEQUENCE) {
		*result = find_item(node, step);
		return *result != NULL ? status_ok() : no_such_item(edit, node, step);
	}
	if (yaml_get(node, step) == NULL)
		yaml_put(edit->arena, node, step, edit->place,
			 yaml_collection(edit->arena, YAML_MAPPING, edit->place));
	*result = yaml_get_item(node, step);
	return status_ok();
}

static struct status split_path(struct edit *edit, char *steps[PATH_STEPS_MAX], size_t *count)
{
	char *copy = arena_string(edit->arena, edit->path, strlen(edit->path));
	*count = 0;
	for (char *step = copy; step != NULL;) {
		char *dot = strchr(step, '.');
		if (dot != NULL)
			*dot = '\0';
		if (step[0] == '\0')
			return problem_at(edit->problem, STATUS_INVALID, edit->place, edit->path,
					  "an empty name, expected a path such as engine.memtable.kind");
		if (*count == PATH_STEPS_MAX)
			return problem_at(edit->problem, STATUS_INVALID, edit->place, edit->path,
					  "too many names, expected at most %d", PATH_STEPS_MAX);
		steps[(*count)++] = step;
		step = dot != NULL ? dot + 1 : NULL;
	}
	return status_ok();
}

struct status workload_put(struct arena *arena, struct yaml_node *root, const char *path, struct place place,
			   const struct yaml_node *value, struct problem *problem)
{
	struct edit edit = { .arena = arena, .path = path, .place = place, .problem = problem };
	char *steps[PATH_STEPS_MAX];
	size_t count;
	struct yaml_node *node = root;
	struct yaml_item *item = NULL;
	TRY(split_path(&edit, steps, &count));
	for (size_t i = 0; i < count; i++) {
		TRY(find_step(&edit, node, steps[i], &item));
		if (i + 1 < count && yaml_is_null(item->value))
			item->value = yaml_collection(arena, YAML_MAPPING, place);
		node = item->value;
	}
	item->value = yaml_copy(arena, value);
	item->place = place;
	return status_ok();
}

struct status workload_set(struct arena *arena, struct yaml_node *root, const char *assignment,
			   struct problem *problem)
{
	const char *equals = strchr(assignment, '=');
	if (equals == NULL || equals == assignment)
		return problem_set(problem, STATUS_INVALID, "--set %s: no value, expected PATH=VALUE",
				   assignment);
	char *path = arena_string(arena, assignment, (size_t)(equals - assignment));
	struct place place = { .origin = arena_format(arena, "--set %s", path) };
	struct yaml_node *value = NULL;
	TRY(yaml_parse(arena, equals + 1, strlen(equals + 1), place.origin, false, &value, problem));
	if (value == NULL || yaml_is_null(value))
		return problem_at(problem, STATUS_INVALID, place, path, "no value, expected PATH=VALUE");
	return workload_put(arena, root, path, place, value, problem);
}
