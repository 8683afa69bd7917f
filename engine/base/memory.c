#include "base/memory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

void *memory_allocate(size_t size)
{
	return must_fail() ? NULL : malloc(size);
}

void *memory_allocate_zeroed(size_t count, size_t size)
{
	return must_fail() ? NULL : calloc(count, size);
}

void *memory_resize(void *memory, size_t size)
{
	return must_fail() ? NULL : realloc(memory, size);
}

void *memory_allocate_aligned(size_t alignment, size_t size)
{
	size_t rounded = (size + alignment - 1) & ~(alignment - 1);
	return must_fail() ? NULL : aligned_alloc(alignment, rounded);
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
	free(memory);
}

void *memory_map(size_t size)
{
	if (must_fail())
		return NULL;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

void memory_unmap(void *memory, size_t size)
{
	if (memory != NULL)
		(void)munmap(memory, size);
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
