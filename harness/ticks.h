/*
 * ticks.h: the bench's stopwatch: intervals of nanoseconds to seconds at about half the cost of clock_now_ns.
 *
 * Where the kernel itself keeps time by the processor's time stamp counter, and the counter says that it runs
 * evenly in all states, a reading is that counter; its rate is measured against clock_now_ns once a process,
 * to a few parts in a million. Anywhere else a reading is clock_now_ns. A reading waits until the
 * instructions before it are done, so the time of a cache miss is not booked on the operation after it.
 *
 * Readings of different threads compare as far as the kernel trusts the counter, which is what makes it a
 * clock source. Times of day and deadlines are not the stopwatch's business: they would drift.
 */
#ifndef CASCADE_HARNESS_TICKS_H
#define CASCADE_HARNESS_TICKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#ifdef __x86_64__
#include <x86intrin.h>
#endif

struct ticks_rate {
	bool counts;	      /* readings are the processor's counter */
	uint64_t ns_in_ticks; /* nanoseconds of 2^32 ticks */
};

extern struct ticks_rate ticks_rate;

/* Takes about 10 ms, the first time; call it before any reading that other threads are to understand. */
void ticks_calibrate(void);

static inline uint64_t ticks_now(void)
{
#ifdef __x86_64__
	if (__builtin_expect(ticks_rate.counts, 1)) {
		uint32_t processor;
		return __rdtscp(&processor);
	}
#endif
	return clock_now_ns();
}

/* The time between two readings. */
static inline uint64_t ticks_to_ns(uint64_t ticks)
{
	return (uint64_t)(((unsigned __int128)ticks * ticks_rate.ns_in_ticks) >> 32);
}

#endif
