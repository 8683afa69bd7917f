#include "table/stream.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "io/io.h"

#include "base/poison.h"

/* --- pieces --- */

/* Lives until its stream and its read have both let go of it. */
struct stream_piece {
	struct table_reader *reader;
	uint8_t *bytes;
	uint64_t offset;
	size_t length; /* 0: holds nothing */
	bool reading;
	bool abandoned;
	struct status status;
	struct wait_list waiting;
	struct io_request request;
};

static void piece_free(struct stream_piece *piece)
{
	if (piece == NULL)
		return;
	memory_free(piece->bytes);
	memory_free(piece);
}

static void piece_complete(struct io_request *request)
{
	struct stream_piece *piece = request->context;
	piece->reading = false;
	piece->status = request->status;
	if (piece->abandoned) {
		struct table_reader *reader = piece->reader;
		ASSERT(reader->reads_left > 0);
		if (--reader->reads_left == 0)
			wait_list_wake_all(&reader->closing);
		piece_free(piece);
		return;
	}
	if (status_is_ok(request->status) && request->transferred < piece->length)
		piece->status = reader_damage(piece->reader, piece->offset + request->transferred,
					      "the file ends too early");
	wait_list_wake_all(&piece->waiting);
}

/* The end of the data in whole pages. */
static uint64_t data_end(const struct table_reader *reader)
{
	return reader->footer.partitions_offset;
}

/* Starts to read the piece at `offset`, if there is one. */
static void piece_start(struct stream *stream, struct stream_piece *piece, uint64_t offset)
{
	ASSERT(!piece->reading);
	uint64_t end = data_end(stream->reader);
	piece->offset = offset;
	piece->length = 0;
	piece->status = status_ok();
	if (offset >= end)
		return;
	size_t length = io_bulk_length(shard_io(shard_current()));
	if (length > stream->piece_bytes)
		length = stream->piece_bytes;
	piece->length = end - offset < length ? (size_t)(end - offset) : length;
	piece->reading = true;
	piece->request = (struct io_request) {
		.operation = IO_READ,
		.flags = IO_BULK,
		.file = stream->reader->table.file.file,
		.buffer = piece->bytes,
		.length = piece->length,
		.offset = offset,
		.complete = piece_complete,
		.context = piece,
	};
	io_submit(shard_io(shard_current()), &piece->request);
}

static void piece_await(struct task *self, struct stream_piece *piece)
{
	while (piece->reading)
		wait_list_wait(self, &piece->waiting);
}

static struct stream_piece *piece_create(struct stream *stream)
{
	struct stream_piece *piece = memory_allocate_zeroed(1, sizeof(*piece));
	if (piece == NULL)
		return NULL;
	piece->reader = stream->reader;
	wait_list_init(&piece->waiting);
	piece->bytes = memory_allocate_aligned(TABLE_PAGE, stream->piece_bytes);
	if (piece->bytes != NULL)
		return piece;
	memory_free(piece);
	return NULL;
}

/* --- the stream --- */

struct status stream_init(struct stream *stream, struct table_reader *reader)
{
	*stream = (struct stream) { .reader = reader };
	uint64_t bytes = data_end(reader);
	/* A small table comes in one piece. */
	stream->piece_bytes = bytes < STREAM_PIECE_BYTES ? (size_t)bytes : STREAM_PIECE_BYTES;
	if (stream->piece_bytes == 0)
		stream->piece_bytes = TABLE_PAGE;
	for (int i = 0; i < 2; i++) {
		stream->pieces[i] = piece_create(stream);
		if (stream->pieces[i] == NULL) {
			stream_free(stream);
			return status_make(STATUS_NO_MEMORY);
		}
	}
	return status_ok();
}

void stream_free(struct stream *stream)
{
	for (int i = 0; i < 2; i++) {
		struct stream_piece *piece = stream->pieces[i];
		if (piece != NULL && piece->reading) {
			piece->abandoned = true;
			stream->reader->reads_left++;
		} else {
			piece_free(piece);
		}
	}
	memory_free(stream->spill);
	memory_free(stream->raw);
	*stream = (struct stream) { 0 };
}

void stream_seek(struct task *self, struct stream *stream, uint64_t offset, uint32_t ordinal)
{
	for (int i = 0; i < 2; i++)
		piece_await(self, stream->pieces[i]);
	stream->position = offset;
	stream->ordinal = ordinal;
	uint64_t page = offset - offset % TABLE_PAGE;
	piece_start(stream, stream->pieces[0], page);
	piece_start(stream, stream->pieces[1], page + stream->pieces[0]->length);
	stream->started = true;
}

/* Makes the piece with the byte at `offset` (at or behind the current piece) the current one. */
static struct status stream_reach(struct task *self, struct stream *stream, uint64_t offset)
{
	struct stream_piece *piece = stream->pieces[0];
	while (offset >= piece->offset + piece->length) {
		struct stream_piece *following = stream->pieces[1];
		if (following->length == 0)
			return reader_damage(stream->reader, offset, "a block reaches past the data");
		piece_await(self, piece);
		piece_start(stream, piece, following->offset + following->length);
		stream->pieces[0] = following;
		stream->pieces[1] = piece;
		piece = following;
	}
	ASSERT(offset >= piece->offset);
	piece_await(self, piece);
	return piece->status;
}

static struct status grow(uint8_t **bytes, size_t *capacity, size_t size)
{
	if (size <= *capacity)
		return status_ok();
	uint8_t *larger = memory_resize(*bytes, size);
	if (larger == NULL)
		return status_make(STATUS_NO_MEMORY);
	*bytes = larger;
	*capacity = size;
	return status_ok();
}

/* `size` bytes at `offset`, in one piece of memory. */
static struct status stream_bytes(struct task *self, struct stream *stream, uint64_t offset, size_t size,
				  const uint8_t **bytes)
{
	TRY(stream_reach(self, stream, offset));
	struct stream_piece *piece = stream->pieces[0];
	size_t skip = (size_t)(offset - piece->offset);
	if (__builtin_expect(piece->length - skip >= size, 1)) {
		*bytes = piece->bytes + skip;
		return status_ok();
	}
	TRY(grow(&stream->spill, &stream->spill_capacity, size));
	for (size_t done = 0; done < size;) {
		TRY(stream_reach(self, stream, offset + done));
		piece = stream->pieces[0];
		skip = (size_t)(offset + done - piece->offset);
		size_t part = piece->length - skip;
		if (part > size - done)
			part = size - done;
		memcpy(stream->spill + done, piece->bytes + skip, part);
		done += part;
	}
	*bytes = stream->spill;
	return status_ok();
}

static bool is_gap(const uint8_t *header)
{
	return (bytes_load64(header) | bytes_load64(header + 8)) == 0;
}

/* Steps over the zeros at a page's end, and reads the header of the block behind them. */
static struct status stream_header(struct task *self, struct stream *stream, struct block_header *header)
{
	const struct table_reader *reader = stream->reader;
	if (table_page_rest(stream->position) < BLOCK_BYTES_MIN)
		stream->position += table_page_rest(stream->position);
	for (;;) {
		const uint8_t *bytes;
		if (stream->position >= reader->footer.data_bytes)
			return reader_damage(reader, stream->position, "blocks are missing at the end");
		TRY(stream_bytes(self, stream, stream->position, BLOCK_HEADER_BYTES, &bytes));
		uint64_t rest = table_page_rest(stream->position);
		if (is_gap(bytes) && rest <= BLOCK_WASTE_MAX) {
			stream->position += rest;
			continue;
		}
		if (!block_header_load(bytes, header) ||
		    stream->position + block_footprint(BLOCK_HEADER_BYTES + (uint64_t)header->stored_size) >
			    reader->footer.data_bytes)
			return reader_damage(reader, stream->position, "a block's header is wrong");
		return status_ok();
	}
}

struct status stream_next_block(struct task *self, struct stream *stream, struct block *block,
				struct block_place *place, bool *end)
{
	const struct table_reader *reader = stream->reader;
	ASSERT(stream->started);
	*end = stream->ordinal == reader->footer.blocks;
	if (*end)
		return status_ok();
	struct block_header header;
	TRY(stream_header(self, stream, &header));
	*place = (struct block_place) {
		.offset = stream->position,
		.size = BLOCK_HEADER_BYTES + header.stored_size,
		.ordinal = stream->ordinal,
	};
	const uint8_t *bytes;
	TRY(stream_bytes(self, stream, place->offset, place->size, &bytes));
	TRY(reader_check_block(reader, place, bytes, NULL, &header));
	const uint8_t *body = bytes + BLOCK_HEADER_BYTES;
	if (header.codec != 0) {
		TRY(grow(&stream->raw, &stream->raw_capacity, header.raw_size));
		TRY(reader_decode(reader, place, &header, bytes, stream->raw));
		body = stream->raw;
	}
	if (!block_parse(block, body, header.raw_size, header.count))
		return reader_damage(reader, place->offset, "a block's sizes are wrong");
	stream->position += block_footprint(place->size);
	stream->ordinal++;
	return status_ok();
}

/* --- the iterator --- */

struct stream_iterator {
	struct iterator iterator; /* first */
	struct stream stream;
	struct block_cursor cursor;
	uint64_t block_offset;
};

static struct stream_iterator *iterator_of(struct iterator *iterator)
{
	return (struct stream_iterator *)(void *)iterator;
}

static struct status iterator_status(struct stream_iterator *it, struct status status)
{
	it->iterator.valid = false;
	it->cursor.left = 0;
	if (status_is(status, STATUS_CORRUPT) && status.detail == 0)
		return reader_damage(it->stream.reader, it->block_offset, "a block's entries are wrong");
	return status;
}

static inline struct status iterator_take(struct stream_iterator *it)
{
	struct status status = block_cursor_take(&it->cursor, &it->iterator.entry);
	if (__builtin_expect(status_is_ok(status), 1))
		return status;
	return iterator_status(it, status);
}

/* The next block from `index` on; behind the last one the iterator is not valid. */
static struct status iterator_enter(struct stream_iterator *it, const struct block *block, uint32_t index)
{
	struct status status = block_cursor_set(&it->cursor, block, index);
	if (!status_is_ok(status))
		return iterator_status(it, status);
	it->iterator.valid = true;
	return iterator_take(it);
}

static struct status iterator_read(struct task *self, struct stream_iterator *it, struct block *block,
				   bool *end)
{
	struct block_place place = { 0 };
	it->iterator.valid = false;
	struct status status = stream_next_block(self, &it->stream, block, &place, end);
	it->block_offset = place.offset;
	return status;
}

static struct status stream_iterator_next_block(struct task *self, struct stream_iterator *it)
{
	struct block block;
	bool end;
	ASSERT(it->iterator.valid);
	TRY(iterator_read(self, it, &block, &end));
	return end ? status_ok() : iterator_enter(it, &block, 0);
}

static struct status stream_iterator_next(struct task *self, struct iterator *iterator)
{
	struct stream_iterator *it = iterator_of(iterator);
	if (__builtin_expect(it->cursor.left > 0, 1))
		return iterator_take(it);
	return stream_iterator_next_block(self, it);
}

/* The block in which the key would begin; one look at a partition through the pool. */
static struct status iterator_locate(struct task *self, struct stream_iterator *it, struct slice key,
				     struct block_place *place)
{
	const struct table_reader *reader = it->stream.reader;
	uint32_t index = separators_search(&reader->top, key);
	place->ordinal = reader->footer.blocks;
	if (index == reader->top.count)
		return status_ok();
	struct buffer_view view;
	struct partition partition;
	TRY(reader_view(self, reader, reader_partition_offset(reader, index), reader->top_sizes[index],
			&view));
	struct status status = reader_partition(reader, index, &view, &partition);
	if (status_is_ok(status)) {
		uint32_t block = separators_search(&partition.separators, key);
		if (block < partition.count)
			partition_place(&partition, block, place);
		else
			status = reader_damage(reader, reader_partition_offset(reader, index),
					       "a partition does not reach as far as the top index says");
	}
	buffer_release(reader->pool, &view);
	return status;
}

static struct status stream_iterator_seek(struct task *self, struct iterator *iterator, struct slice key,
					  uint64_t sequence)
{
	struct stream_iterator *it = iterator_of(iterator);
	iterator->valid = false;
	it->cursor.left = 0;
	struct block_place place = { 0 };
	if (key.size > 0)
		TRY(iterator_locate(self, it, key, &place));
	stream_seek(self, &it->stream, place.offset, place.ordinal);
	for (;;) {
		struct block block;
		uint32_t index;
		bool end;
		TRY(iterator_read(self, it, &block, &end));
		if (end)
			return status_ok();
		if (!block_search(&block, key, sequence, &index))
			return iterator_status(it, status_make(STATUS_CORRUPT));
		if (index < block.count)
			return iterator_enter(it, &block, index);
	}
}

static void stream_iterator_destroy(struct iterator *iterator)
{
	struct stream_iterator *it = iterator_of(iterator);
	struct table *table = &it->stream.reader->table;
	stream_free(&it->stream);
	block_cursor_free(&it->cursor);
	ASSERT(table->references > 1);
	table->references--;
	memory_free(it);
}

static const struct iterator_ops stream_ops = {
	.seek = stream_iterator_seek,
	.next = stream_iterator_next,
	.destroy = stream_iterator_destroy,
};

struct status table_stream_create(struct table *table, struct iterator **iterator)
{
	*iterator = NULL;
	struct stream_iterator *it = memory_allocate_zeroed(1, sizeof(*it));
	if (it == NULL)
		return status_make(STATUS_NO_MEMORY);
	it->iterator.ops = &stream_ops;
	struct status status = stream_init(&it->stream, table_reader(table));
	if (!status_is_ok(status)) {
		memory_free(it);
		return status;
	}
	table->references++;
	*iterator = &it->iterator;
	return status_ok();
}
