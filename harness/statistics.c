#include "harness/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "harness/allocate.h"

enum { EXACT_MAX = 60 /* numbers of both together in an exact Mann-Whitney test */ };

static int by_number(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

static double median_of_sorted(const double *values, size_t count)
{
	if (count == 0)
		return NAN;
	return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double *sorted_copy(const double *values, size_t count)
{
	double *copy = allocate_zeroed(count + 1, sizeof(*copy));
	if (count > 0)
		memcpy(copy, values, count * sizeof(*copy));
	qsort(copy, count, sizeof(*copy), by_number);
	return copy;
}

struct spread statistics_spread(const double *values, size_t count)
{
	struct spread spread = { NAN, NAN, NAN, count };
	if (count == 0)
		return spread;
	double *sorted = sorted_copy(values, count);
	spread.median = median_of_sorted(sorted, count);
	spread.least = sorted[0];
	spread.most = sorted[count - 1];
	memory_free(sorted);
	return spread;
}

double statistics_median(const double *values, size_t count)
{
	return statistics_spread(values, count).median;
}

double statistics_geometric_mean(const double *values, size_t count)
{
	double sum = 0;
	for (size_t i = 0; i < count; i++) {
		if (!(values[i] > 0))
			return NAN;
		sum += log(values[i]);
	}
	return count > 0 ? exp(sum / (double)count) : NAN;
}

/* --- Student's t --- */

double statistics_student(size_t freedom)
{
	static const double table[] = { NAN,	12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469,
					2.3646, 2.3060,	 2.2622, 2.2281, 2.2010, 2.1788, 2.1604,
					2.1448, 2.1314,	 2.1199, 2.1098, 2.1009, 2.0930, 2.0860 };
	if (freedom < sizeof(table) / sizeof(table[0]))
		return table[freedom];
	/* Cornish and Fisher's expansion around the normal quantile: right to four digits from here on. */
	double z = 1.959964, n = (double)freedom;
	double z3 = z * z * z, z5 = z3 * z * z;
	return z + (z3 + z) / (4 * n) + (5 * z5 + 16 * z3 + 3 * z) / (96 * n * n);
}

struct interval statistics_mean_interval(const double *values, size_t count)
{
	double mean = log(statistics_geometric_mean(values, count));
	if (count < 2 || isnan(mean))
		return (struct interval) { NAN, NAN };
	double squares = 0;
	for (size_t i = 0; i < count; i++)
		squares += (log(values[i]) - mean) * (log(values[i]) - mean);
	double n = (double)count;
	double half = statistics_student(count - 1) * sqrt(squares / (n - 1) / n);
	return (struct interval) { exp(mean - half), exp(mean + half) };
}

/* --- bootstrap --- */

/* Median of as many draws with replacement. `room` holds them. */
static double resample(struct random *random, const double *values, size_t count, double *room)
{
	for (size_t i = 0; i < count; i++) {
		/* Insertion keeps them sorted: for the few numbers that there are, nothing is faster. */
		double value = values[random_below(random, count)];
		size_t at = i;
		for (; at > 0 && room[at - 1] > value; at--)
			room[at] = room[at - 1];
		room[at] = value;
	}
	return median_of_sorted(room, count);
}

/*
 * How much wider than the percentile interval the 95 % interval is. The medians of resamples of two, three or
 * four numbers cannot spread as the median itself does; the factors make the coverage of the simulation in
 * statistics_test at least 95 %, give or take half a percent.
 */
static double widening(size_t least_count)
{
	static const double factors[] = { NAN, NAN, 6.0, 1.5, 1.25 };
	return least_count < sizeof(factors) / sizeof(factors[0]) ? factors[least_count] : 1;
}

struct interval statistics_bootstrap_ratio(const double *a, size_t a_count, const double *b, size_t b_count,
					   size_t resamples, uint64_t seed)
{
	struct interval interval = { NAN, NAN };
	double centre = log(statistics_median(b, b_count) / statistics_median(a, a_count));
	if (a_count < 2 || b_count < 2 || !isfinite(centre))
		return interval;
	size_t largest = a_count > b_count ? a_count : b_count;
	double *ratios = allocate_zeroed(resamples, sizeof(*ratios));
	double *room = allocate_zeroed(largest, sizeof(*room));
	struct random random = random_stream(seed);
	bool good = true;
	for (size_t i = 0; i < resamples; i++) {
		double below = resample(&random, a, a_count, room);
		double above = resample(&random, b, b_count, room);
		good = good && below > 0 && above > 0;
		ratios[i] = good ? log(above / below) : 0;
	}
	if (good) {
		qsort(ratios, resamples, sizeof(*ratios), by_number);
		size_t cut = (size_t)(0.025 * (double)resamples);
		double factor = widening(a_count < b_count ? a_count : b_count);
		interval.low = exp(centre + factor * (ratios[cut] - centre));
		interval.high = exp(centre + factor * (ratios[resamples - 1 - cut] - centre));
	}
	memory_free(ratios);
	memory_free(room);
	return interval;
}

/* --- Mann-Whitney --- */

struct ranked {
	double value;
	bool second;   /* of b */
	uint32_t rank; /* twice the mean rank: a whole number */
};

static int by_value(const void *left, const void *right)
{
	const struct ranked *a = left, *b = right;
	return (a->value > b->value) - (a->value < b->value);
}

/* Gives equal numbers their mean rank. Returns the sum of t^3 - t over groups of t equal ones. */
static double rank_all(struct ranked *ranked, size_t count)
{
	double ties = 0;
	qsort(ranked, count, sizeof(*ranked), by_value);
	for (size_t first = 0, end; first < count; first = end) {
		for (end = first + 1; end < count && ranked[end].value == ranked[first].value; end++)
			;
		double t = (double)(end - first);
		ties += t * t * t - t;
		for (size_t i = first; i < end; i++)
			ranked[i].rank = (uint32_t)(first + 1 + end);
	}
	return ties;
}

/*
 * The share of all ways to pick b_count of the ranks whose sum lies at least as far from its mean as `sum`
 * does. ways[k][s]: how many ways pick k of the ranks so far with the sum s.
 */
static double exact_p(const struct ranked *ranked, size_t count, size_t b_count, uint32_t sum)
{
	size_t sums = count * (count + 1) + 1;
	double *ways = allocate_zeroed((b_count + 1) * sums, sizeof(*ways));
	ways[0] = 1;
	for (size_t i = 0; i < count; i++) {
		uint32_t rank = ranked[i].rank;
		for (size_t k = b_count < i + 1 ? b_count : i + 1; k > 0; k--) {
			for (size_t s = sums; s-- > rank;)
				ways[k * sums + s] += ways[(k - 1) * sums + s - rank];
		}
	}
	/* Twice the mean, so that it is a whole number too. */
	uint64_t mean2 = (uint64_t)b_count * 2 * (count + 1);
	uint64_t far = 2 * (uint64_t)sum > mean2 ? 2 * (uint64_t)sum - mean2 : mean2 - 2 * (uint64_t)sum;
	double all = 0, beyond = 0;
	for (size_t s = 0; s < sums; s++) {
		double number = ways[b_count * sums + s];
		uint64_t distance = 2 * s > mean2 ? 2 * s - mean2 : mean2 - 2 * s;
		all += number;
		beyond += distance >= far ? number : 0;
	}
	memory_free(ways);
	return beyond / all;
}

static double normal_p(double a_count, double b_count, double sum, double ties)
{
	double count = a_count + b_count;
	double mean = b_count * (count + 1) / 2;
	double variance = a_count * b_count / 12 * (count + 1 - ties / (count * (count - 1)));
	if (variance <= 0)
		return 1;
	double distance = fabs(sum - mean) - 0.5; /* the correction for continuity */
	return erfc((distance > 0 ? distance : 0) / sqrt(2 * variance));
}

double statistics_mann_whitney(const double *a, size_t a_count, const double *b, size_t b_count)
{
	size_t count = a_count + b_count;
	if (a_count == 0 || b_count == 0)
		return NAN;
	struct ranked *ranked = allocate_zeroed(count, sizeof(*ranked));
	for (size_t i = 0; i < count; i++)
		ranked[i] = i < a_count ? (struct ranked) { a[i], false, 0 }
					: (struct ranked) { b[i - a_count], true, 0 };
	double ties = rank_all(ranked, count);
	uint32_t sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += ranked[i].second ? ranked[i].rank : 0;
	double p = count <= EXACT_MAX ? exact_p(ranked, count, b_count, sum)
				      : normal_p((double)a_count, (double)b_count, (double)sum / 2, ties);
	memory_free(ranked);
	return p;
}

double statistics_hodges_lehmann(const double *a, size_t a_count, const double *b, size_t b_count)
{
	double *differences = allocate_zeroed(a_count * b_count + 1, sizeof(*differences));
	for (size_t i = 0; i < a_count; i++) {
		for (size_t k = 0; k < b_count; k++)
			differences[i * b_count + k] = b[k] - a[i];
	}
	double shift = statistics_median(differences, a_count * b_count);
	memory_free(differences);
	return shift;
}

double statistics_cliffs_delta(const double *a, size_t a_count, const double *b, size_t b_count)
{
	double sum = 0;
	for (size_t i = 0; i < a_count; i++) {
		for (size_t k = 0; k < b_count; k++)
			sum += (b[k] > a[i]) - (b[k] < a[i]);
	}
	return a_count > 0 && b_count > 0 ? sum / (double)(a_count * b_count) : NAN;
}

struct ordered {
	double p;
	size_t index;
};

static int by_p(const void *left, const void *right)
{
	const struct ordered *a = left, *b = right;
	return (a->p > b->p) - (a->p < b->p);
}

void statistics_holm(double *p, size_t count)
{
	struct ordered *ordered = allocate_zeroed(count + 1, sizeof(*ordered));
	size_t known = 0;
	for (size_t i = 0; i < count; i++) {
		if (!isnan(p[i]))
			ordered[known++] = (struct ordered) { p[i], i };
	}
	qsort(ordered, known, sizeof(*ordered), by_p);
	double highest = 0;
	for (size_t i = 0; i < known; i++) {
		double raised = ordered[i].p * (double)(known - i);
		highest = raised > highest ? raised : highest;
		p[ordered[i].index] = highest < 1 ? highest : 1;
	}
	memory_free(ordered);
}

/* --- two configurations --- */

enum verdict statistics_verdict(struct interval interval, double noise_floor, bool more_is_better)
{
	double above = 1 + noise_floor, below = 1 / above;
	if (isnan(interval.low) || isnan(interval.high))
		return VERDICT_NONE;
	if (interval.low > above)
		return more_is_better ? VERDICT_BETTER : VERDICT_WORSE;
	if (interval.high < below)
		return more_is_better ? VERDICT_WORSE : VERDICT_BETTER;
	return interval.low >= below && interval.high <= above ? VERDICT_INDISTINGUISHABLE
							       : VERDICT_INCONCLUSIVE;
}

/* The ratios of all blocks that both have; NaN where they have none. Returns how many. */
static size_t block_ratios(const struct sample *baseline, size_t baseline_count, const struct sample *other,
			   size_t other_count, double *ratios)
{
	size_t count = 0;
	for (size_t i = 0; i < other_count; i++) {
		for (size_t k = 0; k < baseline_count; k++) {
			if (baseline[k].block != other[i].block)
				continue;
			ratios[count++] = other[i].value / baseline[k].value;
			break;
		}
	}
	return count;
}

static double *values_of(const struct sample *samples, size_t count)
{
	double *values = allocate_zeroed(count + 1, sizeof(*values));
	for (size_t i = 0; i < count; i++)
		values[i] = samples[i].value;
	return values;
}

static bool all_equal(const double *a, size_t a_count, const double *b, size_t b_count)
{
	for (size_t i = 0; i < a_count; i++) {
		if (a[i] != b[0])
			return false;
	}
	for (size_t i = 0; i < b_count; i++) {
		if (b[i] != b[0])
			return false;
	}
	return true;
}

static void choose_ratio(struct comparison *comparison, const double *ratios, bool several)
{
	struct interval within = statistics_mean_interval(ratios, comparison->blocks);
	if (isfinite(within.low)) {
		comparison->method = RATIO_BLOCKS;
		comparison->ratio = statistics_geometric_mean(ratios, comparison->blocks);
		comparison->interval = within;
		return;
	}
	comparison->ratio = comparison->ratio_of_medians;
	comparison->interval = comparison->medians_interval;
	comparison->method = isnan(comparison->ratio) ? RATIO_NONE : several ? RATIO_MEDIANS : RATIO_SINGLE;
}

struct comparison statistics_compare(const struct sample *baseline, size_t baseline_count,
				     const struct sample *other, size_t other_count, double noise_floor,
				     bool more_is_better)
{
	struct comparison result = { .method = RATIO_NONE,
				     .ratio = NAN,
				     .interval = { NAN, NAN },
				     .ratio_of_medians = NAN,
				     .medians_interval = { NAN, NAN },
				     .p = NAN,
				     .delta = NAN,
				     .shift = NAN };
	if (baseline_count == 0 || other_count == 0)
		return result;
	double *a = values_of(baseline, baseline_count), *b = values_of(other, other_count);
	double *ratios = allocate_zeroed(other_count + 1, sizeof(*ratios));
	bool several = baseline_count > 1 && other_count > 1;
	double ratio = statistics_median(b, other_count) / statistics_median(a, baseline_count);
	if (all_equal(a, baseline_count, b, other_count))
		ratio = 1; /* nothing of both is as much, too */
	result.ratio_of_medians = isfinite(ratio) ? ratio : NAN;
	result.medians_interval = statistics_bootstrap_ratio(a, baseline_count, b, other_count,
							     STATISTICS_RESAMPLES, STATISTICS_SEED);
	result.blocks = block_ratios(baseline, baseline_count, other, other_count, ratios);
	if (several)
		result.p = statistics_mann_whitney(a, baseline_count, b, other_count);
	result.delta = statistics_cliffs_delta(a, baseline_count, b, other_count);
	result.shift = statistics_hodges_lehmann(a, baseline_count, b, other_count);
	choose_ratio(&result, ratios, several);
	if (several && all_equal(a, baseline_count, b, other_count))
		result.interval = (struct interval) { 1, 1 };
	result.verdict = statistics_verdict(result.interval, noise_floor, more_is_better);
	memory_free(a);
	memory_free(b);
	memory_free(ratios);
	return result;
}
