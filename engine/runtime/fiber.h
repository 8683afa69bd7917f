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

#ifndef CASCADE_UCONTEXT

#ifdef FIBER_ASAN
struct fiber_visit {
	struct fiber *from;
	struct fiber *on;
	void (*function)(void *argument);
	void *argument;
};

static inline void fiber_visit(void *argument)
{
	struct fiber_visit *visit = (struct fiber_visit *)argument;
	__sanitizer_finish_switch_fiber(visit->on->fake_stack, NULL, NULL);
	visit->function(visit->argument);
	__sanitizer_start_switch_fiber(&visit->on->fake_stack, visit->from->stack_low,
				       visit->from->stack_size);
}
#endif

/* Runs function(argument) on the stack of `on`, which was switched away from, and comes back. */
static inline void fiber_call(struct fiber *from, struct fiber *on, void (*function)(void *argument),
			      void *argument)
{
#ifdef FIBER_ASAN
	struct fiber_visit visit = { from, on, function, argument };
	__sanitizer_start_switch_fiber(&from->fake_stack, on->stack_low, on->stack_size);
	context_call(&on->context, fiber_visit, &visit);
	__sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#else
#ifdef FIBER_TSAN
	__tsan_switch_to_fiber(on->sanitizer_fiber, 0);
#else
	(void)from;
#endif
	context_call(&on->context, function, argument);
#ifdef FIBER_TSAN
	__tsan_switch_to_fiber(from->sanitizer_fiber, 0);
#endif
#endif
}

#endif

/* The first thing that a new fiber does. */
static inline void fiber_started(void)
{
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
}

/*
 * A fiber that has yet to begin: fiber_prepare, then fiber_run as often as it is to go on, and at the end of
 * its entry fiber_end, and a return. Where sanitizers look on, and with ucontext, the way is a switch like
 * any other.
 */
#if !defined(CASCADE_UCONTEXT) && !defined(FIBER_ASAN) && !defined(FIBER_TSAN)
#define FIBER_IS_CALLED
#endif

static inline void fiber_prepare(struct fiber *fiber, context_entry *entry, void *argument)
{
#ifdef FIBER_IS_CALLED
	(void)entry;
	(void)argument;
	fiber->context.stack_pointer = NULL;
#else
	context_prepare(&fiber->context, fiber->stack_low, fiber->stack_size, entry, argument);
#endif
}

/* Continues `to`, or begins it; returns when somebody switches back to `from`, or it has ended. */
static inline void fiber_run(struct fiber *from, struct fiber *to, context_entry *entry, void *argument)
{
#ifdef FIBER_IS_CALLED
	if (to->context.stack_pointer == NULL) {
		context_begin(&from->context, (char *)to->stack_low + to->stack_size, entry, argument);
		return;
	}
#else
	(void)entry;
	(void)argument;
#endif
	fiber_switch(from, to, 0);
}

static inline void fiber_end(struct fiber *self, struct fiber *to)
{
#ifdef FIBER_IS_CALLED
	(void)self;
	(void)to;
#else
	fiber_switch(self, to, 1);
	__builtin_trap();
#endif
}

#endif
