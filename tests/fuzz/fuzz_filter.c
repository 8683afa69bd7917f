/*
 * Every filter. Input: 1 byte variant, 8 bytes hash, then bytes: they are asked as if they were a filter, and
 * their words are the hashes of a set that is built, in which each must be found.
 */
#include "base/bytes.h"
#include "base/memory.h"
#include "components/filters/filter.h"
#include "fuzz/fuzz.h"

enum { FILTERS_MAX = 255, SET_MAX = 2000 };

static const struct filter_ops *variants[FILTERS_MAX];
static void *options[FILTERS_MAX];
static unsigned variant_count;

static void find_variants(void)
{
	const struct component *const *list = component_list(COMPONENT_FILTER);
	for (; list[variant_count] != NULL; variant_count++) {
		FUZZ_CHECK(variant_count < FILTERS_MAX);
		variants[variant_count] = (const struct filter_ops *)(const void *)list[variant_count];
		options[variant_count] = calloc(1, list[variant_count]->options_size + 1);
		component_default_options(list[variant_count], options[variant_count]);
	}
}

static void ask(const struct filter_ops *filter, const uint8_t *bytes, size_t size, uint64_t hash)
{
	uint8_t *copy = fuzz_exact(bytes, size);
	struct slice slice = slice_make(copy, size);
	if (filter->prefetch != NULL)
		filter->prefetch(slice, hash);
	bool maybe = filter->may_contain(slice, hash);
	FUZZ_CHECK(maybe == filter->may_contain(slice, hash));
	FUZZ_CHECK(size > 0 || maybe);
	free(copy);
}

/* Builds the filter of `count` hashes; *bytes is the caller's to free. */
static size_t build(unsigned variant, const uint64_t *hashes, size_t count, uint8_t **bytes)
{
	const struct filter_ops *filter = variants[variant];
	uint64_t *shuffled = malloc((count + 1) * sizeof(*shuffled));
	size_t capacity = filter->size(options[variant], count);
	size_t scratch_size =
		filter->scratch_size != NULL ? filter->scratch_size(options[variant], count) : 0;
	void *scratch = memory_allocate_aligned(64, scratch_size > 0 ? scratch_size : 1);
	*bytes = malloc(capacity > 0 ? capacity : 1);
	FUZZ_CHECK(shuffled != NULL && scratch != NULL && *bytes != NULL);
	memcpy(shuffled, hashes, count * sizeof(*shuffled));
	size_t used = filter->build(options[variant], shuffled, count, *bytes, scratch);
	FUZZ_CHECK(used <= capacity);
	memory_free(scratch);
	free(shuffled);
	return used;
}

static void check_set(unsigned variant, const uint64_t *hashes, size_t count, uint64_t hash)
{
	const struct filter_ops *filter = variants[variant];
	uint8_t *bytes;
	size_t size = build(variant, hashes, count, &bytes);
	uint8_t *exact = fuzz_exact(bytes, size);
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(filter->may_contain(slice_make(exact, size), hashes[i]));
	free(exact);
	/* Cut short and damaged, it answers something. */
	if (size > 0) {
		ask(filter, bytes, (size_t)(hash % size), hash);
		bytes[hash % size] ^= (uint8_t)(1u << (hash >> 61));
		for (size_t i = 0; i < count && i < 16; i++)
			ask(filter, bytes, size, hashes[i]);
	}
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint64_t hashes[SET_MAX];
	struct fuzz_input input = { data, size };
	size_t left, count = 0;
	if (variant_count == 0)
		find_variants();
	unsigned variant = (unsigned)fuzz_number(&input, 1) % variant_count;
	uint64_t hash = fuzz_number(&input, 8);
	const uint8_t *bytes = fuzz_bytes(&input, input.left, &left);
	ask(variants[variant], bytes, left, hash);
	for (; count < SET_MAX && count * 8 + 8 <= left; count++)
		hashes[count] = bytes_load64(bytes + count * 8);
	if (count > 0)
		check_set(variant, hashes, count, hash);
	return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	static const size_t counts[] = { 1, 7, 100, 400 };
	uint64_t hashes[400];
	if (variant_count == 0)
		find_variants();
	unsigned variant = index / 8;
	if (variant >= variant_count)
		return FUZZ_NO_SEED;
	size_t count = counts[index % 4];
	for (size_t i = 0; i < count; i++)
		hashes[i] = (i + 1) * 0x9e3779b97f4a7c15ull;
	size_t size = fuzz_put(to, fuzz_put(to, 0, variant, 1), hashes[0], 8);
	if (index % 8 < 4) {
		for (size_t i = 0; i < count; i++)
			size = fuzz_put(to, size, hashes[i], 8);
		return size;
	}
	uint8_t *bytes;
	size_t used = build(variant, hashes, count, &bytes);
	size = fuzz_put_bytes(to, size, bytes, used);
	free(bytes);
	return size;
}
