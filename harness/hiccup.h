/*
 * hiccup.h: how long the machine lets a thread wait that has nothing to do but wake up.
 *
 * A thread of its own sleeps for a millisecond again and again and records by how much it woke too late,
 * through each measured phase. What it sees, every thread of the engine has met: a slow operation that
 * coincides with a hiccup is the machine's doing (its scheduler, its hypervisor, the load of the clients
 * themselves), not the engine's. The thread is pinned nowhere and costs about half a percent of one CPU.
 *
 * A pause of 10 ms would be one sample among the thousand of its second, though a hundred sleeps fit into
 * it. So it counts as 10, 9, 8 ... 1 ms: what the sleeps would have seen that it swallowed. Percentiles
 * therefore read as shares of time.
 */
#ifndef CASCADE_HARNESS_HICCUP_H
#define CASCADE_HARNESS_HICCUP_H

#include "harness/histogram.h"

struct hiccup;

/* Starts the thread; it blocks all signals. Errors: NO_MEMORY, BUSY (no thread can be had). */
MUST_CHECK struct status hiccup_start(struct hiccup **hiccup);

/* Ends the thread (it may sleep one last millisecond). What it recorded is the caller's. NULL gives NULL. */
struct histogram *hiccup_stop(struct hiccup *hiccup);

/* Records one sleep that ended `late_ns` late, and those that it swallowed. */
void hiccup_record(struct histogram *histogram, uint64_t late_ns);

#endif
