/*
 * traced_memtable.h: a memtable that does what another one does, and records it.
 *
 * Where memtables are recorded, the tree gets this table of functions instead of the variant's own, and so
 * needs no test in its data path. Four things are different from any other memtable: it has to be told when
 * it ends and when an iterator of it ends (a component is told neither), its iterators live in
 * TRACED_ITERATOR_BYTES, and its functions take the runtime for granted (they run on the thread's stack).
 *
 * Each operation is timed by itself; what recording takes lies outside of that time.
 */
#ifndef CASCADE_TRACE_TRACED_MEMTABLE_H
#define CASCADE_TRACE_TRACED_MEMTABLE_H

#include "components/memtable/memtable.h"
#include "trace/trace.h"

enum { TRACED_ITERATOR_BYTES = MEMTABLE_ITERATOR_BYTES + 64 };

/* The memtables of one shard. The owner's, as long as one of them is there. */
struct traced_memtables {
	struct memtable_ops ops; /* for create: `options` is this struct */
	const struct memtable_ops *inner;
	const void *inner_options;
	struct trace_recorder *recorder;
	/* The steps that were not recorded yet: a run ends with any other operation. */
	uint64_t run_iterator;
	uint64_t run_count;
	uint64_t run_ticks;
	uint64_t run_begin, run_end;
	bool run_back, run_valid;
};

/* `options`: of the variant, borrowed as long as memtables are made. */
void traced_memtables_init(struct traced_memtables *traced, struct trace_recorder *recorder,
			   const struct memtable_ops *inner, const void *options);

/* Whether it is such a memtable. */
bool memtable_is_traced(const struct memtable *memtable);

/* The memtable goes; before its arena is freed. */
void traced_memtable_end(struct memtable *memtable);

/* The iterator that this memtable's iterator_init has made goes. */
void traced_iterator_end(struct memtable *memtable, struct memtable_iterator *iterator);

#endif
