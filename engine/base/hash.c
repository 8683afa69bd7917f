#include "base/hash.h"

#define XXH_INLINE_ALL
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

enum { KEY_SEED = 0 };

_Static_assert(sizeof(XXH3_state_t) <= sizeof(struct checksum_stream), "room for the XXH3 state");

uint64_t hash_key(struct slice key)
{
	return XXH3_64bits_withSeed(key.data, key.size, KEY_SEED);
}

uint64_t checksum64(const void *data, size_t size, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, size, seed);
}

void checksum_stream_begin(struct checksum_stream *stream, uint64_t seed)
{
	XXH3_64bits_reset_withSeed((XXH3_state_t *)(void *)stream->state, seed);
}

void checksum_stream_add(struct checksum_stream *stream, const void *data, size_t size)
{
	XXH3_64bits_update((XXH3_state_t *)(void *)stream->state, data, size);
}

uint64_t checksum_stream_end(const struct checksum_stream *stream)
{
	return XXH3_64bits_digest((const XXH3_state_t *)(const void *)stream->state);
}
