/*
 * model_test.c: the whole engine behind cascade.h against a model, step by step from threads and tasks, and
 * with many callers at once. Takes about 12 s.
 */
#include <pthread.h>

#include "database/database_test.h"

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
				     .extra = { { "codec.kind", "none" },
						{ "table.block_size", "1 KiB" },
						{ "wal.kind", "direct" } } };
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
	run_callers(&setup, 6, 0, SANITIZED ? 800 : 2500);
}

static void test_tasks_at_once(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 2, .io = "posix" };
	run_callers(&setup, 0, 8, SANITIZED ? 800 : 2500);
}

static void test_threads_and_tasks_at_once(void **state)
{
	(void)state;
	const struct setup setup = { .shards = 4, .io = "uring" };
	run_callers(&setup, 4, 8, SANITIZED ? 600 : 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_model_uring_1),   TEST(test_model_uring_2), TEST(test_model_uring_4),
		TEST(test_model_posix_1),   TEST(test_model_posix_2), TEST(test_model_posix_4),
		TEST(test_threads_at_once), TEST(test_tasks_at_once), TEST(test_threads_and_tasks_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
