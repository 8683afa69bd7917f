/*
 * blocking.c: directory listing, locking, and requests carried out at once, through plain system calls.
 *
 * The lock is an open-file-description lock. Unlike the older process-owned record locks it also stands
 * against a second open in the same process, and it is not dropped when an unrelated descriptor of the
 * same file is closed; the kernel keeps the table, so none is needed here. It falls when the last copy of
 * the descriptor is closed: with the process, because the descriptor does not survive exec.
 */
#include "io/blocking.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "io/transfer.h"

static int open_again(const char *path, int flags)
{
	int fd;
	do
		fd = open(path, flags, 0644);
	while (fd < 0 && errno == EINTR);
	return fd;
}

struct status blocking_list(struct io *io, const char *path, void (*each)(void *context, const char *name),
			    void *context)
{
	(void)io;
	/* Not opendir: a ThreadSanitizer that sees a descriptor closed must have seen it opened. */
	int fd = open_again(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	if (directory == NULL) {
		struct status failed = status_from_errno(errno, "list", path);
		if (fd >= 0)
			(void)close(fd);
		return failed;
	}
	struct status status = status_ok();
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(directory);
		if (entry == NULL) {
			if (errno != 0)
				status = status_from_errno(errno, "list", path);
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			each(context, entry->d_name);
	}
	(void)closedir(directory);
	return status;
}

struct status blocking_lock(struct io *io, const char *path, int *lock)
{
	(void)io;
	int fd = open_again(path, O_RDWR | O_CREAT | O_CLOEXEC);
	if (fd < 0)
		return status_from_errno(errno, "lock", path);
	struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (fcntl(fd, F_OFD_SETLK, &range) == 0) {
		*lock = fd;
		return status_ok();
	}
	int error = errno;
	(void)close(fd);
	if (error == EAGAIN || error == EACCES)
		return status_error(STATUS_LOCKED, "%s: lock: another holder has it", path);
	return status_from_errno(error, "lock", path);
}

void blocking_unlock(struct io *io, int lock)
{
	(void)io;
	ASSERT(lock >= 0);
	/* Not by closing alone: a ring that holds the lock may live a little longer than its instance. */
	struct flock range = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	(void)fcntl(lock, F_OFD_SETLK, &range);
	(void)close(lock);
}

/* --- the calls --- */

static ssize_t call_read(const struct transfer_call *call)
{
	if (call->vector_count > 0)
		return preadv(call->fd, call->vectors, (int)call->vector_count, (off_t)call->offset);
	return pread(call->fd, call->buffer, call->length, (off_t)call->offset);
}

static ssize_t call_write(const struct transfer_call *call)
{
	struct iovec whole = { .iov_base = call->buffer, .iov_len = call->length };
	const struct iovec *vectors = call->vector_count > 0 ? call->vectors : &whole;
	int count = call->vector_count > 0 ? (int)call->vector_count : 1;
	if (call->flags != 0)
		return pwritev2(call->fd, vectors, count, (off_t)call->offset, call->flags);
	return pwritev(call->fd, vectors, count, (off_t)call->offset);
}

/* What the kernel returned, or -errno. */
static int make_call(const struct transfer_call *call)
{
	ssize_t result = -1;
	errno = EINVAL;
	switch (call->kind) {
	case TRANSFER_READ:
		result = call_read(call);
		break;
	case TRANSFER_WRITE:
		result = call_write(call);
		break;
	case TRANSFER_SYNC:
		result = call->data_only ? fdatasync(call->fd) : fsync(call->fd);
		break;
	case TRANSFER_OPEN:
		result = open(call->path, call->flags, 0644);
		break;
	case TRANSFER_CLOSE:
		result = close(call->fd);
		break;
	case TRANSFER_ALLOCATE:
		result = fallocate(call->fd, 0, (off_t)call->offset, (off_t)call->length);
		break;
	case TRANSFER_RENAME:
		result = rename(call->path, call->path_to);
		break;
	case TRANSFER_UNLINK:
		result = unlink(call->path);
		break;
	case TRANSFER_MAKE_DIRECTORY:
		result = mkdir(call->path, 0755);
		break;
	}
	return result < 0 ? -errno : (int)result;
}

void blocking_carry_out(const struct io *io, struct io_request *request)
{
	(void)io;
	struct transfer_call call;
	int calls = 0;
	do {
		transfer_describe(request, &call);
		calls++;
	} while (!transfer_take(request, make_call(&call)));
	request->result = calls;
}
