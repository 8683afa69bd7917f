#include "trace/trace_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#include "base/poison.h"

/* --- the index: which block of the file is which of its shard --- */

struct found_block {
	uint64_t place;
	uint64_t number;
	uint32_t shard;
};

struct found_blocks {
	struct found_block *blocks;
	size_t count, capacity;
	uint64_t last_ns, last_ticks; /* of the block that was sealed last */
};

static uint64_t offset_of(uint64_t place)
{
	return TRACE_HEADER_BYTES + place * TRACE_BLOCK_BYTES;
}

/* The first problem is the one that counts. */
static void note_problem(struct trace_file *file, const char *problem, bool is_gap)
{
	file->has_gaps = file->has_gaps || is_gap;
	if (file->problem[0] == '\0')
		(void)snprintf(file->problem, sizeof(file->problem), "%s", problem);
}

static struct status add_block(struct found_blocks *found, uint64_t place,
			       const struct trace_block_header *header)
{
	if (found->count == found->capacity) {
		size_t capacity = found->capacity == 0 ? 64 : 2 * found->capacity;
		struct found_block *blocks = memory_resize(found->blocks, capacity * sizeof(*blocks));
		if (blocks == NULL)
			return status_make(STATUS_NO_MEMORY);
		found->blocks = blocks;
		found->capacity = capacity;
	}
	found->blocks[found->count++] =
		(struct found_block) { .place = place, .number = header->number, .shard = header->shard };
	if (header->end_ns > found->last_ns) {
		found->last_ns = header->end_ns;
		found->last_ticks = header->end_ticks;
	}
	return status_ok();
}

static struct status find_blocks(struct trace_file *file, struct found_blocks *found)
{
	uint8_t bytes[TRACE_BLOCK_HEADER_BYTES];
	for (uint64_t place = 0; place <= (UINT64_MAX >> 20); place++) {
		struct trace_block_header header;
		uint8_t last;
		size_t got;
		TRY(file->source.read(file->source.context, offset_of(place), bytes, sizeof(bytes), &got));
		if (got == 0)
			return status_ok();
		bool whole = got == sizeof(bytes);
		if (whole) {
			TRY(file->source.read(file->source.context, offset_of(place + 1) - 1, &last, 1,
					      &got));
			whole = got == 1;
		}
		if (!whole) {
			note_problem(file, "the file ends inside a block", false);
			return status_ok();
		}
		if (!trace_block_peek(bytes, &header) || header.shard >= file->header.shards) {
			note_problem(file, "a block was not written, or is damaged", true);
			continue;
		}
		file->records += header.records;
		TRY(add_block(found, place, &header));
	}
	return status_ok();
}

static int by_number(const void *left, const void *right)
{
	const struct found_block *a = left, *b = right;
	if (a->shard != b->shard)
		return a->shard < b->shard ? -1 : 1;
	if (a->number != b->number)
		return a->number < b->number ? -1 : 1;
	return (a->place > b->place) - (a->place < b->place);
}

static struct status make_index(struct trace_file *file, struct found_blocks *found)
{
	if (found->count > 1)
		qsort(found->blocks, found->count, sizeof(*found->blocks), by_number);
	for (size_t i = 0; i < found->count;) {
		size_t count = 1;
		while (i + count < found->count && found->blocks[i + count].shard == found->blocks[i].shard)
			count++;
		struct trace_shard *shard = &file->shards[found->blocks[i].shard];
		shard->blocks = memory_allocate(count * sizeof(*shard->blocks));
		if (shard->blocks == NULL)
			return status_make(STATUS_NO_MEMORY);
		shard->count = count;
		for (size_t j = 0; j < count; j++) {
			shard->blocks[j] = found->blocks[i + j].place;
			if (found->blocks[i + j].number != j)
				note_problem(file, "a block is missing", true);
		}
		i += count;
	}
	file->blocks = found->count;
	return status_ok();
}

/* --- the file --- */

static void judge(struct trace_file *file, const struct found_blocks *found)
{
	const struct trace_header *header = &file->header;
	file->dropped = header->dropped;
	if (header->dropped > 0)
		note_problem(file, "records were dropped: the device was slower than what was recorded",
			     true);
	if (header->state == TRACE_INCOMPLETE)
		note_problem(file, "some of it could not be written", true);
	if (header->state == TRACE_OPEN)
		note_problem(file, "the database was not closed: it ends somewhere", false);
	else if (header->blocks != file->blocks || header->records != file->records)
		note_problem(file, "there is less of it than its header says", true);
	uint64_t end_ns = header->state == TRACE_OPEN ? found->last_ns : header->end_ns;
	uint64_t end_ticks = header->state == TRACE_OPEN ? found->last_ticks : header->end_ticks;
	file->ns_per_tick = 1;
	if (end_ns > header->begin_ns && end_ticks > header->begin_ticks)
		file->ns_per_tick =
			(double)(end_ns - header->begin_ns) / (double)(end_ticks - header->begin_ticks);
}

static struct status read_header(struct trace_file *file)
{
	uint8_t *bytes = memory_allocate(TRACE_HEADER_BYTES);
	size_t got = 0;
	if (bytes == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = file->source.read(file->source.context, 0, bytes, TRACE_HEADER_BYTES, &got);
	if (status_is_ok(status) && got < TRACE_HEADER_BYTES)
		status = status_error(STATUS_CORRUPT, "offset 0: this is no trace");
	if (status_is_ok(status))
		status = trace_header_decode(bytes, &file->header);
	memory_free(bytes);
	return status;
}

struct status trace_file_open(struct trace_file *file, struct trace_source source)
{
	struct found_blocks found = { .count = 0 };
	*file = (struct trace_file) { .source = source };
	TRY(read_header(file));
	file->shards = memory_allocate_zeroed(file->header.shards, sizeof(*file->shards));
	struct status status = status_make(file->shards != NULL ? STATUS_OK : STATUS_NO_MEMORY);
	if (status_is_ok(status))
		status = find_blocks(file, &found);
	if (status_is_ok(status))
		status = make_index(file, &found);
	if (status_is_ok(status))
		judge(file, &found);
	else
		trace_file_close(file);
	memory_free(found.blocks);
	return status;
}

void trace_file_close(struct trace_file *file)
{
	for (uint32_t i = 0; file->shards != NULL && i < file->header.shards; i++)
		memory_free(file->shards[i].blocks);
	memory_free(file->shards);
	file->shards = NULL;
}

double trace_file_ns(const struct trace_file *file, uint64_t duration)
{
	double ticks = (double)duration - (double)file->header.clock_cost / 256;
	return ticks > 0 ? ticks * file->ns_per_tick : 0;
}

/* --- the records of a shard --- */

struct status trace_reader_open(struct trace_reader *reader, const struct trace_file *file, uint32_t shard)
{
	ASSERT(shard < file->header.shards);
	*reader = (struct trace_reader) { .file = file,
					  .shard = &file->shards[shard],
					  .block = memory_allocate(TRACE_BLOCK_BYTES) };
	return status_make(reader->block != NULL ? STATUS_OK : STATUS_NO_MEMORY);
}

void trace_reader_close(struct trace_reader *reader)
{
	memory_free(reader->block);
	reader->block = NULL;
}

static struct status damage(const struct trace_reader *reader, const char *what)
{
	uint64_t place = reader->shard->blocks[reader->next_block - 1];
	return status_error(STATUS_CORRUPT, "offset %llu: %s", (unsigned long long)offset_of(place), what);
}

static struct status load_block(struct trace_reader *reader)
{
	const struct trace_file *file = reader->file;
	struct trace_block_header header;
	size_t got;
	uint64_t place = reader->shard->blocks[reader->next_block++];
	TRY(file->source.read(file->source.context, offset_of(place), reader->block, TRACE_BLOCK_BYTES,
			      &got));
	if (got < TRACE_BLOCK_BYTES || !trace_block_peek(reader->block, &header) ||
	    !trace_block_verify(reader->block, file->header.id))
		return damage(reader, "the checksum of the block is wrong");
	reader->at = reader->block + TRACE_BLOCK_HEADER_BYTES;
	reader->end = reader->at + header.payload_bytes;
	reader->left = header.records;
	reader->last_ticks = header.begin_ticks;
	return status_ok();
}

struct status trace_reader_next(struct trace_reader *reader, struct trace_record *record)
{
	while (reader->left == 0) {
		if (reader->at != reader->end)
			return damage(reader, "the block has more than its records");
		if (reader->next_block == reader->shard->count)
			return status_make(STATUS_NOT_FOUND);
		TRY(load_block(reader));
	}
	const uint8_t *next = trace_record_decode(reader->at, reader->end, record, &reader->last_ticks);
	if (next == NULL)
		return damage(reader, "a record is impossible");
	reader->at = next;
	reader->left--;
	return status_ok();
}
