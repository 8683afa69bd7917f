/*
 * canary.h: how warm the caches are that an operation meets.
 *
 * What a memtable's operation costs depends on what the caller did since the last one: it has pushed the
 * memtable's nodes out of the caches. Whoever wants the same cost from the same operations elsewhere needs
 *the same state of the caches there, and so has to be able to measure it, apart from the operations
 *themselves. Canaries are memory and code that nothing else touches. Every eighth operation is a sample;
 *before the one that follows it the readings say how long it takes
 *
 *	near	to load a line that was touched right after the operation before
 *	code	to call a function that was called then
 *	middle	to load a line that was touched CANARY_MIDDLE samples ago
 *	far	to load a line that was touched CANARY_FAR samples ago
 *	nothing	to read the clock twice: what is in each of the others, and in the time of each operation
 *
 * so near and code tell what lies between two operations, and the other two how soon things get lost that are
 * used now and then. The same in an engine and in a replay: a replay that shows the same readings has caches
 * in the same state. Each line has a page of its own, so a reading has the TLB's share in it too.
 *
 * Owned by one thread at a time.
 */
#ifndef CASCADE_TRACE_CANARY_H
#define CASCADE_TRACE_CANARY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

enum {
	CANARY_EVERY = 8, /* operations to a sample */
	CANARY_MIDDLE = 16,
	CANARY_FAR = 512,
};

/* Operations that come in runs have other things between them than those that come alone. */
enum canary_class { CANARY_POINT, CANARY_STEP, CANARY_CLASSES };

/* In ticks of the clock, the reading of the clock included. */
struct canary_reading {
	uint64_t near, code, middle, far, nothing;
};

struct canary_state {
	uint64_t operations;
	uint32_t middle, far; /* the lines that come next */
};

struct canary {
	uint8_t *memory;
	bool counts; /* the clock is the processor's counter */
	struct canary_state states[CANARY_CLASSES];
};

/* Takes 4 MiB. False: there is no memory. */
bool canary_init(struct canary *canary, bool counts);
void canary_free(struct canary *canary);

/* Whether the clock of traces is the processor's counter: not where time is simulated. */
bool canary_clock_counts(void);

/*
 * The clock of traces. What stands before a reading is done when it is taken, and what stands behind has not
 * begun: without that a processor moves a short operation out from between two readings.
 */
static inline uint64_t canary_clock(bool counts)
{
	if (!counts)
		return clock_now_ns();
#if defined(__x86_64__)
	__builtin_ia32_lfence();
	uint64_t ticks = clock_ticks();
	__builtin_ia32_lfence();
	return ticks;
#elif defined(__aarch64__)
	__asm__ volatile("isb" : : : "memory");
	return clock_ticks();
#else
	return clock_ticks();
#endif
}

/*
 * Ticks in 1/256 that lie between two readings with nothing between them, at best; takes less than a
 * millisecond. Whoever has canaries knows better what they were while they were read.
 */
uint32_t canary_clock_cost(bool counts);

void canary_take(struct canary *canary, enum canary_class class, struct canary_reading *reading);
void canary_touch(struct canary *canary, enum canary_class class);

/* Before an operation: true if it was time for a reading. */
static inline bool canary_before(struct canary *canary, enum canary_class class,
				 struct canary_reading *reading)
{
	if (canary->states[class].operations % CANARY_EVERY != 1)
		return false;
	canary_take(canary, class, reading);
	/* Until then the far lines were touched by nobody but who made them. */
	return canary->states[class].operations > (uint64_t)CANARY_EVERY * CANARY_FAR;
}

/* After it. */
static inline void canary_after(struct canary *canary, enum canary_class class)
{
	if (canary->states[class].operations++ % CANARY_EVERY == 0)
		canary_touch(canary, class);
}

#endif
