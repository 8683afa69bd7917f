/*
 * What the kind `filter` measures with: the textbook's Bloom filter against its theory, and sets of filters
 * with filters that are known, among them some that break the contract. About a second.
 */
#include <math.h>
#include <string.h>

#include "harness/bench/bench_filter_set.h"
#include "test.h"

/* --- the textbook's Bloom filter --- */

static void test_textbook_rates(void **state)
{
	(void)state;
	const double bits[] = { 6, 10, 16 };
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		struct filter_set set;
		const double options = bits[i];
		assert_ok(filter_set_build(&set, &bench_filter_plain, &options, 50000, 0, 1, test_seed(1)));
		assert_int_equal(set.count, 1);
		assert_int_equal(set.bytes, 50000 / 8 * (size_t)bits[i] + 1);
		for (uint64_t n = 0; n < 50000; n++) {
			struct filter_question question = filter_set_member(&set, n);
			assert_true(set.ops->may_contain(question.filter, question.hash));
		}
		/* k probes: (1 - e^(-k / bits))^k */
		double probes = round(bits[i] * log(2));
		double theory = pow(1 - exp(-probes / bits[i]), probes);
		double rate = filter_set_false_positives(&set, 400000);
		if (!(rate > theory * 0.8 && rate < theory * 1.2))
			fail_msg("%g bits: %g of all pass, expected %g", bits[i], rate, theory);
		filter_set_free(&set);
	}
}

/* --- a filter of known sizes: it lists its keys --- */

enum { LIST_SCRATCH = 40 };

static size_t list_size(const void *options, size_t count)
{
	(void)options;
	return count * sizeof(uint64_t);
}

static size_t list_scratch_size(const void *options, size_t count)
{
	(void)options;
	return count + LIST_SCRATCH;
}

static size_t list_build(const void *options, uint64_t *hashes, size_t count, uint8_t *out, void *scratch)
{
	(void)options;
	memset(scratch, 0x5a, count + LIST_SCRATCH);
	memcpy(out, hashes, count * sizeof(*hashes));
	/* It may: the next round must not suffer. */
	memset(hashes, 0, count * sizeof(*hashes));
	return count * sizeof(*hashes);
}

static bool list_may_contain(struct slice filter, uint64_t hash)
{
	for (size_t at = 0; at < filter.size; at += sizeof(hash)) {
		if (memcmp(filter.data + at, &hash, sizeof(hash)) == 0)
			return true;
	}
	return false;
}

static struct filter_ops list_of(uint32_t capabilities)
{
	return (struct filter_ops) {
		.component = { .name = "list", .abi = COMPONENT_ABI, .capabilities = capabilities },
		.size = list_size,
		.scratch_size = list_scratch_size,
		.build = list_build,
		.may_contain = list_may_contain,
	};
}

/* Each key is in one filter, filters are of about the size asked for, and lie as tables have them. */
static void check_parts(uint32_t capabilities, bool packed)
{
	const struct filter_ops list = list_of(capabilities);
	struct filter_set set;
	uint64_t least = UINT64_MAX, most = 0;
	assert_ok(filter_set_build(&set, &list, NULL, 20000, 30, 60000, test_seed(2)));
	assert_true(set.count > 20000 / 42);
	assert_true(set.count < 20000 / 18);
	assert_int_equal(set.bytes, 20000 * sizeof(uint64_t));
	assert_int_equal(set.starts[set.count], 20000);
	for (size_t i = 0; i < set.count; i++) {
		uint64_t count = set.starts[i + 1] - set.starts[i];
		if (i + 1 < set.count && count < least)
			least = count;
		most = count > most ? count : most;
		assert_int_equal(set.filters[i].size, count * sizeof(uint64_t));
		if (packed && i > 0)
			assert_ptr_equal(set.filters[i].data,
					 set.filters[i - 1].data + set.filters[i - 1].size);
		if (!packed)
			assert_int_equal((uintptr_t)set.filters[i].data % 64, 0);
	}
	assert_int_equal(least, 18);
	assert_int_equal(most, 42);
	assert_true(set.build_ns > 0);
	filter_set_free(&set);
}

static void test_parts(void **state)
{
	(void)state;
	check_parts(0, false);
	check_parts(FILTER_PER_BLOCK, true);
}

/* Questions about members are spread over filters and keys; those about others never hit. */
static void test_questions(void **state)
{
	(void)state;
	enum { QUESTIONS = 20000 };
	const struct filter_ops list = list_of(0);
	struct filter_set set;
	struct filter_times times;
	uint64_t seen = 0;
	assert_ok(filter_set_build(&set, &list, NULL, 64, 8, 1, test_seed(3)));
	for (uint64_t n = 0; n < QUESTIONS; n++) {
		struct filter_question member = filter_set_member(&set, n);
		assert_true(list_may_contain(member.filter, member.hash));
		for (uint64_t key = 0; key < 64; key++)
			seen |= (uint64_t)(member.hash == random_at(set.seed, key) >> 2) << key;
	}
	assert_true(seen == UINT64_MAX);
	assert_true(filter_set_false_positives(&set, QUESTIONS) == 0);
	assert_ok(filter_set_time(&set, 2, &times));
	assert_true(times.hit_ns > 0);
	assert_true(times.miss_ns > 0);
	assert_true(times.batch_ns > 0);
	filter_set_free(&set);
}

/* --- filters that break the contract --- */

static bool never_contains(struct slice filter, uint64_t hash)
{
	(void)filter;
	(void)hash;
	return false;
}

static size_t small_size(const void *options, size_t count)
{
	return list_size(options, count) - 1;
}

static size_t boasting_build(const void *options, uint64_t *hashes, size_t count, uint8_t *out, void *scratch)
{
	(void)hashes;
	(void)out;
	(void)scratch;
	return list_size(options, count);
}

static size_t failing_build(const void *options, uint64_t *hashes, size_t count, uint8_t *out, void *scratch)
{
	(void)options;
	(void)hashes;
	(void)count;
	(void)out;
	(void)scratch;
	return 0;
}

static void test_broken_filters(void **state)
{
	(void)state;
	struct filter_set set;
	struct filter_times times;
	struct filter_ops broken = list_of(0);
	broken.may_contain = never_contains;
	assert_ok(filter_set_build(&set, &broken, NULL, 1000, 0, 1, test_seed(4)));
	assert_status(filter_set_time(&set, 1, &times), STATUS_CORRUPT);
	filter_set_free(&set);
	broken = list_of(0);
	broken.size = small_size;
	broken.build = boasting_build;
	assert_status(filter_set_build(&set, &broken, NULL, 1000, 0, 1, test_seed(4)), STATUS_CORRUPT);
	filter_set_free(&set);
	broken = list_of(0);
	broken.build = failing_build;
	assert_ok(filter_set_build(&set, &broken, NULL, 1000, 100, 1, test_seed(4)));
	assert_int_equal(set.unbuilt, set.count);
	assert_int_equal(set.bytes, 0);
	filter_set_free(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_textbook_rates),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_broken_filters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
