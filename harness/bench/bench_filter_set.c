#include "harness/bench/bench_filter_set.h"

#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "harness/allocate.h"
#include "harness/bench/bench_timing.h"
#include "harness/statistics.h"
#include "harness/ticks.h"

enum {
	LINE_BYTES = 64,
	ROUNDS_MAX = 100,
};

/* Streams of the seed. */
enum { STREAM_COUNTS = 1, STREAM_PLACES, STREAM_STRANGERS };

static uint64_t hash_of(uint64_t seed, uint64_t key)
{
	return random_at(seed, key) >> 2;
}

/* --- building --- */

/* How many keys each filter has. */
static void divide(struct filter_set *set, size_t keys_per_filter)
{
	uint64_t mean = keys_per_filter == 0 || keys_per_filter > set->keys ? set->keys : keys_per_filter;
	struct random random = random_stream(random_at(set->seed, STREAM_COUNTS));
	set->starts = allocate_zeroed(set->keys / (mean - mean * 2 / 5) + 2, sizeof(*set->starts));
	for (uint64_t at = 0; at < set->keys;) {
		uint64_t spread = mean == set->keys ? 0 : mean * 2 / 5;
		uint64_t count = mean - spread + random_below(&random, 2 * spread + 1);
		at = count < set->keys - at ? at + count : set->keys;
		set->starts[++set->count] = at;
	}
}

static size_t count_of(const struct filter_set *set, size_t filter)
{
	return (size_t)(set->starts[filter + 1] - set->starts[filter]);
}

/* Where a filter that would follow at `at` begins. */
static size_t place_at(const struct filter_set *set, size_t at)
{
	if (set->ops->component.capabilities & FILTER_PER_BLOCK)
		return at;
	return (at + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
}

static size_t room_for_all(const struct filter_set *set)
{
	size_t at = 0;
	for (size_t i = 0; i < set->count; i++)
		at = place_at(set, at) + set->ops->size(set->options, count_of(set, i));
	return at;
}

static size_t scratch_for_any(const struct filter_set *set)
{
	size_t most = 0;
	for (size_t i = 0; i < set->count && set->ops->scratch_size != NULL; i++) {
		size_t size = set->ops->scratch_size(set->options, count_of(set, i));
		most = size > most ? size : most;
	}
	return most;
}

/* Once all of them. Filters lie where they would lie if each took all that it may. */
static void build_all(struct filter_set *set, uint64_t *hashes, void *scratch)
{
	size_t at = 0;
	for (size_t i = 0; i < set->count; i++) {
		size_t count = count_of(set, i);
		at = place_at(set, at);
		size_t used = set->ops->build(set->options, &hashes[set->starts[i]], count, set->memory + at,
					      scratch);
		set->filters[i] = slice_make(set->memory + at, used);
		at += set->ops->size(set->options, count);
	}
}

static void time_builds(struct filter_set *set, uint64_t *hashes, void *scratch, uint64_t timed_keys)
{
	double times[ROUNDS_MAX];
	uint64_t rounds = timed_keys / set->keys + 1;
	rounds = rounds < ROUNDS_MAX ? rounds : ROUNDS_MAX;
	for (uint64_t round = 0; round < rounds; round++) {
		/* A build may have put them into another order. */
		for (uint64_t key = 0; key < set->keys; key++)
			hashes[key] = hash_of(set->seed, key);
		uint64_t start = ticks_now();
		build_all(set, hashes, scratch);
		times[round] = (double)ticks_to_ns(ticks_now() - start) / (double)set->keys;
	}
	set->build_ns = statistics_median(times, rounds);
}

static struct status look(struct filter_set *set)
{
	bool passes_all = set->ops->component.capabilities & FILTER_PASSES_ALL;
	for (size_t i = 0; i < set->count; i++) {
		size_t used = set->filters[i].size;
		if (used > set->ops->size(set->options, count_of(set, i)))
			return status_error(STATUS_CORRUPT, "%s: a filter is larger than it was said to be",
					    set->ops->component.name);
		set->bytes += used;
		set->unbuilt += used == 0 && !passes_all;
	}
	return status_ok();
}

struct status filter_set_build(struct filter_set *set, const struct filter_ops *ops, const void *options,
			       uint64_t keys, size_t keys_per_filter, uint64_t timed_keys, uint64_t seed)
{
	*set = (struct filter_set) { .ops = ops, .options = options, .seed = seed, .keys = keys };
	divide(set, keys_per_filter);
	size_t room = room_for_all(set) / LINE_BYTES * LINE_BYTES + LINE_BYTES;
	size_t scratch_size = scratch_for_any(set) / LINE_BYTES * LINE_BYTES + LINE_BYTES;
	uint64_t *hashes = allocate_zeroed(keys, sizeof(*hashes));
	void *scratch = memory_allocate_aligned(LINE_BYTES, scratch_size);
	set->filters = allocate_zeroed(set->count, sizeof(*set->filters));
	set->memory = memory_allocate_aligned(LINE_BYTES, room);
	struct status status = status_make(STATUS_NO_MEMORY);
	if (set->memory != NULL && scratch != NULL) {
		/* So that no round pays for pages that are touched for the first time. */
		memset(set->memory, 0xa5, room);
		memset(scratch, 0xa5, scratch_size);
		time_builds(set, hashes, scratch, timed_keys);
		status = look(set);
	}
	memory_free(scratch);
	memory_free(hashes);
	return status;
}

void filter_set_free(struct filter_set *set)
{
	memory_free(set->starts);
	memory_free(set->filters);
	memory_free(set->memory);
}

/* --- questions --- */

static size_t filter_at(const struct filter_set *set, uint64_t n)
{
	return (size_t)(((unsigned __int128)random_at(random_at(set->seed, STREAM_PLACES), n) * set->count) >>
			64);
}

struct filter_question filter_set_member(const struct filter_set *set, uint64_t n)
{
	size_t filter = filter_at(set, n);
	uint64_t draw = random_mix(n ^ set->seed);
	uint64_t key = set->starts[filter] + draw % count_of(set, filter);
	return (struct filter_question) { set->filters[filter], hash_of(set->seed, key) };
}

struct filter_question filter_set_stranger(const struct filter_set *set, uint64_t n)
{
	return (struct filter_question) { set->filters[filter_at(set, n)],
					  hash_of(random_at(set->seed, STREAM_STRANGERS), n) };
}

struct asking {
	const struct filter_ops *ops;
	const struct filter_question *questions;
	size_t next;
	uint64_t passed;
};

/*
 * Until all that was begun is done. Questions must not run side by side here, and that the next one needs the
 * answer would not keep them apart: a processor guesses the answer of a filter that branches, and has to wait
 * for that of one that does not.
 */
static inline void wait_for_answer(void)
{
#if defined(__x86_64__)
	__asm__ volatile("lfence" : : : "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dsb ld\n\tisb" : : : "memory");
#else
	__asm__ volatile("" : : : "memory");
#endif
}

static void ask_in_turn(void *argument, uint64_t count)
{
	struct asking *asking = argument;
	for (uint64_t i = 0; i < count; i++) {
		const struct filter_question *question = &asking->questions[asking->next++];
		asking->passed += asking->ops->may_contain(question->filter, question->hash);
		wait_for_answer();
	}
}

static void ask_in_batches(void *argument, uint64_t count)
{
	struct asking *asking = argument;
	for (uint64_t i = 0; i < count; i += FILTER_BATCH) {
		const struct filter_question *questions = &asking->questions[asking->next];
		size_t batch = count - i < FILTER_BATCH ? (size_t)(count - i) : FILTER_BATCH;
		for (size_t k = 0; k < batch && asking->ops->prefetch != NULL; k++)
			asking->ops->prefetch(questions[k].filter, questions[k].hash);
		for (size_t k = 0; k < batch; k++)
			asking->passed += asking->ops->may_contain(questions[k].filter, questions[k].hash);
		asking->next += batch;
	}
}

struct status filter_set_time(const struct filter_set *set, unsigned slices, struct filter_times *times)
{
	/* One slice more warms up. */
	size_t count = (size_t)(slices + 1) * FILTER_SLICE;
	struct filter_question *questions = allocate_zeroed(count, sizeof(*questions));
	struct asking asking = { .ops = set->ops, .questions = questions };
	for (size_t i = 0; i < count; i++)
		questions[i] = filter_set_member(set, i);
	times->hit_ns = bench_time_slices(ask_in_turn, &asking, FILTER_SLICE, slices);
	bool all_passed = asking.passed == count;
	asking.next = 0;
	for (size_t i = 0; i < count; i++)
		questions[i] = filter_set_stranger(set, i);
	times->miss_ns = bench_time_slices(ask_in_turn, &asking, FILTER_SLICE, slices);
	asking.next = 0;
	for (size_t i = 0; i < count; i++)
		questions[i] = filter_set_stranger(set, count + i);
	times->batch_ns = bench_time_slices(ask_in_batches, &asking, FILTER_SLICE, slices);
	memory_free(questions);
	return all_passed ? status_ok()
			  : status_error(STATUS_CORRUPT, "%s: a member is said to be none",
					 set->ops->component.name);
}

double filter_set_false_positives(const struct filter_set *set, uint64_t strangers)
{
	uint64_t passed = 0;
	for (uint64_t n = 0; n < strangers; n++) {
		struct filter_question question = filter_set_stranger(set, n);
		passed += set->ops->may_contain(question.filter, question.hash);
	}
	return (double)passed / (double)strangers;
}
