#include "base/assert.h"
#include "base/memory.h"
#include "runtime/shard.h"
#include "trace/trace.h"
#include "trace/trace_internal.h"

#include "base/poison.h"

/* A block while it is filled, waits to be written, or is free. */
struct block {
	struct list link;
	struct trace_block_header header;
	uint8_t *bytes;
};

struct trace_recorder {
	/* What every record touches comes first. */
	uint8_t *at; /* in the current block; NULL: there is none */
	uint8_t *end;
	uint64_t last_ticks;
	struct block *current;
	uint64_t dropped;

	struct trace *trace;
	struct shard *shard;
	struct io_file *file;
	uint64_t next_number; /* of memtables and iterators */
	uint64_t next_block;
	uint64_t records; /* in blocks that are full */
	uint32_t block_count;
	bool writing;
	struct list full; /* oldest first */
	struct list empty;
	struct join writers;
	struct canary canary;
};

/* --- writing --- */

struct seal_call {
	struct block *block;
	uint64_t id;
};

static void seal_on_thread_stack(void *argument)
{
	const struct seal_call *call = argument;
	trace_block_seal(call->block->bytes, &call->block->header, call->id);
}

MAY_SUSPEND static void write_block(struct task *self, struct trace_recorder *recorder, struct block *block)
{
	struct trace *trace = recorder->trace;
	uint64_t place = atomic_fetch_add(&trace->blocks, 1);
	struct seal_call call = { .block = block, .id = trace->header.id };
	call_on_thread_stack(seal_on_thread_stack, &call);
	struct io_request request = { .operation = IO_WRITE,
				      .flags = IO_BULK,
				      .file = recorder->file,
				      .buffer = block->bytes,
				      .length = TRACE_BLOCK_BYTES,
				      .offset = TRACE_HEADER_BYTES + place * TRACE_BLOCK_BYTES };
	if (!status_is_ok(task_io(self, &request)))
		atomic_fetch_add(&trace->failures, 1);
	list_add_last(&recorder->empty, &block->link);
}

MAY_SUSPEND static void write_full_blocks(struct task *self, struct trace_recorder *recorder)
{
	struct list *node;
	while ((node = list_take_first(&recorder->full)) != NULL)
		write_block(self, recorder, CONTAINER_OF(node, struct block, link));
}

static void run_writer(struct task *self, void *argument)
{
	struct trace_recorder *recorder = argument;
	write_full_blocks(self, recorder);
	recorder->writing = false;
}

static const struct task_type writer = {
	.name = "trace",
	.run = run_writer,
	.stack_bytes = 1024,
};

/* --- blocks --- */

/* The current block takes no more. */
static void end_block(struct trace_recorder *recorder)
{
	struct block *block = recorder->current;
	struct trace_block_header *header = &block->header;
	header->payload_bytes = (uint32_t)(recorder->at - block->bytes - TRACE_BLOCK_HEADER_BYTES);
	header->dropped = recorder->dropped;
	header->end_ns = clock_now_ns();
	header->end_ticks = trace_clock(&recorder->canary);
	recorder->records += header->records;
	recorder->current = NULL;
	recorder->at = NULL;
	recorder->end = NULL;
	list_add_last(&recorder->full, &block->link);
}

/* Where that fails, whoever fills the next block tries again, and the end of the recorder writes it. */
static void start_writer(struct trace_recorder *recorder)
{
	if (recorder->writing || list_is_empty(&recorder->full))
		return;
	recorder->writing = status_is_ok(
		task_spawn(recorder->shard, &writer, recorder, TASK_BACKGROUND, &recorder->writers));
}

static struct block *take_block(struct trace_recorder *recorder)
{
	struct list *node = list_take_first(&recorder->empty);
	if (node != NULL)
		return CONTAINER_OF(node, struct block, link);
	if (recorder->block_count == TRACE_BLOCKS_MAX)
		return NULL;
	struct block *block = memory_allocate(sizeof(*block));
	uint8_t *bytes = memory_allocate_aligned(IO_PAGE_BYTES, TRACE_BLOCK_BYTES);
	if (block == NULL || bytes == NULL) {
		memory_free(block);
		memory_free(bytes);
		return NULL;
	}
	list_init(&block->link);
	block->bytes = bytes;
	recorder->block_count++;
	return block;
}

/* A block with room for any record; false: there is none. */
static bool next_block(struct trace_recorder *recorder, uint64_t ticks)
{
	if (recorder->current != NULL)
		end_block(recorder);
	start_writer(recorder);
	struct block *block = take_block(recorder);
	if (block == NULL)
		return false;
	block->header = (struct trace_block_header) {
		.shard = shard_index(recorder->shard),
		.number = recorder->next_block++,
		.begin_ticks = ticks,
	};
	recorder->current = block;
	recorder->at = block->bytes + TRACE_BLOCK_HEADER_BYTES;
	recorder->end = block->bytes + TRACE_BLOCK_BYTES;
	recorder->last_ticks = ticks;
	return true;
}

void trace_put(struct trace_recorder *recorder, const struct trace_record *record)
{
	size_t room = TRACE_RECORD_BYTES_MAX + record->bytes.size;
	if ((size_t)(recorder->end - recorder->at) < room && !next_block(recorder, record->ticks)) {
		recorder->dropped++;
		return;
	}
	recorder->at = trace_record_encode(recorder->at, record, &recorder->last_ticks);
	recorder->current->header.records++;
}

/* --- from open to close --- */

static void free_blocks(struct list *blocks)
{
	struct list *node;
	while ((node = list_take_first(blocks)) != NULL) {
		struct block *block = CONTAINER_OF(node, struct block, link);
		memory_free(block->bytes);
		memory_free(block);
	}
}

static void recorder_free(struct trace_recorder *recorder)
{
	free_blocks(&recorder->full);
	free_blocks(&recorder->empty);
	canary_free(&recorder->canary);
	memory_free(recorder);
}

MAY_SUSPEND struct status trace_recorder_open(struct task *self, struct trace *trace,
					      struct trace_recorder **result)
{
	struct trace_recorder *recorder = memory_allocate_zeroed(1, sizeof(*recorder));
	*result = NULL;
	if (recorder == NULL)
		return status_make(STATUS_NO_MEMORY);
	recorder->trace = trace;
	recorder->shard = task_shard(self);
	list_init(&recorder->full);
	list_init(&recorder->empty);
	join_init(&recorder->writers);
	struct io_request request = { .operation = IO_OPEN, .path = trace->path, .flags = IO_OPEN_WRITE };
	struct status status = status_make(STATUS_NO_MEMORY);
	if (canary_init(&recorder->canary, trace->counts))
		status = task_io(self, &request);
	if (!status_is_ok(status)) {
		recorder_free(recorder);
		return status;
	}
	recorder->file = request.opened;
	*result = recorder;
	return status;
}

MAY_SUSPEND void trace_recorder_close(struct task *self, struct trace_recorder *recorder)
{
	if (recorder == NULL)
		return;
	join_wait(self, &recorder->writers);
	if (recorder->current != NULL)
		end_block(recorder);
	write_full_blocks(self, recorder);
	struct io_request request = { .operation = IO_CLOSE, .file = recorder->file };
	if (!status_is_ok(task_io(self, &request)))
		atomic_fetch_add(&recorder->trace->failures, 1);
	atomic_fetch_add(&recorder->trace->records, recorder->records);
	atomic_fetch_add(&recorder->trace->dropped, recorder->dropped);
	recorder_free(recorder);
}

/* --- what records are made of --- */

struct trace_recorder *trace_recorder_for(struct trace_recorder *recorder, uint32_t kind)
{
	return recorder != NULL && (recorder->trace->header.kinds & kind) != 0 ? recorder : NULL;
}

uint64_t trace_new_number(struct trace_recorder *recorder)
{
	return recorder->next_number++;
}

struct canary *trace_canary(struct trace_recorder *recorder)
{
	return &recorder->canary;
}
