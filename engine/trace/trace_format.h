/*
 * trace_format.h: the bytes of a trace: what reached the components of a database, in order and with time.
 *
 * A file is a header of one page and then blocks of TRACE_BLOCK_BYTES, in the order in which they were
 * written; each block is of one shard, and the blocks of a shard are numbered without gaps. A block's records
 * refer to nothing outside of it but by numbers, so a block can be read alone. docs/traces.md has the bytes.
 *
 * A pure format: no I/O, no clock. Decoders take any bytes.
 */
#ifndef CASCADE_TRACE_TRACE_FORMAT_H
#define CASCADE_TRACE_TRACE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"

enum {
	TRACE_VERSION = 1,
	TRACE_HEADER_BYTES = 4096,
	TRACE_BLOCK_BYTES = 128 << 10,
	TRACE_BLOCK_HEADER_BYTES = 64,
	TRACE_BYTES_MAX = 65535,      /* of a key or text in a record */
	TRACE_RECORD_BYTES_MAX = 128, /* of a record beside its key or text */
	TRACE_SHARDS_MAX = 1024,
};

/* What is recorded: bits. */
enum trace_kinds {
	TRACE_MEMTABLE = 1 << 0,
	TRACE_CACHE = 1 << 1,
	TRACE_FILTER = 1 << 2,
	TRACE_ALL = TRACE_MEMTABLE | TRACE_CACHE | TRACE_FILTER,
};

/* --- the header --- */

enum trace_state {
	TRACE_OPEN,	  /* the database was not closed: what there is ends somewhere */
	TRACE_COMPLETE,	  /* all that happened */
	TRACE_INCOMPLETE, /* records were dropped, or could not be written */
};

struct trace_header {
	enum trace_state state;
	uint32_t shards;
	uint32_t kinds;	     /* enum trace_kinds */
	uint32_t clock_cost; /* ticks in 1/256 that lie between two readings with nothing between them */
	uint64_t id;	     /* random: binds the blocks to their file */
	uint64_t wall_ns;    /* when it began, since the Unix epoch */
	/* Two moments by both clocks: what a tick is. Without an end they are those of the last block. */
	uint64_t begin_ns, begin_ticks;
	uint64_t end_ns, end_ticks;
	uint64_t blocks; /* from here on: 0 while it is open */
	uint64_t records;
	uint64_t dropped;
};

/* Fills TRACE_HEADER_BYTES bytes. */
void trace_header_encode(const struct trace_header *header, uint8_t *bytes);

/* Of TRACE_HEADER_BYTES bytes. CORRUPT: no trace, or damaged; FORMAT: of another version. */
MUST_CHECK struct status trace_header_decode(const uint8_t *bytes, struct trace_header *header);

/* Whether `size` bytes begin as a trace does, whatever else is wrong with it. */
bool trace_is_trace(const uint8_t *bytes, size_t size);

/* --- blocks --- */

struct trace_block_header {
	uint32_t payload_bytes;
	uint32_t shard;
	uint64_t number; /* on its shard: 0, 1, 2, ... */
	uint64_t records;
	uint64_t dropped; /* on its shard since the beginning */
	uint64_t begin_ticks;
	/* When it was sealed, by both clocks. */
	uint64_t end_ns, end_ticks;
};

/* Completes TRACE_BLOCK_BYTES bytes whose payload is there: header, zeros behind the payload, checksum. */
void trace_block_seal(uint8_t *bytes, const struct trace_block_header *header, uint64_t id);

/* Understands the TRACE_BLOCK_HEADER_BYTES bytes at the start of a block; false: they cannot be right. The
 * checksum is over the whole block, and not looked at here. */
bool trace_block_peek(const uint8_t *bytes, struct trace_block_header *header);

/* Whether the TRACE_BLOCK_BYTES bytes are what was written. */
bool trace_block_verify(const uint8_t *bytes, uint64_t id);

/* --- records --- */

/*
 * What each record says in which member of struct trace_record. Memtables and iterators have numbers that
 * are never used twice on a shard; files and tables have those of the engine.
 */
enum trace_type {
	/* Which variant of a kind the engine runs. object: enum component_kind; bytes: its name, and each of
	 * its options as NAME=VALUE, with blanks between them. */
	TRACE_VARIANT = 1,

	/* A memtable. object: which; size: bytes of its arena's chunks; count: how many bytes of them are
	 * kept for the next memtable. */
	TRACE_MEMTABLE_BEGIN,
	/* object: which; count: versions in it; size: bytes that its arena had taken. */
	TRACE_MEMTABLE_END,
	/* object: which; bytes: key; size: of the value; sequence; other: sequence - oldest_needed;
	 * part: enum entry_kind; answer: 1: it was put in. Timed. */
	TRACE_INSERT,
	/* object: which; bytes: key; sequence: asked for; answer: 0: none, else enum entry_kind;
	 * other: the sequence found. Timed. */
	TRACE_GET,
	/* One of several gets, as above; a TRACE_GET_MANY with their time follows. Not timed. */
	TRACE_PROBE,
	/* object: which memtable; count: of the probes before it. Timed. */
	TRACE_GET_MANY,
	/* object: iterator; part: memtable. */
	TRACE_ITERATOR_BEGIN,
	/* object: iterator. */
	TRACE_ITERATOR_END,
	/* object: iterator; part: enum trace_seek; bytes, sequence: where; answer: 1: it is at an entry;
	 * other: that entry's sequence. Timed. */
	TRACE_SEEK,
	/* Steps of one iterator with no other memtable operation of the shard between them. object:
	 * iterator; part: 0: next, 1: prev; count: steps; size: ticks from the beginning of the first to the
	 * end of the last; answer: 1: it is at an entry at the end. Timed: all of them together. */
	TRACE_STEPS,
	/* What the caches were like (trace/canary.h). object: enum canary_class; part: near; count: code;
	 * size: middle; other: far; answer: nothing; all in ticks. */
	TRACE_CANARY,

	/* A buffer pool. count: frames. */
	TRACE_POOL,
	/* Pages looked up. object: file; part: the first page; count: pages; answer: enum trace_access. */
	TRACE_PAGE,
	/* A file's pages are forgotten. object: file. */
	TRACE_FORGET,

	/* A filter is asked. object: table; part: partition; other: 0: the filter of the whole partition,
	 * else 1 + the block whose filter it is; hash; count: keys in the partition; size: bytes of the
	 * filter; sequence: blocks of the partition; answer: 1: maybe. Timed. */
	TRACE_ASK,
	/* Whether the key was there, after an answer "maybe". object: table; part: partition; hash; answer.
	 */
	TRACE_TRUTH,
	/* object: table: it is closed, and asked no more. */
	TRACE_TABLE_END,

	TRACE_TYPE_COUNT
};

enum trace_seek { TRACE_SEEK_FORWARD, TRACE_SEEK_BACK, TRACE_SEEK_LAST, TRACE_SEEK_COUNT };

enum trace_access {
	TRACE_HIT,
	TRACE_JOINED, /* somebody else was loading the page: no read of its own */
	TRACE_MISS,
	TRACE_AHEAD, /* loaded by read-ahead, and looked up by nobody yet */
	TRACE_PAST,  /* read past the pool, for its size */
	TRACE_ACCESS_COUNT
};

/* Members that a type has no use for are 0. */
struct trace_record {
	enum trace_type type;
	struct slice bytes; /* decoded: where they lie in the block */
	uint64_t ticks;	    /* when it began */
	uint64_t duration;  /* in ticks, both readings of the clock included; 0: not timed */
	uint64_t object;
	uint64_t part;
	uint64_t count;
	uint64_t size;
	uint64_t sequence;
	uint64_t other;
	uint64_t hash;
	uint64_t answer;
};

/*
 * Appends a record; returns the end of what was written. `to` has TRACE_RECORD_BYTES_MAX and the record's
 * bytes of room. `last_ticks`: of the record before it in the block, or the block's begin_ticks; time that
 * runs backwards is taken as standing still.
 */
uint8_t *trace_record_encode(uint8_t *to, const struct trace_record *record, uint64_t *last_ticks);

/* The record at `from`, and where the next one begins; NULL: these bytes are no record. */
const uint8_t *trace_record_decode(const uint8_t *from, const uint8_t *end, struct trace_record *record,
				   uint64_t *last_ticks);

#endif
