/*
 * gate_test.c: the handshake between a waker and an owner about to sleep, step by step: the gap between
 * the last look and the sleep is nanoseconds wide, so threads alone would hardly ever meet it.
 */
#include "test.h"

#include <errno.h>
#include <unistd.h>

#include "io/gate.h"

static bool is_rung(struct gate *gate)
{
	uint64_t count;
	return read(gate->event, &count, sizeof(count)) == (ssize_t)sizeof(count);
}

static void a_running_owner_is_not_rung(void **state)
{
	(void)state;
	struct gate gate;
	assert_ok(gate_open(&gate, EFD_NONBLOCK));
	assert_false(gate_take(&gate));
	gate_signal(&gate);
	gate_nudge(&gate);
	assert_false(is_rung(&gate));
	assert_true(gate_take(&gate));
	assert_false(gate_take(&gate));
	gate_close(&gate);
}

static void a_signal_in_the_gap_prevents_the_sleep(void **state)
{
	(void)state;
	struct gate gate;
	assert_ok(gate_open(&gate, EFD_NONBLOCK));
	assert_false(gate_take(&gate)); /* the last look */
	gate_signal(&gate);
	assert_false(gate_announce(&gate));
	gate_awake(&gate);
	assert_true(gate_take(&gate));
	assert_true(gate_announce(&gate)); /* used up */
	gate_awake(&gate);
	gate_close(&gate);
}

static void a_sleeping_owner_is_rung_once(void **state)
{
	(void)state;
	struct gate gate;
	assert_ok(gate_open(&gate, EFD_NONBLOCK));
	assert_true(gate_announce(&gate));
	errno = 77;
	gate_signal(&gate);
	assert_int_equal(errno, 77); /* as a signal handler needs it */
	assert_true(is_rung(&gate));
	gate_signal(&gate); /* the first signal still stands */
	assert_false(is_rung(&gate));
	gate_awake(&gate);
	assert_true(gate_take(&gate));

	assert_true(gate_announce(&gate));
	gate_nudge(&gate);
	assert_true(is_rung(&gate));
	gate_awake(&gate);
	assert_false(gate_take(&gate)); /* a nudge is no signal */
	gate_close(&gate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_running_owner_is_not_rung),
		cmocka_unit_test(a_signal_in_the_gap_prevents_the_sleep),
		cmocka_unit_test(a_sleeping_owner_is_rung_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
