/*
 * `cascade bench` as its users meet it: the built binary (the one beside this program, or $CASCADE_BINARY)
 * measures every part once, as short as it can, and every claim that it prints has the numbers that it should
 * have. What the numbers are is not looked at: this machine may be doing anything else. About ten seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/bench/bench.h"
#include "harness/drivers/driver.h"
#include "harness/folder.h"
#include "harness/json_reader.h"
#include "test.h"

enum { TEXT_BYTES = 1 << 20, ARGUMENTS_MAX = 24 };

static char binary[PATH_MAX];
static char folder[] = "/tmp/cascade-smoke-XXXXXX";
static char out[TEXT_BYTES], err[TEXT_BYTES];

/* --- running the command --- */

static void read_file(const char *name, char text[static TEXT_BYTES])
{
	FILE *file = fopen(name, "r");
	if (file == NULL)
		fail_msg("%s: %s", name, strerror(errno));
	size_t size = fread(text, 1, TEXT_BYTES - 1, file);
	text[size] = '\0';
	assert_int_equal(fclose(file), 0);
}

static void redirect(int fd, const char *path)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (file < 0 || dup2(file, fd) < 0)
		_exit(99);
	(void)close(file);
}

/* `cascade ARGUMENTS`, words between blanks; returns its exit code. */
static int run(const char *arguments)
{
	char words[1024], *list[ARGUMENTS_MAX] = { binary }, *rest = NULL;
	size_t count = 1;
	int status = 0;
	(void)snprintf(words, sizeof(words), "%s", arguments);
	for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		assert_true(count + 1 < ARGUMENTS_MAX);
		list[count++] = word;
	}
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		redirect(STDOUT_FILENO, "stdout.txt");
		redirect(STDERR_FILENO, "stderr.txt");
		(void)execv(binary, list);
		_exit(98);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	read_file("stdout.txt", out);
	read_file("stderr.txt", err);
	if (!WIFEXITED(status))
		fail_msg("the command ended by signal %d: %s", WTERMSIG(status), err);
	return WEXITSTATUS(status);
}

static void expect(const char *arguments, int code)
{
	int got = run(arguments);
	if (got != code)
		fail_msg("cascade %s: exit code %d, expected %d\nstdout: %s\nstderr: %s", arguments, got,
			 code, out, err);
}

static void expect_in(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("'%s' is not in:\n%s", part, text);
}

/* --- arguments --- */

static void test_help_and_bad_input(void **state)
{
	(void)state;
	expect("bench --help", 0);
	expect_in(out, "usage: cascade bench KIND");
	expect_in(out, "runtime");
	expect("bench runtime --help", 0);
	expect_in(out, "fork-join");
	expect("help bench", 0);
	expect("bench", 2);
	expect_in(err, "no kind given");
	expect("bench runtmie", 2);
	expect_in(err, "cascade bench: unknown kind 'runtmie', expected one of runtime, memtable");
	expect_in(err, ", did you mean 'runtime'?\n");
	expect("bench runtime --only swich", 2);
	expect_in(err, "unknown measure 'swich', expected one of switch, ");
	expect_in(err, "did you mean 'switch'?");
	expect("bench runtime --variant btree", 2);
	expect_in(err, "has no variants");
	expect("bench memtable --help", 0);
	expect_in(out, "10 k, 100 k, 2 M, 10 M entries");
	expect("bench memtable --variant btre", 2);
	expect_in(err, "did you mean 'btree'?");
	expect("bench memtable --variant btree --baseline skiplist", 2);
	expect_in(err, "unknown baseline 'skiplist', expected one of btree");
	expect("bench memtable --size 3", 2);
	expect_in(err, "no measure of memtable is made at 3");
	expect("bench memtable --size many", 2);
	expect("bench runtime --repeats 0", 2);
	expect("bench runtime --file-size 3", 2);
	expect("bench runtime --out", 2);
	expect_in(err, "no value for '--out'");
	expect("bench runtime --fast", 2);
	expect_in(err, "unknown option '--fast'");
	expect("bench runtime memtable", 2);
	expect_in(err, "one kind at a time");
	/* Nothing was left behind by any of them. */
	assert_int_not_equal(access("results", F_OK), 0);
}

/* --- a run --- */

static const struct bench_measure *measure_of(const struct bench_kind *kind, const char *name)
{
	for (size_t i = 0; kind->measures[i] != NULL; i++) {
		if (strcmp(kind->measures[i]->name, name) == 0)
			return kind->measures[i];
	}
	fail_msg("'%s' is no measure", name);
	return NULL;
}

/* Either a side has its number, or the claim says why not; and nothing was left out for a poor reason. */
static void check_claim(const struct json *claim)
{
	const char *name = json_text_at(claim, "name", "?");
	const char *missing = json_text_at(claim, "missing", NULL);
	double ours = json_number_at(claim, "ours.median", NAN);
	double reference = json_number_at(claim, "reference.median", NAN);
	(void)measure_of(&bench_runtime, json_text_at(claim, "measure", "?"));
	if (missing != NULL) {
		bool good = strstr(missing, "this build has no") != NULL ||
			    strstr(missing, "is not part of this build") != NULL ||
			    strstr(missing, "not installed") != NULL ||
			    strstr(missing, "sanitizer") != NULL || strstr(missing, "io_uring") != NULL ||
			    strstr(missing, "kind of processor") != NULL;
		if (!good)
			fail_msg("%s: %s", name, missing);
		return;
	}
	/* A short look may see too little for processor times, which the kernel counts in ticks. */
	bool may_be_zero = strncmp(name, "read.cpu", 8) == 0 || strcmp(name, "memory") == 0;
	if (!(ours > 0) && !(may_be_zero && ours == 0))
		fail_msg("%s: ours is %g", name, ours);
	if (!(reference > 0) && !(may_be_zero && reference == 0))
		fail_msg("%s: the reference is %g", name, reference);
	assert_true(json_number_at(claim, "ours.count", 0) == 1);
	assert_int_equal(json_find(claim, "interval")->kind, JSON_NULL);
	assert_int_equal(json_find(claim, "verdict")->kind, JSON_NULL);
}

static void test_every_measure_works(void **state)
{
	(void)state;
	struct arena arena;
	struct json *root;
	size_t expected = 0, found = 0;
	static char records[TEXT_BYTES];
	expect("bench runtime --quick --json --no-plot --quiet --file-size 4MiB --out results", 0);
	arena_init(&arena, 1 << 16);
	assert_ok(json_parse(&arena, out, strlen(out), &root));
	for (size_t i = 0; bench_runtime.measures[i] != NULL; i++)
		expected += bench_runtime.measures[i]->claim_count;
	for (const struct json *claim = json_find(root, "claims")->first; claim != NULL;
	     claim = claim->next) {
		check_claim(claim);
		found++;
	}
	assert_int_equal(found, expected);
	arena_free(&arena);
	read_file("results/bench-runtime/latest/bench.jsonl", records);
	expect_in(records, "\"side\":\"bare swap\"");
	expect_in(records, "\"numbers\":{\"reads_s\":");
	assert_int_equal(access("results/bench-runtime/latest/provenance.json", F_OK), 0);
	assert_int_equal(access("results/bench-runtime/kept/random-reads", F_OK), 0);
	assert_int_not_equal(access("results/bench-runtime/latest/scratch", F_OK), 0);
}

/* --- a kind of component --- */

/* A number that every variant has which finds again what it was given. */
static void check_value(const struct json *value)
{
	const char *variant = json_text_at(value, "variant", "?");
	const char *number = json_text_at(value, "number", "?");
	double median = json_number_at(value, "ours.median", NAN);
	(void)measure_of(&bench_memtable, json_text_at(value, "measure", "?"));
	if (strcmp(variant, "null") == 0)
		return;
	if (!(median > 0))
		fail_msg("%s of %s is %g", number, variant, median);
	assert_true(json_number_at(value, "ours.count", 0) == 1);
	assert_int_equal(json_find(value, "interval")->kind, JSON_NULL);
}

/* How many values there have to be of a variant. */
static size_t values_of(const struct bench_kind *kind)
{
	size_t count = 0;
	for (size_t i = 0; kind->measures[i] != NULL; i++) {
		const struct bench_measure *measure = kind->measures[i];
		size_t numbers = 0, sizes = measure->size_count > 0 ? measure->size_count : 1;
		while (numbers < BENCH_NUMBERS_MAX && measure->numbers[numbers].name != NULL)
			numbers++;
		count += numbers * sizes * (measure->side_count - measure->shared_sides);
	}
	return count;
}

static void test_every_measure_of_memtables_works(void **state)
{
	(void)state;
	struct arena arena;
	struct json *root;
	size_t count = 0, of_btree = 0;
	static char records[TEXT_BYTES];
	expect("bench memtable --quick --json --no-plot --quiet --out results", 0);
	arena_init(&arena, 1 << 16);
	assert_ok(json_parse(&arena, out, strlen(out), &root));
	assert_string_equal(json_text_at(root, "baseline", ""), "btree");
	for (const struct json *value = json_find(root, "values")->first; value != NULL;
	     value = value->next) {
		check_value(value);
		count++;
		of_btree += strcmp(json_text_at(value, "variant", ""), "btree") == 0;
	}
	assert_int_equal(of_btree, values_of(&bench_memtable));
	assert_true(count >= 2 * of_btree);
	assert_int_equal(count % of_btree, 0);
	for (const struct json *claim = json_find(root, "claims")->first; claim != NULL; claim = claim->next)
		assert_int_equal(json_find(claim, "verdict")->kind, JSON_NULL);
	arena_free(&arena);
	read_file("results/bench-memtable/latest/bench.jsonl", records);
	expect_in(records, "\"variant\":\"skiplist\",\"size\":300,\"side\":\"random\"");
	if (driver_find("rocksdb") != NULL)
		expect_in(records, "\"variant\":null,\"size\":null,\"side\":\"rocksdb\"");
	assert_int_equal(access("results/bench-memtable/latest/provenance.json", F_OK), 0);
	assert_int_not_equal(access("results/bench-memtable/latest/scratch", F_OK), 0);
}

static void test_tables_of_variants(void **state)
{
	(void)state;
	expect("bench memtable --quick --no-plot --only random --size 10000 --size 100000 --variant skiplist "
	       "--variant btree --baseline skiplist --out results",
	       0);
	expect_in(out, "random: insert_ns, and its ratio to that of skiplist\n");
	expect_in(out, "variant   300");
	expect_in(out, "random.overhead  btree    300");
	expect_in(err, "random: repetition 1 of 1");
	expect_in(err, "random: 1 sides, 2 variants, 2 sizes, 1 repetitions");
	assert_null(strstr(out, "1.2 k"));
	assert_null(strstr(out, "growth"));
	expect("bench memtable --quick --only ascending --variant btree --out results", 0);
	assert_int_equal(
		access("results/bench-memtable/latest/plots/bench-memtable-ascending-get_ns.dat", F_OK), 0);
}

/* --- the table for people, of one measure --- */

static void test_table(void **state)
{
	(void)state;
	expect("bench runtime --quick --no-plot --only spawn --repeats 2 --out results", 0);
	expect_in(out, "measure  ours");
	expect_in(out, "spawn");
	expect_in(out, "bare swap");
	expect_in(out, "<= 5");
	expect_in(out, "a quick look");
	expect_in(out, "results: results/bench-runtime/");
	expect_in(err, "spawn: 2 sides, 2 repetitions");
	assert_null(strstr(out, "fork-join"));
}

/* --- the whole --- */

static int set_up(void **state)
{
	(void)state;
	const char *given = getenv("CASCADE_BINARY");
	char self[PATH_MAX - 16];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length <= 0 || mkdtemp(folder) == NULL)
		return 1;
	self[length] = '\0';
	if (given != NULL && realpath(given, binary) == NULL)
		return 1;
	if (given == NULL)
		(void)snprintf(binary, sizeof(binary), "%s/cascade", dirname(self));
	return chdir(folder);
}

static int tear_down(void **state)
{
	(void)state;
	return chdir("/") != 0 ? 1 : folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_help_and_bad_input),
		cmocka_unit_test(test_every_measure_works),
		cmocka_unit_test(test_every_measure_of_memtables_works),
		cmocka_unit_test(test_tables_of_variants),
		cmocka_unit_test(test_table),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
