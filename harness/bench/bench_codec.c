/*
 * bench_codec.c: the kind `codec`: blocks there and back, the way a table's writer and reader take them: what
 * shrinks by less than an eighth is stored as it is, which costs a copy each way.
 */
#include <string.h>

#include "base/memory.h"
#include "components/codec/codec.h"
#include "harness/allocate.h"
#include "harness/bench/bench.h"
#include "harness/bench/bench_codec_data.h"
#include "harness/bench/bench_timing.h"

enum {
	DATA_BYTES = 4 << 20,
	DATA_BYTES_QUICK = 64 << 10,
	SLICE_BYTES = 256 << 10,
	SLICES = 100,
	SLICES_QUICK = 2,
	ALIGNMENT = 64,
};

enum { COMPRESS_RATE, DECOMPRESS_RATE, STORED, COMPRESS_TIME, DECOMPRESS_TIME, RAW }; /* the numbers */

struct codec_work {
	const struct codec_ops *ops;
	void *options, *context;
	uint8_t *raw, *stored, *restored;
	uint32_t *sizes; /* of stored blocks; the whole: as it is */
	size_t block_bytes, blocks;
	size_t next; /* the block that is next; the first again after the last */
	bool failed; /* a block was not restored */
};

static size_t turn(struct codec_work *work)
{
	size_t block = work->next;
	work->next = block + 1 < work->blocks ? block + 1 : 0;
	return block;
}

static void compress(void *argument, uint64_t count)
{
	struct codec_work *work = argument;
	for (uint64_t i = 0; i < count; i++) {
		size_t block = turn(work);
		const uint8_t *raw = work->raw + block * work->block_bytes;
		uint8_t *to = work->stored + block * work->block_bytes;
		size_t size = work->ops->compress(work->options, work->context, raw, work->block_bytes, to,
						  work->block_bytes - work->block_bytes / 8);
		if (size == 0)
			memcpy(to, raw, work->block_bytes);
		work->sizes[block] = (uint32_t)(size == 0 ? work->block_bytes : size);
	}
}

static void decompress(void *argument, uint64_t count)
{
	struct codec_work *work = argument;
	for (uint64_t i = 0; i < count; i++) {
		size_t block = turn(work);
		const uint8_t *from = work->stored + block * work->block_bytes;
		uint8_t *to = work->restored + block * work->block_bytes;
		if (work->sizes[block] == work->block_bytes)
			memcpy(to, from, work->block_bytes);
		else if (!work->ops->decompress(work->context, from, work->sizes[block], to,
						work->block_bytes))
			work->failed = true;
	}
}

static uint8_t *allocate_lines(size_t size)
{
	uint8_t *memory = memory_allocate_aligned(ALIGNMENT, (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
	if (memory != NULL)
		memset(memory, 0, size);
	return memory;
}

static struct status work_create(struct codec_work *work, struct bench_job *job)
{
	const struct component *component = component_find(COMPONENT_CODEC, job->variant);
	size_t bytes = job->quick ? DATA_BYTES_QUICK : DATA_BYTES;
	*work = (struct codec_work) {
		.ops = (const struct codec_ops *)component,
		.options = allocate_zeroed(1, component->options_size + 1),
		.raw = allocate_lines(bytes),
		.stored = allocate_lines(bytes),
		.restored = allocate_lines(bytes),
		.block_bytes = job->size,
		.blocks = bytes / job->size,
	};
	component_default_options(component, work->options);
	work->sizes = allocate_zeroed(work->blocks, sizeof(*work->sizes));
	size_t context_bytes = work->ops->context_size(work->options);
	if (context_bytes > 0)
		work->context = allocate_lines(context_bytes);
	if (work->raw == NULL || work->stored == NULL || work->restored == NULL ||
	    (context_bytes > 0 && work->context == NULL))
		return status_make(STATUS_NO_MEMORY);
	return codec_data_fill((enum codec_content)job->parameter, job->seed, work->raw, bytes);
}

static void work_free(struct codec_work *work)
{
	memory_free(work->options);
	memory_free(work->context);
	memory_free(work->raw);
	memory_free(work->stored);
	memory_free(work->restored);
	memory_free(work->sizes);
}

/* What there is to say of all blocks, and whether each of them is itself again. */
static struct status look(struct codec_work *work, double numbers[BENCH_NUMBERS_MAX])
{
	size_t stored = 0, raw = 0;
	work->next = 0;
	compress(work, work->blocks);
	memset(work->restored, 0, work->blocks * work->block_bytes);
	decompress(work, work->blocks);
	if (work->failed || memcmp(work->raw, work->restored, work->blocks * work->block_bytes) != 0)
		return status_error(STATUS_CORRUPT, "%s: a block is not restored as it was",
				    work->ops->component.name);
	for (size_t i = 0; i < work->blocks; i++) {
		stored += work->sizes[i];
		raw += work->sizes[i] == work->block_bytes;
	}
	numbers[STORED] = (double)stored / (double)(work->blocks * work->block_bytes);
	numbers[RAW] = (double)raw / (double)work->blocks;
	return status_ok();
}

static struct status run_codec(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct codec_work work;
	uint64_t count = SLICE_BYTES / job->size;
	unsigned slices = job->quick ? SLICES_QUICK : SLICES;
	struct status status = work_create(&work, job);
	if (status_is_ok(status))
		status = look(&work, numbers);
	if (status_is_ok(status)) {
		numbers[COMPRESS_TIME] = bench_time_slices(compress, &work, count, slices);
		numbers[DECOMPRESS_TIME] = bench_time_slices(decompress, &work, count, slices);
		numbers[COMPRESS_RATE] = (double)job->size * 1e9 / numbers[COMPRESS_TIME];
		numbers[DECOMPRESS_RATE] = (double)job->size * 1e9 / numbers[DECOMPRESS_TIME];
	}
	work_free(&work);
	return status;
}

/* --- the measure --- */

static const struct bench_size sizes[] = {
	{ .size = 4096, .quick = 4096 },
	{ .size = 16384, .quick = 16384 },
};
static const struct bench_side sides[] = {
	{ "random", run_codec, CODEC_RANDOM },
	{ "half", run_codec, CODEC_HALF },
	{ "json", run_codec, CODEC_JSON },
};

static const struct bench_measure blocks = {
	.name = "blocks",
	.summary = "blocks of values that do not compress, that compress to half, and of JSON",
	.numbers = {
		[COMPRESS_RATE] = { "compress_bytes_s", BENCH_BYTES_PER_SECOND },
		[DECOMPRESS_RATE] = { "decompress_bytes_s", BENCH_BYTES_PER_SECOND },
		[STORED] = { "stored_share", BENCH_SHARE },
		[COMPRESS_TIME] = { "compress_ns", BENCH_NANOSECONDS },
		[DECOMPRESS_TIME] = { "decompress_ns", BENCH_NANOSECONDS },
		[RAW] = { "raw_blocks_share", BENCH_SHARE },
	},
	.sides = sides,
	.side_count = sizeof(sides) / sizeof(sides[0]),
	.compared_numbers = 3,
	.size_name = "block size",
	.size_unit = BENCH_BYTES,
	.sizes = sizes,
	.size_count = sizeof(sizes) / sizeof(sizes[0]),
};

static const struct bench_measure *const measures[] = { &blocks, NULL };

const struct bench_kind bench_codec = {
	.name = "codec",
	.summary = "codecs alone: blocks of several contents, compressed and restored",
	.measures = measures,
	.has_variants = true,
};
