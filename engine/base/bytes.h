/*
 * bytes.h: numbers as stored on disk: little-endian fixed width, and LEB128 varints of 1 to 10 bytes.
 * Decoders never read past `end` and return NULL on a malformed or truncated number.
 */
#ifndef CASCADE_BASE_BYTES_H
#define CASCADE_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTES_LE16(x) (x)
#define BYTES_LE32(x) (x)
#define BYTES_LE64(x) (x)
#else
#define BYTES_LE16(x) __builtin_bswap16(x)
#define BYTES_LE32(x) __builtin_bswap32(x)
#define BYTES_LE64(x) __builtin_bswap64(x)
#endif

static inline uint16_t bytes_load16(const void *from)
{
	uint16_t value;
	memcpy(&value, from, sizeof(value));
	return BYTES_LE16(value);
}

static inline uint32_t bytes_load32(const void *from)
{
	uint32_t value;
	memcpy(&value, from, sizeof(value));
	return BYTES_LE32(value);
}

static inline uint64_t bytes_load64(const void *from)
{
	uint64_t value;
	memcpy(&value, from, sizeof(value));
	return BYTES_LE64(value);
}

static inline void bytes_store16(void *to, uint16_t value)
{
	value = BYTES_LE16(value);
	memcpy(to, &value, sizeof(value));
}

static inline void bytes_store32(void *to, uint32_t value)
{
	value = BYTES_LE32(value);
	memcpy(to, &value, sizeof(value));
}

static inline void bytes_store64(void *to, uint64_t value)
{
	value = BYTES_LE64(value);
	memcpy(to, &value, sizeof(value));
}

enum { VARINT_BYTES_MAX = 10 };

static inline size_t varint_size(uint64_t value)
{
	return (size_t)(64 - __builtin_clzll(value | 1) + 6) / 7;
}

/* Returns the end of what was written; the caller has VARINT_BYTES_MAX bytes of room. */
static inline uint8_t *varint_store(uint8_t *to, uint64_t value)
{
	while (value >= 0x80) {
		*to++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*to++ = (uint8_t)value;
	return to;
}

static inline const uint8_t *varint_load(const uint8_t *from, const uint8_t *end, uint64_t *value)
{
	if (from < end && *from < 0x80) {
		*value = *from;
		return from + 1;
	}
	uint64_t result = 0;
	for (unsigned shift = 0; shift < 64 && from < end; shift += 7) {
		uint64_t byte = *from++;
		if (shift == 63 && byte > 1)
			return NULL;
		result |= (byte & 0x7f) << shift;
		if (byte < 0x80) {
			*value = result;
			return from;
		}
	}
	return NULL;
}

#endif
