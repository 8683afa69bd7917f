/*
 * arrows_test.c: holds the arrows of docs/architecture.md over the #include lines of the whole tree.
 * The two tables below are the rule; the document quotes the second. Takes well under a second.
 */
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "source_tree.h"
#include "test.h"

/* Which zone a file belongs to: the first pattern that fits its path ('*' also stands for slashes). */
static const struct zone_pattern {
	const char *pattern;
	const char *zone;
} zone_patterns[] = {
	{ "tests/*", "test" },
	{ "*_test.[ch]", "test" },
	{ "*_fuzz.c", "test" },
	{ "engine/cascade.h", "public" },
	{ "engine/cascade_runtime.h", "public" },
	{ "engine/base/*", "base" },
	{ "engine/io/simulated*", "io_doubles" },
	{ "engine/io/faulty*", "io_doubles" },
	{ "engine/io/*", "io" },
	{ "engine/runtime/stepped*", "runtime_doubles" },
	{ "engine/runtime/*", "runtime" },
	{ "engine/trace/*", "trace" },
	{ "engine/buffer/*", "buffer" },
	{ "engine/wal/*", "wal" },
	{ "engine/manifest/*", "manifest" },
	{ "engine/table/*", "table" },
	{ "engine/value_log/*", "value_log" },
	{ "engine/compaction/*", "compaction" },
	{ "engine/tree/*", "tree" },
	{ "engine/database/*", "database" },
	{ "components/component.h", "component" },
	{ "components/memtable/memtable.h", "component" },
	{ "components/filters/filter.h", "component" },
	{ "components/cache/cache.h", "component" },
	{ "components/codec/codec.h", "component" },
	{ "components/compaction/policy.h", "component" },
	{ "components/registry.c", "registry" },
	{ "components/memtable/*", "memtables" },
	{ "components/filters/*", "filters" },
	{ "components/cache/*", "caches" },
	{ "components/codec/*", "codecs" },
	{ "components/compaction/*", "policies" },
	{ "harness/bench/*", "bench" },
	{ "harness/inspect/*", "inspect" },
	{ "harness/*", "harness" },
	{ "examples/out_of_tree/*", "outsider" },
	{ "examples/*", "example" },
};

/*
 * What each zone sees. `component` is the contract headers of components/, never a variant's file.
 * Zone `test` sees everything and is in no row. docs/architecture.md quotes the rows as they stand.
 */
static const struct arrow {
	const char *zone;
	const char *sees;
} arrows[] = {
	{ "public", "public" },
	{ "base", "base" },
	{ "component", "base component" },
	{ "memtables", "base component memtables" },
	{ "filters", "base component filters" },
	{ "caches", "base component caches" },
	{ "codecs", "base component codecs" },
	{ "policies", "base component policies" },
	{ "registry", "base component memtables filters caches codecs policies" },
	{ "io", "base io" },
	{ "io_doubles", "base io io_doubles" },
	{ "runtime", "base io runtime" },
	{ "runtime_doubles", "base io io_doubles runtime runtime_doubles" },
	{ "trace", "base component io runtime trace" },
	{ "buffer", "base component io runtime trace buffer" },
	{ "wal", "base io runtime wal" },
	{ "manifest", "base io runtime manifest" },
	{ "table", "base component io runtime trace buffer wal manifest table" },
	{ "value_log", "base component io runtime buffer wal manifest value_log" },
	{ "compaction", "base component io runtime buffer wal manifest table value_log compaction" },
	{ "tree", "base component io runtime trace buffer wal manifest table value_log compaction tree" },
	{ "database",
	  "public base component io runtime trace buffer wal manifest table value_log compaction tree "
	  "database" },
	{ "harness", "public base harness bench inspect" },
	{ "bench",
	  "public base component io runtime trace buffer wal manifest table value_log compaction tree "
	  "database harness bench" },
	{ "inspect", "public base component io runtime buffer wal manifest table value_log compaction tree "
		     "database harness inspect" },
	{ "example", "public" },
	{ "outsider", "base component" },
};

/*
 * Headers of libraries that only one place may use, so that each library stays behind one door. The bench
 * also asks libraries for their versions.
 */
static const struct library_home {
	const char *pattern;
	const char *zones;
} library_homes[] = {
	{ "liburing.h", "io harness" },
	{ "lz4*.h", "codecs harness" },
	{ "zstd*.h", "codecs harness" },
	{ "zdict.h", "codecs" },
	{ "xxhash.h", "base harness" },
	{ "ucontext.h", "runtime" },
	{ "dlfcn.h", "database runtime_doubles" },
	{ "sanitizer/*", "base runtime" },
	{ "valgrind/*", "base" },
	{ "pthread.h", "base io io_doubles runtime harness bench inspect" },
	{ "threads.h", "" },
	{ "yaml.h", "harness" },
	{ "cyaml/*", "harness" },
	{ "rocksdb/*", "harness" },
	{ "leveldb/*", "harness" },
	{ "lmdb.h", "harness" },
	{ "wiredtiger.h", "harness" },
	{ "jemalloc/*", "harness" },
	{ "cmocka.h", "" },
};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const char *zone_of(const char *path)
{
	for (size_t i = 0; i < COUNT(zone_patterns); i++) {
		if (fnmatch(zone_patterns[i].pattern, path, 0) == 0)
			return zone_patterns[i].zone;
	}
	return NULL;
}

static const char *sees_of(const char *zone)
{
	for (size_t i = 0; i < COUNT(arrows); i++) {
		if (strcmp(arrows[i].zone, zone) == 0)
			return arrows[i].sees;
	}
	return NULL;
}

/* Whether `word` is one of the words of `list`, which are divided by single spaces. */
static bool has_word(const char *list, const char *word)
{
	size_t size = strlen(word);
	for (const char *at = list; (at = strstr(at, word)) != NULL; at += size) {
		bool starts = at == list || at[-1] == ' ';
		if (starts && (at[size] == ' ' || at[size] == '\0'))
			return true;
	}
	return false;
}

static bool same_folder(const char *a, const char *b)
{
	const char *slash_a = strrchr(a, '/');
	const char *slash_b = strrchr(b, '/');
	return slash_a != NULL && slash_b != NULL && slash_a - a == slash_b - b &&
	       memcmp(a, b, (size_t)(slash_a - a)) == 0;
}

static void check_ours(const struct source_file *file, unsigned line, const char *zone, const char *name,
		       const struct source_file *included, struct findings *findings)
{
	const char *target = zone_of(included->path);
	const char *sees = sees_of(zone);
	if (target == NULL || sees == NULL)
		return; /* reported with the file that has no zone */
	if (!source_path_ends(included->path, ".h"))
		findings_add(findings, file->path, line, "includes \"%s\", which is no header", name);
	if (strcmp(target, "test") == 0)
		findings_add(findings, file->path, line, "includes \"%s\": only tests include tests", name);
	else if (!has_word(sees, target))
		findings_add(findings, file->path, line, "includes \"%s\" of `%s`, but `%s` sees only: %s",
			     name, target, zone, *sees != '\0' ? sees : "nothing of ours");
	else if (source_path_ends(included->path, "internal.h") && !same_folder(file->path, included->path))
		findings_add(findings, file->path, line, "includes \"%s\", which is internal to its folder",
			     name);
}

static void check_library(const struct source_file *file, unsigned line, const char *zone, const char *name,
			  struct findings *findings)
{
	for (size_t i = 0; i < COUNT(library_homes); i++) {
		if (fnmatch(library_homes[i].pattern, name, 0) == 0 &&
		    !has_word(library_homes[i].zones, zone))
			findings_add(findings, file->path, line,
				     "includes <%s>, but `%s` is not its home (%s)", name, zone,
				     *library_homes[i].zones != '\0' ? library_homes[i].zones : "tests only");
	}
}

static void check_file(const struct source_tree *tree, const struct source_file *file,
		       struct findings *findings)
{
	const char *zone = zone_of(file->path);
	if (zone == NULL) {
		findings_add(findings, file->path, 1, "belongs to no zone of the table of arrows");
		return;
	}
	if (strcmp(zone, "test") == 0)
		return;
	struct source_line line = { 0 };
	char name[512];
	bool quoted;
	while (source_line_next(file, &line)) {
		if (!source_line_include(&line, name, sizeof(name), &quoted))
			continue;
		const struct source_file *included = source_tree_resolve(tree, file, name, quoted);
		if (strstr(name, "..") != NULL)
			findings_add(findings, file->path, line.number,
				     "includes \"%s\": write the path from engine/ or the top, without ..",
				     name);
		else if (included != NULL)
			check_ours(file, line.number, zone, name, included, findings);
		else if (quoted)
			findings_add(findings, file->path, line.number,
				     "includes \"%s\", which is not in the tree", name);
		else
			check_library(file, line.number, zone, name, findings);
	}
}

static void check_tree(const struct source_tree *tree, struct findings *findings)
{
	for (size_t i = 0; i < tree->count; i++) {
		const struct source_file *file = &tree->files[i];
		if (source_is_c(file->path) || source_path_ends(file->path, ".S"))
			check_file(tree, file, findings);
	}
}

static void test_tree_holds_the_arrows(void **state)
{
	(void)state;
	struct source_tree tree;
	struct findings findings = { 0 };
	assert_true(source_tree_read(CASCADE_SOURCE_DIR, &tree));
	assert_non_null(source_tree_find(&tree, "engine/base/status.h"));
	check_tree(&tree, &findings);
	if (findings.count > 0)
		fprintf(stderr, "%s", findings.text);
	assert_int_equal(findings.count, 0);
	findings_free(&findings);
	source_tree_free(&tree);
}

/* The document that explains the arrows must say what is enforced here. */
static void test_document_quotes_the_table(void **state)
{
	(void)state;
	struct source_tree tree;
	assert_true(source_tree_read(CASCADE_SOURCE_DIR, &tree));
	const struct source_file *document = source_tree_find(&tree, "docs/architecture.md");
	assert_non_null(document);
	for (size_t i = 0; i < COUNT(arrows); i++) {
		char row[512];
		int size = snprintf(row, sizeof(row), "\n%-10s sees  %s", arrows[i].zone, arrows[i].sees);
		while (row[size - 1] == ' ')
			size--;
		snprintf(row + size, sizeof(row) - (size_t)size, "\n");
		if (strstr(document->text, row) == NULL)
			fail_msg("docs/architecture.md lacks the row:%s", row);
	}
	source_tree_free(&tree);
}

/* --- the checker itself: a small tree with one broken include at a time --- */

static void write_file(const char *root, const char *path, const char *text)
{
	char full[512];
	snprintf(full, sizeof(full), "%s/%s", root, path);
	for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
	FILE *stream = fopen(full, "wb");
	assert_non_null(stream);
	assert_true(fputs(text, stream) >= 0);
	assert_int_equal(fclose(stream), 0);
}

/* What every small tree has: one header for each kind of place. */
static const char *const small_tree[] = {
	"engine/cascade.h",
	"engine/base/status.h",
	"engine/io/io.h",
	"engine/io/simulated.h",
	"engine/runtime/task.h",
	"engine/runtime/internal.h",
	"engine/buffer/buffer.h",
	"engine/wal/wal.h",
	"engine/manifest/manifest.h",
	"engine/table/table.h",
	"engine/value_log/value_log.h",
	"engine/compaction/merge.h",
	"engine/tree/tree.h",
	"engine/database/database.h",
	"components/component.h",
	"components/memtable/memtable.h",
	"components/memtable/btree.h",
	"components/filters/filter.h",
	"components/filters/ribbon.h",
	"harness/record.h",
	"harness/bench/bench.h",
	"tests/test.h",
};

static const struct {
	const char *path;
	const char *text;
	const char *finding; /* its beginning; NULL: none */
} cases[] = {
	{ "engine/wal/a.c", "#include \"wal/wal.h\"\n#include \"runtime/task.h\"\n#include <string.h>\n",
	  NULL },
	{ "engine/base/a.c", "#include \"base/status.h\"\n\n#include \"io/io.h\"\n", "engine/base/a.c:3: " },
	{ "engine/io/a.c", "\t#  include \"runtime/task.h\"\n", "engine/io/a.c:1: " },
	{ "engine/io/a.c", "#include <runtime/task.h>\n", "engine/io/a.c:1: " },
	{ "engine/buffer/a.c", "#include \"wal/wal.h\"\n", "engine/buffer/a.c:1: " },
	{ "engine/wal/a.c", "#include \"manifest/manifest.h\"\n", "engine/wal/a.c:1: " },
	{ "engine/manifest/a.c", "#include \"buffer/buffer.h\"\n", "engine/manifest/a.c:1: " },
	{ "engine/table/a.c", "#include \"manifest/manifest.h\"\n#include \"buffer/buffer.h\"\n", NULL },
	{ "engine/table/a.c", "#include \"value_log/value_log.h\"\n", "engine/table/a.c:1: " },
	{ "engine/value_log/a.c", "#include \"table/table.h\"\n", "engine/value_log/a.c:1: " },
	{ "engine/tree/a.c", "#include \"database/database.h\"\n", "engine/tree/a.c:1: " },
	{ "engine/tree/a.c", "#include \"cascade.h\"\n", "engine/tree/a.c:1: " },
	{ "engine/tree/a.c", "#include \"components/memtable/memtable.h\"\n", NULL },
	{ "engine/tree/a.c", "#include \"components/memtable/btree.h\"\n", "engine/tree/a.c:1: " },
	{ "engine/tree/a.c", "#include \"runtime/internal.h\"\n", "engine/tree/a.c:1: " },
	{ "engine/runtime/a.c", "#include \"internal.h\"\n", NULL },
	{ "engine/wal/a.c", "#include \"components/component.h\"\n", "engine/wal/a.c:1: " },
	{ "engine/wal/a.c", "#include \"tests/test.h\"\n", "engine/wal/a.c:1: " },
	{ "engine/wal/a.c", "#include \"../io/io.h\"\n", "engine/wal/a.c:1: " },
	{ "engine/wal/a.c", "#include \"wal/gone.h\"\n", "engine/wal/a.c:1: " },
	{ "engine/wal/a.c", "#include \"io/simulated.h\"\n", "engine/wal/a.c:1: " },
	{ "engine/io/a.c", "#include \"io/simulated.h\"\n", "engine/io/a.c:1: " },
	{ "engine/io/faulty.c", "#include \"io/simulated.h\"\n#include \"io/io.h\"\n", NULL },
	{ "engine/wal/a.c", "#include <liburing.h>\n", "engine/wal/a.c:1: " },
	{ "engine/io/a.c", "#include <liburing.h>\n", NULL },
	{ "engine/wal/a_test.c", "#include \"table/table.h\"\n#include <cmocka.h>\n", NULL },
	{ "engine/new/a.c", "#include <string.h>\n", "engine/new/a.c:1: " },
	{ "components/memtable/a.c", "#include \"engine/io/io.h\"\n", "components/memtable/a.c:1: " },
	{ "components/memtable/a.c", "#include \"components/filters/ribbon.h\"\n",
	  "components/memtable/a.c:1: " },
	{ "components/memtable/a.c", "#include \"components/memtable/btree.h\"\n", NULL },
	{ "components/registry.c", "#include \"components/memtable/btree.h\"\n", NULL },
	{ "components/filters/filter.h", "#include \"components/filters/ribbon.h\"\n",
	  "components/filters/filter.h:1: " },
	{ "harness/a.c", "#include \"cascade.h\"\n#include \"base/status.h\"\n", NULL },
	{ "harness/a.c", "#include \"tree/tree.h\"\n", "harness/a.c:1: " },
	{ "harness/bench/a.c", "#include \"tree/tree.h\"\n#include \"harness/record.h\"\n", NULL },
	{ "harness/bench/a.c", "#include \"components/memtable/btree.h\"\n", "harness/bench/a.c:1: " },
	{ "engine/cascade.h", "#include \"base/status.h\"\n", "engine/cascade.h:1: " },
	{ "examples/a.c", "#include <cascade.h>\n", NULL },
	{ "examples/a.c", "#include \"base/status.h\"\n", "examples/a.c:1: " },
};

static void remove_tree(const char *root)
{
	char command[300];
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	assert_int_equal(system(command), 0);
}

static void check_case(size_t index)
{
	char root[] = "/tmp/cascade-arrows-XXXXXX";
	assert_non_null(mkdtemp(root));
	for (size_t i = 0; i < COUNT(small_tree); i++)
		write_file(root, small_tree[i], "");
	write_file(root, cases[index].path, cases[index].text);

	struct source_tree tree;
	struct findings findings = { 0 };
	assert_true(source_tree_read(root, &tree));
	check_tree(&tree, &findings);
	const char *text = findings.text != NULL ? findings.text : "nothing";
	const char *finding = cases[index].finding;
	if (finding == NULL ? findings.count != 0
			    : findings.count != 1 || strncmp(text, finding, strlen(finding)) != 0)
		fail_msg("case %zu (%s: %s): found %s", index, cases[index].path, cases[index].text, text);
	findings_free(&findings);
	source_tree_free(&tree);
	remove_tree(root);
}

static void test_checker_finds_broken_arrows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		check_case(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checker_finds_broken_arrows),
		cmocka_unit_test(test_tree_holds_the_arrows),
		cmocka_unit_test(test_document_quotes_the_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
