/*
 * The bytes of a log segment. Input: 1 byte: bit 0: put checksums right, bit 1: a header page follows, else a
 * group; then 2 bytes offset of the group in units of 8, and the bytes.
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "fuzz/fuzz.h"
#include "wal/wal_format.h"

static const uint64_t header_seed = 0x77616c2d68656164ull;
static const uint64_t database_id[2] = { 11, 22 };

static void check_header(const uint8_t *bytes, size_t size, bool seal)
{
	uint8_t page[WAL_HEADER_BYTES] = { 0 };
	uint8_t again[WAL_HEADER_BYTES];
	struct wal_segment_header header, decoded;
	memcpy(page, bytes, size < sizeof(page) ? size : sizeof(page));
	if (seal)
		bytes_store64(page, checksum64(page + 8, sizeof(page) - 8, header_seed));
	if (wal_header_decode(page, &header) != WAL_HEADER_VALID)
		return;
	FUZZ_CHECK(header.lap > 0 && header.lap < WAL_NUMBER_MAX && header.cut > 0);
	FUZZ_CHECK(header.cut < WAL_NUMBER_MAX && header.incarnation_lap <= header.lap);
	FUZZ_CHECK(header.group_bytes_max <= WAL_GROUP_BYTES_MAX);
	wal_header_encode(&header, again);
	FUZZ_CHECK(wal_header_decode(again, &decoded) == WAL_HEADER_VALID);
	FUZZ_CHECK(memcmp(&header, &decoded, sizeof(header)) == 0);
	/* All but what is reserved is as it was. */
	FUZZ_CHECK(memcmp(page + 8, again + 8, 80) == 0);
}

/* Commits into a group of their own: decoded, they are the same. Returns its length. */
static size_t encode_commits(const uint8_t *at, const uint8_t *end, uint32_t count, uint8_t *group)
{
	uint8_t *to = group + WAL_GROUP_HEADER_BYTES;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t sequence;
		struct slice payload;
		at = wal_commit_decode(at, end, &sequence, &payload);
		to = wal_commit_encode(to, sequence, payload.size);
		if (payload.size > 0)
			memcpy(to, payload.data, payload.size);
		to += payload.size;
	}
	return (size_t)(to - group);
}

static void check_group(uint8_t *bytes, size_t size, uint64_t offset, bool seal)
{
	struct wal_group_header header, again;
	if (size < WAL_GROUP_HEADER_BYTES || !wal_group_peek(bytes, offset, size, &header))
		return;
	FUZZ_CHECK(header.length >= WAL_GROUP_HEADER_BYTES && header.length <= size);
	FUZZ_CHECK(header.lap < WAL_NUMBER_MAX && header.first_log_number < WAL_NUMBER_MAX);
	uint64_t seed = wal_group_seed(database_id, 5, 6, header.lap);
	if (seal)
		bytes_store64(bytes, checksum64(bytes + 8, header.length - 8, seed));
	if (!wal_group_verify(bytes, &header, seed))
		return;
	const uint8_t *at = bytes + WAL_GROUP_HEADER_BYTES;
	const uint8_t *end = bytes + header.length;
	for (uint32_t i = 0; i < header.count && at != NULL; i++) {
		uint64_t sequence;
		struct slice payload;
		const uint8_t *next = wal_commit_decode(at, end, &sequence, &payload);
		FUZZ_CHECK(next == NULL || (next > at && next <= end && payload.data + payload.size == next));
		at = next;
	}
	if (at != end)
		return;
	uint8_t *copy = malloc(header.length);
	FUZZ_CHECK(copy != NULL);
	size_t length = encode_commits(bytes + WAL_GROUP_HEADER_BYTES, end, header.count, copy);
	FUZZ_CHECK(length <= header.length);
	header.length = (uint32_t)length;
	wal_group_encode(&header, seed, copy);
	FUZZ_CHECK(wal_group_peek(copy, offset, length, &again) && wal_group_verify(copy, &again, seed));
	FUZZ_CHECK(again.count == header.count && again.first_log_number == header.first_log_number);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	uint64_t mode = fuzz_number(&input, 1);
	uint64_t offset = fuzz_number(&input, 2) * 8;
	size_t left;
	const uint8_t *bytes = fuzz_bytes(&input, input.left, &left);
	uint8_t *copy = fuzz_exact(bytes, left);
	if ((mode & 2) != 0)
		check_header(copy, left, (mode & 1) != 0);
	else
		check_group(copy, left, offset, (mode & 1) != 0);
	free(copy);
	return 0;
}

static size_t make_header(uint64_t lap, uint64_t cut, uint8_t *to)
{
	struct wal_segment_header header = {
		.database_id = { 11, 22 },
		.shard = 5,
		.number = 6,
		.segment_bytes = 65536,
		.lap = lap,
		.incarnation_lap = 3,
		.cut = cut,
		.group_bytes_max = 8192,
		.ring_segments = 4,
		.group_alignment = 8,
	};
	wal_header_encode(&header, to);
	return WAL_HEADER_BYTES;
}

static size_t make_group(uint64_t offset, uint32_t commits, uint64_t lap, uint64_t first, uint8_t *to)
{
	uint8_t *commit = to + WAL_GROUP_HEADER_BYTES;
	for (unsigned i = 0; i < commits; i++) {
		commit = wal_commit_encode(commit, 100 + i, i * 90);
		memset(commit, 'a' + (int)i, (size_t)i * 90);
		commit += i * 90;
	}
	struct wal_group_header group = {
		.length = (uint32_t)(commit - to),
		.count = commits,
		.lap = lap,
		.offset = offset,
		.first_log_number = first,
		.durable_log_number = 49,
		.ring_segments = 4,
	};
	wal_group_encode(&group, wal_group_seed(database_id, 5, 6, lap), to);
	return group.length;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	/* Behind the usual ones numbers after which none can follow: they were once taken for right. */
	static const struct {
		uint64_t lap, number;
		uint32_t commits;
		bool is_header;
	} seeds[] = {
		{ 9, 40, 0, true },	    { 9, 50, 0, false },	  { 9, 50, 1, false },
		{ 9, 50, 3, false },	    { 9, 50, 20, false },	  { UINT64_MAX, 40, 0, true },
		{ 9, UINT64_MAX, 0, true }, { UINT64_MAX, 50, 1, false }, { 9, UINT64_MAX, 2, false },
	};
	if (index / 2 >= sizeof(seeds) / sizeof(seeds[0]))
		return FUZZ_NO_SEED;
	unsigned i = index / 2;
	uint64_t offset = 4096 + (uint64_t)index * 8;
	size_t at = fuzz_put(to, 0, index % 2 + (seeds[i].is_header ? 2 : 0), 1);
	at = fuzz_put(to, at, offset / 8, 2);
	if (seeds[i].is_header)
		return at + make_header(seeds[i].lap, seeds[i].number, to + at);
	return at + make_group(offset, seeds[i].commits, seeds[i].lap, seeds[i].number, to + at);
}
