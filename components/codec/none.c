/*
 * none.c: the codec that leaves bytes as they are. Its compress always says "does not fit", so that a block
 * is stored raw by the same path as any block that does not shrink.
 */
#include "components/codec/codec.h"

#include <string.h>

#include "base/poison.h"

static size_t none_context_size(const void *options)
{
	(void)options;
	return 0;
}

static size_t none_compress(const void *options, void *context, const uint8_t *from, size_t size, uint8_t *to,
			    size_t capacity)
{
	(void)options;
	(void)context;
	(void)from;
	(void)size;
	(void)to;
	(void)capacity;
	return 0;
}

static bool none_decompress(void *context, const uint8_t *from, size_t size, uint8_t *to, size_t raw_size)
{
	(void)context;
	if (size != raw_size)
		return false;
	if (size > 0)
		memcpy(to, from, size);
	return true;
}

const struct codec_ops codec_none = {
	.component = {
		.name = "none",
		.summary = "no compression: blocks are stored as they are",
		.abi = COMPONENT_ABI,
		.capabilities = CODEC_IDENTITY,
	},
	.format_id = 1,
	.context_size = none_context_size,
	.compress = none_compress,
	.decompress = none_decompress,
};
