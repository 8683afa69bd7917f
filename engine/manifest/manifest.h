/*
 * manifest.h: one shard's list of live files: append-only edits, each checksummed, rewritten when large, and
 * switched atomically (a new file is written and synced, renamed over the old, and the directory synced).
 *
 * A table appears here only once it is durable; it is unlinked only once a durable manifest has dropped it.
 * An edit is all or nothing. After a failed sync the manifest takes no more edits (STATUS_READ_ONLY); after
 * any other failed write the next edit rewrites the file, so nothing is appended after a torn tail.
 *
 * All functions on the shard's own thread; edits from several tasks are put in order here.
 */
#ifndef CASCADE_MANIFEST_MANIFEST_H
#define CASCADE_MANIFEST_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "runtime/shard.h"

enum { MANIFEST_LEVELS_MAX = 8 };

/* What is recorded of a table. Keys are owned by whoever holds the struct (manifest_table_copy/free). */
struct manifest_table {
	uint64_t number; /* names the file; never used twice in a shard */
	uint64_t bytes;	 /* of the file */
	uint64_t entries;
	uint64_t deletes;
	uint64_t sequence_min, sequence_max;
	uint64_t raw_bytes; /* keys and values before compression */
	uint64_t checksum;  /* of the table's footer: binds the manifest to the very file */
	uint32_t level;
	struct slice smallest, largest; /* inclusive */
};

MUST_CHECK struct status manifest_table_copy(struct manifest_table *to, const struct manifest_table *from);
void manifest_table_free(struct manifest_table *table);

struct manifest_edit {
	const struct manifest_table *add; /* borrowed for the call; each with its level */
	size_t add_count;
	const uint64_t *remove; /* table numbers */
	size_t remove_count;
	/* 0: unchanged. Otherwise not lower than before. */
	uint64_t flushed_log_number; /* every commit up to it is in tables */
	uint64_t last_sequence;	     /* no sequence of this shard's tables is larger */
	uint64_t next_number;	     /* no file number >= it was ever used; never below an added table's */
};

/* The sum of all edits. Tables in no particular order but: level 0 oldest first (as they were added). */
struct manifest_state {
	struct manifest_table *tables;
	size_t table_count;
	uint64_t flushed_log_number;
	uint64_t last_sequence;
	uint64_t next_number; /* at least 1 */
};

struct manifest_options {
	const char *directory; /* the shard's; the file in it is named "manifest" */
	uint64_t database_id[2];
	uint32_t shard;
	/* Rewritten when larger than this and than twice its size when it was last rewritten. 0: 256 KiB. */
	uint64_t rewrite_bytes;
};

struct manifest;

/*
 * Opens the manifest, or with `create` makes an empty one (STATUS_INVALID if it exists). A torn last edit
 * that was never acknowledged is dropped; a damaged sector in one of the two copies of an edit is repaired;
 * any other damage is STATUS_CORRUPT (file and offset in the message); an unknown version STATUS_FORMAT;
 * another database's or shard's file STATUS_CORRUPT; no file STATUS_NOT_FOUND. *state is valid until the next
 * edit and owned by the manifest.
 */
MAY_SUSPEND MUST_CHECK struct status manifest_open(struct task *self, const struct manifest_options *options,
						   bool create, struct manifest **manifest,
						   const struct manifest_state **state);

MAY_SUSPEND MUST_CHECK struct status manifest_close(struct task *self, struct manifest *manifest);

/*
 * Makes the edit durable (against power loss). First the tables of `remove` go, then those of `add` come, so
 * a table that changes its level is in both. On an error it did not happen, as far as this process and every
 * later open are concerned, unless the error is STATUS_READ_ONLY. STATUS_INVALID: it removes a table that is
 * not there, adds one that is, or goes back; STATUS_NO_SPACE: the next one may succeed.
 */
MAY_SUSPEND MUST_CHECK struct status manifest_apply(struct task *self, struct manifest *manifest,
						    const struct manifest_edit *edit);

/* The sum of all applied edits; valid until the next apply. */
const struct manifest_state *manifest_state(const struct manifest *manifest);

/* Reads the file again and checks that it says what memory says. */
MAY_SUSPEND MUST_CHECK struct status manifest_verify(struct task *self, struct manifest *manifest);

uint64_t manifest_bytes(const struct manifest *manifest);

#endif
