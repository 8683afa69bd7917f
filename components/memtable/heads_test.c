/*
 * Every form of the search among heads gives what counting one by one gives: over arrays of all fillings,
 * with runs of equal heads, with heads at both ends of their range, and whatever lies behind the array.
 */
#include <string.h>

#include "components/memtable/heads_internal.h"
#include "test.h"

enum { ROUNDS = 20000 };

/* As in a node: what follows the heads up to the end of the cache line is none. */
struct narrow_node {
	_Alignas(64) int32_t heads[NARROW_HEADS];
	int32_t others[2];
};

struct wide_node {
	_Alignas(64) int64_t heads[WIDE_HEADS];
	int64_t other;
};

_Static_assert(sizeof(struct narrow_node) == 256, "four cache lines");
_Static_assert(sizeof(struct wide_node) == 512, "eight cache lines");

static int compare_numbers(const void *a, const void *b)
{
	int64_t of_a = *(const int64_t *)a;
	int64_t of_b = *(const int64_t *)b;
	return of_a < of_b ? -1 : of_a > of_b;
}

/* Sorted numbers within [least, greatest], in a spread that makes many, few or no equal ones. */
static void random_heads(struct random *random, int64_t *numbers, unsigned count, int64_t least,
			 int64_t greatest)
{
	uint64_t range = (uint64_t)greatest - (uint64_t)least;
	uint64_t spread = range >> random_below(random, 60);
	uint64_t base = (uint64_t)least + (range - spread) / (1 + random_below(random, 3));
	for (unsigned i = 0; i < count; i++) {
		uint64_t offset =
			spread == UINT64_MAX ? random_next(random) : random_below(random, spread + 1);
		numbers[i] = (int64_t)(base + offset);
		if (random_below(random, 16) == 0)
			numbers[i] = random_below(random, 2) == 0 ? least : greatest;
	}
	qsort(numbers, count, sizeof(numbers[0]), compare_numbers);
}

static unsigned count_below(const int64_t *numbers, unsigned count, int64_t head)
{
	unsigned below = 0;
	while (below < count && numbers[below] < head)
		below++;
	return below;
}

static void check_narrow(const struct narrow_node *node, int32_t head, unsigned expected)
{
	assert_int_equal(narrow_below_portable(node->heads, head), expected);
	assert_int_equal(narrow_below(node->heads, head), expected);
#if defined(__x86_64__)
	assert_int_equal(narrow_below_sse2(node->heads, head), expected);
	if (__builtin_cpu_supports("avx2"))
		assert_int_equal(narrow_below_avx2(node->heads, head), expected);
#endif
}

static void check_wide(const struct wide_node *node, int64_t head, unsigned expected)
{
	assert_int_equal(wide_below_portable(node->heads, head), expected);
	assert_int_equal(wide_below(node->heads, head), expected);
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		assert_int_equal(wide_below_avx2(node->heads, head), expected);
#endif
}

static void test_narrow(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(31));
	int64_t numbers[NARROW_HEADS];
	struct narrow_node node;
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned count = (unsigned)random_below(&random, NARROW_HEADS + 1);
		random_heads(&random, numbers, count, INT32_MIN, INT32_MAX);
		for (unsigned i = 0; i < NARROW_HEADS; i++)
			node.heads[i] = i < count ? (int32_t)numbers[i] : NARROW_HEAD_MAX;
		/* Smaller than any head, larger than all, or anything. */
		memset(node.others, (int)random_below(&random, 256), sizeof(node.others));
		for (unsigned i = 0; i < 8; i++) {
			int64_t head = count > 0 && i < 6 ? numbers[random_below(&random, count)] + i % 3 - 1
							  : (int32_t)random_next(&random);
			if (head < INT32_MIN || head > INT32_MAX)
				continue;
			check_narrow(&node, (int32_t)head, count_below(numbers, count, head));
		}
		check_narrow(&node, INT32_MIN, 0);
		check_narrow(&node, INT32_MAX, count_below(numbers, count, INT32_MAX));
	}
}

static void test_wide(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(32));
	int64_t numbers[WIDE_HEADS];
	struct wide_node node;
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned count = (unsigned)random_below(&random, WIDE_HEADS + 1);
		random_heads(&random, numbers, count, INT64_MIN, INT64_MAX);
		for (unsigned i = 0; i < WIDE_HEADS; i++)
			node.heads[i] = i < count ? numbers[i] : WIDE_HEAD_MAX;
		memset(&node.other, (int)random_below(&random, 256), sizeof(node.other));
		for (unsigned i = 0; i < 8; i++) {
			uint64_t near = count > 0 && i < 6 ? (uint64_t)numbers[random_below(&random, count)]
							   : random_next(&random);
			int64_t head = (int64_t)(near + i % 3 - 1);
			check_wide(&node, head, count_below(numbers, count, head));
		}
		check_wide(&node, INT64_MIN, 0);
		check_wide(&node, INT64_MAX, count_below(numbers, count, INT64_MAX));
	}
}

/* Heads order as the bytes that they are taken from. */
static void test_order(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(33));
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint8_t bytes[2][24];
		struct slice keys[2];
		size_t skip = random_below(&random, 12);
		memset(bytes, (int)random_below(&random, 256), sizeof(bytes));
		for (unsigned i = 0; i < 2; i++) {
			bytes[i][skip + random_below(&random, 8)] = (uint8_t)random_next(&random);
			keys[i] = slice_make(bytes[i], random_below(&random, 25));
		}
		struct slice rest[2] = { slice_skip(keys[0], skip), slice_skip(keys[1], skip) };
		int order = slice_compare(rest[0], rest[1]);
		int32_t narrow[2] = { narrow_head(keys[0], skip), narrow_head(keys[1], skip) };
		int64_t wide[2] = { wide_head(keys[0], skip), wide_head(keys[1], skip) };
		if (order < 0) {
			assert_true(narrow[0] <= narrow[1]);
			assert_true(wide[0] <= wide[1]);
		} else if (order > 0) {
			assert_true(narrow[0] >= narrow[1]);
			assert_true(wide[0] >= wide[1]);
		} else {
			assert_int_equal(narrow[0], narrow[1]);
			assert_true(wide[0] == wide[1]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_narrow),
		cmocka_unit_test(test_wide),
		cmocka_unit_test(test_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
