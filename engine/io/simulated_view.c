/*
 * simulated_view.c: a world as tests prepare, look at and damage it, without requests and without time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "io/simulated_internal.h"

enum { PATH_BYTES_MAX = 2 * IO_PATH_MAX };

void simulated_make_path(struct simulated_world *world, const char *path)
{
	struct sim_inode *directory = world->root;
	while (*(path += strspn(path, "/")) != '\0') {
		size_t size = strcspn(path, "/");
		char *name = sim_copy_text(path, size);
		path += size;
		const struct sim_entry *entry = sim_names_find(&directory->seen, name);
		struct sim_inode *inode = entry != NULL ? entry->inode : sim_inode_create(world, true);
		ASSERT(inode->is_directory);
		if (entry == NULL)
			sim_names_set(world, &directory->seen, name, inode, true);
		sim_names_set(world, &directory->durable, name, inode, false);
		sim_drop(name);
		directory = inode;
	}
}

void simulated_settle(struct simulated_world *world)
{
	for (struct sim_inode *inode = world->inodes; inode != NULL; inode = inode->next)
		sim_sync_file(world, inode, UINT64_MAX, 0);
	while (world->changes != NULL) {
		struct sim_change *change = world->changes;
		world->changes = change->next;
		sim_change_apply(world, change);
		sim_change_free(world, change);
	}
	world->changes_end = &world->changes;
}

static struct sim_inode *find_file(const struct simulated_world *world, const char *path)
{
	int error;
	struct sim_inode *inode = sim_find(world, path, &error);
	return inode != NULL && !inode->is_directory ? inode : NULL;
}

bool simulated_read(const struct simulated_world *world, const char *path, uint64_t offset, void *buffer,
		    size_t length, size_t *got)
{
	const struct sim_inode *inode = find_file(world, path);
	*got = 0;
	if (inode == NULL)
		return false;
	uint64_t left = inode->size > offset ? inode->size - offset : 0;
	*got = length < left ? length : (size_t)left;
	sim_copy_seen(world, inode, offset, buffer, *got);
	return true;
}

bool simulated_size(const struct simulated_world *world, const char *path, uint64_t *size)
{
	const struct sim_inode *inode = find_file(world, path);
	*size = inode != NULL ? inode->size : 0;
	return inode != NULL;
}

/* --- all files --- */

typedef void each_inode(void *context, const char *path, const struct sim_inode *inode);

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct sim_entry *)a)->name, ((const struct sim_entry *)b)->name);
}

/* `path` is that of the directory, with room for more behind it. */
static void walk(const struct sim_inode *directory, char *path, each_inode *each, void *context)
{
	size_t size = strlen(path);
	size_t count = directory->seen.count;
	struct sim_entry *sorted = sim_take((count + 1) * sizeof(*sorted));
	if (count > 0)
		memcpy(sorted, directory->seen.entries, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_entries);
	for (size_t i = 0; i < count; i++) {
		ASSERT(size + 1 + strlen(sorted[i].name) < PATH_BYTES_MAX);
		(void)snprintf(path + size, PATH_BYTES_MAX - size, "/%s", sorted[i].name);
		each(context, path, sorted[i].inode);
		if (sorted[i].inode->is_directory)
			walk(sorted[i].inode, path, each, context);
	}
	path[size] = '\0';
	sim_drop(sorted);
}

static void walk_all(const struct sim_inode *directory, each_inode *each, void *context)
{
	char *path = sim_take(PATH_BYTES_MAX);
	walk(directory, path, each, context);
	sim_drop(path);
}

struct list_files {
	void (*each)(void *context, const char *path, uint64_t size);
	void *context;
};

static void list_one(void *context, const char *path, const struct sim_inode *inode)
{
	const struct list_files *list = context;
	if (!inode->is_directory)
		list->each(list->context, path, inode->size);
}

void simulated_list_files(const struct simulated_world *world,
			  void (*each)(void *context, const char *path, uint64_t size), void *context)
{
	struct list_files list = { .each = each, .context = context };
	walk_all(world->root, list_one, &list);
}

struct image {
	const struct simulated_world *world;
	uint64_t hash;
};

static void hash_one(void *context, const char *path, const struct sim_inode *inode)
{
	struct image *image = context;
	image->hash = checksum64(path, strlen(path) + 1, image->hash);
	uint64_t words[] = { inode->is_directory, inode->size };
	image->hash = checksum64(words, sizeof(words), image->hash);
	uint8_t page[IO_PAGE_BYTES / 2];
	for (uint64_t at = 0; at < inode->size; at += sizeof(page)) {
		size_t part = inode->size - at < sizeof(page) ? (size_t)(inode->size - at) : sizeof(page);
		sim_copy_seen(image->world, inode, at, page, part);
		image->hash = checksum64(page, part, image->hash);
	}
}

uint64_t simulated_image(const struct simulated_world *world)
{
	struct image image = { .world = world };
	walk_all(world->root, hash_one, &image);
	return image.hash;
}

/* --- damage --- */

static void replace_bytes(const struct simulated_world *world, struct sim_cell **cell, size_t inside,
			  const void *bytes, size_t length)
{
	size_t unit_bytes = world->options.unit_bytes;
	struct sim_cell *replaced = sim_take(sizeof(*replaced) + unit_bytes);
	replaced->references = 1;
	if (*cell != NULL)
		memcpy(replaced->bytes, (*cell)->bytes, unit_bytes);
	memcpy(replaced->bytes + inside, bytes, length);
	sim_cell_drop(*cell);
	*cell = replaced;
}

bool simulated_damage(struct simulated_world *world, const char *path, uint64_t offset, const void *bytes,
		      size_t length)
{
	struct sim_inode *inode = find_file(world, path);
	if (inode == NULL || offset > inode->size || length > inode->size - offset)
		return false;
	size_t unit_bytes = world->options.unit_bytes;
	for (size_t done = 0; done < length;) {
		uint64_t at = offset + done;
		size_t inside = (size_t)(at % unit_bytes);
		size_t part = unit_bytes - inside < length - done ? unit_bytes - inside : length - done;
		struct sim_unit *unit = sim_unit_get(inode, at / unit_bytes);
		const char *from = (const char *)bytes + done;
		replace_bytes(world, &unit->durable, inside, from, part);
		for (struct sim_version *version = unit->newest; version != NULL; version = version->older)
			replace_bytes(world, &version->cell, inside, from, part);
		done += part;
	}
	return true;
}

/* --- export --- */

struct export
{
	const struct simulated_world *world;
	const char *directory;
	struct status status;
};

static struct status export_file(const struct simulated_world *world, const char *path,
				 const struct sim_inode *inode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return status_from_errno(errno, "export", path);
	struct status status = status_ok();
	uint8_t page[IO_PAGE_BYTES / 2];
	for (uint64_t at = 0; at < inode->size && status_is_ok(status);) {
		size_t part = inode->size - at < sizeof(page) ? (size_t)(inode->size - at) : sizeof(page);
		sim_copy_seen(world, inode, at, page, part);
		ssize_t written = pwrite(fd, page, part, (off_t)at);
		if (written < 0 && errno != EINTR)
			status = status_from_errno(errno, "export", path);
		at += written > 0 ? (uint64_t)written : 0;
	}
	if (close(fd) != 0 && status_is_ok(status))
		status = status_from_errno(errno, "export", path);
	return status;
}

static void export_one(void *context, const char *path, const struct sim_inode *inode)
{
	struct export *export = context;
	char *to = sim_take(PATH_BYTES_MAX);
	int size = snprintf(to, PATH_BYTES_MAX, "%s%s", export->directory, path);
	struct status status = status_ok();
	if (size >= PATH_BYTES_MAX)
		status = status_error(STATUS_INVALID, "export: %.64s...: the path is too long", to);
	else if (!inode->is_directory)
		status = export_file(export->world, to, inode);
	else if (mkdir(to, 0755) != 0 && errno != EEXIST)
		status = status_from_errno(errno, "export", to);
	status_keep_first(&export->status, status);
	sim_drop(to);
}

struct status simulated_export(const struct simulated_world *world, const char *path, const char *directory)
{
	int error;
	const struct sim_inode *inode = sim_find(world, path, &error);
	if (inode == NULL)
		return status_from_errno(error, "export", path);
	if (!inode->is_directory)
		return status_from_errno(ENOTDIR, "export", path);
	struct export export = { .world = world, .directory = directory };
	walk_all(inode, export_one, &export);
	return export.status;
}

/* --- room --- */

void simulated_set_capacity(struct simulated_world *world, uint64_t bytes)
{
	world->options.capacity_bytes = bytes;
}

uint64_t simulated_used_bytes(const struct simulated_world *world)
{
	return world->used_units * world->options.unit_bytes;
}
