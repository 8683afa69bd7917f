/*
 * What the manifest promises: the state is the sum of the acknowledged edits, after a rewrite, a torn write,
 * a damaged page, and a device that fails. Takes about 10 s.
 *
 * A crash is a copy of the file made while the manifest is open. Images that are damaged on purpose lie in
 * /dev/shm where there is one, because there are many thousands of them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faults.h"
#include "test.h"

#include "base/memory.h"
#include "base/sanitizer.h"
#include "manifest/manifest.h"
#include "manifest/manifest_format.h"
#include "manifest/manifest_state.h"
#include "runtime/runtime.h"

enum { KEY_MAX = 3000 };

/* Under the thread sanitizer an image costs twenty times as much; one thread works on it anyway. */
enum { SPARSE = THREAD_SANITIZER ? 8 : 1 };

struct world {
	struct runtime *runtime;
	char directory[200];
	struct manifest_options options;
	struct manifest *manifest;
	const struct manifest_state *state;
	struct status status;
	struct random random;
	unsigned edits; /* that edit_randomly makes */
	unsigned key_max;

	/* What the manifest must say. */
	struct manifest_state truth;
};

typedef void world_function(struct task *self, struct world *world);

struct world_call {
	struct world *world;
	world_function *function;
};

static void run_call(struct task *self, void *argument)
{
	struct world_call *call = argument;
	call->function(self, call->world);
}

static void in_task(struct world *world, world_function *function)
{
	struct world_call call = { .world = world, .function = function };
	runtime_run(world->runtime, 0, run_call, &call);
}

static void remove_directory(const char *path)
{
	DIR *directory = opendir(path);
	if (directory == NULL)
		return;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		char name[600];
		(void)snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (entry->d_name[0] != '.')
			(void)unlink(name);
	}
	closedir(directory);
	(void)rmdir(path);
}

static void make_directory(char *path, size_t size)
{
	struct stat info;
	const char *base = stat("/dev/shm", &info) == 0 ? "/dev/shm" : "/tmp";
	(void)snprintf(path, size, "%s/manifest_test_XXXXXX", base);
	assert_non_null(mkdtemp(path));
}

static struct runtime *runtime_make(const char *backend)
{
	struct runtime_options options = { .shards = 1, .io_backend = backend, .io = { .direct = true } };
	struct runtime *runtime;
	char notice[200];
	assert_ok(runtime_create(&options, &runtime, notice, sizeof(notice)));
	return runtime;
}

static struct world *world_on(struct runtime *runtime)
{
	struct world *world = calloc(1, sizeof(*world));
	world->runtime = runtime;
	world->random = random_stream(test_seed(815));
	make_directory(world->directory, sizeof(world->directory));
	world->options = (struct manifest_options) {
		.directory = world->directory,
		.database_id = { 77, 0xfedcba9876543210ull },
		.shard = 2,
		.rewrite_bytes = 40 << 10,
	};
	world->truth.next_number = 1;
	world->edits = 10;
	world->key_max = 200; /* an edit fits into one page */
	return world;
}

static struct world *world_make(const char *backend)
{
	return world_on(runtime_make(backend));
}

static void world_leave(struct world *world)
{
	assert_null(world->manifest);
	remove_directory(world->directory);
	manifest_state_free(&world->truth);
	free(world);
}

static void world_free(struct world *world)
{
	struct runtime *runtime = world->runtime;
	world_leave(world);
	runtime_destroy(runtime);
}

static void open_new(struct task *self, struct world *world)
{
	assert_ok(manifest_open(self, &world->options, true, &world->manifest, &world->state));
	assert_true(manifest_state_equal(world->state, &world->truth));
}

static void open_old(struct task *self, struct world *world)
{
	assert_ok(manifest_open(self, &world->options, false, &world->manifest, &world->state));
	assert_true(manifest_state_equal(world->state, &world->truth));
	assert_ptr_equal(world->state, manifest_state(world->manifest));
	assert_ok(manifest_verify(self, world->manifest));
}

static void close_manifest(struct task *self, struct world *world)
{
	assert_ok(manifest_close(self, world->manifest));
	world->manifest = NULL;
}

/* --- edits: worked out here once more, in the plainest way --- */

struct test_edit {
	struct manifest_edit edit;
	struct manifest_table add[4];
	uint64_t remove[4];
	uint8_t keys[8][KEY_MAX];
};

static struct slice random_key(struct world *world, uint8_t *key, uint8_t first)
{
	struct random *random = &world->random;
	size_t size = 1 + (size_t)random_below(random, world->key_max - 1);
	for (size_t i = 0; i < size; i++)
		key[i] = (uint8_t)random_next(random);
	key[0] = first;
	return slice_make(key, size);
}

static void make_edit(struct world *world, struct test_edit *test)
{
	struct random *random = &world->random;
	const struct manifest_state *truth = &world->truth;
	memset(test, 0, sizeof(*test));
	uint64_t number = truth->next_number;
	size_t adds = (size_t)random_below(random, 4);
	for (size_t i = 0; i < adds; i++) {
		struct manifest_table *table = &test->add[test->edit.add_count++];
		*table = (struct manifest_table) {
			.number = number++,
			.bytes = random_next(random),
			.entries = random_below(random, 1000),
			.deletes = random_below(random, 10),
			.sequence_min = random_below(random, 1000),
			.sequence_max = 1000 + random_next(random) / 2,
			.raw_bytes = random_below(random, 1 << 20),
			.checksum = random_next(random),
			.level = (uint32_t)random_below(random, MANIFEST_LEVELS_MAX),
		};
		table->smallest = random_key(world, test->keys[2 * i], 'a');
		table->largest = random_key(world, test->keys[2 * i + 1], 'b');
		if (random_below(random, 20) == 0)
			table->smallest = slice_make(NULL, 0);
	}
	size_t removes = truth->table_count < 12 ? 0 : (size_t)random_below(random, 4);
	size_t at = (size_t)random_below(random, truth->table_count + 1);
	for (size_t i = 0; i < removes; i++, at += 3)
		if (at < truth->table_count)
			test->remove[test->edit.remove_count++] = truth->tables[at].number;
	/* A move: the same table again, at another level. */
	if (test->edit.remove_count > 0 && test->edit.add_count < 4) {
		at -= 3 * removes;
		struct manifest_table *moved = &test->add[test->edit.add_count++];
		*moved = truth->tables[at];
		moved->level = (moved->level + 1) % MANIFEST_LEVELS_MAX;
	}
	test->edit.add = test->add;
	test->edit.remove = test->remove;
	if (random_below(random, 2) == 0)
		test->edit.flushed_log_number = truth->flushed_log_number + random_below(random, 50);
	if (random_below(random, 2) == 0)
		test->edit.last_sequence = truth->last_sequence + random_below(random, 5000);
	if (random_below(random, 2) == 0)
		test->edit.next_number = number + random_below(random, 3);
}

static void truth_add(struct manifest_state *truth, const struct manifest_edit *edit)
{
	size_t kept = 0;
	for (size_t i = 0; i < truth->table_count; i++) {
		bool gone = false;
		for (size_t r = 0; r < edit->remove_count; r++)
			gone |= edit->remove[r] == truth->tables[i].number;
		if (!gone)
			truth->tables[kept++] = truth->tables[i];
		/* The keys of those that go are leaked to the end of the edit, as a move still needs them. */
	}
	struct manifest_table *tables =
		memory_resize(truth->tables, (kept + edit->add_count + 1) * sizeof(*tables));
	for (size_t i = 0; i < edit->add_count; i++) {
		assert_ok(manifest_table_copy(&tables[kept + i], &edit->add[i]));
		if (edit->add[i].number >= truth->next_number)
			truth->next_number = edit->add[i].number + 1;
	}
	truth->tables = tables;
	truth->table_count = kept + edit->add_count;
	if (edit->flushed_log_number > truth->flushed_log_number)
		truth->flushed_log_number = edit->flushed_log_number;
	if (edit->last_sequence > truth->last_sequence)
		truth->last_sequence = edit->last_sequence;
	if (edit->next_number > truth->next_number)
		truth->next_number = edit->next_number;
}

static void truth_apply(struct manifest_state *truth, const struct manifest_edit *edit)
{
	struct manifest_table gone[4];
	size_t gone_count = 0;
	for (size_t i = 0; i < truth->table_count; i++)
		for (size_t r = 0; r < edit->remove_count; r++)
			if (edit->remove[r] == truth->tables[i].number)
				gone[gone_count++] = truth->tables[i];
	truth_add(truth, edit);
	for (size_t i = 0; i < gone_count; i++)
		manifest_table_free(&gone[i]);
}

static void edit_randomly(struct task *self, struct world *world)
{
	for (unsigned i = 0; i < world->edits; i++) {
		static struct test_edit test; /* too large for a task's stack */
		make_edit(world, &test);
		assert_ok(manifest_apply(self, world->manifest, &test.edit));
		truth_apply(&world->truth, &test.edit);
		assert_true(manifest_state_equal(world->state, &world->truth));
	}
}

/* --- the plain promises --- */

static void test_round_trip(void **state)
{
	struct world *world = world_make(*state);
	in_task(world, open_new);
	in_task(world, close_manifest);
	for (unsigned round = 0; round < 40; round++) {
		in_task(world, open_old);
		in_task(world, edit_randomly);
		in_task(world, close_manifest);
	}
	assert_true(world->truth.table_count > 50);
	in_task(world, open_old);
	/* 400 edits of 8 KiB each were written, and most of them are gone again. */
	assert_true(manifest_bytes(world->manifest) < 400 << 10);
	in_task(world, close_manifest);
	world_free(world);
}

static void create_twice(struct task *self, struct world *world)
{
	assert_status(manifest_open(self, &world->options, true, &world->manifest, &world->state),
		      STATUS_INVALID);
	assert_null(world->manifest);
}

static void open_missing(struct task *self, struct world *world)
{
	assert_status(manifest_open(self, &world->options, false, &world->manifest, &world->state),
		      STATUS_NOT_FOUND);
	assert_null(world->manifest);
}

static void test_create_and_open_differ(void **state)
{
	struct world *world = world_make(*state);
	in_task(world, open_missing);
	in_task(world, open_new);
	in_task(world, close_manifest);
	in_task(world, create_twice);
	in_task(world, open_old);
	in_task(world, close_manifest);
	world_free(world);
}

static void refuse(struct task *self, struct world *world, const struct manifest_edit *edit)
{
	assert_status(manifest_apply(self, world->manifest, edit), STATUS_INVALID);
	assert_true(manifest_state_equal(world->state, &world->truth));
}

static void refuse_nonsense(struct task *self, struct world *world)
{
	struct manifest_table table = {
		.number = 5,
		.smallest = slice_from_string("a"),
		.largest = slice_from_string("b"),
	};
	struct manifest_edit edit = {
		.add = &table, .add_count = 1, .flushed_log_number = 9, .last_sequence = 8, .next_number = 7
	};
	assert_ok(manifest_apply(self, world->manifest, &edit));
	truth_apply(&world->truth, &edit);
	refuse(self, world, &(struct manifest_edit) { .add = &table, .add_count = 1 });
	refuse(self, world, &(struct manifest_edit) { .remove = &(uint64_t) { 6 }, .remove_count = 1 });
	uint64_t twice[2] = { 5, 5 };
	refuse(self, world, &(struct manifest_edit) { .remove = twice, .remove_count = 2 });
	refuse(self, world, &(struct manifest_edit) { .flushed_log_number = 8 });
	refuse(self, world, &(struct manifest_edit) { .last_sequence = 7 });
	refuse(self, world, &(struct manifest_edit) { .next_number = 6 });
	struct manifest_table two[2] = { table, table };
	two[0].number = two[1].number = 10;
	refuse(self, world, &(struct manifest_edit) { .add = two, .add_count = 2 });
	two[0].level = MANIFEST_LEVELS_MAX;
	refuse(self, world, &(struct manifest_edit) { .add = two, .add_count = 1 });
	two[0] = table;
	two[0].number = 10;
	two[0].smallest = slice_from_string("c");
	refuse(self, world, &(struct manifest_edit) { .add = two, .add_count = 1 });
}

static void test_nonsense(void **state)
{
	struct world *world = world_make(*state);
	in_task(world, open_new);
	in_task(world, refuse_nonsense);
	in_task(world, close_manifest);
	in_task(world, open_old);
	in_task(world, close_manifest);
	world_free(world);
}

struct editor {
	struct world *world;
	uint64_t base;
};

static void editor_run(struct task *self, void *argument)
{
	struct editor *editor = argument;
	for (uint64_t i = 0; i < 20; i++) {
		struct manifest_table table = {
			.number = editor->base + i,
			.level = (uint32_t)(i % MANIFEST_LEVELS_MAX),
			.smallest = slice_make(&i, 1),
			.largest = slice_make(&i, 2),
		};
		struct manifest_edit edit = {
			.add = &table,
			.add_count = 1,
			.remove = &(uint64_t) { editor->base + i - 1 },
			.remove_count = i > 0,
		};
		assert_ok(manifest_apply(self, editor->world->manifest, &edit));
	}
}

static const struct task_type editor_type = { .name = "editor", .run = editor_run, .stack_bytes = 16384 };

static void edit_at_once(struct task *self, struct world *world)
{
	struct editor editors[8];
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < 8; i++) {
		editors[i] = (struct editor) { .world = world, .base = 1000 * (i + 1) };
		assert_ok(task_spawn(task_shard(self), &editor_type, &editors[i], TASK_FOREGROUND, &join));
	}
	assert_ok(manifest_verify(self, world->manifest));
	join_wait(self, &join);
	assert_int_equal(world->state->table_count, 8);
	assert_int_equal(world->state->next_number, 8020);
	assert_ok(manifest_verify(self, world->manifest));
	close_manifest(self, world);
	assert_ok(manifest_open(self, &world->options, false, &world->manifest, &world->state));
	assert_int_equal(world->state->table_count, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(world->state->tables[i].number % 1000, 19);
}

static void test_many_tasks(void **state)
{
	struct world *world = world_make(*state);
	in_task(world, open_new);
	in_task(world, edit_at_once);
	in_task(world, close_manifest);
	world_free(world);
}

/* --- images --- */

struct image {
	uint8_t *bytes;
	size_t size;
};

static struct image image_take(const struct world *world)
{
	char path[300];
	(void)snprintf(path, sizeof(path), "%s/manifest", world->directory);
	int file = open(path, O_RDONLY);
	struct stat info;
	assert_true(file >= 0 && fstat(file, &info) == 0);
	struct image image = { .bytes = malloc((size_t)info.st_size), .size = (size_t)info.st_size };
	assert_int_equal(pread(file, image.bytes, image.size, 0), image.size);
	close(file);
	return image;
}

static void image_write(const uint8_t *bytes, size_t size, const char *directory)
{
	char path[300];
	(void)snprintf(path, sizeof(path), "%s/manifest", directory);
	int file = open(path, O_WRONLY | O_CREAT, 0644);
	assert_true(file >= 0);
	assert_int_equal(pwrite(file, bytes, size, 0), size);
	assert_int_equal(ftruncate(file, (off_t)size), 0);
	close(file);
}

struct trial {
	struct world world;
	const struct manifest_state *before; /* NULL: not allowed */
	const struct manifest_state *after;
	bool was_before;
};

/* Opens; if that works, the state is one of the two, an edit can be added, and the next open has it. */
static void trial_task(struct task *self, struct world *world)
{
	struct trial *trial = (struct trial *)(void *)world;
	world->status = manifest_open(self, &world->options, false, &world->manifest, &world->state);
	if (!status_is_ok(world->status))
		return;
	bool is_after = manifest_state_equal(world->state, trial->after);
	trial->was_before = !is_after;
	if (!is_after) {
		assert_non_null(trial->before);
		assert_true(manifest_state_equal(world->state, trial->before));
	}
	assert_ok(manifest_verify(self, world->manifest));
	size_t tables = world->state->table_count;
	struct manifest_table table = {
		.number = 1 << 20,
		.smallest = slice_from_string("x"),
		.largest = slice_from_string("y"),
	};
	struct manifest_edit edit = { .add = &table, .add_count = 1 };
	assert_ok(manifest_apply(self, world->manifest, &edit));
	close_manifest(self, world);
	assert_ok(manifest_open(self, &world->options, false, &world->manifest, &world->state));
	assert_int_equal(world->state->table_count, tables + 1);
	close_manifest(self, world);
}

static struct trial trial_make(const struct world *world)
{
	struct trial trial = { .world = *world, .after = &world->truth };
	make_directory(trial.world.directory, sizeof(trial.world.directory));
	trial.world.manifest = NULL;
	return trial;
}

static struct status try_image(struct trial *trial, const uint8_t *bytes, size_t size)
{
	image_write(bytes, size, trial->world.directory);
	trial->world.options.directory = trial->world.directory;
	in_task(&trial->world, trial_task);
	return trial->world.status;
}

static struct manifest_state copy_state(const struct manifest_state *from)
{
	struct manifest_state copy = { 0 };
	struct manifest_change change;
	struct manifest_edit edit = manifest_state_edit(from);
	assert_ok(manifest_change_prepare(&copy, &edit, &change));
	manifest_change_adopt(&change, &copy);
	return copy;
}

/* --- torn writes --- */

enum filler { FILL_OLD, FILL_ZERO, FILL_GARBAGE };

static void fill(uint8_t *to, const uint8_t *old, size_t size, enum filler filler, struct random *random)
{
	for (size_t i = 0; i < size; i++)
		to[i] = filler == FILL_OLD ? old[i] : filler == FILL_ZERO ? 0 : (uint8_t)random_next(random);
}

/* The last edit was never acknowledged: any subset of its sectors may be there. */
static void tear_everywhere(struct world *world, const struct image *old, const struct image *whole,
			    const struct manifest_state *before)
{
	struct trial trial = trial_make(world);
	uint8_t *torn = malloc(whole->size);
	uint8_t *past = calloc(1, whole->size);
	memcpy(past, old->bytes, old->size < whole->size ? old->size : whole->size);
	size_t sectors[64];
	size_t count = 0;
	for (size_t at = 0; at < whole->size; at += 512)
		if (memcmp(past + at, whole->bytes + at, 512) != 0)
			sectors[count++] = at;
	trial.before = before;
	unsigned before_count = 0, after_count = 0;
	for (unsigned round = 0; round < 120; round++) {
		enum filler filler = (enum filler)(round % 3);
		size_t cut = (size_t)random_below(&world->random, count + 1);
		memcpy(torn, whole->bytes, whole->size);
		for (size_t i = 0; i < count; i++)
			if (round < 60 ? i >= cut : random_below(&world->random, 2) == 0)
				fill(torn + sectors[i], past + sectors[i], 512, filler, &world->random);
		assert_ok(try_image(&trial, torn, whole->size));
		before_count += trial.was_before;
		after_count += !trial.was_before;
	}
	assert_true(before_count > 10 || manifest_state_equal(before, &world->truth));
	assert_true(after_count > 10);
	free(past);
	free(torn);
	remove_directory(trial.world.directory);
}

static void test_torn_edit(void **state)
{
	struct world *world = world_make(*state);
	world->options.rewrite_bytes = 10 << 20;
	in_task(world, open_new);
	in_task(world, edit_randomly);
	world->edits = 1;
	for (unsigned round = 0; round < 8; round++) {
		struct image old = image_take(world);
		struct manifest_state before = copy_state(&world->truth);
		in_task(world, edit_randomly);
		struct image whole = image_take(world);
		tear_everywhere(world, &old, &whole, &before);
		manifest_state_free(&before);
		free(old.bytes);
		free(whole.bytes);
	}
	in_task(world, close_manifest);
	world_free(world);
}

/* --- damage --- */

static void expect_kept_or_refused(struct trial *trial, const uint8_t *bytes, size_t size, unsigned *refused)
{
	struct status status = try_image(trial, bytes, size);
	if (status_is_ok(status))
		return; /* trial_task saw all that was acknowledged */
	assert_true(status_is(status, STATUS_CORRUPT) || status_is(status, STATUS_FORMAT));
	char text[256];
	status_describe(status, text, sizeof(text));
	assert_non_null(strstr(text, "manifest"));
	(*refused)++;
}

/* One bit, one sector, one page: nothing acknowledged is lost, be it the very last edit. */
static void test_damaged_once(void **state)
{
	struct world *world = world_make(*state);
	world->options.rewrite_bytes = 10 << 20;
	in_task(world, open_new);
	world->edits = 4;
	in_task(world, edit_randomly);
	struct image image = image_take(world);
	struct trial trial = trial_make(world);
	unsigned refused = 0;
	for (size_t at = 0; at < image.size; at += 11 * SPARSE) {
		uint8_t kept = image.bytes[at];
		image.bytes[at] ^= (uint8_t)(1u << random_below(&world->random, 8));
		expect_kept_or_refused(&trial, image.bytes, image.size, &refused);
		image.bytes[at] = kept;
	}
	assert_true(refused > 100 / SPARSE); /* the header page */
	for (size_t size = 512; size <= 4096; size += 4096 - 512)
		for (size_t at = 0; at < image.size; at += size)
			for (enum filler filler = FILL_ZERO; filler <= FILL_GARBAGE; filler++) {
				uint8_t kept[4096];
				memcpy(kept, image.bytes + at, size);
				fill(image.bytes + at, NULL, size, filler, &world->random);
				expect_kept_or_refused(&trial, image.bytes, image.size, &refused);
				memcpy(image.bytes + at, kept, size);
			}
	remove_directory(trial.world.directory);
	free(image.bytes);
	in_task(world, close_manifest);
	world_free(world);
}

static void test_damaged_twice(void **state)
{
	struct world *world = world_make(*state);
	world->options.rewrite_bytes = 10 << 20;
	in_task(world, open_new);
	world->edits = 6;
	in_task(world, edit_randomly);
	struct image image = image_take(world);
	struct trial trial = trial_make(world);
	/* Small edits: a header page, and then two pages for each edit, the first of which is the sum. */
	for (size_t edit = 0; edit < 6; edit++) {
		uint8_t *first = image.bytes + 4096 + edit * 8192;
		first[20] ^= 1;
		first[4096 + 20] ^= 1;
		assert_status(try_image(&trial, image.bytes, image.size), STATUS_CORRUPT);
		first[20] ^= 1;
		first[4096 + 20] ^= 1;
	}
	trial.world.options.shard++;
	assert_status(try_image(&trial, image.bytes, image.size), STATUS_CORRUPT);
	trial.world.options.shard--;
	trial.world.options.database_id[0]++;
	assert_status(try_image(&trial, image.bytes, image.size), STATUS_CORRUPT);
	trial.world.options.database_id[0]--;
	image.bytes[16]++;
	assert_status(try_image(&trial, image.bytes, image.size), STATUS_FORMAT);
	image.bytes[16]--;
	assert_ok(try_image(&trial, image.bytes, image.size));
	remove_directory(trial.world.directory);
	free(image.bytes);
	in_task(world, close_manifest);
	world_free(world);
}

static void truncated_task(struct task *self, struct world *world)
{
	world->status = manifest_open(self, &world->options, false, &world->manifest, &world->state);
	if (status_is_ok(world->status))
		close_manifest(self, world);
}

/* Never a crash, never an edit that was not made. What is cut off at the end of an edit cannot be missed. */
static void test_truncated(void **state)
{
	struct world *world = world_make(*state);
	world->options.rewrite_bytes = 10 << 20;
	in_task(world, open_new);
	in_task(world, edit_randomly);
	struct image image = image_take(world);
	struct trial trial = trial_make(world);
	trial.world.options.directory = trial.world.directory;
	unsigned refused = 0;
	for (size_t size = 0; size < image.size; size += 173 * SPARSE) {
		image_write(image.bytes, size, trial.world.directory);
		in_task(&trial.world, truncated_task);
		bool ok = status_is_ok(trial.world.status);
		assert_true(ok || status_is(trial.world.status, STATUS_CORRUPT));
		assert_true(ok || size < 12288);
		refused += !ok;
	}
	assert_true(refused > 30 / SPARSE);
	remove_directory(trial.world.directory);
	free(image.bytes);
	in_task(world, close_manifest);
	world_free(world);
}

static void damage_and_verify(struct task *self, struct world *world)
{
	assert_ok(manifest_verify(self, world->manifest));
	struct image image = image_take(world);
	image.bytes[4096 + 4096 + 20] ^= 1; /* one of two copies: a later open would do with the other */
	image_write(image.bytes, image.size, world->directory);
	assert_status(manifest_verify(self, world->manifest), STATUS_CORRUPT);
	image.bytes[4096 + 4096 + 20] ^= 1;
	image_write(image.bytes, image.size, world->directory);
	assert_ok(manifest_verify(self, world->manifest));
	free(image.bytes);
}

static void test_verify(void **state)
{
	struct world *world = world_make(*state);
	in_task(world, open_new);
	world->edits = 3;
	in_task(world, edit_randomly);
	in_task(world, damage_and_verify);
	in_task(world, close_manifest);
	world_free(world);
}

/* --- faults of the device --- */

struct fault_case {
	enum fault_kind kind;
	enum status_code code;
	unsigned times;
};

static const struct fault_case fault_cases[] = {
	{ FAULT_ANY, STATUS_IO, 1 },
	{ FAULT_ANY, STATUS_NO_SPACE, 1 },
	{ FAULT_ANY, STATUS_NO_SPACE, 1000 },
	{ FAULT_ANY, STATUS_IO, 1000 },
	{ FAULT_SYNC, STATUS_IO, 1 },
	{ FAULT_LATE_WRITE, STATUS_IO, 1 },
	{ FAULT_LATE_WRITE, STATUS_NO_SPACE, 1 },
};

static const struct fault_case *fault_case;
static unsigned fault_at;
static bool fault_fired;
static struct status fault_status;

static void edit_with_fault(struct task *self, struct world *world)
{
	static struct test_edit test; /* too large for a task's stack */
	world->key_max = KEY_MAX;     /* it takes some pages */
	make_edit(world, &test);
	struct manifest_state before = copy_state(&world->truth);
	faults_arm(self, fault_case->kind, fault_case->code, fault_at, fault_case->times);
	fault_status = manifest_apply(self, world->manifest, &test.edit);
	fault_fired = faults.fired > 0;
	/* A device that has no room for anything, not even for wiping out, refuses the edit, and that is all.
	 */
	bool appends = world->options.rewrite_bytes > 4096;
	if (appends && fault_case->code == STATUS_NO_SPACE && fault_case->times > 1 && faults.fired > 1)
		assert_status(fault_status, STATUS_NO_SPACE);
	faults_disarm(self);
	truth_apply(&world->truth, &test.edit);
	/* What a crash right now would leave. */
	struct image image = image_take(world);
	struct trial trial = trial_make(world);
	trial.world.options.directory = trial.world.directory;
	image_write(image.bytes, image.size, trial.world.directory);
	if (!status_is_ok(fault_status)) {
		assert_true(manifest_state_equal(world->state, &before));
		trial.before = &before;
		if (!status_is(fault_status, STATUS_READ_ONLY))
			trial.after = &before;
	}
	trial_task(self, &trial.world);
	assert_ok(trial.world.status);
	/* Later edits: refused for ever, or they work, and the failed one did not happen. */
	if (status_is(fault_status, STATUS_READ_ONLY)) {
		struct manifest_edit nothing = { 0 };
		assert_status(manifest_apply(self, world->manifest, &nothing), STATUS_READ_ONLY);
		assert_status(manifest_verify(self, world->manifest), STATUS_READ_ONLY);
	} else {
		if (!status_is_ok(fault_status)) {
			manifest_state_free(&world->truth);
			world->truth = copy_state(&before);
		}
		/* A small one, which would not cover all that the failed one wrote. */
		world->edits = 1;
		world->key_max = 20;
		edit_randomly(self, world);
		assert_ok(manifest_verify(self, world->manifest));
	}
	manifest_state_free(&before);
	free(image.bytes);
	remove_directory(trial.world.directory);
}

/* Each request that changes the disk fails once, while an edit is appended and while the file is rewritten.
 */
static void test_faults(void **state)
{
	unsigned codes[STATUS_CODE_COUNT] = { 0 };
	struct runtime *runtime = runtime_make(*state);
	for (size_t c = 0; c < sizeof(fault_cases) / sizeof(*fault_cases); c++) {
		for (unsigned rewriting = 0; rewriting < 2; rewriting++) {
			fault_case = &fault_cases[c];
			fault_fired = true;
			unsigned fired = 0;
			for (fault_at = 1; fault_fired; fault_at++) {
				struct world *world = world_on(runtime);
				world->options.rewrite_bytes = rewriting ? 4096 : 10 << 20;
				world->random = random_stream(test_seed(815) + 100 * c + fault_at);
				world->edits = 2; /* after which the file is large */
				in_task(world, open_new);
				in_task(world, edit_randomly);
				in_task(world, edit_with_fault);
				codes[fault_status.code] += fault_fired;
				fired += fault_fired;
				in_task(world, close_manifest);
				if (!status_is(fault_status, STATUS_READ_ONLY)) {
					in_task(world, open_old);
					in_task(world, close_manifest);
				}
				world_leave(world);
			}
			/* An append syncs the file; a rewrite syncs the new file and then the directory. */
			if (fault_case->kind == FAULT_SYNC)
				assert_int_equal(fired, rewriting ? 2 : 1);
		}
	}
	runtime_destroy(runtime);
	assert_true(codes[STATUS_IO] > 0 && codes[STATUS_NO_SPACE] > 0 && codes[STATUS_READ_ONLY] > 0);
}

static void open_with_little_memory(struct task *self, struct world *world)
{
	for (uint64_t n = 1;; n++) {
		memory_fail_at(n, 0);
		struct status status =
			manifest_open(self, &world->options, false, &world->manifest, &world->state);
		bool fired = memory_failures_fired() > 0;
		memory_fail_at(0, 0);
		if (status_is_ok(status))
			close_manifest(self, world);
		else
			assert_status(status, STATUS_NO_MEMORY);
		if (!fired)
			return;
	}
}

static void edit_with_little_memory(struct task *self, struct world *world)
{
	static struct test_edit test; /* too large for a task's stack */
	make_edit(world, &test);
	struct status status = status_make(STATUS_NO_MEMORY);
	for (uint64_t n = 1; !status_is_ok(status); n++) {
		memory_fail_at(n, 0);
		status = manifest_apply(self, world->manifest, &test.edit);
		memory_fail_at(0, 0);
		if (!status_is_ok(status)) {
			assert_status(status, STATUS_NO_MEMORY);
			assert_true(manifest_state_equal(world->state, &world->truth));
		}
	}
	truth_apply(&world->truth, &test.edit);
	assert_true(manifest_state_equal(world->state, &world->truth));
}

static void test_little_memory(void **state)
{
	struct world *world = world_make(*state);
	in_task(world, open_new);
	in_task(world, edit_randomly);
	for (unsigned i = 0; i < 5; i++)
		in_task(world, edit_with_little_memory);
	in_task(world, close_manifest);
	in_task(world, open_with_little_memory);
	in_task(world, open_old);
	in_task(world, close_manifest);
	world_free(world);
}

/* A rewrite that was cut off before the rename leaves a file that nobody needs. */
static void test_unfinished_rewrite(void **state)
{
	struct world *world = world_make(*state);
	in_task(world, open_new);
	in_task(world, edit_randomly);
	in_task(world, close_manifest);
	char path[300];
	(void)snprintf(path, sizeof(path), "%s/manifest.new", world->directory);
	assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0644)), 0);
	in_task(world, open_old);
	assert_int_equal(access(path, F_OK), -1);
	in_task(world, close_manifest);
	world_free(world);
}

int main(void)
{
	static char uring[] = "uring", posix[] = "posix";
#define BOTH(test) cmocka_unit_test_prestate(test, uring), cmocka_unit_test_prestate(test, posix)
	print_message("seed %llu\n", (unsigned long long)test_seed(815));
	const struct CMUnitTest tests[] = {
		BOTH(test_round_trip),
		BOTH(test_create_and_open_differ),
		BOTH(test_nonsense),
		BOTH(test_many_tasks),
		BOTH(test_torn_edit),
		cmocka_unit_test_prestate(test_damaged_once, uring),
		cmocka_unit_test_prestate(test_damaged_twice, uring),
		cmocka_unit_test_prestate(test_truncated, uring),
		BOTH(test_verify),
		BOTH(test_faults),
		cmocka_unit_test_prestate(test_little_memory, uring),
		BOTH(test_unfinished_rewrite),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
