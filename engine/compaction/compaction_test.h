/*
 * compaction_test.h: what the tests of compaction share: rows in memory as an iterator, and a shard with a
 * directory to build tables in.
 */
#ifndef CASCADE_COMPACTION_COMPACTION_TEST_H
#define CASCADE_COMPACTION_COMPACTION_TEST_H

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#define CHECK_SEED seed
#include "check_or_abort.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "components/component.h"
#include "runtime/runtime.h"
#include "table/table.h"

static uint64_t seed; /* of the running test, for messages */

/* --- rows --- */

enum { ROW_KEY_MAX = 24 };

struct row {
	uint8_t key[ROW_KEY_MAX];
	uint32_t key_size;
	uint32_t value_size;
	uint64_t sequence;
	uint64_t value; /* names the version; its bytes follow from it */
	enum entry_kind kind;
};

static inline struct slice row_key(const struct row *row)
{
	return slice_make(row->key, row->key_size);
}

static inline int compare_rows(const void *a, const void *b)
{
	const struct row *x = a;
	const struct row *y = b;
	return entry_compare(row_key(x), x->sequence, row_key(y), y->sequence);
}

static inline void row_value(const struct row *row, uint8_t *to)
{
	for (uint32_t i = 0; i < row->value_size; i++)
		to[i] = (uint8_t)(i < 8 ? row->value >> (8 * i) : random_at(row->value, i / 3));
}

/* Whether an entry is the row, but for its sequence. */
static inline bool row_is(const struct row *row, const struct entry *entry)
{
	static uint8_t value[1 << 16];
	row_value(row, value);
	return slice_equal(row_key(row), entry->key) && row->kind == entry->kind &&
	       slice_equal(slice_make(value, row->value_size), entry->value);
}

/* --- rows as an iterator, which can be made to fail --- */

struct row_iterator {
	struct iterator base;
	const struct row *rows;
	size_t count;
	size_t at;
	size_t fail_at; /* an error instead of this row; SIZE_MAX: none */
	bool *destroyed;
	const unsigned *turns; /* of somebody else on the shard; NULL: nobody counts */
	unsigned turns_before, rows_in_a_row, rows_in_a_row_max;
	uint8_t value[1 << 16];
};

static inline struct status row_iterator_publish(struct row_iterator *iterator)
{
	iterator->base.valid = false;
	if (iterator->at == iterator->fail_at)
		return status_error(STATUS_IO, "the input fails");
	if (iterator->at == iterator->count)
		return status_ok();
	const struct row *row = &iterator->rows[iterator->at];
	if (iterator->turns != NULL) {
		iterator->rows_in_a_row =
			*iterator->turns == iterator->turns_before ? iterator->rows_in_a_row + 1 : 0;
		iterator->turns_before = *iterator->turns;
		if (iterator->rows_in_a_row > iterator->rows_in_a_row_max)
			iterator->rows_in_a_row_max = iterator->rows_in_a_row;
	}
	row_value(row, iterator->value);
	iterator->base.entry = (struct entry) { .key = row_key(row),
						.value = slice_make(iterator->value, row->value_size),
						.sequence = row->sequence,
						.kind = row->kind };
	iterator->base.valid = true;
	return status_ok();
}

static inline struct status row_iterator_seek(struct task *self, struct iterator *base, struct slice key,
					      uint64_t sequence)
{
	(void)self;
	struct row_iterator *iterator = CONTAINER_OF(base, struct row_iterator, base);
	for (iterator->at = 0; iterator->at < iterator->count; iterator->at++) {
		const struct row *row = &iterator->rows[iterator->at];
		if (entry_compare(row_key(row), row->sequence, key, sequence) >= 0)
			break;
	}
	return row_iterator_publish(iterator);
}

static inline struct status row_iterator_next(struct task *self, struct iterator *base)
{
	(void)self;
	struct row_iterator *iterator = CONTAINER_OF(base, struct row_iterator, base);
	iterator->at++;
	return row_iterator_publish(iterator);
}

static inline void row_iterator_destroy(struct iterator *base)
{
	struct row_iterator *iterator = CONTAINER_OF(base, struct row_iterator, base);
	if (iterator->destroyed != NULL)
		*iterator->destroyed = true;
	if (iterator->turns != NULL)
		CHECK(iterator->rows_in_a_row_max <= 4);
	free(iterator);
}

static inline struct row_iterator *row_iterator_create(const struct row *rows, size_t count)
{
	static const struct iterator_ops ops = {
		.seek = row_iterator_seek,
		.next = row_iterator_next,
		.destroy = row_iterator_destroy,
	};
	struct row_iterator *iterator = calloc(1, sizeof(*iterator));
	CHECK(iterator != NULL);
	iterator->base.ops = &ops;
	iterator->rows = rows;
	iterator->count = count;
	iterator->fail_at = SIZE_MAX;
	return iterator;
}

/* --- a shard and a directory --- */

struct world {
	struct runtime *runtime;
	struct task *self; /* while a test's function runs */
	struct buffer_pool *pool;
	char directory[64];
	struct table_options table_options;
	_Alignas(16) uint8_t filter_options[256];
	_Alignas(16) uint8_t cache_options[256];
	uint64_t next_number;
	void (*run)(struct world *world);
};

static const uint64_t world_database[2] = { 11, 22 };

static inline void world_task(struct task *self, void *argument)
{
	struct world *world = argument;
	const struct component *cache = component_list(COMPONENT_CACHE)[0];
	component_default_options(cache, world->cache_options);
	struct buffer_pool_options pool_options = { .bytes = 1 << 20,
						    .strategy = (const void *)cache,
						    .strategy_options = world->cache_options };
	world->self = self;
	CHECK_OK(buffer_pool_create(task_shard(self), &pool_options, &world->pool));
	world->run(world);
	buffer_pool_destroy(world->pool);
}

/* Runs a function as a task, with a pool and an empty directory, which it leaves empty. */
static inline void in_world(void (*run)(struct world *world))
{
	char notice[200];
	static struct world world;
	world = (struct world) { .run = run, .next_number = 1 };
	const struct component *filter = component_list(COMPONENT_FILTER)[0];
	component_default_options(filter, world.filter_options);
	world.table_options = (struct table_options) {
		.codec = (const void *)component_find(COMPONENT_CODEC, "none"),
		.filter = (const void *)filter,
		.filter_options = world.filter_options,
		.block_bytes = 1024,
		.database_id = { world_database[0], world_database[1] },
		.level = 3,
	};
	(void)snprintf(world.directory, sizeof(world.directory), "/tmp/compaction_test.XXXXXX");
	CHECK(mkdtemp(world.directory) != NULL);
	struct runtime_options options = { .shards = 1, .io_backend = "posix" };
	CHECK_OK(runtime_create(&options, &world.runtime, notice, sizeof(notice)));
	runtime_run(world.runtime, 0, world_task, &world);
	runtime_destroy(world.runtime);
	CHECK(rmdir(world.directory) == 0);
}

static inline unsigned count_files(const struct world *world)
{
	DIR *directory = opendir(world->directory);
	CHECK(directory != NULL);
	unsigned count = 0;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
		count += entry->d_name[0] != '.';
	CHECK(closedir(directory) == 0);
	return count;
}

static inline struct table *world_open(struct world *world, const struct manifest_table *meta)
{
	struct table *table;
	CHECK_OK(table_open(world->self, world->pool, world->directory, world_database, 0, meta, &table));
	return table;
}

#endif
