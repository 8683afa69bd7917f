/*
 * chain.h: several tables of one sorted level as one iterator: each table is opened for reading only when the
 * chain comes to it, and left before the next.
 */
#ifndef CASCADE_COMPACTION_CHAIN_H
#define CASCADE_COMPACTION_CHAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "table/iterator.h"
#include "table/table.h"

enum chain_mode {
	CHAIN_POOLED,	/* through the buffer pool, for scans */
	CHAIN_STREAMED, /* past it, for merges */
};

/*
 * `tables` are disjoint and in key order; the array is copied, the tables stay alive as long as the chain.
 * STATUS_NO_MEMORY.
 */
MUST_CHECK struct status chain_iterator_create(struct table *const *tables, size_t count,
					       enum chain_mode mode, bool readahead, struct iterator **chain);

#endif
