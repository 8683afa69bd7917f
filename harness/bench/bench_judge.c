#include "harness/bench/bench_judge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "harness/allocate.h"

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
static struct numbers numbers_at(const struct bench_results *results, const struct bench_measure *measure,
				 unsigned number, const struct bench_place *place)
{
	struct numbers numbers = { allocate_zeroed(results->sample_count + 1, sizeof(double)), 0 };
	for (size_t i = 0; i < results->sample_count; i++) {
		const struct bench_sample *sample = &results->samples[i];
		if (sample->measure == measure && sample->side == place->side &&
		    sample->size == place->size && is_same_variant(sample->variant, place->variant) &&
		    !isnan(sample->numbers[number]))
			numbers.values[numbers.count++] = sample->numbers[number];
	}
	return numbers;
}

struct spread bench_spread_of(const struct bench_results *results, const struct bench_measure *measure,
			      unsigned number, const struct bench_place *place)
{
	struct numbers numbers = numbers_at(results, measure, number, place);
	struct spread spread = statistics_spread(numbers.values, numbers.count);
	memory_free(numbers.values);
	return spread;
}

static bool concerns(const struct bench_remark *remark, const struct bench_place *place)
{
	return remark->side == place->side && remark->size == place->size &&
	       is_same_variant(remark->variant, place->variant);
}

static const char *missing_text(const struct bench_results *results, const struct bench_row *row)
{
	for (size_t i = 0; i < results->remark_count; i++) {
		const struct bench_remark *remark = &results->remarks[i];
		bool lacks_ours = row->ours.count == 0 && concerns(remark, &row->ours_at);
		bool lacks_reference = row->has_reference && row->reference.count == 0 &&
				       concerns(remark, &row->reference_at);
		if (remark->measure == row->measure && (lacks_ours || lacks_reference) &&
		    (remark->is_failure || remark->is_unsupported))
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
static struct question ask_fixed(const struct numbers *ours, double limit, bool at_least)
{
	struct numbers fixed = { allocate_zeroed(ours->count + 1, sizeof(double)), ours->count };
	for (size_t i = 0; i < fixed.count; i++)
		fixed.values[i] = limit;
	struct question question = {
		.ratio = statistics_median(ours->values, ours->count) / limit,
		.interval = interval_of(&fixed, ours),
		.threshold = 1,
		.at_least = at_least,
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
	struct question question = { .ratio = row->ratio,
				     .interval = row->interval,
				     .threshold = row->limit,
				     .at_least = row->bound == BENCH_RATIO_AT_LEAST };
	switch (row->bound) {
	case BENCH_NO_BOUND:
		return BENCH_SAYS_NOTHING;
	case BENCH_RATIO_AT_MOST:
	case BENCH_RATIO_AT_LEAST:
		break;
	case BENCH_MORE_AT_MOST:
		question = ask_raised(reference, ours, row->limit);
		break;
	case BENCH_VALUE_AT_MOST:
	case BENCH_VALUE_AT_LEAST:
		question = ask_fixed(ours, row->limit, row->bound == BENCH_VALUE_AT_LEAST);
		break;
	}
	return answer(&question, row->measure->once);
}

/* Fills in what the numbers say. */
static void judge(const struct bench_results *results, struct bench_row *row)
{
	struct numbers ours = numbers_at(results, row->measure, row->number, &row->ours_at);
	struct numbers reference = numbers_at(results, row->measure, row->number, &row->reference_at);
	if (!row->has_reference)
		reference.count = 0;
	row->ours = statistics_spread(ours.values, ours.count);
	row->reference = statistics_spread(reference.values, reference.count);
	row->ratio = row->ours.median / row->reference.median;
	row->interval = interval_of(&reference, &ours);
	row->verdict = verdict_of(row, &reference, &ours);
	row->missing = missing_text(results, row);
	/* A quick look is too short to judge by. */
	if (results->options->quick)
		row->verdict = BENCH_SAYS_NOTHING;
	memory_free(ours.values);
	memory_free(reference.values);
}

/* --- which rows there are --- */

/* Those of one run, while they are listed. */
struct list {
	const struct bench_results *results;
	const struct bench_measure *measure;
	const char *variants[BENCH_VARIANTS_MAX]; /* of the measure */
	size_t variant_count;
	uint64_t sizes[BENCH_SIZES_MAX];
	size_t size_count;
	struct bench_row *rows;
	size_t count, capacity;
};

static void add_row(struct list *list, struct bench_row row)
{
	row.measure = list->measure;
	judge(list->results, &row);
	if (list->count == list->capacity) {
		list->capacity = 2 * list->capacity + 64;
		list->rows = allocate_resize(list->rows, list->capacity * sizeof(*list->rows));
	}
	list->rows[list->count++] = row;
}

static struct bench_place place_of(const struct list *list, unsigned side, const char *variant, uint64_t size)
{
	bool each = bench_side_has_variants(list->results->options, list->measure, side);
	return (struct bench_place) { side, each ? variant : NULL, size };
}

static void add_claim(struct list *list, const struct bench_claim *claim, const char *variant, uint64_t size)
{
	const char *whose = list->measure->bounds_of;
	bool bound = whose == NULL || (variant != NULL && strcmp(whose, variant) == 0);
	struct bench_row row = {
		.kind = BENCH_ROW_CLAIM,
		.name = claim->name,
		.what = claim->what,
		.number = claim->number,
		.bound = bound ? claim->bound : BENCH_NO_BOUND,
		.limit = claim->limit,
		.has_reference = claim->ours != claim->reference,
		.ours_at = place_of(list, claim->ours, variant, size),
		.reference_at = place_of(list, claim->reference, variant, size),
	};
	/* A value alone stands among the values. */
	if (row.has_reference || row.bound != BENCH_NO_BOUND)
		add_row(list, row);
}

static void add_claims(struct list *list)
{
	const struct bench_options *options = list->results->options;
	for (unsigned i = 0; i < list->measure->claim_count; i++) {
		const struct bench_claim *claim = &list->measure->claims[i];
		bool each = bench_side_has_variants(options, list->measure, claim->ours) ||
			    bench_side_has_variants(options, list->measure, claim->reference);
		for (size_t s = 0; s < list->size_count; s++) {
			for (size_t v = 0; v < (each ? list->variant_count : 1); v++)
				add_claim(list, claim, list->variants[v], list->sizes[s]);
		}
	}
}

static void add_growth(struct list *list, const struct bench_growth *growth, unsigned side,
		       const char *variant)
{
	const struct bench_options *options = list->results->options;
	double limit = growth->limit_of(variant);
	struct bench_row row = {
		.kind = BENCH_ROW_GROWTH,
		.name = growth->name,
		.what = growth->what,
		.number = growth->number,
		.bound = isnan(limit) ? BENCH_NO_BOUND : BENCH_RATIO_AT_MOST,
		.limit = limit,
		.has_reference = true,
		.ours_at = { side, variant, bench_size_at(options, list->measure, growth->to) },
		.reference_at = { side, variant, bench_size_at(options, list->measure, growth->from) },
	};
	add_row(list, row);
}

static bool has_size(const struct list *list, uint64_t size)
{
	for (size_t i = 0; i < list->size_count; i++) {
		if (list->sizes[i] == size)
			return true;
	}
	return false;
}

static void add_growths(struct list *list)
{
	const struct bench_options *options = list->results->options;
	for (unsigned i = 0; i < list->measure->growth_count; i++) {
		const struct bench_growth *growth = &list->measure->growths[i];
		if (!has_size(list, bench_size_at(options, list->measure, growth->from)) ||
		    !has_size(list, bench_size_at(options, list->measure, growth->to)))
			continue;
		for (unsigned side = 0; side < list->measure->side_count; side++) {
			for (size_t v = 0; v < list->variant_count; v++) {
				/* Plain forms have no theory of their own. */
				if (bench_side_has_variants(options, list->measure, side) &&
				    !bench_is_plain(list->variants[v]))
					add_growth(list, growth, side, list->variants[v]);
			}
		}
	}
}

bool bench_is_compared(const struct bench_measure *measure, unsigned number)
{
	return measure->compared_numbers == 0 || number < measure->compared_numbers;
}

static void add_value(struct list *list, unsigned side, unsigned number, const char *variant, uint64_t size)
{
	const char *baseline = bench_baseline(list->results->options);
	struct bench_row row = {
		.kind = BENCH_ROW_VALUE,
		.name = list->measure->numbers[number].name,
		.number = number,
		.has_reference =
			bench_is_compared(list->measure, number) && !is_same_variant(variant, baseline),
		.ours_at = { side, variant, size },
		.reference_at = { side, baseline, size },
	};
	add_row(list, row);
}

/* X is as good as its plain form or better: in what is to be small, and in what is to be large. */
static enum bench_bound plain_bound(enum bench_unit unit)
{
	switch (unit) {
	case BENCH_NANOSECONDS:
		return BENCH_RATIO_AT_MOST;
	case BENCH_PER_SECOND:
	case BENCH_BYTES_PER_SECOND:
		return BENCH_RATIO_AT_LEAST;
	default:
		return BENCH_NO_BOUND;
	}
}

/* The plain form of a variant; NULL: it is not there. */
static const char *plain_of(const struct list *list, const char *variant)
{
	for (size_t i = 0; i < list->variant_count; i++) {
		const char *other = list->variants[i];
		if (bench_is_plain(other) && strcmp(other + strlen(BENCH_PLAIN_PREFIX), variant) == 0)
			return other;
	}
	return NULL;
}

static void add_plain(struct list *list, unsigned side, unsigned number, const char *variant, uint64_t size)
{
	const char *plain = plain_of(list, variant);
	struct bench_row row = {
		.kind = BENCH_ROW_PLAIN,
		.name = list->measure->numbers[number].name,
		.what = "at least as fast as a straightforward form",
		.number = number,
		.bound = plain_bound(list->measure->numbers[number].unit),
		.limit = 1,
		.has_reference = true,
		.ours_at = { side, variant, size },
		.reference_at = { side, plain, size },
	};
	if (plain != NULL && bench_is_compared(list->measure, number) && row.bound != BENCH_NO_BOUND)
		add_row(list, row);
}

typedef void row_function(struct list *list, unsigned side, unsigned number, const char *variant,
			  uint64_t size);

/* For each side, number, size and variant, in that order. */
static void for_all(struct list *list, row_function *add)
{
	const struct bench_measure *measure = list->measure;
	for (unsigned side = 0; side < measure->side_count; side++) {
		if (!bench_side_has_variants(list->results->options, measure, side))
			continue;
		for (unsigned number = 0; number < BENCH_NUMBERS_MAX; number++) {
			if (measure->numbers[number].name == NULL)
				break;
			for (size_t s = 0; s < list->size_count; s++) {
				for (size_t v = 0; v < list->variant_count; v++)
					add(list, side, number, list->variants[v], list->sizes[s]);
			}
		}
	}
}

void bench_judge(const struct bench_results *results, struct bench_row **rows, size_t *count)
{
	const struct bench_options *options = results->options;
	struct list list = { .results = results };
	for (size_t i = 0; options->kind->measures[i] != NULL; i++) {
		list.measure = options->kind->measures[i];
		if (!bench_is_chosen(options, list.measure))
			continue;
		list.variant_count = bench_variants_of(options, list.measure, list.variants);
		list.size_count = bench_sizes_of(options, list.measure, list.sizes);
		add_claims(&list);
		add_growths(&list);
		for_all(&list, add_value);
		for_all(&list, add_plain);
	}
	*rows = list.rows;
	*count = list.count;
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
	static const char *const flows[] = { "B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s" };
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
	case BENCH_BYTES_PER_SECOND:
		return format_scaled(number, 1024, flows, 5, buffer, size);
	case BENCH_SHARE:
		(void)snprintf(buffer, size, "%.3g %%", 100 * number);
		return buffer;
	case BENCH_FACTOR:
		(void)snprintf(buffer, size, "%.*f", decimals_of(number), number);
		return buffer;
	case BENCH_COUNT:
		break;
	}
	(void)snprintf(buffer, size, "%.0f", number);
	return buffer;
}

const char *bench_format_size(const struct bench_measure *measure, uint64_t value, char *buffer, size_t size)
{
	static const char *const counts[] = { "", " k", " M", " G" };
	static const char *const sizes[] = { " B", " KiB", " MiB", " GiB" };
	bool bytes = measure->size_unit == BENCH_BYTES;
	double step = bytes ? 1024 : 1000, number = (double)value;
	size_t unit = 0;
	buffer[0] = '\0';
	while (unit + 1 < sizeof(counts) / sizeof(counts[0]) && number >= step) {
		number /= step;
		unit++;
	}
	if (value > 0)
		(void)snprintf(buffer, size, "%.4g%s", number, bytes ? sizes[unit] : counts[unit]);
	return buffer;
}

const char *bench_format_bound(const struct bench_row *row, char *buffer, size_t size)
{
	enum bench_unit unit = row->measure->numbers[row->number].unit;
	char limit[64];
	buffer[0] = '\0';
	switch (row->bound) {
	case BENCH_NO_BOUND:
		break;
	case BENCH_RATIO_AT_MOST:
		(void)snprintf(buffer, size, "<= %.4g", row->limit);
		break;
	case BENCH_RATIO_AT_LEAST:
		(void)snprintf(buffer, size, ">= %.4g", row->limit);
		break;
	case BENCH_MORE_AT_MOST:
		(void)snprintf(buffer, size, "<= +%s",
			       bench_format_number(unit, row->limit, limit, sizeof(limit)));
		break;
	case BENCH_VALUE_AT_MOST:
	case BENCH_VALUE_AT_LEAST:
		(void)snprintf(buffer, size, "%s %s", row->bound == BENCH_VALUE_AT_MOST ? "<=" : ">=",
			       bench_format_number(unit, row->limit, limit, sizeof(limit)));
		break;
	}
	return buffer;
}

double bench_ratio_bound(const struct bench_row *row)
{
	switch (row->bound) {
	case BENCH_RATIO_AT_MOST:
	case BENCH_RATIO_AT_LEAST:
		return row->limit;
	case BENCH_MORE_AT_MOST:
		return (row->reference.median + row->limit) / row->reference.median;
	case BENCH_VALUE_AT_MOST:
	case BENCH_VALUE_AT_LEAST:
		return row->limit / row->reference.median;
	case BENCH_NO_BOUND:
		break;
	}
	return NAN;
}
