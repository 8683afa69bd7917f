/* The encoding of a batch: what is decoded is encoded again to the same operations. */
#include "base/batch.h"
#include "fuzz/fuzz.h"

static void check_operation(const struct entry *entry, const uint8_t *from, size_t size)
{
	uint8_t header[BATCH_HEADER_BYTES_MAX];
	FUZZ_CHECK(entry->kind == ENTRY_PUT || entry->kind == ENTRY_DELETE);
	FUZZ_CHECK(entry->key.size <= KEY_BYTES_MAX && entry->value.size <= VALUE_BYTES_MAX);
	size_t header_size = batch_encode_header(header, entry->kind, entry->key.size, entry->value.size);
	/* Only a number that was written longer than need be takes more bytes. */
	FUZZ_CHECK(header_size + entry->key.size + entry->value.size <= size);
	FUZZ_CHECK(entry->key.data >= from + header_size &&
		   entry->value.data == entry->key.data + entry->key.size);
	if (header_size + entry->key.size + entry->value.size == size)
		FUZZ_CHECK(memcmp(header, from, header_size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_exact(data, size);
	struct slice rest = slice_make(copy, size);
	struct entry entry = { 0 };
	for (;;) {
		struct slice before = rest;
		if (!batch_decode(&rest, &entry)) {
			FUZZ_CHECK(rest.data == before.data && rest.size == before.size);
			break;
		}
		FUZZ_CHECK(rest.size < before.size && rest.data + rest.size == copy + size);
		check_operation(&entry, before.data, before.size - rest.size);
	}
	free(copy);
	return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	static const struct {
		enum entry_kind kind;
		size_t key, value;
	} operations[] = {
		{ ENTRY_PUT, 3, 5 }, { ENTRY_DELETE, 200, 0 }, { ENTRY_PUT, 0, 300 }, { ENTRY_PUT, 40, 0 }
	};
	size_t size = 0;
	if (index > 4)
		return FUZZ_NO_SEED;
	for (unsigned i = 0; i < index; i++) {
		uint8_t header[BATCH_HEADER_BYTES_MAX];
		size_t header_size = batch_encode_header(header, operations[i].kind, operations[i].key,
							 operations[i].value);
		size = fuzz_put_bytes(to, size, header, header_size);
		memset(to + size, 'a' + (int)i, operations[i].key + operations[i].value);
		size += operations[i].key + operations[i].value;
	}
	return size;
}
