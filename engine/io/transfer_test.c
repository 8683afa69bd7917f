/*
 * transfer_test.c: results that no healthy kernel returns, fed to the code that has to live with them:
 * EAGAIN and EINTR, short and empty transfers, the refusal of direct I/O. (Runs in milliseconds.)
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/backend.h"
#include "io/transfer.h"

enum { PAGE = IO_PAGE_BYTES };

static _Alignas(PAGE) char pages[8 * PAGE];

/* A handle as after an open, on a real temporary file. */
static struct transfer_file *make_file(bool direct)
{
	static const char name[] = "transfer_test.tmp";
	struct transfer_file *file = memory_allocate(sizeof(*file) + sizeof(name));
	assert_non_null(file);
	*file = (struct transfer_file) { .slot = -1, .opened_direct = direct };
	file->base.direct = direct;
	memcpy(file->path, name, sizeof(name));
	char path[] = "/tmp/transfer_test.XXXXXX";
	file->fd = mkstemp(path);
	assert_true(file->fd >= 0);
	(void)unlink(path);
	return file;
}

static void drop_file(struct transfer_file *file)
{
	(void)close(file->fd);
	memory_free(file);
}

static struct io_request make_request(enum io_operation operation, struct transfer_file *file, size_t length)
{
	return (struct io_request) {
		.operation = operation, .file = &file->base, .buffer = pages, .length = length
	};
}

/* One round: checks where the next call starts and what it asks for, then answers it. */
static bool answer(struct io_request *request, size_t done, size_t asked, int result)
{
	struct transfer_call call;
	transfer_describe(request, &call);
	assert_int_equal(call.kind, request->operation == IO_READ ? TRANSFER_READ : TRANSFER_WRITE);
	assert_int_equal(call.offset, request->offset + done);
	assert_int_equal(call.length, asked);
	if (request->vector_count == 0)
		assert_ptr_equal(call.buffer, (char *)request->buffer + done);
	return transfer_take(request, result);
}

static void short_transfers_continue_where_they_stopped(void **state)
{
	(void)state;
	struct transfer_file *file = make_file(false);
	for (enum io_operation operation = IO_READ; operation <= IO_WRITE; operation++) {
		struct io_request request = make_request(operation, file, 1000);
		request.offset = 77;
		assert_true(transfer_begin(&request, true));
		assert_false(answer(&request, 0, 1000, 1));
		assert_false(answer(&request, 1, 999, 998));
		assert_true(answer(&request, 999, 1, 1));
		assert_ok(request.status);
		assert_int_equal(request.transferred, 1000);
	}
	drop_file(file);
}

static void direct_transfers_advance_by_whole_pages(void **state)
{
	(void)state;
	struct transfer_file *file = make_file(true);
	struct io_request request = make_request(IO_WRITE, file, 4 * PAGE);
	request.offset = PAGE;
	assert_true(transfer_begin(&request, true));
	assert_false(answer(&request, 0, 4 * PAGE, PAGE + 512));
	assert_int_equal(request.tries, 0);
	assert_false(answer(&request, PAGE, 3 * PAGE, 512));
	assert_int_equal(request.tries, 1);
	assert_false(answer(&request, PAGE, 3 * PAGE, PAGE));
	assert_int_equal(request.tries, 0);
	assert_true(answer(&request, 2 * PAGE, 2 * PAGE, 2 * PAGE));
	assert_ok(request.status);
	assert_int_equal(request.transferred, 4 * PAGE);
	drop_file(file);
}

static void reads_end_at_the_end_of_the_file(void **state)
{
	(void)state;
	struct transfer_file *file = make_file(true);
	struct io_request request = make_request(IO_READ, file, 4 * PAGE);
	assert_true(transfer_begin(&request, true));
	assert_false(answer(&request, 0, 4 * PAGE, PAGE + 904));
	assert_true(answer(&request, PAGE, 3 * PAGE, 904));
	assert_ok(request.status);
	assert_int_equal(request.transferred, PAGE + 904);

	request = make_request(IO_READ, file, PAGE);
	assert_true(transfer_begin(&request, true));
	assert_true(answer(&request, 0, PAGE, 0));
	assert_ok(request.status);
	assert_int_equal(request.transferred, 0);

	file->opened_direct = false;
	request = make_request(IO_READ, file, 100);
	assert_true(transfer_begin(&request, true));
	assert_false(answer(&request, 0, 100, 60));
	assert_true(answer(&request, 60, 40, 0));
	assert_ok(request.status);
	assert_int_equal(request.transferred, 60);
	drop_file(file);
}

/* Every operation that may be repeated gives up after the same number of tries, and says so. */
static void tries_are_bounded(void **state)
{
	(void)state;
	static const struct {
		enum io_operation operation;
		int result;
	} cases[] = {
		{ IO_READ, -EAGAIN },
		{ IO_READ, -EINTR },
		{ IO_WRITE, -EAGAIN },
		{ IO_WRITE, 0 },
		{ IO_SYNC, -EINTR },
		{ IO_OPEN, -EAGAIN },
		{ IO_ALLOCATE, -EINTR },
		{ IO_UNLINK, -EINTR },
		{ IO_RENAME, -EAGAIN },
		{ IO_SYNC_DIRECTORY, -EINTR },
		{ IO_MAKE_DIRECTORY, -EAGAIN },
	};
	struct transfer_file *file = make_file(false);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct io_request request = make_request(cases[i].operation, file, 2 * PAGE);
		request.path = "some/path";
		request.path_to = "other/path";
		request.complete = (io_complete *)(uintptr_t)1; /* never called here */
		assert_true(transfer_begin(&request, true));
		int rounds = 1;
		while (!transfer_take(&request, cases[i].result))
			rounds++;
		assert_int_equal(rounds, IO_TRIES_MAX);
		assert_status(request.status, STATUS_IO);
		char text[256];
		status_describe(request.status, text, sizeof(text));
		assert_non_null(strstr(text, cases[i].operation == IO_OPEN ? "some/path: open" : ": "));
		assert_non_null(strstr(text, "no progress in 64 tries"));
	}
	drop_file(file);
}

static void progress_renews_the_tries(void **state)
{
	(void)state;
	struct transfer_file *file = make_file(false);
	struct io_request request = make_request(IO_WRITE, file, 100);
	assert_true(transfer_begin(&request, true));
	for (size_t at = 0; at < 99; at++) {
		for (int i = 0; i < IO_TRIES_MAX - 1; i++)
			assert_false(answer(&request, at, 100 - at, i % 2 == 0 ? -EAGAIN : -EINTR));
		assert_false(answer(&request, at, 100 - at, 1));
	}
	assert_true(answer(&request, 99, 1, 1));
	assert_ok(request.status);

	struct io io = { .in_flight = 1 };
	transfer_finish(&io, &request);
	assert_int_equal(io.in_flight, 0);
	assert_int_equal(io.counters.retries, 99 * IO_TRIES_MAX);
	assert_int_equal(io.counters.write_bytes, 100);
	drop_file(file);
}

/* Whatever cut a vectored transfer, the calls together touch each byte once, in order. */
static void vectors_continue_anywhere(void **state)
{
	(void)state;
	uint64_t seed = test_seed(7);
	struct random random = random_stream(seed);
	struct transfer_file *file = make_file(false);
	for (int round = 0; round < 2000; round++) {
		struct iovec vectors[IO_VECTORS_MAX];
		unsigned count = 1 + (unsigned)random_below(&random, IO_VECTORS_MAX);
		size_t total = 0;
		for (unsigned i = 0; i < count; i++) {
			size_t length = random_below(&random, 200);
			vectors[i] = (struct iovec) { .iov_base = pages + total, .iov_len = length };
			total += length;
		}
		if (total == 0)
			continue;
		struct io_request request = make_request(IO_WRITE, file, total);
		request.vectors = vectors;
		request.vector_count = count;
		request.buffer = NULL;
		assert_true(transfer_begin(&request, true));
		size_t done = 0;
		bool finished = false;
		while (!finished) {
			struct transfer_call call;
			transfer_describe(&request, &call);
			const char *first = call.vector_count > 0 ? call.vectors[0].iov_base : call.buffer;
			size_t whole = call.length;
			if (call.vector_count > 0) {
				whole = 0;
				for (unsigned i = 0; i < call.vector_count; i++)
					whole += call.vectors[i].iov_len;
			}
			if (first != pages + done || call.offset != done || whole != call.length)
				fail_msg("seed %#lx round %d: wrong place", (unsigned long)seed, round);
			size_t part = 1 + random_below(&random, whole);
			done += part;
			finished = transfer_take(&request, (int)part);
			assert_true(finished == (done == total));
		}
		assert_ok(request.status);
		assert_int_equal(request.transferred, total);
	}
	drop_file(file);
}

static void a_refused_direct_transfer_goes_buffered_once(void **state)
{
	(void)state;
	struct transfer_file *file = make_file(true);
	(void)fcntl(file->fd, F_SETFL, O_DIRECT); /* where the file system has it */
	struct io_request first = make_request(IO_READ, file, PAGE);
	struct io_request second = make_request(IO_READ, file, PAGE);
	assert_true(transfer_begin(&first, true));
	assert_true(transfer_begin(&second, true));
	assert_false(transfer_take(&first, -EINVAL));
	assert_int_equal(fcntl(file->fd, F_GETFL) & O_DIRECT, 0);
	assert_false(transfer_take(&second, -EINVAL)); /* it was under way before the change */
	assert_true(transfer_take(&first, PAGE));
	assert_ok(first.status);
	assert_true(transfer_take(&second, -EINVAL)); /* buffered and still refused: no loop */
	assert_status(second.status, STATUS_INVALID);

	struct io io = { .in_flight = 1 };
	transfer_finish(&io, &first);
	assert_false(file->base.direct);
	first = make_request(IO_READ, file, 10); /* alignment no longer matters */
	first.buffer = pages + 1;
	assert_true(transfer_begin(&first, true));
	drop_file(file);
}

static void never_called(struct io_request *request)
{
	(void)request;
	fail_msg("a completion outside of finish");
}

/* A refused O_DIRECT open has created the file already: the second open must not insist on creating it. */
static void a_refused_direct_open_goes_buffered(void **state)
{
	(void)state;
	struct io_request request = { .operation = IO_OPEN, .path = "x", .complete = never_called };
	request.flags = IO_OPEN_WRITE | IO_OPEN_CREATE;
	struct transfer_call call;
	assert_true(transfer_begin(&request, true));
	transfer_describe(&request, &call);
	assert_int_equal(call.flags, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC);
	assert_false(transfer_take(&request, -EINTR));
	assert_false(transfer_take(&request, -EINVAL));
	transfer_describe(&request, &call);
	assert_int_equal(call.flags, O_RDWR | O_CREAT | O_CLOEXEC);
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_true(transfer_take(&request, fd));
	assert_ok(request.status);
	assert_non_null(request.opened);
	assert_false(request.opened->direct);
	drop_file(transfer_file(request.opened));

	/* Buffered from the start: EINVAL is final. */
	request.flags |= IO_OPEN_BUFFERED;
	request.private_words[1] = 0;
	request.opened = NULL;
	assert_true(transfer_begin(&request, true));
	assert_true(transfer_take(&request, -EINVAL));
	assert_status(request.status, STATUS_INVALID);
	assert_null(request.opened);
}

static void an_interrupted_close_is_a_close(void **state)
{
	(void)state;
	struct transfer_file *file = make_file(false);
	(void)close(file->fd);
	struct io_request request = make_request(IO_CLOSE, file, 0);
	assert_true(transfer_begin(&request, true));
	assert_true(transfer_take(&request, -EINTR));
	assert_ok(request.status);

	file = make_file(false);
	(void)close(file->fd);
	request = make_request(IO_CLOSE, file, 0);
	assert_true(transfer_begin(&request, true));
	assert_true(transfer_take(&request, -EIO));
	assert_status(request.status, STATUS_IO);
}

static void a_failed_sync_is_final(void **state)
{
	(void)state;
	struct transfer_file *file = make_file(false);
	struct io_request request = make_request(IO_SYNC, file, 0);
	assert_true(transfer_begin(&request, true));
	assert_true(transfer_take(&request, -EIO));
	assert_status(request.status, STATUS_IO);
	drop_file(file);

	struct io_request directory = { .operation = IO_SYNC_DIRECTORY, .path = "/tmp" };
	assert_true(transfer_begin(&directory, true));
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_false(transfer_take(&directory, fd));
	struct transfer_call call;
	transfer_describe(&directory, &call);
	assert_int_equal(call.kind, TRANSFER_SYNC);
	assert_int_equal(call.fd, fd);
	assert_false(call.data_only);
	assert_true(transfer_take(&directory, -EIO));
	assert_status(directory.status, STATUS_IO);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed */
}

static void bad_requests_do_not_begin(void **state)
{
	(void)state;
	struct transfer_file *file = make_file(true);
	struct io_request request = make_request(IO_READ, file, PAGE);
	request.offset = 512;
	assert_false(transfer_begin(&request, true));
	assert_status(request.status, STATUS_INVALID);
	request = make_request(IO_READ, file, PAGE);
	request.buffer = pages + 8;
	assert_false(transfer_begin(&request, true));
	request = make_request(IO_READ, file, 100);
	assert_false(transfer_begin(&request, true));
	request = make_request(IO_WRITE, file, (size_t)IO_LENGTH_MAX + PAGE);
	assert_false(transfer_begin(&request, true));
	request = make_request(IO_WRITE, file, PAGE);
	request.offset = (uint64_t)INT64_MAX & ~(uint64_t)(PAGE - 1);
	assert_false(transfer_begin(&request, true));
	struct iovec vector = { .iov_base = pages, .iov_len = PAGE };
	request = make_request(IO_WRITE, file, 2 * PAGE);
	request.vectors = &vector;
	request.vector_count = 1;
	assert_false(transfer_begin(&request, true));
	assert_status(request.status, STATUS_INVALID);
	drop_file(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_transfers_continue_where_they_stopped),
		cmocka_unit_test(direct_transfers_advance_by_whole_pages),
		cmocka_unit_test(reads_end_at_the_end_of_the_file),
		cmocka_unit_test(tries_are_bounded),
		cmocka_unit_test(progress_renews_the_tries),
		cmocka_unit_test(vectors_continue_anywhere),
		cmocka_unit_test(a_refused_direct_transfer_goes_buffered_once),
		cmocka_unit_test(a_refused_direct_open_goes_buffered),
		cmocka_unit_test(an_interrupted_close_is_a_close),
		cmocka_unit_test(a_failed_sync_is_final),
		cmocka_unit_test(bad_requests_do_not_begin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
