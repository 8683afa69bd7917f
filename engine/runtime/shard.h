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

/* The clock as read at the start of this turn or at the latest task switch: free to read, some us old. */
uint64_t shard_now_ns(const struct shard *shard);

/*
 * WAIT call: runs function(its own task, argument) as a foreground task on the shard `target` and
 * returns when it has ended. `argument` is the caller's and carries the result back; the caller does
 * not touch it meanwhile. A call to the own shard is a plain call. `function` makes no WAIT call itself
 * (asserted). Waits while the mailbox is full; nothing is ever dropped.
 */
MAY_SUSPEND void shard_call(struct task *self, uint32_t target, task_function *function, void *argument);

/* Room for what the layers above keep for each shard: the store. */
void shard_set_local(struct shard *shard, void *local);
void *shard_local(const struct shard *shard);

/*
 * The share of each turn that background tasks may use while foreground tasks are runnable, in 1/256;
 * the layers above set it by debt. With no foreground task runnable, background uses all.
 */
void shard_set_background_share(struct shard *shard, uint32_t share_256);

struct shard_counters {
	uint64_t turns;
	uint64_t switches;
	uint64_t tasks_spawned;
	uint64_t calls_sent;	 /* WAIT calls to other shards */
	uint64_t calls_received; /* WAIT calls and inbox requests run here */
	uint64_t sleeps;	 /* times the resident waited in the kernel */
	uint64_t wakes_sent;
	uint64_t borrows;		/* calls that other threads made themselves */
	uint64_t slice_overruns;	/* tasks that ran over 1 ms without suspending */
	const char *slice_overrun_name; /* the task type of the latest of them; NULL: none */
	uint64_t foreground_ns;
	uint64_t background_ns;
};

/* On the shard's own thread. */
const struct shard_counters *shard_counters(const struct shard *shard);

#endif
