/*
 * bench_store.h: engines under the measures, opened through their drivers (harness/drivers/driver.h), so that
 * one piece of code does the same to all of them. Key n is 16 bytes: a bijection of n in big-endian, and n
 * itself; a value begins with n, and the rest is noise that no codec shrinks.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_STORE_H
#define CASCADE_HARNESS_BENCH_BENCH_STORE_H

#include <string.h>

#include "base/random.h"
#include "harness/bench/bench.h"
#include "harness/drivers/driver.h"

enum { BENCH_KEY_BYTES = 16, BENCH_VALUE_BYTES_MAX = 4096, BENCH_STORE_OPTIONS_MAX = 12 };

/* The key of a record. */
static inline struct slice bench_key(uint64_t number, uint8_t key[static BENCH_KEY_BYTES])
{
	uint64_t first = __builtin_bswap64(random_mix(number + 1));
	memcpy(key, &first, sizeof(first));
	memcpy(key + sizeof(first), &number, sizeof(number));
	return slice_make(key, BENCH_KEY_BYTES);
}

/* Whether it is a value of that record, of that size. */
static inline bool bench_value_is(struct slice value, uint64_t number, size_t size)
{
	return value.size == size && memcmp(value.data, &number, sizeof(number)) == 0;
}

struct bench_setting {
	const char *name, *value;
};

/* What is to be opened. */
struct bench_engine {
	const char *name;					/* of the driver */
	struct bench_setting settings[BENCH_STORE_OPTIONS_MAX]; /* ended by a name of NULL */
};

struct bench_store {
	const struct driver_ops *ops;
	struct driver *driver;
	uint64_t records;
	size_t value_bytes;
};

/* Opens the engine in `folder`, which is made where it is missing. Errors: UNSUPPORTED (this build does not
 * have it), and the engine's. What it has to say of itself goes to job->notice. */
MUST_CHECK struct status bench_store_open(struct bench_store *store, struct bench_job *job,
					  const struct bench_engine *engine, const char *folder);
MUST_CHECK struct status bench_store_close(struct bench_store *store);

/* Puts records 0 .. store->records - 1. */
MUST_CHECK struct status bench_store_load(struct bench_store *store);

/* Gets each of the records below `records` that many times. */
MUST_CHECK struct status bench_store_warm(struct bench_store *store, uint64_t records, unsigned times);

/* --- what clients do --- */

/* Of one thread or task. */
struct bench_client {
	struct bench_store *store;
	struct driver_client *handle;
	struct random random;
	uint64_t records;     /* below which it draws */
	struct status status; /* the first failure */
	uint8_t value[BENCH_VALUE_BYTES_MAX];
};

void bench_client_init(struct bench_client *client, struct bench_store *store, struct driver_client *handle,
		       uint64_t records, uint64_t seed);

/* One operation on a record drawn at random. A value that is not the record's is a failure. */
void bench_client_get(struct bench_client *client);
void bench_client_put(struct bench_client *client);

typedef void bench_operation(struct bench_client *client);

/*
 * That many threads in closed loops for that long; *rate: their operations a second, all together. For half
 * of that time they run before, uncounted, while a new database makes the files of its log.
 */
MUST_CHECK struct status bench_store_threads(struct bench_store *store, unsigned threads, uint64_t ms,
					     uint64_t seed, bench_operation *operation, double *rate);

#endif
