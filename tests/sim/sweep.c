/*
 * sweep.c: the loop over histories, faults and n. The cases run in a child process, so that one that fails,
 * crashes or hangs is told by its name, and the next one goes on.
 */
#include "sim/sweep.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "base/sanitizer.h"
#include "cascade.h"
#include "sim/failure.h"

#if ADDRESS_SANITIZER
#include <sanitizer/lsan_interface.h>
#endif

enum { FAULTS_MAX = 64, FAILURES_MAX = 20, HANG_SECONDS = 120 };

/* --- which cases --- */

/* The loop's place: each fault at each n, once and lasting, history after history. */
struct place {
	unsigned history;
	unsigned fault;
	unsigned lasting; /* 0 or 1 */
	uint64_t n;
};

struct cell {
	uint64_t runs, fired, stopped, torn;
	uint32_t heard;
};

/* What a child leaves behind, however it ends. */
struct shared {
	struct place place; /* under way, or the next */
	bool done;
	char failure[SIM_FAILURE_BYTES];
	uint64_t counts[SWEEP_HISTORY_COUNT][FAULTS_MAX];
	struct cell cells[SWEEP_HISTORY_COUNT][FAULTS_MAX][2];
	struct sweep_outcome calm[SWEEP_HISTORY_COUNT]; /* when nothing goes wrong */
};

static uint64_t stride_of(const struct sweep *sweep, const struct shared *shared, const struct place *place)
{
	uint64_t most = shared->counts[place->history][place->fault] / (sweep->least > 0 ? sweep->least : 1);
	uint64_t stride = place->lasting != 0 ? sweep->one_in_lasting : sweep->one_in;
	if (stride > most)
		stride = most;
	return stride > 0 ? stride : 1;
}

/* Where the samples of a fault begin: another n for each seed. */
static uint64_t first_n(const struct sweep *sweep, const struct shared *shared, const struct place *place)
{
	uint64_t which = (place->history * (uint64_t)FAULTS_MAX + place->fault) * 2 + place->lasting;
	return 1 + random_at(sweep->seed, which) % stride_of(sweep, shared, place);
}

static bool is_asked_for(const struct sweep *sweep, const struct place *place)
{
	return sweep->histories == 0 || (sweep->histories >> place->history & 1) != 0;
}

/* The first place of the next fault, which may be none. False: there is none. */
static bool next_fault(const struct sweep *sweep, const struct shared *shared, struct place *place)
{
	if (++place->lasting == 2) {
		place->lasting = 0;
		place->fault++;
	}
	if (place->fault == sweep_fault_count()) {
		place->fault = 0;
		place->history++;
	}
	if (place->history == SWEEP_HISTORY_COUNT)
		return false;
	place->n = first_n(sweep, shared, place);
	return true;
}

/* The place behind it; false: there is none. With every n looked at, the loop ends where nothing fired. */
static bool advance(const struct sweep *sweep, const struct shared *shared, struct place *place)
{
	uint64_t count = shared->counts[place->history][place->fault];
	uint64_t stride = stride_of(sweep, shared, place);
	uint64_t last = stride == 1 ? count + 1 : count;
	if (is_asked_for(sweep, place) && place->n + stride <= last) {
		place->n += stride;
		return true;
	}
	while (next_fault(sweep, shared, place))
		if (is_asked_for(sweep, place) && place->n <= shared->counts[place->history][place->fault])
			return true;
	return false;
}

/* --- the child --- */

static void note(struct shared *shared, const struct place *place, const struct sweep_outcome *outcome)
{
	struct cell *cell = &shared->cells[place->history][place->fault][place->lasting];
	const struct sweep_fault *fault = &sweep_faults[place->fault];
	uint64_t count = shared->counts[place->history][place->fault];
	bool may_miss = (fault->traits & SWEEP_MAY_MISS) != 0;
	if ((outcome->fired > 0) != (place->n <= count) && !may_miss)
		sim_fail("of %" PRIu64 " the one at %" PRIu64 " fired %" PRIu64 " times", count, place->n,
			 outcome->fired);
	if (place->lasting == 0 && (outcome->fired > 1 || outcome->stopped > 1))
		sim_fail("it happened %" PRIu64 " times, and %u shards stopped", outcome->fired,
			 outcome->stopped);
	cell->runs++;
	cell->fired += outcome->fired > 0;
	cell->stopped += outcome->stopped > 0;
	cell->torn += outcome->torn;
	cell->heard |= outcome->heard;
}

static void run_place(struct shared *shared, const struct place *place)
{
	struct sweep_case it = { .history = (enum sweep_history)place->history,
				 .fault = &sweep_faults[place->fault],
				 .n = place->n,
				 .lasting = place->lasting != 0 };
	struct sweep_outcome outcome;
	(void)alarm(HANG_SECONDS);
	sweep_run_case(&it, &outcome);
	note(shared, place, &outcome);
#if ADDRESS_SANITIZER
	if (__lsan_do_recoverable_leak_check() != 0)
		sim_fail("it left memory behind");
#endif
}

static void run_places(const struct sweep *sweep, struct shared *shared)
{
	sim_failure_to(shared->failure);
	for (;;) {
		struct place next = shared->place;
		run_place(shared, &shared->place);
		if (!advance(sweep, shared, &next))
			break;
		shared->place = next;
	}
	shared->done = true;
}

/* --- the parent --- */

/* True: the child ended well. */
static bool await(pid_t child, struct shared *shared)
{
	int status;
	if (waitpid(child, &status, 0) != child)
		abort();
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && shared->done)
		return true;
	if (shared->failure[0] != '\0')
		return false;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		(void)snprintf(shared->failure, SIM_FAILURE_BYTES, "no end after %d s", HANG_SECONDS);
	else
		(void)snprintf(shared->failure, SIM_FAILURE_BYTES, "the process ended with %s %d",
			       WIFSIGNALED(status) ? "signal" : "status",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return false;
}

static void tell_failure(const struct sweep *sweep, const struct shared *shared)
{
	const struct place *place = &shared->place;
	(void)fprintf(stderr, "failed: %s\nreproduce: %s %s %s %" PRIu64 "%s\n", shared->failure,
		      sweep->program, sweep_history_name((enum sweep_history)place->history),
		      sweep_faults[place->fault].name, place->n, place->lasting != 0 ? " lasting" : "");
}

/* --- what happened --- */

static void print_heard(uint32_t heard)
{
	for (unsigned status = 1; status < 32; status++)
		if ((heard >> status & 1) != 0)
			(void)printf("%s%s", (heard & ((1u << status) - 2)) != 0 ? ", " : "",
				     cascade_strerror((cascade_status)status));
	(void)printf("\n");
}

/* Over all histories. */
static struct cell sum_cells(const struct shared *shared, unsigned fault, unsigned lasting)
{
	struct cell sum = { 0 };
	for (unsigned history = 0; history < SWEEP_HISTORY_COUNT; history++) {
		const struct cell *cell = &shared->cells[history][fault][lasting];
		sum.runs += cell->runs;
		sum.fired += cell->fired;
		sum.stopped += cell->stopped;
		sum.torn += cell->torn;
		sum.heard |= cell->heard;
	}
	return sum;
}

static void print_cells(const struct shared *shared)
{
	(void)printf("%-24s %-7s %6s %6s %6s %7s %5s  heard\n", "fault", "", "places", "runs", "fired",
		     "stopped", "torn");
	for (unsigned fault = 0; fault < sweep_fault_count(); fault++) {
		uint64_t places = 0;
		for (unsigned history = 0; history < SWEEP_HISTORY_COUNT; history++)
			places += shared->counts[history][fault];
		for (unsigned lasting = 0; lasting < 2; lasting++) {
			struct cell sum = sum_cells(shared, fault, lasting);
			(void)printf("%-24s %-7s %6" PRIu64 " %6" PRIu64 " %6" PRIu64 " %7" PRIu64
				     " %5" PRIu64 "  ",
				     lasting == 0 ? sweep_faults[fault].name : "",
				     lasting == 0 ? "once" : "lasting", places, sum.runs, sum.fired,
				     sum.stopped, sum.torn);
			print_heard(sum.heard);
		}
	}
}

static void print_histories(const struct shared *shared)
{
	for (unsigned history = 0; history < SWEEP_HISTORY_COUNT; history++) {
		const struct sweep_outcome *calm = &shared->calm[history];
		(void)printf("%s: %" PRIu64 " flushes, %" PRIu64 " merges, %" PRIu64 " laps, %" PRIu64
			     " commits replayed\n",
			     sweep_history_name((enum sweep_history)history), calm->flushes, calm->merges,
			     calm->laps, calm->replayed);
	}
}

/* Each fault was met somewhere; else the histories have become too small. */
static unsigned check_all_fired(const struct shared *shared)
{
	unsigned missing = 0;
	for (unsigned fault = 0; fault < sweep_fault_count(); fault++) {
		if (sum_cells(shared, fault, 0).fired + sum_cells(shared, fault, 1).fired > 0)
			continue;
		(void)fprintf(stderr, "%s never happened\n", sweep_faults[fault].name);
		missing++;
	}
	return missing;
}

/* --- the loop --- */

static void look_at_calm(struct shared *shared, unsigned history)
{
	static const struct sweep_fault nothing = { .name = "nothing", .of_memory = true };
	struct sweep_case it = { .history = (enum sweep_history)history, .fault = &nothing, .n = UINT64_MAX };
	sweep_count(it.history, shared->counts[history]);
	sweep_run_case(&it, &shared->calm[history]);
}

unsigned sweep_run(const struct sweep *sweep)
{
	struct shared *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned failures = 0;
	if (shared == MAP_FAILED || sweep_fault_count() > FAULTS_MAX)
		abort();
	for (unsigned history = 0; history < SWEEP_HISTORY_COUNT; history++)
		look_at_calm(shared, history);
	shared->place.n = first_n(sweep, shared, &shared->place);
	if (!is_asked_for(sweep, &shared->place) && !advance(sweep, shared, &shared->place))
		abort();
	while (!shared->done && failures < FAILURES_MAX) {
		(void)fflush(NULL);
		shared->failure[0] = '\0';
		pid_t child = fork();
		if (child < 0)
			abort();
		if (child == 0) {
			run_places(sweep, shared);
			_exit(0);
		}
		if (await(child, shared))
			break;
		failures++;
		tell_failure(sweep, shared);
		shared->done = !advance(sweep, shared, &shared->place);
	}
	print_histories(shared);
	print_cells(shared);
	if (sweep->histories == 0)
		failures += check_all_fired(shared);
	(void)munmap(shared, sizeof(*shared));
	return failures;
}

static int run_whole_history(const char *program, enum sweep_history history)
{
	struct sweep sweep = {
		.program = program, .one_in = 1, .one_in_lasting = 1, .histories = 1u << history
	};
	return sweep_run(&sweep) == 0 ? 0 : 1;
}

int sweep_reproduce(const char *program, int count, char **arguments)
{
	struct sweep_case it = { .history = SWEEP_HISTORY_COUNT };
	struct sweep_outcome outcome;
	for (unsigned history = 0; history < SWEEP_HISTORY_COUNT; history++)
		if (strcmp(arguments[0], sweep_history_name((enum sweep_history)history)) == 0)
			it.history = (enum sweep_history)history;
	if (count == 1 && it.history != SWEEP_HISTORY_COUNT)
		return run_whole_history(program, it.history);
	for (unsigned fault = 0; fault < sweep_fault_count() && count > 1; fault++)
		if (strcmp(arguments[1], sweep_faults[fault].name) == 0)
			it.fault = &sweep_faults[fault];
	it.n = count > 2 ? strtoull(arguments[2], NULL, 0) : 0;
	it.lasting = count == 4;
	if (it.history == SWEEP_HISTORY_COUNT || it.fault == NULL || it.n == 0 || count > 4)
		return 2;
	sim_failure_verbose();
	sweep_run_case(&it, &outcome);
	(void)printf("fired %" PRIu64 " times, %u shards stopped, heard: ", outcome.fired, outcome.stopped);
	print_heard(outcome.heard);
	return 0;
}
