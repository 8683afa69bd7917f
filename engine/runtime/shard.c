/*
 * The resident's loop. Order of a turn: completions, calls, requests, timers, foreground, background;
 * the poll that opens the next turn enters what this one's tasks have submitted.
 */
#include "runtime/shard.h"

#include <stdio.h>

#include "base/clock.h"
#include "runtime/internal.h"

enum {
	POLL_IO_FEW = 2,	/* with more requests under way, one wait collects the ends of several */
	POLL_IO_NS = 4 * 1000,	/* how long a poll for one of many pays */
	POLL_NS_MIN = 1000,	/* less than this is not worth polling */
	POLL_ROUNDS_MAX = 4096, /* a replaced clock may stand still */
	POLL_ROUNDS_PER_CLOCK = 4,
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

uint64_t shard_now_ns(const struct shard *shard)
{
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

const struct shard_counters *shard_counters(const struct shard *shard)
{
	return &shard->counters;
}

void shard_make_ready(struct shard *shard, struct task *task)
{
	task->state = TASK_RUNNABLE;
	list_add_last(&shard->ready[task->queue], &task->link);
	shard->ready_count[task->queue]++;
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

static void join_end(struct join *join)
{
	ASSERT(join->pending > 0);
	join->pending--;
	if (join->pending == 0 && join->waiter != NULL) {
		struct task *waiter = join->waiter;
		join->waiter = NULL;
		task_unpark(waiter);
	}
}

static void tell_end(struct shard *shard, enum task_origin origin, uint32_t from, void *data)
{
	switch (origin) {
	case ORIGIN_SPAWN:
		if (data != NULL)
			join_end(data);
		break;
	case ORIGIN_CALL:
		call_reply(shard, from, data);
		break;
	case ORIGIN_REQUEST:
		shard->inbox_live--;
		future_complete(&((struct request *)data)->future);
		break;
	}
}

static void task_finish(struct shard *shard, struct task *task)
{
	enum task_origin origin = (enum task_origin)task->origin;
	uint32_t from = task->origin_shard;
	void *data = origin == ORIGIN_SPAWN ? task->join : task->origin_data;
	stack_pool_give(&shard->stacks, task);
	ASSERT(shard->live > 0);
	shard->live--;
	tell_end(shard, origin, from, data);
}

/* Runs the task until it suspends or ends, and serves its calls on the thread's stack. */
static void task_run(struct shard *shard, struct task *task)
{
	shard->current = task;
	task->state = TASK_RUNNING;
	shard->counters.switches++;
	shard->run_start_ns = shard->now_ns;
	fiber_switch(&shard->fiber, &task->fiber, 0);
	while (shard->thread_function != NULL) {
		void (*function)(void *) = shard->thread_function;
		shard->thread_function = NULL;
		shard->on_thread_stack = true;
		function(shard->thread_argument);
		shard->on_thread_stack = false;
		fiber_switch(&shard->fiber, &task->fiber, 0);
	}
	shard->current = NULL;
	if (task->state == TASK_ENDED)
		task_finish(shard, task);
}

static void note_overrun(struct shard *shard, const struct task_type *type)
{
	shard->counters.slice_overruns++;
	shard->counters.slice_overrun_name = type->name;
}

void shard_run_task(struct shard *shard, struct task *task)
{
	const struct task_type *type = task->type;
	list_remove(&task->link);
	shard->ready_count[task->queue]--;
	uint64_t *used_ns = task->queue == TASK_FOREGROUND ? &shard->counters.foreground_ns
							   : &shard->counters.background_ns;
	task_run(shard, task);
	uint64_t now = clock_now_ns();
	if (now - shard->now_ns > OVERRUN_NS)
		note_overrun(shard, type);
	*used_ns += now - shard->now_ns;
	shard->now_ns = now;
}

/*
 * Runs at most `tasks_max` tasks, and none more once `budget_ns` is used up. Background tasks that had
 * the shard to themselves give way to a foreground task that becomes ready.
 */
static uint64_t queue_run(struct shard *shard, enum task_queue queue, uint32_t tasks_max, uint64_t budget_ns)
{
	uint64_t start = shard->now_ns;
	bool alone = queue == TASK_BACKGROUND && shard->ready_count[TASK_FOREGROUND] == 0;
	for (uint32_t left = tasks_max; left > 0 && shard->ready_count[queue] > 0; left--) {
		shard_run_task(shard, CONTAINER_OF(shard->ready[queue].next, struct task, link));
		if (shard->now_ns - start >= budget_ns || (alone && shard->ready_count[TASK_FOREGROUND] > 0))
			break;
	}
	return shard->now_ns - start;
}

/* With a share above a half, the foreground's part of the turn shrinks instead of the turn growing. */
static uint64_t foreground_budget_ns(const struct shard *shard)
{
	uint32_t share = shard->background_share;
	if (shard->ready_count[TASK_BACKGROUND] == 0 || share <= 128)
		return SLICE_NS;
	return (uint64_t)SLICE_NS * (256 - share) / share;
}

static void foreground_run(struct shard *shard)
{
	if (shard->ready_count[TASK_FOREGROUND] == 0)
		return;
	/* Those that are ready now: a task that yields lets the shard look for messages first. */
	uint32_t ready = shard->ready_count[TASK_FOREGROUND];
	uint32_t tasks_max = ready < FOREGROUND_BATCH ? ready : FOREGROUND_BATCH;
	uint64_t used = queue_run(shard, TASK_FOREGROUND, tasks_max, foreground_budget_ns(shard));
	if (shard->ready_count[TASK_BACKGROUND] == 0)
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
	if (shard->ready_count[TASK_BACKGROUND] == 0)
		return;
	bool contended = shard->ready_count[TASK_FOREGROUND] > 0;
	if (contended && shard->credit_ns <= 0)
		return;
	uint64_t budget_ns = shard->foreground_waits > 0 ? SLICE_SHORT_NS : SLICE_NS;
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
	.stack_bytes = CALL_STACK_BYTES,
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

/* Whether a request had to stay for want of a stack. */
static bool requests_receive(struct shard *shard)
{
	struct inbox *inbox = &shard->inbox;
	unsigned taken = 0;
	bool kept = false;
	while (taken < INBOX_BATCH && inbox_is_open(shard)) {
		struct request *request = inbox_peek(inbox);
		if (request == NULL)
			break;
		struct task *task =
			task_create(shard, &request_type, request->run, request->argument, TASK_FOREGROUND);
		if (task == NULL) {
			kept = true;
			break;
		}
		inbox_pop(inbox);
		task->origin = ORIGIN_REQUEST;
		task->origin_data = request;
		shard->inbox_live++;
		taken++;
	}
	shard->counters.calls_received += taken;
	if (taken > 0)
		inbox_tell_room(inbox);
	return kept;
}

void shard_expire_timers(struct shard *shard)
{
	while (shard->timers != NULL && shard->timers->wake_ns <= shard->now_ns) {
		struct task *task = shard->timers;
		shard->timers = timer_heap_remove_first(task);
		task_unpark(task);
	}
}

bool shard_has_messages(struct shard *shard)
{
	if (shard->must_retry)
		return false;
	if (atomic_load(&shard->active) != 0)
		return true;
	return inbox_is_open(shard) && inbox_peek(&shard->inbox) != NULL;
}

bool shard_is_busy(struct shard *shard)
{
	return shard->live > 0 || shard->io->in_flight > 0 || shard->must_retry || shard_has_messages(shard);
}

/*
 * While the runtime stops, `busy` counts the shards that have tasks. A quiet shard is made busy again
 * only by a call, whose sender is busy until after the receiver has counted itself; so once the count
 * is 0 nothing can happen any more.
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
	bool calls_kept = calls_receive(shard);
	bool requests_kept = requests_receive(shard);
	shard->must_retry = calls_kept || requests_kept;
}

void shard_turn(struct shard *shard)
{
	shard->counters.turns++;
	if (shard->io->in_flight > 0)
		(void)io_poll(shard->io, 0);
	shard_receive(shard);
	shard_expire_timers(shard);
	report_busy(shard);
	foreground_run(shard);
	background_run(shard);
}

/* --- waiting --- */

static bool poll_round_is_last(unsigned round, uint64_t start, uint64_t budget_ns)
{
	cpu_relax();
	if (round == POLL_ROUNDS_MAX)
		return true;
	return round % POLL_ROUNDS_PER_CLOCK == 0 && clock_now_ns() - start >= budget_ns;
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
 * Polling pays when the wait is short. So a sleep that polling would have spared makes the shard poll as
 * long as it may, and each fruitless poll halves the time: an idle shard soon sleeps at once.
 */
static void shard_wait(struct shard *shard)
{
	uint64_t start = shard->now_ns;
	uint64_t wait_ns = kernel_wait_ns(shard, start);
	uint64_t budget_ns = shard->poll_ns < wait_ns ? shard->poll_ns : wait_ns;
	if (shard->io->in_flight > POLL_IO_FEW && budget_ns > POLL_IO_NS)
		budget_ns = POLL_IO_NS;
	if (budget_ns > 0 && poll_for_work(shard, start, budget_ns)) {
		shard->now_ns = clock_now_ns();
		return;
	}
	uint64_t before = clock_now_ns();
	sleep_in_kernel(shard, before);
	shard->now_ns = clock_now_ns();
	uint64_t poll_ns_max = shard->runtime->poll_ns_max;
	if (shard->now_ns - before < poll_ns_max)
		shard->poll_ns = poll_ns_max;
	else
		shard->poll_ns = shard->poll_ns / 2 < POLL_NS_MIN ? 0 : shard->poll_ns / 2;
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
	struct task *task = stack_pool_take(&shard->stacks, CALL_STACK_BYTES);
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
	hold_take(shard);
	if (!shard_start(shard)) {
		stack_pool_destroy(&shard->stacks);
		return NULL;
	}
	shard->now_ns = clock_now_ns();
	while (atomic_load_explicit(&shard->exiting, memory_order_acquire) == 0) {
		shard_turn(shard);
		report_busy(shard);
		hold_lend(shard);
		if (!shard_is_ready(shard))
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
