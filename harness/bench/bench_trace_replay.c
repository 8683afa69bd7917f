#include "harness/bench/bench_trace_replay.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "harness/allocate.h"

enum {
	VALUES_BYTES = 2 * VALUE_BYTES_MAX, /* a ring from which values are put in */
	LOG_BYTES = 128 << 10,		    /* of which so much is used while values are small */
	CHUNK_BYTES_MIN = 4096,
	CHUNK_BYTES_MAX = 64 << 20,
	LONG_NS = 100 * 1000,
	NOTHING_TICKS_MAX = 500,
};

/* --- what is there --- */

struct replayed_memtable {
	uint64_t number;
	struct arena arena;
	struct memtable *memtable;
	uint64_t inserts;
};

struct replayed_iterator {
	uint64_t number;
	struct replayed_memtable *memtable;
	struct memtable_iterator *iterator; /* MEMTABLE_ITERATOR_BYTES */
};

/* Things by their numbers, newest last: what is asked for is most often among the last. */
struct numbered {
	void **things; /* each begins with its number */
	size_t count, capacity;
};

static void numbered_add(struct numbered *list, void *thing)
{
	if (list->count == list->capacity) {
		list->capacity = 2 * list->capacity + 16;
		list->things = allocate_resize(list->things, list->capacity * sizeof(*list->things));
	}
	list->things[list->count++] = thing;
}

static size_t numbered_find(const struct numbered *list, uint64_t number)
{
	size_t at = list->count;
	while (at > 0 && *(const uint64_t *)list->things[at - 1] != number)
		at--;
	return at; /* one behind it; 0: there is none */
}

static void numbered_remove(struct numbered *list, size_t at)
{
	memmove(&list->things[at - 1], &list->things[at], (list->count - at) * sizeof(*list->things));
	list->count--;
}

struct replay {
	const struct replay_options *options;
	struct replay_tally *tally;
	struct canary canary;
	double nothing; /* ticks that readings of the clock alone took, and how many there were */
	uint64_t nothings;
	double long_ticks;
	uint64_t recorded_end; /* of the operation before, in the engine */
	uint64_t gap;	       /* ticks that the engine spent between it and this one, with something else */
	uint64_t canary_ticks; /* of these, with its canaries */
	bool checks;

	struct arena_pool pool;
	bool has_pool;
	struct numbered memtables, iterators;
	uint8_t *values;
	size_t values_at;

	/* Of a batch, until its end is known. */
	struct memtable_probe *probes;
	struct trace_record *wanted;
	size_t probe_count, probe_capacity;
	uint8_t *keys;
	size_t keys_used, keys_capacity;
};

static struct status missing(const char *what, uint64_t number)
{
	return status_error(STATUS_CORRUPT, "the trace names %s %llu, which is not there", what,
			    (unsigned long long)number);
}

static struct status find_memtable(const struct replay *replay, uint64_t number,
				   struct replayed_memtable **memtable)
{
	size_t at = numbered_find(&replay->memtables, number);
	if (at == 0)
		return missing("memtable", number);
	*memtable = replay->memtables.things[at - 1];
	return status_ok();
}

static struct status find_iterator(const struct replay *replay, uint64_t number,
				   struct replayed_iterator **iterator)
{
	size_t at = numbered_find(&replay->iterators, number);
	if (at == 0)
		return missing("iterator", number);
	*iterator = replay->iterators.things[at - 1];
	return status_ok();
}

/* --- around each operation --- */

/* `timed`: ticks of `operations` operations, between `readings` pairs of readings of the clock. */
static void count(struct replay *replay, enum replay_operation operation, uint64_t operations, uint64_t timed,
		  uint64_t readings)
{
	struct replay_tally *tally = replay->tally;
	tally->count[operation] += operations;
	if (operation != REPLAY_SEEK && (double)timed > replay->long_ticks * (double)operations) {
		tally->interrupted_ticks += (double)timed;
		return;
	}
	tally->ticks[operation] += (double)timed;
	tally->readings[operation] += readings;
}

static void count_own(struct replay *replay, enum replay_operation operation, uint64_t timed)
{
	count(replay, operation, 1, timed, 1);
}

/* A pair of readings with nothing between them. */
static void count_nothing(struct replay *replay, uint64_t ticks)
{
	if (ticks >= NOTHING_TICKS_MAX)
		return;
	replay->nothing += (double)ticks;
	replay->nothings++;
}

static void take_clock_off(struct replay *replay)
{
	struct replay_tally *tally = replay->tally;
	tally->clock_cost = replay->nothings > 0 ? replay->nothing / (double)replay->nothings
						 : (double)replay->options->file->header.clock_cost / 256;
	for (unsigned i = 0; i < REPLAY_OPERATIONS; i++) {
		double cost = tally->clock_cost * (double)tally->readings[i];
		tally->ticks[i] = tally->ticks[i] > cost ? tally->ticks[i] - cost : 0;
	}
}

static uint64_t begin(struct replay *replay, enum canary_class class)
{
	struct surroundings *surroundings = replay->options->surroundings;
	struct canary_reading reading;
	if (surroundings != NULL)
		surroundings_pass(surroundings, class, replay->gap);
	if (canary_before(&replay->canary, class, &reading)) {
		count_nothing(replay, reading.nothing);
		if (surroundings != NULL)
			surroundings_have(surroundings, class, &reading);
	}
	return canary_clock(replay->canary.counts);
}

static uint64_t end(struct replay *replay, enum canary_class class, uint64_t begun)
{
	uint64_t ticks = canary_clock(replay->canary.counts) - begun;
	canary_after(&replay->canary, class);
	return ticks;
}

static void check(struct replay *replay, bool same, const char *what, const struct trace_record *record)
{
	struct replay_tally *tally = replay->tally;
	if (!replay->checks)
		return;
	tally->checked++;
	if (same)
		return;
	if (tally->mismatches++ == 0)
		(void)snprintf(tally->mismatch, sizeof(tally->mismatch),
			       "%s of sequence %llu in memtable or iterator %llu", what,
			       (unsigned long long)record->sequence, (unsigned long long)record->object);
}

/* --- memtables --- */

static struct status begin_memtable(struct replay *replay, const struct trace_record *record)
{
	const struct memtable_ops *ops = replay->options->ops;
	if (record->size < CHUNK_BYTES_MIN || record->size > CHUNK_BYTES_MAX)
		return status_error(STATUS_CORRUPT, "chunks of %llu bytes", (unsigned long long)record->size);
	if (!replay->has_pool)
		arena_pool_init(&replay->pool, (size_t)record->size, (size_t)record->count);
	replay->has_pool = true;
	struct replayed_memtable *memtable = allocate_zeroed(1, sizeof(*memtable));
	memtable->number = record->object;
	arena_init_pooled(&memtable->arena, &replay->pool);
	memtable->memtable = ops->create(&memtable->arena, replay->options->options);
	numbered_add(&replay->memtables, memtable);
	return status_make(memtable->memtable != NULL ? STATUS_OK : STATUS_NO_MEMORY);
}

static void free_memtable(struct replayed_memtable *memtable)
{
	arena_free(&memtable->arena);
	memory_free(memtable);
}

static void free_iterator(struct replayed_iterator *iterator)
{
	memory_free(iterator->iterator);
	memory_free(iterator);
}

static struct status end_memtable(struct replay *replay, const struct trace_record *record)
{
	size_t at = numbered_find(&replay->memtables, record->object);
	if (at == 0)
		return missing("memtable", record->object);
	struct replayed_memtable *memtable = replay->memtables.things[at - 1];
	for (size_t i = 0; i < replay->iterators.count; i++) {
		if (((struct replayed_iterator *)replay->iterators.things[i])->memtable == memtable)
			return status_error(STATUS_CORRUPT, "memtable %llu ends before its iterators",
					    (unsigned long long)record->object);
	}
	numbered_remove(&replay->memtables, at);
	free_memtable(memtable);
	return status_ok();
}

/* A value that was just written, as the log's copy of it is when the engine puts it in. */
static struct slice make_value(struct replay *replay, uint64_t size)
{
	size_t room = size <= LOG_BYTES / 8 ? LOG_BYTES : VALUES_BYTES;
	if (replay->values_at + size > room)
		replay->values_at = 0;
	uint8_t *value = replay->values + replay->values_at;
	memset(value, (int)(replay->values_at >> 6) & 0xff, (size_t)size);
	replay->values_at += (size_t)size;
	return slice_make(value, (size_t)size);
}

static struct status insert(struct replay *replay, const struct trace_record *record)
{
	struct replayed_memtable *memtable = NULL;
	TRY(find_memtable(replay, record->object, &memtable));
	/* There was no memory for it. */
	if (record->answer == 0)
		return status_ok();
	const struct entry entry = { .key = record->bytes,
				     .value = make_value(replay, record->size),
				     .sequence = record->sequence,
				     .kind = (enum entry_kind)record->part };
	uint64_t begun = begin(replay, CANARY_POINT);
	struct status status =
		memtable->memtable->ops->insert(memtable->memtable, &entry, record->sequence - record->other);
	count_own(replay, REPLAY_INSERT, end(replay, CANARY_POINT, begun));
	memtable->inserts++;
	return status;
}

static bool is_same_answer(const struct trace_record *record, bool found, const struct entry *entry)
{
	if (record->answer == 0 || !found)
		return record->answer == 0 && !found;
	return entry->kind == (enum entry_kind)record->answer && entry->sequence == record->other;
}

static struct status get(struct replay *replay, const struct trace_record *record)
{
	struct replayed_memtable *memtable = NULL;
	struct entry entry = { .sequence = 0 };
	TRY(find_memtable(replay, record->object, &memtable));
	uint64_t begun = begin(replay, CANARY_POINT);
	bool found =
		memtable->memtable->ops->get(memtable->memtable, record->bytes, record->sequence, &entry);
	count_own(replay, REPLAY_GET, end(replay, CANARY_POINT, begun));
	check(replay, is_same_answer(record, found, &entry), "a get", record);
	return status_ok();
}

/* Its key has to outlive the record. */
static void add_probe(struct replay *replay, const struct trace_record *record)
{
	size_t size = record->bytes.size;
	if (replay->probe_count == replay->probe_capacity) {
		replay->probe_capacity = 2 * replay->probe_capacity + 64;
		replay->probes =
			allocate_resize(replay->probes, replay->probe_capacity * sizeof(*replay->probes));
		replay->wanted =
			allocate_resize(replay->wanted, replay->probe_capacity * sizeof(*replay->wanted));
	}
	if (replay->keys_used + size > replay->keys_capacity) {
		replay->keys_capacity = 2 * replay->keys_capacity + size;
		replay->keys = allocate_resize(replay->keys, replay->keys_capacity);
	}
	if (size > 0)
		memcpy(replay->keys + replay->keys_used, record->bytes.data, size);
	replay->keys_used += size;
	replay->wanted[replay->probe_count++] = *record;
}

static struct status get_many(struct replay *replay, const struct trace_record *record)
{
	struct replayed_memtable *memtable = NULL;
	TRY(find_memtable(replay, record->object, &memtable));
	if (record->count != replay->probe_count)
		return status_error(STATUS_CORRUPT, "a batch of %llu gets has %llu",
				    (unsigned long long)record->count,
				    (unsigned long long)replay->probe_count);
	const uint8_t *key = replay->keys;
	for (size_t i = 0; i < replay->probe_count; i++) {
		replay->probes[i] = (struct memtable_probe) {
			.key = slice_make(key, replay->wanted[i].bytes.size),
			.sequence = replay->wanted[i].sequence,
		};
		key += replay->wanted[i].bytes.size;
	}
	uint64_t begun = begin(replay, CANARY_POINT);
	memtable_get_many(memtable->memtable, replay->probes, replay->probe_count);
	uint64_t ticks = end(replay, CANARY_POINT, begun);
	count(replay, REPLAY_GET, replay->probe_count, ticks, 1);
	for (size_t i = 0; i < replay->probe_count; i++)
		check(replay,
		      is_same_answer(&replay->wanted[i], replay->probes[i].found, &replay->probes[i].entry),
		      "a get of a batch", &replay->wanted[i]);
	replay->probe_count = 0;
	replay->keys_used = 0;
	return status_ok();
}

/* --- iterators --- */

static struct status begin_iterator(struct replay *replay, const struct trace_record *record)
{
	struct replayed_memtable *memtable = NULL;
	TRY(find_memtable(replay, record->part, &memtable));
	struct replayed_iterator *iterator = allocate_zeroed(1, sizeof(*iterator));
	iterator->number = record->object;
	iterator->memtable = memtable;
	iterator->iterator = memory_allocate_aligned(64, MEMTABLE_ITERATOR_BYTES);
	numbered_add(&replay->iterators, iterator);
	if (iterator->iterator == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset(iterator->iterator, 0, MEMTABLE_ITERATOR_BYTES);
	memtable->memtable->ops->iterator_init(memtable->memtable, iterator->iterator);
	return status_ok();
}

static struct status end_iterator(struct replay *replay, const struct trace_record *record)
{
	size_t at = numbered_find(&replay->iterators, record->object);
	if (at == 0)
		return missing("iterator", record->object);
	free_iterator(replay->iterators.things[at - 1]);
	numbered_remove(&replay->iterators, at);
	return status_ok();
}

static struct status seek(struct replay *replay, const struct trace_record *record)
{
	struct replayed_iterator *iterator = NULL;
	TRY(find_iterator(replay, record->object, &iterator));
	const struct memtable_ops *ops = iterator->memtable->memtable->ops;
	uint64_t begun = begin(replay, CANARY_POINT);
	if (record->part == TRACE_SEEK_FORWARD)
		ops->seek(iterator->iterator, record->bytes, record->sequence);
	else if (record->part == TRACE_SEEK_BACK)
		ops->seek_back(iterator->iterator, record->bytes, record->sequence);
	else
		ops->seek_last(iterator->iterator);
	count_own(replay, REPLAY_SEEK, end(replay, CANARY_POINT, begun));
	/* The newest version of a key every variant has; of older ones it keeps what is needed, or more. */
	bool has_answer = record->part == TRACE_SEEK_FORWARD && record->sequence == SEQUENCE_MAX;
	bool valid = iterator->iterator->valid;
	if (has_answer)
		check(replay,
		      valid == (record->answer != 0) &&
			      (!valid || iterator->iterator->entry.sequence == record->other),
		      "a seek", record);
	return status_ok();
}

/* Ticks of one step, both readings of the clock included. */
static uint64_t step(struct replay *replay, struct memtable_iterator *iterator, bool back)
{
	const struct memtable_ops *ops = iterator->memtable->ops;
	uint64_t begun = begin(replay, CANARY_STEP);
	if (back)
		ops->prev(iterator);
	else
		ops->next(iterator);
	return end(replay, CANARY_STEP, begun);
}

/*
 * A run to the end is one to the end here, too: the whole of a flush is compared with the whole of a flush,
 * however many versions a variant keeps.
 */
static struct status steps(struct replay *replay, const struct trace_record *record)
{
	struct replayed_iterator *at = NULL;
	uint64_t done = 0;
	TRY(find_iterator(replay, record->object, &at));
	while (at->iterator->valid && (done < record->count || record->answer == 0)) {
		count_own(replay, REPLAY_STEP, step(replay, at->iterator, record->part != 0));
		done++;
	}
	/* Steps of the engine's are what is counted. */
	replay->tally->count[REPLAY_STEP] += record->count - done;
	return status_ok();
}

/* --- records --- */

static void take_reading(struct replay *replay, const struct trace_record *record)
{
	replay->canary_ticks += record->part + record->count + record->size + record->other + record->answer;
	const struct canary_reading reading = { .near = record->part,
						.code = record->count,
						.middle = record->size,
						.far = record->other,
						.nothing = record->answer };
	if (replay->options->ops == NULL)
		count_nothing(replay, reading.nothing);
	if (record->object < CANARY_CLASSES && replay->options->surroundings != NULL)
		surroundings_want(replay->options->surroundings, (enum canary_class)record->object, &reading);
}

static struct status replay_record(struct replay *replay, const struct trace_record *record)
{
	switch (record->type) {
	case TRACE_MEMTABLE_BEGIN:
		return begin_memtable(replay, record);
	case TRACE_MEMTABLE_END:
		return end_memtable(replay, record);
	case TRACE_INSERT:
		return insert(replay, record);
	case TRACE_GET:
		return get(replay, record);
	case TRACE_PROBE:
		add_probe(replay, record);
		return status_ok();
	case TRACE_GET_MANY:
		return get_many(replay, record);
	case TRACE_ITERATOR_BEGIN:
		return begin_iterator(replay, record);
	case TRACE_ITERATOR_END:
		return end_iterator(replay, record);
	case TRACE_SEEK:
		return seek(replay, record);
	case TRACE_STEPS:
		return steps(replay, record);
	case TRACE_CANARY:
		take_reading(replay, record);
		return status_ok();
	default:
		return status_ok();
	}
}

/* How long the engine did something else before this operation; of a run of steps, between two of them. */
static void find_gap(struct replay *replay, const struct trace_record *record)
{
	uint64_t begin = replay->recorded_end, end = record->ticks, steps = 1;
	replay->recorded_end = record->ticks + record->duration;
	if (record->type == TRACE_STEPS) {
		begin = record->ticks;
		end = record->ticks + (record->size > record->duration ? record->size - record->duration : 0);
		steps = record->count;
		replay->recorded_end = record->ticks + record->size;
	}
	replay->gap = end > begin + replay->canary_ticks ? (end - begin - replay->canary_ticks) / steps : 0;
	replay->canary_ticks = 0;
}

/* What the engine took for it. */
static void add_up(struct replay *replay, const struct trace_record *record)
{
	switch (record->type) {
	case TRACE_INSERT:
		count(replay, REPLAY_INSERT, 1, record->duration, 1);
		break;
	case TRACE_GET:
		count(replay, REPLAY_GET, 1, record->duration, 1);
		break;
	case TRACE_GET_MANY:
		count(replay, REPLAY_GET, record->count, record->duration, 1);
		break;
	case TRACE_SEEK:
		count(replay, REPLAY_SEEK, 1, record->duration, 1);
		break;
	case TRACE_STEPS:
		count(replay, REPLAY_STEP, record->count, record->duration, record->count);
		break;
	case TRACE_CANARY:
		take_reading(replay, record);
		break;
	default:
		break;
	}
}

static uint64_t operations_of(const struct replay_tally *tally)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < REPLAY_OPERATIONS; i++)
		sum += tally->count[i];
	return sum;
}

static struct status replay_all(struct replay *replay, struct trace_reader *reader)
{
	struct trace_record record;
	while (operations_of(replay->tally) < replay->options->operations_max) {
		struct status status = trace_reader_next(reader, &record);
		if (status_is(status, STATUS_NOT_FOUND))
			break;
		TRY(status);
		if (record.duration > 0)
			find_gap(replay, &record);
		if (replay->options->ops == NULL)
			add_up(replay, &record);
		else
			TRY(replay_record(replay, &record));
	}
	return status_ok();
}

static void replay_free(struct replay *replay)
{
	for (size_t i = 0; i < replay->iterators.count; i++)
		free_iterator(replay->iterators.things[i]);
	for (size_t i = 0; i < replay->memtables.count; i++)
		free_memtable(replay->memtables.things[i]);
	if (replay->has_pool)
		arena_pool_free(&replay->pool);
	memory_free(replay->iterators.things);
	memory_free(replay->memtables.things);
	memory_free(replay->values);
	memory_free(replay->probes);
	memory_free(replay->wanted);
	memory_free(replay->keys);
	canary_free(&replay->canary);
}

struct status replay_shard(const struct replay_options *options, struct replay_tally *tally)
{
	struct trace_reader reader;
	bool counts = canary_clock_counts();
	struct replay replay = {
		.options = options,
		.tally = tally,
		.long_ticks = LONG_NS / options->ns_per_tick,
		.checks = options->ops != NULL &&
			  (options->ops->component.capabilities & MEMTABLE_FORGETS) == 0,
	};
	*tally = (struct replay_tally) { .checked = 0 };
	if (!canary_init(&replay.canary, counts))
		return status_make(STATUS_NO_MEMORY);
	replay.values = allocate_zeroed(1, VALUES_BYTES);
	struct status status = trace_reader_open(&reader, options->file, options->shard);
	if (status_is_ok(status)) {
		status = replay_all(&replay, &reader);
		trace_reader_close(&reader);
	}
	take_clock_off(&replay);
	replay_free(&replay);
	return status;
}
