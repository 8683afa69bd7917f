#include "harness/experiment.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/units.h"
#include "harness/allocate.h"
#include "harness/workload_check.h"
#include "harness/workload_edit.h"
#include "harness/workload_keys.h"
#include "harness/workload_schema.h"

enum { ARENA_CHUNK = 1 << 16, RUNS_MAX = 100000 };

static const struct place default_place = { .origin = "default", .line = 0 };

static void hash_text(const char *text, char out[static HASH_TEXT_BYTES])
{
	uint64_t hash = checksum64(text, strlen(text), 0);
	(void)snprintf(out, HASH_TEXT_BYTES, "%016llx", (unsigned long long)hash);
}

/* --- the engine's part of a cell --- */

struct describe_context {
	struct arena *arena;
	struct yaml_node *engine;
};

/* Hangs "memtable.kind" below memtable; below a plain value ("memory") it keeps its dotted name. */
static void put_described(void *opaque, const char *name, const char *value)
{
	struct describe_context *context = opaque;
	struct arena *arena = context->arena;
	struct yaml_node *node = context->engine;
	const char *rest = name;
	for (const char *dot = strchr(rest, '.'); dot != NULL; dot = strchr(rest, '.')) {
		char *step = arena_string(arena, rest, (size_t)(dot - rest));
		struct yaml_node *child = yaml_get(node, step);
		if (child == NULL) {
			child = yaml_collection(arena, YAML_MAPPING, default_place);
			yaml_put(arena, node, step, default_place, child);
		}
		if (child->kind != YAML_MAPPING) {
			node = context->engine;
			rest = name;
			break;
		}
		node = child;
		rest = dot + 1;
	}
	struct yaml_item *item = yaml_get_item(node, rest);
	if (item != NULL && item->value->kind != YAML_SCALAR)
		return; /* a value and a mapping cannot share a name */
	struct yaml_node *scalar =
		yaml_scalar(arena, arena_string(arena, value, strlen(value)), default_place);
	scalar->quoted = true;
	yaml_put(arena, node, arena_string(arena, rest, strlen(rest)), default_place, scalar);
}

static struct driver_config driver_config_of(const struct workload *workload)
{
	return (struct driver_config) {
		.path = workload->engine_path,
		.options = workload->engine_options,
		.option_count = workload->engine_option_count,
		.expected_records = workload->records,
	};
}

/* What follows "NAME: ", or NULL if the text does not begin so. */
static const char *after_name(const char *text, const char *name)
{
	size_t length = strlen(name);
	bool begins = strncmp(text, name, length) == 0 && strncmp(text + length, ": ", 2) == 0;
	return begins ? text + length + 2 : NULL;
}

/* The driver's complaint, at the line of the option that it is about. */
static struct status check_options(struct cell *cell, const struct yaml_node *options,
				   const struct yaml_node *engine, struct problem *problem)
{
	struct driver_config config = driver_config_of(&cell->workload);
	size_t bad = SIZE_MAX;
	struct status status = cell->driver->check(&config, &bad);
	if (status_is_ok(status))
		return status;
	char text[256], key[YAML_NAME_BYTES_MAX * 8];
	status_describe(status, text, sizeof(text));
	/* Options that do not go together are told by the message alone. */
	for (size_t i = 0; i < config.option_count && bad >= config.option_count; i++) {
		if (after_name(text, config.options[i].name) != NULL)
			bad = i;
	}
	if (bad >= config.option_count)
		return problem_at(problem, STATUS_INVALID, yaml_get(engine, "kind")->place, "engine", "%s",
				  text);
	const char *name = config.options[bad].name;
	const char *why = after_name(text, name);
	(void)snprintf(key, sizeof(key), "engine.%s", name);
	return problem_at(problem, STATUS_INVALID, options->items[bad].value->place, key, "%s",
			  why != NULL ? why : text);
}

static bool engine_forgets(const struct cell *cell)
{
	struct driver_config config = driver_config_of(&cell->workload);
	return (cell->driver->capabilities & DRIVER_FORGETS) != 0 ||
	       (cell->driver->forgets != NULL && cell->driver->forgets(&config));
}

/* kind, path, then every option in effect, nested again: given ones first, in the file's order. */
static struct yaml_node *describe_engine(struct arena *arena, const struct cell *cell,
					 const struct yaml_node *given)
{
	struct yaml_node *engine = yaml_collection(arena, YAML_MAPPING, given->place);
	yaml_put(arena, engine, "kind", default_place, yaml_get(given, "kind"));
	yaml_put(arena, engine, "path", default_place, yaml_get(given, "path"));
	struct describe_context context = { .arena = arena, .engine = engine };
	struct driver_config config = driver_config_of(&cell->workload);
	for (size_t i = 0; i < config.option_count; i++)
		put_described(&context, config.options[i].name, config.options[i].value);
	cell->driver->describe(&config, put_described, &context);
	return engine;
}

/* --- what engine and workload must agree on --- */

static bool phase_uses(const struct phase *phase, enum operation_kind kind)
{
	return phase->kind == PHASE_RUN && phase->mix[kind] > 0;
}

/* A run phase on nothing can only insert. */
static bool needs_records(const struct phase *phase)
{
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		if (kind != OPERATION_INSERT && phase_uses(phase, kind))
			return true;
	}
	return false;
}

static struct status check_fit(const struct cell *cell, const struct yaml_node *resolved,
			       struct problem *problem)
{
	const struct workload *workload = &cell->workload;
	const struct yaml_node *verify = yaml_get(resolved, "verify");
	const struct yaml_node *phases = yaml_get(resolved, "phases");
	const struct yaml_node *value_size = yaml_get(yaml_get(resolved, "workload"), "value_size");
	if (workload->value_size > 0 && workload->records > (1ull << 62) / workload->value_size)
		return problem_at(problem, STATUS_INVALID, value_size->place, "workload.value_size",
				  "%llu records of that size overflow, expected less than 4 EiB in all",
				  (unsigned long long)workload->records);
	if (workload->verify && cell->forgets)
		return problem_at(
			problem, STATUS_INVALID, verify->place, "verify",
			"the engine '%s'%s forgets what is written, expected false", cell->driver->name,
			(cell->driver->capabilities & DRIVER_FORGETS) != 0 ? "" : " with these options");
	for (size_t i = 0; i < workload->phase_count; i++) {
		char key[64];
		(void)snprintf(key, sizeof(key), "phases.%zu.mix.scan", i);
		if (phase_uses(&workload->phases[i], OPERATION_SCAN) &&
		    (cell->driver->capabilities & DRIVER_SCANS) == 0)
			return problem_at(problem, STATUS_INVALID,
					  yaml_get(yaml_get(phases->items[i].value, "mix"), "scan")->place,
					  key, "the engine '%s' cannot scan, expected 0", cell->driver->name);
	}
	if (strcmp(workload->engine_path, "auto") == 0 && needs_records(&workload->phases[0]))
		return problem_at(problem, STATUS_INVALID, phases->items[0].value->place, "phases.0.kind",
				  "there is nothing to read in a fresh database, expected a first phase of "
				  "kind: load (or an engine.path that holds the records)");
	return status_ok();
}

/* --- one cell --- */

static void put_clients_as(struct arena *arena, struct cell *cell, struct yaml_node *resolved)
{
	if ((cell->driver->capabilities & DRIVER_TASKS) != 0 || !cell->workload.clients_as_tasks)
		return;
	cell->threads_instead = true;
	cell->workload.clients_as_tasks = false;
	yaml_put(arena, resolved, "clients_as", default_place, yaml_scalar(arena, "threads", default_place));
}

/* Variants from elsewhere are what is in their files, wherever those lie. */
static void put_modules(struct arena *arena, const struct cell *cell, struct yaml_node *configuration)
{
	if (cell->modules.count == 0)
		return;
	struct yaml_node *hashes = yaml_collection(arena, YAML_SEQUENCE, default_place);
	for (size_t i = 0; i < cell->modules.count; i++)
		yaml_append(arena, hashes, yaml_scalar(arena, cell->modules.modules[i]->hash, default_place));
	yaml_put(arena, configuration, "components", default_place, hashes);
}

/* What identifies a configuration: not where the files lie. And a workload: not what runs it. */
static void hash_cell(struct arena *arena, struct cell *cell, const struct yaml_node *resolved)
{
	struct yaml_node *configuration = yaml_collection(arena, YAML_MAPPING, default_place);
	struct yaml_node *engine = yaml_copy(arena, cell->engine);
	yaml_remove(engine, "path");
	yaml_put(arena, configuration, "engine", default_place, engine);
	yaml_put(arena, configuration, "clients_as", default_place, yaml_get(resolved, "clients_as"));
	put_modules(arena, cell, configuration);
	hash_text(yaml_text(arena, configuration, true), cell->configuration_hash);

	struct yaml_node *workload = yaml_collection(arena, YAML_MAPPING, default_place);
	static const char *const parts[] = { "workload", "verify", "phases" };
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		yaml_put(arena, workload, parts[i], default_place, yaml_get(resolved, parts[i]));
	hash_text(yaml_text(arena, workload, true), cell->workload_hash);
}

/* What another file has loaded this one has to name as well, or its record would not say what was run. */
static struct status check_modules(const struct cell *cell, const struct yaml_node *engine,
				   const struct yaml_node *given, struct problem *problem)
{
	for (size_t i = 0; i < engine->count; i++) {
		const struct yaml_node *kind = yaml_get(engine->items[i].value, "kind");
		if (kind == NULL || kind->kind != YAML_SCALAR)
			continue;
		const struct module *module =
			modules_missing(&cell->modules, engine->items[i].key, kind->text);
		if (module != NULL)
			return problem_at(problem, STATUS_INVALID, given->place, "engine",
					  "the %s '%s' is of %s, which was loaded for another file, expected "
					  "it in `components` of this one too",
					  engine->items[i].key, kind->text, module->path);
	}
	return status_ok();
}

static struct status make_cell(struct arena *arena, const struct yaml_node *root, const char *name,
			       struct cell *cell, struct problem *problem)
{
	struct yaml_node *resolved = NULL, *options = NULL;
	TRY(workload_check(arena, root, name, &resolved, problem));
	const struct yaml_node *given = yaml_get(resolved, "engine");
	TRY(workload_flatten_engine(arena, given, &options, problem));
	TRY(workload_from_tree(arena, resolved, options, &cell->workload, problem));
	cell->driver = driver_find(cell->workload.engine_kind);
	ASSERT(cell->driver != NULL); /* the choices of engine.kind are the drivers */
	if ((cell->driver->capabilities & DRIVER_COMPONENTS) == 0)
		cell->modules.count = 0;
	TRY(check_options(cell, options, given, problem));
	cell->forgets = engine_forgets(cell);
	TRY(check_fit(cell, resolved, problem));
	struct yaml_node *engine = describe_engine(arena, cell, given);
	cell->engine = engine;
	if ((cell->driver->capabilities & DRIVER_COMPONENTS) != 0)
		TRY(check_modules(cell, engine, given, problem));
	yaml_put(arena, resolved, "engine", default_place, engine);
	put_clients_as(arena, cell, resolved);
	hash_cell(arena, cell, resolved);
	cell->resolved = yaml_text(arena, resolved, false);
	return status_ok();
}

/* --- all cells --- */

static struct status check_different(const struct experiment *experiment, const struct yaml_node *vary,
				     struct problem *problem)
{
	for (size_t i = 1; i < experiment->cell_count; i++) {
		const struct cell *cell = &experiment->cells[i];
		for (size_t j = 0; j < i; j++) {
			const struct cell *earlier = &experiment->cells[j];
			if (strcmp(cell->workload_hash, earlier->workload_hash) != 0)
				continue;
			if (strcmp(cell->configuration_hash, earlier->configuration_hash) == 0)
				return problem_at(
					problem, STATUS_INVALID, vary->place, "vary",
					"'%s' and '%s' are the same configuration, expected different ones",
					earlier->label, cell->label);
			/* A name is a column of tables and pictures. */
			if (strcmp(cell->name, earlier->name) == 0)
				return problem_at(
					problem, STATUS_INVALID, vary->place, "vary",
					"two configurations of one workload are called '%s', expected "
					"different names (`as`)",
					cell->name);
		}
	}
	return status_ok();
}

/* The start of the configuration's hash; of the workload's as well if that is what differs. */
static void tag_cell(const struct experiment *experiment, struct cell *cell)
{
	bool shared = false;
	for (size_t i = 0; i < experiment->cell_count; i++) {
		const struct cell *other = &experiment->cells[i];
		shared = shared ||
			 (other != cell && strcmp(other->configuration_hash, cell->configuration_hash) == 0);
	}
	int length =
		snprintf(cell->tag, sizeof(cell->tag), "%.*s", HASH_SHORT_DIGITS, cell->configuration_hash);
	if (shared)
		(void)snprintf(cell->tag + length, sizeof(cell->tag) - (size_t)length, "-%.*s",
			       HASH_SHORT_DIGITS, cell->workload_hash);
}

/* The configuration of that name, with every workload that varies, or the one cell of that label. */
static struct status choose_baseline(struct experiment *experiment, const struct yaml_node *given,
				     struct problem *problem)
{
	const char *name = given != NULL ? given->text : experiment->cells[0].name;
	const char **labels = arena_zeroed(&experiment->arena, experiment->cell_count * sizeof(*labels));
	char hint[128];
	bool found = false;
	for (size_t i = 0; i < experiment->cell_count; i++) {
		struct cell *cell = &experiment->cells[i];
		cell->is_baseline = strcmp(cell->name, name) == 0 || strcmp(cell->label, name) == 0;
		found = found || cell->is_baseline;
		labels[i] = cell->name;
	}
	if (found)
		return status_ok();
	return problem_at(problem, STATUS_INVALID, given->place, "baseline",
			  "no configuration is called '%.64s', expected one such as '%s'%s", name, labels[0],
			  nearest_hint(name, labels, experiment->cell_count, hint, sizeof(hint)));
}

/* What does not vary is called by its engine. */
static void name_cell(struct cell *cell)
{
	const struct combination *combination = &cell->combination;
	const char *kind = cell->workload.engine_kind;
	cell->label = combination->label[0] != '\0' ? combination->label : kind;
	cell->name = combination->name[0] != '\0' ? combination->name : kind;
	cell->workload_label = combination->workload_label;
}

static struct status make_cells(struct experiment *experiment, const struct yaml_node *root,
				const struct yaml_node *vary, struct problem *problem)
{
	struct arena *arena = &experiment->arena;
	TRY(vary_check(vary, problem));
	TRY(vary_count(vary, &experiment->cell_count, problem));
	experiment->cells = arena_zeroed(arena, experiment->cell_count * sizeof(*experiment->cells));
	for (size_t i = 0; i < experiment->cell_count; i++) {
		struct yaml_node *copy = yaml_copy(arena, root);
		struct cell *cell = &experiment->cells[i];
		yaml_remove(copy, "vary");
		yaml_remove(copy, "baseline");
		cell->index = i;
		cell->modules = experiment->modules;
		cell->combination = (struct combination) { .label = "", .name = "", .workload_label = "" };
		if (vary != NULL)
			TRY(vary_apply(arena, copy, vary, i, &cell->combination, problem));
		TRY(make_cell(arena, copy, experiment->name, cell, problem));
		name_cell(cell);
		experiment->name = cell->workload.name;
	}
	for (size_t i = 0; i < experiment->cell_count; i++)
		tag_cell(experiment, &experiment->cells[i]);
	TRY(choose_baseline(experiment, yaml_get(root, "baseline"), problem));
	return vary != NULL ? check_different(experiment, vary, problem) : status_ok();
}

/* --- order --- */

/*
 * Blocks: every configuration once, in an order drawn anew for each block, so that what drifts with time
 * (temperature, neighbours, a device that fills) meets all of them alike.
 */
static void order_runs(struct experiment *experiment)
{
	size_t cells = experiment->cell_count;
	experiment->run_count = cells * experiment->repeats;
	experiment->runs =
		arena_zeroed(&experiment->arena, experiment->run_count * sizeof(*experiment->runs));
	struct random random = random_stream(experiment->cells[0].workload.seed ^ 0x6f72646572ull);
	for (uint32_t repetition = 0; repetition < experiment->repeats; repetition++) {
		struct cell_run *block = &experiment->runs[repetition * cells];
		for (size_t i = 0; i < cells; i++)
			block[i] = (struct cell_run) { .cell = (uint32_t)i, .repetition = repetition + 1 };
		for (size_t i = cells - 1; i > 0; i--) {
			size_t other = random_below(&random, i + 1);
			struct cell_run swapped = block[i];
			block[i] = block[other];
			block[other] = swapped;
		}
	}
}

/* --- the whole --- */

/* "workloads/ycsb-a.yaml" -> "ycsb-a", what a folder cannot be called replaced by '-'. */
static char *name_of_file(struct arena *arena, const char *file)
{
	const char *base = strrchr(file, '/') != NULL ? strrchr(file, '/') + 1 : file;
	size_t length = strlen(base);
	const char *dot = strrchr(base, '.');
	if (dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0))
		length = (size_t)(dot - base);
	char *name = arena_string(arena, base, length < 64 ? length : 64);
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	for (char *at = name; *at != '\0'; at++) {
		if (strchr(safe, *at) == NULL || (at == name && (*at == '.' || *at == '-')))
			*at = '_';
	}
	return name[0] != '\0' ? name : arena_string(arena, "workload", 8);
}

static struct status prepare_tree(struct experiment *experiment, const char *const *sets, size_t set_count,
				  struct yaml_node **root, struct problem *problem)
{
	struct arena *arena = &experiment->arena;
	TRY(yaml_read(arena, experiment->file, root, problem));
	if ((*root)->kind != YAML_MAPPING)
		return problem_at(problem, STATUS_INVALID, (*root)->place, "",
				  "%s, expected keys such as 'name: NAME'", yaml_kind_text(*root));
	if (yaml_get(*root, "phases") == NULL) {
		struct yaml_node *phases = NULL;
		TRY(yaml_parse(arena, workload_default_phases, strlen(workload_default_phases), "default",
			       false, &phases, problem));
		yaml_put(arena, *root, "phases", default_place, phases);
	}
	for (size_t i = 0; i < set_count; i++)
		TRY(workload_set(arena, *root, sets[i], problem));
	return status_ok();
}

/*
 * With one configuration its own text says everything. With several, engine options in effect may differ
 * between them, so the file's stay as given, and each configuration has a text of its own besides.
 */
static struct status resolve_whole(struct experiment *experiment, const struct yaml_node *root,
				   const struct yaml_node *vary, struct problem *problem)
{
	struct arena *arena = &experiment->arena;
	experiment->resolved = experiment->cells[0].resolved;
	if (vary == NULL || vary->count == 0) {
		experiment->resolved = arena_format(arena, "%svary: []\n", experiment->resolved);
		return status_ok();
	}
	struct yaml_node *copy = yaml_copy(arena, root), *resolved = NULL;
	yaml_remove(copy, "vary");
	yaml_remove(copy, "baseline");
	if (status_is_ok(workload_check(arena, copy, experiment->name, &resolved, problem)))
		copy = resolved;
	/* Otherwise the file makes sense only with what varies put in: it stays as it is. */
	problem->text[0] = '\0';
	yaml_put(arena, copy, "vary", vary->place, yaml_copy(arena, vary));
	if (yaml_get(root, "baseline") != NULL)
		yaml_put(arena, copy, "baseline", default_place, yaml_get(root, "baseline"));
	experiment->resolved = yaml_text(arena, copy, false);
	return status_ok();
}

static struct status load(struct experiment *experiment, const char *const *sets, size_t set_count,
			  struct problem *problem)
{
	struct yaml_node *root = NULL;
	const char *repeats = NULL, *baseline = NULL;
	uint64_t count = 0;
	TRY(prepare_tree(experiment, sets, set_count, &root, problem));
	TRY(modules_load(&experiment->arena, root, &experiment->modules, problem));
	TRY(workload_check_key(&experiment->arena, root, "repeats", &repeats, problem));
	TRY(units_parse_count(repeats, &count));
	experiment->repeats = (uint32_t)count;
	if (yaml_get(root, "baseline") != NULL)
		TRY(workload_check_key(&experiment->arena, root, "baseline", &baseline, problem));
	const struct yaml_node *vary = yaml_get(root, "vary");
	TRY(make_cells(experiment, root, vary, problem));
	if (experiment->cell_count * experiment->repeats > RUNS_MAX)
		return problem_set(problem, STATUS_INVALID,
				   "%s: %zu configurations x %u repeats, expected at most %d runs",
				   experiment->file, experiment->cell_count, experiment->repeats, RUNS_MAX);
	order_runs(experiment);
	TRY(resolve_whole(experiment, root, vary, problem));
	hash_text(experiment->resolved, experiment->hash);
	return status_ok();
}

struct status experiment_load(struct experiment *experiment, const char *file, const char *const *sets,
			      size_t set_count, struct problem *problem)
{
	*experiment = (struct experiment) { .file = file };
	problem->text[0] = '\0';
	arena_init(&experiment->arena, ARENA_CHUNK);
	experiment->name = name_of_file(&experiment->arena, file);
	return load(experiment, sets, set_count, problem);
}

void experiment_free(struct experiment *experiment)
{
	arena_free(&experiment->arena);
}
