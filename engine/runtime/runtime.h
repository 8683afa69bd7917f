/*
 * runtime.h: the set of shards, and the way in for threads that are no shard.
 */
#ifndef CASCADE_RUNTIME_RUNTIME_H
#define CASCADE_RUNTIME_RUNTIME_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "io/io.h"
#include "runtime/shard.h"

enum { RUNTIME_SHARDS_MAX = 64 };

struct runtime_options {
	uint32_t shards;	/* 1 .. RUNTIME_SHARDS_MAX */
	const char *io_backend; /* a name of io_backends; borrowed for the call */
	struct io_options io;
	uint32_t inbox_entries;	  /* per shard, rounded up to a power of two; 0: 1024 */
	uint32_t mailbox_entries; /* per ordered pair of shards; 0: 256 */
	uint64_t poll_ns_max;	  /* how long an idle resident polls before it sleeps; 0: 50 us */
	/* Each shard has stacks before it starts (else NO_MEMORY), so that no request has to wait for memory
	 * that may never come. */
	bool stacks_ahead;
};

/* Starts one thread for each shard (all signals blocked). `notice`: see io_create. */
MUST_CHECK struct status runtime_create(const struct runtime_options *options, struct runtime **runtime,
					char *notice, size_t notice_size);

/*
 * Stops and frees. All tasks must have ended or be about to end by themselves: it waits for them and for
 * the I/O under way. Not from a shard's thread. No submit may race with it.
 */
void runtime_destroy(struct runtime *runtime);

uint32_t runtime_shard_count(const struct runtime *runtime);
struct shard *runtime_shard(struct runtime *runtime, uint32_t index);

/* --- futures: how a foreign thread learns of an end --- */

enum future_state { FUTURE_PENDING = 0, FUTURE_WAITED = 1, FUTURE_DONE = 2 };

struct future {
	_Atomic uint32_t state;		 /* enum future_state; a futex word */
	void (*callback)(void *context); /* may be NULL; runs on the resident, must not block or suspend */
	void *context;
};

static inline void future_init(struct future *future)
{
	atomic_init(&future->state, FUTURE_PENDING);
	future->callback = NULL;
	future->context = NULL;
}

/* Whether it is done. Never blocks. */
static inline bool future_poll(const struct future *future)
{
	return atomic_load_explicit(&future->state, memory_order_acquire) == FUTURE_DONE;
}

/* Blocks the calling thread (no shard's): polls a few us, then sleeps in the kernel. */
void future_wait(struct future *future);

/* Completes it: all writes before are visible to whoever sees it done. The future may be gone right
 * after, so nothing of it is touched once the waiter may run. */
void future_complete(struct future *future);

/* --- requests from foreign threads --- */

/* The caller's, untouched until the future is done. */
struct request {
	task_function *run; /* runs as a foreground task on the shard */
	void *argument;
	struct future future;
};

static inline void request_init(struct request *request, task_function *run, void *argument)
{
	request->run = run;
	request->argument = argument;
	future_init(&request->future);
}

/*
 * Hands the request to a shard's inbox; any thread that is no shard's. The future completes when `run`
 * has returned. STATUS_BUSY: the inbox is full, nothing happened.
 */
MUST_CHECK struct status runtime_submit(struct runtime *runtime, uint32_t shard, struct request *request);

/* Submits, waiting for room if need be, and waits for the end. */
void runtime_run(struct runtime *runtime, uint32_t shard, task_function *run, void *argument);

/* --- borrowing: a call on the caller's own stack --- */

/*
 * Takes the right to touch the shard's memory, for calls of functions that never suspend, submit no I/O and
 * take some microseconds at most. False: the resident or somebody else has it; send a request instead. From
 * threads that are no shard's; meanwhile shard_current() is the shard, without a current task. One at a time.
 */
MUST_CHECK bool runtime_borrow(struct runtime *runtime, uint32_t shard);

/* The same for one who goes on with what it has begun: waits for it. */
void runtime_borrow_again(struct runtime *runtime, uint32_t shard);

/* Gives it back. The resident runs what became ready meanwhile. */
void runtime_return(struct runtime *runtime, uint32_t shard);

#endif
