/*
 * entry.h: one version of one key, the unit that memtables, tables and iterators hand around.
 *
 * Order everywhere: key ascending (memcmp), then sequence descending, so the newest version of a key
 * comes first. Two entries never have the same key and sequence.
 */
#ifndef CASCADE_BASE_ENTRY_H
#define CASCADE_BASE_ENTRY_H

#include <stdint.h>

#include "base/slice.h"

enum {
	KEY_BYTES_MAX = 65535,
	VALUE_BYTES_MAX = 1 << 20, /* larger values wait for the value log */
};

/* Stored on disk and in the log: values must not change. */
enum entry_kind {
	ENTRY_PUT = 1,
	ENTRY_DELETE = 2,
};

/* No snapshot is newer than this. */
#define SEQUENCE_MAX (UINT64_MAX >> 8)

struct entry {
	struct slice key;   /* borrowed from whoever produced the entry */
	struct slice value; /* empty for ENTRY_DELETE */
	uint64_t sequence;  /* 1 .. SEQUENCE_MAX; 0 at the last level where no snapshot needs it */
	enum entry_kind kind;
};

static inline int entry_compare(struct slice key_a, uint64_t sequence_a, struct slice key_b,
				uint64_t sequence_b)
{
	int order = slice_compare(key_a, key_b);
	if (order != 0)
		return order;
	return sequence_a > sequence_b ? -1 : sequence_a < sequence_b;
}

#endif
