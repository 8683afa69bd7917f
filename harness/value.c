#include "harness/value.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/memory.h"
#include "base/random.h"

enum {
	POOL_BYTES = 64 << 10,
	PIECE_BYTES = 4096,
};

struct value_maker {
	uint64_t seed;
	double compressibility;
	_Alignas(64) uint8_t pool[POOL_BYTES + PIECE_BYTES];
};

/* Two words at once; any alignment. */
typedef uint64_t word_pair __attribute__((vector_size(16), aligned(1), may_alias));

struct status value_maker_create(uint64_t seed, double compressibility, struct value_maker **maker)
{
	struct value_maker *made = memory_allocate_aligned(64, sizeof(*made));
	if (made == NULL)
		return status_make(STATUS_NO_MEMORY);
	made->seed = random_mix(seed + 2);
	made->compressibility = compressibility < 0 ? 0 : compressibility > 1 ? 1 : compressibility;
	for (size_t i = 0; i < sizeof(made->pool) / 8; i++)
		bytes_store64(made->pool + 8 * i, random_at(made->seed, i));
	*maker = made;
	return status_ok();
}

void value_maker_free(struct value_maker *maker)
{
	memory_free(maker);
}

/* A bijection of 64 bits and its inverse: the finalizer of splitmix64 and the steps undone. */
static uint64_t permute(uint64_t x)
{
	return random_mix(x + 0x6a09e667f3bcc909ull);
}

static uint64_t permute_back(uint64_t x)
{
	x ^= (x >> 31) ^ (x >> 62);
	x *= 0x319642b2d24d8ec3ull;
	x ^= (x >> 27) ^ (x >> 54);
	x *= 0x96de1b173f119089ull;
	x ^= (x >> 30) ^ (x >> 60);
	return x - 0x6a09e667f3bcc909ull;
}

static void make_header(uint64_t first, size_t size, uint8_t header[VALUE_HEADER_BYTES])
{
	uint64_t hash = random_mix(first + 0x9e3779b97f4a7c15ull);
	bytes_store64(header, first);
	bytes_store32(header + 8, (uint32_t)size ^ (uint32_t)hash);
	bytes_store32(header + 12, (uint32_t)(random_mix(hash ^ size) >> 32));
}

static size_t header_bytes(size_t size)
{
	return size >= VALUE_HEADER_BYTES ? VALUE_HEADER_BYTES
	       : size < VALUE_WORD_BYTES  ? size
					  : VALUE_WORD_BYTES;
}

/* One piece of filler: `random` bytes from the pool, xored with `mask`, then the byte `run`. */
struct piece {
	const uint8_t *from;
	uint64_t mask;
	size_t random;
	uint8_t run;
};

/* The piece at `begin`, of which the first `skip` bytes are header. */
static struct piece piece_at(const struct value_maker *maker, uint64_t filler, size_t begin, size_t length,
			     size_t skip)
{
	uint64_t place = random_mix(filler + (begin / PIECE_BYTES) * 0x9e3779b97f4a7c15ull);
	uint64_t mask = random_mix(place);
	size_t run = (size_t)((double)length * maker->compressibility);
	return (struct piece) {
		.from = maker->pool + place % POOL_BYTES,
		.mask = mask,
		.random = length - skip > run ? length - skip - run : 0,
		.run = (uint8_t)(mask >> 13),
	};
}

static void random_write(const struct piece *piece, uint8_t *to)
{
	const word_pair mask = { piece->mask, piece->mask };
	size_t at = 0;
	for (; at + 16 <= piece->random; at += 16)
		*(word_pair *)(to + at) = *(const word_pair *)(piece->from + at) ^ mask;
	if (at < piece->random) {
		word_pair last = *(const word_pair *)(piece->from + at) ^ mask;
		memcpy(to + at, &last, piece->random - at);
	}
}

static bool random_equal(const struct piece *piece, const uint8_t *data)
{
	const word_pair mask = { piece->mask, piece->mask };
	word_pair differences = { 0, 0 };
	size_t at = 0;
	for (; at + 16 <= piece->random; at += 16)
		differences |=
			*(const word_pair *)(piece->from + at) ^ mask ^ *(const word_pair *)(data + at);
	if (at < piece->random) {
		word_pair last = *(const word_pair *)(piece->from + at) ^ mask;
		if (memcmp(data + at, &last, piece->random - at) != 0)
			return false;
	}
	return (differences[0] | differences[1]) == 0;
}

/* Whether all bytes are `byte`: the first is, and each equals its neighbour. */
static bool run_equal(const uint8_t *data, size_t size, uint8_t byte)
{
	return size == 0 || (data[0] == byte && memcmp(data, data + 1, size - 1) == 0);
}

static uint64_t first_word(uint64_t key_number, uint32_t version)
{
	return permute((key_number & VALUE_KEY_MAX) | (uint64_t)version << 48);
}

static uint64_t filler_seed(const struct value_maker *maker, uint64_t first, size_t size)
{
	return random_mix(first ^ maker->seed) + size;
}

void value_make(const struct value_maker *maker, uint64_t key_number, uint32_t version, uint8_t *to,
		size_t size)
{
	DASSERT(version >> VALUE_VERSION_BITS == 0);
	uint64_t first = first_word(key_number, version);
	uint8_t header[VALUE_HEADER_BYTES];
	make_header(first, size, header);
	size_t skip = header_bytes(size);
	memcpy(to, header, skip);
	uint64_t filler = filler_seed(maker, first, size);
	for (size_t begin = 0; begin < size; begin += PIECE_BYTES) {
		size_t length = size - begin < PIECE_BYTES ? size - begin : PIECE_BYTES;
		struct piece piece = piece_at(maker, filler, begin, length, skip);
		uint8_t *at = to + begin + skip;
		random_write(&piece, at);
		memset(at + piece.random, piece.run, length - skip - piece.random);
		skip = 0;
	}
}

bool value_decode(struct slice value, uint64_t *key_number, uint32_t *version)
{
	if (value.size < VALUE_WORD_BYTES)
		return false;
	uint64_t word = permute_back(bytes_load64(value.data));
	*key_number = word & VALUE_KEY_MAX;
	*version = (uint32_t)(word >> 48);
	return true;
}

bool value_matches(const struct value_maker *maker, uint64_t key_number, uint32_t version, struct slice value)
{
	uint64_t first = first_word(key_number, version);
	uint8_t header[VALUE_HEADER_BYTES];
	make_header(first, value.size, header);
	size_t skip = header_bytes(value.size);
	if (skip > 0 && memcmp(value.data, header, skip) != 0)
		return false;
	uint64_t filler = filler_seed(maker, first, value.size);
	for (size_t begin = 0; begin < value.size; begin += PIECE_BYTES) {
		size_t length = value.size - begin < PIECE_BYTES ? value.size - begin : PIECE_BYTES;
		struct piece piece = piece_at(maker, filler, begin, length, skip);
		const uint8_t *at = value.data + begin + skip;
		if (!random_equal(&piece, at) ||
		    !run_equal(at + piece.random, length - skip - piece.random, piece.run))
			return false;
		skip = 0;
	}
	return true;
}
