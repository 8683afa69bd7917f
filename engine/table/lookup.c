/*
 * Point lookups: a plain function that answers from memory or says which bytes it needs.
 */
#include "base/assert.h"
#include "table/reader.h"

#include "base/poison.h"

enum lookup_stage { LOOKUP_START, LOOKUP_PARTITION, LOOKUP_BLOCK };

enum { BLOCK_TO_SEARCH = UINT32_MAX };

static enum table_answer failed(struct table_lookup *lookup, struct status status)
{
	lookup->status = status;
	return TABLE_FAILED;
}

/* The bytes out of memory, or what table_load brought; false: the lookup says what it needs. */
static inline bool take_view(struct table_reader *reader, struct table_lookup *lookup, uint64_t offset,
			     size_t size, struct buffer_view *view)
{
	if (lookup->has_loaded) {
		lookup->has_loaded = false;
		if (lookup->need_offset == offset && lookup->need_size == size) {
			*view = lookup->loaded;
			lookup->loaded.data = NULL;
			return true;
		}
		buffer_release(reader->pool, &lookup->loaded);
	}
	if (buffer_try_view(reader->pool, &reader->table.file, offset, size, view))
		return true;
	lookup->need_offset = offset;
	lookup->need_size = size;
	return false;
}

/* The filter's answer where somebody wants it recorded. `block`: 1 + the one whose filter it is, else 0. */
static bool __attribute__((noinline))
ask_recorded(const struct table_reader *reader, const struct partition *partition, uint32_t index,
	     struct slice filter, uint64_t hash, uint32_t block)
{
	struct trace_filter which = { .table = reader->table.meta.number,
				      .partition = index,
				      .block = block,
				      .keys = partition->hashes,
				      .blocks = partition->count };
	return trace_ask(reader->recorder, reader->filter, filter, hash, &which);
}

/* Which block: TABLE_FOUND, and lookup->block_* say it. *next: ask the partition that lookup now names. */
static inline enum table_answer ask_partition(struct table_reader *reader, struct slice key, uint64_t hash,
					      struct table_lookup *lookup, bool *next)
{
	*next = false;
	struct buffer_view view;
	struct partition partition;
	uint64_t offset = reader_partition_offset(reader, lookup->partition);
	if (!take_view(reader, lookup, offset, reader->top_sizes[lookup->partition], &view))
		return TABLE_NEEDS;
	struct status status = reader_partition(reader, lookup->partition, &view, &partition);
	if (!status_is_ok(status)) {
		buffer_release(reader->pool, &view);
		return failed(lookup, status);
	}
	uint32_t index = lookup->block;
	bool maybe = true;
	if (index == BLOCK_TO_SEARCH) {
		bool filtered = partition.filter.size > 0 && reader->filter != NULL;
		/* A filter over all blocks may spare the search; that of one block has to wait for it. */
		if (filtered && !partition.filter_per_block)
			maybe = reader->recorder == NULL ? reader->filter->may_contain(partition.filter, hash)
							 : ask_recorded(reader, &partition, lookup->partition,
									partition.filter, hash, 0);
		if (maybe)
			index = separators_search(&partition.separators, key);
		if (filtered && partition.filter_per_block && index < partition.count)
			maybe = reader->recorder == NULL
					? reader->filter->may_contain(
						  partition_block_filter(&partition, index), hash)
					: ask_recorded(reader, &partition, lookup->partition,
						       partition_block_filter(&partition, index), hash,
						       1 + index);
		lookup->filtered = !maybe;
	}
	if (maybe && index < partition.count) {
		struct block_place place;
		partition_place(&partition, index, &place);
		lookup->block = index;
		lookup->block_offset = place.offset;
		lookup->block_size = place.size;
		lookup->block_ordinal = place.ordinal;
		lookup->continues = place.continues;
		buffer_release(reader->pool, &view);
		return TABLE_FOUND;
	}
	/* A key whose versions crossed the partition's last block goes on in the next partition. */
	*next = maybe && lookup->block != BLOCK_TO_SEARCH && lookup->partition + 1 < reader->top.count;
	buffer_release(reader->pool, &view);
	if (*next) {
		lookup->partition++;
		lookup->block = 0;
	}
	return TABLE_ABSENT;
}

/* The answer of the block that lookup->block_* name; TABLE_ABSENT with `continues`: ask the next one. */
static inline enum table_answer ask_block(struct table_reader *reader, struct slice key, uint64_t hash,
					  uint64_t sequence, struct table_lookup *lookup)
{
	struct buffer_view stored;
	if (!take_view(reader, lookup, lookup->block_offset, lookup->block_size, &stored))
		return TABLE_NEEDS;
	struct block_place place = {
		.offset = lookup->block_offset,
		.size = lookup->block_size,
		.ordinal = lookup->block_ordinal,
	};
	struct block block;
	struct status status = reader_open_block(reader, &place, &stored, &lookup->view, &block);
	if (!status_is_ok(status))
		return failed(lookup, status);
	struct block_entry found;
	enum block_answer answer = block_get(&block, key, block_tag(hash), sequence, &found);
	if (reader->recorder != NULL)
		trace_truth(reader->recorder, reader->table.meta.number, lookup->partition, hash,
			    answer == BLOCK_FOUND || answer == BLOCK_TOO_NEW);
	if (answer == BLOCK_FOUND) {
		lookup->entry = (struct entry) {
			.key = key,
			.value = slice_make(found.value, found.value_size),
			.sequence = found.sequence,
			.kind = found.kind,
		};
		return TABLE_FOUND;
	}
	buffer_release(reader->pool, &lookup->view);
	if (answer == BLOCK_DAMAGED)
		return failed(lookup, reader_damage(reader, place.offset, "a block's entries are wrong"));
	lookup->continues = lookup->continues && answer == BLOCK_TOO_NEW;
	return TABLE_ABSENT;
}

enum table_answer table_get(struct table *table, struct slice key, uint64_t hash, uint64_t sequence,
			    struct table_lookup *lookup)
{
	struct table_reader *reader = table_reader(table);
	if (lookup->stage == LOOKUP_START) {
		lookup->partition = separators_search(&reader->top, key);
		if (lookup->partition == reader->top.count || slice_compare(key, table->meta.smallest) < 0)
			return TABLE_ABSENT;
		lookup->block = BLOCK_TO_SEARCH;
		lookup->stage = LOOKUP_PARTITION;
	}
	for (;;) {
		if (lookup->stage == LOOKUP_PARTITION) {
			bool next;
			enum table_answer answer = ask_partition(reader, key, hash, lookup, &next);
			if (next)
				continue;
			if (answer != TABLE_FOUND)
				return answer;
			lookup->stage = LOOKUP_BLOCK;
		}
		enum table_answer answer = ask_block(reader, key, hash, sequence, lookup);
		if (answer != TABLE_ABSENT || !lookup->continues)
			return answer;
		lookup->block++;
		lookup->stage = LOOKUP_PARTITION;
	}
}

struct status table_load(struct task *self, struct table *table, struct table_lookup *lookup)
{
	struct table_reader *reader = table_reader(table);
	if (lookup->has_loaded)
		buffer_release(reader->pool, &lookup->loaded);
	lookup->has_loaded = false;
	TRY(buffer_view(self, reader->pool, &table->file, lookup->need_offset, lookup->need_size,
			&lookup->loaded));
	lookup->has_loaded = true;
	return status_ok();
}

struct buffer_load *table_load_begin(struct table *table, const struct table_lookup *lookup)
{
	return buffer_load_begin(table_reader(table)->pool, &table->file, lookup->need_offset,
				 lookup->need_size);
}

struct status table_load_end(struct table *table, struct buffer_load *load)
{
	return buffer_load_end(table_reader(table)->pool, load);
}

void table_lookup_end(struct table *table, struct table_lookup *lookup)
{
	struct table_reader *reader = table_reader(table);
	buffer_release(reader->pool, &lookup->view);
	if (lookup->has_loaded)
		buffer_release(reader->pool, &lookup->loaded);
	lookup->has_loaded = false;
}

void table_prefetch(struct table *table, struct slice key, uint64_t hash)
{
	(void)hash;
	const struct table_reader *reader = table_reader(table);
	uint32_t partition = separators_search(&reader->top, key);
	if (partition < reader->top.count)
		buffer_warm(reader->pool, &table->file, reader_partition_offset(reader, partition));
}
