/*
 * Reading traces: whole ones, cut ones, and such as have holes. Takes well under a second.
 */
#include <string.h>

#include "test.h"

#include "base/bytes.h"
#include "trace/trace_reader.h"

enum { SEED = 4711, SHARDS = 3, BLOCKS = 10, RECORDS = 50 };

/* A trace in memory: ten blocks, of which each shard's are in order. */
static uint8_t image[TRACE_HEADER_BYTES + BLOCKS * TRACE_BLOCK_BYTES];
static size_t image_size;

static const uint32_t shard_of[BLOCKS] = { 0, 1, 1, 0, 2, 0, 1, 2, 0, 1 };

static struct status read_image(void *context, uint64_t offset, void *to, size_t size, size_t *got)
{
	(void)context;
	*got = 0;
	if (offset >= image_size)
		return status_ok();
	*got = size < image_size - offset ? size : (size_t)(image_size - offset);
	memcpy(to, image + offset, *got);
	return status_ok();
}

static const struct trace_source source = { .read = read_image };

static uint8_t *block_at(unsigned place)
{
	return image + TRACE_HEADER_BYTES + (size_t)place * TRACE_BLOCK_BYTES;
}

static void write_header(enum trace_state state, uint64_t dropped)
{
	const struct trace_header header = { .state = state,
					     .shards = SHARDS,
					     .kinds = TRACE_ALL,
					     .clock_cost = 256 * 20,
					     .id = 77,
					     .begin_ns = 1000,
					     .begin_ticks = 5000,
					     .end_ns = state == TRACE_OPEN ? 0 : 2000,
					     .end_ticks = state == TRACE_OPEN ? 0 : 7000,
					     .blocks = state == TRACE_OPEN ? 0 : BLOCKS,
					     .records = state == TRACE_OPEN ? 0 : BLOCKS * RECORDS,
					     .dropped = dropped };
	trace_header_encode(&header, image);
}

/* Record r of block b of a shard is a forgotten file b * RECORDS + r. */
static void write_block(unsigned place, uint32_t shard, uint64_t number)
{
	uint8_t *bytes = block_at(place);
	uint8_t *to = bytes + TRACE_BLOCK_HEADER_BYTES;
	uint64_t ticks = 5000;
	for (uint64_t r = 0; r < RECORDS; r++) {
		struct trace_record record = { .type = TRACE_FORGET,
					       .ticks = 5000 + r,
					       .object = number * RECORDS + r };
		to = trace_record_encode(to, &record, &ticks);
	}
	const struct trace_block_header header = {
		.payload_bytes = (uint32_t)(to - bytes - TRACE_BLOCK_HEADER_BYTES),
		.shard = shard,
		.number = number,
		.records = RECORDS,
		.begin_ticks = 5000,
		.end_ns = 1100 + place,
		.end_ticks = 5400 + 4 * place,
	};
	trace_block_seal(bytes, &header, 77);
}

static int make_image(void **state)
{
	(void)state;
	uint64_t numbers[SHARDS] = { 0 };
	image_size = sizeof(image);
	write_header(TRACE_COMPLETE, 0);
	for (unsigned i = 0; i < BLOCKS; i++)
		write_block(i, shard_of[i], numbers[shard_of[i]]++);
	return 0;
}

/* Reads a shard to its end; returns how many records there were, or fails as the reader did. */
static struct status read_shard(const struct trace_file *file, uint32_t shard, uint64_t *count)
{
	struct trace_reader reader;
	struct trace_record record;
	*count = 0;
	assert_ok(trace_reader_open(&reader, file, shard));
	struct status status;
	while (status_is_ok(status = trace_reader_next(&reader, &record))) {
		assert_int_equal(record.type, TRACE_FORGET);
		assert_int_equal(record.object, *count);
		(*count)++;
	}
	trace_reader_close(&reader);
	return status_is(status, STATUS_NOT_FOUND) ? status_ok() : status;
}

static void test_whole_trace(void **state)
{
	(void)state;
	struct trace_file file;
	uint64_t count;
	assert_ok(trace_file_open(&file, source));
	assert_string_equal(file.problem, "");
	assert_false(file.has_gaps);
	assert_int_equal(file.blocks, BLOCKS);
	assert_true(file.ns_per_tick == 0.5);
	assert_true(trace_file_ns(&file, 120) == 50);
	assert_true(trace_file_ns(&file, 10) == 0);
	const uint64_t expected[SHARDS] = { 4, 4, 2 };
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		assert_ok(read_shard(&file, shard, &count));
		assert_int_equal(count, expected[shard] * RECORDS);
	}
	trace_file_close(&file);
}

/* A process that was killed leaves a beginning. */
static void test_cut_trace(void **state)
{
	(void)state;
	struct trace_file file;
	uint64_t count;
	write_header(TRACE_OPEN, 0);
	image_size = sizeof(image) - TRACE_BLOCK_BYTES - 100;
	assert_ok(trace_file_open(&file, source));
	assert_non_null(strstr(file.problem, "inside a block"));
	assert_false(file.has_gaps);
	assert_int_equal(file.blocks, BLOCKS - 2);
	/* By the last block that is there. */
	assert_true(file.ns_per_tick == (double)(1100 + 7 - 1000) / (5400 + 28 - 5000));
	assert_ok(read_shard(&file, 0, &count));
	assert_int_equal(count, 3 * RECORDS);
	trace_file_close(&file);
}

static void assert_gaps(const char *what)
{
	struct trace_file file;
	assert_ok(trace_file_open(&file, source));
	assert_true(file.has_gaps);
	if (strstr(file.problem, what) == NULL)
		fail_msg("'%s' does not say '%s'", file.problem, what);
	trace_file_close(&file);
}

static void test_what_is_missing_is_noticed(void **state)
{
	(void)state;
	write_header(TRACE_COMPLETE, 3);
	assert_gaps("dropped");
	write_header(TRACE_INCOMPLETE, 0);
	assert_gaps("could not be written");
	write_header(TRACE_COMPLETE, 0);
	image_size -= TRACE_BLOCK_BYTES;
	assert_gaps("less of it");
	image_size += TRACE_BLOCK_BYTES;
	write_header(TRACE_OPEN, 0);
	memset(block_at(3), 0, TRACE_BLOCK_BYTES);
	assert_gaps("was not written");
	write_block(3, 0, 7);
	assert_gaps("a block is missing");
	write_block(3, 0, 0);
	assert_gaps("a block is missing");
}

/* A wrong bit is found when the block is read, at the latest. */
static void test_damaged_blocks(void **state)
{
	(void)state;
	struct random dice = random_stream(test_seed(SEED));
	for (unsigned i = 0; i < 200; i++) {
		struct trace_file file;
		uint64_t count;
		uint8_t *bytes = block_at(4);
		size_t at = random_below(&dice, i % 2 == 0 ? 300 : TRACE_BLOCK_BYTES);
		bytes[at] ^= 4;
		struct status status = trace_file_open(&file, source);
		assert_ok(status);
		if (!file.has_gaps)
			status = read_shard(&file, 2, &count);
		if (status_is_ok(status) && !file.has_gaps)
			fail_msg("byte %zu was taken for right", at);
		trace_file_close(&file);
		bytes[at] ^= 4;
	}
}

/* Right checksums over wrong contents. */
static void test_impossible_contents(void **state)
{
	(void)state;
	struct trace_file file;
	uint64_t count;
	struct trace_block_header header;
	assert_true(trace_block_peek(block_at(4), &header));
	header.records--;
	trace_block_seal(block_at(4), &header, 77);
	assert_ok(trace_file_open(&file, source));
	assert_status(read_shard(&file, 2, &count), STATUS_CORRUPT);
	trace_file_close(&file);
	header.records += 2;
	trace_block_seal(block_at(4), &header, 77);
	assert_ok(trace_file_open(&file, source));
	assert_status(read_shard(&file, 2, &count), STATUS_CORRUPT);
	assert_int_equal(count, RECORDS);
	trace_file_close(&file);
}

static void test_no_trace(void **state)
{
	(void)state;
	struct trace_file file;
	image_size = 0;
	assert_status(trace_file_open(&file, source), STATUS_CORRUPT);
	image_size = TRACE_HEADER_BYTES - 1;
	assert_status(trace_file_open(&file, source), STATUS_CORRUPT);
	image_size = TRACE_HEADER_BYTES;
	bytes_store32(image + 16, TRACE_VERSION + 1);
	assert_status(trace_file_open(&file, source), STATUS_FORMAT);
	image[0] = 'X';
	assert_status(trace_file_open(&file, source), STATUS_CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_whole_trace, make_image),
		cmocka_unit_test_setup(test_cut_trace, make_image),
		cmocka_unit_test_setup(test_what_is_missing_is_noticed, make_image),
		cmocka_unit_test_setup(test_damaged_blocks, make_image),
		cmocka_unit_test_setup(test_impossible_contents, make_image),
		cmocka_unit_test_setup(test_no_trace, make_image),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
