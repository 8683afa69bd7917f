/*
 * A trace of an engine. Input: 1 byte: bit 0: the header is damaged, bit 1: a block is; 1 byte state of the
 * trace, 1 byte shards, 3 bytes where the damage is, and then blocks: 1 byte shard, 1 byte number, 2 bytes
 * how many records it says to have, 2 bytes how long its payload is, and the payload. The blocks are sealed,
 * so that what is in them is looked at.
 */
#include "base/bytes.h"
#include "base/entry.h"
#include "fuzz/fuzz.h"
#include "trace/trace_reader.h"

enum { BLOCKS_MAX = 4, ID = 99 };

struct image {
	uint8_t *bytes;
	size_t size;
};

static struct status read_image(void *context, uint64_t offset, void *to, size_t size, size_t *got)
{
	const struct image *image = context;
	*got = 0;
	if (offset >= image->size)
		return status_ok();
	*got = size < image->size - offset ? size : (size_t)(image->size - offset);
	memcpy(to, image->bytes + offset, *got);
	return status_ok();
}

static void make_header(struct image *image, uint64_t state, uint64_t shards)
{
	const struct trace_header header = { .state = (enum trace_state)state,
					     .shards = (uint32_t)shards,
					     .kinds = TRACE_ALL,
					     .clock_cost = 100,
					     .id = ID,
					     .begin_ns = 10,
					     .begin_ticks = 10,
					     .end_ns = 20,
					     .end_ticks = 40 };
	trace_header_encode(&header, image->bytes);
	image->size = TRACE_HEADER_BYTES;
}

static void add_block(struct image *image, struct fuzz_input *input)
{
	uint8_t *bytes = image->bytes + image->size;
	struct trace_block_header header = { .shard = (uint32_t)fuzz_number(input, 1),
					     .number = fuzz_number(input, 1),
					     .records = fuzz_number(input, 2),
					     .begin_ticks = 10,
					     .end_ns = 15,
					     .end_ticks = 25 };
	size_t taken;
	const uint8_t *payload = fuzz_bytes(input, fuzz_number(input, 2), &taken);
	if (taken > 0)
		memcpy(bytes + TRACE_BLOCK_HEADER_BYTES, payload, taken);
	header.payload_bytes = (uint32_t)taken;
	trace_block_seal(bytes, &header, ID);
	image->size += TRACE_BLOCK_BYTES;
}

/* What a replay relies on, and that the same record comes of it again. */
static void check_record(const struct trace_record *record)
{
	static uint8_t again[TRACE_BYTES_MAX + TRACE_RECORD_BYTES_MAX];
	struct trace_record decoded;
	uint64_t written = record->ticks, read = record->ticks;
	FUZZ_CHECK(record->type > 0 && record->type < TRACE_TYPE_COUNT);
	FUZZ_CHECK(record->bytes.size <= TRACE_BYTES_MAX);
	if (record->type == TRACE_INSERT)
		FUZZ_CHECK(record->size <= VALUE_BYTES_MAX && record->sequence > 0 &&
			   record->sequence <= SEQUENCE_MAX && record->other <= record->sequence);
	if (record->type == TRACE_PAGE)
		FUZZ_CHECK(record->count > 0 && record->part + record->count <= UINT32_MAX);
	uint8_t *end = trace_record_encode(again, record, &written);
	FUZZ_CHECK((size_t)(end - again) <= record->bytes.size + TRACE_RECORD_BYTES_MAX);
	FUZZ_CHECK(trace_record_decode(again, end, &decoded, &read) == end);
	FUZZ_CHECK(decoded.type == record->type && decoded.ticks == record->ticks);
	FUZZ_CHECK(decoded.duration == record->duration && decoded.object == record->object);
	FUZZ_CHECK(decoded.part == record->part && decoded.count == record->count);
	FUZZ_CHECK(decoded.size == record->size && decoded.sequence == record->sequence);
	FUZZ_CHECK(decoded.other == record->other && decoded.hash == record->hash);
	FUZZ_CHECK(decoded.answer == record->answer && slice_equal(decoded.bytes, record->bytes));
}

static void read_all(struct image *image)
{
	struct trace_file file;
	struct status status =
		trace_file_open(&file, (struct trace_source) { .read = read_image, .context = image });
	if (!status_is_ok(status)) {
		FUZZ_CHECK(status_is(status, STATUS_CORRUPT) || status_is(status, STATUS_FORMAT));
		return;
	}
	FUZZ_CHECK(strlen(file.problem) < TRACE_PROBLEM_BYTES && file.ns_per_tick > 0);
	FUZZ_CHECK(!file.has_gaps || file.problem[0] != '\0');
	for (uint32_t shard = 0; shard < file.header.shards; shard++) {
		struct trace_reader reader;
		struct trace_record record;
		FUZZ_CHECK(status_is_ok(trace_reader_open(&reader, &file, shard)));
		while (status_is_ok(status = trace_reader_next(&reader, &record)))
			check_record(&record);
		FUZZ_CHECK(status_is(status, STATUS_NOT_FOUND) || status_is(status, STATUS_CORRUPT));
		trace_reader_close(&reader);
	}
	trace_file_close(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct image image = { .bytes = malloc(TRACE_HEADER_BYTES + BLOCKS_MAX * TRACE_BLOCK_BYTES) };
	FUZZ_CHECK(image.bytes != NULL);
	uint64_t damage = fuzz_number(&input, 1);
	uint64_t state = fuzz_number(&input, 1);
	uint64_t shards = fuzz_number(&input, 1);
	uint64_t where = fuzz_number(&input, 3);
	make_header(&image, state, shards);
	for (unsigned i = 0; i < BLOCKS_MAX && input.left > 0; i++)
		add_block(&image, &input);
	if ((damage & 1) != 0)
		image.bytes[where % TRACE_HEADER_BYTES] ^= 1;
	if ((damage & 2) != 0)
		image.bytes[where % image.size] ^= 0x80;
	if ((damage & 4) != 0)
		image.size = where % (image.size + 1);
	read_all(&image);
	free(image.bytes);
	return 0;
}

/* A block of what an engine records. */
static size_t put_block(uint8_t *to, size_t at, uint8_t shard, uint8_t number)
{
	const struct trace_record records[] = {
		{ .type = TRACE_VARIANT, .object = 1, .bytes = slice_make("cacheline bits_per_key=10", 25) },
		{ .type = TRACE_MEMTABLE_BEGIN, .object = 0, .size = 65536, .count = 1 << 20 },
		{ .type = TRACE_INSERT,
		  .ticks = 100,
		  .duration = 300,
		  .object = 0,
		  .bytes = slice_make("user1", 5),
		  .size = 100,
		  .sequence = 7,
		  .part = ENTRY_PUT,
		  .answer = 1 },
		{ .type = TRACE_GET,
		  .ticks = 1000,
		  .duration = 200,
		  .bytes = slice_make("user1", 5),
		  .sequence = SEQUENCE_MAX,
		  .answer = ENTRY_PUT,
		  .other = 7 },
		{ .type = TRACE_ITERATOR_BEGIN, .object = 1 },
		{ .type = TRACE_SEEK, .object = 1, .sequence = SEQUENCE_MAX, .answer = 1, .other = 7 },
		{ .type = TRACE_STEPS, .object = 1, .count = 1, .duration = 20 },
		{ .type = TRACE_ITERATOR_END, .object = 1 },
		{ .type = TRACE_POOL, .count = 1000 },
		{ .type = TRACE_PAGE, .object = 3, .part = 9, .count = 2, .answer = TRACE_MISS },
		{ .type = TRACE_ASK, .object = 3, .hash = 77, .count = 500, .size = 640, .sequence = 12 },
		{ .type = TRACE_TRUTH, .object = 3, .hash = 77, .answer = 1 },
		{ .type = TRACE_MEMTABLE_END, .object = 0, .count = 1 },
	};
	enum { RECORDS = sizeof(records) / sizeof(records[0]) };
	uint64_t ticks = 10;
	uint8_t *payload = to + at + 6, *end = payload;
	for (unsigned i = 0; i < RECORDS; i++)
		end = trace_record_encode(end, &records[i], &ticks);
	at = fuzz_put(to, at, shard, 1);
	at = fuzz_put(to, at, number, 1);
	at = fuzz_put(to, at, RECORDS, 2);
	at = fuzz_put(to, at, (uint64_t)(end - payload), 2);
	return at + (size_t)(end - payload);
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	if (index >= 8)
		return FUZZ_NO_SEED;
	size_t at = fuzz_put(to, 0, index % 4 == 3 ? 4 : index % 4, 1);
	at = fuzz_put(to, at, index % 3, 1);
	at = fuzz_put(to, at, 2, 1);
	at = fuzz_put(to, at, 5000 + index, 3);
	at = put_block(to, at, 0, 0);
	at = put_block(to, at, 1, 0);
	return index < 4 ? at : put_block(to, at, 0, 1);
}
