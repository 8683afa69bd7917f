/*
 * bench_timing.h: how short things are timed, and where threads run.
 *
 * A single operation of some nanoseconds is shorter than a reading of the clock. So it is done many times
 * over between two readings, in slices of about a millisecond, and the median slice counts: what interrupts
 * one slice does not move it.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_TIMING_H
#define CASCADE_HARNESS_BENCH_BENCH_TIMING_H

#include <stddef.h>
#include <stdint.h>

enum { BENCH_SLICES_MAX = 256 };

/* Does the operation `count` times. */
typedef void bench_work(void *argument, uint64_t count);

/* Nanoseconds of one operation: the median of `slices` slices of `count` operations each, after one that
 * warms up. */
double bench_time_slices(bench_work *work, void *argument, uint64_t count, unsigned slices);

/* A result that the compiler must believe to be used. */
static inline void bench_use(uint64_t value)
{
	__asm__ volatile("" : : "r"(value) : "memory");
}

/*
 * Keeps the calling thread on one of the processors that the process may use: the first, second, ... and
 * from the start again where there are fewer. Threads with different numbers do not share one if they need
 * not, in a run as in the next.
 */
void bench_pin_thread(unsigned number);

/* Of numbers in nanoseconds, which are sorted on the way. NaN if there are none. */
double bench_quantile(uint64_t *numbers, size_t count, double quantile);

#endif
