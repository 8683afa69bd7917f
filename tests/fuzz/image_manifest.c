/* A manifest: one of a few edits, and one that was rewritten. */
#include "base/bytes.h"
#include "base/hash.h"
#include "fuzz/fuzz.h"
#include "fuzz/image.h"
#include "fuzz/world.h"
#include "manifest/manifest.h"
#include "manifest/manifest_format.h"
#include "manifest/manifest_state.h"

enum { IMAGES = 2, EDITS = 5, STATES_MAX = 16 };

static const struct manifest_options manifest_options = {
	.directory = "db/shard-0000",
	.database_id = { 77, 0xfedcba9876543210 },
	.shard = 2,
};

static struct image images[IMAGES];

/* What the manifest said after each edit: nothing else may ever be read from it. */
static struct manifest_state states[IMAGES][STATES_MAX];
static unsigned state_counts[IMAGES];

/* --- making the images --- */

static struct status apply_edit(struct task *self, struct manifest *manifest, uint64_t number)
{
	uint64_t remove[1] = { number - 2 };
	char smallest[16], largest[16];
	(void)snprintf(smallest, sizeof(smallest), "a%06llu", (unsigned long long)number);
	(void)snprintf(largest, sizeof(largest), "b%06llu", (unsigned long long)number);
	struct manifest_table table = {
		.number = number,
		.bytes = 65536,
		.entries = 500,
		.deletes = 20,
		.sequence_min = number * 100,
		.sequence_max = number * 100 + 99,
		.raw_bytes = 60000,
		.checksum = number * 0x9e3779b97f4a7c15,
		.level = (uint32_t)(number % 3),
		.smallest = slice_from_string(smallest),
		.largest = slice_from_string(largest),
	};
	struct manifest_edit edit = {
		.add = &table,
		.add_count = 1,
		.remove = remove,
		.remove_count = number > 3 && number % 2 == 0,
		.flushed_log_number = number * 50,
		.last_sequence = number * 100 + 99,
		.next_number = number + 1,
	};
	return manifest_apply(self, manifest, &edit);
}

static void keep_state(unsigned index, const struct manifest_state *state)
{
	FUZZ_CHECK(state_counts[index] < STATES_MAX);
	struct manifest_state *kept = &states[index][state_counts[index]++];
	*kept = *state;
	kept->tables = calloc(state->table_count + 1, sizeof(*kept->tables));
	FUZZ_CHECK(kept->tables != NULL);
	for (size_t i = 0; i < state->table_count; i++)
		FUZZ_CHECK(status_is_ok(manifest_table_copy(&kept->tables[i], &state->tables[i])));
}

static void make_image(struct task *self, void *argument)
{
	unsigned index = *(unsigned *)argument;
	struct manifest_options options = manifest_options;
	struct manifest *manifest;
	const struct manifest_state *state;
	if (index == 1)
		options.rewrite_bytes = 4096; /* each time that the file has doubled */
	FUZZ_CHECK(status_is_ok(manifest_open(self, &options, true, &manifest, &state)));
	keep_state(index, manifest_state(manifest));
	for (uint64_t number = 1; number <= EDITS + index * 4; number++) {
		FUZZ_CHECK(status_is_ok(apply_edit(self, manifest, number)));
		keep_state(index, manifest_state(manifest));
	}
	FUZZ_CHECK(status_is_ok(manifest_close(self, manifest)));
}

static const struct image *manifest_image(unsigned index)
{
	if (images[index].count == 0) {
		world_remove_files();
		world_run(make_image, &index);
		image_add_file(&images[index], "db/shard-0000/manifest", SIZE_MAX);
		struct image_file *file = &images[index].files[0];
		while (file->used > 0 && file->bytes[file->used - 1] == 0)
			file->used--;
		file->used = (size_t)manifest_pages(file->used);
		world_remove_files();
	}
	return &images[index];
}

/* --- damage --- */

static void manifest_seal(unsigned index, struct image *image)
{
	(void)index;
	struct image_file *file = &image->files[0];
	struct manifest_header header;
	static const uint64_t header_seed = 0x6d616e2d68656164;
	if (file->size < MANIFEST_PAGE_BYTES)
		return;
	bytes_store64(file->bytes, checksum64(file->bytes + 8, MANIFEST_PAGE_BYTES - 8, header_seed));
	if (manifest_header_decode(file->bytes, &header) != MANIFEST_HEADER_VALID)
		return;
	uint64_t seed = manifest_record_seed(&header);
	for (size_t at = MANIFEST_PAGE_BYTES; at + MANIFEST_PAGE_BYTES <= file->size;
	     at += MANIFEST_PAGE_BYTES) {
		uint8_t *record = file->bytes + at;
		uint32_t length = bytes_load32(record + 12);
		bool looks_right = bytes_load32(record + 8) == 0x54444543u;
		if (looks_right && length >= MANIFEST_RECORD_HEADER_BYTES && length <= file->size - at)
			bytes_store64(record, checksum64(record + 8, length - 8, seed));
	}
}

struct examination {
	unsigned index;
	bool sealed;
	struct image_outcome *outcome;
};

/* One more edit, and the manifest is opened again: it says what it said. */
static void go_on(struct task *self, struct manifest *manifest)
{
	struct manifest_options options = manifest_options;
	const struct manifest_state *state = manifest_state(manifest);
	struct manifest_edit edit = { .last_sequence = state->last_sequence };
	struct manifest_state kept = { 0 };
	FUZZ_CHECK(status_is_ok(manifest_verify(self, manifest)));
	FUZZ_CHECK(status_is_ok(manifest_apply(self, manifest, &edit)));
	/* The sum goes through the bytes of an edit, so that nothing is shared. */
	struct manifest_edit sum = manifest_state_edit(manifest_state(manifest));
	struct manifest_change change;
	kept.next_number = 1;
	FUZZ_CHECK(status_is_ok(manifest_change_prepare(&kept, &sum, &change)));
	manifest_change_adopt(&change, &kept);
	FUZZ_CHECK(status_is_ok(manifest_close(self, manifest)));
	FUZZ_CHECK(status_is_ok(manifest_open(self, &options, false, &manifest, &state)));
	FUZZ_CHECK(manifest_state_equal(state, &kept));
	FUZZ_CHECK(status_is_ok(manifest_verify(self, manifest)));
	FUZZ_CHECK(status_is_ok(manifest_close(self, manifest)));
	manifest_state_free(&kept);
}

static void check_sane(const struct manifest_state *state)
{
	for (size_t i = 0; i < state->table_count; i++)
		FUZZ_CHECK(state->tables[i].number < state->next_number);
}

static void examine_in_task(struct task *self, void *argument)
{
	struct examination *examination = argument;
	struct image_outcome *outcome = examination->outcome;
	unsigned index = examination->index;
	struct manifest *manifest;
	const struct manifest_state *state;
	struct status status = manifest_open(self, &manifest_options, false, &manifest, &state);
	outcome->refused = !status_is_ok(status);
	image_note(outcome, status, examination->sealed);
	if (outcome->refused)
		return;
	check_sane(state);
	unsigned at = 0;
	while (at < state_counts[index] && !manifest_state_equal(state, &states[index][at]))
		at++;
	FUZZ_CHECK(examination->sealed || at < state_counts[index]);
	outcome->complete = at + 1 == state_counts[index];
	go_on(self, manifest);
}

static void manifest_examine(unsigned index, const struct image *image, bool sealed,
			     struct image_outcome *outcome)
{
	struct examination examination = { .index = index, .sealed = sealed, .outcome = outcome };
	if (image->files[0].missing)
		return;
	image_write(image);
	world_run(examine_in_task, &examination);
}

const struct image_format image_manifest = {
	.name = "manifest",
	.image_count = IMAGES,
	.image = manifest_image,
	.seal = manifest_seal,
	.examine = manifest_examine,
};
