/*
 * chain_test.c: the tables of a sorted level as one iterator, against a sorted list. Takes about 2 s.
 */
#include "compaction/chain.h"
#include "compaction/compaction_test.h"

enum { TABLES_MAX = 6, ROWS_MAX = 1200 };

struct level {
	struct world *world;
	struct random random;
	struct row rows[ROWS_MAX]; /* in order; each table holds a stretch of them */
	size_t count;
	struct table *tables[TABLES_MAX];
	size_t table_count;
};

static void make_key(struct row *row, uint64_t number)
{
	row->key_size =
		(uint32_t)snprintf((char *)row->key, ROW_KEY_MAX, "k%08llu", (unsigned long long)number);
}

/* Disjoint tables with gaps between them, some of a single row, keys with several versions. */
static void level_make(struct level *level)
{
	struct world *world = level->world;
	uint64_t key = 10;
	level->count = 0;
	level->table_count = 1 + random_below(&level->random, TABLES_MAX);
	for (size_t t = 0; t < level->table_count; t++) {
		struct table_builder *builder;
		struct manifest_table meta;
		uint64_t rows =
			random_below(&level->random, 4) == 0 ? 1 : 1 + random_below(&level->random, 200);
		CHECK_OK(table_builder_create(world->self, &world->table_options, world->directory,
					      world->next_number++, &builder));
		key += random_below(&level->random, 20);
		for (uint64_t i = 0; i < rows; i++) {
			uint8_t value[512];
			struct row *row = &level->rows[level->count++];
			*row = (struct row) { .kind = ENTRY_PUT, .value = level->count };
			row->value_size = (uint32_t)random_below(&level->random, 500);
			row->sequence = 100 - i % 5;
			if (i % 5 == 0)
				key += 1 + random_below(&level->random, 3);
			make_key(row, key);
			row_value(row, value);
			struct entry entry = { .key = row_key(row),
					       .value = slice_make(value, row->value_size),
					       .sequence = row->sequence,
					       .kind = row->kind };
			CHECK_OK(table_builder_add(world->self, builder, &entry));
		}
		key++;
		CHECK_OK(table_builder_finish(world->self, builder, &meta));
		level->tables[t] = world_open(world, &meta);
		manifest_table_free(&meta);
	}
}

static void level_close(struct level *level)
{
	for (size_t t = 0; t < level->table_count; t++)
		table_close(level->world->self, level->tables[t], true);
	CHECK(count_files(level->world) == 0);
}

static void walk(struct level *level, struct iterator *chain, size_t at, uint64_t steps)
{
	struct task *self = level->world->self;
	for (; at < level->count; at++) {
		CHECK(chain->valid);
		CHECK(chain->entry.sequence == level->rows[at].sequence);
		CHECK(row_is(&level->rows[at], &chain->entry));
		if (steps-- == 0)
			return;
		CHECK_OK(iterator_next(self, chain));
	}
	CHECK(!chain->valid);
}

static size_t find(const struct level *level, struct slice key, uint64_t sequence)
{
	size_t at = 0;
	while (at < level->count &&
	       entry_compare(row_key(&level->rows[at]), level->rows[at].sequence, key, sequence) < 0)
		at++;
	return at;
}

static void chain_all(struct level *level, enum chain_mode mode, bool readahead)
{
	struct task *self = level->world->self;
	struct iterator *chain;
	CHECK_OK(chain_iterator_create(level->tables, level->table_count, mode, readahead, &chain));
	CHECK(!chain->valid);
	CHECK_OK(iterator_seek_first(self, chain));
	walk(level, chain, 0, UINT64_MAX);
	CHECK_OK(iterator_seek_first(self, chain));
	walk(level, chain, 0, 7);
	iterator_destroy(chain);
}

static void chain_seeks(struct level *level)
{
	struct task *self = level->world->self;
	struct iterator *chain;
	CHECK_OK(chain_iterator_create(level->tables, level->table_count, CHAIN_POOLED, true, &chain));
	for (unsigned i = 0; i < 60; i++) {
		/* To rows, between them, into the gaps between tables, before the first and past the last. */
		struct row target = { 0 };
		uint64_t sequence = random_below(&level->random, 3) == 0 ? SEQUENCE_MAX : 96 + i % 6;
		if (random_below(&level->random, 2) == 0)
			target = level->rows[random_below(&level->random, level->count)];
		else
			make_key(&target, random_below(&level->random, 900));
		CHECK_OK(iterator_seek(self, chain, row_key(&target), sequence));
		walk(level, chain, find(level, row_key(&target), sequence), random_below(&level->random, 80));
	}
	iterator_destroy(chain);
}

static void chains(struct world *world)
{
	static struct level level;
	level = (struct level) { .world = world, .random = random_stream(seed) };
	for (unsigned round = 0; round < 40; round++) {
		level_make(&level);
		chain_all(&level, CHAIN_STREAMED, false);
		chain_all(&level, CHAIN_POOLED, round % 2 == 0);
		chain_seeks(&level);
		level_close(&level);
	}
}

static void test_chains_read_as_one(void **state)
{
	(void)state;
	seed = test_seed(511);
	in_world(chains);
}

/* One that was left in the midst lets go of everything. */
static void leave(struct world *world)
{
	static struct level level;
	level = (struct level) { .world = world, .random = random_stream(seed) };
	level_make(&level);
	for (size_t t = 0; t < level.table_count; t++)
		CHECK(level.tables[t]->references == 1);
	for (unsigned mode = 0; mode < 2; mode++) {
		for (uint64_t n = 1; n < 40; n++) {
			struct iterator *chain;
			memory_fail_at(n, 0);
			struct status status = chain_iterator_create(
				level.tables, level.table_count, mode == 0 ? CHAIN_POOLED : CHAIN_STREAMED,
				true, &chain);
			bool created = status_is_ok(status);
			if (created)
				status = iterator_seek_first(world->self, chain);
			while (status_is_ok(status) && chain->valid)
				status = iterator_next(world->self, chain);
			bool fired = memory_failures_fired() > 0;
			memory_fail_at(0, 0);
			CHECK(status_is_ok(status) || (fired && status_is(status, STATUS_NO_MEMORY)));
			if (created) {
				CHECK(!chain->valid);
				/* With memory again, a new seek goes on. */
				CHECK_OK(iterator_seek_first(world->self, chain));
				walk(&level, chain, 0, n);
				iterator_destroy(chain);
			}
			for (size_t t = 0; t < level.table_count; t++)
				CHECK(level.tables[t]->references == 1);
		}
	}
	level_close(&level);
}

static void test_no_memory(void **state)
{
	(void)state;
	seed = test_seed(512);
	in_world(leave);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chains_read_as_one),
		cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
