/*
 * A pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986) through the sleeping tasks themselves. Only
 * the first is ever removed. Equal times keep their order, so runs repeat exactly.
 */
#include "runtime/internal.h"

#include "base/poison.h"

static bool is_before(const struct task *a, const struct task *b)
{
	if (a->wake_ns != b->wake_ns)
		return a->wake_ns < b->wake_ns;
	return a->wake_order < b->wake_order;
}

static struct task *link_pair(struct task *a, struct task *b)
{
	struct task *first = is_before(a, b) ? a : b;
	struct task *second = first == a ? b : a;
	second->heap_next = first->heap_child;
	first->heap_child = second;
	return first;
}

struct task *timer_heap_add(struct task *root, struct task *task)
{
	task->heap_child = NULL;
	task->heap_next = NULL;
	return root == NULL ? task : link_pair(root, task);
}

/* The two passes: pairs from left to right, then all of those together from right to left. */
struct task *timer_heap_remove_first(struct task *root)
{
	struct task *pairs = NULL;
	struct task *rest = root->heap_child;
	while (rest != NULL) {
		struct task *a = rest;
		struct task *b = a->heap_next;
		rest = b == NULL ? NULL : b->heap_next;
		a->heap_next = NULL;
		if (b != NULL) {
			b->heap_next = NULL;
			a = link_pair(a, b);
		}
		a->heap_next = pairs;
		pairs = a;
	}
	struct task *merged = NULL;
	while (pairs != NULL) {
		struct task *next = pairs->heap_next;
		pairs->heap_next = NULL;
		merged = merged == NULL ? pairs : link_pair(merged, pairs);
		pairs = next;
	}
	root->heap_child = NULL;
	return merged;
}
