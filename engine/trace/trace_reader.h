/*
 * trace_reader.h: reading a trace, shard by shard, from wherever its bytes are. It trusts none of them.
 *
 * All functions on one thread at a time; several readers of one file may be used by several threads if the
 * source's read may.
 */
#ifndef CASCADE_TRACE_TRACE_READER_H
#define CASCADE_TRACE_TRACE_READER_H

#include "trace/trace_format.h"

/* Where the bytes come from. `read` gives `size` bytes at `offset`, or fewer only where they end. */
struct trace_source {
	MUST_CHECK struct status (*read)(void *context, uint64_t offset, void *to, size_t size, size_t *got);
	void *context;
};

struct trace_shard {
	uint64_t *blocks; /* where they are in the file, in the order in which they were filled */
	uint64_t count;
};

enum { TRACE_PROBLEM_BYTES = 160 };

struct trace_file {
	struct trace_source source;
	struct trace_header header;
	uint64_t blocks;
	uint64_t records;
	uint64_t dropped;
	double ns_per_tick;
	struct trace_shard *shards; /* header.shards of them */
	/* Something is missing before the end: what follows it does not fit to what comes before. */
	bool has_gaps;
	/* Why this is not all that happened, in one line; "": it is. */
	char problem[TRACE_PROBLEM_BYTES];
};

/* Reads the header and finds the blocks. CORRUPT, FORMAT: it is no trace. NO_MEMORY; whatever read says. */
MUST_CHECK struct status trace_file_open(struct trace_file *file, struct trace_source source);
void trace_file_close(struct trace_file *file);

/* The time between two readings, without what a reading of the clock costs itself. */
double trace_file_ns(const struct trace_file *file, uint64_t duration);

/* The records of one shard in their order. */
struct trace_reader {
	const struct trace_file *file;
	const struct trace_shard *shard;
	uint64_t next_block;
	uint8_t *block; /* TRACE_BLOCK_BYTES */
	const uint8_t *at, *end;
	uint64_t left; /* records in this block */
	uint64_t last_ticks;
};

MUST_CHECK struct status trace_reader_open(struct trace_reader *reader, const struct trace_file *file,
					   uint32_t shard);
void trace_reader_close(struct trace_reader *reader);

/* The next record; its bytes stay until the next call. NOT_FOUND: there is none. CORRUPT: names the block. */
MUST_CHECK struct status trace_reader_next(struct trace_reader *reader, struct trace_record *record);

#endif
