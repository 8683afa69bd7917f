/*
 * blocking.h: the rare, blocking calls that all backends over a real file system answer alike: listing a
 * directory, and the lock that keeps a second holder out. Contracts as in io.h.
 */
#ifndef CASCADE_IO_BLOCKING_H
#define CASCADE_IO_BLOCKING_H

#include "io/io.h"

MUST_CHECK struct status blocking_list(struct io *io, const char *path,
				       void (*each)(void *context, const char *name), void *context);
MUST_CHECK struct status blocking_lock(struct io *io, const char *path, int *lock);
void blocking_unlock(struct io *io, int lock);

#endif
