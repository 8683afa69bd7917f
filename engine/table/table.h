/*
 * table.h: immutable sorted files: how one is built, and how it is read.
 *
 * A table is pages of 4 KiB: data (logical blocks of entries, contiguous), then partitions, each an index
 * over consecutive blocks with the filter over their keys, then the top index (one separator for each
 * partition, held in memory while the table is open), then the footer. docs/file-formats.md has the bytes.
 *
 * All functions on the shard's own thread.
 */
#ifndef CASCADE_TABLE_TABLE_H
#define CASCADE_TABLE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/entry.h"
#include "buffer/buffer.h"
#include "components/codec/codec.h"
#include "components/filters/filter.h"
#include "manifest/manifest.h"
#include "table/iterator.h"

enum { TABLE_PATH_BYTES = 1024 };

struct table_options {
	const struct codec_ops *codec;	 /* NULL: blocks are stored raw */
	const void *codec_options;	 /* borrowed until the builder is gone; NULL: defaults */
	const struct filter_ops *filter; /* NULL: no filters */
	const void *filter_options;
	uint32_t block_bytes; /* raw size at which a logical block is closed; 0: 4096 */
	uint64_t database_id[2];
	uint32_t shard;
	uint32_t level;
};

/* --- building --- */

struct table_builder;

/* Creates the file (it must not exist). Memory: about 1 MiB of output buffers plus the partitions. */
MAY_SUSPEND MUST_CHECK struct status table_builder_create(struct task *self,
							  const struct table_options *options,
							  const char *directory, uint64_t number,
							  struct table_builder **builder);

/* Adds an entry; entries come in entry order (asserted). Writes behind: waits only while both output buffers
 * are under way. */
MAY_SUSPEND MUST_CHECK struct status table_builder_add(struct task *self, struct table_builder *builder,
						       const struct entry *entry);

/* Bytes of the file so far, and entries. */
uint64_t table_builder_bytes(const struct table_builder *builder);
uint64_t table_builder_entries(const struct table_builder *builder);

/*
 * Ends the table: on OK the file is complete and durable (its data synced; the *directory* is the caller's
 * to sync, once for several tables), and *meta describes it (the caller's to free: manifest_table_free).
 * Frees the builder in any case; after an error the file is unlinked if possible.
 */
MAY_SUSPEND MUST_CHECK struct status table_builder_finish(struct task *self, struct table_builder *builder,
							  struct manifest_table *meta);

/* Gives up: unlinks the file and frees the builder. */
MAY_SUSPEND void table_builder_abandon(struct task *self, struct table_builder *builder);

/* --- reading --- */

/* An open table; `meta` is its own copy. `references`: the opener's and one for each iterator. */
struct table {
	struct buffer_file file;
	struct manifest_table meta;
	uint32_t references;
	/* The rest is the reader's. */
};

/* The file's name: DIRECTORY/NNNNNNNNNN.table, into TABLE_PATH_BYTES bytes. */
void table_path(char *path, const char *directory, uint64_t number);

/*
 * Opens the table that `meta` describes (copied), with one reference. Codec and filter variants are found by
 * the format ids in the file. STATUS_CORRUPT if the file is not the very one that meta describes.
 */
MAY_SUSPEND MUST_CHECK struct status table_open(struct task *self, struct buffer_pool *pool,
						const char *directory, const uint64_t database_id[2],
						uint32_t shard, const struct manifest_table *meta,
						struct table **table);

/* Gives up the opener's reference, the only one left, and closes the file once reads that iterators left
 * behind have ended. With `unlink_file` the file goes too (errors are ignored: an orphan is removed at the
 * next open). */
MAY_SUSPEND void table_close(struct task *self, struct table *table, bool unlink_file);

enum table_answer {
	TABLE_ABSENT, /* no version of the key with sequence <= the snapshot here */
	TABLE_FOUND,  /* lookup->entry: its value lives in lookup->view, its key is the caller's own */
	TABLE_NEEDS,  /* bytes that are not in memory: table_load, then ask again */
	TABLE_FAILED, /* lookup->status */
};

/* One lookup of one key in one table; zero-initialise before the first call. */
struct table_lookup {
	struct entry entry;
	struct buffer_view view; /* FOUND: release it when done with the entry (table_lookup_end) */
	struct status status;
	/* NEEDS: which bytes, and once loaded, where. */
	uint64_t need_offset;
	size_t need_size;
	struct buffer_view loaded;
	bool has_loaded;
	bool filtered; /* ABSENT: the filter said so */
	/* The table's: how far it got, so that asking again does not start again. */
	uint8_t stage;
	bool continues;
	uint32_t partition;
	uint32_t block;
	uint32_t block_ordinal;
	uint32_t block_size;
	uint64_t block_offset;
};

/* Never suspends and does no I/O: the answer, or what it needs. `hash` is hash_key(key). */
enum table_answer table_get(struct table *table, struct slice key, uint64_t hash, uint64_t sequence,
			    struct table_lookup *lookup);

/* Loads what a lookup needs; afterwards table_get is asked again with the same lookup. */
MAY_SUSPEND MUST_CHECK struct status table_load(struct task *self, struct table *table,
						struct table_lookup *lookup);

/*
 * The same for a caller without a task, see buffer_load_begin: NULL if it takes a task; else table_load_end
 * has to come before the lookup is asked again or ended.
 */
MUST_CHECK struct buffer_load *table_load_begin(struct table *table, const struct table_lookup *lookup);
MUST_CHECK struct status table_load_end(struct table *table, struct buffer_load *load);

/* Releases what the lookup holds. Idempotent. */
void table_lookup_end(struct table *table, struct table_lookup *lookup);

/* Starts loading the cache lines that table_get will touch first. */
void table_prefetch(struct table *table, struct slice key, uint64_t hash);

/*
 * Iterator through the buffer pool, for scans: holds one view at a time. Holds a reference on the table.
 * `readahead`: whether blocks behind the current one are prefetched.
 */
MUST_CHECK struct status table_iterator_create(struct table *table, bool readahead,
					       struct iterator **iterator);

/*
 * A scan of about `rows` entries from `key` on is about to begin: starts loading the blocks that it will
 * read, and waits for nothing. A hint.
 */
void table_prefetch_scan(struct table *table, struct slice key, uint64_t rows);

/* Iterator past the buffer pool, for merges: reads ahead in large pieces into two buffers of its own
 * (2 x 256 KiB at most, and room for one block that crosses them), verifies every checksum. Holds a
 * reference. An iterator's reference is never the last: whoever creates it keeps the table open. */
MUST_CHECK struct status table_stream_create(struct table *table, struct iterator **iterator);

/* Reads everything and checks every checksum, order, index, filter and count. */
MAY_SUSPEND MUST_CHECK struct status table_verify(struct task *self, struct table *table);

/* Bytes of memory that the open table holds outside of the pool (top index, keys). */
size_t table_memory(const struct table *table);

#endif
