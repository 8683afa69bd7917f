#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cascade.h"
#include "harness/commands.h"
#include "harness/drivers/driver.h"
#include "harness/json_writer.h"
#include "harness/modules.h"
#include "harness/problem.h"
#include "harness/text_table.h"
#include "harness/workload_keys.h"

enum { KINDS_MAX = 32 };

static const char help_text[] =
	"usage: cascade list [KIND] [--json] [--load PATH.so]...\n\n"
	"Lists what there is to choose from. KIND is a kind of component (memtable, filter, cache, codec,\n"
	"compaction, io) and then shows the options of each variant; 'engine': the engines under test;\n"
	"'options': the options of the engine cascade; 'workload': the keys of workload files.\n\n"
	"options:\n"
	"  --json       as one JSON object\n"
	"  --load PATH  with the variants in this shared object (docs/add-a-component.md); may be given\n"
	"               several times\n"
	"  --help       this text\n";

/* The kinds in the order in which the engine lists them, then those of the bench itself. */
static size_t list_kinds(const char *kinds[KINDS_MAX], size_t *component_kinds)
{
	const cascade_component_info *components;
	size_t component_count = cascade_component_list(&components);
	size_t count = 0;
	for (size_t i = 0; i < component_count && count < KINDS_MAX - 3; i++) {
		bool known = false;
		for (size_t j = 0; j < count; j++)
			known = known || strcmp(kinds[j], components[i].kind) == 0;
		if (!known)
			kinds[count++] = components[i].kind;
	}
	*component_kinds = count;
	kinds[count++] = "engine";
	kinds[count++] = "options";
	kinds[count++] = "workload";
	return count;
}

static bool is_asked(const char *asked, const char *kind)
{
	return asked == NULL || strcmp(asked, kind) == 0;
}

/* --- text --- */

static void print_variants(const char *kind)
{
	static const char *const headers[] = { "name", "default", "summary" };
	const cascade_component_info *components;
	size_t count = cascade_component_list(&components);
	struct text_table table;
	text_table_init(&table, headers, 3);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(components[i].kind, kind) != 0)
			continue;
		text_table_add(&table, components[i].name);
		text_table_add(&table, components[i].is_default ? "*" : "");
		text_table_add(&table, components[i].summary);
	}
	(void)printf("%s\n", kind);
	text_table_print(&table, stdout);
	text_table_free(&table);
}

static void print_component_options(const cascade_component_info *component)
{
	static const char *const headers[] = { "option", "type", "default", "from", "to", "help" };
	struct text_table table;
	if (component->option_count == 0)
		return;
	(void)printf("\noptions of %s %s\n", component->kind, component->name);
	text_table_init(&table, headers, 6);
	for (size_t i = 0; i < component->option_count; i++) {
		const cascade_component_option *option = &component->options[i];
		text_table_add_format(&table, "%s.%s", component->kind, option->name);
		text_table_add(&table, option->type);
		text_table_add_format(&table, "%.12g", option->default_value);
		text_table_add_format(&table, "%.12g", option->minimum);
		text_table_add_format(&table, "%.12g", option->maximum);
		text_table_add(&table, option->help);
	}
	text_table_print(&table, stdout);
	text_table_free(&table);
}

static void print_options_of(const char *kind)
{
	const cascade_component_info *components;
	size_t count = cascade_component_list(&components);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(components[i].kind, kind) == 0)
			print_component_options(&components[i]);
	}
}

static void print_engines(void)
{
	static const char *const headers[] = { "name", "default", "summary" };
	const char *standard = workload_key_find("engine", "kind")->default_value;
	struct text_table table;
	text_table_init(&table, headers, 3);
	for (size_t i = 0; drivers[i] != NULL; i++) {
		text_table_add(&table, drivers[i]->name);
		text_table_add(&table, strcmp(drivers[i]->name, standard) == 0 ? "*" : "");
		text_table_add(&table, drivers[i]->summary);
	}
	(void)printf("engine\n");
	text_table_print(&table, stdout);
	text_table_free(&table);
}

static void print_engine_options(void)
{
	static const char *const headers[] = { "option", "type", "default", "choices", "help" };
	const cascade_option_info *options;
	size_t count = cascade_option_list(&options);
	struct text_table table;
	text_table_init(&table, headers, 5);
	for (size_t i = 0; i < count; i++) {
		text_table_add(&table, options[i].name);
		text_table_add(&table, options[i].type);
		text_table_add(&table, options[i].default_value);
		text_table_add(&table, options[i].choices != NULL ? options[i].choices : "");
		text_table_add(&table, options[i].help);
	}
	(void)printf("options of the engine cascade, below 'engine:' in workload files\n");
	text_table_print(&table, stdout);
	text_table_free(&table);
}

/* phases.mix.read: where a section's keys stand in a file. */
static const char *section_path(const char *section)
{
	if (strcmp(section, "mix") == 0)
		return "phases.mix";
	return section;
}

static void print_workload_keys(void)
{
	static const char *const headers[] = { "key", "type", "default", "help" };
	struct text_table table;
	text_table_init(&table, headers, 4);
	for (size_t i = 0; i < workload_key_count; i++) {
		const struct workload_key *key = &workload_keys[i];
		const char *section = section_path(key->section);
		text_table_add_format(&table, "%s%s%s", section, section[0] != '\0' ? "." : "", key->name);
		if (key->choices != NULL)
			text_table_add(&table, key->choices);
		else
			text_table_add(&table, workload_key_type_text(key->type));
		if (key->load_default != NULL)
			text_table_add_format(&table, "%s (load: %s)", key->default_value, key->load_default);
		else
			text_table_add(&table, key->default_value != NULL ? key->default_value : "");
		text_table_add(&table, key->help);
	}
	(void)printf("keys of workload files\n");
	text_table_print(&table, stdout);
	text_table_free(&table);
}

static void print_text(const char *asked)
{
	const char *kinds[KINDS_MAX];
	size_t component_kinds;
	(void)list_kinds(kinds, &component_kinds);
	for (size_t i = 0; i < component_kinds; i++) {
		if (!is_asked(asked, kinds[i]))
			continue;
		print_variants(kinds[i]);
		if (asked != NULL)
			print_options_of(kinds[i]);
		else
			(void)printf("\n");
	}
	if (is_asked(asked, "engine"))
		print_engines();
	if (asked != NULL && is_asked(asked, "options"))
		print_engine_options();
	if (asked != NULL && is_asked(asked, "workload"))
		print_workload_keys();
	if (asked == NULL)
		(void)printf(
			"\n'cascade list KIND' shows options; 'cascade list options' those of the engine "
			"as a whole,\n'cascade list workload' the keys of workload files.\n");
}

/* --- JSON --- */

static void write_components(struct json_writer *json, const char *asked)
{
	const cascade_component_info *components;
	size_t count = cascade_component_list(&components);
	json_array_begin(json, "components");
	for (size_t i = 0; i < count; i++) {
		const cascade_component_info *component = &components[i];
		if (!is_asked(asked, component->kind))
			continue;
		json_object_begin(json, NULL);
		json_text(json, "kind", component->kind);
		json_text(json, "name", component->name);
		json_text(json, "summary", component->summary);
		json_boolean(json, "default", component->is_default);
		json_array_begin(json, "options");
		for (size_t j = 0; j < component->option_count; j++) {
			const cascade_component_option *option = &component->options[j];
			json_object_begin(json, NULL);
			json_text(json, "name", option->name);
			json_text(json, "type", option->type);
			json_real(json, "default", option->default_value);
			json_real(json, "minimum", option->minimum);
			json_real(json, "maximum", option->maximum);
			json_text(json, "help", option->help);
			json_object_end(json);
		}
		json_array_end(json);
		json_object_end(json);
	}
	json_array_end(json);
}

static void write_engines(struct json_writer *json)
{
	json_array_begin(json, "engines");
	for (size_t i = 0; drivers[i] != NULL; i++) {
		json_object_begin(json, NULL);
		json_text(json, "name", drivers[i]->name);
		json_text(json, "summary", drivers[i]->summary);
		json_boolean(json, "tasks", (drivers[i]->capabilities & DRIVER_TASKS) != 0);
		json_boolean(json, "scans", (drivers[i]->capabilities & DRIVER_SCANS) != 0);
		json_object_end(json);
	}
	json_array_end(json);
}

static void write_engine_options(struct json_writer *json)
{
	const cascade_option_info *options;
	size_t count = cascade_option_list(&options);
	json_array_begin(json, "options");
	for (size_t i = 0; i < count; i++) {
		json_object_begin(json, NULL);
		json_text(json, "name", options[i].name);
		json_text(json, "type", options[i].type);
		json_text(json, "default", options[i].default_value);
		json_text(json, "choices", options[i].choices);
		json_text(json, "help", options[i].help);
		json_object_end(json);
	}
	json_array_end(json);
}

static void write_workload_keys(struct json_writer *json)
{
	json_array_begin(json, "workload");
	for (size_t i = 0; i < workload_key_count; i++) {
		const struct workload_key *key = &workload_keys[i];
		const char *section = section_path(key->section);
		char name[128];
		(void)snprintf(name, sizeof(name), "%s%s%s", section, section[0] != '\0' ? "." : "",
			       key->name);
		json_object_begin(json, NULL);
		json_text(json, "name", name);
		json_text(json, "type", workload_key_type_text(key->type));
		json_text(json, "default", key->default_value);
		json_text(json, "load_default", key->load_default);
		json_text(json, "choices", key->choices);
		if (key->type == KEY_COUNT || key->type == KEY_SIZE || key->type == KEY_TIME ||
		    key->type == KEY_REAL) {
			json_real(json, "minimum", key->minimum);
			json_real(json, "maximum", key->maximum);
		}
		json_text(json, "help", key->help);
		json_object_end(json);
	}
	json_array_end(json);
}

static void print_json(const char *asked)
{
	struct json_writer json = { .file = stdout, .pretty = true };
	bool own = asked != NULL && (strcmp(asked, "engine") == 0 || strcmp(asked, "options") == 0 ||
				     strcmp(asked, "workload") == 0);
	json_object_begin(&json, NULL);
	json_text(&json, "version", cascade_version());
	if (!own)
		write_components(&json, asked);
	if (is_asked(asked, "engine"))
		write_engines(&json);
	if (is_asked(asked, "options"))
		write_engine_options(&json);
	if (is_asked(asked, "workload"))
		write_workload_keys(&json);
	json_object_end(&json);
	(void)fputc('\n', stdout);
}

/* --- the command --- */

/* The kind that a word means, NULL if none: plurals and "driver" are understood. */
static const char *find_kind(const char *word)
{
	const char *kinds[KINDS_MAX];
	size_t component_kinds;
	size_t count = list_kinds(kinds, &component_kinds);
	size_t length = strlen(word);
	if (strcmp(word, "driver") == 0 || strcmp(word, "drivers") == 0)
		return "engine";
	for (size_t i = 0; i < count; i++) {
		size_t kind_length = strlen(kinds[i]);
		bool plural = length == kind_length + 1 && word[kind_length] == 's';
		if (strncmp(word, kinds[i], kind_length) == 0 && (length == kind_length || plural))
			return kinds[i];
	}
	char hint[128];
	(void)fprintf(stderr, "cascade list: unknown kind '%s', expected one of ", word);
	for (size_t i = 0; i < count; i++)
		(void)fprintf(stderr, "%s%s", i > 0 ? ", " : "", kinds[i]);
	(void)fprintf(stderr, "%s\n", nearest_hint(word, kinds, count, hint, sizeof(hint)));
	return NULL;
}

int list_command(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "load", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool json = false;
	int option;
	optind = 0;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (option == 'j') {
			json = true;
		} else if (option == 'l') {
			if (modules_load_option("list", optarg) != EXIT_DONE)
				return EXIT_BAD_INPUT;
		} else if (option == 'h') {
			(void)fputs(help_text, stdout);
			return finish_output(EXIT_DONE);
		} else {
			(void)fprintf(stderr, "cascade list: %s '%s', expected --json, --load or --help\n",
				      option == ':' ? "no value for" : "unknown option", argv[optind - 1]);
			return EXIT_BAD_INPUT;
		}
	}
	const char *kind = optind < argc ? find_kind(argv[optind]) : NULL;
	if (optind < argc && kind == NULL)
		return EXIT_BAD_INPUT;
	if (optind + 1 < argc) {
		(void)fprintf(stderr, "cascade list: '%s' is one word too many, expected at most one kind\n",
			      argv[optind + 1]);
		return EXIT_BAD_INPUT;
	}
	if (json)
		print_json(kind);
	else
		print_text(kind);
	return finish_output(EXIT_DONE);
}
