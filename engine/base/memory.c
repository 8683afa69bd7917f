#include "base/memory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/door.h"

static atomic_bool armed;
static atomic_bool sticky_failure;
static atomic_uint_least64_t armed_at;
static atomic_uint_least64_t countdown;
static atomic_uint_least64_t fired;

static bool must_fail(void)
{
	if (__builtin_expect(!atomic_load_explicit(&armed, memory_order_relaxed), 1))
		return false;
	uint64_t left = atomic_load(&countdown);
	while (left > 1) {
		if (atomic_compare_exchange_weak(&countdown, &left, left - 1))
			return false;
	}
	if (!atomic_load(&sticky_failure))
		atomic_store(&armed, false);
	atomic_fetch_add(&fired, 1);
	return true;
}

/* --- the allocator, on the thread's stack: nobody knows how deep the one of the program goes --- */

struct heap_call {
	void *memory; /* goes in, comes out, or both */
	size_t size;
	size_t other; /* a count or an alignment */
};

static void heap_allocate(void *argument)
{
	struct heap_call *call = argument;
	call->memory = malloc(call->size);
}

static void heap_allocate_zeroed(void *argument)
{
	struct heap_call *call = argument;
	call->memory = calloc(call->other, call->size);
}

static void heap_resize(void *argument)
{
	struct heap_call *call = argument;
	call->memory = realloc(call->memory, call->size);
}

static void heap_allocate_aligned(void *argument)
{
	struct heap_call *call = argument;
	call->memory = aligned_alloc(call->other, call->size);
}

static void heap_map(void *argument)
{
	struct heap_call *call = argument;
	call->memory = mmap(NULL, call->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* With a huge page more there is an aligned place in it; the ends go back at once. */
static void heap_map_huge(void *argument)
{
	struct heap_call *call = argument;
	uint8_t *low = mmap(NULL, call->size + MEMORY_HUGE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (low == MAP_FAILED) {
		call->memory = MAP_FAILED;
		return;
	}
	size_t before = -(uintptr_t)low % MEMORY_HUGE_PAGE;
	if (before > 0)
		(void)munmap(low, before);
	(void)munmap(low + before + call->size, MEMORY_HUGE_PAGE - before);
	call->memory = low + before;
	/* Without huge pages small ones do. */
	(void)madvise(call->memory, call->size, MADV_HUGEPAGE);
}

static void heap_unmap(void *argument)
{
	struct heap_call *call = argument;
	(void)munmap(call->memory, call->size);
}

/* --- memory.h --- */

void *memory_allocate(size_t size)
{
	if (must_fail())
		return NULL;
	struct heap_call call = { .size = size };
	call_on_thread_stack(heap_allocate, &call);
	return call.memory;
}

void *memory_allocate_zeroed(size_t count, size_t size)
{
	if (must_fail())
		return NULL;
	struct heap_call call = { .size = size, .other = count };
	call_on_thread_stack(heap_allocate_zeroed, &call);
	return call.memory;
}

void *memory_resize(void *memory, size_t size)
{
	if (must_fail())
		return NULL;
	struct heap_call call = { .memory = memory, .size = size };
	call_on_thread_stack(heap_resize, &call);
	return call.memory;
}

void *memory_allocate_aligned(size_t alignment, size_t size)
{
	if (must_fail())
		return NULL;
	struct heap_call call = { .size = (size + alignment - 1) & ~(alignment - 1), .other = alignment };
	call_on_thread_stack(heap_allocate_aligned, &call);
	return call.memory;
}

char *memory_copy_string(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = memory_allocate(size);
	if (copy != NULL)
		memcpy(copy, text, size);
	return copy;
}

void memory_free(void *memory)
{
	if (memory != NULL)
		call_on_thread_stack(free, memory);
}

void *memory_map(size_t size)
{
	if (must_fail())
		return NULL;
	struct heap_call call = { .size = size };
	call_on_thread_stack(heap_map, &call);
	return call.memory == MAP_FAILED ? NULL : call.memory;
}

void *memory_map_huge(size_t size)
{
	if (must_fail())
		return NULL;
	struct heap_call call = { .size = size };
	call_on_thread_stack(heap_map_huge, &call);
	return call.memory == MAP_FAILED ? NULL : call.memory;
}

void memory_unmap(void *memory, size_t size)
{
	if (memory == NULL)
		return;
	struct heap_call call = { .memory = memory, .size = size };
	call_on_thread_stack(heap_unmap, &call);
}

void memory_fail_at(uint64_t n, int sticky)
{
	atomic_store(&fired, 0);
	atomic_store(&armed_at, n);
	atomic_store(&countdown, n);
	atomic_store(&sticky_failure, sticky != 0);
	atomic_store(&armed, n > 0);
}

uint64_t memory_failures_fired(void)
{
	return atomic_load(&fired);
}

uint64_t memory_allocations_passed(void)
{
	return atomic_load(&armed_at) - atomic_load(&countdown);
}
