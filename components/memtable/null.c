/*
 * null.c: a memtable that takes entries and forgets them. What a run costs with it is what surrounds a
 * memtable: log, tasks, routing, pacing. Nothing that was written is found again, in memory or in tables.
 */
#include "components/memtable/memtable.h"

#include "base/assert.h"

#include "base/poison.h"

extern const struct memtable_ops memtable_null;

static struct memtable *null_create(struct arena *arena, const void *options)
{
	(void)options;
	struct memtable *memtable = arena_allocate(arena, sizeof(*memtable), _Alignof(struct memtable));
	if (memtable == NULL)
		return NULL;
	*memtable = (struct memtable) { .ops = &memtable_null, .arena = arena };
	return memtable;
}

static struct status null_insert(struct memtable *memtable, const struct entry *entry, uint64_t oldest_needed)
{
	(void)memtable;
	(void)oldest_needed;
	ASSERT(entry->key.size <= KEY_BYTES_MAX);
	ASSERT(entry->sequence <= SEQUENCE_MAX);
	return status_ok();
}

static bool null_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	(void)memtable;
	(void)key;
	(void)sequence;
	(void)entry;
	return false;
}

static uint64_t null_count(const struct memtable *memtable)
{
	(void)memtable;
	return 0;
}

static void null_iterator_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	*iterator = (struct memtable_iterator) { .memtable = memtable };
}

static void null_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	(void)key;
	(void)sequence;
	iterator->valid = false;
}

static void null_seek_last(struct memtable_iterator *iterator)
{
	iterator->valid = false;
}

/* Only while valid, so never. */
static void null_step(struct memtable_iterator *iterator)
{
	ASSERT(iterator->valid);
}

const struct memtable_ops memtable_null = {
	.component = {
		.name = "null",
		.summary = "forgets what it is given, to price what is around: benches only",
		.abi = COMPONENT_ABI,
		.capabilities = MEMTABLE_FORGETS,
	},
	.create = null_create,
	.insert = null_insert,
	.get = null_get,
	.count = null_count,
	.iterator_init = null_iterator_init,
	.seek = null_seek,
	.seek_back = null_seek,
	.seek_last = null_seek_last,
	.next = null_step,
	.prev = null_step,
};
