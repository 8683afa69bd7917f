/*
 * small_scope_test.c: all strings of few operations, and every crash inside them (small_scope.h). A build
 * without sanitizers tries all strings of up to two operations and some longer ones, in about 20 s.
 * CASCADE_TEST_LONG=1, which `make test-long` sets, tries more of the longer ones, CASCADE_LONG=1 all of up
 * to four, in some minutes on all processors. CASCADE_SCOPE=SETTING/STRING[/BOUNDARY[/IMAGE]]: that one
 * alone; a '?' in STRING stands for any letter.
 */
#include "test.h"

#include <string.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "sim/child.h"
#include "sim/chooser.h"
#include "sim/small_scope.h"

enum {
	LENGTH_MAX = 4,
	LENGTH = SANITIZED ? 1 : 2, /* strings of up to so many operations: all */
	LENGTH_LONG = SANITIZED ? 2 : LENGTH_MAX,
	SAMPLES = SANITIZED ? 1 : 5, /* of each longer length, from each start */
	SAMPLES_TEST_LONG = 10 * SAMPLES,
	WORKERS_MAX = 16,
	STRING_SECONDS = 120,
};

#define SEED 1

/* --- the chooser --- */

/* Three questions; how many answers the third has depends on the first. */
static void the_chooser_tells_each_sequence_once(void **state)
{
	(void)state;
	struct chooser chooser;
	unsigned seen[2][3][4] = { 0 };
	unsigned count = 0;
	chooser_begin(&chooser);
	do {
		uint32_t a = chooser_choose(&chooser, 2);
		uint32_t b = chooser_choose(&chooser, 3);
		uint32_t c = a == 0 ? chooser_choose(&chooser, 4) : 0;
		if (count == 0)
			assert_int_equal(chooser_width(&chooser), 24);
		seen[a][b][c]++;
		count++;
	} while (chooser_next(&chooser));
	assert_int_equal(count, 3 * 4 + 3);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned j = 0; j < 4; j++)
			assert_int_equal(seen[0][i][j], 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(seen[1][i][0], 1);
}

static void the_chooser_says_when_it_is_too_much(void **state)
{
	(void)state;
	struct chooser chooser;
	chooser_begin(&chooser);
	for (unsigned i = 0; i < CHOOSER_DEPTH_MAX - 1; i++)
		assert_int_equal(chooser_choose(&chooser, 2), 0);
	assert_true(chooser_width(&chooser) == UINT64_C(1) << (CHOOSER_DEPTH_MAX - 1));
	assert_int_equal(chooser_choose(&chooser, 2), 0);
	assert_true(chooser_width(&chooser) == UINT64_MAX);
	assert_int_equal(chooser_choose(&chooser, 2), 0);
	assert_true(chooser_width(&chooser) == UINT64_MAX);
}

/* --- strings --- */

/* What a worker leaves behind, however it ends. */
struct shared {
	struct scope_counts counts;
	char where[SCOPE_WHERE_BYTES];
};

struct worker {
	struct child child;
	unsigned index, count; /* of the workers */
	unsigned length;       /* all strings up to it */
	unsigned samples;      /* of each length between */
	uint64_t seed;
	struct shared *shared;
};

static void make_string(char *string, unsigned length, uint64_t number)
{
	for (unsigned i = 0; i < length; i++) {
		string[i] = SCOPE_LETTERS[number % SCOPE_LETTER_COUNT];
		number /= SCOPE_LETTER_COUNT;
	}
	string[length] = '\0';
}

static uint64_t count_strings(unsigned length)
{
	uint64_t count = 1;
	for (unsigned i = 0; i < length; i++)
		count *= SCOPE_LETTER_COUNT;
	return count;
}

static void run_string(const struct worker *worker, struct scope *scope, unsigned length, uint64_t number)
{
	char string[SCOPE_LENGTH_MAX + 1];
	if (number % worker->count != worker->index)
		return;
	make_string(string, length, number);
	child_alive(STRING_SECONDS);
	(void)scope_run(scope, string, &(struct scope_limits) { 0 });
}

static void run_setting(const struct worker *worker, unsigned setting)
{
	struct scope *scope = scope_create(&scope_settings[setting], worker->seed, &worker->shared->counts,
					   worker->shared->where);
	for (unsigned length = 0; length <= worker->length; length++)
		for (uint64_t number = 0; number < count_strings(length); number++)
			run_string(worker, scope, length, number);
	for (unsigned length = worker->length + 1; length <= LENGTH_MAX; length++)
		for (unsigned i = 0; i < worker->samples; i++)
			run_string(
				worker, scope, length,
				random_at(worker->seed, (length * SCOPE_SETTING_COUNT + setting) * 1000 + i) %
					count_strings(length));
	scope_destroy(scope);
}

static void run_worker(void *context)
{
	const struct worker *worker = context;
	for (unsigned setting = 0; setting < SCOPE_SETTING_COUNT; setting++)
		run_setting(worker, setting);
}

static void fail_at(const char *where, const char *failure)
{
	fail_msg("%s\nreproduce: CASCADE_TEST_SEED=%llu CASCADE_SCOPE=%s small_scope_test", failure,
		 (unsigned long long)test_seed(SEED), where);
}

static struct scope_counts run_workers(struct worker *workers, unsigned count)
{
	struct scope_counts sum = { 0 };
	bool well = true;
	for (unsigned i = 0; i < count; i++) {
		workers[i].index = i;
		workers[i].count = count;
		workers[i].shared = child_share(sizeof(*workers[i].shared));
		child_start(&workers[i].child, run_worker, &workers[i]);
	}
	for (unsigned i = 0; i < count; i++) {
		if (!child_wait(&workers[i].child)) {
			well = false;
			print_error("%s: %s\n", workers[i].shared->where, workers[i].child.failure);
		}
		scope_counts_add(&sum, &workers[i].shared->counts);
	}
	for (unsigned i = 0; i < count && !well; i++)
		if (workers[i].child.failure[0] != '\0')
			fail_at(workers[i].shared->where, workers[i].child.failure);
	return sum;
}

static bool is_set(const char *name)
{
	const char *text = getenv(name);
	return text != NULL && strcmp(text, "1") == 0;
}

static void every_crash_inside_short_strings(void **state)
{
	(void)state;
	struct worker workers[WORKERS_MAX];
	unsigned count = 1;
	unsigned length = LENGTH;
	unsigned samples = SAMPLES;
	if (is_set("CASCADE_LONG") || is_set("CASCADE_TEST_LONG")) {
		long processors = sysconf(_SC_NPROCESSORS_ONLN);
		length = is_set("CASCADE_LONG") ? LENGTH_LONG : LENGTH;
		samples = SAMPLES_TEST_LONG;
		count = processors > WORKERS_MAX ? WORKERS_MAX : processors > 0 ? (unsigned)processors : 1;
	}
	uint64_t seed = test_seed(SEED);
	for (unsigned i = 0; i < count; i++)
		workers[i] = (struct worker) { .length = length, .samples = samples, .seed = seed };
	print_message("all strings of up to %u operations, longer ones by seed %llu\n", length,
		      (unsigned long long)seed);
	struct scope_counts counts = run_workers(workers, count);
	scope_counts_print(&counts, stdout);
	uint64_t strings = 0;
	for (unsigned i = 0; i <= LENGTH_MAX; i++)
		strings += i <= length ? count_strings(i) : samples;
	assert_int_equal(counts.strings, strings * SCOPE_SETTING_COUNT);
	assert_true(counts.boundaries > 8 * counts.strings);
	assert_true(counts.images_process > 20 * counts.strings);
	assert_true(counts.images_power > 60 * counts.strings);
	assert_true(counts.enumerated > counts.sampled);
	assert_true(counts.duplicates > counts.recovered);
	assert_true(counts.recovered > 25 * counts.strings);
	assert_true(counts.again > 2 * counts.strings);
	assert_true(counts.used > 4 * counts.strings);
	assert_true(counts.more > 5 * counts.strings);
	assert_true(counts.less > 10 * counts.strings);
	assert_true(counts.torn_tails > 5 * counts.strings);
	assert_true(counts.flushes > counts.strings / 4);
	assert_true(counts.merges > counts.strings / 10);
	assert_true(counts.laps > counts.strings);
}

/* --- what makes it enough to look at the last operation --- */

static void run_with_and_without_images(void *context)
{
	static const char *const strings[] = { "", "P", "LF", "FBW", "PRL", "KP", "LKB" };
	static const struct scope_limits none = { .boundary = UINT32_MAX };
	const struct worker *worker = context;
	struct scope_counts *counts = &worker->shared->counts;
	for (unsigned setting = 0; setting < SCOPE_SETTING_COUNT; setting++) {
		struct scope *scope =
			scope_create(&scope_settings[setting], worker->seed, counts, worker->shared->where);
		for (unsigned i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
			uint64_t images = counts->images_power;
			uint64_t trace = scope_run(scope, strings[i], &none);
			SIM_CHECK(counts->images_power == images);
			SIM_CHECK(scope_run(scope, strings[i], &(struct scope_limits) { 0 }) == trace);
			SIM_CHECK(counts->images_power > images);
		}
		scope_destroy(scope);
	}
}

static void images_change_nothing(void **state)
{
	(void)state;
	struct worker worker = { .seed = test_seed(SEED), .shared = child_share(sizeof(*worker.shared)) };
	child_start(&worker.child, run_with_and_without_images, &worker);
	if (!child_wait(&worker.child))
		fail_at(worker.shared->where, worker.child.failure);
}

/* --- those that are asked for --- */

struct one {
	char text[SCOPE_WHERE_BYTES];  /* as it was asked for */
	char where[SCOPE_WHERE_BYTES]; /* what is being checked */
	struct scope_counts counts;
};

/* In the string each '?' stands for any letter. */
static void fill_pattern(char *string, const char *pattern, uint64_t number)
{
	for (; *pattern != '\0'; pattern++, string++) {
		*string = *pattern;
		if (*pattern != '?')
			continue;
		*string = SCOPE_LETTERS[number % SCOPE_LETTER_COUNT];
		number /= SCOPE_LETTER_COUNT;
	}
	*string = '\0';
}

static unsigned count_any(const char *pattern)
{
	unsigned count = 0;
	for (; *pattern != '\0'; pattern++)
		count += *pattern == '?';
	return count;
}

static void run_one(void *context)
{
	struct one *one = context;
	char name[SCOPE_WHERE_BYTES] = "";
	char pattern[SCOPE_LENGTH_MAX + 1] = "";
	char string[SCOPE_LENGTH_MAX + 1];
	struct scope_limits limits = { 0 };
	(void)sscanf(one->text, "%95[^/]/%8[^/]/%u/%u", name, pattern, &limits.boundary, &limits.image);
	const struct scope_setting *setting = scope_find_setting(name);
	if (setting == NULL)
		sim_fail("CASCADE_SCOPE: there is no setting '%s'", name);
	if (strcmp(pattern, "-") == 0)
		pattern[0] = '\0';
	struct scope *scope = scope_create(setting, test_seed(SEED), &one->counts, one->where);
	for (uint64_t number = 0; number < count_strings(count_any(pattern)); number++) {
		fill_pattern(string, pattern, number);
		child_alive(STRING_SECONDS);
		(void)scope_run(scope, string, &limits);
	}
	scope_destroy(scope);
}

static void what_was_asked_for(void **state)
{
	(void)state;
	struct child child;
	struct one *one = child_share(sizeof(*one));
	(void)snprintf(one->text, sizeof(one->text), "%s", getenv("CASCADE_SCOPE"));
	child_start(&child, run_one, one);
	if (!child_wait(&child))
		fail_at(one->where, child.failure);
	scope_counts_print(&one->counts, stdout);
	assert_true(one->counts.recovered > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_chooser_tells_each_sequence_once),
		cmocka_unit_test(the_chooser_says_when_it_is_too_much),
		cmocka_unit_test(images_change_nothing),
		cmocka_unit_test(every_crash_inside_short_strings),
	};
	const struct CMUnitTest one[] = {
		cmocka_unit_test(what_was_asked_for),
	};
	if (getenv("CASCADE_SCOPE") != NULL)
		return cmocka_run_group_tests(one, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
