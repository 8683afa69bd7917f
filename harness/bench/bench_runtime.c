/*
 * bench_runtime.c: the kind `runtime`: tasks, shards, their I/O, and the database's calls on top of them.
 */
#include "harness/bench/bench_runtime.h"

#include "harness/bench/bench_timing.h"

static const struct bench_measure *const measures[] = {
	&bench_runtime_switch,	     &bench_runtime_yield,	    &bench_runtime_spawn,
	&bench_runtime_fork_join,    &bench_runtime_memory,	    &bench_runtime_mailbox,
	&bench_runtime_wake,	     &bench_runtime_read,	    &bench_runtime_call,
	&bench_runtime_gets,	     &bench_runtime_puts,	    &bench_runtime_puts_power,
	&bench_runtime_merge_cached, &bench_runtime_merge_uncached, NULL,
};

const struct bench_kind bench_runtime = {
	.name = "runtime",
	.summary = "tasks, shards and their I/O, and calls of the database from threads",
	.measures = measures,
};

struct status bench_shards_start(struct bench_job *job, uint32_t count, struct runtime **runtime)
{
	const struct runtime_options options = {
		.shards = count,
		.io_backend = "uring",
		.io = { .direct = true },
	};
	return runtime_create(&options, runtime, job->notice, sizeof(job->notice));
}

static void pin(struct task *self, void *argument)
{
	(void)argument;
	bench_pin_thread(shard_index(task_shard(self)));
}

void bench_shards_pin(struct runtime *runtime)
{
	for (uint32_t i = 0; i < runtime_shard_count(runtime); i++)
		runtime_run(runtime, i, pin, NULL);
}

struct status bench_on_shard(struct bench_job *job, task_function *run, void *argument)
{
	struct runtime *runtime;
	TRY(bench_shards_start(job, 1, &runtime));
	runtime_run(runtime, 0, run, argument);
	runtime_destroy(runtime);
	return status_ok();
}
