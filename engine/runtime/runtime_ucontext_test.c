/*
 * The same promises on the portable switch: everything of the runtime is compiled once more into this
 * program with ucontext, so nothing of the library's copy is linked.
 */
#define CASCADE_UCONTEXT

#include "runtime/runtime_test.c"

#include "runtime/future.c"
#include "runtime/hold.c"
#include "runtime/runtime.c"
#include "runtime/shard.c"
#include "runtime/stack.c"

/* From here on base/poison.h is in force. */
#include "runtime/call.c"
#include "runtime/context.c"
#include "runtime/stack_marks.c"
#include "runtime/task.c"
#include "runtime/thread_stack.c"
#include "runtime/timer.c"
