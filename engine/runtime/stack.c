/*
 * Stacks of tasks. A slot is, from low to high: a guard (large classes), the stack, the task struct.
 * Slots come in chunks from the kernel and go back when the shard ends, so a spawn allocates nothing
 * once the shard has seen as many tasks at once.
 */
#include "runtime/internal.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
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
	CHUNK_BYTES = 1024 * 1024,
	CHUNK_SLOTS_MAX = 128,
	/* Frames are at most 4 KiB here and libc's hardly more, so none can step over the guard. */
	GUARD_BYTES_MIN = 8192,
	GUARDED_CLASS_BYTES = 8192,
	/* Equal tasks would use the same sets of the L1 cache if all stacks began at the same page offset. */
	COLOURS = 16,
};

struct stack_chunk {
	struct stack_chunk *next;
	uint8_t *base;
	size_t size;
	size_t slot_bytes;
	size_t guard_bytes; /* 0: none */
	uint32_t slots;
	uint8_t stack_class;
	unsigned stack_ids[CHUNK_SLOTS_MAX]; /* Valgrind's */
};

static const size_t class_bytes[STACK_CLASS_COUNT] = {
	1024, 2048, 4096, 8192, 16384, 32768, 65536, 262144,
};

static size_t round_up(size_t size, size_t unit)
{
	return (size + unit - 1) / unit * unit;
}

unsigned stack_class_of(size_t stack_bytes)
{
#if defined(CASCADE_DEBUG) || defined(FIBER_ASAN) || defined(FIBER_TSAN)
	/* Unoptimized and instrumented frames are several times as large as the declared bounds. */
	stack_bytes = class_bytes[STACK_CLASS_COUNT - 1];
#endif
	unsigned stack_class = 0;
	while (class_bytes[stack_class] < stack_bytes)
		stack_class++;
	return stack_class;
}

size_t stack_class_bytes(unsigned stack_class)
{
	return class_bytes[stack_class];
}

/*
 * The task struct lies above the stack; in guarded classes it has pages of its own, with room for the
 * colour. Guards need the kernel's page size, which is not 4 KiB everywhere.
 */
static void chunk_lay_out(struct stack_chunk *chunk, unsigned stack_class)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t head = round_up(sizeof(struct task), CACHE_LINE_BYTES);
	chunk->stack_class = (uint8_t)stack_class;
	chunk->slot_bytes = class_bytes[stack_class] + head;
	if (class_bytes[stack_class] >= GUARDED_CLASS_BYTES) {
		chunk->guard_bytes = round_up(GUARD_BYTES_MIN, page);
		head = round_up(head + COLOURS * CACHE_LINE_BYTES, page);
		chunk->slot_bytes = chunk->guard_bytes + round_up(class_bytes[stack_class], page) + head;
	}
	size_t slots = CHUNK_BYTES / chunk->slot_bytes;
	chunk->slots = (uint32_t)(slots < CHUNK_SLOTS_MAX ? slots : CHUNK_SLOTS_MAX);
	chunk->size = round_up(chunk->slots * chunk->slot_bytes, page);
}

static struct task *slot_task(const struct stack_chunk *chunk, uint32_t slot)
{
	uint8_t *high = chunk->base + (size_t)(slot + 1) * chunk->slot_bytes;
	size_t head = round_up(sizeof(struct task), CACHE_LINE_BYTES);
	if (chunk->guard_bytes > 0)
		head += (size_t)(slot % COLOURS) * CACHE_LINE_BYTES;
	return (struct task *)(void *)(high - head);
}

/* A guard inside the page tables where the kernel knows them (6.13), else a mapping of its own. */
static bool guard_install(void *address, size_t size)
{
	if (madvise(address, size, MADV_GUARD_INSTALL) == 0)
		return true;
	return mprotect(address, size, PROT_NONE) == 0;
}

static bool chunk_guard(const struct stack_chunk *chunk)
{
	for (uint32_t slot = 0; chunk->guard_bytes > 0 && slot < chunk->slots; slot++) {
		if (!guard_install(chunk->base + (size_t)slot * chunk->slot_bytes, chunk->guard_bytes))
			return false;
	}
	return true;
}

static void chunk_free(struct stack_chunk *chunk)
{
	for (uint32_t slot = 0; slot < chunk->slots; slot++) {
		STACK_DEREGISTER(chunk->stack_ids[slot]);
#ifdef FIBER_TSAN
		struct task *task = slot_task(chunk, slot);
		if (task->fiber.sanitizer_fiber != NULL)
			__tsan_destroy_fiber(task->fiber.sanitizer_fiber);
#endif
	}
	memory_unmap(chunk->base, chunk->size);
	memory_free(chunk);
}

static void slot_prepare(struct stack_pool *pool, struct stack_chunk *chunk, uint32_t slot)
{
	uint8_t *low = chunk->base + (size_t)slot * chunk->slot_bytes + chunk->guard_bytes;
	struct task *task = slot_task(chunk, slot);
	task->fiber.stack_low = low;
	task->fiber.stack_size = (size_t)((uint8_t *)task - low);
	task->stack_class = chunk->stack_class;
	chunk->stack_ids[slot] = STACK_REGISTER(low, task);
	list_add_last(&pool->idle[chunk->stack_class], &task->link);
}

static struct stack_chunk *chunk_map(unsigned stack_class)
{
	struct stack_chunk *chunk = memory_allocate_zeroed(1, sizeof(*chunk));
	if (chunk == NULL)
		return NULL;
	chunk_lay_out(chunk, stack_class);
	chunk->base = memory_map(chunk->size);
	if (chunk->base == NULL) {
		memory_free(chunk);
		return NULL;
	}
	/* A huge page would make the first touch of one stack pay for two MiB. */
	(void)madvise(chunk->base, chunk->size, MADV_NOHUGEPAGE);
	return chunk;
}

static bool pool_grow(struct stack_pool *pool, unsigned stack_class)
{
	struct stack_chunk *chunk = chunk_map(stack_class);
	if (chunk == NULL)
		return false;
	if (!chunk_guard(chunk)) {
		chunk->slots = 0; /* none is prepared */
		chunk_free(chunk);
		return false;
	}
	for (uint32_t slot = 0; slot < chunk->slots; slot++)
		slot_prepare(pool, chunk, slot);
	chunk->next = pool->chunks;
	pool->chunks = chunk;
	return true;
}

void stack_pool_init(struct stack_pool *pool)
{
	pool->chunks = NULL;
	for (unsigned i = 0; i < STACK_CLASS_COUNT; i++)
		list_init(&pool->idle[i]);
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
		if (list_is_empty(&from->idle[i]))
			continue;
		to->idle[i] = from->idle[i];
		to->idle[i].next->previous = &to->idle[i];
		to->idle[i].previous->next = &to->idle[i];
		list_init(&from->idle[i]);
	}
}

struct task *stack_pool_take(struct stack_pool *pool, size_t stack_bytes)
{
	unsigned stack_class = stack_class_of(stack_bytes);
	struct list *idle = &pool->idle[stack_class];
	if (list_is_empty(idle) && !pool_grow(pool, stack_class))
		return NULL;
	struct task *task = CONTAINER_OF(list_take_first(idle), struct task, link);
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
	list_add_first(&pool->idle[task->stack_class], &task->link);
}

void stack_pool_each_live(const struct stack_pool *pool, void (*each)(void *context, const struct task *task),
			  void *context)
{
	for (const struct stack_chunk *chunk = pool->chunks; chunk != NULL; chunk = chunk->next) {
		for (uint32_t slot = 0; slot < chunk->slots; slot++) {
			const struct task *task = slot_task(chunk, slot);
			if (task->type != NULL && task->state != TASK_ENDED)
				each(context, task);
		}
	}
}
