/*
 * bench_filter_set.h: filters over known keys, built and asked as the engine does it.
 *
 * Key n is a hash, of which the two upper bits are 0: those belong to routing, and all keys of a shard agree
 * in them. Members are the keys below `keys`; no other is one.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_FILTER_SET_H
#define CASCADE_HARNESS_BENCH_BENCH_FILTER_SET_H

#include "components/filters/filter.h"

/* A Bloom filter as textbooks have it. */
extern const struct filter_ops bench_filter_plain;

struct filter_set {
	const struct filter_ops *ops;
	const void *options; /* borrowed */
	uint64_t seed;
	uint64_t keys;
	size_t count;	       /* of filters */
	uint64_t *starts;      /* the first key of each, and of all together the end */
	struct slice *filters; /* empty: could not be built */
	uint8_t *memory;
	size_t bytes;	 /* of all filters */
	size_t unbuilt;	 /* filters that the variant could not build */
	double build_ns; /* for each key: the median of the rounds */
};

/*
 * Builds filters of `keys_per_filter` keys, more or less by two fifths, as the data comes; with 0 a single
 * one of all keys. Those of a variant that has one for each data block lie one behind the other, others begin
 * on a cache line, as they do in a table's pages. They are built over and over, until `timed_keys` keys have
 * been put into filters, and the median round counts. Errors: NO_MEMORY, CORRUPT (more bytes than said); the
 * set is to be freed all the same.
 */
MUST_CHECK struct status filter_set_build(struct filter_set *set, const struct filter_ops *ops,
					  const void *options, uint64_t keys, size_t keys_per_filter,
					  uint64_t timed_keys, uint64_t seed);
void filter_set_free(struct filter_set *set);

/* A question: one of the set's filters, and the hash of a member of it, or of no member at all. */
struct filter_question {
	struct slice filter;
	uint64_t hash;
};

/* Question number n of those about members, or of those about others. */
struct filter_question filter_set_member(const struct filter_set *set, uint64_t n);
struct filter_question filter_set_stranger(const struct filter_set *set, uint64_t n);

struct filter_times {
	double hit_ns, miss_ns; /* each asked when the answer before is known */
	double batch_ns;	/* of misses, sixteen at once, all prefetched where the variant can */
};

/* `slices` slices of FILTER_SLICE questions, none of which comes twice. Errors: CORRUPT: a member is said to
 * be none. */
enum { FILTER_SLICE = 2000, FILTER_BATCH = 16 };

MUST_CHECK struct status filter_set_time(const struct filter_set *set, unsigned slices,
					 struct filter_times *times);

/* The share of that many strangers that passes. */
double filter_set_false_positives(const struct filter_set *set, uint64_t strangers);

#endif
