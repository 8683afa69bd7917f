/*
 * skeleton.c: the least that is a codec, to start from (docs/add-a-component.md): what was there before is
 * written as a reference to it (Lempel, Ziv 1977; the table of places is Williams's LZRW1, 1991). codec.h has
 * the contract, in full.
 *
 * FORMAT: pieces one after the other, each a byte N and what belongs to it
 *	0 .. 127        N + 1 bytes as they are
 *	128 .. 255      a little-endian 16-bit distance D: N - 124 bytes as they stand D bytes before
 */
#include "components/codec/codec.h"

#include <string.h>

#include "base/bytes.h"

#include "base/poison.h"

enum {
	TABLE_BITS = 12,
	LITERALS_MAX = 128,
	COPY_MIN = 4,
	COPY_MAX = COPY_MIN + 127,
	DISTANCE_MAX = UINT16_MAX,
};

/* Where four bytes with this hash were last seen. */
struct skeleton_context {
	uint32_t places[1 << TABLE_BITS];
};

/* Bytes of the context that both directions get: tables, zeroed once. Of two threads each has its own. */
static size_t skeleton_context_size(const void *options)
{
	(void)options;
	return sizeof(struct skeleton_context);
}

/* --- compress --- */

struct output {
	uint8_t *bytes;
	size_t size, capacity;
};

/* Pieces of at most LITERALS_MAX bytes; false: no room. */
static bool put_literals(struct output *output, const uint8_t *from, size_t count)
{
	while (count > 0) {
		size_t piece = count < LITERALS_MAX ? count : LITERALS_MAX;
		if (output->capacity - output->size < piece + 1)
			return false;
		output->bytes[output->size] = (uint8_t)(piece - 1);
		memcpy(output->bytes + output->size + 1, from, piece);
		output->size += piece + 1;
		from += piece;
		count -= piece;
	}
	return true;
}

static bool put_copy(struct output *output, size_t distance, size_t length)
{
	if (output->capacity - output->size < 3)
		return false;
	output->bytes[output->size] = (uint8_t)(length - COPY_MIN + 128);
	bytes_store16(output->bytes + output->size + 1, (uint16_t)distance);
	output->size += 3;
	return true;
}

/* How many bytes from `at` on are as those from `place` on; 0 if too few or too far away. */
static size_t match(const uint8_t *from, size_t size, size_t place, size_t at)
{
	size_t length = 0;
	if (place >= at || at - place > DISTANCE_MAX)
		return 0;
	while (length < COPY_MAX && at + length < size && from[place + length] == from[at + length])
		length++;
	return length >= COPY_MIN ? length : 0;
}

/* The bytes written, or 0: they do not fit into `capacity`. Equal input gives equal output. */
static size_t skeleton_compress(const void *options, void *context, const uint8_t *from, size_t size,
				uint8_t *to, size_t capacity)
{
	struct skeleton_context *table = context;
	struct output output = { .bytes = to, .capacity = capacity };
	size_t literals = 0; /* the first byte that is not written yet */
	(void)options;
	memset(table, 0, sizeof(*table));
	for (size_t at = 0; at + COPY_MIN <= size;) {
		uint32_t *place = &table->places[bytes_load32(from + at) * 2654435761u >> (32 - TABLE_BITS)];
		size_t length = match(from, size, *place, at);
		size_t distance = at - *place;
		*place = (uint32_t)at;
		if (length == 0) {
			at++;
			continue;
		}
		if (!put_literals(&output, from + literals, at - literals) ||
		    !put_copy(&output, distance, length))
			return 0;
		at += length;
		literals = at;
	}
	return put_literals(&output, from + literals, size - literals) ? output.size : 0;
}

/* --- decompress --- */

/* False unless the input is a block of that size: it may be damaged. Reads and writes nothing beyond. */
static bool skeleton_decompress(void *context, const uint8_t *from, size_t size, uint8_t *to, size_t raw_size)
{
	size_t at = 0, done = 0;
	(void)context;
	while (at < size) {
		bool is_copy = from[at] >= 128;
		size_t length = is_copy ? (size_t)from[at] - 128 + COPY_MIN : (size_t)from[at] + 1;
		size_t taken = is_copy ? 2 : length;
		at++;
		if (size - at < taken || raw_size - done < length)
			return false;
		size_t distance = is_copy ? bytes_load16(from + at) : 0;
		if (is_copy && (distance == 0 || distance > done))
			return false;
		/* What is copied may overlap what it is copied to: a run of equal bytes is a distance of 1.
		 */
		for (size_t i = 0; i < length; i++)
			to[done + i] = is_copy ? to[done + i - distance] : from[at + i];
		at += taken;
		done += length;
	}
	return done == raw_size;
}

const struct codec_ops codec_skeleton = {
	.component = {
		.name = "skeleton",
		.summary = "references to what came before, one byte a piece",
		.abi = COMPONENT_ABI,
	},
	.format_id = COMPONENT_CODEC_ID_OTHERS,
	.context_size = skeleton_context_size,
	.compress = skeleton_compress,
	.decompress = skeleton_decompress,
};

COMPONENT_MODULE({ COMPONENT_CODEC, &codec_skeleton.component });
