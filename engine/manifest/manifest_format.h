/*
 * manifest_format.h: the bytes of a manifest, see docs/file-formats.md (manifest) for the tables.
 *
 * The file is a header page and then edits, the first of which is the sum of all before it. Each edit is
 * stored twice, each copy in pages of its own, so that one damaged sector or page never loses one: an edit
 * that was acknowledged has two copies on disk, and one is enough to read it.
 *
 * Pure functions over memory; nothing here suspends.
 */
#ifndef CASCADE_MANIFEST_MANIFEST_FORMAT_H
#define CASCADE_MANIFEST_MANIFEST_FORMAT_H

#include "manifest/manifest.h"

enum {
	MANIFEST_FORMAT_VERSION = 1,
	MANIFEST_PAGE_BYTES = 4096,
	MANIFEST_RECORD_HEADER_BYTES = 40,
	MANIFEST_COPIES = 2,
};

struct manifest_header {
	uint64_t database_id[2];
	uint32_t shard;
	uint64_t generation; /* how often the file was rewritten */
	uint64_t first_edit; /* the number of the first edit in it */
};

enum manifest_verdict {
	MANIFEST_HEADER_VALID,
	MANIFEST_HEADER_DAMAGED,
	MANIFEST_HEADER_UNKNOWN_VERSION,
};

/* Fills a whole page. */
void manifest_header_encode(const struct manifest_header *header, uint8_t page[MANIFEST_PAGE_BYTES]);
enum manifest_verdict manifest_header_decode(const uint8_t page[MANIFEST_PAGE_BYTES],
					     struct manifest_header *header);

/* What seeds the checksums of all records of one file. */
uint64_t manifest_record_seed(const struct manifest_header *header);

static inline uint64_t manifest_pages(uint64_t bytes)
{
	return (bytes + MANIFEST_PAGE_BYTES - 1) / MANIFEST_PAGE_BYTES * MANIFEST_PAGE_BYTES;
}

/* How many bytes one copy of the edit takes at most, its record header included. */
uint64_t manifest_edit_size_max(const struct manifest_edit *edit);

/*
 * Writes both copies of the edit, each filled up to whole pages with zeros, as they stand from `offset` of
 * the file on. Room: MANIFEST_COPIES * manifest_pages(manifest_edit_size_max(edit)). Returns the bytes of
 * both.
 */
uint64_t manifest_record_encode(const struct manifest_edit *edit, uint64_t number, uint64_t offset,
				uint64_t seed, uint8_t *to);

struct manifest_record {
	uint64_t number;
	uint32_t copy;	     /* 0 or 1 */
	uint64_t pages;	     /* bytes that one copy takes in the file */
	struct slice fields; /* borrowed */
};

/* Whether a whole, right record that was written at `offset` stands in file[offset .. size). */
bool manifest_record_decode(const uint8_t *file, uint64_t size, uint64_t offset, uint64_t seed,
			    struct manifest_record *record);

/*
 * Decodes an edit. Its arrays are allocated (manifest_edit_free); keys are borrowed from `fields`.
 * STATUS_CORRUPT: not an edit; STATUS_NO_MEMORY.
 */
MUST_CHECK struct status manifest_edit_decode(struct slice fields, struct manifest_edit *edit);
void manifest_edit_free(struct manifest_edit *edit);

#endif
