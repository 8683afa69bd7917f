#include "harness/hiccup.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"

enum {
	SLEEP_NS = 1000000,
	SWALLOWED_MAX =
		1000000, /* sleeps of one pause: a machine that was suspended for an hour is just late */
};

struct hiccup {
	pthread_t thread;
	_Atomic bool stop;
	struct histogram *histogram;
};

void hiccup_record(struct histogram *histogram, uint64_t late_ns)
{
	histogram_record(histogram, late_ns);
	for (int i = 0; i < SWALLOWED_MAX && late_ns >= 2 * SLEEP_NS; i++) {
		late_ns -= SLEEP_NS;
		histogram_record(histogram, late_ns);
	}
}

static void *sleep_on(void *argument)
{
	struct hiccup *hiccup = argument;
	const struct timespec pause = { .tv_nsec = SLEEP_NS };
	/* By default the kernel rounds a thread's timers up by 50 us, which is not the machine's fault. */
	(void)prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
	while (!atomic_load_explicit(&hiccup->stop, memory_order_relaxed)) {
		uint64_t due_ns = clock_now_ns() + SLEEP_NS;
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		uint64_t now_ns = clock_now_ns();
		hiccup_record(hiccup->histogram, now_ns > due_ns ? now_ns - due_ns : 0);
	}
	return NULL;
}

struct status hiccup_start(struct hiccup **hiccup)
{
	sigset_t all, old;
	struct hiccup *made = memory_allocate_zeroed(1, sizeof(*made));
	*hiccup = NULL;
	if (made == NULL)
		return status_make(STATUS_NO_MEMORY);
	made->histogram = histogram_create();
	if (made->histogram == NULL) {
		memory_free(made);
		return status_make(STATUS_NO_MEMORY);
	}
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int error = pthread_create(&made->thread, NULL, sleep_on, made);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error != 0) {
		histogram_free(made->histogram);
		memory_free(made);
		return status_from_errno(error, "cannot start the thread that watches for hiccups", NULL);
	}
	*hiccup = made;
	return status_ok();
}

struct histogram *hiccup_stop(struct hiccup *hiccup)
{
	if (hiccup == NULL)
		return NULL;
	atomic_store_explicit(&hiccup->stop, true, memory_order_relaxed);
	(void)pthread_join(hiccup->thread, NULL);
	struct histogram *histogram = hiccup->histogram;
	memory_free(hiccup);
	return histogram;
}
