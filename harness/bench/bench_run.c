#include "harness/bench/bench_run.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "components/component.h"
#include "harness/allocate.h"
#include "harness/folder.h"

enum { PATH_BYTES = 4096 };

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
	if (measure->once)
		return 1;
	return measure->repeats > 0 ? measure->repeats : BENCH_REPEATS_DEFAULT;
}

static bool variant_is_chosen(const struct bench_options *options, const char *name)
{
	for (size_t i = 0; i < options->variant_count; i++) {
		if (strcmp(options->variants[i], name) == 0)
			return true;
	}
	return options->variant_count == 0;
}

/* The kind of component of that name. */
static enum component_kind component_kind_of(const char *name)
{
	unsigned kind = 0;
	while (strcmp(component_kind_name((enum component_kind)kind), name) != 0)
		kind++;
	return (enum component_kind)kind;
}

size_t bench_variants(const struct bench_options *options, const char *variants[BENCH_VARIANTS_MAX])
{
	size_t count = 0;
	if (!options->kind->has_variants) {
		variants[0] = NULL;
		return 1;
	}
	for (const struct component *const *row = component_list(component_kind_of(options->kind->name));
	     *row != NULL && count < BENCH_VARIANTS_MAX; row++) {
		if (variant_is_chosen(options, (*row)->name))
			variants[count++] = (*row)->name;
	}
	return count;
}

bool bench_is_plain(const char *variant)
{
	return variant != NULL && strncmp(variant, BENCH_PLAIN_PREFIX, strlen(BENCH_PLAIN_PREFIX)) == 0;
}

size_t bench_variants_of(const struct bench_options *options, const struct bench_measure *measure,
			 const char *variants[BENCH_VARIANTS_MAX])
{
	size_t all = bench_variants(options, variants), count = 0;
	for (size_t i = 0; i < all; i++) {
		if (!bench_is_plain(variants[i]) || !measure->skips_plain)
			variants[count++] = variants[i];
	}
	return count;
}

const char *bench_baseline(const struct bench_options *options)
{
	const char *variants[BENCH_VARIANTS_MAX];
	size_t count = bench_variants(options, variants);
	for (size_t i = 0; i < count && options->baseline != NULL && variants[i] != NULL; i++) {
		if (strcmp(variants[i], options->baseline) == 0)
			return variants[i];
	}
	return count > 0 ? variants[0] : NULL;
}

uint64_t bench_size_at(const struct bench_options *options, const struct bench_measure *measure,
		       unsigned index)
{
	ASSERT(index < measure->size_count);
	return options->quick ? measure->sizes[index].quick : measure->sizes[index].size;
}

static bool size_is_chosen(const struct bench_options *options, uint64_t size)
{
	for (size_t i = 0; i < options->size_count; i++) {
		if (options->sizes[i] == size)
			return true;
	}
	return options->size_count == 0;
}

size_t bench_sizes_of(const struct bench_options *options, const struct bench_measure *measure,
		      uint64_t sizes[BENCH_SIZES_MAX])
{
	size_t count = 0;
	ASSERT(measure->size_count <= BENCH_SIZES_MAX);
	for (unsigned i = 0; i < measure->size_count; i++) {
		if (size_is_chosen(options, measure->sizes[i].size))
			sizes[count++] = bench_size_at(options, measure, i);
	}
	if (measure->size_count > 0)
		return count;
	sizes[0] = 0;
	return 1;
}

/* Repetitions at that size. */
static uint32_t repeats_at(const struct bench_options *options, const struct bench_measure *measure,
			   uint64_t size)
{
	uint32_t repeats = bench_repeats(options, measure);
	for (unsigned i = 0; i < measure->size_count && options->repeats == 0; i++) {
		uint32_t most = measure->sizes[i].repeats;
		if (bench_size_at(options, measure, i) == size && most > 0 && most < repeats)
			repeats = most;
	}
	return repeats;
}

bool bench_side_has_variants(const struct bench_options *options, const struct bench_measure *measure,
			     unsigned side)
{
	return options->kind->has_variants && side + measure->shared_sides < measure->side_count;
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
		    known->variant == remark->variant && known->size == remark->size &&
		    strcmp(known->text, remark->text) == 0)
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

/* What is run once in a repetition: a side, of a variant, at a size. */
struct cell {
	unsigned side;
	const char *variant;
	uint64_t size;
	uint32_t repeats;
	bool given_up; /* it cannot be measured, and is asked no more */
};

/* A measure while it is made. */
struct making {
	const struct bench_options *options;
	struct bench_results *results;
	const struct bench_measure *measure;
	const char *scratch;
	struct cell *cells;
	unsigned cell_count;
	uint32_t repeats; /* the most of all cells */
};

static bool is_stopped(const struct bench_options *options)
{
	return options->stop != NULL && *options->stop != 0;
}

/* Sizes, variants and sides crossed; a shared side is there once at each size. */
static void make_cells(struct making *making)
{
	const struct bench_measure *measure = making->measure;
	const struct bench_options *options = making->options;
	const char *variants[BENCH_VARIANTS_MAX];
	uint64_t sizes[BENCH_SIZES_MAX];
	size_t variant_count = bench_variants_of(options, measure, variants);
	size_t size_count = bench_sizes_of(options, measure, sizes);
	making->cells = allocate_zeroed(size_count * (variant_count + 1) * measure->side_count + 1,
					sizeof(*making->cells));
	for (size_t at = 0; at < size_count; at++) {
		uint32_t repeats = repeats_at(options, measure, sizes[at]);
		making->repeats = repeats > making->repeats ? repeats : making->repeats;
		for (unsigned side = 0; side < measure->side_count; side++) {
			bool each = bench_side_has_variants(options, measure, side);
			for (size_t v = 0; v < (each ? variant_count : 1); v++)
				making->cells[making->cell_count++] =
					(struct cell) { side, each ? variants[v] : NULL, sizes[at], repeats,
							false };
		}
	}
}

static void note(struct making *making, const struct cell *cell, struct status status, const char *notice)
{
	struct bench_remark remark = {
		.measure = making->measure,
		.variant = cell->variant,
		.size = cell->size,
		.side = cell->side,
	};
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
		.seed = random_at(making->options->seed, repetition),
		.file_bytes = making->options->file_bytes,
		.quick = making->options->quick,
	};
}

static void run_cell(struct making *making, struct cell *cell, uint32_t repetition)
{
	struct bench_job job = job_of(making, repetition);
	struct bench_sample sample = {
		.measure = making->measure,
		.variant = cell->variant,
		.size = cell->size,
		.side = cell->side,
		.repetition = repetition,
		.order = (uint32_t)making->results->sample_count + 1,
	};
	job.variant = cell->variant;
	job.size = cell->size;
	job.parameter = making->measure->sides[cell->side].parameter;
	uint64_t start = clock_now_ns();
	struct status status =
		bench_child_run(making->measure, &making->measure->sides[cell->side], &job, sample.numbers);
	sample.seconds = (double)(clock_now_ns() - start) * 1e-9;
	note(making, cell, status, job.notice);
	cell->given_up = !status_is_ok(status);
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

static void print_repetition(const struct making *making, uint32_t repetition, uint64_t start)
{
	if (making->options->quiet || !making->options->kind->has_variants || is_stopped(making->options))
		return;
	(void)fprintf(stderr, "%s: repetition %u of %u, %.1f s\n", making->measure->name, repetition,
		      making->repeats, (double)(clock_now_ns() - start) * 1e-9);
}

static void run_repetition(struct making *making, uint32_t repetition)
{
	unsigned *order = allocate_zeroed(making->cell_count + 1, sizeof(*order));
	uint64_t start = clock_now_ns();
	shuffle(order, making->cell_count, making->options->seed + repetition, making->measure->name);
	for (unsigned i = 0; i < making->cell_count && !is_stopped(making->options); i++) {
		struct cell *cell = &making->cells[order[i]];
		if (!cell->given_up && repetition <= cell->repeats)
			run_cell(making, cell, repetition);
	}
	memory_free(order);
	print_repetition(making, repetition, start);
}

static void make_measure(struct making *making)
{
	const struct bench_measure *measure = making->measure;
	if (measure->prepare != NULL) {
		struct bench_job job = job_of(making, 0);
		double numbers[BENCH_NUMBERS_MAX];
		struct status status = bench_child_run(measure, NULL, &job, numbers);
		for (unsigned i = 0; i < making->cell_count && !status_is_ok(status); i++)
			note(making, &making->cells[i], status, "");
		if (!status_is_ok(status))
			return;
	}
	for (uint32_t i = 1; i <= making->repeats && !is_stopped(making->options); i++)
		run_repetition(making, i);
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
	make_cells(making);
	make_measure(making);
	memory_free(making->cells);
	error = folder_remove(scratch);
	return error != 0 ? status_from_errno(error, "cannot remove", scratch) : status_ok();
}

/* --- all of them --- */

/* "gets: 6 sides, 9 repetitions, 40.1 s"; "random: 5 variants, 4 sizes, 9 repetitions, 320.0 s" */
static void print_progress(const struct making *making, uint64_t start)
{
	const struct bench_options *options = making->options;
	const char *variants[BENCH_VARIANTS_MAX];
	uint64_t sizes[BENCH_SIZES_MAX];
	char text[BENCH_TEXT_BYTES];
	if (options->quiet)
		return;
	int used = snprintf(text, sizeof(text), "%u sides", making->measure->side_count);
	if (options->kind->has_variants)
		used += snprintf(text + used, sizeof(text) - (size_t)used, ", %zu variants",
				 bench_variants_of(options, making->measure, variants));
	if (making->measure->size_count > 0)
		(void)snprintf(text + used, sizeof(text) - (size_t)used, ", %zu sizes",
			       bench_sizes_of(options, making->measure, sizes));
	(void)fprintf(stderr, "%s: %s, %u repetitions, %.1f s\n", making->measure->name, text,
		      making->repeats, (double)(clock_now_ns() - start) * 1e-9);
}

static struct status run_measures(const struct bench_options *options, struct bench_results *results)
{
	for (size_t i = 0; options->kind->measures[i] != NULL && !is_stopped(options); i++) {
		struct making making = { .options = options,
					 .results = results,
					 .measure = options->kind->measures[i] };
		if (!bench_is_chosen(options, making.measure))
			continue;
		uint64_t start = clock_now_ns();
		TRY(make_in_folder(&making));
		print_progress(&making, start);
	}
	return status_ok();
}

struct status bench_run(const struct bench_options *options, struct bench_results *results)
{
	*results = (struct bench_results) { .options = options };
	int error = folder_make(options->kept);
	if (error != 0)
		return status_from_errno(error, "cannot create", options->kept);
	struct status status = run_measures(options, results);
	error = folder_remove(options->scratch);
	if (error != 0)
		status_keep_first(&status, status_from_errno(error, "cannot remove", options->scratch));
	results->stopped = is_stopped(options);
	return status;
}
