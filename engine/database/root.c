#include "database/root.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"

#include "base/poison.h"

enum { CHECKSUM_AT = ROOT_BYTES - 8 };

static const uint8_t magic[8] = { 'C', 'A', 'S', 'C', 'A', 'D', 'E', '\n' };

char *root_join(const char *path, const char *name)
{
	size_t length = strlen(path);
	size_t size = strlen(name) + 1;
	char *joined = memory_allocate(length + 1 + size);
	if (joined == NULL)
		return NULL;
	memcpy(joined, path, length);
	joined[length] = '/';
	memcpy(joined + length + 1, name, size);
	return joined;
}

static void root_encode(const struct root *root, uint8_t page[ROOT_BYTES])
{
	memset(page, 0, ROOT_BYTES);
	memcpy(page, magic, sizeof(magic));
	bytes_store32(page + 8, ROOT_FORMAT_VERSION);
	bytes_store32(page + 12, root->shards);
	bytes_store64(page + 16, root->id[0]);
	bytes_store64(page + 24, root->id[1]);
	bytes_store64(page + 32, root->created_ns);
	bytes_store64(page + CHECKSUM_AT, checksum64(page, CHECKSUM_AT, 0));
}

static struct status root_decode(const uint8_t page[ROOT_BYTES], const char *path, struct root *root)
{
	if (memcmp(page, magic, sizeof(magic)) != 0)
		return status_error(STATUS_CORRUPT, "%s: offset 0: not a Cascade root file", path);
	/* The version first: another version may keep its checksum elsewhere. */
	uint32_t version = bytes_load32(page + 8);
	bool intact = bytes_load64(page + CHECKSUM_AT) == checksum64(page, CHECKSUM_AT, 0);
	if (version != ROOT_FORMAT_VERSION)
		return status_error(STATUS_FORMAT, "%s: format version %u, this build knows %d", path,
				    version, (int)ROOT_FORMAT_VERSION);
	if (!intact)
		return status_error(STATUS_CORRUPT, "%s: offset 0: checksum mismatch", path);
	root->shards = bytes_load32(page + 12);
	root->id[0] = bytes_load64(page + 16);
	root->id[1] = bytes_load64(page + 24);
	root->created_ns = bytes_load64(page + 32);
	if (root->shards < 1 || root->shards > 64)
		return status_error(STATUS_CORRUPT, "%s: offset 12: %u shards", path, root->shards);
	return status_ok();
}

/* One page of a file, read or written whole. */
static struct status page_transfer(struct io *io, enum io_operation operation, const char *path,
				   uint8_t *page, unsigned open_flags)
{
	struct io_request open = { .operation = IO_OPEN, .path = path, .flags = open_flags };
	TRY(io_execute(io, &open));
	struct io_request transfer = {
		.operation = operation, .file = open.opened, .buffer = page, .length = ROOT_BYTES
	};
	struct status status = io_execute(io, &transfer);
	if (status_is_ok(status) && transfer.transferred != ROOT_BYTES)
		status = status_error(STATUS_CORRUPT, "%s: offset %zu: the file ends", path,
				      transfer.transferred);
	if (status_is_ok(status) && operation == IO_WRITE) {
		struct io_request sync = { .operation = IO_SYNC, .file = open.opened };
		status = io_execute(io, &sync);
	}
	struct io_request close = { .operation = IO_CLOSE, .file = open.opened };
	status_keep_first(&status, io_execute(io, &close));
	return status;
}

struct status root_read(struct io *io, const char *path, struct root *root)
{
	char *file = root_join(path, "ROOT");
	uint8_t *page = memory_allocate_aligned(IO_PAGE_BYTES, ROOT_BYTES);
	struct status status = status_make(STATUS_NO_MEMORY);
	if (file != NULL && page != NULL)
		status = page_transfer(io, IO_READ, file, page, IO_OPEN_READ);
	if (status_is_ok(status))
		status = root_decode(page, file, root);
	memory_free(file);
	memory_free(page);
	return status;
}

static struct status write_and_rename(struct io *io, const char *next, const char *file, uint8_t *page)
{
	TRY(io_unlink(io, next)); /* of an open that was cut off */
	TRY(page_transfer(io, IO_WRITE, next, page, IO_OPEN_WRITE | IO_OPEN_CREATE));
	struct io_request rename_it = { .operation = IO_RENAME, .path = next, .path_to = file };
	return io_execute(io, &rename_it);
}

/*
 * Makes PATH/NAME say this, durably, in one step. Always by a file of its own: of one that is there already,
 * a sync may have failed, and then no later one helps.
 */
static struct status put_in_place(struct io *io, const char *path, const char *name, const struct root *root)
{
	char *next = root_join(path, "ROOT.next");
	char *file = root_join(path, name);
	uint8_t *page = memory_allocate_aligned(IO_PAGE_BYTES, ROOT_BYTES);
	struct status status = status_make(STATUS_NO_MEMORY);
	if (next != NULL && file != NULL && page != NULL) {
		root_encode(root, page);
		status = write_and_rename(io, next, file, page);
		if (!status_is_ok(status)) {
			struct status ignored = io_unlink(io, next);
			(void)ignored; /* the first error is the one to report */
		}
	}
	if (status_is_ok(status))
		status = io_sync_directory(io, path);
	memory_free(next);
	memory_free(file);
	memory_free(page);
	return status;
}

struct status root_begin(struct io *io, const char *path, const struct root *root)
{
	return put_in_place(io, path, "ROOT.new", root);
}

struct status root_renew(struct io *io, const char *path, const struct root *root)
{
	struct status status = put_in_place(io, path, "ROOT", root);
	return status_is(status, STATUS_NO_SPACE) ? io_sync_directory(io, path) : status;
}

struct status root_commit(struct io *io, const char *path)
{
	char *from = root_join(path, "ROOT.new");
	char *to = root_join(path, "ROOT");
	struct status status = status_make(STATUS_NO_MEMORY);
	if (from != NULL && to != NULL) {
		struct io_request rename_it = { .operation = IO_RENAME, .path = from, .path_to = to };
		status = io_execute(io, &rename_it);
	}
	if (status_is_ok(status))
		status = io_sync_directory(io, path);
	memory_free(from);
	memory_free(to);
	return status;
}
