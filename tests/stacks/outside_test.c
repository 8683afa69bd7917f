/*
 * outside_test.c: what engine/runtime/stacks.txt says about library functions is measured: each is called on
 * a painted stack in the ways in which the engine calls it, and must leave a quarter of what is listed. (The
 * frames that assembly has are counted by hand.) Only in builds like what is shipped. Takes milliseconds.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#include "runtime/internal.h"
#include "stacks/stack_rules.h"

#if defined(CASCADE_DEBUG) || defined(FIBER_ASAN) || defined(FIBER_TSAN) || defined(CASCADE_UCONTEXT) || \
	defined(CASCADE_PLANTED)
enum { IS_LIKE_A_RELEASE = 0 };
#else
enum { IS_LIKE_A_RELEASE = 1 };
#endif

enum { STACK_BYTES = 65536 };

#define PAINT 0xa5c3965a69b47e1dull

/* --- on a stack of its own --- */

static _Alignas(64) uint8_t stack[STACK_BYTES];
static struct context outside_context, inside_context;
static void (*volatile measured)(void);
static size_t used_bytes;

static inline uint8_t *stack_pointer(void)
{
	uint8_t *pointer;
#if defined(__x86_64__)
	__asm__ volatile("movq %%rsp, %0" : "=r"(pointer));
#elif defined(__aarch64__)
	__asm__ volatile("mov %0, sp" : "=r"(pointer));
#else
	pointer = __builtin_frame_address(0);
#endif
	return pointer;
}

/* Everything below the stack pointer is nobody's: it is painted before the call and looked at after it. No
 * call paints it, whose own frame would lie there. */
static void measure(void *argument)
{
	(void)argument;
	for (;;) {
		volatile uint64_t *top = (volatile uint64_t *)((uintptr_t)stack_pointer() & ~(uintptr_t)7);
		volatile uint64_t *low = (volatile uint64_t *)stack;
		for (volatile uint64_t *word = low; word < top; word++)
			*word = PAINT;
		measured();
		while (low < top && *low == PAINT)
			low++;
		used_bytes = (size_t)((uintptr_t)top - (uintptr_t)low);
		context_switch(&inside_context, &outside_context);
	}
}

static size_t depth_of(void (*function)(void))
{
	measured = function;
	context_switch(&outside_context, &inside_context);
	return used_bytes;
}

/* --- the functions, as the engine calls them --- */

static uint8_t from[70000], to[70000];
static volatile size_t size; /* nothing is known when it is compiled */
static void *volatile sink;
static volatile uint64_t result;

static const size_t sizes[] = { 0,   1,	  3,   8,   15,	 16,   17,   31,   33,	 64,
				100, 129, 255, 300, 513, 1000, 2049, 4096, 65000 };

static void call_memcpy(void)
{
	sink = memcpy(to, from, size);
}

static void call_memmove(void)
{
	sink = memmove(to + 1, to, size);
}

static void call_memset(void)
{
	sink = memset(to, (int)size, size);
}

static void call_memcmp(void)
{
	result = (uint64_t)memcmp(from, to, size);
}

static void call_strcmp(void)
{
	result = (uint64_t)strcmp((const char *)from + sizeof(from) - 1 - size, (const char *)from);
}

static void call_strlen(void)
{
	result = strlen((const char *)from + sizeof(from) - 1 - size);
}

static void call_strnlen(void)
{
	result = strnlen((const char *)from, size);
}

static void call_clock_gettime(void)
{
	struct timespec now;
	result = (uint64_t)clock_gettime(CLOCK_MONOTONIC, &now) + (uint64_t)now.tv_nsec;
}

static void call_sched_yield(void)
{
	result = (uint64_t)sched_yield();
}

static void call_syscall(void)
{
	static uint32_t word;
	result = (uint64_t)syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void call_write(void)
{
	result = (uint64_t)write(-1, from, size);
}

static void call_nanosleep(void)
{
	struct timespec none = { .tv_nsec = 1 };
	result = (uint64_t)nanosleep(&none, &none);
}

static void call_errno_location(void)
{
	sink = &errno;
}

static void call_divti3(void)
{
	__int128 dividend = (__int128)(int64_t)result * (int64_t)size - 77;
	result = (uint64_t)(dividend / ((__int128)size * 3 + 1));
}

static void call_udivti3(void)
{
	unsigned __int128 dividend = (unsigned __int128)result * size + 77;
	result = (uint64_t)(dividend / ((unsigned __int128)size * 3 + 1));
}

struct outside_call {
	const char *name;
	void (*function)(void); /* NULL: written in assembly, its pushes are counted */
};

static const struct outside_call calls[] = {
	{ "context_call", NULL },
	{ "context_switch", NULL },
	{ "memcpy", call_memcpy },
	{ "memmove", call_memmove },
	{ "memset", call_memset },
	{ "memcmp", call_memcmp },
	{ "strcmp", call_strcmp },
	{ "strlen", call_strlen },
	{ "strnlen", call_strnlen },
	{ "clock_gettime", call_clock_gettime },
	{ "syscall", call_syscall },
	{ "write", call_write },
	{ "sched_yield", call_sched_yield },
	{ "nanosleep", call_nanosleep },
	{ "__errno_location", call_errno_location },
	{ "__divti3", call_divti3 },
	{ "__udivti3", call_udivti3 },
};

static const struct outside_call *find_call(const char *name)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (strcmp(calls[i].name, name) == 0)
			return &calls[i];
	fail_msg("%s is listed in stacks.txt and not measured here", name);
	return NULL;
}

static void nothing(void)
{
}

static size_t deepest_of(void (*function)(void))
{
	size_t deepest = 0;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size = sizes[i];
		size_t depth = depth_of(function);
		deepest = depth > deepest ? depth : deepest;
	}
	return deepest;
}

static void test_listed_depths_hold(void **state)
{
	(void)state;
	if (!IS_LIKE_A_RELEASE)
		skip();
	struct source_tree tree;
	struct stack_rules rules;
	struct findings findings = { 0 };
	assert_true(source_tree_read(CASCADE_SOURCE_DIR, &tree));
	const struct source_file *file = source_tree_find(&tree, "engine/runtime/stacks.txt");
	assert_non_null(file);
	stack_rules_read(&rules, file, &findings);
	assert_int_equal(findings.count, 0);
	memset(from, 'x', sizeof(from) - 1);
	context_prepare(&inside_context, stack, sizeof(stack), measure, NULL);
	size_t base = depth_of(nothing); /* the way to the function itself */
	assert_true(base <= 64);
	unsigned measured_count = 0;
	for (size_t i = 0; i < rules.outside_count; i++) {
		const struct outside_call *call = find_call(rules.outside[i].name);
		if (call->function == NULL)
			continue;
		measured_count++;
		size_t depth = deepest_of(call->function);
		print_message("%16s: %zu of %ld bytes\n", call->name, depth, rules.outside[i].bytes);
		if (4 * depth > 3 * (size_t)rules.outside[i].bytes)
			fail_msg("%s takes %zu bytes; %ld are listed, and a quarter has to be left",
				 call->name, depth, rules.outside[i].bytes);
	}
	assert_true(measured_count > 0);
	stack_rules_free(&rules);
	findings_free(&findings);
	source_tree_free(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listed_depths_hold),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
