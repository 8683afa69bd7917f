/*
 * Tests of the record cache: against a model that knows what may be there, and for what it keeps.
 */
#include "tree/record_cache.h"

#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "test.h"

enum { CACHE_BYTES = 64 << 10, KEYS = 3000, KEY_BYTES_MAX_HERE = 40, VALUE_BYTES_MAX_HERE = 3000 };

/* What the model knows of a key: its last put, unless it was removed since. */
struct model_record {
	uint64_t sequence; /* 0: not there */
	uint32_t size;
	uint8_t seed;
};

static size_t make_key(uint64_t number, uint8_t *key)
{
	/* Sizes from 0 on; the number in the first bytes keeps them apart. */
	size_t size = number % 7 == 0 ? 2 : 2 + number % KEY_BYTES_MAX_HERE;
	memset(key, (int)(number % 251), size);
	key[0] = (uint8_t)number;
	key[1] = (uint8_t)(number >> 8);
	return size;
}

static void make_value(const struct model_record *record, uint8_t *value)
{
	for (uint32_t i = 0; i < record->size; i++)
		value[i] = (uint8_t)(record->seed + i * 7);
}

static void check_get(struct record_cache *cache, struct slice key, const struct model_record *record,
		      uint64_t *found)
{
	uint8_t expected[VALUE_BYTES_MAX_HERE];
	uint64_t sequence = 0;
	struct slice value = slice_make(NULL, 0);
	if (!record_cache_get(cache, key, hash_key(key), &sequence, &value))
		return;
	(*found)++;
	assert_true(record->sequence != 0);
	assert_true(sequence == record->sequence);
	assert_true(value.size == record->size);
	make_value(record, expected);
	assert_true(memcmp(value.data, expected, value.size) == 0);
}

static void put(struct record_cache *cache, struct slice key, struct model_record *record,
		struct random *random, uint64_t sequence, uint32_t size_max)
{
	uint8_t value[VALUE_BYTES_MAX_HERE];
	*record = (struct model_record) { .sequence = sequence,
					  .size = (uint32_t)random_below(random, size_max),
					  .seed = (uint8_t)random_below(random, 256) };
	make_value(record, value);
	record_cache_put(cache, key, hash_key(key), sequence, slice_make(value, record->size));
}

static void run_against_model(uint64_t bytes, uint32_t size_max, struct random *random)
{
	static struct model_record model[KEYS];
	struct record_cache *cache = record_cache_create(bytes);
	uint64_t found = 0;
	assert_true(cache != NULL);
	memset(model, 0, sizeof(model));
	for (uint64_t step = 1; step <= 60000; step++) {
		/* A few keys often, all of them now and then. */
		uint64_t number =
			random_below(random, 2) == 0 ? random_below(random, 40) : random_below(random, KEYS);
		uint8_t bytes_of_key[2 + KEY_BYTES_MAX_HERE];
		struct slice key = slice_make(bytes_of_key, make_key(number, bytes_of_key));
		switch (random_below(random, 4)) {
		case 0:
			put(cache, key, &model[number], random, step, size_max);
			break;
		case 1:
			if (random_below(random, 3) == 0) {
				record_cache_remove(cache, key, hash_key(key));
				model[number].sequence = 0;
			}
			break;
		default:
			check_get(cache, key, &model[number], &found);
		}
	}
	const struct record_cache_counters *counters = record_cache_counters(cache);
	assert_true(found > 1000);
	assert_true(counters->hits == found);
	assert_true(counters->evictions > 0);
	assert_true(counters->removals > 0);
	for (uint64_t number = 0; number < KEYS; number++) {
		uint8_t bytes_of_key[2 + KEY_BYTES_MAX_HERE];
		struct slice key = slice_make(bytes_of_key, make_key(number, bytes_of_key));
		record_cache_remove(cache, key, hash_key(key));
	}
	assert_true(record_cache_is_empty(cache));
	record_cache_destroy(cache);
}

static void test_model(void **state)
{
	(void)state;
	uint64_t first = test_seed(1);
	for (uint64_t seed = first; seed < first + 6; seed++) {
		struct random random = random_stream(seed);
		print_message("seed %llu\n", (unsigned long long)seed);
		run_against_model(CACHE_BYTES, 100, &random);
		run_against_model(CACHE_BYTES, VALUE_BYTES_MAX_HERE, &random);
		run_against_model(512 << 10, VALUE_BYTES_MAX_HERE, &random);
	}
}

/* What is used again and again outlives any number of records that are used once. */
static void test_keeps_what_is_used(void **state)
{
	(void)state;
	struct record_cache *cache = record_cache_create(CACHE_BYTES);
	uint8_t value[100] = { 1 };
	assert_true(cache != NULL);
	for (uint64_t i = 0; i < 20000; i++) {
		uint64_t number = i % 4 == 0 ? i / 4 % 50 : 1000 + i;
		uint8_t key_bytes[8];
		memcpy(key_bytes, &number, sizeof(number));
		struct slice key = slice_make(key_bytes, sizeof(key_bytes)), found;
		uint64_t sequence;
		bool hit = record_cache_get(cache, key, hash_key(key), &sequence, &found);
		if (number < 50 && i > 1000)
			assert_true(hit);
		if (!hit)
			record_cache_put(cache, key, hash_key(key), i + 1, slice_make(value, sizeof(value)));
	}
	record_cache_destroy(cache);
}

/* One that comes once passes by; one that comes again is wanted; what is too large never is. */
static void test_wants_what_comes_again(void **state)
{
	(void)state;
	struct record_cache *cache = record_cache_create(CACHE_BYTES);
	static const uint8_t large[CACHE_BYTES];
	assert_true(cache != NULL);
	struct slice key = slice_make("key", 3), value = slice_make("value", 5);
	uint64_t hash = hash_key(key);
	assert_true(record_cache_wants(cache, key, hash, value)); /* there is room */
	for (uint64_t i = 0; i < 100; i++)
		record_cache_put(cache, slice_make(&i, sizeof(i)), hash_key(slice_make(&i, sizeof(i))), 1,
				 slice_make(large, 1000));
	key = slice_make("another key", 11);
	hash = hash_key(key);
	assert_true(!record_cache_wants(cache, key, hash, value));
	assert_true(record_cache_wants(cache, key, hash, value));
	assert_true(!record_cache_wants(cache, key, hash, slice_make(large, sizeof(large))));
	assert_true(
		!record_cache_wants(cache, slice_make("other", 5), hash_key(slice_make("other", 5)), value));
	record_cache_destroy(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_keeps_what_is_used),
		cmocka_unit_test(test_wants_what_comes_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
