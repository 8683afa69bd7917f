#include "sim/child.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

void *child_share(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		abort();
	return memory;
}

struct work {
	void (*work)(void *context);
	void *context;
};

static void *run_work(void *argument)
{
	const struct work *work = argument;
	work->work(work->context);
	return NULL;
}

/* On a thread of its own: schedulers ask for the bounds of their thread's stack, and to learn those of the
 * first thread the C library reads the list of all mappings. */
static void run_on_thread(const struct work *work)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, run_work, (void *)(uintptr_t)work) != 0 ||
	    pthread_join(thread, NULL) != 0)
		abort();
}

void child_start(struct child *child, void (*work)(void *context), void *context)
{
	child->failure = child_share(SIM_FAILURE_BYTES);
	(void)fflush(stdout);
	(void)fflush(stderr);
	child->process = fork();
	if (child->process < 0)
		abort();
	if (child->process > 0)
		return;
	sim_failure_to(child->failure);
	run_on_thread(&(struct work) { work, context });
	exit(0);
}

void child_alive(unsigned seconds)
{
	(void)alarm(seconds);
}

bool child_wait(struct child *child)
{
	int status;
	while (waitpid(child->process, &status, 0) < 0)
		if (errno != EINTR)
			abort();
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (child->failure[0] != '\0')
		return false;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		(void)snprintf(child->failure, SIM_FAILURE_BYTES, "no end");
	else if (WIFSIGNALED(status))
		(void)snprintf(child->failure, SIM_FAILURE_BYTES, "the process ended with signal %d (%s)",
			       WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		(void)snprintf(child->failure, SIM_FAILURE_BYTES, "the process ended with status %d",
			       WEXITSTATUS(status));
	return false;
}
