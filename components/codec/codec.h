/*
 * codec.h: the contract of compression codecs: one block of bytes into fewer, and back.
 *
 * Stateless between calls but for a context that create hands out (tables of the library, one per shard).
 * Both directions may use 20 KiB of stack: callers on task stacks go through call_on_thread_stack.
 */
#ifndef CASCADE_COMPONENTS_CODEC_H
#define CASCADE_COMPONENTS_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "components/component.h"

enum codec_capabilities {
	CODEC_IDENTITY = 1 << 0, /* `none`: blocks are always stored raw */
};

struct codec_ops {
	struct component component;

	/* Stored with every block: unique, never reused, 1 .. 15. 0 means raw. */
	uint8_t format_id;

	/*
	 * Bytes of `context` that compress and decompress need; 0: none. Aligned to 64, zeroed before its
	 * first use, never moved. It is good for these options only; with `options` NULL (of a codec that has
	 * any) for decompress alone, whatever options compressed.
	 */
	size_t (*context_size)(const void *options);

	/*
	 * Compresses `size` bytes into at most `capacity` bytes; returns how many were written, 0 if the
	 * result does not fit (then `to` holds garbage and the block is stored raw).
	 */
	size_t (*compress)(const void *options, void *context, const uint8_t *from, size_t size, uint8_t *to,
			   size_t capacity);

	/*
	 * Restores exactly `raw_size` bytes; false if the input is not a valid block of that size. Never
	 * reads past `size` nor writes past `raw_size`.
	 */
	bool (*decompress)(void *context, const uint8_t *from, size_t size, uint8_t *to, size_t raw_size);
};

#endif
