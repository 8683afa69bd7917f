#include "compaction/chain.h"

#include "base/assert.h"
#include "base/memory.h"

#include "base/poison.h"

struct chain_iterator {
	struct iterator base;
	enum chain_mode mode;
	bool readahead;
	size_t at; /* the table that `current` reads */
	struct iterator *current;
	size_t count;
	struct table *tables[];
};

static struct chain_iterator *chain_of(struct iterator *iterator)
{
	return CONTAINER_OF(iterator, struct chain_iterator, base);
}

static void chain_leave(struct chain_iterator *chain)
{
	iterator_destroy(chain->current);
	chain->current = NULL;
	chain->base.valid = false;
}

static struct status chain_enter(struct chain_iterator *chain, size_t at)
{
	if (chain->current != NULL && chain->at == at)
		return status_ok();
	chain_leave(chain);
	chain->at = at;
	if (chain->mode == CHAIN_STREAMED)
		return table_stream_create(chain->tables[at], &chain->current);
	return table_iterator_create(chain->tables[at], chain->readahead, &chain->current);
}

/* Goes on to the following tables until one has an entry. */
static struct status chain_settle(struct task *self, struct chain_iterator *chain)
{
	while (!chain->current->valid) {
		if (chain->at + 1 == chain->count) {
			chain->base.valid = false;
			return status_ok();
		}
		TRY(chain_enter(chain, chain->at + 1));
		TRY(iterator_seek_first(self, chain->current));
	}
	chain->base.entry = chain->current->entry;
	chain->base.valid = true;
	return status_ok();
}

static size_t chain_find(const struct chain_iterator *chain, struct slice key)
{
	size_t low = 0;
	size_t high = chain->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (slice_compare(chain->tables[middle]->meta.largest, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct status chain_seek(struct task *self, struct iterator *iterator, struct slice key,
				uint64_t sequence)
{
	struct chain_iterator *chain = chain_of(iterator);
	chain->base.valid = false;
	size_t at = chain_find(chain, key);
	if (at == chain->count)
		return status_ok();
	TRY(chain_enter(chain, at));
	TRY(iterator_seek(self, chain->current, key, sequence));
	return chain_settle(self, chain);
}

static struct status chain_next(struct task *self, struct iterator *iterator)
{
	struct chain_iterator *chain = chain_of(iterator);
	chain->base.valid = false;
	TRY(iterator_next(self, chain->current));
	return chain_settle(self, chain);
}

static void chain_destroy(struct iterator *iterator)
{
	struct chain_iterator *chain = chain_of(iterator);
	chain_leave(chain);
	memory_free(chain);
}

static const struct iterator_ops chain_ops = {
	.seek = chain_seek,
	.next = chain_next,
	.destroy = chain_destroy,
};

struct status chain_iterator_create(struct table *const *tables, size_t count, enum chain_mode mode,
				    bool readahead, struct iterator **result)
{
	ASSERT(count > 0);
	struct chain_iterator *chain =
		memory_allocate_zeroed(1, sizeof(*chain) + count * sizeof(chain->tables[0]));
	if (chain == NULL)
		return status_make(STATUS_NO_MEMORY);
	chain->base.ops = &chain_ops;
	chain->mode = mode;
	chain->readahead = readahead;
	chain->count = count;
	memcpy(chain->tables, tables, count * sizeof(chain->tables[0]));
	*result = &chain->base;
	return status_ok();
}
