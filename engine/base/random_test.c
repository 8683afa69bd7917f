/*
 * random_test.c: random numbers are a pure function of (seed, counter) and stay the same for ever: runs
 * are compared by seed. Also the doors to entropy and time. (Milliseconds.)
 */
#include "test.h"

#include "base/clock.h"

static void draws_are_pinned(void **state)
{
	(void)state;
	assert_true(random_mix(0) == 0);
	/* splitmix64 with seed 0 gives this first number (Vigna's reference code). */
	assert_true(random_mix(0x9e3779b97f4a7c15ull) == 0xe220a8397b1dcdafull);
	struct random random = random_stream(42);
	for (uint64_t i = 0; i < 1000; i++)
		assert_true(random_next(&random) == random_at(42, i));
	assert_true(random_at(1, 0) != random_at(2, 0));
	assert_true(random_at(1, 1) != random_at(2, 0));
}

static void draws_are_even(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(5));
	unsigned counts[10] = { 0 };
	unsigned bits[64] = { 0 };
	double sum = 0;
	for (int i = 0; i < 20000; i++) {
		counts[random_below(&random, 10)]++;
		double unit = random_unit(&random);
		assert_true(unit >= 0 && unit < 1);
		sum += unit;
		uint64_t word = random_next(&random);
		for (unsigned bit = 0; bit < 64; bit++)
			bits[bit] += word >> bit & 1;
	}
	for (unsigned i = 0; i < 10; i++)
		assert_in_range(counts[i], 1700, 2300);
	for (unsigned bit = 0; bit < 64; bit++)
		assert_in_range(bits[bit], 9500, 10500);
	assert_true(sum > 9700 && sum < 10300);
	for (int i = 0; i < 100; i++)
		assert_int_equal(random_below(&random, 1), 0);
}

static uint64_t give_context(void *context)
{
	return *(const uint64_t *)context;
}

static void entropy_can_be_replaced(void **state)
{
	(void)state;
	assert_true(random_entropy() != random_entropy());
	uint64_t fixed = 99;
	random_set_entropy_source(give_context, &fixed);
	assert_int_equal(random_entropy(), 99);
	random_set_entropy_source(NULL, NULL);
	assert_true(random_entropy() != random_entropy());
}

static void clocks_can_be_replaced(void **state)
{
	(void)state;
	uint64_t first = clock_now_ns();
	uint64_t wall = clock_wall_ns();
	assert_true(wall > 1600000000ull * 1000000000ull); /* after 2020, before 2100 */
	assert_true(wall < 4102444800ull * 1000000000ull);
	for (int i = 0; i < 1000; i++) {
		uint64_t next = clock_now_ns();
		assert_true(next >= first);
		first = next;
	}
	uint64_t fixed = 12345;
	clock_set_source(give_context, &fixed);
	assert_int_equal(clock_now_ns(), 12345);
	assert_int_equal(clock_wall_ns(), 12345);
	clock_set_source(NULL, NULL);
	assert_true(clock_now_ns() >= first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(draws_are_pinned),
		cmocka_unit_test(draws_are_even),
		cmocka_unit_test(entropy_can_be_replaced),
		cmocka_unit_test(clocks_can_be_replaced),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
