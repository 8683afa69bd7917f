/*
 * slice.h: a borrowed run of bytes. A slice never owns; whoever hands one out says how long it lives.
 */
#ifndef CASCADE_BASE_SLICE_H
#define CASCADE_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const uint8_t *data; /* may be NULL when size is 0 */
	size_t size;
};

static inline struct slice slice_make(const void *data, size_t size)
{
	return (struct slice) { .data = data, .size = size };
}

static inline struct slice slice_from_string(const char *text)
{
	return slice_make(text, strlen(text));
}

/* memcmp order, a proper prefix first: <0, 0, >0. */
static inline int slice_compare(struct slice a, struct slice b)
{
	size_t common = a.size < b.size ? a.size : b.size;
	if (common > 0) {
		int order = memcmp(a.data, b.data, common);
		if (order != 0)
			return order;
	}
	return a.size < b.size ? -1 : a.size > b.size;
}

static inline bool slice_equal(struct slice a, struct slice b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline size_t slice_common_prefix(struct slice a, struct slice b)
{
	size_t limit = a.size < b.size ? a.size : b.size;
	size_t length = 0;
	while (length < limit && a.data[length] == b.data[length])
		length++;
	return length;
}

static inline struct slice slice_skip(struct slice s, size_t count)
{
	return count >= s.size ? slice_make(NULL, 0) : slice_make(s.data + count, s.size - count);
}

/*
 * The first eight bytes from `skip` on as a big-endian number, zero-filled: heads compare as the
 * bytes do; equal heads decide nothing.
 */
static inline uint64_t slice_head(struct slice s, size_t skip)
{
	if (skip >= s.size)
		return 0;
	size_t left = s.size - skip;
	uint64_t head = 0;
	memcpy(&head, s.data + skip, left < 8 ? left : 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	head = __builtin_bswap64(head);
#endif
	return head;
}

#endif
