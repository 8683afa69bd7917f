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
 * Stops and frees. All tasks must have ended or be about to end by themselves: it waits for them, for calls
 * and for the I/O under way. Not from a shard's thread. No submit or cancel may race with it.
 */
void runtime_destroy(struct runtime *runtime);

/*
 * Asks all tasks to end, now and from now on: each task is canceled, and one that begins later is canceled
 * before (and so does not run; a function called with shard_call does, as a part of its caller). For an end
 * in good order, before runtime_destroy. Any thread; does not wait.
 */
void runtime_cancel_all(struct runtime *runtime);

/*
 * From now on every task gets a guarded stack of at least 32 KiB, whatever its type declares: code whose
 * frames the call graph has not counted may run on it, as that of a variant from a shared object. Before the
 * first runtime is created; for the rest of the process.
 */
void runtime_expect_uncounted_frames(void);

uint32_t runtime_shard_count(const struct runtime *runtime);
struct shard *runtime_shard(struct runtime *runtime, uint32_t index);

/* --- futures: how a foreign thread learns of an end --- */

/* Bits of its state; 0: pending. */
enum future_bits {
	FUTURE_WAITED = 1,   /* a thread may sleep until it is done */
	FUTURE_DONE = 2,     /* alone */
	FUTURE_CALLBACK = 4, /* there is one */
	FUTURE_CANCELING =
		8, /* of a request: a cancel is on its way; it is not done before that has arrived */
	FUTURE_CANCELED = 16, /* ... has arrived */
};

struct future_bell;

struct future {
	_Atomic uint32_t state; /* enum future_bits; a futex word where there is no bell */
	void (*callback)(void *context);
	void *context;
	struct future_bell *bell; /* of the shard that a request went to; else NULL */
};

static inline void future_init(struct future *future)
{
	atomic_init(&future->state, 0);
	future->callback = NULL;
	future->context = NULL;
	future->bell = NULL;
}

/* Whether it is done. Never blocks. */
static inline bool future_poll(const struct future *future)
{
	return atomic_load_explicit(&future->state, memory_order_acquire) == FUTURE_DONE;
}

/* Blocks the calling thread (no shard's, unless it is done): polls a few us, then sleeps in the kernel. */
void future_wait(struct future *future);

/*
 * Has callback(context) called once, when the future is done: by the thread that completes it (the shard's,
 * on the thread's own stack; it must neither block nor suspend), or by this call if it is done already. The
 * future may be gone when it is called; who waits for it may be woken before. At most once a future; whoever
 * else may wait for it and free it does so after this call has returned.
 */
void future_on_done(struct future *future, void (*callback)(void *context), void *context);

/* Completes it: all writes before are visible to whoever sees it done. The future may be gone right
 * after, so nothing of it is touched once the waiter may run. */
void future_complete(struct future *future);

/* --- requests from foreign threads --- */

/* The caller's, untouched until the future is done. */
struct request {
	const struct task_type *type; /* NULL: a bare function, on the largest stack */
	task_function *run;	      /* runs as a foreground task on the shard */
	/*
	 * NULL, or what is tried before: it runs outside of tasks, under the rules of runtime_borrow, and
	 * says whether it has done all that `run` would do. If not, nothing has happened.
	 */
	bool (*attempt)(void *argument);
	void *argument;
	struct future future;
	/* How it ended, once the future is done: OK unless `run` said otherwise by task_set_status;
	 * STATUS_CANCELED also if it did not run. */
	struct status status;

	/* The shard's. */
	struct task *task; /* that runs it; NULL: not begun */
	bool canceled;	   /* before it began */
	bool ended;	   /* a cancel that is on its way has to arrive before anybody is told */
	struct request *next_canceled;
};

static inline void request_init(struct request *request, task_function *run, void *argument)
{
	*request = (struct request) { .run = run, .argument = argument };
}

static inline void request_init_type(struct request *request, const struct task_type *type, void *argument)
{
	*request = (struct request) { .type = type, .run = type->run, .argument = argument };
}

/*
 * Hands the request to a shard's inbox; any thread that is no shard's. The future completes when `run`
 * has returned. STATUS_BUSY: the inbox is full, nothing happened.
 */
MUST_CHECK struct status runtime_submit(struct runtime *runtime, uint32_t shard, struct request *request);

/*
 * Asks a submitted request to end: one that has not begun will not run, and else its task is canceled. The
 * future completes as ever, sooner perhaps; so nobody may wait for it and free it until this has returned.
 * Nothing if it is done. Any thread; does not wait.
 */
void runtime_cancel(struct runtime *runtime, uint32_t shard, struct request *request);

/* Submits, waiting for room if need be, and waits for the end; what it said by task_set_status. */
struct status runtime_run(struct runtime *runtime, uint32_t shard, task_function *run, void *argument);
struct status runtime_run_type(struct runtime *runtime, uint32_t shard, const struct task_type *type,
			       void *argument);

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
