/*
 * Comparing runs: from directories on disk to ratios, tables, JSON and exit codes.
 */
#include "harness/compare.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "harness/folder.h"
#include "test.h"

enum { TEXT_BYTES = 1 << 16 };

static char folder[64];
static char text[TEXT_BYTES];

/* One line of record.jsonl. */
struct line {
	const char *hash, *name, *workload, *workload_label, *phase, *verdict, *clients_as;
	int index, repetition;
	double ops_s, count;
};

static FILE *create(const char *run)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", folder, run);
	assert_int_equal(mkdir(path, 0777), 0);
	strcat(path, "/record.jsonl");
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	return file;
}

static void write_line(FILE *file, const struct line *line)
{
	fprintf(file,
		"{\"schema_version\":1,\"experiment\":\"x\",\"configuration\":{\"hash\":\"%s\",\"label\":\"%"
		"s%s%s\","
		"\"name\":\"%s\",\"index\":%d,\"baseline\":%s},\"workload\":{\"hash\":\"%s\",\"label\":\"%"
		"s\","
		"\"records\":1000,\"value_size\":100},\"engine\":{\"kind\":\"null\"},\"clients_as\":\"%s\","
		"\"phase\":{\"name\":\"%s\",\"clients\":4,\"distribution\":\"zipfian\",\"mix\":{\"read\":1}},"
		"\"repetition\":%d,\"operations\":1000,\"throughput\":{\"ops_s\":%.3f},\"latency\":{\"read\":"
		"{"
		"\"service\":{\"count\":%.0f,\"p50_ns\":1000,\"p99_ns\":5000,\"p999_ns\":9000}}},\"cpu\":{"
		"\"us_per_op\":2},\"device\":{\"reads\":500,\"writes\":null},\"counters\":{\"wal.syncs\":7},"
		"\"hiccup\":{\"p999_ns\":1500000,\"max_ns\":%d000000},\"validity\":{\"verdict\":\"%s\","
		"\"reasons\":[\"short: %d s\"]}}\n",
		line->hash, line->name, line->workload_label[0] != '\0' ? " " : "", line->workload_label,
		line->name, line->index, line->index == 0 ? "true" : "false", line->workload,
		line->workload_label, line->clients_as, line->phase, line->repetition, line->ops_s,
		line->count, line->repetition, line->verdict, line->repetition);
}

/*
 * A run of two configurations that gets slower from block to block: `two` is 20 % faster in each of them,
 * give or take little.
 */
static void write_run(const char *run, const char *workload, int repetitions, double factor)
{
	FILE *file = create(run);
	for (int repetition = 1; repetition <= repetitions; repetition++) {
		double speed = factor * 1000 / repetition;
		struct line line = { .hash = "h2",
				     .name = "two",
				     .workload = workload,
				     .workload_label = "",
				     .phase = "run",
				     .verdict = "suspect",
				     .clients_as = "tasks",
				     .index = 1,
				     .repetition = repetition,
				     .ops_s = 1.2 * speed * (repetition % 2 == 0 ? 1.001 : 0.999),
				     .count = 20000 };
		write_line(file, &line);
		line.hash = "h1";
		line.name = "one";
		line.index = 0;
		line.ops_s = speed;
		write_line(file, &line);
	}
	fclose(file);
}

static const char *path_of(const char *run)
{
	static char paths[4][256];
	static size_t next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", folder, run);
	return path;
}

static void open_runs(struct run_data *data, enum run_data_mode mode, const char *first, const char *second)
{
	struct run_source sources[] = { { path_of(first), NULL },
					{ second != NULL ? path_of(second) : "", NULL } };
	assert_ok(run_data_read(data, sources, second != NULL ? 2 : 1, mode));
}

static void make(struct compare *compare, const struct run_data *data)
{
	struct problem problem;
	struct compare_options options = { .noise_floor = 0.01 };
	assert_ok(compare_make(compare, data, &options, &problem));
}

/* What a function prints, in `text`. */
static void print(void (*printer)(const struct compare *compare, FILE *file), const struct compare *compare)
{
	FILE *file = fmemopen(text, sizeof(text), "w");
	assert_non_null(file);
	printer(compare, file);
	assert_int_equal(fclose(file), 0);
}

static void expect_in(const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("'%s' is not in:\n%s", part, text);
}

static void test_one_run(void **state)
{
	(void)state;
	struct run_data data;
	struct compare compare;
	struct problem problem;
	write_run("a", "w1", 4, 1);
	open_runs(&data, RUN_DATA_BY_WORKLOAD, "a", NULL);
	assert_true(compare_is_possible(&data, &problem));
	make(&compare, &data);
	/* In the order of the file, not of the run. */
	assert_string_equal(data.configurations[0].name, "one");
	assert_int_equal(compare.baseline, 0);
	const struct compare_cell *cell = compare_at(&compare, 0, 0, 1);
	assert_int_equal(cell->count, 4);
	assert_int_equal(cell->comparison.method, RATIO_BLOCKS);
	assert_int_equal(cell->comparison.blocks, 4);
	assert_true(fabs(cell->comparison.ratio - 1.2) < 0.001);
	assert_int_equal(cell->comparison.verdict, VERDICT_BETTER);
	assert_true(fabs(compare_overall(&compare, 1) - 1.2) < 0.001);
	print(compare_print, &compare);
	expect_in("| throughput, ops/s ");
	expect_in("| baseline ");
	expect_in("| faster ");
	expect_in("| indistinguishable |");
	expect_in("p99.9 1.50 ms (median), 4.00 ms at most (");
	expect_in("suspect: 8 of 8 records\n- 8 x short: 1 s\n");
	expect_in("### run: 1,000 records of 100 B, zipfian, read 100 %, 4 clients (workload w1)");
	/* 20,000 operations hold 200 beyond p99 and 20 beyond p99.9: only the first is shown. */
	expect_in("read p99,");
	assert_null(strstr(text, "read p999,"));
	expect_in("device reads, /op");
	expect_in(" 0.500 |");
	assert_null(strstr(text, "device writes"));
	print(compare_write_json, &compare);
	expect_in("\"p_holm\"");
	expect_in("\"method\": \"blocks\"");
	print(compare_write_csv, &compare);
	expect_in("x,run,w1,,h2,two,tasks,throughput.ops_s,4,");
	compare_free(&compare);
	run_data_free(&data);
}

static void test_two_runs(void **state)
{
	(void)state;
	struct run_data data;
	struct compare compare;
	struct problem problem;
	write_run("a", "w1", 5, 1);
	write_run("b", "w1", 5, 3);
	open_runs(&data, RUN_DATA_BY_WORKLOAD, "a", "b");
	assert_true(compare_is_possible(&data, &problem));
	make(&compare, &data);
	assert_int_equal(data.configuration_count, 4);
	assert_string_equal(data.configurations[2].name, "one (b)");
	/* Not run in the same blocks: medians are compared. */
	const struct comparison *comparison = &compare_at(&compare, 0, 0, 2)->comparison;
	assert_int_equal(comparison->method, RATIO_MEDIANS);
	assert_true(fabs(comparison->ratio - 3) < 1e-4);
	assert_int_equal(compare_at(&compare, 0, 0, 1)->comparison.method, RATIO_BLOCKS);
	compare_free(&compare);
	run_data_free(&data);
}

/* Other work in the same time is no comparison. */
static void test_other_workloads_are_refused(void **state)
{
	(void)state;
	struct run_data data;
	struct problem problem;
	write_run("a", "w1", 2, 1);
	write_run("b", "w2", 2, 1);
	open_runs(&data, RUN_DATA_BY_WORKLOAD, "a", "b");
	assert_false(compare_is_possible(&data, &problem));
	if (strstr(problem.text, "ran different workloads (w1 and w2)") == NULL &&
	    strstr(problem.text, "ran different workloads (w2 and w1)") == NULL)
		fail_msg("%s", problem.text);
	run_data_free(&data);
	open_runs(&data, RUN_DATA_BY_LABEL, "a", "b");
	assert_true(compare_is_possible(&data, &problem));
	run_data_free(&data);
}

/* Rows for workloads, columns for configurations; tasks and threads are two of them. */
static void test_rows_and_columns(void **state)
{
	(void)state;
	struct run_data data;
	struct compare compare;
	FILE *file = create("a");
	for (int i = 0; i < 8; i++) {
		struct line line = { .hash = i % 2 == 0 ? "h1" : "h2",
				     .name = "engine",
				     .workload = i / 2 % 2 == 0 ? "w1" : "w2",
				     .workload_label = i / 2 % 2 == 0 ? "size=1" : "size=2",
				     .phase = "run",
				     .verdict = i == 7 ? "invalid" : "valid",
				     .clients_as = i % 2 == 0 ? "tasks" : "threads",
				     .index = i % 2,
				     .repetition = i / 4 + 1,
				     .ops_s = 100,
				     .count = 10 };
		write_line(file, &line);
	}
	fclose(file);
	open_runs(&data, RUN_DATA_BY_WORKLOAD, "a", NULL);
	assert_int_equal(data.configuration_count, 2);
	assert_int_equal(data.phase_count, 2);
	assert_string_equal(data.configurations[0].name, "engine (tasks)");
	assert_string_equal(data.configurations[1].name, "engine (threads)");
	assert_string_equal(data.phases[1].workload_label, "size=2");
	make(&compare, &data);
	/* What failed is left out, and said to be. */
	assert_int_equal(compare.invalid, 1);
	assert_int_equal(compare_at(&compare, 0, 0, 1)->count, 2);
	assert_int_equal(compare_at(&compare, 1, 0, 1)->count, 1);
	assert_int_equal(compare_at(&compare, 1, 0, 1)->comparison.verdict, VERDICT_NONE);
	print(compare_print, &compare);
	expect_in("Left out: 1 records");
	compare_free(&compare);
	run_data_free(&data);
	open_runs(&data, RUN_DATA_BY_LABEL, "a", NULL);
	assert_int_equal(data.configuration_count, 4);
	assert_int_equal(data.phase_count, 1);
	run_data_free(&data);
}

/*
 * A cache that follows the workload makes four hashes of two configurations: they stay two columns, and the
 * rows come in the order of the file, though the run began with the second workload.
 */
static void test_options_follow_the_workload(void **state)
{
	(void)state;
	static const char *const hashes[] = { "a1", "a2", "b1", "b2" };
	struct run_data data;
	struct compare compare;
	struct problem problem;
	FILE *file = create("a");
	for (int i = 0; i < 16; i++) {
		int cell = 3 - i / 2 % 4;
		struct line line = { .hash = hashes[cell],
				     .name = cell / 2 == 0 ? "mine" : "theirs",
				     .workload = cell % 2 == 0 ? "w1" : "w2",
				     .workload_label = cell % 2 == 0 ? "d1" : "d2",
				     .phase = i % 2 == 0 ? "load" : "run",
				     .verdict = "valid",
				     .clients_as = "tasks",
				     .index = cell,
				     .repetition = i / 8 + 1,
				     .ops_s = (cell / 2 == 0 ? 300 : 100) + i / 8,
				     .count = 10 };
		write_line(file, &line);
	}
	fclose(file);
	open_runs(&data, RUN_DATA_BY_WORKLOAD, "a", NULL);
	assert_true(compare_is_possible(&data, &problem));
	assert_int_equal(data.configuration_count, 2);
	assert_string_equal(data.configurations[0].name, "mine");
	assert_string_equal(data.configurations[1].name, "theirs");
	/* write_line marks cell 0, whose configuration is the baseline of both workloads. */
	assert_true(data.configurations[0].baseline);
	static const char *const titles[] = { "d1 load", "d1 run", "d2 load", "d2 run" };
	assert_int_equal(data.phase_count, 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(data.phases[i].title, titles[i]);
	make(&compare, &data);
	for (size_t phase = 0; phase < 4; phase++) {
		assert_int_equal(compare_at(&compare, phase, 0, 1)->count, 2);
		assert_true(fabs(compare_at(&compare, phase, 0, 1)->comparison.ratio - 1.0 / 3) < 0.01);
	}
	assert_string_equal(compare_hash(&compare, 0, 1), "b1");
	assert_string_equal(compare_hash(&compare, 2, 1), "b2");
	print(compare_write_csv, &compare);
	expect_in("x,load,w1,d1,a1,mine,tasks,throughput.ops_s,2,");
	expect_in("x,run,w2,d2,b2,theirs,tasks,throughput.ops_s,2,");
	compare_free(&compare);
	run_data_free(&data);
	open_runs(&data, RUN_DATA_BY_LABEL, "a", NULL);
	assert_int_equal(data.configuration_count, 4);
	assert_int_equal(data.phase_count, 2);
	run_data_free(&data);
}

/* --- the command --- */

/* Runs it with standard output and error in files, both read into `text`. Returns the exit code. */
static int command(const char *arguments)
{
	char words[1024], name[] = "compare", *list[16] = { name }, *rest = NULL;
	char path[256];
	int count = 1, kept[2] = { dup(STDOUT_FILENO), dup(STDERR_FILENO) };
	snprintf(words, sizeof(words), "%s", arguments);
	snprintf(path, sizeof(path), "%s/printed", folder);
	for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
		list[count++] = word;
	fflush(NULL);
	FILE *file = fopen(path, "w+");
	assert_true(dup2(fileno(file), STDOUT_FILENO) >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
	int code = compare_command(count, list);
	fflush(NULL);
	dup2(kept[0], STDOUT_FILENO);
	dup2(kept[1], STDERR_FILENO);
	close(kept[0]);
	close(kept[1]);
	rewind(file);
	size_t size = fread(text, 1, sizeof(text) - 1, file);
	text[size] = '\0';
	fclose(file);
	return code;
}

static void expect(const char *arguments, int code, const char *part)
{
	assert_int_equal(chdir(folder), 0);
	int got = command(arguments);
	if (got != code)
		fail_msg("compare %s: exit code %d, expected %d: %s", arguments, got, code, text);
	expect_in(part);
}

static void test_command(void **state)
{
	(void)state;
	write_run("a", "w1", 3, 1);
	write_run("b", "w2", 1, 1);
	expect("a", 0, "## x: 2 configurations, compared with one");
	expect("a --baseline two", 0, "compared with two");
	expect("a --json", 0, "\"schema_version\": 1");
	expect("a --metric counters.wal.syncs", 0, "| counters.wal.syncs |");
	assert_null(strstr(text, "throughput"));
	expect("a --metric read.p99 --metric cpu", 0, "read p99, us");
	expect("a --metric throughput --noise-floor 30%", 0, "| indistinguishable |");
	expect("old=a new=a", 0, "one (new)");
	expect("b", 0, "One repetition:");
	expect("a b", 1, "--force");
	expect("a b --force", 0, "Forced:");
	expect("--help", 0, "usage: cascade compare");
	expect("", 2, "no run given");
	expect("nowhere", 2, "nowhere/record.jsonl does not exist");
	expect("a --baseline tow", 2, "did you mean 'two'?");
	expect("a --metric thruoghput", 2, "did you mean 'throughput'?");
	expect("a --noise-floor much", 2, "'much' is no percentage");
	expect("a --frob", 2, "unknown option '--frob'");
	expect("a --metric", 2, "no value for '--metric'");
}

static void test_bad_runs(void **state)
{
	(void)state;
	FILE *file = create("a");
	fputs("{\"experiment\":\"x\"}\nnonsense\n", file);
	fclose(file);
	expect("a", 2, "a/record.jsonl:2:");
	file = create("b");
	fclose(file);
	expect("b", 2, "b/record.jsonl holds no record");
	file = create("c");
	fputs("[1]\n", file);
	fclose(file);
	expect("c", 2, "c/record.jsonl:1: not a record");
	/* One configuration, of which only the first phase was finished. */
	file = create("d");
	struct line line = { "h1", "one", "w1", "", "run", "valid", "tasks", 0, 1, 100, 10 };
	write_line(file, &line);
	fputs("{\"experiment\":\"x\",\"conf", file);
	fclose(file);
	expect("d", 1, "nothing to compare");
}

static int open_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/compare_test_XXXXXX");
	return mkdtemp(folder) == NULL;
}

static int close_folder(void **state)
{
	(void)state;
	return chdir("/") != 0 || folder_remove(folder) != 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_run, open_folder, close_folder),
		cmocka_unit_test_setup_teardown(test_two_runs, open_folder, close_folder),
		cmocka_unit_test_setup_teardown(test_other_workloads_are_refused, open_folder, close_folder),
		cmocka_unit_test_setup_teardown(test_rows_and_columns, open_folder, close_folder),
		cmocka_unit_test_setup_teardown(test_options_follow_the_workload, open_folder, close_folder),
		cmocka_unit_test_setup_teardown(test_command, open_folder, close_folder),
		cmocka_unit_test_setup_teardown(test_bad_runs, open_folder, close_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
