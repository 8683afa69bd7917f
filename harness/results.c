#include "harness/results.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/folder.h"
#include "harness/interval_log.h"
#include "harness/provenance.h"
#include "harness/record.h"

enum { PATH_BYTES = 4096, SAME_SECOND_MAX = 100 };

static const char *const file_names[RESULTS_FILES] = { "record.jsonl", "repetitions.csv", "timeline.csv",
						       "run.hlog" };

static struct status write_problem(const char *path, const char *name, int error, struct problem *problem)
{
	bool full = error == ENOSPC || error == EDQUOT;
	return problem_set(problem, full ? STATUS_NO_SPACE : STATUS_IO, "%s%s%s: cannot be written: %s", path,
			   name[0] != '\0' ? "/" : "", name, strerror(error));
}

/* Returns 0 or an errno. */
static int write_all(int fd, const void *data, size_t size)
{
	const char *from = data;
	while (size > 0) {
		ssize_t written = write(fd, from, size);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return errno;
		from += written;
		size -= (size_t)written;
	}
	return 0;
}

struct status results_append(struct results *results, enum results_file file, const void *data, size_t size,
			     struct problem *problem)
{
	int error = write_all(results->files[file], data, size);
	if (error != 0) {
		/* Part of a line would make the file unreadable; what stands before it is good. */
		if (ftruncate(results->files[file], (off_t)results->bytes[file]) != 0)
			return write_problem(results->path, file_names[file], errno, problem);
		return write_problem(results->path, file_names[file], error, problem);
	}
	results->bytes[file] += size;
	return status_ok();
}

struct status results_write(struct results *results, const char *name, const void *data, size_t size,
			    struct problem *problem)
{
	char path[PATH_BYTES];
	(void)snprintf(path, sizeof(path), "%s/%s", results->path, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return write_problem(results->path, name, errno, problem);
	int error = write_all(fd, data, size);
	if (close(fd) != 0 && error == 0)
		error = errno;
	if (error == 0)
		return status_ok();
	(void)unlink(path);
	return write_problem(results->path, name, error, problem);
}

/* --- creation --- */

/* A new directory: two runs of the same second differ in a number at the end. */
static struct status make_folder(struct results *results, const char *out,
				 const struct experiment *experiment, struct problem *problem)
{
	char parent[PATH_BYTES], path[PATH_BYTES + 64], stamp[32], run[64];
	struct tm utc;
	time_t now = (time_t)(clock_wall_ns() / 1000000000);
	(void)gmtime_r(&now, &utc);
	(void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &utc);
	if (snprintf(parent, sizeof(parent), "%s/%s", out, experiment->name) >= (int)sizeof(parent))
		return write_problem(out, "", ENAMETOOLONG, problem);
	int error = folder_make(parent);
	if (error != 0)
		return write_problem(parent, "", error, problem);
	for (int i = 1; i <= SAME_SECOND_MAX; i++) {
		int length =
			snprintf(run, sizeof(run), "%s-%.*s", stamp, HASH_SHORT_DIGITS, experiment->hash);
		if (i > 1)
			(void)snprintf(run + length, sizeof(run) - (size_t)length, "-%d", i);
		(void)snprintf(path, sizeof(path), "%s/%s", parent, run);
		if (mkdir(path, 0777) == 0) {
			results->path = allocate_string(path);
			results->run = allocate_string(run);
			return status_ok();
		}
		if (errno != EEXIST)
			break;
	}
	return write_problem(path, "", errno, problem);
}

/* Replaces the link in one step, so that no reader ever finds none. */
static struct status link_latest(const struct results *results, const char *out,
				 const struct experiment *experiment, struct problem *problem)
{
	char link[PATH_BYTES + 64], fresh[PATH_BYTES + 64];
	(void)snprintf(link, sizeof(link), "%s/%s/latest", out, experiment->name);
	(void)snprintf(fresh, sizeof(fresh), "%s/%s/.latest-%ld", out, experiment->name, (long)getpid());
	(void)unlink(fresh);
	if (symlink(results->run, fresh) != 0)
		return write_problem(fresh, "", errno, problem);
	if (rename(fresh, link) != 0) {
		int error = errno;
		(void)unlink(fresh);
		return write_problem(link, "", error, problem);
	}
	return status_ok();
}

static struct status write_configurations(struct results *results, const struct experiment *experiment,
					  struct problem *problem)
{
	TRY(results_write(results, "config.resolved.yaml", experiment->resolved, strlen(experiment->resolved),
			  problem));
	for (size_t i = 0; i < experiment->cell_count && experiment->cell_count > 1; i++) {
		const struct cell *cell = &experiment->cells[i];
		char name[80];
		(void)snprintf(name, sizeof(name), "config.%s.resolved.yaml", cell->tag);
		TRY(results_write(results, name, cell->resolved, strlen(cell->resolved), problem));
	}
	return status_ok();
}

static struct status write_provenance(struct results *results, const struct experiment *experiment,
				      struct problem *problem)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	if (file == NULL)
		return problem_set(problem, STATUS_NO_MEMORY, "out of memory");
	const char *path = experiment->cells[0].workload.engine_path;
	provenance_write(file, experiment, strcmp(path, "auto") == 0 ? results->path : path);
	struct status status = status_ok();
	if (fclose(file) != 0)
		status = problem_set(problem, STATUS_NO_MEMORY, "out of memory");
	else
		status = results_write(results, "provenance.json", text, size, problem);
	memory_free(text);
	return status;
}

/* What stands at the file's beginning. */
static void write_head(enum results_file which, FILE *file)
{
	switch (which) {
	case RESULTS_REPETITIONS:
		(void)fputs(REPETITION_COLUMNS "\n", file);
		break;
	case RESULTS_TIMELINE:
		(void)fputs(TIMELINE_COLUMNS "\n", file);
		break;
	case RESULTS_INTERVALS:
		interval_log_write_head(file, clock_wall_ns());
		break;
	default:
		break;
	}
}

static struct status append_head(struct results *results, enum results_file which, struct problem *problem)
{
	char head[1024];
	FILE *file = fmemopen(head, sizeof(head), "w");
	if (file == NULL)
		return problem_set(problem, STATUS_NO_MEMORY, "out of memory");
	write_head(which, file);
	long size = ftell(file);
	(void)fclose(file);
	return results_append(results, which, head, (size_t)size, problem);
}

static struct status open_files(struct results *results, struct problem *problem)
{
	for (int i = 0; i < RESULTS_FILES; i++) {
		char path[PATH_BYTES + 128];
		(void)snprintf(path, sizeof(path), "%s/%s", results->path, file_names[i]);
		results->files[i] = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
		if (results->files[i] < 0)
			return write_problem(results->path, file_names[i], errno, problem);
		TRY(append_head(results, (enum results_file)i, problem));
	}
	return status_ok();
}

static struct status create(struct results *results, const char *out, const struct experiment *experiment,
			    struct problem *problem)
{
	TRY(make_folder(results, out, experiment, problem));
	TRY(write_configurations(results, experiment, problem));
	TRY(write_provenance(results, experiment, problem));
	TRY(open_files(results, problem));
	return link_latest(results, out, experiment, problem);
}

struct status results_create(struct results *results, const char *out, const struct experiment *experiment,
			     struct problem *problem)
{
	*results = (struct results) { .path = NULL };
	for (int i = 0; i < RESULTS_FILES; i++)
		results->files[i] = -1;
	struct status status = create(results, out, experiment, problem);
	if (status_is_ok(status) || status_is(status, STATUS_NO_SPACE))
		return status;
	return status_make(STATUS_INVALID);
}

struct status results_close(struct results *results, struct problem *problem)
{
	struct status status = status_ok();
	for (int i = 0; i < RESULTS_FILES; i++) {
		if (results->files[i] >= 0 && close(results->files[i]) != 0 && status_is_ok(status))
			status = write_problem(results->path, file_names[i], errno, problem);
		results->files[i] = -1;
	}
	return status;
}

void results_free(struct results *results)
{
	memory_free(results->path);
	memory_free(results->run);
	results->path = results->run = NULL;
}
