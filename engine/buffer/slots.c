#include "buffer/slots.h"

#include "base/assert.h"
#include "base/memory.h"
#include "io/io.h"

#include "base/poison.h"

/* Classes of 1 to 8 pages, then four to each doubling, up to 512 pages. */
static size_t class_bytes(uint32_t size_class)
{
	if (size_class < 8)
		return (size_t)(size_class + 1) * IO_PAGE_BYTES;
	uint32_t doubling = (size_class - 8) / 4;
	uint32_t quarter = (size_class - 8) % 4 + 1;
	return (size_t)(8u + 2u * quarter) * ((size_t)IO_PAGE_BYTES << doubling);
}

static uint32_t class_of(size_t size)
{
	size_t pages = (size + IO_PAGE_BYTES - 1) / IO_PAGE_BYTES;
	if (pages <= 8)
		return pages == 0 ? 0 : (uint32_t)pages - 1;
	uint32_t size_class = 8;
	while (size_class < SLOT_CLASSES && class_bytes(size_class) < size)
		size_class++;
	return size_class;
}

void slot_pool_init(struct slot_pool *pool, size_t limit)
{
	*pool = (struct slot_pool) { .limit = limit };
}

static void discard(struct slot_pool *pool, struct slot *slot)
{
	ASSERT(pool->bytes >= slot->capacity);
	pool->bytes -= slot->capacity;
	memory_free(slot->bytes);
	memory_free(slot);
}

void slot_pool_free(struct slot_pool *pool)
{
	ASSERT(pool->in_use == 0);
	for (uint32_t i = 0; i < SLOT_CLASSES; i++) {
		while (pool->idle[i] != NULL) {
			struct slot *slot = pool->idle[i];
			pool->idle[i] = slot->next;
			discard(pool, slot);
		}
	}
}

/* Idle slots of other classes make room, so that what is kept never stands beside what is needed. */
static void shed_idle(struct slot_pool *pool, size_t wanted)
{
	for (uint32_t i = SLOT_CLASSES; i-- > 0 && pool->bytes + wanted > pool->limit;) {
		while (pool->idle[i] != NULL && pool->bytes + wanted > pool->limit) {
			struct slot *slot = pool->idle[i];
			pool->idle[i] = slot->next;
			discard(pool, slot);
		}
	}
}

struct slot *slot_take(struct slot_pool *pool, size_t size)
{
	uint32_t size_class = class_of(size);
	if (size_class < SLOT_CLASSES && pool->idle[size_class] != NULL) {
		struct slot *slot = pool->idle[size_class];
		pool->idle[size_class] = slot->next;
		pool->in_use++;
		return slot;
	}
	size_t capacity = size_class < SLOT_CLASSES
				  ? class_bytes(size_class)
				  : (size + IO_PAGE_BYTES - 1) & ~(size_t)(IO_PAGE_BYTES - 1);
	shed_idle(pool, capacity);
	struct slot *slot = memory_allocate(sizeof(*slot));
	uint8_t *bytes = memory_allocate_aligned(IO_PAGE_BYTES, capacity);
	if (slot == NULL || bytes == NULL) {
		memory_free(slot);
		memory_free(bytes);
		return NULL;
	}
	*slot = (struct slot) { .bytes = bytes, .capacity = capacity, .size_class = size_class };
	pool->bytes += capacity;
	if (pool->bytes > pool->bytes_peak)
		pool->bytes_peak = pool->bytes;
	pool->in_use++;
	return slot;
}

void slot_give(struct slot_pool *pool, struct slot *slot)
{
	ASSERT(pool->in_use > 0);
	pool->in_use--;
	if (slot->size_class >= SLOT_CLASSES || pool->bytes > pool->limit) {
		discard(pool, slot);
		return;
	}
	slot->next = pool->idle[slot->size_class];
	pool->idle[slot->size_class] = slot;
}
