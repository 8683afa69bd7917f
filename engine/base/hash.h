/*
 * hash.h: the one hash of keys and the one checksum of stored bytes: XXH3-64 (Yann Collet, xxHash 0.8).
 *
 * The key hash is part of the on-disk format (filters, routing), so neither function nor seed may change
 * without a new format version.
 */
#ifndef CASCADE_BASE_HASH_H
#define CASCADE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/exported.h"
#include "base/slice.h"

/* The hash of a key, computed once per operation and reused by routing, filters and caches. */
uint64_t hash_key(struct slice key) EXPORTED(hash_key);

/* A second, independent word from a hash already computed (a finalizer; not a new pass over the key). */
static inline uint64_t hash_mix(uint64_t hash)
{
	hash ^= hash >> 33;
	hash *= 0xff51afd7ed558ccdull;
	hash ^= hash >> 33;
	hash *= 0xc4ceb9fe1a85ec53ull;
	hash ^= hash >> 33;
	return hash;
}

/* Maps a 64-bit hash evenly onto 0 .. count-1 by its high bits (Lemire 2016). */
static inline uint64_t hash_range(uint64_t hash, uint64_t count)
{
	return (uint64_t)(((unsigned __int128)hash * count) >> 64);
}

/* The checksum of `size` bytes; `seed` binds them to their place (file, offset, lap). */
uint64_t checksum64(const void *data, size_t size, uint64_t seed) EXPORTED(checksum64);

/* The low half, for places where four bytes must do. */
static inline uint32_t checksum32(const void *data, size_t size, uint64_t seed)
{
	return (uint32_t)checksum64(data, size, seed);
}

/* A checksum of bytes that lie in several pieces. */
struct checksum_stream {
	_Alignas(64) unsigned char state[640];
};

void checksum_stream_begin(struct checksum_stream *stream, uint64_t seed);
void checksum_stream_add(struct checksum_stream *stream, const void *data, size_t size);
uint64_t checksum_stream_end(const struct checksum_stream *stream);

#endif
