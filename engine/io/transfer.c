/*
 * transfer.c: how a request advances from one kernel call to the next.
 *
 * Short transfers of direct files advance by whole pages only, because a call from the middle of a page
 * would be refused. A direct read that returns less than a page has met the end of the file: the kernel
 * pins whole pages, so nothing else cuts one.
 *
 * Vectors need no copy: after a short transfer that ended inside a vector, the next call finishes that
 * vector alone, and the one after it takes the remaining vectors as they are. Where a request stands
 * follows from `transferred`.
 *
 * private_words[0] holds the file being opened, or the directory being synced; private_words[1] the step
 * (high half) and the retries so far (low half).
 */
#include "io/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/planted.h"
#include "base/sanitizer.h"
#include "io/backend.h"

/*
 * ThreadSanitizer follows descriptors through the C library's calls. Those that io_uring opens and closes it
 * does not see, so a number that comes round on another thread looks to it like a race on the same file, and
 * it fails while it reports one. System calls as such it lets pass.
 */
#if THREAD_SANITIZER
static void descriptor_close(int fd)
{
	(void)syscall(SYS_close, fd);
}

static int descriptor_stat(int fd, struct stat *about)
{
	return (int)syscall(SYS_fstat, fd, about);
}
#else
static void descriptor_close(int fd)
{
	(void)close(fd);
}

static int descriptor_stat(int fd, struct stat *about)
{
	return fstat(fd, about);
}
#endif

enum { PAGE_MASK = IO_PAGE_BYTES - 1 };

enum transfer_step {
	STEP_FIRST,
	STEP_OPEN_BUFFERED, /* IO_OPEN: O_DIRECT was refused */
	STEP_SYNC_OPENED,   /* IO_SYNC_DIRECTORY: the directory is open */
	STEP_GONE_BUFFERED, /* IO_READ, IO_WRITE: one refusal of direct I/O was answered already */
};

static enum transfer_step step_of(const struct io_request *request)
{
	return (enum transfer_step)(request->private_words[1] >> 32);
}

static void set_step(struct io_request *request, enum transfer_step step)
{
	request->private_words[1] = (uint64_t)step << 32 | (uint32_t)request->private_words[1];
}

static struct transfer_file *file_being_opened(const struct io_request *request)
{
	return (struct transfer_file *)(uintptr_t)request->private_words[0];
}

static int directory_being_synced(const struct io_request *request)
{
	return (int)request->private_words[0];
}

/* --- messages --- */

static const char *path_of(const struct io_request *request)
{
	switch (request->operation) {
	case IO_READ:
	case IO_WRITE:
	case IO_SYNC:
	case IO_CLOSE:
	case IO_ALLOCATE:
		return transfer_file(request->file)->path;
	default:
		return request->path;
	}
}

static void describe_operation(const struct io_request *request, char *what, size_t size)
{
	static const char *const names[] = {
		[IO_READ] = "read",
		[IO_WRITE] = "write",
		[IO_SYNC] = "sync",
		[IO_OPEN] = "open",
		[IO_CLOSE] = "close",
		[IO_ALLOCATE] = "allocate",
		[IO_RENAME] = "rename",
		[IO_UNLINK] = "unlink",
		[IO_SYNC_DIRECTORY] = "sync directory",
		[IO_MAKE_DIRECTORY] = "make directory",
	};
	const char *name = names[request->operation];
	switch (request->operation) {
	case IO_READ:
	case IO_WRITE:
	case IO_ALLOCATE:
		(void)snprintf(what, size, "%s %zu bytes at %" PRIu64, name, request->length,
			       request->offset);
		break;
	case IO_RENAME:
		(void)snprintf(what, size, "%s to %s", name, request->path_to);
		break;
	default:
		(void)snprintf(what, size, "%s", name);
		break;
	}
}

__attribute__((cold)) static bool finish_with_error(struct io_request *request, int error)
{
	char what[128];
	describe_operation(request, what, sizeof(what));
	if (error == EEXIST) /* the caller said that there is none */
		request->status =
			status_error(STATUS_INVALID, "%s: %s: exists already", path_of(request), what);
	else
		request->status = status_from_errno(error, what, path_of(request));
	return true;
}

__attribute__((cold)) static bool refuse(struct io_request *request, const char *why)
{
	char what[128];
	describe_operation(request, what, sizeof(what));
	request->status = status_error(STATUS_INVALID, "%s: %s: %s", path_of(request), what, why);
	return false;
}

/* --- begin --- */

static bool is_direct(const struct transfer_file *file)
{
	return file->opened_direct && !atomic_load_explicit(&file->direct_refused, memory_order_relaxed);
}

static bool begin_transfer(struct io_request *request)
{
	ASSERT(request->file != NULL);
	ASSERT(request->vector_count <= IO_VECTORS_MAX);
	if (request->length > IO_LENGTH_MAX)
		return refuse(request, "longer than 1 GiB");
	if (request->offset > INT64_MAX - request->length)
		return refuse(request, "beyond the largest offset");

	uintptr_t edges = request->length | request->offset;
	if (request->vector_count == 0) {
		edges |= (uintptr_t)request->buffer;
	} else {
		size_t length = 0;
		for (unsigned i = 0; i < request->vector_count; i++) {
			edges |= (uintptr_t)request->vectors[i].iov_base | request->vectors[i].iov_len;
			length += request->vectors[i].iov_len;
		}
		if (length != request->length)
			return refuse(request, "the vectors have another length");
	}
	/* Also checked here because EINVAL from the kernel must mean one thing: no direct I/O at all. */
	if ((edges & PAGE_MASK) != 0 && is_direct(transfer_file(request->file)))
		return refuse(request, "direct I/O must be page-aligned");
	return true;
}

static bool begin_path(struct io_request *request, const char *path)
{
	ASSERT(path != NULL);
	if (strnlen(path, IO_PATH_MAX) < IO_PATH_MAX)
		return true;
	request->status = status_error(STATUS_INVALID, "%.64s...: the path is too long", path);
	return false;
}

static bool begin_open(struct io_request *request, bool direct)
{
	if (!begin_path(request, request->path))
		return false;
	/* The handle comes before the file: a failed allocation must not leave a new file behind. */
	size_t path_size = strlen(request->path) + 1;
	struct transfer_file *file = memory_allocate(sizeof(*file) + path_size);
	if (file == NULL) {
		request->status = status_error(STATUS_NO_MEMORY, "%s: open: out of memory", request->path);
		return false;
	}
	*file = (struct transfer_file) { .fd = -1, .slot = -1 };
	file->opened_direct = direct && (request->flags & IO_OPEN_BUFFERED) == 0;
	memcpy(file->path, request->path, path_size);
	request->private_words[0] = (uintptr_t)file;
	return true;
}

bool transfer_begin(struct io_request *request, bool direct)
{
	switch (request->operation) {
	case IO_READ:
	case IO_WRITE:
		return begin_transfer(request);
	case IO_ALLOCATE:
		ASSERT(request->file != NULL);
		if (request->length > INT64_MAX || request->offset > INT64_MAX - request->length)
			return refuse(request, "beyond the largest offset");
		return true;
	case IO_SYNC:
	case IO_CLOSE:
		ASSERT(request->file != NULL);
		return true;
	case IO_OPEN:
		/* Nobody could close what a dropped completion opened. */
		ASSERT(request->complete != NULL);
		return begin_open(request, direct);
	case IO_RENAME:
		return begin_path(request, request->path) && begin_path(request, request->path_to);
	case IO_UNLINK:
	case IO_SYNC_DIRECTORY:
	case IO_MAKE_DIRECTORY:
		return begin_path(request, request->path);
	}
	assert_failed(__FILE__, __LINE__, __func__, "a known operation");
}

/* --- describe --- */

static void describe_transfer(const struct io_request *request, struct transfer_call *call)
{
	size_t done = request->transferred;
	call->kind = request->operation == IO_READ ? TRANSFER_READ : TRANSFER_WRITE;
	if (request->operation == IO_WRITE && (request->flags & IO_DURABLE) != 0)
		call->flags = RWF_DSYNC;
	call->offset = request->offset + done;
	call->length = request->length - done;
	if (request->vector_count == 0) {
		call->buffer = (char *)request->buffer + done;
		return;
	}
	unsigned at = 0;
	size_t inside = done;
	while (at < request->vector_count - 1 && inside >= request->vectors[at].iov_len)
		inside -= request->vectors[at++].iov_len;
	if (inside == 0) {
		call->vectors = &request->vectors[at];
		call->vector_count = request->vector_count - at;
	} else {
		call->buffer = (char *)request->vectors[at].iov_base + inside;
		call->length = request->vectors[at].iov_len - inside;
	}
}

static void describe_open(const struct io_request *request, struct transfer_call *call)
{
	call->kind = TRANSFER_OPEN;
	call->path = request->path;
	call->flags = O_CLOEXEC | ((request->flags & IO_OPEN_WRITE) != 0 ? O_RDWR : O_RDONLY);
	if (file_being_opened(request)->opened_direct)
		call->flags |= O_DIRECT;
	if ((request->flags & IO_OPEN_CREATE) == 0)
		return;
	/* Where O_DIRECT is refused, the file that the refused open created is there already. */
	call->flags |= step_of(request) == STEP_OPEN_BUFFERED ? O_CREAT : O_CREAT | O_EXCL;
}

static void describe_sync_directory(const struct io_request *request, struct transfer_call *call)
{
	if (step_of(request) == STEP_SYNC_OPENED) {
		call->kind = TRANSFER_SYNC;
		call->fd = directory_being_synced(request);
	} else {
		call->kind = TRANSFER_OPEN;
		call->path = request->path;
		call->flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	}
}

static void describe_call(const struct io_request *request, struct transfer_call *call)
{
	*call = (struct transfer_call) { .fd = -1, .slot = -1, .path = request->path };
	if (request->operation <= IO_SYNC || request->operation == IO_CLOSE ||
	    request->operation == IO_ALLOCATE) {
		call->fd = transfer_file(request->file)->fd;
		call->slot = transfer_file(request->file)->slot;
	}
	switch (request->operation) {
	case IO_READ:
	case IO_WRITE:
		describe_transfer(request, call);
		break;
	case IO_SYNC:
		call->kind = TRANSFER_SYNC;
		call->data_only = true;
		break;
	case IO_OPEN:
		describe_open(request, call);
		break;
	case IO_CLOSE:
		call->kind = TRANSFER_CLOSE;
		break;
	case IO_ALLOCATE:
		call->kind = TRANSFER_ALLOCATE;
		call->offset = request->offset;
		call->length = request->length;
		break;
	case IO_RENAME:
		call->kind = TRANSFER_RENAME;
		call->path_to = request->path_to;
		break;
	case IO_UNLINK:
		call->kind = TRANSFER_UNLINK;
		break;
	case IO_SYNC_DIRECTORY:
		describe_sync_directory(request, call);
		break;
	case IO_MAKE_DIRECTORY:
		call->kind = TRANSFER_MAKE_DIRECTORY;
		break;
	}
}

void transfer_describe(const struct io_request *request, struct transfer_call *call)
{
	describe_call(request, call);
	if (__builtin_expect(request->bend != NULL, 0))
		request->bend->describe(request, call);
}

/* --- take --- */

/* The same call once more, unless that happened too often already. */
static bool try_again(struct io_request *request, int error)
{
	if (++request->tries < IO_TRIES_MAX) {
		request->private_words[1]++;
		return false;
	}
	char what[128];
	describe_operation(request, what, sizeof(what));
	char reason[96];
	const char *text = error == 0 ? "nothing was transferred" : strerror_r(error, reason, sizeof(reason));
	request->status = status_error(STATUS_IO, "%s: %s: no progress in %d tries: %s", path_of(request),
				       what, IO_TRIES_MAX, text);
	return true;
}

static bool is_passing(int result)
{
	return result == -EAGAIN || result == -EINTR;
}

/* From here on the file is buffered, for all its requests. */
static bool go_buffered(struct io_request *request)
{
	struct transfer_file *file = transfer_file(request->file);
	int flags = fcntl(file->fd, F_GETFL);
	if (flags < 0 || fcntl(file->fd, F_SETFL, flags & ~O_DIRECT) < 0)
		return false;
	atomic_store(&file->direct_refused, true);
	set_step(request, STEP_GONE_BUFFERED);
	return true;
}

static bool take_transfer(struct io_request *request, int result)
{
	const struct transfer_file *file = transfer_file(request->file);
	if (is_passing(result))
		return PLANTED(M9) || try_again(request, -result);
	if (result == -EINVAL && file->opened_direct && step_of(request) != STEP_GONE_BUFFERED &&
	    go_buffered(request))
		return false;
	if (result < 0)
		return finish_with_error(request, -result);

	size_t got = (size_t)result;
	size_t left = request->length - request->transferred;
	ASSERT(got <= left);
	size_t kept = got;
	if (got < left && is_direct(file))
		kept = got & ~(size_t)PAGE_MASK;
	if (kept == 0 && got < left && request->operation == IO_READ) {
		request->transferred += got; /* the end of the file */
		return true;
	}
	request->transferred += PLANTED(M8) && request->operation == IO_WRITE ? left : kept;
	if (request->transferred == request->length)
		return true;
	if (kept == 0)
		return try_again(request, 0);
	request->tries = 0;
	request->private_words[1]++;
	return false;
}

void transfer_opened(struct io_request *request, int fd, uint64_t size)
{
	struct transfer_file *file = file_being_opened(request);
	file->fd = fd;
	file->base.direct = file->opened_direct;
	file->base.size_at_open = size;
	request->opened = &file->base;
}

static bool take_opened(struct io_request *request, int fd)
{
	struct stat about;
	if (descriptor_stat(fd, &about) != 0) {
		int error = errno;
		descriptor_close(fd);
		memory_free(file_being_opened(request));
		return finish_with_error(request, error);
	}
	transfer_opened(request, fd, (uint64_t)about.st_size);
	return true;
}

static bool take_open(struct io_request *request, int result)
{
	struct transfer_file *file = file_being_opened(request);
	if (result >= 0)
		return take_opened(request, result);
	if (is_passing(result) && !try_again(request, -result))
		return false;
	if (result == -EINVAL && file->opened_direct) {
		file->opened_direct = false;
		set_step(request, STEP_OPEN_BUFFERED);
		return false;
	}
	memory_free(file);
	request->private_words[0] = 0;
	return status_is_ok(request->status) ? finish_with_error(request, -result) : true;
}

static bool take_close(struct io_request *request, int result)
{
	/* EINTR: the descriptor is gone all the same, and a second close could hit somebody else's. */
	if (result < 0 && !is_passing(result))
		(void)finish_with_error(request, -result);
	memory_free(transfer_file(request->file));
	return true;
}

static bool take_sync_directory(struct io_request *request, int result)
{
	if (is_passing(result) && !try_again(request, -result))
		return false;
	if (step_of(request) != STEP_SYNC_OPENED) {
		if (result < 0)
			return status_is_ok(request->status) ? finish_with_error(request, -result) : true;
		request->private_words[0] = (uint64_t)result;
		set_step(request, STEP_SYNC_OPENED);
		return false;
	}
	descriptor_close(directory_being_synced(request));
	if (result < 0 && status_is_ok(request->status))
		return finish_with_error(request, -result);
	return true;
}

static bool is_directory(const char *path)
{
	struct stat about;
	return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

bool transfer_take(struct io_request *request, int result)
{
	if (__builtin_expect(request->bend != NULL, 0))
		result = request->bend->take(request, result);
	switch (request->operation) {
	case IO_READ:
	case IO_WRITE:
		return take_transfer(request, result);
	case IO_OPEN:
		return take_open(request, result);
	case IO_CLOSE:
		return take_close(request, result);
	case IO_SYNC_DIRECTORY:
		return take_sync_directory(request, result);
	case IO_MAKE_DIRECTORY:
		if (result == -EEXIST && is_directory(request->path))
			return true;
		break;
	case IO_SYNC:
	case IO_ALLOCATE:
	case IO_RENAME:
	case IO_UNLINK:
		break;
	}
	if (is_passing(result))
		return try_again(request, -result);
	return result < 0 ? finish_with_error(request, -result) : true;
}

/* --- finish --- */

void transfer_finish(struct io *io, struct io_request *request)
{
	uint32_t retries = (uint32_t)request->private_words[1];
	if (__builtin_expect(retries > 0, 0))
		io->counters.retries += retries;
	if (request->operation <= IO_WRITE) {
		struct transfer_file *file = transfer_file(request->file);
		if (__builtin_expect(file->base.direct && !is_direct(file), 0))
			file->base.direct = false;
	}
	io_finish(io, request);
}
