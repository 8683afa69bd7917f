/*
 * The ring of a log: after a crash with every commit synced, after a clean close, and after laps, with
 * commits that tables cover.
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/random.h"
#include "fuzz/fuzz.h"
#include "fuzz/image.h"
#include "fuzz/world.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

enum { IMAGES = 3, SEGMENT_BYTES = 16 << 10, COMMITS_MAX = 256, PAYLOAD_MAX = 1500 };

static const char *const directory = "db/shard-0000";
static const uint64_t header_seed = 0x77616c2d68656164;

static struct image images[IMAGES];
static uint64_t commit_counts[IMAGES];
static uint64_t flushed[IMAGES]; /* up to where the manifest of that moment says that tables cover */

/* --- commits that know what they are --- */

static size_t make_payload(uint64_t log_number, uint8_t payload[PAYLOAD_MAX])
{
	size_t size = 20 + (size_t)(random_at(7, log_number) % (PAYLOAD_MAX - 20));
	for (size_t i = 0; i < size; i++)
		payload[i] = (uint8_t)random_at(log_number, i / 8);
	return size;
}

static uint64_t sequence_of(uint64_t log_number)
{
	return log_number * 3;
}

struct log_world {
	unsigned index;
	bool sealed;
	uint64_t drawn;	   /* while it is made: the sequence of the last commit */
	uint64_t replayed; /* while it is examined */
	struct wal *wal;
	struct image_outcome *outcome;
};

static uint64_t next_sequence(void *context)
{
	struct log_world *world = context;
	return sequence_of(++world->drawn);
}

static void apply(void *context, const struct wal_commit *commit)
{
	(void)context;
	(void)commit;
}

static struct status replay(struct task *self, void *context, const struct wal_commit *commit)
{
	struct log_world *world = context;
	uint8_t payload[PAYLOAD_MAX];
	(void)self;
	world->replayed++;
	uint64_t number = flushed[world->index] + world->replayed;
	FUZZ_CHECK(commit->log_number == number);
	if (world->sealed) /* every byte of it is there */
		return checksum64(commit->payload.data, commit->payload.size, 0) == 1
			       ? status_make(STATUS_CORRUPT)
			       : status_ok();
	size_t size = make_payload(number, payload);
	FUZZ_CHECK(number <= commit_counts[world->index] && commit->sequence == sequence_of(number));
	FUZZ_CHECK(slice_equal(commit->payload, slice_make(payload, size)));
	return status_ok();
}

static struct wal_options options_of(struct log_world *world)
{
	return (struct wal_options) {
		.directory = directory,
		.database_id = { 0x1234567890abcdef, 42 },
		.shard = 3,
		.segment_bytes = SEGMENT_BYTES,
		.segments_max = 3,
		.group_bytes = 4096,
		.wait_ns_max = 1000000000,
		.next_sequence = next_sequence,
		.apply = apply,
		.replay = replay,
		.context = world,
	};
}

/* --- making the images --- */

static void append(struct task *self, struct log_world *world)
{
	uint8_t payload[PAYLOAD_MAX];
	size_t size = make_payload(world->drawn + 1, payload);
	struct slice piece = slice_make(payload, size);
	FUZZ_CHECK(status_is_ok(wal_append(self, world->wal, &piece, 1, WAL_POWER, NULL)));
	commit_counts[world->index] = world->drawn;
}

static void take_image(struct image *image)
{
	for (unsigned i = 0; i < IMAGE_FILES_MAX; i++) {
		char path[IMAGE_PATH_BYTES];
		size_t size;
		(void)snprintf(path, sizeof(path), "%s/wal-%06u.log", directory, i);
		if (world_read_file(path, &size) == NULL)
			break;
		image_add_file(image, path, SIZE_MAX);
	}
	FUZZ_CHECK(image->count >= 2);
}

static void make_image(struct task *self, void *argument)
{
	struct log_world *world = argument;
	struct wal_options options = options_of(world);
	struct wal_replay_report report;
	struct image *image = &images[world->index];
	FUZZ_CHECK(status_is_ok(wal_open(self, &options, true, 0, &world->wal, &report)));
	unsigned commits = world->index == IMAGE_WAL_LAPS ? 120 : world->index == IMAGE_WAL_CLOSED ? 21 : 14;
	for (unsigned i = 0; i < commits; i++) {
		append(self, world);
		if (world->index == IMAGE_WAL_LAPS && i % 10 == 9) {
			flushed[world->index] = world->drawn - 4;
			wal_release(world->wal, flushed[world->index]);
			task_sleep(self, 1000000); /* time for the next lap's header */
		}
	}
	if (world->index != IMAGE_WAL_CLOSED)
		take_image(image);
	FUZZ_CHECK(status_is_ok(wal_close(self, world->wal)));
	if (world->index == IMAGE_WAL_CLOSED)
		take_image(image);
}

static const struct image *wal_image(unsigned index)
{
	if (images[index].count == 0) {
		struct log_world world = { .index = index };
		world_remove_files();
		world_run(make_image, &world);
		world_remove_files();
	}
	return &images[index];
}

/* --- damage --- */

/* Everything that looks like a group, whose header says its place, gets the checksum of its place. */
static void seal_groups(const struct image_file *file, const struct wal_segment_header *header)
{
	for (uint64_t at = WAL_HEADER_BYTES; at + WAL_GROUP_HEADER_BYTES <= file->size;
	     at += WAL_GROUP_ALIGNMENT) {
		struct wal_group_header group;
		uint8_t *bytes = file->bytes + at;
		if (!wal_group_peek(bytes, at, file->size - at, &group))
			continue;
		uint64_t seed = wal_group_seed(header->database_id, header->shard, header->number, group.lap);
		bytes_store64(bytes, checksum64(bytes + 8, group.length - 8, seed));
	}
}

static void wal_seal(unsigned index, struct image *image)
{
	(void)index;
	for (unsigned i = 0; i < image->count; i++) {
		struct image_file *file = &image->files[i];
		struct wal_segment_header header;
		if (file->size < WAL_HEADER_BYTES)
			continue;
		bytes_store64(file->bytes, checksum64(file->bytes + 8, WAL_HEADER_BYTES - 8, header_seed));
		if (wal_header_decode(file->bytes, &header) == WAL_HEADER_VALID)
			seal_groups(file, &header);
	}
}

static void examine_in_task(struct task *self, void *argument)
{
	struct log_world *world = argument;
	struct wal_options options = options_of(world);
	struct wal_replay_report report = { 0 };
	uint64_t covered = flushed[world->index];
	struct status status = wal_open(self, &options, false, covered, &world->wal, &report);
	world->outcome->refused = !status_is_ok(status);
	image_note(world->outcome, status, world->sealed);
	if (world->outcome->refused)
		return;
	FUZZ_CHECK(report.commits == world->replayed);
	FUZZ_CHECK(report.last_log_number == covered + world->replayed);
	world->outcome->complete = report.last_log_number == commit_counts[world->index];
	/* It goes on from there: what is appended now, and what was replayed, is found by the next open. */
	world->drawn = report.last_log_number;
	if (!world->sealed) {
		append(self, world);
		uint64_t kept = world->drawn;
		FUZZ_CHECK(status_is_ok(wal_close(self, world->wal)));
		world->replayed = 0;
		commit_counts[world->index] = kept;
		FUZZ_CHECK(status_is_ok(wal_open(self, &options, false, covered, &world->wal, &report)));
		FUZZ_CHECK(report.last_log_number == kept);
	}
	FUZZ_CHECK(status_is_ok(wal_close(self, world->wal)));
}

static void wal_examine(unsigned index, const struct image *image, bool sealed, struct image_outcome *outcome)
{
	struct log_world world = { .index = index, .sealed = sealed, .outcome = outcome };
	uint64_t commits = commit_counts[index];
	image_write(image);
	world_run(examine_in_task, &world);
	commit_counts[index] = commits;
}

const struct image_format image_wal = {
	.name = "wal",
	.image_count = IMAGES,
	.image = wal_image,
	.seal = wal_seal,
	.examine = wal_examine,
};
