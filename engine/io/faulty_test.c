/*
 * faulty_test.c: each kind of fault does what it says and is counted, over a real kernel (through io_uring
 * where there is one, and through threads) and over a simulated disk. (About a second.)
 */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "io/faulty.h"
#include "io/simulated.h"

enum { PAGE = IO_PAGE_BYTES, PAGES = 16 };

#define SEED	    20250202
#define MILLISECOND 1000000ull

static const char *inner;
static struct simulated_world *world; /* NULL over a kernel */
static struct faulty *plan;
static struct io *io;
static char root[64];
static char *memory; /* 3 * PAGES pages */

/* --- helpers --- */

static const char *in_root(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];
	(void)snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
	return path;
}

static int set_up(void **state)
{
	(void)state;
	if (strcmp(inner, "simulated") == 0) {
		world = simulated_create(&(struct simulated_options) { .seed = test_seed(SEED) });
		simulated_install(world);
		simulated_make_path(world, root);
	}
	plan = faulty_create(test_seed(SEED));
	faulty_install(plan, inner);
	memory = memory_map((size_t)3 * PAGES * PAGE);
	assert_non_null(memory);
	assert_ok(io_create("faulty", &(struct io_options) { .direct = true }, &io, NULL, 0));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(io->in_flight, 0);
	io_destroy(io);
	memory_unmap(memory, (size_t)3 * PAGES * PAGE);
	faulty_destroy(plan);
	if (world != NULL)
		simulated_destroy(world);
	world = NULL;
	return 0;
}

static struct status run(enum io_operation operation, const char *path)
{
	struct io_request request = { .operation = operation, .path = path };
	return io_execute(io, &request);
}

static struct status try_open(const char *name, unsigned flags, struct io_file **file)
{
	struct io_request request = { .operation = IO_OPEN, .path = in_root(name), .flags = flags };
	struct status status = io_execute(io, &request);
	*file = request.opened;
	return status;
}

static struct io_file *create_file(const char *name, unsigned flags)
{
	struct io_file *file;
	assert_ok(try_open(name, IO_OPEN_WRITE | IO_OPEN_CREATE | flags, &file));
	assert_non_null(file);
	return file;
}

static struct status try_close(struct io_file *file)
{
	struct io_request request = { .operation = IO_CLOSE, .file = file };
	return io_execute(io, &request);
}

static void drop_file(struct io_file *file, const char *name)
{
	assert_ok(try_close(file));
	assert_ok(run(IO_UNLINK, in_root(name)));
}

static struct io_request transfer(enum io_operation operation, struct io_file *file, size_t page,
				  size_t count)
{
	return (struct io_request) {
		.operation = operation,
		.file = file,
		.buffer = memory + (operation == IO_WRITE ? page : PAGES + page) * PAGE,
		.length = count * PAGE,
		.offset = page * PAGE,
	};
}

/* Writes come from the first PAGES pages of the memory, reads go to the second. */
static struct status move(enum io_operation operation, struct io_file *file, size_t page, size_t count)
{
	struct io_request request = transfer(operation, file, page, count);
	struct status status = io_execute(io, &request);
	if (status_is_ok(status))
		assert_int_equal(request.transferred, request.length);
	return status;
}

static struct status sync_file(struct io_file *file)
{
	struct io_request request = { .operation = IO_SYNC, .file = file };
	return io_execute(io, &request);
}

static void fill(uint64_t seed)
{
	for (size_t i = 0; i < (size_t)PAGES * PAGE; i += sizeof(uint64_t)) {
		uint64_t word = random_at(seed, i);
		memcpy(memory + i, &word, sizeof(word));
	}
	memset(memory + (size_t)PAGES * PAGE, 0, (size_t)PAGES * PAGE);
}

static bool is_read_back(size_t page, size_t count)
{
	return memcmp(memory + page * PAGE, memory + (PAGES + page) * PAGE, count * PAGE) == 0;
}

static unsigned add(enum faulty_kind kind, uint64_t nth, uint64_t times)
{
	return faulty_add(plan, &(struct faulty_rule) { .kind = kind, .nth = nth, .times = times });
}

static void expect_text(struct status status, const char *part)
{
	char text[256];
	status_describe(status, text, sizeof(text));
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" does not contain \"%s\"", text, part);
}

/* --- errors --- */

static void the_nth_and_those_after_it(void **state)
{
	(void)state;
	fill(1);
	struct io_file *file = create_file("f", 0);
	unsigned rule = faulty_add(plan, &(struct faulty_rule) { .kind = FAULTY_ERROR,
								 .operations = FAULTY_OPERATION(IO_WRITE),
								 .nth = 3,
								 .times = 2 });
	for (size_t i = 0; i < 6; i++) {
		struct status status = move(IO_WRITE, file, i, 1);
		if (i != 2 && i != 3) {
			assert_ok(status);
			continue;
		}
		assert_status(status, STATUS_IO);
		expect_text(status, "/f: injected");
	}
	assert_int_equal(faulty_met(plan, rule), 6);
	assert_int_equal(faulty_fired(plan, rule), 2);
	assert_int_equal(faulty_count(plan, FAULTY_ERROR), 2);
	faulty_remove(plan, rule);
	assert_ok(move(IO_READ, file, 0, 6));
	assert_true(is_read_back(0, 2) && is_read_back(4, 2));
	static const char zeros[2 * PAGE];
	assert_memory_equal(memory + (PAGES + 2) * PAGE, zeros, sizeof(zeros)); /* nothing was done */
	drop_file(file, "f");
}

static void rules_name_files_and_operations(void **state)
{
	(void)state;
	struct io_file *log = create_file("wal-1", 0);
	struct io_file *table = create_file("table-1", 0);
	unsigned by_name = faulty_add(plan, &(struct faulty_rule) { .kind = FAULTY_ERROR,
								    .operations = FAULTY_OPERATION(IO_SYNC) |
										  FAULTY_OPERATION(IO_RENAME),
								    .file = "wal-*",
								    .nth = 1,
								    .times = UINT64_MAX });
	assert_status(sync_file(log), STATUS_IO);
	assert_status(sync_file(log), STATUS_IO);
	assert_ok(sync_file(table));
	assert_ok(move(IO_WRITE, log, 0, 1));
	struct io_request rename_it = { .operation = IO_RENAME,
					.path = in_root("table-1"),
					.path_to = in_root("wal-2") };
	assert_status(io_execute(io, &rename_it), STATUS_IO); /* either name */
	assert_int_equal(faulty_met(plan, by_name), 3);
	faulty_clear(plan);
	assert_ok(sync_file(log));
	char pattern[160];
	(void)snprintf(pattern, sizeof(pattern), "%s/t*", root); /* a whole path */
	(void)faulty_add(plan, &(struct faulty_rule) { .kind = FAULTY_ERROR, .file = pattern, .nth = 1 });
	assert_ok(sync_file(log));
	assert_status(sync_file(table), STATUS_IO);
	assert_ok(sync_file(table)); /* once */
	drop_file(log, "wal-1");
	drop_file(table, "table-1");
}

static void codes_are_what_a_kernel_would_give(void **state)
{
	(void)state;
	static const struct {
		int error;
		enum status_code code;
	} codes[] = {
		{ EIO, STATUS_IO },	     { ENOSPC, STATUS_NO_SPACE },  { EDQUOT, STATUS_NO_SPACE },
		{ EROFS, STATUS_READ_ONLY }, { ENOMEM, STATUS_NO_MEMORY }, { EBUSY, STATUS_BUSY },
		{ ECANCELED, STATUS_IO },    { ENXIO, STATUS_IO },
	};
	struct io_file *file = create_file("f", 0);
	for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		for (unsigned done = 0; done < 2; done++) {
			fill(i + 1);
			unsigned rule = faulty_add(
				plan, &(struct faulty_rule) { .kind = done ? FAULTY_ERROR_DONE : FAULTY_ERROR,
							      .error = codes[i].error,
							      .nth = 1 });
			struct status status = move(IO_WRITE, file, 0, 1);
			if (status.code != (int32_t)codes[i].code)
				fail_msg("errno %d became %s", codes[i].error, status_code_text(status.code));
			faulty_remove(plan, rule);
			assert_ok(move(IO_WRITE, file, 1, 1));
			assert_ok(move(IO_READ, file, 0, 1));
			assert_int_equal(is_read_back(0, 1), done);
		}
	}
	drop_file(file, "f");
}

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

static void opens_and_closes_fail_without_leaks(void **state)
{
	(void)state;
	struct io_file *file;
	unsigned before = count_descriptors();
	unsigned flags = IO_OPEN_WRITE | IO_OPEN_CREATE;
	unsigned rule = add(FAULTY_ERROR, 1, 1);
	assert_status(try_open("f", flags, &file), STATUS_IO);
	assert_null(file);
	assert_status(run(IO_UNLINK, in_root("f")), STATUS_NOT_FOUND);
	faulty_remove(plan, rule);
	rule = add(FAULTY_ERROR_DONE, 1, 1);
	assert_status(try_open("f", flags, &file), STATUS_IO);
	assert_null(file);
	assert_status(try_open("f", flags, &file), STATUS_INVALID); /* it is there */
	assert_int_equal(count_descriptors(), before);
	faulty_remove(plan, rule);
	assert_ok(try_open("f", IO_OPEN_WRITE, &file));
	(void)add(FAULTY_ERROR, 1, 1);
	assert_status(try_close(file), STATUS_IO);
	assert_int_equal(count_descriptors(), before); /* closed all the same */
	assert_ok(run(IO_UNLINK, in_root("f")));
}

/* --- what passes --- */

static void passing_errors_are_tried_again(void **state)
{
	(void)state;
	static const int errors[] = { EAGAIN, EINTR };
	struct io_file *file = create_file("f", 0);
	for (unsigned round = 0; round < 20; round++) {
		fill(round + 1);
		faulty_clear(plan);
		unsigned rule = faulty_add(plan, &(struct faulty_rule) { .kind = FAULTY_PASSING,
									 .error = errors[round % 2],
									 .row = 3,
									 .nth = 1,
									 .times = 4 });
		uint64_t retries = io->counters.retries;
		assert_ok(move(IO_WRITE, file, 0, 4));
		assert_ok(sync_file(file));
		assert_ok(move(IO_READ, file, 0, 4));
		assert_true(is_read_back(0, 4));
		struct io_request allocate = { .operation = IO_ALLOCATE, .file = file, .length = 8 * PAGE };
		struct status status = io_execute(io, &allocate);
		assert_true(status_is_ok(status) || status_is(status, STATUS_UNSUPPORTED));
		assert_int_equal(faulty_fired(plan, rule), 4);
		assert_true(io->counters.retries - retries >= 9);
	}
	drop_file(file, "f");
}

static void what_never_passes_is_an_error(void **state)
{
	(void)state;
	struct io_file *file = create_file("f", 0);
	(void)faulty_add(plan, &(struct faulty_rule) { .kind = FAULTY_PASSING, .row = 64, .nth = 1 });
	struct status status = move(IO_WRITE, file, 0, 1);
	assert_status(status, STATUS_IO);
	expect_text(status, "/f: write 4096 bytes at 0: no progress in 64 tries");
	assert_ok(move(IO_WRITE, file, 0, 1));
	drop_file(file, "f");
}

static void short_transfers_are_completed(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(SEED));
	for (unsigned round = 0; round < 200; round++) {
		fill(round + 1);
		faulty_clear(plan);
		unsigned rule = faulty_add(
			plan, &(struct faulty_rule) { .kind = FAULTY_SHORT,
						      .row = 1 + (unsigned)random_below(&random, 5),
						      .nth = 1,
						      .times = 2 });
		struct io_file *file = create_file("f", round % 2 == 0 ? 0 : IO_OPEN_BUFFERED);
		uint64_t retries = io->counters.retries;
		struct iovec vectors[2][PAGES];
		struct io_request requests[2];
		for (unsigned way = 0; way < 2; way++) {
			requests[way] = transfer(way == 0 ? IO_WRITE : IO_READ, file, 0, PAGES);
			if (round % 3 == 0)
				continue;
			requests[way].vectors = vectors[way];
			char *at = requests[way].buffer;
			char *end = at + (size_t)PAGES * PAGE;
			while (at < end) {
				size_t left = (size_t)(end - at) / PAGE;
				size_t part = (1 + random_below(&random, left < 6 ? left : 6)) * PAGE;
				vectors[way][requests[way].vector_count++] = (struct iovec) { at, part };
				at += part;
			}
		}
		for (unsigned way = 0; way < 2; way++) {
			assert_ok(io_execute(io, &requests[way]));
			assert_int_equal(requests[way].transferred, (size_t)PAGES * PAGE);
		}
		assert_true(is_read_back(0, PAGES));
		assert_int_equal(faulty_fired(plan, rule), 2);
		assert_true(io->counters.retries >= retries + 2);
		drop_file(file, "f");
	}
}

static void the_end_of_a_file_is_not_a_short_read(void **state)
{
	(void)state;
	struct io_file *file = create_file("f", IO_OPEN_BUFFERED);
	fill(1);
	struct io_request request = transfer(IO_WRITE, file, 0, 1);
	request.length = 5000;
	assert_ok(io_execute(io, &request));
	for (unsigned round = 0; round < 50; round++) {
		(void)faulty_add(plan, &(struct faulty_rule) { .kind = FAULTY_SHORT, .row = 3, .nth = 1 });
		request = transfer(IO_READ, file, 0, 4);
		assert_ok(io_execute(io, &request));
		assert_int_equal(request.transferred, 5000);
		assert_memory_equal(request.buffer, memory, 5000);
		faulty_clear(plan);
	}
	drop_file(file, "f");
}

/* --- space --- */

static void space_runs_out(void **state)
{
	(void)state;
	fill(1);
	struct io_file *file = create_file("f", 0);
	unsigned rule =
		faulty_add(plan, &(struct faulty_rule) { .kind = FAULTY_SPACE, .bytes = 5 * PAGE + 100 });
	assert_ok(move(IO_WRITE, file, 0, 3));
	struct io_request request = transfer(IO_WRITE, file, 3, 4);
	struct iovec vectors[] = {
		{ memory + 3 * PAGE, PAGE },
		{ memory + 4 * PAGE, 3 * PAGE },
	};
	request.vectors = vectors;
	request.vector_count = 2;
	assert_status(io_execute(io, &request), STATUS_NO_SPACE);
	assert_int_equal(request.transferred, 2 * PAGE); /* as far as there was room */
	assert_status(move(IO_WRITE, file, 0, 1), STATUS_NO_SPACE);
	struct io_request allocate = { .operation = IO_ALLOCATE, .file = file, .length = PAGE };
	assert_status(io_execute(io, &allocate), STATUS_NO_SPACE);
	assert_int_equal(faulty_fired(plan, rule), 3);
	assert_ok(move(IO_READ, file, 0, 5));
	assert_true(is_read_back(0, 5));
	assert_ok(sync_file(file));
	request = transfer(IO_READ, file, 5, 1);
	assert_ok(io_execute(io, &request));
	assert_int_equal(request.transferred, 0);
	faulty_remove(plan, rule); /* somebody made room */
	assert_ok(move(IO_WRITE, file, 5, 4));
	drop_file(file, "f");
}

/* --- syncs --- */

static void expect_durable(struct io_file *file, bool is_new)
{
	if (world == NULL)
		return;
	(void)file;
	struct simulated_crash worst = { .kind = SIMULATED_POWER, .keep = SIMULATED_KEEP_NONE };
	struct simulated_world *image = simulated_crash(world, &worst);
	char page[PAGE];
	size_t got;
	assert_true(simulated_read(image, in_root("f"), 0, page, PAGE, &got));
	assert_int_equal(got, PAGE);
	assert_int_equal(memcmp(page, memory, PAGE) == 0, is_new);
	simulated_destroy(image);
}

/* A file whose durable content is another one than what was written last. */
static struct io_file *unsynced_file(void)
{
	struct io_file *file = create_file("f", 0);
	fill(1);
	assert_ok(move(IO_WRITE, file, 0, 1));
	assert_ok(sync_file(file));
	assert_ok(run(IO_SYNC_DIRECTORY, root));
	fill(2);
	assert_ok(move(IO_WRITE, file, 0, 1));
	return file;
}

static void syncs_fail_in_several_ways(void **state)
{
	(void)state;
	for (enum faulty_kind kind = FAULTY_SYNC_CLEAN_NEW; kind <= FAULTY_SYNC_KEPT; kind++) {
		struct io_file *file = unsynced_file();
		unsigned rule = add(kind, 1, 1);
		bool late = kind == FAULTY_SYNC_LATE;
		assert_status(sync_file(file), late ? STATUS_OK : STATUS_IO);
		if (kind != FAULTY_SYNC_PARTLY)
			expect_durable(file, false);
		assert_status(sync_file(file), late ? STATUS_IO : STATUS_OK);
		if (kind != FAULTY_SYNC_PARTLY)
			expect_durable(file,
				       kind == FAULTY_SYNC_KEPT); /* the only one that may be tried again */
		assert_ok(sync_file(file));
		assert_int_equal(faulty_fired(plan, rule), 1);
		assert_int_equal(faulty_count(plan, kind), 1);
		assert_ok(move(IO_READ, file, 0, 1));
		assert_int_equal(is_read_back(0, 1), world == NULL || kind != FAULTY_SYNC_CLEAN_OLD);
		faulty_remove(plan, rule);

		rule = add(kind, 1, 1);
		assert_status(run(IO_SYNC_DIRECTORY, root), late ? STATUS_OK : STATUS_IO);
		assert_status(run(IO_SYNC_DIRECTORY, root), late ? STATUS_IO : STATUS_OK);
		assert_ok(run(IO_SYNC_DIRECTORY, root));
		faulty_remove(plan, rule);
		drop_file(file, "f");
	}
}

static void durable_writes_fail_as_syncs_do(void **state)
{
	(void)state;
	for (enum faulty_kind kind = FAULTY_SYNC_CLEAN_NEW; kind <= FAULTY_SYNC_KEPT; kind++) {
		struct io_file *file = unsynced_file();
		fill(3);
		unsigned rule = add(kind, 1, 1);
		assert_ok(move(IO_WRITE, file, 1, 1)); /* an ordinary write is not concerned */
		struct io_request request = transfer(IO_WRITE, file, 0, 1);
		request.flags = IO_DURABLE;
		assert_status(io_execute(io, &request), kind == FAULTY_SYNC_LATE ? STATUS_OK : STATUS_IO);
		if (kind != FAULTY_SYNC_PARTLY)
			expect_durable(file, false);
		assert_int_equal(faulty_fired(plan, rule), 1);
		assert_ok(move(IO_READ, file, 0, 1));
		assert_int_equal(is_read_back(0, 1), kind != FAULTY_SYNC_CLEAN_OLD);
		assert_status(sync_file(file), kind == FAULTY_SYNC_LATE ? STATUS_IO : STATUS_OK);
		faulty_remove(plan, rule);
		drop_file(file, "f");
	}
}

/* --- time --- */

static void note_order(struct io_request *request)
{
	static unsigned order;
	*(unsigned *)request->context = ++order;
}

static void a_stall_holds_one_back(void **state)
{
	(void)state;
	struct io_file *file = create_file("f", 0);
	unsigned rule = faulty_add(plan, &(struct faulty_rule) { .kind = FAULTY_STALL,
								 .operations = FAULTY_OPERATION(IO_WRITE),
								 .nth = 1,
								 .delay_ns = 40 * MILLISECOND });
	struct io_request stalled = transfer(IO_WRITE, file, 0, 1);
	struct io_request other = transfer(IO_WRITE, file, 1, 1);
	unsigned stalled_order = 0;
	unsigned other_order = 0;
	stalled.complete = note_order;
	stalled.context = &stalled_order;
	other.complete = note_order;
	other.context = &other_order;
	io_submit(io, &stalled);
	io_submit(io, &other);
	uint64_t start = clock_now_ns();
	while (io->in_flight > 0) {
		(void)io_poll(io, UINT64_MAX);
		assert_true(clock_now_ns() - start < 20000 * MILLISECOND);
	}
	assert_ok(stalled.status);
	assert_int_equal(stalled.transferred, PAGE);
	assert_true(stalled_order > 0 && other_order > 0);
	assert_int_equal(faulty_fired(plan, rule), 1);
	if (world != NULL) /* 40 ms at most are some: the other had a time of its own, in microseconds */
		assert_true(other_order < stalled_order);

	/* Held back beyond a wait that has an end. */
	faulty_remove(plan, rule);
	(void)faulty_add(plan, &(struct faulty_rule) { .kind = FAULTY_STALL, .nth = 1, .delay_ns = 1 });
	assert_ok(sync_file(file));
	io_wake(io);
	assert_int_equal(io_poll(io, 20000 * MILLISECOND), 0);
	drop_file(file, "f");
}

/* --- silent faults --- */

static void reads_are_spoilt(void **state)
{
	(void)state;
	fill(1);
	struct io_file *file = create_file("f", 0);
	assert_ok(move(IO_WRITE, file, 0, 4));
	for (unsigned round = 0; round < 20; round++) {
		unsigned rule = add(FAULTY_FLIP, 1, 1);
		assert_ok(move(IO_READ, file, 0, 4));
		faulty_remove(plan, rule);
		unsigned wrong = 0;
		for (size_t i = 0; i < 4 * PAGE; i++)
			wrong += (unsigned)__builtin_popcount(
				(unsigned char)(memory[i] ^ memory[(size_t)PAGES * PAGE + i]));
		assert_int_equal(wrong, 1);

		rule = add(FAULTY_ZERO, 1, 1);
		struct io_request request = transfer(IO_READ, file, 0, 4);
		struct iovec vectors[] = {
			{ request.buffer, PAGE },
			{ (char *)request.buffer + PAGE, 3 * PAGE },
		};
		request.vectors = vectors;
		request.vector_count = 2;
		assert_ok(io_execute(io, &request));
		faulty_remove(plan, rule);
		static const char zeros[512];
		unsigned units = 0;
		for (size_t i = 0; i < 4 * PAGE; i += sizeof(zeros)) {
			const char *unit = memory + (size_t)PAGES * PAGE + i;
			bool is_zero = memcmp(unit, zeros, sizeof(zeros)) == 0;
			units += is_zero;
			assert_true(is_zero || memcmp(unit, memory + i, sizeof(zeros)) == 0);
		}
		assert_int_equal(units, 1);
	}
	assert_ok(move(IO_READ, file, 0, 4)); /* the storage itself is sound */
	assert_true(is_read_back(0, 4));
	drop_file(file, "f");
}

static void writes_go_astray(void **state)
{
	(void)state;
	fill(1);
	struct io_file *file = create_file("f", 0);
	assert_ok(move(IO_WRITE, file, 0, 8));
	fill(2);
	unsigned rule = add(FAULTY_LOSE, 1, 1);
	assert_ok(move(IO_WRITE, file, 0, 1));
	faulty_remove(plan, rule);
	assert_ok(move(IO_READ, file, 0, 8));
	assert_false(is_read_back(0, 1));
	fill(1);
	assert_ok(move(IO_READ, file, 0, 8));
	assert_true(is_read_back(0, 8));

	fill(2);
	rule = add(FAULTY_MISDIRECT, 1, 1);
	assert_ok(move(IO_WRITE, file, 2, 1));
	faulty_remove(plan, rule);
	assert_ok(move(IO_READ, file, 0, 8));
	unsigned found = 0;
	for (size_t page = 0; page < 8; page++)
		found += memcmp(memory + 2 * PAGE, memory + (PAGES + page) * PAGE, PAGE) == 0;
	assert_int_equal(found, 1);
	assert_false(is_read_back(2, 1));
	drop_file(file, "f");
}

/* --- by chance --- */

static uint64_t run_by_chance(uint64_t seed, uint32_t in_million, uint64_t times)
{
	faulty_destroy(plan);
	io_destroy(io);
	plan = faulty_create(seed);
	faulty_install(plan, inner);
	assert_ok(io_create("faulty", &(struct io_options) { .direct = true }, &io, NULL, 0));
	struct io_file *file = create_file("f", 0);
	unsigned rule = faulty_add(
		plan,
		&(struct faulty_rule) { .kind = FAULTY_LOSE, .in_million = in_million, .times = times });
	uint64_t history = 0;
	for (unsigned i = 0; i < 200; i++) {
		uint64_t before = faulty_fired(plan, rule);
		assert_ok(move(IO_WRITE, file, 0, 1));
		history = random_mix(history + faulty_fired(plan, rule) - before + 1);
	}
	uint64_t fired = faulty_fired(plan, rule);
	if (times > 0)
		assert_int_equal(fired, times);
	else
		assert_in_range(fired, in_million == 0 ? 0 : 1, in_million == 0 ? 0 : 199);
	drop_file(file, "f");
	return history;
}

static void chances_follow_the_seed(void **state)
{
	(void)state;
	uint64_t seed = test_seed(SEED);
	uint64_t history = run_by_chance(seed, 300000, 0);
	assert_int_equal(history, run_by_chance(seed, 300000, 0));
	assert_int_not_equal(history, run_by_chance(seed + 1, 300000, 0));
	(void)run_by_chance(seed, 0, 0);
	(void)run_by_chance(seed, 900000, 3);
}

/* Everything at once: every request ends exactly once, and every kind of fault happens. */
struct client {
	struct io_request request;
	struct io_file *file;
	unsigned ended;
};

static void client_ended(struct io_request *request)
{
	struct client *client = request->context;
	client->ended++;
	assert_true(request->transferred <= request->length);
	if (request->operation == IO_OPEN)
		client->file = request->opened;
}

static void everything_at_once(void **state)
{
	(void)state;
	enum { CLIENTS = 6, STEPS = 600 };
	for (enum faulty_kind kind = 0; kind < FAULTY_KIND_COUNT; kind++)
		(void)faulty_add(plan,
				 &(struct faulty_rule) {
					 .kind = kind, .in_million = 40000, .row = 2, .delay_ns = 100000 });
	struct client clients[CLIENTS] = { 0 };
	struct random random = random_stream(test_seed(SEED));
	char names[CLIENTS][128];
	for (unsigned step = 0; step < STEPS; step++) {
		for (unsigned i = 0; i < CLIENTS; i++) {
			struct client *client = &clients[i];
			(void)snprintf(names[i], sizeof(names[i]), "%s/client-%u", root, i);
			uint64_t drawn = random_below(&random, 8);
			client->request = (struct io_request) {
				.operation = drawn < 3	 ? IO_WRITE
					     : drawn < 6 ? IO_READ
							 : IO_SYNC,
				.path = names[i],
				.file = client->file,
				.buffer = memory + (size_t)i * 2 * PAGE,
				.length = 2 * PAGE,
				.offset = random_below(&random, 4) * PAGE,
				.flags = drawn == 0 ? IO_DURABLE : 0,
				.complete = client_ended,
				.context = client,
			};
			if (client->file == NULL) {
				client->request.operation = IO_OPEN;
				client->request.flags = IO_OPEN_WRITE | (drawn < 4 ? IO_OPEN_CREATE : 0);
			} else if (step + 1 == STEPS) {
				client->request.operation = IO_CLOSE;
			} else if (drawn == 7) {
				client->request.operation = IO_SYNC_DIRECTORY;
				client->request.path = root;
			}
			io_submit(io, &client->request);
		}
		while (io->in_flight > 0)
			(void)io_poll(io, UINT64_MAX);
		for (unsigned i = 0; i < CLIENTS; i++)
			assert_int_equal(clients[i].ended, step + 1);
	}
	for (enum faulty_kind kind = 0; kind < FAULTY_KIND_COUNT; kind++)
		if (faulty_count(plan, kind) == 0)
			fail_msg("\"%s\" never fired", faulty_kind_name(kind));
	faulty_clear(plan);
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (clients[i].request.operation == IO_OPEN && clients[i].file != NULL)
			assert_ok(try_close(clients[i].file));
		(void)run(IO_UNLINK, names[i]).code;
	}
}

static void no_plan_no_instance(void **state)
{
	(void)state;
	struct io *made;
	struct faulty *none = faulty_create(1);
	faulty_install(none, inner);
	faulty_destroy(none);
	assert_status(io_create("faulty", &(struct io_options) { 0 }, &made, NULL, 0), STATUS_NOT_FOUND);
	faulty_install(plan, "mirror");
	assert_status(io_create("faulty", &(struct io_options) { 0 }, &made, NULL, 0), STATUS_NOT_FOUND);
	faulty_install(plan, inner);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

static int run_over(const char *name)
{
	const struct CMUnitTest tests[] = {
		CASE(the_nth_and_those_after_it),
		CASE(rules_name_files_and_operations),
		CASE(codes_are_what_a_kernel_would_give),
		CASE(opens_and_closes_fail_without_leaks),
		CASE(passing_errors_are_tried_again),
		CASE(what_never_passes_is_an_error),
		CASE(short_transfers_are_completed),
		CASE(the_end_of_a_file_is_not_a_short_read),
		CASE(space_runs_out),
		CASE(syncs_fail_in_several_ways),
		CASE(durable_writes_fail_as_syncs_do),
		CASE(a_stall_holds_one_back),
		CASE(reads_are_spoilt),
		CASE(writes_go_astray),
		CASE(chances_follow_the_seed),
		CASE(everything_at_once),
		CASE(no_plan_no_instance),
	};
	inner = name;
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
	const char *temporary = getenv("TMPDIR");
	(void)snprintf(root, sizeof(root), "%.40s/faulty_test.XXXXXX",
		       temporary != NULL ? temporary : "/tmp");
	if (mkdtemp(root) == NULL)
		return 1;
	int failed = run_over("simulated") + run_over("posix") + run_over("uring");
	return failed + (rmdir(root) != 0) == 0 ? 0 : 1;
}
