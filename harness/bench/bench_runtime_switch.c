/*
 * bench_runtime_switch.c: what it costs to leave one stack for another, and to make, run and end a task.
 *
 * The reference is the least that a switch of stacks can be: the callee-saved registers pushed, the stack
 * pointer exchanged, the registers popped, and a jump. It is written here in full and shares nothing with the
 * engine's, and its partner is a loop of three instructions.
 */

#include "base/memory.h"
#include "harness/bench/bench_runtime.h"
#include "harness/bench/bench_timing.h"
#include "runtime/fiber.h"

enum {
	STACK_BYTES = 64 * 1024,
	SWITCHES = 100 * 1000, /* in a slice, as below */
	SPAWNS = 10 * 1000,
	SPAWN_BATCH = 64, /* tasks that wait for their turn together */
	FORKS = 2000,
	FORK_WIDTH = 8,
	SLICES = 40,
	SLICES_QUICK = 2,
	QUICKER = 20, /* a quick look does that share of the work */
};

static double time_work(const struct bench_job *job, bench_work *work, void *argument, uint64_t count)
{
	if (job->quick)
		return bench_time_slices(work, argument, count / QUICKER, SLICES_QUICK);
	return bench_time_slices(work, argument, count, SLICES);
}

/* --- the bare swap --- */

#if defined(__x86_64__)

void bench_swap_registers(void **from, void **to);
void bench_swap_partner(void);

/* Jumps where it could return: a return to where no call came from is mispredicted every time. */
__asm__(".text\n"
	".balign 64\n"
	".globl bench_swap_registers\n"
	".hidden bench_swap_registers\n"
	".type bench_swap_registers, @function\n"
	"bench_swap_registers:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq (%rsi), %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	popq %rcx\n"
	"	jmpq *%rcx\n"
	".size bench_swap_registers, .-bench_swap_registers\n"
	".balign 16\n"
	".globl bench_swap_partner\n"
	".hidden bench_swap_partner\n"
	".type bench_swap_partner, @function\n"
	"bench_swap_partner:\n"
	"1:	movq %r12, %rdi\n"
	"	movq %r13, %rsi\n"
	"	callq bench_swap_registers\n"
	"	jmp 1b\n"
	".size bench_swap_partner, .-bench_swap_partner\n");

struct bare {
	void *own, *partner; /* stack pointers of those who do not run */
};

/* What bench_swap_registers pops first: r15, r14, r13, r12, rbx, rbp, and where to go. */
static void bare_prepare(struct bare *bare, void *stack)
{
	void **top = (void **)stack + STACK_BYTES / sizeof(void *);
	void **frame = top - 8;
	frame[2] = &bare->own;
	frame[3] = &bare->partner;
	frame[6] = (void *)bench_swap_partner;
	bare->partner = frame;
}

static void bare_work(void *argument, uint64_t count)
{
	struct bare *bare = argument;
	for (uint64_t i = 0; i < count; i += 2)
		bench_swap_registers(&bare->own, &bare->partner);
}

struct status bench_bare_swap(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct bare bare = { .own = NULL };
	void *stack = memory_map(STACK_BYTES);
	if (stack == NULL)
		return status_make(STATUS_NO_MEMORY);
	bare_prepare(&bare, stack);
	numbers[0] = time_work(job, bare_work, &bare, SWITCHES);
	memory_unmap(stack, STACK_BYTES);
	return status_ok();
}

#else

struct status bench_bare_swap(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	(void)job;
	(void)numbers;
	return status_error(STATUS_UNSUPPORTED, "no bare swap is written for this kind of processor");
}

#endif

/* --- the engine's switch --- */

#if defined(FIBER_ASAN) || defined(FIBER_TSAN)

static struct status switch_ours(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	(void)job;
	(void)numbers;
	return status_error(STATUS_UNSUPPORTED, "a sanitizer takes part in every switch of this build");
}

#else

struct pair {
	struct fiber own, partner;
};

static void partner_run(void *argument)
{
	struct pair *pair = argument;
	fiber_started();
	for (;;)
		fiber_switch(&pair->partner, &pair->own, 0);
}

static void switch_work(void *argument, uint64_t count)
{
	struct pair *pair = argument;
	for (uint64_t i = 0; i < count; i += 2)
		fiber_switch(&pair->own, &pair->partner, 0);
}

static struct status switch_ours(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct pair pair = { .partner = { .stack_size = STACK_BYTES } };
	pair.partner.stack_low = memory_map(STACK_BYTES);
	if (pair.partner.stack_low == NULL)
		return status_make(STATUS_NO_MEMORY);
	context_prepare(&pair.partner.context, pair.partner.stack_low, STACK_BYTES, partner_run, &pair);
	numbers[0] = time_work(job, switch_work, &pair, SWITCHES);
	memory_unmap(pair.partner.stack_low, STACK_BYTES);
	return status_ok();
}

#endif

/* --- tasks: all of these run in one on a shard --- */

struct tasks {
	struct task *self;
	struct bench_job *job;
	double time_ns;
	uint64_t ran;  /* children: what was paid for has been done */
	uint64_t left; /* yields of the partner */
	bool failed;
};

static void run_child(struct task *self, void *argument)
{
	struct tasks *tasks = argument;
	(void)self;
	tasks->ran++;
}

static const struct task_type child_type = { .name = "bench child", .run = run_child, .stack_bytes = 1024 };

static void spawn_and_join(struct tasks *tasks, uint64_t count)
{
	struct shard *shard = task_shard(tasks->self);
	struct join join;
	join_init(&join);
	for (uint64_t i = 0; i < count; i++) {
		if (!status_is_ok(task_spawn(shard, &child_type, tasks, TASK_FOREGROUND, &join)))
			tasks->failed = true;
	}
	join_wait(tasks->self, &join);
}

/* The parent's own two switches are shared by a batch. */
static void spawn_work(void *argument, uint64_t count)
{
	for (uint64_t i = 0; i < count; i += SPAWN_BATCH)
		spawn_and_join(argument, SPAWN_BATCH);
}

static void fork_work(void *argument, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		spawn_and_join(argument, FORK_WIDTH);
}

static void run_spawn(struct task *self, void *argument)
{
	struct tasks *tasks = argument;
	tasks->self = self;
	tasks->time_ns = time_work(tasks->job, spawn_work, tasks, SPAWNS / SPAWN_BATCH * SPAWN_BATCH);
}

static void run_forks(struct task *self, void *argument)
{
	struct tasks *tasks = argument;
	tasks->self = self;
	tasks->time_ns = time_work(tasks->job, fork_work, tasks, FORKS);
}

static void yield_partner(struct task *self, void *argument)
{
	struct tasks *tasks = argument;
	while (tasks->left > 0) {
		tasks->left--;
		task_yield(self);
	}
}

static const struct task_type yield_type = { .name = "bench partner",
					     .run = yield_partner,
					     .stack_bytes = 1024 };

/* Two tasks in turn: each yield hands over to the other. */
static void yield_work(void *argument, uint64_t count)
{
	struct tasks *tasks = argument;
	struct join join;
	join_init(&join);
	tasks->left = count / 2;
	if (!status_is_ok(task_spawn(task_shard(tasks->self), &yield_type, tasks, TASK_FOREGROUND, &join))) {
		tasks->failed = true;
		return;
	}
	for (uint64_t i = 0; i < count / 2; i++)
		task_yield(tasks->self);
	join_wait(tasks->self, &join);
}

static void run_yields(struct task *self, void *argument)
{
	struct tasks *tasks = argument;
	tasks->self = self;
	tasks->time_ns = time_work(tasks->job, yield_work, tasks, SPAWNS);
}

static struct status measure_tasks(struct bench_job *job, task_function *run, uint64_t least_children,
				   double *number)
{
	struct tasks tasks = { .job = job };
	TRY(bench_on_shard(job, run, &tasks));
	if (tasks.failed)
		return status_make(STATUS_NO_MEMORY);
	if (tasks.ran < least_children)
		return status_error(STATUS_CORRUPT, "tasks were paid for and did not run");
	*number = tasks.time_ns;
	return status_ok();
}

static struct status spawn_ours(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_tasks(job, run_spawn, SPAWN_BATCH, &numbers[0]);
}

static struct status fork_ours(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_tasks(job, run_forks, FORK_WIDTH, &numbers[0]);
}

static struct status yield_ours(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	return measure_tasks(job, run_yields, 0, &numbers[0]);
}

/* --- the measures --- */

#define TIME_NUMBER                                  \
	{                                            \
		{                                    \
			"time_ns", BENCH_NANOSECONDS \
		}                                    \
	}

static const struct bench_side switch_sides[] = { { "switch", switch_ours, 0 },
						  { "bare swap", bench_bare_swap, 0 } };
static const struct bench_claim switch_claims[] = {
	{ "switch", "one way from one stack to another", 0, 1, 0, BENCH_RATIO_AT_MOST, 1.2 },
};

const struct bench_measure bench_runtime_switch = {
	.name = "switch",
	.summary = "one way from one stack to another; against a bare swap of the registers",
	.numbers = TIME_NUMBER,
	.sides = switch_sides,
	.side_count = 2,
	.claims = switch_claims,
	.claim_count = 1,
};

static const struct bench_side yield_sides[] = { { "yield", yield_ours, 0 },
						 { "bare swap", bench_bare_swap, 0 } };
static const struct bench_claim yield_claims[] = {
	{ "yield", "from one task to the next, through the resident's loop and its clock", 0, 1, 0,
	  BENCH_NO_BOUND, 0 },
};

const struct bench_measure bench_runtime_yield = {
	.name = "yield",
	.summary = "a yield of one task to another, through the resident's loop; in bare swaps",
	.numbers = TIME_NUMBER,
	.sides = yield_sides,
	.side_count = 2,
	.claims = yield_claims,
	.claim_count = 1,
};

static const struct bench_side spawn_sides[] = { { "spawn", spawn_ours, 0 },
						 { "bare swap", bench_bare_swap, 0 } };
static const struct bench_claim spawn_claims[] = {
	{ "spawn", "to spawn, run and end an empty task, in switches", 0, 1, 0, BENCH_RATIO_AT_MOST, 5 },
};

const struct bench_measure bench_runtime_spawn = {
	.name = "spawn",
	.summary = "spawn, run and end an empty task, 64 at a time; in bare swaps",
	.numbers = TIME_NUMBER,
	.sides = spawn_sides,
	.side_count = 2,
	.claims = spawn_claims,
	.claim_count = 1,
};

static const struct bench_side fork_sides[] = { { "fork-join", fork_ours, 0 },
						{ "bare swap", bench_bare_swap, 0 } };
static const struct bench_claim fork_claims[] = {
	{ "fork-join", "to spawn eight empty tasks and wait for them, in switches", 0, 1, 0,
	  BENCH_RATIO_AT_MOST, 60 },
};

const struct bench_measure bench_runtime_fork_join = {
	.name = "fork-join",
	.summary = "spawn eight empty tasks and wait for all of them; in bare swaps",
	.numbers = TIME_NUMBER,
	.sides = fork_sides,
	.side_count = 2,
	.claims = fork_claims,
	.claim_count = 1,
};
