#include "trace/trace.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "trace/trace_internal.h"

#include "base/poison.h"

/* --- the file: from open to close --- */

static struct status open_file(struct io *io, const char *path, unsigned flags, struct io_file **file)
{
	struct io_request request = { .operation = IO_OPEN, .path = path, .flags = flags | IO_OPEN_BUFFERED };
	TRY(io_execute(io, &request));
	*file = request.opened;
	return status_ok();
}

static void close_file(struct io *io, struct io_file *file)
{
	struct io_request request = { .operation = IO_CLOSE, .file = file };
	struct status ignored = io_execute(io, &request);
	(void)ignored;
}

/* Whether what lies at the path may be replaced. */
static struct status check_is_trace(struct io *io, const char *path)
{
	uint8_t bytes[8];
	struct io_file *file;
	TRY(open_file(io, path, IO_OPEN_READ, &file));
	struct io_request request = {
		.operation = IO_READ, .file = file, .buffer = bytes, .length = sizeof(bytes)
	};
	struct status status = io_execute(io, &request);
	close_file(io, file);
	TRY(status);
	if (trace_is_trace(bytes, request.transferred))
		return status_ok();
	return status_error(STATUS_INVALID, "trace.path: %s is there, and is no trace", path);
}

static struct status make_file(struct io *io, const char *path, struct io_file **file)
{
	const unsigned flags = IO_OPEN_WRITE | IO_OPEN_CREATE;
	struct status status = open_file(io, path, flags, file);
	if (!status_is(status, STATUS_INVALID))
		return status;
	TRY(check_is_trace(io, path));
	TRY(io_unlink(io, path));
	return open_file(io, path, flags, file);
}

static struct status write_header(struct trace *trace, struct io *io)
{
	uint8_t *bytes = memory_allocate_aligned(IO_PAGE_BYTES, TRACE_HEADER_BYTES);
	if (bytes == NULL)
		return status_make(STATUS_NO_MEMORY);
	trace_header_encode(&trace->header, bytes);
	struct io_request request = {
		.operation = IO_WRITE, .file = trace->file, .buffer = bytes, .length = TRACE_HEADER_BYTES
	};
	struct status status = io_execute(io, &request);
	memory_free(bytes);
	return status;
}

static void trace_free(struct trace *trace, struct io *io)
{
	if (trace->file != NULL)
		close_file(io, trace->file);
	memory_free(trace->path);
	memory_free(trace);
}

struct status trace_create(struct io *io, const char *path, uint32_t kinds, uint32_t shards,
			   struct trace **result)
{
	struct trace *trace = memory_allocate_zeroed(1, sizeof(*trace));
	*result = NULL;
	if (trace == NULL)
		return status_make(STATUS_NO_MEMORY);
	trace->path = memory_copy_string(path);
	trace->counts = canary_clock_counts();
	trace->header = (struct trace_header) {
		.state = TRACE_OPEN,
		.shards = shards,
		.kinds = kinds,
		.clock_cost = canary_clock_cost(trace->counts),
		.id = random_entropy(),
		.wall_ns = clock_wall_ns(),
		.begin_ns = clock_now_ns(),
		.begin_ticks = canary_clock(trace->counts),
	};
	struct status status = status_make(trace->path != NULL ? STATUS_OK : STATUS_NO_MEMORY);
	if (status_is_ok(status))
		status = make_file(io, path, &trace->file);
	if (status_is_ok(status))
		status = write_header(trace, io);
	if (!status_is_ok(status)) {
		trace_free(trace, io);
		return status;
	}
	*result = trace;
	return status;
}

void trace_finish(struct trace *trace, struct io *io)
{
	if (trace == NULL)
		return;
	struct trace_header *header = &trace->header;
	header->blocks = atomic_load(&trace->blocks);
	header->records = atomic_load(&trace->records);
	header->dropped = atomic_load(&trace->dropped);
	header->end_ns = clock_now_ns();
	header->end_ticks = canary_clock(trace->counts);
	bool whole = header->dropped == 0 && atomic_load(&trace->failures) == 0;
	header->state = whole ? TRACE_COMPLETE : TRACE_INCOMPLETE;
	struct status ignored = write_header(trace, io);
	(void)ignored;
	trace_free(trace, io);
}

/* --- records that take some thought --- */

/* "NAME=VALUE" behind a blank; what has no room is left out. */
static size_t add_option(char *text, size_t used, size_t size, const struct option *option,
			 const void *options)
{
	const uint8_t *at = (const uint8_t *)options + option->offset;
	double value = 0;
	uint64_t number;
	bool boolean;
	switch (option->type) {
	case OPTION_INTEGER:
	case OPTION_SIZE:
		memcpy(&number, at, sizeof(number));
		value = (double)number;
		break;
	case OPTION_REAL:
		memcpy(&value, at, sizeof(value));
		break;
	case OPTION_BOOLEAN:
		memcpy(&boolean, at, sizeof(boolean));
		value = boolean;
		break;
	}
	int added = snprintf(text + used, size - used, " %s=%.17g", option->name, value);
	return added > 0 && (size_t)added < size - used ? used + (size_t)added : used;
}

struct variant_call {
	struct trace_recorder *recorder;
	enum component_kind kind;
	const struct component *component;
	const void *options;
};

static void put_variant(void *argument)
{
	const struct variant_call *call = argument;
	char text[1024];
	int named = snprintf(text, sizeof(text), "%s", call->component->name);
	size_t used = named > 0 && (size_t)named < sizeof(text) ? (size_t)named : 0;
	const struct option *option = call->options != NULL ? call->component->options : NULL;
	for (; option != NULL && option->name != NULL; option++)
		used = add_option(text, used, sizeof(text), option, call->options);
	trace_put(call->recorder, &(struct trace_record) { .type = TRACE_VARIANT,
							   .ticks = trace_clock(trace_canary(call->recorder)),
							   .object = call->kind,
							   .bytes = slice_make(text, used) });
}

void trace_variant(struct trace_recorder *recorder, enum component_kind kind,
		   const struct component *component, const void *options)
{
	struct variant_call call = {
		.recorder = recorder, .kind = kind, .component = component, .options = options
	};
	call_on_thread_stack(put_variant, &call);
}

/* Pages and files: the record lives on the thread's stack, for the callers' stacks are counted in bytes. */
struct page_call {
	struct trace_recorder *recorder;
	enum trace_type type;
	enum trace_access access;
	uint64_t file;
	uint64_t page;
	uint64_t count;
};

static void put_pages(void *argument)
{
	const struct page_call *call = argument;
	trace_put(call->recorder, &(struct trace_record) { .type = call->type,
							   .ticks = trace_clock(trace_canary(call->recorder)),
							   .object = call->file,
							   .part = call->page,
							   .count = call->count,
							   .answer = call->access });
}

void trace_pool(struct trace_recorder *recorder, uint32_t frames)
{
	struct page_call call = { .recorder = recorder, .type = TRACE_POOL, .count = frames };
	call_on_thread_stack(put_pages, &call);
}

void trace_pages(struct trace_recorder *recorder, enum trace_access access, uint64_t file, uint32_t page,
		 uint64_t count)
{
	struct page_call call = { .recorder = recorder,
				  .type = TRACE_PAGE,
				  .access = access,
				  .file = file,
				  .page = page,
				  .count = count };
	call_on_thread_stack(put_pages, &call);
}

void trace_forget(struct trace_recorder *recorder, uint64_t file)
{
	struct page_call call = { .recorder = recorder, .type = TRACE_FORGET, .file = file };
	call_on_thread_stack(put_pages, &call);
}

void trace_table_end(struct trace_recorder *recorder, uint64_t table)
{
	struct page_call call = { .recorder = recorder, .type = TRACE_TABLE_END, .file = table };
	call_on_thread_stack(put_pages, &call);
}

struct ask_call {
	struct trace_recorder *recorder;
	const struct filter_ops *filter;
	const struct trace_filter *which;
	struct slice bytes;
	uint64_t hash;
	bool answer;
};

static void put_ask(void *argument)
{
	struct ask_call *call = argument;
	const struct canary *canary = trace_canary(call->recorder);
	uint64_t begin = trace_clock(canary);
	call->answer = call->filter->may_contain(call->bytes, call->hash);
	uint64_t duration = trace_clock(canary) - begin;
	trace_put(call->recorder, &(struct trace_record) { .type = TRACE_ASK,
							   .ticks = begin,
							   .duration = duration,
							   .object = call->which->table,
							   .part = call->which->partition,
							   .other = call->which->block,
							   .hash = call->hash,
							   .count = call->which->keys,
							   .size = call->bytes.size,
							   .sequence = call->which->blocks,
							   .answer = call->answer });
}

bool trace_ask(struct trace_recorder *recorder, const struct filter_ops *filter, struct slice bytes,
	       uint64_t hash, const struct trace_filter *which)
{
	struct ask_call call = {
		.recorder = recorder, .filter = filter, .which = which, .bytes = bytes, .hash = hash
	};
	call_on_thread_stack(put_ask, &call);
	return call.answer;
}

struct truth_call {
	struct trace_recorder *recorder;
	uint64_t table;
	uint64_t hash;
	uint32_t partition;
	bool is_there;
};

static void put_truth(void *argument)
{
	const struct truth_call *call = argument;
	trace_put(call->recorder, &(struct trace_record) { .type = TRACE_TRUTH,
							   .ticks = trace_clock(trace_canary(call->recorder)),
							   .object = call->table,
							   .part = call->partition,
							   .hash = call->hash,
							   .answer = call->is_there });
}

void trace_truth(struct trace_recorder *recorder, uint64_t table, uint32_t partition, uint64_t hash,
		 bool is_there)
{
	struct truth_call call = { .recorder = recorder,
				   .table = table,
				   .hash = hash,
				   .partition = partition,
				   .is_there = is_there };
	call_on_thread_stack(put_truth, &call);
}
