#include "harness/value.h"

#include <lz4.h>
#include <string.h>
#include <zstd.h>

#include "base/memory.h"
#include "test.h"

static void values_say_what_they_are(void **state)
{
	(void)state;
	static const size_t sizes[] = { 8, 9, 15, 16, 17, 31, 100, 1000, 4095, 4096, 4097, 5000, 100000 };
	static const double shares[] = { 0, 0.3, 0.5, 1 };
	struct random random = random_stream(test_seed(1));
	uint8_t *value = memory_allocate(100000);
	for (size_t c = 0; c < 4; c++) {
		struct value_maker *maker;
		assert_ok(value_maker_create(42, shares[c], &maker));
		for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			uint64_t key = random_next(&random) & VALUE_KEY_MAX;
			uint32_t version = (uint32_t)random_below(&random, 1 << VALUE_VERSION_BITS);
			struct slice made = slice_make(value, sizes[s]);
			value_make(maker, key, version, value, sizes[s]);
			uint64_t said_key;
			uint32_t said;
			assert_true(value_decode(made, &said_key, &said));
			assert_int_equal(said_key, key);
			assert_int_equal(said, version);
			assert_true(value_matches(maker, key, version, made));
			assert_false(value_matches(maker, key + 1, version, made));
			assert_false(value_matches(maker, key, version ^ 1, made));
			if (sizes[s] > 16)
				assert_false(
					value_matches(maker, key, version, slice_make(value, sizes[s] - 1)));
		}
		value_maker_free(maker);
	}
	memory_free(value);
}

static void each_damaged_byte_is_seen(void **state)
{
	(void)state;
	static const size_t sizes[] = { 1, 7, 8, 16, 23, 100, 1000, 9000 };
	struct value_maker *maker;
	assert_ok(value_maker_create(1, 0.4, &maker));
	uint8_t value[9000];
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		value_make(maker, 12345, 7, value, sizes[s]);
		for (size_t i = 0; i < sizes[s]; i++) {
			value[i] ^= 0x10;
			assert_false(value_matches(maker, 12345, 7, slice_make(value, sizes[s])));
			value[i] ^= 0x10;
		}
		assert_true(value_matches(maker, 12345, 7, slice_make(value, sizes[s])));
	}
	value_maker_free(maker);
}

static void nothing_is_written_past_the_end(void **state)
{
	(void)state;
	struct value_maker *maker;
	assert_ok(value_maker_create(1, 0.1, &maker));
	for (size_t size = 0; size < 600; size++) {
		uint8_t *value = memory_allocate(size + 1);
		value[size] = 0xa5;
		value_make(maker, 99, 3, value, size);
		assert_int_equal(value[size], 0xa5);
		assert_true(value_matches(maker, 99, 3, slice_make(value, size)));
		memory_free(value);
	}
	uint64_t key;
	uint32_t version;
	assert_false(value_decode(slice_make("abcdefg", 7), &key, &version));
	value_maker_free(maker);
}

/* Bytes that LZ4 and zstd make of a run of values that stand one after the other. */
static void compressed_sizes(double share, size_t size, size_t total, double *lz4, double *zstd)
{
	struct value_maker *maker;
	assert_ok(value_maker_create(42, share, &maker));
	uint8_t *data = memory_allocate(total + size);
	size_t used = 0;
	for (uint64_t key = 0; used < total; key++, used += size)
		value_make(maker, key, 1 + (uint32_t)(key % 3), data + used, size);
	int bound = LZ4_compressBound((int)used);
	size_t zstd_bound = ZSTD_compressBound(used);
	void *packed = memory_allocate((size_t)bound > zstd_bound ? (size_t)bound : zstd_bound);
	*lz4 = LZ4_compress_default((const char *)data, packed, (int)used, bound) / (double)used;
	*zstd = (double)ZSTD_compress(packed, zstd_bound, data, used, 3) / (double)used;
	memory_free(packed);
	memory_free(data);
	value_maker_free(maker);
}

static void compressibility_is_as_asked(void **state)
{
	(void)state;
	double lz4, zstd;
	static const size_t sizes[] = { 16, 100, 1000, 4096, 50000 };
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		compressed_sizes(0, sizes[s], 32 << 10, &lz4, &zstd);
		assert_true(lz4 > 0.995);
		assert_true(zstd > 0.995);
		compressed_sizes(0, sizes[s], 1 << 20, &lz4, &zstd);
		assert_true(lz4 > 0.995);
		assert_true(zstd > 0.99);
	}
	compressed_sizes(0.5, 1000, 32 << 10, &lz4, &zstd);
	assert_true(lz4 > 0.49 && lz4 < 0.53);
	assert_true(zstd > 0.49 && zstd < 0.53);
	compressed_sizes(0.5, 100, 32 << 10, &lz4, &zstd);
	assert_true(lz4 > 0.49 && lz4 < 0.60);
	compressed_sizes(0.25, 8192, 1 << 20, &lz4, &zstd);
	assert_true(lz4 > 0.74 && lz4 < 0.78);
	assert_true(zstd > 0.74 && zstd < 0.78);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_say_what_they_are),
		cmocka_unit_test(each_damaged_byte_is_seen),
		cmocka_unit_test(nothing_is_written_past_the_end),
		cmocka_unit_test(compressibility_is_as_asked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
