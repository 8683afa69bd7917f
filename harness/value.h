/*
 * value.h: values that say what they are.
 *
 * A value is a header {key number, version, length, tag} and filler, both functions of (key number,
 * version, size), so that a reader can tell a wrong, stale, torn or damaged value from the right one
 * without knowing what was written.
 *
 *	OFFSET  SIZE  DESCRIPTION (little-endian)
 *	0       8     permute(key number | version << 48): a bijection, so that it reads as random bytes
 *	8       4     length of the value, xored with a hash of the first word
 *	12      4     a hash of the first word and the length
 *	16      ...   filler
 *
 * Degraded forms: from 8 to 15 bytes, only the first word and filler; from 1 to 7 bytes, the low bytes of
 * the first word, which can be compared but not decoded; 0 bytes tell nothing.
 *
 * Filler comes in pieces of 4 KiB counted from the value's start. The first part of each piece is a slice
 * of a pool of random bytes, at an offset of its own and xored with a 64-bit word of its own, so that no
 * two values, and no two pieces of one, share content. The rest of the piece, the given share of it, is one
 * byte repeated, which any codec reduces to a few bytes. A share of 0 gives values that neither LZ4 nor
 * zstd shrinks; below some hundred bytes a codec's own few bytes for each value show.
 */
#ifndef CASCADE_HARNESS_VALUE_H
#define CASCADE_HARNESS_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"

enum {
	VALUE_HEADER_BYTES = 16,
	VALUE_WORD_BYTES = 8, /* smallest value that can be decoded */
	VALUE_VERSION_BITS = 16,
};

#define VALUE_KEY_MAX ((1ull << 48) - 1)

struct value_maker; /* immutable once made: shared by all clients */

/* `compressibility`: share of a value's bytes that compress away, 0 .. 1. NO_MEMORY. */
MUST_CHECK struct status value_maker_create(uint64_t seed, double compressibility,
					    struct value_maker **maker);
void value_maker_free(struct value_maker *maker); /* NULL is allowed */

/* Writes the value of `size` bytes to `to`. version < 2^16. About 40 ns for 1000 bytes. */
void value_make(const struct value_maker *maker, uint64_t key_number, uint32_t version, uint8_t *to,
		size_t size);

/* What a value's first word says. False: shorter than VALUE_WORD_BYTES. */
bool value_decode(struct slice value, uint64_t *key_number, uint32_t *version);

/* Whether each byte is as value_make would write it for this key number, version and size. */
bool value_matches(const struct value_maker *maker, uint64_t key_number, uint32_t version,
		   struct slice value);

#endif
