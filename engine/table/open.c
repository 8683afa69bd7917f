/*
 * Opening and closing tables: the footer, the top index, and the codecs' contexts that tables share.
 */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/memory.h"
#include "base/planted.h"
#include "io/io.h"
#include "table/reader.h"
#include "table/variants.h"

#include "base/poison.h"

enum { TAIL_BYTES = 64 * 1024, CODECS = 16 };

/* --- the codecs' contexts: one each for all tables of a pool, since decoding never suspends --- */

struct decoders {
	uint32_t references;
	void *contexts[CODECS];
};

static struct status decoders_acquire(struct table_reader *reader)
{
	struct decoders *decoders = buffer_local(reader->pool);
	if (decoders == NULL) {
		decoders = memory_allocate_zeroed(1, sizeof(*decoders));
		if (decoders == NULL)
			return status_make(STATUS_NO_MEMORY);
		buffer_set_local(reader->pool, decoders);
	}
	decoders->references++;
	reader->decoders = decoders;
	if (reader->codec == NULL)
		return status_ok();
	ASSERT(reader->codec->format_id < CODECS);
	void **context = &decoders->contexts[reader->codec->format_id];
	if (*context == NULL)
		TRY(variant_codec_context(reader->codec, NULL, context));
	reader->codec_context = *context;
	return status_ok();
}

static void decoders_release(struct table_reader *reader)
{
	struct decoders *decoders = reader->decoders;
	if (decoders == NULL || --decoders->references > 0)
		return;
	for (uint32_t i = 0; i < CODECS; i++)
		memory_free(decoders->contexts[i]);
	memory_free(decoders);
	buffer_set_local(reader->pool, NULL);
}

static struct status find_variants(struct table_reader *reader)
{
	uint64_t offset = reader->footer.bytes - TABLE_FOOTER_BYTES;
	if (reader->footer.codec != 0) {
		reader->codec = variant_find_codec(reader->footer.codec);
		if (reader->codec == NULL)
			return reader_error(reader, STATUS_FORMAT, offset,
					    "the table's codec is neither of this build nor loaded");
	}
	if (reader->footer.filter != 0) {
		reader->filter = variant_find_filter(reader->footer.filter);
		if (reader->filter == NULL)
			return reader_error(reader, STATUS_FORMAT, offset,
					    "the table's filter is neither of this build nor loaded");
	}
	return status_ok();
}

/* --- reading pieces of the file past the pool --- */

/* Whole pages into memory of their own (memory_free). */
static struct status read_pages(struct task *self, const struct table_reader *reader, uint64_t offset,
				size_t size, uint8_t **bytes)
{
	*bytes = memory_allocate_aligned(TABLE_PAGE, size);
	if (*bytes == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct io_request request = {
		.operation = IO_READ,
		.file = reader->table.file.file,
		.buffer = *bytes,
		.length = size,
		.offset = offset,
	};
	struct status status = task_io(self, &request);
	if (status_is_ok(status) && request.transferred < size)
		status = reader_damage(reader, offset + request.transferred, "the file ends too early");
	if (!status_is_ok(status)) {
		memory_free(*bytes);
		*bytes = NULL;
	}
	return status;
}

/* --- the footer --- */

static bool footer_matches(const struct table_footer *footer, const struct manifest_table *meta)
{
	return footer->checksum == meta->checksum && footer->number == meta->number &&
	       footer->bytes == meta->bytes && footer->entries == meta->entries &&
	       footer->deletes == meta->deletes && footer->sequence_min == meta->sequence_min &&
	       footer->sequence_max == meta->sequence_max && footer->raw_bytes == meta->raw_bytes;
}

static struct status read_footer(struct table_reader *reader, const uint8_t *page,
				 const uint64_t database_id[2], uint32_t shard)
{
	const struct manifest_table *meta = &reader->table.meta;
	struct table_footer *footer = &reader->footer;
	uint64_t offset = meta->bytes - TABLE_FOOTER_BYTES;
	struct status status = table_footer_load(page, footer);
	if (status_is(status, STATUS_FORMAT))
		return reader_error(reader, STATUS_FORMAT, offset, "the table's format version is unknown");
	if (!status_is_ok(status))
		return reader_damage(reader, offset, "the footer is damaged");
	if (footer->database_id[0] != database_id[0] || footer->database_id[1] != database_id[1] ||
	    footer->shard != shard)
		return reader_damage(reader, offset, "the table belongs to another database or shard");
	if (!footer_matches(footer, meta))
		return reader_damage(reader, offset, "the footer is not the one that the manifest knows");
	return status_ok();
}

/* --- the top index --- */

struct top_entry {
	uint32_t page;
	uint32_t size;
	struct slice separator;
};

static const uint8_t *top_next(const uint8_t *at, const uint8_t *end, struct top_entry *entry)
{
	if (end - at < TABLE_TOP_ENTRY_BYTES)
		return NULL;
	entry->page = bytes_load32(at);
	entry->size = bytes_load32(at + 4);
	size_t size = bytes_load16(at + 8);
	at += TABLE_TOP_ENTRY_BYTES;
	if ((size_t)(end - at) < size)
		return NULL;
	entry->separator = slice_make(at, size);
	return at + size;
}

/* What all separators begin with, and how long all of them are; false if the section is not sound. */
static bool top_measure(const struct table_reader *reader, const uint8_t *at, const uint8_t *end,
			size_t *prefix, size_t *total)
{
	struct slice first = slice_make(NULL, 0);
	struct slice last = first;
	*total = 0;
	uint64_t page = reader->footer.partitions_offset / TABLE_PAGE;
	for (uint32_t i = 0; i < reader->footer.partitions; i++) {
		struct top_entry entry;
		at = top_next(at, end, &entry);
		if (at == NULL || entry.page != page || entry.size < PARTITION_HEADER_BYTES)
			return false;
		page += table_align(entry.size, TABLE_PAGE) / TABLE_PAGE;
		if (i > 0 && slice_compare(last, entry.separator) > 0)
			return false;
		last = entry.separator;
		if (i == 0)
			first = last;
		*total += last.size;
	}
	*prefix = slice_common_prefix(first, last);
	return at == end && page * TABLE_PAGE == reader->footer.top_offset;
}

/* Lays the top index out for searching; the section was measured. */
static struct status top_build(struct table_reader *reader, const uint8_t *at, const uint8_t *end,
			       size_t prefix, size_t total)
{
	size_t count = reader->footer.partitions;
	size_t size = count * 20 + 4 + prefix + (total - count * prefix);
	uint8_t *memory = memory_allocate(size);
	if (memory == NULL)
		return status_make(STATUS_NO_MEMORY);
	reader->top_memory = memory;
	reader->top_memory_bytes = size;
	uint8_t *positions = memory + count * 16;
	uint8_t *suffixes = positions + (count + 1) * 4 + prefix;
	reader->top_pages = (uint32_t *)(void *)(memory + count * 8);
	reader->top_sizes = reader->top_pages + count;
	reader->top = (struct separators) {
		.count = (uint32_t)count,
		.wide = true,
		.prefix_size = (uint32_t)prefix,
		.prefix = suffixes - prefix,
		.heads = memory,
		.positions = positions,
		.suffixes = suffixes,
	};
	uint32_t position = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct top_entry entry;
		at = top_next(at, end, &entry);
		ASSERT(at != NULL);
		struct slice rest = slice_skip(entry.separator, prefix);
		if (i == 0 && prefix > 0)
			memcpy(suffixes - prefix, entry.separator.data, prefix);
		bytes_store64(memory + (size_t)i * 8, slice_head(entry.separator, prefix));
		bytes_store32(positions + (size_t)i * 4, position);
		reader->top_pages[i] = entry.page;
		reader->top_sizes[i] = entry.size;
		if (rest.size > 0)
			memcpy(suffixes + position, rest.data, rest.size);
		position += (uint32_t)rest.size;
	}
	bytes_store32(positions + count * 4, position);
	return status_ok();
}

static struct status read_top(struct table_reader *reader, const uint8_t *bytes)
{
	const struct table_footer *footer = &reader->footer;
	const struct manifest_table *meta = &reader->table.meta;
	uint64_t offset = footer->top_offset;
	size_t size = (size_t)footer->top_bytes;
	if (size < TABLE_TOP_HEADER_BYTES || size > UINT32_MAX)
		return reader_damage(reader, offset, "the top index's size is wrong");
	if (bytes_load64(bytes) != checksum64(bytes + 8, size - 8, section_seed(reader->seed, offset)))
		return reader_damage(reader, offset, "the top index's checksum is wrong");
	uint64_t smallest = bytes_load32(bytes + 12);
	uint64_t largest = bytes_load32(bytes + 16);
	if (bytes_load32(bytes + 8) != footer->partitions ||
	    smallest + largest > size - TABLE_TOP_HEADER_BYTES)
		return reader_damage(reader, offset, "the top index's sizes are wrong");
	const uint8_t *keys = bytes + TABLE_TOP_HEADER_BYTES;
	if (!slice_equal(slice_make(keys, smallest), meta->smallest) ||
	    !slice_equal(slice_make(keys + smallest, largest), meta->largest))
		return reader_damage(reader, offset, "the key range is not the one that the manifest knows");
	const uint8_t *entries = keys + smallest + largest;
	size_t prefix;
	size_t total;
	if (!top_measure(reader, entries, bytes + size, &prefix, &total))
		return reader_damage(reader, offset, "the top index is not in order");
	return top_build(reader, entries, bytes + size, prefix, total);
}

/* Footer and top index, normally in one read. */
static struct status read_tail(struct task *self, struct table_reader *reader, const uint64_t database_id[2],
			       uint32_t shard)
{
	uint64_t file_bytes = reader->table.meta.bytes;
	if (file_bytes < TABLE_FOOTER_BYTES || file_bytes % TABLE_PAGE != 0 ||
	    reader->table.file.file->size_at_open != file_bytes)
		return reader_damage(reader, reader->table.file.file->size_at_open,
				     "the file is not as long as the manifest knows");
	size_t tail = file_bytes < TAIL_BYTES ? (size_t)file_bytes : TAIL_BYTES;
	uint8_t *bytes;
	uint8_t *section = NULL;
	TRY(read_pages(self, reader, file_bytes - tail, tail, &bytes));
	struct status status;
	TRY_GOTO(read_footer(reader, bytes + tail - TABLE_FOOTER_BYTES, database_id, shard), out);
	TRY_GOTO(find_variants(reader), out);
	const uint8_t *top;
	if (reader->footer.top_offset >= file_bytes - tail) {
		top = bytes + (reader->footer.top_offset - (file_bytes - tail));
	} else {
		size_t size = (size_t)(file_bytes - TABLE_FOOTER_BYTES - reader->footer.top_offset);
		TRY_GOTO(read_pages(self, reader, reader->footer.top_offset, size, &section), out);
		top = section;
	}
	status = read_top(reader, top);
out:
	memory_free(section);
	memory_free(bytes);
	return status;
}

/* --- open and close --- */

struct path_job {
	char *path;
	const char *directory;
	uint64_t number;
};

static void format_path(void *argument)
{
	const struct path_job *job = argument;
	(void)snprintf(job->path, TABLE_PATH_BYTES, "%s/%010llu.table", job->directory,
		       (unsigned long long)job->number);
}

void table_path(char *path, const char *directory, uint64_t number)
{
	struct path_job job = { .path = path, .directory = directory, .number = number };
	call_on_thread_stack(format_path, &job);
}

static void reader_free(struct table_reader *reader)
{
	decoders_release(reader);
	memory_free(reader->top_memory);
	manifest_table_free(&reader->table.meta);
	memory_free(reader);
}

static void close_file(struct task *self, struct table_reader *reader)
{
	if (reader->table.file.file == NULL)
		return;
	struct io_request request = { .operation = IO_CLOSE, .file = reader->table.file.file };
	/* The handle is gone whatever the status, and a file that was only read has nothing to lose. */
	struct status ignored = task_io(self, &request);
	(void)ignored;
	reader->table.file.file = NULL;
}

static struct status open_file(struct task *self, struct table_reader *reader)
{
	struct io_request request = { .operation = IO_OPEN, .flags = IO_OPEN_READ, .path = reader->path };
	TRY(task_io(self, &request));
	reader->table.file.file = request.opened;
	return status_ok();
}

struct status table_open(struct task *self, struct buffer_pool *pool, const char *directory,
			 const uint64_t database_id[2], uint32_t shard, const struct manifest_table *meta,
			 struct table **table)
{
	*table = NULL;
	struct table_reader *reader = memory_allocate_zeroed(1, sizeof(*reader));
	if (reader == NULL)
		return status_make(STATUS_NO_MEMORY);
	reader->pool = pool;
	reader->recorder = trace_recorder_for(buffer_recorder(pool), TRACE_FILTER);
	reader->seed = table_seed(database_id, shard, meta->number);
	reader->table.references = 1;
	reader->table.file.id = PLANTED(M15) ? (uintptr_t)reader : meta->number;
	reader->table.file.path = reader->path;
	wait_list_init(&reader->closing);
	table_path(reader->path, directory, meta->number);
	struct status status;
	TRY_GOTO(manifest_table_copy(&reader->table.meta, meta), failed);
	TRY_GOTO(open_file(self, reader), failed);
	TRY_GOTO(read_tail(self, reader, database_id, shard), failed);
	TRY_GOTO(decoders_acquire(reader), failed);
	*table = &reader->table;
	return status_ok();
failed:
	close_file(self, reader);
	reader_free(reader);
	return status;
}

void table_close(struct task *self, struct table *table, bool unlink_file)
{
	struct table_reader *reader = table_reader(table);
	ASSERT(table->references == 1);
	while (reader->reads_left > 0)
		wait_list_wait(self, &reader->closing);
	buffer_drain(self, reader->pool, table->file.id);
	if (!PLANTED(M15))
		buffer_forget(reader->pool, table->file.id);
	if (reader->recorder != NULL)
		trace_table_end(reader->recorder, table->meta.number);
	close_file(self, reader);
	if (unlink_file) {
		struct status ignored = task_unlink(self, reader->path);
		(void)ignored;
	}
	reader_free(reader);
}

size_t table_memory(const struct table *table)
{
	const struct table_reader *reader = (const struct table_reader *)(const void *)table;
	return sizeof(*reader) + reader->top_memory_bytes + table->meta.smallest.size +
	       table->meta.largest.size;
}
