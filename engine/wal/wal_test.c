/*
 * What the log promises: replay equals what was applied, group commit, laps, torn tails, damage, faults of
 * the device, waiting for room. Takes about 7 s.
 *
 * A crash is a copy of the directory made while the log is open. Images that are damaged on purpose lie in
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

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/sanitizer.h"
#include "runtime/runtime.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

enum { RECORDS_MAX = 100000, SEGMENTS_TEST_MAX = 16 };

/* Under the thread sanitizer an image costs twenty times as much; one thread works on it anyway. */
enum { SPARSE = THREAD_SANITIZER ? 8 : 1 };

struct record {
	uint64_t sequence;
	uint64_t checksum;
	uint32_t size;
};

struct world {
	struct runtime *runtime;
	char directory[200];
	struct wal_options options;
	struct wal *wal;
	struct wal_replay_report report;
	struct status status;

	uint64_t sequence;
	uint64_t payload_id;
	struct record *truth; /* by log number - 1: what was applied, or found by a replay */
	uint64_t truth_count;
	uint64_t flushed;
	uint64_t replayed; /* by the last open */
	bool compare;	   /* the replay must say what `truth` says, else it makes the truth */
	uint64_t release_in_replay;
	uint64_t seed;
};

/* --- payloads that know what they are --- */

static void fill_payload(uint8_t *payload, uint64_t id, size_t size)
{
	for (size_t at = 0; at < size; at += 8) {
		uint64_t word = at == 0 ? id : random_at(id, at);
		memcpy(payload + at, &word, size - at < 8 ? size - at : 8);
	}
}

static bool payload_is_right(struct slice payload)
{
	uint64_t id = 0;
	memcpy(&id, payload.data, payload.size < 8 ? payload.size : 8);
	for (size_t at = 8; at < payload.size; at += 8) {
		uint64_t word = random_at(id, at);
		if (memcmp(payload.data + at, &word, payload.size - at < 8 ? payload.size - at : 8) != 0)
			return false;
	}
	return true;
}

static uint64_t next_sequence(void *context)
{
	struct world *world = context;
	return ++world->sequence;
}

static struct record record_of(const struct wal_commit *commit)
{
	return (struct record) {
		.sequence = commit->sequence,
		.checksum = checksum64(commit->payload.data, commit->payload.size, 1),
		.size = (uint32_t)commit->payload.size,
	};
}

static void apply(void *context, const struct wal_commit *commit)
{
	struct world *world = context;
	assert_int_equal(commit->log_number, world->truth_count + 1);
	assert_true(payload_is_right(commit->payload));
	assert_true(world->truth_count < RECORDS_MAX);
	world->truth[world->truth_count++] = record_of(commit);
}

static struct status replay(struct task *self, void *context, const struct wal_commit *commit)
{
	struct world *world = context;
	assert_int_equal(commit->log_number, world->flushed + world->replayed + 1);
	assert_true(payload_is_right(commit->payload));
	struct record record = record_of(commit);
	struct record *truth = &world->truth[commit->log_number - 1];
	if (world->compare) {
		assert_true(commit->log_number <= world->truth_count);
		assert_int_equal(record.sequence, truth->sequence);
		assert_int_equal(record.checksum, truth->checksum);
	} else {
		*truth = record;
	}
	world->replayed++;
	if (world->release_in_replay > 0 && commit->log_number == world->release_in_replay) {
		task_sleep(self, 1000);
		wal_release(world->wal, commit->log_number);
	}
	return status_ok();
}

/* --- worlds --- */

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

static void make_directory(char *path, size_t size, bool fast)
{
	struct stat info;
	const char *base = fast && stat("/dev/shm", &info) == 0 ? "/dev/shm" : "/tmp";
	(void)snprintf(path, size, "%s/wal_test_XXXXXX", base);
	assert_non_null(mkdtemp(path));
}

static struct world *world_make(const char *backend, bool fast, uint64_t segment_bytes)
{
	struct world *world = calloc(1, sizeof(*world));
	world->truth = calloc(RECORDS_MAX, sizeof(struct record));
	world->seed = test_seed(4711);
	make_directory(world->directory, sizeof(world->directory), fast);
	struct runtime_options options = { .shards = 1, .io_backend = backend, .io = { .direct = true } };
	char notice[200];
	assert_ok(runtime_create(&options, &world->runtime, notice, sizeof(notice)));
	world->options = (struct wal_options) {
		.directory = world->directory,
		.database_id = { 0x1234567890abcdefull, 42 },
		.shard = 3,
		.segment_bytes = segment_bytes,
		.segments_max = 4,
		.group_bytes = 8192,
		.wait_ns_max = 2000000000,
		.next_sequence = next_sequence,
		.apply = apply,
		.replay = replay,
		.context = world,
	};
	return world;
}

static void world_free(struct world *world)
{
	assert_null(world->wal);
	runtime_destroy(world->runtime);
	remove_directory(world->directory);
	free(world->truth);
	free(world);
}

static struct status world_open(struct task *self, struct world *world, bool create)
{
	world->replayed = 0;
	struct status status =
		wal_open(self, &world->options, create, world->flushed, &world->wal, &world->report);
	if (status_is_ok(status)) {
		assert_int_equal(world->report.commits, world->replayed);
		assert_int_equal(world->report.last_log_number, world->flushed + world->replayed);
		if (!world->compare)
			world->truth_count = world->report.last_log_number;
	}
	return status;
}

static void open_new(struct task *self, struct world *world)
{
	assert_ok(world_open(self, world, true));
}

static void open_old(struct task *self, struct world *world)
{
	world->compare = true;
	assert_ok(world_open(self, world, false));
	assert_int_equal(world->report.last_log_number, world->truth_count);
	world->compare = false;
}

static void close_log(struct task *self, struct world *world)
{
	assert_ok(wal_close(self, world->wal));
	world->wal = NULL;
}

static void release_flushed(struct task *self, struct world *world)
{
	(void)self;
	wal_release(world->wal, world->flushed);
}

static struct status append(struct task *self, struct world *world, size_t size,
			    enum wal_durability durability)
{
	uint8_t *payload = malloc(size + 8);
	fill_payload(payload, ++world->payload_id, size);
	size_t cut = size / 3;
	struct slice pieces[3] = {
		slice_make(payload, cut),
		slice_make(NULL, 0),
		slice_make(payload + cut, size - cut),
	};
	struct status status = wal_append(self, world->wal, pieces, 3, durability, NULL);
	free(payload);
	return status;
}

/* --- images: the bytes of a ring --- */

struct image {
	uint8_t *bytes; /* segment after segment */
	size_t segment_bytes;
	unsigned segments;
};

static struct image image_take(const struct world *world)
{
	struct image image = { .segment_bytes = world->options.segment_bytes };
	image.bytes = malloc(SEGMENTS_TEST_MAX * image.segment_bytes);
	for (unsigned i = 0; i < SEGMENTS_TEST_MAX; i++) {
		char path[300];
		(void)snprintf(path, sizeof(path), "%s/wal-%06u.log", world->directory, i);
		int file = open(path, O_RDONLY);
		if (file < 0)
			break;
		uint8_t *to = image.bytes + i * image.segment_bytes;
		assert_int_equal(pread(file, to, image.segment_bytes, 0), image.segment_bytes);
		close(file);
		image.segments++;
	}
	return image;
}

static struct image image_copy(const struct image *from)
{
	struct image image = *from;
	image.bytes = malloc(from->segments * from->segment_bytes);
	memcpy(image.bytes, from->bytes, from->segments * from->segment_bytes);
	return image;
}

static void image_write(const struct image *image, const char *directory)
{
	for (unsigned i = 0; i < SEGMENTS_TEST_MAX; i++) {
		char path[300];
		(void)snprintf(path, sizeof(path), "%s/wal-%06u.log", directory, i);
		if (i >= image->segments) {
			(void)unlink(path);
			continue;
		}
		int file = open(path, O_WRONLY | O_CREAT, 0644);
		assert_true(file >= 0);
		const uint8_t *from = image->bytes + i * image->segment_bytes;
		assert_int_equal(pwrite(file, from, image->segment_bytes, 0), image->segment_bytes);
		assert_int_equal(ftruncate(file, (off_t)image->segment_bytes), 0);
		close(file);
	}
}

struct place {
	size_t begin, end; /* in the image */
	uint64_t first, count, durable;
};

/* Whether an earlier replay trimmed the group: the header of some later run says so. */
static bool image_voids(const struct image *image, const struct wal_group_header *group)
{
	for (unsigned i = 0; i < image->segments; i++) {
		struct wal_segment_header head;
		if (wal_header_decode(image->bytes + i * image->segment_bytes, &head) == WAL_HEADER_VALID &&
		    group->lap < head.incarnation_lap && group->first_log_number >= head.cut)
			return true;
	}
	return false;
}

/* The groups that count, in the order of their log numbers. */
static unsigned image_groups(const struct image *image, const struct world *world, struct place *places,
			     unsigned limit)
{
	unsigned count = 0;
	for (;;) {
		uint64_t wanted =
			count == 0 ? world->flushed + 1 : places[count - 1].first + places[count - 1].count;
		bool found = false;
		for (unsigned i = 0; !found && i < image->segments; i++) {
			const uint8_t *segment = image->bytes + i * image->segment_bytes;
			struct wal_segment_header head;
			if (wal_header_decode(segment, &head) != WAL_HEADER_VALID)
				continue;
			uint64_t seed =
				wal_group_seed(world->options.database_id, world->options.shard, i, head.lap);
			for (size_t at = WAL_HEADER_BYTES; at + 56 <= image->segment_bytes; at += 8) {
				struct wal_group_header group;
				if (!wal_group_peek(segment + at, at, image->segment_bytes - at, &group) ||
				    group.lap != head.lap || !wal_group_verify(segment + at, &group, seed))
					continue;
				uint64_t end = group.first_log_number + group.count;
				if (wanted < group.first_log_number || wanted >= end ||
				    image_voids(image, &group))
					continue;
				assert_true(count < limit);
				places[count++] = (struct place) {
					.begin = i * image->segment_bytes + at,
					.end = i * image->segment_bytes + at + group.length,
					.first = group.first_log_number,
					.count = group.count,
					.durable = group.durable_log_number,
				};
				found = true;
				break;
			}
		}
		if (!found)
			return count;
	}
}

/* Opens an image in a directory of its own and compares with the truth; *replayed only if it opened. */
struct trial {
	struct world *world; /* a copy of the one that made the image, with the same truth */
	struct status status;
};

static void trial_task(struct task *self, struct world *world)
{
	world->compare = true;
	world->status = world_open(self, world, false);
	if (status_is_ok(world->status))
		close_log(self, world);
}

/* A world that shares the truth and the runtime, but not the directory. */
static struct world world_twin(const struct world *world, bool fast)
{
	struct world twin = *world;
	make_directory(twin.directory, sizeof(twin.directory), fast);
	twin.wal = NULL;
	return twin;
}

static struct status try_image(struct world *twin, const struct image *image)
{
	image_write(image, twin->directory);
	twin->options.directory = twin->directory;
	twin->options.context = twin;
	in_task(twin, trial_task);
	return twin->status;
}

/* --- round trips --- */

static void append_mixed(struct task *self, struct world *world)
{
	struct random random = random_stream(world->seed);
	for (unsigned i = 0; i < 200; i++) {
		size_t size = (size_t)random_below(&random, i % 10 == 0 ? 20000 : 300);
		enum wal_durability level = i % 20 == 19 ? WAL_POWER : i % 2 == 0 ? WAL_MEMORY : WAL_PROCESS;
		uint64_t before = world->truth_count;
		assert_ok(append(self, world, size, level));
		assert_int_equal(world->truth_count, before + 1); /* it reads its own write */
	}
	assert_int_equal(wal_last_applied(world->wal), world->truth_count);
	assert_int_equal(wal_first_pending_sequence(world->wal), UINT64_MAX);
	assert_ok(wal_verify(self, world->wal));
}

static void test_round_trip(void **state)
{
	struct world *world = world_make(*state, false, 1 << 20);
	world->options.segments_max = 8;
	in_task(world, open_new);
	in_task(world, append_mixed);
	in_task(world, close_log);
	in_task(world, open_old);
	assert_int_equal(world->replayed, 200);
	assert_int_equal(world->report.last_sequence, world->sequence);
	in_task(world, append_mixed); /* behind what was replayed */
	in_task(world, close_log);
	world->flushed = 137;
	in_task(world, open_old);
	assert_int_equal(world->replayed, 400 - 137);
	in_task(world, close_log);
	/* A ring keeps the segment size that it was made with. */
	world->options.segment_bytes = 4 << 20;
	in_task(world, open_old);
	in_task(world, close_log);
	world_free(world);
}

/* Through the page cache, opened directly afterwards, and the other way round. */
static void test_buffered(void **state)
{
	struct world *world = world_make(*state, false, 1 << 20);
	world->options.segments_max = 8;
	world->options.buffered = true;
	in_task(world, open_new);
	in_task(world, append_mixed);
	in_task(world, close_log);
	world->options.buffered = false;
	in_task(world, open_old);
	in_task(world, append_mixed);
	in_task(world, close_log);
	world->options.buffered = true;
	in_task(world, open_old);
	assert_int_equal(world->replayed, 400);
	in_task(world, close_log);
	world_free(world);
}

static void create_twice(struct task *self, struct world *world)
{
	assert_status(world_open(self, world, true), STATUS_INVALID);
	assert_null(world->wal);
}

static void open_nothing(struct task *self, struct world *world)
{
	assert_status(world_open(self, world, false), STATUS_CORRUPT);
	assert_null(world->wal);
}

static void bad_options(struct task *self, struct world *world)
{
	struct wal_options good = world->options;
	world->options.segment_bytes = 20000;
	assert_status(world_open(self, world, true), STATUS_INVALID);
	world->options = good;
	world->options.segments_max = 1;
	assert_status(world_open(self, world, true), STATUS_INVALID);
	world->options = good;
	world->options.group_bytes = 100;
	assert_status(world_open(self, world, true), STATUS_INVALID);
	world->options = good;
}

static void test_create_and_open_differ(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	in_task(world, open_nothing);
	in_task(world, bad_options);
	in_task(world, open_new);
	in_task(world, close_log);
	in_task(world, create_twice);
	in_task(world, open_old);
	in_task(world, close_log);
	world_free(world);
}

static void append_large(struct task *self, struct world *world)
{
	size_t largest = wal_payload_max(world->wal);
	assert_true(largest >= (1 << 20) + (128 << 10));
	assert_ok(append(self, world, largest, WAL_POWER));
	assert_status(append(self, world, largest + 1, WAL_POWER), STATUS_INVALID);
	assert_ok(append(self, world, 0, WAL_PROCESS));
	assert_ok(append(self, world, 8192, WAL_PROCESS));
	assert_ok(append(self, world, largest - 1, WAL_PROCESS));
	/* Nothing larger than a group buffer stays behind. */
	assert_true(wal_counters(world->wal)->memory_bytes < 3 * 16384);
}

static void test_large_commits(void **state)
{
	struct world *world = world_make(*state, false, 2 << 20);
	in_task(world, open_new);
	in_task(world, append_large);
	in_task(world, close_log);
	in_task(world, open_old);
	assert_int_equal(world->replayed, 4);
	in_task(world, close_log);
	world_free(world);
}

/* --- many tasks --- */

struct client {
	struct world *world;
	unsigned commits;
	size_t size_max;
	enum wal_durability level;
	uint64_t seed;
	unsigned refused;
};

static void client_run(struct task *self, void *argument)
{
	struct client *client = argument;
	struct random random = random_stream(client->seed);
	for (unsigned i = 0; i < client->commits; i++) {
		size_t size = 8 + (size_t)random_below(&random, client->size_max);
		struct status status = append(self, client->world, size, client->level);
		client->refused += !status_is_ok(status);
		if (!status_is_ok(status))
			assert_true(status_is(status, STATUS_BUSY) || status_is(status, STATUS_IO) ||
				    status_is(status, STATUS_READ_ONLY) ||
				    status_is(status, STATUS_NO_SPACE));
	}
}

static const struct task_type client_type = { .name = "client", .run = client_run, .stack_bytes = 16384 };

static void run_clients(struct task *self, struct client *clients, unsigned count)
{
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < count; i++) {
		clients[i].seed = clients[i].world->seed + i;
		assert_ok(task_spawn(task_shard(self), &client_type, &clients[i], TASK_FOREGROUND, &join));
	}
	join_wait(self, &join);
}

static void commit_in_groups(struct task *self, struct world *world)
{
	struct client clients[32];
	struct wal_counters before = *wal_counters(world->wal);
	for (unsigned i = 0; i < 32; i++)
		clients[i] = (struct client) {
			.world = world,
			.commits = 20,
			.size_max = 100,
			.level = i % 2 == 0 ? WAL_POWER : WAL_PROCESS,
		};
	run_clients(self, clients, 32);
	const struct wal_counters *after = wal_counters(world->wal);
	assert_int_equal(after->commits - before.commits, 32 * 20);
	/* All 32 are always waiting, so a group holds about 32. */
	assert_true(after->groups - before.groups <= 32 * 20 / 16);
	assert_true(after->syncs - before.syncs <= after->groups - before.groups + 2);
	assert_int_equal(world->truth_count, 32 * 20);
}

static void test_group_commit(void **state)
{
	struct world *world = world_make(*state, false, 1 << 20);
	world->options.group_bytes = 64 << 10;
	in_task(world, open_new);
	in_task(world, commit_in_groups);
	in_task(world, close_log);
	in_task(world, open_old);
	in_task(world, close_log);
	world_free(world);
}

static void commit_beyond_buffers(struct task *self, struct world *world)
{
	/* 40 tasks want up to 6 KB each, some more than a buffer: most of them wait in line. */
	struct client clients[40];
	for (unsigned i = 0; i < 40; i++)
		clients[i] = (struct client) {
			.world = world,
			.commits = 20,
			.size_max = i % 10 == 0 ? 30000 : 6000,
			.level = i % 3 == 0 ? WAL_POWER : WAL_PROCESS,
		};
	run_clients(self, clients, 40);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(clients[i].refused, 0);
}

static void test_line_for_buffers(void **state)
{
	struct world *world = world_make(*state, false, 1 << 20);
	world->options.segments_max = 16;
	in_task(world, open_new);
	in_task(world, commit_beyond_buffers);
	in_task(world, close_log);
	in_task(world, open_old);
	assert_int_equal(world->replayed, 800);
	in_task(world, close_log);
	world_free(world);
}

/* --- laps --- */

static void append_and_release(struct task *self, struct world *world)
{
	struct random random = random_stream(world->seed + world->truth_count);
	for (unsigned i = 0; i < 40; i++) {
		enum wal_durability level = random_below(&random, 4) == 0 ? WAL_POWER : WAL_PROCESS;
		assert_ok(append(self, world, (size_t)random_below(&random, 2500), level));
		if (world->truth_count - world->flushed > 12) {
			assert_ok(wal_sync(self, world->wal));
			world->flushed = world->truth_count - random_below(&random, 8);
			wal_release(world->wal, world->flushed);
		}
	}
	assert_ok(wal_verify(self, world->wal));
	assert_true(wal_counters(world->wal)->segments <= world->options.segments_max);
}

static void count_laps(struct task *self, struct world *world)
{
	(void)self;
	assert_true(wal_counters(world->wal)->laps >= 80);
}

static void test_laps(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	in_task(world, open_new);
	struct world twin = world_twin(world, true);
	for (unsigned round = 0; round < 40; round++) {
		in_task(world, append_and_release);
		struct image image = image_take(world);
		twin.truth_count = world->truth_count;
		twin.flushed = world->flushed;
		assert_ok(try_image(&twin, &image));
		assert_int_equal(twin.report.last_log_number, world->truth_count);
		assert_true(twin.report.bytes_read <= twin.report.ring_bytes);
		free(image.bytes);
	}
	in_task(world, count_laps);
	in_task(world, close_log);
	in_task(world, open_old);
	in_task(world, close_log);
	remove_directory(twin.directory);
	world_free(world);
}

static void open_and_release(struct task *self, struct world *world)
{
	assert_ok(world_open(self, world, false));
	assert_ok(append(self, world, 5000, WAL_POWER));
	assert_ok(append(self, world, 5000, WAL_POWER));
}

static void fill_ring(struct task *self, struct world *world)
{
	world->options.wait_ns_max = 0;
	for (unsigned i = 0; i < 1000; i++) {
		struct status status = append(self, world, 1000, WAL_PROCESS);
		if (status_is(status, STATUS_BUSY)) {
			assert_int_equal(wal_counters(world->wal)->segments, 4);
			return;
		}
		assert_ok(status);
		task_sleep(self, 300000); /* time for the keeper */
	}
	fail();
}

/* Everything is live: an append works as soon as the replay itself has released something. */
static void test_release_during_replay(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	in_task(world, open_new);
	world->options.wait_ns_max = 0;
	in_task(world, close_log);
	in_task(world, open_old);
	in_task(world, fill_ring);
	struct image image = image_take(world);
	struct world twin = world_twin(world, true);
	twin.truth = calloc(RECORDS_MAX, sizeof(struct record));
	twin.options.directory = twin.directory;
	twin.options.context = &twin;
	image_write(&image, twin.directory);
	twin.release_in_replay = world->truth_count - 3;
	in_task(&twin, open_and_release);
	assert_int_equal(twin.truth_count, world->truth_count + 2);
	assert_true(twin.report.bytes_read <= twin.report.ring_bytes);
	in_task(&twin, close_log);
	in_task(world, close_log);
	remove_directory(twin.directory);
	free(twin.truth);
	free(image.bytes);
	world_free(world);
}

/* --- a full ring --- */

static void wait_for_room(struct task *self, struct world *world)
{
	uint64_t room = wal_room(world->wal);
	assert_true(room >= 3 * 12000);
	while (wal_room(world->wal) > 13000)
		assert_ok(append(self, world, 900, WAL_PROCESS));
	struct status status = status_ok();
	uint64_t begun = 0;
	unsigned appended = 0;
	for (; status_is_ok(status); appended++) {
		begun = clock_now_ns();
		status = append(self, world, 900, WAL_PROCESS);
	}
	assert_true(appended <= 14);
	assert_status(status, STATUS_BUSY);
	uint64_t waited = clock_now_ns() - begun;
	assert_true(waited >= world->options.wait_ns_max);
	assert_true(wal_room(world->wal) < 1000);
	assert_true(wal_counters(world->wal)->segment_waits > 0);
	assert_int_equal(wal_counters(world->wal)->segments, 3);
	assert_int_equal(wal_first_pending_sequence(world->wal), UINT64_MAX);
}

struct releaser {
	struct world *world;
	bool stop;
};

static void releaser_run(struct task *self, void *argument)
{
	struct releaser *releaser = argument;
	while (!releaser->stop) {
		task_sleep(self, 3000000);
		wal_release(releaser->world->wal, wal_last_applied(releaser->world->wal));
		releaser->world->flushed = wal_last_applied(releaser->world->wal);
	}
}

static const struct task_type releaser_type = { .name = "releaser",
						.run = releaser_run,
						.stack_bytes = 8192 };

static void go_on_after_release(struct task *self, struct world *world)
{
	struct releaser releaser = { .world = world };
	struct join join;
	join_init(&join);
	assert_ok(task_spawn(task_shard(self), &releaser_type, &releaser, TASK_BACKGROUND, &join));
	struct client clients[20];
	for (unsigned i = 0; i < 20; i++)
		clients[i] = (struct client) {
			.world = world, .commits = 10, .size_max = 2000, .level = WAL_PROCESS
		};
	run_clients(self, clients, 20);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(clients[i].refused, 0);
	releaser.stop = true;
	join_wait(self, &join);
}

/* Many tasks and nobody who releases: each is refused in time, and nobody hangs. */
static void all_refused_in_time(struct task *self, struct world *world)
{
	struct client clients[60];
	for (unsigned i = 0; i < 60; i++)
		clients[i] = (struct client) {
			.world = world, .commits = 1, .size_max = 3000, .level = WAL_PROCESS
		};
	uint64_t begun = clock_now_ns();
	run_clients(self, clients, 60);
	unsigned refused = 0;
	for (unsigned i = 0; i < 60; i++)
		refused += clients[i].refused;
	assert_true(refused > 0);
	assert_true(clock_now_ns() - begun < 20 * world->options.wait_ns_max + 1000000000);
}

static void test_full_ring(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	world->options.segments_max = 3;
	world->options.wait_ns_max = 30000000;
	in_task(world, open_new);
	in_task(world, wait_for_room);
	in_task(world, all_refused_in_time);
	in_task(world, close_log);
	world->options.wait_ns_max = 5000000000;
	in_task(world, open_old); /* a full ring opens, and says what it holds */
	assert_true(world->report.bytes_read <= world->report.ring_bytes);
	assert_int_equal(world->report.ring_bytes, 3 * 16384);
	in_task(world, go_on_after_release);
	in_task(world, close_log);
	in_task(world, open_old);
	in_task(world, close_log);
	world_free(world);
}

/* --- what is visible when --- */

struct watcher {
	struct world *world;
	uint64_t waited_for;
	uint64_t seen;
};

static void watcher_run(struct task *self, void *argument)
{
	struct watcher *watcher = argument;
	while (watcher->world->sequence < watcher->waited_for)
		task_yield(self);
	assert_true(wal_first_pending_sequence(watcher->world->wal) <= watcher->waited_for);
	wal_wait_published(self, watcher->world->wal, watcher->waited_for);
	watcher->seen = watcher->world->truth_count;
	assert_true(wal_first_pending_sequence(watcher->world->wal) > watcher->waited_for);
}

static const struct task_type watcher_type = { .name = "watcher", .run = watcher_run, .stack_bytes = 8192 };

static void watch(struct task *self, struct world *world)
{
	struct watcher watcher = { .world = world, .waited_for = world->sequence + 10 };
	struct join join;
	join_init(&join);
	assert_ok(task_spawn(task_shard(self), &watcher_type, &watcher, TASK_FOREGROUND, &join));
	struct client clients[16];
	for (unsigned i = 0; i < 16; i++)
		clients[i] =
			(struct client) { .world = world, .commits = 5, .size_max = 100, .level = WAL_POWER };
	run_clients(self, clients, 16);
	join_wait(self, &join);
	assert_true(watcher.seen >= 10);
	wal_wait_published(self, world->wal, UINT64_MAX - 1); /* nothing is pending: at once */
}

static void sync_covers(struct task *self, struct world *world)
{
	assert_ok(append(self, world, 100, WAL_PROCESS));
	uint64_t syncs = wal_counters(world->wal)->syncs;
	assert_ok(wal_sync(self, world->wal));
	assert_int_equal(wal_counters(world->wal)->syncs, syncs + 1);
	assert_ok(wal_sync(self, world->wal)); /* nothing new */
	assert_int_equal(wal_counters(world->wal)->syncs, syncs + 1);
	assert_ok(append(self, world, 100, WAL_POWER));
	assert_ok(wal_sync(self, world->wal));
	assert_int_equal(wal_counters(world->wal)->syncs, syncs + 2);
}

static void test_published_and_sync(void **state)
{
	struct world *world = world_make(*state, false, 1 << 20);
	in_task(world, open_new);
	in_task(world, watch);
	in_task(world, sync_covers);
	in_task(world, close_log);
	world_free(world);
}

/* --- torn tails --- */

/* Wraps the ring, so that stale groups lie everywhere, then leaves commits of one group each. */
static void age_ring(struct task *self, struct world *world)
{
	for (unsigned i = 0; i < 60; i++) {
		assert_ok(append(self, world, 1500, WAL_PROCESS));
		world->flushed = world->truth_count;
		assert_ok(wal_sync(self, world->wal));
		wal_release(world->wal, world->flushed);
	}
}

static void append_some(struct task *self, struct world *world, unsigned count, enum wal_durability level)
{
	for (unsigned i = 0; i < count; i++)
		assert_ok(append(self, world, (size_t)(37 + 613 * (world->truth_count % 4)), level));
}

static void append_power(struct task *self, struct world *world)
{
	append_some(self, world, 6, WAL_POWER);
}

static void append_process(struct task *self, struct world *world)
{
	append_some(self, world, 6, WAL_PROCESS);
}

static uint64_t intact_prefix(const struct image *whole, const struct image *torn, const struct place *places,
			      unsigned count)
{
	uint64_t commits = 0;
	for (unsigned i = 0; i < count; i++) {
		const struct place *place = &places[i];
		if (memcmp(whole->bytes + place->begin, torn->bytes + place->begin,
			   place->end - place->begin) != 0)
			break;
		commits += place->count;
	}
	return commits;
}

enum filler { FILL_ZERO, FILL_OLD, FILL_GARBAGE };

static void tear(struct image *torn, const struct image *old, size_t begin, size_t end, enum filler filler,
		 struct random *random)
{
	for (size_t at = begin; at < end; at++)
		torn->bytes[at] = filler == FILL_ZERO  ? 0
				  : filler == FILL_OLD ? old->bytes[at]
						       : (uint8_t)random_next(random);
}

/* Everything behind a cut is lost: what stood before it is there, and nothing else. */
static void cut_everywhere(struct world *world, const struct image *old, const struct image *whole)
{
	struct place places[64];
	unsigned count = image_groups(whole, world, places, 64);
	assert_true(count >= 6);
	struct random random = random_stream(world->seed);
	struct world twin = world_twin(world, true);
	size_t begin = places[0].begin / 512 * 512;
	for (size_t cut = begin; cut <= places[count - 1].end; cut += 512) {
		for (enum filler filler = FILL_ZERO; filler <= FILL_GARBAGE; filler++) {
			struct image torn = image_copy(whole);
			size_t end = (cut / whole->segment_bytes + 1) * whole->segment_bytes;
			tear(&torn, old, cut, end, filler, &random);
			/* The groups of an earlier segment stay, those of a later one go as well. */
			for (unsigned i = 0; i < count; i++)
				if (places[i].begin / whole->segment_bytes != cut / whole->segment_bytes &&
				    i > 0 && places[i].first > places[0].first &&
				    intact_prefix(whole, &torn, places, count) <
					    places[i].first - places[0].first)
					tear(&torn, old, places[i].begin, places[i].end, filler, &random);
			uint64_t expected = intact_prefix(whole, &torn, places, count);
			assert_ok(try_image(&twin, &torn));
			assert_int_equal(twin.replayed, expected);
			free(torn.bytes);
		}
	}
	remove_directory(twin.directory);
}

static void test_torn_tail(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	world->options.segments_max = 3;
	in_task(world, open_new);
	in_task(world, age_ring);
	for (unsigned round = 0; round < 3; round++) {
		struct image old = image_take(world);
		in_task(world, round % 2 == 0 ? append_power : append_process);
		struct image whole = image_take(world);
		cut_everywhere(world, &old, &whole);
		free(old.bytes);
		free(whole.bytes);
	}
	in_task(world, close_log);
	world_free(world);
}

/*
 * Power fails: every 512-byte unit that was not synced is there or not, across groups. Then the log goes on,
 * and fails again: depth four. The truth is what the last replay found and what was appended since.
 */
static void crash_chain(struct world *world, uint64_t seed)
{
	struct random random = random_stream(seed);
	struct world twin = world_twin(world, true);
	twin.truth = calloc(RECORDS_MAX, sizeof(struct record));
	memcpy(twin.truth, world->truth, world->truth_count * sizeof(struct record));
	twin.options.directory = twin.directory;
	twin.options.context = &twin;
	struct image durable = image_take(world);
	image_write(&durable, twin.directory);
	in_task(&twin, open_old);
	free(durable.bytes);
	for (unsigned depth = 0; depth < 4; depth++) {
		if (random_below(&random, 2) == 0)
			in_task(&twin, append_power);
		/* The groups up to here are durable, and so is all that the keeper wrote. */
		durable = image_take(&twin);
		struct place before[128];
		unsigned durable_count = image_groups(&durable, &twin, before, 128);
		uint64_t durable_commits = durable_count == 0 ? twin.flushed
							      : before[durable_count - 1].first +
									before[durable_count - 1].count - 1;
		if (random_below(&random, 2) == 0)
			in_task(&twin, append_process);
		struct image whole = image_take(&twin);
		struct image torn = image_copy(&whole);
		struct place places[128];
		unsigned count = image_groups(&whole, &twin, places, 128);
		for (unsigned i = 0; i < count; i++) {
			if (places[i].first <= durable_commits)
				continue;
			for (size_t at = places[i].begin / 512 * 512; at < places[i].end; at += 512)
				if (random_below(&random, 3) == 0)
					memcpy(torn.bytes + at, durable.bytes + at, 512);
		}
		uint64_t base = count == 0 ? twin.flushed : places[0].first - 1;
		uint64_t expected = base + intact_prefix(&whole, &torn, places, count);
		assert_true(expected >= durable_commits || whole.segments != durable.segments);
		in_task(&twin, close_log);
		image_write(&torn, twin.directory);
		twin.truth_count = expected > twin.flushed ? expected : twin.flushed;
		in_task(&twin, open_old);
		if (random_below(&random, 3) == 0) {
			uint64_t flushed = twin.truth_count - random_below(&random, 3);
			if (flushed > twin.flushed)
				twin.flushed = flushed;
			in_task(&twin, release_flushed);
		}
		free(durable.bytes);
		free(whole.bytes);
		free(torn.bytes);
	}
	in_task(&twin, close_log);
	remove_directory(twin.directory);
	free(twin.truth);
}

static void test_crash_chains(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	world->options.segments_max = 6;
	in_task(world, open_new);
	in_task(world, age_ring);
	in_task(world, append_power);
	for (unsigned round = 0; round < 100 / SPARSE; round++)
		crash_chain(world, world->seed + round);
	in_task(world, close_log);
	world_free(world);
}

/* --- damage --- */

/*
 * One bit of every `step`-th byte flips: the open is refused, or what it finds is a prefix (the replay
 * compares each commit) with at least `needed` commits.
 */
static void flip_everywhere(struct world *world, const struct image *image, size_t step, uint64_t needed,
			    unsigned *refused, unsigned *whole)
{
	struct world twin = world_twin(world, true);
	struct random random = random_stream(world->seed);
	*refused = 0;
	*whole = 0;
	for (size_t at = 0; at < image->segments * image->segment_bytes; at += step * SPARSE) {
		uint8_t kept = image->bytes[at];
		image->bytes[at] ^= (uint8_t)(1u << random_below(&random, 8));
		struct status status = try_image(&twin, image);
		image->bytes[at] = kept;
		if (!status_is_ok(status)) {
			assert_true(status_is(status, STATUS_CORRUPT) || status_is(status, STATUS_FORMAT));
			(*refused)++;
			continue;
		}
		if (twin.report.last_log_number < needed)
			fail_msg("byte %zu: %llu commits, expected %llu", at,
				 (unsigned long long)twin.report.last_log_number, (unsigned long long)needed);
		*whole += twin.report.last_log_number == world->truth_count;
	}
	remove_directory(twin.directory);
}

static void test_flipped_bits(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	world->options.segments_max = 2;
	unsigned refused, whole;
	in_task(world, open_new);
	in_task(world, age_ring);
	in_task(world, append_process);
	struct image image = image_take(world);
	flip_everywhere(world, &image, 29, world->flushed, &refused, &whole);
	assert_true(whole > 100 / SPARSE);
	free(image.bytes);

	/* Synced one by one: each group proves the one before it, so only the last can be lost. */
	in_task(world, append_power);
	image = image_take(world);
	flip_everywhere(world, &image, 7, world->truth_count - 1, &refused, &whole);
	assert_true(refused > 100 / SPARSE);
	free(image.bytes);

	/* After a clean close the marker proves the last one too. */
	in_task(world, close_log);
	image = image_take(world);
	flip_everywhere(world, &image, 7, world->truth_count, &refused, &whole);
	assert_true(refused > 100 / SPARSE);
	free(image.bytes);
	world_free(world);
}

/* What an open replayed, it made durable, and every header that it wrote says so. */
static void test_replayed_is_proven(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	in_task(world, open_new);
	in_task(world, append_process);
	struct image killed = image_take(world);
	struct world twin = world_twin(world, true);
	twin.options.directory = twin.directory;
	twin.options.context = &twin;
	image_write(&killed, twin.directory);
	in_task(&twin, open_old);
	struct image image = image_take(&twin);
	struct place places[64];
	unsigned count = image_groups(&image, &twin, places, 64);
	assert_int_equal(count, 6);
	struct world third = world_twin(&twin, true);
	for (unsigned i = 0; i < count; i++) {
		assert_true(places[i].durable == 0); /* the groups themselves prove nothing */
		image.bytes[places[i].begin + 60] ^= 1;
		assert_status(try_image(&third, &image), STATUS_CORRUPT);
		image.bytes[places[i].begin + 60] ^= 1;
	}
	in_task(&twin, close_log);
	in_task(world, close_log);
	remove_directory(twin.directory);
	remove_directory(third.directory);
	free(killed.bytes);
	free(image.bytes);
	world_free(world);
}

/* Damage in commits that tables cover, as a crash leaves it there, does not hide the commits behind them. */
static void test_damage_before_flushed(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	in_task(world, open_new);
	in_task(world, append_process);
	struct image image = image_take(world);
	struct place places[64];
	assert_int_equal(image_groups(&image, world, places, 64), 6);
	struct world twin = world_twin(world, true);
	for (twin.flushed = 2; twin.flushed < 6; twin.flushed++) {
		image.bytes[places[1].begin + 60] ^= 1;
		assert_ok(try_image(&twin, &image));
		assert_int_equal(twin.report.last_log_number, 6);
		assert_int_equal(twin.report.commits, 6 - twin.flushed);
		/* But it ends the log where it goes on behind what is covered. */
		image.bytes[places[twin.flushed].begin + 60] ^= 1;
		assert_ok(try_image(&twin, &image));
		assert_int_equal(twin.report.last_log_number, twin.flushed);
		image.bytes[places[twin.flushed].begin + 60] ^= 1;
		image.bytes[places[1].begin + 60] ^= 1;
		assert_ok(try_image(&twin, &image));
		assert_int_equal(twin.report.last_log_number, 6);
	}
	in_task(world, close_log);
	remove_directory(twin.directory);
	free(image.bytes);
	world_free(world);
}

static void append_over_segments(struct task *self, struct world *world)
{
	for (unsigned i = 0; i < 16; i++)
		assert_ok(append(self, world, 2500, WAL_PROCESS));
	while (wal_counters(world->wal)->segments < 5)
		task_sleep(self, 1000000);
}

/* Before anything else runs: no segment holds a group that the replay left out, but the one that was cut. */
static void open_and_look(struct task *self, struct world *world)
{
	world->compare = true;
	assert_ok(world_open(self, world, false));
	assert_int_equal(world->report.last_log_number, world->truth_count);
	struct image image = image_take(world);
	unsigned left = 0;
	for (unsigned i = 0; i < image.segments; i++) {
		const uint8_t *segment = image.bytes + i * image.segment_bytes;
		struct wal_segment_header head;
		assert_int_equal(wal_header_decode(segment, &head), WAL_HEADER_VALID);
		for (size_t at = WAL_HEADER_BYTES; at + 56 <= image.segment_bytes; at += 8) {
			struct wal_group_header group;
			if (wal_group_peek(segment + at, at, image.segment_bytes - at, &group) &&
			    group.lap == head.lap && group.first_log_number > world->truth_count) {
				left++;
				break;
			}
		}
	}
	assert_int_equal(left, 1);
	free(image.bytes);
	close_log(self, world);
}

static void test_trimmed_segments_are_renewed(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	world->options.segments_max = 5;
	in_task(world, open_new);
	in_task(world, append_over_segments);
	struct image image = image_take(world);
	assert_int_equal(image.segments, 5);
	struct place places[64];
	assert_int_equal(image_groups(&image, world, places, 64), 16);
	struct world twin = world_twin(world, true);
	twin.options.directory = twin.directory;
	twin.options.context = &twin;
	memset(image.bytes + places[1].begin, 0, 512);
	image_write(&image, twin.directory);
	twin.truth_count = 1;
	in_task(&twin, open_and_look);
	in_task(world, close_log);
	remove_directory(twin.directory);
	free(image.bytes);
	world_free(world);
}

static void expect_refused(struct world *twin, const struct image *image, const char *what)
{
	struct status status = try_image(twin, image);
	if (!status_is(status, STATUS_CORRUPT))
		fail_msg("%s: %s", what, status_code_text(status.code));
	char text[256];
	status_describe(status, text, sizeof(text));
	assert_non_null(strstr(text, "wal")); /* names the file */
}

static void truncate_everywhere(struct world *world, const struct image *image)
{
	struct world twin = world_twin(world, true);
	twin.options.directory = twin.directory;
	twin.options.context = &twin;
	for (unsigned i = 0; i < image->segments; i++)
		for (size_t size = 0; size < image->segment_bytes; size += 611 * SPARSE) {
			image_write(image, twin.directory);
			char path[300];
			(void)snprintf(path, sizeof(path), "%s/wal-%06u.log", twin.directory, i);
			assert_int_equal(truncate(path, (off_t)size), 0);
			in_task(&twin, trial_task);
			assert_true(status_is(twin.status, STATUS_CORRUPT));
		}
	remove_directory(twin.directory);
}

static void misplace(struct world *world, const struct image *image)
{
	struct world twin = world_twin(world, true);
	size_t size = image->segment_bytes;
	struct image wrong = image_copy(image);
	memcpy(wrong.bytes, image->bytes + size, size);
	expect_refused(&twin, &wrong, "segment 1 in the place of segment 0");
	memcpy(wrong.bytes + size, image->bytes, size);
	expect_refused(&twin, &wrong, "segments swapped");
	free(wrong.bytes);

	/* Pages swapped: refused, or at worst the last group is lost. */
	for (size_t page = 1; page < image->segments * size / 4096; page++) {
		wrong = image_copy(image);
		memcpy(wrong.bytes + page * 4096 - 4096, image->bytes + page * 4096, 4096);
		memcpy(wrong.bytes + page * 4096, image->bytes + page * 4096 - 4096, 4096);
		struct status status = try_image(&twin, &wrong);
		if (status_is_ok(status))
			assert_true(twin.report.last_log_number >= world->truth_count - 1);
		else
			assert_true(status_is(status, STATUS_CORRUPT));
		free(wrong.bytes);
	}
	twin.options.database_id[1]++;
	expect_refused(&twin, image, "another database");
	twin.options.database_id[1]--;
	twin.options.shard++;
	expect_refused(&twin, image, "another shard");
	twin.options.shard--;
	assert_ok(try_image(&twin, image));

	/* A segment is gone: in the middle of the numbers, and the last one. */
	char path[300];
	for (unsigned i = 0; i < image->segments; i++) {
		image_write(image, twin.directory);
		(void)snprintf(path, sizeof(path), "%s/wal-%06u.log", twin.directory, i);
		assert_int_equal(unlink(path), 0);
		in_task(&twin, trial_task);
		assert_status(twin.status, STATUS_CORRUPT);
	}
	/* The header of a version that nobody knows yet. */
	wrong = image_copy(image);
	wrong.bytes[16] = 2;
	assert_status(try_image(&twin, &wrong), STATUS_FORMAT);
	free(wrong.bytes);
	/* A file whose making was cut off is no segment. */
	image_write(image, twin.directory);
	(void)snprintf(path, sizeof(path), "%s/wal-%06u.new", twin.directory, image->segments);
	assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0644)), 0);
	in_task(&twin, trial_task);
	assert_ok(twin.status);
	assert_int_equal(access(path, F_OK), -1);
	remove_directory(twin.directory);
}

static void test_missing_and_misplaced(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	world->options.segments_max = 3;
	in_task(world, open_new);
	in_task(world, age_ring);
	for (unsigned i = 0; i < 3; i++)
		in_task(world, append_power);
	struct image image = image_take(world);
	assert_int_equal(image.segments, 3);
	misplace(world, &image);
	truncate_everywhere(world, &image);
	free(image.bytes);
	in_task(world, close_log);
	world_free(world);
}

/* A header torn at the start of a lap is harmless, because nothing in that segment is needed. */
static void test_torn_header(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	world->options.segments_max = 3;
	in_task(world, open_new);
	in_task(world, age_ring);
	in_task(world, append_power);
	struct image image = image_take(world);
	struct world twin = world_twin(world, true);
	struct place places[64];
	unsigned count = image_groups(&image, world, places, 64);
	unsigned opened = 0;
	for (unsigned i = 0; i < image.segments; i++) {
		bool live = false;
		for (unsigned p = 0; p < count; p++)
			live |= places[p].begin / image.segment_bytes == i;
		struct image torn = image_copy(&image);
		memset(torn.bytes + i * image.segment_bytes, 0xa5, 512);
		struct status status = try_image(&twin, &torn);
		if (live) {
			assert_true(status_is(status, STATUS_CORRUPT));
		} else {
			assert_ok(status);
			assert_int_equal(twin.report.last_log_number, world->truth_count);
			opened++;
		}
		free(torn.bytes);
	}
	assert_true(opened > 0);
	remove_directory(twin.directory);
	free(image.bytes);
	in_task(world, close_log);
	world_free(world);
}

static void damage_and_verify(struct task *self, struct world *world)
{
	append_power(self, world);
	assert_ok(wal_verify(self, world->wal));
	char path[300];
	(void)snprintf(path, sizeof(path), "%s/wal-000000.log", world->directory);
	int file = open(path, O_RDWR);
	uint8_t byte;
	assert_int_equal(pread(file, &byte, 1, 4096 + 80), 1);
	byte ^= 4;
	assert_int_equal(pwrite(file, &byte, 1, 4096 + 80), 1);
	close(file);
	assert_status(wal_verify(self, world->wal), STATUS_CORRUPT);
}

static void test_verify(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	in_task(world, open_new);
	in_task(world, damage_and_verify);
	in_task(world, close_log);
	world_free(world);
}

/* --- faults of the device --- */

static void refuse_after(struct task *self, struct world *world, enum fault_kind kind)
{
	append_power(self, world);
	uint64_t applied = world->truth_count;
	faults_arm(self, kind, STATUS_IO, 2, 1);
	unsigned acknowledged = 0;
	struct status status = status_ok();
	while (status_is_ok(status)) {
		status = append(self, world, 200, WAL_POWER);
		acknowledged += status_is_ok(status);
		assert_true(acknowledged < 10);
	}
	assert_int_equal(faults.fired, 1);
	assert_true(status_is(status, STATUS_IO) || status_is(status, STATUS_READ_ONLY));
	/* Not visible, and nothing is taken ever after, though the device works again. */
	assert_int_equal(world->truth_count, applied + acknowledged);
	assert_status(append(self, world, 10, WAL_MEMORY), STATUS_READ_ONLY);
	assert_status(wal_sync(self, world->wal), STATUS_READ_ONLY);
	assert_status(wal_health(world->wal), STATUS_READ_ONLY);
	assert_int_equal(wal_first_pending_sequence(world->wal), UINT64_MAX);
	struct client clients[8];
	for (unsigned i = 0; i < 8; i++)
		clients[i] = (struct client) {
			.world = world, .commits = 2, .size_max = 3000, .level = WAL_PROCESS
		};
	run_clients(self, clients, 8);
	assert_int_equal(world->truth_count, applied + acknowledged);
	faults_disarm(self);
}

static void fail_write(struct task *self, struct world *world)
{
	refuse_after(self, world, FAULT_WRITE);
}

static void fail_sync(struct task *self, struct world *world)
{
	refuse_after(self, world, FAULT_SYNC);
}

/* What was acknowledged is there; the commit whose fate is unknown may be. */
static void reopen_after_failure(struct task *self, struct world *world)
{
	uint64_t acknowledged = world->truth_count;
	world->compare = false;
	assert_ok(world_open(self, world, false));
	assert_true(world->report.last_log_number >= acknowledged);
	assert_true(world->report.last_log_number <= acknowledged + 1);
}

static void test_fail_stop(void **state)
{
	world_function *failures[] = { fail_write, fail_sync };
	for (unsigned i = 0; i < 2; i++) {
		struct world *world = world_make(*state, true, 16384);
		in_task(world, open_new);
		in_task(world, failures[i]);
		in_task(world, close_log);
		in_task(world, reopen_after_failure);
		in_task(world, append_power);
		in_task(world, close_log);
		world_free(world);
	}
}

static void fail_while_many_wait(struct task *self, struct world *world)
{
	faults_arm(self, FAULT_WRITE, STATUS_IO, 6, 1);
	struct client clients[40];
	for (unsigned i = 0; i < 40; i++)
		clients[i] = (struct client) {
			.world = world, .commits = 10, .size_max = 12000, .level = WAL_POWER
		};
	run_clients(self, clients, 40);
	unsigned refused = 0;
	for (unsigned i = 0; i < 40; i++)
		refused += clients[i].refused;
	assert_int_equal(refused + world->truth_count, 400);
	assert_true(refused > 0);
	faults_disarm(self);
}

static void test_nobody_is_forgotten(void **state)
{
	struct world *world = world_make(*state, false, 1 << 20);
	in_task(world, open_new);
	in_task(world, fail_while_many_wait);
	in_task(world, close_log);
	world_free(world);
}

static void lack_space(struct task *self, struct world *world)
{
	append_power(self, world);
	uint64_t applied = world->truth_count;
	for (unsigned times = 1; times <= 4; times++) {
		/* One failure: the group is taken back. Two: that fails as well. */
		faults_arm(self, FAULT_WRITE, STATUS_NO_SPACE, 1, times);
		struct status status = append(self, world, 5000, times % 2 == 0 ? WAL_POWER : WAL_PROCESS);
		assert_status(status, STATUS_NO_SPACE);
		assert_true(faults.fired > 0);
		assert_int_equal(world->truth_count, applied);
		assert_int_equal(wal_last_applied(world->wal), applied);
		assert_ok(wal_health(world->wal));
		faults.kind = FAULT_NONE;
		assert_ok(append(self, world, 300, times % 2 == 0 ? WAL_PROCESS : WAL_POWER));
		applied++;
		assert_int_equal(world->truth_count, applied);
	}
	assert_ok(wal_verify(self, world->wal));
	faults_disarm(self);
}

/* The device writes everything and reports a failure all the same. */
static void lack_space_late(struct task *self, struct world *world)
{
	append_power(self, world);
	faults_arm(self, FAULT_LATE_WRITE, STATUS_NO_SPACE, 1, 1);
	assert_status(append(self, world, 5000, WAL_PROCESS), STATUS_NO_SPACE);
	assert_int_equal(faults.fired, 1);
	faults_disarm(self);
}

static void test_no_space(void **state)
{
	struct world *world = world_make(*state, true, 65536);
	in_task(world, open_new);
	struct world twin = world_twin(world, true);
	world_function *failures[] = { lack_space, lack_space_late };
	for (unsigned i = 0; i < 2; i++) {
		in_task(world, failures[i]);
		struct image image = image_take(world);
		twin.truth_count = world->truth_count;
		assert_ok(try_image(&twin, &image));
		assert_int_equal(twin.report.last_log_number, world->truth_count);
		free(image.bytes);
	}
	remove_directory(twin.directory);
	in_task(world, close_log);
	in_task(world, open_old);
	in_task(world, close_log);
	world_free(world);
}

/* The ring cannot grow: appends are refused for want of space, and go on when a segment is released. */
static void grow_without_space(struct task *self, struct world *world)
{
	struct status status = status_ok();
	world->options.wait_ns_max = 0;
	/* Only the keeper writes at offset 0, so a sticky fault hits it alone if groups are not written. */
	while (wal_counters(world->wal)->segments_free > 0)
		assert_ok(append(self, world, 3000, WAL_PROCESS));
	faults_arm(self, FAULT_WRITE, STATUS_NO_SPACE, 1, 1000000);
	task_sleep(self, 20000000);
	assert_int_equal(wal_counters(world->wal)->segments, 2);
	faults.kind = FAULT_NONE;
	for (unsigned i = 0; status_is_ok(status) && i < 100; i++) {
		faults_arm(self, FAULT_NONE, STATUS_NO_SPACE, 1, 1);
		status = append(self, world, 3000, WAL_PROCESS);
	}
	assert_ok(wal_health(world->wal));
	faults_disarm(self);
}

/* The device fails what makes a new segment: that file is thrown away, and another one is made. */
static void grow_with_errors(struct task *self, struct world *world)
{
	while (wal_counters(world->wal)->segments_free > 0)
		assert_ok(append(self, world, 3000, WAL_PROCESS));
	faults_arm(self, FAULT_ANY, STATUS_IO, 1, 1);
	while (faults.fired == 0)
		task_sleep(self, 1000000);
	faults.kind = FAULT_NONE;
	assert_int_equal(wal_counters(world->wal)->segments, 2);
	for (unsigned i = 0; i < 10; i++)
		assert_ok(append(self, world, 3000, WAL_PROCESS));
	assert_true(wal_counters(world->wal)->segments > 2);
	assert_ok(wal_health(world->wal));
	faults_disarm(self);
}

static void test_growth_fails(void **state)
{
	world_function *failures[] = { grow_without_space, grow_with_errors };
	for (unsigned i = 0; i < 2; i++) {
		struct world *world = world_make(*state, true, 16384);
		world->options.wait_ns_max = 500000000;
		in_task(world, open_new);
		in_task(world, failures[i]);
		in_task(world, close_log);
		in_task(world, open_old);
		in_task(world, close_log);
		world_free(world);
	}
}

/* --- appending without a task --- */

static bool try_append(struct world *world, size_t size, enum wal_durability level, struct status *status)
{
	uint8_t *payload = malloc(size + 8);
	fill_payload(payload, ++world->payload_id, size);
	struct slice pieces[2] = { slice_make(payload, size / 2),
				   slice_make(payload + size / 2, size - size / 2) };
	uint64_t sequence = world->sequence;
	uint64_t applied = world->truth_count;
	bool done = wal_try_append(world->wal, pieces, 2, level, status);
	if (!done) /* then nothing happened */
		assert_true(world->sequence == sequence && world->truth_count == applied);
	else /* it is visible at once, or never */
		assert_int_equal(world->truth_count, applied + status_is_ok(*status));
	free(payload);
	return done;
}

static void append_either_way(struct task *self, struct world *world)
{
	struct random random = random_stream(world->seed);
	unsigned tried = 0;
	for (unsigned i = 0; i < 600; i++) {
		size_t size = 8 + (size_t)random_below(&random, i % 10 == 0 ? 7000 : 300);
		enum wal_durability level = i % 50 == 49 ? WAL_POWER : i % 2 == 0 ? WAL_MEMORY : WAL_PROCESS;
		struct status status;
		if (random_below(&random, 3) > 0 && try_append(world, size, level, &status)) {
			assert_ok(status);
			tried++;
		} else {
			assert_ok(append(self, world, size, level));
		}
	}
	assert_true(tried > 300);
	assert_int_equal(wal_last_applied(world->wal), world->truth_count);
	assert_int_equal(wal_first_pending_sequence(world->wal), UINT64_MAX);
	assert_int_equal(wal_counters(world->wal)->commits, 600);
	assert_ok(wal_verify(self, world->wal));
}

static struct world *world_for_trying(const char *backend, uint64_t segment_bytes)
{
	struct world *world = world_make(backend, true, segment_bytes);
	world->options.buffered = true;
	in_task(world, open_new);
	return world;
}

/* After a crash and after a close, all of it is there. */
static void test_try_append(void **state)
{
	struct world *world = world_for_trying(*state, 1 << 20);
	struct world twin = world_twin(world, true);
	in_task(world, append_either_way);
	struct image image = image_take(world);
	twin.truth_count = world->truth_count;
	assert_ok(try_image(&twin, &image));
	assert_int_equal(twin.report.last_log_number, 600);
	free(image.bytes);
	remove_directory(twin.directory);
	in_task(world, close_log);
	in_task(world, open_old);
	assert_int_equal(world->replayed, 600);
	in_task(world, append_either_way); /* behind what was replayed */
	in_task(world, close_log);
	in_task(world, open_old);
	in_task(world, close_log);
	world_free(world);
}

static void try_in_vain(struct task *self, struct world *world)
{
	struct status status;
	assert_false(try_append(world, 100, WAL_PROCESS, &status)); /* there is no segment yet */
	assert_ok(append(self, world, 100, WAL_PROCESS));
	assert_true(try_append(world, 100, WAL_PROCESS, &status));
	assert_ok(status);
	assert_false(try_append(world, 100, WAL_POWER, &status));
	assert_false(try_append(world, world->options.group_bytes, WAL_PROCESS, &status));
	assert_true(try_append(world, wal_payload_max(world->wal) + 1, WAL_PROCESS, &status));
	assert_status(status, STATUS_INVALID);
	/* Until the segment is full; the next one is found by a task. */
	unsigned count = 0;
	while (try_append(world, 1000, WAL_MEMORY, &status)) {
		assert_ok(status);
		assert_true(++count < 100);
	}
	assert_true(count > 5);
	assert_ok(append(self, world, 1000, WAL_PROCESS));
	assert_true(try_append(world, 1000, WAL_PROCESS, &status));
	assert_ok(status);
}

static void append_once(struct task *self, void *argument)
{
	struct world *world = argument;
	assert_ok(append(self, world, 500, WAL_PROCESS));
}

static void close_it(struct task *self, void *argument)
{
	close_log(self, argument);
}

/* Nobody slips in before somebody who waits. */
static void try_among_others(struct task *self, struct world *world)
{
	static const struct task_type appender = { "appender", append_once, 16384 };
	static const struct task_type closer = { "closer", close_it, 16384 };
	struct join join;
	struct status status;
	join_init(&join);
	uint64_t applied = world->truth_count;
	assert_ok(task_spawn(task_shard(self), &appender, world, TASK_FOREGROUND, &join));
	task_yield(self);
	assert_int_equal(world->truth_count, applied); /* it waits for its group */
	assert_false(try_append(world, 100, WAL_PROCESS, &status));
	join_wait(self, &join);
	assert_true(try_append(world, 100, WAL_PROCESS, &status));
	assert_ok(status);
	assert_ok(task_spawn(task_shard(self), &closer, world, TASK_FOREGROUND, &join));
	task_yield(self);
	assert_non_null(world->wal);
	assert_true(try_append(world, 100, WAL_PROCESS, &status));
	assert_status(status, STATUS_CLOSED);
	join_wait(self, &join);
}

static void test_try_append_in_vain(void **state)
{
	struct world *world = world_for_trying(*state, 16384);
	in_task(world, try_in_vain);
	in_task(world, try_among_others);
	in_task(world, open_old);
	in_task(world, close_log);
	/* A direct log has no page cache. */
	world->options.buffered = false;
	in_task(world, open_old);
	struct status status;
	assert_false(try_append(world, 100, WAL_PROCESS, &status));
	in_task(world, close_log);
	world_free(world);
}

static void sync_it(struct task *self, void *argument)
{
	struct world *world = argument;
	assert_ok(wal_sync(self, world->wal));
}

/* A commit that is written while a sync is under way is not durable by it. */
static void try_during_a_sync(struct task *self, struct world *world)
{
	static const struct task_type type = { "sync", sync_it, 16384 };
	struct io *io = shard_io(task_shard(self));
	struct status status;
	struct join join;
	join_init(&join);
	assert_ok(append(self, world, 100, WAL_PROCESS));
	task_sleep(self, 5000000); /* the keeper is done with the next segment */
	uint64_t begun = io->counters.syncs;
	assert_ok(task_spawn(task_shard(self), &type, world, TASK_FOREGROUND, &join));
	while (io->counters.syncs == begun)
		task_yield(self);
	assert_true(io->in_flight > 0);
	bool tried = try_append(world, 100, WAL_PROCESS, &status);
	join_wait(self, &join);
	if (!tried)
		status = append(self, world, 100, WAL_PROCESS);
	assert_ok(status);
	uint64_t syncs = wal_counters(world->wal)->syncs;
	assert_ok(wal_sync(self, world->wal));
	assert_int_equal(wal_counters(world->wal)->syncs, syncs + 1);
	assert_ok(wal_sync(self, world->wal)); /* there is nothing left for this one */
	assert_int_equal(wal_counters(world->wal)->syncs, syncs + 1);
}

static void test_try_append_during_a_sync(void **state)
{
	struct world *world = world_for_trying(*state, 65536);
	in_task(world, try_during_a_sync);
	in_task(world, close_log);
	world_free(world);
}

/* The same as a task hears of the same failure, and nothing is visible. */
static void fail_to_try(struct task *self, struct world *world)
{
	struct status status;
	assert_ok(append(self, world, 100, WAL_PROCESS));
	uint64_t applied = world->truth_count;
	faults_arm(self, FAULT_WRITE, STATUS_IO, 1, 1);
	assert_true(try_append(world, 200, WAL_PROCESS, &status));
	assert_status(status, STATUS_IO);
	assert_int_equal(faults.fired, 1);
	assert_int_equal(world->truth_count, applied);
	assert_int_equal(wal_first_pending_sequence(world->wal), UINT64_MAX);
	assert_status(wal_health(world->wal), STATUS_READ_ONLY);
	assert_true(try_append(world, 200, WAL_PROCESS, &status));
	assert_status(status, STATUS_READ_ONLY);
	assert_status(append(self, world, 200, WAL_PROCESS), STATUS_READ_ONLY);
	faults_disarm(self);
}

static void lack_space_to_try(struct task *self, struct world *world)
{
	struct status status;
	assert_ok(append(self, world, 100, WAL_PROCESS));
	for (unsigned times = 1; times <= 2; times++) {
		faults_arm(self, FAULT_WRITE, STATUS_NO_SPACE, 1, times);
		assert_true(try_append(world, 5000, WAL_PROCESS, &status));
		assert_status(status, STATUS_NO_SPACE);
		assert_int_equal(faults.fired, times);
		assert_ok(wal_health(world->wal));
		faults.kind = FAULT_NONE;
		assert_true(try_append(world, 300, WAL_PROCESS, &status));
		assert_ok(status);
	}
	faults_arm(self, FAULT_LATE_WRITE, STATUS_NO_SPACE, 1, 1);
	assert_true(try_append(world, 5000, WAL_PROCESS, &status));
	assert_status(status, STATUS_NO_SPACE);
	assert_int_equal(wal_last_applied(world->wal), world->truth_count);
	faults_disarm(self);
}

static void test_try_append_fails(void **state)
{
	struct world *world = world_for_trying(*state, 65536);
	struct world twin = world_twin(world, true);
	in_task(world, lack_space_to_try);
	struct image image = image_take(world);
	twin.truth_count = world->truth_count;
	assert_ok(try_image(&twin, &image));
	assert_int_equal(twin.report.last_log_number, world->truth_count);
	free(image.bytes);
	remove_directory(twin.directory);
	in_task(world, fail_to_try);
	in_task(world, close_log);
	in_task(world, reopen_after_failure);
	in_task(world, close_log);
	world_free(world);
}

/* --- memory --- */

static void open_with_little_memory(struct task *self, struct world *world)
{
	unsigned failures = 0;
	for (uint64_t n = 1;; n++) {
		memory_fail_at(n, 0);
		world->compare = true;
		struct status status = world_open(self, world, false);
		bool fired = memory_failures_fired() > 0;
		memory_fail_at(0, 0);
		if (status_is_ok(status))
			close_log(self, world);
		if (!fired)
			break;
		if (!status_is_ok(status)) {
			assert_status(status, STATUS_NO_MEMORY);
			assert_null(world->wal);
			failures++;
		}
	}
	assert_true(failures >= 10);
}

static void test_little_memory(void **state)
{
	struct world *world = world_make(*state, true, 16384);
	in_task(world, open_new);
	in_task(world, append_power);
	in_task(world, close_log);
	in_task(world, open_with_little_memory);
	in_task(world, open_old);
	in_task(world, close_log);
	world_free(world);
}

int main(void)
{
	static char uring[] = "uring", posix[] = "posix";
#define BOTH(test) cmocka_unit_test_prestate(test, uring), cmocka_unit_test_prestate(test, posix)
	print_message("seed %llu\n", (unsigned long long)test_seed(4711));
	const struct CMUnitTest tests[] = {
		BOTH(test_round_trip),
		BOTH(test_buffered),
		BOTH(test_create_and_open_differ),
		BOTH(test_large_commits),
		BOTH(test_group_commit),
		BOTH(test_line_for_buffers),
		BOTH(test_laps),
		BOTH(test_release_during_replay),
		BOTH(test_full_ring),
		BOTH(test_published_and_sync),
		cmocka_unit_test_prestate(test_torn_tail, uring),
		cmocka_unit_test_prestate(test_crash_chains, uring),
		cmocka_unit_test_prestate(test_flipped_bits, uring),
		cmocka_unit_test_prestate(test_replayed_is_proven, uring),
		cmocka_unit_test_prestate(test_damage_before_flushed, uring),
		cmocka_unit_test_prestate(test_trimmed_segments_are_renewed, uring),
		cmocka_unit_test_prestate(test_missing_and_misplaced, uring),
		cmocka_unit_test_prestate(test_torn_header, uring),
		BOTH(test_verify),
		BOTH(test_fail_stop),
		BOTH(test_nobody_is_forgotten),
		BOTH(test_no_space),
		BOTH(test_growth_fails),
		BOTH(test_try_append),
		BOTH(test_try_append_in_vain),
		BOTH(test_try_append_during_a_sync),
		BOTH(test_try_append_fails),
		cmocka_unit_test_prestate(test_little_memory, uring),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
