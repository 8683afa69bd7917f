/*
 * perform_test.c: requests that a thread carries out itself, over the backends of a real kernel: what they
 * transfer, what they count, and what healthy kernels seldom do. (Runs in milliseconds.)
 */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "io/io.h"
#include "io/transfer.h"

enum { PAGE = IO_PAGE_BYTES, PAGES = 16 };

static struct io *io;
static char directory[64], path[80];
static char *memory;

static struct io_file *open_file(const char *name, unsigned flags)
{
	struct io_request request = { .operation = IO_OPEN, .path = name, .flags = flags };
	assert_ok(io_execute(io, &request));
	return request.opened;
}

static void close_file(struct io_file *file)
{
	struct io_request request = { .operation = IO_CLOSE, .file = file };
	assert_ok(io_execute(io, &request));
}

static struct io_request transfer(enum io_operation operation, struct io_file *file, void *buffer,
				  size_t length, uint64_t offset)
{
	return (struct io_request) {
		.operation = operation, .file = file, .buffer = buffer, .length = length, .offset = offset
	};
}

static int set_up(void **state)
{
	struct io_options options = { .depth = 8, .direct = true };
	char notice[200];
	(void)snprintf(directory, sizeof(directory), "/tmp/perform_test.XXXXXX");
	assert_non_null(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/file", directory);
	assert_ok(io_create(*state, &options, &io, notice, sizeof(notice)));
	memory = memory_map(2 * PAGES * PAGE);
	assert_non_null(memory);
	for (size_t i = 0; i < PAGES * PAGE / sizeof(uint64_t); i++)
		((uint64_t *)(void *)memory)[i] = random_at(77, i);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(io->in_flight, 0);
	io_destroy(io);
	memory_unmap(memory, 2 * PAGES * PAGE);
	(void)unlink(path);
	return rmdir(directory);
}

/* --- what is transferred and counted --- */

static void round_trip(unsigned flags)
{
	char *back = memory + PAGES * PAGE;
	struct io_counters before = io->counters;
	struct io_file *file = open_file(path, IO_OPEN_WRITE | IO_OPEN_CREATE | flags);
	uint64_t submits = io->counters.submits;
	struct io_request request = transfer(IO_WRITE, file, memory, PAGES * PAGE, PAGE);
	assert_ok(io_perform(io, &request));
	assert_int_equal(request.transferred, PAGES * PAGE);
	struct iovec vectors[4];
	for (unsigned i = 0; i < 4; i++)
		vectors[i] = (struct iovec) { back + (size_t)(3 - i) * 4 * PAGE, 4 * PAGE };
	request = transfer(IO_READ, file, NULL, PAGES * PAGE, PAGE);
	request.vectors = vectors;
	request.vector_count = 4;
	assert_ok(io_perform(io, &request));
	for (unsigned i = 0; i < 4; i++)
		assert_memory_equal(vectors[i].iov_base, memory + (size_t)i * 4 * PAGE, 4 * PAGE);
	assert_int_equal(io->counters.submits, submits + 2);
	/* The end of the file, and behind it. */
	request = transfer(IO_READ, file, back, 4 * PAGE, PAGES * PAGE);
	assert_ok(io_perform(io, &request));
	assert_int_equal(request.transferred, PAGE);
	assert_memory_equal(back, memory + (PAGES - 1) * PAGE, PAGE);
	request = transfer(IO_READ, file, back, PAGE, 100 * PAGE);
	assert_ok(io_perform(io, &request));
	assert_int_equal(request.transferred, 0);
	/* What the instance's own way writes, and the other way round. */
	request = transfer(IO_WRITE, file, memory, PAGE, 0);
	request.flags = IO_DURABLE;
	assert_ok(io_execute(io, &request));
	request = transfer(IO_READ, file, back, PAGE, 0);
	assert_ok(io_perform(io, &request));
	assert_memory_equal(back, memory, PAGE);
	close_file(file);
	assert_int_equal(io->counters.reads - before.reads, 4);
	assert_int_equal(io->counters.writes - before.writes, 2);
	assert_int_equal(io->counters.read_bytes - before.read_bytes, (PAGES + 2) * PAGE);
	assert_int_equal(io->counters.write_bytes - before.write_bytes, (PAGES + 1) * PAGE);
	assert_int_equal(unlink(path), 0);
}

static void transfers_both_ways(void **state)
{
	(void)state;
	assert_true(io_can_carry_out(io));
	round_trip(0);
	round_trip(IO_OPEN_BUFFERED);
}

static void note_end(struct io_request *request)
{
	++*(unsigned *)request->context;
}

static void *carry_out(void *request)
{
	io_carry_out(io, request);
	return NULL;
}

/* Three steps, the middle one by another thread, while the instance has a request of its own under way. */
static void steps_in_other_threads(void **state)
{
	(void)state;
	enum { COUNT = 4 };
	struct io_file *file = open_file(path, IO_OPEN_WRITE | IO_OPEN_CREATE);
	struct io_request request = transfer(IO_WRITE, file, memory, PAGES * PAGE, 0);
	struct io_request requests[COUNT];
	pthread_t threads[COUNT];
	unsigned ended = 0;
	unsigned own_ended = 0;
	assert_ok(io_perform(io, &request));
	struct io_request own = transfer(IO_READ, file, memory, PAGE, 0);
	own.complete = note_end;
	own.context = &own_ended;
	io_submit(io, &own);
	assert_int_equal(io->in_flight, 1);
	for (unsigned i = 0; i < COUNT; i++) {
		requests[i] =
			transfer(IO_READ, file, memory + (PAGES + i) * PAGE, PAGE, (uint64_t)(i + 1) * PAGE);
		requests[i].complete = note_end;
		requests[i].context = &ended;
		io_begin(io, &requests[i]);
		assert_int_equal(io->in_flight, 1);
		assert_int_equal(pthread_create(&threads[i], NULL, carry_out, &requests[i]), 0);
	}
	while (io->in_flight > 0)
		(void)io_poll(io, UINT64_MAX);
	assert_int_equal(own_ended, 1);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(ended, i);
		io_end(io, &requests[i]);
		assert_int_equal(ended, i + 1);
		assert_int_equal(io->in_flight, 0);
		assert_ok(requests[i].status);
		assert_memory_equal(memory + (PAGES + i) * PAGE, memory + (i + 1) * PAGE, PAGE);
	}
	close_file(file);
}

/* Refused before the first call: the steps do nothing, and the end comes all the same. */
static void refusals_end_as_well(void **state)
{
	(void)state;
	struct io_file *file = open_file(path, IO_OPEN_WRITE | IO_OPEN_CREATE);
	unsigned ended = 0;
	uint64_t submits = io->counters.submits;
	if (file->direct) {
		struct io_request request = transfer(IO_WRITE, file, memory + 16, PAGE, 0);
		request.complete = note_end;
		request.context = &ended;
		io_begin(io, &request);
		assert_int_equal(io->in_flight, 0);
		io_carry_out(io, &request);
		assert_int_equal(ended, 0);
		io_end(io, &request);
		assert_status(request.status, STATUS_INVALID);
		assert_int_equal(ended, 1);
		assert_int_equal(io->counters.submits, submits);
	}
	close_file(file);
	file = open_file("/dev/full", IO_OPEN_WRITE | IO_OPEN_BUFFERED);
	struct io_request request = transfer(IO_WRITE, file, memory, PAGE, 0);
	assert_status(io_perform(io, &request), STATUS_NO_SPACE);
	assert_int_equal(request.transferred, 0);
	close_file(file);
}

/* --- what a kernel seldom does --- */

static struct {
	unsigned calls;
	unsigned short_calls; /* the first ones transfer less than they are asked to */
	unsigned passing;     /* and then so many give `error` and have done nothing */
	int error;
	bool lasting; /* they go on for ever */
} weather;

static void bend_describe(const struct io_request *request, struct transfer_call *call)
{
	(void)request;
	weather.calls++;
	if (weather.calls <= weather.short_calls && call->length > PAGE)
		call->length = PAGE;
	else if (weather.calls <= weather.short_calls + weather.passing || weather.lasting)
		call->length = 0;
}

static int bend_take(struct io_request *request, int result)
{
	(void)request;
	if (weather.calls <= weather.short_calls)
		return result;
	if (weather.calls <= weather.short_calls + weather.passing || weather.lasting)
		return -weather.error;
	return result;
}

static const struct transfer_bend bend = { .describe = bend_describe, .take = bend_take };

static struct status perform_in(struct io_request *request, unsigned short_calls, unsigned passing, int error)
{
	memset(&weather, 0, sizeof(weather));
	weather.short_calls = short_calls;
	weather.passing = passing;
	weather.error = error;
	request->bend = &bend;
	return io_perform(io, request);
}

static void rough_weather(unsigned flags)
{
	char *back = memory + PAGES * PAGE;
	struct io_file *file = open_file(path, IO_OPEN_WRITE | IO_OPEN_CREATE | flags);
	uint64_t submits = io->counters.submits;
	struct io_request request = transfer(IO_WRITE, file, memory, PAGES * PAGE, 0);
	assert_ok(perform_in(&request, 3, 2, EINTR));
	assert_int_equal(request.transferred, PAGES * PAGE);
	assert_int_equal(weather.calls, 6);
	assert_int_equal(io->counters.submits, submits + 6);
	memset(back, 0, PAGES * PAGE);
	request = transfer(IO_READ, file, back, PAGES * PAGE, 0);
	assert_ok(perform_in(&request, 5, 3, EAGAIN));
	assert_int_equal(request.transferred, PAGES * PAGE);
	assert_memory_equal(back, memory, PAGES * PAGE);
	assert_int_equal(weather.calls, 9);
	assert_int_equal(io->counters.submits, submits + 6 + 9);
	close_file(file);
	assert_int_equal(unlink(path), 0);
}

static void rough_weather_passes(void **state)
{
	(void)state;
	rough_weather(0);
	rough_weather(IO_OPEN_BUFFERED);
}

static void errors_end_it(void **state)
{
	(void)state;
	static const struct {
		int error;
		enum status_code code;
	} errors[] = { { EIO, STATUS_IO }, { ENOSPC, STATUS_NO_SPACE }, { EDQUOT, STATUS_NO_SPACE } };
	struct io_file *file = open_file(path, IO_OPEN_WRITE | IO_OPEN_CREATE);
	char text[256];
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct io_request request = transfer(IO_WRITE, file, memory, PAGES * PAGE, 0);
		uint64_t submits = io->counters.submits;
		assert_status(perform_in(&request, 2, 1, errors[i].error), errors[i].code);
		assert_int_equal(io->counters.submits, submits + 3);
		status_describe(request.status, text, sizeof(text));
		assert_non_null(strstr(text, path));
		/* The same request once more, in fair weather. */
		assert_ok(perform_in(&request, 0, 0, 0));
		assert_int_equal(request.transferred, PAGES * PAGE);
	}
	/* What never passes ends as well, after so many tries. */
	struct io_request request = transfer(IO_READ, file, memory, PAGE, 0);
	memset(&weather, 0, sizeof(weather));
	weather.lasting = true;
	weather.error = EINTR;
	request.bend = &bend;
	assert_status(io_perform(io, &request), STATUS_IO);
	assert_true(weather.calls > 2 && weather.calls < 1000000);
	close_file(file);
}

/* --- sleeping --- */

static _Atomic unsigned before_count, after_count;
static atomic_bool asleep;

static void before_sleep(void *context)
{
	assert_ptr_equal(context, &asleep);
	assert_false(atomic_load(&asleep));
	before_count++;
	atomic_store(&asleep, true);
}

static void after_sleep(void *context)
{
	assert_ptr_equal(context, &asleep);
	after_count++;
	atomic_store(&asleep, false);
}

/* While the instance's thread sleeps, another one begins and ends requests. */
static void *perform_and_wake(void *file)
{
	static _Alignas(PAGE) char page[PAGE];
	while (!atomic_load(&asleep))
		clock_sleep_ns(10000);
	struct io_request request = transfer(IO_READ, file, page, PAGE, 0);
	struct status status = io_perform(io, &request);
	if (!status_is_ok(status) || memcmp(page, memory, PAGE) != 0)
		abort();
	io_wake(io);
	return NULL;
}

static void sleeps_are_announced(void **state)
{
	(void)state;
	before_count = after_count = 0;
	struct io_file *file = open_file(path, IO_OPEN_WRITE | IO_OPEN_CREATE);
	struct io_request request = transfer(IO_WRITE, file, memory, PAGE, 0);
	assert_ok(io_perform(io, &request));
	io_around_sleep(io, before_sleep, after_sleep, &asleep);
	(void)io_poll(io, 0);
	assert_int_equal(before_count, 0); /* it does not sleep */
	(void)io_poll(io, 1000000);
	assert_true(before_count > 0);
	assert_int_equal(before_count, after_count);
	for (unsigned i = 0; i < 20; i++) {
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, perform_and_wake, file), 0);
		assert_int_equal(io_poll(io, UINT64_MAX), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_int_equal(before_count, after_count);
	}
	assert_int_equal(io->counters.reads, 20);
	io_around_sleep(io, NULL, NULL, NULL);
	close_file(file);
}

static int run_over(char *backend)
{
#define CASE(function)                                                                                      \
	{                                                                                                   \
		.name = #function, .test_func = function, .setup_func = set_up, .teardown_func = tear_down, \
		.initial_state = backend                                                                    \
	}
	const struct CMUnitTest tests[] = {
		CASE(transfers_both_ways),  CASE(steps_in_other_threads), CASE(refusals_end_as_well),
		CASE(rough_weather_passes), CASE(errors_end_it),	  CASE(sleeps_are_announced),
	};
	return cmocka_run_group_tests_name(backend, tests, NULL, NULL);
}

int main(void)
{
	static char uring[] = "uring", posix[] = "posix";
	return run_over(uring) + run_over(posix);
}
