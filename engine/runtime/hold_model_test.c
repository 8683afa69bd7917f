/*
 * hold_model_test.c: every schedule of a resident, two borrowers and their requests over the atomic steps of
 * the hold (hold.c) and of the resident's sleep (shard.c), written down as a state machine and explored
 * exhaustively under sequential consistency: never two have the shard, and where nobody can go on, nothing
 * is left to be done. The same exploration finds what breaks when a step is left out. Takes about a second.
 *
 * What the machine leaves out: rounds of spinning are one choice (the next try, or giving up), and the gate
 * of an I/O backend is a token that a wake leaves and a sleep takes (gate_test.c). Among several sleepers of
 * one futex any may be woken.
 */
#include <stdbool.h>
#include <string.h>

#include "test.h"

/* --- the machine --- */

enum { RESIDENT, BORROWERS = 2, ACTORS = 1 + BORROWERS, CALLS = 2 };

/* The word. */
enum { TAKEN = 1, BY_RESIDENT = 2, AWAITED = 4, LENT = 8 };

enum at {
	/* hold_take and hold_await; `then` says what follows. */
	TAKE,
	TAKE_WANT,
	TAKE_SPIN,
	AWAIT,
	AWAIT_SWAP,
	AWAIT_WAIT,
	AWAIT_ASLEEP,
	TAKE_DONE,
	/* hold_give. */
	GIVE,
	GIVE_WAKE,
	/* shard_notify. */
	NOTIFY,
	NOTIFY_SWAP,
	NOTIFY_WAKE,
	/* The resident, with the shard but for R_POLL and R_KERNEL. */
	R_TURN,
	R_LEND,
	R_LEND_GIVE,
	R_LEND_WAKE,
	R_LEND_BACK,
	R_LEND_LOOK,
	R_LEND_WAIT,
	R_LEND_ASLEEP,
	R_CHOOSE,
	R_POLL,
	R_POLLED,
	R_ANNOUNCE,
	R_LOOK,
	R_KERNEL,
	R_AWAKE,
	/* A borrower. */
	B_BEGIN,
	B_WANTED,
	B_TRY,
	B_AGAIN,
	B_FAILED,
	B_HAS,
	B_RETURN,
	B_NEXT,
	B_ASK,
	B_END,
};

struct actor {
	uint8_t at;
	uint8_t then;	   /* where a shared piece of the program ends */
	uint8_t state;	   /* the local copy of the word */
	uint8_t calls : 4; /* made */
	uint8_t again : 1; /* the call is a runtime_borrow_again */
	uint8_t found : 1; /* the resident: a message, while it polled */
};

/* All of it is zero at first but the resident's hold. */
struct machine {
	struct actor actors[ACTORS];
	uint8_t word;
	uint8_t holders; /* a bit for each actor that believes to have the shard */
	uint8_t wanted : 1;
	uint8_t sleeping : 1;
	uint8_t token : 1;
	uint8_t ready;	  /* tasks */
	uint8_t messages; /* requests */
};

/* What is left out, to see that it is missed. */
enum omission {
	NOTHING_LEFT_OUT,
	NO_LOOK_FOR_TASKS,    /* after it has polled, and before it sleeps: one of them would do */
	NO_LOOK_FOR_MESSAGES, /* between the announcement and the sleep */
	NO_NOTICE,	      /* by a borrower that leaves a task */
	NO_WAKE,	      /* of those who sleep until the shard is free */
	NO_BIT_KEPT,	      /* by who slept, for others who still sleep */
	LATE_ANNOUNCEMENT,    /* after the resident has let go */
	NO_BIT_KEPT_BY_THE_LENDER,
	NO_WAIT_FOR_THE_LENT, /* the resident takes back what it lent */
};

static enum omission omission;

/* Which borrowers leave a task behind, which go on with a second call: bits by borrower. */
static unsigned leaves_tasks, goes_on;

/* --- exploring: a stack of states that are not done, and a table of those that were seen --- */

enum { TABLE_SIZE = 1 << 21, STACK_SIZE = 1 << 20 };

static struct machine *table, *stack;
static uint32_t stack_count, seen_count;
static const char *violation;

static bool machine_is_empty(const struct machine *machine)
{
	static const struct machine empty;
	return memcmp(machine, &empty, sizeof(empty)) == 0;
}

static uint64_t machine_hash(const struct machine *machine)
{
	const uint8_t *bytes = (const uint8_t *)machine;
	uint64_t hash = 14695981039346656037ull;
	for (size_t i = 0; i < sizeof(*machine); i++)
		hash = (hash ^ bytes[i]) * 1099511628211ull;
	return hash ^ hash >> 29;
}

/* A state that can be reached. */
static void reach(const struct machine *machine)
{
	uint64_t at = machine_hash(machine) % TABLE_SIZE;
	while (!machine_is_empty(&table[at])) {
		if (memcmp(&table[at], machine, sizeof(*machine)) == 0)
			return;
		at = (at + 1) % TABLE_SIZE;
	}
	assert_true(++seen_count < TABLE_SIZE / 2);
	assert_true(stack_count < STACK_SIZE);
	table[at] = *machine;
	stack[stack_count++] = *machine;
}

static void reach_at(struct machine next, unsigned who, enum at at)
{
	next.actors[who].at = (uint8_t)at;
	reach(&next);
}

/* --- shared pieces --- */

static void get_hold(struct machine *next, unsigned who)
{
	if (next->holders != 0)
		violation = "two have the shard";
	next->holders |= (uint8_t)(1u << who);
}

static void drop_hold(struct machine *next, unsigned who)
{
	if (next->holders != 1u << who)
		violation = "somebody gives what he does not have";
	next->holders &= (uint8_t) ~(1u << who);
}

static uint8_t taken_by(unsigned who)
{
	return who == RESIDENT ? TAKEN | BY_RESIDENT : TAKEN;
}

static bool try_word(struct machine *next, unsigned who)
{
	if (next->word != 0)
		return false;
	next->word = taken_by(who);
	get_hold(next, who);
	return true;
}

static bool is_asleep(const struct actor *actor)
{
	return actor->at == AWAIT_ASLEEP || actor->at == R_LEND_ASLEEP;
}

/* Wakes one, whichever it may be; false: nobody sleeps. */
static bool wake_one(const struct machine *next, unsigned who, enum at at)
{
	bool woke = false;
	for (unsigned i = 0; i < ACTORS; i++) {
		struct machine woken = *next;
		if (!is_asleep(&next->actors[i]))
			continue;
		woken.actors[i].at = next->actors[i].at == AWAIT_ASLEEP ? AWAIT : R_LEND_LOOK;
		reach_at(woken, who, at);
		woke = true;
	}
	return woke;
}

static void step_await(struct machine next, unsigned who)
{
	struct actor *actor = &next.actors[who];
	bool is_free = (actor->state & TAKEN) == 0;
	uint8_t swapped = is_free ? taken_by(who) | AWAITED : actor->state | AWAITED;
	if (is_free && omission == NO_BIT_KEPT)
		swapped = taken_by(who);
	switch (actor->at) {
	case AWAIT:
		actor->state = next.word;
		reach_at(next, who, AWAIT_SWAP);
		break;
	case AWAIT_SWAP:
		if (next.word != actor->state) {
			actor->state = next.word;
			reach_at(next, who, AWAIT_SWAP);
			break;
		}
		next.word = swapped;
		actor->state = is_free ? 0 : swapped;
		if (is_free)
			get_hold(&next, who);
		reach_at(next, who, is_free ? TAKE_DONE : AWAIT_WAIT);
		break;
	default: /* AWAIT_WAIT */
		reach_at(next, who, next.word == actor->state ? AWAIT_ASLEEP : AWAIT);
		break;
	}
}

static void step_take(struct machine next, unsigned who)
{
	struct actor *actor = &next.actors[who];
	switch (actor->at) {
	case TAKE:
		reach_at(next, who, try_word(&next, who) ? actor->then : TAKE_WANT);
		break;
	case TAKE_WANT:
		next.wanted = true;
		reach_at(next, who, TAKE_SPIN);
		break;
	case TAKE_SPIN:
		reach_at(next, who, AWAIT);
		if (try_word(&next, who))
			reach_at(next, who, TAKE_DONE);
		break;
	default: /* TAKE_DONE */
		if (who == RESIDENT)
			next.wanted = false;
		actor->state = 0;
		reach_at(next, who, actor->then);
		break;
	}
}

static void step_give(struct machine next, unsigned who)
{
	struct actor *actor = &next.actors[who];
	if (actor->at == GIVE) {
		drop_hold(&next, who);
		bool wakes = (next.word & AWAITED) != 0 && omission != NO_WAKE;
		next.word = 0;
		reach_at(next, who, wakes ? GIVE_WAKE : actor->then);
	} else if (!wake_one(&next, who, actor->then)) {
		reach_at(next, who, actor->then);
	}
}

static void step_notify(struct machine next, unsigned who)
{
	struct actor *actor = &next.actors[who];
	bool was;
	switch (actor->at) {
	case NOTIFY:
		reach_at(next, who, next.sleeping ? NOTIFY_SWAP : actor->then);
		break;
	case NOTIFY_SWAP:
		was = next.sleeping;
		next.sleeping = false;
		reach_at(next, who, was ? NOTIFY_WAKE : actor->then);
		break;
	default: /* NOTIFY_WAKE */
		next.token = true;
		reach_at(next, who, actor->then);
		break;
	}
}

/* --- the resident --- */

static void call_piece(struct machine next, unsigned who, enum at piece, enum at then)
{
	next.actors[who].then = (uint8_t)then;
	reach_at(next, who, piece);
}

static void step_lend(struct machine next)
{
	uint8_t word = next.word;
	switch (next.actors[RESIDENT].at) {
	case R_LEND:
		reach_at(next, RESIDENT, (word & AWAITED) != 0 ? R_LEND_GIVE : R_CHOOSE);
		break;
	case R_LEND_GIVE:
		drop_hold(&next, RESIDENT);
		next.word = LENT;
		reach_at(next, RESIDENT, R_LEND_WAKE);
		break;
	case R_LEND_WAKE:
		if (!wake_one(&next, RESIDENT, R_LEND_LOOK))
			reach_at(next, RESIDENT, R_LEND_BACK);
		break;
	case R_LEND_BACK:
		if (word != LENT) {
			reach_at(next, RESIDENT, R_LEND_LOOK);
			break;
		}
		next.word = taken_by(RESIDENT);
		get_hold(&next, RESIDENT);
		reach_at(next, RESIDENT, R_CHOOSE);
		break;
	case R_LEND_LOOK:
		if (word == LENT && omission == NO_WAIT_FOR_THE_LENT) {
			next.word = taken_by(RESIDENT);
			reach_at(next, RESIDENT, R_CHOOSE); /* as if it had it all the time */
		} else if (word == LENT) {
			reach_at(next, RESIDENT, R_LEND_WAIT);
		} else {
			next.wanted = true;
			bool forgets = omission == NO_BIT_KEPT_BY_THE_LENDER;
			call_piece(next, RESIDENT, forgets ? TAKE : AWAIT, R_CHOOSE);
		}
		break;
	default: /* R_LEND_WAIT */
		reach_at(next, RESIDENT, word == LENT ? R_LEND_ASLEEP : R_LEND_LOOK);
		break;
	}
}

/* Between its turns: polls or not, and sleeps. */
static void step_wait(struct machine next)
{
	struct actor *actor = &next.actors[RESIDENT];
	bool late = omission == LATE_ANNOUNCEMENT;
	bool looks = omission != NO_LOOK_FOR_TASKS;
	bool listens = omission != NO_LOOK_FOR_MESSAGES;
	switch (actor->at) {
	case R_CHOOSE:
		if (next.ready > 0) {
			reach_at(next, RESIDENT, R_TURN);
			break;
		}
		call_piece(next, RESIDENT, GIVE, R_POLL);
		reach_at(next, RESIDENT, R_ANNOUNCE);
		break;
	case R_POLL:
		actor->found = next.messages > 0;
		call_piece(next, RESIDENT, TAKE, R_POLLED);
		break;
	case R_POLLED:
		reach_at(next, RESIDENT, actor->found || (looks && next.ready > 0) ? R_TURN : R_ANNOUNCE);
		break;
	case R_ANNOUNCE:
		next.sleeping = !late;
		reach_at(next, RESIDENT, R_LOOK);
		break;
	case R_LOOK:
		if ((listens && next.messages > 0) || (looks && next.ready > 0)) {
			next.sleeping = false;
			reach_at(next, RESIDENT, R_TURN);
		} else {
			call_piece(next, RESIDENT, GIVE, R_KERNEL);
		}
		break;
	case R_KERNEL:
		if (late && !next.sleeping) {
			next.sleeping = true;
			reach(&next);
		} else if (next.token) {
			next.token = false;
			call_piece(next, RESIDENT, TAKE, R_AWAKE);
		}
		break;
	default: /* R_AWAKE */
		next.sleeping = false;
		reach_at(next, RESIDENT, R_TURN);
		break;
	}
}

static void step_resident(struct machine next)
{
	struct actor *actor = &next.actors[RESIDENT];
	if (actor->at == R_TURN) {
		if (next.messages > 0)
			next.messages--;
		else if (next.ready > 0)
			next.ready--;
		actor->found = false;
		reach_at(next, RESIDENT, R_LEND);
	} else if (actor->at < R_CHOOSE) {
		step_lend(next);
	} else {
		step_wait(next);
	}
}

/* --- a borrower --- */

static bool has_more(const struct actor *actor, unsigned who)
{
	return actor->calls < ((goes_on >> (who - 1) & 1) != 0 ? CALLS : 1);
}

static void step_borrow(struct machine next, unsigned who)
{
	struct actor *actor = &next.actors[who];
	switch (actor->at) {
	case B_WANTED:
		reach_at(next, who, next.wanted ? B_FAILED : B_TRY);
		break;
	case B_TRY:
		reach_at(next, who, try_word(&next, who) ? B_HAS : B_FAILED);
		break;
	case B_AGAIN: /* runtime_borrow_again: a try, and then the sleep */
		call_piece(next, who, AWAIT, B_HAS);
		if (try_word(&next, who))
			reach_at(next, who, B_HAS);
		break;
	default: /* B_FAILED: once more, or as after the last round */
		reach_at(next, who, B_WANTED);
		if ((next.word & BY_RESIDENT) != 0)
			reach_at(next, who, B_ASK);
		else
			call_piece(next, who, AWAIT, B_HAS);
		break;
	}
}

static void step_borrower(struct machine next, unsigned who)
{
	struct actor *actor = &next.actors[who];
	switch (actor->at) {
	case B_BEGIN:
		reach_at(next, who, actor->again ? B_AGAIN : B_WANTED);
		break;
	case B_HAS:
		next.ready += leaves_tasks >> (who - 1) & 1;
		reach_at(next, who, B_RETURN);
		break;
	case B_RETURN:
		if (next.ready > 0 && omission != NO_NOTICE)
			call_piece(next, who, NOTIFY, B_NEXT);
		else
			reach_at(next, who, B_NEXT);
		break;
	case B_NEXT: /* gives, and goes on with another call if it has one */
		actor->calls++;
		actor->again = has_more(actor, who);
		call_piece(next, who, GIVE, actor->again ? B_BEGIN : B_END);
		break;
	case B_ASK: /* a request instead of what is left */
		next.messages++;
		call_piece(next, who, NOTIFY, B_END);
		break;
	default:
		step_borrow(next, who);
		break;
	}
}

/* --- all of it --- */

static void step(const struct machine *machine, unsigned who)
{
	const struct actor *actor = &machine->actors[who];
	if (is_asleep(actor) || actor->at == B_END)
		return;
	if (actor->at >= AWAIT && actor->at <= AWAIT_WAIT)
		step_await(*machine, who);
	else if (actor->at <= TAKE_DONE)
		step_take(*machine, who);
	else if (actor->at <= GIVE_WAKE)
		step_give(*machine, who);
	else if (actor->at <= NOTIFY_WAKE)
		step_notify(*machine, who);
	else if (who == RESIDENT)
		step_resident(*machine);
	else
		step_borrower(*machine, who);
}

static bool can_go_on(const struct machine *machine, unsigned who)
{
	const struct actor *actor = &machine->actors[who];
	if (actor->at == R_KERNEL)
		return machine->token || (omission == LATE_ANNOUNCEMENT && !machine->sleeping);
	return !is_asleep(actor) && actor->at != B_END;
}

/* Where nobody can go on, the resident sleeps in the kernel and all work is done. */
static void check_end(const struct machine *machine)
{
	for (unsigned who = 0; who < ACTORS; who++) {
		if (can_go_on(machine, who))
			return;
	}
	if (machine->ready > 0)
		violation = "the resident sleeps while a task is ready";
	if (machine->messages > 0)
		violation = "the resident sleeps while a request waits";
	for (unsigned who = 0; who < ACTORS; who++) {
		if (is_asleep(&machine->actors[who]))
			violation = "somebody sleeps for the shard, and nobody has it";
	}
}

/* NULL: the protocol holds. */
static const char *explore(void)
{
	struct machine first;
	memset(&first, 0, sizeof(first));
	memset(table, 0, TABLE_SIZE * sizeof(*table));
	stack_count = 0;
	seen_count = 0;
	violation = NULL;
	first.word = TAKEN | BY_RESIDENT;
	first.holders = 1 << RESIDENT;
	first.actors[RESIDENT].at = R_TURN;
	for (unsigned who = 1; who < ACTORS; who++)
		first.actors[who].at = B_BEGIN;
	reach(&first);
	while (stack_count > 0 && violation == NULL) {
		struct machine machine = stack[--stack_count];
		for (unsigned who = 0; who < ACTORS; who++)
			step(&machine, who);
		if (violation == NULL)
			check_end(&machine);
	}
	return violation;
}

/* --- tests --- */

static int set_up(void **state)
{
	(void)state;
	table = malloc(TABLE_SIZE * sizeof(*table));
	stack = malloc(STACK_SIZE * sizeof(*stack));
	return table == NULL || stack == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(table);
	free(stack);
	return 0;
}

/* With every mix of borrowers: who leave tasks and who do not, with one call and with two. */
static void test_every_schedule(void **state)
{
	(void)state;
	uint64_t states = 0;
	omission = NOTHING_LEFT_OUT;
	for (unsigned mix = 0; mix < 16; mix++) {
		leaves_tasks = mix & 3;
		goes_on = mix >> 2;
		const char *wrong = explore();
		if (wrong != NULL)
			fail_msg("mix %u: %s", mix, wrong);
		states += seen_count;
	}
	print_message("%llu states\n", (unsigned long long)states);
	assert_true(states > 10000);
}

/* What the exploration is worth: each step that is left out leads to a schedule that goes wrong. */
static void test_no_step_can_be_left_out(void **state)
{
	(void)state;
	for (omission = NO_LOOK_FOR_TASKS; omission <= NO_WAIT_FOR_THE_LENT; omission++) {
		const char *wrong = NULL;
		for (unsigned mix = 0; mix < 16 && wrong == NULL; mix++) {
			leaves_tasks = mix & 3;
			goes_on = mix >> 2;
			wrong = explore();
		}
		if (wrong == NULL)
			fail_msg("without step %d all goes well", (int)omission);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_schedule),
		cmocka_unit_test(test_no_step_can_be_left_out),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
