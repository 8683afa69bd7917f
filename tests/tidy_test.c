/*
 * tidy_test.c: house rules that a machine can hold, over the whole tree. Every finding of a run is printed as
 * path:line: message. Takes well under a second.
 */
#include <ctype.h>
#include <fnmatch.h>
#include <string.h>

#include "source_tree.h"
#include "test.h"

enum {
	COLUMNS_MAX = 110,
	TAB_COLUMNS = 8,
	FUNCTION_LINES_MAX = 100, /* the aim is 70 */
	FILE_LINES_MAX = 1600,	  /* the aim is 1500 */
};

/* Written in pieces, so that this file does not find itself. */
static const char *const markers[] = { "TO"
				       "DO",
				       "FIX"
				       "ME",
				       "XX"
				       "X",
				       "HA"
				       "CK" };
static const char *const machine_paths[] = { "/ho"
					     "me/",
					     "/ro"
					     "ot/",
					     "/wo"
					     "rk/",
					     "/Us"
					     "ers/" };

/* Sources that are doors themselves: they call what base/poison.h forbids to everybody else. */
static const char *const doors[] = {
	"engine/base/*",
	"engine/io/*",
	"engine/runtime/*",
};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static bool fits(const char *path, const char *pattern)
{
	return fnmatch(pattern, path, 0) == 0;
}

static bool is_test(const char *path)
{
	return fits(path, "tests/*") || source_path_ends(path, "_test.c") ||
	       source_path_ends(path, "_fuzz.c");
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash == NULL ? path : slash + 1;
}

/* --- single lines --- */

/* Columns of a line: tabs to the next multiple of eight, one for each UTF-8 character. */
static unsigned columns(const struct source_line *line)
{
	unsigned count = 0;
	for (size_t i = 0; i < line->size; i++) {
		if (line->text[i] == '\t')
			count += TAB_COLUMNS - count % TAB_COLUMNS;
		else if (((unsigned char)line->text[i] & 0xc0) != 0x80)
			count++;
	}
	return count;
}

static const char *find_in_line(const struct source_line *line, const char *what)
{
	return memmem(line->text, line->size, what, strlen(what));
}

/* A marker stands alone: "mutex XX" followed by letters is something else. */
static bool has_marker(const struct source_line *line, const char *marker)
{
	size_t size = strlen(marker);
	const char *at = find_in_line(line, marker);
	if (at == NULL)
		return false;
	bool starts = at == line->text || !(isalnum((unsigned char)at[-1]) || at[-1] == '_');
	bool ends = at + size == line->text + line->size ||
		    !(isalnum((unsigned char)at[size]) || at[size] == '_');
	return starts && ends;
}

static void check_indentation(const struct source_file *file, const struct source_line *line,
			      struct findings *findings)
{
	size_t spaces = 0;
	for (size_t i = 0; i < line->size && (line->text[i] == ' ' || line->text[i] == '\t'); i++) {
		if (line->text[i] == '\t' && spaces > 0) {
			findings_add(findings, file->path, line->number, "a tab behind a space");
			return;
		}
		spaces = line->text[i] == ' ' ? spaces + 1 : 0;
	}
	if (spaces >= TAB_COLUMNS)
		findings_add(findings, file->path, line->number, "indented with spaces");
}

static void check_line(const struct source_file *file, const struct source_line *line,
		       struct findings *findings)
{
	if (line->size > 0 && isspace((unsigned char)line->text[line->size - 1]))
		findings_add(findings, file->path, line->number, "space at the end of the line");
	for (size_t i = 0; i < COUNT(markers); i++) {
		if (has_marker(line, markers[i]))
			findings_add(findings, file->path, line->number, "a leftover %s", markers[i]);
	}
	for (size_t i = 0; i < COUNT(machine_paths); i++) {
		if (find_in_line(line, machine_paths[i]) != NULL)
			findings_add(findings, file->path, line->number,
				     "names a path of somebody's machine (%s)", machine_paths[i]);
	}
	if (!source_is_c(file->path))
		return;
	if (columns(line) > COLUMNS_MAX)
		findings_add(findings, file->path, line->number, "%u columns, at most %d", columns(line),
			     COLUMNS_MAX);
	check_indentation(file, line, findings);
}

/* --- functions: from an opening brace in the first column to the closing one --- */

static void check_functions(const struct source_file *file, struct findings *findings)
{
	struct source_line line = { 0 };
	unsigned opened = 0;
	while (source_line_next(file, &line)) {
		if (line.size == 0)
			continue;
		if (line.text[0] == '{')
			opened = line.number;
		if (line.text[0] != '}' || opened == 0)
			continue;
		if (line.number - opened - 1 > FUNCTION_LINES_MAX)
			findings_add(findings, file->path, opened, "a function of %u lines, at most %d",
				     line.number - opened - 1, FUNCTION_LINES_MAX);
		opened = 0;
	}
	if (line.number > FILE_LINES_MAX && !is_test(file->path))
		findings_add(findings, file->path, line.number, "a file of %u lines, at most %d", line.number,
			     FILE_LINES_MAX);
}

/* --- headers --- */

/* CASCADE_BASE_SLICE_H for engine/base/slice.h, CASCADE_H for engine/cascade.h. */
static void check_header(const struct source_file *file, struct findings *findings)
{
	if (strncmp(file->text, "/*", 2) != 0)
		findings_add(findings, file->path, 1, "a header begins with a comment that says what it is");
	struct source_line line = { 0 };
	char guard[128] = "";
	while (source_line_next(file, &line)) {
		if (sscanf(line.text, "#ifndef %127s", guard) == 1)
			break;
	}
	char define[160];
	snprintf(define, sizeof(define), "#define %s\n", guard);
	if (strncmp(guard, "CASCADE_", 8) != 0 || !source_path_ends(guard, "_H"))
		findings_add(findings, file->path, 1, "no include guard CASCADE_..._H");
	else if (strstr(file->text, define) == NULL)
		findings_add(findings, file->path, line.number, "the guard %s is not defined", guard);
}

/* --- poison.h: last include of everything in engine/ and components/ that is no door --- */

static bool must_be_poisoned(const char *path)
{
	if (!source_path_ends(path, ".c") || is_test(path))
		return false;
	for (size_t i = 0; i < COUNT(doors); i++) {
		if (fits(path, doors[i]))
			return false;
	}
	return fits(path, "engine/*") || fits(path, "components/*");
}

static void check_poison(const struct source_file *file, struct findings *findings)
{
	struct source_line line = { 0 };
	char name[512], last[512] = "";
	unsigned last_line = 1;
	bool quoted;
	while (source_line_next(file, &line)) {
		if (!source_line_include(&line, name, sizeof(name), &quoted))
			continue;
		memcpy(last, name, sizeof(last));
		last_line = line.number;
	}
	if (strcmp(last, "base/poison.h") != 0)
		findings_add(findings, file->path, last_line, "the last include is not \"base/poison.h\"");
}

/* --- files that nobody builds or includes, and names that mean two things --- */

static bool list_has(const struct source_file *list, const char *path)
{
	struct source_line line = { 0 };
	size_t size = strlen(path);
	while (source_line_next(list, &line)) {
		if (line.size > size && memcmp(line.text + line.size - size, path, size) == 0 &&
		    line.text[line.size - size - 1] == '/')
			return true;
	}
	return false;
}

static bool is_included(const struct source_tree *tree, const struct source_file *header)
{
	char name[512];
	bool quoted;
	for (size_t i = 0; i < tree->count; i++) {
		const struct source_file *file = &tree->files[i];
		struct source_line line = { 0 };
		if (!source_is_c(file->path) && !source_path_ends(file->path, ".S"))
			continue;
		while (file != header && source_line_next(file, &line)) {
			if (source_line_include(&line, name, sizeof(name), &quoted) &&
			    strcmp(base_name(name), base_name(header->path)) == 0 &&
			    source_tree_resolve(tree, file, name, quoted) == header)
				return true;
		}
	}
	return false;
}

static void check_reached(const struct source_tree *tree, const struct source_file *built,
			  const struct source_file *file, struct findings *findings)
{
	if (source_path_ends(file->path, ".h")) {
		if (!is_included(tree, file))
			findings_add(findings, file->path, 1, "no file includes this header");
	} else if (!source_path_ends(file->path, "_fuzz.c") && !list_has(built, file->path)) {
		findings_add(findings, file->path, 1, "no target of the build has this file");
	}
}

/*
 * Headers and test programs are known by their bare name: to readers of an include, on the command line, in
 * the list of tests. Other sources are named after what they hold of their folder, and may share a name.
 */
static bool must_be_unique(const char *path)
{
	return source_path_ends(path, ".h") || source_path_ends(path, "_test.c");
}

static void check_name(const struct source_tree *tree, const struct source_file *file,
		       struct findings *findings)
{
	for (size_t i = 0; i < tree->count && &tree->files[i] != file; i++) {
		if (strcmp(base_name(tree->files[i].path), base_name(file->path)) == 0)
			findings_add(findings, file->path, 1, "has the name of %s", tree->files[i].path);
	}
}

/* `built`: the list of files that take part in the build; NULL: not checked. */
static void check_tree(const struct source_tree *tree, const struct source_file *built,
		       struct findings *findings)
{
	for (size_t i = 0; i < tree->count; i++) {
		const struct source_file *file = &tree->files[i];
		struct source_line line = { 0 };
		while (source_line_next(file, &line))
			check_line(file, &line, findings);
		if (file->size > 0 && file->text[file->size - 1] != '\n')
			findings_add(findings, file->path, line.number, "the last line does not end");
		if (!source_is_c(file->path) && !source_path_ends(file->path, ".S"))
			continue;
		check_functions(file, findings);
		if (source_path_ends(file->path, ".h"))
			check_header(file, findings);
		if (must_be_poisoned(file->path))
			check_poison(file, findings);
		if (built != NULL)
			check_reached(tree, built, file, findings);
		if (must_be_unique(file->path))
			check_name(tree, file, findings);
	}
}

static void test_tree_is_tidy(void **state)
{
	(void)state;
	struct source_tree tree;
	struct findings findings = { 0 };
	assert_true(source_tree_read(CASCADE_SOURCE_DIR, &tree));
	assert_non_null(source_tree_find(&tree, "engine/base/status.h"));

	char text[64 * 1024];
	FILE *stream = fopen(CASCADE_SOURCES_LIST, "rb");
	assert_non_null(stream);
	size_t size = fread(text, 1, sizeof(text) - 1, stream);
	fclose(stream);
	assert_true(size < sizeof(text) - 1);
	text[size] = '\0';
	const struct source_file built = { .path = CASCADE_SOURCES_LIST, .text = text, .size = size };

	check_tree(&tree, &built, &findings);
	if (findings.count > 0)
		fprintf(stderr, "%s", findings.text);
	assert_int_equal(findings.count, 0);
	findings_free(&findings);
	source_tree_free(&tree);
}

/* --- the checks themselves: each finds what it is there for, and nothing in good text --- */

static const char *const header_start = "/* x.h: text. */\n#ifndef CASCADE_X_H\n#define CASCADE_X_H\n";

static const struct {
	const char *path;
	const char *text;
	const char *finding; /* part of the only finding; NULL: none */
} cases[] = {
	{ "harness/a.c", "int a;\n", NULL },
	{ "harness/a.c", "int a; \n", "a.c:1: space at the end" },
	{ "harness/a.c", "int a;", "does not end" },
	{ "harness/a.c",
	  "\n/* TO"
	  "DO: more */\n",
	  "a.c:2: a leftover" },
	{ "harness/a.c",
	  "int TO"
	  "DOS;\n",
	  NULL },
	{ "docs/a.md",
	  "see /ho"
	  "me/someone/x\n",
	  "a.md:1: names a path" },
	{ "harness/a.c", "int f(void)\n{\n \treturn 1;\n}\n", "a.c:3: a tab behind a space" },
	{ "harness/a.c", "int f(void)\n{\n        return 1;\n}\n", "a.c:3: indented with spaces" },
	{ "harness/x.h", "#ifndef CASCADE_X_H\n#define CASCADE_X_H\n#endif\n", "begins with a comment" },
	{ "harness/x.h", "/* x. */\nint a;\n", "no include guard" },
	{ "harness/x.h", "/* x. */\n#ifndef CASCADE_X_H\n#define CASCADE_Y_H\n#endif\n", "is not defined" },
	{ "engine/wal/a.c", "#include \"base/poison.h\"\n", NULL },
	{ "engine/wal/a.c", "#include \"base/poison.h\"\n#include <string.h>\n", "a.c:2: the last include" },
	{ "engine/wal/a.c", "int a;\n", "the last include" },
	{ "engine/io/a.c", "int a;\n", NULL },
	{ "engine/wal/a_test.c", "int a;\n", NULL },
	{ "components/memtable/a.c", "int a;\n", "the last include" },
};

static void check_text(const char *path, const char *text, const char *finding)
{
	struct source_file file = { .path = (char *)(uintptr_t)path,
				    .text = (char *)(uintptr_t)text,
				    .size = strlen(text) };
	struct source_tree tree = { .files = &file, .count = 1 };
	struct findings findings = { 0 };
	check_tree(&tree, NULL, &findings);
	const char *found = findings.text != NULL ? findings.text : "nothing";
	if (finding == NULL ? findings.count != 0 : findings.count != 1 || strstr(found, finding) == NULL)
		fail_msg("%s: \"%s\": found %s", path, text, found);
	findings_free(&findings);
}

static void test_checks_find_what_they_should(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		check_text(cases[i].path, cases[i].text, cases[i].finding);
}

static void test_long_things_are_found(void **state)
{
	(void)state;
	char text[8192];
	memset(text, 'a', COLUMNS_MAX + 1);
	memcpy(text + COLUMNS_MAX, ";\n", 3);
	check_text("harness/a.c", text, "111 columns");
	text[0] = '\t';
	check_text("harness/a.c", text, "118 columns");

	for (unsigned lines = FUNCTION_LINES_MAX; lines <= FUNCTION_LINES_MAX + 1; lines++) {
		size_t size = (size_t)snprintf(text, sizeof(text), "void f(void)\n{\n");
		for (unsigned i = 0; i < lines; i++)
			size += (size_t)snprintf(text + size, sizeof(text) - size, "\tg();\n");
		snprintf(text + size, sizeof(text) - size, "}\n");
		check_text("harness/a.c", text,
			   lines > FUNCTION_LINES_MAX ? "a.c:2: a function of 101" : NULL);
	}
}

static void test_orphans_and_twins_are_found(void **state)
{
	(void)state;
	char header[256];
	snprintf(header, sizeof(header), "%s#endif\n", header_start);
	char source[] = "#include \"base/x.h\"\n";
	char empty[] = "int a;\n";
	struct source_file files[] = {
		{ (char[]) { "engine/base/a.c" }, source, strlen(source) },
		{ (char[]) { "engine/base/x.h" }, header, strlen(header) },
		{ (char[]) { "engine/base/y.h" }, header, strlen(header) },
		{ (char[]) { "engine/io/a.c" }, empty, strlen(empty) },
		{ (char[]) { "engine/io/a_test.c" }, empty, strlen(empty) },
		{ (char[]) { "harness/a_test.c" }, empty, strlen(empty) },
	};
	struct source_tree tree = { .files = files, .count = COUNT(files) };
	char list[] =
		"/somewhere/engine/base/a.c\n/somewhere/engine/io/a_test.c\n/somewhere/harness/a_test.c\n";
	struct source_file built = { (char[]) { "list" }, list, strlen(list) };
	struct findings findings = { 0 };
	check_tree(&tree, &built, &findings);
	assert_int_equal(findings.count, 3);
	assert_non_null(strstr(findings.text, "engine/base/y.h:1: no file includes this header"));
	assert_non_null(strstr(findings.text, "engine/io/a.c:1: no target of the build has this file"));
	assert_non_null(strstr(findings.text, "harness/a_test.c:1: has the name of engine/io/a_test.c"));
	findings_free(&findings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checks_find_what_they_should),
		cmocka_unit_test(test_long_things_are_found),
		cmocka_unit_test(test_orphans_and_twins_are_found),
		cmocka_unit_test(test_tree_is_tidy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
