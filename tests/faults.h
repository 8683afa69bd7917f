/*
 * faults.h: a backend around a shard's own that fails chosen requests, for tests of one layer. It is put in
 * place and taken away by a task on that shard; one at a time in a process.
 */
#ifndef CASCADE_TESTS_FAULTS_H
#define CASCADE_TESTS_FAULTS_H

#include "runtime/shard.h"

enum fault_kind {
	FAULT_NONE,
	FAULT_WRITE,	 /* IO_WRITE: nothing is written */
	FAULT_SYNC,	 /* IO_SYNC, IO_SYNC_DIRECTORY and durable writes: nothing is done */
	FAULT_ANY,	 /* whatever changes the disk: nothing is done */
	FAULT_LATE_WRITE /* IO_WRITE: all is written, and then it fails */
};

static struct {
	const struct io_backend *inner;
	struct io_backend outer;
	enum fault_kind kind;
	enum status_code code;
	unsigned countdown; /* 1: the next one fails */
	unsigned times;	    /* how many fail from then on */
	unsigned fired;
	struct io_request *failed; /* to be completed by the next poll */
	io_complete *late_complete;
	struct status late_status;
} faults;

static bool fault_concerns(const struct io_request *request)
{
	bool is_write = request->operation == IO_WRITE;
	bool is_sync = request->operation == IO_SYNC || request->operation == IO_SYNC_DIRECTORY ||
		       (is_write && (request->flags & IO_DURABLE) != 0);
	switch (faults.kind) {
	case FAULT_NONE:
		return false;
	case FAULT_WRITE:
	case FAULT_LATE_WRITE:
		return is_write;
	case FAULT_SYNC:
		return is_sync;
	case FAULT_ANY:
		return is_write || is_sync || request->operation == IO_ALLOCATE ||
		       request->operation == IO_RENAME || request->operation == IO_UNLINK ||
		       (request->operation == IO_OPEN && (request->flags & IO_OPEN_CREATE) != 0);
	}
	return false;
}

static bool fault_hits(const struct io_request *request)
{
	if (!fault_concerns(request))
		return false;
	if (faults.countdown > 1) {
		faults.countdown--;
		return false;
	}
	if (faults.times == 0)
		return false;
	faults.times--;
	faults.fired++;
	return true;
}

static void fault_complete_late(struct io_request *request)
{
	request->status = faults.late_status;
	request->complete = faults.late_complete;
	request->complete(request);
}

static void fault_submit(struct io *io, struct io_request *request)
{
	if (!fault_hits(request)) {
		faults.inner->submit(io, request);
	} else if (faults.kind == FAULT_LATE_WRITE) {
		faults.late_complete = request->complete;
		faults.late_status = status_error(faults.code, "injected late");
		request->complete = fault_complete_late;
		faults.inner->submit(io, request);
	} else {
		request->status = status_error(faults.code, "injected");
		request->next = faults.failed;
		faults.failed = request;
	}
}

static void fault_carry_out(const struct io *io, struct io_request *request)
{
	bool hits = fault_hits(request);
	if (!hits || faults.kind == FAULT_LATE_WRITE)
		faults.inner->carry_out(io, request);
	if (hits)
		request->status = status_error(faults.code, "injected");
}

static unsigned fault_poll(struct io *io, uint64_t wait_ns)
{
	unsigned completed = 0;
	while (faults.failed != NULL) {
		struct io_request *request = faults.failed;
		faults.failed = request->next;
		io->in_flight--;
		request->complete(request);
		completed++;
	}
	return completed + faults.inner->poll(io, completed > 0 ? 0 : wait_ns);
}

/* The n-th request of that kind from now on fails with `code`, and the `times` - 1 after it. */
static inline void faults_arm(struct task *self, enum fault_kind kind, enum status_code code, unsigned n,
			      unsigned times)
{
	struct io *io = shard_io(task_shard(self));
	if (io->backend != &faults.outer) {
		faults.inner = io->backend;
		faults.outer = *io->backend;
		faults.outer.submit = fault_submit;
		faults.outer.poll = fault_poll;
		faults.outer.carry_out = fault_carry_out;
		__atomic_store_n(&io->backend, &faults.outer, __ATOMIC_RELAXED);
	}
	faults.kind = kind;
	faults.code = code;
	faults.countdown = n;
	faults.times = times;
	faults.fired = 0;
}

/* Nothing may be under way. */
static inline void faults_disarm(struct task *self)
{
	struct io *io = shard_io(task_shard(self));
	faults.kind = FAULT_NONE;
	if (io->backend == &faults.outer)
		__atomic_store_n(&io->backend, faults.inner, __ATOMIC_RELAXED);
}

#endif
