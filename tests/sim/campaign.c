#include "sim/campaign.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/seed.h"

enum { LOOK_NS = 20 * 1000 * 1000, PROGRESS_SECONDS = 10, SECOND = 1000 * 1000 * 1000 };

/* What a child leaves behind, however it ends. */
struct shared {
	_Atomic uint64_t seed; /* under way */
	_Atomic uint64_t done; /* seeds that ended well */
	struct tally tally;    /* of those */
	char failure[SIM_FAILURE_BYTES];
};

static struct shared *share(void)
{
	void *memory =
		mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		abort();
	return memory;
}

static uint64_t real_ns(void)
{
	struct timespec time;
	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

/* --- the child --- */

static void work(const struct campaign *campaign, uint64_t from, uint64_t end, uint64_t deadline_ns,
		 struct shared *shared)
{
	sim_failure_to(shared->failure);
	stepped_keep_stacks();
	for (uint64_t seed = from; seed < end; seed++) {
		if (deadline_ns != 0 && real_ns() >= deadline_ns)
			break;
		struct tally tally = { 0 };
		shared->seed = seed;
		uint64_t trace = run_seed(seed, &campaign->limits, &tally);
		tally_add(&shared->tally, &tally);
		shared->done++;
		if (campaign->hash)
			(void)printf("seed %" PRIu64 ": %016" PRIx64 "\n", seed, trace);
	}
	(void)fflush(stdout);
}

static pid_t start(const struct campaign *campaign, uint64_t from, uint64_t end, uint64_t deadline_ns,
		   struct shared *shared)
{
	(void)fflush(stdout);
	(void)fflush(stderr);
	pid_t child = fork();
	if (child < 0)
		abort();
	if (child == 0) {
		work(campaign, from, end, deadline_ns, shared);
		exit(0);
	}
	return child;
}

/* --- the parent --- */

struct watch {
	uint64_t seed;
	uint64_t since_ns; /* when it began */
	uint64_t told_ns;
};

static bool is_hung(struct watch *watch, const struct shared *shared, uint64_t now)
{
	if (watch->seed != shared->seed) {
		watch->seed = shared->seed;
		watch->since_ns = now;
	}
	return now - watch->since_ns > CAMPAIGN_HANG_SECONDS * (uint64_t)SECOND;
}

static void tell_progress(struct watch *watch, const struct shared *shared, uint64_t begin_ns, uint64_t now)
{
	if (now - watch->told_ns < PROGRESS_SECONDS * (uint64_t)SECOND)
		return;
	watch->told_ns = now;
	(void)fprintf(stderr, "seed %" PRIu64 ", %.1f a second, %" PRIu64 " images\n", shared->seed,
		      (double)shared->done / ((double)(now - begin_ns) / 1e9),
		      shared->tally.images_power + shared->tally.images_process);
}

/* Waits for the child's end; true if it ended well. */
static bool await(pid_t child, struct shared *shared, bool quiet)
{
	uint64_t begin_ns = real_ns();
	struct watch watch = { .seed = shared->seed, .since_ns = begin_ns, .told_ns = begin_ns };
	int status;
	for (;;) {
		pid_t ended = waitpid(child, &status, WNOHANG);
		if (ended == child)
			break;
		uint64_t now = real_ns();
		if (is_hung(&watch, shared, now)) {
			(void)kill(child, SIGKILL);
			(void)waitpid(child, &status, 0);
			(void)snprintf(shared->failure, SIM_FAILURE_BYTES, "no end after %d s",
				       CAMPAIGN_HANG_SECONDS);
			return false;
		}
		if (!quiet)
			tell_progress(&watch, shared, begin_ns, now);
		(void)nanosleep(&(struct timespec) { .tv_nsec = LOOK_NS }, NULL);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (shared->failure[0] == '\0')
		(void)snprintf(shared->failure, SIM_FAILURE_BYTES, "the process ended with %s %d",
			       WIFSIGNALED(status) ? "signal" : "status",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return false;
}

bool campaign_fails(uint64_t seed, const struct plan_limits *limits, char *text)
{
	struct shared *shared = share();
	struct campaign one = { .limits = *limits };
	pid_t child = start(&one, seed, seed + 1, 0, shared);
	bool failed = !await(child, shared, true);
	(void)snprintf(text, SIM_FAILURE_BYTES, "%s", shared->failure);
	(void)munmap(shared, sizeof(*shared));
	return failed;
}

static void tell_failure(const struct campaign *campaign, uint64_t seed, const char *failure)
{
	char command[512];
	struct plan_limits limits = campaign->limits;
	struct plan plan;
	(void)fprintf(stderr, "seed %" PRIu64 " failed: %s\n", seed, failure);
	if (campaign->shrink)
		campaign_shrink(seed, &limits);
	plan_draw(&plan, seed, &limits);
	plan_print(&plan, stderr);
	campaign_command(campaign->program, seed, &limits, command, sizeof(command));
	(void)fprintf(stderr, "reproduce: %s\n", command);
}

static uint64_t run_seeds(const struct campaign *campaign, struct tally *tally)
{
	uint64_t end = campaign->from + campaign->seeds;
	uint64_t deadline_ns =
		campaign->seconds_max != 0 ? real_ns() + campaign->seconds_max * (uint64_t)SECOND : 0;
	uint64_t failures = 0;
	for (uint64_t from = campaign->from; from < end;) {
		struct shared *shared = share();
		shared->seed = from;
		pid_t child = start(campaign, from, end, deadline_ns, shared);
		bool well = await(child, shared, campaign->quiet);
		tally_add(tally, &shared->tally);
		if (!well) {
			failures++;
			tell_failure(campaign, shared->seed, shared->failure);
		}
		from = shared->seed + 1;
		bool stop = well || !campaign->keep_going;
		(void)munmap(shared, sizeof(*shared));
		if (stop)
			break;
	}
	return failures;
}

uint64_t campaign_run(const struct campaign *campaign, struct tally *tally)
{
	uint64_t begin_ns = real_ns();
	*tally = (struct tally) { 0 };
	if (campaign->state != NULL)
		(void)tally_load(tally, campaign->state);
	uint64_t failures = run_seeds(campaign, tally);
	tally->real_ns += real_ns() - begin_ns;
	if (!campaign->quiet)
		tally_print(tally, stdout);
	if (campaign->state != NULL && !tally_save(tally, campaign->state))
		(void)fprintf(stderr, "%s: cannot be written\n", campaign->state);
	if (tally->seeds >= CAMPAIGN_MISSING_SEEDS && campaign->limits.without == 0)
		failures += tally_missing(tally, stderr) > 0;
	return failures;
}

void campaign_command(const char *program, uint64_t seed, const struct plan_limits *limits, char *text,
		      size_t size)
{
	size_t used = (size_t)snprintf(text, size, "%s --seed %" PRIu64, program, seed);
	const struct {
		const char *name;
		uint32_t value;
	} numbers[] = {
		{ "operations", limits->operations }, { "clients", limits->clients },
		{ "rounds", limits->rounds },	      { "images", limits->images },
		{ "image", limits->images_only },
	};
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (numbers[i].value != 0)
			used += (size_t)snprintf(text + used, size - used, " --%s %u", numbers[i].name,
						 numbers[i].value);
	if (limits->no_images)
		used += (size_t)snprintf(text + used, size - used, " --no-images");
	for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++)
		if ((limits->without & 1u << fault) != 0)
			used += (size_t)snprintf(text + used, size - used, " --without %s",
						 sim_fault_name((enum sim_fault)fault));
}
