/*
 * options_internal.h: the engine's options as the database layer uses them: text in, typed values out.
 * Private to database/.
 */
#ifndef CASCADE_DATABASE_OPTIONS_INTERNAL_H
#define CASCADE_DATABASE_OPTIONS_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "cascade.h"
#include "components/component.h"
#include "io/io.h"
#include "wal/wal.h"

enum { OPTION_VALUE_BYTES = 48, COMPONENT_OPTIONS_BYTES = COMPONENT_OPTIONS_SIZE_MAX };

/* What cascade_options_resolve makes of the texts. */
struct resolved_options {
	bool create;
	bool direct;
	uint32_t shards; /* 0: auto, as many as cores up to 8 */
	bool shards_given;
	enum wal_durability durability;
	uint64_t write_timeout_ns;
	const char *io_backend; /* a registered name */

	/* All in bytes, for the whole database. */
	uint64_t memory;
	uint64_t memtable_bytes;
	uint64_t cache_bytes;
	uint64_t record_bytes; /* of the cache's, for single records */
	double record_share;
	uint64_t table_bytes;
	bool wal_buffered;
	uint64_t segment_bytes; /* 0: from the memtables' size */
	uint64_t block_bytes;
	uint32_t merges_max; /* of one shard */

	char trace_path[IO_PATH_MAX]; /* empty: nothing is recorded */
	uint32_t trace_kinds;	      /* enum trace_kinds */

	const struct component *components[COMPONENT_KIND_COUNT];
	_Alignas(16) uint8_t component_options[COMPONENT_KIND_COUNT][COMPONENT_OPTIONS_BYTES];
};

/* Parses, checks and splits; `options` NULL: all defaults. `stored_shards`: the number that the database was
 * created with, by which memory is split then; 0: not known yet. */
MUST_CHECK struct status options_resolve(const cascade_options *options, uint32_t stored_shards,
					 struct resolved_options *resolved);

/* Memory of one shard beside cache and memtables: group buffers, merge and flush buffers, codec contexts. */
uint64_t options_shard_overhead(const struct resolved_options *resolved);

uint32_t options_default_shards(void);

/*
 * Whether the engine could offer the options of a variant from elsewhere: INVALID if one has the name of an
 * option of the engine's own, as "size" of a memtable would ("memtable.size").
 */
MUST_CHECK struct status options_check_component(enum component_kind kind, const struct component *component);

/* The lists of options and components are made anew when they are next asked for. Not thread-safe. */
void options_renew_lists(void);

/*
 * The smallest sizes that options may ask for, of one shard where it says so. Tests to which rare events must
 * be common make them smaller, before any database is open; nobody else touches them.
 */
struct options_floors {
	uint64_t memtable_bytes; /* of one shard */
	uint64_t cache_bytes;	 /* of one shard; the buffer pool has a bound of its own */
	uint64_t table_bytes;
	uint64_t segment_bytes; /* a write larger than one segment of the log is INVALID */
};

extern struct options_floors options_floors;

#endif
