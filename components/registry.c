#include "components/component.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/exported.h"
#include "base/hash.h"
#include "base/memory.h"
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
#define MEMTABLE_VARIANTS(ROW)               \
	ROW(memtable_ops, memtable_btree)    \
	ROW(memtable_ops, memtable_skiplist) \
	ROW(memtable_ops, memtable_art)      \
	ROW(memtable_ops, memtable_sorted_hash) ROW(memtable_ops, memtable_null)

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

/* The in-tree rows stand from the start; component_register appends. NULL ends a list. */
#define LIST(type, variant) &variant.component,
static const struct component *lists[COMPONENT_KIND_COUNT][COMPONENT_VARIANTS_MAX + 1] = {
	[COMPONENT_MEMTABLE] = { MEMTABLE_VARIANTS(LIST) },
	[COMPONENT_FILTER] = { FILTER_VARIANTS(LIST) },
	[COMPONENT_CACHE] = { CACHE_VARIANTS(LIST) },
	[COMPONENT_CODEC] = { CODEC_VARIANTS(LIST) },
	[COMPONENT_COMPACTION] = { COMPACTION_VARIANTS(LIST) },
};

static const char *const kind_names[COMPONENT_KIND_COUNT] = {
	[COMPONENT_MEMTABLE] = "memtable", [COMPONENT_FILTER] = "filter",	  [COMPONENT_CACHE] = "cache",
	[COMPONENT_CODEC] = "codec",	   [COMPONENT_COMPACTION] = "compaction",
};

const char *component_kind_name(enum component_kind kind)
{
	ASSERT((unsigned)kind < COMPONENT_KIND_COUNT);
	return kind_names[kind];
}

const struct component *const *component_list(enum component_kind kind)
{
	ASSERT((unsigned)kind < COMPONENT_KIND_COUNT);
	return lists[kind];
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
		for (const struct component *const *row = lists[kind]; *row != NULL; row++) {
			if (*row == component)
				return kind_names[kind];
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

/* --- variants from elsewhere --- */

/*
 * A shared object with variants calls these by name. Here they are named so that whatever program can
 * register variants has them, whether it needs them itself or not; base/exported.h lists them all.
 */
#define KEEP(function) (void (*)(void)) function,
__attribute__((used)) static void (*const callable[])(void) = { EXPORTED_FUNCTIONS(KEEP) };

/* Of the letters that names in workload files have, and not too long. */
static bool name_is_good(const char *name)
{
	size_t length = name != NULL ? strnlen(name, COMPONENT_NAME_MAX + 1) : 0;
	return length > 0 && length <= COMPONENT_NAME_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

static size_t option_bytes(enum option_type type)
{
	if (type == OPTION_BOOLEAN)
		return sizeof(bool);
	return type == OPTION_REAL ? sizeof(double) : sizeof(uint64_t);
}

/* What is wrong with an option's numbers, NULL if nothing is. */
static const char *option_numbers_fault(const struct option *option)
{
	/* Written so that a NaN fails too. */
	if (!(option->minimum <= option->default_value && option->default_value <= option->maximum))
		return "its default is not within its minimum and maximum";
	if (!isfinite(option->minimum) || !isfinite(option->maximum))
		return "its minimum or maximum is infinite";
	if (option->type == OPTION_REAL)
		return NULL;
	/* Beyond 2^53 a double does not hold every whole number. */
	if (option->minimum < 0 || option->maximum > (option->type == OPTION_BOOLEAN ? 1 : 0x1p53))
		return "its minimum or maximum is not of its type";
	return option->default_value == floor(option->default_value) ? NULL : "its default is not whole";
}

/* What is wrong with an option, NULL if nothing is. */
static const char *option_fault(const struct component *component, const struct option *option)
{
	if (!name_is_good(option->name))
		return "its name is not 1 to 31 of a-z, 0-9 and _";
	if (option->help == NULL || option->help[0] == '\0')
		return "it has no help text";
	if ((unsigned)option->type > OPTION_BOOLEAN)
		return "its type is unknown";
	if (option->offset > component->options_size ||
	    component->options_size - option->offset < option_bytes(option->type))
		return "it lies outside the options struct (options_size)";
	for (const struct option *other = component->options; other != option; other++) {
		if (strcmp(other->name, option->name) == 0)
			return "it is there twice";
	}
	return option_numbers_fault(option);
}

static struct status check_options(const char *kind, const struct component *component)
{
	const struct option *option = component->options;
	if ((option == NULL || option->name == NULL) && component->options_size != 0)
		return status_error(STATUS_INVALID, "%s %s: options_size is %zu without an option", kind,
				    component->name, component->options_size);
	if (component->options_size > COMPONENT_OPTIONS_SIZE_MAX)
		return status_error(STATUS_INVALID, "%s %s: options_size is %zu, at most %u is allowed", kind,
				    component->name, component->options_size, COMPONENT_OPTIONS_SIZE_MAX);
	for (unsigned count = 0; option != NULL && option->name != NULL; option++) {
		if (count++ == COMPONENT_OPTIONS_MAX)
			return status_error(STATUS_INVALID, "%s %s: more than %u options", kind,
					    component->name, COMPONENT_OPTIONS_MAX);
		const char *fault = option_fault(component, option);
		if (fault != NULL)
			return status_error(STATUS_INVALID, "%s %s: option \"%.40s\": %s", kind,
					    component->name, option->name, fault);
	}
	return status_ok();
}

static struct status check_description(const char *kind, const struct component *component)
{
	if (component == NULL)
		return status_error(STATUS_INVALID, "%s: a row without a component", kind);
	if (component->abi != COMPONENT_ABI)
		return status_error(STATUS_INVALID,
				    "a %s is of component ABI %" PRIu32 ", but this program takes %u: "
				    "compile it with this program's headers (and address sanitizer)",
				    kind, component->abi, (unsigned)COMPONENT_ABI);
	if (!name_is_good(component->name))
		return status_error(STATUS_INVALID, "%s: the name \"%.40s\" is not 1 to %u of a-z, 0-9 and _",
				    kind, component->name != NULL ? component->name : "", COMPONENT_NAME_MAX);
	size_t summary = component->summary != NULL ? strlen(component->summary) : 0;
	if (summary == 0 || summary > COMPONENT_SUMMARY_MAX || strchr(component->summary, '\n') != NULL)
		return status_error(STATUS_INVALID, "%s %s: its summary is not one line of 1 to %u letters",
				    kind, component->name, COMPONENT_SUMMARY_MAX);
	return check_options(kind, component);
}

/* --- what each kind requires --- */

/* The first required function of a variant that is not there, NULL: none is missing. */
static const char *memtable_lacks(const struct memtable_ops *ops)
{
	return ops->create == NULL	    ? "create"
	       : ops->insert == NULL	    ? "insert"
	       : ops->get == NULL	    ? "get"
	       : ops->count == NULL	    ? "count"
	       : ops->iterator_init == NULL ? "iterator_init"
	       : ops->seek == NULL	    ? "seek"
	       : ops->seek_back == NULL	    ? "seek_back"
	       : ops->seek_last == NULL	    ? "seek_last"
	       : ops->next == NULL	    ? "next"
	       : ops->prev == NULL	    ? "prev"
					    : NULL;
}

static const char *filter_lacks(const struct filter_ops *ops)
{
	return ops->size == NULL	  ? "size"
	       : ops->build == NULL	  ? "build"
	       : ops->may_contain == NULL ? "may_contain"
					  : NULL;
}

static const char *cache_lacks(const struct cache_ops *ops)
{
	return ops->memory_size == NULL ? "memory_size"
	       : ops->create == NULL	? "create"
	       : ops->insert == NULL	? "insert"
	       : ops->touch == NULL	? "touch"
	       : ops->evict == NULL	? "evict"
	       : ops->remove == NULL	? "remove"
	       : ops->resident == NULL	? "resident"
					: NULL;
}

static const char *codec_lacks(const struct codec_ops *ops)
{
	return ops->context_size == NULL ? "context_size"
	       : ops->compress == NULL	 ? "compress"
	       : ops->decompress == NULL ? "decompress"
					 : NULL;
}

static const char *policy_lacks(const struct policy_ops *ops)
{
	return ops->pick == NULL	    ? "pick"
	       : ops->debt == NULL	    ? "debt"
	       : ops->level0_limits == NULL ? "level0_limits"
					    : NULL;
}

static const char *missing_function(enum component_kind kind, const struct component *component)
{
	const void *ops = component;
	switch (kind) {
	case COMPONENT_MEMTABLE:
		return memtable_lacks(ops);
	case COMPONENT_FILTER:
		return filter_lacks(ops);
	case COMPONENT_CACHE:
		return cache_lacks(ops);
	case COMPONENT_CODEC:
		return codec_lacks(ops);
	case COMPONENT_COMPACTION:
		return policy_lacks(ops);
	case COMPONENT_KIND_COUNT:
		break;
	}
	return NULL;
}

/* The number that files say a variant by; 0: its kind has none. */
static unsigned format_id(enum component_kind kind, const struct component *component)
{
	const void *ops = component;
	if (kind == COMPONENT_CODEC)
		return ((const struct codec_ops *)ops)->format_id;
	return kind == COMPONENT_FILTER ? ((const struct filter_ops *)ops)->format_id : 0;
}

static struct status check_format_id(enum component_kind kind, const struct component *component)
{
	if (kind != COMPONENT_CODEC && kind != COMPONENT_FILTER)
		return status_ok();
	unsigned id = format_id(kind, component);
	unsigned max = kind == COMPONENT_CODEC ? 15 : 255;
	if (id < 1 || id > max)
		return status_error(STATUS_INVALID, "%s %s: its format_id is %u, but has to be 1 to %u",
				    kind_names[kind], component->name, id, max);
	for (const struct component *const *row = lists[kind]; *row != NULL; row++) {
		if (format_id(kind, *row) == id)
			return status_error(STATUS_INVALID, "%s %s: its format_id, %u, is that of %s",
					    kind_names[kind], component->name, id, (*row)->name);
	}
	return status_ok();
}

struct status component_register(enum component_kind kind, const struct component *component)
{
	if ((unsigned)kind >= COMPONENT_KIND_COUNT)
		return status_error(STATUS_INVALID, "there is no component kind %u", (unsigned)kind);
	const char *name = kind_names[kind];
	TRY(check_description(name, component));
	const char *missing = missing_function(kind, component);
	if (missing != NULL)
		return status_error(STATUS_INVALID, "%s %s lacks the function %s", name, component->name,
				    missing);
	if (component_find(kind, component->name) != NULL)
		return status_error(STATUS_INVALID, "%s %s: there is a variant of that name already", name,
				    component->name);
	TRY(check_format_id(kind, component));
	size_t count = 0;
	while (lists[kind][count] != NULL)
		count++;
	if (count == COMPONENT_VARIANTS_MAX)
		return status_error(STATUS_NO_SPACE, "%s %s: there are %u variants of the kind, and no room",
				    name, component->name, COMPONENT_VARIANTS_MAX);
	lists[kind][count] = component;
	return status_ok();
}

static bool is_registered(const struct component_row *row)
{
	if ((unsigned)row->kind >= COMPONENT_KIND_COUNT || row->component == NULL)
		return false;
	for (const struct component *const *known = lists[row->kind]; *known != NULL; known++) {
		if (*known == row->component)
			return true;
	}
	return false;
}

/* Takes back the variant that was appended last. */
static void unregister_last(enum component_kind kind)
{
	size_t count = 0;
	while (lists[kind][count] != NULL)
		count++;
	ASSERT(count > 0);
	lists[kind][count - 1] = NULL;
}

struct status component_register_module(const struct component_module *module)
{
	/* Nothing else of it is read before that: what comes after may be otherwise in another ABI. */
	if (module->abi != COMPONENT_ABI)
		return status_error(STATUS_INVALID,
				    "it is of component ABI %" PRIu32 ", but this program takes %u: compile "
				    "it with this program's headers (and address sanitizer)",
				    module->abi, (unsigned)COMPONENT_ABI);
	if (module->count == 0 || module->rows == NULL)
		return status_error(STATUS_INVALID, "it has no variants");
	uint32_t known = 0;
	while (known < module->count && is_registered(&module->rows[known]))
		known++;
	if (known == module->count)
		return status_ok();
	for (uint32_t i = 0; i < module->count; i++) {
		struct status status = component_register(module->rows[i].kind, module->rows[i].component);
		if (!status_is_ok(status)) {
			while (i > 0)
				unregister_last(module->rows[--i].kind);
			return status;
		}
	}
	return status_ok();
}
