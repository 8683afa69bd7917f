/*
 * transfer.h: a request as a sequence of kernel calls, the same for every backend over a real kernel.
 *
 * A backend begins a request, asks for the next call, has the kernel make it (through a ring or from a
 * thread), hands the result back, and repeats until the request is finished:
 *
 *	if (transfer_begin(request, direct))
 *		do
 *			transfer_describe(request, &call);
 *		while (!transfer_take(request, result of the call));
 *	transfer_finish(io, request);
 *
 * So the advance after a short transfer, the bounded retries, the fallback from direct to buffered I/O and
 * operations of several calls exist once, and a test can feed results that no healthy kernel returns.
 *
 * transfer_begin and transfer_finish belong to the instance's thread; the other two to whichever thread
 * has the request.
 */
#ifndef CASCADE_IO_TRANSFER_H
#define CASCADE_IO_TRANSFER_H

#include <stdatomic.h>

#include "io/io.h"

/* The real thing behind a struct io_file of these backends. */
struct transfer_file {
	struct io_file base;
	int fd;
	int slot;		    /* in the ring's table of registered files; -1: none */
	bool opened_direct;	    /* O_DIRECT was accepted at open */
	atomic_bool direct_refused; /* but refused by a read or write since: now buffered */
	char path[];		    /* for messages */
};

static inline struct transfer_file *transfer_file(struct io_file *file)
{
	return (struct transfer_file *)(void *)file;
}

enum transfer_kind {
	TRANSFER_READ,
	TRANSFER_WRITE,
	TRANSFER_SYNC,
	TRANSFER_OPEN,
	TRANSFER_CLOSE,
	TRANSFER_ALLOCATE,
	TRANSFER_RENAME,
	TRANSFER_UNLINK,
	TRANSFER_MAKE_DIRECTORY,
};

/* One kernel call. Borrows from the request. */
struct transfer_call {
	enum transfer_kind kind;
	int fd;
	int slot;		     /* the registered file that stands for fd; -1: none */
	int flags;		     /* OPEN: O_*; WRITE: RWF_* */
	bool data_only;		     /* SYNC: fdatasync, not fsync */
	unsigned vector_count;	     /* READ, WRITE: 0: `buffer` */
	const struct iovec *vectors; /* whole vectors of the request */
	void *buffer;
	size_t length; /* READ, WRITE: of all vectors or of the buffer; ALLOCATE */
	uint64_t offset;
	const char *path;
	const char *path_to;
};

/*
 * What a wrapper that injects faults does to the kernel calls of one request, between the request and its
 * kernel: so that what no healthy kernel does is met by the same code as the rest. Both on the thread that
 * has the request.
 */
struct transfer_bend {
	void (*describe)(const struct io_request *request, struct transfer_call *call);
	int (*take)(struct io_request *request, int result); /* what the request is told instead */
};

/*
 * Checks the request and gets what it needs. `direct`: whether files are opened with O_DIRECT unless the
 * request says otherwise. False: it is finished already, and its status says why.
 */
MUST_CHECK bool transfer_begin(struct io_request *request, bool direct);

/* The next call of a request that is not finished. */
void transfer_describe(const struct io_request *request, struct transfer_call *call);

/* Takes the call's result (what the kernel returned, or -errno). True: the request is finished. */
MUST_CHECK bool transfer_take(struct io_request *request, int result);

/* Ends an IO_OPEN that succeeded, for a kernel that is none: instead of the last transfer_take. */
void transfer_opened(struct io_request *request, int fd, uint64_t size);

/* Accounts for the finished request and runs its `complete`. Instance's thread, inside poll. */
void transfer_finish(struct io *io, struct io_request *request);

#endif
