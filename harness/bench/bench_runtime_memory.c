/*
 * bench_runtime_memory.c: how much memory suspended tasks take: what the process holds more of when a million
 * of them wait. The reference is a million bare kibibytes that somebody wrote to.
 */
#include <string.h>

#include "base/memory.h"
#include "harness/bench/bench_runtime.h"
#include "harness/process_stats.h"

enum {
	TASKS = 1000 * 1000,
	TASKS_QUICK = 2000,
	BLOCK_BYTES = 1024,
	LOT = 4096, /* spawned before they run to where they wait */
};

struct crowd {
	struct task **tasks;
	uint64_t wanted, waiting;
	uint64_t bytes; /* that the process grew by; UINT64_MAX: unknown */
	struct status status;
};

/* Suspends once; whoever spawned it resumes it by the list. */
static void run_waiter(struct task *self, void *argument)
{
	struct crowd *crowd = argument;
	crowd->tasks[crowd->waiting++] = self;
	task_suspend(self);
}

static const struct task_type waiter_type = { .name = "bench waiter",
					      .run = run_waiter,
					      .stack_bytes = 1024 };

static uint64_t growth(uint64_t before)
{
	uint64_t now = process_rss_bytes();
	if (before == UINT64_MAX || now == UINT64_MAX)
		return UINT64_MAX;
	return now > before ? now - before : 0;
}

static void gather(struct task *self, struct crowd *crowd, struct join *join)
{
	uint64_t spawned = 0;
	while (spawned < crowd->wanted && status_is_ok(crowd->status)) {
		uint64_t end = spawned + LOT < crowd->wanted ? spawned + LOT : crowd->wanted;
		for (; spawned < end && status_is_ok(crowd->status); spawned++)
			crowd->status =
				task_spawn(task_shard(self), &waiter_type, crowd, TASK_FOREGROUND, join);
		while (crowd->waiting < spawned && status_is_ok(crowd->status))
			task_yield(self);
	}
}

static void run_crowd(struct task *self, void *argument)
{
	struct crowd *crowd = argument;
	struct join join;
	join_init(&join);
	uint64_t before = process_rss_bytes();
	gather(self, crowd, &join);
	crowd->bytes = growth(before);
	while (join.pending > 0 && crowd->waiting < join.pending)
		task_yield(self); /* those that were spawned before one failed */
	for (uint64_t i = 0; i < crowd->waiting; i++)
		task_resume(crowd->tasks[i]);
	join_wait(self, &join);
}

static uint64_t tasks_of(const struct bench_job *job)
{
	return job->quick ? TASKS_QUICK : TASKS;
}

/* As for a million. */
static double scaled(uint64_t bytes, uint64_t count)
{
	return (double)bytes / (double)count * TASKS;
}

static struct status memory_ours(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct crowd crowd = { .wanted = tasks_of(job), .status = status_ok() };
	size_t list_bytes = crowd.wanted * sizeof(struct task *);
	crowd.tasks = memory_allocate(list_bytes);
	if (crowd.tasks == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset(crowd.tasks, 1, list_bytes); /* the list is no part of what is measured */
	struct status status = bench_on_shard(job, run_crowd, &crowd);
	memory_free(crowd.tasks);
	TRY(status);
	TRY(crowd.status);
	if (crowd.bytes != UINT64_MAX)
		numbers[0] = scaled(crowd.bytes, crowd.wanted);
	return status_ok();
}

static struct status memory_bare(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	uint64_t count = tasks_of(job);
	size_t size = (count * BLOCK_BYTES + 4095) / 4096 * 4096;
	uint64_t before = process_rss_bytes();
	uint8_t *blocks = memory_map(size);
	if (blocks == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (uint64_t i = 0; i < count; i++)
		((volatile uint8_t *)blocks)[i * BLOCK_BYTES] = 1;
	uint64_t bytes = growth(before);
	memory_unmap(blocks, size);
	if (bytes != UINT64_MAX)
		numbers[0] = scaled(bytes, count);
	return status_ok();
}

static const struct bench_side sides[] = { { "tasks", memory_ours, 0 },
					   { "bare 1 KiB blocks", memory_bare, 0 } };
static const struct bench_claim claims[] = {
	{ "memory", "a million suspended tasks of the smallest class of stacks", 0, 1, 0, BENCH_VALUE_AT_MOST,
	  1.2 * (1 << 30) },
};

const struct bench_measure bench_runtime_memory = {
	.name = "memory",
	.summary = "memory of a million suspended tasks with stacks of 1 KiB",
	.once = true,
	.numbers = { { "bytes", BENCH_BYTES } },
	.sides = sides,
	.side_count = 2,
	.claims = claims,
	.claim_count = 1,
};
