/*
 * lz4.c: LZ4 block format (Yann Collet, liblz4). Fast both ways; the context holds the compressor's hash
 * table, so that no call needs 16 KiB of stack.
 */
#include "components/codec/codec.h"

#include <limits.h>

#include <lz4.h>

#include "base/assert.h"

#include "base/poison.h"

struct lz4_options {
	uint64_t acceleration;
};

static const struct option lz4_options[] = {
	{ .name = "acceleration",
	  .help = "1 compresses best; each step up is faster and compresses less",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct lz4_options, acceleration),
	  .default_value = 1,
	  .minimum = 1,
	  .maximum = 65536 },
	{ .name = NULL },
};

static size_t lz4_context_size(const void *options)
{
	return options == NULL ? 0 : (size_t)LZ4_sizeofState();
}

static size_t lz4_compress(const void *options, void *context, const uint8_t *from, size_t size, uint8_t *to,
			   size_t capacity)
{
	const struct lz4_options *chosen = options;
	ASSERT(context != NULL);
	if (size > LZ4_MAX_INPUT_SIZE || capacity == 0)
		return 0;
	int limit = capacity > INT_MAX ? INT_MAX : (int)capacity;
	int written = LZ4_compress_fast_extState(context, (const char *)from, (char *)to, (int)size, limit,
						 (int)chosen->acceleration);
	return written > 0 ? (size_t)written : 0;
}

static bool lz4_decompress(void *context, const uint8_t *from, size_t size, uint8_t *to, size_t raw_size)
{
	(void)context;
	if (size > INT_MAX || raw_size > INT_MAX)
		return false;
	int restored = LZ4_decompress_safe((const char *)from, (char *)to, (int)size, (int)raw_size);
	return restored >= 0 && (size_t)restored == raw_size;
}

const struct codec_ops codec_lz4 = {
	.component = {
		.name = "lz4",
		.summary = "LZ4 blocks: fast in both directions",
		.abi = COMPONENT_ABI,
		.options = lz4_options,
		.options_size = sizeof(struct lz4_options),
	},
	.format_id = 2,
	.context_size = lz4_context_size,
	.compress = lz4_compress,
	.decompress = lz4_decompress,
};
