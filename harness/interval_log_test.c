/* The interval log, read back by a decoder that shares nothing with the encoder. */
#include "harness/interval_log.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "test.h"

enum { BYTES_MAX = 1 << 17, SEED = 20 };

static uint8_t whole[BYTES_MAX], plain[BYTES_MAX];

static uint64_t big(const uint8_t *from, unsigned bytes)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | from[i];
	return value;
}

static size_t decode_base64(const char *text, uint8_t *to)
{
	size_t length = strlen(text), size = 0;
	assert_int_equal(length % 4, 0);
	for (size_t i = 0; i < length; i += 4) {
		uint32_t four = 0;
		unsigned padding = 0;
		for (size_t k = 0; k < 4; k++) {
			char c = text[i + k];
			uint32_t digit = 0;
			if (c >= 'A' && c <= 'Z')
				digit = (uint32_t)(c - 'A');
			else if (c >= 'a' && c <= 'z')
				digit = (uint32_t)(c - 'a') + 26;
			else if (c >= '0' && c <= '9')
				digit = (uint32_t)(c - '0') + 52;
			else if (c == '+' || c == '/')
				digit = c == '+' ? 62 : 63;
			else
				padding++;
			assert_true(padding == 0 || (c == '=' && i + 4 == length));
			four = four << 6 | digit;
		}
		assert_in_range(padding, 0, 2);
		for (unsigned k = 0; k < 3 - padding; k++)
			to[size++] = (uint8_t)(four >> (16 - 8 * k));
	}
	return size;
}

/* A zlib stream without compression. */
static size_t inflate_stored(const uint8_t *from, size_t size, uint8_t *to)
{
	size_t made = 0, at = 2;
	uint32_t low = 1, high = 0;
	bool last = false;
	assert_int_equal((from[0] << 8 | from[1]) % 31, 0);
	assert_int_equal(from[0], 0x78);
	while (!last) {
		assert_true(at + 5 <= size);
		assert_true(from[at] <= 1);
		last = from[at] == 1;
		uint32_t part = from[at + 1] | (uint32_t)from[at + 2] << 8;
		assert_int_equal(part ^ 0xffff, from[at + 3] | (uint32_t)from[at + 4] << 8);
		at += 5;
		assert_true(at + part <= size);
		for (uint32_t i = 0; i < part; i++) {
			to[made++] = from[at + i];
			low = (low + from[at + i]) % 65521;
			high = (high + low) % 65521;
		}
		at += part;
	}
	assert_int_equal(at + 4, size);
	assert_int_equal(big(from + at, 4), high << 16 | low);
	return made;
}

static int64_t take_count(const uint8_t **at)
{
	uint64_t value = 0;
	for (unsigned shift = 0;; shift += 7) {
		uint8_t byte = *(*at)++;
		if (shift == 56) {
			value |= (uint64_t)byte << 56;
			break;
		}
		value |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			break;
	}
	return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static void check_encoded(const struct histogram *histogram, const char *encoded)
{
	assert_memory_equal(encoded, "HISTFAAA", 8);
	size_t size = decode_base64(encoded, whole);
	assert_int_equal(big(whole, 4), 0x1c849304 | 0x10);
	assert_int_equal(big(whole + 4, 4), size - 8);
	size = inflate_stored(whole + 8, size - 8, plain);
	assert_int_equal(big(plain, 4), 0x1c849303 | 0x10);
	assert_int_equal(big(plain + 4, 4), size - 40);
	assert_int_equal(big(plain + 8, 4), 0);
	assert_int_equal(big(plain + 12, 4), 2);
	assert_int_equal(big(plain + 16, 8), 1);
	assert_int_equal(big(plain + 24, 8), (1ull << HISTOGRAM_VALUE_BITS) - 1);
	assert_int_equal(big(plain + 32, 8), 0x3ff0000000000000);
	uint64_t sum = 0;
	uint32_t slot = 0;
	const uint8_t *at = plain + 40;
	while (at < plain + size) {
		int64_t count = take_count(&at);
		uint32_t zeros = count < 0 ? (uint32_t)-count : count == 0;
		for (; zeros > 0; zeros--)
			assert_int_equal(histogram->counts[slot++], 0);
		if (count <= 0)
			continue;
		assert_int_equal(histogram->counts[slot++], count);
		sum += (uint64_t)count;
	}
	assert_ptr_equal(at, plain + size);
	assert_int_equal(sum, histogram->count);
}

static void check(const struct histogram *histogram)
{
	char *encoded = interval_log_encode(histogram);
	assert_non_null(encoded);
	check_encoded(histogram, encoded);
	memory_free(encoded);
}

static void test_histograms_come_back(void **state)
{
	(void)state;
	struct random random = random_stream(SEED);
	struct histogram *histogram = histogram_create();
	assert_non_null(histogram);
	check(histogram);
	histogram_record(histogram, 0);
	check(histogram);
	histogram_record(histogram, 2); /* one slot is free between the two */
	check(histogram);
	histogram_record(histogram, UINT64_MAX); /* the last slot */
	check(histogram);
	/* Counts of every length, the longest of which fills all nine bytes. */
	for (unsigned bits = 0; bits < 62; bits++) {
		histogram_reset(histogram);
		histogram_record(histogram, 300);
		histogram->counts[histogram_slot(300)] = 1ull << bits;
		histogram->count = 1ull << bits;
		check(histogram);
	}
	/* All slots: the largest encoding. */
	histogram_reset(histogram);
	for (uint32_t slot = 0; slot < HISTOGRAM_SLOTS; slot++) {
		histogram_record(histogram, histogram_slot_lowest(slot));
		histogram->counts[slot] = 1ull << 50;
	}
	histogram->count = (uint64_t)HISTOGRAM_SLOTS << 50;
	check(histogram);
	for (unsigned round = 0; round < 100; round++) {
		histogram_reset(histogram);
		uint64_t values = random_below(&random, 2000);
		for (uint64_t i = 0; i < values; i++)
			histogram_record(histogram, random_next(&random) >> (22 + random_below(&random, 42)));
		check(histogram);
	}
	histogram_free(histogram);
}

static void test_lines(void **state)
{
	(void)state;
	char text[1024];
	FILE *file = fmemopen(text, sizeof(text), "w");
	assert_non_null(file);
	interval_log_write_head(file, 1441812279474123456);
	interval_log_write_line(file, "0123.run.read.service.r1", 1441812281607999999, 1.0009, 426400,
				"HISTFAAA");
	assert_int_equal(fclose(file), 0);
	assert_string_equal(text, "#[Logged with cascade; values in nanoseconds]\n"
				  "#[Histogram log format version 1.3]\n"
				  "#[StartTime: 1441812279.474 (seconds since epoch), "
				  "Wed Sep 09 15:24:39 UTC 2015]\n"
				  "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
				  "\"Interval_Compressed_Histogram\"\n"
				  "Tag=0123.run.read.service.r1,1441812281.607,1.001,0.426,HISTFAAA\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_histograms_come_back),
		cmocka_unit_test(test_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
