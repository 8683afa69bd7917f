/*
 * partition.h: index and filter over a run of consecutive blocks, normally in one page.
 *
 *	0	4	checksum (low half of XXH3-64) of the bytes from 4 on
 *	4	4	size of the partition
 *	8	4	ordinal of its first block
 *	12	4	N: number of blocks
 *	16	8	offset of its first block
 *	24	4	F: bytes of the filter, 0: none
 *	28	4	hashes in the filter
 *	32	4	P: length of the separators' common prefix
 *	36	1	what the F bytes are: 0: one filter over all keys, 1: a filter for each block
 *	37	27	zero
 *	64	F	filter or filters, then zeros to a multiple of 8
 *	...	8N	heads: the 8 bytes of each separator after the prefix, as big-endian numbers
 *	...	4N	offsets of the blocks from the first, in units of 8 bytes
 *	...	4N	sizes of the blocks; bit 31: the next block begins with the key this one ends with
 *	...	2N+2	positions of the separators' rests
 *	...	P	the common prefix
 *	...	...	the rests
 *
 * Filters for each block: 2N + 2 bytes of positions of each block's filter from the first one's, one more for
 * their end, and then the filters, one behind the other.
 *
 * Separator i is a key >= all keys of block i and < all later ones (where versions of a key cross a block's
 * end: equal to that key).
 *
 * Internal to table/.
 */
#ifndef CASCADE_TABLE_PARTITION_H
#define CASCADE_TABLE_PARTITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "components/filters/filter.h"
#include "table/format.h"

enum { PARTITION_HEADER_BYTES = 64 };

/* A partition, as its bytes lie in somebody's view. */
struct partition {
	struct separators separators;
	struct slice filter;   /* all of its bytes; empty: none */
	bool filter_per_block; /* a filter for each block: partition_block_filter */
	const uint8_t *offsets;
	const uint8_t *sizes;
	uint64_t first_offset;
	uint32_t first_ordinal;
	uint32_t count;
	uint32_t hashes;
};

/* False: the sizes cannot be. Cheap: what every lookup does. */
bool partition_parse(struct partition *partition, const uint8_t *bytes, size_t size);

/* Whether positions and blocks are in order and inside the data: what is checked once. */
bool partition_is_sound(const struct partition *partition, uint64_t data_bytes);

#define PARTITION_CONTINUES (UINT32_C(1) << 31)

static inline void partition_place(const struct partition *partition, uint32_t index,
				   struct block_place *place)
{
	uint32_t offset = bytes_load32(partition->offsets + (size_t)index * 4);
	uint32_t size = bytes_load32(partition->sizes + (size_t)index * 4);
	place->offset = partition->first_offset + (uint64_t)offset * BLOCK_ALIGN;
	place->size = size & ~PARTITION_CONTINUES;
	place->continues = (size & PARTITION_CONTINUES) != 0;
	place->ordinal = partition->first_ordinal + index;
}

/* The filter of one block, where each has its own. */
static inline struct slice partition_block_filter(const struct partition *partition, uint32_t index)
{
	const uint8_t *positions = partition->filter.data;
	const uint8_t *filters = positions + ((size_t)partition->count + 1) * 2;
	uint32_t from = bytes_load16(positions + (size_t)index * 2);
	return slice_make(filters + from, bytes_load16(positions + (size_t)index * 2 + 2) - from);
}

/* The filter that knows the keys of that block, whatever else it knows. */
static inline struct slice partition_filter_of(const struct partition *partition, uint32_t index)
{
	return partition->filter_per_block ? partition_block_filter(partition, index) : partition->filter;
}

uint32_t partition_checksum(const uint8_t *bytes, size_t size, uint64_t seed);

/* --- building --- */

struct partition_writer {
	const struct filter_ops *filter;
	const void *filter_options;
	uint32_t *offsets;
	uint32_t *sizes;
	uint32_t *positions; /* of whole separators in `separators`, count + 1 */
	uint32_t *hashes;    /* up to the end of each block */
	uint8_t *separators;
	size_t separators_capacity;
	uint32_t count, capacity;
	uint32_t prefix_size;
	uint32_t first_ordinal;
	uint64_t first_offset;
	size_t filters_size; /* where each block has one: of all filters, at most */
};

/* `filter` may be NULL: partitions without. */
void partition_writer_init(struct partition_writer *writer, const struct filter_ops *filter,
			   const void *filter_options);
void partition_writer_free(struct partition_writer *writer);

/* Bytes of the partition, at most, with one more block, and `hashes` in all. */
size_t partition_writer_size_with(const struct partition_writer *writer, struct slice separator,
				  size_t hashes);

/* Adds a block; its ordinal follows the last one's. `hashes`: of the partition's keys, these included. */
MUST_CHECK struct status partition_writer_add(struct partition_writer *writer, struct slice separator,
					      const struct block_place *place, size_t hashes);

/*
 * The partition's bytes but for the checksum, in memory of its own (memory_free) of whole pages, zero-filled.
 * `hashes`: as many as the last block added said; reorders them. The writer is empty afterwards. Deep stacks:
 * through call_on_thread_stack.
 */
MUST_CHECK struct status partition_writer_finish(struct partition_writer *writer, uint64_t *hashes,
						 uint8_t **bytes, uint32_t *size);

void partition_seal(uint8_t *bytes, uint32_t size, uint64_t seed);

/* The last separator added; valid until the writer changes. */
struct slice partition_writer_last(const struct partition_writer *writer);

#endif
