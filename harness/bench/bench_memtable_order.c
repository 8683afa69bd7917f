/*
 * bench_memtable_order.c: a memtable filled with records that all have different keys, in random order and in
 * ascending order; then everything that can be read of it.
 */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/random.h"
#include "harness/allocate.h"
#include "harness/bench/bench_memtable.h"
#include "harness/bench/bench_timing.h"
#include "harness/statistics.h"
#include "harness/ticks.h"

enum {
	ROUND_ENTRIES = 500 * 1000, /* at small sizes it is filled again and again, up to so many entries */
	ROUNDS_MAX = 50,
	BATCH = 16,
	SCAN_ROWS = 100,
	PROBES = 1 << 18,
	CALLS = 1000,
	SLICES = 200,
	ROWS = 20 * SCAN_ROWS,
	ROW_SLICES = 100,
	QUICK_PROBES = 1 << 10,
	QUICK_CALLS = 64,
	QUICK_SLICES = 3,
	QUICK_ROWS = 2 * SCAN_ROWS,
	ENTRY_BYTES_ABOUT = 160,
};

/* Of entries, from where to where growth is looked at; and a processor's cache where it does not say. */
#define FEW		  1e5
#define MANY		  1e7
#define CACHE_BYTES_USUAL 1e6

enum {
	INSERT_NS,
	GET_NS,
	MISS_NS,
	GET_MANY_NS,
	SCAN_NS,
	DRAIN_NS,
	BACK_NS,
	OVERHEAD_BYTES,
	RESERVED_BYTES,
	COMPARED, /* what follows explains the others */
	INSERT_LOADS = COMPARED,
	GET_LOADS,
	LOAD_NS,
};

/* A memtable while it is measured. */
struct pass {
	struct bench_job *job;
	struct bench_table table;
	struct bench_keys keys, hits, misses;
	const struct bench_keys *probes; /* hits or misses */
	uint64_t next, found, asked;
	_Alignas(64) uint8_t iterator[MEMTABLE_ITERATOR_BYTES];
};

/* --- filling --- */

static struct status fill(struct pass *pass, double *ns)
{
	struct bench_table *table = &pass->table;
	uint64_t start = ticks_now();
	for (uint64_t i = 0; i < pass->keys.count; i++)
		TRY(bench_table_insert(table, bench_keys_at(&pass->keys, i), bench_value(i), false));
	*ns = (double)ticks_to_ns(ticks_now() - start) / (double)pass->keys.count;
	return status_ok();
}

static unsigned rounds_of(const struct pass *pass)
{
	uint64_t rounds = ROUND_ENTRIES / pass->keys.count;
	if (pass->job->quick || rounds < 2)
		return 1;
	return rounds < ROUNDS_MAX ? (unsigned)rounds : ROUNDS_MAX;
}

/* From empty on: fills it, and walks over all of it for the first time. */
static struct status fill_and_walk(struct pass *pass, double *fill_ns, double *walk_ns)
{
	TRY(bench_table_reset(&pass->table));
	TRY(fill(pass, fill_ns));
	return bench_table_walk(&pass->table, false, walk_ns);
}

/*
 * The first walk is what a flush does: a variant that puts off its work until then is measured with it. Where
 * there are several rounds, one more comes first and warms up.
 */
static struct status fill_and_drain(struct pass *pass, double *fill_ns, double *drain_ns)
{
	double fills[ROUNDS_MAX], drains[ROUNDS_MAX];
	unsigned rounds = rounds_of(pass);
	if (rounds > 1)
		TRY(fill_and_walk(pass, &fills[0], &drains[0]));
	for (unsigned i = 0; i < rounds; i++)
		TRY(fill_and_walk(pass, &fills[i], &drains[i]));
	*fill_ns = statistics_median(fills, rounds);
	*drain_ns = pass->table.forgets ? NAN : statistics_median(drains, rounds);
	return status_ok();
}

/* --- reading --- */

static uint64_t next_probe(struct pass *pass)
{
	uint64_t probe = pass->next++;
	if (pass->next == pass->probes->count)
		pass->next = 0;
	return probe;
}

static void get_work(void *argument, uint64_t count)
{
	struct pass *pass = argument;
	const struct memtable_ops *ops = pass->table.ops;
	uint64_t sum = 0;
	for (uint64_t i = 0; i < count; i++) {
		struct entry entry;
		struct slice key = bench_keys_at(pass->probes, next_probe(pass));
		if (!ops->get(pass->table.memtable, key, SEQUENCE_MAX, &entry))
			continue;
		pass->found++;
		sum += entry.value.data[0];
	}
	pass->asked += count;
	bench_use(sum);
}

static void get_many_work(void *argument, uint64_t count)
{
	struct pass *pass = argument;
	struct memtable_probe probes[BATCH];
	uint64_t sum = 0;
	for (uint64_t i = 0; i < count; i += BATCH) {
		for (unsigned k = 0; k < BATCH; k++) {
			probes[k].key = bench_keys_at(pass->probes, next_probe(pass));
			probes[k].sequence = SEQUENCE_MAX;
		}
		memtable_get_many(pass->table.memtable, probes, BATCH);
		for (unsigned k = 0; k < BATCH; k++) {
			pass->found += probes[k].found;
			sum += probes[k].found ? probes[k].entry.value.data[0] : 0;
		}
		pass->asked += BATCH;
	}
	bench_use(sum);
}

/* So many rows, in scans of SCAN_ROWS from keys that are there. */
static void scan_work(void *argument, uint64_t count)
{
	struct pass *pass = argument;
	const struct memtable_ops *ops = pass->table.ops;
	struct memtable_iterator *iterator = (struct memtable_iterator *)(void *)pass->iterator;
	uint64_t rows = 0, sum = 0;
	while (rows < count) {
		ops->iterator_init(pass->table.memtable, iterator);
		ops->seek(iterator, bench_keys_at(pass->probes, next_probe(pass)), SEQUENCE_MAX);
		for (unsigned i = 0; i < SCAN_ROWS && rows < count && iterator->valid; i++, rows++) {
			sum += (uint64_t)iterator->entry.key.data[0] + iterator->entry.value.data[0];
			ops->next(iterator);
		}
	}
	bench_use(sum);
}

/* Nanoseconds of one lookup; CORRUPT unless that many are found of those asked for. */
static struct status time_lookups(struct pass *pass, bench_work *work, const struct bench_keys *probes,
				  double *ns)
{
	bool quick = pass->job->quick;
	uint64_t calls = quick ? QUICK_CALLS : CALLS / BATCH * BATCH;
	pass->probes = probes;
	pass->next = pass->found = pass->asked = 0;
	*ns = bench_time_slices(work, pass, calls, quick ? QUICK_SLICES : SLICES);
	uint64_t expected = probes == &pass->hits && !pass->table.forgets ? pass->asked : 0;
	if (pass->found != expected)
		return status_error(STATUS_CORRUPT, "%llu of %llu lookups found something, and not %llu",
				    (unsigned long long)pass->found, (unsigned long long)pass->asked,
				    (unsigned long long)expected);
	return status_ok();
}

static struct status read_all(struct pass *pass, double numbers[BENCH_NUMBERS_MAX])
{
	bool quick = pass->job->quick;
	TRY(time_lookups(pass, get_work, &pass->hits, &numbers[GET_NS]));
	TRY(time_lookups(pass, get_work, &pass->misses, &numbers[MISS_NS]));
	TRY(time_lookups(pass, get_many_work, &pass->hits, &numbers[GET_MANY_NS]));
	if (pass->table.forgets)
		return status_ok();
	pass->probes = &pass->hits;
	pass->next = 0;
	numbers[SCAN_NS] = bench_time_slices(scan_work, pass, quick ? QUICK_ROWS : ROWS,
					     quick ? QUICK_SLICES : ROW_SLICES);
	return bench_table_walk(&pass->table, true, &numbers[BACK_NS]);
}

/* Bytes for each entry beside key and value. Taken last: a variant may need memory to give an order. */
static double beside(const struct pass *pass, size_t bytes)
{
	double own = (double)bytes / (double)pass->keys.count;
	return pass->table.forgets ? NAN : own - BENCH_RECORD_KEY_BYTES - BENCH_RECORD_VALUE_BYTES;
}

/* --- the measures --- */

static void make_keys(struct pass *pass, bool ascending)
{
	struct bench_job *job = pass->job;
	uint64_t probes = job->quick ? QUICK_PROBES : PROBES;
	pass->keys = bench_keys_make(job->size);
	pass->misses = bench_keys_make(probes);
	for (uint64_t i = 0; i < job->size && ascending; i++)
		bench_key_ascending(pass->keys.texts[i], i);
	for (uint64_t i = 0; i < job->size && !ascending; i++)
		bench_key_random(pass->keys.texts[i], job->seed, i);
	/* Keys with the numbers behind those that are there. */
	for (uint64_t i = 0; i < probes && !ascending; i++)
		bench_key_random(pass->misses.texts[i], job->seed, job->size + i);
	pass->hits = bench_keys_draw(&pass->keys, probes, job->seed);
}

static void free_pass(struct pass *pass)
{
	memory_free(pass->keys.texts);
	memory_free(pass->hits.texts);
	memory_free(pass->misses.texts);
	bench_table_free(&pass->table);
	memory_free(pass);
}

static struct pass *make_pass(struct bench_job *job, bool ascending)
{
	struct pass *pass = memory_allocate_aligned(64, sizeof(*pass));
	if (pass == NULL)
		return NULL;
	memset(pass, 0, sizeof(*pass));
	pass->job = job;
	make_keys(pass, ascending);
	return pass;
}

static struct status measure_random(struct pass *pass, double numbers[BENCH_NUMBERS_MAX])
{
	const struct bench_job *job = pass->job;
	TRY(bench_table_init(&pass->table, job, job->size));
	TRY(fill_and_drain(pass, &numbers[INSERT_NS], &numbers[DRAIN_NS]));
	TRY(read_all(pass, numbers));
	numbers[OVERHEAD_BYTES] = beside(pass, arena_used_bytes(&pass->table.arena));
	numbers[RESERVED_BYTES] = beside(pass, pass->table.arena.reserved_bytes);
	numbers[INSERT_LOADS] = numbers[INSERT_NS] / numbers[LOAD_NS];
	numbers[GET_LOADS] = numbers[GET_NS] / numbers[LOAD_NS];
	return status_ok();
}

static struct status run_random(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	/* First, and its memory given back: it is the same for all variants. */
	numbers[LOAD_NS] = bench_load_ns(job->size, job->seed, job->quick);
	struct pass *pass = make_pass(job, false);
	if (pass == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = measure_random(pass, numbers);
	free_pass(pass);
	return status;
}

enum { ASCENDING_INSERT_NS, ASCENDING_GET_NS, ASCENDING_DRAIN_NS, ASCENDING_OVERHEAD_BYTES };

static struct status measure_ascending(struct pass *pass, double numbers[BENCH_NUMBERS_MAX])
{
	TRY(bench_table_init(&pass->table, pass->job, pass->job->size));
	TRY(fill_and_drain(pass, &numbers[ASCENDING_INSERT_NS], &numbers[ASCENDING_DRAIN_NS]));
	TRY(time_lookups(pass, get_work, &pass->hits, &numbers[ASCENDING_GET_NS]));
	numbers[ASCENDING_OVERHEAD_BYTES] = beside(pass, arena_used_bytes(&pass->table.arena));
	return status_ok();
}

static struct status run_ascending(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct pass *pass = make_pass(job, true);
	if (pass == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = measure_ascending(pass, numbers);
	free_pass(pass);
	return status;
}

/*
 * What an insert or a get may take at 10 million entries over what it takes at 100 thousand. Both are counted
 * in loads: how many loads from random places of as much memory as the entries fill could be waited for in
 * that time. So the memory, which is slower the more of it there is, is left out, and the steps remain:
 *
 * - skiplist, btree: they follow log n links. Of those the first ones, which all ways have in common, stay in
 *   the processor's own cache: log c of them, if it takes c entries. The others are waited for, log (n / c).
 *   art: at most as many as a key has bytes, and with keys of random digits log n, too.
 * - sorted_hash: a place and a record, at any size; at 100 thousand entries the places may all be in the
 * cache, at 10 million they are not: 2.
 * - null: touches nothing.
 *
 * A variant that was loaded has no theory here.
 */
static double growth_of_logarithm(void)
{
	long cache_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
	double cached = (cache_bytes > 0 ? (double)cache_bytes : CACHE_BYTES_USUAL) / ENTRY_BYTES_ABOUT;
	/* Where all of them fit there is nothing to compare with. */
	cached = fmin(cached, FEW / 4);
	return log(MANY / cached) / log(FEW / cached);
}

static double growth_limit(const char *variant)
{
	static const char *const logarithmic[] = { "skiplist", "btree", "art" };
	for (size_t i = 0; i < sizeof(logarithmic) / sizeof(logarithmic[0]); i++) {
		if (strcmp(logarithmic[i], variant) == 0)
			return growth_of_logarithm();
	}
	return strcmp(variant, "sorted_hash") == 0 || strcmp(variant, "null") == 0 ? 2 : NAN;
}

enum { TEN_THOUSAND, HUNDRED_THOUSAND, TWO_MILLION, TEN_MILLION, SIZES };

static const struct bench_size random_sizes[SIZES] = {
	[TEN_THOUSAND] = { .size = 10 * 1000, .quick = 300 },
	[HUNDRED_THOUSAND] = { .size = 100 * 1000, .quick = 600 },
	[TWO_MILLION] = { .size = 2000 * 1000, .quick = 1200, .repeats = 5 },
	[TEN_MILLION] = { .size = 10 * 1000 * 1000, .quick = 2400, .repeats = 3 },
};

static const struct bench_side random_sides[] = { { "random", run_random, 0 } };
static const struct bench_claim random_claims[] = {
	{ "random.overhead", "bytes of an entry beside key and value: sequence, kind, lengths, links", 0, 0,
	  OVERHEAD_BYTES, BENCH_VALUE_AT_MOST, 32 },
};
static const struct bench_growth random_growths[] = {
	{ "random.growth.insert", "an insert's loads at 10 million entries over those at 100 thousand",
	  INSERT_LOADS, HUNDRED_THOUSAND, TEN_MILLION, growth_limit },
	{ "random.growth.get", "a get's loads at 10 million entries over those at 100 thousand", GET_LOADS,
	  HUNDRED_THOUSAND, TEN_MILLION, growth_limit },
};

const struct bench_measure bench_memtable_random = {
	.name = "random",
	.summary = "filled in random order: insert, get, miss, batches, scans, drain; bytes of an entry",
	.numbers = { [INSERT_NS] = { "insert_ns", BENCH_NANOSECONDS },
		     [GET_NS] = { "get_ns", BENCH_NANOSECONDS },
		     [MISS_NS] = { "miss_ns", BENCH_NANOSECONDS },
		     [GET_MANY_NS] = { "get_many_ns", BENCH_NANOSECONDS },
		     [SCAN_NS] = { "scan_ns", BENCH_NANOSECONDS },
		     [DRAIN_NS] = { "drain_ns", BENCH_NANOSECONDS },
		     [BACK_NS] = { "back_ns", BENCH_NANOSECONDS },
		     [OVERHEAD_BYTES] = { "overhead_bytes", BENCH_BYTES },
		     [RESERVED_BYTES] = { "reserved_bytes", BENCH_BYTES },
		     [INSERT_LOADS] = { "insert_loads", BENCH_FACTOR },
		     [GET_LOADS] = { "get_loads", BENCH_FACTOR },
		     [LOAD_NS] = { "load_ns", BENCH_NANOSECONDS } },
	.compared_numbers = COMPARED,
	.sides = random_sides,
	.side_count = 1,
	.claims = random_claims,
	.claim_count = 1,
	.bounds_of = "btree",
	.size_name = "entries",
	.size_unit = BENCH_COUNT,
	.sizes = random_sizes,
	.size_count = SIZES,
	.growths = random_growths,
	.growth_count = 2,
};

static const struct bench_size ascending_sizes[SIZES] = {
	[TEN_THOUSAND] = { .size = 10 * 1000, .quick = 300 },
	[HUNDRED_THOUSAND] = { .size = 100 * 1000, .quick = 600 },
	[TWO_MILLION] = { .size = 2000 * 1000, .quick = 1200, .repeats = 3 },
	[TEN_MILLION] = { .size = 10 * 1000 * 1000, .quick = 2400, .repeats = 1 },
};

static const struct bench_side ascending_sides[] = { { "ascending", run_ascending, 0 } };

const struct bench_measure bench_memtable_ascending = {
	.name = "ascending",
	.summary = "filled in ascending order: insert, get, drain; bytes of an entry",
	.numbers = { [ASCENDING_INSERT_NS] = { "insert_ns", BENCH_NANOSECONDS },
		     [ASCENDING_GET_NS] = { "get_ns", BENCH_NANOSECONDS },
		     [ASCENDING_DRAIN_NS] = { "drain_ns", BENCH_NANOSECONDS },
		     [ASCENDING_OVERHEAD_BYTES] = { "overhead_bytes", BENCH_BYTES } },
	.sides = ascending_sides,
	.side_count = 1,
	.size_name = "entries",
	.size_unit = BENCH_COUNT,
	.sizes = ascending_sizes,
	.size_count = SIZES,
};
