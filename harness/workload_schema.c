#include "harness/workload_schema.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include <cyaml/cyaml.h>

#include "base/units.h"
#include "harness/allocate.h"

/* --- what libcyaml fills: sizes and times are text with units, which units.c reads --- */

struct raw_option {
	char *name;
	char *value;
	uint32_t line;
};

struct raw_engine {
	char *kind;
	char *path;
	uint32_t line;
	struct raw_option *options;
	uint32_t options_count;
};

struct raw_workload {
	uint64_t records;
	char *value_size;
	double compressibility;
	uint64_t seed;
	enum insert_order insert_order;
	enum update_mode update_mode;
};

struct raw_mix {
	double read, update, insert, scan, rmw, delete;
};

struct raw_phase {
	char *name;
	enum phase_kind kind;
	uint32_t clients;
	struct raw_mix mix;
	enum distribution distribution;
	double theta;
	enum update_mode update_mode;
	char *duration;
	uint64_t operations;
	char *warmup;
	uint64_t scan_min, scan_max;
	bool wait_idle;
	uint32_t line;
};

struct raw_document {
	char *name;
	struct raw_engine engine;
	struct raw_workload workload;
	bool clients_as_tasks;
	bool verify;
	struct raw_phase *phases;
	uint32_t phases_count;
	uint32_t repeats;
};

/* --- the schema --- */

static const cyaml_strval_t insert_orders[] = {
	{ "hashed", INSERT_HASHED },
	{ "ordered", INSERT_ORDERED },
};

static const cyaml_strval_t update_modes[] = {
	{ "blind", UPDATE_BLIND },
	{ "rmw", UPDATE_RMW },
};

static const cyaml_strval_t phase_kinds[] = {
	{ "load", PHASE_LOAD },
	{ "run", PHASE_RUN },
};

static const cyaml_strval_t distributions[] = {
	{ "uniform", DISTRIBUTION_UNIFORM },
	{ "zipfian", DISTRIBUTION_ZIPFIAN },
	{ "zipfian_exact", DISTRIBUTION_ZIPFIAN_EXACT },
	{ "latest", DISTRIBUTION_LATEST },
	{ "sequential", DISTRIBUTION_SEQUENTIAL },
};

static const cyaml_strval_t client_kinds[] = {
	{ "threads", false },
	{ "tasks", true },
};

#define TEXT_FIELD(type, key) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER, type, key, 0, CYAML_UNLIMITED)
#define ENUM_FIELD(type, key, of) \
	CYAML_FIELD_ENUM(#key, CYAML_FLAG_STRICT, type, key, of, CYAML_ARRAY_LEN(of))
#define OPTIONAL_TEXT_FIELD(type, key) \
	CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, key, 0, CYAML_UNLIMITED)
#define OPTIONAL_ENUM_FIELD(type, key, of) \
	CYAML_FIELD_ENUM(#key, CYAML_FLAG_STRICT | CYAML_FLAG_OPTIONAL, type, key, of, CYAML_ARRAY_LEN(of))

static const cyaml_schema_field_t option_fields[] = {
	TEXT_FIELD(struct raw_option, name),
	TEXT_FIELD(struct raw_option, value),
	CYAML_FIELD_UINT("line", CYAML_FLAG_DEFAULT, struct raw_option, line),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t option_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_option, option_fields),
};

static const cyaml_schema_field_t engine_fields[] = {
	TEXT_FIELD(struct raw_engine, kind),
	TEXT_FIELD(struct raw_engine, path),
	CYAML_FIELD_UINT("line", CYAML_FLAG_DEFAULT, struct raw_engine, line),
	CYAML_FIELD_SEQUENCE("options", CYAML_FLAG_POINTER, struct raw_engine, options, &option_schema, 0,
			     CYAML_UNLIMITED),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t workload_fields[] = {
	CYAML_FIELD_UINT("records", CYAML_FLAG_DEFAULT, struct raw_workload, records),
	TEXT_FIELD(struct raw_workload, value_size),
	CYAML_FIELD_FLOAT("compressibility", CYAML_FLAG_DEFAULT, struct raw_workload, compressibility),
	CYAML_FIELD_UINT("seed", CYAML_FLAG_DEFAULT, struct raw_workload, seed),
	ENUM_FIELD(struct raw_workload, insert_order, insert_orders),
	ENUM_FIELD(struct raw_workload, update_mode, update_modes),
	CYAML_FIELD_END,
};

#define WEIGHT_FIELD(name) CYAML_FIELD_FLOAT(#name, CYAML_FLAG_DEFAULT, struct raw_mix, name)

static const cyaml_schema_field_t mix_fields[] = {
	WEIGHT_FIELD(read), WEIGHT_FIELD(update), WEIGHT_FIELD(insert), WEIGHT_FIELD(scan),
	WEIGHT_FIELD(rmw),  WEIGHT_FIELD(delete), CYAML_FIELD_END,
};

static const cyaml_schema_field_t phase_fields[] = {
	TEXT_FIELD(struct raw_phase, name),
	ENUM_FIELD(struct raw_phase, kind, phase_kinds),
	CYAML_FIELD_UINT("clients", CYAML_FLAG_DEFAULT, struct raw_phase, clients),
	CYAML_FIELD_MAPPING("mix", CYAML_FLAG_OPTIONAL, struct raw_phase, mix, mix_fields),
	OPTIONAL_ENUM_FIELD(struct raw_phase, distribution, distributions),
	CYAML_FIELD_FLOAT("theta", CYAML_FLAG_OPTIONAL, struct raw_phase, theta),
	OPTIONAL_ENUM_FIELD(struct raw_phase, update_mode, update_modes),
	OPTIONAL_TEXT_FIELD(struct raw_phase, duration),
	CYAML_FIELD_UINT("operations", CYAML_FLAG_OPTIONAL, struct raw_phase, operations),
	OPTIONAL_TEXT_FIELD(struct raw_phase, warmup),
	CYAML_FIELD_UINT("scan_min", CYAML_FLAG_OPTIONAL, struct raw_phase, scan_min),
	CYAML_FIELD_UINT("scan_max", CYAML_FLAG_OPTIONAL, struct raw_phase, scan_max),
	CYAML_FIELD_BOOL("wait_idle", CYAML_FLAG_DEFAULT, struct raw_phase, wait_idle),
	CYAML_FIELD_UINT("line", CYAML_FLAG_DEFAULT, struct raw_phase, line),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t phase_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_phase, phase_fields),
};

static const cyaml_schema_field_t document_fields[] = {
	TEXT_FIELD(struct raw_document, name),
	CYAML_FIELD_MAPPING("engine", CYAML_FLAG_DEFAULT, struct raw_document, engine, engine_fields),
	CYAML_FIELD_MAPPING("workload", CYAML_FLAG_DEFAULT, struct raw_document, workload, workload_fields),
	CYAML_FIELD_ENUM("clients_as", CYAML_FLAG_STRICT, struct raw_document, clients_as_tasks, client_kinds,
			 CYAML_ARRAY_LEN(client_kinds)),
	CYAML_FIELD_BOOL("verify", CYAML_FLAG_DEFAULT, struct raw_document, verify),
	CYAML_FIELD_SEQUENCE("phases", CYAML_FLAG_POINTER, struct raw_document, phases, &phase_schema, 1,
			     CYAML_UNLIMITED),
	CYAML_FIELD_UINT("repeats", CYAML_FLAG_DEFAULT, struct raw_document, repeats),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t document_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_document, document_fields),
};

/* --- the document that the schema reads --- */

static const struct place derived_place = { .origin = "derived", .line = 0 };

static void put_line(struct arena *arena, struct yaml_node *mapping, int line)
{
	yaml_put(arena, mapping, "line", derived_place,
		 yaml_scalar(arena, arena_format(arena, "%d", line), derived_place));
}

static struct status flatten(struct arena *arena, const struct yaml_node *node, const char *prefix,
			     struct yaml_node *options, struct problem *problem)
{
	for (size_t i = 0; i < node->count; i++) {
		const struct yaml_item *item = &node->items[i];
		const char *name =
			prefix[0] == '\0' ? item->key : arena_format(arena, "%s.%s", prefix, item->key);
		const char *path = arena_format(arena, "engine.%s", name);
		if (prefix[0] == '\0' && (strcmp(name, "kind") == 0 || strcmp(name, "path") == 0))
			continue;
		if (item->value->kind == YAML_MAPPING) {
			TRY(flatten(arena, item->value, name, options, problem));
			continue;
		}
		if (item->value->kind == YAML_SEQUENCE || yaml_is_null(item->value))
			return problem_at(problem, STATUS_INVALID, item->place, path,
					  "%s, expected a value or a mapping", yaml_kind_text(item->value));
		for (size_t j = 0; j < options->count; j++) {
			if (strcmp(yaml_get(options->items[j].value, "name")->text, name) == 0)
				return problem_at(problem, STATUS_INVALID, item->place, path,
						  "duplicate key, expected it once");
		}
		struct yaml_node *option = yaml_collection(arena, YAML_MAPPING, item->value->place);
		yaml_put(arena, option, "name", derived_place, yaml_scalar(arena, name, item->place));
		yaml_put(arena, option, "value", derived_place, item->value);
		put_line(arena, option, item->value->place.line);
		yaml_append(arena, options, option);
	}
	return status_ok();
}

struct status workload_flatten_engine(struct arena *arena, const struct yaml_node *engine,
				      struct yaml_node **options, struct problem *problem)
{
	*options = yaml_collection(arena, YAML_SEQUENCE, engine->place);
	return flatten(arena, engine, "", *options, problem);
}

static struct yaml_node *make_document(struct arena *arena, const struct yaml_node *resolved,
				       const struct yaml_node *options)
{
	struct yaml_node *document = yaml_copy(arena, resolved);
	const struct yaml_node *given = yaml_get(resolved, "engine");
	struct yaml_node *engine = yaml_collection(arena, YAML_MAPPING, given->place);
	yaml_put(arena, engine, "kind", derived_place, yaml_get(given, "kind"));
	yaml_put(arena, engine, "path", derived_place, yaml_get(given, "path"));
	put_line(arena, engine, yaml_get(given, "kind")->place.line);
	yaml_put(arena, engine, "options", derived_place, yaml_copy(arena, options));
	yaml_put(arena, document, "engine", derived_place, engine);
	yaml_remove(document, "components"); /* loaded long since, and the experiment's: modules.h */
	const struct yaml_node *phases = yaml_get(document, "phases");
	for (size_t i = 0; i < phases->count; i++)
		put_line(arena, phases->items[i].value, phases->items[i].value->place.line);
	return document;
}

/* --- from what libcyaml filled to struct workload --- */

static char *keep(struct arena *arena, const char *text)
{
	return arena_string(arena, text, strlen(text));
}

static struct status convert_phase(struct arena *arena, const struct raw_phase *raw, struct phase *phase)
{
	*phase = (struct phase) {
		.name = keep(arena, raw->name),
		.kind = raw->kind,
		.mix = { [OPERATION_READ] = raw->mix.read,
			 [OPERATION_UPDATE] = raw->mix.update,
			 [OPERATION_INSERT] = raw->mix.insert,
			 [OPERATION_SCAN] = raw->mix.scan,
			 [OPERATION_RMW] = raw->mix.rmw,
			 [OPERATION_DELETE] = raw->mix.delete },
		.distribution = raw->distribution,
		.theta = raw->theta,
		.update_mode = raw->update_mode,
		.clients = raw->clients,
		.operations = raw->operations,
		.scan_min = raw->scan_min,
		.scan_max = raw->scan_max,
		.wait_idle = raw->wait_idle,
		.line = (int)raw->line,
	};
	if (raw->duration != NULL)
		TRY(units_parse_time(raw->duration, &phase->duration_ns));
	if (raw->warmup != NULL)
		TRY(units_parse_time(raw->warmup, &phase->warmup_ns));
	return status_ok();
}

static struct status convert(struct arena *arena, const struct raw_document *raw, struct workload *workload)
{
	*workload = (struct workload) {
		.name = keep(arena, raw->name),
		.engine_kind = keep(arena, raw->engine.kind),
		.engine_line = (int)raw->engine.line,
		.engine_path = keep(arena, raw->engine.path),
		.engine_option_count = raw->engine.options_count,
		.records = raw->workload.records,
		.compressibility = raw->workload.compressibility,
		.seed = raw->workload.seed,
		.insert_order = raw->workload.insert_order,
		.verify = raw->verify,
		.clients_as_tasks = raw->clients_as_tasks,
		.phase_count = raw->phases_count,
		.repeats = raw->repeats,
	};
	TRY(units_parse_size(raw->workload.value_size, &workload->value_size));
	struct driver_option *options = arena_zeroed(arena, raw->engine.options_count * sizeof(*options));
	for (uint32_t i = 0; i < raw->engine.options_count; i++) {
		const struct raw_option *option = &raw->engine.options[i];
		options[i] = (struct driver_option) { .name = keep(arena, option->name),
						      .value = keep(arena, option->value),
						      .line = (int)option->line };
	}
	workload->engine_options = options;
	workload->phases = arena_zeroed(arena, raw->phases_count * sizeof(*workload->phases));
	for (uint32_t i = 0; i < raw->phases_count; i++)
		TRY(convert_phase(arena, &raw->phases[i], &workload->phases[i]));
	return status_ok();
}

/* libcyaml reports through its log only; the last line says what it stumbled over. */
static void keep_log_line(cyaml_log_t level, void *context, const char *format, va_list arguments)
{
	struct problem *problem = context;
	(void)level;
	if (problem->text[0] == '\0')
		(void)vsnprintf(problem->text, sizeof(problem->text), format, arguments);
}

struct status workload_from_tree(struct arena *arena, const struct yaml_node *resolved,
				 const struct yaml_node *options, struct workload *workload,
				 struct problem *problem)
{
	const char *text = yaml_text(arena, make_document(arena, resolved, options), false);
	struct problem log = { .text = "" };
	const cyaml_config_t config = {
		.log_fn = keep_log_line,
		.log_ctx = &log,
		.log_level = CYAML_LOG_ERROR,
		.mem_fn = cyaml_mem,
	};
	struct raw_document *raw = NULL;
	cyaml_err_t error = cyaml_load_data((const uint8_t *)text, strlen(text), &config, &document_schema,
					    (cyaml_data_t **)&raw, NULL);
	if (error != CYAML_OK)
		return problem_set(problem, STATUS_INVALID,
				   "the resolved workload does not fit its schema: %s: %s",
				   cyaml_strerror(error), log.text);
	struct status status = convert(arena, raw, workload);
	(void)cyaml_free(&config, &document_schema, raw, 0);
	if (!status_is_ok(status))
		return problem_set(problem, STATUS_INVALID,
				   "the resolved workload has a value without units");
	return status;
}
