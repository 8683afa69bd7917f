/*
 * perform_simulated_test.c: requests that a caller carries out itself, over the simulated disk and with
 * faults: time, events and durability are those of a request that is submitted. (Runs in milliseconds.)
 */
#include "test.h"

#include <string.h>

#include "base/memory.h"
#include "io/faulty.h"
#include "io/simulated.h"

#define SEED 20250612

enum { PAGE = IO_PAGE_BYTES, PAGES = 4 };

static struct simulated_world *world;
static struct faulty *plan;
static struct io *io;
static struct io_file *file;
static char *memory; /* what is written, and behind it what is read */

static struct io *create(const char *backend)
{
	struct io *created;
	struct io_options options = { .depth = 8, .direct = true };
	assert_ok(io_create(backend, &options, &created, NULL, 0));
	return created;
}

static int set_up(void **state)
{
	world = simulated_create(&(struct simulated_options) { .seed = test_seed(SEED) });
	simulated_install(world);
	plan = faulty_create(test_seed(SEED));
	faulty_install(plan, "simulated");
	io = create(*state);
	struct io_request open = { .operation = IO_OPEN,
				   .path = "/f",
				   .flags = IO_OPEN_WRITE | IO_OPEN_CREATE };
	assert_ok(io_execute(io, &open));
	file = open.opened;
	memory = memory_map(2 * PAGES * PAGE);
	assert_non_null(memory);
	memset(memory, 'a', PAGES * PAGE);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	struct io_request close = { .operation = IO_CLOSE, .file = file };
	assert_ok(io_execute(io, &close));
	io_destroy(io);
	faulty_install(NULL, "simulated");
	faulty_destroy(plan);
	simulated_destroy(world);
	memory_unmap(memory, 2 * PAGES * PAGE);
	return 0;
}

static struct io_request write_request(unsigned flags)
{
	return (struct io_request) {
		.operation = IO_WRITE, .flags = flags, .file = file, .buffer = memory, .length = PAGES * PAGE
	};
}

static struct io_request read_request(void)
{
	return (struct io_request) {
		.operation = IO_READ, .file = file, .buffer = memory + PAGES * PAGE, .length = PAGES * PAGE
	};
}

static void test_what_was_written_is_read(void **state)
{
	(void)state;
	assert_true(io_can_carry_out(io));
	uint64_t before = simulated_now_ns(world);
	uint64_t trace = simulated_trace(world);
	struct io_request write = write_request(0);
	assert_ok(io_perform(io, &write));
	assert_int_equal(write.transferred, PAGES * PAGE);
	assert_true(simulated_now_ns(world) >= before + 10 * 1000); /* no write is faster */
	assert_int_not_equal(simulated_trace(world), trace);
	struct io_request read = read_request();
	assert_ok(io_perform(io, &read));
	assert_int_equal(read.transferred, PAGES * PAGE);
	assert_memory_equal(memory, memory + PAGES * PAGE, PAGES * PAGE);
	assert_int_equal(io->in_flight, 0);
	assert_int_equal(io->counters.writes, 1);
	assert_int_equal(io->counters.write_bytes, PAGES * PAGE);
	assert_int_equal(io->counters.read_bytes, PAGES * PAGE);
}

static size_t size_after_crash(void)
{
	struct simulated_crash crash = { .kind = SIMULATED_POWER, .keep = SIMULATED_KEEP_NONE };
	struct simulated_world *image = simulated_crash(world, &crash);
	uint64_t size = 0;
	(void)simulated_size(image, "/f", &size);
	simulated_destroy(image);
	return (size_t)size;
}

static void test_only_a_durable_write_is_durable(void **state)
{
	(void)state;
	struct io_request names = { .operation = IO_SYNC_DIRECTORY, .path = "/" };
	assert_ok(io_execute(io, &names));
	struct io_request write = write_request(0);
	assert_ok(io_perform(io, &write));
	assert_int_equal(size_after_crash(), 0);
	write = write_request(IO_DURABLE);
	assert_ok(io_perform(io, &write));
	assert_int_equal(size_after_crash(), PAGES * PAGE);
}

static void note_end(struct io_request *request)
{
	++*(unsigned *)request->context;
}

/* Completions of other requests wait for their poll, though their time has come meanwhile. */
static void test_nobody_is_told_meanwhile(void **state)
{
	(void)state;
	unsigned ended = 0;
	struct io_request submitted = write_request(0);
	submitted.complete = note_end;
	submitted.context = &ended;
	io_submit(io, &submitted);
	assert_int_equal(io_poll(io, 0), 0);
	while (simulated_next_event_ns(world) != UINT64_MAX) {
		struct io_request read = read_request();
		assert_ok(io_perform(io, &read));
	}
	assert_int_equal(ended, 0);
	assert_int_equal(io->in_flight, 1);
	while (ended == 0)
		(void)io_poll(io, UINT64_MAX);
}

static struct status perform_with(struct io_request *request, struct faulty_rule rule)
{
	rule.nth = 1;
	unsigned number = faulty_add(plan, &rule);
	struct status status = io_perform(io, request);
	assert_int_equal(faulty_fired(plan, number), 1);
	faulty_remove(plan, number);
	return status;
}

static bool reads_back(void)
{
	struct io_request read = read_request();
	assert_ok(io_perform(io, &read));
	return read.transferred == PAGES * PAGE && memcmp(memory, memory + PAGES * PAGE, PAGES * PAGE) == 0;
}

static void test_healthy_kernels_are_hidden(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		memset(memory, (int)('a' + i), PAGES * PAGE);
		struct io_request write = write_request(0);
		uint64_t before = io->counters.retries;
		enum faulty_kind kind = i % 2 == 0 ? FAULTY_SHORT : FAULTY_PASSING;
		assert_ok(perform_with(&write, (struct faulty_rule) { .kind = kind, .row = 1 + i % 3 }));
		assert_int_equal(write.transferred, PAGES * PAGE);
		assert_true(io->counters.retries > before);
		assert_true(reads_back());
	}
}

static void test_errors_are_told(void **state)
{
	(void)state;
	struct io_request write = write_request(0);
	assert_status(perform_with(&write, (struct faulty_rule) { .kind = FAULTY_ERROR }), STATUS_IO);
	assert_false(reads_back());
	assert_status(perform_with(&write, (struct faulty_rule) { .kind = FAULTY_ERROR_DONE }), STATUS_IO);
	assert_true(reads_back());
	memset(memory, 'b', PAGES * PAGE);
	struct faulty_rule space = { .kind = FAULTY_SPACE, .bytes = PAGE + 1 };
	assert_status(perform_with(&write, space), STATUS_NO_SPACE);
	assert_int_equal(write.transferred, PAGE);
	struct faulty_rule full = { .kind = FAULTY_SPACE };
	assert_status(perform_with(&write, full), STATUS_NO_SPACE);
	write = write_request(IO_DURABLE);
	assert_status(perform_with(&write, (struct faulty_rule) { .kind = FAULTY_SYNC_CLEAN_NEW }),
		      STATUS_IO);
	assert_int_equal(io->in_flight, 0);
}

static void test_lies_are_told(void **state)
{
	(void)state;
	struct io_request write = write_request(0);
	assert_ok(perform_with(&write, (struct faulty_rule) { .kind = FAULTY_LOSE }));
	assert_int_equal(write.transferred, PAGES * PAGE);
	assert_false(reads_back());
	assert_ok(perform_with(&write, (struct faulty_rule) { .kind = FAULTY_MISDIRECT }));
	assert_false(reads_back());
	write = write_request(0);
	assert_ok(io_perform(io, &write));
	assert_true(reads_back());
	for (unsigned i = 0; i < 2; i++) {
		struct io_request read = read_request();
		enum faulty_kind kind = i == 0 ? FAULTY_FLIP : FAULTY_ZERO;
		assert_ok(perform_with(&read, (struct faulty_rule) { .kind = kind }));
		assert_true(memcmp(memory, memory + PAGES * PAGE, PAGES * PAGE) != 0);
		assert_true(reads_back());
	}
	uint64_t before = simulated_now_ns(world);
	struct faulty_rule stall = { .kind = FAULTY_STALL, .delay_ns = UINT64_C(3600000000000) };
	assert_ok(perform_with(&write, stall));
	assert_true(simulated_now_ns(world) > before + 1000000);
}

#define PLAIN(function)	 cmocka_unit_test_prestate_setup_teardown(function, set_up, tear_down, "simulated")
#define FAULTY(function) cmocka_unit_test_prestate_setup_teardown(function, set_up, tear_down, "faulty")

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAIN(test_what_was_written_is_read),
		FAULTY(test_what_was_written_is_read),
		PLAIN(test_only_a_durable_write_is_durable),
		FAULTY(test_only_a_durable_write_is_durable),
		PLAIN(test_nobody_is_told_meanwhile),
		FAULTY(test_nobody_is_told_meanwhile),
		FAULTY(test_healthy_kernels_are_hidden),
		FAULTY(test_errors_are_told),
		FAULTY(test_lies_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
