/*
 * A partition of a table, index and filters, below its checksum. Input: 1 byte filter, 4 bytes end of the
 * data in units of 8, 1 byte length of a key, the key, then the partition. A sound one is built anew from
 * what it says, and leads to the same blocks.
 */
#include "base/memory.h"
#include "fuzz/fuzz.h"
#include "table/partition.h"

static const struct filter_ops *filter_at(uint64_t index)
{
	const struct component *const *list = component_list(COMPONENT_FILTER);
	size_t count = 0;
	while (list[count] != NULL)
		count++;
	return (const struct filter_ops *)(const void *)list[index % count];
}

/* Separator `index` whole; free() it. */
static struct slice whole_separator(const struct partition *partition, uint32_t index)
{
	const struct separators *separators = &partition->separators;
	struct slice rest = separators_suffix(separators, index);
	uint8_t *whole = malloc(separators->prefix_size + rest.size + 1);
	FUZZ_CHECK(whole != NULL);
	memcpy(whole, separators->prefix, separators->prefix_size);
	memcpy(whole + separators->prefix_size, rest.data, rest.size);
	return slice_make(whole, separators->prefix_size + rest.size);
}

static void check_places(const struct partition *partition, const struct filter_ops *filter,
			 uint64_t data_bytes, uint64_t hash)
{
	uint64_t end = 0;
	for (uint32_t i = 0; i < partition->count; i++) {
		struct block_place place;
		partition_place(partition, i, &place);
		FUZZ_CHECK(place.offset >= end && place.offset % BLOCK_ALIGN == 0);
		end = place.offset + place.size;
		FUZZ_CHECK(end <= data_bytes && place.size > BLOCK_HEADER_BYTES);
		if (partition->filter.size > 0)
			(void)filter->may_contain(partition_filter_of(partition, i), hash);
	}
}

static bool separators_in_order(const struct partition *partition)
{
	for (uint32_t i = 0; i + 1 < partition->count; i++)
		if (slice_compare(separators_suffix(&partition->separators, i),
				  separators_suffix(&partition->separators, i + 1)) > 0)
			return false;
	return true;
}

static void check_rebuilt(const struct partition *partition, uint64_t data_bytes)
{
	struct partition_writer writer;
	struct partition again;
	uint8_t *bytes;
	uint32_t size;
	partition_writer_init(&writer, NULL, NULL);
	for (uint32_t i = 0; i < partition->count; i++) {
		struct block_place place;
		struct slice separator = whole_separator(partition, i);
		partition_place(partition, i, &place);
		FUZZ_CHECK(status_is_ok(partition_writer_add(&writer, separator, &place, 0)));
		free((void *)(uintptr_t)separator.data);
	}
	FUZZ_CHECK(status_is_ok(partition_writer_finish(&writer, NULL, &bytes, &size)));
	uint8_t *exact = fuzz_exact(bytes, size);
	FUZZ_CHECK(partition_parse(&again, exact, size) && partition_is_sound(&again, data_bytes));
	FUZZ_CHECK(again.count == partition->count && again.filter.size == 0);
	for (uint32_t i = 0; i < again.count; i++) {
		struct block_place place, expected;
		struct slice separator = whole_separator(partition, i);
		partition_place(partition, i, &expected);
		partition_place(&again, i, &place);
		FUZZ_CHECK(place.offset == expected.offset && place.size == expected.size &&
			   place.ordinal == expected.ordinal && place.continues == expected.continues);
		FUZZ_CHECK(separators_compare(&again.separators, i, separator) == 0);
		uint32_t found = separators_search(&again.separators, separator);
		FUZZ_CHECK(found <= i && separators_compare(&again.separators, found, separator) == 0);
		free((void *)(uintptr_t)separator.data);
	}
	free(exact);
	memory_free(bytes);
	partition_writer_free(&writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	const struct filter_ops *filter = filter_at(fuzz_number(&input, 1));
	uint64_t data_bytes = fuzz_number(&input, 4) * 8;
	size_t key_size = (size_t)fuzz_number(&input, 1);
	const uint8_t *bytes = fuzz_bytes(&input, key_size, &key_size);
	uint8_t *key = fuzz_exact(bytes, key_size);
	size_t body_size;
	bytes = fuzz_bytes(&input, input.left, &body_size);
	uint8_t *body = fuzz_exact(bytes, body_size);
	/* The size field is compared with what the top index says: let it agree. */
	if (body_size >= PARTITION_HEADER_BYTES)
		bytes_store32(body + 4, (uint32_t)body_size);
	struct partition partition;
	if (partition_parse(&partition, body, body_size) && partition_is_sound(&partition, data_bytes)) {
		struct slice wanted = slice_make(key, key_size);
		FUZZ_CHECK(separators_search(&partition.separators, wanted) <= partition.count);
		for (uint32_t i = 0; i < partition.count; i++)
			(void)separators_compare(&partition.separators, i, wanted);
		check_places(&partition, filter, data_bytes, hash_key(wanted));
		/* Their ordinals go on counting; a table has no more than it has room for. */
		if (separators_in_order(&partition) &&
		    partition.first_ordinal <= UINT32_MAX - partition.count)
			check_rebuilt(&partition, data_bytes);
	}
	free(key);
	free(body);
	return 0;
}

static size_t make_partition(unsigned variant, unsigned count, uint8_t *to)
{
	const struct filter_ops *filter = filter_at(variant);
	void *options = calloc(1, filter->component.options_size + 1);
	component_default_options(&filter->component, options);
	struct partition_writer writer;
	uint64_t hashes[1000];
	uint8_t *bytes;
	uint32_t size;
	char key[40];
	partition_writer_init(&writer, filter, options);
	for (unsigned i = 0; i < count; i++) {
		(void)snprintf(key, sizeof(key), "user%05u%s", i * 3, i % 4 == 0 ? "tail" : "");
		for (unsigned h = 0; h < 5; h++)
			hashes[i * 5 + h] = (i * 5ull + h + 1) * 0x9e3779b97f4a7c15ull;
		struct block_place place = {
			.offset = 8192 + (uint64_t)i * 2048,
			.size = 1900,
			.ordinal = 7 + i,
			.continues = i % 5 == 4,
		};
		FUZZ_CHECK(status_is_ok(
			partition_writer_add(&writer, slice_from_string(key), &place, (i + 1) * 5)));
	}
	FUZZ_CHECK(status_is_ok(partition_writer_finish(&writer, hashes, &bytes, &size)));
	size_t at = fuzz_put(to, fuzz_put(to, 0, variant, 1), 1 << 16, 4);
	at = fuzz_put_bytes(to, fuzz_put(to, at, strlen(key), 1), key, strlen(key));
	at = fuzz_put_bytes(to, at, bytes, size);
	memory_free(bytes);
	partition_writer_free(&writer);
	free(options);
	return at;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	static const unsigned counts[] = { 1, 4, 30 };
	return index < 9 ? make_partition(index / 3, counts[index % 3], to) : FUZZ_NO_SEED;
}
