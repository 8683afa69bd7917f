#include "runtime/context.h"

#include <stdint.h>
#include <string.h>

#include "base/assert.h"

#include "base/poison.h"

#if !defined(CASCADE_UCONTEXT)

/* The first frame of a task, in the .S file: calls the entry with its argument, and traps if it returns. */
void context_start(void);

#if defined(__x86_64__)

/* What context_switch pops, lowest address first. */
struct switch_frame {
	uintptr_t r15, r14, r13, r12, rbx, rbp, rip;
	uintptr_t end_of_stack[2]; /* zeroes where a walker by frame pointers stops */
};

static void frame_fill(struct switch_frame *frame, context_entry *entry, void *argument)
{
	frame->r12 = (uintptr_t)entry;
	frame->r13 = (uintptr_t)argument;
	frame->rip = (uintptr_t)context_start;
}

#elif defined(__aarch64__)

struct switch_frame {
	uintptr_t x29, x30, x19, x20, x21_to_x28[8], d8_to_d15[8];
};

static void frame_fill(struct switch_frame *frame, context_entry *entry, void *argument)
{
	frame->x19 = (uintptr_t)entry;
	frame->x20 = (uintptr_t)argument;
	frame->x30 = (uintptr_t)context_start;
}

_Static_assert(sizeof(struct switch_frame) == 160, "the offsets in context_aarch64.S");

#endif

void context_prepare(struct context *context, void *low, size_t size, context_entry *entry, void *argument)
{
	uintptr_t high = (uintptr_t)low + size;
	ASSERT(high % 16 == 0);
	ASSERT(size >= sizeof(struct switch_frame));
	struct switch_frame *frame = (struct switch_frame *)(high - sizeof(struct switch_frame));
	memset(frame, 0, sizeof(*frame));
	frame_fill(frame, entry, argument);
	context->stack_pointer = frame;
}

#else

/* makecontext hands over ints only, so both pointers travel in halves. */
static void start(unsigned entry_high, unsigned entry_low, unsigned argument_high, unsigned argument_low)
{
	context_entry *entry = (context_entry *)(uintptr_t)((uint64_t)entry_high << 32 | entry_low);
	entry((void *)(uintptr_t)((uint64_t)argument_high << 32 | argument_low));
	__builtin_trap();
}

void context_prepare(struct context *context, void *low, size_t size, context_entry *entry, void *argument)
{
	uint64_t code = (uintptr_t)entry;
	uint64_t data = (uintptr_t)argument;
	ASSERT(getcontext(&context->saved) == 0);
	context->saved.uc_stack.ss_sp = low;
	context->saved.uc_stack.ss_size = size;
	context->saved.uc_link = NULL;
	makecontext(&context->saved, (void (*)(void))(void *)start, 4, (unsigned)(code >> 32), (unsigned)code,
		    (unsigned)(data >> 32), (unsigned)data);
}

void context_switch(struct context *from, struct context *to)
{
	ASSERT(swapcontext(&from->saved, &to->saved) == 0);
}

#endif
