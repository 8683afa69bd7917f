/*
 * shard.h: one slice of the work with a thread (its resident), a ring, run queues and mailboxes of its own.
 *
 * Shards share nothing: whoever wants something of another shard sends it a call. Inside, there are no
 * locks. A turn reaps completions, drains mailboxes and the inbox, runs ready tasks and submits I/O.
 */
#ifndef CASCADE_RUNTIME_SHARD_H
#define CASCADE_RUNTIME_SHARD_H

#include <stdint.h>

#include "runtime/task.h"

struct runtime;

/* The shard whose resident is the calling thread; NULL on any other thread. */
struct shard *shard_current(void);

uint32_t shard_index(const struct shard *shard);
struct runtime *shard_runtime(const struct shard *shard);
struct io *shard_io(const struct shard *shard);

/* The clock as read at the start of this turn or at a late task switch: nearly free to read, some us old. */
uint64_t shard_now_ns(struct shard *shard);

/*
 * WAIT call: runs function(its own task, argument) as a foreground task on the shard `target` and
 * returns when it has ended, with what it said by task_set_status. `argument` is the caller's and carries
 * the result back; the caller does not touch it meanwhile. A call to the own shard is a plain call.
 * `function` makes no WAIT or NOWAIT call itself (asserted). Waits while the mailbox is full; nothing is ever
 * dropped. It is no cancelable wait: the function runs in any case.
 */
MAY_SUSPEND struct status shard_call(struct task *self, uint32_t target, task_function *function,
				     void *argument);

/* The same for a function that says how much stack it needs there; the one above gets the largest. The type
 * is static. On the own shard it runs on the caller's. */
MAY_SUSPEND struct status shard_call_type(struct task *self, uint32_t target, const struct task_type *type,
					  void *argument);

/*
 * The same as a cancelable wait: STATUS_CANCELED, and the function did not run, if the calling task is
 * canceled before. Later the cancel is passed on to the function, and the call still waits for its end,
 * because it has `argument`; what it says is what the call returns.
 */
MAY_SUSPEND MUST_CHECK struct status shard_call_cancelable(struct task *self, uint32_t target,
							   const struct task_type *type, void *argument);

/*
 * NOWAIT call: the same, but the sender goes on at once. `argument` belongs to the function, or stays
 * untouched until the sender has waited for it. `join` counts the call until the news of its end is back, and
 * gets the error, if any, to be told at the sender's next join_barrier. It may be one for each receiver or
 * one for many. NULL: nobody will ask; an error is counted in the shard's counters all the same. Waits while
 * the mailbox is full. To the own shard too it goes through the mailbox. What several calls begin runs side
 * by side.
 */
MAY_SUSPEND void shard_post(struct task *self, uint32_t target, const struct task_type *type, void *argument,
			    struct join *join);

/* Room for what the layers above keep for each shard: the store. */
void shard_set_local(struct shard *shard, void *local);
void *shard_local(const struct shard *shard);

/*
 * The share of each turn that background tasks may use while foreground tasks are runnable, in 1/256;
 * the layers above set it by debt. With no foreground task runnable, background uses all.
 */
void shard_set_background_share(struct shard *shard, uint32_t share_256);

/* How long tasks stood in a run queue before each of their runs. */
enum shard_waits { WAITS_OVER_100_US, WAITS_OVER_1_MS, WAITS_OVER_10_MS, SHARD_WAITS };

struct shard_queue_counters {
	uint64_t runs;		     /* from one suspension of a task to its next */
	uint64_t run_ns;	     /* in them */
	uint64_t wait_ns;	     /* from being ready to running */
	uint64_t waits[SHARD_WAITS]; /* of these, the long ones; each counts in the shorter classes too */
};

/* Tasks of one type that ran for too long without suspending. */
struct shard_overrun {
	const char *name; /* of the task type; static */
	uint64_t count;
	uint64_t longest_ns;
};

enum { SHARD_OVERRUNS_MAX = 16, SHARD_OVERRUN_NS = 1000 * 1000 };

struct shard_counters {
	uint64_t turns;
	uint64_t switches;
	uint64_t tasks_spawned;
	uint64_t calls_sent;	 /* WAIT calls to other shards */
	uint64_t calls_received; /* calls and inbox requests run here */
	uint64_t posts_sent;	 /* NOWAIT calls */
	uint64_t post_errors;	 /* of these, that ended with an error */
	uint64_t mailbox_waits;	 /* tasks that waited because a mailbox was full */
	uint64_t cancels;	 /* tasks of this shard that were asked to end */
	uint64_t sleeps;	 /* times the resident waited in the kernel */
	uint64_t wakes_sent;
	uint64_t borrows;		       /* calls that other threads made themselves */
	uint64_t slice_overruns;	       /* runs of over SHARD_OVERRUN_NS */
	const char *slice_overrun_name;	       /* the task type of the latest of them; NULL: none */
	struct shard_queue_counters queues[2]; /* by enum task_queue */
	/* By task type, the first types that were found; the names of the rest are not kept. */
	struct shard_overrun overruns[SHARD_OVERRUNS_MAX];
};

/* On the shard's own thread; as they are now. */
const struct shard_counters *shard_counters(struct shard *shard);

#endif
