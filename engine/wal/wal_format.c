#include "wal/wal_format.h"

#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/planted.h"
#include "base/poison.h"

/* "CASCWAL1" and "CGRP" as they stand in the file. */
static const uint64_t header_magic = 0x314c415743534143ull;
static const uint32_t group_magic = 0x50524743u;
static const uint64_t header_seed = 0x77616c2d68656164ull;
static const uint64_t place_seed = 0x77616c2d67726f75ull;

enum {
	HEADER_CHECKSUM = 0,
	HEADER_MAGIC = 8,
	HEADER_VERSION = 16,
	HEADER_SHARD = 20,
	HEADER_DATABASE = 24,
	HEADER_SEGMENT_BYTES = 40,
	HEADER_LAP = 48,
	HEADER_INCARNATION_LAP = 56,
	HEADER_CUT = 64,
	HEADER_NUMBER = 72,
	HEADER_GROUP_BYTES_MAX = 76,
	HEADER_RING_SEGMENTS = 80,
	HEADER_GROUP_ALIGNMENT = 84,
	HEADER_END = 88,

	GROUP_CHECKSUM = 0,
	GROUP_MAGIC = 8,
	GROUP_LENGTH = 12,
	GROUP_LAP = 16,
	GROUP_OFFSET = 24,
	GROUP_FIRST = 32,
	GROUP_DURABLE = 40,
	GROUP_COUNT = 48,
	GROUP_RING_SEGMENTS = 52,
	GROUP_END = 56,
};

_Static_assert((int)GROUP_END == (int)WAL_GROUP_HEADER_BYTES, "the group header as documented");
_Static_assert((int)HEADER_END <= 512, "the header page's fields lie in one sector and cannot tear");

void wal_header_encode(const struct wal_segment_header *header, uint8_t page[WAL_HEADER_BYTES])
{
	memset(page, 0, WAL_HEADER_BYTES);
	bytes_store64(page + HEADER_MAGIC, header_magic);
	bytes_store32(page + HEADER_VERSION, WAL_FORMAT_VERSION);
	bytes_store32(page + HEADER_SHARD, header->shard);
	bytes_store64(page + HEADER_DATABASE, header->database_id[0]);
	bytes_store64(page + HEADER_DATABASE + 8, header->database_id[1]);
	bytes_store64(page + HEADER_SEGMENT_BYTES, header->segment_bytes);
	bytes_store64(page + HEADER_LAP, header->lap);
	bytes_store64(page + HEADER_INCARNATION_LAP, header->incarnation_lap);
	bytes_store64(page + HEADER_CUT, header->cut);
	bytes_store32(page + HEADER_NUMBER, header->number);
	bytes_store32(page + HEADER_GROUP_BYTES_MAX, header->group_bytes_max);
	bytes_store32(page + HEADER_RING_SEGMENTS, header->ring_segments);
	bytes_store32(page + HEADER_GROUP_ALIGNMENT, header->group_alignment);
	bytes_store64(page + HEADER_CHECKSUM,
		      checksum64(page + HEADER_MAGIC, WAL_HEADER_BYTES - HEADER_MAGIC, header_seed));
}

enum wal_header_verdict wal_header_decode(const uint8_t page[WAL_HEADER_BYTES],
					  struct wal_segment_header *header)
{
	*header = (struct wal_segment_header) { 0 };
	if (bytes_load64(page + HEADER_MAGIC) != header_magic)
		return WAL_HEADER_DAMAGED;
	if (bytes_load32(page + HEADER_VERSION) != WAL_FORMAT_VERSION)
		return WAL_HEADER_UNKNOWN_VERSION;
	uint64_t checksum = checksum64(page + HEADER_MAGIC, WAL_HEADER_BYTES - HEADER_MAGIC, header_seed);
	if (bytes_load64(page + HEADER_CHECKSUM) != checksum)
		return WAL_HEADER_DAMAGED;
	header->shard = bytes_load32(page + HEADER_SHARD);
	header->database_id[0] = bytes_load64(page + HEADER_DATABASE);
	header->database_id[1] = bytes_load64(page + HEADER_DATABASE + 8);
	header->segment_bytes = bytes_load64(page + HEADER_SEGMENT_BYTES);
	header->lap = bytes_load64(page + HEADER_LAP);
	header->incarnation_lap = bytes_load64(page + HEADER_INCARNATION_LAP);
	header->cut = bytes_load64(page + HEADER_CUT);
	header->number = bytes_load32(page + HEADER_NUMBER);
	header->group_bytes_max = bytes_load32(page + HEADER_GROUP_BYTES_MAX);
	header->ring_segments = bytes_load32(page + HEADER_RING_SEGMENTS);
	header->group_alignment = bytes_load32(page + HEADER_GROUP_ALIGNMENT);
	bool sane = header->lap > 0 && header->lap < WAL_NUMBER_MAX && header->incarnation_lap > 0 &&
		    header->incarnation_lap <= header->lap && header->cut > 0 &&
		    header->cut < WAL_NUMBER_MAX && header->segment_bytes >= WAL_SEGMENT_BYTES_MIN &&
		    header->segment_bytes % WAL_HEADER_BYTES == 0 &&
		    header->group_bytes_max <= WAL_GROUP_BYTES_MAX &&
		    header->group_bytes_max <= header->segment_bytes - WAL_HEADER_BYTES &&
		    (header->group_alignment == WAL_GROUP_ALIGNMENT ||
		     header->group_alignment == WAL_HEADER_BYTES);
	return sane ? WAL_HEADER_VALID : WAL_HEADER_DAMAGED;
}

uint64_t wal_group_seed(const uint64_t database_id[2], uint32_t shard, uint32_t number, uint64_t lap)
{
	uint8_t place[32];
	bytes_store64(place, database_id[0]);
	bytes_store64(place + 8, database_id[1]);
	bytes_store32(place + 16, shard);
	bytes_store32(place + 20, number);
	bytes_store64(place + 24, PLANTED(M6) ? 0 : lap);
	return checksum64(place, sizeof(place), place_seed);
}

void wal_group_encode(const struct wal_group_header *header, uint64_t seed, uint8_t *group)
{
	ASSERT(header->length >= WAL_GROUP_HEADER_BYTES);
	bytes_store32(group + GROUP_MAGIC, group_magic);
	bytes_store32(group + GROUP_LENGTH, header->length);
	bytes_store64(group + GROUP_LAP, header->lap);
	bytes_store64(group + GROUP_OFFSET, header->offset);
	bytes_store64(group + GROUP_FIRST, header->first_log_number);
	bytes_store64(group + GROUP_DURABLE, header->durable_log_number);
	bytes_store32(group + GROUP_COUNT, header->count);
	bytes_store32(group + GROUP_RING_SEGMENTS, header->ring_segments);
	bytes_store64(group + GROUP_CHECKSUM,
		      checksum64(group + GROUP_MAGIC, header->length - GROUP_MAGIC, seed));
}

bool wal_group_peek(const uint8_t *group, uint64_t offset, uint64_t length_max,
		    struct wal_group_header *header)
{
	if (bytes_load32(group + GROUP_MAGIC) != group_magic || bytes_load64(group + GROUP_OFFSET) != offset)
		return false;
	header->length = bytes_load32(group + GROUP_LENGTH);
	header->count = bytes_load32(group + GROUP_COUNT);
	header->lap = bytes_load64(group + GROUP_LAP);
	header->offset = offset;
	header->first_log_number = bytes_load64(group + GROUP_FIRST);
	header->durable_log_number = bytes_load64(group + GROUP_DURABLE);
	header->ring_segments = bytes_load32(group + GROUP_RING_SEGMENTS);
	return header->length >= WAL_GROUP_HEADER_BYTES && header->length <= length_max &&
	       header->lap < WAL_NUMBER_MAX && header->first_log_number > 0 &&
	       header->first_log_number < WAL_NUMBER_MAX;
}

bool wal_group_verify(const uint8_t *group, const struct wal_group_header *header, uint64_t seed)
{
	return bytes_load64(group + GROUP_CHECKSUM) ==
	       checksum64(group + GROUP_MAGIC, header->length - GROUP_MAGIC, seed);
}

uint8_t *wal_commit_encode(uint8_t *to, uint64_t sequence, uint64_t payload_bytes)
{
	bytes_store64(to, sequence);
	return varint_store(to + 8, payload_bytes);
}

const uint8_t *wal_commit_decode(const uint8_t *from, const uint8_t *end, uint64_t *sequence,
				 struct slice *payload)
{
	if (end - from < 8)
		return NULL;
	*sequence = bytes_load64(from);
	uint64_t size;
	from = varint_load(from + 8, end, &size);
	if (from == NULL || size > (uint64_t)(end - from))
		return NULL;
	*payload = slice_make(from, (size_t)size);
	return from + size;
}
