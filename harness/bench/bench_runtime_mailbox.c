/*
 * bench_runtime_mailbox.c: calls from one shard to another: many at a time between two that are awake, and
 * one to a shard that sleeps.
 *
 * The references are what such a call cannot do without: a ring there and a ring back between two threads,
 * with messages that say what is to be run with what and for whom; and two threads that wake each other by
 * futexes. All four pin their two threads to two processors, since a wake on one's own costs a fraction of
 * one across.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "harness/bench/bench_runtime.h"
#include "harness/bench/bench_timing.h"
#include "harness/ticks.h"

enum {
	IN_FLIGHT = 64,
	WINDOW_NS = 200 * 1000 * 1000,
	WINDOW_QUICK_NS = 5 * 1000 * 1000,
	RAMP_NS = 5 * 1000 * 1000,
	WAKES = 300,
	WAKES_QUICK = 10,
	REST_NS = 300 * 1000, /* between two wakes: long enough that who polls has gone to sleep */
};

static uint64_t window_ns(const struct bench_job *job)
{
	return job->quick ? WINDOW_QUICK_NS : WINDOW_NS;
}

static uint32_t wakes_of(const struct bench_job *job)
{
	return job->quick ? WAKES_QUICK : WAKES;
}

/* --- many calls, both shards awake: ours --- */

enum { LINE_BYTES = 64, RING_SLOTS = 256 };

struct traffic {
	uint64_t window_ns;
	uint64_t done; /* calls answered; the sender's */
	bool stop;
	double calls_s;
	struct status status;
	bool large_stacks;		      /* as for a function that does not say what it needs */
	_Alignas(LINE_BYTES) uint64_t served; /* the receiver's */
};

static void serve(struct task *self, void *argument)
{
	struct traffic *traffic = argument;
	(void)self;
	traffic->served++;
}

static const struct task_type serve_type = {
	.name = "bench served",
	.run = serve,
	.stack_bytes = 1024,
};

static void run_caller(struct task *self, void *argument)
{
	struct traffic *traffic = argument;
	while (!traffic->stop) {
		if (traffic->large_stacks)
			(void)shard_call(self, 1, serve, traffic);
		else
			(void)shard_call_type(self, 1, &serve_type, traffic);
		traffic->done++;
	}
}

static const struct task_type caller_type = { .name = "bench caller",
					      .run = run_caller,
					      .stack_bytes = 4096 };

static void run_traffic(struct task *self, void *argument)
{
	struct traffic *traffic = argument;
	struct join join;
	join_init(&join);
	for (int i = 0; i < IN_FLIGHT && status_is_ok(traffic->status); i++)
		traffic->status = task_spawn(task_shard(self), &caller_type, traffic, TASK_FOREGROUND, &join);
	task_sleep(self, RAMP_NS);
	uint64_t before = traffic->done, start = ticks_now();
	do
		task_sleep(self, traffic->window_ns);
	while (traffic->done == before && status_is_ok(traffic->status)); /* a machine may be very busy */
	uint64_t calls = traffic->done - before, ns = ticks_to_ns(ticks_now() - start);
	traffic->calls_s = (double)calls * 1e9 / (double)ns;
	traffic->stop = true;
	join_wait(self, &join);
}

static struct status mailbox_ours(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct runtime *runtime;
	struct traffic traffic = {
		.window_ns = window_ns(job),
		.status = status_ok(),
		.large_stacks = job->parameter != 0,
	};
	TRY(bench_shards_start(job, 2, &runtime));
	bench_shards_pin(runtime);
	runtime_run(runtime, 0, run_traffic, &traffic);
	runtime_destroy(runtime);
	TRY(traffic.status);
	if (traffic.served != traffic.done)
		return status_error(STATUS_CORRUPT, "%llu calls were answered and %llu served",
				    (unsigned long long)traffic.done, (unsigned long long)traffic.served);
	numbers[0] = traffic.calls_s;
	return status_ok();
}

/* --- many messages: two rings between two threads --- */

/* What a call has to say: what is to be done, with what, and for whom. */
struct bare_message {
	_Atomic uint64_t full;
	void (*run)(void *argument);
	void *argument;
	void *token;
};

struct bare_ring {
	_Alignas(LINE_BYTES) struct bare_message slots[RING_SLOTS];
	_Alignas(LINE_BYTES) uint64_t tail; /* the producer's */
	_Alignas(LINE_BYTES) uint64_t head; /* the consumer's */
};

struct bare_pair {
	struct bare_ring there, back;
	_Alignas(LINE_BYTES) _Atomic uint32_t stop;
	_Alignas(LINE_BYTES) uint64_t served; /* the server's */
};

static void relax(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

/* The producer counts what is under way, so that there is room always. */
static void bare_push(struct bare_ring *ring, void (*run)(void *argument), void *argument, void *token)
{
	struct bare_message *message = &ring->slots[ring->tail++ % RING_SLOTS];
	message->run = run;
	message->argument = argument;
	message->token = token;
	atomic_store_explicit(&message->full, 1, memory_order_release);
}

/* The oldest message, NULL: there is none. It is there until bare_pop. */
static const struct bare_message *bare_peek(struct bare_ring *ring)
{
	struct bare_message *message = &ring->slots[ring->head % RING_SLOTS];
	return atomic_load_explicit(&message->full, memory_order_acquire) != 0 ? message : NULL;
}

static void bare_pop(struct bare_ring *ring)
{
	atomic_store_explicit(&ring->slots[ring->head++ % RING_SLOTS].full, 0, memory_order_release);
}

static void bare_serve(void *argument)
{
	struct bare_pair *pair = argument;
	pair->served++;
}

static void *bare_server(void *argument)
{
	struct bare_pair *pair = argument;
	bench_pin_thread(1);
	while (atomic_load_explicit(&pair->stop, memory_order_relaxed) == 0) {
		const struct bare_message *message;
		while ((message = bare_peek(&pair->there)) != NULL) {
			message->run(message->argument);
			bare_push(&pair->back, NULL, NULL, message->token);
			bare_pop(&pair->there);
		}
		relax();
	}
	return NULL;
}

/* Sends and takes answers for that long; answers in a second. */
static double bare_traffic(struct bare_pair *pair, uint64_t *under_way, uint64_t ns)
{
	uint64_t start = ticks_now(), answers = 0, took = 0;
	while (took < ns || answers == 0) {
		for (int round = 0; round < 64; round++) {
			for (; bare_peek(&pair->back) != NULL; bare_pop(&pair->back)) {
				answers++;
				(*under_way)--;
			}
			for (; *under_way < IN_FLIGHT; (*under_way)++)
				bare_push(&pair->there, bare_serve, pair, &answers);
		}
		took = ticks_to_ns(ticks_now() - start);
	}
	return (double)answers * 1e9 / (double)took;
}

static struct status mailbox_bare(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	static struct bare_pair pair;
	pthread_t server;
	uint64_t under_way = 0;
	if (pthread_create(&server, NULL, bare_server, &pair) != 0)
		return status_error(STATUS_BUSY, "no thread can be had");
	bench_pin_thread(0);
	(void)bare_traffic(&pair, &under_way, RAMP_NS);
	numbers[0] = bare_traffic(&pair, &under_way, window_ns(job));
	atomic_store(&pair.stop, 1);
	(void)pthread_join(server, NULL);
	return pair.served > 0 ? status_ok() : status_error(STATUS_CORRUPT, "no message was served");
}

/* --- one call to a shard that sleeps: ours --- */

struct waking {
	uint32_t count;
	uint32_t had_slept; /* calls that found that the receiver had slept since the one before */
	uint64_t sleeps;
	uint64_t *times;
};

static void note_sleep(struct task *self, void *argument)
{
	struct waking *waking = argument;
	uint64_t sleeps = shard_counters(task_shard(self))->sleeps;
	waking->had_slept += sleeps != waking->sleeps;
	waking->sleeps = sleeps;
}

static void run_waking(struct task *self, void *argument)
{
	struct waking *waking = argument;
	for (uint32_t i = 0; i < waking->count; i++) {
		task_sleep(self, REST_NS);
		uint64_t start = ticks_now();
		(void)shard_call(self, 1, note_sleep, waking);
		waking->times[i] = ticks_to_ns(ticks_now() - start);
	}
}

static struct status wake_ours(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct runtime *runtime;
	static uint64_t times[WAKES];
	struct waking waking = { .count = wakes_of(job), .times = times };
	TRY(bench_shards_start(job, 2, &runtime));
	bench_shards_pin(runtime);
	runtime_run(runtime, 0, run_waking, &waking);
	runtime_destroy(runtime);
	if (!job->quick && waking.had_slept < waking.count * 9 / 10)
		(void)snprintf(job->notice, sizeof(job->notice), "only %u of %u calls found the shard asleep",
			       waking.had_slept, waking.count);
	numbers[0] = bench_quantile(times, waking.count, 0.5);
	return status_ok();
}

/* --- the same between two threads --- */

struct ping_pong {
	_Alignas(LINE_BYTES) _Atomic uint32_t ping;
	_Alignas(LINE_BYTES) _Atomic uint32_t pong;
	uint32_t count;
};

static void sleep_until(_Atomic uint32_t *word, uint32_t value)
{
	uint32_t now;
	while ((now = atomic_load(word)) != value)
		(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
}

static void wake_up(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store(word, value);
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *run_pong(void *argument)
{
	struct ping_pong *game = argument;
	bench_pin_thread(1);
	for (uint32_t i = 1; i <= game->count; i++) {
		sleep_until(&game->ping, i);
		wake_up(&game->pong, i);
	}
	return NULL;
}

static struct status wake_bare(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	static struct ping_pong game;
	static uint64_t times[WAKES];
	pthread_t other;
	game.count = wakes_of(job);
	if (pthread_create(&other, NULL, run_pong, &game) != 0)
		return status_error(STATUS_BUSY, "no thread can be had");
	bench_pin_thread(0);
	for (uint32_t i = 1; i <= game.count; i++) {
		clock_sleep_ns(REST_NS);
		uint64_t start = ticks_now();
		wake_up(&game.ping, i);
		sleep_until(&game.pong, i);
		times[i - 1] = ticks_to_ns(ticks_now() - start);
	}
	(void)pthread_join(other, NULL);
	numbers[0] = bench_quantile(times, game.count, 0.5);
	return status_ok();
}

/* --- the measures --- */

enum { CALLS, LARGE_CALLS, RINGS };

static const struct bench_side mailbox_sides[] = {
	[CALLS] = { "calls", mailbox_ours, 0 },
	[LARGE_CALLS] = { "calls on the largest stack", mailbox_ours, 1 },
	[RINGS] = { "two rings", mailbox_bare, 0 },
};
static const struct bench_claim mailbox_claims[] = {
	{ "mailbox", "calls to another shard that is awake, 64 under way", CALLS, RINGS, 0,
	  BENCH_RATIO_AT_LEAST, 1.0 / 3 },
	{ "mailbox.large", "the same of functions that do not say how much stack they need", LARGE_CALLS,
	  RINGS, 0, BENCH_NO_BOUND, 0 },
};

const struct bench_measure bench_runtime_mailbox = {
	.name = "mailbox",
	.summary = "calls to another shard, 64 under way; against a bare pair of rings",
	.numbers = { { "calls_s", BENCH_PER_SECOND } },
	.sides = mailbox_sides,
	.side_count = 3,
	.claims = mailbox_claims,
	.claim_count = 2,
};

static const struct bench_side wake_sides[] = { { "call", wake_ours, 0 },
						{ "futex ping-pong", wake_bare, 0 } };
static const struct bench_claim wake_claims[] = {
	{ "wake", "a call to a shard that sleeps, and back", 0, 1, 0, BENCH_RATIO_AT_MOST, 1.5 },
};

const struct bench_measure bench_runtime_wake = {
	.name = "wake",
	.summary = "a call to a shard that sleeps, and back; against two threads and their futexes",
	.numbers = { { "time_ns", BENCH_NANOSECONDS } },
	.sides = wake_sides,
	.side_count = 2,
	.claims = wake_claims,
	.claim_count = 1,
};
