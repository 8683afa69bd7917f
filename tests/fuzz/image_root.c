/* The root file of a database. */
#include "base/bytes.h"
#include "base/hash.h"
#include "database/root.h"
#include "fuzz/fuzz.h"
#include "fuzz/image.h"
#include "fuzz/world.h"

static const struct root roots[] = {
	{ .id = { 0x1122334455667788, 0x99aabbccddeeff00 }, .shards = 1, .created_ns = 1700000000000000000 },
	{ .id = { 1, 2 }, .shards = 64, .created_ns = 5 },
};

static bool same_root(const struct root *a, const struct root *b)
{
	return a->id[0] == b->id[0] && a->id[1] == b->id[1] && a->shards == b->shards &&
	       a->created_ns == b->created_ns;
}

static const struct image *root_image(unsigned index)
{
	static struct image images[2];
	struct image *image = &images[index];
	if (image->count == 0) {
		world_remove_files();
		FUZZ_CHECK(status_is_ok(root_begin(world_io(), "db", &roots[index])));
		FUZZ_CHECK(status_is_ok(root_commit(world_io(), "db")));
		image_add_file(image, "db/ROOT", SIZE_MAX);
		world_remove_files();
	}
	return image;
}

static void root_seal(unsigned index, struct image *image)
{
	(void)index;
	struct image_file *file = &image->files[0];
	if (file->size == ROOT_BYTES)
		bytes_store64(file->bytes + ROOT_BYTES - 8, checksum64(file->bytes, ROOT_BYTES - 8, 0));
}

/* What is read is written again, and reads as the same. */
static void check_again(const struct root *root)
{
	struct root again;
	world_remove_files();
	FUZZ_CHECK(status_is_ok(root_begin(world_io(), "db", root)));
	FUZZ_CHECK(status_is_ok(root_commit(world_io(), "db")));
	FUZZ_CHECK(status_is_ok(root_read(world_io(), "db", &again)));
	FUZZ_CHECK(same_root(root, &again));
}

static void root_examine(unsigned index, const struct image *image, bool sealed,
			 struct image_outcome *outcome)
{
	struct root root;
	image_write(image);
	struct status status = root_read(world_io(), "db", &root);
	outcome->refused = !status_is_ok(status);
	if (image->files[0].missing) {
		FUZZ_CHECK(status_is(status, STATUS_NOT_FOUND));
		return;
	}
	image_note(outcome, status, sealed);
	if (outcome->refused)
		return;
	FUZZ_CHECK(root.shards >= 1 && root.shards <= 64);
	outcome->complete = same_root(&root, &roots[index]);
	FUZZ_CHECK(sealed || outcome->complete);
	check_again(&root);
}

const struct image_format image_root = {
	.name = "root",
	.image_count = 2,
	.image = root_image,
	.seal = root_seal,
	.examine = root_examine,
};
