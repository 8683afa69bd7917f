/*
 * Edits of a manifest. Input: records of 2 bytes length and that many bytes, each the fields of an edit; the
 * edits that can be decoded are added up. Each edit and the sum survive their own encoding.
 */
#include "base/memory.h"
#include "fuzz/fuzz.h"
#include "manifest/manifest_format.h"
#include "manifest/manifest_state.h"

static const uint64_t seed = 99;

/* Encodes the edit as a file would have it, and decodes the copy that `copy` names. */
static uint8_t *encode(const struct manifest_edit *edit, uint32_t copy, struct manifest_edit *decoded)
{
	enum { OFFSET = 2 * MANIFEST_PAGE_BYTES };
	uint64_t pages = manifest_pages(manifest_edit_size_max(edit));
	uint8_t *file = calloc(1, OFFSET + MANIFEST_COPIES * pages);
	FUZZ_CHECK(file != NULL);
	uint64_t bytes = manifest_record_encode(edit, 7, OFFSET, seed, file + OFFSET);
	uint64_t offset = OFFSET + copy * bytes / 2;
	struct manifest_record record;
	FUZZ_CHECK(manifest_record_decode(file, OFFSET + bytes, offset, seed, &record));
	FUZZ_CHECK(record.number == 7 && record.copy == copy && record.pages == bytes / 2);
	FUZZ_CHECK(status_is_ok(manifest_edit_decode(record.fields, decoded)));
	return file;
}

static bool tables_equal(const struct manifest_table *a, const struct manifest_table *b)
{
	struct manifest_state x = { .tables = (struct manifest_table *)(uintptr_t)a, .table_count = 1 };
	struct manifest_state y = { .tables = (struct manifest_table *)(uintptr_t)b, .table_count = 1 };
	return manifest_state_equal(&x, &y);
}

static void check_edit(const struct manifest_edit *edit)
{
	struct manifest_edit again;
	uint8_t *file = encode(edit, edit->add_count % 2, &again);
	FUZZ_CHECK(again.add_count == edit->add_count && again.remove_count == edit->remove_count);
	FUZZ_CHECK(again.flushed_log_number == edit->flushed_log_number &&
		   again.last_sequence == edit->last_sequence && again.next_number == edit->next_number);
	for (size_t i = 0; i < edit->remove_count; i++)
		FUZZ_CHECK(again.remove[i] == edit->remove[i]);
	for (size_t i = 0; i < edit->add_count; i++)
		FUZZ_CHECK(tables_equal(&again.add[i], &edit->add[i]));
	manifest_edit_free(&again);
	free(file);
}

/* What the tree counts on: numbers below the next one, levels that there are, keys in order. */
static void check_state(const struct manifest_state *state)
{
	FUZZ_CHECK(state->next_number >= 1);
	for (size_t i = 0; i < state->table_count; i++) {
		const struct manifest_table *table = &state->tables[i];
		FUZZ_CHECK(table->number < state->next_number);
		FUZZ_CHECK(table->level < MANIFEST_LEVELS_MAX);
		FUZZ_CHECK(slice_compare(table->smallest, table->largest) <= 0);
	}
}

/* The one edit that is the sum makes the same state. */
static void check_sum(const struct manifest_state *state)
{
	struct manifest_edit sum = manifest_state_edit(state);
	struct manifest_edit decoded;
	struct manifest_state empty = { .next_number = 1 };
	struct manifest_change change;
	uint8_t *file = encode(&sum, 1, &decoded);
	FUZZ_CHECK(status_is_ok(manifest_change_prepare(&empty, &decoded, &change)));
	FUZZ_CHECK(manifest_state_equal(&change.next, state));
	manifest_change_drop(&change);
	manifest_edit_free(&decoded);
	free(file);
}

static void add_edit(struct manifest_state *state, struct slice fields)
{
	struct manifest_edit edit;
	struct manifest_change change;
	struct status status = manifest_edit_decode(fields, &edit);
	FUZZ_CHECK(status_is_ok(status) || status_is(status, STATUS_CORRUPT));
	if (status_is_ok(status)) {
		check_edit(&edit);
		status = manifest_change_prepare(state, &edit, &change);
		FUZZ_CHECK(status_is_ok(status) || status_is(status, STATUS_INVALID));
		if (status_is_ok(status)) {
			manifest_change_adopt(&change, state);
			check_state(state);
		}
	}
	manifest_edit_free(&edit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct manifest_state state = { .next_number = 1 };
	for (unsigned edits = 0; input.left > 0 && edits < 64; edits++) {
		size_t length = (size_t)fuzz_number(&input, 2);
		const uint8_t *bytes = fuzz_bytes(&input, length, &length);
		uint8_t *fields = fuzz_exact(bytes, length);
		add_edit(&state, slice_make(fields, length));
		free(fields);
	}
	check_sum(&state);
	manifest_state_free(&state);
	return 0;
}

static size_t put_edit(uint8_t *to, size_t at, const struct manifest_edit *edit)
{
	static uint8_t record[64 << 10];
	(void)manifest_record_encode(edit, 1, 0, seed, record);
	size_t length = (size_t)(record[12] | record[13] << 8) - MANIFEST_RECORD_HEADER_BYTES;
	at = fuzz_put(to, at, length, 2);
	return fuzz_put_bytes(to, at, record + MANIFEST_RECORD_HEADER_BYTES, length);
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	size_t at = 0;
	if (index == 4) {
		/* A table with the last number that there is: the next one would have been 0. */
		static const uint8_t last[] = { 1,    0,    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
						0xff, 0x01, 1,	  1,	0,    1,    1,	  1,	0,    0,
						0,    0,    0,	  0,	0,    0,    1,	  'a',	1,    'b' };
		return fuzz_put_bytes(to, fuzz_put(to, 0, sizeof(last), 2), last, sizeof(last));
	}
	if (index > 4)
		return FUZZ_NO_SEED;
	for (uint64_t i = 1; i <= index * 3; i++) {
		uint64_t remove[1] = { i / 2 };
		struct manifest_table table = {
			.number = i,
			.bytes = 8192 * i,
			.entries = 100,
			.deletes = 3,
			.sequence_min = i,
			.sequence_max = i * 1000,
			.raw_bytes = 5000,
			.checksum = i * 0x123456789abcdef,
			.level = (uint32_t)(i % MANIFEST_LEVELS_MAX),
			.smallest = slice_from_string("aaa"),
			.largest = slice_from_string("mmmmmmmm"),
		};
		struct manifest_edit edit = {
			.add = &table,
			.add_count = 1,
			.remove = remove,
			.remove_count = i % 2 == 0 ? 1 : 0,
			.flushed_log_number = i * 10,
			.last_sequence = i * 1000,
			.next_number = i + 1,
		};
		at = put_edit(to, at, &edit);
	}
	return at;
}
