/*
 * Reads a whole table past the pool and checks that all its parts agree with each other: what a scan of the
 * data finds is what the partitions, the top index and the footer say.
 */
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "table/stream.h"

#include "base/poison.h"

struct verification {
	struct table_reader *reader;
	struct stream stream;
	struct block_cursor cursor;
	uint8_t *last_key;
	size_t last_size, last_capacity;
	uint64_t last_sequence;
	struct block_place last_place; /* of the block before */
	uint32_t partition;
	uint64_t entries, deletes, raw_bytes;
	uint64_t sequence_min, sequence_max;
	uint32_t blocks;
};

static struct slice last_key(const struct verification *v)
{
	return slice_make(v->last_key, v->last_size);
}

static struct status set_last_key(struct verification *v, struct slice key)
{
	if (key.size > v->last_capacity) {
		uint8_t *larger = memory_resize(v->last_key, key.size * 2);
		if (larger == NULL)
			return status_make(STATUS_NO_MEMORY);
		v->last_key = larger;
		v->last_capacity = key.size * 2;
	}
	if (key.size > 0)
		memcpy(v->last_key, key.data, key.size);
	v->last_size = key.size;
	return status_ok();
}

/* One entry: its order, the index that leads to it, its tag and its filter. */
static struct status check_entry(struct verification *v, const struct partition *partition, uint32_t index,
				 const struct entry *entry, uint8_t tag)
{
	const struct table_reader *reader = v->reader;
	uint64_t offset = v->last_place.offset;
	if (entry->kind != ENTRY_PUT && entry->kind != ENTRY_DELETE)
		return reader_damage(reader, offset, "an entry is of no known kind");
	if (entry->sequence > SEQUENCE_MAX || (entry->kind == ENTRY_DELETE && entry->value.size > 0))
		return reader_damage(reader, offset, "an entry's sequence or value is wrong");
	if (v->entries > 0 && entry_compare(last_key(v), v->last_sequence, entry->key, entry->sequence) >= 0)
		return reader_damage(reader, offset, "entries are not in order");
	uint64_t hash = hash_key(entry->key);
	if (tag != block_tag(hash))
		return reader_damage(reader, offset, "an entry's tag is wrong");
	if (separators_compare(&partition->separators, index, entry->key) < 0)
		return reader_damage(reader, offset, "an entry lies behind its block's separator");
	if (partition->filter.size > 0 && reader->filter != NULL &&
	    !reader->filter->may_contain(partition_filter_of(partition, index), hash))
		return reader_damage(reader, offset, "a key does not pass its filter");
	v->entries++;
	v->deletes += entry->kind == ENTRY_DELETE;
	v->raw_bytes += entry->key.size + entry->value.size;
	v->sequence_min = entry->sequence < v->sequence_min ? entry->sequence : v->sequence_min;
	v->sequence_max = entry->sequence > v->sequence_max ? entry->sequence : v->sequence_max;
	v->last_sequence = entry->sequence;
	return set_last_key(v, entry->key);
}

/* The first entry of a block against the separator of the block before, which must not lead to it, unless
 * versions of the key began there. */
static struct status check_start(const struct verification *v, const struct partition *partition,
				 uint32_t index, bool continues, struct slice key)
{
	const struct separators *before = index > 0 ? &partition->separators : &v->reader->top;
	uint32_t separator = index > 0 ? index - 1 : v->partition - 1;
	uint64_t offset = v->last_place.offset;
	if (v->entries == 0)
		return slice_equal(key, v->reader->table.meta.smallest)
			       ? status_ok()
			       : reader_damage(v->reader, offset, "the smallest key is not the first");
	if (continues != slice_equal(key, last_key(v)))
		return reader_damage(v->reader, offset, "the index is wrong about versions across blocks");
	if (!continues && separators_compare(before, separator, key) >= 0)
		return reader_damage(v->reader, offset, "an entry lies before its block's separator");
	return status_ok();
}

static struct status check_block(struct task *self, struct verification *v, const struct partition *partition,
				 uint32_t index)
{
	struct block block;
	struct block_place found;
	struct block_place said;
	bool end;
	const struct table_reader *reader = v->reader;
	TRY(stream_next_block(self, &v->stream, &block, &found, &end));
	partition_place(partition, index, &said);
	if (end || found.offset != said.offset || found.size != said.size || found.ordinal != said.ordinal)
		return reader_damage(reader, said.offset, "the index names a block that is not there");
	bool continues = v->last_place.continues;
	v->last_place = said;
	v->blocks++;
	struct status status = block_cursor_set(&v->cursor, &block, 0);
	for (uint32_t i = 0; status_is_ok(status) && i < block.count; i++) {
		uint32_t offset = bytes_load16(block.offsets + (size_t)i * 2);
		if (v->cursor.next != block.entries + offset)
			return reader_damage(reader, said.offset, "an entry's offset is wrong");
		struct entry entry;
		status = block_cursor_take(&v->cursor, &entry);
		if (!status_is_ok(status))
			break;
		if (i == 0)
			TRY(check_start(v, partition, index, continues, entry.key));
		TRY(check_entry(v, partition, index, &entry, block.tags[i]));
	}
	if (status_is_ok(status) && v->cursor.next != block.tags)
		status = status_make(STATUS_CORRUPT);
	if (status_is(status, STATUS_CORRUPT) && status.detail == 0)
		return reader_damage(reader, said.offset, "a block's entries are wrong");
	return status;
}

/* Lookups come to a partition by the top index: it must say what the partition's last separator says. */
static struct status check_top(const struct verification *v, const struct partition *partition,
			       uint32_t index)
{
	const struct separators *separators = &partition->separators;
	struct slice rest = separators_suffix(separators, separators->count - 1);
	size_t size = separators->prefix_size + rest.size;
	uint8_t *whole = memory_allocate(size + 1);
	if (whole == NULL)
		return status_make(STATUS_NO_MEMORY);
	memcpy(whole, separators->prefix, separators->prefix_size);
	memcpy(whole + separators->prefix_size, rest.data, rest.size);
	int order = separators_compare(&v->reader->top, index, slice_make(whole, size));
	memory_free(whole);
	return order == 0 ? status_ok()
			  : reader_damage(v->reader, reader_partition_offset(v->reader, index),
					  "a separator of the top index is wrong");
}

static struct status check_partition(struct task *self, struct verification *v, uint32_t index,
				     struct buffer_view *view)
{
	struct table_reader *reader = v->reader;
	struct partition partition;
	uint64_t offset = reader_partition_offset(reader, index);
	/* The marks say that the page was good when it was loaded; here it is verified whatever they say. */
	view->marks = NULL;
	TRY(reader_partition(reader, index, view, &partition));
	if (partition.first_ordinal != v->blocks)
		return reader_damage(reader, offset, "a partition's blocks do not follow the last one's");
	for (uint32_t i = 0; i < partition.count; i++) {
		TRY(check_block(self, v, &partition, i));
		task_breathe(self);
	}
	/* Searches compare heads first; what they say must be what the separators say. */
	for (uint32_t i = 0; i < partition.count; i++) {
		uint64_t head = bytes_load64(partition.separators.heads + (size_t)i * 8);
		if (head != slice_head(separators_suffix(&partition.separators, i), 0))
			return reader_damage(reader, offset, "the head of a separator is wrong");
	}
	for (uint32_t i = 0; i + 1 < partition.count; i++) {
		struct slice a = separators_suffix(&partition.separators, i);
		struct slice b = separators_suffix(&partition.separators, i + 1);
		if (slice_compare(a, b) > 0)
			return reader_damage(reader, offset, "separators are not in order");
	}
	return check_top(v, &partition, index);
}

static struct status check_partitions(struct task *self, struct verification *v)
{
	struct table_reader *reader = v->reader;
	for (uint32_t i = 0; i < reader->top.count; i++) {
		struct buffer_view view;
		v->partition = i;
		/* Read from the file, not from the pool: its frame may have been loaded before the damage. */
		size_t size = (size_t)table_align(reader->top_sizes[i], TABLE_PAGE);
		uint8_t *bytes = memory_allocate_aligned(TABLE_PAGE, size);
		if (bytes == NULL)
			return status_make(STATUS_NO_MEMORY);
		struct io_request request = {
			.operation = IO_READ,
			.file = reader->table.file.file,
			.buffer = bytes,
			.length = size,
			.offset = reader_partition_offset(reader, i),
		};
		struct status status = task_io(self, &request);
		if (status_is_ok(status) && request.transferred < size)
			status = reader_damage(reader, request.offset, "the file ends too early");
		view = (struct buffer_view) { .data = bytes, .size = reader->top_sizes[i] };
		if (status_is_ok(status))
			status = check_partition(self, v, i, &view);
		memory_free(bytes);
		TRY(status);
	}
	return status_ok();
}

static struct status check_totals(const struct verification *v)
{
	const struct table_footer *footer = &v->reader->footer;
	uint64_t offset = footer->bytes - TABLE_FOOTER_BYTES;
	if (v->blocks != footer->blocks || v->entries != footer->entries || v->deletes != footer->deletes ||
	    v->raw_bytes != footer->raw_bytes)
		return reader_damage(v->reader, offset, "the footer's counts are wrong");
	if (v->entries == 0)
		return status_ok();
	if (v->sequence_min != footer->sequence_min || v->sequence_max != footer->sequence_max)
		return reader_damage(v->reader, offset, "the footer's sequences are wrong");
	if (!slice_equal(last_key(v), v->reader->table.meta.largest))
		return reader_damage(v->reader, offset, "the largest key is not the last");
	if (v->stream.position != footer->data_bytes)
		return reader_damage(v->reader, footer->data_bytes, "the data does not end where it should");
	return status_ok();
}

struct status table_verify(struct task *self, struct table *table)
{
	struct verification *v = memory_allocate_zeroed(1, sizeof(*v));
	if (v == NULL)
		return status_make(STATUS_NO_MEMORY);
	v->reader = table_reader(table);
	v->sequence_min = UINT64_MAX;
	struct status status = stream_init(&v->stream, v->reader);
	if (status_is_ok(status)) {
		stream_seek(self, &v->stream, 0, 0);
		status = check_partitions(self, v);
		if (status_is_ok(status))
			status = check_totals(v);
		stream_free(&v->stream);
	}
	block_cursor_free(&v->cursor);
	memory_free(v->last_key);
	memory_free(v);
	return status;
}
