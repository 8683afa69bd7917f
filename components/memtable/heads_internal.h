/*
 * heads_internal.h: how many of the sorted heads of a B-tree's node lie below a number.
 *
 * Heads are kept as signed numbers that order like the unsigned ones that key_head gives, because the vector
 * units compare only those. An array has a fixed length and is searched whole: what is not in use has the
 * largest number. It lies at the start of whole cache lines that it does not quite fill, so that a vector may
 * read to their end; what lies there, counts for nothing.
 *
 * Every form gives the same result; the best that the CPU has is chosen when called.
 */
#ifndef CASCADE_COMPONENTS_MEMTABLE_HEADS_INTERNAL_H
#define CASCADE_COMPONENTS_MEMTABLE_HEADS_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "components/memtable/record_internal.h"

enum {
	NARROW_HEADS = 62, /* of 4 bytes: 4 cache lines without 8 bytes */
	WIDE_HEADS = 63,   /* of 8 bytes: 8 cache lines without 8 bytes */
};

#define NARROW_HEAD_MAX INT32_MAX
#define WIDE_HEAD_MAX	INT64_MAX

/* The 4 and the 8 bytes of the key after `skip`. */
static inline int32_t narrow_head(struct slice key, size_t skip)
{
	return (int32_t)((uint32_t)(key_head(key, skip) >> 32) ^ 0x80000000u);
}

static inline int64_t wide_head(struct slice key, size_t skip)
{
	return (int64_t)(key_head(key, skip) ^ 0x8000000000000000u);
}

/* --- halving, without a branch --- */

static inline unsigned narrow_below_portable(const int32_t *heads, int32_t head)
{
	const int32_t *from = heads;
	/* Written out, because gcc does not unroll the loop at -O2. */
	from += (size_t)(from[30] < head) * 31;
	from += (size_t)(from[15] < head) << 4;
	from += (size_t)(from[7] < head) << 3;
	from += (size_t)(from[3] < head) << 2;
	from += (size_t)(from[1] < head) << 1;
	from += (size_t)(from[0] < head);
	return (unsigned)(from - heads);
}

static inline unsigned wide_below_portable(const int64_t *heads, int64_t head)
{
	const int64_t *from = heads;
	from += (size_t)(from[31] < head) << 5;
	from += (size_t)(from[15] < head) << 4;
	from += (size_t)(from[7] < head) << 3;
	from += (size_t)(from[3] < head) << 2;
	from += (size_t)(from[1] < head) << 1;
	from += (size_t)(from[0] < head);
	return (unsigned)(from - heads);
}

#if defined(__x86_64__)

/* --- SSE2: on every x86-64 --- */

/* A bit for each of the 16 heads from `heads` on, set where it lies below. */
static inline uint64_t narrow_sixteen_sse2(const __m128i *heads, __m128i head)
{
	__m128i a = _mm_packs_epi32(_mm_cmpgt_epi32(head, _mm_load_si128(heads)),
				    _mm_cmpgt_epi32(head, _mm_load_si128(heads + 1)));
	__m128i b = _mm_packs_epi32(_mm_cmpgt_epi32(head, _mm_load_si128(heads + 2)),
				    _mm_cmpgt_epi32(head, _mm_load_si128(heads + 3)));
	return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(a, b));
}

static inline unsigned narrow_below_sse2(const int32_t *heads, int32_t head)
{
	const __m128i *from = (const __m128i *)(const void *)heads;
	__m128i all = _mm_set1_epi32(head);
	uint64_t below = narrow_sixteen_sse2(from, all) | narrow_sixteen_sse2(from + 4, all) << 16 |
			 narrow_sixteen_sse2(from + 8, all) << 32 | narrow_sixteen_sse2(from + 12, all) << 48;
	/* Sorted: all below come first. */
	return (unsigned)__builtin_ctzll(~below | 1ull << NARROW_HEADS);
}

/* --- AVX2 --- */

__attribute__((target("avx2"))) static inline __m256i narrow_eight_avx2(const int32_t *heads, __m256i head)
{
	return _mm256_cmpgt_epi32(head, _mm256_load_si256((const __m256i *)(const void *)heads));
}

__attribute__((target("avx2,popcnt"))) static inline unsigned narrow_below_avx2(const int32_t *heads,
										int32_t head)
{
	/* The last two are no heads. */
	const __m256i last = _mm256_setr_epi32(-1, -1, -1, -1, -1, -1, 0, 0);
	__m256i all = _mm256_set1_epi32(head);
	__m256i a = _mm256_packs_epi32(narrow_eight_avx2(heads, all), narrow_eight_avx2(heads + 8, all));
	__m256i b =
		_mm256_packs_epi32(narrow_eight_avx2(heads + 16, all), narrow_eight_avx2(heads + 24, all));
	__m256i c =
		_mm256_packs_epi32(narrow_eight_avx2(heads + 32, all), narrow_eight_avx2(heads + 40, all));
	__m256i d = _mm256_packs_epi32(narrow_eight_avx2(heads + 48, all),
				       _mm256_and_si256(narrow_eight_avx2(heads + 56, all), last));
	/* Packing has mixed the bits; they are only counted. */
	unsigned low = (unsigned)_mm256_movemask_epi8(_mm256_packs_epi16(a, b));
	unsigned high = (unsigned)_mm256_movemask_epi8(_mm256_packs_epi16(c, d));
	return (unsigned)_mm_popcnt_u32(low) + (unsigned)_mm_popcnt_u32(high);
}

/* Minus one for each of 4 heads that lies below. */
__attribute__((target("avx2"))) static inline __m256i wide_four_avx2(const int64_t *heads, __m256i head)
{
	return _mm256_cmpgt_epi64(head, _mm256_load_si256((const __m256i *)(const void *)heads));
}

__attribute__((target("avx2"))) static inline unsigned wide_below_avx2(const int64_t *heads, int64_t head)
{
	const __m256i last = _mm256_setr_epi64x(-1, -1, -1, 0);
	__m256i all = _mm256_set1_epi64x(head);
	__m256i even = wide_four_avx2(heads, all);
	__m256i odd = wide_four_avx2(heads + 4, all);
#pragma GCC unroll 7
	for (unsigned i = 8; i < 56; i += 8) {
		even = _mm256_add_epi64(even, wide_four_avx2(heads + i, all));
		odd = _mm256_add_epi64(odd, wide_four_avx2(heads + i + 4, all));
	}
	even = _mm256_add_epi64(even, wide_four_avx2(heads + 56, all));
	odd = _mm256_add_epi64(odd, _mm256_and_si256(wide_four_avx2(heads + 60, all), last));
	__m256i sums = _mm256_add_epi64(even, odd);
	__m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
	return (unsigned)-(int)(_mm_cvtsi128_si64(pair) + _mm_extract_epi64(pair, 1));
}

#endif

/* --- the choice: one load and one test of what the start-up code of the compiler's library found --- */

static inline unsigned narrow_below(const int32_t *heads, int32_t head)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		return narrow_below_avx2(heads, head);
	return narrow_below_sse2(heads, head);
#else
	return narrow_below_portable(heads, head);
#endif
}

static inline unsigned wide_below(const int64_t *heads, int64_t head)
{
#if defined(__x86_64__)
	/* SSE2 cannot compare numbers of 8 bytes. */
	if (__builtin_cpu_supports("avx2"))
		return wide_below_avx2(heads, head);
#endif
	return wide_below_portable(heads, head);
}

#endif
