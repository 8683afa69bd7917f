#include "table/block.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "table/format.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/poison.h"

bool block_parse(struct block *block, const uint8_t *body, size_t size, uint32_t count)
{
	if (size < BODY_HEADER_BYTES)
		return false;
	uint32_t prefix_size = bytes_load16(body + 8);
	size_t left = size - BODY_HEADER_BYTES;
	if (prefix_size > left || (size_t)count * ENTRY_TAIL_BYTES >= left - prefix_size)
		return false;
	block->base_sequence = bytes_load64(body);
	block->prefix_size = prefix_size;
	block->prefix = body + BODY_HEADER_BYTES;
	block->entries = block->prefix + prefix_size;
	block->limit = body + size;
	block->offsets = block->limit - (size_t)count * 2;
	block->tags = block->offsets - count;
	block->count = count;
	return true;
}

const uint8_t *block_entry_decode_slow(const struct block *block, const uint8_t *at,
				       struct block_entry *entry)
{
	const uint8_t *end = block->tags;
	if (at >= end)
		return NULL;
	uint32_t sequence_bytes = at[0] >> 4;
	entry->kind = (enum entry_kind)(at[0] & 15);
	at++;
	if (sequence_bytes > 8 || (size_t)(end - at) < sequence_bytes)
		return NULL;
	uint64_t delta = 0;
	for (uint32_t i = 0; i < sequence_bytes; i++)
		delta |= (uint64_t)at[i] << (8 * i);
	at += sequence_bytes;
	uint64_t suffix_size;
	uint64_t value_size;
	at = varint_load(at, end, &suffix_size);
	if (at == NULL)
		return NULL;
	at = varint_load(at, end, &value_size);
	if (at == NULL || suffix_size > KEY_BYTES_MAX || value_size > VALUE_BYTES_MAX)
		return NULL;
	if (suffix_size + value_size > (size_t)(end - at))
		return NULL;
	entry->sequence = block->base_sequence + ((delta >> 1) ^ (0 - (delta & 1)));
	entry->suffix = at;
	entry->suffix_size = (uint32_t)suffix_size;
	entry->value = at + suffix_size;
	entry->value_size = (uint32_t)value_size;
	return entry->value + value_size;
}

/* --- searching --- */

/* Bit i: tags[i] == tag, for 16 tags. */
static inline uint32_t match_16(const uint8_t *tags, uint8_t tag)
{
#ifdef __SSE2__
	__m128i all = _mm_loadu_si128((const __m128i *)(const void *)tags);
	return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_set1_epi8((char)tag)));
#else
	uint32_t mask = 0;
	for (unsigned half = 0; half < 2; half++) {
		const uint64_t low_bits = 0x7f7f7f7f7f7f7f7full;
		uint64_t x = bytes_load64(tags + (size_t)half * 8) ^ (tag * 0x0101010101010101ull);
		uint64_t zero = ~(((x & low_bits) + low_bits) | x | low_bits);
		mask |= (uint32_t)(((zero >> 7) * 0x0102040810204080ull) >> 56) << (8 * half);
	}
	return mask;
#endif
}

/* Matches among the (at most 16) tags from `from` on. */
static inline uint32_t match_tags(const struct block *block, uint32_t from, uint8_t tag)
{
	uint32_t count = block->count - from;
	/* The offsets behind the tags may be read along while the block does not end before. */
	if (__builtin_expect(block->count >= 8, 1)) {
		uint32_t mask = match_16(block->tags + from, tag);
		return count >= 16 ? mask : mask & ((1u << count) - 1);
	}
	uint8_t few[16] = { 0 };
	memcpy(few, block->tags, count);
	return match_16(few, tag) & ((1u << count) - 1);
}

static inline bool starts_with_prefix(const struct block *block, struct slice key)
{
	return key.size >= block->prefix_size &&
	       (block->prefix_size == 0 || memcmp(key.data, block->prefix, block->prefix_size) == 0);
}

enum block_answer block_get(const struct block *block, struct slice key, uint8_t tag, uint64_t sequence,
			    struct block_entry *entry)
{
	if (!starts_with_prefix(block, key))
		return BLOCK_ABSENT;
	const uint8_t *rest = key.data + block->prefix_size;
	size_t rest_size = key.size - block->prefix_size;
	uint32_t last_version = UINT32_MAX;
	for (uint32_t from = 0; from < block->count; from += 16) {
		uint32_t mask = match_tags(block, from, tag);
		for (; mask != 0; mask &= mask - 1) {
			uint32_t index = from + (uint32_t)__builtin_ctz(mask);
			if (block_entry_at(block, index, entry) == NULL)
				return BLOCK_DAMAGED;
			if (entry->suffix_size != rest_size)
				continue;
			if (rest_size > 0 && memcmp(entry->suffix, rest, rest_size) != 0)
				continue;
			if (entry->sequence <= sequence)
				return BLOCK_FOUND;
			last_version = index;
		}
	}
	return last_version == block->count - 1 ? BLOCK_TOO_NEW : BLOCK_ABSENT;
}

bool block_search(const struct block *block, struct slice key, uint64_t sequence, uint32_t *index)
{
	size_t common = key.size < block->prefix_size ? key.size : block->prefix_size;
	int order = common == 0 ? 0 : memcmp(key.data, block->prefix, common);
	if (order > 0) {
		*index = block->count;
		return true;
	}
	if (order < 0 || key.size < block->prefix_size) {
		*index = 0;
		return true;
	}
	struct slice rest = slice_skip(key, block->prefix_size);
	uint32_t low = 0;
	uint32_t high = block->count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		struct block_entry entry;
		if (block_entry_at(block, middle, &entry) == NULL)
			return false;
		if (entry_compare(slice_make(entry.suffix, entry.suffix_size), entry.sequence, rest,
				  sequence) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*index = low;
	return true;
}

/* --- walking --- */

/* Room behind the prefix that is there before a key's length is looked at. */
enum { CURSOR_KEY_SLACK = 64 };

static struct status cursor_reserve(struct block_cursor *cursor, size_t size)
{
	if (size <= cursor->key_capacity)
		return status_ok();
	size_t capacity = cursor->key_capacity < 128 ? 128 : cursor->key_capacity;
	while (capacity < size)
		capacity *= 2;
	uint8_t *key = memory_resize(cursor->key, capacity);
	if (key == NULL)
		return status_make(STATUS_NO_MEMORY);
	cursor->key = key;
	cursor->key_capacity = capacity;
	return status_ok();
}

struct status block_cursor_set(struct block_cursor *cursor, const struct block *block, uint32_t index)
{
	ASSERT(index < block->count);
	uint32_t offset = bytes_load16(block->offsets + (size_t)index * 2);
	if (offset >= (size_t)(block->tags - block->entries))
		return status_make(STATUS_CORRUPT);
	TRY(cursor_reserve(cursor, block->prefix_size + (size_t)CURSOR_KEY_SLACK));
	memcpy(cursor->key, block->prefix, block->prefix_size);
	cursor->block = *block;
	cursor->next = block->entries + offset;
	cursor->left = block->count - index;
	return status_ok();
}

struct status block_cursor_long_key(struct block_cursor *cursor, const struct block_entry *found)
{
	TRY(cursor_reserve(cursor, (size_t)cursor->block.prefix_size + found->suffix_size));
	memcpy(cursor->key + cursor->block.prefix_size, found->suffix, found->suffix_size);
	return status_ok();
}

void block_cursor_free(struct block_cursor *cursor)
{
	memory_free(cursor->key);
	cursor->key = NULL;
	cursor->key_capacity = 0;
}

/* --- building --- */

/* Where the entries begin in the writer's buffers. */
enum { ENTRIES_START = BLOCK_HEADER_BYTES + BODY_HEADER_BYTES };

struct status block_writer_init(struct block_writer *writer, uint32_t raw_bytes_max)
{
	*writer = (struct block_writer) { 0 };
	/* The smallest entry takes 3 bytes, its tag and offset 3 more. */
	writer->count_max = raw_bytes_max / 6 + 2;
	writer->capacity = (size_t)raw_bytes_max + 64;
	writer->bytes = memory_allocate(writer->capacity);
	writer->tags = memory_allocate(writer->count_max);
	writer->offsets = memory_allocate((size_t)writer->count_max * 2);
	if (writer->bytes != NULL && writer->tags != NULL && writer->offsets != NULL)
		return status_ok();
	block_writer_free(writer);
	return status_make(STATUS_NO_MEMORY);
}

void block_writer_free(struct block_writer *writer)
{
	memory_free(writer->bytes);
	memory_free(writer->spare);
	memory_free(writer->first_key);
	memory_free(writer->tags);
	memory_free(writer->offsets);
	*writer = (struct block_writer) { 0 };
}

static struct status reserve(uint8_t **bytes, size_t *capacity, size_t size)
{
	if (size <= *capacity)
		return status_ok();
	uint8_t *larger = memory_resize(*bytes, size + size / 4);
	if (larger == NULL)
		return status_make(STATUS_NO_MEMORY);
	*bytes = larger;
	*capacity = size + size / 4;
	return status_ok();
}

/* Bytes of a sequence difference as stored. */
static inline uint32_t delta_bytes(uint64_t delta)
{
	return delta == 0 ? 0 : (uint32_t)(71 - __builtin_clzll(delta)) / 8;
}

static inline uint8_t *store_entry_header(uint8_t *to, enum entry_kind kind, uint64_t delta,
					  size_t suffix_size, size_t value_size)
{
	uint32_t sequence_bytes = delta_bytes(delta);
	*to++ = (uint8_t)((uint32_t)kind | sequence_bytes << 4);
	bytes_store64(to, delta);
	to += sequence_bytes;
	to = varint_store(to, suffix_size);
	return varint_store(to, value_size);
}

static inline uint64_t sequence_delta(const struct block_writer *writer, uint64_t sequence)
{
	int64_t difference = (int64_t)(sequence - writer->base_sequence);
	return ((uint64_t)difference << 1) ^ (uint64_t)(difference >> 63);
}

static struct slice first_key(const struct block_writer *writer)
{
	return slice_make(writer->first_key, writer->first_key_size);
}

/* Writes all entries anew with a shorter common prefix: a key came that shares less. */
static struct status shorten_prefix(struct block_writer *writer, uint32_t prefix_size)
{
	uint32_t gone = writer->prefix_size - prefix_size;
	size_t size =
		ENTRIES_START + prefix_size + writer->entries_size + (size_t)writer->count * (gone + 2) + 64;
	TRY(reserve(&writer->spare, &writer->spare_capacity, size));
	struct block old = {
		.entries = writer->bytes + ENTRIES_START + writer->prefix_size,
		.base_sequence = writer->base_sequence,
	};
	old.tags = old.entries + writer->entries_size;
	old.limit = old.tags;
	const uint8_t *from = old.entries;
	uint8_t *start = writer->spare + ENTRIES_START + prefix_size;
	uint8_t *to = start;
	for (uint32_t i = 0; i < writer->count; i++) {
		struct block_entry entry;
		from = block_entry_decode(&old, from, &entry);
		ASSERT(from != NULL);
		bytes_store16(writer->offsets + (size_t)i * 2, (uint16_t)(to - start));
		to = store_entry_header(to, entry.kind, sequence_delta(writer, entry.sequence),
					(size_t)entry.suffix_size + gone, entry.value_size);
		memcpy(to, writer->first_key + prefix_size, gone);
		to += gone;
		memcpy(to, entry.suffix, (size_t)entry.suffix_size + entry.value_size);
		to += (size_t)entry.suffix_size + entry.value_size;
	}
	uint8_t *bytes = writer->bytes;
	size_t capacity = writer->capacity;
	writer->bytes = writer->spare;
	writer->capacity = writer->spare_capacity;
	writer->spare = bytes;
	writer->spare_capacity = capacity;
	writer->entries_size = (size_t)(to - start);
	writer->prefix_size = prefix_size;
	writer->suffix_max += gone;
	return status_ok();
}

/* What the key has in common with the block's other keys. */
static uint32_t shared_prefix(const struct block_writer *writer, struct slice key)
{
	if (writer->count == 0)
		return key.size < writer->prefix_hint ? (uint32_t)key.size : writer->prefix_hint;
	if (key.size >= writer->prefix_size &&
	    (writer->prefix_size == 0 || memcmp(key.data, writer->first_key, writer->prefix_size) == 0))
		return writer->prefix_size;
	/* All keys agree with the first in the block's prefix. */
	return (uint32_t)slice_common_prefix(slice_make(writer->first_key, writer->prefix_size), key);
}

/* The first entry decides where the block begins. */
static struct status begin_block(struct block_writer *writer, const struct entry *entry, uint32_t prefix_size)
{
	TRY(reserve(&writer->first_key, &writer->first_key_capacity, entry->key.size));
	if (entry->key.size > 0)
		memcpy(writer->first_key, entry->key.data, entry->key.size);
	writer->first_key_size = entry->key.size;
	writer->prefix_size = prefix_size;
	writer->base_sequence = entry->sequence;
	writer->suffix_max = 0;
	writer->entries_size = 0;
	return status_ok();
}

struct status block_writer_add(struct block_writer *writer, const struct entry *entry, uint8_t tag,
			       size_t limit, bool *added)
{
	uint32_t prefix_size = shared_prefix(writer, entry->key);
	size_t suffix_size = entry->key.size - prefix_size;
	size_t size = block_writer_size(writer) + ENTRY_HEADER_MAX + suffix_size + entry->value.size +
		      ENTRY_TAIL_BYTES;
	*added = false;
	if (writer->count > 0) {
		uint32_t gone = writer->prefix_size - prefix_size;
		size_t header = 1 + delta_bytes(sequence_delta(writer, entry->sequence)) +
				varint_size(suffix_size) + varint_size(entry->value.size);
		size_t exact = size - ENTRY_HEADER_MAX + header;
		if (gone > 0)
			exact += (size_t)(writer->count - 1) * gone +
				 (writer->suffix_max + gone < 0x80 ? 0 : (size_t)writer->count * 2);
		if (exact > limit || writer->count == writer->count_max)
			return status_ok();
		if (gone > 0)
			TRY(shorten_prefix(writer, prefix_size));
		size = block_writer_size(writer) + ENTRY_HEADER_MAX + suffix_size + entry->value.size +
		       ENTRY_TAIL_BYTES;
	} else {
		TRY(begin_block(writer, entry, prefix_size));
		size += prefix_size;
	}
	TRY(reserve(&writer->bytes, &writer->capacity, BLOCK_HEADER_BYTES + size + 8));
	uint8_t *start = writer->bytes + ENTRIES_START + writer->prefix_size;
	uint8_t *to = start + writer->entries_size;
	bytes_store16(writer->offsets + (size_t)writer->count * 2, (uint16_t)writer->entries_size);
	writer->tags[writer->count++] = tag;
	to = store_entry_header(to, entry->kind, sequence_delta(writer, entry->sequence), suffix_size,
				entry->value.size);
	if (suffix_size > 0)
		memcpy(to, entry->key.data + prefix_size, suffix_size);
	to += suffix_size;
	if (entry->value.size > 0)
		memcpy(to, entry->value.data, entry->value.size);
	to += entry->value.size;
	writer->entries_size = (size_t)(to - start);
	if (suffix_size > writer->suffix_max)
		writer->suffix_max = suffix_size;
	*added = true;
	return status_ok();
}

uint8_t *block_writer_finish(struct block_writer *writer, struct slice last_key, size_t *size)
{
	ASSERT(writer->count > 0);
	*size = block_writer_size(writer);
	ASSERT(BLOCK_HEADER_BYTES + *size <= writer->capacity);
	ASSERT(writer->count == 1 || writer->entries_size <= BLOCK_RAW_SHARED_MAX);
	uint8_t *body = writer->bytes + BLOCK_HEADER_BYTES;
	bytes_store64(body, writer->base_sequence);
	bytes_store16(body + 8, (uint16_t)writer->prefix_size);
	if (writer->prefix_size > 0)
		memcpy(body + BODY_HEADER_BYTES, writer->first_key, writer->prefix_size);
	uint8_t *to = body + BODY_HEADER_BYTES + writer->prefix_size + writer->entries_size;
	memcpy(to, writer->tags, writer->count);
	memcpy(to + writer->count, writer->offsets, (size_t)writer->count * 2);
	/* Neighbouring blocks are about as wide: the next one's keys will share about as much. */
	if (writer->count > 1)
		writer->prefix_hint = (uint32_t)slice_common_prefix(first_key(writer), last_key);
	writer->count = 0;
	writer->entries_size = 0;
	writer->prefix_size = 0;
	return body;
}
