/*
 * bench_fio.c: the same reads by fio, the tool by which devices are usually measured (package fio). It is run
 * without its histograms of latency, which would cost it processor time.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/memory.h"
#include "harness/bench/bench_reads.h"
#include "harness/json_reader.h"

enum { ARGUMENT_BYTES = BENCH_PATH_BYTES + 64, OUTPUT_BYTES_MAX = 1 << 20, PROGRAM_MISSING = 127 };

extern char **environ;

/* --- running it --- */

static struct status no_fio(void)
{
	return status_error(STATUS_UNSUPPORTED, "fio is not installed (package fio)");
}

static struct status start(char *const *arguments, pid_t *child)
{
	posix_spawn_file_actions_t actions;
	int error = posix_spawn_file_actions_init(&actions);
	if (error != 0)
		return status_from_errno(error, "cannot start fio", NULL);
	for (int fd = 0; fd <= 2 && error == 0; fd++)
		error = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
	if (error == 0)
		error = posix_spawnp(child, "fio", &actions, NULL, arguments, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (error == ENOENT)
		return no_fio();
	return error == 0 ? status_ok() : status_from_errno(error, "cannot start fio", NULL);
}

static struct status run_fio(const struct bench_job *job, const char *output)
{
	char path[BENCH_PATH_BYTES], file[ARGUMENT_BYTES], to[ARGUMENT_BYTES], size[64], depth[64],
		runtime[64], ramp[64], seed[64];
	pid_t child;
	int result = 0;
	(void)snprintf(file, sizeof(file), "--filename=%s", bench_reads_path(job, path));
	(void)snprintf(to, sizeof(to), "--output=%s", output);
	(void)snprintf(size, sizeof(size), "--size=%" PRIu64, job->file_bytes);
	(void)snprintf(depth, sizeof(depth), "--iodepth=%d", BENCH_READS_DEPTH);
	(void)snprintf(runtime, sizeof(runtime), "--runtime=%" PRIu64 "ms", bench_reads_ms(job));
	(void)snprintf(ramp, sizeof(ramp), "--ramp_time=%dms", BENCH_READS_RAMP_MS);
	(void)snprintf(seed, sizeof(seed), "--randseed=%" PRIu64, job->seed >> 33);
	char *arguments[] = { "fio",
			      "--name=reads",
			      "--ioengine=io_uring",
			      "--rw=randread",
			      "--bs=4k",
			      "--direct=1",
			      "--norandommap=1",
			      "--gtod_reduce=1",
			      "--readonly",
			      "--time_based=1",
			      "--invalidate=0",
			      "--output-format=json",
			      file,
			      to,
			      size,
			      depth,
			      runtime,
			      ramp,
			      seed,
			      NULL };
	TRY(start(arguments, &child));
	while (waitpid(child, &result, 0) < 0) {
		if (errno != EINTR)
			return status_from_errno(errno, "cannot wait for fio", NULL);
	}
	if (WIFEXITED(result) && WEXITSTATUS(result) == PROGRAM_MISSING)
		return no_fio();
	if (!WIFEXITED(result) || WEXITSTATUS(result) != 0)
		return status_error(STATUS_UNSUPPORTED,
				    "fio failed (exit code %d): perhaps it was built without io_uring",
				    WIFEXITED(result) ? WEXITSTATUS(result) : -1);
	return status_ok();
}

/* --- what it says --- */

/* Notes may stand before the document. */
static struct status parse(struct arena *arena, const char *text, double numbers[BENCH_NUMBERS_MAX])
{
	struct json *root;
	const char *begin = strchr(text, '{');
	if (begin == NULL)
		return status_error(STATUS_CORRUPT, "fio wrote no JSON");
	TRY(json_parse(arena, begin, strlen(begin), &root));
	const struct json *jobs = json_find(root, "jobs");
	const struct json *one = jobs != NULL ? jobs->first : NULL;
	if (one == NULL)
		return status_error(STATUS_CORRUPT, "fio's output has no jobs");
	double reads = json_number_at(one, "read.total_ios", 0);
	double runtime_ms = json_number_at(one, "job_runtime", 0);
	double percent = json_number_at(one, "usr_cpu", 0) + json_number_at(one, "sys_cpu", 0);
	if (!(reads > 0) || !(runtime_ms > 0))
		return status_error(STATUS_CORRUPT, "fio's output has no reads");
	numbers[0] = json_number_at(one, "read.iops", 0);
	numbers[1] = percent / 100 * runtime_ms * 1e6 / reads;
	return status_ok();
}

struct status bench_reads_fio(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	char output[BENCH_PATH_BYTES];
	if (snprintf(output, sizeof(output), "%s/fio.json", job->scratch) >= (int)sizeof(output))
		return status_error(STATUS_INVALID, "the path of the run is too long");
	TRY(run_fio(job, output));
	char *text = memory_allocate_zeroed(1, OUTPUT_BYTES_MAX);
	FILE *file = fopen(output, "re");
	struct status status = text == NULL   ? status_make(STATUS_NO_MEMORY)
			       : file == NULL ? status_from_errno(errno, "cannot read", output)
					      : status_ok();
	if (status_is_ok(status)) {
		struct arena arena;
		(void)fread(text, 1, OUTPUT_BYTES_MAX - 1, file);
		arena_init(&arena, OUTPUT_BYTES_MAX);
		status = parse(&arena, text, numbers);
		arena_free(&arena);
	}
	if (file != NULL)
		(void)fclose(file);
	memory_free(text);
	return status;
}
