/*
 * What the kind `codec` works on: that each content is what it says, and the same each time. A moment.
 */
#include <string.h>

#include "components/codec/codec.h"
#include "harness/bench/bench_codec_data.h"
#include "test.h"

enum { BYTES = 256 << 10, BLOCK_BYTES = 4096, CONTEXT_BYTES = 1 << 16 };

static uint8_t data[BYTES], other[BYTES];

static void test_contents_are_functions_of_their_seed(void **state)
{
	(void)state;
	for (int content = CODEC_RANDOM; content <= CODEC_JSON; content++) {
		assert_ok(codec_data_fill((enum codec_content)content, test_seed(1), data, BYTES));
		/* A shorter run is the beginning of a longer one: the last entry is cut off. */
		other[10000] = 0xa5;
		assert_ok(codec_data_fill((enum codec_content)content, test_seed(1), other, 10000));
		assert_memory_equal(data, other, 10000);
		assert_int_equal(other[10000], 0xa5);
		assert_ok(codec_data_fill((enum codec_content)content, test_seed(1) + 1, other, BYTES));
		assert_memory_not_equal(data, other, BYTES);
		assert_memory_equal(data, "user0000", 8);
	}
}

/* The share of the bytes that is left when each block is compressed by LZ4, or stored as it is. */
static double share_left(enum codec_content content)
{
	const struct codec_ops *lz4 = (const struct codec_ops *)component_find(COMPONENT_CODEC, "lz4");
	static _Alignas(64) uint8_t context[CONTEXT_BYTES];
	uint8_t to[BLOCK_BYTES], options[COMPONENT_OPTIONS_SIZE_MAX];
	size_t left = 0;
	assert_non_null(lz4);
	assert_true(lz4->component.options_size <= sizeof(options));
	component_default_options(&lz4->component, options);
	assert_true(lz4->context_size(options) <= sizeof(context));
	memset(context, 0, sizeof(context));
	assert_ok(codec_data_fill(content, test_seed(2), data, BYTES));
	for (size_t at = 0; at < BYTES; at += BLOCK_BYTES) {
		size_t size = lz4->compress(options, context, data + at, BLOCK_BYTES, to, BLOCK_BYTES);
		left += size > 0 ? size : BLOCK_BYTES;
	}
	return (double)left / BYTES;
}

static void test_contents_compress_as_they_say(void **state)
{
	(void)state;
	double random = share_left(CODEC_RANDOM), half = share_left(CODEC_HALF),
	       json = share_left(CODEC_JSON);
	print_message("random %.3f, half %.3f, json %.3f\n", random, half, json);
	assert_true(random > 0.95);
	assert_true(half > 0.47);
	assert_true(half < 0.58);
	assert_true(json > 0.3);
	assert_true(json < 0.8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contents_are_functions_of_their_seed),
		cmocka_unit_test(test_contents_compress_as_they_say),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
