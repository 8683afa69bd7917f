/*
 * wal_segment.c: segment files: how they come into being, how they get their next lap, when they are free.
 *
 * A file takes its final name only when it is complete and synced. So a wal-NUMBER.log that is short, or a
 * gap in the numbers, is damage and never a creation that was cut off.
 */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/planted.h"
#include "wal/wal_internal.h"
#include "base/poison.h"

enum {
	FILL_BYTES = 256 << 10, /* a modest write, so that foreground writes need not queue long behind it */
	GROW_PAUSE_NS = 100 * 1000 * 1000,
	RENEW_PAUSE_NS = 10 * 1000 * 1000,
	NUMBER_DIGITS = 6,
};

void wal_segment_path(const struct wal *wal, uint32_t number, const char *suffix, char path[IO_PATH_MAX])
{
	/* By hand: a micro-stack has no room for printf. The length was checked at open. */
	size_t length = strlen(wal->options.directory);
	memcpy(path, wal->options.directory, length);
	memcpy(path + length, "/wal-", 5);
	length += 5;
	for (unsigned digit = NUMBER_DIGITS; digit-- > 0;) {
		path[length + digit] = (char)('0' + number % 10);
		number /= 10;
	}
	length += NUMBER_DIGITS;
	memcpy(path + length, suffix, strlen(suffix) + 1);
}

/* Whether the name is wal-NUMBER and `suffix`. */
static bool parse_name(const char *name, const char *suffix, uint32_t *number)
{
	if (strncmp(name, "wal-", 4) != 0)
		return false;
	*number = 0;
	for (unsigned digit = 0; digit < NUMBER_DIGITS; digit++) {
		char c = name[4 + digit];
		if (c < '0' || c > '9')
			return false;
		*number = *number * 10 + (uint32_t)(c - '0');
	}
	return strcmp(name + 4 + NUMBER_DIGITS, suffix) == 0;
}

static void note_name(void *context, const char *name)
{
	struct wal_names *names = context;
	uint32_t number;
	if (parse_name(name, ".log", &number)) {
		names->count++;
		if (number > names->number_max)
			names->number_max = number;
	}
	names->unfinished |= parse_name(name, ".new", &number);
}

struct list_call {
	const struct wal *wal;
	struct wal_names *names;
	struct status status;
};

static void list_on_thread_stack(void *argument)
{
	struct list_call *call = argument;
	call->status =
		io_list(shard_io(call->wal->shard), call->wal->options.directory, note_name, call->names);
}

struct status wal_segment_list(const struct wal *wal, struct wal_names *names)
{
	*names = (struct wal_names) { 0 };
	struct list_call call = { .wal = wal, .names = names };
	call_on_thread_stack(list_on_thread_stack, &call);
	return call.status;
}

struct status wal_segment_allocate(struct wal *wal, uint32_t number, struct wal_segment **segment)
{
	ASSERT(number < wal->segment_capacity);
	*segment = memory_allocate_zeroed(1, sizeof(**segment));
	if (*segment == NULL)
		return status_make(STATUS_NO_MEMORY);
	list_init(&(*segment)->node);
	(*segment)->number = number;
	(*segment)->position = WAL_HEADER_BYTES;
	return status_ok();
}

struct status wal_segment_sync(struct task *self, struct wal_segment *segment, bool is_short)
{
	struct io_request request = {
		.operation = IO_SYNC,
		.flags = is_short ? IO_AT_ONCE : 0,
		.file = segment->file,
	};
	struct status status = task_io(self, &request);
	if (!status_is_ok(status) && PLANTED(M11))
		status = task_io(self, &request);
	return status;
}

struct status wal_file_close(struct task *self, struct io_file *file)
{
	struct io_request request = { .operation = IO_CLOSE, .file = file };
	return task_io(self, &request);
}

/* --- the header of a new lap --- */

/* Fills the keeper's page. The lap is used up even if the page never gets to the disk: no two headers that
 * might lie there carry the same lap. */
static void head_page(struct wal *wal, struct wal_segment *segment)
{
	segment->header = (struct wal_segment_header) {
		.database_id = { wal->options.database_id[0], wal->options.database_id[1] },
		.shard = wal->options.shard,
		.number = segment->number,
		.segment_bytes = wal->segment_bytes,
		.lap = wal->next_lap++,
		.incarnation_lap = wal->incarnation_lap,
		.cut = wal->cut,
		.group_bytes_max = (uint32_t)wal->group_bytes_max,
		.group_alignment = wal->group_alignment,
		.ring_segments =
			wal->segment_count > segment->number ? wal->segment_count : segment->number + 1,
	};
	wal_header_encode(&segment->header, wal->keeper_page);
}

static MAY_SUSPEND struct status write_head(struct task *self, struct wal *wal, struct io_file *file)
{
	struct io_request request = {
		.operation = IO_WRITE,
		.flags = IO_DURABLE,
		.file = file,
		.buffer = wal->keeper_page,
		.length = WAL_HEADER_BYTES,
		.offset = 0,
	};
	return task_io(self, &request);
}

static void make_ready(struct wal *wal, struct wal_segment *segment)
{
	segment->lap = segment->header.lap;
	segment->seed =
		wal_group_seed(wal->options.database_id, wal->options.shard, segment->number, segment->lap);
	segment->position = WAL_HEADER_BYTES;
	segment->last_log = 0;
	segment->unsynced = false;
	segment->trimmed = false;
	segment->torn = false;
	segment->state = WAL_SEGMENT_READY;
	list_add_last(&wal->ready, &segment->node);
	wal_update_gauges(wal);
}

struct status wal_segment_renew(struct task *self, struct wal *wal)
{
	struct wal_segment *segment = CONTAINER_OF(wal->dirty.next, struct wal_segment, node);
	ASSERT(segment->state == WAL_SEGMENT_DIRTY);
	/* INV-WAL-2 */
	ASSERT(segment->last_log <= wal->released);
	head_page(wal, segment);
	TRY(write_head(self, wal, segment->file));
	list_remove(&segment->node);
	wal->counters.laps++;
	make_ready(wal, segment);
	return status_ok();
}

/* --- a new file --- */

static MAY_SUSPEND struct status fill_file(struct task *self, struct wal *wal, struct io_file *file,
					   uint8_t *zeros)
{
	struct io_request request = {
		.operation = IO_ALLOCATE,
		.file = file,
		.length = wal->segment_bytes <= (1 << 30) ? (size_t)wal->segment_bytes : 0,
	};
	if (request.length > 0) {
		struct status status = task_io(self, &request);
		if (!status_is_ok(status) && !status_is(status, STATUS_UNSUPPORTED))
			return status;
	}
	for (uint64_t at = 0; at < wal->segment_bytes; at += request.length) {
		uint64_t left = wal->segment_bytes - at;
		request = (struct io_request) {
			.operation = IO_WRITE,
			.file = file,
			.buffer = zeros,
			.length = left < FILL_BYTES ? (size_t)left : FILL_BYTES,
			.offset = at,
		};
		TRY(task_io(self, &request));
		if (wal->closing)
			return status_make(STATUS_CLOSED);
	}
	request = (struct io_request) { .operation = IO_SYNC, .file = file };
	return task_io(self, &request);
}

static MAY_SUSPEND struct status open_new(struct task *self, struct wal *wal, uint32_t number,
					  struct io_file **file)
{
	wal_segment_path(wal, number, ".new", wal->path);
	TRY(task_unlink(self, wal->path));
	struct io_request request = {
		.operation = IO_OPEN,
		.path = wal->path,
		.flags = IO_OPEN_WRITE | IO_OPEN_CREATE | wal_open_flags(wal),
	};
	TRY(task_io(self, &request));
	*file = request.opened;
	return status_ok();
}

static MAY_SUSPEND struct status publish_new(struct task *self, struct wal *wal, uint32_t number)
{
	wal_segment_path(wal, number, ".new", wal->path);
	wal_segment_path(wal, number, ".log", wal->path_to);
	struct io_request request = {
		.operation = IO_RENAME,
		.path = wal->path,
		.path_to = wal->path_to,
	};
	TRY(task_io(self, &request));
	return task_sync_directory(self, wal->options.directory);
}

struct status wal_segment_create(struct task *self, struct wal *wal)
{
	uint32_t number = wal->segment_count;
	struct wal_segment *segment = NULL;
	struct io_file *file = NULL;
	struct status status;
	uint8_t *zeros = memory_allocate_aligned(IO_PAGE_BYTES, FILL_BYTES);
	if (zeros == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset(zeros, 0, FILL_BYTES);
	TRY_GOTO(wal_segment_allocate(wal, number, &segment), out);
	TRY_GOTO(open_new(self, wal, number, &file), out);
	TRY_GOTO(fill_file(self, wal, file, zeros), out);
	head_page(wal, segment);
	TRY_GOTO(write_head(self, wal, file), out);
	status = publish_new(self, wal, number);
	/* Nobody can say what it is called now. */
	if (status_is(status, STATUS_IO))
		wal_fail(wal, status, "naming a new segment");
	if (!status_is_ok(status))
		goto out;
	segment->file = file;
	wal->segments[number] = segment;
	wal->segment_count++;
	make_ready(wal, segment);
	segment = NULL;
	file = NULL;
out:
	if (file != NULL) {
		struct status closed = wal_file_close(self, file);
		(void)closed; /* the first error is the one to report */
		/* A name that may not last must not be found, and counted, by the next open. */
		static const char *const endings[] = { ".new", ".log" };
		for (unsigned i = 0; i < 2; i++) {
			wal_segment_path(wal, number, endings[i], wal->path);
			closed = task_unlink(self, wal->path);
		}
	}
	memory_free(segment);
	memory_free(zeros);
	return status;
}

/* --- the keeper --- */

bool wal_may_grow(const struct wal *wal)
{
	return wal->segment_count < wal->options.segments_max;
}

void wal_reclaim(struct wal *wal)
{
	if (wal->recovering)
		return;
	bool freed = false;
	while (!list_is_empty(&wal->live)) {
		struct wal_segment *segment = CONTAINER_OF(wal->live.next, struct wal_segment, node);
		if (segment->last_log > wal->released)
			break;
		ASSERT(segment->state == WAL_SEGMENT_LIVE);
		segment->state = WAL_SEGMENT_DIRTY;
		segment->unsynced = false; /* tables hold it all, and the manifest says so durably */
		list_remove(&segment->node);
		list_add_last(&wal->dirty, &segment->node);
		freed = true;
	}
	if (freed) {
		wal_update_gauges(wal);
		wal_wake_keeper(wal);
	}
}

void wal_wake_keeper(struct wal *wal)
{
	if (wal->keeper_idle) {
		wal->keeper_idle = false;
		task_resume(wal->keeper);
	}
}

static bool must_renew(const struct wal *wal)
{
	return !list_is_empty(&wal->dirty);
}

static bool must_grow(const struct wal *wal)
{
	return list_is_empty(&wal->ready) && list_is_empty(&wal->dirty) && wal_may_grow(wal) &&
	       clock_now_ns() >= wal->grow_again_ns;
}

/* A lack of space passes and is tried again later; whatever else fails at writing to the ring is the end. */
static bool is_passing(struct status status)
{
	return status_is(status, STATUS_NO_SPACE) || status_is(status, STATUS_NO_MEMORY);
}

static MAY_SUSPEND void keeper_renew(struct task *self, struct wal *wal)
{
	struct status status = wal_segment_renew(self, wal);
	if (status_is_ok(status))
		return;
	if (is_passing(status))
		task_sleep(self, RENEW_PAUSE_NS);
	else
		wal_fail(wal, status, "a segment's header");
}

static MAY_SUSPEND void keeper_grow(struct task *self, struct wal *wal)
{
	struct status status = wal_segment_create(self, wal);
	wal->grow_status = status;
	if (status_is_ok(status) || status_is(status, STATUS_CLOSED))
		return;
	/* The file is gone, and with it whatever a failed sync says of it: the next try makes another one. */
	wal->grow_again_ns = clock_now_ns() + GROW_PAUSE_NS;
	wal_update_gauges(wal);
}

static MAY_SUSPEND void keeper_run(struct task *self, void *argument)
{
	struct wal *wal = argument;
	wal->keeper = self;
	while (!wal->closing) {
		if (status_is_ok(wal->health) && must_renew(wal)) {
			keeper_renew(self, wal);
		} else if (status_is_ok(wal->health) && must_grow(wal)) {
			keeper_grow(self, wal);
		} else {
			wal->keeper_idle = true;
			task_suspend(self);
		}
	}
}

const struct task_type wal_keeper_type = {
	.name = "wal_keeper",
	.run = keeper_run,
	.stack_bytes = 1024,
};
