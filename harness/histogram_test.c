#include "harness/histogram.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "test.h"

static int by_value(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left;
	uint64_t b = *(const uint64_t *)right;
	return a < b ? -1 : a > b;
}

static void slots_tile_the_range_within_the_error(void **state)
{
	(void)state;
	uint64_t next = 0;
	for (uint32_t slot = 0; slot < HISTOGRAM_SLOTS; slot++) {
		uint64_t lowest = histogram_slot_lowest(slot);
		uint64_t highest = histogram_slot_highest(slot);
		assert_int_equal(lowest, next);
		assert_true(highest >= lowest);
		assert_true((highest - lowest) * 128 <= lowest);
		assert_int_equal(histogram_slot(lowest), slot);
		assert_int_equal(histogram_slot(highest), slot);
		next = highest + 1;
	}
	assert_int_equal(next, 1ull << HISTOGRAM_VALUE_BITS);
	assert_int_equal(histogram_slot(UINT64_MAX), HISTOGRAM_SLOTS - 1);
}

static void quantiles_follow_sorted_values(void **state)
{
	(void)state;
	enum { COUNT = 200000 };
	static const double quantiles[] = { 0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 1 };
	uint64_t *values = memory_allocate(COUNT * sizeof(*values));
	struct random random = random_stream(test_seed(1));
	struct histogram *histogram = histogram_create();
	double sum = 0;
	for (int i = 0; i < COUNT; i++) {
		/* Spread over all magnitudes up to some minutes. */
		values[i] = random_next(&random) >> (26 + random_below(&random, 38));
		histogram_record(histogram, values[i]);
		sum += (double)values[i];
	}
	qsort(values, COUNT, sizeof(*values), by_value);
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
		int rank = (int)ceil(quantiles[i] * COUNT);
		uint64_t exact = values[rank < 1 ? 0 : rank - 1];
		uint64_t got = histogram_quantile(histogram, quantiles[i]);
		assert_true(got >= exact);
		assert_true((double)got <= (double)exact * (1 + 1.0 / 128));
	}
	assert_int_equal(histogram->count, COUNT);
	assert_int_equal(histogram->min_ns, values[0]);
	assert_int_equal(histogram->max_ns, values[COUNT - 1]);
	assert_int_equal(histogram_quantile(histogram, 1), values[COUNT - 1]);
	assert_true(fabs(histogram_mean(histogram) - sum / COUNT) < 1e-6 * sum / COUNT);
	double squares = 0;
	for (int i = 0; i < COUNT; i++)
		squares += ((double)values[i] - sum / COUNT) * ((double)values[i] - sum / COUNT);
	double exact_deviation = sqrt(squares / COUNT);
	assert_true(fabs(histogram_deviation(histogram) - exact_deviation) < 0.01 * exact_deviation);
	histogram_free(histogram);
	memory_free(values);
}

static void extremes_and_emptiness(void **state)
{
	(void)state;
	struct histogram *histogram = histogram_create();
	assert_int_equal(histogram_quantile(histogram, 0.5), 0);
	assert_true(histogram_mean(histogram) == 0);
	assert_true(histogram_deviation(histogram) == 0);
	histogram_record(histogram, 0);
	histogram_record(histogram, 1ull << 50);
	assert_int_equal(histogram_quantile(histogram, 0.5), 0);
	assert_int_equal(histogram_quantile(histogram, 0.51), 1ull << 50);
	assert_int_equal(histogram->max_ns, 1ull << 50);
	histogram_reset(histogram);
	assert_int_equal(histogram->count, 0);
	assert_int_equal(histogram->min_ns, UINT64_MAX);
	for (int i = 1; i <= 10000; i++)
		histogram_record(histogram, i <= 9999 ? 100 : 200);
	assert_int_equal(histogram_quantile(histogram, 0.9999), 100);
	histogram_free(histogram);
	histogram_free(NULL);
}

static void merging_equals_recording_into_one(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(2));
	struct histogram *parts[3], *whole = histogram_create(), *merged = histogram_create();
	for (int i = 0; i < 3; i++)
		parts[i] = histogram_create();
	for (int i = 0; i < 30000; i++) {
		uint64_t value = random_next(&random) >> random_below(&random, 64);
		histogram_record(whole, value);
		histogram_record(parts[i % 2], value);
	}
	for (int i = 0; i < 3; i++) {
		histogram_merge(merged, parts[i]);
		histogram_free(parts[i]);
	}
	assert_memory_equal(whole, merged, sizeof(*whole));
	histogram_free(whole);
	histogram_free(merged);
}

struct recorder {
	struct histogram *histogram;
	_Atomic int done;
};

static void *record_many(void *argument)
{
	struct recorder *recorder = argument;
	struct random random = random_stream(7);
	for (int i = 0; i < 300000; i++)
		histogram_record(recorder->histogram, 100 + random_below(&random, 100000));
	recorder->done = 1;
	return NULL;
}

static void differences_add_up_while_recording(void **state)
{
	(void)state;
	struct recorder recorder = { .histogram = histogram_create() };
	struct histogram *before = histogram_create(), *sum = histogram_create();
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, record_many, &recorder), 0);
	for (bool done = false; !done;) {
		done = recorder.done;
		struct histogram *part = histogram_create();
		histogram_add_difference(part, recorder.histogram, before);
		if (part->count > 0) {
			assert_true(part->max_ns <= 100100);
			assert_true(part->min_ns >= 100);
			assert_true(part->min_ns <= part->max_ns);
		}
		histogram_merge(sum, part);
		histogram_free(part);
	}
	pthread_join(thread, NULL);
	histogram_add_difference(sum, recorder.histogram, before);
	assert_int_equal(sum->count, recorder.histogram->count);
	assert_int_equal(sum->sum_ns, recorder.histogram->sum_ns);
	assert_memory_equal(sum->counts, recorder.histogram->counts, sizeof(sum->counts));
	histogram_free(recorder.histogram);
	histogram_free(before);
	histogram_free(sum);
}

static void a_sum_without_a_count_is_not_lost(void **state)
{
	(void)state;
	struct histogram *sum = histogram_create(), *part = histogram_create();
	part->sum_ns = 700;
	histogram_merge(sum, part);
	assert_int_equal(sum->sum_ns, 700);
	assert_int_equal(sum->count, 0);
	histogram_free(sum);
	histogram_free(part);
}

/* What HdrHistogram_c 0.11 prints for these values (lowest 1, 2 digits, 5 ticks, scale 1), by hand. */
static void the_text_form_is_the_classic_one(void **state)
{
	(void)state;
	struct histogram *histogram = histogram_create();
	for (int i = 0; i < 3; i++)
		histogram_record(histogram, 100);
	histogram_record(histogram, 200);
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	assert_ok(histogram_write_hgrm(histogram, file));
	fclose(file);
	static const char expected[] = "       Value   Percentile   TotalCount 1/(1-Percentile)\n"
				       "\n"
				       "      100.00     0.000000            3         1.00\n"
				       "      100.00     0.100000            3         1.11\n"
				       "      100.00     0.200000            3         1.25\n"
				       "      100.00     0.300000            3         1.43\n"
				       "      100.00     0.400000            3         1.67\n"
				       "      100.00     0.500000            3         2.00\n"
				       "      100.00     0.550000            3         2.22\n"
				       "      100.00     0.600000            3         2.50\n"
				       "      100.00     0.650000            3         2.86\n"
				       "      100.00     0.700000            3         3.33\n"
				       "      100.00     0.750000            3         4.00\n"
				       "      200.00     0.775000            4         4.44\n"
				       "      200.00     1.000000            4          inf\n"
				       "#[Mean    =      125.000, StdDeviation   =       43.301]\n"
				       "#[Max     =      200.000, Total count    =            4]\n"
				       "#[Buckets =           35, SubBuckets     =          256]\n"
				       "#[Unit = ns]\n";
	assert_string_equal(text, expected);
	free(text);
	histogram_free(histogram);
}

static void the_text_form_reads_back(void **state)
{
	(void)state;
	struct histogram *histogram = histogram_create();
	struct random random = random_stream(test_seed(3));
	for (int i = 0; i < 100000; i++)
		histogram_record(histogram, random_next(&random) >> (30 + random_below(&random, 30)));
	char path[] = "/tmp/histogram_test_XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	assert_ok(histogram_save_hgrm(histogram, path));
	struct hgrm_row *rows;
	size_t count;
	assert_ok(hgrm_read(path, &rows, &count));
	assert_true(count > 50);
	for (size_t i = 0; i < count; i++) {
		assert_true(rows[i].percentile >= 0 && rows[i].percentile <= 1);
		if (i > 0) {
			assert_true(rows[i].percentile > rows[i - 1].percentile);
			assert_true(rows[i].value >= rows[i - 1].value);
			assert_true(rows[i].total_count >= rows[i - 1].total_count);
		}
	}
	assert_true(rows[count - 1].percentile == 1);
	assert_true(rows[count - 1].value == (double)histogram->max_ns);
	assert_true(rows[count - 1].total_count == 100000);
	memory_free(rows);
	FILE *file = fopen(path, "w");
	fputs("       Value   Percentile\n\n what is this\n", file);
	fclose(file);
	assert_status(hgrm_read(path, &rows, &count), STATUS_CORRUPT);
	assert_null(rows);
	unlink(path);
	assert_false(status_is_ok(hgrm_read(path, &rows, &count)));
	histogram_free(histogram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_tile_the_range_within_the_error),
		cmocka_unit_test(quantiles_follow_sorted_values),
		cmocka_unit_test(extremes_and_emptiness),
		cmocka_unit_test(merging_equals_recording_into_one),
		cmocka_unit_test(differences_add_up_while_recording),
		cmocka_unit_test(a_sum_without_a_count_is_not_lost),
		cmocka_unit_test(the_text_form_is_the_classic_one),
		cmocka_unit_test(the_text_form_reads_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
