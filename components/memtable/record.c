#include "components/memtable/record_internal.h"

#include "base/poison.h"

static void record_prune(struct record *record, uint64_t oldest_needed, uint64_t *count)
{
	struct version *keep = version_find(record->newest, oldest_needed);
	if (keep == NULL)
		return;
	for (struct version *dropped = keep->older; dropped != NULL; dropped = dropped->older)
		(*count)--;
	keep->older = NULL;
	if ((record->tag & TAG_DROPPED) == 0) {
		record->tag |= TAG_DROPPED;
		(*count)--;
	}
}

struct status record_add_version(struct record *record, struct arena *arena, const struct entry *entry,
				 uint64_t oldest_needed, uint64_t *count)
{
	struct version *newest = record->newest;
	ASSERT(entry->sequence > tag_sequence(newest != NULL ? newest->tag : record->tag));
	struct version *version =
		arena_allocate(arena, sizeof(*version) + entry->value.size, _Alignof(struct version));
	if (version == NULL)
		return status_make(STATUS_NO_MEMORY);
	version->tag = tag_make(entry);
	version->value_size = (uint32_t)entry->value.size;
	if (entry->value.size > 0)
		memcpy(version->value, entry->value.data, entry->value.size);
	version->older = newest;
	version->jump = version;
	version->depth = 0;
	if (newest != NULL) {
		const struct version *jump = newest->jump;
		version->depth = newest->depth + 1;
		version->jump =
			newest->depth - jump->depth == jump->depth - jump->jump->depth ? jump->jump : newest;
	}
	record->newest = version;
	(*count)++;
	record_prune(record, oldest_needed, count);
	return status_ok();
}
