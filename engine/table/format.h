/*
 * format.h: the bytes of a table that frame all others: where things may begin, what checksums are bound to,
 * the footer, and separators. docs/file-formats.md describes the whole file.
 *
 *	page 0          data: logical blocks, 8-aligned, at least 64 bytes each, then zeros to the page's end
 *	...             partitions, each beginning a page
 *	...             the top index, beginning a page
 *	last page       the footer
 *
 * Internal to table/.
 */
#ifndef CASCADE_TABLE_FORMAT_H
#define CASCADE_TABLE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/entry.h"
#include "base/hash.h"
#include "base/slice.h"
#include "base/status.h"
#include "io/io.h"

enum {
	TABLE_FORMAT_VERSION = 1,
	TABLE_PAGE = IO_PAGE_BYTES,
	TABLE_FOOTER_BYTES = TABLE_PAGE,

	TABLE_TOP_HEADER_BYTES = 24,
	TABLE_TOP_ENTRY_BYTES = 10, /* and the separator */

	BLOCK_HEADER_BYTES = 16,
	BLOCK_ALIGN = 8,
	BLOCK_BYTES_MIN = 64,  /* so that a bit for each 64 bytes of a page names a block */
	BLOCK_WASTE_MAX = 327, /* of a page: what may stay empty so that a block need not cross pages */
	BLOCK_RAW_TARGET_MIN = 1024,
	BLOCK_RAW_SHARED_MAX = 65536, /* raw bytes of a block with more than one entry */
};

/* A block's raw bytes at most: one entry with the longest key and value. */
enum { BLOCK_RAW_MAX = KEY_BYTES_MAX + VALUE_BYTES_MAX + 64 };

static inline uint64_t table_align(uint64_t size, uint64_t alignment)
{
	return (size + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t table_page_rest(uint64_t offset)
{
	return TABLE_PAGE - (offset & (TABLE_PAGE - 1));
}

/* --- what checksums are bound to --- */

/* The seed of everything in one table. */
uint64_t table_seed(const uint64_t database_id[2], uint32_t shard, uint64_t number);

/* Of block `ordinal` of the table: a block that lies elsewhere, or after a lost one, does not pass. */
static inline uint64_t block_seed(uint64_t seed, uint64_t offset, uint32_t ordinal)
{
	return hash_mix(seed ^ offset) + ordinal;
}

/* Of partitions and the top index. */
static inline uint64_t section_seed(uint64_t seed, uint64_t offset)
{
	return hash_mix(~seed ^ offset);
}

/* --- a stored block's place and header --- */

struct block_place {
	uint64_t offset;
	uint32_t size; /* header and stored bytes, without the padding */
	uint32_t ordinal;
	bool continues; /* the following block begins with the key that this one ends with */
};

struct block_header {
	uint32_t checksum;
	uint32_t stored_size;
	uint32_t raw_size;
	uint16_t count;
	uint8_t codec; /* 0: raw */
};

void block_header_store(uint8_t *to, const struct block_header *header);

/* False: no block can have such a header. Its checksum is not looked at. */
bool block_header_load(const uint8_t *from, struct block_header *header);

/* The checksum over a block's header (but for the checksum itself) and stored bytes. */
static inline uint32_t block_checksum(const uint8_t *block, uint32_t size, uint64_t seed)
{
	return checksum32(block + 4, size - 4, seed);
}

/* Bytes that a block takes in the file. */
static inline uint64_t block_footprint(uint64_t size)
{
	return table_align(size < BLOCK_BYTES_MIN ? BLOCK_BYTES_MIN : size, BLOCK_ALIGN);
}

/* --- the footer --- */

/* Of the footer's own checksum, which the whole file hangs on: not bound to a place. */
#define TABLE_FOOTER_SEED UINT64_C(0x7461626c65666f6f)

struct table_footer {
	uint64_t database_id[2];
	uint32_t shard;
	uint32_t level;
	uint64_t number;
	uint64_t bytes; /* of the file */
	uint64_t entries, deletes;
	uint64_t sequence_min, sequence_max;
	uint64_t raw_bytes;
	uint64_t data_bytes; /* end of the last block's padding */
	uint64_t partitions_offset;
	uint64_t top_offset, top_bytes;
	uint32_t blocks, partitions;
	uint32_t block_bytes;
	uint8_t codec, filter;
	uint64_t checksum;
};

/* Writes a whole page and sets footer->checksum. */
void table_footer_store(uint8_t *page, struct table_footer *footer);

/* STATUS_CORRUPT if the page is not a footer or its numbers cannot be; STATUS_FORMAT for a sound footer of
 * another version. Without messages. */
MUST_CHECK struct status table_footer_load(const uint8_t *page, struct table_footer *footer);

/* --- separators --- */

/*
 * How many bytes of the result are taken from `last`, and whether another byte follows (*extra, else -1),
 * for the shortest key >= last and < next. With last == next, or where no shorter key exists, it is `last`.
 */
size_t separator_shorten(struct slice last, struct slice next, int *extra);

/*
 * Sorted separators as partitions and the top index hold them: a common prefix, 8-byte heads of what
 * follows it, and the whole of what follows it.
 */
struct separators {
	uint32_t count;
	bool wide; /* positions of 4 bytes, else of 2 */
	uint32_t prefix_size;
	const uint8_t *prefix;
	const uint8_t *heads;	  /* 8 bytes each */
	const uint8_t *positions; /* count + 1, into `suffixes` */
	const uint8_t *suffixes;
};

/* The first separator >= key; `count` if there is none. */
uint32_t separators_search(const struct separators *separators, struct slice key);

/* The bytes of a separator after the prefix. */
struct slice separators_suffix(const struct separators *separators, uint32_t index);

/* -1, 0, 1: the separator compared with the key. */
int separators_compare(const struct separators *separators, uint32_t index, struct slice key);

#endif
