#include "trace/traced_memtable.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#include "base/poison.h"

/* 25 to 130 us where the counter runs at 1 to 5 GHz: no step takes that long unless somebody else had the
 * processor. Such a one is a run by itself, so that whoever adds them up can leave it out. */
enum { LONG_TICKS = 1 << 17 };

struct traced_memtable {
	struct memtable memtable; /* first */
	struct memtable *inner;
	struct traced_memtables *all;
	uint64_t number;
};

/* What lies behind the inner iterator, which has the front as every variant's has. */
struct iterator_mark {
	struct traced_memtables *all;
	uint64_t number;
};

_Static_assert(sizeof(struct iterator_mark) <= TRACED_ITERATOR_BYTES - MEMTABLE_ITERATOR_BYTES, "room");

static struct traced_memtable *traced_of(const struct memtable *memtable)
{
	return (struct traced_memtable *)(uintptr_t)memtable;
}

static struct iterator_mark *mark_of(struct memtable_iterator *iterator)
{
	return (struct iterator_mark *)(void *)((uint8_t *)iterator + MEMTABLE_ITERATOR_BYTES);
}

/* --- runs of steps --- */

static void end_run(struct traced_memtables *all)
{
	if (all->run_count == 0)
		return;
	trace_put(all->recorder, &(struct trace_record) { .type = TRACE_STEPS,
							  .ticks = all->run_begin,
							  .duration = all->run_ticks,
							  .object = all->run_iterator,
							  .part = all->run_back,
							  .count = all->run_count,
							  .size = all->run_end - all->run_begin,
							  .answer = all->run_valid });
	all->run_count = 0;
}

/* --- what is done around each operation --- */

/* The operation's beginning: the state of the caches as it meets them, and then the clock. */
static uint64_t begin(struct traced_memtables *all, enum canary_class class)
{
	struct canary *canary = trace_canary(all->recorder);
	struct canary_reading reading;
	if (canary_before(canary, class, &reading))
		trace_put(all->recorder, &(struct trace_record) { .type = TRACE_CANARY,
								  .ticks = trace_clock(canary),
								  .object = class,
								  .part = reading.near,
								  .count = reading.code,
								  .size = reading.middle,
								  .other = reading.far,
								  .answer = reading.nothing });
	return trace_clock(canary);
}

/* Ticks since then. */
static uint64_t end(struct traced_memtables *all, uint64_t begun)
{
	return trace_clock(trace_canary(all->recorder)) - begun;
}

static void put(struct traced_memtables *all, enum canary_class class, const struct trace_record *record)
{
	canary_after(trace_canary(all->recorder), class);
	trace_put(all->recorder, record);
}

/* --- create --- */

struct create_call {
	struct traced_memtables *all;
	struct arena *arena;
	struct memtable *result;
};

static void create_on_thread_stack(void *argument)
{
	struct create_call *call = argument;
	struct traced_memtables *all = call->all;
	struct traced_memtable *traced = memory_allocate(sizeof(*traced));
	struct memtable *inner = all->inner->create(call->arena, all->inner_options);
	if (traced == NULL || inner == NULL) {
		memory_free(traced);
		return;
	}
	const struct arena_pool *pool = call->arena->pool;
	end_run(all);
	*traced = (struct traced_memtable) { .memtable = { .ops = &all->ops, .arena = call->arena },
					     .inner = inner,
					     .all = all,
					     .number = trace_new_number(all->recorder) };
	trace_put(all->recorder, &(struct trace_record) { .type = TRACE_MEMTABLE_BEGIN,
							  .ticks = trace_clock(trace_canary(all->recorder)),
							  .object = traced->number,
							  .size = call->arena->chunk_bytes,
							  .count = pool != NULL ? pool->keep_bytes : 0 });
	call->result = &traced->memtable;
}

static struct memtable *traced_create(struct arena *arena, const void *options)
{
	/* The struct is the caller's, who made it to be changed. */
	struct create_call call = { .all = (struct traced_memtables *)(uintptr_t)options, .arena = arena };
	call_on_thread_stack(create_on_thread_stack, &call);
	return call.result;
}

static void end_on_thread_stack(void *argument)
{
	struct traced_memtable *traced = argument;
	struct traced_memtables *all = traced->all;
	end_run(all);
	trace_put(all->recorder, &(struct trace_record) { .type = TRACE_MEMTABLE_END,
							  .ticks = trace_clock(trace_canary(all->recorder)),
							  .object = traced->number,
							  .count = traced->inner->ops->count(traced->inner),
							  .size = traced->memtable.arena->reserved_bytes });
	memory_free(traced);
}

void traced_memtable_end(struct memtable *memtable)
{
	call_on_thread_stack(end_on_thread_stack, traced_of(memtable));
}

/* --- insert and get --- */

struct insert_call {
	struct traced_memtable *traced;
	const struct entry *entry;
	uint64_t oldest_needed;
	struct status status;
};

static void insert_on_thread_stack(void *argument)
{
	struct insert_call *call = argument;
	struct memtable *inner = call->traced->inner;
	struct traced_memtables *all = call->traced->all;
	const struct entry *entry = call->entry;
	end_run(all);
	uint64_t begun = begin(all, CANARY_POINT);
	call->status = inner->ops->insert(inner, entry, call->oldest_needed);
	uint64_t ticks = end(all, begun);
	uint64_t needed = call->oldest_needed < entry->sequence ? call->oldest_needed : entry->sequence;
	put(all, CANARY_POINT,
	    &(struct trace_record) { .type = TRACE_INSERT,
				     .ticks = begun,
				     .duration = ticks,
				     .object = call->traced->number,
				     .bytes = entry->key,
				     .size = entry->value.size,
				     .sequence = entry->sequence,
				     .other = entry->sequence - needed,
				     .part = entry->kind,
				     .answer = status_is_ok(call->status) });
}

static struct status traced_insert(struct memtable *memtable, const struct entry *entry,
				   uint64_t oldest_needed)
{
	struct insert_call call = { .traced = traced_of(memtable),
				    .entry = entry,
				    .oldest_needed = oldest_needed };
	call_on_thread_stack(insert_on_thread_stack, &call);
	return call.status;
}

struct get_call {
	struct traced_memtable *traced;
	struct slice key;
	uint64_t sequence;
	struct entry *entry;
	bool found;
};

static struct trace_record record_of_get(const struct get_call *call, enum trace_type type)
{
	return (struct trace_record) { .type = type,
				       .object = call->traced->number,
				       .bytes = call->key,
				       .sequence = call->sequence,
				       .answer = call->found ? call->entry->kind : 0,
				       .other = call->found ? call->entry->sequence : 0 };
}

static void get_on_thread_stack(void *argument)
{
	struct get_call *call = argument;
	struct memtable *inner = call->traced->inner;
	struct traced_memtables *all = call->traced->all;
	end_run(all);
	uint64_t begun = begin(all, CANARY_POINT);
	call->found = inner->ops->get(inner, call->key, call->sequence, call->entry);
	uint64_t ticks = end(all, begun);
	struct trace_record record = record_of_get(call, TRACE_GET);
	record.ticks = begun;
	record.duration = ticks;
	put(all, CANARY_POINT, &record);
}

static bool traced_get(struct memtable *memtable, struct slice key, uint64_t sequence, struct entry *entry)
{
	struct get_call call = {
		.traced = traced_of(memtable), .key = key, .sequence = sequence, .entry = entry
	};
	call_on_thread_stack(get_on_thread_stack, &call);
	return call.found;
}

struct get_many_call {
	struct traced_memtable *traced;
	struct memtable_probe *probes;
	size_t count;
};

static void get_many_on_thread_stack(void *argument)
{
	const struct get_many_call *call = argument;
	struct traced_memtables *all = call->traced->all;
	end_run(all);
	uint64_t begun = begin(all, CANARY_POINT);
	memtable_get_many(call->traced->inner, call->probes, call->count);
	uint64_t ticks = end(all, begun);
	for (size_t i = 0; i < call->count; i++) {
		struct memtable_probe *probe = &call->probes[i];
		struct get_call one = { .traced = call->traced,
					.key = probe->key,
					.sequence = probe->sequence,
					.entry = &probe->entry,
					.found = probe->found };
		struct trace_record record = record_of_get(&one, TRACE_PROBE);
		record.ticks = begun;
		trace_put(all->recorder, &record);
	}
	put(all, CANARY_POINT,
	    &(struct trace_record) { .type = TRACE_GET_MANY,
				     .ticks = begun,
				     .duration = ticks,
				     .object = call->traced->number,
				     .count = call->count });
}

static void traced_get_many(struct memtable *memtable, struct memtable_probe *probes, size_t count)
{
	struct get_many_call call = { .traced = traced_of(memtable), .probes = probes, .count = count };
	call_on_thread_stack(get_many_on_thread_stack, &call);
}

struct count_call {
	const struct memtable *inner;
	uint64_t count;
};

static void count_on_thread_stack(void *argument)
{
	struct count_call *call = argument;
	call->count = call->inner->ops->count(call->inner);
}

static uint64_t traced_count(const struct memtable *memtable)
{
	struct count_call call = { .inner = traced_of(memtable)->inner };
	call_on_thread_stack(count_on_thread_stack, &call);
	return call.count;
}

/* --- iterators --- */

struct iterator_call {
	struct traced_memtable *traced;
	struct memtable_iterator *iterator;
};

static void iterator_init_on_thread_stack(void *argument)
{
	const struct iterator_call *call = argument;
	struct traced_memtables *all = call->traced->all;
	struct iterator_mark *mark = mark_of(call->iterator);
	end_run(all);
	call->traced->inner->ops->iterator_init(call->traced->inner, call->iterator);
	*mark = (struct iterator_mark) { .all = all, .number = trace_new_number(all->recorder) };
	trace_put(all->recorder, &(struct trace_record) { .type = TRACE_ITERATOR_BEGIN,
							  .ticks = trace_clock(trace_canary(all->recorder)),
							  .object = mark->number,
							  .part = call->traced->number });
}

static void traced_iterator_init(struct memtable *memtable, struct memtable_iterator *iterator)
{
	struct iterator_call call = { .traced = traced_of(memtable), .iterator = iterator };
	call_on_thread_stack(iterator_init_on_thread_stack, &call);
}

static void iterator_end_on_thread_stack(void *argument)
{
	struct iterator_mark *mark = argument;
	end_run(mark->all);
	trace_put(mark->all->recorder,
		  &(struct trace_record) { .type = TRACE_ITERATOR_END,
					   .ticks = trace_clock(trace_canary(mark->all->recorder)),
					   .object = mark->number });
}

void traced_iterator_end(struct memtable *memtable, struct memtable_iterator *iterator)
{
	(void)memtable;
	call_on_thread_stack(iterator_end_on_thread_stack, mark_of(iterator));
}

struct seek_call {
	struct memtable_iterator *iterator;
	enum trace_seek which;
	struct slice key;
	uint64_t sequence;
};

static void seek_inner(const struct seek_call *call)
{
	/* The front of the iterator names the inner memtable, as the variant has made it. */
	const struct memtable_ops *ops = call->iterator->memtable->ops;
	if (call->which == TRACE_SEEK_FORWARD)
		ops->seek(call->iterator, call->key, call->sequence);
	else if (call->which == TRACE_SEEK_BACK)
		ops->seek_back(call->iterator, call->key, call->sequence);
	else
		ops->seek_last(call->iterator);
}

static void seek_on_thread_stack(void *argument)
{
	const struct seek_call *call = argument;
	struct iterator_mark *mark = mark_of(call->iterator);
	struct memtable_iterator *iterator = call->iterator;
	end_run(mark->all);
	uint64_t begun = begin(mark->all, CANARY_POINT);
	seek_inner(call);
	uint64_t ticks = end(mark->all, begun);
	put(mark->all, CANARY_POINT,
	    &(struct trace_record) { .type = TRACE_SEEK,
				     .ticks = begun,
				     .duration = ticks,
				     .object = mark->number,
				     .part = call->which,
				     .bytes = call->key,
				     .sequence = call->sequence,
				     .answer = iterator->valid,
				     .other = iterator->valid ? iterator->entry.sequence : 0 });
}

static void traced_seek(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct seek_call call = {
		.iterator = iterator, .which = TRACE_SEEK_FORWARD, .key = key, .sequence = sequence
	};
	call_on_thread_stack(seek_on_thread_stack, &call);
}

static void traced_seek_back(struct memtable_iterator *iterator, struct slice key, uint64_t sequence)
{
	struct seek_call call = {
		.iterator = iterator, .which = TRACE_SEEK_BACK, .key = key, .sequence = sequence
	};
	call_on_thread_stack(seek_on_thread_stack, &call);
}

static void traced_seek_last(struct memtable_iterator *iterator)
{
	struct seek_call call = { .iterator = iterator, .which = TRACE_SEEK_LAST };
	call_on_thread_stack(seek_on_thread_stack, &call);
}

struct step_call {
	struct memtable_iterator *iterator;
	bool back;
};

static void step_on_thread_stack(void *argument)
{
	const struct step_call *call = argument;
	struct memtable_iterator *iterator = call->iterator;
	struct iterator_mark *mark = mark_of(iterator);
	struct traced_memtables *all = mark->all;
	if (all->run_iterator != mark->number || all->run_back != call->back)
		end_run(all);
	uint64_t begun = begin(all, CANARY_STEP);
	if (call->back)
		iterator->memtable->ops->prev(iterator);
	else
		iterator->memtable->ops->next(iterator);
	uint64_t ticks = end(all, begun);
	canary_after(trace_canary(all->recorder), CANARY_STEP);
	if (ticks > LONG_TICKS)
		end_run(all);
	if (all->run_count == 0)
		all->run_begin = begun;
	all->run_end = begun + ticks;
	all->run_iterator = mark->number;
	all->run_back = call->back;
	all->run_valid = iterator->valid;
	all->run_ticks = all->run_count == 0 ? ticks : all->run_ticks + ticks;
	all->run_count++;
	if (ticks > LONG_TICKS)
		end_run(all);
}

static void traced_next(struct memtable_iterator *iterator)
{
	struct step_call call = { .iterator = iterator };
	call_on_thread_stack(step_on_thread_stack, &call);
}

static void traced_prev(struct memtable_iterator *iterator)
{
	struct step_call call = { .iterator = iterator, .back = true };
	call_on_thread_stack(step_on_thread_stack, &call);
}

/* --- all of them --- */

void traced_memtables_init(struct traced_memtables *traced, struct trace_recorder *recorder,
			   const struct memtable_ops *inner, const void *options)
{
	*traced = (struct traced_memtables) { .inner = inner,
					      .inner_options = options,
					      .recorder = recorder,
					      .ops = { .component = inner->component,
						       .create = traced_create,
						       .insert = traced_insert,
						       .get = traced_get,
						       .get_many = traced_get_many,
						       .count = traced_count,
						       .iterator_init = traced_iterator_init,
						       .seek = traced_seek,
						       .seek_back = traced_seek_back,
						       .seek_last = traced_seek_last,
						       .next = traced_next,
						       .prev = traced_prev } };
}

bool memtable_is_traced(const struct memtable *memtable)
{
	return memtable->ops->create == traced_create;
}
