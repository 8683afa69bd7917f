/*
 * histogram.h: latencies in nanoseconds, log-linear as HdrHistogram lays them out.
 *
 * Values below 256 ns have a slot each; above, every power of two is divided into 128 slots, so that the
 * bounds of a slot differ by at most 1/128 of the value. Slots and their numbering are those of an
 * HdrHistogram with 2 significant digits, lowest value 1 and unit magnitude 0. From 2^42 ns (73 minutes)
 * on values share the last slot; `max_ns` and the sum stay exact.
 *
 * One thread (or task) records into a histogram. Other threads may call histogram_add_difference
 * meanwhile and nothing else: all numbers are written by plain relaxed stores, each is either the old or
 * the new one, and a sum over slots may be a few operations old.
 *
 * A histogram is 37 KiB of address space, mapped; only the pages of slots that were hit become memory.
 */
#ifndef CASCADE_HARNESS_HISTOGRAM_H
#define CASCADE_HARNESS_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

enum {
	HISTOGRAM_HALF_BITS = 7, /* 128 slots for each power of two */
	HISTOGRAM_VALUE_BITS = 42,
	HISTOGRAM_BUCKETS = HISTOGRAM_VALUE_BITS - HISTOGRAM_HALF_BITS, /* as HdrHistogram counts them */
	HISTOGRAM_SUB_BUCKETS = 2 << HISTOGRAM_HALF_BITS,
	HISTOGRAM_SLOTS = (HISTOGRAM_BUCKETS + 1) << HISTOGRAM_HALF_BITS,
};

struct histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t min_ns; /* UINT64_MAX while empty */
	uint64_t max_ns;
	uint64_t counts[HISTOGRAM_SLOTS];
};

/* Empty; NULL when memory is exhausted. The caller owns it. */
struct histogram *histogram_create(void);
void histogram_free(struct histogram *histogram); /* NULL is allowed */
void histogram_reset(struct histogram *histogram);

/* The slot of a value. */
static inline uint32_t histogram_slot(uint64_t value_ns)
{
	if (__builtin_expect(value_ns >> HISTOGRAM_VALUE_BITS != 0, 0))
		return HISTOGRAM_SLOTS - 1;
	uint32_t shift = (uint32_t)(63 - HISTOGRAM_HALF_BITS - __builtin_clzll(value_ns | 255));
	return (shift << HISTOGRAM_HALF_BITS) + (uint32_t)(value_ns >> shift);
}

/* The smallest and the largest value of a slot. */
uint64_t histogram_slot_lowest(uint32_t slot);
uint64_t histogram_slot_highest(uint32_t slot);

static inline void histogram_record(struct histogram *histogram, uint64_t value_ns)
{
	uint64_t *slot = &histogram->counts[histogram_slot(value_ns)];
	__atomic_store_n(slot, *slot + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&histogram->count, histogram->count + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&histogram->sum_ns, histogram->sum_ns + value_ns, __ATOMIC_RELAXED);
	if (value_ns > histogram->max_ns)
		__atomic_store_n(&histogram->max_ns, value_ns, __ATOMIC_RELAXED);
	if (value_ns < histogram->min_ns)
		__atomic_store_n(&histogram->min_ns, value_ns, __ATOMIC_RELAXED);
}

/* Adds all of `from`. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/*
 * Adds what `now` (which another thread may be recording into) holds more than `before`, an earlier copy
 * of it, and brings `before` up to date. The minimum and maximum that result are those of the slots hit,
 * bounded by the exact ones of `now`.
 */
void histogram_add_difference(struct histogram *into, const struct histogram *now, struct histogram *before);

/* Of an empty histogram: 0. */
double histogram_mean(const struct histogram *histogram);
double histogram_deviation(const struct histogram *histogram); /* standard deviation, from slot middles */

/*
 * The value that the share `quantile` (0 .. 1) of all values does not exceed: the upper end of its slot,
 * never more than the maximum; at least the exact value and at most 1/128 above it. 0 when empty.
 */
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

/*
 * Writes the percentile distribution in HdrHistogram's classic text format (.hgrm), values in ns, five
 * ticks for each half distance, `#[Unit = ns]` in the footer. Errors: IO.
 */
MUST_CHECK struct status histogram_write_hgrm(const struct histogram *histogram, FILE *file);
MUST_CHECK struct status histogram_save_hgrm(const struct histogram *histogram, const char *path);

/* One row of a .hgrm file. */
struct hgrm_row {
	double value;
	double percentile; /* 0 .. 1 */
	double total_count;
};

/*
 * Reads the rows of a .hgrm file; the caller frees *rows with memory_free. Errors: NOT_FOUND, IO,
 * CORRUPT (with the line), NO_MEMORY.
 */
MUST_CHECK struct status hgrm_read(const char *path, struct hgrm_row **rows, size_t *count);

#endif
