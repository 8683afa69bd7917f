/*
 * Every byte of every file, damaged: a bit of each byte flips, each sector is lost, each length is cut to,
 * and pages are exchanged. What opens then says what was written, or that it is damaged and where; nothing
 * else. The images are those of the fuzz targets (fuzz/image.h). Takes about 10 s; with CASCADE_TEST_LONG
 * every bit.
 */
#include <string.h>

#include "test.h"

#include "base/bytes.h"
#include "base/sanitizer.h"
#include "fuzz/image.h"
#include "table/format.h"
#include "table/partition.h"

enum { SECTOR = 512, PAGE = 4096, PAGES_MAX = 64 };

/* Sanitizers make everything several times slower: they see a sample. */
enum { STRIDE = SANITIZED ? 13 : 1 };

static uint64_t seed;
static bool is_long;

struct tally {
	unsigned refused, noticed, complete, incomplete;
};

/* The last part of the path: what messages must name. */
static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

static bool names_place(const struct image_outcome *outcome, const char *path)
{
	/* A gap in the log is named by where the commits before it end, maybe in the segment before. */
	const char *name = strstr(path, "/wal-") != NULL ? "wal-" : base_name(path);
	if (strstr(outcome->text, name) == NULL)
		return false;
	/* An unknown version is of the whole file. */
	return status_is(outcome->status, STATUS_FORMAT) || strstr(outcome->text, "offset") != NULL;
}

/* Examines the image as it is now; `path`: the damaged file, NULL where more than one is. */
static void examine(const struct image_format *format, unsigned index, const struct image *image,
		    const char *path, struct tally *tally)
{
	struct image_outcome outcome = { 0 };
	format->examine(index, image, false, &outcome);
	if (!status_is_ok(outcome.status) && path != NULL && !names_place(&outcome, path))
		fail_msg("%s: the message names no place: %s (seed %llu)", path, outcome.text,
			 (unsigned long long)seed);
	if (outcome.refused)
		tally->refused++;
	else if (outcome.noticed)
		tally->noticed++;
	else if (outcome.complete)
		tally->complete++;
	else
		tally->incomplete++;
}

typedef void damage_file(const struct image_format *format, unsigned index, struct image *image,
			 struct image_file *file, struct tally *tally);

/* Each file of the image, one after the other. */
static struct tally damage_image(const struct image_format *format, unsigned index, const char *what,
				 damage_file *damage)
{
	struct tally tally = { 0 };
	struct image image;
	image_copy(&image, format->image(index));
	examine(format, index, &image, NULL, &tally);
	assert_int_equal(tally.complete, 1);
	tally = (struct tally) { 0 };
	for (unsigned i = 0; i < image.count; i++)
		damage(format, index, &image, &image.files[i], &tally);
	image_free(&image);
	print_message("%s %u, %s: %u refused, %u noticed, %u complete, %u incomplete\n", format->name, index,
		      what, tally.refused, tally.noticed, tally.complete, tally.incomplete);
	return tally;
}

static struct tally damage_all(const struct image_format *format, const char *what, damage_file *damage)
{
	struct tally all = { 0 };
	for (unsigned index = 0; index < format->image_count; index++) {
		struct tally tally = damage_image(format, index, what, damage);
		all.refused += tally.refused;
		all.noticed += tally.noticed;
		all.complete += tally.complete;
		all.incomplete += tally.incomplete;
	}
	return all;
}

static void flip_bits(const struct image_format *format, unsigned index, struct image *image,
		      struct image_file *file, struct tally *tally)
{
	struct random random = random_stream(seed);
	size_t zeros = 0;
	for (size_t at = 0; at < file->size; at += 1 + random_below(&random, is_long ? 1 : STRIDE)) {
		/* Of long runs of zeros a sample will do: they are padding, or not yet used. */
		zeros = file->bytes[at] == 0 ? zeros + 1 : 0;
		if (!is_long && zeros > 40 && at % 127 != 0)
			continue;
		for (unsigned bit = 0; bit < (is_long ? 8 : 1); bit++) {
			uint8_t was = file->bytes[at];
			file->bytes[at] ^= (uint8_t)(1u << (is_long ? bit : random_below(&random, 8)));
			examine(format, index, image, file->path, tally);
			file->bytes[at] = was;
		}
	}
}

/* A write that never arrived: zeros, or the sector of the file's beginning, which is no stranger. */
static void lose_sectors(const struct image_format *format, unsigned index, struct image *image,
			 struct image_file *file, struct tally *tally)
{
	for (size_t at = 0; at + SECTOR <= file->size; at += SECTOR) {
		uint8_t was[SECTOR];
		memcpy(was, file->bytes + at, SECTOR);
		memset(file->bytes + at, 0, SECTOR);
		examine(format, index, image, file->path, tally);
		if (at >= PAGE) {
			memcpy(file->bytes + at, file->bytes + at % PAGE, SECTOR);
			examine(format, index, image, file->path, tally);
		}
		memcpy(file->bytes + at, was, SECTOR);
	}
}

static void cut_off(const struct image_format *format, unsigned index, struct image *image,
		    struct image_file *file, struct tally *tally)
{
	size_t size = file->size;
	for (size_t cut = 0; cut < size; cut += is_long ? 1 : 29) {
		file->size = cut;
		examine(format, index, image, NULL, tally);
		file->size = size;
	}
}

static void swap_pages(uint8_t *a, uint8_t *b)
{
	uint8_t was[PAGE];
	memcpy(was, a, PAGE);
	memcpy(a, b, PAGE);
	memcpy(b, was, PAGE);
}

static void exchange_pages(const struct image_format *format, unsigned index, struct image *image,
			   struct image_file *file, struct tally *tally)
{
	size_t pages = file->size / PAGE < PAGES_MAX ? file->size / PAGE : PAGES_MAX;
	for (size_t a = 0; a < pages; a++) {
		for (size_t b = a + 1; b < pages; b++) {
			swap_pages(file->bytes + a * PAGE, file->bytes + b * PAGE);
			examine(format, index, image, NULL, tally);
			swap_pages(file->bytes + a * PAGE, file->bytes + b * PAGE);
		}
	}
}

static void test_root(void **state)
{
	(void)state;
	struct tally tally = damage_all(&image_root, "flips", flip_bits);
	/* All of it is under the checksum. */
	assert_true(tally.refused > 0 && tally.complete == 0 && tally.incomplete == 0);
	tally = damage_all(&image_root, "lost sectors", lose_sectors);
	assert_true(tally.refused > 0 && tally.incomplete == 0);
	tally = damage_all(&image_root, "cuts", cut_off);
	assert_true(tally.complete == 0 && tally.incomplete == 0);
}

static void test_manifest(void **state)
{
	(void)state;
	/* One place of damage never takes an edit away: there are two copies. */
	struct tally tally = damage_all(&image_manifest, "flips", flip_bits);
	assert_true(tally.refused > 0 && tally.complete > 0 && tally.incomplete == 0);
	tally = damage_all(&image_manifest, "lost sectors", lose_sectors);
	assert_true(tally.refused > 0 && tally.complete > 0 && tally.incomplete == 0);
	(void)damage_all(&image_manifest, "cuts", cut_off);
	(void)damage_all(&image_manifest, "exchanged pages", exchange_pages);
}

/* A page that is lost as a whole. */
static void lose_pages(const struct image_format *format, unsigned index, struct image *image,
		       struct image_file *file, struct tally *tally)
{
	for (size_t at = 0; at + PAGE <= file->size; at += PAGE) {
		uint8_t was[PAGE];
		memcpy(was, file->bytes + at, PAGE);
		memset(file->bytes + at, 0, PAGE);
		examine(format, index, image, file->path, tally);
		memcpy(file->bytes + at, was, PAGE);
	}
}

static void test_wal(void **state)
{
	(void)state;
	/* Only the last group before a crash may go unnoticed: nothing later knows of it. */
	struct tally tally = damage_all(&image_wal, "flips", flip_bits);
	assert_true(tally.refused > 0 && tally.complete > 0);
	assert_true(tally.incomplete < tally.refused);
	(void)damage_all(&image_wal, "lost sectors", lose_sectors);
	tally = damage_all(&image_wal, "cuts", cut_off);
	assert_true(tally.complete == 0 && tally.incomplete == 0);
	(void)damage_all(&image_wal, "exchanged pages", exchange_pages);
}

/* After a clean close no single page takes a commit away unnoticed. */
static void test_closed_wal(void **state)
{
	(void)state;
	static damage_file *const damages[] = { flip_bits, lose_sectors, lose_pages };
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		struct tally tally = damage_image(&image_wal, IMAGE_WAL_CLOSED, "after a close", damages[i]);
		assert_true(tally.refused > 0 && tally.complete > 0 && tally.incomplete == 0);
	}
}

static void test_table(void **state)
{
	(void)state;
	struct tally tally = damage_all(&image_table, "flips", flip_bits);
	assert_true(tally.refused > 0 && tally.noticed > 0 && tally.incomplete == 0);
	tally = damage_all(&image_table, "lost sectors", lose_sectors);
	assert_true(tally.refused > 0 && tally.noticed > 0 && tally.incomplete == 0);
	tally = damage_all(&image_table, "cuts", cut_off);
	assert_true(tally.complete == 0 && tally.incomplete == 0);
	tally = damage_all(&image_table, "exchanged pages", exchange_pages);
	assert_true(tally.incomplete == 0);
}

/* --- with checksums put right: what no device does, and a bug of ours may --- */

/* The first partition of the image's table. */
static uint8_t *first_partition(const struct image *image, struct partition *partition)
{
	const struct image_file *file = &image->files[0];
	struct table_footer footer;
	assert_ok(table_footer_load(file->bytes + file->size - TABLE_FOOTER_BYTES, &footer));
	uint8_t *bytes = file->bytes + footer.partitions_offset;
	assert_true(partition_parse(partition, bytes, bytes_load32(bytes + 4)));
	return bytes;
}

/* Searches compare the heads of separators: verification holds them against the separators. */
static void test_wrong_heads_are_found(void **state)
{
	(void)state;
	for (unsigned index = 0; index < image_table.image_count; index++) {
		struct image image;
		struct partition partition;
		image_copy(&image, image_table.image(index));
		uint8_t *bytes = first_partition(&image, &partition);
		size_t heads = (size_t)(partition.separators.heads - bytes);
		for (uint32_t i = 0; i < partition.count; i++) {
			struct image_outcome outcome = { 0 };
			bytes[heads + 8 * (size_t)i] ^= 1;
			image_table.seal(index, &image);
			image_table.examine(index, &image, true, &outcome);
			assert_true(outcome.noticed);
			assert_non_null(strstr(outcome.text, ".table: offset "));
			bytes[heads + 8 * (size_t)i] ^= 1;
		}
		image_free(&image);
	}
}

static int set_up(void **state)
{
	(void)state;
	seed = test_seed(501);
	is_long = getenv("CASCADE_TEST_LONG") != NULL;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root),  cmocka_unit_test(test_manifest),
		cmocka_unit_test(test_wal),   cmocka_unit_test(test_closed_wal),
		cmocka_unit_test(test_table), cmocka_unit_test(test_wrong_heads_are_found),
	};
	return cmocka_run_group_tests(tests, set_up, NULL);
}
