/*
 * cascade_runtime.h: the runtime under Cascade, by itself: shards, each with a thread and an I/O ring of its
 * own; tasks, which are coroutines on a shard; calls from shard to shard; and the ways in from any thread.
 *
 *	static void greet(cascade_runtime_task *self, void *argument)
 *	{
 *		cascade_runtime_sleep(self, 1000000);
 *		puts(argument);
 *	}
 *
 *	cascade_runtime *runtime;
 *	if (cascade_runtime_create(NULL, &runtime) != CASCADE_OK)
 *		fail(cascade_error_message());
 *	cascade_runtime_run(runtime, 0, greet, "hello");
 *	cascade_runtime_destroy(runtime);
 *
 * Shards share nothing, and inside one there are no locks: its tasks run one at a time, and a task gives way
 *only in functions whose comment says "suspends". Between two of them nobody else touches the shard's memory;
 * across one, everything may have changed. A task lives on one shard from its start to its end.
 *
 * Functions that take a cascade_runtime_task are called by that task, while it runs, and by nobody else. All
 * others are called by threads that are no shard's, unless they say otherwise: on a shard's thread what would
 * block it is CASCADE_INVALID. No function of a task blocks its thread, and nothing that a task calls should.
 *
 * A status other than CASCADE_OK says why nothing happened, or how something ended; cascade_error_message()
 * explains it. Times are nanoseconds of a monotonic clock. Nothing here prints, exits, or aborts on bad
 *input.
 */
#ifndef CASCADE_RUNTIME_H
#define CASCADE_RUNTIME_H

#include "cascade.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cascade_runtime cascade_runtime;
typedef struct cascade_runtime_task cascade_runtime_task;
typedef struct cascade_runtime_future cascade_runtime_future;
typedef struct cascade_runtime_file cascade_runtime_file;

typedef void cascade_runtime_function(cascade_runtime_task *self, void *argument);

/* --- create and destroy --- */

/* All zero is a good choice. */
typedef struct cascade_runtime_options {
	uint32_t shards;	  /* 1 to 64; 0: one for each processor, at most 8 */
	uint32_t inbox_entries;	  /* requests from threads that a shard keeps; 0: 1024 */
	uint32_t mailbox_entries; /* calls from one shard to one other that are under way; 0: 256 */
	uint64_t poll_ns;	  /* how long at most an idle shard polls before it sleeps; 0: 50,000 */
	const char *io;		  /* "uring" or "posix"; NULL: uring, or posix where the kernel refuses it */
} cascade_runtime_options;

/* Starts one thread for each shard, with all signals blocked. `options` may be NULL. INVALID, NO_MEMORY, IO,
 * NOT_FOUND (no such io). */
CASCADE_API cascade_status cascade_runtime_create(const cascade_runtime_options *options,
						  cascade_runtime **runtime);

/*
 * Waits until all tasks, calls and I/O have ended by themselves, stops the threads and frees everything.
 * Nobody starts or cancels anything at the same time, and all futures have been waited for: CASCADE_BUSY
 * otherwise, and nothing happened. NULL is allowed.
 */
CASCADE_API cascade_status cascade_runtime_destroy(cascade_runtime *runtime);

/* Asks every task to end, also those that have yet to begin: for an end in good order, before destroy. It is
 * final. Does not wait. */
CASCADE_API void cascade_runtime_cancel_all(cascade_runtime *runtime);

CASCADE_API uint32_t cascade_runtime_shard_count(const cascade_runtime *runtime); /* any thread */

/* --- from threads --- */

/*
 * Runs function(task, argument) as a task of the shard, on a guarded stack of 64 KiB, and returns when it has
 * ended: what it said by cascade_runtime_set_status. Waits while the shard has as many requests as it keeps.
 */
CASCADE_API cascade_status cascade_runtime_run(cascade_runtime *runtime, uint32_t shard,
					       cascade_runtime_function *function, void *argument);

/* The same without waiting. CASCADE_OK: the caller owns *future. CASCADE_BUSY: the shard is full. */
CASCADE_API cascade_status cascade_runtime_submit(cascade_runtime *runtime, uint32_t shard,
						  cascade_runtime_function *function, void *argument,
						  cascade_runtime_future **future);

/* Waits for the end and frees the future: how it ended, CASCADE_CANCELED if it did not run. One that is done
 * may be waited for on any thread, in its callback too. */
CASCADE_API cascade_status cascade_runtime_future_wait(cascade_runtime_future *future);

/* Whether it has ended. Any thread. */
CASCADE_API bool cascade_runtime_future_done(const cascade_runtime_future *future);

/* Asks its task to end, see "cancels". Does not wait. Any thread; not while another may wait for it. */
CASCADE_API void cascade_runtime_future_cancel(cascade_runtime_future *future);

/* Has callback(context) called once when it has ended: at once if it has, else by the shard's thread, which
 * must not be blocked. At most once for a future (INVALID else); not while another may wait for it. Any
 * thread. */
CASCADE_API cascade_status cascade_runtime_future_on_done(cascade_runtime_future *future,
							  cascade_callback *callback, void *context);

/* --- tasks --- */

/*
 * Declared once for each kind of task, static const. `stack_bytes`: what its frames need at most, with all
 * that they call, libraries included; at most 65,536. From 4097 on a stack is guarded, and an overflow ends
 * the process; smaller stacks lie side by side without guards, for functions whose needs are known. 65,536 is
 * a good choice, and cascade_runtime_on_thread_stack the way to need little. The functions of this header
 * take at most 768 bytes below their caller. A program with small stacks is linked with -z now, as pkg-config
 * and the CMake package have it: what is bound at its first call takes 3 KiB there.
 */
typedef struct cascade_runtime_type {
	const char *name; /* for reports */
	cascade_runtime_function *run;
	uint32_t stack_bytes;
} cascade_runtime_type;

/* The shard that the task runs on. */
CASCADE_API uint32_t cascade_runtime_shard(const cascade_runtime_task *self);

/* What the task's end will say; CASCADE_OK if it never calls this. */
CASCADE_API void cascade_runtime_set_status(cascade_runtime_task *self, cascade_status status);

/* Suspends: lets the other tasks of the shard go first. */
CASCADE_API void cascade_runtime_yield(cascade_runtime_task *self);

/* Suspends if the task has used up its slice (about 100 us; 20 us while others wait). For long work, every
 * few microseconds. */
CASCADE_API void cascade_runtime_breathe(cascade_runtime_task *self);

/* Suspends for at least that long. CASCADE_CANCELED: the task was canceled before that. */
CASCADE_API cascade_status cascade_runtime_sleep(cascade_runtime_task *self, uint64_t nanoseconds);

/* Runs function(argument) on the stack of the shard's thread, for deep calls (formatting, libraries). It must
 * not suspend. On other threads a plain call. */
CASCADE_API void cascade_runtime_on_thread_stack(void (*function)(void *argument), void *argument);

/* --- joins: to wait for tasks and calls --- */

/*
 * Counts tasks of one shard, and NOWAIT calls, that have not ended, and keeps what went wrong in them. The
 * caller's, in place until all of them have ended; used by tasks of one shard only, and one of them waits at
 * a time.
 */
typedef struct cascade_runtime_join {
	uint64_t words[3]; /* private */
} cascade_runtime_join;

CASCADE_API void cascade_runtime_join_init(cascade_runtime_join *join);

enum cascade_runtime_queue {
	CASCADE_RUNTIME_FOREGROUND,
	CASCADE_RUNTIME_BACKGROUND /* a quarter of the time while the foreground has something to do */
};

/*
 * Makes a task of the same shard; it starts when the caller next suspends or ends. `argument` is the caller's
 * until it has ended. `join` counts it, and may be NULL. INVALID (stack_bytes), NO_MEMORY.
 */
CASCADE_API cascade_status cascade_runtime_spawn(cascade_runtime_task *self, const cascade_runtime_type *type,
						 void *argument, enum cascade_runtime_queue queue,
						 cascade_runtime_join *join);

/*
 * Suspends until all that the join counts has ended; also for a task that is canceled. The first error of
 * all, and in *errors (may be NULL) how many there were. The join begins anew: each error is told once.
 */
CASCADE_API cascade_status cascade_runtime_wait(cascade_runtime_task *self, cascade_runtime_join *join,
						uint32_t *errors);

/* Suspends until one of the joins, which are `count` different ones, counts nothing any more; its place. It
 * is then waited for by cascade_runtime_wait, which does not suspend. `count` > 0. */
CASCADE_API size_t cascade_runtime_wait_any(cascade_runtime_task *self, cascade_runtime_join *const *joins,
					    size_t count);

/* --- cancels --- */

/*
 * A cancel asks. A task that has not begun ends without running. One that sleeps or makes a cancelable call
 * returns from there with CASCADE_CANCELED, and so does every later such wait of its; all other waits go on.
 * Work without waits asks cascade_runtime_canceled.
 */

/* One task that may be canceled. The spawner's, in place until it has ended; its shard's. */
typedef struct cascade_runtime_handle {
	uint64_t words[3]; /* private */
} cascade_runtime_handle;

CASCADE_API cascade_status cascade_runtime_spawn_handle(cascade_runtime_task *self,
							const cascade_runtime_type *type, void *argument,
							enum cascade_runtime_queue queue,
							cascade_runtime_handle *handle,
							cascade_runtime_join *join);

/* Asks it to end; nothing if it has. By a task of the same shard. */
CASCADE_API void cascade_runtime_handle_cancel(cascade_runtime_handle *handle);

/* How it ended. */
CASCADE_API cascade_status cascade_runtime_handle_status(const cascade_runtime_handle *handle);

/* Whether the task was asked to end, and is not shielded. */
CASCADE_API bool cascade_runtime_canceled(const cascade_runtime_task *self);

/* Between the two, which nest, the task is as if it were not canceled: for what has to be done all the same.
 */
CASCADE_API void cascade_runtime_shield(cascade_runtime_task *self);
CASCADE_API void cascade_runtime_unshield(cascade_runtime_task *self);

/* --- calls to other shards --- */

/*
 * WAIT: suspends while the function runs as a task of the other shard; what it said. It has `argument` until
 * then, and the result comes back there. On the own shard it is a plain call. A function that runs for
 * another shard makes no call itself, of either kind: INVALID. Suspends also while too many calls are under
 * way.
 */
CASCADE_API cascade_status cascade_runtime_call(cascade_runtime_task *self, uint32_t shard,
						const cascade_runtime_type *type, void *argument);

/* The same, and a cancel is passed on. CASCADE_CANCELED: the function did not run, or said so. */
CASCADE_API cascade_status cascade_runtime_call_cancelable(cascade_runtime_task *self, uint32_t shard,
							   const cascade_runtime_type *type, void *argument);

/*
 * NOWAIT: the sender goes on. `argument` is the function's, or stays in place until the sender has waited for
 * `join`, where the call counts and its error is kept. `join` may be NULL: nobody will ask. Suspends only
 * while too many calls are under way.
 */
CASCADE_API cascade_status cascade_runtime_post(cascade_runtime_task *self, uint32_t shard,
						const cascade_runtime_type *type, void *argument,
						cascade_runtime_join *join);

/* --- files --- */

enum cascade_runtime_open_flags {
	CASCADE_RUNTIME_WRITE = 1,  /* read and write; else read */
	CASCADE_RUNTIME_CREATE = 2, /* must not exist yet */
	CASCADE_RUNTIME_BUFFERED =
		4 /* through the page cache; else buffers, lengths, offsets are multiples of 4096 */
};

/* Suspends. The file is for tasks of this shard; the caller closes it. */
CASCADE_API cascade_status cascade_runtime_open(cascade_runtime_task *self, const char *path, unsigned flags,
						cascade_runtime_file **file);
/* Suspends. The file is gone afterwards, whatever the status. */
CASCADE_API cascade_status cascade_runtime_close(cascade_runtime_task *self, cascade_runtime_file *file);
/* Suspends: what was written before is durable. */
CASCADE_API cascade_status cascade_runtime_sync(cascade_runtime_task *self, cascade_runtime_file *file);
/* Suspends. */
CASCADE_API cascade_status cascade_runtime_remove(cascade_runtime_task *self, const char *path);

typedef struct cascade_runtime_transfer {
	cascade_runtime_file *file;
	void *buffer;
	size_t length; /* at most 1 GiB */
	uint64_t offset;
	bool is_write;

	/* Results. A read that meets the end of the file is OK and shorter. */
	cascade_status status;
	size_t transferred;

	uint64_t words[24]; /* private */
} cascade_runtime_transfer;

/* Suspends: starts all of them at once, and waits for all. The first error. Started I/O is finished, also for
 * a task that is canceled. */
CASCADE_API cascade_status cascade_runtime_transfers(cascade_runtime_task *self,
						     cascade_runtime_transfer *transfers, size_t count);

/* --- what a shard did --- */

typedef struct cascade_runtime_counters {
	uint64_t turns;
	uint64_t switches;
	uint64_t tasks;
	uint64_t calls_sent;	 /* WAIT */
	uint64_t calls_received; /* of either kind, and requests */
	uint64_t posts_sent;	 /* NOWAIT */
	uint64_t post_errors;
	uint64_t mailbox_waits; /* senders that waited because too many calls were under way */
	uint64_t cancels;
	uint64_t sleeps;					     /* of the thread */
	uint64_t foreground_runs, foreground_ns, foreground_wait_ns; /* wait: from ready to running */
	uint64_t background_runs, background_ns, background_wait_ns;
	uint64_t overruns;	  /* runs of over a millisecond without giving way */
	const char *overrun_name; /* the type of the latest of them; NULL: none */
} cascade_runtime_counters;

/* Waits for the shard to tell. */
CASCADE_API cascade_status cascade_runtime_count(cascade_runtime *runtime, uint32_t shard,
						 cascade_runtime_counters *counters);

#ifdef __cplusplus
}
#endif

#endif
