/*
 * clock.h: the only door to time. Simulated worlds replace the source; everything else reads it here.
 */
#ifndef CASCADE_BASE_CLOCK_H
#define CASCADE_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds of a monotonic clock with an arbitrary origin (about 20 ns a call). */
uint64_t clock_now_ns(void);

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
