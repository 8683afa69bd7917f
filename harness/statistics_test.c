/*
 * Statistics: against numbers worked out by hand or published, and by simulation: how often an interval holds
 * the truth. About two seconds.
 */
#include "harness/statistics.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "test.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void assert_near(double got, double expected, double within)
{
	if (!(fabs(got - expected) <= within))
		fail_msg("%.9g, expected %.9g within %g", got, expected, within);
}

static void test_medians_and_means(void **state)
{
	(void)state;
	const double odd[] = { 5, 1, 3 }, even[] = { 4, 1, 3, 2 };
	assert_near(statistics_median(odd, 3), 3, 0);
	assert_near(statistics_median(even, 4), 2.5, 0);
	assert_true(isnan(statistics_median(odd, 0)));
	assert_near(odd[0], 5, 0); /* as they were */
	struct spread spread = statistics_spread(even, 4);
	assert_near(spread.least, 1, 0);
	assert_near(spread.most, 4, 0);
	const double powers[] = { 1, 10, 100 };
	assert_near(statistics_geometric_mean(powers, 3), 10, 1e-12);
	const double none[] = { 1, 0 };
	assert_true(isnan(statistics_geometric_mean(none, 2)));
	assert_true(isnan(statistics_geometric_mean(none, 0)));
}

/* Quantiles from printed tables. */
static void test_student(void **state)
{
	(void)state;
	assert_near(statistics_student(1), 12.706, 0.001);
	assert_near(statistics_student(4), 2.776, 0.001);
	assert_near(statistics_student(20), 2.086, 0.001);
	assert_near(statistics_student(21), 2.0796, 0.0005);
	assert_near(statistics_student(30), 2.0423, 0.0005);
	assert_near(statistics_student(120), 1.9799, 0.0005);
	/* Logarithms 0, 1, 2: mean 1, standard error 1 / sqrt(3). */
	const double values[] = { 1, M_E, M_E * M_E };
	struct interval interval = statistics_mean_interval(values, 3);
	assert_near(log(interval.low), 1 - 4.3027 / sqrt(3), 1e-4);
	assert_near(log(interval.high), 1 + 4.3027 / sqrt(3), 1e-4);
	assert_true(isnan(statistics_mean_interval(values, 1).low));
}

/* The least p of n against n is 2 / C(2n, n); others from the published distribution of U. */
static void test_mann_whitney(void **state)
{
	(void)state;
	const double low[] = { 1, 2, 3, 4, 5 }, high[] = { 6, 7, 8, 9, 10 };
	assert_near(statistics_mann_whitney(low, 3, high, 3), 2.0 / 20, 1e-12);
	assert_near(statistics_mann_whitney(low, 4, high, 4), 2.0 / 70, 1e-12);
	assert_near(statistics_mann_whitney(high, 5, low, 5), 2.0 / 252, 1e-12);
	/* U = 4 of 3 against 3 (1 2 4 / 3 5 6 has U = 1): 4 of the 20 picks are as far out. */
	const double a[] = { 1, 2, 4 }, b[] = { 3, 5, 6 };
	assert_near(statistics_mann_whitney(a, 3, b, 3), 4.0 / 20, 1e-12);
	assert_near(statistics_mann_whitney(low, 5, low, 5), 1, 1e-12);
	/* Ties: ranks 1.5 1.5 3.5 3.5, the sums of two picks are 3, 5 (four times) and 7. */
	const double x[] = { 1, 1 }, y[] = { 2, 2 };
	assert_near(statistics_mann_whitney(x, 2, y, 2), 2.0 / 6, 1e-12);
	assert_true(isnan(statistics_mann_whitney(x, 0, y, 2)));
	/* Both sides of the limit of the exact test agree. */
	double p[2];
	for (size_t n = 30; n <= 31; n++) {
		double many[31], more[31];
		for (size_t i = 0; i < n; i++) {
			many[i] = (double)(2 * i);
			more[i] = (double)(2 * i) + 11;
		}
		p[n - 30] = statistics_mann_whitney(many, n, more, n);
	}
	assert_near(p[0], p[1], 0.01);
	assert_true(p[0] > 0.02 && p[0] < 0.04);
}

static void test_effects(void **state)
{
	(void)state;
	const double a[] = { 1, 2, 3 }, b[] = { 3, 5, 10 };
	/* Differences 2 4 9, 1 3 8, 0 2 7: their median is 3; 8 pairs above, one equal. */
	assert_near(statistics_hodges_lehmann(a, 3, b, 3), 3, 0);
	assert_near(statistics_cliffs_delta(a, 3, b, 3), 8.0 / 9, 1e-12);
	assert_near(statistics_cliffs_delta(b, 3, a, 3), -8.0 / 9, 1e-12);
	double p[] = { 0.04, 0.01, NAN, 0.03, 0.8 };
	statistics_holm(p, 5);
	assert_near(p[1], 0.04, 1e-12);
	assert_near(p[3], 0.09, 1e-12);
	assert_near(p[0], 0.09, 1e-12); /* not below the one before it */
	assert_near(p[4], 0.8, 1e-12);
	assert_true(isnan(p[2]));
}

static void test_bootstrap_repeats(void **state)
{
	(void)state;
	const double a[] = { 100, 104, 98, 101, 97 }, b[] = { 120, 118, 125, 122, 119 };
	struct interval first = statistics_bootstrap_ratio(a, 5, b, 5, STATISTICS_RESAMPLES, 1);
	struct interval again = statistics_bootstrap_ratio(a, 5, b, 5, STATISTICS_RESAMPLES, 1);
	assert_memory_equal(&first, &again, sizeof(first));
	/* Medians of resamples of five numbers are numbers of the samples. */
	assert_near(first.low, 120.0 / 104, 1e-9);
	assert_near(first.high, 122.0 / 97, 1e-9);
	assert_true(isnan(statistics_bootstrap_ratio(a, 1, b, 5, 100, 1).low));
	const double zero[] = { 0, 1, 1 };
	assert_true(isnan(statistics_bootstrap_ratio(zero, 3, b, 3, 1000, 1).low));
}

/* --- verdicts --- */

static void test_verdicts(void **state)
{
	(void)state;
	static const struct {
		double low, high;
		enum verdict verdict;
	} cases[] = {
		{ 1.02, 1.3, VERDICT_BETTER },
		{ 0.7, 0.98, VERDICT_WORSE },
		{ 0.995, 1.005, VERDICT_INDISTINGUISHABLE },
		{ 0.9, 1.1, VERDICT_INCONCLUSIVE },
		{ 1.005, 1.2, VERDICT_INCONCLUSIVE },
		{ NAN, NAN, VERDICT_NONE },
		{ 1, 1, VERDICT_INDISTINGUISHABLE },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct interval interval = { cases[i].low, cases[i].high };
		assert_int_equal(statistics_verdict(interval, 0.01, true), cases[i].verdict);
	}
	assert_int_equal(statistics_verdict((struct interval) { 1.02, 1.3 }, 0.01, false), VERDICT_WORSE);
	assert_int_equal(statistics_verdict((struct interval) { 1.02, 1.3 }, 0.05, true),
			 VERDICT_INCONCLUSIVE);
}

/* The machine halves its speed from block to block: only ratios within blocks see the 10 %. */
static void test_blocks_cancel_drift(void **state)
{
	(void)state;
	struct sample a[4], b[4], apart[4];
	for (uint32_t i = 0; i < 4; i++) {
		double speed = 1000 / (double)(1u << i), noise = i % 2 == 0 ? 1.002 : 0.998;
		a[i] = (struct sample) { speed, i };
		b[3 - i] = (struct sample) { 1.1 * speed * noise, i };
		apart[i] = (struct sample) { 1.1 * speed * noise, 100 + i };
	}
	struct comparison within = statistics_compare(a, 4, b, 4, 0.01, true);
	assert_int_equal(within.method, RATIO_BLOCKS);
	assert_int_equal(within.blocks, 4);
	assert_near(within.ratio, 1.1, 0.001);
	assert_int_equal(within.verdict, VERDICT_BETTER);
	struct comparison across = statistics_compare(a, 4, apart, 4, 0.01, true);
	assert_int_equal(across.method, RATIO_MEDIANS);
	assert_int_equal(across.blocks, 0);
	assert_int_equal(across.verdict, VERDICT_INCONCLUSIVE);
	assert_near(across.p, within.p, 0);
}

static void test_few_and_odd_samples(void **state)
{
	(void)state;
	const struct sample a[] = { { 10, 1 }, { 11, 2 }, { 12, 3 } }, zero[] = { { 0, 1 }, { 0, 2 } };
	struct comparison single = statistics_compare(a, 1, a + 1, 1, 0.01, true);
	assert_int_equal(single.method, RATIO_SINGLE);
	assert_near(single.ratio, 1.1, 1e-12);
	assert_true(isnan(single.interval.low));
	assert_true(isnan(single.p));
	assert_int_equal(single.verdict, VERDICT_NONE);
	struct comparison none = statistics_compare(a, 3, a, 0, 0.01, true);
	assert_int_equal(none.method, RATIO_NONE);
	assert_true(isnan(none.ratio));
	/* Nothing against something has no ratio; nothing against nothing is the same. */
	struct comparison from_zero = statistics_compare(zero, 2, a, 2, 0.01, false);
	assert_true(isnan(from_zero.ratio));
	assert_int_equal(from_zero.verdict, VERDICT_NONE);
	struct comparison zeros = statistics_compare(zero, 2, zero, 2, 0.01, false);
	assert_near(zeros.ratio, 1, 0);
	assert_int_equal(zeros.verdict, VERDICT_INDISTINGUISHABLE);
	/* Numbers that never vary are compared without doubt. */
	const struct sample same[] = { { 4, 1 }, { 4, 2 }, { 4, 3 } },
			    more[] = { { 5, 1 }, { 5, 2 }, { 5, 3 } };
	struct comparison exact = statistics_compare(same, 3, more, 3, 0.01, false);
	assert_near(exact.interval.low, 1.25, 1e-9);
	assert_near(exact.interval.high, 1.25, 1e-9);
	assert_int_equal(exact.verdict, VERDICT_WORSE);
}

/* --- coverage --- */

enum noise { NOISE_NORMAL, NOISE_SKEWED, NOISE_OUTLIERS, NOISES };

static double draw_normal(struct random *random)
{
	double radius = sqrt(-2 * log(1 - random_unit(random)));
	return radius * cos(2 * M_PI * random_unit(random));
}

/* Logarithms of throughputs: plain, with a tail to one side, or with a slow repetition every now and then. */
static double draw_noise(struct random *random, enum noise noise)
{
	double normal = draw_normal(random);
	if (noise == NOISE_SKEWED)
		return -log(1 - random_unit(random));
	if (noise == NOISE_OUTLIERS && random_below(random, 10) == 0)
		return normal - 4 * fabs(draw_normal(random));
	return normal;
}

/* Two configurations alike: how often does the interval hold the ratio 1? */
static double coverage(enum noise noise, size_t n, bool blocks, size_t trials)
{
	struct random random = random_stream(1000 * (uint64_t)noise + n);
	size_t held = 0;
	for (size_t trial = 0; trial < trials; trial++) {
		double a[10], b[10], ratios[10];
		for (size_t i = 0; i < n; i++) {
			double drift = blocks ? 2 * draw_normal(&random) : 0;
			a[i] = exp(0.05 * (drift + draw_noise(&random, noise)));
			b[i] = exp(0.05 * (drift + draw_noise(&random, noise)));
			ratios[i] = b[i] / a[i];
		}
		struct interval interval = blocks ? statistics_mean_interval(ratios, n)
						  : statistics_bootstrap_ratio(a, n, b, n, 400, trial);
		held += interval.low <= 1 && interval.high >= 1;
	}
	return (double)held / (double)trials;
}

/* 95 % asked for; 4000 trials tell it to within 0.7 % (two standard errors). */
static void test_blocks_cover(void **state)
{
	(void)state;
	for (int noise = 0; noise < NOISES; noise++) {
		for (size_t n = 2; n <= 10; n++) {
			double held = coverage((enum noise)noise, n, true, 4000);
			if (held < 0.94 || held > 0.985)
				fail_msg("noise %d, %zu blocks: %.1f %% held", noise, n, 100 * held);
		}
	}
}

static void test_bootstrap_covers(void **state)
{
	(void)state;
	static const size_t counts[] = { 2, 3, 4, 5, 6, 10 };
	for (int noise = 0; noise < NOISES; noise++) {
		for (size_t i = 0; i < COUNT(counts); i++) {
			double held = coverage((enum noise)noise, counts[i], false, 1000);
			if (held < 0.935)
				fail_msg("noise %d, n = %zu: %.1f %% held", noise, counts[i], 100 * held);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_medians_and_means),   cmocka_unit_test(test_student),
		cmocka_unit_test(test_mann_whitney),	    cmocka_unit_test(test_effects),
		cmocka_unit_test(test_bootstrap_repeats),   cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_blocks_cancel_drift), cmocka_unit_test(test_few_and_odd_samples),
		cmocka_unit_test(test_blocks_cover),	    cmocka_unit_test(test_bootstrap_covers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
