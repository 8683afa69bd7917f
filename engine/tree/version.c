#include "tree/version.h"

#include "base/assert.h"
#include "base/memory.h"

#include "base/poison.h"

void version_set_init(struct version_set *set)
{
	set->current = NULL;
	list_init(&set->dead);
	set->table_count = 0;
}

struct live_table *live_table_create(struct version_set *set, struct table *table)
{
	struct live_table *live = memory_allocate_zeroed(1, sizeof(*live));
	if (live == NULL)
		return NULL;
	live->table = table;
	list_init(&live->dead);
	set->table_count++;
	return live;
}

void live_table_reference(struct live_table *live)
{
	live->references++;
}

void live_table_release(struct version_set *set, struct live_table *live)
{
	ASSERT(live->references > 0);
	if (--live->references == 0)
		list_add_last(&set->dead, &live->dead);
}

static bool is_among(struct live_table *const *tables, size_t count, const struct live_table *wanted)
{
	for (size_t i = 0; i < count; i++) {
		if (tables[i] == wanted)
			return true;
	}
	return false;
}

static bool table_precedes(unsigned level, const struct live_table *a, const struct live_table *b)
{
	if (level == 0)
		return a->table->meta.number > b->table->meta.number;
	return slice_compare(a->table->meta.smallest, b->table->meta.smallest) < 0;
}

static void level_insert(struct version_level *level, unsigned number, struct live_table *live)
{
	size_t at = level->count;
	while (at > 0 && table_precedes(number, live, level->tables[at - 1])) {
		level->tables[at] = level->tables[at - 1];
		at--;
	}
	level->tables[at] = live;
	level->count++;
	level->bytes += live->table->meta.bytes;
	live_table_reference(live);
}

static struct status level_fill(struct version_level *level, unsigned number, const struct version *base,
				struct live_table *const *add, size_t add_count,
				struct live_table *const *remove, size_t remove_count)
{
	size_t capacity = base != NULL ? base->levels[number].count : 0;
	for (size_t i = 0; i < add_count; i++)
		capacity += add[i]->table->meta.level == number;
	if (capacity == 0)
		return status_ok();
	level->tables = memory_allocate(capacity * sizeof(struct live_table *));
	if (level->tables == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (size_t i = 0; base != NULL && i < base->levels[number].count; i++) {
		struct live_table *live = base->levels[number].tables[i];
		if (!is_among(remove, remove_count, live))
			level_insert(level, number, live);
	}
	for (size_t i = 0; i < add_count; i++) {
		if (add[i]->table->meta.level == number)
			level_insert(level, number, add[i]);
	}
	return status_ok();
}

/* Undoes a version that was never installed: its references go, but no table dies of it. */
static void version_discard(struct version *version)
{
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		struct version_level *level = &version->levels[l];
		for (size_t i = 0; i < level->count; i++)
			level->tables[i]->references--;
		memory_free(level->tables);
	}
	memory_free(version);
}

struct status version_create(const struct version *base, struct live_table *const *add, size_t add_count,
			     struct live_table *const *remove, size_t remove_count, struct version **result)
{
	struct version *version = memory_allocate_zeroed(1, sizeof(*version));
	if (version == NULL)
		return status_make(STATUS_NO_MEMORY);
	version->references = 1;
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		struct status status =
			level_fill(&version->levels[l], l, base, add, add_count, remove, remove_count);
		if (!status_is_ok(status)) {
			version_discard(version);
			return status;
		}
	}
	*result = version;
	return status_ok();
}

void version_reference(struct version *version)
{
	version->references++;
}

void version_release(struct version_set *set, struct version *version)
{
	ASSERT(version->references > 0);
	if (--version->references > 0)
		return;
	for (unsigned l = 0; l < LEVELS_MAX; l++) {
		struct version_level *level = &version->levels[l];
		for (size_t i = 0; i < level->count; i++)
			live_table_release(set, level->tables[i]);
		memory_free(level->tables);
	}
	memory_free(version);
}

void version_install(struct version_set *set, struct version *version)
{
	struct version *old = set->current;
	set->current = version;
	if (old != NULL)
		version_release(set, old);
}

size_t version_level_find(const struct version_level *level, struct slice key)
{
	size_t low = 0;
	size_t high = level->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (slice_compare(level->tables[middle]->table->meta.largest, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct status version_check(const struct version *version)
{
	for (unsigned l = 1; l < LEVELS_MAX; l++) {
		const struct version_level *level = &version->levels[l];
		for (size_t i = 1; i < level->count; i++) {
			const struct manifest_table *left = &level->tables[i - 1]->table->meta;
			const struct manifest_table *right = &level->tables[i]->table->meta;
			if (slice_compare(left->largest, right->smallest) >= 0)
				return status_error(STATUS_CORRUPT, "%s: overlaps table %llu at level %u",
						    level->tables[i]->table->file.path,
						    (unsigned long long)left->number, l);
		}
	}
	return status_ok();
}
