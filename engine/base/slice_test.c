/*
 * slice_test.c: the order of keys and entries, and the intrusive lists. (Milliseconds.)
 */
#include "test.h"

#include <string.h>

#include "base/entry.h"
#include "base/list.h"
#include "base/slice.h"

static int sign(int number)
{
	return number > 0 ? 1 : number < 0 ? -1 : 0;
}

static void slices_order_as_bytes_do(void **state)
{
	(void)state;
	/* Ascending; bytes above 0x7f compare unsigned, and a prefix comes first. */
	static const struct slice ordered[] = {
		{ NULL, 0 },
		{ (const uint8_t *)"\0", 1 },
		{ (const uint8_t *)"\0\0", 2 },
		{ (const uint8_t *)"\0a", 2 },
		{ (const uint8_t *)"a", 1 },
		{ (const uint8_t *)"a\0", 2 },
		{ (const uint8_t *)"ab", 2 },
		{ (const uint8_t *)"b", 1 },
		{ (const uint8_t *)"\x80", 1 },
		{ (const uint8_t *)"\xff", 1 },
		{ (const uint8_t *)"\xff\xff", 2 },
	};
	enum { COUNT = sizeof(ordered) / sizeof(ordered[0]) };
	for (int i = 0; i < COUNT; i++)
		for (int j = 0; j < COUNT; j++) {
			assert_int_equal(sign(slice_compare(ordered[i], ordered[j])), sign(i - j));
			assert_int_equal(slice_equal(ordered[i], ordered[j]), i == j);
		}
}

static struct slice random_slice(struct random *random, uint8_t *bytes, size_t size_max)
{
	size_t size = random_below(random, size_max + 1);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(random_below(random, 3) * 127);
	return slice_make(bytes, size);
}

/* Where two heads differ, they order as the slices do; where they are equal, they decide nothing. */
static void heads_agree_with_the_order(void **state)
{
	(void)state;
	uint64_t seed = test_seed(23);
	struct random random = random_stream(seed);
	for (int i = 0; i < 50000; i++) {
		uint8_t bytes[2][12];
		struct slice a = random_slice(&random, bytes[0], 12);
		struct slice b = random_slice(&random, bytes[1], 12);
		size_t common = slice_common_prefix(a, b);
		assert_true(common <= a.size && common <= b.size);
		assert_true(slice_equal(slice_make(a.data, common), slice_make(b.data, common)));
		assert_true(common == a.size || common == b.size || a.data[common] != b.data[common]);
		size_t skip = random_below(&random, common + 1);
		uint64_t head_a = slice_head(a, skip);
		uint64_t head_b = slice_head(b, skip);
		int order = slice_compare(a, b);
		if (head_a != head_b && (head_a < head_b) != (order < 0))
			fail_msg("seed %#lx pair %d", (unsigned long)seed, i);
		assert_int_equal(sign(slice_compare(slice_skip(a, skip), slice_skip(b, skip))), sign(order));
	}
	assert_true(slice_head(slice_from_string("abc"), 0) == 0x6162630000000000ull);
	assert_true(slice_head(slice_from_string("abcdefghij"), 1) == 0x6263646566676869ull);
	assert_true(slice_head(slice_from_string("abc"), 3) == 0);
	assert_int_equal(slice_skip(slice_from_string("abc"), 9).size, 0);
}

static void newer_entries_come_first(void **state)
{
	(void)state;
	struct slice a = slice_from_string("a");
	struct slice b = slice_from_string("b");
	assert_true(entry_compare(a, 1, b, 9) < 0);
	assert_true(entry_compare(b, 9, a, 1) > 0);
	assert_true(entry_compare(a, 2, a, 1) < 0);
	assert_true(entry_compare(a, 1, a, 2) > 0);
	assert_true(entry_compare(a, SEQUENCE_MAX, a, 0) < 0);
	assert_int_equal(entry_compare(a, 5, a, 5), 0);
}

struct item {
	int number;
	struct list node;
};

static void lists_keep_their_order(void **state)
{
	(void)state;
	struct list list;
	struct item items[5];
	list_init(&list);
	assert_true(list_is_empty(&list));
	assert_null(list_take_first(&list));
	for (int i = 0; i < 5; i++) {
		items[i].number = i;
		if (i % 2 == 0)
			list_add_last(&list, &items[i].node);
		else
			list_add_first(&list, &items[i].node);
	}
	list_remove(&items[0].node);
	list_remove(&items[0].node); /* harmless: it stands alone */
	static const int expected[] = { 3, 1, 2, 4 };
	for (int i = 0; i < 4; i++) {
		struct list *node = list_take_first(&list);
		assert_int_equal(CONTAINER_OF(node, struct item, node)->number, expected[i]);
	}
	assert_true(list_is_empty(&list));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_order_as_bytes_do),
		cmocka_unit_test(heads_agree_with_the_order),
		cmocka_unit_test(newer_entries_come_first),
		cmocka_unit_test(lists_keep_their_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
