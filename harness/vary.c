#include "harness/vary.h"

#include <string.h>

#include "harness/allocate.h"
#include "harness/workload_edit.h"

enum { LABEL_BYTES_MAX = 64, KEY_BYTES = 64 };

/* --- checks --- */

/* Short names beside `to`: one for each value, all different. */
static struct status check_names(const struct yaml_node *names, size_t count, const char *key,
				 struct problem *problem)
{
	if (names == NULL)
		return status_ok();
	if (names->kind != YAML_SEQUENCE || names->count != count)
		return problem_at(problem, STATUS_INVALID, names->place, key,
				  "`as` does not name each value, expected a list of %zu names", count);
	for (size_t i = 0; i < count; i++) {
		const struct yaml_node *name = names->items[i].value;
		if (name->kind != YAML_SCALAR || yaml_is_null(name) || name->text[0] == '\0' ||
		    strlen(name->text) > LABEL_BYTES_MAX)
			return problem_at(problem, STATUS_INVALID, name->place, key,
					  "`as` holds what is no name, expected up to %d characters",
					  LABEL_BYTES_MAX);
		for (size_t k = 0; k < i; k++) {
			if (strcmp(names->items[k].value->text, name->text) == 0)
				return problem_at(problem, STATUS_INVALID, name->place, key,
						  "`as` holds '%s' twice, expected different names",
						  name->text);
		}
	}
	return status_ok();
}

static struct status check_path(const struct yaml_node *path, const char *key, struct problem *problem)
{
	static const char *const sections[] = { "engine", "workload", "phases", "clients_as", "verify" };
	enum { SECTIONS = sizeof(sections) / sizeof(sections[0]) };
	char first[YAML_NAME_BYTES_MAX + 1], hint[128];
	if (path->kind != YAML_SCALAR || yaml_is_null(path))
		return problem_at(problem, STATUS_INVALID, path->place, key,
				  "%s, expected a path such as engine.memtable.kind",
				  yaml_is_null(path) ? "nothing" : yaml_kind_text(path));
	(void)snprintf(first, sizeof(first), "%.*s", (int)strcspn(path->text, "."), path->text);
	for (size_t i = 0; i < SECTIONS; i++) {
		if (strcmp(first, sections[i]) == 0)
			return status_ok();
	}
	return problem_at(problem, STATUS_INVALID, path->place, key,
			  "'%.64s' cannot vary, expected a path in engine, workload, phases, clients_as or "
			  "verify%s",
			  first, nearest_hint(first, sections, SECTIONS, hint, sizeof(hint)));
}

/* Paths that are set together: each once, and each value a list with an item for each of them. */
static struct status check_together(const struct yaml_node *entry, const char *key, struct problem *problem)
{
	const struct yaml_node *set = yaml_get(entry, "set"), *to = yaml_get(entry, "to");
	char at[KEY_BYTES];
	if (set->count == 0)
		return problem_at(problem, STATUS_INVALID, set->place, key,
				  "`set` is an empty list, expected a path or a list of paths");
	for (size_t i = 0; i < set->count; i++) {
		(void)snprintf(at, sizeof(at), "%s.set.%zu", key, i);
		TRY(check_path(set->items[i].value, at, problem));
		for (size_t k = 0; k < i; k++) {
			if (strcmp(set->items[k].value->text, set->items[i].value->text) == 0)
				return problem_at(problem, STATUS_INVALID, set->items[i].value->place, at,
						  "'%.64s' for the second time, expected each path once",
						  set->items[i].value->text);
		}
	}
	for (size_t i = 0; i < to->count; i++) {
		const struct yaml_node *values = to->items[i].value;
		(void)snprintf(at, sizeof(at), "%s.to.%zu", key, i);
		if (values->kind != YAML_SEQUENCE)
			return problem_at(problem, STATUS_INVALID, values->place, at,
					  "%s, expected a list of %zu values: one for each path of `set`",
					  yaml_kind_text(values), set->count);
		if (values->count != set->count)
			return problem_at(problem, STATUS_INVALID, values->place, at,
					  "a list of %zu, expected %zu values: one for each path of `set`",
					  values->count, set->count);
	}
	if (yaml_get(entry, "as") == NULL)
		return problem_at(problem, STATUS_INVALID, set->place, key,
				  "several paths and no names, expected 'as: [NAME, ...]' with %zu of them",
				  to->count);
	return status_ok();
}

static struct status check_entry(const struct yaml_node *entry, size_t index, struct problem *problem)
{
	char key[KEY_BYTES / 2], at[KEY_BYTES];
	(void)snprintf(key, sizeof(key), "vary.%zu", index);
	if (entry->kind != YAML_MAPPING)
		return problem_at(problem, STATUS_INVALID, entry->place, key,
				  "%s, expected a mapping: {set: PATH, to: [VALUE, ...]}",
				  yaml_kind_text(entry));
	for (size_t i = 0; i < entry->count; i++) {
		static const char *const names[] = { "set", "to", "as" };
		char hint[128];
		const char *name = entry->items[i].key;
		if (strcmp(name, "set") != 0 && strcmp(name, "to") != 0 && strcmp(name, "as") != 0)
			return problem_at(problem, STATUS_INVALID, entry->items[i].place, key,
					  "unknown key '%.64s', expected set and to%s", name,
					  nearest_hint(name, names, 3, hint, sizeof(hint)));
	}
	const struct yaml_node *set = yaml_get(entry, "set");
	const struct yaml_node *to = yaml_get(entry, "to");
	if (set == NULL || set->kind == YAML_MAPPING || yaml_is_null(set))
		return problem_at(problem, STATUS_INVALID, set != NULL ? set->place : entry->place, key,
				  "no path to set, expected 'set: engine.memtable.kind' or the like");
	if (to == NULL || to->kind != YAML_SEQUENCE || to->count == 0)
		return problem_at(problem, STATUS_INVALID, to != NULL ? to->place : entry->place, key,
				  "no values to take, expected 'to: [VALUE, ...]'");
	TRY(check_names(yaml_get(entry, "as"), to->count, key, problem));
	(void)snprintf(at, sizeof(at), "%s.set", key);
	return set->kind == YAML_SEQUENCE ? check_together(entry, key, problem)
					  : check_path(set, at, problem);
}

struct status vary_check(const struct yaml_node *vary, struct problem *problem)
{
	if (vary == NULL)
		return status_ok();
	if (vary->kind != YAML_SEQUENCE)
		return problem_at(problem, STATUS_INVALID, vary->place, "vary",
				  "%s, expected a list of {set: PATH, to: [VALUE, ...]}",
				  yaml_kind_text(vary));
	for (size_t i = 0; i < vary->count; i++)
		TRY(check_entry(vary->items[i].value, i, problem));
	return status_ok();
}

struct status vary_count(const struct yaml_node *vary, size_t *count, struct problem *problem)
{
	*count = 1;
	for (size_t i = 0; vary != NULL && i < vary->count; i++) {
		const struct yaml_node *to = yaml_get(vary->items[i].value, "to");
		if (to->count > COMBINATIONS_MAX / *count)
			return problem_at(problem, STATUS_INVALID, to->place, "vary",
					  "too many combinations, expected at most %d", COMBINATIONS_MAX);
		*count *= to->count;
	}
	return status_ok();
}

/* --- labels --- */

/* What the engine is, and how its clients run, makes a configuration; all else makes a workload. */
static bool is_of_configuration(const char *path)
{
	return strcmp(path, "engine") == 0 || strncmp(path, "engine.", strlen("engine.")) == 0 ||
	       strcmp(path, "clients_as") == 0;
}

/*
 * An entry that sets the workload and beside it something of the engine, as a cache that fits the records,
 * makes no other configuration of it: the same one, as that workload needs it.
 */
static bool names_configuration(const struct yaml_node *set)
{
	if (set->kind == YAML_SCALAR)
		return is_of_configuration(set->text);
	for (size_t i = 0; i < set->count; i++) {
		if (!is_of_configuration(set->items[i].value->text))
			return false;
	}
	return true;
}

static const char *short_path(const char *path)
{
	if (strncmp(path, "engine.", strlen("engine.")) == 0)
		return path + strlen("engine.");
	if (strncmp(path, "workload.", strlen("workload.")) == 0)
		return path + strlen("workload.");
	/* phases.run.clients, but not phases.run: a word alone would say nothing */
	if (strncmp(path, "phases.", strlen("phases.")) == 0 && strchr(path + strlen("phases."), '.') != NULL)
		return path + strlen("phases.");
	return path;
}

/* The `kind` of a mapping if that tells it from all others of the list, else NULL. */
static const char *telling_kind(const struct yaml_node *list, size_t index)
{
	const struct yaml_node *kind = yaml_get(list->items[index].value, "kind");
	if (kind == NULL || kind->kind != YAML_SCALAR)
		return NULL;
	for (size_t i = 0; i < list->count; i++) {
		const struct yaml_node *other = yaml_get(list->items[i].value, "kind");
		if (i != index && other != NULL && other->kind == YAML_SCALAR &&
		    strcmp(other->text, kind->text) == 0)
			return NULL;
	}
	return kind->text;
}

/* NULL: what never changes tells nothing apart. */
static const char *label_of(struct arena *arena, const struct yaml_node *entry, size_t index)
{
	const struct yaml_node *names = yaml_get(entry, "as"), *to = yaml_get(entry, "to");
	const char *path = yaml_get(entry, "set")->text;
	if (names != NULL)
		return names->items[index].value->text;
	if (to->count == 1)
		return NULL;
	const char *kind = telling_kind(to, index);
	if (kind != NULL && strcmp(path, "engine") == 0)
		return kind;
	return arena_format(arena, "%s=%s", short_path(path),
			    kind != NULL ? kind : yaml_text(arena, to->items[index].value, true));
}

static const char *append_label(struct arena *arena, const char *label, const char *more)
{
	return label[0] == '\0' ? more : arena_format(arena, "%s %s", label, more);
}

static void add_label(struct arena *arena, const struct yaml_node *entry, size_t choice,
		      struct combination *combination)
{
	const char *label = label_of(arena, entry, choice);
	const char **part = names_configuration(yaml_get(entry, "set")) ? &combination->name
									: &combination->workload_label;
	if (label == NULL)
		return;
	combination->label = append_label(arena, combination->label, label);
	*part = append_label(arena, *part, label);
}

/* --- one combination --- */

struct application {
	struct arena *arena;
	struct yaml_node *root;
	struct variation *variations;
	size_t count;
	struct problem *problem;
};

static struct status put_value(struct application *application, const char *path,
			       const struct yaml_node *value)
{
	TRY(workload_put(application->arena, application->root, path, value->place, value,
			 application->problem));
	/* The last one to set a path has its way. */
	size_t at = 0;
	while (at < application->count && strcmp(application->variations[at].path, path) != 0)
		at++;
	application->count += at == application->count;
	application->variations[at] =
		(struct variation) { .path = path, .value = yaml_text(application->arena, value, true) };
	return status_ok();
}

static size_t count_paths(const struct yaml_node *vary)
{
	size_t count = 0;
	for (size_t i = 0; i < vary->count; i++) {
		const struct yaml_node *set = yaml_get(vary->items[i].value, "set");
		count += set->kind == YAML_SEQUENCE ? set->count : 1;
	}
	return count;
}

struct status vary_apply(struct arena *arena, struct yaml_node *root, const struct yaml_node *vary,
			 size_t index, struct combination *combination, struct problem *problem)
{
	struct application application = { .arena = arena, .root = root, .problem = problem };
	size_t below = 1;
	*combination = (struct combination) { .label = "", .name = "", .workload_label = "" };
	application.variations =
		arena_zeroed(arena, (count_paths(vary) + 1) * sizeof(*application.variations));
	for (size_t i = 0; i < vary->count; i++)
		below *= yaml_get(vary->items[i].value, "to")->count;
	for (size_t i = 0; i < vary->count; i++) {
		const struct yaml_node *entry = vary->items[i].value;
		const struct yaml_node *set = yaml_get(entry, "set"), *to = yaml_get(entry, "to");
		below /= to->count;
		size_t choice = index / below % to->count;
		const struct yaml_node *value = to->items[choice].value;
		if (set->kind == YAML_SCALAR)
			TRY(put_value(&application, set->text, value));
		for (size_t k = 0; set->kind == YAML_SEQUENCE && k < set->count; k++)
			TRY(put_value(&application, set->items[k].value->text, value->items[k].value));
		add_label(arena, entry, choice, combination);
	}
	combination->variations = application.variations;
	combination->variation_count = application.count;
	return status_ok();
}
