/*
 * io_test.c: the conformance suite: what io.h promises, run over every row of io_backends, over the simulated
 * one and over faulty ones without faults, and then what only backends over a real kernel can show. (About a
 * second for each backend.)
 */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "io/faulty.h"
#include "io/io.h"
#include "io/simulated.h"
#include "io/transfer.h"

enum { PAGE = IO_PAGE_BYTES, DEPTH = 16 };

#define MILLISECOND 1000000ull
#define PATIENCE    (20000 * MILLISECOND) /* longer than any wait here should take on a busy machine */

static const struct io_backend *backend; /* under test */
static struct simulated_world *world;	 /* whose clock it is; NULL: the machine's */
static struct io *io;
static char root[64];
static bool polling; /* inside io_poll: the only place where completions may run */

/* --- helpers --- */

static const char *in_root(const char *name)
{
	static char paths[4][160];
	static unsigned next;
	char *path = paths[next++ % 4];
	(void)snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
	return path;
}

/* How long to wait for another thread. A world's clock does not wait for one unless the wait has no end. */
static uint64_t patience(void)
{
	return world != NULL ? UINT64_MAX : PATIENCE;
}

static unsigned poll_io(uint64_t wait_ns)
{
	polling = true;
	unsigned done = io_poll(io, wait_ns);
	polling = false;
	return done;
}

static struct status run(struct io_request *request)
{
	polling = true;
	struct status status = io_execute(io, request);
	polling = false;
	return status;
}

static struct status run_path(enum io_operation operation, const char *path)
{
	struct io_request request = { .operation = operation, .path = path };
	return run(&request);
}

static struct status try_open(const char *path, unsigned flags, struct io_file **file)
{
	struct io_request request = { .operation = IO_OPEN, .path = path, .flags = flags };
	struct status status = run(&request);
	*file = request.opened;
	return status;
}

static struct io_file *open_file(const char *path, unsigned flags)
{
	struct io_file *file;
	assert_ok(try_open(path, flags, &file));
	assert_non_null(file);
	return file;
}

static void close_file(struct io_file *file)
{
	struct io_request request = { .operation = IO_CLOSE, .file = file };
	assert_ok(run(&request));
}

static struct io_request transfer(enum io_operation operation, struct io_file *file, void *buffer,
				  size_t length, uint64_t offset)
{
	return (struct io_request) {
		.operation = operation, .file = file, .buffer = buffer, .length = length, .offset = offset
	};
}

static void write_all(struct io_file *file, const void *buffer, size_t length, uint64_t offset)
{
	struct io_request request = transfer(IO_WRITE, file, (void *)(uintptr_t)buffer, length, offset);
	assert_ok(run(&request));
	assert_int_equal(request.transferred, length);
}

static size_t read_some(struct io_file *file, void *buffer, size_t length, uint64_t offset)
{
	struct io_request request = transfer(IO_READ, file, buffer, length, offset);
	assert_ok(run(&request));
	return request.transferred;
}

static void fill(void *buffer, size_t size, uint64_t seed)
{
	uint64_t *words = buffer;
	for (size_t i = 0; i < size / sizeof(*words); i++)
		words[i] = random_at(seed, i);
}

static bool is_filled(const void *buffer, size_t size, uint64_t seed)
{
	const uint64_t *words = buffer;
	for (size_t i = 0; i < size / sizeof(*words); i++)
		if (words[i] != random_at(seed, i))
			return false;
	return true;
}

static char *pages(size_t count)
{
	char *memory = memory_map(count * PAGE);
	assert_non_null(memory);
	return memory;
}

static void expect_text(struct status status, const char *part)
{
	char text[256];
	status_describe(status, text, sizeof(text));
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" does not contain \"%s\"", text, part);
}

static struct io *create(const struct io_options *options)
{
	char notice[200];
	struct io *created;
	assert_ok(io_create(backend->name, options, &created, notice, sizeof(notice)));
	if (notice[0] != '\0')
		print_message("%s\n", notice);
	return created;
}

static int set_up(void **state)
{
	(void)state;
	io = create(&(struct io_options) { .depth = DEPTH, .direct = true });
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(io->in_flight, 0);
	io_destroy(io);
	return 0;
}

/* --- reads and writes --- */

static void direct_round_trip(void **state)
{
	(void)state;
	char *memory = pages(16);
	struct io_file *file = open_file(in_root("direct"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	assert_int_equal(file->size_at_open, 0);
	fill(memory, 8 * PAGE, 1);
	write_all(file, memory, 8 * PAGE, 0);
	write_all(file, memory, PAGE, 3 * PAGE);
	assert_int_equal(read_some(file, memory + 8 * PAGE, 8 * PAGE, 0), 8 * PAGE);
	memcpy(memory + 3 * PAGE, memory, PAGE);
	assert_memory_equal(memory, memory + 8 * PAGE, 8 * PAGE);
	struct io_request sync = { .operation = IO_SYNC, .file = file };
	assert_ok(run(&sync));
	close_file(file);

	file = open_file(in_root("direct"), IO_OPEN_READ);
	assert_int_equal(file->size_at_open, 8 * PAGE);
	assert_int_equal(read_some(file, memory, PAGE, 7 * PAGE), PAGE);
	assert_memory_equal(memory, memory + 15 * PAGE, PAGE);
	close_file(file);
	assert_int_equal(io->counters.writes, 2);
	assert_int_equal(io->counters.reads, 2);
	assert_int_equal(io->counters.write_bytes, 9 * PAGE);
	assert_int_equal(io->counters.read_bytes, 9 * PAGE);
	assert_int_equal(io->counters.syncs, 1);
	assert_true(io->counters.submits > 0);
	assert_ok(run_path(IO_UNLINK, in_root("direct")));
	memory_unmap(memory, 16 * PAGE);
}

static void buffered_at_any_alignment(void **state)
{
	(void)state;
	char text[] = "any length, any place";
	char back[64] = { 0 };
	struct io_file *file =
		open_file(in_root("buffered"), IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_BUFFERED);
	assert_false(file->direct);
	write_all(file, text, sizeof(text), 12345);
	assert_int_equal(read_some(file, back + 1, sizeof(text), 12345), sizeof(text));
	assert_string_equal(back + 1, text);
	close_file(file);
	file = open_file(in_root("buffered"), IO_OPEN_BUFFERED);
	assert_int_equal(file->size_at_open, 12345 + sizeof(text));
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("buffered")));
}

static void an_instance_can_be_buffered(void **state)
{
	(void)state;
	struct io *kept = io;
	io = create(&(struct io_options) { .direct = false });
	struct io_file *file = open_file(in_root("plain"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	assert_false(file->direct);
	write_all(file, "abc", 3, 1);
	char back[8] = { 0 };
	assert_int_equal(read_some(file, back, sizeof(back), 0), 4);
	assert_string_equal(back + 1, "abc");
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("plain")));
	io_destroy(io);
	io = kept;
}

static void vectors_both_ways(void **state)
{
	(void)state;
	enum { COUNT = 64 };
	char *memory = pages(4 * COUNT);
	struct iovec out[COUNT];
	struct iovec in[COUNT];
	size_t total = 0;
	fill(memory, 2 * COUNT * PAGE, 2);
	for (unsigned i = 0; i < COUNT; i++) {
		size_t length = (size_t)(1 + i % 2) * PAGE;
		out[i] = (struct iovec) { memory + total, length };
		total += length;
	}
	for (unsigned i = 0; i < COUNT; i++) /* cut differently: the odd lengths first */
		in[i] = (struct iovec) { memory + 2 * COUNT * PAGE + (size_t)i * PAGE, PAGE };
	struct io_file *file = open_file(in_root("vectors"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	struct io_request request = transfer(IO_WRITE, file, NULL, total, PAGE);
	request.vectors = out;
	request.vector_count = COUNT;
	request.flags = IO_DURABLE;
	assert_ok(run(&request));
	assert_int_equal(request.transferred, total);
	for (uint64_t at = 0; at < total; at += (size_t)32 * PAGE) {
		request = transfer(IO_READ, file, NULL, (size_t)32 * PAGE, PAGE + at);
		request.vectors = in;
		request.vector_count = 32;
		assert_ok(run(&request));
		assert_memory_equal(in[0].iov_base, memory + at, (size_t)32 * PAGE);
	}
	/* The end of the file inside a vector. */
	request = transfer(IO_READ, file, NULL, (size_t)4 * PAGE, total - PAGE);
	request.vectors = in;
	request.vector_count = 4;
	assert_ok(run(&request));
	assert_int_equal(request.transferred, 2 * PAGE);
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("vectors")));
	memory_unmap(memory, (size_t)4 * COUNT * PAGE);
}

static void reads_meet_the_end(void **state)
{
	(void)state;
	char *memory = pages(8);
	const char *path = in_root("end");
	struct io_file *file = open_file(path, IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_BUFFERED);
	fill(memory, 2 * PAGE, 3);
	write_all(file, memory, 5000, 0);
	assert_int_equal(read_some(file, memory + 2 * PAGE, 6 * PAGE, 0), 5000);
	assert_memory_equal(memory, memory + 2 * PAGE, 5000);
	assert_int_equal(read_some(file, memory, 100, 5000), 0);
	assert_int_equal(read_some(file, memory, 100, 1 << 20), 0);
	assert_int_equal(read_some(file, memory, 0, 0), 0);
	struct io_request sync = { .operation = IO_SYNC, .file = file };
	assert_ok(run(&sync));
	close_file(file);
	file = open_file(path, IO_OPEN_READ); /* direct, where there is such a thing */
	assert_int_equal(read_some(file, memory, 6 * PAGE, 0), 5000);
	assert_int_equal(read_some(file, memory, 6 * PAGE, PAGE), 5000 - PAGE);
	assert_int_equal(read_some(file, memory, PAGE, 2 * PAGE), 0);
	close_file(file);
	assert_ok(run_path(IO_UNLINK, path));
	memory_unmap(memory, 8 * PAGE);
}

static void misaligned_direct_is_refused(void **state)
{
	(void)state;
	char *memory = pages(2);
	struct io_file *file = open_file(in_root("misaligned"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	if (file->direct) {
		struct io_request request = transfer(IO_READ, file, memory, PAGE, 512);
		assert_status(run(&request), STATUS_INVALID);
		expect_text(request.status, "/misaligned");
		request = transfer(IO_WRITE, file, memory + 16, PAGE, 0);
		assert_status(run(&request), STATUS_INVALID);
		request = transfer(IO_WRITE, file, memory, 100, 0);
		assert_status(run(&request), STATUS_INVALID);
		assert_true(file->direct);
	}
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("misaligned")));
	memory_unmap(memory, 2 * PAGE);
}

static void allocation_extends(void **state)
{
	(void)state;
	struct io_file *file = open_file(in_root("allocated"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	struct io_request request = transfer(IO_ALLOCATE, file, NULL, 64 * PAGE, PAGE);
	struct status status = run(&request);
	if (!status_is(status, STATUS_UNSUPPORTED)) {
		assert_ok(status);
		char *memory = pages(1);
		memory[0] = 1;
		assert_int_equal(read_some(file, memory, PAGE, 64 * PAGE), PAGE);
		assert_int_equal(memory[0], 0);
		memory_unmap(memory, PAGE);
		close_file(file);
		file = open_file(in_root("allocated"), IO_OPEN_READ);
		assert_int_equal(file->size_at_open, 65 * PAGE);
	}
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("allocated")));
}

/* --- names --- */

static void opens_missing_and_existing(void **state)
{
	(void)state;
	struct io_file *file;
	struct status status = try_open(in_root("missing"), IO_OPEN_WRITE, &file);
	assert_status(status, STATUS_NOT_FOUND);
	assert_null(file);
	expect_text(status, "/missing: open");
	close_file(open_file(in_root("present"), IO_OPEN_WRITE | IO_OPEN_CREATE));
	status = try_open(in_root("present"), IO_OPEN_WRITE | IO_OPEN_CREATE, &file);
	assert_status(status, STATUS_INVALID);
	expect_text(status, "/present: open: exists already");
	assert_null(file);
	close_file(open_file(in_root("present"), IO_OPEN_WRITE));

	char path[IO_PATH_MAX + 8];
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_status(try_open(path, 0, &file), STATUS_INVALID);
	assert_ok(run_path(IO_UNLINK, in_root("present")));
}

struct names {
	unsigned count;
	bool first, second, other;
};

static void note_name(void *context, const char *name)
{
	struct names *names = context;
	names->count++;
	names->first |= strcmp(name, "first") == 0;
	names->second |= strcmp(name, "second") == 0;
	names->other |= strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static struct names list_names(const char *path)
{
	struct names names = { 0 };
	assert_ok(io_list(io, path, note_name, &names));
	assert_false(names.other);
	return names;
}

static void names_change(void **state)
{
	(void)state;
	const char *directory = in_root("directory");
	assert_ok(run_path(IO_MAKE_DIRECTORY, directory));
	assert_ok(run_path(IO_MAKE_DIRECTORY, directory));
	assert_int_equal(list_names(directory).count, 0);
	char first[160];
	char second[160];
	(void)snprintf(first, sizeof(first), "%s/first", directory);
	(void)snprintf(second, sizeof(second), "%s/second", directory);
	unsigned flags = IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_BUFFERED;
	struct io_file *file = open_file(first, flags);
	write_all(file, "1", 1, 0);
	close_file(file);
	close_file(open_file(second, flags));
	assert_ok(run_path(IO_SYNC_DIRECTORY, directory));
	assert_int_equal(io->counters.syncs, 1);
	struct names names = list_names(directory);
	assert_true(names.count == 2 && names.first && names.second);

	struct io_request rename_it = { .operation = IO_RENAME, .path = first, .path_to = second };
	assert_ok(run(&rename_it));
	names = list_names(directory);
	assert_true(names.count == 1 && names.second);
	file = open_file(second, IO_OPEN_BUFFERED);
	assert_int_equal(file->size_at_open, 1);
	close_file(file);
	assert_status(run(&rename_it), STATUS_NOT_FOUND);
	expect_text(rename_it.status, "/directory/first: rename to ");

	assert_ok(run_path(IO_UNLINK, second));
	assert_status(run_path(IO_UNLINK, second), STATUS_NOT_FOUND);
	assert_int_equal(list_names(directory).count, 0);
	struct status status = run_path(IO_SYNC_DIRECTORY, in_root("nowhere"));
	assert_status(status, STATUS_NOT_FOUND);
	expect_text(status, "/nowhere: sync directory");
	struct names none = { 0 };
	status = io_list(io, in_root("nowhere"), note_name, &none);
	assert_status(status, STATUS_NOT_FOUND);
	expect_text(status, "/nowhere");
	assert_status(run_path(IO_MAKE_DIRECTORY, in_root("no/where")), STATUS_NOT_FOUND);
}

static void one_holder_of_a_lock(void **state)
{
	(void)state;
	int first = -1;
	int second = -1;
	assert_ok(io_lock(io, in_root("lock"), &first));
	struct status status = io_lock(io, in_root("lock"), &second);
	assert_status(status, STATUS_LOCKED);
	expect_text(status, "/lock");
	struct io *other = create(&(struct io_options) { .depth = 1 });
	assert_status(io_lock(other, in_root("lock"), &second), STATUS_LOCKED);
	io_hold(other, first);
	io_unlock(io, first);
	assert_ok(io_lock(other, in_root("lock"), &second));
	assert_status(io_lock(io, in_root("lock"), &first), STATUS_LOCKED);
	io_unlock(other, second);
	io_destroy(other);
	assert_status(io_lock(io, in_root("no/lock"), &first), STATUS_NOT_FOUND);
	assert_ok(run_path(IO_UNLINK, in_root("lock")));
}

/* --- many requests, completions that submit --- */

struct tally {
	unsigned completed, failed;
	unsigned again; /* how often the completion submits itself once more */
};

static void count_completion(struct io_request *request)
{
	struct tally *tally = request->context;
	assert_true(polling);
	tally->completed++;
	tally->failed += !status_is_ok(request->status) || request->transferred != request->length;
	if (tally->again > 0) {
		tally->again--;
		io_submit(io, request);
	}
}

static void drain(void)
{
	uint64_t start = clock_now_ns();
	while (io->in_flight > 0) {
		(void)poll_io(PATIENCE);
		if (clock_now_ns() - start > PATIENCE)
			fail_msg("%u requests never complete", io->in_flight);
	}
}

static void far_more_than_the_depth(void **state)
{
	(void)state;
	enum { COUNT = 1000 };
	static struct io_request requests[COUNT];
	char *memory = pages(COUNT);
	fill(memory, (size_t)COUNT * PAGE, 4);
	struct io_file *file = open_file(in_root("many"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	for (enum io_operation operation = IO_WRITE;; operation = IO_READ) {
		struct tally tally = { 0 };
		for (unsigned i = 0; i < COUNT; i++) {
			size_t page = (size_t)i * 379 % COUNT; /* each once, in no order */
			requests[i] = transfer(operation, file, memory + page * PAGE, PAGE, page * PAGE);
			requests[i].complete = count_completion;
			requests[i].context = &tally;
			io_submit(io, &requests[i]);
		}
		assert_int_equal(io->in_flight, COUNT);
		assert_int_equal(tally.completed, 0);
		drain();
		assert_int_equal(tally.completed, COUNT);
		assert_int_equal(tally.failed, 0);
		assert_true(is_filled(memory, (size_t)COUNT * PAGE, 4));
		memset(memory, 0, operation == IO_WRITE ? (size_t)COUNT * PAGE : 0);
		if (operation == IO_READ)
			break;
	}
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("many")));
	memory_unmap(memory, (size_t)COUNT * PAGE);
}

/* --- requests with IO_BULK --- */

enum { BULK_COUNT = 24, BULK_PAGES = 64 };

static uint64_t bulk_most; /* bytes under way at a time */

static void bulk_completion(struct io_request *request)
{
	count_completion(request);
	if (bulk_most < io->bulk.bytes)
		bulk_most = io->bulk.bytes;
}

/* All at once, in requests of `length`. */
static void transfer_in_bulk(enum io_operation operation, struct io_file *file, char *memory, size_t length)
{
	static struct io_request requests[BULK_COUNT * BULK_PAGES];
	struct tally tally = { 0 };
	unsigned count = (unsigned)((size_t)BULK_COUNT * BULK_PAGES * PAGE / length);
	for (unsigned i = 0; i < count; i++) {
		requests[i] = transfer(operation, file, memory + i * length, length, i * length);
		requests[i].flags = IO_BULK;
		requests[i].complete = bulk_completion;
		requests[i].context = &tally;
		io_submit(io, &requests[i]);
	}
	bulk_most = io->bulk.bytes;
	assert_int_equal(io->in_flight, count);
	drain();
	assert_int_equal(tally.completed, count);
	assert_int_equal(tally.failed, 0);
	assert_int_equal(io->bulk.bytes, 0);
}

static void bulk_waits_in_line(void **state)
{
	(void)state;
	size_t size = (size_t)BULK_COUNT * BULK_PAGES * PAGE;
	char *memory = pages(BULK_COUNT * BULK_PAGES);
	fill(memory, size, 5);
	struct io_file *file = open_file(in_root("bulk"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	assert_int_equal(io_bulk_length(io), BULK_PAGES * PAGE);
	transfer_in_bulk(IO_WRITE, file, memory, io_bulk_length(io));
	assert_int_equal(bulk_most, 1 << 20);
	memset(memory, 0, size);
	transfer_in_bulk(IO_READ, file, memory, io_bulk_length(io));
	assert_int_equal(bulk_most, 1 << 20);
	assert_true(is_filled(memory, size, 5));
	/* A read of somebody else's, and what is long goes alone. */
	(void)read_some(file, memory, PAGE, 0);
	assert_true(io_bulk_length(io) < BULK_PAGES * PAGE);
	transfer_in_bulk(IO_READ, file, memory, (size_t)BULK_PAGES * PAGE);
	assert_int_equal(bulk_most, BULK_PAGES * PAGE);
	io_set_haste(io, 1);
	io_be_gentle(io);
	size_t more = io_bulk_length(io);
	transfer_in_bulk(IO_READ, file, memory, PAGE);
	assert_true(bulk_most >= more);
	/* In the greatest haste there are 256 KiB, reads or not. */
	io_set_haste(io, IO_HASTE_MAX + 1);
	io_be_gentle(io);
	assert_int_equal(io_bulk_length(io), BULK_PAGES * PAGE);
	transfer_in_bulk(IO_READ, file, memory, (size_t)BULK_PAGES * PAGE);
	assert_int_equal(bulk_most, 1 << 20);
	io_set_haste(io, 0);
	io_be_gentle(io);
	assert_int_equal(io_bulk_length(io), more / 2);
	transfer_in_bulk(IO_READ, file, memory, PAGE);
	assert_true(is_filled(memory, size, 5));
	/* So much later it is as in the beginning. */
	assert_int_equal(io_bulk_length(io), BULK_PAGES * PAGE);
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("bulk")));
	memory_unmap(memory, size);
}

/* --- what may be done at once --- */

static void at_once_by_itself(void **state)
{
	(void)state;
	char *memory = pages(2);
	fill(memory, PAGE, 6);
	struct io_file *file = open_file(in_root("once"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	struct tally tally = { 0 };
	struct io_request write = transfer(IO_WRITE, file, memory, PAGE, 0);
	write.flags = IO_DURABLE | IO_AT_ONCE;
	write.complete = count_completion;
	write.context = &tally;
	struct io_request sync = { .operation = IO_SYNC,
				   .flags = IO_AT_ONCE,
				   .file = file,
				   .complete = count_completion,
				   .context = &tally };
	/* Two are not alone, and one that did not ask for it is left to a poll. */
	assert_false(io_do_alone(io));
	io_submit(io, &write);
	io_submit(io, &sync);
	assert_false(io_do_alone(io));
	drain();
	assert_int_equal(tally.completed, 2);
	sync.flags = 0;
	io_submit(io, &sync);
	assert_false(io_do_alone(io));
	drain();
	sync.flags = IO_AT_ONCE;
	unsigned done = 0;
	polling = true;
	fill(memory, PAGE, 7);
	io_submit(io, &write);
	done += io_do_alone(io);
	polling = false;
	drain();
	polling = true;
	io_submit(io, &sync);
	done += io_do_alone(io);
	polling = false;
	drain();
	assert_int_equal(done, backend->do_alone != NULL ? 2 : 0);
	assert_int_equal(tally.completed, 5);
	assert_int_equal(tally.failed, 0);
	assert_int_equal(read_some(file, memory + PAGE, PAGE, 0), PAGE);
	assert_true(is_filled(memory + PAGE, PAGE, 7));
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("once")));
	memory_unmap(memory, 2 * (size_t)PAGE);
}

static void completions_submit(void **state)
{
	(void)state;
	char *memory = pages(2);
	struct io_file *file = open_file(in_root("chain"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	write_all(file, memory, 2 * PAGE, 0);
	struct tally tally = { .again = 500 };
	struct io_request requests[2];
	for (unsigned i = 0; i < 2; i++) {
		requests[i] = transfer(IO_READ, file, memory + i * PAGE, PAGE, i * PAGE);
		requests[i].complete = count_completion;
		requests[i].context = &tally;
		io_submit(io, &requests[i]);
	}
	drain();
	assert_int_equal(tally.completed, 502);
	assert_int_equal(tally.failed, 0);

	/* One that cannot even begin, and submits itself again: the poll must end all the same. */
	tally = (struct tally) { .again = 3 };
	requests[0] = transfer(IO_READ, file, memory, (size_t)2 << 30, 0);
	requests[0].complete = count_completion;
	requests[0].context = &tally;
	io_submit(io, &requests[0]);
	assert_int_equal(poll_io(PATIENCE), 1);
	drain();
	assert_int_equal(tally.completed, 4);
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("chain")));
	memory_unmap(memory, 2 * PAGE);
}

static void completions_may_be_dropped(void **state)
{
	(void)state;
	struct io_file *file = open_file(in_root("dropped"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	struct io_request close_it = { .operation = IO_CLOSE, .file = file };
	struct io_request unlink_it = { .operation = IO_UNLINK, .path = in_root("dropped") };
	io_submit(io, &close_it);
	io_submit(io, &unlink_it);
	drain();
	assert_status(try_open(in_root("dropped"), 0, &file), STATUS_NOT_FOUND);
}

static void execute_leaves_others_their_completions(void **state)
{
	(void)state;
	struct tally tally = { 0 };
	struct io_request other = { .operation = IO_SYNC_DIRECTORY, .path = root };
	other.complete = count_completion;
	other.context = &tally;
	io_submit(io, &other);
	struct io_request request = { .operation = IO_MAKE_DIRECTORY, .path = root };
	request.complete = count_completion; /* not run by io_execute, and still there afterwards */
	request.context = &request;
	assert_ok(run(&request));
	assert_true(request.complete == count_completion);
	assert_ptr_equal(request.context, &request);
	drain();
	assert_int_equal(tally.completed, 1);
	assert_int_equal(tally.failed, 0);
}

/* --- waiting and waking --- */

static void a_wait_ends_at_its_time(void **state)
{
	(void)state;
	assert_int_equal(poll_io(0), 0);
	uint64_t start = clock_now_ns();
	assert_int_equal(poll_io(30 * MILLISECOND), 0);
	uint64_t took = clock_now_ns() - start;
	assert_true(took >= 29 * MILLISECOND);
	assert_true(took < PATIENCE);
}

static void a_wake_before_the_poll(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		io_wake(io);
		io_wake(io);
		uint64_t start = clock_now_ns();
		assert_int_equal(poll_io(PATIENCE), 0);
		assert_true(clock_now_ns() - start < PATIENCE);
		/* Used up: the next one waits. */
		start = clock_now_ns();
		assert_int_equal(poll_io(5 * MILLISECOND), 0);
		assert_true(clock_now_ns() - start >= 4 * MILLISECOND);
	}
}

static void *wake_later(void *argument)
{
	struct timespec pause = { .tv_nsec = 20 * 1000000 };
	nanosleep(&pause, NULL);
	io_wake(argument);
	return NULL;
}

static void a_wake_from_another_thread(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, wake_later, io), 0);
		uint64_t start = clock_now_ns();
		assert_int_equal(poll_io(i == 0 ? UINT64_MAX : patience()), 0);
		assert_true(clock_now_ns() - start < PATIENCE);
		pthread_join(thread, NULL);
	}
}

enum { ROUNDS = 3000 };
static atomic_uint asked;
static atomic_uint answered;

static void *ask(void *argument)
{
	for (unsigned i = 1; i <= ROUNDS; i++) {
		atomic_store_explicit(&asked, i, memory_order_relaxed); /* io_wake orders it */
		io_wake(argument);
		while (atomic_load_explicit(&answered, memory_order_acquire) != i)
			if (i % 3 == 0)
				sched_yield(); /* the owner has time to fall asleep, or not */
	}
	return NULL;
}

/* A wake that is lost in the gap between the last look and the sleep would show here as a timeout. */
static void no_wake_is_lost(void **state)
{
	(void)state;
	char *memory = pages(1);
	struct io_file *file = open_file(in_root("wakes"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	write_all(file, memory, PAGE, 0);
	struct tally tally = { .again = UINT32_MAX };
	struct io_request request = transfer(IO_READ, file, memory, PAGE, 0);
	request.complete = count_completion;
	request.context = &tally;
	for (int busy = 0; busy < 2; busy++) {
		atomic_store(&asked, 0);
		atomic_store(&answered, 0);
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, ask, io), 0);
		if (busy)
			io_submit(io, &request);
		unsigned seen = 0;
		while (seen < ROUNDS) {
			uint64_t start = clock_now_ns();
			(void)poll_io(patience());
			if (clock_now_ns() - start >= PATIENCE)
				fail_msg("a wake was lost after round %u", seen);
			seen = atomic_load_explicit(&asked, memory_order_relaxed);
			atomic_store_explicit(&answered, seen, memory_order_release);
		}
		pthread_join(thread, NULL);
	}
	tally.again = 0;
	drain();
	assert_int_equal(tally.failed, 0);
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("wakes")));
	memory_unmap(memory, PAGE);
}

static void wake_in_handler(int number)
{
	(void)number;
	io_wake(io);
}

static void a_wake_from_a_signal_handler(void **state)
{
	(void)state;
	struct sigaction action = { .sa_handler = wake_in_handler };
	struct sigaction kept;
	sigaction(SIGALRM, &action, &kept);
	struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
	setitimer(ITIMER_REAL, &soon, NULL);
	uint64_t start = clock_now_ns();
	assert_int_equal(poll_io(patience()), 0);
	assert_true(clock_now_ns() - start < PATIENCE);
	sigaction(SIGALRM, &kept, NULL);
}

/* --- registered memory --- */

static void memory_registered_or_not(void **state)
{
	(void)state;
	char *memory = pages(64);
	struct io_file *file = open_file(in_root("registered"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	fill(memory, 16 * PAGE, 5);
	struct status status = io_register_memory(io, memory, 32 * PAGE);
	assert_true(io->memory_registered == status_is_ok(status));
	write_all(file, memory, 16 * PAGE, 0);
	/* Inside the region, across its end, outside of it. */
	for (size_t to = 16; to <= 48; to += 12) {
		memset(memory + to * PAGE, 0, 16 * PAGE);
		assert_int_equal(read_some(file, memory + to * PAGE, 16 * PAGE, 0), 16 * PAGE);
		assert_true(is_filled(memory + to * PAGE, 16 * PAGE, 5));
	}
	/* Many regions: some are refused sooner or later, and everything goes on. */
	for (size_t i = 32; i < 64; i++)
		for (int twice = 0; twice < 4; twice++)
			status = io_register_memory(io, memory + i * PAGE, PAGE);
	assert_false(status_is_ok(status));
	assert_int_equal(read_some(file, memory + 40 * PAGE, 16 * PAGE, 0), 16 * PAGE);
	assert_true(is_filled(memory + 40 * PAGE, 16 * PAGE, 5));
	struct io_request durable = transfer(IO_WRITE, file, memory, PAGE, 15 * PAGE);
	durable.flags = IO_DURABLE;
	assert_ok(run(&durable));
	assert_int_equal(read_some(file, memory + 63 * PAGE, PAGE, 15 * PAGE), PAGE);
	assert_memory_equal(memory + 63 * PAGE, memory, PAGE);
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("registered")));
	io_destroy(io); /* before the memory goes */
	memory_unmap(memory, 64 * PAGE);
	io = create(&(struct io_options) { .depth = DEPTH, .direct = true });
}

/* --- exhaustion --- */

static void every_failed_allocation_is_a_status(void **state)
{
	(void)state;
	const struct io_options options = { .depth = 4, .direct = true };
	for (uint64_t n = 1;; n++) {
		struct io *made = NULL;
		memory_fail_at(n, 1);
		struct status status = io_create(backend->name, &options, &made, NULL, 0);
		memory_fail_at(0, 0);
		if (status_is_ok(status)) {
			assert_true(n > 1);
			io_destroy(made);
			break;
		}
		assert_status(status, STATUS_NO_MEMORY);
		assert_null(made);
	}
	for (uint64_t n = 1;; n++) {
		struct io_file *file;
		memory_fail_at(n, 1);
		struct status status = try_open(in_root("exhausted"), IO_OPEN_WRITE | IO_OPEN_CREATE, &file);
		memory_fail_at(0, 0);
		if (status_is_ok(status)) {
			assert_true(n > 1);
			close_file(file);
			break;
		}
		assert_status(status, STATUS_NO_MEMORY);
	}
	assert_ok(run_path(IO_UNLINK, in_root("exhausted")));
}

/* --- only over a real kernel --- */

static unsigned count_descriptors(void)
{
	unsigned count = 0;
	DIR *directory = opendir("/proc/self/fd");
	assert_non_null(directory);
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}

static void nothing_leaks(void **state)
{
	(void)state;
	char *memory = pages(1);
	unsigned before = count_descriptors();
	struct io *kept = io;
	io = create(&(struct io_options) { .depth = 4, .direct = true });
	unsigned with_instance = count_descriptors();
	struct io_file *files[8];
	for (unsigned i = 0; i < 8; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "leak%u", i);
		files[i] = open_file(in_root(name), IO_OPEN_WRITE | IO_OPEN_CREATE);
		write_all(files[i], memory, PAGE, 0);
		assert_ok(run_path(IO_UNLINK, in_root(name)));
	}
	(void)poll_io(MILLISECOND); /* arms the wake */
	assert_ok(run_path(IO_SYNC_DIRECTORY, root));
	for (unsigned i = 0; i < 8; i++)
		close_file(files[i]);
	assert_int_equal(count_descriptors(), with_instance);
	io_destroy(io);
	io = kept;
	assert_int_equal(count_descriptors(), before);
	memory_unmap(memory, PAGE);
}

static void a_refused_direct_open_falls_back(void **state)
{
	(void)state;
	char *memory = pages(1);
	struct io_file *file = open_file("/dev/zero", IO_OPEN_READ); /* a device that refuses O_DIRECT */
	assert_false(file->direct);
	memset(memory, 1, PAGE);
	assert_int_equal(read_some(file, memory + 1, 100, 0), 100);
	assert_true(memory[0] == 1 && memory[1] == 0 && memory[100] == 0 && memory[101] == 1);
	close_file(file);
	memory_unmap(memory, PAGE);
}

static void full_and_failing_devices(void **state)
{
	(void)state;
	char byte = 1;
	struct io_file *file = open_file("/dev/full", IO_OPEN_WRITE | IO_OPEN_BUFFERED);
	struct io_request request = transfer(IO_WRITE, file, &byte, 1, 0);
	assert_status(run(&request), STATUS_NO_SPACE);
	expect_text(request.status, "/dev/full: write 1 bytes at 0");
	assert_int_equal(request.transferred, 0);
	close_file(file);

	file = open_file("/proc/self/mem", IO_OPEN_BUFFERED);
	request = transfer(IO_READ, file, &byte, 1, 0);
	assert_status(run(&request), STATUS_IO);
	expect_text(request.status, "/proc/self/mem: read 1 bytes at 0: Input/output error");
	close_file(file);

	file = open_file(in_root("read-only"), IO_OPEN_READ | IO_OPEN_CREATE | IO_OPEN_BUFFERED);
	request = transfer(IO_WRITE, file, &byte, 1, 0);
	assert_status(run(&request), STATUS_IO);
	close_file(file);
	assert_status(run_path(IO_MAKE_DIRECTORY, in_root("read-only")), STATUS_INVALID);
	assert_ok(run_path(IO_UNLINK, in_root("read-only")));
}

static void a_limit_on_file_size(void **state)
{
	(void)state;
	char *memory = pages(4);
	struct io_file *file = open_file(in_root("limited"), IO_OPEN_WRITE | IO_OPEN_CREATE);
	struct rlimit kept;
	getrlimit(RLIMIT_FSIZE, &kept);
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &(struct rlimit) { .rlim_cur = 6 * PAGE, .rlim_max = kept.rlim_max });
	/* The kernel cuts the write at the limit; the rest of it finds no room. */
	struct io_request request = transfer(IO_WRITE, file, memory, 4 * PAGE, 4 * PAGE);
	struct status status = run(&request);
	setrlimit(RLIMIT_FSIZE, &kept);
	signal(SIGXFSZ, handler);
	assert_status(status, STATUS_NO_SPACE);
	assert_int_equal(request.transferred, 2 * PAGE);
	assert_true(io->counters.retries >= 1);
	write_all(file, memory, 4 * PAGE, 4 * PAGE);
	close_file(file);
	assert_ok(run_path(IO_UNLINK, in_root("limited")));
	memory_unmap(memory, 4 * PAGE);
}

/* The ring's table of files is as large as the limit was; files beyond it work without a slot. */
static void more_files_than_slots(void **state)
{
	(void)state;
	enum { COUNT = 150 };
	struct rlimit kept;
	getrlimit(RLIMIT_NOFILE, &kept);
	struct io *before = io;
	setrlimit(RLIMIT_NOFILE, &(struct rlimit) { .rlim_cur = 100, .rlim_max = kept.rlim_max });
	io = create(&(struct io_options) { .direct = true });
	setrlimit(RLIMIT_NOFILE, &kept);
	char *memory = pages(2);
	struct io_file *files[COUNT];
	bool has_slots = false;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < COUNT; i++) {
			files[i] = open_file(in_root("slots"), IO_OPEN_WRITE | (i == 0 ? IO_OPEN_CREATE : 0));
			if (i == 0 && round == 0)
				has_slots = transfer_file(files[i])->slot >= 0;
			else if (i == 0) /* a closed file gives its slot back */
				assert_true((transfer_file(files[i])->slot >= 0) == has_slots);
			fill(memory, PAGE, i);
			write_all(files[i], memory, PAGE, (uint64_t)i * PAGE);
		}
		for (unsigned i = 0; i < COUNT; i++) {
			assert_int_equal(read_some(files[i], memory, PAGE, (uint64_t)i * PAGE), PAGE);
			assert_true(is_filled(memory, PAGE, i));
			close_file(files[i]);
		}
		assert_ok(run_path(IO_UNLINK, in_root("slots")));
	}
	memory_unmap(memory, 2 * PAGE);
	io_destroy(io);
	io = before;
}

static void another_process_holds_no_lock(void **state)
{
	(void)state;
	int lock;
	assert_ok(io_lock(io, in_root("lock"), &lock));
	pid_t child = fork();
	if (child == 0) {
		int second;
		_exit(io_lock(io, in_root("lock"), &second).code);
	}
	int result = -1;
	assert_int_equal(waitpid(child, &result, 0), child);
	assert_true(WIFEXITED(result));
	assert_int_equal(WEXITSTATUS(result), STATUS_LOCKED);
	io_unlock(io, lock);
	assert_ok(run_path(IO_UNLINK, in_root("lock")));
}

/* What happens when a process is killed: its descriptors close, its ring goes when its requests have ended.
 */
static void a_held_lock_outlives_its_descriptor(void **state)
{
	(void)state;
	if (backend->hold == NULL)
		return;
	int lock;
	int second = -1;
	struct io *other = create(&(struct io_options) { .depth = 1 });
	assert_ok(io_lock(io, in_root("lock"), &lock));
	io_hold(other, lock);
	assert_int_equal(close(lock), 0);
	assert_status(io_lock(io, in_root("lock"), &second), STATUS_LOCKED);
	io_destroy(other);
	uint64_t start = clock_now_ns();
	while (status_is(io_lock(io, in_root("lock"), &second), STATUS_LOCKED)) {
		assert_true(clock_now_ns() - start < PATIENCE);
		clock_sleep_ns(MILLISECOND);
	}
	io_unlock(io, second);
	assert_ok(run_path(IO_UNLINK, in_root("lock")));
}

/* --- choosing a backend --- */

static void unknown_names_are_not_found(void **state)
{
	(void)state;
	struct io *made = (struct io *)(void *)root;
	const struct io_options options = { 0 };
	char notice[8];
	struct status status = io_create("mirror", &options, &made, notice, sizeof(notice));
	assert_status(status, STATUS_NOT_FOUND);
	expect_text(status, "mirror");
	assert_null(made);
	assert_string_equal(notice, "");
}

static void a_forbidden_ring_becomes_threads(void **state)
{
	(void)state;
	struct io *made;
	const struct io_options options = { 0 };
	char notice[200] = "old";
	setenv("CASCADE_IO_DISABLE_URING", "1", 1);
	assert_ok(io_create("uring", &options, &made, notice, sizeof(notice)));
	assert_string_equal(made->backend->name, "posix");
	assert_non_null(strstr(notice, "io_uring is refused here (Operation not permitted)"));
	assert_non_null(strstr(notice, "posix"));
	assert_null(strchr(notice, '\n'));
	io_destroy(made);
	assert_ok(io_create("posix", &options, &made, notice, sizeof(notice)));
	assert_string_equal(notice, "");
	io_destroy(made);
	setenv("CASCADE_IO_DISABLE_URING", "0", 1);
	assert_ok(io_create("uring", &options, &made, notice, sizeof(notice)));
	assert_true((strcmp(made->backend->name, "uring") == 0) == (notice[0] == '\0'));
	io_destroy(made);
	unsetenv("CASCADE_IO_DISABLE_URING");
}

/* --- the suite --- */

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

static int make_root(void **state)
{
	(void)state;
	const char *temporary = getenv("TMPDIR");
	(void)snprintf(root, sizeof(root), "%.40s/io_test.XXXXXX", temporary != NULL ? temporary : "/tmp");
	if (mkdtemp(root) == NULL)
		return -1;
	if (world != NULL)
		simulated_make_path(world, temporary != NULL ? temporary : "/tmp");
	io = create(&(struct io_options) { 0 });
	assert_ok(run_path(IO_MAKE_DIRECTORY, root)); /* a simulated world has not seen it yet */
	io_destroy(io);
	return 0;
}

static int remove_root(void **state)
{
	(void)state;
	(void)rmdir(in_root("directory"));
	return rmdir(root);
}

static int run_conformance(const char *name)
{
	const struct CMUnitTest tests[] = {
		CASE(direct_round_trip),
		CASE(buffered_at_any_alignment),
		CASE(an_instance_can_be_buffered),
		CASE(vectors_both_ways),
		CASE(reads_meet_the_end),
		CASE(misaligned_direct_is_refused),
		CASE(allocation_extends),
		CASE(opens_missing_and_existing),
		CASE(names_change),
		CASE(one_holder_of_a_lock),
		CASE(far_more_than_the_depth),
		CASE(bulk_waits_in_line),
		CASE(at_once_by_itself),
		CASE(completions_submit),
		CASE(completions_may_be_dropped),
		CASE(execute_leaves_others_their_completions),
		CASE(a_wait_ends_at_its_time),
		CASE(a_wake_before_the_poll),
		CASE(a_wake_from_another_thread),
		CASE(no_wake_is_lost),
		CASE(a_wake_from_a_signal_handler),
		CASE(memory_registered_or_not),
		CASE(every_failed_allocation_is_a_status),
	};
	return cmocka_run_group_tests_name(name, tests, make_root, remove_root);
}

static int run_over_a_kernel(void)
{
	const struct CMUnitTest tests[] = {
		CASE(another_process_holds_no_lock), /* forks: before any thread was started */
		CASE(a_held_lock_outlives_its_descriptor),
		CASE(nothing_leaks),
		CASE(a_refused_direct_open_falls_back),
		CASE(full_and_failing_devices),
		CASE(a_limit_on_file_size),
		CASE(more_files_than_slots),
	};
	return cmocka_run_group_tests_name(backend->name, tests, make_root, remove_root);
}

static int run_choice(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_names_are_not_found),
		cmocka_unit_test(a_forbidden_ring_becomes_threads),
	};
	return cmocka_run_group_tests_name("choice", tests, NULL, NULL);
}

/* In units of 512 and of 4096 bytes, and with requests that take seconds. */
static int run_simulated(const char *name, uint32_t unit_bytes, uint32_t stalls_in_million)
{
	const struct simulated_options options = {
		.seed = test_seed(4711),
		.unit_bytes = unit_bytes,
		.stalls_in_million = stalls_in_million,
		.stall_ns_max = 1000 * MILLISECOND,
	};
	world = simulated_create(&options);
	simulated_install(world);
	int failed = run_conformance(name);
	simulated_destroy(world);
	world = NULL;
	return failed;
}

static int run_faulty(const char *inner)
{
	char name[32];
	(void)snprintf(name, sizeof(name), "faulty %s", inner);
	struct faulty *plan = faulty_create(test_seed(4712));
	faulty_install(plan, inner);
	backend = &io_backend_faulty;
	int failed = run_conformance(name);
	faulty_destroy(plan);
	return failed;
}

static int run_for_tests(void)
{
	backend = &io_backend_simulated;
	int failed = run_simulated("simulated", 512, 0);
	failed += run_simulated("simulated 4096", 4096, 2000);
	failed += run_faulty("posix");
	failed += run_faulty("uring");
	const struct simulated_options options = { .seed = test_seed(4713) };
	world = simulated_create(&options);
	simulated_install(world);
	failed += run_faulty("simulated");
	simulated_destroy(world);
	world = NULL;
	return failed;
}

int main(void)
{
	int failed = 0;
	for (unsigned i = 0; io_backends[i] != NULL; i++) {
		backend = io_backends[i];
		failed += run_over_a_kernel();
		failed += run_conformance(backend->name);
	}
	failed += run_for_tests();
	return failed + run_choice() == 0 ? 0 : 1;
}
