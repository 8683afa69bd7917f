/*
 * The resident's loop. Order of a turn: completions, calls, requests, timers, foreground, background;
 * the poll that opens the next turn enters what this one's tasks have submitted.
 */
#include "runtime/shard.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "runtime/internal.h"

enum {
	POLL_IO_FEW = 2,	/* with more requests under way, one wait collects the ends of several */
	POLL_IO_NS = 4 * 1000,	/* how long a poll for one of many pays */
	POLL_NS_MIN = 1000,	/* less than this is not worth polling */
	POLL_ROUNDS_MAX = 4096, /* a replaced clock may stand still */
	POLL_ROUNDS_PER_CLOCK = 4,
	POLL_ROUNDS_PER_YIELD = 64,
	WAKE_NS = 25 * 1000,	/* the kernel needs as long to bring a thread back: sooner takes polling */
	SYNC_NS = 200 * 1000,	/* what a sync takes at most where it is fast */
	RETRY_NS = 1000 * 1000, /* between two tries to get memory for a stack */
};

static __thread struct shard *current_shard __attribute__((tls_model("initial-exec")));

struct shard *shard_current(void)
{
	return current_shard;
}

void shard_set_current(struct shard *shard)
{
	current_shard = shard;
}

uint32_t shard_index(const struct shard *shard)
{
	return shard->index;
}

struct runtime *shard_runtime(const struct shard *shard)
{
	return shard->runtime;
}

struct io *shard_io(const struct shard *shard)
{
	return shard->io;
}

void shard_read_clock(struct shard *shard)
{
	shard->now_ns = clock_now_ns();
	shard->now_is_old = false;
	shard->clock_mark = clock_mark();
	shard->look_ticks = shard->clock_mark;
	shard->runs_unlooked = 0;
}

uint64_t shard_now_ns(struct shard *shard)
{
	if (shard->now_is_old)
		shard_read_clock(shard);
	return shard->now_ns;
}

void shard_set_local(struct shard *shard, void *local)
{
	shard->local = local;
}

void *shard_local(const struct shard *shard)
{
	return shard->local;
}

void shard_set_background_share(struct shard *shard, uint32_t share_256)
{
	ASSERT(share_256 <= 256);
	shard->background_share = share_256;
}

const struct shard_counters *shard_counters(struct shard *shard)
{
	struct shard_counters *counters = &shard->counters;
	counters->switches = counters->queues[TASK_FOREGROUND].runs + counters->queues[TASK_BACKGROUND].runs;
	return counters;
}

bool shard_notify(struct shard *shard)
{
	if (atomic_load(&shard->sleeping) == 0)
		return false;
	/* Of several senders one wakes it. */
	if (atomic_exchange(&shard->sleeping, 0) == 0)
		return false;
	io_wake(shard->io);
	return true;
}

/* --- running tasks --- */

static void handle_end(struct task_handle *handle, struct status status)
{
	handle->task = NULL;
	handle->status = status;
	if (handle->join != NULL)
		join_end(handle->join, status);
}

static void tell_end(struct shard *shard, enum task_origin origin, uint32_t from, void *told,
		     struct status status)
{
	switch (origin) {
	case ORIGIN_SPAWN:
		if (told != NULL)
			join_end(told, status);
		break;
	case ORIGIN_HANDLE:
		handle_end(told, status);
		break;
	case ORIGIN_CALL:
		call_reply(shard, from, told, status);
		break;
	case ORIGIN_REQUEST:
		shard->inbox_live--;
		((struct request *)told)->status = status;
		request_end(told);
		break;
	}
}

static __attribute__((noinline)) void task_finish(struct shard *shard, struct task *task)
{
	enum task_origin origin = (enum task_origin)task->origin;
	uint32_t from = task->origin_shard;
	void *told = task->told;
	struct status status = task->status;
	stack_pool_give(&shard->stacks, task);
	ASSERT(shard->live > 0);
	shard->live--;
	tell_end(shard, origin, from, told, status);
}

/* The end of most tasks, who have a join and no errors; else false. */
static inline bool task_finish_short(struct shard *shard, struct task *task)
{
	struct join *join = task->told;
	if (task->origin != ORIGIN_SPAWN || task->status.code != STATUS_OK || join == NULL ||
	    join->pending <= 1 || !stack_pool_give_short(&shard->stacks, task))
		return false;
	shard->live--;
	join->pending--;
	return true;
}

/* Runs the task until it suspends or ends. With ucontext its calls on the thread's stack are served here. */
static inline void task_run(struct shard *shard, struct task *task)
{
	shard->current = task;
	task->state = TASK_RUNNING;
	shard->run_start_ns = shard->now_ns;
	fiber_run(&shard->fiber, &task->fiber, task_start, task);
#ifdef CASCADE_UCONTEXT
	while (shard->thread_function != NULL) {
		void (*function)(void *) = shard->thread_function;
		shard->thread_function = NULL;
		shard->on_thread_stack = true;
		function(shard->thread_argument);
		shard->on_thread_stack = false;
		fiber_switch(&shard->fiber, &task->fiber, 0);
	}
#endif
	shard->current = NULL;
	if (task->state == TASK_ENDED && !task_finish_short(shard, task))
		task_finish(shard, task);
}

static void note_overrun(struct shard *shard, const char *name, uint64_t ns)
{
	shard->counters.slice_overruns++;
	shard->counters.slice_overrun_name = name;
	for (unsigned i = 0; i < SHARD_OVERRUNS_MAX; i++) {
		struct shard_overrun *overrun = &shard->counters.overruns[i];
		if (overrun->name != NULL && strcmp(overrun->name, name) != 0)
			continue;
		overrun->name = name;
		overrun->count++;
		if (overrun->longest_ns < ns)
			overrun->longest_ns = ns;
		break;
	}
}

static __attribute__((noinline)) void note_long_wait(struct shard_queue_counters *queue, uint64_t waited_ns)
{
	queue->waits[WAITS_OVER_100_US]++;
	queue->waits[WAITS_OVER_1_MS] += waited_ns > 1000 * 1000;
	queue->waits[WAITS_OVER_10_MS] += waited_ns > 10 * 1000 * 1000;
}

/* --- how long runs take --- */

/*
 * Reading the clock takes as long as half a dozen switches of tasks, and a look at the processor's counter
 * half of that. So runs of task types that were short the last times are not looked at one by one, only
 * RUNS_PER_LOOK together; after any other run there is a look, and if it says that some microseconds have
 * passed, the clock is read. A run that is too long is therefore named, unless its type had earned trust and
 * other such types ran beside it. Then all have to earn it again.
 */
static unsigned trust_place(const struct task_type *type)
{
	return (unsigned)((uintptr_t)type >> 4) % TRUSTED_TYPES;
}

static void trust_note(struct shard *shard, const struct task_type *type, bool is_short)
{
	unsigned at = trust_place(type);
	if (is_short) {
		if (shard->trusted[at] != type && ++shard->trust[at] >= TRUST_RUNS) {
			shard->trusted[at] = type;
			shard->trust[at] = 0;
		}
	} else if (shard->runs_unlooked > 1) {
		memset(shard->trusted, 0, sizeof(shard->trusted));
		memset(shard->trust, 0, sizeof(shard->trust));
	} else {
		shard->trusted[at] = NULL;
		shard->trust[at] = 0;
	}
}

static __attribute__((noinline)) void look(struct shard *shard, const struct task_type *type,
					   struct shard_queue_counters *queue)
{
	uint64_t ticks = clock_ticks();
	uint64_t limit = (uint64_t)shard->runs_unlooked * CLOCK_TICKS_SHORT;
	trust_note(shard, type, shard->clock_mark != 0 && ticks - shard->look_ticks <= limit);
	shard->last_is_trusted = shard->trusted[trust_place(type)] == type;
	shard_tell_others(shard);
	if (!shard->last_is_trusted)
		shard_wake_threads(shard);
	const char *name = shard->types_mixed ? "one of several" : type->name;
	shard->types_mixed = false;
	shard->look_ticks = ticks;
	shard->runs_unlooked = 0;
	if (shard->clock_mark != 0 && ticks - shard->clock_mark <= CLOCK_TICKS_FEW)
		return;
	shard_wake_threads(shard);
	uint64_t before = shard->now_ns;
	shard_read_clock(shard);
	uint64_t used = shard->now_ns - before;
	if (used > SHARD_OVERRUN_NS)
		note_overrun(shard, name, used);
	queue->run_ns += used;
}

/* A run of another type than the one before is about to begin. Nobody knows how long it takes, so whoever
 * waits for those before hears of it now. */
static __attribute__((noinline)) void type_changes(struct shard *shard, const struct task_type *type)
{
	shard_tell_others(shard);
	shard_wake_threads(shard);
	shard->types_mixed = shard->runs_unlooked > 0;
	shard->last_type = type;
	shard->last_is_trusted = shard->trusted[trust_place(type)] == type;
}

static __attribute__((always_inline)) inline void run_task(struct shard *shard, struct task *task,
							   struct shard_queue_counters *queue)
{
	const struct task_type *type = task->type;
	uint64_t waited_ns = shard->now_ns - task->ready_ns;
	queue->runs++;
	/* The clock is read now and then, so most waits are shorter than it knows. */
	if (waited_ns != 0) {
		queue->wait_ns += waited_ns;
		if (__builtin_expect(waited_ns > 100 * 1000, 0))
			note_long_wait(queue, waited_ns);
	}
	if (type != shard->last_type)
		type_changes(shard, type);
	task_run(shard, task);
	if (++shard->runs_unlooked >= RUNS_PER_LOOK || !shard->last_is_trusted)
		look(shard, type, queue);
}

/* The task may stand anywhere in it. */
static void run_queue_remove(struct run_queue *queue, struct task *task)
{
	struct task **place = &queue->first;
	for (uint32_t i = 1; *place != task; i++) {
		ASSERT(i < queue->count);
		place = &(*place)->ready_next;
	}
	*place = task->ready_next;
	if (queue->end == &task->ready_next)
		queue->end = place;
	queue->count--;
}

void shard_run_task(struct shard *shard, struct task *task)
{
	run_queue_remove(&shard->ready[task->queue], task);
	run_task(shard, task, &shard->counters.queues[task->queue]);
}

bool shard_is_wanted(struct shard *shard)
{
	return shard->foreground_waits > 0 || inbox_peek(&shard->inbox) != NULL || hold_is_awaited(shard) ||
	       atomic_load_explicit(&shard->active, memory_order_relaxed) != 0;
}

/*
 * Runs `tasks_max` tasks, and none more once `budget_ns` is used up; then some more as long as the clock has
 * not moved, for a turn costs as much as several short runs. Background tasks that had the shard to
 * themselves give way to a foreground task that becomes ready.
 */
static uint64_t queue_run(struct shard *shard, enum task_queue which, uint32_t tasks_max, uint64_t budget_ns)
{
	struct shard_queue_counters *counters = &shard->counters.queues[which];
	struct run_queue *queue = &shard->ready[which];
	uint64_t start = shard->now_ns;
	uint64_t end = start + budget_ns;
	bool alone = which == TASK_BACKGROUND && shard->ready[TASK_FOREGROUND].count == 0;
	for (uint32_t count = 0; queue->count > 0; count++) {
		if (count >= tasks_max && (count >= RUNS_PER_LOOK || shard->now_ns != start))
			break;
		run_task(shard, run_queue_take(queue), counters);
		if (shard->now_ns >= end)
			break;
		if (alone && (shard->ready[TASK_FOREGROUND].count > 0 || shard_is_wanted(shard)))
			break;
	}
	return shard->now_ns - start;
}

/* With a share above a half, the foreground's part of the turn shrinks instead of the turn growing. */
static uint64_t foreground_budget_ns(const struct shard *shard)
{
	uint32_t share = shard->background_share;
	if (shard->ready[TASK_BACKGROUND].count == 0 || share <= 128)
		return SLICE_NS;
	return (uint64_t)SLICE_NS * (256 - share) / share;
}

static void foreground_run(struct shard *shard)
{
	if (shard->ready[TASK_FOREGROUND].count == 0)
		return;
	/* Those that are ready now: a task that yields lets the shard look for messages first, or soon. */
	uint32_t ready = shard->ready[TASK_FOREGROUND].count;
	uint32_t tasks_max = ready < FOREGROUND_BATCH ? ready : FOREGROUND_BATCH;
	uint64_t used = queue_run(shard, TASK_FOREGROUND, tasks_max, foreground_budget_ns(shard));
	if (shard->ready[TASK_BACKGROUND].count == 0)
		return;
	uint32_t share = shard->background_share;
	uint64_t earned = share >= 256 ? CREDIT_NS_MAX : used * share / (256 - share);
	if (earned > CREDIT_NS_MAX - CREDIT_NS_MIN)
		earned = CREDIT_NS_MAX - CREDIT_NS_MIN;
	shard->credit_ns += (int64_t)earned;
	if (shard->credit_ns > CREDIT_NS_MAX)
		shard->credit_ns = CREDIT_NS_MAX;
}

/* Alone it ends early when it makes a foreground task runnable; else it spends the credit it has. */
static void background_run(struct shard *shard)
{
	if (shard->ready[TASK_BACKGROUND].count == 0)
		return;
	bool contended = shard->ready[TASK_FOREGROUND].count > 0;
	if (contended && shard->credit_ns <= 0)
		return;
	uint64_t budget_ns = shard_is_wanted(shard) ? SLICE_SHORT_NS : SLICE_NS;
	if (contended)
		budget_ns = (uint64_t)(shard->credit_ns < SLICE_NS ? shard->credit_ns : SLICE_NS);
	uint64_t used = queue_run(shard, TASK_BACKGROUND, UINT32_MAX, budget_ns);
	if (!contended)
		return;
	shard->credit_ns -= (int64_t)used;
	if (shard->credit_ns < CREDIT_NS_MIN)
		shard->credit_ns = CREDIT_NS_MIN;
}

/* --- what comes in --- */

static const struct task_type request_type = {
	.name = "request",
	.stack_bytes = 65536,
};

/* Requests under way are bounded as the inbox is: a full shard makes callers wait or hear BUSY. */
static bool inbox_is_open(const struct shard *shard)
{
	return shard->inbox_live <= shard->inbox.mask;
}

static void inbox_tell_room(struct inbox *inbox)
{
	/* A read-modify-write, so that either this sees the producer wait or the producer sees the room. */
	if (atomic_fetch_add(&inbox->waiting, 0) == 0)
		return;
	atomic_fetch_add(&inbox->room, 1);
	futex_wake(&inbox->room, INT32_MAX);
}

/* Takes the request that comes next; false: no memory for a stack, it stays. */
static bool request_begin(struct shard *shard, struct request *request)
{
	const struct task_type *type = request->type != NULL ? request->type : &request_type;
	struct task *task = task_create(shard, type, request->run, request->argument, TASK_FOREGROUND);
	if (task == NULL)
		return false;
	inbox_pop(&shard->inbox);
	task->origin = ORIGIN_REQUEST;
	task->told = request;
	request->task = task;
	shard->inbox_live++;
	return true;
}

/* Ends the request that comes next if it needs no task. */
static bool request_end_at_once(struct shard *shard, struct request *request)
{
	if (request->canceled)
		request->status = status_make(STATUS_CANCELED);
	else if (request->attempt == NULL || !request->attempt(request->argument))
		return false;
	inbox_pop(&shard->inbox);
	request_end(request);
	return true;
}

/* Whether a request had to stay for want of a stack. */
static bool requests_receive(struct shard *shard)
{
	struct inbox *inbox = &shard->inbox;
	unsigned taken = 0;
	bool kept = false;
	uint64_t start = 0;
	while (taken < INBOX_BATCH && inbox_is_open(shard)) {
		struct request *request = inbox_peek(inbox);
		if (request == NULL)
			break;
		if (start == 0 && request->attempt != NULL)
			start = clock_now_ns();
		if (!request_end_at_once(shard, request) && !request_begin(shard, request)) {
			kept = true;
			break;
		}
		taken++;
		/* Attempts are work that no slice bounds. */
		if (start != 0 && clock_now_ns() - start >= SLICE_NS)
			break;
	}
	shard->counters.calls_received += taken;
	shard->received |= taken > 0;
	if (taken > 0)
		inbox_tell_room(inbox);
	return kept;
}

void shard_expire_timers(struct shard *shard)
{
	while (shard->timers != NULL && shard->timers->wake_ns <= shard->now_ns) {
		struct task *task = shard->timers;
		shard->timers = timer_heap_remove(task, task);
		task_unpark(task);
	}
}

/* --- cancels --- */

static void cancel_live(void *context, const struct task *task)
{
	(void)context;
	task_cancel((struct task *)(uintptr_t)task);
}

static void cancels_receive(struct shard *shard)
{
	if (atomic_load_explicit(&shard->cancel_all, memory_order_relaxed) != 0 &&
	    atomic_exchange(&shard->cancel_all, 0) != 0) {
		shard->cancels_all = true;
		stack_pool_each_live(&shard->stacks, cancel_live, NULL);
	}
	if (atomic_load_explicit(&shard->canceled, memory_order_relaxed) == NULL)
		return;
	struct request *request = atomic_exchange(&shard->canceled, NULL);
	while (request != NULL) {
		struct request *next = request->next_canceled;
		request_cancel_arrived(request); /* it may be gone then */
		request = next;
	}
}

bool shard_has_messages(struct shard *shard)
{
	if (atomic_load(&shard->canceled) != NULL || atomic_load(&shard->cancel_all) != 0)
		return true;
	if (shard->must_retry)
		return false;
	if (atomic_load(&shard->active) != 0)
		return true;
	return inbox_is_open(shard) && inbox_peek(&shard->inbox) != NULL;
}

bool shard_is_busy(struct shard *shard)
{
	return shard->live > 0 || shard->posts > 0 || shard->io->in_flight > 0 || shard->must_retry ||
	       shard_has_messages(shard);
}

/*
 * While the runtime stops, `busy` counts the shards that have tasks. A quiet shard is made busy again
 * only by a call, whose sender is busy until after the receiver has counted itself (with a WAIT call because
 * a task waits, with a NOWAIT call because its reply is not in); so once the count is 0 nothing can happen
 * any more.
 */
static void report_busy(struct shard *shard)
{
	struct runtime *runtime = shard->runtime;
	if (atomic_load(&runtime->stopping) == 0)
		return;
	bool busy = shard_is_busy(shard);
	if (busy == shard->counted_busy)
		return;
	shard->counted_busy = busy;
	if (busy) {
		atomic_fetch_add(&runtime->busy, 1);
		return;
	}
	if (atomic_fetch_sub(&runtime->busy, 1) > 1)
		return;
	pthread_mutex_lock(&runtime->lock);
	pthread_cond_broadcast(&runtime->changed);
	pthread_mutex_unlock(&runtime->lock);
}

void shard_receive(struct shard *shard)
{
	cancels_receive(shard);
	bool calls_kept = calls_receive(shard);
	bool requests_kept = requests_receive(shard);
	shard->must_retry = calls_kept || requests_kept;
	shard_tell_others(shard); /* what was answered at once */
	shard_wake_threads(shard);
}

/* What the turn has spent so far is no task's. */
static void look_away(struct shard *shard)
{
	if (clock_has_moved(shard->clock_mark)) {
		shard_read_clock(shard);
		return;
	}
	shard->look_ticks = clock_ticks();
	shard->runs_unlooked = 0;
	shard->types_mixed = false;
}

void shard_turn(struct shard *shard)
{
	shard->counters.turns++;
	shard->received = shard->io->in_flight > 0;
	if (shard->received)
		(void)io_poll(shard->io, 0);
	shard_receive(shard);
	if (shard->received)
		look_away(shard);
	shard_expire_timers(shard);
	report_busy(shard);
	foreground_run(shard);
	shard_tell_others(shard);
	shard_wake_threads(shard);
	background_run(shard);
	shard_tell_others(shard);
	shard_wake_threads(shard);
}

/* --- waiting --- */

static bool poll_round_is_last(unsigned round, uint64_t start, uint64_t budget_ns)
{
	cpu_relax();
	if (round == POLL_ROUNDS_MAX)
		return true;
	if (round % POLL_ROUNDS_PER_CLOCK != 0)
		return false;
	/* Threads of others may want this processor, and bring what is waited for. */
	if (round % POLL_ROUNDS_PER_YIELD == 0)
		(void)sched_yield();
	return clock_now_ns() - start >= budget_ns;
}

static bool poll_for_io(struct shard *shard, uint64_t start, uint64_t budget_ns)
{
	for (unsigned round = 1;; round++) {
		if (shard_has_messages(shard) || io_poll(shard->io, 0) > 0)
			return true;
		if (poll_round_is_last(round, start, budget_ns))
			return false;
	}
}

/* Without I/O under way there is nothing of the shard's to look at but messages: others may have it. */
static bool poll_for_messages(struct shard *shard, uint64_t start, uint64_t budget_ns)
{
	bool found = false;
	hold_give(shard);
	for (unsigned round = 1; !found; round++) {
		found = shard_has_messages(shard);
		if (poll_round_is_last(round, start, budget_ns))
			break;
	}
	hold_take(shard);
	return found || shard_is_ready(shard);
}

/* True if something came while it polled. */
static bool poll_for_work(struct shard *shard, uint64_t start, uint64_t budget_ns)
{
	if (shard->io->in_flight > 0)
		return poll_for_io(shard, start, budget_ns);
	return poll_for_messages(shard, start, budget_ns);
}

static void before_sleep(void *shard)
{
	hold_give(shard);
}

static void after_sleep(void *shard)
{
	hold_take(shard);
}

static uint64_t kernel_wait_ns(const struct shard *shard, uint64_t now)
{
	uint64_t wait_ns = UINT64_MAX;
	if (shard->timers != NULL)
		wait_ns = shard->timers->wake_ns > now ? shard->timers->wake_ns - now : 0;
	if (shard->must_retry && wait_ns > RETRY_NS)
		wait_ns = RETRY_NS;
	return wait_ns;
}

static void sleep_in_kernel(struct shard *shard, uint64_t now)
{
	/* Announce, look again, wait: a sender stores first and then looks for the announcement. */
	atomic_store(&shard->sleeping, 1);
	if (!shard_has_messages(shard) && !shard_is_ready(shard) && atomic_load(&shard->exiting) == 0) {
		shard->counters.sleeps++;
		(void)io_poll(shard->io, kernel_wait_ns(shard, now));
	}
	atomic_store(&shard->sleeping, 0);
}

/*
 * With nothing else to do than to wait for a group of the log the resident writes and syncs it itself, unless
 * somebody may want an answer before the end: another shard that sends calls, a timer.
 */
static bool do_alone(struct shard *shard)
{
	return atomic_load_explicit(&shard->active, memory_order_relaxed) == 0 &&
	       kernel_wait_ns(shard, shard->now_ns) > SYNC_NS && io_do_alone(shard->io);
}

/*
 * Polling pays when the wait is short. So a sleep that polling would have spared makes the shard poll as
 * long as it may, and each fruitless poll halves the time: an idle shard soon sleeps at once.
 */
static void shard_wait(struct shard *shard)
{
	uint64_t start = shard->now_ns;
	uint64_t wait_ns = kernel_wait_ns(shard, start);
	if (do_alone(shard)) {
		shard_read_clock(shard);
		return;
	}
	uint64_t budget_ns = shard->poll_ns < wait_ns ? shard->poll_ns : wait_ns;
	if (shard->io->in_flight > POLL_IO_FEW && budget_ns > POLL_IO_NS)
		budget_ns = POLL_IO_NS;
	if (wait_ns <= WAKE_NS)
		budget_ns = wait_ns;
	if (budget_ns > 0 && poll_for_work(shard, start, budget_ns)) {
		shard_read_clock(shard);
		return;
	}
	uint64_t before = clock_now_ns();
	sleep_in_kernel(shard, before);
	shard_read_clock(shard);
	uint64_t poll_ns_max = shard->runtime->poll_ns_max;
	if (shard->now_ns - before < poll_ns_max)
		shard->poll_ns = poll_ns_max;
	else
		shard->poll_ns = shard->poll_ns / 2 < POLL_NS_MIN ? 0 : shard->poll_ns / 2;
}

/*
 * Where calls came from another shard a moment ago the next turn looks for more at once: to prepare for a
 * wait, and to come back from it, takes longer than a call. It ends after some looks that found nothing
 * (calls_receive).
 */
static bool expects_calls(const struct shard *shard)
{
	return !shard->must_retry && atomic_load_explicit(&shard->active, memory_order_relaxed) != 0;
}

/* --- starting and stopping --- */

void fiber_of_thread(struct fiber *fiber)
{
	pthread_attr_t attributes;
	ASSERT(pthread_getattr_np(pthread_self(), &attributes) == 0);
	ASSERT(pthread_attr_getstack(&attributes, &fiber->stack_low, &fiber->stack_size) == 0);
	(void)pthread_attr_destroy(&attributes);
#ifdef FIBER_TSAN
	fiber->sanitizer_fiber = __tsan_get_current_fiber();
#endif
}

/* Stacks come by the chunk: with one there are several. */
static struct status take_stacks_ahead(struct shard *shard)
{
	if (!shard->runtime->stacks_ahead)
		return status_ok();
	struct task *task = stack_pool_take(&shard->stacks, TASK_STACK_BYTES_MAX);
	if (task == NULL)
		return status_make(STATUS_NO_MEMORY);
	stack_pool_give(&shard->stacks, task);
	return status_ok();
}

/* The ring belongs to this thread, so it is made here; the creator waits for the outcome. */
bool shard_start(struct shard *shard)
{
	struct runtime *runtime = shard->runtime;
	char notice[256] = "";
	struct status status = take_stacks_ahead(shard);
	if (status_is_ok(status))
		status = io_create(runtime->io_backend, &runtime->io_options, &shard->io, notice,
				   sizeof(notice));
	if (status_is_ok(status))
		shard->stacks.has_room = !io_is_of_release(shard->io);
	pthread_mutex_lock(&runtime->lock);
	shard->start_status = status;
	if (status_is_ok(status))
		io_around_sleep(shard->io, before_sleep, after_sleep, shard);
	else
		shard->io = NULL;
	if (notice[0] != '\0' && runtime->notice_size > 0 && runtime->notice[0] == '\0')
		(void)snprintf(runtime->notice, runtime->notice_size, "%s", notice);
	runtime->starting--;
	pthread_cond_broadcast(&runtime->changed);
	pthread_mutex_unlock(&runtime->lock);
	return status_is_ok(status);
}

void *shard_main(void *argument)
{
	struct shard *shard = argument;
	struct runtime *runtime = shard->runtime;
	current_shard = shard;
	fiber_of_thread(&shard->fiber);
	signal_stack_set(&shard->fiber);
	hold_take(shard);
	if (!shard_start(shard)) {
		stack_pool_destroy(&shard->stacks);
		return NULL;
	}
	shard_read_clock(shard);
	while (atomic_load_explicit(&shard->exiting, memory_order_acquire) == 0) {
		shard_turn(shard);
		report_busy(shard);
		hold_lend(shard);
		if (!shard_is_ready(shard) && !expects_calls(shard))
			shard_wait(shard);
	}
	ASSERT(shard->live == 0);
	stack_pool_destroy(&shard->stacks);
	/* Another thread may still be in io_wake until it says that it is not. */
	pthread_mutex_lock(&runtime->lock);
	while (!runtime->may_free)
		pthread_cond_wait(&runtime->changed, &runtime->lock);
	pthread_mutex_unlock(&runtime->lock);
	io_destroy(shard->io);
	return NULL;
}
