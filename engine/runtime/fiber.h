/*
 * fiber.h: a context with its stack, and a switch that ASan and TSan know about. Valgrind is told when a
 * stack is mapped (stack.c).
 */
#ifndef CASCADE_RUNTIME_FIBER_H
#define CASCADE_RUNTIME_FIBER_H

#include <stddef.h>

#include "base/sanitizer.h"
#include "runtime/context.h"

#if ADDRESS_SANITIZER
#define FIBER_ASAN
#endif
#if THREAD_SANITIZER
#define FIBER_TSAN
#endif

#ifdef FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

struct fiber {
	struct context context;
	void *stack_low; /* the lowest usable byte */
	size_t stack_size;
#ifdef FIBER_ASAN
	void *fake_stack;
#endif
#ifdef FIBER_TSAN
	void *sanitizer_fiber; /* kept with the stack, since TSan's are costly to make */
#endif
};

/*
 * Continues `to`; returns when somebody switches back to `from`. `last`: nobody ever will, so what
 * the sanitizer keeps for `from` may go.
 */
static inline void fiber_switch(struct fiber *from, struct fiber *to, int last)
{
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack, to->stack_low, to->stack_size);
#else
	(void)last;
#endif
#ifdef FIBER_TSAN
	__tsan_switch_to_fiber(to->sanitizer_fiber, 0);
#endif
	context_switch(&from->context, &to->context);
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

/* The first thing that a new fiber does. */
static inline void fiber_started(void)
{
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
}

#endif
