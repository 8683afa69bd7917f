#include "table/format.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"

#include "base/poison.h"

/* The offsets of docs/file-formats.md. */
enum {
	FOOTER_MAGIC = 0,
	FOOTER_VERSION = 8,
	FOOTER_DATABASE = 16,
	FOOTER_SHARD = 32,
	FOOTER_LEVEL = 36,
	FOOTER_NUMBER = 40,
	FOOTER_BYTES = 48,
	FOOTER_ENTRIES = 56,
	FOOTER_DELETES = 64,
	FOOTER_SEQUENCE_MIN = 72,
	FOOTER_SEQUENCE_MAX = 80,
	FOOTER_RAW_BYTES = 88,
	FOOTER_DATA_BYTES = 96,
	FOOTER_PARTITIONS_OFFSET = 104,
	FOOTER_TOP_OFFSET = 112,
	FOOTER_TOP_BYTES = 120,
	FOOTER_BLOCKS = 128,
	FOOTER_PARTITIONS = 132,
	FOOTER_BLOCK_BYTES = 136,
	FOOTER_CODEC = 140,
	FOOTER_FILTER = 141,
	FOOTER_CHECKSUM = TABLE_FOOTER_BYTES - 8,
};

static const uint8_t footer_magic[8] = { 'C', 'S', 'C', 'T', 'A', 'B', 'L', 'E' };

uint64_t table_seed(const uint64_t database_id[2], uint32_t shard, uint64_t number)
{
	uint8_t bytes[28];
	bytes_store64(bytes, database_id[0]);
	bytes_store64(bytes + 8, database_id[1]);
	bytes_store64(bytes + 16, number);
	bytes_store32(bytes + 24, shard);
	return checksum64(bytes, sizeof(bytes), TABLE_FOOTER_SEED);
}

void block_header_store(uint8_t *to, const struct block_header *header)
{
	bytes_store32(to, header->checksum);
	bytes_store32(to + 4, header->stored_size);
	bytes_store32(to + 8, header->raw_size);
	bytes_store16(to + 12, header->count);
	to[14] = header->codec;
	to[15] = 0;
}

bool block_header_load(const uint8_t *from, struct block_header *header)
{
	header->checksum = bytes_load32(from);
	header->stored_size = bytes_load32(from + 4);
	header->raw_size = bytes_load32(from + 8);
	header->count = bytes_load16(from + 12);
	header->codec = from[14];
	if (header->count == 0 || from[15] != 0)
		return false;
	if (header->raw_size > (header->count == 1 ? BLOCK_RAW_MAX : BLOCK_RAW_SHARED_MAX))
		return false;
	return header->codec == 0 ? header->stored_size == header->raw_size
				  : header->stored_size < header->raw_size;
}

void table_footer_store(uint8_t *page, struct table_footer *footer)
{
	memset(page, 0, TABLE_FOOTER_BYTES);
	memcpy(page + FOOTER_MAGIC, footer_magic, sizeof(footer_magic));
	bytes_store32(page + FOOTER_VERSION, TABLE_FORMAT_VERSION);
	bytes_store64(page + FOOTER_DATABASE, footer->database_id[0]);
	bytes_store64(page + FOOTER_DATABASE + 8, footer->database_id[1]);
	bytes_store32(page + FOOTER_SHARD, footer->shard);
	bytes_store32(page + FOOTER_LEVEL, footer->level);
	bytes_store64(page + FOOTER_NUMBER, footer->number);
	bytes_store64(page + FOOTER_BYTES, footer->bytes);
	bytes_store64(page + FOOTER_ENTRIES, footer->entries);
	bytes_store64(page + FOOTER_DELETES, footer->deletes);
	bytes_store64(page + FOOTER_SEQUENCE_MIN, footer->sequence_min);
	bytes_store64(page + FOOTER_SEQUENCE_MAX, footer->sequence_max);
	bytes_store64(page + FOOTER_RAW_BYTES, footer->raw_bytes);
	bytes_store64(page + FOOTER_DATA_BYTES, footer->data_bytes);
	bytes_store64(page + FOOTER_PARTITIONS_OFFSET, footer->partitions_offset);
	bytes_store64(page + FOOTER_TOP_OFFSET, footer->top_offset);
	bytes_store64(page + FOOTER_TOP_BYTES, footer->top_bytes);
	bytes_store32(page + FOOTER_BLOCKS, footer->blocks);
	bytes_store32(page + FOOTER_PARTITIONS, footer->partitions);
	bytes_store32(page + FOOTER_BLOCK_BYTES, footer->block_bytes);
	page[FOOTER_CODEC] = footer->codec;
	page[FOOTER_FILTER] = footer->filter;
	footer->checksum = checksum64(page, FOOTER_CHECKSUM, TABLE_FOOTER_SEED);
	bytes_store64(page + FOOTER_CHECKSUM, footer->checksum);
}

/* Whether the sections lie in the file as they must: in order, page-aligned, the footer at the end. */
static bool footer_is_sound(const struct table_footer *footer)
{
	uint64_t end = footer->bytes - TABLE_FOOTER_BYTES;
	if (footer->bytes < TABLE_FOOTER_BYTES || footer->bytes % TABLE_PAGE != 0)
		return false;
	if (footer->top_offset > end || footer->top_offset % TABLE_PAGE != 0 ||
	    footer->top_bytes > end - footer->top_offset)
		return false;
	if (footer->partitions_offset > footer->top_offset || footer->partitions_offset % TABLE_PAGE != 0)
		return false;
	if (footer->partitions > (footer->top_offset - footer->partitions_offset) / TABLE_PAGE)
		return false;
	return footer->data_bytes <= footer->partitions_offset &&
	       footer->partitions_offset - footer->data_bytes < TABLE_PAGE &&
	       footer->blocks <= footer->data_bytes / BLOCK_BYTES_MIN && footer->deletes <= footer->entries &&
	       (footer->blocks == 0) == (footer->partitions == 0) &&
	       (footer->blocks == 0) == (footer->entries == 0);
}

struct status table_footer_load(const uint8_t *page, struct table_footer *footer)
{
	footer->checksum = bytes_load64(page + FOOTER_CHECKSUM);
	if (memcmp(page + FOOTER_MAGIC, footer_magic, sizeof(footer_magic)) != 0 ||
	    footer->checksum != checksum64(page, FOOTER_CHECKSUM, TABLE_FOOTER_SEED))
		return status_make(STATUS_CORRUPT);
	if (bytes_load32(page + FOOTER_VERSION) != TABLE_FORMAT_VERSION)
		return status_make(STATUS_FORMAT);
	footer->database_id[0] = bytes_load64(page + FOOTER_DATABASE);
	footer->database_id[1] = bytes_load64(page + FOOTER_DATABASE + 8);
	footer->shard = bytes_load32(page + FOOTER_SHARD);
	footer->level = bytes_load32(page + FOOTER_LEVEL);
	footer->number = bytes_load64(page + FOOTER_NUMBER);
	footer->bytes = bytes_load64(page + FOOTER_BYTES);
	footer->entries = bytes_load64(page + FOOTER_ENTRIES);
	footer->deletes = bytes_load64(page + FOOTER_DELETES);
	footer->sequence_min = bytes_load64(page + FOOTER_SEQUENCE_MIN);
	footer->sequence_max = bytes_load64(page + FOOTER_SEQUENCE_MAX);
	footer->raw_bytes = bytes_load64(page + FOOTER_RAW_BYTES);
	footer->data_bytes = bytes_load64(page + FOOTER_DATA_BYTES);
	footer->partitions_offset = bytes_load64(page + FOOTER_PARTITIONS_OFFSET);
	footer->top_offset = bytes_load64(page + FOOTER_TOP_OFFSET);
	footer->top_bytes = bytes_load64(page + FOOTER_TOP_BYTES);
	footer->blocks = bytes_load32(page + FOOTER_BLOCKS);
	footer->partitions = bytes_load32(page + FOOTER_PARTITIONS);
	footer->block_bytes = bytes_load32(page + FOOTER_BLOCK_BYTES);
	footer->codec = page[FOOTER_CODEC];
	footer->filter = page[FOOTER_FILTER];
	return footer_is_sound(footer) ? status_ok() : status_make(STATUS_CORRUPT);
}

/* --- separators --- */

size_t separator_shorten(struct slice last, struct slice next, int *extra)
{
	*extra = -1;
	size_t common = slice_common_prefix(last, next);
	/* A prefix of the next key (or the same key, whose versions go on): no shorter key lies between. */
	if (common == last.size)
		return last.size;
	ASSERT(common < next.size && last.data[common] < next.data[common]);
	if (next.size > common + 1 || last.data[common] + 1 < next.data[common]) {
		if (common + 1 >= last.size)
			return last.size;
		*extra = next.size > common + 1 ? next.data[common] : last.data[common] + 1;
		return common;
	}
	/* The next key is one step above the common prefix and ends there: go up at a later byte. */
	for (size_t i = common + 1; i + 1 < last.size; i++) {
		if (last.data[i] == 0xff)
			continue;
		*extra = last.data[i] + 1;
		return i;
	}
	return last.size;
}

static inline uint32_t position_at(const struct separators *separators, uint32_t index)
{
	return separators->wide ? bytes_load32(separators->positions + (size_t)index * 4)
				: bytes_load16(separators->positions + (size_t)index * 2);
}

struct slice separators_suffix(const struct separators *separators, uint32_t index)
{
	uint32_t from = position_at(separators, index);
	return slice_make(separators->suffixes + from, position_at(separators, index + 1) - from);
}

/* The key against the common prefix; 0: it begins with it. */
static inline int compare_prefix(const struct separators *separators, struct slice key)
{
	size_t size = key.size < separators->prefix_size ? key.size : separators->prefix_size;
	int order = size == 0 ? 0 : memcmp(key.data, separators->prefix, size);
	return order != 0 || size == separators->prefix_size ? order : -1;
}

int separators_compare(const struct separators *separators, uint32_t index, struct slice key)
{
	int order = compare_prefix(separators, key);
	if (order == 0)
		order = slice_compare(slice_skip(key, separators->prefix_size),
				      separators_suffix(separators, index));
	return order < 0 ? 1 : order > 0 ? -1 : 0;
}

/* The first head >= `head`, without a branch that depends on the data. */
static inline uint32_t heads_search(const uint8_t *heads, uint32_t count, uint64_t head)
{
	const uint8_t *base = heads;
	while (count > 1) {
		uint32_t half = count / 2;
		base += bytes_load64(base + (size_t)(half - 1) * 8) < head ? (size_t)half * 8 : 0;
		count -= half;
	}
	return (uint32_t)((size_t)(base - heads) / 8) + (count == 1 && bytes_load64(base) < head);
}

/* slice_head without the call for a few bytes where eight are there. */
static inline uint64_t head_of(struct slice key, size_t skip)
{
	if (key.size - skip < 8)
		return slice_head(key, skip);
	return __builtin_bswap64(bytes_load64(key.data + skip));
}

uint32_t separators_search(const struct separators *separators, struct slice key)
{
	int order = compare_prefix(separators, key);
	if (order != 0)
		return order < 0 ? 0 : separators->count;
	uint64_t head = head_of(key, separators->prefix_size);
	uint32_t low = heads_search(separators->heads, separators->count, head);
	if (low == separators->count || bytes_load64(separators->heads + (size_t)low * 8) != head)
		return low;
	/* Equal heads decide nothing: search among them by the whole. */
	uint32_t high = separators->count;
	if (head != UINT64_MAX)
		high = low +
		       heads_search(separators->heads + (size_t)low * 8, separators->count - low, head + 1);
	struct slice rest = slice_skip(key, separators->prefix_size);
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (slice_compare(separators_suffix(separators, middle), rest) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
