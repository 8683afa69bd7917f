#include "harness/bench/bench_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/allocate.h"

enum { PATH_BYTES = 4096, VARIANTS_LOOKED_AT = 64 };

struct traced_kind {
	enum component_kind component;
	uint32_t bit; /* enum trace_kinds */
	const char *what;
	const struct bench_measure *measure; /* its bounds_of is filled in when the trace is known */
};

static const struct traced_kind traced_kinds[] = {
	{ COMPONENT_MEMTABLE, TRACE_MEMTABLE, "operations of memtables", &bench_trace_memtable },
	{ COMPONENT_CACHE, TRACE_CACHE, "accesses to pages", &bench_trace_cache },
	{ COMPONENT_FILTER, TRACE_FILTER, "questions to filters", &bench_trace_filter },
};

enum { KINDS = sizeof(traced_kinds) / sizeof(traced_kinds[0]) };

/* What the sides, which run in processes made by fork, find here. */
static struct {
	char path[PATH_BYTES];
	const struct traced_kind *kind;
	struct bench_measure measure;
	const struct bench_measure *measures[2];
	struct bench_traced_variant variant;
} chosen;

/* --- the file --- */

static struct status read_at(void *context, uint64_t offset, void *to, size_t size, size_t *got)
{
	int fd = (int)(intptr_t)context;
	*got = 0;
	while (*got < size) {
		ssize_t done = pread(fd, (uint8_t *)to + *got, size - *got, (off_t)(offset + *got));
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return status_from_errno(errno, "cannot read the trace", NULL);
		if (done == 0)
			break;
		*got += (size_t)done;
	}
	return status_ok();
}

/* Splits "NAME OPTION=VALUE ..."; what does not fit, no variant has. */
static void take_variant(struct bench_traced_variant *variant, struct slice text)
{
	const char *blank = text.size > 0 ? memchr(text.data, ' ', text.size) : NULL;
	size_t name = blank != NULL ? (size_t)(blank - (const char *)text.data) : text.size;
	size_t rest = blank != NULL ? text.size - name - 1 : 0;
	(void)snprintf(variant->name, sizeof(variant->name), "%.*s", (int)(name < 64 ? name : 64),
		       (const char *)text.data);
	if (rest > 0)
		(void)snprintf(variant->options, sizeof(variant->options), "%.*s",
			       (int)(rest < 1024 ? rest : 1024), blank + 1);
}

/* It is among the first records of each shard that recorded any. */
static struct status find_variant(struct bench_trace *trace)
{
	for (uint32_t shard = 0; shard < trace->file.header.shards; shard++) {
		struct trace_reader reader;
		struct trace_record record;
		TRY(trace_reader_open(&reader, &trace->file, shard));
		for (unsigned i = 0; i < VARIANTS_LOOKED_AT && trace->variant.name[0] == '\0'; i++) {
			if (!status_is_ok(trace_reader_next(&reader, &record)))
				break;
			if (record.type == TRACE_VARIANT && record.object == (uint64_t)trace->kind)
				take_variant(&trace->variant, record.bytes);
		}
		trace_reader_close(&reader);
		if (trace->variant.name[0] != '\0')
			return status_ok();
	}
	return status_error(STATUS_INVALID, "the trace does not say which %s the engine ran",
			    component_kind_name(trace->kind));
}

struct status bench_trace_open_file(struct bench_trace *trace, enum component_kind kind, const char *path)
{
	*trace = (struct bench_trace) { .fd = open(path, O_RDONLY | O_CLOEXEC), .kind = kind };
	if (trace->fd < 0)
		return status_from_errno(errno, "cannot open", path);
	struct status status = trace_file_open(
		&trace->file,
		(struct trace_source) { .read = read_at, .context = (void *)(intptr_t)trace->fd });
	if (status_is_ok(status))
		status = find_variant(trace);
	if (!status_is_ok(status))
		bench_trace_close(trace);
	return status;
}

struct status bench_trace_open(struct bench_trace *trace)
{
	return bench_trace_open_file(trace, chosen.kind->component, chosen.path);
}

void bench_trace_close(struct bench_trace *trace)
{
	trace_file_close(&trace->file);
	if (trace->fd >= 0)
		(void)close(trace->fd);
	trace->fd = -1;
}

void bench_trace_options(const struct bench_trace *trace, const struct component *component, void *options)
{
	char text[sizeof(trace->variant.options)];
	char *rest = NULL;
	memset(options, 0, BENCH_TRACE_OPTIONS_BYTES);
	component_default_options(component, options);
	if (strcmp(component->name, trace->variant.name) != 0)
		return;
	(void)snprintf(text, sizeof(text), "%s", trace->variant.options);
	for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		char *value = strchr(word, '=');
		if (value == NULL)
			continue;
		*value++ = '\0';
		/* An option that this build's variant does not have any more, or not so: the default. */
		struct status ignored = component_set_option(component, options, word, strtod(value, NULL));
		(void)ignored;
	}
}

struct status bench_trace_check(const struct bench_trace *trace, bool may_have_gaps, struct bench_job *job)
{
	if (trace->file.problem[0] == '\0')
		return status_ok();
	if (trace->file.has_gaps && !may_have_gaps)
		return status_error(STATUS_UNSUPPORTED, "the trace has gaps: %s", trace->file.problem);
	(void)snprintf(job->notice, sizeof(job->notice), "THE TRACE IS NOT COMPLETE: %s",
		       trace->file.problem);
	return status_ok();
}

/* --- the kind --- */

const char *bench_trace_variant(void)
{
	return chosen.variant.name;
}

struct status bench_trace_kind(const struct bench_kind *kind, const char *path, struct bench_kind *traced)
{
	struct bench_trace trace;
	chosen.kind = NULL;
	for (size_t i = 0; i < KINDS; i++) {
		if (strcmp(component_kind_name(traced_kinds[i].component), kind->name) == 0)
			chosen.kind = &traced_kinds[i];
	}
	if (chosen.kind == NULL)
		return status_error(STATUS_INVALID,
				    "--trace: %s is no kind that is recorded: memtable, cache, filter",
				    kind->name);
	if (strlen(path) >= sizeof(chosen.path))
		return status_error(STATUS_INVALID, "--trace: the path is too long");
	memcpy(chosen.path, path, strlen(path) + 1);
	TRY(bench_trace_open(&trace));
	bool recorded = (trace.file.header.kinds & chosen.kind->bit) != 0;
	chosen.variant = trace.variant;
	bench_trace_close(&trace);
	if (!recorded)
		return status_error(STATUS_INVALID, "--trace: %s has no %s (trace.kinds)", path,
				    chosen.kind->what);
	chosen.measure = *chosen.kind->measure;
	chosen.measure.bounds_of = chosen.variant.name;
	chosen.measures[0] = &chosen.measure;
	*traced = *kind;
	traced->summary = "a trace of an engine, replayed into the variants alone";
	traced->measures = chosen.measures;
	return status_ok();
}
