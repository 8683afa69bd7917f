/*
 * planted.c: which planted bug is there, by the environment. Part of builds with CASCADE_PLANTED alone.
 *
 * CASCADE_PLANT=M4 chooses; CASCADE_PLANT=list prints all. At the end of the process stderr says how often
 * the chosen one was met: one that was never met was not missed by the tests but never made.
 */
#include "base/planted.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const struct {
	const char *name;
	const char *what;
} bugs[PLANTED_COUNT] = {
#define PLANTED_ROW(bug, text) [PLANTED_##bug] = { #bug, text },
	PLANTED_BUGS(PLANTED_ROW)
#undef PLANTED_ROW
};

enum planted planted_chosen;

/* How often it was met; shared with the child processes in which a campaign runs its seeds. NULL: none is
 * chosen. */
static atomic_ullong *met;

bool planted_choose(const char *name)
{
	planted_chosen = PLANTED_NONE;
	for (unsigned i = 1; i < PLANTED_COUNT && name != NULL; i++) {
		if (strcmp(bugs[i].name, name) == 0)
			planted_chosen = (enum planted)i;
	}
	return name == NULL || planted_chosen != PLANTED_NONE;
}

bool planted_meet(void)
{
	if (met != NULL)
		atomic_fetch_add_explicit(met, 1, memory_order_relaxed);
	return true;
}

static void report(void)
{
	(void)fprintf(stderr, "planted: %s: met %llu times\n", bugs[planted_chosen].name,
		      (unsigned long long)atomic_load(met));
}

/* Before main, so that every test program has it without knowing. */
__attribute__((constructor)) static void choose_by_environment(void)
{
	const char *name = getenv("CASCADE_PLANT");
	if (name == NULL || *name == '\0')
		return;
	if (strcmp(name, "list") == 0) {
		for (unsigned i = 1; i < PLANTED_COUNT; i++)
			(void)printf("%s\t%s\n", bugs[i].name, bugs[i].what);
		exit(0);
	}
	if (!planted_choose(name)) {
		(void)fprintf(stderr, "planted: %s: no such bug\n", name);
		exit(2);
	}
	void *shared = mmap(NULL, sizeof(*met), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return;
	met = shared;
	(void)atexit(report);
}
