/*
 * bench_memtable.h: what the measures of the kind `memtable` share: keys made beforehand, a memtable of the
 * variant in memory that is as warm as the engine's, and the list of measures.
 *
 * All records have keys of 24 bytes, "user" and 20 digits, and values of 100 bytes.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_MEMTABLE_H
#define CASCADE_HARNESS_BENCH_BENCH_MEMTABLE_H

#include "components/memtable/memtable.h"
#include "harness/bench/bench.h"

enum { BENCH_RECORD_KEY_BYTES = 24, BENCH_RECORD_VALUE_BYTES = 100 };

extern const struct bench_measure bench_memtable_random;
extern const struct bench_measure bench_memtable_ascending;
extern const struct bench_measure bench_memtable_overwrite;
extern const struct bench_measure bench_memtable_engine;

/* --- keys --- */

struct bench_keys {
	uint8_t (*texts)[BENCH_RECORD_KEY_BYTES];
	uint64_t count;
};

/* The caller frees texts with memory_free. */
struct bench_keys bench_keys_make(uint64_t count);

/* Record `number` of the seed: all differ, in no order. */
void bench_key_random(uint8_t text[BENCH_RECORD_KEY_BYTES], uint64_t seed, uint64_t number);

/* Ascends with the number. */
void bench_key_ascending(uint8_t text[BENCH_RECORD_KEY_BYTES], uint64_t number);

static inline struct slice bench_keys_at(const struct bench_keys *keys, uint64_t index)
{
	return slice_make(keys->texts[index], BENCH_RECORD_KEY_BYTES);
}

/* Some of them, drawn at random, each as often as it is drawn. */
struct bench_keys bench_keys_draw(const struct bench_keys *keys, uint64_t count, uint64_t seed);

/* The value of a record; parts of one small piece of noise, which stays in the processor's caches. */
struct slice bench_value(uint64_t number);

/* --- a memtable --- */

/*
 * Its arena is one of a pool whose chunks were in use before, as those of an engine that has flushed
 * memtables: no page is touched for the first time while it is filled, at whatever size.
 */
struct bench_table {
	const struct memtable_ops *ops;
	void *options;
	struct arena_pool pool;
	struct arena arena;
	struct memtable *memtable;
	uint64_t sequence; /* of the newest entry */
	bool forgets;	   /* it finds nothing again, and is measured for what surrounds a memtable */
};

/* Of job->variant, with warm memory for so many entries. Errors: NOT_FOUND, NO_MEMORY. */
MUST_CHECK struct status bench_table_init(struct bench_table *table, const struct bench_job *job,
					  uint64_t entries);

/* Makes it empty again. Errors: NO_MEMORY. */
MUST_CHECK struct status bench_table_reset(struct bench_table *table);
void bench_table_free(struct bench_table *table);

/* The record's next version. `oldest_needed` 0: all versions are; else, as the engine has it without
 * snapshots, none but this one is. */
static inline struct status bench_table_insert(struct bench_table *table, struct slice key,
					       struct slice value, bool keeps_versions)
{
	const struct entry entry = {
		.key = key, .value = value, .sequence = ++table->sequence, .kind = ENTRY_PUT
	};
	return table->ops->insert(table->memtable, &entry, keeps_versions ? 0 : entry.sequence);
}

/*
 * Walks over all entries and reads a byte of each key and value, as a flush would; forwards or backwards.
 * *ns: of one entry; NaN if there is none. Errors: CORRUPT: it visits more or fewer than it counts.
 */
MUST_CHECK struct status bench_table_walk(struct bench_table *table, bool backwards, double *ns);

/*
 * Nanoseconds of a load from a place of memory that depends on the load before, at random over as much memory
 * as so many entries take. NaN: there is no memory.
 */
double bench_load_ns(uint64_t entries, uint64_t seed, bool quick);

#endif
