/*
 * blocking.h: the blocking calls that all backends over a real file system make alike: listing a directory,
 * the lock that keeps a second holder out, and requests that the calling thread carries out itself.
 * Contracts as in io.h.
 */
#ifndef CASCADE_IO_BLOCKING_H
#define CASCADE_IO_BLOCKING_H

#include "io/io.h"

MUST_CHECK struct status blocking_list(struct io *io, const char *path,
				       void (*each)(void *context, const char *name), void *context);
MUST_CHECK struct status blocking_lock(struct io *io, const char *path, int *lock);
void blocking_unlock(struct io *io, int lock);

/* io_backend.carry_out, for any request that has begun (transfer.h); `result` counts the calls. */
void blocking_carry_out(const struct io *io, struct io_request *request);

#endif
