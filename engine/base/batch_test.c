/*
 * batch_test.c: batches come back as they were written, and no bytes, cut or garbled, are read past their
 * end. (Milliseconds.)
 */
#include "test.h"

#include <string.h>

#include "base/batch.h"
#include "base/memory.h"

static uint8_t encoded[1 << 20];

static size_t encode(size_t at, enum entry_kind kind, struct slice key, struct slice value)
{
	uint8_t header[BATCH_HEADER_BYTES_MAX];
	size_t size = batch_encode_header(header, kind, key.size, value.size);
	assert_true(size <= sizeof(header));
	assert_true(at + size + key.size + value.size <= sizeof(encoded));
	memcpy(encoded + at, header, size);
	memcpy(encoded + at + size, key.data, key.size);
	memcpy(encoded + at + size + key.size, value.data, value.size);
	return at + size + key.size + value.size;
}

static void operations_come_back(void **state)
{
	(void)state;
	enum { COUNT = 200 };
	static uint8_t bytes[70000];
	static struct entry written[COUNT];
	struct random random = random_stream(test_seed(31));
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)random_next(&random);
	size_t size = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		size_t key_size = i == 0 ? KEY_BYTES_MAX : random_below(&random, 300);
		size_t value_size = i % 3 == 0 ? 0 : random_below(&random, 2000);
		written[i].kind = i % 3 == 0 ? ENTRY_DELETE : ENTRY_PUT;
		written[i].key = slice_make(bytes + random_below(&random, 1000), key_size);
		written[i].value = slice_make(bytes + random_below(&random, 1000), value_size);
		size = encode(size, written[i].kind, written[i].key, written[i].value);
	}
	struct slice rest = slice_make(encoded, size);
	for (unsigned i = 0; i < COUNT; i++) {
		struct entry entry = { .sequence = 5 };
		assert_true(batch_decode(&rest, &entry));
		assert_int_equal(entry.kind, written[i].kind);
		assert_true(slice_equal(entry.key, written[i].key));
		assert_true(slice_equal(entry.value, written[i].value));
		assert_int_equal(entry.sequence, 5);
	}
	assert_int_equal(rest.size, 0);
	struct entry entry;
	assert_false(batch_decode(&rest, &entry));
}

/* From an allocation of exactly that size, so that the address sanitizer sees a byte read too many. */
static bool decodes(const uint8_t *data, size_t size)
{
	uint8_t *copy = memory_allocate(size > 0 ? size : 1);
	assert_non_null(copy);
	memcpy(copy, data, size);
	struct slice rest = slice_make(copy, size);
	struct entry entry;
	bool decoded = batch_decode(&rest, &entry);
	if (decoded) {
		assert_true(entry.key.size + entry.value.size <= size);
		assert_ptr_equal(rest.data + rest.size, copy + size);
	}
	memory_free(copy);
	return decoded;
}

static void cut_operations_are_refused(void **state)
{
	(void)state;
	size_t size = encode(0, ENTRY_PUT, slice_from_string("key"), slice_from_string("some value"));
	assert_true(decodes(encoded, size));
	for (size_t cut = 0; cut < size; cut++)
		assert_false(decodes(encoded, cut));
}

static void wrong_operations_are_refused(void **state)
{
	(void)state;
	size_t size = encode(0, ENTRY_PUT, slice_from_string("k"), slice_from_string("v"));
	encoded[0] = 0;
	assert_false(decodes(encoded, size));
	encoded[0] = 3;
	assert_false(decodes(encoded, size));

	/* Sizes beyond the limits, and such that their sum overflows. */
	static const uint64_t sizes[][2] = {
		{ KEY_BYTES_MAX + 1, 0 },
		{ 0, VALUE_BYTES_MAX + 1 },
		{ UINT64_MAX, 2 },
		{ UINT64_MAX / 2 + 1, UINT64_MAX / 2 + 1 },
	};
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(encoded, 0, 70000);
		(void)batch_encode_header(encoded, ENTRY_PUT, sizes[i][0], sizes[i][1]);
		assert_false(decodes(encoded, 70000));
	}
}

static void random_bytes_are_survived(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(37));
	unsigned decoded = 0;
	for (int i = 0; i < 50000; i++) {
		uint8_t bytes[24];
		for (size_t at = 0; at < sizeof(bytes); at++)
			bytes[at] = (uint8_t)((random_next(&random) & 0xff) >> random_below(&random, 8));
		bytes[0] &= 3;
		decoded += decodes(bytes, random_below(&random, sizeof(bytes) + 1));
	}
	assert_true(decoded > 100); /* both sides were seen */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(operations_come_back),
		cmocka_unit_test(cut_operations_are_refused),
		cmocka_unit_test(wrong_operations_are_refused),
		cmocka_unit_test(random_bytes_are_survived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
