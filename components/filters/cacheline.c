/*
 * cacheline.c: a Bloom filter whose probes for one key all fall into one block of 512 bits, so that a query
 * costs one cache miss (Putze, Sanders, Singler 2007), and with SIMD a handful of instructions.
 *
 * FORMAT
 *	OFFSET          SIZE      DESCRIPTION
 *	0               64 * B    B blocks of 512 bits; bit n of a block is bit n % 8 of its byte n / 8
 *	64 * B          P         zeros: the length modulo 64 is the number of probes, 1 .. 16
 *
 * A query thus knows the number of probes from the length, without touching a second cache line. The block
 * and the 32-bit seed of the probes come from the two halves of the folded key hash; probe i is the upper
 * 9 bits of seed * 0x9e3779b9^i. The hash is folded first, because keys that routing has brought together
 * share bits of it, and blocks or probes must not follow those.
 */
#include "components/filters/filter.h"
#include "components/filters/cacheline_internal.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/assert.h"

#include "base/poison.h"

enum {
	BLOCK_BYTES = 64,
	BLOCK_BITS = 512,
	PROBES_MAX = 16,
	MILLIBITS = 1000, /* bits per key are counted in thousandths, so that sizes come from integers */
};

#define FOLD_FACTOR 0x9e3779b97f4a7c15ull
#define PROBE_STEP  0x9e3779b9u

struct cacheline_options {
	double bits_per_key;
};

static const struct option cacheline_options[] = {
	{ .name = "bits_per_key",
	  .help = "size of the filter: 10 lets 1 in 100 absent keys pass, 16 lets 1 in 1200",
	  .type = OPTION_REAL,
	  .offset = offsetof(struct cacheline_options, bits_per_key),
	  .default_value = 10,
	  .minimum = 1,
	  .maximum = 32 },
	{ .name = NULL },
};

/*
 * From this many thousandths of a bit per key on, one probe more passes fewer absent keys. Worked out from
 * the sum over the Poisson distribution of a block's keys n: P(n) * (1 - (1 - 1/512)^(k n))^k.
 */
static const uint16_t probe_thresholds[PROBES_MAX - 1] = {
	2100, 3600, 5100, 6650, 8300, 10000, 11850, 13800, 15950, 18300, 20900, 23750, 26950, 30500, 34550,
};

static unsigned choose_probes(uint64_t millibits)
{
	unsigned probes = 1;
	while (probes < PROBES_MAX && millibits >= probe_thresholds[probes - 1])
		probes++;
	return probes;
}

/* --- layout --- */

struct place {
	const uint8_t *block;
	uint32_t seed;
};

static inline struct place locate(const uint8_t *blocks, uint64_t block_count, uint64_t hash)
{
	unsigned __int128 product = (unsigned __int128)hash * FOLD_FACTOR;
	uint64_t folded = (uint64_t)(product >> 64) ^ (uint64_t)product;
	uint64_t block = ((folded >> 32) * block_count) >> 32;
	return (struct place) { .block = blocks + block * BLOCK_BYTES, .seed = (uint32_t)folded };
}

static uint64_t count_blocks(const struct cacheline_options *options, size_t count)
{
	ASSERT(options->bits_per_key >= 1);
	ASSERT(options->bits_per_key <= 32);
	ASSERT(count <= UINT32_MAX);
	uint64_t millibits = (uint64_t)(options->bits_per_key * MILLIBITS + 0.5) * count;
	return (millibits + BLOCK_BITS * MILLIBITS - 1) / (BLOCK_BITS * MILLIBITS);
}

static size_t cacheline_size(const void *options, size_t count)
{
	if (count == 0)
		return 0;
	uint64_t blocks = count_blocks(options, count);
	/* What rounding up to whole blocks gave counts too: it is much in a filter of few keys. */
	unsigned probes = choose_probes(blocks * BLOCK_BITS * MILLIBITS / count);
	return blocks * BLOCK_BYTES + probes;
}

static size_t cacheline_build(const void *options, uint64_t *hashes, size_t count, uint8_t *out,
			      void *scratch)
{
	(void)scratch;
	size_t size = cacheline_size(options, count);
	if (size == 0)
		return 0;
	memset(out, 0, size);
	unsigned probes = size % BLOCK_BYTES;
	uint64_t blocks = size / BLOCK_BYTES;
	for (size_t i = 0; i < count; i++) {
		struct place place = locate(out, blocks, hashes[i]);
		uint8_t *block = out + (place.block - out);
		uint32_t walk = place.seed;
		for (unsigned probe = 0; probe < probes; probe++, walk *= PROBE_STEP) {
			unsigned bit = walk >> 23;
			block[bit / 8] = (uint8_t)(block[bit / 8] | 1u << bit % 8);
		}
	}
	return size;
}

/* --- queries --- */

static bool query_portable(const uint8_t *block, uint32_t seed, unsigned probes)
{
	for (unsigned probe = 0; probe < probes; probe++, seed *= PROBE_STEP) {
		unsigned bit = seed >> 23;
		if ((block[bit / 8] & 1u << bit % 8) == 0)
			return false;
	}
	return true;
}

#if defined(__x86_64__)

/* PROBE_STEP^0 .. PROBE_STEP^15 */
static const uint32_t probe_factors[PROBES_MAX] = {
	0x00000001, 0x9e3779b9, 0xe35e67b1, 0x734297e9, 0x35fbe861, 0xdeb7c719, 0x0448b211, 0x3459b749,
	0xab25f4c1, 0x52941879, 0x9c95e071, 0xf5ab9aa9, 0x2d6ba521, 0x8bededd9, 0x9bfb72d1, 0x3ae1c209,
};

/* Probes first .. first + 7 of those below `probes`, eight at a time. */
__attribute__((target("avx2"))) static inline bool probe_eight(__m256i low, __m256i high, uint32_t seed,
							       unsigned first, unsigned probes)
{
	const __m256i numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	const __m256i factors = _mm256_loadu_si256((const __m256i *)(const void *)&probe_factors[first]);
	__m256i walk = _mm256_mullo_epi32(_mm256_set1_epi32((int)seed), factors);
	/* The upper 4 bits choose one of 16 words: a permutation looks at 3 of them, the blend at the 4th. */
	__m256i word = _mm256_srli_epi32(walk, 28);
	__m256i words = _mm256_castps_si256(_mm256_blendv_ps(
		_mm256_castsi256_ps(_mm256_permutevar8x32_epi32(low, word)),
		_mm256_castsi256_ps(_mm256_permutevar8x32_epi32(high, word)), _mm256_castsi256_ps(walk)));
	/* The next 5 bits choose the bit. */
	__m256i shift = _mm256_srli_epi32(_mm256_slli_epi32(walk, 4), 27);
	__m256i bits = _mm256_sllv_epi32(_mm256_set1_epi32(1), shift);
	__m256i used = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)probes - (int)first), numbers);
	return _mm256_testc_si256(words, _mm256_and_si256(bits, used)) != 0;
}

__attribute__((target("avx2"))) static bool query_avx2(const uint8_t *block, uint32_t seed, unsigned probes)
{
	__m256i low = _mm256_loadu_si256((const __m256i *)(const void *)block);
	__m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(block + 32));
	if (!probe_eight(low, high, seed, 0, probes))
		return false;
	return probes <= 8 || probe_eight(low, high, seed, 8, probes);
}

__attribute__((target("avx512f"))) static bool query_avx512(const uint8_t *block, uint32_t seed,
							    unsigned probes)
{
	const __m512i factors = _mm512_loadu_si512(probe_factors);
	__m512i words = _mm512_loadu_si512(block);
	__m512i walk = _mm512_mullo_epi32(_mm512_set1_epi32((int)seed), factors);
	words = _mm512_permutexvar_epi32(_mm512_srli_epi32(walk, 28), words);
	__m512i shift = _mm512_srli_epi32(_mm512_slli_epi32(walk, 4), 27);
	__m512i bits = _mm512_sllv_epi32(_mm512_set1_epi32(1), shift);
	__mmask16 used = (__mmask16)((1u << probes) - 1);
	return _mm512_mask_testn_epi32_mask(used, words, bits) == 0;
}

static inline bool query(const uint8_t *block, uint32_t seed, unsigned probes)
{
	/* Each is one load and one test of what the start-up code of the compiler's library found. */
	if (__builtin_cpu_supports("avx512f"))
		return query_avx512(block, seed, probes);
	if (__builtin_cpu_supports("avx2"))
		return query_avx2(block, seed, probes);
	return query_portable(block, seed, probes);
}

#else

static inline bool query(const uint8_t *block, uint32_t seed, unsigned probes)
{
	return query_portable(block, seed, probes);
}

#endif

size_t cacheline_list_forms(struct cacheline_form forms[CACHELINE_FORMS_MAX])
{
	size_t count = 0;
	forms[count++] = (struct cacheline_form) { "portable", query_portable };
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		forms[count++] = (struct cacheline_form) { "avx2", query_avx2 };
	if (__builtin_cpu_supports("avx512f"))
		forms[count++] = (struct cacheline_form) { "avx512", query_avx512 };
#endif
	return count;
}

/* Whether these bytes can be a filter of ours at all; anything else must answer "maybe". */
static inline bool is_filter(struct slice filter)
{
	size_t probes = filter.size % BLOCK_BYTES;
	return filter.size > BLOCK_BYTES && probes >= 1 && probes <= PROBES_MAX &&
	       filter.size / BLOCK_BYTES <= UINT32_MAX;
}

static bool cacheline_may_contain(struct slice filter, uint64_t hash)
{
	if (__builtin_expect(!is_filter(filter), 0))
		return true;
	struct place place = locate(filter.data, filter.size / BLOCK_BYTES, hash);
	return query(place.block, place.seed, filter.size % BLOCK_BYTES);
}

static void cacheline_prefetch(struct slice filter, uint64_t hash)
{
	if (__builtin_expect(!is_filter(filter), 0))
		return;
	struct place place = locate(filter.data, filter.size / BLOCK_BYTES, hash);
	__builtin_prefetch(place.block, 0, 3);
	/* Where the filter does not begin on a line, the block ends on the next one. */
	__builtin_prefetch(place.block + BLOCK_BYTES - 1, 0, 3);
}

const struct filter_ops filter_cacheline = {
	.component = {
		.name = "cacheline",
		.summary = "blocked Bloom filter: one cache line and a few SIMD instructions a query",
		.abi = COMPONENT_ABI,
		.options = cacheline_options,
		.options_size = sizeof(struct cacheline_options),
	},
	.format_id = 1,
	.size = cacheline_size,
	.build = cacheline_build,
	.scratch_size = NULL,
	.may_contain = cacheline_may_contain,
	.prefetch = cacheline_prefetch,
};
