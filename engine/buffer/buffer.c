#include "buffer/buffer.h"

#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/memory.h"
#include "buffer/slots.h"
#include "io/io.h"
#include "runtime/task.h"

#include "base/poison.h"

enum {
	PAGE = IO_PAGE_BYTES,
	GROW_BYTES_MIN = 4 << 20, /* frames are taken into use, and registered, in steps of this */
	GROW_STEPS_MAX = 64,
	SLOT_RESERVE_MAX = 8 << 20,
	SLOT_SHARE = 64, /* of the pool, for slots: few are in use at a time, and frames are worth more */
	POOL_PAGES_MIN = 64,
	LIST_END = UINT32_MAX,
};

/* A frame is free, being loaded, resident, or the remains of a failed load that somebody still pins. */
enum frame_state { FRAME_FREE, FRAME_LOADING, FRAME_RESIDENT, FRAME_FAILED };

enum { FRAME_STATE_MASK = 3, FRAME_PIN = 4 };

/* Half a cache line: what the hit path reads and writes of a frame. */
struct frame {
	uint64_t file_id;
	union {
		uint64_t marks;		  /* resident */
		struct buffer_load *load; /* loading, failed */
	};
	uint32_t page;
	uint32_t word; /* state in the low two bits, pins above */
	uint32_t next; /* of the file's list, or of the free list */
	uint32_t previous;
};

_Static_assert(sizeof(struct frame) == 32, "two frames to a cache line");

/* Open addressing, linear probing, at most half full, deletion by shifting back. */
struct map_entry {
	uint32_t frame_plus_one; /* 0: empty, so that fresh zero pages are an empty map */
	uint32_t tag;
};

/* One read of adjacent pages. Freed by whoever lets go of it last: its completion or a waiter. */
struct buffer_load {
	struct io_request request;
	struct buffer_pool *pool;
	struct buffer_load *next; /* on the free list */
	struct wait_list waiting;
	struct status status;
	const char *path;
	uint32_t references;
	uint32_t count;
	bool done;
	uint32_t frames[BUFFER_POOLED_PAGES];
	struct iovec vectors[BUFFER_POOLED_PAGES];
};

struct reserve_waiter {
	struct list link;
	struct task *task;
	uint32_t pages;
	bool granted;
};

struct buffer_pool {
	/* What the hit path needs comes first. */
	struct map_entry *map;
	uint64_t map_size;
	struct frame *frames;
	uint8_t *bytes; /* of the frames */
	struct cache_strategy *strategy;
	const struct cache_ops *ops;
	struct trace_recorder *page_recorder; /* NULL: pages are not recorded */
	struct buffer_counters counters;

	struct shard *shard;
	uint32_t frame_count;
	uint32_t fresh; /* frames from here on were never used */
	uint32_t registered;
	uint32_t grow_frames;
	bool register_refused;
	uint32_t free_frames;	   /* head of the free list */
	uint32_t *file_heads;	   /* lists of the frames of all files of one hash */
	uint32_t file_heads_count; /* a power of two */
	uint32_t reserved;
	struct list reserve_waiting;	/* struct reserve_waiter, first come first */
	struct wait_list frame_waiting; /* tasks that found no frame to evict */
	uint32_t loads_in_flight;
	struct buffer_load *free_loads;
	uint32_t free_load_count;
	struct slot_pool slots;
	void *memory; /* of frames, map, heads and strategy */
	size_t memory_bytes;
	size_t frame_bytes;
	void *strategy_defaults; /* options, where the caller gave none */
	void *local;
	struct trace_recorder *recorder;
};

/* --- pages and the map --- */

static inline uint64_t page_hash(uint64_t file_id, uint32_t page)
{
	uint64_t x = page ^ (file_id * 0x9e3779b97f4a7c15ull) ^ 0xa0761d6478bd642full;
	unsigned __int128 product = (unsigned __int128)x * 0xe7037ed1a0b428dbull;
	x = (uint64_t)product ^ (uint64_t)(product >> 64);
	product = (unsigned __int128)x * 0x8ebc6af09c88c6e3ull;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* `within`: the byte of the page that the caller will read first. */
static inline uint32_t map_find(const struct buffer_pool *pool, uint64_t hash, uint64_t file_id,
				uint32_t page, size_t within)
{
	uint64_t at = hash_range(hash, pool->map_size);
	for (;;) {
		struct map_entry entry = pool->map[at];
		if (entry.frame_plus_one == 0)
			return CACHE_NO_FRAME;
		if (entry.tag == (uint32_t)hash) {
			const struct frame *frame = &pool->frames[entry.frame_plus_one - 1];
			/* The tag is seldom wrong: the page's bytes may come while its frame is checked. */
			__builtin_prefetch(pool->bytes + (size_t)(entry.frame_plus_one - 1) * PAGE + within);
			if (frame->page == page && frame->file_id == file_id)
				return entry.frame_plus_one - 1;
		}
		if (++at == pool->map_size)
			at = 0;
	}
}

static void map_insert(struct buffer_pool *pool, uint64_t hash, uint32_t frame)
{
	uint64_t at = hash_range(hash, pool->map_size);
	while (pool->map[at].frame_plus_one != 0) {
		if (++at == pool->map_size)
			at = 0;
	}
	pool->map[at] = (struct map_entry) { .frame_plus_one = frame + 1, .tag = (uint32_t)hash };
}

static void map_remove(struct buffer_pool *pool, uint64_t hash, uint32_t frame)
{
	uint64_t size = pool->map_size;
	uint64_t hole = hash_range(hash, size);
	while (pool->map[hole].frame_plus_one != frame + 1) {
		ASSERT(pool->map[hole].frame_plus_one != 0);
		if (++hole == size)
			hole = 0;
	}
	/* Whatever was pushed past the hole moves back, so that no probe meets a gap before its page. */
	uint64_t at = hole;
	for (;;) {
		if (++at == size)
			at = 0;
		struct map_entry entry = pool->map[at];
		if (entry.frame_plus_one == 0)
			break;
		const struct frame *moved = &pool->frames[entry.frame_plus_one - 1];
		uint64_t home = hash_range(page_hash(moved->file_id, moved->page), size);
		uint64_t from_home = at >= home ? at - home : at + size - home;
		uint64_t from_hole = at >= hole ? at - hole : at + size - hole;
		if (from_home >= from_hole) {
			pool->map[hole] = entry;
			hole = at;
		}
	}
	pool->map[hole].frame_plus_one = 0;
}

static uint32_t *file_head(struct buffer_pool *pool, uint64_t file_id)
{
	return &pool->file_heads[hash_mix(file_id) & (pool->file_heads_count - 1)];
}

/* Gives a frame to a page: in the map and in the file's list. */
static void page_attach(struct buffer_pool *pool, uint32_t index, uint64_t file_id, uint32_t page,
			uint64_t hash)
{
	struct frame *frame = &pool->frames[index];
	frame->file_id = file_id;
	frame->page = page;
	map_insert(pool, hash, index);
	uint32_t *head = file_head(pool, file_id);
	frame->next = *head;
	frame->previous = LIST_END;
	if (*head != LIST_END)
		pool->frames[*head].previous = index;
	*head = index;
	pool->counters.frames_used++;
}

static void page_detach(struct buffer_pool *pool, uint32_t index)
{
	struct frame *frame = &pool->frames[index];
	map_remove(pool, page_hash(frame->file_id, frame->page), index);
	if (frame->previous != LIST_END)
		pool->frames[frame->previous].next = frame->next;
	else
		*file_head(pool, frame->file_id) = frame->next;
	if (frame->next != LIST_END)
		pool->frames[frame->next].previous = frame->previous;
	pool->counters.frames_used--;
}

/* --- frames --- */

static inline enum frame_state frame_state(const struct frame *frame)
{
	return (enum frame_state)(frame->word & FRAME_STATE_MASK);
}

static inline void frame_set_state(struct frame *frame, enum frame_state state)
{
	frame->word = (frame->word & ~(uint32_t)FRAME_STATE_MASK) | (uint32_t)state;
}

static inline uint8_t *frame_bytes(const struct buffer_pool *pool, uint32_t index)
{
	return pool->bytes + (size_t)index * PAGE;
}

static inline void frame_pin(struct buffer_pool *pool, struct frame *frame)
{
	pool->counters.frames_pinned += frame->word < FRAME_PIN;
	frame->word += FRAME_PIN;
}

static void frame_put_free(struct buffer_pool *pool, uint32_t index)
{
	struct frame *frame = &pool->frames[index];
	frame->word = FRAME_FREE;
	frame->next = pool->free_frames;
	pool->free_frames = index;
}

/* Without waking anybody; true: it was the last pin. */
static inline bool frame_unpin_quietly(struct buffer_pool *pool, uint32_t index)
{
	struct frame *frame = &pool->frames[index];
	ASSERT(frame->word >= FRAME_PIN);
	frame->word -= FRAME_PIN;
	if (frame->word >= FRAME_PIN)
		return false;
	pool->counters.frames_pinned--;
	if (frame_state(frame) == FRAME_FAILED)
		frame_put_free(pool, index);
	return true;
}

static inline void frame_unpin(struct buffer_pool *pool, uint32_t index)
{
	if (frame_unpin_quietly(pool, index) && !wait_list_is_empty(&pool->frame_waiting))
		wait_list_wake_all(&pool->frame_waiting);
}

static bool frame_is_evictable(void *context, uint32_t index)
{
	const struct buffer_pool *pool = context;
	return pool->frames[index].word == FRAME_RESIDENT;
}

/* The kernel may pin the memory now; that it refuses costs a little speed and nothing else. */
static void register_more(struct buffer_pool *pool)
{
	uint32_t count = pool->frame_count - pool->registered;
	if (count > pool->grow_frames)
		count = pool->grow_frames;
	struct status status = io_register_memory(shard_io(pool->shard), frame_bytes(pool, pool->registered),
						  (size_t)count * PAGE);
	pool->registered += count;
	pool->register_refused = !status_is_ok(status);
}

/* Before the next fresh frame is used. The ring is the resident's: a borrower leaves it to the next task, and
 * its own read needs no registered memory. */
static inline void register_due(struct buffer_pool *pool)
{
	if (pool->registered <= pool->fresh && pool->registered < pool->frame_count &&
	    !pool->register_refused && task_current() != NULL)
		register_more(pool);
}

/* A free frame, evicting if need be; CACHE_NO_FRAME when every frame is pinned or being loaded. */
static uint32_t frame_take(struct buffer_pool *pool)
{
	register_due(pool);
	if (pool->free_frames != LIST_END) {
		uint32_t index = pool->free_frames;
		pool->free_frames = pool->frames[index].next;
		return index;
	}
	if (pool->fresh < pool->frame_count)
		return pool->fresh++;
	if (pool->counters.frames_pinned >= pool->frame_count)
		return CACHE_NO_FRAME;
	uint32_t index = pool->ops->evict(pool->strategy, frame_is_evictable, pool);
	if (index == CACHE_NO_FRAME)
		return CACHE_NO_FRAME;
	ASSERT(pool->frames[index].word == FRAME_RESIDENT);
	page_detach(pool, index);
	pool->frames[index].word = FRAME_FREE;
	pool->counters.evictions++;
	return index;
}

/* --- loads --- */

struct message {
	struct status status;
	const char *path;
	uint64_t offset;
};

static void describe_short_file(void *argument)
{
	struct message *message = argument;
	message->status = status_error(STATUS_CORRUPT, "%s: offset %llu: the file ends too early",
				       message->path, (unsigned long long)message->offset);
}

/* Formatting takes more stack than a task has. */
static struct status short_file(const char *path, uint64_t offset)
{
	struct message message = { .path = path, .offset = offset };
	call_on_thread_stack(describe_short_file, &message);
	return message.status;
}

/* Makes sure that `count` loads can be had without the heap. */
static bool loads_prepare(struct buffer_pool *pool, uint32_t count)
{
	while (pool->free_load_count < count) {
		struct buffer_load *load = memory_allocate(sizeof(*load));
		if (load == NULL)
			return false;
		load->next = pool->free_loads;
		pool->free_loads = load;
		pool->free_load_count++;
	}
	return true;
}

static void load_release(struct buffer_load *load)
{
	ASSERT(load->references > 0);
	if (--load->references > 0)
		return;
	struct buffer_pool *pool = load->pool;
	load->next = pool->free_loads;
	pool->free_loads = load;
	pool->free_load_count++;
}

static void load_await(struct task *self, struct buffer_load *load)
{
	while (!load->done)
		wait_list_wait(self, &load->waiting);
}

static void load_complete(struct io_request *request)
{
	struct buffer_load *load = request->context;
	struct buffer_pool *pool = load->pool;
	load->status = request->status;
	uint32_t good = 0;
	if (status_is_ok(request->status)) {
		good = (uint32_t)(request->transferred / PAGE);
		if (good < load->count)
			load->status = short_file(load->path, request->offset + request->transferred);
	}
	pool->counters.load_bytes += (uint64_t)good * PAGE;
	ASSERT(pool->loads_in_flight > 0);
	pool->loads_in_flight--;
	load->done = true;
	for (uint32_t i = 0; i < load->count; i++) {
		uint32_t index = load->frames[i];
		struct frame *frame = &pool->frames[index];
		ASSERT(frame_state(frame) == FRAME_LOADING);
		if (i < good) {
			frame_set_state(frame, FRAME_RESIDENT);
			frame->marks = 0;
			pool->ops->insert(pool->strategy, index, page_hash(frame->file_id, frame->page));
		} else {
			/* Nobody finds it from now on; whoever waits for it sees its state. */
			page_detach(pool, index);
			frame_set_state(frame, FRAME_FAILED);
		}
		frame_unpin(pool, index);
	}
	wait_list_wake_all(&load->waiting);
	load_release(load);
}

/* Memory of the frames in one piece: then the backend can use the registered region. */
static bool frames_adjacent(const struct buffer_load *load)
{
	for (uint32_t i = 1; i < load->count; i++) {
		if (load->frames[i] != load->frames[i - 1] + 1)
			return false;
	}
	return true;
}

/* A read of `count` adjacent pages into frames that were taken; the load is prepared. Not yet submitted. */
static struct buffer_load *load_make(struct buffer_pool *pool, const struct buffer_file *file, uint32_t page,
				     const uint32_t *frames, uint32_t count)
{
	ASSERT(count > 0 && count <= BUFFER_POOLED_PAGES);
	struct buffer_load *load = pool->free_loads;
	ASSERT(load != NULL);
	pool->free_loads = load->next;
	pool->free_load_count--;
	*load = (struct buffer_load) { .pool = pool, .path = file->path, .references = 1, .count = count };
	wait_list_init(&load->waiting);
	for (uint32_t i = 0; i < count; i++) {
		struct frame *frame = &pool->frames[frames[i]];
		ASSERT(frame->word == FRAME_FREE);
		load->frames[i] = frames[i];
		load->vectors[i] =
			(struct iovec) { .iov_base = frame_bytes(pool, frames[i]), .iov_len = PAGE };
		frame->load = load;
		frame->word = FRAME_LOADING;
		frame_pin(pool, frame);
		page_attach(pool, frames[i], file->id, page + i, page_hash(file->id, page + i));
	}
	bool plain = frames_adjacent(load);
	load->request = (struct io_request) {
		.operation = IO_READ,
		.file = file->file,
		.buffer = plain ? frame_bytes(pool, frames[0]) : NULL,
		.vectors = plain ? NULL : load->vectors,
		.vector_count = plain ? 0 : count,
		.length = (size_t)count * PAGE,
		.offset = (uint64_t)page * PAGE,
		.complete = load_complete,
		.context = load,
	};
	pool->counters.loads++;
	pool->loads_in_flight++;
	return load;
}

static struct buffer_load *load_start(struct buffer_pool *pool, const struct buffer_file *file, uint32_t page,
				      const uint32_t *frames, uint32_t count)
{
	struct buffer_load *load = load_make(pool, file, page, frames, count);
	io_submit(shard_io(pool->shard), &load->request);
	return load;
}

/* --- recording: nothing, unless somebody asked for it --- */

static inline void record_pages(const struct buffer_pool *pool, enum trace_access access,
				const struct buffer_file *file, uint32_t page, uint64_t count)
{
	if (__builtin_expect(pool->page_recorder != NULL, 0))
		trace_pages(pool->page_recorder, access, file->id, page, count);
}

/* --- gathering the pages of a view --- */

/* The pages of one view, pinned, and the loads that must end before they can be read. */
struct gathered {
	uint32_t count;
	uint32_t missing;
	uint32_t load_count;
	uint32_t frames[BUFFER_POOLED_PAGES];
	uint32_t new_frames[BUFFER_POOLED_PAGES]; /* for the missing ones, in order */
	struct buffer_load *loads[BUFFER_POOLED_PAGES];
};

static void unpin_all(struct buffer_pool *pool, const struct gathered *set)
{
	for (uint32_t i = 0; i < set->count; i++)
		frame_unpin(pool, set->frames[i]);
}

/* Gives up before anything was started. There is no more to be had than before, so nobody is woken: two
 * tasks that both lack frames would wake each other for ever. */
static void unpin_present(struct buffer_pool *pool, const struct gathered *set)
{
	for (uint32_t i = 0; i < set->count; i++) {
		if (set->frames[i] != CACHE_NO_FRAME)
			(void)frame_unpin_quietly(pool, set->frames[i]);
	}
}

/* Pins what is there or on its way; returns the number of runs of adjacent missing pages. */
static uint32_t pin_present(struct buffer_pool *pool, uint64_t file_id, uint32_t first, uint32_t count,
			    struct gathered *set)
{
	uint32_t runs = 0;
	*set = (struct gathered) { .count = count };
	for (uint32_t i = 0; i < count; i++) {
		uint64_t hash = page_hash(file_id, first + i);
		uint32_t index = map_find(pool, hash, file_id, first + i, 0);
		set->frames[i] = index;
		if (index != CACHE_NO_FRAME) {
			frame_pin(pool, &pool->frames[index]);
			continue;
		}
		set->missing++;
		if (i == 0 || set->frames[i - 1] != CACHE_NO_FRAME)
			runs++;
	}
	return runs;
}

/* Remembers the load of a frame that somebody else is loading. */
static void join_load(struct buffer_pool *pool, struct gathered *set, struct buffer_load *load)
{
	if (set->load_count > 0 && set->loads[set->load_count - 1] == load)
		return;
	load->references++;
	set->loads[set->load_count++] = load;
	pool->counters.joined++;
}

/* Takes frames for all missing pages, or none: a task that holds some and waits for others would let two
 * of its kind wait for each other. */
static bool take_missing(struct buffer_pool *pool, struct gathered *set)
{
	for (uint32_t i = 0; i < set->missing; i++) {
		set->new_frames[i] = frame_take(pool);
		if (set->new_frames[i] != CACHE_NO_FRAME)
			continue;
		while (i > 0)
			frame_put_free(pool, set->new_frames[--i]);
		return false;
	}
	return true;
}

/* Starts the loads of the missing pages and joins those under way. */
static void start_missing(struct buffer_pool *pool, const struct buffer_file *file, uint32_t first,
			  struct gathered *set)
{
	uint32_t taken = 0;
	for (uint32_t i = 0; i < set->count;) {
		if (set->frames[i] != CACHE_NO_FRAME) {
			struct frame *frame = &pool->frames[set->frames[i]];
			bool loading = frame_state(frame) == FRAME_LOADING;
			if (loading)
				join_load(pool, set, frame->load);
			else
				pool->ops->touch(pool->strategy, set->frames[i]);
			record_pages(pool, loading ? TRACE_JOINED : TRACE_HIT, file, first + i, 1);
			i++;
			continue;
		}
		uint32_t run = 1;
		while (i + run < set->count && set->frames[i + run] == CACHE_NO_FRAME)
			run++;
		struct buffer_load *load = load_start(pool, file, first + i, &set->new_frames[taken], run);
		load->references++;
		set->loads[set->load_count++] = load;
		record_pages(pool, TRACE_MISS, file, first + i, run);
		for (uint32_t j = 0; j < run; j++) {
			set->frames[i + j] = set->new_frames[taken + j];
			frame_pin(pool, &pool->frames[set->frames[i + j]]);
		}
		taken += run;
		i += run;
	}
	pool->counters.hits += set->count - set->missing;
	pool->counters.misses += set->missing;
}

/* Pins all pages of a view and starts what is missing. STATUS_BUSY: no frame could be had just now. */
static struct status gather(struct buffer_pool *pool, const struct buffer_file *file, uint32_t first,
			    uint32_t count, struct gathered *set)
{
	uint32_t runs = pin_present(pool, file->id, first, count, set);
	if (!loads_prepare(pool, runs)) {
		unpin_present(pool, set);
		return status_make(STATUS_NO_MEMORY);
	}
	if (!take_missing(pool, set)) {
		unpin_present(pool, set);
		return status_make(STATUS_BUSY);
	}
	start_missing(pool, file, first, set);
	return status_ok();
}

struct gather_call {
	struct buffer_pool *pool;
	const struct buffer_file *file;
	uint32_t first;
	uint32_t count;
	struct gathered *set;
	struct status status;
};

static void gather_on_thread_stack(void *argument)
{
	struct gather_call *call = argument;
	call->status = gather(call->pool, call->file, call->first, call->count, call->set);
}

/* Waits for the loads; the first failure of a page of this view. */
static struct status await_loads(struct task *self, struct buffer_pool *pool, struct gathered *set)
{
	for (uint32_t i = 0; i < set->load_count; i++)
		load_await(self, set->loads[i]);
	struct status status = status_ok();
	for (uint32_t i = 0; i < set->count; i++) {
		const struct frame *frame = &pool->frames[set->frames[i]];
		ASSERT(frame_state(frame) == FRAME_RESIDENT || frame_state(frame) == FRAME_FAILED);
		if (frame_state(frame) == FRAME_FAILED)
			status_keep_first(&status, frame->load->status);
	}
	for (uint32_t i = 0; i < set->load_count; i++)
		load_release(set->loads[i]);
	return status;
}

/* --- views --- */

static inline void view_frame(const struct buffer_pool *pool, uint32_t index, uint64_t offset, size_t size,
			      struct buffer_view *view)
{
	*view = (struct buffer_view) {
		.data = frame_bytes(pool, index) + (offset & (PAGE - 1)),
		.size = size,
		.marks = &pool->frames[index].marks,
		.frame = index,
	};
}

struct status buffer_slot(struct buffer_pool *pool, size_t size, struct buffer_view *view, uint8_t **bytes)
{
	struct slot *slot = slot_take(&pool->slots, size);
	pool->counters.slot_bytes = pool->slots.bytes;
	pool->counters.slot_bytes_peak = pool->slots.bytes_peak;
	if (slot == NULL)
		return status_make(STATUS_NO_MEMORY);
	*view = (struct buffer_view) {
		.data = slot->bytes,
		.size = size,
		.frame = CACHE_NO_FRAME,
		.slot = slot,
	};
	*bytes = slot->bytes;
	return status_ok();
}

/* Copies resident pages, which the caller has pinned or just found, into a slot. */
static struct status view_copy(struct buffer_pool *pool, const uint32_t *frames, uint64_t offset, size_t size,
			       struct buffer_view *view)
{
	uint8_t *to;
	TRY(buffer_slot(pool, size, view, &to));
	size_t skip = offset & (PAGE - 1);
	for (uint32_t i = 0; size > 0; i++) {
		size_t part = PAGE - skip < size ? PAGE - skip : size;
		memcpy(to, frame_bytes(pool, frames[i]) + skip, part);
		to += part;
		size -= part;
		skip = 0;
	}
	return status_ok();
}

/* The pages that a run of bytes covers; false where the offset is past any file of ours. */
static inline bool page_range(uint64_t offset, size_t size, uint32_t *first, uint64_t *count)
{
	ASSERT(size > 0);
	uint64_t last = (offset + size - 1) / PAGE;
	*first = (uint32_t)(offset / PAGE);
	*count = last - offset / PAGE + 1;
	return offset + size > offset && last < UINT32_MAX;
}

static bool try_view_pages(struct buffer_pool *pool, const struct buffer_file *file, uint64_t offset,
			   size_t size, struct buffer_view *view)
{
	uint32_t first;
	uint64_t count;
	if (!page_range(offset, size, &first, &count) || count > BUFFER_POOLED_PAGES)
		return false;
	uint32_t frames[BUFFER_POOLED_PAGES] = { 0 };
	for (uint32_t i = 0; i < count; i++) {
		uint32_t index = map_find(pool, page_hash(file->id, first + i), file->id, first + i, 0);
		if (index == CACHE_NO_FRAME || frame_state(&pool->frames[index]) != FRAME_RESIDENT)
			return false;
		frames[i] = index;
	}
	if (!status_is_ok(view_copy(pool, frames, offset, size, view)))
		return false;
	for (uint32_t i = 0; i < count; i++)
		pool->ops->touch(pool->strategy, frames[i]);
	pool->counters.hits += count;
	record_pages(pool, TRACE_HIT, file, first, count);
	return true;
}

bool buffer_try_view(struct buffer_pool *pool, const struct buffer_file *file, uint64_t offset, size_t size,
		     struct buffer_view *view)
{
	if ((offset & (PAGE - 1)) + size > PAGE || offset / PAGE >= UINT32_MAX)
		return try_view_pages(pool, file, offset, size, view);
	uint32_t page = (uint32_t)(offset / PAGE);
	uint32_t index = map_find(pool, page_hash(file->id, page), file->id, page, offset & (PAGE - 1));
	if (index == CACHE_NO_FRAME)
		return false;
	struct frame *frame = &pool->frames[index];
	if (__builtin_expect(frame_state(frame) != FRAME_RESIDENT, 0))
		return false;
	frame_pin(pool, frame);
	pool->ops->touch(pool->strategy, index);
	pool->counters.hits++;
	record_pages(pool, TRACE_HIT, file, page, 1);
	view_frame(pool, index, offset, size, view);
	return true;
}

/* Large views would sweep the pool empty for bytes that are seldom asked for twice. */
static struct status view_past_pool(struct task *self, struct buffer_pool *pool,
				    const struct buffer_file *file, uint64_t offset, size_t size,
				    struct buffer_view *view)
{
	size_t skip = offset & (PAGE - 1);
	size_t length = (skip + size + PAGE - 1) & ~(size_t)(PAGE - 1);
	uint8_t *bytes;
	TRY(buffer_slot(pool, length, view, &bytes));
	struct io_request request = {
		.operation = IO_READ,
		.file = file->file,
		.buffer = bytes,
		.length = length,
		.offset = offset - skip,
	};
	pool->counters.loads++;
	pool->counters.misses += length / PAGE;
	record_pages(pool, TRACE_PAST, file, (uint32_t)(request.offset / PAGE), length / PAGE);
	struct status status = task_io(self, &request);
	if (status_is_ok(status) && request.transferred < skip + size)
		status = short_file(file->path, request.offset + request.transferred);
	if (!status_is_ok(status)) {
		buffer_release(pool, view);
		return status;
	}
	pool->counters.load_bytes += request.transferred;
	view->data = bytes + skip;
	view->size = size;
	return status_ok();
}

struct status buffer_view(struct task *self, struct buffer_pool *pool, const struct buffer_file *file,
			  uint64_t offset, size_t size, struct buffer_view *view)
{
	uint32_t first;
	uint64_t count;
	*view = (struct buffer_view) { .frame = CACHE_NO_FRAME };
	if (!page_range(offset, size, &first, &count))
		return short_file(file->path, offset);
	if (count > BUFFER_POOLED_PAGES)
		return view_past_pool(self, pool, file, offset, size, view);
	struct gathered set;
	struct gather_call call = {
		.pool = pool, .file = file, .first = first, .count = (uint32_t)count, .set = &set
	};
	/* The cache strategy has a say in it, and may go deep. */
	while (call_on_thread_stack(gather_on_thread_stack, &call), status_is(call.status, STATUS_BUSY))
		wait_list_wait(self, &pool->frame_waiting);
	TRY(call.status);
	struct status status = await_loads(self, pool, &set);
	if (status_is_ok(status) && count == 1) {
		view_frame(pool, set.frames[0], offset, size, view);
		return status; /* the pin is the view's now */
	}
	if (status_is_ok(status))
		status = view_copy(pool, set.frames, offset, size, view);
	unpin_all(pool, &set);
	return status;
}

/* --- loads that the caller carries out --- */

/* Whether all that is missing is one run, and nobody else is loading the rest. */
static bool is_one_load(const struct buffer_pool *pool, const struct gathered *set, uint32_t runs)
{
	for (uint32_t i = 0; i < set->count; i++) {
		if (set->frames[i] != CACHE_NO_FRAME &&
		    frame_state(&pool->frames[set->frames[i]]) != FRAME_RESIDENT)
			return false;
	}
	return runs == 1;
}

static uint32_t first_missing(const struct gathered *set)
{
	uint32_t i = 0;
	while (set->frames[i] != CACHE_NO_FRAME)
		i++;
	return i;
}

struct begin_call {
	struct buffer_pool *pool;
	const struct buffer_file *file;
	uint32_t first;
	uint64_t count;
	struct buffer_load *load;
};

static void begin_on_thread_stack(void *argument)
{
	struct begin_call *call = argument;
	struct buffer_pool *pool = call->pool;
	struct gathered set;
	uint32_t runs = pin_present(pool, call->file->id, call->first, (uint32_t)call->count, &set);
	if (is_one_load(pool, &set, runs) && loads_prepare(pool, 1) && take_missing(pool, &set)) {
		struct buffer_load *load = load_make(pool, call->file, call->first + first_missing(&set),
						     set.new_frames, set.missing);
		load->references++;
		io_begin(shard_io(pool->shard), &load->request);
		pool->counters.misses += set.missing;
		record_pages(pool, TRACE_MISS, call->file, call->first + first_missing(&set), set.missing);
		call->load = load;
	}
	unpin_present(pool, &set);
}

struct buffer_load *buffer_load_begin(struct buffer_pool *pool, const struct buffer_file *file,
				      uint64_t offset, size_t size)
{
	struct begin_call call = { .pool = pool, .file = file };
	if (io_can_carry_out(shard_io(pool->shard)) && page_range(offset, size, &call.first, &call.count) &&
	    call.count <= BUFFER_POOLED_PAGES)
		call_on_thread_stack(begin_on_thread_stack, &call);
	return call.load;
}

struct io_request *buffer_load_request(struct buffer_load *load)
{
	return &load->request;
}

struct status buffer_load_end(struct buffer_pool *pool, struct buffer_load *load)
{
	io_end(shard_io(pool->shard), &load->request);
	struct status status = load->status;
	load_release(load);
	return status;
}

/* --- release --- */

void buffer_release(struct buffer_pool *pool, struct buffer_view *view)
{
	if (view->data == NULL)
		return;
	if (view->slot != NULL) {
		slot_give(&pool->slots, view->slot);
		pool->counters.slot_bytes = pool->slots.bytes;
	} else {
		frame_unpin(pool, view->frame);
	}
	view->data = NULL;
	view->slot = NULL;
	view->marks = NULL;
	view->frame = CACHE_NO_FRAME;
}

/* --- prefetching --- */

/* Read-ahead gives way: it takes no frame while half of all are pinned. */
static uint32_t take_for_prefetch(struct buffer_pool *pool)
{
	if (pool->counters.frames_pinned >= pool->frame_count / 2)
		return CACHE_NO_FRAME;
	return frame_take(pool);
}

struct prefetch {
	struct buffer_pool *pool;
	const struct buffer_file *file;
	uint32_t first;
	uint64_t count;
};

static void prefetch_on_thread_stack(void *argument)
{
	const struct prefetch *prefetch = argument;
	struct buffer_pool *pool = prefetch->pool;
	const struct buffer_file *file = prefetch->file;
	uint32_t first = prefetch->first;
	uint64_t count = prefetch->count;
	uint32_t frames[BUFFER_POOLED_PAGES];
	uint32_t run = 0;
	bool stopped = false;
	for (uint64_t i = 0; i < count && !stopped; i++) {
		uint32_t page = first + (uint32_t)i;
		bool missing = map_find(pool, page_hash(file->id, page), file->id, page, 0) == CACHE_NO_FRAME;
		if (missing && run == 0 && !loads_prepare(pool, 1))
			return;
		if (missing) {
			frames[run] = take_for_prefetch(pool);
			stopped = frames[run] == CACHE_NO_FRAME;
			run += !stopped;
		}
		bool last = i + 1 == count || stopped || run == BUFFER_POOLED_PAGES;
		if (run > 0 && (!missing || last)) {
			uint32_t next = missing && !stopped ? page + 1 : page;
			(void)load_start(pool, file, next - run, frames, run);
			record_pages(pool, TRACE_AHEAD, file, next - run, run);
			run = 0;
		}
	}
}

void buffer_prefetch(struct buffer_pool *pool, const struct buffer_file *file, uint64_t offset, size_t size)
{
	uint64_t end = offset + size;
	if (end > file->file->size_at_open)
		end = file->file->size_at_open;
	struct prefetch prefetch = { .pool = pool, .file = file };
	if (offset < end && page_range(offset, (size_t)(end - offset), &prefetch.first, &prefetch.count))
		call_on_thread_stack(prefetch_on_thread_stack, &prefetch);
}

void buffer_warm(const struct buffer_pool *pool, const struct buffer_file *file, uint64_t offset)
{
	uint64_t hash = page_hash(file->id, (uint32_t)(offset / PAGE));
	__builtin_prefetch(&pool->map[hash_range(hash, pool->map_size)]);
}

/* --- reservations --- */

/* What may be granted in all: the rest is for operations that hold one view at a time. */
static uint32_t reserve_limit(const struct buffer_pool *pool)
{
	return pool->frame_count - pool->frame_count / 4;
}

uint32_t buffer_reserve(struct task *self, struct buffer_pool *pool, uint32_t pages)
{
	if (pages > pool->frame_count / 2)
		pages = pool->frame_count / 2;
	if (list_is_empty(&pool->reserve_waiting) && pool->reserved + pages <= reserve_limit(pool)) {
		pool->reserved += pages;
		return pages;
	}
	struct reserve_waiter waiter = { .task = self, .pages = pages };
	list_add_last(&pool->reserve_waiting, &waiter.link);
	while (!waiter.granted)
		task_suspend(self);
	return pages;
}

void buffer_unreserve(struct buffer_pool *pool, uint32_t pages)
{
	ASSERT(pool->reserved >= pages);
	pool->reserved -= pages;
	while (!list_is_empty(&pool->reserve_waiting)) {
		struct reserve_waiter *waiter =
			CONTAINER_OF(pool->reserve_waiting.next, struct reserve_waiter, link);
		if (pool->reserved + waiter->pages > reserve_limit(pool))
			return;
		pool->reserved += waiter->pages;
		list_remove(&waiter->link);
		waiter->granted = true;
		task_resume(waiter->task);
	}
}

/* --- files that go --- */

void buffer_drain(struct task *self, struct buffer_pool *pool, uint64_t file_id)
{
	bool found = pool->loads_in_flight > 0;
	while (found) {
		found = false;
		for (uint32_t i = *file_head(pool, file_id); i != LIST_END; i = pool->frames[i].next) {
			struct frame *frame = &pool->frames[i];
			if (frame->file_id != file_id || frame_state(frame) != FRAME_LOADING)
				continue;
			struct buffer_load *load = frame->load;
			load->references++;
			load_await(self, load);
			load_release(load);
			found = pool->loads_in_flight > 0;
			break; /* the list may have changed meanwhile */
		}
	}
}

void buffer_forget(struct buffer_pool *pool, uint64_t file_id)
{
	uint32_t next;
	if (pool->page_recorder != NULL)
		trace_forget(pool->page_recorder, file_id);
	for (uint32_t i = *file_head(pool, file_id); i != LIST_END; i = next) {
		next = pool->frames[i].next;
		if (pool->frames[i].file_id != file_id)
			continue;
		ASSERT(pool->frames[i].word == FRAME_RESIDENT);
		pool->ops->remove(pool->strategy, i);
		page_detach(pool, i);
		frame_put_free(pool, i);
	}
	if (!wait_list_is_empty(&pool->frame_waiting))
		wait_list_wake_all(&pool->frame_waiting);
}

/* --- the pool itself --- */

static size_t align64(size_t size)
{
	return (size + 63) & ~(size_t)63;
}

static uint32_t heads_for(uint32_t frames)
{
	uint32_t heads = 64;
	while (heads < frames / 16 && heads < 65536)
		heads *= 2;
	return heads;
}

static size_t map_bytes(uint32_t frames)
{
	return align64((size_t)frames * 2 * sizeof(struct map_entry));
}

/* Everything beside the frames' bytes, in whole pages. */
static size_t bookkeeping_bytes(const struct buffer_pool_options *options, uint32_t frames)
{
	size_t size = align64((size_t)frames * sizeof(struct frame)) + map_bytes(frames) +
		      align64((size_t)heads_for(frames) * sizeof(uint32_t)) +
		      align64(options->strategy->memory_size(options->strategy_options, frames));
	return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* The most frames that fit the budget together with what describes them. */
static uint32_t frames_that_fit(const struct buffer_pool_options *options, uint64_t bytes)
{
	uint64_t low = 0;
	uint64_t high = bytes / PAGE < UINT32_MAX / 4 ? bytes / PAGE : UINT32_MAX / 4;
	while (low < high) {
		uint64_t middle = (low + high + 1) / 2;
		if (middle * PAGE + bookkeeping_bytes(options, (uint32_t)middle) <= bytes)
			low = middle;
		else
			high = middle - 1;
	}
	return (uint32_t)low;
}

static void lay_out(struct buffer_pool *pool, const struct buffer_pool_options *options)
{
	uint32_t frames = pool->frame_count;
	uint8_t *at = pool->memory;
	pool->frames = (struct frame *)(void *)at;
	at += align64((size_t)frames * sizeof(struct frame));
	pool->map = (struct map_entry *)(void *)at;
	pool->map_size = (uint64_t)frames * 2;
	at += map_bytes(frames);
	pool->file_heads = (uint32_t *)(void *)at;
	pool->file_heads_count = heads_for(frames);
	for (uint32_t i = 0; i < pool->file_heads_count; i++)
		pool->file_heads[i] = LIST_END;
	at += align64((size_t)pool->file_heads_count * sizeof(uint32_t));
	pool->ops = options->strategy;
	pool->strategy = pool->ops->create(options->strategy_options, frames, at);
}

static void pool_free(struct buffer_pool *pool)
{
	memory_unmap(pool->bytes, pool->frame_bytes);
	memory_unmap(pool->memory, pool->memory_bytes);
	memory_free(pool->strategy_defaults);
	memory_free(pool);
}

/* The caller's options, or the strategy's defaults. */
static struct status pool_strategy(struct buffer_pool *pool, struct buffer_pool_options *options)
{
	const struct component *component = &options->strategy->component;
	if (options->strategy_options != NULL || component->options_size == 0)
		return status_ok();
	pool->strategy_defaults = memory_allocate_zeroed(1, component->options_size);
	if (pool->strategy_defaults == NULL)
		return status_make(STATUS_NO_MEMORY);
	component_default_options(component, pool->strategy_defaults);
	options->strategy_options = pool->strategy_defaults;
	return status_ok();
}

static struct status pool_prepare(struct buffer_pool *pool, struct buffer_pool_options *options)
{
	TRY(pool_strategy(pool, options));
	uint64_t slot_bytes = options->bytes / SLOT_SHARE;
	if (slot_bytes > SLOT_RESERVE_MAX)
		slot_bytes = SLOT_RESERVE_MAX;
	uint32_t frames = frames_that_fit(options, options->bytes - slot_bytes);
	if (frames < 2 * BUFFER_POOLED_PAGES)
		return status_error(STATUS_INVALID, "a buffer pool of %llu bytes holds too few pages",
				    (unsigned long long)options->bytes);
	pool->frame_count = frames;
	pool->counters.frames = frames;
	pool->memory_bytes = bookkeeping_bytes(options, frames);
	pool->frame_bytes = (size_t)frames * PAGE;
	pool->memory = memory_map(pool->memory_bytes);
	pool->bytes = memory_map(pool->frame_bytes);
	if (pool->memory == NULL || pool->bytes == NULL)
		return status_make(STATUS_NO_MEMORY);
	uint32_t grow = (frames + GROW_STEPS_MAX - 1) / GROW_STEPS_MAX;
	pool->grow_frames = grow > GROW_BYTES_MIN / PAGE ? grow : GROW_BYTES_MIN / PAGE;
	pool->free_frames = LIST_END;
	list_init(&pool->reserve_waiting);
	wait_list_init(&pool->frame_waiting);
	slot_pool_init(&pool->slots, (size_t)slot_bytes);
	lay_out(pool, options);
	return status_ok();
}

struct status buffer_pool_create(struct shard *shard, const struct buffer_pool_options *options,
				 struct buffer_pool **result)
{
	*result = NULL;
	if (options->bytes < (uint64_t)POOL_PAGES_MIN * PAGE)
		return status_error(STATUS_INVALID, "a buffer pool takes at least %d KiB",
				    POOL_PAGES_MIN * PAGE / 1024);
	struct buffer_pool *pool = memory_allocate_zeroed(1, sizeof(*pool));
	if (pool == NULL)
		return status_make(STATUS_NO_MEMORY);
	pool->shard = shard;
	pool->recorder = options->recorder;
	pool->page_recorder = trace_recorder_for(options->recorder, TRACE_CACHE);
	struct buffer_pool_options resolved = *options;
	struct status status = pool_prepare(pool, &resolved);
	if (!status_is_ok(status)) {
		pool_free(pool);
		return status;
	}
	if (pool->page_recorder != NULL) {
		trace_variant(pool->page_recorder, COMPONENT_CACHE, &pool->ops->component,
			      resolved.strategy_options);
		trace_pool(pool->page_recorder, pool->frame_count);
	}
	*result = pool;
	return status_ok();
}

void buffer_pool_destroy(struct buffer_pool *pool)
{
	if (pool == NULL)
		return;
	ASSERT(pool->counters.frames_pinned == 0);
	ASSERT(pool->loads_in_flight == 0);
	ASSERT(list_is_empty(&pool->reserve_waiting));
	ASSERT(wait_list_is_empty(&pool->frame_waiting));
	while (pool->free_loads != NULL) {
		struct buffer_load *load = pool->free_loads;
		pool->free_loads = load->next;
		memory_free(load);
	}
	slot_pool_free(&pool->slots);
	pool_free(pool);
}

struct trace_recorder *buffer_recorder(const struct buffer_pool *pool)
{
	return pool->recorder;
}

void buffer_set_local(struct buffer_pool *pool, void *local)
{
	pool->local = local;
}

void *buffer_local(const struct buffer_pool *pool)
{
	return pool->local;
}

const struct buffer_counters *buffer_counters(const struct buffer_pool *pool)
{
	return &pool->counters;
}
