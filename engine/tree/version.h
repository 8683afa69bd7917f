/*
 * version.h: which tables make up the tree at one moment. A version is immutable; a merge or flush installs
 * a new one, and readers that hold the old keep its tables alive. Private to tree/.
 */
#ifndef CASCADE_TREE_VERSION_H
#define CASCADE_TREE_VERSION_H

#include "base/list.h"
#include "components/compaction/policy.h"
#include "manifest/manifest.h"
#include "table/table.h"

/* An open table as versions share it. */
struct live_table {
	struct table *table;
	uint32_t references; /* of versions and pinned values */
	bool busy;	     /* input of a merge under way */
	bool obsolete;	     /* a durable manifest has dropped it: unlink once unreferenced */
	struct list dead;    /* in version_set.dead when unreferenced */
};

struct version_level {
	struct live_table **tables; /* level 0: newest first; others: by key, disjoint */
	size_t count;
	uint64_t bytes;
};

struct version {
	uint32_t references;
	struct version_level levels[LEVELS_MAX];
};

/* Where unreferenced tables go; whoever owns it closes them. */
struct version_set {
	struct version *current;
	struct list dead;
	uint64_t table_count; /* open, dead ones included */
};

void version_set_init(struct version_set *set);

/* A live_table around an open table, unreferenced. NULL: no memory. */
struct live_table *live_table_create(struct version_set *set, struct table *table);
void live_table_reference(struct live_table *live);
void live_table_release(struct version_set *set, struct live_table *live);

/*
 * Makes a version from `base` (NULL: empty) less `remove`, plus `add` (each goes to its table's meta.level).
 * One reference. Tables get a reference each. STATUS_NO_MEMORY: nothing happened.
 */
MUST_CHECK struct status version_create(const struct version *base, struct live_table *const *add,
					size_t add_count, struct live_table *const *remove,
					size_t remove_count, struct version **version);

void version_reference(struct version *version);
void version_release(struct version_set *set, struct version *version);

/* Replaces the current version, taking over the reference. */
void version_install(struct version_set *set, struct version *version);

/* In a sorted level: the index of the first table whose largest key >= key; count if there is none. */
size_t version_level_find(const struct version_level *level, struct slice key);

/* Asserts order and disjointness. STATUS_CORRUPT (for tables as opened) names the pair. */
MUST_CHECK struct status version_check(const struct version *version);

#endif
