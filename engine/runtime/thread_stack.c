/*
 * The door of base/door.h: from the stack of the running task to its thread's, which the resident left when
 * it switched to the task. A call there costs as much as one by pointer and the change of the stack pointer.
 * Where nobody has written it in assembly, the resident's loop runs the function and switches back.
 */
#include "runtime/internal.h"

#include "base/poison.h"

void thread_stack_call(void (*function)(void *argument), void *argument)
{
	struct shard *shard = shard_current();
	if (shard == NULL || shard->current == NULL || shard->on_thread_stack) {
		function(argument);
		return;
	}
#ifdef CASCADE_UCONTEXT
	shard->thread_function = function;
	shard->thread_argument = argument;
	fiber_switch(&shard->current->fiber, &shard->fiber, 0);
#else
	shard->on_thread_stack = true;
	fiber_call(&shard->current->fiber, &shard->fiber, function, argument);
	shard->on_thread_stack = false;
#endif
}
