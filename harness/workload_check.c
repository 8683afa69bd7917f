#include "harness/workload_check.h"

#include <string.h>

#include "base/assert.h"
#include "base/units.h"
#include "harness/allocate.h"
#include "harness/workload.h"
#include "harness/workload_keys.h"

enum { NAME_BYTES_MAX = 64, PHASES_MAX = 1000, EXPECTS_BYTES = 512 };

struct check {
	struct arena *arena;
	struct problem *problem;
	const char *experiment_name;   /* the default of `name` */
	const char *update_mode;       /* the workload's: default of the phases' */
	unsigned applies;	       /* inside a phase: its kind */
	const struct yaml_node *phase; /* as written */
};

static const struct place default_place = { .origin = "default", .line = 0 };

static const char *path_join(struct check *check, const char *prefix, const char *name)
{
	return prefix[0] == '\0' ? name : arena_format(check->arena, "%s.%s", prefix, name);
}

/* --- one value --- */

static struct status wrong_kind(struct check *check, const struct workload_key *key,
				const struct yaml_node *node, struct place place, const char *path)
{
	char expects[EXPECTS_BYTES];
	return problem_at(check->problem, STATUS_INVALID, place, path, "%s, expected %s",
			  yaml_kind_text(node), workload_key_expects(key, expects, sizeof(expects)));
}

static struct status out_of_range(struct check *check, const struct workload_key *key,
				  const struct yaml_node *node, const char *path)
{
	char expects[EXPECTS_BYTES];
	return problem_at(check->problem, STATUS_INVALID, node->place, path,
			  "'%.64s' is out of range, expected %s", node->text,
			  workload_key_expects(key, expects, sizeof(expects)));
}

static struct status not_a_value(struct check *check, const struct yaml_node *node, const char *path,
				 struct status status)
{
	char why[256];
	status_describe(status, why, sizeof(why));
	return problem_at(check->problem, STATUS_INVALID, node->place, path, "%s", why);
}

static struct status check_choice(struct check *check, const struct workload_key *key,
				  const struct yaml_node *node, const char *path)
{
	const char *names[WORKLOAD_CHOICES_MAX];
	char split[256], expects[EXPECTS_BYTES], hint[128];
	size_t count = workload_key_choices(key, names, split, sizeof(split));
	for (size_t i = 0; i < count; i++) {
		if (strcmp(names[i], node->text) == 0)
			return status_ok();
	}
	const char *absence = key->choices == NULL ? driver_absence(node->text) : NULL;
	if (absence != NULL)
		return problem_at(check->problem, STATUS_INVALID, node->place, path, "%s", absence);
	return problem_at(check->problem, STATUS_INVALID, node->place, path, "unknown '%.64s', expected %s%s",
			  node->text, workload_key_expects(key, expects, sizeof(expects)),
			  nearest_hint(node->text, names, count, hint, sizeof(hint)));
}

/* A file name that needs no quotes and stays inside its folder. */
static bool is_file_name(const char *text)
{
	size_t length = strlen(text);
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	return length > 0 && length <= NAME_BYTES_MAX && strspn(text, safe) == length && text[0] != '.' &&
	       text[0] != '-';
}

static struct status check_text(struct check *check, const struct workload_key *key,
				const struct yaml_node *node, const char *path)
{
	if (strcmp(key->name, "name") == 0 && !is_file_name(node->text))
		return problem_at(check->problem, STATUS_INVALID, node->place, path,
				  "'%.80s' is no file name, expected up to %d letters, digits, '.', '_', '-'",
				  node->text, NAME_BYTES_MAX);
	if (node->text[0] == '\0')
		return problem_at(check->problem, STATUS_INVALID, node->place, path, "empty, expected text");
	return status_ok();
}

/* Parses a number of the key's type and writes its one spelling. */
static struct status parse_number(const struct workload_key *key, const char *text, double *value,
				  char *spelling)
{
	uint64_t whole = 0;
	switch (key->type) {
	case KEY_SIZE:
		TRY(units_parse_size(text, &whole));
		(void)units_format_size(whole, spelling);
		break;
	case KEY_TIME:
		TRY(units_parse_time(text, &whole));
		(void)units_format_time(whole, spelling);
		if (whole == 0)
			(void)snprintf(spelling, UNITS_TEXT_BYTES, "0 s");
		break;
	case KEY_REAL:
		TRY(units_parse_real(text, value));
		(void)units_format_real(*value, spelling);
		return status_ok();
	default:
		ASSERT(key->type == KEY_COUNT);
		TRY(units_parse_count(text, &whole));
		(void)snprintf(spelling, UNITS_TEXT_BYTES, "%llu", (unsigned long long)whole);
		break;
	}
	*value = (double)whole;
	return status_ok();
}

static struct status check_number(struct check *check, const struct workload_key *key,
				  const struct yaml_node *node, const char *path, char *spelling)
{
	double value = 0;
	bool negative = node->text[0] == '-' && strspn(node->text + 1, "0123456789") > 0;
	if (negative && key->minimum >= 0)
		return out_of_range(check, key, node, path);
	struct status status = parse_number(key, node->text, &value, spelling);
	if (!status_is_ok(status))
		return not_a_value(check, node, path, status);
	if (value < key->minimum || value > key->maximum)
		return out_of_range(check, key, node, path);
	return status_ok();
}

/* A scalar of the key's type, as a node with its one spelling. */
static struct status check_scalar(struct check *check, const struct workload_key *key,
				  const struct yaml_node *node, struct place key_place, const char *path,
				  struct yaml_node **result)
{
	char spelling[UNITS_TEXT_BYTES] = "";
	bool boolean = false;
	struct status status = status_ok();
	if (node->kind != YAML_SCALAR || yaml_is_null(node))
		return wrong_kind(check, key, node, key_place, path);
	switch (key->type) {
	case KEY_TEXT:
		TRY(check_text(check, key, node, path));
		break;
	case KEY_CHOICE:
		TRY(check_choice(check, key, node, path));
		break;
	case KEY_BOOLEAN:
		status = units_parse_boolean(node->text, &boolean);
		if (!status_is_ok(status))
			return not_a_value(check, node, path, status);
		(void)snprintf(spelling, sizeof(spelling), "%s", boolean ? "true" : "false");
		break;
	default:
		TRY(check_number(check, key, node, path, spelling));
		break;
	}
	const char *text =
		spelling[0] != '\0' ? arena_string(check->arena, spelling, strlen(spelling)) : node->text;
	*result = yaml_scalar(check->arena, text, node->place);
	(*result)->quoted = node->quoted;
	return status_ok();
}

/* --- mappings --- */

/* ", expected one of a, b, c" */
static void list_names(const char *const *names, size_t count, char *buffer, size_t size)
{
	size_t used = 0;
	for (size_t i = 0; i < count && used < size; i++)
		used += (size_t)snprintf(buffer + used, size - used, "%s%s",
					 i == 0 ? ", expected one of " : ", ", names[i]);
}

/* Every key of the mapping is one of the section. */
static struct status check_names(struct check *check, const struct yaml_node *mapping, const char *section,
				 const char *prefix)
{
	const char *names[WORKLOAD_CHOICES_MAX];
	size_t count = 0;
	for (size_t i = 0; i < workload_key_count; i++) {
		if (strcmp(workload_keys[i].section, section) == 0 && count < WORKLOAD_CHOICES_MAX)
			names[count++] = workload_keys[i].name;
	}
	for (size_t i = 0; i < mapping->count; i++) {
		const struct yaml_item *item = &mapping->items[i];
		char hint[EXPECTS_BYTES];
		if (workload_key_find(section, item->key) != NULL)
			continue;
		nearest_hint(item->key, names, count, hint, sizeof(hint));
		if (hint[0] == '\0')
			list_names(names, count, hint, sizeof(hint));
		return problem_at(check->problem, STATUS_INVALID, item->place,
				  path_join(check, prefix, item->key), "unknown key%s", hint);
	}
	return status_ok();
}

static const char *default_of(const struct check *check, const struct workload_key *key)
{
	if (strcmp(key->section, "") == 0 && strcmp(key->name, "name") == 0)
		return check->experiment_name;
	if (strcmp(key->section, "phases") != 0)
		return key->default_value;
	if (strcmp(key->name, "update_mode") == 0)
		return check->update_mode;
	if (strcmp(key->name, "name") == 0)
		return check->applies == KEY_IN_LOAD ? "load" : "run";
	if (check->applies == KEY_IN_LOAD && key->load_default != NULL)
		return key->load_default;
	return key->default_value;
}

/* All scalar keys of a section that mean something here, in the table's order. */
static struct status resolve_scalars(struct check *check, const struct yaml_node *given, const char *section,
				     const char *prefix, struct yaml_node *result)
{
	for (size_t i = 0; i < workload_key_count; i++) {
		const struct workload_key *key = &workload_keys[i];
		if (strcmp(key->section, section) != 0 || key->type == KEY_MAPPING || key->type == KEY_LIST)
			continue;
		const struct yaml_item *item = yaml_get_item(given, key->name);
		const struct yaml_node *source = item != NULL ? item->value : NULL;
		struct yaml_node *value = NULL;
		if (item == NULL && default_of(check, key) != NULL)
			source = yaml_scalar(check->arena, default_of(check, key), default_place);
		if (source != NULL)
			TRY(check_scalar(check, key, source, item != NULL ? item->place : default_place,
					 path_join(check, prefix, key->name), &value));
		if (value != NULL && (key->applies & check->applies) != 0)
			yaml_put(check->arena, result, key->name, value->place, value);
	}
	return status_ok();
}

/* The value of a key that holds a mapping; *result is NULL when it is not given. */
static struct status get_mapping(struct check *check, const struct yaml_node *parent, const char *section,
				 const char *name, const char *path, const struct yaml_node **result)
{
	const struct yaml_item *item = yaml_get_item(parent, name);
	*result = item != NULL ? item->value : NULL;
	if (item != NULL && item->value->kind != YAML_MAPPING)
		return wrong_kind(check, workload_key_find(section, name), item->value, item->place, path);
	return status_ok();
}

/* --- phases --- */

static struct status check_mix(struct check *check, const char *path, struct yaml_node *result)
{
	const struct yaml_node *given;
	double sum = 0;
	const char *mix_path = path_join(check, path, "mix");
	TRY(get_mapping(check, check->phase, "phases", "mix", mix_path, &given));
	struct yaml_node *mix = yaml_collection(check->arena, YAML_MAPPING, default_place);
	if (given == NULL) {
		yaml_put(check->arena, mix, "read", default_place,
			 yaml_scalar(check->arena, "50", default_place));
		yaml_put(check->arena, mix, "update", default_place,
			 yaml_scalar(check->arena, "50", default_place));
	} else {
		TRY(check_names(check, given, "mix", mix_path));
		mix->place = given->place;
	}
	struct yaml_node *resolved = yaml_collection(check->arena, YAML_MAPPING, mix->place);
	TRY(resolve_scalars(check, given != NULL ? given : mix, "mix", mix_path, resolved));
	for (size_t i = 0; i < resolved->count; i++) {
		double weight = 0;
		TRY(units_parse_real(resolved->items[i].value->text, &weight));
		sum += weight;
	}
	if (sum <= 0 && check->applies == KEY_IN_RUN)
		return problem_at(check->problem, STATUS_INVALID, mix->place, mix_path,
				  "all weights are 0, expected at least one operation");
	if (check->applies == KEY_IN_RUN)
		yaml_put(check->arena, result, "mix", resolved->place, resolved);
	return status_ok();
}

/* A run phase ends by time or by count, a load phase with the last record. */
static struct status check_end(struct check *check, const char *path)
{
	const struct yaml_item *duration = yaml_get_item(check->phase, "duration");
	const struct yaml_item *operations = yaml_get_item(check->phase, "operations");
	const struct yaml_item *either = duration != NULL ? duration : operations;
	if (check->applies == KEY_IN_LOAD && either != NULL)
		return problem_at(
			check->problem, STATUS_INVALID, either->place, path_join(check, path, either->key),
			"not for a load phase, which ends with the last record, expected kind: run");
	if (check->applies == KEY_IN_LOAD)
		return status_ok();
	if (either == NULL)
		return problem_at(check->problem, STATUS_INVALID, check->phase->place, path,
				  "neither duration nor operations is given, expected one of them");
	if (duration != NULL && operations != NULL)
		return problem_at(check->problem, STATUS_INVALID, operations->place,
				  path_join(check, path, "operations"),
				  "duration is given as well, expected one of them");
	return status_ok();
}

static struct status check_phase_values(struct check *check, const char *path, const struct yaml_node *phase)
{
	double theta = 0;
	uint64_t least = 0, most = 0;
	if (check->applies == KEY_IN_LOAD)
		return status_ok();
	const struct yaml_node *given = yaml_get(phase, "theta");
	TRY(units_parse_real(given->text, &theta));
	if (theta == 0 || theta == 1 || theta == 2)
		return problem_at(
			check->problem, STATUS_INVALID, given->place, path_join(check, path, "theta"),
			"'%.64s' is out of range, expected more than 0, less than 2, and not 1", given->text);
	TRY(units_parse_count(yaml_get(phase, "scan_min")->text, &least));
	TRY(units_parse_count(yaml_get(phase, "scan_max")->text, &most));
	if (least > most) {
		const char *name = yaml_get_item(check->phase, "scan_min") != NULL ? "scan_min" : "scan_max";
		return problem_at(check->problem, STATUS_INVALID, yaml_get(phase, name)->place,
				  path_join(check, path, name),
				  "scan_min %llu is more than scan_max %llu, expected less",
				  (unsigned long long)least, (unsigned long long)most);
	}
	return status_ok();
}

/* The kind is looked at first: what else a phase may say, and its defaults, hang on it. */
static struct status find_phase_kind(struct check *check, const char *path)
{
	const struct yaml_item *item = yaml_get_item(check->phase, "kind");
	struct yaml_node *kind = NULL;
	check->applies = KEY_IN_RUN;
	if (item == NULL)
		return status_ok();
	TRY(check_scalar(check, workload_key_find("phases", "kind"), item->value, item->place,
			 path_join(check, path, "kind"), &kind));
	if (strcmp(kind->text, "load") == 0)
		check->applies = KEY_IN_LOAD;
	return status_ok();
}

static struct status check_phase(struct check *check, const struct yaml_node *given, const char *path,
				 struct yaml_node **result)
{
	check->phase = given;
	if (given->kind != YAML_MAPPING)
		return problem_at(check->problem, STATUS_INVALID, given->place, path,
				  "%s, expected a mapping: {name: run, duration: 30 s}",
				  yaml_kind_text(given));
	TRY(check_names(check, given, "phases", path));
	TRY(find_phase_kind(check, path));
	struct yaml_node *phase = yaml_collection(check->arena, YAML_MAPPING, given->place);
	TRY(resolve_scalars(check, given, "phases", path, phase));
	TRY(check_mix(check, path, phase));
	TRY(check_end(check, path));
	TRY(check_phase_values(check, path, phase));
	*result = phase;
	return status_ok();
}

static struct status check_phase_name(struct check *check, const struct yaml_node *phases,
				      const struct yaml_node *phase, const char *path)
{
	const char *name = yaml_get(phase, "name")->text;
	for (size_t i = 0; i < phases->count; i++) {
		const struct yaml_node *earlier = yaml_get(phases->items[i].value, "name");
		if (strcmp(earlier->text, name) != 0)
			continue;
		const struct place place = yaml_get(phase, "name")->place;
		return problem_at(check->problem, STATUS_INVALID, place.line > 0 ? place : phase->place,
				  path_join(check, path, "name"),
				  "a second phase named '%s', expected each name once", name);
	}
	return status_ok();
}

static struct status check_phases(struct check *check, const struct yaml_node *root, struct yaml_node *result)
{
	const struct yaml_item *item = yaml_get_item(root, "phases");
	ASSERT(item != NULL); /* the default ones were put in before */
	const struct yaml_node *given = item->value;
	if (given->kind != YAML_SEQUENCE || given->count == 0 || given->count > PHASES_MAX)
		return problem_at(check->problem, STATUS_INVALID, item->place, "phases",
				  "%s, expected a list of 1 to %d phases",
				  given->kind != YAML_SEQUENCE ? yaml_kind_text(given)
				  : given->count == 0	       ? "an empty list"
							       : "a longer list",
				  PHASES_MAX);
	struct yaml_node *phases = yaml_collection(check->arena, YAML_SEQUENCE, given->place);
	for (size_t i = 0; i < given->count; i++) {
		const char *path = arena_format(check->arena, "phases.%zu", i);
		struct yaml_node *phase = NULL;
		TRY(check_phase(check, given->items[i].value, path, &phase));
		TRY(check_phase_name(check, phases, phase, path));
		yaml_append(check->arena, phases, phase);
	}
	check->applies = KEY_EVERYWHERE;
	yaml_put(check->arena, result, "phases", phases->place, phases);
	return status_ok();
}

/* --- the rest --- */

/* kind and path are checked; the engine's own options are passed on as they are. */
static struct status check_engine(struct check *check, const struct yaml_node *root, struct yaml_node *result)
{
	const struct yaml_node *given;
	TRY(get_mapping(check, root, "", "engine", "engine", &given));
	struct yaml_node *engine =
		yaml_collection(check->arena, YAML_MAPPING, given != NULL ? given->place : default_place);
	TRY(resolve_scalars(check, given, "engine", "engine", engine));
	for (size_t i = 0; given != NULL && i < given->count; i++) {
		const struct yaml_item *item = &given->items[i];
		if (workload_key_find("engine", item->key) == NULL)
			yaml_put(check->arena, engine, item->key, item->place,
				 yaml_copy(check->arena, item->value));
	}
	yaml_put(check->arena, result, "engine", engine->place, engine);
	return status_ok();
}

static struct status check_workload(struct check *check, const struct yaml_node *root,
				    struct yaml_node *result)
{
	const struct yaml_node *given;
	TRY(get_mapping(check, root, "", "workload", "workload", &given));
	struct yaml_node *workload = yaml_collection(check->arena, YAML_MAPPING, default_place);
	if (given != NULL)
		TRY(check_names(check, given, "workload", "workload"));
	TRY(resolve_scalars(check, given, "workload", "workload", workload));
	check->update_mode = yaml_get(workload, "update_mode")->text;
	yaml_put(check->arena, result, "workload", workload->place, workload);
	return status_ok();
}

/* What they are, and whether they can be loaded, was checked when they were: modules_load comes first. */
static void copy_components(struct check *check, const struct yaml_node *root, struct yaml_node *result)
{
	const struct yaml_item *item = yaml_get_item(root, "components");
	if (item != NULL && item->value->count > 0)
		yaml_put(check->arena, result, "components", item->place,
			 yaml_copy(check->arena, item->value));
}

struct status workload_check(struct arena *arena, const struct yaml_node *root, const char *name,
			     struct yaml_node **resolved, struct problem *problem)
{
	struct check check = {
		.arena = arena, .problem = problem, .experiment_name = name, .applies = KEY_EVERYWHERE
	};
	if (root->kind != YAML_MAPPING)
		return problem_at(problem, STATUS_INVALID, root->place, "",
				  "%s, expected keys such as 'name: NAME'", yaml_kind_text(root));
	TRY(check_names(&check, root, "", ""));
	struct yaml_node *scalars = yaml_collection(arena, YAML_MAPPING, root->place);
	TRY(resolve_scalars(&check, root, "", "", scalars));
	struct yaml_node *result = yaml_collection(arena, YAML_MAPPING, root->place);
	yaml_put(arena, result, "name", default_place, yaml_get(scalars, "name"));
	copy_components(&check, root, result);
	TRY(check_engine(&check, root, result));
	TRY(check_workload(&check, root, result));
	yaml_put(arena, result, "clients_as", default_place, yaml_get(scalars, "clients_as"));
	yaml_put(arena, result, "verify", default_place, yaml_get(scalars, "verify"));
	TRY(check_phases(&check, root, result));
	yaml_put(arena, result, "repeats", default_place, yaml_get(scalars, "repeats"));
	*resolved = result;
	return status_ok();
}

struct status workload_check_key(struct arena *arena, const struct yaml_node *root, const char *name,
				 const char **value, struct problem *problem)
{
	struct check check = { .arena = arena, .problem = problem, .applies = KEY_EVERYWHERE };
	const struct workload_key *key = workload_key_find("", name);
	const struct yaml_item *item = yaml_get_item(root, name);
	struct yaml_node *result = NULL;
	ASSERT(key != NULL);
	*value = key->default_value;
	if (item == NULL)
		return status_ok();
	TRY(check_scalar(&check, key, item->value, item->place, name, &result));
	*value = result->text;
	return status_ok();
}
