/*
 * stepped.h: all shards and all callers on one thread, in an order that a seed chooses; for tests.
 *
 * While a scheduler is installed, runtime_create starts no threads: the shards of the runtimes made meanwhile
 * are stepped by whoever waits. Every call that would block the calling thread (runtime_run, future_wait,
 * clock_sleep_ns, runtime_destroy, and so all of cascade.h) makes step after step until what it waits for has
 * happened. A step is one choice: a task, the messages, the timers or the completions of a shard, or a
 * client. Time is the world's: it moves a little with each step and, when nothing can run, to whatever comes
 * next. So the same seed and the same calls give the same run, to the last byte and nanosecond: stepped_trace
 * tells.
 *
 * What is stepped is the code that runs in production. Two things differ from threads: whoever runs is never
 * interrupted between two points where it gives way itself, and nobody waits for real. Every order of tasks
 * that a scheduler chooses is one that threads could have brought about.
 *
 * *Clients* are callers that are no shard's: fibers that see themselves as threads do. Where a call of theirs
 * blocks, the others go on; where a call could borrow a shard (runtime_borrow), a draw decides whether it
 * gets it, and others may come first.
 *
 * One thread uses all of this. Linked into tests and into no release.
 */
#ifndef CASCADE_RUNTIME_STEPPED_H
#define CASCADE_RUNTIME_STEPPED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct runtime;
struct simulated_world;
struct stepped;

enum stepped_policy {
	STEPPED_FIFO,	/* shards and clients in turn; a shard's turn is the one of production */
	STEPPED_RANDOM, /* each step any of those that can run, all equally likely */
	/*
	 * The one of the highest priority that can run; priorities are drawn by task, and at a few random
	 * points whoever runs falls to the lowest (Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010).
	 * Drawn anew from window to window, so that a long run starves nobody for ever.
	 */
	STEPPED_PCT,
	STEPPED_POLICY_COUNT
};

/* All zero but `seed` is a good choice. */
struct stepped_options {
	uint64_t seed;
	enum stepped_policy policy;
	uint32_t pct_changes;	 /* points in a window at which a priority falls; 0: 3 */
	uint32_t pct_window;	 /* steps; 0: 1000 */
	uint32_t step_ns_max;	 /* a step takes up to this much of the world's time; 0: 2 us */
	uint32_t borrows_in_256; /* how often a client gets a shard that it asks for; 0: 128; 256: always */
	uint64_t steps_max;	 /* more are a run without an end; 0: without limit */

	/* Called between two steps, on the thread's own stack and outside of any shard. May be NULL. It may
	 * install another scheduler and use it, if it installs this one again. It makes no step of this one.
	 */
	void (*each)(void *context);
	/*
	 * Nothing can run and nothing is to come, or `steps_max` is reached: `report` says in lines which
	 * tasks and clients wait for what. NULL: it is printed and the process aborts. When the function
	 * returns the scheduler looks again, and aborts if nothing has changed.
	 */
	void (*stuck)(void *context, const char *report);
	void *context;
};

/* A scheduler over the time of that world. Aborts where there is no memory. */
struct stepped *stepped_create(const struct stepped_options *options, struct simulated_world *world);

/*
 * From now on stacks of what has ended are kept for what comes, in the whole process: mapping them takes
 * longer than a small database lives. Not where injected failures of memory are counted.
 */
void stepped_keep_stacks(void);

/* Its runtimes are destroyed and its clients have ended. If it is installed it is taken away. */
void stepped_destroy(struct stepped *stepped);

/*
 * From now on runtime_create makes runtimes of this scheduler and waits are steps of it; its world is
 * installed as well (clock, entropy); and whatever release backend io_create is asked for ("uring", "posix"),
 * it makes `io_backend` ("simulated", or "faulty" around it; borrowed): so cascade_open, with the options of
 * any embedder, opens a database in the world. NULL for `stepped` gives everything back to the machine.
 */
void stepped_install(struct stepped *stepped, const char *io_backend);

/* --- clients --- */

/* Starts function(argument) as a client on a stack of its own; it runs as others wait. `name` is borrowed. */
void stepped_start(struct stepped *stepped, const char *name, void (*function)(void *argument),
		   void *argument);

/* Makes steps until all clients have ended. Not from a client. */
void stepped_wait_clients(struct stepped *stepped);

/* Both: one client for each of `count` arguments, at `arguments` and each `argument_size` bytes further. */
void stepped_run_clients(struct stepped *stepped, const char *name, void (*function)(void *argument),
			 void *arguments, size_t argument_size, unsigned count);

/* Lets others go first: from a client, or from the thread itself, which then makes one step. */
void stepped_yield(struct stepped *stepped);

/* Makes one step. False: there was nothing to run, now or later. Not from a client. */
bool stepped_step(struct stepped *stepped);

/* --- what happened --- */

/* A hash over every choice, all events of the world and what was mixed in. */
uint64_t stepped_trace(const struct stepped *stepped);

/* Makes what a caller has seen part of the trace: results, bytes read. */
void stepped_trace_mix(struct stepped *stepped, const void *bytes, size_t size);

/* What the steps were; a test asserts that what it is for did happen. */
enum stepped_count {
	STEPPED_STEPS,
	STEPPED_TASKS,	  /* runs of a task by choice; in FIFO turns of a shard */
	STEPPED_MESSAGES, /* takes of messages */
	STEPPED_TIMERS,
	STEPPED_POLLS,
	STEPPED_CLIENTS,  /* runs of a client */
	STEPPED_ADVANCES, /* time moved to the next event because nothing could run */
	STEPPED_LEAPS,	  /* ... though something could */
	STEPPED_BORROWED,
	STEPPED_AGAIN,	 /* borrowed again, after the caller did I/O of its own */
	STEPPED_REFUSED, /* a shard was asked for and not lent */
	STEPPED_CHANGES, /* priorities that fell */
	STEPPED_COUNT_COUNT
};

uint64_t stepped_count(const struct stepped *stepped, enum stepped_count count);
const char *stepped_count_name(enum stepped_count count);
const char *stepped_policy_name(enum stepped_policy policy);

#endif
