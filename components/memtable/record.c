#include "components/memtable/record_internal.h"

#include "base/poison.h"

_Static_assert(_Alignof(struct chain) > TAG_IS_NO_TAG, "a chain's address is told from a tag");
_Static_assert(sizeof(uintptr_t) == sizeof(uint64_t), "an address takes a tag's place");

static void chain_prune(struct chain *chain, uint64_t oldest_needed, uint64_t *count)
{
	struct version *keep = version_find(chain->newest, oldest_needed);
	if (keep == NULL)
		return;
	for (struct version *dropped = keep->older; dropped != NULL; dropped = dropped->older) {
		dropped->tag |= TAG_DROPPED;
		(*count)--;
	}
	keep->older = NULL;
	if (!tag_is_dropped(chain->tag)) {
		chain->tag |= TAG_DROPPED;
		(*count)--;
	}
}

static void version_fill(struct version *version, const struct entry *entry, struct version *newest)
{
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
}

struct status held_add_version(struct held *held, struct arena *arena, const struct entry *entry,
			       uint64_t oldest_needed, uint64_t *count)
{
	struct record *record = held_record(*held);
	uint8_t *place = (uint8_t *)record + (record_parts(record).tag - (const uint8_t *)record);
	struct record_versions versions = record_versions(record);
	ASSERT(entry->sequence >
	       tag_sequence(versions.newest != NULL ? versions.newest->tag : versions.first_tag));
	uint64_t word = load_word(place);
	bool single = (word & TAG_IS_NO_TAG) != 0;
	/* The second version comes with the chain, in one piece: most keys that have two never have more. */
	size_t before = single ? sizeof(struct chain) : 0;
	uint8_t *memory = arena_allocate(arena, before + sizeof(struct version) + entry->value.size,
					 _Alignof(struct version));
	if (memory == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct chain *chain = (struct chain *)(void *)memory;
	if (single) {
		chain->tag = word;
		word = (uintptr_t)chain;
		memcpy(place, &word, sizeof(word));
	} else {
		chain = (struct chain *)(uintptr_t)word;
	}
	chain->newest = (struct version *)(void *)(memory + before);
	version_fill(chain->newest, entry, versions.newest);
	(*count)++;
	chain_prune(chain, oldest_needed, count);
	return status_ok();
}
