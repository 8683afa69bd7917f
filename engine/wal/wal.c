/*
 * wal.c: opening and closing the log, joining a group, and what others ask of it.
 */
#include "wal/wal.h"

#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/planted.h"
#include "wal/wal_internal.h"
#include "base/poison.h"

/* --- state that everybody may change --- */

void wal_wake_writer(struct wal *wal)
{
	if (wal->writer_idle) {
		wal->writer_idle = false;
		task_resume(wal->writer);
	}
}

struct fail_call {
	struct status cause;
	const char *what;
	struct status result;
};

static void describe_failure(void *argument)
{
	struct fail_call *call = argument;
	char text[200];
	status_describe(call->cause, text, sizeof(text));
	call->result =
		status_error(STATUS_READ_ONLY, "%s failed, no more writes are taken: %s", call->what, text);
}

void wal_fail(struct wal *wal, struct status cause, const char *what)
{
	if (!status_is_ok(wal->health))
		return;
	struct fail_call call = { .cause = cause, .what = what };
	call_on_thread_stack(describe_failure, &call);
	wal->health = call.result;
	wal_wake_writer(wal);
}

static uint64_t count_list(const struct list *list)
{
	uint64_t count = 0;
	for (const struct list *node = list->next; node != list; node = node->next)
		count++;
	return count;
}

void wal_update_gauges(struct wal *wal)
{
	struct wal_counters *counters = &wal->counters;
	counters->segments = wal->segment_count;
	counters->segments_free = count_list(&wal->ready);
	counters->live_bytes = count_list(&wal->live) * wal->segment_bytes;
	if (wal->current != NULL)
		counters->live_bytes += wal->current->position;
}

/* --- groups --- */

static struct status make_buffer(struct wal *wal, struct wal_group *group, size_t limit)
{
	group->limit = limit;
	group->buffer_bytes = (size_t)wal_round_up(limit, IO_PAGE_BYTES) + IO_PAGE_BYTES;
	group->buffer = memory_allocate_aligned(IO_PAGE_BYTES, group->buffer_bytes);
	if (group->buffer == NULL)
		return status_make(STATUS_NO_MEMORY);
	list_init(&group->node);
	wal->counters.memory_bytes += group->buffer_bytes;
	return status_ok();
}

static struct status make_groups(struct wal *wal)
{
	for (unsigned i = 0; i < WAL_GROUP_BUFFERS; i++) {
		struct wal_group *group = memory_allocate_zeroed(1, sizeof(*group));
		if (group == NULL)
			return status_make(STATUS_NO_MEMORY);
		struct status status = make_buffer(wal, group, wal->group_limit);
		if (!status_is_ok(status)) {
			memory_free(group);
			return status;
		}
		list_add_last(&wal->unused, &group->node);
	}
	return status_ok();
}

static struct wal_group *last_queued(const struct wal *wal)
{
	return list_is_empty(&wal->queue) ? NULL : CONTAINER_OF(wal->queue.previous, struct wal_group, node);
}

static void open_group(struct wal *wal, struct wal_group *group)
{
	group->start = wal->start_predicted;
	group->length = WAL_GROUP_HEADER_BYTES;
	group->count = 0;
	group->power = false;
	group->closed = false;
	uint64_t now_ns = clock_now_ns();
	group->deadline_ns = wal->options.wait_ns_max < UINT64_MAX - now_ns
				     ? now_ns + wal->options.wait_ns_max
				     : UINT64_MAX;
	wal->queued_bytes += group->length;
	list_add_last(&wal->queue, &group->node);
}

/* A buffer of its own for a commit that is larger than the shared ones; one at a time. */
static struct status open_single(struct wal *wal, size_t need, struct wal_group **group)
{
	*group = NULL;
	if (wal->single_in_use)
		return status_ok();
	struct wal_group *single = memory_allocate_zeroed(1, sizeof(*single));
	if (single == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = make_buffer(wal, single, WAL_GROUP_HEADER_BYTES + need);
	if (!status_is_ok(status)) {
		memory_free(single);
		return status;
	}
	single->single = true;
	wal->single_in_use = true;
	open_group(wal, single);
	*group = single;
	return status_ok();
}

/* The group that a commit of `need` bytes joins; NULL: there is no room now. */
static struct status group_for(struct wal *wal, size_t need, struct wal_group **group)
{
	struct wal_group *last = last_queued(wal);
	if (last != NULL && !last->closed && last->length + need <= last->limit) {
		*group = last;
		return status_ok();
	}
	if (last != NULL)
		last->closed = true; /* commits join in order: nobody may slip in behind us */
	if (WAL_GROUP_HEADER_BYTES + need > wal->group_limit)
		return open_single(wal, need, group);
	*group = NULL;
	struct list *node = list_take_first(&wal->unused);
	if (node != NULL) {
		*group = CONTAINER_OF(node, struct wal_group, node);
		open_group(wal, *group);
	}
	return status_ok();
}

/* Returns the commit's sequence. */
static uint64_t join_group(struct wal *wal, struct wal_group *group, const struct slice *pieces, size_t count,
			   size_t payload_bytes, enum wal_durability durability)
{
	uint64_t sequence = wal->options.next_sequence(wal->options.context);
	if (group->count == 0)
		group->first_sequence = sequence;
	uint8_t *begin = group->buffer + group->start + group->length;
	uint8_t *at = wal_commit_encode(begin, sequence, payload_bytes);
	for (size_t i = 0; i < count; i++) {
		if (pieces[i].size > 0)
			memcpy(at, pieces[i].data, pieces[i].size);
		at += pieces[i].size;
	}
	group->length += (size_t)(at - begin);
	wal->queued_bytes += (size_t)(at - begin);
	ASSERT(group->length <= group->limit);
	group->count++;
	group->power |= durability == WAL_POWER;
	return sequence;
}

/* Not inlined: the compiler would see the address of a frame being kept, but not that the frame stays until
 * the waiter is off the list again. */
__attribute__((noinline)) static void add_waiter(struct wal_waiters *waiters, struct wal_waiter *waiter)
{
	waiter->next = NULL;
	if (waiters->first == NULL)
		waiters->first = waiter;
	else
		waiters->last->next = waiter;
	waiters->last = waiter;
}

static MAY_SUSPEND struct status wait_settled(struct task *self, struct wal_waiter *waiter)
{
	while (!waiter->done)
		task_suspend(self);
	return waiter->status;
}

/* Waits in line until the commit can join: first come, first served, whatever the size. */
static MAY_SUSPEND struct status wait_in_line(struct task *self, struct wal *wal, size_t need,
					      struct wal_group **group)
{
	uint64_t now_ns = clock_now_ns();
	uint64_t wait_ns = wal->options.wait_ns_max;
	struct wal_joiner joiner = {
		.task = self,
		.deadline_ns = wait_ns < UINT64_MAX - now_ns ? now_ns + wait_ns : UINT64_MAX,
	};
	list_add_last(&wal->joiners, &joiner.node);
	struct status status = status_ok();
	for (;;) {
		joiner.awake = false;
		task_suspend(self);
		if (joiner.refused)
			return joiner.status;
		if (wal->joiners.next != &joiner.node)
			continue;
		status = wal->health;
		if (status_is_ok(status))
			status = group_for(wal, need, group);
		if (!status_is_ok(status) || *group != NULL)
			break;
	}
	list_remove(&joiner.node);
	return status;
}

/* The next in line may find room as well. */
static void wake_next_joiner(struct wal *wal)
{
	if (list_is_empty(&wal->joiners))
		return;
	struct wal_joiner *joiner = CONTAINER_OF(wal->joiners.next, struct wal_joiner, node);
	if (!joiner->awake) {
		joiner->awake = true;
		task_resume(joiner->task);
	}
}

static struct status payload_size(const struct wal *wal, const struct slice *pieces, size_t count,
				  size_t *bytes)
{
	*bytes = 0;
	for (size_t i = 0; i < count; i++) {
		if (pieces[i].size > wal->payload_max - *bytes)
			return status_make(STATUS_INVALID);
		*bytes += pieces[i].size;
	}
	return status_ok();
}

struct status wal_append(struct task *self, struct wal *wal, const struct slice *pieces, size_t count,
			 enum wal_durability durability, uint64_t *sequence)
{
	ASSERT(!wal->recovering);
	if (wal->closing)
		return status_make(STATUS_CLOSED);
	TRY(wal->health);
	size_t payload_bytes;
	TRY(payload_size(wal, pieces, count, &payload_bytes));
	size_t need = 8 + varint_size(payload_bytes) + payload_bytes;
	struct wal_group *group = NULL;
	if (list_is_empty(&wal->joiners))
		TRY(group_for(wal, need, &group));
	if (group == NULL) {
		struct status status = wait_in_line(self, wal, need, &group);
		if (!status_is_ok(status)) {
			wake_next_joiner(wal);
			return status;
		}
	}
	uint64_t drawn = join_group(wal, group, pieces, count, payload_bytes, durability);
	if (sequence != NULL)
		*sequence = drawn;
	struct wal_waiter waiter = { .task = self };
	bool late = wal->in_flight != NULL && PLANTED(M18);
	add_waiter(late ? &wal->in_flight->waiters : &group->waiters, &waiter);
	wake_next_joiner(wal);
	wal_wake_writer(wal);
	return wait_settled(self, &waiter);
}

/* Whether a group of that length could be opened, written and settled now, before anything else happens. */
static bool may_append_at_once(const struct wal *wal, size_t length)
{
	if (!list_is_empty(&wal->queue) || !list_is_empty(&wal->joiners) || wal->in_flight != NULL ||
	    wal->sync_waiters.first != NULL || list_is_empty(&wal->unused))
		return false;
	return wal_writes_at_once(wal, length, false) && length <= wal->group_limit && wal->current != NULL &&
	       wal->current->position + length <= wal->segment_bytes;
}

bool wal_try_append(struct wal *wal, const struct slice *pieces, size_t count, enum wal_durability durability,
		    struct status *status)
{
	ASSERT(!wal->recovering);
	*status = wal->closing ? status_make(STATUS_CLOSED) : wal->health;
	if (!status_is_ok(*status))
		return true;
	size_t payload_bytes;
	*status = payload_size(wal, pieces, count, &payload_bytes);
	if (!status_is_ok(*status))
		return true;
	size_t need = 8 + varint_size(payload_bytes) + payload_bytes;
	if (durability == WAL_POWER || !may_append_at_once(wal, WAL_GROUP_HEADER_BYTES + need))
		return false;
	struct wal_group *group;
	*status = group_for(wal, need, &group);
	if (!status_is_ok(*status))
		return true;
	ASSERT(group != NULL);
	(void)join_group(wal, group, pieces, count, payload_bytes, durability);
	*status = wal_commit_at_once(wal, group);
	return true;
}

struct status wal_sync(struct task *self, struct wal *wal)
{
	TRY(wal->health);
	struct wal_group *last = last_queued(wal);
	if (last == NULL && wal->in_flight == NULL && wal->durable_log == wal->next_log - 1)
		return status_ok();
	struct wal_waiter waiter = { .task = self };
	if (last != NULL) {
		last->power = true;
		add_waiter(&last->sync_waiters, &waiter);
	} else {
		add_waiter(&wal->sync_waiters, &waiter);
	}
	wal_wake_writer(wal);
	return wait_settled(self, &waiter);
}

/* --- questions --- */

size_t wal_payload_max(const struct wal *wal)
{
	return wal->payload_max;
}

uint64_t wal_last_applied(const struct wal *wal)
{
	return wal->applied_log;
}

uint64_t wal_first_pending_sequence(const struct wal *wal)
{
	if (wal->in_flight != NULL)
		return wal->in_flight->first_sequence;
	if (list_is_empty(&wal->queue))
		return UINT64_MAX;
	return CONTAINER_OF(wal->queue.next, struct wal_group, node)->first_sequence;
}

void wal_wait_published(struct task *self, struct wal *wal, uint64_t sequence)
{
	while (wal_first_pending_sequence(wal) <= sequence)
		wait_list_wait(self, &wal->published);
}

void wal_release(struct wal *wal, uint64_t log_number)
{
	if (log_number <= wal->released)
		return;
	wal->released = log_number;
	wal_reclaim(wal);
}

struct status wal_health(const struct wal *wal)
{
	return wal->health;
}

uint64_t wal_room(const struct wal *wal)
{
	uint64_t segments = count_list(&wal->ready) + count_list(&wal->dirty);
	/* What could not be had a moment ago is not promised. */
	if (wal_may_grow(wal) && status_is_ok(wal->grow_status))
		segments += wal->options.segments_max - wal->segment_count;
	uint64_t room = segments * (wal->segment_bytes - WAL_HEADER_BYTES);
	if (wal->current != NULL)
		room += wal->segment_bytes - wal->current->position;
	return room > wal->queued_bytes ? room - wal->queued_bytes : 0;
}

const struct wal_counters *wal_counters(const struct wal *wal)
{
	return &wal->counters;
}

/* --- checking while in use --- */

struct verify_place {
	struct wal_segment *segment;
	uint64_t lap;
	uint64_t end;
};

static MAY_SUSPEND struct status verify_groups(struct task *self, struct wal *wal, struct wal_stream *stream,
					       const struct verify_place *place)
{
	uint64_t next = 0;
	for (uint64_t at = WAL_HEADER_BYTES; at < place->end;) {
		struct wal_group_header header;
		const uint8_t *bytes;
		bool found;
		TRY(wal_stream_group(self, wal, stream, place->lap, at, &header, &bytes, &found));
		if (!found && place->segment->torn) {
			TRY(wal_stream_search(self, wal, stream, place->lap, &at, &header, &found));
			next = 0;
		}
		if (place->segment->lap != place->lap)
			return status_ok(); /* it was released meanwhile, and its bytes may go */
		if (!found || (next != 0 && header.first_log_number != next && !place->segment->torn))
			return status_error(STATUS_CORRUPT, "wal-%06u.log: no valid group at offset %llu",
					    place->segment->number, (unsigned long long)at);
		next = wal_group_last_log_number(&header) + 1;
		at = wal_round_up(at + header.length, place->segment->header.group_alignment);
		task_breathe(self);
	}
	return status_ok();
}

static MAY_SUSPEND struct status verify_segment(struct task *self, struct wal *wal, struct wal_stream *stream,
						const struct verify_place *place)
{
	wal_stream_begin(stream, place->segment, 0, place->end);
	const uint8_t *page;
	struct wal_segment_header header;
	struct status status = wal_stream_need(self, stream, 0, WAL_HEADER_BYTES, &page);
	bool as_before = place->segment->lap == place->lap && place->segment->state != WAL_SEGMENT_DIRTY;
	if (status_is_ok(status) && as_before) {
		if (wal_header_decode(page, &header) != WAL_HEADER_VALID || header.lap != place->lap ||
		    header.number != place->segment->number)
			status = status_error(STATUS_CORRUPT, "wal-%06u.log: damaged header",
					      place->segment->number);
		else
			status = verify_groups(self, wal, stream, place);
	}
	wal_stream_end(self, stream);
	return status;
}

struct status wal_verify(struct task *self, struct wal *wal)
{
	struct wal_stream *stream = memory_allocate(sizeof(*stream));
	if (stream == NULL)
		return status_make(STATUS_NO_MEMORY);
	size_t group_bytes_max = wal->group_bytes_max;
	for (uint32_t i = 0; i < wal->segment_count; i++)
		if (wal->segments[i]->header.group_bytes_max > group_bytes_max)
			group_bytes_max = wal->segments[i]->header.group_bytes_max;
	struct status status = wal_stream_init(stream, wal->shard, group_bytes_max);
	for (uint32_t i = 0; status_is_ok(status) && i < wal->segment_count; i++) {
		struct wal_segment *segment = wal->segments[i];
		/* A header that is about to be written anew proves nothing. */
		if (segment->state == WAL_SEGMENT_DIRTY)
			continue;
		struct verify_place place = {
			.segment = segment,
			.lap = segment->lap,
			.end = segment->position,
		};
		status = verify_segment(self, wal, stream, &place);
	}
	wal_stream_free(stream);
	memory_free(stream);
	return status;
}

/* --- opening and closing --- */

static struct status check_options(const struct wal_options *options)
{
	if (options->segment_bytes % IO_PAGE_BYTES != 0 || options->segment_bytes < WAL_SEGMENT_BYTES_MIN)
		return status_error(STATUS_INVALID,
				    "log segments must be a multiple of 4 KiB, at least 16 KiB");
	if (options->segments_max < 2 || options->segments_max > WAL_SEGMENTS_LIMIT)
		return status_error(STATUS_INVALID, "the log needs 2 to %d segments", WAL_SEGMENTS_LIMIT);
	if (options->group_bytes < WAL_GROUP_BYTES_MIN || options->group_bytes > WAL_GROUP_BYTES_MAX)
		return status_error(STATUS_INVALID, "log groups must be of 4 KiB to 16 MiB");
	if (strlen(options->directory) + sizeof("/wal-000000.log") > IO_PATH_MAX)
		return status_error(STATUS_INVALID, "the directory's path is too long");
	return status_ok();
}

static struct status allocate_wal(struct task *self, const struct wal_options *options, struct wal **out)
{
	struct wal *wal = memory_allocate_zeroed(1, sizeof(*wal));
	*out = wal;
	if (wal == NULL)
		return status_make(STATUS_NO_MEMORY);
	wal->options = *options;
	wal->shard = task_shard(self);
	list_init(&wal->live);
	list_init(&wal->dirty);
	list_init(&wal->ready);
	list_init(&wal->queue);
	list_init(&wal->unused);
	list_init(&wal->joiners);
	wait_list_init(&wal->published);
	wal->options.directory = memory_copy_string(options->directory);
	wal->path = memory_allocate(IO_PATH_MAX);
	wal->path_to = memory_allocate(IO_PATH_MAX);
	wal->tail = memory_allocate_aligned(IO_PAGE_BYTES, IO_PAGE_BYTES);
	wal->keeper_page = memory_allocate_aligned(IO_PAGE_BYTES, WAL_HEADER_BYTES);
	if (wal->options.directory == NULL || wal->path == NULL || wal->path_to == NULL ||
	    wal->tail == NULL || wal->keeper_page == NULL)
		return status_make(STATUS_NO_MEMORY);
	unsigned promises = shard_io(wal->shard)->promises;
	wal->group_alignment =
		(promises & (IO_ATOMIC_512 | IO_ATOMIC_4096)) != 0 ? WAL_GROUP_ALIGNMENT : IO_PAGE_BYTES;
	wal->next_log = 1;
	wal->next_lap = 1;
	wal->incarnation_lap = 1;
	wal->cut = 1;
	wal->recovering = true;
	return status_ok();
}

/* Once the size of the ring's segments is known. */
void wal_set_segment_bytes(struct wal *wal, uint64_t segment_bytes)
{
	uint64_t room = segment_bytes - WAL_HEADER_BYTES;
	uint64_t payload_max = room - WAL_GROUP_HEADER_BYTES - WAL_COMMIT_HEADER_BYTES_MAX;
	wal->segment_bytes = segment_bytes;
	wal->payload_max = payload_max < WAL_PAYLOAD_BYTES_MAX ? (size_t)payload_max : WAL_PAYLOAD_BYTES_MAX;
	wal->group_bytes_max = WAL_GROUP_HEADER_BYTES + WAL_COMMIT_HEADER_BYTES_MAX + wal->payload_max;
	wal->group_limit = wal->options.group_bytes < room ? wal->options.group_bytes : (size_t)room;
	if (wal->group_bytes_max < wal->group_limit)
		wal->group_bytes_max = wal->group_limit;
}

static MAY_SUSPEND struct status free_wal(struct task *self, struct wal *wal)
{
	struct status status = status_ok();
	for (uint32_t i = 0; wal->segments != NULL && i < wal->segment_capacity; i++) {
		struct wal_segment *segment = wal->segments[i];
		if (segment == NULL)
			continue;
		if (segment->file != NULL)
			status_keep_first(&status, wal_file_close(self, segment->file));
		memory_free(segment);
	}
	for (struct list *node; (node = list_take_first(&wal->unused)) != NULL;) {
		struct wal_group *group = CONTAINER_OF(node, struct wal_group, node);
		memory_free(group->buffer);
		memory_free(group);
	}
	memory_free(wal->segments);
	memory_free(wal->keeper_page);
	memory_free(wal->tail);
	memory_free(wal->path_to);
	memory_free(wal->path);
	memory_free((char *)(uintptr_t)wal->options.directory);
	memory_free(wal);
	return status;
}

static MAY_SUSPEND struct status create_ring(struct task *self, struct wal *wal)
{
	struct wal_names names;
	TRY(wal_segment_list(wal, &names));
	if (names.count > 0 && !PLANTED(M17))
		return status_error(STATUS_INVALID, "%s already holds a log", wal->options.directory);
	wal_set_segment_bytes(wal, wal->options.segment_bytes);
	wal->segment_capacity = wal->options.segments_max;
	wal->segments = memory_allocate_zeroed(wal->segment_capacity, sizeof(struct wal_segment *));
	if (wal->segments == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = status_ok();
	for (unsigned i = 0; status_is_ok(status) && i < 2; i++)
		status = wal_segment_create(self, wal);
	if (!status_is_ok(status) && wal->segment_count > 0) {
		/* So that a second try finds what the first one found. */
		wal_segment_path(wal, 0, ".log", wal->path);
		struct status unlinked = task_unlink(self, wal->path);
		(void)unlinked; /* the first error is the one to report */
	}
	return status;
}

/* Whether a released segment holds groups that a later replay must not meet again. */
static bool trimmed_is_dirty(const struct wal *wal)
{
	for (const struct list *node = wal->dirty.next; node != &wal->dirty; node = node->next)
		if (CONTAINER_OF(node, struct wal_segment, node)->trimmed)
			return true;
	return false;
}

/* Before the first append: at least one segment is ready if the ring allows it. */
static MAY_SUSPEND struct status ready_ring(struct task *self, struct wal *wal)
{
	while (trimmed_is_dirty(wal) || (list_is_empty(&wal->ready) && !list_is_empty(&wal->dirty)))
		TRY(wal_segment_renew(self, wal));
	while (wal_may_grow(wal) && (wal->segment_count < 2 || list_is_empty(&wal->ready))) {
		struct status status = wal_segment_create(self, wal);
		if (status_is(status, STATUS_NO_SPACE)) {
			wal->grow_status = status; /* the log opens; appends wait for a flush */
			break;
		}
		TRY(status);
	}
	return status_ok();
}

static MAY_SUSPEND struct status start_ring(struct task *self, struct wal *wal, bool create,
					    uint64_t flushed_log_number, struct wal_replay_report *report)
{
	if (create || PLANTED(M17)) {
		TRY(create_ring(self, wal));
		wal->next_log = flushed_log_number + 1;
		wal->durable_log = flushed_log_number;
		wal->applied_log = flushed_log_number;
		wal->released = flushed_log_number;
	} else {
		TRY(wal_recover(self, wal, flushed_log_number, report));
		TRY(ready_ring(self, wal));
	}
	wal->recovering = false;
	TRY(make_groups(wal));
	wal_reclaim(wal);
	wal_update_gauges(wal);
	TRY(task_spawn(wal->shard, &wal_keeper_type, wal, TASK_BACKGROUND, &wal->tasks));
	return task_spawn(wal->shard, &wal_writer_type, wal, TASK_FOREGROUND, &wal->tasks);
}

static MAY_SUSPEND void stop_tasks(struct task *self, struct wal *wal)
{
	wal->closing = true;
	wal_wake_writer(wal);
	wal_wake_keeper(wal);
	join_wait(self, &wal->tasks);
}

struct status wal_open(struct task *self, const struct wal_options *options, bool create,
		       uint64_t flushed_log_number, struct wal **wal, struct wal_replay_report *report)
{
	*wal = NULL;
	*report = (struct wal_replay_report) { .last_log_number = flushed_log_number };
	TRY(check_options(options));
	struct status status = allocate_wal(self, options, wal);
	if (status_is_ok(status)) {
		join_init(&(*wal)->tasks);
		status = start_ring(self, *wal, create, flushed_log_number, report);
	}
	if (!status_is_ok(status) && *wal != NULL) {
		stop_tasks(self, *wal);
		struct status freed = free_wal(self, *wal);
		(void)freed; /* the first error is the one to report */
		*wal = NULL;
	}
	return status;
}

struct status wal_close(struct task *self, struct wal *wal)
{
	stop_tasks(self, wal);
	ASSERT(list_is_empty(&wal->queue));
	ASSERT(wal->in_flight == NULL);
	struct status status = status_ok();
	if (status_is_ok(wal->health) && wal->next_log - 1 > wal->released)
		status = wal_write_marker(self, wal);
	status_keep_first(&status, free_wal(self, wal));
	return status;
}
