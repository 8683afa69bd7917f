/*
 * wal_format.h: the bytes of a log segment, see docs/file-formats.md (write-ahead log) for the tables.
 *
 * A segment is a header page and then groups, each at a multiple of eight bytes. A group is the unit of
 * writing and of checking: its checksum is seeded with database, shard, segment and lap, and its header
 * repeats lap and offset, so that a group of an earlier lap, of another place or of another database is
 * never taken for one of this lap.
 *
 * Pure functions over memory; nothing here suspends.
 */
#ifndef CASCADE_WAL_WAL_FORMAT_H
#define CASCADE_WAL_WAL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/slice.h"

enum {
	WAL_FORMAT_VERSION = 1,
	WAL_HEADER_BYTES = 4096,     /* of the header page; groups start behind it */
	WAL_GROUP_HEADER_BYTES = 56, /* commits start behind it */
	WAL_GROUP_ALIGNMENT = 8,
	WAL_COMMIT_HEADER_BYTES_MAX = 8 + VARINT_BYTES_MAX,
	WAL_SEGMENT_BYTES_MIN = 16 << 10,
	WAL_GROUP_BYTES_MIN = 4096,
	WAL_GROUP_BYTES_MAX = 16 << 20,
};

/* Laps and log numbers stay below; a larger one in a file is damage, and their sums never wrap. */
#define WAL_NUMBER_MAX (UINT64_MAX >> 1)

struct wal_segment_header {
	uint64_t database_id[2];
	uint32_t shard;
	uint32_t number; /* of the segment: names the file */
	uint64_t segment_bytes;
	uint64_t lap;
	/* Where the run of the engine that wrote this header began: groups of a lap before
	 * `incarnation_lap` whose first log number is `cut` or higher were trimmed by its replay. */
	uint64_t incarnation_lap;
	uint64_t cut;
	uint32_t group_bytes_max; /* no group of this lap is longer */
	uint32_t ring_segments;	  /* how many segments the ring had at least */
	uint32_t group_alignment; /* a group begins at the next multiple of this behind the one before */
};

enum wal_header_verdict {
	WAL_HEADER_VALID,
	WAL_HEADER_DAMAGED,
	WAL_HEADER_UNKNOWN_VERSION,
};

/* Fills a whole page. */
void wal_header_encode(const struct wal_segment_header *header, uint8_t page[WAL_HEADER_BYTES]);
enum wal_header_verdict wal_header_decode(const uint8_t page[WAL_HEADER_BYTES],
					  struct wal_segment_header *header);

/* What seeds the checksums of all groups of one lap of one segment. */
uint64_t wal_group_seed(const uint64_t database_id[2], uint32_t shard, uint32_t number, uint64_t lap);

struct wal_group_header {
	uint32_t length; /* of the group: header and commits, without padding */
	uint32_t count;	 /* of commits; 0 in the marker of a clean close */
	uint64_t lap;
	uint64_t offset; /* of the group in its segment */
	uint64_t first_log_number;
	uint64_t durable_log_number; /* the highest known to be synced when the group was sealed */
	uint32_t ring_segments;	     /* how many segments the ring had then */
};

static inline uint64_t wal_group_last_log_number(const struct wal_group_header *header)
{
	return header->first_log_number + header->count - 1;
}

/* Writes the header in front of the commits that already stand at group + WAL_GROUP_HEADER_BYTES. */
void wal_group_encode(const struct wal_group_header *header, uint64_t seed, uint8_t *group);

/*
 * Whether WAL_GROUP_HEADER_BYTES at `group` look like a group that was written at `offset`, no longer than
 * `length_max`; fills *header. Proves nothing yet: the checksum does.
 */
bool wal_group_peek(const uint8_t *group, uint64_t offset, uint64_t length_max,
		    struct wal_group_header *header);

/* Whether the checksum over all `header->length` bytes is right. */
bool wal_group_verify(const uint8_t *group, const struct wal_group_header *header, uint64_t seed);

/* Writes what stands in front of a payload; returns the payload's place. Room: WAL_COMMIT_HEADER_BYTES_MAX.
 */
uint8_t *wal_commit_encode(uint8_t *to, uint64_t sequence, uint64_t payload_bytes);

/* Reads one commit; returns the place of the next, NULL if it does not fit before `end`. */
const uint8_t *wal_commit_decode(const uint8_t *from, const uint8_t *end, uint64_t *sequence,
				 struct slice *payload);

#endif
