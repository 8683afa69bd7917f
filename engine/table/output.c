#include "table/output.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/planted.h"
#include "io/io.h"

#include "base/poison.h"

void output_init(struct output *output, struct io_file *file)
{
	*output = (struct output) { .file = file };
}

void output_free(struct output *output)
{
	for (uint32_t i = 0; i < OUTPUT_BUFFERS; i++) {
		ASSERT(!output->buffers[i].writing);
		memory_free(output->buffers[i].bytes);
		output->buffers[i].bytes = NULL;
	}
}

static struct status buffer_await(struct task *self, struct output_buffer *buffer)
{
	if (!buffer->writing)
		return status_ok();
	struct status status = io_batch_wait(self, &buffer->batch);
	buffer->writing = false;
	return status;
}

/* Sends the current buffer on its way; the next one becomes current. */
static void buffer_start(struct task *self, struct output *output)
{
	struct output_buffer *buffer = &output->buffers[output->current];
	ASSERT(!buffer->writing);
	ASSERT(output->fill % IO_PAGE_BYTES == 0);
	buffer->request = (struct io_request) {
		.operation = IO_WRITE,
		.flags = IO_BULK,
		.file = output->file,
		.buffer = buffer->bytes,
		.length = output->fill,
		.offset = output->offset,
	};
	io_batch_init(&buffer->batch);
	buffer->writing = true;
	io_batch_start(task_shard(self), &buffer->batch, &buffer->request);
	output->offset += output->fill;
	output->fill = 0;
	output->current = (output->current + 1) % OUTPUT_BUFFERS;
}

/* Makes the current buffer one that can be filled. */
static struct status buffer_ready(struct task *self, struct output *output)
{
	struct output_buffer *buffer = &output->buffers[output->current];
	TRY(buffer_await(self, buffer));
	size_t length = io_bulk_length(shard_io(task_shard(self)));
	output->limit = length < OUTPUT_BUFFER_BYTES ? length : OUTPUT_BUFFER_BYTES;
	if (buffer->bytes != NULL)
		return status_ok();
	buffer->bytes = memory_allocate_aligned(IO_PAGE_BYTES, OUTPUT_BUFFER_BYTES);
	return buffer->bytes != NULL ? status_ok() : status_make(STATUS_NO_MEMORY);
}

/* `data` NULL: zeros. */
static struct status append(struct task *self, struct output *output, const uint8_t *data, size_t size)
{
	while (size > 0) {
		if (output->fill == 0)
			TRY(buffer_ready(self, output));
		size_t part = output->limit - output->fill;
		if (part > size)
			part = size;
		uint8_t *to = output->buffers[output->current].bytes + output->fill;
		if (data != NULL) {
			memcpy(to, data, part);
			data += part;
		} else {
			memset(to, 0, part);
		}
		output->fill += part;
		size -= part;
		if (output->fill == output->limit)
			buffer_start(self, output);
	}
	return status_ok();
}

struct status output_append(struct task *self, struct output *output, const void *data, size_t size)
{
	ASSERT(data != NULL || size == 0);
	return append(self, output, data, size);
}

struct status output_append_zeros(struct task *self, struct output *output, size_t size)
{
	return append(self, output, NULL, size);
}

struct status output_finish(struct task *self, struct output *output)
{
	if (output->fill > 0)
		buffer_start(self, output);
	struct status status = status_ok();
	if (PLANTED(M2))
		return status;
	for (uint32_t i = 0; i < OUTPUT_BUFFERS; i++)
		status_keep_first(&status, buffer_await(self, &output->buffers[i]));
	return status;
}

void output_cancel(struct task *self, struct output *output)
{
	for (uint32_t i = 0; i < OUTPUT_BUFFERS; i++) {
		struct status ignored = buffer_await(self, &output->buffers[i]);
		(void)ignored;
	}
}
