#include "components/component.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/assert.h"
#include "components/cache/cache.h"
#include "components/codec/codec.h"
#include "components/compaction/policy.h"
#include "components/filters/filter.h"
#include "components/memtable/memtable.h"

#include "base/poison.h"

/*
 * The one list of variants: a row here and a file beside it make a variant. The first row of a kind is its
 * default. A row names the ops struct that the variant's file defines.
 */
#define MEMTABLE_VARIANTS(ROW) ROW(memtable_ops, memtable_btree) ROW(memtable_ops, memtable_skiplist)

#define FILTER_VARIANTS(ROW) \
	ROW(filter_ops, filter_cacheline) ROW(filter_ops, filter_block) ROW(filter_ops, filter_none)

#define CACHE_VARIANTS(ROW)          \
	ROW(cache_ops, cache_s3fifo) \
	ROW(cache_ops, cache_clock) ROW(cache_ops, cache_lru) ROW(cache_ops, cache_tinylfu)
#define CODEC_VARIANTS(ROW) ROW(codec_ops, codec_lz4) ROW(codec_ops, codec_zstd) ROW(codec_ops, codec_none)

#define COMPACTION_VARIANTS(ROW) ROW(policy_ops, policy_leveled)

#define DECLARE(type, variant) extern const struct type variant;
MEMTABLE_VARIANTS(DECLARE)
FILTER_VARIANTS(DECLARE)
CACHE_VARIANTS(DECLARE)
CODEC_VARIANTS(DECLARE)
COMPACTION_VARIANTS(DECLARE)

/* Callers cast the component back to its ops struct, so it has to come first. */
_Static_assert(offsetof(struct memtable_ops, component) == 0, "the component is the first member");
_Static_assert(offsetof(struct filter_ops, component) == 0, "the component is the first member");
_Static_assert(offsetof(struct cache_ops, component) == 0, "the component is the first member");
_Static_assert(offsetof(struct codec_ops, component) == 0, "the component is the first member");
_Static_assert(offsetof(struct policy_ops, component) == 0, "the component is the first member");

#define LIST(type, variant) &variant.component,
static const struct component *const memtables[] = { MEMTABLE_VARIANTS(LIST) NULL };
static const struct component *const filters[] = { FILTER_VARIANTS(LIST) NULL };
static const struct component *const caches[] = { CACHE_VARIANTS(LIST) NULL };
static const struct component *const codecs[] = { CODEC_VARIANTS(LIST) NULL };
static const struct component *const policies[] = { COMPACTION_VARIANTS(LIST) NULL };

static const struct kind {
	const char *name;
	const struct component *const *list;
} kinds[COMPONENT_KIND_COUNT] = {
	[COMPONENT_MEMTABLE] = { "memtable", memtables },
	[COMPONENT_FILTER] = { "filter", filters },
	[COMPONENT_CACHE] = { "cache", caches },
	[COMPONENT_CODEC] = { "codec", codecs },
	[COMPONENT_COMPACTION] = { "compaction", policies },
};

const char *component_kind_name(enum component_kind kind)
{
	ASSERT((unsigned)kind < COMPONENT_KIND_COUNT);
	return kinds[kind].name;
}

const struct component *const *component_list(enum component_kind kind)
{
	ASSERT((unsigned)kind < COMPONENT_KIND_COUNT);
	return kinds[kind].list;
}

const struct component *component_find(enum component_kind kind, const char *name)
{
	for (const struct component *const *row = component_list(kind); *row != NULL; row++) {
		if (strcmp((*row)->name, name) == 0)
			return *row;
	}
	return NULL;
}

/* --- the nearest name --- */

enum { NAME_COMPARED_MAX = 63 };

static char lower_case(char letter)
{
	return letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a') : letter;
}

static unsigned minimum(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/*
 * Damerau-Levenshtein distance without regard to case: insertions, deletions, replacements and swaps of
 * neighbours cost 1 each. Only the first NAME_COMPARED_MAX letters count, which bounds the work.
 */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned rows[3][NAME_COMPARED_MAX + 1];
	size_t size_a = strnlen(a, NAME_COMPARED_MAX);
	size_t size_b = strnlen(b, NAME_COMPARED_MAX);
	for (size_t j = 0; j <= size_b; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= size_a; i++) {
		unsigned *row = rows[i % 3];
		const unsigned *above = rows[(i + 2) % 3];
		const unsigned *two_above = rows[(i + 1) % 3];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= size_b; j++) {
			char letter_a = lower_case(a[i - 1]);
			char letter_b = lower_case(b[j - 1]);
			unsigned best = minimum(above[j], row[j - 1]) + 1;
			best = minimum(best, above[j - 1] + (letter_a != letter_b));
			if (i > 1 && j > 1 && letter_a == lower_case(b[j - 2]) &&
			    lower_case(a[i - 2]) == letter_b)
				best = minimum(best, two_above[j - 2] + 1);
			row[j] = best;
		}
	}
	return rows[size_a % 3][size_b];
}

const char *component_nearest(enum component_kind kind, const char *name)
{
	const struct component *const *row = component_list(kind);
	ASSERT(*row != NULL);
	const char *nearest = (*row)->name;
	unsigned least = edit_distance(name, nearest);
	for (row++; *row != NULL; row++) {
		unsigned distance = edit_distance(name, (*row)->name);
		if (distance < least) {
			least = distance;
			nearest = (*row)->name;
		}
	}
	return nearest;
}

/* --- options --- */

static const char *kind_of(const struct component *component)
{
	for (unsigned kind = 0; kind < COMPONENT_KIND_COUNT; kind++) {
		for (const struct component *const *row = kinds[kind].list; *row != NULL; row++) {
			if (*row == component)
				return kinds[kind].name;
		}
	}
	return "component";
}

static void option_store(const struct option *option, void *options, double value)
{
	uint8_t *at = (uint8_t *)options + option->offset;
	switch (option->type) {
	case OPTION_INTEGER:
	case OPTION_SIZE:
		memcpy(at, &(uint64_t) { (uint64_t)value }, sizeof(uint64_t));
		break;
	case OPTION_REAL:
		memcpy(at, &value, sizeof(value));
		break;
	case OPTION_BOOLEAN:
		memcpy(at, &(bool) { value != 0 }, sizeof(bool));
		break;
	}
}

void component_default_options(const struct component *component, void *options)
{
	if (component->options_size == 0)
		return;
	memset(options, 0, component->options_size);
	for (const struct option *option = component->options; option->name != NULL; option++)
		option_store(option, options, option->default_value);
}

static struct status option_unknown(const struct component *component, const char *name)
{
	const char *kind = kind_of(component);
	const struct option *option = component->options;
	if (option == NULL || option->name == NULL)
		return status_error(STATUS_NOT_FOUND, "%s %s has no options, so no \"%.40s\"", kind,
				    component->name, name);
	const char *nearest = option->name;
	unsigned least = edit_distance(name, nearest);
	for (option++; option->name != NULL; option++) {
		unsigned distance = edit_distance(name, option->name);
		if (distance < least) {
			least = distance;
			nearest = option->name;
		}
	}
	return status_error(STATUS_NOT_FOUND, "%s %s has no option \"%.40s\"; the nearest is \"%s\"", kind,
			    component->name, name, nearest);
}

struct status component_set_option(const struct component *component, void *options, const char *name,
				   double value)
{
	const struct option *option = component->options;
	while (option != NULL && option->name != NULL && strcmp(option->name, name) != 0)
		option++;
	if (option == NULL || option->name == NULL)
		return option_unknown(component, name);
	/* Written so that a NaN fails too. */
	if (!(value >= option->minimum && value <= option->maximum))
		return status_error(STATUS_INVALID, "%s %s: option \"%s\" is %.15g, but takes %.15g to %.15g",
				    kind_of(component), component->name, name, value, option->minimum,
				    option->maximum);
	if (option->type != OPTION_REAL && value != floor(value))
		return status_error(STATUS_INVALID,
				    "%s %s: option \"%s\" is %.15g, but takes whole numbers, %.15g to %.15g",
				    kind_of(component), component->name, name, value, option->minimum,
				    option->maximum);
	option_store(option, options, value);
	return status_ok();
}
