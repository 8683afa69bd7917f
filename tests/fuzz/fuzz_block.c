/*
 * The raw bytes of a table's block, below its checksum. Input: 2 bytes count of entries, 1 byte length of a
 * key, the key, 7 bytes sequence, then the block. A block whose entries are in order is built anew from them,
 * and says the same.
 */
#include "base/memory.h"
#include "fuzz/fuzz.h"
#include "table/block.h"
#include "table/format.h"

enum { ENTRIES_MAX = 4096 };

struct walk {
	struct entry entries[ENTRIES_MAX];
	uint8_t *keys[ENTRIES_MAX];
	uint32_t count;
	bool in_order;
};

static bool inside(const struct slice part, const uint8_t *body, size_t size)
{
	return part.data >= body && part.data + part.size <= body + size;
}

/* Whether entry `index` may follow the one before in a block of ours. */
static bool follows(const struct walk *walk, uint32_t index)
{
	const struct entry *entry = &walk->entries[index];
	if (entry->kind != ENTRY_PUT && entry->kind != ENTRY_DELETE)
		return false;
	if (entry->sequence > SEQUENCE_MAX || entry->key.size > KEY_BYTES_MAX)
		return false;
	const struct entry *before = index > 0 ? entry - 1 : NULL;
	return before == NULL ||
	       entry_compare(before->key, before->sequence, entry->key, entry->sequence) < 0;
}

/* All entries that the cursor yields; false: the block is damaged, or has more than we keep. */
static bool walk_block(const struct block *block, const uint8_t *body, size_t size, struct walk *walk)
{
	struct block_cursor cursor = { 0 };
	bool good = status_is_ok(block_cursor_set(&cursor, block, 0));
	walk->count = 0;
	walk->in_order = true;
	while (good && cursor.left > 0 && walk->count < ENTRIES_MAX) {
		struct entry *entry = &walk->entries[walk->count];
		struct status status = block_cursor_take(&cursor, entry);
		FUZZ_CHECK(!status_is(status, STATUS_NO_MEMORY));
		good = status_is_ok(status);
		if (!good)
			break;
		FUZZ_CHECK(inside(entry->value, body, size));
		FUZZ_CHECK(entry->key.size <= size);
		walk->keys[walk->count] = fuzz_exact(entry->key.data, entry->key.size);
		entry->key.data = walk->keys[walk->count];
		walk->in_order &= follows(walk, walk->count);
		walk->count++;
	}
	good = good && cursor.left == 0 && cursor.next == block->tags;
	block_cursor_free(&cursor);
	return good;
}

static void walk_free(struct walk *walk)
{
	for (uint32_t i = 0; i < walk->count; i++)
		free(walk->keys[i]);
}

static void check_search(const struct block *block, const uint8_t *body, size_t size, struct slice key,
			 uint64_t sequence)
{
	struct block_entry found;
	uint32_t index;
	for (unsigned tag = 0; tag < 256; tag += 51)
		if (block_get(block, key, (uint8_t)tag, sequence, &found) == BLOCK_FOUND)
			FUZZ_CHECK(inside(slice_make(found.value, found.value_size), body, size));
	if (block_search(block, key, sequence, &index)) {
		FUZZ_CHECK(index <= block->count);
		struct block_cursor cursor = { 0 };
		struct entry entry;
		if (index < block->count && status_is_ok(block_cursor_set(&cursor, block, index)))
			while (cursor.left > 0 && status_is_ok(block_cursor_take(&cursor, &entry)))
				FUZZ_CHECK(inside(entry.value, body, size));
		block_cursor_free(&cursor);
	}
}

/* The entries through a writer: every one is found again by walking and by its key. */
static void check_rebuilt(const struct walk *walk)
{
	static struct walk again;
	struct block_writer writer;
	size_t size = 0;
	FUZZ_CHECK(status_is_ok(block_writer_init(&writer, BLOCK_RAW_SHARED_MAX)));
	for (uint32_t i = 0; i < walk->count; i++) {
		bool added;
		uint8_t tag = block_tag(hash_key(walk->entries[i].key));
		FUZZ_CHECK(status_is_ok(
			block_writer_add(&writer, &walk->entries[i], tag, BLOCK_RAW_SHARED_MAX, &added)));
		FUZZ_CHECK(added || i > 0);
		if (!added)
			goto full;
	}
	const uint8_t *body = block_writer_finish(&writer, walk->entries[walk->count - 1].key, &size);
	uint8_t *exact = fuzz_exact(body, size);
	struct block block;
	FUZZ_CHECK(block_parse(&block, exact, size, walk->count));
	FUZZ_CHECK(walk_block(&block, exact, size, &again) && again.in_order && again.count == walk->count);
	for (uint32_t i = 0; i < walk->count; i++) {
		const struct entry *entry = &walk->entries[i];
		struct block_entry found;
		uint32_t index;
		FUZZ_CHECK(slice_equal(entry->key, again.entries[i].key) &&
			   slice_equal(entry->value, again.entries[i].value) &&
			   entry->sequence == again.entries[i].sequence &&
			   entry->kind == again.entries[i].kind);
		FUZZ_CHECK(block_get(&block, entry->key, block_tag(hash_key(entry->key)), entry->sequence,
				     &found) == BLOCK_FOUND);
		FUZZ_CHECK(found.sequence == entry->sequence);
		FUZZ_CHECK(block_search(&block, entry->key, entry->sequence, &index) && index == i);
	}
	walk_free(&again);
	free(exact);
full:
	block_writer_free(&writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct walk walk;
	struct fuzz_input input = { data, size };
	uint32_t count = (uint32_t)fuzz_number(&input, 2);
	size_t key_size = (size_t)fuzz_number(&input, 1);
	const uint8_t *bytes = fuzz_bytes(&input, key_size, &key_size);
	uint8_t *key = fuzz_exact(bytes, key_size);
	uint64_t sequence = fuzz_number(&input, 7);
	size_t body_size;
	bytes = fuzz_bytes(&input, input.left, &body_size);
	uint8_t *body = fuzz_exact(bytes, body_size);
	struct block block;
	/* No header has 0 entries: that is looked at before. */
	if (count > 0 && block_parse(&block, body, body_size, count)) {
		check_search(&block, body, body_size, slice_make(key, key_size), sequence);
		bool whole = walk_block(&block, body, body_size, &walk);
		if (whole && walk.in_order && walk.count > 0)
			check_rebuilt(&walk);
		walk_free(&walk);
	}
	free(key);
	free(body);
	return 0;
}

/* A block of `count` entries of several sizes, as a table has it. */
static size_t make_block(unsigned count, unsigned shape, uint8_t *to)
{
	struct block_writer writer;
	char key[400], value[800];
	size_t size;
	FUZZ_CHECK(status_is_ok(block_writer_init(&writer, BLOCK_RAW_SHARED_MAX)));
	memset(key, 'k', sizeof(key));
	memset(value, 'v', sizeof(value));
	struct entry entry = { 0 };
	for (unsigned i = 0; i < count; i++) {
		bool added;
		int length = snprintf(key + shape * 100, 90, "%06u", i - i % (shape + 1));
		entry.key = slice_make(key, shape * 100 + (size_t)length);
		entry.value = slice_make(value, i % 3 == 1 ? 0 : (size_t)i * 7 % 200 + shape * 150);
		entry.kind = i % 3 == 1 ? ENTRY_DELETE : ENTRY_PUT;
		entry.sequence = 1000000 - (uint64_t)i * (shape + 1) * 77;
		uint8_t tag = block_tag(hash_key(entry.key));
		FUZZ_CHECK(
			status_is_ok(block_writer_add(&writer, &entry, tag, BLOCK_RAW_SHARED_MAX, &added)));
		FUZZ_CHECK(added);
	}
	const uint8_t *body = block_writer_finish(&writer, entry.key, &size);
	size_t at = fuzz_put(to, 0, count, 2);
	at = fuzz_put(to, at, entry.key.size < 255 ? entry.key.size : 255, 1);
	at = fuzz_put_bytes(to, at, entry.key.data, entry.key.size < 255 ? entry.key.size : 255);
	at = fuzz_put(to, at, 999000, 7);
	at = fuzz_put_bytes(to, at, body, size);
	block_writer_free(&writer);
	return at;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	static const unsigned counts[] = { 1, 3, 9, 40 };
	return index < 12 ? make_block(counts[index % 4], index / 4, to) : FUZZ_NO_SEED;
}
