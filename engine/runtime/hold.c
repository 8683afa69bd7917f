/*
 * The hold: the right to touch a shard's memory now.
 *
 * The resident has it while it runs turns and lets go of it where it would only wait: while it polls without
 * I/O under way, and in the kernel's sleep. Meanwhile a thread that is no shard's may borrow it for a call
 * that never suspends, which costs a function call where a request to the resident costs two switches of
 * threads. What a borrower makes ready (a task, a message) is the resident's to run, so a borrower that
 * leaves something behind wakes it.
 *
 * While tasks are ready all the time the resident has no reason to let go. So after each turn it lends the
 * shard to somebody who sleeps for want of it: what was begun goes on, whatever the tasks are busy with.
 *
 * Order of sleep: the resident announces it, looks for messages and ready tasks, and only then lets go; so
 * whoever borrows afterwards sees the announcement, and whoever queued before was seen.
 */
#include "runtime/internal.h"

enum { TAKE_ROUNDS = 256, BORROW_ROUNDS = 128 };

/* Bits of the hold's word; 0: free. */
enum hold_bits {
	HOLD_TAKEN = 1,
	HOLD_RESIDENT = 2, /* by the resident, for a turn; else by a borrower, for one call */
	HOLD_AWAITED = 4,  /* somebody may sleep until it is free */
	HOLD_LENT = 8,	   /* free for those who slept, and for nobody else; alone */
};

static inline bool hold_try(struct shard *shard, uint32_t taken)
{
	uint32_t state = 0;
	return atomic_load_explicit(&shard->hold, memory_order_relaxed) == 0 &&
	       atomic_compare_exchange_strong_explicit(&shard->hold, &state, taken, memory_order_acquire,
						       memory_order_relaxed);
}

/* Sleeps until it has it. Others may sleep as well, so the bit that says so stays. */
static void hold_await(struct shard *shard, uint32_t taken)
{
	uint32_t state = atomic_load_explicit(&shard->hold, memory_order_relaxed);
	for (;;) {
		bool is_free = (state & HOLD_TAKEN) == 0;
		uint32_t next = is_free ? taken | HOLD_AWAITED : state | HOLD_AWAITED;
		if (!atomic_compare_exchange_weak_explicit(&shard->hold, &state, next, memory_order_acquire,
							   memory_order_relaxed))
			continue;
		if (is_free)
			return;
		futex_wait(&shard->hold, next, UINT64_MAX);
		state = atomic_load_explicit(&shard->hold, memory_order_relaxed);
	}
}

bool hold_is_awaited(struct shard *shard)
{
	return (atomic_load_explicit(&shard->hold, memory_order_relaxed) & HOLD_AWAITED) != 0;
}

/* New borrowers stand back while the resident wants it: what it has to do waits for nobody else. */
void hold_take(struct shard *shard)
{
	uint32_t taken = HOLD_TAKEN | HOLD_RESIDENT;
	if (hold_try(shard, taken))
		return;
	atomic_store_explicit(&shard->hold_wanted, 1, memory_order_relaxed);
	bool done = false;
	for (unsigned round = 0; round < TAKE_ROUNDS && !done; round++) {
		cpu_relax();
		done = hold_try(shard, taken);
	}
	/* The borrower may have lost its processor: then it needs ours. */
	if (!done)
		hold_await(shard, taken);
	atomic_store_explicit(&shard->hold_wanted, 0, memory_order_relaxed);
}

void hold_give(struct shard *shard)
{
	uint32_t before = atomic_exchange_explicit(&shard->hold, 0, memory_order_release);
	if ((before & HOLD_AWAITED) != 0)
		(void)futex_wake(&shard->hold, 1);
}

/*
 * Giving and taking again would not do, because a sleeper takes longer to come than the resident does. So the
 * word says for whom it is free until somebody has come, which a thread that was woken always does; if nobody
 * was, the bit was a remainder, or whoever is about to sleep finds that the word has changed.
 */
void hold_lend(struct shard *shard)
{
	if ((atomic_load_explicit(&shard->hold, memory_order_relaxed) & HOLD_AWAITED) == 0)
		return;
	uint32_t state = HOLD_LENT;
	atomic_store_explicit(&shard->hold, HOLD_LENT, memory_order_release);
	if (futex_wake(&shard->hold, 1) == 0 &&
	    atomic_compare_exchange_strong_explicit(&shard->hold, &state, HOLD_TAKEN | HOLD_RESIDENT,
						    memory_order_acquire, memory_order_relaxed))
		return;
	atomic_store_explicit(&shard->hold_wanted, 1, memory_order_relaxed);
	while (atomic_load_explicit(&shard->hold, memory_order_relaxed) == HOLD_LENT)
		futex_wait(&shard->hold, HOLD_LENT, UINT64_MAX);
	/* As one who slept, even if it is free: the wake that ended the sleep may have been another's. */
	hold_await(shard, HOLD_TAKEN | HOLD_RESIDENT);
	atomic_store_explicit(&shard->hold_wanted, 0, memory_order_relaxed);
}

static void begin_borrowing(struct shard *shard)
{
	shard->now_is_old = true;
	shard->counters.borrows++;
	shard_set_current(shard);
}

bool runtime_borrow(struct runtime *runtime, uint32_t index)
{
	ASSERT(index < runtime->shard_count);
	ASSERT(shard_current() == NULL); /* else the thread would forget whose it is */
	struct shard *shard = runtime->shards[index];
	if (runtime->stepper != NULL && !runtime->stepper->lends(runtime->stepper, shard))
		return false;
	for (unsigned round = 0;; round++) {
		if (atomic_load_explicit(&shard->hold_wanted, memory_order_relaxed) == 0 &&
		    hold_try(shard, HOLD_TAKEN))
			break;
		if (round == BORROW_ROUNDS) {
			uint32_t state = atomic_load_explicit(&shard->hold, memory_order_relaxed);
			if ((state & HOLD_RESIDENT) != 0)
				return false;
			hold_await(shard, HOLD_TAKEN);
			break;
		}
		cpu_relax();
	}
	begin_borrowing(shard);
	return true;
}

void runtime_borrow_again(struct runtime *runtime, uint32_t index)
{
	struct shard *shard = runtime->shards[index];
	DASSERT(shard_current() == NULL);
	if (runtime->stepper != NULL)
		runtime->stepper->lends_again(runtime->stepper);
	for (unsigned round = 0; !hold_try(shard, HOLD_TAKEN); round++) {
		if (round == BORROW_ROUNDS) {
			hold_await(shard, HOLD_TAKEN);
			break;
		}
		cpu_relax();
	}
	begin_borrowing(shard);
}

void runtime_return(struct runtime *runtime, uint32_t index)
{
	struct shard *shard = runtime->shards[index];
	DASSERT(shard_current() == shard);
	shard_set_current(NULL);
	/* While we have it: once it is given back, a task that waited for this call may free the runtime. */
	if (shard_is_ready(shard))
		(void)shard_notify(shard);
	hold_give(shard);
}
