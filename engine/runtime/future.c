/*
 * Futures: a word that a foreign thread polls for a little and then sleeps on. Only a future that
 * somebody sleeps on costs its completer a system call.
 *
 * A cancel of a request travels to the shard on a list through the requests themselves. So a request that
 * ends while its cancel is on the way is still in use, and nobody is told of its end before the cancel is in:
 * the bit FUTURE_CANCELING keeps future and request from being done.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/internal.h"

enum {
	FUTURE_POLL_NS_FIRST = 8 * 1000,
	FUTURE_POLL_NS_MIN = 1000,
	FUTURE_POLL_NS_MAX = 32 * 1000,
	FUTURE_POLL_ROUNDS_MAX = 4096,
	FUTURE_POLL_ROUNDS_PER_CLOCK = 8,
};

void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	struct timespec timeout = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u),
		.tv_nsec = (long)(timeout_ns % 1000000000u),
	};
	(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns == UINT64_MAX ? NULL : &timeout,
		      NULL, 0);
}

int futex_wake(_Atomic uint32_t *word, int count)
{
	return (int)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* --- bells --- */

/* Which of a bell's sleepers one is: stacks lie alike in their pages, so all bits of the address count. */
static uint32_t bell_bit(const struct future *future)
{
	return 1u << ((uint64_t)(uintptr_t)future * 0x9e3779b97f4a7c15u >> 59);
}

static void bell_wake(struct future_bell *bell, uint32_t bits)
{
	atomic_fetch_add(&bell->rings, 1);
	(void)syscall(SYS_futex, &bell->rings, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, bits);
}

void future_bell_ring(struct future_bell *bell)
{
	uint32_t due = bell->due;
	bell->due = 0;
	bell_wake(bell, due);
}

/* Sleeps unless the bell has rung since `rings` was read. */
static void bell_await(struct future_bell *bell, uint32_t rings, uint32_t bit)
{
	(void)syscall(SYS_futex, &bell->rings, FUTEX_WAIT_BITSET_PRIVATE, rings, NULL, NULL, bit);
}

/* --- waiting --- */

static bool poll_until_done(const struct future *future, uint64_t budget_ns)
{
	uint64_t start = clock_now_ns();
	for (unsigned round = 0; round < FUTURE_POLL_ROUNDS_MAX; round++) {
		for (unsigned i = 0; i < FUTURE_POLL_ROUNDS_PER_CLOCK; i++) {
			if (future_poll(future))
				return true;
			cpu_relax();
		}
		/* Who completes it may want this processor. */
		(void)sched_yield();
		if (clock_now_ns() - start >= budget_ns)
			return false;
	}
	return false;
}

static bool is_done(void *future)
{
	return future_poll(future);
}

/*
 * Several threads may wait: the first announces it for all. The bell is looked at before the announcement, so
 * a completer that has seen it rings after that look. While the future is not done its shard, and so the
 * bell, is there; afterwards the kernel alone may look at the word, and finds nothing or another value.
 */
static void sleep_until_done(struct future *future)
{
	struct future_bell *bell = future->bell;
	uint32_t bit = bell_bit(future);
	uint32_t state = atomic_load_explicit(&future->state, memory_order_acquire);
	while (state != FUTURE_DONE) {
		uint32_t rings = bell == NULL ? 0 : atomic_load(&bell->rings);
		uint32_t waited = state | FUTURE_WAITED;
		if (!atomic_compare_exchange_weak(&future->state, &state, waited))
			continue;
		if (bell != NULL)
			bell_await(bell, rings, bit);
		else
			futex_wait(&future->state, waited, UINT64_MAX);
		state = atomic_load_explicit(&future->state, memory_order_acquire);
	}
}

void future_wait(struct future *future)
{
	/* How long this thread polls: twice as long after it paid, half as long after it did not. */
	static __thread uint64_t poll_ns = FUTURE_POLL_NS_FIRST;
	if (future_poll(future))
		return;
	ASSERT(shard_current() == NULL);
	if (runtime_stepper != NULL) {
		runtime_stepper->wait(runtime_stepper, is_done, future);
		return;
	}
	if (poll_until_done(future, poll_ns)) {
		poll_ns = poll_ns * 2 < FUTURE_POLL_NS_MAX ? poll_ns * 2 : FUTURE_POLL_NS_MAX;
		return;
	}
	poll_ns = poll_ns / 2 > FUTURE_POLL_NS_MIN ? poll_ns / 2 : FUTURE_POLL_NS_MIN;
	sleep_until_done(future);
}

void future_on_done(struct future *future, void (*callback)(void *context), void *context)
{
	future->callback = callback;
	future->context = context;
	uint32_t state = atomic_load_explicit(&future->state, memory_order_acquire);
	while (state != FUTURE_DONE) {
		ASSERT((state & FUTURE_CALLBACK) == 0);
		if (atomic_compare_exchange_weak_explicit(&future->state, &state, state | FUTURE_CALLBACK,
							  memory_order_acq_rel, memory_order_acquire))
			return;
	}
	call_on_thread_stack(callback, context);
}

/* --- completing --- */

/* The shard rings its bell for all that have ended in this part of its turn. */
static void wake_sleepers(struct future *future, struct future_bell *bell, uint32_t bit)
{
	struct shard *shard = shard_current();
	if (bell == NULL)
		futex_wake(&future->state, INT_MAX);
	else if (shard != NULL && bell == &shard->bell)
		bell->due |= bit;
	else
		bell_wake(bell, bit);
}

/* False, and nothing happened, while one of the bits of `unless` is set. */
static bool complete_unless(struct future *future, uint32_t unless)
{
	void (*callback)(void *context);
	void *context;
	struct future_bell *bell = future->bell;
	uint32_t bit = bell_bit(future);
	uint32_t state = atomic_load_explicit(&future->state, memory_order_acquire);
	do {
		ASSERT(state != FUTURE_DONE);
		if ((state & unless) != 0)
			return false;
		bool has_callback = (state & FUTURE_CALLBACK) != 0;
		callback = has_callback ? future->callback : NULL;
		context = has_callback ? future->context : NULL;
	} while (!atomic_compare_exchange_weak_explicit(&future->state, &state, FUTURE_DONE,
							memory_order_acq_rel, memory_order_acquire));
	/* From here on the future may be gone; waking a word that is nobody's does no harm. */
	if ((state & FUTURE_WAITED) != 0)
		wake_sleepers(future, bell, bit);
	if (callback != NULL)
		call_on_thread_stack(callback, context);
	return true;
}

void future_complete(struct future *future)
{
	(void)complete_unless(future, 0);
}

/* --- requests that are canceled --- */

void runtime_cancel(struct runtime *runtime, uint32_t index, struct request *request)
{
	ASSERT(index < runtime->shard_count);
	struct shard *shard = runtime->shards[index];
	_Atomic uint32_t *state = &request->future.state;
	uint32_t before = atomic_load_explicit(state, memory_order_acquire);
	do {
		if ((before & (FUTURE_DONE | FUTURE_CANCELING | FUTURE_CANCELED)) != 0)
			return;
	} while (!atomic_compare_exchange_weak_explicit(state, &before, before | FUTURE_CANCELING,
							memory_order_acq_rel, memory_order_acquire));
	struct request *first = atomic_load_explicit(&shard->canceled, memory_order_relaxed);
	do
		request->next_canceled = first;
	while (!atomic_compare_exchange_weak(&shard->canceled, &first, request));
	(void)shard_notify(shard);
}

void request_end(struct request *request)
{
	if (!complete_unless(&request->future, FUTURE_CANCELING))
		request->ended = true;
}

void request_cancel_arrived(struct request *request)
{
	uint32_t before = atomic_fetch_xor_explicit(&request->future.state,
						    FUTURE_CANCELING | FUTURE_CANCELED, memory_order_acq_rel);
	ASSERT((before & FUTURE_CANCELING) != 0);
	if (request->ended)
		future_complete(&request->future);
	else if (request->task != NULL)
		task_cancel(request->task);
	else
		request->canceled = true;
}
