/*
 * sim_model_test.c: that the simulation's model explains what may be found, and nothing else: a model that
 * explains anything would pass every run.
 */
#include "test.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/failure.h"
#include "sim/model.h"

enum { KEYS = 8, CLIENTS = 2 };

static struct model model;
static uint32_t found[MODEL_KEYS_MAX];
static uint32_t own[CLIENTS][KEYS]; /* keys of each client */

static int set_up(void **state)
{
	(void)state;
	uint32_t counts[CLIENTS] = { 0 };
	model_init(&model, 5, CLIENTS, KEYS, 1000);
	for (uint32_t k = 0; k < KEYS; k++) {
		model.keys[k].client = k % CLIENTS;
		own[k % CLIENTS][counts[k % CLIENTS]++] = k;
	}
	memset(found, 0, sizeof(found));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	model_free(&model);
	return 0;
}

/* One write of a client to some of its keys; returns its first value. */
static uint32_t put(uint32_t client, uint32_t first, uint32_t count, cascade_durability level,
		    cascade_status status)
{
	uint32_t write = model_issue(&model, client, 0, level);
	uint32_t value = model.next_value;
	for (uint32_t i = first; i < first + count; i++)
		model_add_op(&model, write, own[client][i], model_draw_value(&model));
	model_settle(&model, write, status);
	return value;
}

static bool explains(enum model_promise promise)
{
	pid_t child = fork();
	if (child == 0) {
		struct model_question question = { .found = found, .promise = promise };
		question.promised_until = question.issued_until = model.now;
		model_check_state(&model, &question);
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SIM_EXIT_FAILED);
	return WEXITSTATUS(status) == 0;
}

static void what_was_acknowledged_must_be_there(void **state)
{
	(void)state;
	uint32_t value = put(0, 0, 1, CASCADE_DURABILITY_PROCESS, CASCADE_OK);
	assert_false(explains(MODEL_ACKNOWLEDGED));
	assert_false(explains(MODEL_PROCESS));
	assert_true(explains(MODEL_POWER)); /* it was not promised that */
	found[own[0][0]] = value;
	assert_true(explains(MODEL_ACKNOWLEDGED));
	found[own[0][0]] = value + 1;
	assert_false(explains(MODEL_NOTHING));
	found[own[0][0]] = MODEL_UNKNOWN;
	assert_true(explains(MODEL_ACKNOWLEDGED));
}

static void what_was_flushed_is_promised(void **state)
{
	(void)state;
	(void)put(0, 0, 1, CASCADE_DURABILITY_MEMORY, CASCADE_OK);
	assert_true(explains(MODEL_POWER));
	model_flushed(&model, model_moment(&model));
	assert_false(explains(MODEL_POWER));
}

static void batches_are_whole(void **state)
{
	(void)state;
	uint32_t value = put(0, 0, 2, CASCADE_DURABILITY_PROCESS, CASCADE_OK);
	found[own[0][0]] = value;
	assert_false(explains(MODEL_NOTHING));
	found[own[0][1]] = value + 1;
	assert_true(explains(MODEL_PROCESS));
}

/* The second began when the first had ended: it is not there without it. */
static void there_are_no_holes(void **state)
{
	(void)state;
	uint32_t first = put(0, 0, 1, CASCADE_DURABILITY_PROCESS, CASCADE_OK);
	uint32_t second = put(1, 0, 1, CASCADE_DURABILITY_PROCESS, CASCADE_OK);
	found[own[1][0]] = second;
	assert_false(explains(MODEL_POWER));
	found[own[0][0]] = first;
	assert_true(explains(MODEL_POWER));
	found[own[1][0]] = MODEL_ABSENT;
	assert_true(explains(MODEL_POWER));
}

static void nothing_comes_back(void **state)
{
	(void)state;
	uint32_t first = put(0, 0, 1, CASCADE_DURABILITY_POWER, CASCADE_OK);
	uint32_t second = put(0, 0, 1, CASCADE_DURABILITY_POWER, CASCADE_OK);
	found[own[0][0]] = first;
	assert_false(explains(MODEL_POWER));
	found[own[0][0]] = second;
	assert_true(explains(MODEL_POWER));
}

static void refused_writes_never_happen(void **state)
{
	(void)state;
	uint32_t refused = put(0, 0, 1, CASCADE_DURABILITY_POWER, CASCADE_BUSY);
	assert_true(explains(MODEL_POWER));
	found[own[0][0]] = refused;
	assert_false(explains(MODEL_NOTHING));
}

static void failed_writes_may_happen_at_a_recovery(void **state)
{
	(void)state;
	found[own[0][0]] = put(0, 0, 1, CASCADE_DURABILITY_POWER, CASCADE_IO);
	assert_false(explains(MODEL_ACKNOWLEDGED));
	assert_true(explains(MODEL_POWER));
	/* But the shard has taken another one since: it was refused, and not in the log. */
	found[own[1][0]] = put(1, 0, 1, CASCADE_DURABILITY_POWER, CASCADE_OK);
	assert_false(explains(MODEL_POWER));
	found[own[0][0]] = MODEL_ABSENT;
	assert_true(explains(MODEL_POWER));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_acknowledged_must_be_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_flushed_is_promised, set_up, tear_down),
		cmocka_unit_test_setup_teardown(batches_are_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(there_are_no_holes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refused_writes_never_happen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failed_writes_may_happen_at_a_recovery, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
