/*
 * context.h: a saved place to run, and the switch from one to another. Hand-written for x86-64 and
 * aarch64; ucontext elsewhere, or with -DCASCADE_UCONTEXT. The floating-point control words are not
 * saved: nothing in a task changes them.
 *
 * fiber.h stands above it and tells the sanitizers; nothing else calls this.
 */
#ifndef CASCADE_RUNTIME_CONTEXT_H
#define CASCADE_RUNTIME_CONTEXT_H

#include <stddef.h>

#if !defined(CASCADE_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define CASCADE_UCONTEXT
#endif

#ifdef CASCADE_UCONTEXT
#include <ucontext.h>
struct context {
	ucontext_t saved;
};
#else
struct context {
	void *stack_pointer; /* callee-saved registers and the return address lie there */
};
#endif

typedef void context_entry(void *argument);

/*
 * Prepares a context that will call entry(argument) on the stack [low, low + size); `low + size` is
 * 16-byte aligned. `entry` never returns.
 */
void context_prepare(struct context *context, void *low, size_t size, context_entry *entry, void *argument);

/* Saves the running context to `from` and continues `to`; returns when somebody switches back. */
void context_switch(struct context *from, struct context *to);

#ifndef CASCADE_UCONTEXT
/* Runs function(argument) on the stack of `on`, a context that was switched away from, below all that it has
 * there. The function returns; meanwhile nobody switches to `on`. */
void context_call(const struct context *on, void (*function)(void *argument), void *argument);

/*
 * Saves the running context to `from` and calls entry(argument) on a stack that is fresh and ends at `high`,
 * which is 16-byte aligned. When the entry returns, `from` goes on as it was saved last: so a task that never
 * suspends costs hardly more than a call, and one that does may be switched to and from like any other.
 */
void context_begin(struct context *from, void *high, context_entry *entry, void *argument);
#endif

#endif
