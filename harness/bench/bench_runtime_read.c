/*
 * bench_runtime_read.c: random reads of 4 KiB by tasks, 32 under way, against a bare loop over the kernel's
 * rings and against fio.
 */
#include "base/memory.h"
#include "base/random.h"
#include "harness/bench/bench_reads.h"
#include "harness/bench/bench_runtime.h"
#include "harness/process_stats.h"
#include "harness/ticks.h"

struct reading {
	struct bench_job *job;
	struct io_file *file;
	uint8_t *buffers;
	uint64_t pages;
	uint64_t done;
	bool stop;
	struct status status; /* the first failure */
	double *numbers;
};

struct reader {
	struct reading *reading;
	uint8_t *buffer;
	struct random random;
};

static void run_reader(struct task *self, void *argument)
{
	struct reader *reader = argument;
	struct reading *reading = reader->reading;
	while (!reading->stop) {
		struct io_request request = {
			.operation = IO_READ,
			.file = reading->file,
			.buffer = reader->buffer,
			.length = BENCH_READ_BYTES,
			.offset = random_below(&reader->random, reading->pages) * BENCH_READ_BYTES,
		};
		struct status status = task_io(self, &request);
		if (status_is_ok(status) && request.transferred != BENCH_READ_BYTES)
			status = status_error(STATUS_IO, "a read was short");
		if (!status_is_ok(status)) {
			status_keep_first(&reading->status, status);
			return;
		}
		reading->done++;
	}
}

static const struct task_type reader_type = { .name = "bench reader",
					      .run = run_reader,
					      .stack_bytes = 4096 };

static void measure(struct task *self, struct reading *reading)
{
	struct reader readers[BENCH_READS_DEPTH];
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < BENCH_READS_DEPTH; i++) {
		readers[i] = (struct reader) {
			.reading = reading,
			.buffer = reading->buffers + (size_t)i * BENCH_READ_BYTES,
			.random = random_stream(random_at(reading->job->seed, i)),
		};
		status_keep_first(&reading->status, task_spawn(task_shard(self), &reader_type, &readers[i],
							       TASK_FOREGROUND, &join));
	}
	task_sleep(self, (uint64_t)BENCH_READS_RAMP_MS * 1000000u);
	uint64_t before = reading->done, start = ticks_now();
	double cpu = process_cpu_seconds();
	do
		task_sleep(self, bench_reads_ms(reading->job) * 1000000u);
	while (reading->done == before && status_is_ok(reading->status)); /* a machine may be very busy */
	double reads = (double)(reading->done - before);
	reading->numbers[0] = reads * 1e9 / (double)ticks_to_ns(ticks_now() - start);
	reading->numbers[1] = (process_cpu_seconds() - cpu) * 1e9 / reads;
	reading->stop = true;
	join_wait(self, &join);
}

static struct status open_file(struct task *self, struct reading *reading, const char *path)
{
	struct io_request request = { .operation = IO_OPEN, .flags = IO_OPEN_READ, .path = path };
	TRY(task_io(self, &request));
	reading->file = request.opened;
	return status_ok();
}

static void run_reading(struct task *self, void *argument)
{
	struct reading *reading = argument;
	/* On the heap: a path is no small thing on a task's stack. */
	char *path = memory_allocate(BENCH_PATH_BYTES);
	size_t size = (size_t)BENCH_READS_DEPTH * BENCH_READ_BYTES;
	if (path == NULL) {
		reading->status = status_make(STATUS_NO_MEMORY);
		return;
	}
	/* As the engine does with its pool; a refusal costs some time and nothing else. */
	struct status registered = io_register_memory(shard_io(task_shard(self)), reading->buffers, size);
	(void)registered;
	reading->status = open_file(self, reading, bench_reads_path(reading->job, path));
	if (status_is_ok(reading->status)) {
		measure(self, reading);
		struct io_request request = { .operation = IO_CLOSE, .file = reading->file };
		status_keep_first(&reading->status, task_io(self, &request));
	}
	memory_free(path);
}

static struct status read_ours(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct reading reading = { .job = job,
				   .pages = job->file_bytes / BENCH_READ_BYTES,
				   .numbers = numbers };
	size_t size = (size_t)BENCH_READS_DEPTH * BENCH_READ_BYTES;
	reading.buffers = memory_map(size);
	if (reading.buffers == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = bench_on_shard(job, run_reading, &reading);
	memory_unmap(reading.buffers, size);
	TRY(status);
	return reading.status;
}

enum { OURS, BARE, FIO };

static const struct bench_side sides[] = {
	[OURS] = { "tasks", read_ours, 0 },
	[BARE] = { "bare io_uring", bench_reads_bare, 0 },
	[FIO] = { "fio", bench_reads_fio, 0 },
};

static const struct bench_claim claims[] = {
	{ "read.rate-bare", "reads a second", OURS, BARE, 0, BENCH_RATIO_AT_LEAST, 0.95 },
	{ "read.rate-fio", "reads a second", OURS, FIO, 0, BENCH_RATIO_AT_LEAST, 0.95 },
	{ "read.cpu-bare", "processor time of a read", OURS, BARE, 1, BENCH_RATIO_AT_MOST, 1 },
	{ "read.cpu-fio", "processor time of a read", OURS, FIO, 1, BENCH_RATIO_AT_MOST, 1 },
};

const struct bench_measure bench_runtime_read = {
	.name = "read",
	.summary = "random 4 KiB reads by tasks, 32 under way; against a bare io_uring loop and fio",
	.numbers = { { "reads_s", BENCH_PER_SECOND }, { "cpu_ns", BENCH_NANOSECONDS } },
	.sides = sides,
	.side_count = 3,
	.claims = claims,
	.claim_count = 4,
	.prepare = bench_reads_prepare,
};
