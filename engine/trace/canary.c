#include "trace/canary.h"

#include <string.h>

#include "base/memory.h"

#include "base/poison.h"

enum {
	PAGE = 4096,
	LINE = 64,
	PAGES_OF_CLASS = 1 + CANARY_MIDDLE + CANARY_FAR,
	ROUNDS = 64,
	ROUND_READINGS = 128,
};

/*
 * Functions that return, each alone in its lines, so that no neighbour brings them into a cache. The
 * instruction is spelled alike on the processors that we know; elsewhere the reading tells nothing, alike in
 * an engine and in its replay.
 */
#if defined(__x86_64__) || defined(__aarch64__)
__asm__(".pushsection .text.trace_canary,\"ax\",%progbits\n"
	".balign 256\n"
	".hidden trace_canary_point\n"
	".globl trace_canary_point\n"
	".type trace_canary_point,%function\n"
	"trace_canary_point:\n"
	"	ret\n"
	".size trace_canary_point, .-trace_canary_point\n"
	".balign 256\n"
	".hidden trace_canary_step\n"
	".globl trace_canary_step\n"
	".type trace_canary_step,%function\n"
	"trace_canary_step:\n"
	"	ret\n"
	".size trace_canary_step, .-trace_canary_step\n"
	".balign 256\n"
	".popsection\n");

void trace_canary_point(void);
void trace_canary_step(void);
#else
static void __attribute__((noinline)) trace_canary_point(void)
{
	__asm__ volatile("");
}

static void __attribute__((noinline)) trace_canary_step(void)
{
	__asm__ volatile("");
}
#endif

static inline void call_code(enum canary_class class)
{
	if (class == CANARY_POINT)
		trace_canary_point();
	else
		trace_canary_step();
}

bool canary_clock_counts(void)
{
	return clock_mark() != 0;
}

bool canary_init(struct canary *canary, bool counts)
{
	size_t bytes = (size_t)CANARY_CLASSES * PAGES_OF_CLASS * PAGE;
	*canary = (struct canary) { .memory = memory_map(bytes), .counts = counts };
	if (canary->memory == NULL)
		return false;
	/* What was never written is one page of zeros for all. */
	memset(canary->memory, 1, bytes);
	return true;
}

void canary_free(struct canary *canary)
{
	if (canary->memory != NULL)
		memory_unmap(canary->memory, (size_t)CANARY_CLASSES * PAGES_OF_CLASS * PAGE);
	canary->memory = NULL;
}

/* In 1/256: the mean of those readings that nothing interrupted. */
static uint64_t cost_of_round(bool counts)
{
	uint64_t ticks[ROUND_READINGS], least = UINT64_MAX, sum = 0, taken = 0;
	for (unsigned i = 0; i < ROUND_READINGS; i++) {
		uint64_t begin = canary_clock(counts);
		ticks[i] = canary_clock(counts) - begin;
		least = ticks[i] < least ? ticks[i] : least;
	}
	for (unsigned i = 0; i < ROUND_READINGS; i++) {
		if (ticks[i] <= 2 * least + 1) {
			sum += ticks[i];
			taken++;
		}
	}
	return sum * 256 / taken;
}

uint32_t canary_clock_cost(bool counts)
{
	/* The first rounds wake the processor up. */
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t cost = cost_of_round(counts);
		least = cost < least ? cost : least;
	}
	return least < UINT32_MAX ? (uint32_t)least : UINT32_MAX;
}

/* The classes lie apart, and the lines of a class in different sets of the caches. */
static inline volatile uint8_t *line_of(const struct canary *canary, enum canary_class class, uint32_t index)
{
	size_t page = (size_t) class * PAGES_OF_CLASS + index;
	return canary->memory + page * PAGE + (index * 29 + 11) % (PAGE / LINE) * LINE;
}

static inline uint64_t time_load(const struct canary *canary, volatile uint8_t *line)
{
	uint64_t begin = canary_clock(canary->counts);
	(void)*line;
	return canary_clock(canary->counts) - begin;
}

void canary_take(struct canary *canary, enum canary_class class, struct canary_reading *reading)
{
	struct canary_state *state = &canary->states[class];
	uint64_t begin;
	/* Twice: the first time this function itself may have to come into the cache. */
	for (unsigned i = 0; i < 2; i++) {
		begin = canary_clock(canary->counts);
		reading->nothing = canary_clock(canary->counts) - begin;
	}
	begin = canary_clock(canary->counts);
	call_code(class);
	reading->code = canary_clock(canary->counts) - begin;
	reading->near = time_load(canary, line_of(canary, class, 0));
	reading->middle = time_load(canary, line_of(canary, class, 1 + state->middle));
	reading->far = time_load(canary, line_of(canary, class, 1 + CANARY_MIDDLE + state->far));
	state->middle = (state->middle + 1) % CANARY_MIDDLE;
	state->far = (state->far + 1) % CANARY_FAR;
}

void canary_touch(struct canary *canary, enum canary_class class)
{
	(void)*line_of(canary, class, 0);
	call_code(class);
}
