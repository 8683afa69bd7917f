/*
 * stepped_database_test.c: whole databases on the simulated disk, all shards and callers on one thread in an
 * order drawn from a seed. The same seed gives the same run: the same choices, times, bytes and answers, in
 * another process too. Builds by other compilers and with sanitizers print the same numbers:
 *
 *     build/a/stepped_database_test trace 7 random    the trace of one run
 *
 * Takes about two seconds.
 */
#include "test.h"

#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "cascade.h"
#include "io/faulty.h"
#include "io/simulated.h"
#include "runtime/stepped.h"

#define SEED 20250611

enum { SHARDS = 2, CLIENTS = 4, OPERATIONS = 150, KEYS = 64, VALUE_MAX = 3000, STEPS_MAX = 5 * 1000 * 1000 };

/* cmocka can unwind neither a client's stack nor a task's: a failed check ends the program. */
#define CHECK(expression)                                                                            \
	do {                                                                                         \
		if (!(expression)) {                                                                 \
			(void)fprintf(stderr, "%s:%d: failed: %s (seed %llu)\n", __FILE__, __LINE__, \
				      #expression, (unsigned long long)test_seed(SEED));             \
			abort();                                                                     \
		}                                                                                    \
	} while (0)

#define CHECK_OK(expression)                                                                         \
	do {                                                                                         \
		cascade_status got_ = (expression);                                                  \
		if (got_ != CASCADE_OK) {                                                            \
			(void)fprintf(stderr, "%s:%d: %s: %s (%s; seed %llu)\n", __FILE__, __LINE__, \
				      #expression, cascade_strerror(got_), cascade_error_message(),  \
				      (unsigned long long)test_seed(SEED));                          \
			abort();                                                                     \
		}                                                                                    \
	} while (0)

/* --- a world with a database --- */

struct run {
	struct simulated_world *world;
	struct stepped *stepped;
	struct faulty *plan;
	cascade *db;
	uint64_t seed;
	const cascade_component_info *variant; /* of which the database is assembled; NULL: the defaults */
	uint64_t flushes, merges;
	/* What each key holds: written only by the client that owns it. 0: nothing. */
	uint64_t versions[KEYS];
};

struct client {
	struct run *run;
	unsigned number;
	struct random random;
};

static cascade_options *small_options(const cascade_component_info *variant)
{
	static const char *const settings[][2] = {
		{ "shards", "2" },
		{ "memtable.size", "512 KiB" },
		{ "cache.size", "512 KiB" },
		{ "table.size", "64 KiB" },
	};
	cascade_options *options;
	CHECK_OK(cascade_options_create(&options));
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		CHECK_OK(cascade_options_set(options, settings[i][0], settings[i][1]));
	if (variant != NULL) {
		char name[48];
		(void)snprintf(name, sizeof(name), "%s.kind", variant->kind);
		CHECK_OK(cascade_options_set(options, name, variant->name));
	}
	if (variant == NULL || strcmp(variant->kind, "compaction") != 0)
		CHECK_OK(cascade_options_set(options, "compaction.level0_tables", "2"));
	return options;
}

static void open_database(struct run *run)
{
	cascade_options *options = small_options(run->variant);
	CHECK_OK(cascade_open("/db", options, &run->db));
	cascade_options_destroy(options);
}

static uint64_t stat_of(cascade *db, const char *name)
{
	cascade_stat *stats;
	size_t count;
	uint64_t value = 0;
	CHECK_OK(cascade_stats(db, &stats, &count));
	for (size_t i = 0; i < count; i++) {
		if (strcmp(stats[i].name, name) == 0)
			value = stats[i].value;
	}
	cascade_stats_free(stats);
	return value;
}

static void close_database(struct run *run)
{
	run->flushes += stat_of(run->db, "flushes");
	run->merges += stat_of(run->db, "merges");
	CHECK_OK(cascade_close(run->db));
}

static void add_faults(struct run *run)
{
	static const struct faulty_rule rules[] = {
		{ .kind = FAULTY_PASSING, .in_million = 20000 },
		{ .kind = FAULTY_SHORT, .in_million = 20000 },
		{ .kind = FAULTY_STALL, .in_million = 50000 },
	};
	run->plan = faulty_create(run->seed);
	faulty_install(run->plan, "simulated");
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		(void)faulty_add(run->plan, &rules[i]);
}

static void run_begin(struct run *run, const struct stepped_options *options, bool faults,
		      const cascade_component_info *variant)
{
	*run = (struct run) { .seed = options->seed, .variant = variant };
	run->world = simulated_create(&(struct simulated_options) { .seed = options->seed });
	run->stepped = stepped_create(options, run->world);
	stepped_install(run->stepped, faults ? "faulty" : "simulated");
	if (faults)
		add_faults(run);
	open_database(run);
}

static uint64_t run_end(struct run *run)
{
	close_database(run);
	uint64_t trace = stepped_trace(run->stepped);
	stepped_destroy(run->stepped);
	if (run->plan != NULL) {
		CHECK(faulty_count(run->plan, FAULTY_PASSING) > 0);
		CHECK(faulty_count(run->plan, FAULTY_SHORT) > 0);
		CHECK(faulty_count(run->plan, FAULTY_STALL) > 0);
		faulty_install(NULL, "simulated");
		faulty_destroy(run->plan);
	}
	simulated_destroy(run->world);
	return trace;
}

/* --- what clients do --- */

static cascade_slice key_of(unsigned key, char text[16])
{
	(void)snprintf(text, 16, "key%05u", key);
	return cascade_string(text);
}

static size_t make_value(unsigned key, uint64_t version, char *value)
{
	struct random random = random_stream(key * 1000003 + version);
	size_t size = 8 + (size_t)random_below(&random, VALUE_MAX - 8);
	memcpy(value, &version, 8);
	for (size_t i = 8; i < size; i++)
		value[i] = (char)random_next(&random);
	return size;
}

static void put_key(struct client *client, unsigned key)
{
	struct run *run = client->run;
	char name[16];
	char value[VALUE_MAX];
	uint64_t version = run->versions[key] + 1;
	size_t size = make_value(key, version, value);
	cascade_write_options options = { .durability = random_below(&client->random, 4) == 0
								? CASCADE_DURABILITY_POWER
								: CASCADE_DURABILITY_PROCESS };
	CHECK_OK(cascade_put(run->db, key_of(key, name), cascade_bytes(value, size), &options));
	run->versions[key] = version;
}

/* The same by a future, which the client may cancel: what it says is what happened. */
static void put_later(struct client *client, unsigned key)
{
	struct run *run = client->run;
	char name[16];
	char value[VALUE_MAX];
	cascade_future *future;
	uint64_t version = run->versions[key] + 1;
	size_t size = make_value(key, version, value);
	cascade_slice slice = key_of(key, name);
	CHECK_OK(cascade_put_async(run->db, slice, cascade_bytes(value, size), NULL, &future));
	for (uint64_t n = random_below(&client->random, 3); n > 0; n--)
		cascade_sleep(run->db, 1000);
	if (random_below(&client->random, 2) == 0)
		CHECK_OK(cascade_future_cancel(future));
	cascade_status status = cascade_future_wait(future);
	stepped_trace_mix(run->stepped, &status, sizeof(status));
	if (status == CASCADE_CANCELED)
		return;
	CHECK_OK(status);
	run->versions[key] = version;
}

/* Two keys of the client's own in one batch; it takes keys of one shard only. */
static void put_two(struct client *client, unsigned key, unsigned other)
{
	struct run *run = client->run;
	cascade_batch *batch;
	CHECK_OK(cascade_batch_create(&batch));
	unsigned keys[2] = { key, other };
	for (unsigned i = 0; i < (key == other ? 1 : 2); i++) {
		char name[16];
		char value[VALUE_MAX];
		size_t size = make_value(keys[i], run->versions[keys[i]] + 1, value);
		CHECK_OK(cascade_batch_put(batch, key_of(keys[i], name), cascade_bytes(value, size)));
	}
	cascade_status status = cascade_write(run->db, batch, NULL);
	cascade_batch_destroy(batch);
	if (status == CASCADE_UNSUPPORTED)
		return;
	CHECK_OK(status);
	run->versions[key]++;
	run->versions[other] += key != other;
}

static void get_key(struct client *client, unsigned key, bool own)
{
	struct run *run = client->run;
	char name[16];
	char expected[VALUE_MAX];
	cascade_value value;
	uint64_t before = run->versions[key];
	cascade_status status = cascade_get(run->db, key_of(key, name), NULL, &value);
	stepped_trace_mix(run->stepped, &status, sizeof(status));
	if (status == CASCADE_NOT_FOUND) {
		CHECK(before == 0);
		return;
	}
	CHECK_OK(status);
	uint64_t version;
	memcpy(&version, value.data, 8);
	CHECK(version >= before && (!own || version == before));
	CHECK(value.size == make_value(key, version, expected));
	CHECK(memcmp(value.data, expected, value.size) == 0);
	stepped_trace_mix(run->stepped, value.data, value.size);
	cascade_value_release(&value);
}

static uint64_t scan(struct run *run, const cascade_snapshot *snapshot)
{
	cascade_iterator *iterator;
	cascade_iterator_options options = { .snapshot = snapshot };
	CHECK_OK(cascade_iterator_create(run->db, &options, &iterator));
	uint64_t sum = 0;
	CHECK_OK(cascade_iterator_seek(iterator, cascade_string("key")));
	unsigned rows = 0;
	for (; cascade_iterator_valid(iterator); rows++) {
		cascade_slice key = cascade_iterator_key(iterator);
		cascade_slice value = cascade_iterator_value(iterator);
		sum = checksum64(key.data, key.size, sum);
		sum = checksum64(value.data, value.size, sum);
		CHECK_OK(cascade_iterator_next(iterator));
	}
	CHECK_OK(cascade_iterator_status(iterator));
	CHECK(rows <= KEYS);
	cascade_iterator_destroy(iterator);
	stepped_trace_mix(run->stepped, &sum, sizeof(sum));
	return sum;
}

/* By one snapshot: the same rows. */
static void scan_twice(struct run *run)
{
	cascade_snapshot *snapshot;
	CHECK_OK(cascade_snapshot_create(run->db, &snapshot));
	uint64_t sum = scan(run, snapshot);
	CHECK(scan(run, snapshot) == sum);
	cascade_snapshot_release(snapshot);
}

static unsigned own_key(struct client *client)
{
	return client->number + CLIENTS * (unsigned)random_below(&client->random, KEYS / CLIENTS);
}

static void work(void *argument)
{
	struct client *client = argument;
	for (unsigned i = 0; i < OPERATIONS; i++) {
		unsigned own = own_key(client);
		switch (random_below(&client->random, 64)) {
		case 0:
			CHECK_OK(cascade_flush(client->run->db));
			break;
		case 1:
			scan_twice(client->run);
			break;
		case 2:
			cascade_sleep(client->run->db, random_below(&client->random, 1000000));
			break;
		case 3:
		case 4:
			put_two(client, own, own_key(client));
			break;
		case 5:
		case 6:
		case 7:
			put_later(client, own);
			break;
		default:
			if (random_below(&client->random, 3) > 0)
				put_key(client, own);
			else if (random_below(&client->random, 2) == 0)
				get_key(client, own, true);
			else
				get_key(client, (unsigned)random_below(&client->random, KEYS), false);
		}
	}
}

static void work_as_task(cascade *db, void *argument)
{
	(void)db;
	work(argument);
}

/* Half of the clients are tasks of the shards, half see themselves as threads. */
static void run_work(struct run *run)
{
	struct client clients[CLIENTS];
	cascade_future *futures[CLIENTS];
	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client) { run, i, random_stream(random_at(run->seed, i)) };
		if (i % 2 == 0)
			CHECK_OK(cascade_run_async(run->db, i / 2, work_as_task, &clients[i], &futures[i]));
		else
			stepped_start(run->stepped, "client", work, &clients[i]);
	}
	stepped_wait_clients(run->stepped);
	for (unsigned i = 0; i < CLIENTS; i += 2)
		CHECK_OK(cascade_future_wait(futures[i]));
}

static void check_all(struct run *run)
{
	struct client client = { .run = run };
	for (unsigned key = 0; key < KEYS; key++)
		get_key(&client, key, true);
}

static uint64_t run_once(const struct stepped_options *options, bool faults,
			 const cascade_component_info *variant)
{
	struct run run;
	run_begin(&run, options, faults, variant);
	run_work(&run);
	check_all(&run);
	close_database(&run);
	open_database(&run);
	check_all(&run);
	run_work(&run);
	check_all(&run);
	CHECK_OK(cascade_verify(run.db));
	CHECK_OK(cascade_wait_idle(run.db));
	CHECK(stepped_count(run.stepped, STEPPED_BORROWED) > 0);
	CHECK(stepped_count(run.stepped, STEPPED_REFUSED) > 0);
	CHECK(stepped_count(run.stepped, STEPPED_AGAIN) > 0);
	uint64_t trace = run_end(&run);
	CHECK(run.flushes > 4 && run.merges > 0);
	return trace;
}

/* --- tests --- */

static struct stepped_options options_of(uint64_t seed, enum stepped_policy policy)
{
	return (struct stepped_options) { .seed = seed, .policy = policy, .steps_max = STEPS_MAX };
}

static void the_same_seed_gives_the_same_run(void **state)
{
	(void)state;
	uint64_t seed = test_seed(SEED);
	for (int policy = 0; policy < STEPPED_POLICY_COUNT; policy++) {
		uint64_t seen[2];
		for (unsigned i = 0; i < 2; i++) {
			struct stepped_options options = options_of(seed + i, (enum stepped_policy)policy);
			seen[i] = run_once(&options, i == 1, NULL);
			assert_int_equal(run_once(&options, i == 1, NULL), seen[i]);
		}
		assert_int_not_equal(seen[0], seen[1]);
	}
}

/* Whatever it is assembled from. */
static void every_variant_repeats(void **state)
{
	(void)state;
	const cascade_component_info *variants;
	size_t count = cascade_component_list(&variants);
	unsigned checked = 0;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(variants[i].kind, "io") == 0 || variants[i].forgets)
			continue;
		struct stepped_options options = options_of(test_seed(SEED) + 10 + i, STEPPED_RANDOM);
		uint64_t seen = run_once(&options, false, &variants[i]);
		(void)printf("%s %s: %016llx\n", variants[i].kind, variants[i].name,
			     (unsigned long long)seen);
		assert_int_equal(run_once(&options, false, &variants[i]), seen);
		checked++;
	}
	assert_true(checked > 10);
}

/* Addresses lie elsewhere there. */
static void another_process_gives_the_same_run(void **state)
{
	(void)state;
	char path[512];
	char line[700];
	ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);
	assert_true(size > 0);
	path[size] = '\0';
	(void)snprintf(line, sizeof(line), "'%s' trace %llu random", path,
		       (unsigned long long)test_seed(SEED));
	FILE *other = popen(line, "r");
	assert_non_null(other);
	assert_non_null(fgets(line, sizeof(line), other));
	assert_int_equal(pclose(other), 0);
	struct stepped_options options = options_of(test_seed(SEED), STEPPED_RANDOM);
	assert_int_equal(strtoull(line, NULL, 16), run_once(&options, true, NULL));
}

static int print_trace(const char *seed, const char *policy)
{
	for (int i = 0; i < STEPPED_POLICY_COUNT; i++) {
		if (strcmp(policy, stepped_policy_name((enum stepped_policy)i)) != 0)
			continue;
		struct stepped_options options = options_of(strtoull(seed, NULL, 0), (enum stepped_policy)i);
		(void)printf("%016llx\n", (unsigned long long)run_once(&options, true, NULL));
		return 0;
	}
	return 2;
}

int main(int count, char **arguments)
{
	if (count == 4 && strcmp(arguments[1], "trace") == 0)
		return print_trace(arguments[2], arguments[3]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_seed_gives_the_same_run),
		cmocka_unit_test(every_variant_repeats),
		cmocka_unit_test(another_process_gives_the_same_run),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
