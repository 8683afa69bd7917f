/*
 * list.h: intrusive doubly linked lists with a sentinel, and singly linked queues.
 */
#ifndef CASCADE_BASE_LIST_H
#define CASCADE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct list {
	struct list *next;
	struct list *previous;
};

static inline void list_init(struct list *list)
{
	list->next = list;
	list->previous = list;
}

static inline bool list_is_empty(const struct list *list)
{
	return list->next == list;
}

static inline void list_add_last(struct list *list, struct list *node)
{
	node->previous = list->previous;
	node->next = list;
	list->previous->next = node;
	list->previous = node;
}

static inline void list_add_first(struct list *list, struct list *node)
{
	list_add_last(list->next, node);
}

static inline void list_remove(struct list *node)
{
	node->previous->next = node->next;
	node->next->previous = node->previous;
	list_init(node);
}

/* The first node, taken off; NULL when empty. */
static inline struct list *list_take_first(struct list *list)
{
	if (list_is_empty(list))
		return NULL;
	struct list *node = list->next;
	list_remove(node);
	return node;
}

#endif
