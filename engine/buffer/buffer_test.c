/*
 * The buffer pool: what is found, loaded once, evicted, waited for and given back. Takes about 2 s.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check_or_abort.h"

#include "base/memory.h"
#include "buffer/buffer.h"
#include "runtime/runtime.h"
#include "runtime/shard.h"

enum { PAGE = IO_PAGE_BYTES, FILE_PAGES = 512, SMALL_POOL = 64 * PAGE };

static char directory[64];
static char file_path[128];

/* Byte `offset` of the test file: every page differs from every other. */
static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(random_at(offset / PAGE, offset % PAGE / 8) >> (offset % 8 * 8));
}

static bool bytes_are(const struct buffer_view *view, uint64_t offset)
{
	for (size_t i = 0; i < view->size; i++) {
		if (view->data[i] != byte_at(offset + i))
			return false;
	}
	return true;
}

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(directory, sizeof(directory), "/tmp/buffer_test.XXXXXX");
	if (mkdtemp(directory) == NULL)
		return -1;
	(void)snprintf(file_path, sizeof(file_path), "%s/file", directory);
	FILE *file = fopen(file_path, "wb");
	static uint8_t page[PAGE];
	for (uint64_t i = 0; i < FILE_PAGES; i++) {
		for (uint64_t j = 0; j < PAGE; j++)
			page[j] = byte_at(i * PAGE + j);
		/* The last page is not whole. */
		if (fwrite(page, 1, i + 1 < FILE_PAGES ? PAGE : 100, file) == 0)
			return -1;
	}
	return fclose(file);
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(file_path);
	return rmdir(directory);
}

/* --- one shard, one pool, one file --- */

struct world {
	struct task *self;
	struct buffer_pool *pool;
	struct buffer_file file;
	uint64_t bytes;
	void (*body)(struct world *world);
};

static void open_world(struct task *self, struct world *world)
{
	world->self = self;
	struct buffer_pool_options options = {
		.bytes = world->bytes,
		.strategy = (const struct cache_ops *)(const void *)component_find(COMPONENT_CACHE, "clock"),
	};
	CHECK_OK(buffer_pool_create(task_shard(self), &options, &world->pool));
	struct io_request request = { .operation = IO_OPEN, .path = file_path };
	CHECK_OK(task_io(self, &request));
	world->file = (struct buffer_file) { .file = request.opened, .id = 7, .path = file_path };
}

static void close_world(struct world *world)
{
	buffer_drain(world->self, world->pool, world->file.id);
	buffer_forget(world->pool, world->file.id);
	CHECK(buffer_counters(world->pool)->frames_used == 0);
	CHECK(buffer_counters(world->pool)->frames_pinned == 0);
	buffer_pool_destroy(world->pool);
	struct io_request request = { .operation = IO_CLOSE, .file = world->file.file };
	CHECK_OK(task_io(world->self, &request));
}

static void world_task(struct task *self, void *argument)
{
	struct world *world = argument;
	open_world(self, world);
	world->body(world);
	close_world(world);
}

static void run_with(const char *backend, uint64_t bytes, void (*body)(struct world *world))
{
	struct runtime_options options = { .shards = 1, .io_backend = backend, .io = { .direct = true } };
	struct runtime *runtime;
	char notice[200];
	assert_ok(runtime_create(&options, &runtime, notice, sizeof(notice)));
	struct world world = { .bytes = bytes, .body = body };
	runtime_run(runtime, 0, world_task, &world);
	runtime_destroy(runtime);
}

static void run(uint64_t bytes, void (*body)(struct world *world))
{
	run_with("posix", bytes, body);
	run_with("uring", bytes, body);
}

static void must_view(struct world *world, uint64_t offset, size_t size, struct buffer_view *view)
{
	CHECK_OK(buffer_view(world->self, world->pool, &world->file, offset, size, view));
	CHECK(view->size == size);
	CHECK(bytes_are(view, offset));
}

/* --- hits and misses --- */

static void hits_and_misses(struct world *world)
{
	const struct buffer_counters *counters = buffer_counters(world->pool);
	struct buffer_view view;
	CHECK(!buffer_try_view(world->pool, &world->file, 5 * PAGE, 10, &view));
	must_view(world, 5 * PAGE + 100, 200, &view);
	CHECK(counters->misses == 1 && counters->hits == 0 && counters->loads == 1);
	CHECK(counters->frames_used == 1 && counters->frames_pinned == 1);
	CHECK(*view.marks == 0);
	*view.marks = 42;
	struct buffer_view again;
	CHECK(buffer_try_view(world->pool, &world->file, 5 * PAGE, PAGE, &again));
	CHECK(bytes_are(&again, 5 * PAGE) && *again.marks == 42);
	CHECK(counters->hits == 1 && counters->frames_pinned == 1);
	buffer_release(world->pool, &view);
	buffer_release(world->pool, &view);
	CHECK(counters->frames_pinned == 1);
	buffer_release(world->pool, &again);
	CHECK(counters->frames_pinned == 0);
	must_view(world, 5 * PAGE, 1, &view);
	CHECK(counters->hits == 2 && counters->misses == 1);
	buffer_release(world->pool, &view);
	struct buffer_view zeroed = { 0 };
	buffer_release(world->pool, &zeroed);
	/* Another file's page of the same number is another page. */
	struct buffer_file other = world->file;
	other.id = 8;
	CHECK(!buffer_try_view(world->pool, &other, 5 * PAGE, 1, &view));
}

static void test_hits_and_misses(void **state)
{
	(void)state;
	run(SMALL_POOL, hits_and_misses);
}

/* --- views over several pages --- */

static void long_views(struct world *world)
{
	const struct buffer_counters *counters = buffer_counters(world->pool);
	struct buffer_view one;
	struct buffer_view view;
	must_view(world, 2 * PAGE, 1, &one); /* in the midst of the next view */
	must_view(world, PAGE - 1, 4 * PAGE, &view);
	CHECK(view.marks == NULL && view.frame == CACHE_NO_FRAME);
	/* Pages 0, 1 and 3, 4 were missing: two runs, two requests. */
	CHECK(counters->loads == 3 && counters->misses == 6 - 1 && counters->hits == 1);
	CHECK(counters->frames_pinned == 1 && counters->slot_bytes > 0);
	buffer_release(world->pool, &view);
	buffer_release(world->pool, &one);
	CHECK(buffer_try_view(world->pool, &world->file, 100, 4 * PAGE, &view));
	CHECK(bytes_are(&view, 100));
	buffer_release(world->pool, &view);
	/* The most pages that go through the pool, and one more, which does not. */
	uint64_t used = counters->frames_used;
	must_view(world, 100 * PAGE, BUFFER_POOLED_PAGES * PAGE, &view);
	CHECK(counters->frames_used == used + BUFFER_POOLED_PAGES);
	buffer_release(world->pool, &view);
	used = counters->frames_used;
	must_view(world, 200 * PAGE + 9, BUFFER_POOLED_PAGES * PAGE, &view);
	CHECK(counters->frames_used == used);
	buffer_release(world->pool, &view);
	CHECK(!buffer_try_view(world->pool, &world->file, 200 * PAGE + 9, BUFFER_POOLED_PAGES * PAGE, &view));
	must_view(world, 3, 1 << 20, &view);
	uint8_t *bytes;
	struct buffer_view slot;
	CHECK_OK(buffer_slot(world->pool, 3 << 20, &slot, &bytes));
	memset(bytes, 1, 3 << 20);
	buffer_release(world->pool, &slot);
	buffer_release(world->pool, &view);
	/* Idle slots stay within a 64th of the pool. */
	CHECK(counters->slot_bytes <= SMALL_POOL / 64);
	CHECK(counters->slot_bytes_peak >= 4 << 20);
}

static void test_long_views(void **state)
{
	(void)state;
	run(SMALL_POOL, long_views);
}

static void random_views(struct world *world)
{
	struct random random = random_stream(test_seed(11));
	struct buffer_view held[8] = { 0 };
	uint64_t offsets[8] = { 0 };
	for (int i = 0; i < 3000; i++) {
		uint32_t slot = (uint32_t)random_below(&random, 8);
		if (held[slot].data != NULL)
			CHECK(bytes_are(&held[slot], offsets[slot]));
		buffer_release(world->pool, &held[slot]);
		size_t size =
			(size_t)random_below(&random, random_below(&random, 20) == 0 ? 40000 : 3000) + 1;
		offsets[slot] = random_below(&random, (FILE_PAGES - 1) * PAGE - size);
		if (random_below(&random, 4) == 0)
			buffer_prefetch(world->pool, &world->file, offsets[slot], size * 4);
		if (!buffer_try_view(world->pool, &world->file, offsets[slot], size, &held[slot]))
			must_view(world, offsets[slot], size, &held[slot]);
	}
	CHECK(buffer_counters(world->pool)->evictions > 1000);
	for (int i = 0; i < 8; i++)
		buffer_release(world->pool, &held[i]);
}

static void test_random_views(void **state)
{
	(void)state;
	run(SMALL_POOL, random_views);
}

/* --- many tasks --- */

struct reader {
	struct world *world;
	uint64_t offset;
	size_t size;
	uint32_t holds; /* yields while it holds the view */
	struct status status;
};

static void reader_run(struct task *self, void *argument)
{
	struct reader *reader = argument;
	struct world *world = reader->world;
	struct buffer_view view;
	reader->status = buffer_view(self, world->pool, &world->file, reader->offset, reader->size, &view);
	if (!status_is_ok(reader->status))
		return;
	for (uint32_t i = 0; i < reader->holds; i++)
		task_yield(self);
	CHECK(bytes_are(&view, reader->offset));
	buffer_release(world->pool, &view);
}

static const struct task_type reader_type = { .name = "reader", .run = reader_run, .stack_bytes = 8192 };

static void spawn_readers(struct world *world, struct reader *readers, uint32_t count, struct join *join)
{
	join_init(join);
	for (uint32_t i = 0; i < count; i++) {
		readers[i].world = world;
		CHECK_OK(task_spawn(task_shard(world->self), &reader_type, &readers[i], TASK_FOREGROUND,
				    join));
	}
}

enum { READERS = 200 };

static struct reader readers[READERS];

static void single_flight(struct world *world)
{
	struct join join;
	for (uint32_t i = 0; i < READERS; i++)
		readers[i] = (struct reader) { .offset = 30 * PAGE + i, .size = i % 3 == 0 ? 2 * PAGE : 8 };
	spawn_readers(world, readers, READERS, &join);
	join_wait(world->self, &join);
	for (uint32_t i = 0; i < READERS; i++)
		CHECK_OK(readers[i].status);
	const struct buffer_counters *counters = buffer_counters(world->pool);
	/* Pages 30 to 32 once each, whoever came first. */
	CHECK(counters->load_bytes == 3 * PAGE);
	CHECK(counters->misses == 3 && counters->joined > 0);
	CHECK(counters->frames_pinned == 0);
}

static void test_single_flight(void **state)
{
	(void)state;
	run(SMALL_POOL, single_flight);
}

static void waiting_for_frames(struct world *world)
{
	const struct buffer_counters *counters = buffer_counters(world->pool);
	/* Pin every frame. */
	static struct buffer_view pinned[64];
	uint32_t frames = (uint32_t)counters->frames;
	for (uint32_t i = 0; i < frames; i++)
		must_view(world, (uint64_t)i * PAGE, 16, &pinned[i]);
	CHECK(counters->frames_pinned == frames);
	struct buffer_view view;
	buffer_prefetch(world->pool, &world->file, 300 * PAGE, 8 * PAGE); /* gives way */
	CHECK(counters->loads == frames);
	struct join join;
	for (uint32_t i = 0; i < READERS; i++)
		readers[i] = (struct reader) { .offset = (100 + i) * PAGE,
					       .size = i % 5 == 0 ? 9 * PAGE : 64,
					       .holds = 2 };
	spawn_readers(world, readers, READERS, &join);
	task_sleep(world->self, 2000000);
	CHECK(join.pending == READERS);
	/* A hit needs no frame. */
	CHECK(buffer_try_view(world->pool, &world->file, 0, 16, &view));
	buffer_release(world->pool, &view);
	/* All of them get by with ten frames in turn. */
	for (uint32_t i = 0; i < 10; i++)
		buffer_release(world->pool, &pinned[i]);
	join_wait(world->self, &join);
	for (uint32_t i = 0; i < READERS; i++)
		CHECK_OK(readers[i].status);
	for (uint32_t i = 10; i < frames; i++) {
		CHECK(bytes_are(&pinned[i], (uint64_t)i * PAGE)); /* never evicted under its pin */
		buffer_release(world->pool, &pinned[i]);
	}
	CHECK(counters->frames_pinned == 0);
	CHECK(counters->evictions > 0);
}

static void test_waiting_for_frames(void **state)
{
	(void)state;
	run(SMALL_POOL, waiting_for_frames);
}

/* Tasks that want several frames, pin a page that is there and lack the rest, sleep; they used to wake each
 * other by letting go of that page. */
static void sleeping_for_frames(struct world *world)
{
	static struct buffer_view pinned[64];
	struct shard *shard = task_shard(world->self);
	uint32_t frames = (uint32_t)buffer_counters(world->pool)->frames;
	for (uint32_t i = 0; i < frames; i++)
		must_view(world, (uint64_t)i * PAGE, 16, &pinned[i]);
	buffer_release(world->pool, &pinned[0]);
	buffer_release(world->pool, &pinned[1]);
	/* One page that is there, and four that are not. */
	for (uint32_t i = 0; i < 2; i++)
		readers[i] = (struct reader) { .offset = (uint64_t)(frames - 1) * PAGE, .size = 5 * PAGE };
	buffer_release(world->pool, &pinned[frames - 1]);
	struct join join;
	spawn_readers(world, readers, 2, &join);
	task_sleep(world->self, 1000000);
	uint64_t switches = shard_counters(shard)->switches;
	task_sleep(world->self, 5000000);
	CHECK(join.pending == 2);
	CHECK(shard_counters(shard)->switches - switches < 10);
	for (uint32_t i = 0; i < frames; i++)
		buffer_release(world->pool, &pinned[i]);
	join_wait(world->self, &join);
	CHECK_OK(readers[0].status);
	CHECK_OK(readers[1].status);
}

static void test_sleeping_for_frames(void **state)
{
	(void)state;
	run(SMALL_POOL, sleeping_for_frames);
}

/* --- errors --- */

static void past_the_end(struct world *world)
{
	const struct buffer_counters *counters = buffer_counters(world->pool);
	struct buffer_view view;
	uint64_t last = (uint64_t)(FILE_PAGES - 1) * PAGE;
	struct status status = buffer_view(world->self, world->pool, &world->file, last, 50, &view);
	CHECK(status_is(status, STATUS_CORRUPT));
	char text[256];
	status_describe(status, text, sizeof(text));
	CHECK(strstr(text, file_path) != NULL && strstr(text, "offset") != NULL);
	CHECK(counters->frames_used == 0 && counters->frames_pinned == 0);
	/* The whole pages before the end are good even in the same request. */
	status = buffer_view(world->self, world->pool, &world->file, last - 2 * PAGE, 2 * PAGE + 10, &view);
	CHECK(status_is(status, STATUS_CORRUPT));
	CHECK(counters->frames_used == 2 && counters->frames_pinned == 0);
	must_view(world, last - 2 * PAGE, 2 * PAGE, &view);
	buffer_release(world->pool, &view);
	status = buffer_view(world->self, world->pool, &world->file, last, 30 * PAGE, &view);
	CHECK(status_is(status, STATUS_CORRUPT));
	status = buffer_view(world->self, world->pool, &world->file, UINT64_MAX - 10, 5, &view);
	CHECK(status_is(status, STATUS_CORRUPT));
	status = buffer_view(world->self, world->pool, &world->file, UINT64_MAX - 10, 500, &view);
	CHECK(status_is(status, STATUS_CORRUPT));
	/* Everybody who waits for a bad page hears of it, and a later read tries again. */
	struct join join;
	for (uint32_t i = 0; i < READERS; i++)
		readers[i] = (struct reader) { .offset = last + i % 2 * PAGE, .size = 10 };
	spawn_readers(world, readers, READERS, &join);
	join_wait(world->self, &join);
	for (uint32_t i = 0; i < READERS; i++)
		CHECK(status_is(readers[i].status, STATUS_CORRUPT));
	CHECK(counters->frames_used == 2 && counters->frames_pinned == 0);
	uint64_t loads = counters->loads;
	CHECK(status_is(buffer_view(world->self, world->pool, &world->file, last, 1, &view), STATUS_CORRUPT));
	CHECK(counters->loads == loads + 1);
	buffer_prefetch(world->pool, &world->file, last - PAGE, 100 * PAGE);
	buffer_prefetch(world->pool, &world->file, last + 10 * PAGE, 100 * PAGE);
	buffer_drain(world->self, world->pool, world->file.id);
	CHECK(counters->frames_pinned == 0);
}

static void test_past_the_end(void **state)
{
	(void)state;
	run(SMALL_POOL, past_the_end);
}

/* Requests that the fault hits complete with an error, whatever the device said. */
static struct io_backend faulty;
static const struct io_backend *healthy;
static io_complete *true_complete;
static uint32_t fail_reads, failed_reads;

static void fail_complete(struct io_request *request)
{
	request->status = status_make(STATUS_IO);
	failed_reads++;
	true_complete(request);
}

static void faulty_submit(struct io *io, struct io_request *request)
{
	if (request->operation == IO_READ && fail_reads > 0) {
		fail_reads--;
		true_complete = request->complete;
		request->complete = fail_complete;
	}
	healthy->submit(io, request);
}

static void read_errors(struct world *world)
{
	struct io *io = shard_io(task_shard(world->self));
	healthy = io->backend;
	faulty = *healthy;
	faulty.submit = faulty_submit;
	io->backend = &faulty;
	failed_reads = 0;
	fail_reads = READERS;
	struct join join;
	for (uint32_t i = 0; i < READERS; i++)
		readers[i] = (struct reader) { .offset = 3 * PAGE + i, .size = 10 };
	spawn_readers(world, readers, READERS, &join);
	join_wait(world->self, &join);
	for (uint32_t i = 0; i < READERS; i++)
		CHECK(status_is(readers[i].status, STATUS_IO));
	CHECK(failed_reads >= 1 && failed_reads < READERS);
	CHECK(buffer_counters(world->pool)->frames_used == 0);
	CHECK(buffer_counters(world->pool)->frames_pinned == 0);
	struct buffer_view view;
	fail_reads = 1;
	CHECK(status_is(buffer_view(world->self, world->pool, &world->file, 0, 80 * PAGE, &view), STATUS_IO));
	CHECK(fail_reads == 0);
	must_view(world, 3 * PAGE, 10, &view);
	buffer_release(world->pool, &view);
	io->backend = healthy;
}

static void test_read_errors(void **state)
{
	(void)state;
	run(SMALL_POOL, read_errors);
}

static void no_memory(struct world *world)
{
	uint64_t fired = 0;
	for (uint64_t i = 0; i < 30; i++) {
		struct buffer_view view;
		uint64_t n = i % 3 + 1;
		uint64_t offset = 10 * PAGE * i + n;
		memory_fail_at(n, 0);
		struct status status = buffer_view(world->self, world->pool, &world->file, offset,
						   i % 2 == 0 ? 3 * PAGE : 90 * PAGE, &view);
		fired += memory_failures_fired();
		memory_fail_at(0, 0);
		CHECK(status_is_ok(status) || status_is(status, STATUS_NO_MEMORY));
		if (status_is_ok(status))
			CHECK(bytes_are(&view, offset));
		buffer_release(world->pool, &view);
		CHECK(buffer_counters(world->pool)->frames_pinned == 0);
	}
	CHECK(fired > 2);
}

static void test_no_memory(void **state)
{
	(void)state;
	run(SMALL_POOL, no_memory);
}

/* --- loads that the caller carries out --- */

static struct buffer_load *begin_load(struct world *world, uint64_t offset, size_t size)
{
	return buffer_load_begin(world->pool, &world->file, offset, size);
}

static struct status end_load(struct world *world, struct buffer_load *load)
{
	io_carry_out(shard_io(task_shard(world->self)), buffer_load_request(load));
	return buffer_load_end(world->pool, load);
}

static void must_load(struct world *world, uint64_t offset, size_t size)
{
	struct buffer_view view;
	CHECK(!buffer_try_view(world->pool, &world->file, offset, size, &view));
	struct buffer_load *load = begin_load(world, offset, size);
	CHECK(load != NULL);
	CHECK(!buffer_try_view(world->pool, &world->file, offset, size, &view));
	CHECK_OK(end_load(world, load));
	CHECK(buffer_try_view(world->pool, &world->file, offset, size, &view));
	CHECK(bytes_are(&view, offset));
	buffer_release(world->pool, &view);
	CHECK(buffer_counters(world->pool)->frames_pinned == 0);
}

static void own_loads(struct world *world)
{
	const struct buffer_counters *counters = buffer_counters(world->pool);
	struct io *io = shard_io(task_shard(world->self));
	uint64_t reads = io->counters.reads;
	must_load(world, 5 * PAGE + 100, 200);
	CHECK(counters->loads == 1 && counters->misses == 1 && counters->load_bytes == PAGE);
	must_load(world, 7 * PAGE + 100, 3 * PAGE);
	CHECK(counters->loads == 2 && counters->misses == 5 && counters->frames_used == 5);
	/* Pages before and after are there: what is missing is one run. */
	must_load(world, 5 * PAGE, 3 * PAGE);
	CHECK(counters->loads == 3 && counters->misses == 6 && counters->frames_used == 6);
	must_load(world, 20 * PAGE, BUFFER_POOLED_PAGES * PAGE);
	CHECK(io->counters.reads == reads + 4 && io->in_flight == 0);
	/* Nothing is missing, or two runs, or more than goes through the pool, or no page of a file. */
	CHECK(begin_load(world, 5 * PAGE, 3 * PAGE) == NULL);
	must_load(world, 40 * PAGE, 1);
	CHECK(begin_load(world, 39 * PAGE, 3 * PAGE) == NULL);
	CHECK(begin_load(world, 50 * PAGE, (BUFFER_POOLED_PAGES + 1) * PAGE) == NULL);
	CHECK(begin_load(world, UINT64_MAX - 10, 5) == NULL);
	CHECK(begin_load(world, UINT64_MAX - 10, 500) == NULL);
	/* Somebody else is loading some of it. */
	buffer_prefetch(world->pool, &world->file, 60 * PAGE, PAGE);
	CHECK(begin_load(world, 60 * PAGE, 10) == NULL);
	CHECK(begin_load(world, 59 * PAGE, 2 * PAGE) == NULL);
	struct buffer_load *load = begin_load(world, 61 * PAGE, 10);
	CHECK(begin_load(world, 61 * PAGE + 5, 10) == NULL);
	CHECK_OK(end_load(world, load));
	buffer_drain(world->self, world->pool, world->file.id);
	CHECK(counters->frames_pinned == 0);
}

static void test_own_loads(void **state)
{
	(void)state;
	run(SMALL_POOL, own_loads);
}

/* Tasks that want what is being loaded wait for it, and for nothing else. */
static void joined_loads(struct world *world)
{
	const struct buffer_counters *counters = buffer_counters(world->pool);
	struct join join;
	struct buffer_load *load = begin_load(world, 30 * PAGE, 2 * PAGE);
	for (uint32_t i = 0; i < READERS; i++)
		readers[i] = (struct reader) { .offset = 30 * PAGE + i, .size = i % 3 == 0 ? PAGE : 8 };
	spawn_readers(world, readers, READERS, &join);
	task_sleep(world->self, 1000000);
	CHECK(join.pending == READERS);
	CHECK(counters->loads == 1 && counters->joined == READERS);
	struct buffer_view view;
	must_view(world, 99 * PAGE, 1, &view);
	buffer_release(world->pool, &view);
	CHECK_OK(end_load(world, load));
	CHECK(buffer_try_view(world->pool, &world->file, 30 * PAGE, PAGE, &view));
	buffer_release(world->pool, &view);
	join_wait(world->self, &join);
	for (uint32_t i = 0; i < READERS; i++)
		CHECK_OK(readers[i].status);
	CHECK(counters->loads == 2 && counters->load_bytes == 3 * PAGE);
	CHECK(counters->frames_pinned == 0);
}

static void test_joined_loads(void **state)
{
	(void)state;
	run(SMALL_POOL, joined_loads);
}

static void faulty_carry_out(const struct io *io, struct io_request *request)
{
	if (fail_reads == 0) {
		healthy->carry_out(io, request);
		return;
	}
	fail_reads--;
	failed_reads++;
	request->status = status_make(STATUS_IO);
}

static void failed_loads(struct world *world)
{
	const struct buffer_counters *counters = buffer_counters(world->pool);
	struct io *io = shard_io(task_shard(world->self));
	struct join join;
	healthy = io->backend;
	faulty = *healthy;
	faulty.carry_out = faulty_carry_out;
	io->backend = &faulty;
	fail_reads = 1;
	struct buffer_load *load = begin_load(world, 3 * PAGE + 9, 2 * PAGE);
	for (uint32_t i = 0; i < READERS; i++)
		readers[i] = (struct reader) { .offset = 3 * PAGE + i, .size = 10 };
	spawn_readers(world, readers, READERS, &join);
	task_sleep(world->self, 1000000);
	CHECK(status_is(end_load(world, load), STATUS_IO));
	join_wait(world->self, &join);
	for (uint32_t i = 0; i < READERS; i++)
		CHECK(status_is(readers[i].status, STATUS_IO));
	CHECK(counters->frames_used == 0 && counters->frames_pinned == 0);
	must_load(world, 3 * PAGE + 9, 2 * PAGE);
	io->backend = healthy;
	/* The file ends in the second page. */
	uint64_t last = (uint64_t)(FILE_PAGES - 1) * PAGE;
	load = begin_load(world, last - PAGE, PAGE + 1);
	CHECK(status_is(end_load(world, load), STATUS_CORRUPT));
	CHECK(counters->frames_used == 4 && counters->frames_pinned == 0);
	load = begin_load(world, last + PAGE, PAGE);
	CHECK(status_is(end_load(world, load), STATUS_CORRUPT));
	must_load(world, last - 2 * PAGE, PAGE);
}

static void test_failed_loads(void **state)
{
	(void)state;
	run(SMALL_POOL, failed_loads);
}

static void no_frames_to_load(struct world *world)
{
	const struct buffer_counters *counters = buffer_counters(world->pool);
	static struct buffer_view pinned[64];
	uint32_t frames = (uint32_t)counters->frames;
	for (uint32_t i = 0; i < frames; i++)
		must_view(world, (uint64_t)i * PAGE, 16, &pinned[i]);
	CHECK(begin_load(world, 300 * PAGE, 1) == NULL);
	buffer_release(world->pool, &pinned[0]);
	CHECK(begin_load(world, 300 * PAGE, 2 * PAGE) == NULL);
	CHECK(begin_load(world, (uint64_t)(frames - 1) * PAGE, 3 * PAGE) == NULL);
	CHECK(counters->frames_pinned == frames - 1);
	/* The one frame that is free does for a load, which holds it until it has ended. */
	struct buffer_load *load = begin_load(world, 300 * PAGE, 1);
	CHECK(load != NULL);
	CHECK(begin_load(world, 301 * PAGE, 1) == NULL);
	CHECK(counters->frames_pinned == frames);
	CHECK_OK(end_load(world, load));
	load = begin_load(world, 301 * PAGE, 1);
	CHECK(load != NULL);
	CHECK_OK(end_load(world, load));
	for (uint32_t i = 1; i < frames; i++)
		buffer_release(world->pool, &pinned[i]);
	/* Without memory for one more load there is none. */
	struct buffer_load *loads[8];
	uint32_t begun = 0;
	memory_fail_at(1, 0);
	do
		loads[begun] = begin_load(world, (200 + 2 * begun) * PAGE, 1);
	while (loads[begun] != NULL && ++begun < 8);
	CHECK(begun < 8 && memory_failures_fired() == 1);
	memory_fail_at(0, 0);
	while (begun > 0)
		CHECK_OK(end_load(world, loads[--begun]));
}

static void test_no_frames_to_load(void **state)
{
	(void)state;
	run(SMALL_POOL, no_frames_to_load);
}

static void drain_file(struct task *self, void *argument)
{
	struct world *world = argument;
	buffer_drain(self, world->pool, world->file.id);
}

/* The file is not gone before the last load of it has ended. */
static void drained_loads(struct world *world)
{
	static const struct task_type type = { .name = "drain", .run = drain_file, .stack_bytes = 8192 };
	struct join join;
	join_init(&join);
	struct buffer_load *loads[3];
	for (uint32_t i = 0; i < 3; i++)
		loads[i] = begin_load(world, (10 + 3 * i) * PAGE, PAGE);
	CHECK_OK(task_spawn(task_shard(world->self), &type, world, TASK_FOREGROUND, &join));
	for (uint32_t i = 0; i < 3; i++) {
		task_sleep(world->self, 500000);
		CHECK(join.pending == 1);
		CHECK_OK(end_load(world, loads[(i + 1) % 3]));
	}
	join_wait(world->self, &join);
	buffer_forget(world->pool, world->file.id);
	CHECK(buffer_counters(world->pool)->frames_used == 0);
}

static void test_drained_loads(void **state)
{
	(void)state;
	run(SMALL_POOL, drained_loads);
}

/* --- threads that borrow the shard --- */

struct borrower {
	struct world *world;
	struct runtime *runtime;
	uint64_t seed;
	uint32_t rounds;
	uint64_t loaded;
	pthread_t thread;
};

static _Atomic uint32_t borrowers_done;

/* With the shard, and without it while it reads. */
static void borrow_and_read(struct borrower *borrower, uint64_t offset, size_t size)
{
	struct world *world = borrower->world;
	struct buffer_view view;
	runtime_borrow_again(borrower->runtime, 0);
	bool found = buffer_try_view(world->pool, &world->file, offset, size, &view);
	struct buffer_load *load = found ? NULL : begin_load(world, offset, size);
	if (load != NULL) {
		runtime_return(borrower->runtime, 0);
		io_carry_out(shard_io(runtime_shard(borrower->runtime, 0)), buffer_load_request(load));
		runtime_borrow_again(borrower->runtime, 0);
		CHECK_OK(buffer_load_end(world->pool, load));
		found = buffer_try_view(world->pool, &world->file, offset, size, &view);
		/* What was there before the load may have gone meanwhile; what was loaded is there. */
		CHECK(found || offset / PAGE != (offset + size - 1) / PAGE);
		borrower->loaded++;
	}
	if (found) {
		CHECK(bytes_are(&view, offset));
		buffer_release(world->pool, &view);
	}
	runtime_return(borrower->runtime, 0);
}

static void *borrower_run(void *argument)
{
	struct borrower *borrower = argument;
	struct random random = random_stream(borrower->seed);
	for (uint32_t i = 0; i < borrower->rounds; i++) {
		size_t size = (size_t)random_below(&random, 3000) + 1;
		borrow_and_read(borrower, random_below(&random, (FILE_PAGES - 1) * PAGE - size), size);
	}
	borrowers_done++;
	return NULL;
}

/* The resident's thread must not block in a join before they are done: they need it. */
static void run_borrowers(struct world *world, struct borrower *borrowers, uint32_t count, bool reads_too)
{
	struct runtime *runtime = shard_runtime(task_shard(world->self));
	struct random random = random_stream(test_seed(21));
	borrowers_done = 0;
	for (uint32_t i = 0; i < count; i++) {
		borrowers[i].world = world;
		borrowers[i].runtime = runtime;
		borrowers[i].seed = test_seed(22) + i;
		CHECK(pthread_create(&borrowers[i].thread, NULL, borrower_run, &borrowers[i]) == 0);
	}
	while (borrowers_done < count) {
		struct buffer_view view = { 0 };
		size_t size = (size_t)random_below(&random, 5 * PAGE) + 1;
		if (reads_too)
			must_view(world, random_below(&random, (FILE_PAGES - 1) * PAGE - size), size, &view);
		task_sleep(world->self, random_below(&random, 30000));
		buffer_release(world->pool, &view);
	}
	for (uint32_t i = 0; i < count; i++)
		CHECK(pthread_join(borrowers[i].thread, NULL) == 0);
}

static void loads_of_threads(struct world *world)
{
	enum { BORROWERS = 3 };
	struct borrower borrowers[BORROWERS] = { 0 };
	for (uint32_t i = 0; i < BORROWERS; i++)
		borrowers[i].rounds = 1500;
	run_borrowers(world, borrowers, BORROWERS, true);
	for (uint32_t i = 0; i < BORROWERS; i++)
		CHECK(borrowers[i].loaded > 100);
	buffer_drain(world->self, world->pool, world->file.id);
	CHECK(buffer_counters(world->pool)->frames_pinned == 0);
}

static void test_loads_of_threads(void **state)
{
	(void)state;
	run(SMALL_POOL, loads_of_threads);
}

static bool borrows_first, memory_registered;

/* A ring takes memory from its own thread alone. */
static void borrowed_before_registered(struct world *world)
{
	struct borrower borrower = { .rounds = 20 };
	if (borrows_first)
		run_borrowers(world, &borrower, 1, false);
	struct buffer_view view;
	must_view(world, 100 * PAGE, 1, &view);
	buffer_release(world->pool, &view);
	memory_registered = shard_io(task_shard(world->self))->memory_registered;
}

static void test_borrowed_before_registered(void **state)
{
	(void)state;
	borrows_first = false;
	run_with("uring", SMALL_POOL, borrowed_before_registered);
	bool can_be = memory_registered;
	borrows_first = true;
	run_with("uring", SMALL_POOL, borrowed_before_registered);
	assert_int_equal(memory_registered, can_be);
}

/* --- reservations --- */

struct holder {
	struct world *world;
	uint32_t pages;
	uint32_t *granted_now;
	uint32_t *order;
	uint32_t place;
};

static void holder_run(struct task *self, void *argument)
{
	struct holder *holder = argument;
	uint32_t pages = buffer_reserve(self, holder->world->pool, holder->pages);
	holder->place = (*holder->order)++;
	*holder->granted_now += pages;
	CHECK(*holder->granted_now <= buffer_counters(holder->world->pool)->frames);
	for (int i = 0; i < 3; i++)
		task_yield(self);
	*holder->granted_now -= pages;
	buffer_unreserve(holder->world->pool, pages);
}

static const struct task_type holder_type = { .name = "holder", .run = holder_run, .stack_bytes = 4096 };

static void reservations(struct world *world)
{
	uint32_t frames = (uint32_t)buffer_counters(world->pool)->frames;
	uint32_t all = buffer_reserve(world->self, world->pool, UINT32_MAX);
	CHECK(all == frames / 2);
	static struct holder holders[50];
	uint32_t granted = all;
	uint32_t order = 0;
	struct join join;
	join_init(&join);
	for (uint32_t i = 0; i < 50; i++) {
		holders[i] = (struct holder) { world, i % 7 == 0 ? frames : 10, &granted, &order, 0 };
		CHECK_OK(task_spawn(task_shard(world->self), &holder_type, &holders[i], TASK_FOREGROUND,
				    &join));
	}
	task_sleep(world->self, 1000000);
	CHECK(order == 0); /* the first wants half, so nobody behind it overtakes */
	granted -= all;
	buffer_unreserve(world->pool, all);
	join_wait(world->self, &join);
	CHECK(granted == 0);
	for (uint32_t i = 1; i < 50; i++)
		CHECK(order == 50 && holders[i].place > holders[0].place);
}

static void test_reservations(void **state)
{
	(void)state;
	run(SMALL_POOL, reservations);
}

/* --- forgetting --- */

static void forgetting(struct world *world)
{
	const struct buffer_counters *counters = buffer_counters(world->pool);
	struct buffer_file files[3];
	struct buffer_view view;
	for (uint64_t i = 0; i < 3; i++) {
		files[i] = world->file;
		files[i].id = 100 + i;
		for (uint64_t page = 0; page < 12; page++) {
			CHECK_OK(buffer_view(world->self, world->pool, &files[i], page * PAGE, 9, &view));
			buffer_release(world->pool, &view);
		}
	}
	CHECK(counters->frames_used == 36);
	buffer_prefetch(world->pool, &files[1], 40 * PAGE, 6 * PAGE);
	buffer_warm(world->pool, &files[1], 0);
	buffer_drain(world->self, world->pool, 101);
	CHECK(buffer_try_view(world->pool, &files[1], 40 * PAGE, 6 * PAGE, &view));
	CHECK(bytes_are(&view, 40 * PAGE));
	buffer_release(world->pool, &view);
	buffer_forget(world->pool, 101);
	CHECK(counters->frames_used == 24);
	for (uint64_t page = 0; page < 12; page++) {
		CHECK(!buffer_try_view(world->pool, &files[1], page * PAGE, 9, &view));
		CHECK(buffer_try_view(world->pool, &files[2], page * PAGE, 9, &view));
		CHECK(bytes_are(&view, page * PAGE));
		buffer_release(world->pool, &view);
	}
	buffer_forget(world->pool, 100);
	buffer_forget(world->pool, 102);
	CHECK(counters->frames_used == 0);
}

static void test_forgetting(void **state)
{
	(void)state;
	run(SMALL_POOL, forgetting);
}

/* --- the budget --- */

static void sizes(struct task *self, void *argument)
{
	(void)argument;
	struct buffer_pool_options options = {
		.strategy = (const struct cache_ops *)(const void *)component_find(COMPONENT_CACHE, "clock"),
	};
	struct buffer_pool *pool;
	options.bytes = 63 * PAGE;
	CHECK(status_is(buffer_pool_create(task_shard(self), &options, &pool), STATUS_INVALID));
	for (options.bytes = 64 * PAGE; options.bytes < 1ull << 32; options.bytes *= 3) {
		CHECK_OK(buffer_pool_create(task_shard(self), &options, &pool));
		uint64_t frames = buffer_counters(pool)->frames;
		CHECK(frames * PAGE < options.bytes);
		CHECK(frames * PAGE > options.bytes / 10 * 9 - 8 * PAGE);
		buffer_pool_destroy(pool);
	}
	options.bytes = 1 << 20;
	for (uint64_t n = 1; n <= 3; n++) {
		memory_fail_at(n, 0);
		CHECK(status_is(buffer_pool_create(task_shard(self), &options, &pool), STATUS_NO_MEMORY));
		CHECK(memory_failures_fired() == 1);
	}
	memory_fail_at(0, 0);
}

static void test_sizes(void **state)
{
	(void)state;
	struct runtime_options options = { .shards = 1, .io_backend = "posix" };
	struct runtime *runtime;
	char notice[200];
	assert_ok(runtime_create(&options, &runtime, notice, sizeof(notice)));
	runtime_run(runtime, 0, sizes, NULL);
	runtime_destroy(runtime);
}

/* --- speed (only with CASCADE_TEST_SPEED set) --- */

/* Of this thread's work alone: the machine may be busy with other things. */
static uint64_t cpu_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void speed(struct world *world)
{
	enum { ROUNDS = 20 * 1000 * 1000 };
	struct buffer_view view;
	uint64_t pages = 256;
	for (uint64_t i = 0; i < pages; i++) {
		must_view(world, i * PAGE, 16, &view);
		buffer_release(world->pool, &view);
	}
	uint64_t start = cpu_ns();
	uint64_t sum = 0;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t page = (i * 0x9e3779b97f4a7c15ull) >> 56;
		CHECK(buffer_try_view(world->pool, &world->file, page * PAGE + 64, 100, &view));
		sum += view.data[0];
		buffer_release(world->pool, &view);
	}
	uint64_t ns = cpu_ns() - start;
	(void)printf("view hit and release: %.1f ns (%llu)\n", (double)ns / ROUNDS, (unsigned long long)sum);
}

static void test_speed(void **state)
{
	(void)state;
	if (getenv("CASCADE_TEST_SPEED") == NULL)
		skip();
	run_with("posix", 8 << 20, speed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hits_and_misses),
		cmocka_unit_test(test_long_views),
		cmocka_unit_test(test_random_views),
		cmocka_unit_test(test_single_flight),
		cmocka_unit_test(test_waiting_for_frames),
		cmocka_unit_test(test_sleeping_for_frames),
		cmocka_unit_test(test_past_the_end),
		cmocka_unit_test(test_read_errors),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_own_loads),
		cmocka_unit_test(test_joined_loads),
		cmocka_unit_test(test_failed_loads),
		cmocka_unit_test(test_no_frames_to_load),
		cmocka_unit_test(test_drained_loads),
		cmocka_unit_test(test_loads_of_threads),
		cmocka_unit_test(test_borrowed_before_registered),
		cmocka_unit_test(test_reservations),
		cmocka_unit_test(test_forgetting),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_speed),
	};
	if (getenv("CASCADE_TEST_SPEED") != NULL)
		cmocka_set_test_filter("test_speed");
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
