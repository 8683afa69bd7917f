/*
 * root.h: the root file of a database: its identity, its format, and the number of shards.
 *
 *	OFFSET  SIZE  DESCRIPTION
 *	0       8     magic "CASCADE\n"
 *	8       4     format version, 1
 *	12      4     number of shards, 1 .. 64
 *	16      16    database id: two random 64-bit numbers
 *	32      8     creation time, nanoseconds since the Unix epoch
 *	40      4048  zero
 *	4088    8     XXH3-64 of bytes 0 .. 4087, seed 0
 *
 * It is written as ROOT.new before anything else of a new database, and renamed to ROOT when all shards
 * exist: so a directory with ROOT.new alone is a creation that never ended, in which nothing was promised.
 * Whoever writes it does so as ROOT.next, which is then renamed. Private to database/.
 */
#ifndef CASCADE_DATABASE_ROOT_H
#define CASCADE_DATABASE_ROOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "io/io.h"

enum { ROOT_FORMAT_VERSION = 1, ROOT_BYTES = 4096 };

struct root {
	uint64_t id[2];
	uint32_t shards;
	uint64_t created_ns;
};

/* Blocking, with an instance of the caller's. `path`: the database's directory. */

/* STATUS_NOT_FOUND: no database here. STATUS_FORMAT: another version. STATUS_CORRUPT. */
MUST_CHECK struct status root_read(struct io *io, const char *path, struct root *root);

/* Writes ROOT.new, which may be there from a creation that never ended, and makes it durable, name included.
 */
MUST_CHECK struct status root_begin(struct io *io, const char *path, const struct root *root);

/* ROOT.new becomes ROOT, durably. */
MUST_CHECK struct status root_commit(struct io *io, const char *path);

/*
 * Makes the ROOT that was read durable, name included: whoever created it may have been killed before it was,
 * or a sync may have failed that nobody knows of. On a full device, as far as a sync of the directory goes.
 */
MUST_CHECK struct status root_renew(struct io *io, const char *path, const struct root *root);

/* PATH/NAME in a new string; NULL: no memory. */
char *root_join(const char *path, const char *name);

#endif
