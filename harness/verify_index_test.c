#include "harness/verify_index.h"

#include <pthread.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "harness/generator.h"
#include "test.h"

static struct slice text_of(enum insert_order order, uint64_t number, uint8_t text[KEY_TEXT_MAX])
{
	return slice_make(text, key_format(order, number, text));
}

static int sign(int number)
{
	return (number > 0) - (number < 0);
}

static void places_compare_as_texts_do(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(1));
	for (int i = 0; i < 300000; i++) {
		enum insert_order order = i % 2 == 0 ? INSERT_HASHED : INSERT_ORDERED;
		/* Small and round numbers, which are prefixes of each other, often. */
		uint64_t a = random_next(&random) >> (16 + random_below(&random, 48));
		uint64_t b = i % 3 == 0	  ? a * 10
			     : i % 3 == 1 ? a / 10
					  : random_next(&random) >> (16 + random_below(&random, 48));
		b &= (1ull << 48) - 1;
		uint8_t text_a[KEY_TEXT_MAX], text_b[KEY_TEXT_MAX];
		struct slice key_a = text_of(order, a, text_a), key_b = text_of(order, b, text_b);
		struct verify_place place_a = verify_place_of(order, a), place_b = verify_place_of(order, b);
		assert_int_equal(sign(verify_place_compare(place_a, place_b)),
				 sign(slice_compare(key_a, key_b)));
		assert_int_equal(verify_place_number(place_a), a);
		struct verify_place read;
		assert_true(verify_place_of_text(key_a, &read));
		assert_int_equal(verify_place_compare(read, place_a), 0);
	}
}

static void texts_that_are_no_keys_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = { "",	     "user",   "user00",  "user01",
					   "usr12",  "user1x", "user-1",  "User1",
					   "user 1", "user1 ", "user:12", "user12345678901234567890" };
	struct verify_place place;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (verify_place_of_text(slice_make(bad[i], strlen(bad[i])), &place))
			fail_msg("'%s' was taken for a key", bad[i]);
	}
	assert_true(verify_place_of_text(slice_make("user0", 5), &place));
	assert_true(verify_place_of_text(slice_make("user9223372036854775808", 23), &place));
}

static int compare_places(const void *left, const void *right)
{
	return verify_place_compare(*(const struct verify_place *)left, *(const struct verify_place *)right);
}

static void assert_walks(struct verify_index *index, const struct verify_place *sorted, uint64_t count,
			 uint64_t from)
{
	struct verify_walk walk;
	struct verify_place place;
	verify_walk_begin(index, sorted[from], &walk);
	for (uint64_t i = from; i < count; i++) {
		assert_true(verify_walk_next(&walk, &place));
		assert_int_equal(place.order, sorted[i].order);
		assert_int_equal(place.rest, sorted[i].rest);
	}
	assert_false(verify_walk_next(&walk, &place));
}

static void walks_meet_all_keys_in_order(void **state)
{
	(void)state;
	enum { KEYS = 3000 };
	static const uint64_t put_counts[] = { 0, 1, KEYS / 2, KEYS };
	for (int round = 0; round < 8; round++) {
		enum insert_order order = round % 2 == 0 ? INSERT_HASHED : INSERT_ORDERED;
		uint64_t put = put_counts[round / 2];
		struct verify_index *index;
		struct verify_place sorted[KEYS];
		assert_ok(verify_index_create(order, put, &index));
		for (uint64_t i = 0; i < put; i++)
			verify_index_put(index, i * 7);
		assert_ok(verify_index_sort(index));
		for (uint64_t i = put; i < KEYS; i++)
			assert_ok(verify_index_add(index, i * 7));
		for (uint64_t i = 0; i < KEYS; i++)
			sorted[i] = verify_place_of(order, i * 7);
		qsort(sorted, KEYS, sizeof(sorted[0]), compare_places);
		for (uint64_t from = 0; from < KEYS; from += 111)
			assert_walks(index, sorted, KEYS, from);
		/* From a place where there is no key. */
		struct verify_walk walk;
		struct verify_place place;
		verify_walk_begin(index, verify_place_of(order, 3), &walk);
		while (verify_walk_next(&walk, &place))
			assert_true(verify_place_compare(place, verify_place_of(order, 3)) > 0);
		verify_index_destroy(index);
	}
}

/* --- threads --- */

enum { THREADS = 4, EACH = 5000, BASE = 1000 };

struct adder {
	struct verify_index *index;
	uint64_t first;
};

static void *add_keys(void *argument)
{
	struct adder *adder = argument;
	for (uint64_t i = 0; i < EACH; i++) {
		uint64_t number = adder->first + i * THREADS;
		struct verify_walk walk;
		struct verify_place place, own = verify_place_of(INSERT_HASHED, number);
		if (!status_is_ok(verify_index_add(adder->index, number)))
			return adder;
		/* What was added before a walk is met by it. */
		verify_walk_begin(adder->index, own, &walk);
		if (!verify_walk_next(&walk, &place) || place.rest != own.rest)
			return adder;
		for (int k = 0; k < 5; k++) {
			struct verify_place before = place;
			if (verify_walk_next(&walk, &place) && verify_place_compare(before, place) >= 0)
				return adder;
		}
	}
	return NULL;
}

static void threads_add_at_once(void **state)
{
	(void)state;
	struct verify_index *index;
	pthread_t threads[THREADS];
	struct adder adders[THREADS];
	uint64_t count = BASE + THREADS * EACH;
	assert_ok(verify_index_create(INSERT_HASHED, BASE, &index));
	for (uint64_t i = 0; i < BASE; i++)
		verify_index_put(index, i);
	assert_ok(verify_index_sort(index));
	for (uint64_t i = 0; i < THREADS; i++) {
		adders[i] = (struct adder) { .index = index, .first = BASE + i };
		assert_int_equal(pthread_create(&threads[i], NULL, add_keys, &adders[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	struct verify_place *sorted = memory_allocate(count * sizeof(*sorted));
	for (uint64_t i = 0; i < count; i++)
		sorted[i] = verify_place_of(INSERT_HASHED, i);
	qsort(sorted, count, sizeof(*sorted), compare_places);
	assert_walks(index, sorted, count, 0);
	memory_free(sorted);
	verify_index_destroy(index);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_compare_as_texts_do),
		cmocka_unit_test(texts_that_are_no_keys_are_refused),
		cmocka_unit_test(walks_meet_all_keys_in_order),
		cmocka_unit_test(threads_add_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
