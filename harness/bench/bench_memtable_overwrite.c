/*
 * bench_memtable_overwrite.c: writes of which most meet a key that is there: new versions of records drawn by
 * Zipf's law, four writes for each record there is. Once as the engine does without snapshots, where no
 * version but the newest is needed, and once with a snapshot that needs all of them.
 */
#include <math.h>

#include "base/memory.h"
#include "base/random.h"
#include "harness/bench/bench_memtable.h"
#include "harness/bench/bench_timing.h"
#include "harness/generator.h"
#include "harness/statistics.h"
#include "harness/ticks.h"

enum {
	VERSIONS = 4,		   /* writes for each record; the rarest records get none */
	ROUND_WRITES = 500 * 1000, /* at small sizes it is filled again and again, up to so many writes */
	ROUNDS_MAX = 50,
	CALLS = 1000,
	SLICES = 100,
	QUICK_CALLS = 64,
	QUICK_SLICES = 3,
};

#define THETA 0.99

enum { INSERT_NS, GET_NS, DRAIN_NS, USED_BYTES };

struct pass {
	struct bench_job *job;
	struct bench_table table;
	struct bench_keys keys; /* of the writes, in their order */
	uint64_t next, missed;
};

/* The hottest records are the first, which lie anywhere in the order of keys. */
static void make_keys(struct pass *pass)
{
	const struct bench_job *job = pass->job;
	struct random random = random_stream(job->seed);
	struct zipf_exact zipf;
	zipf_exact_init(&zipf, job->size / VERSIONS, THETA);
	pass->keys = bench_keys_make(job->size);
	for (uint64_t i = 0; i < job->size; i++)
		bench_key_random(pass->keys.texts[i], job->seed, zipf_exact_rank(&zipf, &random));
}

/* From empty on. */
static struct status fill(struct pass *pass, bool keeps_versions, double *ns)
{
	TRY(bench_table_reset(&pass->table));
	uint64_t start = ticks_now();
	for (uint64_t i = 0; i < pass->keys.count; i++)
		TRY(bench_table_insert(&pass->table, bench_keys_at(&pass->keys, i), bench_value(i),
				       keeps_versions));
	*ns = (double)ticks_to_ns(ticks_now() - start) / (double)pass->keys.count;
	return status_ok();
}

/* Where there are several rounds, one more comes first and warms up. */
static struct status fill_in_rounds(struct pass *pass, bool keeps_versions, double *ns)
{
	double times[ROUNDS_MAX];
	uint64_t most = ROUND_WRITES / pass->keys.count;
	unsigned rounds = most < ROUNDS_MAX ? (unsigned)most : ROUNDS_MAX;
	rounds = pass->job->quick || rounds < 2 ? 1 : rounds;
	if (rounds > 1)
		TRY(fill(pass, keeps_versions, &times[0]));
	for (unsigned i = 0; i < rounds; i++)
		TRY(fill(pass, keeps_versions, &times[i]));
	*ns = statistics_median(times, rounds);
	return status_ok();
}

/* The newest versions of keys as they were written: hot ones often. */
static void get_work(void *argument, uint64_t count)
{
	struct pass *pass = argument;
	uint64_t sum = 0;
	for (uint64_t i = 0; i < count; i++) {
		struct entry entry;
		struct slice key = bench_keys_at(&pass->keys, pass->next++);
		if (pass->next == pass->keys.count)
			pass->next = 0;
		if (pass->table.ops->get(pass->table.memtable, key, SEQUENCE_MAX, &entry))
			sum += entry.value.data[0];
		else
			pass->missed++;
	}
	bench_use(sum);
}

static struct status measure(struct pass *pass, double numbers[BENCH_NUMBERS_MAX])
{
	const struct bench_job *job = pass->job;
	TRY(bench_table_init(&pass->table, job, job->size));
	TRY(fill_in_rounds(pass, job->parameter != 0, &numbers[INSERT_NS]));
	numbers[GET_NS] = bench_time_slices(get_work, pass, job->quick ? QUICK_CALLS : CALLS,
					    job->quick ? QUICK_SLICES : SLICES);
	if (pass->missed > 0 && !pass->table.forgets)
		return status_error(STATUS_CORRUPT, "%llu lookups did not find what is there",
				    (unsigned long long)pass->missed);
	TRY(bench_table_walk(&pass->table, false, &numbers[DRAIN_NS]));
	if (!pass->table.forgets)
		numbers[USED_BYTES] = (double)arena_used_bytes(&pass->table.arena) / (double)pass->keys.count;
	return status_ok();
}

static struct status run(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct pass pass = { .job = job };
	make_keys(&pass);
	struct status status = measure(&pass, numbers);
	bench_table_free(&pass.table);
	memory_free(pass.keys.texts);
	return status;
}

static const struct bench_side sides[] = {
	{ "newest needed", run, 0 },
	{ "all needed", run, 1 },
};

static const struct bench_size sizes[] = {
	{ .size = 10 * 1000, .quick = 300 },
	{ .size = 100 * 1000, .quick = 600 },
	{ .size = 2000 * 1000, .quick = 1200, .repeats = 3 },
	{ .size = 10 * 1000 * 1000, .quick = 2400, .repeats = 1 },
};

const struct bench_measure bench_memtable_overwrite = {
	.name = "overwrite",
	.summary = "versions of records drawn by Zipf's law; the newest needed, or all of them",
	.numbers = { [INSERT_NS] = { "insert_ns", BENCH_NANOSECONDS },
		     [GET_NS] = { "get_ns", BENCH_NANOSECONDS },
		     [DRAIN_NS] = { "drain_ns", BENCH_NANOSECONDS },
		     [USED_BYTES] = { "used_bytes", BENCH_BYTES } },
	.sides = sides,
	.side_count = 2,
	.size_name = "writes",
	.size_unit = BENCH_COUNT,
	.sizes = sizes,
	.size_count = sizeof(sizes) / sizeof(sizes[0]),
};
