/*
 * iterator.h: the one shape of everything that yields entries in order: tables, memtables, merges.
 */
#ifndef CASCADE_TABLE_ITERATOR_H
#define CASCADE_TABLE_ITERATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/entry.h"
#include "runtime/task.h"

struct iterator;

struct iterator_ops {
	/* To the first entry >= (key, sequence) in entry order. */
	MAY_SUSPEND struct status (*seek)(struct task *self, struct iterator *iterator, struct slice key,
					  uint64_t sequence);
	/* To the following entry. Only while valid. */
	MAY_SUSPEND struct status (*next)(struct task *self, struct iterator *iterator);
	/* Releases what it holds and the iterator itself. */
	void (*destroy)(struct iterator *iterator);
};

/* The first member of every iterator. After an error it is not valid; a new seek may clear it. */
struct iterator {
	const struct iterator_ops *ops;
	struct entry entry; /* while valid; its bytes stay until the iterator moves or is destroyed */
	bool valid;
};

MAY_SUSPEND MUST_CHECK static inline struct status iterator_seek(struct task *self, struct iterator *iterator,
								 struct slice key, uint64_t sequence)
{
	return iterator->ops->seek(self, iterator, key, sequence);
}

MAY_SUSPEND MUST_CHECK static inline struct status iterator_seek_first(struct task *self,
								       struct iterator *iterator)
{
	return iterator->ops->seek(self, iterator, slice_make(NULL, 0), SEQUENCE_MAX);
}

MAY_SUSPEND MUST_CHECK static inline struct status iterator_next(struct task *self, struct iterator *iterator)
{
	return iterator->ops->next(self, iterator);
}

static inline void iterator_destroy(struct iterator *iterator)
{
	if (iterator != NULL)
		iterator->ops->destroy(iterator);
}

#endif
