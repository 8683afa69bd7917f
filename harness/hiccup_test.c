/* The hiccup thread: it samples while it lives, it ends, and a long pause weighs as much as it lasted. */
#include "harness/hiccup.h"

#include "base/clock.h"
#include "base/memory.h"
#include "test.h"

static void test_it_samples(void **state)
{
	(void)state;
	struct hiccup *hiccup;
	uint64_t begin_ns = clock_now_ns();
	assert_ok(hiccup_start(&hiccup));
	clock_sleep_ns(60000000);
	struct histogram *histogram = hiccup_stop(hiccup);
	uint64_t elapsed_ns = clock_now_ns() - begin_ns;
	assert_non_null(histogram);
	/* Never more samples than milliseconds, and no sample longer than the test. */
	assert_true(histogram->count >= 1);
	assert_true(histogram->count <= elapsed_ns / 1000000 + 1);
	assert_true(histogram->max_ns < elapsed_ns);
	histogram_free(histogram);
}

static void test_a_pause_weighs_its_time(void **state)
{
	(void)state;
	struct histogram *histogram = histogram_create();
	hiccup_record(histogram, 999999);
	assert_int_equal(histogram->count, 1);
	hiccup_record(histogram, 1999999);
	assert_int_equal(histogram->count, 2);
	/* 10 ms, and the sleeps that would have been 9, 8 ... 1 ms late. */
	hiccup_record(histogram, 10000000);
	assert_int_equal(histogram->count, 12);
	assert_int_equal(histogram->max_ns, 10000000);
	assert_int_equal(histogram->sum_ns, 999999 + 1999999 + 55000000);
	/* A suspended machine costs no minutes of recording. */
	hiccup_record(histogram, UINT64_MAX / 2);
	assert_int_equal(histogram->count, 12 + 1000001);
	histogram_free(histogram);
}

static void test_nothing_to_stop(void **state)
{
	(void)state;
	struct hiccup *hiccup;
	assert_null(hiccup_stop(NULL));
	memory_fail_at(1, 0);
	assert_status(hiccup_start(&hiccup), STATUS_NO_MEMORY);
	assert_null(hiccup);
	memory_fail_at(0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_samples),
		cmocka_unit_test(test_a_pause_weighs_its_time),
		cmocka_unit_test(test_nothing_to_stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
