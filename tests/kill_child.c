#include "kill_child.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "cascade.h"

enum {
	WRITER_THREADS = 3,
	WRITER_TASKS = 4,
	WRITERS = WRITER_THREADS + WRITER_TASKS,
	CHECKERS = 4, /* threads that get keys at the same time */
	STATS_PERIOD_NS = 10 * 1000 * 1000,
	SALTS_MAX = 1000,
	WRITES_A_LITTLE = 4
};

struct key {
	char text[EXPECTED_KEY_BYTES_MAX];
	size_t size;
	uint32_t unit;
	uint32_t slot;
};

/* The process has one database. */
static struct {
	struct kill_child job;
	struct expected_state *state;
	cascade *db;
	struct key *keys;			 /* by expected_key_index */
	const struct key *sorted[EXPECTED_KEYS]; /* as memcmp orders them */
	uint32_t found[EXPECTED_UNITS];		 /* versions, as gets told */
} child;

/* --- failures --- */

/* The first one is told, from whatever thread or task, and ends the process. */
__attribute__((format(printf, 1, 2))) static _Noreturn void child_fail(const char *format, ...)
{
	if (atomic_exchange(&child.state->failed, 1) != 0) {
		/* Another thread is at it, and is about to end the process. */
		(void)sleep(5);
		_exit(1);
	}
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(child.state->failure, EXPECTED_FAILURE_BYTES, format, arguments);
	va_end(arguments);
	_exit(1);
}

static void expect_ok(cascade_status status, const char *what)
{
	if (status != CASCADE_OK)
		child_fail("%s: %s: %s", what, cascade_strerror(status), cascade_error_message());
}

static void set_phase(enum expected_phase phase)
{
	atomic_store(&child.state->phase, phase);
}

/* --- open --- */

/* The smallest budgets that there are, so that flushes, merges and laps happen many times a second. */
static void open_database(void)
{
	const char *const settings[][2] = { { "shards", "2" },
					    { "memtable.size", "512 KiB" },
					    { "cache.size", "1 MiB" },
					    { "table.size", "64 KiB" },
					    { "wal.segment_size", "2 MiB" },
					    { "compaction.level0_tables", "2" },
					    { "compaction.size_ratio", "4" },
					    { "io.kind", "uring" },
					    { "io.direct", "true" },
					    { "durability", child.job.durability } };
	cascade_options *options;
	expect_ok(cascade_options_create(&options), "options");
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		expect_ok(cascade_options_set(options, settings[i][0], settings[i][1]), settings[i][0]);
	expect_ok(cascade_open(child.job.path, options, &child.db), "open");
	cascade_options_destroy(options);
	atomic_fetch_add(&child.state->opens, 1);
}

struct statistics {
	uint64_t flushes, merges, laps;
	uint64_t replayed_commits, replayed_bytes, ring_bytes;
	uint64_t tables; /* in all levels */
};

static void take_statistics(struct statistics *s)
{
	cascade_stat *stats;
	size_t count;
	*s = (struct statistics) { 0 };
	const struct {
		const char *name;
		uint64_t *to;
	} wanted[] = { { "flushes", &s->flushes },
		       { "merges", &s->merges },
		       { "wal.laps", &s->laps },
		       { "open.replayed_commits", &s->replayed_commits },
		       { "open.replayed_bytes", &s->replayed_bytes },
		       { "open.ring_bytes", &s->ring_bytes } };
	size_t found = 0;
	expect_ok(cascade_stats(child.db, &stats, &count), "stats");
	for (size_t i = 0; i < count; i++) {
		unsigned level;
		char rest[8];
		if (sscanf(stats[i].name, "level.%u.table%7s", &level, rest) == 2)
			s->tables += stats[i].value;
		for (size_t j = 0; j < sizeof(wanted) / sizeof(wanted[0]); j++) {
			if (strcmp(stats[i].name, wanted[j].name) == 0) {
				*wanted[j].to = stats[i].value;
				found++;
			}
		}
	}
	if (found != sizeof(wanted) / sizeof(wanted[0]))
		child_fail("stats: %zu of %zu names are there", found, sizeof(wanted) / sizeof(wanted[0]));
	cascade_stats_free(stats);
}

/* --- keys --- */

/* The keys of a batch must belong to one shard. */
static void make_key(uint32_t unit, uint32_t slot)
{
	struct key *key = &child.keys[expected_key_index(unit, slot)];
	key->unit = unit;
	key->slot = slot;
	for (uint32_t salt = 0; salt < SALTS_MAX; salt++) {
		key->size = expected_key(child.state, unit, slot, salt, key->text);
		if (unit < EXPECTED_SINGLES ||
		    cascade_shard_of(child.db, cascade_bytes(key->text, key->size)) ==
			    unit % cascade_shard_count(child.db))
			return;
	}
	child_fail("no key of unit %u belongs to its shard", unit);
}

static int compare_keys(const void *left, const void *right)
{
	const struct key *a = *(const struct key *const *)left;
	const struct key *b = *(const struct key *const *)right;
	int order = memcmp(a->text, b->text, a->size < b->size ? a->size : b->size);
	return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static void make_keys(void)
{
	child.keys = calloc(EXPECTED_KEYS, sizeof(*child.keys));
	if (child.keys == NULL)
		child_fail("no memory");
	for (uint32_t unit = 0; unit < EXPECTED_UNITS; unit++) {
		for (uint32_t slot = 0; slot < expected_slots(unit); slot++)
			make_key(unit, slot);
	}
	for (uint32_t i = 0; i < EXPECTED_KEYS; i++)
		child.sorted[i] = &child.keys[i];
	qsort(child.sorted, EXPECTED_KEYS, sizeof(child.sorted[0]), compare_keys);
}

static cascade_slice key_slice(const struct key *key)
{
	return cascade_bytes(key->text, key->size);
}

/* --- check --- */

static bool is_version(const struct key *key, uint32_t version, const cascade_value *value,
		       uint8_t scratch[EXPECTED_VALUE_BYTES_MAX])
{
	struct expected_content content = expected_content(child.state, key->unit, key->slot, version);
	bool present = value != NULL;
	if (content.present != present)
		return false;
	if (!present)
		return true;
	if (content.size != value->size)
		return false;
	expected_fill(&content, key->unit, key->slot, version, scratch);
	return content.size == 0 || memcmp(scratch, value->data, content.size) == 0;
}

static void describe_version(const struct key *key, uint32_t version, char *text, size_t capacity)
{
	struct expected_content content = expected_content(child.state, key->unit, key->slot, version);
	if (content.present)
		(void)snprintf(text, capacity, "version %u of %u bytes", version, content.size);
	else
		(void)snprintf(text, capacity, "version %u, absent", version);
}

static void describe_value(const cascade_value *value, char *text, size_t capacity)
{
	if (value != NULL)
		expected_describe(value->data, value->size, text, capacity);
	else
		(void)snprintf(text, capacity, "nothing");
}

/* What is under the key is none of the versions that may be, or another one than under the batch's others. */
static _Noreturn void fail_value(const char *when, const struct key *key, const cascade_value *value)
{
	char got[160], first[96], second[96];
	uint32_t versions[2];
	uint32_t count = expected_candidates(child.state, key->unit, versions);
	describe_value(value, got, sizeof(got));
	describe_version(key, versions[0], first, sizeof(first));
	describe_version(key, versions[1], second, sizeof(second));
	child_fail("%s: key %.20s (unit %u slot %u, shard %u) holds %s; acknowledged: %s%s%s", when,
		   key->text, key->unit, key->slot, cascade_shard_of(child.db, key_slice(key)), got, first,
		   count > 1 ? "; issued: " : "", count > 1 ? second : "");
}

/* Gets a key; NULL when it is not there. */
static const cascade_value *get_key(const struct key *key, cascade_value *value)
{
	cascade_status status = cascade_get(child.db, key_slice(key), NULL, value);
	if (status == CASCADE_NOT_FOUND)
		return NULL;
	expect_ok(status, "get");
	return value;
}

/* Which of the candidates every key of the unit agrees with. */
static void check_unit(uint32_t unit, uint8_t scratch[EXPECTED_VALUE_BYTES_MAX])
{
	uint32_t versions[2];
	uint32_t count = expected_candidates(child.state, unit, versions);
	bool possible[2] = { true, count > 1 };
	for (uint32_t slot = 0; slot < expected_slots(unit); slot++) {
		const struct key *key = &child.keys[expected_key_index(unit, slot)];
		cascade_value value;
		const cascade_value *got = get_key(key, &value);
		for (uint32_t i = 0; i < count; i++)
			possible[i] = possible[i] && is_version(key, versions[i], got, scratch);
		if (!possible[0] && !possible[1])
			fail_value("after open", key, got);
		if (got != NULL)
			cascade_value_release(&value);
	}
	if (count > 1)
		atomic_fetch_add(possible[1] ? &child.state->unacknowledged_found
					     : &child.state->unacknowledged_absent,
				 1);
	child.found[unit] = versions[possible[0] ? 0 : 1];
	expected_settle(child.state, unit, child.found[unit]);
	atomic_fetch_add(&child.state->checked, expected_slots(unit));
}

static void *run_checker(void *argument)
{
	uint8_t *scratch = malloc(EXPECTED_VALUE_BYTES_MAX);
	if (scratch == NULL)
		child_fail("no memory");
	for (uint32_t unit = (uint32_t)(uintptr_t)argument; unit < EXPECTED_UNITS; unit += CHECKERS)
		check_unit(unit, scratch);
	free(scratch);
	return NULL;
}

static void start_thread(pthread_t *thread, void *(*function)(void *), void *argument)
{
	int error = pthread_create(thread, NULL, function, argument);
	if (error != 0)
		child_fail("pthread_create: %s", strerror(error));
}

static void check_gets(void)
{
	pthread_t threads[CHECKERS];
	for (uintptr_t i = 0; i < CHECKERS; i++)
		start_thread(&threads[i], run_checker, (void *)i);
	for (size_t i = 0; i < CHECKERS; i++)
		(void)pthread_join(threads[i], NULL);
}

/* An iterator sees just what the gets saw, in order, and nothing that was never written. */
static void check_iteration(void)
{
	static uint8_t scratch[EXPECTED_VALUE_BYTES_MAX];
	cascade_iterator *iterator;
	expect_ok(cascade_iterator_create(child.db, NULL, &iterator), "iterator");
	expect_ok(cascade_iterator_seek_first(iterator), "seek");
	for (uint32_t i = 0; i < EXPECTED_KEYS; i++) {
		const struct key *key = child.sorted[i];
		uint32_t version = child.found[key->unit];
		if (!expected_content(child.state, key->unit, key->slot, version).present)
			continue;
		cascade_slice at = cascade_bytes("", 0);
		if (cascade_iterator_valid(iterator))
			at = cascade_iterator_key(iterator);
		if (at.size != key->size || memcmp(at.data, key->text, at.size) != 0)
			child_fail("iteration: at '%.20s', %zu bytes, instead of '%.20s', %zu bytes: %s",
				   at.size > 20 ? (const char *)at.data : "", at.size, key->text, key->size,
				   cascade_strerror(cascade_iterator_status(iterator)));
		cascade_slice bytes = cascade_iterator_value(iterator);
		cascade_value value = { .data = bytes.data, .size = bytes.size };
		if (!is_version(key, version, &value, scratch))
			fail_value("iteration", key, &value);
		expect_ok(cascade_iterator_next(iterator), "next");
	}
	if (cascade_iterator_valid(iterator))
		child_fail("iteration: '%.20s' was never written",
			   (const char *)cascade_iterator_key(iterator).data);
	expect_ok(cascade_iterator_status(iterator), "iteration");
	cascade_iterator_destroy(iterator);
}

/* --- files --- */

static uint64_t count_tables_in(const char *directory)
{
	DIR *stream = opendir(directory);
	if (stream == NULL)
		child_fail("%s: %s", directory, strerror(errno));
	uint64_t count = 0;
	for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
		size_t length = strlen(entry->d_name);
		count += length > 6 && strcmp(entry->d_name + length - 6, ".table") == 0;
	}
	(void)closedir(stream);
	return count;
}

/* After a close nothing is replayed, and every table's file belongs to a table. */
static void check_closed_database(void)
{
	struct statistics s;
	take_statistics(&s);
	if (s.replayed_commits != 0)
		child_fail("after a close %llu commits were replayed",
			   (unsigned long long)s.replayed_commits);
	expect_ok(cascade_wait_idle(child.db), "wait_idle");
	take_statistics(&s);
	uint64_t files = 0;
	for (uint32_t i = 0; i < cascade_shard_count(child.db); i++) {
		char directory[512];
		(void)snprintf(directory, sizeof(directory), "%s/shard-%04u", child.job.path, i);
		files += count_tables_in(directory);
	}
	if (files != s.tables || files == 0)
		child_fail("%llu table files for %llu tables", (unsigned long long)files,
			   (unsigned long long)s.tables);
}

static void check_database(void)
{
	set_phase(EXPECTED_CHECKING);
	struct statistics s;
	take_statistics(&s);
	atomic_fetch_add(&child.state->replayed_commits, s.replayed_commits);
	if (s.replayed_bytes > s.ring_bytes)
		child_fail("replay read %llu bytes of a ring of %llu", (unsigned long long)s.replayed_bytes,
			   (unsigned long long)s.ring_bytes);
	check_gets();
	check_iteration();
	expect_ok(cascade_verify(child.db), "verify");
	if (child.job.work == KILL_CHILD_CHECKS_CLOSED)
		check_closed_database();
}

/* --- load --- */

struct writer {
	uint32_t index;
	struct random random;
	cascade_batch *batch;
	uint8_t value[EXPECTED_VALUE_BYTES_MAX];
};

/* Fills in what the version puts under the key; false: it deletes it. */
static bool make_value(struct writer *writer, const struct key *key, uint32_t version, cascade_slice *value)
{
	struct expected_content content = expected_content(child.state, key->unit, key->slot, version);
	if (!content.present)
		return false;
	expected_fill(&content, key->unit, key->slot, version, writer->value);
	*value = cascade_bytes(writer->value, content.size);
	return true;
}

static cascade_status write_single(struct writer *writer, uint32_t unit, uint32_t version,
				   const cascade_write_options *options)
{
	const struct key *key = &child.keys[expected_key_index(unit, 0)];
	cascade_slice value;
	if (make_value(writer, key, version, &value))
		return cascade_put(child.db, key_slice(key), value, options);
	return cascade_delete(child.db, key_slice(key), options);
}

static cascade_status write_batch(struct writer *writer, uint32_t unit, uint32_t version,
				  const cascade_write_options *options)
{
	cascade_batch_clear(writer->batch);
	for (uint32_t slot = 0; slot < EXPECTED_BATCH_KEYS; slot++) {
		const struct key *key = &child.keys[expected_key_index(unit, slot)];
		cascade_slice value;
		if (make_value(writer, key, version, &value))
			expect_ok(cascade_batch_put(writer->batch, key_slice(key), value), "batch_put");
		else
			expect_ok(cascade_batch_delete(writer->batch, key_slice(key)), "batch_delete");
	}
	return cascade_write(child.db, writer->batch, options);
}

/* One of the writer's own units: it shares them with nobody. */
static uint32_t pick_unit(struct writer *writer)
{
	bool batch = random_below(&writer->random, 16) == 0;
	uint32_t first = batch ? EXPECTED_SINGLES : 0;
	uint32_t count = batch ? EXPECTED_BATCHES : EXPECTED_SINGLES;
	uint32_t own = (count - writer->index + WRITERS - 1) / WRITERS;
	return first + writer->index + WRITERS * (uint32_t)random_below(&writer->random, own);
}

/* Nobody else writes the unit, so the version just acknowledged is there. */
static void read_back(struct writer *writer, uint32_t unit, uint32_t version)
{
	uint32_t slot = (uint32_t)random_below(&writer->random, expected_slots(unit));
	const struct key *key = &child.keys[expected_key_index(unit, slot)];
	cascade_value value;
	const cascade_value *got = get_key(key, &value);
	if (!is_version(key, version, got, writer->value))
		fail_value("read back", key, got);
	if (got != NULL)
		cascade_value_release(&value);
}

static void write_one(struct writer *writer)
{
	cascade_write_options options = { .durability = CASCADE_DURABILITY_DEFAULT };
	if (random_below(&writer->random, 32) == 0)
		options.durability = CASCADE_DURABILITY_POWER;
	uint32_t unit = pick_unit(writer);
	uint32_t version = expected_issue(child.state, unit);
	if (unit < EXPECTED_SINGLES)
		expect_ok(write_single(writer, unit, version, &options), "write");
	else
		expect_ok(write_batch(writer, unit, version, &options), "write of a batch");
	expected_acknowledge(child.state, unit, version);
	if (random_below(&writer->random, 8) == 0)
		read_back(writer, unit, version);
	if (random_below(&writer->random, 1000) == 0)
		expect_ok(cascade_flush(child.db), "flush");
}

static void write_until_stopped(struct writer *writer)
{
	while (atomic_load(&child.state->stop) == 0)
		write_one(writer);
}

static void *run_writer_thread(void *argument)
{
	write_until_stopped(argument);
	return NULL;
}

static void run_writer_task(cascade *db, void *argument)
{
	(void)db;
	write_until_stopped(argument);
}

/* Adds what has happened in this process to the sums over all. */
static void *run_statistics(void *argument)
{
	(void)argument;
	struct expected_state *state = child.state;
	struct statistics last = { 0 };
	while (atomic_load(&state->stop) == 0) {
		struct statistics now;
		take_statistics(&now);
		atomic_fetch_add(&state->flushes, now.flushes - last.flushes);
		atomic_fetch_add(&state->merges, now.merges - last.merges);
		atomic_fetch_add(&state->laps, now.laps - last.laps);
		last = now;
		struct timespec period = { .tv_nsec = STATS_PERIOD_NS };
		(void)nanosleep(&period, NULL);
	}
	return NULL;
}

static struct writer *create_writer(uint32_t index)
{
	struct writer *writer = malloc(sizeof(*writer));
	if (writer == NULL)
		child_fail("no memory");
	writer->index = index;
	writer->random = random_stream(random_at(child.job.load_seed, index));
	expect_ok(cascade_batch_create(&writer->batch), "batch");
	return writer;
}

static void load_until_stopped(void)
{
	struct writer *writers[WRITERS];
	pthread_t threads[WRITER_THREADS + 1];
	cascade_future *tasks[WRITER_TASKS];
	for (uint32_t i = 0; i < WRITERS; i++)
		writers[i] = create_writer(i);
	for (uint32_t i = 0; i < WRITER_THREADS; i++)
		start_thread(&threads[i], run_writer_thread, writers[i]);
	for (uint32_t i = 0; i < WRITER_TASKS; i++)
		expect_ok(cascade_run_async(child.db, i % cascade_shard_count(child.db), run_writer_task,
					    writers[WRITER_THREADS + i], &tasks[i]),
			  "run_async");
	start_thread(&threads[WRITER_THREADS], run_statistics, NULL);
	set_phase(EXPECTED_LOADING);
	for (uint32_t i = 0; i < WRITER_THREADS + 1; i++)
		(void)pthread_join(threads[i], NULL);
	for (uint32_t i = 0; i < WRITER_TASKS; i++)
		expect_ok(cascade_future_wait(tasks[i]), "task");
	for (uint32_t i = 0; i < WRITERS; i++) {
		cascade_batch_destroy(writers[i]->batch);
		free(writers[i]);
	}
}

/* A process that crashes again and again before it has got far. */
static _Noreturn void load_a_little(void)
{
	struct writer *writer = create_writer(0);
	set_phase(EXPECTED_LOADING);
	for (uint32_t i = 0; i < WRITES_A_LITTLE; i++)
		write_one(writer);
	(void)raise(SIGKILL);
	abort();
}

_Noreturn void kill_child_run(const struct kill_child *job)
{
	child.job = *job;
	child.state = job->state;
	open_database();
	make_keys();
	check_database();
	if (job->work == KILL_CHILD_LOADS_A_LITTLE)
		load_a_little();
	if (job->work == KILL_CHILD_LOADS)
		load_until_stopped();
	expect_ok(cascade_close(child.db), "close");
	set_phase(EXPECTED_CLOSED);
	free(child.keys);
	_exit(0);
}
