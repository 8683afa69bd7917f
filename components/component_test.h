/*
 * component_test.h: what the conformance suites of all kinds share: which variants a suite runs over, with
 * which seeds, with which options, and bytes behind which nothing may be touched.
 *
 * A suite runs over every row of the registry. With PATH.so[:PATH.so] in the environment it runs over the
 * variants of those modules instead, and only over them:
 *
 *	CASCADE_TEST_COMPONENTS=./my_variant.so build/release/memtable_test
 *
 * Each test runs COMPONENT_SEEDS times for each variant. The seed of a run is printed before it begins;
 * CASCADE_TEST_SEED=N runs that one alone.
 */
#ifndef CASCADE_COMPONENTS_COMPONENT_TEST_H
#define CASCADE_COMPONENTS_COMPONENT_TEST_H

#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>

#include "components/component.h"
#include "test.h"

enum { COMPONENT_SEEDS = 5 };

/* Where a suite begins in each kind's list: behind the in-tree rows if it is to test a module. */
static size_t component_first_row[COMPONENT_KIND_COUNT];

/* --- variants from elsewhere --- */

/* A path counts from the working directory. */
static inline int component_test_load(const char *path)
{
	char file[4096];
	char text[256];
	(void)snprintf(file, sizeof(file), "%s%s", strchr(path, '/') != NULL ? "" : "./", path);
	/* Never closed: the registry points into it. */
	void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL) {
		print_error("%s\n", dlerror());
		return -1;
	}
	const struct component_module *module = dlsym(library, "cascade_components");
	if (module == NULL) {
		print_error("%s: it does not define cascade_components\n", path);
		return -1;
	}
	struct status status = component_register_module(module);
	if (status_is_ok(status))
		return 0;
	status_describe(status, text, sizeof(text));
	print_error("%s: %s\n", path, text);
	return -1;
}

/* The group's setup of every suite. */
static inline int component_test_setup(void **state)
{
	const char *paths = getenv("CASCADE_TEST_COMPONENTS");
	(void)state;
	if (paths == NULL || paths[0] == '\0')
		return 0;
	for (unsigned kind = 0; kind < COMPONENT_KIND_COUNT; kind++) {
		const struct component *const *list = component_list((enum component_kind)kind);
		while (list[component_first_row[kind]] != NULL)
			component_first_row[kind]++;
	}
	char *copy = strdup(paths);
	assert_non_null(copy);
	int result = 0;
	char *rest = copy;
	for (char *path = strsep(&rest, ":"); path != NULL && result == 0; path = strsep(&rest, ":")) {
		if (path[0] != '\0')
			result = component_test_load(path);
	}
	free(copy);
	return result;
}

/* --- runs --- */

/* The variants that the suite runs over, ended by NULL. */
static inline const struct component *const *component_test_rows(enum component_kind kind)
{
	return component_list(kind) + component_first_row[kind];
}

/* How many seeds each test has, and the first of them. */
static inline uint64_t component_test_seeds(uint64_t fixed, unsigned *count)
{
	*count = getenv("CASCADE_TEST_SEED") != NULL ? 1 : COMPONENT_SEEDS;
	return test_seed(fixed);
}

typedef void component_test(const struct component *component, uint64_t seed);

static inline void component_test_each(enum component_kind kind, component_test *test, uint64_t fixed)
{
	unsigned seeds;
	uint64_t first = component_test_seeds(fixed, &seeds);
	for (const struct component *const *row = component_test_rows(kind); *row != NULL; row++) {
		for (unsigned i = 0; i < seeds; i++) {
			print_message("%s %s, seed %llu\n", component_kind_name(kind), (*row)->name,
				      (unsigned long long)(first + i));
			/* It is out when the run ends the program. */
			(void)fflush(stdout);
			test(*row, first + i);
		}
	}
}

/* For what no seed changes. */
static inline void component_test_once(enum component_kind kind,
				       void (*test)(const struct component *component))
{
	for (const struct component *const *row = component_test_rows(kind); *row != NULL; row++) {
		print_message("%s %s\n", component_kind_name(kind), (*row)->name);
		(void)fflush(stdout);
		test(*row);
	}
}

/* --- options --- */

/* The variant's defaults; the caller frees them. Not NULL without options either. */
static inline void *component_test_options(const struct component *component)
{
	void *options = calloc(1, component->options_size + 1);
	assert_non_null(options);
	component_default_options(component, options);
	return options;
}

static inline size_t component_test_option_count(const struct component *component)
{
	size_t count = 0;
	while (component->options != NULL && component->options[count].name != NULL)
		count++;
	return count;
}

/*
 * Sets number `which` of the extremes of a variant's options: each option at its least and at its most, all
 * else as it was. False: there are no more of them.
 */
static inline bool component_test_extreme(const struct component *component, void *options, size_t which)
{
	if (which / 2 >= component_test_option_count(component))
		return false;
	const struct option *option = &component->options[which / 2];
	double value = which % 2 == 0 ? option->minimum : option->maximum;
	print_message("%s: %s = %g\n", component->name, option->name, value);
	(void)fflush(stdout);
	assert_ok(component_set_option(component, options, option->name, value));
	return true;
}

/* --- bytes with a fence --- */

enum { FENCE_PAGE = 4096 };

/* The byte behind the last one cannot be touched: in any build a step over the end ends the program. */
struct fenced {
	uint8_t *bytes;
	uint8_t *map;
	size_t map_size;
};

static inline struct fenced fenced_make(size_t size)
{
	size_t pages = (size + FENCE_PAGE - 1) / FENCE_PAGE;
	struct fenced fenced = { .map_size = (pages + 1) * FENCE_PAGE };
	fenced.map = mmap(NULL, fenced.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(fenced.map != MAP_FAILED);
	assert_int_equal(mprotect(fenced.map + pages * FENCE_PAGE, FENCE_PAGE, PROT_NONE), 0);
	fenced.bytes = fenced.map + pages * FENCE_PAGE - size;
	return fenced;
}

static inline struct fenced fenced_copy(const void *bytes, size_t size)
{
	struct fenced fenced = fenced_make(size);
	if (size > 0)
		memcpy(fenced.bytes, bytes, size);
	return fenced;
}

static inline void fenced_free(struct fenced *fenced)
{
	(void)munmap(fenced->map, fenced->map_size);
}

#endif
