/*
 * clock.h: the only door to time. Simulated worlds replace the source; everything else reads it here.
 */
#ifndef CASCADE_BASE_CLOCK_H
#define CASCADE_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Some microseconds, and less than one, in ticks of the processor's counter: 1 to 5 GHz; 25 MHz to 1 GHz. */
#if defined(__x86_64__)
enum { CLOCK_TICKS_FEW = 8192, CLOCK_TICKS_SHORT = 2048 };
#else
enum { CLOCK_TICKS_FEW = 64, CLOCK_TICKS_SHORT = 16 };
#endif

/* Nanoseconds of a monotonic clock with an arbitrary origin (about 20 ns a call). */
uint64_t clock_now_ns(void);

/*
 * A cheaper look (half as long) for those who read the clock often, to see whether it is worth it: a mark
 * when the clock is read, and later whether more than a few microseconds may have passed since. Where nothing
 * cheaper is known, and with a replaced clock, the mark is 0, and they always may.
 */
uint64_t clock_mark(void);

static inline uint64_t clock_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t ticks;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
	return 0;
#endif
}

static inline bool clock_has_moved(uint64_t mark)
{
	return mark == 0 || clock_ticks() - mark > CLOCK_TICKS_FEW;
}

/* Nanoseconds since the Unix epoch. */
uint64_t clock_wall_ns(void);

/* Blocks the calling thread for at least that long. Never on a shard's thread. */
void clock_sleep_ns(uint64_t ns);

typedef uint64_t clock_source(void *context);

/* Replaces both clocks for the process; NULL restores the real ones. Call before any thread starts. */
void clock_set_source(clock_source *source, void *context);

typedef void clock_sleeper(void *context, uint64_t ns);

/* Replaces what clock_sleep_ns does, likewise. */
void clock_set_sleeper(clock_sleeper *sleeper, void *context);

#endif
