/*
 * block.c: a classic Bloom filter (Bloom 1970) for each data block, as LevelDB has it and RocksDB had it. The
 * index is searched first and names a block; its filter then tells whether the block need be read.
 *
 * FORMAT
 *	OFFSET          SIZE      DESCRIPTION
 *	0               M         8 * M bits; bit n is bit n % 8 of byte n / 8
 *	M               1         number of probes, 1 .. 24
 *
 * The probes of a key are by enhanced double hashing (Dillinger, Manolios 2004): with m = 8 * M, x and y from
 * the halves of the folded key hash, the bits are x, then x = x + y mod m, y = y + i mod m for i = 1, 2 ...
 * In plain double hashing a key with y = 0 has a single bit, and with the few bits that the filter of one
 * block has that happens to one key in some dozens.
 */
#include "components/filters/filter.h"

#include <string.h>

#include "base/assert.h"

#include "base/poison.h"

enum {
	PROBES_MAX = 24,
	MILLIBITS = 1000, /* bits per key are counted in thousandths, so that sizes come from integers */
};

#define FOLD_FACTOR 0x9e3779b97f4a7c15ull

struct block_options {
	double bits_per_key;
};

static const struct option block_options[] = {
	{ .name = "bits_per_key",
	  .help = "size of the filters: 10 lets 1 in 100 absent keys pass, 16 lets 1 in 2000",
	  .type = OPTION_REAL,
	  .offset = offsetof(struct block_options, bits_per_key),
	  .default_value = 10,
	  .minimum = 1,
	  .maximum = 32 },
	{ .name = NULL },
};

/* Bytes of the bits alone. */
static size_t count_bytes(const struct block_options *options, size_t count)
{
	ASSERT(options->bits_per_key >= 1);
	ASSERT(options->bits_per_key <= 32);
	ASSERT(count <= UINT32_MAX / 64);
	uint64_t millibits = (uint64_t)(options->bits_per_key * MILLIBITS + 0.5) * count;
	return (size_t)((millibits + 8 * MILLIBITS - 1) / (8 * MILLIBITS));
}

/* bits / count * ln 2, rounded: with it half of the bits are set, and fewest absent keys pass. */
static unsigned choose_probes(uint64_t bits, uint64_t count)
{
	uint64_t probes = (bits * 693 + count * 500) / (count * 1000);
	return probes < 1 ? 1 : probes > PROBES_MAX ? PROBES_MAX : (unsigned)probes;
}

/* --- probes --- */

struct probe {
	uint32_t x, y;
};

static inline struct probe probe_first(uint64_t hash, uint32_t bits)
{
	/* Folded, because keys that routing has brought together share bits of their hashes. */
	unsigned __int128 product = (unsigned __int128)hash * FOLD_FACTOR;
	uint64_t folded = (uint64_t)(product >> 64) ^ (uint64_t)product;
	return (struct probe) {
		.x = (uint32_t)(((folded >> 32) * bits) >> 32),
		.y = (uint32_t)(((folded & UINT32_MAX) * bits) >> 32),
	};
}

static inline uint32_t add_modulo(uint32_t a, uint32_t b, uint32_t modulus)
{
	uint64_t sum = (uint64_t)a + b;
	return (uint32_t)(sum >= modulus ? sum - modulus : sum);
}

/* To probe i, which is less than `bits` in every filter of at least PROBES_MAX bits; in smaller ones `i`
 * is taken modulo them. */
static inline void probe_next(struct probe *probe, uint32_t i, uint32_t bits)
{
	probe->x = add_modulo(probe->x, probe->y, bits);
	probe->y = add_modulo(probe->y, i < bits ? i : i % bits, bits);
}

/* --- the contract's functions --- */

static size_t block_size(const void *options, size_t count)
{
	return count == 0 ? 0 : count_bytes(options, count) + 1;
}

static size_t block_build(const void *options, uint64_t *hashes, size_t count, uint8_t *out, void *scratch)
{
	(void)scratch;
	if (count == 0)
		return 0;
	size_t bytes = count_bytes(options, count);
	uint32_t bits = (uint32_t)bytes * 8;
	/* What rounding up to whole bytes gave counts too: it is much in a filter of few keys. */
	unsigned probes = choose_probes(bits, count);
	memset(out, 0, bytes);
	out[bytes] = (uint8_t)probes;
	for (size_t key = 0; key < count; key++) {
		struct probe probe = probe_first(hashes[key], bits);
		for (uint32_t i = 1; i <= probes; probe_next(&probe, i++, bits))
			out[probe.x / 8] = (uint8_t)(out[probe.x / 8] | 1u << probe.x % 8);
	}
	return bytes + 1;
}

static bool block_may_contain(struct slice filter, uint64_t hash)
{
	if (filter.size < 2 || filter.size - 1 > UINT32_MAX / 8)
		return true;
	uint32_t bits = (uint32_t)(filter.size - 1) * 8;
	unsigned probes = filter.data[filter.size - 1];
	if (probes < 1 || probes > PROBES_MAX)
		return true;
	struct probe probe = probe_first(hash, bits);
	for (uint32_t i = 1; i <= probes; probe_next(&probe, i++, bits)) {
		if ((filter.data[probe.x / 8] & 1u << probe.x % 8) == 0)
			return false;
	}
	return true;
}

const struct filter_ops filter_block = {
	.component = {
		.name = "block",
		.summary = "a small Bloom filter for each data block, asked behind the index",
		.abi = COMPONENT_ABI,
		.capabilities = FILTER_PER_BLOCK,
		.options = block_options,
		.options_size = sizeof(struct block_options),
	},
	.format_id = 3,
	.size = block_size,
	.build = block_build,
	.may_contain = block_may_contain,
};
