#include "harness/verify.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "harness/generator.h"
#include "harness/value.h"
#include "test.h"

enum { VALUE_BYTES = 40, CLIENTS = 6, SCAN_MAX = 100 };

static struct workload workload = {
	.value_size = VALUE_BYTES,
	.seed = 42,
	.insert_order = INSERT_HASHED,
};

struct world {
	struct verifier *verifier;
	struct value_maker *maker;
};

static struct world world_make(uint64_t value_size)
{
	struct world world;
	workload.value_size = value_size;
	assert_ok(verifier_create(&workload, &world.verifier));
	assert_ok(verifier_begin_phase(world.verifier, CLIENTS, SCAN_MAX));
	assert_ok(value_maker_create(workload.seed, workload.compressibility, &world.maker));
	return world;
}

static void world_free(struct world *world)
{
	verifier_destroy(world->verifier);
	value_maker_free(world->maker);
}

static uint32_t put(struct world *world, uint64_t key)
{
	struct verify_write write;
	uint32_t version = verify_write_begin(world->verifier, 0, key, false, &write);
	verify_write_end(world->verifier, 0, &write, true);
	return version;
}

static void remove_key(struct world *world, uint64_t key)
{
	struct verify_write write;
	verify_write_begin(world->verifier, 0, key, true, &write);
	verify_write_end(world->verifier, 0, &write, true);
}

static bool value_passes(struct world *world, const struct verify_read *read, uint32_t version)
{
	uint8_t value[1000];
	value_make(world->maker, read->key_number, version, value, workload.value_size);
	return verify_read_value(world->verifier, 1, read, slice_make(value, workload.value_size));
}

static bool reads_version(struct world *world, uint64_t key, uint32_t version)
{
	struct verify_read read;
	verify_read_begin(world->verifier, key, &read);
	return value_passes(world, &read, version);
}

static bool reads_nothing(struct world *world, uint64_t key)
{
	struct verify_read read;
	verify_read_begin(world->verifier, key, &read);
	return verify_read_missing(world->verifier, 1, &read);
}

static void a_quiet_key_has_one_right_answer(void **state)
{
	(void)state;
	struct world world = world_make(VALUE_BYTES);
	assert_true(reads_nothing(&world, 5));
	uint32_t first = put(&world, 5);
	assert_true(reads_version(&world, 5, first));
	assert_false(reads_nothing(&world, 5));
	uint32_t second = put(&world, 5);
	assert_true(reads_version(&world, 5, second));
	assert_false(reads_version(&world, 5, first));
	assert_false(reads_version(&world, 5, second + 1));
	struct verify_totals totals;
	verifier_totals(world.verifier, &totals);
	assert_int_equal(totals.mismatches, 3);
	assert_int_equal(totals.checked, 6);
	assert_int_equal(totals.undecided, 0);
	assert_non_null(strstr(totals.first_mismatch, "not found"));
	assert_non_null(strstr(totals.first_mismatch, "key number 5"));
	assert_ok(verifier_begin_phase(world.verifier, 2, 0));
	verifier_totals(world.verifier, &totals);
	assert_int_equal(totals.checked, 0);
	assert_string_equal(totals.first_mismatch, "");
	assert_true(reads_version(&world, 5, second));
	world_free(&world);
}

static void wrong_bytes_are_noticed(void **state)
{
	(void)state;
	struct world world = world_make(VALUE_BYTES);
	put(&world, 1);
	put(&world, 2);
	struct verify_read read;
	verify_read_begin(world.verifier, 1, &read);
	uint8_t value[VALUE_BYTES];
	value_make(world.maker, 2, 1, value, VALUE_BYTES);
	assert_false(verify_read_value(world.verifier, 1, &read, slice_make(value, VALUE_BYTES)));
	value_make(world.maker, 1, 1, value, VALUE_BYTES);
	assert_false(verify_read_value(world.verifier, 1, &read, slice_make(value, VALUE_BYTES - 1)));
	value[30] ^= 1;
	assert_false(verify_read_value(world.verifier, 1, &read, slice_make(value, VALUE_BYTES)));
	assert_false(reads_version(&world, 3, 1)); /* never written */
	assert_false(reads_version(&world, 1ull << 40, 1));
	world_free(&world);
}

static void deletes_have_their_turn(void **state)
{
	(void)state;
	struct world world = world_make(VALUE_BYTES);
	uint32_t first = put(&world, 9);
	struct verify_read early;
	verify_read_begin(world.verifier, 9, &early);
	remove_key(&world, 9);
	assert_true(verify_read_missing(world.verifier, 1, &early));
	assert_true(value_passes(&world, &early, first));
	assert_true(reads_nothing(&world, 9));
	assert_false(reads_version(&world, 9, first)); /* risen from the dead */
	uint32_t second = put(&world, 9);
	assert_false(reads_nothing(&world, 9));
	assert_true(reads_version(&world, 9, second));
	/* A delete and a put that overlap may happen in either order. */
	struct verify_write removal, update;
	verify_write_begin(world.verifier, 0, 9, true, &removal);
	uint32_t third = verify_write_begin(world.verifier, 2, 9, false, &update);
	verify_write_end(world.verifier, 2, &update, true);
	verify_write_end(world.verifier, 0, &removal, true);
	assert_true(reads_nothing(&world, 9));
	assert_true(reads_version(&world, 9, third));
	world_free(&world);
}

static void overlapping_writes_may_land_in_either_order(void **state)
{
	(void)state;
	struct world world = world_make(VALUE_BYTES);
	uint32_t base = put(&world, 4);
	struct verify_write slow, fast;
	uint32_t slow_version = verify_write_begin(world.verifier, 0, 4, false, &slow);
	uint32_t fast_version = verify_write_begin(world.verifier, 2, 4, false, &fast);
	assert_true(reads_version(&world, 4, base));
	verify_write_end(world.verifier, 2, &fast, true);
	assert_false(reads_version(&world, 4, base)); /* fast began after base was acknowledged */
	assert_true(reads_version(&world, 4, slow_version));
	assert_true(reads_version(&world, 4, fast_version));
	verify_write_end(world.verifier, 0, &slow, true);
	assert_true(reads_version(&world, 4, slow_version));
	assert_true(reads_version(&world, 4, fast_version));
	uint32_t last = put(&world, 4);
	assert_false(reads_version(&world, 4, slow_version));
	assert_false(reads_version(&world, 4, fast_version));
	assert_true(reads_version(&world, 4, last));
	world_free(&world);
}

static void a_failed_write_may_show_up_at_any_time(void **state)
{
	(void)state;
	struct world world = world_make(VALUE_BYTES);
	uint32_t base = put(&world, 4);
	struct verify_write write;
	uint32_t failed = verify_write_begin(world.verifier, 0, 4, false, &write);
	verify_write_end(world.verifier, 0, &write, false);
	assert_true(reads_version(&world, 4, base));
	assert_true(reads_version(&world, 4, failed));
	assert_false(reads_nothing(&world, 4));
	uint32_t later = 0;
	for (int i = 0; i < 10000; i++)
		later = put(&world, 4);
	assert_true(reads_version(&world, 4, failed));
	assert_true(reads_version(&world, 4, later));
	verify_write_begin(world.verifier, 0, 4, true, &write);
	verify_write_end(world.verifier, 0, &write, false);
	put(&world, 4);
	assert_true(reads_nothing(&world, 4));
	/* An insert that failed may be absent for ever. */
	verify_write_begin(world.verifier, 0, 77, false, &write);
	verify_write_end(world.verifier, 0, &write, false);
	put(&world, 77);
	assert_true(reads_nothing(&world, 77));
	world_free(&world);
}

static void versions_wrap_without_harm(void **state)
{
	(void)state;
	struct world world = world_make(VALUE_BYTES);
	struct verify_read old;
	uint32_t version = 0, before = 0;
	put(&world, 1);
	verify_read_begin(world.verifier, 1, &old);
	for (int i = 0; i < 40000; i++) {
		before = version;
		version = put(&world, 1);
		assert_true(version < 1 << 14);
		if (i % 1000 < 3 && i > 0) {
			assert_true(reads_version(&world, 1, version));
			assert_false(reads_version(&world, 1, before));
		}
	}
	/* A read that has seen two wraps go by is not judged, whatever it brings. */
	assert_true(value_passes(&world, &old, version));
	assert_true(value_passes(&world, &old, before));
	struct verify_totals totals;
	verifier_totals(world.verifier, &totals);
	assert_int_equal(totals.undecided, 2);
	world_free(&world);
}

static void a_stuck_write_stops_the_floor_only(void **state)
{
	(void)state;
	struct world world = world_make(VALUE_BYTES);
	uint32_t base = put(&world, 8);
	struct verify_write stuck;
	uint32_t stuck_version = verify_write_begin(world.verifier, 3, 8, false, &stuck);
	uint32_t version = 0;
	for (int i = 0; i < 30000; i++)
		version = put(&world, 8);
	assert_true(reads_version(&world, 8, version));
	assert_true(reads_version(&world, 8, stuck_version));
	assert_false(reads_version(&world, 8, base));
	assert_false(reads_nothing(&world, 8));
	verify_write_end(world.verifier, 3, &stuck, true);
	assert_true(reads_version(&world, 8, stuck_version));
	put(&world, 8);
	version = put(&world, 8);
	assert_true(reads_version(&world, 8, version));
	assert_false(reads_version(&world, 8, stuck_version));
	assert_false(reads_nothing(&world, 8));
	world_free(&world);
}

/* With the window full, a put and a delete carry one version: the put's end must not vouch for the key. */
static void writes_that_share_a_version_vouch_for_nothing(void **state)
{
	(void)state;
	struct world world = world_make(VALUE_BYTES);
	struct verify_write stuck, removal, update;
	put(&world, 8);
	verify_write_begin(world.verifier, 3, 8, false, &stuck);
	for (int i = 0; i < 5000; i++)
		put(&world, 8);
	verify_write_end(world.verifier, 3, &stuck, true);
	uint32_t first = verify_write_begin(world.verifier, 1, 8, true, &removal);
	uint32_t second = verify_write_begin(world.verifier, 2, 8, false, &update);
	assert_int_equal(first, second);
	verify_write_end(world.verifier, 2, &update, true);
	assert_true(reads_nothing(&world, 8));
	verify_write_end(world.verifier, 1, &removal, true);
	assert_true(reads_nothing(&world, 8));
	put(&world, 8);
	assert_false(reads_nothing(&world, 8));
	world_free(&world);
}

static void short_values_are_compared(void **state)
{
	(void)state;
	for (uint64_t size = 0; size < 12; size++) {
		struct world world = world_make(size);
		uint32_t first = put(&world, 3);
		uint32_t second = put(&world, 3);
		assert_true(reads_version(&world, 3, second));
		if (size >= 3)
			assert_false(reads_version(&world, 3, first));
		assert_false(reads_nothing(&world, 3));
		world_free(&world);
	}
	workload.value_size = VALUE_BYTES;
}

/* --- scans --- */

static bool row_passes(struct world *world, struct verify_scan *scan, uint64_t key, uint32_t version)
{
	uint8_t text[KEY_TEXT_MAX], value[VALUE_BYTES];
	size_t size = key_format(INSERT_HASHED, key, text);
	value_make(world->maker, key, version, value, VALUE_BYTES);
	return verify_scan_row(world->verifier, 1, scan, slice_make(text, size),
			       slice_make(value, VALUE_BYTES));
}

static void scan_from(struct world *world, uint64_t start, uint64_t count, struct verify_scan *scan)
{
	verify_scan_begin(world->verifier, 1, start, count, scan);
}

/* Key numbers in the order of their keys: 2 < 10 < 3 < 0 < 1. */
static const uint64_t ordered[] = { 2, 10, 3, 0, 1 };
enum { ORDERED = 5 };

/* Each key was put twice, so version 2 is the one to see; `indexed`: before the index was made. */
static struct world ordered_world(bool indexed)
{
	struct world world = world_make(VALUE_BYTES);
	for (int i = 0; i < ORDERED; i++) {
		put(&world, ordered[i]);
		put(&world, ordered[i]);
	}
	if (indexed)
		assert_ok(verifier_begin_phase(world.verifier, CLIENTS, SCAN_MAX));
	return world;
}

static uint64_t mismatches(struct world *world)
{
	struct verify_totals totals;
	verifier_totals(world->verifier, &totals);
	return totals.mismatches;
}

static void assert_accused(struct world *world, uint64_t times, const char *of)
{
	struct verify_totals totals;
	verifier_totals(world->verifier, &totals);
	assert_int_equal(totals.mismatches, times);
	if (strstr(totals.first_mismatch, of) == NULL)
		fail_msg("'%s' says nothing of '%s'", totals.first_mismatch, of);
}

static void right_scans_pass(bool indexed)
{
	struct world world = ordered_world(indexed);
	struct verify_scan scan;
	for (int from = 0; from < ORDERED; from++) {
		for (uint64_t count = 0; count < ORDERED + 2; count++) {
			scan_from(&world, ordered[from], count, &scan);
			for (uint64_t i = 0; i < count && from + (int)i < ORDERED; i++)
				assert_true(row_passes(&world, &scan, ordered[from + (int)i], 2));
			assert_true(verify_scan_end(world.verifier, 1, &scan));
		}
	}
	assert_int_equal(mismatches(&world), 0);
	world_free(&world);
}

/* One scan of all keys with one fault: the rows, 99 ending them, and what is said of it. */
static void wrong_scan_is_noticed(bool indexed, uint64_t count, const uint64_t *rows, uint64_t times,
				  const char *of)
{
	struct world world = ordered_world(indexed);
	struct verify_scan scan;
	scan_from(&world, ordered[0], count, &scan);
	for (; *rows != 99; rows++)
		(void)row_passes(&world, &scan, *rows, 2);
	(void)verify_scan_end(world.verifier, 1, &scan);
	assert_accused(&world, times, of);
	world_free(&world);
}

#define ROWS(...) ((const uint64_t[]) { __VA_ARGS__, 99 })

static void scans_are_checked(void **state)
{
	(void)state;
	for (int indexed = 0; indexed < 2; indexed++) {
		right_scans_pass(indexed);
		wrong_scan_is_noticed(indexed, 5, ROWS(2, 10, 0, 1), 1, "key number 3): missing");
		wrong_scan_is_noticed(indexed, 4, ROWS(2, 10, 0, 1), 1, "key number 3): missing");
		wrong_scan_is_noticed(indexed, 5, ROWS(10, 3, 0, 1), 1, "key number 2): missing");
		wrong_scan_is_noticed(indexed, 5, ROWS(2, 10, 3, 0), 1, "key number 1): missing");
		wrong_scan_is_noticed(indexed, 9, ROWS(2, 10), 3, "missing");
		wrong_scan_is_noticed(indexed, 5, (const uint64_t[]) { 99 }, 5, "missing");
		wrong_scan_is_noticed(indexed, 6, ROWS(2, 10, 10, 3, 0, 1), 1, "out of order");
		wrong_scan_is_noticed(indexed, 5, ROWS(2, 2, 10, 3, 0), 1, "out of order");
		wrong_scan_is_noticed(indexed, 5, ROWS(2, 3, 10, 0, 1), 2, "key number 10): missing");
		wrong_scan_is_noticed(indexed, 3, ROWS(2, 10, 3, 0), 1, "4 rows, 3 were asked for");
		wrong_scan_is_noticed(indexed, 5, ROWS(2, 10, 3, 77, 0, 1), 2, "never written");
	}
}

static void values_of_rows_are_checked(void **state)
{
	(void)state;
	struct world world = ordered_world(true);
	struct verify_scan scan;
	uint8_t value[VALUE_BYTES], key[KEY_TEXT_MAX];
	scan_from(&world, 10, 4, &scan);
	assert_false(row_passes(&world, &scan, 2, 2)); /* before the start */
	assert_true(row_passes(&world, &scan, 10, 2));
	assert_false(row_passes(&world, &scan, 3, 1)); /* overwritten before the scan began */
	assert_false(row_passes(&world, &scan, 0, 3)); /* not written yet */
	put(&world, 1);
	assert_true(row_passes(&world, &scan, 1, 2)); /* the snapshot may be older than the update */
	scan_from(&world, 10, 4, &scan);
	value_make(world.maker, 3, 2, value, VALUE_BYTES);
	size_t size = key_format(INSERT_HASHED, 10, key);
	assert_false(verify_scan_row(world.verifier, 1, &scan, slice_make(key, size),
				     slice_make(value, VALUE_BYTES))); /* another key's */
	size = key_format(INSERT_HASHED, 3, key);
	value[30] ^= 1;
	assert_false(verify_scan_row(world.verifier, 1, &scan, slice_make(key, size),
				     slice_make(value, VALUE_BYTES)));
	assert_false(verify_scan_row(world.verifier, 1, &scan, slice_make("user01", 6),
				     slice_make(value, VALUE_BYTES)));
	assert_false(verify_scan_row(world.verifier, 1, &scan, slice_make("use", 3),
				     slice_make(value, VALUE_BYTES)));
	world_free(&world);
}

static void a_row_risen_from_the_dead_is_noticed(void **state)
{
	(void)state;
	struct world world = ordered_world(true);
	struct verify_scan scan;
	remove_key(&world, 3);
	scan_from(&world, 10, 3, &scan);
	assert_true(row_passes(&world, &scan, 10, 2));
	put(&world, 9); /* what goes on elsewhere is no excuse */
	put(&world, 9);
	assert_false(row_passes(&world, &scan, 3, 2));
	assert_accused(&world, 1, "key number 3");
	/* Without it, the scan is right. */
	scan_from(&world, 10, 3, &scan);
	assert_true(row_passes(&world, &scan, 10, 2));
	assert_true(row_passes(&world, &scan, 0, 2));
	assert_true(row_passes(&world, &scan, 1, 2));
	assert_true(verify_scan_end(world.verifier, 1, &scan));
	assert_int_equal(mismatches(&world), 1);
	world_free(&world);
}

static void what_happens_during_a_scan_may_show_or_not(void **state)
{
	(void)state;
	for (int shows = 0; shows < 2; shows++) {
		struct world world = ordered_world(true);
		struct verify_write insert, removal;
		struct verify_scan scan;
		verify_write_begin(world.verifier, 0, 999, false, &insert); /* before 10 */
		scan_from(&world, 2, 10, &scan);
		verify_write_begin(world.verifier, 2, 3, true, &removal);
		uint32_t late = put(&world, 4); /* between 10 and 3 */
		assert_true(row_passes(&world, &scan, 2, 2));
		if (shows)
			assert_true(row_passes(&world, &scan, 999, 1));
		assert_true(row_passes(&world, &scan, 10, 2));
		verify_write_end(world.verifier, 0, &insert, true);
		if (shows)
			assert_true(row_passes(&world, &scan, 4, late));
		if (shows)
			assert_true(row_passes(&world, &scan, 3, 2));
		verify_write_end(world.verifier, 2, &removal, true);
		assert_true(row_passes(&world, &scan, 0, 2));
		assert_true(row_passes(&world, &scan, 1, 2));
		assert_true(verify_scan_end(world.verifier, 1, &scan));
		/* From now on there is one answer. */
		scan_from(&world, 2, 4, &scan);
		assert_true(row_passes(&world, &scan, 2, 2));
		assert_false(row_passes(&world, &scan, 10, 2)); /* steps over 999 */
		assert_false(row_passes(&world, &scan, 0, 2));	/* steps over 4, and 3 is gone */
		assert_accused(&world, 2, "key number 999");
		world_free(&world);
	}
}

/* --- all interleavings of begin, effect and end, by chance, against a model --- */

enum { MODEL_KEYS = 3, LATE_MAX = 32 };
/* The order of their keys. */
static const uint64_t model_order[MODEL_KEYS] = { 2, 0, 1 };

enum step { IDLE, BEGUN, DONE };

struct actor {
	enum step step;
	bool writes, removes, fails, scans;
	uint64_t key;
	uint32_t version;
	struct verify_write write;
	struct verify_read read;
	struct verify_scan scan;
	uint32_t seen_version[MODEL_KEYS];
	bool seen[MODEL_KEYS];
};

struct model {
	bool there[MODEL_KEYS];
	uint32_t version[MODEL_KEYS];
	/* Failed writes that have not taken effect, and may do so whenever it suits. */
	struct {
		uint64_t key;
		uint32_t version;
		bool removes;
	} late[LATE_MAX];
	size_t late_count;
};

static void actor_begin(struct world *world, struct actor *actor, uint32_t client, struct random *random,
			bool failures)
{
	actor->key = random_below(random, MODEL_KEYS);
	actor->writes = random_below(random, 3) != 0;
	actor->removes = random_below(random, 8) == 0;
	actor->fails = failures && random_below(random, 400) == 0;
	actor->scans = random_below(random, 3) == 0;
	actor->step = BEGUN;
	if (actor->writes)
		actor->version = verify_write_begin(world->verifier, client, actor->key, actor->removes,
						    &actor->write);
	else if (actor->scans)
		verify_scan_begin(world->verifier, client, actor->key, 1 + random_below(random, MODEL_KEYS),
				  &actor->scan);
	else
		verify_read_begin(world->verifier, actor->key, &actor->read);
}

static void actor_act(struct model *model, struct actor *actor)
{
	uint64_t key = actor->key;
	actor->step = DONE;
	if (!actor->writes) {
		memcpy(actor->seen, model->there, sizeof(actor->seen));
		memcpy(actor->seen_version, model->version, sizeof(actor->seen_version));
	} else if (actor->fails && model->late_count < LATE_MAX) {
		model->late[model->late_count].key = key;
		model->late[model->late_count].version = actor->version;
		model->late[model->late_count++].removes = actor->removes;
	} else {
		model->there[key] = !actor->removes;
		model->version[key] = actor->version;
	}
}

static bool actor_end_scan(struct world *world, struct actor *actor, uint32_t client)
{
	bool started = false, passed = true;
	for (int i = 0; i < MODEL_KEYS && actor->scan.rows < actor->scan.count; i++) {
		uint64_t key = model_order[i];
		uint8_t text[KEY_TEXT_MAX], value[VALUE_BYTES];
		started = started || key == actor->key;
		if (!started || !actor->seen[key])
			continue;
		size_t size = key_format(INSERT_HASHED, key, text);
		value_make(world->maker, key, actor->seen_version[key], value, VALUE_BYTES);
		passed = verify_scan_row(world->verifier, client, &actor->scan, slice_make(text, size),
					 slice_make(value, VALUE_BYTES)) &&
			 passed;
	}
	return verify_scan_end(world->verifier, client, &actor->scan) && passed;
}

static bool actor_end_read(struct world *world, struct actor *actor, uint32_t client)
{
	uint8_t value[VALUE_BYTES];
	if (!actor->seen[actor->key])
		return verify_read_missing(world->verifier, client, &actor->read);
	value_make(world->maker, actor->key, actor->seen_version[actor->key], value, VALUE_BYTES);
	return verify_read_value(world->verifier, client, &actor->read, slice_make(value, VALUE_BYTES));
}

static void actor_end(struct world *world, struct actor *actor, uint32_t client)
{
	actor->step = IDLE;
	if (actor->writes) {
		verify_write_end(world->verifier, client, &actor->write, !actor->fails);
		return;
	}
	bool passed =
		actor->scans ? actor_end_scan(world, actor, client) : actor_end_read(world, actor, client);
	if (!passed) {
		struct verify_totals totals;
		verifier_totals(world->verifier, &totals);
		fail_msg("accused wrongly: %s", totals.first_mismatch);
	}
}

static void take_effect_late(struct model *model, struct random *random)
{
	if (model->late_count == 0 || random_below(random, 50) != 0)
		return;
	size_t which = random_below(random, model->late_count);
	model->there[model->late[which].key] = !model->late[which].removes;
	model->version[model->late[which].key] = model->late[which].version;
	if (random_below(random, 2) == 0)
		model->late[which] = model->late[--model->late_count];
}

static void run_model(bool failures, uint64_t seed)
{
	struct world world = world_make(VALUE_BYTES);
	struct model model = { .late_count = 0 };
	struct actor actors[CLIENTS] = { 0 };
	struct random random = random_stream(seed);
	for (int i = 0; i < 600000; i++) {
		/* Uneven speeds: the last clients are often stuck for long. */
		uint32_t client = (uint32_t)random_below(&random, CLIENTS);
		if (client >= CLIENTS - 2 && random_below(&random, 500) != 0)
			continue;
		struct actor *actor = &actors[client];
		if (actor->step == IDLE)
			actor_begin(&world, actor, client, &random, failures);
		else if (actor->step == BEGUN)
			actor_act(&model, actor);
		else
			actor_end(&world, actor, client);
		take_effect_late(&model, &random);
	}
	struct verify_totals totals;
	verifier_totals(world.verifier, &totals);
	assert_true(totals.checked > 30000);
	if (!failures)
		assert_true(totals.undecided < totals.checked / 50);
	world_free(&world);
}

static void a_right_engine_is_never_accused(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 4; i++)
		run_model(false, test_seed(100) + i);
}

static void failures_are_no_excuse_to_accuse(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 4; i++)
		run_model(true, test_seed(200) + i);
}

/* --- real threads --- */

enum { THREAD_KEYS = 4, THREAD_OPERATIONS = 60000 };

struct cell {
	pthread_mutex_t lock;
	bool there;
	uint8_t value[VALUE_BYTES];
};

struct shared {
	struct world world;
	struct cell cells[THREAD_KEYS];
};

struct worker {
	struct shared *shared;
	uint32_t client;
};

static void work_write(struct worker *worker, uint64_t key, bool removes)
{
	struct shared *shared = worker->shared;
	struct cell *cell = &shared->cells[key];
	struct verify_write write;
	uint8_t value[VALUE_BYTES];
	uint32_t version = verify_write_begin(shared->world.verifier, worker->client, key, removes, &write);
	value_make(shared->world.maker, key, version, value, VALUE_BYTES);
	pthread_mutex_lock(&cell->lock);
	cell->there = !removes;
	memcpy(cell->value, value, VALUE_BYTES);
	pthread_mutex_unlock(&cell->lock);
	verify_write_end(shared->world.verifier, worker->client, &write, true);
}

static void work_read(struct worker *worker, uint64_t key)
{
	struct shared *shared = worker->shared;
	struct cell *cell = &shared->cells[key];
	struct verify_read read;
	uint8_t value[VALUE_BYTES];
	verify_read_begin(shared->world.verifier, key, &read);
	pthread_mutex_lock(&cell->lock);
	bool there = cell->there;
	memcpy(value, cell->value, VALUE_BYTES);
	pthread_mutex_unlock(&cell->lock);
	if (there)
		verify_read_value(shared->world.verifier, worker->client, &read,
				  slice_make(value, VALUE_BYTES));
	else
		verify_read_missing(shared->world.verifier, worker->client, &read);
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct random random = random_stream(worker->client);
	for (int i = 0; i < THREAD_OPERATIONS; i++) {
		uint64_t key = random_below(&random, 2) == 0 ? 0 : random_below(&random, THREAD_KEYS);
		if (random_below(&random, 2) == 0)
			work_read(worker, key);
		else
			work_write(worker, key, random_below(&random, 16) == 0);
	}
	return NULL;
}

static void threads_are_never_accused(void **state)
{
	(void)state;
	struct shared shared = { .world = world_make(VALUE_BYTES) };
	pthread_t threads[CLIENTS];
	struct worker workers[CLIENTS];
	for (int i = 0; i < THREAD_KEYS; i++)
		pthread_mutex_init(&shared.cells[i].lock, NULL);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		workers[i] = (struct worker) { .shared = &shared, .client = i };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (uint32_t i = 0; i < CLIENTS; i++)
		pthread_join(threads[i], NULL);
	struct verify_totals totals;
	verifier_totals(shared.world.verifier, &totals);
	assert_string_equal(totals.first_mismatch, "");
	assert_int_equal(totals.mismatches, 0);
	assert_true(totals.checked > CLIENTS * THREAD_OPERATIONS / 3);
	/* Once quiet, one more write leaves exactly one answer. */
	uint32_t version = put(&shared.world, 0);
	assert_true(reads_version(&shared.world, 0, version));
	assert_false(reads_version(&shared.world, 0, (version - 1) & 0x3fff));
	for (int i = 0; i < THREAD_KEYS; i++)
		pthread_mutex_destroy(&shared.cells[i].lock);
	world_free(&shared.world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quiet_key_has_one_right_answer),
		cmocka_unit_test(wrong_bytes_are_noticed),
		cmocka_unit_test(deletes_have_their_turn),
		cmocka_unit_test(overlapping_writes_may_land_in_either_order),
		cmocka_unit_test(a_failed_write_may_show_up_at_any_time),
		cmocka_unit_test(versions_wrap_without_harm),
		cmocka_unit_test(a_stuck_write_stops_the_floor_only),
		cmocka_unit_test(writes_that_share_a_version_vouch_for_nothing),
		cmocka_unit_test(short_values_are_compared),
		cmocka_unit_test(scans_are_checked),
		cmocka_unit_test(values_of_rows_are_checked),
		cmocka_unit_test(a_row_risen_from_the_dead_is_noticed),
		cmocka_unit_test(what_happens_during_a_scan_may_show_or_not),
		cmocka_unit_test(a_right_engine_is_never_accused),
		cmocka_unit_test(failures_are_no_excuse_to_accuse),
		cmocka_unit_test(threads_are_never_accused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
