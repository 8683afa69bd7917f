#include "table/reader.h"

#include "base/assert.h"

#include "base/poison.h"

struct damage {
	struct status status;
	enum status_code code;
	const char *path;
	const char *what;
	uint64_t offset;
};

static void describe_damage(void *argument)
{
	struct damage *damage = argument;
	damage->status = status_error(damage->code, "%s: offset %llu: %s", damage->path,
				      (unsigned long long)damage->offset, damage->what);
}

struct status reader_error(const struct table_reader *reader, enum status_code code, uint64_t offset,
			   const char *what)
{
	/* Formatting takes more stack than a task has. */
	struct damage damage = { .code = code, .path = reader->path, .what = what, .offset = offset };
	call_on_thread_stack(describe_damage, &damage);
	return damage.status;
}

struct status reader_damage(const struct table_reader *reader, uint64_t offset, const char *what)
{
	return reader_error(reader, STATUS_CORRUPT, offset, what);
}

struct status reader_partition(const struct table_reader *reader, uint32_t index,
			       const struct buffer_view *view, struct partition *partition)
{
	uint64_t offset = reader_partition_offset(reader, index);
	if (!partition_parse(partition, view->data, view->size))
		return reader_damage(reader, offset, "a partition's sizes are wrong");
	if (view->marks != NULL && (*view->marks & 1) != 0)
		return status_ok();
	uint32_t sum = partition_checksum(view->data, view->size, section_seed(reader->seed, offset));
	if (sum != bytes_load32(view->data))
		return reader_damage(reader, offset, "a partition's checksum is wrong");
	if (!partition_is_sound(partition, reader->footer.data_bytes))
		return reader_damage(reader, offset, "a partition is not in order");
	if (view->marks != NULL)
		*view->marks |= 1;
	return status_ok();
}

struct status reader_check_block(const struct table_reader *reader, const struct block_place *place,
				 const uint8_t *bytes, uint64_t *marks, struct block_header *header)
{
	if (!block_header_load(bytes, header) || header->stored_size != place->size - BLOCK_HEADER_BYTES)
		return reader_damage(reader, place->offset, "a block's header is wrong");
	uint64_t mark = 1ull << ((place->offset % TABLE_PAGE) / BLOCK_BYTES_MIN);
	if (marks != NULL && (*marks & mark) != 0)
		return status_ok();
	uint64_t seed = block_seed(reader->seed, place->offset, place->ordinal);
	if (block_checksum(bytes, place->size, seed) != header->checksum)
		return reader_damage(reader, place->offset, "a block's checksum is wrong");
	if (marks != NULL)
		*marks |= mark;
	return status_ok();
}

struct decoding {
	const struct codec_ops *codec;
	void *context;
	const uint8_t *from;
	uint8_t *to;
	size_t size, raw_size;
	bool done;
};

static void decode(void *argument)
{
	struct decoding *job = argument;
	job->done = job->codec->decompress(job->context, job->from, job->size, job->to, job->raw_size);
}

struct status reader_decode(const struct table_reader *reader, const struct block_place *place,
			    const struct block_header *header, const uint8_t *bytes, uint8_t *to)
{
	if (reader->codec == NULL || header->codec != reader->codec->format_id)
		return reader_damage(reader, place->offset, "a block has another codec than its table");
	struct decoding job = {
		.codec = reader->codec,
		.context = reader->codec_context,
		.from = bytes + BLOCK_HEADER_BYTES,
		.size = header->stored_size,
		.to = to,
		.raw_size = header->raw_size,
	};
	call_on_thread_stack(decode, &job);
	return job.done ? status_ok() : reader_damage(reader, place->offset, "a block cannot be decoded");
}

struct status reader_open_block(const struct table_reader *reader, const struct block_place *place,
				struct buffer_view *stored, struct buffer_view *view, struct block *block)
{
	struct block_header header;
	struct status status;
	*view = (struct buffer_view) { .frame = CACHE_NO_FRAME };
	/* Tags and offsets lie at the end: let them come while the header does. */
	__builtin_prefetch(stored->data + stored->size - 1);
	__builtin_prefetch(stored->data + stored->size - 65);
	TRY_GOTO(reader_check_block(reader, place, stored->data, stored->marks, &header), failed);
	const uint8_t *body = stored->data + BLOCK_HEADER_BYTES;
	if (header.codec != 0) {
		uint8_t *raw;
		TRY_GOTO(buffer_slot(reader->pool, header.raw_size, view, &raw), failed);
		TRY_GOTO(reader_decode(reader, place, &header, stored->data, raw), failed);
		body = raw;
	}
	if (!block_parse(block, body, header.raw_size, header.count)) {
		status = reader_damage(reader, place->offset, "a block's sizes are wrong");
		goto failed;
	}
	if (header.codec == 0)
		*view = *stored;
	else
		buffer_release(reader->pool, stored);
	stored->data = NULL;
	return status_ok();
failed:
	buffer_release(reader->pool, view);
	buffer_release(reader->pool, stored);
	return status;
}

struct status reader_view(struct task *self, const struct table_reader *reader, uint64_t offset, size_t size,
			  struct buffer_view *view)
{
	if (buffer_try_view(reader->pool, &reader->table.file, offset, size, view))
		return status_ok();
	return buffer_view(self, reader->pool, &reader->table.file, offset, size, view);
}
