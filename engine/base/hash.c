#include "base/hash.h"

#include "base/door.h"

#define XXH_INLINE_ALL
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

enum { KEY_SEED = 0 };

_Static_assert(sizeof(XXH3_state_t) <= sizeof(struct checksum_stream), "room for the XXH3 state");

/* What is longer than XXH_SHORT_BYTES keeps its state on the stack, and that shall be the thread's. */
enum { XXH_SHORT_BYTES = XXH3_MIDSIZE_MAX };

struct long_hash {
	const void *data;
	size_t size;
	uint64_t seed;
	uint64_t hash;
};

static void hash_long(void *argument)
{
	struct long_hash *call = argument;
	call->hash = XXH3_64bits_withSeed(call->data, call->size, call->seed);
}

/* Flattened, so that nothing of the long way is left in the frame of the short one. */
__attribute__((flatten)) uint64_t checksum64(const void *data, size_t size, uint64_t seed)
{
	if (__builtin_expect(size <= XXH_SHORT_BYTES, 1))
		return XXH3_64bits_withSeed(data, size, seed);
	struct long_hash call = { .data = data, .size = size, .seed = seed };
	call_on_thread_stack(hash_long, &call);
	return call.hash;
}

uint64_t hash_key(struct slice key)
{
	return checksum64(key.data, key.size, KEY_SEED);
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
