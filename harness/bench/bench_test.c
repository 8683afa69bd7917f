/*
 * The frame of `cascade bench` on a kind made up for the purpose: how sides are run, what is made of their
 * numbers, and what a run leaves behind. No side measures time. About a second.
 */
#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "components/memtable/memtable.h"
#include "harness/bench/bench_report.h"
#include "harness/bench/bench_timing.h"
#include "harness/folder.h"
#include "harness/json_reader.h"
#include "test.h"

enum { TEXT_BYTES = 1 << 16, PATH_BYTES = 512 };

static char folder[] = "/tmp/cascade-bench-XXXXXX";
static char kept[PATH_BYTES], scratch[PATH_BYTES];

/* --- a kind --- */

static struct status run_parameter(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	numbers[0] = (double)job->parameter;
	numbers[1] = (double)getpid();
	return status_ok();
}

static struct status run_seed(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	numbers[0] = (double)(job->seed >> 40);
	numbers[1] = (double)getpid();
	return status_ok();
}

static struct status run_absent(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	(void)job;
	numbers[0] = 17; /* does not count */
	return status_error(STATUS_UNSUPPORTED, "the tool is not installed");
}

static struct status run_failing(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	(void)job;
	(void)numbers;
	return status_error(STATUS_IO, "the device is gone");
}

static struct status run_dying(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	(void)job;
	(void)numbers;
	(void)raise(SIGKILL);
	return status_ok();
}

static struct status run_noticing(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	(void)snprintf(job->notice, sizeof(job->notice), "it is dark");
	numbers[0] = 5;
	return status_ok();
}

/* Looks for what the preparation has left. */
static struct status run_looking(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	char path[2 * PATH_BYTES];
	(void)snprintf(path, sizeof(path), "%s/prepared", job->scratch);
	numbers[0] = access(path, F_OK) == 0 ? 1 : 0;
	numbers[1] = job->quick;
	return status_ok();
}

static struct status prepare_file(struct bench_job *job)
{
	char path[2 * PATH_BYTES];
	(void)snprintf(path, sizeof(path), "%s/prepared", job->scratch);
	FILE *file = fopen(path, "w");
	return file != NULL && fclose(file) == 0 ? status_ok() : status_make(STATUS_IO);
}

static struct status prepare_nothing(struct bench_job *job)
{
	(void)job;
	return status_error(STATUS_NO_SPACE, "no room for the file");
}

static const struct bench_side plain_sides[] = {
	{ "three", run_parameter, 3 },
	{ "four", run_parameter, 4 },
	{ "seed", run_seed, 0 },
	{ "more", run_parameter, 9 },
};
static const struct bench_claim plain_claims[] = {
	{ "plain.most", "three quarters are at most one", 0, 1, 0, BENCH_RATIO_AT_MOST, 1 },
	{ "plain.least", "three quarters are not at least one", 0, 1, 0, BENCH_RATIO_AT_LEAST, 1 },
	{ "plain.any", "the other way round", 1, 0, 0, BENCH_NO_BOUND, 0 },
};
static const struct bench_measure plain = {
	.name = "plain",
	.summary = "numbers that are given",
	.numbers = { { "value_ns", BENCH_NANOSECONDS }, { "process", BENCH_BYTES } },
	.sides = plain_sides,
	.side_count = 4,
	.claims = plain_claims,
	.claim_count = 3,
};

static const struct bench_side broken_sides[] = {
	{ "noticing", run_noticing, 0 },
	{ "absent", run_absent, 0 },
	{ "failing", run_failing, 0 },
	{ "dying", run_dying, 0 },
};
static const struct bench_claim broken_claims[] = {
	{ "broken.absent", "against what is not there", 0, 1, 0, BENCH_RATIO_AT_MOST, 1 },
	{ "broken.failing", "against what fails", 0, 2, 0, BENCH_RATIO_AT_MOST, 1 },
	{ "broken.dying", "against what dies", 0, 3, 0, BENCH_RATIO_AT_MOST, 1 },
};
static const struct bench_measure broken = {
	.name = "broken",
	.summary = "sides that have no numbers",
	.numbers = { { "value_s", BENCH_PER_SECOND } },
	.sides = broken_sides,
	.side_count = 4,
	.claims = broken_claims,
	.claim_count = 3,
};

static const struct bench_side prepared_sides[] = { { "looking", run_looking, 0 },
						    { "one", run_parameter, 1 } };
static const struct bench_claim prepared_claims[] = {
	{ "prepared", "what was prepared is there", 0, 1, 0, BENCH_VALUE_AT_MOST, 1 },
};
static const struct bench_measure prepared = {
	.name = "prepared",
	.summary = "with a preparation",
	.once = true,
	.numbers = { { "bytes", BENCH_BYTES }, { "quick", BENCH_BYTES } },
	.sides = prepared_sides,
	.side_count = 2,
	.claims = prepared_claims,
	.claim_count = 1,
	.prepare = prepare_file,
};
static const struct bench_measure unprepared = {
	.name = "unprepared",
	.summary = "whose preparation fails",
	.numbers = { { "bytes", BENCH_BYTES } },
	.sides = prepared_sides,
	.side_count = 2,
	.claims = prepared_claims,
	.claim_count = 1,
	.prepare = prepare_nothing,
};

static const struct bench_measure *const measures[] = { &plain, &broken, &prepared, &unprepared, NULL };
static const struct bench_kind kind = { .name = "made-up", .summary = "for a test", .measures = measures };

static struct bench_options options_for(const struct bench_measure *measure, uint32_t repeats)
{
	return (struct bench_options) {
		.kind = &kind,
		.only = { measure->name },
		.only_count = 1,
		.repeats = repeats,
		.quiet = true,
		.seed = test_seed(77),
		.kept = kept,
		.scratch = scratch,
	};
}

/* --- running --- */

static void test_every_side_runs_in_each_repetition(void **state)
{
	(void)state;
	struct bench_options options = options_for(&plain, 12);
	struct bench_results results;
	bool orders_differ = false;
	assert_ok(bench_run(&options, &results));
	assert_int_equal(results.sample_count, 48);
	assert_false(results.failed);
	for (size_t i = 0; i < results.sample_count; i++) {
		const struct bench_sample *sample = &results.samples[i];
		assert_ptr_equal(sample->measure, &plain);
		assert_int_equal(sample->order, i + 1);
		assert_int_equal(sample->repetition, i / 4 + 1);
		orders_differ = orders_differ || sample->side != results.samples[i % 4].side;
		for (size_t k = i / 4 * 4; k < i; k++)
			assert_int_not_equal(results.samples[k].side, sample->side);
		/* A process of its own each. */
		assert_true(sample->numbers[1] != (double)getpid());
		assert_true(i == 0 || sample->numbers[1] != results.samples[i - 1].numbers[1]);
		assert_true(isnan(sample->numbers[2]));
		if (sample->side == 1)
			assert_true(sample->numbers[0] == 4);
	}
	assert_true(orders_differ);
	assert_int_not_equal(access(scratch, F_OK), 0);
	bench_results_free(&results);
}

static void test_repetitions_differ_in_their_seed(void **state)
{
	(void)state;
	struct bench_options options = options_for(&plain, 3);
	struct bench_results results;
	double seeds[3] = { 0 };
	assert_ok(bench_run(&options, &results));
	for (size_t i = 0; i < results.sample_count; i++) {
		if (results.samples[i].side == 2)
			seeds[results.samples[i].repetition - 1] = results.samples[i].numbers[0];
	}
	assert_true(seeds[0] != seeds[1]);
	assert_true(seeds[1] != seeds[2]);
	bench_results_free(&results);
}

static const struct bench_remark *remark_of(const struct bench_results *results, unsigned side)
{
	const struct bench_remark *found = NULL;
	for (size_t i = 0; i < results->remark_count; i++) {
		if (results->remarks[i].side != side)
			continue;
		assert_null(found); /* said once, however often it happened */
		found = &results->remarks[i];
	}
	return found;
}

static void test_sides_without_numbers(void **state)
{
	(void)state;
	struct bench_options options = options_for(&broken, 2);
	struct bench_results results;
	struct bench_row *rows;
	size_t count;
	assert_ok(bench_run(&options, &results));
	assert_true(results.failed);
	assert_int_equal(results.sample_count, 2);
	assert_string_equal(remark_of(&results, 0)->text, "it is dark");
	assert_false(remark_of(&results, 0)->is_failure);
	assert_true(remark_of(&results, 1)->is_unsupported);
	assert_false(remark_of(&results, 1)->is_failure);
	assert_string_equal(remark_of(&results, 2)->text, "the device is gone");
	assert_true(remark_of(&results, 2)->is_failure);
	assert_non_null(strstr(remark_of(&results, 3)->text, "signal 9"));
	bench_judge(&results, &rows, &count);
	assert_int_equal(count, 3);
	assert_string_equal(rows[0].missing, "the tool is not installed");
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(rows[i].verdict, BENCH_SAYS_NOTHING);
		assert_int_equal(rows[i].ours.count, 2);
		assert_int_equal(rows[i].reference.count, 0);
		assert_true(isnan(rows[i].ratio));
	}
	memory_free(rows);
	bench_results_free(&results);
}

static void test_preparation(void **state)
{
	(void)state;
	struct bench_options options = options_for(&prepared, 0);
	struct bench_results results;
	assert_ok(bench_run(&options, &results));
	assert_int_equal(results.sample_count, 2); /* once, unless more are asked for */
	for (size_t i = 0; i < results.sample_count; i++) {
		assert_true(results.samples[i].numbers[0] == 1);
		if (results.samples[i].side == 0)
			assert_true(results.samples[i].numbers[1] == 0);
	}
	bench_results_free(&results);

	options = options_for(&unprepared, 2);
	assert_ok(bench_run(&options, &results));
	assert_int_equal(results.sample_count, 0);
	assert_true(results.failed);
	assert_string_equal(remark_of(&results, 0)->text, "no room for the file");
	bench_results_free(&results);
}

static void test_stop(void **state)
{
	(void)state;
	static volatile int stop = 1;
	struct bench_options options = options_for(&plain, 5);
	struct bench_results results;
	options.stop = &stop;
	assert_ok(bench_run(&options, &results));
	assert_true(results.stopped);
	assert_int_equal(results.sample_count, 0);
	bench_results_free(&results);
}

/* --- judging --- */

/* Numbers as they would have come from two sides of a measure with one claim. */
struct judged {
	struct bench_claim claim;
	struct bench_measure measure;
	const struct bench_measure *measures[2];
	struct bench_kind kind;
	struct bench_options options;
	struct bench_results results;
	struct bench_sample samples[32];
};

static void add_numbers(struct judged *judged, unsigned side, const double *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct bench_sample *sample = &judged->samples[judged->results.sample_count++];
		*sample = (struct bench_sample) { .measure = &judged->measure,
						  .side = side,
						  .repetition = (uint32_t)i + 1 };
		sample->numbers[0] = numbers[i];
	}
}

static struct bench_row judge(enum bench_bound bound, double limit, const double *ours, size_t ours_count,
			      const double *reference, size_t reference_count, bool once, bool quick)
{
	static struct judged judged;
	struct bench_row *rows, row;
	size_t count;
	judged = (struct judged) {
		.claim = { "judged", "a claim", 0, 1, 0, bound, limit },
		.measure = { .name = "judged",
			     .once = once,
			     .numbers = { { "time_ns", BENCH_NANOSECONDS } },
			     .sides = plain_sides,
			     .side_count = 2,
			     .claim_count = 1 },
		.kind = { .name = "judged" },
		.options = { .quick = quick },
	};
	judged.measure.claims = &judged.claim;
	judged.measures[0] = &judged.measure;
	judged.kind.measures = judged.measures;
	judged.options.kind = &judged.kind;
	judged.results.options = &judged.options;
	judged.results.samples = judged.samples;
	add_numbers(&judged, 0, ours, ours_count);
	add_numbers(&judged, 1, reference, reference_count);
	bench_judge(&judged.results, &rows, &count);
	assert_int_equal(count, 1);
	row = rows[0];
	memory_free(rows);
	return row;
}

static const double near_ten[] = { 10, 10.2, 9.9, 10.1, 10 };
static const double near_twelve[] = { 12, 12.1, 11.9, 12.2, 12 };
static const double wide[] = { 5, 20, 9, 14, 12 };

static enum bench_verdict verdict(enum bench_bound bound, double limit, const double *ours,
				  const double *reference)
{
	return judge(bound, limit, ours, 5, reference, 5, false, false).verdict;
}

static void test_verdicts(void **state)
{
	(void)state;
	struct bench_row row = judge(BENCH_RATIO_AT_MOST, 1.3, near_twelve, 5, near_ten, 5, false, false);
	assert_true(fabs(row.ratio - 1.2) < 1e-9);
	assert_true(row.interval.low > 1.15 && row.interval.low <= 1.2);
	assert_true(row.interval.high < 1.25 && row.interval.high >= 1.2);
	assert_true(row.ours.least == 11.9 && row.reference.most == 10.2);
	assert_int_equal(row.verdict, BENCH_HOLDS);
	assert_int_equal(verdict(BENCH_RATIO_AT_MOST, 1.1, near_twelve, near_ten), BENCH_BROKEN);
	assert_int_equal(verdict(BENCH_RATIO_AT_MOST, 1.2, near_twelve, near_ten), BENCH_UNCLEAR);
	assert_int_equal(verdict(BENCH_RATIO_AT_LEAST, 1.1, near_twelve, near_ten), BENCH_HOLDS);
	assert_int_equal(verdict(BENCH_RATIO_AT_LEAST, 1.3, near_twelve, near_ten), BENCH_BROKEN);
	assert_int_equal(verdict(BENCH_RATIO_AT_LEAST, 1, wide, near_ten), BENCH_UNCLEAR);
	assert_int_equal(verdict(BENCH_MORE_AT_MOST, 3, near_twelve, near_ten), BENCH_HOLDS);
	assert_int_equal(verdict(BENCH_MORE_AT_MOST, 1, near_twelve, near_ten), BENCH_BROKEN);
	assert_int_equal(verdict(BENCH_MORE_AT_MOST, 2, near_twelve, near_ten), BENCH_UNCLEAR);
	assert_int_equal(verdict(BENCH_VALUE_AT_MOST, 13, near_twelve, near_ten), BENCH_HOLDS);
	assert_int_equal(verdict(BENCH_VALUE_AT_MOST, 11, near_twelve, near_ten), BENCH_BROKEN);
	assert_int_equal(verdict(BENCH_VALUE_AT_LEAST, 11, near_twelve, near_ten), BENCH_HOLDS);
	assert_int_equal(verdict(BENCH_VALUE_AT_LEAST, 13, near_twelve, near_ten), BENCH_BROKEN);
	assert_int_equal(verdict(BENCH_NO_BOUND, 0, near_twelve, near_ten), BENCH_SAYS_NOTHING);
}

static void test_few_numbers_say_little(void **state)
{
	(void)state;
	const double one[] = { 12 }, other[] = { 10 };
	struct bench_row row = judge(BENCH_RATIO_AT_MOST, 1.3, one, 1, other, 1, false, false);
	assert_true(fabs(row.ratio - 1.2) < 1e-9);
	assert_true(isnan(row.interval.low));
	assert_int_equal(row.verdict, BENCH_SAYS_NOTHING);
	row = judge(BENCH_VALUE_AT_MOST, 13, one, 1, other, 1, true, false);
	assert_int_equal(row.verdict, BENCH_HOLDS);
	row = judge(BENCH_VALUE_AT_MOST, 11, one, 1, other, 1, true, false);
	assert_int_equal(row.verdict, BENCH_BROKEN);
	row = judge(BENCH_RATIO_AT_MOST, 1.3, near_twelve, 5, near_ten, 5, false, true);
	assert_int_equal(row.verdict, BENCH_SAYS_NOTHING);
	row = judge(BENCH_VALUE_AT_MOST, 13, near_twelve, 5, near_ten, 0, false, false);
	assert_int_equal(row.verdict, BENCH_HOLDS); /* its reference is for comparison only */
}

static void assert_number(enum bench_unit unit, double number, const char *expected)
{
	char text[64];
	assert_string_equal(bench_format_number(unit, number, text, sizeof(text)), expected);
}

static void test_texts(void **state)
{
	(void)state;
	char text[64];
	assert_number(BENCH_NANOSECONDS, 9.876, "9.88 ns");
	assert_number(BENCH_NANOSECONDS, 44100, "44.1 us");
	assert_number(BENCH_NANOSECONDS, 2.5e10, "25.0 s");
	assert_number(BENCH_PER_SECOND, 123456, "123 k/s");
	assert_number(BENCH_BYTES, 1288490188.8, "1.20 GiB");
	assert_number(BENCH_BYTES, NAN, "-");
	assert_number(BENCH_BYTES_PER_SECOND, 3.5 * 1048576, "3.50 MiB/s");
	assert_number(BENCH_SHARE, 0.0123, "1.23 %");
	assert_number(BENCH_FACTOR, 2.4567, "2.46");
	assert_number(BENCH_COUNT, 1234, "1234");
	assert_string_equal(bench_format_size(&(struct bench_measure) { .size_unit = BENCH_BYTES }, 3 << 19,
					      text, sizeof(text)),
			    "1.5 MiB");
	assert_string_equal(bench_format_size(&plain, 2000000, text, sizeof(text)), "2 M");
	assert_string_equal(bench_format_size(&plain, 0, text, sizeof(text)), "");
	struct bench_row row = judge(BENCH_MORE_AT_MOST, 250000, near_ten, 5, near_ten, 5, false, false);
	assert_string_equal(bench_format_bound(&row, text, sizeof(text)), "<= +250 us");
	row = judge(BENCH_RATIO_AT_LEAST, 1.5, near_ten, 5, near_ten, 5, false, false);
	assert_string_equal(bench_format_bound(&row, text, sizeof(text)), ">= 1.5");
	assert_true(bench_ratio_bound(&row) == 1.5);
	row = judge(BENCH_VALUE_AT_MOST, 20, near_ten, 5, near_ten, 5, false, false);
	assert_true(bench_ratio_bound(&row) == 2);
	row = judge(BENCH_NO_BOUND, 0, near_ten, 5, near_ten, 5, false, false);
	assert_true(isnan(bench_ratio_bound(&row)));
}

/* --- timing --- */

static void count_work(void *argument, uint64_t count)
{
	uint64_t *done = argument;
	*done += count;
}

static void test_timing(void **state)
{
	(void)state;
	uint64_t done = 0;
	uint64_t numbers[101];
	assert_true(bench_time_slices(count_work, &done, 1000, 3) >= 0);
	assert_int_equal(done, 4000); /* and one slice that warms up */
	for (uint64_t i = 0; i < 101; i++)
		numbers[i] = (i * 37) % 101;
	assert_true(bench_quantile(numbers, 101, 0.5) == 50);
	assert_true(bench_quantile(numbers, 101, 0.99) == 99);
	assert_true(bench_quantile(numbers, 101, 1) == 100);
	assert_true(bench_quantile(numbers, 1, 0.99) == 0);
	assert_true(isnan(bench_quantile(numbers, 0, 0.5)));
}

/* --- what a run leaves behind --- */

static size_t read_file(const char *directory, const char *name, char text[static TEXT_BYTES])
{
	char path[2 * PATH_BYTES];
	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "r");
	if (file == NULL)
		fail_msg("%s is not there", path);
	size_t size = fread(text, 1, TEXT_BYTES - 1, file);
	text[size] = '\0';
	assert_int_equal(fclose(file), 0);
	return size;
}

static void check_samples(const char *directory)
{
	static char text[TEXT_BYTES];
	struct arena arena;
	size_t lines = 0;
	arena_init(&arena, 1 << 16);
	(void)read_file(directory, "bench.jsonl", text);
	for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, lines++) {
		struct json *sample;
		assert_ok(json_parse(&arena, line, (size_t)(end - line), &sample));
		assert_string_equal(json_text_at(sample, "measure", ""), "plain");
		assert_true(json_number_at(sample, "schema_version", 0) == 1);
		assert_true(json_number_at(sample, "run_order", 0) == (double)lines + 1);
		if (strcmp(json_text_at(sample, "side", ""), "three") == 0)
			assert_true(json_number_at(sample, "numbers.value_ns", 0) == 3);
	}
	assert_int_equal(lines, 8);
	arena_free(&arena);
}

static void check_claims(const char *directory)
{
	static char text[TEXT_BYTES];
	struct arena arena;
	struct json *root;
	arena_init(&arena, 1 << 16);
	size_t size = read_file(directory, "claims.json", text);
	assert_ok(json_parse(&arena, text, size, &root));
	const struct json *claim = json_find(root, "claims")->first;
	assert_string_equal(json_text_at(claim, "name", ""), "plain.most");
	assert_true(json_number_at(claim, "ratio", 0) == 0.75);
	assert_true(json_number_at(claim, "ours.count", 0) == 2);
	assert_string_equal(json_text_at(claim, "reference.side", ""), "four");
	assert_string_equal(json_text_at(claim, "bound.kind", ""), "ratio_at_most");
	assert_string_equal(json_text_at(claim, "verdict", ""), "holds");
	assert_string_equal(json_text_at(claim->next, "verdict", ""), "broken");
	assert_int_equal(json_find(claim->next->next, "bound")->kind, JSON_NULL);
	arena_free(&arena);
	size = read_file(directory, "provenance.json", text);
	assert_true(size > 0);
}

static void check_picture(const struct bench_report *report)
{
	static char text[TEXT_BYTES];
	struct status status = bench_plot(report);
	if (!status_is(status, STATUS_UNSUPPORTED)) /* no gnuplot here */
		assert_ok(status);
	(void)read_file(report->directory, "plots/bench-made-up.dat", text);
	assert_non_null(strstr(text, "0 0.75 0.75 0.75 1\n"));
	(void)read_file(report->directory, "plots/bench-made-up.gp", text);
	assert_non_null(strstr(text, "plain.least  >= 1"));
}

static void test_files(void **state)
{
	(void)state;
	struct bench_options options = options_for(&plain, 2);
	struct bench_results results;
	struct bench_report report = { .results = &results };
	struct bench_row *rows;
	char *directory, *run, *text = NULL, link[2 * PATH_BYTES], target[PATH_BYTES] = "";
	size_t size;
	assert_ok(bench_run(&options, &results));
	bench_judge(&results, &rows, &report.row_count);
	assert_ok(bench_make_directory(&options, folder, &directory, &run));
	report.rows = rows;
	report.directory = directory;
	report.run = run;
	(void)snprintf(link, sizeof(link), "%s/bench-made-up/latest", folder);
	assert_true(readlink(link, target, sizeof(target) - 1) > 0);
	assert_string_equal(target, run);
	assert_ok(bench_write_files(&report));
	check_samples(directory);
	check_claims(directory);
	check_picture(&report);
	FILE *stream = open_memstream(&text, &size);
	bench_print_table(&report, stream);
	assert_int_equal(fclose(stream), 0);
	assert_non_null(strstr(text, "plain.least"));
	assert_non_null(strstr(text, "BROKEN"));
	assert_non_null(strstr(text, "1 of 2 bounds hold, 1 are broken"));
	assert_null(strstr(text, "variant"));
	memory_free(text);
	memory_free(rows);
	memory_free(directory);
	memory_free(run);
	bench_results_free(&results);
}

/* --- a kind of component is measured for each of its variants --- */

static struct status run_variant(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	numbers[0] = job->variant == NULL ? 0 : (double)strlen(job->variant);
	return status_ok();
}

static void test_variants(void **state)
{
	(void)state;
	static const struct bench_side sides[] = { { "length", run_variant, 0 },
						   { "one", run_parameter, 1 } };
	static const struct bench_claim claim = { "lengths", "of the name", 0, 1, 0, BENCH_NO_BOUND, 0 };
	static const struct bench_measure lengths = { .name = "lengths",
						      .numbers = { { "bytes", BENCH_BYTES } },
						      .sides = sides,
						      .side_count = 2,
						      .claims = &claim,
						      .claim_count = 1 };
	static const struct bench_measure *const list[] = { &lengths, NULL };
	static const struct bench_kind codecs = { .name = "codec", .measures = list, .has_variants = true };
	struct bench_options options = options_for(&lengths, 1);
	struct bench_results results;
	struct bench_row *rows;
	size_t count;
	const char *names[BENCH_VARIANTS_MAX];
	options.kind = &codecs;
	assert_true(bench_variants(&options, names) >= 2);
	options.variants[0] = "none";
	options.variants[1] = "lz4";
	options.variant_count = 2;
	assert_ok(bench_run(&options, &results));
	assert_int_equal(results.sample_count, 4);
	bench_judge(&results, &rows, &count);
	assert_int_equal(count, 6); /* and a value of each side of each variant */
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(rows[i].kind, BENCH_ROW_CLAIM);
		assert_int_equal(rows[i].ours.count, 1);
		assert_true(rows[i].ratio == (double)strlen(rows[i].ours_at.variant));
	}
	memory_free(rows);
	bench_results_free(&results);
}

/* --- and at several sizes, beside plain forms --- */

/* What it was asked for, as numbers: the size times the length of the variant's name. */
static struct status run_sized(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	numbers[0] = (double)job->size * (double)strlen(job->variant);
	numbers[1] = 1e9 / numbers[0];
	numbers[2] = (double)job->size;
	numbers[3] = (double)getpid();
	return status_ok();
}

static struct status run_shared(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	numbers[0] = (double)job->size * 2;
	numbers[3] = (double)getpid();
	return job->variant == NULL ? status_ok() : status_make(STATUS_INVALID);
}

static double limit_of(const char *variant)
{
	return strcmp(variant, "btree") == 0 ? 120 : NAN;
}

static const struct bench_side sized_sides[] = { { "ours", run_sized, 0 }, { "shared", run_shared, 0 } };
static const struct bench_claim sized_claims[] = {
	{ "sized.shared", "beside what knows no variants", 0, 1, 0, BENCH_RATIO_AT_MOST, 3 },
	{ "sized.value", "a value alone", 0, 0, 2, BENCH_VALUE_AT_LEAST, 500 },
};
static const struct bench_growth sized_growths[] = {
	{ "sized.growth", "from the first to the last", 0, 0, 2, limit_of },
};
static const struct bench_size sized_sizes[] = {
	{ .size = 1000, .quick = 10 },
	{ .size = 10000, .quick = 20, .repeats = 1 },
	{ .size = 100000, .quick = 30, .repeats = 3 },
};
static const struct bench_measure sized = {
	.name = "sized",
	.summary = "numbers that grow",
	.repeats = 2,
	.numbers = { { "time_ns", BENCH_NANOSECONDS },
		     { "ops_s", BENCH_PER_SECOND },
		     { "things", BENCH_COUNT },
		     { "process", BENCH_COUNT } },
	.compared_numbers = 3,
	.sides = sized_sides,
	.side_count = 2,
	.shared_sides = 1,
	.claims = sized_claims,
	.claim_count = 2,
	.bounds_of = "btree",
	.size_name = "things",
	.size_unit = BENCH_COUNT,
	.sizes = sized_sizes,
	.size_count = 3,
	.growths = sized_growths,
	.growth_count = 1,
};
static const struct bench_measure plainless = {
	.name = "plainless",
	.summary = "nothing of plain forms",
	.skips_plain = true,
	.numbers = { { "bytes", BENCH_BYTES } },
	.sides = sized_sides,
	.side_count = 1,
};
static const struct bench_measure *const sized_measures[] = { &sized, &plainless, NULL };
static const struct bench_kind memtables = {
	.name = "memtable", .summary = "for a test", .measures = sized_measures, .has_variants = true
};

/* Two variants and a plain form of one, which is registered once for all tests. */
static struct bench_options sized_options(void)
{
	static struct memtable_ops plain_skiplist;
	struct bench_options options = options_for(&sized, 0);
	if (plain_skiplist.component.name == NULL) {
		const struct component *found = component_find(COMPONENT_MEMTABLE, "skiplist");
		plain_skiplist = *(const struct memtable_ops *)(const void *)found;
		plain_skiplist.component.name = "plain_skiplist";
		assert_ok(component_register(COMPONENT_MEMTABLE, &plain_skiplist.component));
	}
	options.kind = &memtables;
	options.variants[0] = "btree";
	options.variants[1] = "skiplist";
	options.variants[2] = "plain_skiplist";
	options.variant_count = 3;
	return options;
}

static bool is_at(const struct bench_sample *sample, const char *variant, uint64_t size, uint32_t repetition)
{
	bool same = variant == NULL ? sample->variant == NULL
				    : sample->variant != NULL && strcmp(sample->variant, variant) == 0;
	return same && sample->size == size && sample->repetition == repetition;
}

static size_t samples_at(const struct bench_results *results, const char *variant, uint64_t size,
			 uint32_t repetition)
{
	size_t count = 0;
	for (size_t i = 0; i < results->sample_count; i++)
		count += is_at(&results->samples[i], variant, size, repetition);
	return count;
}

static void test_variants_and_sizes_are_interleaved(void **state)
{
	(void)state;
	static const char *const variants[] = { "btree", "skiplist", "plain_skiplist", NULL };
	struct bench_options options = sized_options();
	struct bench_results results;
	size_t changes = 0;
	assert_ok(bench_run(&options, &results));
	assert_false(results.failed);
	/* Four cells at each of three sizes; at the second size only one repetition of the two. */
	assert_int_equal(results.sample_count, 4 * 5);
	for (uint32_t repetition = 1; repetition <= 2; repetition++) {
		for (size_t v = 0; v < 4; v++) {
			assert_int_equal(samples_at(&results, variants[v], 1000, repetition), 1);
			assert_int_equal(samples_at(&results, variants[v], 10000, repetition),
					 repetition == 1);
			assert_int_equal(samples_at(&results, variants[v], 100000, repetition), 1);
		}
	}
	for (size_t i = 0; i < results.sample_count; i++) {
		const struct bench_sample *sample = &results.samples[i];
		assert_int_equal(sample->side, sample->variant == NULL);
		assert_true(sample->numbers[3] != (double)getpid());
		changes += i >= 1 && i < 12 && sample->size != results.samples[i - 1].size;
		assert_int_equal(sample->repetition, i < 12 ? 1 : 2);
	}
	/* One size after the other would be two. */
	assert_true(changes > 2);
	bench_results_free(&results);

	options.repeats = 4; /* asked for: also of what is repeated less by itself */
	options.size_count = 1;
	options.sizes[0] = 10000;
	assert_ok(bench_run(&options, &results));
	assert_int_equal(results.sample_count, 16);
	assert_int_equal(samples_at(&results, "btree", 10000, 4), 1);
	bench_results_free(&results);

	options.quick = true;
	options.repeats = 1;
	assert_ok(bench_run(&options, &results));
	assert_int_equal(results.sample_count, 4);
	assert_int_equal(samples_at(&results, "skiplist", 20, 1), 1);
	bench_results_free(&results);
}

static const struct bench_row *row_of(const struct bench_row *rows, size_t count,
				      enum bench_row_kind row_kind, const char *name, const char *variant,
				      uint64_t size)
{
	for (size_t i = 0; i < count; i++) {
		if (rows[i].kind == row_kind && strcmp(rows[i].name, name) == 0 &&
		    strcmp(rows[i].ours_at.variant, variant) == 0 && rows[i].ours_at.size == size)
			return &rows[i];
	}
	return NULL;
}

static void check_claims_of_variants(const struct bench_row *rows, size_t count)
{
	const struct bench_row *row = row_of(rows, count, BENCH_ROW_CLAIM, "sized.shared", "btree", 1000);
	assert_non_null(row);
	assert_true(row->ratio == 2.5);
	assert_int_equal(row->verdict, BENCH_HOLDS);
	assert_null(row->reference_at.variant);
	/* Of the others it is not claimed; a value without a claim has no row. */
	row = row_of(rows, count, BENCH_ROW_CLAIM, "sized.shared", "skiplist", 1000);
	assert_true(row->ratio == 4);
	assert_int_equal(row->verdict, BENCH_SAYS_NOTHING);
	row = row_of(rows, count, BENCH_ROW_CLAIM, "sized.value", "btree", 1000);
	assert_int_equal(row->verdict, BENCH_HOLDS);
	assert_int_equal(row->reference.count, 0);
	assert_true(isnan(row->ratio));
	assert_null(row_of(rows, count, BENCH_ROW_CLAIM, "sized.value", "skiplist", 1000));
	row = row_of(rows, count, BENCH_ROW_GROWTH, "sized.growth", "btree", 100000);
	assert_true(row->ratio == 100);
	assert_int_equal(row->reference_at.size, 1000);
	assert_int_equal(row->verdict, BENCH_HOLDS);
	row = row_of(rows, count, BENCH_ROW_GROWTH, "sized.growth", "skiplist", 100000);
	assert_true(row->ratio == 100);
	assert_int_equal(row->bound, BENCH_NO_BOUND);
	assert_null(row_of(rows, count, BENCH_ROW_GROWTH, "sized.growth", "plain_skiplist", 100000));
}

static void check_values_of_variants(const struct bench_row *rows, size_t count)
{
	const struct bench_row *row = row_of(rows, count, BENCH_ROW_VALUE, "time_ns", "skiplist", 1000);
	assert_true(row->ratio == 8.0 / 5);
	assert_string_equal(row->reference_at.variant, "btree");
	row = row_of(rows, count, BENCH_ROW_VALUE, "time_ns", "btree", 1000);
	assert_true(row->ours.median == 5000);
	assert_false(row->has_reference);
	assert_false(row_of(rows, count, BENCH_ROW_VALUE, "process", "skiplist", 1000)->has_reference);
	row = row_of(rows, count, BENCH_ROW_PLAIN, "time_ns", "skiplist", 100000);
	assert_true(row->ratio == 8.0 / 14);
	assert_string_equal(row->reference_at.variant, "plain_skiplist");
	assert_int_equal(row->verdict, BENCH_HOLDS);
	row = row_of(rows, count, BENCH_ROW_PLAIN, "ops_s", "skiplist", 100000);
	assert_int_equal(row->bound, BENCH_RATIO_AT_LEAST);
	assert_int_equal(row->verdict, BENCH_HOLDS);
	/* More things are neither better nor worse, and btree has no plain form here. */
	assert_null(row_of(rows, count, BENCH_ROW_PLAIN, "things", "skiplist", 100000));
	assert_null(row_of(rows, count, BENCH_ROW_PLAIN, "time_ns", "btree", 100000));
}

static void test_rows_of_variants(void **state)
{
	(void)state;
	struct bench_options options = sized_options();
	struct bench_results results;
	struct bench_row *rows;
	size_t count;
	assert_ok(bench_run(&options, &results));
	bench_judge(&results, &rows, &count);
	check_claims_of_variants(rows, count);
	check_values_of_variants(rows, count);
	memory_free(rows);
	options.baseline = "skiplist";
	bench_judge(&results, &rows, &count);
	const struct bench_row *row = row_of(rows, count, BENCH_ROW_VALUE, "time_ns", "btree", 1000);
	assert_true(row->ratio == 5.0 / 8);
	assert_string_equal(row->reference_at.variant, "skiplist");
	memory_free(rows);
	bench_results_free(&results);
}

static void test_measures_may_skip_plain_forms(void **state)
{
	(void)state;
	struct bench_options options = sized_options();
	struct bench_results results;
	options.only[0] = "plainless";
	options.repeats = 1;
	assert_ok(bench_run(&options, &results));
	assert_int_equal(results.sample_count, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_false(bench_is_plain(results.samples[i].variant));
		assert_int_equal(results.samples[i].size, 0);
	}
	bench_results_free(&results);
}

static void check_size_pictures(const struct bench_report *report)
{
	static char text[TEXT_BYTES];
	struct status status = bench_plot(report);
	if (!status_is(status, STATUS_UNSUPPORTED)) /* no gnuplot here */
		assert_ok(status);
	(void)read_file(report->directory, "plots/bench-memtable-sized-time_ns.dat", text);
	assert_non_null(strstr(text, "# btree\n1000 5000 5000 5000\n10000 50000 "));
	assert_non_null(strstr(text, "# shared\n1000 2000 2000 2000\n"));
	(void)read_file(report->directory, "plots/bench-memtable-sized-time_ns.gp", text);
	assert_non_null(strstr(text, "set xtics (\"1 k\" 1000, \"10 k\" 10000, \"100 k\" 100000)"));
	assert_non_null(strstr(text, "title \"plain_skiplist\""));
	(void)read_file(report->directory, "plots/bench-memtable.gp", text);
	assert_non_null(strstr(text, "sized.growth btree at 100 k  <= 120"));
}

static void check_values_in_json(const char *directory)
{
	static char text[TEXT_BYTES];
	struct arena arena;
	struct json *root;
	size_t values = 0;
	arena_init(&arena, 1 << 16);
	size_t size = read_file(directory, "claims.json", text);
	assert_ok(json_parse(&arena, text, size, &root));
	assert_string_equal(json_text_at(root, "baseline", ""), "btree");
	for (const struct json *value = json_find(root, "values")->first; value != NULL;
	     value = value->next) {
		values++;
		assert_string_equal(json_text_at(value, "kind", ""), "value");
		if (strcmp(json_text_at(value, "variant", ""), "skiplist") == 0 &&
		    strcmp(json_text_at(value, "number", ""), "time_ns") == 0)
			assert_string_equal(json_text_at(value, "reference.variant", ""), "btree");
	}
	assert_int_equal(values, 3 * 3 * 4);
	const struct json *claim = json_find(root, "claims")->first;
	assert_string_equal(json_text_at(claim, "kind", ""), "claim");
	assert_true(json_number_at(claim, "size", 0) == 1000);
	arena_free(&arena);
}

static void test_files_of_variants(void **state)
{
	(void)state;
	struct bench_options options = sized_options();
	struct bench_results results;
	struct bench_report report = { .results = &results };
	struct bench_row *rows;
	char *directory, *run, *text = NULL;
	size_t size;
	assert_ok(bench_run(&options, &results));
	bench_judge(&results, &rows, &report.row_count);
	assert_ok(bench_make_directory(&options, folder, &directory, &run));
	report.rows = rows;
	report.directory = directory;
	report.run = run;
	assert_ok(bench_write_files(&report));
	check_values_in_json(directory);
	check_size_pictures(&report);
	FILE *stream = open_memstream(&text, &size);
	bench_print_table(&report, stream);
	assert_int_equal(fclose(stream), 0);
	assert_non_null(strstr(text, "sized: time_ns, and its ratio to that of btree\n"));
	assert_non_null(strstr(text, "skiplist        8.00 us    1.6"));
	assert_non_null(strstr(text, "sized: beside plain forms; times at most 1, rates at least 1\n"));
	assert_non_null(strstr(text, "time_ns  skiplist  0.571  holds"));
	assert_non_null(strstr(text, "at 1 k"));
	memory_free(text);
	memory_free(rows);
	memory_free(directory);
	memory_free(run);
	bench_results_free(&results);
}

/* --- the whole --- */

static int set_up(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
		return 1;
	(void)snprintf(kept, sizeof(kept), "%s/kept", folder);
	(void)snprintf(scratch, sizeof(scratch), "%s/scratch", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_side_runs_in_each_repetition),
		cmocka_unit_test(test_repetitions_differ_in_their_seed),
		cmocka_unit_test(test_sides_without_numbers),
		cmocka_unit_test(test_preparation),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_few_numbers_say_little),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_timing),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_variants),
		cmocka_unit_test(test_variants_and_sizes_are_interleaved),
		cmocka_unit_test(test_rows_of_variants),
		cmocka_unit_test(test_measures_may_skip_plain_forms),
		cmocka_unit_test(test_files_of_variants),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
