#include "fuzz/world.h"

#include <errno.h>

#include "fuzz/fuzz.h"
#include "io/backend.h"
#include "runtime/runtime.h"

enum { FILES_MAX = 64, FILE_PATH_BYTES = 256, FILE_BYTES_MAX = 16 << 20, INSTANCES = 2 };

/* A file and every handle of it: nobody opens one twice at the same time, and unlinks only what is closed
 * or about to be. */
struct memory_file {
	struct io_file handle; /* first */
	char path[FILE_PATH_BYTES];
	uint8_t *bytes;
	size_t size, capacity;
	bool there;
	unsigned handles;
};

static struct memory_file files[FILES_MAX];

/* Requests wait for the poll of their instance, as io.h has it. */
static struct {
	struct io *io;
	struct io_queue queue;
} instances[INSTANCES];

static struct io_backend memory_backend;
static const struct io_backend *inner;
static struct runtime *runtime;

/* --- files --- */

static struct memory_file *find_file(const char *path)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (files[i].there && strcmp(files[i].path, path) == 0)
			return &files[i];
	return NULL;
}

static struct memory_file *make_file(const char *path)
{
	for (unsigned i = 0; i < FILES_MAX; i++) {
		if (files[i].there || files[i].handles > 0)
			continue;
		FUZZ_CHECK(strlen(path) < FILE_PATH_BYTES);
		(void)snprintf(files[i].path, FILE_PATH_BYTES, "%s", path);
		files[i].there = true;
		files[i].size = 0;
		return &files[i];
	}
	FUZZ_CHECK(!"room for another file");
	return NULL;
}

/* What is new is zero. */
static int grow_file(struct memory_file *file, size_t size)
{
	if (size > FILE_BYTES_MAX)
		return -ENOSPC;
	if (size > file->capacity) {
		size_t capacity = size + size / 2;
		file->bytes = realloc(file->bytes, capacity);
		FUZZ_CHECK(file->bytes != NULL);
		file->capacity = capacity;
	}
	if (size > file->size) {
		memset(file->bytes + file->size, 0, size - file->size);
		file->size = size;
	}
	return 0;
}

void world_remove_files(void)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		files[i].there = false;
}

void world_write_file(const char *path, const uint8_t *bytes, size_t size)
{
	struct memory_file *file = find_file(path);
	if (file == NULL)
		file = make_file(path);
	file->size = 0;
	FUZZ_CHECK(grow_file(file, size) == 0);
	if (size > 0)
		memcpy(file->bytes, bytes, size);
}

const uint8_t *world_read_file(const char *path, size_t *size)
{
	const struct memory_file *file = find_file(path);
	*size = file != NULL ? file->size : 0;
	return file != NULL ? file->bytes : NULL;
}

/* --- requests --- */

static int open_file(struct io_request *request)
{
	struct memory_file *file = find_file(request->path);
	bool create = (request->flags & IO_OPEN_CREATE) != 0;
	if (create && file != NULL)
		return -EINVAL;
	if (!create && file == NULL)
		return -ENOENT;
	if (create)
		file = make_file(request->path);
	file->handles++;
	file->handle.size_at_open = file->size;
	request->opened = &file->handle;
	return 0;
}

static int rename_file(const char *from, const char *to)
{
	struct memory_file *file = find_file(from);
	struct memory_file *replaced = find_file(to);
	if (file == NULL)
		return -ENOENT;
	if (replaced != NULL)
		replaced->there = false;
	(void)snprintf(file->path, FILE_PATH_BYTES, "%s", to);
	return 0;
}

static int unlink_file(const char *path)
{
	struct memory_file *file = find_file(path);
	if (file == NULL)
		return -ENOENT;
	file->there = false;
	return 0;
}

/* Copies one piece between memory and file; fewer bytes where a read meets the end. */
static int transfer(struct io_request *request, struct memory_file *file, uint8_t *memory, size_t length)
{
	uint64_t offset = request->offset + request->transferred;
	if (request->operation == IO_WRITE) {
		if (offset > FILE_BYTES_MAX)
			return -ENOSPC;
		int result = offset + length > file->size ? grow_file(file, (size_t)offset + length) : 0;
		if (result != 0)
			return result;
		memcpy(file->bytes + offset, memory, length);
	} else {
		size_t there = offset < file->size ? file->size - (size_t)offset : 0;
		length = length < there ? length : there;
		if (length > 0)
			memcpy(memory, file->bytes + offset, length);
	}
	request->transferred += length;
	return 0;
}

static int transfer_all(struct io_request *request)
{
	struct memory_file *file = (struct memory_file *)(void *)request->file;
	if (request->vector_count == 0)
		return transfer(request, file, request->buffer, request->length);
	for (unsigned i = 0; i < request->vector_count; i++) {
		int result =
			transfer(request, file, request->vectors[i].iov_base, request->vectors[i].iov_len);
		if (result != 0)
			return result;
	}
	return 0;
}

static int perform(struct io_request *request)
{
	struct memory_file *file = (struct memory_file *)(void *)request->file;
	switch (request->operation) {
	case IO_READ:
	case IO_WRITE:
		return transfer_all(request);
	case IO_OPEN:
		return open_file(request);
	case IO_CLOSE:
		FUZZ_CHECK(file->handles > 0);
		file->handles--;
		return 0;
	case IO_ALLOCATE:
		if (request->offset > FILE_BYTES_MAX)
			return -ENOSPC;
		return grow_file(file, (size_t)request->offset + request->length);
	case IO_RENAME:
		return rename_file(request->path, request->path_to);
	case IO_UNLINK:
		return unlink_file(request->path);
	case IO_SYNC:
	case IO_SYNC_DIRECTORY:
	case IO_MAKE_DIRECTORY:
		return 0;
	}
	return -EINVAL;
}

/* --- the backend: in the place of an instance's own, which goes on waiting and waking --- */

static struct io_queue *queue_of(const struct io *io)
{
	for (unsigned i = 0; i < INSTANCES; i++)
		if (instances[i].io == io)
			return &instances[i].queue;
	FUZZ_CHECK(!"an instance of ours");
	return NULL;
}

static void memory_submit(struct io *io, struct io_request *request)
{
	io_queue_add(queue_of(io), request);
}

static void memory_carry_out(const struct io *io, struct io_request *request)
{
	(void)io;
	int result = perform(request);
	if (result < 0)
		request->status = status_from_errno(-result, "memory", request->path);
}

static unsigned memory_poll(struct io *io, uint64_t wait_ns)
{
	unsigned completed = 0;
	struct io_queue *queue = queue_of(io);
	/* What completions submit is for the next poll. */
	for (unsigned count = queue->count; completed < count; completed++) {
		struct io_request *request = io_queue_take(queue);
		memory_carry_out(io, request);
		io_finish(io, request);
	}
	return completed + inner->poll(io, completed > 0 ? 0 : wait_ns);
}

/* Names below the directory. */
static struct status memory_list(struct io *io, const char *path,
				 void (*each)(void *context, const char *name), void *context)
{
	(void)io;
	size_t length = strlen(path);
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (files[i].there && strncmp(files[i].path, path, length) == 0 &&
		    files[i].path[length] == '/')
			each(context, files[i].path + length + 1);
	return status_ok();
}

static void take_over(struct io *io, unsigned instance)
{
	inner = io->backend;
	memory_backend = *inner;
	memory_backend.submit = memory_submit;
	memory_backend.poll = memory_poll;
	memory_backend.carry_out = memory_carry_out;
	memory_backend.list = memory_list;
	instances[instance].io = io;
	__atomic_store_n(&io->backend, &memory_backend, __ATOMIC_RELAXED);
}

/* --- the shard --- */

static void take_over_shard(struct task *self, void *argument)
{
	(void)argument;
	take_over(shard_io(task_shard(self)), 0);
}

static void destroy_runtime(void)
{
	runtime_destroy(runtime);
	runtime = NULL;
	for (unsigned i = 0; i < FILES_MAX; i++)
		free(files[i].bytes);
}

static void create_runtime(void)
{
	struct runtime_options options = { .shards = 1, .io_backend = "posix" };
	char notice[200];
	struct status status = runtime_create(&options, &runtime, notice, sizeof(notice));
	FUZZ_CHECK(status_is_ok(status));
	runtime_run(runtime, 0, take_over_shard, NULL);
	FUZZ_CHECK(atexit(destroy_runtime) == 0);
}

void world_run(task_function *function, void *argument)
{
	if (runtime == NULL)
		create_runtime();
	runtime_run(runtime, 0, function, argument);
}

static void destroy_io(void)
{
	io_destroy(instances[1].io);
}

struct io *world_io(void)
{
	if (instances[1].io == NULL) {
		struct io_options options = { 0 };
		struct io *io;
		char notice[200];
		struct status status = io_create("posix", &options, &io, notice, sizeof(notice));
		FUZZ_CHECK(status_is_ok(status));
		take_over(io, 1);
		FUZZ_CHECK(atexit(destroy_io) == 0);
	}
	return instances[1].io;
}
