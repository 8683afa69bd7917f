/*
 * bench_child.c: one side of one measure in a process of its own, which sends its numbers through a pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "harness/bench/bench_run.h"
#include "harness/ticks.h"

enum { TIMEOUT_S = 300, CLOCKS_COMPARABLE_NS = 50 * 1000 * 1000 };

/* The two clocks may differ by that much of the time between two readings. */
#define CLOCKS_DIFFER 0.001

/* What the child says, in one write: shorter than what a pipe takes at once. */
struct answer {
	int32_t code;
	char text[BENCH_TEXT_BYTES];
	char notice[BENCH_TEXT_BYTES];
	double numbers[BENCH_NUMBERS_MAX];
};

_Static_assert(sizeof(struct answer) <= 4096, "an answer is written at once");

/* --- in the child --- */

/* A stopwatch that runs at another rate than the clock would bend every number. */
static void compare_clocks(uint64_t ticks, uint64_t ns, struct bench_job *job)
{
	double by_clock = (double)(clock_now_ns() - ns);
	double by_ticks = (double)ticks_to_ns(ticks_now() - ticks);
	if (by_clock < CLOCKS_COMPARABLE_NS || fabs(by_ticks / by_clock - 1) <= CLOCKS_DIFFER)
		return;
	(void)snprintf(job->notice, sizeof(job->notice),
		       "the stopwatch counted %.6g s where the clock counted %.6g s", by_ticks * 1e-9,
		       by_clock * 1e-9);
}

static _Noreturn void answer_and_end(const struct bench_measure *measure, const struct bench_side *side,
				     struct bench_job *job, int fd)
{
	struct answer answer = { .code = STATUS_OK };
	for (int i = 0; i < BENCH_NUMBERS_MAX; i++)
		answer.numbers[i] = NAN;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	ticks_calibrate();
	uint64_t ticks = ticks_now(), ns = clock_now_ns();
	struct status status = side != NULL ? side->run(job, answer.numbers) : measure->prepare(job);
	compare_clocks(ticks, ns, job);
	answer.code = status.code;
	if (!status_is_ok(status))
		status_describe(status, answer.text, sizeof(answer.text));
	memcpy(answer.notice, job->notice, sizeof(answer.notice));
	_exit(write(fd, &answer, sizeof(answer)) == (ssize_t)sizeof(answer) ? 0 : 1);
}

/* --- in the parent --- */

/* Reads the answer; false: the child ended or stalled without one. */
static bool receive(int fd, struct answer *answer, bool *timed_out)
{
	size_t got = 0;
	uint64_t end = clock_now_ns() + (uint64_t)TIMEOUT_S * 1000000000u;
	*timed_out = false;
	while (got < sizeof(*answer)) {
		uint64_t now = clock_now_ns();
		struct pollfd wanted = { .fd = fd, .events = POLLIN };
		int left_ms = now < end ? (int)((end - now) / 1000000u) : 0;
		int ready = poll(&wanted, 1, left_ms);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0) {
			*timed_out = true;
			return false;
		}
		ssize_t more = read(fd, (char *)answer + got, sizeof(*answer) - got);
		if (more < 0 && errno == EINTR)
			continue;
		if (more <= 0)
			return false;
		got += (size_t)more;
	}
	return true;
}

static int wait_for(pid_t child)
{
	int result = 0;
	while (waitpid(child, &result, 0) < 0 && errno == EINTR)
		;
	return result;
}

static struct status judge(const struct answer *answer, bool answered, bool timed_out, int result,
			   struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	if (timed_out)
		return status_error(STATUS_BUSY, "no answer within %d s", TIMEOUT_S);
	if (!answered && WIFSIGNALED(result))
		return status_error(STATUS_IO, "its process died of signal %d (%s)", WTERMSIG(result),
				    strsignal(WTERMSIG(result)));
	if (!answered)
		return status_error(STATUS_IO, "its process ended without an answer (exit code %d)",
				    WEXITSTATUS(result));
	memcpy(job->notice, answer->notice, sizeof(job->notice));
	memcpy(numbers, answer->numbers, sizeof(answer->numbers));
	if (answer->code == STATUS_OK)
		return status_ok();
	return status_error((enum status_code)answer->code, "%s", answer->text);
}

struct status bench_child_run(const struct bench_measure *measure, const struct bench_side *side,
			      struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct answer answer;
	int ends[2];
	bool timed_out;
	job->notice[0] = '\0';
	for (int i = 0; i < BENCH_NUMBERS_MAX; i++)
		numbers[i] = NAN;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return status_from_errno(errno, "cannot make a pipe", NULL);
	pid_t child = fork();
	if (child < 0) {
		int error = errno;
		(void)close(ends[0]);
		(void)close(ends[1]);
		return status_from_errno(error, "cannot start a process", NULL);
	}
	if (child == 0) {
		(void)close(ends[0]);
		answer_and_end(measure, side, job, ends[1]);
	}
	(void)close(ends[1]);
	bool answered = receive(ends[0], &answer, &timed_out);
	(void)close(ends[0]);
	if (timed_out)
		(void)kill(child, SIGKILL);
	return judge(&answer, answered, timed_out, wait_for(child), job, numbers);
}
