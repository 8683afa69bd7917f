#include "base/door.h"

#include <stdatomic.h>
#include <stddef.h>

static _Atomic(thread_stack_caller *) the_caller;

void set_thread_stack_caller(thread_stack_caller *caller)
{
	atomic_store_explicit(&the_caller, caller, memory_order_relaxed);
}

void call_on_thread_stack(void (*function)(void *argument), void *argument)
{
	thread_stack_caller *caller = atomic_load_explicit(&the_caller, memory_order_relaxed);
	if (__builtin_expect(caller != NULL, 1))
		caller(function, argument);
	else
		function(argument);
}
