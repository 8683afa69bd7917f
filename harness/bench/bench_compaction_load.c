/*
 * bench_compaction_load.c: what is written into a simulated tree, and what is counted meanwhile.
 */
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "harness/allocate.h"
#include "harness/bench/bench_compaction.h"
#include "harness/bench/bench_compaction_tree.h"
#include "harness/generator.h"

enum {
	DIGIT_BITS = 8, /* of the sort: four digits make a key */
	DIGITS = 4,
	UPDATES = 2,	       /* times as many puts as there are keys */
	LAST_CHECKED = 100000, /* keys that are looked for at the end */
};

#define THETA 0.99

struct writer {
	const struct compaction_job *job;
	struct simulated_tree tree;
	struct permutation permutation;
	struct zipf_exact zipf;
	struct random puts, gets; /* streams of their own, so that gets shift no put */
	uint64_t keys;		  /* in all */
	uint64_t written;	  /* keys that have been put at least once: 0 .. written - 1 in their order */
	uint32_t sequence;
	uint32_t *newest; /* of each key, 0: none */
	struct simulated_entry *entries, *other;
	uint64_t flushes, met, gotten;
	double held; /* the sum over flushes of entries for each key */
};

/* --- keys --- */

static bool is_update(const struct writer *writer)
{
	return writer->job->load == COMPACTION_UNIFORM || writer->job->load == COMPACTION_ZIPFIAN;
}

/* The key that was or is put as number n of those that fill the tree. */
static uint32_t filling_key(const struct writer *writer, uint64_t n)
{
	if (writer->job->load == COMPACTION_ASCENDING)
		return (uint32_t)n;
	return (uint32_t)permutation_apply(&writer->permutation, n);
}

/* One of those that have been put, as the load chooses keys. */
static uint32_t known_key(const struct writer *writer, struct random *random)
{
	if (writer->job->load == COMPACTION_ZIPFIAN)
		return filling_key(writer, zipf_exact_rank(&writer->zipf, random));
	return filling_key(writer, random_below(random, writer->written));
}

/* --- flushes --- */

/* By key; equal ones stay in their order. `other` has as much room. */
static void sort(struct simulated_entry **entries, struct simulated_entry **other, size_t count)
{
	for (unsigned digit = 0; digit < DIGITS; digit++) {
		uint32_t places[1 << DIGIT_BITS] = { 0 };
		unsigned shift = digit * DIGIT_BITS;
		uint32_t before = 0;
		for (size_t i = 0; i < count; i++)
			places[(*entries)[i].key >> shift & ((1u << DIGIT_BITS) - 1)]++;
		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
			uint32_t here = places[i];
			places[i] = before;
			before += here;
		}
		for (size_t i = 0; i < count; i++)
			(*other)[places[(*entries)[i].key >> shift & ((1u << DIGIT_BITS) - 1)]++] =
				(*entries)[i];
		struct simulated_entry *sorted = *other;
		*other = *entries;
		*entries = sorted;
	}
}

/* A memtable has room for so many puts; of a key that was put several times the last one is flushed. */
static struct status flush(struct writer *writer, size_t count)
{
	sort(&writer->entries, &writer->other, count);
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		kept -= kept > 0 && writer->entries[kept - 1].key == writer->entries[i].key;
		writer->entries[kept++] = writer->entries[i];
	}
	simulated_tree_flush(&writer->tree, writer->entries, kept, count);
	return simulated_tree_settle(&writer->tree);
}

/* --- what a reader meets --- */

static struct status get(struct writer *writer, uint32_t key, unsigned *met)
{
	uint32_t sequence;
	simulated_tree_get(&writer->tree, key, met, &sequence);
	if (sequence == writer->newest[key])
		return status_ok();
	return status_error(STATUS_CORRUPT, "%s: a get finds version %u of a key whose newest is %u",
			    writer->tree.ops->component.name, sequence, writer->newest[key]);
}

static struct status look(struct writer *writer, uint64_t gets)
{
	for (uint64_t i = 0; i < gets; i++) {
		unsigned met;
		TRY(get(writer, known_key(writer, &writer->gets), &met));
		writer->met += met;
		writer->gotten++;
	}
	writer->held += (double)writer->tree.entries / (double)writer->written;
	writer->flushes++;
	return status_ok();
}

/* --- the load --- */

static struct status write_memtables(struct writer *writer, uint64_t memtables, bool update, bool measured)
{
	uint64_t gets = measured ? writer->job->gets / memtables + 1 : 0;
	for (uint64_t i = 0; i < memtables; i++) {
		for (size_t n = 0; n < writer->job->memtable_entries; n++) {
			uint32_t key = update ? known_key(writer, &writer->puts)
					      : filling_key(writer, writer->written++);
			writer->newest[key] = ++writer->sequence;
			writer->entries[n] = (struct simulated_entry) { key, writer->sequence };
		}
		TRY(flush(writer, writer->job->memtable_entries));
		if (measured)
			TRY(look(writer, gets));
	}
	return status_ok();
}

static struct status write_all(struct writer *writer)
{
	uint64_t memtables = writer->job->memtables;
	bool updates = is_update(writer);
	simulated_tree_start_counting(&writer->tree);
	TRY(write_memtables(writer, memtables, false, !updates));
	if (updates) {
		simulated_tree_start_counting(&writer->tree);
		TRY(write_memtables(writer, UPDATES * memtables, true, true));
	}
	/* Whether each key is still there, from the first to the last. */
	uint64_t step = writer->keys / LAST_CHECKED + 1;
	for (uint64_t key = 0; key < writer->keys; key += step) {
		unsigned met;
		TRY(get(writer, (uint32_t)key, &met));
	}
	return status_ok();
}

static void say(const struct writer *writer, struct compaction_numbers *numbers)
{
	const struct simulated_counts *counts = &writer->tree.counts;
	*numbers = (struct compaction_numbers) {
		.write_amplification = (double)(counts->flushed + counts->merged) / (double)counts->put,
		.read_amplification = (double)writer->met / (double)writer->gotten,
		.runs_most = (double)counts->runs_most,
		.space_amplification = writer->held / (double)writer->flushes,
		.space_most = (double)counts->held_most / (double)writer->keys,
		.largest_merge_bytes = (double)(counts->largest * writer->job->entry_bytes),
		.pick_ns = (double)counts->pick_ns / (double)counts->picks,
	};
}

struct status compaction_simulate(const struct policy_ops *ops, const void *options,
				  const struct compaction_job *job, struct compaction_numbers *numbers)
{
	struct writer writer = {
		.job = job,
		.keys = job->memtables * job->memtable_entries,
		.puts = random_stream(job->seed),
		.gets = random_stream(random_mix(job->seed + 1)),
	};
	if (writer.keys * (UPDATES + 1) >= UINT32_MAX)
		return status_error(STATUS_INVALID, "a simulated tree of %llu keys is too large",
				    (unsigned long long)writer.keys);
	permutation_init(&writer.permutation, writer.keys, random_mix(job->seed + 2));
	zipf_exact_init(&writer.zipf, writer.keys, THETA);
	simulated_tree_init(&writer.tree, ops, options, job->entry_bytes, job->memtable_entries,
			    job->table_entries);
	writer.newest = allocate_zeroed(writer.keys, sizeof(*writer.newest));
	writer.entries = allocate_zeroed(job->memtable_entries, sizeof(*writer.entries));
	writer.other = allocate_zeroed(job->memtable_entries, sizeof(*writer.other));
	struct status status = write_all(&writer);
	if (status_is_ok(status))
		say(&writer, numbers);
	memory_free(writer.newest);
	memory_free(writer.entries);
	memory_free(writer.other);
	simulated_tree_free(&writer.tree);
	return status;
}
