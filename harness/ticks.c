#include "harness/ticks.h"

#include <pthread.h>
#include <string.h>

#include "harness/system_file.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif

enum { CALIBRATION_NS = 10000000, PAIRS = 16 };

struct ticks_rate ticks_rate = { .counts = false, .ns_in_ticks = 1ull << 32 };

#ifdef __x86_64__

struct pair {
	uint64_t ns, ticks;
};

static bool counter_is_even(void)
{
	uint32_t a, b, c, d;
	char source[64];
	if (__get_cpuid(0x80000001, &a, &b, &c, &d) == 0 || (d & 1u << 27) == 0)
		return false; /* no rdtscp */
	if (__get_cpuid(0x80000007, &a, &b, &c, &d) == 0 || (d & 1u << 8) == 0)
		return false; /* not the same rate in all states */
	return system_file_read("/sys/devices/system/clocksource/clocksource0/current_clocksource", source,
				sizeof(source)) &&
	       strcmp(source, "tsc") == 0;
}

/* Both clocks at one moment: of several tries the one that took least time, which nobody interrupted. */
static struct pair read_pair(void)
{
	struct pair best = { .ns = 0 };
	uint64_t least = UINT64_MAX;
	uint32_t processor;
	for (int i = 0; i < PAIRS; i++) {
		uint64_t before = __rdtscp(&processor);
		uint64_t ns = clock_now_ns();
		uint64_t after = __rdtscp(&processor);
		if (after - before < least) {
			least = after - before;
			best = (struct pair) { .ns = ns, .ticks = before + (after - before) / 2 };
		}
	}
	return best;
}

static void calibrate(void)
{
	if (!counter_is_even())
		return;
	struct pair first = read_pair();
	clock_sleep_ns(CALIBRATION_NS);
	struct pair last = read_pair();
	uint64_t ns = last.ns - first.ns;
	uint64_t ticks = last.ticks - first.ticks;
	if (last.ticks <= first.ticks || ns < CALIBRATION_NS)
		return;
	ticks_rate.ns_in_ticks = (uint64_t)(((unsigned __int128)ns << 32) / ticks);
	ticks_rate.counts = true;
}

#else

static void calibrate(void)
{
}

#endif

void ticks_calibrate(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, calibrate);
}
