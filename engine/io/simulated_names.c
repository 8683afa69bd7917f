/*
 * simulated_names.c: directories. Readers see one map of names, a crash finds another, and between them lies
 * the world's list of pending changes in their order.
 */
#include <errno.h>
#include <string.h>

#include "io/simulated_internal.h"

enum { NAME_MAX_BYTES = 255 };

/* --- inodes --- */

struct sim_inode *sim_inode_create(struct simulated_world *world, bool is_directory)
{
	struct sim_inode *inode = sim_take(sizeof(*inode));
	inode->number = ++world->inode_numbers;
	inode->is_directory = is_directory;
	inode->next = world->inodes;
	inode->link = &world->inodes;
	if (inode->next != NULL)
		inode->next->link = &inode->next;
	world->inodes = inode;
	return inode;
}

void sim_inode_hold(struct sim_inode *inode)
{
	inode->references++;
}

static void free_contents(struct sim_inode *inode)
{
	for (size_t i = 0; i < inode->leaf_count; i++) {
		struct sim_leaf *leaf = inode->leaves[i];
		for (unsigned unit = 0; leaf != NULL && unit < LEAF_UNITS; unit++) {
			sim_unit_drop_pending(&leaf->units[unit]);
			sim_cell_drop(leaf->units[unit].durable);
		}
		sim_drop(leaf);
	}
	sim_drop(inode->leaves);
	sim_drop(inode->sizes);
}

void sim_inode_drop(struct simulated_world *world, struct sim_inode *inode)
{
	ASSERT(inode->references > 0);
	if (--inode->references > 0)
		return;
	ASSERT(inode->holders == 0);
	*inode->link = inode->next;
	if (inode->next != NULL)
		inode->next->link = inode->link;
	free_contents(inode);
	sim_names_clear(world, &inode->seen, true);
	sim_names_clear(world, &inode->durable, false);
	sim_drop(inode);
}

void sim_inode_use(struct sim_inode *inode)
{
	sim_inode_hold(inode);
	inode->holders++;
}

/* The room of what no reader can reach is free, though a crash may bring the file back. */
void sim_inode_leave(struct simulated_world *world, struct sim_inode *inode)
{
	ASSERT(inode->holders > 0);
	if (--inode->holders == 0) {
		ASSERT(world->used_units >= inode->unit_count);
		world->used_units -= inode->unit_count;
		inode->unit_count = 0;
	}
	sim_inode_drop(world, inode);
}

/* --- maps of names --- */

struct sim_entry *sim_names_find(const struct sim_names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->entries[i].name, name) == 0)
			return &names->entries[i];
	return NULL;
}

static void let_go(struct simulated_world *world, struct sim_inode *inode, bool seen)
{
	if (seen)
		sim_inode_leave(world, inode);
	else
		sim_inode_drop(world, inode);
}

static void take_away(struct simulated_world *world, struct sim_names *names, struct sim_entry *entry,
		      bool seen)
{
	struct sim_entry gone = *entry;
	*entry = names->entries[--names->count];
	sim_drop(gone.name);
	let_go(world, gone.inode, seen);
}

void sim_names_set(struct simulated_world *world, struct sim_names *names, const char *name,
		   struct sim_inode *inode, bool seen)
{
	struct sim_entry *entry = sim_names_find(names, name);
	if (inode == NULL) {
		if (entry != NULL)
			take_away(world, names, entry, seen);
		return;
	}
	if (seen)
		sim_inode_use(inode);
	else
		sim_inode_hold(inode);
	if (entry != NULL) {
		struct sim_inode *gone = entry->inode;
		entry->inode = inode;
		let_go(world, gone, seen);
		return;
	}
	if (names->count == names->capacity) {
		names->capacity = names->capacity == 0 ? 8 : 2 * names->capacity;
		names->entries = sim_resize(names->entries, names->capacity * sizeof(*names->entries));
	}
	names->entries[names->count++] =
		(struct sim_entry) { .name = sim_copy_text(name, strlen(name)), .inode = inode };
}

void sim_names_clear(struct simulated_world *world, struct sim_names *names, bool seen)
{
	while (names->count > 0)
		take_away(world, names, &names->entries[names->count - 1], seen);
	sim_drop(names->entries);
	*names = (struct sim_names) { 0 };
}

/* --- paths --- */

/* The next part of the path, past slashes and "."; false at its end. */
static bool next_part(const char **path, char *part, int *error)
{
	for (;;) {
		*path += strspn(*path, "/");
		size_t size = strcspn(*path, "/");
		if (size == 0)
			return false;
		if (size > NAME_MAX_BYTES) {
			*error = ENAMETOOLONG;
			return false;
		}
		memcpy(part, *path, size);
		part[size] = '\0';
		*path += size;
		if (strcmp(part, ".") != 0)
			return true;
	}
}

/*
 * The directory that holds the path's last part, and that part (empty for the root itself). Paths are taken
 * from the root, whether they begin with a slash or not; ".." is not known.
 */
static struct sim_inode *find_directory(const struct simulated_world *world, const char *path, char *last,
					int *error)
{
	struct sim_inode *directory = world->root;
	char part[NAME_MAX_BYTES + 1];
	last[0] = '\0';
	*error = 0;
	while (next_part(&path, part, error)) {
		if (last[0] != '\0') {
			const struct sim_entry *entry = sim_names_find(&directory->seen, last);
			*error = entry == NULL ? ENOENT : !entry->inode->is_directory ? ENOTDIR : 0;
			if (*error != 0)
				return NULL;
			directory = entry->inode;
		}
		memcpy(last, part, sizeof(part));
	}
	return *error == 0 ? directory : NULL;
}

struct sim_inode *sim_find(const struct simulated_world *world, const char *path, int *error)
{
	char last[NAME_MAX_BYTES + 1];
	struct sim_inode *directory = find_directory(world, path, last, error);
	if (directory == NULL || last[0] == '\0')
		return directory;
	const struct sim_entry *entry = sim_names_find(&directory->seen, last);
	*error = entry == NULL ? ENOENT : 0;
	return entry != NULL ? entry->inode : NULL;
}

/* --- changes --- */

static void add_change(struct simulated_world *world, enum io_operation operation,
		       struct sim_inode *directory, const char *name, struct sim_inode *directory_to,
		       const char *name_to, struct sim_inode *inode)
{
	struct sim_change *change = sim_take(sizeof(*change));
	*change = (struct sim_change) {
		.operation = operation,
		.stamp = ++world->stamp,
		.directory = directory,
		.directory_to = directory_to,
		.inode = inode,
		.name = sim_copy_text(name, strlen(name)),
		.name_to = name_to != NULL ? sim_copy_text(name_to, strlen(name_to)) : NULL,
	};
	sim_inode_hold(directory);
	sim_inode_hold(inode);
	if (directory_to != NULL)
		sim_inode_hold(directory_to);
	*world->changes_end = change;
	world->changes_end = &change->next;
}

/* On the durable plane. A change whose ground is missing, because an earlier one was lost, is made all the
 * same as far as it goes. */
void sim_change_apply(struct simulated_world *world, const struct sim_change *change)
{
	const struct sim_entry *entry = sim_names_find(&change->directory->durable, change->name);
	bool stands = entry != NULL && entry->inode == change->inode;
	switch (change->operation) {
	case IO_OPEN:
	case IO_MAKE_DIRECTORY:
		sim_names_set(world, &change->directory->durable, change->name, change->inode, false);
		break;
	case IO_RENAME:
		if (stands)
			sim_names_set(world, &change->directory->durable, change->name, NULL, false);
		sim_names_set(world, &change->directory_to->durable, change->name_to, change->inode, false);
		break;
	default:
		ASSERT(change->operation == IO_UNLINK);
		if (stands)
			sim_names_set(world, &change->directory->durable, change->name, NULL, false);
		break;
	}
}

void sim_change_free(struct simulated_world *world, struct sim_change *change)
{
	sim_inode_drop(world, change->inode);
	sim_inode_drop(world, change->directory);
	if (change->directory_to != NULL)
		sim_inode_drop(world, change->directory_to);
	sim_drop(change->name);
	sim_drop(change->name_to);
	sim_drop(change);
}

static bool concerns(const struct sim_change *change, const struct sim_inode *directory)
{
	return change->directory == directory || change->directory_to == directory;
}

/*
 * A rename between directories reaches the disk in one step and after what it stands on, so it takes all
 * that came before it along. Returns the stamp up to which everything goes.
 */
static uint64_t taken_along(const struct simulated_world *world, const struct sim_inode *directory,
			    uint64_t stamp)
{
	uint64_t all = 0;
	for (const struct sim_change *change = world->changes; change != NULL; change = change->next)
		if (change->stamp <= stamp && !change->clean && change->directory_to != NULL &&
		    change->directory_to != change->directory && concerns(change, directory))
			all = change->stamp;
	return all;
}

/* Also a change that a failed sync gave up, when one that stands on it is made durable. */
static bool is_carried(const struct sim_change *given_up, const struct sim_inode *directory, uint64_t stamp)
{
	for (const struct sim_change *change = given_up->next; change != NULL; change = change->next)
		if (change->stamp <= stamp && !change->clean && change->inode == given_up->inode &&
		    concerns(change, directory))
			return true;
	return false;
}

static bool has_name(const struct sim_change *change, const struct sim_inode *directory, const char *name)
{
	return (change->directory == directory && strcmp(change->name, name) == 0) ||
	       (change->directory_to == directory && strcmp(change->name_to, name) == 0);
}

/*
 * What a failed sync gave up cannot come about any more once something later is durable under the same name.
 * `link` points to what comes behind the applied change; returns where that is to be found afterwards.
 */
static struct sim_change **drop_superseded(struct simulated_world *world, struct sim_change **link,
					   const struct sim_change *applied)
{
	struct sim_change **at = &world->changes;
	while (at != link) {
		struct sim_change *change = *at;
		bool superseded = has_name(change, applied->directory, applied->name) ||
				  (applied->directory_to != NULL &&
				   has_name(change, applied->directory_to, applied->name_to));
		if (!change->clean || !superseded) {
			at = &change->next;
			continue;
		}
		if (link == &change->next)
			link = at;
		*at = change->next;
		sim_change_free(world, change);
	}
	return link;
}

void sim_sync_names(struct simulated_world *world, const struct sim_inode *directory, uint64_t stamp,
		    unsigned failure)
{
	uint64_t all = failure == 0 ? taken_along(world, directory, stamp) : 0;
	struct sim_change **link = &world->changes;
	while (*link != NULL) {
		struct sim_change *change = *link;
		bool covered =
			change->stamp <= all || (change->stamp <= stamp && concerns(change, directory));
		if (covered && change->clean)
			covered = failure == 0 &&
				  (change->stamp <= all || is_carried(change, directory, stamp));
		bool lands =
			failure == 0 || (failure == SIMULATED_SYNC_PARTLY && sim_one_in(&world->random, 2));
		if (covered && lands) {
			*link = change->next;
			sim_change_apply(world, change);
			link = drop_superseded(world, link, change);
			sim_change_free(world, change);
			continue;
		}
		change->clean |= covered && failure != SIMULATED_SYNC_KEPT;
		link = &change->next;
	}
	world->changes_end = link;
}

/* --- calls --- */

int sim_create_file(struct simulated_world *world, const char *path, struct sim_inode **created)
{
	char last[NAME_MAX_BYTES + 1];
	int error;
	struct sim_inode *directory = find_directory(world, path, last, &error);
	if (directory == NULL)
		return -error;
	if (last[0] == '\0' || sim_names_find(&directory->seen, last) != NULL)
		return -EEXIST;
	struct sim_inode *inode = sim_inode_create(world, false);
	sim_names_set(world, &directory->seen, last, inode, true);
	add_change(world, IO_OPEN, directory, last, NULL, NULL, inode);
	*created = inode;
	return 0;
}

int sim_make_directory(struct simulated_world *world, const char *path)
{
	char last[NAME_MAX_BYTES + 1];
	int error;
	struct sim_inode *directory = find_directory(world, path, last, &error);
	if (directory == NULL)
		return -error;
	if (last[0] == '\0')
		return 0;
	const struct sim_entry *entry = sim_names_find(&directory->seen, last);
	if (entry != NULL)
		return entry->inode->is_directory ? 0 : -ENOTDIR;
	struct sim_inode *inode = sim_inode_create(world, true);
	sim_names_set(world, &directory->seen, last, inode, true);
	add_change(world, IO_MAKE_DIRECTORY, directory, last, NULL, NULL, inode);
	return 0;
}

int sim_rename(struct simulated_world *world, const char *path, const char *path_to)
{
	char last[NAME_MAX_BYTES + 1];
	char last_to[NAME_MAX_BYTES + 1];
	int error;
	struct sim_inode *directory = find_directory(world, path, last, &error);
	if (directory == NULL)
		return -error;
	struct sim_inode *directory_to = find_directory(world, path_to, last_to, &error);
	if (directory_to == NULL)
		return -error;
	if (last_to[0] == '\0')
		return -EISDIR;
	const struct sim_entry *entry = sim_names_find(&directory->seen, last);
	if (entry == NULL)
		return -ENOENT;
	const struct sim_entry *target = sim_names_find(&directory_to->seen, last_to);
	if (entry->inode->is_directory || (target != NULL && target->inode->is_directory))
		return -EISDIR;
	struct sim_inode *inode = entry->inode;
	if (target != NULL && target->inode == inode)
		return 0;
	add_change(world, IO_RENAME, directory, last, directory_to, last_to, inode);
	sim_names_set(world, &directory_to->seen, last_to, inode, true);
	sim_names_set(world, &directory->seen, last, NULL, true);
	return 0;
}

int sim_unlink(struct simulated_world *world, const char *path)
{
	char last[NAME_MAX_BYTES + 1];
	int error;
	struct sim_inode *directory = find_directory(world, path, last, &error);
	if (directory == NULL)
		return -error;
	const struct sim_entry *entry = sim_names_find(&directory->seen, last);
	if (entry == NULL)
		return -ENOENT;
	if (entry->inode->is_directory)
		return -EISDIR;
	add_change(world, IO_UNLINK, directory, last, NULL, NULL, entry->inode);
	sim_names_set(world, &directory->seen, last, NULL, true);
	return 0;
}
