/*
 * task.h: tasks, the coroutines of a shard, and every way in which one waits for another.
 *
 * A task lives on one shard from spawn to end and never changes thread. It runs until it suspends: inside
 * a function marked MAY_SUSPEND, and nowhere else. Between two suspensions nobody else touches the shard's
 * memory; across one, everything may have changed: hold pins, not pointers.
 *
 * All functions here are called on the shard's own thread; those with a `struct task *self` by that
 * running task.
 */
#ifndef CASCADE_RUNTIME_TASK_H
#define CASCADE_RUNTIME_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/status.h"
#include "io/io.h"

struct shard;
struct task;

/* A function so marked may suspend the calling task. Everything else never does. */
#define MAY_SUSPEND

typedef void task_function(struct task *self, void *argument);

/* Declared once for each task function, static const. */
struct task_type {
	const char *name;
	task_function *run;
	uint32_t stack_bytes; /* what its frames need at most; rounded up to a stack class, 64 KiB at most */
};

enum task_queue {
	TASK_FOREGROUND,
	TASK_BACKGROUND, /* flush, merge: gets the share of a turn that the shard grants */
};

/* --- join: a count of tasks to wait for. Await one is a join of one. --- */

struct join {
	uint32_t pending;
	struct task *waiter;
};

static inline void join_init(struct join *join)
{
	*join = (struct join) { 0 };
}

/*
 * Makes a task runnable; it starts after the caller suspends or returns. `argument` is borrowed until
 * the task ends. `join` may be NULL; if not, it counts the task. STATUS_NO_MEMORY: nothing happened.
 */
MUST_CHECK struct status task_spawn(struct shard *shard, const struct task_type *type, void *argument,
				    enum task_queue queue, struct join *join);

/* Waits until all tasks spawned with the join have ended. */
MAY_SUSPEND void join_wait(struct task *self, struct join *join);

/* --- giving way --- */

/* Lets the other runnable tasks of the shard go first. */
MAY_SUSPEND void task_yield(struct task *self);

/* Whether the task has used up its slice (about 100 us; 20 us while the foreground waits). Cheap:
 * reads the clock; call it every few microseconds of work. */
bool task_slice_spent(struct task *self);

/* Yields if the slice is spent. */
MAY_SUSPEND static inline void task_breathe(struct task *self)
{
	if (task_slice_spent(self))
		task_yield(self);
}

/* Not before `ns` nanoseconds from now. */
MAY_SUSPEND void task_sleep(struct task *self, uint64_t ns);

/* --- the primitives on which waits are built --- */

/* Suspends until somebody calls task_resume. A resume that came first makes it return at once. */
MAY_SUSPEND void task_suspend(struct task *self);

/* Makes a suspended task runnable (same shard). At most one resume for each suspend. */
void task_resume(struct task *task);

struct wait_list {
	struct list tasks;
};

static inline void wait_list_init(struct wait_list *waiting)
{
	list_init(&waiting->tasks);
}

/* Suspends until woken. Woken tasks look at their condition again: wake-ups are hints, first come first. */
MAY_SUSPEND void wait_list_wait(struct task *self, struct wait_list *waiting);
void wait_list_wake_one(struct wait_list *waiting);
void wait_list_wake_all(struct wait_list *waiting);
static inline bool wait_list_is_empty(const struct wait_list *waiting)
{
	return list_is_empty(&waiting->tasks);
}

/* --- I/O --- */

/* Submits the request on the shard's ring and waits for it; returns request->status. */
MAY_SUSPEND MUST_CHECK struct status task_io(struct task *self, struct io_request *request);

/* Many requests tied to one task. */
struct io_batch {
	uint32_t pending;
	struct task *waiter;
	struct status status; /* the first that failed */
};

static inline void io_batch_init(struct io_batch *batch)
{
	*batch = (struct io_batch) { .status = { 0, 0 } };
}

/* Submits without waiting; `request->complete` and `context` are used by the batch. */
void io_batch_start(struct shard *shard, struct io_batch *batch, struct io_request *request);

/* Waits until all started requests of the batch are complete; the first failure, if any. */
MAY_SUSPEND MUST_CHECK struct status io_batch_wait(struct task *self, struct io_batch *batch);

/* --- the thread's own stack --- */

/*
 * Runs function(argument) on the stack of the thread, for code with deep frames (codecs, libraries,
 * formatting, callbacks). The function must not suspend. From outside a task it is a plain call.
 */
void call_on_thread_stack(void (*function)(void *argument), void *argument);

/* The task that runs on the calling thread, NULL outside of any. */
struct task *task_current(void);

struct shard *task_shard(const struct task *task);
const char *task_name(const struct task *task);

#endif
