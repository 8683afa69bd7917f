/*
 * io.c: what all backends have in common towards the caller: choosing one, entering a request, waiting for
 * one. The backends themselves are the doors; this file needs none of the raw calls.
 */
#include "io/io.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/door.h"
#include "io/backend.h"
#include "io/transfer.h"

#include "base/poison.h"

enum {
	ADDED_MAX = 2,
	BULK_BYTES = 1 << 20,
	BULK_LENGTH = 256 << 10,
	GENTLE_BYTES = 32 << 10,
};

_Static_assert(GENTLE_BYTES << IO_HASTE_MAX == BULK_BYTES, "in the greatest haste nothing is held back");

const struct io_backend *io_backends[2 + ADDED_MAX + 1] = {
	&io_backend_uring,
	&io_backend_posix,
};

void io_backend_add(const struct io_backend *backend)
{
	unsigned at = 0;
	while (io_backends[at] != NULL && io_backends[at] != backend)
		at++;
	ASSERT(at < sizeof(io_backends) / sizeof(io_backends[0]) - 1);
	io_backends[at] = backend;
}

static const char *stand_in;

void io_set_stand_in(const char *backend)
{
	stand_in = backend;
}

static const struct io_backend *find_backend(const char *name)
{
	for (unsigned i = 0; io_backends[i] != NULL; i++)
		if (strcmp(io_backends[i]->name, name) == 0)
			return io_backends[i];
	return NULL;
}

static struct status create_instead(struct status refused, const struct io_options *options, struct io **io,
				    char *notice, size_t notice_size)
{
	TRY(io_backend_posix.create(options, io));
	if (notice_size > 0) {
		char reason[160];
		status_describe(refused, reason, sizeof(reason));
		(void)snprintf(notice, notice_size, "%s; using the slower I/O backend \"%s\"", reason,
			       io_backend_posix.name);
	}
	return status_ok();
}

struct status io_create_as_named(const char *backend, const struct io_options *options, struct io **io,
				 char *notice, size_t notice_size)
{
	ASSERT(options != NULL);
	*io = NULL;
	if (notice_size > 0)
		notice[0] = '\0';
	const struct io_backend *row = find_backend(backend);
	if (row == NULL)
		return status_error(STATUS_NOT_FOUND, "there is no I/O backend \"%s\"", backend);
	struct status status = row->create(options, io);
	if (row == &io_backend_uring && status_is(status, STATUS_UNSUPPORTED))
		status = create_instead(status, options, io, notice, notice_size);
	return status;
}

struct status io_create(const char *backend, const struct io_options *options, struct io **io, char *notice,
			size_t notice_size)
{
	bool replaced = stand_in != NULL && (strcmp(backend, io_backend_uring.name) == 0 ||
					     strcmp(backend, io_backend_posix.name) == 0);
	return io_create_as_named(replaced ? stand_in : backend, options, io, notice, notice_size);
}

bool io_is_of_release(const struct io *io)
{
	return io->backend == &io_backend_uring || io->backend == &io_backend_posix;
}

static void prepare(struct io *io, struct io_request *request)
{
	request->status = status_ok();
	request->transferred = 0;
	request->opened = NULL;
	request->tries = 0;
	request->result = 0;
	request->private_words[0] = 0;
	request->private_words[1] = 0;

	io->in_flight++;
	if (request->operation == IO_READ) {
		io->counters.reads++;
		if ((request->flags & IO_BULK) == 0)
			io_be_gentle(io);
	} else if (request->operation == IO_WRITE) {
		io->counters.writes++;
	} else if (request->operation == IO_SYNC || request->operation == IO_SYNC_DIRECTORY) {
		io->counters.syncs++;
	}
}

static size_t bulk_room(const struct io_bulk *bulk)
{
	return bulk->gentle > 0 ? (size_t)GENTLE_BYTES << bulk->haste : BULK_BYTES;
}

static bool bulk_has_room(const struct io_bulk *bulk, const struct io_request *request)
{
	return bulk->bytes == 0 || bulk->bytes + request->length <= bulk_room(bulk);
}

size_t io_bulk_length(const struct io *io)
{
	size_t room = bulk_room(&io->bulk);
	return room < BULK_LENGTH ? room : BULK_LENGTH;
}

static void bulk_start(struct io *io, struct io_request *request)
{
	struct io_bulk *bulk = &io->bulk;
	bulk->bytes += request->length;
	bulk->gentle -= bulk->gentle > 0;
	io->backend->submit(io, request);
}

void io_bulk_finish(struct io *io, const struct io_request *request)
{
	struct io_bulk *bulk = &io->bulk;
	ASSERT(bulk->bytes >= request->length);
	bulk->bytes -= request->length;
	while (bulk->first != NULL && bulk_has_room(bulk, bulk->first)) {
		struct io_request *next = bulk->first;
		bulk->first = next->next;
		bulk_start(io, next);
	}
}

static void bulk_submit(struct io *io, struct io_request *request)
{
	struct io_bulk *bulk = &io->bulk;
	if (bulk->first == NULL && bulk_has_room(bulk, request)) {
		bulk_start(io, request);
		return;
	}
	request->next = NULL;
	if (bulk->first == NULL)
		bulk->first = request;
	else
		bulk->last->next = request;
	bulk->last = request;
}

void io_submit(struct io *io, struct io_request *request)
{
	prepare(io, request);
	if ((request->flags & IO_BULK) != 0)
		bulk_submit(io, request);
	else
		io->backend->submit(io, request);
}

/* A task may do so, too; what such a request takes is deep, and goes on the thread's stack. */

static void begin(void *argument)
{
	struct io_request *request = argument;
	bool begun = transfer_begin(request, false);
	ASSERT(begun == status_is_ok(request->status));
}

void io_begin(struct io *io, struct io_request *request)
{
	ASSERT(request->operation == IO_READ || request->operation == IO_WRITE);
	prepare(io, request);
	/* The instance's thread has nothing to poll for. */
	io->in_flight--;
	call_on_thread_stack(begin, request);
}

struct carry_out {
	const struct io *io;
	struct io_request *request;
};

static void carry_out(void *argument)
{
	struct carry_out *call = argument;
	call->io->backend->carry_out(call->io, call->request);
}

void io_carry_out(const struct io *io, struct io_request *request)
{
	if (status_is_ok(request->status))
		call_on_thread_stack(carry_out, &(struct carry_out) { io, request });
}

struct ending {
	struct io *io;
	struct io_request *request;
};

static void end(void *argument)
{
	struct ending *ending = argument;
	transfer_finish(ending->io, ending->request);
}

void io_end(struct io *io, struct io_request *request)
{
	io->counters.submits += (unsigned)request->result;
	io->in_flight++;
	call_on_thread_stack(end, &(struct ending) { io, request });
}

/* --- what blocks, and goes deep as well --- */

struct list_call {
	struct io *io;
	const char *path;
	void (*each)(void *context, const char *name);
	void *context;
	struct status status;
};

static void list(void *argument)
{
	struct list_call *call = argument;
	call->status = call->io->backend->list(call->io, call->path, call->each, call->context);
}

struct status io_list(struct io *io, const char *path, void (*each)(void *context, const char *name),
		      void *context)
{
	struct list_call call = { .io = io, .path = path, .each = each, .context = context };
	call_on_thread_stack(list, &call);
	return call.status;
}

struct hold_call {
	struct io *io;
	int lock;
};

static void hold(void *argument)
{
	const struct hold_call *call = argument;
	call->io->backend->hold(call->io, call->lock);
}

void io_hold(struct io *io, int lock)
{
	if (io->backend->hold != NULL)
		call_on_thread_stack(hold, &(struct hold_call) { io, lock });
}

struct register_call {
	struct io *io;
	void *base;
	size_t size;
	struct status status;
};

static void register_memory(void *argument)
{
	struct register_call *call = argument;
	call->status = call->io->backend->register_memory(call->io, call->base, call->size);
}

struct status io_register_memory(struct io *io, void *base, size_t size)
{
	struct register_call call = { .io = io, .base = base, .size = size };
	call_on_thread_stack(register_memory, &call);
	return call.status;
}

/* --- waiting for one --- */

static void note_completion(struct io_request *request)
{
	*(bool *)request->context = true;
}

struct status io_execute(struct io *io, struct io_request *request)
{
	bool done = false;
	io_complete *complete = request->complete;
	void *context = request->context;
	request->complete = note_completion;
	request->context = &done;
	io_submit(io, request);
	while (!done)
		(void)io_poll(io, UINT64_MAX);
	request->complete = complete;
	request->context = context;
	return request->status;
}

struct status io_unlink(struct io *io, const char *path)
{
	struct io_request request = { .operation = IO_UNLINK, .path = path };
	struct status status = io_execute(io, &request);
	return status_is(status, STATUS_NOT_FOUND) ? status_ok() : status;
}

struct status io_sync_directory(struct io *io, const char *path)
{
	struct io_request request = { .operation = IO_SYNC_DIRECTORY, .path = path };
	return io_execute(io, &request);
}
