#include "harness/bench/bench_timing.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/assert.h"
#include "harness/statistics.h"
#include "harness/ticks.h"

double bench_time_slices(bench_work *work, void *argument, uint64_t count, unsigned slices)
{
	double times[BENCH_SLICES_MAX];
	ASSERT(slices > 0);
	ASSERT(slices <= BENCH_SLICES_MAX);
	work(argument, count);
	for (unsigned i = 0; i < slices; i++) {
		uint64_t start = ticks_now();
		work(argument, count);
		times[i] = (double)ticks_to_ns(ticks_now() - start) / (double)count;
	}
	return statistics_median(times, slices);
}

/* Of the process as it was started: a thread inherits the one processor of a thread that was pinned. */
static cpu_set_t allowed;

static void look_up_allowed(void)
{
	CPU_ZERO(&allowed);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		CPU_ZERO(&allowed);
}

void bench_pin_thread(unsigned number)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	cpu_set_t one;
	(void)pthread_once(&once, look_up_allowed);
	if (CPU_COUNT(&allowed) == 0)
		return;
	unsigned wanted = number % (unsigned)CPU_COUNT(&allowed);
	int cpu = 0;
	for (;; cpu++) {
		if (CPU_ISSET(cpu, &allowed) && wanted-- == 0)
			break;
	}
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
}

static int by_number(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return (a > b) - (a < b);
}

double bench_quantile(uint64_t *numbers, size_t count, double quantile)
{
	if (count == 0)
		return NAN;
	qsort(numbers, count, sizeof(*numbers), by_number);
	size_t at = (size_t)(quantile * (double)(count - 1) + 0.5);
	return (double)numbers[at < count ? at : count - 1];
}
