/*
 * tree_test.c: one shard's tree: what happens to files and memory when flushes and merges fail or are held
 * up by readers, and a log that is larger than memory. Takes about 5 s.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK_SEED seed
#include "check_or_abort.h"

#include "base/batch.h"
#include "base/hash.h"
#include "base/memory.h"
#include "components/component.h"
#include "runtime/runtime.h"
#include "tree/tree.h"
#include "tree/tree_internal.h"

static uint64_t seed;

enum { KEYS = 300, VALUE_MAX = 4000, PATH_BYTES = 128, OPTIONS_BYTES = 256 };

/* A tree alone on a shard, and what should be in it. */
struct world {
	struct runtime *runtime;
	struct task *self;
	char place[PATH_BYTES];
	char directory[PATH_BYTES];
	char aside[PATH_BYTES];
	_Alignas(16) uint8_t component_options[COMPONENT_KIND_COUNT][OPTIONS_BYTES];
	struct store_options options;
	struct store *store;
	struct store_open_report report;
	uint64_t sequence;
	uint64_t snapshot; /* UINT64_MAX: none */
	struct random random;
	uint32_t versions[KEYS]; /* 0: not there */
	uint32_t next_version;
	bool at_once; /* half of the calls as by a caller without a task, as far as that goes */
	unsigned written_at_once;
	unsigned got_at_once;
	unsigned reads_at_once;
	void (*run)(struct world *world);
};

static struct tree *tree_in(const struct world *world)
{
	return tree_of(world->store);
}

/* --- the doors of a store --- */

static uint64_t next_sequence(void *context)
{
	return ++((struct world *)context)->sequence;
}

static uint64_t oldest_snapshot(void *context)
{
	return ((struct world *)context)->snapshot;
}

static size_t list_snapshots(void *context, uint64_t *sequences, size_t capacity)
{
	const struct world *world = context;
	if (world->snapshot == UINT64_MAX)
		return 0;
	if (capacity > 0)
		sequences[0] = world->snapshot;
	return 1;
}

static const void *component_of(struct world *world, enum component_kind kind)
{
	const struct component *component = component_list(kind)[0];
	component_default_options(component, world->component_options[kind]);
	return component;
}

static void fill_options(struct world *world)
{
	struct store_options *options = &world->options;
	*options = (struct store_options) {
		.shard = task_shard(world->self),
		.directory = world->directory,
		.database_id = { 5, 6 },
		.create = true,
		.durability = WAL_PROCESS,
		.write_timeout_ns = 5000000000ull,
		.memtable_bytes = 256 << 10,
		.cache_bytes = 512 << 10,
		.table_bytes = 64 << 10,
		.segment_bytes = 2 << 20,
		.segments_max = 3,
		.group_bytes = 64 << 10,
		.block_bytes = 2048,
		.merges_max = 2,
		.memtable = component_of(world, COMPONENT_MEMTABLE),
		.filter = component_of(world, COMPONENT_FILTER),
		.cache = component_of(world, COMPONENT_CACHE),
		.codec = (const void *)component_find(COMPONENT_CODEC, "none"),
		.policy = component_of(world, COMPONENT_COMPACTION),
		.memtable_options = world->component_options[COMPONENT_MEMTABLE],
		.filter_options = world->component_options[COMPONENT_FILTER],
		.cache_options = world->component_options[COMPONENT_CACHE],
		.policy_options = world->component_options[COMPONENT_COMPACTION],
		.next_sequence = next_sequence,
		.oldest_snapshot = oldest_snapshot,
		.snapshots = list_snapshots,
		.context = world,
	};
	/* Two tables make a merge. */
	CHECK_OK(component_set_option((const void *)options->policy,
				      world->component_options[COMPONENT_COMPACTION], "level0_tables", 2));
}

static void world_task(struct task *self, void *argument)
{
	struct world *world = argument;
	world->self = self;
	fill_options(world);
	world->run(world);
}

static void remove_all(const char *path)
{
	DIR *directory = opendir(path);
	CHECK(directory != NULL);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		char name[PATH_BYTES * 4];
		(void)snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (entry->d_name[0] != '.')
			CHECK(unlink(name) == 0);
	}
	CHECK(closedir(directory) == 0);
	CHECK(rmdir(path) == 0);
}

/* Runs a function as a task beside an empty directory. */
static void in_world(void (*run)(struct world *world), uint64_t fixed_seed)
{
	static struct world world;
	char notice[200];
	seed = test_seed(fixed_seed);
	world = (struct world) { .run = run, .snapshot = UINT64_MAX, .random = random_stream(seed) };
	(void)snprintf(world.place, sizeof(world.place), "/tmp/tree_test.XXXXXX");
	CHECK(mkdtemp(world.place) != NULL);
	(void)snprintf(world.directory, sizeof(world.directory), "%.60s/shard", world.place);
	(void)snprintf(world.aside, sizeof(world.aside), "%.60s/aside", world.place);
	CHECK(mkdir(world.directory, 0755) == 0);
	struct runtime_options options = { .shards = 1, .io_backend = "posix" };
	CHECK_OK(runtime_create(&options, &world.runtime, notice, sizeof(notice)));
	runtime_run(world.runtime, 0, world_task, &world);
	runtime_destroy(world.runtime);
	remove_all(world.directory);
	CHECK(rmdir(world.place) == 0);
}

static void open_tree(struct world *world)
{
	CHECK_OK(tree_store.open(world->self, &world->options, &world->store, &world->report));
	world->options.create = false;
	if (world->report.last_sequence > world->sequence)
		world->sequence = world->report.last_sequence;
}

static void close_tree(struct world *world)
{
	CHECK_OK(tree_store.close(world->self, world->store));
}

/* --- operations and the model --- */

static struct slice key_of(unsigned key, char text[16])
{
	(void)snprintf(text, 16, "key%05u", key);
	return slice_from_string(text);
}

static size_t make_value(uint32_t version, uint8_t value[VALUE_MAX])
{
	size_t size = random_at(9, version) % (version % 5 == 0 ? VALUE_MAX : 800);
	for (size_t i = 0; i < size; i++)
		value[i] = (uint8_t)random_at(version, i / 4);
	return size;
}

static struct status try_write(struct world *world, unsigned key, uint32_t version)
{
	static uint8_t value[VALUE_MAX];
	uint8_t header[BATCH_HEADER_BYTES_MAX];
	char text[16];
	struct slice name = key_of(key, text);
	size_t size = version == 0 ? 0 : make_value(version, value);
	size_t header_size =
		batch_encode_header(header, version == 0 ? ENTRY_DELETE : ENTRY_PUT, name.size, size);
	const struct slice pieces[3] = { slice_make(header, header_size), name, slice_make(value, size) };
	struct status status;
	if (world->at_once && random_below(&world->random, 2) == 0 &&
	    tree_store.try_write(world->store, pieces, 3, name.size + size, 0, &status)) {
		world->written_at_once++;
		return status;
	}
	return tree_store.write(world->self, world->store, pieces, 3, name.size + size, 0);
}

static void write_some(struct world *world, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned key = (unsigned)random_below(&world->random, KEYS);
		uint32_t version = random_below(&world->random, 6) == 0 ? 0 : ++world->next_version;
		CHECK_OK(try_write(world, key, version));
		world->versions[key] = version;
	}
}

/* False: it takes a task. */
static bool get_at_once(struct world *world, struct slice name, uint64_t sequence, struct store_value *value,
			struct status *status)
{
	struct store_get get = { .key = name, .hash = hash_key(name), .sequence = sequence };
	enum store_answer answer;
	while ((answer = tree_store.try_get(world->store, &get)) == STORE_READ) {
		world->reads_at_once++;
		io_carry_out(shard_io(task_shard(world->self)), get.read);
	}
	*value = get.value;
	*status = get.status;
	world->got_at_once += answer == STORE_DONE;
	return answer == STORE_DONE;
}

static struct status get(struct world *world, unsigned key, uint64_t sequence, struct store_value *value)
{
	char text[16];
	struct slice name = key_of(key, text);
	struct status status;
	if (world->at_once && random_below(&world->random, 2) == 0 &&
	    get_at_once(world, name, sequence, value, &status))
		return status;
	return tree_store.get(world->self, world->store, name, hash_key(name), sequence, value);
}

static void check_value(const struct store_value *value, uint32_t version)
{
	static uint8_t expected[VALUE_MAX];
	size_t size = make_value(version, expected);
	CHECK(slice_equal(value->value, slice_make(expected, size)));
}

static void check_all(struct world *world, const uint32_t *versions, uint64_t sequence)
{
	for (unsigned key = 0; key < KEYS; key++) {
		struct store_value value;
		struct status status = get(world, key, sequence, &value);
		if (versions[key] == 0) {
			CHECK(status_is(status, STATUS_NOT_FOUND));
			continue;
		}
		CHECK_OK(status);
		check_value(&value, versions[key]);
		tree_store.value_release(world->store, &value);
	}
}

static void check_newest(struct world *world)
{
	check_all(world, world->versions, SEQUENCE_MAX);
}

static struct status flush(struct world *world)
{
	return tree_store.flush(world->self, world->store);
}

static void settle(struct world *world)
{
	CHECK_OK(tree_store.wait_idle(world->self, world->store));
}

static unsigned count_tables(const char *path)
{
	DIR *directory = opendir(path);
	CHECK(directory != NULL);
	unsigned count = 0;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
		count += strstr(entry->d_name, ".table") != NULL;
	CHECK(closedir(directory) == 0);
	return count;
}

static unsigned live_tables(const struct world *world)
{
	size_t count = 0;
	for (unsigned l = 0; l < LEVELS_MAX; l++)
		count += tree_in(world)->versions.current->levels[l].count;
	return (unsigned)count;
}

/* --- files come and go --- */

static void run_files(struct world *world)
{
	open_tree(world);
	for (unsigned round = 0; round < 12; round++) {
		write_some(world, 150);
		CHECK_OK(flush(world));
		settle(world);
		CHECK(count_tables(world->directory) == live_tables(world));
		CHECK(tree_in(world)->versions.table_count == live_tables(world));
		check_newest(world);
	}
	CHECK(tree_in(world)->counters.merges > 0);
	CHECK_OK(tree_store.verify(world->self, world->store));
	CHECK(strcmp(world->store->ops->name, "tree") == 0);
	close_tree(world);
	open_tree(world);
	CHECK(world->report.replayed_commits == 0);
	CHECK(count_tables(world->directory) == live_tables(world));
	check_newest(world);
	close_tree(world);
}

static void test_files_are_the_live_tables(void **state)
{
	(void)state;
	in_world(run_files, 701);
}

/* A pinned value keeps its table's file, and only that, until it is released. */
static void run_pins(struct world *world)
{
	struct store_value pinned = { 0 };
	unsigned key = 0;
	open_tree(world);
	write_some(world, 400);
	CHECK_OK(flush(world));
	settle(world);
	while (world->versions[key] == 0)
		key++;
	uint32_t version = world->versions[key];
	CHECK_OK(get(world, key, SEQUENCE_MAX, &pinned));
	CHECK(pinned.table != NULL);
	for (unsigned round = 0; round < 6; round++) {
		write_some(world, 400);
		CHECK_OK(flush(world));
		settle(world);
	}
	CHECK(count_tables(world->directory) == live_tables(world) + 1);
	check_value(&pinned, version);
	tree_store.value_release(world->store, &pinned);
	settle(world);
	CHECK(count_tables(world->directory) == live_tables(world));
	/* From a memtable, over its flush. */
	CHECK_OK(try_write(world, 7, world->versions[7] = ++world->next_version));
	version = world->versions[7];
	CHECK_OK(get(world, 7, SEQUENCE_MAX, &pinned));
	CHECK(pinned.memtable != NULL);
	CHECK_OK(flush(world));
	write_some(world, 200);
	check_value(&pinned, version);
	tree_store.value_release(world->store, &pinned);
	close_tree(world);
}

static void test_pins_hold_files(void **state)
{
	(void)state;
	in_world(run_pins, 702);
}

/* Calls without a task, among others: the same values, and each read and write counted once. */
static void run_at_once(struct world *world)
{
	world->at_once = true;
	world->options.wal_buffered = true;
	open_tree(world);
	for (unsigned round = 0; round < 10; round++) {
		write_some(world, 150);
		if (round % 3 == 1)
			CHECK_OK(flush(world));
		if (round % 3 == 2)
			settle(world);
		uint64_t reads = tree_in(world)->counters.reads;
		check_newest(world);
		CHECK(tree_in(world)->counters.reads == reads + KEYS);
	}
	CHECK(tree_in(world)->counters.writes == 1500);
	CHECK(world->written_at_once > 300);
	close_tree(world);
	open_tree(world); /* the pool is empty */
	CHECK(world->report.replayed_commits == 0);
	unsigned got = world->got_at_once;
	check_newest(world);
	CHECK(world->reads_at_once > 10 && world->got_at_once > got + KEYS / 3);
	close_tree(world);
}

static void test_calls_at_once(void **state)
{
	(void)state;
	in_world(run_at_once, 711);
}

static bool write_zero(struct world *world, enum wal_durability durability, struct status *status)
{
	uint8_t header[BATCH_HEADER_BYTES_MAX];
	char text[16];
	struct slice name = key_of(0, text);
	size_t size = batch_encode_header(header, ENTRY_DELETE, name.size, 0);
	const struct slice pieces[3] = { slice_make(header, size), name, slice_make(NULL, 0) };
	return tree_store.try_write(world->store, pieces, 3, name.size, durability, status);
}

/* What would wait, or be refused, is for a task to say. */
static void run_not_at_once(struct world *world)
{
	struct status status;
	world->options.wal_buffered = true;
	open_tree(world);
	write_some(world, 10);
	CHECK(write_zero(world, WAL_PROCESS, &status));
	CHECK_OK(status);
	CHECK(!write_zero(world, WAL_POWER, &status));
	/* A flush that never ends: writers are slowed down, and then it takes a task. */
	struct tree *tree = tree_in(world);
	tree->flush_running = true;
	unsigned writes = 0;
	world->at_once = true;
	while (write_zero(world, WAL_PROCESS, &status) && ++writes < 100000)
		write_some(world, 5);
	CHECK(writes < 100000 && pacer_pressure(&tree->pacer) >= PACING_FREE);
	tree->flush_running = false;
	tree_schedule(tree);
	settle(world);
	CHECK(write_zero(world, WAL_PROCESS, &status));
	CHECK_OK(status);
	tree->failure = status_make(STATUS_NO_MEMORY);
	CHECK(!write_zero(world, WAL_PROCESS, &status));
	tree->failure = status_ok();
	world->versions[0] = 0;
	check_newest(world);
	close_tree(world);
	/* Without a log there is nothing to wait for, and nothing to be more durable with. */
	world->options.durability = WAL_MEMORY;
	open_tree(world);
	write_some(world, 10);
	world->versions[0] = 0;
	CHECK(write_zero(world, 0, &status));
	CHECK_OK(status);
	CHECK(write_zero(world, WAL_MEMORY, &status));
	CHECK_OK(status);
	CHECK(!write_zero(world, WAL_PROCESS, &status));
	check_newest(world);
	close_tree(world);
}

static void test_calls_not_at_once(void **state)
{
	(void)state;
	in_world(run_not_at_once, 712);
}

/* A get that waits for its read, while all that it looks at is merged away: what it began with stays. */
static void run_get_over_merges(struct world *world)
{
	char text[16];
	unsigned key = 0;
	open_tree(world);
	write_some(world, 600);
	close_tree(world);
	open_tree(world);
	while (world->versions[key] == 0)
		key++;
	struct slice name = key_of(key, text);
	struct store_get get = { .key = name, .hash = hash_key(name), .sequence = SEQUENCE_MAX };
	enum store_answer answer = tree_store.try_get(world->store, &get);
	CHECK(answer == STORE_READ);
	uint32_t version = world->versions[key];
	for (unsigned round = 0; round < 4; round++) {
		write_some(world, 400);
		CHECK_OK(try_write(world, key, world->versions[key] = ++world->next_version));
		CHECK_OK(flush(world));
	}
	while (answer == STORE_READ) {
		io_carry_out(shard_io(task_shard(world->self)), get.read);
		answer = tree_store.try_get(world->store, &get);
	}
	CHECK(answer == STORE_DONE);
	CHECK_OK(get.status);
	check_value(&get.value, version);
	tree_store.value_release(world->store, &get.value);
	settle(world);
	CHECK(count_tables(world->directory) == live_tables(world));
	check_newest(world);
	close_tree(world);
}

static void test_a_get_outlives_merges(void **state)
{
	(void)state;
	in_world(run_get_over_merges, 713);
}

/* --- the record cache --- */

static uint64_t records_held(struct world *world)
{
	return record_cache_counters(tree_in(world)->records)->records;
}

/* A get of the key that has come as far as its first read; it was not in memory. */
static void begin_get(struct world *world, struct slice name, struct store_get *get)
{
	*get = (struct store_get) { .key = name, .hash = hash_key(name), .sequence = SEQUENCE_MAX };
	CHECK(tree_store.try_get(world->store, get) == STORE_READ);
}

static void end_get(struct world *world, struct store_get *get, uint32_t version)
{
	enum store_answer answer = STORE_READ;
	while (answer == STORE_READ) {
		io_carry_out(shard_io(task_shard(world->self)), get->read);
		answer = tree_store.try_get(world->store, get);
	}
	CHECK(answer == STORE_DONE);
	CHECK_OK(get->status);
	check_value(&get->value, version);
	tree_store.value_release(world->store, &get->value);
}

static void check_get(struct world *world, unsigned key)
{
	struct store_value value;
	CHECK_OK(get(world, key, SEQUENCE_MAX, &value));
	check_value(&value, world->versions[key]);
	tree_store.value_release(world->store, &value);
}

/* The key in a table, nothing of it in memory. */
static void put_away(struct world *world, unsigned key)
{
	CHECK_OK(try_write(world, key, world->versions[key] = ++world->next_version));
	close_tree(world);
	open_tree(world);
}

static void run_records(struct world *world)
{
	enum { KEY = 7 };
	char text[16];
	struct slice name = key_of(KEY, text);
	struct store_get pending;
	world->options.record_bytes = 256 << 10;
	open_tree(world);

	/* What was read once is answered from the cache, whatever becomes of the table; a write ends that. */
	put_away(world, KEY);
	check_get(world, KEY);
	CHECK(records_held(world) == 1);
	uint64_t tables_asked = tree_in(world)->counters.tables_probed;
	check_get(world, KEY);
	CHECK(tree_in(world)->counters.tables_probed == tables_asked);
	CHECK_OK(try_write(world, KEY, world->versions[KEY] = ++world->next_version));
	CHECK(records_held(world) == 0);
	check_get(world, KEY);

	/* A snapshot from before the cached version does not see it. */
	world->snapshot = world->sequence;
	uint32_t before = world->versions[KEY];
	CHECK_OK(try_write(world, KEY, world->versions[KEY] = ++world->next_version));
	CHECK_OK(flush(world));
	check_get(world, KEY);
	CHECK(records_held(world) == 1);
	struct store_value value;
	CHECK_OK(get(world, KEY, world->snapshot, &value));
	check_value(&value, before);
	tree_store.value_release(world->store, &value);
	world->snapshot = UINT64_MAX;

	/* A get that began before a write and ends after it must not leave the old version behind ... */
	put_away(world, KEY);
	begin_get(world, name, &pending);
	uint32_t old = world->versions[KEY];
	CHECK_OK(try_write(world, KEY, world->versions[KEY] = ++world->next_version));
	end_get(world, &pending, old);
	CHECK(records_held(world) == 0);
	CHECK_OK(flush(world));
	check_get(world, KEY);

	/* ... nor when the memtable with the write is a table already. */
	put_away(world, KEY);
	begin_get(world, name, &pending);
	old = world->versions[KEY];
	CHECK_OK(try_write(world, KEY, world->versions[KEY] = ++world->next_version));
	CHECK_OK(flush(world));
	end_get(world, &pending, old);
	CHECK(records_held(world) == 0);
	check_get(world, KEY);

	/* A deleted key stays deleted. */
	put_away(world, KEY);
	check_get(world, KEY);
	CHECK_OK(try_write(world, KEY, 0));
	world->versions[KEY] = 0;
	CHECK_OK(flush(world));
	CHECK(status_is(get(world, KEY, SEQUENCE_MAX, &value), STATUS_NOT_FOUND));
	close_tree(world);
}

static void test_records_are_the_newest(void **state)
{
	(void)state;
	in_world(run_records, 714);
}

/* A cursor sees its snapshot over flushes and merges, and holds the files it needs. */
static void run_cursor(struct world *world)
{
	struct iterator *cursor;
	uint32_t versions[KEYS];
	open_tree(world);
	write_some(world, 300);
	CHECK_OK(flush(world));
	write_some(world, 50);
	world->snapshot = world->sequence;
	memcpy(versions, world->versions, sizeof(versions));
	CHECK_OK(tree_store.cursor_create(world->self, world->store, world->snapshot, slice_make(NULL, 0),
					  slice_make(NULL, 0), false, 0, &cursor));
	CHECK_OK(iterator_seek_first(world->self, cursor));
	for (unsigned key = 0; key < KEYS; key++) {
		char text[16];
		if (versions[key] == 0)
			continue;
		CHECK(cursor->valid);
		CHECK(slice_equal(cursor->entry.key, key_of(key, text)));
		struct store_value value = { .value = cursor->entry.value };
		check_value(&value, versions[key]);
		if (key % 40 == 0) {
			write_some(world, 200);
			CHECK_OK(flush(world));
			CHECK_OK(tree_store.wait_idle(world->self, world->store));
			check_all(world, versions, world->snapshot);
		}
		CHECK_OK(iterator_next(world->self, cursor));
	}
	CHECK(!cursor->valid);
	CHECK(count_tables(world->directory) > live_tables(world));
	iterator_destroy(cursor);
	world->snapshot = UINT64_MAX;
	settle(world);
	CHECK(count_tables(world->directory) == live_tables(world));
	check_newest(world);
	close_tree(world);
}

static void test_cursors_see_their_snapshot(void **state)
{
	(void)state;
	in_world(run_cursor, 703);
}

/* Flushes and merges that end at the same time: their edits of the manifest come one after the other, with
 * numbers that never go back. */
static void run_side_by_side(struct world *world)
{
	world->options.durability = WAL_MEMORY;
	world->options.merges_max = 4;
	open_tree(world);
	write_some(world, 8000);
	settle(world);
	CHECK(tree_in(world)->counters.background_errors == 0);
	CHECK(tree_in(world)->counters.merges > 5);
	check_newest(world);
	close_tree(world);
	open_tree(world);
	check_newest(world);
	close_tree(world);
}

static void test_flushes_and_merges_side_by_side(void **state)
{
	(void)state;
	in_world(run_side_by_side, 711);
}

/* --- failures --- */

/* The directory is gone for a while: flushes fail and are tried again, and nothing is lost. */
static void run_directory_gone(struct world *world)
{
	open_tree(world);
	write_some(world, 100);
	CHECK_OK(flush(world));
	settle(world);
	write_some(world, 30);
	CHECK(rename(world->directory, world->aside) == 0);
	CHECK(status_is(flush(world), STATUS_IO));
	CHECK(tree_in(world)->counters.background_errors > 0);
	check_newest(world);
	write_some(world, 5);
	CHECK(rename(world->aside, world->directory) == 0);
	struct status status;
	unsigned tries = 0;
	while (!status_is_ok(status = flush(world)))
		CHECK(++tries < 100);
	settle(world);
	CHECK(count_tables(world->directory) == live_tables(world));
	check_newest(world);
	close_tree(world);
	open_tree(world);
	check_newest(world);
	close_tree(world);
}

static void test_flush_is_tried_again(void **state)
{
	(void)state;
	in_world(run_directory_gone, 704);
}

/* Every allocation of flushes and merges fails once: the work is done in the end, no file is left over. */
static void run_no_memory(struct world *world)
{
	unsigned failed = 0;
	open_tree(world);
	for (uint64_t n = 1; n < 400; n += 1 + n / 40) {
		write_some(world, 30);
		memory_fail_at(n, 0);
		struct status status = flush(world);
		if (status_is_ok(status))
			status = tree_store.wait_idle(world->self, world->store);
		memory_fail_at(0, 0);
		CHECK(status_is_ok(tree_in(world)->failure));
		CHECK(status_is_ok(wal_health(tree_in(world)->wal)));
		if (!status_is_ok(status)) {
			CHECK(status_is(status, STATUS_NO_MEMORY));
			failed++;
		}
		for (unsigned tries = 0; !status_is_ok(flush(world)); tries++)
			CHECK(tries < 100);
		for (unsigned tries = 0; !status_is_ok(tree_store.wait_idle(world->self, world->store));
		     tries++)
			CHECK(tries < 100);
		CHECK(count_tables(world->directory) == live_tables(world));
		CHECK(tree_in(world)->versions.table_count == live_tables(world));
	}
	CHECK(failed > 20);
	check_newest(world);
	CHECK_OK(tree_store.verify(world->self, world->store));
	close_tree(world);
	open_tree(world);
	check_newest(world);
	close_tree(world);
}

static void test_no_memory_in_the_background(void **state)
{
	(void)state;
	in_world(run_no_memory, 705);
}

static void run_idler(struct task *self, void *argument)
{
	wait_list_wait(self, argument);
}

/* No stack is left for the flush: whoever waits for it is told, and does not wait for ever. */
static void run_no_stack(struct world *world)
{
	static const struct task_type idler = { "idler", run_idler, 64 << 10 };
	struct wait_list waiting;
	struct join join;
	open_tree(world);
	settle(world);
	write_some(world, 30);
	wait_list_init(&waiting);
	join_init(&join);
	memory_fail_at(1, 1);
	while (status_is_ok(task_spawn(task_shard(world->self), &idler, &waiting, TASK_FOREGROUND, &join)))
		task_yield(world->self);
	/* Memory for the new memtable, and none for the stack. */
	for (uint64_t n = 1; tree_in(world)->immutable_count == 0; n++) {
		memory_fail_at(n, 1);
		CHECK(status_is(flush(world), STATUS_NO_MEMORY));
	}
	CHECK(status_is(tree_store.wait_idle(world->self, world->store), STATUS_NO_MEMORY));
	memory_fail_at(0, 0);
	wait_list_wake_all(&waiting);
	join_wait(world->self, &join);
	CHECK_OK(flush(world));
	settle(world);
	check_newest(world);
	close_tree(world);
}

static void test_no_stack_in_the_background(void **state)
{
	(void)state;
	in_world(run_no_stack, 720);
}

/* An open that fails leaves nothing behind and changes nothing. */
static void run_open_no_memory(struct world *world)
{
	open_tree(world);
	for (unsigned round = 0; round < 3; round++) {
		write_some(world, 150);
		CHECK_OK(flush(world));
	}
	write_some(world, 20);
	close_tree(world);
	unsigned failed = 0;
	for (uint64_t n = 1;; n++) {
		memory_fail_at(n, 0);
		struct status status =
			tree_store.open(world->self, &world->options, &world->store, &world->report);
		bool fired = memory_failures_fired() > 0;
		memory_fail_at(0, 0);
		if (status_is_ok(status)) {
			check_newest(world);
			close_tree(world);
			if (!fired)
				break;
			continue;
		}
		CHECK(status_is(status, STATUS_NO_MEMORY));
		failed++;
	}
	CHECK(failed > 20);
	open_tree(world);
	check_newest(world);
	close_tree(world);
}

static void test_no_memory_at_open(void **state)
{
	(void)state;
	in_world(run_open_no_memory, 706);
}

/* --- replay --- */

static void copy_directory(const char *from, const char *to)
{
	static uint8_t buffer[1 << 16];
	CHECK(mkdir(to, 0755) == 0);
	DIR *directory = opendir(from);
	CHECK(directory != NULL);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		char path[PATH_BYTES * 4];
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", from, entry->d_name);
		int in = open(path, O_RDONLY);
		(void)snprintf(path, sizeof(path), "%s/%s", to, entry->d_name);
		int out = open(path, O_CREAT | O_WRONLY, 0644);
		CHECK(in >= 0 && out >= 0);
		for (ssize_t got; (got = read(in, buffer, sizeof(buffer))) > 0;)
			CHECK(write(out, buffer, (size_t)got) == got);
		CHECK(close(in) == 0 && close(out) == 0);
	}
	CHECK(closedir(directory) == 0);
}

/* A log that holds many times what memory may: it goes to tables while it is replayed. An orphan has the very
 * number that the first of them would get. */
static void run_large_replay(struct world *world)
{
	char orphan[PATH_BYTES * 2];
	world->options.memtable_bytes = 16 << 20;
	open_tree(world);
	write_some(world, 2500);
	CHECK(tree_in(world)->counters.flushes == 0);
	copy_directory(world->directory, world->aside);
	close_tree(world);
	remove_all(world->directory);
	CHECK(rename(world->aside, world->directory) == 0);
	(void)snprintf(orphan, sizeof(orphan), "%s/0000000001.table", world->directory);
	int file = open(orphan, O_CREAT | O_WRONLY, 0644);
	CHECK(file >= 0 && write(file, "left over", 9) == 9 && close(file) == 0);
	world->options.memtable_bytes = 256 << 10;
	open_tree(world);
	CHECK(world->report.replayed_commits == 2500);
	CHECK(world->report.replayed_bytes <= world->report.ring_bytes);
	CHECK(tree_in(world)->counters.flushes > 3);
	CHECK(access(orphan, F_OK) != 0);
	check_newest(world);
	settle(world);
	CHECK(count_tables(world->directory) == live_tables(world));
	close_tree(world);
	open_tree(world);
	CHECK(world->report.replayed_commits == 0);
	check_newest(world);
	close_tree(world);
}

static void test_log_larger_than_memory(void **state)
{
	(void)state;
	in_world(run_large_replay, 707);
}

/* --- room --- */

struct writers {
	struct world *world;
	unsigned done;
};

static void write_large(struct task *self, void *argument)
{
	struct writers *writers = argument;
	struct world *world = writers->world;
	static uint8_t value[300 << 10];
	uint8_t header[BATCH_HEADER_BYTES_MAX];
	char text[16];
	struct slice name = key_of(writers->done++ % KEYS, text);
	size_t size = batch_encode_header(header, ENTRY_PUT, name.size, sizeof(value));
	const struct slice pieces[3] = { slice_make(header, size), name, slice_make(value, sizeof(value)) };
	CHECK_OK(tree_store.write(self, world->store, pieces, 3, sizeof(value), 0));
}

/* Many large writes that were admitted together pass the memtables' budget: they are flushed, though no
 * further write comes to see to it. */
static void run_overfull(struct world *world)
{
	static const struct task_type type = { "write large", write_large, 32 << 10 };
	struct writers writers = { .world = world };
	struct join join;
	open_tree(world);
	for (unsigned round = 0; round < 5; round++) {
		join_init(&join);
		for (unsigned i = 0; i < 5; i++)
			CHECK_OK(
				task_spawn(task_shard(world->self), &type, &writers, TASK_FOREGROUND, &join));
		join_wait(world->self, &join);
	}
	CHECK(tree_in(world)->counters.write_timeouts == 0);
	settle(world);
	CHECK(tree_in(world)->active->arena.reserved_bytes < 256 << 10);
	close_tree(world);
}

static void test_an_overfull_memtable_is_flushed(void **state)
{
	(void)state;
	in_world(run_overfull, 708);
}

/* A flushed memtable's memory serves the next one, and what is kept is in the budget. */
static void run_chunks(struct world *world)
{
	open_tree(world);
	const struct tree *tree = tree_in(world);
	const struct arena_pool *chunks = &tree->chunks;
	uint64_t budget = world->options.memtable_bytes;
	size_t most = 0;
	for (unsigned round = 0; round < 8; round++) {
		write_some(world, 100);
		/* A cursor holds the memtable that it sees, which is flushed meanwhile. */
		struct iterator *cursor;
		CHECK_OK(tree_store.cursor_create(world->self, world->store, SEQUENCE_MAX,
						  slice_make(NULL, 0), slice_make(NULL, 0), false, 0,
						  &cursor));
		size_t held = tree->active->arena.reserved_bytes;
		CHECK_OK(flush(world));
		settle(world);
		CHECK(tree->immutable_count == 0);
		CHECK(chunks->reserved_bytes >= held + tree->active->arena.reserved_bytes);
		cursor->ops->destroy(cursor);
		CHECK(chunks->spare_bytes > 0);
		CHECK(chunks->reserved_bytes == chunks->spare_bytes + tree->active->arena.reserved_bytes);
		CHECK(chunks->spare_bytes <= budget / 2 + chunks->chunk_bytes);
		/* The next ones need nothing that was not there before. */
		if (round == 3)
			most = chunks->reserved_bytes;
		CHECK(round <= 3 || chunks->reserved_bytes <= most + chunks->chunk_bytes);
		check_newest(world);
	}
	close_tree(world);
}

static void test_chunks_are_recycled(void **state)
{
	(void)state;
	in_world(run_chunks, 711);
}

/* Commits that leave much of their segment unused fill the ring before they fill the memtables. */
static void run_small_ring(struct world *world)
{
	static uint8_t value[7000];
	uint8_t header[BATCH_HEADER_BYTES_MAX];
	world->options.segment_bytes = 16 << 10;
	world->options.segments_max = 4;
	world->options.memtable_bytes = 4 << 20;
	world->options.write_timeout_ns = 3000000000ull;
	open_tree(world);
	for (unsigned i = 0; i < 60; i++) {
		char text[16];
		struct slice name = key_of(i % KEYS, text);
		size_t size = batch_encode_header(header, ENTRY_PUT, name.size, sizeof(value));
		const struct slice pieces[3] = { slice_make(header, size), name,
						 slice_make(value, sizeof(value)) };
		CHECK_OK(tree_store.write(world->self, world->store, pieces, 3, sizeof(value), 0));
	}
	CHECK(tree_in(world)->counters.flushes > 0);
	CHECK(tree_in(world)->counters.write_timeouts == 0);
	close_tree(world);
}

static void test_a_full_log_is_flushed(void **state)
{
	(void)state;
	in_world(run_small_ring, 709);
}

/* A writer whom nothing drains is told after write_timeout. */
static void run_timeout(struct world *world)
{
	world->options.write_timeout_ns = 300000000;
	open_tree(world);
	write_some(world, 50);
	/* A flush that never ends, as far as anybody can see. */
	struct tree *tree = tree_in(world);
	tree->flush_running = true;
	struct status status = status_ok();
	uint32_t version = world->next_version;
	unsigned key = 0;
	while (status_is_ok(status) && ++version < 100000) {
		key = version % KEYS;
		status = try_write(world, key, version);
		if (status_is_ok(status))
			world->versions[key] = version;
	}
	CHECK(status_is(status, STATUS_BUSY));
	CHECK(tree->counters.write_timeouts > 0);
	CHECK(tree->active->arena.reserved_bytes < 2 * world->options.memtable_bytes);
	check_newest(world);
	tree->flush_running = false;
	tree_schedule(tree);
	CHECK_OK(try_write(world, key, version));
	world->versions[key] = version;
	check_newest(world);
	close_tree(world);
}

static void test_writers_time_out(void **state)
{
	(void)state;
	in_world(run_timeout, 710);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_are_the_live_tables),
		cmocka_unit_test(test_pins_hold_files),
		cmocka_unit_test(test_calls_at_once),
		cmocka_unit_test(test_calls_not_at_once),
		cmocka_unit_test(test_a_get_outlives_merges),
		cmocka_unit_test(test_records_are_the_newest),
		cmocka_unit_test(test_cursors_see_their_snapshot),
		cmocka_unit_test(test_flushes_and_merges_side_by_side),
		cmocka_unit_test(test_flush_is_tried_again),
		cmocka_unit_test(test_no_memory_in_the_background),
		cmocka_unit_test(test_no_stack_in_the_background),
		cmocka_unit_test(test_no_memory_at_open),
		cmocka_unit_test(test_log_larger_than_memory),
		cmocka_unit_test(test_an_overfull_memtable_is_flushed),
		cmocka_unit_test(test_chunks_are_recycled),
		cmocka_unit_test(test_a_full_log_is_flushed),
		cmocka_unit_test(test_writers_time_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
