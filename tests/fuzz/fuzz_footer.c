/*
 * A table's footer and a block's header. Input: 1 byte: bit 0: put the footer's checksum right; then a block
 * header (16 bytes) and a footer page, zero-filled.
 */
#include "base/bytes.h"
#include "fuzz/fuzz.h"
#include "table/format.h"

enum { CHECKSUM_AT = TABLE_FOOTER_BYTES - 8 };

static void check_header(const uint8_t *bytes)
{
	struct block_header header;
	uint8_t stored[BLOCK_HEADER_BYTES];
	if (!block_header_load(bytes, &header))
		return;
	FUZZ_CHECK(header.count > 0 && header.raw_size <= BLOCK_RAW_MAX);
	FUZZ_CHECK(header.stored_size <= header.raw_size);
	block_header_store(stored, &header);
	FUZZ_CHECK(memcmp(stored, bytes, sizeof(stored)) == 0);
}

/* What everything that reads a table counts on. */
static void check_sound(const struct table_footer *footer)
{
	FUZZ_CHECK(footer->bytes >= TABLE_FOOTER_BYTES && footer->bytes % TABLE_PAGE == 0);
	FUZZ_CHECK(footer->data_bytes <= footer->partitions_offset);
	FUZZ_CHECK(footer->partitions_offset <= footer->top_offset);
	FUZZ_CHECK(footer->top_offset <= footer->bytes - TABLE_FOOTER_BYTES);
	FUZZ_CHECK(footer->top_bytes <= footer->bytes - TABLE_FOOTER_BYTES - footer->top_offset);
	FUZZ_CHECK((uint64_t)footer->partitions * TABLE_PAGE <=
		   footer->top_offset - footer->partitions_offset);
	FUZZ_CHECK((uint64_t)footer->blocks * BLOCK_BYTES_MIN <= footer->data_bytes);
	FUZZ_CHECK(footer->deletes <= footer->entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	bool seal = (fuzz_number(&input, 1) & 1) != 0;
	uint8_t header[BLOCK_HEADER_BYTES] = { 0 };
	uint8_t page[TABLE_FOOTER_BYTES] = { 0 };
	uint8_t again[TABLE_FOOTER_BYTES];
	struct table_footer footer, loaded;
	size_t taken;
	const uint8_t *bytes = fuzz_bytes(&input, sizeof(header), &taken);
	if (taken > 0)
		memcpy(header, bytes, taken);
	check_header(header);
	bytes = fuzz_bytes(&input, sizeof(page), &taken);
	if (taken > 0)
		memcpy(page, bytes, taken);
	if (seal)
		bytes_store64(page + CHECKSUM_AT, checksum64(page, CHECKSUM_AT, TABLE_FOOTER_SEED));
	struct status status = table_footer_load(page, &footer);
	FUZZ_CHECK(status_is_ok(status) || status_is(status, STATUS_CORRUPT) ||
		   status_is(status, STATUS_FORMAT));
	if (status_is_ok(status)) {
		check_sound(&footer);
		table_footer_store(again, &footer);
		FUZZ_CHECK(status_is_ok(table_footer_load(again, &loaded)));
		/* All but what is reserved is as it was. */
		FUZZ_CHECK(memcmp(page, again, 12) == 0 && memcmp(page + 16, again + 16, 126) == 0);
	}
	return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	if (index > 3)
		return FUZZ_NO_SEED;
	struct block_header header = { .stored_size = 700, .raw_size = 900, .count = 9, .codec = 2 };
	struct table_footer footer = { .database_id = { 1, 2 }, .shard = 3, .level = 1, .number = 77 };
	if (index % 2 == 1) {
		footer.entries = 100;
		footer.deletes = 10;
		footer.data_bytes = 9000;
		footer.blocks = 12;
		footer.partitions = 1;
		footer.partitions_offset = 12288;
		header.codec = 0;
		header.stored_size = header.raw_size;
	}
	footer.top_offset = footer.partitions_offset + footer.partitions * 4096;
	footer.top_bytes = 60;
	footer.bytes = footer.top_offset + 8192;
	size_t at = fuzz_put(to, 0, index / 2, 1);
	block_header_store(to + at, &header);
	table_footer_store(to + at + BLOCK_HEADER_BYTES, &footer);
	return at + BLOCK_HEADER_BYTES + TABLE_FOOTER_BYTES;
}
