/*
 * ring.h: the two queues between threads. `ring`: one producer, one consumer, bounded by credits that
 * its users count, so that it has no "full". `inbox`: many producers, one consumer, bounded (D. Vyukov's
 * bounded queue). In both, a number in each slot says whose turn it is, so that an item and the news of
 * it travel in one cache line.
 */
#ifndef CASCADE_RUNTIME_RING_H
#define CASCADE_RUNTIME_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct task;
struct task_type;

enum {
	RING_LINE_BYTES = 64,
	RING_AHEAD = 8, /* slots whose line is asked for early: it comes from the other's cache */
};

/* One message. What it says lies in the slot itself; the sender's token travels back. */
struct ring_slot {
	_Atomic uint64_t turn; /* position + 1: holds the item of that position */
	void *token;
	union {
		const struct task_type *type; /* NULL: the call is canceled */
		void (*run)(struct task *self, void *argument);
	};
	union {
		void *argument;
		struct status status; /* of a reply */
	};
};

struct ring {
	struct ring_slot *slots;
	uint64_t mask;
	_Alignas(RING_LINE_BYTES) uint64_t tail; /* the producer's own */
	_Alignas(RING_LINE_BYTES) uint64_t head; /* the consumer's own */
};

/* `entries`: a power of two; `slots` are borrowed and zeroed. */
static inline void ring_init(struct ring *ring, struct ring_slot *slots, uint32_t entries)
{
	ring->slots = slots;
	ring->mask = entries - 1;
	ring->tail = 0;
	ring->head = 0;
}

/* The free slot that the next message goes to. The producer holds a credit, so there is one, and what its
 * last consumer read happened before. It fills in the slot itself (a message that is copied from memory as it
 * was written waits for the stores it comes from), and then lets go of it with ring_push. */
static inline struct ring_slot *ring_next(struct ring *ring)
{
	return &ring->slots[ring->tail & ring->mask];
}

static inline void ring_push(struct ring *ring, struct ring_slot *slot)
{
	ring->tail++;
	atomic_store_explicit(&slot->turn, ring->tail, memory_order_release);
	__builtin_prefetch(&ring->slots[(ring->tail + RING_AHEAD) & ring->mask], 1);
}

/* The oldest message, NULL when there is none. It stays until ring_pop. */
static inline const struct ring_slot *ring_peek(const struct ring *ring)
{
	const struct ring_slot *slot = &ring->slots[ring->head & ring->mask];
	if (atomic_load_explicit(&slot->turn, memory_order_acquire) != ring->head + 1)
		return NULL;
	__builtin_prefetch(&ring->slots[(ring->head + RING_AHEAD) & ring->mask]);
	return slot;
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
	_Alignas(RING_LINE_BYTES) _Atomic uint64_t tail;    /* the producers' next position */
	_Alignas(RING_LINE_BYTES) uint64_t head;	    /* the consumer's own */
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

/*
 * False: full, nothing happened. The last store is seq_cst: a producer that then looks whether the
 * consumer announced sleep, and a consumer that announces and then looks here, cannot both miss.
 */
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
