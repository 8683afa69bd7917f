/*
 * history_test.c: that the check of histories takes those that some order explains and refuses all others: by
 * hand, and against a search through every order of small ones.
 */
#include "test.h"

#include <string.h>

#include "sim/history.h"

enum { SMALL = 6, SMALL_ROUNDS = 20000, LONG = 600, CLIENTS = 8, WHY_BYTES = 400 };

#define SEED 11

#define READ(who, what, from, to)                 \
	{                                         \
		HISTORY_READ, who, what, from, to \
	}
#define WRITE(who, what, from, to)                 \
	{                                          \
		HISTORY_WRITE, who, what, from, to \
	}

static char why[WHY_BYTES];

#define IS_LINEARIZABLE(...)                                                           \
	history_is_linearizable((struct history_operation[]) { __VA_ARGS__ },          \
				sizeof((struct history_operation[]) { __VA_ARGS__ }) / \
					sizeof(struct history_operation),              \
				0, why, sizeof(why))

/* --- by hand; 0 is there at first --- */

static void what_some_order_explains_is_taken(void **state)
{
	(void)state;
	assert_true(history_is_linearizable(NULL, 0, 0, NULL, 0));
	assert_true(IS_LINEARIZABLE(READ(0, 0, 1, 2), WRITE(0, 7, 3, 4), READ(1, 7, 5, 6)));
	/* During a write others see the old value or the new one, and then the new one. */
	assert_true(
		IS_LINEARIZABLE(WRITE(0, 7, 1, 10), READ(1, 0, 2, 3), READ(1, 7, 4, 5), READ(2, 7, 6, 7)));
	/* Writes side by side, in either order. */
	assert_true(IS_LINEARIZABLE(WRITE(0, 7, 1, 10), WRITE(1, 8, 2, 9), READ(2, 7, 11, 12)));
	assert_true(IS_LINEARIZABLE(WRITE(0, 7, 1, 10), WRITE(1, 8, 2, 9), READ(2, 8, 11, 12)));
	/* The one called last comes first. */
	assert_true(IS_LINEARIZABLE(WRITE(0, 7, 1, 20), WRITE(1, 8, 2, 19), WRITE(2, 9, 3, 18),
				    READ(3, 9, 4, 5), READ(3, 8, 6, 7), READ(3, 7, 8, 9)));
	/* A delete is a write of nothing, and there may be many. */
	assert_true(IS_LINEARIZABLE(WRITE(0, 7, 1, 2), WRITE(0, 0, 3, 4), READ(1, 0, 5, 6), WRITE(0, 9, 7, 8),
				    WRITE(1, 0, 7 + 2, 12), READ(2, 9, 10, 11), READ(2, 0, 13, 14)));
}

static void what_no_order_explains_is_refused(void **state)
{
	(void)state;
	/* A stale read. */
	assert_false(IS_LINEARIZABLE(WRITE(0, 7, 1, 2), READ(1, 0, 3, 4)));
	assert_non_null(strstr(why, "read of 0 by client 1 (3 to 4) fits nowhere"));
	assert_non_null(strstr(why, "write of 7 by client 0"));
	assert_false(IS_LINEARIZABLE(WRITE(0, 7, 1, 2), WRITE(0, 8, 3, 4), READ(1, 7, 5, 6)));
	/* A lost update: 8 came after 7 had returned, and then 7 was there. */
	assert_false(
		IS_LINEARIZABLE(WRITE(0, 7, 1, 2), WRITE(1, 8, 3, 4), READ(0, 8, 5, 6), READ(1, 7, 7, 8)));
	/* A value that nobody wrote. */
	assert_false(IS_LINEARIZABLE(WRITE(0, 7, 1, 4), READ(1, 5, 2, 3)));
	/* One from the future. */
	assert_false(IS_LINEARIZABLE(READ(1, 7, 1, 2), WRITE(0, 7, 3, 4)));
	/* New, and then old again, while the write is under way. */
	assert_false(IS_LINEARIZABLE(WRITE(0, 7, 1, 10), READ(1, 7, 2, 3), READ(2, 0, 4, 5)));
	/* Two callers see two writes in different orders. */
	assert_false(IS_LINEARIZABLE(WRITE(0, 7, 1, 20), WRITE(1, 8, 2, 19), READ(2, 7, 3, 4),
				     READ(3, 8, 5, 6), READ(2, 7, 7, 8)));
	/* What was deleted is back. */
	assert_false(
		IS_LINEARIZABLE(WRITE(0, 7, 1, 2), WRITE(0, 0, 3, 4), READ(1, 0, 5, 6), READ(1, 7, 7, 8)));
}

/* --- small ones, against every order --- */

static bool some_order_explains(const struct history_operation *all, size_t count, unsigned done,
				uint32_t value)
{
	if (done == (1u << count) - 1)
		return true;
	for (size_t i = 0; i < count; i++) {
		bool may_come = (done >> i & 1) == 0;
		for (size_t other = 0; other < count; other++)
			may_come &= (done >> other & 1) != 0 || all[other].returned > all[i].called;
		if (!may_come || (all[i].kind == HISTORY_READ && all[i].value != value))
			continue;
		if (some_order_explains(all, count, done | 1u << i,
					all[i].kind == HISTORY_WRITE ? all[i].value : value))
			return true;
	}
	return false;
}

/* Calls and returns in any order; values of a few, some written twice. */
static size_t draw_small(struct random *random, struct history_operation *all)
{
	size_t count = 2 + (size_t)random_below(random, SMALL - 1);
	uint64_t now = 0;
	for (size_t i = 0; i < count; i++) {
		all[i] = (struct history_operation) {
			.kind = random_below(random, 2) == 0 ? HISTORY_READ : HISTORY_WRITE,
			.client = (uint32_t)i,
			.value = (uint32_t)random_below(random, 4),
		};
	}
	for (size_t left = 2 * count; left > 0;) {
		struct history_operation *it = &all[random_below(random, count)];
		if (it->returned != 0)
			continue;
		left--;
		if (it->called == 0)
			it->called = ++now;
		else
			it->returned = ++now;
	}
	return count;
}

static void small_ones_get_the_answer_of_every_order(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(SEED));
	unsigned taken = 0;
	for (unsigned round = 0; round < SMALL_ROUNDS; round++) {
		struct history_operation all[SMALL];
		size_t count = draw_small(&random, all);
		bool expected = some_order_explains(all, count, 0, 0);
		if (history_is_linearizable(all, count, 0, why, sizeof(why)) != expected)
			fail_msg("round %u: expected %d: %s", round, expected, why);
		taken += expected;
	}
	assert_true(taken > SMALL_ROUNDS / 10);
	assert_true(taken < SMALL_ROUNDS - SMALL_ROUNDS / 10);
}

/* --- long ones --- */

struct register_client {
	bool busy, done; /* under way; its moment has come */
	struct history_operation operation;
};

/* Callers of a register that does each operation at some moment between call and return. */
static void draw_long(struct random *random, struct history_operation *all)
{
	struct register_client clients[CLIENTS] = { 0 };
	uint32_t value = 0;
	uint32_t written = 0;
	uint64_t now = 0;
	for (size_t started = 0, count = 0; count < LONG;) {
		uint32_t i = (uint32_t)random_below(random, CLIENTS);
		struct register_client *client = &clients[i];
		struct history_operation *it = &client->operation;
		if (!client->busy && started == LONG)
			continue;
		if (!client->busy) {
			started++;
			*it = (struct history_operation) { .client = i, .called = ++now };
			it->kind = random_below(random, 2) == 0 ? HISTORY_READ : HISTORY_WRITE;
			client->busy = true;
			client->done = false;
		} else if (!client->done) {
			if (it->kind == HISTORY_WRITE)
				value = it->value = random_below(random, 5) == 0 ? 0 : ++written;
			else
				it->value = value;
			client->done = true;
		} else {
			it->returned = ++now;
			all[count++] = *it;
			client->busy = false;
		}
	}
}

/* Another value than the one that it was: one that was written over before the read began. */
static bool make_stale(struct random *random, struct history_operation *all)
{
	for (unsigned tries = 0; tries < 1000; tries++) {
		struct history_operation *read = &all[random_below(random, LONG)];
		const struct history_operation *old = &all[random_below(random, LONG)];
		if (read->kind != HISTORY_READ || old->kind != HISTORY_WRITE || old->value == 0)
			continue;
		for (size_t i = 0; i < LONG; i++) {
			const struct history_operation *newer = &all[i];
			if (newer->kind != HISTORY_WRITE || newer->called < old->returned ||
			    newer->returned > read->called)
				continue;
			read->value = old->value;
			return true;
		}
	}
	return false;
}

static void long_ones_are_taken_until_a_read_is_stale(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(SEED) + 1);
	for (unsigned round = 0; round < 40; round++) {
		static struct history_operation all[LONG];
		draw_long(&random, all);
		if (!history_is_linearizable(all, LONG, 0, why, sizeof(why)))
			fail_msg("round %u: %s", round, why);
		assert_true(make_stale(&random, all));
		assert_false(history_is_linearizable(all, LONG, 0, why, sizeof(why)));
	}
}

/* --- several registers --- */

#define IS_ONE_STATE(a, b) \
	history_is_one_state(both, 2, (const uint32_t[]) { a, b }, UINT32_MAX, why, sizeof(why))

static void a_state_has_no_holes(void **state)
{
	(void)state;
	/* 7 and 8 one after the other on the first, 17 and 18 on the second, which begins when 8 has
	 * returned. */
	struct history_operation a[] = { WRITE(0, 7, 1, 2), WRITE(0, 8, 3, 4), READ(1, 8, 30, 31) };
	struct history_operation b[] = { WRITE(1, 17, 5, 8), WRITE(0, 18, 9, 10) };
	const struct history both[] = { { a, 3 }, { b, 2 } };
	assert_true(IS_ONE_STATE(8, 18));
	assert_true(IS_ONE_STATE(8, 17));
	assert_true(IS_ONE_STATE(8, UINT32_MAX));
	assert_true(IS_ONE_STATE(7, UINT32_MAX));
	assert_true(IS_ONE_STATE(UINT32_MAX, 18));
	assert_true(IS_ONE_STATE(0, 18)); /* nobody wrote 0: it was there before, or was deleted */
	assert_false(IS_ONE_STATE(7, 18));
	assert_non_null(
		strstr(why, "register 0 has the write of 7 by client 0 (1 to 2) and lacks the write of 8"));
	assert_false(IS_ONE_STATE(7, 17));
	/* With 17 still under way when 8 begins, 7 may be there with it, but not with 18. */
	a[1] = (struct history_operation)WRITE(0, 8, 6, 7);
	assert_true(IS_ONE_STATE(7, 17));
	assert_false(IS_ONE_STATE(7, 18));
}

static void a_state_has_batches_whole(void **state)
{
	(void)state;
	struct history_operation a[] = { WRITE(0, 7, 1, 2), WRITE(0, 8, 5, 9) };
	struct history_operation b[] = { WRITE(1, 17, 3, 4), WRITE(0, 18, 5, 8), WRITE(2, 19, 6, 7) };
	const struct history both[] = { { a, 2 }, { b, 3 } };
	assert_true(IS_ONE_STATE(8, 18));
	assert_true(IS_ONE_STATE(7, 17));
	assert_false(IS_ONE_STATE(8, 17));
	assert_false(IS_ONE_STATE(7, 18));
	/* 19 came before the batch or after it. */
	assert_true(IS_ONE_STATE(8, 19));
	assert_true(IS_ONE_STATE(7, 19));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_some_order_explains_is_taken),
		cmocka_unit_test(what_no_order_explains_is_refused),
		cmocka_unit_test(small_ones_get_the_answer_of_every_order),
		cmocka_unit_test(long_ones_are_taken_until_a_read_is_stale),
		cmocka_unit_test(a_state_has_no_holes),
		cmocka_unit_test(a_state_has_batches_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
