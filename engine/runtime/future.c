/*
 * Futures: a word that a foreign thread polls for a little and then sleeps on. Only a future that
 * somebody sleeps on costs its completer a system call.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
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

static bool poll_until_done(const struct future *future, uint64_t budget_ns)
{
	uint64_t start = clock_now_ns();
	for (unsigned round = 0; round < FUTURE_POLL_ROUNDS_MAX; round++) {
		for (unsigned i = 0; i < FUTURE_POLL_ROUNDS_PER_CLOCK; i++) {
			if (future_poll(future))
				return true;
			cpu_relax();
		}
		if (clock_now_ns() - start >= budget_ns)
			return false;
	}
	return false;
}

static bool is_done(void *future)
{
	return future_poll(future);
}

void future_wait(struct future *future)
{
	/* How long this thread polls: twice as long after it paid, half as long after it did not. */
	static __thread uint64_t poll_ns = FUTURE_POLL_NS_FIRST;
	ASSERT(shard_current() == NULL);
	if (future_poll(future))
		return;
	if (runtime_stepper != NULL) {
		runtime_stepper->wait(runtime_stepper, is_done, future);
		return;
	}
	if (poll_until_done(future, poll_ns)) {
		poll_ns = poll_ns * 2 < FUTURE_POLL_NS_MAX ? poll_ns * 2 : FUTURE_POLL_NS_MAX;
		return;
	}
	poll_ns = poll_ns / 2 > FUTURE_POLL_NS_MIN ? poll_ns / 2 : FUTURE_POLL_NS_MIN;
	/* Several threads may wait: the first announces it for all. */
	uint32_t state = FUTURE_PENDING;
	(void)atomic_compare_exchange_strong(&future->state, &state, FUTURE_WAITED);
	while (!future_poll(future))
		futex_wait(&future->state, FUTURE_WAITED, UINT64_MAX);
}

void future_complete(struct future *future)
{
	void (*callback)(void *context) = future->callback;
	void *context = future->context;
	/* From here on the future may be gone; waking a word that is nobody's does no harm. */
	uint32_t before = atomic_exchange_explicit(&future->state, FUTURE_DONE, memory_order_acq_rel);
	ASSERT(before != FUTURE_DONE);
	if (before == FUTURE_WAITED)
		futex_wake(&future->state, INT_MAX);
	if (callback != NULL)
		callback(context);
}
