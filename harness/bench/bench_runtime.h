/*
 * bench_runtime.h: what the measures of the kind `runtime` share: shards to measure on, and the list of
 * measures.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_RUNTIME_H
#define CASCADE_HARNESS_BENCH_BENCH_RUNTIME_H

#include "harness/bench/bench.h"
#include "runtime/runtime.h"

extern const struct bench_measure bench_runtime_switch;
extern const struct bench_measure bench_runtime_yield;
extern const struct bench_measure bench_runtime_spawn;
extern const struct bench_measure bench_runtime_fork_join;
extern const struct bench_measure bench_runtime_memory;
extern const struct bench_measure bench_runtime_mailbox;
extern const struct bench_measure bench_runtime_wake;
extern const struct bench_measure bench_runtime_read;
extern const struct bench_measure bench_runtime_call;
extern const struct bench_measure bench_runtime_gets;
extern const struct bench_measure bench_runtime_puts;
extern const struct bench_measure bench_runtime_puts_power;
extern const struct bench_measure bench_runtime_merge_cached;
extern const struct bench_measure bench_runtime_merge_uncached;

/* Nanoseconds of one switch of a bare register swap, without any of the engine's code. Errors: UNSUPPORTED:
 * there is none for this machine. */
MUST_CHECK struct status bench_bare_swap(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX]);

/* Shards of the default backend; what the environment refuses goes into job->notice. */
MUST_CHECK struct status bench_shards_start(struct bench_job *job, uint32_t count, struct runtime **runtime);

/* Resident i stays on processor i. */
void bench_shards_pin(struct runtime *runtime);

/* Starts one shard, runs the function there as a task, and stops it. */
MUST_CHECK struct status bench_on_shard(struct bench_job *job, task_function *run, void *argument);

#endif
