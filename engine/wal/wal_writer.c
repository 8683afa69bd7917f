/*
 * wal_writer.c: the one task that seals groups, writes and syncs them, and settles them.
 *
 * A group is IN THE QUEUE (may take commits if it is the last and not closed), then IN FLIGHT (sealed: it has
 * its log numbers and its place), then settled: either every commit of it is applied, or every commit of it
 * is refused. There is one group in flight at most, because the next one writes the last page again.
 */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/planted.h"
#include "wal/wal_internal.h"
#include "base/poison.h"

enum {
	STALL_POLL_NS = 250 * 1000,
	PROBES = 8, /* groups timed, alternately one durable write and write + sync */
	GATHER_LOOK_NS = 5 * 1000,
	GATHER_NS_MAX = 60 * 1000,
	GATHER_SKIPS_MAX = 63,
	PAGE_MASK = IO_PAGE_BYTES - 1,
};

/* --- settling --- */

static void finish_waiters(struct wal_waiters *waiters, struct status status)
{
	struct wal_waiter *waiter = waiters->first;
	waiters->first = NULL;
	while (waiter != NULL) {
		struct wal_waiter *next = waiter->next; /* its stack may go once it runs */
		waiter->status = status;
		waiter->done = true;
		task_resume(waiter->task);
		waiter = next;
	}
}

static void move_waiters(struct wal_waiters *from, struct wal_waiters *to)
{
	if (from->first == NULL)
		return;
	if (to->first == NULL)
		to->first = from->first;
	else
		to->last->next = from->first;
	to->last = from->last;
	from->first = NULL;
}

struct apply_call {
	struct wal *wal;
	const struct wal_group *group;
};

static void apply_commits(void *argument)
{
	const struct apply_call *call = argument;
	const struct wal_group *group = call->group;
	const struct wal_options *options = &call->wal->options;
	const uint8_t *at = group->buffer + group->start + WAL_GROUP_HEADER_BYTES;
	const uint8_t *end = group->buffer + group->start + group->length;
	struct wal_commit commit = { .log_number = group->first_log };
	for (uint32_t i = 0; i < group->count; i++, commit.log_number++) {
		at = wal_commit_decode(at, end, &commit.sequence, &commit.payload);
		ASSERT(at != NULL);
		options->apply(options->context, &commit);
		call->wal->counters.payload_bytes += commit.payload.size;
	}
	ASSERT(at == end);
}

static void release_group(struct wal *wal, struct wal_group *group)
{
	ASSERT(group->waiters.first == NULL);
	ASSERT(group->sync_waiters.first == NULL);
	wal->queued_bytes -= group->length;
	if (group->single) {
		wal->single_in_use = false;
		wal->counters.memory_bytes -= group->buffer_bytes;
		memory_free(group->buffer);
		memory_free(group);
	} else {
		list_add_last(&wal->unused, &group->node);
	}
	if (!list_is_empty(&wal->joiners)) {
		struct wal_joiner *joiner = CONTAINER_OF(wal->joiners.next, struct wal_joiner, node);
		if (!joiner->awake) {
			joiner->awake = true;
			task_resume(joiner->task);
		}
	}
}

/* The group is on disk as its members asked. */
static void settle_applied(struct wal *wal, struct wal_group *group)
{
	struct apply_call call = { .wal = wal, .group = group };
	call_on_thread_stack(apply_commits, &call);
	wal->applied_log = group->first_log + group->count - 1;
	wal->counters.commits += group->count;
	wal->counters.groups++;
	finish_waiters(&group->waiters, status_ok());
	finish_waiters(&group->sync_waiters, status_ok());
	release_group(wal, group);
	wait_list_wake_all(&wal->published);
}

/* Nothing of the group happened, or nobody knows: none of it is applied. */
static void settle_refused(struct wal *wal, struct wal_group *group, struct status status)
{
	ASSERT(!status_is_ok(status));
	finish_waiters(&group->waiters, status);
	/* Whoever waits for a sync has no part in this group; what is written before it can be synced. */
	move_waiters(&group->sync_waiters, &wal->sync_waiters);
	release_group(wal, group);
	wait_list_wake_all(&wal->published);
}

/* --- a place for the group --- */

static void refuse_joiner(struct wal_joiner *joiner, struct status status)
{
	list_remove(&joiner->node);
	joiner->refused = true;
	joiner->status = status;
	if (!joiner->awake)
		task_resume(joiner->task);
}

static struct status stall_status(const struct wal *wal)
{
	return status_is_ok(wal->grow_status) ? status_make(STATUS_BUSY) : wal->grow_status;
}

/* Those who wait for a buffer must not wait longer for a segment than those who have one. */
static void refuse_late_joiners(struct wal *wal, uint64_t now_ns)
{
	while (!list_is_empty(&wal->joiners)) {
		struct wal_joiner *joiner = CONTAINER_OF(wal->joiners.next, struct wal_joiner, node);
		if (now_ns < joiner->deadline_ns)
			break;
		refuse_joiner(joiner, stall_status(wal));
	}
}

/*
 * Waits for a ready segment by looking again and again: it happens only when all segments are full, and
 * then a flush has to end first, which takes far longer than a look.
 */
static MAY_SUSPEND struct status wait_ready(struct task *self, struct wal *wal, const struct wal_group *group)
{
	if (list_is_empty(&wal->ready))
		wal->counters.segment_waits += group->count;
	while (list_is_empty(&wal->ready)) {
		TRY(wal->health);
		uint64_t now_ns = clock_now_ns();
		refuse_late_joiners(wal, now_ns);
		if (now_ns >= group->deadline_ns)
			return stall_status(wal);
		wal_wake_keeper(wal);
		task_sleep(self, STALL_POLL_NS);
	}
	return status_ok();
}

/* The next ready segment, which there is, becomes the current one. */
static void take_ready(struct wal *wal)
{
	struct wal_segment *current = wal->current;
	if (current != NULL) {
		current->state = WAL_SEGMENT_LIVE;
		list_add_last(&wal->live, &current->node);
	}
	struct list *node = list_take_first(&wal->ready);
	wal->current = CONTAINER_OF(node, struct wal_segment, node);
	wal->current->state = WAL_SEGMENT_CURRENT;
	ASSERT(wal->current->position == WAL_HEADER_BYTES);
}

static MAY_SUSPEND struct status find_place(struct task *self, struct wal *wal, const struct wal_group *group)
{
	const struct wal_segment *current = wal->current;
	if (current != NULL && current->position + group->length <= wal->segment_bytes)
		return status_ok();
	TRY(wait_ready(self, wal, group));
	take_ready(wal);
	wal_reclaim(wal);
	wal_update_gauges(wal);
	wal_wake_keeper(wal); /* so that the next one is ready before it is needed */
	return status_ok();
}

/* --- writing --- */

/* The group as it stands in memory becomes the pages that go to the segment's position. */
static void encode_group(struct wal *wal, struct wal_group *group)
{
	const struct wal_segment *segment = wal->current;
	size_t start = (size_t)(segment->position & PAGE_MASK);
	if (start != group->start) {
		memmove(group->buffer + start, group->buffer + group->start, group->length);
		group->start = start;
	}
	/* Old bytes of the first page are written again as they are; behind the group there are zeros. */
	memcpy(group->buffer, wal->tail, start);
	size_t end = start + group->length;
	size_t pages_end = (size_t)wal_round_up(end, IO_PAGE_BYTES);
	ASSERT(pages_end <= group->buffer_bytes);
	memset(group->buffer + end, 0, pages_end - end);
	group->first_log = wal->next_log;
	struct wal_group_header header = {
		.length = (uint32_t)group->length,
		.count = group->count,
		.lap = segment->lap,
		.offset = segment->position,
		.first_log_number = group->first_log,
		.durable_log_number = wal->durable_log,
		.ring_segments = wal->segment_count,
	};
	wal_group_encode(&header, segment->seed, group->buffer + start);
}

/* `self` may be NULL when the group is written at once. */
static MAY_SUSPEND struct status transfer(struct task *self, struct wal *wal, const struct wal_group *group,
					  struct io_request *request)
{
	if (wal_writes_at_once(wal, group->length, group->power))
		return io_perform(shard_io(wal->shard), request);
	return task_io(self, request);
}

static MAY_SUSPEND struct status write_pages(struct task *self, struct wal *wal, struct wal_group *group,
					     bool durable)
{
	struct io_request request = {
		.operation = IO_WRITE,
		.flags = (durable ? IO_DURABLE : 0) | (group->power && !group->single ? IO_AT_ONCE : 0),
		.file = wal->current->file,
		.buffer = group->buffer,
		.length = (size_t)wal_round_up(group->start + group->length, IO_PAGE_BYTES),
		.offset = wal->current->position - group->start,
	};
	wal->counters.written_bytes += request.length;
	return transfer(self, wal, group, &request);
}

/* The write is complete: the group is part of the log. */
static void advance(struct wal *wal, const struct wal_group *group, bool durable)
{
	struct wal_segment *segment = wal->current;
	wal->next_log += group->count;
	segment->last_log = wal->next_log - 1;
	segment->position = wal_round_up(segment->position + group->length, wal->group_alignment);
	if (durable)
		wal->durable_log = wal->next_log - 1;
	else
		segment->unsynced = true;
	size_t end = group->start + group->length;
	if ((segment->position & PAGE_MASK) != 0)
		memcpy(wal->tail, group->buffer + (end & ~(size_t)PAGE_MASK), IO_PAGE_BYTES);
	wal_update_gauges(wal);
}

/*
 * A write failed for want of space: at least one page of the group is not on disk, so its checksum cannot be
 * right. To be sure, its first page is put back as it was; the next group then takes the same place and log
 * numbers. Segments are written before use, so this takes a file system that moves what it rewrites.
 */
static MAY_SUSPEND struct status take_back(struct task *self, struct wal *wal, struct wal_group *group,
					   struct status failure)
{
	memset(group->buffer + group->start, 0, IO_PAGE_BYTES - group->start);
	struct io_request request = {
		.operation = IO_WRITE,
		.file = wal->current->file,
		.buffer = group->buffer,
		.length = IO_PAGE_BYTES,
		.offset = wal->current->position - group->start,
	};
	struct status status = transfer(self, wal, group, &request);
	if (status_is_ok(status)) {
		wal->current->unsynced = true;
		return failure;
	}
	if (status_is(status, STATUS_NO_SPACE))
		return failure;
	wal_fail(wal, status, "taking back a group");
	return wal->health;
}

struct status wal_sync_segments(struct task *self, struct wal *wal, bool is_short)
{
	uint64_t written = wal->next_log - 1;
	for (uint32_t i = 0; i < wal->segment_count; i++) {
		struct wal_segment *segment = wal->segments[i];
		if (!segment->unsynced)
			continue;
		/* Before the sync: what wal_try_append writes meanwhile is not covered by it. */
		segment->unsynced = PLANTED(N11);
		struct status status = wal_segment_sync(self, segment, is_short);
		wal->counters.syncs++;
		if (PLANTED(N11))
			segment->unsynced = false;
		if (!status_is_ok(status) && !PLANTED(M10)) {
			wal_fail(wal, status, "a sync of the log");
			return wal->health;
		}
	}
	if (wal->durable_log < written)
		wal->durable_log = written;
	return status_ok();
}

/* Whether all that was written before is durable, so that one durable write does for the group. */
static bool all_is_durable(const struct wal *wal)
{
	if (wal->durable_log != wal->next_log - 1)
		return false;
	for (uint32_t i = 0; i < wal->segment_count; i++)
		if (wal->segments[i]->unsynced)
			return false;
	return true;
}

static bool choose_durable_write(const struct wal *wal)
{
	return wal->probes < PROBES ? wal->probes % 2 == 0 : wal->prefers_durable_write;
}

static void note_probe(struct wal *wal, bool durable_write, uint64_t took_ns)
{
	wal->probe_ns[durable_write] += took_ns;
	if (++wal->probes == PROBES)
		wal->prefers_durable_write = wal->probe_ns[true] <= wal->probe_ns[false];
}

static MAY_SUSPEND struct status write_power(struct task *self, struct wal *wal, struct wal_group *group)
{
	bool simple = all_is_durable(wal);
	bool durable_write = simple && choose_durable_write(wal) && !PLANTED(M1);
	bool probing = simple && wal->probes < PROBES;
	uint64_t begun_ns = clock_now_ns();
	TRY(write_pages(self, wal, group, durable_write));
	advance(wal, group, durable_write);
	if (durable_write)
		wal->counters.syncs++;
	else if (!PLANTED(M1))
		TRY(wal_sync_segments(self, wal, simple));
	uint64_t took_ns = clock_now_ns() - begun_ns;
	wal->power_ns += took_ns / 8 - wal->power_ns / 8;
	if (probing)
		note_probe(wal, durable_write, took_ns);
	return status_ok();
}

/* Commits that wait in the queue. */
static uint32_t queued_commits(const struct wal *wal)
{
	uint32_t count = 0;
	for (const struct list *node = wal->queue.next; node != &wal->queue; node = node->next)
		count += CONTAINER_OF(node, struct wal_group, node)->count;
	return count;
}

static MAY_SUSPEND struct status write_group(struct task *self, struct wal *wal, struct wal_group *group)
{
	uint64_t next_log = wal->next_log;
	encode_group(wal, group);
	struct status status;
	if (group->power) {
		status = write_power(self, wal, group);
		wal->gather_count = group->count + queued_commits(wal);
	} else {
		status = write_pages(self, wal, group, false);
		if (status_is_ok(status))
			advance(wal, group, false);
	}
	if (status_is_ok(status) || !status_is_ok(wal->health))
		return status;
	ASSERT(wal->next_log == next_log); /* only a failed sync comes after the write, and ends all */
	if (status_is(status, STATUS_NO_SPACE))
		return take_back(self, wal, group, status);
	wal_fail(wal, status, "a write to the log");
	return status_is(status, STATUS_IO) ? status : wal->health;
}

/* Where the next group will begin in its buffer, so that its bytes need not be moved. */
static void predict_start(struct wal *wal, const struct wal_group *group)
{
	uint64_t end = wal->current->position + group->length;
	wal->start_predicted = (size_t)(wal_round_up(end, wal->group_alignment) & PAGE_MASK);
}

static MAY_SUSPEND void commit_group(struct task *self, struct wal *wal, struct wal_group *group)
{
	list_remove(&group->node);
	group->closed = true;
	wal->in_flight = group;
	/* They came when nothing was queued behind what is written: this group's sync covers them. */
	move_waiters(&wal->sync_waiters, &group->sync_waiters);
	if (group->sync_waiters.first != NULL)
		group->power = true;
	struct status status = wal->health;
	if (status_is_ok(status))
		status = find_place(self, wal, group);
	if (status_is_ok(status)) {
		predict_start(wal, group);
		status = write_group(self, wal, group);
	}
	wal->in_flight = NULL;
	bool late = group->power && status_is_ok(status) && PLANTED(M1);
	if (status_is_ok(status))
		settle_applied(wal, group);
	else
		settle_refused(wal, group, status);
	if (late)
		status = wal_sync_segments(self, wal, false);
}

struct status wal_commit_at_once(struct wal *wal, struct wal_group *group)
{
	struct status status;
	list_remove(&group->node);
	group->closed = true;
	wal->in_flight = group;
	predict_start(wal, group);
	status = write_group(NULL, wal, group);
	wal->in_flight = NULL;
	if (status_is_ok(status) || PLANTED(N2))
		settle_applied(wal, group);
	else
		settle_refused(wal, group, status);
	return status;
}

/* --- the markers of a clean close --- */

static MAY_SUSPEND struct status write_marker(struct task *self, struct wal *wal, struct wal_group *group)
{
	group->start = 0;
	group->length = WAL_GROUP_HEADER_BYTES;
	group->count = 0;
	encode_group(wal, group);
	return write_pages(self, wal, group, true);
}

/* Moves on to the page behind the last commits, which may be in the next segment. False: there is none. */
static bool move_to_next_page(struct wal *wal)
{
	struct wal_segment *segment = wal->current;
	uint64_t next_page = wal_round_up(segment->position + 1, IO_PAGE_BYTES);
	if (next_page < wal->segment_bytes) {
		segment->position = next_page;
		return true;
	}
	if (list_is_empty(&wal->ready))
		return false;
	take_ready(wal);
	return true;
}

struct status wal_write_marker(struct task *self, struct wal *wal)
{
	ASSERT(list_is_empty(&wal->queue));
	TRY(wal_sync_segments(self, wal, false));
	const struct wal_segment *segment = wal->current;
	if (segment == NULL || list_is_empty(&wal->unused))
		return status_ok();
	struct wal_group *group = CONTAINER_OF(wal->unused.next, struct wal_group, node);
	if (segment->position + WAL_GROUP_HEADER_BYTES <= wal->segment_bytes)
		TRY(write_marker(self, wal, group));
	/* The page that holds it holds the end of the last commits as well: what takes one away takes the
	 * other. A second one begins the next page. */
	if (PLANTED(N4) || !move_to_next_page(wal))
		return status_ok();
	return write_marker(self, wal, group);
}

/* --- the task --- */

/* Those who wait for a sync of what is written, when no group is there to carry them. */
static MAY_SUSPEND void sync_alone(struct task *self, struct wal *wal)
{
	struct wal_waiters waiters = { 0 };
	move_waiters(&wal->sync_waiters, &waiters);
	struct status status = wal->health;
	if (status_is_ok(status))
		status = wal_sync_segments(self, wal, false);
	finish_waiters(&waiters, status);
}

static void refuse_joiners(struct wal *wal)
{
	while (!list_is_empty(&wal->joiners))
		refuse_joiner(CONTAINER_OF(wal->joiners.next, struct wal_joiner, node), wal->health);
}

/*
 * A sync costs the same for any number of commits, and who was told of the last group's often comes back with
 * the next one at once. So a group of fewer waits for the others, for a part of the time that a sync takes:
 * else two halves of the clients take turns, and each waits for the other's sync. Where less than half of
 * them come, the next groups do without.
 */
static MAY_SUSPEND void gather(struct task *self, struct wal *wal)
{
	if (wal->gather_skips > 0) {
		wal->gather_skips--;
		return;
	}
	uint64_t wait_ns_max = wal->power_ns / 2 < GATHER_NS_MAX ? wal->power_ns / 2 : GATHER_NS_MAX;
	uint32_t begun = queued_commits(wal), count = begun;
	for (uint64_t waited_ns = 0; count < wal->gather_count && waited_ns < wait_ns_max;
	     waited_ns += GATHER_LOOK_NS) {
		task_sleep(self, GATHER_LOOK_NS);
		count = queued_commits(wal);
	}
	if (count >= wal->gather_count || 2 * (count - begun) >= wal->gather_count - begun)
		wal->gather_failures = 0;
	else if (wal->gather_failures < GATHER_SKIPS_MAX)
		wal->gather_failures = 2 * wal->gather_failures + 1;
	wal->gather_skips = wal->gather_failures;
}

static bool next_is_power(const struct wal *wal)
{
	return !list_is_empty(&wal->queue) && CONTAINER_OF(wal->queue.next, struct wal_group, node)->power;
}

static MAY_SUSPEND void writer_run(struct task *self, void *argument)
{
	struct wal *wal = argument;
	wal->writer = self;
	for (;;) {
		if (!status_is_ok(wal->health))
			refuse_joiners(wal);
		if (list_is_empty(&wal->queue) && wal->sync_waiters.first == NULL) {
			if (wal->closing && list_is_empty(&wal->joiners))
				return;
			wal->writer_idle = true;
			task_suspend(self);
			continue;
		}
		/* Whoever is runnable in this turn joins first: one more commit costs no more syncs. */
		task_yield(self);
		if (next_is_power(wal) && !wal->closing)
			gather(self, wal);
		if (!list_is_empty(&wal->queue))
			commit_group(self, wal, CONTAINER_OF(wal->queue.next, struct wal_group, node));
		else
			sync_alone(self, wal);
	}
}

const struct task_type wal_writer_type = {
	.name = "wal_writer",
	.run = writer_run,
	.stack_bytes = 1536,
};
