#include "trace/trace_format.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/entry.h"
#include "base/hash.h"

#include "base/poison.h"

/* "CASCTRAC", read as a little-endian number. */
static const uint64_t magic = 0x4341525443534143ull;

/* --- the header --- */

void trace_header_encode(const struct trace_header *header, uint8_t *bytes)
{
	memset(bytes, 0, TRACE_HEADER_BYTES);
	bytes_store64(bytes, magic);
	bytes_store32(bytes + 16, TRACE_VERSION);
	bytes_store32(bytes + 20, TRACE_BLOCK_BYTES);
	bytes_store32(bytes + 24, header->state);
	bytes_store32(bytes + 28, header->shards);
	bytes_store32(bytes + 32, header->kinds);
	bytes_store32(bytes + 36, header->clock_cost);
	bytes_store64(bytes + 40, header->id);
	bytes_store64(bytes + 48, header->wall_ns);
	bytes_store64(bytes + 56, header->begin_ns);
	bytes_store64(bytes + 64, header->begin_ticks);
	bytes_store64(bytes + 72, header->end_ns);
	bytes_store64(bytes + 80, header->end_ticks);
	bytes_store64(bytes + 88, header->blocks);
	bytes_store64(bytes + 96, header->records);
	bytes_store64(bytes + 104, header->dropped);
	bytes_store64(bytes + 8, checksum64(bytes + 16, TRACE_HEADER_BYTES - 16, magic));
}

bool trace_is_trace(const uint8_t *bytes, size_t size)
{
	return size >= 8 && bytes_load64(bytes) == magic;
}

struct status trace_header_decode(const uint8_t *bytes, struct trace_header *header)
{
	if (bytes_load64(bytes) != magic)
		return status_error(STATUS_CORRUPT, "offset 0: this is no trace");
	if (bytes_load32(bytes + 16) != TRACE_VERSION)
		return status_error(STATUS_FORMAT, "version %u of the format of traces, expected %d",
				    bytes_load32(bytes + 16), TRACE_VERSION);
	if (bytes_load64(bytes + 8) != checksum64(bytes + 16, TRACE_HEADER_BYTES - 16, magic))
		return status_error(STATUS_CORRUPT, "offset 0: the checksum of the header is wrong");
	*header = (struct trace_header) {
		.state = (enum trace_state)bytes_load32(bytes + 24),
		.shards = bytes_load32(bytes + 28),
		.kinds = bytes_load32(bytes + 32),
		.clock_cost = bytes_load32(bytes + 36),
		.id = bytes_load64(bytes + 40),
		.wall_ns = bytes_load64(bytes + 48),
		.begin_ns = bytes_load64(bytes + 56),
		.begin_ticks = bytes_load64(bytes + 64),
		.end_ns = bytes_load64(bytes + 72),
		.end_ticks = bytes_load64(bytes + 80),
		.blocks = bytes_load64(bytes + 88),
		.records = bytes_load64(bytes + 96),
		.dropped = bytes_load64(bytes + 104),
	};
	if (bytes_load32(bytes + 20) != TRACE_BLOCK_BYTES || bytes_load32(bytes + 24) > TRACE_INCOMPLETE ||
	    header->shards == 0 || header->shards > TRACE_SHARDS_MAX ||
	    (header->kinds & ~(uint32_t)TRACE_ALL) != 0)
		return status_error(STATUS_CORRUPT, "offset 0: the header is impossible");
	return status_ok();
}

/* --- blocks --- */

void trace_block_seal(uint8_t *bytes, const struct trace_block_header *header, uint64_t id)
{
	ASSERT(header->payload_bytes <= TRACE_BLOCK_BYTES - TRACE_BLOCK_HEADER_BYTES);
	size_t used = TRACE_BLOCK_HEADER_BYTES + (size_t)header->payload_bytes;
	memset(bytes + used, 0, TRACE_BLOCK_BYTES - used);
	bytes_store32(bytes + 8, header->payload_bytes);
	bytes_store32(bytes + 12, header->shard);
	bytes_store64(bytes + 16, header->number);
	bytes_store64(bytes + 24, header->records);
	bytes_store64(bytes + 32, header->dropped);
	bytes_store64(bytes + 40, header->begin_ticks);
	bytes_store64(bytes + 48, header->end_ns);
	bytes_store64(bytes + 56, header->end_ticks);
	bytes_store64(bytes, checksum64(bytes + 8, TRACE_BLOCK_BYTES - 8, id));
}

bool trace_block_peek(const uint8_t *bytes, struct trace_block_header *header)
{
	*header = (struct trace_block_header) {
		.payload_bytes = bytes_load32(bytes + 8),
		.shard = bytes_load32(bytes + 12),
		.number = bytes_load64(bytes + 16),
		.records = bytes_load64(bytes + 24),
		.dropped = bytes_load64(bytes + 32),
		.begin_ticks = bytes_load64(bytes + 40),
		.end_ns = bytes_load64(bytes + 48),
		.end_ticks = bytes_load64(bytes + 56),
	};
	return header->payload_bytes <= TRACE_BLOCK_BYTES - TRACE_BLOCK_HEADER_BYTES &&
	       header->shard < TRACE_SHARDS_MAX && header->records > 0 &&
	       header->records <= header->payload_bytes;
}

bool trace_block_verify(const uint8_t *bytes, uint64_t id)
{
	return bytes_load64(bytes) == checksum64(bytes + 8, TRACE_BLOCK_BYTES - 8, id);
}

/* --- records --- */

/* The members of a record as they may stand in it, each in a form of its own. */
enum field { END, OBJECT, PART, COUNT, SIZE, SEQUENCE, OTHER, ANSWER, DURATION, HASH, BYTES };

enum { FIELDS_MAX = 9 };

/* Behind the type and the ticks since the record before. */
static const uint8_t fields_of[TRACE_TYPE_COUNT][FIELDS_MAX] = {
	[TRACE_VARIANT] = { OBJECT, BYTES },
	[TRACE_MEMTABLE_BEGIN] = { OBJECT, SIZE, COUNT },
	[TRACE_MEMTABLE_END] = { OBJECT, COUNT, SIZE },
	[TRACE_INSERT] = { OBJECT, BYTES, SIZE, SEQUENCE, OTHER, PART, ANSWER, DURATION },
	[TRACE_GET] = { OBJECT, BYTES, SEQUENCE, ANSWER, OTHER, DURATION },
	[TRACE_PROBE] = { OBJECT, BYTES, SEQUENCE, ANSWER, OTHER },
	[TRACE_GET_MANY] = { OBJECT, COUNT, DURATION },
	[TRACE_ITERATOR_BEGIN] = { OBJECT, PART },
	[TRACE_ITERATOR_END] = { OBJECT },
	[TRACE_SEEK] = { OBJECT, PART, BYTES, SEQUENCE, ANSWER, OTHER, DURATION },
	[TRACE_STEPS] = { OBJECT, PART, COUNT, SIZE, ANSWER, DURATION },
	[TRACE_CANARY] = { OBJECT, PART, COUNT, SIZE, OTHER, ANSWER },
	[TRACE_POOL] = { COUNT },
	[TRACE_PAGE] = { OBJECT, PART, COUNT, ANSWER },
	[TRACE_FORGET] = { OBJECT },
	[TRACE_ASK] = { OBJECT, PART, OTHER, HASH, COUNT, SIZE, SEQUENCE, ANSWER, DURATION },
	[TRACE_TRUTH] = { OBJECT, PART, HASH, ANSWER },
	[TRACE_TABLE_END] = { OBJECT },
};

/* Where the numbers of a record are. */
static const size_t place_of[] = {
	[OBJECT] = offsetof(struct trace_record, object),
	[PART] = offsetof(struct trace_record, part),
	[COUNT] = offsetof(struct trace_record, count),
	[SIZE] = offsetof(struct trace_record, size),
	[SEQUENCE] = offsetof(struct trace_record, sequence),
	[OTHER] = offsetof(struct trace_record, other),
	[ANSWER] = offsetof(struct trace_record, answer),
	[DURATION] = offsetof(struct trace_record, duration),
	[HASH] = offsetof(struct trace_record, hash),
};

static uint64_t number_of(const struct trace_record *record, uint8_t field)
{
	uint64_t number;
	memcpy(&number, (const uint8_t *)record + place_of[field], sizeof(number));
	return number;
}

static void set_number(struct trace_record *record, uint8_t field, uint64_t number)
{
	memcpy((uint8_t *)record + place_of[field], &number, sizeof(number));
}

/* Most gets ask for the newest version, and that number is a long one. */
static uint64_t swap_newest(uint8_t field, uint64_t number)
{
	if (field != SEQUENCE)
		return number;
	return number == SEQUENCE_MAX ? 0 : number == 0 ? SEQUENCE_MAX : number;
}

uint8_t *trace_record_encode(uint8_t *to, const struct trace_record *record, uint64_t *last_ticks)
{
	ASSERT(record->type > 0 && record->type < TRACE_TYPE_COUNT);
	ASSERT(record->bytes.size <= TRACE_BYTES_MAX);
	*to++ = (uint8_t)record->type;
	uint64_t passed = record->ticks > *last_ticks ? record->ticks - *last_ticks : 0;
	*last_ticks += passed;
	to = varint_store(to, passed);
	const uint8_t *fields = fields_of[record->type];
	for (unsigned i = 0; i < FIELDS_MAX && fields[i] != END; i++) {
		if (fields[i] == BYTES) {
			to = varint_store(to, record->bytes.size);
			if (record->bytes.size > 0)
				memcpy(to, record->bytes.data, record->bytes.size);
			to += record->bytes.size;
		} else if (fields[i] == HASH) {
			bytes_store64(to, record->hash);
			to += 8;
		} else {
			to = varint_store(to, swap_newest(fields[i], number_of(record, fields[i])));
		}
	}
	return to;
}

static const uint8_t *decode_field(const uint8_t *from, const uint8_t *end, uint8_t field,
				   struct trace_record *record)
{
	uint64_t number;
	if (field == HASH) {
		if ((size_t)(end - from) < 8)
			return NULL;
		record->hash = bytes_load64(from);
		return from + 8;
	}
	from = varint_load(from, end, &number);
	if (from == NULL)
		return NULL;
	if (field != BYTES) {
		set_number(record, field, swap_newest(field, number));
		return from;
	}
	if (number > TRACE_BYTES_MAX || number > (size_t)(end - from))
		return NULL;
	record->bytes = slice_make(from, (size_t)number);
	return from + number;
}

static bool is_kind(uint64_t kind)
{
	return kind == ENTRY_PUT || kind == ENTRY_DELETE;
}

/* What whoever replays a record relies on. */
static bool is_sound(const struct trace_record *record)
{
	switch (record->type) {
	case TRACE_INSERT:
		return is_kind(record->part) && record->size <= VALUE_BYTES_MAX && record->sequence > 0 &&
		       record->sequence <= SEQUENCE_MAX && record->other <= record->sequence &&
		       record->answer <= 1 && (record->part == ENTRY_PUT || record->size == 0);
	case TRACE_GET:
	case TRACE_PROBE:
		return record->sequence <= SEQUENCE_MAX && record->other <= SEQUENCE_MAX &&
		       (record->answer == 0 || is_kind(record->answer));
	case TRACE_SEEK:
		return record->part < TRACE_SEEK_COUNT && record->sequence <= SEQUENCE_MAX &&
		       record->other <= SEQUENCE_MAX && record->answer <= 1;
	case TRACE_STEPS:
		return record->part <= 1 && record->answer <= 1 && record->count > 0;
	case TRACE_PAGE:
		return record->answer < TRACE_ACCESS_COUNT && record->count > 0 &&
		       record->part + record->count > record->part &&
		       record->part + record->count <= UINT32_MAX;
	case TRACE_POOL:
		return record->count > 0 && record->count < UINT32_MAX;
	case TRACE_ASK:
		return record->answer <= 1 && record->other <= record->sequence &&
		       record->sequence <= UINT32_MAX && record->count <= UINT32_MAX &&
		       record->size <= UINT32_MAX;
	case TRACE_TRUTH:
		return record->answer <= 1;
	default:
		return true;
	}
}

const uint8_t *trace_record_decode(const uint8_t *from, const uint8_t *end, struct trace_record *record,
				   uint64_t *last_ticks)
{
	uint64_t passed;
	if (from >= end || *from == 0 || *from >= TRACE_TYPE_COUNT)
		return NULL;
	*record = (struct trace_record) { .type = (enum trace_type) * from };
	from = varint_load(from + 1, end, &passed);
	if (from == NULL || *last_ticks + passed < passed)
		return NULL;
	record->ticks = *last_ticks + passed;
	const uint8_t *fields = fields_of[record->type];
	for (unsigned i = 0; i < FIELDS_MAX && fields[i] != END; i++) {
		from = decode_field(from, end, fields[i], record);
		if (from == NULL)
			return NULL;
	}
	if (!is_sound(record))
		return NULL;
	*last_ticks = record->ticks;
	return from;
}
