/*
 * version_test.c: versions of the tree: order in levels, references, and what becomes of tables that nobody
 * refers to. No files: the tables are made up.
 */
#include <string.h>

#include "test.h"

#include "base/memory.h"
#include "tree/version.h"

enum { TABLES_MAX = 64 };

struct made_up {
	struct table table;
	char smallest[16], largest[16];
};

struct world {
	struct version_set set;
	struct made_up tables[TABLES_MAX];
	struct live_table *live[TABLES_MAX];
	size_t count;
};

static void world_init(struct world *world)
{
	memset(world, 0, sizeof(*world));
	version_set_init(&world->set);
}

static struct live_table *add_table(struct world *world, unsigned level, unsigned from, unsigned to)
{
	struct made_up *made = &world->tables[world->count];
	(void)snprintf(made->smallest, sizeof(made->smallest), "%06u", from);
	(void)snprintf(made->largest, sizeof(made->largest), "%06u", to);
	made->table.meta = (struct manifest_table) { .number = world->count + 1,
						     .bytes = 1000 + world->count,
						     .level = level,
						     .smallest = slice_from_string(made->smallest),
						     .largest = slice_from_string(made->largest) };
	made->table.file.path = "made up";
	struct live_table *live = live_table_create(&world->set, &made->table);
	assert_non_null(live);
	world->live[world->count++] = live;
	return live;
}

static size_t count_dead(const struct world *world)
{
	size_t count = 0;
	for (const struct list *at = world->set.dead.next; at != &world->set.dead; at = at->next)
		count++;
	return count;
}

/* Takes the dead off the list, as whoever closes them does. */
static size_t bury(struct world *world)
{
	size_t count = 0;
	struct list *node;
	while ((node = list_take_first(&world->set.dead)) != NULL) {
		struct live_table *live = CONTAINER_OF(node, struct live_table, dead);
		assert_int_equal(live->references, 0);
		for (size_t i = 0; i < world->count; i++) {
			if (world->live[i] == live)
				world->live[i] = NULL;
		}
		memory_free(live);
		world->set.table_count--;
		count++;
	}
	return count;
}

static void assert_level(const struct version *version, unsigned level, size_t count, const uint64_t *numbers)
{
	const struct version_level *l = &version->levels[level];
	uint64_t bytes = 0;
	assert_int_equal(l->count, count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(l->tables[i]->table->meta.number, numbers[i]);
		bytes += l->tables[i]->table->meta.bytes;
	}
	assert_int_equal(l->bytes, bytes);
}

static void test_order_in_levels(void **state)
{
	(void)state;
	struct world world;
	world_init(&world);
	add_table(&world, 0, 5, 9);
	add_table(&world, 2, 50, 59);
	add_table(&world, 0, 1, 99);
	add_table(&world, 2, 10, 19);
	add_table(&world, 0, 3, 4);
	add_table(&world, 2, 30, 39);
	struct version *version;
	assert_ok(version_create(NULL, world.live, world.count, NULL, 0, &version));
	assert_level(version, 0, 3, (uint64_t[]) { 5, 3, 1 }); /* newest first */
	assert_level(version, 1, 0, NULL);
	assert_level(version, 2, 3, (uint64_t[]) { 4, 6, 2 }); /* by key */
	assert_ok(version_check(version));
	assert_int_equal(version->references, 1);
	version_release(&world.set, version);
	assert_int_equal(count_dead(&world), 6);
	assert_int_equal(bury(&world), 6);
	assert_int_equal(world.set.table_count, 0);
}

static void test_add_and_remove(void **state)
{
	(void)state;
	struct world world;
	world_init(&world);
	for (unsigned i = 0; i < 6; i++)
		add_table(&world, i < 3 ? 0 : 1, i * 10, i * 10 + 9);
	struct version *first, *second;
	assert_ok(version_create(NULL, world.live, 6, NULL, 0, &first));
	version_install(&world.set, first);
	assert_ptr_equal(world.set.current, first);
	/* A reader holds the first; a merge of tables 1, 2 and 5 makes 7. */
	version_reference(first);
	struct live_table *removed[] = { world.live[0], world.live[4], world.live[1] };
	struct live_table *merged = add_table(&world, 1, 0, 19);
	merged->table->meta.largest = slice_from_string("000009");
	assert_ok(version_create(first, &merged, 1, removed, 3, &second));
	assert_int_equal(removed[0]->references, 1);
	assert_int_equal(world.live[2]->references, 2);
	version_install(&world.set, second);
	assert_level(second, 0, 1, (uint64_t[]) { 3 });
	assert_level(second, 1, 3, (uint64_t[]) { 7, 4, 6 });
	assert_int_equal(count_dead(&world), 0);
	version_release(&world.set, first);
	assert_int_equal(count_dead(&world), 3);
	assert_int_equal(bury(&world), 3);
	/* A table that a value pins outlives its version. */
	live_table_reference(merged);
	version_release(&world.set, second);
	world.set.current = NULL;
	assert_int_equal(bury(&world), 3);
	live_table_release(&world.set, merged);
	assert_int_equal(bury(&world), 1);
	assert_int_equal(world.set.table_count, 0);
}

/* A move: the same table leaves one level and joins the next. */
static void test_move(void **state)
{
	(void)state;
	struct world world;
	world_init(&world);
	struct live_table *live = add_table(&world, 1, 10, 19);
	add_table(&world, 2, 0, 5);
	struct version *first, *second;
	assert_ok(version_create(NULL, world.live, 2, NULL, 0, &first));
	version_install(&world.set, first);
	live->table->meta.level = 2;
	assert_ok(version_create(first, &live, 1, &live, 1, &second));
	version_install(&world.set, second);
	assert_int_equal(count_dead(&world), 0);
	assert_int_equal(live->references, 1);
	assert_level(second, 1, 0, NULL);
	assert_level(second, 2, 2, (uint64_t[]) { 2, 1 });
	version_release(&world.set, second);
	assert_int_equal(bury(&world), 2);
}

/* Without memory nothing happened: no references stay, and nothing dies. */
static void test_no_memory(void **state)
{
	(void)state;
	struct world world;
	world_init(&world);
	for (unsigned i = 0; i < 20; i++)
		add_table(&world, i % 5, i * 10, i * 10 + 9);
	struct version *base, *version;
	assert_ok(version_create(NULL, world.live, 10, NULL, 0, &base));
	unsigned failed = 0;
	for (uint64_t n = 1;; n++) {
		memory_fail_at(n, 0);
		struct status status = version_create(base, world.live + 10, 10, world.live + 3, 2, &version);
		memory_fail_at(0, 0);
		if (status_is_ok(status))
			break;
		assert_status(status, STATUS_NO_MEMORY);
		assert_int_equal(count_dead(&world), 0);
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(world.live[i]->references, i < 10 ? 1 : 0);
		failed++;
	}
	assert_int_equal(failed, 6); /* the version, and the tables of five levels */
	version_release(&world.set, version);
	version_release(&world.set, base);
	assert_int_equal(bury(&world), 20);
	memory_fail_at(1, 0);
	assert_null(live_table_create(&world.set, &world.tables[0].table));
	memory_fail_at(0, 0);
}

static void test_find(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(601));
	for (unsigned round = 0; round < 200; round++) {
		struct world world;
		struct version *version;
		world_init(&world);
		unsigned count = (unsigned)random_below(&random, 40);
		unsigned at = 0;
		for (unsigned i = 0; i < count; i++) {
			unsigned from = at + 1 + (unsigned)random_below(&random, 5);
			at = from + (unsigned)random_below(&random, 5);
			add_table(&world, 1, from, at);
		}
		assert_ok(version_create(NULL, world.live, world.count, NULL, 0, &version));
		for (unsigned key = 0; key < at + 5; key++) {
			char text[16];
			(void)snprintf(text, sizeof(text), "%06u", key);
			size_t expected = 0;
			while (expected < count && strcmp(world.tables[expected].largest, text) < 0)
				expected++;
			assert_int_equal(version_level_find(&version->levels[1], slice_from_string(text)),
					 expected);
		}
		version_release(&world.set, version);
		assert_int_equal(bury(&world), count);
	}
}

static void test_check_finds_overlap(void **state)
{
	(void)state;
	static const struct {
		unsigned from, to;
		bool overlaps;
	} cases[] = { { 20, 29, false }, { 19, 29, true }, { 10, 19, true }, { 12, 13, true },
		      { 0, 9, false },	 { 0, 10, true },  { 9, 9, false } };
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (unsigned level = 0; level < 3; level++) {
			struct world world;
			struct version *version;
			world_init(&world);
			add_table(&world, level, 10, 19);
			add_table(&world, level, cases[i].from, cases[i].to);
			assert_ok(version_create(NULL, world.live, 2, NULL, 0, &version));
			assert_status(version_check(version),
				      level > 0 && cases[i].overlaps ? STATUS_CORRUPT : STATUS_OK);
			version_release(&world.set, version);
			assert_int_equal(bury(&world), 2);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_in_levels),
		cmocka_unit_test(test_add_and_remove),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_check_finds_overlap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
