/*
 * simulated_test.c: each rule of the simulated disk, where it holds and where it does not; the exact set of
 * images that small histories can leave; determinism. What every backend does is io_test's. (A second.)
 */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "io/io.h"
#include "io/simulated.h"

enum { UNIT = 512, PAGE = IO_PAGE_BYTES, OPEN_FLAGS = IO_OPEN_WRITE | IO_OPEN_BUFFERED };

#define SEED 20250101

static struct simulated_world *world;
static struct io *io;
static _Alignas(PAGE) char memory[16 * PAGE];

/* --- helpers --- */

static void begin(const struct simulated_options *options)
{
	world = simulated_create(options);
	simulated_install(world);
	simulated_make_path(world, "/d");
	assert_ok(io_create("simulated", &(struct io_options) { .direct = true }, &io, NULL, 0));
}

static void end(void)
{
	io_destroy(io);
	simulated_destroy(world);
}

static int set_up(void **state)
{
	(void)state;
	begin(&(struct simulated_options) { .seed = test_seed(SEED) });
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	end();
	return 0;
}

static struct status run(enum io_operation operation, const char *path)
{
	struct io_request request = { .operation = operation, .path = path };
	return io_execute(io, &request);
}

static void sync_directory(void)
{
	assert_ok(run(IO_SYNC_DIRECTORY, "/d"));
}

static struct io_file *open_file(const char *path, unsigned flags)
{
	struct io_request request = { .operation = IO_OPEN, .path = path, .flags = flags };
	assert_ok(io_execute(io, &request));
	return request.opened;
}

static struct io_file *create_file(const char *path)
{
	return open_file(path, OPEN_FLAGS | IO_OPEN_CREATE);
}

static void close_file(struct io_file *file)
{
	struct io_request request = { .operation = IO_CLOSE, .file = file };
	assert_ok(io_execute(io, &request));
}

static struct io_request write_request(struct io_file *file, const char *bytes, size_t length,
				       uint64_t offset)
{
	return (struct io_request) {
		.operation = IO_WRITE,
		.file = file,
		.buffer = (void *)(uintptr_t)bytes,
		.length = length,
		.offset = offset,
	};
}

/* Units that hold one letter each. */
static const char *letters(const char *text)
{
	static char buffers[8][8 * UNIT];
	static unsigned next;
	char *buffer = buffers[next++ % 8];
	for (size_t i = 0; i < strlen(text); i++)
		memset(buffer + i * UNIT, text[i], UNIT);
	return buffer;
}

static void write_units(struct io_file *file, const char *text, uint64_t unit)
{
	struct io_request request = write_request(file, letters(text), strlen(text) * UNIT, unit * UNIT);
	assert_ok(io_execute(io, &request));
}

static struct status sync_with(struct io_file *file, unsigned flags)
{
	struct io_request request = { .operation = IO_SYNC, .file = file, .flags = flags };
	return io_execute(io, &request);
}

static void sync_file(struct io_file *file)
{
	assert_ok(sync_with(file, 0));
}

/* A durable file of these units, open. */
static struct io_file *settled_file(const char *path, const char *text)
{
	struct io_file *file = create_file(path);
	write_units(file, text, 0);
	simulated_settle(world);
	return file;
}

/* The first letter of each unit, '.' for zeros, '?' for a unit that is not all one letter; "-" for no file.
 */
static const char *units_of(const struct simulated_world *from, const char *path)
{
	static char texts[4][64];
	static unsigned next;
	static char bytes[60 * UNIT];
	char *text = texts[next++ % 4];
	size_t got;
	if (!simulated_read(from, path, 0, bytes, sizeof(bytes), &got))
		return "-";
	size_t count = 0;
	for (size_t at = 0; at < got; at += UNIT, count++) {
		size_t size = got - at < UNIT ? got - at : UNIT;
		text[count] = bytes[at] == 0 ? '.' : bytes[at];
		for (size_t i = 1; i < size; i++)
			if (bytes[at + i] != bytes[at])
				text[count] = '?';
	}
	text[count] = '\0';
	return text;
}

static struct simulated_world *crash(enum simulated_crash_kind kind, enum simulated_keep keep, uint64_t seed)
{
	return simulated_crash(world, &(struct simulated_crash) { .kind = kind, .keep = keep, .seed = seed });
}

/* What is there after the worst loss of power. */
static void expect_durable(const char *path, const char *text)
{
	struct simulated_world *image = crash(SIMULATED_POWER, SIMULATED_KEEP_NONE, 1);
	assert_string_equal(units_of(image, path), text);
	simulated_destroy(image);
}

static void expect_seen(const char *path, const char *text)
{
	assert_string_equal(units_of(world, path), text);
}

/* --- which images there are --- */

enum { IMAGES_MAX = 64, SEEDS = 3000 };

struct images {
	char texts[IMAGES_MAX][96];
	unsigned count;
};

static void add_image(struct images *images, const char *text)
{
	for (unsigned i = 0; i < images->count; i++)
		if (strcmp(images->texts[i], text) == 0)
			return;
	assert_true(images->count < IMAGES_MAX);
	(void)snprintf(images->texts[images->count++], sizeof(images->texts[0]), "%s", text);
}

static bool has_image(const struct images *images, const char *text)
{
	for (unsigned i = 0; i < images->count; i++)
		if (strcmp(images->texts[i], text) == 0)
			return true;
	return false;
}

/* All states of the files over many seeds, as "units units ...", must be exactly those of `expected`. */
static void expect_images(const struct simulated_crash *how, const char *const *paths,
			  const char *const *expected)
{
	struct images images = { 0 };
	unsigned expected_count = 0;
	while (expected[expected_count] != NULL)
		expected_count++;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simulated_crash drawn = *how;
		drawn.seed = random_mix(test_seed(SEED)) + seed;
		struct simulated_world *image = simulated_crash(world, &drawn);
		char text[96] = "";
		for (unsigned i = 0; paths[i] != NULL; i++) {
			strcat(text, i > 0 ? " " : "");
			strcat(text, units_of(image, paths[i]));
		}
		simulated_destroy(image);
		add_image(&images, text);
		unsigned known = 0;
		while (known < expected_count && strcmp(expected[known], text) != 0)
			known++;
		if (known == expected_count)
			fail_msg("seed %llu leaves \"%s\"", (unsigned long long)drawn.seed, text);
	}
	for (unsigned i = 0; i < expected_count; i++)
		if (!has_image(&images, expected[i]))
			fail_msg("\"%s\" never occurs", expected[i]);
}

#define EXPECT_IMAGES(how, paths, ...) \
	expect_images(&(struct simulated_crash)how, paths, (const char *const[]) { __VA_ARGS__, NULL })
#define POWER                           \
	{                               \
		.kind = SIMULATED_POWER \
	}
#define ORDERED                                          \
	{                                                \
		.kind = SIMULATED_POWER, .ordered = true \
	}
#define PROCESS                           \
	{                                 \
		.kind = SIMULATED_PROCESS \
	}

static const char *const f[] = { "/d/f", NULL };

/* --- contents --- */

static void only_a_sync_makes_a_write_durable(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "ab");
	write_units(file, "XY", 0);
	expect_seen("/d/f", "XY");
	expect_durable("/d/f", "ab");
	sync_directory(); /* does nothing for contents */
	expect_durable("/d/f", "ab");
	close_file(file); /* neither does this */
	expect_durable("/d/f", "ab");
	file = open_file("/d/f", OPEN_FLAGS);
	sync_file(file);
	expect_durable("/d/f", "XY");
	close_file(file);
}

static void a_sync_covers_one_file(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "a");
	struct io_file *other = settled_file("/d/g", "b");
	write_units(file, "X", 0);
	write_units(other, "Y", 0);
	sync_file(other);
	expect_durable("/d/f", "a");
	expect_durable("/d/g", "Y");
	close_file(file);
	close_file(other);
}

static bool flag_of(struct io_request *request)
{
	return *(bool *)request->context;
}

static void set_flag(struct io_request *request)
{
	*(bool *)request->context = true;
}

static void submit(struct io_request *request, bool *done)
{
	*done = false;
	request->complete = set_flag;
	request->context = done;
	io_submit(io, request);
}

static void wait_for(struct io_request *request)
{
	while (!flag_of(request))
		(void)io_poll(io, UINT64_MAX);
	assert_ok(request->status);
}

/* The write completes before the sync does in many of these rounds, and is not covered in any. */
static void a_sync_covers_what_completed_before_it_was_submitted(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "abc");
	unsigned completed_earlier = 0;
	for (unsigned round = 0; round < 200; round++) {
		simulated_settle(world);
		char before[8];
		(void)snprintf(before, sizeof(before), "%s", units_of(world, "/d/f"));
		write_units(file, "K", 0);
		before[0] = 'K';
		struct io_request late = write_request(file, letters(round % 2 ? "L" : "M"), UNIT, UNIT);
		struct io_request sync = { .operation = IO_SYNC, .file = file };
		bool late_done;
		bool sync_done;
		submit(&late, &late_done);
		submit(&sync, &sync_done);
		wait_for(&sync);
		completed_earlier += late_done;
		wait_for(&late);
		expect_durable("/d/f", before);
		expect_seen("/d/f", round % 2 ? "KLc" : "KMc");
		sync_file(file);
		expect_durable("/d/f", round % 2 ? "KLc" : "KMc");
		write_units(file, "k", 0);
	}
	assert_true(completed_earlier > 10);
	assert_true(completed_earlier < 200);
	assert_int_equal(simulated_count(world, SIMULATED_SYNC_PARTIAL), completed_earlier);
	close_file(file);
}

static void a_durable_write_makes_itself_durable(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "abc");
	write_units(file, "X", 0);
	struct io_request durable = write_request(file, letters("YZ"), 2 * UNIT, UNIT);
	durable.flags = IO_DURABLE;
	assert_ok(io_execute(io, &durable));
	expect_durable("/d/f", "aYZ");
	durable.offset = 3 * UNIT; /* with the size that it needs */
	assert_ok(io_execute(io, &durable));
	expect_durable("/d/f", "aYZYZ");
	write_units(file, "Q", 7);
	expect_durable("/d/f", "aYZYZ");
	expect_seen("/d/f", "XYZYZ..Q");
	close_file(file);
}

static void a_size_is_durable_by_a_sync(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "a");
	struct io_request allocate = { .operation = IO_ALLOCATE, .file = file, .length = 3 * UNIT };
	assert_ok(io_execute(io, &allocate));
	expect_seen("/d/f", "a..");
	expect_durable("/d/f", "a");
	sync_file(file);
	expect_durable("/d/f", "a..");
	allocate.length = UNIT; /* never shrinks */
	assert_ok(io_execute(io, &allocate));
	expect_seen("/d/f", "a..");
	close_file(file);
}

static void pieces_of_units_are_whole_units_at_a_crash(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "aa");
	char text[300];
	memset(text, 'X', sizeof(text));
	struct iovec vectors[] = { { text, 100 }, { text, 300 } };
	struct io_request request = write_request(file, NULL, 400, 300);
	request.vectors = vectors;
	request.vector_count = 2;
	assert_ok(io_execute(io, &request));
	char expected[2 * UNIT];
	memset(expected, 'a', sizeof(expected));
	memset(expected + 300, 'X', 400);
	unsigned seen = 0;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct simulated_world *image = crash(SIMULATED_POWER, SIMULATED_KEEP_SOME, seed);
		char bytes[2 * UNIT];
		size_t got;
		assert_true(simulated_read(image, "/d/f", 0, bytes, sizeof(bytes), &got));
		for (unsigned unit = 0; unit < 2; unit++) {
			bool is_new = memcmp(bytes + unit * UNIT, expected + unit * UNIT, UNIT) == 0;
			char old[UNIT];
			memset(old, 'a', sizeof(old));
			assert_true(is_new || memcmp(bytes + unit * UNIT, old, UNIT) == 0);
			seen |= 1u << (2 * unit + is_new);
		}
		simulated_destroy(image);
	}
	assert_int_equal(seen, 0xf);
	close_file(file);
}

/* --- names --- */

static void a_creation_is_durable_by_its_directory(void **state)
{
	(void)state;
	struct io_file *file = create_file("/d/f");
	write_units(file, "a", 0);
	sync_file(file);
	expect_durable("/d/f", "-");
	sync_directory();
	expect_durable("/d/f", "a");
	close_file(file);

	file = create_file("/d/g");
	write_units(file, "b", 0);
	sync_directory(); /* the name without the contents */
	expect_durable("/d/g", "");
	sync_file(file);
	expect_durable("/d/g", "b");
	close_file(file);
}

static void a_rename_is_durable_by_its_directory(void **state)
{
	(void)state;
	close_file(settled_file("/d/f", "a"));
	close_file(settled_file("/d/g", "b"));
	struct io_request rename_it = { .operation = IO_RENAME, .path = "/d/f", .path_to = "/d/g" };
	assert_ok(io_execute(io, &rename_it));
	expect_seen("/d/f", "-");
	expect_seen("/d/g", "a");
	expect_durable("/d/f", "a");
	expect_durable("/d/g", "b");
	sync_directory();
	expect_durable("/d/f", "-");
	expect_durable("/d/g", "a");
}

static void an_unlink_is_durable_by_its_directory(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "a");
	assert_ok(run(IO_UNLINK, "/d/f"));
	expect_seen("/d/f", "-");
	/* Who has it open goes on with it. */
	write_units(file, "X", 0);
	char back[UNIT];
	struct io_request request = {
		.operation = IO_READ, .file = file, .buffer = back, .length = sizeof(back)
	};
	assert_ok(io_execute(io, &request));
	assert_true(back[0] == 'X');
	close_file(file);
	expect_durable("/d/f", "a");
	sync_directory();
	expect_durable("/d/f", "-");
}

static void a_directory_is_durable_by_its_parent(void **state)
{
	(void)state;
	assert_ok(run(IO_MAKE_DIRECTORY, "/d/e"));
	struct io_file *file = create_file("/d/e/f");
	write_units(file, "a", 0);
	sync_file(file);
	close_file(file);
	assert_ok(run(IO_SYNC_DIRECTORY, "/d/e"));
	expect_seen("/d/e/f", "a");
	expect_durable("/d/e/f", "-"); /* it and all that it holds is gone */
	sync_directory();
	expect_durable("/d/e/f", "a");
}

static void a_directory_sync_covers_what_completed_before_it(void **state)
{
	(void)state;
	close_file(settled_file("/d/f", "a"));
	struct io_request sync = { .operation = IO_SYNC_DIRECTORY, .path = "/d" };
	struct io_request unlink_it = { .operation = IO_UNLINK, .path = "/d/f" };
	bool sync_done;
	bool unlinked;
	submit(&unlink_it, &unlinked);
	submit(&sync, &sync_done);
	wait_for(&sync);
	wait_for(&unlink_it);
	expect_seen("/d/f", "-");
	expect_durable("/d/f", "a");
}

static void a_rename_between_directories_is_one_step(void **state)
{
	(void)state;
	simulated_make_path(world, "/e");
	struct io_file *file = create_file("/d/f");
	write_units(file, "a", 0);
	sync_file(file);
	close_file(file);
	struct io_request rename_it = { .operation = IO_RENAME, .path = "/d/f", .path_to = "/e/g" };
	assert_ok(io_execute(io, &rename_it));
	assert_ok(run(IO_SYNC_DIRECTORY, "/e"));
	expect_durable("/e/g", "a");
	expect_durable("/d/f", "-");
	sync_directory(); /* the creation must not come back behind it */
	expect_durable("/e/g", "a");
	expect_durable("/d/f", "-");
}

/* --- exactly which images --- */

static void images_of_one_write(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "ab");
	EXPECT_IMAGES(POWER, f, "ab");
	write_units(file, "XY", 0);
	EXPECT_IMAGES(POWER, f, "ab", "Xb", "aY", "XY");
	EXPECT_IMAGES(ORDERED, f, "ab", "Xb", "aY", "XY");
	EXPECT_IMAGES(PROCESS, f, "XY");
	sync_file(file);
	EXPECT_IMAGES(POWER, f, "XY");
	close_file(file);
}

static void images_of_two_writes(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "ab");
	write_units(file, "X", 0);
	write_units(file, "Y", 1);
	EXPECT_IMAGES(POWER, f, "ab", "Xb", "aY", "XY");
	EXPECT_IMAGES(ORDERED, f, "ab", "Xb", "XY");
	write_units(file, "Z", 0); /* over the first */
	EXPECT_IMAGES(POWER, f, "ab", "Xb", "Zb", "aY", "XY", "ZY");
	EXPECT_IMAGES(ORDERED, f, "ab", "Xb", "XY", "ZY");
	EXPECT_IMAGES(PROCESS, f, "ZY");
	close_file(file);
}

static void images_of_two_files(void **state)
{
	(void)state;
	static const char *const both[] = { "/d/f", "/d/g", NULL };
	struct io_file *file = settled_file("/d/f", "a");
	struct io_file *other = settled_file("/d/g", "b");
	write_units(file, "X", 0);
	write_units(other, "Y", 0);
	/* No order between files, whatever there is in one. */
	EXPECT_IMAGES(POWER, both, "a b", "X b", "a Y", "X Y");
	EXPECT_IMAGES(ORDERED, both, "a b", "X b", "a Y", "X Y");
	close_file(file);
	close_file(other);
}

static void images_of_a_growing_file(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "a");
	write_units(file, "X", 1);
	/* The size without the bytes reads as zeros; the bytes without the size are not there. */
	EXPECT_IMAGES(POWER, f, "a", "a.", "aX");
	write_units(file, "Y", 2);
	EXPECT_IMAGES(POWER, f, "a", "a.", "aX", "a..", "aX.", "a.Y", "aXY");
	EXPECT_IMAGES(PROCESS, f, "aXY");
	close_file(file);
}

static void bytes_beyond_a_lost_size_do_not_come_back(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "a");
	write_units(file, "X", 1);
	close_file(file);
	bool lost = false;
	for (uint64_t seed = 0; seed < 300 && !lost; seed++) {
		struct simulated_world *image = crash(SIMULATED_POWER, SIMULATED_KEEP_SOME, seed);
		lost = strcmp(units_of(image, "/d/f"), "a") == 0 &&
		       simulated_count(image, SIMULATED_UNIT_NEWEST) == 1;
		if (!lost) {
			simulated_destroy(image);
			continue;
		}
		struct simulated_world *kept = world;
		struct io *kept_io = io;
		world = image;
		simulated_install(world);
		assert_ok(io_create("simulated", &(struct io_options) { 0 }, &io, NULL, 0));
		file = open_file("/d/f", OPEN_FLAGS);
		write_units(file, "Z", 2);
		expect_seen("/d/f", "a.Z");
		close_file(file);
		end();
		world = kept;
		io = kept_io;
		simulated_install(world);
	}
	assert_true(lost);
}

static void images_of_a_write_under_way(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "ab");
	struct io_request request = write_request(file, letters("XY"), 2 * UNIT, 0);
	bool done;
	submit(&request, &done);
	EXPECT_IMAGES(POWER, f, "ab"); /* no poll has entered it */
	EXPECT_IMAGES(PROCESS, f, "ab");
	(void)io_poll(io, 0);
	assert_false(done);
	EXPECT_IMAGES(POWER, f, "ab", "Xb", "aY", "XY");
	EXPECT_IMAGES(PROCESS, f, "ab", "Xb", "aY", "XY");
	expect_seen("/d/f", "ab");
	wait_for(&request);
	EXPECT_IMAGES(PROCESS, f, "XY");
	close_file(file);
}

static void images_of_units_of_a_page(void **state)
{
	(void)state;
	end();
	begin(&(struct simulated_options) { .seed = test_seed(SEED), .unit_bytes = PAGE });
	assert_true((io->promises & IO_ATOMIC_4096) != 0);
	struct io_file *file = create_file("/d/f");
	memset(memory, 'a', 2 * PAGE);
	struct io_request request = write_request(file, memory, 2 * PAGE, 0);
	assert_ok(io_execute(io, &request));
	simulated_settle(world);
	memset(memory, 'X', 2 * PAGE);
	assert_ok(io_execute(io, &request));
	EXPECT_IMAGES(POWER, f, "aaaaaaaaaaaaaaaa", "XXXXXXXXaaaaaaaa", "aaaaaaaaXXXXXXXX",
		      "XXXXXXXXXXXXXXXX");
	close_file(file);
}

static void images_of_names(void **state)
{
	(void)state;
	static const char *const names[] = { "/d/f", "/d/g", NULL };
	close_file(create_file("/d/f"));
	EXPECT_IMAGES(POWER, names, "- -", " -");
	EXPECT_IMAGES(PROCESS, names, " -");
	close_file(create_file("/d/g"));
	EXPECT_IMAGES(POWER, names, "- -", " -", "- ", " ");
	EXPECT_IMAGES(ORDERED, names, "- -", " -", " ");
	assert_ok(run(IO_UNLINK, "/d/f"));
	EXPECT_IMAGES(POWER, names, "- -", " -", "- ", " ");
	EXPECT_IMAGES(ORDERED, names, "- -", " -", " ", "- ");
	EXPECT_IMAGES(PROCESS, names, "- ");
}

/* How files are replaced: the new one under another name, synced, renamed over the old. */
static void images_of_a_replacement(void **state)
{
	(void)state;
	static const char *const names[] = { "/d/new", "/d/f", NULL };
	close_file(settled_file("/d/f", "a"));
	struct io_file *file = create_file("/d/new");
	write_units(file, "X", 0);
	sync_file(file);
	close_file(file);
	struct io_request rename_it = { .operation = IO_RENAME, .path = "/d/new", .path_to = "/d/f" };
	bool done;
	submit(&rename_it, &done);
	(void)io_poll(io, 0);
	EXPECT_IMAGES(POWER, names, "- a", "X a", "- X");
	EXPECT_IMAGES(PROCESS, names, "X a", "- X");
	wait_for(&rename_it);
	EXPECT_IMAGES(POWER, names, "- a", "X a", "- X");
	EXPECT_IMAGES(ORDERED, names, "- a", "X a", "- X");
	EXPECT_IMAGES(PROCESS, names, "- X");
	sync_directory();
	EXPECT_IMAGES(POWER, names, "- X");
}

/* The same without the sync: the name may be there before the contents. */
static void images_of_a_careless_replacement(void **state)
{
	(void)state;
	static const char *const names[] = { "/d/new", "/d/f", NULL };
	close_file(settled_file("/d/f", "a"));
	struct io_file *file = create_file("/d/new");
	write_units(file, "X", 0);
	close_file(file);
	struct io_request rename_it = { .operation = IO_RENAME, .path = "/d/new", .path_to = "/d/f" };
	assert_ok(io_execute(io, &rename_it));
	sync_directory();
	EXPECT_IMAGES(POWER, names, "- ", "- .", "- X");
}

static void garbage_only_where_something_is_under_way(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "abc");
	write_units(file, "X", 0);
	struct io_request request = write_request(file, letters("Y"), UNIT, UNIT);
	bool done;
	submit(&request, &done);
	(void)io_poll(io, 0);
	unsigned garbage = 0;
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct simulated_crash how = { .kind = SIMULATED_POWER, .seed = seed, .garbage = true };
		struct simulated_world *image = simulated_crash(world, &how);
		const char *text = units_of(image, "/d/f");
		assert_true(text[0] == 'a' || text[0] == 'X');
		assert_true(text[2] == 'c');
		assert_true(text[1] == 'b' || text[1] == 'Y' || text[1] == '?');
		garbage += text[1] == '?';
		assert_int_equal(simulated_count(image, SIMULATED_UNIT_GARBAGE), text[1] == '?');
		simulated_destroy(image);
	}
	assert_true(garbage > 5);
	wait_for(&request);
	close_file(file);
}

/* --- crashes and worlds --- */

/* What recovery has read after a kill, power may take afterwards, unless recovery syncs it. */
static void a_killed_process_leaves_it_pending(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "a");
	write_units(file, "X", 0);
	close_file(create_file("/d/g"));
	struct simulated_world *killed = crash(SIMULATED_PROCESS, SIMULATED_KEEP_DRAWN, 7);
	assert_string_equal(units_of(killed, "/d/f"), "X");
	assert_string_equal(units_of(killed, "/d/g"), "");
	struct simulated_crash worst = { .kind = SIMULATED_POWER, .keep = SIMULATED_KEEP_NONE };
	struct simulated_world *lost = simulated_crash(killed, &worst);
	assert_string_equal(units_of(lost, "/d/f"), "a");
	assert_string_equal(units_of(lost, "/d/g"), "-");
	simulated_destroy(lost);
	simulated_settle(killed);
	lost = simulated_crash(killed, &worst);
	assert_string_equal(units_of(lost, "/d/f"), "X");
	assert_string_equal(units_of(lost, "/d/g"), "");
	simulated_destroy(lost);
	simulated_destroy(killed);
	close_file(file);
}

static void a_crash_leaves_the_world_alone(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "abc");
	write_units(file, "X", 1);
	int lock;
	assert_ok(io_lock(io, "/d/lock", &lock));
	struct io_request request = write_request(file, letters("YZ"), 2 * UNIT, UNIT);
	bool done;
	submit(&request, &done);
	(void)io_poll(io, 0);
	uint64_t image = simulated_image(world);
	uint64_t trace = simulated_trace(world);
	uint64_t now = simulated_now_ns(world);
	uint64_t next = simulated_next_event_ns(world);
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct simulated_world *made = crash(seed % 2, SIMULATED_KEEP_DRAWN, seed);
		assert_int_equal(simulated_now_ns(made), now);
		assert_int_equal(simulated_next_event_ns(made), UINT64_MAX);
		struct simulated_world *again = crash(seed % 2, SIMULATED_KEEP_DRAWN, seed);
		assert_int_equal(simulated_image(made), simulated_image(again)); /* a function of the seed */
		simulated_destroy(again);
		simulated_install(made); /* the lock did not survive */
		struct io *other;
		int other_lock;
		assert_ok(io_create("simulated", &(struct io_options) { 0 }, &other, NULL, 0));
		assert_ok(io_lock(other, "/d/lock", &other_lock));
		io_destroy(other);
		simulated_install(world);
		simulated_destroy(made);
	}
	assert_int_equal(simulated_image(world), image);
	assert_int_equal(simulated_trace(world), trace);
	assert_int_equal(simulated_now_ns(world), now);
	assert_int_equal(simulated_next_event_ns(world), next);
	wait_for(&request);
	expect_seen("/d/f", "aYZ");
	io_unlock(io, lock);
	close_file(file);
}

static void every_class_of_a_crash_occurs(void **state)
{
	(void)state;
	static const struct simulated_crash hows[] = {
		{ .kind = SIMULATED_POWER },
		{ .kind = SIMULATED_POWER, .ordered = true },
		{ .kind = SIMULATED_POWER, .garbage = true },
		{ .kind = SIMULATED_PROCESS },
	};
	struct io_file *file = settled_file("/d/f", "abcd");
	close_file(settled_file("/d/g", "e"));
	write_units(file, "XWX", 0);
	write_units(file, "YYYYY", 0);
	close_file(create_file("/d/h"));
	assert_ok(run(IO_MAKE_DIRECTORY, "/d/e"));
	struct io_request rename_it = { .operation = IO_RENAME, .path = "/d/h", .path_to = "/d/i" };
	assert_ok(io_execute(io, &rename_it));
	assert_ok(run(IO_UNLINK, "/d/g"));
	struct io_request request = write_request(file, letters("ZZ"), 2 * UNIT, 0);
	bool done;
	submit(&request, &done);
	(void)io_poll(io, 0);
	uint64_t counts[SIMULATED_CLASS_COUNT] = { 0 };
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct simulated_crash how = hows[seed % 4];
		how.seed = seed;
		struct simulated_world *image = simulated_crash(world, &how);
		for (unsigned i = 0; i < SIMULATED_CLASS_COUNT; i++)
			counts[i] += simulated_count(image, i);
		simulated_destroy(image);
	}
	for (unsigned i = SIMULATED_UNIT_OLD; i < SIMULATED_CLASS_COUNT; i++)
		if (counts[i] == 0)
			fail_msg("\"%s\" never occurred", simulated_class_name(i));
	wait_for(&request);
	close_file(file);
}

/* --- reads that meet writes --- */

static void a_read_meets_a_write(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "ab");
	struct images images = { 0 };
	for (unsigned round = 0; round < 400; round++) {
		write_units(file, "ab", 0);
		struct io_request writing = write_request(file, letters("XY"), 2 * UNIT, 0);
		char back[2 * UNIT];
		struct io_request reading = {
			.operation = IO_READ, .file = file, .buffer = back, .length = sizeof(back)
		};
		bool written;
		bool was_read;
		submit(&writing, &written);
		submit(&reading, &was_read);
		wait_for(&reading);
		char text[3] = { back[0], back[UNIT], '\0' };
		for (size_t i = 0; i < UNIT; i++)
			assert_true(back[i] == back[0] && back[UNIT + i] == back[UNIT]);
		if (written)
			assert_string_equal(text, "XY");
		add_image(&images, text);
		wait_for(&writing);
	}
	assert_int_equal(images.count, 4);
	assert_true(has_image(&images, "ab") && has_image(&images, "Xb") && has_image(&images, "aY") &&
		    has_image(&images, "XY"));
	assert_true(simulated_count(world, SIMULATED_READ_TORN) > 20);
	assert_true(simulated_count(world, SIMULATED_OVERTAKEN) > 20);
	close_file(file);
}

static void a_buffer_changed_under_way_is_noticed(void **state)
{
	(void)state;
	pid_t child = fork();
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		(void)!freopen("/dev/null", "w", stderr);
		struct io_file *file = create_file("/d/f");
		struct io_request request = write_request(file, memory, PAGE, 0);
		bool done;
		submit(&request, &done);
		(void)io_poll(io, 0);
		memory[100] ^= 1;
		while (!done)
			(void)io_poll(io, UINT64_MAX);
		_exit(0);
	}
	int result = 0;
	assert_int_equal(waitpid(child, &result, 0), child);
	assert_false(WIFEXITED(result) && WEXITSTATUS(result) == 0);
}

/* --- syncs that fail --- */

static void a_failed_sync_leaves_pages_clean(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "ab");
	write_units(file, "X", 0);
	assert_status(sync_with(file, SIMULATED_SYNC_CLEAN_NEW), STATUS_IO);
	expect_seen("/d/f", "Xb");
	sync_file(file); /* succeeds and means nothing for what was given up */
	EXPECT_IMAGES(POWER, f, "ab", "Xb");
	EXPECT_IMAGES(PROCESS, f, "Xb");
	write_units(file, "XY", 0); /* only writing it again helps */
	sync_file(file);
	EXPECT_IMAGES(POWER, f, "XY");
	assert_int_equal(simulated_count(world, SIMULATED_SYNC_FAILED), 1);
	close_file(file);
}

static void a_failed_sync_drops_pages(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "ab");
	write_units(file, "X", 0);
	write_units(file, "Y", 0);
	assert_status(sync_with(file, SIMULATED_SYNC_CLEAN_OLD), STATUS_IO);
	expect_seen("/d/f", "ab");
	sync_file(file);
	EXPECT_IMAGES(POWER, f, "ab");
	close_file(file);
}

static void a_failed_sync_is_reported_late(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "ab");
	write_units(file, "X", 0);
	assert_ok(sync_with(file, SIMULATED_SYNC_LATE));
	expect_seen("/d/f", "Xb");
	expect_durable("/d/f", "ab");
	assert_status(sync_with(file, 0), STATUS_IO);
	expect_durable("/d/f", "ab");
	sync_file(file);
	expect_durable("/d/f", "ab");
	close_file(file);
}

static void a_failed_sync_did_a_part(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "abcdefgh");
	unsigned durable = 0;
	for (unsigned round = 0; round < 20; round++) {
		write_units(file, "abcdefgh", 0);
		simulated_settle(world);
		write_units(file, "XXXXXXXX", 0);
		assert_status(sync_with(file, SIMULATED_SYNC_PARTLY), STATUS_IO);
		sync_file(file);
		struct simulated_world *image = crash(SIMULATED_POWER, SIMULATED_KEEP_NONE, 1);
		const char *text = units_of(image, "/d/f");
		for (unsigned i = 0; i < 8; i++)
			durable += text[i] == 'X';
		simulated_destroy(image);
	}
	assert_true(durable > 40 && durable < 120);
	close_file(file);
}

static void a_failed_sync_keeps_pages(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "ab");
	write_units(file, "X", 0);
	assert_status(sync_with(file, SIMULATED_SYNC_KEPT), STATUS_IO);
	assert_status(sync_with(file, SIMULATED_SYNC_KEPT), STATUS_IO);
	EXPECT_IMAGES(POWER, f, "ab", "Xb");
	sync_file(file);
	EXPECT_IMAGES(POWER, f, "Xb");
	close_file(file);
}

static void a_failed_durable_write(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "ab");
	struct io_request request = write_request(file, letters("X"), UNIT, 0);
	request.flags = IO_DURABLE | SIMULATED_SYNC_CLEAN_NEW;
	assert_status(io_execute(io, &request), STATUS_IO);
	expect_seen("/d/f", "Xb");
	sync_file(file);
	EXPECT_IMAGES(POWER, f, "ab", "Xb");
	request.flags = IO_DURABLE | SIMULATED_SYNC_CLEAN_OLD;
	request.offset = UNIT;
	assert_status(io_execute(io, &request), STATUS_IO);
	expect_seen("/d/f", "Xb");
	close_file(file);
}

static void a_failed_directory_sync(void **state)
{
	(void)state;
	close_file(create_file("/d/f"));
	struct io_request sync = { .operation = IO_SYNC_DIRECTORY, .path = "/d" };
	sync.flags = SIMULATED_SYNC_CLEAN_NEW;
	assert_status(io_execute(io, &sync), STATUS_IO);
	expect_seen("/d/f", "");
	sync_directory();
	EXPECT_IMAGES(POWER, f, "-", "");
	struct io_request rename_it = { .operation = IO_RENAME, .path = "/d/f", .path_to = "/d/g" };
	assert_ok(io_execute(io, &rename_it));
	sync_directory(); /* what stands on it takes it along */
	static const char *const names[] = { "/d/f", "/d/g", NULL };
	EXPECT_IMAGES(POWER, names, "- ");
	sync.flags = SIMULATED_SYNC_LATE;
	assert_ok(io_execute(io, &sync));
	sync.flags = 0;
	assert_status(io_execute(io, &sync), STATUS_IO);
	assert_ok(io_execute(io, &sync));
}

/* A replacement that a failed sync gave up does not come back over a later one that is durable. */
static void a_given_up_name_stays_superseded(void **state)
{
	(void)state;
	static const char *const texts[] = { "X", "Y" };
	struct io_request rename_it = { .operation = IO_RENAME, .path = "/d/new", .path_to = "/d/f" };
	struct io_request sync = { .operation = IO_SYNC_DIRECTORY, .path = "/d" };
	close_file(settled_file("/d/f", "a"));
	for (unsigned i = 0; i < 2; i++) {
		struct io_file *file = create_file("/d/new");
		write_units(file, texts[i], 0);
		sync_file(file);
		close_file(file);
		assert_ok(io_execute(io, &rename_it));
		if (i == 0) {
			sync.flags = SIMULATED_SYNC_CLEAN_NEW;
			assert_status(io_execute(io, &sync), STATUS_IO);
		}
	}
	static const char *const names[] = { "/d/new", "/d/f", NULL };
	sync_directory();
	EXPECT_IMAGES(POWER, names, "- Y");
}

/* --- room --- */

static void room_runs_out(void **state)
{
	(void)state;
	simulated_set_capacity(world, 4 * PAGE);
	struct io_file *file = open_file("/d/f", IO_OPEN_WRITE | IO_OPEN_CREATE);
	assert_true(file->direct);
	struct io_request request = write_request(file, memory, 3 * PAGE, 0);
	assert_ok(io_execute(io, &request));
	assert_int_equal(simulated_used_bytes(world), 3 * PAGE);
	request.offset = 2 * PAGE; /* one page of it is there, one finds room */
	assert_status(io_execute(io, &request), STATUS_NO_SPACE);
	assert_int_equal(request.transferred, 2 * PAGE);
	assert_true(io->counters.retries > 0);
	request.length = PAGE;
	request.offset = 4 * PAGE;
	assert_status(io_execute(io, &request), STATUS_NO_SPACE);
	assert_int_equal(request.transferred, 0);
	request.offset = 0; /* over what is there: always */
	assert_ok(io_execute(io, &request));
	struct io_request allocate = { .operation = IO_ALLOCATE, .file = file, .length = 5 * PAGE };
	assert_status(io_execute(io, &allocate), STATUS_NO_SPACE);
	assert_int_equal(file->size_at_open, 0);
	assert_int_equal(simulated_count(world, SIMULATED_NO_ROOM), 4);

	assert_ok(run(IO_UNLINK, "/d/f"));
	assert_int_equal(simulated_used_bytes(world), 4 * PAGE); /* still open */
	close_file(file);
	assert_int_equal(simulated_used_bytes(world), 0);
	struct simulated_world *image = crash(SIMULATED_POWER, SIMULATED_KEEP_ALL, 1);
	assert_int_equal(simulated_used_bytes(image), 0);
	simulated_destroy(image);
}

static void a_read_only_file_takes_no_write(void **state)
{
	(void)state;
	close_file(settled_file("/d/f", "ab"));
	struct io_file *file = open_file("/d/f", IO_OPEN_BUFFERED);
	assert_int_equal(file->size_at_open, 2 * UNIT);
	struct io_request request = write_request(file, memory, 10, 0);
	assert_status(io_execute(io, &request), STATUS_IO);
	struct io_request allocate = { .operation = IO_ALLOCATE, .file = file, .length = PAGE };
	assert_status(io_execute(io, &allocate), STATUS_IO);
	expect_seen("/d/f", "ab");
	close_file(file);
}

/* --- time --- */

static void waiting_moves_the_clock(void **state)
{
	(void)state;
	assert_int_equal(simulated_next_event_ns(world), UINT64_MAX);
	assert_false(simulated_advance(world));
	uint64_t start = simulated_now_ns(world);
	uint64_t seen = clock_now_ns();
	assert_true(seen >= start);
	assert_true(clock_now_ns() > seen); /* so that nobody can wait for it without end */
	clock_sleep_ns(1000000);
	assert_true(simulated_now_ns(world) >= start + 1000000);
	start = simulated_now_ns(world);
	assert_int_equal(io_poll(io, 5000000), 0);
	assert_in_range(simulated_now_ns(world), start + 5000000, start + 5100000);

	struct io_request request = { .operation = IO_SYNC_DIRECTORY, .path = "/d" };
	bool done;
	submit(&request, &done);
	assert_true(simulated_is_ready(io));
	assert_int_equal(io_poll(io, 0), 0);
	assert_false(simulated_is_ready(io));
	uint64_t due = simulated_next_event_ns(world);
	assert_true(due > simulated_now_ns(world));
	assert_int_equal(io_poll(io, 0), 0);
	assert_true(simulated_advance(world));
	assert_int_equal(simulated_now_ns(world), due);
	assert_true(simulated_is_ready(io));
	assert_false(done);
	assert_int_equal(io_poll(io, 0), 1);
	assert_true(done);
	assert_int_equal(simulated_next_event_ns(world), UINT64_MAX);

	submit(&request, &done);
	(void)io_poll(io, 0);
	simulated_advance_to(world, simulated_next_event_ns(world) - 1);
	assert_false(simulated_is_ready(io));
	simulated_advance_to(world, simulated_next_event_ns(world) + 1000);
	assert_true(simulated_is_ready(io));
	assert_int_equal(io_poll(io, 0), 1);
}

static void alarms_ring(void **state)
{
	(void)state;
	uint64_t start = simulated_now_ns(world);
	simulated_alarm(io, start + 7000000);
	simulated_alarm(io, start + 3000000);
	assert_int_equal(simulated_next_event_ns(world), start + 3000000);
	assert_int_equal(io_poll(io, UINT64_MAX), 0);
	assert_int_equal(simulated_now_ns(world), start + 3000000);
	assert_int_equal(io_poll(io, UINT64_MAX), 0);
	assert_int_equal(simulated_now_ns(world), start + 7000000);
	simulated_alarm(io, start + 9000000); /* goes with the instance */
}

static void several_instances_share_a_world(void **state)
{
	(void)state;
	struct io *other;
	assert_ok(io_create("simulated", &(struct io_options) { 0 }, &other, NULL, 0));
	struct io_file *file = settled_file("/d/f", "a");
	struct io_request request = write_request(file, letters("X"), UNIT, 0);
	bool done;
	submit(&request, &done);
	(void)io_poll(io, 0);
	/* The other's wait carries the world past our completion, which still waits for our own poll. */
	assert_int_equal(io_poll(other, 100000000), 0);
	expect_seen("/d/f", "X");
	assert_false(done);
	assert_int_equal(io_poll(io, 0), 1);
	assert_true(done);
	int lock;
	int second;
	assert_ok(io_lock(other, "/d/lock", &lock));
	assert_status(io_lock(io, "/d/lock", &second), STATUS_LOCKED);
	io_unlock(other, lock);
	close_file(file);
	io_destroy(other);
}

/* --- determinism --- */

struct history {
	uint64_t trace;
	uint64_t image;
	uint64_t end_ns;
	uint64_t crashes;
	uint64_t events;
};

enum { ACTORS = 3, ACTOR_STEPS = 200 };

/* Writes, syncs, reads and renames without waiting for anybody else. */
struct actor {
	struct io *io;
	struct io_request request;
	struct random random;
	struct io_file *file;
	char name[32];
	unsigned steps;
	bool busy;
	_Alignas(PAGE) char buffer[2 * PAGE];
};

static void actor_done(struct io_request *request)
{
	struct actor *actor = request->context;
	if (request->opened != NULL)
		actor->file = request->opened;
	actor->busy = false;
}

static void actor_step(struct actor *actor)
{
	uint64_t drawn = random_below(&actor->random, 10);
	actor->request = (struct io_request) {
		.complete = actor_done,
		.context = actor,
		.file = actor->file,
		.buffer = actor->buffer,
		.length = (1 + random_below(&actor->random, 2)) * PAGE,
		.offset = random_below(&actor->random, 4) * PAGE,
		.path = actor->name,
		.operation = drawn < 5	 ? IO_WRITE
			     : drawn < 7 ? IO_READ
			     : drawn < 9 ? IO_SYNC
					 : IO_SYNC_DIRECTORY,
	};
	if (actor->file == NULL) {
		actor->request.operation = IO_OPEN;
		actor->request.flags = IO_OPEN_WRITE | IO_OPEN_CREATE;
	} else if (actor->steps == ACTOR_STEPS) {
		actor->request.operation = IO_CLOSE;
	} else if (actor->request.operation == IO_SYNC_DIRECTORY) {
		actor->request.path = "/d";
	} else if (actor->request.operation == IO_WRITE) {
		memset(actor->buffer, (int)(1 + actor->steps % 255), sizeof(actor->buffer));
	}
	actor->busy = true;
	actor->steps++;
	io_submit(actor->io, &actor->request);
}

static void note_event(void *context, const struct simulated_event *event)
{
	struct history *history = context;
	history->events++;
	assert_int_equal(event->number, history->events);
	if (event->number % 37 != 0)
		return;
	struct simulated_crash how = { .seed = event->number, .kind = event->number % 2 };
	struct simulated_world *image = simulated_crash(world, &how);
	history->crashes = hash_mix(history->crashes ^ simulated_image(image));
	simulated_destroy(image);
}

/* As a scheduler of shards on one thread would drive them. */
static struct history run_history(uint64_t seed)
{
	static struct actor actors[ACTORS];
	struct history history = { 0 };
	world = simulated_create(&(struct simulated_options) { .seed = seed, .stalls_in_million = 20000 });
	simulated_install(world);
	simulated_make_path(world, "/d");
	simulated_observe(world, note_event, &history);
	for (unsigned i = 0; i < ACTORS; i++) {
		memset(&actors[i], 0, sizeof(actors[i]));
		actors[i].random = random_stream(seed + i);
		(void)snprintf(actors[i].name, sizeof(actors[i].name), "/d/actor-%u", i);
		assert_ok(io_create("simulated", &(struct io_options) { .direct = true }, &actors[i].io, NULL,
				    0));
	}
	for (;;) {
		bool all_done = true;
		for (unsigned i = 0; i < ACTORS; i++) {
			(void)io_poll(actors[i].io, 0);
			if (!actors[i].busy && actors[i].steps <= ACTOR_STEPS) {
				actor_step(&actors[i]);
				(void)io_poll(actors[i].io, 0);
			}
			all_done &= !actors[i].busy && actors[i].steps > ACTOR_STEPS;
		}
		if (all_done)
			break;
		(void)simulated_advance(world);
	}
	history.trace = simulated_trace(world);
	history.image = simulated_image(world);
	history.end_ns = simulated_now_ns(world);
	assert_true(simulated_count(world, SIMULATED_STALLED) > 0);
	assert_true(simulated_count(world, SIMULATED_OVERTAKEN) > 0);
	for (unsigned i = 0; i < ACTORS; i++)
		io_destroy(actors[i].io);
	simulated_destroy(world);
	return history;
}

static void the_same_seed_gives_the_same_run(void **state)
{
	(void)state;
	for (uint64_t seed = test_seed(SEED); seed < test_seed(SEED) + 5; seed++) {
		struct history first = run_history(seed);
		struct history second = run_history(seed);
		assert_true(first.events > 2 * ACTORS * ACTOR_STEPS);
		assert_memory_equal(&first, &second, sizeof(first));
		struct history other = run_history(seed + 1000);
		assert_int_not_equal(first.trace, other.trace);
		assert_int_not_equal(first.end_ns, other.end_ns);
		assert_int_not_equal(first.crashes, other.crashes);
	}
}

struct first_name {
	char text[8];
};

static void note_first(void *context, const char *name)
{
	struct first_name *first = context;
	if (first->text[0] == '\0')
		(void)snprintf(first->text, sizeof(first->text), "%s", name);
}

static void lists_have_no_order(void **state)
{
	(void)state;
	static const char *const paths[] = { "/d/a", "/d/b", "/d/c" };
	for (unsigned i = 0; i < 3; i++)
		close_file(create_file(paths[i]));
	struct images firsts = { 0 };
	for (unsigned round = 0; round < 100; round++) {
		struct first_name first = { "" };
		assert_ok(io_list(io, "/d", note_first, &first));
		add_image(&firsts, first.text);
	}
	assert_int_equal(firsts.count, 3);
}

/* --- against a model: one file, one request at a time --- */

enum { MODEL_UNITS = 6, MODEL_STEPS = 60 };

struct model {
	unsigned allowed[MODEL_UNITS]; /* bit v: a crash may leave value v there */
	char seen[MODEL_UNITS];
};

static void check_model(const struct model *model, uint64_t seed)
{
	struct simulated_world *image = crash(SIMULATED_POWER, SIMULATED_KEEP_DRAWN, seed);
	const char *text = units_of(image, "/d/f");
	for (unsigned i = 0; i < MODEL_UNITS; i++)
		if ((model->allowed[i] >> (text[i] - 'a') & 1) == 0)
			fail_msg("seed %llu: unit %u holds %c", (unsigned long long)seed, i, text[i]);
	simulated_destroy(image);
	image = crash(SIMULATED_PROCESS, SIMULATED_KEEP_DRAWN, seed);
	assert_memory_equal(units_of(image, "/d/f"), model->seen, MODEL_UNITS);
	simulated_destroy(image);
}

static void contents_follow_a_model(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(SEED));
	for (unsigned round = 0; round < 40; round++) {
		struct io_file *file = settled_file("/d/f", "aaaaaa");
		struct model model;
		for (unsigned i = 0; i < MODEL_UNITS; i++) {
			model.allowed[i] = 1;
			model.seen[i] = 'a';
		}
		for (unsigned step = 0; step < MODEL_STEPS; step++) {
			uint64_t drawn = random_below(&random, 8);
			unsigned from = (unsigned)random_below(&random, MODEL_UNITS);
			unsigned until = from + 1 + (unsigned)random_below(&random, MODEL_UNITS - from);
			char text[MODEL_UNITS + 1] = "";
			char letter = (char)('b' + random_below(&random, 20));
			memset(text, letter, until - from);
			struct io_request request =
				write_request(file, letters(text), (until - from) * UNIT, from * UNIT);
			request.flags = drawn == 0 ? IO_DURABLE : 0;
			if (drawn == 1) {
				sync_file(file);
				from = 0;
				until = MODEL_UNITS;
			} else {
				assert_ok(io_execute(io, &request));
			}
			for (unsigned i = from; i < until; i++) {
				model.seen[i] = drawn == 1 ? model.seen[i] : letter;
				unsigned bit = 1u << (model.seen[i] - 'a');
				model.allowed[i] = drawn <= 1 ? bit : model.allowed[i] | bit;
			}
			check_model(&model, random_next(&random));
		}
		close_file(file);
		assert_ok(run(IO_UNLINK, "/d/f"));
	}
}

/* --- from outside --- */

static void note_file(void *context, const char *path, uint64_t size)
{
	char *text = context;
	(void)snprintf(text + strlen(text), 64, "%s=%llu ", path, (unsigned long long)size);
}

static void files_are_listed_and_damaged(void **state)
{
	(void)state;
	close_file(settled_file("/d/g", "ab"));
	struct io_file *file = settled_file("/d/f", "abc");
	simulated_make_path(world, "/d/e/e");
	char text[256] = "";
	simulated_list_files(world, note_file, text);
	assert_string_equal(text, "/d/f=1536 /d/g=1024 ");
	uint64_t size;
	assert_true(simulated_size(world, "/d/f", &size) && size == 3 * UNIT);
	assert_false(simulated_size(world, "/d/e", &size));

	write_units(file, "X", 1);
	uint64_t image = simulated_image(world);
	assert_true(simulated_damage(world, "/d/f", UNIT - 1, "??", 2));
	assert_int_not_equal(simulated_image(world), image);
	EXPECT_IMAGES(POWER, f, "??c"); /* pending and durable contents alike: both are spoilt */
	assert_true(simulated_damage(world, "/d/f", UNIT - 1, "a", 1));
	assert_true(simulated_damage(world, "/d/f", UNIT, "X", 1));
	assert_int_equal(simulated_image(world), image);
	assert_false(simulated_damage(world, "/d/f", 3 * UNIT, "?", 1));
	assert_false(simulated_damage(world, "/d/h", 0, "?", 1));
	close_file(file);
}

static void a_world_becomes_real_files(void **state)
{
	(void)state;
	struct io_file *file = settled_file("/d/f", "abc");
	write_units(file, "X", 6);
	close_file(file);
	simulated_make_path(world, "/d/e");
	close_file(create_file("/d/e/empty"));
	char root[] = "/tmp/simulated_test.XXXXXX";
	assert_non_null(mkdtemp(root));
	assert_ok(simulated_export(world, "/d", root));
	char path[64];
	(void)snprintf(path, sizeof(path), "%s/f", root);
	FILE *stream = fopen(path, "rb");
	assert_non_null(stream);
	char bytes[8 * UNIT];
	char expected[7 * UNIT];
	size_t got;
	assert_int_equal(fread(bytes, 1, sizeof(bytes), stream), 7 * UNIT);
	(void)fclose(stream);
	assert_true(simulated_read(world, "/d/f", 0, expected, sizeof(expected), &got));
	assert_memory_equal(bytes, expected, sizeof(expected));
	assert_int_equal(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/e/empty", root);
	assert_int_equal(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/e", root);
	assert_int_equal(rmdir(path), 0);
	assert_status(simulated_export(world, "/nowhere", root), STATUS_NOT_FOUND);
	assert_int_equal(rmdir(root), 0);
	assert_false(status_is_ok(simulated_export(world, "/d", root)));
}

static void no_world_no_instance(void **state)
{
	(void)state;
	struct io *made;
	simulated_install(NULL);
	assert_status(io_create("simulated", &(struct io_options) { 0 }, &made, NULL, 0), STATUS_NOT_FOUND);
	uint64_t real = clock_wall_ns();
	assert_true(real > UINT64_C(1600000000000000000)); /* the machine's clock again */
	simulated_install(world);
	assert_true(clock_wall_ns() < real);
	uint64_t first = random_entropy();
	assert_int_not_equal(random_entropy(), first);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(only_a_sync_makes_a_write_durable),
		CASE(a_sync_covers_one_file),
		CASE(a_sync_covers_what_completed_before_it_was_submitted),
		CASE(a_durable_write_makes_itself_durable),
		CASE(a_size_is_durable_by_a_sync),
		CASE(pieces_of_units_are_whole_units_at_a_crash),
		CASE(a_creation_is_durable_by_its_directory),
		CASE(a_rename_is_durable_by_its_directory),
		CASE(an_unlink_is_durable_by_its_directory),
		CASE(a_directory_is_durable_by_its_parent),
		CASE(a_directory_sync_covers_what_completed_before_it),
		CASE(a_rename_between_directories_is_one_step),
		CASE(images_of_one_write),
		CASE(images_of_two_writes),
		CASE(images_of_two_files),
		CASE(images_of_a_growing_file),
		CASE(bytes_beyond_a_lost_size_do_not_come_back),
		CASE(images_of_a_write_under_way),
		CASE(images_of_units_of_a_page),
		CASE(images_of_names),
		CASE(images_of_a_replacement),
		CASE(images_of_a_careless_replacement),
		CASE(garbage_only_where_something_is_under_way),
		CASE(a_killed_process_leaves_it_pending),
		CASE(a_crash_leaves_the_world_alone),
		CASE(every_class_of_a_crash_occurs),
		CASE(a_read_meets_a_write),
		CASE(a_buffer_changed_under_way_is_noticed),
		CASE(a_failed_sync_leaves_pages_clean),
		CASE(a_failed_sync_drops_pages),
		CASE(a_failed_sync_is_reported_late),
		CASE(a_failed_sync_did_a_part),
		CASE(a_failed_sync_keeps_pages),
		CASE(a_failed_durable_write),
		CASE(a_failed_directory_sync),
		CASE(a_given_up_name_stays_superseded),
		CASE(room_runs_out),
		CASE(a_read_only_file_takes_no_write),
		CASE(waiting_moves_the_clock),
		CASE(alarms_ring),
		CASE(several_instances_share_a_world),
		cmocka_unit_test(the_same_seed_gives_the_same_run),
		CASE(lists_have_no_order),
		CASE(contents_follow_a_model),
		CASE(files_are_listed_and_damaged),
		CASE(a_world_becomes_real_files),
		CASE(no_world_no_instance),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
