/*
 * stream.h: reading all blocks of a table in their order, past the buffer pool.
 *
 * Blocks lie one behind the other and say how long they are; the ordinal in a block's checksum shows when
 * one is missing. The next piece of the file is read while the current one is worked on.
 *
 * Internal to table/.
 */
#ifndef CASCADE_TABLE_STREAM_H
#define CASCADE_TABLE_STREAM_H

#include "table/reader.h"

enum { STREAM_PIECE_BYTES = 256 * 1024 };

struct stream_piece;

struct stream {
	struct table_reader *reader;
	struct stream_piece *pieces[2]; /* [0]: the current one */
	size_t piece_bytes;
	uint64_t position; /* where the next block begins, or a gap */
	uint32_t ordinal;  /* of the next block */
	bool started;
	uint8_t *spill; /* a block that lies in more than one piece */
	size_t spill_capacity;
	uint8_t *raw; /* a decoded block */
	size_t raw_capacity;
};

/* Takes the buffers; a reference on the table is the caller's business. */
MUST_CHECK struct status stream_init(struct stream *stream, struct table_reader *reader);

/* Frees everything; a read under way is left to end by itself (table_close waits for it). */
void stream_free(struct stream *stream);

/* The next block will be the one at `offset`. Waits for reads of an earlier position. */
MAY_SUSPEND void stream_seek(struct task *self, struct stream *stream, uint64_t offset, uint32_t ordinal);

/* The next block, checked, decoded, and valid until the next call; *end: there was none. */
MAY_SUSPEND MUST_CHECK struct status stream_next_block(struct task *self, struct stream *stream,
						       struct block *block, struct block_place *place,
						       bool *end);

#endif
