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
	OVERRUN_NS = 1000 * 1000,	  /* a run this long is counted as an overrun */
	CREDIT_NS_MAX = 2 * 1000 * 1000,  /* background time saved up */
	CREDIT_NS_MIN = -2 * 1000 * 1000, /* ... and owed */
	BACKGROUND_SHARE_DEFAULT = 64,
	CALL_STACK_BYTES = 64 * 1024, /* functions that come from elsewhere run on the largest stack */
	STACK_BYTES_MAX = 64 * 1024,
	STACK_BYTES_MIN = 16 * 1024, /* formatting of errors alone takes 3 KiB on the task's stack */
};

/* --- tasks --- */

enum task_state {
	TASK_RUNNABLE,
	TASK_RUNNING,
	TASK_SUSPENDED, /* by task_suspend: task_resume wakes it */
	TASK_PARKED,	/* by a wait of the runtime's own, which alone wakes it */
	TASK_ENDED,
};

enum task_origin { ORIGIN_SPAWN, ORIGIN_CALL, ORIGIN_REQUEST };

/* What a task that does not run waits for: for reports. */
enum task_wait { WAIT_RESUME, WAIT_LIST, WAIT_JOIN, WAIT_IO, WAIT_TIME, WAIT_CALL };

struct task {
	struct list link; /* in a run queue or a wait list */
	struct fiber fiber;
	struct shard *shard;
	const struct task_type *type;
	task_function *run;
	void *argument;
	union {
		struct join *join; /* of ORIGIN_SPAWN; may be NULL */
		void *origin_data; /* of others: the sender's token of a call, or a struct request */
	};
	uint8_t state;	/* enum task_state */
	uint8_t queue;	/* enum task_queue */
	uint8_t origin; /* enum task_origin */
	uint8_t stack_class;
	uint8_t origin_shard; /* of a call */
	uint8_t wait;	      /* enum task_wait, while it is suspended or parked */
	bool resumed;	      /* a task_resume came before its task_suspend */
	bool serving;	      /* runs a function for another shard, so it must make no WAIT call */
	uint64_t number;      /* among the tasks of its shard, from 1 */
	uint64_t wake_ns;
	uint64_t wake_order; /* first come first among equal times */
	struct task *heap_next;
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
void task_unpark(struct task *task);

/* A task that starts with the next turn. NULL: no memory, nothing happened. */
struct task *task_create(struct shard *shard, const struct task_type *type, task_function *run,
			 void *argument, enum task_queue queue);

/* --- stacks: a task struct at the top of each, kept in free lists by class --- */

enum { STACK_CLASS_COUNT = 8 };

struct stack_chunk;

struct stack_pool {
	struct list idle[STACK_CLASS_COUNT]; /* of task.link, the latest used first */
	struct stack_chunk *chunks;
};

void stack_pool_init(struct stack_pool *pool);
void stack_pool_destroy(struct stack_pool *pool);
/* All that is idle, and nothing else is there, goes to a pool that is empty. */
void stack_pool_move(struct stack_pool *to, struct stack_pool *from);
/* A task struct whose fiber has at least `stack_bytes` of stack; only its fiber's bounds and
 * stack_class are set. NULL: no memory. */
struct task *stack_pool_take(struct stack_pool *pool, size_t stack_bytes);
void stack_pool_give(struct stack_pool *pool, struct task *task);
/* Calls `each` for every task of the pool that has begun and not ended, for reports. */
void stack_pool_each_live(const struct stack_pool *pool, void (*each)(void *context, const struct task *task),
			  void *context);
/* The class that serves `stack_bytes` in this build, and its usable bytes. */
unsigned stack_class_of(size_t stack_bytes);
size_t stack_class_bytes(unsigned stack_class);

/* --- timers: a pairing heap through the tasks, so that sleeping allocates nothing --- */

struct task *timer_heap_add(struct task *root, struct task *task);
struct task *timer_heap_remove_first(struct task *root);

/* --- calls between shards --- */

/* On the sender's stack, and touched by the sender's thread alone. */
struct call {
	struct task *caller;
	bool done;
};

/* From one shard to one other: a slot of `requests` is given out with its slot of `replies`. */
struct mailbox {
	struct ring requests;
	struct ring replies;
};

/* What a sender knows of a receiver. */
struct peer {
	uint32_t outstanding; /* calls sent and not yet answered, <= mailbox entries */
	struct wait_list room;
};

/* Takes in what other shards sent; whether a call had to stay for want of a stack. */
bool calls_receive(struct shard *shard);
/* Sends the token of a call that has ended back to the shard that it came from. */
void call_reply(struct shard *shard, uint32_t to, void *call);

/* --- shards --- */

struct shard {
	struct io *io;
	struct runtime *runtime;
	uint32_t index;
	struct task *current;
	uint64_t now_ns;
	uint64_t run_start_ns;
	struct list ready[QUEUE_COUNT];
	uint32_t ready_count[QUEUE_COUNT];
	uint32_t live;		   /* tasks that have not ended */
	uint32_t foreground_waits; /* foreground tasks suspended on I/O */
	uint32_t background_share;
	int64_t credit_ns; /* background time that a busy foreground still owes; below 0: the reverse */
	struct task *timers;
	uint64_t timer_order;
	struct fiber fiber; /* the resident's own stack */
	void (*thread_function)(void *argument);
	void *thread_argument;
	bool on_thread_stack;
	bool must_retry; /* a call or request waits for memory */
	bool counted_busy;
	uint64_t poll_ns; /* how long it polls before it sleeps; adapts */
	void *local;
	struct peer *peers;
	struct stack_pool stacks;
	struct inbox inbox;
	uint32_t inbox_live; /* requests taken whose task has not ended */
	struct shard_counters counters;
	pthread_t thread;
	bool started;
	struct status start_status;

	/* Written by others. */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t active; /* bit s: shard s has put something in a ring */
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

void shard_make_ready(struct shard *shard, struct task *task);

/* Whether a task is ready to run. */
static inline bool shard_is_ready(const struct shard *shard)
{
	return shard->ready_count[TASK_FOREGROUND] + shard->ready_count[TASK_BACKGROUND] > 0;
}

/* Makes the shard the calling thread's, as it is for the resident; NULL: none. */
void shard_set_current(struct shard *shard);

/* --- the hold: hold.c --- */

/* By the resident. */
void hold_take(struct shard *shard);
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

/* Sleeps while *word == value, at most `timeout_ns` (UINT64_MAX: without limit). */
void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns);
/* Wakes `count` of the sleepers at most; returns how many it woke. */
int futex_wake(_Atomic uint32_t *word, int count);

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

#endif
