/*
 * rocksdb_crc32c.c: CRC-32C for RocksDB. A distribution's package is built for the baseline of its
 * architecture and computes it from tables, several times slower than the processor could; an engine that is
 * compared against should not lose to its packaging. The library looks the function up by name, finds this
 * definition in the executable first, and so uses it in place of its own.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "harness/drivers/rocksdb_internal.h"

#ifdef __x86_64__
#include <nmmintrin.h>
#endif

#define POLYNOMIAL 0x82f63b78u /* Castagnoli's, bits reversed */

enum {
	SLICES = 8,
	LANES = 3,	  /* the instruction takes three cycles, and one can start in each */
	LONG_LANE = 1024, /* bytes */
	SHORT_LANE = 128,
	COUNTER_SLOTS = 64,
	CACHE_LINE = 64,
};

/* --- counting: a slot for each thread, so that no cache line travels --- */

struct counter_slot {
	_Alignas(CACHE_LINE) _Atomic uint64_t calls;
};

static struct counter_slot slots[COUNTER_SLOTS];
static _Atomic unsigned threads;
static _Thread_local unsigned own_slot; /* from 1 */

static void count_call(void)
{
	if (own_slot == 0)
		own_slot = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % COUNTER_SLOTS;
	atomic_fetch_add_explicit(&slots[own_slot - 1].calls, 1, memory_order_relaxed);
}

uint64_t rocksdb_crc32c_calls(void)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < COUNTER_SLOTS; i++)
		sum += atomic_load_explicit(&slots[i].calls, memory_order_relaxed);
	return sum;
}

/* --- tables --- */

/* slice_table[k][b]: what byte b does to the checksum when k more bytes follow it. */
static uint32_t slice_table[SLICES][256];
/* The same for b as byte k of a checksum, when a whole lane follows. */
static uint32_t long_table[4][256], short_table[4][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_slices(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		slice_table[0][byte] = crc;
	}
	for (int k = 1; k < SLICES; k++) {
		for (uint32_t byte = 0; byte < 256; byte++) {
			uint32_t crc = slice_table[k - 1][byte];
			slice_table[k][byte] = crc >> 8 ^ slice_table[0][crc & 0xff];
		}
	}
}

/* Following a checksum by zeros is linear: its value for each bit gives that for each byte. */
static void make_shift(uint32_t table[4][256], size_t zeros)
{
	uint32_t bits[32];
	for (int bit = 0; bit < 32; bit++) {
		uint32_t crc = 1u << bit;
		for (size_t i = 0; i < zeros; i++)
			crc = crc >> 8 ^ slice_table[0][crc & 0xff];
		bits[bit] = crc;
	}
	for (int k = 0; k < 4; k++) {
		for (uint32_t byte = 0; byte < 256; byte++) {
			table[k][byte] = 0;
			for (int bit = 0; bit < 8; bit++)
				table[k][byte] ^= byte >> bit & 1 ? bits[8 * k + bit] : 0;
		}
	}
}

static void make_tables(void)
{
	make_slices();
	make_shift(long_table, LONG_LANE);
	make_shift(short_table, SHORT_LANE);
}

/* --- from tables --- */

static uint64_t load_le64(const char *data)
{
	uint64_t word;
	memcpy(&word, data, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

uint32_t rocksdb_crc32c_portable(uint32_t crc, const char *data, size_t size)
{
	(void)pthread_once(&tables_once, make_tables);
	crc = ~crc;
	for (; size >= SLICES; data += SLICES, size -= SLICES) {
		uint64_t word = load_le64(data) ^ crc;
		crc = 0;
		for (int k = 0; k < SLICES; k++)
			crc ^= slice_table[SLICES - 1 - k][word >> 8 * k & 0xff];
	}
	for (; size > 0; data++, size--)
		crc = crc >> 8 ^ slice_table[0][(crc ^ (uint8_t)*data) & 0xff];
	return ~crc;
}

/* --- by the processor --- */

#ifdef __x86_64__

static uint32_t shift(uint32_t table[4][256], uint64_t crc)
{
	return table[0][crc & 0xff] ^ table[1][crc >> 8 & 0xff] ^ table[2][crc >> 16 & 0xff] ^
	       table[3][crc >> 24 & 0xff];
}

/* Three neighbouring lanes at once. The later ones begin with 0, so that shifting what is before them over
 * their length and adding theirs is the checksum of both. */
__attribute__((target("sse4.2"))) static uint64_t extend_lanes(uint64_t crc, const char *data, size_t lane,
							       uint32_t table[4][256])
{
	uint64_t second = 0, third = 0;
	for (const char *end = data + lane; data < end; data += 8) {
		crc = _mm_crc32_u64(crc, load_le64(data));
		second = _mm_crc32_u64(second, load_le64(data + lane));
		third = _mm_crc32_u64(third, load_le64(data + 2 * lane));
	}
	return shift(table, shift(table, crc) ^ second) ^ third;
}

__attribute__((target("sse4.2"))) static uint32_t extend_sse42(uint32_t crc32, const char *data, size_t size)
{
	uint64_t crc = ~crc32;
	for (; size >= LANES * LONG_LANE; data += LANES * LONG_LANE, size -= LANES * LONG_LANE)
		crc = extend_lanes(crc, data, LONG_LANE, long_table);
	for (; size >= LANES * SHORT_LANE; data += LANES * SHORT_LANE, size -= LANES * SHORT_LANE)
		crc = extend_lanes(crc, data, SHORT_LANE, short_table);
	for (; size >= 8; data += 8, size -= 8)
		crc = _mm_crc32_u64(crc, load_le64(data));
	for (; size > 0; data++, size--)
		crc = _mm_crc32_u8((uint32_t)crc, (uint8_t)*data);
	return ~(uint32_t)crc;
}

#endif

/* --- the choice --- */

typedef uint32_t extend_function(uint32_t crc, const char *data, size_t size);

static uint32_t choose_and_extend(uint32_t crc, const char *data, size_t size);

static extend_function *_Atomic chosen = choose_and_extend;

static uint32_t choose_and_extend(uint32_t crc, const char *data, size_t size)
{
	extend_function *function = rocksdb_crc32c_portable;
	(void)pthread_once(&tables_once, make_tables);
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		function = extend_sse42;
#endif
	atomic_store_explicit(&chosen, function, memory_order_release);
	return function(crc, data, size);
}

uint32_t rocksdb_crc32c_extend(uint32_t crc, const char *data, size_t size)
{
	count_call();
	return atomic_load_explicit(&chosen, memory_order_acquire)(crc, data, size);
}
