/*
 * zstd.c: Zstandard frames (Yann Collet, libzstd; RFC 8878). Compresses better than LZ4 and decompresses at a
 * third of its speed or so.
 *
 * All memory is the caller's context, in which libzstd builds its own two: nothing is allocated behind the
 * memory door's back. The parameters of a level are those for blocks of 64 KiB at most, and for 16 KiB where
 * the block is no larger: with what a level takes for input of any size the context would have tens of
 * megabytes. A larger block (a single large value) is compressed with a window of 64 KiB.
 */
#define ZSTD_STATIC_LINKING_ONLY /* contexts in memory of ours */

#include "components/codec/codec.h"

#include <zstd.h>

#include "base/assert.h"

#include "base/poison.h"

enum {
	SMALL_BYTES = 16 * 1024,
	LARGE_BYTES = 64 * 1024,
	CONTEXT_ALIGN = 64,
	/* On blocks of 4 KiB of source text level 3 takes a fifth more time than level 1 and gives 4 % fewer
	 * bytes; the next levels double the time for another 4 %. */
	LEVEL_DEFAULT = 3,
};

struct zstd_options {
	uint64_t level;
};

static const struct option zstd_options[] = {
	{ .name = "level",
	  .help = "1 is fastest, 22 compresses best; decompression takes the same time at each",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct zstd_options, level),
	  .default_value = LEVEL_DEFAULT,
	  .minimum = 1,
	  .maximum = 22 },
	{ .name = NULL },
};

/* The head of a context; libzstd's contexts follow, the decompressor's first, since its size is the same for
 * all options. Each is set up when it is first needed. */
struct zstd_context {
	ZSTD_DCtx *decompressor;
	ZSTD_CCtx *compressor;
	uint64_t level; /* that the compressor's memory is for */
};

_Static_assert(sizeof(struct zstd_context) <= CONTEXT_ALIGN, "the head has its place");

static size_t align_up(size_t size)
{
	return (size + CONTEXT_ALIGN - 1) / CONTEXT_ALIGN * CONTEXT_ALIGN;
}

static ZSTD_compressionParameters parameters(uint64_t level, size_t size)
{
	return ZSTD_getCParams((int)level, size <= SMALL_BYTES ? SMALL_BYTES : LARGE_BYTES, 0);
}

static size_t decompressor_bytes(void)
{
	return align_up(ZSTD_estimateDCtxSize());
}

static size_t compressor_bytes(uint64_t level)
{
	size_t small = ZSTD_estimateCCtxSize_usingCParams(parameters(level, SMALL_BYTES));
	size_t large = ZSTD_estimateCCtxSize_usingCParams(parameters(level, LARGE_BYTES));
	return align_up(small > large ? small : large);
}

static size_t zstd_context_size(const void *options)
{
	const struct zstd_options *chosen = options;
	size_t size = CONTEXT_ALIGN + decompressor_bytes();
	return chosen == NULL ? size : size + compressor_bytes(chosen->level);
}

static ZSTD_CCtx *compressor_of(void *memory, uint64_t level)
{
	struct zstd_context *context = memory;
	if (context->compressor == NULL) {
		uint8_t *at = (uint8_t *)memory + CONTEXT_ALIGN + decompressor_bytes();
		context->compressor = ZSTD_initStaticCCtx(at, compressor_bytes(level));
		context->level = level;
		ASSERT(context->compressor != NULL);
	}
	ASSERT(context->level == level);
	return context->compressor;
}

static size_t zstd_compress(const void *options, void *context, const uint8_t *from, size_t size, uint8_t *to,
			    size_t capacity)
{
	const struct zstd_options *chosen = options;
	ZSTD_CCtx *compressor = compressor_of(context, chosen->level);
	ZSTD_compressionParameters p = parameters(chosen->level, size);
	const struct {
		ZSTD_cParameter parameter;
		unsigned value;
	} settings[] = {
		{ ZSTD_c_windowLog, p.windowLog },
		{ ZSTD_c_chainLog, p.chainLog },
		{ ZSTD_c_hashLog, p.hashLog },
		{ ZSTD_c_searchLog, p.searchLog },
		{ ZSTD_c_minMatch, p.minMatch },
		{ ZSTD_c_targetLength, p.targetLength },
		{ ZSTD_c_strategy, (unsigned)p.strategy },
	};
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		size_t set =
			ZSTD_CCtx_setParameter(compressor, settings[i].parameter, (int)settings[i].value);
		ASSERT(!ZSTD_isError(set));
	}
	size_t written = ZSTD_compress2(compressor, to, capacity, from, size);
	if (!ZSTD_isError(written))
		return written;
	/* It did not fit, which the next call must not be told of. */
	size_t reset = ZSTD_CCtx_reset(compressor, ZSTD_reset_session_only);
	ASSERT(!ZSTD_isError(reset));
	return 0;
}

static bool zstd_decompress(void *memory, const uint8_t *from, size_t size, uint8_t *to, size_t raw_size)
{
	struct zstd_context *context = memory;
	ASSERT(context != NULL);
	if (context->decompressor == NULL) {
		uint8_t *at = (uint8_t *)memory + CONTEXT_ALIGN;
		context->decompressor = ZSTD_initStaticDCtx(at, decompressor_bytes());
		ASSERT(context->decompressor != NULL);
	}
	size_t restored = ZSTD_decompressDCtx(context->decompressor, to, raw_size, from, size);
	return !ZSTD_isError(restored) && restored == raw_size;
}

const struct codec_ops codec_zstd = {
	.component = {
		.name = "zstd",
		.summary = "Zstandard: smaller than LZ4, and slower in both directions",
		.abi = COMPONENT_ABI,
		.options = zstd_options,
		.options_size = sizeof(struct zstd_options),
	},
	.format_id = 3,
	.context_size = zstd_context_size,
	.compress = zstd_compress,
	.decompress = zstd_decompress,
};
