/*
 * manifest.c: the file: opening, appending, rewriting, checking.
 *
 * Space for an edit is reserved before it is written, so a full disk refuses an edit before anything of it is
 * on disk. An edit that failed half-written is wiped out again; if even that fails and more than half of it
 * may stand there, nobody can say what a later open will find, and the manifest takes no more edits.
 */
#include "manifest/manifest.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/planted.h"
#include "manifest/manifest_format.h"
#include "manifest/manifest_state.h"
#include "base/poison.h"

enum {
	REWRITE_BYTES_DEFAULT = 256 << 10,
	RESERVE_BYTES = 64 << 10,
	FILE_BYTES_MAX = 1 << 30,
	EDIT_BYTES_MAX = 256 << 20,
};

struct manifest {
	struct manifest_options options; /* `directory` is a copy of ours */
	char *path;			 /* DIRECTORY/manifest */
	char *path_new;
	struct manifest_state state;
	struct manifest_header header;
	uint64_t seed;
	struct io_file *file;
	uint64_t end;		 /* where the next edit goes; all before is durable */
	uint64_t reserved;	 /* the file's size */
	uint64_t rewritten_size; /* of the file when it was last rewritten */
	uint64_t next_edit;
	struct status health;
	bool must_rewrite; /* what stands behind `end` is not known to be nothing */
	bool busy;	   /* a task writes or checks the file */
	struct wait_list waiting;
};

/* What was read of a file. */
struct manifest_file {
	uint8_t *bytes;
	uint64_t size;
	struct manifest_header header;
	uint64_t seed;
	uint64_t next_edit;
	uint64_t first_end; /* behind the first edit, the sum of all before */
	uint64_t end;	    /* behind the last valid edit */
	bool needs_repair;  /* one copy is damaged, or the tail is torn */
};

/* --- small doors --- */

static MAY_SUSPEND struct status close_file(struct task *self, struct io_file *file)
{
	struct io_request request = { .operation = IO_CLOSE, .file = file };
	return task_io(self, &request);
}

static MAY_SUSPEND struct status sync_file(struct task *self, struct io_file *file)
{
	struct io_request request = { .operation = IO_SYNC, .file = file };
	return task_io(self, &request);
}

/* *written: as much as has come into the file, also on an error. */
static MAY_SUSPEND struct status write_some(struct task *self, struct io_file *file, uint64_t offset,
					    void *bytes, uint64_t size, uint64_t *written)
{
	struct io_request request = {
		.operation = IO_WRITE,
		.file = file,
		.buffer = bytes,
		.length = (size_t)size,
		.offset = offset,
	};
	struct status status = task_io(self, &request);
	*written = request.transferred;
	return status;
}

static MAY_SUSPEND struct status write_file(struct task *self, struct io_file *file, uint64_t offset,
					    void *bytes, uint64_t size)
{
	uint64_t written;
	return write_some(self, file, offset, bytes, size, &written);
}

struct fail_call {
	struct status cause;
	const struct manifest *manifest;
	struct status result;
};

static void describe_failure(void *argument)
{
	struct fail_call *call = argument;
	char text[160];
	status_describe(call->cause, text, sizeof(text));
	call->result =
		status_error(STATUS_READ_ONLY, "%s takes no more edits: %s", call->manifest->path, text);
}

/* Nobody knows any more what the device holds. */
static struct status fail(struct manifest *manifest, struct status cause)
{
	if (status_is_ok(manifest->health)) {
		struct fail_call call = { .cause = cause, .manifest = manifest };
		call_on_thread_stack(describe_failure, &call);
		manifest->health = call.result;
	}
	return manifest->health;
}

static MAY_SUSPEND void lock(struct task *self, struct manifest *manifest)
{
	while (manifest->busy)
		wait_list_wait(self, &manifest->waiting);
	manifest->busy = true;
}

static void unlock(struct manifest *manifest)
{
	manifest->busy = false;
	wait_list_wake_one(&manifest->waiting);
}

/* --- rewriting --- */

static MAY_SUSPEND struct status open_new(struct task *self, struct manifest *manifest, struct io_file **file)
{
	TRY(task_unlink(self, manifest->path_new));
	struct io_request request = {
		.operation = IO_OPEN,
		.path = manifest->path_new,
		.flags = IO_OPEN_WRITE | IO_OPEN_CREATE,
	};
	TRY(task_io(self, &request));
	*file = request.opened;
	return status_ok();
}

static MAY_SUSPEND struct status switch_files(struct task *self, struct manifest *manifest)
{
	struct io_request request = {
		.operation = IO_RENAME,
		.path = manifest->path_new,
		.path_to = manifest->path,
	};
	struct status status = task_io(self, &request);
	if (status_is(status, STATUS_NO_SPACE))
		return status;
	if (!status_is_ok(status))
		return fail(manifest, status);
	status = task_sync_directory(self, manifest->options.directory);
	return status_is_ok(status) ? status : fail(manifest, status);
}

/* Writes and syncs the new file, and puts it in the place of the old one. */
static MAY_SUSPEND struct status write_new(struct task *self, struct manifest *manifest, uint8_t *bytes,
					   uint64_t size, struct io_file **file)
{
	TRY(open_new(self, manifest, file));
	struct status status = write_file(self, *file, 0, bytes, size);
	if (status_is_ok(status)) {
		status = sync_file(self, *file);
		if (!status_is_ok(status))
			status = fail(manifest, status);
	}
	if (status_is_ok(status))
		status = switch_files(self, manifest);
	if (status_is_ok(status))
		return status;
	/* The file under the old name is as it was, unless the health says otherwise. */
	struct status ignored = close_file(self, *file);
	ignored = task_unlink(self, manifest->path_new);
	(void)ignored; /* the first error is the one to report */
	*file = NULL;
	return status;
}

/* Makes a file that says `state`, and uses it from then on. On an error all is as before. */
static MAY_SUSPEND struct status rewrite(struct task *self, struct manifest *manifest,
					 const struct manifest_state *state)
{
	struct manifest_header header = manifest->header;
	header.generation++;
	header.first_edit = manifest->next_edit;
	uint64_t seed = manifest_record_seed(&header);
	struct manifest_edit edit = manifest_state_edit(state);
	uint64_t size_max = manifest_edit_size_max(&edit);
	if (size_max > EDIT_BYTES_MAX)
		return status_make(STATUS_INVALID);
	uint8_t *bytes = memory_allocate_aligned(
		MANIFEST_PAGE_BYTES, MANIFEST_PAGE_BYTES + MANIFEST_COPIES * manifest_pages(size_max));
	if (bytes == NULL)
		return status_make(STATUS_NO_MEMORY);
	manifest_header_encode(&header, bytes);
	uint64_t size =
		MANIFEST_PAGE_BYTES + manifest_record_encode(&edit, header.first_edit, MANIFEST_PAGE_BYTES,
							     seed, bytes + MANIFEST_PAGE_BYTES);
	struct io_file *file = NULL;
	struct status status = write_new(self, manifest, bytes, size, &file);
	memory_free(bytes);
	TRY(status);
	struct io_file *old = manifest->file;
	manifest->file = file;
	manifest->header = header;
	manifest->seed = seed;
	manifest->next_edit = header.first_edit + 1;
	manifest->end = size;
	manifest->reserved = size;
	manifest->rewritten_size = size;
	manifest->must_rewrite = false;
	if (old != NULL) {
		status = close_file(self, old);
		(void)status; /* nothing refers to that file any more */
	}
	return status_ok();
}

/* --- appending --- */

static MAY_SUSPEND struct status reserve(struct task *self, struct manifest *manifest, uint64_t size)
{
	if (manifest->end + size <= manifest->reserved)
		return status_ok();
	uint64_t missing = manifest->end + size - manifest->reserved;
	struct io_request request = {
		.operation = IO_ALLOCATE,
		.file = manifest->file,
		.offset = manifest->reserved,
		.length = (size_t)((missing + RESERVE_BYTES - 1) / RESERVE_BYTES * RESERVE_BYTES),
	};
	struct status status = task_io(self, &request);
	if (status_is(status, STATUS_UNSUPPORTED))
		return status_ok(); /* the write will extend the file */
	TRY(status);
	manifest->reserved += request.length;
	return status_ok();
}

/* Makes both copies of a half-written edit unreadable, durably. `bytes` are those of the edit. */
static MAY_SUSPEND struct status wipe(struct task *self, struct manifest *manifest, uint8_t *bytes,
				      uint64_t size)
{
	memset(bytes, 0, MANIFEST_PAGE_BYTES);
	TRY(write_file(self, manifest->file, manifest->end, bytes, MANIFEST_PAGE_BYTES));
	TRY(write_file(self, manifest->file, manifest->end + size / MANIFEST_COPIES, bytes,
		       MANIFEST_PAGE_BYTES));
	return sync_file(self, manifest->file);
}

/* What was written of an edit is none. */
static MAY_SUSPEND struct status undo_edit(struct task *self, struct manifest *manifest, uint8_t *bytes,
					   uint64_t size, struct status failure, uint64_t written)
{
	struct status wiped = wipe(self, manifest, bytes, size);
	if (status_is_ok(wiped))
		return failure;
	/* A file system that moves what it rewrites may have no room for that either. But then there was not
	 * even one whole copy to be wiped out. */
	if (status_is(failure, STATUS_NO_SPACE) && status_is(wiped, STATUS_NO_SPACE) &&
	    written < size / MANIFEST_COPIES)
		return failure;
	return fail(manifest, failure);
}

/* The device was full behind the first copy: that one does until the file is rewritten. */
static bool is_cut_behind_a_copy(const struct manifest *manifest, struct status status, uint64_t written,
				 uint64_t size)
{
	return status_is(status, STATUS_NO_SPACE) && written >= size / MANIFEST_COPIES && written < size &&
	       manifest->end + size <= manifest->reserved;
}

static MAY_SUSPEND struct status write_edit(struct task *self, struct manifest *manifest, uint8_t *bytes,
					    uint64_t size)
{
	TRY(reserve(self, manifest, size));
	if (PLANTED(N5))
		memset(bytes + size / MANIFEST_COPIES, 0, size / MANIFEST_COPIES);
	uint64_t written;
	struct status status = write_some(self, manifest->file, manifest->end, bytes, size, &written);
	if (!status_is_ok(status)) {
		manifest->must_rewrite = true;
		if (!is_cut_behind_a_copy(manifest, status, written, size))
			return undo_edit(self, manifest, bytes, size, status, written);
	}
	status = sync_file(self, manifest->file);
	return status_is_ok(status) ? status : fail(manifest, status);
}

static MAY_SUSPEND struct status append(struct task *self, struct manifest *manifest,
					const struct manifest_edit *edit)
{
	uint64_t size_max = manifest_edit_size_max(edit);
	if (size_max > EDIT_BYTES_MAX)
		return status_make(STATUS_INVALID);
	uint8_t *bytes =
		memory_allocate_aligned(MANIFEST_PAGE_BYTES, MANIFEST_COPIES * manifest_pages(size_max));
	if (bytes == NULL)
		return status_make(STATUS_NO_MEMORY);
	uint64_t size =
		manifest_record_encode(edit, manifest->next_edit, manifest->end, manifest->seed, bytes);
	struct status status = write_edit(self, manifest, bytes, size);
	memory_free(bytes);
	TRY(status);
	manifest->end += size;
	if (manifest->reserved < manifest->end)
		manifest->reserved = manifest->end;
	manifest->next_edit++;
	return status_ok();
}

static bool is_large(const struct manifest *manifest)
{
	return manifest->end > manifest->options.rewrite_bytes &&
	       manifest->end > 2 * manifest->rewritten_size;
}

static MAY_SUSPEND struct status apply_locked(struct task *self, struct manifest *manifest,
					      const struct manifest_edit *edit)
{
	TRY(manifest->health);
	struct manifest_change change;
	TRY(manifest_change_prepare(&manifest->state, edit, &change));
	struct status status = manifest->must_rewrite || is_large(manifest)
				       ? rewrite(self, manifest, &change.next)
				       : append(self, manifest, edit);
	if (status_is_ok(status))
		manifest_change_adopt(&change, &manifest->state);
	else
		manifest_change_drop(&change);
	return status;
}

struct status manifest_apply(struct task *self, struct manifest *manifest, const struct manifest_edit *edit)
{
	lock(self, manifest);
	struct status status = apply_locked(self, manifest, edit);
	unlock(manifest);
	return status;
}

/* --- reading --- */

static struct status corrupt(const struct manifest *manifest, uint64_t offset, const char *what)
{
	return status_error(STATUS_CORRUPT, "%s, offset %llu: %s", manifest->path, (unsigned long long)offset,
			    what);
}

static MAY_SUSPEND struct status read_bytes(struct task *self, const struct manifest *manifest,
					    struct io_file *file, uint64_t size,
					    struct manifest_file *content)
{
	*content = (struct manifest_file) { .size = size / MANIFEST_PAGE_BYTES * MANIFEST_PAGE_BYTES };
	if (content->size < MANIFEST_PAGE_BYTES || content->size > FILE_BYTES_MAX)
		return corrupt(manifest, size, "the file's size is wrong");
	content->bytes = memory_allocate_aligned(MANIFEST_PAGE_BYTES, content->size);
	if (content->bytes == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct io_request request = {
		.operation = IO_READ,
		.file = file,
		.buffer = content->bytes,
		.length = (size_t)content->size,
	};
	TRY(task_io(self, &request));
	return request.transferred == request.length
		       ? status_ok()
		       : corrupt(manifest, request.transferred, "the file ends early");
}

static struct status check_header(const struct manifest *manifest, struct manifest_file *content)
{
	switch (manifest_header_decode(content->bytes, &content->header)) {
	case MANIFEST_HEADER_UNKNOWN_VERSION:
		return status_error(STATUS_FORMAT, "%s has a format version that is not known",
				    manifest->path);
	case MANIFEST_HEADER_DAMAGED:
		return corrupt(manifest, 0, "the header is damaged");
	case MANIFEST_HEADER_VALID:
		break;
	}
	const struct manifest_header *header = &content->header;
	if (header->database_id[0] != manifest->options.database_id[0] ||
	    header->database_id[1] != manifest->options.database_id[1])
		return corrupt(manifest, 0, "belongs to another database");
	if (header->shard != manifest->options.shard)
		return corrupt(manifest, 0, "belongs to another shard");
	content->seed = manifest_record_seed(header);
	content->next_edit = header->first_edit;
	content->end = MANIFEST_PAGE_BYTES;
	return status_ok();
}

static bool decode_at(const struct manifest_file *content, uint64_t offset, struct manifest_record *record)
{
	return manifest_record_decode(content->bytes, content->size, offset, content->seed, record);
}

/* The first valid record of any edit from `offset` on. */
static bool find_record(const struct manifest_file *content, uint64_t *offset, struct manifest_record *record)
{
	for (; *offset < content->size; *offset += MANIFEST_PAGE_BYTES)
		if (decode_at(content, *offset, record))
			return true;
	return false;
}

static bool is_zero(const uint8_t *bytes, uint64_t size)
{
	for (uint64_t i = 0; i < size; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

/*
 * Finds the next edit: by its first copy, or, where that is damaged, by its second. *found false: the file
 * ends here, with nothing or with a torn edit that was never acknowledged.
 */
static struct status next_record(const struct manifest *manifest, struct manifest_file *content,
				 struct manifest_record *record, bool *found)
{
	uint64_t at = content->end;
	struct manifest_record other;
	*found = true;
	if (decode_at(content, at, record)) {
		if (record->number != content->next_edit || record->copy != 0)
			return corrupt(manifest, at, "an edit out of its place");
		content->end = at + MANIFEST_COPIES * record->pages;
		if (!decode_at(content, at + record->pages, &other) || other.copy != 1 ||
		    other.number != record->number || !slice_equal(other.fields, record->fields))
			content->needs_repair = true;
		return status_ok();
	}
	/* A file that was cut off inside a second copy ends before the place of the next edit. */
	if (at < content->size)
		content->needs_repair |= !is_zero(content->bytes + at, content->size - at);
	uint64_t second = at + MANIFEST_PAGE_BYTES;
	*found = find_record(content, &second, record);
	if (!*found) {
		/* The first edit was durable before the file got its name. */
		if (content->next_edit == content->header.first_edit)
			return corrupt(manifest, at, "the first edit is damaged");
		return status_ok();
	}
	if (record->number != content->next_edit || record->copy != 1 || second != at + record->pages)
		return corrupt(manifest, at, "an edit is damaged, and others follow");
	content->end = second + record->pages;
	return status_ok();
}

static struct status add_edit(const struct manifest *manifest, const struct manifest_file *content,
			      const struct manifest_record *record, struct manifest_state *state)
{
	struct manifest_edit edit;
	struct manifest_change change;
	struct status status = manifest_edit_decode(record->fields, &edit);
	if (status_is_ok(status))
		status = manifest_change_prepare(state, &edit, &change);
	manifest_edit_free(&edit);
	if (status_is_ok(status))
		manifest_change_adopt(&change, state);
	else if (!status_is(status, STATUS_NO_MEMORY))
		status = corrupt(manifest, content->end, "the edit before it makes no sense");
	return status;
}

/* Adds up the edits of the file. Also on an error, *state and content->bytes are the caller's to free. */
static MAY_SUSPEND struct status load(struct task *self, const struct manifest *manifest,
				      struct io_file *file, uint64_t size, struct manifest_file *content,
				      struct manifest_state *state)
{
	*state = (struct manifest_state) { .next_number = 1 };
	TRY(read_bytes(self, manifest, file, size, content));
	TRY(check_header(manifest, content));
	for (;;) {
		struct manifest_record record;
		bool found;
		TRY(next_record(manifest, content, &record, &found));
		if (!found)
			return status_ok();
		TRY(add_edit(manifest, content, &record, state));
		if (content->next_edit == content->header.first_edit)
			content->first_end = content->end;
		content->next_edit++;
		task_breathe(self);
	}
}

/* --- opening and closing --- */

static char *join_path(const char *directory, const char *name)
{
	size_t length = strlen(directory);
	char *path = memory_allocate(length + strlen(name) + 2);
	if (path != NULL) {
		memcpy(path, directory, length);
		path[length] = '/';
		memcpy(path + length + 1, name, strlen(name) + 1);
	}
	return path;
}

static struct status allocate_manifest(const struct manifest_options *options, struct manifest **out)
{
	struct manifest *manifest = memory_allocate_zeroed(1, sizeof(*manifest));
	*out = manifest;
	if (manifest == NULL)
		return status_make(STATUS_NO_MEMORY);
	manifest->options = *options;
	if (manifest->options.rewrite_bytes == 0)
		manifest->options.rewrite_bytes = REWRITE_BYTES_DEFAULT;
	wait_list_init(&manifest->waiting);
	manifest->options.directory = memory_copy_string(options->directory);
	manifest->path = join_path(options->directory, "manifest");
	manifest->path_new = join_path(options->directory, "manifest.new");
	manifest->header.database_id[0] = options->database_id[0];
	manifest->header.database_id[1] = options->database_id[1];
	manifest->header.shard = options->shard;
	manifest->state.next_number = 1;
	manifest->next_edit = 1;
	if (manifest->options.directory == NULL || manifest->path == NULL || manifest->path_new == NULL)
		return status_make(STATUS_NO_MEMORY);
	return status_ok();
}

static MAY_SUSPEND struct status free_manifest(struct task *self, struct manifest *manifest)
{
	struct status status = status_ok();
	if (manifest->file != NULL)
		status = close_file(self, manifest->file);
	manifest_state_free(&manifest->state);
	memory_free(manifest->path_new);
	memory_free(manifest->path);
	memory_free((char *)(uintptr_t)manifest->options.directory);
	memory_free(manifest);
	return status;
}

static MAY_SUSPEND struct status create(struct task *self, struct manifest *manifest)
{
	struct io_request request = { .operation = IO_OPEN, .path = manifest->path, .flags = IO_OPEN_READ };
	struct status status = task_io(self, &request);
	if (status_is_ok(status)) {
		status = close_file(self, request.opened);
		return status_error(STATUS_INVALID, "%s exists already", manifest->path);
	}
	if (!status_is(status, STATUS_NOT_FOUND))
		return status;
	return rewrite(self, manifest, &manifest->state);
}

static MAY_SUSPEND struct status make_durable(struct task *self, struct manifest *manifest)
{
	TRY(sync_file(self, manifest->file));
	return task_sync_directory(self, manifest->options.directory);
}

/*
 * What was read must be durable before anything relies on it: the segments of the log that it says are
 * flushed are written over soon. A killed process leaves edits, and a name, that are in a cache only; and
 * where a sync has failed, the kernel may count them as clean, so that no sync helps. Hence a new file, which
 * also puts in order what a crash has torn. A full disk is no reason not to open.
 */
static MAY_SUSPEND struct status renew(struct task *self, struct manifest *manifest)
{
	manifest->must_rewrite = true;
	struct status status = rewrite(self, manifest, &manifest->state);
	return status_is(status, STATUS_NO_SPACE) ? make_durable(self, manifest) : status;
}

static MAY_SUSPEND struct status open_existing(struct task *self, struct manifest *manifest)
{
	struct io_request request = { .operation = IO_OPEN, .path = manifest->path, .flags = IO_OPEN_WRITE };
	TRY(task_io(self, &request));
	manifest->file = request.opened;
	TRY(task_unlink(self, manifest->path_new));
	struct manifest_file content;
	manifest_state_free(&manifest->state);
	struct status status = load(self, manifest, manifest->file, manifest->file->size_at_open, &content,
				    &manifest->state);
	memory_free(content.bytes);
	TRY(status);
	manifest->header = content.header;
	manifest->seed = content.seed;
	manifest->next_edit = content.next_edit;
	manifest->end = content.end;
	manifest->reserved = content.size > content.end ? content.size : content.end;
	manifest->rewritten_size = content.first_end;
	return renew(self, manifest);
}

struct status manifest_open(struct task *self, const struct manifest_options *options, bool create_new,
			    struct manifest **manifest, const struct manifest_state **state)
{
	*manifest = NULL;
	*state = NULL;
	if (strlen(options->directory) + sizeof("/manifest.new") > IO_PATH_MAX)
		return status_make(STATUS_INVALID);
	struct status status = allocate_manifest(options, manifest);
	if (status_is_ok(status))
		status = create_new ? create(self, *manifest) : open_existing(self, *manifest);
	if (status_is_ok(status)) {
		*state = &(*manifest)->state;
	} else if (*manifest != NULL) {
		struct status freed = free_manifest(self, *manifest);
		(void)freed; /* the first error is the one to report */
		*manifest = NULL;
	}
	return status;
}

struct status manifest_close(struct task *self, struct manifest *manifest)
{
	lock(self, manifest);
	return free_manifest(self, manifest);
}

/* --- questions --- */

const struct manifest_state *manifest_state(const struct manifest *manifest)
{
	return &manifest->state;
}

uint64_t manifest_bytes(const struct manifest *manifest)
{
	return manifest->reserved;
}

static MAY_SUSPEND struct status verify_locked(struct task *self, struct manifest *manifest)
{
	struct manifest_file content;
	struct manifest_state state;
	struct status status = load(self, manifest, manifest->file, manifest->reserved, &content, &state);
	if (status_is_ok(status) && content.needs_repair && !manifest->must_rewrite)
		status = corrupt(manifest, content.end, "a copy of an edit is damaged");
	if (status_is_ok(status) &&
	    (content.end != manifest->end || content.next_edit != manifest->next_edit ||
	     !manifest_state_equal(&state, &manifest->state)))
		status = corrupt(manifest, content.end, "the file does not say what memory says");
	manifest_state_free(&state);
	memory_free(content.bytes);
	return status;
}

struct status manifest_verify(struct task *self, struct manifest *manifest)
{
	lock(self, manifest);
	struct status status = manifest->health;
	if (status_is_ok(status))
		status = verify_locked(self, manifest);
	unlock(manifest);
	return status;
}
