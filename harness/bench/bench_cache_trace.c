#include "harness/bench/bench_cache_trace.h"

#include "base/memory.h"
#include "base/random.h"
#include "harness/allocate.h"
#include "harness/generator.h"

enum {
	SCAN_EVERY = 4,
	SCAN_PART = 50, /* of all pages, that one scan reads */
	SHIFTS = 10,
	LOOP_OVER_PERCENT = 110,
	WARM_PART = 4, /* of a trace */
	NEVER = -1,    /* in a heap: needed again at no time */
};

#define THETA 0.99

/* --- traces --- */

/* What is drawn from while a trace is made. */
struct source {
	struct zipf_exact zipf;
	struct permutation permutation;
	struct random points, scans;
	uint64_t scan_next, scan_left;
};

static uint32_t draw_point(struct source *source, uint64_t shift)
{
	uint64_t rank = zipf_exact_rank(&source->zipf, &source->points);
	return (uint32_t)permutation_apply(&source->permutation, (rank + shift) % source->zipf.n);
}

static uint32_t draw_scan(struct source *source)
{
	uint64_t pages = source->zipf.n;
	if (source->scan_left == 0) {
		source->scan_left = pages / SCAN_PART + 1;
		source->scan_next = random_below(&source->scans, pages);
	}
	source->scan_left--;
	return (uint32_t)(source->scan_next++ % pages);
}

void cache_trace_make(struct cache_trace *trace, enum cache_trace_kind kind, uint32_t pages, uint32_t frames,
		      size_t count, uint64_t seed)
{
	struct source source = {
		.points = random_stream(seed),
		.scans = random_stream(random_mix(seed + 1)),
	};
	*trace = (struct cache_trace) {
		.pages = allocate_zeroed(count, sizeof(*trace->pages)),
		.count = count,
		.footprint = pages,
		.warm = count / WARM_PART,
		.scan_every = kind == CACHE_TRACE_SCANS ? SCAN_EVERY : 0,
	};
	if (kind == CACHE_TRACE_LOOP)
		trace->footprint = (uint32_t)((uint64_t)frames * LOOP_OVER_PERCENT / 100) + 1;
	zipf_exact_init(&source.zipf, trace->footprint, THETA);
	permutation_init(&source.permutation, trace->footprint, random_mix(seed + 2));
	for (size_t i = 0; i < count; i++) {
		uint64_t shift = 0;
		if (kind == CACHE_TRACE_SHIFT)
			shift = i * SHIFTS / count * (pages / SHIFTS);
		if (kind == CACHE_TRACE_LOOP)
			trace->pages[i] = (uint32_t)(i % trace->footprint);
		else if (cache_trace_is_scan(trace, i))
			trace->pages[i] = draw_scan(&source);
		else
			trace->pages[i] = draw_point(&source, shift);
	}
}

void cache_trace_free(struct cache_trace *trace)
{
	memory_free(trace->pages);
	trace->pages = NULL;
}

void cache_misses_count(struct cache_misses *misses, const struct cache_trace *trace, size_t access,
			bool missed)
{
	bool point = !cache_trace_is_scan(trace, access);
	if (access < trace->warm)
		return;
	misses->counted++;
	misses->misses += missed;
	misses->points += point;
	misses->point_misses += point && missed;
}

/* --- the optimum --- */

/* A page and when it is needed again. An entry that is no longer true stays until it comes to the top. */
struct need {
	int64_t at; /* the access, or NEVER */
	uint32_t page;
};

/* The farthest need on top. */
struct heap {
	struct need *needs;
	size_t count;
};

static bool is_farther(const struct need *a, const struct need *b)
{
	/* As unsigned numbers NEVER is beyond any access. */
	return (uint64_t)a->at > (uint64_t)b->at;
}

static void heap_push(struct heap *heap, struct need need)
{
	size_t at = heap->count++;
	while (at > 0 && is_farther(&need, &heap->needs[(at - 1) / 2])) {
		heap->needs[at] = heap->needs[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	heap->needs[at] = need;
}

static struct need heap_pop(struct heap *heap)
{
	struct need top = heap->needs[0], last = heap->needs[--heap->count];
	size_t at = 0;
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= heap->count)
			break;
		if (child + 1 < heap->count && is_farther(&heap->needs[child + 1], &heap->needs[child]))
			child++;
		if (!is_farther(&heap->needs[child], &last))
			break;
		heap->needs[at] = heap->needs[child];
		at = child;
	}
	heap->needs[at] = last;
	return top;
}

struct residence {
	bool is_resident;
	int64_t needed; /* again, at this access */
};

/* When the page of each access is needed next. */
static int64_t *look_ahead(const struct cache_trace *trace)
{
	int64_t *next = allocate_zeroed(trace->count, sizeof(*next));
	int64_t *last = allocate_zeroed(trace->footprint, sizeof(*last));
	for (size_t page = 0; page < trace->footprint; page++)
		last[page] = NEVER;
	for (size_t i = trace->count; i-- > 0;) {
		next[i] = last[trace->pages[i]];
		last[trace->pages[i]] = (int64_t)i;
	}
	memory_free(last);
	return next;
}

static void give_up_farthest(struct heap *heap, struct residence *residences)
{
	for (;;) {
		struct need need = heap_pop(heap);
		struct residence *residence = &residences[need.page];
		if (!residence->is_resident || residence->needed != need.at)
			continue;
		residence->is_resident = false;
		return;
	}
}

struct cache_misses cache_trace_optimum(const struct cache_trace *trace, uint32_t frames)
{
	struct cache_misses misses = { 0 };
	struct residence *residences = allocate_zeroed(trace->footprint, sizeof(*residences));
	struct heap heap = { .needs = allocate_zeroed(trace->count, sizeof(*heap.needs)) };
	int64_t *next = look_ahead(trace);
	uint32_t used = 0;
	for (size_t i = 0; i < trace->count; i++) {
		struct residence *residence = &residences[trace->pages[i]];
		bool missed = !residence->is_resident;
		if (missed && used == frames)
			give_up_farthest(&heap, residences);
		else
			used += missed;
		*residence = (struct residence) { true, next[i] };
		heap_push(&heap, (struct need) { next[i], trace->pages[i] });
		cache_misses_count(&misses, trace, i, missed);
	}
	memory_free(next);
	memory_free(heap.needs);
	memory_free(residences);
	return misses;
}
