#include "manifest/manifest_format.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/poison.h"

/* "CASCMAN1" and "CEDT" as they stand in the file. */
static const uint64_t header_magic = 0x314e414d43534143ull;
static const uint32_t record_magic = 0x54444543u;
static const uint64_t header_seed = 0x6d616e2d68656164ull;
static const uint64_t place_seed = 0x6d616e2d65646974ull;

enum {
	HEADER_CHECKSUM = 0,
	HEADER_MAGIC = 8,
	HEADER_VERSION = 16,
	HEADER_SHARD = 20,
	HEADER_DATABASE = 24,
	HEADER_GENERATION = 40,
	HEADER_FIRST_EDIT = 48,

	RECORD_CHECKSUM = 0,
	RECORD_MAGIC = 8,
	RECORD_LENGTH = 12,
	RECORD_NUMBER = 16,
	RECORD_OFFSET = 24,
	RECORD_COPY = 32,
	RECORD_RESERVED = 36,
	RECORD_FIELDS = 40,

	/* Tags of fields. */
	FIELD_ADD = 1,
	FIELD_REMOVE = 2,
	FIELD_FLUSHED_LOG_NUMBER = 3,
	FIELD_LAST_SEQUENCE = 4,
	FIELD_NEXT_NUMBER = 5,

	/* The tag, eight numbers, the checksum, two key lengths. */
	ADD_BYTES_MAX = 1 + 8 * VARINT_BYTES_MAX + 8 + 2 * VARINT_BYTES_MAX,
	NUMBER_BYTES_MAX = 1 + VARINT_BYTES_MAX,
};

_Static_assert((int)RECORD_FIELDS == (int)MANIFEST_RECORD_HEADER_BYTES, "the record header as documented");

/* --- the header --- */

void manifest_header_encode(const struct manifest_header *header, uint8_t page[MANIFEST_PAGE_BYTES])
{
	memset(page, 0, MANIFEST_PAGE_BYTES);
	bytes_store64(page + HEADER_MAGIC, header_magic);
	bytes_store32(page + HEADER_VERSION, MANIFEST_FORMAT_VERSION);
	bytes_store32(page + HEADER_SHARD, header->shard);
	bytes_store64(page + HEADER_DATABASE, header->database_id[0]);
	bytes_store64(page + HEADER_DATABASE + 8, header->database_id[1]);
	bytes_store64(page + HEADER_GENERATION, header->generation);
	bytes_store64(page + HEADER_FIRST_EDIT, header->first_edit);
	bytes_store64(page + HEADER_CHECKSUM,
		      checksum64(page + HEADER_MAGIC, MANIFEST_PAGE_BYTES - HEADER_MAGIC, header_seed));
}

enum manifest_verdict manifest_header_decode(const uint8_t page[MANIFEST_PAGE_BYTES],
					     struct manifest_header *header)
{
	*header = (struct manifest_header) { 0 };
	if (bytes_load64(page + HEADER_MAGIC) != header_magic)
		return MANIFEST_HEADER_DAMAGED;
	if (bytes_load32(page + HEADER_VERSION) != MANIFEST_FORMAT_VERSION)
		return MANIFEST_HEADER_UNKNOWN_VERSION;
	uint64_t checksum = checksum64(page + HEADER_MAGIC, MANIFEST_PAGE_BYTES - HEADER_MAGIC, header_seed);
	if (bytes_load64(page + HEADER_CHECKSUM) != checksum)
		return MANIFEST_HEADER_DAMAGED;
	header->shard = bytes_load32(page + HEADER_SHARD);
	header->database_id[0] = bytes_load64(page + HEADER_DATABASE);
	header->database_id[1] = bytes_load64(page + HEADER_DATABASE + 8);
	header->generation = bytes_load64(page + HEADER_GENERATION);
	header->first_edit = bytes_load64(page + HEADER_FIRST_EDIT);
	return MANIFEST_HEADER_VALID;
}

uint64_t manifest_record_seed(const struct manifest_header *header)
{
	uint8_t place[32];
	bytes_store64(place, header->database_id[0]);
	bytes_store64(place + 8, header->database_id[1]);
	bytes_store64(place + 16, header->shard);
	bytes_store64(place + 24, header->generation);
	return checksum64(place, sizeof(place), place_seed);
}

/* --- encoding --- */

uint64_t manifest_edit_size_max(const struct manifest_edit *edit)
{
	uint64_t size = MANIFEST_RECORD_HEADER_BYTES + 3 * NUMBER_BYTES_MAX;
	for (size_t i = 0; i < edit->add_count; i++)
		size += ADD_BYTES_MAX + edit->add[i].smallest.size + edit->add[i].largest.size;
	return size + edit->remove_count * NUMBER_BYTES_MAX;
}

static uint8_t *encode_key(uint8_t *at, struct slice key)
{
	at = varint_store(at, key.size);
	if (key.size > 0)
		memcpy(at, key.data, key.size);
	return at + key.size;
}

static uint8_t *encode_table(uint8_t *at, const struct manifest_table *table)
{
	*at++ = FIELD_ADD;
	at = varint_store(at, table->level);
	at = varint_store(at, table->number);
	at = varint_store(at, table->bytes);
	at = varint_store(at, table->entries);
	at = varint_store(at, table->deletes);
	at = varint_store(at, table->sequence_min);
	at = varint_store(at, table->sequence_max);
	at = varint_store(at, table->raw_bytes);
	bytes_store64(at, table->checksum);
	at = encode_key(at + 8, table->smallest);
	return encode_key(at, table->largest);
}

static uint8_t *encode_number(uint8_t *at, uint8_t tag, uint64_t number)
{
	*at++ = tag;
	return varint_store(at, number);
}

static uint8_t *encode_fields(uint8_t *at, const struct manifest_edit *edit)
{
	for (size_t i = 0; i < edit->remove_count; i++)
		at = encode_number(at, FIELD_REMOVE, edit->remove[i]);
	for (size_t i = 0; i < edit->add_count; i++)
		at = encode_table(at, &edit->add[i]);
	if (edit->flushed_log_number != 0)
		at = encode_number(at, FIELD_FLUSHED_LOG_NUMBER, edit->flushed_log_number);
	if (edit->last_sequence != 0)
		at = encode_number(at, FIELD_LAST_SEQUENCE, edit->last_sequence);
	if (edit->next_number != 0)
		at = encode_number(at, FIELD_NEXT_NUMBER, edit->next_number);
	return at;
}

static void seal_copy(uint8_t *record, uint32_t length, uint64_t number, uint64_t offset, uint32_t copy,
		      uint64_t seed)
{
	bytes_store32(record + RECORD_MAGIC, record_magic);
	bytes_store32(record + RECORD_LENGTH, length);
	bytes_store64(record + RECORD_NUMBER, number);
	bytes_store64(record + RECORD_OFFSET, offset);
	bytes_store32(record + RECORD_COPY, copy);
	bytes_store32(record + RECORD_RESERVED, 0);
	bytes_store64(record + RECORD_CHECKSUM,
		      checksum64(record + RECORD_MAGIC, length - RECORD_MAGIC, seed));
}

uint64_t manifest_record_encode(const struct manifest_edit *edit, uint64_t number, uint64_t offset,
				uint64_t seed, uint8_t *to)
{
	uint8_t *end = encode_fields(to + RECORD_FIELDS, edit);
	uint64_t length = (uint64_t)(end - to);
	ASSERT(length <= manifest_edit_size_max(edit));
	ASSERT(length <= UINT32_MAX);
	uint64_t pages = manifest_pages(length);
	memset(end, 0, pages - length);
	memcpy(to + pages, to, pages);
	seal_copy(to, (uint32_t)length, number, offset, 0, seed);
	seal_copy(to + pages, (uint32_t)length, number, offset + pages, 1, seed);
	return MANIFEST_COPIES * pages;
}

/* --- decoding --- */

bool manifest_record_decode(const uint8_t *file, uint64_t size, uint64_t offset, uint64_t seed,
			    struct manifest_record *record)
{
	if (offset > size || size - offset < MANIFEST_PAGE_BYTES)
		return false;
	const uint8_t *at = file + offset;
	uint32_t length = bytes_load32(at + RECORD_LENGTH);
	if (bytes_load32(at + RECORD_MAGIC) != record_magic || bytes_load64(at + RECORD_OFFSET) != offset ||
	    length < RECORD_FIELDS || length > size - offset)
		return false;
	if (bytes_load64(at + RECORD_CHECKSUM) != checksum64(at + RECORD_MAGIC, length - RECORD_MAGIC, seed))
		return false;
	record->number = bytes_load64(at + RECORD_NUMBER);
	record->copy = bytes_load32(at + RECORD_COPY);
	record->pages = manifest_pages(length);
	record->fields = slice_make(at + RECORD_FIELDS, length - RECORD_FIELDS);
	return record->copy < MANIFEST_COPIES;
}

/* Where a decoder stands; `at` is NULL once something did not fit. */
struct reader {
	const uint8_t *at;
	const uint8_t *end;
};

static uint64_t read_number(struct reader *reader)
{
	uint64_t number = 0;
	if (reader->at != NULL)
		reader->at = varint_load(reader->at, reader->end, &number);
	return number;
}

static uint64_t read_word(struct reader *reader)
{
	if (reader->at == NULL || reader->end - reader->at < 8) {
		reader->at = NULL;
		return 0;
	}
	uint64_t word = bytes_load64(reader->at);
	reader->at += 8;
	return word;
}

static struct slice read_key(struct reader *reader)
{
	uint64_t size = read_number(reader);
	if (reader->at == NULL || size > (uint64_t)(reader->end - reader->at)) {
		reader->at = NULL;
		return slice_make(NULL, 0);
	}
	struct slice key = slice_make(reader->at, (size_t)size);
	reader->at += size;
	return key;
}

static struct manifest_table read_table(struct reader *reader)
{
	struct manifest_table table;
	uint64_t level = read_number(reader);
	table.level = level < MANIFEST_LEVELS_MAX ? (uint32_t)level : MANIFEST_LEVELS_MAX;
	table.number = read_number(reader);
	table.bytes = read_number(reader);
	table.entries = read_number(reader);
	table.deletes = read_number(reader);
	table.sequence_min = read_number(reader);
	table.sequence_max = read_number(reader);
	table.raw_bytes = read_number(reader);
	table.checksum = read_word(reader);
	table.smallest = read_key(reader);
	table.largest = read_key(reader);
	return table;
}

/* One pass over the fields: counts them, and fills the arrays if there are any. */
static bool read_fields(struct slice fields, struct manifest_edit *edit, struct manifest_table *add,
			uint64_t *remove)
{
	struct reader reader = { .at = fields.data, .end = fields.data + fields.size };
	edit->add_count = 0;
	edit->remove_count = 0;
	while (reader.at != NULL && reader.at < reader.end) {
		struct manifest_table table;
		uint64_t number;
		switch (*reader.at++) {
		case FIELD_ADD:
			table = read_table(&reader);
			if (add != NULL)
				add[edit->add_count] = table;
			edit->add_count++;
			break;
		case FIELD_REMOVE:
			number = read_number(&reader);
			if (remove != NULL)
				remove[edit->remove_count] = number;
			edit->remove_count++;
			break;
		case FIELD_FLUSHED_LOG_NUMBER:
			edit->flushed_log_number = read_number(&reader);
			break;
		case FIELD_LAST_SEQUENCE:
			edit->last_sequence = read_number(&reader);
			break;
		case FIELD_NEXT_NUMBER:
			edit->next_number = read_number(&reader);
			break;
		default:
			return false;
		}
	}
	return reader.at != NULL;
}

struct status manifest_edit_decode(struct slice fields, struct manifest_edit *edit)
{
	*edit = (struct manifest_edit) { 0 };
	if (!read_fields(fields, edit, NULL, NULL))
		return status_make(STATUS_CORRUPT);
	/* The counts are bounded by the bytes that were there. */
	struct manifest_table *add = memory_allocate_zeroed(edit->add_count + 1, sizeof(*add));
	uint64_t *remove = memory_allocate_zeroed(edit->remove_count + 1, sizeof(*remove));
	if (add == NULL || remove == NULL) {
		memory_free(add);
		memory_free(remove);
		return status_make(STATUS_NO_MEMORY);
	}
	bool again = read_fields(fields, edit, add, remove);
	ASSERT(again);
	edit->add = add;
	edit->remove = remove;
	return status_ok();
}

void manifest_edit_free(struct manifest_edit *edit)
{
	memory_free((void *)(uintptr_t)edit->add);
	memory_free((void *)(uintptr_t)edit->remove);
	*edit = (struct manifest_edit) { 0 };
}
