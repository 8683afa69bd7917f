#include "tree/tree_internal.h"

#include "base/assert.h"
#include "base/door.h"
#include "base/memory.h"

#include "base/poison.h"

/* The largest is a huge page. */
enum { CHUNK_BYTES_MIN = 64 << 10, CHUNK_BYTES_MAX = MEMORY_HUGE_PAGE, CHUNKS_PER_MEMTABLE = 16 };

static size_t chunk_bytes(const struct store_options *options)
{
	uint64_t bytes = options->memtable_bytes / 2 / CHUNKS_PER_MEMTABLE;
	/* Two chunks must fit into the half that one memtable may have. */
	uint64_t least = options->memtable_bytes / 4;
	if (least > CHUNK_BYTES_MIN)
		least = CHUNK_BYTES_MIN;
	if (bytes < least)
		return (size_t)least;
	return bytes > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX : (size_t)bytes;
}

void memtable_chunks_init(struct arena_pool *chunks, const struct store_options *options)
{
	/* What one memtable has when it is full: the other half of the budget is in use then. */
	size_t bytes = chunk_bytes(options);
	arena_pool_init(chunks, bytes, (size_t)options->memtable_bytes / 2 + bytes);
}

struct memtable_slot *memtable_slot_create(const struct store_options *options, struct arena_pool *chunks)
{
	struct memtable_slot *slot = memory_allocate_zeroed(1, sizeof(*slot));
	if (slot == NULL)
		return NULL;
	slot->references = 1;
	list_init(&slot->link);
	arena_init_pooled(&slot->arena, chunks);
	slot->memtable = options->memtable->create(&slot->arena, options->memtable_options);
	if (slot->memtable == NULL) {
		arena_free(&slot->arena);
		memory_free(slot);
		return NULL;
	}
	return slot;
}

void memtable_slot_reference(struct memtable_slot *slot)
{
	slot->references++;
}

void memtable_slot_release(struct memtable_slot *slot)
{
	ASSERT(slot->references > 0);
	if (--slot->references > 0)
		return;
	if (memtable_is_traced(slot->memtable))
		traced_memtable_end(slot->memtable);
	arena_free(&slot->arena);
	memory_free(slot);
}

bool memtable_slot_is_empty(const struct memtable_slot *slot)
{
	return slot->inserts == 0;
}

struct slot_iterator {
	struct iterator base;
	struct memtable_slot *slot;
	_Alignas(64) uint8_t inner[TRACED_ITERATOR_BYTES]; /* what a memtable's iterator needs, or more */
};

static struct slot_iterator *slot_iterator_of(struct iterator *iterator)
{
	return CONTAINER_OF(iterator, struct slot_iterator, base);
}

static struct memtable_iterator *inner_of(struct slot_iterator *iterator)
{
	return (struct memtable_iterator *)(void *)iterator->inner;
}

static void slot_iterator_publish(struct slot_iterator *iterator)
{
	const struct memtable_iterator *inner = inner_of(iterator);
	iterator->base.valid = inner->valid;
	if (inner->valid)
		iterator->base.entry = inner->entry;
}

struct seek_call {
	struct slot_iterator *iterator;
	struct slice key;
	uint64_t sequence;
};

static void seek_on_thread_stack(void *argument)
{
	const struct seek_call *call = argument;
	const struct memtable_ops *ops = call->iterator->slot->memtable->ops;
	ops->seek(inner_of(call->iterator), call->key, call->sequence);
}

/* A variant may have its entries to sort before it has a first one. */
static struct status slot_iterator_seek(struct task *self, struct iterator *base, struct slice key,
					uint64_t sequence)
{
	(void)self;
	struct seek_call call = { .iterator = slot_iterator_of(base), .key = key, .sequence = sequence };
	call_on_thread_stack(seek_on_thread_stack, &call);
	slot_iterator_publish(call.iterator);
	return status_ok();
}

static struct status slot_iterator_next(struct task *self, struct iterator *base)
{
	(void)self;
	struct slot_iterator *iterator = slot_iterator_of(base);
	iterator->slot->memtable->ops->next(inner_of(iterator));
	slot_iterator_publish(iterator);
	return status_ok();
}

static void slot_iterator_destroy(struct iterator *base)
{
	struct slot_iterator *iterator = slot_iterator_of(base);
	if (memtable_is_traced(iterator->slot->memtable))
		traced_iterator_end(iterator->slot->memtable, inner_of(iterator));
	memtable_slot_release(iterator->slot);
	memory_free(iterator);
}

static const struct iterator_ops slot_iterator_ops = {
	.seek = slot_iterator_seek,
	.next = slot_iterator_next,
	.destroy = slot_iterator_destroy,
};

struct status memtable_slot_iterator(struct memtable_slot *slot, struct iterator **result)
{
	struct slot_iterator *iterator = memory_allocate_aligned(64, sizeof(*iterator));
	if (iterator == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset(iterator, 0, sizeof(*iterator));
	iterator->base.ops = &slot_iterator_ops;
	iterator->slot = slot;
	slot->memtable->ops->iterator_init(slot->memtable, inner_of(iterator));
	memtable_slot_reference(slot);
	*result = &iterator->base;
	return status_ok();
}
