/*
 * Recording: what shards put is in the file, in order; what is not says so. Takes about a second.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_or_abort.h"

#include "base/arena.h"
#include "base/memory.h"
#include "io/faulty.h"
#include "runtime/runtime.h"
#include "runtime/shard.h"
#include "trace/trace_reader.h"
#include "trace/traced_memtable.h"

enum { SEED = 8899, SHARDS = 2 };

static char directory[64];
static char path[128];

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(directory, sizeof(directory), "/tmp/recorder_test.XXXXXX");
	(void)snprintf(path, sizeof(path), "%s/a.trace", mkdtemp(directory));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(directory);
}

/* --- the file, and shards that record into it --- */

struct world {
	struct trace *trace;
	void (*body)(struct task *self, struct trace_recorder *recorder, void *argument);
	void *argument;
};

static void shard_task(struct task *self, void *argument)
{
	struct world *world = argument;
	struct trace_recorder *recorder;
	CHECK_OK(trace_recorder_open(self, world->trace, &recorder));
	world->body(self, recorder, world->argument);
	trace_recorder_close(self, recorder);
}

static struct io *make_io(void)
{
	struct io_options options = { .depth = 8 };
	struct io *io;
	char notice[200];
	assert_ok(io_create("posix", &options, &io, notice, sizeof(notice)));
	return io;
}

/* One recorder after the other: what the shards do at the same time the file keeps apart. */
static void record(const char *backend, void (*body)(struct task *, struct trace_recorder *, void *),
		   void *argument)
{
	struct runtime_options options = { .shards = SHARDS,
					   .io_backend = backend,
					   .io = { .direct = true } };
	struct world world = { .body = body, .argument = argument };
	struct runtime *runtime;
	char notice[200];
	struct io *io = make_io();
	assert_ok(trace_create(io, path, TRACE_ALL, SHARDS, &world.trace));
	assert_ok(runtime_create(&options, &runtime, notice, sizeof(notice)));
	for (uint32_t i = 0; i < SHARDS; i++)
		runtime_run(runtime, i, shard_task, &world);
	runtime_destroy(runtime);
	trace_finish(world.trace, io);
	io_destroy(io);
}

static struct status read_at(void *context, uint64_t offset, void *to, size_t size, size_t *got)
{
	ssize_t done = pread(*(const int *)context, to, size, (off_t)offset);
	assert_true(done >= 0);
	*got = (size_t)done;
	return status_ok();
}

static int descriptor;

static void open_trace(struct trace_file *file)
{
	descriptor = open(path, O_RDONLY);
	assert_true(descriptor >= 0);
	assert_ok(trace_file_open(file, (struct trace_source) { .read = read_at, .context = &descriptor }));
}

static void close_trace(struct trace_file *file)
{
	trace_file_close(file);
	(void)close(descriptor);
}

/* --- many records --- */

enum { MANY = 40000 };

static void put_many(struct task *self, struct trace_recorder *recorder, void *argument)
{
	(void)argument;
	uint32_t shard = shard_index(task_shard(self));
	static const char key[] = "a key of some bytes";
	for (uint64_t i = 0; i < MANY; i++) {
		trace_put(recorder, &(struct trace_record) { .type = TRACE_GET,
							     .ticks = trace_clock(trace_canary(recorder)),
							     .duration = 100,
							     .object = i,
							     .sequence = SEQUENCE_MAX,
							     .bytes = slice_make(key, i % sizeof(key)) });
		if (i % 1000 == 0) {
			trace_pages(recorder, TRACE_MISS, shard, (uint32_t)i, 3);
			task_yield(self);
		}
	}
}

static void test_many_records(void **state)
{
	(void)state;
	static const char *const backends[] = { "posix", "uring" };
	for (unsigned b = 0; b < 2; b++) {
		struct trace_file file;
		record(backends[b], put_many, NULL);
		open_trace(&file);
		assert_string_equal(file.problem, "");
		assert_int_equal(file.header.state, TRACE_COMPLETE);
		assert_int_equal(file.records, SHARDS * (MANY + MANY / 1000));
		assert_true(file.blocks > SHARDS);
		assert_true(file.ns_per_tick > 0.05 && file.ns_per_tick < 1000);
		for (uint32_t shard = 0; shard < SHARDS; shard++) {
			struct trace_reader reader;
			struct trace_record record;
			assert_ok(trace_reader_open(&reader, &file, shard));
			uint64_t count = 0, last = 0;
			while (status_is_ok(trace_reader_next(&reader, &record))) {
				assert_true(record.ticks >= last);
				last = record.ticks;
				if (record.type == TRACE_PAGE)
					assert_int_equal(record.object, shard);
				else
					assert_int_equal(record.object, count++);
			}
			assert_int_equal(count, MANY);
			trace_reader_close(&reader);
		}
		close_trace(&file);
	}
}

/* --- too much at once --- */

enum { LARGE = TRACE_BYTES_MAX, PER_BLOCK = 1, PUT = TRACE_BLOCKS_MAX * PER_BLOCK + 40 };

static void put_too_many(struct task *self, struct trace_recorder *recorder, void *argument)
{
	(void)argument;
	(void)self; /* It never gives way, so nothing is written meanwhile. */
	static uint8_t bytes[LARGE];
	for (uint64_t i = 0; i < PUT; i++)
		trace_put(recorder, &(struct trace_record) { .type = TRACE_GET,
							     .object = i,
							     .sequence = 1,
							     .bytes = slice_make(bytes, sizeof(bytes)) });
}

/* Memory is bounded, and the file says what it lacks. */
static void test_dropped_records(void **state)
{
	(void)state;
	struct trace_file file;
	record("posix", put_too_many, NULL);
	open_trace(&file);
	assert_int_equal(file.header.state, TRACE_INCOMPLETE);
	assert_int_equal(file.dropped, SHARDS * 40);
	assert_int_equal(file.records, SHARDS * (PUT - 40));
	assert_true(file.has_gaps);
	assert_non_null(strstr(file.problem, "dropped"));
	close_trace(&file);
}

static void test_failing_device(void **state)
{
	(void)state;
	struct faulty *plan = faulty_create(test_seed(SEED));
	struct trace_file file;
	io_backend_add(&io_backend_faulty);
	faulty_install(plan, "posix");
	unsigned rule = faulty_add(plan, &(struct faulty_rule) { .kind = FAULTY_ERROR,
								 .operations = FAULTY_OPERATION(IO_WRITE),
								 .file = "*.trace",
								 .nth = 2 });
	record("faulty", put_many, NULL);
	assert_int_equal(faulty_fired(plan, rule), 1);
	faulty_destroy(plan);
	open_trace(&file);
	assert_int_equal(file.header.state, TRACE_INCOMPLETE);
	assert_true(file.has_gaps);
	close_trace(&file);
}

/* --- the file itself --- */

static void test_other_files_are_left_alone(void **state)
{
	(void)state;
	struct io *io = make_io();
	struct trace *trace;
	FILE *stream = fopen(path, "wb");
	assert_true(fputs("somebody's letter", stream) >= 0);
	assert_int_equal(fclose(stream), 0);
	assert_status(trace_create(io, path, TRACE_ALL, 1, &trace), STATUS_INVALID);
	assert_null(trace);
	struct stat info;
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_size, 17);
	assert_int_equal(unlink(path), 0);
	/* A trace is replaced. */
	for (unsigned i = 0; i < 2; i++) {
		assert_ok(trace_create(io, path, TRACE_ALL, 1, &trace));
		trace_finish(trace, io);
	}
	char nowhere[200];
	(void)snprintf(nowhere, sizeof(nowhere), "%s/nowhere/b.trace", directory);
	assert_status(trace_create(io, nowhere, TRACE_ALL, 1, &trace), STATUS_NOT_FOUND);
	io_destroy(io);
}

/* --- memtables --- */

enum { ENTRIES = 3000 };

static struct slice key_of(uint64_t i, char key[24])
{
	(void)snprintf(key, 24, "key%08llu", (unsigned long long)random_mix(i) % 100000000);
	return slice_make(key, strlen(key));
}

/* Does the same with a memtable and with a traced one: both must say the same. */
static void use_memtable(struct trace_recorder *recorder, const char *name)
{
	const struct memtable_ops *ops = (const void *)component_find(COMPONENT_MEMTABLE, name);
	struct traced_memtables traced;
	struct arena arenas[2];
	struct memtable *memtables[2];
	traced_memtables_init(&traced, recorder, ops, NULL);
	for (unsigned i = 0; i < 2; i++)
		arena_init(&arenas[i], 1 << 16);
	memtables[0] = ops->create(&arenas[0], NULL);
	memtables[1] = traced.ops.create(&arenas[1], &traced);
	CHECK(!memtable_is_traced(memtables[0]) && memtable_is_traced(memtables[1]));
	struct entry entry = { .kind = ENTRY_PUT }, found[2];
	char key[24];
	for (uint64_t i = 0; i < ENTRIES; i++) {
		entry.key = key_of(i % 2000, key);
		entry.value = slice_make(key, i % 10);
		entry.sequence = i + 1;
		for (unsigned m = 0; m < 2; m++)
			CHECK_OK(memtables[m]->ops->insert(memtables[m], &entry, UINT64_MAX));
		struct slice wanted = key_of(i * 7 % 3000, key);
		bool first = memtables[0]->ops->get(memtables[0], wanted, SEQUENCE_MAX, &found[0]);
		CHECK(memtables[1]->ops->get(memtables[1], wanted, SEQUENCE_MAX, &found[1]) == first);
		CHECK(!first || found[0].sequence == found[1].sequence);
	}
	_Alignas(64) uint8_t memory[2][TRACED_ITERATOR_BYTES];
	struct memtable_iterator *iterators[2];
	for (unsigned m = 0; m < 2; m++) {
		iterators[m] = (struct memtable_iterator *)(void *)memory[m];
		memtables[m]->ops->iterator_init(memtables[m], iterators[m]);
		memtables[m]->ops->seek(iterators[m], slice_make(NULL, 0), SEQUENCE_MAX);
	}
	uint64_t steps = 0;
	for (; iterators[0]->valid; steps++) {
		CHECK(iterators[1]->valid);
		CHECK(iterators[0]->entry.sequence == iterators[1]->entry.sequence);
		for (unsigned m = 0; m < 2; m++)
			memtables[m]->ops->next(iterators[m]);
	}
	CHECK(!iterators[1]->valid && steps > 0);
	memtables[1]->ops->seek_last(iterators[1]);
	memtables[1]->ops->prev(iterators[1]);
	CHECK(iterators[1]->valid);
	CHECK(memtables[0]->ops->count(memtables[0]) == memtables[1]->ops->count(memtables[1]));
	struct memtable_probe probes[3] = { { .key = key_of(1, key), .sequence = SEQUENCE_MAX },
					    { .key = slice_make("x", 1), .sequence = SEQUENCE_MAX },
					    { .key = slice_make(key, 3), .sequence = 5 } };
	memtable_get_many(memtables[1], probes, 3);
	CHECK(probes[0].found && !probes[1].found && !probes[2].found);
	traced_iterator_end(memtables[1], iterators[1]);
	traced_memtable_end(memtables[1]);
	for (unsigned i = 0; i < 2; i++)
		arena_free(&arenas[i]);
}

static void use_memtable_on_shard(struct task *self, struct trace_recorder *recorder, void *argument)
{
	(void)self;
	use_memtable(recorder, argument);
}

static void test_traced_memtable(void **state)
{
	(void)state;
	struct trace_file file;
	struct trace_reader reader;
	struct trace_record record_read;
	static char name[] = "skiplist";
	record("posix", use_memtable_on_shard, name);
	open_trace(&file);
	uint64_t counts[TRACE_TYPE_COUNT] = { 0 }, steps = 0;
	assert_ok(trace_reader_open(&reader, &file, 1));
	while (status_is_ok(trace_reader_next(&reader, &record_read))) {
		counts[record_read.type]++;
		if (record_read.type == TRACE_STEPS)
			steps += record_read.count;
		if (record_read.type == TRACE_INSERT || record_read.type == TRACE_GET)
			assert_true(record_read.duration > 0);
	}
	trace_reader_close(&reader);
	close_trace(&file);
	assert_int_equal(counts[TRACE_MEMTABLE_BEGIN], 1);
	assert_int_equal(counts[TRACE_MEMTABLE_END], 1);
	assert_int_equal(counts[TRACE_INSERT], ENTRIES);
	assert_int_equal(counts[TRACE_GET], ENTRIES);
	assert_int_equal(counts[TRACE_PROBE], 3);
	assert_int_equal(counts[TRACE_GET_MANY], 1);
	assert_int_equal(counts[TRACE_ITERATOR_BEGIN], 1);
	assert_int_equal(counts[TRACE_ITERATOR_END], 1);
	assert_int_equal(counts[TRACE_SEEK], 2);
	/* All the way there is one run, and the step back is another; readings of canaries come between. */
	assert_int_equal(counts[TRACE_STEPS], 2);
	assert_true(steps > 2000 && steps <= ENTRIES + 1);
	uint64_t samples = (2 * ENTRIES) / CANARY_EVERY - CANARY_FAR;
	assert_true(counts[TRACE_CANARY] >= samples - 2 && counts[TRACE_CANARY] <= samples + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_many_records, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_dropped_records, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failing_device, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_files_are_left_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_traced_memtable, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
