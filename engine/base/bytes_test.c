/*
 * bytes_test.c: stored numbers: byte order, unaligned access, and every way a varint can be malformed.
 * (Milliseconds.)
 */
#include "test.h"

#include <string.h>

#include "base/bytes.h"

static void numbers_are_little_endian(void **state)
{
	(void)state;
	uint8_t bytes[9] = { 0 };
	bytes_store16(bytes + 1, 0x0102);
	assert_memory_equal(bytes, ((uint8_t[]) { 0, 2, 1, 0 }), 4);
	bytes_store32(bytes + 1, 0x01020304);
	assert_memory_equal(bytes, ((uint8_t[]) { 0, 4, 3, 2, 1, 0 }), 6);
	bytes_store64(bytes + 1, 0x0102030405060708);
	assert_memory_equal(bytes, ((uint8_t[]) { 0, 8, 7, 6, 5, 4, 3, 2, 1 }), 9);
	assert_int_equal(bytes_load16(bytes + 1), 0x0708);
	assert_int_equal(bytes_load32(bytes + 1), 0x05060708);
	assert_int_equal(bytes_load64(bytes + 1), 0x0102030405060708);
}

static void check_varint(uint64_t value, size_t size)
{
	uint8_t bytes[VARINT_BYTES_MAX + 1];
	memset(bytes, 0xee, sizeof(bytes));
	const uint8_t *end = varint_store(bytes, value);
	assert_int_equal(end - bytes, size);
	assert_int_equal(varint_size(value), size);
	assert_int_equal(*end, 0xee);
	uint64_t back = ~value;
	assert_ptr_equal(varint_load(bytes, bytes + sizeof(bytes), &back), end);
	assert_int_equal(back, value);
	back = ~value;
	assert_ptr_equal(varint_load(bytes, end, &back), end);
	assert_int_equal(back, value);
	for (size_t cut = 0; cut < size; cut++)
		assert_null(varint_load(bytes, bytes + cut, &back));
}

static void varints_of_every_size(void **state)
{
	(void)state;
	check_varint(0, 1);
	check_varint(UINT64_MAX, VARINT_BYTES_MAX);
	for (unsigned bits = 1; bits < 64; bits++) {
		uint64_t power = (uint64_t)1 << bits;
		check_varint(power - 1, (bits + 6) / 7);
		check_varint(power, bits / 7 + 1);
	}
}

static void random_varints(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(11));
	for (int i = 0; i < 100000; i++) {
		uint64_t value = random_next(&random) >> random_below(&random, 64);
		check_varint(value, varint_size(value));
	}
}

static void malformed_varints_are_refused(void **state)
{
	(void)state;
	uint64_t value;
	uint8_t bytes[12];
	memset(bytes, 0x80, sizeof(bytes));
	assert_null(varint_load(bytes, bytes + sizeof(bytes), &value)); /* never ends */
	memset(bytes, 0xff, sizeof(bytes));
	assert_null(varint_load(bytes, bytes + sizeof(bytes), &value));
	bytes[9] = 2; /* the tenth byte holds one bit */
	assert_null(varint_load(bytes, bytes + sizeof(bytes), &value));
	bytes[9] = 1;
	assert_ptr_equal(varint_load(bytes, bytes + sizeof(bytes), &value), bytes + 10);
	assert_true(value == UINT64_MAX);
	assert_null(varint_load(bytes, bytes, &value)); /* nothing at all */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_little_endian),
		cmocka_unit_test(varints_of_every_size),
		cmocka_unit_test(random_varints),
		cmocka_unit_test(malformed_varints_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
