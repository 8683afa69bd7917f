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

#include "base/door.h"
#include "base/list.h"
#include "base/status.h"
#include "io/io.h"

struct shard;
struct task;

/* A function so marked may suspend the calling task. Everything else never does. */
#define MAY_SUSPEND

typedef void task_function(struct task *self, void *argument);

/*
 * Declared once for each task function, static const, by designated initializers with `stack_bytes` in plain
 * digits: what the task's frames need at most on its own stack, from the first to that of the deepest wait,
 * 64 KiB at most. Engine tasks are held to it by scripts/check-stacks.sh. Up to 4 KiB stacks are packed side
 * by side without guards, in steps of 512 B; what is larger is guarded. The functions of this header and of
 * shard.h take at most 640 bytes of it. Calls that go deeper, or into code that nobody has measured, belong
 * behind call_on_thread_stack (base/door.h).
 */
struct task_type {
	const char *name;
	task_function *run;
	uint32_t stack_bytes;
};

enum { TASK_STACK_BYTES_MAX = 65536 };

enum task_queue {
	TASK_FOREGROUND,
	TASK_BACKGROUND, /* flush, merge: gets the share of a turn that the shard grants */
};

/* --- join: a count of tasks to wait for. Await one is a join of one. --- */

/*
 * Counts tasks of this shard, and NOWAIT calls (shard_post), that have not ended, and keeps what went wrong
 * in them. The caller's, until all of them have ended; touched on one shard only. One task waits at a time.
 */
struct join {
	uint32_t pending;
	uint32_t errors; /* how many have ended with an error */
	struct task *waiter;
	struct status status; /* the first of these errors */
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

/* Waits until all that the join counts has ended. */
MAY_SUSPEND void join_wait(struct task *self, struct join *join);

/* Waits until all that one of the joins counts has ended; returns the first such join's place. `count` > 0.
 */
MAY_SUSPEND size_t join_wait_any(struct task *self, struct join *const *joins, size_t count);

/*
 * The barrier: waits as join_wait does, returns the first error and sets *errors (NULL: not wanted) to how
 * many there were. The join begins anew: each error is told at one barrier.
 */
MAY_SUSPEND MUST_CHECK struct status join_barrier(struct task *self, struct join *join, uint32_t *errors);

/* What the end of the calling task will say to whoever waits for it; STATUS_OK if it never calls this. In a
 * function that runs for another shard: what its caller hears. */
void task_set_status(struct task *self, struct status status);

/* --- cancellation --- */

/*
 * A cancel asks, and never takes anything away by force. A task that has not begun ends without running. One
 * that waits in a function whose name ends in _cancelable returns from there with STATUS_CANCELED, and so
 * does every later such wait of its. All other waits go on as if nothing had been asked: what waits there has
 * handed out memory of its own, or is in the middle of a change. Work without waits asks task_is_canceled.
 */

/* One task that may be canceled. The spawner's, until it has ended; touched on its shard only. */
struct task_handle {
	struct task *task;    /* NULL: it has ended */
	struct status status; /* how it ended; STATUS_CANCELED also if it never ran */
	struct join *join;    /* that counts it; may be NULL */
};

/* As task_spawn. */
MUST_CHECK struct status task_spawn_handle(struct shard *shard, const struct task_type *type, void *argument,
					   enum task_queue queue, struct task_handle *handle,
					   struct join *join);

/* Asks the task to end; nothing if it has. On its shard. It has not ended yet when this returns. */
void task_handle_cancel(struct task_handle *handle);

/* The same for a task that the caller knows not to have ended. */
void task_cancel(struct task *task);

/* Whether the calling task was asked to end, and is not shielded. */
bool task_is_canceled(const struct task *self);

/* Between the two, which nest, a task is as if it were not canceled: for what has to be done all the same. */
void task_shield(struct task *self);
void task_unshield(struct task *self);

/* Each STATUS_OK, or STATUS_CANCELED: the wait ended early. What the join counts goes on. */
MAY_SUSPEND MUST_CHECK struct status join_wait_cancelable(struct task *self, struct join *join);
MAY_SUSPEND MUST_CHECK struct status join_wait_any_cancelable(struct task *self, struct join *const *joins,
							      size_t count, size_t *place);
MAY_SUSPEND MUST_CHECK struct status task_sleep_cancelable(struct task *self, uint64_t ns);

/* --- giving way --- */

/* Lets the other runnable tasks of the shard go first. */
MAY_SUSPEND void task_yield(struct task *self);

/* Others and threads hear of what has ended on this shard so far, as they would at the end of this run or a
 * little later: for a run that goes on with something of unknown length. */
void task_publish(struct task *self);

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
/* STATUS_CANCELED: it was not woken, and is not in the list any more. */
MAY_SUSPEND MUST_CHECK struct status wait_list_wait_cancelable(struct task *self, struct wait_list *waiting);
void wait_list_wake_one(struct wait_list *waiting);
void wait_list_wake_all(struct wait_list *waiting);
static inline bool wait_list_is_empty(const struct wait_list *waiting)
{
	return list_is_empty(&waiting->tasks);
}

/* --- I/O --- */

/* Submits the request on the shard's ring and waits for it; returns request->status. A request that was
 * submitted is finished, also for a task that is canceled. */
MAY_SUSPEND MUST_CHECK struct status task_io(struct task *self, struct io_request *request);

/* What is not there counts as unlinked. */
MAY_SUSPEND MUST_CHECK struct status task_unlink(struct task *self, const char *path);
MAY_SUSPEND MUST_CHECK struct status task_sync_directory(struct task *self, const char *path);

/* Many requests tied to one task. Their join counts them: it may be waited for among others. */
struct io_batch {
	struct join join;
};

static inline void io_batch_init(struct io_batch *batch)
{
	join_init(&batch->join);
}

/* Submits without waiting; `request->complete` and `context` are used by the batch. */
void io_batch_start(struct shard *shard, struct io_batch *batch, struct io_request *request);

/* Waits until all started requests of the batch are complete; the first failure, if any. */
MAY_SUSPEND MUST_CHECK struct status io_batch_wait(struct task *self, struct io_batch *batch);

/* The task that runs on the calling thread, NULL outside of any. */
struct task *task_current(void);

/* Whether it runs a function for another shard, and so must make no call. */
bool task_is_serving(const struct task *task);

struct shard *task_shard(const struct task *task);
const char *task_name(const struct task *task);

#endif
