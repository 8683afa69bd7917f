/*
 * Tables: raw blocks with a filter for each partition; compressed ones with a filter for each block; chains
 * of versions over several blocks; and blocks of one large entry.
 */
#include "base/bytes.h"
#include "base/random.h"
#include "buffer/buffer.h"
#include "fuzz/fuzz.h"
#include "fuzz/image.h"
#include "fuzz/world.h"
#include "table/block.h"
#include "table/format.h"
#include "table/partition.h"
#include "table/table.h"

enum { IMAGES = 4, ENTRIES_MAX = 400, KEY_MAX = 300, VALUE_MAX = 9000, POOL_BYTES = 1 << 20, SHARD = 3 };

/* Entries that a table of ours may yield; more come only from counts that were sealed. */
enum { WALK_MAX = 200000 };

static const uint64_t database_id[2] = { 0x1122334455667788, 0x99aabbccddeeff00 };
static const char *const directory = "db/shard-0000";

static const struct recipe {
	const char *codec, *filter;
	unsigned entries;
	uint32_t block_bytes;
	unsigned versions; /* of each key, at most */
	size_t value_max;
} recipes[IMAGES] = {
	{ NULL, "cacheline", 150, 1024, 1, 60 },
	{ "lz4", "block", 200, 2048, 2, 100 },
	{ NULL, "cacheline", 300, 1024, 150, 40 },
	{ "lz4", NULL, 6, 4096, 1, VALUE_MAX },
};

static struct image images[IMAGES];
static struct manifest_table metas[IMAGES];

/* --- entries that know what they are --- */

struct made {
	uint8_t key[KEY_MAX];
	uint8_t value[VALUE_MAX];
	struct entry entry;
};

static void make_entry(unsigned index, unsigned number, struct made *made)
{
	const struct recipe *recipe = &recipes[index];
	unsigned group = number - number % recipe->versions;
	int length = snprintf((char *)made->key, KEY_MAX, "key%06u%s", group,
			      group % 7 == 0 ? "-longer-than-most" : "");
	bool put = random_at(index, number) % 5 != 0;
	size_t size = put ? (size_t)(random_at(index + 10, number) % recipe->value_max) : 0;
	for (size_t i = 0; i < size; i++)
		made->value[i] = (uint8_t)(i % 16 < 8 ? random_at(number, i / 8) >> (i % 8) : 'v');
	made->entry = (struct entry) {
		.key = slice_make(made->key, (size_t)length),
		.value = slice_make(made->value, size),
		.sequence = 100000 - (uint64_t)number,
		.kind = put ? ENTRY_PUT : ENTRY_DELETE,
	};
}

static bool is_made(unsigned index, unsigned number, const struct entry *entry)
{
	static struct made made;
	if (number >= recipes[index].entries)
		return false;
	make_entry(index, number, &made);
	return slice_equal(made.entry.key, entry->key) && slice_equal(made.entry.value, entry->value) &&
	       made.entry.sequence == entry->sequence && made.entry.kind == entry->kind;
}

/* --- making the images --- */

static const void *find(enum component_kind kind, const char *name)
{
	return name != NULL ? component_find(kind, name) : NULL;
}

static void make_image(struct task *self, void *argument)
{
	static struct made made;
	unsigned index = *(unsigned *)argument;
	const struct recipe *recipe = &recipes[index];
	struct table_options options = {
		.codec = find(COMPONENT_CODEC, recipe->codec),
		.filter = find(COMPONENT_FILTER, recipe->filter),
		.block_bytes = recipe->block_bytes,
		.database_id = { database_id[0], database_id[1] },
		.shard = SHARD,
	};
	struct table_builder *builder;
	FUZZ_CHECK(status_is_ok(table_builder_create(self, &options, directory, index + 1, &builder)));
	for (unsigned i = 0; i < recipe->entries; i++) {
		make_entry(index, i, &made);
		FUZZ_CHECK(status_is_ok(table_builder_add(self, builder, &made.entry)));
	}
	FUZZ_CHECK(status_is_ok(table_builder_finish(self, builder, &metas[index])));
}

static const struct image *table_image(unsigned index)
{
	if (images[index].count == 0) {
		char path[TABLE_PATH_BYTES];
		world_remove_files();
		world_run(make_image, &index);
		(void)snprintf(path, sizeof(path), "%s/%010u.table", directory, index + 1);
		image_add_file(&images[index], path, SIZE_MAX);
		world_remove_files();
	}
	return &images[index];
}

/* --- damage --- */

static void seal_blocks(struct image_file *file, const struct partition *partition, uint64_t seed)
{
	for (uint32_t i = 0; i < partition->count; i++) {
		struct block_place place;
		partition_place(partition, i, &place);
		if (place.offset > file->size || place.size > file->size - place.offset ||
		    place.size < BLOCK_HEADER_BYTES)
			continue;
		uint8_t *block = file->bytes + place.offset;
		uint64_t block_at = block_seed(seed, place.offset, place.ordinal);
		bytes_store32(block, block_checksum(block, place.size, block_at));
	}
}

/* What the top index says of partitions; whatever of it can be followed. */
static void seal_partitions(struct image_file *file, const struct table_footer *footer, uint64_t seed)
{
	uint64_t at = footer->top_offset + TABLE_TOP_HEADER_BYTES;
	uint64_t end = footer->top_offset + footer->top_bytes;
	const uint8_t *top = file->bytes + footer->top_offset;
	if (footer->top_bytes < TABLE_TOP_HEADER_BYTES)
		return;
	at += (uint64_t)bytes_load32(top + 12) + bytes_load32(top + 16);
	while (at + TABLE_TOP_ENTRY_BYTES <= end) {
		uint64_t offset = (uint64_t)bytes_load32(file->bytes + at) * TABLE_PAGE;
		uint32_t size = bytes_load32(file->bytes + at + 4);
		at += TABLE_TOP_ENTRY_BYTES + bytes_load16(file->bytes + at + 8);
		struct partition partition;
		if (offset > file->size || size > file->size - offset || size < PARTITION_HEADER_BYTES)
			continue;
		if (partition_parse(&partition, file->bytes + offset, size))
			seal_blocks(file, &partition, seed);
		partition_seal(file->bytes + offset, size, section_seed(seed, offset));
	}
}

static uint8_t *footer_of(const struct image_file *file)
{
	if (file->size < TABLE_FOOTER_BYTES || file->size % TABLE_PAGE != 0)
		return NULL;
	return file->bytes + file->size - TABLE_FOOTER_BYTES;
}

static void seal_footer(uint8_t *page)
{
	enum { CHECKSUM_AT = TABLE_FOOTER_BYTES - 8 };
	bytes_store64(page + CHECKSUM_AT, checksum64(page, CHECKSUM_AT, TABLE_FOOTER_SEED));
}

static bool load_footer(const struct image_file *file, struct table_footer *footer)
{
	const uint8_t *page = footer_of(file);
	return page != NULL && status_is_ok(table_footer_load(page, footer)) && footer->bytes == file->size;
}

static void table_seal(unsigned index, struct image *image)
{
	struct image_file *file = &image->files[0];
	struct table_footer footer;
	uint8_t *page = footer_of(file);
	(void)index;
	if (page == NULL)
		return;
	seal_footer(page);
	if (!load_footer(file, &footer))
		return;
	uint64_t seed = table_seed(database_id, SHARD, footer.number);
	seal_partitions(file, &footer, seed);
	if (footer.top_bytes >= TABLE_TOP_HEADER_BYTES) {
		uint8_t *top = file->bytes + footer.top_offset;
		bytes_store64(top, checksum64(top + 8, (size_t)footer.top_bytes - 8,
					      section_seed(seed, footer.top_offset)));
	}
	/* A block that reaches into the footer has changed it. */
	seal_footer(page);
}

/* What a manifest that knows this very file would say. */
static struct manifest_table meta_of(unsigned index, const struct image *image)
{
	struct manifest_table meta = metas[index];
	const struct image_file *file = &image->files[0];
	struct table_footer footer;
	if (!load_footer(file, &footer))
		return meta;
	meta.checksum = footer.checksum;
	meta.bytes = footer.bytes;
	meta.entries = footer.entries;
	meta.deletes = footer.deletes;
	meta.sequence_min = footer.sequence_min;
	meta.sequence_max = footer.sequence_max;
	meta.raw_bytes = footer.raw_bytes;
	const uint8_t *top = file->bytes + footer.top_offset;
	if (footer.top_bytes < TABLE_TOP_HEADER_BYTES)
		return meta;
	uint64_t smallest = bytes_load32(top + 12);
	uint64_t largest = bytes_load32(top + 16);
	if (smallest + largest <= footer.top_bytes - TABLE_TOP_HEADER_BYTES) {
		meta.smallest = slice_make(top + TABLE_TOP_HEADER_BYTES, (size_t)smallest);
		meta.largest = slice_make(top + TABLE_TOP_HEADER_BYTES + smallest, (size_t)largest);
	}
	return meta;
}

/* --- reading everything --- */

struct examination {
	unsigned index;
	bool sealed;
	const struct image *image;
	struct image_outcome *outcome;
};

static void note(struct examination *e, struct status status)
{
	e->outcome->noticed |= !status_is_ok(status);
	image_note(e->outcome, status, e->sealed);
}

static void check_walk(struct task *self, struct examination *e, struct iterator *iterator)
{
	unsigned number = 0;
	struct status status = iterator_seek_first(self, iterator);
	for (; status_is_ok(status) && iterator->valid && number < WALK_MAX; number++) {
		FUZZ_CHECK(e->sealed || is_made(e->index, number, &iterator->entry));
		status = iterator_next(self, iterator);
	}
	FUZZ_CHECK(number < WALK_MAX);
	FUZZ_CHECK(e->sealed || !status_is_ok(status) || number == recipes[e->index].entries);
	note(e, status);
}

static void check_seek(struct task *self, struct examination *e, struct iterator *iterator,
		       const struct entry *entry, unsigned number)
{
	struct status status = iterator_seek(self, iterator, entry->key, entry->sequence);
	if (status_is_ok(status) && !e->sealed)
		FUZZ_CHECK(iterator->valid && is_made(e->index, number, &iterator->entry));
	note(e, status);
}

static void check_get(struct task *self, struct examination *e, struct table *table,
		      const struct entry *entry, unsigned number)
{
	struct table_lookup lookup = { 0 };
	struct status status = status_ok();
	uint64_t hash = hash_key(entry->key);
	for (;;) {
		enum table_answer answer = table_get(table, entry->key, hash, entry->sequence, &lookup);
		if (answer == TABLE_FAILED)
			status = lookup.status;
		if (answer == TABLE_ABSENT)
			FUZZ_CHECK(e->sealed);
		if (answer == TABLE_FOUND)
			FUZZ_CHECK(e->sealed || is_made(e->index, number, &lookup.entry));
		if (answer != TABLE_NEEDS)
			break;
		status = table_load(self, table, &lookup);
		if (!status_is_ok(status))
			break;
	}
	table_lookup_end(table, &lookup);
	note(e, status);
}

static void read_all(struct task *self, struct examination *e, struct table *table)
{
	static struct made made;
	struct iterator *iterator;
	for (int kind = 0; kind < 2; kind++) {
		FUZZ_CHECK(status_is_ok(kind == 0 ? table_iterator_create(table, true, &iterator)
						  : table_stream_create(table, &iterator)));
		check_walk(self, e, iterator);
		for (unsigned number = kind; number < recipes[e->index].entries; number += 61) {
			make_entry(e->index, number, &made);
			check_seek(self, e, iterator, &made.entry, number);
		}
		iterator_destroy(iterator);
	}
	for (unsigned number = 0; number < recipes[e->index].entries; number += 7) {
		make_entry(e->index, number, &made);
		check_get(self, e, table, &made.entry, number);
	}
	bool noticed = e->outcome->noticed;
	struct status status = table_verify(self, table);
	/* Whatever reading met, verification meets. */
	if (noticed && status_is_ok(status))
		(void)fprintf(stderr, "met by reading alone: %s\n", e->outcome->text);
	FUZZ_CHECK(!noticed || !status_is_ok(status));
	note(e, status);
}

static struct buffer_pool *make_pool(struct task *self)
{
	struct buffer_pool_options options = {
		.bytes = POOL_BYTES,
		.strategy = (const void *)component_list(COMPONENT_CACHE)[0],
	};
	struct buffer_pool *pool;
	FUZZ_CHECK(status_is_ok(buffer_pool_create(task_shard(self), &options, &pool)));
	return pool;
}

static void examine_in_task(struct task *self, void *argument)
{
	static struct buffer_pool *pool; /* as long as the shard; all zero pages that nobody counts as lost */
	struct examination *e = argument;
	struct manifest_table meta = e->sealed ? meta_of(e->index, e->image) : metas[e->index];
	struct table *table;
	if (pool == NULL)
		pool = make_pool(self);
	struct status status = table_open(self, pool, directory, database_id, SHARD, &meta, &table);
	e->outcome->refused = !status_is_ok(status);
	image_note(e->outcome, status, e->sealed);
	if (e->outcome->refused)
		return;
	read_all(self, e, table);
	e->outcome->complete = status_is_ok(e->outcome->status);
	table_close(self, table, false);
	FUZZ_CHECK(buffer_counters(pool)->frames_pinned == 0);
}

static void table_examine(unsigned index, const struct image *image, bool sealed,
			  struct image_outcome *outcome)
{
	struct examination examination = { index, sealed, image, outcome };
	if (image->files[0].missing)
		return;
	image_write(image);
	world_run(examine_in_task, &examination);
}

const struct image_format image_table = {
	.name = "table",
	.image_count = IMAGES,
	.image = table_image,
	.seal = table_seal,
	.examine = table_examine,
};
