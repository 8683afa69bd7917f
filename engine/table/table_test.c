/*
 * Tables against a model: whatever is built is found again by every way of reading, and whatever is damaged
 * is noticed. Takes about 15 s.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHECK_SEED seed
#include "check_or_abort.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/sanitizer.h"
#include "runtime/runtime.h"
#include "runtime/shard.h"
#include "table/format.h"
#include "table/table.h"

enum { PAGE = IO_PAGE_BYTES, SMALL_POOL = 64 * PAGE, LARGE_POOL = 16 << 20 };

/* Sanitizers make everything several times slower. */
#if THREAD_SANITIZER
enum { SCALE = 12, STRIDE = 12 };
#elif defined(CASCADE_DEBUG)
enum { SCALE = 4, STRIDE = 1 };
#else
enum { SCALE = 1, STRIDE = 1 };
#endif

static uint64_t seed;

static char directory[64];

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(directory, sizeof(directory), "/tmp/table_test.XXXXXX");
	return mkdtemp(directory) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	return rmdir(directory); /* fails if a test left a file behind */
}

/* --- the model: sorted versions --- */

struct version {
	uint8_t *key;
	uint8_t *value;
	uint32_t key_size;
	uint32_t value_size;
	uint64_t sequence;
	enum entry_kind kind;
};

struct model {
	struct version *list;
	size_t count;
	size_t capacity;
};

static struct slice key_of(const struct version *version)
{
	return slice_make(version->key, version->key_size);
}

static int version_order(const void *a, const void *b)
{
	const struct version *x = a;
	const struct version *y = b;
	return entry_compare(key_of(x), x->sequence, key_of(y), y->sequence);
}

static void model_add(struct model *model, struct slice key, uint64_t sequence, enum entry_kind kind,
		      size_t value_size, struct random *random)
{
	if (model->count == model->capacity) {
		model->capacity = model->capacity == 0 ? 256 : model->capacity * 2;
		model->list = realloc(model->list, model->capacity * sizeof(*model->list));
		CHECK(model->list != NULL);
	}
	struct version *version = &model->list[model->count++];
	*version = (struct version) {
		.key = malloc(key.size + 1),
		.value = malloc(value_size + 8),
		.key_size = (uint32_t)key.size,
		.value_size = (uint32_t)value_size,
		.sequence = sequence,
		.kind = kind,
	};
	if (key.size > 0)
		memcpy(version->key, key.data, key.size);
	/* Every other word is noise: values shrink to about half. */
	for (size_t i = 0; i < value_size; i += 8)
		bytes_store64(version->value + i, i % 16 == 0 ? random_next(random) : 0x6162636465666768ull);
}

static void model_sort(struct model *model)
{
	qsort(model->list, model->count, sizeof(*model->list), version_order);
	size_t kept = 0;
	for (size_t i = 0; i < model->count; i++) {
		if (kept > 0 && version_order(&model->list[kept - 1], &model->list[i]) == 0) {
			free(model->list[i].key);
			free(model->list[i].value);
			continue;
		}
		model->list[kept++] = model->list[i];
	}
	model->count = kept;
}

static void model_free(struct model *model)
{
	for (size_t i = 0; i < model->count; i++) {
		free(model->list[i].key);
		free(model->list[i].value);
	}
	free(model->list);
	*model = (struct model) { 0 };
}

/* The first version >= (key, sequence). */
static size_t model_search(const struct model *model, struct slice key, uint64_t sequence)
{
	size_t low = 0;
	size_t high = model->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct version *version = &model->list[middle];
		if (entry_compare(key_of(version), version->sequence, key, sequence) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool same_entry(const struct entry *entry, const struct version *version)
{
	return slice_equal(entry->key, key_of(version)) && entry->sequence == version->sequence &&
	       entry->kind == version->kind &&
	       slice_equal(entry->value, slice_make(version->value, version->value_size));
}

/* --- what tables are made of --- */

/* Keys as a bench has them, all different. */
static void make_plain(struct model *model, struct random *random, size_t count, size_t value_size)
{
	char key[32];
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(key, sizeof(key), "user%019llu",
			       (unsigned long long)(random_next(random) % 10000000000000000000ull));
		model_add(model, slice_from_string(key), i + 1, ENTRY_PUT, value_size, random);
	}
	model_sort(model);
}

/* Few letters, all lengths from 0, several versions, deletes, and now and then a large value. */
static void make_mixed(struct model *model, struct random *random, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t key[40];
		size_t size = (size_t)random_below(random, random_below(random, 3) == 0 ? 40 : 5);
		for (size_t j = 0; j < size; j++)
			key[j] = (uint8_t)("\0\0aab\xff"[random_below(random, 6)]);
		size_t value_size = (size_t)random_below(random, 200);
		if (random_below(random, 50) == 0)
			value_size = (size_t)random_below(random, 20000);
		bool put = random_below(random, 5) != 0;
		model_add(model, slice_make(key, size), random_below(random, 1 << 20),
			  put ? ENTRY_PUT : ENTRY_DELETE, put ? value_size : 0, random);
	}
	model_sort(model);
}

/* Keys of up to 64 KiB that agree in almost all of it. */
static void make_long_keys(struct model *model, struct random *random, size_t count)
{
	static uint8_t key[KEY_BYTES_MAX];
	for (size_t i = 0; i < count; i++) {
		memset(key, i % 3 == 0 ? 0xff : 'x', sizeof(key));
		size_t size = sizeof(key) - (size_t)random_below(random, i % 2 == 0 ? 3 : 65000);
		if (size > 2)
			key[size - 1 - random_below(random, 2)] = (uint8_t)random_next(random);
		model_add(model, slice_make(key, size), random_below(random, 3), ENTRY_PUT,
			  (size_t)random_below(random, 300), random);
	}
	model_sort(model);
}

/* Values of up to 1 MiB among small ones. */
static void make_long_values(struct model *model, struct random *random, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char key[32];
		(void)snprintf(key, sizeof(key), "%08llu",
			       (unsigned long long)random_below(random, 100000000));
		size_t value_size = (size_t)random_below(random, 100);
		if (i % 4 == 0)
			value_size = i % 16 == 0 ? VALUE_BYTES_MAX - i % 32 / 16
						 : (size_t)random_below(random, VALUE_BYTES_MAX);
		model_add(model, slice_from_string(key), i, ENTRY_PUT, value_size, random);
	}
	model_sort(model);
}

/* Chains of versions that run over many blocks and partitions, between keys close by. */
static void make_chains(struct model *model, struct random *random, size_t count)
{
	static const char *const keys[] = { "chain", "chain\x01", "chaim", "chainn", "d", "" };
	for (size_t i = 0; i < count; i++) {
		const char *key = keys[random_below(random, 40) < 30 ? 0 : random_below(random, 6)];
		bool put = random_below(random, 9) != 0;
		uint64_t sequence =
			random_below(random, 4) == 0 ? SEQUENCE_MAX - i : random_below(random, count * 4);
		model_add(model, slice_from_string(key), sequence, put ? ENTRY_PUT : ENTRY_DELETE,
			  put ? (size_t)random_below(random, 150) : 0, random);
	}
	model_sort(model);
}

/* --- one shard, one pool --- */

static const uint64_t database_id[2] = { 0x1122334455667788ull, 0x99aabbccddeeff00ull };

struct world {
	struct task *self;
	struct buffer_pool *pool;
	uint64_t pool_bytes;
	uint64_t next_number;
	struct table_options options;
	struct model model;
	struct random random;
	void (*body)(struct world *world);
};

static const void *component(enum component_kind kind, const char *name)
{
	return component_find(kind, name);
}

static void world_task(struct task *self, void *argument)
{
	struct world *world = argument;
	world->self = self;
	struct buffer_pool_options options = {
		.bytes = world->pool_bytes,
		.strategy = component(COMPONENT_CACHE, "clock"),
	};
	CHECK_OK(buffer_pool_create(task_shard(self), &options, &world->pool));
	world->body(world);
	CHECK(buffer_counters(world->pool)->frames_pinned == 0);
	CHECK(buffer_counters(world->pool)->frames_used == 0);
	CHECK(buffer_local(world->pool) == NULL);
	buffer_pool_destroy(world->pool);
	model_free(&world->model);
}

static void run_world(const char *backend, bool direct, uint64_t pool_bytes,
		      void (*body)(struct world *world))
{
	struct runtime_options options = { .shards = 1, .io_backend = backend, .io = { .direct = direct } };
	struct runtime *runtime;
	char notice[200];
	assert_ok(runtime_create(&options, &runtime, notice, sizeof(notice)));
	struct world world = {
		.pool_bytes = pool_bytes,
		.next_number = 1,
		.body = body,
		.random = random_stream(seed),
		.options = { .database_id = { database_id[0], database_id[1] }, .shard = 3, .level = 2 },
	};
	world.options.filter = component(COMPONENT_FILTER, "cacheline");
	runtime_run(runtime, 0, world_task, &world);
	runtime_destroy(runtime);
}

static struct status try_build(struct world *world, struct manifest_table *meta)
{
	struct table_builder *builder;
	TRY(table_builder_create(world->self, &world->options, directory, world->next_number, &builder));
	for (size_t i = 0; i < world->model.count; i++) {
		const struct version *version = &world->model.list[i];
		struct entry entry = {
			.key = key_of(version),
			.value = slice_make(version->value, version->value_size),
			.sequence = version->sequence,
			.kind = version->kind,
		};
		struct status status = table_builder_add(world->self, builder, &entry);
		if (!status_is_ok(status)) {
			/* It stays failed, and says so as often as it is asked. */
			CHECK(!status_is_ok(table_builder_add(world->self, builder, &entry)));
			if (i % 2 == 0)
				return table_builder_finish(world->self, builder, meta);
			table_builder_abandon(world->self, builder);
			return status;
		}
		CHECK(table_builder_entries(builder) == i + 1);
	}
	return table_builder_finish(world->self, builder, meta);
}

static struct status try_open(struct world *world, const struct manifest_table *meta, struct table **table)
{
	return table_open(world->self, world->pool, directory, database_id, 3, meta, table);
}

static struct table *build_and_open(struct world *world)
{
	struct manifest_table meta;
	struct table *table;
	CHECK_OK(try_build(world, &meta));
	world->next_number++;
	CHECK(meta.entries == world->model.count && meta.level == 2);
	CHECK_OK(try_open(world, &meta, &table));
	manifest_table_free(&meta);
	return table;
}

/* --- reading --- */

/* The way every caller goes; the lookup is the caller's to end. */
static struct status get(struct task *self, struct table *table, struct slice key, uint64_t sequence,
			 struct table_lookup *lookup, bool *found)
{
	uint64_t hash = hash_key(key);
	*lookup = (struct table_lookup) { 0 };
	for (;;) {
		enum table_answer answer = table_get(table, key, hash, sequence, lookup);
		*found = answer == TABLE_FOUND;
		if (answer == TABLE_FAILED)
			return lookup->status;
		if (answer != TABLE_NEEDS)
			return status_ok();
		TRY(table_load(self, table, lookup));
	}
}

/* One get against the model; a damaged table may say STATUS_CORRUPT, but nothing wrong. */
static struct status check_get(struct world *world, struct task *self, struct table *table, struct slice key,
			       uint64_t sequence)
{
	struct table_lookup lookup;
	bool found;
	struct status status = get(self, table, key, sequence, &lookup, &found);
	if (status_is_ok(status)) {
		size_t at = model_search(&world->model, key, sequence);
		bool there = at < world->model.count && slice_equal(key_of(&world->model.list[at]), key);
		CHECK(found == there);
		if (found)
			CHECK(same_entry(&lookup.entry, &world->model.list[at]));
		CHECK(!(found && lookup.filtered));
	}
	table_lookup_end(table, &lookup);
	table_lookup_end(table, &lookup);
	return status;
}

/* Walks from where the iterator stands, which must be model entry `at`. */
static struct status check_walk(struct world *world, struct task *self, struct iterator *it, size_t at,
				size_t steps)
{
	for (; steps > 0 && at < world->model.count; steps--, at++) {
		CHECK(it->valid);
		CHECK(same_entry(&it->entry, &world->model.list[at]));
		TRY(iterator_next(self, it));
	}
	CHECK(it->valid == (at < world->model.count));
	return status_ok();
}

static struct status check_iterator(struct world *world, struct task *self, struct iterator *it)
{
	TRY(iterator_seek_first(self, it));
	return check_walk(world, self, it, 0, SIZE_MAX);
}

/* A key like one of the model's, or one beside it. */
static struct slice some_key(struct world *world, uint8_t *buffer)
{
	if (world->model.count == 0)
		return slice_from_string("x");
	const struct version *version = &world->model.list[random_below(&world->random, world->model.count)];
	size_t size = version->key_size;
	memcpy(buffer, version->key, size);
	switch (random_below(&world->random, 6)) {
	case 0:
		if (size > 0)
			buffer[size - 1] = (uint8_t)random_next(&world->random);
		break;
	case 1:
		size = (size_t)random_below(&world->random, size + 1);
		break;
	case 2:
		if (size < KEY_BYTES_MAX)
			buffer[size++] = (uint8_t)(random_next(&world->random) & 1);
		break;
	case 3:
		if (size > 0)
			buffer[random_below(&world->random, size)] ^= 1;
		break;
	default:
		break;
	}
	return slice_make(buffer, size);
}

static uint64_t some_sequence(struct world *world)
{
	const struct model *model = &world->model;
	if (model->count == 0 || random_below(&world->random, 4) == 0)
		return SEQUENCE_MAX;
	uint64_t sequence = model->list[random_below(&world->random, model->count)].sequence;
	return sequence + (sequence < SEQUENCE_MAX ? random_below(&world->random, 2) : 0);
}

static void check_seeks(struct world *world, struct iterator *it, size_t count)
{
	static uint8_t buffer[KEY_BYTES_MAX + 1];
	for (size_t i = 0; i < count; i++) {
		struct slice key = some_key(world, buffer);
		uint64_t sequence = some_sequence(world);
		CHECK_OK(iterator_seek(world->self, it, key, sequence));
		CHECK_OK(check_walk(world, world->self, it, model_search(&world->model, key, sequence),
				    (size_t)random_below(&world->random, 50)));
	}
}

static void check_gets(struct world *world, struct table *table, size_t count)
{
	static uint8_t buffer[KEY_BYTES_MAX + 1];
	for (size_t i = 0; i < world->model.count; i++) {
		const struct version *version = &world->model.list[i];
		CHECK_OK(check_get(world, world->self, table, key_of(version), version->sequence));
		CHECK_OK(check_get(world, world->self, table, key_of(version), SEQUENCE_MAX));
		if (version->sequence > 0)
			CHECK_OK(
				check_get(world, world->self, table, key_of(version), version->sequence - 1));
	}
	for (size_t i = 0; i < count; i++) {
		struct slice key = some_key(world, buffer);
		table_prefetch(table, key, hash_key(key));
		CHECK_OK(check_get(world, world->self, table, key, some_sequence(world)));
	}
}

static void check_table(struct world *world, struct table *table, size_t effort)
{
	struct iterator *it;
	for (int kind = 0; kind < 3; kind++) {
		CHECK_OK(kind < 2 ? table_iterator_create(table, kind == 1, &it)
				  : table_stream_create(table, &it));
		CHECK(!it->valid);
		CHECK_OK(check_iterator(world, world->self, it));
		check_seeks(world, it, kind < 2 ? effort : effort / 10 + 1);
		iterator_destroy(it);
	}
	check_gets(world, table, effort * 4);
	CHECK_OK(table_verify(world->self, table));
}

/* --- round trips --- */

static void round_trip(struct world *world, size_t effort)
{
	struct table *table = build_and_open(world);
	CHECK(table_memory(table) > 0);
	check_table(world, table, effort);
	table_close(world->self, table, true);
}

/* The same model through codecs, filters and block sizes. */
static void round_trips(struct world *world, size_t effort)
{
	static const char *const codecs[] = { NULL, "none", "lz4", "zstd" };
	static const char *const filters[] = { "cacheline", "block", "none", NULL };
	static const uint32_t block_bytes[] = { 0, 1024, 16384, 65536 };
	for (size_t codec = 0; codec < 4; codec++) {
		for (size_t size = 0; size < 4; size++) {
			if (codec == 1 && size > 0)
				continue;
			/* In a small pool nearly every read goes to the file. */
			if (world->pool_bytes == SMALL_POOL && (codec + size) % 2 != 0)
				continue;
			world->options.codec =
				codecs[codec] == NULL ? NULL : component(COMPONENT_CODEC, codecs[codec]);
			const char *filter = filters[(codec + size) % 4];
			world->options.filter = filter == NULL ? NULL : component(COMPONENT_FILTER, filter);
			world->options.block_bytes = block_bytes[size];
			round_trip(world, effort);
		}
	}
}

static void plain_body(struct world *world)
{
	make_plain(&world->model, &world->random, 12000 / SCALE, 100);
	round_trips(world, 200);
}

static void mixed_body(struct world *world)
{
	make_mixed(&world->model, &world->random, 2000 / SCALE);
	round_trips(world, 200 / SCALE);
}

static void long_keys_body(struct world *world)
{
	make_long_keys(&world->model, &world->random, 60 / SCALE);
	round_trips(world, 40 / SCALE);
}

static void long_values_body(struct world *world)
{
	make_long_values(&world->model, &world->random, 64 / SCALE);
	round_trips(world, 30 / SCALE);
}

static void chains_body(struct world *world)
{
	make_chains(&world->model, &world->random, world->pool_bytes == SMALL_POOL ? 800 : 3000 / SCALE);
	round_trips(world, 200 / SCALE);
}

static void few_body(struct world *world)
{
	round_trip(world, 10); /* an empty table */
	for (size_t count = 1; count < 70; count += count < 10 ? 1 : 7) {
		model_free(&world->model);
		make_mixed(&world->model, &world->random, count);
		round_trip(world, 20);
	}
	model_free(&world->model);
	make_plain(&world->model, &world->random, 1, 0);
	round_trip(world, 20);
}

static void test_plain(void **state)
{
	(void)state;
	run_world("posix", true, LARGE_POOL, plain_body);
}

static void test_mixed(void **state)
{
	(void)state;
	run_world("posix", true, SMALL_POOL, mixed_body);
	run_world("uring", true, LARGE_POOL, mixed_body);
}

static void test_long_keys(void **state)
{
	(void)state;
	run_world("posix", true, SMALL_POOL, long_keys_body);
}

static void test_long_values(void **state)
{
	(void)state;
	run_world("uring", true, SMALL_POOL, long_values_body);
}

static void test_chains(void **state)
{
	(void)state;
	run_world("posix", true, LARGE_POOL, chains_body);
	run_world("uring", true, SMALL_POOL, chains_body);
}

static void test_few(void **state)
{
	(void)state;
	run_world("posix", true, SMALL_POOL, few_body);
}

/* --- many tasks in a pool that is too small --- */

struct getter {
	struct world *world;
	struct table *table;
	uint64_t seed;
};

static void getter_run(struct task *self, void *argument)
{
	struct getter *getter = argument;
	struct random random = random_stream(getter->seed);
	const struct model *model = &getter->world->model;
	for (int i = 0; i < 200 / SCALE; i++) {
		const struct version *version = &model->list[random_below(&random, model->count)];
		CHECK_OK(check_get(getter->world, self, getter->table, key_of(version), SEQUENCE_MAX));
	}
}

static const struct task_type getter_type = { .name = "getter", .run = getter_run, .stack_bytes = 16384 };

static void crowd_body(struct world *world)
{
	static struct getter getters[100];
	make_plain(&world->model, &world->random, 10000, 300);
	world->options.codec = component(COMPONENT_CODEC, "lz4");
	struct table *table = build_and_open(world);
	struct join join;
	join_init(&join);
	for (uint32_t i = 0; i < 100; i++) {
		getters[i] = (struct getter) { world, table, seed + i };
		CHECK_OK(task_spawn(task_shard(world->self), &getter_type, &getters[i], TASK_FOREGROUND,
				    &join));
	}
	join_wait(world->self, &join);
	CHECK(buffer_counters(world->pool)->evictions > 0);
	table_close(world->self, table, true);
}

static void test_crowd(void **state)
{
	(void)state;
	run_world("uring", true, SMALL_POOL, crowd_body);
}

/* Reads that nobody waits for any more end before the table does. */
static void left_behind_body(struct world *world)
{
	make_plain(&world->model, &world->random, 20000, 100);
	struct table *table = build_and_open(world);
	for (int i = 0; i < 20; i++) {
		struct iterator *it;
		CHECK_OK(table_stream_create(table, &it));
		CHECK_OK(iterator_seek_first(world->self, it));
		CHECK(table->references == 2);
		iterator_destroy(it);
		CHECK_OK(table_iterator_create(table, true, &it));
		CHECK_OK(iterator_seek_first(world->self, it));
		for (int j = 0; j < 200; j++)
			CHECK_OK(iterator_next(world->self, it));
		iterator_destroy(it);
	}
	table_close(world->self, table, true);
}

static void test_left_behind(void **state)
{
	(void)state;
	run_world("uring", true, LARGE_POOL, left_behind_body);
	run_world("posix", true, LARGE_POOL, left_behind_body);
}

/* --- how blocks lie in pages --- */

static double pages_per_get(struct world *world, size_t count, size_t value_size)
{
	model_free(&world->model);
	make_plain(&world->model, &world->random, count, value_size);
	struct table *table = build_and_open(world);
	uint64_t hits = 0;
	for (int round = 0; round < 2; round++) {
		hits = buffer_counters(world->pool)->hits;
		for (size_t i = 0; i < world->model.count; i++)
			CHECK_OK(check_get(world, world->self, table, key_of(&world->model.list[i]),
					   SEQUENCE_MAX));
	}
	double pages = (double)(buffer_counters(world->pool)->hits - hits) / (double)world->model.count - 1;
	table_close(world->self, table, true);
	return pages;
}

static void layout_body(struct world *world)
{
	/* 31 entries of 100 bytes fill a page, in one block; no get needs two. */
	double pages = pages_per_get(world, 3100, 100);
	CHECK(pages == 1.0);
	/* Three of 1000 bytes lie in a page, the fourth crosses into the next. */
	pages = pages_per_get(world, 3000, 1000);
	CHECK(pages < 1.27);
	struct manifest_table meta;
	CHECK_OK(try_build(world, &meta));
	CHECK(meta.bytes < meta.raw_bytes * 104 / 100);
	manifest_table_free(&meta);
	char path[TABLE_PATH_BYTES];
	table_path(path, directory, world->next_number);
	CHECK(unlink(path) == 0);
	model_free(&world->model);
	make_plain(&world->model, &world->random, 31 * 200, 100);
	CHECK_OK(try_build(world, &meta));
	/* 200 pages of data, 4 partitions or so, top index, footer. */
	CHECK(meta.bytes <= 207 * PAGE);
	manifest_table_free(&meta);
	CHECK(unlink(path) == 0);
}

static void test_layout(void **state)
{
	(void)state;
	run_world("posix", true, LARGE_POOL, layout_body);
}

/* --- filters --- */

/* Absent keys between those of the model: how many of them the filter spares a block. */
static uint32_t count_filtered(struct world *world, struct table *table)
{
	uint32_t filtered = 0;
	for (size_t i = 0; i + 1 < world->model.count; i++) {
		const struct version *version = &world->model.list[i];
		struct table_lookup lookup;
		uint8_t key[64];
		bool found;
		CHECK(version->key_size < sizeof(key));
		memcpy(key, version->key, version->key_size);
		key[version->key_size] = '!';
		CHECK_OK(get(world->self, table, slice_make(key, version->key_size + 1u), SEQUENCE_MAX,
			     &lookup, &found));
		CHECK(!found);
		filtered += lookup.filtered;
		table_lookup_end(table, &lookup);
	}
	return filtered;
}

static void filters_body(struct world *world)
{
	make_plain(&world->model, &world->random, 8000 / SCALE, 100);
	uint32_t absent = (uint32_t)world->model.count - 1;
	for (const struct component *const *row = component_list(COMPONENT_FILTER); *row != NULL; row++) {
		world->options.filter = (const void *)*row;
		world->options.block_bytes = 4096;
		struct table *table = build_and_open(world);
		uint32_t filtered = count_filtered(world, table);
		bool none = ((*row)->capabilities & FILTER_PASSES_ALL) != 0;
		CHECK(none ? filtered == 0 : filtered >= absent - absent / 30);
		CHECK_OK(table_verify(world->self, table));
		table_close(world->self, table, true);
	}
}

static void test_filters(void **state)
{
	(void)state;
	run_world("posix", true, LARGE_POOL, filters_body);
}

/* A block is not loaded before its filter has let the key pass. */
static void block_filter_body(struct world *world)
{
	make_plain(&world->model, &world->random, 3100, 100);
	world->options.filter = component(COMPONENT_FILTER, "block");
	struct table *table = build_and_open(world);
	/* Partitions are in the pool after the first round; an absent key then needs nothing else. */
	(void)count_filtered(world, table);
	uint64_t hits = buffer_counters(world->pool)->hits;
	uint32_t filtered = count_filtered(world, table);
	uint64_t pages = buffer_counters(world->pool)->hits - hits;
	uint64_t asked = world->model.count - 1;
	CHECK(filtered < asked && filtered > asked - asked / 30);
	CHECK(pages == asked + (asked - filtered));
	table_close(world->self, table, true);
}

static void test_block_filter(void **state)
{
	(void)state;
	run_world("posix", true, LARGE_POOL, block_filter_body);
}

/* --- separators --- */

static void test_separators(void **state)
{
	(void)state;
	struct random random = random_stream(seed);
	for (int i = 0; i < 200000; i++) {
		uint8_t a[6];
		uint8_t b[6];
		for (int j = 0; j < 6; j++) {
			a[j] = (uint8_t) "\0\1\x7f\xfe\xff"[random_below(&random, 5)];
			b[j] = (uint8_t) "\0\1\x7f\xfe\xff"[random_below(&random, 5)];
		}
		struct slice last = slice_make(a, (size_t)random_below(&random, 7));
		struct slice next = slice_make(b, (size_t)random_below(&random, 7));
		if (slice_compare(last, next) > 0)
			continue;
		int extra;
		uint8_t separator[8];
		size_t size = separator_shorten(last, next, &extra);
		CHECK(size <= last.size && size <= 6);
		memcpy(separator, a, size);
		if (extra >= 0)
			separator[size++] = (uint8_t)extra;
		CHECK(size <= last.size && extra < 256);
		CHECK(slice_compare(last, slice_make(separator, size)) <= 0);
		if (!slice_equal(last, next))
			CHECK(slice_compare(slice_make(separator, size), next) < 0);
	}
}

/* --- damage --- */

struct file_bytes {
	char path[TABLE_PATH_BYTES];
	uint8_t *bytes;
	size_t size;
	int fd;
};

static void load_file(struct file_bytes *file, uint64_t number)
{
	table_path(file->path, directory, number);
	file->fd = open(file->path, O_RDWR);
	struct stat info;
	CHECK(file->fd >= 0 && fstat(file->fd, &info) == 0);
	file->size = (size_t)info.st_size;
	file->bytes = malloc(file->size);
	CHECK(pread(file->fd, file->bytes, file->size, 0) == (ssize_t)file->size);
}

static void drop_file(struct file_bytes *file)
{
	(void)close(file->fd);
	(void)unlink(file->path);
	free(file->bytes);
}

static void allow_corrupt(struct status status, uint32_t *corrupt)
{
	CHECK(status_is_ok(status) || status_is(status, STATUS_CORRUPT));
	if (status_is(status, STATUS_CORRUPT)) {
		char text[256];
		status_describe(status, text, sizeof(text));
		CHECK(strstr(text, ".table: offset ") != NULL);
		(*corrupt)++;
	}
}

/* Reads all of a possibly damaged table in all ways: right data or STATUS_CORRUPT. How often the latter. */
static uint32_t read_damaged(struct world *world, const struct manifest_table *meta)
{
	struct table *table;
	uint32_t corrupt = 0;
	struct status status = try_open(world, meta, &table);
	allow_corrupt(status, &corrupt);
	if (!status_is_ok(status))
		return corrupt;
	for (size_t i = 0; i < world->model.count; i += 3) {
		const struct version *version = &world->model.list[i];
		allow_corrupt(check_get(world, world->self, table, key_of(version), version->sequence),
			      &corrupt);
	}
	for (int kind = 0; kind < 2; kind++) {
		struct iterator *it;
		CHECK_OK(kind == 0 ? table_iterator_create(table, false, &it)
				   : table_stream_create(table, &it));
		allow_corrupt(check_iterator(world, world->self, it), &corrupt);
		iterator_destroy(it);
	}
	allow_corrupt(table_verify(world->self, table), &corrupt);
	table_close(world->self, table, false);
	return corrupt;
}

static void flip_every_byte(struct world *world, uint32_t stride)
{
	struct manifest_table meta;
	CHECK_OK(try_build(world, &meta));
	struct file_bytes file;
	load_file(&file, world->next_number);
	CHECK(read_damaged(world, &meta) == 0);
	uint32_t noticed = 0;
	uint32_t zeros = 0;
	for (size_t i = 0; i < file.size; i += 1 + (stride > 1 ? random_below(&world->random, stride) : 0)) {
		/* Of padding a sample will do. */
		zeros = file.bytes[i] == 0 ? zeros + 1 : 0;
		if (zeros > 40 && i % 61 != 0)
			continue;
		uint8_t flipped = file.bytes[i] ^ (uint8_t)(1u << random_below(&world->random, 8));
		CHECK(pwrite(file.fd, &flipped, 1, (off_t)i) == 1);
		noticed += read_damaged(world, &meta) > 0;
		CHECK(pwrite(file.fd, &file.bytes[i], 1, (off_t)i) == 1);
	}
	CHECK(noticed > file.size / stride / 16);
	CHECK(read_damaged(world, &meta) == 0);
	drop_file(&file);
	manifest_table_free(&meta);
	world->next_number++;
}

static void flips_body(struct world *world)
{
	make_mixed(&world->model, &world->random, 60);
	flip_every_byte(world, STRIDE);
	world->options.codec = component(COMPONENT_CODEC, "lz4");
	flip_every_byte(world, 5 * STRIDE);
	model_free(&world->model);
	make_chains(&world->model, &world->random, 200);
	world->options.codec = NULL;
	world->options.block_bytes = 1024;
	flip_every_byte(world, 5 * STRIDE);
	world->options.filter = component(COMPONENT_FILTER, "block");
	flip_every_byte(world, 5 * STRIDE);
	model_free(&world->model);
	make_plain(&world->model, &world->random, 40, 1000);
	flip_every_byte(world, 60 * STRIDE);
}

static void test_flips(void **state)
{
	(void)state;
	/* Through the page cache, so that the test's own writes are seen at once. */
	run_world("posix", false, 1 << 20, flips_body);
}

static void truncation_body(struct world *world)
{
	make_plain(&world->model, &world->random, 400, 100);
	struct manifest_table meta;
	CHECK_OK(try_build(world, &meta));
	struct file_bytes file;
	load_file(&file, world->next_number);
	for (size_t size = 0; size < file.size; size += size % PAGE == 0   ? 1
							: size % PAGE == 1 ? 700
									   : PAGE - 701) {
		CHECK(ftruncate(file.fd, (off_t)size) == 0);
		struct table *table;
		CHECK(status_is(try_open(world, &meta, &table), STATUS_CORRUPT));
		/* Also when the manifest's length is wrong as well. */
		struct manifest_table shorter = meta;
		shorter.bytes = size;
		CHECK(status_is(try_open(world, &shorter, &table), STATUS_CORRUPT));
	}
	/* Cut off behind an open table's back. */
	CHECK(pwrite(file.fd, file.bytes, file.size, 0) == (ssize_t)file.size);
	for (size_t pages = 0; pages < file.size / PAGE; pages++) {
		struct table *table;
		uint32_t corrupt = 0;
		CHECK_OK(try_open(world, &meta, &table));
		CHECK(ftruncate(file.fd, (off_t)(pages * PAGE)) == 0);
		for (size_t i = 0; i < world->model.count; i += 7)
			allow_corrupt(check_get(world, world->self, table, key_of(&world->model.list[i]),
						SEQUENCE_MAX),
				      &corrupt);
		struct iterator *it;
		CHECK_OK(table_stream_create(table, &it));
		allow_corrupt(check_iterator(world, world->self, it), &corrupt);
		CHECK(corrupt > 0 || pages * PAGE >= meta.bytes - 2 * PAGE - PAGE);
		iterator_destroy(it);
		table_close(world->self, table, false);
		CHECK(pwrite(file.fd, file.bytes, file.size, 0) == (ssize_t)file.size);
	}
	CHECK(read_damaged(world, &meta) == 0);
	drop_file(&file);
	manifest_table_free(&meta);
}

static void test_truncation(void **state)
{
	(void)state;
	run_world("posix", false, 1 << 20, truncation_body);
}

static void put_page(struct file_bytes *file, size_t page, const uint8_t *from)
{
	CHECK(pwrite(file->fd, from, PAGE, (off_t)(page * PAGE)) == PAGE);
}

/* Whole blocks with right checksums, in wrong places. */
static void misplaced_body(struct world *world)
{
	static const uint8_t zeros[PAGE];
	make_plain(&world->model, &world->random, 31 * 8, 100);
	struct manifest_table meta;
	struct manifest_table other;
	CHECK_OK(try_build(world, &meta));
	struct file_bytes file;
	load_file(&file, world->next_number++);
	CHECK_OK(try_build(world, &other));
	struct file_bytes twin;
	load_file(&twin, world->next_number);
	for (size_t page = 0; page < file.size / PAGE; page++) {
		size_t swapped = (page + 1) % (file.size / PAGE);
		put_page(&file, page, file.bytes + swapped * PAGE);
		put_page(&file, swapped, file.bytes + page * PAGE);
		CHECK(read_damaged(world, &meta) > 0);
		put_page(&file, swapped, file.bytes + swapped * PAGE);
		/* The same page of a table with the same entries but another number. */
		put_page(&file, page, twin.bytes + page * PAGE);
		CHECK(read_damaged(world, &meta) > 0);
		/* A lost write leaves zeros, which also lie in gaps between blocks. */
		put_page(&file, page, zeros);
		CHECK(read_damaged(world, &meta) > 0);
		put_page(&file, page, file.bytes + page * PAGE);
		for (size_t sector = 0; sector < PAGE; sector += 512) {
			off_t at = (off_t)(page * PAGE + sector);
			if (memcmp(file.bytes + at, zeros, 512) == 0)
				continue;
			CHECK(pwrite(file.fd, zeros, 512, at) == 512);
			CHECK(read_damaged(world, &meta) > 0);
			CHECK(pwrite(file.fd, file.bytes + at, 512, at) == 512);
		}
	}
	CHECK(read_damaged(world, &meta) == 0);
	drop_file(&file);
	drop_file(&twin);
	manifest_table_free(&meta);
	manifest_table_free(&other);
}

static void test_misplaced(void **state)
{
	(void)state;
	run_world("posix", false, 1 << 20, misplaced_body);
}

/* --- the very file that the manifest means --- */

/* The footer names a variant by a number that nobody has; its checksum and the manifest's are right. */
static void check_unknown_variant(struct world *world, const struct file_bytes *file,
				  const struct manifest_table *meta, size_t at, const char *kind)
{
	uint8_t footer[PAGE];
	char text[256];
	struct table *table;
	memcpy(footer, file->bytes + file->size - PAGE, PAGE);
	footer[at] = 14;
	struct manifest_table named = *meta;
	named.checksum = checksum64(footer, PAGE - 8, TABLE_FOOTER_SEED);
	bytes_store64(footer + PAGE - 8, named.checksum);
	CHECK(pwrite(file->fd, footer, PAGE, (off_t)(file->size - PAGE)) == PAGE);
	struct status status = try_open(world, &named, &table);
	CHECK(status_is(status, STATUS_FORMAT));
	status_describe(status, text, sizeof(text));
	CHECK(strstr(text, kind) != NULL && strstr(text, ".table") != NULL);
}

static void identity_body(struct world *world)
{
	make_plain(&world->model, &world->random, 100, 100);
	struct manifest_table meta;
	CHECK_OK(try_build(world, &meta));
	struct table *table;
	CHECK(status_is(table_open(world->self, world->pool, directory, database_id, 4, &meta, &table),
			STATUS_CORRUPT));
	uint64_t other_id[2] = { database_id[0], database_id[1] + 1 };
	CHECK(status_is(table_open(world->self, world->pool, directory, other_id, 3, &meta, &table),
			STATUS_CORRUPT));
	struct manifest_table wrong = meta;
	wrong.checksum++;
	CHECK(status_is(try_open(world, &wrong, &table), STATUS_CORRUPT));
	wrong = meta;
	wrong.entries++;
	CHECK(status_is(try_open(world, &wrong, &table), STATUS_CORRUPT));
	wrong = meta;
	wrong.largest.size--;
	CHECK(status_is(try_open(world, &wrong, &table), STATUS_CORRUPT));
	wrong = meta;
	wrong.level = 6; /* a table may move down without being rewritten */
	CHECK_OK(try_open(world, &wrong, &table));
	table_close(world->self, table, false);
	/* A sound footer of a version to come. */
	struct file_bytes file;
	load_file(&file, world->next_number);
	uint8_t *footer = file.bytes + file.size - PAGE;
	bytes_store32(footer + 8, TABLE_FORMAT_VERSION + 1);
	bytes_store64(footer + PAGE - 8, checksum64(footer, PAGE - 8, TABLE_FOOTER_SEED));
	CHECK(pwrite(file.fd, footer, PAGE, (off_t)(file.size - PAGE)) == PAGE);
	CHECK(status_is(try_open(world, &meta, &table), STATUS_FORMAT));
	/* Codecs and filters of a build to come. */
	bytes_store32(footer + 8, TABLE_FORMAT_VERSION);
	check_unknown_variant(world, &file, &meta, 140, "codec");
	check_unknown_variant(world, &file, &meta, 141, "filter");
	drop_file(&file);
	CHECK(!status_is_ok(try_open(world, &meta, &table)));
	manifest_table_free(&meta);
}

static void test_identity(void **state)
{
	(void)state;
	run_world("posix", false, 1 << 20, identity_body);
}

/* --- failing devices and heaps --- */

static struct io_backend faulty;
static const struct io_backend *healthy;
static enum io_operation fail_operation;
static uint32_t fail_at; /* the n-th request of that kind from now; 0: none */
static uint32_t faults;
static io_complete *true_complete;

static void fault_complete(struct io_request *request)
{
	/* The open went well in truth: its handle must not be lost. */
	static struct io_request closing;
	if (request->operation == IO_OPEN) {
		closing = (struct io_request) { .operation = IO_CLOSE, .file = request->opened };
		io_submit(shard_io(shard_current()), &closing);
	}
	request->status = status_make(STATUS_NO_SPACE);
	faults++;
	true_complete(request);
}

static void faulty_submit(struct io *io, struct io_request *request)
{
	if (request->operation == fail_operation && fail_at > 0 && --fail_at == 0) {
		true_complete = request->complete;
		request->complete = fault_complete;
	}
	healthy->submit(io, request);
}

static bool exists(uint64_t number)
{
	char path[TABLE_PATH_BYTES];
	table_path(path, directory, number);
	return access(path, F_OK) == 0;
}

static void device_faults_body(struct world *world)
{
	static const enum io_operation operations[] = { IO_OPEN, IO_WRITE, IO_SYNC };
	struct io *io = shard_io(task_shard(world->self));
	healthy = io->backend;
	faulty = *healthy;
	faulty.submit = faulty_submit;
	make_plain(&world->model, &world->random, 20000, 100);
	struct manifest_table meta;
	for (size_t kind = 0; kind < 3; kind++) {
		for (uint32_t n = 1;; n++) {
			fail_operation = operations[kind];
			fail_at = n;
			faults = 0;
			meta = (struct manifest_table) { 0 };
			io->backend = &faulty;
			struct status status = try_build(world, &meta);
			io->backend = healthy;
			if (faults == 0) {
				CHECK_OK(status);
				CHECK(n > (operations[kind] == IO_WRITE ? 9 : 1));
				break;
			}
			CHECK(status_is(status, STATUS_NO_SPACE));
			/* An open that failed in the test alone has made its file all the same. */
			CHECK(exists(world->next_number) == (operations[kind] == IO_OPEN));
			CHECK(meta.smallest.data == NULL && meta.largest.data == NULL);
			world->next_number++;
		}
		/* A table of that number exists now, and is not touched. */
		struct manifest_table again;
		CHECK(!status_is_ok(try_build(world, &again)));
		struct table *table;
		CHECK_OK(try_open(world, &meta, &table));
		CHECK_OK(table_verify(world->self, table));
		table_close(world->self, table, true);
		CHECK(!exists(world->next_number));
		manifest_table_free(&meta);
		world->next_number++;
	}
	/* Given up half-way, nothing is left. */
	struct table_builder *builder;
	CHECK_OK(table_builder_create(world->self, &world->options, directory, 1000, &builder));
	for (size_t i = 0; i < 5000; i++) {
		struct entry entry = { .key = key_of(&world->model.list[i]),
				       .sequence = 1,
				       .kind = ENTRY_DELETE };
		CHECK_OK(table_builder_add(world->self, builder, &entry));
	}
	CHECK(exists(1000));
	table_builder_abandon(world->self, builder);
	CHECK(!exists(1000));
	CHECK(!status_is_ok(table_builder_create(world->self, &world->options, "/nonexistent", 1, &builder)));
	char path[TABLE_PATH_BYTES];
	table_path(path, directory, 1);
	CHECK(unlink(path) == 0); /* the one of IO_OPEN above */
}

static void test_device_faults(void **state)
{
	(void)state;
	run_world("posix", true, LARGE_POOL, device_faults_body);
}

/* Builds, opens and reads with one allocation failing; whatever happens is NO_MEMORY or right. */
static struct status everything(struct world *world)
{
	struct manifest_table meta;
	TRY(try_build(world, &meta));
	struct table *table;
	struct status status = try_open(world, &meta, &table);
	manifest_table_free(&meta);
	TRY(status);
	struct iterator *it = NULL;
	for (size_t i = 0; i < world->model.count && status_is_ok(status); i += 5)
		status = check_get(world, world->self, table, key_of(&world->model.list[i]), SEQUENCE_MAX);
	for (int kind = 0; kind < 2 && status_is_ok(status); kind++) {
		status =
			kind == 0 ? table_iterator_create(table, true, &it) : table_stream_create(table, &it);
		if (status_is_ok(status))
			status = check_iterator(world, world->self, it);
		iterator_destroy(it);
		it = NULL;
	}
	if (status_is_ok(status))
		status = table_verify(world->self, table);
	table_close(world->self, table, true);
	return status;
}

static void no_memory_body(struct world *world)
{
	make_mixed(&world->model, &world->random, 800);
	world->options.codec = component(COMPONENT_CODEC, "lz4");
	for (uint64_t n = 1;; n++) {
		memory_fail_at(n, 0);
		struct status status = everything(world);
		uint64_t fired = memory_failures_fired();
		memory_fail_at(0, 0);
		CHECK(status_is_ok(status) || status_is(status, STATUS_NO_MEMORY));
		char path[TABLE_PATH_BYTES];
		table_path(path, directory, world->next_number);
		bool left = access(path, F_OK) == 0;
		if (left)
			CHECK(!status_is_ok(status) && unlink(path) == 0);
		world->next_number++;
		if (fired == 0) {
			CHECK_OK(status);
			CHECK(n > 50);
			break;
		}
	}
}

static void test_no_memory(void **state)
{
	(void)state;
	run_world("posix", false, 1 << 20, no_memory_body);
}

/* --- speed (only with CASCADE_TEST_SPEED set) --- */

/* Of this thread's work alone: the machine may be busy with other things. */
static uint64_t cpu_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void speed_stream(struct world *world, struct table *table)
{
	uint64_t best = UINT64_MAX;
	for (int round = 0; round < 5; round++) {
		struct iterator *it;
		CHECK_OK(table_stream_create(table, &it));
		CHECK_OK(iterator_seek_first(world->self, it));
		uint64_t start = cpu_ns();
		size_t count = 0;
		for (; it->valid; count++)
			CHECK_OK(iterator_next(world->self, it));
		uint64_t ns = cpu_ns() - start;
		best = ns < best ? ns : best;
		CHECK(count == world->model.count);
		iterator_destroy(it);
	}
	(void)printf("stream next: %.1f ns\n", (double)best / (double)world->model.count);
}

/* Gets in batches whose keys were drawn, copied and hashed before the clock runs. */
static double speed_gets(struct world *world, struct table *table, bool present, uint64_t *filtered)
{
	enum { BATCHES = 20000, BATCH = 64, KEY = 23 };
	static uint8_t keys[BATCH][KEY];
	static uint64_t hashes[BATCH];
	uint64_t ns = 0;
	for (uint64_t batch = 0; batch < BATCHES; batch++) {
		for (uint64_t i = 0; i < BATCH; i++) {
			memcpy(keys[i], world->model.list[random_at(batch, i) % world->model.count].key, KEY);
			keys[i][KEY - 1] ^= present ? 0 : 0x40;
			hashes[i] = hash_key(slice_make(keys[i], KEY));
		}
		uint64_t start = cpu_ns();
		for (uint64_t i = 0; i < BATCH; i++) {
			struct table_lookup lookup = { 0 };
			enum table_answer answer;
			while ((answer = table_get(table, slice_make(keys[i], KEY), hashes[i], SEQUENCE_MAX,
						   &lookup)) == TABLE_NEEDS)
				CHECK_OK(table_load(world->self, table, &lookup));
			CHECK((answer == TABLE_FOUND) == present);
			*filtered += lookup.filtered;
			table_lookup_end(table, &lookup);
		}
		ns += cpu_ns() - start;
	}
	return (double)ns / ((double)BATCHES * BATCH);
}

static void speed_get(struct world *world, struct table *table)
{
	uint64_t filtered = 0;
	(void)speed_gets(world, table, true, &filtered);
	(void)printf("table_get of %zu, present: %.1f ns\n", world->model.count,
		     speed_gets(world, table, true, &filtered));
	(void)printf("table_get of %zu, absent: %.1f ns\n", world->model.count,
		     speed_gets(world, table, false, &filtered));
}

/* The model's bytes in its order, so that reading them is not what is measured. */
static void pack(struct model *model)
{
	static uint8_t *bytes;
	bytes = realloc(bytes, model->count * 160);
	CHECK(bytes != NULL);
	uint8_t *to = bytes;
	for (size_t i = 0; i < model->count; i++) {
		struct version *version = &model->list[i];
		CHECK(version->key_size + version->value_size <= 160);
		memcpy(to, version->key, version->key_size);
		free(version->key);
		version->key = to;
		to += version->key_size;
		memcpy(to, version->value, version->value_size);
		free(version->value);
		version->value = to;
		to += version->value_size;
	}
}

static void speed_scan(struct world *world, struct table *table)
{
	struct iterator *it;
	CHECK_OK(table_iterator_create(table, true, &it));
	for (int round = 0; round < 2; round++) {
		uint64_t start = cpu_ns();
		CHECK_OK(iterator_seek_first(world->self, it));
		while (it->valid)
			CHECK_OK(iterator_next(world->self, it));
		(void)printf("scan next (%s): %.1f ns\n", round == 0 ? "first" : "again",
			     (double)(cpu_ns() - start) / (double)world->model.count);
	}
	enum { SEEKS = 500000 };
	uint64_t start = cpu_ns();
	for (size_t i = 0; i < SEEKS; i++) {
		struct slice key = key_of(&world->model.list[random_at(4, i) % world->model.count]);
		CHECK_OK(iterator_seek(world->self, it, key, SEQUENCE_MAX));
		CHECK(it->valid);
	}
	(void)printf("scan seek: %.1f ns\n", (double)(cpu_ns() - start) / SEEKS);
	iterator_destroy(it);
}

static void speed_body(struct world *world)
{
	make_plain(&world->model, &world->random, 300000, 100);
	pack(&world->model);
	for (int codec = 0; codec < 2; codec++) {
		world->options.codec = codec == 0 ? NULL : component(COMPONENT_CODEC, "lz4");
		(void)printf("--- %s\n", codec == 0 ? "raw" : "lz4");
		struct table *table = NULL;
		for (int round = 0; round < 3; round++) {
			if (table != NULL)
				table_close(world->self, table, true);
			uint64_t start = cpu_ns();
			table = build_and_open(world);
			(void)printf("builder add: %.1f ns, %.1f MiB\n",
				     (double)(cpu_ns() - start) / (double)world->model.count,
				     (double)table->meta.bytes / (1 << 20));
		}
		speed_stream(world, table);
		speed_scan(world, table);
		speed_get(world, table);
		table_close(world->self, table, true);
		/* The same with what fits into the processor's caches: the work without the waiting. */
		size_t count = world->model.count;
		world->model.count = 8000;
		table = build_and_open(world);
		speed_get(world, table);
		table_close(world->self, table, true);
		world->model.count = count;
	}
	/* Packed keys and values are not freed one by one. */
	for (size_t i = 0; i < world->model.count; i++) {
		world->model.list[i].key = NULL;
		world->model.list[i].value = NULL;
	}
}

static void test_speed(void **state)
{
	(void)state;
	if (getenv("CASCADE_TEST_SPEED") == NULL)
		skip();
	run_world("uring", true, 64 << 20, speed_body);
}

int main(void)
{
	seed = test_seed(20240607);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_separators),    cmocka_unit_test(test_few),
		cmocka_unit_test(test_plain),	      cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_long_keys),     cmocka_unit_test(test_long_values),
		cmocka_unit_test(test_chains),	      cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_left_behind),   cmocka_unit_test(test_layout),
		cmocka_unit_test(test_filters),	      cmocka_unit_test(test_block_filter),
		cmocka_unit_test(test_flips),	      cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_misplaced),     cmocka_unit_test(test_identity),
		cmocka_unit_test(test_device_faults), cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_speed),
	};
	if (getenv("CASCADE_TEST_SPEED") != NULL)
		cmocka_set_test_filter("test_speed");
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
