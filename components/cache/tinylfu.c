/*
 * tinylfu.c: W-TinyLFU (Einziger, Friedman, Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM
 * Transactions on Storage, 2017), with a memory as long as the workload rewards.
 *
 * A new page enters the window, a queue in which a page that was used takes another round. At its end the
 * page stands against the main region's least frequent one of a few; the one with more uses stays. Counts are
 * halved whenever `sample` uses for each frame have passed, so that what was hot once does not stay for ever.
 *
 * Where the paper counts every use in one sketch, here a resident page's count lies in its frame's byte, and
 * only on its way out it is written to the sketch, from which it comes back with the page. So a use touches
 * one byte in a dense array, counts of resident pages are exact, and they crowd nobody out of the sketch.
 *
 * The sketch is a count-min sketch of 4-bit counters, the counters of one page in one cache line. A count is
 * written by raising each counter to it, never beyond (conservative update).
 *
 * How long to remember decides more than anything else. Where popularity stands still, counting over 64 uses
 * a frame is best; where the newest is the hottest, that keeps yesterday's pages and loses to LRU. No size of
 * the window makes up for it, so it is not the window that adapts (as in the authors' later work) but the
 * sample. Two small caches without contents, one with the long sample and one with the short one, are shown
 * the uses of the same fixed share of all pages (Waldspurger, Saemundson, Ahmad, Park, "Cache Modeling and
 * Optimization using Miniature Simulations", USENIX ATC 2017); the real one takes after that with fewer
 * misses.
 *
 * Nothing is random: frames fill in the order of arrival, which says nothing about how hot their pages are,
 * so the next few after a hand that goes round are as good a sample as any.
 */
#include "components/cache/cache.h"

#include "base/assert.h"
#include "base/hash.h"

#include "base/poison.h"

enum {
	CACHE_LINE = 64,
	LINE_WORDS = CACHE_LINE / 8,
	SKETCH_BYTES_PER_FRAME = 16,
	SKETCH_ROWS = 4, /* counters of a page, each in its own quarter of the line */
	ROW_COUNTERS = CACHE_LINE * 2 / SKETCH_ROWS,
	WORD_COUNTERS = 16,
	CANDIDATES = 8,		   /* frames of the main region that a victim is chosen from */
	WINDOW_MOVES = 32,	   /* pages that one eviction sends round again or on */
	AGE_LINES_PER_INSERT = 16, /* cache lines halved at a time */
	SHADOW_SHARE = 32,	   /* one in so many frames and pages has its double in the shadows */
	SHADOW_FRAMES_MIN = 256,   /* in smaller ones chance decides; small caches have larger shares */
	SHADOW_EPOCH = 4,	   /* uses of each of a shadow's frames between two decisions */
	SHADOW_MARGIN = 64,	   /* one in so many misses fewer makes the other one better */
	PERCENT_LIMIT = 90,
	SAMPLE_LIMIT = 1024,
};

/* A frame's byte: the page's count in the low four bits, and flags. All zeros: free. */
enum {
	COUNT_MAX = 15,
	USED = 16,     /* since it was queued in the window */
	SHADOWED = 32, /* the page is one of those that the shadows see */
	WINDOW = 64,
	MAIN = 128,
};

struct tinylfu_options {
	uint64_t window;
	uint64_t sample;
	uint64_t sample_short;
};

static const struct option tinylfu_options[] = {
	{ .name = "window",
	  .help = "size of the window, where new pages prove themselves, in percent of all frames",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct tinylfu_options, window),
	  .default_value = 5,
	  .minimum = 1,
	  .maximum = PERCENT_LIMIT },
	{ .name = "sample",
	  .help = "uses for each frame after which counts are halved, while popularity is steady",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct tinylfu_options, sample),
	  .default_value = 64,
	  .minimum = 1,
	  .maximum = SAMPLE_LIMIT },
	{ .name = "sample_short",
	  .help = "the same while popularity moves; equal to sample: never adapt",
	  .type = OPTION_INTEGER,
	  .offset = offsetof(struct tinylfu_options, sample_short),
	  .default_value = 4,
	  .minimum = 1,
	  .maximum = SAMPLE_LIMIT },
	{ .name = NULL },
};

struct node {
	uint32_t newer, older; /* in the window; CACHE_NO_FRAME at the ends */
	uint32_t page;	       /* a hash of it */
};

/* One cache's order: the real one's, or a shadow's. */
struct order {
	uint8_t *states; /* whole cache lines; the bytes past the last frame stay zero */
	struct node *nodes;
	uint64_t *sketch;
	uint64_t uses; /* since counts were halved */
	uint64_t sample;
	uint32_t frames;
	uint32_t state_lines;
	uint32_t sketch_lines;
	uint32_t ageing_left; /* lines of states and sketch that are still to be halved */
	uint32_t window_target, window_count;
	uint32_t main_count;
	uint32_t newest, oldest; /* of the window */
	uint32_t hand;		 /* in the main region */
};

/* A cache without contents that finds its pages itself. */
struct shadow {
	struct order order;
	uint32_t *heads; /* of chains of frames, by page */
	uint32_t *next;
	uint64_t misses; /* older ones count less */
	uint32_t buckets;
	uint32_t used; /* frames that were ever filled */
};

enum { LONG, SHORT, SHADOWS };

struct tinylfu {
	struct cache_strategy base;
	struct order order;
	uint64_t samples[SHADOWS]; /* in uses of the real cache */
	uint32_t shadowed_below;   /* what a page's second hash is then; 0: no shadows */
	uint32_t last_shown;	   /* page; a run of uses of one page teaches nothing */
	uint32_t shown;		   /* uses, since the last decision */
	struct shadow shadows[SHADOWS];
};

extern const struct cache_ops cache_tinylfu;

/* --- sizes --- */

static size_t align_up(size_t size)
{
	return (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

static uint32_t count_sketch_lines(uint32_t frames)
{
	return (uint32_t)((uint64_t)frames * SKETCH_BYTES_PER_FRAME / CACHE_LINE) + 1;
}

static size_t order_bytes(uint32_t frames)
{
	return align_up(frames) + (size_t)count_sketch_lines(frames) * CACHE_LINE +
	       align_up((size_t)frames * sizeof(struct node));
}

static uint32_t count_buckets(uint32_t frames)
{
	return frames + frames / 2 + 1;
}

static size_t shadow_bytes(uint32_t frames)
{
	size_t words = (size_t)count_buckets(frames) + frames;
	return order_bytes(frames) + align_up(words * sizeof(uint32_t));
}

/* The frames of one shadow; 0: there are none. */
static uint32_t count_shadow_frames(const struct tinylfu_options *options, uint32_t frames)
{
	if (options->sample == options->sample_short)
		return 0;
	uint32_t share = frames / SHADOW_SHARE;
	if (share >= SHADOW_FRAMES_MIN)
		return share;
	return frames < SHADOW_FRAMES_MIN ? frames : SHADOW_FRAMES_MIN;
}

static size_t tinylfu_memory_size(const void *options, uint32_t frames)
{
	uint32_t shadow_frames = count_shadow_frames(options, frames);
	size_t shadows = shadow_frames > 0 ? SHADOWS * shadow_bytes(shadow_frames) : 0;
	return align_up(sizeof(struct tinylfu)) + order_bytes(frames) + shadows;
}

/* Takes order_bytes from `memory` and returns what follows. */
static uint8_t *order_create(struct order *order, uint32_t frames, uint64_t window, uint64_t sample,
			     uint8_t *memory)
{
	uint64_t target = (uint64_t)frames * window / 100;
	order->frames = frames;
	order->state_lines = (uint32_t)(align_up(frames) / CACHE_LINE);
	order->sketch_lines = count_sketch_lines(frames);
	order->states = memory;
	memory += align_up(frames);
	order->sketch = (uint64_t *)(void *)memory;
	memory += (size_t)order->sketch_lines * CACHE_LINE;
	order->nodes = (struct node *)(void *)memory;
	order->window_target = target == 0 ? 1 : (uint32_t)target;
	order->sample = sample * frames;
	order->newest = CACHE_NO_FRAME;
	order->oldest = CACHE_NO_FRAME;
	return memory + align_up((size_t)frames * sizeof(struct node));
}

static uint8_t *shadow_create(struct shadow *shadow, uint32_t frames, uint64_t window, uint64_t sample,
			      uint8_t *memory)
{
	uint32_t *words = (uint32_t *)(void *)order_create(&shadow->order, frames, window, sample, memory);
	shadow->buckets = count_buckets(frames);
	shadow->heads = words;
	shadow->next = words + shadow->buckets;
	for (uint32_t i = 0; i < shadow->buckets; i++)
		shadow->heads[i] = CACHE_NO_FRAME;
	return memory + shadow_bytes(frames);
}

static struct cache_strategy *tinylfu_create(const void *options, uint32_t frames, void *memory)
{
	const struct tinylfu_options *chosen = options;
	struct tinylfu *tinylfu = memory;
	ASSERT(chosen->window >= 1);
	ASSERT(chosen->window <= PERCENT_LIMIT);
	ASSERT(chosen->sample >= 1);
	ASSERT(chosen->sample_short >= 1);
	ASSERT(frames < CACHE_NO_FRAME);
	tinylfu->base.ops = &cache_tinylfu;
	uint8_t *at = (uint8_t *)memory + align_up(sizeof(*tinylfu));
	at = order_create(&tinylfu->order, frames, chosen->window, chosen->sample, at);
	uint32_t shadow_frames = count_shadow_frames(chosen, frames);
	if (shadow_frames > 0) {
		const uint64_t samples[SHADOWS] = { chosen->sample, chosen->sample_short };
		for (unsigned i = 0; i < SHADOWS; i++) {
			tinylfu->samples[i] = samples[i] * frames;
			at = shadow_create(&tinylfu->shadows[i], shadow_frames, chosen->window, samples[i],
					   at);
		}
		tinylfu->shadowed_below = (uint32_t)((uint64_t)UINT32_MAX * shadow_frames / frames);
	}
	ASSERT((size_t)(at - (uint8_t *)memory) == tinylfu_memory_size(options, frames));
	return &tinylfu->base;
}

/* --- the sketch --- */

struct counters {
	uint64_t *line;
	uint64_t hash;
};

static inline struct counters sketch_find(const struct order *order, uint32_t page)
{
	uint64_t line = ((uint64_t)page * order->sketch_lines) >> 32;
	return (struct counters) { .line = &order->sketch[line * LINE_WORDS], .hash = hash_mix(page) };
}

/* The word of a page's counter in one row; its place there in *shift. */
static inline uint64_t *sketch_counter(struct counters counters, unsigned row, unsigned *shift)
{
	unsigned counter = (unsigned)(counters.hash >> (row * 8)) % ROW_COUNTERS + row * ROW_COUNTERS;
	*shift = counter % WORD_COUNTERS * 4;
	return &counters.line[counter / WORD_COUNTERS];
}

static unsigned sketch_read(const struct order *order, uint32_t page)
{
	struct counters counters = sketch_find(order, page);
	unsigned least = COUNT_MAX;
	for (unsigned row = 0; row < SKETCH_ROWS; row++) {
		unsigned shift;
		const uint64_t *word = sketch_counter(counters, row, &shift);
		unsigned count = (unsigned)(*word >> shift) & COUNT_MAX;
		least = count < least ? count : least;
	}
	return least;
}

static void sketch_raise(struct order *order, uint32_t page, unsigned to)
{
	struct counters counters = sketch_find(order, page);
	ASSERT(to <= COUNT_MAX);
	for (unsigned row = 0; row < SKETCH_ROWS; row++) {
		unsigned shift;
		uint64_t *word = sketch_counter(counters, row, &shift);
		unsigned count = (unsigned)(*word >> shift) & COUNT_MAX;
		if (count < to)
			*word += (uint64_t)(to - count) << shift;
	}
}

/* --- ageing --- */

static void halve_states(uint64_t *line)
{
	for (unsigned i = 0; i < LINE_WORDS; i++) {
		uint64_t flags = line[i] & 0xf0f0f0f0f0f0f0f0ull;
		line[i] = flags | (line[i] >> 1 & 0x0707070707070707ull);
	}
}

static void halve_counters(uint64_t *line)
{
	for (unsigned i = 0; i < LINE_WORDS; i++)
		line[i] = line[i] >> 1 & 0x7777777777777777ull;
}

/* A few lines at each miss: nobody waits for it, and where nothing misses nothing has to be chosen. */
static void age(struct order *order)
{
	if (order->ageing_left == 0) {
		if (order->uses < order->sample)
			return;
		order->uses = 0;
		order->ageing_left = order->state_lines + order->sketch_lines;
	}
	for (unsigned i = 0; i < AGE_LINES_PER_INSERT && order->ageing_left > 0; i++) {
		uint32_t line = --order->ageing_left;
		if (line < order->state_lines)
			halve_states((uint64_t *)(void *)&order->states[(size_t)line * CACHE_LINE]);
		else
			halve_counters(&order->sketch[(size_t)(line - order->state_lines) * LINE_WORDS]);
	}
}

/* --- window and main region --- */

static void window_put(struct order *order, uint32_t frame)
{
	struct node *node = &order->nodes[frame];
	node->newer = CACHE_NO_FRAME;
	node->older = order->newest;
	if (order->newest != CACHE_NO_FRAME)
		order->nodes[order->newest].newer = frame;
	else
		order->oldest = frame;
	order->newest = frame;
	order->window_count++;
}

static void window_take(struct order *order, uint32_t frame)
{
	const struct node *node = &order->nodes[frame];
	if (node->newer != CACHE_NO_FRAME)
		order->nodes[node->newer].older = node->older;
	else
		order->newest = node->older;
	if (node->older != CACHE_NO_FRAME)
		order->nodes[node->older].newer = node->newer;
	else
		order->oldest = node->newer;
	order->window_count--;
}

static void window_requeue(struct order *order, uint32_t frame)
{
	order->states[frame] &= (uint8_t)~USED;
	window_take(order, frame);
	window_put(order, frame);
}

static void move_to_main(struct order *order, uint32_t frame)
{
	window_take(order, frame);
	order->states[frame] = (uint8_t)((order->states[frame] & ~WINDOW) | MAIN);
	order->main_count++;
}

static inline bool main_has_room(const struct order *order)
{
	return order->main_count + order->window_target < order->frames;
}

static void order_forget(struct order *order, uint32_t frame)
{
	if (order->states[frame] & WINDOW)
		window_take(order, frame);
	else
		order->main_count--;
	order->states[frame] = 0;
}

/* The least frequent of the next few frames of the main region, of those that can go; CACHE_NO_FRAME: none.
 */
static uint32_t main_victim(struct order *order, cache_evictable *evictable, void *context)
{
	uint32_t best = CACHE_NO_FRAME;
	unsigned best_count = COUNT_MAX + 1;
	unsigned candidates = 0;
	if (order->main_count == 0)
		return best;
	for (uint32_t step = 0; step < order->frames; step++) {
		uint32_t frame = order->hand;
		order->hand = frame + 1 == order->frames ? 0 : frame + 1;
		uint8_t state = order->states[frame];
		if (!(state & MAIN))
			continue;
		if ((state & COUNT_MAX) < best_count && evictable(context, frame)) {
			best = frame;
			best_count = state & COUNT_MAX;
		}
		if (best_count == 0 || (++candidates >= CANDIDATES && best != CACHE_NO_FRAME))
			break;
	}
	return best;
}

/* --- the order's own functions --- */

static inline void order_insert(struct order *order, uint32_t frame, uint32_t page, uint8_t flags)
{
	unsigned count = sketch_read(order, page);
	order->nodes[frame].page = page;
	order->states[frame] = (uint8_t)(WINDOW | flags | (count + (count < COUNT_MAX)));
	window_put(order, frame);
	if (order->window_count > order->window_target && main_has_room(order))
		move_to_main(order, order->oldest);
	order->uses++;
	age(order);
}

static inline uint8_t order_touch(struct order *order, uint32_t frame)
{
	uint8_t state = order->states[frame];
	order->uses++;
	order->states[frame] = (uint8_t)((state + ((state & COUNT_MAX) < COUNT_MAX)) | USED);
	return state;
}

/*
 * The window's oldest that can go against the main region's victim. In two rounds of the window each page
 * comes to its end without USED, so whatever can go there is found.
 */
static uint32_t order_pick(struct order *order, cache_evictable *evictable, void *context)
{
	unsigned moves = 0;
	for (uint64_t left = 2 * (uint64_t)order->window_count; left > 0 && order->window_count > 0; left--) {
		uint32_t frame = order->oldest;
		uint8_t state = order->states[frame];
		bool may_move = moves < WINDOW_MOVES;
		if (may_move && (state & USED)) {
			window_requeue(order, frame);
			moves++;
		} else if (may_move && main_has_room(order)) {
			move_to_main(order, frame);
			moves++;
		} else if (!evictable(context, frame)) {
			window_requeue(order, frame);
		} else {
			uint32_t victim = main_victim(order, evictable, context);
			if (victim == CACHE_NO_FRAME)
				return frame;
			/* In doubt who is there stays: a scan of strangers changes nothing. */
			if ((state & COUNT_MAX) <= (order->states[victim] & COUNT_MAX))
				return frame;
			move_to_main(order, frame);
			return victim;
		}
	}
	return main_victim(order, evictable, context);
}

static uint32_t order_evict(struct order *order, cache_evictable *evictable, void *context)
{
	uint32_t frame = CACHE_NO_FRAME;
	/* Pages were removed from the window: it fills up again at the main region's cost. */
	if (order->window_count < order->window_target)
		frame = main_victim(order, evictable, context);
	if (frame == CACHE_NO_FRAME)
		frame = order_pick(order, evictable, context);
	if (frame == CACHE_NO_FRAME)
		return frame;
	sketch_raise(order, order->nodes[frame].page, order->states[frame] & COUNT_MAX);
	order_forget(order, frame);
	return frame;
}

/* --- shadows --- */

static bool always_evictable(void *context, uint32_t frame)
{
	(void)context;
	(void)frame;
	return true;
}

static uint32_t *shadow_chain(const struct shadow *shadow, uint32_t page)
{
	return &shadow->heads[((uint64_t)(page * 0x85ebca6bu) * shadow->buckets) >> 32];
}

static uint32_t shadow_make_room(struct shadow *shadow)
{
	if (shadow->used < shadow->order.frames)
		return shadow->used++;
	uint32_t frame = order_evict(&shadow->order, always_evictable, NULL);
	ASSERT(frame != CACHE_NO_FRAME);
	uint32_t *link = shadow_chain(shadow, shadow->order.nodes[frame].page);
	while (*link != frame)
		link = &shadow->next[*link];
	*link = shadow->next[frame];
	return frame;
}

static void shadow_use(struct shadow *shadow, uint32_t page)
{
	uint32_t frame = *shadow_chain(shadow, page);
	while (frame != CACHE_NO_FRAME && shadow->order.nodes[frame].page != page)
		frame = shadow->next[frame];
	if (frame != CACHE_NO_FRAME) {
		(void)order_touch(&shadow->order, frame);
		return;
	}
	shadow->misses++;
	frame = shadow_make_room(shadow);
	order_insert(&shadow->order, frame, page, 0);
	uint32_t *head = shadow_chain(shadow, page);
	shadow->next[frame] = *head;
	*head = frame;
}

/* The real cache changes over to the other sample only for a clear gain: what it forgets meanwhile is gone.
 */
static void shadows_decide(struct tinylfu *tinylfu)
{
	bool is_short = tinylfu->order.sample == tinylfu->samples[SHORT];
	struct shadow *present = &tinylfu->shadows[is_short ? SHORT : LONG];
	struct shadow *other = &tinylfu->shadows[is_short ? LONG : SHORT];
	if (other->misses + present->misses / SHADOW_MARGIN < present->misses)
		tinylfu->order.sample = tinylfu->samples[is_short ? LONG : SHORT];
	present->misses /= 2;
	other->misses /= 2;
	tinylfu->shown = 0;
}

static __attribute__((noinline)) void shadows_show(struct tinylfu *tinylfu, uint32_t page)
{
	if (page == tinylfu->last_shown)
		return;
	tinylfu->last_shown = page;
	for (unsigned i = 0; i < SHADOWS; i++)
		shadow_use(&tinylfu->shadows[i], page);
	if (++tinylfu->shown >= SHADOW_EPOCH * tinylfu->shadows[LONG].order.frames)
		shadows_decide(tinylfu);
}

/* --- the contract's functions --- */

static void tinylfu_insert(struct cache_strategy *strategy, uint32_t frame, uint64_t page)
{
	struct tinylfu *tinylfu = (struct tinylfu *)strategy;
	ASSERT(frame < tinylfu->order.frames);
	ASSERT(tinylfu->order.states[frame] == 0);
	uint32_t folded = (uint32_t)(page ^ page >> 32);
	bool shadowed = folded * 0x9e3779b1u < tinylfu->shadowed_below;
	order_insert(&tinylfu->order, frame, folded, shadowed ? SHADOWED : 0);
	if (shadowed)
		shadows_show(tinylfu, folded);
}

static void tinylfu_touch(struct cache_strategy *strategy, uint32_t frame)
{
	struct tinylfu *tinylfu = (struct tinylfu *)strategy;
	DASSERT(frame < tinylfu->order.frames);
	DASSERT(tinylfu->order.states[frame] != 0);
	uint8_t state = order_touch(&tinylfu->order, frame);
	if (__builtin_expect(state & SHADOWED, 0))
		shadows_show(tinylfu, tinylfu->order.nodes[frame].page);
}

static uint32_t tinylfu_evict(struct cache_strategy *strategy, cache_evictable *evictable, void *context)
{
	return order_evict(&((struct tinylfu *)strategy)->order, evictable, context);
}

static void tinylfu_remove(struct cache_strategy *strategy, uint32_t frame)
{
	struct tinylfu *tinylfu = (struct tinylfu *)strategy;
	ASSERT(frame < tinylfu->order.frames);
	ASSERT(tinylfu->order.states[frame] != 0);
	order_forget(&tinylfu->order, frame);
}

static uint32_t tinylfu_resident(const struct cache_strategy *strategy)
{
	const struct tinylfu *tinylfu = (const struct tinylfu *)strategy;
	return tinylfu->order.window_count + tinylfu->order.main_count;
}

const struct cache_ops cache_tinylfu = {
	.component = {
		.name = "tinylfu",
		.summary = "W-TinyLFU: the more frequent page stays; remembers as long as it pays",
		.abi = COMPONENT_ABI,
		.options = tinylfu_options,
		.options_size = sizeof(struct tinylfu_options),
	},
	.memory_size = tinylfu_memory_size,
	.create = tinylfu_create,
	.insert = tinylfu_insert,
	.touch = tinylfu_touch,
	.evict = tinylfu_evict,
	.remove = tinylfu_remove,
	.resident = tinylfu_resident,
};
