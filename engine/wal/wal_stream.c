#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/planted.h"
#include "wal/wal_internal.h"
#include "base/poison.h"

struct status wal_stream_init(struct wal_stream *stream, struct shard *shard, size_t group_bytes_max)
{
	*stream = (struct wal_stream) { .shard = shard };
	/* The rest of a group that begins anywhere in a page, the chunk being looked at, one being read. */
	stream->capacity = (size_t)wal_round_up(group_bytes_max, IO_PAGE_BYTES) + IO_PAGE_BYTES +
			   2 * WAL_STREAM_CHUNK_BYTES;
	stream->buffer = memory_allocate_aligned(IO_PAGE_BYTES, stream->capacity);
	return stream->buffer != NULL ? status_ok() : status_make(STATUS_NO_MEMORY);
}

void wal_stream_free(struct wal_stream *stream)
{
	ASSERT(!stream->reading);
	memory_free(stream->buffer);
	stream->buffer = NULL;
}

static void start_read(struct wal_stream *stream)
{
	ASSERT(!stream->reading);
	uint64_t next = stream->base + stream->filled;
	size_t length = stream->capacity - stream->filled;
	if (length > WAL_STREAM_CHUNK_BYTES)
		length = WAL_STREAM_CHUNK_BYTES;
	if (length > stream->limit - next)
		length = (size_t)(stream->limit - next);
	if (length == 0)
		return;
	stream->request = (struct io_request) {
		.operation = IO_READ,
		.file = stream->segment->file,
		.buffer = stream->buffer + stream->filled,
		.length = length,
		.offset = next,
	};
	io_batch_init(&stream->batch);
	io_batch_start(stream->shard, &stream->batch, &stream->request);
	stream->reading = true;
}

static MAY_SUSPEND struct status finish_read(struct task *self, struct wal_stream *stream)
{
	struct status status = io_batch_wait(self, &stream->batch);
	stream->reading = false;
	TRY(status);
	stream->filled += stream->request.transferred;
	stream->bytes_read += stream->request.transferred;
	if (stream->request.transferred < stream->request.length)
		return status_error(STATUS_CORRUPT, "wal-%06u.log: the file ends at offset %llu",
				    stream->segment->number,
				    (unsigned long long)(stream->base + stream->filled));
	return status_ok();
}

void wal_stream_begin(struct wal_stream *stream, struct wal_segment *segment, uint64_t from, uint64_t limit)
{
	ASSERT(!stream->reading);
	ASSERT(from % IO_PAGE_BYTES == 0);
	stream->segment = segment;
	stream->base = from;
	stream->filled = 0;
	stream->limit = wal_round_up(limit, IO_PAGE_BYTES);
	start_read(stream);
}

void wal_stream_end(struct task *self, struct wal_stream *stream)
{
	if (stream->reading) {
		struct status status = finish_read(self, stream);
		(void)status; /* nobody asked for these bytes */
	}
}

/* Gives up what lies before `offset`, to make room behind. */
static void slide(struct wal_stream *stream, uint64_t offset)
{
	size_t drop = (size_t)(offset - stream->base) & ~(size_t)(IO_PAGE_BYTES - 1);
	if (drop > stream->filled)
		drop = stream->filled & ~(size_t)(IO_PAGE_BYTES - 1);
	memmove(stream->buffer, stream->buffer + drop, stream->filled - drop);
	stream->base += drop;
	stream->filled -= drop;
}

struct status wal_stream_need(struct task *self, struct wal_stream *stream, uint64_t offset, size_t size,
			      const uint8_t **at)
{
	ASSERT(offset >= stream->base);
	ASSERT(offset + size <= stream->limit);
	while (stream->base + stream->filled < offset + size) {
		if (stream->reading) {
			TRY(finish_read(self, stream));
			/* Read on while the caller looks at what came, if there is room behind it. */
			if (stream->capacity - stream->filled >= WAL_STREAM_CHUNK_BYTES)
				start_read(stream);
			continue;
		}
		slide(stream, offset);
		start_read(stream);
		ASSERT(stream->reading);
	}
	*at = stream->buffer + (offset - stream->base);
	return status_ok();
}

struct status wal_stream_group(struct task *self, const struct wal *wal, struct wal_stream *stream,
			       uint64_t lap, uint64_t offset, struct wal_group_header *header,
			       const uint8_t **bytes, bool *found)
{
	*found = false;
	*header = (struct wal_group_header) { 0 };
	if (offset + WAL_GROUP_HEADER_BYTES > stream->limit)
		return status_ok();
	uint64_t room = stream->limit - offset;
	uint64_t length_max = stream->segment->header.group_bytes_max;
	if (length_max > room)
		length_max = room;
	TRY(wal_stream_need(self, stream, offset, WAL_GROUP_HEADER_BYTES, bytes));
	if (!wal_group_peek(*bytes, offset, length_max, header) ||
	    (lap != 0 && header->lap != lap && !PLANTED(M6))) {
		header->length = 0;
		return status_ok();
	}
	TRY(wal_stream_need(self, stream, offset, header->length, bytes));
	uint64_t seed = stream->segment->seed;
	if (lap == 0)
		seed = wal_group_seed(wal->options.database_id, wal->options.shard, stream->segment->number,
				      header->lap);
	*found = wal_group_verify(*bytes, header, seed);
	return status_ok();
}

struct status wal_stream_search(struct task *self, const struct wal *wal, struct wal_stream *stream,
				uint64_t lap, uint64_t *offset, struct wal_group_header *header, bool *found)
{
	uint64_t at = wal_round_up(*offset, WAL_GROUP_ALIGNMENT);
	struct wal_group_header candidate;
	*found = false;
	while (at + WAL_GROUP_HEADER_BYTES <= stream->limit) {
		const uint8_t *bytes;
		TRY(wal_stream_need(self, stream, at, WAL_GROUP_HEADER_BYTES, &bytes));
		/* All that is there already is looked at in one go. */
		uint64_t there = stream->base + stream->filled - WAL_GROUP_HEADER_BYTES;
		if (there > stream->limit - WAL_GROUP_HEADER_BYTES)
			there = stream->limit - WAL_GROUP_HEADER_BYTES;
		while (at <= there && !wal_group_peek(bytes, at, stream->limit - at, &candidate)) {
			at += WAL_GROUP_ALIGNMENT;
			bytes += WAL_GROUP_ALIGNMENT;
		}
		if (at > there) {
			task_breathe(self);
			continue;
		}
		TRY(wal_stream_group(self, wal, stream, lap, at, header, &bytes, found));
		if (*found)
			break;
		at += WAL_GROUP_ALIGNMENT;
	}
	*offset = at;
	return status_ok();
}
