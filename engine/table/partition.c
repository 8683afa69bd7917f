#include "table/partition.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#include "base/poison.h"

enum {
	HEADER_SIZE = 4,
	HEADER_FIRST_ORDINAL = 8,
	HEADER_COUNT = 12,
	HEADER_FIRST_OFFSET = 16,
	HEADER_FILTER = 24,
	HEADER_HASHES = 28,
	HEADER_PREFIX = 32,
	HEADER_LAYOUT = 36,
};

/* What the filter's bytes are. */
enum { LAYOUT_WHOLE = 0, LAYOUT_PER_BLOCK = 1 };

/* Positions of the filters of `count` blocks. */
static size_t positions_bytes(size_t count)
{
	return (count + 1) * 2;
}

bool partition_parse(struct partition *partition, const uint8_t *bytes, size_t size)
{
	if (size < PARTITION_HEADER_BYTES || bytes_load32(bytes + HEADER_SIZE) != size)
		return false;
	uint64_t count = bytes_load32(bytes + HEADER_COUNT);
	uint64_t filter = bytes_load32(bytes + HEADER_FILTER);
	uint64_t prefix = bytes_load32(bytes + HEADER_PREFIX);
	uint64_t heads = PARTITION_HEADER_BYTES + table_align(filter, 8);
	uint64_t fixed = heads + count * 18 + 2 + prefix;
	uint8_t layout = bytes[HEADER_LAYOUT];
	if (count == 0 || fixed > size || layout > LAYOUT_PER_BLOCK)
		return false;
	if (layout == LAYOUT_PER_BLOCK && filter < positions_bytes(count))
		return false;
	const uint8_t *positions = bytes + heads + count * 16;
	partition->separators = (struct separators) {
		.count = (uint32_t)count,
		.prefix_size = (uint32_t)prefix,
		.heads = bytes + heads,
		.positions = positions,
		.prefix = positions + count * 2 + 2,
		.suffixes = positions + count * 2 + 2 + prefix,
	};
	partition->filter = slice_make(bytes + PARTITION_HEADER_BYTES, filter);
	partition->filter_per_block = layout == LAYOUT_PER_BLOCK;
	partition->offsets = bytes + heads + count * 8;
	partition->sizes = partition->offsets + count * 4;
	partition->first_offset = bytes_load64(bytes + HEADER_FIRST_OFFSET);
	partition->first_ordinal = bytes_load32(bytes + HEADER_FIRST_ORDINAL);
	partition->hashes = bytes_load32(bytes + HEADER_HASHES);
	partition->count = (uint32_t)count;
	return fixed + bytes_load16(positions + count * 2) == size;
}

/* Whether the filters of the blocks lie one behind the other and fill their room. */
static bool filters_are_sound(const struct partition *partition)
{
	const uint8_t *positions = partition->filter.data;
	if (bytes_load16(positions) != 0)
		return false;
	for (uint32_t i = 0; i < partition->count; i++) {
		if (bytes_load16(positions + (size_t)i * 2) > bytes_load16(positions + (size_t)i * 2 + 2))
			return false;
	}
	return positions_bytes(partition->count) + bytes_load16(positions + (size_t)partition->count * 2) ==
	       partition->filter.size;
}

bool partition_is_sound(const struct partition *partition, uint64_t data_bytes)
{
	const struct separators *separators = &partition->separators;
	if (bytes_load16(separators->positions) != 0 || partition->first_offset % BLOCK_ALIGN != 0)
		return false;
	if (partition->filter_per_block && !filters_are_sound(partition))
		return false;
	uint64_t end = partition->first_offset;
	for (uint32_t i = 0; i < partition->count; i++) {
		struct block_place place;
		partition_place(partition, i, &place);
		if (place.offset < end || place.offset > data_bytes || place.size <= BLOCK_HEADER_BYTES)
			return false;
		if (table_page_rest(place.offset) < BLOCK_BYTES_MIN)
			return false;
		end = place.offset + block_footprint(place.size);
		if (end > data_bytes)
			return false;
		if (bytes_load16(separators->positions + (size_t)i * 2) >
		    bytes_load16(separators->positions + (size_t)i * 2 + 2))
			return false;
	}
	return true;
}

uint32_t partition_checksum(const uint8_t *bytes, size_t size, uint64_t seed)
{
	return checksum32(bytes + 4, size - 4, seed);
}

void partition_seal(uint8_t *bytes, uint32_t size, uint64_t seed)
{
	bytes_store32(bytes, partition_checksum(bytes, size, seed));
}

/* --- building --- */

void partition_writer_init(struct partition_writer *writer, const struct filter_ops *filter,
			   const void *filter_options)
{
	*writer = (struct partition_writer) { .filter = filter, .filter_options = filter_options };
}

void partition_writer_free(struct partition_writer *writer)
{
	memory_free(writer->offsets);
	memory_free(writer->sizes);
	memory_free(writer->positions);
	memory_free(writer->hashes);
	memory_free(writer->separators);
	*writer = (struct partition_writer) { 0 };
}

static struct slice separator_at(const struct partition_writer *writer, uint32_t index)
{
	uint32_t from = writer->positions[index];
	return slice_make(writer->separators + from, writer->positions[index + 1] - from);
}

struct slice partition_writer_last(const struct partition_writer *writer)
{
	ASSERT(writer->count > 0);
	return separator_at(writer, writer->count - 1);
}

static uint32_t prefix_with(const struct partition_writer *writer, struct slice separator)
{
	if (writer->count == 0)
		return (uint32_t)separator.size;
	struct slice first = slice_make(writer->separators, writer->prefix_size);
	return (uint32_t)slice_common_prefix(first, separator);
}

/* All but the filter. */
static size_t index_bytes(size_t count, size_t separator_bytes, size_t prefix)
{
	return PARTITION_HEADER_BYTES + count * 18 + 2 + prefix + (separator_bytes - count * prefix);
}

static bool is_per_block(const struct partition_writer *writer)
{
	return writer->filter != NULL && (writer->filter->component.capabilities & FILTER_PER_BLOCK) != 0;
}

static size_t filter_bytes(const struct partition_writer *writer, size_t hashes)
{
	return writer->filter == NULL ? 0 : writer->filter->size(writer->filter_options, hashes);
}

/* Hashes of the blocks before `index`. */
static uint32_t hashes_before(const struct partition_writer *writer, uint32_t index)
{
	return index == 0 ? 0 : writer->hashes[index - 1];
}

/* All bytes of filters for `count` blocks: `filters` and what leads to them. Positions have two bytes: where
 * those do not reach, which takes a block of very many keys, the partition goes without. */
static size_t per_block_bytes(size_t count, size_t filters)
{
	return filters == 0 || filters > UINT16_MAX ? 0 : positions_bytes(count) + filters;
}

size_t partition_writer_size_with(const struct partition_writer *writer, struct slice separator,
				  size_t hashes)
{
	size_t separator_bytes = (writer->count > 0 ? writer->positions[writer->count] : 0) + separator.size;
	size_t filter;
	if (is_per_block(writer)) {
		size_t last = filter_bytes(writer, hashes - hashes_before(writer, writer->count));
		filter = per_block_bytes(writer->count + 1u, writer->filters_size + last);
	} else {
		filter = filter_bytes(writer, hashes);
	}
	return index_bytes(writer->count + 1u, separator_bytes, prefix_with(writer, separator)) +
	       (size_t)table_align(filter, 8);
}

static struct status grow(struct partition_writer *writer, size_t separator_size)
{
	if (writer->count == writer->capacity) {
		uint32_t capacity = writer->capacity == 0 ? 128 : writer->capacity * 2;
		uint32_t *offsets = memory_resize(writer->offsets, capacity * sizeof(uint32_t));
		writer->offsets = offsets != NULL ? offsets : writer->offsets;
		uint32_t *sizes = memory_resize(writer->sizes, capacity * sizeof(uint32_t));
		writer->sizes = sizes != NULL ? sizes : writer->sizes;
		uint32_t *positions = memory_resize(writer->positions, (capacity + 1) * sizeof(uint32_t));
		writer->positions = positions != NULL ? positions : writer->positions;
		uint32_t *hashes = memory_resize(writer->hashes, capacity * sizeof(uint32_t));
		writer->hashes = hashes != NULL ? hashes : writer->hashes;
		if (offsets == NULL || sizes == NULL || positions == NULL || hashes == NULL)
			return status_make(STATUS_NO_MEMORY);
		writer->capacity = capacity;
	}
	size_t needed = (writer->count > 0 ? writer->positions[writer->count] : 0) + separator_size + 1;
	if (needed > writer->separators_capacity) {
		uint8_t *separators = memory_resize(writer->separators, needed * 2);
		if (separators == NULL)
			return status_make(STATUS_NO_MEMORY);
		writer->separators = separators;
		writer->separators_capacity = needed * 2;
	}
	return status_ok();
}

struct status partition_writer_add(struct partition_writer *writer, struct slice separator,
				   const struct block_place *place, size_t hashes)
{
	TRY(grow(writer, separator.size));
	uint32_t prefix_size = prefix_with(writer, separator);
	if (writer->count == 0) {
		writer->positions[0] = 0;
		writer->first_offset = place->offset;
		writer->first_ordinal = place->ordinal;
	}
	ASSERT(place->ordinal == writer->first_ordinal + writer->count);
	ASSERT(place->size < PARTITION_CONTINUES);
	uint64_t offset = (place->offset - writer->first_offset) / BLOCK_ALIGN;
	ASSERT(offset <= UINT32_MAX);
	ASSERT(hashes >= hashes_before(writer, writer->count));
	ASSERT(hashes <= UINT32_MAX);
	if (is_per_block(writer))
		writer->filters_size += filter_bytes(writer, hashes - hashes_before(writer, writer->count));
	writer->hashes[writer->count] = (uint32_t)hashes;
	uint32_t at = writer->positions[writer->count];
	if (separator.size > 0)
		memcpy(writer->separators + at, separator.data, separator.size);
	writer->offsets[writer->count] = (uint32_t)offset;
	writer->sizes[writer->count] = place->size | (place->continues ? PARTITION_CONTINUES : 0);
	writer->positions[++writer->count] = at + (uint32_t)separator.size;
	writer->prefix_size = prefix_size;
	return status_ok();
}

/* Builds one filter at `out`; 0 bytes if it could not be built. */
static struct status build_filter(const struct partition_writer *writer, uint64_t *hashes, size_t count,
				  uint8_t *out, size_t *size)
{
	*size = 0;
	size_t most = filter_bytes(writer, count);
	if (count == 0 || most == 0)
		return status_ok();
	size_t scratch_size = 0;
	if (writer->filter->scratch_size != NULL)
		scratch_size = writer->filter->scratch_size(writer->filter_options, count);
	void *scratch = NULL;
	if (scratch_size > 0) {
		scratch = memory_allocate_aligned(64, scratch_size);
		if (scratch == NULL)
			return status_make(STATUS_NO_MEMORY);
	}
	*size = writer->filter->build(writer->filter_options, hashes, count, out, scratch);
	ASSERT(*size <= most);
	/* A builder that used less than it said, or gave up, may have left bytes behind. */
	memset(out + *size, 0, most - *size);
	memory_free(scratch);
	return status_ok();
}

/* Builds a filter for each block behind their positions at `out`; 0 bytes if none could be built. */
static struct status build_block_filters(const struct partition_writer *writer, uint64_t *hashes,
					 uint8_t *out, size_t *size)
{
	uint8_t *start = out + positions_bytes(writer->count);
	uint8_t *to = start;
	for (uint32_t i = 0; i < writer->count; i++) {
		uint32_t from = hashes_before(writer, i);
		size_t filter;
		TRY(build_filter(writer, hashes + from, writer->hashes[i] - from, to, &filter));
		to += filter;
		bytes_store16(out + ((size_t)i + 1) * 2, (uint16_t)(to - start));
	}
	/* Without any the positions are all 0, as the bytes where the index then begins must be. */
	*size = to == start ? 0 : (size_t)(to - out);
	return status_ok();
}

/* Bytes that the partition's filter or filters take at most. */
static size_t filter_room(const struct partition_writer *writer)
{
	if (is_per_block(writer))
		return per_block_bytes(writer->count, writer->filters_size);
	return filter_bytes(writer, hashes_before(writer, writer->count));
}

/* Builds what the partition has of filters into its zeroed bytes. */
static struct status build_filters(const struct partition_writer *writer, uint64_t *hashes, uint8_t *bytes,
				   size_t *size)
{
	size_t count = hashes_before(writer, writer->count);
	*size = 0;
	if (filter_room(writer) == 0)
		return status_ok();
	uint8_t *out = bytes + PARTITION_HEADER_BYTES;
	if (is_per_block(writer))
		TRY(build_block_filters(writer, hashes, out, size));
	else
		TRY(build_filter(writer, hashes, count, out, size));
	if (*size > 0) {
		bytes_store32(bytes + HEADER_FILTER, (uint32_t)*size);
		bytes_store32(bytes + HEADER_HASHES, (uint32_t)count);
		bytes[HEADER_LAYOUT] = is_per_block(writer) ? LAYOUT_PER_BLOCK : LAYOUT_WHOLE;
	}
	return status_ok();
}

/* The index behind a filter of `filter` bytes; returns the partition's size. */
static size_t store_index(const struct partition_writer *writer, uint8_t *bytes, size_t filter)
{
	uint32_t count = writer->count;
	uint32_t prefix = writer->prefix_size;
	uint8_t *heads = bytes + PARTITION_HEADER_BYTES + table_align(filter, 8);
	uint8_t *offsets = heads + (size_t)count * 8;
	uint8_t *sizes = offsets + (size_t)count * 4;
	uint8_t *positions = sizes + (size_t)count * 4;
	uint8_t *start = positions + ((size_t)count + 1) * 2;
	if (prefix > 0)
		memcpy(start, writer->separators, prefix);
	start += prefix;
	uint8_t *to = start;
	for (uint32_t i = 0; i < count; i++) {
		struct slice separator = separator_at(writer, i);
		struct slice rest = slice_skip(separator, prefix);
		bytes_store64(heads + (size_t)i * 8, slice_head(separator, prefix));
		bytes_store32(offsets + (size_t)i * 4, writer->offsets[i]);
		bytes_store32(sizes + (size_t)i * 4, writer->sizes[i]);
		bytes_store16(positions + (size_t)i * 2, (uint16_t)(to - start));
		if (rest.size > 0)
			memcpy(to, rest.data, rest.size);
		to += rest.size;
	}
	ASSERT(to - start <= UINT16_MAX);
	bytes_store16(positions + (size_t)count * 2, (uint16_t)(to - start));
	return (size_t)(to - bytes);
}

struct status partition_writer_finish(struct partition_writer *writer, uint64_t *hashes, uint8_t **result,
				      uint32_t *result_size)
{
	ASSERT(writer->count > 0);
	size_t capacity = index_bytes(writer->count, writer->positions[writer->count], writer->prefix_size) +
			  (size_t)table_align(filter_room(writer), 8);
	capacity = (size_t)table_align(capacity, TABLE_PAGE);
	uint8_t *bytes = memory_allocate_zeroed(1, capacity);
	if (bytes == NULL)
		return status_make(STATUS_NO_MEMORY);
	size_t filter;
	struct status status = build_filters(writer, hashes, bytes, &filter);
	if (!status_is_ok(status)) {
		memory_free(bytes);
		return status;
	}
	size_t size = store_index(writer, bytes, filter);
	ASSERT(size <= capacity);
	bytes_store32(bytes + HEADER_SIZE, (uint32_t)size);
	bytes_store32(bytes + HEADER_FIRST_ORDINAL, writer->first_ordinal);
	bytes_store32(bytes + HEADER_COUNT, writer->count);
	bytes_store64(bytes + HEADER_FIRST_OFFSET, writer->first_offset);
	bytes_store32(bytes + HEADER_PREFIX, writer->prefix_size);
	writer->count = 0;
	writer->prefix_size = 0;
	writer->filters_size = 0;
	*result = bytes;
	*result_size = (uint32_t)size;
	return status_ok();
}
