/*
 * output.h: a file written from its start to its end through a few large buffers, behind the caller's back.
 *
 * Internal to table/.
 */
#ifndef CASCADE_TABLE_OUTPUT_H
#define CASCADE_TABLE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/shard.h"

enum { OUTPUT_BUFFERS = 3, OUTPUT_BUFFER_BYTES = 256 * 1024 };

struct output_buffer {
	uint8_t *bytes; /* taken when first needed */
	bool writing;
	struct io_batch batch;
	struct io_request request;
};

struct output {
	struct io_file *file;
	uint64_t offset; /* in the file, of the current buffer's first byte */
	size_t fill;	 /* of the current buffer */
	size_t limit;	 /* of fill: a multiple of the page */
	uint32_t current;
	struct output_buffer buffers[OUTPUT_BUFFERS];
};

void output_init(struct output *output, struct io_file *file);

/* Nothing is under way (output_finish or output_cancel). */
void output_free(struct output *output);

static inline uint64_t output_position(const struct output *output)
{
	return output->offset + output->fill;
}

/* Appends; waits while all buffers are under way. Errors of earlier writes come out here. */
MAY_SUSPEND MUST_CHECK struct status output_append(struct task *self, struct output *output, const void *data,
						   size_t size);
MAY_SUSPEND MUST_CHECK struct status output_append_zeros(struct task *self, struct output *output,
							 size_t size);

/* Writes the rest (the position is a multiple of the page) and waits for everything. */
MAY_SUSPEND MUST_CHECK struct status output_finish(struct task *self, struct output *output);

/* Waits for what is under way, whatever comes of it. */
MAY_SUSPEND void output_cancel(struct task *self, struct output *output);

#endif
