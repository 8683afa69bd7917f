/*
 * skeleton.c: the least that is a filter, to start from (docs/add-a-component.md): a Bloom filter (Bloom
 *1970) over all keys of an index partition. filter.h has the contract, in full.
 *
 * FORMAT
 *	OFFSET          SIZE      DESCRIPTION
 *	0               M         8 * M bits; bit n is bit n % 8 of byte n / 8
 *	M               1         number of probes, 1 .. 24
 */
#include "components/filters/filter.h"

#include <string.h>

#include "base/hash.h"

#include "base/poison.h"

enum { PROBES_MAX = 24 };

struct skeleton_options {
	double bits_per_key;
};

static const struct option skeleton_options[] = {
	{ .name = "bits_per_key",
	  .help = "size of the filters: 10 lets 1 in 100 absent keys pass, 16 lets 1 in 2000",
	  .type = OPTION_REAL,
	  .offset = offsetof(struct skeleton_options, bits_per_key),
	  .default_value = 10,
	  .minimum = 1,
	  .maximum = 32 },
	{ .name = NULL },
};

/* Bytes that the filter of `count` keys takes at most. */
static size_t skeleton_size(const void *options, size_t count)
{
	double bits = ((const struct skeleton_options *)options)->bits_per_key;
	return count == 0 ? 0 : (size_t)((double)count * bits / 8) + 2;
}

/* Bit number `probe` of a key. */
static uint64_t bit_of(uint64_t hash, unsigned probe, uint64_t bits)
{
	return hash_range(hash_mix(hash + probe * 0x9e3779b97f4a7c15ull), bits);
}

/*
 * Writes the filter of these hashes, some of which may be equal, and returns its bytes: at most what `size`
 * said. What is written is on disk for ever: another format has another format_id.
 */
static size_t skeleton_build(const void *options, uint64_t *hashes, size_t count, uint8_t *out, void *scratch)
{
	(void)scratch;
	if (count == 0)
		return 0;
	size_t bytes = skeleton_size(options, count) - 1;
	/* With bits / keys * ln 2 probes half of the bits are set, and fewest absent keys pass. */
	double best = (double)bytes * 8 / (double)count * 0.693 + 0.5;
	unsigned probes = best < 1 ? 1 : best > PROBES_MAX ? PROBES_MAX : (unsigned)best;
	memset(out, 0, bytes);
	for (size_t key = 0; key < count; key++) {
		for (unsigned probe = 0; probe < probes; probe++) {
			uint64_t bit = bit_of(hashes[key], probe, (uint64_t)bytes * 8);
			out[bit / 8] = (uint8_t)(out[bit / 8] | 1u << bit % 8);
		}
	}
	out[bytes] = (uint8_t)probes;
	return bytes + 1;
}

/* False: no key of that hash was there. Never false for one that was. The bytes may be any: damaged. */
static bool skeleton_may_contain(struct slice filter, uint64_t hash)
{
	if (filter.size < 2)
		return true;
	unsigned probes = filter.data[filter.size - 1];
	if (probes < 1 || probes > PROBES_MAX)
		return true;
	for (unsigned probe = 0; probe < probes; probe++) {
		uint64_t bit = bit_of(hash, probe, (uint64_t)(filter.size - 1) * 8);
		if ((filter.data[bit / 8] & 1u << bit % 8) == 0)
			return false;
	}
	return true;
}

/* Starts loading what may_contain will touch; may be NULL, as scratch_size is. */
static void skeleton_prefetch(struct slice filter, uint64_t hash)
{
	if (filter.size >= 2)
		__builtin_prefetch(&filter.data[bit_of(hash, 0, (uint64_t)(filter.size - 1) * 8) / 8]);
}

const struct filter_ops filter_skeleton = {
	.component = {
		.name = "skeleton",
		.summary = "classic Bloom filter of an index partition",
		.abi = COMPONENT_ABI,
		.options = skeleton_options,
		.options_size = sizeof(struct skeleton_options),
	},
	.format_id = COMPONENT_FILTER_ID_OTHERS,
	.size = skeleton_size,
	.build = skeleton_build,
	.may_contain = skeleton_may_contain,
	.prefetch = skeleton_prefetch,
};

COMPONENT_MODULE({ COMPONENT_FILTER, &filter_skeleton.component });
