/*
 * A pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986) through the sleeping tasks themselves. Equal
 * times keep their order, so runs repeat exactly.
 */
#include "runtime/internal.h"

#include "base/poison.h"

static bool is_before(const struct task *a, const struct task *b)
{
	if (a->wake_ns != b->wake_ns)
		return a->wake_ns < b->wake_ns;
	return a->wake_order < b->wake_order;
}

/* The later one becomes the first child of the other; what was beside them is the caller's to settle. */
static struct task *link_pair(struct task *a, struct task *b)
{
	struct task *first = is_before(a, b) ? a : b;
	struct task *second = first == a ? b : a;
	second->heap_next = first->heap_child;
	if (second->heap_next != NULL)
		second->heap_next->heap_previous = second;
	second->heap_previous = first;
	first->heap_child = second;
	return first;
}

struct task *timer_heap_add(struct task *root, struct task *task)
{
	task->heap_child = NULL;
	task->heap_next = NULL;
	task->heap_previous = NULL;
	return root == NULL ? task : link_pair(root, task);
}

/* The two passes over siblings: pairs from left to right, then all of those together from right to left. */
static struct task *merge_siblings(struct task *rest)
{
	struct task *pairs = NULL;
	while (rest != NULL) {
		struct task *a = rest;
		struct task *b = a->heap_next;
		rest = b == NULL ? NULL : b->heap_next;
		if (b != NULL)
			a = link_pair(a, b);
		a->heap_next = pairs;
		pairs = a;
	}
	struct task *merged = NULL;
	while (pairs != NULL) {
		struct task *next = pairs->heap_next;
		merged = merged == NULL ? pairs : link_pair(merged, pairs);
		pairs = next;
	}
	if (merged != NULL) {
		merged->heap_next = NULL;
		merged->heap_previous = NULL;
	}
	return merged;
}

struct task *timer_heap_remove(struct task *root, struct task *task)
{
	struct task *merged = merge_siblings(task->heap_child);
	task->heap_child = NULL;
	if (task == root)
		return merged;
	struct task *previous = task->heap_previous;
	if (previous->heap_child == task)
		previous->heap_child = task->heap_next;
	else
		previous->heap_next = task->heap_next;
	if (task->heap_next != NULL)
		task->heap_next->heap_previous = previous;
	return merged == NULL ? root : link_pair(root, merged);
}
