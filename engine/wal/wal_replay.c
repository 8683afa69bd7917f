/*
 * wal_replay.c: what an open makes of the segments that it finds.
 *
 * The segments are read once, in the order of their laps. As long as groups follow one another without a
 * gap in the log numbers they are THE CHAIN, and their commits are replayed. A gap of commits that tables
 * cover is none: a flush does not sync the log first, so a crash may tear what it has made superfluous. Where
 * the chain breaks, the rest is searched for valid groups, which are EVIDENCE: they are never replayed, but
 * what they know to be durable (their durable_log_number) tells a torn tail from damage:
 *
 *   - the first missing log number is proven to have been durable (by evidence, or by the header of a run
 *     that replayed it): STATUS_CORRUPT;
 *   - it is not: nothing that was acknowledged for power is missing. The tail is trimmed.
 *
 * A trimmed group stays where it is, so a later replay has to know that it is VOID. Every header of a run
 * says where that run began: with which lap (`incarnation_lap`) and with which log number (`cut`). A group
 * of an earlier lap with a log number from the cut on is void. Headers are written in the order of laps, so
 * the segment that holds such a group gets a new lap before the last header that voids it.
 */
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/planted.h"
#include "wal/wal_internal.h"
#include "base/poison.h"

struct replay {
	struct wal *wal;
	struct wal_replay_report *report;
	uint64_t flushed;
	struct wal_segment **by_lap; /* those with a valid header */
	uint32_t by_lap_count;
	struct wal_stream stream;

	bool started;	     /* the chain has a group */
	uint64_t next;	     /* the log number that comes next in it */
	uint32_t end_number; /* where it ends: segment and offset */
	uint64_t end_offset;

	bool broken;
	bool evidence_is_needed; /* a valid group behind the break holds the very commit that comes next */
	uint64_t proven;	 /* the highest log number known to have been durable */
};

static struct status corrupt(uint32_t number, uint64_t offset, const char *what)
{
	return status_error(STATUS_CORRUPT, "wal-%06u.log, offset %llu: %s", number,
			    (unsigned long long)offset, what);
}

/* --- finding the segments --- */

static MAY_SUSPEND struct status open_segment(struct task *self, struct wal *wal, struct wal_segment *segment)
{
	wal_segment_path(wal, segment->number, ".log", wal->path);
	struct io_request request = {
		.operation = IO_OPEN,
		.path = wal->path,
		.flags = IO_OPEN_WRITE | wal_open_flags(wal),
	};
	struct status status = task_io(self, &request);
	if (status_is(status, STATUS_NOT_FOUND))
		return status_error(STATUS_CORRUPT, "wal-%06u.log is missing", segment->number);
	TRY(status);
	segment->file = request.opened;
	return status_ok();
}

/* The making of the next segment was cut off; nothing refers to it. */
static MAY_SUSPEND struct status remove_unfinished(struct task *self, struct wal *wal)
{
	wal_segment_path(wal, wal->segment_count, ".new", wal->path);
	return task_unlink(self, wal->path);
}

static MAY_SUSPEND struct status open_segments(struct task *self, struct wal *wal)
{
	struct wal_names names;
	TRY(wal_segment_list(wal, &names));
	if (names.count == 0)
		return status_error(STATUS_CORRUPT, "%s: the log has no segments", wal->options.directory);
	if (names.count != names.number_max + 1 || names.count > WAL_SEGMENTS_LIMIT)
		return status_error(STATUS_CORRUPT,
				    "%s: a segment of the log is missing: %u files up to %06u",
				    wal->options.directory, names.count, names.number_max);
	wal->segment_capacity =
		names.count > wal->options.segments_max ? names.count : wal->options.segments_max;
	wal->segments = memory_allocate_zeroed(wal->segment_capacity, sizeof(struct wal_segment *));
	if (wal->segments == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (uint32_t i = 0; i < names.count; i++) {
		TRY(wal_segment_allocate(wal, i, &wal->segments[i]));
		wal->segment_count = i + 1;
		TRY(open_segment(self, wal, wal->segments[i]));
	}
	return names.unfinished ? remove_unfinished(self, wal) : status_ok();
}

static struct status check_ring_segments(const struct wal *wal, uint32_t ring_segments)
{
	if (ring_segments > wal->segment_count)
		return status_error(STATUS_CORRUPT, "%s: the log had %u segments, only %u are there",
				    wal->options.directory, ring_segments, wal->segment_count);
	return status_ok();
}

static struct status check_header(const struct wal *wal, const struct wal_segment *segment)
{
	const struct wal_segment_header *header = &segment->header;
	const struct wal_options *options = &wal->options;
	if (header->database_id[0] != options->database_id[0] ||
	    header->database_id[1] != options->database_id[1])
		return corrupt(segment->number, 0, "belongs to another database");
	if (header->shard != options->shard)
		return corrupt(segment->number, 0, "belongs to another shard");
	if (header->number != segment->number)
		return corrupt(segment->number, 0, "is a copy of another segment");
	return check_ring_segments(wal, header->ring_segments);
}

static MAY_SUSPEND struct status read_header(struct task *self, struct replay *replay,
					     struct wal_segment *segment)
{
	struct wal *wal = replay->wal;
	struct io_request request = {
		.operation = IO_READ,
		.file = segment->file,
		.buffer = wal->keeper_page,
		.length = WAL_HEADER_BYTES,
	};
	TRY(task_io(self, &request));
	replay->report->bytes_read += request.transferred;
	replay->report->ring_bytes += segment->file->size_at_open;
	if (request.transferred < WAL_HEADER_BYTES)
		return corrupt(segment->number, request.transferred, "the file is cut short");
	switch (wal_header_decode(wal->keeper_page, &segment->header)) {
	case WAL_HEADER_UNKNOWN_VERSION:
		return status_error(STATUS_FORMAT, "wal-%06u.log has a format version that is not known",
				    segment->number);
	case WAL_HEADER_DAMAGED:
		return status_ok();
	case WAL_HEADER_VALID:
		break;
	}
	TRY(check_header(wal, segment));
	segment->header_valid = true;
	segment->lap = segment->header.lap;
	segment->seed =
		wal_group_seed(wal->options.database_id, wal->options.shard, segment->number, segment->lap);
	if (segment->lap >= wal->next_lap)
		wal->next_lap = segment->lap + 1;
	return status_ok();
}

/* Insertion sort: a ring has few segments, and they lie almost in order. */
static void sort_by_lap(struct replay *replay)
{
	for (uint32_t i = 0; i < replay->wal->segment_count; i++) {
		struct wal_segment *segment = replay->wal->segments[i];
		if (!segment->header_valid)
			continue;
		uint32_t at = replay->by_lap_count++;
		for (; at > 0 && replay->by_lap[at - 1]->lap > segment->lap; at--)
			replay->by_lap[at] = replay->by_lap[at - 1];
		replay->by_lap[at] = segment;
	}
}

/* All segments are of one size and of laps of their own; what is damaged is as long as the others. */
static struct status check_ring(struct replay *replay, size_t *group_bytes_max)
{
	struct wal *wal = replay->wal;
	*group_bytes_max = 0;
	if (replay->by_lap_count == 0)
		return corrupt(0, 0, "no segment of the log has a valid header");
	wal_set_segment_bytes(wal, replay->by_lap[0]->header.segment_bytes);
	for (uint32_t i = 0; i < replay->by_lap_count; i++) {
		const struct wal_segment *segment = replay->by_lap[i];
		if (segment->header.segment_bytes != wal->segment_bytes)
			return corrupt(segment->number, 0, "has not the size of the other segments");
		if (i > 0 && segment->lap == replay->by_lap[i - 1]->lap)
			return corrupt(segment->number, 0, "two segments claim the same lap");
		if (segment->header.group_bytes_max > *group_bytes_max)
			*group_bytes_max = segment->header.group_bytes_max;
		/* What an earlier run replayed, it made durable before it wrote its first header. */
		if (segment->header.cut - 1 > replay->proven)
			replay->proven = segment->header.cut - 1;
	}
	for (uint32_t i = 0; i < wal->segment_count; i++) {
		struct wal_segment *segment = wal->segments[i];
		if (segment->file->size_at_open != wal->segment_bytes)
			return corrupt(segment->number, segment->file->size_at_open,
				       "the file's size is wrong");
		if (!segment->header_valid)
			segment->header.group_bytes_max = (uint32_t)*group_bytes_max;
	}
	return status_ok();
}

/* --- the chain --- */

static bool is_void(const struct replay *replay, const struct wal_group_header *group)
{
	for (uint32_t i = 0; i < replay->by_lap_count; i++) {
		const struct wal_segment_header *header = &replay->by_lap[i]->header;
		if (group->lap < header->incarnation_lap && group->first_log_number >= header->cut)
			return !PLANTED(N7);
	}
	return false;
}

/* The first log number that has to be there and is not. */
static uint64_t first_missing(const struct replay *replay)
{
	uint64_t wanted = replay->flushed + 1;
	return replay->started && replay->next > wanted ? replay->next : wanted;
}

static void note_evidence(struct replay *replay, struct wal_segment *segment,
			  const struct wal_group_header *group)
{
	uint64_t missing = first_missing(replay);
	if (group->durable_log_number > replay->proven)
		replay->proven = group->durable_log_number;
	if (group->count == 0)
		return; /* a marker, which is no break of the chain: it stands alone in a page of its own */
	replay->broken = true;
	segment->trimmed = true;
	replay->report->trimmed += group->length;
	uint64_t last = wal_group_last_log_number(group);
	if (last < missing)
		return;
	/* It holds the missing commit itself. */
	if (group->first_log_number <= missing)
		replay->evidence_is_needed = true;
}

enum link {
	LINK_FOLLOWS,
	LINK_GAP,
	LINK_BACK, /* a log number that the chain has already */
};

static enum link judge_link(const struct replay *replay, const struct wal_group_header *group)
{
	uint64_t first = group->first_log_number;
	if (!replay->started)
		return first <= replay->flushed + 1 ? LINK_FOLLOWS : LINK_GAP;
	if (first == replay->next)
		return LINK_FOLLOWS;
	if (first < replay->next)
		return LINK_BACK;
	/* Between them are only commits that tables cover: torn by a crash, for what is in tables is not
	 * synced here; or never written, by a run that began behind the flushed log number. */
	return first <= replay->flushed + 1 ? LINK_FOLLOWS : LINK_GAP;
}

static MAY_SUSPEND struct status replay_commits(struct task *self, struct replay *replay,
						const struct wal_segment *segment,
						const struct wal_group_header *group, const uint8_t *bytes)
{
	struct wal *wal = replay->wal;
	const uint8_t *at = bytes + WAL_GROUP_HEADER_BYTES;
	const uint8_t *end = bytes + group->length;
	struct wal_commit commit = { .log_number = group->first_log_number };
	for (uint32_t i = 0; i < group->count; i++, commit.log_number++) {
		at = wal_commit_decode(at, end, &commit.sequence, &commit.payload);
		if (at == NULL)
			return corrupt(segment->number, group->offset, "a commit runs over its group");
		if (commit.sequence > replay->report->last_sequence)
			replay->report->last_sequence = commit.sequence;
		if (commit.log_number <= replay->flushed)
			continue;
		TRY(wal->options.replay(self, wal->options.context, &commit));
		replay->report->commits++;
		task_breathe(self);
	}
	return at == end ? status_ok() : corrupt(segment->number, group->offset, "bytes behind the commits");
}

static MAY_SUSPEND struct status take_group(struct task *self, struct replay *replay,
					    struct wal_segment *segment, const struct wal_group_header *group,
					    const uint8_t *bytes)
{
	TRY(check_ring_segments(replay->wal, group->ring_segments));
	enum link link = replay->broken ? LINK_GAP : judge_link(replay, group);
	if (link == LINK_BACK)
		return corrupt(segment->number, group->offset, "the log numbers go back");
	if (link == LINK_GAP) {
		note_evidence(replay, segment, group);
		return status_ok();
	}
	TRY(replay_commits(self, replay, segment, group, bytes));
	replay->started = true;
	replay->next = wal_group_last_log_number(group) + 1;
	segment->last_log = replay->next - 1;
	segment->position = wal_round_up(group->offset + group->length, segment->header.group_alignment);
	replay->end_number = segment->number;
	replay->end_offset = segment->position;
	return status_ok();
}

/* The groups of one segment, from *at on. *at: where they end. *is_done: all behind it is void. */
static MAY_SUSPEND struct status walk_groups(struct task *self, struct replay *replay,
					     struct wal_segment *segment, uint64_t *at, bool *is_done)
{
	struct wal_group_header group;
	*is_done = false;
	for (;;) {
		const uint8_t *bytes;
		bool found;
		TRY(wal_stream_group(self, replay->wal, &replay->stream, segment->lap, *at, &group, &bytes,
				     &found));
		if (!found) {
			replay->report->trimmed += group.length; /* it looks like one, but is torn */
			return status_ok();
		}
		if (is_void(replay, &group)) {
			segment->trimmed |= group.count > 0; /* a marker says nothing that could come back */
			*is_done = true;
			return status_ok();
		}
		TRY(take_group(self, replay, segment, &group, bytes));
		*at = wal_round_up(*at + group.length, segment->header.group_alignment);
	}
}

/* Whether the chain goes on with this group, found behind a place where no valid one stands. */
static bool goes_on(const struct replay *replay, const struct wal_group_header *group)
{
	return !replay->broken && group->count > 0 && judge_link(replay, group) == LINK_FOLLOWS;
}

/* What is valid behind *at, where no valid group stands. *found_more: the chain goes on at *at. */
static MAY_SUSPEND struct status search_evidence(struct task *self, struct replay *replay,
						 struct wal_segment *segment, uint64_t *at, bool *found_more)
{
	*found_more = false;
	*at += WAL_GROUP_ALIGNMENT;
	for (;;) {
		struct wal_group_header group;
		bool found;
		TRY(wal_stream_search(self, replay->wal, &replay->stream, segment->lap, at, &group, &found));
		if (!found || is_void(replay, &group))
			return status_ok();
		*found_more = goes_on(replay, &group);
		if (*found_more)
			return status_ok();
		note_evidence(replay, segment, &group);
		*at += group.length;
	}
}

static MAY_SUSPEND struct status read_segment(struct task *self, struct replay *replay,
					      struct wal_segment *segment)
{
	uint64_t at = WAL_HEADER_BYTES;
	bool more = true;
	struct status status = status_ok();
	wal_stream_begin(&replay->stream, segment, WAL_HEADER_BYTES, replay->wal->segment_bytes);
	while (more && status_is_ok(status)) {
		bool is_done;
		status = walk_groups(self, replay, segment, &at, &is_done);
		more = false;
		if (status_is_ok(status) && !is_done)
			status = search_evidence(self, replay, segment, &at, &more);
		segment->torn |= more;
	}
	wal_stream_end(self, &replay->stream);
	return status;
}

/*
 * A segment without a valid header is one whose next lap was being written when the power went, and then
 * everything in it is in tables; or it is damaged.
 */
static MAY_SUSPEND struct status read_headless(struct task *self, struct replay *replay,
					       struct wal_segment *segment)
{
	struct status status = status_ok();
	uint64_t at = WAL_HEADER_BYTES;
	wal_stream_begin(&replay->stream, segment, WAL_HEADER_BYTES, replay->wal->segment_bytes);
	for (;;) {
		struct wal_group_header group;
		bool found;
		status = wal_stream_search(self, replay->wal, &replay->stream, 0, &at, &group, &found);
		if (!status_is_ok(status) || !found)
			break;
		if (group.lap >= replay->wal->next_lap)
			replay->wal->next_lap = group.lap + 1;
		if (wal_group_last_log_number(&group) > replay->flushed && !is_void(replay, &group)) {
			status = corrupt(segment->number, 0,
					 "the header is damaged, and commits follow that no table covers");
			break;
		}
		at += group.length;
	}
	wal_stream_end(self, &replay->stream);
	return status;
}

/* --- the verdict --- */

static struct status judge(const struct replay *replay)
{
	uint64_t missing = first_missing(replay);
	if (replay->proven >= missing || replay->evidence_is_needed)
		return status_error(STATUS_CORRUPT,
				    "wal-%06u.log, offset %llu: commit %llu was durable and is damaged or "
				    "missing",
				    replay->end_number, (unsigned long long)replay->end_offset,
				    (unsigned long long)missing);
	return status_ok();
}

/*
 * Where a sync has failed, the kernel may count pages as clean that never reached the device: what an open
 * reads from its cache would then be gone after a loss of power, and a sync would not help. Nobody can tell,
 * so what was replayed is written once more, as it is.
 */
static MAY_SUSPEND struct status write_again(struct task *self, struct replay *replay,
					     struct wal_segment *segment)
{
	uint64_t end = wal_round_up(segment->position, IO_PAGE_BYTES);
	struct io_request request = { .file = segment->file, .buffer = replay->stream.buffer };
	for (uint64_t at = 0; at < end; at += request.length) {
		request.offset = at;
		request.length =
			end - at < WAL_STREAM_CHUNK_BYTES ? (size_t)(end - at) : WAL_STREAM_CHUNK_BYTES;
		request.operation = IO_READ;
		TRY(task_io(self, &request));
		if (request.transferred < request.length)
			return corrupt(segment->number, at + request.transferred, "the file is cut short");
		request.operation = IO_WRITE;
		TRY(task_io(self, &request));
	}
	return status_ok();
}

/* Sorts the segments into live and dirty ones, makes what was replayed durable, and begins a new run. */
static MAY_SUSPEND struct status settle_ring(struct task *self, struct replay *replay)
{
	struct wal *wal = replay->wal;
	uint64_t last = first_missing(replay) - 1;
	if (wal->released < replay->flushed)
		wal->released = replay->flushed;
	for (uint32_t i = 0; i < wal->segment_count; i++) {
		struct wal_segment *segment = wal->segments[i];
		if (segment->header_valid)
			continue;
		segment->state = WAL_SEGMENT_DIRTY;
		list_add_last(&wal->dirty, &segment->node);
	}
	for (uint32_t i = 0; i < replay->by_lap_count; i++) {
		struct wal_segment *segment = replay->by_lap[i];
		bool live = segment->last_log > wal->released;
		segment->state = live ? WAL_SEGMENT_LIVE : WAL_SEGMENT_DIRTY;
		segment->unsynced = live;
		if (live)
			TRY(write_again(self, replay, segment));
		list_add_last(live ? &wal->live : &wal->dirty, &segment->node);
	}
	wal->next_log = last + 1;
	wal->applied_log = last;
	wal->incarnation_lap = PLANTED(N8) ? 1 : wal->next_lap;
	wal->cut = last + 1;
	if (PLANTED(M7) && !list_is_empty(&wal->live)) {
		wal->current = CONTAINER_OF(wal->live.previous, struct wal_segment, node);
		wal->current->position = wal_round_up(wal->current->position, IO_PAGE_BYTES);
		list_remove(&wal->current->node);
	}
	replay->report->last_log_number = last;
	/* What was replayed may have been in a cache only, and so may a segment's name be. The new run builds
	 * on both, and its headers count the segments, so they must not go. */
	if (!PLANTED(N6))
		TRY(task_sync_directory(self, wal->options.directory));
	return PLANTED(N13) ? status_ok() : wal_sync_segments(self, wal, false);
}

static MAY_SUSPEND struct status read_all(struct task *self, struct replay *replay)
{
	for (uint32_t i = 0; i < replay->by_lap_count; i++)
		TRY(read_segment(self, replay, replay->by_lap[i]));
	/* Before the chain is judged: where a header is damaged, that is the place to name, and not the
	 * gap in the chain that it makes. */
	for (uint32_t i = 0; i < replay->wal->segment_count; i++)
		if (!replay->wal->segments[i]->header_valid)
			TRY(read_headless(self, replay, replay->wal->segments[i]));
	TRY(judge(replay));
	return settle_ring(self, replay);
}

static MAY_SUSPEND struct status recover(struct task *self, struct replay *replay)
{
	struct wal *wal = replay->wal;
	TRY(open_segments(self, wal));
	replay->by_lap = memory_allocate_zeroed(wal->segment_count, sizeof(struct wal_segment *));
	if (replay->by_lap == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (uint32_t i = 0; i < wal->segment_count; i++)
		TRY(read_header(self, replay, wal->segments[i]));
	sort_by_lap(replay);
	size_t group_bytes_max;
	TRY(check_ring(replay, &group_bytes_max));
	replay->end_number = replay->by_lap[0]->number;
	TRY(wal_stream_init(&replay->stream, wal->shard, group_bytes_max));
	struct status status = read_all(self, replay);
	replay->report->bytes_read += replay->stream.bytes_read;
	wal_stream_free(&replay->stream);
	return status;
}

struct status wal_recover(struct task *self, struct wal *wal, uint64_t flushed_log_number,
			  struct wal_replay_report *report)
{
	struct replay *replay = memory_allocate_zeroed(1, sizeof(*replay));
	if (replay == NULL)
		return status_make(STATUS_NO_MEMORY);
	replay->wal = wal;
	replay->report = report;
	replay->flushed = flushed_log_number;
	replay->end_offset = WAL_HEADER_BYTES;
	struct status status = recover(self, replay);
	memory_free(replay->by_lap);
	memory_free(replay);
	return status;
}
