#include "harness/ticks.h"

#include "test.h"

/* Loose where a busy machine may hold a thread up between two readings. */
static void the_stopwatch_agrees_with_the_clock(void **state)
{
	(void)state;
	ticks_calibrate();
	print_message("readings are %s\n", ticks_rate.counts ? "the processor's counter" : "clock_now_ns");
	for (int attempt = 0;; attempt++) {
		uint64_t ns = clock_now_ns();
		uint64_t ticks = ticks_now();
		clock_sleep_ns(20000000);
		double by_ticks = (double)ticks_to_ns(ticks_now() - ticks);
		double by_clock = (double)(clock_now_ns() - ns);
		assert_true(by_ticks <= by_clock * 1.001);
		if (by_ticks >= by_clock * 0.999)
			return;
		assert_true(attempt < 100);
	}
}

static void it_never_goes_back(void **state)
{
	(void)state;
	uint64_t before = ticks_now();
	for (int i = 0; i < 100000; i++) {
		uint64_t now = ticks_now();
		assert_true(now >= before);
		before = now;
	}
	assert_int_equal(ticks_to_ns(0), 0);
	/* Half an hour does not overflow. */
	uint64_t rate = (uint64_t)((1ull << 32) * 1.0 / (double)ticks_rate.ns_in_ticks * 1e9);
	assert_true(ticks_to_ns(rate * 1800) > 1799000000000ull);
	assert_true(ticks_to_ns(rate * 1800) < 1801000000000ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_stopwatch_agrees_with_the_clock),
		cmocka_unit_test(it_never_goes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
