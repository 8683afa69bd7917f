/*
 * future_model_test.c: every schedule of threads that go to sleep on their futures and of the shard that
 * completes these and rings its bell (future.c), written down as a state machine and explored exhaustively
 * under sequential consistency: whoever sleeps is woken once its future is done. The same exploration finds
 * what breaks when steps change their places. Takes well under a second.
 *
 * The first two threads have the same bit of the bell, the third has another. The futex is as the kernel
 * makes it: a look at the word and the sleep are one step, and a wake ends the sleeps on all bits that it
 * names.
 */
#include <stdbool.h>
#include <string.h>

#include "test.h"

enum { THREADS = 3, RINGS_MAX = 8 };

enum thread_at { T_READ_BELL, T_ANNOUNCE, T_SLEEP, T_ASLEEP, T_LOOK, T_END };

enum shard_at { H_COMPLETE, H_RING, H_WAKE, H_END };

struct machine {
	uint8_t threads[THREADS];
	uint8_t read[THREADS]; /* rings as the thread has read them */
	uint8_t shard;
	uint8_t completed; /* so many futures, in the order of the threads */
	uint8_t rings;
	uint8_t due;	/* bits that the shard is to wake */
	uint8_t waited; /* bit t: thread t's future says that somebody waits */
	uint8_t done;	/* bit t: thread t's future is done */
};

enum omission {
	NOTHING_LEFT_OUT,
	BELL_AFTER_ANNOUNCEMENT, /* the thread reads the bell when it has announced itself */
	WAKE_BEFORE_RING,	 /* the shard wakes, and then changes the word */
	NO_RING,		 /* it wakes without changing the word */
	NO_SECOND_LOOK,		 /* a thread takes any wake for its own */
	LAST_BIT_ONLY,		 /* of those who ended together one is woken */
};

static enum omission omission;
static const char *violation;

/* --- every state once --- */

enum { TABLE_SIZE = 1 << 20 };

static struct machine seen[TABLE_SIZE], stack[TABLE_SIZE];
static bool is_seen[TABLE_SIZE];
static uint32_t seen_count, stack_count;

static void reach(const struct machine *machine)
{
	const uint8_t *bytes = (const uint8_t *)machine;
	uint64_t hash = 14695981039346656037ull;
	for (size_t i = 0; i < sizeof(*machine); i++)
		hash = (hash ^ bytes[i]) * 1099511628211ull;
	uint64_t at = (hash ^ hash >> 29) % TABLE_SIZE;
	for (; is_seen[at]; at = (at + 1) % TABLE_SIZE) {
		if (memcmp(&seen[at], machine, sizeof(*machine)) == 0)
			return;
	}
	assert_true(++seen_count < TABLE_SIZE / 2);
	is_seen[at] = true;
	seen[at] = *machine;
	stack[stack_count++] = *machine;
}

/* --- the steps --- */

static uint8_t bell_bit(unsigned thread)
{
	return thread < 2 ? 1 : 2;
}

static bool is_done(const struct machine *machine, unsigned thread)
{
	return (machine->done >> thread & 1) != 0;
}

static void read_bell(struct machine *machine, unsigned thread)
{
	machine->read[thread] = machine->rings;
}

/* One round of sleep_until_done, from a future that was not done when the thread looked. */
static void thread_step(struct machine next, unsigned t)
{
	bool late = omission == BELL_AFTER_ANNOUNCEMENT;
	switch ((enum thread_at)next.threads[t]) {
	case T_READ_BELL:
		if (!late)
			read_bell(&next, t);
		next.threads[t] = T_ANNOUNCE;
		break;
	case T_ANNOUNCE: /* compare and swap: it fails if the future is done */
		if (is_done(&next, t)) {
			next.threads[t] = T_END;
			break;
		}
		next.waited |= (uint8_t)(1u << t);
		next.threads[t] = T_SLEEP;
		break;
	case T_SLEEP:
		if (late && next.read[t] != next.rings) {
			read_bell(&next, t); /* a step of its own, after the announcement */
			break;
		}
		next.threads[t] = next.read[t] == next.rings ? T_ASLEEP : T_LOOK;
		break;
	case T_LOOK:
		if (!is_done(&next, t) && omission == NO_SECOND_LOOK)
			violation = "a thread goes on before its future is done";
		next.threads[t] = is_done(&next, t) ? T_END : T_READ_BELL;
		break;
	case T_ASLEEP:
	case T_END:
		return;
	}
	reach(&next);
}

static void ring(struct machine *machine)
{
	if (omission != NO_RING && machine->rings < RINGS_MAX)
		machine->rings++;
}

static void wake(struct machine *machine)
{
	for (unsigned t = 0; t < THREADS; t++) {
		if (machine->threads[t] == T_ASLEEP && (machine->due & bell_bit(t)) != 0)
			machine->threads[t] = T_LOOK;
	}
	machine->due = 0;
}

/* Completes the next future, as one that ends the part of a turn or as one of several. */
static void complete(struct machine next, bool is_last)
{
	unsigned t = next.completed++;
	next.done |= (uint8_t)(1u << t);
	if ((next.waited >> t & 1) != 0)
		next.due = omission == LAST_BIT_ONLY ? bell_bit(t) : next.due | bell_bit(t);
	if (is_last && next.due != 0)
		next.shard = omission == WAKE_BEFORE_RING ? H_WAKE : H_RING;
	else if (is_last && next.completed == THREADS)
		next.shard = H_END;
	reach(&next);
}

static void shard_step(struct machine next)
{
	switch ((enum shard_at)next.shard) {
	case H_COMPLETE:
		complete(next, true);
		if (next.completed < THREADS - 1)
			complete(next, false);
		return;
	case H_RING:
		ring(&next);
		next.shard = omission != WAKE_BEFORE_RING ? H_WAKE
			     : next.completed == THREADS  ? H_END
							  : H_COMPLETE;
		break;
	case H_WAKE:
		wake(&next);
		next.shard = omission == WAKE_BEFORE_RING ? H_RING
			     : next.completed == THREADS  ? H_END
							  : H_COMPLETE;
		break;
	case H_END:
		return;
	}
	reach(&next);
}

static void check(const struct machine *machine)
{
	if (machine->shard != H_END)
		return;
	for (unsigned t = 0; t < THREADS; t++) {
		if (machine->threads[t] == T_ASLEEP)
			violation = "a thread sleeps and its future is done";
	}
}

static const char *explore(enum omission left_out)
{
	struct machine machine;
	omission = left_out;
	violation = NULL;
	seen_count = 0;
	stack_count = 0;
	memset(is_seen, 0, sizeof(is_seen));
	memset(&machine, 0, sizeof(machine));
	reach(&machine);
	while (stack_count > 0 && violation == NULL) {
		machine = stack[--stack_count];
		check(&machine);
		for (unsigned t = 0; t < THREADS; t++)
			thread_step(machine, t);
		shard_step(machine);
	}
	return violation;
}

/* --- the tests --- */

static void who_sleeps_is_woken(void **state)
{
	(void)state;
	const char *found = explore(NOTHING_LEFT_OUT);
	if (found != NULL)
		fail_msg("%s", found);
	assert_true(seen_count > 1000);
}

static void each_omission_is_found(void **state)
{
	(void)state;
	static const char *const names[] = {
		[BELL_AFTER_ANNOUNCEMENT] = "the bell read after the announcement",
		[WAKE_BEFORE_RING] = "a wake before the ring",
		[NO_RING] = "no ring",
		[NO_SECOND_LOOK] = "no second look",
		[LAST_BIT_ONLY] = "one bit of several",
	};
	for (int left_out = BELL_AFTER_ANNOUNCEMENT; left_out <= LAST_BIT_ONLY; left_out++) {
		if (explore((enum omission)left_out) == NULL)
			fail_msg("not found: %s", names[left_out]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_sleeps_is_woken),
		cmocka_unit_test(each_omission_is_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
