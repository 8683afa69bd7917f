/*
 * Parity: what each engine says of itself, how it comes out of a record again, and the table.
 */
#include "harness/parity.h"

#include <string.h>

#include "base/memory.h"
#include "test.h"

/* --- rows --- */

static void rows_are_there_once(void **state)
{
	(void)state;
	struct parity parity = { .count = 0 };
	char text[200], name[PARITY_NAME_BYTES];
	parity_add(&parity, "cache", "1 MiB");
	parity_add(&parity, "log", "off");
	parity_add(&parity, "cache", "2 MiB");
	assert_int_equal(parity.count, 2);
	assert_string_equal(parity_get(&parity, "cache"), "2 MiB");
	assert_null(parity_get(&parity, "filter"));
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	parity_add(&parity, "long", text);
	assert_int_equal(strlen(parity_get(&parity, "long")), PARITY_TEXT_BYTES - 1);
	for (int i = 0; i < 2 * PARITY_ROWS_MAX; i++) {
		snprintf(name, sizeof(name), "row%d", i);
		parity_add(&parity, name, "x");
	}
	assert_int_equal(parity.count, PARITY_ROWS_MAX);
}

/* --- of a configuration --- */

static struct driver_option cascade_options[] = {
	{ "durability", "power", 1 },
	{ "memory", "512 MiB", 2 },
	{ "cache.size", "131072 KiB", 3 },
	{ "shards", "2", 4 },
};

static struct phase phases[] = {
	{ .name = "load", .kind = PHASE_LOAD, .clients = 8 },
	{ .name = "run", .kind = PHASE_RUN, .clients = 32 },
};

static struct cell cell_of(const char *engine, bool tasks)
{
	struct cell cell = {
		.workload = { .engine_path = "auto",
			      .phases = phases,
			      .phase_count = 2,
			      .clients_as_tasks = tasks },
		.driver = driver_find(engine),
		.label = engine,
		.name = engine,
		.workload_label = "",
	};
	assert_non_null(cell.driver);
	return cell;
}

static void assert_row(const struct parity *parity, const char *name, const char *expected)
{
	const char *text = parity_get(parity, name);
	if (text == NULL || strcmp(text, expected) != 0)
		fail_msg("%s is '%s', expected '%s'", name, text != NULL ? text : "absent", expected);
}

static void a_configuration_says_what_it_is_granted(void **state)
{
	(void)state;
	struct cell cell = cell_of("cascade", true);
	struct parity parity;
	cell.workload.engine_options = cascade_options;
	cell.workload.engine_option_count = sizeof(cascade_options) / sizeof(cascade_options[0]);
	parity_of_cell(&cell, &parity);
	assert_row(&parity, "memory", "512 MiB");
	assert_row(&parity, "cache", "128 MiB");
	assert_row(&parity, "durability", "power");
	assert_row(&parity, "sync", "each write");
	assert_row(&parity, "log", "direct");
	assert_row(&parity, "clients", "load 8, run 32 tasks");
	assert_row(&parity, "threads", "2, for all work");
	assert_true(parity_get(&parity, "allocator")[0] != '\0');
	assert_non_null(strstr(parity_get(&parity, "version"), "cascade "));
	cascade_options[0].value = "memory";
	parity_of_cell(&cell, &parity);
	assert_row(&parity, "log", "off");
	assert_row(&parity, "sync", "never");
	cascade_options[0].value = "process";
	parity_of_cell(&cell, &parity);
	assert_row(&parity, "log", "page cache");
	assert_row(&parity, "sync", "never");
}

static void equal_phases_are_said_once(void **state)
{
	(void)state;
	struct cell cell = cell_of("null", false);
	struct parity parity;
	cell.workload.phase_count = 1;
	parity_of_cell(&cell, &parity);
	assert_row(&parity, "clients", "8 threads");
	cell.workload.phase_count = 0;
	parity_of_cell(&cell, &parity);
}

/* Rows are compared by their text, so that an engine has to use the words of the others. */
static void engines_use_the_same_words(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		const char *words[4];
	} choices[] = {
		{ "index_and_filters", { "in the cache", "beside the cache" } },
		{ "durability", { "memory", "process", "power" } },
		{ "log", { "off", "page cache", "direct" } },
		{ "sync", { "never", "each write" } },
		{ "direct_io", { "yes", "no" } },
	};
	for (size_t i = 0; drivers[i] != NULL; i++) {
		struct cell cell = cell_of(drivers[i]->name, false);
		struct parity parity;
		parity_of_cell(&cell, &parity);
		assert_non_null(parity_get(&parity, "durability"));
		for (size_t k = 0; k < sizeof(choices) / sizeof(choices[0]); k++) {
			const char *text = parity_get(&parity, choices[k].name);
			bool known = text == NULL;
			for (size_t w = 0; w < 4 && choices[k].words[w] != NULL && !known; w++)
				known = strcmp(text, choices[k].words[w]) == 0;
			if (!known)
				fail_msg("%s: %s is '%s'", drivers[i]->name, choices[k].name, text);
		}
	}
}

/* --- in records --- */

static void records_keep_it(void **state)
{
	(void)state;
	struct cell cell = cell_of("cascade", true);
	struct parity before, after;
	struct arena arena;
	struct json *root;
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	assert_non_null(file);
	struct json_writer json = { .file = file };
	json_object_begin(&json, NULL);
	parity_write(&json, &cell);
	json_object_end(&json);
	assert_int_equal(fclose(file), 0);
	arena_init(&arena, 4096);
	assert_ok(json_parse(&arena, text, size, &root));
	parity_of_cell(&cell, &before);
	parity_of_record(root, &after);
	assert_int_equal(after.count, before.count);
	for (size_t i = 0; i < before.count; i++) {
		assert_string_equal(after.rows[i].name, before.rows[i].name);
		assert_string_equal(after.rows[i].text, before.rows[i].text);
	}
	static const char old[] = "{\"engine\": {\"kind\": \"cascade\"}}", odd[] = "{\"parity\": [1]}";
	assert_ok(json_parse(&arena, old, strlen(old), &root));
	parity_of_record(root, &after);
	assert_int_equal(after.count, 0);
	assert_ok(json_parse(&arena, odd, strlen(odd), &root));
	parity_of_record(root, &after);
	assert_int_equal(after.count, 0);
	arena_free(&arena);
	memory_free(text);
}

/* --- the table --- */

static char *print(const struct parity_column *columns, size_t count)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	assert_non_null(file);
	parity_print(columns, count, file);
	assert_int_equal(fclose(file), 0);
	return text;
}

static void assert_print(const struct parity_column *columns, size_t count, const char *expected)
{
	char *text = print(columns, count);
	assert_string_equal(text, expected);
	memory_free(text);
}

#define TITLE "what the configurations are granted; rows with * are not the same everywhere\n"

static void rows_that_differ_are_marked(void **state)
{
	(void)state;
	struct parity_column columns[] = { { .label = "a" }, { .label = "b" } };
	parity_add(&columns[0].parity, "own", "x");
	parity_add(&columns[0].parity, "cache", "128 MiB");
	parity_add(&columns[0].parity, "durability", "process");
	parity_add(&columns[1].parity, "durability", "process");
	parity_add(&columns[1].parity, "cache", "64 MiB");
	parity_add(&columns[1].parity, "other", "y");
	assert_print(columns, 2,
		     TITLE "parity        a        b\n"
			   "* cache       128 MiB  64 MiB\n"
			   "  durability  process  process\n"
			   "* own         x        -\n"
			   "* other       -        y\n");
}

static void markdown_is_a_table(void **state)
{
	(void)state;
	struct parity_column columns[] = { { .label = "a" }, { .label = "b" } };
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	assert_non_null(file);
	parity_add(&columns[0].parity, "cache", "128 MiB");
	parity_add(&columns[1].parity, "cache", "64 MiB");
	parity_print_markdown(columns, 2, file);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(text,
			    "what the configurations are granted; rows with \\* are not the same everywhere\n"
			    "\n| parity  | a       | b      |\n| ------- | ------- | ------ |\n"
			    "| * cache | 128 MiB | 64 MiB |\n");
	memory_free(text);
}

static void nothing_to_compare_prints_nothing(void **state)
{
	(void)state;
	struct parity_column columns[] = { { .label = "a" }, { .label = "b" } };
	assert_print(columns, 2, "");
	assert_print(columns, 0, "");
	parity_add(&columns[0].parity, "cache", "128 MiB");
	assert_print(columns, 1, "");
	assert_print(columns, 2,
		     TITLE "parity   a        b\n"
			   "* cache  128 MiB  -\n");
}

/* A row is marked by what stands in any of the tables, not in its own alone. */
static void many_columns_are_several_tables(void **state)
{
	(void)state;
	struct parity_column columns[7];
	memset(columns, 0, sizeof(columns));
	for (size_t i = 0; i < 7; i++) {
		columns[i].label = i == 3 ? "engine={kind: cascade, memory: 512 MiB}" : "short";
		parity_add(&columns[i].parity, "cache", i == 6 ? "big" : "small");
	}
	assert_print(columns, 7,
		     TITLE "(1) short\n(2) short\n(3) short\n(4) engine={kind: cascade, memory: 512 MiB}\n"
			   "(5) short\n(6) short\n(7) short\n"
			   "parity   (1)    (2)    (3)    (4)    (5)\n"
			   "* cache  small  small  small  small  small\n"
			   "parity   (6)    (7)\n"
			   "* cache  small  big\n");
}

/* A cache that follows the workload is said for each of them; what is the same in all only once. */
static void workloads_have_tables_of_their_own(void **state)
{
	(void)state;
	struct parity_column columns[4];
	memset(columns, 0, sizeof(columns));
	for (size_t i = 0; i < 4; i++) {
		columns[i].label = i / 2 == 0 ? "a" : "b";
		columns[i].workload = i % 2 == 0 ? "d1" : "d2";
		parity_add(&columns[i].parity, "cache", "128 MiB");
	}
	assert_print(columns, 4, TITLE "parity   a        b\n  cache  128 MiB  128 MiB\n");
	parity_add(&columns[1].parity, "cache", "256 MiB");
	parity_add(&columns[3].parity, "cache", "256 MiB");
	assert_print(columns, 4,
		     "what the configurations are granted for d1; rows with * are not the same everywhere\n"
		     "parity   a        b\n  cache  128 MiB  128 MiB\n\n"
		     "what the configurations are granted for d2; rows with * are not the same everywhere\n"
		     "parity   a        b\n  cache  256 MiB  256 MiB\n");
}

static void an_experiment_has_a_column_for_each_configuration(void **state)
{
	(void)state;
	struct cell cells[] = { cell_of("cascade", true), cell_of("null", false) };
	struct experiment experiment = { .cells = cells, .cell_count = 2 };
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	assert_non_null(file);
	parity_print_experiment(&experiment, file);
	assert_int_equal(fflush(file), 0);
	assert_non_null(strstr(text, "parity"));
	assert_non_null(strstr(text, "* durability            process"));
	assert_non_null(strstr(text, "* clients               load 8, run 32 tasks"));
	size_t both = size;
	experiment.cell_count = 1;
	parity_print_experiment(&experiment, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(size, both);
	memory_free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_there_once),
		cmocka_unit_test(a_configuration_says_what_it_is_granted),
		cmocka_unit_test(equal_phases_are_said_once),
		cmocka_unit_test(engines_use_the_same_words),
		cmocka_unit_test(records_keep_it),
		cmocka_unit_test(rows_that_differ_are_marked),
		cmocka_unit_test(markdown_is_a_table),
		cmocka_unit_test(nothing_to_compare_prints_nothing),
		cmocka_unit_test(many_columns_are_several_tables),
		cmocka_unit_test(workloads_have_tables_of_their_own),
		cmocka_unit_test(an_experiment_has_a_column_for_each_configuration),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
