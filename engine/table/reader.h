/*
 * reader.h: an open table from inside: what lookups, iterators and verification share.
 *
 * Internal to table/.
 */
#ifndef CASCADE_TABLE_READER_H
#define CASCADE_TABLE_READER_H

#include "table/block.h"
#include "table/format.h"
#include "table/partition.h"
#include "table/table.h"

struct decoders;

struct table_reader {
	struct table table; /* first */
	struct buffer_pool *pool;
	uint64_t seed;
	struct table_footer footer;
	const struct codec_ops *codec; /* NULL: all blocks are raw */
	void *codec_context;
	const struct filter_ops *filter; /* NULL: none */
	struct trace_recorder *recorder; /* of what filters are asked; NULL: nothing is recorded */
	struct decoders *decoders;
	struct separators top; /* the last separator of each partition */
	uint32_t *top_pages;   /* where each partition begins */
	uint32_t *top_sizes;
	uint8_t *top_memory;
	size_t top_memory_bytes;
	char path[TABLE_PATH_BYTES];
	uint32_t reads_left; /* under way for iterators that are gone */
	struct wait_list closing;
};

static inline struct table_reader *table_reader(struct table *table)
{
	return (struct table_reader *)(void *)table;
}

/* A status with the file's name and the offset. */
struct status reader_error(const struct table_reader *reader, enum status_code code, uint64_t offset,
			   const char *what) __attribute__((cold));

/* STATUS_CORRUPT. */
struct status reader_damage(const struct table_reader *reader, uint64_t offset, const char *what)
	__attribute__((cold));

static inline uint64_t reader_partition_offset(const struct table_reader *reader, uint32_t index)
{
	return (uint64_t)reader->top_pages[index] * TABLE_PAGE;
}

/* Understands the partition in a view; its checksum is verified once for each time its page is loaded. */
MUST_CHECK struct status reader_partition(const struct table_reader *reader, uint32_t index,
					  const struct buffer_view *view, struct partition *partition);

/* Whether the bytes of a view of place->size bytes are that block. `marks` as in buffer_view, or NULL. */
MUST_CHECK struct status reader_check_block(const struct table_reader *reader,
					    const struct block_place *place, const uint8_t *bytes,
					    uint64_t *marks, struct block_header *header);

/* Decodes a checked block that is not raw, into header->raw_size bytes. */
MUST_CHECK struct status reader_decode(const struct table_reader *reader, const struct block_place *place,
				       const struct block_header *header, const uint8_t *bytes, uint8_t *to);

/*
 * Makes a stored block searchable: *view is the stored bytes themselves, or a slot with the decoded ones.
 * `stored` is taken over in any case; on an error nothing is left to release.
 */
MUST_CHECK struct status reader_open_block(const struct table_reader *reader, const struct block_place *place,
					   struct buffer_view *stored, struct buffer_view *view,
					   struct block *block);

/* A view from memory, or by waiting. */
MAY_SUSPEND MUST_CHECK struct status reader_view(struct task *self, const struct table_reader *reader,
						 uint64_t offset, size_t size, struct buffer_view *view);

#endif
