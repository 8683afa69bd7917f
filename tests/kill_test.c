/*
 * Kills and stops at any moment: a process that writes under load is killed by SIGKILL, and the next one
 * must find everything that was acknowledged, nothing that never was, batches whole, and the database sound;
 * then it writes on, and is killed in its turn. Real files, real io_uring, direct I/O. The page cache
 * survives a SIGKILL, so this is about the order of writes and about recovery; a second test copies what has
 * reached the files of a stopped process by direct reads, and opens the copy.
 *
 * CASCADE_KILLS=1000: so many kills of each durability instead of the usual number (fewer under sanitizers).
 * About a minute.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "kill_child.h"
#include "test.h"

enum {
	KILLS = SANITIZED ? 6 : 50, /* of each durability, with a flush, a merge and a lap before each */
	LITTLE_LOADS = 8,
	COPIES = SANITIZED ? 2 : 5,
	DEADLINE_S = SANITIZED ? 240 : 60, /* for whatever a child is waited for */
	POLL_NS = 1000 * 1000,
	PATH_BYTES = 512,
	COPY_BYTES = 1 << 20,
	CHILDREN_MAX = 4
};

static const uint64_t fixed_seed = 20260807;

/* A report ends the child at once: a child that is killed later would take its report with it. */
const char *__tsan_default_options(void);
__attribute__((visibility("default"))) const char *__tsan_default_options(void)
{
	return "halt_on_error=1";
}

/* --- the place --- */

struct place {
	char root[PATH_BYTES / 4]; /* of all that the test leaves on disk; kept when it fails */
	char database[PATH_BYTES / 2];
	struct expected_state *state;
	struct random random;
	uint64_t seed;
	const char *durability;
};

static void make_place(struct place *place, const char *durability, uint64_t seed)
{
	char path[PATH_BYTES];
	const char *folder = getenv("TMPDIR");
	*place = (struct place) { .seed = seed, .random = random_stream(seed), .durability = durability };
	(void)snprintf(place->root, sizeof(place->root), "%.100s/cascade-kill-XXXXXX",
		       folder != NULL ? folder : "/var/tmp");
	assert_non_null(mkdtemp(place->root));
	(void)snprintf(place->database, sizeof(place->database), "%s/database", place->root);
	(void)snprintf(path, sizeof(path), "%s/expected", place->root);
	place->state = expected_state_map(path);
	assert_non_null(place->state);
	place->state->seed = seed;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)info;
	(void)kind;
	(void)at;
	return remove(path);
}

static void remove_tree(const char *path)
{
	assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void remove_place(struct place *place)
{
	expected_state_unmap(place->state);
	remove_tree(place->root);
}

/* --- children --- */

static uint64_t now_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec time = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
	(void)nanosleep(&time, NULL);
}

/* Those that run: a test that fails leaves them to its teardown. */
static pid_t children[CHILDREN_MAX];

static void replace_child(pid_t from, pid_t to)
{
	unsigned i = 0;
	while (i < CHILDREN_MAX && children[i] != from)
		i++;
	assert_true(i < CHILDREN_MAX);
	children[i] = to;
}

static int kill_children(void **test_state)
{
	(void)test_state;
	for (unsigned i = 0; i < CHILDREN_MAX; i++) {
		if (children[i] != 0) {
			(void)kill(children[i], SIGKILL);
			(void)waitpid(children[i], NULL, 0);
		}
		children[i] = 0;
	}
	return 0;
}

/* waitpid, and the child is forgotten when it has ended. */
static bool has_ended(pid_t pid, int *status, int flags)
{
	pid_t ended = waitpid(pid, status, flags);
	assert_true(ended == pid || ended == 0);
	if (ended == 0 || WIFSTOPPED(*status))
		return false;
	replace_child(pid, 0);
	return true;
}

static pid_t start(struct place *place, enum kill_child_work work)
{
	struct kill_child child = { .path = place->database,
				    .durability = place->durability,
				    .state = place->state,
				    .load_seed = random_next(&place->random),
				    .work = work };
	atomic_store(&place->state->phase, EXPECTED_OPENING);
	atomic_store(&place->state->stop, 0);
	(void)fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		kill_child_run(&child);
	}
	replace_child(0, pid);
	return pid;
}

static _Noreturn void fail_child(const struct place *place, int status, const char *what)
{
	const struct expected_state *state = place->state;
	char how[64];
	if (WIFSIGNALED(status))
		(void)snprintf(how, sizeof(how), "signal %d", WTERMSIG(status));
	else
		(void)snprintf(how, sizeof(how), "exit code %d", WEXITSTATUS(status));
	(void)fprintf(stderr, "%s: %s, %s, after %llu opens; durability %s, seed %llu, %s is kept\n", what,
		      how, state->failed ? state->failure : "no message",
		      (unsigned long long)atomic_load(&state->opens), place->durability,
		      (unsigned long long)place->seed, place->root);
	fail();
	abort();
}

/* An abort leaves a core file where the system keeps them. */
static _Noreturn void fail_stuck(const struct place *place, pid_t pid)
{
	int status = 0;
	(void)kill(pid, SIGABRT);
	(void)has_ended(pid, &status, 0);
	fail_child(place, status, "a process that made no progress");
}

/* Waits until the child ends by itself, as it should. */
static int wait_for_end(const struct place *place, pid_t pid)
{
	int status = 0;
	uint64_t begin = now_ns();
	while (!has_ended(pid, &status, WNOHANG)) {
		if (now_ns() - begin > DEADLINE_S * 1000000000ull)
			fail_stuck(place, pid);
		sleep_ns(POLL_NS);
	}
	return status;
}

static void finish(const struct place *place, pid_t pid)
{
	int status = wait_for_end(place, pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_child(place, status, "a process that had to close the database");
}

/* Whether the child still runs; a child that ended by itself, or makes no progress, fails the test. */
static void expect_running(const struct place *place, pid_t pid, uint64_t begin_ns)
{
	int status = 0;
	if (has_ended(pid, &status, WNOHANG))
		fail_child(place, status, "a process that had to run on");
	if (now_ns() - begin_ns > DEADLINE_S * 1000000000ull)
		fail_stuck(place, pid);
}

static void wait_for_load(const struct place *place, pid_t pid)
{
	uint64_t begin = now_ns();
	while (atomic_load(&place->state->phase) != EXPECTED_LOADING) {
		expect_running(place, pid, begin);
		sleep_ns(POLL_NS / 10);
	}
}

static void kill_and_wait(const struct place *place, pid_t pid)
{
	int status = 0;
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_true(has_ended(pid, &status, 0));
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || atomic_load(&place->state->failed) != 0)
		fail_child(place, status, "a process that had to die by SIGKILL");
}

/* --- kills --- */

struct work {
	uint64_t acknowledged, flushes, merges, laps;
};

static struct work work_done(const struct expected_state *state)
{
	return (struct work) { .acknowledged = atomic_load(&state->acknowledged),
			       .flushes = atomic_load(&state->flushes),
			       .merges = atomic_load(&state->merges),
			       .laps = atomic_load(&state->laps) };
}

static bool all_moved(const struct work *before, const struct work *after)
{
	return after->acknowledged > before->acknowledged && after->flushes > before->flushes &&
	       after->merges > before->merges && after->laps > before->laps;
}

struct campaign {
	unsigned kills;	      /* while writing */
	unsigned full_kills;  /* ... after a flush, a merge and a lap since the kill before */
	unsigned early_kills; /* of a process that was opening or checking */
	unsigned opening_kills;
	struct work last;  /* at the kill before */
	uint64_t ready_ns; /* how long the last process took from its start to its load */
};

/* A kill before the load: mostly in the first moments, when the log is replayed. */
static void kill_early(struct place *place, struct campaign *campaign)
{
	pid_t pid = start(place, KILL_CHILD_LOADS);
	bool very_early = random_below(&place->random, 2) == 0;
	sleep_ns(random_below(&place->random, very_early ? campaign->ready_ns / 4 : campaign->ready_ns));
	kill_and_wait(place, pid);
	uint32_t phase = atomic_load(&place->state->phase);
	campaign->early_kills += phase != EXPECTED_LOADING;
	campaign->opening_kills += phase == EXPECTED_OPENING;
}

static void kill_under_load(struct place *place, struct campaign *campaign)
{
	uint64_t begin = now_ns();
	pid_t pid = start(place, KILL_CHILD_LOADS);
	wait_for_load(place, pid);
	campaign->ready_ns = now_ns() - begin;
	struct work ready = work_done(place->state);
	sleep_ns((30 + random_below(&place->random, 271)) * 1000000);
	struct work now = work_done(place->state);
	while (!all_moved(&campaign->last, &now) || now.acknowledged == ready.acknowledged) {
		expect_running(place, pid, begin);
		sleep_ns(POLL_NS + random_below(&place->random, 5 * POLL_NS));
		now = work_done(place->state);
	}
	kill_and_wait(place, pid);
	now = work_done(place->state);
	/* It was writing until it died. */
	assert_true(now.acknowledged > ready.acknowledged);
	campaign->kills++;
	campaign->full_kills += all_moved(&campaign->last, &now);
	campaign->last = now;
}

static unsigned kills_wanted(void)
{
	const char *text = getenv("CASCADE_KILLS");
	return text != NULL ? (unsigned)strtoul(text, NULL, 10) : KILLS;
}

/* At the end the database is closed, and opened once more: nothing is replayed, no file is left over. */
static void close_and_check(struct place *place)
{
	pid_t pid = start(place, KILL_CHILD_LOADS);
	wait_for_load(place, pid);
	sleep_ns(50 * 1000000);
	atomic_store(&place->state->stop, 1);
	finish(place, pid);
	pid = start(place, KILL_CHILD_CHECKS_CLOSED);
	finish(place, pid);
	assert_int_equal(atomic_load(&place->state->phase), EXPECTED_CLOSED);
}

static void run_campaign(const char *durability, uint64_t seed)
{
	struct place place;
	struct campaign campaign = { 0 };
	unsigned wanted = kills_wanted();
	uint64_t begin = now_ns();
	make_place(&place, durability, seed);
	while (campaign.full_kills < wanted) {
		kill_under_load(&place, &campaign);
		while (random_below(&place.random, 4) == 0)
			kill_early(&place, &campaign);
		assert_true(campaign.kills <= 2 * wanted);
	}
	close_and_check(&place);
	const struct expected_state *state = place.state;
	print_message(
		"durability %s: %u kills while writing, %u of them with a flush, a merge and a lap since "
		"the kill before, %u more before the load (%u in open); %llu flushes, %llu merges, %llu "
		"laps, %llu writes acknowledged, %llu commits replayed, %llu writes found and %llu not of "
		"those that were under way, %llu keys "
		"checked; %.1f s\n",
		durability, campaign.kills, campaign.full_kills, campaign.early_kills, campaign.opening_kills,
		(unsigned long long)state->flushes, (unsigned long long)state->merges,
		(unsigned long long)state->laps, (unsigned long long)state->acknowledged,
		(unsigned long long)state->replayed_commits, (unsigned long long)state->unacknowledged_found,
		(unsigned long long)state->unacknowledged_absent, (unsigned long long)state->checked,
		(double)(now_ns() - begin) / 1e9);
	assert_true(campaign.full_kills >= wanted);
	if (wanted >= 25)
		assert_true(campaign.early_kills > 0 && campaign.opening_kills > 0);
	if (wanted > 0) {
		assert_true(state->replayed_commits > 0);
		assert_true(state->unacknowledged_found + state->unacknowledged_absent > 0);
	}
	remove_place(&place);
}

static void test_kill_process(void **test_state)
{
	(void)test_state;
	run_campaign("process", test_seed(fixed_seed));
}

static void test_kill_power(void **test_state)
{
	(void)test_state;
	run_campaign("power", test_seed(fixed_seed + 1));
}

/*
 * A process that crashes soon after its start leaves a segment of the log with a few commits, again and
 * again, until there is none left to write to: writing has to go on then.
 */
static void test_kill_at_first_writes(void **test_state)
{
	(void)test_state;
	struct place place;
	make_place(&place, "process", test_seed(fixed_seed + 2));
	for (unsigned i = 0; i < LITTLE_LOADS; i++) {
		int status = wait_for_end(&place, start(&place, KILL_CHILD_LOADS_A_LITTLE));
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			fail_child(&place, status, "a process that had to kill itself");
	}
	finish(&place, start(&place, KILL_CHILD_CHECKS));
	finish(&place, start(&place, KILL_CHILD_CHECKS_CLOSED));
	remove_place(&place);
}

/* --- copies --- */

/* Copies one file by direct reads; false: its file system has none. A file may go while it is copied: what
 * the kernel has been asked for still happens after a stop. */
static bool copy_file_direct(const char *from, const char *to)
{
	int source = open(from, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (source < 0 && errno == ENOENT)
		return true;
	if (source < 0)
		return false;
	int target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	assert_true(target >= 0);
	uint8_t *buffer = aligned_alloc(4096, COPY_BYTES);
	assert_non_null(buffer);
	ssize_t got;
	while ((got = read(source, buffer, COPY_BYTES)) > 0)
		assert_int_equal(write(target, buffer, (size_t)got), got);
	assert_int_equal(got, 0);
	free(buffer);
	assert_int_equal(close(target), 0);
	(void)close(source);
	return true;
}

/* Copies a directory and those in it. */
static bool copy_directory_direct(const char *from, const char *to, bool nested)
{
	assert_int_equal(mkdir(to, 0777), 0);
	DIR *stream = opendir(from);
	assert_non_null(stream);
	bool direct = true;
	for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
		char source[2 * PATH_BYTES], target[2 * PATH_BYTES];
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(source, sizeof(source), "%s/%s", from, entry->d_name);
		(void)snprintf(target, sizeof(target), "%s/%s", to, entry->d_name);
		if (entry->d_type == DT_DIR) {
			assert_false(nested);
			direct &= copy_directory_direct(source, target, true);
		} else {
			direct &= copy_file_direct(source, target);
		}
	}
	(void)closedir(stream);
	return direct;
}

static void stop_and_wait(const struct place *place, pid_t pid)
{
	int status = 0;
	assert_int_equal(kill(pid, SIGSTOP), 0);
	if (has_ended(pid, &status, WUNTRACED))
		fail_child(place, status, "a process that had to stop");
	/* Requests that are under way in the kernel come to their end. */
	sleep_ns(20 * 1000000);
}

/* Stops the writer, copies its database, checks the copy. False: no direct reads here. */
static bool copy_and_check(struct place *place, pid_t writer)
{
	char path[PATH_BYTES];
	struct place copy = *place;
	(void)snprintf(copy.database, sizeof(copy.database), "%s/copy", place->root);
	(void)snprintf(path, sizeof(path), "%s/copy.expected", place->root);
	stop_and_wait(place, writer);
	bool direct = copy_directory_direct(place->database, copy.database, false);
	copy.state = expected_state_map(path);
	assert_non_null(copy.state);
	memcpy(copy.state, place->state, sizeof(*copy.state));
	assert_int_equal(kill(writer, SIGCONT), 0);
	if (direct) {
		uint64_t checked = atomic_load(&copy.state->checked);
		finish(&copy, start(&copy, KILL_CHILD_CHECKS));
		assert_int_equal(atomic_load(&copy.state->checked) - checked, EXPECTED_KEYS);
	}
	expected_state_unmap(copy.state);
	remove_tree(copy.database);
	assert_int_equal(remove(path), 0);
	return direct;
}

static void test_stop_and_copy(void **test_state)
{
	(void)test_state;
	struct place place;
	make_place(&place, "power", test_seed(fixed_seed + 3));
	pid_t writer = start(&place, KILL_CHILD_LOADS);
	wait_for_load(&place, writer);
	struct work last = work_done(place.state);
	bool direct = true;
	for (unsigned cycle = 0; cycle < COPIES && direct; cycle++) {
		uint64_t begin = now_ns();
		sleep_ns((50 + random_below(&place.random, 150)) * 1000000);
		struct work now = work_done(place.state);
		while (!all_moved(&last, &now)) {
			expect_running(&place, writer, begin);
			sleep_ns(POLL_NS);
			now = work_done(place.state);
		}
		last = now;
		direct = copy_and_check(&place, writer);
	}
	kill_and_wait(&place, writer);
	finish(&place, start(&place, KILL_CHILD_CHECKS));
	remove_place(&place);
	if (!direct) {
		print_message("skipped: no direct reads in this folder; TMPDIR names another one\n");
		skip();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_kill_process, kill_children),
		cmocka_unit_test_teardown(test_kill_power, kill_children),
		cmocka_unit_test_teardown(test_kill_at_first_writes, kill_children),
		cmocka_unit_test_teardown(test_stop_and_copy, kill_children),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
