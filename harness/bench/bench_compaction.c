/*
 * bench_compaction.c: the kind `compaction`: a policy alone, in a simulated tree.
 */
#include "harness/bench/bench_compaction.h"

#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/bench/bench.h"

enum {
	/* Of an engine with its defaults: 64 MiB of memtables, one of which is half of them, and tables of
	 * that size. An entry stands for 8 KiB, so that a thousand memtables are some million entries. */
	MEMTABLE_ENTRIES = 4096,
	TABLE_ENTRIES = 4096,
	ENTRY_BYTES = 8192,
	GETS = 200 * 1000,
	GETS_QUICK = 2000,
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { WRITES, READS, SPACE, SPACE_PEAK, LARGEST, RUNS_PEAK, PICK };

#define NUMBERS                                                                                        \
	{                                                                                              \
		[WRITES] = { "write_amplification", BENCH_FACTOR },                                    \
		[READS] = { "read_amplification", BENCH_FACTOR },                                      \
		[SPACE] = { "space_amplification", BENCH_FACTOR },                                     \
		[SPACE_PEAK] = { "space_peak", BENCH_FACTOR },                                         \
		[LARGEST] = { "largest_merge_bytes", BENCH_BYTES },                                    \
		[RUNS_PEAK] = { "runs_peak", BENCH_COUNT }, [PICK] = { "pick_ns", BENCH_NANOSECONDS }, \
	}

static struct status simulate(struct bench_job *job, const struct policy_ops *ops, const void *options,
			      double numbers[BENCH_NUMBERS_MAX])
{
	const struct compaction_job load = {
		.load = (enum compaction_load)job->parameter,
		.memtables = job->size,
		.memtable_entries = MEMTABLE_ENTRIES,
		.table_entries = TABLE_ENTRIES,
		.entry_bytes = ENTRY_BYTES,
		.gets = job->quick ? GETS_QUICK : GETS,
		.seed = job->seed,
	};
	struct compaction_numbers said;
	TRY(compaction_simulate(ops, options, &load, &said));
	numbers[WRITES] = said.write_amplification;
	numbers[READS] = said.read_amplification;
	numbers[SPACE] = said.space_amplification;
	numbers[SPACE_PEAK] = said.space_most;
	numbers[LARGEST] = said.largest_merge_bytes;
	numbers[RUNS_PEAK] = said.runs_most;
	numbers[PICK] = said.pick_ns;
	return status_ok();
}

static struct status run_variant(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	const struct component *component = component_find(COMPONENT_COMPACTION, job->variant);
	void *options = allocate_zeroed(1, component->options_size + 1);
	component_default_options(component, options);
	struct status status = simulate(job, (const struct policy_ops *)component, options, numbers);
	memory_free(options);
	return status;
}

static struct status run_textbook(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return simulate(job, &bench_compaction_plain, NULL, numbers);
}

/* --- the measures --- */

static const struct bench_size sizes[] = {
	{ .size = 10, .quick = 5 },
	{ .size = 100, .quick = 20 },
	{ .size = 1000, .quick = 60, .repeats = 3 },
};

enum { POLICY, TEXTBOOK }; /* the sides */

#define CLAIM(name, what, number, bound, most)                    \
	{                                                         \
		name, what, POLICY, TEXTBOOK, number, bound, most \
	}

/* A measure `symbol` that is called `text`; `bound`: whether there is one on what is written. Few keys that
 * are put again and again favour whoever merges late, so with them it is none. */
#define MEASURE(symbol, text, load, bound, about)                                                          \
	static const struct bench_side symbol##_sides[] = {                                                \
		[POLICY] = { "policy", run_variant, load },                                                \
		[TEXTBOOK] = { "textbook", run_textbook, load },                                           \
	};                                                                                                 \
	static const struct bench_claim symbol##_claims[] = {                                              \
		CLAIM(text ".writes", "what flushes and merges write, beside a textbook's policy", WRITES, \
		      bound, 1.1),                                                                         \
		CLAIM(text ".reads", "sorted runs that a get asks, beside a textbook's policy", READS,     \
		      BENCH_RATIO_AT_MOST, 1),                                                             \
		CLAIM(text ".space", "entries in tables, beside a textbook's policy", SPACE,               \
		      BENCH_RATIO_AT_MOST, 1),                                                             \
	};                                                                                                 \
	static const struct bench_measure symbol = {                                                       \
		.name = text,                                                                              \
		.summary = about,                                                                          \
		.repeats = 5,                                                                              \
		.numbers = NUMBERS,                                                                        \
		.sides = symbol##_sides,                                                                   \
		.side_count = COUNT_OF(symbol##_sides),                                                    \
		.claims = symbol##_claims,                                                                 \
		.claim_count = COUNT_OF(symbol##_claims),                                                  \
		.bounds_of = "leveled",                                                                    \
		.shared_sides = 1,                                                                         \
		.compared_numbers = SPACE + 1,                                                             \
		.size_name = "memtables",                                                                  \
		.size_unit = BENCH_COUNT,                                                                  \
		.sizes = sizes,                                                                            \
		.size_count = COUNT_OF(sizes),                                                             \
	};

MEASURE(fill, "fill", COMPACTION_FILL, BENCH_RATIO_AT_MOST,
	"each key once, in random order, until there are so many memtables of them")
MEASURE(ascending, "ascending", COMPACTION_ASCENDING, BENCH_RATIO_AT_MOST, "each key once, in order")
MEASURE(uniform, "random", COMPACTION_UNIFORM, BENCH_RATIO_AT_MOST,
	"a filled tree, and twice as many puts again, of keys at random")
MEASURE(zipfian, "zipfian", COMPACTION_ZIPFIAN, BENCH_NO_BOUND,
	"a filled tree, and twice as many puts again, of keys of Zipf(0.99)")

static const struct bench_measure *const measures[] = { &fill, &ascending, &uniform, &zipfian, NULL };

const struct bench_kind bench_compaction = {
	.name = "compaction",
	.summary = "policies alone: what they make a tree write, read and hold",
	.measures = measures,
	.has_variants = true,
};
