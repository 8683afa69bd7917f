/*
 * bench_filter_plain.c: a Bloom filter as textbooks have it (Bloom 1970): bits * ln 2 probes for each key,
 *all over the filter, by double hashing (Kirsch, Mitzenmacher 2006). It shares no code with components/.
 *
 *	0	N - 1	bits
 *	N - 1	1	number of probes
 */
#include "harness/bench/bench_filter_set.h"

#include <math.h>
#include <string.h>

#include "base/random.h"

enum { BITS_DEFAULT = 10 };

struct plain_options {
	double bits_per_key;
};

static const struct option plain_options[] = {
	{ .name = "bits_per_key",
	  .help = "size of the filter",
	  .type = OPTION_REAL,
	  .offset = offsetof(struct plain_options, bits_per_key),
	  .default_value = BITS_DEFAULT,
	  .minimum = 1,
	  .maximum = 32 },
	{ .name = NULL },
};

static size_t plain_size(const void *options, size_t count)
{
	const struct plain_options *chosen = options;
	return count == 0 ? 0 : (size_t)ceil(chosen->bits_per_key * (double)count / 8) + 1;
}

/* Where the probes of a key begin, and how far apart they are. */
struct walk {
	uint64_t at, step;
};

static struct walk walk_of(uint64_t hash)
{
	return (struct walk) { random_mix(hash), random_mix(hash + 1) | 1 };
}

static size_t plain_build(const void *options, uint64_t *hashes, size_t count, uint8_t *out, void *scratch)
{
	const struct plain_options *chosen = options;
	size_t size = plain_size(options, count);
	uint64_t bits = (size - 1) * 8;
	double probes = round(chosen->bits_per_key * log(2));
	(void)scratch;
	if (count == 0)
		return 0;
	memset(out, 0, size);
	out[size - 1] = (uint8_t)(probes < 1 ? 1 : probes);
	for (size_t i = 0; i < count; i++) {
		struct walk walk = walk_of(hashes[i]);
		for (unsigned probe = 0; probe < out[size - 1]; probe++, walk.at += walk.step) {
			uint64_t bit = walk.at % bits;
			out[bit / 8] = (uint8_t)(out[bit / 8] | 1u << bit % 8);
		}
	}
	return size;
}

static bool plain_may_contain(struct slice filter, uint64_t hash)
{
	if (filter.size < 2)
		return true;
	uint64_t bits = (filter.size - 1) * 8;
	struct walk walk = walk_of(hash);
	for (unsigned probe = 0; probe < filter.data[filter.size - 1]; probe++, walk.at += walk.step) {
		uint64_t bit = walk.at % bits;
		if ((filter.data[bit / 8] & 1u << bit % 8) == 0)
			return false;
	}
	return true;
}

const struct filter_ops bench_filter_plain = {
	.component = {
		.name = "textbook",
		.summary = "a Bloom filter whose probes lie anywhere in it",
		.abi = COMPONENT_ABI,
		.options = plain_options,
		.options_size = sizeof(struct plain_options),
	},
	.format_id = COMPONENT_FILTER_ID_OTHERS,
	.size = plain_size,
	.build = plain_build,
	.may_contain = plain_may_contain,
};
