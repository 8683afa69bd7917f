#include "harness/bench/bench_judge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "harness/allocate.h"

enum { VARIANTS_MAX = 64 };

/* --- numbers of a side --- */

struct numbers {
	double *values;
	size_t count;
};

static bool is_same_variant(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Those that were measured; the caller frees them. */
static struct numbers numbers_of(const struct bench_results *results, const struct bench_row *row,
				 unsigned side)
{
	struct numbers numbers = { allocate_zeroed(results->sample_count + 1, sizeof(double)), 0 };
	for (size_t i = 0; i < results->sample_count; i++) {
		const struct bench_sample *sample = &results->samples[i];
		double number = sample->numbers[row->claim->number];
		if (sample->measure == row->measure && sample->side == side &&
		    is_same_variant(sample->variant, row->variant) && !isnan(number))
			numbers.values[numbers.count++] = number;
	}
	return numbers;
}

static const char *missing_text(const struct bench_results *results, const struct bench_row *row)
{
	for (size_t i = 0; i < results->remark_count; i++) {
		const struct bench_remark *remark = &results->remarks[i];
		bool concerns = (remark->side == row->claim->ours && row->ours.count == 0) ||
				(remark->side == row->claim->reference && row->reference.count == 0);
		if (remark->measure == row->measure && is_same_variant(remark->variant, row->variant) &&
		    concerns && (remark->is_failure || remark->is_unsupported))
			return remark->text;
	}
	return NULL;
}

/* --- a verdict --- */

/* What must be on the right side of `threshold`: a ratio of the numbers, changed to fit the bound. */
struct question {
	double ratio;
	struct interval interval;
	double threshold;
	bool at_least;
};

static struct interval interval_of(const struct numbers *reference, const struct numbers *ours)
{
	return statistics_bootstrap_ratio(reference->values, reference->count, ours->values, ours->count,
					  STATISTICS_RESAMPLES, STATISTICS_SEED);
}

/* The ratio to a reference that is raised by `more`. */
static struct question ask_raised(const struct numbers *reference, const struct numbers *ours, double more)
{
	struct numbers raised = { allocate_zeroed(reference->count + 1, sizeof(double)), reference->count };
	for (size_t i = 0; i < raised.count; i++)
		raised.values[i] = reference->values[i] + more;
	struct question question = {
		.ratio = statistics_median(ours->values, ours->count) /
			 statistics_median(raised.values, raised.count),
		.interval = interval_of(&raised, ours),
		.threshold = 1,
	};
	memory_free(raised.values);
	return question;
}

/* The ratio to a number that does not vary. */
static struct question ask_fixed(const struct numbers *ours, double limit)
{
	struct numbers fixed = { allocate_zeroed(ours->count + 1, sizeof(double)), ours->count };
	for (size_t i = 0; i < fixed.count; i++)
		fixed.values[i] = limit;
	struct question question = {
		.ratio = statistics_median(ours->values, ours->count) / limit,
		.interval = interval_of(&fixed, ours),
		.threshold = 1,
	};
	memory_free(fixed.values);
	return question;
}

static enum bench_verdict answer(const struct question *question, bool may_be_single)
{
	struct interval interval = question->interval;
	if (isnan(question->ratio))
		return BENCH_SAYS_NOTHING;
	if (isnan(interval.low) || isnan(interval.high)) {
		if (!may_be_single)
			return BENCH_SAYS_NOTHING;
		interval = (struct interval) { question->ratio, question->ratio };
	}
	bool low_is_good = question->at_least ? interval.low >= question->threshold
					      : interval.low <= question->threshold;
	bool high_is_good = question->at_least ? interval.high >= question->threshold
					       : interval.high <= question->threshold;
	if (low_is_good && high_is_good)
		return BENCH_HOLDS;
	return low_is_good || high_is_good ? BENCH_UNCLEAR : BENCH_BROKEN;
}

static enum bench_verdict verdict_of(const struct bench_row *row, const struct numbers *reference,
				     const struct numbers *ours)
{
	const struct bench_claim *claim = row->claim;
	struct question question = { .ratio = row->ratio,
				     .interval = row->interval,
				     .threshold = claim->limit,
				     .at_least = claim->bound == BENCH_RATIO_AT_LEAST };
	switch (claim->bound) {
	case BENCH_NO_BOUND:
		return BENCH_SAYS_NOTHING;
	case BENCH_RATIO_AT_MOST:
	case BENCH_RATIO_AT_LEAST:
		break;
	case BENCH_MORE_AT_MOST:
		question = ask_raised(reference, ours, claim->limit);
		break;
	case BENCH_VALUE_AT_MOST:
		question = ask_fixed(ours, claim->limit);
		break;
	}
	return answer(&question, row->measure->once);
}

static struct bench_row judge(const struct bench_results *results, const struct bench_measure *measure,
			      const struct bench_claim *claim, const char *variant)
{
	struct bench_row row = { .measure = measure, .claim = claim, .variant = variant };
	struct numbers ours = numbers_of(results, &row, claim->ours);
	struct numbers reference = numbers_of(results, &row, claim->reference);
	row.ours = statistics_spread(ours.values, ours.count);
	row.reference = statistics_spread(reference.values, reference.count);
	row.ratio = row.ours.median / row.reference.median;
	row.interval = interval_of(&reference, &ours);
	row.verdict = verdict_of(&row, &reference, &ours);
	row.missing = missing_text(results, &row);
	/* A quick look is too short to judge by. */
	if (results->options->quick)
		row.verdict = BENCH_SAYS_NOTHING;
	memory_free(ours.values);
	memory_free(reference.values);
	return row;
}

void bench_judge(const struct bench_results *results, struct bench_row **rows, size_t *count)
{
	const struct bench_options *options = results->options;
	const char *variants[VARIANTS_MAX];
	size_t variant_count = bench_variants(options, variants, VARIANTS_MAX);
	*rows = NULL;
	*count = 0;
	for (size_t v = 0; v < variant_count; v++) {
		for (size_t i = 0; options->kind->measures[i] != NULL; i++) {
			const struct bench_measure *measure = options->kind->measures[i];
			if (!bench_is_chosen(options, measure))
				continue;
			*rows = allocate_resize(*rows, (*count + measure->claim_count) * sizeof(**rows));
			for (unsigned k = 0; k < measure->claim_count; k++)
				(*rows)[(*count)++] =
					judge(results, measure, &measure->claims[k], variants[v]);
		}
	}
}

/* --- texts --- */

const char *bench_verdict_text(enum bench_verdict verdict)
{
	static const char *const texts[] = { "-", "holds", "BROKEN", "unclear" };
	return texts[verdict];
}

/* Three or four digits: 9.87, 44.1, 1234. */
static int decimals_of(double number)
{
	return fabs(number) < 10 ? 2 : fabs(number) < 100 ? 1 : 0;
}

static const char *format_scaled(double number, double step, const char *const *units, size_t unit_count,
				 char *buffer, size_t size)
{
	size_t unit = 0;
	while (unit + 1 < unit_count && fabs(number) >= step) {
		number /= step;
		unit++;
	}
	(void)snprintf(buffer, size, "%.*f %s", decimals_of(number), number, units[unit]);
	return buffer;
}

const char *bench_format_number(enum bench_unit unit, double number, char *buffer, size_t size)
{
	static const char *const times[] = { "ns", "us", "ms", "s" };
	static const char *const rates[] = { "/s", "k/s", "M/s", "G/s" };
	static const char *const sizes[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	if (isnan(number)) {
		(void)snprintf(buffer, size, "-");
		return buffer;
	}
	switch (unit) {
	case BENCH_NANOSECONDS:
		return format_scaled(number, 1000, times, 4, buffer, size);
	case BENCH_PER_SECOND:
		return format_scaled(number, 1000, rates, 4, buffer, size);
	case BENCH_BYTES:
		return format_scaled(number, 1024, sizes, 5, buffer, size);
	case BENCH_COUNT:
		break;
	}
	(void)snprintf(buffer, size, "%.0f", number);
	return buffer;
}

const char *bench_format_bound(const struct bench_row *row, char *buffer, size_t size)
{
	const struct bench_claim *claim = row->claim;
	enum bench_unit unit = row->measure->numbers[claim->number].unit;
	char limit[64];
	buffer[0] = '\0';
	switch (claim->bound) {
	case BENCH_NO_BOUND:
		break;
	case BENCH_RATIO_AT_MOST:
		(void)snprintf(buffer, size, "<= %.4g", claim->limit);
		break;
	case BENCH_RATIO_AT_LEAST:
		(void)snprintf(buffer, size, ">= %.4g", claim->limit);
		break;
	case BENCH_MORE_AT_MOST:
		(void)snprintf(buffer, size, "<= +%s",
			       bench_format_number(unit, claim->limit, limit, sizeof(limit)));
		break;
	case BENCH_VALUE_AT_MOST:
		(void)snprintf(buffer, size, "<= %s",
			       bench_format_number(unit, claim->limit, limit, sizeof(limit)));
		break;
	}
	return buffer;
}

double bench_ratio_bound(const struct bench_row *row)
{
	switch (row->claim->bound) {
	case BENCH_RATIO_AT_MOST:
	case BENCH_RATIO_AT_LEAST:
		return row->claim->limit;
	case BENCH_MORE_AT_MOST:
		return (row->reference.median + row->claim->limit) / row->reference.median;
	case BENCH_VALUE_AT_MOST:
		return row->claim->limit / row->reference.median;
	case BENCH_NO_BOUND:
		break;
	}
	return NAN;
}
