/*
 * door.h: the one way from a task's small stack to the stack of its thread.
 *
 * The stack that a task type declares has room for the engine's own frames, which the call graph counts
 * (scripts/check-stacks.sh), and for little else. Whatever is deep, or whose depth nobody counts, goes
 * through here: allocation, formatting, codecs, components, library calls beyond a short list of small
 * ones, callbacks of the embedder, and assertions that fail. It costs about as much as a call by pointer.
 */
#ifndef CASCADE_BASE_DOOR_H
#define CASCADE_BASE_DOOR_H

/*
 * Runs function(argument) on the stack of the thread. The function must not suspend. From outside a task, and
 * from within such a call, it is a plain call. Any thread.
 */
void call_on_thread_stack(void (*function)(void *argument), void *argument);

/* What does so; the runtime's, which alone knows where the stacks are. Before it, all calls are plain. */
typedef void thread_stack_caller(void (*function)(void *argument), void *argument);
void set_thread_stack_caller(thread_stack_caller *caller);

#endif
