/*
 * bench_filter.c: the kind `filter`: what filters cost to build and to ask, their size, and how many keys
 * pass that are not there.
 */
#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/bench/bench.h"
#include "harness/bench/bench_filter_set.h"

enum {
	/* Keys of a filter, as tables of small records have them: a data block of 4 KiB, and what one page
	 * holds of index and filter. */
	KEYS_PER_BLOCK = 32,
	KEYS_PER_PARTITION = 2600,
	SLICES = 100,
	SLICES_QUICK = 2,
	TIMED_KEYS = 2 * 1000 * 1000, /* are put into filters while building is timed, at least */
	TIMED_KEYS_QUICK = 50 * 1000,
	STRANGERS = 1000 * 1000,
	STRANGERS_QUICK = 20 * 1000,
	BITS_DEFAULT = 10, /* who takes no such option is measured with it, and not with others */
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { HIT, MISS, BATCH, BUILD, BITS, PASSES, ABOVE_BOUND };

#define NUMBERS                                                                                           \
	{                                                                                                 \
		[HIT] = { "hit_ns", BENCH_NANOSECONDS }, [MISS] = { "miss_ns", BENCH_NANOSECONDS },       \
		[BATCH] = { "batch_ns", BENCH_NANOSECONDS }, [BUILD] = { "build_ns", BENCH_NANOSECONDS }, \
		[BITS] = { "bits_per_key", BENCH_FACTOR }, [PASSES] = { "false_positives", BENCH_SHARE }, \
		[ABOVE_BOUND] = { "bits_above_bound", BENCH_FACTOR },                                     \
	}

/* Sets the bits per key; UNSUPPORTED where the variant takes no such option, and others are asked for. */
static struct status set_bits(const struct filter_ops *ops, void *options, uint64_t bits)
{
	component_default_options(&ops->component, options);
	struct status status = component_set_option(&ops->component, options, "bits_per_key", (double)bits);
	if (!status_is(status, STATUS_NOT_FOUND))
		return status;
	if (bits == BITS_DEFAULT)
		return status_ok();
	return status_error(STATUS_UNSUPPORTED, "it takes no bits_per_key");
}

static struct status measure_set(struct bench_job *job, const struct filter_set *set,
				 double numbers[BENCH_NUMBERS_MAX])
{
	struct filter_times times;
	/* First: it asks all over the filters, so that those lie in a cache that has room for them, however
	 * they were built. */
	numbers[PASSES] = filter_set_false_positives(set, job->quick ? STRANGERS_QUICK : STRANGERS);
	TRY(filter_set_time(set, job->quick ? SLICES_QUICK : SLICES, &times));
	numbers[HIT] = times.hit_ns;
	numbers[MISS] = times.miss_ns;
	numbers[BATCH] = times.batch_ns;
	numbers[BUILD] = set->build_ns;
	numbers[BITS] = (double)set->bytes * 8 / (double)set->keys;
	/* That any filter of that rate needs, log2(1 / rate), stays out of it. */
	if (numbers[PASSES] > 0)
		numbers[ABOVE_BOUND] = numbers[BITS] + log2(numbers[PASSES]);
	if (set->unbuilt > 0)
		(void)snprintf(job->notice, sizeof(job->notice), "%zu of %zu filters could not be built",
			       set->unbuilt, set->count);
	return status_ok();
}

static struct status measure(struct bench_job *job, bool in_parts, double numbers[BENCH_NUMBERS_MAX])
{
	const struct filter_ops *ops = &bench_filter_plain;
	struct filter_set set;
	if (job->variant != NULL)
		ops = (const struct filter_ops *)component_find(COMPONENT_FILTER, job->variant);
	bool per_block = ops->component.capabilities & FILTER_PER_BLOCK;
	size_t per_filter = !in_parts ? 0 : per_block ? KEYS_PER_BLOCK : KEYS_PER_PARTITION;
	void *options = allocate_zeroed(1, ops->component.options_size + 1);
	struct status status = set_bits(ops, options, job->parameter);
	if (status_is_ok(status)) {
		status = filter_set_build(&set, ops, options, job->size, per_filter,
					  job->quick ? TIMED_KEYS_QUICK : TIMED_KEYS, job->seed);
		if (status_is_ok(status))
			status = measure_set(job, &set, numbers);
		filter_set_free(&set);
	}
	memory_free(options);
	return status;
}

static struct status run_whole(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure(job, false, numbers);
}

static struct status run_parts(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure(job, true, numbers);
}

/* --- the measures --- */

static const struct bench_size whole_sizes[] = {
	{ .size = 10 * 1000, .quick = 500 },
	{ .size = 1000 * 1000, .quick = 5000 },
	{ .size = 10 * 1000 * 1000, .quick = 20 * 1000, .repeats = 5 },
};
static const struct bench_size table_sizes[] = {
	{ .size = 1000 * 1000, .quick = 5000 },
	{ .size = 10 * 1000 * 1000, .quick = 20 * 1000, .repeats = 5 },
};

enum { BITS_6, BITS_10, BITS_16, BLOOM_6, BLOOM_10, BLOOM_16 }; /* the sides */

#define CLAIM(name, what, number, most)                                          \
	{                                                                        \
		name, what, BITS_10, BLOOM_10, number, BENCH_RATIO_AT_MOST, most \
	}

/* A measure `symbol` that is called `text`. */
#define MEASURE(symbol, text, run, about)                                                                  \
	static const struct bench_side symbol##_sides[] = {                                                \
		[BITS_6] = { "6 bits", run, 6 },       [BITS_10] = { "10 bits", run, 10 },                 \
		[BITS_16] = { "16 bits", run, 16 },    [BLOOM_6] = { "bloom, 6", run, 6 },                 \
		[BLOOM_10] = { "bloom, 10", run, 10 }, [BLOOM_16] = { "bloom, 16", run, 16 },              \
	};                                                                                                 \
	static const struct bench_claim symbol##_claims[] = {                                              \
		CLAIM(text ".hit", "to ask for a key that is there, beside a Bloom filter", HIT, 1),       \
		CLAIM(text ".miss", "to ask for a key that is not there, beside a Bloom filter", MISS, 1), \
		CLAIM(text ".build", "to build, for each key, beside a Bloom filter", BUILD, 1),           \
		CLAIM(text ".passes", "absent keys that pass, beside a Bloom filter", PASSES, 1.25),       \
	};                                                                                                 \
	static const struct bench_measure symbol = {                                                       \
		.name = text,                                                                              \
		.summary = about,                                                                          \
		.numbers = NUMBERS,                                                                        \
		.sides = symbol##_sides,                                                                   \
		.side_count = COUNT_OF(symbol##_sides),                                                    \
		.claims = symbol##_claims,                                                                 \
		.claim_count = COUNT_OF(symbol##_claims),                                                  \
		.bounds_of = "cacheline",                                                                  \
		.shared_sides = 3,                                                                         \
		.compared_numbers = PASSES + 1,                                                            \
		.size_name = "keys",                                                                       \
		.size_unit = BENCH_COUNT,                                                                  \
		.sizes = symbol##_sizes,                                                                   \
		.size_count = COUNT_OF(symbol##_sizes),                                                    \
	};

MEASURE(whole, "whole", run_whole, "one filter over all keys; against a textbook's Bloom filter")
MEASURE(table, "table", run_parts,
	"filters as tables have them, one for each block or partition; against the same")

static const struct bench_measure *const measures[] = { &whole, &table, NULL };

const struct bench_kind bench_filter = {
	.name = "filter",
	.summary = "filters alone: what they cost to build and to ask, their size, and what passes",
	.measures = measures,
	.has_variants = true,
};
