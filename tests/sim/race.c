#include "sim/race.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "components/component.h"
#include "sim/failure.h"
#include "sim/history.h"
#include "sim/machine.h"
#include "sim/model.h"

enum {
	SHARDS = 2,
	VALUE_BYTES_MAX = 3000,
	/* More than the pools hold; every third one small enough for the cache of records, which cannot hold
	 * all of those either. */
	FILLERS = 600,
	FILLER_BYTES = 2300,
	SMALL_FILLER_BYTES = 350,
	FILLER_KEY_BYTES = 16,
	POOL_BYTES = 256 << 10,	 /* of a shard: the least there can be */
	RECORDS_BYTES = 9 << 10, /* of a shard, too; little, so that records have to go */
	SNAPSHOTS = 2,
	WHY_BYTES = 600,
	PAUSE_NS_MAX = 300 * 1000,
	NOT_READ = UINT32_MAX,
};

static const uint64_t start_seed = 21;

/* What callers do, in a thousand. */
struct mix {
	uint32_t write, erase, batch, get, fill, filler_get, snapshot, snapshot_get, scan, flush;
};

struct held_snapshot {
	cascade_snapshot *handle;  /* NULL: none */
	uint64_t called, returned; /* of its creation */
	uint32_t found[RACE_KEYS_MAX];
};

struct caller {
	struct race *race;
	struct random random;
	uint32_t index;
	uint32_t operations;
	uint32_t shard; /* where its task runs */
	bool is_task;
	struct held_snapshot snapshots[SNAPSHOTS];
	uint8_t bytes[VALUE_BYTES_MAX > FILLER_BYTES ? VALUE_BYTES_MAX : FILLER_BYTES];
};

struct key_history {
	struct history_operation *operations;
	size_t count, capacity;
	uint64_t last_return;
};

/* What was seen of a snapshot, or by one scan. */
struct seen_state {
	uint32_t found[RACE_KEYS_MAX]; /* NOT_READ: not looked at */
};

struct race {
	struct race_counts *counts;
	struct plan plan;
	struct tally tally;
	struct simulated_world *start;
	struct model start_model; /* keys and values; nobody tells it of writes */
	uint32_t initial[RACE_KEYS_MAX];

	/* Of the schedule. */
	struct model model;
	struct machine *machine;
	struct mix mix;
	uint32_t key_count;
	uint64_t now;
	uint64_t saw; /* a hash of all that the callers did and found */
	struct key_history histories[RACE_KEYS_MAX];
	uint64_t *called; /* when the write of a value began, by value */
	size_t called_count, called_capacity;
	struct seen_state *states;
	size_t state_count, state_capacity;
	struct caller callers[RACE_CALLERS_MAX];
};

static void *grow(void *array, size_t *capacity, size_t count, size_t size)
{
	if (count < *capacity)
		return array;
	*capacity = *capacity == 0 ? 256 : 2 * *capacity;
	void *larger = realloc(array, *capacity * size);
	if (larger == NULL)
		abort();
	return larger;
}

/* --- histories --- */

static void note(struct caller *caller, enum history_kind kind, uint32_t key, uint32_t value, uint64_t called)
{
	struct race *race = caller->race;
	struct key_history *history = &race->histories[key];
	history->operations =
		grow(history->operations, &history->capacity, history->count, sizeof(*history->operations));
	history->operations[history->count++] = (struct history_operation) { .kind = kind,
									     .client = caller->index,
									     .value = value,
									     .called = called,
									     .returned = ++race->now };
	race->saw = random_mix(race->saw ^ called << 32 ^ race->now ^ (uint64_t)value << 8 ^ key << 4 ^ kind);
	race->counts->operations++;
	race->counts->overlapping += called < history->last_return;
	history->last_return = race->now;
}

static uint32_t draw_value(struct race *race)
{
	uint32_t value = model_draw_value(&race->model);
	while (race->called_count <= value) {
		race->called =
			grow(race->called, &race->called_capacity, race->called_count, sizeof(uint64_t));
		race->called[race->called_count++] = 0;
	}
	return value;
}

/* --- keys and values --- */

static cascade_slice key_bytes(const struct race *race, uint32_t key)
{
	return cascade_bytes(race->model.keys[key].bytes, race->model.keys[key].size);
}

static uint32_t any(struct caller *caller, uint64_t bound)
{
	return (uint32_t)random_below(&caller->random, bound);
}

/* Some keys more often than others. */
static uint32_t any_key(struct caller *caller)
{
	uint32_t a = any(caller, caller->race->key_count);
	uint32_t b = any(caller, caller->race->key_count);
	return a < b ? a : b;
}

static cascade_slice filler_key(uint32_t filler, char text[FILLER_KEY_BYTES])
{
	int size = snprintf(text, FILLER_KEY_BYTES, "\xff\xff%06u", filler);
	return cascade_bytes(text, (size_t)size);
}

/* The same bytes whenever it is written; returns their number. */
static size_t fill_filler(uint32_t filler, uint8_t bytes[FILLER_BYTES])
{
	size_t size = filler % 3 == 0 ? SMALL_FILLER_BYTES : FILLER_BYTES;
	for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
		uint64_t word = random_at(filler, i);
		memcpy(bytes + i, &word, size - i < sizeof(word) ? size - i : sizeof(word));
	}
	return size;
}

static cascade_status put_filler(cascade *db, uint32_t filler, uint8_t bytes[FILLER_BYTES])
{
	char text[FILLER_KEY_BYTES];
	size_t size = fill_filler(filler, bytes);
	return cascade_put(db, filler_key(filler, text), cascade_bytes(bytes, size), NULL);
}

/* --- what callers do --- */

static void step_put(struct caller *caller)
{
	struct race *race = caller->race;
	uint32_t key = any_key(caller);
	uint32_t value = draw_value(race);
	size_t size = model_fill_value(&race->model, key, value, caller->bytes);
	uint64_t called = race->called[value] = ++race->now;
	SIM_CHECK_OK(cascade_put(race->machine->db, key_bytes(race, key), cascade_bytes(caller->bytes, size),
				 NULL));
	note(caller, HISTORY_WRITE, key, value, called);
	race->counts->writes++;
}

static void step_erase(struct caller *caller)
{
	struct race *race = caller->race;
	uint32_t key = any_key(caller);
	uint64_t called = ++race->now;
	SIM_CHECK_OK(cascade_delete(race->machine->db, key_bytes(race, key), NULL));
	note(caller, HISTORY_WRITE, key, MODEL_ABSENT, called);
	race->counts->deletes++;
}

/* Two keys of one shard, or one. */
static void step_batch(struct caller *caller)
{
	struct race *race = caller->race;
	uint32_t keys[2] = { any_key(caller), any_key(caller) };
	uint32_t values[2];
	bool both = keys[0] != keys[1] && race->model.keys[keys[0]].shard == race->model.keys[keys[1]].shard;
	unsigned count = both ? 2 : 1;
	cascade_batch *batch;
	SIM_CHECK_OK(cascade_batch_create(&batch));
	uint64_t called = ++race->now;
	for (unsigned i = 0; i < count; i++) {
		values[i] = draw_value(race);
		race->called[values[i]] = called;
		size_t size = model_fill_value(&race->model, keys[i], values[i], caller->bytes);
		SIM_CHECK_OK(cascade_batch_put(batch, key_bytes(race, keys[i]),
					       cascade_bytes(caller->bytes, size)));
	}
	SIM_CHECK_OK(cascade_write(race->machine->db, batch, NULL));
	for (unsigned i = 0; i < count; i++)
		note(caller, HISTORY_WRITE, keys[i], values[i], called);
	cascade_batch_destroy(batch);
	race->counts->batches++;
}

static uint32_t get(struct caller *caller, uint32_t key, const cascade_snapshot *snapshot)
{
	struct race *race = caller->race;
	cascade_read_options options = { .snapshot = snapshot };
	cascade_value value;
	cascade_status status = cascade_get(race->machine->db, key_bytes(race, key), &options, &value);
	if (status == CASCADE_NOT_FOUND)
		return MODEL_ABSENT;
	SIM_CHECK_OK(status);
	uint32_t found = model_identify(&race->model, key, value.data, value.size);
	cascade_value_release(&value);
	return found;
}

static void step_get(struct caller *caller)
{
	uint32_t key = any_key(caller);
	uint64_t called = ++caller->race->now;
	note(caller, HISTORY_READ, key, get(caller, key, NULL), called);
	caller->race->counts->reads++;
}

/* Of data that nobody changes, though it is written again. */
static void step_filler(struct caller *caller, bool write)
{
	cascade *db = caller->race->machine->db;
	char text[FILLER_KEY_BYTES];
	uint32_t filler = any(caller, FILLERS);
	cascade_value value;
	if (any(caller, 2) == 0)
		filler -= filler % 3; /* a small one */
	if (write) {
		SIM_CHECK_OK(put_filler(db, filler, caller->bytes));
		return;
	}
	SIM_CHECK_OK(cascade_get(db, filler_key(filler, text), NULL, &value));
	size_t size = fill_filler(filler, caller->bytes);
	if (value.size != size || memcmp(value.data, caller->bytes, size) != 0)
		sim_fail("filler %u has other bytes than were written", filler);
	cascade_value_release(&value);
}

/* --- snapshots --- */

/* What is seen of a key in a state that was fixed by a call between `called` and `returned`. */
static void note_of_state(struct caller *caller, uint32_t key, uint32_t found, uint64_t called,
			  uint64_t returned)
{
	const struct race *race = caller->race;
	if (found != MODEL_ABSENT && race->called[found] > returned)
		sim_fail("client %u: a snapshot made between %llu and %llu has value %u of key %u, whose "
			 "write "
			 "began at %llu",
			 caller->index, (unsigned long long)called, (unsigned long long)returned, found, key,
			 (unsigned long long)race->called[found]);
	note(caller, HISTORY_READ, key, found, called);
}

static void note_state(struct race *race, const uint32_t found[RACE_KEYS_MAX])
{
	race->states = grow(race->states, &race->state_capacity, race->state_count, sizeof(*race->states));
	memcpy(race->states[race->state_count++].found, found, sizeof(race->states[0].found));
}

static void end_snapshot(struct race *race, struct held_snapshot *held)
{
	if (held->handle == NULL)
		return;
	cascade_snapshot_release(held->handle);
	held->handle = NULL;
	note_state(race, held->found);
}

static void take_snapshot(struct race *race, struct held_snapshot *held)
{
	held->called = ++race->now;
	SIM_CHECK_OK(cascade_snapshot_create(race->machine->db, &held->handle));
	held->returned = ++race->now;
	for (unsigned k = 0; k < RACE_KEYS_MAX; k++)
		held->found[k] = NOT_READ;
}

static void step_snapshot(struct caller *caller)
{
	struct held_snapshot *held = &caller->snapshots[any(caller, SNAPSHOTS)];
	if (held->handle == NULL)
		take_snapshot(caller->race, held);
	else
		end_snapshot(caller->race, held);
}

static void see_snapshot(struct caller *caller, struct held_snapshot *held, uint32_t key, uint32_t found)
{
	if (held->found[key] != NOT_READ && held->found[key] != found)
		sim_fail("client %u: a snapshot has value %u of key %u, and had %u before", caller->index,
			 found, key, held->found[key]);
	held->found[key] = found;
	note_of_state(caller, key, found, held->called, held->returned);
	caller->race->counts->snapshot_reads++;
}

static void step_snapshot_get(struct caller *caller)
{
	struct held_snapshot *held = &caller->snapshots[any(caller, SNAPSHOTS)];
	uint32_t key = any_key(caller);
	if (held->handle == NULL)
		take_snapshot(caller->race, held);
	see_snapshot(caller, held, key, get(caller, key, held->handle));
}

/* The key of a row; UINT32_MAX: one of the fillers. */
static uint32_t row_key(const struct race *race, cascade_iterator *iterator)
{
	cascade_slice key = cascade_iterator_key(iterator);
	if (key.size > 2 && memcmp(key.data, "\xff\xff", 2) == 0)
		return UINT32_MAX;
	return model_find_key(&race->model, key.data, key.size);
}

/* Values of the keys from `at` up to `end`. */
static void read_rows(struct race *race, cascade_iterator *iterator, uint32_t at, uint32_t end,
		      uint32_t found[RACE_KEYS_MAX])
{
	SIM_CHECK_OK(cascade_iterator_seek_first(iterator));
	for (uint32_t k = at; k < end; k++)
		found[k] = MODEL_ABSENT;
	while (cascade_iterator_valid(iterator)) {
		cascade_slice value = cascade_iterator_value(iterator);
		uint32_t key = row_key(race, iterator);
		if (key >= race->key_count)
			break;
		if (key < at || key >= end)
			sim_fail("a scan of keys %u to %u came to key %u", at, end, key);
		found[key] = model_identify(&race->model, key, value.data, value.size);
		at = key + 1;
		SIM_CHECK_OK(cascade_iterator_next(iterator));
	}
	SIM_CHECK_OK(cascade_iterator_status(iterator));
}

/* A stretch of the keys, of a snapshot or of the state of the moment. */
static void step_scan(struct caller *caller)
{
	struct race *race = caller->race;
	struct held_snapshot *held = &caller->snapshots[any(caller, SNAPSHOTS)];
	uint32_t from = any(caller, race->key_count);
	uint32_t end = from + 1 + any(caller, race->key_count - from);
	uint32_t found[RACE_KEYS_MAX];
	for (unsigned k = 0; k < RACE_KEYS_MAX; k++)
		found[k] = NOT_READ;
	bool old = held->handle != NULL && any(caller, 2) == 0;
	cascade_iterator_options options = { .snapshot = old ? held->handle : NULL,
					     .lower = key_bytes(race, from),
					     .rows_hint = any(caller, 2) == 0 ? end - from : 0 };
	cascade_iterator *iterator;
	options.has_upper = end < race->key_count;
	if (options.has_upper)
		options.upper = key_bytes(race, end);
	uint64_t called = ++race->now;
	SIM_CHECK_OK(cascade_iterator_create(race->machine->db, &options, &iterator));
	uint64_t returned = ++race->now;
	read_rows(race, iterator, from, end, found);
	cascade_iterator_destroy(iterator);
	for (uint32_t k = from; k < end; k++) {
		race->counts->scanned++;
		if (old)
			see_snapshot(caller, held, k, found[k]);
		else
			note_of_state(caller, k, found[k], called, returned);
	}
	if (!old)
		note_state(race, found);
}

/* --- callers --- */

static void step(struct caller *caller)
{
	struct race *race = caller->race;
	const struct mix *mix = &race->mix;
	uint32_t sum = mix->write + mix->erase + mix->batch + mix->get + mix->fill + mix->filler_get +
		       mix->snapshot + mix->snapshot_get + mix->scan + mix->flush;
	uint32_t draw = any(caller, sum);
	if (any(caller, 16) == 0)
		cascade_sleep(race->machine->db, any(caller, PAUSE_NS_MAX));
	if (draw < mix->write)
		step_put(caller);
	else if ((draw -= mix->write) < mix->erase)
		step_erase(caller);
	else if ((draw -= mix->erase) < mix->batch)
		step_batch(caller);
	else if ((draw -= mix->batch) < mix->get)
		step_get(caller);
	else if ((draw -= mix->get) < mix->fill)
		step_filler(caller, true);
	else if ((draw -= mix->fill) < mix->filler_get)
		step_filler(caller, false);
	else if ((draw -= mix->filler_get) < mix->snapshot)
		step_snapshot(caller);
	else if ((draw -= mix->snapshot) < mix->snapshot_get)
		step_snapshot_get(caller);
	else if (draw - mix->snapshot_get < mix->scan)
		step_scan(caller);
	else
		SIM_CHECK_OK(cascade_flush(race->machine->db));
}

static void do_all(cascade *db, void *argument)
{
	struct caller *caller = argument;
	(void)db;
	for (uint32_t i = 0; i < caller->operations; i++)
		step(caller);
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		end_snapshot(caller->race, &caller->snapshots[i]);
}

static void run_caller(void *argument)
{
	struct caller *caller = argument;
	cascade *db = caller->race->machine->db;
	if (!caller->is_task) {
		do_all(db, caller);
		return;
	}
	cascade_future *future;
	SIM_CHECK_OK(cascade_run_async(db, caller->shard, do_all, caller, &future));
	SIM_CHECK_OK(cascade_future_wait(future));
}

static void run_callers(struct race *race, struct random *random, const struct race_limits *limits)
{
	unsigned count = 6 + (unsigned)random_below(random, RACE_CALLERS_MAX - 5);
	for (unsigned i = 0; i < count; i++) {
		race->callers[i] = (struct caller) { .race = race,
						     .random = random_stream(random_next(random)),
						     .index = i,
						     .operations = limits->operations };
		race->callers[i].is_task = any(&race->callers[i], 2) == 0;
		race->callers[i].shard = any(&race->callers[i], SHARDS);
	}
	stepped_run_clients(race->machine->stepped, "caller", run_caller, race->callers,
			    sizeof(race->callers[0]), count);
}

/* --- the database --- */

static struct plan make_plan(void)
{
	struct plan plan;
	plan_draw(&plan, start_seed, &(struct plan_limits) { .no_images = true });
	plan.faults = 0;
	plan.clients = 1;
	plan.keys = RACE_KEYS_MAX;
	plan.value_bytes_max = VALUE_BYTES_MAX;
	plan.shards = SHARDS;
	plan.memtable = component_list(COMPONENT_MEMTABLE)[0]->name;
	plan.filter = component_list(COMPONENT_FILTER)[0]->name;
	plan.cache = component_list(COMPONENT_CACHE)[0]->name;
	plan.codec = component_list(COMPONENT_CODEC)[0]->name;
	plan.wal = "buffered";
	plan.level = CASCADE_DURABILITY_PROCESS;
	plan.durability = "process";
	plan.memtable_bytes = 32 << 10;
	plan.cache_bytes = POOL_BYTES + RECORDS_BYTES;
	plan.segment_bytes = 32 << 10;
	plan.table_bytes = 64 << 10;
	plan.block_bytes = 2048;
	plan.level0_tables = 2;
	plan.size_ratio = 4;
	plan.merges = 2;
	plan.direct = true;
	plan.unit_bytes = 4096;
	plan.ordered = false;
	plan.policy = STEPPED_FIFO;
	plan.write_timeout_ns = 60ull * 1000 * 1000 * 1000;
	return plan;
}

/* The single records get all that is more than the pools must have. */
static void open_database(struct race *race)
{
	char share[32];
	struct machine *machine = race->machine;
	cascade_options *options = plan_options(&race->plan);
	(void)snprintf(share, sizeof(share), "%.6f", (double)RECORDS_BYTES / (POOL_BYTES + RECORDS_BYTES));
	SIM_CHECK_OK(cascade_options_set(options, "cache.record_share", share));
	SIM_CHECK_OK(cascade_open(MACHINE_PATH, options, &machine->db));
	cascade_options_destroy(options);
}

static void write_start(struct race *race)
{
	static uint8_t bytes[VALUE_BYTES_MAX > FILLER_BYTES ? VALUE_BYTES_MAX : FILLER_BYTES];
	cascade *db = race->machine->db;
	for (uint32_t filler = 0; filler < FILLERS; filler++)
		SIM_CHECK_OK(put_filler(db, filler, bytes));
	for (uint32_t key = 0; key < RACE_KEYS_MAX; key++) {
		race->initial[key] = draw_value(race);
		size_t size = model_fill_value(&race->model, key, race->initial[key], bytes);
		SIM_CHECK_OK(cascade_put(db, key_bytes(race, key), cascade_bytes(bytes, size), NULL));
	}
	SIM_CHECK_OK(cascade_flush(db));
	SIM_CHECK_OK(cascade_wait_idle(db));
}

struct race *race_create(struct race_counts *counts)
{
	struct race *race = calloc(1, sizeof(*race));
	if (race == NULL)
		abort();
	race->counts = counts;
	race->plan = make_plan();
	race->key_count = RACE_KEYS_MAX;
	model_init(&race->model, start_seed, 1, RACE_KEYS_MAX, VALUE_BYTES_MAX);
	race->machine = machine_create(&race->plan, &race->tally, NULL, start_seed);
	open_database(race);
	model_assign_shards(&race->model, race->machine->db);
	write_start(race);
	SIM_CHECK_OK(machine_close(race->machine));
	simulated_settle(race->machine->disk);
	struct simulated_crash all = { .kind = SIMULATED_POWER, .keep = SIMULATED_KEEP_ALL };
	race->start = simulated_crash(race->machine->disk, &all);
	(void)machine_destroy(race->machine);
	race->start_model = race->model;
	return race;
}

void race_destroy(struct race *race)
{
	simulated_destroy(race->start);
	for (unsigned k = 0; k < RACE_KEYS_MAX; k++)
		free(race->histories[k].operations);
	free(race->called);
	free(race->states);
	free(race);
}

/* --- schedules --- */

/* Each has its own emphasis. Of little there may be nothing. */
static void draw_schedule(struct race *race, struct random *random, uint64_t seed)
{
	static const uint32_t most[] = { 0, 1, 4, 10 };
	struct mix *mix = &race->mix;
	race->key_count = 3 + (uint32_t)random_below(random, RACE_KEYS_MAX - 2);
	race->plan.policy = (enum stepped_policy)(seed % STEPPED_POLICY_COUNT);
	mix->write = 40 << random_below(random, 4);
	mix->erase = mix->write / 4;
	mix->batch = mix->write / 8;
	mix->get = 400;
	mix->fill = 15 << random_below(random, 4);
	mix->filler_get = 40 << random_below(random, 4);
	mix->snapshot = 10 * most[random_below(random, 4)];
	mix->snapshot_get = 2 * mix->snapshot;
	mix->scan = 4 * most[random_below(random, 4)];
	mix->flush = 3 * most[random_below(random, 4)];
	race->plan.faults =
		random_below(random, 2) == 0 ? 1u << SIM_STALL | 1u << SIM_SHORT | 1u << SIM_AGAIN : 0;
}

/* Some reads of tables take so long that meanwhile keys are written and the memtables that held them flushed.
 */
static void stall_reads(struct race *race, struct random *random)
{
	struct faulty_rule rule = { .kind = FAULTY_STALL,
				    .operations = FAULTY_OPERATION(IO_READ),
				    .file = "*.table",
				    .in_million = 20000u << random_below(random, 4),
				    .delay_ns = 1000000ull << random_below(random, 6) };
	if (random_below(random, 4) != 0)
		(void)faulty_add(race->machine->faults, &rule);
}

static void check_histories(struct race *race)
{
	for (uint32_t key = 0; key < race->key_count; key++) {
		struct key_history *history = &race->histories[key];
		char why[WHY_BYTES];
		if (!history_is_linearizable(history->operations, history->count, race->initial[key], why,
					     sizeof(why)))
			sim_fail("key %u of shard %u: %s", key, race->model.keys[key].shard, why);
	}
}

static void check_states(struct race *race)
{
	struct history histories[RACE_KEYS_MAX];
	char why[WHY_BYTES];
	for (uint32_t key = 0; key < race->key_count; key++)
		histories[key] =
			(struct history) { race->histories[key].operations, race->histories[key].count };
	for (size_t i = 0; i < race->state_count; i++)
		if (!history_is_one_state(histories, race->key_count, race->states[i].found, NOT_READ, why,
					  sizeof(why)))
			sim_fail("a snapshot is no state of one moment: %s", why);
	race->counts->states += race->state_count;
}

/* What is there when all have ended counts as well. */
static void read_all(struct race *race)
{
	struct caller *caller = &race->callers[0];
	caller->index = RACE_CALLERS_MAX;
	for (uint32_t key = 0; key < race->key_count; key++) {
		uint64_t called = ++race->now;
		note(caller, HISTORY_READ, key, get(caller, key, NULL), called);
	}
}

static void note_counters(struct race *race)
{
	const struct {
		const char *name;
		uint64_t *count;
	} stats[] = {
		{ "records.hits", &race->counts->record_hits },
		{ "records.inserts", &race->counts->record_inserts },
		{ "records.removals", &race->counts->record_removals },
		{ "records.evictions", &race->counts->record_evictions },
		{ "cache.misses", &race->counts->misses },
		{ "cache.joined", &race->counts->joined },
		{ "flushes", &race->counts->flushes },
		{ "merges", &race->counts->merges },
	};
	for (unsigned i = 0; i < sizeof(stats) / sizeof(stats[0]); i++)
		*stats[i].count += machine_stat(race->machine, stats[i].name);
	race->counts->borrowed += stepped_count(race->machine->stepped, STEPPED_BORROWED);
	race->counts->by_policy[race->plan.policy]++;
	race->counts->schedules++;
}

uint64_t race_run(struct race *race, uint64_t seed, const struct race_limits *limits)
{
	struct random random = random_stream(random_mix(seed + 0x72616365));
	struct simulated_crash all = { .kind = SIMULATED_POWER, .keep = SIMULATED_KEEP_ALL, .seed = seed };
	race->model = race->start_model;
	race->now = race->saw = 0;
	race->state_count = 0;
	for (unsigned k = 0; k < RACE_KEYS_MAX; k++)
		race->histories[k].count = race->histories[k].last_return = 0;
	draw_schedule(race, &random, seed);
	race->machine = machine_create(&race->plan, &race->tally, simulated_crash(race->start, &all),
				       random_next(&random));
	open_database(race);
	stall_reads(race, &random);
	run_callers(race, &random, limits);
	read_all(race);
	check_histories(race);
	check_states(race);
	note_counters(race);
	stepped_trace_mix(race->machine->stepped, &race->saw, sizeof(race->saw));
	SIM_CHECK_OK(machine_close(race->machine));
	return machine_destroy(race->machine);
}

/* --- counts --- */

enum { COUNT_WORDS = sizeof(struct race_counts) / sizeof(uint64_t) };

void race_counts_add(struct race_counts *to, const struct race_counts *from)
{
	uint64_t *sum = (uint64_t *)(void *)to;
	const uint64_t *more = (const uint64_t *)(const void *)from;
	for (unsigned i = 0; i < COUNT_WORDS; i++)
		sum[i] += more[i];
}

void race_counts_print(const struct race_counts *counts, FILE *to)
{
	static const char *const names[COUNT_WORDS] = {
		"schedules",	   "fifo",
		"random",	   "pct",
		"operations",	   "reads",
		"writes",	   "deletes",
		"batches",	   "reads of snapshots",
		"keys scanned",	   "states",
		"overlapping",	   "record hits",
		"records put in",  "records taken out",
		"records evicted", "pages missed",
		"loads shared",	   "flushes",
		"merges",	   "shards borrowed",
	};
	const uint64_t *words = (const uint64_t *)(const void *)counts;
	for (unsigned i = 0; i < COUNT_WORDS; i++)
		(void)fprintf(to, "%s%llu %s", i > 0 ? ", " : "", (unsigned long long)words[i], names[i]);
	(void)fprintf(to, "\n");
}
