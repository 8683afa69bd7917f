/*
 * internal.h: the structs behind task.h, shard.h and runtime.h, for engine/runtime and its tests only.
 */
#ifndef CASCADE_RUNTIME_INTERNAL_H
#define CASCADE_RUNTIME_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/list.h"
#include "runtime/fiber.h"
#include "runtime/ring.h"
#include "runtime/runtime.h"
#include "runtime/shard.h"
#include "runtime/task.h"

enum { CACHE_LINE_BYTES = 64, QUEUE_COUNT = 2 };

/* Limits and times of the scheduler. */
enum {
	FOREGROUND_BATCH = 64,		  /* tasks that run between two polls */
	INBOX_BATCH = 64,		  /* requests taken from the inbox in a turn */
	SLICE_NS = 100 * 1000,		  /* how long a task may run */
	SLICE_SHORT_NS = 20 * 1000,	  /* the same while the foreground waits */
	RUNS_PER_LOOK = 32,		  /* so many short runs may share one look at the time */
	TRUSTED_TYPES = 16,		  /* task types whose runs are known to be short: a power of two */
	QUIET_LOOKS = 16,		  /* into rings where nothing is, before it waits to be told */
	TRUST_RUNS = 8,			  /* after so many that were */
	CREDIT_NS_MAX = 2 * 1000 * 1000,  /* background time saved up */
	CREDIT_NS_MIN = -2 * 1000 * 1000, /* ... and owed */
	BACKGROUND_SHARE_DEFAULT = 64,
	STACK_BYTES_MAX = 64 * 1024,
	STACK_BYTES_GUARDED = 4097, /* from here on stacks have a guard */
};

/* --- tasks --- */

enum task_state {
	TASK_RUNNABLE,
	TASK_RUNNING,
	TASK_SUSPENDED, /* by task_suspend: task_resume wakes it */
	TASK_PARKED,	/* by a wait of the runtime's own, which alone wakes it */
	TASK_ENDED,
};

/* Whom a task's end is told; what `told` of the task means. */
enum task_origin {
	ORIGIN_SPAWN,	/* a join; may be NULL */
	ORIGIN_HANDLE,	/* a struct task_handle */
	ORIGIN_REQUEST, /* a struct request */
	ORIGIN_CALL,	/* of another shard: the token, see call.c */
};

/* What a task that does not run waits for: for reports. */
enum task_wait { WAIT_RESUME, WAIT_LIST, WAIT_JOIN, WAIT_IO, WAIT_TIME, WAIT_CALL };

struct task {
	union {
		struct task *ready_next; /* in a run queue */
		struct list link;	 /* in a wait list */
		struct {		 /* while it sleeps */
			struct task *heap_next;
			struct task *heap_previous; /* the one before it, or its parent; NULL: the root */
		};
	};
	struct fiber fiber;
	struct shard *shard;
	const struct task_type *type;
	task_function *run;
	void *argument;
	void *told;    /* see enum task_origin */
	uint8_t state; /* enum task_state */
	uint8_t queue; /* enum task_queue */
	uint8_t stack_class;
	bool resumed : 1;	 /* a task_resume came before its task_suspend */
	bool serving : 1;	 /* runs a function for another shard, so it must make no call */
	bool canceled : 1;	 /* was asked to end */
	bool cancelable : 1;	 /* waits in a way that a cancel ends */
	uint8_t unused_bits : 4; /* set with the others, so that a new task is stored to and not read */
	uint8_t origin;		 /* enum task_origin */
	uint8_t origin_shard;	 /* of a call */
	uint8_t wait;		 /* enum task_wait, while it is suspended or parked */
	uint8_t shields;	 /* calls of task_shield without their task_unshield */
	uint64_t number;	 /* among the tasks of its shard, from 1 */
	struct status status;	 /* what its end will say */
	union {
		uint64_t ready_ns; /* while it is ready: since when */
		uint64_t wake_ns;  /* while it sleeps */
	};
	union {
		uint64_t wake_order; /* while it sleeps: first come first among equal times */
		struct call *call;   /* while it waits for one */
	};
	union {
		struct task *heap_child; /* while it sleeps */
		const void *wait_place;	 /* while it waits for anything else: where in the code */
	};
};

#if !defined(CASCADE_UCONTEXT) && !defined(FIBER_ASAN) && !defined(FIBER_TSAN)
_Static_assert(sizeof(struct task) == 2 * CACHE_LINE_BYTES, "a task switch touches no third line");
#endif

/* First thing in a function that waits: what for, and who called it. */
#define NOTE_WAIT(self, what)                                     \
	do {                                                      \
		(self)->wait = (uint8_t)(what);                   \
		(self)->wait_place = __builtin_return_address(0); \
	} while (0)

/* Waits until task_unpark; nothing else wakes it. */
MAY_SUSPEND void task_park(struct task *self);
static inline void task_unpark(struct task *task);

/* The same as a wait that a cancel ends; the caller has seen that the task is not canceled. */
MAY_SUSPEND MUST_CHECK struct status task_park_cancelable(struct task *self);

/* One of those that the join counts has ended. */
static inline void join_end(struct join *join, struct status status);

/* What every task begins with. */
void task_start(void *task);

/* A task that starts with the next turn. NULL: no memory, nothing happened. */
struct task *task_create(struct shard *shard, const struct task_type *type, task_function *run,
			 void *argument, enum task_queue queue);

/*
 * --- stacks: a task struct at the top of each ---
 *
 * Classes of 512 B to 4 KiB in steps of 512 B, then 8, 16, 32 and 64 KiB; the last, of 256 KiB, is of builds
 * whose frames are not those that were counted.
 */

enum { STACK_CLASS_COUNT = 13 };

enum {
	STACK_CHUNK_BYTES = 1024 * 1024,
	STACK_STEP_BYTES = 512, /* of the small classes */
	STACK_SMALL_CLASSES = 8,
};

/* At the beginning of the chunk's memory, which is aligned to its size. */
struct stack_chunk {
	struct stack_chunk *next;      /* of the pool */
	struct stack_chunk *next_open; /* of the class, with a slot to give */
	struct task *idle;	       /* given back, the latest first, by heap_next */
	struct task *next_ordered;     /* of the slot `ordered` */
	unsigned *stack_ids;	       /* Valgrind's; NULL: nobody watches */
	uint16_t slots;
	uint16_t live;	       /* slots in use */
	uint16_t ordered;      /* slots from here on are handed out in their order, once `idle` is empty */
	uint16_t made;	       /* slots from here on were never handed out */
	uint32_t header_bytes; /* before the first slot */
	uint32_t slot_bytes;
	uint32_t guard_bytes; /* 0: none */
	uint32_t stack_class;
};

struct stack_pool {
	struct stack_chunk *open[STACK_CLASS_COUNT]; /* with a slot to give */
	struct stack_chunk *chunks;		     /* all */
	bool is_painted;			     /* see stack_marks_begin */
	bool has_room; /* each task gets the largest stack: its frames are not those that were counted */
};

void stack_pool_init(struct stack_pool *pool);
void stack_pool_destroy(struct stack_pool *pool);
/* All that is idle, and nothing else is there, goes to a pool that is empty. */
void stack_pool_move(struct stack_pool *to, struct stack_pool *from);
/* A task struct whose fiber has at least `stack_bytes` of stack; only its fiber's bounds and
 * stack_class are set. NULL: no memory. */
struct task *stack_pool_take(struct stack_pool *pool, size_t stack_bytes);
void stack_pool_give(struct stack_pool *pool, struct task *task);

static inline struct stack_chunk *stack_chunk_of(struct task *task)
{
	return (struct stack_chunk *)((uintptr_t)task & ~(uintptr_t)(STACK_CHUNK_BYTES - 1));
}

/* Whether there is a short way for what most spawns and ends do: no sanitizer looks on, frames are as
 * counted. */
#if !defined(CASCADE_DEBUG) && !defined(CASCADE_UCONTEXT) && !defined(CASCADE_PLANTED) && \
	!defined(FIBER_ASAN) && !defined(FIBER_TSAN)
#define STACKS_ARE_PLAIN 1
#else
#define STACKS_ARE_PLAIN 0
#endif

/* A small stack that is at hand; NULL: it takes stack_pool_take. */
static inline struct task *stack_pool_take_short(struct stack_pool *pool, size_t stack_bytes)
{
	size_t stack_class = (stack_bytes - 1) / STACK_STEP_BYTES;
	if (!STACKS_ARE_PLAIN || pool->has_room || stack_class >= STACK_SMALL_CLASSES ||
	    pool->open[stack_class] == NULL)
		return NULL;
	struct stack_chunk *chunk = pool->open[stack_class];
	struct task *task = chunk->idle;
	if (task != NULL) {
		chunk->idle = task->heap_next;
	} else if (chunk->ordered < chunk->made) {
		task = chunk->next_ordered;
		chunk->next_ordered = (struct task *)(void *)((char *)task + chunk->slot_bytes);
		chunk->ordered++;
	} else {
		return NULL;
	}
	if (++chunk->live == chunk->slots)
		pool->open[stack_class] = chunk->next_open;
	return task;
}

/* False: it takes stack_pool_give. */
static inline bool stack_pool_give_short(const struct stack_pool *pool, struct task *task)
{
	struct stack_chunk *chunk = stack_chunk_of(task);
	if (!STACKS_ARE_PLAIN || pool->is_painted || chunk->live == chunk->slots || chunk->live == 1)
		return false;
	chunk->live--;
	task->heap_next = chunk->idle;
	chunk->idle = task;
	return true;
}
/* Calls `each` for every task of the pool that has begun and not ended, for reports. */
void stack_pool_each_live(const struct stack_pool *pool, void (*each)(void *context, const struct task *task),
			  void *context);
/* The class that serves `stack_bytes` in this build, and its usable bytes. */
unsigned stack_class_of(size_t stack_bytes);
size_t stack_class_bytes(unsigned stack_class);

/* Gives the calling thread, whose stack this is, an alternate stack for signals that cannot be blocked. */
void signal_stack_set(const struct fiber *thread);

/* What runs call_on_thread_stack where there are tasks: thread_stack.c. */
void thread_stack_call(void (*function)(void *argument), void *argument);

/* --- how deep stacks were used, for tests: stack_marks.c --- */

struct stack_mark {
	const struct task_type *type;
	size_t used_bytes; /* the most that a task of the type has overwritten, without its task struct */
	uint64_t tasks;
};

/* From now on pools that are made paint their stacks; marks of before are forgotten. */
void stack_marks_begin(void);
/* No more. The marks of all tasks that have ended since; returns how many there are. */
size_t stack_marks_end(struct stack_mark *marks, size_t capacity);
bool stack_marks_are_on(void);
/* The task has ended: its stack is measured, and painted again. */
void stack_mark_note(const struct task *task);
void stack_paint(void *low, size_t size);
/* How many bytes from the top have been written since it was painted. */
size_t stack_used(const void *low, size_t size);

/* --- timers: a pairing heap through the tasks, so that sleeping allocates nothing --- */

struct task *timer_heap_add(struct task *root, struct task *task);
struct task *timer_heap_remove(struct task *root, struct task *task);

/* --- calls between shards --- */

/* A WAIT call, on the sender's stack. The sender's thread alone touches it, but for `task`. */
struct call {
	struct task *caller;
	struct status status;
	uint32_t target;
	bool done;	   /* the function has ended */
	bool canceling;	   /* a cancel is on its way; its answer has to be back before the call returns */
	struct task *task; /* the receiver's, of a cancelable call: that runs the function */
};

/*
 * From one shard to one other. With each credit goes a slot of `requests` and one of `replies`, and one more
 * of either for the cancel of the call.
 */
struct mailbox {
	struct ring requests;
	struct ring replies;
};

/* What a sender knows of a receiver. Those of two shards never share a line. */
struct peer {
	_Alignas(CACHE_LINE_BYTES) uint32_t
		outstanding;  /* calls sent and not yet answered, <= mailbox entries */
	uint32_t quiet_looks; /* so many in a row have found nothing from there */
	struct wait_list room;
};

/* Tells the shards for which there are messages that they were not told of. */
void calls_tell(struct shard *shard);
/* Takes in what other shards sent; whether a call had to stay for want of a stack. */
bool calls_receive(struct shard *shard);
/* Tells the shard that the task's function came from that it has ended. */
void call_reply(struct shard *shard, uint32_t to, void *token, struct status status);
/* Whether a canceled task that was made for this token runs its function all the same. */
bool call_runs_in_any_case(const void *token);
/* Passes a cancel on to where the function runs; once. */
void call_cancel(struct shard *shard, struct call *call);

/* --- shards --- */

/*
 * What the threads sleep on that wait for a shard's requests: those that end together are woken together, by
 * one system call. Each future has one of 32 bits by its address, and a wake names the bits whose futures are
 * done.
 */
struct future_bell {
	_Atomic uint32_t rings; /* a futex word */
	uint32_t due;		/* the shard's: bits of those who are done and sleep */
};

void future_bell_ring(struct future_bell *bell);

/* Tasks that are ready, linked one way: what ends is taken from the front. */
struct run_queue {
	struct task *first; /* while `count` is not 0 */
	struct task **end;  /* where the next one is to be noted: the last one's ready_next, or `first` */
	uint32_t count;
};

static inline void run_queue_init(struct run_queue *queue)
{
	queue->end = &queue->first;
	queue->count = 0;
}

static inline void run_queue_add(struct run_queue *queue, struct task *task)
{
	*queue->end = task;
	queue->end = &task->ready_next;
	queue->count++;
}

/* While there is one. */
static inline struct task *run_queue_take(struct run_queue *queue)
{
	struct task *task = queue->first;
	queue->first = task->ready_next;
	if (--queue->count == 0)
		queue->end = &queue->first;
	return task;
}

struct shard {
	struct io *io;
	struct runtime *runtime;
	uint32_t index;
	struct task *current;
	uint64_t now_ns;
	bool now_is_old; /* a borrower has not read the clock yet */
	uint64_t run_start_ns;
	struct run_queue ready[QUEUE_COUNT];
	uint32_t live;		   /* tasks that have not ended */
	uint32_t foreground_waits; /* foreground tasks suspended on I/O */
	uint32_t background_share;
	int64_t credit_ns; /* background time that a busy foreground still owes; below 0: the reverse */
	struct task *timers;
	uint64_t timer_order;
	struct fiber fiber; /* the resident's own stack */
#ifdef CASCADE_UCONTEXT
	void (*thread_function)(void *argument); /* what the loop runs for the task, see thread_stack.c */
	void *thread_argument;
#endif
	bool on_thread_stack;
	bool must_retry; /* a call or request waits for memory */
	bool counted_busy;
	bool cancels_all;	/* each task is canceled when it is made */
	uint64_t posts;		/* NOWAIT calls sent and not yet answered */
	bool received;		/* something has come in this turn */
	uint64_t clock_mark;	/* when the clock was read, see clock_mark */
	uint64_t look_ticks;	/* when the time was looked at */
	uint32_t runs_unlooked; /* since then */
	bool types_mixed;	/* of these runs */
	bool last_is_trusted;
	const struct task_type *last_type; /* of the latest run */
	uint8_t trust[TRUSTED_TYPES];
	const struct task_type *trusted[TRUSTED_TYPES];
	uint64_t poll_ns; /* how long it polls before it sleeps; adapts */
	void *local;
	struct peer *peers;
	uint64_t untold; /* bit s: shard s was not told yet of what it was sent */
	struct stack_pool stacks;
	struct inbox inbox;
	uint32_t inbox_live; /* requests taken whose task has not ended */
	struct shard_counters counters;
	pthread_t thread;
	bool started;
	struct status start_status;

	struct future_bell bell;

	/* Written by others. */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t active; /* bit s: shard s has put something in a ring */
	struct request *_Atomic canceled;		    /* requests that somebody cancels */
	_Atomic uint32_t cancel_all; /* runtime_cancel_all came, and was not seen yet */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t sleeping;
	_Atomic uint32_t exiting;
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t hold; /* hold.c; a futex word */
	_Atomic uint32_t hold_wanted;			  /* the resident's: borrowers stand back */
};

/* The resident's life: creates the ring, runs turns until it may exit, destroys the ring. */
void *shard_main(void *shard);

/* Its parts, of which a stepper makes a life of its own. */

/* The calling thread's own stack, as something to switch back to. */
void fiber_of_thread(struct fiber *fiber);
/* Creates the shard's I/O instance; false: start_status says why not. Counts runtime->starting down. */
bool shard_start(struct shard *shard);
void shard_turn(struct shard *shard);
/* Whether somebody has put something where a turn would find it. */
bool shard_has_messages(struct shard *shard);
void shard_receive(struct shard *shard);
void shard_expire_timers(struct shard *shard);
/* Runs a ready task until it suspends or ends. */
void shard_run_task(struct shard *shard, struct task *task);
/* Whether there are tasks, or messages or completions to come that make some. */
bool shard_is_busy(struct shard *shard);

void shard_read_clock(struct shard *shard);

static inline void shard_tell_others(struct shard *shard)
{
	if (shard->untold != 0)
		calls_tell(shard);
}

static inline void shard_wake_threads(struct shard *shard)
{
	if (shard->bell.due != 0)
		future_bell_ring(&shard->bell);
}

/* --- short ones, which every spawn and every run of a task goes through --- */

static inline void shard_make_ready(struct shard *shard, struct task *task)
{
	if (__builtin_expect(shard->now_is_old, 0))
		shard_read_clock(shard);
	task->state = TASK_RUNNABLE;
	task->ready_ns = shard->now_ns;
	run_queue_add(&shard->ready[task->queue], task);
}

static inline void task_unpark(struct task *task)
{
	ASSERT(task->state == TASK_PARKED);
	shard_make_ready(task->shard, task);
}

/* A task that waits for several, or whose wait was canceled, may have been woken already. */
static inline void join_end(struct join *join, struct status status)
{
	ASSERT(join->pending > 0);
	if (__builtin_expect(!status_is_ok(status), 0)) {
		status_keep_first(&join->status, status);
		join->errors++;
	}
	join->pending--;
	struct task *waiter = join->waiter;
	if (join->pending > 0 || waiter == NULL)
		return;
	join->waiter = NULL;
	if (waiter->state == TASK_PARKED)
		task_unpark(waiter);
}

/* Whether a task is ready to run. */
static inline bool shard_is_ready(const struct shard *shard)
{
	return shard->ready[TASK_FOREGROUND].count + shard->ready[TASK_BACKGROUND].count > 0;
}

/* Whether somebody may want the shard before its background goes on: who waits for I/O, another shard, a
 * thread. */
bool shard_is_wanted(struct shard *shard);

/* Makes the shard the calling thread's, as it is for the resident; NULL: none. */
void shard_set_current(struct shard *shard);

/* --- the hold: hold.c --- */

/* By the resident. */
void hold_take(struct shard *shard);
/* Whether a thread sleeps for want of the shard. */
bool hold_is_awaited(struct shard *shard);
void hold_give(struct shard *shard);
/* Lets one of those in who sleep until it is free, and has it again afterwards. */
void hold_lend(struct shard *shard);

/* To be called after something was put where the shard looks before it sleeps (a seq_cst store). True if
 * a wake-up was sent. */
bool shard_notify(struct shard *shard);

/* --- runtime --- */

/*
 * What takes the place of threads where tests step all shards on one (stepped.c, in no release). Its runtimes
 * have no residents, and whoever would block its thread calls `wait`.
 */
struct stepper {
	/* As for threads: the outcome is in each shard's start_status. */
	void (*start)(struct stepper *stepper, struct runtime *runtime);
	/* After it has returned nothing of the runtime is used any more. No shard is busy. */
	void (*stop)(struct stepper *stepper, struct runtime *runtime);
	/* Returns when is_over(context) was true, once; others run meanwhile. */
	void (*wait)(struct stepper *stepper, bool (*is_over)(void *context), void *context);
	/* Whether a caller gets the shard that it asks for. Others may run meanwhile. */
	bool (*lends)(struct stepper *stepper, const struct shard *shard);
	/* It gets it again. Others may run meanwhile. */
	void (*lends_again)(struct stepper *stepper);
};

/* Of runtimes that are created from now on; NULL, as in every release: threads. */
extern struct stepper *runtime_stepper;

struct runtime {
	uint32_t shard_count;
	uint32_t mailbox_entries;
	uint32_t quiet_looks; /* after so many a shard looks into a ring only when it is told to */
	uint64_t poll_ns_max;
	struct shard **shards;
	struct mailbox *mailboxes; /* [from * shard_count + to] */
	struct ring_slot *ring_slots;
	struct stepper *stepper; /* NULL: each shard has a resident */
	_Atomic uint32_t stopping;
	_Atomic uint32_t busy; /* shards that may still have tasks; only falls to 0 while stopping */

	/* Starting and stopping only. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t starting; /* shards whose ring is not decided yet */
	bool may_free;	   /* nobody wakes anybody any more */
	bool stacks_ahead;
	struct io_options io_options;
	const char *io_backend;
	char *notice;
	size_t notice_size;
};

static inline struct mailbox *runtime_mailbox(struct runtime *runtime, uint32_t from, uint32_t to)
{
	return &runtime->mailboxes[(size_t)from * runtime->shard_count + to];
}

/* As future_complete for a request's, or later, if a cancel of it is on its way. By the shard. */
void request_end(struct request *request);
/* By the shard: a cancel has arrived. */
void request_cancel_arrived(struct request *request);

/* Sleeps while *word == value, at most `timeout_ns` (UINT64_MAX: without limit). */
void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns);
/* Wakes `count` of the sleepers at most; returns how many it woke. */
int futex_wake(_Atomic uint32_t *word, int count);

/* TSan knows no fences: where it looks on, what they would spare is done. */
static inline bool full_fence_works(void)
{
#ifdef FIBER_TSAN
	return false;
#else
	return true;
#endif
}

/* What was stored before is seen by whoever comes later in the one order of such fences and of seq_cst
 * accesses. */
static inline void full_fence(void)
{
#ifndef FIBER_TSAN
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

#endif
