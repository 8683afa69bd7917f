#include "harness/bench/bench_trace_surroundings.h"

#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

enum {
	LINE = 64,
	RUN_LINES = 4, /* touched side by side: what a program touches is seldom one line alone */
	REGION_BYTES_MAX = 64 << 20,
	REGION_BYTES_MIN = 64 << 10,
	LINES_MAX = 1024, /* for 1000 ticks: two cycles a line */
	LINES_AT_ONCE_MAX = 1 << 16,
	WINDOW = 96,	    /* readings to a comparison */
	READING_MAX = 4000, /* ticks: longer than any miss of a cache takes */
};

/* In so much time the engine has displaced all that there is to displace, or it had nothing to do. */
#define TICKS_MAX (UINT64_C(1) << 18)

/* --- code --- */

/*
 * A row of lines of code, each of which ends the row or goes on to the next. The count comes in the first
 * argument's register and is used up.
 */
#if defined(__x86_64__)
__asm__(".pushsection .text.surroundings_code,\"ax\",@progbits\n"
	".balign 64\n"
	".globl surroundings_code\n"
	".hidden surroundings_code\n"
	".type surroundings_code,@function\n"
	"surroundings_code:\n"
	".rept 1024\n"
	"	decq %rdi\n"
	"	js 1f\n"
	"	.balign 64\n"
	".endr\n"
	"1:	ret\n"
	".size surroundings_code, .-surroundings_code\n"
	".popsection\n");
void surroundings_code(uint64_t lines);
#elif defined(__aarch64__)
__asm__(".pushsection .text.surroundings_code,\"ax\",%progbits\n"
	".balign 64\n"
	".globl surroundings_code\n"
	".hidden surroundings_code\n"
	".type surroundings_code,%function\n"
	"surroundings_code:\n"
	".rept 1024\n"
	"	subs x0, x0, #1\n"
	"	b.mi 1f\n"
	"	.balign 64\n"
	".endr\n"
	"1:	ret\n"
	".size surroundings_code, .-surroundings_code\n"
	".popsection\n");
void surroundings_code(uint64_t lines);
#else
/* Nothing known: readings of code tell nothing there either. */
static void surroundings_code(uint64_t lines)
{
	(void)lines;
}
#endif

void surroundings_run_code(uint64_t lines)
{
	surroundings_code(lines < SURROUNDINGS_CODE_LINES ? lines : SURROUNDINGS_CODE_LINES);
}

/* --- memory --- */

struct status surroundings_init(struct surroundings *surroundings)
{
	*surroundings = (struct surroundings) { .memory = memory_map(REGION_BYTES_MAX), .random = 1 };
	if (surroundings->memory == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset(surroundings->memory, 1, REGION_BYTES_MAX);
	for (unsigned i = 0; i < CANARY_CLASSES; i++)
		surroundings->amounts[i] = (struct surroundings_amount) {
			.lines = 16, .region_bytes = 8 << 20, .code_lines = 16, .least = UINT64_MAX
		};
	return status_ok();
}

void surroundings_free(struct surroundings *surroundings)
{
	if (surroundings->memory != NULL)
		memory_unmap(surroundings->memory, REGION_BYTES_MAX);
	surroundings->memory = NULL;
}

/* Touches are independent of each other, and leave what they touch changed, as most of a program's do. */
static void touch(struct surroundings *surroundings, uint64_t lines, double region_bytes)
{
	const uint64_t runs = (uint64_t)region_bytes / (RUN_LINES * LINE);
	uint64_t random = surroundings->random;
	for (uint64_t i = 0; i < lines; i += RUN_LINES) {
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		uint64_t run = (uint64_t)(((unsigned __int128)random * runs) >> 64);
		volatile uint8_t *at = surroundings->memory + run * (RUN_LINES * LINE);
		for (unsigned line = 0; line < RUN_LINES; line++)
			at[(size_t)line * LINE]++;
	}
	surroundings->random = random;
}

/* What went by but for what recording took, which the shortest time shows; in 1000 ticks. */
static double time_of(struct surroundings_amount *amount, uint64_t ticks)
{
	if (ticks < amount->least)
		amount->least = ticks;
	ticks -= amount->least;
	return (double)(ticks < TICKS_MAX ? ticks : TICKS_MAX) / 1000;
}

void surroundings_pass(struct surroundings *surroundings, enum canary_class class, uint64_t ticks)
{
	struct surroundings_amount *amount = &surroundings->amounts[class];
	double time = time_of(amount, ticks);
	amount->lines_due += amount->lines * time;
	amount->code_due += amount->code_lines * time;
	if (amount->lines_due >= RUN_LINES) {
		uint64_t lines = (uint64_t)amount->lines_due / RUN_LINES * RUN_LINES;
		lines = lines < LINES_AT_ONCE_MAX ? lines : LINES_AT_ONCE_MAX;
		touch(surroundings, lines, amount->region_bytes);
		amount->lines_due = fmod(amount->lines_due, RUN_LINES);
	}
	if (amount->code_due >= 1) {
		surroundings_run_code((uint64_t)amount->code_due);
		amount->code_due -= floor(amount->code_due);
	}
}

/* --- how much --- */

static double shorten(uint64_t ticks)
{
	return ticks < READING_MAX ? (double)ticks : READING_MAX;
}

static void add(struct surroundings_sum *sum, const struct canary_reading *reading)
{
	sum->near += shorten(reading->near);
	sum->code += shorten(reading->code);
	sum->middle += shorten(reading->middle);
	sum->far += shorten(reading->far);
	sum->nothing += shorten(reading->nothing);
	sum->count++;
}

/* By how much to change an amount: more if the caches are colder than they were, and never far at once. */
static double change(double wanted, double had, double power)
{
	/* A load that hits takes a few ticks, of which the clock's uncertainty may leave nothing. */
	const double few = 4;
	wanted = wanted > 0 ? wanted : 0;
	had = had > 0 ? had : 0;
	double factor = pow((wanted + few) / (had + few), power);
	return factor < 0.6 ? 0.6 : factor > 1.6 ? 1.6 : factor;
}

static double keep_within(double value, double least, double most)
{
	return value < least ? least : value > most ? most : value;
}

static void compare(struct surroundings_amount *amount)
{
	struct surroundings_sum *wanted = &amount->wanted, *had = &amount->had;
	if (wanted->count < WINDOW || had->count < WINDOW)
		return;
	double w = 1.0 / (double)wanted->count, h = 1.0 / (double)had->count;
	double wanted_clock = wanted->nothing * w, had_clock = had->nothing * h;
	double lately = change((wanted->near + wanted->middle) * w - 2 * wanted_clock,
			       (had->near + had->middle) * h - 2 * had_clock, 1);
	double long_ago = change(wanted->far * w - wanted_clock, had->far * h - had_clock, 2);
	double code = change(wanted->code * w - wanted_clock, had->code * h - had_clock, 1);
	amount->lines = keep_within(amount->lines * lately, 0.1, LINES_MAX);
	amount->region_bytes =
		keep_within(amount->region_bytes * long_ago, REGION_BYTES_MIN, REGION_BYTES_MAX);
	amount->code_lines = keep_within(amount->code_lines * code, 0.1, SURROUNDINGS_CODE_LINES);
	*wanted = *had = (struct surroundings_sum) { .count = 0 };
}

void surroundings_want(struct surroundings *surroundings, enum canary_class class,
		       const struct canary_reading *reading)
{
	add(&surroundings->amounts[class].wanted, reading);
	add(&surroundings->all_wanted[class], reading);
	compare(&surroundings->amounts[class]);
}

void surroundings_have(struct surroundings *surroundings, enum canary_class class,
		       const struct canary_reading *reading)
{
	add(&surroundings->amounts[class].had, reading);
	add(&surroundings->all_had[class], reading);
	compare(&surroundings->amounts[class]);
}
