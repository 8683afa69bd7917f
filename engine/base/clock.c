#include "base/clock.h"

#include <stddef.h>
#include <time.h>

static clock_source *replaced;
static void *replaced_context;
static clock_sleeper *sleeper_replaced;
static void *sleeper_context;

static uint64_t read_clock(clockid_t id)
{
	if (__builtin_expect(replaced != NULL, 0))
		return replaced(replaced_context);
	struct timespec now;
	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_mark(void)
{
	return __builtin_expect(replaced != NULL, 0) ? 0 : clock_ticks();
}

uint64_t clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

void clock_sleep_ns(uint64_t ns)
{
	if (sleeper_replaced != NULL) {
		sleeper_replaced(sleeper_context, ns);
		return;
	}
	struct timespec left = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
	while (nanosleep(&left, &left) != 0)
		;
}

void clock_set_source(clock_source *source, void *context)
{
	replaced = source;
	replaced_context = context;
}

void clock_set_sleeper(clock_sleeper *sleeper, void *context)
{
	sleeper_replaced = sleeper;
	sleeper_context = context;
}
