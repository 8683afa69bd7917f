/*
 * simulated_choose_test.c: crashes whose every choice the caller makes: gone through one after the other they
 * are all those that seeds can bring about, and no others; what makes no difference is not asked.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "io/io.h"
#include "io/simulated.h"

enum {
	UNIT = 512,
	PAGE = IO_PAGE_BYTES,
	DEPTH_MAX = 32,
	IMAGES_MAX = 8192,
	SEEDS = 60000,
	UNITS_MAX = 8,
};

#define SEED 20250712

static struct simulated_world *world;
static struct io *io;
static _Alignas(PAGE) char buffers[8][UNITS_MAX * UNIT];
static unsigned buffer_count;

static int set_up(void **state)
{
	(void)state;
	world = simulated_create(&(struct simulated_options) { .seed = test_seed(SEED) });
	simulated_install(world);
	simulated_make_path(world, "/d");
	buffer_count = 0;
	assert_ok(io_create("simulated", &(struct io_options) { .direct = true }, &io, NULL, 0));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	io_destroy(io);
	simulated_destroy(world);
	return 0;
}

/* --- requests --- */

static struct io_file *create(const char *path)
{
	struct io_request request = { .operation = IO_OPEN,
				      .path = path,
				      .flags = IO_OPEN_WRITE | IO_OPEN_BUFFERED | IO_OPEN_CREATE };
	assert_ok(io_execute(io, &request));
	return request.opened;
}

static void close_file(struct io_file *file)
{
	struct io_request request = { .operation = IO_CLOSE, .file = file };
	assert_ok(io_execute(io, &request));
}

/* Units of one letter each. */
static struct io_request write_of(struct io_file *file, const char *letters, uint64_t unit)
{
	char *buffer = buffers[buffer_count++];
	for (size_t i = 0; letters[i] != '\0'; i++)
		memset(buffer + i * UNIT, letters[i], UNIT);
	return (struct io_request) { .operation = IO_WRITE,
				     .file = file,
				     .buffer = buffer,
				     .length = strlen(letters) * UNIT,
				     .offset = unit * UNIT };
}

static void write_units(struct io_file *file, const char *letters, uint64_t unit)
{
	struct io_request request = write_of(file, letters, unit);
	assert_ok(io_execute(io, &request));
}

/* Under way until the test ends it. */
static void enter(struct io_request *request)
{
	io_submit(io, request);
	(void)io_poll(io, 0);
}

static void end_all(void)
{
	while (io->in_flight > 0)
		(void)io_poll(io, UINT64_MAX);
}

/* --- all answers, one sequence after the other --- */

struct answers {
	uint32_t counts[DEPTH_MAX], taken[DEPTH_MAX];
	unsigned depth, at;
};

static uint32_t answer(void *context, uint32_t count)
{
	struct answers *answers = context;
	assert_true(count >= 2);
	assert_true(answers->at < DEPTH_MAX);
	unsigned at = answers->at++;
	if (at == answers->depth)
		answers->taken[answers->depth++] = 0;
	answers->counts[at] = count;
	return answers->taken[at];
}

static bool next(struct answers *answers)
{
	answers->depth = answers->at;
	answers->at = 0;
	while (answers->depth > 0 &&
	       answers->taken[answers->depth - 1] + 1 == answers->counts[answers->depth - 1])
		answers->depth--;
	if (answers->depth > 0)
		answers->taken[answers->depth - 1]++;
	return answers->depth > 0;
}

/* --- sets of images --- */

struct images {
	uint64_t hashes[IMAGES_MAX];
	unsigned count, taken; /* different ones; all */
};

static void add_image(struct images *images, const struct simulated_crash *crash)
{
	struct simulated_world *image = simulated_crash(world, crash);
	uint64_t hash = simulated_image(image);
	simulated_destroy(image);
	images->taken++;
	for (unsigned i = 0; i < images->count; i++)
		if (images->hashes[i] == hash)
			return;
	assert_true(images->count < IMAGES_MAX);
	images->hashes[images->count++] = hash;
}

static void go_through(struct images *images, enum simulated_crash_kind kind)
{
	struct answers answers = { .depth = 0 };
	struct simulated_crash crash = { .kind = kind, .choose = answer, .context = &answers };
	*images = (struct images) { .count = 0 };
	do {
		assert_true(images->taken < IMAGES_MAX);
		add_image(images, &crash);
	} while (next(&answers));
}

static bool contains(const struct images *images, uint64_t hash)
{
	for (unsigned i = 0; i < images->count; i++)
		if (images->hashes[i] == hash)
			return true;
	return false;
}

static void check_as_by_seeds(const struct images *chosen, enum simulated_crash_kind kind)
{
	static struct images drawn;
	drawn = (struct images) { .count = 0 };
	for (unsigned i = 0; i < SEEDS && drawn.count < chosen->count; i++)
		add_image(&drawn, &(struct simulated_crash) { .kind = kind, .seed = test_seed(SEED) + i });
	assert_int_equal(drawn.count, chosen->count);
	for (unsigned i = 0; i < drawn.count; i++)
		assert_true(contains(chosen, drawn.hashes[i]));
}

/* --- the tests --- */

static void nothing_pending_is_one_image(void **state)
{
	(void)state;
	static struct images images;
	struct io_file *file = create("/d/a");
	write_units(file, "abc", 0);
	simulated_settle(world);
	write_units(file, "b", 1); /* what is there already */
	go_through(&images, SIMULATED_PROCESS);
	assert_int_equal(images.taken, 1);
	go_through(&images, SIMULATED_POWER);
	assert_int_equal(images.taken, 1);
	close_file(file);
}

static void a_loss_of_power_leaves_any_subset(void **state)
{
	(void)state;
	static struct images images;
	struct io_file *file = create("/d/a");
	write_units(file, "abc", 0);
	simulated_settle(world);
	/* Three contents of the first unit, two of the second, and a fourth that makes the file longer. */
	write_units(file, "AB", 0);
	write_units(file, "x", 0);
	write_units(file, "d", 3);
	go_through(&images, SIMULATED_POWER);
	assert_int_equal(images.taken, 3 * 2 * 2 * 2);
	/* Without its size nothing is seen of the fourth unit. */
	assert_int_equal(images.count, 3 * 2 * 3);
	check_as_by_seeds(&images, SIMULATED_POWER);
	go_through(&images, SIMULATED_PROCESS);
	assert_int_equal(images.taken, 1);
	/* Names, each by itself. */
	struct io_file *other = create("/d/b");
	struct io_request request = { .operation = IO_RENAME, .path = "/d/a", .path_to = "/d/c" };
	assert_ok(io_execute(io, &request));
	go_through(&images, SIMULATED_POWER);
	assert_int_equal(images.taken, 24 * 2 * 2);
	check_as_by_seeds(&images, SIMULATED_POWER);
	close_file(other);
	close_file(file);
}

static void what_is_under_way_is_torn_in_every_way(void **state)
{
	(void)state;
	static struct images images;
	struct io_file *file = create("/d/a");
	write_units(file, "abcd", 0);
	simulated_settle(world);
	struct io_request requests[] = {
		write_of(file, "ABcDE", 0), /* the third unit is the same, the last one is new */
		{ .operation = IO_UNLINK, .path = "/d/a" },
		{ .operation = IO_SYNC, .file = file },
	};
	for (unsigned i = 0; i < 3; i++)
		enter(&requests[i]);
	go_through(&images, SIMULATED_PROCESS);
	assert_int_equal(images.taken, 2 * 2 * 2 * 2 * 2 * 2);
	/* Whole, or the name is gone. */
	assert_int_equal(images.count, 2 * 2 * 2 * 3 + 1);
	check_as_by_seeds(&images, SIMULATED_PROCESS);
	go_through(&images, SIMULATED_POWER);
	assert_int_equal(images.count, 2 * 2 * 2 * 3 + 1);
	check_as_by_seeds(&images, SIMULATED_POWER);
	end_all();
	close_file(file);
}

/* The seeds' images are what they were: with a function that always takes the newest, or the oldest. */
static uint32_t newest(void *context, uint32_t count)
{
	(void)context;
	return count - 1;
}

static uint32_t oldest(void *context, uint32_t count)
{
	(void)context;
	(void)count;
	return 0;
}

static void the_extremes_are_those_of_keep(void **state)
{
	(void)state;
	struct io_file *file = create("/d/a");
	write_units(file, "abcd", 0);
	simulated_settle(world);
	write_units(file, "ABCDE", 0);
	struct io_request request = write_of(file, "xyz", 1);
	enter(&request);
	for (unsigned kind = SIMULATED_POWER; kind <= SIMULATED_PROCESS; kind++) {
		for (unsigned all = 0; all < 2; all++) {
			struct simulated_crash chosen = { .kind = (enum simulated_crash_kind)kind,
							  .choose = all != 0 ? newest : oldest };
			struct simulated_crash kept = { .kind = (enum simulated_crash_kind)kind,
							.keep = all != 0 ? SIMULATED_KEEP_ALL
									 : SIMULATED_KEEP_NONE };
			struct simulated_world *a = simulated_crash(world, &chosen);
			struct simulated_world *b = simulated_crash(world, &kept);
			assert_true(simulated_image(a) == simulated_image(b));
			simulated_destroy(a);
			simulated_destroy(b);
		}
	}
	end_all();
	close_file(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_pending_is_one_image, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_loss_of_power_leaves_any_subset, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_under_way_is_torn_in_every_way, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_extremes_are_those_of_keep, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
