#include "harness/plot_picture.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/units.h"

enum { PATH_BYTES = 4096, LABEL_COLUMNS_MAX = 60 };

/* Okabe and Ito's palette, told apart by all kinds of colour vision; yellow last, for it is faint. */
const char *const picture_palette[PICTURE_COLOURS] = { "0072B2", "D55E00", "009E73", "CC79A7",
						       "56B4E9", "E69F00", "000000", "F0E442" };

void picture_put_text(FILE *file, const char *text, bool as_format)
{
	fputc('"', file);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', file);
		if (*text == '%' && as_format)
			fputc('%', file);
		fputc((unsigned char)*text < ' ' ? ' ' : *text, file);
	}
	fputc('"', file);
}

void picture_append_name(struct picture *picture, const char *part)
{
	size_t used = strlen(picture->name);
	for (; *part != '\0' && used + 1 < PICTURE_NAME_BYTES; part++)
		picture->name[used++] = isalnum((unsigned char)*part)  ? *part
					: *part == '-' || *part == ' ' ? '-'
								       : '_';
	picture->name[used] = '\0';
}

/* --- files --- */

struct status picture_open(struct picture *picture, const struct run_data *data, const char *folder)
{
	char path[PATH_BYTES];
	picture->data = data;
	picture->workload = NULL;
	picture->blocks = 0;
	picture->dat = NULL;
	snprintf(path, sizeof(path), "%s/%s.gp", folder, picture->name);
	picture->script = fopen(path, "w");
	if (picture->script == NULL)
		return status_from_errno(errno, "cannot create", path);
	snprintf(path, sizeof(path), "%s/%s.dat", folder, picture->name);
	picture->dat = fopen(path, "w");
	if (picture->dat == NULL) {
		struct status status = status_from_errno(errno, "cannot create", path);
		fclose(picture->script);
		return status;
	}
	return status_ok();
}

struct status picture_close(struct picture *picture, const char *folder)
{
	bool failed = ferror(picture->script) != 0;
	failed = ferror(picture->dat) != 0 || failed;
	failed = fclose(picture->script) != 0 || failed;
	failed = fclose(picture->dat) != 0 || failed;
	return failed ? status_from_errno(errno, "cannot write the plots in", folder) : status_ok();
}

size_t picture_begin_block(struct picture *picture, const char *comment)
{
	fprintf(picture->dat, "%s# %s\n", picture->blocks > 0 ? "\n\n" : "", comment);
	return picture->blocks++;
}

/* --- style --- */

void picture_put_style(const struct picture *picture, int width, int height)
{
	FILE *file = picture->script;
	fprintf(file,
		"# Draws %s.svg, .png or .pdf, in this directory: gnuplot -e \"format='svg'\" %s.gp\n"
		"if (!exists(\"format\")) format = \"svg\"\n"
		"if (format eq \"svg\") set terminal svg size %d,%d background \"white\" "
		"font \"Helvetica,Arial,sans-serif,13\" noenhanced\n"
		"if (format eq \"png\") set terminal pngcairo size %d,%d background \"white\" font "
		"\"sans,11\" "
		"fontscale 2 linewidth 2 pointscale 2 noenhanced\n"
		"if (format eq \"pdf\") set terminal pdfcairo size %.1fcm,%.1fcm font \"Helvetica,9\" "
		"linewidth 1.2 noenhanced\n"
		"set encoding utf8\n"
		"set output \"%s.\" . format\n",
		picture->name, picture->name, width, height, 2 * width, 2 * height, width / 50.0,
		height / 50.0, picture->name);
	fputs("set border 3 linecolor rgb \"#555555\"\n"
	      "set tics nomirror out scale 0.5 textcolor rgb \"#333333\"\n"
	      "set grid linecolor rgb \"#e0e0e0\" linewidth 0.8 linetype 1, linecolor rgb \"#e0e0e0\" "
	      "linewidth 0.4 linetype 1\n"
	      "set samples 500\n",
	      file);
	for (int i = 0; i < PICTURE_COLOURS; i++)
		fprintf(file, "set linetype %d linecolor rgb \"#%s\" linewidth 1.8 pointtype 7\n", i + 1,
			picture_palette[i]);
	fprintf(file, "set linetype cycle %d\n", PICTURE_COLOURS);
}

const char *picture_dashes(size_t configuration)
{
	static const char *const dashes[] = { "", "dashtype 2 ", "dashtype 4 ", "dashtype 5 " };
	return dashes[configuration % 4];
}

const char *picture_label(const struct picture *picture, size_t configuration)
{
	return picture->data->configurations[configuration].name;
}

size_t picture_key_columns(const struct picture *picture, size_t more, int width, size_t *lines)
{
	size_t longest = 24; /* of the other entries */
	size_t entries = picture->data->configuration_count + more;
	for (size_t i = 0; i < picture->data->configuration_count; i++) {
		size_t length = strlen(picture_label(picture, i));
		longest = length > longest ? length : longest;
	}
	size_t columns = (size_t)(width - 80) / (longest * 10 + 60);
	columns = columns < 1 ? 1 : columns > entries ? entries : columns;
	*lines = (entries + columns - 1) / columns;
	return columns;
}

/* --- heading --- */

/* Cut where it would leave the picture; on a character's border. */
static void put_line(FILE *file, const char *text, size_t columns)
{
	char line[PICTURE_LINE_BYTES];
	size_t size = 0, used = 0;
	for (; text[size] != '\0' && size + 8 < sizeof(line); size++) {
		bool begins = ((unsigned char)text[size] & 0xc0) != 0x80;
		if (begins && used++ == columns)
			break;
		line[size] = text[size];
	}
	snprintf(line + size, sizeof(line) - size, "%s", text[size] != '\0' ? "…" : "");
	picture_put_text(file, line, false);
}

static void append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void append(char *text, size_t size, const char *format, ...)
{
	size_t used = strlen(text);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text + used, size - used, format, arguments);
	va_end(arguments);
}

static void describe_phase(const struct json *record, char *text, size_t size)
{
	const struct json *mix = json_find(record, "phase.mix");
	double clients = json_number_at(record, "phase.clients", NAN);
	if (json_text_at(record, "phase.distribution", NULL) != NULL)
		append(text, size, "%s; ", json_text_at(record, "phase.distribution", ""));
	for (const struct json *part = mix != NULL ? mix->first : NULL; part != NULL; part = part->next)
		append(text, size, "%s %.3g %%%s", part->name, 100 * part->number,
		       part->next != NULL ? ", " : "; ");
	if (!isnan(clients))
		append(text, size, "%.0f client%s; ", clients, clients == 1 ? "" : "s");
}

/* What a heading speaks of. */
static bool is_meant(const struct picture *picture, size_t phase, const struct run_record *record)
{
	const struct run_phase *own = &picture->data->phases[record->phase];
	if (phase != SIZE_MAX)
		return record->phase == phase;
	return picture->workload == NULL || strcmp(own->workload, picture->workload) == 0;
}

static void describe_records(const struct json *record, char *text, size_t size)
{
	char count[UNITS_TEXT_BYTES];
	double records = json_number_at(record, "workload.records", NAN);
	if (!isnan(records))
		append(text, size, "%s records of %.0f B; ", units_print_count((uint64_t)records, count),
		       json_number_at(record, "workload.value_size", 0));
}

/* "d1: 10,000,000 records of 100 B; d2: ...", each workload once. */
static void describe_workloads(const struct run_data *data, char *text, size_t size)
{
	for (size_t i = 0; i < data->phase_count; i++) {
		const char *workload = data->phases[i].workload;
		bool again = false;
		for (size_t k = 0; k < i; k++)
			again = again || strcmp(data->phases[k].workload, workload) == 0;
		for (size_t k = 0; k < data->record_count && !again; k++) {
			if (data->records[k].phase != i)
				continue;
			append(text, size, "%s%s", data->phases[i].workload_label,
			       data->phases[i].workload_label[0] != '\0' ? ": " : "");
			describe_records(data->records[k].json, text, size);
			again = true;
		}
	}
}

/* "1,000,000 records of 1000 B; zipfian; read 50 %, update 50 %; 32 clients; n = 5" */
static void describe_work(const struct picture *picture, size_t phase, char *text, size_t size)
{
	const struct run_data *data = picture->data;
	const struct json *first = NULL;
	bool same = true, same_clients = true;
	text[0] = '\0';
	for (size_t i = 0; i < data->record_count; i++) {
		const struct json *record = data->records[i].json;
		if (!is_meant(picture, phase, &data->records[i]))
			continue;
		first = first != NULL ? first : record;
		same = same && strcmp(json_text_at(record, "workload.hash", ""),
				      json_text_at(first, "workload.hash", "")) == 0;
		same_clients = same_clients && json_number_at(record, "phase.clients", 0) ==
						       json_number_at(first, "phase.clients", 0);
	}
	if (same)
		describe_records(first, text, size);
	else if (data->mode == RUN_DATA_BY_WORKLOAD)
		describe_workloads(data, text, size);
	else
		append(text, size, "workloads vary; ");
	if (same && phase != SIZE_MAX)
		describe_phase(first, text, size);
	else if (same_clients && json_number_at(first, "phase.clients", 0) > 0)
		append(text, size, "%.0f clients; ", json_number_at(first, "phase.clients", 0));
	append(text, size, "n = %u", data->repetitions);
}

enum { CONDITION_TEXTS_MAX = 4 };

/* A row of the parity, what stands before its text, and what is said if the text is that. */
struct condition {
	const char *name, *before;
	const char *word, *instead;
};

/* The different texts that a row of the parity has: "128 MiB | 256 MiB". */
static void describe_condition(const struct picture *picture, size_t phase, const struct condition *condition,
			       char *text, size_t size)
{
	const struct run_data *data = picture->data;
	const char *texts[CONDITION_TEXTS_MAX];
	size_t count = 0;
	char path[64];
	snprintf(path, sizeof(path), "parity.%s", condition->name);
	for (size_t i = 0; i < data->record_count; i++) {
		const char *one = json_text_at(data->records[i].json, path, NULL);
		bool again = one == NULL || !is_meant(picture, phase, &data->records[i]);
		for (size_t k = 0; k < count; k++)
			again = again || strcmp(texts[k], one) == 0;
		if (!again && count < CONDITION_TEXTS_MAX)
			texts[count++] = one;
	}
	for (size_t i = 0; i < count; i++) {
		bool instead = condition->word != NULL && strcmp(texts[i], condition->word) == 0;
		append(text, size, "%s%s%s",
		       i > 0		 ? " | "
		       : text[0] != '\0' ? "; "
					 : "",
		       i == 0 && !instead ? condition->before : "", instead ? condition->instead : texts[i]);
	}
}

/* "cache 128 MiB; memtables 256 MiB; durability process; direct I/O; lz4; filter 10 bits a key" */
static void describe_conditions(const struct picture *picture, size_t phase, char *text, size_t size)
{
	static const struct condition conditions[] = {
		{ .name = "cache", .before = "cache " },
		{ .name = "memtables", .before = "memtables " },
		{ .name = "durability", .before = "durability " },
		{ .name = "direct_io", .before = "direct I/O: ", .word = "yes", .instead = "direct I/O" },
		{ .name = "compression", .before = "", .word = "none", .instead = "no compression" },
		{ .name = "filter", .before = "filter ", .word = "none", .instead = "no filter" },
	};
	text[0] = '\0';
	for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++)
		describe_condition(picture, phase, &conditions[i], text, size);
}

/* ", rocksdb 7.8.3 (tuned)" for each library that is an engine here. */
static void describe_engines(const struct run_data *data, char *text, size_t size)
{
	for (size_t i = 0; i < data->configuration_count; i++) {
		const char *engine = data->configurations[i].engine, *profile = NULL;
		char path[64];
		bool again = false;
		for (size_t k = 0; k < i; k++)
			again = again || strcmp(data->configurations[k].engine, engine) == 0;
		snprintf(path, sizeof(path), "build.libraries.%s", engine);
		const char *version = json_text_at(data->runs[0].provenance, path, NULL);
		if (again || version == NULL)
			continue;
		append(text, size, ", %s %s", engine, version);
		for (size_t k = 0; k < data->record_count && profile == NULL; k++) {
			if (data->records[k].configuration == i)
				profile = json_text_at(data->records[k].json, "engine.profile", NULL);
		}
		if (profile != NULL)
			append(text, size, " (%s)", profile);
	}
}

/* "Intel(R) Xeon(R) Processor, 2 cores; cascade 0.1.0 (708144b), rocksdb 7.8.3 (tuned)" */
static void describe_machine(const struct run_data *data, char *text, size_t size)
{
	const struct json *provenance = data->runs[0].provenance;
	bool same = true;
	text[0] = '\0';
	for (size_t i = 1; i < data->run_count; i++)
		same = same && strcmp(json_text_at(data->runs[i].provenance, "build.commit", "?"),
				      json_text_at(provenance, "build.commit", "?")) == 0;
	const char *model = json_text_at(provenance, "machine.cpu_model", NULL);
	if (model != NULL)
		append(text, size, "%s, %.0f cores; ", model,
		       json_number_at(provenance, "machine.cores_online", 0));
	if (json_text_at(provenance, "build.version", NULL) != NULL)
		append(text, size, "cascade %s", json_text_at(provenance, "build.version", ""));
	if (same && json_text_at(provenance, "build.commit", NULL) != NULL)
		append(text, size, " (%.7s)", json_text_at(provenance, "build.commit", ""));
	describe_engines(data, text, size);
}

void picture_put_heading(const struct picture *picture, size_t phase, int width, const char *legend,
			 const char *format, ...)
{
	char texts[PICTURE_LINES + 1][PICTURE_LINE_BYTES];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(texts[0], sizeof(texts[0]), format, arguments);
	va_end(arguments);
	describe_work(picture, phase, texts[1], sizeof(texts[1]));
	describe_conditions(picture, phase, texts[2], sizeof(texts[2]));
	describe_machine(picture->data, texts[3], sizeof(texts[3]));
	snprintf(texts[4], sizeof(texts[4]), "%s", legend);
	for (int i = 0; i <= PICTURE_LINES; i++) {
		fprintf(picture->script, "set label %d ", i + 1);
		put_line(picture->script, texts[i], (size_t)(width / (i == 0 ? 10.8 : 8.1)));
		fprintf(picture->script, " at character 2, screen 1 offset 0, character %.2f left %s\n",
			-1.1 - (i == 0 ? 0 : 0.25 + 1.12 * i),
			i == 0 ? "font \",15\"" : "font \",11\" textcolor rgb \"#555555\"");
	}
}

/* --- axes --- */

void range_add(struct range *range, double number)
{
	if (!isnan(number) && number > 0 && !(number >= range->least))
		range->least = number;
	if (!isnan(number) && number > 0 && !(number <= range->most))
		range->most = number;
}

/* The slack keeps the outermost tics from falling out by rounding. */
void picture_put_time_axis(FILE *file, const struct range *us)
{
	if (!isnan(us->least))
		fprintf(file, "set yrange [%.4g:%.4g]\n", 0.999 * pow(10, floor(log10(us->least))),
			1.001 * pow(10, ceil(log10(us->most))));
	fputs("set logscale y 10\nset ylabel \"service time (µs)\"\n"
	      "set ytics (\"0.01\" 0.01, \"0.1\" 0.1, \"1\" 1, \"10\" 10, \"100\" 100, \"1 000\" 1e3, "
	      "\"10 000\" 1e4, \"100 000\" 1e5, \"10⁶\" 1e6, \"10⁷\" 1e7)\nset mytics 10\n",
	      file);
}

const char *picture_scale(double highest, double *divisor)
{
	*divisor = highest >= 2e6 ? 1e6 : highest >= 2e3 ? 1e3 : 1;
	return *divisor == 1e6 ? "million " : *divisor == 1e3 ? "thousand " : "";
}
