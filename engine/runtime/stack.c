/*
 * Stacks of tasks. A slot is, from low to high: a guard (large classes), the stack, the task struct. The
 * slots of a class lie side by side in chunks of their own, the small ones several to a page, so that a batch
 * of equal tasks is a run of memory. Chunks come from the kernel and go back when the shard ends: a spawn
 * allocates nothing once the shard has seen as many tasks at once.
 *
 * A chunk is aligned to its size, which is how a task that ends finds it, and hands out what was given back
 * last. When nothing of it is in use any more it begins anew, in the order of addresses: tasks that end in
 * any order do not scatter the batches to come.
 */
#include "runtime/internal.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/watched.h"

#ifdef VALGRIND_STACK_REGISTER
#define STACK_REGISTER(low, high) VALGRIND_STACK_REGISTER(low, high)
#define STACK_DEREGISTER(id)	  VALGRIND_STACK_DEREGISTER(id)
#else
#define STACK_REGISTER(low, high) 0u
#define STACK_DEREGISTER(id)	  (void)(id)
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum {
	/* Frames are at most 4 KiB here and libc's hardly more, so none can step over the guard. */
	GUARD_BYTES_MIN = 8192,
	/* Equal tasks would use the same sets of the L1 cache if all stacks began at the same page offset.
	 * Those of the small classes do not: no slot's size is a multiple of four lines. */
	COLOURS = 16,
	SIGNAL_STACK_BYTES = 64 * 1024,
};

_Static_assert(sizeof(struct stack_chunk) <= CACHE_LINE_BYTES, "a spawn touches one line of the chunk");
_Static_assert(STACK_BYTES_GUARDED == STACK_SMALL_CLASSES * STACK_STEP_BYTES + 1,
	       "what is not small is guarded");

static size_t round_up(size_t size, size_t unit)
{
	return (size + unit - 1) / unit * unit;
}

/* --- classes --- */

/* Set before there are tasks. */
static bool frames_are_uncounted;

void runtime_expect_uncounted_frames(void)
{
	frames_are_uncounted = true;
}

unsigned stack_class_of(size_t stack_bytes)
{
#if defined(CASCADE_DEBUG) || defined(FIBER_ASAN) || defined(FIBER_TSAN) || defined(CASCADE_PLANTED)
	/* Unoptimized and instrumented frames are several times as large as the declared bounds; and nobody
	 * has counted those of planted bugs. */
	(void)stack_bytes;
	return STACK_CLASS_COUNT - 1;
#else
	bool uncounted = frames_are_uncounted;
#ifdef CASCADE_UCONTEXT
	uncounted = true; /* nobody has counted frames on such a machine */
#endif
	if (uncounted && stack_bytes < STACK_BYTES_MAX / 2)
		stack_bytes = STACK_BYTES_MAX / 2;
	if (stack_bytes < STACK_BYTES_GUARDED)
		return stack_bytes == 0 ? 0 : (unsigned)((stack_bytes - 1) / STACK_STEP_BYTES);
	unsigned stack_class = STACK_SMALL_CLASSES;
	while (stack_class_bytes(stack_class) < stack_bytes)
		stack_class++;
	return stack_class;
#endif
}

size_t stack_class_bytes(unsigned stack_class)
{
	if (stack_class < STACK_SMALL_CLASSES)
		return (size_t)(stack_class + 1) * STACK_STEP_BYTES;
	if (stack_class == STACK_CLASS_COUNT - 1)
		return (size_t)256 * 1024;
	return (size_t)2 * STACK_SMALL_CLASSES * STACK_STEP_BYTES << (stack_class - STACK_SMALL_CLASSES);
}

/* --- chunks --- */

/*
 * The task struct lies above the stack; in guarded classes it has pages of its own, with room for the
 * colour. Guards need the kernel's page size, which is not 4 KiB everywhere.
 */
static void chunk_lay_out(struct stack_chunk *chunk, unsigned stack_class)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t head = round_up(sizeof(struct task), CACHE_LINE_BYTES);
	size_t slot_bytes = stack_class_bytes(stack_class) + head;
	chunk->stack_class = stack_class;
	chunk->header_bytes = CACHE_LINE_BYTES;
	if (stack_class >= STACK_SMALL_CLASSES) {
		chunk->header_bytes = (uint32_t)page;
		chunk->guard_bytes = (uint32_t)round_up(GUARD_BYTES_MIN, page);
		head = round_up(head + COLOURS * CACHE_LINE_BYTES, page);
		slot_bytes = chunk->guard_bytes + round_up(stack_class_bytes(stack_class), page) + head;
	}
	chunk->slot_bytes = (uint32_t)slot_bytes;
	chunk->slots = (uint16_t)((STACK_CHUNK_BYTES - chunk->header_bytes) / slot_bytes);
}

static uint8_t *slot_low(struct stack_chunk *chunk, uint32_t slot)
{
	return (uint8_t *)chunk + chunk->header_bytes + (size_t)slot * chunk->slot_bytes;
}

static struct task *slot_task(struct stack_chunk *chunk, uint32_t slot)
{
	size_t head = round_up(sizeof(struct task), CACHE_LINE_BYTES);
	if (chunk->guard_bytes > 0)
		head += (size_t)(slot % COLOURS) * CACHE_LINE_BYTES;
	return (struct task *)(void *)(slot_low(chunk, slot) + chunk->slot_bytes - head);
}

/* A guard inside the page tables where the kernel knows them (6.13), else a mapping of its own. */
static bool guard_install(void *address, size_t size)
{
	if (madvise(address, size, MADV_GUARD_INSTALL) == 0)
		return true;
	return mprotect(address, size, PROT_NONE) == 0;
}

static bool chunk_guard(struct stack_chunk *chunk)
{
	for (uint32_t slot = 0; chunk->guard_bytes > 0 && slot < chunk->slots; slot++) {
		if (!guard_install(slot_low(chunk, slot), chunk->guard_bytes))
			return false;
	}
	return true;
}

/* Twice as much address space as it needs has a part that is aligned; the rest goes back untouched. */
static struct stack_chunk *chunk_map(void)
{
	uint8_t *base = memory_map((size_t)2 * STACK_CHUNK_BYTES);
	if (base == NULL)
		return NULL;
	size_t before = round_up((uintptr_t)base, STACK_CHUNK_BYTES) - (uintptr_t)base;
	if (before > 0)
		memory_unmap(base, before);
	if (before < STACK_CHUNK_BYTES)
		memory_unmap(base + before + STACK_CHUNK_BYTES, STACK_CHUNK_BYTES - before);
	/* A huge page would make the first touch of one stack pay for two MiB. */
	(void)madvise(base + before, STACK_CHUNK_BYTES, MADV_NOHUGEPAGE);
	return (struct stack_chunk *)(void *)(base + before);
}

static void chunk_free(struct stack_chunk *chunk)
{
	for (uint32_t slot = 0; slot < chunk->made; slot++) {
		if (chunk->stack_ids != NULL)
			STACK_DEREGISTER(chunk->stack_ids[slot]);
#ifdef FIBER_TSAN
		struct task *task = slot_task(chunk, slot);
		if (task->fiber.sanitizer_fiber != NULL)
			__tsan_destroy_fiber(task->fiber.sanitizer_fiber);
#endif
	}
	memory_free(chunk->stack_ids);
	memory_unmap(chunk, STACK_CHUNK_BYTES);
}

static struct stack_chunk *chunk_create(unsigned stack_class)
{
	struct stack_chunk *chunk = chunk_map();
	if (chunk == NULL)
		return NULL;
	chunk_lay_out(chunk, stack_class);
	bool complete = chunk_guard(chunk);
	if (complete && valgrind_watches()) {
		chunk->stack_ids = memory_allocate_zeroed(chunk->slots, sizeof(*chunk->stack_ids));
		complete = chunk->stack_ids != NULL;
	}
	if (!complete) {
		chunk_free(chunk);
		return NULL;
	}
	return chunk;
}

/* For the first time. */
static __attribute__((noinline)) void slot_make(struct stack_pool *pool, struct stack_chunk *chunk,
						uint32_t slot)
{
	struct task *task = slot_task(chunk, slot);
	uint8_t *low = slot_low(chunk, slot) + chunk->guard_bytes;
	task->fiber.stack_low = low;
	task->fiber.stack_size = (size_t)((uint8_t *)task - low);
	task->stack_class = (uint8_t)chunk->stack_class;
	if (chunk->stack_ids != NULL)
		chunk->stack_ids[slot] = STACK_REGISTER(low, task);
	if (pool->is_painted)
		stack_paint(low, task->fiber.stack_size);
}

static struct task *chunk_take(struct stack_pool *pool, struct stack_chunk *chunk)
{
	struct task *task = chunk->idle;
	if (task != NULL) {
		chunk->idle = task->heap_next;
		return task;
	}
	uint32_t slot = chunk->ordered++;
	if (slot == chunk->made) {
		chunk->made++;
		slot_make(pool, chunk, slot);
	}
	chunk->next_ordered = slot_task(chunk, slot + 1);
	return slot_task(chunk, slot);
}

/* --- the pool --- */

struct growth {
	struct stack_pool *pool;
	unsigned stack_class;
	bool done;
};

static void pool_grow(void *argument)
{
	struct growth *growth = argument;
	struct stack_pool *pool = growth->pool;
	struct stack_chunk *chunk = chunk_create(growth->stack_class);
	if (chunk == NULL)
		return;
	chunk->next = pool->chunks;
	pool->chunks = chunk;
	pool->open[growth->stack_class] = chunk;
	growth->done = true;
}

void stack_pool_init(struct stack_pool *pool)
{
	*pool = (struct stack_pool) { .is_painted = stack_marks_are_on() };
}

void stack_pool_destroy(struct stack_pool *pool)
{
	while (pool->chunks != NULL) {
		struct stack_chunk *chunk = pool->chunks;
		pool->chunks = chunk->next;
		chunk_free(chunk);
	}
}

void stack_pool_move(struct stack_pool *to, struct stack_pool *from)
{
	ASSERT(to->chunks == NULL);
	to->chunks = from->chunks;
	from->chunks = NULL;
	for (unsigned i = 0; i < STACK_CLASS_COUNT; i++) {
		to->open[i] = from->open[i];
		from->open[i] = NULL;
	}
}

/* Out of the way of those that find a slot. */
static __attribute__((noinline)) bool grow(struct stack_pool *pool, unsigned stack_class)
{
	struct growth growth = { .pool = pool, .stack_class = stack_class };
	call_on_thread_stack(pool_grow, &growth);
	return growth.done;
}

struct task *stack_pool_take(struct stack_pool *pool, size_t stack_bytes)
{
	unsigned stack_class = stack_class_of(pool->has_room ? TASK_STACK_BYTES_MAX : stack_bytes);
	if (pool->open[stack_class] == NULL && !grow(pool, stack_class))
		return NULL;
	struct stack_chunk *chunk = pool->open[stack_class];
	struct task *task = chunk_take(pool, chunk);
	if (++chunk->live == chunk->slots)
		pool->open[stack_class] = chunk->next_open;
#ifdef FIBER_ASAN
	/* The frames of the last task never returned through the switch that ended it. */
	__asan_unpoison_memory_region(task->fiber.stack_low, task->fiber.stack_size);
	task->fiber.fake_stack = NULL;
#endif
#ifdef FIBER_TSAN
	if (task->fiber.sanitizer_fiber == NULL)
		task->fiber.sanitizer_fiber = __tsan_create_fiber(0);
#endif
	return task;
}

void stack_pool_give(struct stack_pool *pool, struct task *task)
{
	struct stack_chunk *chunk = stack_chunk_of(task);
	if (__builtin_expect(pool->is_painted, 0))
		stack_mark_note(task);
	if (chunk->live == chunk->slots) {
		chunk->next_open = pool->open[chunk->stack_class];
		pool->open[chunk->stack_class] = chunk;
	}
	chunk->live--;
	task->heap_next = chunk->idle;
	chunk->idle = task;
	if (chunk->live == 0) {
		chunk->idle = NULL;
		chunk->ordered = 0;
		chunk->next_ordered = slot_task(chunk, 0);
	}
}

void stack_pool_each_live(const struct stack_pool *pool, void (*each)(void *context, const struct task *task),
			  void *context)
{
	for (struct stack_chunk *chunk = pool->chunks; chunk != NULL; chunk = chunk->next) {
		for (uint32_t slot = 0; slot < chunk->made; slot++) {
			const struct task *task = slot_task(chunk, slot);
			if (task->type != NULL && task->state != TASK_ENDED)
				each(context, task);
		}
	}
}

/* --- signals --- */

/*
 * A resident blocks every signal that can be blocked. What is left is the library's own: setuid and its like
 * in any thread of the program interrupt all others, on their alternate stack if they have one. It lies at
 * the far end of the thread's stack, which nothing else ever reaches.
 */
void signal_stack_set(const struct fiber *thread)
{
#if defined(FIBER_ASAN) || defined(FIBER_TSAN)
	(void)thread; /* a sanitizer has set one, and frees what it finds there; and stacks are large */
#else
	size_t size =
		thread->stack_size / 4 < SIGNAL_STACK_BYTES ? thread->stack_size / 4 : SIGNAL_STACK_BYTES;
	stack_t stack = { .ss_sp = thread->stack_low, .ss_size = size };
	ASSERT(sigaltstack(&stack, NULL) == 0);
#endif
}
