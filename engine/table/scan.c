/*
 * The iterator through the buffer pool. It pins one view at a time, the current block's (or the slot with
 * its decoded bytes); the partition is looked at anew for each block, which costs a hit in the pool.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "table/reader.h"

#include "base/poison.h"

/*
 * Most scans are short: what they never reach would cost reads and push out of the pool what others need. So
 * nothing is read ahead until a scan has passed some blocks, and then little at first.
 */
enum { READAHEAD_AFTER_BLOCKS = 2, READAHEAD_FIRST = 16 * 1024, READAHEAD_MAX = 256 * 1024 };

struct scan {
	struct iterator iterator; /* first */
	struct table_reader *reader;
	struct buffer_view view; /* what the cursor reads in */
	struct block_cursor cursor;
	struct block_place place;
	uint32_t partition;
	uint32_t partition_count; /* its blocks */
	uint32_t index;		  /* the current block in it */
	uint32_t passed;	  /* blocks since the seek */
	bool readahead;
	uint64_t ahead; /* up to where read-ahead was asked for */
	size_t window;
};

static struct scan *scan_of(struct iterator *iterator)
{
	return (struct scan *)(void *)iterator;
}

static void scan_leave(struct scan *scan)
{
	buffer_release(scan->reader->pool, &scan->view);
	scan->cursor.left = 0;
	scan->iterator.valid = false;
}

/* Finds the place of block scan->index of the current partition; with `key`, of the block to begin at. */
static struct status scan_locate(struct task *self, struct scan *scan, const struct slice *key)
{
	struct table_reader *reader = scan->reader;
	struct buffer_view view;
	struct partition partition;
	TRY(reader_view(self, reader, reader_partition_offset(reader, scan->partition),
			reader->top_sizes[scan->partition], &view));
	struct status status = reader_partition(reader, scan->partition, &view, &partition);
	if (status_is_ok(status)) {
		scan->partition_count = partition.count;
		if (key != NULL)
			scan->index = separators_search(&partition.separators, *key);
		if (scan->index < partition.count)
			partition_place(&partition, scan->index, &scan->place);
		else
			status = reader_damage(reader, reader_partition_offset(reader, scan->partition),
					       "a partition does not reach as far as the top index says");
	}
	buffer_release(reader->pool, &view);
	return status;
}

static struct status scan_open_block(struct task *self, struct scan *scan, struct block *block)
{
	struct buffer_view stored;
	TRY(reader_view(self, scan->reader, scan->place.offset, scan->place.size, &stored));
	return reader_open_block(scan->reader, &scan->place, &stored, &scan->view, block);
}

/* Asks for what follows the current block, in windows that double while the scan goes on. */
static void scan_read_ahead(struct scan *scan)
{
	const struct table_reader *reader = scan->reader;
	uint64_t end = scan->place.offset + scan->place.size;
	if (scan->ahead < end)
		scan->ahead = end;
	if (scan->ahead - end > scan->window / 2 || scan->ahead >= reader->footer.data_bytes)
		return;
	uint64_t left = reader->footer.data_bytes - scan->ahead;
	size_t size = left < scan->window ? (size_t)left : scan->window;
	buffer_prefetch(reader->pool, &reader->table.file, scan->ahead, size);
	scan->ahead += size;
	if (scan->window < READAHEAD_MAX)
		scan->window *= 2;
	if (scan->partition + 1 < reader->top.count)
		buffer_prefetch(reader->pool, &reader->table.file,
				reader_partition_offset(reader, scan->partition + 1),
				reader->top_sizes[scan->partition + 1]);
}

/* To the next block; *end: there is none. */
static struct status scan_next_block(struct task *self, struct scan *scan, struct block *block, bool *end)
{
	*end = false;
	if (++scan->index == scan->partition_count) {
		if (scan->partition + 1 == scan->reader->top.count) {
			*end = true;
			return status_ok();
		}
		scan->partition++;
		scan->index = 0;
	}
	TRY(scan_locate(self, scan, NULL));
	if (++scan->passed > READAHEAD_AFTER_BLOCKS && scan->readahead)
		scan_read_ahead(scan);
	return scan_open_block(self, scan, block);
}

/* Damage that the cursor met has no message yet. */
static struct status scan_status(const struct scan *scan, struct status status)
{
	if (status_is(status, STATUS_CORRUPT) && status.detail == 0)
		return reader_damage(scan->reader, scan->place.offset, "a block's entries are wrong");
	return status;
}

static struct status scan_take(struct scan *scan)
{
	struct status status = block_cursor_take(&scan->cursor, &scan->iterator.entry);
	if (__builtin_expect(status_is_ok(status), 1)) {
		scan->iterator.valid = true;
		return status;
	}
	scan_leave(scan);
	return scan_status(scan, status);
}

static struct status scan_begin(struct scan *scan, const struct block *block, uint32_t index)
{
	struct status status = block_cursor_set(&scan->cursor, block, index);
	if (status_is_ok(status))
		return scan_take(scan);
	scan_leave(scan);
	return scan_status(scan, status);
}

static struct status scan_seek(struct task *self, struct iterator *iterator, struct slice key,
			       uint64_t sequence)
{
	struct scan *scan = scan_of(iterator);
	scan_leave(scan);
	scan->ahead = 0;
	scan->passed = 0;
	scan->window = READAHEAD_FIRST;
	scan->partition = separators_search(&scan->reader->top, key);
	if (scan->partition == scan->reader->top.count)
		return status_ok();
	TRY(scan_locate(self, scan, &key));
	struct block block;
	TRY(scan_open_block(self, scan, &block));
	for (;;) {
		uint32_t index;
		if (!block_search(&block, key, sequence, &index)) {
			scan_leave(scan);
			return scan_status(scan, status_make(STATUS_CORRUPT));
		}
		if (index < block.count)
			return scan_begin(scan, &block, index);
		scan_leave(scan);
		bool end;
		TRY(scan_next_block(self, scan, &block, &end));
		if (end)
			return status_ok();
	}
}

static struct status scan_next(struct task *self, struct iterator *iterator)
{
	struct scan *scan = scan_of(iterator);
	if (__builtin_expect(scan->cursor.left > 0, 1))
		return scan_take(scan);
	ASSERT(iterator->valid);
	scan_leave(scan);
	struct block block;
	bool end;
	TRY(scan_next_block(self, scan, &block, &end));
	return end ? status_ok() : scan_begin(scan, &block, 0);
}

static void scan_destroy(struct iterator *iterator)
{
	struct scan *scan = scan_of(iterator);
	scan_leave(scan);
	block_cursor_free(&scan->cursor);
	ASSERT(scan->reader->table.references > 1);
	scan->reader->table.references--;
	memory_free(scan);
}

static const struct iterator_ops scan_ops = {
	.seek = scan_seek,
	.next = scan_next,
	.destroy = scan_destroy,
};

/* The bytes of `count` blocks from `index` on, or as many as the partition has. */
static void prefetch_blocks(const struct table_reader *reader, const struct partition *partition,
			    uint32_t index, uint64_t count)
{
	struct block_place first, last;
	uint64_t left = partition->count - index;
	uint32_t end = index + (uint32_t)(count < left ? count : left);
	partition_place(partition, index, &first);
	partition_place(partition, end - 1, &last);
	uint64_t size = last.offset + last.size - first.offset;
	if (size > READAHEAD_MAX)
		size = READAHEAD_MAX;
	buffer_prefetch(reader->pool, &reader->table.file, first.offset, (size_t)size);
}

void table_prefetch_scan(struct table *table, struct slice key, uint64_t rows)
{
	const struct table_reader *reader = table_reader(table);
	uint32_t index = separators_search(&reader->top, key);
	if (index == reader->top.count)
		return;
	struct buffer_view view;
	struct partition partition;
	uint64_t offset = reader_partition_offset(reader, index);
	/* Without its partition nobody knows where the block is: that page is what the scan waits for first.
	 */
	if (!buffer_try_view(reader->pool, &table->file, offset, reader->top_sizes[index], &view)) {
		buffer_prefetch(reader->pool, &table->file, offset, reader->top_sizes[index]);
		return;
	}
	if (status_is_ok(reader_partition(reader, index, &view, &partition))) {
		uint32_t block = separators_search(&partition.separators, key);
		/* The scan begins in the middle of its first block, as far as anybody knows. */
		uint64_t entries = table->meta.entries;
		uint64_t count = 1 + (rows * reader->footer.blocks + entries / 2) / entries;
		if (block < partition.count)
			prefetch_blocks(reader, &partition, block, count);
	}
	buffer_release(reader->pool, &view);
}

struct status table_iterator_create(struct table *table, bool readahead, struct iterator **iterator)
{
	struct scan *scan = memory_allocate_zeroed(1, sizeof(*scan));
	*iterator = NULL;
	if (scan == NULL)
		return status_make(STATUS_NO_MEMORY);
	scan->iterator.ops = &scan_ops;
	scan->reader = table_reader(table);
	scan->readahead = readahead;
	table->references++;
	*iterator = &scan->iterator;
	return status_ok();
}
