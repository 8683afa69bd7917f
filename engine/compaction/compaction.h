/*
 * compaction.h: turns sorted inputs into new tables: the work of a flush and of a merge alike.
 *
 * It reads entries in order, drops what nobody can see any more, and cuts the rest into tables. It knows
 * nothing of versions or manifests: the tree picks inputs, and makes the outputs live.
 */
#ifndef CASCADE_COMPACTION_COMPACTION_H
#define CASCADE_COMPACTION_COMPACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "manifest/manifest.h"
#include "table/iterator.h"
#include "table/table.h"

struct compaction {
	/* What to read; taken over, destroyed at the end. */
	struct iterator *input;

	/* Where to write. */
	const char *directory;
	const struct table_options *table_options; /* with the output level */
	uint64_t table_bytes;			   /* an output is cut at this size, between two keys */
	uint64_t (*next_number)(void *context);	   /* a file number never used before */

	/* What to drop. Sequences of live snapshots, ascending; none newer than those matters. */
	const uint64_t *snapshots;
	size_t snapshot_count;
	/* Whether no level below the output holds any version of the key: then its tombstones may go. NULL:
	 * it never is. Keys are asked in ascending order. */
	bool (*is_bottom)(void *context, struct slice key);
	/* Called after each output entry's key changed; true: cut the output here (overlap with the level
	 * below the output grew too large). NULL: never. */
	bool (*should_cut)(void *context, struct slice key);
	/* Input bytes processed since the last call: for pacing. May be NULL. */
	void (*progress)(void *context, uint64_t bytes);
	/* Set by the owner to make the work end early with STATUS_CLOSED. */
	const bool *cancelled;
	void *context;

	/* The result: outputs in key order; the keys are the caller's to free (compaction_free_outputs). */
	struct manifest_table *outputs;
	size_t output_count;
	uint64_t entries_in, entries_dropped;
	uint64_t bytes_out;
};

/*
 * Runs to the end, giving way to the foreground every few microseconds. On OK all outputs are durable, and
 * the directory is synced. On an error no output is left.
 */
MAY_SUSPEND MUST_CHECK struct status compaction_run(struct task *self, struct compaction *compaction);

void compaction_free_outputs(struct compaction *compaction);

/* For outputs that do not become live after all: unlinks their files, which nobody has open, and frees. */
MAY_SUSPEND void compaction_discard_outputs(struct task *self, struct compaction *compaction);

#endif
