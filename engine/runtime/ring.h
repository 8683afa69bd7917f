/*
 * ring.h: the two queues between threads. `ring`: one producer, one consumer, bounded by credits that
 * its users count, so that it has no "full". `inbox`: many producers, one consumer, bounded (D. Vyukov's
 * bounded queue: a sequence number in each slot says whose turn it is).
 *
 * Publishing stores are seq_cst: whoever puts something in and then looks whether the consumer
 * announced sleep, and a consumer that announces and then looks into the queue, cannot both miss.
 */
#ifndef CASCADE_RUNTIME_RING_H
#define CASCADE_RUNTIME_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RING_LINE_BYTES = 64 };

struct ring {
	void **slots;
	uint32_t mask;
	_Alignas(RING_LINE_BYTES) _Atomic uint32_t tail; /* the producer's */
	_Alignas(RING_LINE_BYTES) uint32_t head;	 /* the consumer's own */
};

/* `entries`: a power of two; `slots` are borrowed. */
static inline void ring_init(struct ring *ring, void **slots, uint32_t entries)
{
	ring->slots = slots;
	ring->mask = entries - 1;
	atomic_init(&ring->tail, 0);
	ring->head = 0;
}

/* The producer holds a credit, so there is room. */
static inline void ring_push(struct ring *ring, void *item)
{
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	ring->slots[tail & ring->mask] = item;
	atomic_store(&ring->tail, tail + 1);
}

/* The oldest item, NULL when empty. It stays until ring_pop. */
static inline void *ring_peek(struct ring *ring)
{
	if (ring->head == atomic_load_explicit(&ring->tail, memory_order_acquire))
		return NULL;
	return ring->slots[ring->head & ring->mask];
}

static inline void ring_pop(struct ring *ring)
{
	ring->head++;
}

struct inbox_slot {
	_Atomic uint64_t turn; /* == position: free for it; == position + 1: holds its item */
	void *item;
};

struct inbox {
	struct inbox_slot *slots;
	uint64_t mask;
	_Alignas(RING_LINE_BYTES) _Atomic uint64_t tail; /* the producers' next position */
	_Alignas(RING_LINE_BYTES) uint64_t head;	 /* the consumer's own */
	_Alignas(RING_LINE_BYTES) _Atomic uint32_t waiting; /* producers that wait for room */
	_Atomic uint32_t room;				    /* a futex word; changes when there may be */
};

/* `entries`: a power of two; `slots` are borrowed. */
static inline void inbox_init(struct inbox *inbox, struct inbox_slot *slots, uint32_t entries)
{
	inbox->slots = slots;
	inbox->mask = entries - 1;
	inbox->head = 0;
	atomic_init(&inbox->tail, 0);
	atomic_init(&inbox->waiting, 0);
	atomic_init(&inbox->room, 0);
	for (uint32_t i = 0; i < entries; i++) {
		atomic_init(&slots[i].turn, i);
		slots[i].item = NULL;
	}
}

/* False: full, nothing happened. */
static inline bool inbox_push(struct inbox *inbox, void *item)
{
	uint64_t position = atomic_load_explicit(&inbox->tail, memory_order_relaxed);
	for (;;) {
		struct inbox_slot *slot = &inbox->slots[position & inbox->mask];
		uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
		if (turn == position) {
			if (!atomic_compare_exchange_weak_explicit(&inbox->tail, &position, position + 1,
								   memory_order_relaxed,
								   memory_order_relaxed))
				continue;
			slot->item = item;
			atomic_store(&slot->turn, position + 1);
			return true;
		}
		if ((int64_t)(turn - position) < 0)
			return false;
		position = atomic_load_explicit(&inbox->tail, memory_order_relaxed);
	}
}

/* The oldest item, NULL when there is none (or its producer has not finished). Stays until inbox_pop. */
static inline void *inbox_peek(struct inbox *inbox)
{
	struct inbox_slot *slot = &inbox->slots[inbox->head & inbox->mask];
	if (atomic_load(&slot->turn) != inbox->head + 1)
		return NULL;
	return slot->item;
}

static inline void inbox_pop(struct inbox *inbox)
{
	struct inbox_slot *slot = &inbox->slots[inbox->head & inbox->mask];
	atomic_store_explicit(&slot->turn, inbox->head + inbox->mask + 1, memory_order_release);
	inbox->head++;
}

#endif
