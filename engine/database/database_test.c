/*
 * database_test.c: the whole engine behind cascade.h against a model, from threads and from tasks; limits;
 * opening and closing. Damage to files has its own program (damage_test.c). Takes about 15 s.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <time.h>

#include "database/database_test.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOW_BUILD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SLOW_BUILD 1
#endif
#endif
#ifndef SLOW_BUILD
#define SLOW_BUILD 0
#endif

static char place[PATH_BYTES];

static int set_up(void **state)
{
	(void)state;
	seed = 0;
	make_place(place);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	remove_place(place);
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec time;
	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* --- the model: for each key the number of its newest version; 0: not there --- */

enum { KEYS = 600, SNAPSHOTS = 5, KEY_MAX = 300, VALUE_MAX = 40000 };

struct model_snapshot {
	cascade_snapshot *handle; /* NULL: none is taken */
	uint32_t versions[KEYS];
};

struct model {
	cascade *db;
	const struct setup *setup;
	struct random random;
	uint8_t keys[KEYS][KEY_MAX]; /* in order */
	uint32_t key_sizes[KEYS];
	uint32_t versions[KEYS];
	uint32_t next_version;
	struct model_snapshot snapshots[SNAPSHOTS];
	uint8_t value[VALUE_MAX];
	uint64_t operations;
};

static int compare_keys(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
	int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
	return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* Keys of all kinds: empty, binary, long, the prefix of another. */
static void model_keys(struct model *model)
{
	for (unsigned i = 0; i < KEYS; i++) {
		uint8_t key[KEY_MAX];
		size_t size;
		unsigned at;
		do {
			switch (random_below(&model->random, 4)) {
			case 0:
				size = random_below(&model->random, 4);
				for (size_t b = 0; b < size; b++)
					key[b] = (uint8_t)random_next(&model->random);
				break;
			case 1:
				size = 200 + random_below(&model->random, KEY_MAX - 200);
				memset(key, 'l', size);
				key[random_below(&model->random, size)] =
					(uint8_t)random_next(&model->random);
				break;
			default:
				size = (size_t)snprintf(
					(char *)key, sizeof(key), "user%08llu",
					(unsigned long long)random_below(&model->random, 5000));
			}
			if (i == 0)
				size = 0;
			for (at = 0; at < i; at++) {
				if (compare_keys(key, size, model->keys[at], model->key_sizes[at]) <= 0)
					break;
			}
		} while (at < i && compare_keys(key, size, model->keys[at], model->key_sizes[at]) == 0);
		memmove(model->keys[at + 1], model->keys[at], (i - at) * sizeof(model->keys[0]));
		memmove(&model->key_sizes[at + 1], &model->key_sizes[at],
			(i - at) * sizeof(model->key_sizes[0]));
		memcpy(model->keys[at], key, size);
		model->key_sizes[at] = (uint32_t)size;
	}
}

static cascade_slice key_of(const struct model *model, unsigned key)
{
	return cascade_bytes(model->keys[key], model->key_sizes[key]);
}

/* The bytes of a version, always the same: mostly short, some long, half of them compressible. */
static size_t make_value(uint8_t *to, uint32_t version)
{
	uint64_t shape = random_at(77, version);
	size_t size = shape % 97 == 0 ? shape % VALUE_MAX : shape % 7 == 0 ? shape % 5000 : shape % 600;
	for (size_t i = 0; i < size; i++)
		to[i] = (uint8_t)(i % 16 < 8 ? version >> (i % 4 * 8) : random_at(version, i / 8) >> (i % 8));
	return size;
}

static void check_is_version(struct model *model, const void *data, size_t size, uint32_t version)
{
	size_t expected = make_value(model->value, version);
	CHECK(size == expected);
	CHECK(size == 0 || memcmp(data, model->value, size) == 0);
}

static cascade_write_options random_durability(struct model *model)
{
	cascade_write_options options = { .durability = CASCADE_DURABILITY_DEFAULT };
	bool logged = model->setup->durability == NULL || strcmp(model->setup->durability, "memory") != 0;
	uint64_t draw = random_below(&model->random, 40);
	if (logged && draw == 0)
		options.durability = CASCADE_DURABILITY_POWER;
	else if (logged && draw < 4)
		options.durability = CASCADE_DURABILITY_PROCESS;
	else if (draw < 6)
		options.durability = CASCADE_DURABILITY_MEMORY;
	return options;
}

/* --- steps --- */

static void step_put(struct model *model)
{
	unsigned key = (unsigned)random_below(&model->random, KEYS);
	uint32_t version = ++model->next_version;
	size_t size = make_value(model->value, version);
	cascade_write_options options = random_durability(model);
	CHECK_OK(cascade_put(model->db, key_of(model, key), cascade_bytes(model->value, size), &options));
	model->versions[key] = version;
}

static void step_delete(struct model *model)
{
	unsigned key = (unsigned)random_below(&model->random, KEYS);
	/* At times a whole stretch of keys. */
	unsigned count = random_below(&model->random, 20) == 0 ? 40 : 1;
	for (; count > 0 && key < KEYS; count--, key++) {
		cascade_write_options options = random_durability(model);
		CHECK_OK(cascade_delete(model->db, key_of(model, key), &options));
		model->versions[key] = 0;
	}
}

static void step_batch(struct model *model)
{
	cascade_batch *batch;
	static const unsigned sizes[] = { 0, 1, 2, 5, 30, 200 };
	unsigned count = sizes[random_below(&model->random, 6)];
	uint32_t changed[KEYS];
	bool touched[KEYS] = { false };
	size_t distinct = 0;
	uint32_t shard = (uint32_t)random_below(&model->random, cascade_shard_count(model->db));
	CHECK_OK(cascade_batch_create(&batch));
	for (unsigned i = 0; i < count; i++) {
		unsigned key = (unsigned)random_below(&model->random, KEYS);
		if (cascade_shard_of(model->db, key_of(model, key)) != shard)
			continue;
		if (random_below(&model->random, 4) == 0) {
			CHECK_OK(cascade_batch_delete(batch, key_of(model, key)));
			changed[key] = 0;
		} else {
			uint32_t version = ++model->next_version;
			size_t size = make_value(model->value, version);
			if (size > 1000)
				continue;
			CHECK_OK(cascade_batch_put(batch, key_of(model, key),
						   cascade_bytes(model->value, size)));
			changed[key] = version;
		}
		distinct += !touched[key];
		touched[key] = true;
		CHECK(cascade_batch_count(batch) == distinct);
	}
	cascade_write_options options = random_durability(model);
	CHECK_OK(cascade_write(model->db, batch, &options));
	CHECK(cascade_batch_count(batch) == distinct);
	for (unsigned key = 0; key < KEYS; key++) {
		if (touched[key])
			model->versions[key] = changed[key];
	}
	cascade_batch_destroy(batch);
}

/* A batch over two shards is refused, and nothing of it happens. */
static void step_batch_across(struct model *model)
{
	unsigned first = (unsigned)random_below(&model->random, KEYS);
	unsigned second = (unsigned)random_below(&model->random, KEYS);
	if (cascade_shard_of(model->db, key_of(model, first)) ==
	    cascade_shard_of(model->db, key_of(model, second)))
		return;
	cascade_batch *batch;
	CHECK_OK(cascade_batch_create(&batch));
	CHECK_OK(cascade_batch_put(batch, key_of(model, first), cascade_string("half")));
	CHECK_OK(cascade_batch_delete(batch, key_of(model, second)));
	CHECK_STATUS(cascade_write(model->db, batch, NULL), CASCADE_UNSUPPORTED);
	cascade_batch_destroy(batch);
}

/* The versions that a random view sees: the newest, or one of the snapshots. */
static const uint32_t *random_view(struct model *model, const cascade_snapshot **snapshot)
{
	const struct model_snapshot *chosen = &model->snapshots[random_below(&model->random, SNAPSHOTS)];
	*snapshot = NULL;
	if (chosen->handle == NULL || random_below(&model->random, 2) == 0)
		return model->versions;
	*snapshot = chosen->handle;
	return chosen->versions;
}

static void step_get(struct model *model)
{
	cascade_read_options options = { 0 };
	const uint32_t *versions = random_view(model, &options.snapshot);
	unsigned key = (unsigned)random_below(&model->random, KEYS);
	cascade_value value;
	cascade_status status = cascade_get(model->db, key_of(model, key), &options, &value);
	if (versions[key] == 0) {
		CHECK_STATUS(status, CASCADE_NOT_FOUND);
		return;
	}
	CHECK_OK(status);
	check_is_version(model, value.data, value.size, versions[key]);
	cascade_value_release(&value);
	cascade_value_release(&value);
}

/* Keys that are in no model are never there. */
static void step_get_absent(struct model *model)
{
	char key[40];
	cascade_value value;
	(void)snprintf(key, sizeof(key), "user%08llux",
		       (unsigned long long)random_below(&model->random, 5000));
	CHECK_STATUS(cascade_get(model->db, cascade_string(key), NULL, &value), CASCADE_NOT_FOUND);
}

static unsigned next_present(const uint32_t *versions, unsigned key, unsigned end)
{
	while (key < end && versions[key] == 0)
		key++;
	return key;
}

static void check_stands_on(struct model *model, const cascade_iterator *iterator, const uint32_t *versions,
			    unsigned key)
{
	CHECK(cascade_iterator_valid(iterator));
	cascade_slice found = cascade_iterator_key(iterator);
	cascade_slice value = cascade_iterator_value(iterator);
	CHECK(compare_keys(found.data, found.size, model->keys[key], model->key_sizes[key]) == 0);
	check_is_version(model, value.data, value.size, versions[key]);
}

/* Walks from a seek to the end, or for some rows; `versions` is what the iterator must see. */
static void walk(struct model *model, cascade_iterator *iterator, const uint32_t *versions, unsigned lower,
		 unsigned upper)
{
	unsigned from = (unsigned)random_below(&model->random, KEYS);
	unsigned rows =
		random_below(&model->random, 3) == 0 ? KEYS : (unsigned)random_below(&model->random, 40);
	if (random_below(&model->random, 3) == 0) {
		from = lower;
		CHECK_OK(cascade_iterator_seek_first(iterator));
	} else {
		CHECK_OK(cascade_iterator_seek(iterator, key_of(model, from)));
	}
	unsigned at = next_present(versions, from < lower ? lower : from, upper);
	for (; rows > 0 && at < upper; rows--) {
		check_stands_on(model, iterator, versions, at);
		CHECK_OK(cascade_iterator_next(iterator));
		at = next_present(versions, at + 1, upper);
	}
	if (at < upper) {
		check_stands_on(model, iterator, versions, at);
		return;
	}
	CHECK(!cascade_iterator_valid(iterator));
	CHECK_OK(cascade_iterator_status(iterator));
	CHECK_STATUS(cascade_iterator_next(iterator), CASCADE_INVALID);
}

static void step_iterate(struct model *model)
{
	cascade_iterator_options options = { 0 };
	const uint32_t *versions = random_view(model, &options.snapshot);
	unsigned lower = 0;
	unsigned upper = KEYS;
	if (random_below(&model->random, 2) == 0) {
		lower = (unsigned)random_below(&model->random, KEYS);
		options.lower = key_of(model, lower);
	}
	if (random_below(&model->random, 2) == 0) {
		upper = (unsigned)random_below(&model->random, KEYS);
		options.upper = key_of(model, upper);
		options.has_upper = true;
	}
	if (random_below(&model->random, 2) == 0)
		options.rows_hint = random_below(&model->random, 100);
	cascade_iterator *iterator;
	uint32_t seen[KEYS];
	memcpy(seen, versions, sizeof(seen));
	CHECK_OK(cascade_iterator_create(model->db, &options, &iterator));
	CHECK(!cascade_iterator_valid(iterator));
	/* What is written now the iterator must not see. */
	for (unsigned i = (unsigned)random_below(&model->random, 4); i > 0; i--) {
		walk(model, iterator, seen, lower, upper);
		step_put(model);
		step_delete(model);
	}
	cascade_iterator_destroy(iterator);
}

static void step_snapshot(struct model *model)
{
	struct model_snapshot *snapshot = &model->snapshots[random_below(&model->random, SNAPSHOTS)];
	if (snapshot->handle != NULL) {
		cascade_snapshot_release(snapshot->handle);
		snapshot->handle = NULL;
		return;
	}
	CHECK_OK(cascade_snapshot_create(model->db, &snapshot->handle));
	memcpy(snapshot->versions, model->versions, sizeof(snapshot->versions));
}

static void step_upkeep(struct model *model)
{
	switch (random_below(&model->random, 8)) {
	case 0:
		CHECK_OK(cascade_flush(model->db));
		break;
	case 1:
		CHECK_OK(cascade_wait_idle(model->db));
		break;
	case 2:
		CHECK_OK(cascade_verify(model->db));
		break;
	default:
		CHECK(stat_of(model->db, "shards") == model->setup->shards);
	}
}

static void model_step(struct model *model)
{
	uint64_t draw = random_below(&model->random, 1000);
	model->operations++;
	if (draw < 420)
		step_put(model);
	else if (draw < 500)
		step_delete(model);
	else if (draw < 560)
		step_batch(model);
	else if (draw < 570)
		step_batch_across(model);
	else if (draw < 910)
		step_get(model);
	else if (draw < 940)
		step_get_absent(model);
	else if (draw < 965)
		step_iterate(model);
	else if (draw < 990)
		step_snapshot(model);
	else
		step_upkeep(model);
}

enum { STEPS_A_CHUNK = 150 };

static void model_chunk(cascade *db, void *argument)
{
	struct model *model = argument;
	CHECK(db == model->db);
	for (unsigned i = 0; i < STEPS_A_CHUNK; i++)
		model_step(model);
}

/* Everything that should be there, and nothing else. */
static void model_check_all(struct model *model)
{
	cascade_iterator *iterator;
	CHECK_OK(cascade_iterator_create(model->db, NULL, &iterator));
	CHECK_OK(cascade_iterator_seek_first(iterator));
	for (unsigned key = next_present(model->versions, 0, KEYS); key < KEYS;
	     key = next_present(model->versions, key + 1, KEYS)) {
		check_stands_on(model, iterator, model->versions, key);
		CHECK_OK(cascade_iterator_next(iterator));
	}
	CHECK(!cascade_iterator_valid(iterator));
	cascade_iterator_destroy(iterator);
}

static void model_release(struct model *model)
{
	for (unsigned i = 0; i < SNAPSHOTS; i++) {
		cascade_snapshot_release(model->snapshots[i].handle);
		model->snapshots[i].handle = NULL;
	}
}

static void model_reopen(struct model *model)
{
	model_release(model);
	CHECK_OK(cascade_close(model->db));
	CHECK_OK(open_small(place, model->setup, &model->db));
	CHECK(stat_of(model->db, "open.replayed_commits") == 0);
	model_check_all(model);
}

/* Chunks of steps from this thread and from tasks of any shard, for a while. */
static void run_model(const struct setup *setup, uint64_t fixed_seed, uint64_t for_ns)
{
	seed = test_seed(fixed_seed);
	struct model *model = calloc(1, sizeof(*model) + sizeof(model->keys[0]));
	CHECK(model != NULL);
	model->setup = setup;
	model->random = random_stream(seed);
	model_keys(model);
	CHECK_OK(open_small(place, setup, &model->db));
	uint64_t end_ns = now_ns() + for_ns;
	unsigned chunks = 0;
	for (; now_ns() < end_ns || chunks < 8; chunks++) {
		if (random_below(&model->random, 2) == 0)
			model_chunk(model->db, model);
		else
			CHECK_OK(cascade_run(model->db,
					     key_of(model, (unsigned)random_below(&model->random, KEYS)),
					     model_chunk, model));
		if (chunks % 12 == 7)
			model_reopen(model);
	}
	model_check_all(model);
	CHECK_OK(cascade_verify(model->db));
	print_message("%s, %u shards: %llu steps, %llu flushes and %llu merges since the last open\n",
		      setup->io, setup->shards, (unsigned long long)model->operations,
		      (unsigned long long)stat_of(model->db, "flushes"),
		      (unsigned long long)stat_of(model->db, "merges"));
	model_release(model);
	CHECK_OK(cascade_close(model->db));
	free(model);
}

#define MODEL_NS 1000000000ull

static void test_model_uring_1(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .io = "uring" };
	run_model(&setup, 301, MODEL_NS);
}

static void test_model_uring_2(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2,
				     .io = "uring",
				     .extra = { { "codec.kind", "none" }, { "table.block_size", "1 KiB" } } };
	run_model(&setup, 302, MODEL_NS);
}

static void test_model_uring_4(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 4, .io = "uring", .extra = { { "io.direct", "false" } } };
	run_model(&setup, 303, MODEL_NS);
}

static void test_model_posix_1(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .io = "posix", .durability = "memory" };
	run_model(&setup, 304, MODEL_NS);
}

static void test_model_posix_2(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2,
				     .io = "posix",
				     .extra = { { "table.block_size", "64 KiB" } } };
	run_model(&setup, 305, MODEL_NS);
}

static void test_model_posix_4(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 4, .io = "posix", .durability = "power" };
	run_model(&setup, 306, MODEL_NS);
}

/* --- many callers at once: threads and tasks, each with keys of its own, and pairs that all look at --- */

enum { CALLERS_MAX = 12, OWN_KEYS = 60, PAIRS = 4 };

struct caller {
	cascade *db;
	unsigned number;
	unsigned rounds;
	struct random random;
	uint32_t versions[OWN_KEYS];
	char pairs[PAIRS][2][40]; /* keys of one shard, always written together with one value */
	pthread_t thread;
	cascade_future *future;
};

static cascade_slice own_key(const struct caller *caller, unsigned key, char text[40])
{
	(void)snprintf(text, 40, "caller%02u-%04u", caller->number, key);
	return cascade_string(text);
}

static size_t own_value(const struct caller *caller, uint32_t version, char text[600])
{
	size_t size = (size_t)snprintf(text, 600, "%u:%u:", caller->number, version);
	size_t end = size + random_at(caller->number, version) % 500;
	memset(text + size, 'a' + (int)(version % 26), end - size);
	return end;
}

static void caller_check(struct caller *caller, unsigned key)
{
	char text[40];
	char expected[600];
	cascade_value value;
	cascade_status status = cascade_get(caller->db, own_key(caller, key, text), NULL, &value);
	if (caller->versions[key] == 0) {
		CHECK_STATUS(status, CASCADE_NOT_FOUND);
		return;
	}
	CHECK_OK(status);
	CHECK(value.size == own_value(caller, caller->versions[key], expected));
	CHECK(memcmp(value.data, expected, value.size) == 0);
	cascade_value_release(&value);
}

static void caller_write_pair(struct caller *caller)
{
	cascade_batch *batch;
	const char(*pair)[40] = caller->pairs[random_below(&caller->random, PAIRS)];
	char value[40];
	(void)snprintf(value, sizeof(value), "%u-%llu", caller->number,
		       (unsigned long long)random_next(&caller->random));
	CHECK_OK(cascade_batch_create(&batch));
	CHECK_OK(cascade_batch_put(batch, cascade_string(pair[0]), cascade_string(value)));
	CHECK_OK(cascade_batch_put(batch, cascade_string(pair[1]), cascade_string(value)));
	CHECK_OK(cascade_write(caller->db, batch, NULL));
	cascade_batch_destroy(batch);
}

/* Under one snapshot both keys of a pair have the same value, whoever writes meanwhile. */
static void caller_read_pair(struct caller *caller)
{
	const char(*pair)[40] = caller->pairs[random_below(&caller->random, PAIRS)];
	cascade_snapshot *snapshot;
	CHECK_OK(cascade_snapshot_create(caller->db, &snapshot));
	cascade_read_options options = { .snapshot = snapshot };
	cascade_value left, right;
	cascade_status status = cascade_get(caller->db, cascade_string(pair[0]), &options, &left);
	cascade_yield(caller->db);
	CHECK_STATUS(cascade_get(caller->db, cascade_string(pair[1]), &options, &right), status);
	if (status == CASCADE_OK) {
		CHECK(left.size == right.size && memcmp(left.data, right.data, left.size) == 0);
		cascade_value_release(&left);
		cascade_value_release(&right);
	}
	cascade_snapshot_release(snapshot);
}

static void caller_scan(struct caller *caller)
{
	char lower[40], upper[40], text[40], expected[600];
	cascade_iterator_options options = { .lower = own_key(caller, 0, lower),
					     .upper = own_key(caller, 9999, upper),
					     .has_upper = true };
	cascade_iterator *iterator;
	CHECK_OK(cascade_iterator_create(caller->db, &options, &iterator));
	CHECK_OK(cascade_iterator_seek_first(iterator));
	for (unsigned key = 0; key < OWN_KEYS; key++) {
		if (caller->versions[key] == 0)
			continue;
		CHECK(cascade_iterator_valid(iterator));
		cascade_slice found = cascade_iterator_key(iterator);
		cascade_slice wanted = own_key(caller, key, text);
		CHECK(found.size == wanted.size && memcmp(found.data, wanted.data, wanted.size) == 0);
		cascade_slice value = cascade_iterator_value(iterator);
		CHECK(value.size == own_value(caller, caller->versions[key], expected));
		CHECK(memcmp(value.data, expected, value.size) == 0);
		CHECK_OK(cascade_iterator_next(iterator));
	}
	CHECK(!cascade_iterator_valid(iterator));
	cascade_iterator_destroy(iterator);
}

static void caller_run(cascade *db, void *argument)
{
	struct caller *caller = argument;
	char text[40];
	char value[600];
	CHECK(db == caller->db);
	for (unsigned round = 0; round < caller->rounds; round++) {
		unsigned key = (unsigned)random_below(&caller->random, OWN_KEYS);
		uint64_t draw = random_below(&caller->random, 100);
		if (draw < 45) {
			size_t size = own_value(caller, round + 1, value);
			CHECK_OK(cascade_put(db, own_key(caller, key, text), cascade_bytes(value, size),
					     NULL));
			caller->versions[key] = round + 1;
		} else if (draw < 55) {
			CHECK_OK(cascade_delete(db, own_key(caller, key, text), NULL));
			caller->versions[key] = 0;
		} else if (draw < 80) {
			caller_check(caller, key);
		} else if (draw < 88) {
			caller_write_pair(caller);
		} else if (draw < 97) {
			caller_read_pair(caller);
		} else {
			caller_scan(caller);
		}
	}
}

static void *caller_thread(void *argument)
{
	struct caller *caller = argument;
	caller_run(caller->db, caller);
	return NULL;
}

/* Two keys of the same shard for each pair. */
static void make_pairs(cascade *db, char pairs[PAIRS][2][40])
{
	for (unsigned i = 0; i < PAIRS; i++) {
		(void)snprintf(pairs[i][0], 40, "pair%u-left", i);
		for (unsigned j = 0;; j++) {
			(void)snprintf(pairs[i][1], 40, "pair%u-right%u", i, j);
			if (cascade_shard_of(db, cascade_string(pairs[i][0])) ==
			    cascade_shard_of(db, cascade_string(pairs[i][1])))
				break;
		}
	}
}

static void run_callers(const struct setup *setup, unsigned threads, unsigned tasks, unsigned rounds)
{
	seed = test_seed(311);
	cascade *db;
	CHECK_OK(open_small(place, setup, &db));
	static struct caller callers[CALLERS_MAX];
	CHECK(threads + tasks <= CALLERS_MAX);
	for (unsigned i = 0; i < threads + tasks; i++) {
		callers[i] = (struct caller) {
			.db = db, .number = i, .rounds = rounds, .random = random_stream(seed + i)
		};
		make_pairs(db, callers[i].pairs);
	}
	for (unsigned i = 0; i < tasks; i++)
		CHECK_OK(cascade_run_async(db, i % setup->shards, caller_run, &callers[i],
					   &callers[i].future));
	for (unsigned i = tasks; i < threads + tasks; i++)
		CHECK(pthread_create(&callers[i].thread, NULL, caller_thread, &callers[i]) == 0);
	for (unsigned i = 0; i < tasks; i++)
		CHECK_OK(cascade_future_wait(callers[i].future));
	for (unsigned i = tasks; i < threads + tasks; i++)
		CHECK(pthread_join(callers[i].thread, NULL) == 0);
	CHECK_OK(cascade_verify(db));
	CHECK(stat_of(db, "flushes") > 0);
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(place, setup, &db));
	for (unsigned i = 0; i < threads + tasks; i++) {
		callers[i].db = db;
		for (unsigned key = 0; key < OWN_KEYS; key++)
			caller_check(&callers[i], key);
	}
	CHECK_OK(cascade_close(db));
}

static void test_threads_at_once(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2, .io = "uring" };
	run_callers(&setup, 6, 0, SLOW_BUILD ? 800 : 2500);
}

static void test_tasks_at_once(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2, .io = "posix" };
	run_callers(&setup, 0, 8, SLOW_BUILD ? 800 : 2500);
}

static void test_threads_and_tasks_at_once(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 4, .io = "uring" };
	run_callers(&setup, 4, 8, SLOW_BUILD ? 600 : 2000);
}

/* --- tasks --- */

struct nest {
	unsigned depth;
	unsigned reached;
	char key[32];
};

/* Each level runs the next on the shard of another key, and waits for it. */
static void nested(cascade *db, void *argument)
{
	struct nest *nest = argument;
	char key[32];
	(void)snprintf(key, sizeof(key), "nest%u", nest->depth);
	put(db, key, "here");
	nest->reached++;
	if (nest->depth == 0)
		return;
	nest->depth--;
	(void)snprintf(nest->key, sizeof(nest->key), "nest%u", nest->depth);
	CHECK_OK(cascade_run(db, cascade_string(nest->key), nested, nest));
	check_value(db, key, "here");
	check_value(db, "nest0", "here");
}

static void test_nested_runs(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 4 };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	struct nest nest = { .depth = 20 };
	CHECK_OK(cascade_run(db, cascade_string("nest20"), nested, &nest));
	CHECK(nest.reached == 21);
	CHECK_OK(cascade_close(db));
}

struct fan {
	_Atomic unsigned count;
};

static void fan_leaf(cascade *db, void *argument)
{
	struct fan *fan = argument;
	cascade_yield(db);
	cascade_sleep(db, 1000);
	fan->count++;
}

static void fan_out(cascade *db, void *argument)
{
	enum { LEAVES = 40 };
	cascade_future *futures[LEAVES];
	for (unsigned i = 0; i < LEAVES; i++)
		CHECK_OK(cascade_run_async(db, i % cascade_shard_count(db), fan_leaf, argument, &futures[i]));
	for (unsigned i = 0; i < LEAVES; i++) {
		CHECK_OK(cascade_future_wait(futures[i]));
	}
	struct fan *fan = argument;
	CHECK(fan->count >= LEAVES);
}

static void test_futures(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2 };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	struct fan fan = { 0 };
	CHECK_OK(cascade_run(db, cascade_string("x"), fan_out, &fan));
	CHECK(fan.count == 40);
	fan_out(db, &fan);
	CHECK(fan.count == 80);
	/* By polling. */
	cascade_future *future;
	CHECK_OK(cascade_run_async(db, 1, fan_leaf, &fan, &future));
	while (!cascade_future_done(future))
		cascade_sleep(db, 1000);
	CHECK_OK(cascade_future_wait(future));
	CHECK(fan.count == 81);
	CHECK_STATUS(cascade_run_async(db, 2, fan_leaf, &fan, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_run_async(db, 0, NULL, &fan, &future), CASCADE_INVALID);
	CHECK_STATUS(cascade_run_async(db, 0, fan_leaf, &fan, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_run(NULL, cascade_string("x"), fan_leaf, &fan), CASCADE_INVALID);
	CHECK_STATUS(cascade_run(db, cascade_bytes(NULL, 5), fan_leaf, &fan), CASCADE_INVALID);
	CHECK_STATUS(cascade_future_wait(NULL), CASCADE_INVALID);
	CHECK_OK(cascade_close(db));
}

struct handover {
	cascade_future *future;
	struct fan fan;
};

static void start_leaf(cascade *db, void *argument)
{
	struct handover *handover = argument;
	CHECK_OK(cascade_run_async(db, 0, fan_leaf, &handover->fan, &handover->future));
}

static void wait_for_it(cascade *db, void *argument)
{
	(void)db;
	struct handover *handover = argument;
	CHECK_OK(cascade_future_wait(handover->future));
}

/* A thread's future may be waited for by a task. A task's only by tasks of its shard: others are told. */
static void test_futures_handed_over(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	struct handover handover = { 0 };
	start_leaf(db, &handover);
	CHECK_OK(cascade_run(db, cascade_string("x"), wait_for_it, &handover));
	CHECK(handover.fan.count == 1);
	CHECK_OK(cascade_run(db, cascade_string("x"), start_leaf, &handover));
	CHECK_STATUS(cascade_future_wait(handover.future), CASCADE_INVALID);
	CHECK_OK(cascade_run(db, cascade_string("x"), wait_for_it, &handover));
	CHECK(handover.fan.count == 2);
	CHECK_OK(cascade_close(db));
}

/* Far more values than the pool has frames, held at the same time by one task. */
static void hold_many(cascade *db, void *argument)
{
	enum { MANY = 300 };
	cascade_value *values = argument;
	char key[32];
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(key, sizeof(key), "pin%04u", i);
		CHECK_OK(cascade_get(db, cascade_string(key), NULL, &values[i]));
	}
	for (unsigned i = 0; i < MANY; i++) {
		CHECK(values[i].size == 3000);
		for (unsigned b = 0; b < 3000; b++)
			CHECK(((const uint8_t *)values[i].data)[b] == (uint8_t)(i * 7 + b / 250));
		cascade_value_release(&values[i]);
	}
}

static void test_many_pins_of_one_task(void **state)
{
	(void)state;
	/* Raw blocks are pinned in their frames. */
	const struct setup setup = { .shards = 1, .extra = { { "codec.kind", "none" } } };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	for (unsigned i = 0; i < 300; i++) {
		char key[32];
		uint8_t value[3000];
		(void)snprintf(key, sizeof(key), "pin%04u", i);
		for (unsigned b = 0; b < 3000; b++)
			value[b] = (uint8_t)(i * 7 + b / 250);
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, sizeof(value)), NULL));
	}
	CHECK_OK(cascade_flush(db));
	cascade_value *values = calloc(300, sizeof(*values));
	CHECK_OK(cascade_run(db, cascade_string("x"), hold_many, values));
	free(values);
	CHECK(stat_of(db, "cache.frames_pinned") == 0);
	CHECK_OK(cascade_close(db));
}

/* More iterators than could all pin their place in the pool, open at the same time in one thread. */
static void test_many_open_iterators(void **state)
{
	(void)state;
	enum { MANY = 100 };
	const struct setup setup = { .shards = 2, .extra = { { "codec.kind", "none" } } };
	cascade *db;
	cascade_iterator *iterators[MANY];
	char key[40];
	char value[600];
	CHECK_OK(open_small(place, &setup, &db));
	memset(value, 'v', sizeof(value));
	for (unsigned i = 0; i < 3000; i++) {
		(void)snprintf(key, sizeof(key), "row%06u", i);
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, sizeof(value)), NULL));
	}
	CHECK_OK(cascade_flush(db));
	for (unsigned i = 0; i < MANY; i++) {
		CHECK_OK(cascade_iterator_create(db, NULL, &iterators[i]));
		(void)snprintf(key, sizeof(key), "row%06u", 20 * i);
		CHECK_OK(cascade_iterator_seek(iterators[i], cascade_string(key)));
	}
	for (unsigned step = 0; step < 200; step++) {
		for (unsigned i = 0; i < MANY; i++) {
			(void)snprintf(key, sizeof(key), "row%06u", 20 * i + step);
			CHECK(cascade_iterator_valid(iterators[i]));
			CHECK(memcmp(cascade_iterator_key(iterators[i]).data, key, strlen(key)) == 0);
			CHECK_OK(cascade_iterator_next(iterators[i]));
		}
	}
	/* Seeking to where it stands: the key handed in lies in the chunk that is fetched anew. */
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(key, sizeof(key), "row%06u", 20 * i + 200);
		CHECK_OK(cascade_iterator_seek(iterators[i], cascade_iterator_key(iterators[i])));
		CHECK(memcmp(cascade_iterator_key(iterators[i]).data, key, strlen(key)) == 0);
		cascade_iterator_destroy(iterators[i]);
	}
	CHECK(stat_of(db, "cache.frames_pinned") == 0);
	CHECK_OK(cascade_close(db));
}

/* --- limits and bad input --- */

static void test_limits(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	cascade_value value;
	CHECK_OK(open_small(place, &setup, &db));
	uint8_t *bytes = malloc(CASCADE_VALUE_BYTES_MAX + 1);
	for (unsigned i = 0; i <= CASCADE_VALUE_BYTES_MAX; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 24);

	put(db, "", "empty key");
	check_value(db, "", "empty key");
	CHECK_OK(cascade_put(db, cascade_string("empty value"), cascade_bytes(NULL, 0), NULL));
	check_value(db, "empty value", "");
	CHECK_OK(cascade_put(db, cascade_bytes(NULL, 0), cascade_string("null, zero"), NULL));
	check_value(db, "", "null, zero");

	cascade_slice longest = cascade_bytes(bytes, CASCADE_KEY_BYTES_MAX);
	cascade_slice largest = cascade_bytes(bytes, CASCADE_VALUE_BYTES_MAX);
	CHECK_OK(cascade_put(db, longest, largest, NULL));
	CHECK_STATUS(
		cascade_put(db, cascade_bytes(bytes, CASCADE_KEY_BYTES_MAX + 1), cascade_string("v"), NULL),
		CASCADE_INVALID);
	CHECK(strstr(cascade_error_message(), "65536") != NULL);
	CHECK_STATUS(
		cascade_put(db, cascade_string("k"), cascade_bytes(bytes, CASCADE_VALUE_BYTES_MAX + 1), NULL),
		CASCADE_INVALID);
	CHECK(strstr(cascade_error_message(), "1048577") != NULL);
	CHECK_STATUS(cascade_get(db, cascade_bytes(bytes, CASCADE_KEY_BYTES_MAX + 1), NULL, &value),
		     CASCADE_INVALID);
	CHECK_STATUS(cascade_delete(db, cascade_bytes(bytes, CASCADE_KEY_BYTES_MAX + 1), NULL),
		     CASCADE_INVALID);

	/* In memory, in a table, and after a reopening. */
	for (unsigned i = 0; i < 3; i++) {
		CHECK_OK(cascade_get(db, longest, NULL, &value));
		CHECK(value.size == largest.size && memcmp(value.data, bytes, value.size) == 0);
		cascade_value_release(&value);
		cascade_iterator *iterator;
		CHECK_OK(cascade_iterator_create(db, NULL, &iterator));
		CHECK_OK(cascade_iterator_seek(iterator, longest));
		CHECK(cascade_iterator_valid(iterator));
		CHECK(cascade_iterator_key(iterator).size == longest.size);
		CHECK(cascade_iterator_value(iterator).size == largest.size);
		cascade_iterator_destroy(iterator);
		CHECK_OK(i == 0 ? cascade_flush(db) : cascade_verify(db));
		if (i == 1) {
			CHECK_OK(cascade_close(db));
			CHECK_OK(open_small(place, &setup, &db));
		}
	}
	check_absent(db, "k");
	check_value(db, "", "null, zero");

	/* A batch of one of the largest, and one that would pass the bound. */
	cascade_batch *batch;
	CHECK_OK(cascade_batch_create(&batch));
	CHECK_OK(cascade_batch_put(batch, longest, largest));
	CHECK_STATUS(cascade_batch_put(batch, cascade_string("more"), cascade_bytes(bytes, 100)),
		     CASCADE_INVALID);
	CHECK(cascade_batch_count(batch) == 1);
	CHECK_OK(cascade_write(db, batch, NULL));
	cascade_batch_clear(batch);
	CHECK(cascade_batch_count(batch) == 0);
	CHECK_OK(cascade_write(db, batch, NULL));
	/* The same key again and again counts once. */
	for (unsigned i = 0; i < 50; i++)
		CHECK_OK(cascade_batch_put(batch, cascade_string("again"), cascade_bytes(bytes, 1 << 19)));
	CHECK(cascade_batch_count(batch) == 1);
	CHECK_OK(cascade_write(db, batch, NULL));
	cascade_batch_destroy(batch);
	free(bytes);
	CHECK_OK(cascade_close(db));
}

/* Many small operations in a batch take time in proportion, not squared. */
static void test_large_batch_of_small_operations(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	cascade_batch *batch;
	char key[32];
	enum { COUNT = 60000 };
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_OK(cascade_batch_create(&batch));
	uint64_t begin_ns = now_ns();
	for (unsigned i = 0; i < COUNT; i++) {
		(void)snprintf(key, sizeof(key), "%08x", i * 2654435761u);
		CHECK_OK(cascade_batch_put(batch, cascade_string(key), cascade_string("v")));
	}
	CHECK(cascade_batch_count(batch) == COUNT);
	CHECK_OK(cascade_write(db, batch, NULL));
	CHECK(now_ns() - begin_ns < (SLOW_BUILD ? 20 : 4) * 1000000000ull);
	cascade_batch_destroy(batch);
	for (unsigned i = 0; i < COUNT; i += 997) {
		(void)snprintf(key, sizeof(key), "%08x", i * 2654435761u);
		check_value(db, key, "v");
	}
	CHECK_OK(cascade_close(db));
}

static void test_null_arguments(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	cascade_slice key = cascade_string("k");
	cascade_slice nothing = cascade_bytes(NULL, 3);
	cascade_value value;
	cascade_snapshot *snapshot;
	cascade_iterator *iterator;
	cascade_batch *batch;
	cascade_stat *stats;
	size_t count;
	CHECK_STATUS(cascade_open(NULL, NULL, &db), CASCADE_INVALID);
	CHECK_STATUS(cascade_open("", NULL, &db), CASCADE_INVALID);
	CHECK_STATUS(cascade_open(place, NULL, NULL), CASCADE_INVALID);
	char *long_path = malloc(5000);
	memset(long_path, 'x', 4999);
	long_path[4999] = '\0';
	CHECK_STATUS(cascade_open(long_path, NULL, &db), CASCADE_INVALID);
	free(long_path);
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_STATUS(cascade_put(NULL, key, key, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_put(db, nothing, key, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_put(db, key, nothing, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_delete(NULL, key, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_delete(db, nothing, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_get(NULL, key, NULL, &value), CASCADE_INVALID);
	CHECK_STATUS(cascade_get(db, nothing, NULL, &value), CASCADE_INVALID);
	CHECK_STATUS(cascade_get(db, key, NULL, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_write(db, NULL, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_batch_create(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_batch_put(NULL, key, key), CASCADE_INVALID);
	CHECK_STATUS(cascade_batch_delete(NULL, key), CASCADE_INVALID);
	CHECK_OK(cascade_batch_create(&batch));
	CHECK_STATUS(cascade_batch_put(batch, nothing, key), CASCADE_INVALID);
	CHECK_STATUS(cascade_batch_delete(batch, nothing), CASCADE_INVALID);
	CHECK_STATUS(cascade_write(NULL, batch, NULL), CASCADE_INVALID);
	cascade_batch_destroy(batch);
	cascade_batch_destroy(NULL);
	cascade_batch_clear(NULL);
	CHECK(cascade_batch_count(NULL) == 0);
	CHECK_STATUS(cascade_snapshot_create(NULL, &snapshot), CASCADE_INVALID);
	CHECK_STATUS(cascade_snapshot_create(db, NULL), CASCADE_INVALID);
	cascade_snapshot_release(NULL);
	CHECK_STATUS(cascade_iterator_create(NULL, NULL, &iterator), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_create(db, NULL, NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_create(db, &(cascade_iterator_options) { .lower = nothing }, &iterator),
		     CASCADE_INVALID);
	CHECK_STATUS(
		cascade_iterator_create(
			db, &(cascade_iterator_options) { .upper = nothing, .has_upper = true }, &iterator),
		CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_seek(NULL, key), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_next(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_status(NULL), CASCADE_INVALID);
	CHECK(!cascade_iterator_valid(NULL));
	cascade_iterator_destroy(NULL);
	CHECK_OK(cascade_iterator_create(db, NULL, &iterator));
	CHECK_STATUS(cascade_iterator_seek(iterator, nothing), CASCADE_INVALID);
	CHECK_STATUS(cascade_iterator_next(iterator), CASCADE_INVALID);
	CHECK(cascade_iterator_key(iterator).size == 0);
	CHECK(cascade_iterator_value(iterator).size == 0);
	cascade_iterator_destroy(iterator);
	CHECK_STATUS(cascade_flush(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_wait_idle(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_verify(NULL), CASCADE_INVALID);
	CHECK_STATUS(cascade_stats(NULL, &stats, &count), CASCADE_INVALID);
	CHECK_STATUS(cascade_stats(db, NULL, &count), CASCADE_INVALID);
	CHECK_STATUS(cascade_stats(db, &stats, NULL), CASCADE_INVALID);
	cascade_stats_free(NULL);
	cascade_value_release(NULL);
	CHECK_STATUS(cascade_put(db, key, key, &(cascade_write_options) { (cascade_durability)9 }),
		     CASCADE_INVALID);
	CHECK(cascade_notice(db) != NULL);
	CHECK_OK(cascade_close(db));
	CHECK_OK(cascade_close(NULL));
}

/* --- snapshots --- */

/* A snapshot of nothing stays one of nothing, also when the first commits reach the last level. */
static void test_snapshot_before_the_first_write(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	cascade_snapshot *snapshot;
	cascade_value value;
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_OK(cascade_snapshot_create(db, &snapshot));
	cascade_read_options options = { .snapshot = snapshot };
	put(db, "first", "1");
	for (unsigned i = 0; i < 6; i++) {
		put(db, i % 2 == 0 ? "a" : "z", "x");
		CHECK_OK(cascade_flush(db));
		CHECK_OK(cascade_wait_idle(db));
		CHECK_STATUS(cascade_get(db, cascade_string("first"), &options, &value), CASCADE_NOT_FOUND);
	}
	CHECK(stat_of(db, "merges") > 0);
	cascade_snapshot_release(snapshot);
	CHECK_OK(cascade_close(db));
}

/* --- opening and closing --- */

static void test_close_with_handles(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2 };
	cascade *db;
	cascade_iterator *iterator;
	cascade_snapshot *snapshot;
	CHECK_OK(open_small(place, &setup, &db));
	put(db, "k", "v");
	CHECK_OK(cascade_iterator_create(db, NULL, &iterator));
	CHECK_OK(cascade_iterator_seek_first(iterator));
	CHECK_STATUS(cascade_close(db), CASCADE_BUSY);
	check_value(db, "k", "v");
	cascade_iterator_destroy(iterator);
	CHECK_OK(cascade_snapshot_create(db, &snapshot));
	CHECK_STATUS(cascade_close(db), CASCADE_BUSY);
	cascade_snapshot_release(snapshot);
	CHECK_OK(cascade_close(db));
}

struct held {
	_Atomic int stage;
	cascade_value value;
};

static void hold_a_pin(cascade *db, void *argument)
{
	struct held *held = argument;
	CHECK_OK(cascade_get(db, cascade_string("k"), NULL, &held->value));
	held->stage = 1;
	while (held->stage != 2)
		cascade_sleep(db, 100000);
	cascade_value_release(&held->value);
}

static void close_inside(cascade *db, void *argument)
{
	*(cascade_status *)argument = cascade_close(db);
}

static void test_close_with_tasks(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2 };
	cascade *db;
	cascade_future *future;
	struct held held = { 0 };
	cascade_status inside = CASCADE_OK;
	CHECK_OK(open_small(place, &setup, &db));
	put(db, "k", "v");
	CHECK_OK(
		cascade_run_async(db, cascade_shard_of(db, cascade_string("k")), hold_a_pin, &held, &future));
	while (held.stage != 1)
		cascade_sleep(db, 100000);
	CHECK_STATUS(cascade_close(db), CASCADE_BUSY);
	held.stage = 2;
	CHECK_OK(cascade_future_wait(future));
	CHECK_OK(cascade_run(db, cascade_string("k"), close_inside, &inside));
	CHECK_STATUS(inside, CASCADE_BUSY);
	CHECK_OK(cascade_close(db));
}

struct late {
	cascade *db;
	_Atomic bool begun;
	cascade_status status;
};

static void *put_slowly(void *argument)
{
	struct late *late = argument;
	cascade_write_options options = { .durability = CASCADE_DURABILITY_POWER };
	late->begun = true;
	late->status = cascade_put(late->db, cascade_string("late"), cascade_string("v"), &options);
	return NULL;
}

/* Calls under way end before the database goes. */
static void test_close_waits_for_calls(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .io = "posix" };
	unsigned kept = 0;
	for (unsigned i = 0; i < 20; i++) {
		struct late late = { 0 };
		pthread_t thread;
		CHECK_OK(open_small(place, &setup, &late.db));
		CHECK(pthread_create(&thread, NULL, put_slowly, &late) == 0);
		while (!late.begun)
			sched_yield();
		/* Long enough for the request to have arrived, too short for two syncs. */
		cascade_sleep(late.db, 100000 + 20000 * i);
		uint64_t sent = stat_of(late.db, "runtime.calls_received");
		(void)sent;
		cascade_status status = cascade_close(late.db);
		CHECK(pthread_join(thread, NULL) == 0);
		CHECK_OK(status);
		CHECK_OK(late.status);
		cascade *db;
		CHECK_OK(open_small(place, &setup, &db));
		check_value(db, "late", "v");
		CHECK_OK(cascade_delete(db, cascade_string("late"), NULL));
		CHECK_OK(cascade_close(db));
		kept++;
	}
	CHECK(kept == 20);
}

static void test_locked(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db, *second = NULL;
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_STATUS(open_small(place, &setup, &second), CASCADE_LOCKED);
	CHECK(second == NULL);
	put(db, "k", "v");
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(place, &setup, &db));
	check_value(db, "k", "v");
	CHECK_OK(cascade_close(db));
}

static void test_create_false(void **state)
{
	(void)state;
	const struct setup without = { .shards = 1, .extra = { { "create", "false" } } };
	const struct setup with = { .shards = 1 };
	char path[PATH_BYTES + 16];
	cascade *db;
	CHECK_STATUS(open_small(place, &without, &db), CASCADE_NOT_FOUND);
	(void)snprintf(path, sizeof(path), "%s/nowhere", place);
	CHECK_STATUS(open_small(path, &without, &db), CASCADE_NOT_FOUND);
	CHECK(access(path, F_OK) != 0);
	CHECK_OK(open_small(path, &with, &db));
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(path, &without, &db));
	CHECK_OK(cascade_close(db));
	/* One level only, and a file is no directory. */
	(void)snprintf(path, sizeof(path), "%s/no/where", place);
	CHECK_STATUS(open_small(path, &with, &db), CASCADE_NOT_FOUND);
	(void)snprintf(path, sizeof(path), "%s/file", place);
	int file = open(path, O_CREAT | O_WRONLY, 0644);
	CHECK(file >= 0 && close(file) == 0);
	CHECK(open_small(path, &with, &db) != CASCADE_OK);
}

static void test_shards_are_fixed(void **state)
{
	(void)state;
	const struct setup two = { .shards = 2 };
	const struct setup three = { .shards = 3 };
	cascade *db;
	cascade_options *options;
	CHECK_OK(open_small(place, &two, &db));
	put(db, "k", "v");
	CHECK(cascade_shard_count(db) == 2);
	CHECK_OK(cascade_close(db));
	CHECK_STATUS(open_small(place, &three, &db), CASCADE_INVALID);
	CHECK(strstr(cascade_error_message(), "shards") != NULL);
	CHECK_OK(cascade_options_create(&options));
	CHECK_OK(cascade_options_set(options, "memory", "64 MiB"));
	CHECK_OK(cascade_open(place, options, &db));
	CHECK(cascade_shard_count(db) == 2);
	check_value(db, "k", "v");
	CHECK_OK(cascade_close(db));
	cascade_options_destroy(options);
}

/* Everything but shards may change from open to open. */
static void test_other_options_at_each_open(void **state)
{
	(void)state;
	static const struct setup setups[] = {
		{ .shards = 2, .io = "uring" },
		{ .shards = 2, .io = "posix", .extra = { { "codec.kind", "none" } } },
		{ .shards = 2, .durability = "memory", .extra = { { "table.block_size", "32 KiB" } } },
		{ .shards = 2,
		  .durability = "power",
		  .extra = { { "wal.segment_size", "3 MiB" }, { "memtable.size", "2 MiB" } } },
		{ .shards = 2, .extra = { { "table.size", "1 MiB" }, { "compaction.merges", "1" } } },
		{ .shards = 2, .extra = { { "io.direct", "false" }, { "filter.bits_per_key", "4" } } },
	};
	enum { SETUPS = sizeof(setups) / sizeof(setups[0]), ROWS = 800 };
	cascade *db;
	char key[32], value[300];
	for (unsigned i = 0; i < 2 * SETUPS; i++) {
		CHECK_OK(open_small(place, &setups[i % SETUPS], &db));
		for (unsigned row = 0; row < ROWS; row++) {
			(void)snprintf(key, sizeof(key), "key%05u", row);
			(void)snprintf(value, sizeof(value), "%u-%u-%0200u", i, row, row);
			if (i > 0) {
				char before[300];
				(void)snprintf(before, sizeof(before), "%u-%u-%0200u", i - 1, row, row);
				check_value(db, key, before);
			}
			put(db, key, value);
		}
		CHECK_OK(cascade_verify(db));
		CHECK_OK(cascade_close(db));
	}
}

/* --- durability --- */

/* The process ends: what was acknowledged is in the log, is replayed once, and not beyond the ring. */
static void replay_after_end(const char *durability, unsigned writes)
{
	const struct setup setup = { .shards = 2, .durability = durability };
	char original[PATH_BYTES + 16], copy[PATH_BYTES + 16];
	char key[32], value[600];
	cascade *db, *after;
	(void)snprintf(original, sizeof(original), "%s/%s", place, durability);
	(void)snprintf(copy, sizeof(copy), "%s/%s.copy", place, durability);
	CHECK_OK(open_small(original, &setup, &db));
	memset(value, 'v', sizeof(value));
	for (unsigned i = 0; i < writes; i++) {
		(void)snprintf(key, sizeof(key), "key%05u", i * 7 % 500);
		(void)snprintf(value, sizeof(value), "%u", i);
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, i % 600 + 1), NULL));
	}
	CHECK_OK(cascade_wait_idle(db));
	copy_tree(original, copy);
	for (unsigned round = 0; round < 2; round++) {
		CHECK_OK(open_small(copy, &setup, &after));
		uint64_t commits = stat_of(after, "open.replayed_commits");
		CHECK((commits > 0) == (round == 0));
		CHECK(commits <= writes);
		CHECK(stat_of(after, "open.replayed_bytes") <= stat_of(after, "open.ring_bytes"));
		for (unsigned i = writes > 500 ? writes - 500 : 0; i < writes; i++) {
			cascade_value found;
			(void)snprintf(key, sizeof(key), "key%05u", i * 7 % 500);
			CHECK_OK(cascade_get(after, cascade_string(key), NULL, &found));
			CHECK(found.size == i % 600 + 1);
			CHECK(strtoul(found.data, NULL, 10) == i || found.size < 6);
			cascade_value_release(&found);
		}
		CHECK_OK(cascade_verify(after));
		CHECK_OK(cascade_close(after));
	}
	CHECK_OK(cascade_close(db));
}

static void test_replay_after_the_process_ended(void **state)
{
	(void)state;
	replay_after_end("process", 300);
	remove_place(place);
	CHECK(mkdir(place, 0755) == 0);
	replay_after_end("power", 2000);
}

/* Copies taken at any moment of much writing open, and hold at least what was acknowledged before. */
static void test_copies_taken_while_writing(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	char original[PATH_BYTES + 16], copy[PATH_BYTES + 16];
	char key[32];
	static char value[900];
	cascade *db, *after;
	(void)snprintf(original, sizeof(original), "%s/db", place);
	(void)snprintf(copy, sizeof(copy), "%s/copy", place);
	CHECK_OK(open_small(original, &setup, &db));
	memset(value, 'w', sizeof(value));
	unsigned written = 0;
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < 700; i++, written++) {
			(void)snprintf(key, sizeof(key), "key%08u", written);
			CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, sizeof(value)),
					     NULL));
		}
		/* No flush or merge may be replacing files while they are copied one after the other. */
		CHECK_OK(cascade_wait_idle(db));
		copy_tree(original, copy);
		CHECK_OK(open_small(copy, &setup, &after));
		for (unsigned i = 0; i < written; i += 13) {
			cascade_value found;
			(void)snprintf(key, sizeof(key), "key%08u", i);
			CHECK_OK(cascade_get(after, cascade_string(key), NULL, &found));
			CHECK(found.size == sizeof(value));
			cascade_value_release(&found);
		}
		CHECK_OK(cascade_close(after));
		remove_place(copy);
	}
	CHECK_OK(cascade_close(db));
}

/* Nothing is logged: a single write cannot be promised more, and a clean close keeps everything. */
static void test_durability_memory(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .durability = "memory" };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	for (int level = CASCADE_DURABILITY_PROCESS; level <= CASCADE_DURABILITY_POWER; level++) {
		cascade_write_options options = { .durability = (cascade_durability)level };
		CHECK_STATUS(cascade_put(db, cascade_string("k"), cascade_string("v"), &options),
			     CASCADE_UNSUPPORTED);
		CHECK_STATUS(cascade_delete(db, cascade_string("k"), &options), CASCADE_UNSUPPORTED);
	}
	check_absent(db, "k");
	put(db, "k", "v");
	CHECK(stat_of(db, "wal.commits") == 0);
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(place, &setup, &db));
	check_value(db, "k", "v");
	CHECK_OK(cascade_close(db));
}

static void test_open_after_close_replays_nothing(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2 };
	cascade *db;
	for (unsigned round = 0; round < 4; round++) {
		char key[32];
		CHECK_OK(open_small(place, &setup, &db));
		CHECK(stat_of(db, "open.replayed_commits") == 0);
		for (unsigned i = 0; i < 100 * round; i++) {
			(void)snprintf(key, sizeof(key), "key%u", i);
			put(db, key, "value");
		}
		CHECK_OK(cascade_close(db));
	}
}

/* --- pressure --- */

/* Values larger than all of a shard's memtables, many at once: each gets through in the end. */
static void *put_large(void *argument)
{
	struct caller *caller = argument;
	char key[32];
	char *value = malloc(CASCADE_VALUE_BYTES_MAX);
	memset(value, 'L', CASCADE_VALUE_BYTES_MAX);
	for (unsigned i = 0; i < caller->rounds; i++) {
		(void)snprintf(key, sizeof(key), "large%u-%u", caller->number, i % 4);
		CHECK_OK(cascade_put(caller->db, cascade_string(key),
				     cascade_bytes(value, CASCADE_VALUE_BYTES_MAX - i), NULL));
	}
	free(value);
	return NULL;
}

static void test_values_larger_than_the_memtables(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .extra = { { "write_timeout", "20 s" } } };
	struct caller callers[4];
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	for (unsigned i = 0; i < 4; i++) {
		callers[i] = (struct caller) { .db = db, .number = i, .rounds = 12 };
		CHECK(pthread_create(&callers[i].thread, NULL, put_large, &callers[i]) == 0);
	}
	for (unsigned i = 0; i < 4; i++)
		CHECK(pthread_join(callers[i].thread, NULL) == 0);
	CHECK(stat_of(db, "writes.timeouts") == 0);
	CHECK_OK(cascade_verify(db));
	CHECK_OK(cascade_close(db));
}

/* As fast as a thread can, into the smallest memtables: delayed, never refused, and memory stays bounded. */
static void test_writer_ahead_of_the_flush(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	char key[32];
	static char value[4000];
	CHECK_OK(open_small(place, &setup, &db));
	for (unsigned i = 0; i < (SLOW_BUILD ? 1500 : 4000); i++) {
		(void)snprintf(key, sizeof(key), "key%u", i);
		for (unsigned b = 0; b < sizeof(value); b++)
			value[b] = (char)random_at(i, b / 8);
		CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, sizeof(value)), NULL));
		if (i % 64 == 0)
			CHECK(stat_of(db, "memory.memtables") <= (256 << 10) + (128 << 10));
	}
	CHECK(stat_of(db, "pacing.delayed") + stat_of(db, "pacing.stopped") > 0);
	CHECK(stat_of(db, "writes.timeouts") == 0);
	CHECK_OK(cascade_close(db));
}

/* A small file system of our own; false where that is not allowed. */
static bool mount_small(const char *path, const char *size)
{
	char options[32];
	CHECK(mkdir(path, 0755) == 0);
	(void)snprintf(options, sizeof(options), "size=%s", size);
	if (mount("tmpfs", path, "tmpfs", 0, options) == 0)
		return true;
	print_message("not checked here: mounting a tmpfs: %s\n", strerror(errno));
	return false;
}

static void fill_up(const char *path, off_t leave)
{
	int file = open(path, O_CREAT | O_WRONLY, 0644);
	CHECK(file >= 0);
	static const char zeros[65536];
	off_t size = 0;
	ssize_t written;
	while ((written = write(file, zeros, sizeof(zeros))) > 0)
		size += written;
	CHECK(errno == ENOSPC);
	CHECK(ftruncate(file, size > leave ? size - leave : 0) == 0);
	CHECK(close(file) == 0);
}

/* A full disk: writes are refused, reads go on, and with room writes go on. */
static void test_full_disk(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1, .io = "posix", .extra = { { "write_timeout", "5 s" } } };
	char mounted[PATH_BYTES + 16], path[PATH_BYTES + 32], ballast[PATH_BYTES + 32];
	char key[32];
	static char value[2000];
	cascade *db;
	(void)snprintf(mounted, sizeof(mounted), "%s/mounted", place);
	(void)snprintf(path, sizeof(path), "%s/db", mounted);
	(void)snprintf(ballast, sizeof(ballast), "%s/ballast", mounted);
	if (!mount_small(mounted, "24m"))
		return;
	CHECK_OK(open_small(path, &setup, &db));
	for (unsigned b = 0; b < sizeof(value); b++)
		value[b] = (char)random_at(5, b);
	unsigned written = 0;
	for (unsigned round = 0; round < 3; round++) {
		fill_up(ballast, 300 << 10);
		cascade_status status = CASCADE_OK;
		uint64_t begin_ns = now_ns();
		for (; status == CASCADE_OK; written += status == CASCADE_OK) {
			(void)snprintf(key, sizeof(key), "key%06u", written);
			(void)snprintf(value, 32, "%u", written);
			status = cascade_put(db, cascade_string(key), cascade_bytes(value, sizeof(value)),
					     NULL);
			CHECK(written < 20000);
		}
		CHECK_STATUS(status, CASCADE_NO_SPACE);
		CHECK(strlen(cascade_error_message()) > 0);
		CHECK(now_ns() - begin_ns < 15000000000ull);
		for (unsigned i = 0; i < written; i += 7) {
			cascade_value found;
			(void)snprintf(key, sizeof(key), "key%06u", i);
			CHECK_OK(cascade_get(db, cascade_string(key), NULL, &found));
			CHECK(found.size == sizeof(value) && strtoul(found.data, NULL, 10) == i);
			cascade_value_release(&found);
		}
		/* What was refused is not there. */
		(void)snprintf(key, sizeof(key), "key%06u", written);
		check_absent(db, key);
		CHECK(unlink(ballast) == 0);
		begin_ns = now_ns();
		do {
			cascade_sleep(db, 10000000);
			status = cascade_put(db, cascade_string("again"), cascade_string("room"), NULL);
			CHECK(now_ns() - begin_ns < 10000000000ull);
		} while (status == CASCADE_NO_SPACE || status == CASCADE_BUSY);
		CHECK_OK(status);
	}
	CHECK_OK(cascade_flush(db));
	CHECK_OK(cascade_close(db));
	CHECK_OK(open_small(path, &setup, &db));
	for (unsigned i = 0; i < written; i++) {
		cascade_value found;
		(void)snprintf(key, sizeof(key), "key%06u", i);
		CHECK_OK(cascade_get(db, cascade_string(key), NULL, &found));
		CHECK(found.size == sizeof(value) && strtoul(found.data, NULL, 10) == i);
		cascade_value_release(&found);
	}
	CHECK_OK(cascade_verify(db));
	/* And once more, closed while it is full: what could not be flushed is in the log. */
	fill_up(ballast, 0);
	put(db, "closed when full", "kept");
	cascade_status closed = cascade_close(db);
	CHECK(closed == CASCADE_OK || closed == CASCADE_NO_SPACE);
	CHECK(unlink(ballast) == 0);
	CHECK_OK(open_small(path, &setup, &db));
	check_value(db, "closed when full", "kept");
	CHECK_OK(cascade_close(db));
	CHECK(umount(mounted) == 0);
}

/* --- what can be seen from outside --- */

static void test_stats(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2 };
	cascade *db;
	char key[32];
	static const char *const names[] = { "reads",
					     "reads.found",
					     "reads.memtable",
					     "reads.table",
					     "tables.probed",
					     "tables.filtered",
					     "writes",
					     "writes.bytes",
					     "cursors",
					     "flushes",
					     "flush.bytes_in",
					     "flush.bytes_out",
					     "merges",
					     "merge.debt",
					     "background.errors",
					     "pacing.pressure",
					     "wal.commits",
					     "wal.groups",
					     "wal.syncs",
					     "wal.bytes",
					     "wal.segments",
					     "wal.live_bytes",
					     "cache.hits",
					     "cache.misses",
					     "cache.frames",
					     "io.reads",
					     "io.writes",
					     "io.syncs",
					     "io.read_bytes",
					     "io.write_bytes",
					     "runtime.turns",
					     "runtime.tasks",
					     "level.0.tables",
					     "level.7.bytes",
					     "memory.memtables",
					     "memory.tables",
					     "memory.log",
					     "memory.budget",
					     "open.replayed_commits",
					     "open.replayed_bytes",
					     "open.ring_bytes",
					     "open.trimmed_bytes",
					     "shards" };
	CHECK_OK(open_small(place, &setup, &db));
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)stat_of(db, names[i]);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(key, sizeof(key), "key%u", i);
		put(db, key, "0123456789");
	}
	for (unsigned i = 0; i < 200; i++) {
		cascade_value value;
		(void)snprintf(key, sizeof(key), "key%u", i);
		CHECK((cascade_get(db, cascade_string(key), NULL, &value) == CASCADE_OK) == (i < 100));
		cascade_value_release(&value);
	}
	CHECK(stat_of(db, "writes") == 100);
	CHECK(stat_of(db, "writes.bytes") == 10 * 4 + 90 * 5 + 100 * 10);
	CHECK(stat_of(db, "wal.commits") == 100);
	CHECK(stat_of(db, "wal.bytes") > 1490);
	CHECK(stat_of(db, "reads") == 200);
	CHECK(stat_of(db, "reads.found") == 100);
	CHECK(stat_of(db, "reads.memtable") == 100);
	CHECK(stat_of(db, "reads.table") == 0);
	CHECK_OK(cascade_flush(db));
	check_value(db, "key5", "0123456789");
	CHECK(stat_of(db, "reads.table") == 1);
	CHECK(stat_of(db, "flushes") == 2);
	CHECK(stat_of(db, "flush.bytes_in") == 10 * 4 + 90 * 5 + 100 * 10);
	uint64_t tables = 0, bytes = 0;
	for (unsigned level = 0; level < 8; level++) {
		(void)snprintf(key, sizeof(key), "level.%u.tables", level);
		tables += stat_of(db, key);
		(void)snprintf(key, sizeof(key), "level.%u.bytes", level);
		bytes += stat_of(db, key);
	}
	CHECK(tables == 2);
	CHECK(bytes == stat_of(db, "flush.bytes_out"));
	CHECK(stat_of(db, "io.write_bytes") >= bytes + stat_of(db, "wal.bytes"));
	CHECK(stat_of(db, "memory.budget") > 1 << 20);
	CHECK(stat_of(db, "shards") == 2);
	CHECK(stat_of(db, "background.errors") == 0);
	CHECK_OK(cascade_close(db));
}

static uint64_t cpu_ns(void)
{
	struct rusage usage;
	CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

static void check_idle(const char *io)
{
	const struct setup setup = { .shards = 4, .io = io };
	cascade *db;
	char key[32];
	CHECK_OK(open_small(place, &setup, &db));
	for (unsigned i = 0; i < 2000; i++) {
		(void)snprintf(key, sizeof(key), "key%u", i);
		put(db, key, "some value that fills the memtables a little");
	}
	CHECK_OK(cascade_wait_idle(db));
	/* What was set in motion comes to rest: segments that are readied, tables that are unlinked. */
	cascade_sleep(db, 200000000);
	uint64_t before_ns = cpu_ns();
	cascade_sleep(db, 500000000);
	uint64_t used_ns = cpu_ns() - before_ns;
	if (used_ns >= 10000000)
		print_message("%s: %llu us of CPU in 500 ms\n", io, (unsigned long long)used_ns / 1000);
	/* Sanitizers have threads of their own. */
	CHECK(SLOW_BUILD || used_ns < 10000000);
	CHECK_OK(cascade_close(db));
}

static void test_idle_uses_no_cpu(void **state)
{
	(void)state;
	check_idle("uring");
	check_idle("posix");
}

/* The message of a failed call is that call's, also in tasks. */
static void fail_in_task(cascade *db, void *argument)
{
	cascade_value value;
	(void)argument;
	CHECK_STATUS(cascade_get(db, cascade_bytes("x", 70000), NULL, &value), CASCADE_INVALID);
	CHECK(strstr(cascade_error_message(), "70000") != NULL);
}

static void test_messages(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 1 };
	cascade *db;
	CHECK_OK(open_small(place, &setup, &db));
	CHECK_STATUS(cascade_put(db, cascade_bytes("x", 66000), cascade_string(""), NULL), CASCADE_INVALID);
	CHECK(strstr(cascade_error_message(), "66000") != NULL);
	CHECK_OK(cascade_run(db, cascade_string("x"), fail_in_task, NULL));
	CHECK(strstr(cascade_error_message(), "66000") != NULL);
	CHECK_OK(cascade_close(db));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_limits),
		TEST(test_null_arguments),
		TEST(test_large_batch_of_small_operations),
		TEST(test_snapshot_before_the_first_write),
		TEST(test_close_with_handles),
		TEST(test_close_with_tasks),
		TEST(test_close_waits_for_calls),
		TEST(test_locked),
		TEST(test_create_false),
		TEST(test_shards_are_fixed),
		TEST(test_other_options_at_each_open),
		TEST(test_nested_runs),
		TEST(test_futures),
		TEST(test_futures_handed_over),
		TEST(test_many_pins_of_one_task),
		TEST(test_many_open_iterators),
		TEST(test_threads_at_once),
		TEST(test_tasks_at_once),
		TEST(test_threads_and_tasks_at_once),
		TEST(test_model_uring_1),
		TEST(test_model_uring_2),
		TEST(test_model_uring_4),
		TEST(test_model_posix_1),
		TEST(test_model_posix_2),
		TEST(test_model_posix_4),
		TEST(test_replay_after_the_process_ended),
		TEST(test_copies_taken_while_writing),
		TEST(test_durability_memory),
		TEST(test_open_after_close_replays_nothing),
		TEST(test_values_larger_than_the_memtables),
		TEST(test_writer_ahead_of_the_flush),
		TEST(test_full_disk),
		TEST(test_stats),
		TEST(test_idle_uses_no_cpu),
		TEST(test_messages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
