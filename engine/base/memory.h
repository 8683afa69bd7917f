/*
 * memory.h: the only door to the heap. Every function may return NULL, and callers turn that into
 * STATUS_NO_MEMORY. The counter-based failure switch lets tests fail the n-th allocation.
 */
#ifndef CASCADE_BASE_MEMORY_H
#define CASCADE_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/exported.h"

void *memory_allocate(size_t size) EXPORTED(memory_allocate);
void *memory_allocate_zeroed(size_t count, size_t size) EXPORTED(memory_allocate_zeroed);
void *memory_resize(void *memory, size_t size) EXPORTED(memory_resize);
void *memory_allocate_aligned(size_t alignment, size_t size) EXPORTED(memory_allocate_aligned);
char *memory_copy_string(const char *text);
void memory_free(void *memory) EXPORTED(memory_free);

/* Anonymous pages, zero-filled, `size` a multiple of 4096; returned to the kernel by unmap. */
void *memory_map(size_t size);
/* The same with `size` and address multiples of MEMORY_HUGE_PAGE, in huge pages if the kernel has any: fewer
 * faults at first touch, and fewer misses of the processor's address translation at random ones. */
enum { MEMORY_HUGE_PAGE = 2 << 20 };
void *memory_map_huge(size_t size);
void memory_unmap(void *memory, size_t size);

/* Fails the n-th allocation from now (1 = the next one) and, if `sticky`, all after it; 0 disarms. */
void memory_fail_at(uint64_t n, int sticky);
/* How often an armed failure has fired since it was armed. */
uint64_t memory_failures_fired(void);
/* How many allocations there were since it was armed, up to the first that failed. */
uint64_t memory_allocations_passed(void);

#endif
