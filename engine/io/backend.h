/*
 * backend.h: what backends share and callers do not see: the rows, the queue of requests, and the end of
 * a request.
 *
 * A backend's `submit` only queues; everything else happens in its `poll`, on the instance's thread. A
 * backend reports each request exactly once through io_finish.
 */
#ifndef CASCADE_IO_BACKEND_H
#define CASCADE_IO_BACKEND_H

#include "base/assert.h"
#include "base/clock.h"
#include "io/io.h"

extern const struct io_backend io_backend_uring;
extern const struct io_backend io_backend_posix;

/* As io_create, and nothing stands in for the named one: for a backend around another. */
MUST_CHECK struct status io_create_as_named(const char *backend, const struct io_options *options,
					    struct io **io, char *notice, size_t notice_size);

enum {
	IO_DEPTH_DEFAULT = 256,
	IO_DEPTH_MAX = 4096,
	IO_VECTORS_MAX = 64,
	IO_LENGTH_MAX = 1 << 30,
	IO_TRIES_MAX = 64, /* without progress */
};

static inline unsigned io_depth(const struct io_options *options)
{
	unsigned depth = options->depth == 0 ? IO_DEPTH_DEFAULT : options->depth;
	return depth < IO_DEPTH_MAX ? depth : IO_DEPTH_MAX;
}

/* First in, first out, through `next`. All zero is empty. */
struct io_queue {
	struct io_request *first;
	struct io_request *last; /* undefined when empty */
	unsigned count;
};

static inline void io_queue_add(struct io_queue *queue, struct io_request *request)
{
	request->next = NULL;
	if (queue->first == NULL)
		queue->first = request;
	else
		queue->last->next = request;
	queue->last = request;
	queue->count++;
}

/* NULL when empty. */
static inline struct io_request *io_queue_take(struct io_queue *queue)
{
	struct io_request *request = queue->first;
	if (request != NULL) {
		queue->first = request->next;
		queue->count--;
	}
	return request;
}

/* The request, with IO_BULK, is complete: those that waited for it are submitted. */
void io_bulk_finish(struct io *io, const struct io_request *request);

/* Accounts for the request and runs `complete`, after which it is the caller's again. Inside poll only. */
static inline void io_finish(struct io *io, struct io_request *request)
{
	ASSERT(io->in_flight > 0);
	io->in_flight--;
	if (request->operation == IO_READ)
		io->counters.read_bytes += request->transferred;
	else if (request->operation == IO_WRITE)
		io->counters.write_bytes += request->transferred;
	if ((request->flags & IO_BULK) != 0)
		io_bulk_finish(io, request);
	if (request->complete != NULL)
		request->complete(request);
}

static inline void io_before_sleep(struct io *io)
{
	if (io->before_sleep != NULL)
		io->before_sleep(io->sleep_context);
}

static inline void io_after_sleep(struct io *io)
{
	if (io->after_sleep != NULL)
		io->after_sleep(io->sleep_context);
}

/* When a wait that starts now ends; UINT64_MAX: never. */
static inline uint64_t io_deadline(uint64_t wait_ns)
{
	if (wait_ns == 0 || wait_ns == UINT64_MAX)
		return wait_ns;
	uint64_t now = clock_now_ns();
	return wait_ns < UINT64_MAX - now ? now + wait_ns : UINT64_MAX;
}

/* Nanoseconds from now until the deadline, 0 when it has passed; UINT64_MAX stays. */
static inline uint64_t io_time_left(uint64_t deadline)
{
	if (deadline == UINT64_MAX)
		return UINT64_MAX;
	uint64_t now = clock_now_ns();
	return deadline > now ? deadline - now : 0;
}

#endif
