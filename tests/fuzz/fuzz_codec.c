/*
 * Every codec. Input: 1 byte variant, 3 bytes raw size, then bytes: they are decoded as if they were such a
 * block, and they are encoded and decoded again, whole and cut short.
 */
#include "base/memory.h"
#include "components/codec/codec.h"
#include "fuzz/fuzz.h"

enum { RAW_BYTES_MAX = 1 << 20, CODECS_MAX = 15 };

struct variant {
	const struct codec_ops *ops;
	void *options;
	void *context;
};

static struct variant variants[CODECS_MAX];
static unsigned variant_count;

static void find_variants(void)
{
	const struct component *const *list = component_list(COMPONENT_CODEC);
	for (; list[variant_count] != NULL; variant_count++) {
		FUZZ_CHECK(variant_count < CODECS_MAX);
		struct variant *variant = &variants[variant_count];
		variant->ops = (const struct codec_ops *)(const void *)list[variant_count];
		variant->options = calloc(1, list[variant_count]->options_size + 1);
		component_default_options(list[variant_count], variant->options);
		size_t size = variant->ops->context_size(variant->options);
		variant->context = memory_allocate_aligned(64, size > 0 ? size : 1);
		memset(variant->context, 0, size);
	}
}

/* Whether `size` bytes decode to `raw_size`; *raw is the caller's to free. */
static bool decode(const struct variant *variant, const uint8_t *bytes, size_t size, size_t raw_size,
		   uint8_t **raw)
{
	uint8_t *from = fuzz_exact(bytes, size);
	*raw = malloc(raw_size > 0 ? raw_size : 1);
	FUZZ_CHECK(*raw != NULL);
	bool done = variant->ops->decompress(variant->context, from, size, *raw, raw_size);
	free(from);
	return done;
}

static void check_round_trip(const struct variant *variant, const uint8_t *bytes, size_t size, size_t cut)
{
	uint8_t *stored = malloc(size + 1);
	uint8_t *raw;
	FUZZ_CHECK(stored != NULL);
	size_t used = variant->ops->compress(variant->options, variant->context, bytes, size, stored, size);
	FUZZ_CHECK(used <= size);
	if (used > 0) {
		FUZZ_CHECK(decode(variant, stored, used, size, &raw));
		FUZZ_CHECK(memcmp(raw, bytes, size) == 0);
		free(raw);
		bool done = decode(variant, stored, cut % used, size, &raw);
		FUZZ_CHECK(!done || memcmp(raw, bytes, size) == 0);
		free(raw);
		FUZZ_CHECK(!decode(variant, stored, used, size + 1, &raw));
		free(raw);
	}
	free(stored);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	uint8_t *raw;
	size_t left;
	if (variant_count == 0)
		find_variants();
	const struct variant *variant = &variants[fuzz_number(&input, 1) % variant_count];
	size_t raw_size = (size_t)fuzz_number(&input, 3) % (RAW_BYTES_MAX + 1);
	const uint8_t *bytes = fuzz_bytes(&input, input.left, &left);
	(void)decode(variant, bytes, left, raw_size, &raw);
	free(raw);
	if (left > 0)
		check_round_trip(variant, bytes, left, raw_size);
	return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	static uint8_t text[3000];
	if (variant_count == 0)
		find_variants();
	if (index >= 2 * variant_count)
		return FUZZ_NO_SEED;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)("key value "[i % 10] + (i % 97 == 0));
	const struct variant *variant = &variants[index / 2];
	size_t size = fuzz_put(to, fuzz_put(to, 0, index / 2, 1), sizeof(text), 3);
	if (index % 2 == 0)
		return fuzz_put_bytes(to, size, text, sizeof(text));
	size_t used = variant->ops->compress(variant->options, variant->context, text, sizeof(text),
					     to + size, sizeof(text));
	return size + used;
}
