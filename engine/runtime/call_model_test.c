/*
 * call_model_test.c: every schedule of two senders and a receiver over the atomic steps by which a message is
 * left and found (ring.h, call.c) and a sleeping shard is woken (shard.c), written down as a state machine
 * and explored exhaustively under sequential consistency: nobody sleeps while there is something to take. The
 * same exploration finds what breaks when steps change their places. Takes well under a second.
 *
 * A ring is a count of messages that were put in and one of those taken out; the gate of an I/O backend is a
 * token that a wake leaves and a sleep takes (gate_test.c). The hold is another model's (hold_model_test.c).
 */
#include <stdbool.h>
#include <string.h>

#include "test.h"

enum { SENDERS = 2, MESSAGES = 2 }; /* of each sender */

enum sender_at { S_PUSH, S_LOOK, S_SET, S_NOTIFY, S_SWAP, S_WAKE, S_END };

enum receiver_at { R_LOOK, R_TAKE, R_CLEAR, R_TAKE_AGAIN, R_ANNOUNCE, R_LOOK_AGAIN, R_KERNEL, R_AWAKE };

struct sender {
	uint8_t at;
	uint8_t untold : 4;  /* messages since it told the receiver */
	uint8_t saw_bit : 1; /* by a look that came too early: an omission */
};

struct machine {
	struct sender senders[SENDERS];
	uint8_t pushed[SENDERS];
	uint8_t taken[SENDERS];
	uint8_t receiver;
	uint8_t bits; /* of those whose rings the receiver has yet to look into */
	uint8_t active;
	uint8_t sleeping : 1;
	uint8_t token : 1;
	uint8_t is_state : 1; /* tells it from an empty place of the table */
};

enum omission {
	NOTHING_LEFT_OUT,
	BIT_BEFORE_MESSAGE,  /* the sender sets its bit, and then leaves the message */
	LOOK_BEFORE_MESSAGE, /* it decides by a look at the bit from before the message */
	NOTICE_BEFORE_BIT,   /* it looks for a sleeper before it sets the bit */
	LAST_IS_NOT_TOLD,    /* it ends its turn without telling */
	NO_SECOND_LOOK,	     /* the receiver clears a bit and does not look into the ring again */
	LATE_ANNOUNCEMENT,   /* it looks for messages and announces the sleep afterwards */
};

static enum omission omission;

/* --- exploring --- */

enum { TABLE_SIZE = 1 << 20, STACK_SIZE = 1 << 19 };

static struct machine table[TABLE_SIZE], stack[STACK_SIZE];
static uint32_t stack_count, seen_count;
static const char *violation;

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
	while (table[at].is_state) {
		if (memcmp(&table[at], machine, sizeof(*machine)) == 0)
			return;
		at = (at + 1) % TABLE_SIZE;
	}
	assert_true(++seen_count < TABLE_SIZE / 2);
	table[at] = *machine;
	assert_true(stack_count < STACK_SIZE);
	stack[stack_count++] = *machine;
}

/* --- the steps --- */

static void push(struct machine *machine, unsigned s)
{
	machine->pushed[s]++;
	machine->senders[s].untold++;
}

static bool has_bit(const struct machine *machine, unsigned s)
{
	return (machine->active >> s & 1) != 0;
}

static void set_bit(struct machine *machine, unsigned s)
{
	machine->active |= (uint8_t)(1u << s);
}

/* What comes after the receiver was told. */
static uint8_t after_telling(const struct machine *machine, unsigned s)
{
	return machine->pushed[s] < MESSAGES ? S_PUSH : S_END;
}

/* One more message. */
static bool sender_push(struct machine *machine, unsigned s)
{
	struct sender *sender = &machine->senders[s];
	if (machine->pushed[s] == MESSAGES)
		return false;
	if (omission == LOOK_BEFORE_MESSAGE && sender->untold == 0)
		sender->saw_bit = has_bit(machine, s);
	if (omission == BIT_BEFORE_MESSAGE) {
		set_bit(machine, s);
		sender->at = S_SET;
	} else if (omission == LOOK_BEFORE_MESSAGE && sender->untold == 0) {
		sender->at = S_SET;
	} else {
		push(machine, s);
	}
	return true;
}

/* No more before the receiver is told. */
static bool sender_turn(struct machine *machine, unsigned s)
{
	struct sender *sender = &machine->senders[s];
	if (sender->untold == 0)
		return false;
	if (omission == LAST_IS_NOT_TOLD && machine->pushed[s] == MESSAGES)
		sender->at = S_END;
	else
		sender->at = omission == NOTICE_BEFORE_BIT ? S_NOTIFY : S_LOOK;
	return true;
}

/* calls_tell. Where the sender acts too early, S_SET is where the message follows. */
static void sender_bit(struct machine *machine, unsigned s)
{
	struct sender *sender = &machine->senders[s];
	bool is_late = omission == NOTICE_BEFORE_BIT;
	if (sender->at == S_SET && omission == BIT_BEFORE_MESSAGE) {
		push(machine, s);
		sender->untold = 0;
		sender->at = S_NOTIFY;
		return;
	}
	if (sender->at == S_SET && omission == LOOK_BEFORE_MESSAGE) {
		push(machine, s);
		sender->at = S_LOOK;
		return;
	}
	bool sees = omission == LOOK_BEFORE_MESSAGE ? sender->saw_bit : has_bit(machine, s);
	if (sender->at == S_LOOK && !sees && omission != LOOK_BEFORE_MESSAGE) {
		sender->at = S_SET;
		return;
	}
	if (!sees)
		set_bit(machine, s);
	sender->untold = 0;
	sender->saw_bit = 0;
	sender->at = is_late ? after_telling(machine, s) : S_NOTIFY;
}

/* shard_notify. */
static void sender_notify(struct machine *machine, unsigned s)
{
	struct sender *sender = &machine->senders[s];
	uint8_t then = omission == NOTICE_BEFORE_BIT ? S_LOOK : after_telling(machine, s);
	switch (sender->at) {
	case S_NOTIFY:
		sender->at = machine->sleeping ? S_SWAP : then;
		break;
	case S_SWAP:
		sender->at = machine->sleeping ? S_WAKE : then;
		machine->sleeping = 0;
		break;
	default: /* S_WAKE */
		machine->token = 1;
		sender->at = then;
	}
}

/* `other`: the other of two things that it may do. False: there is no such step. */
static bool step_sender(struct machine *machine, unsigned s, bool other)
{
	uint8_t at = machine->senders[s].at;
	if (at == S_PUSH)
		return other ? sender_turn(machine, s) : sender_push(machine, s);
	if (at == S_END || other)
		return false;
	if (at <= S_SET)
		sender_bit(machine, s);
	else
		sender_notify(machine, s);
	return true;
}

static void next_ring(struct machine *machine)
{
	machine->bits &= (uint8_t)(machine->bits - 1);
	machine->receiver = machine->bits != 0 ? R_TAKE : R_LOOK;
}

/* calls_receive: how often it looks before it clears a bit is left open. */
static void step_receive(struct machine *machine, bool clears)
{
	unsigned s = (unsigned)__builtin_ctz(machine->bits);
	switch (machine->receiver) {
	case R_TAKE:
		machine->taken[s] = machine->pushed[s];
		if (clears)
			machine->receiver = R_CLEAR;
		else
			next_ring(machine);
		break;
	case R_CLEAR:
		machine->active &= (uint8_t) ~(1u << s);
		machine->receiver = R_TAKE_AGAIN;
		break;
	default: /* R_TAKE_AGAIN */
		if (omission != NO_SECOND_LOOK)
			machine->taken[s] = machine->pushed[s];
		next_ring(machine);
	}
}

static bool step_receiver(struct machine *machine, bool other)
{
	bool is_late = omission == LATE_ANNOUNCEMENT;
	if (other && machine->receiver != R_TAKE)
		return false;
	switch (machine->receiver) {
	case R_LOOK:
		machine->bits = machine->active;
		machine->receiver = machine->bits != 0 ? R_TAKE : is_late ? R_LOOK_AGAIN : R_ANNOUNCE;
		break;
	case R_TAKE:
	case R_CLEAR:
	case R_TAKE_AGAIN:
		step_receive(machine, other);
		break;
	case R_ANNOUNCE:
		machine->sleeping = 1;
		machine->receiver = is_late ? R_KERNEL : R_LOOK_AGAIN;
		break;
	case R_LOOK_AGAIN:
		if (machine->active != 0)
			machine->receiver = R_AWAKE;
		else
			machine->receiver = is_late ? R_ANNOUNCE : R_KERNEL;
		break;
	case R_KERNEL:
		if (!machine->token)
			return false;
		machine->token = 0;
		machine->receiver = R_AWAKE;
		break;
	default: /* R_AWAKE */
		machine->sleeping = 0;
		machine->receiver = R_LOOK;
	}
	return true;
}

/* Where nobody can go on, all has been taken. */
static void check_end(const struct machine *machine)
{
	for (unsigned s = 0; s < SENDERS; s++) {
		if (machine->senders[s].at != S_END)
			violation = "a sender stands still";
		else if (machine->taken[s] != MESSAGES)
			violation = "the receiver sleeps, and a message is left";
	}
}

static const char *explore(enum omission left_out)
{
	const struct machine start = { .receiver = R_LOOK, .is_state = 1 };
	omission = left_out;
	violation = NULL;
	stack_count = 0;
	seen_count = 0;
	memset(table, 0, sizeof(table));
	reach(&start);
	while (stack_count > 0 && violation == NULL) {
		const struct machine from = stack[--stack_count];
		bool goes_on = false;
		for (unsigned step = 0; step < 2 * (SENDERS + 1); step++) {
			struct machine to = from;
			unsigned actor = step / 2;
			bool other = step % 2 == 1;
			if (actor < SENDERS ? step_sender(&to, actor, other) : step_receiver(&to, other)) {
				goes_on = true;
				reach(&to);
			}
		}
		if (!goes_on)
			check_end(&from);
	}
	return violation;
}

static void test_no_message_is_lost(void **state)
{
	(void)state;
	assert_null(explore(NOTHING_LEFT_OUT));
	assert_true(seen_count > 10000);
	(void)printf("%u states\n", seen_count);
}

static void test_each_step_has_its_place(void **state)
{
	(void)state;
	assert_non_null(explore(BIT_BEFORE_MESSAGE));
	assert_non_null(explore(LOOK_BEFORE_MESSAGE));
	assert_non_null(explore(NOTICE_BEFORE_BIT));
	assert_non_null(explore(LAST_IS_NOT_TOLD));
	assert_non_null(explore(NO_SECOND_LOOK));
	assert_non_null(explore(LATE_ANNOUNCEMENT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_message_is_lost),
		cmocka_unit_test(test_each_step_has_its_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
