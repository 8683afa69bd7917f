/*
 * hash_test.c: hashes are on-disk format, so their values are pinned here: a change of library, build or
 * machine that changes one must not pass. (Milliseconds.)
 */
#include "test.h"

#include <string.h>

#include "base/hash.h"

/* The input of xxHash's own sanity check: the high bytes of a 64-bit sequence. */
static uint8_t sanity[2400];

static int fill_sanity(void **state)
{
	(void)state;
	uint64_t generator = 2654435761u;
	for (size_t i = 0; i < sizeof(sanity); i++) {
		sanity[i] = (uint8_t)(generator >> 56);
		generator *= 11400714785074694797ull;
	}
	return 0;
}

/* Values of xxHash 0.8's sanity check for XXH3-64 without and with a seed: the published algorithm. */
static void published_values(void **state)
{
	(void)state;
	assert_true(checksum64(sanity, 0, 0) == 0x2D06800538D394C2ull);
	assert_true(checksum64(sanity, 1, 0) == 0xC44BDFF4074EECDBull);
	assert_true(checksum64(sanity, 6, 0) == 0x27B56A84CD2D7325ull);
	assert_true(checksum64(sanity, 12, 0) == 0xA713DAF0DFBB77E7ull);
	assert_true(checksum64(sanity, 24, 0) == 0xA3FE70BF9D3510EBull);
	assert_true(checksum64(sanity, 48, 0) == 0x397DA259ECBA1F11ull);
	assert_true(checksum64(sanity, 80, 0) == 0xBCDEFBBB2C47C90Aull);
	assert_true(checksum64(sanity, 195, 0) == 0xCD94217EE362EC3Aull);
	assert_true(checksum64(sanity, 403, 0) == 0xCDEB804D65C6DEA4ull);
	assert_true(checksum64(sanity, 2048, 0) == 0xDD59E2C3A5F038E0ull);
	assert_true(checksum64(sanity, 1, 0x9E3779B185EBCA8Dull) == 0x032BE332DD766EF8ull);
	assert_true(checksum64(sanity, 2048, 0x9E3779B185EBCA8Dull) == 0x66F81670669ABABCull);
}

static void keys_hash_without_a_seed(void **state)
{
	(void)state;
	for (size_t size = 0; size < 300; size++)
		assert_true(hash_key(slice_make(sanity, size)) == checksum64(sanity, size, 0));
	assert_int_equal(checksum32(sanity, 100, 5), (uint32_t)checksum64(sanity, 100, 5));
	assert_true(checksum64(sanity, 100, 5) != checksum64(sanity, 100, 6));
}

static void pieces_give_the_same_checksum(void **state)
{
	(void)state;
	uint64_t seed = test_seed(17);
	struct random random = random_stream(seed);
	for (int round = 0; round < 500; round++) {
		size_t size = random_below(&random, sizeof(sanity) + 1);
		uint64_t key = random_next(&random);
		struct checksum_stream stream;
		checksum_stream_begin(&stream, key);
		for (size_t at = 0; at < size;) {
			size_t part = 1 + random_below(&random, size - at);
			checksum_stream_add(&stream, sanity + at, part);
			at += part;
		}
		if (checksum_stream_end(&stream) != checksum64(sanity, size, key))
			fail_msg("seed %#lx round %d size %zu", (unsigned long)seed, round, size);
	}
}

static void mixing_and_ranges(void **state)
{
	(void)state;
	assert_true(hash_mix(0) == 0);
	assert_true(hash_mix(1) == 0xB456BCFC34C2CB2Cull); /* MurmurHash3's finalizer */
	unsigned counts[7] = { 0 };
	for (uint64_t i = 0; i < 7000; i++) {
		uint64_t place = hash_range(hash_mix(i), 7);
		assert_true(place < 7);
		counts[place]++;
	}
	for (unsigned i = 0; i < 7; i++)
		assert_in_range(counts[i], 850, 1150);
	assert_int_equal(hash_range(UINT64_MAX, 10), 9);
	assert_int_equal(hash_range(0, 10), 0);
	assert_int_equal(hash_range(UINT64_MAX, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_values),
		cmocka_unit_test(keys_hash_without_a_seed),
		cmocka_unit_test(pieces_give_the_same_checksum),
		cmocka_unit_test(mixing_and_ranges),
	};
	return cmocka_run_group_tests(tests, fill_sanity, NULL);
}
