#include "harness/bench/bench_reads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/random.h"

enum { PIECE_BYTES = 1 << 20 };

const char *bench_reads_path(const struct bench_job *job, char buffer[static BENCH_PATH_BYTES])
{
	(void)snprintf(buffer, BENCH_PATH_BYTES, "%s/random-reads", job->kept);
	return buffer;
}

/* A device, or what is below it, could make less of equal pieces. */
static void fill(uint64_t *words, uint64_t piece)
{
	for (uint64_t i = 0; i < PIECE_BYTES / sizeof(*words); i++)
		words[i] = random_at(piece, i);
}

static struct status write_pieces(int fd, const char *path, uint64_t bytes, uint64_t *words)
{
	for (uint64_t at = 0; at < bytes; at += PIECE_BYTES) {
		fill(words, at);
		size_t done = 0;
		while (done < PIECE_BYTES) {
			ssize_t written =
				pwrite(fd, (uint8_t *)words + done, PIECE_BYTES - done, (off_t)(at + done));
			if (written < 0 && errno == EINTR)
				continue;
			if (written <= 0)
				return status_from_errno(written < 0 ? errno : ENOSPC, "cannot write", path);
			done += (size_t)written;
		}
	}
	return fsync(fd) == 0 ? status_ok() : status_from_errno(errno, "cannot sync", path);
}

/* Under another name first, so that a file of the right size is whole. */
static struct status make_file(const char *path, uint64_t bytes)
{
	char fresh[BENCH_PATH_BYTES + 8];
	(void)snprintf(fresh, sizeof(fresh), "%s.new", path);
	uint64_t *words = memory_allocate(PIECE_BYTES);
	if (words == NULL)
		return status_make(STATUS_NO_MEMORY);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	struct status status = fd < 0 ? status_from_errno(errno, "cannot create", fresh)
				      : write_pieces(fd, fresh, bytes, words);
	if (fd >= 0)
		(void)close(fd);
	memory_free(words);
	if (status_is_ok(status) && rename(fresh, path) != 0)
		status = status_from_errno(errno, "cannot create", path);
	if (!status_is_ok(status))
		(void)unlink(fresh);
	return status;
}

struct status bench_reads_prepare(struct bench_job *job)
{
	char path[BENCH_PATH_BYTES];
	struct stat about;
	(void)bench_reads_path(job, path);
	if (stat(path, &about) == 0 && (uint64_t)about.st_size == job->file_bytes)
		return status_ok();
	return make_file(path, job->file_bytes);
}

struct status bench_reads_open(struct bench_job *job, int *fd)
{
	char path[BENCH_PATH_BYTES];
	*fd = open(bench_reads_path(job, path), O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (*fd < 0 && errno == EINVAL) {
		(void)snprintf(job->notice, sizeof(job->notice),
			       "the file system refuses direct I/O: reads go through the page cache");
		*fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	return *fd >= 0 ? status_ok() : status_from_errno(errno, "cannot open", path);
}
