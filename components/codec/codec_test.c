/*
 * The conformance suite of codecs, over every row of the registry. Buffers have exactly their size, so that
 * the sanitizer sees a byte read or written too many.
 */
#include <string.h>

#include "components/codec/codec.h"
#include "test.h"

enum { SIZE_MAX_TESTED = 64 * 1024 };

struct bench {
	const struct codec_ops *ops;
	void *options;
	void *context;
	void *reader; /* a context for decompress alone */
};

/* NULL options: to decompress only. */
static void *context_create(const struct codec_ops *ops, const void *options)
{
	size_t size = (ops->context_size(options) + 63) / 64 * 64;
	if (size == 0)
		return NULL;
	void *context = aligned_alloc(64, size);
	assert_non_null(context);
	memset(context, 0, size);
	return context;
}

static struct bench bench_open(const struct component *component)
{
	struct bench bench = { .ops = (const struct codec_ops *)component };
	bench.options = calloc(1, component->options_size + 1);
	assert_non_null(bench.options);
	component_default_options(component, bench.options);
	bench.context = context_create(bench.ops, bench.options);
	bench.reader = context_create(bench.ops, NULL);
	return bench;
}

static void bench_close(struct bench *bench)
{
	free(bench->context);
	free(bench->reader);
	free(bench->options);
}

static void each_codec(void (*test)(struct bench *bench, uint64_t seed), uint64_t seed)
{
	for (const struct component *const *row = component_list(COMPONENT_CODEC); *row != NULL; row++) {
		print_message("%s, seed %llu\n", (*row)->name, (unsigned long long)seed);
		struct bench bench = bench_open(*row);
		test(&bench, seed);
		bench_close(&bench);
	}
}

static bool is_identity(const struct bench *bench)
{
	return (bench->ops->component.capabilities & CODEC_IDENTITY) != 0;
}

/* Bytes of which a share repeats what came before: 0 none, 100 nearly all. */
static void fill(struct random *random, uint8_t *bytes, size_t size, uint64_t repeated)
{
	for (size_t i = 0; i < size;) {
		size_t run = 1 + (size_t)random_below(random, 30);
		bool repeat = i > 64 && random_below(random, 100) < repeated;
		size_t from = repeat ? i - 1 - (size_t)random_below(random, 60) : 0;
		for (size_t j = 0; j < run && i < size; j++, i++)
			bytes[i] = repeat ? bytes[from + j] : (uint8_t)random_next(random);
	}
}

static void round_trip(struct bench *bench, const uint8_t *raw, size_t size, size_t capacity)
{
	uint8_t *exact = malloc(size + !size);
	uint8_t *packed = malloc(capacity + !capacity);
	uint8_t *restored = malloc(size + !size);
	assert_non_null(exact);
	assert_non_null(packed);
	assert_non_null(restored);
	memcpy(exact, raw, size);
	size_t written = bench->ops->compress(bench->options, bench->context, exact, size, packed, capacity);
	assert_true(written <= capacity);
	if (written > 0) {
		uint8_t *tight = malloc(written);
		assert_non_null(tight);
		memcpy(tight, packed, written);
		memset(restored, 0xa5, size);
		assert_true(bench->ops->decompress(bench->context, tight, written, restored, size));
		assert_memory_equal(restored, raw, size);
		/* A table's reader has a context that knows nothing of the options. */
		memset(restored, 0xa5, size);
		assert_true(bench->ops->decompress(bench->reader, tight, written, restored, size));
		assert_memory_equal(restored, raw, size);
		/* It is a block of this size and no other. */
		uint8_t *wrong = malloc(size + 1);
		assert_non_null(wrong);
		assert_false(bench->ops->decompress(bench->context, tight, written, wrong, size + 1));
		if (size > 0)
			assert_false(bench->ops->decompress(bench->context, tight, written, wrong, size - 1));
		free(wrong);
		free(tight);
	}
	free(exact);
	free(packed);
	free(restored);
}

static void run_round_trips(struct bench *bench, uint64_t seed)
{
	struct random random = random_stream(seed);
	static uint8_t raw[SIZE_MAX_TESTED];
	for (unsigned i = 0; i < 1500; i++) {
		size_t size = i < 300 ? i : (size_t)random_below(&random, SIZE_MAX_TESTED + 1);
		fill(&random, raw, size, random_below(&random, 101));
		/* More than enough, what a table gives (less an eighth), and hardly anything. */
		round_trip(bench, raw, size, 2 * size + 64);
		round_trip(bench, raw, size, size - size / 8);
		round_trip(bench, raw, size, (size_t)random_below(&random, 64));
	}
}

static void test_round_trips(void **state)
{
	(void)state;
	each_codec(run_round_trips, test_seed(1));
}

/* What repeats must shrink, what does not must be refused: the same context serves both in turn. */
static void run_sizes(struct bench *bench, uint64_t seed)
{
	struct random random = random_stream(seed);
	static uint8_t raw[4096];
	static uint8_t packed[4096];
	for (unsigned i = 0; i < 50 && !is_identity(bench); i++) {
		fill(&random, raw, sizeof(raw), 95);
		size_t written = bench->ops->compress(bench->options, bench->context, raw, sizeof(raw),
						      packed, sizeof(packed));
		assert_in_range(written, 1, sizeof(raw) / 2);
		fill(&random, raw, sizeof(raw), 0);
		written = bench->ops->compress(bench->options, bench->context, raw, sizeof(raw), packed,
					       sizeof(raw) - sizeof(raw) / 8);
		assert_int_equal(written, 0);
	}
	if (is_identity(bench))
		assert_int_equal(bench->ops->compress(bench->options, bench->context, raw, sizeof(raw),
						      packed, sizeof(packed)),
				 0);
}

static void test_sizes(void **state)
{
	(void)state;
	each_codec(run_sizes, test_seed(2));
}

/* Equal input gives equal bytes, whatever the context was used for before. */
static void run_deterministic(struct bench *bench, uint64_t seed)
{
	struct random random = random_stream(seed);
	static uint8_t raw[8192];
	static uint8_t other[8192];
	static uint8_t first[16384];
	static uint8_t second[16384];
	for (unsigned i = 0; i < 20; i++) {
		fill(&random, raw, sizeof(raw), 70);
		fill(&random, other, sizeof(other), 50);
		size_t size_first = bench->ops->compress(bench->options, bench->context, raw, sizeof(raw),
							 first, sizeof(first));
		(void)bench->ops->compress(bench->options, bench->context, other, 4000, second,
					   sizeof(second));
		size_t size_second = bench->ops->compress(bench->options, bench->context, raw, sizeof(raw),
							  second, sizeof(second));
		assert_int_equal(size_first, size_second);
		assert_memory_equal(first, second, size_first);
	}
}

static void test_deterministic(void **state)
{
	(void)state;
	each_codec(run_deterministic, test_seed(3));
}

static void run_garbage(struct bench *bench, uint64_t seed)
{
	struct random random = random_stream(seed);
	static uint8_t raw[2000];
	static uint8_t packed[8000];
	for (unsigned i = 0; i < 4000; i++) {
		size_t size = (size_t)random_below(&random, sizeof(raw));
		size_t raw_size = (size_t)random_below(&random, sizeof(raw));
		fill(&random, raw, raw_size, 80);
		size_t written = bench->ops->compress(bench->options, bench->context, raw, raw_size, packed,
						      sizeof(packed));
		bool damaged = written > 0 && random_below(&random, 2) == 0;
		size = damaged ? written - (random_below(&random, 4) == 0) : size;
		uint8_t *input = malloc(size + !size);
		uint8_t *output = malloc(raw_size + !raw_size);
		assert_non_null(input);
		assert_non_null(output);
		for (size_t j = 0; j < size; j++)
			input[j] = damaged ? packed[j] : (uint8_t)random_next(&random);
		for (unsigned flips = 0; damaged && size > 0 && flips < 3; flips++)
			input[random_below(&random, size)] ^= (uint8_t)(1u << random_below(&random, 8));
		(void)bench->ops->decompress(bench->context, input, size, output, raw_size);
		free(input);
		free(output);
	}
}

static void test_garbage(void **state)
{
	(void)state;
	each_codec(run_garbage, test_seed(4));
}

static void run_options(struct bench *bench, uint64_t seed)
{
	struct random random = random_stream(seed);
	static uint8_t raw[1 << 20];
	const size_t sizes[] = { 4096, 16384, 16385, 65536, 65537, sizeof(raw) };
	const struct option *option = bench->ops->component.options;
	for (; option != NULL && option->name != NULL; option++) {
		const double values[] = { option->minimum, option->maximum, option->default_value };
		for (size_t i = 0; i < 3; i++) {
			assert_ok(component_set_option(&bench->ops->component, bench->options, option->name,
						       values[i]));
			free(bench->context);
			bench->context = context_create(bench->ops, bench->options);
			for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
				fill(&random, raw, sizes[j], 60);
				round_trip(bench, raw, sizes[j], sizes[j]);
			}
		}
	}
}

static void test_options(void **state)
{
	(void)state;
	each_codec(run_options, test_seed(5));
}

/* The raw path: the codec of blocks that are stored as they are still has to take them back. */
static void test_none_restores(void **state)
{
	(void)state;
	const struct codec_ops *ops = (const struct codec_ops *)component_find(COMPONENT_CODEC, "none");
	const uint8_t raw[5] = { 1, 2, 3, 4, 5 };
	uint8_t out[5] = { 0 };
	assert_true(ops->decompress(NULL, raw, 5, out, 5));
	assert_memory_equal(out, raw, 5);
	assert_false(ops->decompress(NULL, raw, 5, out, 4));
	assert_false(ops->decompress(NULL, raw, 4, out, 5));
	assert_true(ops->decompress(NULL, raw, 0, out, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),   cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_deterministic), cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_options),	      cmocka_unit_test(test_none_restores),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
