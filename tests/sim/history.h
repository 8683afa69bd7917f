/*
 * history.h: what several callers did to one register and heard, and whether it is linearizable: whether each
 * operation can have happened at one moment between its call and its return, such that each read found what
 * was written last. Histories of many registers are linearizable if each register's is (Herlihy, Wing,
 * "Linearizability", TOPLAS 1990), so each key is asked about for itself.
 *
 * The answer comes from the search of Wing and Gong ("Testing and Verifying Concurrent Objects", JPDC 1993):
 * next is any operation that no other one had returned before; a dead end is left for the last choice. As in
 * Lowe's form of it ("Testing for Linearizability", CCPE 2017) what was tried once, the same operations done
 * and the same value there, is not tried again. A read that fits comes at once, for nothing changes by it.
 */
#ifndef CASCADE_SIM_HISTORY_H
#define CASCADE_SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum history_kind { HISTORY_READ, HISTORY_WRITE };

struct history_operation {
	enum history_kind kind;
	uint32_t client; /* for the message only */
	uint32_t value;	 /* found or written; those written need not differ */
	/* Readings of one clock that never shows the same twice; called < returned. */
	uint64_t called, returned;
};

/*
 * Whether some order explains them, with `initial` there before all; sorts them by `called`. Else `why` (may
 * be NULL) gets the operation for which no place was found, and the ones before it.
 */
bool history_is_linearizable(struct history_operation *operations, size_t count, uint32_t initial, char *why,
			     size_t why_size);

/* The operations on one of several registers, all by one clock; those of one batch have the same `called`. */
struct history {
	const struct history_operation *operations;
	size_t count;
};

/*
 * Whether `found`, a value of each register or `unread`, can have been there at one moment: a write that is
 * in it began when others had returned, and those are in it too, and the whole of its batch is. Nothing is
 * said of values that several wrote, or nobody. False: `why` (may be NULL) says what is missing.
 */
bool history_is_one_state(const struct history *histories, size_t count, const uint32_t *found,
			  uint32_t unread, char *why, size_t why_size);

#endif
