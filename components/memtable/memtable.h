/*
 * memtable.h: the contract of memtables: a sorted map of entries in memory, filled by one writer.
 *
 * Entries are ordered as base/entry.h says. All memory comes from the arena handed to create and goes
 * with it: there is no destroy, and nothing is ever moved or overwritten, so slices that get or an
 * iterator handed out stay valid as long as the arena. One thread at a time uses a memtable; iterators
 * stay valid over inserts (they may or may not see entries inserted after they were positioned).
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
	MEMTABLE_NO_ITERATOR = 1 << 0, /* cannot be flushed in order: benches only */
	MEMTABLE_FORGETS = 1 << 1,     /* finds nothing again: benches only */
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

	/* Number of versions that an iterator would visit. */
	uint64_t (*count)(const struct memtable *memtable);

	/* Prepares an iterator in MEMTABLE_ITERATOR_BYTES bytes, aligned to 64; not positioned. No end call:
	 * it owns nothing. May be NULL with MEMTABLE_NO_ITERATOR, and then the next two. */
	void (*iterator_init)(struct memtable *memtable, struct memtable_iterator *iterator);

	/* At the first entry >= (key, sequence) in entry order; key empty and sequence SEQUENCE_MAX: the
	 * first of all. Sets valid and entry. */
	void (*seek)(struct memtable_iterator *iterator, struct slice key, uint64_t sequence);

	/* To the following entry. Only while valid. */
	void (*next)(struct memtable_iterator *iterator);
};

#endif
