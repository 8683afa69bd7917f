/*
 * memtable.h: the contract of memtables: a sorted map of entries in memory, filled by one writer.
 *
 * Entries are ordered as base/entry.h says. All memory comes from the arena handed to create and goes with
 * it: there is no destroy, so what a variant takes is exactly what the arena says (arena_used_bytes). Keys
 * and values are copied on insert and are never moved or overwritten, so slices that get or an iterator
 * handed out stay valid as long as the arena. One thread at a time uses a memtable; iterators stay valid over
 * inserts (they may or may not see entries inserted after they were positioned, but never miss, repeat or
 * reorder those that were there). Nothing here suspends, and nothing takes a lock.
 *
 * Except for get_many every function is required.
 */
#ifndef CASCADE_COMPONENTS_MEMTABLE_H
#define CASCADE_COMPONENTS_MEMTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/entry.h"
#include "base/status.h"
#include "components/component.h"

enum memtable_capabilities {
	MEMTABLE_FORGETS = 1 << 0, /* finds nothing again: for benches, to price what surrounds a memtable */
};

/* The first member of every variant's instance. */
struct memtable {
	const struct memtable_ops *ops;
	struct arena *arena;
};

/* The first member of every variant's iterator; lives in memory of the caller's. */
struct memtable_iterator {
	struct memtable *memtable;
	struct entry entry; /* valid while `valid` */
	bool valid;
};

enum { MEMTABLE_ITERATOR_BYTES = 512 };

/* One lookup of a batch. */
struct memtable_probe {
	struct slice key;   /* in */
	uint64_t sequence;  /* in */
	struct entry entry; /* out, where found: as get gives it */
	bool found;	    /* out */
};

struct memtable_ops {
	struct component component;

	/* `options`: as component_default_options filled it, borrowed for the call; NULL without options.
	 * NULL result: no memory. */
	struct memtable *(*create)(struct arena *arena, const void *options);

	/*
	 * Adds an entry; key and value are copied. The caller guarantees that its sequence is larger than
	 * that of any entry with the same key already there. `oldest_needed`: no reader needs a version of
	 * this key older than the newest one with sequence <= oldest_needed, so a variant may drop such
	 * versions from its order (their memory stays). STATUS_NO_MEMORY: unchanged.
	 */
	MUST_CHECK struct status (*insert)(struct memtable *memtable, const struct entry *entry,
					   uint64_t oldest_needed);

	/* The newest version of `key` with sequence <= `sequence`: true and *entry (which may be an
	 * ENTRY_DELETE), or false. */
	bool (*get)(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry);

	/*
	 * The same as `get` for each of `count` probes, in any order. A variant that can do several lookups
	 * in the time that one waits for memory does so here, and is quicker still where keys ascend. May be
	 * NULL: callers go through memtable_get_many, which then gets one after the other.
	 */
	void (*get_many)(struct memtable *memtable, struct memtable_probe *probes, size_t count);

	/* Number of versions that an iterator would visit. */
	uint64_t (*count)(const struct memtable *memtable);

	/* Prepares an iterator in MEMTABLE_ITERATOR_BYTES bytes, aligned to 64; not positioned. No end call:
	 * it owns nothing. */
	void (*iterator_init)(struct memtable *memtable, struct memtable_iterator *iterator);

	/* The four that position set `valid`, and `entry` where there is one. None fails: what a variant
	 * needs to give an order it has taken before (sorted_hash sorts in place). */

	/* At the first entry >= (key, sequence) in entry order; key empty and sequence SEQUENCE_MAX: the
	 * first of all. */
	void (*seek)(struct memtable_iterator *iterator, struct slice key, uint64_t sequence);

	/* At the last entry <= (key, sequence) in entry order. */
	void (*seek_back)(struct memtable_iterator *iterator, struct slice key, uint64_t sequence);

	/* At the last entry of all. */
	void (*seek_last)(struct memtable_iterator *iterator);

	/* To the following entry, and to the one before. Only while valid; either may follow the other. */
	void (*next)(struct memtable_iterator *iterator);
	void (*prev)(struct memtable_iterator *iterator);
};

static inline void memtable_get_many(struct memtable *memtable, struct memtable_probe *probes, size_t count)
{
	if (memtable->ops->get_many != NULL) {
		memtable->ops->get_many(memtable, probes, count);
		return;
	}
	for (size_t i = 0; i < count; i++)
		probes[i].found =
			memtable->ops->get(memtable, probes[i].key, probes[i].sequence, &probes[i].entry);
}

#endif
