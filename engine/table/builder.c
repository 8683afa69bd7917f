/*
 * Building tables: entries into blocks, blocks into the file and into partitions, and at the end the
 * partitions, the top index and the footer behind them.
 */
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/memory.h"
#include "base/planted.h"
#include "io/io.h"
#include "table/block.h"
#include "table/format.h"
#include "table/output.h"
#include "table/partition.h"
#include "table/table.h"
#include "table/variants.h"

#include "base/poison.h"

enum {
	BLOCK_BYTES_DEFAULT = 4096,
	RATIO_ONE = 256,      /* stored / raw in 1/256 */
	SHRINK_FAILURES = 4,  /* blocks that did not shrink, after which most are not tried */
	SHRINK_TRY_EVERY = 8, /* of those, one in so many is */
	PARTITION_TARGET = TABLE_PAGE,
};

/* A growing run of bytes. */
struct bytes {
	uint8_t *data;
	size_t size;
	size_t capacity;
};

/* A finished partition waits in memory for its place behind the data. */
struct done_partition {
	struct done_partition *next;
	uint8_t *bytes;
	uint32_t size;
};

struct table_builder {
	struct output output;
	struct block_writer block;
	struct partition_writer partition;
	struct table_footer footer;
	uint64_t seed;
	struct status status; /* the first failure: every later call returns it */
	bool failed;

	size_t block_limit; /* raw bytes at which the current block is closed */
	size_t block_bytes_max;

	const struct codec_ops *codec; /* NULL: none that shrinks anything */
	const void *codec_options;
	void *codec_defaults, *filter_defaults;
	void *codec_context;
	int32_t ratio; /* of recent blocks, in 1/256 */
	uint32_t shrink_failures;
	uint32_t skipped;
	struct bytes compressed;

	struct bytes last_key;
	uint64_t last_sequence, last_hash;
	struct bytes smallest;
	uint64_t *hashes; /* of the current partition, then those of the current block */
	size_t hash_count, hash_capacity, hashes_in_partition;

	struct done_partition *done, **done_end;
	struct bytes top; /* entries of the top index; pages are filled in at the end */
	char path[TABLE_PATH_BYTES];
};

/* --- small things --- */

static struct status bytes_reserve(struct bytes *bytes, size_t size)
{
	if (size <= bytes->capacity)
		return status_ok();
	size_t capacity = bytes->capacity < 64 ? 64 : bytes->capacity;
	while (capacity < size)
		capacity *= 2;
	uint8_t *data = memory_resize(bytes->data, capacity);
	if (data == NULL)
		return status_make(STATUS_NO_MEMORY);
	bytes->data = data;
	bytes->capacity = capacity;
	return status_ok();
}

static struct status bytes_set(struct bytes *bytes, struct slice from)
{
	TRY(bytes_reserve(bytes, from.size));
	if (from.size > 0)
		memcpy(bytes->data, from.data, from.size);
	bytes->size = from.size;
	return status_ok();
}

static struct slice bytes_slice(const struct bytes *bytes)
{
	return slice_make(bytes->data, bytes->size);
}

/* --- creating --- */

static void builder_free(struct table_builder *builder)
{
	output_free(&builder->output);
	block_writer_free(&builder->block);
	partition_writer_free(&builder->partition);
	while (builder->done != NULL) {
		struct done_partition *done = builder->done;
		builder->done = done->next;
		memory_free(done->bytes);
		memory_free(done);
	}
	memory_free(builder->codec_defaults);
	memory_free(builder->filter_defaults);
	memory_free(builder->codec_context);
	memory_free(builder->compressed.data);
	memory_free(builder->last_key.data);
	memory_free(builder->smallest.data);
	memory_free(builder->hashes);
	memory_free(builder->top.data);
	memory_free(builder);
}

static struct status set_codec(struct table_builder *builder, const struct table_options *options)
{
	const struct codec_ops *codec = options->codec;
	if (codec == NULL || (codec->component.capabilities & CODEC_IDENTITY) != 0)
		return status_ok();
	builder->codec = codec;
	builder->codec_options = options->codec_options;
	builder->footer.codec = codec->format_id;
	if (options->codec_options == NULL) {
		TRY(variant_default_options(&codec->component, &builder->codec_defaults));
		builder->codec_options = builder->codec_defaults;
	}
	return variant_codec_context(codec, builder->codec_options, &builder->codec_context);
}

static struct status set_filter(struct table_builder *builder, const struct table_options *options)
{
	const struct filter_ops *filter = options->filter;
	if (filter != NULL && (filter->component.capabilities & FILTER_PASSES_ALL) != 0)
		filter = NULL;
	const void *chosen = options->filter_options;
	if (filter != NULL) {
		builder->footer.filter = filter->format_id;
		if (chosen == NULL) {
			TRY(variant_default_options(&filter->component, &builder->filter_defaults));
			chosen = builder->filter_defaults;
		}
	}
	partition_writer_init(&builder->partition, filter, chosen);
	return status_ok();
}

static struct status builder_prepare(struct table_builder *builder, const struct table_options *options,
				     uint64_t number)
{
	uint32_t block_bytes = options->block_bytes == 0 ? BLOCK_BYTES_DEFAULT : options->block_bytes;
	if (block_bytes < BLOCK_RAW_TARGET_MIN)
		block_bytes = BLOCK_RAW_TARGET_MIN;
	if (block_bytes > BLOCK_RAW_SHARED_MAX)
		block_bytes = BLOCK_RAW_SHARED_MAX;
	builder->block_bytes_max = block_bytes - BLOCK_HEADER_BYTES;
	builder->seed = table_seed(options->database_id, options->shard, number);
	builder->ratio = RATIO_ONE;
	builder->done_end = &builder->done;
	builder->footer.database_id[0] = options->database_id[0];
	builder->footer.database_id[1] = options->database_id[1];
	builder->footer.shard = options->shard;
	builder->footer.level = options->level;
	builder->footer.number = number;
	builder->footer.block_bytes = block_bytes;
	builder->footer.sequence_min = UINT64_MAX;
	TRY(set_codec(builder, options));
	TRY(set_filter(builder, options));
	return block_writer_init(&builder->block, block_bytes);
}

struct status table_builder_create(struct task *self, const struct table_options *options,
				   const char *directory, uint64_t number, struct table_builder **result)
{
	*result = NULL;
	struct table_builder *builder = memory_allocate_zeroed(1, sizeof(*builder));
	if (builder == NULL)
		return status_make(STATUS_NO_MEMORY);
	table_path(builder->path, directory, number);
	struct status status;
	TRY_GOTO(builder_prepare(builder, options, number), failed);
	struct io_request request = {
		.operation = IO_OPEN,
		.flags = IO_OPEN_WRITE | IO_OPEN_CREATE,
		.path = builder->path,
	};
	TRY_GOTO(task_io(self, &request), failed);
	output_init(&builder->output, request.opened);
	*result = builder;
	return status_ok();
failed:
	builder_free(builder);
	return status;
}

/* --- blocks --- */

/*
 * The raw bytes at which a block that begins now should end: at a page's end as far as the ratio of the
 * blocks before tells, and at most the block size asked for.
 */
static size_t choose_limit(const struct table_builder *builder)
{
	uint64_t rest = table_page_rest(output_position(&builder->output));
	if (rest <= BLOCK_WASTE_MAX)
		rest = TABLE_PAGE;
	/* A block that shrinks less than the others must not cross the page's end for a few bytes. */
	int32_t recent = builder->ratio < RATIO_ONE ? builder->ratio + builder->ratio / 32 + 1 : RATIO_ONE;
	uint64_t ratio = (uint64_t)recent;
	uint64_t limit = (rest - BLOCK_HEADER_BYTES) * RATIO_ONE / ratio;
	uint64_t page = (uint64_t)TABLE_PAGE * RATIO_ONE / ratio;
	if (limit > builder->block_bytes_max)
		limit = builder->block_bytes_max;
	else
		limit += (builder->block_bytes_max - limit) / page * page;
	uint64_t least = BLOCK_RAW_TARGET_MIN - BLOCK_HEADER_BYTES;
	return limit < least ? (size_t)least : (size_t)limit;
}

struct compression {
	struct table_builder *builder;
	struct slice raw;
	uint8_t *to;
	size_t capacity;
	size_t size;
};

static void compress(void *argument)
{
	struct compression *job = argument;
	const struct table_builder *builder = job->builder;
	job->size = builder->codec->compress(builder->codec_options, builder->codec_context, job->raw.data,
					     job->raw.size, job->to, job->capacity);
}

static bool worth_a_try(struct table_builder *builder)
{
	if (builder->codec == NULL)
		return false;
	if (builder->shrink_failures < SHRINK_FAILURES)
		return true;
	builder->skipped = (builder->skipped + 1) % SHRINK_TRY_EVERY;
	return builder->skipped == 0;
}

/* Compresses behind the room for a header at `to`; 0: the block is to be stored raw. */
static size_t try_compress(struct table_builder *builder, struct slice raw, uint8_t *to)
{
	struct compression job = {
		.builder = builder,
		.raw = raw,
		.to = to + BLOCK_HEADER_BYTES,
		.capacity = raw.size - raw.size / 8,
	};
	call_on_thread_stack(compress, &job);
	ASSERT(job.size <= job.capacity);
	if (job.size == 0 || job.size >= raw.size) {
		builder->shrink_failures++;
		return 0;
	}
	builder->shrink_failures = 0;
	return job.size;
}

/* Zeros up to the next page where the block would cross into it for little gain. */
static struct status skip_page_end(struct task *self, struct table_builder *builder, size_t size)
{
	uint64_t rest = table_page_rest(output_position(&builder->output));
	if (block_footprint(size) <= rest || rest > BLOCK_WASTE_MAX)
		return status_ok();
	return output_append_zeros(self, &builder->output, (size_t)rest);
}

/* Puts the block of `size` bytes (header included), complete but for the header, into the file. */
static struct status put_block(struct task *self, struct table_builder *builder, uint8_t *block, size_t size,
			       struct block_header *header, struct block_place *place)
{
	TRY(skip_page_end(self, builder, size));
	place->offset = output_position(&builder->output);
	place->size = (uint32_t)size;
	place->ordinal = builder->footer.blocks++;
	header->stored_size = (uint32_t)(size - BLOCK_HEADER_BYTES);
	block_header_store(block, header);
	header->checksum = block_checksum(block, (uint32_t)size,
					  block_seed(builder->seed, place->offset, place->ordinal));
	block_header_store(block, header);
	TRY(output_append(self, &builder->output, block, size));
	return output_append_zeros(self, &builder->output, (size_t)(block_footprint(size) - size));
}

/* Ends the current block and writes it. */
static struct status write_block(struct task *self, struct table_builder *builder, struct block_place *place)
{
	struct block_header header = { .count = (uint16_t)builder->block.count };
	size_t raw_size;
	uint8_t *raw = block_writer_finish(&builder->block, bytes_slice(&builder->last_key), &raw_size);
	uint8_t *block = raw - BLOCK_HEADER_BYTES;
	size_t size = 0;
	header.raw_size = (uint32_t)raw_size;
	if (worth_a_try(builder)) {
		TRY(bytes_reserve(&builder->compressed, BLOCK_HEADER_BYTES + raw_size));
		size = try_compress(builder, slice_make(raw, raw_size), builder->compressed.data);
	}
	if (size > 0) {
		header.codec = builder->codec->format_id;
		block = builder->compressed.data;
	} else {
		size = raw_size;
	}
	int32_t ratio = (int32_t)(size * RATIO_ONE / raw_size);
	builder->ratio += (ratio - builder->ratio) / 4;
	return put_block(self, builder, block, BLOCK_HEADER_BYTES + size, &header, place);
}

/* --- partitions --- */

struct partition_job {
	struct table_builder *builder;
	struct done_partition *done;
	struct status status;
};

static void finish_partition(void *argument)
{
	struct partition_job *job = argument;
	struct table_builder *builder = job->builder;
	job->status = partition_writer_finish(&builder->partition, builder->hashes, &job->done->bytes,
					      &job->done->size);
}

/* Ends the current partition: its bytes wait for their place, the top index gets its last separator. */
static struct status close_partition(struct table_builder *builder)
{
	struct slice separator = partition_writer_last(&builder->partition);
	struct bytes *top = &builder->top;
	TRY(bytes_reserve(top, top->size + TABLE_TOP_ENTRY_BYTES + separator.size));
	struct done_partition *done = memory_allocate_zeroed(1, sizeof(*done));
	if (done == NULL)
		return status_make(STATUS_NO_MEMORY);
	*builder->done_end = done;
	builder->done_end = &done->next;
	uint8_t *to = top->data + top->size;
	bytes_store32(to, 0);
	bytes_store16(to + 8, (uint16_t)separator.size);
	if (separator.size > 0)
		memcpy(to + TABLE_TOP_ENTRY_BYTES, separator.data, separator.size);
	struct partition_job job = { .builder = builder, .done = done };
	call_on_thread_stack(finish_partition, &job);
	TRY(job.status);
	bytes_store32(to + 4, done->size);
	top->size += TABLE_TOP_ENTRY_BYTES + separator.size;
	builder->footer.partitions++;
	builder->hash_count -= builder->hashes_in_partition;
	if (builder->hash_count > 0)
		memmove(builder->hashes, builder->hashes + builder->hashes_in_partition,
			builder->hash_count * sizeof(uint64_t));
	builder->hashes_in_partition = 0;
	return status_ok();
}

static struct status index_block(struct table_builder *builder, struct slice separator,
				 const struct block_place *place)
{
	if (builder->partition.count > 0 &&
	    partition_writer_size_with(&builder->partition, separator, builder->hash_count) >
		    PARTITION_TARGET)
		TRY(close_partition(builder));
	TRY(partition_writer_add(&builder->partition, separator, place, builder->hash_count));
	builder->hashes_in_partition = builder->hash_count;
	return status_ok();
}

/* Ends the current block; `next` is the key that follows it, NULL if none does. */
static struct status close_block(struct task *self, struct table_builder *builder, const struct slice *next)
{
	struct block_place place = { 0 };
	TRY(write_block(self, builder, &place));
	struct slice last = bytes_slice(&builder->last_key);
	if (next == NULL)
		return index_block(builder, last, &place);
	place.continues = slice_equal(last, *next);
	int extra;
	struct slice separator = slice_make(last.data, separator_shorten(last, *next, &extra));
	if (extra < 0)
		return index_block(builder, separator, &place);
	/* A shorter separator differs from the key in its last byte only: lend the key's bytes for it. */
	uint8_t kept = builder->last_key.data[separator.size];
	builder->last_key.data[separator.size] = (uint8_t)extra;
	struct status status = index_block(builder, slice_make(last.data, separator.size + 1), &place);
	builder->last_key.data[separator.size] = kept;
	return status;
}

/* --- adding --- */

static struct status add_hash(struct table_builder *builder, uint64_t hash)
{
	if (builder->hash_count == builder->hash_capacity) {
		size_t capacity = builder->hash_capacity == 0 ? 4096 : builder->hash_capacity * 2;
		uint64_t *hashes = memory_resize(builder->hashes, capacity * sizeof(uint64_t));
		if (hashes == NULL)
			return status_make(STATUS_NO_MEMORY);
		builder->hashes = hashes;
		builder->hash_capacity = capacity;
	}
	builder->hashes[builder->hash_count++] = hash;
	return status_ok();
}

static void count_entry(struct table_footer *footer, const struct entry *entry)
{
	footer->entries++;
	footer->deletes += entry->kind == ENTRY_DELETE;
	footer->raw_bytes += entry->key.size + entry->value.size;
	if (entry->sequence < footer->sequence_min)
		footer->sequence_min = entry->sequence;
	if (entry->sequence > footer->sequence_max)
		footer->sequence_max = entry->sequence;
}

static struct status add(struct task *self, struct table_builder *builder, const struct entry *entry)
{
	int order = -1;
	if (builder->footer.entries > 0) {
		order = slice_compare(bytes_slice(&builder->last_key), entry->key);
		ASSERT(order < 0 || (order == 0 && builder->last_sequence > entry->sequence));
	} else {
		TRY(bytes_set(&builder->smallest, entry->key));
	}
	uint64_t hash = order == 0 ? builder->last_hash : hash_key(entry->key);
	bool added = false;
	if (builder->block.count > 0) {
		TRY(block_writer_add(&builder->block, entry, block_tag(hash), builder->block_limit, &added));
		if (!added)
			TRY(close_block(self, builder, &entry->key));
	}
	/* Versions of a key share one hash, but each block's filter must know the key. */
	bool new_hash = order != 0 || !added;
	if (!added) {
		builder->block_limit = choose_limit(builder);
		TRY(block_writer_add(&builder->block, entry, block_tag(hash), builder->block_limit, &added));
		ASSERT(added);
	}
	if (new_hash)
		TRY(add_hash(builder, hash));
	if (order != 0)
		TRY(bytes_set(&builder->last_key, entry->key));
	builder->last_sequence = entry->sequence;
	builder->last_hash = hash;
	count_entry(&builder->footer, entry);
	return status_ok();
}

struct status table_builder_add(struct task *self, struct table_builder *builder, const struct entry *entry)
{
	ASSERT(entry->key.size <= KEY_BYTES_MAX);
	ASSERT(entry->value.size <= VALUE_BYTES_MAX);
	ASSERT(entry->sequence <= SEQUENCE_MAX);
	if (__builtin_expect(builder->failed, 0))
		return builder->status;
	struct status status = add(self, builder, entry);
	if (__builtin_expect(!status_is_ok(status), 0)) {
		builder->failed = true;
		builder->status = status;
	}
	return status;
}

uint64_t table_builder_bytes(const struct table_builder *builder)
{
	return output_position(&builder->output) + block_writer_size(&builder->block) +
	       (uint64_t)builder->footer.partitions * TABLE_PAGE;
}

uint64_t table_builder_entries(const struct table_builder *builder)
{
	return builder->footer.entries;
}

/* --- ending --- */

static struct status pad_to_page(struct task *self, struct table_builder *builder)
{
	uint64_t rest = table_page_rest(output_position(&builder->output));
	return rest == TABLE_PAGE ? status_ok() : output_append_zeros(self, &builder->output, (size_t)rest);
}

/* Puts the partitions into the file and their pages into the top index. */
static struct status write_partitions(struct task *self, struct table_builder *builder)
{
	uint8_t *entry = builder->top.data;
	builder->footer.partitions_offset = output_position(&builder->output);
	for (struct done_partition *done = builder->done; done != NULL; done = done->next) {
		uint64_t offset = output_position(&builder->output);
		ASSERT(offset / TABLE_PAGE < UINT32_MAX);
		partition_seal(done->bytes, done->size, section_seed(builder->seed, offset));
		TRY(output_append(self, &builder->output, done->bytes,
				  (size_t)table_align(done->size, TABLE_PAGE)));
		bytes_store32(entry, (uint32_t)(offset / TABLE_PAGE));
		entry += TABLE_TOP_ENTRY_BYTES + bytes_load16(entry + 8);
		task_breathe(self);
	}
	return status_ok();
}

static struct status write_top(struct task *self, struct table_builder *builder)
{
	struct slice smallest = bytes_slice(&builder->smallest);
	struct slice largest = bytes_slice(&builder->last_key);
	size_t size = TABLE_TOP_HEADER_BYTES + smallest.size + largest.size + builder->top.size;
	uint8_t *section = memory_allocate_zeroed(1, size);
	if (section == NULL)
		return status_make(STATUS_NO_MEMORY);
	bytes_store32(section + 8, builder->footer.partitions);
	bytes_store32(section + 12, (uint32_t)smallest.size);
	bytes_store32(section + 16, (uint32_t)largest.size);
	uint8_t *to = section + TABLE_TOP_HEADER_BYTES;
	const struct slice parts[] = { smallest, largest, bytes_slice(&builder->top) };
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (parts[i].size > 0)
			memcpy(to, parts[i].data, parts[i].size);
		to += parts[i].size;
	}
	builder->footer.top_offset = output_position(&builder->output);
	builder->footer.top_bytes = size;
	bytes_store64(section, checksum64(section + 8, size - 8,
					  section_seed(builder->seed, builder->footer.top_offset)));
	struct status status = output_append(self, &builder->output, section, size);
	memory_free(section);
	TRY(status);
	return pad_to_page(self, builder);
}

static struct status write_footer(struct task *self, struct table_builder *builder)
{
	struct table_footer *footer = &builder->footer;
	uint8_t *page = memory_allocate(TABLE_FOOTER_BYTES);
	if (page == NULL)
		return status_make(STATUS_NO_MEMORY);
	footer->bytes = output_position(&builder->output) + TABLE_FOOTER_BYTES;
	if (footer->entries == 0)
		footer->sequence_min = 0;
	table_footer_store(page, footer);
	struct status status = output_append(self, &builder->output, page, TABLE_FOOTER_BYTES);
	memory_free(page);
	return status;
}

static struct status describe(const struct table_builder *builder, struct manifest_table *meta)
{
	const struct table_footer *footer = &builder->footer;
	const struct manifest_table borrowed = {
		.number = footer->number,
		.bytes = footer->bytes,
		.entries = footer->entries,
		.deletes = footer->deletes,
		.sequence_min = footer->sequence_min,
		.sequence_max = footer->sequence_max,
		.raw_bytes = footer->raw_bytes,
		.checksum = footer->checksum,
		.level = footer->level,
		.smallest = bytes_slice(&builder->smallest),
		.largest = bytes_slice(&builder->last_key),
	};
	return manifest_table_copy(meta, &borrowed);
}

static struct status complete(struct task *self, struct table_builder *builder, struct manifest_table *meta)
{
	if (builder->failed)
		return builder->status;
	builder->hash_count -= PLANTED(M14);
	if (builder->block.count > 0)
		TRY(close_block(self, builder, NULL));
	if (builder->partition.count > 0)
		TRY(close_partition(builder));
	builder->footer.data_bytes = output_position(&builder->output);
	TRY(pad_to_page(self, builder));
	TRY(write_partitions(self, builder));
	TRY(write_top(self, builder));
	TRY(write_footer(self, builder));
	TRY(output_finish(self, &builder->output));
	struct io_request sync = { .operation = IO_SYNC, .file = builder->output.file };
	if (!PLANTED(M4))
		TRY(task_io(self, &sync));
	return describe(builder, meta);
}

/* Closes the file, and unlinks it unless the table is complete. */
static struct status let_go(struct task *self, struct table_builder *builder, bool unlink_file)
{
	output_cancel(self, &builder->output);
	struct io_request request = { .operation = IO_CLOSE, .file = builder->output.file };
	struct status status = task_io(self, &request);
	if (unlink_file) {
		/* What cannot be unlinked is an orphan, which the next open removes. */
		struct status ignored = task_unlink(self, builder->path);
		(void)ignored;
	}
	return status;
}

struct status table_builder_finish(struct task *self, struct table_builder *builder,
				   struct manifest_table *meta)
{
	*meta = (struct manifest_table) { 0 };
	struct status status = complete(self, builder, meta);
	/* The data is synced: what closing says after that does not matter. */
	struct status ignored = let_go(self, builder, !status_is_ok(status));
	(void)ignored;
	builder_free(builder);
	return status;
}

void table_builder_abandon(struct task *self, struct table_builder *builder)
{
	struct status ignored = let_go(self, builder, true);
	(void)ignored;
	builder_free(builder);
}
