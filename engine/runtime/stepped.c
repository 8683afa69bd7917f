/*
 * stepped.c: gathers what can run, chooses by policy and seed, runs it, and moves the world's time.
 *
 * Choices are gathered in an order that depends on nothing but the run so far: runtimes and clients in order
 * of their making, shards by index, tasks as they stand in their queues. No address and no table's order
 * enters a choice or the trace.
 */
#include "runtime/stepped.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"
#include "io/faulty.h"
#include "io/simulated.h"
#include "runtime/internal.h"

enum {
	PCT_CHANGES_DEFAULT = 3,
	PCT_WINDOW_DEFAULT = 1000,
	PCT_LOWERED_MAX = 64, /* in a window; beyond it the next one begins */
	PCT_SAME_MAX = 100,   /* steps in a row of one that others wait for */
	STEP_NS_DEFAULT = 2 * 1000,
	STEP_LONG_ONE_IN = 32, /* so many steps take up to ten times as long */
	LEAP_ONE_IN = 64,      /* before so many steps time moves to the next event */
	YIELD_ONE_IN = 2,      /* callers that ask for a shard let others go first so often */
	BORROWS_DEFAULT = 128,
	RETRY_NS = 1000 * 1000, /* between two tries to get memory for a stack */
	CLIENT_STACK_BYTES = 256 * 1024,
	SPARES_MAX = 16, /* pools of stacks that are kept, of each kind */
};

/* --- what there is --- */

struct stepped_runtime {
	struct list link;
	struct runtime *runtime;
	uint64_t number;
	uint64_t retry_ns[RUNTIME_SHARDS_MAX]; /* by shard; UINT64_MAX: nothing there waits for memory */
};

/* Until is_over(context), which is asked until it has said so once. */
struct wait {
	bool (*is_over)(void *context); /* NULL: it is */
	void *context;
	uint64_t wake_ns; /* when time alone ends it; UINT64_MAX: never */
};

struct client {
	struct list link;
	struct stepped *stepped;
	uint64_t number;
	const char *name;
	void (*function)(void *argument);
	void *argument;
	struct task *stack; /* whose fiber it is */
	struct wait wait;
	bool ended;
};

enum choice_kind { CHOICE_TURN, CHOICE_TASK, CHOICE_MESSAGES, CHOICE_TIMERS, CHOICE_POLL, CHOICE_CLIENT };

struct choice {
	enum choice_kind kind;
	struct stepped_runtime *runtime;
	struct shard *shard;
	struct task *task;
	struct client *client;
};

/* Of the priorities. */
struct pct {
	uint64_t seed; /* of this window */
	uint64_t step; /* in it */
	uint64_t changes[PCT_LOWERED_MAX];
	uint64_t lowered[PCT_LOWERED_MAX]; /* the latest is the lowest */
	unsigned lowered_count;
	uint64_t last; /* who ran, and how often in a row */
	unsigned last_count;
};

struct stepped {
	struct stepper stepper; /* first: the runtime knows no more of it */
	struct stepped_options options;
	uint64_t steps_limit;
	struct simulated_world *world;
	struct random random;
	pthread_t owner;
	struct fiber thread; /* the owner's stack, on which everything but tasks and clients runs */
	struct list runtimes;
	struct list clients;
	uint64_t runtime_numbers;
	uint64_t client_numbers;
	struct stack_pool stacks;
	struct wait *waiting; /* what the thread itself waits for; NULL: nothing */
	struct choice *choices;
	size_t choice_count;
	size_t choice_capacity;
	uint64_t fifo_last;
	struct pct pct;
	bool in_step;
	uint64_t stuck_at; /* the step before which it was reported; 0: never */
	uint64_t trace;
	uint64_t counts[STEPPED_COUNT_COUNT];
};

/* The scheduler that is installed, and the client that runs. */
static struct stepped *installed;
static struct client *running;

static struct stepped *stepped_of(struct stepper *stepper)
{
	return CONTAINER_OF(stepper, struct stepped, stepper);
}

static uint64_t now_of(const struct stepped *stepped)
{
	return simulated_now_ns(stepped->world);
}

static bool one_in(struct stepped *stepped, uint64_t count)
{
	return random_below(&stepped->random, count) == 0;
}

/* --- the trace --- */

void stepped_trace_mix(struct stepped *stepped, const void *bytes, size_t size)
{
	stepped->trace = checksum64(bytes, size, stepped->trace);
}

static void mix_words(struct stepped *stepped, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t words[] = { a, b, c, now_of(stepped), simulated_trace(stepped->world) };
	stepped_trace_mix(stepped, words, sizeof(words));
}

uint64_t stepped_trace(const struct stepped *stepped)
{
	return random_mix(stepped->trace ^ simulated_trace(stepped->world));
}

uint64_t stepped_count(const struct stepped *stepped, enum stepped_count count)
{
	return stepped->counts[count];
}

const char *stepped_count_name(enum stepped_count count)
{
	static const char *const names[STEPPED_COUNT_COUNT] = {
		[STEPPED_STEPS] = "steps",	 [STEPPED_TASKS] = "tasks",
		[STEPPED_MESSAGES] = "messages", [STEPPED_TIMERS] = "timers",
		[STEPPED_POLLS] = "polls",	 [STEPPED_CLIENTS] = "clients",
		[STEPPED_ADVANCES] = "advances", [STEPPED_LEAPS] = "leaps",
		[STEPPED_BORROWED] = "borrowed", [STEPPED_AGAIN] = "borrowed again",
		[STEPPED_REFUSED] = "refused",	 [STEPPED_CHANGES] = "changes",
	};
	return names[count];
}

const char *stepped_policy_name(enum stepped_policy policy)
{
	static const char *const names[STEPPED_POLICY_COUNT] = {
		[STEPPED_FIFO] = "fifo",
		[STEPPED_RANDOM] = "random",
		[STEPPED_PCT] = "pct",
	};
	return names[policy];
}

/* --- what can run --- */

static bool is_over(struct wait *wait)
{
	if (wait->is_over != NULL && wait->is_over(wait->context))
		wait->is_over = NULL;
	return wait->is_over == NULL;
}

static void add_choice(struct stepped *stepped, struct choice choice)
{
	if (stepped->choice_count == stepped->choice_capacity) {
		stepped->choice_capacity = stepped->choice_capacity == 0 ? 64 : 2 * stepped->choice_capacity;
		stepped->choices = realloc(stepped->choices, stepped->choice_capacity * sizeof(choice));
		ASSERT(stepped->choices != NULL);
	}
	stepped->choices[stepped->choice_count++] = choice;
}

static bool has_messages(struct stepped *stepped, struct stepped_runtime *runtime, struct shard *shard)
{
	if (shard->must_retry)
		return runtime->retry_ns[shard->index] <= now_of(stepped);
	return shard_has_messages(shard);
}

static bool has_timers(const struct stepped *stepped, const struct shard *shard)
{
	return shard->timers != NULL && shard->timers->wake_ns <= now_of(stepped);
}

static bool has_completions(const struct shard *shard)
{
	if (shard->io->in_flight == 0)
		return false;
	if (shard->io->backend == &io_backend_simulated)
		return simulated_is_ready(shard->io);
	return faulty_is_ready(shard->io);
}

static void gather_shard(struct stepped *stepped, struct stepped_runtime *runtime, struct shard *shard)
{
	struct choice choice = { .runtime = runtime, .shard = shard };
	bool messages = has_messages(stepped, runtime, shard);
	bool timers = has_timers(stepped, shard);
	bool completions = has_completions(shard);
	if (stepped->options.policy == STEPPED_FIFO) {
		choice.kind = CHOICE_TURN;
		if (messages || timers || completions || shard_is_ready(shard))
			add_choice(stepped, choice);
		return;
	}
	const struct {
		enum choice_kind kind;
		bool is_there;
	} others[] = { { CHOICE_MESSAGES, messages },
		       { CHOICE_TIMERS, timers },
		       { CHOICE_POLL, completions } };
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		choice.kind = others[i].kind;
		if (others[i].is_there)
			add_choice(stepped, choice);
	}
	choice.kind = CHOICE_TASK;
	for (unsigned queue = 0; queue < QUEUE_COUNT; queue++) {
		struct task *task = shard->ready[queue].first;
		for (uint32_t i = 0; i < shard->ready[queue].count; i++, task = task->ready_next) {
			choice.task = task;
			add_choice(stepped, choice);
		}
	}
}

static void gather(struct stepped *stepped)
{
	stepped->choice_count = 0;
	for (struct list *node = stepped->runtimes.next; node != &stepped->runtimes; node = node->next) {
		struct stepped_runtime *runtime = CONTAINER_OF(node, struct stepped_runtime, link);
		for (uint32_t i = 0; i < runtime->runtime->shard_count; i++)
			gather_shard(stepped, runtime, runtime->runtime->shards[i]);
	}
	for (struct list *node = stepped->clients.next; node != &stepped->clients; node = node->next) {
		struct client *client = CONTAINER_OF(node, struct client, link);
		if (is_over(&client->wait))
			add_choice(stepped, (struct choice) { .kind = CHOICE_CLIENT, .client = client });
	}
}

/* --- choosing --- */

/* The same for the same actor as long as it lives; orders shards before clients. */
static uint64_t actor_of(const struct choice *choice)
{
	if (choice->kind == CHOICE_CLIENT)
		return (uint64_t)CHOICE_CLIENT << 60 | choice->client->number;
	uint64_t task = choice->task != NULL ? choice->task->number : 0;
	return (uint64_t)choice->kind << 60 | (choice->runtime->number & 0xffff) << 44 |
	       (uint64_t)choice->shard->index << 36 | (task & (((uint64_t)1 << 36) - 1));
}

/* The next one after the one that ran last, round and round. */
static const struct choice *choose_fifo(struct stepped *stepped)
{
	const struct choice *first = NULL;
	const struct choice *next = NULL;
	for (size_t i = 0; i < stepped->choice_count; i++) {
		const struct choice *choice = &stepped->choices[i];
		uint64_t actor = actor_of(choice);
		if (first == NULL || actor < actor_of(first))
			first = choice;
		if (actor > stepped->fifo_last && (next == NULL || actor < actor_of(next)))
			next = choice;
	}
	if (next == NULL)
		next = first;
	stepped->fifo_last = actor_of(next);
	return next;
}

static void pct_begin_window(struct stepped *stepped)
{
	struct pct *pct = &stepped->pct;
	pct->seed = random_next(&stepped->random);
	pct->step = 0;
	pct->lowered_count = 0;
	for (uint32_t i = 0; i < stepped->options.pct_changes; i++)
		pct->changes[i] = random_below(&stepped->random, stepped->options.pct_window);
}

static uint64_t pct_priority(const struct pct *pct, uint64_t actor)
{
	for (unsigned i = 0; i < pct->lowered_count; i++) {
		if (pct->lowered[i] == actor)
			return PCT_LOWERED_MAX - i;
	}
	return random_at(pct->seed, actor) | (uint64_t)1 << 63;
}

static void pct_lower(struct stepped *stepped, uint64_t actor)
{
	struct pct *pct = &stepped->pct;
	stepped->counts[STEPPED_CHANGES]++;
	unsigned kept = 0;
	for (unsigned i = 0; i < pct->lowered_count; i++) {
		if (pct->lowered[i] != actor)
			pct->lowered[kept++] = pct->lowered[i];
	}
	pct->lowered[kept++] = actor;
	pct->lowered_count = kept;
}

static const struct choice *choose_pct(struct stepped *stepped)
{
	struct pct *pct = &stepped->pct;
	if (pct->step % stepped->options.pct_window == 0 || pct->lowered_count == PCT_LOWERED_MAX)
		pct_begin_window(stepped);
	const struct choice *best = NULL;
	uint64_t best_priority = 0;
	for (size_t i = 0; i < stepped->choice_count; i++) {
		uint64_t priority = pct_priority(pct, actor_of(&stepped->choices[i]));
		if (best == NULL || priority > best_priority) {
			best = &stepped->choices[i];
			best_priority = priority;
		}
	}
	uint64_t actor = actor_of(best);
	pct->last_count = actor == pct->last && stepped->choice_count > 1 ? pct->last_count + 1 : 0;
	pct->last = actor;
	bool falls = pct->last_count >= PCT_SAME_MAX;
	for (uint32_t i = 0; i < stepped->options.pct_changes; i++)
		falls |= pct->changes[i] == pct->step;
	if (falls)
		pct_lower(stepped, actor);
	pct->step++;
	return best;
}

static struct choice choose(struct stepped *stepped)
{
	switch (stepped->options.policy) {
	case STEPPED_FIFO:
		return *choose_fifo(stepped);
	case STEPPED_PCT:
		return *choose_pct(stepped);
	default:
		return stepped->choices[random_below(&stepped->random, stepped->choice_count)];
	}
}

/* --- carrying out --- */

static void run_in_shard(struct stepped *stepped, const struct choice *choice)
{
	struct shard *shard = choice->shard;
	uint64_t *retry_ns = &choice->runtime->retry_ns[shard->index];
	ASSERT(shard_current() == NULL);
	shard_set_current(shard);
	hold_take(shard);
	shard_read_clock(shard);
	switch (choice->kind) {
	case CHOICE_TURN:
		stepped->counts[STEPPED_TASKS]++;
		shard_turn(shard);
		break;
	case CHOICE_TASK:
		stepped->counts[STEPPED_TASKS]++;
		shard_run_task(shard, choice->task);
		break;
	case CHOICE_MESSAGES:
		stepped->counts[STEPPED_MESSAGES]++;
		shard_receive(shard);
		break;
	case CHOICE_TIMERS:
		stepped->counts[STEPPED_TIMERS]++;
		shard_expire_timers(shard);
		break;
	case CHOICE_POLL:
		stepped->counts[STEPPED_POLLS]++;
		(void)io_poll(shard->io, 0);
		break;
	case CHOICE_CLIENT:
		break;
	}
	hold_give(shard);
	shard_set_current(NULL);
	if (!shard->must_retry)
		*retry_ns = UINT64_MAX;
	else if (choice->kind == CHOICE_TURN || choice->kind == CHOICE_MESSAGES)
		*retry_ns = now_of(stepped) + RETRY_NS;
}

static void run_client(struct stepped *stepped, struct client *client)
{
	stepped->counts[STEPPED_CLIENTS]++;
	ASSERT(running == NULL);
	running = client;
	fiber_switch(&stepped->thread, &client->stack->fiber, 0);
	running = NULL;
	ASSERT(shard_current() == NULL);
	if (!client->ended)
		return;
	stack_pool_give(&stepped->stacks, client->stack);
	list_remove(&client->link);
	free(client);
}

static void perform(struct stepped *stepped, const struct choice *choice)
{
	uint64_t actor = actor_of(choice);
	uint64_t detail = 0;
	if (choice->kind == CHOICE_TASK)
		detail = checksum64(choice->task->type->name, strlen(choice->task->type->name), 0);
	if (choice->kind == CHOICE_CLIENT) {
		detail = checksum64(choice->client->name, strlen(choice->client->name), 0);
		run_client(stepped, choice->client);
	} else {
		run_in_shard(stepped, choice);
	}
	if (choice->kind == CHOICE_TURN)
		detail =
			shard_counters(choice->shard)->switches << 32 ^ choice->shard->counters.tasks_spawned;
	mix_words(stepped, actor, detail, stepped->choice_count);
}

/* --- time --- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When something happens by itself; UINT64_MAX: never. */
static uint64_t next_event_ns(const struct stepped *stepped)
{
	uint64_t next = simulated_next_event_ns(stepped->world);
	for (struct list *node = stepped->runtimes.next; node != &stepped->runtimes; node = node->next) {
		const struct stepped_runtime *runtime = CONTAINER_OF(node, struct stepped_runtime, link);
		for (uint32_t i = 0; i < runtime->runtime->shard_count; i++) {
			const struct task *timer = runtime->runtime->shards[i]->timers;
			next = earlier(next, runtime->retry_ns[i]);
			if (timer != NULL)
				next = earlier(next, timer->wake_ns);
		}
	}
	for (struct list *node = stepped->clients.next; node != &stepped->clients; node = node->next)
		next = earlier(next, CONTAINER_OF(node, struct client, link)->wait.wake_ns);
	return stepped->waiting != NULL ? earlier(next, stepped->waiting->wake_ns) : next;
}

static bool advance(struct stepped *stepped, enum stepped_count why)
{
	uint64_t next = next_event_ns(stepped);
	if (next == UINT64_MAX)
		return false;
	stepped->counts[why]++;
	simulated_advance_to(stepped->world, next);
	return true;
}

/* So that slices end, delays pass and I/O completes while tasks run. */
static void spend_time(struct stepped *stepped)
{
	uint64_t step_ns = stepped->options.step_ns_max;
	if (one_in(stepped, STEP_LONG_ONE_IN))
		step_ns *= 10;
	simulated_advance_to(stepped->world, now_of(stepped) + random_below(&stepped->random, step_ns + 1));
}

/* --- being stuck --- */

static void print_place(FILE *stream, const void *place)
{
	Dl_info info;
	if (place == NULL || dladdr(place, &info) == 0 || info.dli_fname == NULL)
		return;
	const char *name = strrchr(info.dli_fname, '/');
	(void)fprintf(stream, " at %s+0x%zx", name != NULL ? name + 1 : info.dli_fname,
		      (size_t)((const char *)place - (const char *)info.dli_fbase));
}

static void print_task(FILE *stream, const struct task *task)
{
	static const char *const waits[] = {
		[WAIT_RESUME] = "waits to be resumed",
		[WAIT_LIST] = "waits in a list",
		[WAIT_JOIN] = "waits for tasks",
		[WAIT_IO] = "waits for I/O",
		[WAIT_TIME] = "sleeps",
		[WAIT_CALL] = "waits for another shard",
	};
	(void)fprintf(stream, "    task %" PRIu64 " \"%s\"", task->number, task->type->name);
	if (task->state == TASK_RUNNABLE || task->state == TASK_RUNNING) {
		(void)fprintf(stream, " is ready\n");
		return;
	}
	(void)fprintf(stream, " %s", waits[task->wait]);
	if (task->wait == WAIT_TIME)
		(void)fprintf(stream, " until %" PRIu64, task->wake_ns);
	else
		print_place(stream, task->wait_place);
	(void)fprintf(stream, "\n");
}

struct live_tasks {
	const struct task **tasks;
	uint32_t count;
	uint32_t capacity;
};

static void note_live(void *context, const struct task *task)
{
	struct live_tasks *live = context;
	if (live->count < live->capacity)
		live->tasks[live->count++] = task;
}

static int compare_tasks(const void *a, const void *b)
{
	uint64_t first = (*(const struct task *const *)a)->number;
	uint64_t second = (*(const struct task *const *)b)->number;
	return first < second ? -1 : first > second;
}

static void print_shard(FILE *stream, const struct shard *shard)
{
	(void)fprintf(stream, "  shard %u: %u tasks, %u requests of I/O\n", shard->index, shard->live,
		      shard->io->in_flight);
	struct live_tasks live = { .capacity = shard->live };
	live.tasks = calloc(live.capacity + 1, sizeof(*live.tasks));
	ASSERT(live.tasks != NULL);
	stack_pool_each_live(&shard->stacks, note_live, &live);
	qsort(live.tasks, live.count, sizeof(*live.tasks), compare_tasks);
	for (uint32_t i = 0; i < live.count; i++)
		print_task(stream, live.tasks[i]);
	free(live.tasks);
}

static void print_wait(FILE *stream, const struct wait *wait)
{
	if (wait->is_over == NULL)
		(void)fprintf(stream, " is ready\n");
	else if (wait->wake_ns != UINT64_MAX)
		(void)fprintf(stream, " sleeps until %" PRIu64 "\n", wait->wake_ns);
	else
		(void)fprintf(stream, " waits\n");
}

/* The caller frees it. */
static char *make_report(struct stepped *stepped, const char *why)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	ASSERT(stream != NULL);
	(void)fprintf(stream, "%s (seed %" PRIu64 ", %s, step %" PRIu64 ", at %" PRIu64 " ns)\n", why,
		      stepped->options.seed, stepped_policy_name(stepped->options.policy),
		      stepped->counts[STEPPED_STEPS], now_of(stepped));
	for (struct list *node = stepped->runtimes.next; node != &stepped->runtimes; node = node->next) {
		const struct stepped_runtime *runtime = CONTAINER_OF(node, struct stepped_runtime, link);
		(void)fprintf(stream, "  runtime %" PRIu64 "\n", runtime->number);
		for (uint32_t i = 0; i < runtime->runtime->shard_count; i++)
			print_shard(stream, runtime->runtime->shards[i]);
	}
	for (struct list *node = stepped->clients.next; node != &stepped->clients; node = node->next) {
		const struct client *client = CONTAINER_OF(node, struct client, link);
		(void)fprintf(stream, "  client %" PRIu64 " \"%s\"", client->number, client->name);
		print_wait(stream, &client->wait);
	}
	if (stepped->waiting != NULL) {
		(void)fprintf(stream, "  the thread");
		print_wait(stream, stepped->waiting);
	}
	ASSERT(fclose(stream) == 0);
	return text;
}

static void be_stuck(struct stepped *stepped, const char *why)
{
	char *report = make_report(stepped, why);
	uint64_t at = stepped->counts[STEPPED_STEPS] + 1;
	if (stepped->options.stuck == NULL || stepped->stuck_at == at) {
		(void)fprintf(stderr, "stepped: %s", report);
		abort();
	}
	stepped->stuck_at = at;
	stepped->options.stuck(stepped->options.context, report);
	free(report);
}

/* --- steps --- */

/* False: nothing can run, and nothing is to come. */
static bool find_choices(struct stepped *stepped)
{
	if (stepped->options.policy != STEPPED_FIFO && one_in(stepped, LEAP_ONE_IN))
		(void)advance(stepped, STEPPED_LEAPS);
	gather(stepped);
	return stepped->choice_count > 0;
}

static bool make_step(struct stepped *stepped)
{
	ASSERT(running == NULL);
	ASSERT(!stepped->in_step);
	ASSERT(shard_current() == NULL);
	if (stepped->steps_limit != 0 && stepped->counts[STEPPED_STEPS] >= stepped->steps_limit) {
		stepped->steps_limit += stepped->options.steps_max;
		be_stuck(stepped, "no end after so many steps");
	}
	stepped->in_step = true;
	bool can_run = find_choices(stepped);
	bool goes_on = can_run || advance(stepped, STEPPED_ADVANCES);
	if (goes_on)
		stepped->counts[STEPPED_STEPS]++;
	if (can_run) {
		struct choice choice = choose(stepped);
		perform(stepped, &choice);
		spend_time(stepped);
	}
	if (goes_on && stepped->options.each != NULL)
		stepped->options.each(stepped->options.context);
	stepped->in_step = false;
	return goes_on;
}

/* --- waiting --- */

static void wait_as_client(struct client *client, struct wait wait)
{
	client->wait = wait;
	fiber_switch(&client->stack->fiber, &client->stepped->thread, 0);
	ASSERT(running == client);
}

static void wait_as_thread(struct stepped *stepped, struct wait wait)
{
	struct wait *outer = stepped->waiting;
	stepped->waiting = &wait;
	while (!is_over(&wait)) {
		if (!make_step(stepped))
			be_stuck(stepped, "nothing can run and nothing is to come");
	}
	stepped->waiting = outer;
}

static void wait_until(struct stepped *stepped, struct wait wait)
{
	ASSERT(pthread_equal(pthread_self(), stepped->owner) != 0);
	ASSERT(shard_current() == NULL);
	if (is_over(&wait))
		return;
	if (running == NULL) {
		wait_as_thread(stepped, wait);
		return;
	}
	ASSERT(running->stepped == stepped);
	wait_as_client(running, wait);
}

static void stepper_wait(struct stepper *stepper, bool (*over)(void *context), void *context)
{
	struct wait wait = { .is_over = over, .context = context, .wake_ns = UINT64_MAX };
	wait_until(stepped_of(stepper), wait);
}

struct sleep {
	const struct stepped *stepped;
	uint64_t until_ns;
};

static bool is_awake(void *argument)
{
	const struct sleep *sleep = argument;
	return now_of(sleep->stepped) >= sleep->until_ns;
}

static void sleep_in_world(void *context, uint64_t ns)
{
	struct stepped *stepped = context;
	uint64_t now = now_of(stepped);
	struct sleep sleep = { stepped, ns < UINT64_MAX - now ? now + ns : UINT64_MAX };
	wait_until(stepped, (struct wait) { is_awake, &sleep, sleep.until_ns });
}

void stepped_yield(struct stepped *stepped)
{
	if (running == NULL) {
		(void)stepped_step(stepped);
		return;
	}
	ASSERT(running->stepped == stepped);
	wait_as_client(running, (struct wait) { .wake_ns = UINT64_MAX });
}

bool stepped_step(struct stepped *stepped)
{
	ASSERT(pthread_equal(pthread_self(), stepped->owner) != 0);
	return make_step(stepped);
}

static void let_others(struct stepped *stepped)
{
	if (stepped->options.policy != STEPPED_FIFO && one_in(stepped, YIELD_ONE_IN))
		stepped_yield(stepped);
}

static void stepper_lends_again(struct stepper *stepper)
{
	struct stepped *stepped = stepped_of(stepper);
	ASSERT(stepped == installed);
	stepped->counts[STEPPED_AGAIN]++;
	let_others(stepped);
}

static bool stepper_lends(struct stepper *stepper, const struct shard *shard)
{
	struct stepped *stepped = stepped_of(stepper);
	ASSERT(stepped == installed);
	let_others(stepped);
	bool lent = random_below(&stepped->random, 256) < stepped->options.borrows_in_256;
	stepped->counts[lent ? STEPPED_BORROWED : STEPPED_REFUSED]++;
	mix_words(stepped, shard->index, lent, 0);
	return lent;
}

/* --- stacks for the next one --- */

enum spare_kind { SPARE_OF_SHARD, SPARE_OF_CLIENTS, SPARE_KINDS };

static struct spares {
	bool are_kept;
	struct stack_pool pools[SPARE_KINDS][SPARES_MAX];
	unsigned counts[SPARE_KINDS];
} spares;

void stepped_keep_stacks(void)
{
	spares.are_kept = true;
}

/* Into an empty pool. */
static void take_spare(enum spare_kind kind, struct stack_pool *pool)
{
	if (spares.counts[kind] > 0)
		stack_pool_move(pool, &spares.pools[kind][--spares.counts[kind]]);
}

static void give_spare(enum spare_kind kind, struct stack_pool *pool)
{
	if (!spares.are_kept || spares.counts[kind] == SPARES_MAX) {
		stack_pool_destroy(pool);
		return;
	}
	struct stack_pool *spare = &spares.pools[kind][spares.counts[kind]++];
	stack_pool_init(spare);
	stack_pool_move(spare, pool);
}

/* --- runtimes --- */

static void stepper_start(struct stepper *stepper, struct runtime *runtime)
{
	struct stepped *stepped = stepped_of(stepper);
	ASSERT(pthread_equal(pthread_self(), stepped->owner) != 0);
	struct stepped_runtime *added = calloc(1, sizeof(*added));
	ASSERT(added != NULL);
	added->runtime = runtime;
	added->number = ++stepped->runtime_numbers;
	runtime->starting = runtime->shard_count;
	bool all = true;
	for (uint32_t i = 0; i < runtime->shard_count; i++) {
		struct shard *shard = runtime->shards[i];
		shard->fiber = stepped->thread;
		take_spare(SPARE_OF_SHARD, &shard->stacks);
		shard_read_clock(shard);
		added->retry_ns[i] = UINT64_MAX;
		all &= shard_start(shard);
	}
	/* Where one has no I/O the runtime comes to nothing, and no shard makes a step. */
	if (all)
		list_add_last(&stepped->runtimes, &added->link);
	else
		free(added);
}

static void stepper_stop(struct stepper *stepper, struct runtime *runtime)
{
	struct stepped *stepped = stepped_of(stepper);
	for (struct list *node = stepped->runtimes.next; node != &stepped->runtimes; node = node->next) {
		struct stepped_runtime *stopped = CONTAINER_OF(node, struct stepped_runtime, link);
		if (stopped->runtime != runtime)
			continue;
		list_remove(&stopped->link);
		free(stopped);
		break;
	}
	for (uint32_t i = 0; i < runtime->shard_count; i++) {
		struct shard *shard = runtime->shards[i];
		ASSERT(shard->live == 0);
		give_spare(SPARE_OF_SHARD, &shard->stacks);
		if (shard->io != NULL)
			io_destroy(shard->io);
	}
}

/* --- clients --- */

static void client_main(void *argument)
{
	fiber_started();
	struct client *client = argument;
	client->function(client->argument);
	client->ended = true;
	fiber_switch(&client->stack->fiber, &client->stepped->thread, 1);
	__builtin_trap();
}

void stepped_start(struct stepped *stepped, const char *name, void (*function)(void *argument),
		   void *argument)
{
	struct client *client = calloc(1, sizeof(*client));
	ASSERT(client != NULL);
	client->stack = stack_pool_take(&stepped->stacks, CLIENT_STACK_BYTES);
	ASSERT(client->stack != NULL);
	client->stepped = stepped;
	client->number = ++stepped->client_numbers;
	client->name = name;
	client->function = function;
	client->argument = argument;
	client->wait.wake_ns = UINT64_MAX;
	struct fiber *fiber = &client->stack->fiber;
	context_prepare(&fiber->context, fiber->stack_low, fiber->stack_size, client_main, client);
	list_add_last(&stepped->clients, &client->link);
}

static bool has_no_clients(void *context)
{
	const struct stepped *stepped = context;
	return list_is_empty(&stepped->clients);
}

void stepped_wait_clients(struct stepped *stepped)
{
	ASSERT(running == NULL);
	wait_until(stepped, (struct wait) { has_no_clients, stepped, UINT64_MAX });
}

void stepped_run_clients(struct stepped *stepped, const char *name, void (*function)(void *argument),
			 void *arguments, size_t argument_size, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		stepped_start(stepped, name, function, (char *)arguments + i * argument_size);
	stepped_wait_clients(stepped);
}

/* --- schedulers --- */

struct stepped *stepped_create(const struct stepped_options *options, struct simulated_world *world)
{
	ASSERT(running == NULL);
	ASSERT(options->policy < STEPPED_POLICY_COUNT);
	struct stepped *stepped = calloc(1, sizeof(*stepped));
	ASSERT(stepped != NULL);
	stepped->stepper = (struct stepper) {
		.start = stepper_start,
		.stop = stepper_stop,
		.wait = stepper_wait,
		.lends = stepper_lends,
		.lends_again = stepper_lends_again,
	};
	stepped->options = *options;
	struct stepped_options *effective = &stepped->options;
	if (effective->pct_changes == 0)
		effective->pct_changes = PCT_CHANGES_DEFAULT;
	if (effective->pct_changes > PCT_LOWERED_MAX)
		effective->pct_changes = PCT_LOWERED_MAX;
	if (effective->pct_window == 0)
		effective->pct_window = PCT_WINDOW_DEFAULT;
	if (effective->step_ns_max == 0)
		effective->step_ns_max = STEP_NS_DEFAULT;
	if (effective->borrows_in_256 == 0)
		effective->borrows_in_256 = BORROWS_DEFAULT;
	stepped->steps_limit = effective->steps_max;
	stepped->world = world;
	stepped->random = random_stream(random_at(effective->seed, 0));
	stepped->owner = pthread_self();
	/* The C library reads all mappings to find the stack of the first thread. */
	static _Thread_local struct fiber own;
	if (own.stack_low == NULL)
		fiber_of_thread(&own);
	stepped->thread = own;
	list_init(&stepped->runtimes);
	list_init(&stepped->clients);
	stack_pool_init(&stepped->stacks);
	take_spare(SPARE_OF_CLIENTS, &stepped->stacks);
	return stepped;
}

void stepped_destroy(struct stepped *stepped)
{
	if (stepped == NULL)
		return;
	ASSERT(list_is_empty(&stepped->runtimes));
	ASSERT(list_is_empty(&stepped->clients));
	if (installed == stepped)
		stepped_install(NULL, NULL);
	give_spare(SPARE_OF_CLIENTS, &stepped->stacks);
	free(stepped->choices);
	free(stepped);
}

void stepped_install(struct stepped *stepped, const char *io_backend)
{
	ASSERT(running == NULL);
	installed = stepped;
	runtime_stepper = stepped != NULL ? &stepped->stepper : NULL;
	simulated_install(stepped != NULL ? stepped->world : NULL);
	io_set_stand_in(stepped != NULL ? io_backend : NULL);
	if (stepped != NULL)
		clock_set_sleeper(sleep_in_world, stepped);
}
