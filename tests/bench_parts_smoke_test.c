/*
 * `cascade bench` of filters, caches, codecs and compaction policies as its users meet it: the built binary
 * (the one beside this program, or $CASCADE_BINARY) makes every measure once, as short as it can, and each
 * variant has every number that it should have, within what the number can be at all. About ten seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "components/component.h"
#include "components/filters/filter.h"
#include "harness/bench/bench.h"
#include "harness/folder.h"
#include "harness/json_reader.h"
#include "test.h"

enum { TEXT_BYTES = 1 << 20, ARGUMENTS_MAX = 24 };

static char binary[PATH_MAX];
static char folder[] = "/tmp/cascade-parts-XXXXXX";
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

/* `cascade ARGUMENTS`, words between blanks; it has to end with 0. */
static void run(const char *arguments)
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
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("cascade %s: status %x\nstdout: %s\nstderr: %s", arguments, (unsigned)status, out,
			 err);
}

/* --- what the numbers have to be like --- */

struct expected {
	const char *number;
	double least, most;
};

/* Whatever the machine does, and however short the look is. Times are longer than nothing. */
static const struct expected expectations[] = {
	/* filter: of `none` a bit less than that holds */
	{ "bits_per_key", 5.9, 40 },
	{ "false_positives", 0, 0.08 },
	{ "bits_above_bound", -0.5, 30 },
	/* cache */
	{ "miss_ratio", 0.05, 1 },
	{ "point_miss_ratio", 0.05, 1 },
	{ "frame_bytes", 0.5, 200 },
	/* codec */
	{ "stored_share", 0.1, 1 },
	{ "raw_blocks_share", 0, 1 },
	/* compaction */
	{ "write_amplification", 0.8, 60 },
	{ "read_amplification", 1, 60 },
	{ "space_amplification", 1, 4 },
	{ "space_peak", 1, 5 },
	{ "runs_peak", 1, 100 },
	{ "largest_merge_bytes", 0, 1e12 },
};

static bool passes_all(enum component_kind kind, const char *variant)
{
	const struct component *component = component_find(kind, variant);
	assert_non_null(component);
	return kind == COMPONENT_FILTER && (component->capabilities & FILTER_PASSES_ALL) != 0;
}

static void check_value(enum component_kind kind, const struct json *value)
{
	const char *number = json_text_at(value, "number", "?");
	const char *variant = json_text_at(value, "variant", "?");
	const char *missing = json_text_at(value, "missing", NULL);
	double median = json_number_at(value, "ours.median", NAN);
	double least = 0, most = 1e15;
	if (passes_all(kind, variant))
		return;
	if (missing != NULL) {
		if (strstr(missing, "takes no bits_per_key") == NULL)
			fail_msg("%s of %s: %s", number, variant, missing);
		return;
	}
	for (size_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++) {
		if (strcmp(expectations[i].number, number) == 0) {
			least = expectations[i].least;
			most = expectations[i].most;
		}
	}
	/* With few questions none may pass that should not, and then there is no bound to be above. */
	if (isnan(median) && strcmp(number, "bits_above_bound") == 0)
		return;
	if (!(median >= least && median <= most) || (least == 0 && most == 1e15 && median == 0))
		fail_msg("%s of %s is %g, expected %g to %g", number, variant, median, least, most);
}

/* How many values there have to be of a variant. */
static size_t values_of(const struct bench_kind *kind)
{
	size_t count = 0;
	for (size_t i = 0; kind->measures[i] != NULL; i++) {
		const struct bench_measure *measure = kind->measures[i];
		size_t numbers = 0;
		while (numbers < BENCH_NUMBERS_MAX && measure->numbers[numbers].name != NULL)
			numbers++;
		count += numbers * measure->size_count * (measure->side_count - measure->shared_sides);
	}
	return count;
}

static size_t count_variants(enum component_kind kind)
{
	size_t count = 0;
	while (component_list(kind)[count] != NULL)
		count++;
	return count;
}

static void check_kind(enum component_kind number, const struct bench_kind *kind)
{
	char arguments[256], path[256];
	struct arena arena;
	struct json *root;
	size_t count = 0;
	assert_string_equal(component_kind_name(number), kind->name);
	(void)snprintf(arguments, sizeof(arguments),
		       "bench %s --quick --json --no-plot --quiet --out results", kind->name);
	run(arguments);
	arena_init(&arena, 1 << 16);
	assert_ok(json_parse(&arena, out, strlen(out), &root));
	for (const struct json *value = json_find(root, "values")->first; value != NULL;
	     value = value->next) {
		check_value(number, value);
		count++;
	}
	assert_int_equal(count, values_of(kind) * count_variants(number));
	for (const struct json *claim = json_find(root, "claims")->first; claim != NULL;
	     claim = claim->next) {
		assert_true(json_number_at(claim, "reference.count", 0) == 1);
		assert_int_equal(json_find(claim, "verdict")->kind, JSON_NULL);
	}
	arena_free(&arena);
	(void)snprintf(path, sizeof(path), "results/bench-%s/latest/bench.jsonl", kind->name);
	assert_int_equal(access(path, F_OK), 0);
}

static void test_filter(void **state)
{
	(void)state;
	check_kind(COMPONENT_FILTER, &bench_filter);
}

static void test_cache(void **state)
{
	(void)state;
	check_kind(COMPONENT_CACHE, &bench_cache);
}

static void test_codec(void **state)
{
	(void)state;
	check_kind(COMPONENT_CODEC, &bench_codec);
}

static void test_compaction(void **state)
{
	(void)state;
	check_kind(COMPONENT_COMPACTION, &bench_compaction);
}

/* Numbers that are no times are functions of the seed. */
static void test_misses_are_the_same_again(void **state)
{
	(void)state;
	static char first[TEXT_BYTES], again[TEXT_BYTES];
	static char *const texts[] = { first, again };
	for (size_t i = 0; i < 2; i++) {
		run("bench cache --quick --no-plot --quiet --only zipfian --variant lru --out results");
		(void)snprintf(texts[i], TEXT_BYTES, "%.*s", (int)(strstr(out, "results: ") - out), out);
	}
	assert_string_equal(first, again);
	assert_non_null(strstr(first, "miss_ratio"));
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
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_codec),
		cmocka_unit_test(test_compaction),
		cmocka_unit_test(test_misses_are_the_same_again),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
