/*
 * pacing.h: how fast writers may go: by credit that flush and merge earn.
 *
 * Three lenders watch one resource each: memtables (writers ahead of the flush), level 0 (tables ahead of the
 * merge), and the log ring. Each knows how full it is, in 1/1024, and at what rate it drains, in user bytes a
 * second. While all are below half, writers pass free. Above, a write is admitted at the drain rate times a
 * factor that falls in a straight line from 4 at half full to 0 at full: delay rises smoothly with debt, and
 * equilibrium is at seven eighths. At full, writers wait; what never drains makes them fail after the
 * timeout. All arithmetic is in integers; the clock is the caller's.
 *
 * Delayed writes stand in a queue of bytes that is served at the admitted rate. A writer keeps its place in
 * it, not a point in time: whoever began to wait when the rate was low goes on as soon as it rises.
 */
#ifndef CASCADE_COMPACTION_PACING_H
#define CASCADE_COMPACTION_PACING_H

#include <stdbool.h>
#include <stdint.h>

enum pacing_lender { PACING_MEMTABLES, PACING_LEVEL0, PACING_LOG, PACING_LENDERS };

enum { PACING_FULL = 1024, PACING_FREE = PACING_FULL / 2 };

struct pacing_drain {
	uint64_t rate;	   /* bytes a second, smoothed over about 8 samples; 0: not known yet */
	uint64_t bytes;	   /* drained since `since_ns` */
	uint64_t since_ns; /* start of the sample; 0: none */
};

struct pacer {
	uint32_t fill[PACING_LENDERS]; /* 0 .. PACING_FULL and more */
	struct pacing_drain drain[PACING_LENDERS];
	uint64_t booked;    /* bytes of delayed writes so far: where the next one's place is */
	uint64_t served;    /* places up to here may go */
	uint64_t served_ns; /* as of when */
	uint64_t delayed_writes, delayed_ns, stopped_writes; /* counters */
};

/* How full a resource is now; the tree tells after every change. */
void pacer_set_fill(struct pacer *pacer, enum pacing_lender lender, uint64_t used, uint64_t capacity);

/* User bytes that the resource has let go of, at work time `now_ns`; begin and end frame a stretch of work.
 */
void pacer_drain_begin(struct pacer *pacer, enum pacing_lender lender, uint64_t now_ns);
void pacer_drained(struct pacer *pacer, enum pacing_lender lender, uint64_t bytes, uint64_t now_ns);

/* The fullest lender. */
uint32_t pacer_pressure(const struct pacer *pacer);

/*
 * When a write of `bytes` may go: `now_ns`: at once; later: then, as things are now; UINT64_MAX: not while
 * things are as they are (ask again after a change). Unless UINT64_MAX the write has its *place from then on.
 */
uint64_t pacer_admit(struct pacer *pacer, uint64_t bytes, uint64_t now_ns, uint64_t *place);

/* The same for a write that has a place already: rates and resources may have changed. */
uint64_t pacer_again(struct pacer *pacer, uint64_t place, uint64_t now_ns);

#endif
