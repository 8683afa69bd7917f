#include "harness/bench/bench_run.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "cascade.h"
#include "harness/allocate.h"
#include "harness/folder.h"

enum { PATH_BYTES = 4096, VARIANTS_MAX = 64 };

/* --- what is chosen --- */

bool bench_is_chosen(const struct bench_options *options, const struct bench_measure *measure)
{
	for (size_t i = 0; i < options->only_count; i++) {
		if (strcmp(options->only[i], measure->name) == 0)
			return true;
	}
	return options->only_count == 0;
}

uint32_t bench_repeats(const struct bench_options *options, const struct bench_measure *measure)
{
	if (options->repeats > 0)
		return options->repeats;
	return measure->once ? 1 : BENCH_REPEATS_DEFAULT;
}

static bool variant_is_chosen(const struct bench_options *options, const char *name)
{
	for (size_t i = 0; i < options->variant_count; i++) {
		if (strcmp(options->variants[i], name) == 0)
			return true;
	}
	return options->variant_count == 0;
}

size_t bench_variants(const struct bench_options *options, const char **variants, size_t capacity)
{
	const cascade_component_info *components;
	size_t count = 0;
	if (!options->kind->has_variants) {
		variants[0] = NULL;
		return 1;
	}
	size_t component_count = cascade_component_list(&components);
	for (size_t i = 0; i < component_count && count < capacity; i++) {
		if (strcmp(components[i].kind, options->kind->name) == 0 &&
		    variant_is_chosen(options, components[i].name))
			variants[count++] = components[i].name;
	}
	return count;
}

/* --- what comes of it --- */

static void add_sample(struct bench_results *results, const struct bench_sample *sample)
{
	if (results->sample_count == results->sample_capacity) {
		results->sample_capacity = 2 * results->sample_capacity + 64;
		results->samples = allocate_resize(results->samples,
						   results->sample_capacity * sizeof(*results->samples));
	}
	results->samples[results->sample_count++] = *sample;
}

static bool is_known(const struct bench_results *results, const struct bench_remark *remark)
{
	for (size_t i = 0; i < results->remark_count; i++) {
		const struct bench_remark *known = &results->remarks[i];
		if (known->measure == remark->measure && known->side == remark->side &&
		    known->variant == remark->variant && strcmp(known->text, remark->text) == 0)
			return true;
	}
	return false;
}

static void add_remark(struct bench_results *results, const struct bench_remark *remark)
{
	if (is_known(results, remark))
		return;
	if (results->remark_count == results->remark_capacity) {
		results->remark_capacity = 2 * results->remark_capacity + 16;
		results->remarks = allocate_resize(results->remarks,
						   results->remark_capacity * sizeof(*results->remarks));
	}
	results->remarks[results->remark_count++] = *remark;
}

void bench_results_free(struct bench_results *results)
{
	memory_free(results->samples);
	memory_free(results->remarks);
	*results = (struct bench_results) { .options = NULL };
}

/* --- one measure --- */

/* A measure of one variant while it is made. */
struct making {
	const struct bench_options *options;
	struct bench_results *results;
	const struct bench_measure *measure;
	const char *variant;
	const char *scratch;
	bool given_up[BENCH_SIDES_MAX]; /* it cannot be measured, and is asked no more */
};

static bool is_stopped(const struct bench_options *options)
{
	return options->stop != NULL && *options->stop != 0;
}

static void note(struct making *making, unsigned side, struct status status, const char *notice)
{
	struct bench_remark remark = { .measure = making->measure, .variant = making->variant, .side = side };
	if (notice[0] != '\0') {
		(void)snprintf(remark.text, sizeof(remark.text), "%s", notice);
		add_remark(making->results, &remark);
	}
	if (status_is_ok(status) || is_stopped(making->options))
		return;
	status_describe(status, remark.text, sizeof(remark.text));
	remark.is_unsupported = status_is(status, STATUS_UNSUPPORTED);
	remark.is_failure = !remark.is_unsupported;
	making->results->failed = making->results->failed || remark.is_failure;
	add_remark(making->results, &remark);
}

static struct bench_job job_of(const struct making *making, uint32_t repetition)
{
	return (struct bench_job) {
		.scratch = making->scratch,
		.kept = making->options->kept,
		.variant = making->variant,
		.seed = random_at(making->options->seed, repetition),
		.file_bytes = making->options->file_bytes,
		.quick = making->options->quick,
	};
}

static void run_side(struct making *making, unsigned side, uint32_t repetition)
{
	struct bench_job job = job_of(making, repetition);
	struct bench_sample sample = {
		.measure = making->measure,
		.variant = making->variant,
		.side = side,
		.repetition = repetition,
		.order = (uint32_t)making->results->sample_count + 1,
	};
	job.parameter = making->measure->sides[side].parameter;
	uint64_t start = clock_now_ns();
	struct status status =
		bench_child_run(making->measure, &making->measure->sides[side], &job, sample.numbers);
	sample.seconds = (double)(clock_now_ns() - start) * 1e-9;
	note(making, side, status, job.notice);
	making->given_up[side] = !status_is_ok(status);
	if (status_is_ok(status))
		add_sample(making->results, &sample);
}

/* Fisher and Yates; which measure it is takes part, so that no two have the same orders. */
static void shuffle(unsigned *order, unsigned count, uint64_t seed, const char *name)
{
	for (; *name != '\0'; name++)
		seed = random_mix(seed + (unsigned char)*name);
	struct random random = random_stream(seed);
	for (unsigned i = 0; i < count; i++)
		order[i] = i;
	for (unsigned i = count; i > 1; i--) {
		unsigned other = (unsigned)random_below(&random, i);
		unsigned kept = order[i - 1];
		order[i - 1] = order[other];
		order[other] = kept;
	}
}

static void run_repetition(struct making *making, uint32_t repetition)
{
	unsigned order[BENCH_SIDES_MAX];
	unsigned count = making->measure->side_count;
	shuffle(order, count, making->options->seed + repetition, making->measure->name);
	for (unsigned i = 0; i < count && !is_stopped(making->options); i++) {
		if (!making->given_up[order[i]])
			run_side(making, order[i], repetition);
	}
}

static void make_measure(struct making *making)
{
	const struct bench_measure *measure = making->measure;
	uint32_t repeats = bench_repeats(making->options, measure);
	if (measure->prepare != NULL) {
		struct bench_job job = job_of(making, 0);
		double numbers[BENCH_NUMBERS_MAX];
		struct status status = bench_child_run(measure, NULL, &job, numbers);
		for (unsigned side = 0; side < measure->side_count && !status_is_ok(status); side++)
			note(making, side, status, "");
		if (!status_is_ok(status))
			return;
	}
	for (uint32_t repetition = 1; repetition <= repeats && !is_stopped(making->options); repetition++)
		run_repetition(making, repetition);
}

static struct status make_in_folder(struct making *making)
{
	char scratch[PATH_BYTES];
	if (snprintf(scratch, sizeof(scratch), "%s/%s", making->options->scratch, making->measure->name) >=
	    (int)sizeof(scratch))
		return status_error(STATUS_IO, "the path of the scratch folder is too long");
	making->scratch = scratch;
	int error = folder_make(scratch);
	if (error != 0)
		return status_from_errno(error, "cannot create", scratch);
	make_measure(making);
	error = folder_remove(scratch);
	return error != 0 ? status_from_errno(error, "cannot remove", scratch) : status_ok();
}

/* --- all of them --- */

static void print_progress(const struct bench_options *options, const struct making *making, uint64_t start)
{
	if (options->quiet)
		return;
	(void)fprintf(stderr, "%s%s%s: %u sides, %u repetitions, %.1f s\n", making->measure->name,
		      making->variant != NULL ? " of " : "", making->variant != NULL ? making->variant : "",
		      making->measure->side_count, bench_repeats(options, making->measure),
		      (double)(clock_now_ns() - start) * 1e-9);
}

static struct status run_variant(const struct bench_options *options, struct bench_results *results,
				 const char *variant)
{
	for (size_t i = 0; options->kind->measures[i] != NULL && !is_stopped(options); i++) {
		struct making making = { .options = options,
					 .results = results,
					 .measure = options->kind->measures[i],
					 .variant = variant };
		if (!bench_is_chosen(options, making.measure))
			continue;
		uint64_t start = clock_now_ns();
		TRY(make_in_folder(&making));
		print_progress(options, &making, start);
	}
	return status_ok();
}

struct status bench_run(const struct bench_options *options, struct bench_results *results)
{
	const char *variants[VARIANTS_MAX];
	size_t count = bench_variants(options, variants, VARIANTS_MAX);
	*results = (struct bench_results) { .options = options };
	int error = folder_make(options->kept);
	if (error != 0)
		return status_from_errno(error, "cannot create", options->kept);
	struct status status = status_ok();
	for (size_t i = 0; i < count && status_is_ok(status); i++)
		status = run_variant(options, results, variants[i]);
	error = folder_remove(options->scratch);
	if (error != 0)
		status_keep_first(&status, status_from_errno(error, "cannot remove", options->scratch));
	results->stopped = is_stopped(options);
	return status;
}
