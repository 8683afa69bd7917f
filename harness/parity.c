#include "harness/parity.h"

#include <gnu/libc-version.h>
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "base/sanitizer.h"
#include "base/units.h"
#include "harness/allocate.h"
#include "harness/text_table.h"

enum { COLUMNS_PER_TABLE = 5, LABEL_BYTES_MAX = 36, NUMBER_BYTES = 32 };

/* The rows that every engine is asked for, in the table's order. A driver's others stand below them. */
static const struct {
	const char *name;
	const char *label;
} known_rows[] = {
	{ "version", "version" },
	{ "memory", "memory granted" },
	{ "cache", "cache" },
	{ "index_and_filters", "index and filters" },
	{ "memtables", "memtables, all" },
	{ "durability", "durability" },
	{ "log", "log goes to" },
	{ "sync", "log is synced" },
	{ "compression", "compression" },
	{ "filter", "filter" },
	{ "direct_io", "direct I/O of tables" },
	{ "clients", "clients" },
	{ "threads", "engine's threads" },
	{ "allocator", "allocator" },
};

enum { KNOWN_ROWS = sizeof(known_rows) / sizeof(known_rows[0]) };

/* --- rows --- */

static struct parity_row *find_row(const struct parity *parity, const char *name)
{
	for (size_t i = 0; i < parity->count; i++) {
		if (strcmp(parity->rows[i].name, name) == 0)
			return (struct parity_row *)&parity->rows[i];
	}
	return NULL;
}

void parity_add(struct parity *parity, const char *name, const char *text)
{
	struct parity_row *row = find_row(parity, name);
	if (row == NULL && parity->count == PARITY_ROWS_MAX)
		return;
	if (row == NULL)
		row = &parity->rows[parity->count++];
	(void)snprintf(row->name, sizeof(row->name), "%s", name);
	(void)snprintf(row->text, sizeof(row->text), "%s", text);
}

const char *parity_get(const struct parity *parity, const char *name)
{
	const struct parity_row *row = find_row(parity, name);
	return row != NULL ? row->text : NULL;
}

/* --- what the bench knows --- */

/* There only if jemalloc is linked; the engines' libraries then allocate from it too. */
extern int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size)
	__attribute__((weak));

static void add_allocator(struct parity *parity)
{
	char text[PARITY_TEXT_BYTES];
#if SANITIZED
	(void)snprintf(text, sizeof(text), "the sanitizer's");
#else
	const char *version = "";
	size_t size = sizeof(version);
	if (mallctl == NULL)
		(void)snprintf(text, sizeof(text), "glibc %s", gnu_get_libc_version());
	else if (mallctl("version", &version, &size, NULL, 0) != 0)
		(void)snprintf(text, sizeof(text), "jemalloc");
	else /* 5.3.0-0-g54eaed1d: what names the source says enough before the dash */
		(void)snprintf(text, sizeof(text), "jemalloc %.*s", (int)strcspn(version, "-"), version);
#endif
	parity_add(parity, "allocator", text);
}

/* "32 threads", or "load 8, run 32 threads" if the phases differ. */
static void add_clients(const struct workload *workload, struct parity *parity)
{
	const char *kind = workload->clients_as_tasks ? "tasks" : "threads";
	char text[PARITY_TEXT_BYTES] = "";
	bool same = true;
	size_t used = 0;
	for (size_t i = 0; i < workload->phase_count; i++)
		same = same && workload->phases[i].clients == workload->phases[0].clients;
	for (size_t i = 0; i < workload->phase_count && (i == 0 || !same) && used < sizeof(text); i++) {
		const struct phase *phase = &workload->phases[i];
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s%s%u", i > 0 ? ", " : "",
					 same ? "" : phase->name, same ? "" : " ", phase->clients);
	}
	if (used < sizeof(text))
		(void)snprintf(text + used, sizeof(text) - used, " %s", kind);
	parity_add(parity, "clients", text);
}

static void add_row(void *parity, const char *name, const char *text)
{
	parity_add(parity, name, text);
}

void parity_of_cell(const struct cell *cell, struct parity *parity)
{
	const struct workload *workload = &cell->workload;
	struct driver_config config = {
		.path = workload->engine_path,
		.options = workload->engine_options,
		.option_count = workload->engine_option_count,
		.expected_records = workload->records,
	};
	char buffer[UNITS_TEXT_BYTES];
	uint64_t budget = cell->driver->memory_budget(&config);
	parity->count = 0;
	/* Nobody compares budgets by the byte. */
	uint64_t mebibytes = (budget + (1 << 19)) >> 20;
	if (budget > 0)
		parity_add(parity, "memory",
			   units_format_size(mebibytes > 0 ? mebibytes << 20 : budget, buffer));
	cell->driver->parity(&config, add_row, parity);
	add_clients(workload, parity);
	add_allocator(parity);
}

/* --- in records --- */

void parity_of_record(const struct json *record, struct parity *parity)
{
	const struct json *object = json_find(record, "parity");
	parity->count = 0;
	if (object == NULL || object->kind != JSON_OBJECT)
		return;
	for (const struct json *row = object->first; row != NULL; row = row->next) {
		if (row->kind == JSON_STRING)
			parity_add(parity, row->name, row->text);
	}
}

void parity_write(struct json_writer *json, const struct cell *cell)
{
	struct parity parity;
	parity_of_cell(cell, &parity);
	json_object_begin(json, "parity");
	for (size_t i = 0; i < parity.count; i++)
		json_text(json, parity.rows[i].name, parity.rows[i].text);
	json_object_end(json);
}

/* --- printing --- */

struct sheet {
	const struct parity_column *columns;
	size_t count;
	bool numbered; /* labels are too long for heads of columns: those are numbers */
	bool markdown;
	const char *workload; /* in the heading; "": none */
	FILE *file;
};

static bool any_has(const struct sheet *sheet, const char *name)
{
	for (size_t i = 0; i < sheet->count; i++) {
		if (parity_get(&sheet->columns[i].parity, name) != NULL)
			return true;
	}
	return false;
}

static bool differs(const struct sheet *sheet, const char *name)
{
	const char *first = parity_get(&sheet->columns[0].parity, name);
	for (size_t i = 1; i < sheet->count; i++) {
		const char *text = parity_get(&sheet->columns[i].parity, name);
		if ((text == NULL) != (first == NULL) || (text != NULL && strcmp(text, first) != 0))
			return true;
	}
	return false;
}

static bool is_known(const char *name)
{
	for (size_t i = 0; i < KNOWN_ROWS; i++) {
		if (strcmp(known_rows[i].name, name) == 0)
			return true;
	}
	return false;
}

static void add_line(const struct sheet *sheet, struct text_table *table, const char *name, const char *label,
		     size_t from, size_t to)
{
	if (!any_has(sheet, name))
		return;
	text_table_add_format(table, "%c %s", differs(sheet, name) ? '*' : ' ', label);
	for (size_t i = from; i < to; i++)
		text_table_add(table, parity_get(&sheet->columns[i].parity, name));
}

/* Rows that only drivers know, in the order in which the columns bring them up, each once. */
static void add_other_lines(const struct sheet *sheet, struct text_table *table, size_t from, size_t to)
{
	for (size_t i = 0; i < sheet->count; i++) {
		const struct parity *parity = &sheet->columns[i].parity;
		for (size_t k = 0; k < parity->count; k++) {
			const char *name = parity->rows[k].name;
			bool again = is_known(name);
			for (size_t earlier = 0; earlier < i && !again; earlier++)
				again = parity_get(&sheet->columns[earlier].parity, name) != NULL;
			if (!again)
				add_line(sheet, table, name, name, from, to);
		}
	}
}

static void print_columns(const struct sheet *sheet, size_t from, size_t to)
{
	const char *heads[1 + COLUMNS_PER_TABLE];
	char numbers[COLUMNS_PER_TABLE][NUMBER_BYTES];
	struct text_table table;
	heads[0] = "parity";
	for (size_t i = from; i < to; i++) {
		(void)snprintf(numbers[i - from], NUMBER_BYTES, "(%zu)", i + 1);
		heads[1 + i - from] = sheet->numbered ? numbers[i - from] : sheet->columns[i].label;
	}
	text_table_init(&table, heads, 1 + to - from);
	for (size_t i = 0; i < KNOWN_ROWS; i++)
		add_line(sheet, &table, known_rows[i].name, known_rows[i].label, from, to);
	add_other_lines(sheet, &table, from, to);
	if (sheet->markdown) {
		(void)fputc('\n', sheet->file);
		text_table_print_markdown(&table, sheet->file);
	} else {
		text_table_print(&table, sheet->file);
	}
	text_table_free(&table);
}

static void print_sheet(struct sheet *sheet)
{
	size_t rows = 0;
	for (size_t i = 0; i < sheet->count; i++) {
		rows += sheet->columns[i].parity.count;
		sheet->numbered = sheet->numbered || strlen(sheet->columns[i].label) > LABEL_BYTES_MAX;
	}
	if (sheet->count < 2 || rows == 0)
		return;
	(void)fprintf(sheet->file,
		      "what the configurations are granted%s%s; rows with %s are not the same "
		      "everywhere\n%s",
		      sheet->workload[0] != '\0' ? " for " : "", sheet->workload,
		      sheet->markdown ? "\\*" : "*", sheet->markdown && sheet->numbered ? "\n" : "");
	for (size_t i = 0; i < sheet->count && sheet->numbered; i++)
		(void)fprintf(sheet->file, "%s(%zu) %s\n", sheet->markdown ? "- " : "", i + 1,
			      sheet->columns[i].label);
	for (size_t from = 0; from < sheet->count; from += COLUMNS_PER_TABLE) {
		size_t left = sheet->count - from;
		print_columns(sheet, from,
			      left > COLUMNS_PER_TABLE ? from + COLUMNS_PER_TABLE : sheet->count);
	}
}

/* --- one table for each workload --- */

static const char *workload_of(const struct parity_column *column)
{
	return column->workload != NULL ? column->workload : "";
}

static bool same_parity(const struct parity *a, const struct parity *b)
{
	bool same = a->count == b->count;
	for (size_t i = 0; i < a->count && same; i++) {
		const char *text = parity_get(b, a->rows[i].name);
		same = text != NULL && strcmp(text, a->rows[i].text) == 0;
	}
	return same;
}

/* The columns of the same workload as column `first`, in `part`; 0 if an earlier column has it. */
static size_t take_workload(const struct parity_column *columns, size_t count, size_t first,
			    struct parity_column *part)
{
	const char *workload = workload_of(&columns[first]);
	size_t taken = 0;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(workload_of(&columns[i]), workload) != 0)
			continue;
		if (i < first)
			return 0;
		part[taken++] = columns[i];
	}
	return taken;
}

static bool same_columns(const struct parity_column *a, size_t a_count, const struct parity_column *b,
			 size_t b_count)
{
	bool same = a_count == b_count;
	for (size_t i = 0; i < a_count && same; i++)
		same = strcmp(a[i].label, b[i].label) == 0 && same_parity(&a[i].parity, &b[i].parity);
	return same;
}

static void print(const struct parity_column *columns, size_t count, bool markdown, FILE *file)
{
	struct parity_column *first = allocate_zeroed(2 * count + 1, sizeof(*first)), *part = first + count;
	size_t first_count = count > 0 ? take_workload(columns, count, 0, first) : 0, printed = 0;
	bool differ = false;
	for (size_t i = 0; i < count; i++) {
		size_t taken = take_workload(columns, count, i, part);
		differ = differ || (taken > 0 && !same_columns(first, first_count, part, taken));
	}
	for (size_t i = 0; i < (differ ? count : count > 0); i++) {
		struct sheet sheet = { .columns = part, .markdown = markdown, .file = file };
		sheet.count = take_workload(columns, count, i, part);
		sheet.workload = differ ? workload_of(&columns[i]) : "";
		if (sheet.count > 0 && printed++ > 0)
			(void)fputc('\n', file);
		print_sheet(&sheet);
	}
	memory_free(first);
}

void parity_print(const struct parity_column *columns, size_t count, FILE *file)
{
	print(columns, count, false, file);
}

void parity_print_markdown(const struct parity_column *columns, size_t count, FILE *file)
{
	print(columns, count, true, file);
}

void parity_print_experiment(const struct experiment *experiment, FILE *file)
{
	struct parity_column *columns = allocate_zeroed(experiment->cell_count, sizeof(*columns));
	for (size_t i = 0; i < experiment->cell_count; i++) {
		columns[i].label = experiment->cells[i].name;
		columns[i].workload = experiment->cells[i].workload_label;
		parity_of_cell(&experiment->cells[i], &columns[i].parity);
	}
	parity_print(columns, experiment->cell_count, file);
	memory_free(columns);
}
