#include "harness/plot_data.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "harness/json_reader.h"

enum {
	ARENA_CHUNK_BYTES = 1 << 20,
	PATH_BYTES = 4096,
	CSV_FIELDS_MAX = 64,
	FILE_BYTES_MAX = 1 << 30,
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

/* SIZE_MAX: not there. The label tells apart what the hash does not: variations of the workload. */
static size_t find_configuration(const struct plot_data *data, const char *hash, const char *label)
{
	for (size_t i = 0; i < data->configuration_count; i++) {
		if (strcmp(data->configurations[i].hash, hash) == 0 &&
		    strcmp(data->configurations[i].label, label) == 0)
			return i;
	}
	return SIZE_MAX;
}

static size_t find_phase(const struct plot_data *data, const char *name)
{
	for (size_t i = 0; i < data->phase_count; i++) {
		if (strcmp(data->phases[i], name) == 0)
			return i;
	}
	return SIZE_MAX;
}

static struct status add_configuration(struct plot_data *data, const char *hash, const char *label,
				       size_t *index)
{
	*index = find_configuration(data, hash, label);
	if (*index != SIZE_MAX)
		return status_ok();
	struct plot_configuration *list =
		list_room(&data->arena, data->configurations, data->configuration_count, sizeof(*list));
	if (list == NULL)
		return status_make(STATUS_NO_MEMORY);
	data->configurations = list;
	*index = data->configuration_count++;
	list[*index] = (struct plot_configuration) { .hash = hash, .label = label };
	return status_ok();
}

static struct status add_phase(struct plot_data *data, const char *name, size_t *index)
{
	*index = find_phase(data, name);
	if (*index != SIZE_MAX)
		return status_ok();
	const char **list = list_room(&data->arena, data->phases, data->phase_count, sizeof(*list));
	if (list == NULL)
		return status_make(STATUS_NO_MEMORY);
	data->phases = list;
	*index = data->phase_count++;
	list[*index] = name;
	return status_ok();
}

/* --- record.jsonl --- */

static struct plot_latency read_latency(const struct json *json, const char *operation)
{
	char path[64];
	snprintf(path, sizeof(path), "latency.%s.service", operation);
	const struct json *service = json_find(json, path);
	return (struct plot_latency) {
		.count = json_number_at(service, "count", 0),
		.p50 = json_number_at(service, "p50_ns", NAN),
		.p99 = json_number_at(service, "p99_ns", NAN),
		.p999 = json_number_at(service, "p999_ns", NAN),
		.max = json_number_at(service, "max_ns", NAN),
		.hgrm = json_text_at(service, "hgrm", NULL),
	};
}

static struct status add_record(struct plot_data *data, const struct json *json)
{
	struct plot_record *list = list_room(&data->arena, data->records, data->record_count, sizeof(*list));
	if (list == NULL)
		return status_make(STATUS_NO_MEMORY);
	data->records = list;
	struct plot_record record = {
		.repetition = (uint32_t)json_number_at(json, "repetition", 1),
		.clients = json_number_at(json, "phase.clients", NAN),
		.operations = json_number_at(json, "operations", NAN),
		.seconds = json_number_at(json, "seconds", NAN),
		.ops_s = json_number_at(json, "throughput.ops_s", NAN),
		.cpu_us_per_op = json_number_at(json, "cpu.us_per_op", NAN),
		.write_amplification = json_number_at(json, "amplification.write", NAN),
		.space_amplification = json_number_at(json, "amplification.space", NAN),
	};
	const char *hash = json_text_at(json, "configuration.hash", "");
	const char *kind = json_text_at(json, "engine.kind", "?");
	TRY(add_configuration(data, hash, json_text_at(json, "configuration.label", kind),
			      &record.configuration));
	TRY(add_phase(data, json_text_at(json, "phase.name", "?"), &record.phase));
	for (int operation = 0; operation < OPERATION_KINDS; operation++)
		record.latency[operation] = read_latency(json, operation_names[operation]);
	if (data->experiment == NULL)
		data->experiment = json_text_at(json, "experiment", "run");
	if (record.repetition > data->repetitions)
		data->repetitions = record.repetition;
	list[data->record_count++] = record;
	return status_ok();
}

static struct status read_records(struct plot_data *data)
{
	char path[PATH_BYTES];
	char *text;
	size_t size;
	snprintf(path, sizeof(path), "%s/record.jsonl", data->directory);
	TRY(read_file(&data->arena, path, &text, &size));
	int number = 0;
	for (char *line = text, *end; line < text + size; line = end + 1) {
		number++;
		end = memchr(line, '\n', (size_t)(text + size - line));
		if (end == NULL)
			break; /* whoever wrote it did not finish: not a record */
		if (end == line)
			continue;
		struct json *json;
		struct status status = json_parse(&data->arena, line, (size_t)(end - line), &json);
		if (status_is(status, STATUS_CORRUPT)) {
			char what[128];
			status_describe(status, what, sizeof(what));
			return status_error(STATUS_CORRUPT, "%s:%d: %s", path, number, what);
		}
		TRY(status);
		TRY(add_record(data, json));
	}
	if (data->record_count == 0)
		return status_error(STATUS_NOT_FOUND, "%s holds no record", path);
	return status_ok();
}

static int by_label(const void *left, const void *right)
{
	const struct plot_configuration *a = left;
	const struct plot_configuration *b = right;
	int order = strverscmp(a->label, b->label);
	return order != 0 ? order : strcmp(a->hash, b->hash);
}

/* Repetitions are run in shuffled order; pictures (and colours) should not depend on that. */
static struct status sort_configurations(struct plot_data *data)
{
	size_t bytes = data->configuration_count * sizeof(*data->configurations);
	struct plot_configuration *before = arena_allocate(&data->arena, bytes, 16);
	if (before == NULL)
		return status_make(STATUS_NO_MEMORY);
	memcpy(before, data->configurations, bytes);
	qsort(data->configurations, data->configuration_count, sizeof(*before), by_label);
	for (size_t i = 0; i < data->record_count; i++) {
		const struct plot_configuration *old = &before[data->records[i].configuration];
		data->records[i].configuration = find_configuration(data, old->hash, old->label);
	}
	return status_ok();
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

static bool same_series(const struct plot_second *a, const struct plot_second *b)
{
	return a->configuration == b->configuration && a->phase == b->phase && a->repetition == b->repetition;
}

static struct status add_second(struct plot_data *data, char *const fields[COLUMNS])
{
	size_t configuration = find_configuration(data, fields[COLUMN_CONFIGURATION], fields[COLUMN_LABEL]);
	size_t phase = find_phase(data, fields[COLUMN_PHASE]);
	if (configuration == SIZE_MAX || phase == SIZE_MAX)
		return status_ok(); /* of a repetition that left no record */
	struct plot_second *list = list_room(&data->arena, data->seconds, data->second_count, sizeof(*list));
	if (list == NULL)
		return status_make(STATUS_NO_MEMORY);
	data->seconds = list;
	struct plot_second second = {
		.configuration = configuration,
		.phase = phase,
		.repetition = (uint32_t)number_of(fields[COLUMN_REPETITION]),
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

static struct status read_timeline(struct plot_data *data)
{
	char path[PATH_BYTES];
	char *text;
	size_t size, places[COLUMNS];
	snprintf(path, sizeof(path), "%s/timeline.csv", data->directory);
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
		TRY(add_second(data, wanted));
	}
	return status_ok();
}

/* --- the whole --- */

struct status plot_data_read(struct plot_data *data, const char *directory)
{
	*data = (struct plot_data) { .directory = NULL };
	arena_init(&data->arena, ARENA_CHUNK_BYTES);
	data->directory = arena_copy(&data->arena, directory);
	if (data->directory == NULL)
		return status_make(STATUS_NO_MEMORY);
	TRY(read_records(data));
	TRY(sort_configurations(data));
	return read_timeline(data);
}

void plot_data_free(struct plot_data *data)
{
	arena_free(&data->arena);
}
