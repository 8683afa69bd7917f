/*
 * The bytes of traces: what is encoded is decoded to the same, and anything else is refused. Takes well under
 * a second.
 */
#include <string.h>

#include "test.h"

#include "base/bytes.h"
#include "base/entry.h"
#include "trace/trace_format.h"

enum { SEED = 20260, ROUNDS = 20000 };

static struct random dice;

static uint64_t number(unsigned bits_max)
{
	unsigned bits = (unsigned)random_below(&dice, bits_max + 1);
	return bits == 0 ? 0 : random_next(&dice) >> (64 - bits);
}

/* A record of the type with anything in it that may be there. */
static struct trace_record make_record(enum trace_type type, uint64_t ticks, const uint8_t *bytes)
{
	struct trace_record record = { .type = type, .ticks = ticks };
	size_t size = random_below(&dice, 50) == 0 ? random_below(&dice, TRACE_BYTES_MAX + 1)
						   : random_below(&dice, 60);
	bool has_bytes = type == TRACE_VARIANT || type == TRACE_INSERT || type == TRACE_GET ||
			 type == TRACE_PROBE || type == TRACE_SEEK;
	bool is_timed = type == TRACE_INSERT || type == TRACE_GET || type == TRACE_GET_MANY ||
			type == TRACE_SEEK || type == TRACE_STEPS || type == TRACE_ASK;
	if (has_bytes)
		record.bytes = slice_make(bytes, size);
	if (is_timed)
		record.duration = number(40);
	if (type != TRACE_POOL)
		record.object = number(64);
	return record;
}

static void fill_memtable_record(struct trace_record *record)
{
	switch (record->type) {
	case TRACE_INSERT:
		record->part = 1 + random_below(&dice, 2);
		record->size = record->part == ENTRY_PUT ? random_below(&dice, VALUE_BYTES_MAX + 1) : 0;
		record->sequence = 1 + random_below(&dice, SEQUENCE_MAX);
		record->other = random_below(&dice, record->sequence + 1);
		record->answer = random_below(&dice, 2);
		break;
	case TRACE_GET:
	case TRACE_PROBE:
		record->sequence = random_below(&dice, 2) == 0 ? SEQUENCE_MAX : number(56);
		record->answer = random_below(&dice, 3);
		record->other = number(56);
		break;
	case TRACE_SEEK:
		record->part = random_below(&dice, TRACE_SEEK_COUNT);
		record->sequence = random_below(&dice, 2) == 0 ? SEQUENCE_MAX : number(56);
		record->answer = random_below(&dice, 2);
		record->other = number(56);
		break;
	case TRACE_STEPS:
		record->part = random_below(&dice, 2);
		record->count = 1 + number(30);
		record->size = number(50);
		record->answer = random_below(&dice, 2);
		break;
	case TRACE_GET_MANY:
	case TRACE_MEMTABLE_BEGIN:
	case TRACE_MEMTABLE_END:
		record->count = number(64);
		record->size = record->type == TRACE_GET_MANY ? 0 : number(64);
		break;
	case TRACE_ITERATOR_BEGIN:
		record->part = number(64);
		break;
	case TRACE_CANARY:
		record->part = number(64);
		record->count = number(64);
		record->size = number(64);
		record->other = number(64);
		record->answer = number(64);
		break;
	default:
		break;
	}
}

static void fill_table_record(struct trace_record *record)
{
	switch (record->type) {
	case TRACE_POOL:
		record->count = 1 + number(31);
		break;
	case TRACE_PAGE:
		record->part = number(31);
		record->count = 1 + number(16);
		record->answer = random_below(&dice, TRACE_ACCESS_COUNT);
		break;
	case TRACE_ASK:
		record->part = number(32);
		record->sequence = number(32);
		record->other = random_below(&dice, record->sequence + 1);
		record->hash = random_next(&dice);
		record->count = number(32);
		record->size = number(32);
		record->answer = random_below(&dice, 2);
		break;
	case TRACE_TRUTH:
		record->part = number(64);
		record->hash = random_next(&dice);
		record->answer = random_below(&dice, 2);
		break;
	default:
		break;
	}
}

static void assert_same(const struct trace_record *a, const struct trace_record *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->ticks, b->ticks);
	assert_int_equal(a->duration, b->duration);
	assert_int_equal(a->object, b->object);
	assert_int_equal(a->part, b->part);
	assert_int_equal(a->count, b->count);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->sequence, b->sequence);
	assert_int_equal(a->other, b->other);
	assert_int_equal(a->hash, b->hash);
	assert_int_equal(a->answer, b->answer);
	assert_true(slice_equal(a->bytes, b->bytes));
}

/* Any record comes back, and takes no more room than was promised; cut short anywhere it is none. */
static void test_records_come_back(void **state)
{
	(void)state;
	dice = random_stream(test_seed(SEED));
	static uint8_t bytes[TRACE_BYTES_MAX], buffer[TRACE_BYTES_MAX + TRACE_RECORD_BYTES_MAX];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)random_next(&dice);
	uint64_t ticks = 1000, written = 1000, read = 1000;
	for (unsigned i = 0; i < ROUNDS; i++) {
		enum trace_type type = (enum trace_type)(1 + random_below(&dice, TRACE_TYPE_COUNT - 1));
		ticks += number(30);
		struct trace_record record = make_record(type, ticks, bytes), again;
		fill_memtable_record(&record);
		fill_table_record(&record);
		uint8_t *end = trace_record_encode(buffer, &record, &written);
		assert_true((size_t)(end - buffer) <= record.bytes.size + TRACE_RECORD_BYTES_MAX);
		uint64_t before = read;
		assert_ptr_equal(trace_record_decode(buffer, end, &again, &read), end);
		assert_same(&record, &again);
		size_t cut = random_below(&dice, (uint64_t)(end - buffer));
		assert_null(trace_record_decode(buffer, buffer + cut, &again, &before));
	}
}

static void test_time_does_not_run_backwards(void **state)
{
	(void)state;
	uint8_t buffer[TRACE_RECORD_BYTES_MAX];
	struct trace_record again;
	uint64_t written = 500, read = 500;
	struct trace_record record = { .type = TRACE_FORGET, .ticks = 400, .object = 7 };
	uint8_t *end = trace_record_encode(buffer, &record, &written);
	assert_ptr_equal(trace_record_decode(buffer, end, &again, &read), end);
	assert_int_equal(again.ticks, 500);
	assert_int_equal(written, 500);
}

static void assert_no_record(const struct trace_record *record)
{
	uint8_t buffer[2 * TRACE_RECORD_BYTES_MAX];
	struct trace_record again;
	uint64_t written = 0, read = 0;
	uint8_t *end = trace_record_encode(buffer, record, &written);
	assert_null(trace_record_decode(buffer, end, &again, &read));
}

/* What nobody could replay. */
static void test_impossible_records(void **state)
{
	(void)state;
	const struct trace_record good = {
		.type = TRACE_INSERT, .sequence = 9, .part = ENTRY_PUT, .answer = 1
	};
	const struct trace_record bad[] = {
		{ .type = TRACE_INSERT, .sequence = 0, .part = ENTRY_PUT },
		{ .type = TRACE_INSERT, .sequence = 9, .part = 3 },
		{ .type = TRACE_INSERT, .sequence = 9, .part = 0 },
		{ .type = TRACE_INSERT, .sequence = 9, .part = ENTRY_DELETE, .size = 1 },
		{ .type = TRACE_INSERT, .sequence = 9, .part = ENTRY_PUT, .other = 10 },
		{ .type = TRACE_INSERT, .sequence = SEQUENCE_MAX + 1, .part = ENTRY_PUT },
		{ .type = TRACE_INSERT, .sequence = 9, .part = ENTRY_PUT, .size = VALUE_BYTES_MAX + 1 },
		{ .type = TRACE_INSERT, .sequence = 9, .part = ENTRY_PUT, .answer = 2 },
		{ .type = TRACE_GET, .sequence = SEQUENCE_MAX + 1 },
		{ .type = TRACE_GET, .sequence = 1, .answer = 3 },
		{ .type = TRACE_SEEK, .part = TRACE_SEEK_COUNT },
		{ .type = TRACE_STEPS, .count = 0 },
		{ .type = TRACE_STEPS, .count = 1, .part = 2 },
		{ .type = TRACE_PAGE, .count = 0 },
		{ .type = TRACE_PAGE, .count = 1, .answer = TRACE_ACCESS_COUNT },
		{ .type = TRACE_PAGE, .count = 1, .part = UINT32_MAX },
		{ .type = TRACE_PAGE, .count = UINT64_MAX, .part = 2 },
		{ .type = TRACE_POOL, .count = 0 },
		{ .type = TRACE_ASK, .other = 3, .sequence = 2 },
		{ .type = TRACE_ASK, .answer = 2 },
		{ .type = TRACE_TRUTH, .answer = 2 },
	};
	uint8_t buffer[TRACE_RECORD_BYTES_MAX];
	struct trace_record again;
	uint64_t ticks = 0;
	uint8_t *end = trace_record_encode(buffer, &good, &ticks);
	assert_non_null(trace_record_decode(buffer, end, &again, &ticks));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_no_record(&bad[i]);
	buffer[0] = TRACE_TYPE_COUNT;
	assert_null(trace_record_decode(buffer, end, &again, &ticks));
	buffer[0] = 0;
	assert_null(trace_record_decode(buffer, end, &again, &ticks));
}

/* --- header and blocks --- */

static const struct trace_header some_header = {
	.state = TRACE_COMPLETE,
	.shards = 3,
	.kinds = TRACE_MEMTABLE | TRACE_FILTER,
	.clock_cost = 5000,
	.id = 0x1122334455667788ull,
	.wall_ns = 1,
	.begin_ns = 2,
	.begin_ticks = 3,
	.end_ns = 4,
	.end_ticks = 5,
	.blocks = 6,
	.records = 7,
	.dropped = 8,
};

static void test_header_comes_back(void **state)
{
	(void)state;
	static uint8_t bytes[TRACE_HEADER_BYTES];
	struct trace_header again;
	trace_header_encode(&some_header, bytes);
	assert_true(trace_is_trace(bytes, 8));
	assert_false(trace_is_trace(bytes, 7));
	assert_ok(trace_header_decode(bytes, &again));
	assert_memory_equal(&some_header, &again, sizeof(again));
}

/* Every single wrong bit is noticed. */
static void test_damaged_header(void **state)
{
	(void)state;
	static uint8_t bytes[TRACE_HEADER_BYTES];
	struct trace_header again;
	trace_header_encode(&some_header, bytes);
	for (unsigned bit = 0; bit < TRACE_HEADER_BYTES * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		struct status status = trace_header_decode(bytes, &again);
		bool is_version = bit / 8 >= 16 && bit / 8 < 20;
		assert_int_equal(status.code, is_version ? STATUS_FORMAT : STATUS_CORRUPT);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	struct trace_header wrong = some_header;
	wrong.shards = TRACE_SHARDS_MAX + 1;
	trace_header_encode(&wrong, bytes);
	assert_status(trace_header_decode(bytes, &again), STATUS_CORRUPT);
}

static void test_blocks(void **state)
{
	(void)state;
	static uint8_t bytes[TRACE_BLOCK_BYTES];
	const struct trace_block_header header = { .payload_bytes = 100,
						   .shard = 2,
						   .number = 3,
						   .records = 4,
						   .dropped = 5,
						   .begin_ticks = 6,
						   .end_ns = 7,
						   .end_ticks = 8 };
	struct trace_block_header again;
	memset(bytes, 0xee, sizeof(bytes));
	trace_block_seal(bytes, &header, 99);
	assert_true(trace_block_peek(bytes, &again));
	assert_memory_equal(&header, &again, sizeof(again));
	assert_true(trace_block_verify(bytes, 99));
	assert_false(trace_block_verify(bytes, 98));
	assert_int_equal(bytes[TRACE_BLOCK_HEADER_BYTES + 99], 0xee);
	assert_int_equal(bytes[TRACE_BLOCK_HEADER_BYTES + 100], 0);
	for (size_t at = 0; at < sizeof(bytes); at += at < 300 ? 1 : 4099) {
		bytes[at] ^= 0x10;
		assert_false(trace_block_verify(bytes, 99));
		bytes[at] ^= 0x10;
	}
	/* A place that was never written. */
	memset(bytes, 0, sizeof(bytes));
	assert_false(trace_block_peek(bytes, &again));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_come_back),  cmocka_unit_test(test_time_does_not_run_backwards),
		cmocka_unit_test(test_impossible_records), cmocka_unit_test(test_header_comes_back),
		cmocka_unit_test(test_damaged_header),	   cmocka_unit_test(test_blocks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
