/*
 * filter.h: the contract of membership filters: given the hashes of a set of keys, bytes that tell later
 * whether a key may be in the set. Never a false negative.
 *
 * Filters see only key hashes (base/hash.h), which the caller computes once for each operation. A filter's
 * bytes are part of the on-disk format and are read where they lie: no alignment but 1 may be assumed,
 * though 64 is usual; both byte orders must read the same. The bytes may come from a damaged disk (their
 * checksum is verified by the caller, but never trust lengths).
 */
#ifndef CASCADE_COMPONENTS_FILTER_H
#define CASCADE_COMPONENTS_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"
#include "components/component.h"

enum filter_capabilities {
	FILTER_PASSES_ALL = 1 << 0, /* `none`: takes no bytes, answers "maybe" always */
	FILTER_PER_BLOCK = 1 << 1,  /* one for each data block of a table, asked once the index has named it;
				     * else one for all keys of an index partition, asked before its index */
};

struct filter_ops {
	struct component component;

	/* Stored in table footers: which variant wrote the bytes. Unique, never reused, 1 .. 255. */
	uint8_t format_id;

	/* Bytes that a filter over `count` keys takes at most, with these options. */
	size_t (*size)(const void *options, size_t count);

	/*
	 * Builds the filter of `count` hashes (duplicates allowed) into `out` of size(options, count) bytes;
	 * returns the bytes used. `hashes` may be reordered. `scratch` is `scratch_size(count)` bytes.
	 * 0 with count > 0: could not be built (the table then has no filter for these keys).
	 */
	size_t (*build)(const void *options, uint64_t *hashes, size_t count, uint8_t *out, void *scratch);

	/* NULL: none needed. */
	size_t (*scratch_size)(const void *options, size_t count);

	/* Whether a key of that hash may be in the set. An empty or impossible filter answers true. */
	bool (*may_contain)(struct slice filter, uint64_t hash);

	/* Starts loading what may_contain will touch. May be NULL. */
	void (*prefetch)(struct slice filter, uint64_t hash);
};

#endif
