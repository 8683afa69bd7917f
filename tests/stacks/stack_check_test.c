/*
 * stack_check_test.c: the check of stacks finds what it is there for, in small trees made up for it. (The
 * engine's own is the test `stacks`.) Takes milliseconds.
 */
#include "test.h"

#include <string.h>

#include "stacks/stack_check.h"

/* A tree of two files, its call graph, and what the check says about it. */
struct world {
	const char *source; /* engine/a.c */
	const char *rules;
	const char *graph;
	const char *header; /* engine/a.h; may be NULL */
};

struct verdict {
	char findings[4096];
	unsigned count;
	long need; /* of the first type */
	size_t types;
};

static char *copy_of(const char *text)
{
	char *copy = strdup(text);
	assert_non_null(copy);
	return copy;
}

static struct source_file file_of(const char *path, const char *text)
{
	return (struct source_file) { .path = copy_of(path), .text = copy_of(text), .size = strlen(text) };
}

static struct verdict judge(const struct world *world)
{
	struct source_tree tree = { .files = calloc(3, sizeof(struct source_file)) };
	assert_non_null(tree.files);
	tree.files[tree.count++] = file_of("engine/a.c", world->source);
	if (world->header != NULL)
		tree.files[tree.count++] = file_of("engine/a.h", world->header);
	tree.files[tree.count++] = file_of("rules.txt", world->rules);
	struct findings findings = { 0 };
	struct call_graph graph = { 0 };
	struct source_tables tables = { 0 };
	struct stack_rules rules;
	assert_true(call_graph_add(&graph, world->graph, "/tree"));
	source_tables_add(&tables, &tree.files[0]);
	stack_rules_read(&rules, &tree.files[tree.count - 1], &findings);
	struct stack_check check = { .graph = &graph,
				     .tree = &tree,
				     .tables = &tables,
				     .rules = &rules,
				     .findings = &findings,
				     .wants_ways = true };
	stack_check_run(&check);
	struct verdict verdict = { .count = findings.count, .types = check.type_count };
	if (findings.text != NULL)
		(void)snprintf(verdict.findings, sizeof(verdict.findings), "%s", findings.text);
	if (check.type_count > 0)
		verdict.need = check.types[0].need_bytes;
	stack_check_free(&check);
	stack_rules_free(&rules);
	source_tables_free(&tables);
	call_graph_free(&graph);
	findings_free(&findings);
	source_tree_free(&tree);
	return verdict;
}

static void expect_good(const struct world *world, long need)
{
	struct verdict verdict = judge(world);
	assert_string_equal(verdict.findings, "");
	assert_int_equal(verdict.types, 1);
	assert_int_equal(verdict.need, need);
}

static void expect_finding(const struct world *world, const char *what)
{
	struct verdict verdict = judge(world);
	if (strstr(verdict.findings, what) == NULL)
		fail_msg("no finding says \"%s\": %s", what, verdict.findings);
}

/* --- pieces --- */

#define GRAPH	     "graph: { title: \"/tree/engine/a.c\"\n"
#define STATIC(name) "/tree/engine/a.c:" name
#define NODE(name, bytes) \
	"node: { title: \"" name "\" label: \"x\\n/tree/engine/a.c:1:1\\n" bytes " bytes (static)\" }\n"
#define FOREIGN(name) "node: { title: \"" name "\" label: \"x\\n<built-in>\" shape : ellipse }\n"
#define CALL(from, to) \
	"edge: { sourcename: \"" from "\" targetname: \"" to "\" label: \"/tree/engine/a.c:2:3\" }\n"
#define POINTER(from, place)                                                                            \
	"edge: { sourcename: \"" from "\" targetname: \"__indirect_call\" label: \"/tree/engine/" place \
	":9\" }\n"

/* task_start calls what the task type has; the call stands in line 3 of the source. */
#define START NODE(STATIC("task_start"), "16") POINTER(STATIC("task_start"), "a.c:3")
#define RULES                                           \
	"entry engine/a.c:task_start 100 # a comment\n" \
	"call engine/a.c:task_start = run\n"

#define TYPE(bound)                                                                               \
	"static void task_start(void *argument)\n{\n\trun(argument);\n}\n"                        \
	"static const struct task_type a_type = {\n\t.name = \"a\", /* a name, with a comma */\n" \
	"\t.run = a_run,\n\t.stack_bytes = " bound ",\n};\n"

static void test_depths_add_up(void **state)
{
	(void)state;
	struct world world = {
		.source = TYPE("300"),
		.rules = RULES,
		.graph = GRAPH START NODE(STATIC("a_run"), "64") NODE("deep", "120") NODE("flat", "40")
			CALL(STATIC("a_run"), "flat") CALL(STATIC("a_run"), "deep") CALL("flat", "leaf")
				NODE("leaf", "8"),
	};
	expect_good(&world, 100 + 16 + 64 + 120);
	world.source = TYPE("299");
	expect_finding(&world, "a_type declares 299 bytes of stack and needs 300");
}

/* What shared objects may call has another name for the linker, and its own in the rules. */
static void test_exported_functions_keep_their_names(void **state)
{
	(void)state;
	struct world world = {
		.source = TYPE("4096"),
		.rules = RULES "outside shown 200\n",
		.graph = GRAPH START NODE(STATIC("a_run"), "64") NODE("*cascade_base_deep", "120")
			CALL(STATIC("a_run"), "*cascade_base_deep")
				CALL("*cascade_base_deep", "*cascade_base_shown")
					FOREIGN("*cascade_base_shown"),
	};
	expect_good(&world, 100 + 16 + 64 + 120 + 200);
}

/* What gcc has split off or specialized is a function like any other. */
static void test_clones_count(void **state)
{
	(void)state;
	struct world world = {
		.source = TYPE("4096"),
		.rules = RULES,
		.graph = GRAPH START NODE(STATIC("a_run"), "64") NODE(STATIC("slow.part.0.isra.1"), "500")
			CALL(STATIC("a_run"), STATIC("slow.part.0.isra.1")),
	};
	expect_good(&world, 100 + 16 + 64 + 500);
}

static void test_cycles_are_found(void **state)
{
	(void)state;
	struct world world = {
		.source = TYPE("4096"),
		.rules = RULES,
		.graph = GRAPH START NODE(STATIC("a_run"), "64") NODE("one", "8") NODE("two", "8")
			CALL(STATIC("a_run"), "one") CALL("one", "two") CALL("two", "one"),
	};
	expect_finding(&world, "a cycle through one: two <- one <- engine/a.c:a_run");
	world.graph = GRAPH START NODE(STATIC("a_run"), "64") CALL(STATIC("a_run"), STATIC("a_run"));
	expect_finding(&world, "a cycle through engine/a.c:a_run");
}

static void test_library_functions_are_listed(void **state)
{
	(void)state;
	struct world world = {
		.source = TYPE("4096"),
		.rules = RULES,
		.graph = GRAPH START NODE(STATIC("a_run"), "64") FOREIGN("qsort")
			CALL(STATIC("a_run"), "qsort"),
	};
	expect_finding(&world, "engine/a.c:2: qsort is called on a task's stack");
	world.rules = RULES "outside qsort 2000\n";
	expect_good(&world, 100 + 16 + 64 + 2000);
	world.rules = RULES "outside qsort 2000\noutside bsearch 8\n";
	expect_finding(&world, "rules.txt:4: no task calls bsearch");
}

static void test_limits_hold(void **state)
{
	(void)state;
	struct world world = {
		.source = TYPE("4096"),
		.rules = RULES "limit 260 deep fl*\n",
		.graph = GRAPH START NODE(STATIC("a_run"), "64") NODE("deep", "120") NODE("flat", "40")
			CALL(STATIC("a_run"), "flat") CALL("deep", "flat"),
	};
	expect_good(&world, 100 + 16 + 64 + 40);
	world.rules = RULES "limit 259 deep fl*\n";
	expect_finding(&world,
		       "rules.txt:3: deep takes 260 bytes of its caller's stack, at most 259 are allowed");
	world.rules = RULES "limit 259 gone\n";
	expect_finding(&world, "rules.txt:3: gone: there is no such thing in the build");
}

static void test_frames_are_bounded(void **state)
{
	(void)state;
	struct world world = {
		.source = TYPE("4096"),
		.rules = RULES,
		.graph = GRAPH START
		"node: { title: \"" STATIC("a_run") "\" label: \"x\\n/tree/engine/a.c:1:1\\n"
						    "64 bytes (dynamic)\" }\n",
	};
	expect_finding(&world, "a frame whose size is known only when it runs");
	world.graph =
		GRAPH START "node: { title: \"" STATIC("a_run") "\" label: \"x\\n/tree/engine/a.c:1:1\\n"
								"64 bytes (dynamic,bounded)\" }\n";
	expect_good(&world, 100 + 16 + 64);
}

/* --- calls by pointer --- */

#define CALLER                                                 \
	TYPE("4096")                                           \
	"\nMAY_SUSPEND static int caller(struct task *self,\n" \
	"\t\t\t\tint (*function)(void))\n{\n\treturn function();\n}\n" /* line 14 */

#define CALLER_GRAPH                                                                                    \
	GRAPH START NODE(STATIC("a_run"), "64") NODE(STATIC("caller"), "32") NODE("small", "8")         \
		NODE("large", "800") NODE(STATIC("own"), "400") CALL(STATIC("a_run"), STATIC("caller")) \
			POINTER(STATIC("caller"), "a.c:14")

static void test_calls_by_pointer_have_rules(void **state)
{
	(void)state;
	struct world world = { .source = CALLER, .rules = RULES, .graph = CALLER_GRAPH };
	expect_finding(&world, "engine/a.c:14: a call by pointer in caller without a rule in rules.txt");
	world.rules = RULES "call engine/a.c:caller = small engine/a.c:own\n";
	expect_good(&world, 100 + 16 + 64 + 32 + 400);
	world.rules = RULES "call engine/a.c:caller = small\ncall engine/a.c:caller = large\n";
	expect_good(&world, 100 + 16 + 64 + 32 + 800);
	world.rules = RULES "call engine/a.c:caller = thread\n";
	expect_good(&world, 100 + 16 + 64 + 32);
	world.rules = RULES "call engine/a.c:caller = +1000 *a* -large -engine/*\n";
	expect_good(&world, 100 + 16 + 64 + 32 + 1000 + 8);
	world.rules = RULES "call engine/a.c:caller = gone\n";
	expect_finding(&world, "rules.txt:3: gone: there is no such thing in the build");
	world.rules = RULES "call engine/a.c:caller = small\ncall engine/a.c:nobody = small\n";
	expect_finding(&world, "rules.txt:4: no task makes a call by pointer in engine/a.c:nobody");
	world.rules = RULES "calls engine/a.c:caller = small\n";
	expect_finding(&world, "rules.txt:3: no rule of the four kinds");
}

static void test_a_cycle_through_a_pointer_is_found(void **state)
{
	(void)state;
	struct world world = { .source = CALLER,
			       .rules = RULES "call engine/a.c:caller = engine/a.c:a_run\n",
			       .graph = CALLER_GRAPH };
	expect_finding(&world, "a cycle through engine/a.c:a_run");
}

/* A variant that is added is found without a new rule. */
static void test_tables_are_followed(void **state)
{
	(void)state;
	struct world world = {
		.source = CALLER
		"const struct part_ops first = { .name = \"{\", .work = &small, .more = NULL };\n"
		"const struct part_ops second = {\n\t/* .work = large, */\n\t.work = own,\n};\n"
		"const struct other_ops third = { .work = large };\n",
		.rules = RULES "call engine/a.c:caller = part_ops.work part_ops.more\n",
		.graph = CALLER_GRAPH,
	};
	expect_good(&world, 100 + 16 + 64 + 32 + 400);
	world.rules = RULES "call engine/a.c:caller = part_ops.work@first\n";
	expect_good(&world, 100 + 16 + 64 + 32 + 8);
	world.rules = RULES "call engine/a.c:caller = part_ops.work@first,second\n";
	expect_good(&world, 100 + 16 + 64 + 32 + 400);
	world.rules = RULES "call engine/a.c:caller = part_ops.play\n";
	expect_finding(&world, "part_ops.play: there is no such thing in the build");
	world.source = CALLER
		"void f(void)\n{\n\tstruct part_ops p = { .more = (struct part_ops) { .work = small } };\n"
		"\t*q = (struct part_ops) {\n\t\t.work = large,\n\t};\n}\n";
	world.rules = RULES "call engine/a.c:caller = part_ops.work\n";
	expect_good(&world, 100 + 16 + 64 + 32 + 800);
	world.source = CALLER "const struct part_ops first = { .work = unknown };\n";
	world.rules = RULES "call engine/a.c:caller = part_ops.work\n";
	expect_finding(&world, "unknown of first in engine/a.c is no function of the build");
}

/* A wrapper in a header is inlined everywhere: what it reaches depends on who called it. */
static void test_rules_for_callers_come_first(void **state)
{
	(void)state;
	struct world world = {
		.source = CALLER,
		.header = "static inline int wrap(void)\n{\n\treturn ops->next();\n}\n",
		.rules = RULES "call engine/a.h:wrap = large\ncall engine/a.h:wrap in engine/a.c = small\n",
		.graph = GRAPH START NODE(STATIC("a_run"), "64") NODE("small", "8") NODE("large", "800")
			POINTER(STATIC("a_run"), "a.h:3"),
	};
	struct verdict verdict = judge(&world);
	assert_int_equal(verdict.need, 100 + 16 + 64 + 8);
	world.rules = RULES "call engine/a.h:wrap = large\ncall engine/a.h:wrap in engine/b.c = small\n";
	verdict = judge(&world);
	assert_int_equal(verdict.need, 100 + 16 + 64 + 800);
}

static void test_types_run_each_other(void **state)
{
	(void)state;
	struct world world = {
		.source = CALLER "const struct task_type b_call_type = {\n\t.name = \"b\",\n\t.run = own,\n"
				 "\t.stack_bytes = 600,\n};\n",
		.rules = RULES "call engine/a.c:caller = types:*_call_type\n",
		.graph = CALLER_GRAPH,
	};
	struct verdict verdict = judge(&world);
	assert_string_equal(verdict.findings, "");
	assert_int_equal(verdict.types, 2);
	assert_int_equal(verdict.need, 100 + 16 + 64 + 32 + 400);
}

static void test_types_are_declared_plainly(void **state)
{
	(void)state;
	struct world world = { .source = TYPE("4 << 10"),
			       .rules = RULES,
			       .graph = GRAPH START NODE(STATIC("a_run"), "64") };
	expect_finding(&world, "a_type: a task type names .name, .run and .stack_bytes, in digits");
	world.source = TYPE("4096") "static const struct task_type b_type = { \"b\", a_run, 4096 };\n";
	expect_finding(&world, "b_type: a task type names .name, .run and .stack_bytes, in digits");
	world.source = TYPE("4096") "static const struct task_type b_type = { .name = \"b\", .run = gone,"
				    " .stack_bytes = 4096 };\n";
	expect_finding(&world, "b_type: gone is no function of the build");
	world.source = TYPE(
		"4096") "static const struct task_type b_type = { .name = \"b\", .stack_bytes = 8192 };\n";
	expect_finding(&world, "b_type: a task type names .name, .run and .stack_bytes, in digits");
	/* For functions that nobody knows. */
	world.source = TYPE(
		"4096") "static const struct task_type b_type = { .name = \"b\", .stack_bytes = 65536 };\n";
	expect_good(&world, 100 + 16 + 64);
	world.source = "int x;\n";
	expect_finding(&world, "no task type was found");
}

/* --- the source text --- */

static void test_functions_around_lines(void **state)
{
	(void)state;
	char text[] = "int declared(void);\n"				/* 1 */
		      "\n"						/* 2 */
		      "#define MACRO(x) \\\n"				/* 3 */
		      "\tx()\n"						/* 4 */
		      "\n"						/* 5 */
		      "struct thing {\n"				/* 6 */
		      "\tint (*pointer)(void);\n"			/* 7 */
		      "};\n"						/* 8 */
		      "\n"						/* 9 */
		      "/* What it does. */\n"				/* 10 */
		      "__attribute__((cold)) static int first(int a,\n" /* 11 */
		      "\t\t\tint b)\n"					/* 12 */
		      "{\n"						/* 13 */
		      "\tif (a)\n"					/* 14 */
		      "\t\tgoto out;\n"					/* 15 */
		      "\n"						/* 16 */
		      "out:\n"						/* 17 */
		      "\treturn b;\n"					/* 18 */
		      "}\n"						/* 19 */
		      "\n"						/* 20 */
		      "void second(void)\n"				/* 21 */
		      "{\n"						/* 22 */
		      "}\n";						/* 23 */
	struct source_file file = { .path = copy_of("x.c"), .text = text, .size = strlen(text) };
	char name[64];
	static const unsigned outside[] = { 1, 2, 4, 7, 9, 20, 24 };
	for (unsigned i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		assert_false(source_function_at(&file, outside[i], name, sizeof(name)));
	for (unsigned line = 11; line <= 19; line++) {
		assert_true(source_function_at(&file, line, name, sizeof(name)));
		assert_string_equal(name, "first");
	}
	for (unsigned line = 21; line <= 23; line++) {
		assert_true(source_function_at(&file, line, name, sizeof(name)));
		assert_string_equal(name, "second");
	}
	free(file.path);
}

static void test_what_is_no_graph_is_refused(void **state)
{
	(void)state;
	struct call_graph graph = { 0 };
	assert_false(call_graph_add(&graph, "", "/tree"));
	assert_false(call_graph_add(&graph, "hello\n", "/tree"));
	assert_false(call_graph_add(&graph, GRAPH "node: { title: \"x\n", "/tree"));
	assert_false(call_graph_read(&graph, "there/is/no/such.ci", "/tree"));
	call_graph_free(&graph);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_depths_add_up),
		cmocka_unit_test(test_exported_functions_keep_their_names),
		cmocka_unit_test(test_clones_count),
		cmocka_unit_test(test_cycles_are_found),
		cmocka_unit_test(test_library_functions_are_listed),
		cmocka_unit_test(test_limits_hold),
		cmocka_unit_test(test_frames_are_bounded),
		cmocka_unit_test(test_calls_by_pointer_have_rules),
		cmocka_unit_test(test_a_cycle_through_a_pointer_is_found),
		cmocka_unit_test(test_tables_are_followed),
		cmocka_unit_test(test_rules_for_callers_come_first),
		cmocka_unit_test(test_types_run_each_other),
		cmocka_unit_test(test_types_are_declared_plainly),
		cmocka_unit_test(test_functions_around_lines),
		cmocka_unit_test(test_what_is_no_graph_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
