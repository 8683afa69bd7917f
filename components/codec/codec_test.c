/*
 * The conformance suite of codecs, over every row of the registry: whatever is compressed comes back, at each
 * capacity, from each context, at each option; what is damaged or cut short is refused or restored as
 * something of the right size. Buffers end where memory ends, so that in any build a step over the end is
 * seen.
 */
#include <string.h>

#include "base/sanitizer.h"
#include "components/codec/codec.h"
#include "components/component_test.h"

enum {
	SIZE_MAX_TESTED = 64 * 1024,
	ROUNDS = SANITIZED ? 100 : 500, /* of each seed */
	GUARD = 64,
};

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
	struct bench bench = { .ops = (const struct codec_ops *)(const void *)component };
	bench.options = component_test_options(component);
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

typedef void codec_test(struct bench *bench, uint64_t seed);

static codec_test *running;

static void run_with_defaults(const struct component *component, uint64_t seed)
{
	struct bench bench = bench_open(component);
	running(&bench, seed);
	bench_close(&bench);
}

static void each_codec(codec_test *test, uint64_t seed)
{
	running = test;
	component_test_each(COMPONENT_CODEC, run_with_defaults, seed);
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

/* Whether `size` bytes are restored to `raw_size` that equal `raw`; NULL: any will do. */
static bool restores(struct bench *bench, void *context, const uint8_t *packed, size_t size,
		     const uint8_t *raw, size_t raw_size)
{
	struct fenced from = fenced_copy(packed, size);
	struct fenced to = fenced_make(raw_size);
	memset(to.bytes, 0xa5, raw_size);
	/* What lies in front of it, on the page that it begins in, is not to be touched either. */
	size_t room = (size_t)(to.bytes - to.map);
	size_t before = room < GUARD ? room : GUARD;
	memset(to.bytes - before, 0x5a, before);
	bool done = bench->ops->decompress(context, from.bytes, size, to.bytes, raw_size);
	assert_memory_equal(from.bytes, packed, size);
	for (size_t i = 0; i < before; i++)
		assert_int_equal(to.bytes[(ptrdiff_t)i - (ptrdiff_t)before], 0x5a);
	bool equal = raw == NULL || raw_size == 0 || memcmp(to.bytes, raw, raw_size) == 0;
	fenced_free(&from);
	fenced_free(&to);
	return done && equal;
}

/* Compresses into `packed`, of exactly `capacity` bytes; returns how many were written. */
static size_t pack(struct bench *bench, const uint8_t *raw, size_t size, size_t capacity,
		   struct fenced *packed)
{
	struct fenced from = fenced_copy(raw, size);
	*packed = fenced_make(capacity);
	size_t written = bench->ops->compress(bench->options, bench->context, from.bytes, size, packed->bytes,
					      capacity);
	assert_true(written <= capacity);
	assert_memory_equal(from.bytes, raw, size);
	fenced_free(&from);
	return written;
}

static void round_trip(struct bench *bench, const uint8_t *raw, size_t size, size_t capacity)
{
	struct fenced packed;
	size_t written = pack(bench, raw, size, capacity, &packed);
	if (written > 0) {
		assert_true(restores(bench, bench->context, packed.bytes, written, raw, size));
		/* A table's reader has a context that knows nothing of the options. */
		assert_true(restores(bench, bench->reader, packed.bytes, written, raw, size));
		/* It is a block of this size and no other. */
		assert_false(restores(bench, bench->context, packed.bytes, written, NULL, size + 1));
		if (size > 0)
			assert_false(restores(bench, bench->reader, packed.bytes, written, NULL, size - 1));
	}
	fenced_free(&packed);
}

static void run_round_trips(struct bench *bench, uint64_t seed)
{
	struct random random = random_stream(seed);
	static uint8_t raw[SIZE_MAX_TESTED];
	for (unsigned i = 0; i < ROUNDS; i++) {
		/* Each small size comes up with one seed or another. */
		size_t size = i < ROUNDS / 3 ? (i * COMPONENT_SEEDS + seed % COMPONENT_SEEDS) % 350
					     : (size_t)random_below(&random, SIZE_MAX_TESTED + 1);
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
	each_codec(run_round_trips, 1);
}

/* About as much room as the block takes: it fits and comes back, or is refused, and is never written behind.
 */
static void run_capacity(struct bench *bench, uint64_t seed)
{
	struct random random = random_stream(seed);
	static uint8_t raw[3000];
	for (unsigned i = 0; i < 60; i++) {
		struct fenced packed;
		size_t size = 1 + (size_t)random_below(&random, sizeof(raw));
		fill(&random, raw, size, 90);
		size_t written = pack(bench, raw, size, 2 * size + 64, &packed);
		fenced_free(&packed);
		for (size_t less = 0; written > 0 && less <= written; less += 1 + less * less / 8) {
			size_t again = pack(bench, raw, size, written - less, &packed);
			if (again > 0)
				assert_true(restores(bench, bench->context, packed.bytes, again, raw, size));
			fenced_free(&packed);
		}
	}
}

static void test_capacity(void **state)
{
	(void)state;
	each_codec(run_capacity, 6);
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
	each_codec(run_sizes, 2);
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
	each_codec(run_deterministic, 3);
}

/* Bytes that never were a block. */
static void run_garbage(struct bench *bench, uint64_t seed)
{
	struct random random = random_stream(seed);
	static uint8_t bytes[2000];
	for (unsigned i = 0; i < 2 * ROUNDS; i++) {
		size_t size = (size_t)random_below(&random, sizeof(bytes));
		fill(&random, bytes, size, random_below(&random, 100));
		(void)restores(bench, i % 2 == 0 ? bench->context : bench->reader, bytes, size, NULL,
			       (size_t)random_below(&random, sizeof(bytes)));
	}
}

static void test_garbage(void **state)
{
	(void)state;
	each_codec(run_garbage, 4);
}

/* Blocks with some bits flipped, cut short, or with bytes behind them. The context stays good for others. */
static void run_damage(struct bench *bench, uint64_t seed)
{
	struct random random = random_stream(seed);
	static uint8_t raw[2000];
	for (unsigned i = 0; i < 2 * ROUNDS; i++) {
		struct fenced packed;
		size_t size = 1 + (size_t)random_below(&random, sizeof(raw));
		fill(&random, raw, size, 80);
		size_t written = pack(bench, raw, size, 2 * size + 64, &packed);
		struct fenced damaged = fenced_make(written + 3);
		memset(damaged.bytes, 0, written + 3);
		memcpy(damaged.bytes, packed.bytes, written);
		for (unsigned flips = 0; written > 0 && flips < i % 4; flips++)
			damaged.bytes[random_below(&random, written)] ^=
				(uint8_t)(1u << random_below(&random, 8));
		if (written > 0) {
			size_t cut = i % 2 == 0 ? (size_t)random_below(&random, written + 4) : written;
			bool done = restores(bench, bench->reader, damaged.bytes, cut, NULL, size);
			/* A part is no block: all of it stands at the end of what it says. */
			if (i % 4 == 0 && cut < written)
				assert_true(!done ||
					    restores(bench, bench->reader, damaged.bytes, cut, raw, size));
			assert_true(restores(bench, bench->reader, packed.bytes, written, raw, size));
		}
		fenced_free(&damaged);
		fenced_free(&packed);
	}
}

static void test_damage(void **state)
{
	(void)state;
	each_codec(run_damage, 7);
}

static void run_options(struct bench *bench, uint64_t seed)
{
	struct random random = random_stream(seed);
	static uint8_t raw[1 << 20];
	const size_t sizes[] = { 1, 4096, 16384, 16385, 65536, 65537, seed % 5 == 0 ? sizeof(raw) : 300 };
	for (size_t i = 0; component_test_extreme(&bench->ops->component, bench->options, i); i++) {
		free(bench->context);
		bench->context = context_create(bench->ops, bench->options);
		for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
			fill(&random, raw, sizes[j], 60);
			round_trip(bench, raw, sizes[j], sizes[j]);
		}
		component_default_options(&bench->ops->component, bench->options);
	}
}

static void test_options(void **state)
{
	(void)state;
	each_codec(run_options, 5);
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
		cmocka_unit_test(test_round_trips), cmocka_unit_test(test_capacity),
		cmocka_unit_test(test_sizes),	    cmocka_unit_test(test_deterministic),
		cmocka_unit_test(test_garbage),	    cmocka_unit_test(test_damage),
		cmocka_unit_test(test_options),	    cmocka_unit_test(test_none_restores),
	};
	return cmocka_run_group_tests(tests, component_test_setup, NULL);
}
