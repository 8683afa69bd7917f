/*
 * io.c: what all backends have in common towards the caller: choosing one, entering a request, waiting for
 * one. The backends themselves are the doors; this file needs none of the raw calls.
 */
#include "io/io.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "io/backend.h"

#include "base/poison.h"

const struct io_backend *const io_backends[] = {
	&io_backend_uring,
	&io_backend_posix,
	NULL,
};

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

struct status io_create(const char *backend, const struct io_options *options, struct io **io, char *notice,
			size_t notice_size)
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

void io_submit(struct io *io, struct io_request *request)
{
	request->status = status_ok();
	request->transferred = 0;
	request->opened = NULL;
	request->adjusted_vectors = NULL;
	request->tries = 0;
	request->result = 0;
	request->private_words[0] = 0;
	request->private_words[1] = 0;

	io->in_flight++;
	if (request->operation == IO_READ)
		io->counters.reads++;
	else if (request->operation == IO_WRITE)
		io->counters.writes++;
	else if (request->operation == IO_SYNC || request->operation == IO_SYNC_DIRECTORY)
		io->counters.syncs++;
	io->backend->submit(io, request);
}

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
