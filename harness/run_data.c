#include "harness/run_data.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "harness/allocate.h"

enum {
	ARENA_CHUNK_BYTES = 1 << 20,
	PATH_BYTES = 4096,
	CSV_FIELDS_MAX = 64,
	FILE_BYTES_MAX = 1 << 30,
	RUN_REPETITIONS_MAX = 1 << 16, /* more than an experiment may have */
};

static const double second_least = 0.5;

/* --- files and growing lists --- */

static struct status read_all(struct arena *arena, FILE *file, const char *path, char **text, size_t *size)
{
	if (fseek(file, 0, SEEK_END) != 0)
		return status_from_errno(errno, "cannot read", path);
	long length = ftell(file);
	if (length < 0 || fseek(file, 0, SEEK_SET) != 0)
		return status_from_errno(errno, "cannot read", path);
	if (length > FILE_BYTES_MAX)
		return status_error(STATUS_INVALID, "%s is larger than 1 GiB", path);
	*text = arena_allocate(arena, (size_t)length + 1, 1);
	if (*text == NULL)
		return status_make(STATUS_NO_MEMORY);
	*size = fread(*text, 1, (size_t)length, file);
	if (ferror(file))
		return status_from_errno(errno, "cannot read", path);
	(*text)[*size] = '\0';
	return status_ok();
}

static struct status read_file(struct arena *arena, const char *path, char **text, size_t *size)
{
	FILE *file = fopen(path, "r");
	if (file == NULL) {
		if (errno == ENOENT || errno == ENOTDIR)
			return status_error(STATUS_NOT_FOUND, "%s does not exist", path);
		return status_from_errno(errno, "cannot open", path);
	}
	struct status status = read_all(arena, file, path, text, size);
	fclose(file);
	return status;
}

/* Room for one more of `count` in a list that doubles within the arena; NULL: no memory. */
static void *list_room(struct arena *arena, void *list, size_t count, size_t size)
{
	if (count != 0 && (count & (count - 1)) != 0)
		return list;
	size_t capacity = count == 0 ? 1 : count * 2;
	void *larger = arena_allocate(arena, capacity * size, 16);
	if (larger != NULL && count > 0)
		memcpy(larger, list, count * size);
	return larger;
}

static const char *arena_copy(struct arena *arena, const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = arena_allocate(arena, size, 1);
	return copy == NULL ? NULL : memcpy(copy, text, size);
}

/* --- configurations and phases --- */

static bool same_text(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* SIZE_MAX: not there. Older records tell variations of the workload apart by the label alone. */
static size_t find_configuration(const struct run_data *data, const struct run_configuration *wanted)
{
	for (size_t i = 0; i < data->configuration_count; i++) {
		const struct run_configuration *one = &data->configurations[i];
		if (one->run != wanted->run || !same_text(one->hash, wanted->hash))
			continue;
		if (data->mode == RUN_DATA_BY_WORKLOAD ||
		    (same_text(one->label, wanted->label) && same_text(one->workload, wanted->workload)))
			return i;
	}
	return SIZE_MAX;
}

static size_t find_phase(const struct run_data *data, const char *name, const char *workload)
{
	for (size_t i = 0; i < data->phase_count; i++) {
		if (same_text(data->phases[i].name, name) &&
		    (data->mode == RUN_DATA_BY_LABEL || same_text(data->phases[i].workload, workload)))
			return i;
	}
	return SIZE_MAX;
}

static struct status add_configuration(struct run_data *data, const struct run_configuration *configuration,
				       size_t *index)
{
	*index = find_configuration(data, configuration);
	if (*index != SIZE_MAX)
		return status_ok();
	struct run_configuration *list =
		list_room(&data->arena, data->configurations, data->configuration_count, sizeof(*list));
	if (list == NULL)
		return status_make(STATUS_NO_MEMORY);
	data->configurations = list;
	*index = data->configuration_count++;
	list[*index] = *configuration;
	return status_ok();
}

static struct status add_phase(struct run_data *data, const struct run_phase *phase, size_t *index)
{
	*index = find_phase(data, phase->name, phase->workload);
	if (*index != SIZE_MAX)
		return status_ok();
	struct run_phase *list = list_room(&data->arena, data->phases, data->phase_count, sizeof(*list));
	if (list == NULL)
		return status_make(STATUS_NO_MEMORY);
	data->phases = list;
	*index = data->phase_count++;
	list[*index] = *phase;
	return status_ok();
}

/* --- record.jsonl --- */

static struct run_latency read_latency(const struct json *json, const char *operation)
{
	char path[64];
	snprintf(path, sizeof(path), "latency.%s.service", operation);
	const struct json *service = json_find(json, path);
	return (struct run_latency) {
		.count = json_number_at(service, "count", 0),
		.p50 = json_number_at(service, "p50_ns", NAN),
		.p99 = json_number_at(service, "p99_ns", NAN),
		.p999 = json_number_at(service, "p999_ns", NAN),
		.max = json_number_at(service, "max_ns", NAN),
		.hgrm = json_text_at(service, "hgrm", NULL),
	};
}

static bool is_true(const struct json *json, const char *path)
{
	const struct json *found = json_find(json, path);
	return found != NULL && found->kind == JSON_TRUE;
}

static struct status place_record(struct run_data *data, const struct json *json, struct run_record *record)
{
	const char *kind = json_text_at(json, "engine.kind", "?");
	const char *label = json_text_at(json, "configuration.label", kind);
	const char *workload = json_text_at(json, "workload.hash", "");
	const char *name = json_text_at(json, "configuration.name", label);
	struct run_configuration configuration = {
		.hash = json_text_at(json, "configuration.hash", ""),
		.label = label,
		.name = data->mode == RUN_DATA_BY_WORKLOAD ? name : label,
		.engine = kind,
		.clients_as = json_text_at(json, "clients_as", "?"),
		.workload = workload,
		.run = record->run,
		.index = json_number_at(json, "configuration.index", NAN),
		.baseline = is_true(json, "configuration.baseline"),
	};
	const char *varied = json_text_at(json, "workload.label", "");
	if (data->mode == RUN_DATA_BY_LABEL)
		varied = "";
	struct run_phase phase = {
		.name = json_text_at(json, "phase.name", "?"),
		.workload = workload,
		.workload_label = varied,
	};
	TRY(add_configuration(data, &configuration, &record->configuration));
	return add_phase(data, &phase, &record->phase);
}

static struct status add_record(struct run_data *data, size_t run, const struct json *json)
{
	struct run_record *list = list_room(&data->arena, data->records, data->record_count, sizeof(*list));
	if (list == NULL)
		return status_make(STATUS_NO_MEMORY);
	data->records = list;
	struct run_record record = {
		.run = run,
		.repetition = (uint32_t)json_number_at(json, "repetition", 1),
		.invalid = same_text(json_text_at(json, "validity.verdict", "valid"), "invalid"),
		.clients = json_number_at(json, "phase.clients", NAN),
		.operations = json_number_at(json, "operations", NAN),
		.seconds = json_number_at(json, "seconds", NAN),
		.ops_s = json_number_at(json, "throughput.ops_s", NAN),
		.cpu_us_per_op = json_number_at(json, "cpu.us_per_op", NAN),
		.write_amplification = json_number_at(json, "amplification.write", NAN),
		.space_amplification = json_number_at(json, "amplification.space", NAN),
		.hiccup_hgrm = json_text_at(json, "hiccup.hgrm", NULL),
		.json = json,
	};
	TRY(place_record(data, json, &record));
	record.block = (uint32_t)run * RUN_REPETITIONS_MAX + record.repetition;
	for (int operation = 0; operation < OPERATION_KINDS; operation++)
		record.latency[operation] = read_latency(json, operation_names[operation]);
	if (data->experiment == NULL)
		data->experiment = json_text_at(json, "experiment", "run");
	if (record.repetition > data->repetitions)
		data->repetitions = record.repetition;
	list[data->record_count++] = record;
	return status_ok();
}

static struct status parse_file(struct arena *arena, const char *path, int line, const char *text,
				size_t size, struct json **json)
{
	struct status status = json_parse(arena, text, size, json);
	char what[128];
	if (!status_is(status, STATUS_CORRUPT))
		return status;
	status_describe(status, what, sizeof(what));
	return line == 0 ? status_error(STATUS_CORRUPT, "%s: %s", path, what)
			 : status_error(STATUS_CORRUPT, "%s:%d: %s", path, line, what);
}

static struct status read_records(struct run_data *data, size_t run)
{
	char path[PATH_BYTES];
	char *text;
	size_t size, before = data->record_count;
	snprintf(path, sizeof(path), "%s/record.jsonl", data->runs[run].directory);
	TRY(read_file(&data->arena, path, &text, &size));
	int number = 0;
	for (char *line = text, *end; line < text + size; line = end + 1) {
		struct json *json;
		number++;
		end = memchr(line, '\n', (size_t)(text + size - line));
		if (end == NULL)
			break; /* whoever wrote it did not finish: not a record */
		if (end == line)
			continue;
		TRY(parse_file(&data->arena, path, number, line, (size_t)(end - line), &json));
		if (json->kind != JSON_OBJECT)
			return status_error(STATUS_CORRUPT, "%s:%d: not a record", path, number);
		TRY(add_record(data, run, json));
	}
	if (data->record_count == before)
		return status_error(STATUS_NOT_FOUND, "%s holds no record", path);
	return status_ok();
}

static struct status read_provenance(struct run_data *data, size_t run)
{
	char path[PATH_BYTES];
	char *text;
	size_t size;
	struct json *json;
	snprintf(path, sizeof(path), "%s/provenance.json", data->runs[run].directory);
	struct status status = read_file(&data->arena, path, &text, &size);
	if (status_is(status, STATUS_NOT_FOUND))
		return status_ok();
	TRY(status);
	TRY(parse_file(&data->arena, path, 0, text, size, &json));
	data->runs[run].provenance = json;
	return status_ok();
}

/* --- order of configurations --- */

static int by_place(const void *left, const void *right)
{
	const struct run_configuration *a = left, *b = right;
	if (a->run != b->run)
		return a->run < b->run ? -1 : 1;
	if (a->index != b->index && !isnan(a->index) && !isnan(b->index))
		return a->index < b->index ? -1 : 1;
	int order = strverscmp(a->label, b->label);
	return order != 0 ? order : strcmp(a->hash, b->hash);
}

/* Repetitions are run in shuffled order; tables and pictures (and colours) should not depend on that. */
static struct status sort_configurations(struct run_data *data)
{
	size_t bytes = data->configuration_count * sizeof(*data->configurations);
	struct run_configuration *before = arena_allocate(&data->arena, bytes, 16);
	if (before == NULL)
		return status_make(STATUS_NO_MEMORY);
	memcpy(before, data->configurations, bytes);
	qsort(data->configurations, data->configuration_count, sizeof(*before), by_place);
	for (size_t i = 0; i < data->record_count; i++)
		data->records[i].configuration =
			find_configuration(data, &before[data->records[i].configuration]);
	return status_ok();
}

/* --- columns of several workloads --- */

/* Whether some record of the one column and some record of the other did the same work. */
static bool share_workload(const struct run_data *data, size_t left, size_t right)
{
	for (size_t i = 0; i < data->record_count; i++) {
		const struct run_record *a = &data->records[i];
		for (size_t k = 0; k < data->record_count && a->configuration == left; k++) {
			const struct run_record *b = &data->records[k];
			if (b->configuration == right &&
			    same_text(data->phases[a->phase].workload, data->phases[b->phase].workload))
				return true;
		}
	}
	return false;
}

static bool same_column(const struct run_configuration *a, const struct run_configuration *b)
{
	return a->run == b->run && same_text(a->name, b->name) && same_text(a->clients_as, b->clients_as);
}

/* Older runs give the same name to what they compare: such columns stay as they are, all of that name. */
static bool is_ambiguous(const struct run_data *data, size_t index)
{
	const struct run_configuration *list = data->configurations;
	for (size_t i = 0; i < data->configuration_count; i++) {
		for (size_t k = 0; k < i && same_column(&list[i], &list[index]); k++) {
			if (same_column(&list[k], &list[index]) && share_workload(data, i, k))
				return true;
		}
	}
	return false;
}

static void join_columns(struct run_data *data, size_t into, size_t from)
{
	struct run_configuration *one = &data->configurations[into];
	const struct run_configuration *other = &data->configurations[from];
	one->baseline = one->baseline || other->baseline;
	if (other->index < one->index) {
		one->index = other->index;
		one->hash = other->hash;
		one->label = other->label;
		one->workload = other->workload;
	}
	for (size_t i = 0; i < data->record_count; i++) {
		size_t *column = &data->records[i].configuration;
		if (*column == from)
			*column = into;
		else if (*column > from)
			(*column)--;
	}
	data->configuration_count--;
	memmove(&data->configurations[from], &data->configurations[from + 1],
		(data->configuration_count - from) * sizeof(*data->configurations));
}

static void join_configurations(struct run_data *data)
{
	for (size_t i = 0; i < data->configuration_count && data->mode == RUN_DATA_BY_WORKLOAD; i++) {
		bool joins = !is_ambiguous(data, i);
		for (size_t k = data->configuration_count - 1; k > i && joins; k--) {
			if (same_column(&data->configurations[i], &data->configurations[k]))
				join_columns(data, i, k);
		}
	}
}

/* --- order and names of phases --- */

struct ranked_phase {
	struct run_phase phase;
	size_t run; /* the first that has its workload */
	double index;
	size_t place;
};

static int by_workload(const void *left, const void *right)
{
	const struct ranked_phase *a = left, *b = right;
	if (a->run != b->run)
		return a->run < b->run ? -1 : 1;
	if (a->index != b->index && !isnan(a->index) && !isnan(b->index))
		return a->index < b->index ? -1 : 1;
	return a->place < b->place ? -1 : a->place > b->place;
}

/* The first configuration of the first run that did a phase's workload. */
static void rank_phase(const struct run_data *data, size_t phase, struct ranked_phase *ranked)
{
	*ranked = (struct ranked_phase) { data->phases[phase], SIZE_MAX, NAN, phase };
	for (size_t i = 0; i < data->record_count && data->mode == RUN_DATA_BY_WORKLOAD; i++) {
		const struct run_record *record = &data->records[i];
		double index = json_number_at(record->json, "configuration.index", NAN);
		if (!same_text(data->phases[record->phase].workload, ranked->phase.workload) ||
		    record->run > ranked->run)
			continue;
		if (record->run < ranked->run || !(index >= ranked->index))
			ranked->index = index;
		ranked->run = record->run;
	}
}

static void title_phases(struct run_data *data)
{
	for (size_t i = 0; i < data->phase_count; i++) {
		struct run_phase *phase = &data->phases[i];
		phase->title =
			phase->workload_label[0] == '\0'
				? phase->name
				: arena_format(&data->arena, "%s %s", phase->workload_label, phase->name);
		bool again = false;
		for (size_t k = 0; k < i; k++)
			again = again || same_text(data->phases[k].title, phase->title);
		if (again)
			phase->title = arena_format(&data->arena, "%s (%.8s)", phase->title, phase->workload);
	}
}

/* Which workload the shuffled order began with does not matter to tables and pictures either. */
static void sort_phases(struct run_data *data)
{
	struct arena *arena = &data->arena;
	struct ranked_phase *ranked = arena_zeroed(arena, (data->phase_count + 1) * sizeof(*ranked));
	size_t *places = arena_zeroed(arena, (data->phase_count + 1) * sizeof(*places));
	for (size_t i = 0; i < data->phase_count; i++)
		rank_phase(data, i, &ranked[i]);
	qsort(ranked, data->phase_count, sizeof(*ranked), by_workload);
	for (size_t i = 0; i < data->phase_count; i++) {
		data->phases[i] = ranked[i].phase;
		places[ranked[i].place] = i;
	}
	for (size_t i = 0; i < data->record_count; i++)
		data->records[i].phase = places[data->records[i].phase];
	title_phases(data);
}

/* --- names of configurations --- */

/* How many other columns have this one's name, and whether its clients or its run tell it from all of them.
 */
static size_t namesakes(const struct run_data *data, const char *const *names, size_t index, bool *clients,
			bool *runs)
{
	const struct run_configuration *one = &data->configurations[index];
	size_t count = 0;
	*clients = true;
	*runs = true;
	for (size_t i = 0; i < data->configuration_count; i++) {
		const struct run_configuration *other = &data->configurations[i];
		if (i == index || !same_text(names[i], names[index]))
			continue;
		count++;
		*clients = *clients && !same_text(other->clients_as, one->clients_as);
		*runs = *runs && other->run != one->run;
	}
	return count;
}

/* Adds to names what tells them apart: how clients run, the run, or else the hash. */
static void name_configurations(struct run_data *data)
{
	size_t count = data->configuration_count;
	const char **names = arena_zeroed(&data->arena, (count + 1) * sizeof(*names));
	for (size_t i = 0; i < count; i++)
		names[i] = data->configurations[i].name;
	for (size_t i = 0; i < count; i++) {
		struct run_configuration *one = &data->configurations[i];
		bool clients, runs;
		if (namesakes(data, names, i, &clients, &runs) == 0)
			continue;
		const char *hash = data->mode == RUN_DATA_BY_LABEL ? one->workload : one->hash;
		if (clients)
			one->name = arena_format(&data->arena, "%s (%s)", names[i], one->clients_as);
		else if (runs)
			one->name =
				arena_format(&data->arena, "%s (%s)", names[i], data->runs[one->run].name);
		else
			one->name = arena_format(&data->arena, "%s (%s %.8s)", names[i],
						 data->runs[one->run].name, hash);
	}
}

/* --- timeline.csv --- */

/* Splits a line in place; fields may be in quotes. Returns their number. */
static size_t split_csv(char *line, char *fields[CSV_FIELDS_MAX])
{
	size_t count = 0;
	while (count < CSV_FIELDS_MAX) {
		char *to = line;
		bool quoted = *line == '"';
		line += quoted;
		fields[count++] = to;
		while (*line != '\0' && (quoted || *line != ',')) {
			if (quoted && *line == '"') {
				quoted = line[1] == '"';
				line++;
				if (!quoted)
					continue;
			}
			*to++ = *line++;
		}
		bool more = *line == ',';
		*to = '\0';
		if (!more)
			break;
		line++;
	}
	return count;
}

enum column {
	COLUMN_CONFIGURATION,
	COLUMN_LABEL,
	COLUMN_REPETITION,
	COLUMN_PHASE,
	COLUMN_T,
	COLUMN_OPERATIONS,
	COLUMN_P50,
	COLUMN_P99,
	COLUMN_MAX,
	COLUMNS,
};

static const char *const column_names[COLUMNS] = { "configuration", "label",  "repetition", "phase", "t_s",
						   "operations",    "p50_ns", "p99_ns",	    "max_ns" };

static double number_of(const char *field)
{
	char *end;
	double number = strtod(field, &end);
	return end == field || *end != '\0' ? NAN : number;
}

static bool same_series(const struct run_second *a, const struct run_second *b)
{
	return a->configuration == b->configuration && a->phase == b->phase && a->repetition == b->repetition;
}

/* Which record a line belongs to; NULL: of a repetition that left none. */
static const struct run_record *find_record(const struct run_data *data, size_t run,
					    char *const fields[COLUMNS])
{
	double repetition = number_of(fields[COLUMN_REPETITION]);
	for (size_t i = 0; i < data->record_count; i++) {
		const struct run_record *record = &data->records[i];
		const char *kind = json_text_at(record->json, "engine.kind", "?");
		if (record->run == run && record->repetition == repetition &&
		    same_text(data->phases[record->phase].name, fields[COLUMN_PHASE]) &&
		    same_text(json_text_at(record->json, "configuration.hash", ""),
			      fields[COLUMN_CONFIGURATION]) &&
		    same_text(json_text_at(record->json, "configuration.label", kind), fields[COLUMN_LABEL]))
			return record;
	}
	return NULL;
}

static struct status add_second(struct run_data *data, size_t run, char *const fields[COLUMNS])
{
	const struct run_record *record = find_record(data, run, fields);
	if (record == NULL)
		return status_ok();
	struct run_second *list = list_room(&data->arena, data->seconds, data->second_count, sizeof(*list));
	if (list == NULL)
		return status_make(STATUS_NO_MEMORY);
	data->seconds = list;
	struct run_second second = {
		.configuration = record->configuration,
		.phase = record->phase,
		.repetition = record->block,
		.t_s = number_of(fields[COLUMN_T]),
		.p50_ns = number_of(fields[COLUMN_P50]),
		.p99_ns = number_of(fields[COLUMN_P99]),
		.max_ns = number_of(fields[COLUMN_MAX]),
	};
	double since = 0;
	if (data->second_count > 0 && same_series(&list[data->second_count - 1], &second))
		since = list[data->second_count - 1].t_s;
	/* What is left after the last whole second is too short to be compared with seconds. */
	if (since > 0 && second.t_s - since < second_least)
		return status_ok();
	second.middle_s = (second.t_s + since) / 2;
	second.ops_s = second.t_s > since ? number_of(fields[COLUMN_OPERATIONS]) / (second.t_s - since) : NAN;
	list[data->second_count++] = second;
	return status_ok();
}

static struct status find_columns(const char *path, char *line, size_t places[COLUMNS])
{
	char *names[CSV_FIELDS_MAX];
	size_t count = split_csv(line, names);
	for (int column = 0; column < COLUMNS; column++) {
		places[column] = SIZE_MAX;
		for (size_t i = 0; i < count; i++) {
			if (strcmp(names[i], column_names[column]) == 0)
				places[column] = i;
		}
		if (places[column] == SIZE_MAX)
			return status_error(STATUS_CORRUPT, "%s:1: no column '%s'", path,
					    column_names[column]);
	}
	return status_ok();
}

static struct status read_timeline(struct run_data *data, size_t run)
{
	char path[PATH_BYTES];
	char *text;
	size_t size, places[COLUMNS];
	snprintf(path, sizeof(path), "%s/timeline.csv", data->runs[run].directory);
	struct status status = read_file(&data->arena, path, &text, &size);
	if (status_is(status, STATUS_NOT_FOUND))
		return status_ok();
	TRY(status);
	int number = 0;
	for (char *line = text, *end; line < text + size; line = end + 1) {
		number++;
		end = memchr(line, '\n', (size_t)(text + size - line));
		if (end == NULL)
			break;
		*end = '\0';
		if (number == 1) {
			TRY(find_columns(path, line, places));
			continue;
		}
		char *fields[CSV_FIELDS_MAX], *wanted[COLUMNS];
		size_t count = split_csv(line, fields);
		for (int column = 0; column < COLUMNS; column++) {
			if (places[column] >= count)
				return status_error(STATUS_CORRUPT, "%s:%d: too few fields", path, number);
			wanted[column] = fields[places[column]];
		}
		TRY(add_second(data, run, wanted));
	}
	return status_ok();
}

/* --- the whole --- */

/* What a directory is called: results/NAME/latest by the run that the link names. */
static const char *name_of_directory(struct arena *arena, const char *directory)
{
	char real[PATH_BYTES];
	const char *path = realpath(directory, real) != NULL ? real : directory;
	size_t length = strlen(path);
	while (length > 1 && path[length - 1] == '/')
		length--;
	size_t from = length;
	while (from > 0 && path[from - 1] != '/')
		from--;
	return arena_string(arena, path + from, length - from);
}

struct status run_data_read(struct run_data *data, const struct run_source *sources, size_t count,
			    enum run_data_mode mode)
{
	*data = (struct run_data) { .mode = mode, .run_count = count };
	arena_init(&data->arena, ARENA_CHUNK_BYTES);
	data->runs = arena_zeroed(&data->arena, (count + 1) * sizeof(*data->runs));
	for (size_t i = 0; i < count; i++) {
		struct run_folder *run = &data->runs[i];
		run->directory = arena_copy(&data->arena, sources[i].directory);
		if (run->directory == NULL)
			return status_make(STATUS_NO_MEMORY);
		run->name = sources[i].name != NULL ? arena_copy(&data->arena, sources[i].name)
						    : name_of_directory(&data->arena, run->directory);
		TRY(read_records(data, i));
		TRY(read_provenance(data, i));
	}
	join_configurations(data);
	TRY(sort_configurations(data));
	name_configurations(data);
	sort_phases(data);
	for (size_t i = 0; i < count; i++)
		TRY(read_timeline(data, i));
	return status_ok();
}

void run_data_free(struct run_data *data)
{
	arena_free(&data->arena);
}
