/*
 * batch.h: the encoding of a batch of writes: what an API batch holds, the log stores, and a memtable is
 * filled from. Each operation is
 *
 *	SIZE     DESCRIPTION
 *	1        enum entry_kind
 *	varint   key size, at most KEY_BYTES_MAX
 *	varint   value size, at most VALUE_BYTES_MAX; 0 for ENTRY_DELETE
 *	...      key, value
 *
 * one after the other; later operations win over earlier ones on the same key.
 */
#ifndef CASCADE_BASE_BATCH_H
#define CASCADE_BASE_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/entry.h"

enum { BATCH_HEADER_BYTES_MAX = 1 + 2 * VARINT_BYTES_MAX };

/* Writes the part of an operation before its key; returns its size. */
static inline size_t batch_encode_header(uint8_t header[BATCH_HEADER_BYTES_MAX], enum entry_kind kind,
					 size_t key_size, size_t value_size)
{
	uint8_t *at = header;
	*at++ = (uint8_t)kind;
	at = varint_store(at, key_size);
	at = varint_store(at, value_size);
	return (size_t)(at - header);
}

/*
 * Decodes the operation at the front of *rest into entry (sequence untouched, slices borrowed from *rest) and
 * moves past it. False: the bytes are not a batch.
 */
static inline bool batch_decode(struct slice *rest, struct entry *entry)
{
	const uint8_t *at = rest->data;
	const uint8_t *end = at + rest->size;
	if (at == end || (*at != ENTRY_PUT && *at != ENTRY_DELETE))
		return false;
	entry->kind = (enum entry_kind) * at++;
	uint64_t key_size;
	uint64_t value_size;
	at = varint_load(at, end, &key_size);
	if (at == NULL)
		return false;
	at = varint_load(at, end, &value_size);
	if (at == NULL || key_size > KEY_BYTES_MAX || value_size > VALUE_BYTES_MAX)
		return false;
	if (key_size + value_size > (uint64_t)(end - at))
		return false;
	entry->key = slice_make(at, (size_t)key_size);
	entry->value = slice_make(at + key_size, (size_t)value_size);
	at += key_size + value_size;
	*rest = slice_make(at, (size_t)(end - at));
	return true;
}

#endif
