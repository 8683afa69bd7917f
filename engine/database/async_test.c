/*
 * async_test.c: the forms of cascade.h that return a future, from threads, tasks and callbacks; cancels,
 * callbacks, full inboxes; and that what a future says is what happened. Takes about 2 s.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "database/database_test.h"

enum { SHARDS = 2, KEYS = 60 };

static cascade *open_plain(void)
{
	const struct setup setup = { .shards = SHARDS };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	return db;
}

static cascade_slice key_of(unsigned i, char text[16])
{
	(void)snprintf(text, 16, "key%05u", i);
	return cascade_string(text);
}

static bool value_is(const cascade_value *value, const char *expected)
{
	return value->size == strlen(expected) && memcmp(value->data, expected, value->size) == 0;
}

/* --- everything once --- */

static void write_all(cascade *db)
{
	static char names[KEYS][16];
	cascade_future *futures[KEYS];
	for (unsigned i = 0; i < KEYS; i++) {
		cascade_slice name = key_of(i, names[i]);
		CHECK_OK(cascade_put_async(db, name, name, NULL, &futures[i]));
	}
	for (unsigned i = KEYS; i > 0; i--)
		CHECK_OK(cascade_future_wait(futures[i - 1]));
	for (unsigned i = 0; i < KEYS; i += 3)
		CHECK_OK(cascade_delete_async(db, key_of(i, names[i]), NULL, &futures[i]));
	for (unsigned i = 0; i < KEYS; i += 3)
		CHECK_OK(cascade_future_wait(futures[i]));
}

static void read_all(cascade *db)
{
	char names[KEYS][16];
	cascade_future *futures[KEYS];
	cascade_value values[KEYS];
	for (unsigned i = 0; i < KEYS; i++)
		CHECK_OK(cascade_get_async(db, key_of(i, names[i]), NULL, &values[i], &futures[i]));
	for (unsigned i = 0; i < KEYS; i++) {
		CHECK_STATUS(cascade_future_wait(futures[i]), i % 3 == 0 ? CASCADE_NOT_FOUND : CASCADE_OK);
		CHECK(i % 3 == 0 || value_is(&values[i], names[i]));
		cascade_value_release(&values[i]);
	}
}

static void write_batches(cascade *db)
{
	cascade_batch *batch, *empty, *wide;
	cascade_future *futures[2];
	char name[16];
	CHECK_OK(cascade_batch_create(&batch));
	CHECK_OK(cascade_batch_create(&empty));
	CHECK_OK(cascade_batch_create(&wide));
	uint32_t shard = cascade_shard_of(db, cascade_string("one"));
	CHECK_OK(cascade_batch_put(batch, cascade_string("one"), cascade_string("1")));
	for (unsigned i = 0; i < KEYS; i++) {
		CHECK_OK(cascade_batch_put(wide, key_of(i, name), cascade_string("")));
		if (cascade_shard_of(db, key_of(i, name)) == shard)
			CHECK_OK(cascade_batch_delete(batch, key_of(i, name)));
	}
	CHECK_OK(cascade_write_async(db, batch, NULL, &futures[0]));
	CHECK_OK(cascade_write_async(db, empty, NULL, &futures[1]));
	CHECK_STATUS(cascade_write_async(db, wide, NULL, &futures[1]), CASCADE_UNSUPPORTED);
	CHECK_OK(cascade_future_wait(futures[0]));
	CHECK_OK(cascade_future_wait(futures[1]));
	check_value(db, "one", "1");
	for (unsigned i = 0; i < KEYS; i++) {
		if (cascade_shard_of(db, key_of(i, name)) == shard)
			check_absent(db, name);
	}
	cascade_batch_destroy(batch);
	cascade_batch_destroy(empty);
	cascade_batch_destroy(wide);
}

static void iterate(cascade *db)
{
	cascade_iterator *iterator;
	cascade_future *future;
	char name[16];
	const cascade_iterator_options options = { .upper = cascade_string("kez"), .has_upper = true };
	CHECK_OK(cascade_iterator_create(db, &options, &iterator));
	CHECK_OK(cascade_iterator_seek_async(iterator, key_of(10, name), &future));
	CHECK_OK(cascade_future_wait(future));
	for (unsigned i = 10; i < KEYS; i++) {
		if (i % 3 == 0)
			continue;
		CHECK(cascade_iterator_valid(iterator));
		cascade_slice expected = key_of(i, name);
		cascade_slice key = cascade_iterator_key(iterator);
		CHECK(key.size == expected.size && memcmp(key.data, expected.data, key.size) == 0);
		CHECK_OK(cascade_iterator_next_async(iterator, &future));
		CHECK_OK(cascade_future_wait(future));
	}
	CHECK(!cascade_iterator_valid(iterator));
	CHECK_OK(cascade_iterator_next_async(iterator, &future));
	CHECK_STATUS(cascade_future_wait(future), CASCADE_INVALID);
	cascade_iterator_destroy(iterator);
}

static void keep_up(cascade *db)
{
	cascade_future *futures[4];
	cascade_stat *stats;
	size_t count;
	CHECK_OK(cascade_flush_async(db, &futures[0]));
	CHECK_OK(cascade_wait_idle_async(db, &futures[1]));
	CHECK_OK(cascade_verify_async(db, &futures[2]));
	CHECK_OK(cascade_stats_async(db, &stats, &count, &futures[3]));
	for (unsigned i = 0; i < 4; i++)
		CHECK_OK(cascade_future_wait(futures[i]));
	CHECK(count > 20);
	cascade_stats_free(stats);
	CHECK(stat_of(db, "flushes") > 0);
}

static void do_everything(cascade *db, void *argument)
{
	(void)argument;
	write_all(db);
	read_all(db);
	keep_up(db);
	read_all(db);
	iterate(db);
	write_batches(db);
	CHECK(!cascade_canceled(db));
}

static void test_everything(void **state)
{
	(void)state;
	cascade *db = open_plain();
	do_everything(db, NULL);
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		cascade_future *future;
		CHECK_OK(cascade_run_async(db, shard, do_everything, NULL, &future));
		CHECK_OK(cascade_future_wait(future));
	}
	CHECK_OK(cascade_close(db));
}

static void test_wrong_arguments(void **state)
{
	(void)state;
	cascade *db = open_plain();
	cascade_future *future = NULL;
	cascade_value value;
	cascade_slice key = cascade_string("k"), none = cascade_bytes(NULL, 3);
	CHECK_STATUS(cascade_put_async(NULL, key, key, NULL, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_put_async(db, none, key, NULL, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_put_async(db, key, none, NULL, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_put_async(db, key, key, NULL, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_delete_async(db, none, NULL, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_get_async(db, key, NULL, NULL, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_get_async(db, none, NULL, &value, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_write_async(db, NULL, NULL, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_next_async(NULL, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_flush_async(NULL, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_stats_async(db, NULL, NULL, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_future_cancel(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_future_on_done(NULL, NULL, NULL), CASCADE_INVALID);
	CHECK(future == NULL && !cascade_future_done(NULL) && !cascade_canceled(db));
	/* None of it left anything behind. */
	CHECK_OK(cascade_close(db));
}

/* --- callbacks --- */

struct chain {
	cascade *db;
	cascade_future *future;
	cascade_value value;
	char name[16];
	unsigned links;
	_Atomic bool ended;
};

/* Each link starts the next from within the callback of the one before, and frees that one there. */
static void next_link(void *context)
{
	struct chain *chain = context;
	CHECK(cascade_future_done(chain->future));
	CHECK_OK(cascade_future_wait(chain->future));
	if (chain->links % 2 == 1)
		CHECK(value_is(&chain->value, chain->name));
	cascade_value_release(&chain->value);
	if (++chain->links == 40) {
		atomic_store(&chain->ended, true);
		return;
	}
	cascade_slice name = cascade_string(chain->name);
	if (chain->links % 2 == 1) {
		CHECK_OK(cascade_get_async(chain->db, name, NULL, &chain->value, &chain->future));
	} else {
		name = key_of(chain->links, chain->name);
		CHECK_OK(cascade_put_async(chain->db, name, name, NULL, &chain->future));
	}
	CHECK_OK(cascade_future_on_done(chain->future, next_link, chain));
}

static void start_chain(cascade *db, void *argument)
{
	struct chain *chain = argument;
	chain->db = db;
	cascade_slice name = key_of(0, chain->name);
	CHECK_OK(cascade_put_async(db, name, name, NULL, &chain->future));
	CHECK_OK(cascade_future_on_done(chain->future, next_link, chain));
}

static void wait_for_chain(cascade *db, struct chain *chain)
{
	while (!atomic_load(&chain->ended))
		cascade_sleep(db, 10000);
	CHECK(chain->links == 40);
}

static void run_chains(cascade *db, void *argument)
{
	(void)argument;
	struct chain chains[5] = { 0 };
	for (unsigned i = 0; i < 5; i++)
		start_chain(db, &chains[i]);
	for (unsigned i = 0; i < 5; i++)
		wait_for_chain(db, &chains[i]);
}

static void count_call(void *context)
{
	atomic_fetch_add((_Atomic unsigned *)context, 1);
}

static void test_callbacks(void **state)
{
	(void)state;
	cascade *db = open_plain();
	run_chains(db, NULL);
	CHECK_OK(cascade_run(db, cascade_string("a"), run_chains, NULL));
	/* One for each future, at once if it is done. */
	_Atomic unsigned calls = 0;
	cascade_future *future;
	CHECK_OK(cascade_put_async(db, cascade_string("k"), cascade_string("v"), NULL, &future));
	while (!cascade_future_done(future))
		sched_yield();
	CHECK_OK(cascade_future_on_done(future, count_call, &calls));
	CHECK(atomic_load(&calls) == 1);
	CHECK_STATUS(cascade_future_on_done(future, count_call, &calls), CASCADE_INVALID);
	CHECK_OK(cascade_future_wait(future));
	CHECK_OK(cascade_close(db));
}

/* --- cancels --- */

struct blocker {
	_Atomic bool blocks, open;
	cascade_future *future;
};

/* Keeps its shard, which no task ought to. */
static void block_shard(cascade *db, void *argument)
{
	struct blocker *blocker = argument;
	(void)db;
	atomic_store(&blocker->blocks, true);
	while (!atomic_load(&blocker->open))
		sched_yield();
}

static void block(cascade *db, uint32_t shard, struct blocker *blocker)
{
	*blocker = (struct blocker) { .open = false };
	CHECK_OK(cascade_run_async(db, shard, block_shard, blocker, &blocker->future));
	while (!atomic_load(&blocker->blocks))
		sched_yield();
}

static void unblock(struct blocker *blocker)
{
	atomic_store(&blocker->open, true);
	CHECK_OK(cascade_future_wait(blocker->future));
}

static void test_cancel_of_what_has_not_begun(void **state)
{
	(void)state;
	cascade *db = open_plain();
	struct blocker blocker;
	cascade_future *puts[2], *get;
	cascade_value value;
	_Atomic unsigned calls = 0;
	put(db, "a", "old");
	block(db, cascade_shard_of(db, cascade_string("a")), &blocker);
	CHECK_OK(cascade_put_async(db, cascade_string("a"), cascade_string("new"), NULL, &puts[0]));
	CHECK_OK(cascade_get_async(db, cascade_string("a"), NULL, &value, &get));
	CHECK_OK(cascade_put_async(db, cascade_string("a"), cascade_string("newer"), NULL, &puts[1]));
	CHECK_OK(cascade_future_on_done(puts[0], count_call, &calls));
	for (unsigned i = 0; i < 2; i++)
		CHECK_OK(cascade_future_cancel(puts[i]));
	CHECK_STATUS(cascade_close(db), CASCADE_BUSY);
	CHECK(!cascade_future_done(puts[0]) && !cascade_future_done(get));
	unblock(&blocker);
	for (unsigned i = 0; i < 2; i++)
		CHECK_STATUS(cascade_future_wait(puts[i]), CASCADE_CANCELED);
	CHECK_OK(cascade_future_wait(get));
	CHECK(value_is(&value, "old"));
	cascade_value_release(&value);
	/* What is done stays done. */
	CHECK_OK(cascade_put_async(db, cascade_string("a"), cascade_string("newest"), NULL, &puts[0]));
	while (!cascade_future_done(puts[0]))
		sched_yield();
	CHECK_OK(cascade_future_cancel(puts[0]));
	CHECK_OK(cascade_future_wait(puts[0]));
	check_value(db, "a", "newest");
	CHECK_OK(cascade_close(db));
	CHECK(atomic_load(&calls) == 1);
}

struct sleeper {
	_Atomic bool begun;
	bool was_canceled;
};

static void sleep_long(cascade *db, void *argument)
{
	struct sleeper *sleeper = argument;
	atomic_store(&sleeper->begun, true);
	while (!cascade_canceled(db))
		cascade_sleep(db, (uint64_t)3600 * 1000 * 1000 * 1000);
	sleeper->was_canceled = true;
	/* Later sleeps are as ever. */
	uint64_t before = now_ns();
	cascade_sleep(db, 1000 * 1000);
	CHECK(now_ns() - before >= 1000 * 1000);
}

static void cancel_from_task(cascade *db, void *argument)
{
	(void)argument;
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		struct sleeper sleeper = { .begun = false };
		cascade_future *future;
		CHECK_OK(cascade_run_async(db, shard, sleep_long, &sleeper, &future));
		while (!atomic_load(&sleeper.begun))
			cascade_yield(db);
		CHECK_OK(cascade_future_cancel(future));
		CHECK_OK(cascade_future_wait(future));
		CHECK(sleeper.was_canceled);
	}
	/* One of the own shard has not begun. */
	struct sleeper sleeper = { .begun = false };
	cascade_future *future, *write;
	uint32_t here = cascade_shard_of(db, cascade_string("here"));
	CHECK_OK(cascade_run_async(db, here, sleep_long, &sleeper, &future));
	CHECK_OK(cascade_future_cancel(future));
	CHECK_STATUS(cascade_future_wait(future), CASCADE_CANCELED);
	CHECK(!atomic_load(&sleeper.begun));
	/* Nor has a write to another one. */
	char name[16];
	unsigned i = 0;
	while (cascade_shard_of(db, key_of(i, name)) == here)
		i++;
	CHECK_OK(cascade_put_async(db, cascade_string(name), cascade_string("v"), NULL, &write));
	CHECK_OK(cascade_future_cancel(write));
	CHECK_STATUS(cascade_future_wait(write), CASCADE_CANCELED);
	check_absent(db, name);
}

static void test_cancel_of_functions(void **state)
{
	(void)state;
	cascade *db = open_plain();
	struct sleeper sleeper = { .begun = false };
	cascade_future *future;
	CHECK_OK(cascade_run_async(db, 1, sleep_long, &sleeper, &future));
	while (!atomic_load(&sleeper.begun))
		sched_yield();
	CHECK_OK(cascade_future_cancel(future));
	CHECK_OK(cascade_future_wait(future));
	CHECK(sleeper.was_canceled);
	CHECK_OK(cascade_run(db, cascade_string("here"), cancel_from_task, NULL));
	CHECK_OK(cascade_close(db));
}

/* A future form says BUSY where a blocking form would wait. */
static void test_full_inbox_is_busy(void **state)
{
	(void)state;
	enum { TRIES = 5000 };
	static cascade_future *futures[TRIES];
	cascade *db = open_plain();
	struct blocker blocker;
	cascade_slice key = cascade_string("k");
	block(db, cascade_shard_of(db, key), &blocker);
	unsigned started = 0;
	cascade_status status = CASCADE_OK;
	while (started < TRIES && status == CASCADE_OK) {
		status = cascade_put_async(db, key, key, NULL, &futures[started]);
		started += status == CASCADE_OK;
	}
	CHECK_STATUS(status, CASCADE_BUSY);
	CHECK(started > 100 && strlen(cascade_error_message()) > 0);
	unblock(&blocker);
	for (unsigned i = 0; i < started; i++)
		CHECK_OK(cascade_future_wait(futures[i]));
	check_value(db, "k", "k");
	CHECK_OK(cascade_close(db));
}

/* A task's future is its shard's. */
static void leave_future(cascade *db, void *argument)
{
	CHECK_OK(cascade_put_async(db, cascade_string("left"), cascade_string("x"), NULL, argument));
}

static void take_future(cascade *db, void *argument)
{
	(void)db;
	CHECK_OK(cascade_future_wait(*(cascade_future **)argument));
}

static void test_a_tasks_future_is_its_shards(void **state)
{
	(void)state;
	cascade *db = open_plain();
	cascade_future *future, *taken;
	_Atomic unsigned calls = 0;
	CHECK_OK(cascade_run_async(db, 0, leave_future, &future, &taken));
	CHECK_OK(cascade_future_wait(taken));
	CHECK_STATUS(cascade_future_wait(future), CASCADE_INVALID);
	CHECK_STATUS(cascade_future_cancel(future), CASCADE_INVALID);
	CHECK_STATUS(cascade_future_on_done(future, count_call, &calls), CASCADE_INVALID);
	CHECK_STATUS(cascade_close(db), CASCADE_BUSY);
	CHECK_OK(cascade_run_async(db, 0, take_future, &future, &taken));
	CHECK_OK(cascade_future_wait(taken));
	CHECK_OK(cascade_close(db));
}

/* --- what a future says is what happened --- */

enum { ACTORS = 4, OWN_KEYS = 40, AT_ONCE = 8, ROUNDS = SANITIZED ? 150 : 600 };

struct actor {
	cascade *db;
	unsigned number;
	uint64_t versions[OWN_KEYS]; /* 0: absent */
	unsigned canceled;
	pthread_t thread;
	cascade_future *future;
};

struct flight {
	unsigned key;
	uint64_t version; /* 0: a delete */
	bool is_get;
	char name[16];
	uint8_t bytes[700];
	cascade_value value;
	cascade_future *future;
};

static void launch(struct actor *actor, struct flight *flight, unsigned key, struct random *random)
{
	static _Atomic uint64_t versions;
	flight->key = key;
	cascade_slice name = key_of(actor->number * OWN_KEYS + key, flight->name);
	flight->is_get = random_below(random, 3) == 0;
	flight->version = random_below(random, 5) == 0 ? 0 : atomic_fetch_add(&versions, 1) + 1;
	cascade_status status;
	do {
		if (flight->is_get) {
			status = cascade_get_async(actor->db, name, NULL, &flight->value, &flight->future);
		} else if (flight->version == 0) {
			status = cascade_delete_async(actor->db, name, NULL, &flight->future);
		} else {
			memcpy(flight->bytes, &flight->version, 8);
			size_t size = 8 + random_below(random, sizeof(flight->bytes) - 8);
			status = cascade_put_async(actor->db, name, cascade_bytes(flight->bytes, size), NULL,
						   &flight->future);
		}
		if (status == CASCADE_BUSY)
			cascade_sleep(actor->db, 10000);
	} while (status == CASCADE_BUSY);
	CHECK_OK(status);
	if (random_below(random, 4) == 0)
		CHECK_OK(cascade_future_cancel(flight->future));
}

static void land(struct actor *actor, struct flight *flight)
{
	cascade_status status = cascade_future_wait(flight->future);
	uint64_t *version = &actor->versions[flight->key];
	if (status == CASCADE_CANCELED) {
		actor->canceled++;
		return;
	}
	if (!flight->is_get) {
		CHECK_OK(status);
		*version = flight->version;
		return;
	}
	CHECK_STATUS(status, *version == 0 ? CASCADE_NOT_FOUND : CASCADE_OK);
	uint64_t seen = 0;
	if (status == CASCADE_OK)
		memcpy(&seen, flight->value.data, 8);
	CHECK(seen == *version);
	cascade_value_release(&flight->value);
}

/* Different keys at the same time; so each key's history is one after the other. */
static void act(cascade *db, void *argument)
{
	struct actor *actor = argument;
	static struct flight all_flights[ACTORS][AT_ONCE];
	struct flight *flights = all_flights[actor->number];
	struct random random = random_stream(random_at(seed, actor->number));
	actor->db = db;
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned first = (unsigned)random_below(&random, OWN_KEYS);
		for (unsigned i = 0; i < AT_ONCE; i++)
			launch(actor, &flights[i], (first + i) % OWN_KEYS, &random);
		for (unsigned i = 0; i < AT_ONCE; i++)
			land(actor, &flights[i]);
	}
}

static void *act_in_thread(void *argument)
{
	struct actor *actor = argument;
	act(actor->db, actor);
	return NULL;
}

static void test_futures_tell_the_truth(void **state)
{
	(void)state;
	static struct actor actors[ACTORS];
	seed = test_seed(9300);
	cascade *db = open_plain();
	for (unsigned i = 0; i < ACTORS; i++) {
		actors[i] = (struct actor) { .db = db, .number = i };
		if (i % 2 == 0)
			CHECK(pthread_create(&actors[i].thread, NULL, act_in_thread, &actors[i]) == 0);
		else
			CHECK_OK(cascade_run_async(db, i / 2 % SHARDS, act, &actors[i], &actors[i].future));
	}
	unsigned canceled = 0;
	for (unsigned i = 0; i < ACTORS; i++) {
		if (i % 2 == 0)
			CHECK(pthread_join(actors[i].thread, NULL) == 0);
		else
			CHECK_OK(cascade_future_wait(actors[i].future));
		canceled += actors[i].canceled;
	}
	CHECK(canceled > 0);
	CHECK(stat_of(db, "flushes") > 0);
	CHECK_OK(cascade_close(db));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_everything),
		TEST(test_wrong_arguments),
		TEST(test_callbacks),
		TEST(test_cancel_of_what_has_not_begun),
		TEST(test_cancel_of_functions),
		TEST(test_full_inbox_is_busy),
		TEST(test_a_tasks_future_is_its_shards),
		TEST(test_futures_tell_the_truth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
