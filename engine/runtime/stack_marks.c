/*
 * High-water marks of stacks, for tests: every stack is painted before its first use, what a task has
 * overwritten is measured at its end and painted again. A release only asks, at each end, whether its pool
 * is painted.
 */
#include "runtime/internal.h"

#include "base/poison.h"

enum { MARKS_MAX = 256 };

/* No value of the engine's looks like it: neither a pointer nor a small number. */
#define PAINT 0xa5c3965a69b47e1dull

static atomic_bool marks_are_on;
static atomic_flag marks_busy = ATOMIC_FLAG_INIT;
static struct stack_mark all_marks[MARKS_MAX];
static size_t mark_count;

static void marks_lock(void)
{
	while (atomic_flag_test_and_set_explicit(&marks_busy, memory_order_acquire))
		cpu_relax();
}

static void marks_unlock(void)
{
	atomic_flag_clear_explicit(&marks_busy, memory_order_release);
}

bool stack_marks_are_on(void)
{
	return atomic_load(&marks_are_on);
}

void stack_marks_begin(void)
{
	marks_lock();
	mark_count = 0;
	marks_unlock();
	atomic_store(&marks_are_on, true);
}

size_t stack_marks_end(struct stack_mark *marks, size_t capacity)
{
	atomic_store(&marks_are_on, false);
	marks_lock();
	size_t count = mark_count;
	for (size_t i = 0; i < count && i < capacity; i++)
		marks[i] = all_marks[i];
	marks_unlock();
	return count;
}

void stack_paint(void *low, size_t size)
{
	uint64_t *words = low;
	for (size_t i = 0; i < size / sizeof(*words); i++)
		words[i] = PAINT;
}

size_t stack_used(const void *low, size_t size)
{
	const uint64_t *words = low;
	size_t untouched = 0;
	while (untouched < size / sizeof(*words) && words[untouched] == PAINT)
		untouched++;
	return size - untouched * sizeof(*words);
}

void stack_mark_note(const struct task *task)
{
	uint8_t *low = task->fiber.stack_low;
	size_t size = task->fiber.stack_size;
	size_t used = stack_used(low, size);
	if (used == 0)
		return; /* kept in reserve: no task ran on it */
	stack_paint(low + (size - used), used);
	marks_lock();
	size_t i = 0;
	while (i < mark_count && all_marks[i].type != task->type)
		i++;
	if (i == mark_count && mark_count < MARKS_MAX)
		all_marks[mark_count++] = (struct stack_mark) { .type = task->type };
	if (i < MARKS_MAX) {
		all_marks[i].tasks++;
		if (all_marks[i].used_bytes < used)
			all_marks[i].used_bytes = used;
	}
	marks_unlock();
}
